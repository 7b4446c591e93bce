"""Rows that change stored documents, found by some of their columns: upserts and replacements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from ...errors import FieldError, QueryError, SchemaError, nearest
from ..changes import check_fields
from ..events import emit, listeners
from ..forms import with_marks
from ..ids import id_keys
from ..inserts import inserts_of
from ..marked import marked
from ..normalising import normalise_filter
from ..operations.outcomes import Outcome, send
from ..operations.reading import shared_options
from ..paths import is_ancestor, lookup
from ..port import Port
from ..requests import Batch
from ..stamping import now, stamp_inserted, stamp_updated
from ..updates import paths_in, with_version
from .containers import KEEPS, OMITS
from .inserting import framed
from .storing import Job
from .targets import Target, assembled

__all__ = ["Replace", "Upsert"]

Document = dict[str, Any]


class Matched(Job):
    """What upserts and replacements share: rows that name documents.

    Args:
        on: the paths that find the document of a row.
    """

    #: the driver's class for one of the writes
    kind: Any

    def __init__(
        self,
        port: Port,
        cls: Any,
        operation: str,
        on: str | Sequence[str],
        how: Mapping[str, Any],
    ) -> None:
        super().__init__(port, cls, operation, how)
        self.on = [on] if isinstance(on, str) else [*map(str, on)]
        if not self.on:
            raise QueryError(
                f"{self.place}: expected on= with columns that find a document, got none"
            )
        if self.others and self.way.events:
            names = sorted({getattr(one, "__name__", repr(one)) for one in self.others})
            raise QueryError(
                f"{self.place}: expected a class to whose writes nothing listens, got "
                f"{', '.join(names)}; events=False writes without telling them, {cls.__name__}."
                "bulk() tells them of each frame"
            )

    @property
    def makes_frames(self) -> bool:
        """Whether fields declare something that is done with Python's values."""
        return bool(listeners("insert", self.cls) or listeners("update", self.cls))

    def prepare(self, targets: list[Target]) -> None:
        """Find the columns that find documents.

        Raises:
            SchemaError: one is not there.
        """
        super().prepare(targets)
        names = {target.name: target.path for target in targets}
        for at, name in enumerate(self.on):
            if name not in self.paths:
                if name not in names:
                    raise SchemaError(
                        f"{self.place}: expected the columns of on=, {', '.join(self.on)}, got none "
                        f"for {name!r}{nearest(name, self.paths)}"
                    )
                self.on[at] = names[name]

    def _check_keys(self, keys: list[list[Any]], start: int) -> None:
        for name, values in zip(self.on, keys, strict=True):
            if not OMITS.isdisjoint(map(type, values)):
                row = next(row for row, value in enumerate(values) if type(value) in OMITS)
                raise SchemaError(
                    f"{self.place}: expected a value in each column of on=, got null for {name!r} "
                    f"in row {start + row}",
                    name,
                )

    async def send(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Send the rows, those that name one document one after the other."""
        keys = [columns[self.paths.index(path)] for path in self.on]
        self._check_keys(keys, start)
        for first, stop in self._runs(keys, rows):
            if self.is_over:
                self.not_sent += rows - first
                return
            some = [column[first:stop] for column in columns] if stop - first < rows else columns
            with self.quiet():
                await self.send_apart(some, stop - first, start + first)

    def _runs(self, keys: list[list[Any]], rows: int) -> list[tuple[int, int]]:
        """Return stretches of rows of which each names another document.

        Of an unordered batch, the server may write the last row for a document first.
        """
        codecs = self.port.collection(self.cls).codec_options
        named = [id_keys(values, codecs) for values in keys]
        found: list[tuple[int, int]] = []
        seen: set[Any] = set()
        first = 0
        for row, key in enumerate(zip(*named, strict=True)):
            if key in seen:
                found.append((first, row))
                first = row
                seen.clear()
            seen.add(key)
        return [*found, (first, rows)]

    async def send_apart(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Send rows that name different documents."""
        raise NotImplementedError

    async def send_batch(
        self, filters: list[Any], changes: list[Document], single: Document
    ) -> Outcome:
        """Send a batch."""
        port, cls = self.port, self.cls

        def contents() -> list[Document]:
            parts = ({**c.get("$setOnInsert", {}), **c.get("$set", {})} for c in changes)
            written = changes if self.kind is ReplaceOne else parts
            return [{**f, **c} for f, c in zip(filters, written, strict=True)]

        batch = Batch(self.kind, [filters, changes], single, lambda: port.check(cls, contents()))
        outcome = await send(port, cls, batch, contents, dict(self.options))
        self.is_acknowledged = bool(outcome.told) or outcome.error is not None
        return outcome

    def count(self, outcome: Outcome, rows: int) -> None:
        """Count what was done."""
        told = outcome.told
        upserted = [one for one in told.get("upserted") or () if one["index"] < rows]
        if not self.is_acknowledged:
            return
        self.upserted += len(upserted)
        self.modified += told.get("nModified", 0)
        self.matched += len(outcome.done()) - len(upserted)
        if self.way.return_ids:
            made: list[Any] = [None] * rows
            for one in upserted:
                made[one["index"]] = one["_id"]
            self.ids.add(made)


def _stamp(frames: list[Any], times: Sequence[Any]) -> None:
    """Give frames the time of their insert where they have none: that of the update with it."""
    cls = type(frames[0])
    if any(one.receiver is stamp_inserted for one in listeners("insert", cls)):
        for frame, time in zip(frames, times, strict=True):
            for name in marked(type(frame)).inserted:
                if time is not None and frame._document.get(name) is None:
                    frame._document[name] = time


def filter_of(cls: Any, paths: Sequence[str], values: Sequence[Any]) -> Document:
    """Return what finds the document that has values at paths: a value is never an operator."""
    found = {
        path: {"$eq": value} if isinstance(value, Mapping) else value
        for path, value in zip(paths, values, strict=True)
    }
    return normalise_filter(cls, found) if marked(cls).texts else found


class Upsert(Matched):
    """Sets the fields of the rows in the documents that they name; inserts those that are none."""

    kind = UpdateOne

    def prepare(self, targets: list[Target]) -> None:
        """Look at which fields are set.

        Raises:
            FieldError: the class has documents of several forms, which an update would mix.
            QueryError: one is not to be set.
        """
        super().prepare(targets)
        cls = self.cls
        if cls._schema_version is not None:
            raise FieldError(
                f"{self.place}: expected a class without _schema_version, whose stored documents "
                f"may have an older form; use {cls.__name__}.bulk(), which brings them up"
            )
        check_fields(cls, tuple(path for path in self.paths if path != "_id"), self.operation)

    async def send_apart(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Update the documents that the rows name, or insert them."""
        port, cls = self.port, self.cls
        paths = [path for path in self.paths if path != "_id"]
        values = [c for c, path in zip(columns, self.paths, strict=True) if path != "_id"]
        ids = columns[self.paths.index("_id")] if "_id" in self.paths else None
        changes: list[Document] = (
            [{"$set": dict(zip(paths, row, strict=True))} for row in zip(*values, strict=True)]
            if values
            else [{"$set": {}} for _ in range(rows)]
        )
        keys = [*zip(*(columns[self.paths.index(path)] for path in self.on), strict=True)]
        if self.leaves_out:
            for change in changes:
                change["$set"] = {
                    k: v for k, v in change["$set"].items() if type(v) not in self.leaves_out
                }
        if listeners("update", cls):
            payload = {"fields": (*paths,), "changes": changes, "session": self.session}
            await emit(port, "update", cls, [], payload)
        inserts = await self._inserts(changes, ids, rows)
        filters, sent = [], []
        for row, change in enumerate(changes):
            filter = filter_of(cls, self.on, keys[row])
            filters.append(port.narrowed(cls, filter))
            sent.append(self._change(change, filter, inserts[row]))
        outcome = await self.send_batch(filters, sent, {"upsert": True})
        self.note(outcome, start, ids or [None] * rows)
        self.count(outcome, rows)

    async def _inserts(
        self, changes: list[Document], ids: list[Any] | None, rows: int
    ) -> list[Document]:
        """Return what is written only where a document is inserted."""
        cls = self.cls
        found: list[Document] = [
            {} if ids is None or id is None else {"_id": id} for id in (ids or [None] * rows)
        ]
        if not listeners("insert", cls):
            return found
        given = []
        for change, extra in zip(changes, found, strict=True):
            content = {**extra, **change["$set"]}
            (document,) = assembled([*content], [[value] for value in content.values()], 1, KEEPS)
            given.append(document)
        frames = framed(cls, [{**document} for document in given])
        _stamp(frames, [self._time_of(change) for change in changes])
        await emit(self.port, "insert", cls, frames, {"session": self.session})
        for extra, document, frame in zip(found, given, frames, strict=True):
            made = frame._document
            extra |= {name: made[name] for name in made.keys() - document.keys()}
            if "_id" in extra:
                extra["_id"] = made["_id"]
        return found

    def _time_of(self, change: Document) -> Any:
        """Return the time that an update was stamped with, None if it was not."""
        names = [name for name in marked(self.cls).updated if name not in self.paths]
        return next((change["$set"][name] for name in names if name in change["$set"]), None)

    def _change(self, change: Document, filter: Document, inserted: Document) -> Document:
        """Return an update document, in which no path is written twice."""
        change = {operator: dict(part) for operator, part in change.items() if part}
        assigned = change.get("$set", {})
        for path in self.on:
            assigned.pop(path, None)
        if not assigned:
            change.pop("$set", None)
        change = with_version(self.cls, change)
        change = with_marks(self.cls, change, {"upsert": True})
        taken = [*paths_in(change), *(path for path in self.on if path != "_id")]
        added = {
            name: value
            for name, value in inserted.items()
            if not any(path == name or is_ancestor(name, path) for path in taken)
        }
        if "_id" in self.on:
            added.pop("_id", None)
        on_insert = {**added, **change.get("$setOnInsert", {})}
        if on_insert:
            change["$setOnInsert"] = on_insert
        if not change:  # there is nothing but what finds it
            path = self.on[0]
            value = filter[path]
            change["$setOnInsert"] = {path: value["$eq"] if isinstance(value, Mapping) else value}
        return change


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
            _stamp(frames, [time] * rows)
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
