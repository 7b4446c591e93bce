"""Schemas: the names, types and paths of columns, to be printed, saved and loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ...errors import SchemaError
from .types import checked, from_plain, named, to_plain

__all__ = ["Column", "Schema"]

_VERSION = 1


class Column(NamedTuple):
    """A column: its name, its Arrow type, and the path of its values in the documents."""

    name: str
    type: Any
    path: str

    def __str__(self) -> str:
        origin = "" if self.path == self.name else f" from {self.path}"
        return f"{self.name}: {named(self.type)}{origin}"


class Schema:
    """What columns there are: frozen, printable, equal by its columns.

    Args:
        place: the name of the class, for errors.
        columns: in their order.

    Raises:
        SchemaError: there is none, one is there twice, has a type that no column can have, or a
            path that leads nowhere.

    >>> import pyarrow as pa
    >>> schema = Schema("Dragon", [Column("gold", pa.int64(), "lair.gold")])
    >>> print(schema)
    gold: int64 from lair.gold
    >>> Schema.from_json(schema.to_json()) == schema
    True
    """

    __slots__ = ("_columns", "_place")

    def __init__(self, place: str, columns: Iterable[Column]) -> None:
        self._place = place
        self._columns = tuple(columns)
        seen: set[str] = set()
        for column in self._columns:
            checked(f"{place}.{column.name}", column.type)
            _check_names(place, column)
            if column.name in seen:
                raise SchemaError(f"{place}.{column.name}: expected each column once, got it twice")
            seen.add(column.name)
        if not self._columns:
            raise SchemaError(f"{place}: expected columns, got none")

    @property
    def place(self) -> str:
        """The name of the class."""
        return self._place

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in their order."""
        return self._columns

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self._columns == other._columns

    def __hash__(self) -> int:
        return hash(tuple((c.name, c.path) for c in self._columns))  # types are not hashable

    def __str__(self) -> str:
        return "\n".join(map(str, self._columns))

    def __repr__(self) -> str:
        return f"<Schema of {self._place}: {', '.join(map(str, self._columns))}>"

    def find(self, name: str) -> Any:
        """Return the type of a column by its name, None when there is no such column."""
        return next((c.type for c in self._columns if c.name == name), None)

    def at(self, path: str) -> Any:
        """Return the type of the values at a path, None when no column leads there."""
        for column in self._columns:
            if path == column.path:
                return column.type
            if path.startswith(f"{column.path}."):
                return inside(column.type, path[len(column.path) + 1 :].split("."))
        return None

    def fetched(self) -> list[str]:
        """Return the paths that are fetched for the columns."""
        return [column.path for column in self._columns]

    def to_arrow(self) -> Any:
        """Return the schema as Arrow's."""
        return pa.schema([(column.name, column.type) for column in self._columns])

    def to_json(self) -> str:
        """Return the schema as JSON text."""
        columns = [
            {"name": c.name, "path": c.path, "type": to_plain(f"{self._place}.{c.name}", c.type)}
            for c in self._columns
        ]
        return json.dumps({"version": _VERSION, "of": self._place, "columns": columns}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Return the schema that `to_json` wrote.

        Raises:
            SchemaError: the text is no schema, or of a later version.
        """
        try:
            plain = json.loads(text)
            if plain["version"] != _VERSION:
                raise SchemaError(f"schema: expected version {_VERSION}, got {plain['version']!r}")
            place = plain["of"]
            columns = [
                Column(c["name"], from_plain(f"{place}.{c['name']}", c["type"]), c["path"])
                for c in plain["columns"]
            ]
        except (KeyError, ValueError, TypeError) as error:
            if isinstance(error, SchemaError):
                raise
            raise SchemaError(
                f"schema: expected JSON that Schema.to_json() wrote, got {text[:60]!r}"
            ) from error
        return cls(place, columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schema to a file, as JSON."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schema:
        """Return the schema that `save` wrote to a file.

        Raises:
            SchemaError: the file holds something else.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))


def _check_names(place: str, column: Column) -> None:
    name, path = column.name, column.path
    if not isinstance(name, str) or not isinstance(path, str) or not all(path.split(".")):
        raise SchemaError(
            f"{place}.{name}: expected a name and a path such as 'lair.gold', got {path!r}"
        )


def inside(type: Any, path: list[str]) -> Any:
    """Return the type that a path leads to, through the documents of a list; None for nothing."""
    if not path:
        return type
    if pa.types.is_list(type):
        found = inside(type.value_type, path)
        return None if found is None else pa.list_(found)
    if pa.types.is_map(type):
        return inside(type.item_type, path[1:])
    if pa.types.is_struct(type):
        position = type.get_field_index(path[0])
        return None if position < 0 else inside(type.field(position).type, path[1:])
    return None
