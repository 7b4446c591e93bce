"""PdfValue: the density of values by Gaussian kernels, its peak and where most of it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ....errors import QueryError
from ..arrays import Array, Sample, np
from ..results import Result, axes_for, number_text
from .kernels import Kernels
from .spreads import centre_and_squares

__all__ = ["PdfValue", "highest", "kernels_of"]


class PdfValue(Result):
    """Where values are most likely, by a kernel density estimate.

    Around every value stands a normal density of standard deviation `bandwidth`; their mean is the
    density. The bandwidth is Scott's, the standard deviation (ddof=1) times `n ** (-1 / 5)`, as in
    `scipy.stats.gaussian_kde`.

    - No value: all is None, and the result is false.
    - One value: it is the peak; there is nothing to take a bandwidth from, the rest is None.
    - Equal values: they are the peak, all the mass and both intervals; the bandwidth is 0, and
      there is no density, because it would be infinite.
    - Two values: one peak, in their middle.

    Shape:
        n, left_out: int; bandwidth, peak, density, half_low, half_high, level, mass: float;
        intervals: pairs of floats; curve_low, curve_high: float, curve: floats.

        peak: where the density is greatest, to the last digits, of several the lowest;
        density: the density there;
        half_low, half_high: where it first falls to half of that, searched outward from the peak;
        intervals: the highest-density region, the smallest that holds the mass: where the density
        is above `level`; several intervals where valleys between hills lie lower;
        mass: what the intervals hold, by the integral over the kernels;
        curve: densities at evenly spaced places from curve_low to curve_high.

    Units:
        peak, bandwidth, all bounds: the unit of the values; density, level, curve: one per unit,
        infinite where larger than any float.

    Source:
        D. W. Scott: Multivariate Density Estimation, 1992, formula 6.42 (bandwidth); R. J.
        Hyndman: Computing and graphing highest density regions, The American Statistician 50, 1996.

    >>> PdfValue.of([1, 2, 2, 3, 9])
    PdfValue(n=5, peak=2.02225, density=0.131527, bandwidth=2.32608, half=-0.860907 to 5.13917, densest=90 % in -2.12414 to 10.0966)
    >>> PdfValue.of([])
    PdfValue(no data)
    """

    bandwidth: float | None
    peak: float | None
    density: float | None
    half_low: float | None
    half_high: float | None
    level: float | None
    mass: float | None
    intervals: tuple[tuple[float, float], ...]
    curve_low: float | None
    curve_high: float | None
    curve: tuple[float, ...]

    @classmethod
    def of(cls, values: Any, *, mass: float = 0.9, points: int = 101) -> PdfValue:
        """Return the density of values.

        Args:
            values: as for `Spread.of`.
            mass: how much the intervals are to hold, between 0 and 1.
            points: how many points of the curve are kept, for `plot`; 0 for none.

        Raises:
            QueryError: what is no number, a mass that is not between 0 and 1.

        >>> PdfValue.of([2.0, 4.0]).peak
        3.0
        """
        _check_mass(mass, "PdfValue")
        if not isinstance(points, int) or isinstance(points, bool) or points < 0 or points == 1:
            raise QueryError(f"PdfValue: expected points to be 0, 2, 3 ..., got {points!r}")
        sample = Sample.of(values, "PdfValue")
        n = len(sample.values)
        ordered = np.sort(sample.values)
        if n < 2 or ordered[0] == ordered[-1]:
            return _without_density(cls, n, sample)
        kernels, centre, bandwidth = kernels_of(ordered)
        places, densities = kernels.hills()
        top = highest(densities)
        low, high = kernels.half(places, densities, top)
        inner, level, held = kernels.region(places, densities, mass)

        def place(location: float) -> float:
            return sample.place(centre + float(location) * bandwidth)

        width = sample.length(bandwidth)
        curve = _curve(kernels, points) if points else (np.nan, np.nan, [])
        return cls(
            n=n,
            left_out=sample.left_out,
            bandwidth=width,
            peak=place(places[top]),
            density=float(densities[top]) / width,
            half_low=place(low),
            half_high=place(high),
            level=level / width,
            mass=held,
            intervals=tuple((place(a), place(b)) for a, b in inner),
            curve_low=place(curve[0]) if points else None,
            curve_high=place(curve[1]) if points else None,
            curve=tuple(value / width for value in curve[2]),
        )

    @property
    def half_width(self) -> float | None:
        """Return the full width at half height."""
        if self.half_low is None or self.half_high is None:
            return None
        return self.half_high - self.half_low

    def plot(self, axes: Any = None) -> Any:
        """Draw the curve, the peak, the interval at half height and the densest intervals.

        Return the axes of matplotlib.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: there is no density, or it was made with `points=0`.
        """
        axes = axes_for(axes)
        low, high = self.curve_low, self.curve_high
        if self.density is None or low is None or high is None:
            raise QueryError(
                f"PdfValue.plot: expected a curve, got none from {self.n} values; use different "
                "values, and points=101"
            )
        places = np.linspace(low, high, len(self.curve))
        axes.plot(places, self.curve)
        axes.axvline(self.peak, linestyle=":", label=f"peak {number_text(self.peak)}")
        axes.hlines(self.density / 2, self.half_low, self.half_high, label="half height")
        for number, bounds in enumerate(self.intervals):
            label = None if number else f"{100 * (self.mass or 0):.3g} % of the mass"
            axes.axvspan(*bounds, alpha=0.15, label=label)
        axes.legend()
        return axes

    def _figures(self) -> Iterator[tuple[str, str]]:
        yield "peak", number_text(self.peak)
        if self.density is None:
            yield "", "no density: " + ("one value" if self.n == 1 else "all values are equal")
            return
        yield "density", number_text(self.density)
        yield "bandwidth", number_text(self.bandwidth)
        yield "half", f"{number_text(self.half_low)} to {number_text(self.half_high)}"
        shown = "; ".join(f"{number_text(a)} to {number_text(b)}" for a, b in self.intervals[:4])
        more = f"; {len(self.intervals) - 4} more" if len(self.intervals) > 4 else ""
        yield "densest", f"{100 * (self.mass or 0):.4g} % in {shown}{more}"


def kernels_of(ordered: Array) -> tuple[Kernels, float, float]:
    """Return the kernels around sorted values, what is their zero, and the bandwidth."""
    n = len(ordered)
    centre, squares = centre_and_squares(ordered)
    bandwidth = math.sqrt(squares / (n - 1)) * n**-0.2
    return Kernels((ordered - centre) / bandwidth), centre, bandwidth


def highest(densities: Array) -> int:
    """Return which point is the peak: hills of one height may differ in the last digits."""
    return int(np.argmax(densities >= densities.max() * (1 - 1e-12)))


def _check_mass(mass: Any, place: str) -> None:
    if not isinstance(mass, (int, float)) or not 0 < mass < 1:
        raise QueryError(f"{place}: expected a mass between 0 and 1, got {mass!r}; 90 % is 0.9")


def _without_density(cls: type[PdfValue], n: int, sample: Sample) -> PdfValue:
    value = sample.place(sample.values[0]) if n else None
    bound = value if n > 1 else None
    return cls(
        n=n, left_out=sample.left_out, bandwidth=None if bound is None else 0.0, peak=value,
        density=None, half_low=bound, half_high=bound, level=None,
        mass=None if bound is None else 1.0, intervals=() if bound is None else ((bound, bound),),
        curve_low=None, curve_high=None, curve=(),
    )  # fmt: skip


def _curve(kernels: Kernels, points: int) -> tuple[float, float, list[float]]:
    low, high = kernels.values[0] - 4, kernels.values[-1] + 4
    return low, high, kernels.density(np.linspace(low, high, points)).tolist()
