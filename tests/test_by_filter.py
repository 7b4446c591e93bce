"""Writes by filter: counts, events in batches, what joins, what others change, and faults."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from bson import Decimal128, Int64, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient, MongoClient, WriteConcern
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    NetworkTimeout,
    OperationFailure,
    WriteConcernError,
)

import loom
from loom import (
    BulkError,
    Duplicate,
    EncodeError,
    FieldError,
    Frame,
    IncrCounter,
    Q,
    QueryError,
    ReadOnly,
    Ref,
    Restricted,
    StrLower,
    TimeUpdated,
)
from loom.frames import And
from loom.frames.indexes import Index
from loom.frames.stamping import stamp_updated

from .conftest import Commands, Runtime, Server
from .proxy import Proxy
from .zoo import Dragon, Item, Lair


class Token(Frame):
    """A frame whose ids are of any type."""

    note: str
    seen: int


class Counted(Frame):
    """A frame whose documents count their versions."""

    _version = "_v"

    name: str
    gold: int
    visits: IncrCounter


class Account(Frame):
    """A frame whose annotations declare behaviours."""

    email: StrLower
    tags: list[StrLower]
    seen: int
    modified: TimeUpdated


class Nick(Frame):
    """A frame whose index does not heed case."""

    _indexes = [Index("nick", case_insensitive=True)]

    nick: str
    seen: int


class House(Frame):
    """What a guest stays in."""

    name: str


class Guest(Frame):
    """Goes, stays or forgets when the house is torn down."""

    name: str
    house: Annotated[House, Ref(on_delete="nullify")]
    owned: Annotated[House, Ref(on_delete="cascade")]
    guarded: Annotated[House, Ref(on_delete="restrict")]


def stored(cls: Any = Dragon, **filter: Any) -> list[Any]:
    """Return the documents of a class's collection, past Loom, in the order of their ids."""
    return list(cls.get_collection().find(filter, sort=[("_id", 1)]))


def ages(cls: Any = Dragon) -> list[Any]:
    """Return the ages that are stored, in the order of the ids."""
    return [document.get("age") for document in stored(cls)]


def fill(count: int, cls: Any = Dragon, **values: Any) -> None:
    """Store documents with the ids and ages 0, 1, 2 and so on, past Loom."""
    cls.get_collection().insert_many([{"_id": n, "age": n, **values} for n in range(count)])


def notes(error: BaseException) -> str:
    """Return what was added to an error."""
    return "\n".join(getattr(error, "__notes__", ()))


@pytest.fixture(params=["unheard", "heard"])
def heard(request: pytest.FixtureRequest) -> bool:
    """Run a test without listeners, which is one command, and with some, which is batches."""
    if request.param == "heard":
        for event in ("update", "updated", "delete", "deleted"):
            Dragon.listen(event, lambda frames: None)
            Token.listen(event, lambda frames: None)
    return bool(request.param == "heard")


# Counts


async def test_how_many_matched(call: Runtime, heard: bool) -> None:
    """The result is what matched, changed by it or not, and nothing else is touched."""
    fill(30)
    assert 10 == await call(Dragon).update_where(Q.age < 10, {"$set": {"name": "young"}})
    assert 15 == await call(Dragon).update_where(
        Q.age < 15, {"$set": {"name": "young"}}, batch_size=4
    )
    assert 0 == await call(Dragon).update_where(Q.age > 99, {"$inc": {"age": 1}})

    assert ["young"] * 15 + [None] * 15 == [d.get("name") for d in stored()]
    assert list(range(30)) == ages()


async def test_how_many_were_deleted(call: Runtime, heard: bool) -> None:
    """The result is what was deleted."""
    fill(30)
    assert 10 == await call(Dragon).delete_where(Q.age < 10, batch_size=3)
    assert 0 == await call(Dragon).delete_where(Q.age < 10)

    assert list(range(10, 30)) == ages()


async def test_one_command_when_nothing_listens(call: Runtime, commands: Commands) -> None:
    """Without listeners nothing is read."""
    fill(3)
    commands.clear()
    await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 1}})
    await call(Dragon).delete_where(Q.age < 2)

    assert ["update", "delete"] == commands.names


async def test_muted_listeners_do_not_count(call: Runtime, commands: Commands, heard: bool) -> None:
    """Muted, a write is one command again."""
    fill(3)
    commands.clear()
    with loom.muted(sender=Dragon):
        await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 1}})
        await call(Dragon).delete_where(Q.age < 2)

    assert ["update", "delete"] == commands.names


async def test_a_listener_of_the_other_event_does_not_count(
    call: Runtime, commands: Commands
) -> None:
    """What listens to deletes does not slow updates."""
    fill(3)
    Dragon.listen("deleted", lambda frames: None)
    commands.clear()
    await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 1}})

    assert ["update"] == commands.names


# Refusals


@pytest.mark.parametrize(
    "filter",
    [
        None,
        {},
        And({}),
        And({}, {}),
        {"$and": [{}]},
        {"$and": [{"$or": [{}, {"age": 1}]}]},
        {"$comment": "all of them"},
    ],
    ids=repr,
)
async def test_empty_filters_are_refused(
    call: Runtime, commands: Commands, heard: bool, filter: Any
) -> None:
    """A filter that every document matches needs `all=True`."""
    fill(3)
    commands.clear()
    with pytest.raises(QueryError, match=r"Dragon\.update_where: expected a filter.*all=True"):
        await call(Dragon).update_where(filter, {"$inc": {"age": 1}})
    with pytest.raises(QueryError, match=r"Dragon\.delete_where: expected a filter.*all=True"):
        await call(Dragon).delete_where(filter)
    with pytest.raises(QueryError, match="expected a filter"):
        await call(Dragon).delete_where(filter, dry_run=True)
    assert [] == commands.sent

    assert 3 == await call(Dragon).update_where(filter, {"$inc": {"age": 1}}, all=True)
    assert [1, 2, 3] == ages()
    assert 3 == await call(Dragon).delete_where(filter, all=True)
    assert [] == stored()


async def test_what_is_no_filter_is_refused(call: Runtime, commands: Commands) -> None:
    """`all=True` allows the empty filter, not anything."""
    for wrong in (False, True, 0, "", [], Dragon, Q.age):
        with pytest.raises(QueryError):
            await call(Dragon).update_where(wrong, {"$inc": {"age": 1}}, all=True)
        with pytest.raises(QueryError):
            await call(Dragon).delete_where(wrong, all=True)

    assert [] == commands.sent


async def test_changes_are_checked_first(call: Runtime, commands: Commands, heard: bool) -> None:
    """An update document that cannot be sent is refused before anything is sent or heard."""
    events: list[str] = []
    Dragon.listen("update", lambda: events.append("update"))
    with pytest.raises(QueryError, match=r"write \{'\$set': \{'age': \.\.\.\}\}"):
        await call(Dragon).update_where(Q.age < 3, {"age": 5})
    with pytest.raises(FieldError, match="did you mean 'age'"):
        await call(Dragon).update_where(Q.age < 3, {"$set": {"aeg": 5}})
    with pytest.raises(EncodeError, match=r"Dragon\.\$set\.lair\.name"):
        await call(Dragon).update_where(Q.age < 3, {"$set": {"lair": {"name": object()}}})
    with pytest.raises(EncodeError, match="filter"):
        await call(Dragon).update_where(Q.age == object(), {"$set": {"age": 5}})
    with pytest.raises(EncodeError, match="filter"):
        await call(Dragon).delete_where(Q.age == object())

    assert [] == commands.sent
    assert [] == events


async def test_options_are_checked_first(call: Runtime, commands: Commands) -> None:
    """Options that only one of the two ways could take are refused in both."""
    update, delete = call(Dragon).update_where, call(Dragon).delete_where
    with pytest.raises(FieldError, match=r"got 'upsert'; .* use upsert\(\)"):
        await update(Q.age < 3, {"$inc": {"age": 1}}, upsert=True)
    with pytest.raises(FieldError, match="did you mean 'collation'"):
        await delete(Q.age < 3, colation={})
    with pytest.raises(FieldError, match="array_filters"):
        await delete(Q.age < 3, array_filters=[])
    for size in (0, -1, 1.5, True, None):
        with pytest.raises(QueryError, match="expected batch_size of at least 1"):
            await delete(Q.age < 3, batch_size=size)

    async def waits(done: int, total: int) -> None:
        """Would never be awaited."""

    for progress in (5, waits):
        with pytest.raises(QueryError, match="expected a plain function for progress"):
            await update(Q.age < 3, {"$inc": {"age": 1}}, progress=progress)

    assert [] == commands.sent


# Dry runs


async def test_a_dry_run_only_counts(call: Runtime, commands: Commands, heard: bool) -> None:
    """It returns what the write would, sends no event, and writes nothing."""
    fill(10)
    for event in ("update", "delete"):
        Dragon.listen(event, lambda: pytest.fail("heard of a dry run"))
    commands.clear()
    assert 4 == await call(Dragon).update_where(Q.age < 4, {"$inc": {"age": 1}}, dry_run=True)
    assert 4 == await call(Dragon).delete_where(Q.age < 4, dry_run=True)
    assert 10 == await call(Dragon).delete_where(None, all=True, dry_run=True)
    with pytest.raises(QueryError):
        await call(Dragon).update_where(Q.age < 4, {"age": 1}, dry_run=True)

    assert ["aggregate"] * 3 == commands.names
    assert list(range(10)) == ages()


async def test_a_dry_run_takes_the_same_options(call: Runtime) -> None:
    """It counts what the options make match, and leaves aside what is for the write."""
    Dragon.get_collection().insert_many([{"name": n} for n in ("a", "A", "b")])
    options = {"collation": {"locale": "en", "strength": 2}, "comment": "x", "hint": "_id_"}
    more = {"array_filters": [{"e": 1}], "bypass_document_validation": True}
    assert 2 == await call(Dragon).delete_where(Q.name == "a", dry_run=True, **options)
    assert 2 == await call(Dragon).update_where(
        Q.name == "a", {"$set": {"age": 1}}, dry_run=True, **options, **more
    )
    assert 2 == await call(Dragon).update_where(
        {"$expr": {"$eq": [{"$toLower": "$name"}, "$$given"]}},
        {"$set": {"age": 1}},
        dry_run=True,
        let={"given": "a"},
    )


# What is written


async def test_values_are_stored_as_by_frames(call: Runtime, heard: bool) -> None:
    """Frames become ids, sub-frames documents, and so on; paths may be Q."""
    fill(3)
    burt = Dragon(_id=7)
    when = datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=timezone.utc)
    await call(Dragon).update_where(
        {"_id": {"$in": {0, 1}}},
        {
            "$set": {
                Q.nemesis: burt,
                Q.lair: Lair(name="Cave"),
                Q.created: when,
                Q.secret: Decimal("1.5"),
            },
            "$push": {Q.loot: {"$each": [Item(_id=1), Item(_id=2)]}},
        },
    )
    assert {
        "_id": 1,
        "age": 1,
        "nemesis": 7,
        "lair": {"name": "Cave"},
        "created": when.replace(microsecond=123000),
        "secret": Decimal128("1.5"),
        "loot": [1, 2],
    } == stored()[1]
    assert {"_id": 2, "age": 2} == stored()[2]


async def test_pipelines(call: Runtime, heard: bool) -> None:
    """Stages may read the document; what listeners change joins them."""
    fill(4)
    if heard:
        Dragon.listen(
            "update", lambda frames: [setattr(f, "secret", f"$age {f.age}") for f in frames]
        )
        Dragon.listen("update", lambda frames: [setattr(f, "lair", {"$gt": 1}) for f in frames])
    stages = [{"$set": {Q.age: {"$multiply": [Q.age, 10]}, "name": "x"}}, {"$unset": [Q.name]}]
    assert 2 == await call(Dragon).update_where(Q.age >= 2, stages)

    assert [0, 1, 20, 30] == ages()
    if heard:
        assert {"_id": 3, "age": 30, "secret": "$age 3", "lair": {"$gt": 1}} == stored()[3]


async def test_positions_and_array_filters(call: Runtime, heard: bool) -> None:
    """The positional operators mean the same in batches."""
    Dragon.get_collection().insert_many([{"_id": n, "loot": [1, 5, 9]} for n in range(3)])
    await call(Dragon).update_where({"_id": 0, "loot": 5}, {"$set": {"loot.$": 50}})
    await call(Dragon).update_where(
        {"_id": 1}, {"$inc": {"loot.$[e]": 100}}, array_filters=[{"e": {"$gte": 5}}]
    )
    await call(Dragon).update_where({"_id": 2}, {"$mul": {"loot.$[]": 2}})

    assert [[1, 50, 9], [1, 105, 109], [2, 10, 18]] == [d["loot"] for d in stored()]


async def test_options_reach_the_commands(
    call: Runtime, commands: Commands, heard: bool, server: Server
) -> None:
    """Collation, let, hint and comment hold in every command of a write."""
    names = [{"_id": n, "name": name} for n, name in enumerate(["a", "A", "b"])]
    Dragon.get_collection().insert_many(names)
    Dragon.get_collection().create_index("name", name="by_name")
    commands.clear()
    assert 2 == await call(Dragon).update_where(
        Q.name == "a",
        {"$set": {"age": 1}},
        collation={"locale": "en", "strength": 2},
        comment="mine",
        hint="_id_",
    )
    assert 1 == await call(Dragon).update_where(
        {"$expr": {"$eq": ["$name", "$$given"]}}, {"$set": {"age": 2}}, let={"given": "b"}
    )
    marked = [b.get("comment") for b in commands.bodies if "getMore" not in b]
    assert ["mine"] * marked.count("mine") == marked[: marked.count("mine")]
    assert (4 if heard else 1) == marked.count("mine")
    assert [1, 1, 2] == ages()
    assert 3 == await call(Dragon).delete_where(
        {"$expr": {"$lte": ["$age", "$$given"]}}, let={"given": 2}, comment="mine"
    )
    with pytest.raises(OperationFailure):
        await call(Dragon).update_where(Q.name == "a", {"$set": {"age": 1}}, hint="no_such_index")
    with pytest.raises(OperationFailure):
        await call(Dragon).delete_where(Q.name == "a", hint="no_such_index", dry_run=True)


async def test_versions(call: Runtime) -> None:
    """Every document's version is counted, with and without listeners, operators and stages."""
    await call(Counted).insert_many([{"name": "a"}, {"name": "b"}])
    one = await call(Counted).one(Q.name == "a")
    await call(Counted).update_where(Q.name == "a", {"$inc": {"gold": 1}})
    changes: list[Any] = []
    Counted.listen("updated", lambda changes_=None, changes=changes: None)
    Counted.listen("updated", _collector(changes, "changes"))
    await call(Counted).update_where(Q.name == "a", {"$inc": {"gold": 1}})
    await call(Counted).update_where(Q.name == "a", [{"$set": {"gold": 5}}])

    assert [4, 1] == [d["_v"] for d in stored(Counted)]
    assert {"$inc": {"gold": 1, "_v": 1}} == changes[0][0]
    one.name = "c"
    with pytest.raises(loom.Conflict):
        await call(one).update("name")


def _collector(into: list[Any], *names: str) -> Any:
    """Return a listener that collects what it is told."""
    if names == ("frames",):
        return lambda frames: into.append(frames)
    if names == ("changes",):
        return lambda changes: into.append(changes)
    return lambda frames, fields, changes, session: into.append((frames, fields, changes, session))


# Events


async def test_batches(call: Runtime) -> None:
    """Every document is told of once before and once after, in batches, in the order of the ids."""
    fill(25)
    told: list[Any] = []
    for event in ("update", "updated", "delete", "deleted"):
        Dragon.listen(
            event, lambda frames, event=event: told.append((event, [f._id for f in frames]))
        )
    await call(Dragon).update_where(Q.age >= 5, {"$inc": {"age": 100}}, batch_size=8)
    parts = [list(range(5, 13)), list(range(13, 21)), list(range(21, 25))]
    assert [(e, ids) for ids in parts for e in ("update", "updated")] == told

    told.clear()
    await call(Dragon).delete_where(Q.age >= 100, batch_size=8)
    assert [(e, ids) for ids in parts for e in ("delete", "deleted")] == told
    assert list(range(5)) == ages()


async def test_what_events_carry(call: Runtime) -> None:
    """Before: the frames as stored and the changes; after: the frames as changed, and what was sent."""
    fill(2, nemesis=0)
    told: list[Any] = []
    Dragon.listen("update", _collector(told))
    Dragon.listen("update", lambda frames: [setattr(f, "secret", f.age) for f in frames])
    Dragon.listen("updated", _collector(told))
    await call(Dragon).update_where(Q.age < 2, {"$inc": {Q.age: 10}})
    (frames, fields, changes, session), (now, paths, sent, _) = told

    assert [0, 1] == [f._document["_id"] for f in frames]
    assert [0, 0] == [f.nemesis for f in frames]
    assert ("age",) == fields
    assert [{"$inc": {"age": 10}}] * 2 == changes
    assert session is None
    assert [(10, 0), (11, 1)] == [(f.age, f.secret) for f in now]
    assert all(type(f) is Dragon for f in (*frames, *now))
    assert {"age", "secret"} == {*paths}
    assert [{"$inc": {"age": 10}, "$set": {"secret": n}} for n in range(2)] == sent


async def test_only_what_is_asked_for_is_read(call: Runtime, commands: Commands) -> None:
    """Documents are read before or after the write only for listeners that ask for frames."""
    fill(3)
    told: list[Any] = []

    async def sent() -> list[str]:
        commands.clear()
        await call(Dragon).update_where(Q.age < 2, {"$set": {"name": "x"}})
        return commands.names

    Dragon.listen("update", lambda sender, fields, changes: told.append(len(changes)))
    Dragon.listen("updated", lambda changes: told.append(len(changes)))
    assert ["find", "update"] == await sent()
    Dragon.listen("updated", lambda frames: told.append([f.name for f in frames]))
    assert ["find", "update", "find"] == await sent()
    Dragon.listen("update", lambda frames: told.append([f.age for f in frames]))
    assert ["find", "find", "update", "find"] == await sent()
    assert [2, 2, 2, 2, ["x", "x"], 2, [0, 1], 2, ["x", "x"]] == told

    Dragon.listen("deleted", lambda sender: told.append(sender))
    commands.clear()
    await call(Dragon).delete_where(Q.age < 1)
    assert ["find", "delete"] == commands.names
    Dragon.listen("deleted", lambda frames: told.append([f.name for f in frames]))
    commands.clear()
    await call(Dragon).delete_where(Q.age < 2)
    assert ["find", "find", "delete"] == commands.names
    assert [Dragon, Dragon, ["x"]] == told[-3:]


async def test_frames_that_nobody_asks_for(call: Runtime) -> None:
    """A listener that takes whatever there is gets whole frames, for it asks for all."""
    fill(1)
    told: list[Any] = []
    Dragon.listen("deleted", lambda **payload: told.append(payload["frames"][0].age))
    await call(Dragon).delete_where(Q.age == 0)

    assert [0] == told


async def test_async_listeners(call: Runtime) -> None:
    """An `async def` listener that awaits Loom serves both runtimes."""
    fill(3)

    @Dragon.listen("updated")
    async def note(frames: Any) -> None:
        await Item.aio.insert_many([{"desc": f.name} for f in frames])

    await call(Dragon).update_where(Q.age < 2, {"$set": {"name": "x"}}, batch_size=1)

    assert 2 == await call(Item).count(Q.desc == "x")


# What before-listeners change


async def test_what_listeners_assign_joins(call: Runtime) -> None:
    """Each frame's own assignments, edits in place and removals are written with the changes."""
    fill(3, tags=["a"], lair={"name": "Cave"}, secret="s")

    @Dragon.listen("update")
    def stamp(frames: Any) -> None:
        for frame in frames:
            frame.name = f"Dragon {frame.age}"
            frame.lair.name += "!"
            del frame["secret"]

    await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 10}, "$set": {"breed": "b"}})

    assert [
        {
            "_id": n,
            "age": n + 10,
            "tags": ["a"],
            "lair": {"name": "Cave!"},
            "name": f"Dragon {n}",
            "breed": "b",
        }
        for n in range(2)
    ] == stored()[:2]
    assert {"_id": 2, "age": 2, "tags": ["a"], "lair": {"name": "Cave"}, "secret": "s"} == (
        stored()[2]
    )


async def test_what_listeners_count_joins(call: Runtime) -> None:
    """What a listener adds to a counter is added on the server, in operators and in stages."""
    Counted.get_collection().insert_many([{"_id": n, "_v": 1, "visits": n} for n in range(3)])

    @Counted.listen("update")
    def count(frames: Any) -> None:
        for frame in frames:
            Counted.get_collection().update_one({"_id": frame._id}, {"$inc": {"visits": 100}})
            frame.visits += 1

    await call(Counted).update_where(Q._id < 2, {"$inc": {"gold": 5}})
    await call(Counted).update_where(Q._id < 2, [{"$set": {"name": "x"}}])

    assert [
        {"_id": n, "_v": 3, "visits": n + 202, "gold": 5, "name": "x"} for n in range(2)
    ] == stored(Counted)[:2]


async def test_the_changes_win(call: Runtime) -> None:
    """Where a listener assigns what the caller changes, the caller's change is written."""
    fill(1, lair={"name": "a"})

    @Dragon.listen("update")
    def stamp(frames: Any) -> None:
        frames[0].age = 99
        frames[0].lair.name = "b"
        frames[0].breed = "c"

    await call(Dragon).update_where(
        Q.age == 0,
        {"$inc": {"age": 1}, "$set": {"lair.name": "mine"}, "$rename": {"secret": "breed"}},
    )
    assert {"_id": 0, "age": 1, "lair": {"name": "mine"}} == stored()[0]


async def test_listeners_extend_the_changes(call: Runtime) -> None:
    """A listener may add to the update document of each frame, with Q, frames and datetimes."""
    fill(3)
    when = datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=timezone.utc)

    @Dragon.listen("update")
    def extend(frames: Any, changes: Any) -> None:
        for frame, change in zip(frames, changes, strict=True):
            change.setdefault("$set", {})[Q.nemesis] = frame
            change["$set"]["modified"] = when
        changes[0]["$unset"] = {"secret": True}

    given = {"$inc": {"age": 10}}
    await call(Dragon).update_where(Q.age < 2, given)

    assert {"$inc": {"age": 10}} == given
    cut = when.replace(microsecond=123000)
    assert [(10, 0, cut), (11, 1, cut), (2, None, None)] == [
        (d["age"], d.get("nemesis"), d.get("modified")) for d in stored()
    ]


async def test_what_listeners_add_is_checked(call: Runtime) -> None:
    """Changes that cannot be sent stop the write, and say so."""
    fill(3)
    cases: list[Any] = []
    Dragon.listen("update", lambda changes: cases[-1](changes))
    for case, message in [
        (lambda changes: changes[0].update({"$set": {"nmae": 1}}), "did you mean 'name'"),
        (lambda changes: changes[0].update({"$set": {"age": 1}}), "changed once"),
        (lambda changes: changes[0].clear(), "expected something to write"),
        (lambda changes: changes.pop(), "to leave 2 changes"),
        (lambda changes: changes.append({}), "to leave 2 changes"),
        (lambda changes: changes.__setitem__(0, 5), "expected update operators"),
        (lambda changes: changes[0].update({"$set": {"name": object()}}), "a value that BSON"),
    ]:
        cases.append(case)
        with pytest.raises((QueryError, FieldError, EncodeError), match=message) as caught:
            await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 10}})
        assert "0 documents were written" in notes(caught.value)
        assert "perhaps" not in notes(caught.value)
    cases.append(lambda changes: changes[0].update({"$set": {"name": object()}}))
    with pytest.raises(EncodeError) as caught:
        await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 10}}, batch_size=1)
    assert "Dragon.update_where: 0 documents were written" == notes(caught.value)

    assert [0, 1, 2] == ages()


# Every document once


async def test_a_change_that_moves_documents(
    call: Runtime, heard: bool, commands: Commands
) -> None:
    """A change that makes documents match anew, or no more, hits each exactly once."""
    fill(60)
    commands.clear()
    Dragon.get_collection().create_index("age")
    assert 60 == await call(Dragon).update_where(Q.age >= 0, {"$inc": {"age": 1000}}, batch_size=7)
    assert [n + 1000 for n in range(60)] == ages()
    assert 60 == await call(Dragon).update_where(
        Q.age >= 1000, {"$inc": {"age": -1000}}, batch_size=7
    )
    # A server may walk an index that the change itself moves the documents in.
    of_ids = [b for b in commands.bodies if b.get("projection") == {"_id": True}]
    assert [{"_id": 1}] * 2 * heard == [b["sort"] for b in of_ids]

    assert list(range(60)) == ages()


async def test_ids_of_any_type(call: Runtime, heard: bool) -> None:
    """Ids of all types are told apart and written, each once."""
    ids = [
        *(None, True, 1, 2.5, Int64(3), Decimal128("4.5"), "text", "a.b", "$x", "5", b"bytes"),
        *(ObjectId(), {"a": 1}, {"a": {"b": "c"}}, datetime(2024, 1, 1, tzinfo=timezone.utc)),
    ]
    Token.get_collection().insert_many([{"_id": id, "seen": 0} for id in ids])
    found: list[Any] = []
    if heard:
        Token.listen("updated", lambda frames: found.extend(f._id for f in frames))
    assert len(ids) == await call(Token).update_where(
        Q.seen == 0, {"$inc": {"seen": 1}}, batch_size=4
    )
    assert {1} == {d["seen"] for d in stored(Token)}
    assert not heard or sorted(map(str, ids)) == sorted(map(str, found))
    assert len(ids) == await call(Token).delete_where(Q.seen == 1, batch_size=4)

    assert [] == stored(Token)


async def test_a_filter_of_ids(call: Runtime, heard: bool) -> None:
    """A filter may name ids itself."""
    fill(10)
    assert 3 == await call(Dragon).update_where(Q._id.is_in([1, 3, 5]), {"$inc": {"age": 100}})
    assert 1 == await call(Dragon).update_where({"_id": 3}, {"$inc": {"age": 100}})
    assert 1 == await call(Dragon).delete_where((Q._id > 2) & (Q._id < 4))

    assert [0, 101, 2, 4, 105, 6, 7, 8, 9] == ages()


async def test_ids_that_a_collation_takes_for_equal(call: Runtime, heard: bool) -> None:
    """A collation for the filter does not mix up the ids."""
    ids = ["abc", "ABC", "aBc", "b.*", "B.*", "c\n", "c", "coop", "coop\u00ad", "co\u00adop"]
    Token.get_collection().insert_many([{"_id": id, "note": "X", "seen": 0} for id in ids])
    collation = {"locale": "en", "strength": 1}
    assert 10 == await call(Token).update_where(
        Q.note == "x", {"$inc": {"seen": 1}}, collation=collation
    )
    assert [1] * 10 == [d["seen"] for d in stored(Token)]
    Token.get_collection().update_one({"_id": "ABC"}, {"$set": {"note": "other"}})
    assert 9 == await call(Token).delete_where(Q.note == "x", collation=collation)

    assert ["ABC"] == [d["_id"] for d in stored(Token)]


async def test_documents_changed_by_others(call: Runtime, server: Server, db: str) -> None:
    """What no longer matches, or is gone, when its turn comes is left alone and not told of."""
    fill(10)
    raw = server.client[db]["Dragon"]
    told: list[Any] = []

    @Dragon.listen("update")
    def meanwhile(frames: Any) -> None:
        told.append([f._id for f in frames])
        if frames[0]._id == 0:
            raw.update_one({"_id": 1}, {"$set": {"age": 500}})  # in this batch: read already
            raw.delete_one({"_id": 2})
            raw.update_one({"_id": 6}, {"$set": {"age": 600}})  # in the next one
            raw.delete_one({"_id": 7})
            raw.insert_one({"_id": 20, "age": 0})  # too late

    after: list[Any] = []
    Dragon.listen("updated", lambda frames: after.append([(f._id, f.age) for f in frames]))
    assert 6 == await call(Dragon).update_where(Q.age < 10, {"$set": {"age": 100}}, batch_size=5)

    assert [[0, 1, 2, 3, 4], [5, 8, 9]] == told
    assert [[(0, 100), (3, 100), (4, 100)], [(5, 100), (8, 100), (9, 100)]] == after
    assert [100, 500, 100, 100, 100, 600, 100, 100, 0] == ages()


async def test_documents_changed_by_others_that_still_match(
    call: Runtime, server: Server, db: str
) -> None:
    """What was changed by others and still matches is written; names of the rest are found."""
    fill(6)
    raw = server.client[db]["Dragon"]

    @Dragon.listen("update")
    def meanwhile(sender: Any) -> None:
        raw.update_one({"_id": 0}, {"$set": {"secret": "new"}})
        raw.update_one({"_id": 1}, {"$inc": {"age": 100}})
        raw.delete_one({"_id": 2})

    after: list[Any] = []
    Dragon.listen("updated", lambda frames: after.append([f._id for f in frames]))
    assert 4 == await call(Dragon).update_where(Q.age < 100, {"$push": {"loot": 1}})

    assert [[0, 3, 4, 5]] == after
    assert {"_id": 0, "age": 0, "secret": "new", "loot": [1]} == stored()[0]
    assert {"_id": 1, "age": 101} == stored()[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"$set": {"age": 1000, "secret": Decimal("2.5")}},
        {"$unset": {"age": True}},
        {"$inc": {"age": 1000}},
        [{"$set": {"age": 1000}}],
    ],
    ids=str,
)
async def test_a_shortfall_never_leaves_out_what_was_written(
    call: Runtime, server: Server, db: str, changes: Any
) -> None:
    """When the write itself makes documents match no more, all that it wrote are told of."""
    fill(6)
    raw = server.client[db]["Dragon"]

    @Dragon.listen("update")
    def meanwhile() -> None:
        raw.update_one({"_id": 1}, {"$set": {"age": 500}})
        raw.delete_one({"_id": 2})

    after: list[Any] = []
    Dragon.listen("updated", lambda frames: after.extend(f._id for f in frames))
    assert 4 == await call(Dragon).update_where((Q.age >= 0) & (Q.age < 100), changes)

    assert {0, 3, 4, 5} <= {*after}
    assert len(after) == len({*after})
    assert 2 not in after
    if isinstance(changes, dict) and "$inc" not in changes:
        assert 1 not in after


@contextmanager
def clients(server: Server, db: str, uri: str = "", **options: Any) -> Iterator[None]:
    """Let Loom use clients of a test's own."""
    options = {"tz_aware": True, "heartbeatFrequencyMS": 500, **options}
    client: MongoClient[Any] = MongoClient(uri or server.uri, **options)

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(uri or server.uri, **options)

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25 if server.is_embedded else None)
    try:
        yield
    finally:
        client.close()
        server.loop.run_until_complete(aio.close())
        server.loop.run_until_complete(asyncio.sleep(0.01))  # lost connections are closed in it


@pytest.fixture
def after_update(server: Server, db: str) -> Iterator[list[Callable[[], object]]]:
    """A list of functions that are called once the server has answered the first update."""
    calls: list[Callable[[], object]] = []

    class Answered(Commands):
        def succeeded(self, event: Any) -> None:
            if event.command_name == "update":
                while calls:
                    calls.pop()()

    with clients(server, db, event_listeners=[Answered()]):
        yield calls


async def test_documents_changed_by_others_right_after(
    call: Runtime, server: Server, db: str, after_update: list[Any]
) -> None:
    """What others do between the write and its event is not mixed up with the write."""
    fill(6)
    raw = server.client[db]["Dragon"]
    told: list[Any] = []
    Dragon.listen("update", lambda: raw.update_one({"_id": 1}, {"$set": {"age": 500}}))
    Dragon.listen(
        "update",
        lambda frames, changes: [
            c.update({"$set": {"secret": f._id}}) for f, c in zip(frames, changes, strict=True)
        ],
    )
    Dragon.listen(
        "updated",
        lambda frames, changes: told.extend(
            (f._id, f.secret, c["$set"]["secret"]) for f, c in zip(frames, changes, strict=True)
        ),
    )
    # Still matching, but with other values; gone; and no longer matching.
    after_update += [
        lambda: raw.update_one({"_id": 0}, {"$set": {"secret": "other"}}),
        lambda: raw.delete_one({"_id": 2}),
        lambda: raw.update_one({"_id": 3}, {"$set": {"age": 700, "secret": "theirs"}}),
    ]
    assert 5 == await call(Dragon).update_where(
        (Q.age >= 0) & (Q.age < 100), {"$unset": {"breed": 1}}
    )

    assert [] == after_update
    # Two of those left seem untouched: neither is left out, for one of them was written.
    assert [(0, "other", 0), (1, None, 1), (3, "theirs", 3), (4, 4, 4), (5, 5, 5)] == told


async def test_documents_that_go_right_after(
    call: Runtime, server: Server, db: str, after_update: list[Any]
) -> None:
    """Frames and changes of the event belong together when a document has gone meanwhile."""
    fill(4)
    raw = server.client[db]["Dragon"]
    told: list[Any] = []
    Dragon.listen(
        "update",
        lambda frames, changes: [
            c.update({"$set": {"secret": f._id}}) for f, c in zip(frames, changes, strict=True)
        ],
    )
    Dragon.listen("updated", lambda frames, changes: told.extend(zip(frames, changes, strict=True)))
    after_update.append(lambda: raw.delete_one({"_id": 1}))
    assert 4 == await call(Dragon).update_where(Q.age < 100, {"$unset": {"breed": 1}})

    assert [(n, n) for n in (0, 2, 3)] == [(f._id, c["$set"]["secret"]) for f, c in told]


async def test_a_shortfall_that_is_known_by_what_matches(
    call: Runtime, server: Server, db: str, after_update: list[Any]
) -> None:
    """A document that matches still, and was changed again, counts as written."""
    fill(4)
    raw = server.client[db]["Dragon"]
    told: list[Any] = []
    Dragon.listen("update", lambda: raw.update_one({"_id": 1}, {"$set": {"age": 500}}))
    Dragon.listen("updated", lambda frames: told.extend(f._id for f in frames))
    # The write moves 2 and 3 out of the filter; others change 0, which matches as before.
    after_update.append(lambda: raw.update_one({"_id": 0}, {"$set": {"name": "theirs"}}))
    stages = {"$set": {"name": "mine"}, "$mul": {"age": 100}}
    assert 3 == await call(Dragon).update_where(Q.age < 100, stages)

    assert [0, 2, 3] == told


async def test_deletes_of_what_others_change(call: Runtime, server: Server, db: str) -> None:
    """A document that no longer matches stays, and is not among those told of."""
    fill(6)
    raw = server.client[db]["Dragon"]

    @Dragon.listen("delete")
    def meanwhile() -> None:
        raw.update_one({"_id": 1}, {"$set": {"age": 500}})

    after: list[Any] = []
    Dragon.listen("deleted", lambda frames: after.extend(f.age for f in frames))
    assert 4 == await call(Dragon).delete_where(Q.age < 5)

    assert [0, 2, 3, 4] == after
    assert [500, 5] == ages()


async def test_a_whole_batch_taken_by_others(call: Runtime, server: Server, db: str) -> None:
    """When nothing of a batch is left, it is passed over."""
    fill(6)
    raw = server.client[db]["Dragon"]
    told: list[Any] = []
    for event in ("update", "delete"):
        Dragon.listen(event, lambda frames: told.append([f._id for f in frames]))
    Dragon.listen(
        "update", lambda: raw.update_many({"_id": {"$in": [2, 3]}}, {"$set": {"age": 99}})
    )
    Dragon.listen("delete", lambda: raw.delete_many({"_id": {"$in": [2, 3]}}))
    assert 4 == await call(Dragon).update_where(Q.age < 6, {"$set": {"name": "x"}}, batch_size=2)
    raw.update_many({"_id": {"$in": [2, 3]}}, {"$set": {"age": 2}})
    assert 4 == await call(Dragon).delete_where(Q.age < 6, batch_size=2)

    assert [[0, 1], [4, 5]] * 2 == told


async def test_listeners_that_write_the_same_documents(call: Runtime) -> None:
    """A listener's own writes by filter run inside, and come to an end."""
    fill(4)

    @Dragon.listen("updated")
    async def more(frames: Any) -> None:
        with loom.muted(sender=Dragon):
            await Dragon.aio.update_where(
                Q._id.is_in([f._id for f in frames]), {"$inc": {"age": 1000}}
            )

    await call(Dragon).update_where(Q.age < 3, {"$inc": {"age": 100}}, batch_size=2)

    assert [1100, 1101, 1102, 3] == ages()


async def test_cascades(call: Runtime) -> None:
    """A listener that deletes what the frames point to gets them with their fields."""
    items = await call(Item).insert_many([{"desc": str(n)} for n in range(6)])
    Dragon.get_collection().insert_many(
        [{"_id": n, "age": n, "loot": [items[n]._id]} for n in range(6)]
    )
    Dragon.listen("deleted", lambda frames: Dragon.cascade(Item, "loot", frames))
    assert 4 == await call(Dragon).delete_where(Q.age < 4, batch_size=3)

    assert ["4", "5"] == [d["desc"] for d in stored(Item)]


def test_concurrent_writes_by_filter(db: str, heard: bool) -> None:
    """Six threads that add to the same documents by filter lose nothing."""
    fill(40)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            assert 40 == Dragon.update_where(Q.age >= 0, {"$inc": {"age": 100}}, batch_size=9)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert [n + 600 for n in range(40)] == ages()


async def test_concurrent_takers(db: str) -> None:
    """Of several tasks that take what is free, each document is written and told of once."""
    fill(40)
    told: list[Any] = []
    Dragon.listen("update", lambda frames: None)
    Dragon.listen("updated", lambda changes: told.append(len(changes)))

    async def take(name: str) -> int:
        return await Dragon.aio.update_where(
            ~Q.name.exists(),
            {"$set": {"name": name}},
            batch_size=7,
        )

    counts = await asyncio.gather(*(take(f"task {n}") for n in range(4)))

    assert 40 == sum(counts)
    assert {f"task {n}": c for n, c in enumerate(counts) if c} == {
        name: len(stored(name=name)) for name in {d["name"] for d in stored()}
    }


# Progress


async def test_progress(call: Runtime, heard: bool) -> None:
    """It is told how many documents were written, of how many."""
    fill(10)
    told: list[Any] = []
    await call(Dragon).update_where(
        Q.age < 7, {"$set": {"name": "x"}}, batch_size=3, progress=lambda *now: told.append(now)
    )
    assert ([(3, 7), (6, 7), (7, 7)] if heard else [(7, 7)]) == told
    told.clear()
    await call(Dragon).delete_where(Q.age < 4, batch_size=3, progress=lambda *now: told.append(now))
    assert ([(3, 4), (4, 4)] if heard else [(4, 4)]) == told


async def test_progress_that_raises(call: Runtime, heard: bool) -> None:
    """An exception in it ends the write after a batch, and a note says how far it came."""
    fill(10)

    def progress(done: int, total: int) -> None:
        if done >= 6:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        await call(Dragon).update_where(
            Q.age >= 0, {"$set": {"name": "x"}}, batch_size=3, progress=progress
        )
    done = 6 if heard else 10
    assert f"Dragon.update_where: {done} documents were written" == notes(caught.value)
    assert done == len(stored(name="x"))


# Failures


async def test_a_before_listener_that_raises(call: Runtime) -> None:
    """What was written before stands; a note says how much; the batch is not written."""
    fill(10)

    @Dragon.listen("update")
    @Dragon.listen("delete")
    def guard(frames: Any) -> None:
        if any(f._id == 7 for f in frames):
            raise PermissionError("not this one")

    with pytest.raises(PermissionError, match="not this one") as caught:
        await call(Dragon).update_where(Q.age >= 0, {"$set": {"name": "x"}}, batch_size=3)
    assert "Dragon.update_where: 6 documents were written" == notes(caught.value)
    assert [0, 1, 2, 3, 4, 5] == [d["_id"] for d in stored(name="x")]

    with pytest.raises(PermissionError) as caught:
        await call(Dragon).delete_where(Q.age >= 2, batch_size=2)
    assert "Dragon.delete_where: 4 documents were written" == notes(caught.value)
    assert [0, 1, 6, 7, 8, 9] == ages()


async def test_an_after_listener_that_raises(call: Runtime) -> None:
    """The batch it heard of stands and counts; no further one is written."""
    fill(10)

    @Dragon.listen("updated")
    def late(frames: Any) -> None:
        if frames[0]._id == 3:
            raise ValueError("late")

    with pytest.raises(ValueError, match="late") as caught:
        await call(Dragon).update_where(Q.age >= 0, {"$set": {"name": "x"}}, batch_size=3)

    assert notes(caught.value).endswith("Dragon.update_where: 6 documents were written")
    assert 6 == len(stored(name="x"))


async def test_a_document_that_is_refused(call: Runtime, heard: bool) -> None:
    """A unique index in the middle: what stands is said, and was told of."""
    fill(10)
    Dragon.get_collection().create_index("secret", unique=True, sparse=True)
    Dragon.get_collection().update_one({"_id": 9}, {"$set": {"secret": 4}})
    stages = [{"$set": {"secret": Q.age}}]
    told: list[Any] = []
    if heard:
        Dragon.listen("updated", lambda frames: told.extend(f._id for f in frames))
    with pytest.raises((Duplicate, BulkError)) as caught:
        await call(Dragon).update_where(Q.age < 8, stages, batch_size=3)
    written = [d["_id"] for d in stored() if "secret" in d and d["_id"] != 9]

    assert 4 not in written
    if heard:
        error: Any = caught.value
        assert [0, 1, 2, 3] == written == told
        assert [3] == [f._id for f in error.frames_written]
        assert [4, 5] == [f._id for f, _ in error.frames_failed]
        assert isinstance(error.__cause__, BulkWriteError)
        assert "Dragon.update_where: 4 documents were written" == notes(error)
    else:
        assert "some or all documents that match may have been written" in notes(caught.value)


async def test_cancelling(db: str) -> None:
    """A cancelled write ends between or in its batches; whole batches stand, and were told of."""
    fill(30)
    told: list[Any] = []

    @Dragon.listen("updated")
    async def wait(frames: Any) -> None:
        told.extend(f._id for f in frames)
        if len(told) >= 10:
            await asyncio.sleep(60)

    task = asyncio.create_task(
        Dragon.aio.update_where(Q.age >= 0, {"$set": {"name": "x"}}, batch_size=5)
    )
    while len(told) < 10:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list(range(10)) == told == [d["_id"] for d in stored(name="x")]


async def test_without_acknowledgement(call: Runtime, heard: bool) -> None:
    """With w=0 nobody knows how many, and the result says so."""
    fill(3)
    with (
        call(Dragon).with_options(write_concern=WriteConcern(0))
        if call.is_async
        else (Dragon.with_options(write_concern=WriteConcern(0)))
    ):
        assert -1 == await call(Dragon).update_where(Q.age < 2, {"$set": {"name": "x"}})
        assert -1 == await call(Dragon).delete_where(Q.age == 2)
        assert (0 if heard else -1) == await call(Dragon).delete_where(Q.age > 99)


# Faults


@pytest.fixture
def fail(server: Server, db: str) -> Iterator[Callable[..., Any]]:
    """`with fail(["update"], skip=3, errorCode=...)`: such commands fail after some that do not."""

    @contextmanager
    def failing(
        names: list[str], *, skip: int = 0, times: int | None = None, **data: Any
    ) -> Iterator[None]:
        admin = server.client.admin
        try:
            admin.command(
                {
                    "configureFailPoint": "failCommand",
                    "mode": {"skip": skip} if times is None else {"times": times},
                    "data": {"failCommands": names, "appName": db, **data},
                }
            )
        except OperationFailure as error:
            pytest.skip(f"this deployment has no fail points: {error}")
        try:
            yield
        finally:
            admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    with clients(server, db, appName=db):
        yield failing


@pytest.fixture
def proxy(server: Server, db: str) -> Iterator[Proxy]:
    """A server that takes three writes in a message and loses its answers when it is told to."""
    place = urlsplit(server.uri)
    assert place.port is not None
    made = Proxy((str(place.hostname), place.port), batch=3)
    with clients(server, db, f"mongodb://127.0.0.1:{made.port}/?directConnection=true"):
        yield made
    made.close()


@pytest.mark.parametrize("step", range(4))
async def test_an_answer_that_is_lost(call: Runtime, proxy: Proxy, step: int) -> None:
    """What the server has done and could not say is not done again."""
    fill(10)
    told: list[Any] = []
    for event in ("updated", "deleted"):
        Dragon.listen(event, lambda frames: told.extend(f._id for f in frames))
    with proxy.plan("update", *["pass"] * step, "after"):
        assert 10 == await call(Dragon).update_where(
            Q.age < 99, {"$inc": {"age": 100}}, batch_size=8
        )
    assert [n + 100 for n in range(10)] == ages()
    with proxy.plan("delete", *["pass"] * step, "after"):
        assert 10 == await call(Dragon).delete_where(Q.age > 99, batch_size=8)

    assert [] == stored()
    assert [*range(10)] * 2 == told


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_answers_that_stay_lost(call: Runtime, proxy: Proxy, lost: str) -> None:
    """What is known of a batch that is sent in parts is told; nothing is written twice."""
    fill(20)
    told: list[Any] = []
    Dragon.listen("updated", lambda frames: told.extend(f._id for f in frames))
    with (
        proxy.plan("update", *["pass"] * 4, lost, lost),
        pytest.raises(BulkError) as caught,
    ):
        await call(Dragon).update_where(Q.age < 99, {"$inc": {"age": 100}}, batch_size=8)
    error = caught.value
    done = 14 if lost == "after" else 11

    assert [*range(8)] == told
    assert [8, 9, 10] == [f._id for f in error.frames_written]
    assert [11, 12, 13] == [f._id for f, _ in error.frames_unknown]
    assert [14, 15] == [f._id for f, _ in error.frames_failed]
    assert (
        "Dragon.update_where: 11 documents were written, and perhaps some of 3, from _id=11 to 13; "
        "no event after it told of the last 3"
    ) in notes(error)
    assert [n + 100 * (n < done) for n in range(20)] == ages()
    # What still matches is what is left.
    assert 20 - done == await call(Dragon).update_where(Q.age < 99, {"$inc": {"age": 100}})
    assert [n + 100 for n in range(20)] == ages()


async def test_asking_that_fails(
    call: Runtime, server: Server, db: str, fail: Callable[..., Any]
) -> None:
    """A batch that failed, and of which nothing can be asked, ends with its own failure."""
    fill(6)
    raw = server.client[db]["Dragon"]
    raw.create_index("secret", unique=True, sparse=True)
    raw.update_one({"_id": 5}, {"$set": {"secret": 3}})
    Dragon.listen("updated", lambda frames: pytest.fail("told of what nobody could read"))
    with (
        fail(["find"], skip=1, errorCode=13),
        pytest.raises(BulkError) as caught,
    ):
        await call(Dragon).update_where(Q.age < 5, [{"$set": {"secret": Q.age}}])
    assert [0, 1, 2] == [f._id for f in caught.value.frames_written]
    assert "asking what was written failed, too" in notes(caught.value)
    assert "3 documents were written; no event after it told of the last 3" in notes(caught.value)


async def test_a_lost_connection_is_survived(call: Runtime, fail: Callable[..., Any]) -> None:
    """Batches are retryable writes: one lost connection in each command goes unnoticed."""
    fill(12)
    Dragon.listen("update", lambda frames: None)
    Dragon.listen("updated", lambda frames: None)
    for command in ("find", "getMore", "update"):
        # The driver does not send a getMore again.
        if command == "getMore":
            continue
        with fail([command], times=1, closeConnection=True):
            assert 12 == await call(Dragon).update_where(
                Q.age >= 0, {"$inc": {"age": 100}}, batch_size=5
            )

    assert [n + 200 for n in range(12)] == ages()


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("command", ["find", "getMore", "update", "delete"])
async def test_lost_connections_at_each_step(
    call: Runtime, fail: Callable[..., Any], command: str, step: int
) -> None:
    """Wherever the connection stays lost, what was told of is written, and the note is true."""
    fill(12)
    told: list[Any] = []
    for event in ("update", "delete"):
        Dragon.listen(event, lambda frames: None)
    for event in ("updated", "deleted"):
        Dragon.listen(event, lambda frames: told.extend(f._id for f in frames))
    is_delete = command == "delete"
    with fail([command], skip=step, closeConnection=True):
        try:
            if is_delete:
                done = await call(Dragon).delete_where(Q.age >= 0, batch_size=3)
            else:
                done = await call(Dragon).update_where(
                    Q.age >= 0, {"$inc": {"age": 100}}, batch_size=3
                )
            error = None
        except ConnectionFailure as lost:
            error = lost
    if is_delete:
        left = {d["_id"] for d in stored()}
        written = [n for n in range(12) if n not in left]
    else:
        written = [d["_id"] for d in stored() if d["age"] >= 100]
        assert written == [d["_id"] for d in stored() if d["age"] == 100 + d["_id"]]
    if error is None:
        assert 12 == done == len(told)
        return

    assert told == written[: len(told)]
    assert f": {len(written)} documents were written" in notes(error)
    untold = len(written) - len(told)
    assert (f"no event after it told of the last {untold}" in notes(error)) is bool(untold)
    assert ("perhaps some of 3" in notes(error)) is (command in ("update", "delete"))


async def test_a_primary_that_steps_down(call: Runtime, fail: Callable[..., Any]) -> None:
    """A refusal that retrying does not mend stops at its batch; a second run does the rest."""
    fill(12)
    Dragon.listen("update", lambda frames: None)
    with (
        fail(["update"], skip=2, errorCode=10107),
        pytest.raises((AutoReconnect, BulkError)) as caught,
    ):
        await call(Dragon).update_where(~Q.name.exists(), {"$set": {"name": "x"}}, batch_size=3)
    assert "6 documents were written" in notes(caught.value)
    assert 6 == len(stored(name="x"))
    assert 6 == await call(Dragon).update_where(
        ~Q.name.exists(),
        {"$set": {"name": "x"}},
        batch_size=3,
    )


CONCERN = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}


async def test_write_concern_errors(call: Runtime, fail: Callable[..., Any], heard: bool) -> None:
    """The write stands, its event is sent, and the caller is told."""
    fill(6)
    told: list[Any] = []
    if heard:
        Dragon.listen("updated", lambda frames: told.extend(f._id for f in frames))
        Dragon.listen("deleted", lambda frames: told.extend(f._id for f in frames))
    with (
        fail(["update"], writeConcernError=CONCERN),
        pytest.raises((WriteConcernError, BulkError)) as caught,
    ):
        await call(Dragon).update_where(Q.age >= 0, {"$set": {"name": "x"}}, batch_size=4)
    written = [d["_id"] for d in stored(name="x")]
    if heard:
        assert [0, 1, 2, 3] == written == told
        assert "4 documents were written" in notes(caught.value)
        assert "the write concern failed" in str(caught.value)
    else:
        assert 6 == len(written)
        assert "Dragon.update_where: the write stands" == notes(caught.value)

    told.clear()
    with fail(["delete"], writeConcernError=CONCERN), pytest.raises((WriteConcernError, BulkError)):
        await call(Dragon).delete_where(Q.age >= 0, batch_size=4)
    gone = [n for n in range(6) if n not in {d["_id"] for d in stored()}]
    assert ([0, 1, 2, 3] if heard else list(range(6))) == gone
    assert not heard or gone == told


async def test_one_command_that_may_have_been_done(call: Runtime, fail: Callable[..., Any]) -> None:
    """The one command without listeners is not sent again: a note says that it may have been done."""
    fill(6)
    with fail(["update"], times=1, closeConnection=True), pytest.raises(AutoReconnect) as caught:
        await call(Dragon).update_where(Q.age >= 0, {"$inc": {"age": 100}})
    assert "some or all documents that match may have been written" in notes(caught.value)
    with fail(["delete"], times=1, errorCode=50), pytest.raises(OperationFailure) as other:
        await call(Dragon).delete_where(Q.age >= 0)
    assert "may have been written" in notes(other.value)

    assert [{age % 100 for age in ages()}] == [set(range(6))]


async def test_a_client_that_gives_up_waiting(
    call: Runtime, server: Server, db: str, fail: Callable[..., Any]
) -> None:
    """When the client's time is over before the answer, the batch in hand counts as unknown."""
    Dragon.listen("update", lambda frames: None)
    # On a machine that is slow the first answers take longer than a short patience.
    for patience in (200, 1_000, 5_000):
        note, written = await _impatient(call, server, db, fail, patience)
        if "3 documents were written" in note:
            break

    assert "3 documents were written, and perhaps some of 3, from _id=3 to 5" in note
    assert written in ([0, 1, 2], [0, 1, 2, 3, 4, 5])


async def _impatient(
    call: Runtime, server: Server, db: str, fail: Callable[..., Any], patience: int
) -> tuple[str, list[int]]:
    """Return what the error says when the second batch takes too long, and what is written."""
    Dragon.get_collection().delete_many({})
    fill(9)
    options: dict[str, Any] = {"appName": db, "socketTimeoutMS": patience, "retryWrites": False}

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, **options)

    aio = await make() if call.is_async else None
    client: MongoClient[Any] = MongoClient(server.uri, **options)
    used: Any = aio if call.is_async else client
    try:
        with (
            loom.using(client=used, db=db),
            fail(["update"], skip=1, blockConnection=True, blockTimeMS=patience * 5),
            pytest.raises(NetworkTimeout) as caught,
        ):
            await call(Dragon).update_where(Q.age >= 0, {"$inc": {"age": 100}}, batch_size=3)
        return notes(caught.value), [d["_id"] for d in stored() if d["age"] >= 100]
    finally:
        client.close()
        if aio is not None:
            await aio.close()


# What annotations declare, and what blocks switch


async def test_declared_behaviours_need_no_documents(call: Runtime, commands: Commands) -> None:
    """Time stamps and the case of text are put into the changes, and nothing is read for them."""
    await call(Account).insert_many([{"email": "Ann@x.org"}, {"email": "bob@x.org"}])
    before = stored(Account)
    commands.clear()
    given = {"$set": {"email": "ANN@Y.org"}, "$push": {"tags": "New"}}
    assert 1 == await call(Account).update_where(Q.email == "ANN@x.org", given)
    assert 1 == await call(Account).update_where(
        Q.email == "BOB@x.org", [{"$set": {"email": "BOB@Y.org"}}]
    )
    assert ["update", "update"] == commands.names
    ann, bob = stored(Account)

    assert ("ann@y.org", ["new"], "bob@y.org") == (ann["email"], ann["tags"], bob["email"])
    assert all(
        now["modified"] > was["modified"] for now, was in zip((ann, bob), before, strict=True)
    )
    assert {"$set": {"email": "ANN@Y.org"}, "$push": {"tags": "New"}} == given


async def test_declared_behaviours_beside_listeners(call: Runtime, commands: Commands) -> None:
    """With listeners the stamps and cases are those of each document's changes, and can be muted."""
    await call(Account).insert_many([{"email": f"{n}@x.org", "seen": n} for n in range(4)])
    told: list[Any] = []
    Account.listen("update", lambda changes: told.append([*changes]))
    commands.clear()
    await call(Account).update_where(Q.seen < 3, {"$set": {"email": "A@Y.org"}}, batch_size=2)
    assert ["find", "update", "getMore", "update"] == commands.names
    assert [2, 1] == [len(changes) for changes in told]
    assert ["a@y.org"] * 3 == [d["email"] for d in stored(Account)][:3]
    stamps = {d["modified"] for d in stored(Account)}
    assert 1 < len(stamps)

    Account.listen("update", lambda frames: [setattr(f, "tags", ["Of", f.email]) for f in frames])
    with loom.muted(stamp_updated):
        await call(Account).update_where(Q.seen < 3, {"$inc": {"seen": 10}})
    assert ["of", "a@y.org"] == stored(Account)[0]["tags"]
    assert stamps == {d["modified"] for d in stored(Account)}


async def test_case_insensitive_indexes(call: Runtime) -> None:
    """The collation of such an index goes with the filter, as it does with reads."""
    await call(Nick).insert_many([{"nick": n, "seen": 0} for n in ("Ann", "ANN", "Bob")])
    assert 2 == await call(Nick).update_where(Q.nick == "ann", {"$inc": {"seen": 1}})
    assert 2 == await call(Nick).delete_where(Q.nick == "aNN", dry_run=True)
    for event in ("update", "deleted"):
        Nick.listen(event, lambda frames: None)
    assert 2 == await call(Nick).update_where(Q.nick == "ann", {"$inc": {"seen": 1}})
    assert [2, 2, 0] == [d["seen"] for d in stored(Nick)]
    assert 2 == await call(Nick).delete_where(Q.nick == "ann")


async def test_references_are_kept_whole(call: Runtime) -> None:
    """What annotations declare for deletes is done, batch by batch; a refusal stops at its batch."""
    House.get_collection().insert_many([{"_id": n, "name": str(n)} for n in range(8)])
    Guest.get_collection().insert_many(
        [{"_id": n, "name": str(n), "house": n, "owned": n - 4} for n in range(8)]
    )
    Guest.get_collection().insert_one({"_id": 99, "guarded": 5})
    assert 3 == await call(House).delete_where(Q._id < 3, batch_size=2)
    assert {3, 7, 99} | {0, 1, 2} == {d["_id"] for d in stored(Guest)}
    assert [None, None, None, 3, 7] == [d["house"] for d in stored(Guest)[:5]]
    with pytest.raises(Restricted) as caught:
        await call(House).delete_where(Q._id < 8, batch_size=2)

    assert "House.delete_where: 2 documents were written" == notes(caught.value)
    assert [5, 6, 7] == [d["_id"] for d in stored(House)]


async def test_read_only(call: Runtime, commands: Commands, heard: bool) -> None:
    """Where writing is switched off nothing is sent, and nobody is told; a dry run goes on."""
    fill(3)
    Dragon.listen("update", lambda: pytest.fail("heard of a refused write"))
    commands.clear()
    with loom.read_only():
        with pytest.raises(ReadOnly, match=r"Dragon\.update_where"):
            await call(Dragon).update_where(Q.age < 2, {"$inc": {"age": 1}})
        with pytest.raises(ReadOnly, match=r"Dragon\.delete_where"):
            await call(Dragon).delete_where(Q.age < 2)
        assert [] == commands.sent
        assert 2 == await call(Dragon).delete_where(Q.age < 2, dry_run=True)
    assert [0, 1, 2] == ages()


async def test_comments_of_a_block(call: Runtime, commands: Commands, heard: bool) -> None:
    """The comment of a block goes with every command."""
    fill(5)
    commands.clear()
    with loom.using(comment="nightly"):
        await call(Dragon).update_where(Q.age < 4, {"$inc": {"age": 100}}, batch_size=2)
        await call(Dragon).delete_where(Q.age >= 100, batch_size=2)

    assert {"nightly"} == {b["comment"] for b in commands.bodies}


async def test_committed(call: Runtime) -> None:
    """Who listens to `committed` alone is told of every document, too."""
    fill(5)
    told: list[Any] = []
    Dragon.listen("committed", lambda event, frames: told.append((event, [f.age for f in frames])))
    await call(Dragon).update_where(Q.age < 3, {"$inc": {"age": 100}}, batch_size=2)
    await call(Dragon).delete_where(Q.age >= 101)

    assert [("updated", [100, 101]), ("updated", [102]), ("deleted", [101, 102])] == told


# Sessions


def test_in_a_transaction_of_a_block(
    db: str, server: Server, commands: Commands, heard: bool
) -> None:
    """All commands join `loom.transaction()`; what fails takes everything back and says so."""
    _skip_without_transactions(server)
    fill(10)
    told: list[Any] = []
    if heard:
        Dragon.listen("committed", lambda event, frames: told.append((event, len(frames))))
    commands.clear()
    with loom.transaction():
        Dragon.update_where(Q.age < 5, {"$inc": {"age": 100}}, batch_size=2)
        Dragon.delete_where(Q.age > 100, batch_size=3)
        assert 6 == Dragon.delete_where(Q.age >= 0, dry_run=True)
        assert [] == told
    sent = [b for b in commands.bodies if "commitTransaction" not in b]
    assert {False} == {b.get("autocommit") for b in sent}
    assert [5, 6, 7, 8, 9, 100] == sorted(ages())
    assert (
        not heard
        or [("updated", 2)] * 2 + [("updated", 1)] + [("deleted", 3), ("deleted", 1)] == told
    )

    def progress(done: int, total: int) -> None:
        raise RuntimeError("enough")

    Dragon.get_collection().create_index("secret", unique=True, sparse=True)
    with pytest.raises((Duplicate, BulkError)) as refused, loom.transaction():
        Dragon.update_where(Q.age >= 0, {"$set": {"secret": 1}})
    assert "may have been written" not in notes(refused.value)
    assert [] == stored(secret=1)

    told.clear()
    with pytest.raises(RuntimeError) as caught, loom.transaction():
        Dragon.update_where(Q.age >= 0, {"$inc": {"age": 1}}, batch_size=2, progress=progress)
    done = 2 if heard else 6
    assert f"{done} documents were written, in a transaction that may take them back" in (
        notes(caught.value)
    )
    assert [5, 6, 7, 8, 9, 100] == sorted(ages())
    assert [] == told


async def test_in_an_awaited_transaction_of_a_block(db: str, server: Server) -> None:
    """Awaited writes by filter join, too, one command after the other."""
    _skip_without_transactions(server)
    fill(60)
    Dragon.listen("updated", lambda frames: None)
    Dragon.listen("update", lambda frames: None)

    async def write() -> None:
        async with loom.aio.transaction():
            assert 60 == await Dragon.aio.update_where(Q.age >= 0, {"$inc": {"age": 100}})
            raise RuntimeError("back")

    with pytest.raises(RuntimeError, match="back"):
        await write()
    assert list(range(60)) == ages()


def _skip_without_transactions(server: Server) -> None:
    if "setName" not in server.client.admin.command("hello"):
        pytest.skip("transactions need a replica set or a sharded cluster")


async def test_in_a_transaction(
    call: Runtime, commands: Commands, server: Server, heard: bool
) -> None:
    """Every command of a write belongs to the caller's transaction, and ends with it."""
    _skip_without_transactions(server)
    fill(10)
    told: list[Any] = []
    if heard:
        Dragon.listen("updated", lambda session: told.append(session))
    commands.clear()
    if call.is_async:
        async with server.aio.start_session() as session:
            await session.start_transaction()
            await _in_session(call, session)
            await session.abort_transaction()
    else:
        with server.client.start_session() as session:
            session.start_transaction()
            await _in_session(call, session)
            session.abort_transaction()

    sent = [b for b in commands.bodies if "abortTransaction" not in b]
    assert {False} == {b.get("autocommit") for b in sent}
    assert 1 == len({b["lsid"]["id"] for b in sent})
    assert list(range(10)) == ages()
    assert all(s is session for s in told)


async def _in_session(call: Runtime, session: Any) -> None:
    await call(Dragon).update_where(
        Q.age < 5, {"$inc": {"age": 100}}, session=session, batch_size=2
    )
    await call(Dragon).delete_where(Q.age > 100, session=session, batch_size=2)
    assert 2 == await call(Dragon).delete_where(Q.age.is_in([5, 6]), dry_run=True, session=session)


# Memory


def test_memory_is_bounded(server: Server, db: str, heard: bool) -> None:
    """Six times the documents take hardly more memory."""

    def peak(count: int) -> int:
        Dragon.get_collection().delete_many({})
        fill(count, secret="x" * 500)
        tracemalloc.start()
        try:
            done = Dragon.update_where(Q.age >= 0, {"$set": {"name": "y"}}, batch_size=100)
            assert count == done
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # The client of the other tests keeps what it sends.
    with clients(server, db):
        peak(100)
        few = peak(300)
        many = peak(1_800)

    assert many < few * 1.2 + 50_000


# Against the driver itself

_values = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.text("ab", max_size=2),
    st.lists(st.integers(0, 3), max_size=3),
)
_numbers = st.integers(-3, 3)
_documents = st.lists(
    st.fixed_dictionaries(
        {"age": _numbers},
        optional={
            "name": _values,
            "loot": st.lists(_numbers, max_size=4),
            "lair": st.fixed_dictionaries({}, optional={"name": _values, "gold": _numbers}),
        },
    ),
    max_size=12,
)
_filters = st.recursive(
    st.one_of(
        st.builds(lambda n: {"age": {"$gte": n}}, _numbers),
        st.builds(lambda n: {"age": n}, _numbers),
        st.builds(lambda v: {"name": v}, _values.filter(lambda v: not isinstance(v, list))),
        st.builds(lambda n: {"loot": n}, _numbers),
        st.builds(lambda n: {"loot": {"$elemMatch": {"$gt": n}}}, _numbers),
        st.builds(lambda n: {"lair.gold": {"$lt": n}}, _numbers),
        st.builds(lambda has: {"lair": {"$exists": has}}, st.booleans()),
    ),
    lambda inner: st.one_of(
        st.builds(lambda a, b: {"$or": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"$and": [a, b]}, inner, inner),
        st.builds(lambda a: {"$nor": [a]}, inner),
    ),
    max_leaves=3,
)
_changes = st.one_of(
    st.fixed_dictionaries(
        {"$inc": st.fixed_dictionaries({"age": _numbers})},
        optional={
            "$set": st.dictionaries(st.sampled_from(["name", "secret"]), _values, min_size=1),
            "$unset": st.just({"lair.name": True}),
            "$push": st.builds(lambda n: {"loot": n}, _numbers),
        },
    ),
    st.builds(lambda v: {"$set": {"lair": {"name": v}}}, _values),
    st.builds(lambda v, n: {"$set": {"lair.name": v}, "$max": {"age": n}}, _values, _numbers),
    st.builds(lambda n: {"$pull": {"loot": {"$gte": n}}, "$unset": {"name": True}}, _numbers),
    st.builds(lambda n: {"$addToSet": {"loot": n}, "$rename": {"name": "breed"}}, _numbers),
    st.builds(lambda n: {"$mul": {"age": n}, "$min": {"lair.gold": n}}, _numbers),
    st.builds(lambda n: {"$pop": {"loot": n}}, st.sampled_from([1, -1])),
    st.builds(lambda n: [{"$set": {"age": {"$add": ["$age", n]}}}, {"$unset": "name"}], _numbers),
)


@settings(
    max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    _documents,
    _filters,
    _changes,
    st.integers(1, 5),
    st.sampled_from(["", "update", "updated", "both"]),
)
def test_the_same_as_the_driver(
    db: str, documents: Any, filter: Any, changes: Any, size: int, events: str
) -> None:
    """Documents end as PyMongo's update_many and delete_many leave them, in batches or not."""
    mine, raw = Dragon.get_collection(), Dragon.get_db()["raw"]
    mine.delete_many({})
    raw.delete_many({})
    if documents:
        numbered = [{"_id": n, **document} for n, document in enumerate(documents)]
        mine.insert_many(numbered)
        raw.insert_many(numbered)
    told: list[Any] = []

    def listener(frames: Any) -> None:
        told.extend(f._id for f in frames)

    for event in {"both": ("update", "updated"), "": ()}.get(events, (events,)):
        Dragon.listen(event, listener)
    try:
        matched = [d["_id"] for d in raw.find(filter, sort=[("_id", 1)])]
        try:
            expected = raw.update_many(filter, changes).matched_count
        except OperationFailure:
            expected = None
        try:
            done = Dragon.update_where(filter, changes, batch_size=size)
        except (OperationFailure, BulkError):
            assert expected is None
            return
        assert expected == done
        assert list(raw.find(sort=[("_id", 1)])) == stored()
        assert sorted(matched * {"both": 2, "": 0}.get(events, 1)) == sorted(told)
        for event in ("delete", "deleted") if events == "both" else ():
            Dragon.listen(event, lambda frames: None)
        assert raw.delete_many(filter).deleted_count == Dragon.delete_where(filter, batch_size=size)
        assert list(raw.find(sort=[("_id", 1)])) == stored()
    finally:
        Dragon.stop_listening("update", listener)
        Dragon.stop_listening("updated", listener)
        for event in ("delete", "deleted"):
            for other in loom.frames.events.listening(event, Dragon):
                Dragon.stop_listening(event, other)
