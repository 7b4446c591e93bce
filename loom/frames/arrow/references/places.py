"""References in columns: where ids stand in arrays, and how structs are put there.

Knows no database: what stands for the ids is given as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..ids import Ids, given_array, given_type
from ..types import rebuilt, stored
from .any_ids import Distinct, distinct
from .layouts import Inner, Layout, Place, Reference, Referring, Target

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["Found", "Pending", "Slot", "joined", "joined_schema", "nulls"]


class Slot(NamedTuple):
    """The places of one reference in a batch."""

    reference: Reference | Referring
    found: Distinct


class Pending(NamedTuple):
    """A batch whose references are not in place yet, and these by column, in their order.

    Attributes:
        batch: of the columns as they are stored.
        places: by column.
        slots: by column.
        is_kept: whether it stands for documents that are not there, to which nothing refers.
    """

    batch: Any
    places: Mapping[str, Place]
    slots: dict[str, list[Slot]]
    is_kept: bool

    @classmethod
    def of(cls, batch: Any, places: Mapping[str, Place], *, is_kept: bool = False) -> Pending:
        """Find the references of a batch."""
        slots = {name: [*_slots(batch.column(name), place)] for name, place in places.items()}
        return cls(batch, places, slots, is_kept)

    def all(self) -> list[Slot]:
        """Return the references of all columns."""
        return [slot for of_column in self.slots.values() for slot in of_column]


def _slots(array: Any, place: Place) -> Iterable[Slot]:
    if isinstance(place, Referring):
        yield Slot(place, distinct(array))
    elif pa.types.is_list(array.type):
        yield from _slots(_items(array), place)
    elif pa.types.is_map(array.type):
        yield from _slots(array.items, place)
    elif isinstance(place, Reference):
        yield Slot(place, distinct(array))
    else:
        for field, child in zip(array.type, _children(array), strict=True):
            if field.name in place.fields:
                yield from _slots(child, place.fields[field.name])


def _children(array: Any) -> list[Any]:
    """Return the fields of structs; in one that is null, Arrow keeps any values."""
    children: list[Any] = array.flatten()
    return children


def _items(array: Any) -> Any:
    """Return the members of all lists; behind the last one may be others."""
    return array.values.slice(0, array.offsets[-1].as_py() if len(array) else 0)


class Found(Protocol):
    """What stands for ids: rows of one target."""

    type: Any

    def numbers(self, slot: Slot) -> Any:
        """Return the row for every place of a reference, null where nothing is put."""

    def lists(self, slot: Slot) -> Any:
        """Return for every place a list of the numbers of rows, null where no id is."""

    def taken(self, numbers: Any) -> Any:
        """Return the rows with some numbers, null for null."""


def joined(pending: Pending, rows: Mapping[Target, Found], ids: Ids) -> list[Any]:
    """Return the columns of a batch with structs in the places of ids."""
    placing = _Placing(rows, ids)
    arrays = []
    for name, array in zip(pending.batch.schema.names, pending.batch.columns, strict=True):
        if name in pending.places:
            place = pending.places[name]
            if not isinstance(place, Referring):
                array = placing.placed(array, place, iter(pending.slots[name]))
            elif pending.is_kept:
                array = nulls(len(array), pa.list_(rows[place.target].type))
            else:
                array = placing.referring(place, *pending.slots[name])
        arrays.append(array)
    return arrays


class _Placing:
    def __init__(self, rows: Mapping[Target, Found], ids: Ids) -> None:
        self._rows = rows
        self._ids: Ids = ids

    def referring(self, place: Referring, slot: Slot) -> Any:
        """Return lists of what refers to ids, empty where nothing does."""
        rows = self._rows[place.target]
        numbers = rows.lists(slot)
        lengths = pc.fill_null(pc.list_value_length(numbers), 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), rows.taken(numbers.flatten())
        )

    def placed(self, array: Any, place: Place, slots: Iterator[Slot]) -> Any:
        type = array.type
        if pa.types.is_list(type) or pa.types.is_map(type):
            return self._held(array, place, slots)
        if not isinstance(place, Inner):
            slot = next(slots)
            rows = self._rows[place.target]
            return rows.taken(rows.numbers(slot))
        children, fields = [], []
        for field, child in zip(type, _children(array), strict=True):
            inner = place.fields.get(field.name)
            if inner is None:
                child = given_array(child, self._ids)
            else:
                child = self.placed(child, inner, slots)
            children.append(child)
            fields.append(pa.field(field.name, child.type))
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=fields, mask=mask)

    def _held(self, array: Any, place: Place, slots: Iterator[Slot]) -> Any:
        """Return lists or maps with what is put in the places inside them."""
        is_map = pa.types.is_map(array.type)
        mask = array.is_null() if array.null_count else None
        offsets = array.offsets
        items = array.items if is_map else _items(array)
        keys = array.keys if is_map else None
        if isinstance(place, Reference) and not _is_holder(items.type):
            slot = next(slots)
            rows = self._rows[place.target]
            numbers = rows.numbers(slot)
            if place.on_missing == "drop":
                stays = np.asarray(pc.or_(numbers.is_valid(), slot.found.codes.is_null()))
                before = np.concatenate([[0], np.cumsum(stays)])
                offsets = pa.array(before[np.asarray(offsets)], pa.int32())
                stays = pa.array(stays)
                numbers = numbers.filter(stays)
                keys = None if keys is None else keys.filter(stays)
            inner = rows.taken(numbers)
        else:
            inner = self.placed(items, place, slots)
        if is_map:
            return pa.MapArray.from_arrays(offsets, keys, inner, mask=mask)
        return pa.ListArray.from_arrays(offsets, inner, mask=mask)


def _is_holder(type: Any) -> bool:
    return bool(pa.types.is_list(type) or pa.types.is_map(type))


def joined_schema(schema: Any, layout: Layout, types: Mapping[Target, Any], ids: Ids) -> Any:
    """Return the schema of batches once structs are in the places of ids."""
    fields = []
    for field in schema:
        place = layout.places.get(field.name)
        type = field.type if place is None else _joined_type(field.type, place, types, ids)
        fields.append(pa.field(field.name, type))
    return pa.schema(fields)


def _joined_type(type: Any, place: Place, types: Mapping[Target, Any], ids: Ids) -> Any:
    if isinstance(place, Referring):
        return pa.list_(types[place.target])
    if pa.types.is_list(type):
        return pa.list_(_joined_type(type.value_type, place, types, ids))
    if pa.types.is_map(type):
        return pa.map_(type.key_type, _joined_type(type.item_type, place, types, ids))
    if isinstance(place, Reference):
        return types[place.target]
    fields = []
    for field in type:
        inner = place.fields.get(field.name)
        if inner is None:
            made = given_type(field.type, ids)
        else:
            made = _joined_type(field.type, inner, types, ids)
        fields.append((field.name, made))
    return pa.struct(fields)


def nulls(count: int, type: Any) -> Any:
    """Return nulls of any type; of structs with extension types Arrow makes none."""
    return rebuilt(pa.nulls(count, stored(type)), type, lambda a, t: t.wrap_array(a))
