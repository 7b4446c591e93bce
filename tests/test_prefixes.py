"""Prefixes without case, answered by a case-insensitive index, and found as without one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loom import Frame, Q, using
from loom.frames.collations import add_collation
from loom.frames.indexes import Index
from loom.frames.prefixes import is_simple
from loom.frames.queries import to_filter, to_sort

from .conftest import Commands, Runtime

EN = {"locale": "en", "strength": 2}


class Plain(Frame):
    """Somebody whose fields have no index."""

    _collection = "users"

    email: str
    name: str
    age: int


class User(Plain):
    """Somebody who is found by email, whatever its case."""

    _collection = "users"
    _indexes = [
        Index("email", case_insensitive=True),
        Index("nick", "slug", case_insensitive=True),
        Index("ort", case_insensitive=True, collation={"locale": "cs"}),
    ]

    nick: str
    slug: str
    ort: str


def sent(filter: Any, **options: Any) -> tuple[dict[str, Any], Any]:
    """Return what is sent for a filter: the query and its collation."""
    query = to_filter(filter)
    if "sort" in options:
        options["sort"] = to_sort(options["sort"])
    add_collation(User, query, options)
    return query, options.get("collation")


def narrowed(low: str, high: str, pattern: str, options: str = "i") -> dict[str, Any]:
    return {"email": {"$gte": low, "$lt": high, "$regex": pattern, "$options": options}}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (Q.email.startswith("fra", ignore_case=True), narrowed("fra", "frb", "^fra")),
        (Q.email.startswith("Ann@X", ignore_case=True), narrowed("Ann@X", "Ann@y", "^Ann@X")),
        (Q.email.startswith("ann@", ignore_case=True), narrowed("ann@", "ano", "^ann@")),
        (Q.email.startswith("az", ignore_case=True), narrowed("az", "b", "^az")),
        (Q.email.startswith("a9", ignore_case=True), narrowed("a9", "aa", "^a9")),
        (
            Q.email.glob("fra*@x?", ignore_case=True),
            narrowed("fra", "frb", "^fra.*@x.$(?!\\n)", "is"),
        ),
        (Q.email.glob("ann", ignore_case=True), narrowed("ann", "ano", "^ann$(?!\\n)")),
        (
            Q.email.startswith("zZ", ignore_case=True),
            {"email": {"$gte": "zZ", "$regex": "^zZ", "$options": "i"}},
        ),
        (
            Q.email.startswith("@", ignore_case=True),
            {"email": {"$gte": "@", "$regex": "^@", "$options": "i"}},
        ),
        (
            Q.email.startswith("a", ignore_case=True) & (Q.age > 5) & Q.name.startswith("B"),
            {"$and": [narrowed("a", "b", "^a"), {"age": {"$gt": 5}}, {"name": {"$regex": "^B"}}]},
        ),
        (
            Q.email.startswith("a", ignore_case=True) | (Q.age > 5),
            {"$or": [narrowed("a", "b", "^a"), {"age": {"$gt": 5}}]},
        ),
    ],
    ids=repr,
)
def test_a_prefix_becomes_a_range(filter: Any, expected: dict[str, Any]) -> None:
    """Beside the pattern stands a range that holds all it matches, in the index's collation."""
    assert (expected, EN) == sent(filter)
    assert (expected, EN) == sent(filter, sort="-email")


@pytest.mark.parametrize(
    "filter",
    [
        # With case, another index answers.
        Q.email.startswith("a"),
        Q.email.startswith("", ignore_case=True),
        Q.email.endswith("a", ignore_case=True),
        Q.email.contains("a", ignore_case=True),
        Q.email.glob("*a", ignore_case=True),
        Q.email.glob("[ab]c", ignore_case=True),
        # What users wrote as a pattern is not looked into.
        Q.email.matches("^a", ignore_case=True),
        {"email": {"$regex": "^a", "$options": "i"}},
        # Of such text it is not known how a collation orders what begins with it.
        Q.email.startswith("é", ignore_case=True),
        Q.email.startswith("a\n", ignore_case=True),
        ~Q.email.startswith("a", ignore_case=True),
        # No index, not its first field, or one in whose language two letters sort as one.
        Q.name.startswith("a", ignore_case=True),
        Q.slug.startswith("a", ignore_case=True),
        Q.ort.startswith("c", ignore_case=True),
        # The collation would change what another test means.
        Q.email.startswith("a", ignore_case=True) & (Q.name == "Ann"),
        Q.email.startswith("a", ignore_case=True) | (Q.name >= "b"),
    ],
    ids=repr,
)
def test_what_is_sent_as_it_is(filter: Any) -> None:
    """Where a range would not be right, or of no use, nothing is changed."""
    assert (to_filter(filter), None) == sent(filter)


def test_the_order_is_not_changed() -> None:
    """A sort by other text would be another one in the collation."""
    filter = Q.email.startswith("a", ignore_case=True)

    assert (to_filter(filter), None) == sent(filter, sort="name")
    assert (to_filter(filter), None) == sent(filter, sort=["age", "email"])
    assert (to_filter(filter), None) == sent(filter, collation=None)
    assert to_filter(filter) == sent(filter, collation={"locale": "sv"})[0]


@pytest.mark.parametrize(
    ("collation", "expected"),
    [
        ({"locale": "en", "strength": 2}, True),
        ({"locale": "en_US", "strength": 1}, True),
        ({"locale": "de", "strength": 2}, True),
        ({"locale": "de@collation=phonebook", "strength": 2}, False),
        ({"locale": "cs", "strength": 2}, False),
        ({"locale": "da", "strength": 2}, False),
        ({"locale": "es", "strength": 2}, False),
        ({"locale": "en", "strength": 2, "numericOrdering": True}, False),
        ({"locale": "en", "strength": 2, "alternate": "shifted"}, False),
    ],
)
def test_simple_collations(collation: dict[str, Any], expected: bool) -> None:
    """Only where text that begins alike is together, a range holds a prefix."""
    assert expected is is_simple(collation)


def test_filters_are_not_changed() -> None:
    """A filter that is used twice is the same the second time."""
    condition = Q.email.startswith("a", ignore_case=True)
    given_filter = {"$and": [{"email": {"$in": ["x"]}}, condition]}
    sent(condition)
    sent(given_filter)

    assert {"email": {"$regex": "^a", "$options": "i"}} == condition.to_dict()
    assert {"$and": [{"email": {"$in": ["x"]}}, condition]} == given_filter


TEXTS = st.text(alphabet="aAbBzZkK9@.- éÅ\u212a\u017f\U0001f600", max_size=4)


@given(head=st.text(alphabet="aAbBzZkKs9@.-", max_size=3), values=st.lists(TEXTS, max_size=8))
@example(head="a", values=["á", "aé", "A\U0001f600", "b", "ab", "B"])
@example(head="z", values=["z", "Zz", "\U0001f600", "é", "zé"])
@example(head="k", values=["\u212a", "K", "l"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_same_is_found(db: str, head: str, values: list[str]) -> None:
    """With an index or without one, the same documents come."""
    Plain.delete_where(None, all=True)
    Plain.insert_many([{"email": value} for value in values])
    for make in (
        lambda text: Q.email.startswith(text, ignore_case=True),
        lambda text: Q.email.glob(f"{text}*", ignore_case=True),
    ):
        expected = sorted(str(frame._id) for frame in Plain.many(make(head)))

        assert expected == sorted(str(frame._id) for frame in User.many(make(head)))
        assert len(expected) == User.count(make(head))


async def test_every_way_to_read(call: Runtime, commands: Commands) -> None:
    """One, many, streams, counts and writes by filter all carry range and collation."""
    await call(User).insert_many([{"email": "Ann@x.org"}, {"email": "bob@x.org"}])
    filter = Q.email.startswith("ANN", ignore_case=True)
    commands.clear()

    assert "Ann@x.org" == (await call(User).one(filter)).email
    assert 1 == len(await call(User).many(filter))
    assert 1 == len([user async for user in call(User).each(filter)])
    assert 1 == len(await call(User).ids(filter))
    assert 1 == await call(User).count(filter)
    assert await call(User).exists(filter)
    assert 1 == await call(User).update_where(filter, {"$set": {"age": 5}})
    assert 5 == (await call(User).take(filter, {"$set": {"name": "Ann"}})).age
    assert 1 == await call(User).delete_where(filter)
    assert 9 == len(commands.bodies)
    for body in commands.bodies:
        shown = repr(body)

        assert "'$gte': 'ANN', '$lt': 'ANo'" in shown, shown
        assert "'locale': 'en', 'strength': 2" in shown, shown


def test_grouping_heeds_case(db: str) -> None:
    """An aggregate compares text in other stages, too: there no collation comes uncalled for."""
    User.insert_many([{"email": "Ann", "name": name} for name in ("x", "X", "x")])
    found = User.filter(Q.email.startswith("ANN", ignore_case=True)).group_by("name").load_many()

    assert 2 == len(found)


async def test_another_client(call: Runtime, db: str) -> None:
    """A block that switches the database changes nothing of it."""
    with using(db=db):
        await call(User).insert_many([{"email": "Ann@x.org"}])
        found = await call(User).many(Q.email.startswith("ann@X", ignore_case=True))

    assert ["Ann@x.org"] == [user.email for user in found]
