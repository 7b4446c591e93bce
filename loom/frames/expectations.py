"""Expectations: how the values that annotations name are stored."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from re import Pattern
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)

from .annotations import resolved_annotations

__all__ = ["ANYTHING", "Expected", "expectations", "stored_kind"]


class Expected(NamedTuple):
    """How a value is stored.

    Attributes:
        kinds: the BSON types that it can have, by MongoDB's names; None for any.
        text: what was annotated, for people.
        is_nullable: whether it may be null, or missing.
        items: of the members of a list, None when nothing is said of them.
        values: of the values of a map.
        frame_class: the SubFrame of an embedded document.
    """

    kinds: frozenset[str] | None
    text: str
    is_nullable: bool = False
    items: Expected | None = None
    values: Expected | None = None
    frame_class: Any = None


ANYTHING = Expected(None, "anything", True)

#: The BSON types that Python's values are stored as, by MongoDB's names.
_KINDS: tuple[tuple[Any, str], ...] = (
    (type(None), "null"),
    (bool, "bool"),
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (datetime, "date"),
    (DatetimeMS, "date"),
    (ObjectId, "objectId"),
    (Mapping, "object"),
    (DBRef, "object"),
    ((list, tuple), "array"),
    (UUID, "binData"),
    (Decimal128, "decimal"),
    (Code, "javascript"),
    ((bytes, Binary), "binData"),
    ((Regex, Pattern), "regex"),
    (Timestamp, "timestamp"),
    (MinKey, "minKey"),
    (MaxKey, "maxKey"),
)
#: What annotated classes are stored as.
_STORED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (bool, ("bool",)),
    (int, ("int",)),
    (float, ("double", "int")),
    (str, ("string",)),
    (datetime, ("date",)),
    (date, ("date",)),
    (ObjectId, ("objectId",)),
    (Decimal, ("decimal",)),
    (Decimal128, ("decimal",)),
    (UUID, ("binData",)),
    (bytes, ("binData",)),
    (PurePath, ("string",)),
    (Regex, ("regex",)),
    (Timestamp, ("timestamp",)),
)


def stored_kind(value: Any) -> str:
    """Return the BSON type of a loaded value, by MongoDB's name.

    >>> stored_kind(5), stored_kind([]), stored_kind(None)
    ('int', 'array', 'null')
    """
    if isinstance(value, Code):
        return "javascript"  # it is a str, too
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return type(value).__name__


def expectations(cls: Any) -> dict[str, Expected]:
    """Return how the annotated fields of a class are stored."""
    return {
        name: _expected(annotation)
        for name, annotation in resolved_annotations(cls._definition).items()
    }


def _expected(annotation: Any) -> Expected:
    origin = typing.get_origin(annotation)
    if annotation is Any or isinstance(annotation, typing.TypeVar):
        return ANYTHING
    if annotation is None or annotation is type(None):
        return Expected(frozenset(("null",)), "None", True)
    if origin is Annotated:
        return _expected(annotation.__origin__)
    if type(annotation).__name__ == "TypeAliasType":
        return _expected(annotation.__value__)
    if hasattr(annotation, "__supertype__"):
        return _expected(annotation.__supertype__)
    if origin is typing.Union or origin is types.UnionType:
        return _any_of([_expected(member) for member in typing.get_args(annotation)])
    if origin is Literal:
        kinds = {stored_kind(value) for value in typing.get_args(annotation)}
        return Expected(frozenset(kinds), _text(annotation), "null" in kinds)
    return _of_class(annotation, origin or annotation, typing.get_args(annotation))


def _of_class(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Expected:
    text = _text(annotation)
    if not isinstance(origin, type):
        return ANYTHING
    if getattr(origin, "_is_subframe", False):
        return Expected(frozenset(("object",)), text, frame_class=origin)
    if getattr(origin, "_is_frame", False):
        return ANYTHING._replace(text=f"a reference to {text}", is_nullable=False)
    if issubclass(origin, Enum):
        kinds = {stored_kind(member.value) for member in origin}
        return Expected(frozenset(kinds), text)
    for known, names in _STORED:
        if issubclass(origin, known):
            return Expected(frozenset(names), text)
    if issubclass(origin, Mapping):
        values = _expected(arguments[1]) if len(arguments) == 2 else None
        return Expected(frozenset(("object",)), text, values=values)
    if issubclass(origin, tuple) and not (len(arguments) == 2 and arguments[1] is ...):
        return Expected(frozenset(("array",)), text)
    if issubclass(origin, Collection) or origin in (Iterable, Collection):
        items = _expected(arguments[0]) if arguments else None
        return Expected(frozenset(("array",)), text, items=items)
    return ANYTHING._replace(text=text)


def _any_of(members: list[Expected]) -> Expected:
    is_nullable = any(member.is_nullable for member in members)
    others = [m for m in members if m.kinds is None or m.kinds != {"null"}]
    if any(member.kinds is None for member in others):
        return ANYTHING
    if len(others) == 1:
        return others[0]._replace(is_nullable=is_nullable, text=f"{others[0].text} or None")
    kinds = frozenset(kind for member in others for kind in member.kinds or ())
    text = " or ".join([*(member.text for member in others), *(["None"] if is_nullable else [])])
    # Of several lists, maps or documents it is not known which one a value is.
    single = {
        name: found[0]
        for name in ("items", "values", "frame_class")
        if len(found := [getattr(m, name) for m in others if getattr(m, name) is not None]) == 1
    }
    if sum("object" in (member.kinds or ()) for member in others) > 1:
        single = {name: found for name, found in single.items() if name == "items"}
    if sum("array" in (member.kinds or ()) for member in others) > 1:
        single.pop("items", None)
    return Expected(kinds, text, is_nullable, **single)


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
