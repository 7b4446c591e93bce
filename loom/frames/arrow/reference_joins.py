"""References in columns: what ids stand for is loaded, and put in their places as structs.

For each batch, level by level: the distinct ids of all places that want the same of a class are
asked for with one `$in`, as `many` does; what was loaded for an earlier batch is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...encoding import encode
from ...errors import NotFound, SchemaError
from ..port import Port
from .any_ids import keys_of
from .asking import BATCH_ROWS, Asked
from .decoding import Decoder
from .ids import Ids
from .layouts import Layout, Target
from .raw import take_bytes
from .reference_places import Pending, Slot, joined, joined_schema
from .sources import driver_of
from .types import rebuilt, stored

__all__ = ["KEPT_BYTES", "Joins"]

#: How much is kept, at most, of the documents of one class for the batches that follow.
KEPT_BYTES = 32 * 1024 * 1024
#: What a kept id costs beside its row.
_ENTRY_BYTES = 200
#: What the queries for references take over from the one that they belong to, as for `many`.
_INHERITED = ("session", "comment")


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
        self._rows = _nulls(0, self.type)
        self.pending: list[Pending] = []
        self._count = 0

    @property
    def mismatches(self) -> dict[str, int]:
        """By field, in how many of the documents a value did not fit."""
        name = self.target.frame_class.__name__
        return {f"{name}.{field}": n for field, n in self._decoder.mismatches.items()}

    def unknown(self, slots: Sequence[Slot]) -> dict[Any, Any]:
        """Return the ids that were not looked for yet, by key."""
        return {key: id for _, found in slots for key, id in found.lacking(self.index, self.gone)}

    def add(self, raw: bytes) -> Pending:
        """Take in documents that were found."""
        return self._add(raw, self.index)

    def check(self, slots: Sequence[Slot]) -> None:
        """Check that documents are there, where a reference is to raise.

        Raises:
            NotFound: one is not.
        """
        cls, key = self.target.frame_class, self.target.key
        for reference, found in slots:
            if reference.on_missing == "raise":
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
            if reference.on_missing != "keep":
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
        pending = Pending.of(batch, layout.places)
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
        self._rows = pa.concat_arrays(parts)
        self.pending = []

    def numbers(self, slot: Slot) -> Any:
        """Return the row for every place of a reference, null where nothing is put."""
        reference, found = slot
        rows = np.array([self.index.get(key, -1) for key in found.keys], np.int64)
        mask = rows < 0
        if reference.on_missing == "keep" and bool(mask.any()):
            for number in np.flatnonzero(mask).tolist():
                rows[number] = self.kept[found.keys[number]]
            mask[:] = False
        if not len(rows):
            return pa.nulls(len(found.codes), pa.int64())
        return pa.array(rows, pa.int64(), mask=mask).take(found.codes)

    def taken(self, numbers: Any) -> Any:
        """Return the rows with some numbers."""
        if not len(self._rows):
            return _nulls(len(numbers), self.type)
        return self._rows.take(numbers)

    def trim(self) -> None:
        """Forget all when it is more than is kept for the next batch."""
        entries = len(self.index) + len(self.kept) + len(self.gone)
        if self._rows.nbytes + _ENTRY_BYTES * entries > KEPT_BYTES:
            self.clear()


def _nulls(count: int, type: Any) -> Any:
    """Return nulls of any type; of structs with extension types Arrow makes none."""
    return rebuilt(pa.nulls(count, stored(type)), type, lambda a, t: t.wrap_array(a))


class Joins:
    """Puts what is referred to into the batches of one call.

    Args:
        port: of the call.
        layout: the columns of the batches.
        asked: the call.
        options: for PyMongo, of the call.
    """

    def __init__(
        self, port: Port, layout: Layout, asked: Asked, options: Mapping[str, Any]
    ) -> None:
        self._port = port
        self._layout = layout
        self._ids: Ids = asked.ids
        self._options = {n: options[n] for n in _INHERITED if options.get(n) is not None}
        self._rows: dict[Target, Rows] = {}
        self._types: dict[Target, Any] = {}
        for target in layout.targets:
            rows = self._rows[target] = Rows(target, asked, self._types)
            self._types[target] = rows.type
        self._schema: Any = None

    @property
    def mismatches(self) -> dict[str, int]:
        """By class and field, in how many loaded documents a value did not fit."""
        counts: Counter[str] = Counter()
        for rows in self._rows.values():  # several of them may be of one class
            counts.update(rows.mismatches)
        return dict(counts)

    def schema(self, schema: Any) -> Any:
        """Return the schema of the batches that `batch` makes of those with a schema."""
        self._schema = joined_schema(schema, self._layout, self._types, self._ids)
        return self._schema

    async def batch(self, batch: Any) -> Any:
        """Return a batch with structs in the places of ids.

        Raises:
            NotFound: a document is not there, and its reference is to raise.
            SchemaError: a value of a document does not fit, and the call is to raise.
        """
        main = Pending.of(batch, self._layout.places)
        level = main.all()
        while level:
            groups: dict[Target, list[Slot]] = {}
            for slot in level:
                groups.setdefault(slot.reference.target, []).append(slot)
            wanted = {target: self._rows[target].unknown(of) for target, of in groups.items()}
            found = await self._fetch(wanted)
            level = []
            for target, slots in groups.items():
                rows = self._rows[target]
                for raw in found[target]:
                    level += rows.add(raw).all()
                rows.gone.update(key for key in wanted[target] if key not in rows.index)
                rows.check(slots)
                rows.keep(slots)
        for rows in self._rows.values():  # what another one needs stands before it
            rows.settle(self._rows, self._ids)
        made = pa.RecordBatch.from_arrays(joined(main, self._rows, self._ids), schema=self._schema)
        for rows in self._rows.values():
            rows.trim()
        return made

    async def _fetch(self, wanted: Mapping[Target, Mapping[Any, Any]]) -> dict[Target, list[bytes]]:
        """Return the documents with some ids as bytes: in chunks of ids, all of them at once."""
        work, owners = [], []
        for target, by_key in wanted.items():
            ids = [*by_key.values()]
            size = self._port.reference_chunk(target.frame_class)
            for start in range(0, len(ids), size):
                work.append(self._find(target, ids[start : start + size]))
                owners.append(target)
        found: dict[Target, list[bytes]] = {target: [] for target in wanted}
        try:
            answers = await self._port.all(work, ordered="session" in self._options)
        finally:
            for query in work:
                query.close()  # those that were never sent, because one before them failed
        for target, raws in zip(owners, answers, strict=True):
            found[target] += raws
        return found

    async def _find(self, target: Target, ids: list[Any]) -> list[bytes]:
        port, cls = self._port, target.frame_class
        query = port.narrowed(cls, {target.key: {"$in": ids}})
        asked = {**self._options, "batch_size": max(BATCH_ROWS, len(ids) + 1)}
        cursor = port.collection(cls).find_raw_batches(
            query, driver_of(target.layout), **port.options(cls, asked)
        )
        stream = port.batches(take_bytes(cursor), 1)
        raws: list[bytes] = []
        try:
            async for parts in stream:
                raws += parts  # type: ignore[arg-type]  # a raw cursor gives bytes
        finally:
            await stream.aclose()
        return raws
