"""The awaited view: the same methods with the same parameters, several loops, cancellation."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import loom
from loom import Frame, ListenerError, NotConnected, Q
from loom.frames.aio import AwaitedClass
from loom.frames.aio_frame import AwaitedFrame
from loom.frames.streams import AsyncStream, Stream

from .conftest import Server
from .zoo import Dragon, Item

#: Methods that ask no server, and therefore are not awaited.
LOCAL = {
    "get",
    "get_fields",
    "get_private_fields",
    "listen",
    "stop_listening",
    "timestamp_insert",
    "timestamp_update",
    "to_json_type",
}


def public(cls: type) -> dict[str, Any]:
    """Return the public methods of a class."""
    return {
        name: inspect.getattr_static(cls, name)
        for name in dir(cls)
        if not name.startswith("_") and callable(getattr(cls, name))
    }


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """Return name, kind and default of the parameters, without the first."""
    function = getattr(function, "__func__", function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [(p.name, p.kind, p.default) for p in parameters]


# Parity


def test_both_runtimes_have_the_same_methods() -> None:
    """Every operation is there to be awaited, class methods on the class, others on the frame."""
    frame = public(Frame)
    of_class = {n for n, m in frame.items() if isinstance(m, classmethod)} - LOCAL
    of_frame = {n for n, m in frame.items() if inspect.isfunction(m)} - LOCAL

    assert of_class == public(AwaitedClass).keys()
    assert of_frame == public(AwaitedFrame).keys()


@pytest.mark.parametrize("name", sorted({*public(AwaitedClass), *public(AwaitedFrame)}))
def test_both_runtimes_have_the_same_parameters(name: str) -> None:
    """Names, kinds and defaults of the parameters are identical."""
    awaited = {**public(AwaitedClass), **public(AwaitedFrame)}[name]

    assert shape(public(Frame)[name]) == shape(awaited)


@pytest.mark.parametrize("name", sorted({*public(AwaitedClass), *public(AwaitedFrame)}))
def test_what_is_awaited(name: str) -> None:
    """All but `each`, `watch`, `bulk` and what gives the driver's objects are coroutines."""
    awaited = {**public(AwaitedClass), **public(AwaitedFrame)}[name]
    plain = name in (
        "agg",
        "bulk",
        "each",
        "filter",
        "get_client",
        "get_db",
        "get_collection",
        "watch",
        "with_options",
    )

    assert inspect.iscoroutinefunction(awaited) is not plain


def test_views(db: str) -> None:
    """The view of a class and that of a frame show what they belong to."""
    burt = Dragon(name="Burt")

    assert "Dragon.aio" == repr(Dragon.aio)
    assert "Dragon(name='Burt').aio" == repr(burt.aio)
    assert isinstance(Dragon.aio, AwaitedClass)
    assert isinstance(burt.aio, AwaitedFrame)
    assert not hasattr(burt.aio, "one")
    with pytest.raises(AttributeError):
        burt.aio.something = 1  # type: ignore[attr-defined]
    assert isinstance(Dragon.each(), Stream)
    assert isinstance(Dragon.aio.each(), AsyncStream)


async def test_the_drivers_objects(db: str, server: Server) -> None:
    """`aio` gives the asynchronous client, database and collection."""
    assert Dragon.aio.get_client() is server.aio
    assert db == Dragon.aio.get_db().name
    assert "Dragon" == Dragon.aio.get_collection().name
    await Dragon.aio.get_collection().insert_one({"name": "raw"})
    assert "raw" == (await Dragon.aio.one()).name
    with Dragon.aio.with_options() as collection:
        assert 1 == await collection.count_documents({})


# Loops


def test_asyncio_run_twice(db: str, server: Server) -> None:
    """Each loop has its own client, also one after the other in one process."""
    loom.connect(server.uri, db=db)

    async def main(n: int) -> int:
        await Dragon(age=n).aio.insert()
        counted = await Dragon.aio.count({})
        await loom.aio.close()
        return counted

    assert [1, 2, 3] == [asyncio.run(main(n)) for n in range(3)]
    assert 3 == Dragon.count({})
    loom.close()


def test_loops_in_threads(db: str, server: Server) -> None:
    """Loops in several threads do not share a client, and blocking calls go on beside them."""
    loom.connect(server.uri, db=db)
    clients: set[int] = set()
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    async def main(n: int) -> None:
        clients.add(id(Dragon.aio.get_client()))
        barrier.wait()
        await asyncio.gather(*(Dragon(age=n).aio.insert() for _ in range(10)))
        Dragon(age=n).insert()
        await loom.aio.close()

    def work(n: int) -> None:
        try:
            asyncio.run(main(n))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert 6 == len(clients)
    assert 66 == Dragon.count({})
    loom.close()


def test_a_coroutine_made_outside_of_a_loop(db: str, server: Server) -> None:
    """An operation finds its client when it is awaited, not when it is called."""
    loom.connect(server.uri, db=db)
    waiting = Dragon(name="Burt").aio.insert()

    async def main() -> Any:
        await waiting
        found = await Dragon.aio.one()
        await loom.aio.close()
        return found

    assert "Burt" == asyncio.run(main()).name
    loom.close()


def test_awaiting_without_a_loop(db: str, server: Server) -> None:
    """Without a loop the error says to make the blocking call."""
    loom.connect(server.uri, db=db)
    operation = Dragon.aio.one()
    with pytest.raises(NotConnected, match="running event loop"):
        operation.send(None)
    with pytest.raises(NotConnected, match="running event loop"):
        Dragon.aio.each()
    loom.close()


# Concurrency and cancellation


async def test_many_tasks_with_listeners(db: str) -> None:
    """200 operations with listeners at once do not mix up their events."""
    seen: dict[Any, Any] = {}

    @Dragon.listen("insert")
    async def before(frames: Any) -> None:
        await asyncio.sleep(0)
        frames[0].age = frames[0]._id * 2

    @Dragon.listen("inserted")
    async def after(frames: Any) -> None:
        item = Item(desc=f"of {frames[0]._id}")
        await item.aio.insert()
        seen[frames[0]._id] = item._id

    await asyncio.gather(*(Dragon(_id=n).aio.insert() for n in range(200)))

    assert {n: n * 2 for n in range(200)} == {d._id: d.age for d in await Dragon.aio.many()}
    assert 200 == len(set(seen.values())) == await Item.aio.count({})


async def test_using_in_tasks(db: str, server: Server) -> None:
    """Tasks write where their own `using` says."""

    async def write(n: int) -> None:
        with loom.using(db=f"{db}_{n % 2}"):
            await asyncio.sleep(0)
            await Dragon(age=n).aio.insert()

    try:
        await asyncio.gather(*map(write, range(20)))
        for n in range(2):
            with loom.using(db=f"{db}_{n}"):
                assert {n} == {d.age % 2 for d in await Dragon.aio.many()}
                assert 10 == await Dragon.aio.count({})
    finally:
        for n in range(2):
            server.client.drop_database(f"{db}_{n}")


async def test_cancelled_operations(db: str) -> None:
    """Cancelling a write in any moment leaves the frame true and the client usable."""
    for moment in range(10):
        await Dragon.aio.exists()
        frame = Dragon(_id=moment, name="x")
        task = asyncio.create_task(frame.aio.insert())
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await Dragon.aio.count({}) <= 10
    await Dragon(_id="after").aio.insert()
    assert await Dragon.aio.exists(Q._id == "after")


async def test_a_cancelled_listener(db: str) -> None:
    """Cancelling inside a before-listener stops the write, and no event goes on."""

    @Dragon.listen("insert")
    async def wait() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(Dragon(name="x").aio.insert())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert 0 == await Dragon.aio.count({})


async def test_a_time_limit_on_an_operation(db: str) -> None:
    """`asyncio.wait_for` ends an operation as any other coroutine."""

    reached: list[str] = []

    @Dragon.listen("inserted")
    async def wait(frames: Any) -> None:
        reached.append(frames[0].name)
        await asyncio.sleep(120)

    for limit in (0.2, 2, 20):  # a machine may be slow
        name = f"within {limit}"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(Dragon(name=name).aio.insert(), limit)
        if reached:
            break

    assert [name] == reached
    assert 1 == await Dragon.aio.count({"name": name})


async def test_closing_a_stream_from_another_task(db: str) -> None:
    """A stream may be handed to another task, which reads on and closes it."""
    await Dragon.aio.insert_many([{"age": n} for n in range(1_500)])
    stream = Dragon.aio.each(sort="age")
    assert 0 == (await stream.__anext__()).age

    async def go_on() -> int:
        frame = await stream.__anext__()
        await stream.aclose()
        return int(frame.age)

    assert 1 == await asyncio.create_task(go_on())


async def test_an_awaited_call_in_a_blocking_listener_uses_its_port(db: str) -> None:
    """Inside a blocking operation `.aio` completes at once, streams too."""
    found: list[Any] = []

    @Dragon.listen("inserted")
    async def read() -> None:
        stream = Dragon.aio.each()
        found.append(type(stream))
        found.extend([d.name async for d in stream])
        found.append(await Dragon.aio.count({}))

    Dragon(name="a").insert()

    assert [AsyncStream, "a", 1] == found


async def test_async_generators_between(db: str) -> None:
    """An operation inside an async generator of the user's is like any other."""
    await Dragon.aio.insert_many([{"age": n} for n in range(5)])

    async def ages() -> AsyncGenerator[int, None]:
        async for dragon in Dragon.aio.each(sort="age"):
            yield dragon.age

    assert [0, 1, 2, 3, 4] == [age async for age in ages()]


async def test_blocking_calls_in_awaited_listeners_are_named(db: str) -> None:
    """Every blocking method is refused in a plain listener of an awaited operation."""
    burt = Dragon(_id=1, name="Burt")
    calls: list[Any] = [
        Item.one,
        Item.many,
        Item.each,
        Item.count,
        Item.ids,
        Item.exists,
        lambda: Item.by_id(1),
        lambda: Item.by_ids([1]),
        lambda: Item.insert_many([{}]),
        lambda: Item.update_many([]),
        lambda: Item.unset_many([], "desc"),
        lambda: Item.delete_many([]),
        burt.insert,
        burt.update,
        burt.upsert,
        lambda: burt.unset("name"),
        burt.delete,
        burt.reload,
    ]
    for blocking in calls:
        listener = Dragon.listen("insert", lambda blocking=blocking: blocking() and None)
        with pytest.raises(ListenerError, match="stall"):
            await Dragon(name="x").aio.insert()
        Dragon.stop_listening("insert", listener)

    assert 0 == await Dragon.aio.count({})
