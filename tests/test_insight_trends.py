"""Trending: all three of one window, of many, and as columns."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from loom.errors import FieldError, QueryError, TimeFrameError
from loom.frames.time import DailyFrame, Moment, MomentWindow, WeeklyFrame
from loom.frames.time.insight import (
    PdfValue,
    Regression,
    Spread,
    Trending,
    density,
    regression,
    spread,
    trending,
)

START = datetime(2013, 1, 1, 0, 0, 0, 1500, timezone.utc)
TIMES = [START + timedelta(hours=6 * i) for i in range(9)]
VALUES = [3.0, 1.0, None, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]


class Window:
    """What has values and times."""

    def __init__(self, where: slice) -> None:
        self.values, self.times = VALUES[where], TIMES[where]


def test_all_three() -> None:
    """The parts are what each gives alone, and the ends are the times of the window."""
    found = Trending.of(VALUES, TIMES, per="hour", percentiles=[50], ddof=0, mass=0.5, points=11)

    assert found.spread == Spread.of(VALUES, percentiles=[50], ddof=0)
    assert found.regression == Regression.of(VALUES, TIMES, per="hour")
    assert found.density == PdfValue.of(VALUES, mass=0.5, points=11)
    assert (found.n, found.left_out) == (8, 1)
    assert found.first == START.replace(microsecond=1000)
    assert found.last == TIMES[-1].replace(microsecond=1000)


def test_without_times() -> None:
    """Without times the ends are the numbers of the first and the last value."""
    found = Trending.of(VALUES)

    assert (found.first, found.last, found.regression.per) == (0, 8, "step")
    assert (Trending.of([]).first, Trending.of([]).last) == (None, None)


def test_each_window() -> None:
    """Windows come one by one, only when they are asked for."""
    asked: list[int] = []

    def windows() -> Any:
        for begin in (0, 3, 6):
            asked.append(begin)
            yield Window(slice(begin, begin + 3))

    found = Trending.each(windows(), per="day", mass=0.5)
    first = next(found)

    assert asked == [0]
    assert first == Trending.of(VALUES[:3], TIMES[:3], mass=0.5)
    assert [value.first for value in found] == [
        TIMES[3].replace(microsecond=1000),
        TIMES[6].replace(microsecond=1000),
    ]


def test_columns() -> None:
    """The columns are those of the three, side by side."""
    values = np.array(VALUES, float)
    found = trending(values, 4, 2, times=TIMES, per="hour", percentiles=[50], ddof=0)
    spreads = spread(values, 4, 2, percentiles=[50], ddof=0)
    lines = regression(values, 4, 2, times=TIMES, per="hour")
    peaks = density(values, 4, 2)

    for name, column in found.items():
        expected = lines["n"] if name == "points" else {**lines, **peaks, **spreads}[name]
        np.testing.assert_array_equal(column, expected, err_msg=name)
    assert {*found} == {*spreads, *lines, *peaks, "points"}


def test_columns_of_a_window() -> None:
    """What has values and times needs no times beside it."""
    found = trending(Window(slice(None)), 3)

    np.testing.assert_array_equal(found["slope"], trending(VALUES, 3, times=TIMES)["slope"])


def test_a_value_without_time_counts_in_the_spread() -> None:
    """The spread needs no time; the regression counts its own points."""
    times = [*TIMES[:3], None]
    found = Trending.of([1, 2, 3, 4], times)

    assert (found.n, found.regression.n, found.regression.left_out) == (4, 3, 1)
    assert found.last == TIMES[2].replace(microsecond=1000)
    assert trending([1, 2, 3, 4], 4, times=times)["points"].tolist() == [3]


def test_bad_input_is_refused() -> None:
    """Times are checked as those of a regression."""
    with pytest.raises(QueryError, match="^Trending: .*aware datetimes"):
        Trending.of([1], [datetime(2013, 1, 1)])
    with pytest.raises(QueryError, match="expected 2 times"):
        trending([1, 2], 1, times=TIMES[:1])


# Windows of moments


class Price(Moment):
    """A price, which may be missing."""

    amount: float | None
    volume: int | None


def window() -> MomentWindow:
    """Return a window of a price each six hours, in New York."""
    prices = [
        Price(symbol="ACME", time=time, amount=value, volume=None if value is None else int(value))
        for time, value in zip(TIMES, VALUES, strict=True)
    ]
    return MomentWindow(prices, tzone="America/New_York")


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Tell whether columns are one, NaN being equal to itself."""
    assert list(one) == list(two)
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name], name)
    return True


@pytest.mark.parametrize("field", ["amount", "volume"])
def test_a_field_of_a_window(field: str) -> None:
    """A window with the name of a field is the series of that field, which has times."""
    series = window()[field]

    assert same(spread(window(), 4, field=field), spread(series, 4))
    assert same(spread(series, 4), spread(VALUES, 4))
    assert same(density(window(), 4, 2, field=field), density(VALUES, 4, 2))
    cut = [time.replace(microsecond=1000) for time in TIMES]
    assert same(regression(window(), 4, field=field), regression(VALUES, 4, times=cut))
    assert same(
        trending(window(), 4, field=field, per="hour"), trending(VALUES, 4, times=cut, per="hour")
    )
    assert Spread.of(series) == Spread.of(VALUES)
    assert Trending.of(series) == Trending.of(VALUES, cut)


def test_windows_one_by_one() -> None:
    """Whatever slides over a window is taken with the name of a field."""
    slid = window().sliding_window("18h", "6h")

    found = list(Trending.each(slid, field="amount", mass=0.5))
    assert found == [Trending.of(one["amount"], mass=0.5) for one in slid]
    assert len(found) > 3


def test_windows_without_a_field() -> None:
    """A window is no row of values, and what has no fields has no field."""
    for name in (spread, regression, density, trending):
        with pytest.raises(QueryError, match=r"name one of its fields: window\['price'\]"):
            name(window(), 4)
        with pytest.raises(QueryError, match="expected a window with field='amount', got list"):
            name(VALUES, 4, field="amount")
        with pytest.raises(FieldError, match="did you mean 'amount'"):
            name(window(), 4, field="amuont")
    with pytest.raises(QueryError, match="name one of its fields"):
        Spread.of(window())
    with pytest.raises(QueryError, match=r"Trending\.over: .*; name one of its fields"):
        list(Trending.over(window(), DailyFrame))


def test_masked_values_are_left_out() -> None:
    """What is masked is missing, also among integers that floats do not hold."""
    whole = np.ma.MaskedArray([2**60, 5, 2**60 + 2], [False, True, False])
    assert Spread.of(whole) == Spread.of([2**60, None, 2**60 + 2])
    assert Spread.of(whole).std == 2**0.5
    rest = np.ma.MaskedArray([1.0, np.nan, 3.0, 4.0], [True, False, False, False])
    assert Spread.of(rest) == Spread.of([None, None, 3.0, 4.0])
    assert Spread.of(np.ma.MaskedArray([1, 2], [True, True])) == Spread.of([None, None])
    times = np.ma.MaskedArray(np.arange(3).astype("datetime64[D]"), [False, True, False])
    assert Regression.of([1, 2, 5], times).left_out == 1


# Frames of the calendar


def test_over_frames() -> None:
    """Each frame has all three of its own values; those without are there, with no data."""
    late = [*TIMES, TIMES[-1] + timedelta(days=2)]
    values = [*VALUES, 8.0]
    zone = "America/New_York"

    found = list(Trending.over(values, DailyFrame, times=late, tzone=zone, mass=0.5))

    days = [DailyFrame(time, zone) for time in late]
    for day, trend in found:
        places = [place for place, one in enumerate(days) if one == day]
        mine = [values[place] for place in places], [late[place] for place in places]
        expected = Trending.of(*mine, mass=0.5)
        assert (trend.spread, trend.density) == (expected.spread, expected.density)
        assert (trend.regression, trend.first) == (expected.regression, expected.first)
    assert [day for day, _ in found] == list(DailyFrame.range(late[0], late[-1], zone))
    assert [trend.n + trend.left_out for _, trend in found] == [1, 4, 4, 0, 1]
    assert [bool(trend) for _, trend in found] == [True, True, True, False, True]


def test_over_frames_in_any_order() -> None:
    """Values need not be in the order of time."""
    mixed = [5, 0, 8, 2, 7, 1, 3, 6, 4]
    values, times = [VALUES[n] for n in mixed], [TIMES[n] for n in mixed]

    assert list(Trending.over(values, DailyFrame, times=times)) == list(
        Trending.over(VALUES, DailyFrame, times=TIMES)
    )


def test_over_frames_of_a_window() -> None:
    """The zone is that of the window; options are those of kinds and of the parts."""
    found = list(Trending.over(window(), WeeklyFrame, field="amount", week_start="wednesday"))

    assert [(week.floor.isoformat(), trend.n, trend.left_out) for week, trend in found] == [
        ("2012-12-26T00:00:00-05:00", 4, 1),
        ("2013-01-02T00:00:00-05:00", 4, 0),
    ]
    assert found[1][1] == Trending.of(window()[5:]["amount"])


def test_columns_over_frames() -> None:
    """Columns have an entry for each frame, NaN where there is no data."""
    ends = {"start": TIMES[0], "end": TIMES[-1] + timedelta(days=2)}
    columns = trending(window(), DailyFrame, field="amount", percentiles=[50], **ends)
    each = list(Trending.over(window(), DailyFrame, field="amount", percentiles=[50], **ends))

    assert columns["floor"].tolist() == [
        day.floor.astimezone(timezone.utc).replace(tzinfo=None) for day, _ in each
    ]
    assert columns["n"].tolist() == [trend.n for _, trend in each] == [1, 3, 4, 0, 0]
    assert columns["left_out"].tolist() == [trend.left_out for _, trend in each]
    assert columns["p50"].tolist()[:3] == [trend.spread.median for _, trend in each][:3]
    assert columns["slope"].tolist()[1] == each[1][1].regression.slope
    assert columns["peak"].tolist()[2] == each[2][1].density.peak
    assert np.isnan(columns["mean"][3:]).all()
    assert np.isnat(columns["origin"][3:]).all()
    assert list(columns)[1:] == list(trending(VALUES, 4, times=TIMES, percentiles=[50]))


def test_frames_need_times() -> None:
    """Values without times are in no frame, and what cannot be is refused by the call."""
    with pytest.raises(QueryError, match="a time for each of 9 values, got 9 without"):
        Trending.over(VALUES, DailyFrame)
    with pytest.raises(QueryError, match="a time for each of 9 values, got 1 without"):
        Trending.over(VALUES, DailyFrame, times=[*TIMES[:8], None])
    with pytest.raises(QueryError, match="expected a kind of frames"):
        Trending.over(VALUES, int, times=TIMES)  # type: ignore[arg-type]
    with pytest.raises(TimeFrameError, match="week_start: expected it with WeeklyFrame"):
        Trending.over(VALUES, DailyFrame, times=TIMES, week_start=1)
    with pytest.raises(QueryError, match="expected step=1 with frames, got 2"):
        trending(window(), DailyFrame, 2, field="amount")
    with pytest.raises(QueryError, match="expected tzone with frames, got windows of 4"):
        trending(window(), 4, field="amount", tzone="UTC")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"unit": "mph"}, "expected unit= with numbers, got it with datetimes"),
        ({"percentiles": [101]}, "expected percentiles from 0 to 100"),
        ({"ddof": -1}, "expected ddof to be 0, 1"),
        ({"mass": 90}, "expected a mass between 0 and 1"),
        ({"per": "days"}, "did you mean 'day'"),
    ],
)
def test_options_over_frames(options: dict[str, Any], problem: str) -> None:
    """What is no option of frames is refused by the call, also without values."""
    for of in (window(), window()[:0]):
        with pytest.raises(QueryError, match=problem):
            Trending.over(of, DailyFrame, field="amount", **options)
        if "mass" not in options:
            with pytest.raises(QueryError, match=problem):
                trending(of, DailyFrame, field="amount", **options)
