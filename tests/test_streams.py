"""`each`: bounded batches, references per batch, and no cursor left open, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener

import loom
from loom import Q

from .conftest import Runtime, Server
from .zoo import Dragon, Item

REFERRING = {"loot": {"$ref": Item}, "age": True}


class Cursors(CommandListener):
    """The cursors that a client opened on the server and has not yet closed or read to the end."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.names: list[str] = []

    def started(self, event: Any) -> None:
        """Note a command, and the cursors that it closes."""
        self.names.append(event.command_name)
        if event.command_name == "killCursors":
            self.open -= set(event.command["cursors"])

    def succeeded(self, event: Any) -> None:
        """Note the cursor that a reply leaves open."""
        cursor = event.reply.get("cursor")
        if event.command_name == "find" and cursor["id"]:
            self.open.add(cursor["id"])
        elif event.command_name == "getMore" and not cursor["id"]:
            self.open.clear()

    def failed(self, event: Any) -> None:
        """Nothing to note: the cursor stays as it was."""


@pytest.fixture
def cursors(call: Runtime, server: Server, db: str) -> Iterator[Cursors]:
    """Connect with clients whose cursors are watched."""
    watched = Cursors()
    client: MongoClient[Any] = MongoClient(server.uri, tz_aware=True, event_listeners=[watched])

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, tz_aware=True, event_listeners=[watched])

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    Dragon.get_collection().insert_many([{"_id": n, "age": n} for n in range(2_500)])
    watched.names.clear()
    yield watched
    client.close()
    server.loop.run_until_complete(aio.close())


async def settle() -> None:
    """Give the loop time to close what was dropped."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_batches_are_bounded(call: Runtime, cursors: Cursors) -> None:
    """1,000 frames at a time are asked for, the next ones only when they are wanted."""
    stream = call(Dragon).each(sort="age")
    assert [] == cursors.names
    await stream.__anext__()
    assert ["find"] == cursors.names
    rest = [d.age async for d in stream]
    assert list(range(1, 2_500)) == rest
    assert ["find", "getMore", "getMore"] == [n for n in cursors.names if n != "killCursors"]
    assert set() == cursors.open


async def test_options_are_passed(call: Runtime, cursors: Cursors) -> None:
    """Sort, limit, skip, filter and batch size are those of PyMongo's find."""
    found = [d.age async for d in call(Dragon).each(Q.age > 10, sort="-age", skip=1, limit=3)]
    assert [2498, 2497, 2496] == found
    assert 250 == len([d async for d in call(Dragon).each(limit=250, batch_size=100)])
    assert ["find"] + ["find", "getMore", "getMore"] == cursors.names


async def test_references_are_resolved_per_batch(call: Runtime, cursors: Cursors) -> None:
    """Each batch fetches its own references, once."""
    item = Item(desc="ring")
    await call(item).insert()
    Dragon.get_collection().update_many({}, {"$set": {"loot": [item._id]}})
    cursors.names.clear()
    stream = call(Dragon).each(projection=REFERRING)
    first = await stream.__anext__()
    assert "ring" == first.loot[0].desc
    assert ["find", "find"] == cursors.names
    assert 2_499 == len([d async for d in stream])
    assert 4 == cursors.names.count("find")


async def test_leaving_a_block_closes_the_cursor(call: Runtime, cursors: Cursors) -> None:
    """A stream as a context manager is closed at the end of the block, also by an error."""
    async with call(Dragon).each() as frames:
        async for _ in frames:
            break
        assert cursors.open
    assert set() == cursors.open

    async def fail() -> None:
        async with call(Dragon).each() as frames:
            async for _ in frames:
                raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert set() == cursors.open
    assert [] == [d async for d in frames]  # it is at its end


async def test_closing_early(call: Runtime, cursors: Cursors) -> None:
    """`close` ends the stream; closing twice, or before the start, is fine."""
    stream = call(Dragon).each()
    await stream.__anext__()
    await stream.aclose()
    await stream.aclose()
    assert set() == cursors.open
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    unused = call(Dragon).each()
    await unused.aclose()
    assert [] == [d async for d in unused]
    assert ["find", "killCursors"] == cursors.names


async def test_abandoned_streams_are_closed(call: Runtime, cursors: Cursors) -> None:
    """A loop that is left and a stream that is dropped close their cursor."""
    async for _ in call(Dragon).each():
        break
    stream = call(Dragon).each()
    await stream.__anext__()
    del stream
    if call.is_async:
        await settle()
    gc.collect()

    assert set() == cursors.open


async def test_an_error_in_the_middle(call: Runtime, cursors: Cursors) -> None:
    """When a batch cannot be made the error comes out and the cursor is closed."""
    Dragon.get_collection().update_one({"_id": 1_500}, {"$set": {"lair": 5, "loot": {"a": "b"}}})
    seen: list[Any] = []

    async def read() -> None:
        strict = {"loot": {"$ref": Item, "$missing": "raise"}}
        async for dragon in call(Dragon).each(projection=strict, sort="_id"):
            seen.append(dragon)

    with pytest.raises(loom.LoomError):
        await read()

    assert 1_000 == len(seen)
    if call.is_async:
        await settle()
    assert set() == cursors.open


async def test_cancelling_closes_the_cursor(cursors: Cursors, call: Runtime) -> None:
    """A task cancelled between frames, or while it waits for a batch, leaves nothing open."""
    if not call.is_async:
        return
    for moment in range(8):
        started = asyncio.Event()

        async def read(started: asyncio.Event = started) -> None:
            async for frame in Dragon.aio.each(batch_size=50):
                started.set()
                if frame.age % 50 == 49:
                    await asyncio.sleep(0)

        task = asyncio.create_task(read())
        await started.wait()
        for _ in range(moment):
            await asyncio.sleep(0.0005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()

        assert set() == cursors.open


async def test_cancelling_a_load_closes_the_cursor(cursors: Cursors, call: Runtime) -> None:
    """`many` that is cancelled between its batches leaves nothing open, and the client works."""
    if not call.is_async:
        return
    for moment in range(8):
        await Dragon.aio.exists()  # PyMongo leaks a socket that is cancelled while it connects
        task = asyncio.create_task(Dragon.aio.many(batch_size=20))
        await asyncio.sleep(0.0005 * moment)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()

        assert set() == cursors.open
    assert 2_500 == len(await Dragon.aio.many())


async def test_client_and_database_are_those_of_the_call(
    call: Runtime, cursors: Cursors, server: Server, db: str
) -> None:
    """A stream made inside `using` goes on there when the block was left, references too."""
    other = f"{db}_other"
    try:
        with loom.using(db=other):
            item = Item(desc="other")
            await call(item).insert()
            await call(Dragon).insert_many([{"age": n, "loot": [item]} for n in range(1_200)])
            stream = call(Dragon).each(projection=REFERRING)
        found = [d async for d in stream]
        assert 1_200 == len(found)
        assert {"other"} == {d.loot[0].desc for d in found}
        stream = call(Dragon).each(projection=REFERRING)
        with loom.using(db=other):
            assert 2_500 == len([d async for d in stream])
    finally:
        server.client.drop_database(other)


async def test_the_session_is_that_of_the_call(
    call: Runtime, cursors: Cursors, server: Server
) -> None:
    """All commands of a stream carry its session."""
    item = Item(desc="ring")
    await call(item).insert()
    Dragon.get_collection().update_many({}, {"$set": {"loot": [item._id]}})
    client = Dragon.aio.get_client() if call.is_async else Dragon.get_client()
    session = client.start_session()
    used: list[Any] = []
    started = Cursors.started
    cursors.started = lambda event: (  # type: ignore[method-assign]
        used.append(event.command["lsid"]),
        started(cursors, event),
    )
    assert 2_500 == len([d async for d in call(Dragon).each(projection=REFERRING, session=session)])
    assert 6 == len(used)
    assert [session.session_id] * 6 == used
    ended = session.end_session()
    if call.is_async:
        await ended


async def test_streams_inside_streams(call: Runtime, cursors: Cursors) -> None:
    """Several streams at once do not disturb each other."""
    pairs = []
    async for outer in call(Dragon).each(sort="age", limit=3):
        async for inner in call(Dragon).each(sort="-age", limit=2):
            pairs.append((outer.age, inner.age))

    assert [(a, b) for a in (0, 1, 2) for b in (2499, 2498)] == pairs


async def test_writing_while_streaming(call: Runtime, cursors: Cursors) -> None:
    """What was read may be written in the loop, listeners included."""
    heard: list[Any] = []
    Dragon.listen("updated", lambda frames: heard.extend(frames))
    async for dragon in call(Dragon).each(Q.age < 30):
        dragon.name = "seen"
        await call(dragon).update("name")

    assert 30 == await call(Dragon).count(Q.name == "seen") == len(heard)


def test_streams_in_threads(db: str) -> None:
    """Blocking streams in threads are independent."""
    Dragon.insert_many([{"age": n} for n in range(1_500)])
    counts: list[int] = []

    def read() -> None:
        counts.append(sum(1 for _ in Dragon.each()))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1_500] * 8 == counts


def test_a_stream_is_an_iterator(db: str) -> None:
    """`next`, `iter` and `with` work on a blocking stream; one of each runtime is not the other."""
    Dragon.insert_many([{"age": n} for n in range(3)])
    with Dragon.each(sort="age") as stream:
        assert 0 == next(stream).age
        assert [1, 2] == [d.age for d in stream]
        with pytest.raises(StopIteration):
            next(stream)
    assert not hasattr(stream, "__aiter__")


async def test_blocking_streams_inside_a_running_loop(db: str) -> None:
    """A blocking stream that is left in a task is closed like others, without a warning."""
    Dragon.insert_many([{"age": n} for n in range(1_500)])
    for dragon in Dragon.each():
        assert dragon is not None
        break
    with Dragon.each() as stream:
        next(stream)
    await settle()


def test_a_loop_that_ends_with_an_open_stream(db: str, server: Server) -> None:
    """`asyncio.run` closes the streams that were left open."""
    Dragon.insert_many([{"age": n} for n in range(1_500)])
    loom.connect(server.uri, db=db)

    async def main() -> None:
        stream = Dragon.aio.each()
        await stream.__anext__()
        async for _ in Dragon.aio.each():
            break
        await stream.aclose()
        await loom.aio.close()

    asyncio.run(main())
    loom.close()
