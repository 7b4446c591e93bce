"""What was known at an instant: moments that had become known, and of corrected ones the last."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from ....errors import QueryError
from .moment_columns import Array, Columns, np
from .views import V, View

__all__ = [
    "Versions",
    "check_known",
    "check_versions",
    "known_rows",
    "last_versions",
    "of_rows",
    "unasked",
]

#: Of moments with one time: those that became known last, or all.
Versions: TypeAlias = Literal["last", "all"]


def check_versions(given: Any, place: str) -> None:
    """Refuse what is neither."""
    if given not in ("last", "all"):
        raise QueryError(f"{place}: expected versions='last' or 'all', got {given!r}")


def check_known(window: View, place: str) -> None:
    """Refuse moments of which nobody knows since when they are known, among others that say so.

    To take their times would show what was not known, to leave them out would hide what was.

    Raises:
        QueryError: there are some.
    """
    columns = window._columns
    if columns.unknown is None:
        return
    missing = int(columns.unknown[window._start : window._stop].sum())
    if missing:
        known = columns.roles.known
        raise QueryError(
            f"{place}: expected a {known} for all moments or for none, got {missing:,} of "
            f"{len(window):,} without; set it, or leave those out first, as with Q.{known} != None"
        )


def last_versions(columns: Columns, rows: Array, versions: Versions) -> Array:
    """Return which of some rows are the last versions of their time: those known last.

    Several that became known together are no corrections of each other: they all stay.
    """
    if columns.known is None or versions == "all" or not len(rows):
        return rows
    times, known = columns.times[rows], columns.known[rows]
    is_last = np.append(times[1:] != times[:-1], True)
    group = np.cumsum(is_last) - is_last
    return rows[known == known[is_last][group]]


def known_rows(columns: Columns, low: int, high: int, now: int, versions: Versions) -> Array:
    """Return which of the rows from `low` to before `high` were known at an instant."""
    if columns.known is None:
        known = np.searchsorted(columns.times[low:high], now, "right")
        return np.arange(low, low + known)
    rows = low + np.flatnonzero(columns.known[low:high] <= now)
    return last_versions(columns, rows, versions)


def of_rows(window: V, rows: Array) -> V:
    """Return the window of some rows: a view, when they are one after the other."""
    if not len(rows):
        return window._view(window._start, window._start)
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return window._view(first, last + 1)
    return window._of(window._columns.chosen(rows))


def unasked(window: V) -> V:
    """Return a window without its query: a server that is asked again knows what came later."""
    columns = window._columns
    if columns.query is None:
        return window
    return window._of(columns._replace(query=None))._view(window._start, window._stop)
