"""Gaps: where moments were expected and there are none."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import QueryError, TimeFrameError
from loom.frames.time import DailyFrame, HourlyFrame, MomentWindow, TimeFrame, WeeklyFrame
from loom.frames.time.calendar_frames import CalendarFrame

from .test_window import HOUR, START, Price, price, window


def hours(*given: float) -> MomentWindow:
    """Return a window with moments in these hours."""
    return MomentWindow(map(price, given), Price)


def of(frames: Any) -> list[tuple[float, float]]:
    """Return the ends of frames in hours."""
    return [((f.floor - START) / HOUR, (f.ceiling - START) / HOUR) for f in frames]


def test_a_full_window_has_no_gaps() -> None:
    """The report is false, and says how many were expected."""
    for found in (window(48).gaps("1h"), window(48).gaps(HourlyFrame)):
        assert not found
        assert (48, 0, (), (), timedelta(), None) == (
            found.expected,
            found.count,
            found.missing,
            found.runs,
            found.total,
            found.longest,
        )
        assert "Gaps(none, 48 expected)" == repr(found)


def test_gaps_of_a_spacing() -> None:
    """Stretches from when a moment was due to when one came."""
    found = hours(0, 1, 4, 5, 7).gaps("1h")

    assert [(2.0, 4.0), (6.0, 7.0)] == of(found.missing) == of(found.runs)
    assert (8, 3, 3 * HOUR) == (found.expected, found.count, found.total)
    assert [(2.0, 4.0)] == of([found.longest])


def test_moments_of_one_time_are_one() -> None:
    """Two trades in one millisecond do not make up for a missing one."""
    found = hours(0, 0, 0, 1, 3).gaps("1h")

    assert (4, 1) == (found.expected, found.count)


def test_gaps_at_the_ends() -> None:
    """A start and an end say from when to when moments were expected."""
    found = hours(3, 4, 6, 9).gaps(HOUR, start=START, end=START + 8 * HOUR)

    assert [(0.0, 3.0), (5.0, 6.0), (7.0, 8.0)] == of(found.runs)
    assert (8, 5) == (found.expected, found.count)
    nothing = hours().gaps("1h", start=START, end=START + 3 * HOUR)
    assert [(0.0, 3.0)] == of(nothing.runs)
    assert (3, 3) == (nothing.expected, nothing.count)


def test_stretches_are_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of many gaps has their number, length and the longest without a frame for each."""
    made: list[Any] = []
    init = TimeFrame.__init__

    def counted(self: TimeFrame, *ends: Any) -> None:
        made.append(ends)
        init(self, *ends)

    monkeypatch.setattr(TimeFrame, "__init__", counted)
    found = hours(*range(0, 1000, 2), 1001).gaps("1h")

    assert (500, 501 * HOUR) == (found.count - 1, found.total)
    assert [(999.0, 1001.0)] == of([found.longest])
    assert len(made) == 1
    missing = found.missing
    assert [(1.0, 2.0), (3.0, 4.0)] == of(missing[:2])
    assert [(999.0, 1001.0)] == of([missing[-1]])
    assert len(made) == 4
    assert missing == tuple(missing)
    assert hash(missing[:3]) == hash((*missing[:3],))
    assert missing != missing[1:]
    assert missing != [*missing]
    assert "Stretches(500: TimeFrame.parse('2024-03-10T01:00:00" in repr(missing)
    assert "Stretches(none)" == repr(missing[:0])
    assert found == pickle.loads(pickle.dumps(found))
    with pytest.raises(IndexError):
        missing[500]


def test_a_tolerance_forgives() -> None:
    """A moment that comes a little late is no gap; one that is missing is, and counts once."""
    late = hours(0, 1.1, 2, 4.05, 5)

    assert [(1.0, 1.1), (3.0, 4.05)] == of(late.gaps("1h").runs)
    assert [(3.0, 4.05)] == of(late.gaps("1h", tolerance="10min").runs)
    assert 1 == late.gaps("1h", tolerance="10min").count


@given(st.sets(st.integers(0, 40)), st.integers(0, 20), st.integers(0, 25))
@settings(max_examples=200, deadline=None)
def test_whole_hours(given: set[int], low: int, width: int) -> None:
    """Of moments in whole hours, the gaps of a spacing and of frames are the hours without one."""
    whole = hours(*given)
    ends: Any = {"start": START + low * HOUR, "end": START + (low + width) * HOUR}
    missing = [hour for hour in range(low, low + width) if hour not in given]
    spaced, framed = whole.gaps("1h", **ends), whole.gaps(HourlyFrame, **ends)

    assert [(hour, hour + 1) for hour in missing] == of(framed.missing)
    assert of(spaced.runs) == of(framed.runs)
    for found in (spaced, framed):
        assert (width, len(missing)) == (found.expected, found.count)
        assert len(missing) * HOUR == found.total


def test_gaps_of_days_are_those_of_the_zone() -> None:
    """A day is a date of the window's zone, and may have 23 hours."""
    zone = "America/New_York"
    times = [datetime(2024, 3, day, 23, 30) for day in (8, 9, 11)]
    found = MomentWindow((price(0, time=t) for t in times), tzone=zone).gaps(DailyFrame)

    assert ["03/10/2024"] == [day.get_pretty_value() for day in found.missing]
    assert 23 * HOUR == found.total
    assert 4 == found.expected


def test_neighbours_are_one_run() -> None:
    """The longest gap is of frames that follow each other."""
    found = hours(0, 24 * 3, 24 * 5).gaps(DailyFrame)

    assert (6, 3) == (found.expected, found.count)
    assert [(24, 72), (96, 120)] == of(found.runs)
    assert [(24, 72)] == of([found.longest])
    text = "missing: 3 of 6\ntogether: 3 days, 0:00:00\nlongest: 03/11/2024 00:00 UTC - 03/13/2024"
    assert str(found).startswith(text)
    assert "Gaps(3 of 6 missing in 2 stretches, 3 days, 0:00:00 together, longest" in repr(found)
    assert "<caption>Gaps</caption>" in found._repr_html_()
    with pytest.raises(AttributeError):
        found.count = 0  # type: ignore[misc]


def test_options_of_weeks() -> None:
    """Weeks may begin with another day."""
    whole = hours(0, 24 * 8)

    assert 0 == whole.gaps(WeeklyFrame, week_start="sunday").count
    assert 3 == whole.gaps(WeeklyFrame).expected
    assert 1 == whole.gaps(WeeklyFrame).count


def test_a_calendar_of_ones_own() -> None:
    """Any time frames may be expected, in any order."""
    sessions = [
        TimeFrame(START + n * 24 * HOUR + 9 * HOUR, START + n * 24 * HOUR + 17 * HOUR)
        for n in (2, 0, 1)
    ]
    found = hours(10, 20, 58).gaps(iter(sessions))

    assert [(33, 41)] == of(found.missing)
    assert (3, 1, 8 * HOUR) == (found.expected, found.count, found.total)
    halves = [TimeFrame(START + n * HOUR, START + (n + 1) * HOUR) for n in (2, 0, 3, 1)]
    assert [(1, 4)] == of(hours(0).gaps(halves).runs)


def test_a_frame_has_both_ends() -> None:
    """A frame as the start is the same as its floor and its ceiling."""
    day = DailyFrame.create(START)
    whole = hours(3, 30)

    for expected in ("1h", HourlyFrame):
        found: Any = whole.gaps(expected, start=day)
        assert found == whole.gaps(expected, start=day.floor, end=day.ceiling)
        assert (24, 23) == (found.expected, found.count)


def test_options_of_other_kinds_are_refused() -> None:
    """The error names the option and who takes it, also when the window is empty."""
    for whole in (hours(1), hours()):
        for call in (whole.gaps, whole.split):
            with pytest.raises(TimeFrameError, match=r"week_start: expected it with WeeklyFrame"):
                call(DailyFrame, week_start=1)


def test_many_gaps_are_shown_briefly() -> None:
    """The report names some and counts the rest."""
    found = hours(*range(0, 40, 2)).gaps("1h")

    assert "further gaps: 14" in str(found)


def test_an_empty_window_has_no_frames() -> None:
    """Without moments and ends nothing is expected."""
    for expected in ("1h", DailyFrame):
        assert 0 == hours().gaps(expected).expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expected", "options", "message"),
    [
        (3, {}, "expected a duration, a class such as DailyFrame, or time frames, got 3"),
        (CalendarFrame, {}, "expected a duration, a class such as DailyFrame"),
        (DailyFrame, {"tolerance": "1h"}, "expected tolerance= beside a duration"),
        ("1h", {"week_start": 1}, "expected no week_start beside a duration"),
        ("1x", {}, "expected a duration of whole milliseconds"),
        ("0h", {}, "expected a duration of whole milliseconds, at least 1, a timedelta or text"),
        ([1], {}, "expected time frames, got 1"),
    ],
)
def test_what_is_no_calendar_is_refused(expected: Any, options: Any, message: str) -> None:
    """The error says what is expected."""
    with pytest.raises(QueryError, match=f"MomentWindow.gaps.*: {message}"):
        window().gaps(expected, **options)


def test_ends_are_aware_and_in_order() -> None:
    """As everywhere: naive ones are refused, and an end before the start."""
    with pytest.raises(TimeFrameError, match="gaps, start: expected a datetime with a zone"):
        window().gaps("1h", start=datetime(2024, 3, 1))
    assert 0 == window().gaps("1h", end=START + HOUR).count
    for expected in ("1h", DailyFrame):
        with pytest.raises(QueryError, match="gaps: expected an end behind "):
            window().gaps(expected, start=START + HOUR, end=START)
    assert timezone.utc == window().tzone
