"""The listeners of a counter cache: what a write changes is added to the counts.

What counts is what was stored before the write and what is stored after it, never what a frame
says. There is one `$inc` for each owner of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from ..errors import FieldError, ListenerError
from . import operations, recounting
from .behaviours import timestamp_update
from .changes import Snapshot, document_to_insert
from .events import add_note, emit, listeners, refuse_fed, stop_listening
from .ids import id_key
from .operations import id_filter, joined_changes
from .operations.reading import compiled_filter, frames_by_id
from .paths import lookup_all, split
from .port import Port, awaited, blocking, complete
from .predicates import as_compared, check_predicate, matches
from .primaries import on_primary
from .projections import plan_for
from .queries import Filter
from .recounting import Recount
from .stamping import stamp_updated
from .transitions import are_touched, read_before, taken, touched_by

__all__ = ["AwaitedCounterCache", "CounterCache", "caches"]

#: Who is to be counted for, by the keys of their ids: the id, and how many more refer to it.
_Counts = dict[Any, tuple[Any, int]]

#: The caches by class and field; those whose listeners were all stopped count no longer.
caches: dict[tuple[type, str], CounterCache] = {}


class CounterCache:
    """Keeps a number right that says how many documents refer to one; see `counter_cache`.

    Attributes:
        owner: the class whose documents hold the number.
        field: its name.
        of: the class whose documents are counted.
        by: the path of the reference in them.
        where: what else must hold for a document to be counted, as a filter; empty for nothing.
        events: whether the events of the owner are sent when a number changes.
    """

    def __init__(
        self, owner: Any, field: str, of: Any, by: str, where: Mapping[str, Any], events: bool
    ) -> None:
        self.owner = owner
        self.field = field
        self.of = of
        self.by = by
        self.where = where
        self.events = events
        self._paths = (by, *check_predicate(where, "counter_cache: where"))

    def __repr__(self) -> str:
        where = f", where={self.where!r}" if self.where else ""
        events = ", events=True" if self.events else ""
        return (
            f"counter_cache({self.owner.__name__}, {self.field!r}, of={self.of.__name__}, "
            f"by={self.by!r}{where}{events})"
        )

    @property
    def listeners(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        """The events of `of` that it listens to, each with its listener: to be muted or stopped."""
        return (
            ("inserted", self.on_inserted),
            ("update", self.on_update),
            ("updated", self.on_updated),
            ("delete", self.on_delete),
            ("deleted", self.on_deleted),
        )

    def stop(self) -> None:
        """End the counting; the numbers stay as they are."""
        for event, listener in self.listeners:
            stop_listening(event, listener, self.of)
        if caches.get((self.owner, self.field)) is self:
            del caches[self.owner, self.field]

    @property
    def aio(self) -> AwaitedCounterCache:
        """The cache with its methods awaited, as in `await cache.aio.recount()`."""
        return AwaitedCounterCache(self)

    def recount(self, filter: Filter = None, *, dry_run: bool = False, **options: Any) -> Recount:
        """Count anew and correct what is wrong; writers need not stop.

        Reads the documents of the owner in batches, and counts for each batch what refers to it
        with one aggregation, for which the reference should have an index. Writes only where a
        number is wrong or absent, without events. A number is wrong when two looks show the same
        difference, and it is corrected only if it is still what was seen. So the count of a
        writer that is between its write and its `$inc` can be mistaken only if it stays there for
        both looks; recount again when that may have been.

        Args:
            filter: which documents of the owner; None means all.
            dry_run: corrects nothing, only says how many are wrong.
            options: `session`, `comment`.

        Returns:
            How many documents were checked, wrong, and left alone because they went on changing.

        Raises:
            FieldError: another option.
        """
        _check_options(options)
        return complete(recounting.recount(blocking(), self, filter, dry_run, options))

    def condition(self, port: Port) -> dict[str, Any]:
        """Return the filter of what is counted, as the driver takes it."""
        return compiled_filter(port, self.of, self.where)

    # Listeners

    async def on_inserted(self, sender: Any, frames: list[Any], session: Any) -> None:
        """Count new documents."""
        port = awaited()
        if not self._is_counted(port, sender):
            return
        codecs, naive = port.collection(sender).codec_options, port.naive(sender)
        condition = as_compared(self.condition(port), codecs)
        roots = {split(path)[0] for path in self._paths}
        counts: _Counts = {}
        for frame in frames:
            document = document_to_insert(frame, naive)
            part = as_compared({name: document[name] for name in roots & {*document}}, codecs)
            self._count(part, condition, 1, counts)
        await self._add(port, sender, counts, session)

    async def on_update(
        self, sender: Any, frames: list[Any], fields: Any, changes: Any, session: Any
    ) -> None:
        """Read what is stored before an update that may change who is counted for."""
        port = awaited()
        if self._is_counted(port, sender):
            paths = _paths_of_all(sender)
            wanted = paths if _may_change(sender, paths, fields, changes) else None
            await read_before(port, self, sender, "update", frames, wanted, session)

    async def on_updated(self, sender: Any, frames: list[Any], changes: Any, session: Any) -> None:
        """Count what an update has changed."""
        port = awaited()
        if not self._is_counted(port, sender):
            return
        paths = _paths_of_all(sender)
        with self._noting(sender):
            found = await taken(port, self, sender, "update", frames, changes, paths, session)
        if found is None or not found.is_read:
            if self._is_changed(changes):
                raise self._unheard("update", "updated")
            return
        codecs = port.collection(sender).codec_options
        condition = as_compared(self.condition(port), codecs)
        counts: _Counts = {}
        for key, part in (found.after or {}).items():
            before = found.before[key]
            if part is not before:
                self._count(before, condition, -1, counts)
                self._count(part, condition, 1, counts)
        await self._add(port, sender, counts, session)

    async def on_delete(self, sender: Any, frames: list[Any], session: Any) -> None:
        """Read what is stored before a delete: a document that is gone is not counted again."""
        port = awaited()
        if self._is_counted(port, sender):
            paths = _paths_of_all(sender)
            await read_before(port, self, sender, "delete", frames, paths, session)

    async def on_deleted(self, sender: Any, frames: list[Any], session: Any) -> None:
        """Count what was deleted."""
        port = awaited()
        if not self._is_counted(port, sender):
            return
        found = await taken(port, self, sender, "delete", frames, (), self._paths, session)
        if found is None:
            raise self._unheard("delete", "deleted")
        condition = as_compared(self.condition(port), port.collection(sender).codec_options)
        counts: _Counts = {}
        for part in found.before.values():
            self._count(part, condition, -1, counts)
        await self._add(port, sender, counts, session)

    def _is_counted(self, port: Port, sender: Any) -> bool:
        """Tell whether documents of a class are stored where those of `of` are.

        Raises:
            ListenerError: others have written them, and counted them.
        """
        if sender is not self.of and port.collection(sender) != port.collection(self.of):
            return False
        refuse_fed(self)
        return True

    def _is_changed(self, changes: Sequence[Any]) -> bool:
        """Tell whether update documents may change who is counted for."""
        is_known = changes and all(isinstance(change, Mapping) for change in changes)
        return not is_known or bool(touched_by(changes, self._paths))

    def _unheard(self, before: str, after: str) -> ListenerError:
        return ListenerError(
            f"{self}: expected to hear {before!r} before {after!r}, heard the latter only, so that "
            f"the count may be wrong now; mute both events or none, and recount()"
        )

    # Counts

    def _count(self, part: Any, condition: Mapping[str, Any], step: int, counts: _Counts) -> None:
        """Add a step for everyone whom a stored document counts for."""
        if part is None or not matches(condition, part):
            return
        # Once for each, however often the document refers to it.
        for key, id in {id_key(id): id for id in owners_of(part, self.by)}.items():
            counts[key] = id, counts.get(key, (id, 0))[1] + step

    async def _add(self, port: Port, sender: Any, counts: _Counts, session: Any) -> None:
        """Send one `$inc` for each owner whose count has changed."""
        changed = [(id, number) for id, number in counts.values() if number]
        if not changed:
            return
        options = {} if session is None else {"session": session}
        owner = self.owner
        with self._noting(sender):
            if self.events and (listeners("update", owner) or listeners("updated", owner)):
                await self._add_heard(port, counts, options)
            else:
                requests = [
                    UpdateOne(port.narrowed(owner, id_filter(id)), {"$inc": {self.field: number}})
                    for id, number in changed
                ]
                await port.write(owner, "bulk_write", [], requests, ordered=False, **options)

    @contextmanager
    def _noting(self, sender: Any) -> Iterator[None]:
        """Say with every error that the write stands, and what to do."""
        try:
            yield
        except Exception as error:
            add_note(
                error,
                f"{self.owner.__name__}.{self.field}: the write of {sender.__name__} stands, but "
                "the count may not have followed; recount() corrects it",
            )
            raise

    async def _add_heard(self, port: Port, counts: _Counts, options: dict[str, Any]) -> None:
        """Do the same with the events of the owner, and with what its listeners change."""
        owner, field = self.owner, self.field
        ids = [id for id, number in counts.values() if number]
        with on_primary(port, owner):
            frames = await frames_by_id(port, plan_for(owner, {}), ids, options)
        if not frames:
            return
        payload = {"fields": (field,), "session": options.get("session")}
        added = [{"$inc": {field: counts[id_key(f._document["_id"])][1]}} for f in frames]
        joined: list[dict[str, Any]] = [{} for _ in frames]
        if listeners("update", owner):
            codecs = port.collection(owner).codec_options
            snapshots = [Snapshot(frame, codecs) for frame in frames]
            await emit(port, "update", owner, frames, {**payload, "changes": added})
            joined = [
                joined_changes(port, frame, (field,), snapshot)
                for frame, snapshot in zip(frames, snapshots, strict=True)
            ]
        changes = [
            {name: {**others.get(name, {}), **one.get(name, {})} for name in {**others, **one}}
            for others, one in zip(joined, added, strict=True)
        ]
        contents = [change.get("$set", {}) for change in changes]
        port.check(owner, contents)
        requests = [
            UpdateOne(id_filter(frame._document["_id"]), change)
            for frame, change in zip(frames, changes, strict=True)
        ]
        failed: BulkWriteError | None = None
        reasons: Mapping[int, str] = {}
        try:
            await port.write(owner, "bulk_write", contents, requests, ordered=False, **options)
        except BulkWriteError as error:
            failed = error
            reasons = operations.reasons_of(error, len(frames), False)
        written = [position for position in range(len(frames)) if position not in reasons]
        for position in written:
            document = frames[position]._document
            held = document.get(field)
            number = added[position]["$inc"][field]
            document[field] = number + (held if isinstance(held, int) else 0)
        if written and listeners("updated", owner):
            told = {**payload, "changes": [changes[position] for position in written]}
            await emit(port, "updated", owner, [frames[position] for position in written], told)
        if failed is not None:
            raise failed


class AwaitedCounterCache:
    """The method of a counter cache that calls the server, awaited."""

    __slots__ = ("_cache",)

    def __init__(self, cache: CounterCache) -> None:
        self._cache = cache

    def __repr__(self) -> str:
        return f"{self._cache!r}.aio"

    async def recount(
        self, filter: Filter = None, *, dry_run: bool = False, **options: Any
    ) -> Recount:
        """Count anew and correct what is wrong; see `CounterCache.recount`."""
        _check_options(options)
        return await recounting.recount(awaited(), self._cache, filter, dry_run, options)


def owners_of(part: Mapping[str, Any], by: str) -> Iterator[Any]:
    """Yield the ids that a stored document refers to at a path.

    A list is read member by member. A document may be an id, and also a map of ids or of lists of
    them; what is nobody's id is not found when the counts are added.
    """
    for value in lookup_all(part, by):
        for member in _listed(value):
            if isinstance(member, Mapping):
                for inner in member.values():
                    yield from (id for id in _listed(inner) if id is not None)
            if member is not None:
                yield member


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


#: Listeners that change nothing but time stamps.
_HARMLESS = (timestamp_update, stamp_updated)


def _may_change(
    sender: Any, paths: Sequence[str], fields: Sequence[str], changes: Sequence[Any]
) -> bool:
    """Tell whether an update may change what is read at some paths, itself or by listeners."""
    if not fields or are_touched(paths, fields):
        return True
    return any(isinstance(change, list) for change in changes) or any(
        listener.receiver not in _HARMLESS
        and not isinstance(getattr(listener.receiver, "__self__", None), CounterCache)
        for listener in listeners("update", sender)
    )


def _paths_of_all(sender: type) -> list[str]:
    """Return what all caches need that count documents of a class, so that one read serves them."""
    concerned = [cache for cache in [*caches.values()] if issubclass(sender, cache.of)]
    return [*dict.fromkeys(path for cache in concerned for path in cache._paths)]


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in ("session", "comment"):
            raise FieldError(f"recount: expected session or comment, got {name!r}")
