"""Documents of an older form: upgraded when they are loaded, and before they are written."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loom
from loom import (
    Conflict,
    DefinitionError,
    Frame,
    Gone,
    NotFound,
    ProjectionError,
    QueryError,
    SchemaVersionError,
    SubFrame,
)
from loom.frames.upgrading import upgraded

from .conftest import Commands, Runtime


class Lair(SubFrame):
    name: str
    gold: int


class Dragon(Frame):
    """In form 1 a `name`, in form 2 `first` and `last`, in form 3 a `lair` that is a document."""

    _schema_version = 3

    first: str
    last: str
    lair: Lair
    age: int

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None:
        if version < 2 and "name" in document:
            document["first"], _, document["last"] = document.pop("name").partition(" ")
        if version < 3 and "lair" in document:
            document["lair"] = {"name": document["lair"], "gold": document.pop("gold", 0)}


OLD = [
    {"_id": 1, "name": "Burt Bell", "lair": "Cave", "gold": 5, "age": 3, "extra": [1]},
    {"_id": 2, "_schema_version": 2, "first": "Ray", "last": "Bo", "lair": "Hill", "age": 4},
    {"_id": 3, "_schema_version": 3, "first": "Ann", "last": "Lee", "lair": {"name": "Bay"}},
]
NEW: list[dict[str, Any]] = [
    {
        "_id": 1,
        "lair": {"name": "Cave", "gold": 5},
        "age": 3,
        "extra": [1],
        "first": "Burt",
        "last": "Bell",
        "_schema_version": 3,
    },
    {
        "_id": 2,
        "_schema_version": 3,
        "first": "Ray",
        "last": "Bo",
        "lair": {"name": "Hill", "gold": 0},
        "age": 4,
    },
    OLD[2],
]


def store(cls: Any = Dragon, documents: Any = OLD) -> None:
    """Store documents as they are."""
    cls.get_collection().insert_many(deepcopy(documents))


def stored(cls: Any = Dragon) -> list[Any]:
    """Return what is stored."""
    return list(cls.get_collection().find(sort=[("_id", 1)]))


# Reading


async def test_every_way_to_load_upgrades(call: Runtime) -> None:
    """Frames have today's form, whatever is stored; nothing is written by it."""
    store()
    dragons = call(Dragon)
    ways = [
        sorted(await dragons.many()),
        await dragons.by_ids([1, 2, 3]),
        sorted([frame async for frame in dragons.each()]),
        [await dragons.by_id(n) for n in (1, 2, 3)],
        [await dragons.one({"_id": n}, required=True) for n in (1, 2, 3)],
    ]
    reloaded = [Dragon(_id=n) for n in (1, 2, 3)]
    for frame in reloaded:
        await call(frame).reload()

    for frames in (*ways, reloaded):
        assert ["Burt", "Ray", "Ann"] == [frame.first for frame in frames]
        assert ["Cave", "Hill", "Bay"] == [frame.lair.name for frame in frames]
        assert [3, 3, 3] == [frame["_schema_version"] for frame in frames]
    assert OLD == stored()


async def test_older_documents_cost_one_more_query(call: Runtime, commands: Commands) -> None:
    """What was fetched in part is fetched whole, together; of what is new nothing is."""
    store()
    commands.clear()

    await call(Dragon).many()
    await call(Dragon).many({"_id": 3})
    await call(Dragon).by_id(3)

    assert ["find", "find", "find", "find"] == commands.names
    assert {"_id": {"$in": [1, 2]}} == commands.bodies[1]["filter"]
    assert "_schema_version" in commands.bodies[0]["projection"]


async def test_a_projection_shows_what_it_names(call: Runtime) -> None:
    """After the upgrade a frame holds what was asked for, by the names of today."""
    store()

    named = sorted(await call(Dragon).many(projection={"first": True, "lair.name": True}))
    without = sorted(await call(Dragon).many(projection={"last": False, "lair.gold": False}))
    hidden = await call(Dragon).one({"_id": 1}, projection={"_id": False, "age": True})

    assert {"_id", "first", "lair", "_schema_version"} == named[0]._document.keys()
    assert ["Burt", "Ray", "Ann"] == [frame.first for frame in named]
    assert ["Cave", "Hill", "Bay"] == [frame.lair.name for frame in named]
    assert "gold" not in named[0].lair
    assert {"_id", "lair", "age", "extra", "first", "_schema_version"} == without[
        0
    ]._document.keys()
    assert "gold" not in without[0].lair
    assert 3 == hidden.age


async def test_what_the_server_computes(call: Runtime) -> None:
    """A part of a list that no upgrade touches stays one; of what it changes that is an error."""

    class Book(Frame):
        _schema_version = 1

        pages: list[int]
        title: str

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["title"] = document["title"].upper()
            if document["_id"] == 2:
                document["pages"] = [*document["pages"], 0]

    store(Book, [{"_id": n, "pages": [1, 2, 3], "title": "a"} for n in (1, 2)])
    projection = {"pages": {"$slice": 1}, "title": True}

    book = await call(Book).by_id(1, projection=projection)
    with pytest.raises(ProjectionError, match=r"Book.pages.*migrate"):
        await call(Book).by_id(2, projection=projection)

    assert ([1], "A") == (book.pages, book.title)


async def test_references_are_upgraded(call: Runtime, commands: Commands) -> None:
    """What is referred to is upgraded, and inside of what is upgraded references are followed."""

    class Rider(Frame):
        _schema_version = 2

        name: str
        dragon: Dragon

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["dragon"] = document.pop("mount")

    store()
    store(Rider, [{"_id": 1, "name": "Eve", "mount": 1}, {"_id": 2, "name": "Bob", "mount": 3}])
    commands.clear()

    found = sorted(await call(Rider).many(projection={"dragon": {"$ref": Dragon}}))

    assert ["Burt", "Ann"] == [rider.dragon.first for rider in found]
    assert "Cave" == found[0].dragon.lair.name
    assert ["find"] * 4 == commands.names


async def test_what_is_deleted_meanwhile_is_left_out(call: Runtime, monkeypatch: Any) -> None:
    """A document that goes before it is fetched whole is not there."""
    store()
    from loom.frames import upgrading

    found = upgrading.documents_by_id

    async def late(*args: Any) -> Any:
        Dragon.get_collection().delete_one({"_id": 1})
        return await found(*args)

    monkeypatch.setattr(upgrading, "documents_by_id", late)

    assert [2, 3] == sorted(frame._id for frame in await call(Dragon).many())
    store(documents=OLD[:1])
    assert await call(Dragon).by_id(1) is None
    store(documents=OLD[:1])
    with pytest.raises(NotFound):
        await call(Dragon).by_id(1, required=True)
    store(documents=OLD[:1])
    assert [2] == [frame._id for frame in await call(Dragon).by_ids([1, 2])]


async def test_an_error_of_the_upgrade_names_the_document(call: Runtime) -> None:
    """What `_upgrade` raises comes with the `_id`; what it may not do is refused."""

    class Odd(Frame):
        _schema_version = 1

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> Any:
            if document["_id"] == 1:
                raise KeyError("gone")
            if document["_id"] == 2:
                document["_id"] = 20
            if document["_id"] == 3:
                return ["no document"]
            return None

    store(Odd, [{"_id": n} for n in (1, 2, 3)])

    with pytest.raises(KeyError) as caught:
        await call(Odd).by_id(1)
    assert "_id=1 of version 0" in caught.value.__notes__[0]
    with pytest.raises(SchemaVersionError, match="keep _id=2"):
        await call(Odd).by_id(2)
    with pytest.raises(SchemaVersionError, match="None or a dict"):
        await call(Odd).by_id(3)


async def test_upgrades_may_return_another_document(call: Runtime) -> None:
    """A new dict takes the place of the old one; a class method knows its class."""

    class Coin(Frame):
        _schema_version = 1
        _rate = 2

        value: int

        @classmethod
        def _upgrade(cls, document: dict[str, Any], version: int) -> dict[str, Any]:
            return {"_id": document["_id"], "value": document["old"] * cls._rate}

    store(Coin, [{"_id": 1, "old": 4}])

    coin = await call(Coin).by_id(1)
    await call(coin).save()

    assert 8 == coin.value
    assert [{"_id": 1, "value": 8, "_schema_version": 1}] == stored(Coin)


def test_upgraded_brings_dumps_to_todays_form() -> None:
    """A whole document is upgraded without a database; one of today stays as it is."""
    assert NEW == [upgraded(Dragon, deepcopy(document)) for document in OLD]
    with pytest.raises(SchemaVersionError, match="whole number"):
        upgraded(Dragon, {"_schema_version": "2"})


# Writing


async def test_inserts_store_the_version(call: Runtime) -> None:
    """Every new document says in which form it is; one of another form is refused."""
    await call(Dragon(_id=1, first="a")).insert()
    await call(Dragon).insert_many([Dragon(_id=2), {"_id": 3, "lair": {"name": "x"}}])
    await call(Dragon(_id=4)).upsert()
    for number in (2, 4):
        with pytest.raises(SchemaVersionError, match="_schema_version=3"):
            await call(Dragon({"_schema_version": number})).insert()
        with pytest.raises(SchemaVersionError, match="_schema_version=3"):
            await call(Dragon).insert_many([{"_schema_version": number}, {}])

    assert [3, 3, 3, 3] == [document["_schema_version"] for document in stored()]


@pytest.mark.parametrize(
    "way", ["save", "save nothing", "update", "inc", "change", "unset", "update_many", "upsert"]
)
async def test_every_write_upgrades_first(call: Runtime, way: str) -> None:
    """What was older is stored in today's form, with what was written and all that it held."""
    store()
    expected = deepcopy(NEW[0])
    dragon = await call(Dragon).by_id(1)
    dragon.age = expected["age"] = 30
    if way == "save":
        await call(dragon).save()
    elif way == "save nothing":
        dragon = await call(Dragon).by_id(1)
        expected["age"] = 3
        await call(dragon).save()
    elif way == "update":
        await call(dragon).update("age")
    elif way == "inc":
        await call(Dragon(_id=1)).inc("age", 27)
    elif way == "change":
        await call(dragon).change({"$set": {"age": 30}})
    elif way == "unset":
        del expected["age"]
        await call(dragon).unset("age")
    elif way == "update_many":
        await call(Dragon).update_many([dragon], "age")
    else:
        await call(dragon).upsert()

    assert expected == stored()[0]
    assert OLD[1:] == stored()[1:]


async def test_a_save_of_a_container(call: Runtime) -> None:
    """An edit in place of what the upgrade has made is written over it."""
    store()
    dragon = await call(Dragon).by_id(1)
    dragon.lair.gold += 1
    await call(dragon).save()
    again = await call(Dragon).by_id(2, projection={"lair.gold": True})
    again.lair.gold = 7
    await call(again).save()

    assert {"name": "Cave", "gold": 6} == stored()[0]["lair"]
    assert {"name": "Hill", "gold": 7} == stored()[1]["lair"]
    assert "gold" not in stored()[0]


async def test_new_documents_cost_nothing_more(call: Runtime, commands: Commands) -> None:
    """A write to what has today's form is one command."""
    store()
    dragon = await call(Dragon).by_id(3)
    commands.clear()

    dragon.age = 9
    await call(dragon).save()
    await call(dragon).update("age")
    await call(dragon).inc("age", 1)

    assert ["update", "update", "findAndModify"] == commands.names


async def test_others_changes_are_never_overwritten(call: Runtime) -> None:
    """What another program of the older form writes before the upgrade is upgraded with it."""
    store()
    dragon = await call(Dragon).by_id(1)
    Dragon.get_collection().update_one({"_id": 1}, {"$set": {"gold": 99, "name": "Kim Bo"}})
    dragon.age = 7
    await call(dragon).save()

    found = stored()[0]
    assert ("Kim", {"name": "Cave", "gold": 99}, 7) == (found["first"], found["lair"], found["age"])
    assert "name" not in found


async def test_a_change_between_look_and_upgrade_is_looked_at_again(
    call: Runtime, monkeypatch: Any
) -> None:
    """The upgrade is conditional on the document that it was made of."""
    store()
    looks: list[int] = []
    upgrade = Dragon._upgrade

    def slow(document: dict[str, Any], version: int) -> None:
        looks.append(version)
        if len(looks) == 1:
            Dragon.get_collection().update_one({"_id": 1}, {"$set": {"more": "new"}})
        upgrade(document, version)

    monkeypatch.setattr(Dragon, "_upgrade", staticmethod(slow))
    await call(Dragon(_id=1)).inc("age", 1)

    assert {**NEW[0], "age": 4, "more": "new"} == stored()[0]
    assert [0, 0] == looks


async def test_a_document_that_never_rests_is_not_upgraded(call: Runtime, monkeypatch: Any) -> None:
    """When others change it with every look, that is said and nothing is written."""
    store()

    def restless(document: dict[str, Any], version: int) -> None:
        Dragon.get_collection().update_one({"_id": 1}, {"$inc": {"age": 1}})

    monkeypatch.setattr(Dragon, "_upgrade", staticmethod(restless))
    with pytest.raises(SchemaVersionError, match="changed by others"):
        await call(Dragon(_id=1)).unset("age")

    assert "_schema_version" not in stored()[0]


async def test_two_programs_of_one_form(call: Runtime) -> None:
    """Both have loaded the older document; both may save what they changed."""
    store()
    one, other = [await call(Dragon).by_id(1) for _ in range(2)]
    one.age = 8
    other.first = "Max"
    await call(one).save()
    await call(other).save()

    assert {**NEW[0], "age": 8, "first": "Max"} == stored()[0]


async def test_versions_count_upgrades(call: Runtime) -> None:
    """With `_version` a frame saves what it has upgraded; one loaded before it is in conflict."""

    class Hoard(Frame):
        _schema_version = 1
        _version = "_v"

        gold: int
        owner: str

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["gold"] = document.pop("coins", 0)

    store(Hoard, [{"_id": n, "coins": 5, "_v": 3} for n in (1, 2, 3)])
    first, second = [await call(Hoard).by_id(1) for _ in range(2)]
    first.owner = "Burt"
    await call(first).save()
    second.owner = "Ray"
    with pytest.raises(Conflict) as caught:
        await call(second).save()
    many = await call(Hoard).by_ids([2, 3])
    for hoard in many:
        hoard.owner = "Ann"
    await call(Hoard).update_many(many, "owner")

    assert "Burt" == caught.value.stored.owner
    assert [5, 5, 5] == [document["_v"] for document in stored(Hoard)]
    assert [5, 5, 5] == [first["_v"], *(hoard["_v"] for hoard in many)]
    assert ["Burt", "Ann", "Ann"] == [document["owner"] for document in stored(Hoard)]


@pytest.mark.parametrize("upgrades", [True, False])
async def test_newer_documents_are_read_and_not_written(call: Runtime, upgrades: bool) -> None:
    """What a newer program has stored can be looked at; every write of it is refused."""

    class Egg(Frame):
        _schema_version = 2

        size: int

    if upgrades:
        type.__setattr__(Egg, "_upgrade", staticmethod(lambda document, version: None))
    newer = {"_id": 1, "_schema_version": 5, "size": 3, "shape": "oval"}
    store(Egg, [newer, {"_id": 2, "_schema_version": 2, "size": 4}])
    egg = await call(Egg).by_id(1)
    egg.size = 4
    assert (4, 5) == (egg.size, egg["_schema_version"])
    for write in (
        lambda: call(egg).save(),
        lambda: call(egg).update("size"),
        lambda: call(egg).unset("size"),
        lambda: call(egg).inc("size", 1),
        lambda: call(egg).change({"$set": {"size": 1}}),
        lambda: call(egg).upsert(),
        lambda: call(Egg).update_many([egg], "size"),
        lambda: call(Egg).unset_many([egg], "size"),
        lambda: call(Egg).update_where({"size": 3}, {"$set": {"size": 5}}),
        lambda: call(Egg).take({}, {"$set": {"size": 5}}, sort="_id"),
        lambda: call(egg).insert(),
    ):
        with pytest.raises(SchemaVersionError, match=r"5"):
            await write()
    assert newer == stored(Egg)[0]
    assert 1 == await call(Egg).update_where({"size": 4}, {"$set": {"size": 6}})
    await call(egg).delete()

    assert [2] == [document["_id"] for document in stored(Egg)]


async def test_older_documents_without_an_upgrade_are_as_good(call: Runtime) -> None:
    """A class that has no `_upgrade` reads and writes what is older as it is."""

    class Nest(Frame):
        _schema_version = 2

        twigs: int

    store(Nest, [{"_id": 1, "twigs": 3}])
    nest = await call(Nest).by_id(1)
    nest.twigs += 1
    await call(nest).save()
    await call(nest).inc("twigs", 1)
    assert 1 == await call(Nest).update_where({"twigs": 5}, {"$inc": {"twigs": 1}})

    assert [{"_id": 1, "twigs": 6}] == stored(Nest)


async def test_writes_by_filter_upgrade_what_they_match(call: Runtime) -> None:
    """What matches is brought to today's form, then changed; what does not match stays."""
    store()

    assert 2 == await call(Dragon).update_where(
        {"age": {"$gt": 2}}, {"$set": {"lair.gold": 1}}, dry_run=True
    )
    assert OLD == stored()
    assert 1 == await call(Dragon).update_where({"age": 3}, {"$set": {"lair.gold": 1}})

    assert {**NEW[0], "lair": {"name": "Cave", "gold": 1}} == stored()[0]
    assert OLD[1:] == stored()[1:]
    assert 3 == await call(Dragon).delete_where({}, all=True)


async def test_listeners_get_upgraded_frames(call: Runtime) -> None:
    """A listener of a write by filter sees frames of today's form."""
    store()
    heard: list[Any] = []
    Dragon.listen("update", lambda frames: heard.extend(frame.first for frame in frames))
    Dragon.listen("delete", lambda frames: heard.extend(frame.first for frame in frames))

    await call(Dragon).update_where({"_id": 1}, {"$set": {"age": 1}})
    await call(Dragon).delete_where({"_id": 2})

    assert ["Burt", "Ray"] == heard


async def test_take_upgrades_the_first(call: Runtime) -> None:
    """The order of a queue holds, whatever the form of what waits."""
    store()

    taken = [
        await call(Dragon).take({"age": {"$lt": 9}}, {"$set": {"age": 9}}, sort="_id")
        for _ in range(2)
    ]

    assert [1, 2] == [frame._id for frame in taken]
    assert ["Burt", "Ray"] == [frame.first for frame in taken]
    assert "Cave" == taken[0].lair.name
    assert [3, 3, 3] == [document["_schema_version"] for document in stored()]


async def test_what_is_gone_is_gone(call: Runtime) -> None:
    """A write of what is not there says so, as without a schema version."""
    with pytest.raises(Gone):
        await call(Dragon(_id=9)).inc("age", 1)
    with pytest.raises(Gone):
        await call(Dragon(_id=9, age=3)).update("age")
    with pytest.raises(loom.BulkError):
        await call(Dragon).update_many([Dragon(_id=9, age=3)], "age")


async def test_where_still_decides(call: Runtime) -> None:
    """A condition is asked of the upgraded document."""
    store()
    dragon = await call(Dragon).by_id(1)
    dragon.age = 4
    with pytest.raises(Conflict) as caught:
        await call(dragon).update("age", where={"lair.gold": 9})
    await call(dragon).update("age", where={"lair.gold": 5})

    assert "Burt" == caught.value.stored.first
    assert {**NEW[0], "age": 4} == stored()[0]


async def test_a_rolled_back_transaction_upgrades_nothing(call: Runtime) -> None:
    """The upgrade is part of the transaction that the write is in."""
    store()

    async def fail() -> None:
        await call(Dragon(_id=1)).inc("age", 1)
        raise ValueError("back")

    if call.is_async:
        with pytest.raises(ValueError, match="back"):
            async with loom.aio.transaction():
                await fail()
    else:
        with pytest.raises(ValueError, match="back"), loom.transaction():
            await fail()

    assert OLD == stored()


async def test_the_number_is_not_written_by_hand(call: Runtime) -> None:
    """The field of the number is Loom's."""
    store()
    dragon = await call(Dragon).by_id(1)
    with pytest.raises(QueryError, match="written by itself"):
        await call(dragon).update("_schema_version")
    with pytest.raises(QueryError, match="written by itself"):
        await call(Dragon).update_where({}, {"$set": {"_schema_version": 9}}, all=True)


async def test_kinds_upgrade_their_own(call: Runtime) -> None:
    """Each kind has an `_upgrade`; they share the number."""

    class Animal(Frame):
        _kind_field = "type"
        _schema_version = 2

        name: str

    class Dog(Animal):
        barks: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["barks"] = document.pop("woofs", 0)

    class Cat(Animal):
        lives: int

    store(
        Animal,
        [
            {"_id": 1, "type": "Dog", "woofs": 3},
            {"_id": 2, "type": "Cat", "lives": 7},
            {"_id": 3, "name": "?"},
        ],
    )

    dog, cat, other = sorted(await call(Animal).many())
    assert [(Dog, 3), (Cat, 7), (Animal, None)] == [
        (type(dog), dog.barks),
        (type(cat), cat.lives),
        (type(other), other.get("lives")),
    ]
    dog.barks = 4
    cat.lives = 6
    await call(dog).save()
    await call(cat).save()
    assert 3 == await call(Animal).update_where({}, {"$set": {"name": "x"}}, all=True)
    with pytest.raises(DefinitionError, match="share"):
        type("Bird", (Animal,), {"_schema_version": 3})

    assert [
        {"_id": 1, "type": "Dog", "barks": 4, "_schema_version": 2, "name": "x"},
        {"_id": 2, "type": "Cat", "lives": 6, "_schema_version": 2, "name": "x"},
        {"_id": 3, "name": "x", "_schema_version": 2},
    ] == stored(Animal)


def test_settings() -> None:
    """The number is a whole one, and stands in the body of the class."""
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(DefinitionError, match="_schema_version"):
            type("Wrong", (Frame,), {"_schema_version": wrong})
    with pytest.raises(DefinitionError, match="in the body"):
        Dragon._schema_version = 4


# Random documents

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text("ab \n", max_size=6),
        "lair": st.text(max_size=4),
        "gold": st.integers(0, 9),
        "age": st.integers(0, 9),
        "other": VALUES,
        "more": VALUES,
    },
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_load_and_save_loses_nothing(db: str, documents: list[dict[str, Any]]) -> None:
    """Loaded in any part and saved, a document is what its upgrade makes of it."""
    collection = Dragon.get_collection()
    collection.delete_many({})
    given = [{"_id": n, **document} for n, document in enumerate(documents)]
    store(documents=given)
    expected = [upgraded(Dragon, deepcopy(document)) for document in given]

    for frame in Dragon.many():
        frame.save()
    assert expected == stored()

    collection.delete_many({})
    store(documents=given)
    for frame in Dragon.many(projection={"age": True}):
        frame.age = 77
        frame.save()
    assert [{**document, "age": 77} for document in expected] == stored()


async def test_what_refers_is_upgraded_too(call: Runtime) -> None:
    """`$from` gives frames of today's form, in their order, with a limit or without."""

    class Cave(Frame):
        name: str

    class Bat(Frame):
        _schema_version = 1

        cave: Cave
        age: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["age"] = document.pop("years", 0)

    await call(Cave(_id=1, name="a")).insert()
    store(Bat, [{"_id": n, "cave": 1, "years": n} for n in (1, 2, 3)])

    reverse = {"$from": Bat, "$on": "cave", "$sort": "-_id"}
    cave = await call(Cave).one(projection={"bats": reverse})
    first = await call(Cave).one(projection={"bats": {**reverse, "$limit": 2}})

    assert [3, 2, 1] == [bat.age for bat in cave["bats"]]
    assert [3, 2] == [bat.age for bat in first["bats"]]


@pytest.mark.parametrize("way", ["inc", "update", "save"])
async def test_an_upgrade_by_others_between_write_and_look(
    call: Runtime, way: str, monkeypatch: Any
) -> None:
    """A write that missed the older document finds the one that others have upgraded."""
    from loom.frames import stored_upgrades

    store()
    dragon = await call(Dragon).by_id(1)
    look = stored_upgrades.brought_up
    looks: list[int] = []

    async def late(port: Any, cls: Any, frames: Any, options: Any, place: str) -> int:
        looks.append(1)
        Dragon.get_collection().replace_one({"_id": 1}, NEW[0])
        return await look(port, cls, frames, options, place)

    monkeypatch.setattr(stored_upgrades, "brought_up", late)
    dragon.age = 4
    if way == "inc":
        await call(Dragon(_id=1)).inc("age", 1)
    elif way == "update":
        await call(dragon).update("age")
    else:
        await call(dragon).save()

    assert {**NEW[0], "age": 4} == stored()[0]
    assert [1] == looks


@pytest.mark.parametrize("value", [5, "upgrade", {"first": "name"}])
def test_an_upgrade_is_a_function(value: Any) -> None:
    """What cannot be called is refused where the class is made."""
    with pytest.raises(DefinitionError, match="Old._upgrade: expected a function of a document"):
        type("Old", (Frame,), {"_fields": {"name"}, "_schema_version": 2, "_upgrade": value})
