"""Loads in parts: the same rows as in one, whatever becomes of the processes that read them."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Annotated, Any

import bson
import pytest
from bson import Binary, Decimal128, MaxKey, MinKey, ObjectId, Timestamp
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, InvalidOperation, OperationFailure
from pymongo.monitoring import CommandListener

import loom
from loom import (
    FieldError,
    Frame,
    PartitionError,
    Q,
    QueryError,
    Ref,
    SchemaError,
    TransactionError,
)

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow.parquet as pq

from loom.frames import arrow
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.parallel import partitions, workers
from loom.frames.arrow.parallel.key_ranges import Cut
from loom.frames.arrow.parallel.part_reading import Call, client_of, read
from loom.frames.arrow.parallel.serving import _told
from loom.frames.arrow.parallel.workers import Load

from .conftest import Runtime, Server
from .faults import fault


class Egg(Frame):
    """A document of these tests."""

    number: int
    colour: str | None


class Clutch(Egg):
    """The same as a view."""


class Started(list[Any]):
    """The processes that were started."""

    def kill(self) -> None:
        """End those that run, with no chance to say anything."""
        for process in self:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)

    def are_gone(self) -> bool:
        """Tell whether none runs, and all that they wrote to is closed."""
        return all(one.returncode is not None and one.stdout.closed for one in self)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """The processes of a test, none of which is left at its end."""
    found = Started()

    def start(*args: Any, **options: Any) -> Any:
        found.append(real(*args, **options))
        return found[-1]

    real = workers.Popen
    monkeypatch.setattr(workers, "Popen", start)
    yield found
    assert found.are_gone()


@pytest.fixture
def eggs(server: Server, db: str) -> list[dict[str, Any]]:
    """A connection that other processes can make, and documents behind it."""
    loom.connect(server.uri, db=db)
    documents = [{"_id": n, "number": n * n, "colour": f"c{n % 7}"} for n in range(1_000)]
    Egg.get_collection().insert_many([*reversed(documents)])
    return documents


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Leave no client."""
    yield
    loom.close()


async def end(call: Runtime) -> None:
    """Close the client of the event loop, if there is one."""
    if call.is_async:
        await loom.aio.close()


KEYS = [
    MinKey(), None, math.nan, -5, 0.5, 7, Decimal128("8.5"), "", "a", "b", {}, {"a": 1}, b"x",
    Binary(b"x" * 16, 4), ObjectId(b"a" * 12), ObjectId(b"b" * 12), False, True, Timestamp(1, 1),
    MaxKey(),
]  # fmt: skip


async def test_ids_of_all_types(call: Runtime, started: Started, server: Server, db: str) -> None:
    """The union of the parts is the collection, in the order of `_id`."""
    loom.connect(server.uri, db=db)
    Egg.get_collection().insert_many([{"_id": id, "number": n} for n, id in enumerate(KEYS)])
    columns = {"projection": ["number"], "batch_rows": 2}
    whole = await call(arrow).table(Egg, sort="_id", **columns)
    found = await call(arrow).table(Egg, partitions=2, **columns)

    assert sorted(range(len(KEYS))) == sorted(found["number"].to_pylist())
    assert whole.equals(found)
    assert 2 == len(started)
    await end(call)


async def test_keys_that_are_absent(call: Runtime, started: Started, eggs: list[Any]) -> None:
    """A field makes ranges, too, where it is null or absent as well, and rows come as they do."""
    Egg.get_collection().insert_many(
        [{"_id": -n, "number": -n, **({"colour": None} if n % 2 else {})} for n in range(1, 30)]
    )
    how: dict[str, Any] = {"partition_by": Q.colour, "batch_rows": 50, "ids": "hex"}
    told: list[Any] = []
    found = await call(arrow).dataframe(
        Egg,
        Q.number < Decimal(250_000),
        partitions=2,
        ordered=False,
        counted=True,
        schema={"_id": int, "number": int, "colour": str},
        projection=["_id", "number", "colour"],
        progress=lambda *numbers: told.append(numbers),
        **how,
    )

    assert [*range(-29, 500)] == sorted(found["_id"])
    assert (529, 529) == told[-1]
    await end(call)


def test_few_documents_and_none(started: Started, server: Server, db: str) -> None:
    """There are no more processes than batches, and one for nothing."""
    loom.connect(server.uri, db=db)
    assert 0 == arrow.table(Egg, partitions=4).num_rows
    assert 1 == len(started)
    Egg.get_collection().insert_many([{"number": n} for n in range(2)])

    assert [0, 1] == arrow.table(Egg, partitions=9)["number"].to_pylist()
    assert 2 == len(started)


def test_a_filter_that_no_stage_takes(
    started: Started, server: Server, eggs: list[dict[str, Any]]
) -> None:
    """Where the server refuses to match a sample, one of the whole collection makes the ranges."""
    with fault(server, "aggregate", times=1, errorCode=17313, errorLabels=[]):
        found = arrow.table(Egg, Q.number < 250_000, partitions=1, schema={"number": int})

    assert [one["number"] for one in eggs[:500]] == found["number"].to_pylist()


# Processes that end


def test_a_process_that_is_killed_is_replaced(
    started: Started, eggs: list[dict[str, Any]], tmp_path: Any
) -> None:
    """Its part is gone on with behind the last batch; no row is lost, and none comes twice."""
    deaths = []

    def kill(done: int, total: int | None) -> None:
        if len(deaths) < 2 and done > 300 * len(deaths):
            deaths.append(done)
            started.kill()

    how: dict[str, Any] = {
        "schema": {"_id": int, "number": int},
        "batch_rows": 100,
        "max_bytes": 400,
    }
    with arrow.batches(Egg, partitions=2, progress=kill, **how) as batches:
        rows = [row for batch in batches for row in batch.to_pylist()]

    assert [{"_id": one["_id"], "number": one["number"]} for one in eggs] == rows
    assert 2 == len(deaths)
    assert 3 < len(started) <= 6


async def test_a_part_that_never_ends_fails_the_load(
    call: Runtime, started: Started, eggs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies again and again raises; no table is there that lacks rows."""
    monkeypatch.setattr(workers, "RETRIES", 0)
    how: dict[str, Any] = {"schema": {"number": int}, "batch_rows": 100, "max_bytes": 400}
    with pytest.raises(PartitionError, match=r"part \d of \d.*ended by signal 9.*not complete"):
        await call(arrow).table(
            Egg, partitions=1, progress=lambda done, total: started.kill(), **how
        )
    await end(call)


@pytest.mark.parametrize("key", ["_id", "colour"])
def test_a_lost_connection_is_made_again(
    key: str, started: Started, server: Server, eggs: list[dict[str, Any]]
) -> None:
    """A process goes on behind its last batch when its cursor is gone."""
    with fault(server, "getMore", times=2, closeConnection=True):
        found = arrow.table(
            Egg,
            partitions=1,
            partition_by=key,
            batch_rows=50,
            schema={"number": int},
            max_bytes=400,
        )

    ordered = sorted(eggs, key=lambda one: (one[key], one["_id"]))
    assert [one["number"] for one in ordered] == found["number"].to_pylist()
    assert 1 == len(started)


def test_a_collation_knows_no_place_to_go_on(
    started: Started, server: Server, eggs: list[Any]
) -> None:
    """What a collation may find equal is not gone on with: the load raises what was lost."""
    how: dict[str, Any] = {"batch_rows": 50, "schema": {"number": int}, "partition_by": "colour"}
    with fault(server, "getMore", times=1, closeConnection=True), pytest.raises(AutoReconnect):
        arrow.table(Egg, partitions=1, collation={"locale": "en", "strength": 2}, **how)


def test_an_error_of_the_driver_is_raised_as_it_is(
    started: Started, server: Server, eggs: list[Any]
) -> None:
    """What cannot be tried again is raised as the driver has it, with its traceback."""
    with (
        fault(server, "find", errorCode=13, errorLabels=[]),
        pytest.raises(OperationFailure) as raised,
    ):
        arrow.table(Egg, partitions=1, schema={"number": int})

    assert 13 == raised.value.code
    assert "in another process" in str(raised.value.__cause__)


async def test_a_value_that_does_not_fit(call: Runtime, started: Started, eggs: list[Any]) -> None:
    """The error is that of a load in one, or the value is counted as there."""
    Egg.get_collection().update_one({"_id": 700}, {"$set": {"number": "x"}})
    how: dict[str, Any] = {"schema": {"_id": int, "number": int}, "batch_rows": 50}
    with pytest.raises(SchemaError) as one:
        await call(arrow).table(Egg, **how)
    with pytest.raises(SchemaError) as parts:
        await call(arrow).table(Egg, partitions=1, **how)

    assert str(one.value) == str(parts.value)
    assert ("number", 700, "x") == (parts.value.column, parts.value.id, parts.value.got)
    found = await call(arrow).table(Egg, partitions=1, on_mismatch="string", **how)
    whole = await call(arrow).table(Egg, on_mismatch="string", sort="_id", **how)
    assert whole.equals(found, check_metadata=True)
    await end(call)


def test_leaving_early_ends_the_processes(started: Started, eggs: list[Any]) -> None:
    """Nothing is left of a stream that is closed, or that an error ends."""
    how: dict[str, Any] = {"schema": {"number": int}, "batch_rows": 50, "partitions": 1}
    with arrow.batches(Egg, **how) as batches:
        assert 0 < next(batches).num_rows
    assert started.are_gone()

    def interrupt(done: int, total: int | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        arrow.table(Egg, progress=interrupt, **how)


@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_read_ahead_is_bounded(
    ordered: bool, started: Started, eggs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stream whose batches nobody takes, a few wait, and the processes with them."""
    loads: list[Load] = []

    def load_of(*args: Any) -> Load:
        loads.append(real(*args))
        return loads[-1]

    real = partitions.load_of
    monkeypatch.setattr(partitions, "load_of", load_of)
    how: dict[str, Any] = {"schema": {"number": int}, "batch_rows": 500, "max_bytes": 400}
    with arrow.batches(Egg, partitions=1, ordered=ordered, **how) as batches:
        rows = next(batches).num_rows
        sleep(0.5)  # what is not held back comes meanwhile
        waiting = loads[0]._heard.qsize()
        rows += sum(batch.num_rows for batch in batches)

    assert len(eggs) == rows
    assert waiting <= workers.WINDOW


async def test_cancelling_ends_the_processes(started: Started, server: Server, db: str) -> None:
    """A task that is cancelled while it waits leaves no process."""
    loom.connect(server.uri, db=db)
    load = asyncio.ensure_future(arrow.aio.table(Egg, partitions=1, schema={"number": int}))
    while not started:
        await asyncio.sleep(0.01)
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load

    assert started.are_gone()
    await loom.aio.close()


# What is written meanwhile


def test_documents_that_come_and_go(started: Started, eggs: list[Any]) -> None:
    """Those that were there throughout are there; what is counted tells of the others."""
    how: dict[str, Any] = {
        "schema": {"_id": int, "number": int},
        "batch_rows": 50,
        "max_bytes": 400,
    }
    collection = Egg.get_collection()
    with arrow.batches(Egg, partitions=1, **how) as batches:
        rows = next(batches).to_pylist()
        collection.delete_many({"_id": {"$in": [0, 999]}})
        collection.insert_many([{"_id": n, "number": 0} for n in (-1, 2_000)])
        rows += [row for batch in batches for row in batch.to_pylist()]
    assert {*range(1, 999)} <= {row["_id"] for row in rows} <= {*range(-1, 1_000), 2_000}

    with arrow.batches(Egg, partitions=1, counted=True, **how) as batches:
        next(batches)
        collection.delete_one({"_id": 1})
        with pytest.raises(PartitionError, match="documents that the server counts in part 1"):
            list(batches)


Condition = Callable[[str, Any, Any], dict[str, Any]]


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> Callable[[Condition], None]:
    """Have ranges be other ones than Loom's, as on a server that compares in its own way."""
    monkeypatch.setattr(partitions, "cuts_of", lambda values, parts: [Cut(3, (500,))])
    return lambda condition: monkeypatch.setattr(partitions, "condition", condition)


def overlapping(key: str, lower: Any, upper: Any) -> dict[str, Any]:
    """Return two ranges that both have the documents from 400 to 599."""
    return {"number": {"$lt": 600**2}} if upper else {"number": {"$gte": 400**2}}


def apart(key: str, lower: Any, upper: Any) -> dict[str, Any]:
    """Return two ranges of which none has the documents from 400 to 599."""
    return {"number": {"$lt": 400**2}} if upper else {"number": {"$gte": 600**2}}


@pytest.mark.parametrize("ordered", [True, False])
async def test_ranges_that_overlap(
    ordered: bool, call: Runtime, started: Started, eggs: list[Any], ranges: Any
) -> None:
    """No document is given twice where parts hold the same: the load raises."""
    ranges(overlapping)
    how: dict[str, Any] = {"schema": {"_id": int}, "batch_rows": 100, "ordered": ordered}
    problem = r"expected part 2 of 2 to begin behind _id=599.*got 400.*twice"
    if ordered:
        rows: list[int] = []
        with arrow.batches(Egg, partitions=1, **how) as batches:
            given = (row for batch in batches for row in batch["_id"].to_pylist())
            with pytest.raises(PartitionError, match=problem):
                rows.extend(given)

        assert [*range(len(rows))] == rows
    with pytest.raises(PartitionError, match="to begin behind _id="):
        await call(arrow).table(Egg, partitions=1, **how)
    await end(call)


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (overlapping, "1000 documents that the server counts in all, got 1200.*twice"),
        (apart, "1000 documents that the server counts in all, got 800.*not complete"),
    ],
)
async def test_all_parts_are_counted(
    condition: Condition,
    problem: str,
    call: Runtime,
    started: Started,
    eggs: list[Any],
    ranges: Any,
) -> None:
    """What no key tells is found where it is counted: each part is whole, all together are not."""
    ranges(condition)
    how: dict[str, Any] = {
        "schema": {"number": int},
        "partition_by": "colour",  # whose order a collation decides
        "collation": {"locale": "en"},
        "counted": True,
    }
    with pytest.raises(PartitionError, match=problem):
        await call(arrow).table(Egg, partitions=1, **how)
    await end(call)


@pytest.mark.parametrize(
    ("stored", "is_refused", "texts"),
    [
        ([{"options": {}}], False, True),
        ([{"options": {"collation": {"locale": "en"}}}], False, False),
        ([], False, False),
        ([], True, False),
    ],
)
def test_text_is_in_order_where_no_collation_is(
    stored: list[Any],
    is_refused: bool,
    texts: bool,
    server: Server,
    eggs: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Text keys are held against one another where the collection is known to have no collation."""
    plans: list[Any] = []

    def load_of(plan: Any, *args: Any) -> Load:
        plans.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(partitions, "load_of", load_of)
    if stored and stored[0]["options"]:
        Egg.get_collection().drop()
        Egg.get_collection().database.create_collection("Egg", **stored[0]["options"])
    elif not stored and not is_refused:
        Egg.get_collection().drop()
    if Egg.get_collection().database.list_collection_names():
        Egg.get_collection().insert_one({"_id": "x", "colour": "c"})
    refusing = fault(server, "listCollections", times=1, errorCode=13, errorLabels=[])
    with refusing if is_refused else nullcontext(), pytest.raises(KeyboardInterrupt):
        arrow.table(Egg, partitions=1, partition_by="colour", schema={"number": int})

    assert [texts] == [plan.texts for plan in plans]


def made(**changes: Any) -> Load:
    """Return a load of one part whose processes are not started."""
    columns = arrow.schema_of(Egg, {"_id": int})
    call = Call(
        "Egg", connect=dict, database="zoo", collection="Egg", settings={}, key="_id",
        projection={}, options={}, decoder=partial(Decoder, columns), **changes,
    )  # fmt: skip
    return Load(call, 1, lambda number, last: b"", 1, ordered=True, window=None)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (("end", 0, 5, None), "the 5 rows that were sent in part 1 of 1, got 3"),
        (("end", 0, 3, 4), "the 4 documents that the server counts in part 1 of 1, got 3"),
    ],
)
def test_a_short_part_is_found(told: tuple[Any, ...], problem: str) -> None:
    """What a process says it sent, and what the server counts, is compared with what came."""
    worker: Any = SimpleNamespace(part=0, rows=3)
    with pytest.raises(PartitionError, match=problem):
        made()._take(worker, (told, b""))
    whole = made()

    assert whole._take(worker, (("end", 0, 3, 3), b"")) is None
    assert whole.next() is None


class Spoiled(Exception):
    """An error that cannot be taken elsewhere."""

    def __reduce__(self) -> Any:
        return Spoiled, ("more", "than", "it", "takes", len)

    def __init__(self, text: str) -> None:
        super().__init__(text)


def test_an_error_that_cannot_be_sent_is_told() -> None:
    """What no other process can read becomes a PartitionError with its words."""
    found, where = _told(Spoiled("no room"))

    assert "Spoiled: no room" == str(pickle.loads(found))
    assert "Spoiled: no room" in where


# What cannot be read in parts


def fresh() -> MongoClient[Any]:
    """Return a client, as `connect=` wants it."""
    return MongoClient(os.environ["EGGS"])


def nothing() -> None:
    """Return no client."""


def test_a_ready_client_and_where_calls_go(
    started: Started, server: Server, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function makes clients elsewhere; database and options are those of the block."""
    monkeypatch.setenv("EGGS", server.uri)
    server.client[f"{db}_2"].Egg.insert_one({"_id": 1, "number": 5})
    how: dict[str, Any] = {"schema": {"number": int}, "partitions": 1}
    with pytest.raises(QueryError, match="can make, too, got a ready client; connect with"):
        arrow.table(Egg, **how)
    with loom.using(db=f"{db}_2"):
        assert [5] == arrow.table(Egg, connect=fresh, **how)["number"].to_pylist()
    with pytest.raises(loom.NotConnected, match="expected connect= to return"):
        arrow.table(Egg, connect=nothing, **how)
    server.client.drop_database(f"{db}_2")


@pytest.mark.parametrize("kind", ["client", "connection", "uri"])
def test_what_connect_returns(kind: str, server: Server, db: str) -> None:
    """A client, a Connection or a URI give a client, which is closed with what made it."""
    loom.connect(server.uri, db=db)
    Egg(_id=1, number=5).insert()
    ways: dict[str, Any] = {
        "client": lambda: MongoClient(server.uri),
        "connection": lambda: loom.Connection(server.uri),
        "uri": lambda: server.uri,
    }
    call = replace(made()._call, connect=ways[kind], database=db)
    client, close = client_of(call)
    rows = [loaded.batch.to_pylist() for loaded in read(call, client, bson.encode({}))]
    close()

    assert [[{"_id": 1, "number": 5, "colour": None}]] == rows
    with pytest.raises(InvalidOperation):
        client.admin.command("ping")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"partitions": 0}, "expected partitions of at least 1, or None, got 0"),
        ({"partition_by": "number"}, "expected partitions beside partition_by"),
        ({"ordered": False}, "expected partitions beside ordered"),
        ({"partitions": 2, "ordered": 1}, "expected ordered=True or False, got 1"),
        ({"partitions": 2, "connect": "mongodb://x"}, "expected connect as a function"),
        ({"partitions": 2, "partition_by": 5}, "expected partition_by as a path, got 5"),
        ({"partitions": 2, "skip": 5}, "expected no skip"),
        ({"partitions": 2, "limit": 5}, "expected no limit"),
        ({"partitions": 2, "sort": "-number"}, "come in the order of '_id', got .*number"),
        ({"partitions": 2, "connect": lambda: 5}, "expected connect to be known to other"),
        ({"partitions": 2, "pipeline": []}, "expected documents to be found, got a pipeline"),
        ({"partitions": 2, "partition_by": "nubmer"}, "'nubmer'; did you mean 'number'"),
    ],
)
def test_what_cannot_be_read_in_parts(
    how: dict[str, Any], problem: str, server: Server, db: str
) -> None:
    """Options that parts cannot have are refused before a process is started."""
    loom.connect(server.uri, db=db)
    with pytest.raises((QueryError, FieldError), match=problem):
        arrow.table(Egg, schema={"number": int}, **how)


async def test_sessions_stay_in_one_process(call: Runtime, server: Server, db: str) -> None:
    """Sessions and transactions are of one client."""
    if call.is_async:
        async with loom.aio.transaction():
            with pytest.raises(TransactionError, match="outside of a transaction"):
                await call(arrow).table(Egg, partitions=2)
        return
    with loom.transaction(), pytest.raises(TransactionError, match="outside of a transaction"):
        arrow.table(Egg, partitions=2)
    with server.client.start_session() as session, pytest.raises(QueryError, match="no session"):
        arrow.table(Egg, partitions=2, session=session)


def test_what_is_of_the_program_itself(
    server: Server, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other processes would look for in a program of their own is named as well."""
    local = type("Local", (CommandListener,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Local", local, raising=False)
    loom.connect(server.uri, db=db, event_listeners=[local()])

    with pytest.raises(QueryError, match="expected loom.connect, event_listeners to be known"):
        arrow.table(Egg, partitions=2)


def test_a_connection_that_stays_here(server: Server, db: str) -> None:
    """Options that other processes cannot be given are named, without secrets."""

    class Local(CommandListener):
        """Known here only."""

    loom.connect(server.uri, db=db, event_listeners=[Local()])
    with pytest.raises(QueryError, match="expected loom.connect, event_listeners to be known"):
        arrow.table(Egg, partitions=2)


def test_lists_have_no_place(started: Started, eggs: list[Any]) -> None:
    """A document with a list at the key is named: several ranges find it."""
    Egg.get_collection().update_one({"_id": 700}, {"$set": {"colour": ["c1", "c2"]}})
    with pytest.raises(QueryError, match=r"one value of 'colour'.*got a list.*_id=700"):
        arrow.table(Egg, partitions=1, partition_by="colour", schema={"number": int})


def test_a_view_can_have_lists_as_ids(
    started: Started, server: Server, db: str, eggs: list[Any]
) -> None:
    """An `_id` that only a view can have is named, too."""
    pipeline = [{"$set": {"_id": ["$number", "$colour"]}}]
    server.client[db].create_collection("Clutch", viewOn="Egg", pipeline=pipeline)
    with pytest.raises(QueryError, match=r"one value of '_id' in each document.*got a list"):
        arrow.table(Clutch, partitions=1, schema={"number": int})


def test_parts_of_files(started: Started, eggs: list[dict[str, Any]], tmp_path: Path) -> None:
    """Part files are written from partitions as from one reader, and gone on with."""
    how: dict[str, Any] = {"schema": {"_id": int, "number": int}, "batch_rows": 100}
    written = arrow.to_parquet(Egg, tmp_path / "eggs", part_rows=400, partitions=1, **how)

    assert (1_000, 3) == (written.rows, len(written.files))
    rows = [row for file in written.files for row in pq.read_table(file).to_pylist()]
    assert [one["_id"] for one in eggs] == [row["_id"] for row in rows]
    with pytest.raises(QueryError, match="expected partitions in the order of _id"):
        arrow.to_parquet(Egg, tmp_path / "more", part_rows=9, partitions=1, ordered=False, **how)


class Nest(Frame):
    """Where eggs are."""

    _id: int
    name: str


class Laid(Frame):
    """An egg with references."""

    number: int
    laid: datetime
    nest: Annotated[Nest, Ref()]
    nests: list[Nest]


async def test_what_is_done_with_batches_is_done_here(
    call: Runtime, started: Started, server: Server, db: str
) -> None:
    """References, zones and presence are those of a load in one process."""
    loom.connect(server.uri, db=db)
    nests = [Nest(_id=n, name=f"n{n}") for n in range(7)]
    Nest.insert_many(nests)
    noon = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
    Laid.get_collection().insert_many(
        [
            {"_id": n, "number": n, "laid": noon, "nest": n % 7, "nests": [*range(n % 3)]}
            for n in range(60)
        ]
    )
    source = (Laid.aio if call.is_async else Laid).filter(Q.number >= 5)
    how: dict[str, Any] = {
        "projection": {
            "number": True,
            "laid": True,
            "nest": {"$ref": Nest, "name": True},
            "nests": {"$ref": Nest, "name": True},
        },
        "zone": "Europe/Berlin",
        "presence": True,
        "batch_rows": 10,
    }
    found = await call(arrow).table(source, partitions=1, **how)

    assert 55 == found.num_rows
    assert (await call(arrow).table(source.sort("_id"), **how)).equals(found)
    await end(call)
