"""A transaction while it runs: what joins it, and what is done when it ends."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pymongo.errors import (
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from .clients import Connection
from .connection import check_client, connection_of, find_client
from .errors import LoomError, TransactionError
from .frames.events import Committed, add_note, current_task, raise_first
from .frames.frame import Frame
from .frames.port import Port
from .switches import Override, class_options, overrides

__all__ = ["Transaction"]

#: IllegalOperation: what a standalone server says to a transaction.
_ILLEGAL = 20
#: How long a commit whose result is not known is sent again, as by PyMongo's with_transaction.
COMMIT_SECONDS = 120.0
#: How long a cancelled task waits for the end of a commit that was sent, in seconds.
GRACE_SECONDS = 5.0
_NO_OPTIONS: dict[Any, Mapping[str, Any]] = {}


class Transaction:
    """A transaction that Loom's calls join by themselves.

    Attributes:
        session: the driver's session, for calls of the driver that are to join.
    """

    def __init__(self, port: Port, client: Any, place: str) -> None:
        override = overrides.get()
        if override is not None and override.transaction is not None:
            raise TransactionError(
                f"{place}: expected no transaction around it, got one that is running; what is "
                "called inside belongs to it, leave the inner one out"
            )
        self._port = port
        self._connection, self._client = _connected(client, port.is_async, place)
        self._process = os.getpid()
        self._thread = threading.get_ident()
        self._task = current_task()
        self._failure: PyMongoError | None = None
        self._undo: list[Callable[[], object]] = []
        self._pending: list[tuple[Override, Any, Committed]] = []
        self._is_over = False
        self._is_committing = False
        self.session: Any = self._client.start_session()

    @property
    def is_async(self) -> bool:
        """True when awaited calls join."""
        return self._port.is_async

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Call a function when the transaction is not committed; the last one given first.

        Of `with_transaction` it is called for every attempt that is not committed.
        """
        self._undo.append(undo)

    # What the port asks

    def is_joined_by(self, port: Any, cls: Any) -> bool:
        """Tell whether a call of a class goes to the client of the transaction.

        Raises:
            TransactionError: it does, but in another task, thread or runtime.
        """
        connection = port.within(connection_of, cls)
        is_same = connection is not None and connection is self._connection
        if not is_same and port.within(find_client, cls, port.is_async) is not self._client:
            return False
        self._check_here(cls.__name__)
        if port.is_async != self._port.is_async:
            mine, other = (
                ("awaited", "blocking") if self._port.is_async else ("blocking", "awaited")
            )
            raise TransactionError(
                f"{cls.__name__}: expected {mine} calls in {_article(mine)} transaction, got "
                f"{_article(other)} one, whose client cannot join it; make all calls of the block "
                "in one way"
            )
        return True

    def _is_here(self) -> bool:
        return (
            self._thread == threading.get_ident()
            and self._task is current_task()
            and self._process == os.getpid()
        )

    def _check_here(self, place: str) -> None:
        if not self._is_here():
            raise TransactionError(
                f"{place}: expected calls in the task and thread that began the transaction, got "
                "one in another that inherited it; a transaction takes one call at a time: make "
                "the call in the block itself, or start the task, thread or process before the block"
            )

    def check(self, cls: Any) -> None:
        """Check that the transaction takes another command.

        Raises:
            TransactionError: the server has aborted it, or its session was used to end it.
        """
        self._check(cls.__name__)

    def _check(self, place: str) -> None:
        if self._failure is not None:
            raise TransactionError(
                f"{place}: expected a transaction that is running, got one that ended with an "
                f"error of the server ({type(self._failure).__name__}); nothing of it is stored, "
                "let the error leave the block"
            ) from self._failure
        if not self.session.in_transaction:
            how = "has ended" if self._is_over else "was ended through its session"
            raise TransactionError(
                f"{place}: expected a transaction that is running, got one that {how}; what is "
                "called inside the block belongs to it, and the block ends it"
            )

    def check_stream(self) -> None:
        """Check that a stream that was made inside is read inside."""
        self._check_here("each")
        if self._is_over:
            raise TransactionError(
                "each: expected the stream to be read inside the transaction that it was made in, "
                "got it read afterwards; read it in the block, or make it after the block"
            )
        self._check("each")

    def failed(self, error: PyMongoError) -> None:
        """Note an error of the driver: the server aborts a transaction with a failing command.

        Raises:
            TransactionError: the server has no transactions.
        """
        if isinstance(error, WriteConcernError) or not isinstance(
            error, (OperationFailure, ConnectionFailure)
        ):
            return
        if self._failure is None:
            self._failure = error
        if isinstance(error, OperationFailure) and error.code == _ILLEGAL:
            said = (error.details or {}).get("errmsg", error)
            raise TransactionError(
                "loom.transaction: expected a replica set or a sharded cluster, got a server "
                f"without transactions, which says: {said}; start it as a replica set (one "
                "member is enough), or write without a transaction"
            ) from error

    def postpone(self, waiting: Committed, override: Override) -> None:
        """Keep what `committed` tells until the transaction is committed."""
        without = override._replace(transaction=None)
        self._pending.append((without, class_options.get(_NO_OPTIONS), waiting))

    # Its course

    @contextmanager
    def joined(self, place: str) -> Iterator[None]:
        """Make calls inside the block join; check at its end that there is something to commit."""
        override = overrides.get() or Override()
        token = overrides.set(override._replace(transaction=self))
        try:
            yield
            self._check_here(place)
            self._check(place)
        finally:
            try:
                overrides.reset(token)
            except ValueError:
                raise TransactionError(
                    f"{place}: expected the block to be left in the task and thread that entered "
                    "it, got another one; nothing of the transaction is stored"
                ) from None

    async def begin(self, options: Mapping[str, Any]) -> None:
        """Begin the transaction; the server hears of it with the first command."""
        try:
            await self._port.call(self.session.start_transaction, **options)
        except BaseException:
            await self._port.call(self.session.end_session)
            raise

    async def roll_back(self, error: BaseException) -> None:
        """Abort the transaction and take back what was noted in objects."""
        self._is_over = True
        if self._process != os.getpid():
            return  # it is the parent's to end
        try:
            if self.session.in_transaction:
                await self._port.call(self.session.abort_transaction)
        finally:
            try:
                await self._port.call(self.session.end_session)
            finally:
                self._tell(error)

    async def commit(self) -> None:
        """Commit the transaction and send what waited for it.

        A task that is cancelled meanwhile is told how it ended.
        """
        self._is_over = self._is_committing = True
        if not self.is_async:
            await self._finished(self._commit())
            return
        task, cancelled = await _outlasting(self._commit())
        if cancelled is None:
            await self._finished(task)
            return
        try:
            await self._finished(task)
        except BaseException as error:
            raise cancelled from error
        add_note(cancelled, "the transaction is committed")
        raise cancelled

    async def _commit(self) -> None:
        """Commit; again while it is not known whether that was done, as the driver would."""
        end = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                await self._port.call(self.session.commit_transaction)
                return
            except PyMongoError as error:
                # The driver has tried twice. A deadline that is over is nobody's to extend.
                is_final = isinstance(error, WriteConcernError) or error.timeout
                if is_final or not _is_unknown(error) or time.monotonic() > end:
                    raise

    async def run(self, attempt: Callable[[Any], Any], options: Mapping[str, Any]) -> Any:
        """Run attempts under the driver's rules until one is committed; return its result."""
        return await self._finished(
            self._port.call(self.session.with_transaction, attempt, **options)
        )

    async def _finished(self, work: Any) -> Any:
        """Wait for the end, see to what depends on it, and return the result."""
        result = None
        concern = None
        try:
            result = await work
        except WriteConcernError as error:
            if not self._is_committing:
                self._tell(error)
                raise
            concern = error
            add_note(error, "the transaction is committed, its write concern failed")
        except BaseException as error:
            self._tell(error)
            raise
        finally:
            self._is_over = True
            await self._port.call(self.session.end_session)
        failures = await self._send_pending()
        if concern is not None:
            for failure in failures:
                add_note(concern, f"a listener of 'committed' failed too: {failure!r}")
            raise concern
        raise_first(failures, "committed")
        return result

    def _tell(self, error: BaseException) -> None:
        """Say on an error what it leaves of the transaction."""
        if not self._is_committing:
            self._take_back(error)
            if self._failure is not None:
                add_note(error, "the transaction is aborted: nothing of it is stored")
            return
        if isinstance(error, PyMongoError) and not _is_unknown(error):
            self._take_back(error)
            add_note(error, "the transaction is not committed: nothing of it is stored")
            return
        add_note(
            error,
            "whether the transaction is committed is not known: all of it is stored or nothing; "
            "frames keep their ids and numbers as if it were, 'committed' was not sent",
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run one attempt of several: what an earlier one noted is taken back."""
        self._take_back(None)
        self._failure = None
        self._is_committing = False
        try:
            with self.joined("loom.with_transaction"):
                yield
        except LoomError:
            self._raise_transient()
            raise
        self._is_committing = True

    def _raise_transient(self) -> None:
        """Raise the driver's error, whatever Loom made of it, that makes the driver try again."""
        if self._failure is not None and self._failure.has_error_label("TransientTransactionError"):
            raise self._failure from None

    def _take_back(self, error: BaseException | None) -> None:
        self._pending.clear()
        undo, self._undo = self._undo, []
        for function in reversed(undo):
            try:
                function()
            except Exception as failure:
                if error is None:
                    raise
                add_note(error, f"taking back what was noted failed, too: {failure!r}")

    async def _send_pending(self) -> list[Exception]:
        """Send `committed` for each write, where the write was made but for the transaction."""
        failures = []
        pending, self._pending = self._pending, []
        for override, options, waiting in pending:
            tokens = overrides.set(override), class_options.set(options)
            try:
                failures += await waiting.send(self._port, "the transaction is committed")
            finally:
                overrides.reset(tokens[0])
                class_options.reset(tokens[1])
        return failures


def _is_unknown(error: PyMongoError) -> bool:
    return error.has_error_label("UnknownTransactionCommitResult")


async def _outlasting(
    work: Coroutine[Any, Any, None],
) -> tuple[asyncio.Task[None], asyncio.CancelledError | None]:
    """Wait for work; when cancelled, a little longer, so that its end is known."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError as error:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=GRACE_SECONDS)
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=GRACE_SECONDS)
        return task, error
    return task, None


def _connected(client: Any, aio: bool, place: str) -> tuple[Connection | None, Any]:
    """Return the connection and the client of a transaction."""
    if client is None:
        client = Frame
    if isinstance(client, type) and issubclass(client, Frame):
        return connection_of(client), find_client(client, aio)
    if isinstance(client, Connection):
        return client, client.async_client() if aio else client.client
    check_client(client, aio, place)
    return None, client


def _article(word: str) -> str:
    return f"{'an' if word[0] == 'a' else 'a'} {word}"
