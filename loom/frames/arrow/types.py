"""Types of columns: those that there are, their names, and what stands for them in Arrow's memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type, ObjectIdType

from ...errors import SchemaError

__all__ = [
    "OBJECT_ID",
    "AnyId",
    "checked",
    "contains",
    "from_plain",
    "is_object_id",
    "leaf_of",
    "named",
    "rebuilt",
    "replaced",
    "stored",
    "to_plain",
    "with_leaf",
]

OBJECT_ID = ObjectIdType()


class AnyId(pa.ExtensionType):  # type: ignore[misc]  # PyArrow has no types
    """Ids of any type, as BSON: for references, never given."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "loom.id")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> AnyId:
        return cls()


with suppress(pa.ArrowKeyError):  # known already, where this module is loaded again
    # Without it, batches that come from another process would hold plain bytes.
    pa.register_extension_type(AnyId())

#: By the name under which they are shown and saved.
_SIMPLE: dict[str, Any] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "timestamp": pa.timestamp("ms"),
    "date": pa.date32(),
    "objectid": OBJECT_ID,
    "decimal128": Decimal128Type(),
    "uuid": pa.uuid(),
    "code": CodeType(),
    "null": pa.null(),
}

#: A type as JSON holds it: a name, or a dict with one key.
Plain = Any


def is_object_id(type: Any) -> bool:
    """Tell the type of ObjectIds."""
    return isinstance(type, ObjectIdType)


def checked(place: str, type: Any) -> Any:
    """Return a type that columns can have.

    Raises:
        SchemaError: it is another one.
    """
    to_plain(place, type)
    return type


def to_plain(place: str, type: Any) -> Plain:
    """Return a type as JSON holds it.

    >>> to_plain("Dragon.loot", pa.list_(pa.int64()))
    {'list': 'int64'}

    Raises:
        SchemaError: no column can have it.
    """
    if not isinstance(type, pa.DataType):
        raise SchemaError(f"{place}: expected a type of Arrow's, got {type!r}; write pa.int64()")
    name = next((name for name, simple in _SIMPLE.items() if simple == type), None)
    if name is not None:
        return name
    if isinstance(type, AnyId):
        return "id"
    if isinstance(type, BinaryType):
        return {"binary": type.subtype}
    if pa.types.is_timestamp(type) and type.unit == "ms":
        return {"timestamp": type.tz}
    if pa.types.is_decimal128(type):
        return {"decimal": [type.precision, type.scale]}
    if pa.types.is_list(type):
        return {"list": to_plain(f"{place}[]", type.value_type)}
    if pa.types.is_map(type) and type.key_type == pa.string():
        return {"map": to_plain(f"{place}{{}}", type.item_type)}
    if pa.types.is_struct(type) and type.num_fields:
        inner = {field.name: to_plain(f"{place}.{field.name}", field.type) for field in type}
        if len(inner) == type.num_fields:
            return {"struct": inner}
    raise SchemaError(
        f"{place}: expected a type that columns can have, got {type}; these are "
        f"{', '.join(_SIMPLE)}, pa.timestamp('ms', zone), pa.decimal128(precision, scale), "
        "lists, structs with fields, and maps with string keys"
    )


def from_plain(place: str, plain: Plain) -> Any:
    """Return the type that `to_plain` was given.

    Raises:
        SchemaError: it is none.
    """
    if isinstance(plain, str) and plain in _SIMPLE:
        return _SIMPLE[plain]
    if isinstance(plain, dict) and len(plain) == 1:
        (kind, of), *_ = plain.items()
        make = _MAKERS.get(kind)
        if make is not None:
            try:
                return checked(place, make(place, of))
            except (AttributeError, TypeError, ValueError, pa.ArrowInvalid) as error:
                if isinstance(error, SchemaError):
                    raise
                raise SchemaError(f"{place}: expected {kind} of something else than {of!r}") from (
                    error
                )
    raise SchemaError(f"{place}: expected the name of a type, got {plain!r}")


def _struct(place: str, of: dict[str, Plain]) -> Any:
    return pa.struct([(name, from_plain(f"{place}.{name}", one)) for name, one in of.items()])


_MAKERS: dict[str, Callable[[str, Any], Any]] = {
    "binary": lambda place, of: BinaryType(int(of)),
    "timestamp": lambda place, of: pa.timestamp("ms", tz=of),
    "decimal": lambda place, of: pa.decimal128(*of),
    "list": lambda place, of: pa.list_(from_plain(f"{place}[]", of)),
    "map": lambda place, of: pa.map_(pa.string(), from_plain(f"{place}{{}}", of)),
    "struct": _struct,
}


def named(type: Any) -> str:
    """Return a type as text.

    >>> named(pa.struct([("at", pa.timestamp("ms", "UTC")), ("who", pa.list_(OBJECT_ID))]))
    'struct<at: timestamp[UTC], who: list<objectid>>'
    """
    return _shown(to_plain("column", type))


def _shown(plain: Plain) -> str:
    if isinstance(plain, str):
        return plain
    (kind, of), *_ = plain.items()
    if kind in ("list", "map"):
        return f"{kind}<{_shown(of)}>"
    if kind == "struct":
        return f"struct<{', '.join(f'{name}: {_shown(one)}' for name, one in of.items())}>"
    inside = ", ".join(map(str, of)) if isinstance(of, list) else of
    return f"{kind}[{inside}]"


def contains(type: Any, test: Callable[[Any], bool]) -> bool:
    """Tell whether a type, or one inside it, passes a test."""
    if test(type):
        return True
    inner = range(type.num_fields)
    return any(contains(type.field(i).type, test) for i in inner)


def replaced(type: Any, change: Callable[[Any], Any]) -> Any:
    """Return a type with each of those inside it changed."""
    if pa.types.is_list(type):
        return pa.list_(replaced(type.value_type, change))
    if pa.types.is_map(type):
        return pa.map_(type.key_type, replaced(type.item_type, change))
    if pa.types.is_struct(type):
        return pa.struct([(field.name, replaced(field.type, change)) for field in type])
    return change(type)


def leaf_of(type: Any) -> Any:
    """Return the type inside lists and maps.

    >>> leaf_of(pa.list_(pa.list_(pa.int64())))
    DataType(int64)
    """
    while pa.types.is_list(type) or pa.types.is_map(type):
        type = type.value_type if pa.types.is_list(type) else type.item_type
    return type


def with_leaf(type: Any, leaf: Any) -> Any:
    """Return the same lists and maps with another type inside.

    >>> with_leaf(pa.list_(pa.int64()), pa.string())
    ListType(list<item: string>)
    """
    if pa.types.is_list(type):
        return pa.list_(with_leaf(type.value_type, leaf))
    if pa.types.is_map(type):
        return pa.map_(pa.string(), with_leaf(type.item_type, leaf))
    return leaf


def stored(type: Any) -> Any:
    """Return a type with those of Arrow itself in place of extensions, as they are in memory."""
    return replaced(type, lambda t: t.storage_type if isinstance(t, pa.BaseExtensionType) else t)


def rebuilt(array: Any, type: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Return an array under another type of the same form.

    Arrow's own cast makes unsound arrays of some lists inside structs.

    Args:
        array: it begins at the start of its memory.
        type: the one wanted; it differs only in types that hold no others.
        change: makes an array of a type of one that holds no others.
    """
    if array.type == type:
        return array
    mask = array.is_null() if array.null_count else None
    if pa.types.is_list(type):
        inner = rebuilt(array.values, type.value_type, change)
        return pa.ListArray.from_arrays(array.offsets, inner, mask=mask)
    if pa.types.is_struct(type):
        children = [rebuilt(array.field(i), field.type, change) for i, field in enumerate(type)]
        return pa.StructArray.from_arrays(children, fields=[*type], mask=mask)
    if pa.types.is_map(type):
        items = rebuilt(array.items, type.item_type, change)
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, mask=mask)
    return change(array, type)
