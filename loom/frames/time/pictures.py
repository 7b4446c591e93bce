"""Pictures and small tables of what is in order of time."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from importlib import import_module
from typing import Any

from .arrays import Array, np

__all__ = ["draw_lines", "draw_prices", "html_table", "show_zone", "shown_rows"]

#: How many rows a small table has at each end.
_ROWS = 5
#: Fewer values than these are drawn with points.
_FEW = 50


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
) -> None:
    """Draw a bar from low to high for each frame, with a tick for open and one for close.

    Args:
        axes: of matplotlib.
        floors, ceilings: of the frames.
        prices: open, high, low, close; NaN where there are none.
    """
    opened, high, low, closed = prices
    there: list[int] = np.flatnonzero(~np.isnan(opened)).tolist()
    rising = closed[there] >= opened[there]
    colours = np.where(rising, "tab:green", "tab:red").tolist()
    middles = [floors[i] + (ceilings[i] - floors[i]) / 2 for i in there]
    axes.vlines(middles, low[there], high[there], colors=colours, linewidth=1)
    axes.hlines(opened[there], [floors[i] for i in there], middles, colors=colours, linewidth=1.5)
    axes.hlines(closed[there], middles, [ceilings[i] for i in there], colors=colours, linewidth=1.5)


def draw_lines(axes: Any, times: Array, lines: Mapping[str, Array], gap: int | None) -> None:
    """Draw values over their times, one line for each field.

    Args:
        axes: of matplotlib.
        times: datetime64 in UTC, in order.
        lines: floats by name; a line stops at NaN.
        gap: so many milliseconds without a value end a line; None joins all that follow.
    """
    for name, values in lines.items():
        places, drawn = times, values
        if gap is not None:
            known = np.flatnonzero(~np.isnan(values))
            apart = np.diff(times[known].astype("datetime64[ms]").astype(np.int64)) > gap
            behind = known[1:][apart]
            drawn = np.insert(values, behind, np.nan)
            places = np.insert(times, behind, times[behind])
        # A single value between two gaps has no line to be seen by.
        marked = None if len(drawn) < _FEW else np.flatnonzero(_alone(drawn)).tolist()
        axes.plot(
            places, drawn, label=name, marker=".", markevery=marked, markersize=3, linewidth=1
        )


def _alone(values: Array) -> Array:
    """Tell which values have nothing on either side."""
    nothing = np.isnan(np.concatenate(([np.nan], values, [np.nan])))
    return ~nothing[1:-1] & nothing[:-2] & nothing[2:]


def show_zone(axes: Any, zone: tzinfo) -> None:
    """Have an axis of times show the clock of a zone."""
    dates: Any = import_module("matplotlib.dates")
    locator = dates.AutoDateLocator(tz=zone)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))
