"""What blocks switch: read-only for a process, comments on commands."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import loom
from loom import Q, ReadOnly, switches
from loom.frames import events, port

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Item


@pytest.fixture(autouse=True)
def _writable() -> Iterator[None]:
    """Leave no block open."""
    yield
    assert 0 == switches.read_only_blocks


def writes(call: Runtime, burt: Dragon) -> list[Callable[[], Any]]:
    """Return one call of each kind that writes."""
    ring = Item(_id=1)
    return [
        call(Dragon(name="x")).insert,
        call(Dragon(name="x")).save,
        lambda: call(burt).update("name"),
        lambda: call(burt).update("name", "age", where=Q.name == "Burt"),
        lambda: call(burt).save("name"),
        lambda: call(burt).inc("age"),
        lambda: call(burt).change({"$set": {"age": 2}}),
        lambda: call(burt).unset("age"),
        call(burt).upsert,
        call(burt).delete,
        lambda: call(Dragon).take(Q.name == "Burt", {"$set": {"age": 2}}),
        lambda: call(Dragon).insert_many([{"name": "x"}]),
        lambda: call(Dragon).update_many([burt], "name"),
        lambda: call(Dragon).unset_many([burt], "age"),
        lambda: call(Dragon).delete_many([burt]),
        lambda: call(Dragon).update_where(Q.name == "Burt", {"$set": {"age": 2}}),
        lambda: call(Dragon).delete_where(Q.name == "Burt"),
        lambda: call(Dragon).cascade(Dragon, "nemesis", [burt]),
        lambda: call(Dragon).nullify(Dragon, "nemesis", [burt]),
        lambda: call(Item).pull(Dragon, "loot", [ring]),
    ]


async def refuse(call: Runtime, burt: Dragon, commands: Commands, match: str) -> None:
    """Check that nothing can be written and nobody is called, and that reads go on."""
    before = dict(burt._document)
    heard: list[str] = []
    for write in [*writes(call, burt)[::-1], None, *writes(call, burt)[:-3]]:
        if write is None:  # what keeps references whole loads first when somebody listens
            for event in events.EVENTS:
                Dragon.listen(event, lambda event: heard.append(event))
            continue
        commands.clear()
        with pytest.raises(ReadOnly, match=match):
            await write()
        assert {"find"} >= set(commands.names)
    assert ([], before) == (heard, burt._document)
    assert burt == await call(Dragon).one(Q.name == "Burt")
    assert 1 == len([d async for d in call(Dragon).each()])
    assert 1 == await call(Dragon).count()


async def test_read_only(call: Runtime, commands: Commands) -> None:
    """Every write is refused before it is sent, reads are not, and afterwards writes go on."""
    burt = Dragon(name="Burt", age=1, nemesis=7)
    await call(burt).insert()
    await call(burt).update("name")
    with loom.read_only():
        await refuse(call, burt, commands, r"Dragon\.\w+: expected writing to be allowed, got it")
    burt.name = "Ray"
    await call(burt).update("name")

    assert "Ray" == (await call(Dragon).one()).name


async def test_a_read_only_connection(
    call: Runtime, server: Server, db: str, commands: Commands
) -> None:
    """It refuses for the classes that use it; another connection of the process does not."""
    burt = Dragon(name="Burt", age=1, nemesis=7)
    await call(burt).insert()
    writable = loom.connection._default
    made = loom.connect(server.client, aio=server.aio, db=db, reference_chunk=25, read_only=True)
    assert made.read_only
    await refuse(call, burt, commands, r"switched off by loom\.connect\(\.\.\., read_only=True\)")
    with loom.using(writable):
        await call(burt).inc("age")
    loom.connect(server.client, aio=server.aio, db=db)
    burt.name = "Ray"
    await call(burt).update("name")

    assert (2, "Ray") == (lambda d: (d.age, d.name))(await call(Dragon).one())


def test_read_only_is_for_the_process(db: str) -> None:
    """Threads of an executor that run already are refused, too."""
    burt = Dragon(name="Burt")
    burt.insert()
    begun, proceed = threading.Event(), threading.Event()

    def write() -> None:
        burt.update("name")
        begun.set()
        proceed.wait(5)
        burt.update("name")

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(write)
        begun.wait(5)
        with loom.read_only():
            proceed.set()
            with pytest.raises(PermissionError):
                result.result(5)
            with pytest.raises(ReadOnly):
                pool.submit(burt.delete).result(5)
        pool.submit(write).result(5)


async def test_read_only_is_for_all_tasks(db: str) -> None:
    """A task that was started before is refused."""
    burt = Dragon(name="Burt")
    await burt.aio.insert()
    proceed = asyncio.Event()

    async def write() -> None:
        await proceed.wait()
        with pytest.raises(ReadOnly):
            await burt.aio.update("name")

    task = asyncio.create_task(write())
    await asyncio.sleep(0)
    with loom.read_only():
        proceed.set()
        await task


def test_read_only_blocks_overlap(db: str) -> None:
    """Writing is possible again when the last block has ended, whatever began first."""
    burt = Dragon(name="Burt")
    burt.insert()
    first, second = loom.read_only(), loom.read_only()
    for block in (first, second):
        block.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(ReadOnly):
        burt.update("name")
    second.__exit__(None, None, None)
    burt.update("name")
    with pytest.raises(LookupError), loom.read_only(), loom.read_only():
        raise LookupError
    burt.update("name")


def test_blocks_in_many_threads(db: str) -> None:
    """However they overlap, the count comes back to none."""

    def work() -> None:
        for _ in range(500):
            with loom.read_only():
                assert switches.read_only_blocks

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    Dragon(name="Burt").insert()


def test_the_error_can_be_pickled() -> None:
    """It goes between processes."""
    with loom.read_only(), pytest.raises(ReadOnly) as caught:
        port.SYNC.check_writable(Dragon, "insert")

    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))


# Comments


def comments(commands: Commands) -> set[Any]:
    """Return the comments of all that was sent, but for what ends a transaction."""
    return {body.get("comment") for body in commands.bodies if "commitTransaction" not in body}


async def work(call: Runtime, commands: Commands) -> None:
    """Make calls of every kind."""
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    for write in writes(call, burt):
        try:
            await write()
        except (loom.Gone, loom.BulkError):
            await call(burt).insert()
    await call(Dragon).insert_many([{"name": f"{n}", "nemesis": burt} for n in range(30)])
    await call(Dragon).many(projection={"nemesis": {"$ref": Dragon}})
    await call(Dragon).by_ids([burt._id])
    assert 31 <= len([d async for d in call(Dragon).each(batch_size=7)])
    await call(Dragon).count()
    await call(Dragon).count(Q.age == 1)
    await call(Dragon).exists()
    assert {"getMore", "count", "aggregate", "find", "update"} <= set(commands.names)


async def test_a_comment_of_a_block(call: Runtime, commands: Commands) -> None:
    """Every command carries it, inner blocks replace it, a call's own goes before it."""
    with loom.using(comment="nightly"):
        await work(call, commands)
        assert {"nightly"} == comments(commands)
        commands.clear()
        with loom.using(comment={"job": 5}):
            await call(Dragon).one()
        assert {"job": 5} == commands.bodies[-1]["comment"]
        with loom.using(db=Dragon.get_db().name):
            await call(Dragon).one()
        assert "nightly" == commands.bodies[-1]["comment"]
        await call(Dragon).one(comment="own")
        assert "own" == commands.bodies[-1]["comment"]
        await call(Dragon(name="x")).insert(comment="own")
        assert "own" == commands.bodies[-1]["comment"]
    await call(Dragon).one()

    assert "comment" not in commands.bodies[-1]


async def test_a_comment_of_a_connection(
    call: Runtime, server: Server, db: str, commands: Commands
) -> None:
    """Every command carries it, also the everyday ones; a block's goes before it."""
    made = loom.connect(server.client, aio=server.aio, db=db, reference_chunk=25, comment="web")
    await work(call, commands)
    assert {"web"} == comments(commands)
    assert "web" == made.comment
    with loom.using(comment="job"):
        await call(Dragon).one()
    assert "job" == commands.bodies[-1]["comment"]
    loom.connect(server.client, aio=server.aio, db=db)
    await call(Dragon).one()

    assert "comment" not in commands.bodies[-1]


async def test_a_comment_in_a_transaction(call: Runtime, commands: Commands) -> None:
    """It goes with the session."""
    with loom.using(comment="pay"):
        if call.is_async:
            async with loom.aio.transaction():
                await call(Dragon(name="a")).insert()
        else:
            with loom.transaction():
                await call(Dragon(name="a")).insert()

    assert ("pay", False) == (lambda b: (b["comment"], b["autocommit"]))(commands.bodies[0])


async def test_a_stream_keeps_its_comment(call: Runtime, commands: Commands) -> None:
    """The queries for references of a stream carry the comment of where it was made."""
    burt = Dragon(_id=1, name="Burt", nemesis=1)
    await call(burt).insert()
    commands.clear()
    with loom.using(comment="report"):
        stream = call(Dragon).each(projection={"nemesis": {"$ref": Dragon}})
    assert ["Burt"] == [d.nemesis.name async for d in stream]

    assert ["report"] * 2 == [body["comment"] for body in commands.bodies]


async def test_a_comment_is_for_one_task(db: str, commands: Commands) -> None:
    """Tasks do not see each other's."""

    async def read(comment: str) -> None:
        with loom.using(comment=comment):
            await asyncio.sleep(0)
            await Dragon.aio.one(Q.name == comment)

    await asyncio.gather(*(read(f"c{n}") for n in range(10)))

    assert [body["filter"]["name"] for body in commands.bodies] == (
        [body["comment"] for body in commands.bodies]
    )
