"""Lists, structs and maps of Arrow's as lists and dicts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from .cells import Cell, Texts, Unfit, filled

__all__ = [
    "ABSENT",
    "KEEPS",
    "OMITS",
    "SKIPS",
    "FixedLists",
    "Lists",
    "Maps",
    "Structs",
    "Views",
    "documents_of",
]

Array = Any


class Lists(Cell):
    """Lists, each with the values of its items."""

    def __init__(self, inner: Cell) -> None:
        self.inner = inner

    def check(self, array: Array) -> None:
        """Look through the items."""
        items, offsets = _parts(array)
        try:
            self.check_items(items, offsets)
        except Unfit as unfit:
            raise unfit.moved(int(np.searchsorted(offsets, unfit.at, "right")) - 1) from None

    def check_items(self, items: Array, offsets: Any) -> None:
        """Look through the items of all lists."""
        self.inner.check(items)

    def values(self, array: Array) -> list[Any]:
        """Return lists."""
        items, offsets = _parts(array)
        made = self.inner.values(items)
        return filled([made[start:stop] for start, stop in pairwise(offsets.tolist())], array)


def _parts(array: Array) -> tuple[Array, Any]:
    """Return the items of all lists, and where each list begins, and the last one ends."""
    if not len(array):
        return array.values.slice(0, 0), np.zeros(1, np.int64)
    offsets = array.offsets.to_numpy()
    start, stop = int(offsets[0]), int(offsets[-1])
    if array.null_count:  # behind a null there may be anything
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        sizes = np.where(valid, np.diff(offsets), 0)
        bounds = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        if bounds[-1] < stop - start:
            pairs = zip(offsets.tolist(), sizes.tolist(), strict=False)
            runs = [array.values.slice(at, size) for at, size in pairs if size]
            return pa.concat_arrays(runs) if runs else array.values.slice(0, 0), bounds
    return array.values.slice(start, stop - start), offsets - start


class FixedLists(Cell):
    """Lists of one length."""

    def __init__(self, inner: Cell, size: int) -> None:
        self.inner = inner
        self.size = size

    def check(self, array: Array) -> None:
        """Look through the items."""
        if not self.size:
            return
        try:
            self.inner.check(array.flatten())  # without those behind a null
        except Unfit as unfit:
            rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
            raise unfit.moved(int(rows[unfit.at // self.size])) from None

    def values(self, array: Array) -> list[Any]:
        """Return lists."""
        made, size = self.inner.values(array.flatten()), self.size
        lists = (made[at : at + size] for at in count(0, size))
        if not array.null_count:
            return [*islice(lists, len(array))]
        valid = array.is_valid().to_numpy(zero_copy_only=False).tolist()
        return [next(lists) if is_there else None for is_there in valid]


class Views(Lists):
    """Lists whose items may stand in any order."""

    def check(self, array: Array) -> None:
        """Look through the items."""
        super().check(_as_list(array))

    def values(self, array: Array) -> list[Any]:
        """Return lists."""
        return super().values(_as_list(array))


def _as_list(array: Array) -> Array:
    """Return a list view as a list whose items stand one after the other."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    sizes = np.where(valid, array.sizes.to_numpy(), 0)
    bounds = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    starts = array.offsets.to_numpy()[: len(array)].astype(np.int64)
    taken = np.repeat(starts - bounds[:-1], sizes) + np.arange(bounds[-1])
    items = array.values.take(pa.array(taken, pa.int64()))
    mask = None if valid.all() else pa.array(~valid)
    return pa.LargeListArray.from_arrays(pa.array(bounds), items, mask=mask)


class Structs(Cell):
    """Documents with the same fields.

    Args:
        names: of the fields.
        inner: the cell of each.
        omits: whether nulls are left out.
    """

    def __init__(self, names: Sequence[str], inner: Sequence[Cell], *, omits: bool) -> None:
        self.names = names
        self.inner = inner
        self.leaves_out = OMITS if omits else KEEPS

    def check(self, array: Array) -> None:
        """Look through the fields."""
        for cell, values in zip(self.inner, array.flatten(), strict=True):
            cell.check(values)

    def values(self, array: Array) -> list[Any]:
        """Return dicts."""
        columns = [c.values(v) for c, v in zip(self.inner, array.flatten(), strict=True)]
        made: list[Any] = documents_of(self.names, columns, len(array), self.leaves_out)
        return filled(made, array)


class Maps(Lists):
    """Documents with fields of one type, each with names of its own."""

    def __init__(self, inner: Cell, *, omits: bool) -> None:
        super().__init__(inner)
        self.omits = omits

    def check_items(self, items: Array, offsets: Any) -> None:
        """Look through the values, and for names that are there twice."""
        keys, values = items.flatten()
        self.inner.check(values)
        Texts().check(keys)
        names = keys.to_pylist()
        for at, name in enumerate(names):
            if "\0" in name:
                raise Unfit(at, "keys without NUL", name, "correct it")
        for start, stop in pairwise(offsets.tolist()):
            here = names[start:stop]
            if len({*here}) < len(here):
                twice = next(name for name in here if here.count(name) > 1)
                raise Unfit(start, "each key once", twice, "make it a list of structs")

    def values(self, array: Array) -> list[Any]:
        """Return dicts."""
        items, offsets = _parts(array)
        keys, values = items.flatten()
        names, made = keys.to_pylist(), self.inner.values(values)
        found: list[Any] = [
            dict(zip(names[start:stop], made[start:stop], strict=True))
            for start, stop in pairwise(offsets.tolist())
        ]
        if self.omits and type(None) in {*map(type, made)}:
            found = [{k: v for k, v in one.items() if v is not None} for one in found]
        return filled(found, array)


class Absent:
    """Stands for the value of a field that a document does not have."""


ABSENT = Absent()
#: The types of values that are left out: of none; of what is absent; of nulls, too.
KEEPS: frozenset[type] = frozenset()
SKIPS: frozenset[type] = frozenset({Absent})
OMITS: frozenset[type] = frozenset({Absent, type(None)})


def documents_of(
    names: Sequence[str], columns: Sequence[list[Any]], rows: int, leaves_out: frozenset[type]
) -> list[dict[str, Any]]:
    """Return a dict for each row of some columns.

    Args:
        names: of the columns.
        columns: their values.
        rows: how many there are.
        leaves_out: the types of values that are left out.
    """
    if not columns:
        return [{} for _ in range(rows)]
    found = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if leaves_out and not all(leaves_out.isdisjoint(map(type, column)) for column in columns):
        return [{k: v for k, v in one.items() if type(v) not in leaves_out} for one in found]
    return found
