"""Trending: all three of one window, of many, and as columns."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from loom.errors import QueryError
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
