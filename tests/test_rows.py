"""Rows: values without frames."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from bson import Int64, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collation import Collation

import loom
from loom import FieldError, Frame, ProjectionError, Q, QueryError, StrLower, SubFrame
from loom.frames.rows import driver_of, maker_of

from .conftest import Commands, Runtime


class Inventory(SubFrame):
    """What a lair holds."""

    gold: int


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    gold: int
    inventory: Inventory


class Wyrm(Frame):
    """A dragon of these tests."""

    _private_fields = {"secret"}

    name: str
    email: StrLower
    age: int
    lair: Lair
    loot: list[dict[str, Any]]
    secret: str


class Versioned(Frame):
    """Its updates are counted."""

    _version = "_v"

    name: str


class Renamed(Frame):
    """Its older documents call the name otherwise."""

    _collection = "Wyrm"
    _schema_version = 2

    name: str
    age: int

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None:
        document["name"] = document.pop("title")


class Card(SubFrame):
    """What is shown of a dragon."""

    name: str
    lair: Lair


class Pair(NamedTuple):
    """Two values, the second one optional."""

    name: str
    age: int = 7


@dataclass
class Point:
    """Two values."""

    name: str
    age: int


DRAGONS: list[dict[str, Any]] = [
    {"name": "Burt", "age": 5, "lair": {"name": "Cave", "gold": 3}},
    {"name": "Fred", "age": None, "lair": {"name": "Peak"}},
    {"age": 7, "name": "Ann", "lair": None},
    {"name": "Sid"},
]


@pytest.fixture
def stored(db: str) -> list[Any]:
    """Dragons, each with more or fewer fields; returns their ids in the order of insertion."""
    made = [{"_id": ObjectId(), **one} for one in DRAGONS]
    Wyrm.get_collection().insert_many(made)
    return [one["_id"] for one in made]


def sent(commands: Commands) -> dict[str, Any]:
    """Return the last command."""
    return dict(commands.bodies[-1])


# What is fetched


async def test_rows_are_tuples_in_the_order_of_the_fields(
    call: Runtime, stored: list[Any], commands: Commands
) -> None:
    """One query fetches the named fields and nothing else; what is missing is None."""
    commands.clear()
    rows = await call(Wyrm).rows(Q.age != 100, "name", "age", "lair.gold", sort="_id")

    assert [
        ("Burt", 5, 3),
        ("Fred", None, None),
        ("Ann", 7, None),
        ("Sid", None, None),
    ] == rows
    assert ["find"] == commands.names
    assert {"name": True, "age": True, "lair.gold": True, "_id": False} == sent(commands)[
        "projection"
    ]


async def test_order_of_values_is_that_of_the_call(call: Runtime, stored: list[Any]) -> None:
    """However a document is stored, the first value is that of the first field."""
    there = {"age": {"$gt": 1}}

    assert [(5, "Burt"), (7, "Ann")] == await call(Wyrm).rows(there, "age", "name", sort="age")
    assert [("Burt", 5), ("Ann", 7)] == await call(Wyrm).rows(there, "name", "age", sort="age")


async def test_one_field_gives_tuples_of_one(call: Runtime, stored: list[Any]) -> None:
    """A single field is no exception, whether all documents have it or not."""
    assert [("Ann",), ("Burt",)] == await call(Wyrm).rows(Q.age > 1, "name", sort="name")
    assert [(None,), (5,)] == await call(Wyrm).rows(
        Q.name.is_in(["Burt", "Sid"]), "age", sort="age"
    )


async def test_id_is_there_when_it_is_named(
    call: Runtime, stored: list[Any], commands: Commands
) -> None:
    """`_id` alone, and `_id` beside others."""
    assert [(id,) for id in stored] == await call(Wyrm).rows(None, "_id", sort="_id")
    assert {"_id": True} == sent(commands)["projection"]
    assert [("Burt", stored[0])] == await call(Wyrm).rows(Q.age == 5, "name", "_id")


async def test_version_is_not_fetched_along(call: Runtime, commands: Commands) -> None:
    """Rows are not written back: the number of the version stays where it is."""
    await call(Versioned).rows(None, "name")

    assert {"name": True, "_id": False} == sent(commands)["projection"]


async def test_paths_may_be_made_with_q(call: Runtime, stored: list[Any]) -> None:
    """`Q.lair.gold` is `"lair.gold"`."""
    assert [(3, "Burt")] == await call(Wyrm).rows(Q.age == 5, Q.lair.gold, Q.name)


async def test_nothing_matches(call: Runtime, stored: list[Any]) -> None:
    """No document, no row, whatever the row."""
    for row in (tuple, dict, list, namedtuple, Card, Point):
        assert [] == await call(Wyrm).rows(Q.name == "Zed", "name", row=row)


async def test_paths_through_lists(call: Runtime) -> None:
    """A path through a list gives what each document in it has, as the projection brings it."""
    Wyrm.get_collection().insert_many(
        [
            {"_id": 1, "loot": [{"worth": 3}, {}, {"worth": [1, 2]}]},
            {"_id": 2, "loot": []},
            {"_id": 3, "loot": {"worth": 4}},
            {"_id": 4, "loot": [{"worth": 5}, 6, [{"worth": 7}]]},
            {"_id": 5, "loot": 5},
            {"_id": 6},
        ]
    )
    rows = await call(Wyrm).rows(None, "loot.worth", sort="_id")

    assert [([3, None, [1, 2]],), ([],), (4,), ([5, [7]],), (None,), (None,)] == rows


async def test_values_inside_are_documents(call: Runtime, stored: list[Any]) -> None:
    """An embedded document that is named whole is a dict: no sub-frames are made."""
    assert [({"name": "Cave", "gold": 3},)] == await call(Wyrm).rows(Q.age == 5, "lair")


# What is asked


async def test_filters_are_those_of_many(
    call: Runtime, stored: list[Any], commands: Commands
) -> None:
    """Text is looked for in its case, and options reach PyMongo."""
    collation = Collation("en", strength=2)
    await call(Wyrm).rows(
        Q.email == "Ann@X.org", "name", sort="-name", limit=2, skip=1, collation=collation
    )
    command = sent(commands)

    assert {"email": "ann@x.org"} == command["filter"]
    assert [("name", -1)] == list(command["sort"].items())
    assert (2, 1) == (command["limit"], command["skip"])
    assert ("en", 2) == (command["collation"]["locale"], command["collation"]["strength"])


async def test_rows_join_a_comment_and_a_session(
    call: Runtime, stored: list[Any], commands: Commands
) -> None:
    """What the block says holds for rows, too."""
    with loom.using(comment="report"):
        await call(Wyrm).rows(None, "name")

    assert "report" == sent(commands)["comment"]


async def test_a_wrong_filter_is_refused(call: Runtime, commands: Commands) -> None:
    """A filter that is none is refused as everywhere, before anything is sent."""
    commands.clear()
    for wrong in ("name", Q.name):
        with pytest.raises(
            QueryError, match=r"a filter before the fields.* Wyrm.rows\(None, 'name'"
        ):
            await call(Wyrm).rows(wrong, "age")
    with pytest.raises(QueryError, match="filter: expected"):
        await call(Wyrm).rows(False, "age")

    assert [] == commands.names


# What holds the values


async def test_dicts(call: Runtime, stored: list[Any]) -> None:
    """Dicts go by the paths, in their order, and have all of them."""
    rows = await call(Wyrm).rows(None, "name", "lair.gold", row=dict, sort="_id")

    assert {"name": "Burt", "lair.gold": 3} == rows[0]
    assert {"name": "Sid", "lair.gold": None} == rows[3]
    assert ["name", "lair.gold"] == list(rows[3])


async def test_lists(call: Runtime, stored: list[Any]) -> None:
    """Lists can be changed, unlike tuples."""
    assert [["Burt", 5]] == await call(Wyrm).rows(Q.age == 5, "name", "age", row=list)


async def test_named_tuples(call: Runtime, stored: list[Any]) -> None:
    """`namedtuple` names the values after the paths; calls with the same fields share a class."""
    (row,) = await call(Wyrm).rows(Q.age == 5, "_id", "name", "lair.gold", row=namedtuple)
    (other,) = await call(Wyrm).rows(Q.age == 7, "_id", "name", "lair.gold", row=namedtuple)

    assert (stored[0], "Burt", 3) == row == (row.id, row.name, row.lair_gold)
    assert type(row) is type(other)


async def test_named_tuples_of_ones_own(call: Runtime, stored: list[Any]) -> None:
    """The values come in the order of the fields; a default may stand for the last ones."""
    assert [Pair("Burt", 5)] == await call(Wyrm).rows(Q.age == 5, "name", "age", row=Pair)
    assert [Pair("Burt", 7)] == await call(Wyrm).rows(Q.age == 5, "name", row=Pair)


async def test_callables(call: Runtime, stored: list[Any]) -> None:
    """Whatever can be called gets the values as its arguments."""
    joined: Callable[..., str] = "{} is {}".format

    assert [Point("Burt", 5)] == await call(Wyrm).rows(Q.age == 5, "name", "age", row=Point)
    assert ["Burt is 5"] == await call(Wyrm).rows(Q.age == 5, "name", "age", row=joined)


async def test_errors_of_a_callable_pass(call: Runtime, stored: list[Any]) -> None:
    """What a callable raises is its own."""

    def fail(name: str) -> str:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError, match="Burt"):
        await call(Wyrm).rows(Q.age == 5, "name", row=fail)


async def test_sub_frames(call: Runtime, stored: list[Any]) -> None:
    """A SubFrame class wraps what was fetched, and its own annotations wrap what is inside."""
    burt, fred, ann, sid = await call(Wyrm).rows(None, "name", "lair.gold", row=Card, sort="_id")

    assert Card({"name": "Burt", "lair": Lair({"gold": 3})}) == burt
    assert (3, None) == (burt.lair.gold, burt.lair.name)
    assert (None, None) == (ann.lair, sid.lair)
    assert Lair({}) == fred.lair


async def test_errors_name_what_to_do(call: Runtime, stored: list[Any], commands: Commands) -> None:
    """What cannot be a row is refused before anything is sent."""
    commands.clear()
    rows: Callable[..., Any] = call(Wyrm).rows
    for kind, message, names, row in REFUSED:
        with pytest.raises(kind, match=message):
            await rows(None, *names, row=row)
    with pytest.raises(QueryError, match=r"expected the names of fields, got projection="):
        await rows(None, "name", projection={"name": True})

    assert [] == commands.names


REFUSED: list[tuple[type[Exception], str, tuple[Any, ...], Any]] = [
    (ProjectionError, r"Wyrm.rows: expected the names of fields after the filter", (), tuple),
    (
        ProjectionError,
        r"expected the name of a field, got \['name'\] of type list; name the fields one by one",
        (["name"],),
        tuple,
    ),
    (ProjectionError, r"expected each path once, got 'name' twice", ("name", "name"), tuple),
    (
        ProjectionError,
        r"expected each path once, got 'lair' and 'lair.gold'",
        ("lair", "lair.gold"),
        0,
    ),
    (ProjectionError, r"expected a field path such as 'name'.*got 'lair..x'", ("lair..x",), tuple),
    (ProjectionError, r"expected a field path such as 'name'.*got ''", ("",), tuple),
    (ProjectionError, r"expected a field path such as 'name'.*got '\$x'", ("$x",), tuple),
    (ProjectionError, r"expected a field path such as 'name'.*got 'loot.\$'", ("loot.$",), tuple),
    (QueryError, r"expected tuple, dict, .* got 5 of type int", ("name",), 5),
    (QueryError, r"got the Frame class Wyrm; frames come from Wyrm.many", ("name",), Wyrm),
    (
        QueryError,
        r"expected as many fields as Pair has \(name, age\), got 3 \(name, age, email\)",
        ("name", "age", "email"),
        Pair,
    ),
    (
        QueryError,
        r"attributes of a namedtuple, got name, class \(.*\); pass a namedtuple of your own",
        ("name", "class"),
        namedtuple,
    ),
    (FieldError, r"expected fields of Card, got 'nmae'; did you mean 'name'", ("nmae",), Card),
    (FieldError, r"expected fields of Card, got 'x'; known are name, lair", ("x",), Card),
]


# All values


VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def fetched(value: Any, path: list[str]) -> Any:
    """Return what a projection brings of a path, said another way."""
    if not path:
        return value
    if isinstance(value, dict):
        return fetched(value.get(path[0]), path[1:])
    if isinstance(value, list):
        return [fetched(item, path) for item in value if isinstance(item, (dict, list))]
    return None


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=5),
    st.sampled_from([("a",), ("a", "b"), ("a.b", "c"), ("b.a.c", "a", "c.b")]),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_document_has_its_row(
    documents: list[dict[str, Any]], names: tuple[str, ...]
) -> None:
    """Whatever documents hold, each has a row of as many values as there are fields."""
    expected = [tuple(fetched(one, name.split(".")) for name in names) for one in documents]

    assert expected == maker_of(Wyrm, names, tuple)(documents)


async def test_many_documents(call: Runtime) -> None:
    """However many there are, each has its row, with or without the fields."""
    kept = [{"_id": n, **({} if n % 700 == 3 else {"age": -n})} for n in range(2_300)]
    Wyrm.get_collection().insert_many(kept)
    rows = await call(Wyrm).rows(None, "_id", "age", sort="_id")

    assert [(one["_id"], one.get("age")) for one in kept] == rows


async def test_older_documents_are_upgraded(call: Runtime) -> None:
    """Rows hold what frames would hold: the fields of a document in the form of its class."""
    Wyrm.get_collection().insert_many([{"_id": 1, "title": "Burt", "age": 5}])
    await call(Renamed).insert_many([Renamed(_id=2, name="Fred", age=7)])

    assert [("Burt", 5), ("Fred", 7)] == await call(Renamed).rows(None, "name", "age", sort="age")
    assert [Card(name="Burt"), Card(name="Fred")] == await call(Renamed).rows(
        None, "name", row=Card, sort="_id"
    )
    assert [{"_id": 1, "name": "Burt"}] == await call(Renamed).rows(
        Q.age == 5, "_id", "name", row=dict
    )


async def test_stored_types_stay(call: Runtime) -> None:
    """Values are what the driver decodes, nothing is converted."""
    Wyrm.get_collection().insert_one({"name": Int64(5), "age": 1.0})
    ((name, age),) = await call(Wyrm).rows(None, "name", "age")

    assert (Int64, float) == (type(name), type(age))


def test_driver_projection() -> None:
    """`_id` is left out unless it is named."""
    assert {"name": True, "_id": False} == driver_of(["name"])
    assert {"_id": True} == driver_of(["_id"])
