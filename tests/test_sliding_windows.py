"""Windows that slide over another one, by numbers of moments and by durations."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import QueryError
from loom.frames.time import DailyFrame, MomentWindow, TimeFrame, WeeklyFrame
from loom.frames.time.calendar_frames import CalendarFrame
from loom.frames.time.windows.spans import milliseconds_of

from .test_window import HOUR, START, Price, amounts, price, window


@given(st.integers(0, 30), st.integers(1, 8), st.integers(1, 5), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_windows_of_moments(count: int, size: int, step: int, cut: int) -> None:
    """Windows of so many moments are the whole slices that begin a step apart; also of a slice."""
    whole = MomentWindow(map(price, range(count + cut)), Price)[cut:]
    numbers = [n * 10.0 for n in range(cut, count + cut)]
    expected = [numbers[i : i + size] for i in range(0, count - size + 1, step)]
    found = whole.sliding_window(size, step)

    assert expected == [amounts(part) for part in found]
    assert expected == [amounts(found[place]) for place in range(len(found))]
    assert len(expected) == len(found)


@given(
    st.lists(st.integers(0, 30), max_size=20),
    st.integers(1, 12),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_windows_of_durations(hours: list[int], size: int, step: int, by_duration: bool) -> None:
    """They begin at moments or a step apart, and end no later than at the last moment."""
    found = MomentWindow(map(price, hours), Price).sliding_window(
        size * HOUR, step * HOUR if by_duration else step
    )
    floors: list[int] = sorted({*hours})[::step]
    if by_duration and hours:
        floors = [*range(min(hours), max(hours), step)]
    expected = [
        [hour * 10.0 for hour in sorted(hours) if floor <= hour < floor + size]
        for floor in floors
        if floor + size <= max(hours)
    ]

    assert expected == [amounts(part) for part in found]


def test_windows_are_views() -> None:
    """Nothing is copied: every window has the arrays of the whole."""
    whole = window(100)
    for found in (whole.sliding_window(30), whole.sliding_window("30h", "1h")):
        assert all(np.shares_memory(whole.times, part.times) for part in found)
        assert all(part._columns is whole._columns for part in found)


def test_windows_are_a_sequence() -> None:
    """They have a length, places from both ends, slices and an end."""
    found = window(10).sliding_window(3)

    assert 8 == len(found)
    assert [70.0, 80.0, 90.0] == amounts(found[-1])
    assert [[20.0, 30.0, 40.0], [40.0, 50.0, 60.0]] == [amounts(part) for part in found[2:5:2]]
    assert "SlidingWindows(8 over MomentWindow(Price ACME: 10 moments" in repr(found)
    with pytest.raises(IndexError):
        found[8]


@pytest.mark.parametrize("kept", [lambda each: pickle.loads(pickle.dumps(each)), copy, deepcopy])
def test_what_slides_over_a_part_is_kept(kept: Any) -> None:
    """Windows and cones of a slice are the same in another process, where there is no more."""
    late = MomentWindow(price(n, known_at=START + (n + n % 3) * HOUR) for n in range(20))
    for whole in (window(20), late):
        for part in (whole, whole[5:15]):
            for size in (3, "3h"):
                windows = part.sliding_window(size)
                assert [*windows[1:]] == [*kept(windows[1:])]
                for strict in (True, False):
                    cones = part.sliding_time_cone(size, 2, strict)
                    assert [*cones[1:]] == [*kept(cones[1:])]
                    assert cones.times.tolist() == kept(cones).times.tolist()


def test_more_windows_than_fit_into_memory() -> None:
    """Steps of milliseconds over years are windows like others, made when they are asked for."""
    whole = MomentWindow(map(price, (0, 1, 24 * 365 * 20)))
    found = whole.sliding_window("2h", step="1ms")

    assert 20 * 365 * 24 * 3_600_000 - 2 * 3_600_000 + 1 == len(found)
    assert [[0.0, 10.0], [10.0], [10.0], []] == [
        amounts(found[place]) for place in (0, 1, 3_600_000, -1)
    ]
    late = found[3_599_999:3_600_003]
    assert [1, 1, 0, 0] == [len(part) for part in late] == [len(each) for each in (*late,)]
    assert [*late] == [*pickle.loads(pickle.dumps(late))]
    part = whole[1:].sliding_window("2h", step="1ms")
    assert [10.0] == amounts(part[0]) == amounts(pickle.loads(pickle.dumps(part))[0])
    with pytest.raises(IndexError):
        found[len(found)]


def test_windows_larger_than_the_whole() -> None:
    """There are none, and an empty window has none."""
    assert [] == [*window(3).sliding_window(4)] == [*window(3).sliding_window("90d")]
    assert [] == [*window(3)[:0].sliding_window(1)] == [*window(3)[:0].sliding_window("1h")]


def test_many_windows() -> None:
    """More windows than are taken out of their arrays at a time come once each."""
    found = window(9_000).sliding_window("2h")

    assert 8_998 == len(found) == len([*found])
    assert 0 == sum(len(part) != 2 for part in found)


@pytest.mark.parametrize("size", ["36h", "1.5d", "129600s", timedelta(hours=36), "2160min"])
def test_durations_in_words(size: str | timedelta) -> None:
    """A duration has many forms."""
    assert 36 == len(window(60).sliding_window(size)[0])


def test_decimal_durations_are_exact() -> None:
    """What floats would miss by a hair is a duration, too; long ones are no error."""
    assert 3_960_000 == milliseconds_of("1.1h", "size")
    assert 4_100 == milliseconds_of("4.1s", "size")
    for size in (timedelta(days=999_999_999), 10**30):
        assert 0 == len(window().sliding_window(size))
        assert [] == [*window().sliding_time_cone(size, size, strict=True)]
    assert 1 == len(window().sliding_window("1h", step=timedelta(days=999_999_999)))


@pytest.mark.parametrize(
    ("size", "step"),
    [
        (0, 1),
        (-1, 1),
        (True, 1),
        (1.5, 1),
        (None, 1),
        ("15m", 1),  # minutes, or months?
        ("h", 1),
        ("0h", 1),
        (timedelta(microseconds=1), 1),
        ("0.5ms", 1),
        ("999999999999d", 1),  # longer than any time there is
        (3, "0d"),
        (3, 0),
        (3, "1h"),
    ],
)
def test_what_is_no_size_is_refused(size: object, step: object) -> None:
    """The error names the call and what is expected."""
    with pytest.raises(QueryError, match="MomentWindow.sliding_window.*: expected a "):
        window().sliding_window(size, step)  # type: ignore[arg-type]


def test_days_have_24_hours() -> None:
    """A duration is elapsed time, whatever clocks do."""
    found = window(60)[5:].sliding_window("1d")[0]

    assert (START + 5 * HOUR, START + 28 * HOUR) == (found.first.time, found.latest.time)


# Frames of the calendar


@given(st.lists(st.integers(0, 24 * 40), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_frames_tile_a_window(hours: list[int]) -> None:
    """Each moment is in the one frame that holds its time; frames without moments are there."""
    found = MomentWindow(map(price, hours), Price, tzone="America/New_York")[1:]
    days = found.split(DailyFrame)

    assert amounts(found) == [amount for _, part in days for amount in amounts(part)]
    assert all(moment.time in day for day, part in days for moment in part)
    for (one, _), (two, _) in pairwise(days):
        assert one.ceiling == two.floor
    if days:
        assert found.first.time in days[0][0]
        assert found.latest.time in days[-1][0]
    assert bool(found) == bool(days)


def test_days_by_the_clock() -> None:
    """A day of spring has 23 hours in the zone of the window."""
    found = MomentWindow(map(price, range(60)), Price, tzone="America/New_York").split(DailyFrame)

    assert [5, 23, 24, 8] == [len(part) for _, part in found]
    assert np.shares_memory(found[0][1].times, found[0][1][:1].times)
    weeks = window(24 * 8).split(WeeklyFrame, week_start="sunday")
    assert [24 * 7, 24] == [len(part) for _, part in weeks]
    for kind in ("1d", TimeFrame, CalendarFrame):
        with pytest.raises(QueryError, match="split: expected a class such as DailyFrame, got "):
            window().split(kind)  # type: ignore[arg-type]
