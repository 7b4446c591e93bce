"""The door to the driver: runtimes, the pause of the garbage collector, and injected faults."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    OperationFailure,
    WriteConcernError,
)

import loom
from loom import BulkError, Duplicate, Q
from loom.frames import document, port

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Item


@pytest.fixture
def collector() -> Iterator[None]:
    """Leave the garbage collector as it was."""
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, collector: None) -> list[bool]:
    """A list that gets, for each load, whether the collector was on while frames were made."""
    found: list[bool] = []
    wrap = document.wrap

    def watched(cls: Any, documents: Any) -> Any:
        found.append(gc.isenabled())
        return wrap(cls, documents)

    monkeypatch.setattr("loom.frames.references.wrap", watched)
    return found


# The pause of the garbage collector


async def test_only_blocking_loads_pause(call: Runtime, seen: list[bool]) -> None:
    """`many` pauses the collector when it blocks; nothing pauses it across an await."""
    await call(Dragon).many()

    assert [call.is_async] == seen
    assert gc.isenabled()


def test_small_loads_do_not_pause(db: str, seen: list[bool]) -> None:
    """A small limit, `one`, `each` and `by_id` leave the collector alone."""
    Dragon(_id=1).insert()
    Dragon.many(limit=999)
    Dragon.many(limit=-5)
    Dragon.one()
    Dragon.by_id(1)
    list(Dragon.each())
    assert [True] * 5 == seen
    Dragon.many(limit=1_000)
    Dragon.many(limit=0)
    assert [False] * 2 == seen[5:]
    assert gc.isenabled()


def test_the_pause_ends_with_an_error(db: str, collector: None) -> None:
    """A query that fails, in the driver or in Loom, gives the collector back."""
    with pytest.raises(OperationFailure):
        Dragon.many({"$nonsense": 1})
    assert gc.isenabled()
    with pytest.raises(loom.EncodeError):
        Dragon.many(Q.name == object())
    assert gc.isenabled()


def test_the_pause_can_be_switched_off(db: str, seen: list[bool]) -> None:
    """`pausing_collection.enabled = False` turns it off."""
    port.pausing_collection.enabled = False
    try:
        Dragon.many()
    finally:
        port.pausing_collection.enabled = True
    Dragon.many()

    assert [True, False] == seen


def test_a_collector_that_is_off_stays_off(db: str, seen: list[bool]) -> None:
    """Who turned it off keeps it off."""
    gc.disable()
    Dragon.many()

    assert not gc.isenabled()


def test_nested_pauses(collector: None) -> None:
    """The load that began the pause ends it, not one inside it."""
    with port.SYNC.pause(None):
        with port.SYNC.pause(None):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_overlapping_pauses(collector: None) -> None:
    """The pause ends with the load that began it, though another goes on."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with port.SYNC.pause(None):
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second() -> None:
        first_in.wait(5)
        with port.SYNC.pause(None):
            second_in.set()
            first_out.wait(5)
            assert gc.isenabled()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert gc.isenabled()


def test_many_loads_in_threads_end_the_pause(db: str, collector: None) -> None:
    """Whatever overlaps, the collector runs afterwards."""
    Dragon.insert_many([{"age": n} for n in range(50)])
    threads = [
        threading.Thread(target=lambda: [Dragon.many() for _ in range(20)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert gc.isenabled()


def test_a_large_load_is_handed_to_the_oldest_generation(db: str, collector: None) -> None:
    """After a load its objects are not young any more, and none of them is frozen."""
    Dragon.insert_many([{"lair": {"name": "a"}} for _ in range(5_000)])
    gc.collect()
    dragons = Dragon.many()

    assert 5_000 == len(dragons)
    assert gc.get_count()[0] < 4_000
    assert 0 == gc.get_freeze_count()


def test_frozen_objects_stay_frozen(db: str, collector: None) -> None:
    """What a program froze, as servers do before they fork, no load unfreezes."""
    Dragon.insert_many([{"lair": {"name": "a"}} for _ in range(5_000)])
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        Dragon.many()

        assert frozen - 100 < gc.get_freeze_count() <= frozen
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_loads_do_not_keep_garbage(db: str, collector: None) -> None:
    """Many loads in a row leave full collections to come: circles are found in the end."""
    Dragon.insert_many([{"lair": {"name": "a"}} for _ in range(2_500)])
    circles = []
    for _ in range(60):
        lost = Dragon.many()[0]
        lost.nemesis = lost
        circles.append(weakref.ref(lost))
        del lost
    kept = [[] for _ in range(400_000)]

    assert sum(circle() is not None for circle in circles) < 60, len(kept)


# Runtimes


def test_a_blocking_operation_never_suspends() -> None:
    """`complete` runs a coroutine to its end, and refuses one that suspends."""

    async def suspends() -> None:
        await asyncio.sleep(0)

    async def returns() -> int:
        return 5

    assert 5 == port.complete(returns())
    with pytest.raises(RuntimeError, match="suspended"):
        port.complete(suspends())


@pytest.mark.parametrize("kind", [port.SYNC, port.ASYNC], ids=["blocking", "awaited"])
@pytest.mark.parametrize("ordered", [True, False])
def test_all_leaves_no_coroutine_behind(kind: port.Port, ordered: bool) -> None:
    """When one of several reads fails the others are ended, without a warning."""

    async def fail() -> None:
        raise LookupError("first")

    async def other() -> None:
        raise AssertionError("not reached when in order")

    async def main() -> None:
        with pytest.raises(LookupError, match="first"):
            await kind.all([fail(), other(), other()], ordered=ordered)

    asyncio.run(main())
    gc.collect()


async def test_all_is_cancelled_as_a_whole() -> None:
    """Cancelling ends the reads that were going on at once."""
    ended: list[int] = []

    async def wait(n: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(n)

    task = asyncio.create_task(port.ASYNC.all([wait(n) for n in range(3)], ordered=False))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [0, 1, 2] == sorted(ended)


async def test_servers_that_refuse_the_large_batch(
    call: Runtime, fail: Callable[..., Any], commands: Commands
) -> None:
    """A server that takes no large batch size is asked again without it."""
    await call(Dragon).insert_many([{"age": n} for n in range(3)])
    with fail(["find"], errorCode=51024):
        assert 3 == len(await call(Dragon).many())
    first, second = [b for b in commands.bodies if "find" in b]
    assert "batchSize" in first
    assert "batchSize" not in second
    with fail(["find"], errorCode=13), pytest.raises(OperationFailure):
        await call(Dragon).many()


# Faults


@pytest.fixture
def fail(server: Server, db: str) -> Iterator[Callable[..., Any]]:
    """`with fail(["insert"], errorCode=...)`: the next such command of clients of its own fails."""
    options: dict[str, Any] = {
        "appName": db,
        "heartbeatFrequencyMS": 500,
        "tz_aware": True,
        "event_listeners": [server.commands],
    }
    client: MongoClient[Any] = MongoClient(server.uri, **options)

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, **options)

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25)

    @contextmanager
    def failing(names: list[str], times: int = 1, **data: Any) -> Iterator[None]:
        admin = server.client.admin
        try:
            admin.command(
                {
                    "configureFailPoint": "failCommand",
                    "mode": {"times": times},
                    "data": {"failCommands": names, "appName": db, **data},
                }
            )
        except OperationFailure as error:
            pytest.skip(f"this deployment has no fail points: {error}")
        try:
            yield
        finally:
            admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    yield failing
    client.close()
    server.loop.run_until_complete(aio.close())


CONCERN = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}


async def test_a_lost_connection(call: Runtime, fail: Callable[..., Any]) -> None:
    """One is the driver's to retry; after more the same frames can be inserted again, once."""
    burt, ray = Dragon(name="Burt"), Dragon(name="Ray")
    with fail(["insert"], times=1, closeConnection=True):
        try:
            await call(burt).insert()
        except ConnectionFailure:
            await call(burt).insert()
    assert 1 == await call(Dragon).count({})
    with fail(["insert"], times=5, closeConnection=True), pytest.raises(AutoReconnect):
        await call(ray).insert()
    await call(ray).insert()
    with pytest.raises(Duplicate):
        await call(ray).insert()
    many = [Dragon(name="a"), Dragon(name="b")]
    with (
        fail(["insert"], times=5, closeConnection=True),
        pytest.raises((AutoReconnect, BulkError)),
    ):
        await call(Dragon).insert_many(many)
    await call(Dragon).insert_many(many)

    assert {burt, ray, *many} == set(await call(Dragon).many())


async def test_a_primary_that_steps_down(call: Runtime, fail: Callable[..., Any]) -> None:
    """A refusal of a primary that steps down reaches the caller when retrying does not help."""
    heard: list[str] = []
    Dragon.listen("inserted", lambda: heard.append("inserted"))
    burt = Dragon(name="Burt")
    with fail(["insert"], times=5, errorCode=10107), pytest.raises(AutoReconnect):
        await call(burt).insert()
    frames = [Dragon(name="a"), Dragon(name="b")]
    with fail(["insert"], times=5, errorCode=10107), pytest.raises((AutoReconnect, BulkError)):
        await call(Dragon).insert_many(frames)

    assert [] == heard
    assert not any("_id" in d for d in [burt, *frames])
    assert 0 == await call(Dragon).count({})


async def test_a_write_concern_that_fails(call: Runtime, fail: Callable[..., Any]) -> None:
    """The write stands: the frame has its id, the after-event is sent, the caller is told."""
    heard: list[str] = []
    for event in ("inserted", "updated", "deleted"):
        Dragon.listen(event, lambda event=event: heard.append(event))
    burt = Dragon(name="Burt", age=1)
    with fail(["insert"], writeConcernError=CONCERN), pytest.raises(WriteConcernError):
        await call(burt).insert()
    assert burt == await call(Dragon).by_id(burt._id)
    burt.name = "Ray"
    with fail(["update"], writeConcernError=CONCERN), pytest.raises(WriteConcernError):
        await call(burt).update("name")
    assert "Ray" == (await call(Dragon).by_id(burt._id)).name
    with fail(["update"], writeConcernError=CONCERN), pytest.raises(WriteConcernError):
        await call(burt).unset("age")
    assert "age" not in burt
    with fail(["delete"], writeConcernError=CONCERN), pytest.raises(WriteConcernError):
        await call(burt).delete()

    assert ["inserted", "updated", "updated", "deleted"] == heard
    assert 0 == await call(Dragon).count({})


async def test_a_write_concern_that_fails_in_a_batch(
    call: Runtime, fail: Callable[..., Any]
) -> None:
    """A batch names all its frames as written, and the write concern as what failed."""
    frames = [Dragon(name="a"), Dragon(name="b")]
    with fail(["insert"], writeConcernError=CONCERN), pytest.raises(BulkError) as caught:
        await call(Dragon).insert_many(frames)
    assert frames == caught.value.frames_written
    assert [] == caught.value.frames_failed
    assert "2 of 2 frames were written; the write concern failed: waiting for" in str(caught.value)
    assert isinstance(caught.value.__cause__, BulkWriteError)
    assert set(frames) == set(await call(Dragon).many())
    gone = Dragon(_id=5, name="gone")
    with fail(["update"], writeConcernError=CONCERN), pytest.raises(BulkError) as caught:
        await call(Dragon).update_many([*frames, gone], "name")
    assert (frames, [gone]) == (
        caught.value.frames_written,
        [frame for frame, _ in caught.value.frames_failed],
    )
    with fail(["delete"], writeConcernError=CONCERN), pytest.raises(BulkError) as caught:
        await call(Dragon).delete_many(frames)
    assert frames == caught.value.frames_written
    assert 0 == await call(Dragon).count({})


async def test_a_failing_reference_query(call: Runtime, fail: Callable[..., Any]) -> None:
    """When the query for references fails so does the load, and the next one works."""
    ring = Item(desc="ring")
    await call(ring).insert()
    await call(Dragon(loot=[ring], nemesis=5)).insert()
    projection = {"loot": {"$ref": Item}, "nemesis": {"$ref": Dragon}}
    with fail(["find"], times=10, errorCode=13), pytest.raises(OperationFailure):
        await call(Dragon).many(projection=projection)

    assert "ring" == (await call(Dragon).one(projection=projection)).loot[0].desc
