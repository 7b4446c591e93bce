"""Connection: clients for one deployment, made when first used."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, ClassVar, Union
from urllib.parse import unquote_plus

import pymongo
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI
from pymongo.uri_parser import parse_uri

from . import epoch
from .encoding import Naive
from .errors import NotConnected

__all__ = [
    "EMBEDDED_REFERENCE_CHUNK",
    "REFERENCE_CHUNK",
    "AnyClient",
    "Connection",
    "check_uri",
    "text_uri",
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
        reference_chunk: how many ids one `$in` query carries at most.
    """

    #: True once this process has made a connection with a comment or a read-only one.
    are_marked: ClassVar[bool] = False

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
        comment: Any = None,
        read_only: bool = False,
        page_secret: str | bytes | None = None,
    ) -> None:
        self._db = db
        self._naive: Naive = naive
        self.reference_chunk = reference_chunk
        self._comment = comment
        self._read_only = read_only
        self._page_secret = page_secret
        if comment is not None or read_only:
            Connection.are_marked = True
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
        self._finalizer: Callable[[], object] | None = None
        self._aio: dict[
            asyncio.AbstractEventLoop, tuple[AsyncClient, AsyncGenerator[None, None]]
        ] = {}

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            if self._client is not None:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "MongoClient opened before fork")
                    self._client.close()  # this process's copies of the parent's sockets
            # Their loop runs in the parent: left alone.
            self._of_parent = self._aio
            self._forget()

    @property
    def db(self) -> str | None:
        """Name of the database, None for the one that the URI names."""
        return self._db

    @db.setter
    def db(self, name: str | None) -> None:
        self._db = name
        epoch.advance()

    @property
    def naive(self) -> Naive:
        """The meaning of datetimes without zone; `"utc"`, `"refuse"` or a zone."""
        return self._naive

    @naive.setter
    def naive(self, meaning: Naive) -> None:
        self._naive = meaning
        epoch.advance()

    @property
    def comment(self) -> Any:
        """What every command carries, None for nothing."""
        return self._comment

    @property
    def read_only(self) -> bool:
        """True when every write of Loom's is refused."""
        return self._read_only

    @property
    def page_secret(self) -> str | bytes | None:
        """What signs the tokens of pages, None for nothing."""
        return self._page_secret

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
                    self._client = self._made()
        made: SyncClient | None = self._client
        assert made is not None  # set above, by this thread or another
        return made

    def _made(self) -> SyncClient:
        client: SyncClient = _make(MongoClient, self._address(), self._options)
        # Nobody has to close a connection. At exit clients end before an embedded server
        # does, which registers earlier: they would wait for one that is gone.
        finalizer = weakref.finalize(self, _end, client, os.getpid())
        finalizer.atexit = False
        atexit.register(finalizer)
        self._finalizer = finalizer
        return client

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
        found = self._aio.get(loop)
        if found is not None:
            return found[0]
        for other in [*self._aio]:
            if other.is_closed():
                del self._aio[other]
        client: AsyncClient = _make(AsyncMongoClient, self._address(), self._options)
        closing = self._closing(client, loop)
        # Begun now, without an await, so that the loop knows it: `asyncio.run` ends all
        # generators of its loop, and with this one the client.
        with contextlib.suppress(StopIteration):
            closing.__anext__().send(None)
        self._aio[loop] = client, closing
        return client

    async def _closing(
        self, client: AsyncClient, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._aio.pop(loop, None)
            await _close(client)

    def _address(self) -> str:
        if callable(self._uri):
            uri = text_uri(self._uri())
            check_uri(uri)
            return uri
        assert self._uri is not None  # both callers checked
        return self._uri

    def close(self) -> None:
        """Close the blocking client, and the embedded server if `connect` started it.

        The next call makes a new client. Clients of event loops are closed by
        `await loom.aio.close()`, or at the end of `asyncio.run`.
        """
        self._check_process()
        finalizer, self._client, self._finalizer = self._finalizer, None, None
        epoch.advance()
        if finalizer is not None:
            finalizer()
            atexit.unregister(finalizer)
        if self._on_close is not None:
            self._on_close()

    async def close_async(self) -> None:
        """Close the client of the running event loop."""
        found = self._aio.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()

    def __repr__(self) -> str:
        if self._uri is None:
            shown = "ready client"
        elif callable(self._uri):
            shown = "URI from a callable"
        else:
            shown = _without_password(self._uri)
        return f"Connection({shown}, db={self.db!r})"


async def _close(client: AsyncClient) -> None:
    if pymongo.version_tuple >= (4, 18):
        await client.close()
        return
    # PyMongo 4.17 ends its sessions through a generator, of which a loop that ends complains.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await client.close()


AnyClient = Union[SyncClient, AsyncClient, Connection]  # noqa: UP007 - an alias for 3.10

# URIs


def text_uri(uri: Any) -> str:
    if not isinstance(uri, str) or not uri:
        raise NotConnected(
            f"loom.connect: expected a URI as str, got a value of type {type(uri).__name__}"
        )
    return uri


#: scheme, user, password, hosts, database and options of a URI that is escaped as it should be
_URI = (
    r"(mongodb(?:\+srv)?)://(?:([^:@/?#]*)(?::([^:@/?#]*))?@)?([^@/?#]*)(/[^@?#]*)?(?:\?([^@#]*))?"
)


def check_uri(uri: str) -> None:
    """Raise NotConnected for a URI that cannot be read; without its secrets."""
    # Parsing a mongodb+srv address asks the DNS: left to the first call.
    if not uri.startswith("mongodb+srv://"):
        try:
            parse_uri(uri)
        except (InvalidURI, ConfigurationError, InvalidName, ValueError) as error:
            raise _unreadable(uri, {}, error) from None


def _make(kind: Any, uri: str, options: Mapping[str, Any]) -> Any:
    try:
        return kind(uri, **options)
    except (InvalidURI, ConfigurationError, InvalidName, ValueError, TypeError) as error:
        raise _unreadable(uri, options, error) from None


def _end(client: SyncClient, process: int) -> None:
    """Close a client in the process that made it; a fork that ends leaves its parent alone."""
    if os.getpid() == process:
        client.close()


def _unreadable(uri: str, options: Mapping[str, Any], error: Exception) -> NotConnected:
    # PyMongo's message may quote any part of what it could not read.
    parts = re.fullmatch(_URI, uri)
    text = str(error)
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        text = "it begins with mongodb:// or mongodb+srv://"
    elif parts is None:
        text = "user name, password and options must be escaped with urllib.parse.quote_plus"
    elif any(secret in text for secret in _secrets(parts, options)):
        text = "check user name, password and options, and that they are escaped"
    return NotConnected(f"loom.connect: expected a MongoDB URI that can be read: {text}")


def _secrets(parts: re.Match[str], options: Mapping[str, Any]) -> set[str]:
    """Return all in a URI and in client options that no message may hold."""
    pairs = [pair.partition("=") for pair in re.split("[&;]", parts[6] or "")]
    # An option that cannot be read has no name to judge it by.
    found = [
        parts[3],
        *(
            n if not sep else value
            for n, sep, value in pairs
            if not sep or re.search(_SECRET, n, re.IGNORECASE)
        ),
    ]
    named = [value for name, value in options.items() if re.search(_SECRET, name, re.IGNORECASE)]
    for value in named:
        found += [*map(str, value.values())] if isinstance(value, Mapping) else [str(value)]
    raw = {text for text in found if text}
    return raw | {unquote_plus(text) for text in raw}


_SECRET = "password|username|properties|token|secret"


def _without_password(uri: str) -> str:
    parts = re.fullmatch(_URI, uri)
    if parts is None:
        return "<uri>"
    user = f"{parts[2]}{':***' if parts[3] else ''}@" if parts[2] else ""
    # The options can hold secrets too (authMechanismProperties, passwords of TLS keys).
    return f"{parts[1]}://{user}{parts[4]}{parts[5] or ''}"
