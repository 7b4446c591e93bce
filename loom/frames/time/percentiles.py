"""Percentiles by linear interpolation, of one row of values and of all sliding windows."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from ...errors import QueryError
from .arrays import Array, np

__all__ = ["DEFAULT", "between", "levels_of", "percentiles", "ranked_windows"]

#: The levels that a spread has unless others are named.
DEFAULT = (5.0, 25.0, 50.0, 75.0, 95.0)
#: What sorting one value of a window costs beside moving a window by one value.
_SORTED_PER_MOVED = 0.004
#: How many values are copied at a time to be sorted.
_SCRATCH = 65536


def levels_of(levels: Any, place: str) -> tuple[float, ...]:
    """Return the levels of percentiles as floats; refuse what is not from 0 to 100."""
    try:
        checked = tuple(float(level) for level in levels)
    except (TypeError, ValueError):
        checked = (np.nan,)
    is_each_once = len({*checked}) == len(checked) and not isinstance(levels, str)
    if not is_each_once or not all(0 <= level <= 100 for level in checked):
        raise QueryError(
            f"{place}: expected percentiles from 0 to 100, each once, got {levels!r}; "
            "the median is 50, not 0.5"
        )
    return checked


def percentiles(ordered: Array, n: Any, levels: tuple[float, ...]) -> Iterator[Array]:
    """Yield the percentiles of sorted rows, of which the first `n` values count.

    The value at the rank `(n - 1) * level / 100`; between two ranks, on the straight line between
    their values, as by NumPy's default method.

    Source:
        R. J. Hyndman, Y. Fan: Sample quantiles in statistical packages, The American Statistician
        50, 1996, definition 7.
    """
    for level in levels:
        below, share = _ranks(n, level)
        if isinstance(below, np.ndarray):
            low = np.take_along_axis(ordered, below[:, None], 1)[:, 0]
            above = np.minimum(below + 1, np.maximum(n - 1, 0))
            high = np.take_along_axis(ordered, above[:, None], 1)[:, 0]
        else:
            low = ordered[..., below]
            high = ordered[..., min(below + 1, n - 1)]
        yield between(low, high, share)


def _ranks(n: Any, level: float) -> tuple[Any, Any]:
    rank = np.maximum(n - 1, 0) * (level / 100)
    below = np.floor(rank)
    share = rank - below
    return (below.astype(np.intp) if isinstance(n, np.ndarray) else int(below)), share


def between(low: Array, high: Array, share: Any) -> Array:
    """Return what lies between two values, exactly one of them at its end."""
    with np.errstate(over="ignore"):
        length = high - low
    found = np.where(share < 0.5, low + length * share, high - length * (1 - share))
    if np.isinf(length).any():  # their difference is larger than any float
        found = np.where(np.isinf(length), low * (1 - share) + high * share, found)
    return found


def ranked_windows(
    values: Array, n: Any, size: int, step: int, levels: tuple[float, ...]
) -> Iterator[tuple[slice, list[Array]]]:
    """Yield, block by block, minimum, maximum and percentiles of windows.

    Small windows are sorted, a few thousand at a time, in a scratch of fixed size; of large ones
    one sorted list is kept, into and out of which the values move.

    Args:
        values: NaN counts as no value.
        n: how many values each window has.
        size, step: of the windows.
        levels: of the percentiles.
    """
    if size * _SORTED_PER_MOVED < min(step, size):
        yield from _by_sorting(values, n, size, step, levels)
    else:
        yield from _by_moving(values, n, size, step, levels)


def _by_sorting(
    values: Array, n: Array, size: int, step: int, levels: tuple[float, ...]
) -> Iterator[tuple[slice, list[Array]]]:
    windows = np.lib.stride_tricks.sliding_window_view(values, size)[::step]
    length = _SCRATCH // size or 1
    for first in range(0, len(windows), length):
        where = slice(first, min(first + length, len(windows)))
        ordered = np.sort(windows[where], axis=1)
        # NaN is sorted to the end.
        counts: Any = n[where]
        counts = size if counts.min() == size else counts
        last = counts - 1
        if isinstance(counts, np.ndarray):
            high = np.take_along_axis(ordered, np.maximum(last, 0)[:, None], 1)[:, 0]
        else:
            high = ordered[:, last]
        yield where, [ordered[:, 0], high, *percentiles(ordered, counts, levels)]


def _by_moving(
    values: Array, n: Array, size: int, step: int, levels: tuple[float, ...]
) -> Iterator[tuple[slice, list[Array]]]:
    ranks = [_ranks(n, level) for level in levels]
    last = np.maximum(n - 1, 0)
    # One beside another: first, last, and both neighbours of each rank.
    wanted = [np.zeros_like(n), last]
    for below, _ in ranks:
        wanted += [below, np.minimum(below + 1, last)]
    given = values.tolist()
    window: list[float] = sorted(v for v in given[:size] if v == v)
    begin = 0
    for start in range(0, len(n), _SCRATCH // 16):
        where = slice(start, min(start + _SCRATCH // 16, len(n)))
        pickers = _pickers(n[where], [places[where] for places in wanted])
        found: list[tuple[float, ...]] = []
        for number, pick in enumerate(pickers, start):
            while begin < number * step:
                entering, leaving = given[begin + size], given[begin]
                if leaving == leaving:
                    del window[bisect_left(window, leaving)]
                if entering == entering:
                    insort(window, entering)
                begin += 1
            found.append(pick(window))
        table = np.array(found)
        columns = [table[:, 0], table[:, 1]]
        for number, (_, share) in enumerate(ranks):
            low, high = table[:, 2 + 2 * number], table[:, 3 + 2 * number]
            columns.append(between(low, high, share[where]))
        yield where, columns


def _pickers(n: Array, wanted: list[Array]) -> Iterator[Callable[[list[float]], Any]]:
    """Yield for each window what takes its values out of the sorted list."""
    nothing = (np.nan,) * len(wanted)
    known: dict[int, Callable[[list[float]], Any]] = {0: lambda window: nothing}
    for number, count in enumerate(n.tolist()):
        if count not in known:
            known[count] = itemgetter(*(int(places[number]) for places in wanted))
        yield known[count]
