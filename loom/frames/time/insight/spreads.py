"""Spread: how many values there are, where they lie and how far apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from ....errors import QueryError
from ..arrays import Array, Sample, exponent_of, np, numbers_of, of_field
from ..percentiles import DEFAULT, levels_of, percentiles, ranked_windows
from ..results import Result, axes_for, number_text
from .sliding_sums import blocks, check_windows, every, means

__all__ = ["Spread", "spread"]

#: Sums of squares above this are exact to the last digits.
_TINY = 2.0**-900


class Spread(Result):
    """Count, mean, standard deviation, extremes and percentiles of values.

    None, NaN and infinities are left out and counted. Without a value everything but the counts is
    None, and the spread is false. The standard deviation divides by `n - ddof`: with `ddof=1`, the
    usual estimate for what the values are a sample of, one value has none. Equal values have 0.

    Shape:
        n, left_out: int, how many values counted and how many did not;
        mean, std, min, max: float; ddof: int;
        levels, percentiles: the levels from 0 to 100 and a float for each.

    Units:
        mean, std, min, max, percentiles: the unit of the values.

    >>> Spread.of([1, 2, 3, 4, None])
    Spread(n=4, mean=2.5, std=1.29099, min=1, p5=1.15, p25=1.75, p50=2.5, p75=3.25, p95=3.85, max=4, left_out=1)
    >>> Spread.of([])
    Spread(no data)
    """

    mean: float | None
    std: float | None
    ddof: int
    min: float | None
    max: float | None
    levels: tuple[float, ...]
    percentiles: tuple[float | None, ...]

    @classmethod
    def of(cls, values: Any, *, percentiles: Iterable[float] = DEFAULT, ddof: int = 1) -> Spread:
        """Return the spread of values.

        The mean is the exact sum, rounded, divided by n; the deviation is taken from it in a second
        pass.

        Args:
            values: an array, a list, a series or column, or whatever has `.values`: floats,
                integers, Decimals. Integers and Decimals are counted from their middle first where
                floats would lose digits.
            percentiles: levels from 0 to 100, by linear interpolation.
            ddof: what the standard deviation subtracts from n.

        Raises:
            QueryError: what is not a number, a level outside of 0 to 100, a negative ddof.

        Source:
            T. F. Chan, G. H. Golub, R. J. LeVeque: Algorithms for computing the sample variance,
            The American Statistician 37, 1983, formula 1.7; percentiles: R. J. Hyndman, Y. Fan,
            The American Statistician 50, 1996, definition 7.

        >>> Spread.of([3, 1, 2]).median
        2.0
        """
        levels = levels_of(percentiles, "Spread")
        _check_ddof(ddof, "Spread")
        return _of(cls, Sample.of(values, "Spread"), levels, ddof)

    @property
    def count(self) -> int:
        """Return n."""
        return self.n

    @property
    def median(self) -> float | None:
        """Return the percentile 50."""
        return self.percentile(50)

    def percentile(self, level: float) -> float | None:
        """Return one of the percentiles.

        Raises:
            QueryError: the spread was made without this level.
        """
        if level not in self.levels:
            known = ", ".join(map(number_text, self.levels)) or "none"
            raise QueryError(
                f"Spread: expected a level that was asked for ({known}), got {level!r}; "
                f"use Spread.of(values, percentiles=[{level!r}])"
            )
        return self.percentiles[self.levels.index(level)]

    def plot(self, axes: Any = None) -> Any:
        """Draw a box with the percentiles 25, 50 and 75, whiskers to minimum and maximum.

        A cross stands at the mean. Return the axes of matplotlib.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: no data, or one of these percentiles is not there.
        """
        axes = axes_for(axes)
        if not self.n:
            raise QueryError("Spread.plot: expected data, got none")
        box = {
            "whislo": self.min,
            "q1": self.percentile(25),
            "med": self.percentile(50),
            "q3": self.percentile(75),
            "whishi": self.max,
            "mean": self.mean,
            "label": f"n = {self.n}",
        }
        axes.bxp([box], showfliers=False, showmeans=True, meanprops={"marker": "x"})
        return axes

    def _figures(self) -> Iterator[tuple[str, str]]:
        yield "mean", number_text(self.mean)
        yield "std" if self.ddof == 1 else f"std (ddof={self.ddof})", number_text(self.std)
        yield "min", number_text(self.min)
        for level, value in zip(self.levels, self.percentiles, strict=True):
            yield f"p{level:g}", number_text(value)
        yield "max", number_text(self.max)


def _check_ddof(ddof: Any, place: str) -> None:
    if not isinstance(ddof, int) or isinstance(ddof, bool) or ddof < 0:
        raise QueryError(f"{place}: expected ddof to be 0, 1 ..., got {ddof!r}")


def _of(cls: type[Spread], sample: Sample, levels: tuple[float, ...], ddof: int) -> Spread:
    n = len(sample.values)
    if not n:
        return cls(
            n=0, left_out=sample.left_out, mean=None, std=None, ddof=ddof, min=None, max=None,
            levels=levels, percentiles=(None,) * len(levels),
        )  # fmt: skip
    ordered = np.sort(sample.values)
    mean, squares = centre_and_squares(ordered)
    return cls(
        n=n,
        left_out=sample.left_out,
        mean=sample.place(mean),
        std=sample.length(math.sqrt(squares / (n - ddof))) if n > ddof else None,
        ddof=ddof,
        min=sample.place(ordered[0]),
        max=sample.place(ordered[-1]),
        levels=levels,
        percentiles=tuple(sample.place(v) for v in percentiles(ordered, n, levels)),
    )


def centre_and_squares(values: Array) -> tuple[float, float]:
    """Return the mean, and the sum of squared deviations, by two passes and a correction.

    Deviations too small to be squared are made larger first, by a power of two.
    """
    mean = math.fsum(values.tolist()) / len(values)
    deviations = values - mean
    exponent = exponent_of(deviations)
    if exponent:
        deviations = np.ldexp(deviations, -exponent)
    rest = deviations.sum()
    squares = float((deviations * deviations).sum() - rest * rest / len(values))
    return mean, math.ldexp(squares, 2 * exponent)


def spread(
    values: Any,
    size: int,
    step: int = 1,
    *,
    field: str | None = None,
    percentiles: Iterable[float] = DEFAULT,
    ddof: int = 1,
) -> dict[str, Array]:
    """Return the spread of every sliding window, as columns.

    Args:
        values: as for `Spread.of`, or a window with `field`; a value that is left out keeps its
            place in the windows.
        size: how many values a window has.
        step: by how many values the next window begins later.
        field: the name of a field, when `values` is a window of moments.
        percentiles: levels from 0 to 100.
        ddof: what the standard deviations subtract from n.

    Returns:
        Arrays with an entry for each whole window, the first one first: none when there are fewer
        than `size` values.

    Shape:
        n, left_out: int64; mean, std, min, max, p5, p25, p50, p75, p95: float64, NaN without data.

    Raises:
        QueryError: what is not a number, a size or step that is not whole and positive.

    Source:
        see `loom.frames.time.insight.sliding_sums`. No window is copied, but for sorting small ones a few
        thousand at a time; what left a window leaves no trace in it.

    >>> spread([1, 2, 3, 4], 3, percentiles=[50])["mean"].tolist()
    [2.0, 3.0]
    """
    check_windows(size, step, "spread")
    levels = levels_of(percentiles, "spread")
    _check_ddof(ddof, "spread")
    numbers = numbers_of(of_field(values, field, "spread"), "spread")
    given = numbers.values
    exponent = exponent_of(given[~np.isnan(given)])
    scaled = np.ldexp(given, -exponent) if exponent else given
    count = (len(given) - size) // step + 1 if len(given) >= size else 0
    names = ["mean", "std", "min", "max", *(f"p{level:g}" for level in levels)]
    n = np.empty(count, np.int64)
    columns = {name: np.empty(count) for name in names}
    for where, spanned in blocks(len(given), size, step):
        runs = means(scaled[spanned], size)
        n[where] = every(runs.n, step)
        columns["mean"][where] = every(runs.high, step) + every(runs.low, step)
        columns["std"][where] = every(runs.squares, step)
    if count:
        ordered = ["min", "max", *names[4:]]
        for where, found in ranked_windows(given, n, size, step, levels):
            for name, column in zip(ordered, found, strict=True):
                columns[name][where] = column
    _finish(columns, n, ddof, exponent)
    _repair(columns, n, given, size, step, ddof)
    del columns["squares"]
    for name, column in columns.items():
        columns[name] = column if name == "std" else numbers.back(column)
    return {"n": n, "left_out": size - n, **columns}


def _finish(columns: dict[str, Array], n: Array, ddof: int, exponent: int) -> None:
    """Turn sums of squares into deviations, on the values' own scale."""
    columns["squares"] = columns["std"]
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = columns["squares"] / np.maximum(n - ddof, 1)
        columns["std"] = np.where(n > ddof, np.sqrt(variances), np.nan)
    columns["mean"][n == 0] = np.nan
    with np.errstate(over="ignore"):  # a deviation may be larger than any float
        for name in ("mean", "std") if exponent else ():
            columns[name] = np.ldexp(columns[name], exponent)
    # Rounding may carry a mean of equal values by its last digit: never outside.
    np.clip(columns["mean"], columns["min"], columns["max"], out=columns["mean"])


def _repair(
    columns: dict[str, Array], n: Array, given: Array, size: int, step: int, ddof: int
) -> None:
    """Do again, one by one, the windows whose squares are too small for floats."""
    unsafe = ~(columns["squares"] > _TINY) & (columns["max"] > columns["min"])
    for number in np.flatnonzero(unsafe):
        window = given[number * step : number * step + size]
        alone = _of(Spread, Sample.of(window, "spread"), (), ddof)
        columns["mean"][number] = alone.mean
        columns["std"][number] = np.nan if alone.std is None else alone.std
