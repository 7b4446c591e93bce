"""The peaks of the densities of all sliding windows at once."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import Array, Sample, exponent_of, np, numbers_of, of_field
from .densities import highest, kernels_of
from .kernels import kernel_sums, roots
from .sliding_sums import blocks, check_windows, every, means

__all__ = ["density"]

#: From one point of the grid to the next, in bandwidths.
_STEP = 0.25
#: Within this share of the highest, a top of the grid may be the peak: between two points of the
#: grid a density rises by less.
_NEAR = 0.97
#: So far outside of the values the density has fallen to half of what it is at the outermost one.
_OUTSIDE = math.sqrt(2 * math.log(2)) + 1e-9
#: Stands for a missing value: so far away that its kernel is 0.
_NOWHERE = 1e9
#: How many values are copied at a time.
_SCRATCH = 1 << 15
_ROOT = math.sqrt(2 * math.pi)
_NAMES = ("bandwidth", "peak", "density", "half_low", "half_high")


def density(values: Any, size: int, step: int = 1, *, field: str | None = None) -> dict[str, Array]:
    """Return where every sliding window is densest, as columns.

    The figures are those of `PdfValue.of`, which also has the intervals of a mass.

    Args:
        values: as for `Spread.of`, or a window with `field`; a value that is left out keeps its
            place in the windows.
        size: how many values a window has.
        step: by how many values the next window begins later.
        field: the name of a field, when `values` is a window of moments.

    Returns:
        Arrays with an entry for each whole window; NaN where `PdfValue.of` has None.

    Shape:
        n, left_out: int64; bandwidth, peak, density, half_low, half_high: float64.

    Raises:
        QueryError: what is not a number, a size or step that is not whole and positive.

    >>> density([1, 2, 4, 4], 2)["peak"].tolist()
    [1.5, 3.0, 4.0]
    """
    check_windows(size, step, "density")
    numbers = numbers_of(of_field(values, field, "density"), "density")
    given = numbers.values
    exponent = exponent_of(given[~np.isnan(given)])
    if exponent:
        given = np.ldexp(given, -exponent)
    count = (len(given) - size) // step + 1 if len(given) >= size else 0
    n = np.empty(count, np.int64)
    table = np.full((len(_NAMES), count), np.nan)
    for where, spanned in blocks(len(given), size, step):
        runs = means(given[spanned], size)
        n[where] = every(runs.n, step)
        windows = np.lib.stride_tricks.sliding_window_view(given[spanned], size)[::step]
        centres = every(runs.high, step) + every(runs.low, step)
        squares = np.broadcast_to(every(runs.squares, step), centres.shape)
        length = max(1, _SCRATCH // size)
        for first in range(0, len(windows), length):
            part = slice(first, min(first + length, len(windows)))
            whole = slice(where.start + part.start, where.start + part.stop)
            table[:, whole] = _densities(windows[part], n[whole], centres[part], squares[part])
    if exponent:
        table[[0, 1, 3, 4]] = np.ldexp(table[[0, 1, 3, 4]], exponent)
        with np.errstate(over="ignore"):  # a density may be larger than any float
            table[2] = np.ldexp(table[2], -exponent)
    columns = dict(zip(_NAMES, table, strict=True))
    for name in ("peak", "half_low", "half_high"):
        columns[name] = numbers.back(columns[name])
    return {"n": n, "left_out": size - n, **columns}


def _densities(windows: Array, n: Array, centres: Array, squares: Array) -> Array:
    """Return the figures of some windows, one row for each."""
    found = np.full((len(_NAMES), len(n)), np.nan)
    low, high = np.fmin.reduce(windows, axis=1), np.fmax.reduce(windows, axis=1)
    equal = (n > 0) & (low == high)
    found[1, equal] = low[equal]
    several = equal & (n > 1)
    found[0, several] = 0
    found[3:, several] = low[several]

    varied = np.flatnonzero((n > 0) & ~equal)
    widths = np.sqrt(squares[varied] / (n[varied] - 1)) * n[varied] ** -0.2
    again = list(varied[widths < 2.0**-400])  # too small to have been squared
    usable = widths >= 2.0**-400
    varied, widths = varied[usable], widths[usable]
    if len(varied):
        scaled = (windows[varied] - centres[varied, None]) / widths[:, None]
        np.copyto(scaled, _NOWHERE, where=np.isnan(scaled))
        ends = [(bound[varied] - centres[varied]) / widths for bound in (low, high)]
        peaks, heights, half_low, half_high, unsure = _scaled(_Rows(scaled, n[varied]), *ends)
        found[0, varied] = widths
        found[1, varied] = centres[varied] + peaks * widths
        found[2, varied] = heights / widths
        found[3, varied] = centres[varied] + half_low * widths
        found[4, varied] = centres[varied] + half_high * widths
        again += list(varied[unsure])
    for number in again:
        found[:, number] = _closely(windows[number])
    return found


def _closely(window: Array) -> list[float]:
    """Return the figures of one window as `PdfValue.of` finds them."""
    sample = Sample.of(window, "density")
    kernels, centre, width = kernels_of(np.sort(sample.values))
    places, densities = kernels.hills()
    top = highest(densities)
    found = [places[top], *kernels.half(places, densities, top)]
    peak, low, high = (sample.place(centre + float(place) * width) for place in found)
    bandwidth = sample.length(width)
    return [bandwidth, peak, float(densities[top]) / bandwidth, low, high]


class _Rows:
    """The densities of many windows, each at a place of its own."""

    def __init__(self, values: Array, n: Array) -> None:
        self.values = values
        self.factors = 1 / (n * _ROOT)

    def at(self, places: Array) -> Array:
        """Return each window's density at its place."""
        return kernel_sums(places[:, None] - self.values, 0)[0] * self.factors

    def derivatives(self, rows: Array, places: Array, order: int) -> Array:
        """Return the density of some windows, and its derivatives up to one of them."""
        found = kernel_sums(places[:, None] - self.values[rows], order)
        found *= self.factors[rows]
        return found


def _scaled(rows: _Rows, low: Array, high: Array) -> tuple[Array, ...]:
    """Return peaks, their heights, both ends at half height, and which windows need a closer look."""
    length = high - low + 2 * _OUTSIDE
    count = math.ceil(float(length.max()) / _STEP) + 1
    begin, step = low - _OUTSIDE, length / (count - 1)
    grid = np.empty((count, len(low)))
    for number in range(count):
        grid[number] = rows.at(begin + number * step)

    inner = grid[1:-1]
    tops = (inner > grid[:-2]) & (inner >= grid[2:]) & (inner >= _NEAR * grid.max(axis=0))
    at, owners = np.nonzero(tops)
    at += 1
    places = roots(
        lambda x, which: rows.derivatives(owners[which], x, 3)[1:],
        begin[owners] + (at - 1) * step[owners],
        begin[owners] + (at + 1) * step[owners],
        np.zeros(len(at), bool),
    )
    heights, _, bends = rows.derivatives(owners, places, 2)
    best = np.zeros(len(low))
    np.maximum.at(best, owners, heights)
    # The lowest place among equals.
    peaks = np.full(len(low), np.inf)
    highest = heights >= best[owners] * (1 - 1e-12)
    np.minimum.at(peaks, owners[highest], places[highest])

    # On a plateau there may be several tops within a step.
    flat = np.zeros(len(low), bool)
    flat[owners[bends > -0.05 * heights]] = True

    levels = best / 2
    above = grid > levels
    number = (peaks - begin) / step
    left, right = _outward(above, number)
    ends = [
        _half(rows, begin, step, levels, peaks, before, rising)
        for before, rising in ((left, True), (right - 1, False))
    ]
    return peaks, best, *ends, _unsure(grid, levels) | flat


def _unsure(grid: Array, levels: Array) -> Array:
    """Return for which windows the grid may be too coarse."""
    inner = grid[1:-1]
    # A valley that ends between two points of the grid may be what the search stops at.
    bottoms = (inner <= grid[:-2]) & (inner <= grid[2:])
    valleys = bottoms & (inner > levels) & (inner < levels * 1.05)
    # Where a density hardly changes within a step, but does not turn, two turns may hide.
    turns = bottoms | ((inner >= grid[:-2]) & (inner >= grid[2:]))
    still = np.abs(np.diff(grid, axis=0)) < 0.002 * grid[1:]
    still &= (grid[1:] >= _NEAR * 2 * levels) | (np.abs(grid[1:] / levels - 1) < 0.02)
    still[:-1] &= ~turns
    still[1:] &= ~turns
    return valleys.any(axis=0) | still.any(axis=0)


def _outward(above: Array, number: Array) -> tuple[Array, Array]:
    """Return the first points of the grid at or below the level, to both sides of the peaks."""
    indices = np.arange(len(above))[:, None]
    left = np.where(~above & (indices <= number), indices, 0).max(axis=0)
    right = np.where(~above & (indices >= number), indices, len(above) - 1).min(axis=0)
    return left, right


def _half(
    rows: _Rows,
    begin: Array,
    step: Array,
    levels: Array,
    peaks: Array,
    before: Array,
    rising: bool,
) -> Array:
    low, high = begin + before * step, begin + (before + 1) * step
    low, high = (low, np.minimum(high, peaks)) if rising else (np.maximum(low, peaks), high)

    def above(places: Array, which: Array) -> Array:
        found = rows.derivatives(which, places, 2)
        found[0] -= levels[which]
        return found

    return roots(above, low, high, np.full(len(begin), rising))
