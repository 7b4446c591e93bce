"""cascade, nullify and pull: what they touch, their events, sessions, cycles and batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any

import pytest
from bson import ObjectId

import loom
from loom import BulkError, FieldError, Frame, MissingId, Q, Ref, Restricted, SubFrame
from loom.frames import events
from loom.frames.integrity import keep_references_whole
from loom.frames.port import ASYNC, SYNC

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Item


class Person(Frame):
    """Someone who may be married, and know others."""

    name: str
    spouse: Person
    friends: list[Person]
    known: dict[str, Any]
    modified: datetime


class Pet(Frame):
    """Belongs to a person."""

    name: str
    owner: Person
    walkers: list[Person]


def names(cls: Any) -> list[str]:
    """Return the names in a collection, sorted."""
    return sorted(d["name"] for d in cls.get_collection().find())


async def people(call: Runtime, *given: str) -> list[Person]:
    """Return stored persons."""
    found: list[Person] = await call(Person).insert_many([{"name": name} for name in given])
    return found


# What they do


async def test_cascade_deletes_what_frames_point_to(call: Runtime) -> None:
    """An id, a frame, a list and a map of them are followed; what is null or gone is not."""
    a, b, c, d, e = await people(call, *"abcde")
    x = Person(name="x", spouse=a, friends=[b, c._id, ObjectId(), None], known={"x": d, "y": None})
    await call(x).insert()
    for field in ("spouse", "friends", "known"):
        await call(Person).cascade(Person, field, [x, Person(name="without")])

    assert ["e", "x"] == names(Person)
    await call(Person).cascade(Person, "spouse", [])
    assert e == await call(Person).by_id(e._id)


async def test_cascade_follows_ids_that_are_documents(call: Runtime) -> None:
    """An embedded document may be an id, not only a map of ids."""
    id = {"shop": 1, "number": 2}
    await call(Person).insert_many([{"_id": id, "name": "a"}, {"_id": 3, "name": "b"}])
    x = Person(name="x", spouse=id)
    await call(x).insert()
    await call(Person).cascade(Person, "spouse", [x])
    assert ["b", "x"] == names(Person)


async def test_cascade_follows_dereferenced_frames(call: Runtime) -> None:
    """It makes no difference whether the frames were loaded with a projection."""
    a, b = await people(call, "a", "b")
    x = Person(name="x", spouse=a, friends=[b, ObjectId()])
    await call(x).insert()
    loaded = await call(Person).by_id(
        x._id, projection={"spouse": {"$ref": Person}, "friends": {"$ref": Person}}
    )
    await call(Person).cascade(Person, "spouse", [loaded])
    await call(Person).cascade(Person, "friends", [loaded])

    assert ["x"] == names(Person)


async def test_nullify_and_pull(call: Runtime) -> None:
    """References to the frames become null, or leave the list; others stay."""
    a, b = await people(call, "a", "b")
    await call(Pet).insert_many(
        [
            {"name": "cat", "owner": a._id, "walkers": [a._id, b._id, a._id]},
            {"name": "dog", "owner": b._id, "walkers": [b._id]},
        ]
    )
    await call(Person).nullify(Pet, "owner", [a])
    await call(Person).pull(Pet, "walkers", [a])
    cat, dog = await call(Pet).many(sort="name")

    assert (None, [b._id]) == (cat.owner, cat.walkers)
    assert "owner" in cat
    assert (b._id, [b._id]) == (dog.owner, dog.walkers)


@pytest.mark.parametrize("operation", ["nullify", "pull"])
async def test_releases_refuse_wrong_frames(
    call: Runtime, commands: Commands, operation: str
) -> None:
    """Frames of another class, unsaved ones, unknown fields and classes are refused."""
    method = getattr(call(Person), operation)
    with pytest.raises(
        FieldError, match=rf"Person\.{operation}: expected Person frames, got .*Ite"
    ):
        await method(Pet, "owner", [Item(_id=1)])
    with pytest.raises(MissingId):
        await method(Pet, "owner", [Person(name="unsaved")])
    with pytest.raises(FieldError, match="expected a field of Pet, got 'ownre'"):
        await method(Pet, "ownre", [Person(_id=1)])
    with pytest.raises(FieldError, match="expected a Frame class"):
        await method("Pet", "owner", [Person(_id=1)])
    with pytest.raises(FieldError, match="expected session or comment, got 'hint'"):
        await method(Pet, "owner", [Person(_id=1)], hint="_id_")

    assert [] == commands.names


async def test_cascade_refuses_wrong_fields(call: Runtime, commands: Commands) -> None:
    """A misspelt field is an error, not a cascade that finds nothing."""
    with pytest.raises(FieldError, match="expected a field of Person, got 'spuose'"):
        await call(Person).cascade(Person, "spuose", [Person(_id=1)])
    with pytest.raises(FieldError, match="expected a Frame class"):
        await call(Person).cascade(Lair, "spouse", [Person(_id=1)])

    assert [] == commands.names


class Lair:
    """No Frame."""


# Events


async def test_they_send_the_events_of_what_they_touch(call: Runtime) -> None:
    """`cascade` sends delete events, `nullify` and `pull` update events, with the frames."""
    a, b = await people(call, "a", "b")
    x = Person(name="x", spouse=a)
    await call(x).insert()
    await call(Pet(name="cat", owner=b._id, walkers=[b._id, 7])).insert()
    heard: list[Any] = []
    for event in events.EVENTS[:-1]:
        for cls in (Person, Pet):
            cls.listen(event, lambda frames, event=event: heard.append((event, frames[0].name)))
    Pet.listen("update", lambda frames, fields: heard.append((fields, frames[0]._document)))
    await call(Person).cascade(Person, "spouse", [x])
    assert [("delete", "a"), ("deleted", "a")] == heard
    heard.clear()
    await call(Person).nullify(Pet, "owner", [b])
    assert ["update", ("owner",), "updated"] == [first for first, _ in heard]
    assert heard[1][1]["owner"] is None
    heard.clear()
    await call(Person).pull(Pet, "walkers", [b])
    assert [7] == heard[1][1]["walkers"]


async def test_they_send_none_when_told(call: Runtime, commands: Commands) -> None:
    """With `events=False` nothing is loaded and nobody is called."""
    a, b = await people(call, "a", "b")
    x = Person(name="x", spouse=a)
    await call(x).insert()
    await call(Pet(name="cat", owner=b, walkers=[b])).insert()
    heard: list[Any] = []
    for event in events.EVENTS:
        Frame.listen(event, lambda event=event: heard.append(event))
    commands.clear()
    await call(Person).cascade(Person, "spouse", [x], events=False)
    await call(Person).nullify(Pet, "owner", [b], events=False)
    await call(Person).pull(Pet, "walkers", [b], events=False)

    assert ([], ["delete", "update", "update"]) == (heard, commands.names)
    assert ["b", "x"] == names(Person)
    assert (None, []) == (lambda pet: (pet.owner, pet.walkers))(await call(Pet).one())


async def test_changes_of_listeners_join(call: Runtime) -> None:
    """A time stamp written by a listener for updates is written with the release."""
    Person.listen("update", Person.timestamp_update)
    a, x = await people(call, "a", "x")
    x.spouse = a
    await call(x).update("spouse")
    stamped = (await call(Person).by_id(x._id)).modified
    await call(Person).nullify(Person, "spouse", [a])
    again = await call(Person).by_id(x._id)

    assert again.spouse is None
    assert again.modified >= stamped


async def test_a_default_projection_does_not_hide_the_change(call: Runtime) -> None:
    """Listeners see the list without the pulled frames, though it was dereferenced."""

    class Walked(Frame):
        _default_projection = {"walkers": {"$ref": Person}}
        walkers: list[Person]

    a, b = await people(call, "a", "b")
    await call(Walked(walkers=[a, b])).insert()
    seen: list[Any] = []
    Walked.listen("updated", lambda frames: seen.append(frames[0].walkers))
    await call(Person).pull(Walked, "walkers", [a])

    assert [[b]] == seen
    assert [b._id] == Walked.get_collection().find_one()["walkers"]


async def test_what_changed_meanwhile_is_left_alone(call: Runtime) -> None:
    """A document that no longer refers when it is written keeps its new value."""
    a, b = await people(call, "a", "b")
    pet = Pet(name="cat", owner=a)
    await call(pet).insert()
    Pet.listen(
        "update", lambda: Pet.get_collection().update_one({}, {"$set": {"owner": b._id}}) and None
    )
    await call(Person).nullify(Pet, "owner", [a])

    assert b._id == Pet.get_collection().find_one()["owner"]


async def test_a_refused_release_says_which_frames(call: Runtime) -> None:
    """A unique index that refuses a second null is told per frame."""
    Pet.get_collection().create_index("owner", unique=True)
    a, b = await people(call, "a", "b")
    await call(Pet).insert_many([{"name": "cat", "owner": a._id}, {"name": "dog", "owner": b._id}])
    heard: list[Any] = []
    Pet.listen("updated", lambda frames: heard.extend(frames))
    with pytest.raises(BulkError, match=r"Person\.nullify: 1 of 2 frames") as caught:
        await call(Person).nullify(Pet, "owner", [a, b])

    assert heard == caught.value.frames_written
    assert 1 == len(caught.value.frames_failed)


# In listeners


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_cascade_in_a_listener(call: Runtime, kind: str) -> None:
    """Called in a listener it is done before the operation returns, in both runtimes."""

    def plain(frames: Any) -> None:
        Dragon.cascade(Item, "loot", frames)

    async def awaited(frames: Any) -> None:
        await Dragon.aio.cascade(Item, "loot", frames)

    Dragon.listen("deleted", plain if kind == "plain" else awaited)
    items = await call(Item).insert_many([{"desc": "ring"}, {"desc": "crown"}, {"desc": "cup"}])
    burt = Dragon(name="Burt", loot=items[:2])
    await call(burt).insert()
    await call(burt).delete()

    assert items[2:] == await call(Item).many()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_nullify_and_pull_in_listeners(call: Runtime, kind: str, server: Server) -> None:
    """They run in the session of the operation, whichever way the listener is written."""

    def plain(frames: Any) -> None:
        Person.nullify(Pet, "owner", frames)
        Person.pull(Pet, "walkers", frames)

    async def awaited(frames: Any) -> None:
        await Person.aio.nullify(Pet, "owner", frames)
        await Person.aio.pull(Pet, "walkers", frames)

    Person.listen("deleted", plain if kind == "plain" else awaited)
    (a,) = await people(call, "a")
    await call(Pet(name="cat", owner=a, walkers=[a])).insert()
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    server.commands.clear()
    await call(a).delete(session=session)
    pet = await call(Pet).one(session=session)

    assert (None, []) == (pet.owner, pet.walkers)
    assert {session.session_id["id"]} == {b["lsid"]["id"] for b in server.commands.bodies}
    ended = session.end_session()
    if call.is_async:
        await ended


async def test_order_in_a_listener(call: Runtime) -> None:
    """What a plain listener asks for is done right after it, before the next listener."""
    heard: list[Any] = []
    Person.listen("delete", lambda frames: Person.cascade(Pet, "known", frames))
    Pet.listen("deleted", lambda: heard.append("cascaded"))
    Person.listen("delete", lambda: heard.append("next"))
    cat = Pet(name="cat")
    await call(cat).insert()
    a = Person(name="a", known={"pet": cat})
    await call(a).insert()
    await call(a).delete()

    assert ["cascaded", "next"] == heard


async def test_a_failure_in_deferred_work_stops_the_write(call: Runtime) -> None:
    """A cascade that fails in a before-listener fails the operation, and nothing is deleted."""

    def refuse() -> None:
        raise LookupError("refused")

    Dragon.listen("delete", lambda frames: Dragon.cascade(Item, "loot", frames))
    Item.listen("delete", refuse)
    ring = Item(desc="ring")
    await call(ring).insert()
    burt = Dragon(name="Burt", loot=[ring])
    await call(burt).insert()
    with pytest.raises(LookupError):
        await call(burt).delete()

    assert burt == await call(Dragon).one()
    assert ring == await call(Item).one()


@pytest.mark.parametrize("event", ["delete", "deleted"])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_cycles_come_to_an_end(call: Runtime, event: str, kind: str) -> None:
    """Persons who point to each other, and to themselves, are all deleted once."""
    heard: list[str] = []

    def plain(frames: Any) -> None:
        heard.extend(frame.name for frame in frames)
        Person.cascade(Person, "spouse", frames)
        Person.cascade(Person, "friends", frames)

    async def awaited(frames: Any) -> None:
        heard.extend(frame.name for frame in frames)
        await Person.aio.cascade(Person, "spouse", frames)
        await Person.aio.cascade(Person, "friends", frames)

    Person.listen(event, plain if kind == "plain" else awaited)
    a, b, c, d = await people(call, *"abcd")
    links = [(a, b, [c]), (b, a, [b]), (c, a, [a, b, c])]
    for person, spouse, friends in links:
        person.spouse, person.friends = spouse, friends
    await call(Person).update_many([a, b, c])
    await call(a).delete()

    assert ["d"] == names(Person)
    assert ["a", "b", "c"] == sorted(heard)
    assert d == await call(Person).one()


# Size


async def test_batches_are_bounded(call: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large cascade or release holds some frames at a time."""
    monkeypatch.setattr("loom.frames.on_delete.BATCH", 40)
    monkeypatch.setattr("loom.frames.releases.BATCH", 40)
    sizes: list[int] = []
    Pet.listen("deleted", lambda frames: sizes.append(len(frames)))
    Pet.listen("updated", lambda frames: sizes.append(len(frames)))
    (a,) = await people(call, "a")
    pets = await call(Pet).insert_many([{"name": f"p{n}", "owner": a._id} for n in range(100)])
    await call(Person).nullify(Pet, "owner", [a])
    assert [40, 40, 20] == sizes
    assert 0 == await call(Pet).count(Q.owner == a)
    sizes.clear()
    await call(Person).cascade(Pet, "known", [Person(known={p.name: p for p in pets})])
    assert [40, 40, 20] == sizes
    assert 0 == await call(Pet).count({})


@pytest.mark.parametrize("with_listener", [False, True])
async def test_many_ids_go_in_chunks(
    call: Runtime, server: Server, db: str, with_listener: bool
) -> None:
    """Neither form sends more ids in one command than the connection's chunk."""
    loom.connect(server.client, aio=server.aio, db=db, reference_chunk=10)
    if with_listener:
        Pet.listen("updated", lambda: None)
    persons = await people(call, *(f"n{n}" for n in range(35)))
    await call(Pet(name="cat", walkers=persons)).insert()
    await call(Pet).insert_many([{"name": p.name, "owner": p} for p in persons])
    server.commands.clear()
    await call(Person).pull(Pet, "walkers", persons)
    await call(Person).nullify(Pet, "owner", persons)

    assert 0 == await call(Pet).count(Q.owner.is_in(persons[:3]))
    assert [] == (await call(Pet).one(Q.name == "cat")).walkers
    sizes = [
        len(body["filter"].get("walkers", body["filter"].get("owner"))["$in"])
        if "filter" in body
        else len(
            body["updates"][0]["q"].get("walkers", body["updates"][0]["q"].get("owner"))["$in"]
        )
        for body, name in zip(server.commands.bodies, server.commands.names, strict=True)
        if name == ("find" if with_listener else "update") and "limit" not in body
    ]
    assert sizes[:8] == [10, 10, 10, 5] * 2


async def test_a_delete_in_batches_is_checked_as_a_whole(call: Runtime) -> None:
    """What sends `delete` batch by batch can ask before; then its own documents forbid nothing."""

    class Part(Frame):
        name: str
        whole: Annotated[Part | None, Ref("restrict")]

    async def prepared(batches: list[list[Any]]) -> Any:
        port = ASYNC if call.is_async else SYNC

        async def ids() -> AsyncGenerator[list[Any], None]:
            for batch in batches:
                yield batch

        return await keep_references_whole.prepare(port, Part, ids(), {}, "Part.all")  # type: ignore[attr-defined]

    (first,) = await call(Part).insert_many([{"name": "a"}])
    parts = [first, *await call(Part).insert_many([{"name": n, "whole": first} for n in "bcd"])]
    with pytest.raises(Restricted, match=r"^Part\.all: .* 1 by Part\.whole") as caught:
        await prepared([[parts[0]._id, parts[1]._id], [parts[2]._id]])
    assert {"Part.whole": 1} == caught.value.counts
    permitted = await prepared([[part._id for part in parts[:2]], [part._id for part in parts[2:]]])
    with permitted([first._id]):
        with pytest.raises(Restricted):
            await call(Part).delete_many([first, Part(_id=ObjectId(), name="other")])
        await call(first).delete()

    assert ["b", "c", "d"] == names(Part)


class Seat(SubFrame):
    """Of a person."""

    person: Person
    guests: list[Person]


class Hall(Frame):
    """Refers to persons in every way."""

    name: str
    known: dict[str, Person]
    seats: list[Seat]
    rows: dict[str, Seat]
    grid: list[list[Person]]


@pytest.mark.parametrize("with_listener", [False, True])
async def test_declared_lists_and_maps(call: Runtime, with_listener: bool) -> None:
    """Where annotations tell of lists and maps, single references become null or are pulled."""
    if with_listener:
        Hall.listen("updated", lambda: None)
    a, b = await people(call, "a", "b")
    seats = [{"person": a._id, "guests": [a._id, b._id]}, {"person": b._id}]
    hall = Hall(
        name="h",
        known={"x": a, "y.z": b},
        seats=[Seat(dict(seat)) for seat in seats],
        rows={"front": Seat(dict(seats[0])), "back": Seat(dict(seats[1]))},
        grid=[[a, b], [a], []],
    )
    await call(hall).insert()
    for field in ("known", "seats.person", "rows.person"):
        await call(Person).nullify(Hall, field, [a])
    for field in ("seats.guests", "rows.guests", "grid"):
        await call(Person).pull(Hall, field, [a])
    found = Hall.get_collection().find_one()
    left = [{"person": None, "guests": [b._id]}, {"person": b._id}]

    assert found is not None
    assert {"x": None, "y.z": b._id} == found["known"]
    assert left == found["seats"]
    assert {"front": left[0], "back": left[1]} == found["rows"]
    assert [[b._id], [], []] == found["grid"]
    await call(Person).pull(Hall, "known", [b])
    assert {"x": None} == Hall.get_collection().find_one()["known"]


async def test_cascade_through_declared_maps(call: Runtime) -> None:
    """References in the sub-frames of a map are followed."""
    a, b, *_ = await people(call, *"abc")
    hall = Hall(name="h", rows={"front": Seat(person=a), "back": Seat(guests=[b])})
    await call(hall).insert()
    await call(Hall).cascade(Person, "rows.person", [hall])
    assert ["b", "c"] == names(Person)
    await call(Hall).cascade(Person, "rows.guests", [hall])
    assert ["c"] == names(Person)


async def test_ids_that_look_like_object_ids(call: Runtime) -> None:
    """A cascade deletes the text that is an id, not the ObjectId that it could mean."""
    text = "0123456789abcdef01234567"
    await call(Person).insert_many(
        [{"_id": text, "name": "a"}, {"_id": ObjectId(text), "name": "b"}]
    )
    Person.listen("deleted", lambda: None)
    await call(Person).cascade(Person, "spouse", [Person(name="x", spouse=text)])

    assert ["b"] == names(Person)
