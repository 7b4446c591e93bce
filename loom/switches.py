"""What a block of code switches: client, database, options, comment, transaction, read-only."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import AsyncMongoClient, MongoClient

from . import epoch
from .clients import AnyClient, Connection
from .errors import NotConnected, QueryError

if TYPE_CHECKING:
    from .running_transactions import Transaction

__all__ = ["Override", "class_options", "overrides", "read_only", "using", "with_options"]


class Override(NamedTuple):
    """What holds for the calls of the running block."""

    client: AnyClient | None = None
    db: str | None = None
    collection_options: Mapping[str, Any] | None = None
    comment: Any = None
    transaction: Transaction | None = None


overrides: ContextVar[Override | None] = ContextVar("loom.using", default=None)
class_options: ContextVar[Mapping[Any, Mapping[str, Any]]] = ContextVar("loom.with_options")


@contextmanager
def using(
    client: AnyClient | None = None,
    db: str | None = None,
    collection_options: Mapping[str, Any] | None = None,
    *,
    comment: Any = None,
) -> Iterator[None]:
    """Make all Loom calls inside the block use another client, database, options or comment.

    Holds for the running thread or task and what it starts, blocking and awaited calls
    alike; other threads and tasks are not touched. An inner block keeps what it does not set.

    Args:
        client: a MongoClient, an AsyncMongoClient or a Connection.
        db: name of the database.
        collection_options: as for `Collection.with_options`: read_preference, read_concern,
            write_concern, codec_options.
        comment: sent with every command, for the server's log and profiler; a call's own
            `comment=` goes before it.

    >>> import loom
    >>> with loom.using(db="archive", comment="nightly report"):
    ...     pass
    """
    if client is not None and not isinstance(client, (MongoClient, AsyncMongoClient, Connection)):
        raise NotConnected(f"loom.using: expected a client or a Connection, got {client!r}")
    if db is not None and (not isinstance(db, str) or not db):
        raise NotConnected(f"loom.using: expected the name of a database, got db={db!r}")
    if collection_options is not None:
        _check_collection_options("loom.using", collection_options)
    outer = overrides.get() or Override()
    token = overrides.set(
        Override(
            outer.client if client is None else client,
            outer.db if db is None else db,
            {**(outer.collection_options or {}), **(collection_options or {})},
            outer.comment if comment is None else comment,
            outer.transaction,
        )
    )
    try:
        yield
    finally:
        overrides.reset(token)


@contextmanager
def with_options(cls: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Give the collection of one class (not of its children) options inside the block."""
    _check_collection_options(f"{cls.__name__}.with_options", options)
    outer = class_options.get({})
    token = class_options.set({**outer, cls: {**outer.get(cls, {}), **options}})
    try:
        yield
    finally:
        class_options.reset(token)


_COLLECTION_OPTIONS = frozenset(
    {"codec_options", "read_preference", "write_concern", "read_concern"}
)


def _check_collection_options(place: str, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _COLLECTION_OPTIONS:
            raise QueryError(
                f"{place}: expected {', '.join(sorted(_COLLECTION_OPTIONS))}, got {name!r}"
            )


#: How many `read_only` blocks are open in this process.
read_only_blocks = 0
_counting = threading.Lock()


@contextmanager
def read_only() -> Iterator[None]:
    """Refuse every write of Loom's inside the block, in all threads and tasks of the process.

    A write raises ReadOnly before anything is sent and before any listener is called. Blocks may
    be nested and overlap; writing is possible again when the last one has ended.

    >>> import loom
    >>> with loom.read_only():
    ...     pass
    """
    global read_only_blocks
    with _counting:
        read_only_blocks += 1
        epoch.advance()
    try:
        yield
    finally:
        with _counting:
            read_only_blocks -= 1
            epoch.advance()
