"""Rows as new documents: stored as frames would be, counted, and told of when they are not."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, BulkWriteError

import loom
from loom import (
    FieldError,
    Frame,
    QueryError,
    ReadOnly,
    RowsError,
    SchemaError,
    StrLower,
    SubFrame,
    TimeInserted,
    TimeUpdated,
    default,
)
from loom.frames.counters import counter_cache
from loom.frames.ledger import LedgerFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pandas as pd
import polars as pl
import pyarrow as pa

from loom.frames import arrow
from loom.frames.arrow.types import OBJECT_ID

from .conftest import Commands, Runtime, Server
from .faults import fault
from .test_arrow_cells import stripped
from .test_arrow_decoding import FITTING, documents_of

UTC = timezone.utc
ID = ObjectId("65f000000000000000000001")


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    gold: int


class Wyrm(Frame):
    """A dragon of these tests."""

    name: str
    age: int | None
    lair: Lair


class Egg(Frame):
    """Fields that do something."""

    _derived = {"name_rev": ("name", lambda name: name[::-1])}

    name: str
    name_rev: str
    email: StrLower
    laid: TimeInserted
    seen: TimeUpdated
    tags: list[str] = default(list)
    size: float = 1.5


def stored(cls: Any) -> list[dict[str, Any]]:
    """Return the documents of a class, as they are stored, in the order of their insert."""
    return list(cls.get_collection().find())


def table(count: int, start: int = 0) -> Any:
    """Return a table of wyrms."""
    numbers = range(start, start + count)
    return pa.table({"_id": [*numbers], "name": [f"W{n}" for n in numbers], "age": [*numbers]})


# What is stored


async def test_rows_become_documents(call: Runtime, commands: Commands) -> None:
    """Each row is a document with an id of its own, which the result tells; one command is sent."""
    data = pa.table({"name": ["Burt", None], "age": pa.array([3, None], pa.uint8())})
    result = await call(arrow).insert_table(Wyrm, data)

    assert ["insert"] == commands.names
    assert (2, 2, 0, 0) == (result.rows, result.inserted, result.duplicates, result.failed)
    assert result.is_whole
    assert "<2 rows: 2 inserted>" == repr(result)
    assert OBJECT_ID == result.ids.type
    assert [
        {"_id": result.ids[0].as_py(), "name": "Burt", "age": 3},
        {"_id": result.ids[1].as_py(), "name": None, "age": None},
    ] == stored(Wyrm)


async def test_dataframes(call: Runtime) -> None:
    """DataFrames of pandas and Polars are inserted, others refused."""
    await call(arrow).insert_dataframe(Wyrm, pd.DataFrame({"name": ["a"], "age": [1.0]}))
    await call(arrow).insert_dataframe(Wyrm, pl.LazyFrame({"name": ["b"], "age": [None]}))

    assert [("a", 1), ("b", None)] == [(d["name"], d["age"]) for d in stored(Wyrm)]
    with pytest.raises(SchemaError, match=r"^Wyrm\.insert_dataframe: expected a DataFrame"):
        await call(arrow).insert_dataframe(Wyrm, table(1))


async def test_ids_of_their_own(call: Runtime) -> None:
    """Rows keep their ids; those with null get one, and only these are in the result."""
    data = pa.table({"name": ["a", "b"], "_id": pa.array([7, None])})
    result = await call(arrow).insert_table(Wyrm, data)
    documents = stored(Wyrm)

    assert [7, documents[1]["_id"]] == [d["_id"] for d in documents]
    assert isinstance(documents[1]["_id"], ObjectId)
    assert ["_id", "name"] == [*documents[0]]
    assert [None, documents[1]["_id"]] == result.ids.to_pylist()
    assert (await call(arrow).insert_table(Wyrm, table(2, 10))).ids is None
    assert (await call(arrow).insert_table(Wyrm, {"name": ["c"]}, return_ids=False)).ids is None


@pytest.mark.parametrize(
    "ids",
    [
        [str(ID), None],
        pa.array([ID.binary, None], pa.binary(12)),
        [ID, None],
    ],
    ids=["hex", "binary", "objects"],
)
def test_ids_as_readers_give_them(db: str, ids: Any) -> None:
    """An `_id` in digits or bytes is the ObjectId that a reader made them of."""
    arrow.insert_table(Wyrm, {"_id": ids, "name": ["a", "b"]})

    assert ID == stored(Wyrm)[0]["_id"]
    assert isinstance(stored(Wyrm)[1]["_id"], ObjectId)


def test_ids_that_do_not_tell_what_they_are(db: str) -> None:
    """Text that is an ObjectId, beside text that is none, is refused, unless the class says what."""

    class Named(Frame):
        _id: str
        name: str

    with pytest.raises(SchemaError, match=r"Wyrm\._id: expected ObjectIds, or no .* in row 1"):
        arrow.insert_table(Wyrm, {"_id": ["burt", str(ID)]})
    arrow.insert_table(Wyrm, {"_id": ["burt"]})
    arrow.insert_table(Named, {"_id": ["burt", str(ID)]})

    assert ["burt"] == [d["_id"] for d in stored(Wyrm)]
    assert ["burt", str(ID)] == [d["_id"] for d in stored(Named)]


def test_columns_go_to_paths(db: str) -> None:
    """A column goes where `columns` says, or its dotted name; None leaves it out."""
    data = pa.table({"who": ["a"], "lair.gold": [3], "place": ["x"], "other": [0]})
    columns = {"who": "name", "place": loom.Q.lair.name, "other": None, "lair.gold": True}
    arrow.insert_table(Wyrm, data, columns=columns)

    (found,) = stored(Wyrm)
    assert {"_id": found["_id"], "name": "a", "lair": {"gold": 3, "name": "x"}} == found


@pytest.mark.parametrize(
    ("data", "columns", "error", "message"),
    [
        ({"nmae": [1]}, None, FieldError, "got the column 'nmae'; did you mean 'name'"),
        ({"name": ["a"]}, {"age": "age"}, SchemaError, "got 'age'"),
        ({"a": ["a"], "name": ["b"]}, {"a": "name"}, SchemaError, "'name' for both"),
        ({"lair": [{}], "lair.gold": [1]}, None, SchemaError, "inside of 'lair'"),
        ({"$name": [1]}, None, SchemaError, "a path"),
        ({"name.": [1]}, None, SchemaError, "a path"),
        ({"name": ["a"]}, {"name": None}, SchemaError, "got none"),
        ({"name": ["a"]}, {"name": 7}, SchemaError, "'name': 7"),
        ({"name": ["a"]}, ["name"], SchemaError, "a dict"),
        ({"name": [1]}, None, SchemaError, r"^Wyrm\.name: expected string"),
        ({"age": ["a"]}, None, SchemaError, r"^Wyrm\.age: expected int64"),
        ({"age": pa.array(["a"])}, None, SchemaError, r"^Wyrm\.age: .*got a column of string"),
        ({"age": pa.array([1.0, 1.5])}, None, SchemaError, r"^Wyrm\.age: .*got 1\.5 in row 1"),
        ({"lair": [1]}, None, SchemaError, r"^Wyrm\.lair: expected struct"),
        ({"lair.gold": pa.array(["a"])}, None, SchemaError, r"^Wyrm\.lair\.gold: "),
    ],
)
def test_columns_that_do_not_fit(
    commands: Commands, data: Any, columns: Any, error: Any, message: str
) -> None:
    """What does not fit the class is refused before anything is sent."""
    with pytest.raises(error, match=message):
        arrow.insert_table(Wyrm, data, columns=columns)
    assert [] == commands.names


def test_errors_of_values(commands: Commands) -> None:
    """An error names column, row, what was expected and what there was; nothing is sent."""
    big = pa.chunked_array([pa.array([1, 2], pa.uint64()), pa.array([2**63], pa.uint64())])
    with pytest.raises(SchemaError) as caught:
        arrow.insert_table(Wyrm, pa.table({"age": big}), batch_rows=1)

    assert ("age", "an integer below 2**63", 2**63) == (
        caught.value.column,
        caught.value.expected,
        caught.value.got,
    )
    assert "in row 2" in str(caught.value)
    assert [] == commands.names


def test_types_of_fields_without_annotations(db: str) -> None:
    """`schema` says what a column is, where no annotation does."""

    class Loose(Frame):
        pass

    data = {"friend": [str(ID)], "n": pa.array([1.0])}
    arrow.insert_table(Loose, pa.table(data), schema={"friend": OBJECT_ID, "n": int})
    arrow.insert_table(Loose, pa.table(data), schema=pa.schema([("friend", OBJECT_ID)]))
    arrow.insert_table(
        Loose,
        pa.table(data),
        schema=arrow.schema_of(Loose, {"friend": ObjectId, "n": float, "more": str}),
    )

    assert [ID] * 3 == [d["friend"] for d in stored(Loose)]
    assert [int, float, float] == [type(d["n"]) for d in stored(Loose)]
    with pytest.raises(SchemaError, match="'frend'; did you mean 'friend'"):
        arrow.insert_table(Loose, pa.table(data), schema={"frend": OBJECT_ID})
    with pytest.raises(SchemaError, match="as a dict"):
        arrow.insert_table(Loose, pa.table(data), schema=7)


def test_references(db: str) -> None:
    """A reference is stored as the id that its class has."""

    class Friend(Frame):
        friend: Wyrm
        friends: list[Wyrm]

    arrow.insert_table(Friend, {"friend": pa.array([str(ID)]), "friends": pa.array([[str(ID)]])})

    assert [(ID, [ID])] == [(d["friend"], d["friends"]) for d in stored(Friend)]


# Nulls


def test_nulls(db: str) -> None:
    """Nulls are kept by default; `nulls='omit'` leaves their fields out, also in documents."""
    data = pa.table(
        {
            "name": ["a", None],
            "lair": pa.array([{"gold": None, "name": "x"}, None]),
        }
    )
    arrow.insert_table(Wyrm, data)
    arrow.insert_table(Wyrm, data, nulls="omit")
    arrow.insert_table(
        Wyrm, {"name": ["b"], "lair.gold": pa.array([None], pa.int64())}, nulls="omit"
    )
    found = [{k: v for k, v in d.items() if k != "_id"} for d in stored(Wyrm)]

    assert [
        {"name": "a", "lair": {"gold": None, "name": "x"}},
        {"name": None, "lair": None},
        {"name": "a", "lair": {"name": "x"}},
        {},
        {"name": "b"},
    ] == found


def test_presence(db: str) -> None:
    """With the columns that tell absent from null, both come back as they were."""
    collection = Wyrm.get_collection()
    documents = [{"_id": 1, "name": None}, {"_id": 2, "age": 3, "lair": {"gold": 1, "name": "x"}}]
    collection.insert_many(documents)
    loaded = arrow.table(
        Wyrm, schema={"_id": int}, projection=["_id", "name", "age", "lair"], presence=True
    )
    collection.drop()
    arrow.insert_table(Wyrm, loaded)

    assert documents == stored(Wyrm)


def test_presence_of_what_was_filled_in(db: str) -> None:
    """A value that was put where a document lacked the field is stored."""
    filled = pa.table({"_id": [1, 2], "age": [7, None], "age__present": [False, False]})
    arrow.insert_table(Wyrm, filled, schema={"_id": int})

    assert [{"_id": 1, "age": 7}, {"_id": 2}] == stored(Wyrm)


# What fields declare


async def test_fields_do_what_they_declare(call: Runtime) -> None:
    """Time stamps, case, defaults and derived fields are those of `insert_many`."""
    rows = [{"_id": 1, "name": "abc", "email": "A@B"}, {"_id": 2, "name": "x", "email": "C"}]
    await call(Egg).insert_many([dict(row) for row in rows])
    expected = stored(Egg)
    Egg.get_collection().drop()
    await call(arrow).insert_table(Egg, pa.Table.from_pylist(rows))
    found = stored(Egg)

    assert [without_times(d) for d in expected] == [without_times(d) for d in found]
    assert [{*d} for d in expected] == [{*d} for d in found]
    for document in found:
        assert document["laid"] == document["seen"]
        assert document["laid"].microsecond % 1000 == 0


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without its time stamps, which are of now."""
    return {name: v for name, v in document.items() if name not in ("laid", "seen")}


def test_times_that_are_given(db: str) -> None:
    """A time stamp that a row has is kept, as in every insert."""
    made = datetime(2020, 1, 1, tzinfo=UTC)
    arrow.insert_table(Egg, {"name": ["a"], "laid": [made]})

    assert made == stored(Egg)[0]["laid"]


def test_kinds_versions_and_forms(db: str) -> None:
    """Documents say what they are: their kind, their version, and their form."""

    class Animal(Frame):
        _kind_field = "type"
        name: str

    class Bird(Animal):
        wings: int

    class Counted(Frame):
        _version = "_v"
        name: str

    class Formed(Frame):
        _schema_version = 3
        name: str

    arrow.insert_table(Bird, {"name": ["a"], "wings": [2]})
    arrow.insert_table(Animal, {"name": ["b", "c"], "type": ["Bird", None], "wings": [2, None]})
    arrow.insert_table(Counted, {"name": ["a"]})
    arrow.insert_table(Formed, {"name": ["a"]})

    assert ["Bird", "Bird", "Animal"] == [d["type"] for d in stored(Animal)]
    assert 1 == stored(Counted)[0]["_v"]
    assert 3 == stored(Formed)[0]["_schema_version"]


def test_ids_by_default(db: str) -> None:
    """Where a class makes its ids itself, rows have these, and the result tells them."""
    numbers = iter(range(10))

    class Numbered(Frame):
        _id: str = default(lambda: f"n{next(numbers)}")
        name: str

    result = arrow.insert_table(Numbered, {"_id": [None, "own"], "name": ["a", "b"]})

    assert ["n0", "own"] == [d["_id"] for d in stored(Numbered)]
    assert ["n0", None] == result.ids.to_pylist()


def test_time_series(db: str) -> None:
    """A time series takes rows, and no upserts and replacements."""

    class Reading(Frame):
        _timeseries = {"timeField": "at"}
        at: datetime
        amount: float

    data = {"at": [datetime(2024, 1, 1, tzinfo=UTC)], "amount": [1.5]}
    arrow.insert_table(Reading, data)
    assert 1 == len(stored(Reading))
    for operation in (arrow.upsert_table, arrow.replace):
        with pytest.raises(ReadOnly, match=rf"^Reading\.{operation.__name__}: "):
            operation(Reading, data, on="at")


async def test_listeners(call: Runtime) -> None:
    """Listeners are told of frames, and what they change is stored; `events=False` tells none."""
    heard: list[Any] = []

    def before(frames: list[Any]) -> None:
        heard.append(("insert", [type(f) for f in frames]))
        frames[0].name = "changed"

    async def after(frames: list[Any]) -> None:
        heard.append(("inserted", [f._id for f in frames]))

    Egg.listen("insert", before)
    Egg.listen("inserted", after)
    result = await call(arrow).insert_table(Egg, {"name": ["a", "b"], "email": ["X", "Y"]})

    assert [("insert", [Egg, Egg]), ("inserted", result.ids.to_pylist())] == heard
    assert ["changed", "b"] == [d["name"] for d in stored(Egg)]
    heard.clear()
    await call(arrow).insert_table(Egg, {"name": ["c"], "email": ["Z"]}, events=False)
    assert [] == heard
    assert ("c", "c", "z", []) == tuple(
        stored(Egg)[2][n] for n in ("name", "name_rev", "email", "tags")
    )


def test_counter_caches(db: str) -> None:
    """A counter cache counts rows, as it counts frames."""

    class Post(Frame):
        comment_count: int = 0

    class Comment(Frame):
        post: Post

    counter_cache(Post, "comment_count", of=Comment, by="post")
    post = Post()
    post.insert()
    arrow.insert_table(Comment, {"post": [post._id, post._id]})

    assert 2 == Post.by_id(post._id).comment_count


async def test_a_failing_listener(call: Runtime) -> None:
    """A before-listener that raises stops the write; of an after-listener the write is told."""
    error = RuntimeError("no")

    def refuse() -> None:
        raise error

    Wyrm.listen("insert", refuse)
    with pytest.raises(RuntimeError):
        await call(arrow).insert_table(Wyrm, table(2))
    assert [] == stored(Wyrm)
    Wyrm.stop_listening("insert", refuse)
    Wyrm.listen("inserted", refuse)
    with pytest.raises(RuntimeError) as caught:
        await call(arrow).insert_table(Wyrm, table(2))
    assert 2 == len(stored(Wyrm))
    assert any("2 rows: 2 inserted" in note for note in caught.value.__notes__)


# What is only added, and switches


async def test_ledgers_and_switches(call: Runtime) -> None:
    """A ledger takes rows; nothing is written while writing is switched off."""

    class Price(LedgerFrame):
        amount: float

    await call(arrow).insert_table(Price, {"amount": [1.5]})
    assert stored(Price)[0]["recorded"] is not None
    with loom.read_only(), pytest.raises(ReadOnly, match=r"^Price\.insert_table: "):
        await call(arrow).insert_table(Price, {"amount": [1.5]})
    with loom.read_only(), pytest.raises(ReadOnly, match=r"^Wyrm\.insert_dataframe: "):
        await call(arrow).insert_dataframe(Wyrm, pd.DataFrame({"name": ["a"]}))


async def test_transactions(server: Server, call: Runtime) -> None:
    """A call joins the transaction that it is made in; a refusal in one always raises."""
    if server.client.admin.command("hello").get("setName") is None:
        pytest.skip("transactions need a replica set or a sharded cluster")
    arrow.insert_table(Wyrm, table(1))

    async def run(fails: bool) -> None:
        await call(arrow).insert_table(Wyrm, table(2, 10))
        if fails:
            await call(arrow).insert_table(Wyrm, table(1), on_error="return")

    with pytest.raises(RowsError):
        await within(call, lambda: run(True))
    assert 1 == len(stored(Wyrm))
    await within(call, lambda: run(False))
    assert 3 == len(stored(Wyrm))


async def within(call: Runtime, action: Callable[[], Any]) -> None:
    """Do something in a transaction of the runtime."""
    if call.is_async:
        async with loom.aio.transaction():
            await action()
    else:
        with loom.transaction():
            await action()


# Batches


def test_batches(commands: Commands) -> None:
    """Rows go in batches of so many rows, or bytes; small ones of a stream go together."""
    arrow.insert_table(Wyrm, table(10), batch_rows=4)
    assert [4, 4, 2] == [len(body["documents"]) for body in commands.bodies]
    commands.clear()
    wide = pa.table({"name": ["x" * 1000] * 8})
    arrow.insert_table(Wyrm, wide, max_bytes=2100)
    assert 8 == sum(len(body["documents"]) for body in commands.bodies)
    assert max(len(body["documents"]) for body in commands.bodies) <= 2
    commands.clear()
    small = table(100, 100).to_reader(max_chunksize=1)
    arrow.insert_table(Wyrm, small, batch_rows=60)
    assert len(commands.names) <= 4
    assert 100 == sum(len(body["documents"]) for body in commands.bodies)


def test_nothing_to_write(commands: Commands) -> None:
    """Of a table without rows nothing is sent."""
    result = arrow.insert_table(Wyrm, table(0))

    assert ("<0 rows: nothing to write>", []) == (repr(result), commands.names)
    assert 0 == result.errors.num_rows


async def test_progress(call: Runtime) -> None:
    """A function is told how many rows are sent, and how many there are, if that is known."""
    told: list[Any] = []
    await call(arrow).insert_table(Wyrm, table(5), batch_rows=2, progress=lambda *n: told.append(n))
    assert [(2, 5), (4, 5), (5, 5)] == told
    told.clear()
    reader = table(2, 10).to_reader()
    await call(arrow).insert_table(Wyrm, reader, progress=lambda *n: told.append(n))
    assert [(2, None)] == told


async def test_a_stream_that_breaks(call: Runtime) -> None:
    """What was written before a stream breaks is told; a bad value is found when it comes."""

    def batches(ending: Callable[[], Any]) -> Iterator[Any]:
        yield from table(4).to_batches()
        yield ending()

    def broken() -> Any:
        raise OSError("no more")

    schema = table(1).schema
    reader = pa.RecordBatchReader.from_batches(schema, batches(broken))
    with pytest.raises(OSError, match="no more") as caught:
        await call(arrow).insert_table(Wyrm, reader, batch_rows=4)
    assert any("4 rows: 4 inserted" in note for note in caught.value.__notes__)
    Wyrm.get_collection().drop()
    big = pa.record_batch({"age": pa.array([1, 2**63], pa.uint64())})
    ok = pa.record_batch({"age": pa.array([1, 2], pa.uint64())})
    reader = pa.RecordBatchReader.from_batches(big.schema, iter([ok, big]))
    with pytest.raises(SchemaError, match="in row 3") as refused:
        await call(arrow).insert_table(Wyrm, reader, batch_rows=2)
    assert any("2 rows: 2 inserted" in note for note in refused.value.__notes__)
    assert 2 == len(stored(Wyrm))


async def test_from_one_collection_to_another(call: Runtime) -> None:
    """A stream that is read is written as it comes, awaited ones too; blocking calls refuse these."""

    class Copy(Frame):
        _id: int
        name: str
        age: int

    arrow.insert_table(Wyrm, table(10))
    how: dict[str, Any] = {"schema": {"_id": int, "name": str, "age": int}, "batch_rows": 4}
    if call.is_async:
        source: Any = arrow.aio.batches(Wyrm, **how)
        with pytest.raises(SchemaError, match=r"await arrow\.aio\.insert_table"):
            arrow.insert_table(Copy, source)
    else:
        source = arrow.batches(Wyrm, **how)
    result = await call(arrow).insert_table(Copy, source)

    assert 10 == result.inserted
    assert stored(Wyrm) == stored(Copy)


async def test_a_load_that_fails_while_it_is_written(call: Runtime) -> None:
    """The error is that of the load, whose cursor is closed; what stands is told."""

    class Copy(Frame):
        _id: int
        name: str

    arrow.insert_table(Wyrm, table(4))
    Wyrm.get_collection().insert_one({"_id": 4, "name": 5})
    how: Any = {"schema": {"_id": int, "name": str}, "sort": "_id", "batch_rows": 2}
    source = (arrow.aio if call.is_async else arrow).batches(Wyrm, **how)
    with pytest.raises(SchemaError, match="Wyrm.name: expected string, got 5") as caught:
        await call(arrow).insert_table(Copy, source, batch_rows=2)

    assert any("4 rows: 4 inserted" in note for note in caught.value.__notes__)
    if not call.is_async:
        with pytest.raises(QueryError, match="got one that was read or closed"):
            arrow.insert_table(Copy, source)


async def test_asynchronous_generators(db: str) -> None:
    """Awaited writers take record batches as they come, and close what gives them."""
    closed: list[str] = []

    async def batches(*found: Any) -> AsyncGenerator[Any, None]:
        try:
            for one in found:
                yield one
        finally:
            closed.append("closed")

    several = table(4).to_batches(max_chunksize=2)
    assert 4 == (await arrow.aio.insert_table(Wyrm, batches(*several))).inserted
    assert 4 == (await arrow.aio.upsert_table(Wyrm, batches(*several), on="_id")).matched
    assert 4 == (await arrow.aio.replace(Wyrm, batches(*several), on="_id")).matched
    assert 3 == len(closed)
    other = pa.record_batch({"name": ["x"]})
    for content, error, problem in (
        ([several[0], other], SchemaError, "with the schema of the first, got name"),
        ([{"name": "x"}], SchemaError, "record batches, got builtins.dict"),
        ([], SchemaError, "record batches, got builtins.NoneType"),
        ([pa.record_batch({"nmae": ["x"]}), other], FieldError, "nmae"),
    ):
        closed.clear()
        with pytest.raises(error, match=problem):
            await arrow.aio.insert_table(Wyrm, batches(*content), on_error="return")
        assert ["closed"] == closed
    closed.clear()
    stream = batches(*several)
    first = await anext(stream)
    with pytest.raises(QueryError, match="expected progress=True or a plain function"):
        await arrow.aio.insert_table(Wyrm, stream, progress=3)  # type: ignore[arg-type]
    assert (2, ["closed"]) == (first.num_rows, closed)
    with pytest.raises(SchemaError, match=r"await arrow\.aio\.insert_table"):
        arrow.insert_table(Wyrm, batches(*several))


# What is refused


async def test_duplicates_are_counted(call: Runtime) -> None:
    """Rows that a unique index refuses are told by number; the others are stored."""
    await call(arrow).insert_table(Wyrm, table(2))
    with pytest.raises(RowsError) as caught:
        await call(arrow).insert_table(Wyrm, table(5), batch_rows=2)
    result = caught.value.result

    assert isinstance(caught.value, BulkWriteError)
    assert (5, 3, 2, 2) == (result.rows, result.inserted, result.duplicates, result.failed)
    assert "5 rows: 3 inserted, 2 not written (2 duplicates)" == str(result)
    assert [0, 1] == [row for row, _ in caught.value.frames_failed]
    assert [0, 1] == [e["index"] for e in caught.value.details["writeErrors"]]
    assert [{"_id": 0}, {"_id": 1}] == [d.values for d in caught.value.duplicates]
    errors = result.errors.to_pylist()
    assert [(0, "failed", 11000, 0), (1, "failed", 11000, 1)] == [
        (e["row"], e["state"], e["code"], e["_id"]) for e in errors
    ]
    assert "duplicate key" in errors[0]["message"]
    assert "<th>row</th>" in result._repr_html_()
    assert 5 == len(stored(Wyrm))


async def test_errors_that_are_returned(call: Runtime) -> None:
    """`on_error='return'` gives the result; ids of rows that are not stored are not in it."""
    Wyrm.get_collection().create_index("name", unique=True)
    names = ["a", "b", "a", "c"]
    result = await call(arrow).insert_table(Wyrm, {"name": names}, on_error="return")

    assert (3, 1, False) == (result.inserted, result.duplicates, result.is_whole)
    assert [True, True, False, True] == [id is not None for id in result.ids.to_pylist()]
    assert [2] == result.errors["row"].to_pylist()
    assert {d["_id"] for d in stored(Wyrm)} == {*result.ids.to_pylist()} - {None}


async def test_ordered_stops_at_the_first(call: Runtime) -> None:
    """`ordered=True` stores what stands before the first refusal, and counts what is left."""
    await call(arrow).insert_table(Wyrm, table(1, 3))
    result = await call(arrow).insert_table(
        Wyrm, table(9), ordered=True, batch_rows=2, on_error="return"
    )

    assert (3, 1, 5) == (result.inserted, result.failed, result.not_sent)
    assert [3] == result.errors["row"].to_pylist()
    assert [0, 1, 2, 3] == sorted(d["_id"] for d in stored(Wyrm))


def test_sessions_are_no_transactions(server: Server, db: str) -> None:
    """In a session without a transaction, refusals are returned as elsewhere."""
    arrow.insert_table(Wyrm, table(1))
    with server.client.start_session() as session:
        result = arrow.insert_table(
            Wyrm, table(3), session=session, ordered=True, on_error="return"
        )

    assert (0, 1, 2) == (result.inserted, result.failed, result.not_sent)


async def test_refusals_with_listeners(call: Runtime) -> None:
    """With frames, after-listeners are told of what was stored, and of nothing else."""
    heard: list[Any] = []
    Wyrm.listen("inserted", lambda frames: heard.extend(f._id for f in frames))
    arrow.insert_table(Wyrm, table(1, 1), events=False)
    result = await call(arrow).insert_table(Wyrm, table(3), on_error="return")

    assert [0, 2] == heard
    assert (2, 1) == (result.inserted, result.duplicates)


async def test_a_lost_connection(server: Server, call: Runtime) -> None:
    """When the connection is lost, what is written, may be, and is not sent, is told apart."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    name = "a" * 10
    data = pa.table({"_id": [*range(6)], "name": [name] * 6})
    hits: list[int] = []

    def progress(done: int, total: int | None) -> None:
        hits.append(done)
        if done == 2:
            broken.__enter__()

    broken = fault(server, "insert", closeConnection=True)
    try:
        with pytest.raises(RowsError) as caught:
            await call(arrow).insert_table(Wyrm, data, batch_rows=2, progress=progress)
    finally:
        broken.__exit__(None, None, None)
    result = caught.value.result

    assert isinstance(caught.value.__cause__, AutoReconnect)
    assert (6, 2, 2, 2) == (result.rows, result.inserted, result.unknown, result.not_sent)
    assert ["unknown", "unknown"] == result.errors["state"].to_pylist()
    assert [2, 3] == [row for row, _ in caught.value.frames_unknown]


async def test_nothing_written_at_all(server: Server, call: Runtime) -> None:
    """An error of the driver before anything is written passes through, and says so."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    with fault(server, "insert", closeConnection=True), pytest.raises(AutoReconnect) as caught:
        await call(arrow).insert_table(Wyrm, table(2))
    assert any("2 unknown" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("on_error", ["raise", "return"])
async def test_failed_write_concerns(server: Server, call: Runtime, on_error: Any) -> None:
    """A write concern that fails is told, also where refusals are returned; the rows stand."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    failure = {"code": 64, "errmsg": "waiting timed out"}
    failing = fault(server, "insert", times=1, writeConcernError=failure)
    with failing, pytest.raises(RowsError, match="waiting timed out") as caught:
        await call(arrow).insert_table(Wyrm, table(2), on_error=on_error)
    assert 2 == caught.value.result.inserted == len(stored(Wyrm))


def test_unacknowledged_writes(server: Server, db: str) -> None:
    """Without an answer, nothing is counted."""
    with MongoClient(server.uri, w=0) as client, loom.using(client=client, db=db):
        result = arrow.insert_table(Wyrm, table(2))

    assert (False, 0) == (result.is_acknowledged, result.inserted)
    assert "<2 rows sent, without an answer>" == repr(result)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), r"Loose.thing in row 2: expected a value that BSON can hold.*convert it"),
        ({"a": [2**64]}, r"Loose.thing.a.0 in row 2: expected an integer of at most 64 bits"),
        ({1: 2}, r"Loose.thing.1 in row 2: expected a key that BSON can hold"),
        ("\ud800", r"Loose.thing in row 2: .*which UTF-8 cannot write"),
        (Decimal("1" * 35), r"Loose.thing in row 2: expected a Decimal of at most 34 digits"),
    ],
    ids=["object", "integer", "key", "surrogate", "digits"],
)
def test_objects_that_cannot_be_stored(commands: Commands, value: Any, said: str) -> None:
    """An object that BSON cannot hold is refused with its path and row, and nothing is sent."""

    class Loose(Frame):
        pass

    with pytest.raises(SchemaError, match=said) as caught:
        arrow.insert_table(Loose, {"thing": [1, "x", value]}, batch_rows=1)
    assert [] == commands.names
    assert ("thing", value) == (caught.value.column, caught.value.got)


@pytest.mark.parametrize(
    "thing",
    [
        pa.array([None, {"a\0b": 1}]),
        pa.array([None, [("a\0b", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=["struct", "map"],
)
def test_names_with_nul(commands: Commands, thing: Any) -> None:
    """A name that no document can have is refused before anything is sent."""

    class Loose(Frame):
        pass

    with pytest.raises(SchemaError, match=r"^Loose.thing: expected .* without NUL"):
        arrow.insert_table(Loose, pa.table({"thing": thing}), batch_rows=1)
    assert [] == commands.names


@pytest.mark.parametrize(
    "how",
    [
        {"nulls": "drop"},
        {"ordered": 1},
        {"events": None},
        {"finer": True},
        {"on_error": "ignore"},
        {"batch_rows": 0},
        {"max_bytes": 1.5},
        {"upsert": True},
        {"progress": 7},
    ],
    ids=str,
)
def test_options_that_are_none(commands: Commands, how: Any) -> None:
    """An option that does not exist, or cannot be so, is refused."""
    with pytest.raises(QueryError, match=r"^Wyrm\.insert_table: expected "):
        arrow.insert_table(Wyrm, table(1), **how)
    assert [] == commands.names


@pytest.mark.parametrize("cls", [dict, "Wyrm", Lair, None])
def test_classes_that_are_none(db: str, cls: Any) -> None:
    """What is no Frame class is refused."""
    for write in (arrow.insert_table, arrow.upsert_table, arrow.replace):
        with pytest.raises(QueryError, match=r"^arrow\.\w+: expected a Frame class"):
            write(cls, table(1))
    with pytest.raises(QueryError, match="expected a Frame class"):
        arrow.insert_dataframe(cls, pd.DataFrame({"a": [1]}))


def test_options_of_the_driver(commands: Commands) -> None:
    """A comment goes with the command."""
    arrow.insert_table(Wyrm, table(1), comment="mine")

    assert "mine" == commands.bodies[0]["comment"]


def test_naive_instants_are_those_of_the_connection(server: Server, db: str) -> None:
    """A connection that refuses datetimes without zone refuses such columns."""

    class Timed(Frame):
        at: datetime

    loom.connect(server.client, db=db, naive="refuse")
    data = pa.table({"at": pa.array([0], pa.timestamp("ms"))})
    with pytest.raises(SchemaError, match=r"^Timed\.at: expected timestamps with a zone"):
        arrow.insert_table(Timed, data)


# There and back


class Everything(Frame):
    """All types of columns."""

    _id: int
    i: int
    i32: int
    u8: int
    f: float
    s: str
    yes: bool
    when: datetime
    day: date
    oid: ObjectId
    dec: Decimal128
    b: bytes
    uid: UUID


NAMES = ("i", "i32", "u8", "f", "s", "yes", "when", "day", "oid", "dec", "b", "uid")


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=25,
)
@given(documents=documents_of({name: FITTING[name] for name in NAMES}))
def test_there_and_back(server: Server, db: str, documents: list[dict[str, Any]]) -> None:
    """A table that is loaded and written into another database is the same documents."""
    collection = Everything.get_collection()
    collection.delete_many({})
    if documents:
        collection.insert_many([{"_id": n, **document} for n, document in enumerate(documents)])
    loaded = arrow.table(Everything, presence=True)
    other = f"{db}_copy"
    try:
        with loom.using(db=other):
            arrow.insert_table(Everything, loaded)
        found = list(server.client[other]["Everything"].find().sort("_id"))
    finally:
        server.client.drop_database(other)

    assert [stripped(d) for d in collection.find().sort("_id")] == [stripped(d) for d in found]
    assert [{*d} for d in collection.find().sort("_id")] == [{*d} for d in found]


class Told(Everything):
    """The same, with a listener."""


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=25,
)
@given(documents=documents_of({name: FITTING[name] for name in NAMES}), nulls=st.booleans())
def test_frames_are_stored_as_rows(db: str, documents: list[dict[str, Any]], nulls: bool) -> None:
    """What is stored is the same whether a frame is made for each row or not."""
    Told.listen("insert", _nothing)
    for cls in (Everything, Told):
        cls.get_collection().delete_many({})
    if documents:
        rows = [{"_id": n, **document} for n, document in enumerate(documents)]
        Told.get_collection().insert_many(rows)
    loaded = arrow.table(Told)
    Told.get_collection().delete_many({})
    how: Any = {"nulls": "keep" if nulls else "omit"}
    arrow.insert_table(Everything, loaded, **how)
    arrow.insert_table(Told, loaded, **how)

    expected, found = stored(Everything), stored(Told)
    assert [*map(stripped, expected)] == [*map(stripped, found)]
    assert [[*d] for d in expected] == [[*d] for d in found]


def _nothing() -> None:
    """Listen."""


def test_signatures_are_the_same() -> None:
    """Blocking and awaited functions take the same arguments, which help shows."""
    for name in ("insert_table", "insert_dataframe", "upsert_table", "replace"):
        blocking = inspect.signature(getattr(arrow, name))
        awaited = inspect.signature(getattr(arrow.aio, name))
        assert [(p.name, p.kind, p.default) for p in blocking.parameters.values()] == [
            (p.name, p.kind, p.default) for p in awaited.parameters.values()
        ]
        assert {"columns", "nulls", "ordered", "on_error"} <= blocking.parameters.keys()
        assert "WAYS" not in getattr(arrow, name).__doc__
        assert "progress: True for a bar" in getattr(arrow, name).__doc__
