"""Transactions: what joins, what stands, what is told, in both runtimes and under faults."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

import loom
from loom import Frame, ListenerError, NotConnected, Q, TransactionError, running_transactions
from loom.frames import events

from .conftest import Commands, Runtime, Server
from .proxy import Proxy
from .zoo import Dragon, Inventory, Item, Lair


class Entry(Frame):
    """What listeners write."""

    text: str


class Stop(Exception):
    """Leaves a block."""


@asynccontextmanager
async def begun(call: Runtime, *args: Any, **options: Any) -> AsyncIterator[Any]:
    """Begin a transaction in the runtime of a test."""
    if call.is_async:
        async with loom.aio.transaction(*args, **options) as found:
            yield found
    else:
        with loom.transaction(*args, **options) as found:
            yield found


@asynccontextmanager
async def aborted(call: Runtime, *args: Any) -> AsyncIterator[Any]:
    """Begin a transaction that an exception leaves at the end of the block."""
    try:
        async with begun(call, *args) as found:
            yield found
            raise Stop
    except Stop:
        pass


async def within(call: Runtime, *calls: Callable[[], Any]) -> None:
    """Make calls in a transaction, one after the other."""
    async with begun(call):
        for made in calls:
            result = made()
            if inspect.isawaitable(result):
                await result


async def retried(call: Runtime, fn: Callable[[], Awaitable[Any]], **options: Any) -> Any:
    """Call `with_transaction` in the runtime of a test."""
    if call.is_async:
        return await loom.aio.with_transaction(fn, **options)

    def blocking() -> Any:
        try:
            fn().__await__().__next__()
        except StopIteration as stop:
            return stop.value
        raise AssertionError("a blocking call suspended")

    return loom.with_transaction(blocking, **options)


def names() -> list[str]:
    """Return the names of the dragons that everybody sees."""
    return sorted(d["name"] for d in Dragon.get_collection().find())


@pytest.fixture
def heard() -> list[Any]:
    """What `committed` told of dragons: the event and the names."""
    found: list[Any] = []
    Dragon.listen(
        "committed", lambda event, frames: found.append((event, [f.name for f in frames]))
    )
    return found


class Faults:
    """Faults of the server's, for the clients of one test."""

    def __init__(self, server: Server, app: str) -> None:
        self._admin = server.client.admin
        self._app = app

    @contextmanager
    def __call__(self, *commands: str, times: int = 1, **data: Any) -> Iterator[None]:
        """Let the next commands fail."""
        data = {"failCommands": commands, "appName": self._app, **data}
        point = {"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data}
        try:
            self._admin.command(point)
        except OperationFailure as error:
            pytest.skip(f"this deployment has no fail points: {error}")
        try:
            yield
        finally:
            self._admin.command({"configureFailPoint": "failCommand", "mode": "off"})


@contextmanager
def connected(server: Server, db: str, uri: str, **more: Any) -> Iterator[Any]:
    """Connect Loom with clients of this test's own."""
    options = {
        "appName": db,
        "event_listeners": [server.commands],
        "heartbeatFrequencyMS": 500,
        "tz_aware": True,
        **more,
    }
    client: MongoClient[Any] = MongoClient(uri, **options)

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(uri, **options)

    aio = server.loop.run_until_complete(make())
    yield loom.connect(client, aio=aio, db=db, reference_chunk=25)
    client.close()
    server.loop.run_until_complete(aio.close())


@pytest.fixture
def fail(server: Server, db: str) -> Iterator[Faults]:
    """`with fail("insert", errorCode=...)`: the next such command of this test fails."""
    with connected(server, db, server.uri):
        yield Faults(server, db)


@pytest.fixture
def proxy(server: Server, db: str) -> Iterator[Proxy]:
    """A proxy through which Loom reaches the server."""
    address = server.client.address
    assert address is not None
    found = Proxy(address, batch=100_000)
    with connected(server, db, f"mongodb://127.0.0.1:{found.port}/?directConnection=true"):
        yield found
    found.close()


TRANSIENT = {"errorLabels": ["TransientTransactionError"]}
UNKNOWN = {"errorLabels": ["UnknownTransactionCommitResult"]}

# What joins


async def everything(call: Runtime) -> None:
    """Make every kind of call once."""
    burt = Dragon(name="Burt", age=1, lair=Lair(name="Cave", inventory=Inventory(gold=1)))
    await call(burt).insert()
    ring = Item(desc="ring")
    await call(ring).save()
    burt.loot = [ring]
    burt.nemesis = burt
    await call(burt).save()
    await call(burt).update("name")
    await call(burt).inc("age")
    await call(burt).change({"$set": {"breed": "Cave"}})
    await call(burt).unset("breed")
    await call(burt).upsert()
    await call(Dragon(_id=5, name="Ray")).upsert()
    before = len(await call(Dragon).many(Q.name == "Old"))
    many = await call(Dragon).insert_many([{"name": f"d{n}"} for n in range(60)])
    await call(Dragon).update_many(many, "name")
    await call(Dragon).unset_many(many[:2], "age")
    await call(Dragon).delete_many(many[:2])
    await call(Dragon).take(Q.name == "d5", {"$set": {"age": 3}})
    await call(Item).cascade(Item, "previous_owner", [ring])
    await call(Dragon).nullify(Dragon, "nemesis", [burt])
    await call(Item).pull(Dragon, "loot", [ring])
    await call(many[3]).delete()
    projection = {"loot": {"$ref": Item}, "nemesis": {"$ref": Dragon}}
    total = before + 59
    assert total == await call(Dragon).count()
    assert total == await call(Dragon).count({})
    assert total == len(await call(Dragon).many(projection=projection))
    assert 58 == len(await call(Dragon).by_ids([d._id for d in many[2:]] + [5]))
    assert await call(Dragon).exists(Q.name == "Ray")
    assert total == len(await call(Dragon).ids())
    assert "Burt" == (await call(Dragon).one(Q.name == "Burt", projection=projection)).name
    assert total == len([d async for d in call(Dragon).each(batch_size=7)])
    await call(burt).reload()


async def test_every_call_joins(call: Runtime, commands: Commands) -> None:
    """All commands of the block belong to one transaction, and nobody sees it before its end."""
    async with begun(call):
        await everything(call)
        sent = list(commands.bodies)
        assert [] == names()
    assert "commitTransaction" == commands.names[-1]
    assert 59 == len(names())
    assert 30 < len(sent)
    assert [False] * len(sent) == [body.get("autocommit") for body in sent]
    assert 1 == len({body["txnNumber"] for body in sent})


async def test_nothing_of_an_aborted_transaction_is_stored(call: Runtime) -> None:
    """An exception that leaves the block, of whatever kind, undoes all of it."""
    old = Dragon(_id=1, name="Old", age=1)
    await call(old).insert()
    await call(Item(_id=1)).insert()

    def leave(kind: type[BaseException]) -> None:
        raise kind

    for kind in (Stop, KeyboardInterrupt):
        with pytest.raises(kind):
            await within(
                call, lambda: everything(call), call(old).delete, lambda kind=kind: leave(kind)
            )

        assert [{"_id": 1, "name": "Old", "age": 1}] == list(Dragon.get_collection().find())
        assert 1 == Item.count({})


async def test_an_empty_transaction_sends_nothing(call: Runtime, commands: Commands) -> None:
    """The server hears of a transaction with its first command."""
    async with begun(call):
        pass

    assert [] == commands.names


async def test_options_of_a_transaction(call: Runtime, commands: Commands) -> None:
    """Options are those of PyMongo's `start_transaction`, and checked as there."""
    options: dict[str, Any] = {
        "read_concern": ReadConcern("snapshot"),
        "write_concern": WriteConcern("majority"),
        "max_commit_time_ms": 5_000,
    }
    async with begun(call, **options):
        await call(Dragon(name="a")).insert()
    first, last = commands.bodies
    assert "snapshot" == first["readConcern"]["level"]
    assert (5_000, {"w": "majority"}) == (last["maxTimeMS"], last["writeConcern"])
    commands.clear()

    async def insert() -> int:
        await call(Dragon(name="b")).insert()
        return 7

    assert 7 == await retried(call, insert, **options)
    assert {"w": "majority"} == commands.bodies[-1]["writeConcern"]
    with pytest.raises(ConfigurationError, match="unacknowledged"):
        async with begun(call, write_concern=WriteConcern(0)):
            await call(Dragon(name="c")).insert()
    assert ["a", "b"] == names()


@pytest.fixture
def other(server: Server, db: str) -> Iterator[Any]:
    """A second connection, while Loom has the usual one; the collections are there."""
    for name in ("Dragon", "Other"):
        server.client[db].create_collection(name)
    with connected(server, db, server.uri) as found:
        loom.connect(server.client, aio=server.aio, db=db)
        yield found


async def test_other_clients_do_not_join(call: Runtime, db: str, other: Any) -> None:
    """A call through another client stands for itself."""

    class Other(Frame):
        name: str

    Other._client = other
    async with aborted(call):
        await call(Dragon(name="Burt")).insert()
        await call(Other(name="x")).insert()
        assert 1 == await call(Other).count()
        with loom.using(other, db=db):
            await call(Dragon(name="Ray")).insert()
    assert ["Ray"] == names()
    assert 1 == Other.count({})
    async with begun(call, Other):
        await call(Other(name="y")).insert()
        await call(Dragon(name="Cid")).insert()
        assert 1 == Other.get_collection().count_documents({})
        assert ["Cid", "Ray"] == names()
    async with begun(call, other) as found:
        await call(Other(name="z")).insert(session=found.session)
    assert 3 == Other.count({})
    with loom.using(other):
        async with aborted(call):
            await call(Other(name="z")).insert()
    assert 3 == Other.count({})


@pytest.mark.parametrize("wrong", [5, "mongodb://localhost", Dragon(name="x")])
async def test_what_is_no_client(call: Runtime, wrong: Any) -> None:
    """Anything else than a client, a Connection or a class is refused."""
    with pytest.raises(NotConnected, match=r"transaction: expected a MongoClient"):
        async with begun(call, wrong):
            pass


async def test_blocks_of_using_inside(call: Runtime, db: str, server: Server) -> None:
    """Another database of the same client joins."""
    other = f"{db}_other"
    try:
        async with aborted(call):
            with loom.using(db=other):
                await call(Dragon(name="a")).insert()
        assert 0 == server.client[other].Dragon.count_documents({})
        async with begun(call):
            with loom.using(db=other), Dragon.with_options(read_concern=ReadConcern("local")):
                await call(Dragon(name="a")).insert()
        assert 1 == server.client[other].Dragon.count_documents({})
    finally:
        server.client.drop_database(other)


async def test_a_session_of_the_callers(call: Runtime, server: Server) -> None:
    """`session=` goes before the block's, and the block's own may be given too."""
    await call(Dragon(name="first")).insert()
    async with aborted(call) as found:
        session = (server.aio if call.is_async else server.client).start_session()
        await call(Dragon(name="stays")).insert(session=session)
        await call(Dragon(name="goes")).insert(session=found.session)
        assert 2 <= await call(Dragon).count(session=found.session)
        ended = session.end_session()
        if call.is_async:
            await ended

    assert ["first", "stays"] == names()


async def test_driver_calls_join_with_its_session(call: Runtime) -> None:
    """What is called on the driver belongs to the transaction when it gets its session."""
    collection = call(Dragon).get_collection() if call.is_async else Dragon.get_collection()
    async with aborted(call) as found:
        done = collection.insert_one({"name": "raw"}, session=found.session)
        if call.is_async:
            await done
        assert 1 == await call(Dragon).count()

    assert [] == names()


# Where calls are refused


async def test_nested(call: Runtime) -> None:
    """A transaction inside another is refused, whatever begins it."""
    with pytest.raises(TransactionError, match="expected no transaction around it, got one that"):
        await within(call, call(Dragon(name="a")).insert, lambda: within(call))
    async with begun(call):

        async def nothing() -> None:
            pass

        with pytest.raises(TransactionError, match=r"with_transaction: expected no transaction"):
            await retried(call, nothing)
        await call(Dragon(name="b")).insert()

    assert ["b"] == names()


def test_other_threads(db: str) -> None:
    """A thread that got the context is refused; one that did not get it stands for itself."""
    refused: list[Exception] = []

    def work() -> None:
        for write in (Dragon(name="x").insert, Dragon.count, lambda: list(Dragon.each())):
            try:
                write()
            except TransactionError as error:
                refused.append(error)

    Dragon.get_db().create_collection("Dragon")
    with loom.transaction():
        Dragon(name="a").insert()
        context = contextvars.copy_context()
        for target in (lambda: context.run(work), Dragon(name="b").insert):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert 3 == len(refused)
    assert "Dragon: expected calls in the task and thread that began the" in str(refused[0])
    assert ["a", "b"] == names()
    context.run(work)  # in the thread of the transaction, but after it
    assert "expected a transaction that is running, got one that has ended" in str(refused[-1])
    assert 6 == len(refused)


def test_other_processes(server: Server, db: str) -> None:
    """A forked process is refused, and leaves the transaction to its parent."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    code = f"""
import os, loom
from pymongo import MongoClient
loom.connect(MongoClient({server.uri!r}), db={db!r})
class Dragon(loom.Frame):
    name: str
refused = []
with loom.transaction():
    Dragon(name="a").insert()
    pid = os.fork()
    if not pid:
        try:
            Dragon(name="b").insert()
        except loom.TransactionError:
            refused.append(1)
    else:
        os.waitpid(pid, 0)
print(Dragon.count({{}}), [d.name for d in Dragon.many()])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(loom.__file__).parents[1])},
    )

    assert "1 ['a']" == done.stdout.strip()
    assert "expected calls in the task and thread that began the transaction" in done.stderr
    assert ["a"] == names()


async def test_other_tasks(db: str) -> None:
    """A task that was started inside is refused, also when the block has ended."""
    proceed = asyncio.Event()

    async def work() -> None:
        with pytest.raises(TransactionError, match="another that inherited it"):
            await Dragon(name="x").aio.insert()
        with pytest.raises(TransactionError, match="expected no transaction around it"):
            await loom.aio.with_transaction(proceed.wait)

    async def late() -> None:
        await proceed.wait()
        await work()

    async with loom.aio.transaction():
        await Dragon(name="a").aio.insert()
        await asyncio.create_task(work())
        with pytest.raises(TransactionError):
            await asyncio.gather(Dragon.aio.count(), Dragon.aio.one())
        waiting = asyncio.create_task(late())
    proceed.set()
    await waiting

    assert ["a"] == names()


async def test_other_runtime(call: Runtime) -> None:
    """A blocking call in an awaited transaction is refused, and the reverse."""
    b = Dragon(name="b")
    other = b.insert if call.is_async else lambda: b.aio.insert().send(None)
    with pytest.raises(TransactionError, match="make all calls of the block in one way"):
        await within(call, call(Dragon(name="a")).insert, other)

    assert [] == names()


async def test_a_block_left_elsewhere(db: str) -> None:
    """A block that another task leaves is aborted, and told so."""
    block = loom.aio.transaction()

    async def enter() -> None:
        await block.__aenter__()
        await Dragon(name="a").aio.insert()

    await asyncio.create_task(enter())
    with pytest.raises(TransactionError, match="to be left in the task and thread that entered"):
        await block.__aexit__(None, None, None)

    assert [] == names()


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_transaction_ended_through_its_session(call: Runtime, goes_on: bool) -> None:
    """Who ends it by hand is told; a later call does not write outside of it."""

    async def work() -> None:
        async with begun(call) as found:
            await call(Dragon(name="a")).insert()
            ended = found.session.abort_transaction()
            if call.is_async:
                await ended
            if goes_on:
                await call(Dragon(name="b")).insert()

    with pytest.raises(TransactionError, match="got one that was ended through its session"):
        await work()

    assert [] == names()


async def test_with_transaction_takes_the_function_of_its_runtime(db: str) -> None:
    """A coroutine given to the blocking one is refused, and nothing is stored."""

    async def awaited() -> None:
        await Dragon(name="a").aio.insert()

    with pytest.raises(TransactionError, match=r"write `await loom\.aio\.with_transaction"):
        loom.with_transaction(awaited)
    with pytest.raises(TransactionError, match=r"write `await loom\.aio\.with_transaction"):
        loom.with_transaction(lambda: awaited())
    assert 5 == await loom.aio.with_transaction(lambda: 5)  # type: ignore[arg-type,return-value]
    assert [] == names()


# Streams


async def test_streams(call: Runtime) -> None:
    """A stream belongs to where it was made: inside it is read inside, outside it does not join."""
    await call(Dragon).insert_many([{"name": f"{n:04}"} for n in range(2_500)])
    outside = call(Dragon).each(sort="name")
    assert "0000" == (await outside.__anext__()).name
    async with begun(call):
        await call(Dragon).insert_many([{"name": "new"}])
        inside, unread = call(Dragon).each(sort="name"), call(Dragon).each()
        assert 2_501 == len([d async for d in call(Dragon).each()])
        assert "0000" == (await inside.__anext__()).name
        assert 2_499 == len([d async for d in outside])
    with pytest.raises(TransactionError, match="read it in the block, or make it after"):
        async for _ in inside:
            pass
    with pytest.raises(TransactionError, match="read it in the block, or make it after"):
        await unread.__anext__()
    await inside.aclose()


# Listeners


async def test_calls_of_listeners_join(call: Runtime) -> None:
    """What listeners write, and what they hand back, is part of it."""
    sessions: list[Any] = []

    @Dragon.listen("inserted")
    async def log(frames: Any, session: Any) -> None:
        sessions.append(session)
        await Entry(text="plain").aio.insert()
        await Entry(text="given").aio.insert(session=session)

    Dragon.listen("deleted", lambda frames: Dragon.cascade(Item, "loot", frames))
    ring = Item(desc="ring")
    await call(ring).insert()
    async with aborted(call) as found:
        burt = Dragon(name="Burt", loot=[ring])
        await call(burt).insert()
        assert [found.session] == sessions
        assert (2, 0) == (await call(Entry).count(), Entry.get_collection().count_documents({}))
        await call(burt).delete()
        assert 0 == await call(Item).count()

    assert (0, 1) == (Entry.count({}), Item.count({}))


async def test_an_after_listener_that_raises_aborts(call: Runtime, heard: list[Any]) -> None:
    """Its exception leaves the block, and with it goes the write."""

    @Dragon.listen("inserted")
    def complain() -> None:
        raise Stop

    with pytest.raises(Stop):
        await within(call, call(Dragon(name="a")).insert)

    assert ([], []) == (names(), heard)


async def test_a_listener_may_begin_a_transaction(call: Runtime) -> None:
    """An async listener's transaction is of the runtime of the operation."""
    attempts: list[int] = []

    @Dragon.listen("inserted")
    async def log(frames: Any) -> None:
        async with loom.aio.transaction():
            await Entry(text="a").aio.insert()

        async def more() -> None:
            attempts.append(1)
            await Entry(text="b").aio.insert()

        await loom.aio.with_transaction(more)

    await call(Dragon(name="Burt")).insert()

    assert (2, [1]) == (Entry.count({}), attempts)


# What is sent after the commit


async def test_committed_outside_of_a_transaction(call: Runtime) -> None:
    """It follows every after-event at once, with what that one carried."""
    told: list[Any] = []
    for event in ("inserted", "updated", "deleted"):
        Dragon.listen(event, lambda event: told.append(event))
    Dragon.listen(
        "committed",
        lambda sender, event, frames, fields, changes, session: told.append(
            (sender, event, len(frames), fields, changes, session)
        ),
    )
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    await call(burt).update("age")
    await call(burt).inc("age")
    await call(burt).delete()
    await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])

    assert told == [
        "inserted",
        (Dragon, "inserted", 1, (), (), None),
        "updated",
        (Dragon, "updated", 1, ("age",), [{"$set": {"age": 1}}], None),
        "updated",
        (Dragon, "updated", 1, ("age",), [{"$inc": {"age": 1}}], None),
        "deleted",
        (Dragon, "deleted", 1, (), (), None),
        "inserted",
        (Dragon, "inserted", 2, (), (), None),
    ]


async def test_committed_alone_is_heard(call: Runtime, heard: list[Any]) -> None:
    """It needs no other listener, and everyday updates send it too."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    await call(burt).update("name")
    await call(burt).unset("age")
    await call(Dragon).update_many([burt], "name")
    await call(Dragon).delete_many([burt])

    assert [(e, ["Burt"]) for e in ("inserted", *["updated"] * 3, "deleted")] == heard
    assert [] == events.listening("inserted", Dragon)
    assert 1 == len(events.listening("committed", Dragon))


async def test_committed_waits_for_the_commit(call: Runtime, heard: list[Any]) -> None:
    """Inside it waits, in order; outside of the block it is everybody's data that is told of."""
    seen: list[Any] = []
    Dragon.listen("committed", lambda: seen.append(names()))
    async with begun(call):
        burt = Dragon(name="Burt")
        await call(burt).insert()
        await call(burt).update("name")
        await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])
        assert [] == heard

    assert [("inserted", ["Burt"]), ("updated", ["Burt"]), ("inserted", ["a", "b"])] == heard
    assert [["Burt", "a", "b"]] * 3 == seen


async def test_committed_is_not_sent_after_a_rollback(call: Runtime, heard: list[Any]) -> None:
    """What is not stored is not told, and not told later either."""
    async with aborted(call):
        await call(Dragon(name="a")).insert()
    async with begun(call):
        await call(Dragon(name="b")).insert()

    assert [("inserted", ["b"])] == heard


async def test_committed_is_sent_although_an_after_listener_raised(
    call: Runtime, heard: list[Any]
) -> None:
    """The write stands, outside at once and inside when the block caught the exception."""

    @Dragon.listen("inserted")
    def complain() -> None:
        raise Stop

    with pytest.raises(Stop):
        await call(Dragon(name="a")).insert()
    async with begun(call):
        with pytest.raises(Stop):
            await call(Dragon(name="b")).insert()

    assert [("inserted", ["a"]), ("inserted", ["b"])] == heard


async def test_listeners_of_committed_are_outside(call: Runtime, heard: list[Any]) -> None:
    """Their calls do not join, may begin a transaction, and see the block's database."""

    @Dragon.listen("committed")
    async def log(session: Any) -> None:
        assert session is None
        async with loom.aio.transaction():
            await Entry(text="x").aio.insert()

    other = "committed"
    with loom.using(db=f"{Dragon.get_db().name}_{other}"):
        name = Dragon.get_db().name
        client = Dragon.get_client()
    try:
        async with begun(call):
            await call(Dragon(name="a")).insert()
            with loom.using(db=name):
                await call(Dragon(name="b")).insert()

        assert 1 == Entry.count({})
        assert 1 == client[name].Entry.count_documents({})
        assert [("inserted", ["a"]), ("inserted", ["b"])] == heard
    finally:
        client.drop_database(name)


async def test_a_listener_of_committed_that_raises(call: Runtime, heard: list[Any]) -> None:
    """All are called; the first exception reaches the caller, with a note of what stands."""

    def first() -> None:
        raise Stop("first")

    def second() -> None:
        raise LookupError("second")

    Dragon.listen("committed", first)
    Dragon.listen("committed", second)
    with pytest.raises(Stop) as caught:
        await call(Dragon(name="a")).insert()
    assert caught.value.__notes__ == [
        "raised by a listener of 'committed': the write stands",
        "another listener of 'inserted' failed too: LookupError('second')",
    ]
    with pytest.raises(Stop) as caught:
        await within(call, call(Dragon(name="b")).insert)
    assert (
        "raised by a listener of 'committed': the transaction is committed"
        == (caught.value.__notes__[0])
    )

    async def insert() -> None:
        await call(Dragon(name="c")).insert()

    with pytest.raises(Stop):
        await retried(call, insert)
    assert ["a", "b", "c"] == names()
    assert [("inserted", [n]) for n in "abc"] == heard


async def test_committed_is_muted(call: Runtime, heard: list[Any]) -> None:
    """By its name and with everything; muting the after-event leaves it."""
    with loom.muted("committed"):
        await call(Dragon(name="a")).insert()
    with loom.muted():
        await call(Dragon(name="b")).insert()
        async with begun(call):
            await call(Dragon(name="c")).insert()
    with loom.muted("inserted"):
        await call(Dragon(name="d")).insert()

    assert [("inserted", ["d"])] == heard


async def test_a_suspending_listener_of_committed(db: str) -> None:
    """In a blocking call it is refused, and what is written stands."""

    @Dragon.listen("committed")
    async def wait() -> None:
        await asyncio.sleep(1)

    with pytest.raises(ListenerError, match=r"\(committed, the write stands\)"):
        Dragon(name="a").insert()

    assert ["a"] == names()


async def test_sessions_that_loom_does_not_lead(call: Runtime, server: Server) -> None:
    """A transaction of the caller's own session sends no `committed`, and says so."""
    told: list[int] = []
    Dragon.listen("committed", lambda: told.append(1))
    session = (server.aio if call.is_async else server.client).start_session()

    async def done(result: Any) -> None:
        if call.is_async:
            await result

    await call(Dragon(name="a")).insert(session=session)
    started = session.start_transaction()
    await done(started)
    with pytest.warns(RuntimeWarning, match=r"begin it with loom\.transaction\(\)"):
        await call(Dragon(name="b")).insert(session=session)
    await done(session.abort_transaction())
    await done(session.end_session())

    assert ([1], ["a"]) == (told, names())


# When the server ends it


async def test_an_error_of_the_server_that_is_caught(call: Runtime, heard: list[Any]) -> None:
    """The server has aborted: later calls are refused, and the end of the block raises."""
    Dragon.get_collection().create_index("name", unique=True)
    await call(Dragon(name="taken")).insert()
    heard.clear()

    async def catch() -> None:
        with pytest.raises(loom.Duplicate):
            await call(Dragon(name="taken")).insert()
        for refused in (
            call(Dragon(name="b")).insert,
            call(Dragon).count,
            call(Dragon).many,
            call(Dragon).one,
            lambda: call(Dragon).each().__anext__(),
        ):
            with pytest.raises(TransactionError, match="let the error leave the block"):
                await refused()

    match = r"ended with an error of the server \(Dup"
    with pytest.raises(TransactionError, match=match) as caught:
        await within(call, call(Dragon(name="a")).insert, catch)
    assert isinstance(caught.value.__cause__, DuplicateKeyError)
    attempts = []

    async def insert() -> None:
        attempts.append(1)
        await call(Dragon(name="a")).insert()
        with pytest.raises(loom.BulkError):
            await call(Dragon).insert_many([{"name": "b"}, {"name": "taken"}], ordered=False)

    with pytest.raises(TransactionError, match="ended with an error of the server"):
        await retried(call, insert)

    assert ([1], ["taken"], []) == (attempts, names(), heard)


async def test_errors_of_loom_end_nothing(call: Runtime) -> None:
    """What was refused before it was sent, and what the server answered, can be caught."""
    async with begun(call):
        await call(Dragon(name="a")).insert()
        with pytest.raises(loom.Gone):
            await call(Dragon(_id=1, name="b")).update("name")
        with pytest.raises(loom.EncodeError):
            await call(Dragon(name=object())).insert()
        with pytest.raises(loom.NotFound):
            await call(Dragon).one(Q.name == "x", required=True)

    assert ["a"] == names()


async def test_a_filter_that_the_server_refuses(call: Runtime) -> None:
    """The error is that of the server, not that of a second try."""
    with pytest.raises(OperationFailure, match=r"\$nonsense"):
        await within(
            call,
            call(Dragon(name="a")).insert,
            lambda: call(Dragon).many({"age": {"$nonsense": 1}}),
        )

    assert [] == names()


async def test_a_standalone_server(call: Runtime, fail: Faults) -> None:
    """A server without transactions is named as such, with the way out."""
    commands = {
        "insert": call(Dragon(name="a")).insert,
        "find": call(Dragon).many,
        "aggregate": call(Dragon).count,
        "findAndModify": lambda: call(Dragon).take({}, {"$set": {"age": 1}}),
    }
    message = "expected a replica set or a sharded cluster, got a server without transactions"
    for command, made in commands.items():
        with (
            fail(command, errorCode=20),
            pytest.raises(TransactionError, match=message) as caught,
        ):
            await within(call, made)
        assert isinstance(caught.value.__cause__, OperationFailure)
        with fail(command, errorCode=20), pytest.raises(TransactionError, match=message):
            await retried(call, made)

    assert [] == names()


class Undone(list[int]):
    """What a transaction took back."""

    async def note(self, call: Runtime, frame: Any) -> None:
        """Insert a frame in a transaction that notes something."""
        async with begun(call) as found:
            found.on_rollback(lambda: self.append(1))
            await call(frame).insert()


async def test_a_commit_that_fails(call: Runtime, fail: Faults, heard: list[Any]) -> None:
    """A commit that the server refuses leaves nothing, and says so."""
    undone = Undone()
    for code in (251, 112):
        with (
            fail("commitTransaction", errorCode=code, **TRANSIENT),
            pytest.raises(OperationFailure) as caught,
        ):
            await undone.note(call, Dragon(name="a"))
        assert ["the transaction is not committed: nothing of it is stored"] == (
            caught.value.__notes__
        )

    assert ([], [], [1, 1]) == (names(), heard, undone)


async def test_a_commit_whose_write_concern_fails(
    call: Runtime, fail: Faults, heard: list[Any]
) -> None:
    """It is committed: the events are sent, nothing is taken back, the caller is told."""
    undone = Undone()
    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    with (
        fail("commitTransaction", writeConcernError=concern),
        pytest.raises(WriteConcernError) as caught,
    ):
        await undone.note(call, Dragon(name="a"))

    assert ["the transaction is committed, its write concern failed"] == caught.value.__notes__
    assert ([("inserted", ["a"])], [], ["a"]) == (heard, undone, names())


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_lost_at_the_commit(
    call: Runtime, proxy: Proxy, heard: list[Any], done: bool, times: int
) -> None:
    """The commit is sent until it is known: all is stored, once, and told once."""
    await call(Dragon(_id=1, name="a", age=0)).insert()
    heard.clear()
    attempts = []

    async def work() -> None:
        attempts.append(1)
        await call(await call(Dragon).by_id(1)).inc("age")
        await call(Dragon(name="b")).insert()

    steps = ["after" if done else "before"] * times
    with proxy.plan("commitTransaction", *steps):
        async with begun(call):
            await work()
        assert times + 1 == proxy.seen
    with proxy.plan("commitTransaction", *steps):
        await retried(call, work)
        assert times + 1 == proxy.seen

    assert [1, 1] == attempts
    assert 2 == (await call(Dragon).by_id(1)).age
    assert ["a", "b", "b"] == names()
    assert [("updated", ["a"]), ("inserted", ["b"])] * 2 == heard


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_a_commit_of_unknown_result(
    call: Runtime, proxy: Proxy, heard: list[Any], done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it stays unknown the caller is told so; nothing is taken back, nothing is sent."""
    monkeypatch.setattr(running_transactions, "COMMIT_SECONDS", 0.0)
    undone = Undone()
    burt = Dragon(name="Burt")
    steps = ["after" if done else "before"] * 2
    with proxy.plan("commitTransaction", *steps), pytest.raises(AutoReconnect) as caught:
        await undone.note(call, burt)

    assert "whether the transaction is committed is not known" in caught.value.__notes__[0]
    assert (["Burt"] if done else []) == names()
    assert burt._id is not None
    assert ([], []) == (heard, undone)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("command", ["insert", "update", "find", "findAndModify", "delete"])
async def test_a_connection_lost_inside(
    call: Runtime, proxy: Proxy, heard: list[Any], command: str, done: bool
) -> None:
    """The block leaves nothing; `with_transaction` begins anew, and all is stored once."""
    await call(Dragon(_id=1, name="a", age=0)).insert()
    await call(Dragon(_id=2, name="old")).insert()
    attempts = []

    async def work() -> None:
        attempts.append(1)
        burt = await call(Dragon).one(Q.name == "a")
        await call(burt).inc("age")
        burt.breed = "Cave"
        await call(burt).save()
        await call(Dragon(name="b")).insert()
        await call(await call(Dragon).by_id(2)).delete()

    step = "after" if done else "before"
    with proxy.plan(command, step), pytest.raises(AutoReconnect) as caught:
        await within(call, work)
    assert "the transaction is aborted: nothing of it is stored" == caught.value.__notes__[-1]
    assert ["a", "old"] == names()
    assert 0 == (await call(Dragon).by_id(1)).age
    heard.clear()
    with proxy.plan(command, step):
        await retried(call, work)

    assert 3 == len(attempts)
    burt = await call(Dragon).by_id(1)
    assert (1, "Cave") == (burt.age, burt.breed)
    assert ["a", "b"] == names()
    told = [("updated", ["a"]), ("updated", ["a"]), ("inserted", ["b"]), ("deleted", ["old"])]
    assert told == heard


@pytest.mark.parametrize(
    "command", ["insert", "update", "find", "findAndModify", "aggregate", "commitTransaction"]
)
async def test_transient_errors_are_tried_again(
    call: Runtime, fail: Faults, heard: list[Any], command: str
) -> None:
    """Whatever is refused for now makes the function run again; it is all done once."""
    await call(Dragon(_id=1, name="a", age=0)).insert()
    heard.clear()
    attempts = []

    async def work() -> int:
        attempts.append(1)
        burt = await call(Dragon).by_id(1)
        await call(burt).inc("age")
        await call(Dragon).update_many([burt], "name")
        await call(Dragon).insert_many([{"name": "b"}, {"name": "c"}])
        return await call(Dragon).count()

    with fail(command, times=2, errorCode=112, **TRANSIENT):
        assert 3 == await retried(call, work)

    assert 3 == len(attempts)
    assert 1 == (await call(Dragon).by_id(1)).age
    assert [("updated", ["a"]), ("updated", ["a"]), ("inserted", ["b", "c"])] == heard


async def test_transient_errors_that_are_caught(call: Runtime, fail: Faults) -> None:
    """Who catches one, or makes another of it, keeps nobody from trying again."""
    attempts = []

    async def work() -> None:
        attempts.append(1)
        try:
            await call(Dragon(name="a")).insert()
        except PyMongoError:
            if len(attempts) == 1:
                await call(Dragon(name="b")).insert()

    with fail("insert", times=2, errorCode=112, **TRANSIENT):
        await retried(call, work)

    assert (3, ["a"]) == (len(attempts), names())


async def test_an_unknown_result_is_sent_again(call: Runtime, fail: Faults) -> None:
    """The function is not run again for it."""
    attempts = []

    async def work() -> None:
        attempts.append(1)
        await call(Dragon(name="a")).insert()

    with fail("commitTransaction", times=2, errorCode=91, **UNKNOWN):
        await retried(call, work)
    with fail("commitTransaction", times=2, errorCode=91, **UNKNOWN):
        async with begun(call):
            await work()

    assert ([1, 1], ["a", "a"]) == (attempts, names())


async def test_what_is_taken_back(call: Runtime, fail: Faults) -> None:
    """Functions are called for each attempt that fails, the last one first; not for the other."""
    undone: list[str] = []
    attempts = []

    async def work() -> None:
        attempts.append(len(attempts))
        port = loom.frames.port.ASYNC if call.is_async else loom.frames.port.SYNC
        for name in "ab":
            port.on_rollback(Dragon, {}, lambda name=name: undone.append(f"{name}{attempts[-1]}"))
        await call(Dragon(name="a")).insert()

    with fail("insert", times=2, errorCode=112, **TRANSIENT):
        await retried(call, work)
    assert ["b0", "a0", "b1", "a1"] == [f"{u[0]}{int(u[1])}" for u in undone]


async def test_taking_back_that_fails(call: Runtime) -> None:
    """The others are called, and the error of the block is told of it."""
    undone: list[str] = []

    def fails() -> None:
        raise LookupError("lost")

    async def work() -> None:
        async with begun(call) as found:
            found.on_rollback(lambda: undone.append("first"))
            found.on_rollback(fails)
            raise Stop

    with pytest.raises(Stop) as caught:
        await work()

    assert ["taking back what was noted failed, too: LookupError('lost')"] == caught.value.__notes__
    assert ["first"] == undone


# Many at once


def test_many_threads(db: str) -> None:
    """Read, add, write: with_transaction loses none of them."""
    Dragon(_id=1, name="a", age=0).insert()
    attempts = []

    def add() -> None:
        attempts.append(1)
        burt = Dragon.by_id(1, required=True)
        burt.age += 1
        burt.update("age")

    def work() -> None:
        for _ in range(5):
            loom.with_transaction(add)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 40 == Dragon.by_id(1, required=True).age
    assert len(attempts) >= 40


async def test_many_tasks(db: str) -> None:
    """The same in tasks, each with a transaction of its own."""
    await Dragon(_id=1, name="a", age=0).aio.insert()

    async def add() -> None:
        burt = await Dragon.aio.by_id(1, required=True)
        burt.age += 1
        await burt.aio.update("age")

    async def work() -> None:
        for _ in range(5):
            await loom.aio.with_transaction(add)

    await asyncio.gather(*(work() for _ in range(8)))

    assert 40 == (await Dragon.aio.by_id(1, required=True)).age


# Cancellation


async def test_cancelled_inside(db: str, heard: list[Any]) -> None:
    """A task that is cancelled leaves nothing."""
    entered = asyncio.Event()

    async def work() -> None:
        async with loom.aio.transaction():
            await Dragon(name="a").aio.insert()
            entered.set()
            await asyncio.sleep(60)

    async def again() -> None:
        await Dragon(name="b").aio.insert()
        entered.set()
        await asyncio.sleep(60)

    for target in (work(), loom.aio.with_transaction(again)):
        entered.clear()
        task = asyncio.create_task(target)
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert ([], []) == (names(), heard)
    await Dragon(name="c").aio.insert()
    assert [("inserted", ["c"])] == heard


def of_task(error: BaseException) -> Any:
    """Return the error that ended a cancelled task; Python 3.10 shows its awaiter another one."""
    return error if sys.version_info >= (3, 11) else error.__context__


def cancel_at_commit(
    task: asyncio.Task[Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancel a task as soon as its commit is under way, however slow the machine is."""
    note = server.commands.started

    def noted(event: Any) -> None:
        note(event)
        if event.command_name == "commitTransaction":
            # Before anything that comes from the server is looked at.
            asyncio.get_running_loop().call_soon(task.cancel)

    monkeypatch.setattr(server.commands, "started", noted)


@pytest.mark.parametrize("refused", [False, True], ids=["done", "refused"])
async def test_cancelled_at_the_commit(
    server: Server,
    db: str,
    fail: Faults,
    heard: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    refused: bool,
) -> None:
    """A task that is cancelled while the commit is under way is told how it ended."""
    undone = Undone()
    work = undone.note(Runtime("awaited"), Dragon(name="a"))
    data = {"errorCode": 251, **TRANSIENT} if refused else {}
    with fail("commitTransaction", blockConnection=True, blockTimeMS=300, **data):
        task = asyncio.create_task(work)
        cancel_at_commit(task, server, monkeypatch)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    if refused:
        assert ([], [], [1]) == (names(), heard, undone)
        assert "not committed" in of_task(caught.value).__cause__.__notes__[0]
    else:
        assert (["a"], [("inserted", ["a"])], []) == (names(), heard, undone)
        assert ["the transaction is committed"] == of_task(caught.value).__notes__


async def test_cancelled_at_a_commit_that_does_not_end(
    server: Server, db: str, fail: Faults, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for forever; then nothing is known."""
    monkeypatch.setattr(running_transactions, "GRACE_SECONDS", 0.05)
    undone = Undone()
    work = undone.note(Runtime("awaited"), Dragon(name="a"))
    with fail("commitTransaction", blockConnection=True, blockTimeMS=1_000):
        task = asyncio.create_task(work)
        cancel_at_commit(task, server, monkeypatch)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task

    notes = of_task(caught.value).__cause__.__notes__
    assert "whether the transaction is committed is not known" in notes[0]
    assert ([], []) == (heard, undone)
    await asyncio.sleep(1)


def test_interrupted_at_the_commit(db: str, heard: list[Any], monkeypatch: Any) -> None:
    """Who interrupts a commit is told that nothing is known."""
    undone: list[int] = []

    def work() -> None:
        with loom.transaction() as found:
            found.on_rollback(lambda: undone.append(1))
            Dragon(name="a").insert()
            monkeypatch.setattr(found.session, "commit_transaction", _interrupt)

    with pytest.raises(KeyboardInterrupt) as caught:
        work()

    assert "whether the transaction is committed is not known" in caught.value.__notes__[0]
    assert ([], []) == (heard, undone)


def _interrupt() -> None:
    raise KeyboardInterrupt


async def test_a_client_of_the_drivers(call: Runtime, server: Server, db: str) -> None:
    """A ready client may be given, and so may a class that has one."""
    client: Any = server.aio if call.is_async else server.client

    class Bare(Frame):
        name: str

    Bare._client, Bare._db = client, db
    for given in (client, Bare):
        async with aborted(call, given):
            await call(Bare(name="x")).insert()
            assert 1 == await call(Bare).count()

    assert 0 == server.client[db].Bare.count_documents({})


async def test_what_cannot_be_sent_ends_nothing(call: Runtime) -> None:
    """What the driver refuses to send leaves the transaction as it is."""
    async with begun(call):
        await call(Dragon(name="a")).insert()
        with pytest.raises(loom.EncodeError, match="at most 16 MB"):
            await call(Dragon(name="x" * 17_000_000)).insert()
        assert 1 == await call(Dragon).count()

    assert ["a"] == names()


async def test_a_function_that_raises(call: Runtime, heard: list[Any]) -> None:
    """Its exception reaches the caller, whatever it is, and nothing is stored or told."""
    undone: list[int] = []
    port = loom.frames.port.ASYNC if call.is_async else loom.frames.port.SYNC
    for error in (Stop(), WriteConcernError("made up", 64), KeyboardInterrupt(), OSError()):

        async def work(error: BaseException = error) -> None:
            port.on_rollback(Dragon, {}, lambda: undone.append(1))
            await call(Dragon(name="a")).insert()
            raise error

        with pytest.raises(type(error)) as caught:
            await retried(call, work)
        assert error is caught.value
        assert not hasattr(error, "__notes__")

    assert ([], [], [1] * 4) == (names(), heard, undone)


async def test_everything_fails_after_the_commit(call: Runtime, fail: Faults) -> None:
    """The write concern's error reaches the caller, with a note of the listener's."""

    @Dragon.listen("committed")
    def complain() -> None:
        raise LookupError("lost")

    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    with (
        fail("commitTransaction", writeConcernError=concern),
        pytest.raises(WriteConcernError) as caught,
    ):
        await within(call, call(Dragon(name="a")).insert)

    assert caught.value.__notes__ == [
        "the transaction is committed, its write concern failed",
        "a listener of 'committed' failed too: LookupError('lost')",
    ]


async def test_taking_back_before_another_attempt_that_fails(call: Runtime, fail: Faults) -> None:
    """There is no other attempt on what could not be put back."""
    attempts = []
    port = loom.frames.port.ASYNC if call.is_async else loom.frames.port.SYNC

    def fails() -> None:
        raise LookupError("lost")

    async def work() -> None:
        attempts.append(1)
        port.on_rollback(Dragon, {}, fails)
        await call(Dragon(name="a")).insert()

    with fail("insert", errorCode=112, **TRANSIENT), pytest.raises(LookupError):
        await retried(call, work)

    assert ([1], []) == (attempts, names())
