"""Changes made in one step on the server: inc, change, take."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timezone
from typing import Any

import pytest

import loom
from loom import Conflict, Frame, Gone, IncrCounter, Q, SubFrame
from tests.conftest import Commands, Runtime


class Lair(SubFrame):
    """An embedded document."""

    name: str
    gold: int
    traps: list[str]


class Dragon(Frame):
    """What is changed."""

    name: str
    gold: int
    ratio: float
    lair: Lair
    lairs: list[Lair]
    loot: list[Any]
    map: dict[str, Any]
    nemesis: Dragon
    visits: IncrCounter
    seen: datetime


class Job(Frame):
    """What workers take."""

    state: str
    number: int
    worker: str
    lair: Lair


def put() -> None:
    """Store a dragon."""
    Dragon.get_collection().insert_one(
        {
            "_id": 1,
            "name": "Burt",
            "gold": 10,
            "lair": {"name": "Cave", "gold": 5, "traps": ["pit"]},
            "lairs": [{"name": "A", "gold": 1}],
            "loot": ["ring"],
            "map": {"a": {"b": 1}},
            "nemesis": 1,
            "visits": 7,
        }
    )


def stored(id: Any = 1) -> Any:
    """Return the stored document."""
    return Dragon.get_collection().find_one({"_id": id})


async def burt(call: Runtime) -> Any:
    """Return a loaded frame."""
    put()
    return await call(Dragon).one(required=True)


# inc


async def test_inc(call: Runtime, commands: Commands) -> None:
    """It adds on the server, in one command, and gives the new value."""
    dragon = await burt(call)
    Dragon.get_collection().update_one({"_id": 1}, {"$set": {"gold": 100}})
    commands.clear()
    assert 101 == await call(dragon).inc("gold")
    assert 1 == len(commands.sent)
    assert 96 == await call(dragon).inc("gold", -5, where=Q.gold >= 5)
    assert 96 == dragon.gold == stored()["gold"]
    assert 0.5 == await call(dragon).inc("ratio", 0.5)
    assert 7 == await call(dragon).inc("lair.gold", 2)
    assert (7, "Cave", ["pit"]) == (dragon.lair.gold, dragon.lair.name, dragon.lair.traps)
    assert 3 == await call(dragon).inc("map.a.c", 3)
    assert {"a": {"b": 1, "c": 3}} == dragon.map == stored()["map"]


async def test_inc_under_a_condition(call: Runtime) -> None:
    """Where the condition does not hold nothing is added, and the frame stays as it was."""
    dragon = await burt(call)
    with pytest.raises(Conflict) as caught:
        await call(dragon).inc("gold", -50, where=Q.gold >= 50)
    assert 10 == dragon.gold == caught.value.stored.gold == stored()["gold"]
    await call(dragon).delete()
    with pytest.raises(Gone, match="Dragon.inc"):
        await call(dragon).inc("gold", where=Q.gold == 10)


@pytest.mark.parametrize("amount", ["5", None, True, [1], {}])
async def test_inc_takes_numbers(call: Runtime, commands: Commands, amount: Any) -> None:
    """Anything else is refused before it is sent."""
    dragon = await burt(call)
    commands.clear()
    with pytest.raises(loom.QueryError, match="Dragon.inc: expected a number"):
        await call(dragon).inc("gold", amount)
    with pytest.raises(loom.FieldError, match="did you mean 'gold'"):
        await call(dragon).inc("glod")
    with pytest.raises(loom.MissingId):
        await call(Dragon(gold=1)).inc("gold")

    assert [] == commands.sent


async def test_inc_and_counters(call: Runtime) -> None:
    """What was added to a counter and is not saved yet is kept beside an `inc`."""
    dragon = await burt(call)
    dragon.visits += 2
    assert 8 == await call(dragon).inc("visits") - 2
    await call(dragon).save()
    await call(dragon).save()

    assert 10 == dragon.visits == stored()["visits"]


async def test_inc_is_saved(call: Runtime, commands: Commands) -> None:
    """The value that comes back needs no save."""
    dragon = await burt(call)
    await call(dragon).inc("gold")
    await call(dragon).inc("lair.gold")
    commands.clear()
    await call(dragon).save()

    assert [] == commands.sent


@pytest.mark.parametrize("runtime", ["threads", "tasks"])
async def test_many_at_once(db: str, runtime: str) -> None:
    """Forty writers lose no count."""
    put()

    def count() -> None:
        dragon = Dragon.one(required=True)
        for _ in range(5):
            dragon.inc("gold")
            dragon.visits += 1
            dragon.save()

    async def count_async() -> None:
        dragon = await Dragon.aio.one(required=True)
        for _ in range(5):
            await dragon.aio.inc("gold")
            dragon.visits += 1
            await dragon.aio.save()

    if runtime == "threads":
        threads = [threading.Thread(target=count) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        await asyncio.gather(*[count_async() for _ in range(40)])

    assert (210, 207) == (stored()["gold"], stored()["visits"])


# change


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"$push": {"loot": "cup"}}, "loot", ["ring", "cup"]),
        ({"$push": {"loot": {"$each": ["a", "b"]}}}, "loot", ["ring", "a", "b"]),
        ({"$pull": {"loot": "ring"}}, "loot", []),
        ({"$addToSet": {"loot": "ring"}}, "loot", ["ring"]),
        ({"$set": {"name": "Puff"}, "$inc": {"gold": 1}}, "name", "Puff"),
        ({"$set": {"lairs.0.gold": 9}}, "lairs", [Lair(name="A", gold=9)]),
        ({"$set": {"lair.name": "Den"}}, "lair", Lair(name="Den", gold=5, traps=["pit"])),
        ({"$set": {Q.lair.name: "Den"}}, "lair", Lair(name="Den", gold=5, traps=["pit"])),
        ({"$set": {"map.x.y": 1}}, "map", {"a": {"b": 1}, "x": {"y": 1}}),
        ({"$unset": {"name": True}}, "name", None),
        ({"$min": {"gold": 3}}, "gold", 3),
        ({"$mul": {"gold": 2}}, "gold", 20),
        ([{"$set": {"gold": {"$add": ["$gold", "$lair.gold"]}}}], "gold", 15),
    ],
)
async def test_change(call: Runtime, changes: Any, field: str, value: Any) -> None:
    """What an update document or a pipeline stores comes back into the frame."""
    dragon = await burt(call)
    await call(dragon).change(changes)
    fresh = await call(Dragon).one(required=True)

    assert value == getattr(dragon, field) == getattr(fresh, field)
    assert dragon._document == fresh._document


async def test_change_renames(call: Runtime) -> None:
    """Both names of a `$rename` are as stored."""
    dragon = await burt(call)
    await call(dragon).change({"$rename": {"gold": "ratio"}})

    assert (None, 10) == (dragon.gold, dragon.ratio)


async def test_change_with_array_filters(call: Runtime) -> None:
    """PyMongo's options pass through; the list comes back whole."""
    dragon = await burt(call)
    await call(dragon).change({"$set": {"lairs.$[rich].gold": 0}}, array_filters=[{"rich.gold": 1}])

    assert [Lair(name="A", gold=0)] == dragon.lairs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "x"}, r"expected update operators, got the field 'name'; write .*'\$set'"),
        ({}, "expected something to write"),
        ([], "expected something to write"),
        ("x", "expected update operators such as"),
        (None, "expected update operators such as"),
        ({"$set": {}}, "expected something to write"),
        ({"$set": "x"}, "expected a dict of fields and values"),
        ({"$st": {"name": 1}}, r"did you mean '\$set'"),
        ({"$set": {"_id": 2}}, "expected fields that can change, got '_id'"),
    ],
)
async def test_changes_that_are_refused(
    call: Runtime, commands: Commands, changes: Any, message: str
) -> None:
    """A replacement, nothing, or something else is refused before it is sent."""
    dragon = await burt(call)
    commands.clear()
    with pytest.raises(loom.QueryError, match=rf"Dragon\.change.*{message}"):
        await call(dragon).change(changes)
    with pytest.raises(loom.QueryError, match=message):
        await call(Dragon).take({}, changes)

    assert [] == commands.sent


async def test_a_reference_stays_a_frame(call: Runtime) -> None:
    """A dereferenced frame whose id is written again stays; another id takes its place."""
    put()
    dragon = await call(Dragon).one(projection={"nemesis": {"$ref": Dragon}}, required=True)
    nemesis = dragon.nemesis
    await call(dragon).change({"$set": {"nemesis": nemesis}})
    assert dragon.nemesis is nemesis
    await call(dragon).change({"$set": {"nemesis": 5}})

    assert dragon.nemesis == 5


async def test_listeners_join_a_change(call: Runtime) -> None:
    """Listeners hear the change, and what they assign is stored with it."""
    dragon = await burt(call)
    heard: list[Any] = []

    def before(frames: Any, fields: Any, changes: Any) -> None:
        heard.append((fields, changes))
        frames[0].seen = datetime(2024, 1, 1, tzinfo=timezone.utc)

    Dragon.listen("update", before)
    Dragon.listen("updated", lambda sender, frames, fields: heard.append((fields, frames[0].gold)))
    await call(dragon).inc("gold")

    assert [(("gold",), [{"$inc": {"gold": 1}}]), ({"gold", "seen"}, 11)] == [
        heard[0],
        (set(heard[1][0]), heard[1][1]),
    ]
    assert 2024 == stored()["seen"].year
    await call(dragon).change([{"$set": {"gold": 1}}])
    assert (1, 2024) == (stored()["gold"], stored()["seen"].year)


# take


async def test_take(call: Runtime) -> None:
    """The first that matches is changed and returned as it is now; None when nothing does."""
    await call(Job).insert_many([{"state": "new", "number": n} for n in (3, 1, 2)])
    taken = []
    while True:
        job = await call(Job).take(
            Q.state == "new", {"$set": {"state": "taken"}}, sort="number", projection=["number"]
        )
        if job is None:
            break
        taken.append((job.number, job.get("state")))

    assert [(1, None), (2, None), (3, None)] == taken
    job = await call(Job).take({}, {"$set": {"lair": Lair(gold=1)}}, sort=[("number", -1)])
    assert (3, "taken", 1) == (job.number, job.state, job.lair.gold)


@pytest.mark.parametrize("heard", [False, True])
def test_many_workers_take_each_job_once(db: str, heard: bool) -> None:
    """Eight threads, with and without listeners: every job goes to one of them."""
    Job.insert_many([{"state": "new", "number": n} for n in range(60)])
    events: list[int] = []
    if heard:
        Job.listen("update", lambda sender, frames: setattr(frames[0], "worker", "x"))
        Job.listen("updated", lambda sender, frames: events.append(frames[0].number))
    taken: list[int] = []

    def work() -> None:
        while (job := Job.take(Q.state == "new", {"$set": {"state": "taken"}})) is not None:
            assert job.worker == ("x" if heard else None)
            taken.append(job.number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [*range(60)] == sorted(taken)
    assert (sorted(events) if heard else [*range(60)]) == [*range(60)]


async def test_take_refuses(call: Runtime) -> None:
    """What is no filter is refused."""
    with pytest.raises(loom.QueryError):
        await call(Job).take(True, {"$set": {"state": "x"}})
    with pytest.raises(loom.FieldError, match="did you mean 'state'"):
        await call(Job).take({}, {"$set": {"sate": "x"}})


@pytest.mark.parametrize("heard", [False, True])
async def test_taking_by_variables(call: Runtime, heard: bool) -> None:
    """The variables of a filter hold for the look before the change, too."""
    await call(Dragon).insert_many([{"_id": n, "gold": n} for n in range(3)])
    if heard:
        Dragon.listen("update", lambda frames: None)
    richer = {"$expr": {"$gt": ["$gold", "$$least"]}}
    taken = await call(Dragon).take(richer, {"$set": {"gold": 0}}, let={"least": 1})

    assert 2 == taken._id
