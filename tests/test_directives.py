"""Directives: built step by step, sent as a find where it can do it, else as an aggregate."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.collation import Collation
from pymongo.errors import OperationFailure, PyMongoError

import loom
from loom import (
    FieldError,
    Frame,
    NotFound,
    ProjectionError,
    Q,
    QueryError,
    Ref,
    StrLower,
    SubFrame,
    TimeUpdated,
)
from loom.frames import SortBy
from loom.frames.commands import aggregate_of
from loom.frames.directives import AwaitedDirective, Directive
from loom.frames.explaining import brief
from loom.frames.index import Index
from loom.frames.queries import to_filter
from loom.frames.stages import AggregationStages

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Inventory, Item, Lair

SUM = {"$sum": "$age"}
COUNT = {"$sum": 1}


class Total(SubFrame):
    """What is known of a breed."""

    breed: str
    total: int
    lair: Lair


class Member(Frame):
    """Has text of one case, a time, and a reference."""

    email: StrLower
    nick: str
    born: datetime
    modified: TimeUpdated
    dragon: Annotated[Dragon, Ref()]


class Pin(Frame):
    """Private to whom it belongs."""

    _private_fields = {"code", "owner.name"}

    code: int
    owner: dict
    age: int


class Reader(Frame):
    """Has an index that ignores case."""

    _indexes = [Index("email", case_insensitive=True)]

    email: str
    age: int
    note: str


class Animal(Frame):
    """Anything in one collection."""

    _kind_field = "kind"

    name: str


class Cat(Animal):
    """One kind of it."""

    lives: int


def start(call: Runtime, cls: Any, filter: Any = None) -> Any:
    """Return a directive of the runtime."""
    return cls.aio.filter(filter) if call.is_async else cls.filter(filter)


async def got(result: Any) -> Any:
    """Return what an executed directive gives, blocking or awaited."""
    return await result if inspect.isawaitable(result) else result


async def filled(call: Runtime, count: int = 6) -> None:
    """Store some dragons: two breeds, ages from 0 on."""
    await call(Dragon).insert_many(
        [
            {
                "name": f"d{n}",
                "breed": "ab"[n % 2],
                "age": n,
                "lair": {"name": "l", "inventory": {"gold": n}},
            }
            for n in range(count)
        ]
    )


def names(frames: Any) -> list[str]:
    """Return the names of frames."""
    return [frame.name for frame in frames]


# Find or aggregate

YOUNG = Q.age < 4
CASES: list[tuple[str, Callable[[Any], Any], list[str]]] = [
    ("find", lambda d: d, ["d0", "d1", "d2", "d3", "d4", "d5"]),
    ("find", lambda d: d.filter(YOUNG), ["d0", "d1", "d2", "d3"]),
    ("find", lambda d: d.filter(YOUNG).filter(Q.age > 1), ["d2", "d3"]),
    ("find", lambda d: d.sort("-age"), ["d5", "d4", "d3", "d2", "d1", "d0"]),
    ("find", lambda d: d.sort("-age").filter(YOUNG), ["d3", "d2", "d1", "d0"]),
    ("find", lambda d: d.sort("age").sort("-age").limit(1), ["d5"]),
    ("find", lambda d: d.sort("age").skip(1).skip(2), ["d3", "d4", "d5"]),
    ("find", lambda d: d.sort("age").skip(1).limit(4).limit(2), ["d1", "d2"]),
    ("find", lambda d: d.sort("age").limit(2).limit(4), ["d0", "d1"]),
    ("find", lambda d: d.sort("age").project("name").limit(2), ["d0", "d1"]),
    ("find", lambda d: d.sort("age").limit(2).projection({"name": True}), ["d0", "d1"]),
    ("aggregate", lambda d: d.sort("age").limit(4).filter(Q.age > 1), ["d2", "d3"]),
    ("aggregate", lambda d: d.sort("age").limit(4).skip(2), ["d2", "d3"]),
    ("aggregate", lambda d: d.sort("age").limit(2).skip(2), []),
    ("aggregate", lambda d: d.sort("age").skip(2).sort("-age"), ["d5", "d4", "d3", "d2"]),
    ("aggregate", lambda d: d.sort("age").skip(4).filter(YOUNG), []),
    ("aggregate", lambda d: d.project("name").filter(YOUNG), []),
    ("aggregate", lambda d: d.project("name", "age").sort("-age").limit(1), ["d5"]),
    ("aggregate", lambda d: d.filter(YOUNG).sample(9).sort("age"), ["d0", "d1", "d2", "d3"]),
    ("aggregate", lambda d: d.add_fields(x=1).sort("age").limit(1), ["d0"]),
    ("aggregate", lambda d: d.agg([{"$match": {"age": 3}}]), ["d3"]),
    ("aggregate", lambda d: d.agg({"$sort": {"age": -1}}).limit(1), ["d5"]),
]


@pytest.mark.parametrize(("command", "build", "expected"), CASES)
async def test_find_or_aggregate(
    call: Runtime, commands: Commands, command: str, build: Any, expected: list[str]
) -> None:
    """What a find does in its order is sent as one; the results follow the order of the steps."""
    await filled(call)
    commands.clear()
    directive = build(start(call, Dragon))
    found = await got(directive.load_many())

    assert [command] == commands.names
    assert sorted(expected) == sorted(names(found))
    if "sort" in repr(directive):
        assert expected == names(found)
    assert all(type(one) is Dragon for one in found)
    assert len(expected) == await got(directive.count())
    assert bool(expected) is await got(directive.exists())


STEPS = st.one_of(
    st.tuples(st.just("below"), st.integers(0, 9)),
    st.tuples(st.just("even"), st.just(0)),
    st.tuples(st.just("sort"), st.sampled_from(["age", "-age"])),
    st.tuples(st.just("skip"), st.integers(0, 4)),
    st.tuples(st.just("limit"), st.integers(1, 8)),
)


def stepped(directive: Any, step: tuple[str, Any]) -> Any:
    """Return a directive with one step more."""
    kind, value = step
    if kind == "below":
        return directive.filter(Q.age < value)
    if kind == "even":
        return directive.filter({"age": {"$mod": [2, 0]}})
    return getattr(directive, kind)(value)


def done(ages: list[int], step: tuple[str, Any]) -> list[int]:
    """Do a step with a list."""
    kind, value = step
    if kind == "below":
        return [age for age in ages if age < value]
    if kind == "even":
        return [age for age in ages if age % 2 == 0]
    if kind == "sort":
        return sorted(ages, reverse=value == "-age")
    return ages[value:] if kind == "skip" else ages[:value]


def test_steps_do_what_they_do_with_a_list(db: str) -> None:
    """Any chain of steps gives what the same steps give with a sorted list."""
    Dragon.insert_many([{"name": f"d{n}", "age": n} for n in range(9)])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(STEPS, max_size=6))
    def check(steps: list[tuple[str, Any]]) -> None:
        directive, ages = Dragon.filter().sort("age"), [*range(9)]
        for step in steps:
            directive, ages = stepped(directive, step), done(ages, step)

        assert ages == [dragon.age for dragon in directive.load_many()]
        assert len(ages) == directive.count()
        assert bool(ages) is directive.exists()
        first = directive.load_one()
        assert (ages[0] if ages else None) == (first and first.age)

    check()


async def test_the_same_find_as_many(call: Runtime, commands: Commands) -> None:
    """A directive sends what `many` sends."""
    options: dict[str, Any] = {"sort": [("age", -1)], "skip": 1, "limit": 2}
    commands.clear()
    await call(Dragon).many(YOUNG, **options, hint="_id_", comment="why")
    await got(
        start(call, Dragon, YOUNG)
        .sort("-age")
        .skip(1)
        .limit(2)
        .load_many(hint="_id_", comment="why")
    )
    await call(Dragon).many(YOUNG, projection={"name": True})
    await got(start(call, Dragon, YOUNG).project({"name"}).load_many())
    sent = [{k: v for k, v in b.items() if k[0] not in "l$"} for b in commands.bodies]

    assert ["find"] * 4 == commands.names
    assert sent[0] == sent[1]
    assert sent[2] == sent[3]


# Values


@given(st.lists(STEPS, max_size=4), STEPS, STEPS)
def test_forks_do_not_see_each_other(steps: list[Any], one: Any, other: Any) -> None:
    """A directive stays as it is, whatever is made of it."""
    begin = Dragon.filter()
    for step in steps:
        begin = stepped(begin, step)
    before = repr(begin)
    first, second = stepped(begin, one), stepped(begin, other)

    assert before == repr(begin)
    assert len(begin._steps) < len(first._steps) > 0
    assert (first == second) is (one == other)
    assert first == stepped(begin, one)
    assert hash(first) == hash(stepped(begin, one))


def test_equality_and_copies() -> None:
    """Directives are equal by class, runtime and steps; copies are the value, pickles equal."""
    directive = Dragon.filter(YOUNG).group_by("breed").acc(total=SUM)

    assert Dragon.filter(YOUNG) == Dragon.filter({"age": {"$lt": 4}})
    assert Dragon.filter(YOUNG) != Item.filter(YOUNG)
    assert Dragon.filter(YOUNG) != Dragon.aio.filter(YOUNG)
    assert Dragon.filter() != 5
    assert copy.copy(directive) is directive is copy.deepcopy(directive)
    assert directive == pickle.loads(pickle.dumps(directive))
    with pytest.raises(AttributeError, match="frozen"):
        directive._steps = ()  # type: ignore[misc]


def test_what_was_passed_in_may_change() -> None:
    """Neither filters nor projections nor stages are shared with the caller."""
    filter = {"tags": {"$in": ["a"]}}
    projection = {"lair": {"name": True}}
    stage = {"$limit": 5}
    directives = [Dragon.filter(filter), Dragon.filter().project(projection), Dragon.agg([stage])]
    before = [repr(d) for d in directives]
    filter["tags"]["$in"].append("b")
    projection["lair"].clear()
    stage["$limit"] = 1

    assert before == [repr(d) for d in directives]


async def test_executing_changes_nothing(call: Runtime) -> None:
    """Executed twice, it sends the same; normalising works on copies."""
    directive = start(call, Member, Q.email.is_in(["ANN@X.NO"])).sort("email")
    await call(Member).insert_many([{"email": "Ann@x.no"}])
    before = repr(directive)
    for _ in range(2):
        assert 1 == len(await got(directive.load_many()))
        assert 1 == len(await got(directive.limit(5).filter(Q.email == "ANN@x.no").load_many()))

    assert before == repr(directive)


@pytest.mark.parametrize(
    "use",
    [bool, list, len, iter, lambda d: d[0], lambda d: 5 in d, lambda d: d and 1, lambda d: not d],
)
def test_a_directive_is_no_list(use: Callable[[Any], Any]) -> None:
    """Where a result is meant, the error says how to get one."""
    for directive in (Dragon.filter(), Dragon.aio.filter()):
        with pytest.raises(QueryError, match=r"is no list.*load_many.*Dragon\.each\(filter\)"):
            use(directive)


def test_both_runtimes_have_the_same_steps() -> None:
    """Names, parameters and what is awaited: identical but for `async`."""
    here, there = vars(Directive), vars(AwaitedDirective)
    public = {name for name in here if not name.startswith("_")}

    assert public == {name for name in there if not name.startswith("_")}
    for name in public:
        one, other = inspect.signature(here[name]), inspect.signature(there[name])
        assert [(p.name, p.kind, p.default) for p in one.parameters.values()] == [
            (p.name, p.kind, p.default) for p in other.parameters.values()
        ]
        executed = name not in ("agg", "group_by", "unwind")
        assert inspect.iscoroutinefunction(there[name]) is executed


def test_importing_loom_imports_none_of_it() -> None:
    """Who does not use directives does not pay for them."""
    code = "import sys, loom; print([m for m in sys.modules if 'chains' in m or 'stages' in m])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == shown.stdout.strip()


async def test_a_blocking_directive_in_a_listener(db: str) -> None:
    """It is refused where it would stall the loop; the awaited one takes the running port."""
    seen: list[int] = []

    @Dragon.listen("inserted")
    async def count() -> None:
        seen.append(await Dragon.aio.filter(Q.age >= 0).count())

    Dragon(age=1).insert()

    assert [1] == seen

    @Dragon.listen("insert")
    def stall() -> None:
        Dragon.filter().load_many()

    with pytest.raises(loom.ListenerError, match="stall"):
        await Dragon(age=2).aio.insert()


# Steps


@pytest.mark.parametrize(
    "by",
    [
        lambda d: d.sort("breed", "-age"),
        lambda d: d.sort(["breed", "-age"]),
        lambda d: d.sort(SortBy(Q.breed, Q.age.desc)),
        lambda d: d.sort([("breed", 1), ("age", -1)]),
        lambda d: d.sort({"breed": 1, "age": -1}),
        lambda d: d.sort(Q.breed, ("age", -1)),
    ],
)
async def test_forms_of_sort(call: Runtime, by: Any) -> None:
    """`sort` takes what `sort=` takes."""
    await filled(call)
    found = await got(by(start(call, Dragon)).load_many())

    assert ["d4", "d2", "d0", "d5", "d3", "d1"] == names(found)


async def test_sort_descending(call: Runtime) -> None:
    """`descending` turns what names no direction; PyMongo's pair works as well."""
    await filled(call)
    for directive in (
        start(call, Dragon).sort("age", descending=True),
        start(call, Dragon).sort("age", -1),
    ):
        assert "d5" == (await got(directive.load_one())).name
    with pytest.raises(QueryError, match=r"Dragon\.sort: expected one direction"):
        start(call, Dragon).sort("-age", descending=True)


async def test_load_one(call: Runtime, commands: Commands) -> None:
    """One result, None, or NotFound; of an aggregate too."""
    await filled(call)
    commands.clear()
    for directive in (
        start(call, Dragon, Q.age > 3),
        start(call, Dragon).limit(9).filter(Q.age > 3),
    ):
        assert "d5" == (await got(directive.sort("-age").load_one(required=True))).name
        assert await got(directive.filter(Q.age > 99).load_one()) is None
        with pytest.raises(NotFound, match="Dragon: expected"):
            await got(directive.filter(Q.age > 99).load_one(required=True))
    limits = [body["pipeline"][-2] for body in commands.bodies if "pipeline" in body]

    assert [{"$limit": 1}] * 3 == limits


async def test_count_and_exists_ask_for_little(call: Runtime, commands: Commands) -> None:
    """Documents are not fetched to be counted."""
    await filled(call)
    commands.clear()
    directive = start(call, Dragon, YOUNG).sort("age").skip(1)
    assert 3 == await got(directive.count())
    assert await got(directive.exists())
    grouped = start(call, Dragon, YOUNG).group_by("breed")
    assert 2 == await got(grouped.count())
    assert await got(grouped.exists())
    assert 0 == await got(grouped.filter(Q.breed == "c").count())
    assert not await got(grouped.filter(Q.breed == "c").exists())
    counted, asked, groups, any_group, *_ = commands.bodies

    assert [{"$match": {"age": {"$lt": 4}}}, {"$skip": 1}] == counted["pipeline"][:2]
    assert {"_id": True} == asked["projection"]
    assert 1 == asked["skip"]
    assert {"$count": "n"} == groups["pipeline"][-1]
    assert [{"$limit": 1}, {"$project": {"_id": True}}] == any_group["pipeline"][-2:]


async def test_count_of_everything_is_the_servers(call: Runtime, commands: Commands) -> None:
    """As `Frame.count`: nothing is read when nothing is asked."""
    await filled(call)
    commands.clear()

    assert 6 == await got(start(call, Dragon).count())
    assert ["count"] == commands.names


async def test_load_latest(call: Runtime, commands: Commands) -> None:
    """The newest by the TimeUpdated field, or by the field named."""
    old, new = [datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2001, 2002)]
    await call(Member).insert_many(
        [
            {"nick": "a", "modified": new, "born": old},
            {"nick": "b", "modified": old, "born": new},
            {"nick": "c", "born": new},
        ]
    )
    await call(Member).update_where(Q.nick == "c", {"$set": {"modified": old}})
    latest = start(call, Member)

    assert "a" == (await got(latest.load_latest())).nick
    assert "b" == (await got(latest.filter(Q.nick != "c").load_latest("born"))).nick
    assert "b" == (await got(latest.filter(Q.nick != "c").load_latest(Q.born))).nick
    assert (
        "b" == (await got(latest.sort("-nick").limit(2).filter(Q.nick != "c").load_latest())).nick
    )
    assert await got(latest.filter(Q.nick == "x").load_latest()) is None
    with pytest.raises(NotFound):
        await got(latest.filter(Q.nick == "x").load_latest(required=True))
    with pytest.raises(
        QueryError, match=r"Dragon.load_latest: expected .* got none; name the field"
    ):
        await got(start(call, Dragon).load_latest())
    with pytest.raises(FieldError, match="did you mean 'born'"):
        await got(latest.load_latest("borne"))


# Frames


async def test_projections_in_both_commands(call: Runtime) -> None:
    """References and sub-frames are put in place after a find and after an aggregate."""
    item = Item(desc="cup", value=3)
    await call(item).insert()
    await call(Dragon).insert_many(
        [
            {
                "name": "a",
                "age": 1,
                "loot": [item, item],
                "lair": {"name": "x", "inventory": {"gold": 1}},
            }
        ]
    )
    projection = {
        "name": True,
        "loot": {"$ref": Item, "desc": True},
        "lair": {"$sub": Lair, "inventory": {"$sub": Inventory}},
    }
    for directive in (
        start(call, Dragon),
        start(call, Dragon).sample(5),
        start(call, Dragon).agg([]),
    ):
        (dragon,) = await got(directive.project(projection).load_many())

        assert ["cup", "cup"] == [one.desc for one in dragon.loot]
        assert isinstance(dragon.lair, Lair)
        assert 1 == dragon.lair.inventory.gold
        assert dragon.age is None


async def test_frames_fetch_the_declared_fields(call: Runtime, commands: Commands) -> None:
    """Without a projection an aggregate brings what a find brings, and maps sub-frames."""
    await filled(call, 1)
    Dragon.get_collection().update_one({}, {"$set": {"undeclared": 1}})
    commands.clear()
    one = await got(start(call, Dragon).load_one())
    (other,) = await got(start(call, Dragon).sample(1).load_many())

    assert one._document == other._document
    assert isinstance(other.lair, Lair)
    assert commands.bodies[0]["projection"] == commands.bodies[1]["pipeline"][-1]["$project"]


async def test_added_fields(call: Runtime) -> None:
    """They come with the frames, are read as items, and are never written back."""
    await filled(call, 2)
    directive = start(call, Dragon, Q.age == 1).add_fields(
        {"double": {"$multiply": [Q.age, 2]}, "lair.inventory.gold": 7}
    )
    dragon = await got(directive.load_one())

    assert 2 == dragon["double"]
    assert 7 == dragon.lair.inventory.gold
    assert "d1" == dragon.name
    for frame in (dragon, pickle.loads(pickle.dumps(dragon))):
        with pytest.raises(ProjectionError, match="fetched whole"):
            await call(frame).update()
    dragon.name = "new"
    await call(dragon).save()
    stored = Dragon.get_collection().find_one({"name": "new"})

    assert stored is not None
    assert "double" not in stored
    assert 1 == stored["lair"]["inventory"]["gold"]


async def test_added_fields_replace_declared_ones(call: Runtime) -> None:
    """A declared field that the server computes is fetched, and is not written back."""
    await filled(call, 1)
    dragon = await got(start(call, Dragon).add_fields(age={"$add": ["$age", 50]}).load_one())

    assert 50 == dragon.age
    with pytest.raises(ProjectionError):
        await call(dragon).update("age")


async def test_added_fields_and_projections_of_classes(call: Runtime) -> None:
    """They come beside what a class fetches by itself, and not where it leaves them out."""

    class Anything(Frame):
        pass

    class Few(Frame):
        _collection = "Anything"
        _default_projection = {"b": False, "c": False}

        a: int
        b: int
        c: int

    class Narrow(Frame):
        _collection = "Anything"
        _default_projection = {"lair": {"name": True}}

        lair: dict

    await call(Anything).insert_many([{"a": 1, "b": 2, "lair": {"name": "x", "gold": 1}}])
    anything = await got(start(call, Anything).add_fields(x="$a").load_one())
    few = await got(start(call, Few).add_fields({"x": "$a", "c": 5}).load_one())
    narrow = await got(start(call, Narrow).add_fields(lair={"$literal": {"new": 1}}).load_one())
    inside = await got(start(call, Narrow).add_fields({"lair.gold": {"$literal": 3}}).load_one())

    assert (1, 1, 2) == (anything["x"], anything["a"], anything["b"])
    assert {"a", "x", "lair", "_id"} == few._document.keys()
    assert {"new": 1} == narrow.lair
    assert {"name": "x", "gold": 3} == inside.lair
    for frame in (anything, few, narrow, inside):
        with pytest.raises(ProjectionError):
            await call(frame).update()


async def test_lookups_keep_frames(call: Runtime) -> None:
    """What a lookup adds is a list of dicts beside the fields."""
    item = Item(desc="cup")
    await call(item).insert()
    await call(Dragon).insert_many([{"name": "a", "loot": [item]}, {"name": "b"}])
    directive = start(call, Dragon).lookup(Item, "loot", as_="found").sort("name")
    first, second = await got(directive.load_many())

    assert [{"_id": item._id, "desc": "cup"}] == first["found"]
    assert [] == second["found"]
    assert [item._id] == first.loot


async def test_lookups_with_a_pipeline(call: Runtime) -> None:
    """Conditions may stand in the pipeline of a lookup."""
    await call(Item).insert_many([{"desc": "cup", "value": n} for n in range(3)])
    await filled(call, 1)
    directive = start(call, Dragon).lookup(
        Item, as_="found", pipeline=AggregationStages().match(Q.value > 0).sort("-value")
    )

    assert [2, 1] == [item["value"] for item in (await got(directive.load_one()))["found"]]


def test_the_order_of_a_project_is_kept() -> None:
    """A projection before a filter is sent before it."""
    shown = repr(Dragon.filter().project("name").filter(Q.age > 1))

    assert (
        "db.Dragon.aggregate([{'$project': {'name': True}}, {'$match': {'age': {'$gt': 1}}}])"
        == shown
    )


# Rows


async def test_groups(call: Runtime) -> None:
    """A group is a row with its keys and what was computed, in this order."""
    await filled(call)
    one = start(call, Dragon, Q.age > 0).group_by("breed").acc(total=SUM, n=COUNT).sort("breed")
    nested = start(call, Dragon, YOUNG).group_by(Q.lair.inventory.gold, "breed").acc(n=COUNT)
    named = (
        start(call, Dragon).group_by(odd={"$mod": ["$age", 2]}).acc(top={"$max": Q.age}).sort("odd")
    )
    everything = start(call, Dragon).group_by().acc(n={"$count": {}})

    rows = await got(one.load_many())
    assert [{"breed": "a", "total": 6, "n": 2}, {"breed": "b", "total": 9, "n": 3}] == rows
    assert [["breed", "total", "n"]] * 2 == [[*row] for row in rows]
    assert {"lair": {"inventory": {"gold": 1}}, "breed": "b", "n": 1} in await got(
        nested.load_many()
    )
    assert [{"odd": 0, "top": 4}, {"odd": 1, "top": 5}] == await got(named.load_many())
    assert [{"n": 6}] == await got(everything.load_many())
    assert [{"breed": "a"}, {"breed": "b"}] == await got(
        start(call, Dragon).group_by("breed").sort("breed").load_many()
    )
    assert rows[:1] == await got(one.limit(1).load_many())
    assert rows[1] == await got(one.filter(Q.total > 6).load_one())


async def test_null_and_absent_are_one_group(call: Runtime) -> None:
    """With one key and with several, a group without a value has None."""
    await call(Dragon).insert_many([{"name": "a", "breed": None}, {"name": "b"}, {"breed": "x"}])
    one = start(call, Dragon).group_by("breed").acc(n=COUNT).sort("breed")
    two = start(call, Dragon).group_by("breed", "age").acc(n=COUNT).sort("breed")

    assert [{"breed": None, "n": 2}, {"breed": "x", "n": 1}] == await got(one.load_many())
    assert [
        {"breed": None, "age": None, "n": 2},
        {"breed": "x", "age": None, "n": 1},
    ] == await got(two.load_many())


async def test_rows_as_sub_frames(call: Runtime) -> None:
    """`into` names the class; what its annotations say is mapped."""
    await filled(call)
    groups = (
        start(call, Dragon).group_by("breed").acc(total=SUM, lair={"$first": "$lair"}).sort("breed")
    )
    first, second = await got(groups.load_many(into=Total))
    unwound = start(call, Dragon).agg([{"$replaceWith": "$lair"}]).sort("-inventory.gold")

    assert isinstance(first, Total)
    assert ("a", 6, "b", 9) == (first.breed, first.total, second.breed, second.total)
    assert isinstance(first.lair, Lair)
    lair = await got(unwound.load_one(into=Lair))
    assert isinstance(lair.inventory, Inventory)
    assert 5 == lair.inventory.gold
    assert await got(unwound.filter(Q.name == "x").load_one(into=Lair)) is None


@pytest.mark.parametrize(
    ("build", "into", "message"),
    [
        (lambda d: d, Total, "expected rows to put into Total, got documents of Dragon"),
        (lambda d: d.group_by("breed"), Dragon, "expected a SubFrame class"),
        (lambda d: d.group_by("breed"), dict, "expected a SubFrame class"),
        (
            lambda d: d.group_by("age"),
            Total,
            "declare the fields of the groups, got none for 'age'",
        ),
        (lambda d: d.group_by("breed").acc(totl=SUM).limit(1), Total, "did you mean 'total'"),
    ],
)
async def test_classes_that_cannot_hold_rows(
    call: Runtime, commands: Commands, build: Any, into: Any, message: str
) -> None:
    """They are refused before anything is sent."""
    for execute in ("load_many", "load_one"):
        with pytest.raises((QueryError, FieldError), match=message):
            await got(getattr(build(start(call, Dragon)), execute)(into=into))

    assert [] == commands.names


async def test_unwinding(call: Runtime) -> None:
    """A row for each item, never frames that hold a part."""
    items = await call(Item).insert_many([{"desc": "a"}, {"desc": "b"}])
    await call(Dragon).insert_many([{"name": "x", "loot": items}, {"name": "y"}])
    rows = await got(start(call, Dragon).unwind("loot", include_array_index="at").load_many())
    all_rows = await got(
        start(call, Dragon).unwind(Q.loot, preserve_null_and_empty_arrays=True).load_many()
    )

    assert [(item._id, n) for n, item in enumerate(items)] == [(r["loot"], r["at"]) for r in rows]
    assert [dict] * 3 == [type(row) for row in all_rows]


async def test_reshaped_documents_are_rows(call: Runtime) -> None:
    """Rows can go on through all steps; a projection of rows is MongoDB's own."""
    await filled(call)
    directive = (
        start(call, Dragon)
        .unwind("breed")
        .project({"breed": True, "old": {"$gt": [Q.age, 3]}, "_id": False})
        .filter(Q.old == True)  # noqa: E712
        .add_fields(note={"$literal": "$x"})
        .sort("-breed")
        .limit(1)
    )

    assert [{"breed": "b", "old": True, "note": "$x"}] == await got(directive.load_many())
    assert 1 == await got(directive.count())
    assert [{"breed": "a"}] == await got(
        start(call, Dragon)
        .group_by("breed", "age")
        .project("breed")
        .sort("breed")
        .limit(1)
        .load_many()
    )


@pytest.mark.parametrize(
    ("stage", "is_whole"),
    [
        ({"$match": {}}, True),
        ({"$sort": {"a": 1}}, True),
        ({"$addFields": {"a": 1}}, True),
        ({"$set": {"a": 1}}, True),
        ({"$setWindowFields": {"output": {"a": {"$sum": 1}}}}, True),
        ({"$fill": {"output": {"a": {"value": 1}}}}, True),
        ({"$graphLookup": {"as": "a"}}, True),
        ({"$geoNear": {"distanceField": "a"}}, True),
        ({"$search": {"text": {}}}, True),
        ({"$search": {"text": {}, "returnStoredSource": True}}, False),
        ({"$vectorSearch": {}}, True),
        ({"$rankFusion": {}}, True),
        ({"$unset": "a"}, False),
        ({"$project": {"a": 1}}, False),
        ({"$replaceWith": "$a"}, False),
        ({"$redact": "$$KEEP"}, False),
        ({"$unionWith": "b"}, False),
        ({"$densify": {}}, False),
        ({"$facet": {}}, False),
        ({"$sortByCount": "$a"}, False),
        ({"$collStats": {}}, False),
        ({"$unknown": {}}, False),
    ],
)
def test_which_stages_keep_documents_whole(stage: dict[str, Any], is_whole: bool) -> None:
    """A stage gives frames only where it is known to keep all of a document."""
    assert is_whole is Dragon.agg([stage]).is_whole()
    assert not Dragon.agg([stage]).group_by().is_whole()


async def test_stages_of_a_class(call: Runtime) -> None:
    """`agg` takes AggregationStages, also behind other steps, and gives frames or rows."""
    await filled(call)
    stages = AggregationStages().match(Q.age > 2).sort("-age")
    begin = Dragon.aio.agg(stages) if call.is_async else Dragon.agg(stages)

    assert ["d5", "d4", "d3"] == names(await got(begin.load_many()))
    assert [{"_id": "b", "n": 2}] == await got(
        begin.agg(AggregationStages().group("$breed", n=COUNT).match(Q._id == "b")).load_many()
    )


# Refused


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda d: d.filter(True), QueryError, "Python made of a comparison"),
        (lambda d: d.filter("x"), QueryError, "expected a condition"),
        (
            lambda d: d.limit(0),
            QueryError,
            "Dragon.limit: expected a whole number from 1 on, got 0",
        ),
        (lambda d: d.limit(-1), QueryError, "got -1"),
        (lambda d: d.skip("1"), QueryError, "got '1' of type str"),
        (lambda d: d.sample(0), QueryError, "Dragon.sample"),
        (lambda d: d.sort(), QueryError, "Dragon.sort: expected names"),
        (lambda d: d.project("name").project("age"), QueryError, "one projection"),
        (lambda d: d.project({"name": 5}), ProjectionError, "Dragon.name"),
        (lambda d: d.group_by("bred"), FieldError, "got 'bred'; did you mean 'breed'"),
        (lambda d: d.group_by("zzz"), FieldError, "what is not declared goes into agg"),
        (lambda d: d.group_by("breed", "breed"), QueryError, "each name once"),
        (lambda d: d.group_by("lair", "lair.name"), QueryError, "each name once"),
        (lambda d: d.group_by("breed").acc(breed=SUM), QueryError, "each name once"),
        (lambda d: d.group_by("breed").acc(n={"$sum": "$agee"}), FieldError, "did you mean 'age'"),
        (lambda d: d.group_by("breed").acc(n=1), QueryError, "one accumulator"),
        (lambda d: d.group_by("breed").acc(**{"a.b": SUM}), QueryError, "without \\$ and dots"),
        (lambda d: d.group_by("breed").limit(1).acc(n=SUM), QueryError, "group_by.* right before"),
        (lambda d: d.acc(n=SUM), QueryError, "got nothing"),
        (lambda d: d.unwind("lot"), FieldError, "did you mean 'loot'"),
        (lambda d: d.lookup(Item, "lot", as_="x"), FieldError, "did you mean 'loot'"),
        (lambda d: d.lookup(Item, as_="x"), QueryError, "local_field or a pipeline"),
        (lambda d: d.add_fields(a="$agee"), FieldError, "did you mean 'age'"),
        (lambda d: d.add_fields(a=Q.age > 5), QueryError, "aggregation expression"),
        (lambda d: d.agg({"$out": "x"}), QueryError, "which writes; run it with Dragon.get_coll"),
        (lambda d: d.agg([{"$merge": "x"}]), QueryError, "which writes"),
        (lambda d: d.agg({"$changeStream": {}}), QueryError, "watch"),
        (lambda d: d.limit(1).agg({"$search": {}}), QueryError, "as the first stage"),
        (lambda d: d.agg("x"), QueryError, "expected stages as a list"),
        (
            lambda d: d.project({"loot": {"$ref": Item}}).group_by("loot"),
            QueryError,
            "expected no \\$ref before group",
        ),
    ],
)
def test_refused(build: Any, error: type[Exception], message: str) -> None:
    """What cannot be meant is refused where it is written; the message leads on."""
    with pytest.raises(error, match=message):
        build(Dragon.filter())


def test_fields_of_a_class_without_fields() -> None:
    """It takes any name; so do rows, whose fields are not known."""

    class Anything(Frame):
        pass

    Anything.filter().group_by("x").acc(n={"$sum": "$y"})
    Dragon.filter().group_by("breed").acc(n=SUM).unwind("n").group_by("zzz")
    Dragon.filter().add_fields(x=1).group_by("x").acc(n={"$max": "$$ROOT"})
    Dragon.agg({"$set": {"y": "$zzz"}}).group_by("y")


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda d: d.group_by(), QueryError, "names of fields or acc"),
        (
            lambda d: d.project({"loot": {"$slice": 2}}).sample(1),
            ProjectionError,
            "Dragon.loot: .*\\$slice, which only a find takes",
        ),
        (lambda d: d.filter(Q.place.near((1, 2))).sample(1), QueryError, "geo_near"),
        (lambda d: d.limit(1).filter({"$where": "1"}), QueryError, "\\$where"),
    ],
)
async def test_refused_when_it_is_sent(
    call: Runtime, commands: Commands, build: Any, error: type[Exception], message: str
) -> None:
    """What only some commands take is refused before one of them is sent, and shown as such."""
    directive = build(start(call, Dragon))
    with pytest.raises(error, match=message):
        await got(directive.load_many())

    assert [] == commands.names
    assert "that cannot be sent" in repr(directive)


async def test_options(call: Runtime, commands: Commands) -> None:
    """One set of options for both commands; those that are steps are refused."""
    await filled(call)
    commands.clear()
    given: dict[str, Any] = {"max_time_ms": 5000, "comment": "why", "allow_disk_use": True}
    for directive in (start(call, Dragon, YOUNG), start(call, Dragon, YOUNG).group_by("breed")):
        await got(directive.load_many(**given, batch_size=2, collation=Collation("en")))
        await got(directive.count(max_time_ms=5000, hint="_id_"))
        await got(directive.load_one(maxTimeMS=5000))
    for body in commands.bodies:
        if "getMore" not in body:
            assert 5000 == body["maxTimeMS"]
    for name in ("sort", "limit", "skip", "projection", "filter"):
        with pytest.raises(QueryError, match=f"expected {name} as a step"):
            await got(start(call, Dragon).load_many(**{name: 1}))
    with pytest.raises(QueryError, match="expected an option, got 'hnit'; did you mean 'hint'"):
        await got(start(call, Dragon).group_by("breed").load_many(hnit=1))


async def test_sessions_and_comments_of_blocks(call: Runtime, commands: Commands) -> None:
    """Both commands join what calls around them join."""
    await filled(call)
    commands.clear()
    with loom.using(comment="the list"):
        await got(start(call, Dragon).sample(1).project({"nemesis": {"$ref": Dragon}}).load_many())
        await got(start(call, Dragon, YOUNG).load_many())

    assert {"the list"} == {body["comment"] for body in commands.bodies}


def test_transactions(db: str, commands: Commands) -> None:
    """An aggregate sees what the transaction around it wrote."""
    Dragon(name="before").insert()
    with loom.transaction():
        Dragon(name="inside").insert()
        found = Dragon.filter().sort("name").group_by("name").sort("name").load_many()
    sent = [body for body in commands.bodies if "aggregate" in body]

    assert [{"name": "before"}, {"name": "inside"}] == found
    assert "txnNumber" in sent[0]


def test_reading_is_no_writing(db: str) -> None:
    """Directives work where writing is switched off."""
    with loom.read_only():
        assert [] == Dragon.filter().sample(1).load_many()


# What filters go through


async def test_marked_text(call: Runtime, commands: Commands) -> None:
    """Text of one case is looked for in it: in a find, a pipeline, a facet, and not in rows."""
    await call(Member).insert_many([{"email": "ANN@x.no", "nick": "Ann"}])
    wanted = Q.email == "Ann@X.no"
    begin = start(call, Member)
    for directive in (
        begin.filter(wanted),
        begin.sample(5).filter(wanted),
        begin.agg([{"$match": wanted}]),
        begin.limit(5).agg([{"$match": {"$or": [wanted, Q.email.startswith("ANN@")]}}]),
    ):
        assert 1 == await got(directive.count())
    (facet,) = await got(begin.agg(AggregationStages().facet(a=[{"$match": wanted}])).load_many())
    assert 1 == len(facet["a"])
    grouped = begin.group_by(email="$nick")
    assert 1 == await got(grouped.filter(Q.email == "Ann").count())


async def test_naive_datetimes(call: Runtime, server: Server, db: str) -> None:
    """They mean what the connection says, in all stages."""
    loom.connect(server.client, aio=server.aio, db=db, naive="refuse")
    naive = datetime(2001, 1, 1)
    for directive in (
        start(call, Member, Q.born > naive),
        start(call, Member).limit(1).filter(Q.born > naive),
        start(call, Member).group_by("born").filter(Q.born > naive),
        start(call, Member).add_fields(since=naive),
    ):
        with pytest.raises(loom.EncodeError, match="with a zone"):
            await got(directive.load_many())


async def test_collations(call: Runtime, commands: Commands) -> None:
    """A filter by an index without case carries its collation in both commands."""
    await call(Reader).insert_many(
        [{"email": "Ann@x.no", "age": 1}, {"email": "bob@x.no", "age": 2}]
    )
    commands.clear()
    wanted = Q.email == "ANN@X.NO"
    for directive in (start(call, Reader, wanted), start(call, Reader, wanted).sample(5)):
        assert [1] == [reader.age for reader in await got(directive.load_many())]
        assert 2 == commands.bodies[-1]["collation"]["strength"]
        assert "collation" in repr(directive)
    grouped = start(call, Reader, wanted).group_by("note")
    with pytest.raises(QueryError, match=r"got \$group, which would ignore case.*collation=None"):
        await got(grouped.load_many())
    assert [] == await got(grouped.load_many(collation=None))
    assert 1 == len(await got(grouped.load_many(collation=Collation("en", strength=2))))
    with pytest.raises(QueryError, match="note"):
        await got(start(call, Reader, wanted).limit(1).filter(Q.note == "x").load_many())
    assert "collation" not in repr(start(call, Reader, Q.age > 1).group_by("note"))
    assert "collation" not in repr(start(call, Reader).group_by("email").sort("email"))
    assert "collation" in repr(start(call, Reader).sort("email").sample(1))
    assert "collation" in repr(start(call, Reader, wanted).unwind("note").limit(1))
    with pytest.raises(QueryError, match=r"got \$match, which would ignore case"):
        await got(start(call, Reader, wanted).unwind("note").filter(Q.note == "x").load_many())
    with pytest.raises(QueryError, match="or an order that ignores case"):
        await got(start(call, Reader).sort("email").limit(5).group_by("note").load_many())


async def test_kinds(call: Runtime, commands: Commands) -> None:
    """A class of a kind sees its documents only, and each becomes a frame of its class."""
    await call(Animal).insert_many([{"name": "a"}])
    await call(Cat).insert_many([{"name": "b", "lives": 7}])
    found = await got(start(call, Animal).sample(5).sort("name").load_many())

    assert [Animal, Cat] == [type(one) for one in found]
    assert ["b"] == names(await got(start(call, Cat).sample(5).load_many()))
    assert 1 == await got(start(call, Cat).group_by("name").count())
    cat = await got(
        start(call, Animal).add_fields(many={"$gt": ["$lives", 5]}).sort("-name").load_one()
    )
    assert (Cat, True) == (type(cat), cat["many"])
    with pytest.raises(ProjectionError):
        await call(cat).update()
    assert "Cat" in repr(start(call, Cat))
    assert "Cat" in repr(start(call, Cat).sample(1))
    assert 2 == await got(start(call, Animal).group_by("kind", "lives").count())
    commands.clear()
    for directive in (start(call, Cat), start(call, Cat).sample(1)):
        await got(directive.explain())
        await got(directive.load_many())
    explained = [b["explain"] for b in commands.bodies if "explain" in b]
    sent = [b for b in commands.bodies if "explain" not in b]
    assert explained[0]["filter"] == sent[0]["filter"]
    assert explained[1]["pipeline"] == sent[1]["pipeline"]


class Tent(Frame):
    """Has documents of an older form, in which the name was a title."""

    _schema_version = 1

    name: str
    width: int
    walls: dict

    @classmethod
    def _upgrade(cls, document: dict[str, Any], version: int) -> None:
        if "title" in document:
            document["name"] = document.pop("title")


async def test_older_documents(call: Runtime) -> None:
    """Frames of an aggregate are upgraded as others are, and keep what was added."""
    Tent.get_collection().insert_many(
        [{"title": "a", "width": 1, "walls": {"n": 4}}, {"title": "b", "width": 2}]
    )
    one = start(call, Tent).sort("-width").limit(5).filter(Q.width == 1)
    (tent,) = await got(one.load_many())
    added = await got(
        one.add_fields({"double": {"$multiply": [Q.width, 2]}, "walls.m": 3}).load_one()
    )

    assert ("a", 1) == (tent.name, tent.width)
    assert ("a", 1, 2, {"n": 4, "m": 3}) == (added.name, added.width, added["double"], added.walls)
    with pytest.raises(ProjectionError):
        await call(added).update("walls")
    with pytest.raises(ProjectionError, match="names fields beside what is added"):
        await got(start(call, Tent).project({"width": False}).add_fields(x=1).load_many())


# User text


@pytest.mark.parametrize("sent", [{"$ne": None}, {"$gt": ""}, "$name", "$$ROOT", {"$regex": "."}])
async def test_values_never_become_operators(call: Runtime, sent: Any) -> None:
    """A condition compares with what was sent, in both commands."""
    await filled(call)
    wanted = Q.name == sent
    for directive in (
        start(call, Dragon, wanted),
        start(call, Dragon).limit(9).filter(wanted),
        start(call, Dragon).group_by("name").filter(wanted),
        start(call, Dragon, wanted).group_by("name"),
    ):
        assert [] == await got(directive.load_many())
    await call(Dragon).insert_many([{"name": sent}])
    assert 1 == await got(start(call, Dragon).limit(9).filter(wanted).count())


SENT = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "$name", "$$ROOT", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$ne", "$gt", "$in", "$expr", "$where", "$not", "$match", "a", "$literal"]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=6,
)


@given(SENT)
def test_whatever_is_sent_is_compared_with(sent: Any) -> None:
    """What a request sends reaches the server as the value of one comparison, or as a literal."""
    directive = Dragon.filter(Q.name == sent).sample(1).add_fields(x={"$literal": sent})
    match, _, added, *_ = aggregate_of(
        directive, lambda filter, knows: to_filter(filter), {}
    ).stages
    (test,) = match["$match"].values()

    assert ["name"] == [*match["$match"]]
    assert test == {"$eq": sent} or (test == sent and not isinstance(sent, dict))
    assert {"$addFields": {"x": {"$literal": sent}}} == added


@pytest.mark.parametrize("name", ["$where", "$$ROOT", "", "a\0", "x..y", "$"])
def test_names_never_become_operators(name: str) -> None:
    """Text in the place of a field is a field or an error."""

    class Anything(Frame):
        pass

    calls: list[Callable[[Any], Any]] = [
        lambda d: d.sort(name),
        lambda d: d.unwind(f"${name}"),
        lambda d: d.group_by(f"${name}"),
        lambda d: d.group_by(**{name: 1}),
        lambda d: d.add_fields({name: 1}),
        lambda d: d.group_by().acc(**{name: COUNT}),
        lambda d: d.lookup("x", f"${name}", as_="y"),
        lambda d: d.lookup("x", "y", as_=name),
    ]
    for build in calls:
        with pytest.raises(QueryError):
            build(Anything.filter())


# Shown


@pytest.mark.parametrize(
    ("directive", "shown"),
    [
        (
            lambda: Dragon.filter(YOUNG).project("name").sort("-age").skip(1).limit(5),
            (
                "db.Dragon.aggregate([{'$match': {'age': {'$lt': 4}}}, {'$project': {'name': True}}, "
                "{'$sort': {'age': -1}}, {'$skip': 1}, {'$limit': 5}])"
            ),
        ),
        (
            lambda: Dragon.filter(YOUNG).sort("-age").skip(1).limit(5).project("name"),
            "db.Dragon.find({'age': {'$lt': 4}}, {'name': True}).sort([('age', -1)]).skip(1).limit(5)",
        ),
        (
            lambda: Dragon.aio.filter(Q.breed == "a").group_by("breed").acc(n=COUNT),
            (
                "db.Dragon.aggregate([{'$match': {'breed': 'a'}}, {'$group': {'_id': '$breed', 'n': "
                "{'$sum': 1}}}, {'$project': {'_id': False, 'breed': '$_id', 'n': '$n'}}])"
            ),
        ),
        (
            lambda: Pin.filter(Q.code == 5).project("age"),
            "db.Pin.find({'code': <private>}, {'age': True})",
        ),
        (
            lambda: Pin.filter((Q.code > 5) | (Q.owner.name == "Ann") | (Q.age == 3)).project(
                "age"
            ),
            (
                "db.Pin.find({'$or': [{'code': <private>}, {'owner.name': <private>}, {'age': 3}]}, "
                "{'age': True})"
            ),
        ),
        (
            lambda: Pin.filter({"owner": {"name": "Ann", "x": 1}}).project("age"),
            "db.Pin.find({'owner': {'name': <private>, 'x': 1}}, {'age': True})",
        ),
        (
            lambda: (
                Pin.filter({"$expr": {"$eq": ["$code", 5]}})
                .group_by("age")
                .acc(m={"$max": "$code"})
            ),
            (
                "db.Pin.aggregate([{'$match': {'$expr': {'$eq': ['$code', <private>]}}}, {'$group': "
                "{'_id': '$age', 'm': {'$max': '$code'}}}, {'$project': {'_id': False, 'age': '$_id', "
                "'m': '$m'}}])"
            ),
        ),
        (
            lambda: Member.filter(Q.email == "ANN").project("nick"),
            "db.Member.find({'email': 'ann'}, {'nick': True})",
        ),
    ],
)
def test_shown_as_the_command(directive: Any, shown: str) -> None:
    """`repr` is the command that will be sent, without private values."""
    assert shown == repr(directive())
    assert shown == str(directive())


def test_odd_names_of_collections() -> None:
    """They are shown as a shell takes them."""

    class Odd(Frame):
        _collection = "odd-ones"

    assert "db['odd-ones'].find({})" == repr(Odd.filter())


def test_long_lists_are_shown_in_part() -> None:
    """Of thousands of ids the first ones are shown; all are sent."""
    shown = repr(Dragon.filter(Q.age.is_in(range(5_000))).sample(1))

    assert "{'age': {'$in': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... 4,990 more]}}" in shown


def test_what_is_shown_is_what_is_sent(db: str, commands: Commands) -> None:
    """The stages of the text are those of the command."""
    directive = Dragon.filter(Q.name == "x").sample(2).add_fields(a=1).group_by("a").acc(n=SUM)
    directive.load_many()

    assert repr(directive) == f"db.Dragon.aggregate({commands.bodies[-1]['pipeline']!r})"


# Explained


async def test_explaining(call: Runtime, commands: Commands) -> None:
    """One line, or all that the server says; of the command that would be sent."""
    await filled(call)
    for directive, command in (
        (start(call, Dragon, Q._id == 5).sort("age").limit(1), "find"),
        (start(call, Dragon, YOUNG).group_by("breed").acc(n=COUNT), "aggregate"),
    ):
        shown = await got(directive.explain())
        commands.clear()
        plan = await got(directive.explain(full=True, verbosity="queryPlanner", comment="why"))
        body = commands.bodies[0]

        assert shown.startswith("Dragon: ")
        assert "examined" in shown
        assert isinstance(plan, dict)
        assert ["explain"] == commands.names
        assert command in body["explain"]
        assert "queryPlanner" == body["verbosity"]
        await got(directive.load_many())
        sent = commands.bodies[-1]
        for key in ("filter", "projection", "sort", "limit", "pipeline"):
            assert sent.get(key) == body["explain"].get(key)


async def test_explaining_with_options(call: Runtime, commands: Commands) -> None:
    """The options of the query are explained with it."""
    await filled(call, 1)
    commands.clear()
    given: dict[str, Any] = {"collation": Collation("en"), "max_time_ms": 5000, "batch_size": 5}
    for directive in (start(call, Dragon), start(call, Dragon).sample(1)):
        await got(directive.explain(**given))
    for body in commands.bodies:
        assert "en" == body["explain"]["collation"]["locale"]
        assert 5000 == body["explain"]["maxTimeMS"]
    with pytest.raises(QueryError, match="expected limit as a step"):
        await got(start(call, Dragon).explain(limit=1))


async def test_errors_of_servers_pass(call: Runtime) -> None:
    """What a server refuses comes as the driver's error, explained or executed."""
    directive = start(call, Dragon).agg({"$noSuchStage": {}})
    for execute in (directive.load_many, directive.load_one, directive.count):
        with pytest.raises(OperationFailure):
            await got(execute())
    with pytest.raises(OperationFailure):
        await got(start(call, Dragon).explain(hint="no_such_index"))
    with pytest.raises(QueryError, match="verbosity: expected one of 'queryPlanner'"):
        await got(start(call, Dragon).explain(verbosity="queryplanner"))


async def test_explaining_what_cannot_be_stored(call: Runtime) -> None:
    """The error names the value, as where it is executed."""
    with pytest.raises(loom.EncodeError, match="name"):
        await got(start(call, Dragon, Q.name == object()).explain())


FETCH = {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "age_1"}}
STATS = {"totalKeysExamined": 1200, "totalDocsExamined": 3, "nReturned": 2}


@pytest.mark.parametrize(
    ("explained", "shown"),
    [
        ({"queryPlanner": {"winningPlan": {"stage": "EOF"}}}, "User: EOF"),
        (
            {"queryPlanner": {"winningPlan": FETCH}, "executionStats": STATS},
            "User: IXSCAN (age_1), FETCH; 1,200 keys examined, 3 documents examined, 2 found",
        ),
        # The newer engine.
        (
            {
                "explainVersion": "2",
                "queryPlanner": {"winningPlan": {"queryPlan": FETCH, "slotBasedPlan": {}}},
            },
            "User: IXSCAN (age_1), FETCH",
        ),
        # A pipeline that is not all in the query.
        (
            {
                "stages": [
                    {"$cursor": {"queryPlanner": {"winningPlan": FETCH}, "executionStats": STATS}},
                    {"$group": {}},
                    {"$sort": {}},
                ]
            },
            (
                "User: IXSCAN (age_1), FETCH, then $group, $sort; 1,200 keys examined, 3 documents "
                "examined, 2 found"
            ),
        ),
        # Several indexes.
        (
            {
                "queryPlanner": {
                    "winningPlan": {
                        "stage": "OR",
                        "inputStages": [
                            FETCH["inputStage"],
                            {"stage": "IXSCAN", "indexName": "b_1"},
                        ],
                    }
                }
            },
            "User: IXSCAN (age_1), IXSCAN (b_1), OR",
        ),
        # A sharded collection, in a find and in a pipeline.
        (
            {
                "queryPlanner": {
                    "winningPlan": {
                        "stage": "SHARD_MERGE",
                        "shards": [{"winningPlan": FETCH}, {"winningPlan": {"stage": "COLLSCAN"}}],
                    }
                },
                "executionStats": STATS,
            },
            (
                "User: IXSCAN (age_1), FETCH | COLLSCAN; 1,200 keys examined, 3 documents examined, "
                "2 found"
            ),
        ),
        (
            {
                "shards": {
                    "a": {
                        "stages": [
                            {
                                "$cursor": {
                                    "queryPlanner": {"winningPlan": FETCH},
                                    "executionStats": STATS,
                                }
                            }
                        ]
                    },
                    "b": {"queryPlanner": {"winningPlan": FETCH}, "executionStats": STATS},
                }
            },
            "User: IXSCAN (age_1), FETCH; 2,400 keys examined, 6 documents examined, 4 found",
        ),
        ({}, "User: no plan given"),
        ({"ok": 1, "stages": None, "shards": []}, "User: no plan given"),
        ({"queryPlanner": {"winningPlan": {}}}, "User: unknown"),
    ],
)
def test_plans_in_brief(explained: dict[str, Any], shown: str) -> None:
    """The plan of all kinds of servers in one line; what they do not say is left out."""
    assert shown == brief("User", explained)


# What is not of its form


@pytest.mark.parametrize(
    "name", ["addFields", "facet", "fill", "geoNear", "lookup", "setWindowFields"]
)
@pytest.mark.parametrize(
    "content", [5, None, [], ["x"], {"as": 5}, {"output": 5}, {"a": 5}, {"a": [5]}]
)
async def test_stages_that_are_not_of_their_form(call: Runtime, name: str, content: Any) -> None:
    """A server says what is wrong with them, or takes them; showing them works."""
    await filled(call, 1)
    directive = start(call, Dragon).agg({f"${name}": content})

    assert f"${name}" in repr(directive)
    with contextlib.suppress(PyMongoError):
        await got(directive.load_many())


async def test_hints(call: Runtime, commands: Commands) -> None:
    """PyMongo's list of pairs is a hint in all commands."""
    await filled(call, 1)
    commands.clear()
    for directive in (start(call, Dragon), start(call, Dragon).sample(1)):
        await got(directive.load_many(hint=[("_id", 1)]))
        await got(directive.explain(hint=[("_id", 1)]))
    hints = [body.get("explain", body)["hint"] for body in commands.bodies]

    assert [{"_id": 1}] * 4 == hints


async def test_fields_named_like_the_steps(call: Runtime) -> None:
    """The class keeps the operation, the frame has the field."""

    class Lens(Frame):
        filter: str
        agg: int

    await call(Lens).insert_many([{"filter": "red", "agg": 1}])
    lens = await got(start(call, Lens, Q["filter"] == "red").load_one())

    assert ("red", 1) == (lens.filter, lens.agg)


# Several tasks


async def test_one_directive_in_many_tasks(db: str) -> None:
    """A directive at the top of a module serves all requests at once."""
    await Dragon.aio.insert_many([{"name": str(n), "age": n % 5} for n in range(50)])
    by_age = Dragon.aio.filter().group_by("age").acc(n=COUNT)
    found = await asyncio.gather(*(by_age.filter(Q.age == n % 5).load_one() for n in range(40)))

    assert [{"age": n % 5, "n": 10} for n in range(40)] == found


class Letter(Frame):
    """Text in one case, alone and in a list."""

    email: StrLower
    tags: list[StrLower]
    note: str


async def test_text_is_looked_for_in_its_case_behind_other_steps(call: Runtime) -> None:
    """Behind groups and unwinding fields are the class's own; what steps put there is not."""
    await call(Letter).insert_many(
        [
            {"email": "Ann@X", "tags": ["Red"], "note": "N"},
            {"email": "Bob@X", "tags": ["Blue"], "note": "N"},
        ]
    )
    letters = start(call, Letter)
    grouped = letters.group_by("email").acc(note={"$first": "$note"})
    assert ["ann@x"] == [
        row["email"] for row in await got(grouped.filter(Q.email == "Ann@X").load_many())
    ]
    assert 2 == await got(grouped.filter(Q.note == "N").count())
    assert 1 == await got(letters.unwind("tags").filter(Q.tags == "Red").count())
    assert 1 == await got(letters.unwind("tags").filter(Q.tags != "Red").count())
    upper = letters.add_fields(email={"$toUpper": "$email"})
    assert 1 == await got(upper.filter(Q.email == "ANN@X").count())
    assert 0 == await got(upper.filter(Q.email == "Ann@X").count())
    assert 1 == await got(upper.group_by("email").filter(Q.email == "ANN@X").count())
    replaced = letters.agg([{"$replaceWith": {"email": "Ann@X"}}])
    assert 2 == await got(replaced.filter(Q.email == "Ann@X").count())


async def test_text_in_facets(call: Runtime) -> None:
    """A facet sees the class's own fields, but for what was put in their place before or in it."""
    await call(Letter).insert_many(
        [
            {"email": "Ann@X", "tags": ["Red"], "note": "N"},
            {"email": "Bob@X", "tags": ["Blue"], "note": "N"},
        ]
    )

    async def counted(directive: Any, *stages: Any, email: str = "Ann@X") -> int:
        wanted = {"$match": Q.email == email}
        (found,) = await got(directive.agg({"$facet": {"a": [*stages, wanted]}}).load_many())
        return len(found["a"])

    upper = {"$set": {"email": {"$toUpper": "$email"}}}
    letters = start(call, Letter)
    assert 1 == await counted(letters)
    assert 1 == await counted(letters, {"$set": {"other": "$email"}})
    assert 1 == await counted(letters, {"$unwind": "$tags"})
    assert 1 == await counted(letters.unwind("tags"))
    assert 1 == await counted(letters.group_by("email"))
    for directive, stages in (
        (letters.add_fields(email={"$toUpper": "$email"}), ()),
        (letters.agg(upper).unwind("tags"), ()),
        (letters, (upper,)),
        (letters.unwind("tags"), (upper,)),
        (letters.group_by(email={"$toUpper": "$email"}), ()),
    ):
        assert 1 == await counted(directive, *stages, email="ANN@X")
        assert 0 == await counted(directive, *stages)
    replaced = {"$replaceWith": {"email": "Ann@X"}}
    assert 2 == await counted(letters, replaced)
    assert 2 == await counted(letters.agg(replaced))
    with pytest.raises(QueryError, match=r"got \$near, which only a find does"):
        await counted(letters.unwind("tags"), {"$match": {"note": {"$near": [1, 2]}}})


async def test_another_id_makes_rows(call: Runtime) -> None:
    """What got another `_id` is no document of the class that could be written."""
    await call(Letter(_id=1, email="a", note="n")).insert()
    letters = start(call, Letter)
    for directive in (
        letters.add_fields(_id={"$literal": 2}),
        letters.agg([{"$set": {"_id": 2}}]),
        letters.lookup(Letter, "email", "email", as_="_id"),
    ):
        assert dict is type(await got(directive.load_one()))
    for projection in ({"_id": "$note"}, {"_id": {"$slice": 1}}):
        with pytest.raises(ProjectionError, match=r"^Letter\._id: expected True or False, got"):
            await call(Letter).one(projection=projection)


@pytest.mark.parametrize(
    "stage",
    [
        {"$facet": {"a": [{"$merge": "other"}]}},
        {"$unionWith": {"coll": "other", "pipeline": [{"$out": "other"}]}},
        {"$lookup": {"from": "o", "pipeline": [{"$facet": {"b": [{"$out": "x"}]}}], "as": "l"}},
    ],
)
def test_stages_that_write_inside_of_others(stage: dict[str, Any]) -> None:
    """They are refused wherever they stand."""
    with pytest.raises(
        QueryError, match=r"^Letter\.agg: expected stages that read, got \$(merge|out)"
    ):
        Letter.agg([stage])
