"""Layouts: columns with references in them, and what is loaded for these."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from ...plans import OnMissing, Reverse
from ..columns import Column, Schema
from ..types import AnyId, leaf_of, with_leaf

__all__ = ["Inner", "Layout", "Place", "Reference", "Referring", "Target"]


class Reference(NamedTuple):
    """Where ids stand, in whose places structs are put.

    Attributes:
        target: what is put there.
        on_missing: what is done where a document is missing.
        place: for errors.
    """

    target: Target
    on_missing: OnMissing
    place: str


class Referring(NamedTuple):
    """Where the id of a document stands, in whose place lists of those are put that refer to it."""

    target: Target


class Inner(NamedTuple):
    """Embedded documents that have references in them, by field."""

    fields: Mapping[str, Place]


Place: TypeAlias = "Reference | Referring | Inner"


class Layout(Schema):
    """Columns as they are stored, and the places in them at which references are followed.

    Attributes:
        places: by column, those that hold references.
        targets: what is loaded by reference on all levels; what another one needs stands before it.
    """

    __slots__ = ("_paths", "places", "targets")

    def __init__(
        self,
        place: str,
        columns: Iterable[Column],
        paths: list[str],
        places: Mapping[str, Place],
        targets: list[Target],
    ) -> None:
        super().__init__(place, columns)
        self._paths = paths
        self.places = places
        self.targets = targets

    def fetched(self) -> list[str]:
        """Return the paths that are fetched for the columns."""
        return self._paths

    def plain(self) -> Schema:
        """Return the columns as they are stored, alone."""
        return Schema(self.place, self)

    def loose(self) -> dict[str, Column]:
        """Return the columns with references as they are when ids are of other types."""
        return {
            column.name: column._replace(type=_loose(column.type, self.places[column.name]))
            for column in self
            if column.name in self.places
        }

    def is_same(self, other: Layout) -> bool:
        """Tell whether another one gives the same columns, references included."""
        return self.columns == other.columns and _same(self.places) == _same(other.places)

    def to_json(self) -> str:
        """Return the columns as JSON text, and what tells their references from others."""
        told = {name: _told(place) for name, place in self.places.items()}
        return f"{super().to_json()}\n{json.dumps(told)}"


class Target:
    """Documents of a class that are loaded by reference.

    Attributes:
        frame_class: the class.
        key: the field by which they are referred to, one of the columns.
        layout: their columns.
        reverse: how they refer, when it is they who do, in which order, and how many of them.
    """

    __slots__ = ("frame_class", "key", "layout", "reverse")

    def __init__(
        self, frame_class: Any, key: str, layout: Layout, reverse: Reverse | None = None
    ) -> None:
        self.frame_class = frame_class
        self.key = key
        self.layout = layout
        self.reverse = reverse


def _loose(type: Any, place: Place) -> Any:
    if not isinstance(place, Inner):
        return with_leaf(type, AnyId())
    fields = [
        (f.name, _loose(f.type, place.fields[f.name]) if f.name in place.fields else f.type)
        for f in leaf_of(type)
    ]
    return with_leaf(type, pa.struct(fields))


def _same(places: Mapping[str, Place]) -> Any:
    found: dict[str, Any] = {}
    for name, place in places.items():
        if isinstance(place, Inner):
            found[name] = _same(place.fields)
        else:
            found[name] = (id(place.target), getattr(place, "on_missing", None))
    return found


def _told(place: Place) -> Any:
    if isinstance(place, Inner):
        return {name: _told(inner) for name, inner in place.fields.items()}
    target = place.target
    how: Any = place.on_missing if isinstance(place, Reference) else None
    if target.reverse is not None:
        how = [target.reverse.on, str(target.reverse.sort), target.reverse.limit]
    return [target.frame_class.__name__, target.key, how, target.layout.to_json()]
