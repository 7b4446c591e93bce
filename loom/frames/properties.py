"""The properties through which the fields of a class are read and written."""

from __future__ import annotations

import keyword
import warnings
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, NamedTuple
from uuid import UUID

from bson import Decimal128, Int64, ObjectId

from .marks import Counter, marks_in
from .tracking import keep, read_counter, track, write_counter
from .values import SCALARS

__all__ = ["Kind", "kind_of", "properties"]

#: How a field is accessed: values that cannot be edited in place need no copy when they are read,
#: embedded documents are part of the frame around them, which is tracked.
Kind = Literal["plain", "watched", "counter", "embedded"]


class Access(NamedTuple):
    """How a field is read and written, and its place in the state of a frame."""

    kind: Kind
    position: int


_SCALARS = (str, int, float, bool, bytes, date, datetime, Decimal, UUID, Enum, PurePath)
_BSON = (Decimal128, Int64, ObjectId)


def kind_of(resolved: Any) -> Kind:
    """Return how a frame's field is accessed, by its evaluated annotation, None without one."""
    if resolved is None:
        return "watched"
    found = marks_in(resolved)
    if any(isinstance(mark, Counter) for mark in found.marks) and found.shape == "one":
        return "counter"
    target = found.target
    if found.shape != "one" or not isinstance(target, type):
        return "watched"
    is_plain = issubclass(target, _SCALARS + _BSON) or getattr(target, "_is_frame", False)
    return "plain" if is_plain else "watched"


def properties(
    owner: str,
    bases: tuple[type, ...],
    fields: Mapping[str, Access],
    annotations: Mapping[str, Any],
    inherited: AbstractSet[str],
) -> dict[str, Any]:
    """Return a property for every field that can have one under its own name.

    Args:
        owner: name of the class, for warnings.
        bases: its parents.
        fields: the fields, each with how it is accessed.
        annotations: as written, for the documentation.
        inherited: fields of the parents, whose properties may be replaced.
    """
    made: dict[str, Any] = {}
    for field, access in fields.items():
        if not field.isidentifier() or keyword.iskeyword(field):
            continue
        existing = _attribute(bases, field)
        is_parents = field in inherited and isinstance(existing, (property, _FieldOverOperation))
        if isinstance(existing, _FieldOverOperation):
            existing = existing.operation
        if isinstance(existing, (classmethod, staticmethod)):
            made[field] = _FieldOverOperation(
                _property(field, access, annotations.get(field)), existing
            )
        elif existing is None or is_parents:
            made[field] = _property(field, access, annotations.get(field))
        else:
            warnings.warn(
                f"{owner}.{field}: what Frame or a parent has under this name stays; "
                f"read and write the field as frame[{field!r}]",
                stacklevel=4,
            )
    return made


def _attribute(bases: Iterable[type], name: str) -> Any:
    for base in bases:
        for cls in base.__mro__:
            if cls is not object and name in cls.__dict__:
                return cls.__dict__[name]
    return None


# Generated code, because a getter with the name as a constant is what CPython specialises;
# `.get` because try/except makes an absent field four times slower. A list takes an item by a
# constant place faster than a dict by a name; a frame of which nothing is tracked yet has none,
# and one from before its class got more fields may have a short one.
_READ: dict[Kind, str] = {
    "plain": "return self._document.get({0})",
    "watched": (
        "value = self._document.get({0})\n"
        "    if value.__class__ not in SCALARS: keep(self, {0}, value)\n"
        "    return value"
    ),
    "counter": "return read_counter(self, {0})",
}
_READ["embedded"] = _READ["plain"]
_WRITE: dict[Kind, str] = {
    "plain": (
        "self._document[{0}] = value\n"
        "    try: self._state[{1}] = True\n"
        "    except (AttributeError, TypeError, IndexError): track(self)[{0}] = True"
    ),
    "counter": "write_counter(self, {0}, value)",
    "embedded": "self._document[{0}] = value",
}
_WRITE["watched"] = _WRITE["plain"]
_NAMES = {
    "SCALARS": SCALARS,
    "keep": keep,
    "read_counter": read_counter,
    "track": track,
    "write_counter": write_counter,
}


def _property(field: str, access: Access, annotation: Any) -> property:
    kind, position = access
    name = repr(field)
    made: dict[str, Callable[..., Any]] = {}
    source = (
        f"def read(self):\n    {_READ[kind].format(name, position)}\n"
        f"def write(self, value):\n    {_WRITE[kind].format(name, position)}\n"
    )
    exec(compile(source, f"<field {field}>", "exec"), dict(_NAMES), made)
    made["read"].__name__ = made["write"].__name__ = field
    shown = getattr(annotation, "__forward_arg__", annotation)
    shown = shown if isinstance(shown, str) else getattr(shown, "__name__", shown)
    doc = f"Field `{field}`" + (f" ({shown})." if annotation is not None else ".")
    return property(made["read"], made["write"], doc=doc)


class _FieldOverOperation:
    """A field that has the name of a class-level operation.

    The frame gives the field, the class keeps the operation.
    """

    def __init__(self, field: property, operation: Any) -> None:
        self.field = field
        self.operation = operation
        self.__doc__ = field.__doc__

    def __get__(self, frame: Any, owner: type) -> Any:
        if frame is None:
            return self.operation.__get__(None, owner)
        return self.field.__get__(frame, owner)

    def __set__(self, frame: Any, value: Any) -> None:
        self.field.__set__(frame, value)
