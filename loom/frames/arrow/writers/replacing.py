"""Rows as whole documents in the place of stored ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError

from ....errors import FieldError, QueryError
from ...events import emit, listeners
from ...ids import lacks_id
from ...inserts import inserts_of
from ...marked import marked
from ...operations.outcomes import Outcome
from ...paths import lookup
from ...port import Port
from ...stamping import now, stamp_updated
from .inserting import framed
from .targets import assembled
from .telling import looked_up, value_at
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
        if self.others and self.way.events:
            raise QueryError(
                f"{self.place}: expected a class to whose writes nothing listens, got "
                f"{self.listening}; events=False writes without telling them, upsert_table() tells "
                "them"
            )
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
        has_id = [not lacks_id(document) for document in documents]
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
        if outcome is None:
            return
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
        try:
            found = await looked_up(self, self.on, [filters[i] for i in tried], [])
        except PyMongoError as error:
            why = f"{outcome.matched} of {len(tried)} were found, and asking which failed: {error}"
            outcome.unknown.update(dict.fromkeys(tried, why))
            outcome.error = outcome.error or error
            return
        for i, document in zip(tried, found, strict=True):
            if document is None:
                values = [value_at(filters[i], path) for path in self.on]
                shown = ", ".join(f"{p}={v!r}" for p, v in zip(self.on, values, strict=True))
                outcome.failed[i] = f"no document has {shown}"
