"""Conditions for what lies between two instants: one range, which an index serves."""

from __future__ import annotations

from datetime import datetime, timedelta

from bson import ObjectId

from ..conditions import Condition
from ..queries import Path
from .zones import EPOCH, MILLISECOND

__all__ = ["in_range", "made_in_range", "milliseconds"]

_SECOND = timedelta(seconds=1)
#: The first second that an ObjectId cannot hold.
_LAST_ID = 2**32


def in_range(field: str | Path, start: datetime, end: datetime) -> Condition:
    """Return the condition for a datetime field that lies from `start` to before `end`.

    Both are in UTC. What is stored has milliseconds: it lies behind an end that is finer if it is
    not before the next millisecond.
    """
    path = field if isinstance(field, Path) else Path(field)
    low = _rounded_up(start)
    try:
        return path.between(low, _rounded_up(end))
    except OverflowError:  # it ends within the last millisecond of Python's calendar
        return path >= low


def made_in_range(field: str | Path, start: datetime, end: datetime) -> Condition:
    """Return the condition for ObjectIds that were made in a second from `start` to before `end`."""
    path = field if isinstance(field, Path) else Path(field)
    low, high = (max(-((EPOCH - moment) // _SECOND), 0) for moment in (start, end))
    if low >= _LAST_ID:
        return path > ObjectId(b"\xff" * 12)
    if high >= _LAST_ID:
        return path >= _first_id(low)
    return path.between(_first_id(low), _first_id(high))


def _rounded_up(moment: datetime) -> datetime:
    extra = (moment - EPOCH) % MILLISECOND
    return moment + (MILLISECOND - extra) if extra else moment


def milliseconds(moment: datetime) -> int:
    """Return how many there are from 1970 to an instant; to the next one, if it is finer."""
    return -((EPOCH - moment) // MILLISECOND)


def _first_id(second: int) -> ObjectId:
    return ObjectId(second.to_bytes(4, "big") + bytes(8))
