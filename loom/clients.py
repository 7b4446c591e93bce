"""Connection: clients for one deployment, made when first used."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Union
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI

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
        self.naive: Naive = naive
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
        made: SyncClient | None = self._client
        assert made is not None  # set above, by this thread or another
        return made

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
            return text_uri(self._uri())
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

# URIs


def text_uri(uri: Any) -> str:
    if not isinstance(uri, str) or not uri:
        raise NotConnected(
            f"loom.connect: expected a URI as str, got a value of type {type(uri).__name__}"
        )
    return uri


def check_uri(uri: str) -> None:
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
