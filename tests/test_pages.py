"""Pages by the values of their documents, in both directions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collation import Collation

import loom
from loom import (
    Frame,
    PageError,
    ProjectionError,
    Q,
    QueryError,
    StrLower,
    SubFrame,
)
from loom.frames.index import Index
from loom.frames.keysets import key_sort
from loom.frames.pages import Page

from .conftest import Commands, Runtime, Server


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    gold: int


class Wyrm(Frame):
    """A dragon of these tests."""

    name: str
    email: StrLower
    age: int
    lair: Lair
    friend: Any


class Beast(Frame):
    """Kinds of it share a collection, and older ones called their name otherwise."""

    _kind_field = "kind"
    _schema_version = 2

    name: str
    age: int

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None:
        document["name"] = document.pop("title")


class Bat(Beast):
    """One kind."""


class Caseless(Frame):
    """Its names are found in any case."""

    _indexes = [Index("name", case_insensitive=True)]

    name: str


T0 = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
IDS = [ObjectId(bytes([n]) * 12) for n in range(1, 250)]


def put(*documents: dict[str, Any], cls: type[Frame] = Wyrm) -> None:
    """Store documents without Loom's help."""
    cls.get_collection().insert_many([dict(one) for one in documents])


def finds(commands: Commands) -> list[Mapping[str, Any]]:
    """Return the find commands that were sent."""
    return [body for body in commands.bodies if "find" in body]


async def walked(page: Callable[..., Any], **options: Any) -> list[list[Any]]:
    """Return the ids of all pages, walked to the end; back again they are the same."""
    pages = [await page(**options)]
    while pages[-1].next is not None:
        pages.append(await page(after=pages[-1].next, **options))
        assert len(pages[-1]) > 0
    back = [pages[-1]]
    while back[-1].previous is not None:
        back.append(await page(before=back[-1].previous, **options))
    forth = [[frame._document["_id"] for frame in one] for one in pages]

    again = [frame._document["_id"] for one in reversed(back) for frame in one]
    assert repr([one for one in forth for one in one]) == repr(again)  # NaN is not equal to itself
    assert not pages[0].has_previous
    return forth


# Pages


async def test_a_walk_through_all_pages(call: Runtime, commands: Commands) -> None:
    """Pages hold the frames in order; the last one has no next, the first one no previous."""
    put(*({"_id": n, "age": n % 3} for n in range(7)))
    first = await call(Wyrm).page(sort="-age", size=3)
    second = await call(Wyrm).page(sort="-age", size=3, after=first.next)
    third = await call(Wyrm).page(sort="-age", size=3, after=second.next)

    assert [[5, 2, 4], [1, 6, 3], [0]] == [[w._id for w in page] for page in (first, second, third)]
    assert isinstance(first[0], Wyrm)
    assert (True, False) == (first.has_next, first.has_previous)
    assert (True, True) == (second.has_next, second.has_previous)
    assert (False, True) == (third.has_next, third.has_previous)
    assert ["find"] * 3 == [name for name in commands.names if name != "insert"]


async def test_going_back_gives_the_same_page(call: Runtime) -> None:
    """`before=` gives the page that was there, in the same order, with the same tokens."""
    put(*({"_id": n, "age": n // 2} for n in range(8)))
    first = await call(Wyrm).page(sort="age", size=3)
    second = await call(Wyrm).page(sort="age", size=3, after=first.next)
    again = await call(Wyrm).page(sort="age", size=3, before=second.previous)

    assert first.items == again.items
    assert (first.next, first.previous) == (again.next, again.previous)


async def test_a_page_that_is_full_to_the_last_is_the_last(call: Runtime) -> None:
    """Whether there is a next page is found out by one document more, so it is never empty."""
    put(*({"_id": n} for n in range(4)))

    assert [[0, 1], [2, 3]] == await walked(call(Wyrm).page, size=2)
    assert [[0, 1, 2, 3]] == await walked(call(Wyrm).page, size=4)


async def test_nothing_matches(call: Runtime) -> None:
    """An empty page leads nowhere."""
    page = await call(Wyrm).page(Q.age > 5)

    assert ([], None, None) == (page.items, page.next, page.previous)
    assert not page


async def test_what_is_behind_an_empty_page(call: Runtime) -> None:
    """When all after a page was deleted, the way back begins with the page's last document."""
    put(*({"_id": n} for n in range(4)))
    first = await call(Wyrm).page(size=2)
    Wyrm.get_collection().delete_many({"_id": {"$gte": 2}})
    empty = await call(Wyrm).page(size=2, after=first.next)
    back = await call(Wyrm).page(size=2, before=empty.previous)

    assert ([], None) == (empty.items, empty.next)
    assert [0, 1] == [wyrm._id for wyrm in back]
    assert back.next is not None
    assert [] == (await call(Wyrm).page(size=2, after=back.next)).items


async def test_what_is_before_an_empty_page(call: Runtime) -> None:
    """The same the other way."""
    put(*({"_id": n} for n in range(4)))
    first = await call(Wyrm).page(size=2)
    second = await call(Wyrm).page(size=2, after=first.next)
    Wyrm.get_collection().delete_many({"_id": {"$lt": 2}})
    empty = await call(Wyrm).page(size=2, before=second.previous)

    assert ([], None) == (empty.items, empty.previous)
    assert [2, 3] == [wyrm._id for wyrm in await call(Wyrm).page(size=2, after=empty.next)]


async def test_commands_do_not_grow(call: Runtime, commands: Commands) -> None:
    """No page skips or counts, and a late command is as long as an early one."""
    put(*({"_id": id, "age": n // 4, "name": "x"} for n, id in enumerate(IDS[:60])))
    commands.clear()
    token = None
    sizes = set()
    for _ in range(9):
        page = await call(Wyrm).page(Q.name == "x", sort="age", size=6, after=token)
        token = page.next
        command = commands.bodies[-1]
        sizes.add(len(repr(command["filter"])))

        assert not {"skip", "count"} & command.keys()
        assert 7 == command["limit"]
    assert ["find"] * 9 == commands.names
    assert len(sizes) == 3  # the first page, and ages of one and of two digits


async def test_filter_stays_beside_the_position(call: Runtime, commands: Commands) -> None:
    """The filter goes on holding, also one that has an `$or` of its own."""
    put(*({"_id": n, "age": n, "name": "ab"[n % 2]} for n in range(8)))
    either = (Q.age < 3) | (Q.age > 4)

    assert [[0, 2], [4, 6]] == await walked(
        functools.partial(call(Wyrm).page, Q.name == "a"), size=2
    )
    assert [[0, 1, 2], [5, 6, 7]] == await walked(
        functools.partial(call(Wyrm).page, either), size=3
    )


async def test_filters_are_those_of_many(call: Runtime, commands: Commands) -> None:
    """Text is looked for in its case, and options reach PyMongo."""
    with loom.using(comment="list"):
        await call(Wyrm).page(Q.email == "Ann@X.org", hint="_id_")
    command = commands.bodies[-1]

    assert {"email": "ann@x.org"} == command["filter"]
    assert ("list", "_id_") == (command["comment"], command["hint"])


async def test_sort_ends_with_the_id(call: Runtime, commands: Commands) -> None:
    """`_id` comes last, in the direction of the key before it, unless it is named."""
    for sort, expected in (
        (None, [("_id", 1)]),
        ("-age", [("age", -1), ("_id", -1)]),
        (["-age", "name"], [("age", -1), ("name", 1), ("_id", 1)]),
        (["_id", "-age"], [("_id", 1), ("age", -1)]),
        (Q.lair.gold.desc, [("lair.gold", -1), ("_id", -1)]),
    ):
        await call(Wyrm).page(sort=sort)

        assert expected == list(commands.bodies[-1]["sort"].items())


async def test_nested_keys(call: Runtime) -> None:
    """A path into embedded documents sorts; where it leads nowhere, the value is null."""
    put(
        {"_id": 1, "lair": {"gold": 5}},
        {"_id": 2, "lair": {}},
        {"_id": 3},
        {"_id": 4, "lair": 7},
        {"_id": 5, "lair": {"gold": 3}},
        {"_id": 6, "lair": {"gold": {"gold": 1}}},
    )

    assert [[2], [3], [4], [5], [1], [6]] == await walked(call(Wyrm).page, sort="lair.gold", size=1)


# Projections and references


async def test_projection_without_the_key(call: Runtime, commands: Commands) -> None:
    """What is sorted by is fetched for the token, and not left in frames that did not ask for it."""
    put(*({"_id": n, "age": -n, "name": f"n{n}", "lair": {"gold": n}} for n in range(5)))
    for projection in (
        {"name": True},
        {"age": False, "lair": False, "friend": False, "email": False},
        {"name": True, "_id": False},
    ):
        page = await call(Wyrm).page(sort=["age", "lair.gold"], size=2, projection=projection)
        page = await call(Wyrm).page(
            sort=["age", "lair.gold"], size=2, projection=projection, after=page.next
        )
        kept = {"name"} | ({"_id"} if projection.get("_id", True) else set())

        assert ["n2", "n1"] == [wyrm.name for wyrm in page]
        assert {frozenset(kept)} == {frozenset(wyrm._document) for wyrm in page}


async def test_references(call: Runtime) -> None:
    """Frames of a page are built as by `many`; a key may be a reference."""
    put({"_id": 1, "friend": 2}, {"_id": 2, "friend": 1}, {"_id": 3, "friend": 9})
    projection = {"friend": {"$ref": Wyrm}}
    first = await call(Wyrm).page(sort="friend", size=1, projection=projection)
    second = await call(Wyrm).page(sort="friend", size=2, projection=projection, after=first.next)

    assert (2, Wyrm({"_id": 1})) == (first[0]._id, first[0].friend)
    assert [1, 3] == [wyrm._id for wyrm in second]
    assert not second[1].friend


async def test_kinds_and_older_documents(call: Runtime) -> None:
    """A page holds frames of the kinds asked for, each of its own class and in today's form."""
    put(
        {"_id": 1, "kind": "Bat", "title": "Ann", "age": 3},
        {"_id": 2, "kind": "Beast", "title": "Bob", "age": 2},
        {"_id": 3, "kind": "Bat", "title": "Cem", "age": 1},
        cls=Beast,
    )
    for projection in (None, ["name"], {"name": True, "_id": False}):
        options: dict[str, Any] = {"sort": "age", "size": 1, "projection": projection}
        first = await call(Beast).page(**options)
        second = await call(Beast).page(after=first.next, **options)
        bats = await call(Bat).page(after=(await call(Bat).page(**options)).next, **options)

        assert [(Bat, "Cem"), (Beast, "Bob")] == [(type(p[0]), p[0].name) for p in (first, second)]
        assert (["Ann"], None) == ([bat.name for bat in bats], bats.next)


# The order of values


def rank(value: Any) -> tuple[Any, ...]:
    """Return what sorts values as MongoDB documents it."""
    if isinstance(value, MinKey):
        return (0,)
    if value is None:
        return (2,)
    if isinstance(value, bool):
        return (9, value)
    if isinstance(value, (int, float, Decimal128)):
        number = float(value.to_decimal()) if isinstance(value, Decimal128) else value
        return (3, -1) if number != number else (3, 0, number)
    if isinstance(value, Code):
        return (15, str(value))
    if isinstance(value, str):
        return (4, value.encode())
    if isinstance(value, dict):
        return (5, *((rank_type(v), k, rank(v)) for k, v in value.items()))
    if isinstance(value, bytes):
        return (7, len(value), value)
    if isinstance(value, ObjectId):
        return (8, value.binary)
    if isinstance(value, datetime):
        return (10, value)
    if isinstance(value, Timestamp):
        return (11, value.time, value.inc)
    assert isinstance(value, MaxKey)
    return (20,)


def rank_type(value: Any) -> int:
    """Return the place of a value's type."""
    return int(rank(value)[0])


ABSENT = object()
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.just(ABSENT),
    st.none(),
    st.integers(-2, 2),
    st.sampled_from(
        [Int64(1), 1.0, 1.5, -0.0, math.nan, math.inf, -math.inf, Decimal128("1.5")]
        + [Decimal128("NaN"), Decimal128("-1"), 2**53, 2.0**53]
    ),
    st.sampled_from(["", "a", "B", "b", "é"]),
    st.sampled_from([{}, {"a": 1}, {"a": "x"}, {"b": 1}]),
    st.sampled_from([b"", b"a", b"bb"]),
    st.sampled_from(IDS[:3]),
    st.booleans(),
    st.sampled_from([T0, T0 + timedelta(days=1)]),
    st.sampled_from([Timestamp(1, 1), Timestamp(2, 1), Code("f"), MinKey(), MaxKey()]),
)
SORTS = [
    [],
    [("a", 1)],
    [("a", -1)],
    [("a", 1), ("b", -1)],
    [("a", -1), ("b", 1)],
    [("b", 1), ("_id", -1)],
    [("a", -1), ("_id", 1)],
    [("_id", -1)],
]


class Mixed(Frame):
    """Documents of any content."""


def document(a: Any, b: Any) -> dict[str, Any]:
    """Return a document of two values, of which either may be absent."""
    return {name: value for name, value in (("a", a), ("b", b)) if value is not ABSENT}


def in_order(documents: list[dict[str, Any]], keys: list[tuple[str, int]]) -> list[Any]:
    """Return the ids of documents in a sort order."""
    ordered = sorted(documents, key=lambda one: rank(one["_id"]))
    for path, direction in reversed(key_sort("x", keys)):
        ordered.sort(key=lambda one: rank(one.get(path)), reverse=direction < 0)
    return [one["_id"] for one in ordered]


@given(
    kept=st.lists(st.builds(document, VALUES, VALUES), max_size=12),
    others=st.lists(st.builds(document, VALUES, VALUES), max_size=8),
    keys=st.sampled_from(SORTS),
    size=st.integers(1, 5),
    choices=st.randoms(use_true_random=False),
    backwards=st.booleans(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_document_is_seen_once_and_in_order(
    db: str,
    kept: list[dict[str, Any]],
    others: list[dict[str, Any]],
    keys: Any,
    size: int,
    choices: Any,
    backwards: bool,
) -> None:
    """Whatever comes and goes during a walk, what stays is seen exactly once, in its place."""
    collection = Mixed.get_collection()
    collection.delete_many({})
    ids = IDS[: len(kept) + len(others)]
    choices.shuffle(ids)
    kept = [{"_id": id, **one} for id, one in zip(ids, kept, strict=False)]
    others = [{"_id": id, **one} for id, one in zip(ids[len(kept) :], others, strict=True)]
    stored = [one for one in others if choices.random() < 0.5]
    waiting = [one for one in others if one not in stored]
    collection.insert_many([dict(one) for one in kept + stored]) if kept + stored else None

    options: dict[str, Any] = {"sort": keys or None, "size": size}
    seen: list[Any] = []
    token = None
    if backwards:  # begin at the end: after the last page comes nothing
        page = Mixed.page(**options)
        while page.next:
            page = Mixed.page(after=page.next, **options)
    else:
        page = Mixed.page(**options)
    for _ in range(100):
        found = [frame._document["_id"] for frame in page]
        seen += reversed(found) if backwards else found
        token = page.previous if backwards else page.next
        if token is None:
            break
        if waiting and choices.random() < 0.6:
            collection.insert_one(dict(waiting.pop()))
        if stored and choices.random() < 0.6:
            collection.delete_one({"_id": stored.pop()["_id"]})
        page = Mixed.page(**{"before" if backwards else "after": token}, **options)
    else:
        pytest.fail("the walk has no end")

    expected = in_order(kept, keys)
    staying = {one["_id"] for one in kept}
    assert (expected[::-1] if backwards else expected) == [id for id in seen if id in staying]


IDENTITIES = [MinKey(), None, math.nan, 1, "a", {"x": 1}, b"a", IDS[0], True, T0, Timestamp(1, 1)]


async def test_ids_of_all_types(call: Runtime) -> None:
    """The `_id` itself may be of any type."""
    put(*({"_id": id} for id in IDENTITIES), cls=Mixed)
    pages = await walked(call(Mixed).page, size=1)
    back = await walked(call(Mixed).page, size=1, sort="-_id")

    expected = [[rank(id)] for id in IDENTITIES]  # NaN is not equal to itself, its rank is
    assert expected == [[rank(id) for id in page] for page in pages]
    assert expected[::-1] == [[rank(id) for id in page] for page in back]


async def test_late_pages_examine_no_more(
    call: Runtime, server: Server, commands: Commands
) -> None:
    """With an index of the sort and `_id`, a page reads its own documents, wherever it stands."""
    if server.is_embedded:
        pytest.skip("the embedded server reads the whole collection for an $or")
    collection = Wyrm.get_collection()
    collection.create_index([("name", 1), ("age", 1), ("_id", 1)])
    put(*({"_id": n, "name": "x", "age": n // 4} for n in range(2_000)))
    for sort, filter in (("age", Q.name == "x"), ("-age", Q.name == "x"), (None, None)):
        token = None
        examined = []
        for _ in range(40):
            commands.clear()
            page = await call(Wyrm).page(filter, sort=sort, size=20, after=token)
            token = page.next
            (sent,) = finds(commands)
            command = {key: sent[key] for key in ("find", "filter", "sort", "limit") if key in sent}
            plan = collection.database.command("explain", command, verbosity="executionStats")
            examined.append(plan["executionStats"]["totalDocsExamined"])

        assert max(examined[1:]) <= 60


# Lists


async def test_lists_are_refused(call: Runtime) -> None:
    """A document with a list where the sort looks is named, wherever it stands on the page."""
    for lists in ([1, 9], [], [{"x": 1}], [None], ["a", 5]):
        Wyrm.get_collection().delete_many({})
        put({"_id": 1, "age": 0}, {"_id": 2, "age": lists}, {"_id": 3, "age": -1})
        with pytest.raises(
            PageError, match=r"Wyrm.page: .* in 'age' to sort by, got a list .* _id=2"
        ):
            await walked(call(Wyrm).page, sort="age", size=1)
        with pytest.raises(PageError, match="_id=2"):
            await walked(call(Wyrm).page, sort="-age", size=1)


async def test_lists_on_the_way_are_refused(call: Runtime) -> None:
    """So is a list that the path leads through; one that is not sorted by does not matter."""
    put({"_id": 1, "lair": [{"gold": 1}], "age": 4})

    assert [[1]] == await walked(call(Wyrm).page, sort="age")
    with pytest.raises(PageError, match=r"one value in 'lair.gold' to sort by, got a list"):
        await call(Wyrm).page(sort="lair.gold")


# Collations


async def test_text_is_compared_by_the_collation(call: Runtime, commands: Commands) -> None:
    """Sort and conditions use one collation: that of the call, or of the class's index."""
    put(*({"_id": n, "name": name} for n, name in enumerate("bBaAcC")), cls=Caseless)
    page = functools.partial(call(Caseless).page, sort="name")

    assert [[2], [3], [0], [1], [4], [5]] == await walked(page, size=1)
    assert all(2 == body["collation"]["strength"] for body in finds(commands))
    assert [[3, 1], [5, 2], [0, 4]] == await walked(page, size=2, collation=None)


async def test_ids_that_a_collation_makes_equal(call: Runtime) -> None:
    """Documents that the sort cannot tell apart are refused, instead of one of them being lost."""
    put({"_id": "a", "name": "x"}, {"_id": "A", "name": "X"}, {"_id": "b", "name": "x"})
    collation = Collation("en", strength=2)
    with pytest.raises(PageError, match=r"that the collation tells apart, got _id='[aA]' and"):
        await call(Wyrm).page(sort="name", size=1, collation=collation)

    assert 2 == len(await call(Wyrm).page(sort="name", size=2, collation=collation))
    assert [["A"], ["a"], ["b"]] == await walked(call(Wyrm).page, size=1)


# What is refused


async def test_wrong_calls(call: Runtime, commands: Commands) -> None:
    """What cannot be a page is refused before anything is sent."""
    commands.clear()
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (QueryError, r"Wyrm.page: expected a size of at least 1, got size=0", {"size": 0}),
        (QueryError, r"expected a size of at least 1, got size='5'", {"size": "5"}),
        (QueryError, r"expected a size of at least 1, got size=True", {"size": True}),
        (QueryError, r"expected one token, got after= and before=", {"after": "a", "before": "b"}),
        (QueryError, r"got limit=5; many\(\) takes limit=", {"limit": 5}),
        (QueryError, r"got skip=5", {"skip": 5}),
        (QueryError, r"a sort by the values of fields, got '\$natural'", {"sort": "$natural"}),
        (
            QueryError,
            r"a sort by the values of fields, got 'score'",
            {"sort": {"score": {"$meta": "textScore"}}},
        ),
        (QueryError, r"sort: expected", {"sort": 5}),
    ]
    for kind, message, options in wrong:
        with pytest.raises(kind, match=message):
            await call(Wyrm).page(**options)
    with pytest.raises(QueryError):
        await call(Wyrm).page(False)
    with pytest.raises(ProjectionError, match="fetches 'age' whole"):
        await call(Wyrm).page(sort="age", projection={"age": {"$slice": 1}})

    assert [] == commands.names


def test_a_page_is_a_sequence() -> None:
    """It has a length, items, slices, and says what it is."""
    page = Page([1, 2, 3], "abc", None)

    assert (3, 2, [2, 3], [1, 2, 3]) == (len(page), page[1], page[1:], list(page))
    assert 2 in page
    assert "Page([1, 2, 3], next='abc', previous=None)" == repr(page)
