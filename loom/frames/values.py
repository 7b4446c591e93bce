"""Values in filters and documents: frames become their `_id`, sets and tuples lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NoReturn
from uuid import UUID

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from ..encoding import in_order
from ..errors import EncodeError, MissingId, QueryError

__all__ = [
    "SCALARS",
    "Frozen",
    "Placed",
    "all_scalars",
    "at",
    "is_document",
    "is_placed",
    "plain",
    "to_refs",
]

#: Types that hold no frame, no container and no pattern, exactly: a subclass might.
SCALARS: frozenset[type] = frozenset(
    (str, int, float, bool, bytes, type(None), datetime, date, time, Decimal, UUID, ObjectId)
    + (Binary, Decimal128, Int64, MaxKey, MinKey, Timestamp)
)


class Placed(list[Any]):
    """What `$from` placed in a document: found by a query, and never written there.

    Under another name it is a list like any other.
    """

    __slots__ = ("name",)

    def __init__(self, name: str, frames: Iterable[Any]) -> None:
        super().__init__(frames)
        self.name = name


def is_placed(name: Any, value: Any) -> bool:
    """Tell whether the value of a field is what `$from` placed there."""
    return type(value) is Placed and value.name == name


class Frozen:
    """A value: its attributes cannot be set, and a copy is the value itself."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{self!r}: is frozen and has no attribute to set; compare with ==")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{self!r}: is frozen and has no attribute to delete")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


def to_refs(value: Any) -> Any:
    """Return `value` with its frames as `_id`, through sub-frames, lists, sets and dicts.

    Raises:
        MissingId: a frame has no `_id`; the message names the path.
    """
    return plain(value, "")


def plain(value: Any, place: str) -> Any:
    """Return a copy of a value in plain dicts and lists, its frames as `_id`.

    Raises:
        MissingId: a frame has no `_id`.
        QueryError: a condition or a method, which are no values.
        EncodeError: a value that holds itself, or too many levels.
    """
    if type(value) in SCALARS:
        return value
    try:
        return _plain(value, place)
    except RecursionError:
        raise EncodeError(
            f"{place or 'value'}: expected at most 100 levels of documents and lists, got more, "
            f"or a {type(value).__name__} that holds itself"
        ) from None


def _plain(value: Any, place: str) -> Any:
    kind = type(value)
    if kind in SCALARS:
        return value
    if isinstance(value, (list, tuple, AbstractSet)):
        items = list(value)
        if not all_scalars(items):
            items = [_plain(item, at(place, index)) for index, item in enumerate(items)]
        # A set is found by an equal one: both in the order in which sets are stored.
        return in_order(items) if isinstance(value, (set, frozenset)) else items
    if isinstance(value, Mapping):
        if not isinstance(value, dict) and len({*value}) < len([*value]):
            raise EncodeError(
                f"{place or 'value'}: expected each key once, got {value!r} of type "
                f"{kind.__name__}; make it a dict of lists"
            )
        if all_scalars(value.values()):
            return dict(value)
        return {key: _plain(item, at(place, key)) for key, item in value.items()}
    if getattr(kind, "_is_missing", False) is True:
        return _plain(value._id, place)
    if getattr(kind, "_is_frame", False) is True:
        return _plain(_id_of(value, place), place)
    if getattr(kind, "_is_subframe", False) is True:
        return _plain(value._document, place)
    if isinstance(value, Frozen):
        raise QueryError(
            f"{place or 'value'}: expected a value, got ({value!r}); put parentheses around each "
            "comparison, and compare two fields with {'$expr': {'$gt': [Q.a, Q.b]}}"
        )
    if isinstance(value, (MethodType, FunctionType, BuiltinFunctionType, type)):
        raise QueryError(f"{place or 'value'}: expected a value, got {value!r}; is a call missing?")
    return value


def all_scalars(values: Iterable[Any]) -> bool:
    """Tell whether nothing in `values` needs a closer look."""
    # Runs in C: a list of 100,000 ids is not walked in Python.
    return SCALARS.issuperset(map(type, values))


def is_document(kind: type) -> bool:
    """Tell Frame and SubFrame classes from others."""
    return any(getattr(kind, flag, False) is True for flag in ("_is_frame", "_is_subframe"))


def at(place: str, key: object) -> str:
    """Return the path of `key` below `place`."""
    return f"{place}.{key}" if place else str(key)


def _id_of(frame: Any, place: str) -> Any:
    id = frame._document.get("_id")
    # As a filter, None would match all that refer to nothing.
    if id is None:
        name = type(frame).__name__
        raise MissingId(
            f"{place or name}: expected a stored {name}, got one without _id; insert it"
        )
    return id
