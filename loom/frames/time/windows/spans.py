"""How far windows reach: a number of moments, or a duration."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from ....errors import QueryError
from ..timeframe import both_ends
from ..zones import EPOCH, MILLISECOND, instant

__all__ = ["Size", "Span", "ceiling_of", "ends_of", "floor_of", "milliseconds_of", "span_of"]

#: A number of moments, or a duration: a timedelta, or text such as `"90d"`.
Size: TypeAlias = int | str | timedelta

#: More than all that datetimes tell apart, and little enough to be added to any of them.
_LONGEST = timedelta.max // MILLISECOND
_TEXT = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|d|w)", re.ASCII)
_UNITS = {
    "ms": 1,
    "s": 1000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}


class Span(NamedTuple):
    """So many moments, or so many milliseconds."""

    amount: int
    is_count: bool


def span_of(given: Any, place: str, *, least: int = 1) -> Span:
    """Return a size as a span.

    Args:
        given: a number of moments, or a duration.
        place: for errors.
        least: the smallest amount.

    Raises:
        QueryError: it is neither, or too small.

    >>> span_of(30, "size"), span_of("36h", "size")
    (Span(amount=30, is_count=True), Span(amount=129600000, is_count=False))
    """
    if isinstance(given, (str, timedelta)):
        return Span(milliseconds_of(given, place, least=least), False)
    if isinstance(given, bool) or not hasattr(given, "__index__") or given.__index__() < least:
        raise QueryError(
            f"{place}: expected a number of moments, at least {least}, or a duration such as "
            f"'36h', got {given!r}"
        )
    return Span(min(given.__index__(), _LONGEST), True)


def milliseconds_of(given: Any, place: str, *, least: int = 1) -> int:
    """Return a duration in milliseconds; a day has 24 hours.

    Raises:
        QueryError: it is none, too short, or finer than a millisecond.
    """
    found: Any = None
    if isinstance(given, timedelta) and not given % MILLISECOND:
        found = given // MILLISECOND
    elif isinstance(given, str) and (match := _TEXT.fullmatch(given)):
        number, unit = match.groups()
        found = Fraction(number) * _UNITS[unit]
    if found is None or found != int(found) or not least <= found <= _LONGEST:
        raise QueryError(
            f"{place}: expected a duration of whole milliseconds, at least {least}, a timedelta or "
            f"text such as '90d', '36h', '15min', '30s' or '250ms', got {given!r}"
        )
    return int(found)


def floor_of(moment: Any, place: str) -> int:
    """Return the last whole millisecond that is not after an instant.

    Raises:
        TimeFrameError: it is no aware datetime.
    """
    return (instant(moment, None, place, takes_zone=False) - EPOCH) // MILLISECOND


def ceiling_of(moment: Any, place: str) -> int:
    """Return the first whole millisecond that is not before an instant.

    Raises:
        TimeFrameError: it is no aware datetime.
    """
    return -((EPOCH - instant(moment, None, place, takes_zone=False)) // MILLISECOND)


def ends_of(start: Any, end: Any, place: str) -> tuple[int | None, int | None]:
    """Return the ends of a stretch in milliseconds, None for one that is open.

    Args:
        start: an aware datetime, None, or a time frame, which has both ends.
        end: an aware datetime, or None.
        place: for errors.

    Raises:
        QueryError: a frame and an end, or an end before the start.
        TimeFrameError: it is no aware datetime.
    """
    start, end = both_ends(start, end, place)
    low = None if start is None else ceiling_of(start, place)
    high = None if end is None else ceiling_of(end, place)
    if low is not None and high is not None and high < low:
        raise QueryError(f"{place}: expected an end behind {start!r}, got {end!r}")
    return low, high
