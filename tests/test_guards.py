"""Conditional writes: `where=`, `_version`, Conflict and Gone."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import Any, ClassVar

import pytest
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    InvalidOperation,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

import loom
from loom import Conflict, DefinitionError, Frame, Gone, Q, SubFrame
from loom.frames.operations.guards import leaves_open
from tests.conftest import Commands, Runtime, Server


class Lair(SubFrame):
    """An embedded document."""

    gold: int


class Dragon(Frame):
    """A frame without versions."""

    name: str
    gold: int
    lair: Lair


class Account(Frame):
    """A frame with versions."""

    _version: ClassVar[str | None] = "_v"

    name: str
    gold: int
    tags: list[str]
    friend: Account


def stored(cls: Any, id: Any = 1) -> Any:
    """Return the stored document."""
    return cls.get_collection().find_one({"_id": id})


WRITES: dict[str, Any] = {
    "update": lambda frame, **o: frame.update("name", **o),
    "save": lambda frame, **o: frame.save(**o),
    "unset": lambda frame, **o: frame.unset("gold", **o),
    "delete": lambda frame, **o: frame.delete(**o),
    "inc": lambda frame, **o: frame.inc("gold", **o),
    "change": lambda frame, **o: frame.change({"$set": {"name": "Puff"}}, **o),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    "where", [Q.gold >= 5, {"gold": {"$gte": 5}}, (Q.gold > 1) & (Q.gold < 9), Q._id == 1, {}]
)
async def test_a_condition_that_holds(call: Runtime, name: str, where: Any) -> None:
    """A write whose condition holds is done."""
    dragon = Dragon(_id=1, name="Burt", gold=5)
    await call(dragon).insert()
    dragon.name = "Puff"
    await WRITES[name](call(dragon), where=where)

    assert {"_id": 1, "name": "Burt", "gold": 5} != stored(Dragon)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("where", [Q.gold > 5, {"$or": [{"gold": 1}, {"gold": 2}]}, Q._id == 2])
async def test_a_condition_that_does_not_hold(call: Runtime, name: str, where: Any) -> None:
    """Conflict carries the frame and the document stored now; nothing is written."""
    dragon = Dragon(_id=1, name="Burt", gold=5)
    await call(dragon).insert()
    dragon.name = "Puff"
    heard: list[Any] = []
    for event in ("updated", "deleted"):
        Dragon.listen(event, lambda sender, frames: heard.append(frames))
    with pytest.raises(Conflict, match=rf"Dragon.{name}: expected .* reload the frame") as caught:
        await WRITES[name](call(dragon), where=where)

    assert caught.value.frame is dragon
    assert isinstance(caught.value.stored, Dragon)
    assert {"_id": 1, "name": "Burt", "gold": 5} == caught.value.stored._document == stored(Dragon)
    assert "Puff" == dragon.name
    assert [] == heard
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(caught.value), dragon) == (str(again), again.frame)


@pytest.mark.parametrize("name", [n for n in WRITES if n != "delete"])
async def test_a_document_that_is_gone(call: Runtime, name: str, commands: Commands) -> None:
    """Gone, not Conflict, with and without a condition; without one nothing more is asked."""
    dragon = Dragon(_id=1, name="Burt", gold=5)
    dragon.name = "Puff"
    with pytest.raises(Gone):
        await WRITES[name](call(dragon), where=Q.gold == 5)
    commands.clear()
    with pytest.raises(Gone):
        await WRITES[name](call(dragon))

    assert 1 == len(commands.sent)
    assert not issubclass(Gone, Conflict)
    assert not issubclass(Conflict, Gone)


async def test_deleting_what_is_gone(call: Runtime) -> None:
    """Deleting a document that is not there is no error, with a condition neither."""
    await call(Dragon(_id=1)).delete(where=Q.gold == 5)
    await call(Account({"_id": 1, "_v": 4})).delete()


@pytest.mark.parametrize("where", ["x", 5, True, Q.gold, [Q.gold == 1]])
async def test_what_is_no_condition(call: Runtime, where: Any, commands: Commands) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(loom.QueryError):
        await call(Dragon(_id=1, name="x")).update("name", where=where)

    assert [] == commands.sent


# Versions


async def test_versions_count(call: Runtime) -> None:
    """A new document has version 1; every write counts one up, in the frame too."""
    account = Account(_id=1, name="a", gold=1)
    await call(account).insert()
    assert 1 == stored(Account)["_v"] == account["_v"]
    for number, name in enumerate(WRITES, 2):
        if name == "delete":
            continue
        account.name = f"a{number}"
        before = account["_v"]
        await WRITES[name](call(account))

        assert stored(Account)["_v"] == account["_v"] == before + 1
    await call(Account).update_many([account], "name")
    assert stored(Account)["_v"] == account["_v"]
    account.name = "all"
    await call(account).update()
    assert stored(Account)["_v"] == account["_v"]
    await call(account).upsert("name")
    assert stored(Account)["_v"] == account["_v"]


@pytest.mark.parametrize("name", ["update", "save", "unset", "delete"])
async def test_a_stale_frame_is_refused(call: Runtime, name: str) -> None:
    """A frame loaded before somebody else's write cannot overwrite it."""
    await call(Account(_id=1, name="a", gold=1)).insert()
    stale = await call(Account).one(required=True)
    fresh = await call(Account).one(required=True)
    fresh.gold = 9
    await call(fresh).update("gold")
    stale.name = "b"
    with pytest.raises(Conflict, match=r"_v=1 \(stored: 2\)") as caught:
        await WRITES[name](call(stale))
    assert 9 == caught.value.stored.gold == stored(Account)["gold"]
    await call(stale).reload()
    stale.name = "b"
    await WRITES[name](call(stale))

    assert stored(Account) is None or stored(Account)["_v"] == 3


@pytest.mark.parametrize(
    "projection",
    [
        {"name": True},
        {"gold": False},
        {"_v": False},
        {"_id": False, "name": True},
        {"_v": False, "gold": False},
        ["name"],
        {"friend": {"$ref": Account, "name": True}},
        {"name": True, "friend": {"$ref": Account, "gold": False}},
    ],
)
async def test_the_version_survives_every_projection(call: Runtime, projection: Any) -> None:
    """Whatever is fetched, the number of the version comes with it, in references too."""
    await call(Account).insert_many(
        [{"_id": 2, "name": "b", "gold": 2}, {"_id": 1, "name": "a", "gold": 1, "friend": 2}]
    )
    found = await call(Account).many(Q._id == 1, projection=projection)
    found += await call(Account).by_ids([1]) + [await call(Account).one(Q._id == 1)]

    assert [1, 1, 1] == [account["_v"] for account in found]
    if isinstance(found[0].friend, Account):
        assert 1 == found[0].friend["_v"]


async def test_a_frame_that_never_read_its_version(call: Runtime) -> None:
    """Without the number a document that has one is not overwritten; one without is."""
    Account.get_collection().insert_many([{"_id": 1, "_v": 4}, {"_id": 2}])
    with pytest.raises(Conflict):
        await call(Account(_id=1, name="x")).save()
    old = Account(_id=2, name="x")
    await call(old).save()
    await call(old).save("name")

    assert {"_id": 2, "name": "x", "_v": 2} == stored(Account, 2)


async def test_inc_leaves_a_stale_frame_stale(call: Runtime) -> None:
    """`inc` holds for any version, but does not hide what others wrote meanwhile."""
    await call(Account(_id=1, name="a", gold=1)).insert()
    stale = await call(Account).one(required=True)
    other = await call(Account).one(required=True)
    other.name = "b"
    await call(other).update("name")
    assert 2 == await call(stale).inc("gold")
    stale.name = "c"
    with pytest.raises(Conflict):
        await call(stale).update("name")

    assert {"_id": 1, "name": "b", "gold": 2, "_v": 3} == stored(Account)


async def test_a_stale_batch(call: Runtime) -> None:
    """In a batch every frame is written under its own version; the others are named."""
    accounts = await call(Account).insert_many([{"_id": i, "name": "a"} for i in range(4)])
    Account.get_collection().update_one({"_id": 2}, {"$inc": {"_v": 1}})
    Account.get_collection().delete_one({"_id": 3})
    for account in accounts:
        account.name = "b"
    with pytest.raises(loom.BulkError) as caught:
        await call(Account).update_many(accounts, "name")

    assert [0, 1] == [frame._id for frame in caught.value.frames_written]
    assert [2, 3] == [frame._id for frame, _ in caught.value.frames_failed]
    assert [2, 2, 1, 1] == [account["_v"] for account in accounts]


async def test_a_stale_upsert_is_a_conflict(call: Runtime) -> None:
    """`upsert` overwrites no other's change either."""
    await call(Account(_id=1, name="a")).insert()
    stale = await call(Account).one(required=True)
    Account.get_collection().update_one({"_id": 1}, {"$inc": {"_v": 1}})
    stale.name = "b"
    with pytest.raises(Conflict):
        await call(stale).upsert()


async def test_the_version_is_not_written(call: Runtime) -> None:
    """Naming the version is refused, an assignment to it is not sent."""
    account = Account(_id=1, name="a")
    await call(account).insert()
    with pytest.raises(loom.QueryError, match="which counts the versions by itself"):
        await call(account).change({"$set": {"_v": 7}})


@pytest.mark.parametrize("value", ["", "a.b", "$v", "_id", 5])
def test_versions_that_are_refused(value: Any) -> None:
    """The name of the field is checked when the class is made."""
    with pytest.raises(DefinitionError, match=r"Bad._version: expected the name of a field"):
        type("Bad", (Frame,), {"_version": value})


def test_forty_threads_lose_nothing(db: str) -> None:
    """Forty threads that count one document up through its version lose no count."""
    Account(_id=1, gold=0).insert()
    conflicts: list[int] = []

    def count() -> None:
        for _ in range(3):
            while True:
                account = Account.by_id(1, required=True)
                account.gold += 1
                try:
                    account.update("gold")
                    break
                except Conflict:
                    conflicts.append(1)

    threads = [threading.Thread(target=count) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (120, 121) == (stored(Account)["gold"], stored(Account)["_v"])


async def test_forty_tasks_lose_nothing(db: str) -> None:
    """The same in one event loop."""
    await Account(_id=1, gold=0).aio.insert()

    async def count() -> None:
        for _ in range(3):
            while True:
                account = await Account.aio.by_id(1, required=True)
                account.gold += 1
                try:
                    await account.aio.update("gold")
                    break
                except Conflict:
                    pass

    await asyncio.gather(*[count() for _ in range(40)])

    assert (120, 121) == (stored(Account)["gold"], stored(Account)["_v"])


@pytest.mark.parametrize("copies", [copy.copy, copy.deepcopy])
def test_copies_keep_their_version(db: str, copies: Any) -> None:
    """A copy is as fresh as its original was."""
    account = Account(_id=1, gold=0)
    account.insert()
    copied = copies(account)
    account.update("gold")
    with pytest.raises(Conflict):
        copied.update("gold")


async def test_what_was_never_sent_is_not_in_doubt(call: Runtime, server: Server) -> None:
    """A session that has ended, and a pool that is used up, leave a new frame as it was."""
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    ended = session.end_session()
    if call.is_async:
        await ended
    dragon = Dragon(name="Burt")
    with pytest.raises(InvalidOperation) as caught:
        await call(dragon).insert(session=session)

    assert dragon._id is None
    assert [] == getattr(caught.value, "__notes__", [])
    await call(dragon).save()
    assert 1 == await call(Dragon).count({})
    for error in (WaitQueueTimeoutError(), ConfigurationError(), ServerSelectionTimeoutError()):
        assert not leaves_open(error)
    assert leaves_open(AutoReconnect())


@pytest.mark.parametrize("heard", [False, True])
async def test_deleting_under_a_condition_with_options(call: Runtime, heard: bool) -> None:
    """A condition means the same in the look before listeners are told as in the delete itself."""
    await call(Dragon).insert_many([{"_id": n, "name": "Burt", "gold": n} for n in (1, 2)])
    if heard:
        Dragon.listen("delete", lambda frames: None)
    richer = {"$expr": {"$gt": ["$gold", "$$least"]}}
    await call(Dragon(_id=2)).delete(where=richer, let={"least": 1})
    collation = {"locale": "en", "strength": 2}
    await call(Dragon(_id=1)).delete(where=Q.name == "BURT", collation=collation)

    assert 0 == await call(Dragon).count({})
