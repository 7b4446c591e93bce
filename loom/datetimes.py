"""Datetimes on their way to the server: cut to its milliseconds, and given a zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, Literal
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from bson.tz_util import utc

from .errors import EncodeError

__all__ = ["PLAIN", "Naive", "python_datetime", "settle_datetimes", "with_zone", "zoned"]

#: What to do with a datetime that has no zone.
Naive = Literal["utc", "refuse"] | tzinfo

#: Values of exactly these types hold no datetime, and cannot be edited in place.
PLAIN: frozenset[type] = frozenset(
    (str, int, float, bool, type(None), bytes, ObjectId, Decimal128, Int64, Binary)
    + (Decimal, UUID, date)
)

_DICTS = frozenset({dict})
_document_of = attrgetter("_document")


class _Refused(Exception):
    """A value that cannot be written; the names on the way to it are added from the last on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.names: list[str] = []


def settle_datetimes(document: dict[str, Any], naive: Naive, place: str) -> None:
    """Cut datetimes to the milliseconds that MongoDB keeps, in place.

    Args:
        document: changed where it holds datetimes that cannot be stored as they are.
        naive: `"utc"` leaves naive values, which BSON takes as UTC; `"refuse"` refuses them;
            a zone makes them aware in it.
        place: class or path, for errors.

    Raises:
        EncodeError: a naive value, and `naive` is `"refuse"`.
    """
    if PLAIN.issuperset(map(type, document.values())):
        return
    try:
        _settle_values(document, naive)
    except RecursionError:
        return  # a document that holds itself: the encoder refuses it, and its path is named there
    except _Refused as refused:
        path = ".".join([place, *reversed(refused.names)])
        raise EncodeError(f"{path}: {refused}") from None


def with_zone(value: datetime, naive: Naive) -> datetime:
    """Return a datetime as `naive` says it is meant.

    Raises:
        EncodeError: it has no zone, and is refused; the message names no path.
    """
    if value.tzinfo is not None or naive == "utc" or value != value:  # pandas' NaT
        return value
    if isinstance(naive, tzinfo):
        return _replaced(value, tzinfo=naive)
    raise EncodeError(
        f"expected a datetime with a zone, got {value!r}; "
        "write value.replace(tzinfo=...), or connect with naive='utc'"
    )


def zoned(value: Any, naive: Naive) -> Any:
    """Return a copy of nested containers in which naive datetimes are as they are meant."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, datetime):
        return with_zone(value, naive)
    if isinstance(value, (list, tuple)):
        return [zoned(member, naive) for member in value]
    if isinstance(value, Mapping):
        return {key: zoned(member, naive) for key, member in value.items()}
    return value


# In place


def _settle_dict(document: dict[str, Any], naive: Naive) -> None:
    if not PLAIN.issuperset(map(type, document.values())):
        _settle_values(document, naive)


def _settle_values(document: dict[str, Any], naive: Naive) -> None:
    key: Any = None
    try:
        for key, value in document.items():
            kind = type(value)
            if kind not in PLAIN and not (kind is datetime and _is_settled(value, naive)):
                settled = _settled(value, naive)
                if settled is not value:
                    document[key] = settled
    except _Refused as refused:
        refused.names.append(str(key))
        raise


def _settle_list(members: list[Any], naive: Naive) -> None:
    kinds = {*map(type, members)}
    if kinds <= PLAIN:
        return
    # Lists of small documents, most without datetimes, are looked through without a loop.
    documents: Iterable[Any] | None = members if kinds == _DICTS else None
    if len(kinds) == 1 and getattr(type(members[0]), "_is_subframe", False):
        documents = map(_document_of, members)
    if documents is not None:
        inner = chain.from_iterable(map(dict.values, documents))
        if PLAIN.issuperset(map(type, inner)):
            return
    index = 0
    try:
        for index, member in enumerate(members):
            kind = type(member)
            if kind not in PLAIN and not (kind is datetime and _is_settled(member, naive)):
                settled = _settled(member, naive)
                if settled is not member:
                    members[index] = settled
    except _Refused as refused:
        refused.names.append(str(index))
        raise


def _is_settled(value: datetime, naive: Naive) -> bool:
    zone = value.tzinfo
    is_even = zone is utc or zone is timezone.utc or (zone is None and naive == "utc")
    return is_even and not value.microsecond % 1000


def _settled(value: Any, naive: Naive) -> Any:
    """Return a value as it is to be held; dicts and lists are changed in place."""
    kind = type(value)
    if kind is dict:
        _settle_dict(value, naive)
    elif kind is list:
        _settle_list(value, naive)
    elif getattr(kind, "_is_subframe", False):
        _settle_dict(value._document, naive)
    elif isinstance(value, datetime):
        return _settled_datetime(value, naive)
    elif isinstance(value, dict):
        _settle_dict(value, naive)
    elif isinstance(value, list):
        _settle_list(value, naive)
    elif isinstance(value, (tuple, set, frozenset)):
        return value if PLAIN.issuperset(map(type, value)) else _settled_members(value, naive)
    elif isinstance(value, Mapping) and not isinstance(value, RawBSONDocument):
        return _settled_mapping(value, naive)
    elif kind.__name__ == "datetime64" and kind.__module__ == "numpy":
        return _settled_numpy(value, naive)
    return value


def _settled_datetime(value: datetime, naive: Naive) -> datetime:
    if value != value:  # pandas' NaT, which the encoder refuses
        return value
    try:
        settled = with_zone(value, naive)
    except EncodeError as error:
        raise _Refused(str(error)) from None
    offset = settled.utcoffset()
    # It is the instant that is cut: the clocks of a zone may be less than a millisecond off.
    clock = settled.microsecond
    extra = (clock - offset.microseconds if offset else clock) % 1000
    finer = {"nanosecond": 0} if getattr(settled, "nanosecond", 0) else {}  # of pandas
    if not extra and not finer:
        return settled
    if extra <= clock:
        return _replaced(settled, microsecond=clock - extra, **finer)
    with suppress(OverflowError):
        return (settled - timedelta(microseconds=extra)).replace(fold=settled.fold)
    with suppress(OverflowError):  # it would be before the year 1 in its zone
        there = settled.astimezone(timezone.utc)
        return there.replace(microsecond=there.microsecond // 1000 * 1000)
    return settled  # it is before the year 1, which the encoder says


def _replaced(value: datetime, **parts: Any) -> datetime:
    try:
        return value.replace(**parts)
    except (TypeError, ValueError):  # an Enum, or a subclass that is made in another way
        return datetime.combine(value.date(), value.timetz()).replace(**parts)


def _settled_members(value: Any, naive: Naive) -> Any:
    members = list(value)
    before = list(members)
    _settle_list(members, naive)
    if all(new is old for new, old in zip(members, before, strict=True)):
        return value
    if isinstance(value, tuple):
        make = getattr(type(value), "_make", tuple)  # a named tuple stays one
        return make(members)
    return set(members) if isinstance(value, set) else frozenset(members)


def _settled_mapping(value: Mapping[str, Any], naive: Naive) -> Mapping[str, Any]:
    names = list(value)
    if len(names) != len({*names}):
        raise _Refused(
            f"expected each key once, got {value!r} of type {type(value).__name__}; "
            "make it a dict of lists"
        )
    copied = dict(value)
    _settle_dict(copied, naive)
    return value if all(copied[name] is value[name] for name in names) else copied


# NumPy, which is not imported


#: What NumPy tells finer than milliseconds, as its types name it.
_FINER = r"\[\d*[unpfa]s\]"


def python_datetime(value: Any) -> datetime | None:
    """Return a datetime64 as a datetime without zone, cut to milliseconds; None if it is none."""
    if value != value:  # NaT
        return None
    try:
        cut = value.astype("datetime64[ms]")
        if not re.search(_FINER, value.dtype.str) and cut.astype(value.dtype) != value:
            return None  # too far away for milliseconds: NumPy before 2.5 wraps around
    except OverflowError:  # the same, since NumPy 2.5
        return None
    found = cut.item()
    return found if isinstance(found, datetime) else None


def _settled_numpy(value: Any, naive: Naive) -> Any:
    if naive != "utc":  # it has no zone, and cannot have one
        found = python_datetime(value)
        return value if found is None else _settled_datetime(found, naive)
    if value != value or not re.search(_FINER, value.dtype.str):
        return value
    cut = value.astype("datetime64[ms]")
    return cut if cut != value else value
