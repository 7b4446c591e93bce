"""`save`: what it sends and what it leaves alone, copies side by side, counters."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import loom
from loom import Conflict, FieldError, Frame, Gone, IncrCounter, Q, SubFrame, default
from loom.frames import to_refs
from tests.conftest import Commands, Runtime


class Lair(SubFrame):
    """An embedded document."""

    name: str
    gold: int
    traps: list[str]
    inner: Lair


class Hero(Frame):
    """What dragons refer to."""

    name: str


class Dragon(Frame):
    """A frame with every kind of field."""

    name: str
    age: int
    lair: Lair
    lairs: list[Lair]
    loot: list[Any]
    map: dict[str, Any]
    nemesis: Hero
    visits: IncrCounter
    odd: str
    tags: set[str]


class Plain(Frame):
    """A frame that lists its fields."""

    _fields = {"name", "loot", "map"}


WHOLE: dict[str, Any] = {
    "_id": 1,
    "name": "Burt",
    "age": 3,
    "lair": {"name": "Cave", "gold": 5, "traps": ["pit"], "inner": {"gold": 1}},
    "lairs": [{"name": "A", "gold": 1}, {"name": "B", "gold": 2}],
    "loot": ["ring", {"gem": 1}],
    "map": {"a": {"b": 1}, "c": [1]},
    "visits": 7,
}


def put(**values: Any) -> dict[str, Any]:
    """Store a whole document and return it."""
    document = {**copy.deepcopy(WHOLE), **values}
    Dragon.get_collection().insert_one(document)
    return document


def stored(cls: Any = Dragon, id: Any = 1) -> Any:
    """Return the stored document."""
    return cls.get_collection().find_one({"_id": id})


def updates(commands: Commands) -> list[Any]:
    """Return the update documents that were sent."""
    bodies = [body for body in commands.bodies if "update" in body]
    return [to_refs(update["u"]) for body in bodies for update in body["updates"]]


async def burt(call: Runtime) -> Any:
    """Return a loaded frame."""
    put()
    return await call(Dragon).one(required=True)


async def test_a_new_frame_is_inserted(call: Runtime) -> None:
    """Without an id `save` inserts, with one it updates."""
    dragon = Dragon(name="Fang", loot=["ring"])
    await call(dragon).save()
    dragon.name = "Puff"
    await call(dragon).save()

    assert {"_id": dragon._id, "name": "Puff", "loot": ["ring"]} == stored(id=dragon._id)


async def test_nothing_changed_sends_nothing(call: Runtime, commands: Commands) -> None:
    """Reading values does not make them part of a write; no event is sent."""
    dragon = await burt(call)
    heard: list[str] = []
    Dragon.listen("update", lambda sender, frames: heard.append("update"))
    Dragon.listen("updated", lambda sender, frames: heard.append("updated"))
    commands.clear()
    assert (dragon.name, dragon.lair.gold, dragon.loot[0]) == ("Burt", 5, "ring")
    assert dragon["map"]["a"] == {"b": 1}
    assert [lair.name for lair in dragon.lairs] == ["A", "B"]
    await call(dragon).save()

    assert [] == commands.sent == heard


@pytest.mark.parametrize(
    ("edit", "sent"),
    [
        (lambda d: setattr(d, "name", "Puff"), {"$set": {"name": "Puff"}}),
        (lambda d: setattr(d, "name", "Burt"), {"$set": {"name": "Burt"}}),
        (lambda d: d.__setitem__("age", 4), {"$set": {"age": 4}}),
        (lambda d: setattr(d.lair, "gold", 6), {"$set": {"lair.gold": 6}}),
        (lambda d: d.lair.traps.append("net"), {"$set": {"lair.traps": ["pit", "net"]}}),
        (lambda d: d.lair.__delitem__("gold"), {"$unset": {"lair.gold": True}}),
        (lambda d: setattr(d.lair.inner, "gold", 2), {"$set": {"lair.inner.gold": 2}}),
        (lambda d: d.loot.append("cup"), {"$set": {"loot": ["ring", {"gem": 1}, "cup"]}}),
        (lambda d: d.loot[1].update(gem=2), {"$set": {"loot": ["ring", {"gem": 2}]}}),
        (lambda d: d["map"]["a"].update(b=2), {"$set": {"map.a.b": 2}}),
        (lambda d: d.get("map").pop("c"), {"$unset": {"map.c": True}}),
        (lambda d: d.map["a"].update(b=True), {"$set": {"map.a.b": True}}),
        (lambda d: d.map["a"].update(b=1.0), {"$set": {"map.a.b": 1.0}}),
        (lambda d: setattr(d, "lair", Lair(gold=1)), {"$set": {"lair": {"gold": 1}}}),
        (
            lambda d: setattr(d.lairs[1], "gold", 3),
            {"$set": {"lairs": [{"name": "A", "gold": 1}, {"name": "B", "gold": 3}]}},
        ),
        (lambda d: setattr(d, "tags", {"a"}), {"$set": {"tags": ["a"]}}),
        (lambda d: setattr(d, "nemesis", None), {"$set": {"nemesis": None}}),
        (lambda d: setattr(d, "nemesis", Hero(_id=9)), {"$set": {"nemesis": 9}}),
    ],
)
async def test_what_is_sent(call: Runtime, commands: Commands, edit: Any, sent: Any) -> None:
    """What was assigned is sent whole, what was edited in place by the paths that differ."""
    dragon = await burt(call)
    edit(dragon)
    commands.clear()
    await call(dragon).save()
    assert [sent] == updates(commands)
    commands.clear()
    await call(dragon).save()

    assert [] == commands.sent


async def test_two_copies_keep_both_changes(call: Runtime) -> None:
    """Two copies that change different fields, also inside a sub-frame, both keep theirs."""
    one = await burt(call)
    two = await call(Dragon).one(required=True)
    assert [["pit"]] * 2 == [dragon.lair.traps for dragon in (one, two) if dragon.loot]
    one.name = "Puff"
    one.lair.gold = 50
    two.loot.append("cup")
    two.lair.name = "Den"
    await call(one).save()
    await call(two).save()

    assert stored() == {
        **WHOLE,
        "name": "Puff",
        "loot": ["ring", {"gem": 1}, "cup"],
        "lair": {**WHOLE["lair"], "gold": 50, "name": "Den"},
    }


async def test_a_deleted_document_stays_deleted(call: Runtime) -> None:
    """`save` raises Gone and revives nothing."""
    dragon = await burt(call)
    await call(await call(Dragon).one()).delete()
    dragon.name = "Puff"
    with pytest.raises(Gone):
        await call(dragon).save()

    assert stored() is None
    dragon.name = "Fang"
    with pytest.raises(Gone):
        await call(dragon).save("name")


async def test_edits_of_what_was_given_to_a_new_frame(call: Runtime, commands: Commands) -> None:
    """The caller's own list, edited after the insert without a read, is not lost."""
    loot, lair = ["ring"], Lair(gold=1)
    dragon = Dragon(name="Burt", loot=loot, lair=lair)
    await call(dragon).insert()
    loot.append("cup")
    lair.gold = 2
    commands.clear()
    await call(dragon).save()
    assert [{"$set": {"lair.gold": 2, "loot": ["ring", "cup"]}}] == updates(commands)

    (other,) = await call(Dragon).insert_many([Dragon(name="Fang", loot=loot)])
    loot.append("gem")
    await call(other).save()
    assert ["ring", "cup", "gem"] == stored(id=other._id)["loot"]

    dragon.loot = loot
    await call(dragon).save()
    loot.append("axe")
    commands.clear()
    await call(dragon).save()
    assert ["ring", "cup", "gem", "axe"] == stored(id=dragon._id)["loot"]


async def test_a_container_in_a_field_of_plain_values(call: Runtime) -> None:
    """A list where the annotation says str is not watched, therefore sent."""
    put(odd=["a"])
    dragon = await call(Dragon).one(required=True)
    dragon.odd.append("b")
    await call(dragon).save()

    assert ["a", "b"] == stored()["odd"]


async def test_a_frame_made_with_an_id(call: Runtime) -> None:
    """Values given to the constructor count as assigned, those of a wrapped dict as loaded."""
    put()
    await call(Dragon(_id=1, name="Puff")).save()
    await call(Dragon({"_id": 1, "name": "no"})).save()

    assert {**WHOLE, "name": "Puff"} == stored()


async def test_named_fields(call: Runtime, commands: Commands) -> None:
    """Names are written as by `update`; what was not named is still to be saved."""
    dragon = await burt(call)
    dragon.name = "Puff"
    dragon.lair.gold = 6
    dragon.lair.name = "Den"
    commands.clear()
    await call(dragon).save("lair.gold")
    await call(dragon).save()
    assert [
        {"$set": {"lair.gold": 6}},
        {"$set": {"name": "Puff", "lair.name": "Den"}},
    ] == updates(commands)


async def test_what_update_wrote_needs_no_save(call: Runtime, commands: Commands) -> None:
    """`update`, `update_many` and `unset` count as saved."""
    dragon = await burt(call)
    dragon.name = "Puff"
    dragon.age = 9
    dragon.loot.append("cup")
    await call(dragon).update("name")
    await call(Dragon).update_many([dragon], "age", "loot")
    await call(dragon).unset("map")
    commands.clear()
    await call(dragon).save()

    assert [] == commands.sent
    assert stored()["loot"] == ["ring", {"gem": 1}, "cup"]


async def test_a_failed_write_is_still_to_be_saved(call: Runtime) -> None:
    """When the write is refused, what was changed stays changed."""
    dragon = await burt(call)
    dragon.name = "Puff"
    with pytest.raises(Conflict):
        await call(dragon).save(where=Q.age == 99)
    with pytest.raises(Conflict):
        await call(dragon).update("name", where=Q.age == 99)
    assert "Burt" == stored()["name"]
    await call(dragon).save()

    assert "Puff" == stored()["name"]


async def test_forgotten_values(call: Runtime, commands: Commands) -> None:
    """`del` forgets an assignment; nothing is removed on the server."""
    dragon = await burt(call)
    dragon.name = "Puff"
    del dragon["name"]
    commands.clear()
    await call(dragon).save()

    assert [] == commands.sent


async def test_reload_forgets(call: Runtime, commands: Commands) -> None:
    """After `reload` the frame is as stored, with nothing to save."""
    dragon = await burt(call)
    dragon.name = "Puff"
    dragon.loot.append("cup")
    await call(dragon).reload()
    commands.clear()
    await call(dragon).save()

    assert [] == commands.sent
    assert ("Burt", 2) == (dragon.name, len(dragon.loot))


@pytest.mark.parametrize(
    "copies", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))]
)
async def test_copies_remember(call: Runtime, commands: Commands, copies: Any) -> None:
    """A copy of a frame has the same to save."""
    dragon = await burt(call)
    dragon.name = "Puff"
    assert dragon.lair.gold == 5
    dragon.loot.append("cup")
    dragon.visits += 2
    copied = copies(dragon)
    copied.map["a"]["b"] = 3
    commands.clear()
    await call(copied).save()
    (sent,) = updates(commands)

    assert {"name", "loot", "map.a.b"} == sent["$set"].keys()
    assert {"visits": 2} == sent["$inc"]


async def test_listeners_join_a_save(call: Runtime, commands: Commands) -> None:
    """What a before-listener changes is saved too; it hears which paths are written."""
    dragon = await burt(call)
    heard: list[Any] = []

    def note(sender: Any, frames: Any, fields: Any) -> None:
        heard.append(fields)
        for frame in frames:
            frame.age = 10
            frame.lair.traps.append("net")

    Dragon.listen("update", note)
    Dragon.listen("updated", lambda sender, fields, changes: heard.append((set(fields), changes)))
    dragon.lair.gold = 6
    commands.clear()
    await call(dragon).save()

    sent = {"$set": {"lair.gold": 6, "age": 10, "lair.traps": ["pit", "net"]}}
    assert [sent] == updates(commands)
    assert [("lair.gold",), ({"lair.gold", "age", "lair.traps"}, [sent])] == heard


async def test_a_part_that_was_fetched(call: Runtime, commands: Commands) -> None:
    """A sub-frame of which a part was fetched is saved by its paths, a list refused."""
    put()
    dragon = await call(Dragon).one(projection={"lair.gold": True, "loot": {"$slice": 1}})
    dragon.lair.gold = 6
    commands.clear()
    await call(dragon).save()
    assert [{"$set": {"lair.gold": 6}}] == updates(commands)
    assert "Cave" == stored()["lair"]["name"]
    dragon.loot.append("cup")
    with pytest.raises(loom.ProjectionError):
        await call(dragon).save()

    assert WHOLE["loot"] == stored()["loot"]


async def test_references_keep_their_ids(call: Runtime, commands: Commands) -> None:
    """Dereferenced frames are no edits; another frame in their list is."""
    heroes = await call(Hero).insert_many([{"_id": 1}, {"_id": 2}])
    put(loot=[1, 2, 3], nemesis=1)
    projection = {"loot": {"$ref": Hero}, "nemesis": {"$ref": Hero}}
    dragon = await call(Dragon).one(projection=projection)
    assert [1, 2, 3] == [hero._id for hero in dragon.loot]
    assert dragon.nemesis._id == 1
    commands.clear()
    await call(dragon).save()
    assert [] == commands.sent
    dragon.loot.append(heroes[0])
    await call(dragon).save()

    assert [1, 2, 3, 1] == stored()["loot"]


async def test_classes_that_list_their_fields(call: Runtime, commands: Commands) -> None:
    """`_fields` without annotations are tracked just so."""
    Plain.get_collection().insert_one({"_id": 1, "name": "Burt", "loot": ["ring"], "map": {}})
    plain = await call(Plain).one(required=True)
    plain.loot.append("cup")
    plain.map["a"] = 1
    commands.clear()
    await call(plain).save()

    assert [{"$set": {"loot": ["ring", "cup"], "map.a": 1}}] == updates(commands)


async def test_save_refuses(call: Runtime) -> None:
    """A condition on a frame that is inserted, an unknown field."""
    with pytest.raises(loom.QueryError, match="expected no where= for a frame without _id"):
        await call(Dragon(name="x")).save(where=Q.age == 1)
    with pytest.raises(FieldError, match="did you mean 'name'"):
        await call(Dragon(name="x")).save("nmae")


# Counters


async def test_a_counter_is_added_up(call: Runtime, commands: Commands) -> None:
    """`+=` is sent as `$inc`, so that nothing is lost between two copies."""
    one = await burt(call)
    two = await call(Dragon).one(required=True)
    one.visits += 1
    one.visits += 2
    two.visits -= 1
    commands.clear()
    await call(one).save()
    await call(two).update("visits")
    await call(one).save()
    await call(two).update("visits")

    assert 9 == stored()["visits"]
    assert [{"$inc": {"visits": 3}}, {"$inc": {"visits": -1}}, {"$inc": {"visits": 0}}] == updates(
        commands
    )


async def test_a_counter_is_never_set(call: Runtime) -> None:
    """A write of the whole frame leaves what others counted alone."""
    dragon = await burt(call)
    Dragon.get_collection().update_one({"_id": 1}, {"$set": {"visits": 100}})
    await call(dragon).update()
    await call(Dragon).update_many([dragon])
    assert 100 == stored()["visits"]
    with pytest.raises(FieldError, match=r"Dragon.visits: expected \+= or -= on a counter, got 5"):
        dragon.visits = 5
    with pytest.raises(FieldError, match="expected \\+= or -="):
        dragon["visits"] = 5
    other = Dragon(_id=2, visits=1)
    with pytest.raises(FieldError, match="expected \\+= or -="):
        dragon.visits = other.visits + 1

    dragon.visits += 1
    await call(Dragon).update_many([dragon])
    assert 101 == stored()["visits"]


async def test_a_counter_that_failed_counts_later(call: Runtime) -> None:
    """Only an acknowledged write takes what was added off."""
    dragon = await burt(call)
    dragon.visits += 5
    with pytest.raises(Conflict):
        await call(dragon).save(where=Q.age == 99)
    await call(dragon).save()
    await call(dragon).save()

    assert 12 == stored()["visits"]


async def test_a_new_counter(call: Runtime) -> None:
    """A frame that is not stored yet takes any number."""
    dragon = Dragon(name="x", visits=1)
    dragon.visits = 3
    dragon.visits += 1
    await call(dragon).insert()
    dragon.visits += 1
    await call(dragon).save()

    assert 5 == stored(id=dragon._id)["visits"]


def test_counters_in_sub_frames_are_refused() -> None:
    """A sub-frame has no writes of its own."""
    with pytest.raises(loom.DefinitionError, match=r"Nest.eggs: expected a counter on a Frame"):

        class Nest(SubFrame):
            eggs: IncrCounter


def test_defaults_are_tracked(db: str) -> None:
    """A default that insert filled in can be edited and saved."""

    class Chest(Frame):
        gems: list[str] = default(list)

    chest = Chest()
    chest.insert()
    chest.gems.append("ruby")
    chest.save()

    assert ["ruby"] == stored(Chest, chest._id)["gems"]


# Which field was assigned, in classes of every shape


class Left(Frame):
    """A parent."""

    a: str
    b: str


class Right(Frame):
    """Another one, with fields in the same places."""

    c: str
    d: str
    count: str


class Both(Left, Right):
    """The child of both."""

    e: str
    a: IncrCounter  # type: ignore[assignment]


class Under(Both):
    """A grandchild."""

    f: list[str]


@pytest.mark.parametrize("cls", [Left, Right, Both, Under])
def test_each_field_is_told_apart(db: str, cls: Any) -> None:
    """Of every field of a class with several parents `save` sends the one that was assigned."""
    for name in cls._fields - {"_id", "a"}:
        cls.get_collection().insert_one({"_id": name})
        frame = cls.by_id(name)
        setattr(frame, name, "x")
        if name != "b" and "b" in cls._fields:
            cls.get_collection().update_one({"_id": name}, {"$set": {"b": "other"}})
        frame.save()

        assert {"_id", name} <= stored(cls, name).keys() <= {"_id", name, "b"}
        assert stored(cls, name)[name] == "x"


def test_fields_that_are_assigned_later(db: str) -> None:
    """A class that gets other fields keeps track of frames from before."""

    class Old(Frame):
        _fields = {"a", "b"}

    class Young(Old):
        _fields = {"c"}

    Young.get_collection().insert_one({"_id": 1})
    young = Young.by_id(1, required=True)
    young.c = "c"
    Old._fields = {"b", "x", "y"}
    young.x = "x"
    young.b = "b"
    young.save()

    assert {"_id": 1, "b": "b", "c": "c", "x": "x"} == stored(Young)
    young.y = "y"
    young.save()
    assert {"_id": 1, "b": "b", "c": "c", "x": "x", "y": "y"} == stored(Young)
