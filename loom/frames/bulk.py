"""Bulk: many writes of all kinds, sent in batches, with a result for every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from pymongo.errors import ConnectionFailure, PyMongoError

from ..encoding import ENCODING_ERRORS, encode
from ..errors import BulkError, FieldError
from . import operations
from .asked_options import check_write
from .changes import check_fields
from .chunks import documents_by_id
from .events import add_note
from .ids import id_or_error
from .operations.guards import NOT_SENT, is_in_doubt
from .port import Port, awaited, blocking, complete
from .primaries import on_primary

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AwaitedBulk", "Bulk", "BulkResult"]

F = TypeVar("F")

Operation = Literal["insert", "update", "unset", "upsert", "delete"]
State = Literal["written", "failed", "unknown", "not sent"]

#: The order in which an unordered bulk sends its kinds.
_KINDS: tuple[Operation, ...] = ("insert", "upsert", "update", "unset", "delete")


class BulkResult(NamedTuple):
    """What became of one write.

    Attributes:
        frame: that was written.
        operation: `insert`, `update`, `unset`, `upsert` or `delete`.
        state: `written`; `failed`, and why; `unknown` when the connection was lost before the
            answer came; `not sent` after an earlier failure.
        reason: why it was not written.
    """

    frame: Any
    operation: Operation
    state: State
    reason: str | None = None


class _Write(NamedTuple):
    operation: Operation
    frame: Any
    fields: tuple[str, ...] = ()


class Writer:
    """What both runtimes share: the writes that wait, and what became of the others."""

    def __init__(
        self, cls: Any, ordered: bool, size: int, max_bytes: int, options: dict[str, Any]
    ) -> None:
        for name, number in (("size", size), ("max_bytes", max_bytes)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise FieldError(
                    f"{cls.__name__}.bulk: expected {name} of at least 1, got {number!r}"
                )
        self.cls = cls
        self.place = f"{cls.__name__}.bulk"
        check_write(self.place, options, "bulk_write", "update_one")
        self.ordered = ordered
        self.size = size
        self.max_bytes = max_bytes
        self.options = options
        self.results: list[BulkResult] = []
        self._waiting: list[_Write] = []
        self._bytes = 0
        self._new: set[int] = set()
        self._failure: BulkError | None = None

    async def add(
        self, port: Port, operation: Operation, document: Any, fields: tuple[str, ...] = ()
    ) -> Any:
        """Take one write; send what waits when that is enough."""
        cls = self.cls
        port.check_writable(cls, f"{operation}_many" if operation == "insert" else operation)
        (frame,) = operations.frames_of(cls, [document], f"bulk.{operation}")
        if operation in ("update", "unset", "delete"):
            id_or_error(frame, f"bulk.{operation}")
        if operation in ("update", "unset"):
            check_fields(cls, fields, f"bulk.{operation}")
        if operation == "unset" and not fields:
            raise FieldError(f"{self.place}.unset: expected names of fields, got none")
        if operation == "insert":
            if id(frame._document) in self._new:
                raise FieldError(
                    f"{self.place}.insert: expected every frame once, got {frame!r} again; copy it"
                )
            self._new.add(id(frame._document))
        self._waiting.append(_Write(operation, frame, fields))
        if operation != "delete":
            self._bytes += _size(port, cls, frame, fields if operation == "update" else ())
        if len(self._waiting) >= self.size or self._bytes >= self.max_bytes:
            await self.flush(port)
        return frame

    async def flush(self, port: Port) -> None:
        """Send what waits.

        Raises:
            BulkError: of an ordered bulk, something was not written.
        """
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self._new.clear()
        runs = [*self._runs(waiting)]
        for number, run in enumerate(runs):
            try:
                await self._send(port, run)
            except BulkError as error:
                self._note(run, error)
                if self.ordered:
                    self._leave(runs[number + 1 :])
                    raise self._error() from error
            except BaseException as error:
                # Most often a value that cannot be stored, or a listener: nothing of it was sent.
                is_lost = isinstance(error, ConnectionFailure) and not isinstance(error, NOT_SENT)
                state: State = "unknown" if is_lost else "failed"
                why = f"{type(error).__name__}: {error}"
                self.results += [BulkResult(w.frame, w.operation, state, why) for w in run]
                self._leave(runs[number + 1 :])
                self._tell(error)
                raise
            else:
                self.results += [BulkResult(w.frame, w.operation, "written") for w in run]

    async def end(self, port: Port) -> None:
        """Send what waits; raise what an unordered bulk has left unsaid.

        Raises:
            BulkError: something was not written.
        """
        await self.flush(port)
        if self._failure is not None:
            failure = self._failure
            raise self._error() from failure

    def abandon(self, error: BaseException) -> None:
        """Say on an error that left the block what was not sent."""
        self._leave([self._waiting])
        self._waiting = []
        self._tell(error)

    # Sending

    def _runs(self, waiting: Sequence[_Write]) -> Iterator[list[_Write]]:
        """Yield writes that go in one batch."""
        if self.ordered:
            run: list[_Write] = []
            for write in waiting:
                if run and (run[0].operation, run[0].fields) != (write.operation, write.fields):
                    yield run
                    run = []
                run.append(write)
            if run:
                yield run
            return
        groups: dict[Any, list[_Write]] = {}
        for write in waiting:
            groups.setdefault((_KINDS.index(write.operation), write.fields), []).append(write)
        for key in sorted(groups, key=lambda key: key[0]):
            yield groups[key]

    async def _send(self, port: Port, run: list[_Write]) -> None:
        operation, _, fields = run[0]
        frames = [write.frame for write in run]
        options = {**self.options, "ordered": self.ordered}
        if operation == "insert":
            await operations.insert_many(port, self.cls, frames, options)
        elif operation == "update":
            await operations.update_many(port, self.cls, frames, fields, options)
        elif operation == "unset":
            await operations.unset_many(port, self.cls, frames, fields, options)
        elif operation == "delete":
            await operations.delete_many(port, self.cls, frames, options)
        else:
            await self._upsert(port, frames, options)

    async def _upsert(self, port: Port, frames: list[Any], options: dict[str, Any]) -> None:
        """Insert what is not stored, update what is; look again at what others changed meanwhile."""
        stored = await self._stored(port, frames, options)
        new = [f for f in frames if id(f) not in stored]
        old = [f for f in frames if id(f) in stored]
        failed: list[tuple[Any, str]] = []
        unknown: list[tuple[Any, str]] = []
        unordered = {**options, "ordered": False}
        try:
            await operations.insert_many(port, self.cls, new, dict(unordered))
        except BulkError as error:
            failed += error.frames_failed
            unknown += error.frames_unknown
        try:
            await operations.update_many(port, self.cls, old, (), dict(unordered))
        except BulkError as error:
            failed += error.frames_failed
            unknown += error.frames_unknown
        again, failed = failed, []
        shared = {k: v for k, v in options.items() if k != "ordered"}
        for frame, _ in again:
            try:
                await operations.upsert(port, frame, (), dict(shared))
            except Exception as error:
                is_open = isinstance(error, PyMongoError) and is_in_doubt(error)
                where = unknown if is_open else failed
                where.append((frame, f"{type(error).__name__}: {error}"))
        if failed or unknown:
            left = {id(frame) for frame, _ in (*failed, *unknown)}
            written = [frame for frame in frames if id(frame) not in left]
            raise BulkError(f"{self.place}.upsert", written, failed, None, unknown)

    async def _stored(self, port: Port, frames: list[Any], options: Mapping[str, Any]) -> set[int]:
        """Return which frames are stored, by identity."""
        known = [f for f in frames if f._document.get("_id") is not None]
        ids = [frame._document["_id"] for frame in known]
        shared = {name: options[name] for name in ("session", "comment") if name in options}
        with on_primary(port, self.cls):
            found = await documents_by_id(port, self.cls, ids, {"_id": True}, shared)
        return {id(frame) for frame, one in zip(known, found, strict=True) if one is not None}

    # Results

    def _note(self, run: list[_Write], error: BulkError) -> None:
        self._failure = error
        failed = {id(frame): reason for frame, reason in error.frames_failed}
        unknown = {id(frame): reason for frame, reason in error.frames_unknown}
        for write in run:
            key = id(write.frame)
            state: State = "written"
            if key in failed:
                state = "failed"
            elif key in unknown:
                state = "unknown"
            reason = failed.get(key, unknown.get(key))
            self.results.append(BulkResult(write.frame, write.operation, state, reason))

    def _leave(self, runs: Iterable[Sequence[_Write]]) -> None:
        self.results += [
            BulkResult(write.frame, write.operation, "not sent", "not sent after a failure")
            for run in runs
            for write in run
        ]

    def _of(self, *states: State) -> list[BulkResult]:
        return [result for result in self.results if result.state in states]

    def _error(self) -> BulkError:
        cause, self._failure = self._failure, None  # it is said
        return BulkError(
            self.place,
            [result.frame for result in self._of("written")],
            [(result.frame, result.reason or "") for result in self._of("failed", "not sent")],
            None if cause is None else cause.details,
            [(result.frame, result.reason or "") for result in self._of("unknown")],
        )

    def _tell(self, error: BaseException) -> None:
        counts = {
            state: sum(result.state == state for result in self.results)
            for state in ("written", "failed", "unknown", "not sent")
        }
        told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        if told:
            add_note(error, f"{self.place}: of its writes {told}; see results of the bulk")


def _size(port: Port, cls: Any, frame: Any, fields: tuple[str, ...]) -> int:
    """Return how many bytes a write takes, about."""
    document = frame._document
    if fields:
        roots = {field.partition(".")[0] for field in fields}
        document = {name: document[name] for name in roots if name in document}
    try:
        return len(encode(document, port.collection(cls).codec_options))
    except ENCODING_ERRORS:
        return 0  # a listener may mend it; if not, the batch says what is wrong


class Bulk(Generic[F]):
    """Writes of all kinds, sent in batches.

    Used in a `with` block, at whose end what waits is sent. When the block is left by an error,
    what waits is not sent, and the error says so.

    Attributes:
        results: a BulkResult for every write, in the order in which they were sent.

    >>> from loom import Frame
    >>> class Dragon(Frame):
    ...     name: str
    >>> with Dragon.bulk(ordered=False) as bulk:  # doctest: +SKIP
    ...     bulk.insert(Dragon(name="Burt"))
    ...     bulk.delete(old)
    """

    def __init__(
        self, cls: type[F], ordered: bool, size: int, max_bytes: int, options: dict[str, Any]
    ) -> None:
        self._writer = Writer(cls, ordered, size, max_bytes, options)

    @property
    def results(self) -> list[BulkResult]:
        """What became of every write so far."""
        return self._writer.results

    def insert(self, document: F | dict[str, Any]) -> F:
        """Store a new document; returns its frame."""
        return complete(self._writer.add(blocking(), "insert", document))  # type: ignore[no-any-return]

    def update(self, document: F | dict[str, Any], *fields: str) -> F:
        """Write fields of a stored document, without names what the frame holds."""
        return complete(self._writer.add(blocking(), "update", document, fields))  # type: ignore[no-any-return]

    def unset(self, document: F | dict[str, Any], *fields: str) -> F:
        """Remove fields of a stored document."""
        return complete(self._writer.add(blocking(), "unset", document, fields))  # type: ignore[no-any-return]

    def upsert(self, document: F | dict[str, Any]) -> F:
        """Insert a document that is not stored, else write what the frame holds."""
        return complete(self._writer.add(blocking(), "upsert", document))  # type: ignore[no-any-return]

    def delete(self, document: F | dict[str, Any]) -> F:
        """Delete a stored document; one that is gone is no error."""
        return complete(self._writer.add(blocking(), "delete", document))  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Send what waits now.

        Raises:
            BulkError: of an ordered bulk, something was not written.
        """
        complete(self._writer.flush(blocking()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._writer.abandon(error)
            return
        complete(self._writer.end(blocking()))


class AwaitedBulk(Generic[F]):
    """The same, awaited: `async with Dragon.aio.bulk() as bulk: await bulk.insert(burt)`."""

    def __init__(
        self, cls: type[F], ordered: bool, size: int, max_bytes: int, options: dict[str, Any]
    ) -> None:
        self._writer = Writer(cls, ordered, size, max_bytes, options)

    @property
    def results(self) -> list[BulkResult]:
        """What became of every write so far."""
        return self._writer.results

    async def insert(self, document: F | dict[str, Any]) -> F:
        """Store a new document; returns its frame."""
        return await self._writer.add(awaited(), "insert", document)  # type: ignore[no-any-return]

    async def update(self, document: F | dict[str, Any], *fields: str) -> F:
        """Write fields of a stored document, without names what the frame holds."""
        return await self._writer.add(awaited(), "update", document, fields)  # type: ignore[no-any-return]

    async def unset(self, document: F | dict[str, Any], *fields: str) -> F:
        """Remove fields of a stored document."""
        return await self._writer.add(awaited(), "unset", document, fields)  # type: ignore[no-any-return]

    async def upsert(self, document: F | dict[str, Any]) -> F:
        """Insert a document that is not stored, else write what the frame holds."""
        return await self._writer.add(awaited(), "upsert", document)  # type: ignore[no-any-return]

    async def delete(self, document: F | dict[str, Any]) -> F:
        """Delete a stored document; one that is gone is no error."""
        return await self._writer.add(awaited(), "delete", document)  # type: ignore[no-any-return]

    async def flush(self) -> None:
        """Send what waits now; see `Bulk.flush`."""
        await self._writer.flush(awaited())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._writer.abandon(error)
            return
        await self._writer.end(awaited())
