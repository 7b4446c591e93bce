"""What every operation does, blocking and awaited: results, options, errors and the truth in them."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo import WriteConcern
from pymongo.collation import Collation
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

import loom
from loom import (
    BulkError,
    Duplicate,
    EncodeError,
    FieldError,
    Frame,
    Gone,
    MissingId,
    NotFound,
    Q,
    QueryError,
)
from loom.frames import SortBy

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Inventory, Item, Lair


class Token(Frame):
    """A frame whose ids are text."""

    _id: str
    note: str


class Coin(Frame):
    """A frame that is not a dragon."""

    name: str


class Wyrm(Dragon):
    """A dragon that lives in a collection of its own."""


def stored(cls: Any, **filter: Any) -> list[Any]:
    """Return the documents of a class's collection, past Loom."""
    return list(cls.get_collection().find(filter))


def last(commands: Commands, name: str) -> Any:
    """Return the newest command of a name."""
    return next(
        b for b, n in zip(commands.bodies[::-1], commands.names[::-1], strict=True) if n == name
    )


# Reading


async def test_one_returns_none_when_nothing_matches(call: Runtime) -> None:
    """`one` without a match is None; with `required` it raises and shows the filter."""
    assert await call(Dragon).one(Q.name == "Nobody") is None
    with pytest.raises(NotFound, match=r"Dragon.*'Nobody'"):
        await call(Dragon).one(Q.name == "Nobody", required=True)
    with pytest.raises(LookupError):
        await call(Dragon).by_id(ObjectId(), required=True)


async def test_one_takes_sorts_of_every_form(call: Runtime) -> None:
    """`sort` takes PyMongo's form, SortBy and a name with a minus."""
    await call(Dragon).insert_many([{"age": n} for n in (2, 3, 1)])

    for sort in ("-age", ["-age"], [("age", -1)], SortBy(Q.age.desc)):
        assert 3 == (await call(Dragon).one(sort=sort)).age
        assert [3, 2, 1] == [d.age for d in await call(Dragon).many(sort=sort)]


async def test_reads_pass_their_options(call: Runtime, commands: Commands) -> None:
    """What PyMongo's method takes reaches the server, and no other option is invented."""
    await call(Dragon).insert_many([{"name": n, "age": 1} for n in ("b", "A", "c")])
    await call(Dragon).many(
        Q.age == 1, sort="name", limit=2, skip=1, hint="_id_", comment="why", max_time_ms=5_000
    )
    body = last(commands, "find")

    assert (2, 1, "_id_", "why", 5_000) == tuple(
        body[k] for k in ("limit", "skip", "hint", "comment", "maxTimeMS")
    )
    found = await call(Dragon).one(
        Q.name == "a", collation=Collation(locale="en", strength=2), comment="one"
    )
    assert "A" == found.name
    assert "one" == last(commands, "find")["comment"]
    assert 1 == await call(Dragon).count(Q.age == 1, limit=1, comment="count")
    assert "count" == last(commands, "aggregate")["comment"]


async def test_reads_and_writes_take_a_session(
    call: Runtime, server: Server, commands: Commands
) -> None:
    """A session given to an operation is the one that its command carries."""
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    burt = Dragon(name="Burt")
    await call(burt).insert(session=session)
    await call(burt).update("name", session=session)
    await call(burt).upsert("name", session=session)
    await call(burt).unset("name", session=session)
    await call(burt).reload(session=session)
    await call(Dragon).one(session=session)
    await call(Dragon).many(session=session)
    await call(Dragon).by_id(burt._id, session=session)
    await call(Dragon).by_ids([burt._id], session=session)
    await call(Dragon).ids(session=session)
    await call(Dragon).exists(session=session)
    await call(Dragon).count(session=session)
    [_ async for _ in call(Dragon).each(session=session)]
    await call(Dragon).insert_many([{"name": "Ray"}], session=session)
    await call(Dragon).update_many([burt], session=session) if burt.name else None
    await call(Dragon).delete_many([burt], session=session)
    await call(burt).delete(session=session)

    assert {session.session_id["id"]} == {body["lsid"]["id"] for body in commands.bodies}
    assert "aggregate" in commands.names  # a count inside a session is counted, not estimated
    ended = session.end_session()
    if call.is_async:
        await ended


async def test_count_without_filter_is_the_servers_estimate(
    call: Runtime, commands: Commands
) -> None:
    """`count` asks the cheap way only when that is the same question."""
    await call(Dragon).insert_many([{"age": n} for n in range(3)])
    commands.clear()

    assert 3 == await call(Dragon).count()
    assert ["count"] == commands.names
    assert 2 == await call(Dragon).count(Q.age > 0)
    assert ["count", "aggregate"] == commands.names
    assert 3 == await call(Dragon).count({}, hint="_id_")


async def test_exists_asks_for_an_id_only(call: Runtime, commands: Commands) -> None:
    """`exists` tells whether a document matches and fetches nothing but its id."""
    await call(Dragon(name="Burt")).insert()
    commands.clear()

    assert await call(Dragon).exists(Q.name == "Burt") is True
    assert {"_id": True} == last(commands, "find")["projection"]
    assert await call(Dragon).exists(Q.name == "Ray") is False


async def test_distinct_values_of_a_field(call: Runtime, commands: Commands) -> None:
    """`distinct` gives each value once, those of lists one by one, of the documents that match."""
    burt = {"name": "Burt", "age": 1, "lair": {"kinds": ["cave", "keep"]}}
    fred = {"name": "Fred", "age": 2, "lair": {"kinds": ["keep"]}}
    await call(Dragon).insert_many([burt, fred, {"name": "Burt", "age": 3}])
    commands.clear()

    assert ["Burt", "Fred"] == sorted(await call(Dragon).distinct("name"))
    assert ["cave", "keep"] == sorted(await call(Dragon).distinct(Q.lair.kinds))
    assert ["keep"] == await call(Dragon).distinct("lair.kinds", Q.age > 1, comment="kinds")
    assert [] == await call(Dragon).distinct("colour")
    assert ["distinct"] * 4 == commands.names
    assert "kinds" == commands.bodies[2]["comment"]


@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        (None, {}, "Dragon.distinct: expected the name of a field, got None"),
        ("", {}, "Dragon.distinct: expected the name of a field, got ''"),
        ("name", {"limit": 5}, "Dragon.distinct: expected an option, got 'limit'; known are"),
    ],
)
async def test_distinct_refuses(
    call: Runtime, commands: Commands, field: Any, options: dict[str, Any], message: str
) -> None:
    """What is no field, and what is no option, is refused before anything is sent."""
    with pytest.raises(QueryError, match=message):
        await call(Dragon).distinct(field, **options)
    assert [] == commands.names


async def test_ids_returns_ids_in_order(call: Runtime) -> None:
    """`ids` sorts and limits as `many` does."""
    made = await call(Dragon).insert_many([{"age": n} for n in range(4)])

    assert [made[3]._id, made[2]._id] == await call(Dragon).ids(sort="-age", limit=2)


async def test_by_id_reads_hexadecimal_digits(call: Runtime) -> None:
    """24 hexadecimal digits are an ObjectId, unless the class says that its ids are text."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    text = Token(_id="a" * 24, note="text")
    await call(text).insert()

    assert burt == await call(Dragon).by_id(str(burt._id))
    assert [burt] == await call(Dragon).by_ids([str(burt._id)])
    assert text == await call(Token).by_id("a" * 24)
    assert [text] == await call(Token).by_ids(["a" * 24])
    assert await call(Dragon).by_id("not an id") is None


@pytest.mark.parametrize(
    "trick",
    [{"$gt": ""}, {"$ne": None}, {"$regex": "."}, {"$exists": True}, re.compile("."), ["$gt", ""]],
)
async def test_by_id_cannot_smuggle_operators(call: Runtime, trick: Any) -> None:
    """Whatever is given as an id is compared as a value."""
    await call(Token(_id="x", note="y")).insert()

    assert await call(Token).by_id(trick) is None
    try:
        found = await call(Token).by_ids([trick])
    except (OperationFailure, QueryError):
        return
    assert [] == found


async def test_writes_cannot_smuggle_operators(call: Runtime) -> None:
    """An id that looks like a query touches no other document."""
    await call(Token).insert_many([{"_id": "x", "note": "y"}, {"_id": "z", "note": "y"}])
    forged = Token({"_id": {"$gt": ""}, "note": "forged"})

    with pytest.raises(Gone):
        await call(forged).update("note")
    with pytest.raises(Gone):
        await call(forged).unset("note")
    with pytest.raises(Gone):
        await call(forged).reload()
    await call(forged).delete()
    with pytest.raises((BulkError, OperationFailure)):
        await call(Token).update_many([forged], "note")
    await call(Token).delete_many([forged])

    assert ["y", "y"] == [d["note"] for d in stored(Token)]


class Kind(Enum):
    """An id that is stored as another type."""

    RED = "red"


@pytest.mark.parametrize(
    "id",
    [
        7,
        0,
        "",
        False,
        2.5,
        Int64(2**40),
        Decimal("1.5"),
        Decimal128("2.5"),
        uuid.UUID(int=3),
        Kind.RED,
        {"shop": 1, "number": 2},
        datetime(2024, 3, 10, 12, 0, 0, 123456, tzinfo=timezone.utc),
        datetime(2024, 3, 10, 12),
        b"\x01\x02",
    ],
    ids=lambda id: type(id).__name__,
)
async def test_ids_of_every_type(call: Runtime, id: Any) -> None:
    """A document is found, updated and deleted by an id of any type that can be stored."""
    await call(Token).insert_many([{"_id": id, "note": "a"}])

    assert "a" == (await call(Token).by_id(id, required=True)).note
    assert ["a"] == [t.note for t in await call(Token).by_ids([id])]
    frame = Token({"_id": id, "note": "b"})
    await call(frame).update("note")
    await call(Token).update_many([frame])
    assert "b" == (await call(Token).by_id(id)).note
    gone = Token({"_id": "gone", "note": "b"})
    with pytest.raises(BulkError) as caught:
        await call(Token).update_many([frame, gone])
    assert [frame] == caught.value.frames_written
    assert [gone] == [f for f, _ in caught.value.frames_failed]
    await call(Token).delete_many([frame])
    assert [] == stored(Token)


async def test_by_ids_keeps_order_and_drops_the_missing(call: Runtime) -> None:
    """`by_ids` answers in the order asked, twice what was asked twice, over several chunks."""
    made = await call(Token).insert_many([{"_id": f"t{n}"} for n in range(60)])
    wanted = ["t59", "nothing", "t0", "t59", *(f"t{n}" for n in range(60))]

    found = await call(Token).by_ids(wanted)
    assert [w for w in wanted if w != "nothing"] == [t._id for t in found]
    assert found[0] is found[2]
    assert [made[3]] == await call(Token).by_ids(iter([made[3]]))
    assert [] == await call(Token).by_ids([])


async def test_by_ids_tells_true_from_one(call: Runtime) -> None:
    """1 and True are two ids to a server, though equal in Python."""
    await call(Token).insert_many([{"_id": 1, "note": "one"}, {"_id": True, "note": "true"}])

    assert ["true", "one"] == [t.note for t in await call(Token).by_ids([True, 1])]


async def test_by_ids_wants_a_list(call: Runtime) -> None:
    """Text is no list of ids, and ids are needed to answer in order."""
    for wrong in ("abc", {"a": 1}, 5, None):
        with pytest.raises(FieldError, match=r"Dragon\.by_ids: expected a list"):
            await call(Dragon).by_ids(wrong)
    with pytest.raises(FieldError, match="_id"):
        await call(Dragon).by_ids([1], projection={"_id": False})


async def test_reload_replaces_what_the_frame_holds(call: Runtime) -> None:
    """`reload` forgets local changes, keeps the id, and says when the document is gone."""
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    other = await call(Dragon).by_id(burt._id)
    other.age = 2
    await call(other).update("age")
    burt.name = "local"
    await call(burt).reload()

    assert ("Burt", 2) == (burt.name, burt.age)
    await call(burt).reload(projection={"_id": False, "name": True})
    assert (other._id, "Burt") == (burt._id, burt.name)
    await call(other).delete()
    with pytest.raises(Gone, match=r"Dragon\.reload.*found none"):
        await call(burt).reload()
    assert "Burt" == burt.name
    with pytest.raises(MissingId):
        await call(Dragon(name="new")).reload()


# Writing one


async def test_insert_gives_an_id_only_when_stored(call: Runtime) -> None:
    """A refused insert leaves the frame without an id, so that it can be tried again."""
    Dragon.get_collection().create_index("name", unique=True, name="by_name")
    await call(Dragon(name="Burt")).insert()
    twin = Dragon(name="Burt")
    with pytest.raises(Duplicate) as caught:
        await call(twin).insert()

    assert "_id" not in twin
    error = caught.value
    assert ("by_name", ("name",), {"name": "Burt"}) == (error.index, error.fields, error.values)
    assert isinstance(error, DuplicateKeyError)
    assert "Dragon: name='Burt' is taken already in index by_name" in str(error)
    twin.name = "Ray"
    await call(twin).insert()
    assert {"Burt", "Ray"} == {d["name"] for d in stored(Dragon)}


async def test_update_and_upsert_report_duplicates(call: Runtime) -> None:
    """A unique index refuses updates and upserts with the same error."""
    Dragon.get_collection().create_index("name", unique=True)
    await call(Dragon(name="Burt")).insert()
    ray = Dragon(name="Ray")
    await call(ray).insert()
    ray.name = "Burt"
    with pytest.raises(Duplicate):
        await call(ray).update("name")
    with pytest.raises(Duplicate):
        await call(ray).upsert()
    with pytest.raises(Duplicate):
        await call(Dragon(_id=5, name="Burt")).upsert()

    assert "Ray" == (await call(Dragon).by_id(ray._id)).name


async def test_update_sends_only_what_is_named(call: Runtime, commands: Commands) -> None:
    """`update` names paths, without names it sends what the frame holds."""
    burt = Dragon(name="Burt", age=1, lair=Lair(name="Cave", inventory=Inventory(gold=1)))
    await call(burt).insert()
    burt.lair.inventory.gold = 2
    burt.age = 3
    await call(burt).update("lair.inventory.gold")

    assert {"$set": {"lair.inventory.gold": 2}} == last(commands, "update")["updates"][0]["u"]
    assert 1 == stored(Dragon)[0]["age"]
    await call(burt).update()
    assert {"name", "age", "lair"} == last(commands, "update")["updates"][0]["u"]["$set"].keys()
    assert 3 == stored(Dragon)[0]["age"]


async def test_update_passes_its_options(call: Runtime, commands: Commands) -> None:
    """The options of PyMongo's update_one reach the server."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    await call(burt).update(
        "name",
        hint="_id_",
        comment="why",
        collation=Collation("en"),
        let={"a": 1},
        bypass_document_validation=True,
    )
    body = last(commands, "update")

    assert ("why", {"a": 1}, True) == (
        body["comment"],
        body["let"],
        body["bypassDocumentValidation"],
    )
    assert ("_id_", "en") == (body["updates"][0]["hint"], body["updates"][0]["collation"]["locale"])
    ghost = Dragon(_id=7, name="Ghost")
    await call(ghost).update("name", upsert=True)
    assert "Ghost" == stored(Dragon, _id=7)[0]["name"]


async def test_updates_that_cannot_be_meant(call: Runtime, commands: Commands) -> None:
    """Bad input has an error of its own, and nothing is sent."""
    burt = Dragon(name="Burt")
    await call(burt).insert()
    commands.clear()
    for operation in ("update", "upsert", "unset"):
        method = getattr(call(burt), operation)
        with pytest.raises(FieldError, match=rf"Dragon\.{operation}.*'nmae'; did you mean 'name'"):
            await method("nmae")
        with pytest.raises(FieldError, match="expected names of fields, got 5"):
            await method(5)
        with pytest.raises(QueryError, match="_id"):
            await method("_id")
        with pytest.raises(QueryError):
            await method("lair..name")
    with pytest.raises(QueryError, match="unset"):
        await call(burt).update("age")
    with pytest.raises(FieldError, match=r"Dragon\.unset: expected names"):
        await call(burt).unset()
    with pytest.raises(QueryError, match="only its _id"):
        await call(Dragon(_id=1)).update()
    for operation in ("update", "unset", "delete"):
        arguments = () if operation == "delete" else ("name",)
        with pytest.raises(MissingId, match=rf"Dragon\.{operation}: expected a frame with _id"):
            await getattr(call(Dragon(name="x")), operation)(*arguments)

    assert [] == commands.names


async def test_values_that_cannot_be_stored(call: Runtime, commands: Commands) -> None:
    """The error names the path of the value, and nothing is sent."""
    stored_burt = Dragon(name="Burt")
    await call(stored_burt).insert()
    commands.clear()
    bad = Dragon(name="Bad", lair=Lair(inventory=Inventory(gold=object())))
    with pytest.raises(EncodeError, match=r"Dragon\.lair\.inventory\.gold: expected a value"):
        await call(bad).insert()
    stored_burt.lair = bad.lair
    with pytest.raises(EncodeError, match=r"lair\.inventory\.gold"):
        await call(stored_burt).update("lair")
    with pytest.raises(MissingId, match="nemesis"):
        await call(Dragon(name="x", nemesis=Dragon(name="unsaved"))).insert()
    with pytest.raises(EncodeError, match="filter"):
        await call(Dragon).many(Q.name == object())
    with pytest.raises(EncodeError, match="filter"):
        await call(Dragon).one(Q.name == object())
    with pytest.raises(EncodeError, match="filter"):
        await call(Dragon).count(Q.name == object())
    with pytest.raises(EncodeError, match="filter"):
        [_ async for _ in call(Dragon).each(Q.name == object())]

    assert [] == commands.names
    assert "_id" not in bad


async def test_gone_documents(call: Runtime) -> None:
    """A single update or unset of a deleted document raises Gone; delete does not."""
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    await call(burt).delete()
    with pytest.raises(Gone, match=r"Dragon\.update: expected the document with _id="):
        await call(burt).update("name")
    with pytest.raises(Gone, match=r"Dragon\.unset"):
        await call(burt).unset("age")
    await call(burt).delete()

    assert 1 == burt.age
    assert [] == stored(Dragon)


@pytest.mark.parametrize("where", [None, Q.name == "Burt"])
async def test_deleted_is_sent_for_what_was_deleted(call: Runtime, where: Any) -> None:
    """A document that is gone already is not told to be deleted a second time."""
    told: list[str] = []
    Dragon.listen("delete", lambda event: told.append(event))
    Dragon.listen("deleted", lambda event: told.append(event))
    Dragon.listen("committed", lambda event: told.append(f"{event} stands"))
    burt = Dragon(name="Burt", age=1)
    await call(burt).insert()
    told.clear()
    await call(burt).delete(where=where)
    assert ["delete", "deleted", "deleted stands"] == told
    await call(burt).delete(where=where)

    assert ["delete"] == told[3:]


async def test_deletes_that_nobody_acknowledges_are_told(call: Runtime) -> None:
    """Without an answer of the server a delete counts as done."""
    told: list[str] = []
    Dragon.listen("deleted", lambda frames: told.extend(f.name for f in frames))
    quick = Dragon.with_options(write_concern=WriteConcern(w=0))
    with quick:
        await call(Dragon(_id=5, name="Burt")).delete()
        await call(Dragon(_id=5, name="Burt")).delete(where=Q.name == "Burt")
        await call(Dragon).delete_many([Dragon(_id=6, name="Fred")])

    assert ["Burt", "Burt", "Fred"] == told


async def test_unset_removes_from_both_sides(call: Runtime) -> None:
    """`unset` removes paths from the document and from the frame, overlapping ones too."""
    burt = Dragon(name="Burt", age=1, lair=Lair(name="Cave", inventory=Inventory(gold=1, skulls=2)))
    await call(burt).insert()
    await call(burt).unset("age", "lair.inventory.gold", "lair.inventory", "breed")

    assert {"_id", "name", "lair"} == burt._document.keys()
    assert {"name": "Cave"} == burt.lair._document
    assert {"name": "Cave"} == stored(Dragon)[0]["lair"]


async def test_upsert_inserts_or_updates(call: Runtime, commands: Commands) -> None:
    """`upsert` writes one document whatever was there, and passes the options that fit."""
    options = {"comment": "c", "hint": "_id_", "collation": Collation("en")}
    fresh = Dragon(name="Fresh")
    await call(fresh).upsert(**options)
    known = Dragon(_id=5, name="Known")
    await call(known).upsert(**options)
    known.name = "Known again"
    known.age = 3
    await call(known).upsert("name", **options)
    null = Dragon(_id=None, name="Null")
    await call(null).upsert()

    assert isinstance(fresh._id, ObjectId)
    assert isinstance(null._id, ObjectId)
    assert [{"_id": 5, "name": "Known again"}] == stored(Dragon, _id=5)
    assert "_id_" == last(commands, "update")["updates"][0]["hint"]
    assert 3 == len(stored(Dragon))


async def test_upsert_of_nothing_but_an_id(call: Runtime) -> None:
    """A frame that holds only its id is stored once, and upserting it again is no error."""
    await call(Token(_id="x")).upsert()
    await call(Token(_id="x")).upsert()

    assert [{"_id": "x"}] == stored(Token)


def test_upserts_in_threads_end_with_one_document(db: str) -> None:
    """60 threads upsert the same id: no error, one document."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(60)

    def work(n: int) -> None:
        try:
            barrier.wait()
            Dragon(_id="one", name=f"n{n}", age=n).upsert()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    (document,) = stored(Dragon)
    assert document["name"] == f"n{document['age']}"


async def test_upserts_in_tasks_end_with_one_document(db: str) -> None:
    """60 tasks upsert the same id: no error, one document."""
    frames = [Dragon(_id="one", name=f"n{n}") for n in range(60)]
    await asyncio.gather(*(frame.aio.upsert() for frame in frames))

    assert 1 == len(stored(Dragon))


async def test_upsert_survives_a_delete_in_between(call: Runtime) -> None:
    """A document deleted between the look and the write is inserted."""
    frame = Token(_id="x", note="again")
    await call(Token(_id="x", note="first")).insert()
    deleted = []

    @Token.listen("update")
    def delete(frames: list[Any]) -> None:
        if not deleted:
            deleted.append(Token.get_collection().delete_one({"_id": "x"}))

    await call(frame).upsert()

    assert [{"_id": "x", "note": "again"}] == stored(Token)


async def test_upsert_survives_an_insert_in_between(call: Runtime) -> None:
    """A document inserted between the look and the write is updated."""
    frame = Token(_id="x", note="mine")
    done = []

    @Token.listen("insert")
    def insert(frames: list[Any]) -> None:
        if not done:
            done.append(Token.get_collection().insert_one({"_id": "x", "note": "theirs"}))

    await call(frame).upsert()

    assert [{"_id": "x", "note": "mine"}] == stored(Token)


async def test_writes_without_acknowledgement(call: Runtime) -> None:
    """With `w=0` every write returns: nothing can be said of what matched."""
    with Token.with_options(write_concern=WriteConcern(w=0)):
        frame = Token(_id="x", note="a")
        await call(frame).insert()
        await call(frame).update("note")
        await call(Token(_id="gone", note="b")).update("note")
        await call(frame).unset("note")
        await call(Token).insert_many([{"_id": "y"}, {"_id": "z"}])
        await call(Token).update_many([Token(_id="none", note="q"), Token(_id="y", note="q")])
        await call(Token).unset_many([Token(_id="none", note="q")], "note")
        await call(Token).delete_many([Token(_id="none")])
        await call(frame).delete()


# Writing many


async def test_batches_take_any_iterable(call: Runtime) -> None:
    """Generators and tuples are read once; an empty batch sends nothing."""

    def some() -> Iterator[dict[str, Any]]:
        yield {"name": "a"}
        yield {"name": "b"}

    frames = await call(Dragon).insert_many(some())
    assert ["a", "b"] == [f.name for f in frames]
    assert frames == await call(Dragon).update_many(iter(frames), "name")
    assert frames == await call(Dragon).unset_many(tuple(frames), "name")
    assert frames == await call(Dragon).delete_many(f for f in frames)
    assert [] == stored(Dragon)


async def test_empty_batches_send_nothing(call: Runtime, commands: Commands) -> None:
    """No frames, no command and no event."""
    heard: list[Any] = []
    for event in ("insert", "inserted", "update", "updated", "delete", "deleted"):
        Dragon.listen(event, lambda frames: heard.append(frames))
    assert [] == await call(Dragon).insert_many([])
    assert [] == await call(Dragon).update_many([])
    assert [] == await call(Dragon).unset_many(iter(()), "name")
    assert [] == await call(Dragon).delete_many(())

    assert ([], []) == (commands.names, heard)


@pytest.mark.parametrize("operation", ["insert_many", "update_many", "unset_many", "delete_many"])
async def test_batches_refuse_what_is_no_frame(
    call: Runtime, operation: str, commands: Commands
) -> None:
    """Frames of another class, and what is neither frame nor dict, are refused before a write."""
    method = getattr(call(Dragon), operation)
    fields = ("name",) if operation == "unset_many" else ()
    for wrong in (
        [Coin(_id=1, name="x")],
        [Dragon(_id=1, name="x"), 5],
        [Lair(name="x")],
        [Wyrm(_id=1, name="x")],
        {"_id": 1},
        "abc",
        None,
        Dragon(_id=1),
    ):
        with pytest.raises(FieldError, match=rf"Dragon\.{operation}: expected"):
            await method(wrong, *fields)

    assert [] == commands.names


async def test_the_same_frame_twice_is_refused(call: Runtime, commands: Commands) -> None:
    """One frame cannot stand for two new documents."""
    burt = Dragon(name="Burt")
    document = {"name": "Ray"}
    for twice in ([burt, burt], [document, document]):
        with pytest.raises(FieldError, match=r"Dragon\.insert_many: expected .* once"):
            await call(Dragon).insert_many(twice)

    assert [] == commands.names
    assert "_id" not in burt


async def test_insert_many_stops_at_the_first_failure(call: Runtime) -> None:
    """In order, what follows a duplicate is not tried; the error names both parts."""
    heard: list[Any] = []
    Token.listen("inserted", lambda frames: heard.extend(frames))
    await call(Token(_id="b", note="there")).insert()
    heard.clear()
    frames = [Token(_id="a"), Token(_id="b"), Token(_id="c"), Token(note="no id")]
    with pytest.raises(BulkError) as caught:
        await call(Token).insert_many(frames)
    error = caught.value

    assert frames[:1] == error.frames_written == heard
    assert [f._document for f in frames[1:]] == [f._document for f, _ in error.frames_failed]
    assert "duplicate key" in error.frames_failed[0][1]
    assert {"not tried after an earlier failure"} == {why for _, why in error.frames_failed[1:]}
    assert "_id" not in frames[3]
    assert isinstance(error, BulkWriteError)
    assert str(error).startswith("Token.insert_many: 1 of 4 frames were written, 3 were not")
    assert {"a", "b"} == {d["_id"] for d in stored(Token)}


async def test_insert_many_unordered_writes_the_others(call: Runtime) -> None:
    """Without order everything that can be written is, and ids are on written frames only."""
    Token.get_collection().create_index("note", unique=True)
    heard: list[Any] = []
    Token.listen("inserted", lambda frames: heard.extend(frames))
    frames = [Token(note=note) for note in ("a", "b", "a", "c", "b", "d")]
    with pytest.raises(BulkError) as caught:
        await call(Token).insert_many(frames, ordered=False)
    written = [frames[i] for i in (0, 1, 3, 5)]

    assert written == caught.value.frames_written == heard
    assert ["a", "b"] == [f.note for f, _ in caught.value.frames_failed]
    assert [i in (0, 1, 3, 5) for i in range(6)] == ["_id" in f for f in frames]
    assert {f._id for f in written} == {d["_id"] for d in stored(Token)}


async def test_insert_many_passes_its_options(call: Runtime, commands: Commands) -> None:
    """`ordered`, `comment` and `bypass_document_validation` reach the server."""
    await call(Token).insert_many(
        [{"note": "a"}], ordered=False, comment="c", bypass_document_validation=True
    )
    body = last(commands, "insert")

    assert (False, "c", True) == (
        body["ordered"],
        body["comment"],
        body["bypassDocumentValidation"],
    )


@pytest.mark.parametrize("position", [0, 1, 4])
async def test_a_bad_document_stops_the_whole_batch(
    call: Runtime, commands: Commands, position: int
) -> None:
    """A document that cannot be stored is found before any is sent; no frame gets an id."""
    frames = [Token(note="fine") for _ in range(5)]
    frames[position].note = {"deep": [object()]}
    with pytest.raises(EncodeError, match=rf"Token\.{position}\.note\.deep\.0"):
        await call(Token).insert_many(frames)

    assert [] == commands.names
    assert not any("_id" in f for f in frames)


@pytest.mark.parametrize("bad", [object(), "x" * 17_000_000], ids=["no value", "too large"])
async def test_a_bad_document_after_48_megabytes(
    call: Runtime, commands: Commands, bad: Any
) -> None:
    """A batch that the driver would split is checked as a whole: nothing is sent."""
    megabytes = b"x" * 15_000_000
    frames = [Token({"note": megabytes}) for _ in range(4)]
    frames.append(Token({"note": bad}))
    with pytest.raises(EncodeError, match=r"Token\.4"):
        await call(Token).insert_many(frames)
    updates = [Token({"_id": n, "note": f.note}) for n, f in enumerate(frames)]
    with pytest.raises(EncodeError, match=r"Token\.4"):
        await call(Token).update_many(updates)

    assert [] == commands.names
    assert not any("_id" in f for f in frames)


async def test_a_bad_document_after_100000(call: Runtime, commands: Commands) -> None:
    """So is one of more documents than a command may hold."""
    frames = [Token() for _ in range(100_001)]
    frames.append(Token({"note": object()}))
    with pytest.raises(EncodeError, match=r"Token\.100001\.note"):
        await call(Token).insert_many(frames)

    assert [] == commands.names
    assert "_id" not in frames[0]


async def test_a_bad_id_in_a_batch(call: Runtime, commands: Commands) -> None:
    """An id that cannot be stored is refused as a value is."""
    for operation, fields in (("update_many", ()), ("unset_many", ("note",)), ("delete_many", ())):
        frames = [Token(_id="a", note="b"), Token({"_id": object(), "note": "b"})]
        with pytest.raises(EncodeError, match=r"Token\.1\._id"):
            await getattr(call(Token), operation)(frames, *fields)

    assert [] == commands.names


async def test_update_many_writes_all_in_one_command(call: Runtime, commands: Commands) -> None:
    """One command writes the named fields of all frames."""
    frames = await call(Dragon).insert_many([{"name": f"n{n}", "age": n} for n in range(5)])
    for frame in frames:
        frame.age += 10
        frame.name = "changed"
    commands.clear()
    await call(Dragon).update_many(frames, "age", comment="c", ordered=False, hint="_id_")

    assert ["update"] == commands.names
    body = last(commands, "update")
    assert ("c", False, "_id_") == (body["comment"], body["ordered"], body["updates"][0]["hint"])
    assert [(f"n{n}", n + 10) for n in range(5)] == [
        (d["name"], d["age"]) for d in sorted(stored(Dragon), key=lambda d: d["age"])
    ]


async def test_update_many_with_array_filters_and_upsert(call: Runtime) -> None:
    """The options of single updates are passed to each of them."""
    await call(Dragon).update_many([{"_id": 1, "name": "a"}], upsert=True)
    assert "a" == stored(Dragon)[0]["name"]

    class Bag(Frame):
        coins: Any

    bag = Bag(coins=[1, 5])
    await call(bag).insert()
    frame = Bag({"_id": bag._id, "coins": {"$[old]": 9}})
    await call(Bag).update_many([frame], "coins.$[old]", array_filters=[{"old": {"$gt": 2}}])
    assert [1, 9] == stored(Bag)[0]["coins"]


@pytest.mark.parametrize("operation", ["update_many", "unset_many"])
async def test_batches_say_which_are_missing(call: Runtime, operation: str) -> None:
    """A batch that matches fewer asks once which are gone, and names only the others as written."""
    heard: list[Any] = []
    Token.listen("updated", lambda frames, changes, fields: heard.append((frames, changes, fields)))
    await call(Token).insert_many([{"_id": "a"}, {"_id": "c"}])
    frames = [Token(_id=id, note=id) for id in "abcd"]
    with pytest.raises(BulkError) as caught:
        await getattr(call(Token), operation)(frames, "note")

    assert [frames[0], frames[2]] == caught.value.frames_written
    assert [
        (frames[1], "no document has _id='b'"),
        (frames[3], "no document has _id='d'"),
    ] == caught.value.frames_failed
    ((named, changes, fields),) = heard
    assert [frames[0], frames[2]] == named
    assert 2 == len(changes)
    assert ("note",) == fields
    if operation == "unset_many":
        assert ["note" in f for f in frames] == [False, True, False, True]


@pytest.mark.parametrize("ordered", [True, False])
async def test_update_many_with_failures_and_missing(call: Runtime, ordered: bool) -> None:
    """Duplicates in the middle and missing documents are told apart."""
    Token.get_collection().create_index("note", unique=True)
    await call(Token).insert_many([{"_id": id, "note": id} for id in "acd"] + [{"_id": "z"}])
    frames = [
        Token(_id="a", note="A"),
        Token(_id="b", note="B"),  # not there
        Token(_id="c", note="d"),  # taken
        Token(_id="d", note="D"),
        Token(_id="e", note="E"),  # not there
    ]
    heard: list[Any] = []
    Token.listen("updated", lambda frames: heard.extend(frames))
    with pytest.raises(BulkError) as caught:
        await call(Token).update_many(frames, ordered=ordered)
    written = [frames[0]] if ordered else [frames[0], frames[3]]

    assert written == caught.value.frames_written == heard
    reasons = [why for _, why in caught.value.frames_failed]
    assert "no document has _id='b'" == reasons[0]
    assert "duplicate key" in reasons[1]
    assert ("not tried after an earlier failure" if ordered else "no document has _id='e'") == (
        reasons[-1]
    )


async def test_batches_need_ids(call: Runtime, commands: Commands) -> None:
    """One frame without an id stops a batch before anything is sent."""
    frames = [Dragon(_id=1, name="a"), Dragon(name="b")]
    with pytest.raises(MissingId, match=r"Dragon\.update_many"):
        await call(Dragon).update_many(frames)
    with pytest.raises(MissingId, match=r"Dragon\.unset_many"):
        await call(Dragon).unset_many(frames, "name")
    with pytest.raises(MissingId, match=r"Dragon\.delete_many"):
        await call(Dragon).delete_many(frames)
    with pytest.raises(FieldError):
        await call(Dragon).update_many(frames[:1], "nmae")
    with pytest.raises(FieldError):
        await call(Dragon).unset_many(frames[:1])
    with pytest.raises(QueryError):
        await call(Dragon).update_many(frames[:1], "age")

    assert [] == commands.names


async def test_delete_many_ignores_the_missing(call: Runtime) -> None:
    """Deleting what is gone is no error, one or many."""
    made = await call(Token).insert_many([{"_id": id} for id in "abc"])
    assert [*made[:2], Token(_id="q")] == await call(Token).delete_many(
        [*made[:2], {"_id": "q"}], comment="c", ordered=False
    )

    assert ["c"] == [d["_id"] for d in stored(Token)]


async def test_writes_store_ids_for_references(call: Runtime) -> None:
    """Frames inside a document are stored as their ids, in every kind of write."""
    items = await call(Item).insert_many([{"desc": "ring"}, {"desc": "crown"}])
    burt = Dragon(name="Burt", loot=items)
    await call(burt).insert()
    ids = [item._id for item in items]
    assert ids == stored(Dragon)[0]["loot"]
    burt.loot = items[:1]
    await call(burt).update("loot")
    assert ids[:1] == stored(Dragon)[0]["loot"]
    await call(Dragon).update_many([burt], "loot")
    assert [burt] == await call(Dragon).many(Q.loot == items[0])


async def test_operations_follow_using(call: Runtime, server: Server, db: str) -> None:
    """`using` moves every operation to another database."""
    other = f"{db}_other"
    try:
        with loom.using(db=other):
            burt = Dragon(name="Burt")
            await call(burt).insert()
        assert await call(Dragon).one() is None
        assert 1 == server.client[other].Dragon.count_documents({})
    finally:
        server.client.drop_database(other)


async def test_many_concurrent_tasks(db: str) -> None:
    """200 operations at once are all done, each with its own result."""

    async def work(n: int) -> Any:
        frame = Dragon(_id=n, age=n)
        await frame.aio.insert()
        frame.age = -n
        await frame.aio.update("age")
        return (await Dragon.aio.by_id(n)).age

    assert [-n for n in range(200)] == await asyncio.gather(*map(work, range(200)))
    assert 200 == await Dragon.aio.count({})


async def test_an_id_of_none_is_none(call: Runtime) -> None:
    """`_id=None` means that there is no id: insert makes one, other writes refuse."""
    burt = Dragon(_id=None, name="Burt")
    with pytest.raises(MissingId, match="insert it first"):
        await call(burt).update("name")
    with pytest.raises(MissingId, match="insert it first"):
        await call(burt).delete()
    with pytest.raises(MissingId, match="expected a stored frame"):
        await call(Dragon(nemesis=burt)).insert()
    await call(burt).insert()

    assert await call(Dragon).ids() == [burt._id]
    assert burt._id is not None
