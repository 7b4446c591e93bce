"""What a sample of documents holds: by path, the types, how often, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

import pyarrow as pa
from bson import Binary, Code, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from ...errors import SchemaError
from .columns import Column, Schema
from .types import OBJECT_ID, named

__all__ = ["Inferred", "SeenType"]

#: So many documents are named for every type.
_EXAMPLES = 3
_NUMBERS = {"int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}
_TYPES: dict[str, Any] = {
    "bool": pa.bool_(),
    "string": pa.string(),
    "date": pa.timestamp("ms", "UTC"),
    "objectId": OBJECT_ID,
    "decimal": Decimal128Type(),
    "uuid": pa.uuid(),
    "code": CodeType(),
}
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int32",
    Int64: "int64",
    float: "double",
    str: "string",
    DatetimeMS: "date",
    ObjectId: "objectId",
    Decimal128: "decimal",
    bytes: "binary",
    DBRef: "document",
    list: "array",
}


class SeenType(NamedTuple):
    """A type that was seen at a path.

    Attributes:
        kind: its name in BSON; `"absent"` for documents without the field.
        times: of how many values.
        ids: of some documents that hold one.
    """

    kind: str
    times: int
    ids: tuple[Any, ...]


class Seen:
    """The values at one path."""

    __slots__ = ("broken", "counts", "fields", "ids", "items", "large")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.ids: dict[str, list[Any]] = {}
        #: those of embedded documents, and of the items of lists
        self.fields: dict[str, Seen] = {}
        self.items: Seen | None = None
        #: of documents with an int that no double is, and with a double that no int is
        self.large: list[Any] = []
        self.broken: list[Any] = []

    def note(self, value: Any, id: Any) -> None:
        """Look at a value of the document with an `_id`."""
        kind = _kind(value)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        ids = self.ids.setdefault(kind, [])
        if len(ids) < _EXAMPLES and id not in ids:
            ids.append(id)
        if kind == "int64" and not self.large and int(float(value)) != value:
            self.large.append(id)
        elif kind == "double" and not self.broken and not (value % 1 == 0 and abs(value) < 2**63):
            self.broken.append(id)
        if kind == "document":
            value = value.as_doc() if isinstance(value, DBRef) else value
            for name, inner in value.items():
                self.fields.setdefault(name, Seen()).note(inner, id)
        elif kind == "array":
            self.items = self.items or Seen()
            for item in value:
                self.items.note(item, id)

    def found(self, of: int) -> tuple[SeenType, ...]:
        """Return the types, the most frequent first; `of` is the number of documents around."""
        counted = sorted(self.counts.items(), key=lambda pair: -pair[1])
        found = [SeenType(kind, count, tuple(self.ids[kind])) for kind, count in counted]
        missing = of - sum(self.counts.values())
        return (*found, *([SeenType("absent", missing, ())] if missing > 0 else ()))

    def _large(self, place: str) -> Any:
        """Return the type of numbers of which some are larger than doubles tell apart."""
        if not self.broken:
            return pa.int64()
        raise SchemaError(
            f"{place}: expected numbers of one type, got an int that no double is, as in "
            f"_id={self.large[0]!r}, and a double that no int is, as in _id={self.broken[0]!r}; say "
            "what the column is, types={...: pa.float64()}, or leave it out with None",
            place.partition(".")[2],
        )

    def type(self, place: str) -> Any:
        """Return the one type that holds all of the values.

        Raises:
            SchemaError: there is none.
        """
        kinds = [kind for kind in self.counts if kind != "null"]
        if not kinds:
            return pa.null()
        if all(kind in _NUMBERS for kind in kinds):
            if self.large and "double" in kinds:
                return self._large(place)
            return next(_NUMBERS[kind] for kind in reversed(_NUMBERS) if kind in kinds)
        if len(kinds) > 1:
            one, two = sorted(kinds, key=lambda kind: -self.counts[kind])[:2]
            raise SchemaError(
                f"{place}: expected values of one type, got {one} ({self.counts[one]}, as in "
                f"_id={self.ids[one][0]!r}) and {two} ({self.counts[two]}, as in "
                f"_id={self.ids[two][0]!r}); say what the column is, types={{...: pa.string()}}, "
                "or leave it out with None",
                place.partition(".")[2],
            )
        (kind,) = kinds
        if kind == "document":
            # What only empty documents are seen of.
            if not self.fields:
                return pa.map_(pa.string(), pa.null())
            inner = [(name, seen.type(f"{place}.{name}")) for name, seen in self.fields.items()]
            return pa.struct(inner)
        if kind == "array":
            return pa.list_(self.items.type(f"{place}[]") if self.items else pa.null())
        if kind.startswith("binary"):
            return BinaryType(int(kind[7:-1])) if kind[6:] else pa.binary()
        if kind not in _TYPES:
            raise SchemaError(
                f"{place}: expected values that columns can hold, got {kind}, as in "
                f"_id={self.ids[kind][0]!r}; leave the column out with None",
                place.partition(".")[2],
            )
        return _TYPES[kind]


def _kind(value: Any) -> str:
    if isinstance(value, Binary):
        if value.subtype == 4 and len(value) == 16:
            return "uuid"
        return f"binary[{value.subtype}]"
    if isinstance(value, Code):
        return "code" if value.scope is None else "code with scope"
    if isinstance(value, Mapping):
        return "document"
    return _KINDS.get(value.__class__) or str(value.__class__.__name__)


class Inferred:
    """What a sample of documents holds, and the schema that fits it.

    Printed, it shows for every path the types that were seen, how often, and the ids of some
    documents that hold one; a notebook shows it as a table, which `to_html` returns.

    Args:
        place: the name of the class.
        declared: the types of its annotations, by field, as far as they have one.
        types: what some columns are instead; None leaves one out.
    """

    def __init__(self, place: str, declared: Mapping[str, Any], types: Mapping[str, Any]) -> None:
        self._place = place
        self._declared = declared
        self._types = types
        self._root = Seen()
        #: how many documents were looked at
        self.documents = 0

    def __repr__(self) -> str:
        return f"<Inferred of {self._title}>"

    @property
    def _title(self) -> str:
        ending = "" if self.documents == 1 else "s"
        return f"{self._place}: {self.documents} document{ending}"

    def note(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Look at documents."""
        for document in documents:
            self.documents += 1
            self._root.note(document, document.get("_id"))

    @property
    def schema(self) -> Schema:
        """The schema that all documents of the sample fit.

        Raises:
            SchemaError: a column has values of several types, a field has a name with a dot in it,
                or there is no document.
        """
        if not self.documents:
            raise SchemaError(f"{self._place}: expected documents to infer columns from, got none")
        columns = []
        for name in dict.fromkeys(["_id", *self._root.fields, *self._types]):
            if name in self._types:
                type_ = self._types[name]
            elif not name or "." in name or name[0] == "$":
                raise SchemaError(
                    f"{self._place}: expected fields that a path can name, got {name!r}; "
                    f"types={{{name!r}: None}} leaves it out",
                    name,
                )
            elif name in self._root.fields:
                type_ = self._root.fields[name].type(f"{self._place}.{name}")
            else:
                continue
            if type_ is not None:
                columns.append(Column(name, type_, name))
        return Schema(self._place, columns)

    def __iter__(self) -> Iterator[tuple[str, tuple[SeenType, ...]]]:
        """Yield every path with the types that were seen there."""
        yield from self._paths(self._root, "", self.documents)

    def _paths(self, seen: Seen, above: str, of: int) -> Iterator[tuple[str, tuple[SeenType, ...]]]:
        for name, inner in seen.fields.items():
            yield from self._path(inner, f"{above}{name}", of)

    def _path(self, seen: Seen, path: str, of: int) -> Iterator[tuple[str, tuple[SeenType, ...]]]:
        yield path, seen.found(of)
        yield from self._paths(seen, f"{path}.", seen.counts.get("document", 0))
        if seen.items is not None and seen.items.counts:
            yield from self._path(seen.items, f"{path}[]", 0)

    def drifted(self) -> tuple[str, ...]:
        """Return the fields whose values are not of the type that their annotation says."""
        return tuple(name for name, seen in self._root.fields.items() if self._drifts(name, seen))

    def _drifts(self, name: str, seen: Seen) -> bool:
        declared = self._declared.get(name)
        if declared is None:
            return False
        try:
            found = seen.type(self._place)
        except SchemaError:
            return True
        return not _holds(declared, found)

    def _lines(self) -> Iterator[tuple[str, str, str, bool]]:
        drifted = {*self.drifted()}
        for path, found in self:
            said = ", ".join(f"{one.kind} {one.times}" for one in found)
            rare = [one for one in found[1:] if one.kind not in ("null", "absent")]
            ids = "; ".join(f"{one.kind}: {', '.join(map(repr, one.ids))}" for one in rare)
            yield path, said, ids, path in drifted

    def __str__(self) -> str:
        lines = [self._title]
        for path, said, ids, is_drifted in self._lines():
            declared = f" (declared {named(self._declared[path])})" if is_drifted else ""
            lines.append(f"{path}: {said}{declared}" + (f" [{ids}]" if ids else ""))
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the report as a table in HTML."""
        rows = []
        for path, said, ids, is_drifted in self._lines():
            declared = named(self._declared[path]) if path in self._declared else ""
            cells = "".join(f"<td>{escape(text)}</td>" for text in (path, declared, said, ids))
            mark = ' class="drifted"' if is_drifted else ""
            rows.append(f"<tr{mark}>{cells}</tr>")
        heads = "".join(f"<th>{head}</th>" for head in ("path", "declared", "seen", "examples"))
        caption = f"<caption>{escape(self._title)}</caption>"
        return f"<table>{caption}<tr>{heads}</tr>{''.join(rows)}</table>"

    _repr_html_ = to_html


def _holds(declared: Any, found: Any) -> bool:
    """Tell whether a column of a type holds all values of another."""
    types = pa.types
    if types.is_null(found) or declared == found:
        return True
    if types.is_integer(declared):
        return bool(types.is_integer(found))
    if types.is_float64(declared):
        return found in (pa.int32(), pa.float64())
    if types.is_timestamp(declared) or types.is_date32(declared):
        return bool(types.is_timestamp(found))
    if types.is_decimal128(declared):
        return isinstance(found, Decimal128Type)
    if types.is_list(declared):
        return bool(types.is_list(found)) and _holds(declared.value_type, found.value_type)
    if types.is_map(declared):
        if types.is_map(found):
            return True
        inner = [field.type for field in found] if types.is_struct(found) else None
        return inner is not None and all(_holds(declared.item_type, one) for one in inner)
    if types.is_struct(declared) and types.is_struct(found):
        known = {field.name: field.type for field in declared}
        return all(_holds(known[f.name], f.type) for f in found if f.name in known)
    return bool(types.is_struct(declared) and types.is_map(found))
