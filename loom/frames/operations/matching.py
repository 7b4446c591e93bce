"""What matches a filter, batch by batch: read, written, told of, and counted."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from bson import ObjectId
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from ...encoding import ENCODING_ERRORS, unencodable
from ...errors import QueryError
from .. import patterns
from ..chunks import documents_by_id
from ..collations import add_collation
from ..document import wrap
from ..events import add_note, listeners
from ..forms import in_form
from ..ids import id_keys
from ..port import Port
from ..primaries import on_primary
from ..projections import plan_for
from ..references import build
from ..requests import Batch
from ..signals import assigned_by
from ..stamping import stamp_updated
from ..texts import normalise
from .guards import NOT_SENT
from .outcomes import Outcome, send
from .reading import Options, compiled_filter, shared_options
from .writing import after_event

__all__ = ["Matching", "Progress", "Way"]

#: Called with how many documents were written and how many matched at the start.
Progress: TypeAlias = Callable[[int, int], object]


class Way(NamedTuple):
    """How a write by filter is done: see `Frame.update_where`."""

    all: bool
    dry_run: bool
    batch_size: int
    progress: Progress | None


#: Declared listeners to which the changes are enough; with these they need no frames.
_CONTENT_WITH_CHANGES = (normalise, stamp_updated)
#: What decides which documents match, beside the filter.
_OF_MATCHING = ("session", "comment", "collation", "let")
#: What goes with each document of a batch; a hint is for finding what matches, not for ids.
_OF_ONE = frozenset({"array_filters", "collation"})
_NOT_OF_BATCH = _OF_ONE | {"hint"}


def _check_way(way: Way, place: str) -> None:
    size, progress = way.batch_size, way.progress
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise QueryError(f"{place}: expected batch_size of at least 1, got {size!r}")
    if progress is not None and (not callable(progress) or inspect.iscoroutinefunction(progress)):
        raise QueryError(
            f"{place}: expected a plain function for progress, got {progress!r}; it is called "
            "with two numbers and not awaited"
        )


def _matches_all(query: Mapping[str, Any]) -> bool:
    """Tell a filter that names no condition at all."""
    return all(
        name == "$comment"
        or (name == "$and" and all(map(_matches_all, value)))
        or (name == "$or" and any(map(_matches_all, value)))
        for name, value in query.items()
    )


class Matching:
    """What matches a filter, and how far its write is."""

    def __init__(
        self, port: Port, cls: Any, operation: str, filter: Any, way: Way, options: Options
    ) -> None:
        self.place = place = f"{cls.__name__}.{operation}"
        _check_way(way, place)
        self.query = compiled_filter(port, cls, filter)
        if not way.all and _matches_all(self.query):
            raise QueryError(
                f"{place}: expected a filter, got {filter!r}, which every document matches; pass "
                "all=True if all of them are meant"
            )
        add_collation(cls, self.query, options)
        self.port = port
        self.cls = cls
        self.batch_size = way.batch_size
        self.progress = way.progress
        self.options = options
        self.session = port.session(cls, options)
        self.of_one = {k: v for k, v in options.items() if k in _OF_ONE}
        self.done = 0
        self.is_acknowledged = True
        #: of the batch in hand: what may have been written, and what no after-event has told of
        self.unknown: list[Any] = []
        self.untold = 0

    def is_heard(self, *events: str) -> bool:
        """Tell whether a listener is to be told of single documents."""
        return any(self._others(event) for event in events)

    def wants_frames(self, *events: str) -> bool:
        """Tell whether a listener needs the frames as they are stored."""
        found = [listener for event in events for listener in self._others(event)]
        return any(self._has_kinds or "frames" in listener.names for listener in found)

    @property
    def _has_kinds(self) -> bool:
        """True when documents that match may be of several classes."""
        return self.cls._kinds is not None and bool(self.cls._kinds.below(self.cls))

    def _others(self, event: str) -> list[Any]:
        found = listeners(event, self.cls)
        if self._has_kinds:
            return [*found]  # each kind has its own, and only frames tell their kinds
        return [
            other
            for other in found
            if other.receiver not in _CONTENT_WITH_CHANGES and assigned_by(other.receiver) is None
        ]

    def report(self, total: int) -> None:
        if self.progress is not None:
            self.progress(self.done, total)

    def matching(self, *others: str) -> Options:
        names = {*_OF_MATCHING, *others}
        return {k: v for k, v in self.options.items() if k in names and v is not None}

    async def bring_up(self) -> None:
        """Upgrade what matches in an older form, and from now on match the class's form only.

        Raises:
            SchemaVersionError: what matches has a newer form.
        """
        cls = self.cls
        if cls._schema_version is None:
            return
        from ..stored_upgrades import bring_up_matching  # when a class has older documents

        await bring_up_matching(self.port, cls, self.query, self.matching("hint"), self.place)
        self.query = {"$and": [self.query, in_form(cls)]} if self.query else in_form(cls)

    async def count(self) -> int:
        with on_primary(self.port, self.cls):
            return await self.port.count(self.cls, self.query, self.matching("hint"))

    # All of it in one command

    async def at_once(self, method: str, *changes: Any) -> int:
        """Send one command and return how many documents it matched."""
        content = {"filter": self.query}
        try:
            result = await self.port.write(
                self.cls, method, content, self.query, *changes, **self.options
            )
        except (ConnectionFailure, OperationFailure) as error:
            if isinstance(error, WriteConcernError):
                add_note(error, f"{self.place}: the write stands")
            elif not self._is_in_transaction and not isinstance(error, NOT_SENT):
                add_note(
                    error,
                    f"{self.place}: some or all documents that match may have been written; the "
                    "server does not say which",
                )
            raise
        if not result.acknowledged:
            return -1
        self.done = result.matched_count if changes else result.deleted_count
        try:
            self.report(self.done)
        except BaseException as error:
            add_note(error, self._so_far())
            raise
        return self.done

    # Batch by batch

    async def in_batches(self, write: Callable[[list[Any]], Awaitable[None]]) -> int:
        """Write a batch of ids after the other; errors say how far it came."""
        total = 0 if self.progress is None else await self.count()
        batches = self._ids()
        try:
            async for ids in batches:
                await write(ids)
                self.report(total)
        except BaseException as error:
            add_note(error, self._so_far())
            raise
        finally:
            await batches.aclose()
        return self.done if self.is_acknowledged else -1

    async def _ids(self) -> AsyncGenerator[list[Any], None]:
        """Yield the ids of what matches, each once: they are read in their order, and stay."""
        collection = self.port.collection(self.cls)
        options = {"sort": [("_id", 1)], "batch_size": self.batch_size, **self.matching("hint")}
        with on_primary(self.port, self.cls):
            cursor = self.port.cursor(self.cls, self.query, {"_id": True}, options)
        stream = self.port.batches(cursor, self.batch_size)
        try:
            async for documents in stream:
                yield [document["_id"] for document in documents]
        except ENCODING_ERRORS as error:
            place = f"{self.cls.__name__} filter"
            raise unencodable(place, self.query, collection.codec_options, error) from error
        finally:
            await stream.aclose()

    @property
    def _is_in_transaction(self) -> bool:
        return self.session is not None and self.session.in_transaction

    def _so_far(self) -> str:
        note = f"{self.place}: {self.done} documents were written"
        if self._is_in_transaction:
            note += ", in a transaction that may take them back"
        if self.unknown:
            first, last = self.unknown[0], self.unknown[-1]
            note += f", and perhaps some of {len(self.unknown)}, from _id={first!r} to {last!r}"
        if self.untold:
            note += f"; no event after it told of the last {self.untold}"
        return note

    def filter(self, id: Any) -> dict[str, Any]:
        """Return the filter of one document, as long as it matches."""
        condition = id if isinstance(id, (ObjectId, str, int)) else {"$eq": id}
        if isinstance(id, str) and self.options.get("collation") is not None:
            # A collation may take two ids for equal; a pattern does not heed it.
            whole = patterns.starting(id, False, self.place)["$regex"] + r"$(?!\n)"
            condition = {"$eq": id, "$regex": whole}
        return self._with_id(condition)

    def _with_id(self, condition: Any) -> dict[str, Any]:
        # What the filter itself asks of the _id was met once, and an _id does not change.
        return {**self.port.narrowed(self.cls, self.query), "_id": condition}

    async def find(
        self, ids: list[Any], projection: Any, *, only_matching: bool = False
    ) -> dict[int, dict[str, Any]]:
        """Return the stored documents of ids, by position; all that are there, or that match."""
        beside: Mapping[str, Any] = {}
        options = shared_options(self.options)
        if only_matching:
            beside, options = self._with_id(None), self.matching()
        with on_primary(self.port, self.cls):
            found = await documents_by_id(self.port, self.cls, ids, projection, options, beside)
        return {position: one for position, one in enumerate(found) if one is not None}

    async def frames(
        self, ids: list[Any], *, only_matching: bool = False
    ) -> tuple[list[int], list[Any]]:
        """Return the frames of ids as they are stored, and their positions."""
        plan = plan_for(self.cls, {})
        found = await self.find(ids, plan.driver, only_matching=only_matching)
        shared = shared_options(self.options)
        frames = await build(self.port, plan, [*found.values()], shared)
        if len(frames) == len(found):
            return [*found], frames
        # Some were deleted while they were fetched whole to be upgraded.
        codecs = self.port.collection(self.cls).codec_options
        left = {*id_keys([frame._document["_id"] for frame in frames], codecs)}
        keys = id_keys([ids[position] for position in found], codecs)
        return [at for at, key in zip(found, keys, strict=True) if key in left], frames

    def named(self, ids: list[Any]) -> list[Any]:
        """Return frames that hold nothing but their `_id`: nobody asks for more."""
        return wrap(self.cls, [{"_id": id} for id in ids])

    async def send(
        self,
        kind: type[UpdateOne] | type[DeleteOne],
        ids: list[Any],
        columns: list[list[Any]],
        contents: Callable[[], list[Any]],
        count: str,
    ) -> tuple[Outcome, int]:
        """Write a batch; return what is known of it, and how many documents were written."""
        port, cls = self.port, self.cls
        batch = Batch(
            kind,
            [[self.filter(id) for id in ids], *columns],
            self.of_one,
            lambda: port.check(cls, contents()),
        )
        options = {k: v for k, v in self.options.items() if k not in _NOT_OF_BATCH}
        outcome = await send(port, cls, batch, contents, options, count)
        number = len(outcome.done())
        if outcome.error is None or isinstance(outcome.error, BulkWriteError):
            number = min(number, outcome.matched)
        self.is_acknowledged = port.collection(cls).write_concern.acknowledged
        self.done += number
        self.untold = number
        self.unknown = [ids[position] for position in outcome.unknown]
        return outcome, number

    def failure(self, outcome: Outcome, frames: list[Any]) -> Exception | None:
        """Return what the caller is told of a batch once its after-event was sent, if anything.

        Raises:
            Exception: it, when there is nobody to ask what was written: a transaction has ended
                with the failure, or the server does not answer.
        """
        failure = outcome.failure(self.place, frames)
        if failure is not None and (
            self._is_in_transaction or not isinstance(outcome.error, BulkWriteError)
        ):
            raise failure
        return failure

    @contextmanager
    def asking(self, failure: Exception | None) -> Iterator[None]:
        """Raise the failure of a batch when asking for what was written fails as well."""
        try:
            yield
        except PyMongoError as error:
            if failure is None:
                raise
            add_note(failure, f"{self.place}: asking what was written failed, too: {error}")
            raise failure from error

    async def tell(
        self, event: str, frames: list[Any], failure: Exception | None, **payload: Any
    ) -> None:
        """Send an after-event, then raise the failure of the batch, if any."""
        self.untold = 0
        payload["session"] = self.session
        await after_event(self.port, event, self.cls, frames, failure, **payload)
