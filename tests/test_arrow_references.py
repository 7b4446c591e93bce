"""References in columns: what stands there is what `many` puts there, by as many commands."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from bson import Decimal128, Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from loom import Frame, Missing, NotFound, SubFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow

from .conftest import Commands, Runtime, Server


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


PLANES = st.sampled_from([1, 1, 2, 3, 4, 99, 98, None])
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
