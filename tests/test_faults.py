"""Every write under every fault: what the caller is told is what is stored, and the data is whole.

Each operation runs once without a fault, which shows what it stores and how many commands it
sends. Then it runs with every fault at its first, a middle and its last command, always on the same
documents, and `problems` compares what was said with what is there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from typing import Annotated, Any, ClassVar, NamedTuple

import pymongo
import pytest
from pymongo.errors import PyMongoError, WriteConcernError

import loom
from loom import (
    BulkError,
    Conflict,
    Duplicate,
    Frame,
    IncrCounter,
    Q,
    Ref,
    SubFrame,
    running_transactions,
)
from loom.frames import history
from loom.frames.counters import counter_cache
from loom.frames.ledger import LedgerFrame

from .conftest import Runtime, Server
from .faults import Faulty, Plan, clients, fault, free

# The world: two kinds of everything, in collections of their own.


class Cave(SubFrame):
    """A sub-frame."""

    gold: int


class Beast(Frame):
    """What is written."""

    _collection = "faults.beast"
    name: str
    gold: int
    cave: Cave
    tags: list[str]


class Heard(Beast):
    """The same with listeners."""

    _collection = "faults.heard"


class Counted(Frame):
    """Checks its version, and counts."""

    _collection = "faults.counted"
    _version: ClassVar[str | None] = "_v"
    name: str
    visits: IncrCounter


class Clicks(Frame):
    """Counts without a version."""

    _collection = "faults.clicks"
    visits: IncrCounter


class Watched(Frame):
    """Has a change log."""

    _collection = "faults.watched"
    name: str


class Price(LedgerFrame):
    """Is only added to."""

    _collection = "faults.price"
    amount: int


class Company(Frame):
    """The root of a tree."""

    _collection = "faults.company"
    name: str


class Worker(Frame):
    """Goes with its company."""

    _collection = "faults.worker"
    company: Annotated[Company | None, Ref(on_delete="cascade")]


class Badge(Frame):
    """Goes with its worker."""

    _collection = "faults.badge"
    worker: Annotated[Worker | None, Ref(on_delete="cascade")]


class Letter(Frame):
    """Stays, and forgets the company."""

    _collection = "faults.letter"
    company: Annotated[Company | None, Ref(on_delete="nullify")]


Documents = dict[str, list[dict[str, Any]]]
Call = Any
Act = Callable[..., Awaitable[Any]]

BEASTS: Documents = {
    "faults.beast": [{"_id": n, "name": f"b{n}", "gold": 10, "tags": ["x"]} for n in range(7)]
}
HEARD: Documents = {"faults.heard": BEASTS["faults.beast"]}
COUNTED: Documents = {
    "faults.counted": [{"_id": n, "name": f"c{n}", "visits": 5, "_v": 3} for n in range(7)]
}
CLICKS: Documents = {"faults.clicks": [{"_id": n, "visits": 5} for n in range(7)]}
WATCHED: Documents = {"faults.watched": [{"_id": n, "name": f"w{n}"} for n in range(3)]}
TREE: Documents = {
    "faults.company": [{"_id": 1, "name": "Acme"}, {"_id": 2, "name": "Emca"}],
    "faults.worker": [{"_id": n, "company": 1 + n % 2} for n in range(8)],
    "faults.badge": [{"_id": n, "worker": n} for n in range(8)],
    "faults.letter": [{"_id": n, "company": 1} for n in range(3)],
}


def of(cls: Any, documents: Documents, count: int | None = None) -> list[Any]:
    """Return frames as if they had been loaded."""
    return [cls(deepcopy(document)) for document in documents[cls._collection][:count]]


class Operation(NamedTuple):
    """A write.

    Attributes:
        name: of it.
        stored: the documents that are there before.
        make: of a runtime; returns what runs it, again when it is called again.
        repeat: calling it again after any failure ends as if there had been none.
        unless: what a call again may raise, because the first was done.
        rest: how the frames are written again that a BulkError names as not, or perhaps not.
        listens: begins to listen; what listens is forgotten after the test.
    """

    name: str
    stored: Documents
    make: Callable[[Call], Act]
    repeat: bool = True
    unless: tuple[type[Exception], ...] = ()
    rest: Callable[[Call, list[Any]], Awaitable[Any]] | None = None
    listens: Callable[[], object] | None = None


def insert(call: Call) -> Act:
    beast = Beast(_id=50, name="new", cave=Cave(gold=1))
    return lambda: call(beast).insert()


def insert_without_id(call: Call) -> Act:
    beast = Beast(name="new")
    return lambda: call(beast).insert()


def update(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    beast.gold = 11
    return lambda: call(beast).update("gold")


def update_where_of_frame(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    beast.gold = 11
    return lambda: call(beast).update("gold", where=Q.gold == 10)


def save(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    beast.gold = 11
    beast.tags.append("y")
    return lambda: call(beast).save()


def save_new(call: Call) -> Act:
    beast = Beast(name="new")
    return lambda: call(beast).save()


def save_versioned(call: Call) -> Act:
    (one,) = of(Counted, COUNTED, 1)
    one.name = "changed"
    return lambda: call(one).save()


def update_many_versioned(call: Call) -> Act:
    frames = of(Counted, COUNTED)
    for frame in frames:
        frame.name = "changed"
    return lambda **more: call(Counted).update_many(frames, "name", **more)


def delete_versioned(call: Call) -> Act:
    (one,) = of(Counted, COUNTED, 1)
    return lambda: call(one).delete()


def unset(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    return lambda: call(beast).unset("tags")


def delete(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    return lambda: call(beast).delete()


def upsert_new(call: Call) -> Act:
    beast = Beast(_id=50, name="new")
    return lambda: call(beast).upsert()


def upsert_stored(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    beast.gold = 11
    return lambda: call(beast).upsert("gold")


def inc(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    return lambda: call(beast).inc("gold", 5)


def inc_guarded(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    return lambda: call(beast).inc("gold", -10, where=Q.gold >= 10)


def change(call: Call) -> Act:
    (beast,) = of(Beast, BEASTS, 1)
    return lambda: call(beast).change({"$push": {"tags": "y"}, "$mul": {"gold": 2}})


def take(call: Call) -> Act:
    return lambda: call(Beast).take(Q.gold == 10, {"$set": {"gold": 0}}, sort="_id")


def take_heard(call: Call) -> Act:
    return lambda: call(Heard).take(Q.gold == 10, {"$set": {"gold": 0}}, sort="_id")


def count_up(call: Call) -> Act:
    (one,) = of(Clicks, CLICKS, 1)
    one.visits += 2
    return lambda: call(one).save()


def count_up_many(call: Call) -> Act:
    frames = of(Clicks, CLICKS)
    for frame in frames:
        frame.visits += 2
    return lambda: call(Clicks).update_many(frames, "visits")


def count_up_versioned(call: Call) -> Act:
    (one,) = of(Counted, COUNTED, 1)
    one.visits += 2
    return lambda: call(one).save()


def insert_many(call: Call, **options: Any) -> Act:
    frames = [Beast(_id=50 + n, name=f"new{n}") for n in range(7)]
    return lambda **more: call(Beast).insert_many(frames, **options, **more)


def update_many(call: Call, **options: Any) -> Act:
    frames = of(Beast, BEASTS)
    for frame in frames:
        frame.gold = 11
    return lambda: call(Beast).update_many(frames, "gold", **options)


def unset_many(call: Call) -> Act:
    frames = of(Beast, BEASTS)
    return lambda: call(Beast).unset_many(frames, "tags")


def delete_many(call: Call) -> Act:
    frames = of(Beast, BEASTS)
    return lambda: call(Beast).delete_many(frames)


def update_where(call: Call) -> Act:
    return lambda: call(Beast).update_where(Q.gold == 10, {"$set": {"gold": 11}})


def delete_where(call: Call) -> Act:
    return lambda: call(Beast).delete_where(Q.gold == 10)


def update_where_heard(call: Call) -> Act:
    return lambda: call(Heard).update_where(Q.gold == 10, {"$set": {"gold": 11}}, batch_size=3)


def delete_where_heard(call: Call) -> Act:
    return lambda: call(Heard).delete_where(Q.gold == 10, batch_size=3)


def bulk(call: Call, *, ordered: bool) -> Act:
    beasts = of(Beast, BEASTS)
    new = [Beast(_id=50 + n, name="new") for n in range(2)]
    put = [Beast({**deepcopy(beasts[3]._document), "gold": 12}), Beast(_id=60, name="put")]
    beasts[0].gold = beasts[1].gold = 11
    kwargs = {"ordered": ordered, "size": 100}

    async def run() -> None:
        if getattr(call, "is_async", False):
            async with Beast.aio.bulk(**kwargs) as writer:
                for frame in new:
                    await writer.insert(frame)
                await writer.update(beasts[0], "gold")
                await writer.update(beasts[1], "gold")
                for frame in put:
                    await writer.upsert(frame)
                await writer.unset(beasts[4], "tags")
                await writer.delete(beasts[5])
                await writer.delete(beasts[6])
            return
        with Beast.bulk(**kwargs) as blocking:
            for frame in new:
                blocking.insert(frame)
            blocking.update(beasts[0], "gold")
            blocking.update(beasts[1], "gold")
            for frame in put:
                blocking.upsert(frame)
            blocking.unset(beasts[4], "tags")
            blocking.delete(beasts[5])
            blocking.delete(beasts[6])

    return run


def cascade(call: Call) -> Act:
    (company,) = of(Company, TREE, 1)
    return lambda: call(company).delete()


def cascade_where(call: Call) -> Act:
    return lambda: call(Company).delete_where(Q.name == "Acme")


def ledger(call: Call) -> Act:
    price = Price(amount=3)
    return lambda: call(price).save()


def logged_insert(call: Call) -> Act:
    one = Watched(_id=50, name="new")
    return lambda: call(one).insert()


def logged_update(call: Call) -> Act:
    (one,) = of(Watched, WATCHED, 1)
    one.name = "changed"
    return lambda: call(one).update("name")


def logged_update_many(call: Call) -> Act:
    frames = of(Watched, WATCHED)
    for frame in frames:
        frame.name = "changed"
    return lambda: call(Watched).update_many(frames, "name")


def logged_delete(call: Call) -> Act:
    (one,) = of(Watched, WATCHED, 1)
    return lambda: call(one).delete()


def moved(call: Call) -> Act:
    one, two = of(Beast, BEASTS, 2)

    async def run() -> None:
        await call(one).inc("gold", -5, where=Q.gold >= 5)
        await call(two).inc("gold", 5)

    return run


def within(make: Callable[[Call], Act], *, again: bool = False) -> Callable[[Call], Act]:
    """Return an operation in a transaction, with `again` in one that is tried again."""

    def made(call: Call) -> Act:
        act = make(call)

        async def run() -> None:
            if call.is_async:
                if again:
                    await loom.aio.with_transaction(act)
                    return
                async with loom.aio.transaction():
                    await act()
            elif again:
                loom.with_transaction(lambda: finish(act))
            else:
                with loom.transaction():
                    await act()

        return run

    return made


def finish(act: Act) -> None:
    """Run a blocking call, whose result is there when it is awaited."""
    steps = act().__await__()
    try:
        next(steps)
    except StopIteration:
        return
    raise AssertionError("a blocking call suspended")


def insert_rest(call: Call, frames: list[Any]) -> Awaitable[Any]:
    return call(Beast).insert_many(frames, ordered=False)  # type: ignore[no-any-return]


def update_rest(call: Call, frames: list[Any]) -> Awaitable[Any]:
    return call(Counted).update_many(frames, "name", ordered=False)  # type: ignore[no-any-return]


def listen() -> None:
    """Listen to everything."""
    for event in ("insert", "inserted", "update", "updated", "delete", "deleted"):
        Heard.listen(event, lambda sender, frames: None)


def watch() -> None:
    """Keep a log."""
    history.track(Watched, by="Ann")


THERE = (Duplicate, BulkError)
OPERATIONS = [
    Operation("insert", BEASTS, insert, unless=THERE),
    Operation("insert without _id", BEASTS, insert_without_id, unless=THERE),
    Operation("update", BEASTS, update),
    Operation("update where", BEASTS, update_where_of_frame, unless=(Conflict,)),
    Operation("save", BEASTS, save),
    Operation("save new", BEASTS, save_new),
    Operation("save versioned", COUNTED, save_versioned, unless=(Conflict,)),
    Operation(
        "update_many versioned", COUNTED, update_many_versioned, unless=THERE, rest=update_rest
    ),
    Operation("delete versioned", COUNTED, delete_versioned),
    Operation("unset", BEASTS, unset),
    Operation("delete", BEASTS, delete),
    Operation("upsert new", BEASTS, upsert_new),
    Operation("upsert stored", BEASTS, upsert_stored),
    Operation("inc", BEASTS, inc, repeat=False),
    Operation("inc where", BEASTS, inc_guarded, unless=(Conflict,)),
    Operation("change", BEASTS, change, repeat=False),
    Operation("take", BEASTS, take, repeat=False),
    Operation("take with listeners", HEARD, take_heard, repeat=False, listens=listen),
    Operation("IncrCounter", CLICKS, count_up, repeat=False),
    Operation("IncrCounter in a batch", CLICKS, count_up_many, repeat=False),
    Operation("IncrCounter versioned", COUNTED, count_up_versioned, unless=(Conflict,)),
    Operation("insert_many", BEASTS, insert_many, unless=THERE, rest=insert_rest),
    Operation(
        "insert_many unordered", BEASTS, lambda c: insert_many(c, ordered=False), unless=THERE
    ),
    Operation("update_many", BEASTS, update_many),
    Operation("update_many unordered", BEASTS, lambda c: update_many(c, ordered=False)),
    Operation("unset_many", BEASTS, unset_many),
    Operation("delete_many", BEASTS, delete_many),
    Operation("update_where", BEASTS, update_where),
    Operation("delete_where", BEASTS, delete_where),
    Operation("update_where with listeners", HEARD, update_where_heard, listens=listen),
    Operation("delete_where with listeners", HEARD, delete_where_heard, listens=listen),
    Operation("bulk ordered", BEASTS, lambda c: bulk(c, ordered=True), repeat=False),
    Operation("bulk unordered", BEASTS, lambda c: bulk(c, ordered=False), unless=THERE),
    Operation("cascade", TREE, cascade),
    Operation("cascade by filter", TREE, cascade_where),
    Operation("LedgerFrame", {"faults.price": []}, ledger, repeat=False),
    Operation("logged insert", WATCHED, logged_insert, repeat=False, listens=watch),
    Operation("logged update", WATCHED, logged_update, repeat=False, listens=watch),
    Operation("logged update_many", WATCHED, logged_update_many, repeat=False, listens=watch),
    Operation("logged delete", WATCHED, logged_delete, repeat=False, listens=watch),
]

IN_TRANSACTIONS = [
    Operation("two incs", BEASTS, within(moved), repeat=False),
    Operation("two incs again", BEASTS, within(moved, again=True), repeat=False),
    Operation("cascade", TREE, within(cascade)),
    Operation("insert_many", BEASTS, within(insert_many), unless=THERE),
    Operation("logged update", WATCHED, within(logged_update), repeat=False, listens=watch),
    Operation("bulk", BEASTS, within(lambda c: bulk(c, ordered=True)), repeat=False),
    Operation("count_up", CLICKS, within(count_up), repeat=False),
    Operation("update_where", HEARD, within(update_where_heard), listens=listen),
]

RETRYABLE = ["RetryableWriteError"]
REFUSED = {"errorCode": 10107, "errorLabels": []}
REFUSED_LABELLED = {"errorCode": 10107, "errorLabels": RETRYABLE}
UNTOUCHED = {"errorCode": 10107, "errorLabels": [*RETRYABLE, "NoWritesPerformed"]}
STOPPED = {"errorCode": 11602, "errorLabels": RETRYABLE}
TIMED_OUT = {"errorCode": 50, "errorLabels": []}
CONCERN = {"writeConcernError": {"code": 64, "errmsg": "waited too long"}, "errorLabels": []}
CONCERN_AGAIN = {
    "writeConcernError": {"code": 91, "errmsg": "shutting down"},
    "errorLabels": RETRYABLE,
}

PLANS = [
    Plan("lost before", ("before",)),
    Plan("lost before, always", (), "before"),
    Plan("lost after", ("after",)),
    Plan("lost after, always", (), "after"),
    Plan("lost after, then before", ("after",), "before"),
    Plan("lost before, then after", ("before", "after")),
    Plan("refused", (REFUSED,)),
    Plan("refused with a label", (REFUSED_LABELLED,)),
    Plan("refused always", (), REFUSED_LABELLED),
    Plan("lost after, then refused", ("after", REFUSED)),
    Plan("lost after, then refused with a label", ("after", REFUSED_LABELLED)),
    Plan("lost after, then untouched", ("after", UNTOUCHED)),
    Plan("stopped always", (), STOPPED),
    Plan("timed out", (TIMED_OUT,)),
    Plan("write concern", (CONCERN,)),
    Plan("write concern, retried", (CONCERN_AGAIN,)),
    Plan("write concern always", (), CONCERN_AGAIN),
]
#: These cost the time of a client's patience.
SLOW_PLANS = [Plan("late", ("late",)), Plan("late always", (), "late")]


AWAITED = [p for p in PLANS if p.name in ("lost after", "lost after, always", "write concern")]
AWAITED += [p for p in PLANS if p.name == "lost after, then refused"]
#: Of these every command is tried.
STEPWISE = ("cascade", "bulk", "logged", "counter")
OF_STEPS = [p for p in PLANS if p.name in ("lost after, always", "refused always", "write concern")]
_IN_TRANSACTION = ("lost before, always", "lost after", "lost after, always", "stopped always")
IN_TRANSACTION = [p for p in PLANS if p.name in (*_IN_TRANSACTION, "refused")]
IN_TRANSACTION_AWAITED = [p for p in PLANS if p.name in ("lost after", "lost after, then before")]
#: Writes of each kind, for what takes time.
PATIENCE = ["insert without _id", "save versioned", "inc", "delete", "insert_many", "cascade"]


# What is stored


State = dict[Any, Any]


class World:
    """The database of a test, and what happens to it."""

    def __init__(self, server: Server, db: str, proxy: Faulty) -> None:
        self.server = server
        self.proxy = proxy
        self.database = server.client[db]
        self.faults = 0

    def reset(self, documents: Documents) -> None:
        """Store these documents and no others."""
        for name in {*self.database.list_collection_names(), *documents}:
            self.database[name].delete_many({})
        for name, given in documents.items():
            if given:
                self.database[name].insert_many([dict(document) for document in given])

    def state(self, stored: Documents) -> State:
        """Return the documents by collection and id; those with made-up ids by what they hold."""
        found: State = {}
        for name in sorted(self.database.list_collection_names()):
            for document in self.database[name].find():
                id = document["_id"]
                if not isinstance(id, int):
                    document.pop("_id")
                    document.pop("recorded", None)
                    # The same again is another one.
                    text, number = repr(document), 0
                    while (name, text, number) in found:
                        number += 1
                    id = text, number
                    found[(name, *id)] = document
                    continue
                found[name, id] = document
        return found


@pytest.fixture(scope="module")
def faulty(server: Server) -> Iterator[tuple[Faulty, Any]]:
    """A server that fails when it is told to, and its clients."""
    if not server.is_embedded:
        pytest.skip("needs fail points, and a server of its own whose sessions may be killed")
    proxy = Faulty(server, batch=3)
    uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    with clients(server, uri) as made:
        yield proxy, made
    proxy.close()


@pytest.fixture
def world(server: Server, db: str, faulty: tuple[Faulty, Any]) -> World:
    """The database of this test, seen past the faults."""
    proxy, (client, aio) = faulty
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    return World(server, db, proxy)


# What was said


def notes(error: BaseException) -> str:
    """Return all that an error says, and what caused it."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def told(error: Exception | None) -> str:
    """Return what the caller knows: done, nothing, lists, part or unknown."""
    if error is None:
        return "done"
    text = notes(error)
    if "nothing of it is stored" in text:
        return "nothing"
    if isinstance(error, BulkError):
        return "lists"
    if "not known" in text or "may have been written" in text or "perhaps some" in text:
        return "unknown"
    if (
        "stand" in text
        or "were deleted and" in text
        or "the write was done" in text
        or "documents were written" in text
        or "see results" in text
    ):
        return "part"
    if isinstance(error, WriteConcernError):
        return "done"
    return "nothing"


def problems(error: Exception | None, before: State, after: State, stored: State) -> Iterator[str]:
    """Yield where what is stored is not what the caller was told, or is no state at all."""
    touched = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    for key in {*before, *after, *stored}:
        found = stored.get(key)
        if found not in (before.get(key), after.get(key)):
            yield f"{key}: neither before nor after: {found}"
    applied = {key for key in touched if stored.get(key) == after.get(key)}
    said = told(error)
    if said == "done" and applied != touched:
        yield f"told done, not done: {touched - applied}"
    if said == "nothing" and applied:
        yield f"told nothing, done: {applied}"
    if said == "lists" and isinstance(error, BulkError):
        yield from _lists(error, touched, applied)


def _lists(error: BulkError, touched: set[Any], applied: set[Any]) -> Iterator[str]:
    def keys(frames: Any) -> set[Any]:
        return {(type(f)._collection, f._document.get("_id")) for f in frames} & touched

    written = keys(error.frames_written)
    failed = keys(frame for frame, _ in error.frames_failed)
    unknown = keys(frame for frame, _ in error.frames_unknown)
    if written - applied:
        yield f"told written, not done: {written - applied}"
    if failed & applied:
        yield f"told failed, done: {failed & applied}"
    of_frames = {key for key in touched if len(key) == 2}
    others = of_frames - written - failed - unknown
    told_otherwise = "were deleted and", "the write was done", "documents were written"
    if others & applied and not any(text in notes(error) for text in told_otherwise):
        yield f"not told of: {others & applied}"


# The tests


async def attempt(act: Act) -> Exception | None:
    """Run an operation; return what it raises."""
    try:
        await act()
    except (PyMongoError, loom.LoomError) as error:
        return error
    return None


def repeated(call: Runtime, operation: Operation, act: Act, error: Exception) -> Act:
    """Return what a caller does after a failure."""
    rest = operation.rest
    if rest is None:
        return act
    if not isinstance(error, BulkError):
        return lambda: act(ordered=False)
    left = [frame for frame, _ in (*error.frames_failed, *error.frames_unknown)]
    return lambda: rest(call, left)


async def clean(world: World, call: Runtime, operation: Operation) -> tuple[State, State, int]:
    """Run an operation without a fault; return what is stored before and after, and its steps."""
    world.reset(operation.stored)
    before = world.state(operation.stored)
    with world.proxy.failing(0, None):
        await operation.make(call)()
    return before, world.state(operation.stored), len(world.proxy.names)


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something holds, but not for ever."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


async def run(
    world: World,
    call: Runtime,
    operation: Operation,
    plans: list[Plan],
    *,
    whole: bool = False,
    every: bool = False,
    seconds: float | None = None,
) -> list[str]:
    """Run an operation under faults; return what went wrong."""
    if operation.listens is not None:
        operation.listens()
    before, after, count = await clean(world, call, operation)
    assert before != after, "the operation does nothing"
    wrong = []
    met = 0  # on a loaded machine a time limit can pass before the fault
    for plan in plans:
        for position in range(count) if every else sorted({0, count // 2, count - 1}):
            world.reset(operation.stored)
            act = operation.make(call)
            with world.proxy.failing(position, plan), pymongo.timeout(seconds):
                error = await attempt(act)
            world.faults += world.proxy.injected
            if whole:
                free(world.server)
            stored = world.state(operation.stored)
            found = [*problems(error, before, after, stored)]
            met += bool(world.proxy.injected)
            if whole and stored not in (before, after):
                found.append(f"half of a transaction: {stored}")
            if error is not None and not found and operation.repeat:
                again = await attempt(repeated(call, operation, act, error))
                if again is not None and not isinstance(again, operation.unless):
                    found.append(f"again: {again!r} {notes(again)}")
                if world.state(operation.stored) != after:
                    found.append(f"again: {again!r}, not as after: {world.state(operation.stored)}")
            text = f"told {told(error)}: {error!r} {getattr(error, '__notes__', '')}"
            wrong += [f"{plan.name} at {position} of {count}: {f}\n    {text}" for f in found]
    # On a machine that is slow the patience may be over before any fault.
    assert met or seconds, "no fault was met"
    return wrong


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
async def test_every_write(call: Runtime, world: World, operation: Operation) -> None:
    """What a caller is told is what is stored, once; calling again ends as without a fault."""
    wrong = await run(world, call, operation, AWAITED if call.is_async else PLANS)

    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.name.startswith(STEPWISE)], ids=lambda o: o.name
)
async def test_every_step(call: Runtime, world: World, operation: Operation) -> None:
    """Where documents go with others it holds at every single command."""
    wrong = await run(world, call, operation, OF_STEPS, every=True)

    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("operation", IN_TRANSACTIONS, ids=lambda o: o.name)
async def test_transactions(
    call: Runtime, world: World, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    """Of a transaction all is stored or nothing, as the caller is told."""
    plans = IN_TRANSACTION_AWAITED if call.is_async else IN_TRANSACTION
    if "again" in operation.name:  # it would be tried for two minutes
        plans = [plan for plan in plans if plan.rest == "pass"]
    # So is a commit whose result is not known.
    monkeypatch.setattr(running_transactions, "COMMIT_SECONDS", 0.05)
    wrong = await run(world, call, operation, plans, whole=True)

    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("name", PATIENCE)
async def test_timeouts(call: Runtime, world: World, name: str) -> None:
    """A write that the server does when the client has gone is not lost, and not done twice."""
    (operation,) = [o for o in OPERATIONS if o.name == name]
    wrong = await run(world, call, operation, SLOW_PLANS, seconds=0.1)

    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("name", ["insert", "update", "inc", "delete", "update_many", "take"])
async def test_blocked_by_the_server(
    call: Runtime, world: World, server: Server, name: str
) -> None:
    """The same when the server itself holds a command back."""
    (operation,) = [o for o in OPERATIONS if o.name == name]
    before, after, _ = await clean(world, call, operation)
    world.reset(operation.stored)
    act = operation.make(call)
    writes = ["insert", "update", "delete", "findAndModify"]
    with (
        fault(server, writes, times=1, blockConnection=True, blockTimeMS=200),
        pymongo.timeout(0.08),
    ):
        error = await attempt(act)
    # What was held back is done before what comes after it.
    wait_for(lambda: world.state(operation.stored) == after)
    stored = world.state(operation.stored)

    assert isinstance(error, PyMongoError)
    assert error.timeout
    assert [] == [*problems(error, before, after, stored)]


async def test_a_refused_delete_takes_nothing_along(call: Runtime, world: World) -> None:
    """A condition that fails is found before what goes with the document is deleted."""
    world.reset(TREE)
    before = world.state(TREE)
    (company,) = of(Company, TREE, 1)
    with pytest.raises(Conflict):
        await call(company).delete(where=Q.name == "Other")

    assert before == world.state(TREE)


# Counter caches


class Post(Frame):
    """Counts its comments."""

    _collection = "faults.post"
    comments: int = 0


class Comment(Frame):
    """Is counted."""

    _collection = "faults.comment"
    post: Post


COMMENTS: Documents = {
    "faults.post": [{"_id": 1, "comments": 3}, {"_id": 2, "comments": 1}],
    "faults.comment": [{"_id": n, "post": 1 + n // 3} for n in range(4)],
}


def comment(call: Call) -> Act:
    one = Comment(_id=50, post=1)
    return lambda: call(one).insert()


def comment_many(call: Call) -> Act:
    frames = [Comment(_id=50 + n, post=1 + n % 2) for n in range(5)]
    return lambda: call(Comment).insert_many(frames)


def move_comment(call: Call) -> Act:
    one = Comment(dict(COMMENTS["faults.comment"][0]))
    one.post = 2
    return lambda: call(one).save()


def delete_comments(call: Call) -> Act:
    frames = of(Comment, COMMENTS)
    return lambda: call(Comment).delete_many(frames)


def is_counted(stored: State) -> bool:
    """Tell whether every number is right."""
    posts = [d["post"] for (name, _), d in stored.items() if name == "faults.comment"]
    return all(
        posts.count(id) == d["comments"]
        for (name, id), d in stored.items()
        if name == "faults.post"
    )


@pytest.mark.parametrize("make", [comment, comment_many, move_comment, delete_comments])
async def test_counter_caches(call: Runtime, world: World, make: Callable[[Call], Act]) -> None:
    """Numbers are right after what returned, and when an error said nothing; else recount is."""
    cache = counter_cache(Post, "comments", of=Comment, by="post")
    try:
        operation = Operation("comments", COMMENTS, make)
        _, after, count = await clean(world, call, operation)
        assert is_counted(after)
        for plan in OF_STEPS:
            for position in range(count):
                world.reset(COMMENTS)
                with world.proxy.failing(position, plan):
                    error = await attempt(make(call))
                stored = world.state(COMMENTS)
                text = f"{plan.name} at {position}: {error!r} {stored}"
                if told(error) in ("done", "nothing"):
                    assert is_counted(stored), text
                if error is None:
                    assert stored == after, text
                cache.recount()
                assert is_counted(world.state(COMMENTS)), text
    finally:
        cache.stop()
