"""Transactions: of all that is written inside a block, everything stands or nothing does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from .clients import AnyClient
from .errors import TransactionError
from .frames.frame import Frame
from .frames.port import blocking, complete

if TYPE_CHECKING:
    from pymongo.read_concern import ReadConcern
    from pymongo.read_preferences import _ServerMode as ReadPreference
    from pymongo.write_concern import WriteConcern

    from .frames.port import Port
    from .running_transactions import Transaction

__all__ = ["transaction", "with_transaction"]

T = TypeVar("T")


@contextmanager
def transaction(
    client: AnyClient | type[Frame] | None = None,
    *,
    read_concern: ReadConcern | None = None,
    write_concern: WriteConcern | None = None,
    read_preference: ReadPreference | None = None,
    max_commit_time_ms: int | None = None,
) -> Iterator[Transaction]:
    """Make all blocking Loom calls inside the block one transaction.

    At the end of the block it is committed; an exception that leaves the block aborts it, and
    nothing is stored. Calls join by themselves, also those of listeners; calls through another
    client do not. `committed` is sent after the commit.

    Args:
        client: a MongoClient, a Connection, or a Frame class for its client; by default the
            client that `loom.using` or `loom.connect` set.
        read_concern: as for PyMongo's `start_transaction`, like all that follow.
        write_concern: of the commit.
        read_preference: must be the primary.
        max_commit_time_ms: how long the commit may take on the server.

    Raises:
        TransactionError: inside another transaction, on a server that has none, for a call from
            another task or thread, or because an error of the server was caught in the block.

    >>> import loom
    >>> with loom.transaction():  # doctest: +SKIP
    ...     burt.inc("gold", -5, where=Q.gold >= 5)
    ...     ray.inc("gold", 5)
    """
    options = options_of(read_concern, write_concern, read_preference, max_commit_time_ms)
    made = running(blocking(), client, "loom.transaction")
    complete(made.begin(options))
    try:
        with made.joined("loom.transaction"):
            yield made
    except BaseException as error:
        complete(made.roll_back(error))
        raise
    complete(made.commit())


def with_transaction(
    fn: Callable[[], T],
    client: AnyClient | type[Frame] | None = None,
    *,
    read_concern: ReadConcern | None = None,
    write_concern: WriteConcern | None = None,
    read_preference: ReadPreference | None = None,
    max_commit_time_ms: int | None = None,
) -> T:
    """Call a function in a transaction, again as often as the server asks for, and return its result.

    The rules are those of PyMongo's `with_transaction`: the function is called again when the
    transaction met another one, or a primary that stepped down; a commit whose result is not
    known is sent again; all that for at most two minutes. Only the last attempt is stored. What
    the function does elsewhere it does in every attempt.

    Args:
        fn: called without arguments.
        client: as for `loom.transaction`, like all that follow.
        read_concern: as for PyMongo.
        write_concern: of the commit.
        read_preference: must be the primary.
        max_commit_time_ms: how long the commit may take on the server.

    Raises:
        TransactionError: as for `loom.transaction`.

    >>> import loom
    >>> loom.with_transaction(lambda: transfer(burt, ray, 5))  # doctest: +SKIP
    """
    options = options_of(read_concern, write_concern, read_preference, max_commit_time_ms)
    if inspect.iscoroutinefunction(fn):
        raise _awaited(fn)
    made = running(blocking(), client, "loom.with_transaction")

    def attempt(session: Any) -> T:
        with made.attempt():
            result = fn()
            if inspect.iscoroutine(result):
                result.close()
                raise _awaited(fn)
            return result

    result: T = complete(made.run(attempt, options))
    return result


def _awaited(fn: Any) -> TransactionError:
    return TransactionError(
        f"loom.with_transaction: expected a function that makes blocking calls, got {fn!r}, whose "
        "result is to be awaited; write `await loom.aio.with_transaction(...)`"
    )


def options_of(
    read_concern: Any, write_concern: Any, read_preference: Any, max_commit_time_ms: Any
) -> dict[str, Any]:
    """Return what PyMongo's `start_transaction` takes."""
    return {
        "read_concern": read_concern,
        "write_concern": write_concern,
        "read_preference": read_preference,
        "max_commit_time_ms": max_commit_time_ms,
    }


def running(port: Port, client: Any, place: str) -> Transaction:
    """Return a transaction that is to be begun."""
    # Programs without transactions need not load it.
    from .running_transactions import Transaction

    return Transaction(port, client, place)
