"""Which client and database a call uses.

In this order: `using(...)` around the call, the nearest `_client` and `_db` of the class
and its parents, then `connect(...)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timezone, tzinfo
from typing import Any, cast

from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.driver_info import DriverInfo
from pymongo.errors import ConfigurationError

from . import epoch
from .clients import (
    EMBEDDED_REFERENCE_CHUNK,
    REFERENCE_CHUNK,
    AnyClient,
    Connection,
    check_uri,
    text_uri,
)
from .encoding import Naive, codec_options
from .errors import DefinitionError, NotConnected
from .switches import Override, class_options, overrides, using, with_options

__all__ = [
    "AnyClient",
    "Connection",
    "class_options",
    "close",
    "connect",
    "connection_of",
    "find_client",
    "find_collection",
    "find_database",
    "overrides",
    "using",
    "with_options",
]

_default: Connection | None = None


def connect(
    uri: str | Callable[[], str] | MongoClient[Any] | AsyncMongoClient[Any] | None = None,
    *,
    db: str | None = None,
    aio: AsyncMongoClient[Any] | None = None,
    naive: Naive = "utc",
    reference_chunk: int | None = None,
    comment: Any = None,
    read_only: bool = False,
    page_secret: str | bytes | None = None,
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
        comment: sent with every command, for the server's log and profiler.
        read_only: refuse every write of Loom's through this connection with ReadOnly.
        page_secret: signs the tokens of pages, so that nobody can make one up; the same for all
            processes that share them.
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
    _check_options(db, naive, reference_chunk, read_only, page_secret)
    chunk = reference_chunk or REFERENCE_CHUNK
    marks: dict[str, Any] = {
        "comment": comment,
        "read_only": read_only,
        "page_secret": page_secret,
    }
    if isinstance(uri, (MongoClient, AsyncMongoClient)):
        if client_options:
            raise NotConnected(
                f"loom.connect: expected no client options beside a ready client, got "
                f"{', '.join(client_options)}; give them to the client"
            )
        blocking = uri if isinstance(uri, MongoClient) else None
        awaited = uri if isinstance(uri, AsyncMongoClient) else aio
        made = Connection(
            None, client=blocking, aio=awaited, db=db, naive=naive, reference_chunk=chunk, **marks
        )
    else:
        address = _resolve(uri)
        on_close = None
        if isinstance(address, str) and (address == "embedded" or address.startswith("embedded:")):
            address, on_close = _start_embedded(address)
            chunk = reference_chunk or EMBEDDED_REFERENCE_CHUNK
            # On this machine: there soon, or not at all.
            client_options = {"serverSelectionTimeoutMS": 5_000, **client_options}
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
            **marks,
        )
        if isinstance(address, str):
            check_uri(address)
    _default = made
    epoch.advance()
    return made


def close() -> None:
    """Close what `connect` opened and forget it."""
    global _default
    if _default is not None:
        _default.close()
        _default = None
        epoch.advance()


async def close_async() -> None:
    """Close the awaited client of the running loop; the connection stays."""
    if _default is not None:
        await _default.close_async()


def _check_options(
    db: Any, naive: Any, reference_chunk: Any, read_only: Any, page_secret: Any
) -> None:
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
    if not isinstance(read_only, bool):
        raise NotConnected(f"loom.connect: expected read_only=True or False, got {read_only!r}")
    if page_secret is not None and (not isinstance(page_secret, (str, bytes)) or not page_secret):
        raise NotConnected(
            "loom.connect: expected page_secret as text or bytes that are not empty, got "
            f"{type(page_secret).__name__ if page_secret else 'nothing in it'}"
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
    if callable(uri):
        return cast(Callable[[], str], uri)
    return text_uri(uri)


def _start_embedded(address: str) -> tuple[str, Callable[[], None]]:
    # An optional extra, and it stands above this module: imported only when asked for.
    from . import embedded

    where = address.partition(":")[2]
    if where == "memory":
        server = embedded.start(memory=True)
    else:
        server = embedded.start(where or None)
    return server.uri, server.stop


_NO_OPTIONS: dict[Any, Mapping[str, Any]] = {}


# What a class uses now


def connection_of(cls: Any) -> Connection | None:
    """Return the Connection behind a class's calls, None when a bare client is."""
    override = overrides.get()
    client: Any = None if override is None else override.client
    if client is None:
        client = cls._client
    if client is None:
        client = _default
    return client if isinstance(client, Connection) else None


def find_client(cls: Any, aio: bool) -> Any:
    """Return the client that a call of the class uses.

    Raises:
        NotConnected: there is none for this kind of call.
    """
    override = overrides.get()
    client: Any = None if override is None else override.client
    place = None if client is None else "loom.using"
    if client is None:
        client = cls._client
        if client is None:
            client = _default
    if isinstance(client, Connection):
        return client.async_client() if aio else client.client
    if client is None:
        raise NotConnected(
            f"{cls.__name__}: expected a connection, got none; call "
            f"loom.connect('mongodb://host/database') first, or set {cls.__name__}._client"
        )
    check_client(client, aio, place or f"{cls.__name__}._client")
    return client


def check_client(client: Any, aio: bool, place: str) -> None:
    if not isinstance(client, (MongoClient, AsyncMongoClient)):
        raise NotConnected(
            f"{place}: expected a MongoClient, AsyncMongoClient or Connection, got a value of "
            f"type {type(client).__name__}; for a URI write loom.connect(uri)"
        )
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


def _database_name(cls: Any, client: Any) -> str | None:
    override = overrides.get()
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


def find_collection(cls: Any, aio: bool) -> Any:
    """Return the Collection or AsyncCollection that a call of the class uses now."""
    override = overrides.get()
    if override is not None and _is_usual(override):
        override = None
    options = class_options.get(_NO_OPTIONS)
    if override is None and options is _NO_OPTIONS:
        if not aio:
            number, collection = cls._definition.ready
            if number == epoch.current:
                return collection
        return _usual_collection(cls, aio)
    of_class = options.get(cls)
    if override is None and of_class is None:
        return _usual_collection(cls, aio)
    given = {
        **((override.collection_options or {}) if override is not None else {}),
        **(of_class or {}),
    }
    return _collection(cls, find_client(cls, aio), given)


def _is_usual(override: Override) -> bool:
    """Tell a block that leaves the collections as they are."""
    return override.client is None and override.db is None and not override.collection_options


def _usual_collection(cls: Any, aio: bool) -> Any:
    """Return the collection that a class uses outside of `using` and `with_options`."""
    number = epoch.current
    client = find_client(cls, aio)
    connection = connection_of(cls)
    settings = (
        cls._db,
        cls._collection,
        cls._tz_aware,
        None if connection is None else (connection.db, connection.naive),
    )
    definition = cls._definition
    cached = definition.collections.get(aio)
    if cached is not None and cached[0] is client and cached[1] == settings:
        collection = cached[2]
    else:
        collection = _collection(cls, client, {})
        definition.collections[aio] = (client, settings, collection)
    if not aio and definition.is_watched:
        definition.ready = number, collection
    return collection


def _collection(
    cls: Any, client: Any, options: Mapping[str, Any]
) -> Collection[dict[str, Any]] | AsyncCollection[dict[str, Any]]:
    database: Database[dict[str, Any]] | AsyncDatabase[dict[str, Any]] = client[
        _database_name(cls, client)
    ]
    connection = connection_of(cls)
    naive: Naive = "utc" if connection is None else connection.naive
    codecs = codec_options(
        options.get("codec_options") or database.codec_options, cls._tz_aware, naive
    )
    if isinstance(naive, tzinfo) and not codecs.tz_aware and naive is not timezone.utc:
        raise DefinitionError(
            f"{cls.__name__}: expected aware datetimes beside naive={naive!r}, got tz_aware=False; "
            "what is read without zone is UTC, and would be written as another instant; set "
            f"{cls.__name__}._tz_aware = True, or tz_aware=True of the client"
        )
    return database.get_collection(cls._collection, **{**options, "codec_options": codecs})
