"""All that Loom asks of the driver: the only door to I/O.

Operations are coroutines over a port. `SYNC` never suspends, so that `complete` can run an
operation without an event loop; `ASYNC` awaits PyMongo's asynchronous classes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from ..clients import REFERENCE_CHUNK
from ..connection import connection_of, find_collection
from ..encoding import ENCODING_ERRORS, Naive, clearer, encode
from ..errors import Duplicate, EncodeError, ListenerError
from .events import running, running_event
from .joining import Joining
from .pauses import paused, pausing_collection

__all__ = ["ASYNC", "SYNC", "Port", "awaited", "blocking", "complete", "pausing_collection"]

T = TypeVar("T")
Documents = list[dict[str, Any]]

#: Everything is wanted anyway: no first batch of 101 documents, one command less.
_EVERYTHING = 2**31 - 1
#: Codes of servers that take no such number: BadValue, FailedToParse, TypeMismatch, and
#: the validation error of the command's definition.
_REFUSED_BATCH_SIZE = frozenset({2, 9, 14, 51024})
#: The size of the largest document, in bytes.
_LARGEST = 16 * 1024 * 1024
#: How many documents of a batch are checked at a time.
_CHECKED = 100


def complete(operation: Coroutine[Any, Any, T]) -> T:
    """Run an operation over a port that never suspends, and return its result."""
    try:
        operation.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typed by the coroutine
    operation.close()
    raise RuntimeError("loom: a blocking operation suspended; please report this")


class Port(Joining):
    """What both runtimes share; they differ in how a driver method is called."""

    async def call(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Call a method of the driver and return its result."""
        raise NotImplementedError

    async def opened(self, work: Coroutine[Any, Any, T], options: Mapping[str, Any]) -> T:
        """Return what opens a cursor, which is not left open where the call is cancelled."""
        return await work

    async def all(self, work: Sequence[Coroutine[Any, Any, T]], *, ordered: bool) -> list[T]:
        """Run independent operations and return their results in order."""
        raise NotImplementedError

    def pause(self, limit: int | None) -> AbstractContextManager[None]:
        """Keep the garbage collector from walking a load while it grows, where that is right."""
        raise NotImplementedError

    async def listener(self, result: Awaitable[Any], event: str, name: str) -> None:
        """Finish what an async listener returned."""
        raise NotImplementedError

    def collection(self, cls: Any) -> Any:
        """Return the collection of a class."""
        if self._context is None:
            return find_collection(cls, self.is_async)
        return self._context.run(find_collection, cls, self.is_async)

    def naive(self, cls: Any) -> Naive:
        """Return what a datetime without zone means to a class."""
        connection = self.within(connection_of, cls)
        return "utc" if connection is None else connection.naive

    def reference_chunk(self, cls: Any) -> int:
        """Return how many ids one query carries at most."""
        connection = self.within(connection_of, cls)
        return REFERENCE_CHUNK if connection is None else connection.reference_chunk

    # Reading

    def cursor(
        self, cls: Any, filter: Mapping[str, Any], projection: Any, options: Mapping[str, Any]
    ) -> Any:
        """Return a cursor over all documents that match, for `batches`."""
        collection = self.collection(cls)
        filter = self.narrowed(cls, filter)
        return collection.find(filter, projection, **self.options(cls, options))

    async def find_one(
        self, cls: Any, filter: Mapping[str, Any], projection: Any, options: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the first document that matches, or None."""
        if cls._kinds is not None:
            filter = cls._kinds.narrowed(cls, filter)
        collection = self.collection(cls)
        options = self.options(cls, options)
        try:
            # What find_one does, without the copies that it makes on the way.
            cursor = collection.find(filter, projection, **{**options, "limit": -1})
            if not self.is_async:
                return next(cursor, None)
            found = await cursor.to_list()
            return found[0] if found else None
        except PyMongoError as error:
            self.failed(options, error)
            raise
        except ENCODING_ERRORS as error:
            raise clearer(
                f"{cls.__name__} filter", filter, collection.codec_options, error
            ) from error

    async def find(
        self, cls: Any, filter: Mapping[str, Any], projection: Any, options: Mapping[str, Any]
    ) -> Documents:
        """Return all documents that match."""
        if cls._kinds is not None:
            filter = cls._kinds.narrowed(cls, filter)
        collection = self.collection(cls)
        options = self.options(cls, options)
        try:
            if "batch_size" not in options:
                try:
                    cursor = collection.find(filter, projection, batch_size=_EVERYTHING, **options)
                    return await self.call(cursor.to_list)  # type: ignore[no-any-return]
                except OperationFailure as error:
                    # An error ends a transaction: there is no second try in one.
                    session = options.get("session")
                    in_transaction = session is not None and session.in_transaction
                    if error.code not in _REFUSED_BATCH_SIZE or in_transaction:
                        raise
            cursor = collection.find(filter, projection, **options)
            return await self.opened(self.call(cursor.to_list), options)
        except PyMongoError as error:
            self.failed(options, error)
            raise
        except ENCODING_ERRORS as error:
            raise clearer(
                f"{cls.__name__} filter", filter, collection.codec_options, error
            ) from error

    async def aggregate(
        self, cls: Any, pipeline: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> Documents:
        """Return all documents that a pipeline gives."""
        if cls._kinds is not None:
            pipeline = cls._kinds.narrowed_stages(cls, pipeline)
        collection = self.collection(cls)
        options = self.options(cls, options)
        try:
            work = self.call(collection.aggregate, pipeline, **options)
            cursor = await self.opened(work, options)
            return await self.call(cursor.to_list)  # type: ignore[no-any-return]
        except PyMongoError as error:
            self.failed(options, error)
            raise
        except ENCODING_ERRORS as error:
            stages = {"pipeline": [*pipeline]}
            raise clearer(cls.__name__, stages, collection.codec_options, error) from error

    async def batches(self, cursor: Any, size: int) -> AsyncGenerator[Documents, None]:
        """Yield a cursor's documents in lists of `size`; the cursor is closed at the end.

        Raises:
            TransactionError: the transaction that the cursor was made in has ended.
        """
        options = {"session": cursor.session}
        process = os.getpid()
        try:
            self.check_stream(options)
            documents = await self.opened(self.call(cursor.to_list, size), options)
            while documents:
                yield documents
                del documents  # before the next ones come
                self.check_stream(options)
                documents = await self.call(cursor.to_list, size)
        except PyMongoError as error:
            self.failed(options, error)
            raise
        finally:
            if os.getpid() == process:  # a fork leaves the cursor to its parent
                await self.call(cursor.close)

    async def watch(
        self, cls: Any, pipeline: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> Any:
        """Return a change stream of a class's collection, opened on the server."""
        collection = self.collection(cls)
        try:
            options = self.options(cls, options)
            return await self.opened(self.call(collection.watch, pipeline, **options), options)
        except ENCODING_ERRORS as error:
            place, codecs = f"{cls.__name__} filter", collection.codec_options
            raise clearer(place, {"": pipeline}, codecs, error) from error

    async def next_change(self, stream: Any) -> Any:
        """Return what a change stream brings next, None if there is nothing soon enough."""
        return await self.call(stream.try_next)

    async def count(self, cls: Any, filter: Mapping[str, Any], options: Mapping[str, Any]) -> int:
        """Return how many documents match."""
        from .places import refuse_near  # when something is counted

        refuse_near(f"{cls.__name__}.count", filter)
        return int(await self.ask(cls, "count_documents", filter, options))

    async def ask(
        self, cls: Any, method: str, filter: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Any:
        """Return what a method of a class's collection says of the documents that match."""
        collection = self.collection(cls)
        filter, options = self.narrowed(cls, filter), self.options(cls, options)
        try:
            return await self.call(getattr(collection, method), filter=filter, **options)
        except PyMongoError as error:
            self.failed(options, error)
            raise
        except ENCODING_ERRORS as error:
            place = f"{cls.__name__} filter"
            raise clearer(place, filter, collection.codec_options, error) from error

    async def estimate(self, cls: Any, options: Mapping[str, Any]) -> int:
        """Return the server's own count of all documents, which no transaction allows."""
        if cls._kinds is not None and cls._kinds.condition(cls) is not None:
            return await self.count(cls, {}, options)
        estimate = self.collection(cls).estimated_document_count
        return int(await self.call(estimate, **self.options(cls, options)))

    # Writing

    def check(self, cls: Any, contents: Sequence[Mapping[str, Any]]) -> None:
        """Check that all of a batch can be stored.

        The driver splits a batch at 48 MB and at 100,000 operations, and would find a value
        that cannot be stored only after the parts before it were sent.

        Raises:
            EncodeError: a value cannot be stored, or a document is too large.
        """
        if len(contents) < 2:
            return
        options = self.collection(cls).codec_options
        for start in range(0, len(contents), _CHECKED):
            part = list(contents[start : start + _CHECKED])
            try:
                if len(encode({"": part}, options)) <= _LARGEST:
                    continue
                sizes = [len(encode(content, options)) for content in part]
            except ENCODING_ERRORS as error:
                raise clearer(cls.__name__, contents, options, error) from error
            for position, size in enumerate(sizes, start):
                if size > _LARGEST:
                    raise EncodeError(
                        f"{cls.__name__}.{position}: expected a document of at most 16 MB, got "
                        f"{size} bytes; store large values in GridFS, or apart"
                    )

    async def write(self, cls: Any, method: str, content: Any, *args: Any, **options: Any) -> Any:
        """Call a writing method of a class's collection.

        Args:
            cls: the class.
            method: its name.
            content: what is written, to name the path of a value that cannot be; or a
                function that returns it.
            args: for the method.
            options: for the method.

        Raises:
            Duplicate: a unique index refused the write.
            EncodeError: a value cannot be stored; nothing was sent.
            ReadOnly: writing is switched off; nothing was sent.
            TransactionError: the call cannot be part of the transaction that is running.
        """
        self.check_writable(cls, method, options)
        if cls._kinds is not None:
            args = cls._kinds.narrowed_call(cls, method, args)
        collection = self.collection(cls)
        sent = self.options(cls, options)
        try:
            return await self.call(getattr(collection, method), *args, **sent)
        except DuplicateKeyError as error:
            self.failed(sent, error)
            place, said = cls.__name__, error.details
            raise Duplicate(place, str(error), error.code, said, content) from error
        except PyMongoError as error:
            self.failed(sent, error)
            raise
        except ENCODING_ERRORS as error:
            content = content() if callable(content) else content
            raise clearer(cls.__name__, content, collection.codec_options, error) from error


async def _in_order(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    try:
        return [await operation for operation in work]
    finally:
        for operation in work:
            operation.close()  # those that were not begun, after one that failed


class SyncPort(Port):
    """Calls PyMongo's blocking classes."""

    is_async = False

    async def call(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Call a method of the driver and return its result."""
        return function(*args, **options)

    async def all(self, work: Sequence[Coroutine[Any, Any, T]], *, ordered: bool) -> list[T]:
        """Run independent operations one after the other."""
        return await _in_order(work)

    def pause(self, limit: int | None) -> AbstractContextManager[None]:
        """Pause the garbage collector for a load that may be large."""
        return paused(limit)

    async def listener(self, result: Awaitable[Any], event: str, name: str) -> None:
        """Run an async listener to its end; it may await Loom only."""
        steps = result.__await__()
        cause = None
        try:
            next(steps)
        except StopIteration:
            return
        except RuntimeError as error:
            if str(error) != "no running event loop":
                raise
            cause = error  # asyncio asked for one before it could suspend
        close = getattr(steps, "close", None)
        if close is not None:
            with suppress(RuntimeError):  # it awaits again while it is being closed
                close()
        stands = (
            "nothing was written" if event in ("insert", "update", "delete") else "the write stands"
        )
        raise ListenerError(
            f"{name}: expected a listener that awaits only Loom, got one that waits for "
            f"something else in a blocking call ({event}, {stands}); make the call through "
            ".aio, or do that work elsewhere"
        ) from cause


class AsyncPort(Port):
    """Awaits PyMongo's asynchronous classes."""

    is_async = True

    async def call(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Call a method of the driver and await its result."""
        return await function(*args, **options)

    async def opened(self, work: Coroutine[Any, Any, T], options: Mapping[str, Any]) -> T:
        """Return what opens a cursor, which is not left open where the call is cancelled."""
        from .opening import opened  # blocking programs need no tasks

        return await opened(work, options.get("session"))

    async def all(self, work: Sequence[Coroutine[Any, Any, T]], *, ordered: bool) -> list[T]:
        """Run independent operations at once; in order inside a session, which allows one only."""
        override = self._override()
        in_transaction = override is not None and override.transaction is not None
        if ordered or in_transaction or len(work) == 1:
            return await _in_order(work)
        tasks = [asyncio.ensure_future(operation) for operation in work]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def pause(self, limit: int | None) -> AbstractContextManager[None]:
        """Do nothing: a pause would span an await, and with it everything else on the loop."""
        return nullcontext()

    async def listener(self, result: Awaitable[Any], event: str, name: str) -> None:
        """Await an async listener."""
        await result


SYNC = SyncPort()
ASYNC = AsyncPort()


def blocking() -> Port:
    """Return the port of a blocking call.

    Raises:
        ListenerError: the call is made by a plain listener of an awaited operation, where
            it would stall the event loop.
    """
    if running_event.get() is None:
        return SYNC
    current = running()
    if current is not None and current.port.is_async:
        raise ListenerError(
            f"loom: expected an awaited call in a listener of an awaited {current.event!r}, got "
            "a blocking one, which would stall the event loop; write the listener as "
            "`async def` and await the call through .aio"
        )
    return SYNC


def awaited() -> Port:
    """Return the port of an awaited call: inside a listener that of the running operation."""
    current = running()
    return ASYNC if current is None else current.port
