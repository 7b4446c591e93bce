"""Queries that carry the collation of a case-insensitive index, and those that must not."""

from __future__ import annotations

import enum
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
from bson import ObjectId

from loom import Frame, Q, QueryError, using
from loom.frames import ElemMatch, In, Nor, Not, NotIn, Or
from loom.frames.collations import add_collation, collation_for, is_collated
from loom.frames.indexes import CASE_INSENSITIVE, Index
from loom.frames.queries import to_filter, to_sort

from .conftest import Commands, Runtime

EN = {"locale": "en", "strength": 2}
DE = {"locale": "de", "strength": 2}


class Role(enum.Enum):
    ADMIN = "admin"
    GUEST = 0


class User(Frame):
    _indexes = [
        Index("email", unique=True, case_insensitive=True),
        Index("nick", case_insensitive=True),
        Index("tenant", "slug", unique=True, case_insensitive=True),
        Index("straße", case_insensitive=True, collation={"locale": "de"}),
        Index("city", collation={"locale": "en", "strength": 2}),
    ]

    email: str
    nick: str
    tenant: Any
    slug: str
    straße: str
    city: str
    role: Any
    age: int


def carried(filter: Any, sort: Any = None) -> Any:
    """Return the collation that a query carries."""
    return collation_for(User, to_filter(filter), to_sort(sort))


@pytest.mark.parametrize(
    "filter",
    [
        Q.email == "ANN@X.ORG",
        {"email": "ann@x.org"},
        In(Q.email, ["ann@x.org", None]),
        NotIn(Q.email, ["ann@x.org"]),
        Q.email != "ann@x.org",
        Q.email >= "a",
        Q.email.between("a", "c"),
        Not(Q.email == "a"),
        ~(Q.email >= "a"),
        Q.email.all(["a"]),
        Q.email.all([ElemMatch(Q, Q >= "a")]),
        ElemMatch(Q.email, Q == "a"),
        Or(Q.email == "a", Q.nick == "b"),
        Nor(Q.email == "a"),
        (Q.email == "a") & (Q.age > 5),
        (Q.email == "a") & Q.role.startswith("x"),
        (Q.email == "a") & Q.city.exists(),
        (Q.email == "a") & Q.city.type("string"),
        (Q.email == "a") & (Q.role == Role.GUEST),
        (Q.email == "a") & (Q.role == re.compile("^x")),
        {"email": "a", "$comment": "text"},
        {"email": "a", "home": {"$geoWithin": {"$geometry": {"type": "Polygon"}}}},
        Q.email == PurePosixPath("a"),
        {"email": {"$eq": Role.ADMIN}},
        {"email": {"$eq": {"any": ["text"]}}},
        # Of an index over two fields, the filter compares the first, and either with text.
        Q.tenant == "x",
        (Q.tenant == 5) & (Q.slug == "a"),
        (Q.tenant == "x") & (Q.slug == "a"),
        (Q.email == "a") & (Q.slug == "b"),
    ],
    ids=repr,
)
def test_what_carries_the_collation(filter: Any) -> None:
    """A comparison of the first field of such an index with text carries its collation."""
    assert EN == carried(filter)


@pytest.mark.parametrize(
    "filter",
    [
        None,
        {},
        Q.age > 5,
        Q.role == "admin",
        Q.city == "Ulm",
        Q.email == None,  # noqa: E711
        Q.email.exists(),
        Q.email.type("string"),
        # A regular expression knows no collation, and uses no index that has one.
        Q.email.startswith("a"),
        Q.email == re.compile("^a"),
        (Q.email == None) & (Q.role == "admin"),  # noqa: E711
        Q.slug == "a",
        (Q.tenant == 5) & (Q.role == "admin"),
        Q._id == ObjectId("65f000000000000000000001"),
        {"$expr": {"$eq": ["$email", "a"]}},
        {"email.0": "a"},
    ],
    ids=repr,
)
def test_what_carries_none(filter: Any) -> None:
    """Whatever cannot use such an index is sent as it is."""
    assert carried(filter) is None


def test_the_locale_is_that_of_the_index() -> None:
    """An index of another locale carries its own."""
    assert DE == carried(Q.straße == "WEG")
    with pytest.raises(QueryError, match=r"^User: expected a query in one collation.*pass collat"):
        carried((Q.straße == "WEG") & (Q.email == "a"))


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ((Q.email == "a") & (Q.role == "admin"), "role"),
        ((Q.email == "a") & (Q.role == Role.ADMIN), "role"),
        ((Q.email == "a") & (Q.city == "Ulm"), "city"),
        ((Q.email == "a") & (Q._id == "text"), "_id"),
        ((Q.email == "a") & In(Q.role, [1, "admin"]), "role"),
        ((Q.email == "a") & (Q.role != "admin"), "role"),
        (Or(Q.email == "a", Q.role == "admin"), "role"),
        ((Q.email == "a") & ElemMatch(Q.lairs, Q.name == "cave"), "lairs.name"),
        ((Q.email == "a") & (Q.lair == {"name": "cave"}), "lair"),
        ({"email": "a", "$expr": {"$gt": ["$x", "$y"]}}, r"\$expr"),
        ({"email": "a", "$where": "true"}, r"\$where"),
        ((Q.email == "a") & (Q.straße != None) & (Q.role == "x"), "role"),  # noqa: E711
    ],
    ids=repr,
)
def test_other_text_must_say_what_it_means(filter: Any, named: str) -> None:
    """A collation holds for the whole query: where it would change other comparisons, Loom asks."""
    with pytest.raises(QueryError, match=f"^User: .* got {named}, too; pass collation=") as caught:
        carried(filter)

    assert "collation={'locale': 'en', 'strength': 2}" in str(caught.value)
    assert "collation=None to compare exactly" in str(caught.value)


def test_a_sort_by_such_a_field_carries_it_too() -> None:
    """Pages of a sorted list keep one order, whether their filter names the field or not."""
    assert EN == carried(None, "email") == carried(Q.age > 5, "-email")
    assert EN == carried(None, ["email", "role"]) == carried(Q.email > "a", "email")
    assert carried(None, "role") is None
    assert carried(None, ["role", "email"]) is None
    assert carried(None, "slug") is None
    with pytest.raises(QueryError, match="got role, too"):
        carried(Q.role == "admin", "email")


def test_a_given_collation_stays() -> None:
    """A call that names a collation, or None, gets that."""
    for given in ({"locale": "sv"}, None):
        options = {"collation": given}
        add_collation(User, {"email": "a", "role": "x"}, options)

        assert {"collation": given} == options
    options = {}
    add_collation(User, {"email": "a"}, options)
    assert {"collation": EN} == options == {"collation": dict(CASE_INSENSITIVE)}


def test_indexes_that_change_are_noticed() -> None:
    """An index assigned later takes effect; classes without one are asked for nothing."""

    class Wolf(Frame):
        name: str

    class Grey(Wolf):
        _collection = "Wolf"

    query = {"name": "a"}
    options: dict[str, Any] = {}
    for _ in range(2):
        add_collation(Grey, query, options)
    assert {} == options
    assert collation_for(Grey, query) is None
    Wolf._indexes = [Index("name", case_insensitive=True)]
    assert EN == collation_for(Grey, query) == collation_for(Wolf, query)
    assert is_collated(Grey)
    Grey._collection = "Grey"
    assert collation_for(Grey, query) is None
    Wolf._indexes = []
    assert not is_collated(Wolf)


async def stored(call: Runtime) -> None:
    await call(User).insert_many(
        [{"email": "ann@x.org", "role": "a"}, {"email": "BOB@x.org", "role": "A"}]
    )


async def test_a_query_finds_in_any_case(call: Runtime, commands: Commands) -> None:
    """`User.one(Q.email == "ANN@X.ORG")` finds ann@x.org, and so does every other way to ask."""
    await stored(call)
    commands.clear()
    query = Q.email == "ANN@X.ORG"
    found = await call(User).one(query)

    assert found.email == "ann@x.org"
    assert found == await call(User).one(query, required=True)
    assert found == await call(User).one({"email": "ANN@X.ORG"})
    assert [found] == await call(User).many(query)
    assert [found] == await call(User).many(In(Q.email, ["Ann@x.org"]), sort="-email")
    assert [found] == [user async for user in call(User).each(query)]
    assert [found._id] == await call(User).ids(query)
    assert 1 == await call(User).count(query)
    assert await call(User).exists(query)
    assert 8 + 1 == len(commands.bodies)
    for body in commands.bodies:
        assert EN == body["collation"]


async def test_a_call_can_say_otherwise(call: Runtime) -> None:
    """`collation=None` compares exactly, another collation is taken as it is."""
    await stored(call)
    query = Q.email == "ANN@X.ORG"
    both = (Q.email == "bob@x.org") & (Q.role == "a")

    assert await call(User).one(query, collation=None) is None
    assert [] == await call(User).many(query, collation=None)
    assert 0 == await call(User).count(query, collation=None)
    assert await call(User).one(query, collation={"locale": "sv", "strength": 1}) is not None
    for method in ("one", "many", "count", "ids", "exists"):
        with pytest.raises(QueryError, match="got role, too"):
            await getattr(call(User), method)(both)
    with pytest.raises(QueryError, match="got role, too"):
        [user async for user in call(User).each(both)]
    assert await call(User).one(both, collation=None) is None
    assert await call(User).one(both, collation=CASE_INSENSITIVE) is not None


async def test_writes_by_filter_find_the_same(call: Runtime, commands: Commands) -> None:
    """What a filter finds is what a write by that filter changes."""
    await stored(call)
    query = Q.email == "ANN@X.ORG"
    commands.clear()
    assert 1 == await call(User).update_where(query, {"$set": {"role": "b"}})
    assert 0 == await call(User).update_where(query, {"$set": {"role": "c"}}, collation=None)
    taken = await call(User).take(query, {"$set": {"age": 5}})

    assert ("ann@x.org", "b", 5) == (taken.email, taken.role, taken.age)
    assert 1 == await call(User).delete_where(query, dry_run=True)
    with pytest.raises(QueryError, match="got role, too"):
        await call(User).delete_where(query & (Q.role == "b"))
    User.listen("deleted", lambda frames: None)
    assert 1 == await call(User).delete_where(query)
    assert ["BOB@x.org"] == [user.email for user in await call(User).many()]


async def test_by_id_is_exact(call: Runtime, commands: Commands) -> None:
    """Ids are never compared in a collation."""

    class Wolf(Frame):
        _indexes = [Index("name", case_insensitive=True)]
        _id: str
        name: str

    wolf = Wolf(_id="Grey", name="x")
    await call(wolf).insert()
    commands.clear()

    assert wolf == await call(Wolf).by_id("Grey")
    assert await call(Wolf).by_id("grey") is None
    assert [] == await call(Wolf).by_ids(["grey"])
    await call(wolf).reload()
    await call(wolf).update("name")
    assert [None] * 5 == [body.get("collation") for body in commands.bodies]


async def test_sorting_by_it_orders_without_case(call: Runtime) -> None:
    """Ann comes before BOB, with and without a filter on the field."""
    await call(User).insert_many([{"email": e} for e in ("BOB@x.org", "ann@x.org", "Zoe@x.org")])
    expected = ["ann@x.org", "BOB@x.org", "Zoe@x.org"]

    assert expected == [user.email for user in await call(User).many(sort="email")]
    assert expected == [user.email for user in await call(User).many(Q.email > "A", sort="email")]


def test_a_listener_and_a_block_see_the_same(db: str, commands: Commands) -> None:
    """What switches clients or options switches no collation off."""
    User(email="ann@x.org").insert()
    with using(db=db), User.with_options():
        assert User.one({"email": "ANN@x.org"}) is not None
    assert EN == commands.bodies[-1]["collation"]
