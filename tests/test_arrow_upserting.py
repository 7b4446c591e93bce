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
    QueryError,
    ReadOnly,
    RowsError,
    SchemaError,
    StrLower,
    TimeInserted,
    TimeUpdated,
    default,
)
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


async def test_listeners(call: Runtime, commands: Commands) -> None:
    """Listeners that are not told are named, and nothing is sent; `events=False` goes on."""
    heard: list[Any] = []

    def audit(frames: list[Any]) -> None:
        heard.append(frames)

    Egg.listen("updated", audit)
    for operation in ("upsert_table", "replace"):
        with pytest.raises(QueryError, match=r"got audit; events=False .*bulk\(\)"):
            await getattr(call(arrow), operation)(Egg, {"_id": [1], "name": ["a"]})
    assert [] == commands.names
    await call(arrow).upsert_table(Egg, {"_id": [1], "name": ["ab"]}, events=False)
    assert "ba" == stored(Egg)[0]["name_rev"]
    assert [] == heard


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
)
def test_upserts_are_those_of_a_dict(
    db: str, first: list[tuple[int, int]], second: list[tuple[int, int]], batch: int
) -> None:
    """Whatever rows name whatever documents, the collection is what a dict would be."""

    class Pair(Frame):
        _id: int
        value: int
        other: int

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
