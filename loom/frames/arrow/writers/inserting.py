"""Rows as new documents."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pymongo import InsertOne

from ...events import listeners
from ...forms import is_marked
from ...ids import lacks_id, new_ids
from ...inserts import inserts_of
from ...operations.outcomes import Outcome
from ...operations.writing import after_event, before_event
from ...pauses import paused
from ...requests import Batch
from .containers import OMITS
from .storing import Job
from .targets import assembled

__all__ = ["Insert", "framed"]

Document = dict[str, Any]


class Insert(Job):
    """Stores rows as new documents."""

    @property
    def makes_frames(self) -> bool:
        """Whether something listens, or documents say something of themselves."""
        cls = self.cls
        with self.quiet() if not self.way.events else nullcontext():
            return bool(
                listeners("insert", cls)
                or listeners("inserted", cls)
                or is_marked(cls)
                or cls._version is not None
            )

    async def send(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Insert the rows."""
        with self.quiet() if not self.way.events else nullcontext():
            if self.makes_frames:
                await self._send_frames(columns, rows, start)
            else:
                await self._send_documents(columns, rows, start)

    async def _send_documents(self, columns: list[list[Any]], rows: int, start: int) -> None:
        paths = self.paths
        if paths[0] == "_id":
            ids, made = _completed(columns[0])
            columns = [ids, *columns[1:]]
        else:
            ids = made = new_ids(rows)
            paths, columns = ["_id", *paths], [ids, *columns]
        with paused(rows):
            documents = assembled(paths, columns, rows, self.leaves_out)
        outcome = await self._sent(documents)
        if outcome is not None:
            self._count(outcome, start, ids, made)

    async def _sent(self, documents: list[Document]) -> Outcome | None:
        port, cls = self.port, self.cls
        batch = Batch(InsertOne, [documents], {}, lambda: port.check(cls, documents))
        return await self.send_off(batch, lambda: documents)

    def _count(self, outcome: Outcome, start: int, ids: list[Any], made: list[Any] | None) -> None:
        self.note(outcome, start, ids)
        if self.is_acknowledged:
            self.inserted += len(outcome.done())
        if not self.way.return_ids:
            return
        left = {*outcome.failed, *outcome.unknown}
        made = [None] * len(ids) if made is None else made
        self.ids.add([None if at in left else id for at, id in enumerate(made)] if left else made)

    async def _send_frames(self, columns: list[list[Any]], rows: int, start: int) -> None:
        port, cls = self.port, self.cls
        documents = assembled(self.paths, columns, rows, self.leaves_out)
        is_new = [*map(lacks_id, documents)]
        frames = framed(cls, documents)
        session = self.session
        await before_event(port, "insert", cls, frames, session=session)
        found = inserts_of(
            frames, port.naive(cls), port.collection(cls).codec_options, encodes=False
        )
        outcome = await self._sent(found.documents)
        if outcome is None:
            return
        made = [id if new else None for id, new in zip(found.ids, is_new, strict=True)]
        for frame, id in zip(outcome.of(frames), outcome.of(found.ids), strict=True):
            frame._document["_id"] = id
        self._count(outcome, start, found.ids, made)
        done = len(outcome.done())
        if done:
            try:
                await after_event(port, "inserted", cls, outcome.of(frames), session=session)
            except Exception:
                self.sent += rows
                raise


def framed(cls: Any, documents: list[Document]) -> list[Any]:
    """Return frames around documents, of their kinds."""
    kinds = cls._kinds
    if kinds is None:
        return [cls(document) for document in documents]
    return [kinds.class_of(cls, document)(document) for document in documents]


def _completed(ids: list[Any]) -> tuple[list[Any], list[Any] | None]:
    """Return ids with new ones where there is none, and these by row; None when all are there."""
    if OMITS.isdisjoint(map(type, ids)):
        return ids, None
    made = [
        new if type(id) in OMITS else None for id, new in zip(ids, new_ids(len(ids)), strict=True)
    ]
    return [id if new is None else new for id, new in zip(ids, made, strict=True)], made
