"""The fields of embedded documents, held against the SubFrames that their class declares."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ....errors import FieldError, nearest
from ...annotations import embedded, resolved_annotations

__all__ = ["check_embedded"]


def check_embedded(cls: Any, name: str, path: str, type: Any) -> None:
    """Refuse fields that a SubFrame does not have, as it does itself: `Lair(goldd=5)`.

    Args:
        cls: the class.
        name: of the column, for the message.
        path: that the column goes to.
        type: of the column; None for Python's objects, whose dicts are stored as they are.

    Raises:
        FieldError: there is such a field.
    """
    root, *rest = path.split(".")
    _check(f"{cls.__name__}.{name}", cls, root, rest, type)


def _check(place: str, cls: Any, field: str, rest: list[str], type: Any) -> None:
    """Look at what is at a field of a class, or below it at the rest of a path."""
    found: Any = embedded(resolved_annotations(cls._definition).get(field))
    if found is None:
        return
    sub, shape = found
    if shape == "map":
        if rest:
            rest = rest[1:]  # a key
        else:
            inner = _leaf(type)
            if inner is not None and not pa.types.is_map(_unwrapped(type)):
                for one in inner:  # the fields of a struct are keys
                    _check_fields(f"{place}.{one.name}", sub, one.type)
                return
    if rest:
        _check_name(place, sub, rest[0])
        if rest[0] in sub._definition.names:
            _check(place, sub, rest[0], rest[1:], type)
    else:
        _check_fields(place, sub, type)


def _check_fields(place: str, sub: Any, type: Any) -> None:
    """Look at the fields of documents of a SubFrame, in lists and maps, too."""
    for one in _leaf(type) or ():
        _check_name(place, sub, one.name)
        if one.name in sub._definition.names:
            _check(f"{place}.{one.name}", sub, one.name, [], one.type)


def _check_name(place: str, sub: Any, name: str) -> None:
    names = sub._definition.names
    if name in names or sub._definition.is_open:
        return
    column = place.split(".")[1]
    raise FieldError(
        f"{place}: expected a field of {sub.__name__}, got {name!r}{nearest(name, names)}; rename "
        f"it, or say what the column is: schema={{{column!r}: ...}}"
    )


def _leaf(type: Any) -> Any:
    """Return the struct inside lists and maps, None when there is none."""
    type = _unwrapped(type)
    while type is not None and not pa.types.is_struct(type):
        if pa.types.is_map(type):
            type = _unwrapped(type.item_type)
        elif pa.types.is_nested(type) and hasattr(type, "value_type"):
            type = _unwrapped(type.value_type)
        else:
            return None
    return type


def _unwrapped(type: Any) -> Any:
    """Return a type without the encoding of its values."""
    while type is not None and (pa.types.is_dictionary(type) or pa.types.is_run_end_encoded(type)):
        type = type.value_type
    return type
