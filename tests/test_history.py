"""The change log: every write leaves an entry, with what was and what is."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

import loom
from loom import Frame, IncrCounter, Q, SubFrame
from loom.frames import history
from loom.frames.history import REDACTED, ChangeLog
from tests.conftest import Commands, Runtime, Server


class Lair(SubFrame):
    """An embedded document."""

    name: str
    code: str


class Dragon(Frame):
    """What is watched."""

    _private_fields = {"secret", "lair.code"}
    _version: ClassVar[str | None] = "_v"

    name: str
    age: int
    secret: str
    lair: Lair
    loot: list[str]
    visits: IncrCounter
    friend: Dragon
    seen: int


class Young(Dragon):
    """A child of it."""

    _collection = "Dragon"


class Small(ChangeLog):
    """A log of its own."""

    _collection = "small_log"
    reason: str


async def entries(call: Runtime, log: Any = ChangeLog) -> list[Any]:
    """Return all entries, oldest first, each as event, id, additions, updates, deletions."""
    return [
        (e.event, e.document, e.additions, e.updates, e.deletions)
        for e in await call(log).many(sort="_id")
    ]


async def test_every_single_write(call: Runtime) -> None:
    """Insert, update, save, unset, inc, change, upsert and delete."""
    history.track(Dragon, by="Ann", ignore=["seen"])
    dragon = Dragon(_id=1, name="Burt", age=3, visits=0)
    await call(dragon).insert()
    dragon.name = "Puff"
    await call(dragon).update("name")
    dragon.lair = Lair(name="Cave")
    dragon.visits += 2
    await call(dragon).save()
    dragon.lair.name = "Den"
    await call(dragon).save()
    await call(dragon).unset("age")
    await call(dragon).inc("visits", 3)
    await call(dragon).change({"$push": {"loot": "ring"}})
    dragon.seen = 5
    await call(dragon).save()
    dragon.name = "Fang"
    await call(dragon).upsert("name")
    await call(dragon).delete()

    assert [
        ("inserted", 1, {"name": "Burt", "age": 3, "visits": 0}, {}, {}),
        ("updated", 1, {}, {"name": ("Burt", "Puff")}, {}),
        ("updated", 1, {"lair": {"name": "Cave"}}, {"visits": (0, 2)}, {}),
        ("updated", 1, {}, {"lair.name": ("Cave", "Den")}, {}),
        ("updated", 1, {}, {}, {"age": 3}),
        ("updated", 1, {}, {"visits": (2, 5)}, {}),
        ("updated", 1, {"loot": ["ring"]}, {}, {}),
        ("updated", 1, {}, {"name": ("Puff", "Fang")}, {}),
        (
            "deleted",
            1,
            {},
            {},
            {"name": "Fang", "visits": 5, "lair": {"name": "Den"}, "loot": ["ring"]},
        ),
    ] == await entries(call)
    entry = await call(ChangeLog).one(sort="_id")
    assert ("Ann", "Dragon") == (entry.by, entry.frame_class)
    assert entry.recorded.tzinfo is not None


async def test_batches_and_writes_by_filter(call: Runtime, commands: Commands) -> None:
    """Every document has its entry; one read per batch is added, and one insert."""
    history.track(Dragon)
    dragons = await call(Dragon).insert_many([{"_id": i, "age": i} for i in range(3)])
    for dragon in dragons:
        dragon.age += 10
    commands.clear()
    await call(Dragon).update_many(dragons, "age")
    assert ["find", "update", "insert"] == commands.names
    await call(Dragon).unset_many(dragons[:1], "age")
    await call(Dragon).update_where(Q.age > 11, {"$set": {"name": "Old"}})
    await call(Dragon).delete_where(Q.name == "Old")
    await call(Dragon).delete_many(dragons)

    found = await entries(call)
    assert [("inserted", i, {"age": i}, {}, {}) for i in range(3)] == found[:3]
    assert [("updated", i, {}, {"age": (i, i + 10)}, {}) for i in range(3)] == found[3:6]
    assert ("updated", 0, {}, {}, {"age": 10}) == found[6]
    assert ("updated", 2, {"name": "Old"}, {}, {}) == found[7]
    assert ("deleted", 2, {}, {}, {"age": 12, "name": "Old"}) == found[8]
    assert [("deleted", 0), ("deleted", 1)] == [entry[:2] for entry in found[9:]]


async def test_secrets(call: Runtime) -> None:
    """A secret leaves a trace that it changed, and nothing of its value."""
    history.track(Dragon, redact=["loot"])
    dragon = Dragon(_id=1, secret="x1", lair=Lair(name="Cave", code="x2"), loot=["x3"])
    await call(dragon).insert()
    dragon.secret = "x4"
    dragon.lair.code = "x5"
    dragon.loot.append("x6")
    await call(dragon).save()
    dragon.lair = Lair(name="Den", code="x7")
    await call(dragon).update("lair")
    await call(dragon).change({"$set": {"lair.code": "x8"}})
    await call(dragon).delete()

    documents = [*ChangeLog.get_collection().find()]
    assert 5 == len(documents)
    assert not any(f"x{n}" in repr(documents) for n in range(1, 9))
    found = await entries(call)
    assert found[1][3] == {
        "secret": (REDACTED, REDACTED),
        "lair.code": (REDACTED, REDACTED),
        "loot": (REDACTED, REDACTED),
    }
    assert found[2][3] == {
        "lair": ({"name": "Cave", "code": REDACTED}, {"name": "Den", "code": REDACTED})
    }


async def test_who(call: Runtime) -> None:
    """`by` is a value, a function, or an async one, asked with every write."""
    users = iter(["Ann", "Bob"])
    first = history.track(Dragon, by=lambda: next(users))
    await call(Dragon(_id=1)).insert()
    await call(Dragon(_id=1)).delete()
    first.stop()

    async def ask() -> str:
        return "Cid"

    history.track(Dragon, by=ask)
    await call(Dragon(_id=2)).insert()

    assert ["Ann", "Bob", "Cid"] == [e.by for e in await call(ChangeLog).many(sort="_id")]


async def test_children_and_other_logs(call: Runtime) -> None:
    """Children are watched too; a log of its own has its own collection."""
    history.track(Dragon, log=Small)
    await call(Young(_id=1, name="Burt")).insert()

    assert [("inserted", 1, {"name": "Burt"}, {}, {})] == await entries(call, Small)
    assert "Young" == (await call(Small).one()).frame_class
    assert 0 == await call(ChangeLog).count({})


async def test_entries_of_a_frame(call: Runtime) -> None:
    """Entries are found by their frame; references are stored as ids."""
    history.track(Dragon)
    burt = Dragon(_id=1, name="Burt")
    await call(burt).insert()
    await call(Dragon(_id=2, friend=burt)).insert()
    (entry,) = await call(ChangeLog).many(history.of(Dragon(_id=2)))

    assert {"friend": 1} == entry.additions


async def test_a_write_that_changes_nothing(call: Runtime) -> None:
    """What stays as it was leaves no entry, nor does the delete of what is not there."""
    await call(Dragon(_id=1, name="Burt")).insert()
    history.track(Dragon)
    dragon = await call(Dragon).one(required=True)
    await call(dragon).update("name")
    await call(Dragon({"_id": 9})).delete()
    with pytest.raises(loom.Gone):
        await call(Dragon({"_id": 9, "name": "x"})).update("name")

    assert [] == await entries(call)


async def test_partly_failed_batches(call: Runtime) -> None:
    """Only what was written has an entry."""
    await call(Dragon(_id=1)).insert()
    history.track(Dragon)
    with pytest.raises(loom.BulkError):
        await call(Dragon).insert_many([{"_id": i} for i in range(3)], ordered=False)

    assert [0, 2] == [entry[1] for entry in await entries(call)]


def test_transactions(db: str, server: Server) -> None:
    """Entries stand or fall with the write."""
    history.track(Dragon)

    def fail() -> None:
        Dragon(_id=1, name="Burt").insert()
        raise KeyError

    with pytest.raises(KeyError):
        loom.with_transaction(fail)
    assert 0 == ChangeLog.count({})
    with loom.transaction():
        Dragon(_id=1, name="Burt").insert()
        Dragon.update_where(Q._id == 1, {"$set": {"name": "Puff"}})

    assert ["inserted", "updated"] == [entry.event for entry in ChangeLog.many(sort="_id")]


async def test_how_an_entry_shows(call: Runtime) -> None:
    """As text and as a table, which is escaped."""
    history.track(Dragon, by="<Ann>")
    dragon = Dragon(_id=1, name="<b>", age=3)
    await call(dragon).insert()
    dragon.name = "c"
    dragon.loot = ["x"]
    await call(dragon).save()
    await call(dragon).unset("age")
    one, two, three = await call(ChangeLog).many(sort="_id")

    assert str(one).endswith(" <Ann> inserted Dragon 1\n  + name: '<b>'\n  + age: 3")
    assert "\n  + loot: ['x']\n  name: '<b>' -> 'c'" in str(two)
    assert str(three).endswith("\n  - age: 3")
    assert "&lt;Ann&gt; updated Dragon 1" in two._repr_html_()
    assert "<del>&#x27;&lt;b&gt;&#x27;</del>" in two._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"cls": ChangeLog}, loom.DefinitionError, "a log is not logged"),
        ({"cls": 5}, loom.DefinitionError, "give the class itself"),
        ({"log": Dragon}, loom.DefinitionError, "expected log to be ChangeLog"),
        ({"redact": "secret"}, loom.FieldError, "expected redact as a list of paths"),
        ({"redact": ["scret"]}, loom.FieldError, "did you mean 'secret'"),
        ({"ignore": ["nope"]}, loom.FieldError, "expected paths of Dragon, got 'nope'"),
    ],
)
def test_bad_input(arguments: dict[str, Any], kind: Any, message: str) -> None:
    """It is refused when tracking begins."""
    with pytest.raises(kind, match=message):
        history.track(arguments.pop("cls", Dragon), **arguments)


async def test_old_values_come_from_the_primary(call: Runtime, secondaries: Commands) -> None:
    """What was stored before is read where it is certainly the last, wherever others are read."""
    history.track(Dragon)
    dragon = Dragon(name="Burt")
    await call(dragon).insert()
    secondaries.clear()
    dragon.name = "Bert"
    await call(dragon).update("name")
    look = secondaries.bodies[secondaries.names.index("find")]
    await call(Dragon).one()

    assert {"mode": "secondaryPreferred"} == secondaries.bodies[-1]["$readPreference"]
    assert "$readPreference" not in look
