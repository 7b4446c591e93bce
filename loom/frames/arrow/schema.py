"""What columns a class has: its annotations as Arrow types."""

from __future__ import annotations

import typing
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa
from bson import Binary, Code, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from ...errors import FieldError, SchemaError, nearest
from ..annotations import failure_of, resolved_annotations
from ..conditions import Field
from .columns import Column, Schema, inside
from .types import OBJECT_ID, checked, from_plain, named

if TYPE_CHECKING:
    from ..frame import Frame

__all__ = [
    "as_type",
    "by_name",
    "columns_for",
    "field_type",
    "path_type",
    "paths_of",
    "refuse_others",
    "schema_of",
    "struct_of",
    "type_at",
]

#: Instants, as MongoDB stores them.
_INSTANT = pa.timestamp("ms", tz="UTC")

#: The first that a class is, or derives from, counts.
_TYPES: tuple[tuple[type, Any], ...] = (
    (bool, pa.bool_()),
    (int, pa.int64()),
    (Int64, pa.int64()),
    (float, pa.float64()),
    (Code, from_plain("", "code")),
    (str, pa.string()),
    (datetime, _INSTANT),
    (DatetimeMS, _INSTANT),
    (date, pa.date32()),
    (Decimal, from_plain("", "decimal128")),
    (Decimal128, from_plain("", "decimal128")),
    (ObjectId, OBJECT_ID),
    (uuid.UUID, pa.uuid()),
    (Binary, pa.binary()),
    (bytes, pa.binary()),
)


def schema_of(cls: type[Frame], types: Mapping[str, Any] | None = None) -> Schema:
    """Return the columns of a class: `_id`, and every annotated field.

    Of several classes in one collection, the root and every class with others below it have the
    fields of these, too, and the field that tells their kinds.

    Args:
        cls: the class.
        types: what some fields are instead, by name: a type of Arrow's, an annotation such as
            `float` or `list[str]`, or None to leave the field out.

    Raises:
        SchemaError: a field has no annotation, or one that means no single type, and none is
            given for it.
        FieldError: a name in `types` is no field of the class.

    >>> import pyarrow as pa
    >>> from loom import Frame
    >>> class Egg(Frame):
    ...     number: int
    ...     found: datetime
    ...     notes: dict
    >>> print(schema_of(Egg, {"number": pa.int32(), "notes": None}))
    _id: objectid
    number: int32
    found: timestamp[UTC]
    """
    if not isinstance(cls, type) or getattr(cls, "_is_frame", False) is not True:
        raise SchemaError(f"schema_of: expected a Frame class, got {cls!r}")
    given = dict(types or {})
    names = names_of(cls)
    for name in given:
        if name not in names:
            if not any(one._definition.is_open for one in classes_of(cls)):
                raise FieldError(
                    f"{cls.__name__}: expected a field, got {name!r}{nearest(name, names)}"
                )
            names.append(name)
    columns = [
        Column(name, field_type(cls, name, given), name)
        for name in names
        if given.get(name, name) is not None
    ]
    return Schema(cls.__name__, columns)


def classes_of(cls: Any) -> tuple[Any, ...]:
    """Return a class and the kinds below it, whose documents it reads."""
    return (cls,) if cls._kinds is None else (cls, *cls._kinds.below(cls))


def names_of(cls: Any) -> list[str]:
    """Return the fields of a class, those of the kinds below it, and what tells these apart."""
    classes = classes_of(cls)
    names = dict.fromkeys(("_id", *(n for one in classes for n in one._definition.ordered)))
    if len(classes) > 1:
        names.setdefault(cls._kinds.field)
    return [*names]


def field_type(cls: Any, name: str, given: Mapping[str, Any]) -> Any:
    """Return the type of a field: the one that is given, else that of its annotations."""
    place = f"{cls.__name__}.{name}"
    if name in given:
        return as_type(place, given[name])
    declaring = [one for one in classes_of(cls) if name in one._definition.ordered]
    if not declaring and cls._kinds is not None and name == cls._kinds.field:
        return pa.string()
    types = [_declared_type(one, name) for one in declaring or [cls]]
    if all(type == types[0] for type in types):
        return types[0]
    if all(type in (pa.int64(), pa.float64()) for type in types):
        return pa.float64()
    said = ", ".join(
        f"{named(type)} in {one.__name__}" for one, type in zip(declaring, types, strict=True)
    )
    raise SchemaError(
        f"{place}: expected one type in all kinds, got {said}; say what it is: "
        f"schema_of({cls.__name__}, {{{name!r}: ...}}), None leaves it out"
    )


def _declared_type(cls: Any, name: str) -> Any:
    """Return the type of a field by the annotation of the class itself."""
    place = f"{cls.__name__}.{name}"
    annotations = resolved_annotations(cls._definition)
    if name == "_id" and annotations.get(name, Any) is Any:
        return OBJECT_ID
    if name in annotations:
        return _type_of(place, annotations[name], ())
    written = cls._definition.annotations.get(name)
    if written is not None:
        raise SchemaError(
            f"{place}: expected an annotation that is defined, got {written.text!r} "
            f"({failure_of(written)}); import what it names"
        )
    raise SchemaError(
        f"{place}: expected an annotation, got none; annotate it, or say what it is: "
        f"schema_of({cls.__name__}, {{{name!r}: pa.string()}}), None leaves it out"
    )


def as_type(place: str, given: Any) -> Any:
    """Return the Arrow type that an override means: one, or an annotation."""
    if isinstance(given, pa.DataType):
        return checked(place, given)
    return _type_of(place, given, ())


def _type_of(place: str, annotation: Any, above: tuple[type, ...]) -> Any:
    """Return what an annotation is in Arrow; `above` are the sub-frames that it is inside of."""
    annotation = _bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, UnionType):
        members = [m for m in arguments if m is not type(None)]
        return _one_of(place, annotation, [_type_of(place, m, above) for m in members])
    if origin is Literal:
        values = [v for v in arguments if v is not None]
        return _one_of(place, annotation, [_type_of(place, type(v), above) for v in values])
    kind = annotation if origin is None else origin
    if isinstance(kind, type) and kind is not object:
        if getattr(kind, "_is_frame", False):
            return field_type(kind, "_id", {})  # a reference is stored as an id
        if getattr(kind, "_is_subframe", False):
            return struct_of(place, kind, above)
        if issubclass(kind, Enum):
            return _one_of(place, kind, [_type_of(place, type(m.value), above) for m in kind])
        for known, type_ in _TYPES:
            if issubclass(kind, known):
                return type_
        if issubclass(kind, Mapping) and len(arguments) == 2:
            return pa.map_(pa.string(), _type_of(f"{place}{{}}", arguments[1], above))
        members = [a for a in arguments if a is not ...]
        if issubclass(kind, Iterable) and not issubclass(kind, Mapping) and members:
            inner = [_type_of(f"{place}[]", m, above) for m in members]
            return pa.list_(_one_of(place, annotation, inner))
    raise SchemaError(
        f"{place}: expected an annotation that means one type, got {_shown(annotation)}; say what "
        "it is in schema_of(cls, {name: type}), or leave it out with None"
    )


def _one_of(place: str, annotation: Any, types: list[Any]) -> Any:
    if types and all(type == types[0] for type in types):
        return types[0]
    if types and all(type in (pa.int64(), pa.float64()) for type in types):
        return pa.float64()
    raise SchemaError(
        f"{place}: expected an annotation that means one type, got {_shown(annotation)}; say what "
        "it is in schema_of(cls, {name: type}), or leave it out with None"
    )


def struct_of(place: str, cls: Any, above: tuple[type, ...] = ()) -> Any:
    """Return what a SubFrame is in Arrow; `above` are those that it is inside of."""
    if cls in above:
        raise SchemaError(
            f"{place}: expected sub-frames of a known depth, got {cls.__name__} inside itself; "
            "give a type for the field, or leave it out with None"
        )
    annotations = resolved_annotations(cls._definition)
    fields = []
    for name in cls._definition.ordered:
        if name not in annotations:
            raise SchemaError(
                f"{place}.{name}: expected an annotation in {cls.__name__} that is defined, got "
                "none; annotate it, or give a type for the whole field"
            )
        fields.append((name, _type_of(f"{place}.{name}", annotations[name], (*above, cls))))
    if not fields:
        raise SchemaError(
            f"{place}: expected a sub-frame with fields, got {cls.__name__} without; give a type "
            "for the field, or leave it out with None"
        )
    return pa.struct(fields)


def _bare(annotation: Any) -> Any:
    """Return an annotation without what is written around the type."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = annotation.__origin__
        elif type(annotation).__name__ == "TypeAliasType":  # `type Den = Lair`, from 3.12 on
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        elif isinstance(annotation, TypeVar) and annotation.__bound__ is not None:
            annotation = annotation.__bound__
        else:
            return annotation


def _shown(annotation: Any) -> str:
    is_class = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__name__ if is_class else repr(annotation)


# Of one call


def columns_for(cls: Any, projection: Any, schema: Any) -> Schema:
    """Return the columns of a call.

    Args:
        cls: the class.
        projection: None for all columns of the schema; names of fields, dotted ones too; or a
            dict by column: True, or the path that it comes from.
        schema: None for that of the annotations, a `Schema`, or types by name.

    Raises:
        SchemaError: a column has no type, or a type is that of no column.
        FieldError: a path begins with no field of the class.
    """
    place = cls.__name__
    schema = by_name(place, schema)
    if schema is not None and not isinstance(schema, (Schema, Mapping)):
        raise SchemaError(
            f"{place}: expected schema=Schema, one of Arrow's or a dict of types, got {schema!r}"
        )
    if projection is None:
        if isinstance(schema, Schema):
            return schema
        if schema is not None:
            for name, type_ in schema.items():
                if type_ is None:
                    raise SchemaError(
                        f"{place}.{name}: expected a type, got None; a schema names the columns "
                        f"that there are, so leave {name!r} out, or pass "
                        f"schema_of({place}, {{{name!r}: None}})"
                    )
            types = [(n, as_type(f"{place}.{n}", t)) for n, t in schema.items()]
            return Schema(place, [Column(name, type, name) for name, type in types])
        return schema_of(cls)
    columns = []
    pairs = paths_of(place, projection)
    if isinstance(schema, Mapping):
        refuse_others(place, schema, [one for pair in pairs for one in pair])
    for name, path in pairs:
        type_ = None
        if isinstance(schema, Schema):
            type_ = schema.find(name) or schema.at(path)
        elif schema is not None and (name in schema or path in schema):
            type_ = as_type(f"{place}.{name}", schema[name if name in schema else path])
        columns.append(Column(name, type_ or path_type(cls, name, path), path))
    return Schema(place, columns)


def by_name(place: str, schema: Any) -> Any:
    """Return one of Arrow's schemas as types by column, anything else as it is.

    Raises:
        SchemaError: a column is there twice, of which one would be lost.
    """
    if not isinstance(schema, pa.Schema):
        return schema
    types: dict[str, Any] = {}
    for field in schema:
        if field.name in types:
            raise SchemaError(f"{place}.{field.name}: expected each column once, got it twice")
        types[field.name] = field.type
    return types


def refuse_others(place: str, types: Iterable[Any], known: Iterable[str]) -> None:
    """Refuse types that are given for what is not loaded.

    Raises:
        SchemaError: there is one; it names it.
    """
    names = [*dict.fromkeys(known)]
    for name in types:
        if name not in names:
            raise SchemaError(
                f"{place}: expected names of columns in the schema, got {name!r}"
                f"{nearest(str(name), names)}; the projection says which are loaded"
            )


def paths_of(place: str, projection: Any) -> list[tuple[str, str]]:
    """Return the columns that a projection names, with the path of each."""
    if isinstance(projection, (str, Field)) or not isinstance(projection, Iterable):
        raise SchemaError(
            f"{place}: expected projection as a list of paths or a dict, got {projection!r}"
        )
    pairs = (
        [*projection.items()]
        if isinstance(projection, Mapping)
        else [(str(one) if isinstance(one, Field) else one, True) for one in projection]
    )
    found = []
    for name, path in pairs:
        if path is True:
            path = name
        path = str(path) if isinstance(path, Field) else path
        if not isinstance(name, str) or not isinstance(path, str):
            raise SchemaError(
                f"{place}: expected columns as {{name: True}} or {{name: 'path'}}, got "
                f"{name!r}: {path!r}; what is not named is not loaded"
            )
        path = path.removeprefix("$")
        if not all(path.split(".")) or any(part[0] == "$" for part in path.split(".")):
            raise SchemaError(f"{place}.{name}: expected a path such as 'lair.gold', got {path!r}")
        found.append((name, path))
    return found


def path_type(cls: Any, name: str, path: str) -> Any:
    """Return the type of the values that a path leads to, by the annotations."""
    root, *rest = path.split(".")
    names = names_of(cls)
    if root not in names and not any(one._definition.is_open for one in classes_of(cls)):
        raise FieldError(f"{cls.__name__}: expected a field, got {root!r}{nearest(root, names)}")
    found = inside(field_type(cls, root, {}), rest)
    if found is None:
        raise SchemaError(
            f"{cls.__name__}.{name}: expected a path to a value with an annotation, got {path!r}; "
            f"give its type: schema={{{name!r}: ...}}"
        )
    return found


def type_at(cls: Any, path: str) -> Any:
    """Return what the annotations of a class say of a path, None when they mean no single type."""
    root, *rest = path.split(".")
    try:
        return inside(field_type(cls, root, {}), rest)
    except SchemaError:
        return None
