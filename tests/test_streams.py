"""`each`: bounded batches, places, progress, and no cursor left open, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from types import ModuleType
from typing import Any, ClassVar

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, CursorType, MongoClient
from pymongo.errors import AutoReconnect, CursorNotFound, ExecutionTimeout
from pymongo.monitoring import CommandListener

import loom
from loom import EncodeError, Frame, Q, StrLower
from loom.frames import opening
from loom.frames.index import Index

from .conftest import Commands, Runtime, Server
from .cursors import Opened
from .faults import fault
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


async def settle(cursors: Cursors | None = None) -> None:
    """Give the loop time to close what was dropped, more on a machine that is slow."""
    gc.collect()
    for turn in range(2_000):
        if turn >= 20 and not (cursors and cursors.open):
            break
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
        await settle(cursors)
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
        await settle(cursors)
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
        await settle(cursors)

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
        await settle(cursors)

        assert set() == cursors.open
    assert 2_500 == len(await Dragon.aio.many())


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


OPENING: list[tuple[str, Any]] = [
    ("find", lambda: _read(Dragon.aio.each(batch_size=50))),
    ("find", lambda: _read(Dragon.aio.each(resume=True))),
    ("find", lambda: Dragon.aio.many(batch_size=20)),
    ("find", lambda: Dragon.aio.filter().load_many(batch_size=20)),
    ("aggregate", lambda: Dragon.aio.filter().sample(2_400).load_many()),
    ("aggregate", lambda: _read(Dragon.aio.watch())),
]


@pytest.mark.parametrize("grace", [10.0, 0.0])
@pytest.mark.parametrize(("command", "work"), OPENING)
async def test_cancelling_the_first_query_closes_the_cursor(
    command: str,
    work: Any,
    grace: float,
    server: Server,
    db: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cursor whose query is cancelled while the server answers is closed, if it is soon."""
    monkeypatch.setattr(opening, "GRACE", grace)
    Dragon.get_collection().insert_many([{"_id": n, "age": n} for n in range(2_500)])
    cursors = Opened()
    loom.connect(server.uri, db=db, event_listeners=[cursors])
    with fault(server, command, times=1, blockConnection=True, blockTimeMS=300):
        task = asyncio.ensure_future(work())
        while command not in cursors.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await loom.aio.close()

    assert [] == [id for id in cursors.opened if id and id not in cursors.closed]
    assert len(cursors.opened) == (1 if grace else 0)


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


# Places: after= and resume=


MIXED: list[Any] = [
    *range(40),
    *(f"text {n:03}" for n in range(40)),
    *(ObjectId(f"65f0000000000000000000{n:02x}") for n in range(40)),
    True,
    None,
    float("nan"),
]


@pytest.fixture
def mixed(db: str) -> list[Any]:
    """Store dragons whose ids have many types; return these in the order of a sort."""
    Dragon.get_collection().insert_many([{"_id": id, "age": 1} for id in MIXED])
    found = Dragon.get_collection().find({}, {"_id": True}).sort("_id", 1)
    return [document["_id"] for document in found]


async def ids_of(stream: Any) -> list[Any]:
    """Return the ids that a stream brings."""
    return [frame._id async for frame in stream]


async def test_beginning_behind_an_id(call: Runtime, mixed: list[Any]) -> None:
    """`after` begins behind an `_id` of any type and goes in the order of `_id`, or against it."""
    for place in (1, 2, 41, 42, 80, 100, 121, 122):
        found = await ids_of(call(Dragon).each(after=mixed[place], batch=7))
        assert repr(mixed[place + 1 :]) == repr(found)
    backwards = await ids_of(call(Dragon).each(after=mixed[90], sort="-_id"))
    assert repr(mixed[:90][::-1]) == repr(backwards)


async def test_what_after_takes(call: Runtime, mixed: list[Any]) -> None:
    """`after` takes what `by_id` takes, and frames; filter, skip and limit hold behind it."""
    first = Dragon.by_id(ObjectId("65f000000000000000000000"), required=True)
    rest = mixed[mixed.index(first._id) + 1 :]
    assert repr(rest) == repr(await ids_of(call(Dragon).each(after=first)))
    assert repr(rest) == repr(await ids_of(call(Dragon).each(after=str(first._id))))
    some = await ids_of(call(Dragon).each(Q.age == 1, after=first, skip=2, limit=3, sort="_id"))
    assert rest[2:5] == some
    assert [] == await ids_of(call(Dragon).each(Q.age == 2, after=first))
    with pytest.raises(EncodeError, match="Dragon.each after"):
        call(Dragon).each(after=object())
    with pytest.raises(loom.MissingId, match=r"each\(after="):
        call(Dragon).each(after=Dragon(name="new"))


LOSSES: dict[str, dict[str, Any]] = {
    "cursor not found": {"errorCode": 43},
    "cursor killed": {"errorCode": 237},
    "not primary": {"errorCode": 10107},
    "connection closed": {"closeConnection": True},
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_resuming(call: Runtime, mixed: list[Any], server: Server, loss: str) -> None:
    """With `resume` a lost cursor or connection costs nothing: all come, once, in order."""
    for times in (1, 3):
        stream = call(Dragon).each(resume=True, batch=10)
        found = [(await stream.__anext__())._id for _ in range(15)]
        with fault(server, "getMore", times=times, **LOSSES[loss]):
            found += await ids_of(stream)
        assert repr(mixed) == repr(found)


async def test_resuming_at_every_step(call: Runtime, mixed: list[Any], server: Server) -> None:
    """Wherever it is lost, in either direction, all come, once, in order."""
    for sort, expected in (("_id", mixed), ("-_id", mixed[::-1])):
        for batches in range(1, 13):
            stream = call(Dragon).each(resume=True, batch=10, sort=sort)
            found = [(await stream.__anext__())._id for _ in range(10 * batches)]
            with fault(server, "getMore", times=1, errorCode=43):
                found += await ids_of(stream)
            assert repr(expected) == repr(found)


async def test_resuming_with_all_options(
    call: Runtime, mixed: list[Any], server: Server, commands: Commands
) -> None:
    """Limit, skip, filter and order are those of the whole stream, not of each part."""
    options: dict[str, Any] = {"resume": True, "batch": 10, "limit": 50, "skip": 5, "sort": "-_id"}
    stream = call(Dragon).each(Q.age == 1, **options)
    found = [(await stream.__anext__())._id for _ in range(25)]
    commands.clear()
    with fault(server, "getMore", times=1, errorCode=43):
        found += await ids_of(stream)

    assert repr(mixed[::-1][5:55]) == repr(found)
    assert "find" in commands.names
    opened = commands.bodies[commands.names.index("find")]
    assert (20, 0) == (opened["limit"], opened.get("skip", 0))


async def test_resuming_before_anything_was_read(
    call: Runtime, mixed: list[Any], server: Server
) -> None:
    """A loss before the first batch begins again from the start, with skip and all."""
    with fault(server, ["find"], times=2, closeConnection=True):
        found = await ids_of(call(Dragon).each(resume=True, skip=3))

    assert repr(mixed[3:]) == repr(found)


async def test_resuming_where_references_fail(call: Runtime, db: str, server: Server) -> None:
    """What is lost while references are fetched is fetched again with its batch."""
    item = Item(desc="ring")
    await call(item).insert()
    Dragon.get_collection().insert_many([{"_id": n, "loot": [item._id]} for n in range(25)])
    stream = call(Dragon).each(projection={"loot": {"$ref": Item}}, resume=True, batch=10)
    found = [await stream.__anext__() for _ in range(10)]
    with fault(server, "find", times=2, closeConnection=True):
        found += [frame async for frame in stream]

    assert [*range(25)] == [frame._id for frame in found]
    assert {"ring"} == {frame.loot[0].desc for frame in found}


async def test_resuming_ends(
    call: Runtime, mixed: list[Any], server: Server, commands: Commands
) -> None:
    """An error that comes again and again with nothing read in between is raised, and says so."""
    stream = call(Dragon).each(resume=True, batch=10)
    await stream.__anext__()
    commands.clear()
    with (
        fault(server, ["getMore", "find"], errorCode=43),
        pytest.raises(CursorNotFound) as caught,
    ):
        await ids_of(stream)
    assert "5 times in a row" in caught.value.__notes__[0]
    assert 5 == commands.names.count("find")


async def test_without_resume_errors_come_out(
    call: Runtime, mixed: list[Any], server: Server
) -> None:
    """A lost cursor or connection is the caller's, with a hint at `resume`."""
    for failure, kind in (({"errorCode": 43}, CursorNotFound), (LOSSES["connection closed"], None)):
        stream = call(Dragon).each(batch=10)
        await stream.__anext__()
        with (
            fault(server, "getMore", times=1, **failure),
            pytest.raises(kind or AutoReconnect) as caught,
        ):
            await ids_of(stream)
        assert "resume=True goes on behind the last _id" in caught.value.__notes__[0]
        assert [] == await ids_of(stream)


async def test_other_errors_are_not_survived(
    call: Runtime, mixed: list[Any], server: Server
) -> None:
    """An error that says something else ends a stream with `resume`, too."""
    stream = call(Dragon).each(resume=True, batch=10)
    await stream.__anext__()
    with fault(server, "getMore", times=1, errorCode=50), pytest.raises(ExecutionTimeout):
        await ids_of(stream)


async def test_a_cursor_killed_on_the_server(
    call: Runtime, cursors: Cursors, server: Server
) -> None:
    """A cursor that an administrator kills is opened again behind the last frame."""
    stream = call(Dragon).each(resume=True)
    found = [(await stream.__anext__()).age for _ in range(10)]
    place = Dragon.get_collection()
    server.client[place.database.name].command(
        {"killCursors": place.name, "cursors": [*cursors.open]}
    )
    cursors.open.clear()
    found += [frame.age async for frame in stream]

    assert [*range(2_500)] == found
    assert 2 == cursors.names.count("find")
    assert set() == cursors.open


class Address(Frame):
    """Somebody, by an address in lower case."""

    _id: StrLower


class Sighting(Frame):
    """When a dragon was seen, by that time."""

    _id: datetime


async def test_ids_after_are_those_of_filters(call: Runtime, db: str) -> None:
    """An `_id` to begin behind is normalised as in a filter, and a datetime means the same."""
    Address.get_collection().insert_many([{"_id": f"{letter}@x.org"} for letter in "abc"])
    assert ["b@x.org", "c@x.org"] == await ids_of(call(Address).each(after="A@x.org"))
    times = [datetime(2024, 5, day, tzinfo=timezone.utc) for day in (1, 2, 3)]
    Sighting.get_collection().insert_many([{"_id": time} for time in times])
    naive = datetime(2024, 5, 1)
    assert times[1:] == await ids_of(call(Sighting).each(after=naive))
    assert times == await ids_of(call(Sighting).each(resume=True, batch=1))


class Named(Frame):
    """Names in any case are the same."""

    _indexes: ClassVar[list[Any]] = [Index("name", case_insensitive=True)]

    name: str


async def test_what_does_not_go_together(call: Runtime, db: str) -> None:
    """Options that would lose frames, or mean nothing, are refused when `each` is called."""
    for options, problem in (
        ({"after": 1, "sort": "age"}, "no sort, or one by _id"),
        ({"resume": True, "sort": ["_id", "age"]}, "no sort, or one by _id"),
        ({"resume": True, "sort": [("$natural", 1)]}, "no sort, or one by _id"),
        ({"resume": True, "cursor_type": CursorType.TAILABLE_AWAIT}, "a usual cursor"),
        ({"resume": True, "projection": {"_id": False, "age": True}}, "with _id"),
        ({"after": "x", "collation": {"locale": "en"}}, "collation=None"),
        ({"batch": 0}, "batch of at least 1"),
        ({"batch": True}, "batch of at least 1"),
        ({"limit": -1}, "limit of at least 0"),
        ({"progress": 5}, "progress=True"),
    ):
        with pytest.raises(loom.QueryError, match=problem):
            call(Dragon).each(**options)


async def test_texts_in_a_collation(call: Runtime, db: str) -> None:
    """Ids that a collation may take for equal are no places; others are."""
    Named.get_collection().insert_many([{"_id": n, "name": "A"} for n in range(5)])
    found = await ids_of(call(Named).each(Q.name == "a", resume=True, after=1, batch=2))
    assert [2, 3, 4] == found
    Named.get_collection().insert_many([{"_id": f"{n}", "name": "A"} for n in range(5)])
    with pytest.raises(loom.QueryError, match="collation=None"):
        await ids_of(call(Named).each(Q.name == "a", resume=True))
    assert 10 == len(await ids_of(call(Named).each(Q.name == "A", resume=True, collation=None)))


# Progress


class Shown:
    """A bar that notes what it is told."""

    made: ClassVar[list[Shown]] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.count = 0
        self.is_closed = False
        self.made.append(self)

    def update(self, count: int = 1) -> None:
        """Count."""
        assert not self.is_closed
        self.count += count

    def close(self) -> None:
        """Close."""
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """The bars that are shown instead of tqdm's."""
    module = ModuleType("tqdm.auto")
    module.tqdm = Shown  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    monkeypatch.setattr(Shown, "made", [])
    return Shown.made


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({}, 123),
        ({"limit": 50}, 50),
        ({"skip": 100}, 23),
        ({"filter": Q._id < 30}, 30),
        ({"filter": Q._id < 30, "limit": 10}, 10),
        ({"after": 19}, 101),
    ],
)
async def test_totals(
    call: Runtime, mixed: list[Any], bars: list[Shown], arguments: dict[str, Any], total: int
) -> None:
    """A bar knows how many there will be, and counts every frame."""
    stream = call(Dragon).each(progress=True, **arguments)
    assert [] == bars
    found = await ids_of(stream)

    assert [total] == [bar.options["total"] for bar in bars] == [len(found)]
    assert (total, True) == (bars[0].count, bars[0].is_closed)


async def test_bars_are_closed(
    call: Runtime, mixed: list[Any], bars: list[Shown], server: Server
) -> None:
    """Leaving, an error of the loop, an error of the server and a dropped stream close the bar."""
    async with call(Dragon).each(progress=True) as stream:
        for _ in range(3):
            await stream.__anext__()
    assert (2, True) == (bars[-1].count, bars[-1].is_closed)

    stream = call(Dragon).each(progress=True, batch=10)
    await stream.__anext__()
    with fault(server, "getMore", times=1, errorCode=43), pytest.raises(CursorNotFound):
        await ids_of(stream)
    assert (10, True) == (bars[-1].count, bars[-1].is_closed)

    with pytest.raises(EncodeError):
        await ids_of(call(Dragon).each(Q.age == object(), progress=True))
    stream = call(Dragon).each(progress=True)
    await stream.__anext__()
    del stream
    if call.is_async:
        await settle()
    gc.collect()
    assert [True] * len(bars) == [bar.is_closed for bar in bars]


async def test_a_count_that_takes_too_long(
    call: Runtime, mixed: list[Any], bars: list[Shown], server: Server
) -> None:
    """A bar without a total is shown where the server does not count soon enough."""
    with fault(server, "aggregate", times=1, errorCode=50):
        assert 30 == len(await ids_of(call(Dragon).each(Q._id < 30, progress=True)))
    assert (None, 30, True) == (bars[0].options["total"], bars[0].count, bars[0].is_closed)


async def test_the_bar_of_tqdm(
    call: Runtime, mixed: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar is tqdm's own, on standard error, with the name of the class."""
    pytest.importorskip("tqdm", reason="tqdm is an extra")
    assert 123 == len(await ids_of(call(Dragon).each(progress=True)))
    out, err = capsys.readouterr()
    assert "" == out
    assert "Dragon: 100%" in err
    assert "123/123" in err


async def test_without_tqdm(call: Runtime, db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm the call names the pip command; a function needs nothing."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(loom.MissingExtra, match=r"loom-frames\[progress\]"):
        call(Dragon).each(progress=True)
    assert [] == await ids_of(call(Dragon).each(progress=lambda done, total: None))


async def test_progress_by_a_function(call: Runtime, mixed: list[Any]) -> None:
    """A function is told once for each batch, and at the end of what is left."""
    told: list[Any] = []
    stream = call(Dragon).each(progress=lambda *numbers: told.append(numbers), batch=50)
    await ids_of(stream)
    assert [(50, 123), (100, 123), (123, 123)] == told
