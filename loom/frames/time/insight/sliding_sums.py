"""Counts, means and sums of squares of all sliding windows at once.

A window is put together from runs of 1, 2, 4, 8 ... values, which neighbouring windows share; two
runs become one by the formulae of Chan, Golub and LeVeque. Nothing is ever subtracted from a sum,
so that what left a window leaves no trace, and a mean is kept in two floats, so that a large
offset does not cost digits of the deviation.

Source:
    T. F. Chan, G. H. Golub, R. J. LeVeque: Updating formulae and a pairwise algorithm for
    computing sample variances, Stanford STAN-CS-79-773, 1979, formulae 2.1; for products
    P. Pebay, Sandia SAND2008-6212, 2008, formula 3.4. The error term of a sum is that of
    T. J. Dekker, Numerische Mathematik 18, 1971.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from ....errors import QueryError
from ..arrays import Array, np

__all__ = ["Pairs", "Runs", "blocks", "check_windows", "every", "folded", "means", "pairs"]

#: How many windows are worked on at a time: their intermediate results stay in the cache.
_BLOCK = 8192

S = TypeVar("S")


class Runs(NamedTuple):
    """Runs of values: how many, their mean in two parts, the sum of squared deviations."""

    n: Any
    high: Array
    low: Any
    squares: Any


class Pairs(NamedTuple):
    """Runs of points: both coordinates, and the sum of products of deviations."""

    x: Runs
    y: Runs
    products: Any


def check_windows(size: Any, step: Any, place: str) -> None:
    """Refuse windows that are not made of whole values."""
    for name, value in (("size", size), ("step", step)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < 1:
            hint = "; Trending.each(window.sliding_window('24h')) goes by durations"
            raise QueryError(
                f"{place}: expected {name} to be 1, 2, 3 ..., got {value!r}"
                f"{hint if isinstance(value, (str, timedelta)) else ''}"
            )


def blocks(count: int, size: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Yield which windows belong to a block, and which values they span."""
    length = max(_BLOCK, size) // step or 1
    windows = (count - size) // step + 1 if count >= size else 0
    for first in range(0, windows, length):
        last = min(first + length, windows)
        yield slice(first, last), slice(first * step, (last - 1) * step + size)


def every(part: Any, step: int) -> Any:
    """Return what runs have at every so many; a number that stands for all of them stays."""
    return part[::step] if isinstance(part, np.ndarray) else part


def folded(
    level: S, count: int, size: int, merge: Callable[[S, S], S], cut: Callable[[S, slice], S]
) -> S:
    """Return what `merge` makes of every `size` neighbours, from shared runs of powers of two."""
    starts = count - size + 1
    result: S | None = None
    done, width = 0, 1
    while True:
        if size & width:
            piece = cut(level, slice(done, done + starts))
            result = piece if result is None else merge(result, piece)
            done += width
        if done == size:
            assert result is not None
            return result
        length = count - 2 * width + 1
        level = merge(cut(level, slice(0, length)), cut(level, slice(width, width + length)))
        width *= 2


def _cut(part: Any, where: slice) -> Any:
    return part[where] if isinstance(part, np.ndarray) else part


def _cut_runs(runs: Runs, where: slice) -> Runs:
    return Runs(*(_cut(part, where) for part in runs))


def _cut_pairs(found: Pairs, where: slice) -> Pairs:
    return Pairs(_cut_runs(found.x, where), _cut_runs(found.y, where), _cut(found.products, where))


def _leaves(values: Array, known: Array | None) -> Runs:
    if known is None:
        return Runs(1, values, 0.0, 0.0)
    return Runs(known.astype(np.float64), np.where(known, values, 0.0), 0.0, 0.0)


def _weights(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Return n, and with which weights a difference of means counts in the mean and the squares."""
    n = a + b
    share = b / np.maximum(n, 1)
    return n, share, a * share


def _joined(a: Runs, b: Runs, n: Any, share: Any) -> tuple[Array, Array, Array]:
    """Return the mean of two runs, in two parts, and the difference of their means."""
    difference = b.high - a.high
    if isinstance(a.low, np.ndarray):
        difference += b.low - a.low
    moved = difference * share
    high = a.high + moved
    low = moved - (high - a.high)
    low += a.low
    if isinstance(n, np.ndarray):
        empty = a.n == 0
        np.copyto(high, b.high, where=empty)
        np.copyto(low, b.low, where=empty)
    return high, low, difference


def _merged(a: Runs, b: Runs) -> Runs:
    n, share, weight = _weights(a.n, b.n)
    high, low, difference = _joined(a, b, n, share)
    squares = difference * difference
    squares *= weight
    squares += a.squares
    squares += b.squares
    return Runs(n, high, low, squares)


def _merged_pairs(a: Pairs, b: Pairs) -> Pairs:
    n, share, weight = _weights(a.x.n, b.x.n)
    x_high, x_low, dx = _joined(a.x, b.x, n, share)
    y_high, y_low, dy = _joined(a.y, b.y, n, share)
    x = Runs(n, x_high, x_low, a.x.squares + b.x.squares + dx * dx * weight)
    y = Runs(n, y_high, y_low, a.y.squares + b.y.squares + dy * dy * weight)
    return Pairs(x, y, a.products + b.products + dx * dy * weight)


def _known(values: Array) -> Array | None:
    missing = np.isnan(values)
    return ~missing if missing.any() else None


def means(values: Array, size: int) -> Runs:
    """Return the runs of every `size` neighbouring values; NaN counts as no value."""
    known = _known(values)
    return folded(_leaves(values, known), len(values), size, _merged, _cut_runs)


def pairs(x: Array, y: Array, size: int) -> Pairs:
    """Return the runs of every `size` neighbouring points; one with a NaN counts as none."""
    known = _known(x + y)
    leaves = Pairs(_leaves(x, known), _leaves(y, known), 0.0)
    return folded(leaves, len(y), size, _merged_pairs, _cut_pairs)
