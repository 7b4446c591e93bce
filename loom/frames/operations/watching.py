"""Watching: a change stream that goes on where it was, whatever happens in between."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from ...errors import HistoryLost, QueryError, TransactionError
from ..asked_options import check_watch
from ..change_streams import check_projection, fetched, match_stage
from ..checkpoints import CheckpointLike, checkpoint_of
from ..collations import add_collation
from ..events import emit, listeners
from ..pipelines import stages_of
from ..port import Port
from ..projections import Projection, plan_for
from ..references import build
from ..watching import Change
from .reading import Options, compiled_filter, shared_options
from .streaming import RESUMES, is_lost

__all__ = ["Watching"]

#: InvalidResumeToken; also what a server says to `resumeAfter` behind an invalidate.
_INVALID = 260
#: ChangeStreamFatalError: it cannot go on, or a pipeline has taken the token out of a change.
_FATAL = 280
#: ChangeStreamHistoryLost and CappedPositionLost: the history is not there.
_LOST = frozenset({_INVALID, _FATAL, 286, 136})
#: FailedToParse, and what old servers say to a token that is none.
_NO_TOKEN = frozenset({9, 40647, 40649, 50811})
#: Where a caller may let a stream begin.
_BEGINNINGS = ("resume_after", "start_after", "start_at_operation_time")
#: What local writes send after they did the same.
_EVENTS = {"insert": "inserted", "update": "updated", "replace": "updated", "delete": "deleted"}


class Watching:
    """A change stream: opened, read, resumed and closed.

    Attributes:
        position: the token behind which the stream goes on, None while there is none.
        alive: False when nothing more will come.
    """

    def __init__(
        self,
        port: Port,
        cls: Any,
        filter: Any,
        projection: Projection,
        checkpoint: CheckpointLike,
        feed: bool,
        options: Options,
    ) -> None:
        self._cls = cls
        self._place = place = f"{cls.__name__}.watch"
        if cls._timeseries is not None:
            from ..timeseries import refuse_watch  # when a class has one

            refuse_watch(cls)
        self._port = port = port.bound()
        check_watch(place, options, port.collection(cls).watch)
        self._plan = plan_for(cls, projection)
        check_projection(self._plan.driver, place)
        query = compiled_filter(port, cls, filter)
        seen = port.narrowed(cls, query)
        self._options: Options = {"full_document": "updateLookup", **options}
        sees_before = bool(options.get("full_document_before_change"))
        self._pipeline: list[dict[str, Any]] = (
            [match_stage(seen, place, sees_before=sees_before)] if seen else []
        )
        given = self._options.pop("pipeline", None)
        self._has_stages = bool(given)
        if given:
            self._pipeline += stages_of(given, place)
        add_collation(cls, query, self._options, prefixes=False)
        session = port.session(cls, options)
        if session is not None and session.in_transaction:
            raise TransactionError(
                f"{place}: expected it outside of a transaction, got it inside; MongoDB has no "
                "change streams in transactions"
            )
        self._checkpoint = checkpoint_of(checkpoint, cls.__name__)
        self._feed = feed
        self._stream: Any = None
        self._has_loaded = self._has_begun = False
        self._saved: Any = None
        self.position: Mapping[str, Any] | None = None
        self.alive = True

    # Steps

    async def open(self) -> None:
        """Open the change stream, unless it is open: what changes from now on will come."""
        try:
            await self._opened()
        except BaseException:
            await self._drop()
            raise

    async def next(self) -> Change[Any] | None:
        """Wait for the next change and return it; None when nothing more will come."""
        while self.alive:
            change = await self.try_next()
            if change is not None:
                return change
        return None

    async def try_next(self) -> Change[Any] | None:
        """Return the next change, None when there is none at the moment."""
        if not self.alive:
            return None
        try:
            await self.save()
            change = await self._read()
            if change is None:
                await self.save()
                return None
            made = await self._made(change)
            if self._feed:
                await self._tell(made)
        except BaseException:
            # The next step, if any, opens it again behind what was handed out.
            await self._drop()
            raise
        self.position = change["_id"]
        if self._stream is not None and not self._stream.alive:
            self.alive = False
        return made

    async def save(self) -> None:
        """Note in the checkpoint that what was handed out is handled."""
        if self._checkpoint is None or self.position is None or self.position == self._saved:
            return
        await self._kept(self._checkpoint.save(self.position))
        self._saved = self.position

    async def close(self) -> None:
        """Close the change stream for good."""
        self.alive = False
        await self._drop()

    # Parts of them

    async def _read(self) -> Mapping[str, Any] | None:
        """Return the next change as the server sends it; open the stream again as often as useful."""
        for attempt in range(RESUMES + 1):
            try:
                stream = await self._opened()
                change: Mapping[str, Any] | None = await self._port.next_change(stream)
            except PyMongoError as error:
                self._raise_lost(error)
                if attempt == RESUMES or not _is_resumable(error):
                    raise
                await self._drop()
                continue
            if change is None:
                self.position = stream.resume_token or self.position
                self.alive = bool(stream.alive)
            return change
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _opened(self) -> Any:
        if self._stream is not None:
            return self._stream
        if not self._has_loaded:
            if self._checkpoint is not None:
                self.position = self._saved = await self._kept(self._checkpoint.load())
            self._has_loaded = True
        options = self._options
        if self.position is not None:
            options = {k: v for k, v in options.items() if k not in _BEGINNINGS}
            options["resume_after"] = self.position
        elif self._has_begun and not any(options.get(name) for name in _BEGINNINGS):
            raise HistoryLost(
                f"{self._place}: expected a server that says where a stream begins, got one that "
                "does not, and the stream ended before its first change; what changed meanwhile is "
                "not known: read the collection anew and watch again"
            )
        stream = self._stream = await self._open(options)
        self._has_begun = True
        if self.position is None:
            self.position = stream.resume_token
            await self.save()
        return stream

    async def _open(self, options: Options) -> Any:
        try:
            return await self._port.watch(self._cls, self._pipeline, options)
        except OperationFailure as error:
            if error.code == _INVALID and self.position is not None:
                # The last change was an invalidate: behind it a stream begins anew.
                options = {**options, "start_after": self.position}
                del options["resume_after"]
                try:
                    return await self._port.watch(self._cls, self._pipeline, options)
                except OperationFailure as second:
                    self._raise_lost(second)
                    raise
            self._raise_lost(error)
            raise

    def _raise_lost(self, error: PyMongoError) -> None:
        """Raise HistoryLost if the server says that it cannot go on from the position."""
        if not isinstance(error, OperationFailure):
            return
        code, details = error.code, error.details or {}
        said = str(details.get("errmsg", error))
        if code not in _LOST and not (code in _NO_TOKEN and "token" in said.lower()):
            return
        if code == _FATAL and self._has_stages and "_id" in said:
            raise QueryError(
                f"{self._place}: expected a pipeline that leaves each change its _id, which holds "
                f"the place in the stream, got code {code}: {said}"
            ) from error
        kept = "" if self._checkpoint is None else f", and a new checkpoint than {self._checkpoint}"
        raise HistoryLost(
            f"{self._place}: expected the server to know what happened since the stream was left, "
            f"got code {code}: {said}; "
            "what changed since is not known: read the collection anew, then watch without the old "
            f"token{kept}; a larger oplog keeps more history",
            self.position,
        ) from error

    async def _kept(self, result: Any) -> Any:
        """Return what a method of the checkpoint gives; an awaited stream awaits it."""
        if not inspect.isawaitable(result):
            return result
        if self._port.is_async:
            return await result
        if inspect.iscoroutine(result):
            result.close()
        raise QueryError(
            f"{self._place}: expected a checkpoint with plain methods for a blocking stream, got "
            f"{self._checkpoint!r}, whose methods are to be awaited"
        )

    async def _drop(self) -> None:
        """Close the change stream on the server."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(PyMongoError):  # the server closes it by itself, later
                await self._port.call(stream.close)

    async def _made(self, change: Mapping[str, Any]) -> Change[Any]:
        frames = []
        for name in ("fullDocument", "fullDocumentBeforeChange"):
            document = change.get(name)
            if document is not None:
                cut = fetched(document, self._plan.driver)
                shared = shared_options(self._options)
                document = (await build(self._port, self._plan, [cut], shared))[0]
            frames.append(document)
        return Change(change, *frames)

    async def _tell(self, change: Change[Any]) -> None:
        """Send the event that a local write of the same would have sent."""
        event = _EVENTS.get(change.kind)
        if event is None or not listeners(event, self._cls):
            return
        frame = change.frame
        if event == "deleted":
            frame = change.before or self._cls({"_id": change.id})
        if frame is None:
            return  # gone meanwhile: its delete comes, too
        fields: tuple[str, ...] = ()
        if event == "updated":
            written = (*change.changed, *change.truncated, *change.removed)
            fields = tuple(path for path in written if path != "_id")
        payload = {"fields": fields, "fed": True}
        with self._port.loosened() as port:
            await emit(port, event, type(frame), [frame], payload)


def _is_resumable(error: PyMongoError) -> bool:
    return is_lost(error) or error.has_error_label("ResumableChangeStreamError")
