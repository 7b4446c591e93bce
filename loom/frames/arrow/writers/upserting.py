"""Rows that change stored documents, found by some of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId
from pymongo import UpdateOne

from ....errors import FieldError, QueryError, SchemaError, nearest
from ...changes import check_fields
from ...conditions import Field
from ...events import emit, listeners
from ...forms import is_marked, with_marks
from ...ids import id_keys
from ...marked import marked
from ...normalising import normalise_filter
from ...operations.outcomes import Outcome
from ...port import Port
from ...requests import Batch
from ...stamping import stamp_inserted
from ...updates import paths_in, with_version
from .containers import KEEPS, OMITS, documents_of
from .inserting import framed
from .storing import Job
from .targets import Target, assembled
from .telling import tell_upserts

__all__ = ["Matched", "Upsert", "filter_of", "stamp"]

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
        names = [on] if isinstance(on, (str, Field)) else on
        if not isinstance(names, Iterable) or not (found := [*map(str, names)]):
            raise QueryError(
                f"{self.place}: expected on= with columns that find a document, got {on!r}"
            )
        self.on = found

    @property
    def listening(self) -> str:
        """The names of what listens, for errors."""
        return ", ".join(sorted({getattr(one, "__name__", repr(one)) for one in self.others}))

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
    ) -> Outcome | None:
        """Send a batch; return what is known of it, None when the driver did not send it."""
        port, cls = self.port, self.cls

        def contents() -> list[Document]:
            written = [{**c.get("$setOnInsert", {}), **c.get("$set", c)} for c in changes]
            return [{**f, **c} for f, c in zip(filters, written, strict=True)]

        batch = Batch(self.kind, [filters, changes], single, lambda: port.check(cls, contents()))
        return await self.send_off(batch, contents)

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


def stamp(frames: list[Any], times: Sequence[Any]) -> None:
    """Give frames the time of their insert where they have none: that of the update with it."""
    cls = type(frames[0])
    if any(one.receiver is stamp_inserted for one in listeners("insert", cls)):
        for frame, time in zip(frames, times, strict=True):
            for name in marked(type(frame)).inserted:
                if time is not None and frame._document.get(name) is None:
                    frame._document[name] = time


#: Values of these types mean themselves in a filter.
_VALUES = frozenset((str, int, float, bool, bytes, datetime, ObjectId, Decimal128, Int64))


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

    def __init__(
        self,
        port: Port,
        cls: Any,
        operation: str,
        on: str | Sequence[str],
        how: Mapping[str, Any],
    ) -> None:
        super().__init__(port, cls, operation, on, how)
        #: whether listeners are told, which takes frames
        self.tells = bool(self.others) and self.way.events
        if self.tells and self.way.ordered:
            raise QueryError(
                f"{self.place}: expected ordered=False of a class to whose writes "
                f"{self.listening} listens, got True; events=False tells nobody"
            )

    def quiet(self) -> Any:
        """Return a block in which only those listen that are to be told."""
        return nullcontext() if self.tells else super().quiet()

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
        by_path = dict(zip(self.paths, columns, strict=True))
        keys = [by_path[path] for path in self.on]
        if self.tells:
            named = [filter_of(self.cls, self.on, key) for key in zip(*keys, strict=True)]
            await tell_upserts(self, self.on, named, columns, start)
            return
        if self._is_plain(keys):
            filters: list[Any] = documents_of(self.on, keys, rows, KEEPS)
            paths = [path for path in self.paths if path not in self.on]
            assigned = documents_of(paths, [by_path[path] for path in paths], rows, KEEPS)
            changes: list[Document] = [{"$set": part} for part in assigned]
        else:
            filters, changes = await self._prepared(by_path, keys, rows)
        outcome = await self.send_batch(filters, changes, {"upsert": True})
        if outcome is None:
            return
        self.note(outcome, start, by_path.get("_id", [None] * rows))
        self.count(outcome, rows)

    def _is_plain(self, keys: list[list[Any]]) -> bool:
        """Tell whether rows are sent as they are."""
        cls = self.cls
        return not (
            self.makes_frames
            or self.leaves_out
            or is_marked(cls)
            or cls._version is not None
            or marked(cls).texts
            or ("_id" in self.paths and "_id" not in self.on)
            or len(self.paths) == len(self.on)
            or any(not _VALUES.issuperset(map(type, key)) for key in keys)
        )

    async def _prepared(
        self, by_path: Mapping[str, list[Any]], keys: list[list[Any]], rows: int
    ) -> tuple[list[Any], list[Document]]:
        """Return the filters and the update documents of rows, with all that fields declare."""
        port, cls = self.port, self.cls
        named = {path: column for path, column in by_path.items() if path != "_id"}
        assigned = documents_of([*named], [*named.values()], rows, self.leaves_out)
        changes: list[Document] = [{"$set": part} for part in assigned]
        if listeners("update", cls):
            payload = {"fields": (*named,), "changes": changes, "session": self.session}
            await emit(port, "update", cls, [], payload)
        inserts = await self._inserts(changes, by_path.get("_id", [None] * rows))
        found = [filter_of(cls, self.on, key) for key in zip(*keys, strict=True)]
        triples = zip(changes, found, inserts, strict=True)
        sent = [self._change(change, filter, inserted) for change, filter, inserted in triples]
        return [port.narrowed(cls, filter) for filter in found], sent

    async def _inserts(self, changes: list[Document], ids: list[Any]) -> list[Document]:
        """Return what is written only where a document is inserted."""
        cls = self.cls
        found: list[Document] = [{} if type(id) in OMITS else {"_id": id} for id in ids]
        if not listeners("insert", cls):
            return found
        given = []
        for change, extra in zip(changes, found, strict=True):
            content = {**extra, **change["$set"]}
            (document,) = assembled([*content], [[value] for value in content.values()], 1, KEEPS)
            given.append(document)
        frames = framed(cls, [{**document} for document in given])
        stamp(frames, [self._time_of(change) for change in changes])
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
        taken = {path.partition(".")[0] for path in (*paths_in(change), *self.on)}
        added = {name: value for name, value in inserted.items() if name not in taken}
        on_insert = {**added, **change.get("$setOnInsert", {})}
        if on_insert:
            change["$setOnInsert"] = on_insert
        if not change:  # there is nothing but what finds it
            path = self.on[0]
            value = filter[path]
            change["$setOnInsert"] = {path: value["$eq"] if isinstance(value, Mapping) else value}
        return change
