"""Events around writes: order, what listeners get, muting, failures, nesting, both runtimes."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import weakref
from typing import Any

import blinker
import pytest
from pymongo.errors import BulkWriteError

import loom
from loom import BulkError, EncodeError, Frame, Gone, ListenerError, Q, muted
from loom.frames import events

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Inventory, Item, Lair

#: The events before and after a write.
PAIRS = [event for event in events.EVENTS if event != "committed"]


class Entry(Frame):
    """A line of a log that listeners write."""

    event: str
    number: int


class Elder(Dragon):
    """A child class, with a collection of its own."""


class Rider:
    """What else may listen."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, sender: type, frames: list[Any]) -> None:
        """Note what is heard."""
        self.heard.append((sender, frames))

    def __call__(self, frames: list[Any]) -> None:
        """Note it, as an object that is called."""
        self.heard.append(frames)


def record(*classes: type[Frame]) -> list[tuple[str, type, int]]:
    """Return a list that gets every event of the classes: name, sender, number of frames."""
    heard: list[tuple[str, type, int]] = []
    for cls in classes:
        for event in PAIRS:
            cls.listen(
                event,
                lambda sender, frames, event=event: heard.append((event, sender, len(frames))),
            )
    return heard


# What is sent


async def test_every_operation_sends_its_pair(call: Runtime) -> None:
    """Each write sends one event before and one after, a batch too."""
    heard = record(Dragon)
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    await call(burt).update("name")
    await call(burt).unset("age")
    await call(burt).upsert("name")
    await call(Dragon(_id=5, name="Ray")).upsert()
    many = await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])
    await call(Dragon).update_many(many, "name")
    await call(Dragon).unset_many(many, "name")
    await call(Dragon).delete_many(many)
    await call(burt).delete()
    pairs = [("insert", 1), ("update", 1), ("update", 1), ("update", 1), ("insert", 1)]
    pairs += [("insert", 2), ("update", 2), ("update", 2), ("delete", 2), ("delete", 1)]
    after = {"insert": "inserted", "update": "updated", "delete": "deleted"}

    assert heard == [
        (event, Dragon, count) for name, count in pairs for event in (name, after[name])
    ]


async def test_reads_and_failures_send_no_after_event(call: Runtime) -> None:
    """An after-event says that something was written."""
    heard = record(Dragon)
    with pytest.raises(Gone):
        await call(Dragon(_id=1, name="x")).update("name")
    with pytest.raises(EncodeError):
        await call(Dragon(name=object())).insert()
    with pytest.raises(BulkError):
        await call(Dragon).update_many([{"_id": 1, "name": "x"}])
    await call(Dragon).many()
    await call(Dragon).one()

    assert ["update", "insert", "update"] == [event for event, _, _ in heard]


async def test_what_events_carry(call: Runtime) -> None:
    """Updates carry their paths, before and after, and after them also what was sent."""
    heard: list[Any] = []

    @Dragon.listen("update")
    def before(sender: Any, frames: Any, fields: Any, changes: Any, session: Any) -> None:
        heard.append((fields, changes, session))
        frames[0].age = 9

    Dragon.listen("updated", lambda fields, changes: heard.append((fields, changes)))
    burt = Dragon(name="Burt", age=1, breed="Cold-drake")
    await call(burt).insert()
    await call(burt).update("name")
    await call(burt).unset("breed")

    assert [
        (("name",), (), None),
        (("name", "age"), [{"$set": {"name": "Burt", "age": 9}}]),
        (("breed",), (), None),
        (("age", "breed"), [{"$set": {"age": 9}, "$unset": {"breed": True}}]),
    ] == heard


async def test_events_carry_the_session(call: Runtime, server: Server) -> None:
    """Listeners get the session of the operation, to write in it."""
    heard: list[Any] = []
    for event in PAIRS:
        Dragon.listen(event, lambda session: heard.append(session))
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    burt = Dragon(name="Burt")
    await call(burt).insert(session=session)
    await call(burt).update(session=session)
    await call(burt).unset("name", session=session)
    made = await call(Dragon).insert_many([{"name": "a"}], session=session)
    await call(Dragon).update_many([{"_id": burt._id, "name": "a"}], session=session)
    await call(Dragon).unset_many([burt], "name", session=session)
    await call(Dragon).delete_many(made, session=session)
    await call(burt).delete(session=session)

    assert [session] * 16 == heard
    ended = session.end_session()
    if call.is_async:
        await ended


async def test_changes_of_listeners_join_the_write(call: Runtime) -> None:
    """What a before-listener assigns, edits in place or deletes is written with the rest."""

    @Dragon.listen("update")
    def change(frames: Any) -> None:
        for frame in frames:
            frame.age = (frame.age or 0) + 1
            frame.lair.inventory.gold = 7
            frame._document.pop("secret", None)

    @Dragon.listen("insert")
    def prepare(frames: Any) -> None:
        for frame in frames:
            frame.breed = "Fire-drake"

    burt = Dragon(name="Burt", secret="s", lair=Lair(name="Cave", inventory=Inventory(gold=1)))
    await call(burt).insert()
    await call(burt).update("name")
    expected = {
        "_id": burt._id,
        "name": "Burt",
        "breed": "Fire-drake",
        "age": 1,
        "lair": {"name": "Cave", "inventory": {"gold": 7}},
    }
    assert expected == Dragon.get_collection().find_one()
    await call(Dragon).update_many([burt], "name")
    await call(Dragon).unset_many([burt], "breed")
    await call(burt).unset("name")
    assert {"_id": burt._id, "age": 4, "lair": expected["lair"]} == (
        Dragon.get_collection().find_one()
    )


async def test_listeners_get_a_list_of_their_own(call: Runtime) -> None:
    """What a listener does to the list of frames does not change what is written."""
    Dragon.listen("insert", lambda frames: frames.clear())
    made = await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])

    assert 2 == len(made) == await call(Dragon).count({})


# Who is called


async def test_order_is_that_of_registration_over_the_parents(call: Runtime) -> None:
    """A parent's listeners hear its children; the order is that of registration."""
    heard: list[str] = []
    Elder.listen("insert", lambda: heard.append("child 1"))
    Frame.listen("insert", lambda: heard.append("all"))
    Dragon.listen("insert", lambda: heard.append("parent"))
    Elder.listen("insert", lambda: heard.append("child 2"))
    await call(Elder(name="Smaug")).insert()
    assert ["child 1", "all", "parent", "child 2"] == heard
    heard.clear()
    await call(Dragon(name="Burt")).insert()
    assert ["all", "parent"] == heard
    heard.clear()
    await call(Item(desc="ring")).insert()
    assert ["all"] == heard


async def test_sender_is_the_class_of_the_operation(call: Runtime) -> None:
    """A listener of a parent class is told the class that is written."""
    heard = record(Dragon)
    await call(Elder(name="Smaug")).insert()

    assert [("insert", Elder, 1), ("inserted", Elder, 1)] == heard


def test_listeners_are_held() -> None:
    """A lambda, a closure and a bound method stay although nobody else holds them."""
    rider = Rider()
    seen = weakref.ref(rider)
    Dragon.listen("insert", rider.hear)
    Dragon.listen("insert", lambda: None)
    del rider
    gc.collect()

    assert seen() is not None
    assert 2 == len(events.listeners("insert", Dragon))


async def test_the_same_listener_twice_is_called_once(call: Runtime) -> None:
    """Listening again changes nothing; stopping once is enough."""
    heard: list[Any] = []

    def listener(frames: Any) -> None:
        heard.append(frames)

    Dragon.listen("insert", listener)
    Dragon.listen("insert", listener)
    await call(Dragon(name="a")).insert()
    assert 1 == len(heard)
    Dragon.stop_listening("insert", listener)
    Dragon.stop_listening("insert", listener)
    await call(Dragon(name="b")).insert()
    assert 1 == len(heard)


async def test_stop_listening_is_for_one_class(call: Runtime) -> None:
    """Stopping for one class leaves the listener of another."""
    rider = Rider()
    Dragon.listen("insert", rider.hear)
    Item.listen("insert", rider.hear)
    Dragon.stop_listening("insert", rider.hear)
    await call(Dragon(name="a")).insert()
    await call(Item(desc="b")).insert()

    assert [Item] == [sender for sender, _ in rider.heard]


async def test_listen_is_a_decorator(call: Runtime) -> None:
    """`@Dragon.listen("insert")` registers and gives the function back."""

    @Dragon.listen("insert")
    def name(frames: Any) -> str:
        frames[0].name = "Named"
        return "still a function"

    burt = Dragon()
    await call(burt).insert()

    assert "Named" == burt.name
    assert "still a function" == name([burt])
    assert name is Dragon.listen("inserted", name)


# Signatures


async def test_listeners_get_what_they_ask_for(call: Runtime) -> None:
    """Names choose the payload; the first other parameter is the sender."""
    heard: dict[str, Any] = {}
    rider = Rider()
    shapes: dict[str, Any] = {
        "nothing": lambda: heard.update(nothing=()),
        "sender": lambda sender: heard.update(sender=sender),
        "any first name": lambda cls, frames: heard.update({"any first name": cls}),
        "sender last": lambda frames, sender: heard.update({"sender last": sender}),
        "keywords": lambda **all: heard.update(keywords=all),
        "sender and keywords": lambda sender, **all: heard.update({"sender and keywords": all}),
        "positions": lambda *all: heard.update(positions=all),
        "default": lambda frames, extra="kept": heard.update(default=extra),
        "first default": lambda extra="kept": heard.update({"first default": extra}),
        "sender with default": lambda sender=None: heard.update({"sender with default": sender}),
        "keyword only": lambda *, sender, frames: heard.update({"keyword only": sender}),
        "method": rider.hear,
        "object": rider,
        "partial": functools.partial(
            lambda note, sender, frames: heard.update(partial=(note, sender)), "note"
        ),
    }
    for shape in shapes.values():
        Dragon.listen("insert", shape)
    burt = Dragon(name="Burt")
    await call(burt).insert()
    payload = {
        "frames": [burt],
        "fields": (),
        "changes": (),
        "session": None,
        "event": "insert",
    }

    assert heard == {
        "nothing": (),
        "sender": Dragon,
        "any first name": Dragon,
        "sender last": Dragon,
        "keywords": {**payload, "sender": Dragon},
        "sender and keywords": payload,
        "positions": (Dragon,),
        "default": "kept",
        "first default": "kept",
        "sender with default": Dragon,
        "keyword only": Dragon,
        "partial": ("note", Dragon),
    }
    assert [(Dragon, [burt]), [burt]] == rider.heard


def test_listeners_that_cannot_be_called_are_refused() -> None:
    """A signature that does not fit is said when the listener is registered."""

    def generator(frames: Any) -> Any:
        yield frames

    async def async_generator(frames: Any) -> Any:
        yield frames

    with pytest.raises(ListenerError, match=r"'documents' in .*\(sender, documents\); give it a"):
        Dragon.listen("insert", lambda sender, documents: None)
    with pytest.raises(ListenerError, match="expected a function, got 5"):
        Dragon.listen("insert", 5)  # type: ignore[type-var]
    for wrong in (generator, async_generator):
        with pytest.raises(ListenerError, match="generator"):
            Dragon.listen("insert", wrong)

    assert () == events.listeners("insert", Dragon)


def test_unknown_events_are_refused() -> None:
    """A misspelt event is an error, with the nearest name."""
    with pytest.raises(ListenerError, match=r"Dragon\.listen.*got 'inserting'; did you mean 'ins"):
        Dragon.listen("inserting", print)
    with pytest.raises(ListenerError, match="got 5"):
        Dragon.stop_listening(5, print)  # type: ignore[arg-type]
    with pytest.raises(ListenerError, match="got 'insrt'; did you mean 'insert'"), muted("insrt"):
        pass
    with pytest.raises(ListenerError, match="sender="), muted(Dragon):
        pass


# Blinker


async def test_blinkers_own_connect_works(call: Runtime) -> None:
    """The signals are Blinker's: connect, connect_via, connected_to and ANY work on them."""
    heard: list[Any] = []
    signal = events.signals["insert"]

    def anyone(sender: Any, frames: Any) -> None:
        heard.append(("any", sender))

    signal.connect(anyone)

    @signal.connect_via(Dragon)
    def via(sender: Any, frames: Any) -> None:
        heard.append(("via", sender))

    await call(Dragon(name="a")).insert()
    with signal.connected_to(lambda sender: heard.append(("in", sender)), sender=Item):
        await call(Item(desc="b")).insert()
    await call(Item(desc="c")).insert()
    signal.disconnect(anyone)
    await call(Item(desc="d")).insert()

    assert [("any", Dragon), ("via", Dragon), ("any", Item), ("in", Item), ("any", Item)] == heard
    assert isinstance(signal, blinker.NamedSignal)


async def test_others_may_use_the_same_names(call: Runtime) -> None:
    """Loom's signals are its own: Blinker's default namespace hears nothing."""
    heard: list[Any] = []

    def listener(sender: Any, **payload: Any) -> None:
        heard.append(sender)

    blinker.signal("insert").connect(listener)
    await call(Dragon(name="a")).insert()

    assert [] == heard


def test_no_listener_costs_a_dict_look_up() -> None:
    """Without listeners an event is one look-up: no signal is walked again."""

    class Quiet(Frame):
        name: str

    assert () == events.listeners("insert", Quiet)
    signal = events.signals["insert"]
    calls: list[Any] = []
    try:
        signal.receivers_for = lambda sender: calls.append(sender) or iter(())  # type: ignore
        for _ in range(100):
            assert () == events.listeners("insert", Quiet)
    finally:
        del signal.receivers_for

    assert [] == calls


def test_listening_while_others_write(db: str) -> None:
    """Listeners that come and go in one thread never hide those of another."""
    heard: list[Any] = []
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            noise = functools.partial(lambda: None)
            Item.listen("insert", noise)
            Item.stop_listening("insert", noise)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for n in range(200):

            def listener(frames: Any, n: int = n) -> None:
                heard.append(n)

            Dragon.listen("insert", listener)
            assert events.listeners("insert", Dragon)
            Dragon.stop_listening("insert", listener)
            assert not events.listeners("insert", Dragon)
    finally:
        stop.set()
        thread.join()


# Failures


async def test_a_failing_before_listener_stops_the_write(call: Runtime, commands: Commands) -> None:
    """Nothing is sent, later listeners are not called, the error reaches the caller."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    heard: list[str] = []

    def refuse() -> None:
        raise LookupError("refused")

    for event in ("insert", "update", "delete"):
        Dragon.listen(event, refuse)
        Dragon.listen(event, lambda: heard.append("later"))
        Dragon.listen(f"{event}d" if event != "insert" else "inserted", lambda: heard.append("x"))
    commands.clear()
    for work in (
        lambda: call(Dragon(name="x")).insert(),
        lambda: call(burt).update(),
        lambda: call(burt).unset("name"),
        lambda: call(burt).delete(),
        lambda: call(Dragon).insert_many([{"name": "a"}]),
        lambda: call(Dragon).update_many([burt]),
        lambda: call(Dragon).unset_many([burt], "name"),
        lambda: call(Dragon).delete_many([burt]),
    ):
        with pytest.raises(LookupError, match="refused"):
            await work()

    assert ([], []) == (heard, commands.names)


async def test_failing_after_listeners(call: Runtime) -> None:
    """All after-listeners run, the first error reaches the caller and notes the others."""
    heard: list[str] = []

    def fail(text: str) -> None:
        raise LookupError(text)

    Dragon.listen("inserted", lambda: fail("first"))
    Dragon.listen("inserted", lambda: heard.append("runs"))
    Dragon.listen("inserted", lambda: fail("second"))
    burt = Dragon(name="Burt")
    with pytest.raises(LookupError, match="first") as caught:
        await call(burt).insert()

    assert ["runs"] == heard
    assert [
        "raised by a listener of 'inserted': the write was done",
        "another listener of 'inserted' failed too: LookupError('second')",
    ] == caught.value.__notes__
    assert burt == await call(Dragon).by_id(burt._id)


async def test_a_failing_after_listener_of_a_partly_failed_batch(call: Runtime) -> None:
    """The batch failed and then a listener: neither is lost."""

    def fail() -> None:
        raise LookupError("listener")

    await call(Dragon(_id=1)).insert()
    Dragon.listen("inserted", fail)
    with pytest.raises(BulkError, match="1 of 2 frames") as caught:
        await call(Dragon).insert_many([{"_id": 0}, {"_id": 1}])

    assert ["a listener of 'inserted' failed too: LookupError('listener')"] == (
        caught.value.__notes__
    )
    assert isinstance(caught.value.__cause__, BulkWriteError)


# Muting


async def test_muted(call: Runtime) -> None:
    """`muted` silences everything, or events, listeners and classes."""
    heard = record(Dragon)
    rider = Rider()
    Dragon.listen("inserted", rider)
    with muted():
        await call(Dragon(name="a")).insert()
    assert ([], []) == (heard, rider.heard)
    with muted("insert"):
        await call(Dragon(name="a")).insert()
    assert ["inserted"] == [event for event, _, _ in heard]
    with muted(rider):
        await call(Dragon(name="a")).insert()
    assert 1 == len(rider.heard)
    with muted("insert", rider):
        await call(Dragon(name="a")).insert()
    assert 2 == len(rider.heard)
    heard.clear()
    with muted(sender=Item):
        await call(Dragon(name="a")).insert()
    with muted(sender=Frame), muted(sender=Item):
        await call(Dragon(name="a")).insert()
    with muted(sender=Elder):
        await call(Dragon(name="a")).insert()
    with muted(sender=Dragon):
        await call(Elder(name="a")).insert()
    assert 4 == len(heard)


def test_muted_is_for_one_thread(db: str) -> None:
    """Another thread hears while this one is muted."""
    heard = record(Dragon)
    with muted():
        thread = threading.Thread(target=lambda: Dragon(name="a").insert())
        thread.start()
        thread.join()
        Dragon(name="b").insert()

    assert 2 == len(heard)


async def test_muted_is_for_one_task(db: str) -> None:
    """A task that was running before hears while another is muted."""
    heard = record(Dragon)
    go = asyncio.Event()

    async def other() -> None:
        await go.wait()
        await Dragon(name="a").aio.insert()

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    with muted():
        go.set()
        await task
        await Dragon(name="b").aio.insert()

    assert 2 == len(heard)


# Async listeners


async def test_async_listeners_serve_both_runtimes(call: Runtime) -> None:
    """An `async def` listener that awaits Loom runs in blocking and in awaited operations."""

    @Dragon.listen("inserted")
    async def audit(sender: Any, frames: Any) -> None:
        await Entry(event="inserted", number=len(frames)).aio.insert()
        assert await Entry.aio.count({}) > 0
        assert [entry async for entry in Entry.aio.each()]

    @Dragon.listen("insert")
    async def prepare(frames: Any) -> None:
        found = await Entry.aio.many()
        frames[0].age = len(found)

    await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])
    burt = Dragon(name="Burt")
    await call(burt).insert()

    assert [1, 2] == sorted(e.number for e in await call(Entry).many())
    assert 1 == burt.age


async def test_async_listeners_with_classes_and_partials(call: Runtime) -> None:
    """An awaitable result is awaited, whoever returns it."""
    heard: list[Any] = []

    async def note(text: str, frames: Any) -> None:
        await Entry(event=text).aio.insert()
        heard.append(text)

    class Noter:
        async def __call__(self, frames: Any) -> None:
            await note("object", frames)

    Dragon.listen("insert", functools.partial(note, "partial"))
    Dragon.listen("insert", Noter())
    Dragon.listen("insert", lambda frames: note("lambda", frames))
    await call(Dragon(name="a")).insert()

    assert ["partial", "object", "lambda"] == heard


def test_a_listener_that_suspends_in_a_blocking_call(db: str, commands: Commands) -> None:
    """Before: nothing is sent. After: the error says that the write stands."""
    closed: list[str] = []

    async def sleep() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            closed.append("closed")

    async def stubborn() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)

    Dragon.listen("insert", sleep)
    with pytest.raises(ListenerError, match=r"sleep: .*insert, nothing was written.*\.aio"):
        Dragon(name="a").insert()
    assert [] == commands.names
    Dragon.stop_listening("insert", sleep)
    Dragon.listen("inserted", sleep)
    with pytest.raises(ListenerError, match="inserted, the write stands"):
        Dragon(name="a").insert()
    assert 1 == Dragon.count({})
    assert ["closed", "closed"] == closed
    Dragon.stop_listening("inserted", sleep)
    Dragon.listen("insert", stubborn)
    with pytest.raises(ListenerError, match="nothing was written"):
        Dragon(name="a").insert()


async def test_a_listener_may_suspend_in_an_awaited_call(db: str) -> None:
    """In an awaited operation a listener may await anything."""
    heard: list[Any] = []

    @Dragon.listen("insert")
    async def wait(frames: Any) -> None:
        await asyncio.sleep(0.001)
        await asyncio.gather(*(Entry(number=n).aio.insert() for n in range(5)))
        heard.append(frames)

    await Dragon(name="a").aio.insert()

    assert 1 == len(heard)
    assert 5 == await Entry.aio.count({})


async def test_a_blocking_call_in_an_awaited_operation(db: str, commands: Commands) -> None:
    """A plain listener that would stall the loop gets an error; before, nothing is sent."""
    Dragon.listen("insert", lambda: Entry(number=1).insert())
    with pytest.raises(ListenerError, match="which would stall the event loop"):
        await Dragon(name="a").aio.insert()
    assert [] == commands.names

    @Item.listen("inserted")
    async def mixed() -> None:
        Entry.many()

    with pytest.raises(ListenerError, match="awaited 'inserted'"):
        await Item(desc="a").aio.insert()
    assert 1 == await Item.aio.count({})


def test_a_plain_listener_may_block_in_a_blocking_call(db: str) -> None:
    """In a blocking operation plain listeners make blocking calls."""
    Dragon.listen("inserted", lambda frames: Entry(number=len(frames)).insert())
    Dragon.insert_many([{"name": "a"}, {"name": "b"}])

    assert 2 == Entry.one().number


async def test_blocking_calls_inside_a_running_loop(db: str) -> None:
    """A blocking operation works inside a task, with async listeners, on blocking clients."""

    @Dragon.listen("inserted")
    async def audit() -> None:
        await Entry(number=1).aio.insert()

    Dragon(name="a").insert()

    assert 1 == Entry.count({})
    assert 1 == await Entry.aio.count({})


# Contexts that outlive a listener


async def test_tasks_started_by_listeners_are_on_their_own(db: str) -> None:
    """A task that inherits a listener's context uses its own runtime, also after the operation."""
    tasks: list[asyncio.Task[Any]] = []

    @Dragon.listen("insert")
    async def start() -> None:
        tasks.append(asyncio.create_task(later()))

    @Item.listen("insert")
    def start_from_blocking() -> None:
        tasks.append(asyncio.create_task(later()))

    async def later() -> None:
        await Entry(number=1).aio.insert()
        Entry(number=2).insert()

    await Dragon(name="a").aio.insert()
    Item(desc="b").insert()
    await asyncio.gather(*tasks)

    assert [1, 1, 2, 2] == sorted(e.number for e in await Entry.aio.many())


async def test_threads_started_by_listeners_are_on_their_own(db: str) -> None:
    """Blocking work that a listener sends to a thread is allowed there."""

    @Dragon.listen("insert")
    async def start() -> None:
        await asyncio.to_thread(lambda: Entry(number=1).insert())

    await Dragon(name="a").aio.insert()

    assert 1 == await Entry.aio.count({})


def test_a_listener_may_run_a_loop_of_its_own(db: str, server: Server) -> None:
    """`asyncio.run` inside a listener of a blocking call awaits on its own clients."""
    connection = loom.connect(server.uri, db=db)

    async def write() -> None:
        await Entry(number=1).aio.insert()
        await loom.aio.close()

    Dragon.listen("inserted", lambda: asyncio.run(write()))
    Dragon(name="a").insert()

    assert 1 == Entry.count({})
    connection.close()


# Nesting


async def test_operations_inside_listeners_send_their_own_events(call: Runtime) -> None:
    """A listener's writes are operations like others."""
    heard = record(Entry)

    @Dragon.listen("inserted")
    async def audit() -> None:
        await Entry(number=1).aio.insert()

    await call(Dragon(name="a")).insert()

    assert [("insert", Entry, 1), ("inserted", Entry, 1)] == heard


async def test_the_context_ends_with_the_listener(call: Runtime) -> None:
    """After an operation with listeners, no event is running any more."""

    @Dragon.listen("inserted")
    async def nested() -> None:
        await Item(desc="x").aio.insert()
        assert "inserted" == events.running().event

    Item.listen("insert", lambda: None)
    await call(Dragon(name="a")).insert()

    assert events.running() is None


async def test_a_listener_may_change_listeners(call: Runtime) -> None:
    """A listener that removes itself and adds another is no trouble; the next event has it."""
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        Dragon.stop_listening("insert", once)
        Dragon.listen("insert", lambda: heard.append("then"))

    Dragon.listen("insert", once)
    await call(Dragon(name="a")).insert()
    await call(Dragon(name="a")).insert()

    assert ["once", "then"] == heard


async def test_timestamps(call: Runtime) -> None:
    """The ready listeners write aware UTC times; what is set is what is read back."""
    Dragon.listen("insert", Dragon.timestamp_insert)
    Dragon.listen("update", Dragon.timestamp_update)
    burt = Dragon(name="Burt")
    await call(burt).insert()
    first = burt.modified
    again = await call(Dragon).by_id(burt._id)
    assert burt.created == burt.modified == again.created
    assert again.created.tzinfo is not None
    time.sleep(0.002)
    await call(burt).update("name")
    again = await call(Dragon).by_id(burt._id)
    assert first < again.modified == burt.modified
    assert first == again.created
    made = await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])
    assert 1 == len({d.created for d in await call(Dragon).by_ids(made)})
    time.sleep(0.002)
    await call(Dragon).update_many(made, "name")
    assert set(made) == set(await call(Dragon).many(Q.modified > made[0].created))


async def test_a_listener_of_parent_and_child_is_called_once(call: Runtime) -> None:
    """What MongoFrames needed on every class does no harm when it is on a parent too."""

    class Beast(Frame):
        name: str

    class Wyvern(Beast):
        pass

    calls: list[str] = []

    def note(sender: type[Frame]) -> None:
        calls.append(sender.__name__)

    Beast.listen("insert", note)
    Wyvern.listen("insert", note)
    await call(Wyvern(name="Burt")).insert()

    assert ["Wyvern"] == calls
