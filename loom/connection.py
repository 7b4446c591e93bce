"""Which client and database a call uses.

In this order: `using(...)` around the call, the nearest `_client` and `_db` of the class
and its parents, then `connect(...)`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Union
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.driver_info import DriverInfo
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI

from .errors import NotConnected, QueryError
from .encoding import Naive, codec_options

__all__ = [
    "AnyClient",
    "Connection",
    "close",
    "connect",
    "connection_of",
    "find_client",
    "find_collection",
    "find_database",
    "using",
    "with_options",
]

#: A server's own cost of `$in` makes smaller chunks slower: 1.2 times at 1,000, 2.1 times at 100.
REFERENCE_CHUNK = 5_000
#: The embedded server's `$in` costs the square of its ids.
EMBEDDED_REFERENCE_CHUNK = 25

SyncClient = MongoClient[dict[str, Any]]
AsyncClient = AsyncMongoClient[dict[str, Any]]


class Connection:
    """Clients for one deployment, made when first used.

    A blocking client is made once per process, an awaited one once per running event loop;
    after a fork both are made anew.

    Attributes:
        db: name of the database, None for the one that the URI names.
        naive: what datetimes without zone mean: `"utc"`, `"refuse"` or a zone.
        reference_chunk: how many ids one `$in` query carries at most.
    """

    def __init__(
        self,
        uri: str | Callable[[], str] | None,
        *,
        client: SyncClient | None = None,
        aio: AsyncClient | None = None,
        db: str | None = None,
        naive: Naive = "utc",
        reference_chunk: int = REFERENCE_CHUNK,
        options: Mapping[str, Any] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.db = db
        self.naive = naive
        self.reference_chunk = reference_chunk
        self._uri = uri
        self._options = dict(options or {})
        self._ready_client = client
        self._ready_aio = aio
        self._on_close = on_close
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._client: SyncClient | None = None
        self._aio: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = (
            weakref.WeakKeyDictionary()
        )

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._forget()

    @property
    def client(self) -> SyncClient:
        """The blocking client.

        Raises:
            NotConnected: only an AsyncMongoClient was given to `connect`.
        """
        if self._ready_client is not None:
            return self._ready_client
        self._check_process()
        if self._client is None:
            if self._uri is None:
                raise NotConnected(
                    "loom.connect: expected a MongoClient for a blocking call, got only an "
                    "AsyncMongoClient; await the call through .aio, or connect with a URI"
                )
            with self._lock:
                if self._client is None:
                    self._client = _make(MongoClient, self._address(), self._options)
        return self._client

    def async_client(self) -> AsyncClient:
        """Return the client of the running event loop.

        Raises:
            NotConnected: no loop is running, or only a MongoClient was given to `connect`.
        """
        if self._ready_aio is not None:
            return self._ready_aio
        if self._uri is None:
            raise NotConnected(
                "loom.connect: expected an AsyncMongoClient for an awaited call, got only a "
                "MongoClient; pass aio=AsyncMongoClient(...), or connect with a URI"
            )
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NotConnected(
                "loom.connect: expected a running event loop for an awaited call, got none; "
                "make the blocking call without .aio"
            ) from None
        self._check_process()
        client = self._aio.get(loop)
        if client is None:
            client = self._aio[loop] = _make(AsyncMongoClient, self._address(), self._options)
        return client

    def _address(self) -> str:
        if callable(self._uri):
            return _text(self._uri())
        assert self._uri is not None  # both callers checked
        return self._uri

    def close(self) -> None:
        """Close the blocking client, and the embedded server if `connect` started it.

        Clients of event loops are closed by `await loom.aio.close()`.
        """
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()
        if self._on_close is not None:
            self._on_close()

    async def close_async(self) -> None:
        """Close the client of the running event loop."""
        client = self._aio.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def __repr__(self) -> str:
        if self._ready_client is not None or self._ready_aio is not None:
            shown = "ready client"
        elif callable(self._uri):
            shown = "URI from a callable"
        else:
            shown = _without_password(str(self._uri))
        return f"Connection({shown}, db={self.db!r})"


AnyClient = Union[SyncClient, AsyncClient, Connection]  # noqa: UP007 - an alias for 3.10

_default: Connection | None = None


def connect(
    uri: str | Callable[[], str] | SyncClient | AsyncClient | None = None,
    *,
    db: str | None = None,
    aio: AsyncClient | None = None,
    naive: Naive = "utc",
    reference_chunk: int | None = None,
    **client_options: Any,
) -> Connection:
    """Set the connection that classes without a client of their own use.

    Nothing is sent: clients are made when a call first needs one.

    Args:
        uri: `mongodb://...`, a callable that returns one (for secret managers), a ready
            MongoClient or AsyncMongoClient, or `"embedded"`, `"embedded:memory"`,
            `"embedded:DIRECTORY"` for the embedded server. None takes the environment
            variable LOOM_URI, else MONGODB_URI.
        db: name of the database; without it the one that the URI names.
        aio: an AsyncMongoClient for awaited calls beside a ready MongoClient.
        naive: what a datetime without zone means when it is written: `"utc"`, a zone
            (`zoneinfo.ZoneInfo(...)`), or `"refuse"`.
        reference_chunk: how many ids one query for references carries at most;
            5,000 by default, 25 on the embedded server.
        client_options: for the clients that are made, as PyMongo names them. Loom asks for
            aware UTC datetimes (`tz_aware=True`) and standard UUIDs unless told otherwise;
            a ready client keeps its own options.

    Returns:
        The connection; its `close()` ends it.

    Raises:
        NotConnected: no URI anywhere, one that cannot be read, or no embedded server.

    >>> import loom
    >>> loom.connect("mongodb://localhost/zoo", serverSelectionTimeoutMS=2000)
    Connection(mongodb://localhost/zoo, db=None)
    """
    global _default
    _check_options(db, naive, reference_chunk)
    chunk = reference_chunk or REFERENCE_CHUNK
    if isinstance(uri, (MongoClient, AsyncMongoClient)):
        if client_options:
            raise NotConnected(
                f"loom.connect: expected no client options beside a ready client, got "
                f"{', '.join(client_options)}; give them to the client"
            )
        blocking = uri if isinstance(uri, MongoClient) else None
        awaited = uri if isinstance(uri, AsyncMongoClient) else aio
        made = Connection(
            None, client=blocking, aio=awaited, db=db, naive=naive, reference_chunk=chunk
        )
    else:
        address = _resolve(uri)
        on_close = None
        if isinstance(address, str) and (address == "embedded" or address.startswith("embedded:")):
            address, on_close = _start_embedded(address)
            chunk = reference_chunk or EMBEDDED_REFERENCE_CHUNK
        options = {
            "tz_aware": True,
            "uuidRepresentation": "standard",
            "driver": DriverInfo("Loom"),
            **client_options,
        }
        made = Connection(
            address,
            aio=aio,
            db=db,
            naive=naive,
            reference_chunk=chunk,
            options=options,
            on_close=on_close,
        )
        if isinstance(address, str):
            _check_uri(address)
    _default = made
    return made


def close() -> None:
    """Close what `connect` opened and forget it."""
    global _default
    if _default is not None:
        _default.close()
        _default = None


async def close_async() -> None:
    """Close the awaited client of the running loop; the connection stays."""
    if _default is not None:
        await _default.close_async()


def _check_options(db: Any, naive: Any, reference_chunk: Any) -> None:
    if db is not None and (not isinstance(db, str) or not db):
        raise NotConnected(f"loom.connect: expected the name of a database, got db={db!r}")
    if naive not in ("utc", "refuse") and not isinstance(naive, tzinfo):
        raise NotConnected(
            f"loom.connect: expected naive='utc', 'refuse' or a zone, got naive={naive!r}"
        )
    if reference_chunk is not None and (
        not isinstance(reference_chunk, int) or reference_chunk < 1
    ):
        raise NotConnected(
            f"loom.connect: expected reference_chunk of at least 1, got {reference_chunk!r}"
        )


def _resolve(uri: Any) -> str | Callable[[], str]:
    if uri is None:
        uri = os.environ.get("LOOM_URI") or os.environ.get("MONGODB_URI")
        if not uri:
            raise NotConnected(
                "loom.connect: expected a URI, got none, and neither LOOM_URI nor MONGODB_URI "
                "is set; write loom.connect('mongodb://host/database'), or "
                "loom.connect('embedded') for a server on this machine"
            )
    return uri if callable(uri) else _text(uri)


def _text(uri: Any) -> str:
    if not isinstance(uri, str) or not uri:
        raise NotConnected(
            f"loom.connect: expected a URI as str, got a value of type {type(uri).__name__}"
        )
    return uri


def _start_embedded(address: str) -> tuple[str, Callable[[], None]]:
    # An optional extra, and it stands above this module: imported only when asked for.
    from . import embedded

    where = address.partition(":")[2]
    if where == "memory":
        server = embedded.start(memory=True)
    else:
        server = embedded.start(where or None)
    return server.uri, server.stop


def _check_uri(uri: str) -> None:
    # Parsing a mongodb+srv address asks the DNS: left to the first call.
    if not uri.startswith("mongodb+srv://"):
        from pymongo.uri_parser import parse_uri

        try:
            parse_uri(uri)
        except (InvalidURI, ConfigurationError, InvalidName, ValueError) as error:
            raise _unreadable(uri, error) from None


def _make(kind: Any, uri: str, options: Mapping[str, Any]) -> Any:
    try:
        return kind(uri, **options)
    except (InvalidURI, ConfigurationError, InvalidName, ValueError) as error:
        raise _unreadable(uri, error) from None


def _unreadable(uri: str, error: Exception) -> NotConnected:
    # A password with unescaped characters ends up in PyMongo's message: keep only what
    # holds nothing of the address.
    text = str(error)
    secret = uri.partition("://")[2].rpartition("@")[0]
    pieces = [piece for piece in _pieces(secret) if len(piece) > 1]
    if any(piece in text for piece in pieces):
        text = "user name and password must be escaped with urllib.parse.quote_plus"
    return NotConnected(f"loom.connect: expected a MongoDB URI that can be read: {text}")


def _pieces(secret: str) -> list[str]:
    for mark in "/?@:#[]":
        secret = secret.replace(mark, "\n")
    return secret.split("\n")


def _without_password(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "<uri>"
    hosts = parts.netloc.rpartition("@")[2]
    user = parts.username
    # A query can hold secrets too (authMechanismProperties, TLS key passwords).
    return f"{parts.scheme}://{f'{user}:***@' if user else ''}{hosts}{parts.path}"


# A switch for a block of code


@dataclass(frozen=True)
class _Override:
    client: AnyClient | None = None
    db: str | None = None
    collection_options: Mapping[str, Any] | None = None


_using: ContextVar[_Override | None] = ContextVar("loom.using", default=None)
_class_options: ContextVar[Mapping[Any, Mapping[str, Any]]] = ContextVar("loom.with_options")


@contextmanager
def using(
    client: AnyClient | None = None,
    db: str | None = None,
    collection_options: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Make all Loom calls inside the block use another client, database or options.

    Holds for the running thread or task and what it starts, blocking and awaited calls
    alike; other threads and tasks are not touched. An inner block keeps what it does not set.

    Args:
        client: a MongoClient, an AsyncMongoClient or a Connection.
        db: name of the database.
        collection_options: as for `Collection.with_options`: read_preference, read_concern,
            write_concern, codec_options.

    >>> import loom
    >>> with loom.using(db="archive"):
    ...     pass
    """
    if client is not None and not isinstance(client, (MongoClient, AsyncMongoClient, Connection)):
        raise NotConnected(f"loom.using: expected a client or a Connection, got {client!r}")
    if db is not None and (not isinstance(db, str) or not db):
        raise NotConnected(f"loom.using: expected the name of a database, got db={db!r}")
    if collection_options is not None:
        _check_collection_options("loom.using", collection_options)
    outer = _using.get() or _Override()
    token = _using.set(
        _Override(
            outer.client if client is None else client,
            outer.db if db is None else db,
            {**(outer.collection_options or {}), **(collection_options or {})},
        )
    )
    try:
        yield
    finally:
        _using.reset(token)


@contextmanager
def with_options(cls: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Give the collection of one class (not of its children) options inside the block."""
    _check_collection_options(f"{cls.__name__}.with_options", options)
    outer = _class_options.get({})
    token = _class_options.set({**outer, cls: {**outer.get(cls, {}), **options}})
    try:
        yield
    finally:
        _class_options.reset(token)


_COLLECTION_OPTIONS = frozenset(
    {"codec_options", "read_preference", "write_concern", "read_concern"}
)


def _check_collection_options(place: str, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _COLLECTION_OPTIONS:
            raise QueryError(
                f"{place}: expected {', '.join(sorted(_COLLECTION_OPTIONS))}, got {name!r}"
            )


# What a class uses now


def connection_of(cls: Any) -> Connection | None:
    """Return the Connection behind a class's calls, None when a bare client is."""
    override = _using.get()
    client = (override and override.client) or cls._client or _default
    return client if isinstance(client, Connection) else None


def find_client(cls: Any, aio: bool) -> Any:
    """Return the client that a call of the class uses.

    Raises:
        NotConnected: there is none for this kind of call.
    """
    override = _using.get()
    client: Any = None if override is None else override.client
    place = "loom.using"
    if client is None:
        client = cls._client
        place = f"{cls.__name__}._client"
        if client is None:
            client = _default
            if client is None:
                raise NotConnected(
                    f"{cls.__name__}: expected a connection, got none; call "
                    "loom.connect('mongodb://host/database') first, or set "
                    f"{cls.__name__}._client"
                )
    if isinstance(client, Connection):
        return client.async_client() if aio else client.client
    if aio and isinstance(client, MongoClient):
        raise NotConnected(
            f"{place}: expected an AsyncMongoClient for an awaited call, got a MongoClient; "
            "use loom.connect(uri), which makes both"
        )
    if not aio and isinstance(client, AsyncMongoClient):
        raise NotConnected(
            f"{place}: expected a MongoClient for a blocking call, got an AsyncMongoClient; "
            "await the call through .aio, or use loom.connect(uri), which makes both"
        )
    return client


def _database_name(cls: Any, client: Any) -> str | None:
    override = _using.get()
    if override is not None and override.db is not None:
        return override.db
    name = cls._db
    if name is not None:
        return str(getattr(name, "name", name))
    connection = connection_of(cls)
    if connection is not None and connection.db is not None:
        return connection.db
    try:
        return str(client.get_default_database().name)
    except ConfigurationError:
        raise NotConnected(
            f"{cls.__name__}: expected the name of a database, got a connection without one; "
            "write it into the URI (mongodb://host/database), pass loom.connect(..., db=...) "
            f"or set {cls.__name__}._db"
        ) from None


def find_database(cls: Any, aio: bool) -> Any:
    """Return the Database or AsyncDatabase that a call of the class uses."""
    client = find_client(cls, aio)
    return client[_database_name(cls, client)]


def find_collection(cls: Any, aio: bool, options: Mapping[str, Any]) -> Any: ...


def find_collection(cls: Any, aio: bool) -> Any:
    """Return the Collection or AsyncCollection that a call of the class uses now."""
    client = find_client(cls, aio)
    override = _using.get()
    of_class = _class_options.get({}).get(cls)
    if override is None and of_class is None:
        connection = connection_of(cls)
        settings = (
            cls._db,
            cls._collection,
            cls._tz_aware,
            None if connection is None else connection.db,
        )
        cached = cls._definition.collections.get(aio)
        if cached is not None and cached[0] is client and cached[1] == settings:
            return cached[2]
        collection = _collection(cls, client, {})
        cls._definition.collections[aio] = (client, settings, collection)
        return collection
    given = {
        **((override.collection_options or {}) if override is not None else {}),
        **(of_class or {}),
    }
    return _collection(cls, client, given)


def _collection(
    cls: Any, client: Any, options: Mapping[str, Any]
) -> Collection[dict[str, Any]] | AsyncCollection[dict[str, Any]]:
    database: Database[dict[str, Any]] | AsyncDatabase[dict[str, Any]] = client[
        _database_name(cls, client)
    ]
    codecs = options.get("codec_options") or database.codec_options
    return database.get_collection(
        cls._collection, **{**options, "codec_options": codec_options(codecs, cls._tz_aware)}
    )
