"""Regression, of one row of points and of all sliding windows."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from loom.errors import QueryError
from loom.frames.time.insight import Regression, regression

START = datetime(2013, 1, 1, tzinfo=timezone.utc)
FIGURES = ("slope", "intercept", "r", "p", "stderr", "intercept_stderr")
NUMBERS = st.integers(-1000, 1000).map(lambda value: value / 8)


def of_scipy(x: Any, y: Any) -> dict[str, float]:
    """Return the figures by SciPy, under our names."""
    found = stats.linregress(x, y)
    values = (
        found.slope,
        found.intercept,
        found.rvalue,
        found.pvalue,
        found.stderr,
        found.intercept_stderr,
    )
    return dict(zip(FIGURES, map(float, values), strict=True))


# One row


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=40))
def test_figures_are_those_of_scipy(points: list[tuple[float, float]]) -> None:
    """With three points or more every figure is that of `linregress`."""
    x, y = zip(*points, strict=True)
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    found = Regression.of(y, x, unit="day")
    expected = of_scipy([value - x[0] for value in x], y)
    assume(abs(expected["r"]) < 1 - 1e-6)

    assert (found.n, found.left_out, found.per, found.origin) == (len(points), 0, "day", x[0])
    scale = max(map(abs, y))
    for name in FIGURES:
        tolerance = {"slope": scale * 1e-9, "intercept": scale * 1e-9, "r": 1e-9}.get(name, 0)
        assert found[name] == pytest.approx(expected[name], rel=1e-8, abs=tolerance), name


@pytest.mark.parametrize(
    "times",
    [
        [START + timedelta(hours=6 * i) for i in range(5)],
        [
            (START + timedelta(hours=6 * i)).astimezone(ZoneInfo("America/New_York"))
            for i in range(5)
        ],
        np.datetime64("2013-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h"),
        np.datetime64("2013-01-01T00", "h") + np.arange(5) * np.timedelta64(6, "h"),
        pd.date_range("2013-01-01", periods=5, freq="6h", tz="UTC"),
        pd.date_range("2012-12-31 19:00", periods=5, freq="6h", tz="America/New_York").to_series(),
    ],
    ids=lambda times: type(times).__name__,
)
@pytest.mark.parametrize(("per", "factor"), [(None, 1), ("day", 1), ("hour", 1 / 24), ("week", 7)])
def test_times_in_any_form(times: Any, per: Any, factor: float) -> None:
    """The slope is per unit of true time, whatever the form and the zone of the times."""
    found = Regression.of([1, 2, 2, 4, 5], times, per=per)

    assert found.slope == pytest.approx(4 * factor)
    assert found.origin == START
    assert found.per == (per or "day")
    assert (found.x_low, found.x_high) == (0, pytest.approx(1 / factor))
    assert "origin=2013-01-01 00:00:00+00:00" in repr(found)


def test_times_across_a_change_of_clocks() -> None:
    """An hour that the clocks skip is not counted."""
    zone = ZoneInfo("America/New_York")
    times = [datetime(2013, 3, 10, hour, tzinfo=zone) for hour in (1, 3, 4)]

    assert Regression.of([1, 2, 3], times, per="hour").slope == pytest.approx(1)


def test_times_of_a_window() -> None:
    """What has `.values` and `.times` needs no times beside it."""

    class Window:
        values = np.array([1.0, 2.0, 4.0])
        times = np.array(["2013-01-01", "2013-01-02", "2013-01-03"], "datetime64[D]")

    assert Regression.of(Window()) == Regression.of(Window.values, Window.times)
    assert regression(Window(), 2)["slope"].tolist() == [1.0, 2.0]
    assert Regression.of(Window(), [0, 2, 4], unit="day").slope == 0.75


def test_numbers_with_a_unit() -> None:
    """Times may be numbers when their unit is named."""
    found = Regression.of([5, 7, 9], [1000, 1060, 1120], unit="second", per="minute")

    assert (found.slope, found.intercept, found.origin, found.at(3)) == (2, 5, 1000, 11)
    seconds = [Decimal(time) + 10**18 for time in (0, 60, 120)]
    assert Regression.of([5, 7, 9], seconds, unit="second", per="minute").n == 3


NONE_OF_TIME = [
    [-5, 3, 8.5, 20, 7],
    np.array([1e-90, 4e-90, 2e-90, 3e-90, 9e-90]),
    [Decimal("1000.1"), Decimal("1000.3"), Decimal("1000.2"), Decimal("999"), Decimal("1001.5")],
    np.ma.MaskedArray([3, 9, 4, 5, 1], [False, False, False, True, False]),
    [None, 3, math.inf, 5, 7],
]


@pytest.mark.parametrize("x", NONE_OF_TIME, ids=str)
def test_numbers_that_are_no_times(x: Any) -> None:
    """Whatever has a unit may be x; it is 0 where the number is."""
    y = [1, 4, 9, 16.5, 3]
    found = Regression.of(y, x, unit="mph")
    plain = np.ma.filled(np.ma.array(x, np.float64), np.nan)
    kept = np.isfinite(plain)
    expected = of_scipy(plain[kept], np.array(y)[kept])

    assert (found.n, found.left_out) == (kept.sum(), 5 - kept.sum())
    for name in FIGURES:
        assert found[name] == pytest.approx(expected[name], rel=1e-7), name
    assert (found.per, found.origin) == ("mph", 0)
    assert "per mph" in repr(found)
    assert found.at(2.5) == pytest.approx(expected["intercept"] + 2.5 * expected["slope"])
    columns = regression(y, 5, times=x, unit="mph")
    for name in FIGURES:
        assert columns[name].tolist() == [pytest.approx(expected[name], rel=1e-6)]
    assert columns["origin"].tolist() == [0]


def test_a_series_as_x() -> None:
    """Of what has values and times, the values are x, and never silently the times."""

    class Wind:
        values = np.array([5.0, 20, 7])
        times = np.array(["2013-01-01", "2013-01-02", "2013-01-03"], "datetime64[us]")

    found = Regression.of([1, 2, 4], Wind(), unit="mph")
    assert found == Regression.of([1, 2, 4], Wind.values, unit="mph")
    columns = regression([1, 2, 4], 3, times=Wind(), unit="mph")
    assert columns["slope"].tolist() == [pytest.approx(found.slope)]
    with pytest.raises(QueryError, match=r"name the unit of its values.*or pass its \.times"):
        Regression.of([1, 2, 4], Wind())


def test_how_far_numbers_go() -> None:
    """It is known between which x the points lie, whatever their signs and their order."""
    for x in ([5, 20, 7], [-5, -20, 7], [-5, -20, -7], [0, 0, 0]):
        found = Regression.of([1, 2, 4], x, unit="°F")

        assert (found.x_low, found.x_high) == (min(x), max(x))
    days = [START + n * timedelta(days=1) for n in (2, 0, 1)]
    found = Regression.of([1, 2, 4], days)

    assert (found.origin, found.x_low, found.x_high) == (days[0], -2, 0)
    assert Regression.of([], []).x_low is None


@pytest.mark.parametrize(
    ("times", "options", "problem"),
    [
        ([1, 2], {}, "numbers whose unit is named"),
        ([datetime(2013, 1, 1)] * 2, {}, "expected aware datetimes"),
        ([START, 5], {}, "expected aware datetimes, got 5"),
        (np.array([0, 2**55], "M8[D]"), {}, "expected times within 64 bits of microseconds"),
        (np.array([2**62, 0], "M8[s]"), {}, "of datetime64.s. that are too far away"),
        ([START], {}, "expected 2 times, one for each value"),
        ([START] * 2, {"unit": "second"}, "expected unit= with numbers"),
        ([1, 2], {"unit": "hours"}, "expected unit= one of nanosecond.*did you mean 'hour'"),
        ([1, 2], {"unit": ""}, "expected unit= one of nanosecond.*or the name of another"),
        ([1, 2], {"unit": 3}, "expected unit= one of nanosecond.*or the name of another"),
        ([1, 2], {"unit": "mph", "per": "hour"}, "got it with numbers in 'mph'.*leave per= out"),
        ([START] * 2, {"unit": "mph"}, "expected unit= with numbers"),
        ([START] * 2, {"per": "hours"}, "expected per= .*did you mean 'hour'"),
        ([START] * 2, {"per": "month"}, "expected per= one of nanosecond"),
        (None, {"per": "day"}, "got none; pass times="),
        (None, {"unit": "day"}, "got none; pass times="),
    ],
    ids=str,
)
def test_times_are_checked(times: Any, options: dict[str, str], problem: str) -> None:
    """Naive datetimes, numbers without a unit and what else is not clear is refused."""
    with pytest.raises(QueryError, match=f"^Regression: .*{problem}"):
        Regression.of([1, 2], times, **options)
    with pytest.raises(QueryError, match=f"^regression: .*{problem}"):
        regression([1, 2], 2, times=times, **options)


def test_points_that_are_left_out() -> None:
    """A point without value or time is left out; x is counted from the first that is not."""
    times = [START, None, *(START + timedelta(days=i) for i in (2, 3, 4))]
    found = Regression.of([None, 1, 5, float("inf"), 9], times)

    assert (found.n, found.left_out) == (2, 3)
    assert (found.slope, found.intercept, found.origin) == (2, 5, START + timedelta(days=2))


def test_documented_answers() -> None:
    """No point, one, two, one time and equal values have the answers that are promised."""
    none = dict.fromkeys(FIGURES)
    for values, times in (([], []), ([3], [0]), ([3, 5], [1, 1])):
        found = Regression.of(values, times, unit="day")
        assert {name: found[name] for name in FIGURES} == none
        assert found.at(1) is None
        assert found.n == len(values)
    assert "no line" in repr(Regression.of([3, 5], [1, 1], unit="day"))

    two = Regression.of([3, 1])
    assert (two.slope, two.intercept, two.r) == (-2, 3, -1)
    assert (two.p, two.stderr, two.intercept_stderr) == (None, None, None)

    equal = Regression.of([0.1] * 5)
    assert (equal.slope, equal.intercept, equal.r, equal.p) == (0, 0.1, None, None)
    assert (equal.stderr, equal.intercept_stderr) == (0, 0)
    assert Regression.of([7, 7]).stderr is None

    exact = Regression.of([1, 2, 3, 4])
    assert (exact.r, exact.p, exact.stderr) == (1, 0, 0)


def test_digits_are_not_lost() -> None:
    """A large offset of values or times costs no digits, nor do tiny and huge values."""
    y = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    plain = Regression.of(y)
    for moved in (y + 2.0**40, [int(v) + 10**18 for v in y], [Decimal(v) + 10**25 for v in y]):
        found = Regression.of(moved)
        assert (found.slope, found.r) == pytest.approx((plain.slope, plain.r), rel=1e-14)
        assert found.stderr == pytest.approx(plain.stderr, rel=1e-12)
    for factor in (1e-300, 1e-160, 1e150, 1e307):
        found = Regression.of(y * factor)
        assert found.slope == pytest.approx(plain.slope * factor, rel=1e-13)
        assert (found.r, found.p) == pytest.approx((plain.r, plain.p), rel=1e-12)
    late = Regression.of(y, np.arange(5) + 1.6e9, unit="second", per="second")
    assert late.slope == pytest.approx(plain.slope, rel=1e-14)


# Sliding windows


@settings(max_examples=200)
@given(
    st.lists(st.tuples(NUMBERS | st.just(math.nan), NUMBERS | st.just(math.nan)), max_size=40),
    st.integers(1, 12),
    st.integers(1, 15),
)
def test_windows_are_as_one_by_one(points: list[tuple[float, float]], size: int, step: int) -> None:
    """The columns hold what each window's own regression says."""
    times, values = zip(*points, strict=True) if points else ((), ())
    columns = regression(values, size, step, times=times, unit="hour", per="day")
    begins = range(0, len(points) - size + 1, step)

    assert len(columns["n"]) == len(begins)
    for number, begin in enumerate(begins):
        window = slice(begin, begin + size)
        alone = Regression.of(values[window], times[window], unit="hour", per="day")
        scale = max((abs(v) for v in values[window] if v == v), default=0) * 1e-9
        slopes = scale + abs(alone.slope or 0) * 1e-9
        assert (columns["n"][number], columns["left_out"][number]) == (alone.n, alone.left_out)
        near = alone.r is not None and abs(alone.r) > 1 - 1e-6
        for name in (*FIGURES, "origin"):
            value = getattr(alone, name)
            if near and name in ("p", "stderr", "intercept_stderr"):
                continue  # what is left of 1 has few digits
            tolerance = {"r": 1e-9, "p": 1e-9, "slope": slopes, "stderr": slopes}.get(
                name, 1e-6 * scale * 1e9
            )
            expected = math.nan if value is None else value
            assert columns[name][number] == pytest.approx(
                expected, rel=1e-7, abs=tolerance, nan_ok=True
            ), name


@pytest.mark.parametrize("count", [0, 1, 2])
def test_windows_larger_than_all_points(count: int) -> None:
    """There is no line, whatever times are; columns keep their types."""
    times = [datetime(2024, 3, 10, hour, tzinfo=timezone.utc) for hour in range(count)]
    dated = regression([1.0] * count, 3, times=times)
    numbered = regression([1.0] * count, 3, times=[0.0] * count, unit="second")

    for found in (dated, regression([1.0] * count, 3)) + ((numbered,) if count else ()):
        assert {0} == {len(column) for column in found.values()}
    assert np.dtype("datetime64[us]") == dated["origin"].dtype


def test_windows_over_times() -> None:
    """Times are datetimes in the columns, and every window has an origin of its own."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2013-01-01", "us") + np.sort(rng.integers(0, 10**12, 500)).astype(
        "m8[us]"
    )
    values = rng.normal(size=500).cumsum() + 1e9
    columns = regression(values, 30, 7, times=times, per="hour")

    for number in range(0, len(columns["n"]), 10):
        window = slice(7 * number, 7 * number + 30)
        alone = Regression.of(values[window], times[window], per="hour")
        assert columns["origin"][number].item().replace(tzinfo=timezone.utc) == alone.origin
        x = (times[window] - columns["origin"][number]) / np.timedelta64(1, "h")
        expected = of_scipy(x, values[window] - 1e9)
        for name in FIGURES:
            offset = 1e9 if name == "intercept" else 0
            assert columns[name][number] - offset == pytest.approx(expected[name], rel=1e-6)
            assert columns[name][number] == pytest.approx(alone[name], rel=1e-10)


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e150])
def test_windows_at_the_ends_of_the_range(factor: float) -> None:
    """Tiny and huge values have the slope that others have, also beside values of another size."""
    values = np.concatenate([np.array([1.0, 3.0, 2.0, 5.0, 4.0]) * factor, [1.0, 2.0, 5.0]])
    columns = regression(values, 4)
    plain = regression([1.0, 3.0, 2.0, 5.0, 4.0], 4)

    for name in ("slope", "stderr", "intercept", "intercept_stderr"):
        np.testing.assert_allclose(columns[name][:2] / factor, plain[name], rtol=1e-12, atol=1e-14)
    for name in ("r", "p"):
        np.testing.assert_allclose(columns[name][:2], plain[name], rtol=1e-12)


def test_large_numbers_as_times() -> None:
    """Nanoseconds since 1970 are more than a float tells apart, and are told apart."""
    times = [1_357_000_000_000_000_000 + nanosecond for nanosecond in (0, 1, 3)]
    found = Regression.of([5, 7, 11], times, unit="nanosecond", per="nanosecond")

    assert (found.slope, found.intercept, found.x_high) == (2, 5, 3)
    assert found.origin == 1.357e18
    columns = regression([5, 7, 11], 2, times=times, unit="nanosecond", per="nanosecond")
    assert columns["slope"].tolist() == [2, 2]
