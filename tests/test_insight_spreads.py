"""Spread, of one row of values and of all sliding windows."""

from __future__ import annotations

import math
import statistics
import warnings
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import QueryError
from loom.frames.time.insight import Spread, spread
from loom.frames.time.percentiles import DEFAULT, ranked_windows

LEVELS = (0, 2.5, 25, 50, 75, 97.5, 100)
FLOATS = st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float)
#: What no square of a float can hold beside what 64 bits can.
WIDE = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)


def exact_std(values: Any, ddof: int = 1) -> float:
    """Return the standard deviation by rational arithmetic."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - ddof)
    if not variance:
        return 0.0
    # A root of a fraction, with more digits than a float has.
    scale = 4 ** max(0, 200 + (variance.denominator.bit_length() - variance.numerator.bit_length()))
    root = math.isqrt(int(variance * scale))
    return float(Fraction(root, math.isqrt(scale)))


# One row


@given(st.lists(FLOATS, min_size=1, max_size=60))
def test_figures_are_those_of_the_libraries(values: list[float]) -> None:
    """Every figure is NumPy's, and the mean the exact one, but for its last digit."""
    found = Spread.of(values, percentiles=LEVELS)

    assert found.n == found.count == len(values)
    assert found.mean == pytest.approx(
        float(sum(map(Fraction, values)) / len(values)), rel=3e-16, abs=0
    )
    assert (found.min, found.max) == (min(values), max(values))
    assert found.percentiles == pytest.approx(
        np.percentile(values, LEVELS).tolist(), rel=1e-15, abs=1e-9
    )
    assert found.median == pytest.approx(statistics.median(values), rel=1e-14, abs=1e-300)
    if len(values) > 1:
        assert found.std == pytest.approx(exact_std(values), rel=1e-14)


@given(st.lists(WIDE, max_size=12), st.integers(0, 2))
def test_any_floats(values: list[float], ddof: int) -> None:
    """Subnormal and huge values have a standard deviation as others have; infinities are left out."""
    kept = [value for value in values if math.isfinite(value)]
    found = Spread.of(values, ddof=ddof)

    assert (found.n, found.left_out, found.ddof) == (len(kept), len(values) - len(kept), ddof)
    if len(kept) > ddof:
        try:
            expected = exact_std(kept, ddof)
        except OverflowError:
            expected = math.inf
        assert found.std == pytest.approx(expected, rel=1e-12, abs=5e-324)
    else:
        assert found.std is None


@pytest.mark.parametrize(
    "values",
    [
        [1e9 + 0.25, 1e9 + 0.5, 1e9 + 1.75],
        [1e16, 1.0, -1e16, 2.0],
        [1e-200, 2e-200, 4e-200],
        [5e-324, 1e-323, 0.0],
        [1e308, -1e308, 1.7e308],
        [1.0, 1.0 + 2**-52],
        [0.1] * 10,
    ],
)
def test_digits_are_not_lost(values: list[float]) -> None:
    """Large offsets, tiny spreads and the ends of the range of floats keep their digits."""
    found = Spread.of(values)

    assert found.mean == pytest.approx(
        float(sum(map(Fraction, values)) / len(values)), rel=3e-16, abs=0
    )
    assert found.std == pytest.approx(exact_std(values), rel=1e-14, abs=5e-324)


@pytest.mark.parametrize(
    "values",
    [
        [10**18, 10**18 + 1, 10**18 + 5],
        np.array([10**18, 10**18 + 1, 10**18 + 5]),
        np.array([2**64 - 1, 2**64 - 3, 2**64 - 7], np.uint64),
        [Decimal("100000000000000000000.1"), Decimal("100000000000000000000.3")],
        [Decimal("0.1"), Decimal("0.1") + Decimal("1e-25")],
        [10**30, 10**30 + 1, 10**30 + 3],
        [Fraction(1, 3), Fraction(1, 3) + Fraction(1, 10**20)],
    ],
    ids=str,
)
def test_large_integers_and_decimals(values: Any) -> None:
    """What floats cannot tell apart is counted from the middle first."""
    exact = [
        Fraction(v) if isinstance(v, (Decimal, Fraction)) else Fraction(int(v)) for v in values
    ]
    found = Spread.of(values)

    assert found.std == pytest.approx(exact_std(exact), rel=1e-14)
    assert found.mean == pytest.approx(float(sum(exact) / len(exact)), rel=1e-15)
    assert (found.min, found.max) == (float(min(exact)), float(max(exact)))
    windows = spread(values, len(values))
    assert windows["std"][0] == pytest.approx(found.std, rel=1e-14)
    assert windows["mean"][0] == pytest.approx(found.mean, rel=1e-15)


def test_an_integer_beside_an_outlier_keeps_its_digits() -> None:
    """Nothing is counted from a middle that would cost digits."""
    found = Spread.of([Decimal("1e30"), Decimal("1e30"), Decimal("0.3")])

    assert found.min == 0.3


def test_one_and_equal_values() -> None:
    """One value has no deviation with ddof=1 and 0 with ddof=0; equal values have 0."""
    assert Spread.of([5]).std is None
    assert Spread.of([5], ddof=0).std == 0.0
    assert Spread.of([0.1] * 7).std == 0.0
    assert Spread.of([0.1] * 7).mean == 0.1


def test_percentiles_by_name() -> None:
    """A percentile that was asked for is there; another is an error that says how to ask."""
    found = Spread.of([1, 2, 3], percentiles=[10, 90])

    assert (found.percentile(10), found.percentile(90.0)) == (1.2, 2.8)
    assert Spread.of([], percentiles=[10]).percentile(10) is None
    with pytest.raises(QueryError, match=r"asked for \(10, 90\), got 50"):
        found.percentile(50)


@pytest.mark.parametrize("levels", [[-1], [101], [50, 50], [math.nan], ["x"], 50, [None]])
def test_percentiles_are_checked(levels: Any) -> None:
    """Levels are from 0 to 100, each once."""
    with pytest.raises(QueryError, match="expected percentiles from 0 to 100, each once, got '50'"):
        Spread.of([1], percentiles="50")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="expected percentiles from 0 to 100"):
        Spread.of([1], percentiles=levels)
    with pytest.raises(QueryError, match="expected percentiles from 0 to 100"):
        spread([1], 1, percentiles=levels)


@pytest.mark.parametrize("ddof", [-1, 1.5, True, None])
def test_ddof_is_checked(ddof: Any) -> None:
    """A ddof is 0, 1, 2 ..."""
    with pytest.raises(QueryError, match="expected ddof"):
        Spread.of([1], ddof=ddof)
    with pytest.raises(QueryError, match="expected ddof"):
        spread([1], 1, ddof=ddof)


# Sliding windows


@settings(max_examples=200)
@given(
    st.lists(FLOATS | st.just(math.nan), max_size=80),
    st.integers(1, 20),
    st.integers(1, 25),
    st.integers(0, 2),
)
def test_windows_are_as_one_by_one(values: list[float], size: int, step: int, ddof: int) -> None:
    """The columns hold what each window's own spread says."""
    columns = spread(values, size, step, percentiles=LEVELS, ddof=ddof)
    begins = range(0, len(values) - size + 1, step)

    assert len(columns["n"]) == len(begins)
    for number, begin in enumerate(begins):
        window = values[begin : begin + size]
        alone = Spread.of(window, percentiles=LEVELS, ddof=ddof)
        largest = max((abs(v) for v in window if v == v), default=0)
        assert columns["n"][number] == alone.n
        assert columns["left_out"][number] == alone.left_out
        for name, value in {
            "mean": alone.mean, "std": alone.std, "min": alone.min, "max": alone.max,
            **{f"p{q:g}": alone.percentile(q) for q in LEVELS},
        }.items():  # fmt: skip
            expected = math.nan if value is None else value
            tolerance = 1e-13 * (expected if name == "std" else largest)
            assert columns[name][number] == pytest.approx(expected, abs=tolerance, nan_ok=True), (
                name
            )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("size", "step"), [(300, 1), (600, 1), (600, 7), (1000, 500), (30, 11)])
def test_large_windows_are_as_numpy_says(size: int, step: int, missing: bool) -> None:
    """However the percentiles are found, they are NumPy's."""
    rng = np.random.default_rng(size)
    values = np.round(rng.normal(size=2_000), 2)
    if missing:
        values[rng.random(2_000) < 0.1] = np.nan
        values[100:1200] = np.nan
    columns = spread(values, size, step, percentiles=DEFAULT)
    windows = np.lib.stride_tricks.sliding_window_view(values, size)[::step]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of windows without a value
        for level in DEFAULT:
            expected = np.nanpercentile(windows, level, axis=1)
            np.testing.assert_allclose(columns[f"p{level:g}"], expected, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(columns["min"], np.nanmin(windows, axis=1))
        np.testing.assert_array_equal(columns["max"], np.nanmax(windows, axis=1))
        np.testing.assert_allclose(columns["mean"], np.nanmean(windows, axis=1), atol=1e-14)
        np.testing.assert_allclose(columns["std"], np.nanstd(windows, axis=1, ddof=1), rtol=1e-12)


@given(st.lists(FLOATS | st.just(math.nan), min_size=1, max_size=40), st.integers(1, 12))
def test_both_ways_to_percentiles_agree(values: list[float], size: int) -> None:
    """Sorting each window, and moving one sorted list, find the same."""
    from loom.frames.time import percentiles

    array = np.array(values)
    if size > len(array):
        return
    n = (~np.isnan(np.lib.stride_tricks.sliding_window_view(array, size))).sum(axis=1)
    arguments = (array, n, size, 1, (10.0, 50.0))
    sorting = [
        np.concatenate(c)
        for c in zip(*(f for _, f in percentiles._by_sorting(*arguments)), strict=True)
    ]
    moving = [
        np.concatenate(c)
        for c in zip(*(f for _, f in percentiles._by_moving(*arguments)), strict=True)
    ]
    chosen = [
        np.concatenate(c) for c in zip(*(f for _, f in ranked_windows(*arguments)), strict=True)
    ]

    np.testing.assert_array_equal(sorting, moving)
    np.testing.assert_array_equal(chosen, moving)


def test_what_left_a_window_leaves_no_trace() -> None:
    """Where pandas' online algorithm loses digits, these windows are exact."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    values[:30] += 1e16
    values[200:] += 1e9
    columns = spread(values, 20)
    expected = [exact_std(values[i : i + 20]) for i in range(len(values) - 19)]
    theirs = pd.Series(values).rolling(20).std().to_numpy()[19:]

    np.testing.assert_allclose(columns["std"], expected, rtol=1e-13)
    assert np.abs(theirs / expected - 1).max() > 1e-6
    means = [math.fsum(values[i : i + 20]) / 20 for i in range(len(values) - 19)]
    np.testing.assert_allclose(columns["mean"][200:], means[200:], rtol=1e-15)
    np.testing.assert_allclose(columns["mean"][30:181], means[30:181], atol=1e-15)


def test_equal_values_do_not_vary() -> None:
    """Windows of equal values have exactly their value as mean, and 0 as deviation."""
    columns = spread([7.3] * 50 + [0.1] * 100, 30)

    assert columns["std"][0] == 0
    assert (columns["std"][50:] == 0).all()
    assert (columns["mean"][50:] == 0.1).all()
    assert columns["std"][40] > 3


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e150, 1e307, 5e-324])
def test_windows_at_the_ends_of_the_range(factor: float) -> None:
    """Tiny and huge values vary as others do, also beside values of another size."""
    small = np.array([1.0, 2.0, 4.0, 8.0, 9.0, 3.0]) * factor
    values = np.concatenate([small, [1.0, 2.0, 4.0, 1.0]])
    for array in (small, values):
        columns = spread(array, 3)
        expected = [exact_std(array[i : i + 3]) for i in range(len(array) - 2)]
        np.testing.assert_allclose(columns["std"], expected, rtol=1e-12, atol=5e-324)


@settings(max_examples=300)
@given(st.lists(WIDE, min_size=1, max_size=12), st.integers(1, 5))
def test_windows_of_any_floats(values: list[float], size: int) -> None:
    """Whatever the floats are, a window's deviation is that of its own spread."""
    columns = spread(values, size)
    for begin in range(len(values) - size + 1):
        alone = Spread.of(values[begin : begin + size])
        expected = math.nan if alone.std is None else alone.std
        assert columns["std"][begin] == pytest.approx(expected, rel=1e-9, abs=1e-320, nan_ok=True)
        assert columns["n"][begin] == alone.n


def test_blocks_join_without_a_seam() -> None:
    """More windows than fit a block are the same as fewer."""
    values = np.random.default_rng(2).normal(size=30_000)
    whole = spread(values, 30)
    part = spread(values[8_000:9_000], 30)
    strided = spread(values, 30, 7)

    for name, column in part.items():
        np.testing.assert_array_equal(whole[name][8_000 : 8_000 + len(column)], column)
        np.testing.assert_array_equal(whole[name][::7], strided[name])


@pytest.mark.parametrize("size", ["24h", timedelta(days=1)])
def test_durations_have_another_form(size: Any) -> None:
    """Sliding windows of insight have so many values; a duration is told where it can be given."""
    with pytest.raises(QueryError, match=r"1, 2, 3 \.\.\., got .*; Trending\.each\(window\.slid"):
        spread([1.0, 2.0], size)
