"""Rows that change stored documents: upserts, which set fields, and replacements, which set all."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

import loom
from loom import (
    FieldError,
    Frame,
    Q,
    QueryError,
    ReadOnly,
    RowsError,
    SchemaError,
    StrLower,
    TimeInserted,
    TimeUpdated,
    default,
)
from loom.frames.counters import counter_cache
from loom.frames.ledger import LedgerFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow

from .conftest import Commands, Runtime, Server
from .faults import fault

UTC = timezone.utc
ID = ObjectId("65f000000000000000000001")
THEN = datetime(2020, 1, 1, tzinfo=UTC)


class Price(Frame):
    """A price, named by symbol and time."""

    symbol: str
    time: datetime
    amount: float
    note: str


class Egg(Frame):
    """Fields that do something."""

    _derived = {"name_rev": ("name", lambda name: name[::-1])}

    name: str
    name_rev: str
    email: StrLower
    laid: TimeInserted
    seen: TimeUpdated
    tags: list[str] = default(list)


def stored(cls: Any) -> list[dict[str, Any]]:
    """Return the documents of a class, in the order of their insert."""
    return list(cls.get_collection().find())


def without_ids(cls: Any) -> list[dict[str, Any]]:
    """Return the documents of a class without their ids."""
    return [{k: v for k, v in d.items() if k != "_id"} for d in stored(cls)]


def prices(*rows: tuple[str, int, float]) -> Any:
    """Return a table of prices."""
    return pa.table(
        {
            "symbol": [row[0] for row in rows],
            "time": pa.array([row[1] for row in rows], pa.timestamp("s", "UTC")),
            "amount": [row[2] for row in rows],
        }
    )


def at(second: int) -> datetime:
    """Return the instant of a number."""
    return datetime.fromtimestamp(second, UTC)


# Upserts


async def test_rows_are_set_or_inserted(call: Runtime, commands: Commands) -> None:
    """Fields of a stored document are set, others left; what is not there is inserted."""
    Price(symbol="A", time=at(1), amount=1.0, note="kept").insert()
    commands.clear()
    data = prices(("A", 1, 2.0), ("A", 2, 3.0), ("B", 1, 4.0))
    result = await call(arrow).upsert_table(Price, data, on=["symbol", "time"])

    assert ["update"] == commands.names
    assert (3, 1, 1, 2, 0) == (
        result.rows,
        result.matched,
        result.modified,
        result.upserted,
        result.inserted,
    )
    assert [None, *(d["_id"] for d in stored(Price)[1:])] == result.ids.to_pylist()
    assert [
        {"symbol": "A", "time": at(1), "amount": 2.0, "note": "kept"},
        {"symbol": "A", "time": at(2), "amount": 3.0},
        {"symbol": "B", "time": at(1), "amount": 4.0},
    ] == without_ids(Price)
    again = await call(arrow).upsert_table(Price, data, on=["symbol", "time"])
    assert (3, 0, 0, None) == (again.matched, again.modified, again.upserted, again.ids)


async def test_by_id(call: Runtime) -> None:
    """Without `on`, the `_id` names the document."""
    await call(arrow).upsert_table(Price, {"_id": [1, 2], "amount": [1.0, 2.0]})
    result = await call(arrow).upsert_table(Price, {"_id": [2, 3], "note": ["x", "y"]}, on="_id")

    assert (1, 1) == (result.matched, result.upserted)
    assert [
        {"_id": 1, "amount": 1.0},
        {"_id": 2, "amount": 2.0, "note": "x"},
        {"_id": 3, "note": "y"},
    ] == stored(Price)


def test_only_what_names_the_document(db: str) -> None:
    """Rows of nothing but their names are inserted where they are not, and change nothing."""
    for _ in range(2):
        arrow.upsert_table(Price, {"_id": [1]})
        arrow.upsert_table(Price, {"symbol": ["A"]}, on="symbol")

    assert [{"_id": 1}] == stored(Price)[:1]
    assert [{}, {"symbol": "A"}] == without_ids(Price)


def test_ids_beside_other_names(db: str) -> None:
    """An `_id` that does not name the document is that of a new one, and else left alone."""
    data = {"_id": [7, 8], "symbol": ["A", "B"], "amount": [1.0, 2.0]}
    arrow.upsert_table(Price, data, on="symbol")
    arrow.upsert_table(Price, {**data, "_id": [9, None], "amount": [3.0, 4.0]}, on="symbol")

    assert [(7, 3.0), (8, 4.0)] == [(d["_id"], d["amount"]) for d in stored(Price)]


def test_paths_and_nulls(db: str) -> None:
    """A path sets a field of a document; nulls are set, or with `omit` leave what is there."""

    class Wyrm(Frame):
        _id: int
        lair: dict[str, Any]
        name: str

    arrow.insert_table(Wyrm, {"_id": [1], "lair": [{"gold": 1, "dark": True}], "name": ["a"]})
    data = pa.table({"_id": [1], "gold": [2], "name": pa.array([None], pa.string())})
    arrow.upsert_table(Wyrm, data, columns={"gold": "lair.gold"}, nulls="omit")
    assert [{"_id": 1, "lair": {"gold": 2, "dark": True}, "name": "a"}] == stored(Wyrm)
    arrow.upsert_table(Wyrm, data, columns={"gold": "lair.gold"})
    assert [{"_id": 1, "lair": {"gold": 2, "dark": True}, "name": None}] == stored(Wyrm)
    arrow.upsert_table(Wyrm, {"gold": [5], "name": ["b"]}, on="gold", columns={"gold": "lair.gold"})
    assert [{"lair": {"gold": 5}, "name": "b"}] == without_ids(Wyrm)[1:]


async def test_the_last_row_holds(call: Runtime) -> None:
    """Of rows that name one document, each is written after the one before it."""
    rows = [("A", 1, float(n)) for n in range(5)] + [("B", 1, 9.0)]
    result = await call(arrow).upsert_table(Price, prices(*rows), on=["symbol", "time"])

    assert [("A", 4.0), ("B", 9.0)] == [(d["symbol"], d["amount"]) for d in stored(Price)]
    assert (4, 2) == (result.matched, result.upserted)


def test_values_are_no_operators(db: str) -> None:
    """A document in a column that names others is a value, whatever it looks like."""

    class Loose(Frame):
        pass

    arrow.insert_table(Loose, {"key": [{"a": 1}, {"b": 1}], "n": [1, 2]})
    arrow.upsert_table(Loose, {"key": [{"a": 1}], "n": [5]}, on="key")

    assert [5, 2] == [d["n"] for d in stored(Loose)]


@pytest.mark.parametrize(
    ("data", "on", "error", "message"),
    [
        ({"amount": [1.0]}, "_id", SchemaError, "none for '_id'"),
        ({"symbol": ["A"]}, ["symbol", "time"], SchemaError, "none for 'time'"),
        ({"symbol": ["A", None]}, "symbol", SchemaError, "null for 'symbol' in row 1"),
        ({"symbol": ["A"]}, [], QueryError, "on= with columns"),
        ({"symbol": ["A"]}, 5, QueryError, "on= with columns"),
        ({"amount": [1.0]}, Q.symbol, SchemaError, "none for 'symbol'"),
    ],
)
def test_names_that_are_refused(
    commands: Commands, data: Any, on: Any, error: Any, message: str
) -> None:
    """Rows must say which documents they mean."""
    for write in (arrow.upsert_table, arrow.replace):
        with pytest.raises(error, match=message):
            write(Price, data, on=on)
    assert [] == commands.names


# What fields declare


async def test_fields_do_what_they_declare(call: Runtime) -> None:
    """Text has its case, in names too; times and derived fields are set, defaults only inserted."""
    await call(arrow).upsert_table(Egg, {"email": ["A@B"], "name": ["abc"]}, on="email")
    (first,) = stored(Egg)
    assert ("a@b", "abc", "cba", []) == tuple(
        first[n] for n in ("email", "name", "name_rev", "tags")
    )
    assert first["laid"] == first["seen"]
    Egg.get_collection().update_one({}, {"$set": {"laid": THEN, "seen": THEN, "tags": ["kept"]}})
    result = await call(arrow).upsert_table(Egg, {"email": ["A@b"], "name": ["xy"]}, on="email")
    (second,) = stored(Egg)

    assert (1, 0) == (result.matched, result.upserted)
    assert ("a@b", "xy", "yx", ["kept"]) == tuple(
        second[n] for n in ("email", "name", "name_rev", "tags")
    )
    assert THEN == second["laid"] < second["seen"]


def test_derived_fields_are_made_not_written(db: str) -> None:
    """A derived field is no column of an upsert."""
    with pytest.raises(QueryError, match="derived"):
        arrow.upsert_table(Egg, {"_id": [1], "name_rev": ["x"]})
    assert [] == stored(Egg)


def test_versions_and_kinds(db: str) -> None:
    """An upsert counts the version, and stays with its kind."""

    class Counted(Frame):
        _version = "_v"
        _id: int
        name: str

    class Animal(Frame):
        _kind_field = "type"
        _id: int
        name: str

    class Bird(Animal):
        wings: int

    for name in ("a", "b"):
        arrow.upsert_table(Counted, {"_id": [1], "name": [name]})
    assert [{"_id": 1, "name": "b", "_v": 2}] == stored(Counted)
    with pytest.raises(QueryError, match="_v"):
        arrow.upsert_table(Counted, {"_id": [1], "_v": [7]})
    Animal(_id=1, name="x").insert()
    result = arrow.upsert_table(Bird, {"_id": [1, 2], "wings": [2, 2]}, on_error="return")
    assert (1, 1) == (result.upserted, result.duplicates)
    assert [{"_id": 1, "name": "x", "type": "Animal"}, {"_id": 2, "type": "Bird", "wings": 2}] == (
        stored(Animal)
    )


def test_classes_that_are_refused(db: str) -> None:
    """Ledgers, forms that would be mixed, and counted versions that would break off are refused."""

    class Entry(LedgerFrame):
        amount: float

    class Formed(Frame):
        _schema_version = 2
        name: str

    class Counted(Frame):
        _version = "_v"
        name: str

    for operation in (arrow.upsert_table, arrow.replace):
        with pytest.raises(ReadOnly, match=rf"^Entry\.{operation.__name__}: "):
            operation(Entry, {"_id": [1], "amount": [1.0]})
    with pytest.raises(FieldError, match="_schema_version"):
        arrow.upsert_table(Formed, {"_id": [1], "name": ["a"]})
    with pytest.raises(FieldError, match="_version"):
        arrow.replace(Counted, {"_id": [1], "name": ["a"]})


async def test_listeners_of_upserts(call: Runtime) -> None:
    """Listeners are told of frames, of new ones and of changed ones, and what they add is stored."""
    heard: list[Any] = []

    def tell(frames: list[Any], event: str) -> None:
        heard.append((event, [(f._id, f.email, f.name) for f in frames]))
        if event in ("insert", "update"):
            for frame in frames:
                frame.note = event

    class Told(Egg):
        note: str

    for event in ("insert", "inserted", "update", "updated"):
        Told.listen(event, tell)
    await call(arrow).insert_table(Told, {"_id": [1], "email": ["A"], "name": ["x"]}, events=False)
    data = {"email": ["a", "B"], "name": ["new", "other"], "size": [1, 2]}
    result = await call(arrow).upsert_table(Told, data, on="email", columns={"size": None})
    (first, second) = stored(Told)

    assert (1, 1, [None, second["_id"]]) == (
        result.matched,
        result.upserted,
        result.ids.to_pylist(),
    )
    assert [
        ("insert", [(None, "B", "other")]),
        ("inserted", [(second["_id"], "b", "other")]),
        ("update", [(1, "a", "new")]),
        ("updated", [(1, "a", "new")]),
    ] == sorted(heard)
    assert ("new", "wen", "update") == tuple(first[n] for n in ("name", "name_rev", "note"))
    assert ("other", "rehto", "insert") == tuple(second[n] for n in ("name", "name_rev", "note"))
    heard.clear()
    await call(arrow).upsert_table(Told, {"_id": [1], "name": ["ab"]}, events=False)
    assert "ba" == stored(Told)[0]["name_rev"]
    assert [] == heard


async def test_counter_caches(call: Runtime) -> None:
    """A counter cache counts what an upsert inserts, and what it moves."""

    class Post(Frame):
        _id: int
        comment_count: int = 0

    class Comment(Frame):
        _id: int
        post: Post

    counter_cache(Post, "comment_count", of=Comment, by="post")
    Post.insert_many([Post(_id=1), Post(_id=2)])
    for posts in ([1, 1], [1, 2], [1, 2]):
        await call(arrow).upsert_table(Comment, {"_id": [1, 2], "post": posts})

    assert [1, 1] == [post.comment_count for post in Post.many(sort="_id")]


async def test_listeners_and_all_that_goes_with_them(call: Runtime, commands: Commands) -> None:
    """Versions, kinds, paths and nulls are as without listeners; a batch is three commands."""

    class Animal(Frame):
        _kind_field = "type"
        _version = "_v"
        _id: int
        name: str
        lair: dict[str, Any]

    class Bird(Animal):
        wings: int

    heard: list[Any] = []
    Animal.listen("updated", lambda frames: heard.extend(frames))
    arrow.insert_table(Bird, {"_id": [1], "name": ["a"], "lair": [{"gold": 1, "dark": True}]})
    data = pa.table({"_id": [1, 2], "name": [None, "b"], "lair.gold": [5, 6]})
    commands.clear()
    result = await call(arrow).upsert_table(Animal, data, nulls="omit")

    assert ["find", "insert", "update"] == sorted(commands.names)
    assert (1, 1) == (result.matched, result.upserted)
    assert [Bird] == [type(frame) for frame in heard]
    assert [
        {"_id": 1, "name": "a", "lair": {"gold": 5, "dark": True}, "_v": 2, "type": "Bird"},
        {"_id": 2, "name": "b", "lair": {"gold": 6}, "_v": 1, "type": "Animal"},
    ] == stored(Animal)
    again = await call(arrow).upsert_table(Animal, {"_id": [2, 3]})
    assert (1, 0, 1) == (again.matched, again.modified, again.upserted)


async def test_listeners_and_refusals(call: Runtime) -> None:
    """Of rows that are refused listeners are not told after; codes and numbers are those of rows."""
    heard: list[Any] = []
    for event in ("inserted", "updated"):
        Price.listen(event, lambda frames: heard.extend(f._id for f in frames))
    Price.get_collection().create_index("symbol", unique=True)
    arrow.insert_table(Price, {"_id": [1, 2], "symbol": ["A", "B"]}, events=False)
    data = {"_id": [1, 2, 3, 4], "symbol": ["B", "C", "A", "D"]}
    result = await call(arrow).upsert_table(Price, data, on_error="return", batch_rows=10)

    assert [2, 4] == sorted(heard)
    assert (1, 1, 2) == (result.matched, result.upserted, result.duplicates)
    assert [(0, 11000), (2, 11000)] == sorted(
        (error["row"], error["code"]) for error in result.errors.to_pylist()
    )
    with pytest.raises(RowsError):
        await call(arrow).upsert_table(Price, {"_id": [9], "symbol": ["D"]})
    with pytest.raises(QueryError, match="ordered=False"):
        await call(arrow).upsert_table(Price, data, ordered=True)


async def test_listeners_and_a_lost_connection(server: Server, call: Runtime) -> None:
    """What is not known of frames is told, and no more is sent."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    Price.listen("updated", lambda: None)
    arrow.insert_table(Price, {"_id": [1, 2]}, events=False)
    data = {"_id": [3, 1, 2], "amount": [1.0, 2.0, 3.0]}
    with fault(server, "update", closeConnection=True), pytest.raises(RowsError) as caught:
        await call(arrow).upsert_table(Price, data)
    result = caught.value.result

    assert isinstance(caught.value.__cause__, AutoReconnect)
    assert (1, 0, 2) == (result.upserted, result.matched, result.unknown)
    assert [1, 2] == result.errors["row"].to_pylist()


async def test_listeners_of_replacements(call: Runtime, commands: Commands) -> None:
    """Listeners are not told of replacements: they are named, and nothing is sent."""

    def audit(frames: list[Any]) -> None:
        raise AssertionError

    Egg.listen("updated", audit)
    with pytest.raises(QueryError, match=r"got audit; events=False"):
        await call(arrow).replace(Egg, {"_id": [1], "name": ["a"]})
    assert [] == commands.names
    await call(arrow).replace(Egg, {"_id": [1], "name": ["ab"]}, events=False, upsert=True)
    assert "ba" == stored(Egg)[0]["name_rev"]


# Replacements


async def test_documents_are_replaced(call: Runtime, commands: Commands) -> None:
    """Of a document that is replaced nothing stays but its `_id`; others stay as they are."""
    for symbol in ("A", "B"):
        Price(symbol=symbol, time=at(1), amount=1.0, note="old").insert()
    ids = [d["_id"] for d in stored(Price)]
    commands.clear()
    result = await call(arrow).replace(Price, {"_id": [ids[0]], "amount": [2.0]})

    assert ["update"] == commands.names
    assert (1, 1, 0) == (result.matched, result.modified, result.upserted)
    assert [
        {"_id": ids[0], "amount": 2.0},
        {"_id": ids[1], "symbol": "B", "time": at(1), "amount": 1.0, "note": "old"},
    ] == stored(Price)
    await call(arrow).replace(Price, prices(("B", 1, 3.0)), on=["symbol", "time"])
    assert {"_id": ids[1], "symbol": "B", "time": at(1), "amount": 3.0} == stored(Price)[1]


async def test_rows_that_name_no_document(call: Runtime) -> None:
    """A row that names no document is an error, by its number, or is inserted when asked for."""
    await call(arrow).insert_table(Price, {"_id": [1, 3], "amount": [1.0, 3.0]})
    data = {"_id": [1, 2, 3], "amount": [5.0, 6.0, 7.0]}
    with pytest.raises(RowsError, match="no document has _id=2") as caught:
        await call(arrow).replace(Price, data)
    result = caught.value.result

    assert (2, 1, 0) == (result.matched, result.failed, result.duplicates)
    assert [(1, "failed", None, 2)] == [
        tuple(e[n] for n in ("row", "state", "code", "_id")) for e in result.errors.to_pylist()
    ]
    assert [(1, 5.0), (3, 7.0)] == [(d["_id"], d["amount"]) for d in stored(Price)]
    result = await call(arrow).replace(Price, data, upsert=True)
    assert (2, 1, [None, 2, None]) == (result.matched, result.upserted, result.ids.to_pylist())


async def test_rows_that_name_no_document_by_other_fields(call: Runtime) -> None:
    """Which rows found none is told for all names, also dotted ones and those in another case."""

    class Owner(Frame):
        email: StrLower
        lair: dict[str, Any]

    await call(arrow).insert_table(Owner, {"email": ["A"], "lair": [{"name": "x"}]})
    data = {"email": ["a", "A"], "lair.name": ["x", "y"]}
    result = await call(arrow).replace(Owner, data, on=["email", "lair.name"], on_error="return")

    assert (1, [1]) == (result.matched, result.errors["row"].to_pylist())


async def test_replacements_declare_too(call: Runtime) -> None:
    """A replacement has its case, stamps, defaults and derived fields, as a new document."""
    await call(arrow).insert_table(Egg, {"_id": [1], "name": ["a"], "email": ["X"]})
    await call(arrow).replace(Egg, {"_id": [1], "name": ["bc"], "email": ["Y"], "seen": [THEN]})
    (found,) = stored(Egg)

    assert ("bc", "cb", "y", []) == tuple(found[n] for n in ("name", "name_rev", "email", "tags"))
    assert found["laid"] == found["seen"] > THEN


def test_kinds_are_kept_apart(db: str) -> None:
    """A class replaces documents of its own kind only."""

    class Animal(Frame):
        _kind_field = "type"
        _id: int
        name: str

    class Bird(Animal):
        wings: int

    Animal(_id=1, name="x").insert()
    Bird(_id=2, name="y", wings=2).insert()
    result = arrow.replace(Bird, {"_id": [1, 2], "wings": [3, 3]}, on_error="return")

    assert [0] == result.errors["row"].to_pylist()
    assert [{"_id": 1, "name": "x", "type": "Animal"}, {"_id": 2, "type": "Bird", "wings": 3}] == (
        stored(Animal)
    )


# Failures


async def test_refused_rows(call: Runtime) -> None:
    """Rows that a unique index refuses are told; the others are written."""
    Price.get_collection().create_index("symbol", unique=True)
    arrow.insert_table(Price, {"_id": [1, 2], "symbol": ["A", "B"]})
    data = {"_id": [1, 3], "symbol": ["B", "C"]}
    for operation, how in (("upsert_table", {}), ("replace", {"upsert": True})):
        result = await getattr(call(arrow), operation)(Price, data, on_error="return", **how)
        assert (1, [0]) == (result.duplicates, result.errors["row"].to_pylist())
    assert {"A", "B", "C"} == {d["symbol"] for d in stored(Price)}


async def test_a_lost_connection(server: Server, call: Runtime) -> None:
    """What is not known of rows is told."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    with fault(server, "update", closeConnection=True), pytest.raises(AutoReconnect) as caught:
        await call(arrow).upsert_table(Price, {"_id": [1, 2], "amount": [1.0, 2.0]})
    assert any("2 unknown" in note for note in caught.value.__notes__)


async def test_transactions(server: Server, call: Runtime) -> None:
    """Upserts and replacements join the transaction that they are made in."""
    if server.client.admin.command("hello").get("setName") is None:
        pytest.skip("transactions need a replica set or a sharded cluster")
    arrow.insert_table(Price, {"_id": [1], "amount": [1.0]})

    async def run() -> None:
        await call(arrow).upsert_table(Price, {"_id": [1, 2], "amount": [5.0, 5.0]})
        await call(arrow).replace(Price, {"_id": [1], "note": ["x"]})
        raise KeyError

    async def within() -> None:
        if call.is_async:
            async with loom.aio.transaction():
                await run()
        else:
            with loom.transaction():
                await run()

    with pytest.raises(KeyError):
        await within()
    assert [{"_id": 1, "amount": 1.0}] == stored(Price)


# Against one by one


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=40,
)
@given(
    first=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=6),
    second=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=8),
    batch=st.integers(1, 4),
    is_heard=st.booleans(),
)
def test_upserts_are_those_of_a_dict(
    db: str,
    first: list[tuple[int, int]],
    second: list[tuple[int, int]],
    batch: int,
    is_heard: bool,
) -> None:
    """Whatever rows name whatever documents, and whoever listens, it is as in a dict."""

    class Pair(Frame):
        _id: int
        value: int
        other: int

    heard: list[int] = []
    for event in ("inserted", "updated") if is_heard else ():
        Pair.listen(event, lambda frames: heard.extend(f._id for f in frames))
    collection = Pair.get_collection()
    collection.delete_many({})
    model: dict[int, dict[str, int]] = {key: {"other": value} for key, value in first}
    if model:
        collection.insert_many([{"_id": key, **rest} for key, rest in model.items()])
    before = {*model}
    for key, value in second:
        model.setdefault(key, {})["value"] = value
    data = pa.table({"_id": [k for k, _ in second], "value": [v for _, v in second]})
    result = arrow.upsert_table(Pair, data, batch_rows=batch)

    assert model == {d.pop("_id"): d for d in collection.find()}
    assert len({k for k, _ in second} - before) == result.upserted
    assert len(second) == result.upserted + result.matched
    assert sorted(heard) == (sorted(k for k, _ in second) if is_heard else [])
