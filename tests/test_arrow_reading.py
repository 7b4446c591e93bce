"""Columns from the server: blocking and awaited, in batches, tables, DataFrames and arrays."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import monitoring
from pymongo.cursor import Cursor
from pymongo.errors import AutoReconnect, OperationFailure

import loom
from loom import (
    EncodeError,
    Frame,
    Q,
    QueryError,
    SchemaError,
    StrLower,
    SubFrame,
    TransactionError,
)

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pymongoarrow.types

from loom.frames import arrow, opening
from loom.frames.arrow import raw
from loom.frames.arrow.asking import Asked
from loom.frames.arrow.reading import Reading
from loom.frames.arrow.results import dataframe_of, numpy_of
from loom.frames.port import blocking

from .conftest import Commands, Runtime, Server
from .cursors import Opened
from .faults import fault
from .test_arrow_decoding import ALL, FITTING, documents_of, same


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    gold: int


class Wyrm(Frame):
    """A dragon of these tests."""

    _id: int
    name: str
    email: StrLower
    age: int | None
    weight: float
    awake: bool | None
    born: datetime
    lair: Lair
    tags: list[str]
    friend: ObjectId


BORN = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
FRIEND = ObjectId("65f000000000000000000001")


def wyrm(number: int) -> dict[str, Any]:
    """Return a document."""
    return {
        "_id": number,
        "name": f"W{number}",
        "email": f"w{number}@example.com",
        "age": number if number % 3 else None,
        "weight": number * 0.5,
        "awake": number % 2 == 0,
        "born": BORN,
        "lair": {"name": "Cave", "gold": number * 10},
        "tags": ["a", "b"][: number % 3],
        "friend": FRIEND,
    }


def stored(*more: dict[str, Any], count: int = 10) -> list[dict[str, Any]]:
    """Store documents, and return them."""
    documents = [wyrm(number) for number in range(count)] + list(more)
    Wyrm.get_collection().insert_many(documents)
    return documents


async def batches_of(call: Runtime, *args: Any, **options: Any) -> list[Any]:
    """Return the record batches of a call."""
    if call.is_async:
        return [batch async for batch in arrow.aio.batches(*args, **options)]
    return [*arrow.batches(*args, **options)]


async def test_a_table_is_what_find_gives(call: Runtime) -> None:
    """Every column of every row holds what is stored, in the order of the sort."""
    documents = stored()
    table = await call(arrow).table(Wyrm, sort="_id")

    assert documents == table.to_pylist()
    assert ["_id", "name", "email"] == table.column_names[:3]
    assert pa.timestamp("ms", "UTC") == table.schema.field("born").type


async def test_batches(call: Runtime, commands: Commands) -> None:
    """A batch holds at most `batch_rows` rows, and is asked for when it is its turn."""
    stored()
    commands.clear()
    found = await batches_of(call, Wyrm, sort="_id", batch_rows=4)

    assert [4, 4, 2] == [batch.num_rows for batch in found]
    assert ["find", "getMore", "getMore"] == commands.names
    assert [4, 4, 4] == [b.get("batchSize", b.get("batch_size")) for b in commands.bodies]
    assert [*range(10)] == [row for b in found for row in b.column("_id").to_pylist()]


async def test_batches_of_so_many_bytes(call: Runtime, commands: Commands) -> None:
    """A reply is split where its documents have more bytes; a larger one is alone."""
    documents = stored()
    large = {**wyrm(77), "name": "x" * 5_000}
    Wyrm.get_collection().insert_one(large)
    Wyrm.get_collection().insert_one(last := wyrm(78))
    size = len(bson.encode(documents[5]))
    commands.clear()
    how: dict[str, Any] = {"sort": "_id", "max_bytes": 3 * size + 20}
    found = await batches_of(call, Wyrm, **how)
    told: list[int] = []
    table = await call(arrow).table(Wyrm, progress=lambda done, _: told.append(done), **how)

    assert ["find"] == commands.names[:1]
    assert {"find", "count", "aggregate"} >= {*commands.names}
    counts = [batch.num_rows for batch in found]
    assert [1, 1] == counts[-2:]
    assert max(counts) == 3
    assert 12 == sum(counts) == told[-1]
    assert len(told) == len(counts)
    assert [*documents, large, last] == table.to_pylist()
    assert [row for batch in found for row in batch.to_pylist()] == table.to_pylist()
    assert [1] * 12 == [b.num_rows for b in await batches_of(call, Wyrm, max_bytes=1)]


async def test_streams_tell_what_they_are(call: Runtime) -> None:
    """A stream shows class, columns, and how many rows it has given."""
    stored(count=5)
    how: dict[str, Any] = {"schema": {"_id": int, "name": str}, "batch_rows": 3}
    kind, readers = ("AsyncBatches", arrow.aio) if call.is_async else ("Batches", arrow)
    stream: Any = readers.batches(Wyrm, **how)  # type: ignore[attr-defined]
    assert f"<{kind} of Wyrm: _id, name; 0 rows so far>" == repr(stream)
    if call.is_async:
        async for _ in stream:
            break
        await stream.aclose()
    else:
        next(stream)
        stream.close()

    assert f"<{kind} of Wyrm: _id, name; 3 rows so far>" == repr(stream)


async def test_streams_are_closed(call: Runtime, commands: Commands) -> None:
    """A stream that is left closes its cursor, and is at its end."""
    stored()
    if call.is_async:
        async with arrow.aio.batches(Wyrm, batch_rows=4) as stream:
            first = await stream.__anext__()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
    else:
        with arrow.batches(Wyrm, batch_rows=4) as left:
            first = next(left)
        assert [] == [*left]
        stream = left  # type: ignore[assignment]

    assert 4 == first.num_rows
    assert first.schema == stream.schema
    assert {} == stream.mismatches


@pytest.mark.parametrize("grace", [10.0, 0.0])
@pytest.mark.parametrize(
    ("command", "how"), [("find", {}), ("aggregate", {"pipeline": [], "schema": {"name": str}})]
)
async def test_cancelling_closes_the_cursor(
    command: str,
    how: dict[str, Any],
    grace: float,
    server: Server,
    db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cursor of a query that is cancelled while the server answers is closed, if it is soon."""
    monkeypatch.setattr(opening, "GRACE", grace)
    stored()
    cursors = Opened()
    loom.connect(server.uri, db=db, event_listeners=[cursors])
    with fault(server, command, times=1, blockConnection=True, blockTimeMS=300):
        path = tmp_path / "wyrms.parquet"
        load = asyncio.ensure_future(arrow.aio.to_parquet(Wyrm, path, batch_rows=4, **how))
        while command not in cursors.asked:
            await asyncio.sleep(0.01)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
    await loom.aio.close()

    assert [] == [*tmp_path.iterdir()]
    assert cursors.opened == cursors.closed
    assert len(cursors.opened) == (1 if grace else 0)


def test_readers(db: str) -> None:
    """What takes Arrow's streams takes batches, and their reader is one of Arrow's."""
    documents = stored()
    ids = [document["_id"] for document in documents]
    reader = arrow.batches(Wyrm, sort="_id", batch_rows=4).reader

    assert isinstance(reader, pa.RecordBatchReader)
    assert ids == reader.read_all().column("_id").to_pylist()
    stream: Any = arrow.batches(Wyrm, sort="_id", batch_rows=4)
    assert ids == pl.DataFrame(stream)["_id"].to_list()
    assert ids == pa.table(arrow.batches(Wyrm, sort="_id")).column("_id").to_pylist()
    closed = arrow.batches(Wyrm)
    closed.close()
    for read in (stream, closed):  # another reader would find no rows
        with pytest.raises(QueryError, match="expected a stream with batches to come"):
            pl.DataFrame(read)
    assert [] == [*stream]


def test_queries_of_duckdb(db: str) -> None:
    """DuckDB takes a stream by the name of its variable; what does not fit ends the query."""
    duckdb = pytest.importorskip("duckdb")
    stored(count=50)
    how: dict[str, Any] = {"projection": ["_id", "age", "lair"], "batch_rows": 7}
    stream = arrow.batches(Wyrm, Q._id >= 10, **how)
    sums = duckdb.sql("select count(*), sum(age), sum(lair.gold) from stream").fetchall()
    stream = arrow.batches(Wyrm.filter(Q._id >= 10).sort("_id"), presence=True, **how)
    relation = duckdb.sql("select * from stream where age is null limit 2").fetchall()
    Wyrm.get_collection().insert_one({"_id": 99, "age": "old"})
    stream = arrow.batches(Wyrm, **how)
    with pytest.raises(duckdb.Error, match="Wyrm.age: expected int64, got 'old' of type string"):
        duckdb.sql("select max(age) from stream").fetchall()
    stream.close()

    ids = range(10, 50)
    assert [(40, sum(n for n in ids if n % 3), sum(n * 10 for n in ids))] == sums
    assert [(n, None, {"name": "Cave", "gold": n * 10}, True, True, True) for n in (12, 15)] == (
        relation
    )


async def test_nothing_found(call: Runtime) -> None:
    """No document gives columns without rows."""
    table = await call(arrow).table(Wyrm)
    frame = await call(arrow).dataframe(Wyrm)

    assert (0, 10) == table.shape == frame.shape
    assert arrow.schema_of(Wyrm).to_arrow() == table.schema
    assert [] == await batches_of(call, Wyrm)
    assert 0 == (await call(arrow).polars(Wyrm)).height
    assert 0 == len((await call(arrow).numpy(Wyrm))["age"])


async def test_filters_go_the_way_of_many(call: Runtime, commands: Commands) -> None:
    """Conditions, normalised text, dicts, sort, skip, limit and comment are sent as `many` does."""
    stored()
    how: dict[str, Any] = {"sort": "-age", "skip": 1, "limit": 3, "comment": "why"}
    query = (Q.age >= 2) & (Q.email != "W8@EXAMPLE.COM")
    commands.clear()
    table = await call(arrow).table(Wyrm, query, projection=["age"], **how)
    frames = await call(Wyrm).many(query, projection={"age": True}, **how)
    one, two = commands.bodies

    assert [5, 4, 2] == table.column("age").to_pylist() == [frame.age for frame in frames]
    assert one["filter"] == two["filter"]
    assert "w8@example.com" in str(one["filter"])
    for name in ("sort", "skip", "limit", "comment"):
        assert one[name] == two[name]
    assert {"_id": True, "age": True} == dict(one["projection"])
    assert 1 == (await call(arrow).table(Wyrm, {"_id": 3})).num_rows


async def test_projections(call: Runtime, commands: Commands) -> None:
    """Columns are named, taken from paths, and nothing else is fetched."""
    stored()
    commands.clear()
    projection = {"id": "_id", "gold": Q.lair.gold, "name": True}
    table = await call(arrow).table(Wyrm, Q._id == 3, projection=projection)

    assert [{"id": 3, "gold": 30, "name": "W3"}] == table.to_pylist()
    assert {"_id", "lair.gold", "name"} == set(commands.bodies[0]["projection"])


async def test_values_that_do_not_fit(call: Runtime) -> None:
    """They are named, or counted with the table, the DataFrame and the batches."""
    stored({"_id": 77, "age": 2.7}, {"_id": 78, "age": "old", "weight": True})
    with pytest.raises(SchemaError, match=r"Wyrm.age: expected int64, got 2.7 .* _id=77;"):
        await call(arrow).table(Wyrm)
    null = await call(arrow).table(Wyrm, Q._id >= 77, on_mismatch="null", sort="_id")
    text = await call(arrow).table(Wyrm, Q._id >= 77, on_mismatch="string", sort="_id")
    frame = await call(arrow).dataframe(Wyrm, on_mismatch="null")

    assert b'{"age": 2, "weight": 1}' == null.schema.metadata[b"loom.mismatches"]
    assert {"age": 2, "weight": 1} == frame.attrs["loom.mismatches"]
    assert [None, None] == null.column("age").to_pylist() == text.column("age").to_pylist()
    assert [[("age", '{"$numberDouble": "2.7"}')], [("age", "old"), ("weight", "true")]] == (
        text.column("_mismatches").to_pylist()
    )
    with pytest.warns(RuntimeWarning, match="Wyrm: values that do not fit their column: 2 of age"):
        await call(arrow).polars(Wyrm, on_mismatch="null")
    with pytest.warns(RuntimeWarning, match="1 of weight") as told:
        await call(arrow).numpy(Wyrm, on_mismatch="null")
    assert not call.is_async or [__file__] == [warning.filename for warning in told]
    with pytest.warns(RuntimeWarning, match="1 of weight") as told:
        arrow.numpy(Wyrm, on_mismatch="null")
    with pytest.warns(RuntimeWarning, match="1 of weight") as more:
        Wyrm.filter().load_polars(on_mismatch="null")
    assert [__file__] * 2 == [warning.filename for warning in (*told, *more)]


async def test_dataframes(call: Runtime) -> None:
    """Ints with nulls stay ints, instants stay aware, NaN is not null."""
    stored({"_id": 77, "weight": float("nan")})
    frame = await call(arrow).dataframe(Wyrm, sort="_id", ids="hex")

    assert "int64[pyarrow]" == str(frame["age"].dtype)
    assert [None, 1, 2, None] == [None if v is pd.NA else v for v in frame["age"][:4]]
    assert "timestamp[ms, tz=UTC][pyarrow]" == str(frame["born"].dtype)
    assert BORN == frame["born"][0]
    assert str(FRIEND) == frame["friend"][0]
    assert pa.array([False] * 11).equals(pa.array(frame["weight"].array).is_null())
    assert {"name": "Cave", "gold": 10} == frame["lair"][1]
    friends = (await call(arrow).dataframe(Wyrm))["friend"]
    assert FRIEND == friends[0]
    assert 10 == int((friends == FRIEND).sum())


async def test_polars_and_arrow(call: Runtime) -> None:
    """What Polars holds can be given to Arrow and pandas, and be written back."""
    documents = stored()
    frame = await call(arrow).polars(Wyrm, projection=["_id", "friend"])

    assert [pl.Int64, pl.Binary] == frame.dtypes
    assert {d["friend"].binary for d in documents} == {*frame["friend"].to_list()}
    assert len(documents) == frame.to_arrow().num_rows == len(frame.to_pandas())
    Wyrm.get_collection().update_many({}, {"$unset": {"friend": 1}})
    await call(arrow).upsert_table(Wyrm, frame, on="_id")
    found = Wyrm.get_collection().find({}, {"friend": 1})
    assert {d["_id"]: d["friend"] for d in documents} == {d["_id"]: d["friend"] for d in found}


async def test_polars(call: Runtime) -> None:
    """Polars has the same values."""
    documents = stored()
    frame = await call(arrow).polars(Wyrm, sort="_id", ids="hex")

    assert [{**d, "friend": str(d["friend"])} for d in documents] == frame.to_dicts()


async def test_arrays(call: Runtime) -> None:
    """Arrays have the type of their column; those with nulls are masked."""
    stored()
    arrays = await call(arrow).numpy(Wyrm, sort="_id")

    assert np.int64 == arrays["age"].dtype
    assert [None, 1, 2, None] == arrays["age"].tolist()[:4]
    assert isinstance(arrays["age"], np.ma.MaskedArray)
    assert not isinstance(arrays["weight"], np.ma.MaskedArray)
    assert [0.0, 0.5] == arrays["weight"].tolist()[:2]
    assert np.datetime64("2024-03-01T12:00:00.000") == arrays["born"][0]
    assert np.dtype("datetime64[ms]") == arrays["born"].dtype
    assert [True, False] == arrays["awake"].tolist()[:2]
    assert [[], ["a"], ["a", "b"]] == arrays["tags"].tolist()[:3]
    assert FRIEND == arrays["friend"][0]


def test_the_instant_that_is_none(db: str) -> None:
    """What NumPy and pandas would take for NaT is refused; a table holds it."""
    reading = Reading(blocking(), Asked(Wyrm))
    table = pa.table({"born": pa.array([-(2**63), None], pa.timestamp("ms", "UTC"))})

    for make in (numpy_of, dataframe_of):
        with pytest.raises(SchemaError, match=r"Wyrm.born: .* which is NaT in NumPy and pandas"):
            make(reading, table)
    assert 1 == len(numpy_of(reading, table.slice(1))["born"])


@pytest.mark.parametrize(
    "type",
    [
        pa.list_(pa.timestamp("ms", "UTC")),
        pa.struct([("at", pa.date32()), ("id", pa.binary(12))]),
        pa.map_(pa.string(), pa.timestamp("ms", "UTC")),
    ],
    ids=str,
)
def test_instants_that_python_does_not_know(db: str, type: Any) -> None:
    """What is inside of others becomes Python's objects: what has none names its column."""
    far = 2**31 - 1 if pa.types.is_struct(type) else 2**62
    inner = [far] if pa.types.is_list(type) else [("a", far)]
    value = {"at": far} if pa.types.is_struct(type) else inner
    table = pa.table({"born": pa.array([None, value], type)})

    with pytest.raises(SchemaError, match=r"^Wyrm.born: .*got another one in row 1"):
        numpy_of(Reading(blocking(), Asked(Wyrm)), table)


async def test_progress(call: Runtime) -> None:
    """A function is told of each batch, with the total that the server counted."""
    stored()
    told: list[Any] = []
    await batches_of(
        call, Wyrm, Q._id < 7, batch_rows=4, progress=lambda done, total: told.append((done, total))
    )
    limited: list[Any] = []
    await call(arrow).table(Wyrm, limit=3, progress=lambda *numbers: limited.append(numbers))
    shown = await call(arrow).table(Wyrm, progress=True)

    assert [(4, 7), (7, 7)] == told
    assert [(3, 3)] == limited
    assert 10 == shown.num_rows
    with pytest.raises(QueryError, match="expected progress=True or a plain function"):
        await call(arrow).table(Wyrm, progress="yes")


async def test_aggregations(call: Runtime, commands: Commands) -> None:
    """What a pipeline gives comes in columns; the pipeline of the caller stays as it is."""
    stored()
    pipeline = [
        {"$match": {"email": {"$ne": "W8@example.com"}}},
        {"$group": {"_id": "$awake", "gold": {"$sum": "$lair.gold"}}},
        {"$sort": {"_id": 1}},
    ]
    kept = repr(pipeline)
    schema = {"awake": bool, "gold": int}
    commands.clear()
    table = await call(arrow).table(
        Wyrm, pipeline=pipeline, schema=schema, projection={"awake": "_id", "gold": True}
    )

    assert [{"awake": False, "gold": 250}, {"awake": True, "gold": 120}] == table.to_pylist()
    assert kept == repr(pipeline)
    assert "w8@example.com" in str(commands.bodies[0]["pipeline"])
    with pytest.raises(QueryError, match="expected a schema and no filter beside a pipeline"):
        await call(arrow).table(Wyrm, pipeline=pipeline)
    with pytest.raises(QueryError, match="expected a schema and no filter beside a pipeline"):
        await call(arrow).table(Wyrm, Q.age > 1, pipeline=pipeline, schema=schema)
    with pytest.raises(QueryError, match="expected stages that read, got .out"):
        await call(arrow).table(Wyrm, pipeline=[{"$out": "x"}], schema=schema)
    with pytest.raises(OperationFailure):
        await call(arrow).table(Wyrm, pipeline=[{"$nothing": 1}], schema=schema)


@pytest.mark.parametrize(
    "how",
    [{"on_mismatch": "ignore"}, {"ids": "text"}, {"batch_rows": 0}, {"batch_rows": True}],
)
async def test_options_that_mean_nothing(call: Runtime, how: Any) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(QueryError, match="expected "):
        await call(arrow).table(Wyrm, **how)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("batchrows", "batch_rows"), ("on_mismach", "on_mismatch"), ("limits", "limit")],
)
async def test_options_that_are_misspelt(call: Runtime, name: str, meant: str) -> None:
    """Those of readers are known beside those of the driver, whatever is asked."""
    how: list[dict[str, Any]] = [{}, {"pipeline": [], "schema": {"name": str}}]
    for more in how if meant != "limit" else how[:1]:
        problem = f"expected an option, got {name!r}; did you mean {meant!r}"
        with pytest.raises(QueryError, match=problem):
            await call(arrow).table(Wyrm, **{name: 5}, **more)


def test_options_of_the_driver_are_not_misspelt() -> None:
    """No option of PyMongo's find or aggregate is taken for one of a reader."""
    names = {*inspect.signature(Cursor.__init__).parameters} - {"self", "collection"}
    for name in names - {"filter", "projection"} | {"allowDiskUse", "batchSize", "maxTimeMS"}:
        assert Asked.of(Wyrm, None, {name: 1}).options == {name: 1}


async def test_other_sources(call: Runtime) -> None:
    """Only Frame classes have columns."""
    for other in (Lair, "wyrm", None):
        with pytest.raises(QueryError, match="expected a Frame class"):
            await call(arrow).table(other)


async def test_values_that_cannot_be_sent(call: Runtime) -> None:
    """The error names the value in the filter."""
    with pytest.raises(EncodeError, match="Wyrm filter"):
        await call(arrow).table(Wyrm, {"name": object()})


async def test_kinds(call: Runtime) -> None:
    """Of classes that share a collection, each loads its own documents."""

    class Animal(Frame):
        _kind_field = "kind"
        name: str

    class Cat(Animal):
        lives: int

    Animal.insert_many([Animal(name="A"), Cat(name="C", lives=9)])

    assert ["C"] == (await call(arrow).table(Cat, projection=["name"])).column(0).to_pylist()
    assert 2 == (await call(arrow).table(Animal, projection=["name"])).num_rows
    piped = await call(arrow).table(Cat, pipeline=[], schema={"lives": int})
    assert [9] == piped.column(0).to_pylist()


async def test_the_root_of_kinds(call: Runtime) -> None:
    """The root has the fields of all kinds and what tells them apart, so that all can be stored again."""

    class Animal(Frame):
        _kind_field = "kind"
        name: str

    class Cat(Animal):
        lives: int

    class Snail(Animal):
        speed: float
        lives: float

    Animal.insert_many([Animal(name="A"), Cat(name="C", lives=9), Snail(name="S", speed=0.5)])
    stored = [*Animal.get_collection().find()]

    found = await call(arrow).table(Animal)
    assert ["_id", "name", "lives", "speed", "kind"] == found.column_names
    assert ["Animal", "Cat", "Snail"] == found["kind"].to_pylist()
    assert [None, 9.0, None] == found["lives"].to_pylist()
    Animal.delete_where({}, all=True)
    await call(arrow).insert_table(Animal, found, nulls="omit")
    assert stored == [*Animal.get_collection().find()]
    assert [Animal, Cat, Snail] == [type(one) for one in Animal.many()]

    class Dog(Animal):
        lives: str

    with pytest.raises(
        SchemaError, match="Animal.lives: expected one type in all kinds, got int64"
    ):
        await call(arrow).table(Animal)
    assert 1 == (await call(arrow).table(Cat)).num_rows


async def test_older_forms(call: Runtime) -> None:
    """A class that upgrades its documents has no columns, but for those of what is stored."""

    class Old(Frame):
        _schema_version = 2
        name: str

        @classmethod
        def _upgrade(cls, document: dict[str, Any], version: int) -> dict[str, Any]:
            return {**document, "name": document["title"]}

    Old.get_collection().insert_one({"title": "Sir"})
    with pytest.raises(QueryError, match="got a class that upgrades older ones"):
        await call(arrow).table(Old)
    table = await call(arrow).table(Old, pipeline=[], schema={"title": str})

    assert ["Sir"] == table.column("title").to_pylist()


async def test_errors_of_the_server(call: Runtime) -> None:
    """They pass unchanged."""
    with pytest.raises(OperationFailure):
        await call(arrow).table(Wyrm, {"$nothing": 1})


def test_other_databases(server: Server, db: str) -> None:
    """A stream goes on with the client and the database of its call."""
    stored()
    with loom.using(db=f"{db}_other"):
        empty = arrow.batches(Wyrm)
    full = arrow.batches(Wyrm)
    with loom.using(db=f"{db}_other"):
        assert 10 == sum(batch.num_rows for batch in full)
    assert 0 == sum(batch.num_rows for batch in empty)


def test_transactions(server: Server, db: str) -> None:
    """A call joins the transaction that it is made in; a stream ends with it."""
    if server.client.admin.command("hello").get("setName") is None:
        pytest.skip("transactions need a replica set or a sharded cluster")
    stored()
    with loom.transaction():
        Wyrm(_id=99, name="new").insert()
        inside = arrow.table(Wyrm).num_rows
        stream = arrow.batches(Wyrm, batch_rows=4)
        next(stream)
    assert 11 == inside
    with pytest.raises(TransactionError):
        next(stream)


async def test_awaited_transactions(server: Server, db: str) -> None:
    """Awaited calls, of documents and of pipelines, join the transaction that they are made in."""
    if server.client.admin.command("hello").get("setName") is None:
        pytest.skip("transactions need a replica set or a sharded cluster")
    stored()
    async with loom.aio.transaction():
        await Wyrm(_id=99, name="new").aio.insert()
        inside = await arrow.aio.table(Wyrm, batch_rows=4)
        piped = await arrow.aio.table(Wyrm.agg([{"$sort": {"_id": 1}}]), batch_rows=4)
        stream = arrow.aio.batches(Wyrm, batch_rows=4)
        await anext(stream)
    assert (11, 11) == (inside.num_rows, piped.num_rows)
    with pytest.raises(TransactionError):
        await anext(stream)


async def test_without_the_shortcut(call: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is off, or the driver has no such hook, or replies look otherwise, all is the same."""
    documents = stored()
    taken: list[Any] = []
    original = raw._unpacked

    def unpacked(response: Any) -> Any:
        taken.append(response)
        return original(response)

    monkeypatch.setattr(raw, "_unpacked", unpacked)
    with_it = await call(arrow).table(Wyrm, sort="_id", batch_rows=4)
    count = len(taken)
    monkeypatch.setattr(raw, "_unpacked", lambda response: None)
    otherwise = await call(arrow).table(Wyrm, sort="_id", batch_rows=4)
    monkeypatch.setattr(raw, "_unpacked", unpacked)
    monkeypatch.setattr(raw.taking_bytes, "enabled", False)
    off = await call(arrow).table(Wyrm, sort="_id", batch_rows=4)
    piped = await call(arrow).table(Wyrm.agg([{"$sort": {"_id": 1}}]), batch_rows=4)
    monkeypatch.setattr(raw.taking_bytes, "enabled", True)
    monkeypatch.setattr(raw, "_joined", None)
    without = await call(arrow).table(Wyrm, sort="_id", batch_rows=4)

    assert 3 == count == len(taken)
    for table in (with_it, otherwise, off, piped, without):
        assert documents == table.to_pylist()


async def test_listeners_of_the_driver_see_replies(call: Runtime, server: Server) -> None:
    """What watches commands still gets replies with their batch."""

    class Replies(monitoring.CommandListener):
        seen: list[Any] = []

        def started(self, event: Any) -> None: ...
        def failed(self, event: Any) -> None: ...
        def succeeded(self, event: Any) -> None:
            self.seen.append(event)

    stored()
    replies = Replies()
    client: Any
    if call.is_async:
        client = type(server.aio)(server.uri, event_listeners=[replies])
    else:
        client = type(server.client)(server.uri, event_listeners=[replies])
    with loom.using(client=client, db=Wyrm.get_db().name):
        await call(arrow).table(Wyrm)
    await client.close() if call.is_async else client.close()
    found = [event for event in replies.seen if event.command_name == "find"]

    assert 1 == len(found)
    assert [bytes] == [type(part) for part in found[0].reply["cursor"]["firstBatch"]]
    assert 1.0 == found[0].reply["ok"]


def test_memory_of_streams_is_bounded(db: str) -> None:
    """A batch is freed before the next one comes."""
    stored(count=1_000)
    gc.collect()
    before = pa.total_allocated_bytes()
    most = 0
    for batch in arrow.batches(Wyrm, batch_rows=50):
        most = max(most, pa.total_allocated_bytes() - before)
        del batch
    whole = arrow.table(Wyrm).nbytes

    assert 0 < most < whole / 5


def test_signatures_are_the_same() -> None:
    """Both runtimes take the same."""
    for name in ("batches", "table", "dataframe", "polars", "numpy", "infer", "to_parquet"):
        plain: Callable[..., Any] = getattr(arrow, name)
        awaited: Callable[..., Any] = getattr(arrow.aio, name)
        assert inspect.signature(plain).parameters == inspect.signature(awaited).parameters, name


async def test_the_driver_tries_again(call: Runtime, server: Server) -> None:
    """Retries are the driver's: a lost connection is not seen, one in the middle of a stream is."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    documents = stored()
    with fault(server, "find", times=1, closeConnection=True):
        table = await call(arrow).table(Wyrm, sort="_id")
    with fault(server, "getMore", times=1, closeConnection=True), pytest.raises(AutoReconnect):
        await call(arrow).table(Wyrm, batch_rows=4)

    assert documents == table.to_pylist()


async def test_types_of_the_driver_in_dataframes(call: Runtime) -> None:
    """Binaries keep their subtypes, UUIDs and decimals are what they are."""

    class Odd(Frame):
        _id: int

    row = {"_id": 1, "b": Binary(b"x", 5), "u": UUID(int=7), "d": Decimal128("1.50")}
    Odd.get_collection().insert_one(row)
    types = {"_id": int, "b": pymongoarrow.types.BinaryType(5), "u": UUID, "d": Decimal128}
    frame = await call(arrow).dataframe(Odd, schema=types)
    arrays = await call(arrow).numpy(Odd, schema=types)

    assert [row] == frame.to_dict("records")
    assert row == {name: array[0] for name, array in arrays.items()}


class Anything(Frame):
    """Documents of every kind."""


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=40,
)
@given(documents=documents_of(FITTING), batch_rows=st.integers(1, 5))
def test_columns_are_what_find_lists(
    db: str, documents: list[dict[str, Any]], batch_rows: int
) -> None:
    """Every value of a collection is in its column as `list(find())` gives it."""
    collection = Anything.get_collection()
    collection.delete_many({})
    if documents:
        collection.insert_many([{**d, "_id": number} for number, d in enumerate(documents)])
    expected = list(collection.find({}).sort("_id"))
    found = arrow.table(Anything, schema=ALL, sort="_id", batch_rows=batch_rows).to_pylist()

    assert len(documents) == len(expected) == len(found)
    for document, row in zip(expected, found, strict=True):
        for column in ALL:
            assert same(document.get(column.name), row[column.name], column.type), column.name
