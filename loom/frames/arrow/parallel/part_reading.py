"""A part of a load, as it is read: by a process that knows no class, only what is sent for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import bson
import pyarrow as pa
from bson import DBRef, ObjectId, Regex
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from ....clients import Connection
from ....errors import NotConnected, QueryError
from ...id_ranges import holds_text
from ...paths import MISSING, ancestors, lookup
from ..columns import Schema
from ..decoding import Decoder
from ..exact import decoded
from ..raw import last_of, parts_of, take_bytes
from ..types import is_object_id

__all__ = ["Call", "Loaded", "Told", "client_of", "read"]


@dataclass(frozen=True, repr=False)  # which would show the secrets
class Told:
    """What `loom.connect` was told: how another process makes a client of its own."""

    uri: str | Callable[[], str]
    options: Mapping[str, Any]

    def __call__(self) -> Connection:
        return Connection(self.uri, options=self.options)


@dataclass(frozen=True)
class Call:
    """What all parts of a load share. It can go to another process.

    Attributes:
        place: what errors begin with.
        connect: returns a client, a Connection or a URI.
        database: its name.
        collection: its name.
        settings: of the collection.
        key: the path whose values the ranges are of.
        projection: what is fetched.
        options: for PyMongo's `find_raw_batches`.
        decoder: returns a new decoder.
        max_bytes: as for a load in one.
        is_counted: whether the server counts each part, too.
    """

    place: str
    connect: Callable[[], Any]
    database: str
    collection: str
    settings: Mapping[str, Any]
    key: str
    projection: Mapping[str, Any]
    options: Mapping[str, Any]
    decoder: partial[Decoder]
    max_bytes: int | None = None
    is_counted: bool = False

    def collection_of(self, client: MongoClient[Any]) -> Any:
        """Return the collection as a client sees it."""
        return client[self.database].get_collection(self.collection, **self.settings)

    @property
    def counting(self) -> dict[str, Any]:
        """The options that a count of its documents has as well."""
        shared = ("hint", "collation", "comment")
        return {name: self.options[name] for name in shared if name in self.options}

    def count(self, client: MongoClient[Any], filter: bytes) -> int:
        """Return how many documents a part has by the server's count."""
        collection = self.collection_of(client)
        return int(collection.count_documents(RawBSONDocument(filter), **self.counting))


def client_of(call: Call) -> tuple[MongoClient[Any], Callable[[], None]]:
    """Return a client of this process for a call, and what closes it.

    Raises:
        NotConnected: what the call names gives none.
    """
    made = call.connect()
    if isinstance(made, str):
        made = Connection(made)
    if isinstance(made, Connection):
        return made.client, made.close  # which keeps the connection, and with it the client
    if not isinstance(made, MongoClient):
        raise NotConnected(
            f"{call.place}: expected connect= to return a MongoClient, a Connection or a URI, got "
            f"a value of type {type(made).__name__}"
        )
    return made, made.close


class Loaded(NamedTuple):
    """A batch of a part.

    Attributes:
        batch: the record batch.
        last: the BSON of key and `_id` of its last document, b"" where reading cannot go on there.
        mismatches: by column, in how many of its rows a value did not fit.
        first: the same as `last` of the first document of the part, of its first batch only.
    """

    batch: Any
    last: bytes
    mismatches: dict[str, int]
    first: bytes = b""


def read(
    call: Call, client: MongoClient[Any], filter: bytes, *, is_placed: bool = True
) -> Generator[Loaded, None, None]:
    """Yield the batches of a part; the cursor is closed at the end.

    Args:
        call: what is read.
        client: of this process.
        filter: the BSON of the filter of the part.
        is_placed: whether it is told where each batch ends.

    Raises:
        SchemaError: a value does not fit, and the call is to raise.
        QueryError: a document has a list at the key.
    """
    decoder = call.decoder()
    columns: Schema = call.decoder.args[0]
    cursor = take_bytes(
        call.collection_of(client).find_raw_batches(
            RawBSONDocument(filter), dict(call.projection), **call.options
        )
    )
    before: Counter[str] = Counter()
    is_first = is_placed
    try:
        for reply in cursor:
            _refuse_lists(call, reply)
            for raw in parts_of(reply, call.max_bytes):
                batch = decoder.batch(raw)
                first = _first(call, raw) if is_first else b""
                is_first = is_first and not batch.num_rows
                last = _last(call, columns, batch, raw) if is_placed else b""
                after = Counter(decoder.mismatches)
                yield Loaded(batch, last, dict(after - before), first)
                before = after
    finally:
        cursor.close()


def _refuse_lists(call: Call, raw: bytes) -> None:
    """Refuse documents that several ranges find."""
    if not any(b"\x04%s\0" % name.encode() in raw for name in call.key.split(".")):
        return
    places = (*ancestors(call.key), call.key)
    for document in decoded(raw):
        if any(isinstance(lookup(document, place), list) for place in places):
            raise QueryError(
                f"{call.place}: expected one value of {call.key!r} in each document to make "
                f"ranges of, got a list in the document with _id={document['_id']!r}; leave "
                "partition_by out, name another field, or leave such documents out by the filter"
            )


# Where a batch begins and ends


def _first(call: Call, raw: bytes) -> bytes:
    """Return key and `_id` of the first document."""
    return _told(call, raw[: int.from_bytes(raw[:4], "little")]) if raw else b""


def _last(call: Call, columns: Schema, batch: Any, raw: bytes) -> bytes:
    """Return key and `_id` of the last document, from the columns where they hold all of it."""
    if not batch.num_rows:
        return b""
    paths = dict.fromkeys((call.key, "_id"))
    found = {path: _in_columns(columns, batch, path) for path in paths}
    if None in found.values():
        return _told(call, last_of(raw))
    return _packed(call, found)


def _told(call: Call, raw: bytes) -> bytes:
    """Return key and `_id` of a document, b"" where a filter does not find what comes behind."""
    document = decoded(raw)[0]
    there = {path: lookup(document, path) for path in (call.key, "_id")}
    found = {path: None if value is MISSING else value for path, value in there.items()}
    if not all(_is_comparable(path, value, raw) for path, value in found.items()):
        return b""
    return _packed(call, found)


def _packed(call: Call, found: Mapping[str, Any]) -> bytes:
    if call.options.get("collation") and any(map(holds_text, found.values())):
        return b""  # others may be equal to it
    return bson.encode({"key": found[call.key], "_id": found["_id"]})


def _is_comparable(path: str, value: Any, document: bytes) -> bool:
    """Tell whether a filter finds what comes behind a value."""
    if value is None or isinstance(value, DBRef):
        # Undefined is read as null, and a pointer as a document, which are something else.
        name = path.rpartition(".")[2].encode()
        return b"%c%s\0" % (0x06 if value is None else 0x0C, name) not in document
    return not isinstance(value, Regex)  # which finds what it matches


def _in_columns(columns: Schema, batch: Any, path: str) -> Any:
    """Return the value of the last document at a path from its column, None where that may differ."""
    for position, column in enumerate(columns):
        if column.path != path:
            continue
        values = batch.column(position)
        if not values[-1].is_valid:
            return None
        if is_object_id(column.type):
            if is_object_id(values.type):
                values = values.storage
            return ObjectId(values[-1].as_py())
        if pa.types.is_timestamp(column.type) and column.type.unit == "ms":
            return DatetimeMS(values[-1].value)
    return None
