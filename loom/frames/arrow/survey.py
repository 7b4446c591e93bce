"""What stands in the bytes of a batch: how often a field has a value of each type of BSON.

All documents are gone through together: the first field of each, then the second of each, and so
on, in NumPy's arrays of positions.

It also sees documents that hold a field twice. No driver writes them, but servers store and return
them. PyMongoArrow appends both values to the column, so that those of later documents move on by
one, until one without the field takes the place up: nothing then differs in length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from .columns import Column
from .memory import Memory, Names, Unclear, behind, step_over

__all__ = ["ARRAY", "DOCUMENT", "NULLS", "Place", "Unclear", "survey"]

DOCUMENT, ARRAY = 3, 4
#: Null, and the deprecated type that drivers read as null.
NULLS = frozenset((0x0A, 0x06))
#: Lists of more bytes, and the rest of fewer lists than that, are gone through one by one.
_LONG, _FEW = 4_096, 64
#: How many names times documents are remembered at most.
_MUCH = 2**26


class Place:
    """A place in documents, and what stands there.

    Attributes:
        counts: how many values of each type of BSON.
        fields: the places in the documents that stand there.
        items: the place of the items of the lists that stand there, None when it does not matter.
        has_signs: whether a field there, or below, has a dot or `[]` in its name.
    """

    __slots__ = ("counts", "fields", "has_signs", "items")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.fields: dict[str, Place] = {}
        self.items: Place | None = None
        self.has_signs = False

    def expect(self, path: list[str], type: Any) -> None:
        """Add the places of the values of a column."""
        if path:
            self.fields.setdefault(path[0], Place()).expect(path[1:], type)
        elif pa.types.is_list(type):
            if self.items is None:
                self.items = Place()
            self.items.expect([], type.value_type)
        elif pa.types.is_struct(type):
            for field in type:
                self.expect([field.name], field.type)

    def at(self, path: list[str]) -> Place:
        """Return the place that a path leads to."""
        return self.fields[path[0]].at(path[1:]) if path else self

    def values(self) -> int:
        """Return how many values there are, without null."""
        return sum(count for kind, count in self.counts.items() if kind not in NULLS)

    def holds_only(self, *kinds: int) -> bool:
        """Tell whether there is nothing but null and values of some types."""
        return self.values() == sum(self.counts[kind] for kind in kinds)


def survey(batch: bytes, columns: Iterable[Column]) -> Place:
    """Return what stands in the documents of a batch, at the places that columns come from.

    Raises:
        Unclear: a document may hold a field twice, or is of a form not known here.

    >>> import bson
    >>> found = survey(bson.encode({"a": 1}) + bson.encode({}), [Column("a", pa.int64(), "a")])
    >>> dict(found.at(["a"]).counts)
    {16: 1}
    """
    top = Place()
    for column in columns:
        top.expect(column.path.split("."), column.type)
    if batch:
        try:
            memory = Memory(batch)
            top.has_signs = _walk(memory, memory.documents(), top)
        except (IndexError, ValueError) as error:
            raise Unclear from error  # bytes that are no documents
    return top


def _walk(memory: Memory, starts: Any, place: Place) -> bool:
    """Go through documents; tell whether names of fields have signs in them."""
    walk = _Walk(memory, starts, place)
    walk.go()
    has_signs = any(b"." in name or b"[]" in name for name in walk.names)
    return walk.go_into() or has_signs


class _Walk:
    """Goes through the fields of documents, through those of all together."""

    def __init__(self, memory: Memory, starts: Any, place: Place) -> None:
        self._memory = memory
        self._ends = starts + memory.lengths(starts) - 1
        self._positions = starts + 4
        self._wanted = {name.encode() + b"\0": at for name, at in place.fields.items()}
        #: documents and lists to go into
        self._inner: dict[tuple[bytes, int], list[Any]] = {
            (name, kind): []
            for name, at in self._wanted.items()
            for kind, is_wanted in ((DOCUMENT, at.fields), (ARRAY, at.items))
            if is_wanted
        }
        #: of all fields, each with the NUL behind it
        self.names: list[bytes] = []

    def go(self) -> None:
        """Note the types of the values.

        Raises:
            Unclear: a field is there twice.
        """
        self._go_alike()
        self._go_each()

    def go_into(self) -> bool:
        """Go through embedded documents and lists; tell whether names have signs in them."""
        has_signs = False
        for (name, kind), positions in self._inner.items():
            if not positions:
                continue
            inner, found = self._wanted[name], np.concatenate(positions)
            if kind == DOCUMENT:
                has_signs |= len(found) > 0 and _walk(self._memory, found, inner)
            elif inner.items is not None and len(found):
                has_signs |= _go_through(self._memory, found, inner.items)
        return has_signs

    def _go_alike(self) -> None:
        """Go on as long as the next field of all documents has the same type and name."""
        memory = self._memory
        while True:
            position = int(self._positions[0])
            if position >= self._ends[0]:
                return
            kind = memory.batch[position]
            name = memory.name_at(position + 1)
            header = bytes((kind,)) + name
            if not bool(memory.matches(self._positions, header).all()):
                return
            if name in self.names:
                raise Unclear
            self.names.append(name)
            values = self._positions + len(header)
            if name in self._wanted:
                self._wanted[name].counts[kind] += len(values)
                if (name, kind) in self._inner:
                    self._inner[name, kind].append(values)
            self._positions = step_over(memory, kind, values)
            if bool((self._positions > self._ends).any()):
                raise Unclear

    def _go_each(self) -> None:
        """Go on where documents differ: the next field of each is likely one behind its last."""
        memory = self._memory
        rows = np.flatnonzero(self._positions < self._ends)
        positions, ends = self._positions[rows], self._ends[rows]
        names = Names(self.names)
        width = len(names)
        seen = np.ones(len(self._ends) * width, bool)
        last = np.full(len(rows), len(names) - 1)
        counts = np.zeros(0, np.int64)
        while len(rows):
            kinds = memory.bytes[positions]
            last = names.find(memory, positions + 1, last)
            if len(names) * len(self._ends) > _MUCH:
                raise Unclear
            if len(names) > width:
                grown = np.zeros((len(self._ends), 2 * len(names)), bool)
                grown[:, :width] = seen.reshape(len(grown), width)
                seen, width = grown.reshape(-1), 2 * len(names)
            fields = rows * width + last
            if bool(seen[fields].any()):
                raise Unclear
            seen[fields] = True
            found = np.bincount(last * 256 + kinds, minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
            values = positions + 1 + names.sizes[last]
            for (name, kind), inner in self._inner.items():
                number = names.number(name)
                if number >= 0:
                    inner.append(values[(last == number) & (kinds == kind)])
            positions = behind(memory, kinds, values)
            if bool((positions > ends).any()):
                raise Unclear
            stay = np.flatnonzero(positions < ends)
            rows, positions, ends, last = rows[stay], positions[stay], ends[stay], last[stay]
        self.names = names.all
        for at in map(int, np.flatnonzero(counts)):
            number, kind = divmod(at, 256)
            if names.all[number] in self._wanted:
                self._wanted[names.all[number]].counts[kind] += int(counts[at])


def _go_through(memory: Memory, starts: Any, place: Place) -> bool:
    """Note the types of the items of lists; tell whether names in them have signs."""
    ends = starts + memory.lengths(starts) - 1
    items = _Items(memory)
    longest = np.flatnonzero(ends - starts > _LONG)
    for row in map(int, longest):
        items.go_along(int(starts[row]) + 4, int(ends[row]))
    positions = starts + 4
    positions[longest] = ends[longest]
    number = 0
    while len(stay := np.flatnonzero(positions < ends)) >= _FEW:
        positions, ends = positions[stay], ends[stay]
        kinds = memory.bytes[positions]
        key = b"%d\0" % number
        if not bool(memory.matches(positions + 1, key).all()):
            raise Unclear  # numbered otherwise than drivers do
        positions = positions + 1 + len(key)
        items.note(kinds, positions)
        positions = behind(memory, kinds, positions)
        if bool((positions > ends).any()):
            raise Unclear
        number += 1
    for row in map(int, stay):
        items.go_along(int(positions[row]), int(ends[row]))
    place.counts.update(items.counts)
    has_signs = False
    if place.fields and len(found := np.concatenate(items.documents)):
        has_signs |= _walk(memory, found, place)
    if place.items is not None and len(found := np.concatenate(items.lists)):
        has_signs |= _go_through(memory, found, place.items)
    return has_signs


class _Items:
    """The types of the items of lists, and where documents and lists are among them."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.counts: Counter[int] = Counter()
        self.documents: list[Any] = [np.zeros(0, np.int64)]
        self.lists: list[Any] = [np.zeros(0, np.int64)]

    def note(self, kinds: Any, positions: Any) -> None:
        """Note one item of each of many lists."""
        counts = np.bincount(kinds, minlength=256)
        self.counts.update({kind: int(counts[kind]) for kind in map(int, np.flatnonzero(counts))})
        if counts[DOCUMENT]:
            self.documents.append(positions[kinds == DOCUMENT])
        if counts[ARRAY]:
            self.lists.append(positions[kinds == ARRAY])

    def go_along(self, position: int, end: int) -> None:
        """Note all items of one list."""
        memory = self._memory
        alike = memory.alike(position, end)
        if alike is not None:
            kind, count = alike
            self.counts[kind] += count
            return
        found: dict[int, list[int]] = {DOCUMENT: [], ARRAY: []}
        for kind, value in memory.values(position, end):
            self.counts[kind] += 1
            if kind in found:
                found[kind].append(value)
        self.documents.append(np.array(found[DOCUMENT], np.int64))
        self.lists.append(np.array(found[ARRAY], np.int64))
