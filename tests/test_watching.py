"""`watch`: every change at least once, through faults and restarts, and no stream left open."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, Timestamp
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

import loom
from loom import Frame, HistoryLost, ListenerError, Q, StrLower, embedded
from loom.frames import history
from loom.frames.change_streams import fetched, match_stage
from loom.frames.checkpoints import FileCheckpoint
from loom.frames.counters import counter_cache
from loom.frames.watching import AsyncWatch, Change, Watch

from .conftest import Commands, Runtime, Server
from .faults import fault
from .zoo import Dragon, Item, Lair

#: Soon enough for tests, whatever the machine does.
SOON: dict[str, Any] = {"max_await_time_ms": 100}


@pytest.fixture(autouse=True)
def collection(db: str, server: Server) -> None:
    """Make the collection, so that its creation is no change of a test."""
    hello = server.client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        pytest.skip("change streams need a replica set or a sharded cluster")
    Dragon.get_db().create_collection("Dragon")


async def taken(stream: Any, count: int) -> list[Any]:
    """Return the next changes of a stream; one that does not come fails."""
    found: list[Any] = []
    for _ in range(100):
        change = await stream.try_next()
        if change is not None:
            found.append(change)
        if len(found) == count:
            return found
    raise AssertionError(f"expected {count} changes, got {found}")


async def waiting(stream: Any) -> list[Any]:
    """Return all changes that a stream has now."""
    found = []
    while (change := await stream.try_next()) is not None:
        found.append(change)
    return found


def streams_open(server: Server) -> int:
    """Return how many cursors are open on the server."""
    status = server.client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


# What comes


async def test_every_kind_of_change(call: Runtime, db: str) -> None:
    """Inserts, updates, replacements and deletes come as typed changes, in their order."""
    before = datetime.now(timezone.utc) - timedelta(minutes=5)
    raw = Dragon.get_collection()
    async with call(Dragon).watch(**SOON) as changes:
        burt = Dragon(name="Burt", age=5)
        await call(burt).insert()
        burt.name = "Bert"
        await call(burt).update("name")
        await call(burt).unset("age")
        insert, update, unset = await taken(changes, 3)
        raw.replace_one({"_id": burt._id}, {"name": "New"})
        (replace,) = await taken(changes, 1)
        await call(burt).delete()
        (delete,) = await taken(changes, 1)

    all_changes = [insert, update, unset, replace, delete]
    assert ["insert", "update", "update", "replace", "delete"] == [c.kind for c in all_changes]
    assert {burt._id} == {c.id for c in all_changes}
    assert {"_id": burt._id, "name": "Burt", "age": 5} == insert.changed
    assert ({"name": "Bert"}, ()) == (update.changed, update.removed)
    assert ({}, ("age",)) == (unset.changed, unset.removed)
    assert {"_id": burt._id, "name": "New"} == replace.changed
    assert ({}, None) == (delete.changed, delete.frame)
    assert isinstance(insert.frame, Dragon)
    assert "New" == replace.frame.name
    assert all(before < c.time < before + timedelta(minutes=10) for c in all_changes)
    assert {timedelta(0)} == {c.time.utcoffset() for c in all_changes}
    assert update.change["documentKey"] == {"_id": burt._id}
    assert f"Change('delete', _id={burt._id!r})" == repr(delete)


async def test_frames_are_of_now(call: Runtime, db: str) -> None:
    """An update brings the document as it is when it is read; of one that is gone, none."""
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    async with call(Dragon).watch(**SOON) as changes:
        for age in (2, 3):
            burt.age = age
            await call(burt).update("age")
        assert [3, 3] == [c.frame.age for c in await taken(changes, 2)]
        burt.age = 4
        await call(burt).update("age")
        await call(burt).delete()
        update, delete = await taken(changes, 2)
    assert (None, {"age": 4}, "delete") == (update.frame, update.changed, delete.kind)


async def test_full_document_is_the_callers_choice(call: Runtime, db: str) -> None:
    """Options go to PyMongo: without a look-up an update brings no frame."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    burt.name = "Bert"
    async with call(Dragon).watch(full_document=None, **SOON) as changes:
        await call(burt).update("name")
        (update,) = await taken(changes, 1)
    assert update.frame is None


async def test_a_dropped_collection(call: Runtime, db: str) -> None:
    """A drop comes as `drop` and `invalidate`, and the stream ends."""
    async with call(Dragon).watch(Q.age > 5, **SOON) as changes:
        Dragon.get_collection().drop()
        found = [change async for change in changes]
        assert not changes.alive
    assert [("drop", None), ("invalidate", None)] == [(c.kind, c.id) for c in found]
    assert [None, None] == [c.frame for c in found]


async def test_projections(call: Runtime, db: str) -> None:
    """Frames hold what a read would have brought: declared fields, sub-frames, references."""
    item = Item(desc="ring")
    await call(item).insert()
    projection = {"name": True, "lair": {"$sub": Lair, "name": True}, "loot": {"$ref": Item}}
    document = {
        "name": "Burt",
        "age": 5,
        "unknown": 1,
        "lair": {"name": "Cave", "depth": 3},
        "loot": [item._id],
    }
    async with (
        call(Dragon).watch(projection=projection, **SOON) as some,
        call(Dragon).watch(**SOON) as declared,
    ):
        Dragon.get_collection().insert_one(document)
        (first,) = await taken(some, 1)
        (second,) = await taken(declared, 1)

    read = await call(Dragon).one(projection=projection)
    assert read._document.keys() == first.frame._document.keys()
    assert {"name": "Cave"} == first.frame.lair._document
    assert "ring" == first.frame.loot[0].desc
    assert (await call(Dragon).one())._document.keys() == second.frame._document.keys()
    # What the server sent stays as it was sent.
    assert [item._id] == first.change["fullDocument"]["loot"]
    assert {"name": "Cave", "depth": 3} == second.change["fullDocument"]["lair"]


# Filters


async def test_filters_test_the_document(call: Runtime, db: str) -> None:
    """A filter holds for the whole document; what has none, such as a delete, always comes."""
    young, old = Dragon(name="Young", age=1), Dragon(name="Old", age=900)
    async with call(Dragon).watch((Q.age > 5) & ~(Q.name == "None"), **SOON) as changes:
        await call(young).insert()
        await call(old).insert()
        young.name = "None"
        await call(young).update("name")
        assert ["Old"] == [c.frame.name for c in await waiting(changes)]
        young.age = 6
        young.name = "Youngster"
        await call(young).update("age", "name")
        assert ["Youngster"] == [c.frame.name for c in await waiting(changes)]
        await call(young).delete()
        assert ["delete"] == [c.kind for c in await waiting(changes)]


async def test_filters_by_id(call: Runtime, db: str) -> None:
    """The `_id` of a delete is known: a filter on it holds for deletes, too."""
    burt, fred = Dragon(name="Burt"), Dragon(name="Fred")
    await call(burt).insert()
    await call(fred).insert()
    async with call(Dragon).watch(Q._id == burt._id, **SOON) as changes:
        await call(fred).delete()
        await call(burt).delete()
        assert [("delete", burt._id)] == [(c.kind, c.id) for c in await waiting(changes)]
    async with call(Dragon).watch((Q._id != fred._id) & (Q.age != 5), **SOON) as changes:
        await call(fred).insert()
        await call(fred).delete()
        await call(burt).insert()
        found = [(c.kind, c.id) for c in await waiting(changes)]
        # Of the insert the document was gone when it could have been tested.
        assert ("delete", fred._id) not in found
        assert ("insert", burt._id) in found


async def test_documents_as_they_were(call: Runtime, db: str) -> None:
    """With images of before a change brings that document, and the filter tests deletes by it."""
    Dragon.get_db().command(
        {"collMod": "Dragon", "changeStreamPreAndPostImages": {"enabled": True}}
    )
    await call(Dragon).insert_many([{"_id": n, "age": n, "secret": "x"} for n in (1, 2)])
    images = {"full_document_before_change": "whenAvailable", **SOON}
    async with (
        call(Dragon).watch(projection={"age": True}, **images) as changes,
        call(Dragon).watch(Q.age > 1, **images) as some,
    ):
        Dragon.get_collection().update_one({"_id": 1}, {"$set": {"age": 0}})
        update = (await taken(changes, 1))[0]
        Dragon.get_collection().delete_one({"_id": 1})
        Dragon.get_collection().delete_one({"_id": 2})
        deletes = await taken(changes, 2)
        assert [("delete", 2)] == [(c.kind, c.id) for c in await waiting(some)]
    assert ({"_id": 1, "age": 1}, {"_id": 1, "age": 0}) == (
        update.before._document,
        update.frame._document,
    )
    assert [(None, 0), (None, 2)] == [(c.frame, c.before.age) for c in deletes]


class Animal(Frame):
    """Documents of several kinds."""

    _kind_field = "type"

    name: str


class Cat(Animal):
    """One of them."""

    lives: int


async def test_kinds(call: Runtime, db: str) -> None:
    """Changes come as frames of their kind, to the streams of their class."""
    Animal.get_db().create_collection("Animal")
    async with call(Animal).watch(**SOON) as all_kinds, call(Cat).watch(**SOON) as cats:
        tom = Cat(name="Tom", lives=9)
        await call(tom).insert()
        await call(Animal(name="Rex")).insert()
        assert [Cat, Animal] == [type(c.frame) for c in await waiting(all_kinds)]
        assert ["Tom"] == [c.frame.name for c in await waiting(cats)]


class User(Frame):
    """Somebody with an address in lower case."""

    email: StrLower
    seen: datetime


async def test_filters_are_normalised(call: Runtime, db: str) -> None:
    """Text is looked for as it is stored; datetimes mean what they mean elsewhere."""
    User.get_db().create_collection("User")
    since = datetime(2024, 1, 1, tzinfo=timezone.utc)
    async with call(User).watch((Q.email == "Ann@X.org") & (Q.seen >= since), **SOON) as changes:
        await call(User).insert_many(
            [
                {"email": "ANN@x.org", "seen": since},
                {"email": "bob@x.org", "seen": since},
                {"email": "ann@x.org", "seen": since - timedelta(days=1)},
            ]
        )
        assert ["ann@x.org"] == [c.frame.email for c in await waiting(changes)]


async def test_pipelines_of_the_callers(call: Runtime, db: str) -> None:
    """Stages of one's own follow the filter, on the changes themselves."""
    stages = [{"$match": {"operationType": "insert"}}]
    async with call(Dragon).watch(Q.age > 5, pipeline=stages, **SOON) as changes:
        burt = Dragon(age=6)
        await call(burt).insert()
        await call(burt).update("age")
        await call(burt).delete()
        await call(Dragon(age=1)).insert()
        assert ["insert"] == [c.kind for c in await waiting(changes)]


async def test_a_pipeline_that_takes_the_place_away(call: Runtime, db: str) -> None:
    """It is no lost history: what is wrong is the pipeline."""
    async with call(Dragon).watch(pipeline=[{"$project": {"_id": False}}], **SOON) as changes:
        await call(Dragon(age=6)).insert()
        with pytest.raises(
            loom.QueryError, match=r"^Dragon\.watch: expected a pipeline that leaves each"
        ):
            await waiting(changes)


def test_match_stages() -> None:
    """Groups are walked, operators of a field are left as they are."""
    test: Any = {"$elemMatch": {"name": "x", "$or": [{"a": 1}]}}
    query = {"$and": [{"_id": 5}, {"$or": [{"a.b": 1}, {"$nor": [{"c": test}]}]}], "$comment": "x"}
    prefixed = {
        "$and": [
            {"fullDocument._id": 5},
            {"$or": [{"fullDocument.a.b": 1}, {"$nor": [{"fullDocument.c": test}]}]},
        ],
        "$comment": "x",
    }
    expected = [
        {"documentKey": None},
        {"fullDocument": None, "$and": [{"documentKey._id": 5}]},
        {"$and": [{"fullDocument": {"$ne": None}}, prefixed]},
    ]
    assert {"$match": {"$or": expected}} == match_stage(query, "Dragon.watch")


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (None, {"_id": 1, "a": 5, "b": {"c": 1, "d": 2}, "e": [{"f": 1, "g": 2}, 3, [{"f": 4}]]}),
        ({"_id": True}, {"_id": 1}),
        ({"a": True}, {"_id": 1, "a": 5}),
        ({"a": True, "_id": False}, {"a": 5}),
        ({"_id": False, "e": False, "b": False}, {"a": 5}),
        ({"b.c": True, "a.x": True}, {"_id": 1, "b": {"c": 1}}),
        ({"b.c": False, "e": False}, {"_id": 1, "a": 5, "b": {"d": 2}}),
        ({"e.f": True}, {"_id": 1, "e": [{"f": 1}, [{"f": 4}]]}),
        ({"_id": True, "a": False, "b": False, "e": False}, {"_id": 1}),
        ({"e.f": False, "b": False}, {"_id": 1, "a": 5, "e": [{"g": 2}, 3, [{}]]}),
    ],
)
def test_projections_are_those_of_a_find(db: str, driver: Any, expected: Any) -> None:
    """Loom leaves out of a changed document what the server leaves out of a read one."""
    document = {"_id": 1, "a": 5, "b": {"c": 1, "d": 2}, "e": [{"f": 1, "g": 2}, 3, [{"f": 4}]]}
    assert expected == fetched(document, driver)
    # The embedded server does not walk lists in lists.
    flat = {**document, "e": document["e"][:2]}
    Dragon.get_collection().insert_one(flat)
    found = Dragon.get_collection().find_one({}, driver)
    assert found == fetched(flat, driver)


async def test_what_is_refused(call: Runtime, db: str, tmp_path: Path) -> None:
    """What cannot be asked of changes is refused when `watch` is called."""
    for options, problem in (
        ({"filter": {"$expr": {"$gt": ["$a", "$b"]}}}, r"pipeline="),
        ({"filter": {"$or": [{"$where": "1"}]}}, r"pipeline="),
        ({"filter": False}, r"filter"),
        ({"projection": {"loot": {"$slice": 1}}}, r"True or False"),
        ({"checkpoint": 5}, r"load\(\) and save\(token\)|load\(\) and save\(\)"),
        ({"checkpoint": FileCheckpoint}, r"load\(\) and save\(\)"),
        ({"pipeline": 5}, r"pipeline|stage"),
    ):
        with pytest.raises(loom.QueryError, match=problem):
            call(Dragon).watch(**options)
    with pytest.raises(loom.EncodeError, match="Dragon filter"):
        await call(Dragon).watch(Q.age == object()).try_next()


async def test_transactions_have_no_streams(call: Runtime, db: str) -> None:
    """In a transaction `watch` is refused by its name."""
    if call.is_async:
        async with loom.aio.transaction():
            with pytest.raises(loom.TransactionError, match="outside of a transaction"):
                Dragon.aio.watch()
    else:
        with (
            loom.transaction(),
            pytest.raises(loom.TransactionError, match="outside of a transaction"),
        ):
            Dragon.watch()


# Opening, polling, closing


async def test_polling(call: Runtime, db: str) -> None:
    """`try_next` returns None when there is nothing; the next change comes all the same."""
    async with call(Dragon).watch(**SOON) as changes:
        assert await changes.try_next() is None
        assert changes.alive
        await call(Dragon(name="Burt")).insert()
        change = await changes.try_next()
        assert "Burt" == change.frame.name
        assert change.token == changes.resume_token
        assert await changes.try_next() is None
    assert not changes.alive
    assert await changes.try_next() is None


async def test_opened_by_the_first_step(call: Runtime, db: str, commands: Commands) -> None:
    """Nothing is sent before the first step; the block opens the stream at once."""
    commands.clear()
    unused = call(Dragon).watch(**SOON)
    assert [] == commands.names
    await unused.aclose()
    assert [] == commands.names
    changes = call(Dragon).watch(**SOON)
    assert await changes.try_next() is None
    await changes.aclose()
    commands.clear()
    async with call(Dragon).watch(**SOON):
        assert ["aggregate"] == commands.names


async def test_nothing_stays_open(call: Runtime, db: str, server: Server) -> None:
    """A break, an error, `close` and a drop of the stream close it on the server."""
    if "metrics" not in server.client.admin.command("serverStatus"):
        pytest.skip("the deployment does not tell how many cursors are open")
    at_first = streams_open(server)
    async with call(Dragon).watch(**SOON) as changes:
        assert at_first + 1 == streams_open(server)
        await call(Dragon()).insert()
        async for _ in changes:
            break
    assert at_first == streams_open(server)

    async def fail() -> None:
        async with call(Dragon).watch(**SOON) as changes:
            await call(Dragon()).insert()
            async for _ in changes:
                raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert at_first == streams_open(server)
    changes = call(Dragon).watch(**SOON)
    await changes.try_next()
    await changes.aclose()
    await changes.aclose()
    assert at_first == streams_open(server)
    assert [] == [change async for change in changes]


async def test_cancelling(call: Runtime, db: str, server: Server) -> None:
    """A cancelled step closes the stream on the server; the next one goes on, nothing is lost."""
    if not call.is_async:
        return
    at_first = streams_open(server)
    changes = Dragon.aio.watch(max_await_time_ms=5_000)
    assert await changes.__aenter__() is changes
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(changes.__anext__(), 0.1)
    for _ in range(1_000):
        if streams_open(server) == at_first:
            break
        await asyncio.sleep(0.05)
    assert at_first == streams_open(server)
    burt = Dragon(name="Burt")
    await burt.aio.insert()
    assert burt._id == (await changes.__anext__()).id
    await changes.aclose()
    assert at_first == streams_open(server)


async def test_the_place_is_that_of_the_call(call: Runtime, db: str, server: Server) -> None:
    """A stream made inside `using` watches that database when the block was left."""
    other = f"{db}_other"
    try:
        with loom.using(db=other):
            changes = call(Dragon).watch(**SOON)
        async with changes:
            await call(Dragon(name="here")).insert()
            with loom.using(db=other):
                await call(Dragon(name="there")).insert()
            assert ["there"] == [c.frame.name for c in await waiting(changes)]
    finally:
        server.client.drop_database(other)


def test_streams_are_iterators(db: str) -> None:
    """`next`, `for` and `with` work on a blocking stream; both kinds say which they are."""
    stream = Dragon.watch(**SOON)
    assert isinstance(stream, Watch)
    assert isinstance(Dragon.aio.watch(), AsyncWatch)
    with stream as changes:
        Dragon(name="Burt").insert()
        change: Change[Dragon] = next(changes)
        assert "Burt" == getattr(change.frame, "name", None)
        Dragon.get_collection().drop()
        assert ["drop", "invalidate"] == [c.kind for c in changes]


# Faults

LOSSES: dict[str, dict[str, Any]] = {
    "cursor not found": {"errorCode": 43},
    "not primary": {"errorCode": 10107, "errorLabels": ["ResumableChangeStreamError"]},
    "connection closed": {"closeConnection": True},
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("commands", [["getMore"], ["getMore", "aggregate"]], ids=str)
async def test_surviving_losses(
    call: Runtime, db: str, server: Server, loss: str, commands: list[str]
) -> None:
    """What is lost on the way is asked for again: every change comes, once, in order."""
    if "aggregate" in commands and loss == "cursor not found":
        loss = "connection closed"
    async with call(Dragon).watch(**SOON) as changes:
        await call(Dragon(age=0)).insert()
        found = await taken(changes, 1)
        for age in (1, 2, 3):
            await call(Dragon(age=age)).insert()
            with fault(server, commands, times=3, **LOSSES[loss]):
                found += await taken(changes, 1)
        found += await waiting(changes)
    assert [0, 1, 2, 3] == [c.frame.age for c in found]


async def test_losses_before_the_first_change(call: Runtime, db: str, server: Server) -> None:
    """A loss right after opening loses nothing that happened since."""
    async with call(Dragon).watch(**SOON) as changes:
        await call(Dragon(age=7)).insert()
        with fault(server, "getMore", times=2, closeConnection=True):
            assert [7] == [c.frame.age for c in await taken(changes, 1)]


async def test_losses_come_to_an_end(call: Runtime, db: str, server: Server) -> None:
    """A server that does not come back is an error; a later step goes on where it was."""
    async with call(Dragon).watch(**SOON) as changes:
        await call(Dragon(age=0)).insert()
        await taken(changes, 1)
        await call(Dragon(age=1)).insert()
        with (
            fault(server, ["getMore", "aggregate"], closeConnection=True),
            pytest.raises(AutoReconnect),
        ):
            await changes.__anext__()
        assert [1] == [c.frame.age for c in await waiting(changes)]


async def test_other_errors_come_out(call: Runtime, db: str, server: Server) -> None:
    """An error of the server that says something else is the caller's, unchanged."""
    async with call(Dragon).watch(**SOON) as changes:
        with fault(server, "getMore", times=1, errorCode=13), pytest.raises(OperationFailure):
            await changes.try_next()
        await call(Dragon(age=1)).insert()
        assert [1] == [c.frame.age for c in await waiting(changes)]


@pytest.mark.parametrize("code", [286, 280])
async def test_lost_history(
    call: Runtime, db: str, server: Server, tmp_path: Path, code: int
) -> None:
    """A history that the server has lost is an error of its own, which says what to do."""
    path = tmp_path / "place"
    for command in ("aggregate", "getMore"):
        async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
            await call(Dragon()).insert()
            await waiting(changes)
        with (
            fault(server, command, times=1, errorCode=code),
            pytest.raises(HistoryLost, match="read the collection anew") as caught,
        ):
            await call(Dragon).watch(checkpoint=path, **SOON).try_next()
        assert caught.value.token is not None
        assert isinstance(caught.value.__cause__, OperationFailure)
        assert str(path) in str(caught.value)


async def test_tokens_that_are_none(call: Runtime, db: str) -> None:
    """A token that the server cannot read is not taken for a beginning."""

    class Broken:
        def load(self) -> Any:
            return {"_data": "82ABC"}

        def save(self, token: Any) -> None:
            raise AssertionError

    with pytest.raises(HistoryLost, match="read the collection anew"):
        await call(Dragon).watch(checkpoint=Broken(), **SOON).try_next()


async def test_filters_that_the_server_refuses(
    call: Runtime, db: str, server: Server, tmp_path: Path
) -> None:
    """A filter that cannot be read is no lost history, also beside a checkpoint."""
    path = tmp_path / "place"
    async with call(Dragon).watch(checkpoint=path, **SOON):
        pass
    with (
        fault(server, "aggregate", times=1, errorCode=9),
        pytest.raises(OperationFailure, match="Failing"),
    ):
        await call(Dragon).watch(Q.age > 1, checkpoint=path, **SOON).try_next()


async def test_a_listener_that_closes_the_stream(call: Runtime, db: str) -> None:
    """A stream may be closed by whom it feeds; the change is handed out all the same."""
    async with call(Dragon).watch(feed=True, **SOON) as changes:
        watch = changes if call.is_async else changes.stream

        async def close() -> None:
            await (watch.aclose() if call.is_async else _done(watch.close))

        async def _done(function: Any) -> None:
            function()

        Dragon.listen("inserted", close)
        Dragon.get_collection().insert_one({"age": 1})
        assert 1 == (await taken(changes, 1))[0].frame.age
        assert not changes.alive


# Checkpoints


async def test_going_on_after_a_restart(call: Runtime, db: str, tmp_path: Path) -> None:
    """What was handled does not come again; what happened meanwhile comes."""
    path = tmp_path / "place"
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert path.exists()
        await call(Dragon(age=0)).insert()
        assert [0] == [c.frame.age for c in await waiting(changes)]
    await call(Dragon(age=1)).insert()
    async with call(Dragon).watch(checkpoint=str(path), **SOON) as changes:
        await call(Dragon(age=2)).insert()
        assert [1, 2] == [c.frame.age for c in await waiting(changes)]
    assert ["place"] == [entry.name for entry in tmp_path.iterdir()]


async def test_at_least_once(call: Runtime, db: str, tmp_path: Path) -> None:
    """A change whose handling failed, or was left in the middle, comes again."""
    path = tmp_path / "place"

    async def handle() -> None:
        async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
            for age in (0, 1, 2):
                await call(Dragon(age=age)).insert()
            async for change in changes:
                if change.frame.age == 1:
                    raise LookupError

    with pytest.raises(LookupError):
        await handle()
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert [1] == [c.frame.age for c in await taken(changes, 1)]
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert [1] == [c.frame.age for c in await taken(changes, 1)]
        await changes.save()
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert [2] == [c.frame.age for c in await waiting(changes)]


async def test_nothing_between_first_start_and_first_change(
    call: Runtime, db: str, tmp_path: Path
) -> None:
    """The place is kept as soon as the stream is open: a program that ends at once loses nothing."""
    path = tmp_path / "place"
    async with call(Dragon).watch(checkpoint=path, **SOON):
        pass
    await call(Dragon(age=5)).insert()
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert [5] == [c.frame.age for c in await waiting(changes)]


async def test_the_place_moves_with_the_history(call: Runtime, db: str, tmp_path: Path) -> None:
    """Where no change passes the filter the place moves on all the same, so that it stays young."""
    path = tmp_path / "place"
    async with call(Dragon).watch(Q.age > 100, checkpoint=path, **SOON) as changes:
        at_first = path.read_text()
        await call(Dragon(age=1)).insert()
        await waiting(changes)
        assert at_first != path.read_text()


async def test_after_an_invalidate(call: Runtime, db: str, tmp_path: Path) -> None:
    """Behind the drop of its collection a stream with the same checkpoint begins anew."""
    path = tmp_path / "place"
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        Dragon.get_collection().drop()
        found = [c.kind async for c in changes]
        await changes.save()
    assert ["drop", "invalidate"] == found
    await call(Dragon(age=3)).insert()
    async with call(Dragon).watch(checkpoint=path, **SOON) as changes:
        assert [3] == [c.frame.age for c in await waiting(changes) if c.kind == "insert"]


async def test_beginnings(call: Runtime, db: str, tmp_path: Path) -> None:
    """`resume_after` and its kin begin a stream; a place that is kept goes before."""
    path = tmp_path / "place"
    async with call(Dragon).watch(**SOON) as changes:
        for age in (0, 1):
            await call(Dragon(age=age)).insert()
        first, _ = await taken(changes, 2)
    options = {"resume_after": first.token, "checkpoint": path, **SOON}
    async with call(Dragon).watch(**options) as changes:
        assert [1] == [c.frame.age for c in await waiting(changes)]
    async with call(Dragon).watch(**options) as changes:
        assert [] == await waiting(changes)
    when = first.change["clusterTime"]
    async with call(Dragon).watch(start_at_operation_time=when, **SOON) as changes:
        assert [0, 1] == [c.frame.age for c in await waiting(changes)]


class Place(Frame):
    """Where a stream is, in a collection."""

    _id: str
    token: dict[str, Any]


class Kept:
    """Keeps a place in a collection."""

    def load(self) -> Any:
        """Return the token."""
        found = Place.by_id("dragons")
        return None if found is None else found.token

    def save(self, token: Any) -> None:
        """Keep a token."""
        Place(_id="dragons", token=dict(token)).upsert()


class KeptAwaited:
    """The same, awaited."""

    async def load(self) -> Any:
        """Return the token."""
        found = await Place.aio.by_id("dragons")
        return None if found is None else found.token

    async def save(self, token: Any) -> None:
        """Keep a token."""
        await Place(_id="dragons", token=dict(token)).aio.upsert()


async def test_places_in_a_collection(call: Runtime, db: str) -> None:
    """An object with `load` and `save` keeps the place where it likes, also awaited."""
    kept: Any = KeptAwaited() if call.is_async else Kept()
    async with call(Dragon).watch(checkpoint=kept, **SOON) as changes:
        await call(Dragon(age=0)).insert()
        await waiting(changes)
    await call(Dragon(age=1)).insert()
    async with call(Dragon).watch(checkpoint=kept, **SOON) as changes:
        assert [1] == [c.frame.age for c in await waiting(changes)]
    if not call.is_async:
        with pytest.raises(loom.QueryError, match="plain methods"):
            Dragon.watch(checkpoint=KeptAwaited()).try_next()


async def test_a_place_that_cannot_be_kept(call: Runtime, db: str, tmp_path: Path) -> None:
    """An error while saving is the caller's; what could not be saved is saved by the next step."""
    failing = [True]
    tokens: list[Any] = []

    class Full:
        def load(self) -> Any:
            return None

        def save(self, token: Any) -> None:
            if failing[0] and tokens:
                raise OSError("no space left")
            tokens.append(token)

    async with call(Dragon).watch(checkpoint=Full(), **SOON) as changes:
        for age in (0, 1):
            await call(Dragon(age=age)).insert()
        first, *_ = await taken(changes, 1)
        with pytest.raises(OSError, match="no space"):
            await changes.__anext__()
        failing[0] = False
        assert [1] == [c.frame.age for c in await waiting(changes)]
        assert first.token in tokens


def test_files(tmp_path: Path) -> None:
    """A file is replaced as a whole; what is no checkpoint, or another's, is refused."""
    checkpoint = FileCheckpoint(tmp_path / "place", "Dragon")
    assert checkpoint.load() is None
    token = {"_data": "82AB", "at": ObjectId("65f000000000000000000000"), "raw": b"12"}
    checkpoint.save(token)
    checkpoint.save(token)
    assert token == checkpoint.load()
    assert ["place"] == os.listdir(tmp_path)
    with pytest.raises(loom.QueryError, match="'Item', got that of 'Dragon'"):
        FileCheckpoint(tmp_path / "place", "Item.watch".removesuffix(".watch")).load()
    for text in ("", "{", "5", json.dumps({"watched": "Dragon"})):
        (tmp_path / "place").write_text(text)
        with pytest.raises(HistoryLost, match="delete the file"):
            checkpoint.load()
    with pytest.raises(TypeError):
        checkpoint.save({"_data": object()})
    assert ["place"] == os.listdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        FileCheckpoint(tmp_path / "none" / "place", "Dragon").save(token)


WATCHER = """
    import os, sys
    from loom import Frame, connect

    class Dragon(Frame):
        age: int

    connect(sys.argv[1], db=sys.argv[2])
    with Dragon.watch(checkpoint=sys.argv[3], max_await_time_ms=100) as changes:
        print("ready", flush=True)
        for change in changes:
            print(change.frame.age, flush=True)
            sys.stdin.readline()
"""


@pytest.fixture
def watchers(server: Server, db: str, tmp_path: Path) -> Iterator[Any]:
    """Start programs that print every change and wait for a line before the next."""
    running: list[subprocess.Popen[str]] = []

    def start(uri: str = server.uri) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", textwrap.dedent(WATCHER), uri, db, str(tmp_path / "place")]
        process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def answers(process: subprocess.Popen[str], count: int) -> list[str]:
    """Return lines that a program prints; it goes on after each."""
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    for _ in range(count):
        lines.append(process.stdout.readline().strip())
        if lines[-1] != "ready":
            process.stdin.write("\n")
            process.stdin.flush()
    return lines


def test_a_program_that_is_killed(watchers: Any, db: str) -> None:
    """After kill -9 in the middle of a change a program goes on with that change."""
    first = watchers()
    assert ["ready"] == answers(first, 1)
    Dragon.insert_many([{"age": age} for age in range(4)])
    assert ["0", "1"] == answers(first, 2)
    assert first.stdout is not None
    assert "2" == first.stdout.readline().strip()  # it is handling this one
    first.send_signal(signal.SIGKILL)
    first.wait()
    Dragon(age=4).insert()

    assert ["ready", "2", "3", "4"] == answers(watchers(), 4)


def test_a_server_that_is_killed(db: str, tmp_path: Path) -> None:
    """A checkpoint outlives a kill of the embedded server that keeps its data in a directory."""
    directory = tmp_path / "data"
    ages: list[int] = []
    for number in range(2):
        server = embedded.start(directory)
        with MongoClient[dict[str, Any]](server.uri) as client, loom.using(client=client, db=db):
            if not number:
                Dragon.get_db().create_collection("Dragon")
            with Dragon.watch(checkpoint=tmp_path / "place", **SOON) as changes:
                ages += [c.change["fullDocument"]["age"] for c in iter(changes.try_next, None)]
                Dragon(age=2 * number).insert()
                ages.append(next(changes).change["fullDocument"]["age"])
                changes.save()
            Dragon(age=2 * number + 1).insert()
        if number:
            server.stop()
        else:
            os.kill(server._pid, signal.SIGKILL)
            server.stop()
    assert [0, 1, 2] == ages


# Feeding listeners


@asynccontextmanager
async def heard(**how: Any) -> AsyncIterator[list[Any]]:
    """Note what the listeners of dragons are told."""
    told: list[Any] = []

    def listener(frames: Any, fields: Any, event: Any) -> None:
        told.append((event, [f._id for f in frames], [*fields]))

    for event in ("inserted", "updated", "deleted"):
        Dragon.listen(event, listener)
    yield told


async def test_feeding_listeners(call: Runtime, db: str) -> None:
    """With `feed` the listeners are told of what others do, as of local writes."""
    raw = Dragon.get_collection()
    async with heard() as told, call(Dragon).watch(feed=True, **SOON) as changes:
        raw.insert_one({"_id": 1, "name": "Burt", "age": 5})
        raw.update_one({"_id": 1}, {"$set": {"name": "Bert"}, "$unset": {"age": True}})
        await taken(changes, 2)
        raw.replace_one({"_id": 1}, {"name": "New"})
        await taken(changes, 1)
        raw.delete_one({"_id": 1})
        await taken(changes, 1)
        raw.drop()
        assert ["drop", "invalidate"] == [c.kind for c in await waiting(changes)]
    assert [
        ("inserted", [1], []),
        ("updated", [1], ["name", "age"]),
        ("updated", [1], ["name"]),
        ("deleted", [1], []),
    ] == told


async def test_listeners_that_await(call: Runtime, db: str) -> None:
    """Listeners may write through Loom, `committed` is sent, and `muted` silences them."""
    committed: list[Any] = []

    async def note(frames: Any) -> None:
        await Item(desc=frames[0].name).aio.insert()

    Dragon.listen("inserted", note)
    Dragon.listen("committed", lambda event: committed.append(event))
    async with call(Dragon).watch(feed=True, **SOON) as changes:
        Dragon.get_collection().insert_one({"name": "Burt"})
        await taken(changes, 1)
        with loom.muted():
            Dragon.get_collection().insert_one({"name": "Fred"})
            await taken(changes, 1)
    assert ["Burt"] == [item.desc for item in await call(Item).many()]
    assert ["inserted"] == committed


async def test_what_follows_writes_refuses_the_feed(call: Runtime, db: str) -> None:
    """Counter caches and histories followed a write where it was made: they do not do it again."""

    class Hoard(Frame):
        pieces: int = 0

    class Piece(Frame):
        hoard: Hoard

    Piece.get_db().create_collection("Piece")
    hoard = Hoard(_id=1)
    await call(hoard).insert()
    cache = counter_cache(Hoard, "pieces", of=Piece, by="hoard")
    log = history.track(Piece)
    try:
        for follower in (cache, log):
            async with call(Piece).watch(feed=True, **SOON) as changes:
                piece = Piece(hoard=hoard)
                await call(piece).insert()
                with pytest.raises(ListenerError, match=r"got one told by watch\(feed=True\)"):
                    await taken(changes, 1)
                follower.stop()
    finally:
        cache.stop()
        log.stop()
    await call(hoard).reload()

    assert 1 == hoard.pieces
    assert 2 == await call(history.ChangeLog).count()


async def test_blocks_inside_of_listeners(call: Runtime, server: Server, db: str) -> None:
    """A listener that is fed begins with the stream's own database, and may choose another one."""

    async def store(frames: Any) -> None:
        await Item(desc="own").aio.insert()
        with loom.using(db=f"{db}_other"):
            await Item(desc="other").aio.insert()

    Dragon.listen("inserted", store)
    with loom.using(db=f"{db}_watched"):
        Dragon.get_db().create_collection("Dragon")
        watch = call(Dragon).watch(feed=True, **SOON)
    async with watch as changes:
        server.client[f"{db}_watched"]["Dragon"].insert_one({})
        await taken(changes, 1)
    found = {
        name: [item["desc"] for item in server.client[f"{db}{name}"]["Item"].find()]
        for name in ("", "_watched", "_other")
    }
    for name in ("_watched", "_other"):
        server.client.drop_database(f"{db}{name}")

    assert {"": [], "_watched": ["own"], "_other": ["other"]} == found


async def test_transactions_inside_of_listeners(call: Runtime, db: str) -> None:
    """What a listener that is fed writes in a transaction is not stored when that is given up."""

    async def store(frames: Any) -> None:
        block: Any = loom.aio.transaction() if call.is_async else None
        if block is None:
            with suppress(LookupError), loom.transaction():
                await Item(desc="undone").aio.insert()
                raise LookupError
            return
        with suppress(LookupError):
            async with block:
                await Item(desc="undone").aio.insert()
                raise LookupError

    Dragon.listen("inserted", store)
    async with call(Dragon).watch(feed=True, **SOON) as changes:
        Dragon.get_collection().insert_one({})
        await taken(changes, 1)

    assert 0 == await call(Item).count({})


async def test_without_feed_listeners_hear_nothing(call: Runtime, db: str) -> None:
    """A stream by itself tells nobody; with `feed` one's own writes are told of twice."""
    async with heard() as told:
        async with call(Dragon).watch(**SOON) as changes:
            await call(Dragon(age=1)).insert()
            await taken(changes, 1)
        assert 1 == len(told)
        async with call(Dragon).watch(feed=True, **SOON) as changes:
            await call(Dragon(age=1)).insert()
            await taken(changes, 1)
        assert 3 == len(told)


async def test_a_listener_that_fails(call: Runtime, db: str, tmp_path: Path) -> None:
    """The change of which a listener could not be told is not passed over: it comes again."""
    failing = [True]

    def fail() -> None:
        if failing[0]:
            raise LookupError

    Dragon.listen("inserted", lambda: fail())
    path = tmp_path / "place"
    async with call(Dragon).watch(feed=True, checkpoint=path, **SOON) as changes:
        Dragon.get_collection().insert_many([{"age": 0}, {"age": 1}])
        with pytest.raises(LookupError):
            await changes.try_next()
        with pytest.raises(LookupError):
            await changes.try_next()
    failing[0] = False
    async with call(Dragon).watch(feed=True, checkpoint=path, **SOON) as changes:
        assert [0, 1] == [c.frame.age for c in await waiting(changes)]


async def test_an_update_of_what_is_gone(call: Runtime, db: str) -> None:
    """Listeners are told of frames only: of an update whose document is gone they hear the delete."""
    raw = Dragon.get_collection()
    raw.insert_one({"_id": 1})
    async with heard() as told, call(Dragon).watch(feed=True, **SOON) as changes:
        raw.update_one({"_id": 1}, {"$set": {"age": 1}})
        raw.delete_one({"_id": 1})
        assert ["update", "delete"] == [c.kind for c in await taken(changes, 2)]
    assert [("deleted", [1], [])] == told


# Changes by themselves


def test_changes_that_the_test_server_does_not_send() -> None:
    """Lists that became shorter, times of old servers, and frames as they were before."""
    update = {
        "operationType": "update",
        "clusterTime": Timestamp(1_700_000_000, 3),
        "documentKey": {"_id": 5},
        "updateDescription": {
            "updatedFields": {"a.b": 1},
            "removedFields": [],
            "truncatedArrays": [{"field": "loot", "newSize": 2}],
        },
    }
    change: Change[Dragon] = Change(update, None, Dragon(_id=5, name="Old"))
    assert {"a.b": 1} == change.changed
    assert {"loot": 2} == change.truncated
    assert datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc) == change.time
    assert "Old" == getattr(change.before, "name", None)
    naive = Change({**update, "wallTime": datetime(2023, 11, 14)}, None, None)
    assert datetime(2023, 11, 14, tzinfo=timezone.utc) == naive.time


def test_errors_can_be_pickled() -> None:
    """HistoryLost keeps its token on the way between processes."""
    error = pickle.loads(pickle.dumps(HistoryLost("lost", {"_data": "82"})))
    assert ("lost", {"_data": "82"}) == (str(error), error.token)
