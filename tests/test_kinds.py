"""Several classes in one collection, told apart by a field."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import BulkWriteError

import loom
from loom import (
    DefinitionError,
    Duplicate,
    FieldError,
    Frame,
    Gone,
    LoomError,
    Q,
    QueryError,
    Ref,
    StrLower,
    SubFrame,
    TimeUpdated,
    muted,
)
from loom.frames import indexes
from loom.frames.counters import counter_cache
from loom.frames.history import ChangeLog, track
from loom.frames.indexes import Index

from .conftest import Commands, Runtime


class Owner(Frame):
    name: str
    pet: Animal


class Den(SubFrame):
    depth: int


class Basket(SubFrame):
    colour: str


class Animal(Frame):
    _kind_field = "type"

    name: str


class Dog(Animal):
    _kind = "dog"

    barks: int
    home: Den


class Puppy(Dog):
    toys: list[str]


class Cat(Animal):
    _kind = "cat"

    lives: int = 9
    home: Basket


async def stored(call: Runtime) -> list[Any]:
    """Store an animal of every kind."""
    return list(
        await call(Animal).insert_many(
            [
                Animal(_id=0, name="Ani"),
                Dog(_id=1, name="Rex", barks=3, home=Den(depth=2)),
                Puppy(_id=2, name="Pip", barks=9, toys=["ball"]),
                Cat(_id=3, name="Tom", home=Basket(colour="red")),
            ]
        )
    )


def kinds_of(frames: list[Any]) -> list[type]:
    """Return the classes of frames in the order of their ids."""
    return [type(frame) for frame in sorted(frames)]


# Reading


async def test_the_parent_loads_each_document_as_its_class(call: Runtime) -> None:
    """Every kind comes as its own class, with all of its fields."""
    await stored(call)

    found = sorted(await call(Animal).many())

    assert [Animal, Dog, Puppy, Cat] == [type(frame) for frame in found]
    assert (3, 2) == (found[1].barks, found[1].home.depth)
    assert isinstance(found[1].home, Den)
    assert ["ball"] == found[2].toys
    assert (9, "red") == (found[3].lives, found[3].home.colour)
    assert isinstance(found[3].home, Basket)
    assert Cat is type(await call(Animal).one({"name": "Tom"}))
    assert Puppy is type(await call(Animal).by_id(2))
    assert [Cat, Dog] == [type(f) for f in await call(Animal).by_ids([3, 1])]
    assert [Animal, Dog, Puppy, Cat] == kinds_of([f async for f in call(Animal).each()])


async def test_a_child_sees_its_own_kinds_only(call: Runtime) -> None:
    """No way to read a Dog finds a Cat."""
    await stored(call)
    dogs = call(Dog)

    assert [Dog, Puppy] == kinds_of(await dogs.many())
    assert [Puppy] == kinds_of(await call(Puppy).many())
    assert 2 == await dogs.count()
    assert 1 == await dogs.count({"name": "Rex"})
    assert [1, 2] == sorted(await dogs.ids())
    assert await dogs.exists({"name": "Rex"})
    assert not await dogs.exists({"name": "Tom"})
    assert await dogs.one({"name": "Tom"}) is None
    assert await dogs.by_id(3) is None
    assert [Dog] == kinds_of(await dogs.by_ids([1, 3]))
    assert [Dog, Puppy] == kinds_of([f async for f in dogs.each()])
    assert [("Rex",), ("Pip",)] == await dogs.rows({}, "name", sort="_id")
    assert 4 == await call(Animal).count()


async def test_a_filter_on_the_kind_itself_holds_too(call: Runtime) -> None:
    """What the caller asks of the field is asked beside the kind."""
    await stored(call)

    assert [Puppy] == kinds_of(await call(Dog).many(Q["type"] == "Puppy"))
    assert [] == await call(Dog).many({"type": "cat"})
    assert [Cat] == kinds_of(await call(Animal).many({"type": "cat"}))


async def test_a_case_insensitive_index_does_not_mind_the_kind(call: Runtime) -> None:
    """The kind in the filter is no text that a collation would have to be asked about."""

    class Bird(Frame):
        _kind_field = "type"
        _indexes = [Index("name", case_insensitive=True)]

        name: str

    class Owl(Bird):
        pass

    await call(Bird).insert_many([Owl(name="Hedwig"), Bird(name="hedwig")])

    assert [Owl] == kinds_of(await call(Owl).many({"name": "HEDWIG"}))


async def test_fields_without_a_projection_are_those_of_all_kinds(
    call: Runtime, commands: Commands
) -> None:
    """The parent asks for what any kind declares; a child for its own and those below it."""
    await stored(call)
    commands.clear()
    await call(Animal).many()
    await call(Dog).many()
    parent, child = (body["projection"] for body in commands.bodies)

    assert {"_id", "name", "barks", "home", "toys", "lives", "type"} == parent.keys()
    assert {"_id", "name", "barks", "home", "toys", "type"} == child.keys()


async def test_a_projection_names_fields_of_any_kind(call: Runtime) -> None:
    """What is named comes where it is; the kind comes always."""
    await stored(call)

    found = sorted(await call(Animal).many(projection={"barks": True, "home": True}))

    assert [Animal, Dog, Puppy, Cat] == [type(frame) for frame in found]
    assert (3, None, "red") == (found[1].barks, found[1].name, found[3].home.colour)
    assert [Dog] == kinds_of(await call(Dog).many({"_id": 1}, projection={"type": False}))


async def test_a_class_imported_later_is_noticed(call: Runtime) -> None:
    """Plans and filters made before know a new kind as well."""

    class Fruit(Frame):
        _kind_field = "kind"

    class Apple(Fruit):
        sort: str

    await call(Fruit).insert_many([Apple(_id=1, sort="Boskop")])
    await call(Fruit).many()
    await call(Apple).many()

    class Crab(Apple):
        sour: bool

    await call(Crab(_id=2, sort="wild", sour=True)).insert()

    assert [Apple, Crab] == kinds_of(await call(Apple).many())
    assert (await call(Fruit).by_id(2)).sour is True


async def test_an_unknown_kind_is_loaded_as_the_parent_and_loses_nothing(call: Runtime) -> None:
    """A kind whose class is not imported, and no kind at all: read and written as the root."""
    collection = Animal.get_collection()
    collection.insert_many(
        [
            {"_id": 5, "type": "horse", "name": "Jolly", "height": 2},
            {"_id": 6, "name": "Nobody"},
            {"_id": 7, "type": {"odd": True}, "name": "Odd"},
        ]
    )

    found = sorted(await call(Animal).many())
    for frame in found:
        frame.name = frame.name.upper()
        await call(frame).save()
        await call(frame).update()

    assert [Animal] * 3 == [type(frame) for frame in found]
    assert [
        {"_id": 5, "type": "horse", "name": "JOLLY", "height": 2},
        {"_id": 6, "name": "NOBODY"},
        {"_id": 7, "type": {"odd": True}, "name": "ODD"},
    ] == list(collection.find(sort=[("_id", 1)]))


# References


async def test_references_load_as_their_kinds_with_one_query(
    call: Runtime, commands: Commands
) -> None:
    """A reference to the parent becomes what it refers to; one `$in` for a level."""
    await stored(call)
    await call(Owner).insert_many([Owner(_id=n, name="o", pet=n) for n in (1, 2, 3)])
    commands.clear()

    found = await call(Owner).many(projection={"pet": {"$ref": Animal}}, sort="_id")

    assert [Dog, Puppy, Cat] == [type(owner.pet) for owner in found]
    assert isinstance(found[0].pet.home, Den)
    assert isinstance(found[2].pet.home, Basket)
    assert ["find", "find"] == commands.names


async def test_a_reference_to_a_child_does_not_find_another_kind(call: Runtime) -> None:
    """A Dog that is expected is missing where a Cat is."""
    await stored(call)
    await call(Owner(_id=1, name="o", pet=3)).insert()

    owner = await call(Owner).one(projection={"pet": {"$ref": Dog}})

    assert not owner.pet
    assert 3 == owner.pet._id


async def test_references_inside_of_kinds(call: Runtime, commands: Commands) -> None:
    """Fields of several kinds that refer to one class share a query."""

    class Vet(Frame):
        name: str

    class Beast(Frame):
        _kind_field = "type"

        vet: Vet

    class Lion(Beast):
        mane: str

    class Tiger(Beast):
        stripes: int

    await call(Vet(_id=1, name="Ann")).insert()
    await call(Vet(_id=2, name="Bob")).insert()
    await call(Beast).insert_many([Lion(_id=1, vet=1), Tiger(_id=2, vet=2), Lion(_id=3, vet=2)])
    commands.clear()

    found = sorted(await call(Beast).many(projection={"vet": {"$ref": Vet}}))

    assert ["Ann", "Bob", "Bob"] == [frame.vet.name for frame in found]
    assert [Lion, Tiger, Lion] == [type(frame) for frame in found]
    assert ["find", "find"] == commands.names


# Writing


async def test_every_insert_writes_the_kind(call: Runtime) -> None:
    """insert, insert_many of frames and dicts, upsert, save and bulk store the kind."""
    await call(Dog(_id=1, name="a")).insert()
    await call(Cat(name="b", _id=2)).upsert()
    saved = Puppy(name="c")
    await call(saved).save()
    given = await call(Animal).insert_many([{"_id": 4, "type": "cat"}, {"_id": 5}, Dog(_id=6)])
    with Animal.bulk() as bulk:
        bulk.insert(Cat(_id=7))
        bulk.upsert(Dog(_id=8))
    many = await call(Animal).insert_many([Dog(_id=n, name="m") for n in (9, 10)])

    found = {d["_id"]: d["type"] for d in Animal.get_collection().find()}
    assert [Cat, Animal, Dog] == [type(frame) for frame in given]
    assert {
        1: "dog",
        2: "cat",
        saved._id: "Puppy",
        4: "cat",
        5: "Animal",
        6: "dog",
        7: "cat",
        8: "dog",
        9: "dog",
        10: "dog",
    } == found
    assert ["dog", "dog"] == [frame["type"] for frame in many]


async def test_a_wrong_kind_is_not_inserted(call: Runtime) -> None:
    """A document that says it is something else is refused before anything is sent."""
    for wrong in (Dog({"type": "cat"}), Dog({"type": "unheard"}), Animal({"type": "dog"})):
        with pytest.raises(FieldError, match="type="):
            await call(wrong).insert()
        with pytest.raises(FieldError, match="type="):
            await call(Animal).insert_many([wrong, Cat()])

    assert 0 == await call(Animal).count()


async def test_the_kind_is_not_changed_by_accident(call: Runtime) -> None:
    """No write of frames or by filter changes what class a document is of."""
    await stored(call)
    rex = await call(Dog).by_id(1)
    for change in (
        {"$set": {"type": "cat"}},
        {"$unset": {"type": 1}},
        {"$rename": {"name": "type"}},
    ):
        with pytest.raises(QueryError, match="class of a document"):
            await call(Animal).update_where({}, change, all=True)
        with pytest.raises(QueryError, match="class of a document"):
            await call(rex).change(change)
    for stage in ({"$set": {"type": "cat"}}, {"$replaceRoot": {"newRoot": {"a": 1}}}):
        with pytest.raises(QueryError, match="'type'"):
            await call(Dog).take({}, [stage])
    with pytest.raises(QueryError, match="class of a document"):
        await call(rex).update("type")
    with pytest.raises(QueryError, match="class of a document"):
        await call(rex).unset("type")
    rex._document["type"] = "cat"
    with pytest.raises(FieldError, match="type='dog'"):
        await call(rex).update()
    with pytest.raises(FieldError, match="type='dog'"):
        await call(rex).update("name")

    assert "dog" == Animal.get_collection().find_one({"_id": 1})["type"]


async def test_a_frame_writes_no_document_of_another_kind(call: Runtime) -> None:
    """An `_id` of a Cat in a Dog: nothing of it is written, read or deleted."""
    await stored(call)
    before = Animal.get_collection().find_one({"_id": 3})

    for write in (
        lambda: call(Dog(_id=3, name="x")).update("name"),
        lambda: call(Dog(_id=3, name="x")).save(),
        lambda: call(Dog(_id=3)).unset("name"),
        lambda: call(Dog(_id=3)).inc("barks", 1),
        lambda: call(Dog(_id=3)).change({"$set": {"name": "x"}}),
        lambda: call(Dog(_id=3)).reload(),
    ):
        with pytest.raises(Gone):
            await write()
    await call(Dog(_id=3)).delete()
    await call(Dog).delete_many([Dog(_id=3)])
    await call(Animal).delete_many([Dog(_id=3)])
    for cls in (Dog, Animal):
        with pytest.raises(loom.BulkError):
            await call(cls).update_many([Dog(_id=3, name="x"), Dog(_id=1, name="y")], "name")
        with pytest.raises(loom.BulkError):
            await call(cls).unset_many([Dog(_id=3), Dog(_id=1)], "barks")
    with pytest.raises(Duplicate) as caught:
        await call(Dog(_id=3, name="x")).upsert()

    assert "is a 'cat'" in "".join(caught.value.__notes__)
    assert before == Animal.get_collection().find_one({"_id": 3})


async def test_upsert_of_what_is_there(call: Runtime) -> None:
    """An upsert updates a document of its own kind, or of one below it."""
    await stored(call)

    await call(Dog(_id=1, name="Max")).upsert()
    await call(Dog(_id=2, name="Pup")).upsert()

    assert ["Max", "Pup"] == [(await call(Dog).by_id(n)).name for n in (1, 2)]
    assert [Dog, Puppy] == kinds_of(await call(Dog).many())


async def test_writes_by_filter_stay_in_their_kind(call: Runtime) -> None:
    """update_where, take and delete_where of a child leave the others alone."""
    await stored(call)
    dogs = call(Dog)

    assert 2 == await dogs.update_where({}, {"$set": {"name": "dog"}}, all=True)
    taken = await dogs.take({}, {"$set": {"name": "taken"}}, sort="-_id")
    assert Puppy is type(taken)
    assert 2 == await dogs.update_where({}, {"$set": {"barks": 0}}, all=True, dry_run=True)
    with pytest.raises(QueryError, match="every document"):
        await dogs.update_where({}, {"$set": {"name": "dog"}})
    names = {d["_id"]: d["name"] for d in Animal.get_collection().find()}
    assert {0: "Ani", 1: "dog", 2: "taken", 3: "Tom"} == names
    assert 2 == await dogs.delete_where({}, all=True)
    assert [Animal, Cat] == kinds_of(await call(Animal).many())


async def test_the_parent_writes_fields_of_children(call: Runtime) -> None:
    """Batches and filters of the parent may name what any kind declares, and nothing else."""
    _, rex, pip, _ = await stored(call)
    rex.barks, pip.barks = 30, 90

    await call(Animal).update_many([rex, pip], "barks")
    assert 1 == await call(Animal).update_where({"lives": 9}, {"$inc": {"lives": -1}})
    with pytest.raises(FieldError):
        await call(Animal).update_where({"lives": 9}, {"$inc": {"wings": -1}})

    assert [30, 90] == [(await call(Animal).by_id(n)).barks for n in (1, 2)]
    assert 8 == (await call(Cat).one()).lives


async def test_saving_a_mixed_list_back(call: Runtime) -> None:
    """What was loaded through the parent is written back as it was, but for what was changed."""
    await stored(call)
    before = list(Animal.get_collection().find(sort=[("_id", 1)]))

    frames = sorted(await call(Animal).many())
    await call(Animal).update_many(frames)
    frames[3].home.colour = "blue"
    await call(frames[3]).save()

    before[3]["home"]["colour"] = "blue"
    assert before == list(Animal.get_collection().find(sort=[("_id", 1)]))


async def test_a_list_of_another_kind_is_refused(call: Runtime) -> None:
    """A batch of Dogs takes no Cat."""
    with pytest.raises(FieldError, match="expected Dog frames"):
        await call(Dog).insert_many([Cat(name="Tom")])


# Events


async def test_a_mixed_batch_fires_for_each_class(call: Runtime) -> None:
    """A listener of the parent hears every frame once, one of a child its own frames."""
    heard: list[Any] = []
    Animal.listen("insert", lambda sender, frames: heard.append(("all", sender, len(frames))))
    Dog.listen("insert", lambda sender, frames: heard.append(("dogs", sender, len(frames))))
    Cat.listen("inserted", lambda sender, frames: heard.append(("cats", sender, len(frames))))

    await call(Animal).insert_many([Dog(), Cat(), Dog(), Puppy(), Animal()])

    assert [
        ("all", Dog, 2),
        ("dogs", Dog, 2),
        ("all", Cat, 1),
        ("all", Puppy, 1),
        ("dogs", Puppy, 1),
        ("all", Animal, 1),
        ("cats", Cat, 1),
    ] == heard


async def test_defaults_and_stamps_of_children_in_a_mixed_batch(call: Runtime) -> None:
    """What a child declares is done to its frames, whoever writes them."""

    class Plant(Frame):
        _kind_field = "type"

        name: str

    class Tree(Plant):
        latin: StrLower
        changed: TimeUpdated
        rings: int = 1

    tree, plant = await call(Plant).insert_many([Tree(latin="QUERCUS"), Plant(name="moss")])
    assert ("quercus", 1) == (tree.latin, tree.rings)
    assert "rings" not in plant
    tree.latin = "FAGUS"
    plant.name = "fern"
    first = tree.changed
    await call(Plant).update_many([tree, plant])
    assert 2 == await call(Plant).update_where({}, {"$set": {"name": "x"}}, all=True)

    again = await call(Tree).one()
    assert "fagus" == again.latin
    assert again.changed >= first
    assert "changed" not in Plant.get_collection().find_one({"type": "Plant"})
    assert again.changed >= tree.changed


async def test_writes_by_filter_of_the_parent_tell_each_kind(call: Runtime) -> None:
    """A listener of a child hears of the parent's writes, of its own frames only."""
    await stored(call)
    heard: list[Any] = []
    Dog.listen("update", lambda sender, frames, changes: heard.append((sender, frames, changes)))
    Dog.listen("deleted", lambda sender, frames: heard.append((sender, frames)))

    assert 4 == await call(Animal).update_where({}, {"$set": {"name": "x"}}, all=True)
    updated = [(s, [f._id for f in frames], len(c)) for s, frames, c in heard]
    heard.clear()
    assert 4 == await call(Animal).delete_where({}, all=True)

    assert [(Dog, [1], 1), (Puppy, [2], 1)] == updated
    assert [(Dog, [1]), (Puppy, [2])] == [(s, [f._id for f in frames]) for s, frames in heard]


async def test_what_listeners_of_a_child_change_joins_the_write(call: Runtime) -> None:
    """A change that a child's listener extends is written to its documents only."""
    await stored(call)

    def bark(changes: list[Any]) -> None:
        for change in changes:
            change["$inc"] = {"barks": 1}

    Dog.listen("update", bark)

    await call(Animal).update_where({}, {"$set": {"name": "x"}}, all=True)

    assert [None, 4, 10, None] == [f.get("barks") for f in sorted(Animal.many())]


async def test_an_error_of_one_kinds_listener_stops_the_batch(call: Runtime) -> None:
    """A before-listener of a child refuses the whole batch; an after-listener's error is told."""

    def refuse(frames: list[Any]) -> None:
        raise ValueError("no cats")

    Cat.listen("insert", refuse)
    with pytest.raises(ValueError, match="no cats"):
        await call(Animal).insert_many([Dog(), Cat()])
    assert 0 == await call(Animal).count()
    Cat.stop_listening("insert", refuse)
    Cat.listen("inserted", refuse)
    told: list[Any] = []
    Dog.listen("inserted", lambda frames: told.extend(frames))
    with pytest.raises(ValueError, match="no cats"):
        await call(Animal).insert_many([Cat(), Dog()])

    assert 1 == len(told)
    assert 2 == await call(Animal).count()


async def test_muting_a_child(call: Runtime) -> None:
    """Muted listeners of a child are not called in a batch of the parent."""
    heard: list[Any] = []
    Dog.listen("insert", lambda frames: heard.extend(frames))

    with muted(sender=Dog):
        await call(Animal).insert_many([Dog(), Cat()])

    assert [] == heard


async def test_deletes_follow_references_of_kinds(call: Runtime) -> None:
    """What refers by a child's field goes; another kind with such a field stays."""

    class Keeper(Frame):
        name: str

    class Pet(Frame):
        _kind_field = "type"

        friend: Annotated[Any, Ref()]

    class Hound(Pet):
        keeper: Annotated[Keeper, Ref(on_delete="cascade")]

    class Whelp(Hound):
        pass

    class Kitten(Pet):
        keeper: Annotated[Keeper, Ref(on_delete="nullify")]

    class Stray(Pet):
        keeper: Any

    heard: list[Any] = []
    Pet.listen("deleted", lambda sender, frames: heard.extend((sender, f._id) for f in frames))
    await call(Keeper(_id=1, name="Ann")).insert()
    await call(Pet).insert_many(
        [Hound(_id=1, keeper=1), Whelp(_id=2, keeper=1), Kitten(_id=3, keeper=1)]
        + [Stray(_id=4, keeper=1), Hound(_id=5, keeper=2)]
    )

    await call(Keeper(_id=1)).delete()

    found = {d["_id"]: d["keeper"] for d in Pet.get_collection().find()}
    assert {3: None, 4: 1, 5: 2} == found
    assert [(Hound, 1), (Whelp, 2)] == sorted(heard, key=lambda pair: pair[1])


async def test_deleting_a_kind_follows_references_to_the_parent(call: Runtime) -> None:
    """What refers to Animals hears of a deleted Dog."""

    class Creature(Frame):
        _kind_field = "type"

    class Wolf(Creature):
        pass

    class Photo(Frame):
        shows: Annotated[Creature, Ref(on_delete="cascade")]

    await call(Wolf(_id=1)).insert()
    await call(Photo(_id=1, shows=1)).insert()
    await call(Wolf(_id=1)).delete()

    assert 0 == await call(Photo).count({"shows": 1})


# Definitions


def test_settings_that_contradict() -> None:
    """Kinds share one collection; each has a kind of its own, under one field."""
    with pytest.raises(DefinitionError, match="kind of its own"):
        type("Hound", (Animal,), {"_kind": "dog"})
    with pytest.raises(DefinitionError, match="kind of its own"):
        type("Hound", (Animal,), {"_kind": "DOG"})
    for setting, value in (("_collection", "dogs"), ("_db", "x"), ("_kind_field", "k")):
        with pytest.raises(DefinitionError, match=f"Hound.{setting}"):
            type("Hound", (Animal,), {setting: value})
    with pytest.raises(DefinitionError, match="parent with _kind_field"):
        type("Hound", (Frame,), {"_kind": "dog"})
    for wrong in ("", "a.b", "$a", "_id", 3):
        with pytest.raises(DefinitionError, match="_kind_field"):
            type("Hound", (Frame,), {"_kind_field": wrong})
    with pytest.raises(DefinitionError, match="_kind"):
        type("Hound", (Animal,), {"_kind": 3})
    with pytest.raises(DefinitionError, match="SubFrame"):
        type("Hound", (SubFrame,), {"_kind_field": "type"})
    with pytest.raises(DefinitionError, match="in the body"):
        Dog._kind = "hound"
    with pytest.raises(DefinitionError, match="assign it there"):
        Dog._collection = "dogs"
    other = type("Other", (Frame,), {"_kind_field": "type"})
    with pytest.raises(DefinitionError, match="one collection"):
        type("Both", (Animal, other), {})

    assert (Dog,) == tuple(c for c in Animal._kinds.below(Animal) if c._kind == "dog")


def test_a_class_made_again_takes_the_place_of_the_first() -> None:
    """A cell that runs twice makes the same class twice."""

    def make(root: Any) -> Any:
        class Again(root):
            _kind = "again"

        return Again

    root: Any = type("Root", (Frame,), {"_kind_field": "type"})
    make(root)
    second = make(root)

    assert (second,) == root._kinds.below(root)


async def test_the_collection_of_the_parent_may_be_assigned_later(call: Runtime) -> None:
    """Where the parent's documents are, there are its kinds."""

    class Fish(Frame):
        _kind_field = "type"

    class Carp(Fish):
        pass

    Fish._collection = "waters"
    await call(Carp(_id=1)).insert()

    assert "waters" == Carp._collection
    assert {"_id": 1, "type": "Carp"} == Fish.get_collection().find_one()


async def test_an_index_may_name_the_kind(db: str) -> None:
    """The field of the kind is indexed like others, declared or not."""

    class Stone(Frame):
        _kind_field = "type"
        _indexes = [Index("type", "name")]

        name: str

    assert 1 == len(indexes.ensure(Stone).created)


async def test_a_field_of_the_kind_may_be_declared(call: Runtime) -> None:
    """A declared field reads the kind; a new frame may name its own."""

    class Vehicle(Frame):
        _kind_field = "type"

        type: str

    class Car(Vehicle):
        pass

    await call(Car(_id=1)).insert()
    await call(Car(_id=2, type="Car")).insert()

    assert ["Car", "Car"] == [car.type for car in await call(Car).many()]


async def test_what_refers_to_kinds_comes_in_one_query(call: Runtime, commands: Commands) -> None:
    """`$from` in a projection of the parent, and to a child: one query, of its kinds only."""

    class Park(Frame):
        name: str

    class Being(Frame):
        _kind_field = "type"

        park: Park

    class Hare(Being):
        pass

    class Fox(Being):
        den: Den

    class Note(Frame):
        about: Being

    await call(Park(_id=1, name="a")).insert()
    await call(Being).insert_many(
        [Hare(_id=1, park=1), Fox(_id=2, park=1, den=Den(depth=1)), Hare(_id=3, park=1)]
    )
    await call(Note).insert_many([Note(_id=n, about=n) for n in (1, 2)])
    projection = {"notes": {"$from": Note, "$on": "about"}}
    commands.clear()
    beings = sorted(await call(Being).many(projection=projection))
    found = commands.names
    hares = {"hares": {"$from": Hare, "$on": "park"}, "all": {"$from": Being, "$on": "park"}}
    park = await call(Park).one(projection=hares)
    limited = await call(Park).one(
        projection={"all": {"$from": Hare, "$on": "park", "$limit": 5, "$sort": "_id"}}
    )

    assert ["find", "find"] == found
    assert [Hare, Fox, Hare] == [type(being) for being in beings]
    assert [[1], [2], []] == [[note._id for note in being["notes"]] for being in beings]
    assert [1, 3] == sorted(being._id for being in park["hares"])
    assert [Hare, Fox, Hare] == [type(being) for being in sorted(park["all"])]
    assert [1, 3] == [being._id for being in limited["all"]]


async def test_chains_and_pages_of_kinds(call: Runtime) -> None:
    """What is asked step by step, or page by page, is of the class's kinds too."""
    await stored(call)

    page = await call(Dog).page(sort="_id", size=1)
    taken = await call(Dog).take({"_id": 3}, {"$set": {"name": "x"}})

    assert [Dog] == [type(frame) for frame in page]
    assert taken is None
    if not call.is_async:
        assert [Dog, Puppy] == kinds_of(Dog.filter({}).load_many())
        assert [Puppy] == kinds_of(Dog.agg([{"$match": {"barks": 9}}]).load_many())
        assert 2 == Dog.agg([{"$match": {}}]).count()


async def test_a_version_counts_for_the_kinds_that_have_one(call: Runtime) -> None:
    """A kind may count its versions while another does not."""

    class Shape(Frame):
        _kind_field = "type"

        name: str

    class Square(Shape):
        _version = "_v"

    class Circle(Shape):
        pass

    await call(Shape).insert_many([Square(_id=1, name="a"), Circle(_id=2, name="b")])
    square, circle = sorted(await call(Shape).many())
    stale = await call(Square).by_id(1)
    square.name = circle.name = "x"
    await call(Shape).update_many([square, circle], "name")
    with pytest.raises(loom.Conflict):
        await call(stale).update("name")

    assert [2, None] == [d.get("_v") for d in Shape.get_collection().find(sort=[("_id", 1)])]
    assert 2 == square["_v"]


async def test_the_history_of_a_parent_has_each_kind_once(call: Runtime) -> None:
    """An entry for each document, under the name of its class, whoever wrote it."""

    class Log(ChangeLog):
        _collection = "kinds_log"

    history = track(Animal, log=Log)
    try:
        await stored(call)
        await call(Animal).update_where({}, {"$set": {"name": "x"}}, all=True)
        await call(Dog).delete_where({}, all=True)
    finally:
        history.stop()

    entries = [(e.event, e.frame_class, e.document) for e in await call(Log).many()]
    assert sorted(
        [("inserted", "Animal", 0), ("inserted", "Dog", 1), ("inserted", "Puppy", 2)]
        + [("inserted", "Cat", 3), ("updated", "Animal", 0), ("updated", "Dog", 1)]
        + [("updated", "Puppy", 2), ("updated", "Cat", 3), ("deleted", "Dog", 1)]
        + [("deleted", "Puppy", 2)]
    ) == sorted(entries)


async def test_counts_of_a_kind_do_not_reach_another(call: Runtime) -> None:
    """A counter cache of Wolves counts for Wolves, and of Bones only."""

    class Pack(Frame):
        _kind_field = "type"

        count_of: int

    class Wolf(Pack):
        bones: int = 0

    class Sheep(Pack):
        bones: int = 0

    class Thing(Frame):
        _kind_field = "type"

        of: Pack

    class Bone(Thing):
        pass

    class Stick(Thing):
        pass

    cache = counter_cache(Wolf, "bones", of=Bone, by="of")
    try:
        await call(Pack).insert_many([Wolf(_id=1), Sheep(_id=2)])
        await call(Thing).insert_many([Bone(_id=1, of=1), Stick(_id=2, of=1), Bone(_id=3, of=2)])
        found = {d["_id"]: d["bones"] for d in Pack.get_collection().find()}
        await call(Thing).delete_where({}, all=True)
        after = {d["_id"]: d["bones"] for d in Pack.get_collection().find()}
    finally:
        cache.stop()

    assert {1: 1, 2: 0} == found
    assert {1: 0, 2: 0} == after


# Whatever a child does

IDS = st.integers(0, 5)
FILTERS = st.sampled_from([{}, {"name": "a"}, {"type": "cat"}, {"_id": {"$gte": 2}}])


def _writes(dog: Any) -> list[Any]:
    return [
        lambda: dog.update("name"),
        lambda: dog.update(),
        lambda: dog.save(),
        lambda: dog.unset("name"),
        lambda: dog.inc("barks", 1),
        lambda: dog.change({"$set": {"name": "b"}}),
        lambda: dog.upsert(),
        lambda: dog.delete(),
        lambda: dog.delete(where={"name": "a"}),
        lambda: Dog.update_many([dog], "name"),
        lambda: Dog.unset_many([dog], "name"),
        lambda: Dog.delete_many([dog]),
        lambda: dog.insert(),
        lambda: Dog.insert_many([dog]),
    ]


def _by_filter(wanted: Any) -> list[Any]:
    return [
        lambda: Dog.update_where(wanted, {"$set": {"name": "b"}}, all=True),
        lambda: Dog.delete_where(wanted, all=True),
        lambda: Dog.take(wanted, {"$set": {"name": "b"}}),
        lambda: Dog.many(wanted),
        lambda: [Dog.one(wanted)],
        lambda: [*Dog.each(wanted)],
        lambda: Dog.by_ids(range(6)),
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.tuples(IDS, FILTERS, st.integers(0, 20), st.booleans()), max_size=8),
    is_heard=st.booleans(),
)
def test_nothing_that_a_child_does_reaches_another_kind(
    db: str, steps: list[Any], is_heard: bool
) -> None:
    """Cats stay as they are, and no way to read a Dog gives anything else."""
    collection = Animal.get_collection()
    collection.delete_many({})
    Animal.insert_many(
        [Dog(_id=0, name="a"), Cat(_id=1, name="a"), Puppy(_id=2, name="a"), Cat(_id=3, name="b")]
    )
    cats = list(collection.find({"type": "cat"}, sort=[("_id", 1)]))

    def listen(frames: list[Any]) -> None:
        assert all(isinstance(frame, Dog) for frame in frames)

    events = ("update", "updated", "delete", "deleted")
    for event in events if is_heard else ():
        Dog.listen(event, listen)
    try:
        for id, wanted, which, is_puppy in steps:
            dog = (Puppy if is_puppy else Dog)(_id=id, name="z", barks=1)
            ways = [*_writes(dog), *_by_filter(wanted)]
            with suppress(LoomError, BulkWriteError):
                found = ways[which]()
                if isinstance(found, list):
                    assert all(frame is None or isinstance(frame, Dog) for frame in found)
    finally:
        for event in events if is_heard else ():
            Dog.stop_listening(event, listen)

    assert cats == list(collection.find({"type": "cat"}, sort=[("_id", 1)]))
    assert {"dog", "Puppy"} >= {d["type"] for d in collection.find({"type": {"$ne": "cat"}})}


async def test_pymongos_upsert_stores_what_a_document_is(call: Runtime) -> None:
    """`upsert=True`, which PyMongo's updates take, inserts a document of the frame's class."""

    class Vessel(Frame):
        _kind_field = "type"
        _schema_version = 2

        name: str

    class Boat(Vessel):
        pass

    class Kayak(Boat):
        pass

    await call(Boat(_id=1, name="a")).update("name", upsert=True)
    await call(Vessel).update_many([Boat(_id=2, name="b"), Vessel(_id=3, name="c")], upsert=True)
    await call(Boat(_id=1, name="x")).update("name", upsert=True)
    with pytest.raises(Duplicate):
        await call(Kayak(_id=1, name="y")).update("name", upsert=True)

    assert [
        {"_id": 1, "type": "Boat", "_schema_version": 2, "name": "x"},
        {"_id": 2, "type": "Boat", "_schema_version": 2, "name": "b"},
        {"_id": 3, "type": "Vessel", "_schema_version": 2, "name": "c"},
    ] == list(Vessel.get_collection().find(sort=[("_id", 1)]))


async def test_indexes_of_kinds(db: str) -> None:
    """What a child declares is built with it, and is not extra to its parent."""

    class Gem(Frame):
        _kind_field = "type"
        _indexes = [Index("name")]

        name: str

    class Ruby(Gem):
        _indexes = [Index("type", "carat")]

        carat: int

    assert 2 == len(indexes.ensure(Gem, Ruby).created)
    found = indexes.diff(Gem)
    assert ((), (), ()) == (found.missing, found.changed, found.extra)


class Sender(Frame):
    """Kinds of which each stores text in its own way."""

    _kind_field = "type"

    name: str


class Mail(Sender):
    """Stores two texts in one case."""

    email: StrLower
    nick: StrLower


class Post(Sender):
    """Stores one of them as it is."""

    nick: str


async def test_filters_of_a_parent_know_the_case_of_its_kinds(
    call: Runtime, commands: Commands
) -> None:
    """Text is looked for as the kinds store it; where they differ, that is said."""
    await call(Sender).insert_many([Mail(email="Tom@X", nick="Tom"), Mail(email="kit@x")])
    await call(Post(nick="Tom")).insert()
    assert 1 == await call(Sender).count(Q.email == "Tom@X")
    assert 2 == await call(Sender).count(Q.email.not_in(["Tom@X"]))
    commands.clear()
    for condition in (Q.nick == "Tom", Q.nick != "Tom", {"$or": [{"nick": "TOM"}]}):
        with pytest.raises(QueryError, match=r"^Sender\.nick: expected text that is the same in"):
            await call(Sender).delete_where(condition)
    assert [] == commands.names
    assert 1 == await call(Sender).count(Q.nick == "tom")
    assert 1 == await call(Post).count(Q.nick == "Tom") == await call(Mail).count(Q.nick == "Tom")
    assert 1 == await call(Sender).delete_where(Q.email == "TOM@X")
