"""PdfValue, of one row of values and of all sliding windows."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from loom.errors import QueryError
from loom.frames.time.insight import PdfValue, density

NUMBERS = st.integers(-800, 800).map(lambda value: value / 8)
FIGURES = ("bandwidth", "peak", "density", "half_low", "half_high")


def samples() -> dict[str, Any]:
    """Return values whose densities differ in shape."""
    rng = np.random.default_rng(0)
    return {
        "normal": rng.normal(size=400),
        "two hills": np.concatenate([rng.normal(size=300), rng.normal(8, 0.5, 300)]),
        "far apart": np.array([0.0, 0.1, 0.2, 0.3, 1000.0]),
        "many hills": np.repeat(np.arange(8) * 5.0, [3, 1, 4, 1, 5, 9, 2, 6]),
        "skewed": rng.exponential(size=500),
        "outliers": rng.standard_cauchy(size=300),
        "two": np.array([1.0, 4.0]),
        "three": np.array([1.0, 1.0, 4.0]),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_peak_and_density_are_those_of_scipy(name: str) -> None:
    """The density at the peak is SciPy's, and nowhere on a fine grid is it greater."""
    values = SAMPLES[name]
    kernel = stats.gaussian_kde(values)
    found = PdfValue.of(values)
    grid = np.linspace(values.min(), values.max(), 20_001)

    assert found.bandwidth == pytest.approx(math.sqrt(kernel.covariance[0, 0]), rel=1e-12)
    assert found.density == pytest.approx(kernel(found.peak)[0], rel=1e-11)
    assert kernel(grid).max() <= found.density * (1 + 1e-11)
    step = found.bandwidth * 1e-4
    around = kernel([found.peak - step, found.peak, found.peak + step])
    assert around[1] >= max(around[0], around[2])


@pytest.mark.parametrize("name", SAMPLES)
def test_half_height_is_searched_outward(name: str) -> None:
    """Both ends have half the density of the peak, and between them it is nowhere lower."""
    kernel = stats.gaussian_kde(SAMPLES[name])
    found = PdfValue.of(SAMPLES[name])
    inside = kernel(np.linspace(found.half_low, found.half_high, 5_001)[1:-1])

    assert found.half_low < found.peak < found.half_high
    assert kernel([found.half_low, found.half_high]) == pytest.approx(found.density / 2, rel=1e-9)
    assert inside.min() >= found.density / 2 * (1 - 1e-9)
    assert found.half_width == found.half_high - found.half_low


def test_half_height_is_not_clipped() -> None:
    """The interval reaches beyond the values, as the density does."""
    found = PdfValue.of([2.0, 4.0])

    assert found.half_low < 2
    assert found.half_high > 4
    assert found.half_low + found.half_high == pytest.approx(6)


@pytest.mark.parametrize("mass", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", SAMPLES)
def test_region_of_highest_density(name: str, mass: float) -> None:
    """The intervals hold the mass, end at one level, and hold all that is above it."""
    values = SAMPLES[name]
    kernel = stats.gaussian_kde(values)
    found = PdfValue.of(values, mass=mass)
    ends = [end for interval in found.intervals for end in interval]
    held = sum(kernel.integrate_box_1d(low, high) for low, high in found.intervals)

    assert found.mass == pytest.approx(mass, abs=1e-10)
    assert held == pytest.approx(mass, abs=1e-9)
    assert ends == sorted(ends)
    assert kernel(ends) == pytest.approx(found.level, rel=1e-6)
    reach = 4 * found.bandwidth
    grid = np.linspace(values.min() - reach, values.max() + reach, 20_001)
    inside = np.zeros(len(grid), bool)
    for low, high in found.intervals:
        inside |= (grid > low) & (grid < high)
    at = kernel(grid)
    assert (at[inside] >= found.level * (1 - 1e-6)).all()
    assert (at[~inside] <= found.level * (1 + 1e-6)).all()


def test_several_intervals() -> None:
    """Two hills with a valley between them have two intervals."""
    found = PdfValue.of(SAMPLES["two hills"], mass=0.8)

    assert len(found.intervals) == 2
    assert found.intervals[0][1] < 6 < found.intervals[1][0]
    assert "densest=80 % in " in repr(found)
    assert "; " in repr(found)


def test_many_intervals_are_shown_briefly() -> None:
    """No more than four intervals are written out."""
    values = np.repeat(np.arange(12) * 100.0, 400) + np.tile(np.arange(400) / 100, 12)
    found = PdfValue.of(values[: 400 * 12], mass=0.5)

    assert len(repr(found)) < 300


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=30), st.floats(0.05, 0.95))
def test_any_values(values: list[float], mass: float) -> None:
    """Whatever the values are, the peak is the greatest density and the intervals hold the mass."""
    assume(len(set(values)) > 1)
    kernel = stats.gaussian_kde(values)
    found = PdfValue.of(values, mass=mass, points=0)
    grid = np.linspace(min(values), max(values), 2_001)

    assert kernel(grid).max() <= found.density * (1 + 1e-10)
    assert found.density == pytest.approx(kernel(found.peak)[0], rel=1e-9)
    assert found.mass == pytest.approx(mass, abs=1e-9)
    assert sum(kernel.integrate_box_1d(*interval) for interval in found.intervals) == pytest.approx(
        mass, abs=1e-8
    )


def test_the_lowest_of_equal_peaks() -> None:
    """Two hills of the same height: the peak is the lower one."""
    found = PdfValue.of([0, 0, 0, 1, 1, 1, 101, 101, 101, 100, 100, 100])

    assert found.peak == pytest.approx(0.5, abs=0.1 * found.bandwidth)
    assert density([0, 0, 0, 1, 1, 1, 101, 101, 101, 100, 100, 100], 12)["peak"][
        0
    ] == pytest.approx(found.peak, rel=1e-9)


def test_documented_answers() -> None:
    """No value, one, two and equal values have the answers that are promised."""
    nothing = PdfValue.of([])
    assert {nothing[name] for name in (*FIGURES, "level", "mass")} == {None}
    assert (nothing.intervals, nothing.curve, nothing.half_width) == ((), (), None)

    one = PdfValue.of([5])
    assert (one.peak, one.bandwidth, one.density, one.half_low, one.mass) == (
        5,
        None,
        None,
        None,
        None,
    )
    assert "one value" in repr(one)

    equal = PdfValue.of([0.1] * 4)
    assert (equal.peak, equal.bandwidth, equal.density) == (0.1, 0, None)
    assert (equal.half_low, equal.half_high, equal.half_width) == (0.1, 0.1, 0)
    assert (equal.mass, equal.intervals) == (1, ((0.1, 0.1),))
    assert "all values are equal" in repr(equal)

    two = PdfValue.of([1, 2])
    assert two.peak == pytest.approx(1.5)
    assert len(two.intervals) == 1


@pytest.mark.parametrize(
    "move",
    [
        lambda v: v + 2.0**33,
        lambda v: [Decimal(x) + 10**6 for x in v],
        lambda v: [int(x * 8) + 10**9 for x in v],
        lambda v: v * 1e-300,
        lambda v: v * 1e300,
        lambda v: v * 2.0**-1060,
    ],
)
def test_digits_are_not_lost(move: Any) -> None:
    """Large offsets, and values at the ends of the range of floats, keep the shape."""
    values = np.array([1.0, 1.5, 1.5, 2.0, 4.0, 4.25])
    plain, moved = PdfValue.of(values), PdfValue.of(move(values))
    scale = moved.bandwidth / plain.bandwidth

    # Bounds are floats: beside a large offset they keep no more digits than any.
    assert moved.half_width / moved.bandwidth == pytest.approx(
        plain.half_width / plain.bandwidth, rel=1e-5
    )
    assert moved.mass == pytest.approx(0.9, abs=1e-9)
    if scale > 1e-300:
        assert moved.density * moved.bandwidth == pytest.approx(
            plain.density * plain.bandwidth, rel=1e-12
        )


def test_widths_of_what_floats_cannot_tell_apart() -> None:
    """Bandwidth and density are those of the values as they were given."""
    values = [1, 2, 2, 3, 9]
    plain = PdfValue.of(values)
    for moved in ([v + 10**18 for v in values], [Decimal(v) + 10**25 for v in values]):
        found = PdfValue.of(moved)
        assert (found.bandwidth, found.density) == pytest.approx((plain.bandwidth, plain.density))
        columns = density(moved, 5)
        assert columns["density"][0] == pytest.approx(plain.density)


def test_curve() -> None:
    """The curve covers the density, has the points that were asked for, and integrates to 1."""
    values = SAMPLES["two hills"]
    found = PdfValue.of(values, points=301)
    places = np.linspace(found.curve_low, found.curve_high, 301)

    assert len(found.curve) == 301
    assert found.curve == pytest.approx(stats.gaussian_kde(values)(places), rel=1e-9, abs=1e-15)
    assert integrate.simpson(found.curve, x=places) == pytest.approx(1, abs=1e-3)
    assert PdfValue.of(values, points=0).curve == ()


@pytest.mark.parametrize("mass", [0, 1, -0.5, 90, "0.9", None, math.nan])
def test_mass_is_checked(mass: Any) -> None:
    """A mass is a share."""
    with pytest.raises(QueryError, match="expected a mass between 0 and 1"):
        PdfValue.of([1, 2], mass=mass)


@pytest.mark.parametrize("points", [-1, 1, 2.5, True, None])
def test_points_are_checked(points: Any) -> None:
    """A curve has no points, or at least two."""
    with pytest.raises(QueryError, match="expected points"):
        PdfValue.of([1, 2], points=points)


def test_large_samples() -> None:
    """Ten thousand values with outliers: nothing is lost between the hills."""
    values = np.random.default_rng(3).standard_cauchy(size=10_000)
    found = PdfValue.of(values)
    kernel = stats.gaussian_kde(values)

    assert found.density == pytest.approx(kernel(found.peak)[0], rel=1e-10)
    assert sum(kernel.integrate_box_1d(*pair) for pair in found.intervals) == pytest.approx(0.9)


# Sliding windows


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS | st.just(math.nan), max_size=30), st.integers(1, 10), st.integers(1, 12))
def test_windows_are_as_one_by_one(values: list[float], size: int, step: int) -> None:
    """The columns hold what each window's own density says."""
    columns = density(values, size, step)

    for number, begin in enumerate(range(0, len(values) - size + 1, step)):
        alone = PdfValue.of(values[begin : begin + size], points=0)
        assert (columns["n"][number], columns["left_out"][number]) == (alone.n, alone.left_out)
        for name in FIGURES:
            expected = math.nan if alone[name] is None else alone[name]
            tolerance = 1e-8 * (alone.bandwidth or 0)
            assert columns[name][number] == pytest.approx(
                expected, rel=1e-8, abs=tolerance, nan_ok=True
            ), name


@pytest.mark.parametrize("name", SAMPLES)
def test_windows_of_any_shape(name: str) -> None:
    """Hills, outliers and offsets are found in windows as alone."""
    values = SAMPLES[name] + 2.0**20
    size = min(50, len(values))
    columns = density(values, size, 31)

    for number in range(len(columns["n"])):
        alone = PdfValue.of(values[31 * number : 31 * number + size], points=0)
        for figure in FIGURES:
            offset = 0 if figure in ("bandwidth", "density") else 2.0**20
            tolerance = 1e-8 * alone.bandwidth if offset else 0
            assert columns[figure][number] - offset == pytest.approx(
                alone[figure] - offset, rel=1e-8, abs=tolerance
            )


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e150])
def test_windows_at_the_ends_of_the_range(factor: float) -> None:
    """Tiny and huge values have the peaks that others have, also beside values of another size."""
    small = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    columns = density(np.concatenate([small * factor, [1.0, 2.0, 5.0]]), 4)
    plain = density(small, 4)

    for name in ("bandwidth", "peak", "half_high"):
        np.testing.assert_allclose(columns[name][:2] / factor, plain[name], rtol=1e-10)
    np.testing.assert_allclose(columns["density"][:2] * factor, plain["density"], rtol=1e-10)


def test_hills_between_the_points_of_a_grid() -> None:
    """A top and a valley closer together than any grid are found."""
    values = [9.125, 9.125, 15.5, 12.125, 3.375, 57.25, -70.875, -74.625]
    found = PdfValue.of(values, mass=0.75)
    kernel = stats.gaussian_kde(values)

    assert found.mass == pytest.approx(0.75, abs=1e-12)
    assert len(found.intervals) == 2
    held = sum(kernel.integrate_box_1d(low, high) for low, high in found.intervals)
    assert held == pytest.approx(0.75, abs=1e-9)


def test_a_level_that_begins_as_low_as_the_grid() -> None:
    """Nearly all of the mass of few values: the search begins where hardly anything is."""
    values = [2.37529829, 0.23932022, 0.76480274, 0.00862817, 1.38045246]
    values += [0.12625133, 0.02861983, 1.29989189]
    found = PdfValue.of(values, mass=0.999)
    (low, high), kernel = found.intervals[0], stats.gaussian_kde(values)

    assert kernel.integrate_box_1d(low, high) == pytest.approx(0.999, abs=1e-9)
    assert kernel([low, high]) == pytest.approx([found.level, found.level], rel=1e-9)
