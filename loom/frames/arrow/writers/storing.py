"""Storing the rows of a table: read in parts, made into documents, sent in batches.

What fields declare is done by the listeners that do it for frames; where there are none, no frame
is made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, nullcontext
from typing import Any

from pymongo.errors import BulkWriteError, PyMongoError

from ....errors import EncodeError, QueryError, RowsError, SchemaError
from ...behaviours import insert_defaults
from ...deriving import derive
from ...events import add_note, listeners, muted
from ...operations.outcomes import NOT_TRIED, Outcome, send
from ...pauses import paused
from ...port import Port
from ...progress import Bar, bar_for
from ...requests import Batch
from ...signals import checking
from ...stamping import stamp_inserted, stamp_updated
from ...texts import normalise
from ...timeseries import check_times
from .containers import KEEPS, OMITS, SKIPS
from .fitting import Rules
from .inputs import awaited_input, close, input_of
from .outcome import Failures, Ids, RowsWritten
from .pieces import Input, Part
from .targets import Target, check, targets_for, values_of
from .ways import Way

__all__ = ["Job", "stored"]

Document = dict[str, Any]
#: The listeners that do what the fields of a class declare.
_BEHAVIOURS = (insert_defaults, stamp_inserted, stamp_updated, normalise, derive, check_times)


class Job:
    """One call that stores rows: what all kinds of it share.

    Args:
        port: calls the driver.
        cls: the class.
        operation: its name.
        how: as `WriteOptions`.
    """

    def __init__(self, port: Port, cls: Any, operation: str, how: Mapping[str, Any]) -> None:
        if not getattr(cls, "_is_frame", False) or not isinstance(cls, type):
            raise QueryError(f"arrow.{operation}: expected a Frame class, got {cls!r}")
        self.port = port
        self.cls: Any = cls
        self.operation = operation
        self.place = f"{cls.__name__}.{operation}"
        port.check_writable(cls, operation)
        self.way, options = Way.of(self.place, how)
        self.options = {**options, "ordered": self.way.ordered}
        self.others = [
            one.receiver
            for event in ("insert", "inserted", "update", "updated")
            for one in listeners(event, cls)
            if one.receiver not in (*_BEHAVIOURS, *checking)
        ]
        #: the paths of the values of each row
        self.paths: list[str] = []
        #: the types of values that documents do not have
        self.leaves_out = OMITS if self.way.omits else KEEPS
        self.sent = self.inserted = self.matched = self.modified = self.upserted = 0
        self.failures = Failures()
        self.ids = Ids()
        self.not_sent = 0
        self.error: BaseException | None = None
        self.is_acknowledged = True

    # What kinds of jobs do differently

    def prepare(self, targets: list[Target]) -> None:
        """Look at where the columns go, before anything is sent."""
        self.paths = [target.path for target in targets]
        if not self.leaves_out and any(target.presence is not None for target in targets):
            self.leaves_out = SKIPS

    @property
    def makes_frames(self) -> bool:
        """Whether listeners see what is written."""
        raise NotImplementedError

    async def send(self, columns: list[list[Any]], rows: int, start: int) -> None:
        """Send some rows, and note what became of them.

        Args:
            columns: the values at each of the paths.
            rows: how many there are.
            start: the number of the first.
        """
        raise NotImplementedError

    # What they share

    @property
    def session(self) -> Any:
        """The session of the call."""
        return self.port.session(self.cls, self.options)

    def quiet(self) -> Any:
        """Return a block in which only those listen that do what fields declare."""
        return muted(*self.others, sender=self.cls) if self.others else nullcontext()

    async def send_off(self, batch: Batch, contents: Callable[[], Any]) -> Outcome | None:
        """Send a batch; return what is known of it, None when the driver did not send it."""
        try:
            outcome = await send(self.port, self.cls, batch, contents, dict(self.options))
        except PyMongoError as error:
            self.leave(len(batch), error)
            return None
        self.is_acknowledged = bool(outcome.told) or outcome.error is not None
        return outcome

    def leave(self, rows: int, error: PyMongoError) -> None:
        """Note rows that are not sent, and why."""
        self.not_sent += rows
        self.error = error

    def note(self, outcome: Outcome, start: int, ids: list[Any]) -> None:
        """Note what was not written; `ids` are those of the rows."""
        said = {error["index"]: error for error in outcome.details.get("writeErrors", ())}
        self.failures.concerns += outcome.details.get("writeConcernErrors") or ()
        for at, reason in sorted(outcome.failed.items()):
            if reason == NOT_TRIED:
                self.not_sent += 1
            else:
                self.failures.add(start + at, "failed", said.get(at, {}), reason, ids[at])
        for at, reason in sorted(outcome.unknown.items()):
            self.failures.add(start + at, "unknown", {}, reason, ids[at])
        self.error = outcome.error or self.error

    @property
    def is_over(self) -> bool:
        """True when no more is to be sent."""
        if self.error is None:
            return False
        is_refusal = isinstance(self.error, BulkWriteError)
        return self.way.ordered or self.is_in_transaction or not is_refusal

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction would end with a refusal."""
        session = self.session
        return session is not None and session.in_transaction

    def result(self, rows: int) -> RowsWritten:
        """Return what became of all rows."""
        failures = self.failures
        unknown = failures.states.count("unknown")
        return RowsWritten(
            rows,
            self.inserted,
            self.matched,
            self.modified,
            self.upserted,
            failures.duplicates,
            len(failures.rows) - unknown,
            unknown,
            self.not_sent,
            failures.table(),
            self.ids.column(),
            self.is_acknowledged,
        )

    def finish(self, rows: int) -> RowsWritten:
        """Return what became of all rows, or raise what is to be raised.

        Raises:
            RowsError: some were not written.
        """
        result = self.result(rows)
        error, failures = self.error, self.failures
        if result.is_whole and error is None and not failures.concerns:
            return result
        if error is not None and not isinstance(error, PyMongoError):
            add_note(error, f"{self.place}: {result}")
            raise error
        is_refusal = error is None or isinstance(error, BulkWriteError)
        is_told = not failures.concerns  # the result has no place for those
        if is_refusal and is_told and self.way.on_error == "return" and not self.is_in_transaction:
            return result
        if not is_refusal and not (result.inserted or result.matched or result.upserted):
            assert error is not None
            add_note(error, f"{self.place}: {result}")
            raise error
        details = {
            "writeErrors": failures.write_errors,
            "writeConcernErrors": failures.concerns,
            "nInserted": result.inserted,
            "nMatched": result.matched,
            "nModified": result.modified,
            "nUpserted": result.upserted,
            "nRemoved": 0,
            "upserted": [],
        }
        failed, unknown = failures.of("failed"), failures.of("unknown")
        raise RowsError(self.place, result, failed, details, unknown) from error


async def stored(job: Job, data: Any) -> RowsWritten:
    """Store the rows of what holds columns.

    Raises:
        RowsError: some were not written.
        SchemaError: a column, or a value in it, cannot be stored; of what can be gone through
            twice nothing was sent then.
    """
    way, cls = job.way, job.cls
    codecs = job.port.collection(cls).codec_options
    rules = Rules(job.port.naive(cls), way.finer, way.omits, job.makes_frames, codecs)
    is_awaited = hasattr(data, "__aiter__")
    if is_awaited and not job.port.is_async:
        raise SchemaError(
            f"{job.place}: expected a stream that blocks, got an asynchronous one; await "
            f"arrow.aio.{job.operation}(...)"
        )
    try:
        bar = bar_for(way.progress, job.place, name=job.place, unit="rows")
        if is_awaited:
            given = await awaited_input(job.place, data)
        else:
            given = input_of(job.place, data, way.batch_rows)
        targets = targets_for(cls, job.operation, given, way.columns, way.schema, rules)
        job.prepare(targets)
    except BaseException:
        await close(data)
        raise
    number = 0
    if given.is_kept:
        for part in _blocking(given):
            check(cls, targets, part, number, codecs)
            number += part.rows
    waiting = _Waiting(way)
    number = 0
    try:
        if bar is not None:
            bar.start(given.rows)
        async with aclosing(_pieces(given, way)) as pieces:
            async for part in pieces:
                if not given.is_kept:
                    check(cls, targets, part, number, codecs)
                with paused(part.rows):
                    waiting.add(values_of(targets, part), part)
                number += part.rows
                if waiting.is_enough:
                    await _flush(job, waiting, bar)
                if job.is_over:
                    break
        if not job.is_over:
            await _flush(job, waiting, bar)
    except BaseException as error:
        if job.sent:
            add_note(error, f"{job.place}: before that, of {job.result(job.sent)}")
        raise
    finally:
        if bar is not None:
            bar.close()
    left = 0 if given.rows is None else given.rows - job.sent
    job.not_sent += max(left, number - job.sent)
    return job.finish(max(number, given.rows or 0))


async def _flush(job: Job, waiting: _Waiting, bar: Bar | None) -> None:
    """Send what waits."""
    columns, rows = waiting.take()
    if rows:
        start = job.sent
        try:
            await job.send(columns, rows, start)
        except EncodeError as error:
            if start:
                add_note(error, f"{job.place}: its number counts from row {start}")
            raise
        job.sent += rows
        if bar is not None:
            bar.advance(rows)


def _blocking(given: Input) -> Iterator[Part]:
    parts = given.parts()
    assert isinstance(parts, Iterator)  # what can be gone through twice is in memory
    return parts


async def _pieces(given: Input, way: Way) -> AsyncGenerator[Part, None]:
    """Yield rows in parts that are not too large."""
    parts = given.parts()
    if isinstance(parts, Iterator):
        for part in parts:
            for piece in _cut(part, way):
                yield piece
            del part
        return
    async with aclosing(parts):
        async for part in parts:
            for piece in _cut(part, way):
                yield piece
            del part


def _cut(part: Part, way: Way) -> Iterator[Part]:
    for start in range(0, part.rows, way.batch_rows):
        yield from _halved(part.slice(start, way.batch_rows), way.max_bytes)


def _halved(part: Part, max_bytes: int) -> Iterator[Part]:
    if part.rows < 2 or part.size() <= max_bytes:
        yield part
        return
    middle = part.rows // 2
    yield from _halved(part.slice(0, middle), max_bytes)
    yield from _halved(part.slice(middle, part.rows - middle), max_bytes)


class _Waiting:
    """Rows that are not yet sent."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._columns: list[list[Any]] = []
        self._rows = 0
        self._bytes = 0

    def add(self, columns: list[list[Any]], part: Part) -> None:
        """Take the values of some rows."""
        if self._columns:
            for column, more in zip(self._columns, columns, strict=True):
                column += more
        else:
            self._columns = columns
        self._rows += part.rows
        self._bytes += part.size()

    @property
    def is_enough(self) -> bool:
        """True when it is a batch."""
        # With another piece, which may be as large as a batch, it would be too much.
        return self._rows * 2 > self.way.batch_rows or self._bytes * 2 > self.way.max_bytes

    def take(self) -> tuple[list[list[Any]], int]:
        """Return what waits, and wait for more."""
        taken = self._columns, self._rows
        self._columns, self._rows, self._bytes = [], 0, 0
        return taken
