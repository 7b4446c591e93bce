"""Pictures and small tables of what is in order of time."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from .arrays import Array, np

__all__ = ["draw_prices", "html_table", "shown_rows"]

#: How many rows a small table has at each end.
_ROWS = 5


def shown_rows(count: int) -> list[int | None]:
    """Return which rows a small table shows: the first and the last, None for those between.

    >>> shown_rows(12)
    [0, 1, 2, 3, 4, None, 7, 8, 9, 10, 11]
    """
    if count <= 2 * _ROWS + 1:
        return [*range(count)]
    return [*range(_ROWS), None, *range(count - _ROWS, count)]


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str] | None]) -> str:
    """Return a table for notebooks; everything is escaped, a row that is None is dots."""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(value)}</td>"
            for value in row or ("\N{VERTICAL ELLIPSIS}",) * len(head)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    )


def draw_prices(
    axes: Any,
    floors: Sequence[datetime],
    ceilings: Sequence[datetime],
    prices: Sequence[Array],
    label: str,
) -> None:
    """Draw a bar from low to high for each frame, with a tick for open and one for close.

    Args:
        axes: of matplotlib.
        floors, ceilings: of the frames.
        prices: open, high, low, close; NaN where there are none.
        label: for the axis.
    """
    opened, high, low, closed = prices
    there: list[int] = np.flatnonzero(~np.isnan(opened)).tolist()
    rising = closed[there] >= opened[there]
    colours = np.where(rising, "tab:green", "tab:red").tolist()
    middles = [floors[i] + (ceilings[i] - floors[i]) / 2 for i in there]
    axes.vlines(middles, low[there], high[there], colors=colours, linewidth=1)
    axes.hlines(opened[there], [floors[i] for i in there], middles, colors=colours, linewidth=1.5)
    axes.hlines(closed[there], middles, [ceilings[i] for i in there], colors=colours, linewidth=1.5)
    axes.set_ylabel(label)
