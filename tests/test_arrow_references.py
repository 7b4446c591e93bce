"""References in columns: what stands there is what `many` puts there, by as many commands."""

from __future__ import annotations

import copy
from datetime import datetime, timezone
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest
from bson import Decimal128, Int64, ObjectId
from bson.dbref import DBRef
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import OperationFailure

import loom
from loom import Frame, Missing, NotFound, Q, QueryError, SchemaError, SubFrame
from loom.errors import FieldError, ProjectionError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from loom.frames import arrow
from loom.frames.arrow.references import rows as reference_rows
from loom.frames.arrow.references import sizes

from .conftest import Commands, Runtime, Server
from .faults import fault


class Maker(Frame):
    """Who builds planes."""

    _id: str
    name: str
    parent: Maker


class Seat(SubFrame):
    """A place in a plane."""

    number: int
    sponsor: Maker


class Plane(Frame):
    """What flies."""

    _id: int
    code: str
    year: int | None
    maker: Maker
    seat: Seat
    seats: list[Seat]


class Flight(Frame):
    """One flight."""

    _id: int
    carrier: str
    delay: float
    plane: Plane
    spare: Plane
    planes: list[Plane]
    by_name: dict[str, Plane]
    seat: Seat
    seats: list[Seat]
    nested: list[list[int]]
    previous: Flight
    loose: Any


def stored(cls: Any, *documents: dict[str, Any]) -> None:
    """Store documents as they are."""
    cls.get_collection().insert_many([*documents])


def makers() -> None:
    """Store makers, one of which has a parent."""
    stored(
        Maker,
        {"_id": "B", "name": "Boeing"},
        {"_id": "A", "name": "Airbus", "parent": "B"},
        {"_id": "E", "name": None, "parent": "?"},
    )


def planes() -> None:
    """Store planes."""
    stored(
        Plane,
        {"_id": 1, "code": "p1", "year": 1999, "maker": "B", "seat": {"number": 1, "sponsor": "A"}},
        {"_id": 2, "code": "p2", "maker": "A", "seats": [{"number": 5, "sponsor": "E"}, {}]},
        {"_id": 3, "code": "p3", "maker": "?", "year": None, "seats": []},
    )


async def test_struct_columns(call: Runtime, commands: Commands) -> None:
    """A reference is a struct of what is named, by one command more."""
    planes()
    stored(
        Flight, {"_id": 1, "plane": 2}, {"_id": 2, "plane": 1}, {"_id": 3, "plane": 2}, {"_id": 4}
    )
    commands.clear()
    projection = {"n": "_id", "plane": {"$ref": Plane, "code": True, "when": "year"}}
    table = await call(arrow).table(Flight, sort="_id", projection=projection)

    assert [("find", "Flight"), ("find", "Plane")] == commands.sent
    second = {"_id": 2, "code": "p2", "when": None}
    assert [
        {"n": 1, "plane": second},
        {"n": 2, "plane": {"_id": 1, "code": "p1", "when": 1999}},
        {"n": 3, "plane": second},
        {"n": 4, "plane": None},
    ] == table.to_pylist()
    struct = pa.struct([("_id", pa.int64()), ("code", pa.string()), ("when", pa.int64())])
    assert struct == table.schema.field("plane").type


# Against what `many` puts there


def plain(value: Any, type: Any, key: str = "_id") -> Any:
    """Return what stands in a frame as a column of a type gives it."""
    if value is None:
        return None
    if pa.types.is_list(type):
        return [plain(one, type.value_type) for one in value]
    if pa.types.is_map(type):
        return [(name, plain(one, type.item_type)) for name, one in value.items()]
    if not pa.types.is_struct(type):
        return value
    if isinstance(value, Missing):
        return {field.name: value._id if field.name == key else None for field in type}
    document = value if isinstance(value, dict) else value._document
    return {field.name: plain(document.get(field.name), field.type) for field in type}


def rows_of(frames: list[Any], schema: Any) -> list[dict[str, Any]]:
    """Return frames as the rows of a table."""
    return [
        {f.name: plain(frame._document.get(f.name), f.type) for f in schema} for frame in frames
    ]


PLANES = st.sampled_from([1, 1, 2, 3, 4, 99, 98, None, 2.0, Int64(3), Decimal128("1")])
MAKERS = st.sampled_from(["A", "B", "E", "?", None])
SEATS = st.fixed_dictionaries({"number": st.integers(0, 9)}, optional={"sponsor": MAKERS})
FLIGHTS = st.lists(
    st.fixed_dictionaries(
        {"carrier": st.sampled_from(["AA", "UA"])},
        optional={
            "plane": PLANES,
            "spare": PLANES,
            "planes": st.one_of(st.none(), st.lists(PLANES, max_size=4)),
            "by_name": st.one_of(
                st.none(), st.dictionaries(st.sampled_from("ab"), PLANES, max_size=2)
            ),
            "seat": st.one_of(st.none(), SEATS),
            "seats": st.one_of(st.none(), st.lists(SEATS, max_size=3)),
            "nested": st.lists(st.one_of(st.none(), st.lists(PLANES, max_size=2)), max_size=2),
            "previous": st.integers(0, 6),
            "loose": st.sampled_from([1, 2.0, Int64(3), 98.0, Decimal128("3"), None]),
        },
    ),
    max_size=6,
)
ON_MISSING = st.sampled_from(["keep", "none", "drop", "raise", "keep", "none"])


@st.composite
def wanted(draw: Any, cls: Any, depth: int = 2) -> dict[str, Any]:
    """Draw the fields of a class, some of them followed."""
    to = {
        Flight: {
            "plane": Plane, "spare": Plane, "planes": Plane, "by_name": Plane, "previous": Flight,
            "nested": Plane, "loose": Plane, "seat": Seat, "seats": Seat,
        },
        Plane: {"maker": Maker, "seat": Seat, "seats": Seat},
        Maker: {"parent": Maker},
        Seat: {"sponsor": Maker},
    }[cls]  # fmt: skip
    names = {Flight: ["carrier"], Plane: ["code", "year"], Maker: ["name"], Seat: ["number"]}
    found: dict[str, Any] = dict.fromkeys(names[cls], True)
    back = {Flight: (Flight, ["previous"]), Plane: (Flight, ["plane", "planes", "nested"])}
    back[Maker] = Plane, ["maker", "seat.sponsor", "seats.sponsor"]
    if depth and cls in back and draw(st.booleans()):
        other, fields = back[cls]
        on = draw(st.sampled_from(fields))
        found["back"] = {"$from": other, "$on": on, **draw(wanted(other, depth - 1))}
    for name in sorted(draw(st.sets(st.sampled_from([*to])))) if depth else []:
        inner = draw(wanted(to[name], depth - 1))
        if to[name] is Seat:
            found[name] = {"$sub": Seat, **inner}
        else:
            found[name] = {"$ref": to[name], "$missing": draw(ON_MISSING), **inner}
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(FLIGHTS, wanted(Flight))
def test_columns_are_what_many_gives(
    db: str, flights: list[dict[str, Any]], projection: dict[str, Any]
) -> None:
    """Every value of every struct is that of the frame that `many` puts there, missing ones too."""
    for cls in (Flight, Plane, Maker):
        cls.get_collection().delete_many({})
    makers()
    planes()
    documents = [{"_id": number, **flight} for number, flight in enumerate(flights)]
    if documents:
        stored(Flight, *documents)
    projection = {"_id": True, **projection}
    try:
        frames = Flight.many(projection=projection, sort="_id")
    except NotFound:
        with pytest.raises(NotFound):
            arrow.table(Flight, projection=projection, sort="_id")
        return
    table = arrow.table(Flight, projection=projection, sort="_id", batch_rows=2)

    assert rows_of(frames, table.schema) == table.to_pylist()
    table.validate(full=True)


async def test_partitions(call: Runtime, server: Server) -> None:
    """What other processes have read is joined here, ids of other types included."""

    class Plane(Frame):
        _id: int
        code: str

    planes()
    stored(Flight, *({"_id": n, "plane": n % 4 or 2.0, "planes": [n % 3]} for n in range(40)))
    projection = {
        "_id": True,
        "plane": {"$ref": Plane, "code": True},
        "planes": {"$ref": Plane, "$missing": "drop", "code": True},
    }
    whole = await call(arrow).table(Flight, projection=projection, sort="_id")
    connect = partial(MongoClient, server.uri)
    parts = await call(arrow).table(Flight, projection=projection, partitions=2, connect=connect)

    assert whole.to_pylist() == parts.to_pylist()


# How much is asked


async def test_fields_that_want_the_same_share_a_query(call: Runtime, commands: Commands) -> None:
    """Two fields, a list and a second level: one query for each class, projection and level."""
    makers()
    planes()
    stored(
        Flight,
        {"_id": 1, "plane": 1, "spare": 2, "planes": [3, 1]},
        {"_id": 2, "plane": 2, "spare": 9},
    )
    commands.clear()
    plane = {"$ref": Plane, "code": True, "maker": {"$ref": Maker, "name": True}}
    projection = {"plane": plane, "spare": {**plane, "$missing": "none"}, "planes": plane}
    table = await call(arrow).table(Flight, sort="_id", projection=projection)

    assert [("find", "Flight"), ("find", "Plane"), ("find", "Maker")] == commands.sent
    assert [1, 2, 3, 9] == sorted(commands.bodies[1]["filter"]["_id"]["$in"])
    assert {"_id": True, "code": True, "maker": True} == commands.bodies[1]["projection"]
    assert [{"_id": 3, "code": "p3", "maker": {"_id": "?", "name": None}}] == table.column(
        "planes"
    ).to_pylist()[0][:1]


async def test_batches_remember(call: Runtime, commands: Commands) -> None:
    """An id is looked for once, found or not, however many batches name it."""
    planes()
    stored(Flight, *({"_id": n, "plane": (1, 2, 9)[n % 3]} for n in range(10)))
    stored(Flight, {"_id": 10, "plane": 3})
    commands.clear()
    projection = {"plane": {"$ref": Plane, "code": True}}
    table = await call(arrow).table(Flight, sort="_id", projection=projection, batch_rows=3)

    asked = [b["filter"]["_id"]["$in"] for b in commands.bodies if b.get("find") == "Plane"]
    assert [[1, 2, 9], [3]] == asked
    assert ["p1", "p2", None] == [row["code"] for row in table.column("plane").to_pylist()[:3]]


async def test_what_is_remembered_is_bounded(
    call: Runtime, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than that is forgotten after a batch, asked for again, and the same."""
    monkeypatch.setattr(reference_rows, "KEPT_BYTES", 100)
    planes()
    stored(Flight, *({"_id": n, "plane": (1, 9)[n % 2]} for n in range(6)))
    commands.clear()
    projection = {"plane": {"$ref": Plane, "code": True}}
    table = await call(arrow).table(Flight, sort="_id", projection=projection, batch_rows=2)

    assert 3 == commands.sent.count(("find", "Plane"))
    assert ["p1", None] * 3 == [row["code"] for row in table.column("plane").to_pylist()]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"plane": {"$ref": Plane, "code": True}}, "Plane.code"),
        ({"planes": {"$ref": Plane, "code": True}}, "Plane.code"),
        ({"by_name": {"$ref.": Plane, "seats": True}}, "Plane.seats"),
        ({"plane": {"$ref": Plane, "maker": {"$ref": Maker, "name": True}}}, "Plane.maker.name"),
    ],
    ids=lambda given: str(given),
)
async def test_more_than_an_array_holds(
    call: Runtime, monkeypatch: pytest.MonkeyPatch, asked: Any, field: str
) -> None:
    """What many rows refer to is there for each of them: of too much, the field is named."""
    long = "x" * 100
    stored(Maker, {"_id": "L", "name": long})
    stored(Plane, {"_id": 2, "code": long, "maker": "L", "seats": [{}] * 100})
    plane = {"plane": 2, "planes": [2], "by_name": {"a": 2}, "carrier": long}
    stored(Flight, *({"_id": n, **plane} for n in range(30)))
    monkeypatch.setattr(sizes, "MOST", 3_000)
    assert 30 == (await call(arrow).table(Flight, projection=asked)).num_rows

    for most, said in (
        (2_999, rf"^{field}: .* more for 30 references; pass a smaller batch_rows"),
        (50, r"^(Plane|Maker): .* more of the documents referred to; pass a smaller"),
    ):
        monkeypatch.setattr(sizes, "MOST", most)
        with pytest.raises(SchemaError, match=said):
            await call(arrow).table(Flight, projection=asked)


async def test_ids_are_sent_in_chunks(call: Runtime, server: Server, db: str) -> None:
    """A query carries as many ids as the connection says."""
    stored(Plane, *({"_id": n, "code": f"p{n}"} for n in range(7)))
    stored(Flight, {"_id": 1, "planes": [*range(7)]})
    loom.connect(server.client, aio=server.aio, db=db, reference_chunk=3)
    server.commands.clear()
    projection = {"planes": {"$ref": Plane, "code": True}}
    table = await call(arrow).table(Flight, projection=projection)

    assert 3 == server.commands.sent.count(("find", "Plane"))
    assert [f"p{n}" for n in range(7)] == [r["code"] for r in table["planes"].to_pylist()[0]]


async def test_nothing_to_look_for(call: Runtime, commands: Commands) -> None:
    """Without documents, and without ids in them, nothing is asked and the types are the same."""
    projection = {"plane": {"$ref": Plane}, "planes": {"$ref": Plane, "code": True}}
    nothing = await call(arrow).table(Flight, projection=projection)
    stored(Flight, {"_id": 1, "plane": None, "planes": []}, {"_id": 2})
    empty = await call(arrow).table(Flight, projection=projection, sort="_id")

    assert ["find", "insert", "find"] == commands.names
    assert nothing.schema == empty.schema
    assert [{"plane": None, "planes": []}, {"plane": None, "planes": None}] == empty.to_pylist()
    names = [field.name for field in empty.schema.field("plane").type]
    assert ["_id", "code", "year", "maker", "seat", "seats"] == names


async def test_queries_belong_to_the_call(
    call: Runtime, server: Server, commands: Commands
) -> None:
    """Session and comment go with the queries for references; sort and limit do not."""
    planes()
    stored(Flight, {"_id": 1, "plane": 1}, {"_id": 2, "plane": 2})
    commands.clear()
    projection = {"plane": {"$ref": Plane, "code": True}}
    client = server.aio if call.is_async else server.client
    session: Any = client.start_session()
    try:
        options: Any = {"sort": "_id", "limit": 1, "session": session, "comment": "why"}
        await call(arrow).table(Flight, projection=projection, **options)
    finally:
        ended = session.end_session()
        if call.is_async:
            await ended
    flights, found = commands.bodies

    assert flights["lsid"] == found["lsid"]
    assert "why" == flights["comment"] == found["comment"]
    assert not {"sort", "limit"} & {*found}


async def test_in_a_transaction(call: Runtime, commands: Commands) -> None:
    """What was written in the transaction is found by the queries for references, too."""
    stored(Flight, {"_id": 1, "plane": 5})
    projection = {"plane": {"$ref": Plane, "code": True}}
    if call.is_async:
        async with loom.aio.transaction():
            await Plane(_id=5, code="new").aio.insert()
            table = await arrow.aio.table(Flight, projection=projection)
    else:
        with loom.transaction():
            Plane(_id=5, code="new").insert()
            table = arrow.table(Flight, projection=projection)

    assert [{"plane": {"_id": 5, "code": "new"}}] == table.to_pylist()


async def test_another_database(call: Runtime, db: str, server: Server) -> None:
    """A block with another database is that of the references, also when the stream outlives it."""
    other = f"{db}_other"
    try:
        with loom.using(db=other):
            planes()
            stored(Flight, {"_id": 1, "plane": 2})
            projection = {"plane": {"$ref": Plane, "code": True}}
            stream = call(arrow).batches(Flight, projection=projection)
            stream = await stream if not call.is_async else stream
        found = [b async for b in stream] if call.is_async else [*stream]
    finally:
        server.client.drop_database(other)

    assert [{"plane": {"_id": 2, "code": "p2"}}] == found[0].to_pylist()


# Missing documents


@pytest.mark.parametrize(
    ("missing", "one", "many", "mapped"),
    [
        (
            "keep",
            {"_id": 9, "code": None},
            [{"_id": 1, "code": "p1"}, {"_id": 9, "code": None}, None],
            [("a", {"_id": 9, "code": None}), ("b", {"_id": 1, "code": "p1"}), ("c", None)],
        ),
        (
            "none",
            None,
            [{"_id": 1, "code": "p1"}, None, None],
            [("a", None), ("b", {"_id": 1, "code": "p1"}), ("c", None)],
        ),
        (
            "drop",
            None,
            [{"_id": 1, "code": "p1"}, None],
            [("b", {"_id": 1, "code": "p1"}), ("c", None)],
        ),
    ],
)
async def test_missing(call: Runtime, missing: str, one: Any, many: Any, mapped: Any) -> None:
    """A missing document is a struct of its id, null, or left out of lists and maps."""
    planes()
    stored(
        Flight,
        {"_id": 1, "plane": 9, "planes": [1, 9, None], "by_name": {"a": 9, "b": 1, "c": None}},
    )
    follow = {"$ref": Plane, "code": True, "$missing": missing}
    names = ("plane", "planes", "by_name")
    table = await call(arrow).table(Flight, projection=dict.fromkeys(names, follow))

    assert [{"plane": one, "planes": many, "by_name": mapped}] == table.to_pylist()


async def test_missing_can_raise(call: Runtime) -> None:
    """The error names the place of the reference, the class and the id."""
    stored(Flight, {"_id": 1, "planes": [7]})
    follow = {"$ref": Plane, "code": True, "$missing": "raise"}
    with pytest.raises(
        NotFound, match=r"^Flight.planes: expected the Plane with _id=7, found none"
    ):
        await call(arrow).table(Flight, projection={"planes": follow})


async def test_ids_of_missing_documents_fit(call: Runtime) -> None:
    """An id that is kept must fit its column; where it need not be kept, it may be anything."""
    planes()
    stored(Flight, {"_id": 1, "loose": "x"}, {"_id": 2, "loose": ONE})
    follow = {"$ref": Plane, "code": True}
    with pytest.raises(
        SchemaError, match=r"^Flight.loose: expected ids of the type of Plane._id, int64, got 'x'"
    ):
        await call(arrow).table(Flight, projection={"loose": follow}, sort="_id")
    table = await call(arrow).table(Flight, projection={"loose": {**follow, "$missing": "none"}})
    nulls = await call(arrow).table(Flight, projection={"loose": follow}, on_mismatch="null")

    assert [None, None] == table["loose"].to_pylist()
    assert [{"_id": None, "code": None}] * 2 == nulls["loose"].to_pylist()
    assert {b"loom.mismatches": b'{"Plane._id": 2}'} == nulls.schema.metadata


# Ids


class Owner(Frame):
    """What has an ObjectId."""

    name: str
    code: UUID
    since: datetime


class Pet(Frame):
    """What refers to owners."""

    _id: int
    owner: Owner
    owners: list[Owner]
    code: UUID
    stay: Stay


class Stay(SubFrame):
    """A document with an id that is followed, and one that is not."""

    owner: Owner
    other: ObjectId


ONE, TWO = ObjectId("65f000000000000000000001"), ObjectId("65f000000000000000000002")
CODE = UUID("12345678123456781234567812345678")
SINCE = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def pets() -> None:
    """Store pets and an owner."""
    stored(Owner, {"_id": ONE, "name": "Ann", "code": CODE, "since": SINCE})
    stored(
        Pet,
        {
            "_id": 1, "owner": ONE, "owners": [TWO, ONE], "code": CODE,
            "stay": {"owner": ONE, "other": TWO},
        },
        {"_id": 2, "owner": TWO},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "shown"),
    [("extension", lambda id: id), ("binary", lambda id: id.binary), ("hex", str)],
)
async def test_ids_as_they_are_asked_for(call: Runtime, ids: Any, shown: Any) -> None:
    """ObjectIds in structs are given as all others; documents are found in any case."""
    pets()
    follow = {"$ref": Owner, "name": True}
    projection = {
        "owner": follow,
        "owners": follow,
        "stay": {"owner": follow, "other": True},
    }
    table = await call(arrow).table(Pet, projection=projection, ids=ids, sort="_id")
    ann, gone = {"_id": shown(ONE), "name": "Ann"}, {"_id": shown(TWO), "name": None}

    assert [
        {"owner": ann, "owners": [gone, ann], "stay": {"owner": ann, "other": shown(TWO)}},
        {"owner": gone, "owners": None, "stay": None},
    ] == table.to_pylist()


async def test_other_keys(call: Runtime) -> None:
    """`$ref_key` follows another field, here a UUID, and keeps it where a document is missing."""
    pets()
    stored(Pet, {"_id": 3, "code": UUID(int=5)})
    projection = {"code": {"$ref": Owner, "$ref_key": "code", "name": True}}
    table = await call(arrow).table(Pet, projection=projection, sort="_id")
    frames = Pet.many(projection=projection, sort="_id")

    assert [
        {"_id": ONE, "code": CODE, "name": "Ann"},
        None,
        {"_id": None, "code": UUID(int=5), "name": None},
    ] == table["code"].to_pylist()
    assert frames[0].code._id == ONE


async def test_ids_of_several_types(call: Runtime) -> None:
    """Ids that are equal to MongoDB find the same document; others are told apart."""
    stored(
        Loose, {"_id": 1, "name": "one"}, {"_id": "1", "name": "text"}, {"_id": ONE, "name": "o"}
    )
    stored(Loose, {"_id": True, "name": "true"}, {"_id": SINCE, "name": "when"})
    ids = [1, 1.0, Int64(1), Decimal128("1"), "1", ONE, True, False, SINCE, None]
    stored(Flight, *({"_id": number, "loose": id} for number, id in enumerate(ids)))
    projection = {"loose": {"$ref": Loose, "name": True, "$missing": "none"}}
    schema = {"loose._id": pa.null()}
    table = await call(arrow).table(
        Flight, projection=projection, schema=schema, on_mismatch="null", sort="_id"
    )

    expected = ["one"] * 4 + ["text", "o", "true", None, "when", None]
    assert expected == [row and row["name"] for row in table["loose"].to_pylist()]


class Loose(Frame):
    """Documents with ids of all types."""

    name: str


async def test_values_that_are_no_ids(call: Runtime) -> None:
    """A list where one id is declared, and one id where a list is, do not fit."""
    planes()
    stored(Flight, {"_id": 1, "plane": [1], "planes": 1}, {"_id": 2, "plane": 1, "planes": [2]})
    follow = {"$ref": Plane, "code": True}
    projection = {"plane": follow, "planes": follow}
    with pytest.raises(SchemaError, match=r"^Flight.plane: expected id, got \[1\] of type array"):
        await call(arrow).table(Flight, projection=projection, sort="_id")
    stored(Flight, {"_id": 0, "plane": DBRef("Plane", 1)})
    with pytest.raises(SchemaError, match=r"^Flight.plane: expected id, got DBRef"):
        await call(arrow).table(Flight, projection=projection, sort="_id")
    Flight.get_collection().delete_one({"_id": 0})
    table = await call(arrow).table(Flight, projection=projection, sort="_id", on_mismatch="string")

    first, second = table.to_pylist()
    assert (None, None) == (first["plane"], first["planes"])
    assert [("plane", '[{"$numberInt": "1"}]'), ("planes", '{"$numberInt": "1"}')] == first[
        "_mismatches"
    ]
    assert [{"_id": 2, "code": "p2", "_mismatches": None}] == second["planes"]


async def test_values_of_referenced_documents(call: Runtime) -> None:
    """What does not fit is named by the class that it is of, and counted once per document."""
    stored(Plane, {"_id": 1, "code": 5}, {"_id": 2, "code": "p2"})
    stored(Flight, {"_id": 1, "plane": 1}, {"_id": 2, "plane": 1}, {"_id": 3, "plane": 2})
    projection = {"plane": {"$ref": Plane, "code": True}}
    with pytest.raises(SchemaError, match=r"^Plane.code: expected string, got 5 .* with _id=1;"):
        await call(arrow).table(Flight, projection=projection)
    nulls = await call(arrow).table(Flight, projection=projection, on_mismatch="null")
    texts = await call(arrow).table(Flight, projection=projection, on_mismatch="string")

    assert {b"loom.mismatches": b'{"Plane.code": 1}'} == nulls.schema.metadata
    assert [None, None, "p2"] == [row["code"] for row in nulls["plane"].to_pylist()]
    assert [("code", '{"$numberInt": "5"}')] == texts["plane"].to_pylist()[0]["_mismatches"]
    assert ["plane", "_mismatches"] == texts.column_names


# Names and types


async def test_paths_and_names(call: Runtime) -> None:
    """References stand under paths and other names, in documents, lists and maps of them."""
    makers()
    stored(
        Fleet,
        {
            "_id": 1,
            "lead": {"number": 1, "sponsor": "A"},
            "all": [{"number": 2, "sponsor": "B"}, {"number": 3}],
            "by_row": {"x": {"number": 4, "sponsor": "E"}, "y": {"number": 5, "sponsor": None}},
        },
        {"_id": 2, "by_row": {}, "all": []},
    )
    name = {"$ref": Maker, "name": True}
    projection = {
        "lead.sponsor": name,
        "first": {**name, "$path": "lead.sponsor"},
        "all.sponsor": name,
        "all": {"sponsor": name, "number": True},
        "by_row": {"$sub.": Seat, "sponsor": name},
    }
    table = await call(arrow).table(Fleet, projection=projection, sort="_id")
    airbus, boeing = {"_id": "A", "name": "Airbus"}, {"_id": "B", "name": "Boeing"}
    nobody = {"_id": "E", "name": None}

    assert [
        {
            "lead.sponsor": airbus,
            "first": airbus,
            "all.sponsor": [boeing, None],
            "all": [{"sponsor": boeing, "number": 2}, {"sponsor": None, "number": 3}],
            "by_row": [("x", {"sponsor": nobody}), ("y", {"sponsor": None})],
        },
        {"lead.sponsor": None, "first": None, "all.sponsor": [], "all": [], "by_row": []},
    ] == table.to_pylist()


class Fleet(Frame):
    """Documents in every shape."""

    _id: int
    lead: Seat
    all: list[Seat]
    by_row: dict[str, Seat]


async def test_documents_without_references(call: Runtime, commands: Commands) -> None:
    """A dict without `$ref` names the fields of an embedded document that are loaded."""
    stored(Fleet, {"_id": 1, "lead": {"number": 1, "sponsor": "A"}, "all": [{"number": 2}]})
    commands.clear()
    projection = {"lead": {"number": True}, "all": {"$sub": Seat}}
    table = await call(arrow).table(Fleet, projection=projection)

    assert [{"lead": {"number": 1}, "all": [{"number": 2, "sponsor": None}]}] == table.to_pylist()
    assert {"_id": True, "lead.number": True, "all": True} == commands.bodies[0]["projection"]


class Old(Frame):
    """A class as MongoFrames has them, without annotations."""

    _fields = {"one", "many", "named"}


async def test_without_annotations(call: Runtime) -> None:
    """The shape of a reference comes from the schema, or it is a single one; `$ref.` is a map."""
    planes()
    stored(Old, {"_id": ONE, "one": 1, "many": [2, None, 1], "named": {"a": 3}})
    code = {"$ref": Plane, "code": True}
    projection = {"one": code, "many": code, "named": {"$ref.": Plane, "code": True}}
    schema = {"many": pa.list_(pa.struct([("code", pa.string())]))}
    table = await call(arrow).table(Old, projection=projection, schema=schema)
    first, second, third = ({"_id": n, "code": f"p{n}"} for n in (1, 2, 3))

    assert [
        {"one": first, "many": [second, None, first], "named": [("a", third)]}
    ] == table.to_pylist()


async def test_types_are_given(call: Runtime) -> None:
    """A struct says what of a document is loaded and as what; a dotted name gives a single type."""
    stored(Plane, {"_id": 1, "code": "5", "year": 1999, "maker": "B"})
    stored(Flight, {"_id": 1, "plane": 1})
    follow = {"plane": {"$ref": Plane}}
    struct = pa.struct([("year", pa.int16()), ("_id", pa.int8())])
    given = await call(arrow).table(Flight, projection=follow, schema={"plane": struct})
    some = {"plane.year": pa.float64(), "plane.seat": None, "plane.seats": None, "plane": int}
    dotted = await call(arrow).table(Flight, projection=follow, schema=some)
    whole = await call(arrow).table(
        Flight,
        projection={"plane": {"$ref": Plane, "year": True}},
        schema=arrow.schema_of(Flight, {"loose": None}),
    )

    assert [{"_id": 1, "year": 1999}] == given["plane"].to_pylist()
    assert [pa.int8(), pa.int16()] == [field.type for field in given.schema.field("plane").type]
    assert [{"_id": 1, "code": "5", "year": 1999.0, "maker": "B"}] == dotted["plane"].to_pylist()
    assert [{"_id": 1, "year": 1999}] == whole["plane"].to_pylist()


@pytest.mark.parametrize(
    ("projection", "types", "said"),
    [
        ({"plane": {"$ref": Plane, "code": True}}, {"plane.year": int}, "got 'plane.year'"),
        ({"p": {"$ref": Plane, "$path": "plane"}}, {"delay": int}, "got 'delay'"),
        ({"seat": {"number": True}, "plane": True}, {"seat.numbers": int}, "mean 'seat.number'"),
    ],
)
def test_types_of_nothing_that_is_loaded(projection: Any, types: Any, said: str, db: str) -> None:
    """A type for what is not loaded is refused by name, inside of columns, too."""
    with pytest.raises(SchemaError, match=f"expected names of columns in the schema, .*{said}"):
        arrow.table(Flight, projection=projection, schema=types)


async def test_after_a_pipeline(call: Runtime, commands: Commands) -> None:
    """What comes out of a pipeline has references followed, too; its list is not changed."""
    planes()
    stored(Flight, *({"_id": n, "plane": n % 2 + 1, "delay": float(n)} for n in range(4)))
    commands.clear()
    pipeline: list[Any] = [
        {"$group": {"_id": "$plane", "delay": {"$max": "$delay"}}}, {"$sort": {"_id": 1}}
    ]  # fmt: skip
    table = await call(arrow).table(
        Flight,
        pipeline=pipeline,
        projection={"plane": {"$ref": Plane, "$path": "_id", "code": True}, "delay": True},
        schema={"delay": float},
    )

    assert [
        {"plane": {"_id": 1, "code": "p1"}, "delay": 2.0},
        {"plane": {"_id": 2, "code": "p2"}, "delay": 3.0},
    ] == table.to_pylist()
    assert ["aggregate", "find"] == [name for name in commands.names if name != "getMore"]
    assert 2 == len(pipeline)


async def test_of_a_directive(call: Runtime) -> None:
    """A directive's projection follows references in columns as in frames."""
    planes()
    stored(Flight, {"_id": 1, "plane": 2, "delay": 5.0}, {"_id": 2, "plane": 1, "delay": 1.0})
    found = Flight.filter(Q.delay > 2.0).project(
        {"_id": True, "plane": {"$ref": Plane, "code": True, "maker": {"$ref": Maker}}}
    )
    directive = (
        call(Flight).filter(Q.delay > 2.0) if call.is_async else Flight.filter(Q.delay > 2.0)
    )
    projected = directive.project({"_id": True, "plane": {"$ref": Plane, "code": True}})
    table = await projected.load_table() if call.is_async else projected.load_table()
    beside = arrow.table(found)

    expected = {"_id": 1, "plane": {"_id": 2, "code": "p2"}}
    assert [expected] == table.to_pylist()
    assert {"_id": "A", "name": None, "parent": None} == beside["plane"].to_pylist()[0]["maker"]


async def test_what_tables_become(call: Runtime, tmp_path: Any) -> None:
    """DataFrames, arrays and files hold the structs."""
    planes()
    stored(Flight, {"_id": 1, "plane": 2}, {"_id": 2})
    projection = {"_id": True, "plane": {"$ref": Plane, "code": True}}
    options: Any = {"projection": projection, "sort": "_id"}
    expected = [{"_id": 2, "code": "p2"}, None]
    pandas = await call(arrow).dataframe(Flight, **options)
    polars = await call(arrow).polars(Flight, **options)
    numpy = await call(arrow).numpy(Flight, **options)
    await call(arrow).to_parquet(Flight, tmp_path / "f.parquet", projection=projection)

    assert ["p2", None] == pandas["plane"].struct.field("code").astype(object).where(
        pandas["plane"].notna(), None
    ).tolist()
    assert expected == polars["plane"].to_list()
    assert expected == numpy["plane"].tolist()
    assert expected == pq.read_table(tmp_path / "f.parquet")["plane"].to_pylist()


async def test_parts_know_their_references(tmp_path: Any, db: str) -> None:
    """Files of a call that treats missing documents otherwise are not gone on with."""
    planes()
    stored(Flight, {"_id": 1, "plane": 9})
    follow = {"$ref": Plane, "code": True}
    arrow.to_parquet(Flight, tmp_path / "f", part_rows=5, projection={"plane": follow})
    other = {"plane": {**follow, "$missing": "none"}}
    with pytest.raises(QueryError, match="another"):
        arrow.to_parquet(Flight, tmp_path / "f", part_rows=5, projection=other)


async def test_zones_and_presence(call: Runtime) -> None:
    """Instants in structs are shown in the zone; the mask of a reference says whether it was there."""
    pets()
    stored(Pet, {"_id": 3, "owner": None})
    projection = {"owner": {"$ref": Owner, "since": True, "$missing": "none"}}
    table = await call(arrow).table(
        Pet, projection=projection, sort="_id", zone="Europe/Vienna", presence=True
    )

    assert "Europe/Vienna" == table.schema.field("owner").type.field("since").type.tz
    assert SINCE == table["owner"].to_pylist()[0]["since"]
    (mask,) = (name for name in table.column_names if name != "owner")
    assert [True, True, True] == table[mask].to_pylist()


# Classes


class Animal(Frame):
    """The root of two kinds."""

    _kind_field: ClassVar[str] = "kind"

    _id: int
    name: str


class Dog(Animal):
    """One of them."""

    barks: int


class Cat(Animal):
    """The other one."""

    lives: int


class Keeper(Frame):
    """Who keeps animals."""

    _id: int
    animal: Animal
    dog: Dog


async def test_kinds(call: Runtime, commands: Commands) -> None:
    """The fields of all kinds below a class are there; a class below sees its own documents only."""
    Dog(_id=1, name="Rex", barks=5).insert()
    Cat(_id=2, name="Tom", lives=7).insert()
    stored(Keeper, {"_id": 1, "animal": 1, "dog": 1}, {"_id": 2, "animal": 2, "dog": 2})
    commands.clear()
    projection = {
        "animal": {"$ref": Animal},
        "dog": {"$ref": Dog, "barks": True, "$missing": "none"},
        "same": {"$ref": Animal, "$path": "animal", "lives": True},
    }
    table = await call(arrow).table(Keeper, projection=projection, sort="_id")

    assert [
        {
            "animal": {"_id": 1, "name": "Rex", "barks": 5, "lives": None, "kind": "Dog"},
            "dog": {"_id": 1, "barks": 5},
            "same": {"_id": 1, "lives": None},
        },
        {
            "animal": {"_id": 2, "name": "Tom", "barks": None, "lives": 7, "kind": "Cat"},
            "dog": None,
            "same": {"_id": 2, "lives": 7},
        },
    ] == table.to_pylist()
    assert "Dog" in str([body["filter"] for body in commands.bodies])


class Aged(Frame):
    """A class with older documents."""

    _schema_version = 2

    name: str

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None: ...


@pytest.mark.parametrize(
    ("projection", "error", "said"),
    [
        ({"plane": {"$ref": Seat}}, ProjectionError, "Flight.plane: expected a Frame class after"),
        ({"plane": {"$ref": Plane, "$missing": "no"}}, ProjectionError, "expected .missing"),
        ({"plane": {"$ref": Plane, "$sub": Seat}}, ProjectionError, "expected one of .ref"),
        (
            {"plane": {"$ref": Plane, "$slice": 3}},
            ProjectionError,
            "got '.slice'; what is computed",
        ),
        ({"plane": {"$from": Plane, "$on": "x"}}, ProjectionError, "expected .on to be a field of"),
        ({"x": {"$from": Aged, "$on": "name"}}, QueryError, "Flight.x: expected documents of one"),
        ({"a.b": {"$from": Plane, "$on": "code"}}, ProjectionError, "expected .from under a plain"),
        (
            {"seat": {"x": {"$from": Plane, "$on": "code"}}},
            ProjectionError,
            "Flight.seat.x: expected .from under the name of a column",
        ),
        ({"plane": {}}, ProjectionError, "Flight.plane: expected True, a path or a dict"),
        ({"plane": {"$ref": Plane, "_id": False}}, ProjectionError, "Flight.plane._id: expected"),
        (
            {"plane": {"$ref": Plane, "_id": "code"}},
            ProjectionError,
            "Plane._id: expected '_id' as",
        ),
        ({"plane": {"$ref": Plane, "code": False}}, SchemaError, "expected columns as"),
        ({"plane": {"$ref": Plane, "cod": True}}, FieldError, "got 'cod'; did you mean 'code'"),
        ({"pane": {"$ref": Plane}}, FieldError, "got 'pane'; did you mean 'plane'"),
        (
            {"plane": {"$ref": Aged}},
            QueryError,
            "Flight.plane: expected documents of one form, got a",
        ),
        ({"plane": {"number": True}}, SchemaError, "Flight.plane: expected embedded documents"),
        ({"seat": {"$sub": Plane}}, ProjectionError, "expected a SubFrame class after .sub"),
        ({"seat": {"number": "n"}}, ProjectionError, "Flight.seat.number: expected the name of a"),
        ({"seat": {"a.b": True}}, ProjectionError, "Flight.seat.a.b: expected the name of a field"),
        (
            {"seat": {"sponsor": {"$ref": Maker, "$path": "x"}}},
            ProjectionError,
            "Flight.seat.sponsor: expected no .path",
        ),
        ({"seat": {"number": True, "$path": "x"}}, ProjectionError, "got '.path'"),
        ({"seat": {1: True}}, ProjectionError, "expected the name of a field, got 1"),
        ({"seat": {"nothing": True}}, FieldError, "Seat: expected a field, got 'nothing'"),
        ({"plane": {"$ref": Plane, "$path": 5}}, SchemaError, "expected columns as"),
        ({"plane": {"$ref": Flight}}, SchemaError, "Flight.loose: expected an annotation"),
    ],
)
def test_refused(db: str, projection: Any, error: type[Exception], said: str) -> None:
    """A projection that cannot be understood, or loaded, says where and what to write."""
    with pytest.raises(error, match=said):
        arrow.table(Flight, projection=projection)


def test_the_projection_is_not_changed(db: str) -> None:
    """What the caller passes stays as it is, and means the same the next time."""
    planes()
    stored(Flight, {"_id": 1, "plane": 1})
    projection = {"plane": {"$ref": Plane, "maker": {"$ref": Maker, "name": True}}}
    kept = copy.deepcopy(projection)
    first, second = (arrow.table(Flight, projection=projection) for _ in range(2))

    assert kept == projection
    assert first.equals(second)


async def test_nothing_is_looked_for_in_null_documents(call: Runtime, commands: Commands) -> None:
    """Where an embedded document is null or absent, no id stands in it, whatever the others hold."""
    stored(Maker, {"_id": "A", "name": "Airbus"})
    stored(Flight, {"_id": 1, "seat": None}, {"_id": 2}, {"_id": 3, "seat": {"sponsor": "A"}})
    stored(Flight, {"_id": 4, "seat": {"sponsor": 5}})
    commands.clear()
    follow = {"$ref": Maker, "name": True, "$missing": "none"}
    projection = {"seat": {"sponsor": follow}}
    table = await call(arrow).table(Flight, projection=projection, sort="_id")

    assert {"A", 5} == {*commands.bodies[1]["filter"]["_id"]["$in"]}
    airbus = {"_id": "A", "name": "Airbus"}
    assert [None, None, {"sponsor": airbus}, {"sponsor": None}] == table["seat"].to_pylist()


async def test_a_query_that_fails_ends_the_stream(call: Runtime, server: Server) -> None:
    """An error of a query for references is raised as it is, and the cursor is closed."""
    if not server.is_embedded:
        pytest.skip("other deployments may not let tests set fail points")
    planes()
    stored(Flight, *({"_id": n, "plane": n} for n in range(1, 7)))
    projection = {"plane": {"$ref": Plane, "code": True}}
    options: Any = {"projection": projection, "sort": "_id", "batch_rows": 2}
    if call.is_async:
        stream = arrow.aio.batches(Flight, **options)
        await stream.__anext__()
        with fault(server, "find", errorCode=2), pytest.raises(OperationFailure):
            await stream.__anext__()
        left = [batch async for batch in stream]
    else:
        blocking = arrow.batches(Flight, **options)
        next(blocking)
        with fault(server, "find", errorCode=2), pytest.raises(OperationFailure):
            next(blocking)
        left = [*blocking]

    assert [] == left


async def test_values_of_two_projections_are_counted_together(call: Runtime) -> None:
    """Documents of one class that are loaded in two ways count in both."""
    stored(Plane, {"_id": 1, "code": 5}, {"_id": 2, "code": 6})
    stored(Flight, {"_id": 1, "plane": 1, "spare": 2})
    projection = {
        "plane": {"$ref": Plane, "code": True},
        "spare": {"$ref": Plane, "code": True, "year": True},
    }
    table = await call(arrow).table(Flight, projection=projection, on_mismatch="null")

    assert {b"loom.mismatches": b'{"Plane.code": 2}'} == table.schema.metadata


async def test_what_refers_to_documents(call: Runtime, commands: Commands) -> None:
    """`$from` gives lists of what refers to a document, in order, empty ones too, by one query."""
    makers()
    planes()
    stored(Flight, *({"_id": n, "plane": n % 2 + 1, "delay": -float(n)} for n in range(5)))
    commands.clear()
    flights = {"$from": Flight, "$on": "plane", "$sort": "delay", "delay": True}
    projection = {"code": True, "flights": flights, "maker": {"$ref": Maker, "name": True}}
    table = await call(arrow).table(Plane, projection=projection, sort="_id")
    names = [name for name in commands.names if name != "getMore"]

    assert ["find"] * 3 == names
    assert [
        [{"_id": n, "delay": -float(n)} for n in (4, 2, 0)],
        [{"_id": n, "delay": -float(n)} for n in (3, 1)],
        [],
    ] == table["flights"].to_pylist()
    assert ["Boeing", "Airbus", None] == [row["name"] for row in table["maker"].to_pylist()]


async def test_the_first_of_what_refers(call: Runtime) -> None:
    """`$limit` holds for each document; lists, other keys and a chunk's border change nothing."""
    stored(Plane, *({"_id": n, "code": f"p{n}"} for n in range(30)))
    stored(
        Flight,
        *({"_id": n, "planes": [n % 30, (n + 1) % 30, n % 30], "carrier": "p3"} for n in range(90)),
    )
    fields = {"$from": Flight, "$on": "planes", "$sort": "-_id", "carrier": True}
    projection = {"_id": True, "all": fields, "two": {**fields, "$limit": 2}}
    projection["named"] = {"$from": Flight, "$on": "carrier", "$ref_key": "code", "carrier": True}
    frames = Plane.many(projection=projection, sort="_id")
    table = await call(arrow).table(Plane, projection=projection, sort="_id", batch_rows=28)

    assert rows_of(frames, table.schema) == table.to_pylist()
    assert [62, 61] == [row["_id"] for row in table["two"].to_pylist()[2]]
    assert 90 == len(table["named"].to_pylist()[3])


async def test_both_ways(call: Runtime, commands: Commands) -> None:
    """What a document refers to and what refers to it are told apart, also when they look alike."""
    stored(Flight, *({"_id": n, "carrier": f"c{n}", "previous": n - 1} for n in range(3)))
    commands.clear()
    projection = {
        "_id": True,
        "next": {"$from": Flight, "$on": "previous", "carrier": True},
        "previous": {"$ref": Flight, "carrier": True},
    }
    table = await call(arrow).table(Flight, projection=projection, sort="_id")
    frames = Flight.many(projection=projection, sort="_id")

    assert rows_of(frames, table.schema) == table.to_pylist()
    assert {"_id": -1, "carrier": None} == table["previous"].to_pylist()[0]


async def test_documents_of_given_types(call: Runtime) -> None:
    """Embedded documents that no annotation describes have the types that the schema gives."""
    planes()
    stored(Old, {"_id": ONE, "one": {"plane": 1, "n": 5, "x": True}, "many": [{"n": 1}]})
    projection = {
        "one": {"n": True, "plane": {"$ref": Plane, "code": True}},
        "many": {"n": True},
        "named": {"$sub.": Seat},
    }
    struct = pa.struct([("n", pa.int32()), ("plane", pa.int64())])
    schema = pa.schema([("one", struct), ("many", pa.list_(struct))])
    table = await call(arrow).table(Old, projection=projection, schema=schema)

    assert [
        {"one": {"n": 5, "plane": {"_id": 1, "code": "p1"}}, "many": [{"n": 1}], "named": None}
    ] == table.to_pylist()
    assert pa.int32() == table.schema.field("one").type.field("n").type
    with pytest.raises(SchemaError, match="expected schema=Schema"):
        await call(arrow).table(Old, projection=projection, schema=5)
    other = {"one": {"y": True}}
    with pytest.raises(SchemaError, match=r"^Old.one.y: expected a type .* by schema="):
        await call(arrow).table(Old, projection=other, schema=schema)


async def test_a_column_that_a_pipeline_adds(call: Runtime) -> None:
    """Ids under a name that the class does not know are followed when their type is given."""
    planes()
    stored(Flight, {"_id": 1, "plane": 2})
    table = await call(arrow).table(
        Flight,
        pipeline=[{"$project": {"which": "$plane"}}],
        projection={"which": {"$ref": Plane, "code": True}},
        schema={"which": int},
    )

    assert [{"which": {"_id": 2, "code": "p2"}}] == table.to_pylist()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"seat": {"sponsor": {"$ref": Maker, "name": True}}},
            {"seat": {"sponsor": {"$ref": Maker, "name": True, "$missing": "drop"}}},
        ),
        (
            {"back": {"$from": Flight, "$on": "previous", "delay": True}},
            {"back": {"$from": Flight, "$on": "previous", "delay": True, "$limit": 1}},
        ),
    ],
)
def test_parts_tell_projections_apart(tmp_path: Any, db: str, first: Any, second: Any) -> None:
    """Parts are gone on with by the same projection only, also inside documents and backwards."""
    stored(Flight, {"_id": 1})
    options: Any = {"part_rows": 5}
    written = arrow.to_parquet(Flight, tmp_path / "f", projection=first, **options)
    again = arrow.to_parquet(Flight, tmp_path / "f", projection=first, **options)

    assert 1 == written.rows
    assert written.files == again.files
    with pytest.raises(QueryError, match="another"):
        arrow.to_parquet(Flight, tmp_path / "f", projection=second, **options)


def test_other_paths_beside_a_directive(db: str) -> None:
    """`$path` is for columns: where an aggregate would send it, it is refused."""
    planes()
    stored(Flight, {"_id": 1, "plane": 2})
    projection = {"which": {"$ref": Plane, "$path": "plane", "code": True}}
    directive = Flight.filter().limit(5).sort("_id")
    table = directive.load_table(projection=projection)
    found = Flight.filter().sort("_id").project(projection).load_table()

    assert [{"which": {"_id": 2, "code": "p2"}}] == table.to_pylist() == found.to_pylist()
    with pytest.raises(QueryError, match="got .path; leave out"):
        directive.project(projection).load_table()
