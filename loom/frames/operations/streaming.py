"""Streams of many documents: batch by batch, begun and resumed behind an `_id`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from ...encoding import ENCODING_ERRORS, unencodable
from ...errors import MissingId, ProjectionError, QueryError, TransactionError
from ..document import wrap
from ..events import add_note
from ..id_ranges import behind, holds_text
from ..ids import id_or_error
from ..plans import Plan
from ..port import Documents, Port
from ..projections import Projection, plan_for
from ..references import build
from . import BATCH
from .reading import Options, compiled_filter, query_options

if TYPE_CHECKING:
    from ..progress import Bar

__all__ = ["RESUMES", "Steps", "each", "is_lost", "stream"]

B = TypeVar("B")

#: So often a stream is opened again without anything new in between.
RESUMES = 5
#: CursorNotFound and CursorKilled: the cursor is gone, what it read is not.
_CURSOR_LOST = frozenset({43, 237})
#: How long the server may count for a progress bar, in milliseconds.
_COUNTING = 5_000
#: So many frames are made at a time for a loop.
_PART = 50
_FROM_THE_START: Any = object()


class Steps(NamedTuple):
    """How a stream goes: see `Frame.each`."""

    batch: int = BATCH
    limit: int = 0
    after: Any = None
    resume: bool = False

    def check(self, place: str) -> None:
        """Check the numbers.

        Raises:
            QueryError: one of them is none.
        """
        for name, lowest in (("batch", 1), ("limit", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise QueryError(f"{place}: expected {name} of at least {lowest}, got {value!r}")


EVERYTHING = Steps()


def is_lost(error: PyMongoError) -> bool:
    """Tell the errors after which the same may be asked again: a lost connection or cursor."""
    if isinstance(error, OperationFailure) and error.code in _CURSOR_LOST:
        return True
    return isinstance(error, AutoReconnect)


class _Stream:
    """The query of a stream, and how far it was read."""

    def __init__(
        self, port: Port, cls: Any, filter: Any, plan: Plan, steps: Steps, options: Options
    ) -> None:
        self._cls = cls
        self._place = place = f"{cls.__name__}.each"
        steps.check(place)
        self._port = port
        self.plan = plan
        self.steps = steps
        self.query = compiled_filter(port, cls, filter)
        self.options: Options = {"batch_size": steps.batch}
        self.options |= query_options(cls, self.query, options)
        if steps.limit:
            self.options["limit"] = steps.limit
        self.collection = port.collection(cls)
        self._position: Any = _FROM_THE_START
        self._direction = 1
        self._read = 0
        if steps.after is not None:
            after = steps.after
            if getattr(type(after), "_is_frame", False):
                after = id_or_error(after, "each(after=...)")
            ids = compiled_filter(port, cls, {"_id": {"$in": [cls._to_id(after)]}})["_id"]["$in"]
            self._position = ids[0]
        self._is_ordered = steps.resume or steps.after is not None
        if self._is_ordered:
            self._put_in_order()

    def _put_in_order(self) -> None:
        sort = self.options.get("sort") or [("_id", 1)]
        if len(sort) != 1 or sort[0][0] != "_id" or sort[0][1] not in (1, -1):
            raise QueryError(
                f"{self._place}: expected no sort, or one by _id, beside after= and resume=, got "
                f"{sort!r}; a place in another order is not known by an _id"
            )
        if self.options.get("cursor_type"):
            raise QueryError(
                f"{self._place}: expected a usual cursor beside after= and resume=, got "
                f"cursor_type={self.options['cursor_type']!r}, which follows no order of _id"
            )
        self.options["sort"] = sort
        self._direction = sort[0][1]
        if self._position is not _FROM_THE_START:
            self._check_collation(self._position)
        if not self.steps.resume:
            return
        if self.plan.driver is not None and self.plan.driver.get("_id") is False:
            raise ProjectionError(
                f"{self._place}: expected a projection with _id beside resume=, got it excluded"
            )
        session = self._port.session(self._cls, self.options)
        if session is not None and session.in_transaction:
            raise TransactionError(
                f"{self._place}: expected resume= outside of a transaction, got it inside; the "
                "error that ends a cursor ends the transaction, too"
            )

    def _check_collation(self, id: Any) -> None:
        collation = self.options.get("collation")
        if collation and holds_text(id):
            raise QueryError(
                f"{self._place}: expected ids without text beside after= or resume= and a "
                f"collation, got {id!r} and {collation!r}, for which different ids may be equal; "
                "pass collation=None to compare exactly"
            )

    def _rest(self) -> tuple[dict[str, Any], Options]:
        """Return the filter and the options of what is still to be read."""
        query, options = self.query, self.options
        if self._position is not _FROM_THE_START:
            codecs = self.collection.codec_options
            try:
                rest = behind(self._position, self._direction, codecs)
            except ENCODING_ERRORS as error:
                place = f"{self._place} after"
                raise unencodable(place, {"_id": self._position}, codecs, error) from error
            query = {"$and": [query, rest]} if query else rest
        if self._read:
            options = {**options, "skip": 0}
            if self.steps.limit:
                options["limit"] = self.steps.limit - self._read
        return query, options

    def cursor(self) -> Any:
        """Return a cursor over what is still to be read."""
        query, options = self._rest()
        try:
            return self._port.cursor(self._cls, query, self.plan.driver, options)
        except ENCODING_ERRORS as error:
            raise self.unencodable(error) from error

    def place_of(self, documents: list[dict[str, Any]]) -> Any:
        """Return the place behind a batch, before frames are made of it."""
        if not self.steps.resume:
            return None
        id = documents[-1].get("_id", _FROM_THE_START)
        if id is _FROM_THE_START:
            raise MissingId(
                f"{self._place}: expected documents with _id beside resume=, got one without"
            )
        self._check_collation(id)
        if isinstance(id, datetime) and id.tzinfo is None:
            id = id.replace(tzinfo=timezone.utc)  # as the driver read it
        return id

    def passed(self, place: Any, count: int) -> None:
        """Note that a batch was read to the end."""
        if self.steps.resume:
            self._position = place
            self._read += count

    @property
    def is_read(self) -> bool:
        """True when as many were read as were asked for."""
        return bool(self.steps.limit) and self._read >= self.steps.limit

    async def total(self) -> int | None:
        """Return how many frames there will be, None when the server does not say soon enough."""
        query, options = self._rest()
        limit = self.steps.limit
        session = self._port.session(self._cls, options)
        shared = ("session", "comment", "collation", "hint", "skip", "limit")
        counting = {k: options[k] for k in shared if options.get(k)}
        try:
            if not query and session is None:
                kept = {k: v for k, v in counting.items() if k == "comment"}
                found = await self._port.estimate(self._cls, kept)
                found = max(0, found - int(options.get("skip") or 0))
                return min(found, limit) if limit else found
            if session is not None and session.in_transaction:
                return None  # an error would end it
            counting["maxTimeMS"] = _COUNTING
            return await self._port.count(self._cls, query, counting)
        except PyMongoError:
            return None  # what is wrong is said by the query itself, or it is none of its business

    def unencodable(self, error: Exception) -> Exception:
        """Return the error that names the value in the filter that cannot be sent."""
        place, codecs = f"{self._cls.__name__} filter", self.collection.codec_options
        return unencodable(place, self.query, codecs, error)

    def explain(self, error: PyMongoError, failures: int) -> None:
        """Add to an error what could be done about it."""
        if failures:
            note = f"opened again {failures} times in a row, with nothing read in between"
        elif isinstance(error, OperationFailure):
            note = (
                "the server has dropped the cursor: nothing was asked of it for too long, or it "
                "was started anew; resume=True goes on behind the last _id, a smaller batch= asks "
                "more often"
            )
        else:
            note = "the connection was lost; resume=True goes on behind the last _id"
        add_note(error, f"{self._place}: {note}")


def each(
    port: Port,
    cls: Any,
    filter: Any,
    projection: Projection,
    options: Options,
    steps: Steps = EVERYTHING,
) -> AsyncGenerator[list[Any], None]:
    """Return batches of frames; the client is chosen now, the query is sent by the first step."""
    port = port.bound()
    asked = _Stream(port, cls, filter, plan_for(cls, projection), steps, options)

    async def frames_of(documents: Documents) -> list[Any]:
        return await build(port, asked.plan, documents, asked.options)

    return _batches(port, asked, asked.cursor(), frames_of, None)


def stream(
    port: Port,
    cls: Any,
    filter: Any,
    projection: Projection,
    options: Options,
    steps: Steps,
    bar: Bar | None,
) -> AsyncGenerator[Iterable[Any], None]:
    """Return batches for one loop, in which frames are made when it is nearly their turn.

    Python's collector is called when more objects were made than freed: frames that come and go
    fifty at a time do not call it.
    """
    port = port.bound()
    asked = _Stream(port, cls, filter, plan_for(cls, projection), steps, options)

    async def frames_of(documents: Documents) -> Iterable[Any]:
        if not asked.plan.is_plain:
            return await build(port, asked.plan, documents, asked.options)
        parts = (documents[i : i + _PART] for i in range(0, len(documents), _PART))
        return chain.from_iterable(map(partial(wrap, asked.plan.frame_class), parts))

    return _batches(port, asked, asked.cursor(), frames_of, bar)


async def _batches(
    port: Port,
    stream: _Stream,
    cursor: Any,
    frames_of: Callable[[Documents], Awaitable[B]],
    bar: Bar | None,
) -> AsyncGenerator[B, None]:
    steps = stream.steps
    failures = 0
    if bar is not None:
        bar.start(await stream.total())
    while True:
        batches = port.batches(cursor, steps.batch)
        try:
            async for documents in batches:
                place = stream.place_of(documents)
                frames = await frames_of(documents)
                stream.passed(place, len(documents))
                failures = 0
                del documents
                yield frames
                del frames  # before the next ones come
            return
        except PyMongoError as error:
            if not is_lost(error):
                raise
            if not steps.resume or failures >= RESUMES:
                stream.explain(error, failures)
                raise
            failures += 1
        except ENCODING_ERRORS as error:
            raise stream.unencodable(error) from error
        finally:
            await batches.aclose()
        if stream.is_read:
            return
        cursor = stream.cursor()
