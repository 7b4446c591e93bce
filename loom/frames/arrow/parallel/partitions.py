"""Loads in parts: ranges of a key, planned from a sample, read by processes or by Dask."""

from __future__ import annotations

import asyncio
import pickle
import pickletools
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from ....clients import text_uri
from ....connection import connection_of
from ....encoding import ENCODING_ERRORS, encode, unencodable
from ....errors import FieldError, PartitionError, QueryError, TransactionError, nearest
from ...id_ranges import behind, holds_text
from ...keysets import beyond
from ...operations.reading import Options
from ...port import Port
from ..asking import Asked
from ..decoding import Decoder
from ..exact import decoded
from ..sources import Command, driver_of
from .key_ranges import Cut, condition, cuts_of
from .part_reading import Call, Loaded, Told
from .workers import WINDOW, Load

__all__ = [
    "WINDOW",
    "Plan",
    "Whole",
    "call_of",
    "check_portable",
    "load_of",
    "plan_of",
    "stream",
    "with_key",
]

T = TypeVar("T")

#: How many batches a part has, more or less. Small parts are begun anew at little cost, and come in
#: their order while others are read.
_BATCHES = 4
#: More parts are not made, whatever the size of the collection.
_MOST = 1_000
#: How many documents of a sample stand for one part, and how many are asked for at most.
_PER_PART = 20
_SAMPLE = 10_000
#: Options of a find that a part cannot have, and why.
_REFUSED = {
    "session": "a session is of one client",
    "skip": "a part does not know what the others have skipped",
    "limit": "a part does not know what the others have read",
    "cursor_type": "a part ends",
    "min": "a part is a range itself",
    "max": "a part is a range itself",
}


class Whole(NamedTuple):
    """A load, as it would be made in one.

    Attributes:
        port: blocking or awaited.
        asked: what is asked for.
        command: what is sent for it.
        decoder: returns a new decoder, without the classes of references.
    """

    port: Port
    asked: Asked
    command: Command
    decoder: partial[Decoder]


@dataclass(frozen=True)
class Plan:
    """What a load in parts reads.

    Attributes:
        call: what the parts share.
        filters: the filter of each part.
        codecs: of the collection, under which filters are encoded.
        texts: whether the server compares text by its bytes.
    """

    call: Call
    filters: list[dict[str, Any]]
    codecs: Any
    texts: bool

    def filter_of(self, number: int, last: bytes = b"") -> bytes:
        """Return the BSON of the filter of a part, behind the place where a batch ended.

        Raises:
            EncodeError: a value in it cannot be stored.
        """
        filter = self.filters[number]
        if last:
            found = decoded(last)[0]
            key, id = found["key"], found["_id"]
            if self.call.key == "_id":
                rest = behind(id, 1, self.codecs)
            else:
                keys = [(self.call.key, 1), ("_id", 1)]
                rest = {"$or": beyond(keys, [key, id], self.codecs)}
            filter = _both(filter, rest)
        try:
            return encode(filter, self.codecs)
        except ENCODING_ERRORS as error:
            raise unencodable(f"{self.call.place} filter", filter, self.codecs, error) from error


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"$and": [one, other]} if one and other else one or other


async def stream(whole: Whole, window: int | None = WINDOW) -> AsyncGenerator[Loaded, None]:
    """Yield the batches of a load in parts; no process is left at its end.

    Args:
        whole: the load.
        window: how many batches of a part may wait, None for any number.

    Raises:
        PartitionError: a part was not read, or not all of it.
    """
    port, call = whole.port, call_of(whole)
    if isinstance(call.connect, Told) and callable(call.connect.uri):
        # Asked here: what gives it may know nothing elsewhere.
        told = replace(call.connect, uri=text_uri(call.connect.uri()))
        call = replace(call, connect=told)
    check_portable(call)
    load = load_of(await plan_of(whole, call), whole.asked, window)
    try:
        await _aside(port, load.start)
        while (loaded := await _aside(port, load.next)) is not None:
            yield loaded
            del loaded  # before the next one comes
        if call.is_counted and not load.is_closed:
            await _check_total(whole, call, load.rows)
    finally:
        await _aside(port, load.close)


async def _check_total(whole: Whole, call: Call, rows: int) -> None:
    """Hold all parts against one count: each may be whole, and two of them hold the same."""
    counted = await whole.port.count(whole.asked.cls, whole.command.filter, call.counting)
    if counted != rows:
        problem = "documents came twice" if rows > counted else "the load is not complete"
        raise PartitionError(
            f"{call.place}: expected the {counted} documents that the server counts in all, got "
            f"{rows} in the parts together; {problem}; load without partitions, or, where "
            "documents come and go meanwhile, leave counted out"
        )


def load_of(plan: Plan, asked: Asked, window: int | None) -> Load:
    """Return the processes that read a plan, not yet started."""
    return Load(
        plan.call,
        len(plan.filters),
        plan.filter_of,
        asked.partitions or 1,
        ordered=asked.ordered,
        window=window,
        texts=plan.texts,
    )


async def _aside(port: Port, function: Callable[[], T]) -> T:
    """Call a function that waits; awaited, in a thread of its own."""
    return await asyncio.to_thread(function) if port.is_async else function()


# What the parts share


def call_of(whole: Whole) -> Call:
    """Return what the parts of a load share.

    Raises:
        QueryError: an option that a part cannot have.
        TransactionError: in a transaction.
    """
    port, asked, command, decoder = whole
    cls, place = asked.cls, f"{asked.place}, partitions"
    key = str(asked.partition_by)
    options = {name: value for name, value in command.options.items() if value is not None}
    if command.stages is not None:
        raise QueryError(
            f"{place}: expected documents to be found, got a pipeline, whose results have no "
            "ranges; leave partitions out"
        )
    for name, why in _REFUSED.items():
        if options.get(name):
            raise QueryError(f"{place}: expected no {name}, got one: {why}; leave it out")
    if port.transaction(cls, options) is not None:
        raise TransactionError(
            f"{place}: expected to be outside of a transaction, which is of one client, got one; "
            "leave partitions out"
        )
    wanted_order = [(key, 1)] if key == "_id" else [(key, 1), ("_id", 1)]
    sort = [*(options.get("sort") or [])]
    if sort and sort != wanted_order[: len(sort)]:
        raise QueryError(
            f"{place}: expected no sort, because the parts come in the order of {key!r}, got "
            f"{sort!r}; leave it out, or name another key with partition_by"
        )
    names = ("_id", *cls._definition.ordered)
    if key.partition(".")[0] not in names and not cls._definition.is_open:
        root = key.partition(".")[0]
        raise FieldError(f"{place}: expected a field, got {root!r}{nearest(root, names)}")
    collection = port.collection(cls)
    return Call(
        place=cls.__name__,
        connect=_connect(port, asked, place),
        database=collection.database.name,
        collection=collection.name,
        settings={
            "read_preference": collection.read_preference,
            "read_concern": collection.read_concern,
        },
        key=key,
        projection=with_key(driver_of(command.columns), key),
        options={**port.options(cls, options), "sort": wanted_order},
        decoder=decoder,
        max_bytes=asked.max_bytes,
        is_counted=asked.counted,
    )


def with_key(projection: dict[str, bool], key: str) -> dict[str, bool]:
    """Return a projection that fetches the key, too."""
    names = key.split(".")
    if names[0] == "_id" or any(".".join(names[: i + 1]) in projection for i in range(len(names))):
        return projection
    return {n: True for n in projection if not n.startswith(f"{key}.")} | {key: True}


def _connect(port: Port, asked: Asked, place: str) -> Callable[[], Any]:
    """Return what makes a client in another process."""
    if asked.connect is not None:
        connect: Callable[[], Any] = asked.connect
        return connect
    connection = port.within(connection_of, asked.cls)
    if connection is None or connection._uri is None:
        raise QueryError(
            f"{place}: expected a connection that other processes can make, too, got a ready "
            "client; connect with loom.connect(uri), or pass connect=, a function of a module "
            "that returns a client"
        )
    return Told(connection._uri, connection._options)


def check_portable(call: Call, *, by_value: bool = False) -> None:
    """Check that another process can be given a call.

    Args:
        call: what it reads.
        by_value: whether functions are taken there as they are, as Dask does.

    Raises:
        QueryError: something in it cannot be taken there.
    """
    shared: list[tuple[str, Any]] = [*call.settings.items(), *call.options.items()]
    if isinstance(call.connect, Told):
        shared += [(f"loom.connect, {n}", value) for n, value in call.connect.options.items()]
    elif not by_value:
        shared.append(("connect", call.connect))
    for name, value in shared:
        if not _is_there(value, by_value):
            raise QueryError(
                f"{call.place}, partitions: expected {name} to be known to other processes, got a "
                f"value of type {type(value).__name__} that cannot be taken there; import it from "
                "a module, or pass connect=, a function of a module that returns a client"
            )


def _is_there(value: Any, by_value: bool) -> bool:
    """Tell whether another process can be given a value, and knows what it is of."""
    function = getattr(value, "func", value)  # of a partial
    if getattr(function, "__module__", None) == "__main__":
        return False
    try:
        packed = pickle.dumps(value)
    except Exception:
        return False
    # Inside of it may be something of this program, whose name means another one there.
    return by_value or not any(name == "__main__" for _, name, _ in pickletools.genops(packed))


# The ranges


async def plan_of(whole: Whole, call: Call, most: int | None = None) -> Plan:
    """Return the parts of a load: ranges of the key that together hold every document once.

    Args:
        whole: the load.
        call: what the parts share.
        most: how many parts there are, or fewer; None for as many as suit the processes.
    """
    port, asked, command, _ = whole
    cls = asked.cls
    wanted = asked.partitions or 1
    base = dict(port.narrowed(cls, command.filter))
    shared = {n: call.options[n] for n in ("comment",) if n in call.options}
    documents = await port.estimate(cls, shared)
    if most is None:
        # No more processes than batches.
        wanted = min(wanted, max(1, -(-documents // asked.batch_rows)))
    parts = max(wanted, min(documents // (_BATCHES * asked.batch_rows), _MOST))
    parts = parts if most is None else min(parts, most)
    size = max(2 * wanted, min(_SAMPLE, max(100 * wanted, _PER_PART * parts)))
    try:
        values = await _sample(port, cls, call, [{"$sample": {"size": size}}, *_matching(base)])
    except OperationFailure:
        # Of what no stage can match, such as $text, the whole collection stands for.
        matched: dict[str, Any] = {}
        values = await _sample(port, cls, call, [{"$sample": {"size": size}}])
    else:
        matched = base
    if matched and len(values) < min(size, documents) // 2:
        # What is wanted is rare. Its parts are counted by their share of the sample.
        parts = max(wanted, parts * len(values) // max(1, size))
        if len(values) < _PER_PART * wanted:
            size = _PER_PART * wanted
            values = await _sample(port, cls, call, [*_matching(base), {"$sample": {"size": size}}])
    cuts = cuts_of(values, parts)
    ends: list[tuple[Cut | None, Cut | None]] = [*zip([None, *cuts], [*cuts, None], strict=True)]
    filters = [_both(base, condition(call.key, lower, upper)) for lower, upper in ends]
    texts = any(map(holds_text, values)) and await _has_plain_texts(port, cls, call)
    return Plan(call, filters, port.collection(cls).codec_options, texts)


async def _has_plain_texts(port: Port, cls: Any, call: Call) -> bool:
    """Tell whether no collation, of the call or the collection, decides how text is compared."""
    if call.options.get("collation"):
        return False
    collection = port.collection(cls)
    asked: Options = {"filter": {"name": collection.name}}
    asked |= {n: call.options[n] for n in ("comment",) if n in call.options}
    try:
        cursor = await port.call(collection.database.list_collections, **asked)
        found = await port.call(cursor.to_list)
    except OperationFailure:
        return False  # not everybody may ask
    return bool(found) and not any(one.get("options", {}).get("collation") for one in found)


def _matching(filter: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"$match": filter}] if filter else []


async def _sample(port: Port, cls: Any, call: Call, stages: list[dict[str, Any]]) -> list[Any]:
    """Return values of the key in the server's order, whose collation may be its own."""
    stages = [*stages, {"$sort": {call.key: 1}}, {"$project": {"_id": 0, "key": f"${call.key}"}}]
    shared: Options = {n: call.options[n] for n in ("collation", "comment") if n in call.options}
    shared["batchSize"] = _SAMPLE + 1  # all in one reply, where its size allows that
    collection = port.collection(cls)
    codecs = collection.codec_options.with_options(document_class=RawBSONDocument)
    collection = collection.with_options(codec_options=codecs)
    cursor = await port.call(collection.aggregate, stages, **port.options(cls, shared))
    raw = b"".join([document.raw for document in await port.call(cursor.to_list)])
    found = [document.get("key") for document in decoded(raw)]
    return found if call.key == "_id" else [one for one in found if not isinstance(one, list)]
