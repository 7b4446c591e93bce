"""Rows as whole documents in the place of stored ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError

from ...errors import FieldError
from ..events import emit, listeners
from ..ids import id_keys
from ..inserts import inserts_of
from ..marked import marked
from ..operations.outcomes import Outcome
from ..operations.reading import shared_options
from ..paths import lookup
from ..port import Port
from ..stamping import now, stamp_updated
from .inserting import framed
from .targets import assembled
from .upserting import Matched, filter_of, stamp

__all__ = ["Replace"]

Document = dict[str, Any]


class Replace(Matched):
    """Puts the rows, as whole documents, in the place of those that they name.

    Args:
        upsert: insert the rows that name none.
    """

    kind = ReplaceOne

    def __init__(
        self,
        port: Port,
        cls: Any,
        operation: str,
        on: str | Sequence[str],
        upsert: bool,
        how: Mapping[str, Any],
    ) -> None:
        super().__init__(port, cls, operation, on, how)
        self.upsert = upsert
        if cls._version is not None:
            raise FieldError(
                f"{self.place}: expected a class without _version, whose numbers a replacement "
                "would break off; use upsert_table()"
            )

    async def send_apart(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Replace the documents that the rows name."""
        port, cls = self.port, self.cls
        documents = assembled(self.paths, columns, rows, self.leaves_out)
        has_ids = "_id" in self.paths
        if has_ids:
            for document in documents:
                if document.get("_id") is None:
                    document.pop("_id", None)
        has_id = ["_id" in document for document in documents]
        frames = framed(cls, documents)
        if any(one.receiver is stamp_updated for one in listeners("update", cls)):
            time = now()
            for frame in frames:
                frame._document.update(dict.fromkeys(marked(type(frame)).updated, time))
            stamp(frames, [time] * rows)
        if listeners("insert", cls):
            await emit(port, "insert", cls, frames, {"session": self.session})
        codecs = port.collection(cls).codec_options
        found = inserts_of(frames, port.naive(cls), codecs, encodes=False).documents
        for document, is_given in zip(found, has_id, strict=True):
            if not is_given:
                del document["_id"]
        filters = [
            port.narrowed(cls, filter_of(cls, self.on, [lookup(d, path) for path in self.on]))
            for d in found
        ]
        outcome = await self.send_batch(filters, found, {"upsert": self.upsert})
        ids = columns[self.paths.index("_id")] if has_ids else [None] * rows
        if not self.upsert and self.is_acknowledged:
            await self._explain(outcome, filters)
        self.note(outcome, start, ids)
        self.count(outcome, rows)

    async def _explain(self, outcome: Outcome, filters: list[Any]) -> None:
        """Note which rows found no document: the server says how many did."""
        tried = outcome.done()
        if outcome.matched >= len(tried):
            return
        if outcome.error is not None and not isinstance(outcome.error, BulkWriteError):
            return  # who does not answer is not asked
        port, cls = self.port, self.cls
        size = port.reference_chunk(cls)
        shared = {name: v for name, v in shared_options(self.options).items() if name != "ordered"}
        there: set[Any] = set()
        try:
            for at in range(0, len(tried), size):
                some = [filters[i] for i in tried[at : at + size]]
                fields = dict.fromkeys((*self.on, "_id"), True)
                for document in await port.find(cls, {"$or": some}, fields, shared):
                    there.add(self._key([lookup(document, path) for path in self.on]))
        except PyMongoError as error:
            why = f"{outcome.matched} of {len(tried)} were found, and asking which failed: {error}"
            outcome.unknown.update(dict.fromkeys(tried, why))
            outcome.error = outcome.error or error
            return
        for i in tried:
            values = [_value(filters[i], path) for path in self.on]
            if self._key(values) not in there:
                shown = ", ".join(f"{p}={v!r}" for p, v in zip(self.on, values, strict=True))
                outcome.failed[i] = f"no document has {shown}"

    def _key(self, values: list[Any]) -> tuple[Any, ...]:
        codecs = self.port.collection(self.cls).codec_options
        return (*id_keys(values, codecs),)


def _value(filter: Mapping[str, Any], path: str) -> Any:
    found = filter[path] if path in filter else filter["$and"][0][path]
    return found["$eq"] if isinstance(found, Mapping) and [*found] == ["$eq"] else found
