"""Awaited functions of Loom as a whole; frames have theirs on `Dragon.aio` and `burt.aio`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .clients import AnyClient
from .connection import close_async
from .frames.port import awaited, complete
from .transactions import options_of, running

if TYPE_CHECKING:
    from pymongo.read_concern import ReadConcern
    from pymongo.read_preferences import _ServerMode as ReadPreference
    from pymongo.write_concern import WriteConcern

    from .frames.frame import Frame
    from .running_transactions import Transaction

__all__ = ["close", "transaction", "with_transaction"]

_T = TypeVar("_T")


async def close() -> None:
    """Close the client of the running event loop; the next awaited call makes a new one.

    Call it before the loop ends; `loom.close()` ends the connection itself.
    """
    await close_async()


@asynccontextmanager
async def transaction(
    client: AnyClient | type[Frame] | None = None,
    *,
    read_concern: ReadConcern | None = None,
    write_concern: WriteConcern | None = None,
    read_preference: ReadPreference | None = None,
    max_commit_time_ms: int | None = None,
) -> AsyncIterator[Transaction]:
    """Make all awaited Loom calls inside the block one transaction; see `loom.transaction`.

    One whose task is cancelled inside the block is aborted.

    >>> import loom
    >>> async def pay():
    ...     async with loom.aio.transaction():
    ...         await burt.aio.inc("gold", -5, where=Q.gold >= 5)
    ...         await ray.aio.inc("gold", 5)
    """
    options = options_of(read_concern, write_concern, read_preference, max_commit_time_ms)
    made = running(awaited(), client, "loom.aio.transaction")
    await made.begin(options)
    try:
        with made.joined("loom.aio.transaction"):
            yield made
    except BaseException as error:
        await made.roll_back(error)
        raise
    await made.commit()


async def with_transaction(
    fn: Callable[[], Awaitable[_T]],
    client: AnyClient | type[Frame] | None = None,
    *,
    read_concern: ReadConcern | None = None,
    write_concern: WriteConcern | None = None,
    read_preference: ReadPreference | None = None,
    max_commit_time_ms: int | None = None,
) -> _T:
    """Await a function in a transaction, again when the server asks; see `loom.with_transaction`.

    >>> import loom
    >>> async def pay():
    ...     await loom.aio.with_transaction(lambda: transfer(burt, ray, 5))
    """
    options = options_of(read_concern, write_concern, read_preference, max_commit_time_ms)
    made = running(awaited(), client, "loom.aio.with_transaction")

    async def attempt(session: Any) -> Any:
        with made.attempt():
            result = fn()
            return await result if inspect.isawaitable(result) else result

    # In a listener of a blocking operation the driver's blocking methods are used.
    callback = attempt if made.is_async else lambda session: complete(attempt(session))
    return cast(_T, await made.run(callback, options))
