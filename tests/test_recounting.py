"""Recounts: what is wrong is found and corrected, also while others write."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener

import loom
from loom import DefinitionError, FieldError, Frame, Q, QueryError
from loom.frames.counters import CounterCache, Recount, counter_cache, recount

from .conftest import Commands, Runtime, Server


class Shelf(Frame):
    """Holds books."""

    name: str
    books: int = 0


class Book(Frame):
    """Stands on a shelf, or on several."""

    shelf: Any
    pages: int


@pytest.fixture
def cache(db: str) -> CounterCache:
    """The number of books on each shelf."""
    return counter_cache(Shelf, "books", of=Book, by="shelf")


def fill(shelves: int = 3, **counts: Any) -> None:
    """Store shelves, and as many books on each as its number, past Loom."""
    Shelf.get_collection().insert_many([{"_id": n, "name": str(n)} for n in range(shelves)])
    Book.get_collection().insert_many(
        [{"shelf": n} for n in range(shelves) for _ in range(n)] + [{"shelf": None}]
    )


def held() -> dict[Any, Any]:
    """Return the numbers as they are stored, by id."""
    return {d["_id"]: d.get("books", "absent") for d in Shelf.get_collection().find()}


@pytest.mark.parametrize("value", [5, -1, 1.5, None, "absent", "1", True, [1], {"a": 1}])
async def test_wrong_numbers_are_corrected(call: Runtime, cache: CounterCache, value: Any) -> None:
    """Whatever stands there; what is right is not written, zero is."""
    fill()
    assert Recount(3, 3, 0) == await call(cache).recount()
    assert {0: 0, 1: 1, 2: 2} == held()
    change = {"$unset": {"books": 1}} if value == "absent" else {"$set": {"books": value}}
    Shelf.get_collection().update_one({"_id": 1}, change)
    assert Recount(3, 1, 0) == await call(cache).recount(dry_run=True)
    assert value == held()[1]
    assert Recount(3, 1, 0) == await call(cache).recount()
    assert {0: 0, 1: 1, 2: 2} == held()
    assert int is type(held()[1])
    assert Recount(3, 0, 0) == await call(cache).recount()


async def test_numbers_of_other_types_are_right(
    call: Runtime, cache: CounterCache, commands: Commands
) -> None:
    """A float that is equal is left as it is; what is right costs two commands per batch."""
    fill()
    for n in range(3):
        Shelf.get_collection().update_one({"_id": n}, {"$set": {"books": float(n)}})
    commands.clear()
    assert Recount(3, 0, 0) == await call(cache).recount()
    assert ["find", "aggregate"] == commands.names
    assert float is type(held()[1])


async def test_some_of_the_owners(call: Runtime, cache: CounterCache) -> None:
    """A filter of any kind says which."""
    fill()
    assert Recount(1, 1, 0) == await call(cache).recount(Q.name == "1")
    assert {0: "absent", 1: 1, 2: "absent"} == held()
    assert Recount(2, 2, 0) == await call(cache).recount({"name": {"$ne": "1"}})
    assert Recount(0, 0, 0) == await call(cache).recount(Q.name == "none")
    with pytest.raises(QueryError):
        await call(cache).recount(False)


async def test_batches(call: Runtime, cache: CounterCache, commands: Commands) -> None:
    """Owners are looked at in batches of a query's ids, and written only where they are wrong."""
    fill(60)
    commands.clear()
    assert Recount(60, 60, 0) == await call(cache).recount()
    expected = ["find", *["aggregate", "find", "aggregate", "update"] * 3]
    assert expected == [name for name in commands.names if name != "getMore"]
    assert {n: n for n in range(60)} == held()


async def test_an_empty_collection(call: Runtime, cache: CounterCache) -> None:
    """No owner, nothing to do; owners without anything that refers hold zero."""
    assert Recount(0, 0, 0) == await call(cache).recount()
    await call(Shelf(_id=1, books=7)).insert()
    assert Recount(1, 1, 0) == await call(cache).recount()
    assert {1: 0} == held()


async def test_a_condition_on_what_is_counted(call: Runtime, db: str) -> None:
    """Only what matches is counted."""
    cache = counter_cache(Shelf, "books", of=Book, by="shelf", where=Q.pages >= 100)
    Shelf.get_collection().insert_one({"_id": 1})
    Book.get_collection().insert_many([{"shelf": 1, "pages": n} for n in (99, 100, 101, None)])
    assert Recount(1, 1, 0) == await call(cache).recount()
    assert {1: 2} == held()


async def test_no_events_are_sent(call: Runtime, cache: CounterCache) -> None:
    """Nobody hears of a correction."""
    fill()
    heard: list[str] = []
    for event in ("update", "updated"):
        Shelf.listen(event, lambda event=event: heard.append(event))
    await call(cache).recount()

    assert [] == heard


def test_recount_by_name(cache: CounterCache) -> None:
    """The function finds the cache of a field."""
    fill()
    assert Recount(1, 1, 0) == recount(Shelf, "books", Q.name == "1", dry_run=True)
    assert Recount(3, 3, 0) == recount(Shelf, "books", comment="nightly")
    with pytest.raises(DefinitionError, match="got 'boks' of Shelf; call counter_cache"):
        recount(Shelf, "boks")
    cache.stop()
    with pytest.raises(DefinitionError):
        recount(Shelf, "books")


async def test_options(call: Runtime, cache: CounterCache, commands: Commands) -> None:
    """A comment goes with each command; other options are refused before anything is sent."""
    fill()
    commands.clear()
    with pytest.raises(FieldError, match="expected session or comment, got 'hint'"):
        await call(cache).recount(hint="_id_")
    assert [] == commands.names
    await call(cache).recount(comment="nightly")
    assert {"nightly"} == {body.get("comment") for body in commands.bodies}


async def test_in_a_transaction(call: Runtime, cache: CounterCache) -> None:
    """A recount in a transaction sees what that has written, and is rolled back with it."""
    fill()

    async def work() -> None:
        await call(Book(shelf=1)).insert()
        assert Recount(3, 3, 0) == await call(cache).recount()
        assert 2 == (await call(Shelf).by_id(1)).books
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        if call.is_async:
            async with loom.aio.transaction():
                await work()
        else:
            with loom.transaction():
                await work()
    assert {0: "absent", 1: "absent", 2: "absent"} == held()


async def test_the_primary_is_read(
    call: Runtime, secondaries: Commands, cache: CounterCache
) -> None:
    """Classes that read from secondaries are counted by what the primary holds."""
    fill()
    book = Book(shelf=1)
    secondaries.clear()
    await call(cache).recount()
    await call(book).insert()
    book.shelf = 2
    await call(book).update()
    await call(book).delete()
    bodies = [b for b in secondaries.bodies if "find" in b or "aggregate" in b]
    await call(Book).one()
    assert 5 <= len(bodies)
    assert {None} == {body.get("$readPreference") for body in bodies}
    assert {"mode": "secondaryPreferred"} == secondaries.bodies[-1]["$readPreference"]


# While others write


@pytest.fixture
def interfere(server: Server, db: str) -> Iterator[Callable[[Callable[[str], None]], None]]:
    """`interfere(function)`: call it with the name of each command that Loom is about to send."""
    acting: list[Callable[[str], None]] = []

    class Acting(CommandListener):
        def started(self, event: Any) -> None:
            for act in acting:
                act(event.command_name)

        def succeeded(self, event: Any) -> None:
            """Nothing to do."""

        def failed(self, event: Any) -> None:
            """Nothing to do."""

    client: MongoClient[Any] = MongoClient(server.uri, event_listeners=[Acting()])

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, event_listeners=[Acting()])

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    yield acting.append
    client.close()
    server.loop.run_until_complete(aio.close())


async def test_a_writer_between_its_steps(
    call: Runtime, server: Server, db: str, interfere: Any, cache: CounterCache
) -> None:
    """A write that is seen before it is counted is not counted twice."""
    fill()
    await call(cache).recount()
    raw = server.client[db]
    steps = iter(
        [
            lambda: raw.Book.insert_one({"shelf": 1}),
            lambda: raw.Shelf.update_one({"_id": 1}, {"$inc": {"books": 1}}),
        ]
    )

    def act(name: str) -> None:
        if name == "aggregate":
            next(steps, lambda: None)()

    interfere(act)

    assert Recount(3, 0, 0) == await call(cache).recount()
    assert {0: 0, 1: 2, 2: 2} == held()


async def test_a_writer_before_the_correction(
    call: Runtime, server: Server, db: str, interfere: Any, cache: CounterCache
) -> None:
    """A number that has changed since it was looked at is not overwritten, but looked at again."""
    fill()
    raw = server.client[db]
    raw.Shelf.update_many({}, {"$set": {"books": 5}})
    once = iter([True])

    def act(name: str) -> None:
        if name == "update" and next(once, False):
            raw.Book.insert_one({"shelf": 1})
            raw.Shelf.update_one({"_id": 1}, {"$inc": {"books": 1}})

    interfere(act)

    assert Recount(3, 3, 0) == await call(cache).recount()
    assert {0: 0, 1: 2, 2: 2} == held()


async def test_numbers_that_never_settle(
    call: Runtime, server: Server, db: str, interfere: Any, cache: CounterCache
) -> None:
    """A number that changes with every look is left alone, and the report says so."""
    fill()
    raw = server.client[db]
    raw.Shelf.update_many({}, {"$set": {"books": 50}})

    def act(name: str) -> None:
        if name == "aggregate":
            raw.Shelf.update_one({"_id": 1}, {"$inc": {"books": 1}})

    interfere(act)

    assert Recount(3, 2, 1) == await call(cache).recount()
    assert {0: 0, 2: 2} == {n: count for n, count in held().items() if n != 1}
    assert held()[1] > 50


def test_recounts_among_writers(db: str, cache: CounterCache) -> None:
    """Twenty writers and four recounts at once; in the end a last one finds what is true."""
    Shelf.insert_many([{"_id": n} for n in range(4)])
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        return run

    def write(seed: int) -> None:
        chance = random.Random(seed)
        book = Book(shelf=chance.randrange(4))
        book.insert()
        for _ in range(6):
            book.shelf = chance.randrange(5)
            book.update("shelf")
        if seed % 2:
            book.delete()

    def repair() -> None:
        for _ in range(5):
            cache.recount()

    threads = [threading.Thread(target=guarded(lambda s=seed: write(s))) for seed in range(20)]
    threads += [threading.Thread(target=guarded(repair)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = cache.recount()

    assert [] == failures
    assert 0 == found.unsettled
    assert held() == {n: Book.count(Q.shelf == n) for n in range(4)}
