"""What references in columns stand for: the documents that were loaded, as rows of structs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ....encoding import encode
from ....errors import NotFound, SchemaError
from ...ids import id_keys
from ...port import Port
from ...reverse import TO, limited, owners_of
from ..asking import BATCH_ROWS, Asked
from ..decoding import Decoder
from ..exact import decoded
from ..ids import Ids
from ..raw_cursors import raw_aggregate, raw_find, whole
from ..sources import driver_of
from . import sizes
from .any_ids import keys_of
from .layouts import Reference, Target
from .places import Pending, Slot, joined, joined_schema, nulls

__all__ = ["KEPT_BYTES", "Referrers", "Rows"]

#: How much is kept, at most, of the documents of one class for the batches that follow.
KEPT_BYTES = 32 * 1024 * 1024
#: What a kept id costs beside its row.
_ENTRY_BYTES = 200


class Rows:
    """The documents of one target that were loaded, as rows of a struct.

    Args:
        target: what they are.
        asked: the call.
        types: of the targets that stand in their places of references.
    """

    def __init__(self, target: Target, asked: Asked, types: Mapping[Target, Any]) -> None:
        self.target = target
        layout = target.layout
        self._decoder = Decoder(layout, asked.on_mismatch, asked.ids, layout.loose())
        schema = joined_schema(self._decoder.schema, layout, types, asked.ids)
        self.type = pa.struct([*schema])
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        #: by key, the row of a document
        self.index: dict[Any, int] = {}
        #: by key, the row that stands for a document that is not there, where it is asked for
        self.kept: dict[Any, int] = {}
        #: keys of which no document is there
        self.gone: set[Any] = set()
        #: the rows of earlier batches, then those whose references are not in place yet
        self._rows = nulls(0, self.type)
        self.pending: list[Pending] = []
        self._count = 0

    @property
    def frame_class(self) -> Any:
        """The class of the documents."""
        return self.target.frame_class

    @property
    def mismatches(self) -> dict[str, int]:
        """By field, in how many of the documents a value did not fit."""
        name = self.frame_class.__name__
        return {f"{name}.{field}": n for field, n in self._decoder.mismatches.items()}

    def unknown(self, slots: Sequence[Slot]) -> dict[Any, Any]:
        """Return the ids that were not looked for yet, by key."""
        return {key: id for _, found in slots for key, id in found.lacking(self.index, self.gone)}

    async def find(self, port: Port, ids: list[Any], options: Mapping[str, Any]) -> list[Any]:
        """Return what `add` takes: the documents with some ids, in batches."""
        target = self.target
        asked = {**options, "batch_size": max(BATCH_ROWS, len(ids) + 1)}
        wanted = {target.key: {"$in": ids}}
        driver = driver_of(target.layout)
        return [*await whole(port, raw_find(port, target.frame_class, wanted, driver, asked))]

    def add(self, found: Sequence[Any]) -> list[Slot]:
        """Take in what was found, and return the references in it."""
        if not found:
            return []
        if sum(map(len, found)) > sizes.MOST:
            raise self._too_large()
        # At once: each look at a batch costs something, however small it is.
        return self._add(b"".join(found), self.index).all()

    def _too_large(self) -> SchemaError:
        return sizes.too_large(self.target.frame_class.__name__, "of the documents referred to")

    def check(self, slots: Sequence[Slot]) -> None:
        """Check that documents are there, where a reference is to raise.

        Raises:
            NotFound: one is not.
        """
        cls, key = self.target.frame_class, self.target.key
        for reference, found in slots:
            if isinstance(reference, Reference) and reference.on_missing == "raise":
                for _, id in found.lacking(self.index):
                    raise NotFound(
                        f"{reference.place}: expected the {cls.__name__} with {key}={id!r}, found "
                        "none; use '$missing': 'keep' to load it all the same"
                    )

    def keep(self, slots: Sequence[Slot]) -> None:
        """Make rows for the documents that are not there, of their ids alone, where it is asked.

        Raises:
            SchemaError: an id does not fit its column, and the call is to raise.
        """
        key = self.target.key
        for reference, found in slots:
            if not isinstance(reference, Reference) or reference.on_missing != "keep":
                continue
            ids = dict(found.lacking(self.index, self.kept))
            if not ids:
                continue
            try:
                self._add(b"".join(encode({key: id}) for id in ids.values()), self.kept)
            except SchemaError as error:
                raise SchemaError(
                    f"{reference.place}: expected ids of the type of "
                    f"{self.target.frame_class.__name__}.{key}, {error.expected}, got "
                    f"{error.got!r}, of which there is no document; give that another type, or "
                    "write '$missing': 'none'",
                    error.column,
                    error.id,
                    error.expected,
                    error.got,
                ) from None

    def _add(self, raw: bytes, index: dict[Any, int]) -> Pending:
        batch = self._decoder.batch(raw)
        layout = self.target.layout
        key = next(column for column in layout if column.name == self.target.key)
        keys = keys_of(batch.column(key.name), key.type, raw, key.path)
        index.update(zip(keys, range(self._count, self._count + len(keys)), strict=True))
        self._count += len(keys)
        pending = Pending.of(batch, layout.places, is_kept=index is self.kept)
        self.pending.append(pending)
        return pending

    def settle(self, rows: Mapping[Target, Rows], ids: Ids) -> None:
        """Put what is referred to in the places of references; it is settled already."""
        if not self.pending:
            return
        parts = [self._rows]
        for pending in self.pending:
            arrays = joined(pending, rows, ids)
            parts.append(pa.StructArray.from_arrays(arrays, fields=[*self.type]))
        try:
            self._rows = pa.concat_arrays(parts)
        except pa.ArrowInvalid as error:  # it does look
            raise self._too_large() from error
        self.pending = []

    def numbers(self, slot: Slot) -> Any:
        """Return the row for every place of a reference, null where nothing is put."""
        found = slot.found
        is_kept = isinstance(slot.reference, Reference) and slot.reference.on_missing == "keep"
        rows = np.array([self.index.get(key, -1) for key in found.keys], np.int64)
        mask = rows < 0
        if is_kept and bool(mask.any()):
            for number in np.flatnonzero(mask).tolist():
                rows[number] = self.kept[found.keys[number]]
            mask[:] = False
        if not len(rows):
            return pa.nulls(len(found.codes), pa.int64())
        return pa.array(rows, pa.int64(), mask=mask).take(found.codes)

    def lists(self, slot: Slot) -> Any:
        """Return for every place a list of the numbers of rows."""
        raise NotImplementedError

    def taken(self, numbers: Any) -> Any:
        """Return the rows with some numbers."""
        if not len(self._rows):
            return nulls(len(numbers), self.type)
        sizes.check_size(self.target.frame_class.__name__, self._rows, numbers)
        return self._rows.take(numbers)

    def trim(self) -> None:
        """Forget all when it is more than is kept for the next batch."""
        entries = len(self.index) + len(self.kept) + len(self.gone)
        if self._rows.nbytes + _ENTRY_BYTES * entries > KEPT_BYTES:
            self.clear()


class Referrers(Rows):
    """The documents that refer to others, each in a row."""

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        #: by the key of what is referred to, the rows of those that do, in their order
        self._lists: dict[Any, list[int]] = {}

    def unknown(self, slots: Sequence[Slot]) -> dict[Any, Any]:
        """Return the ids that were not looked for yet, by key."""
        return {key: id for _, found in slots for key, id in found.lacking(self._lists)}

    async def find(self, port: Port, ids: list[Any], options: Mapping[str, Any]) -> list[Any]:
        """Return what `add` takes: what refers to some ids, in batches, and to which of them."""
        cls, reverse = self.target.frame_class, self.target.reverse
        assert reverse is not None  # as of all that refer
        driver = driver_of(self.target.layout)
        if reverse.limit is None:
            sort = {**options, "sort": reverse.sort}
            cursor = raw_find(port, cls, {reverse.on: {"$in": ids}}, driver, sort)
            on = reverse.on
        else:
            stages = [*limited(reverse, ids), {"$project": driver}]
            cursor = await raw_aggregate(port, cls, stages, {**options, "batchSize": BATCH_ROWS})
            on = TO
        keys = id_keys(ids)
        asked = {*keys}
        for key in keys:
            self._lists.setdefault(key, [])
        return [
            (raw, [owners_of(document, on, asked) for document in decoded(raw)])
            for raw in await whole(port, cursor)
        ]

    def add(self, found: Sequence[Any]) -> list[Slot]:
        """Take in what was found, and return the references in it."""
        owners = (keys for _, of_batch in found for keys in of_batch)
        for row, keys in enumerate(owners, self._count):
            for key in keys:
                self._lists[key].append(row)
        return super().add([raw for raw, _ in found])

    def check(self, slots: Sequence[Slot]) -> None:
        """Do nothing: to what nothing refers belongs an empty list."""

    def keep(self, slots: Sequence[Slot]) -> None:
        """Do nothing."""

    def lists(self, slot: Slot) -> Any:
        """Return for every place a list of the numbers of rows, null where no id is."""
        lists = [self._lists[key] for key in slot.found.keys]
        return pa.array(lists, pa.list_(pa.int64())).take(slot.found.codes)

    def trim(self) -> None:
        """Forget all: the documents of the batches that follow are others."""
        self.clear()
