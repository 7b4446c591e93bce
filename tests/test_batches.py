"""Batches: what they send, and the truth about each frame when they fail on the way."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import ObjectId
from bson.codec_options import CodecOptions, TypeEncoder, TypeRegistry
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient, InsertOne, MongoClient, WriteConcern
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure

import loom
from loom import BulkError, EncodeError, FieldError, Frame, IncrCounter, SubFrame
from loom.encoding import codec_options
from loom.frames import ids as ids_module
from loom.frames import requests
from loom.frames.changes import document_to_insert
from loom.frames.ids import new_ids
from loom.frames.inserts import Inserts, inserts_of
from loom.frames.sent import Sent
from loom.frames.tracking import tracked_of

from .conftest import Commands, Runtime, Server
from .proxy import Proxy
from .zoo import Dragon, Lair

Quiet = Callable[[], AbstractContextManager[None]]


class Token(Frame):
    """A frame whose ids are text."""

    _id: str
    note: str


class Versioned(Frame):
    """A frame that counts its versions."""

    _version = "_v"
    note: str


def stored(cls: Any) -> list[Any]:
    """Return the documents of a class's collection, past Loom."""
    return list(cls.get_collection().find({}, sort=[("_id", 1)]))


# New ids


def test_new_ids_are_those_of_pymongo() -> None:
    """They come between two that PyMongo makes, all different, in order and of this second."""
    new_ids(1)  # looks once at how PyMongo makes them
    before, made, after = ObjectId(), new_ids(1_000), ObjectId()
    numbers = [int.from_bytes(id.binary[9:], "big") for id in (before, *made, after)]
    start = numbers[0]

    assert 1_000 == len(set(made))
    assert [(start + i) % 2**24 for i in range(1_002)] == numbers
    assert {before.binary[4:9]} == {id.binary[4:9] for id in made}
    assert before.generation_time <= made[0].generation_time <= after.generation_time
    assert [] == new_ids(0)


@pytest.mark.parametrize("left", [0, 1, 5, 9, 10])
def test_new_ids_begin_again_behind_the_last_number(
    monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """The three bytes of the counter run over as PyMongo's do; the random bytes stay."""
    new_ids(1)
    monkeypatch.setattr(ObjectId, "_inc", 2**24 - left)
    made = new_ids(10)
    numbers = [int.from_bytes(id.binary[9:], "big") for id in made]

    assert [(2**24 - left + i) % 2**24 for i in range(10)] == numbers
    assert {ObjectId().binary[4:9]} == {id.binary[4:9] for id in made}
    assert (10 - left) % 2**24 == int.from_bytes(ObjectId().binary[9:], "big") - 1


def test_more_ids_than_one_stretch() -> None:
    """A large batch takes several stretches, each with the time of its own."""
    count = ids_module._AT_ONCE * 2 + 3

    assert count == len({id.binary for id in new_ids(count)})


def test_new_ids_in_threads() -> None:
    """Threads that make ids in bulk and one by one never make the same."""
    found: list[ObjectId] = []

    def work() -> None:
        mine: list[ObjectId] = []
        for n in range(200):
            mine += new_ids(n)
            mine.append(ObjectId())
        found.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 6 * (200 + sum(range(200))) == len(found) == len(set(found))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_new_ids_after_a_fork() -> None:
    """A child process makes other ids than its parent, from the same number on."""
    new_ids(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(id.binary for id in new_ids(100)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    ours = new_ids(100)

    assert 1_200 == len(theirs)
    assert not {theirs[i : i + 12] for i in range(0, 1_200, 12)} & {id.binary for id in ours}


@pytest.mark.parametrize("missing", ["_inc_lock", "_inc", "_random"])
def test_another_pymongo_makes_its_ids_itself(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Where PyMongo's counter is not what it is today, PyMongo makes every id."""

    class Other:
        made = 0

        def __init__(self) -> None:
            Other.made += 1
            self.binary = bytes(12)

    for name in {"_inc_lock", "_inc", "_random"} - {missing}:
        setattr(Other, name, getattr(ObjectId, name))
    ids_module._is_known.cache_clear()
    monkeypatch.setattr(ids_module, "ObjectId", Other)
    try:
        assert 3 == len(new_ids(3))
    finally:
        ids_module._is_known.cache_clear()
    assert 4 == Other.made


# What is sent for new frames


class Loot(SubFrame):
    """An embedded document."""

    what: str
    worth: Any


class Hoard(Frame):
    """A frame with one of everything."""

    name: Any
    when: Any
    loot: Any
    owner: Any


class Kind(Enum):
    """A value that is encoded as another."""

    SMALL = "small"


UTC = timezone.utc
ZONE = ZoneInfo("Europe/Berlin")
datetimes = st.datetimes(
    min_value=datetime(1900, 1, 1), timezones=st.sampled_from([None, UTC, ZONE])
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=2), st.just(Decimal("1.5"))
)
values = st.recursive(
    st.one_of(plain, datetimes, st.sampled_from([Kind.SMALL, Lair(name="Cave")])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        st.builds(lambda w: Loot(what="ring", worth=w), inner),
        st.lists(st.builds(lambda w: Loot(what="ring", worth=w), inner), max_size=3),
        st.tuples(inner),
    ),
    max_leaves=5,
)
hoards = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "when", "loot", "_id"), values)),
    min_size=1,
    max_size=5,
)


OPTIONS = codec_options(CodecOptions())


def encoded(document: Any) -> dict[str, Any]:
    """Return a document as it is stored."""
    if isinstance(document, bytes):
        return bson.decode(document)
    return bson.decode(bson.encode(document, codec_options=OPTIONS))


def prepared(
    frames: list[Any], naive: Any = "utc", options: Any = OPTIONS, *, encodes: bool = False
) -> Inserts:
    """Return what is sent for new frames."""
    return inserts_of(frames, naive, options, encodes=encodes)


@settings(deadline=None, max_examples=300)
@given(hoards, st.sampled_from(["utc", ZONE]))
def test_many_are_prepared_as_one(documents: list[dict[str, Any]], naive: Any) -> None:
    """A batch sends, and leaves in its frames, what an insert of each frame would."""
    frames = [Hoard(copy.deepcopy(document)) for document in documents]
    sent = prepared(frames, naive).documents
    for frame, document, one in zip(frames, documents, sent, strict=True):
        expected = Hoard(copy.deepcopy(document))
        of_one = document_to_insert(expected, naive)
        had_id = document.get("_id") is not None
        assert pickle.dumps(expected._document) == pickle.dumps(frame._document)
        assert one is not frame._document
        assert had_id or type(one["_id"]) is ObjectId
        assert encoded({**of_one, "_id": 1 if not had_id else of_one["_id"]}) == encoded(
            {**one, "_id": 1 if not had_id else one["_id"]}
        )


@settings(deadline=None, max_examples=50)
@given(hoards, st.integers(0, 250), st.booleans())
def test_large_batches_are_prepared_as_small_ones(
    documents: list[dict[str, Any]], plain: int, encodes: bool
) -> None:
    """A batch that is looked through in several steps comes out as one."""
    frames = [Hoard(name=n) for n in range(plain)]
    frames += [Hoard(copy.deepcopy(document)) for document in documents * 40]
    of_one = [document_to_insert(Hoard(copy.deepcopy(f._document)), "utc") for f in frames]
    sent, ids, tracked = prepared(frames, encodes=encodes)

    assert type(sent[0]) is dict
    assert tracked.isdisjoint(i for i, document in enumerate(sent) if type(document) is Sent)
    for expected, document, id in zip(of_one, sent, ids, strict=True):
        expected["_id"] = id
        assert encoded(expected) == encoded(document)


def test_refused_datetimes_are_named() -> None:
    """The error for a datetime without zone names the way to it, as for one frame."""
    frames = [Hoard(name="a"), Hoard(loot=[Loot(what="b", worth=datetime(2024, 1, 1))])]
    with pytest.raises(EncodeError, match=r"^Hoard\.loot\.0\.worth: expected a datetime with"):
        prepared(frames, "refuse")


def test_the_containers_of_a_frame_stay_its_own() -> None:
    """Sub-frames are sent as documents; the frame keeps the very objects that it was given."""
    ring = Loot(what="ring", worth=datetime(2024, 1, 1, microsecond=1_234, tzinfo=UTC))
    loot = [ring]
    frames = [Hoard(loot=loot, owner=ring), Hoard(loot=None, owner=None)]
    sent = prepared(frames).documents

    assert frames[0].loot is loot
    assert loot[0] is ring is frames[0].owner
    assert {"microsecond": 1_000} == {"microsecond": ring.worth.microsecond}
    assert ([ring._document], ring._document) == (sent[0]["loot"], sent[0]["owner"])
    assert sent[0]["loot"][0] is ring._document


def test_which_frames_keep_copies() -> None:
    """Those that hold what can be edited in place, or remember something already."""
    when = datetime(2024, 1, 1, microsecond=5)
    assigned = Hoard(name="a")
    assigned.loot = [1]
    for hoards, tracked in (
        ([Hoard(when=when)], set()),
        ([Hoard(name="a"), Hoard(owner=Dragon(_id=1))], set()),
        ([Hoard(name="a"), Hoard(loot=[])], {0, 1}),
        ([Hoard(name=Kind.SMALL), Hoard(name={}, loot=None)], {0, 1}),
        ([Hoard(name="a"), assigned], {0, 1}),
        ([Versioned(note="a")], {0}),
    ):
        assert tracked == prepared(hoards).tracked
    held = prepared([Hoard(loot=[]), Hoard(loot=[1]), Hoard(name="x" * 20_000)], encodes=True)
    assert [dict, Sent, dict] == [*map(type, held.documents)]
    assert {0, 2} == held.tracked


class LootCodec(TypeEncoder):
    """The client's own form of a sub-frame."""

    python_type = Loot

    def transform_python(self, value: Any) -> str:
        """Return what is stored."""
        return f"loot: {value.what}"


def test_codecs_of_the_client_come_first() -> None:
    """A sub-frame that a codec of the client's encodes is left to it."""
    frame = Hoard(loot=Loot(what="ring"))
    theirs = codec_options(CodecOptions(type_registry=TypeRegistry([LootCodec()])))

    assert frame.loot is prepared([frame], options=theirs).documents[0]["loot"]
    assert frame.loot._document is prepared([frame]).documents[0]["loot"]


def test_documents_that_hold_themselves_end() -> None:
    """A circle is left to the encoder, which names it."""
    circle: dict[str, Any] = {"n": 1}
    circle["a"] = circle["b"] = circle
    many: list[Any] = []
    many += [many, many]
    sub = Loot(what="ring")
    sub.worth = [sub, sub]
    for value in (circle, many, sub, [circle, circle], {"x": many}):
        for encodes in (False, True):
            prepared([Hoard(loot=1), Hoard(loot=value)], encodes=encodes)


async def test_datetimes_of_a_batch_are_read_back_as_set(call: Runtime) -> None:
    """Microseconds are cut in every frame of a batch, at any depth; what has none is left alone."""
    when = datetime(2024, 3, 10, 12, 0, 0, 123_456, tzinfo=UTC)
    cut = when.replace(microsecond=123_000)
    frames = [Hoard(when=when, loot=[Loot(worth=when)]), Hoard(when=cut, loot={"a": [when]})]
    await call(Hoard).insert_many(frames)
    first, second = [await call(Hoard).by_id(frame._id) for frame in frames]

    assert (cut, cut) == (frames[0].when, frames[0].loot[0].worth)
    assert frames[1].when is cut
    assert (cut, cut) == (first.when, first.loot[0]["worth"])
    assert (cut, {"a": [cut]}) == (second.when, second.loot) == (cut, frames[1].loot)


async def test_new_frames_of_several_kinds(call: Runtime) -> None:
    """Frames, dicts, children of the class and frames with an id go in one batch, in order."""

    class Red(Dragon):
        _collection = "Dragon"

    given = [Dragon(name="a"), {"name": "b"}, Red(name="c"), Dragon(_id=None, name="d")]
    frames = await call(Dragon).insert_many([*given, Dragon(_id="e", name="e")])

    assert [Dragon, Dragon, Red, Dragon, Dragon] == [*map(type, frames)]
    assert [frames[0], frames[2], frames[3]] == [given[0], given[2], given[3]]
    assert given[1]["_id"] == frames[1]._id
    assert [(f._id, f.name) for f in frames] == [
        (d["_id"], d["name"]) for d in Dragon.get_collection().find(sort=[("name", 1)])
    ]


# Batches in parts


@pytest.fixture
def proxy(server: Server, db: str) -> Iterator[Proxy]:
    """A server that takes three writes in a message, for clients that Loom uses now."""
    place = urlsplit(server.uri)
    assert place.port is not None
    made = Proxy((str(place.hostname), place.port), batch=3)
    uri = f"mongodb://127.0.0.1:{made.port}/?directConnection=true"
    options: dict[str, Any] = {
        "tz_aware": True,
        "uuidRepresentation": "standard",
        "event_listeners": [server.commands],
        "serverSelectionTimeoutMS": 10_000,
        "heartbeatFrequencyMS": 500,
    }
    client: MongoClient[Any] = MongoClient(uri, **options)

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(uri, **options)

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    yield made
    client.close()
    server.loop.run_until_complete(aio.close())
    server.loop.run_until_complete(asyncio.sleep(0.01))  # lost connections are closed in it
    made.close()


#: The driver sends a message again once.
BEFORE, AFTER = ("before", "before"), ("after", "before")


def numbered(count: int) -> list[Any]:
    return [Dragon(name=str(n)) for n in range(count)]


def names_stored(server: Server, db: str) -> list[str]:
    return sorted(d["name"] for d in server.client[db].Dragon.find())


def test_the_driver_lets_batches_be_watched() -> None:
    """This PyMongo is one of those whose messages a batch can look at."""
    with MongoClient[Any]("mongodb://localhost:1", connect=False) as client:
        batch = requests.Batch(InsertOne, [[{"_id": 1}, {"_id": 2}]], {}, lambda: None)
        bulk = bulk_of(client)
        batch._add_to_bulk(bulk)
    for runs in (bulk.gen_ordered(), bulk.gen_unordered()):
        (run,) = runs
        assert (0, [{"_id": 1}, {"_id": 2}]) == (run.op_type, run.ops)
        assert [0, 1] == [*map(run.index, range(2))]
    assert "write_command" in vars(bulk)


def test_runs_of_another_driver() -> None:
    """A bulk write that does not make runs as today's is left to make them itself."""

    class Run:
        ops, index_map = [1, 2], [0, 1]

    class Bulk:
        ops = [(0, 1)]

        def __init__(self, runs: Any) -> None:
            self.gen_ordered = lambda: runs

    for runs in ([], [Run()], [Run(), Run()], [None], None):
        assert requests._run_of(Bulk(runs)) is None
    assert requests._run_of(object()) is None


def bulk_of(client: MongoClient[Any]) -> Any:
    """Return an empty bulk write of PyMongo's."""
    from pymongo.synchronous.bulk import _Bulk

    return _Bulk(client.db.c, True, None)


async def test_a_batch_in_parts(
    call: Runtime, proxy: Proxy, server: Server, db: str, commands: Commands
) -> None:
    """The driver splits a batch at what the server takes; all of it is written, once."""
    frames = await call(Dragon).insert_many(numbered(8))
    for frame in frames:
        frame.name += "!"
    await call(Dragon).update_many(frames, "name")
    assert [f"{n}!" for n in range(8)] == names_stored(server, db)
    await call(Dragon).unset_many(frames, "age")
    await call(Dragon).delete_many(frames)
    assert [] == names_stored(server, db)
    sent = [name for name in commands.names if name in ("insert", "update", "delete")]
    assert ["insert"] * 3 + ["update"] * 6 + ["delete"] * 3 == sent


async def test_a_batch_does_not_outlive_its_call(call: Runtime, proxy: Proxy) -> None:
    """What was sent is freed at once, without a collection: nothing refers to it in a circle."""
    gc.collect()
    gc.disable()
    try:
        frames = await call(Dragon).insert_many(numbered(8))
        await call(Dragon).update_many(frames, "name")
        await call(Dragon).delete_many(frames)
        left = [one for one in gc.get_objects() if type(one) is requests.Batch]
    finally:
        gc.enable()

    assert [] == left


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("steps", "applied"), [(BEFORE, 3), (AFTER, 6)], ids=["before", "after"])
async def test_a_connection_lost_in_the_second_part(
    call: Runtime,
    proxy: Proxy,
    server: Server,
    db: str,
    steps: tuple[str, ...],
    applied: int,
    ordered: bool,
) -> None:
    """What is acknowledged is written, what was sent then may be, the rest is not tried."""
    heard: list[Any] = []
    Dragon.listen("inserted", lambda frames: heard.extend(frames))
    frames = numbered(8)
    with proxy.plan("insert", "pass", *steps), pytest.raises(BulkError) as caught:
        await call(Dragon).insert_many(frames, ordered=ordered)
    error = caught.value

    assert frames[:3] == error.frames_written == heard
    assert [f.name for f in frames[3:6]] == [f.name for f, _ in error.frames_unknown]
    assert [f.name for f in frames[6:]] == [f.name for f, _ in error.frames_failed]
    assert {"not tried after an earlier failure"} == {why for _, why in error.frames_failed}
    assert isinstance(error.__cause__, AutoReconnect)
    assert [n < 6 for n in range(8)] == ["_id" in f for f in frames]
    assert [str(n) for n in range(applied)] == names_stored(server, db)
    assert "3 of 8 frames were written, 3 may be" in str(error)
    assert {f._id for f in frames[:applied]} == {d["_id"] for d in server.client[db].Dragon.find()}
    assert error.frames_unknown[0][1].startswith("AutoReconnect: ")


async def test_what_may_be_written_is_not_written_twice(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """Frames whose fate is not known keep their ids: inserting them again finds them there."""
    frames = numbered(8)
    with proxy.plan("insert", "pass", *AFTER), pytest.raises(BulkError) as caught:
        await call(Dragon).insert_many(frames)
    left = [frame for frame, _ in caught.value.frames_unknown + caught.value.frames_failed]
    with pytest.raises(BulkError) as again:
        await call(Dragon).insert_many(left, ordered=False)

    assert frames[3:6] == [frame for frame, _ in again.value.frames_failed]
    assert [("_id",)] * 3 == [duplicate.fields for duplicate in again.value.duplicates]
    assert [str(n) for n in range(8)] == names_stored(server, db)


@pytest.mark.parametrize("step", ["before", "after"])
async def test_one_lost_connection_is_made_good(
    call: Runtime, proxy: Proxy, server: Server, db: str, step: str
) -> None:
    """The driver sends a part again, and the server does it once: nobody notices."""
    frames = numbered(8)
    with proxy.plan("insert", "pass", step):
        await call(Dragon).insert_many(frames)
        assert 4 == proxy.seen

    assert [str(n) for n in range(8)] == names_stored(server, db)
    assert {f._id for f in frames} == {d["_id"] for d in server.client[db].Dragon.find()}


async def test_a_connection_lost_in_the_first_part(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """Nothing is known to be written: the driver's error goes on, with a note."""
    heard: list[Any] = []
    Dragon.listen("inserted", lambda frames: heard.extend(frames))
    frames = numbered(8)
    with proxy.plan("insert", *BEFORE), pytest.raises(AutoReconnect) as caught:
        await call(Dragon).insert_many(frames)

    assert ([], []) == (heard, names_stored(server, db))
    assert [n < 3 for n in range(8)] == ["_id" in f for f in frames]
    assert [
        "Dragon.insert_many: it is not known which of the 3 frames are written"
    ] == caught.value.__notes__


async def test_deleted_is_sent_when_something_was_deleted(call: Runtime, db: str) -> None:
    """A batch tells nothing when all were gone; else all, as the server says only how many."""
    frames = await call(Dragon).insert_many([{"name": str(n)} for n in range(3)])
    told: list[Any] = []
    Dragon.listen("deleted", lambda frames: told.append([f.name for f in frames]))
    await call(frames[0]).delete()
    await call(Dragon).delete_many(frames)
    await call(Dragon).delete_many(frames)

    assert [["0"], ["0", "1", "2"]] == told


@pytest.mark.parametrize("steps", [BEFORE, AFTER], ids=["before", "after"])
@pytest.mark.parametrize("operation", ["update_many", "unset_many", "delete_many"])
async def test_a_connection_lost_in_a_batch_of_stored_frames(
    call: Runtime, proxy: Proxy, server: Server, db: str, operation: str, steps: tuple[str, ...]
) -> None:
    """Updates, removals and deletions say the same of each frame."""
    frames = await call(Dragon).insert_many([{"name": str(n), "age": n} for n in range(8)])
    for frame in frames:
        frame.age += 10
    heard: list[Any] = []
    Dragon.listen("updated", lambda frames: heard.extend(frames))
    Dragon.listen("deleted", lambda frames: heard.extend(frames))
    command = "delete" if operation == "delete_many" else "update"
    fields = () if operation == "delete_many" else ("age",)
    with proxy.plan(command, "pass", *steps), pytest.raises(BulkError) as caught:
        await getattr(call(Dragon), operation)(frames, *fields)
    error = caught.value

    assert frames[:3] == error.frames_written == heard
    assert frames[3:6] == [f for f, _ in error.frames_unknown]
    assert frames[6:] == [f for f, _ in error.frames_failed]
    if operation == "unset_many":
        assert [n >= 3 for n in range(8)] == ["age" in f for f in frames]
    if operation == "update_many":
        unsaved = [f for f in frames if "age" in (tracked_of(f) or ())]
        assert [*map(id, frames[3:])] == [*map(id, unsaved)]


async def test_a_failure_before_the_connection_is_lost(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """What the server refused in an acknowledged part is told with its reason."""
    server.client[db].Token.create_index("note", unique=True)
    frames = [Token(note=note) for note in ("a", "a", "b", "c", "d", "e", "f", "g")]
    with proxy.plan("insert", "pass", *AFTER), pytest.raises(BulkError) as caught:
        await call(Token).insert_many(frames, ordered=False)
    error = caught.value

    assert [frames[0], frames[2]] == error.frames_written
    assert "duplicate key" in error.frames_failed[0][1]
    assert ["a", "f", "g"] == [f.note for f, _ in error.frames_failed]
    assert [("note",)] == [duplicate.fields for duplicate in error.duplicates]


async def test_documents_that_were_missing_before_the_connection_is_lost(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """A part in which some were not found cannot be told apart while nobody answers."""
    frames = await call(Dragon).insert_many(numbered(8))
    server.client[db].Dragon.delete_one({"_id": frames[1]._id})
    with proxy.plan("update", "pass", "pass", *BEFORE), pytest.raises(BulkError) as caught:
        await call(Dragon).update_many(frames, "name")
    error = caught.value

    assert frames[3:6] == error.frames_written
    assert frames[:3] + frames[6:] == [f for f, _ in error.frames_unknown]
    assert error.frames_unknown[0][1].startswith("2 of 3 were found before the failure")


async def test_nobody_answers_who_is_missing(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """When asking for the missing ones fails, all that may be written are named as such."""
    frames = await call(Dragon).insert_many(numbered(2))
    server.client[db].Dragon.delete_one({"_id": frames[1]._id})
    with proxy.plan("find", *BEFORE), pytest.raises(AutoReconnect) as caught:
        await call(Dragon).update_many(frames, "name")

    assert [
        "Dragon.update_many: it is not known which of the 2 frames are written"
    ] == caught.value.__notes__


async def test_a_refused_part(call: Runtime, proxy: Proxy, server: Server, db: str) -> None:
    """A command that the server refuses was not done; an interrupted one may be, in part."""
    for code, is_known in ((13, True), (11601, False)):
        server.client[db].Dragon.delete_many({})
        frames = numbered(8)
        server.client.admin.command(
            "configureFailPoint",
            "failCommand",
            mode={"skip": 1},
            data={"failCommands": ["insert"], "errorCode": code},
        )
        try:
            with pytest.raises(BulkError) as caught:
                await call(Dragon).insert_many(frames)
        finally:
            server.client.admin.command("configureFailPoint", "failCommand", mode="off")
        error = caught.value

        assert (frames[:3], [str(n) for n in range(3)]) == (
            error.frames_written,
            names_stored(server, db),
        )
        assert (0 if is_known else 3) == len(error.frames_unknown)
        assert isinstance(error.__cause__, OperationFailure)


async def test_a_part_is_refused_without_a_connection_lost(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """A batch of which nothing was done passes the server's own error on."""
    frames = numbered(2)
    server.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 1},
        data={"failCommands": ["insert"], "errorCode": 13},
    )
    with pytest.raises(OperationFailure) as caught:
        await call(Dragon).insert_many(frames)

    assert not isinstance(caught.value, BulkError)
    assert not hasattr(caught.value, "__notes__")
    assert not any("_id" in f for f in frames)


async def test_a_write_concern_that_ends_the_batch(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """A failed write concern can make the driver stop between parts: the rest was not sent."""
    frames = numbered(8)
    server.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 5},
        data={
            "failCommands": ["insert"],
            "writeConcernError": {"code": 91, "errmsg": "shutting down"},
        },
    )
    try:
        with pytest.raises(BulkError) as caught:
            await call(Dragon).insert_many(frames)
    finally:
        server.client.admin.command("configureFailPoint", "failCommand", mode="off")
    error = caught.value

    assert names_stored(server, db) == [f.name for f in error.frames_written]
    assert len(error.frames_written) in (3, 8)
    assert "the write concern failed" in str(error)
    assert [f in error.frames_written for f in frames] == ["_id" in f for f in frames]


async def test_a_write_concern_error_names_all_as_written(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """A write concern that was not met leaves the writes: every frame has its id and event."""
    heard: list[Any] = []
    Dragon.listen("inserted", lambda frames: heard.extend(frames))
    frames = numbered(5)
    server.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 2},
        data={
            "failCommands": ["insert"],
            "writeConcernError": {
                "code": 64,
                "errmsg": "waiting for replication timed out",
                "errInfo": {"wtimeout": True},
            },
        },
    )
    try:
        with pytest.raises(BulkError) as caught:
            await call(Dragon).insert_many(frames)
    finally:
        server.client.admin.command("configureFailPoint", "failCommand", mode="off")
    error = caught.value

    assert (frames, [], []) == (error.frames_written, error.frames_failed, error.frames_unknown)
    assert frames == heard
    assert error.timeout
    assert {f._id for f in frames} == {d["_id"] for d in server.client[db].Dragon.find()}


async def test_a_cancelled_batch(proxy: Proxy, server: Server, db: str) -> None:
    """Cancellation goes on; the frames that were acknowledged until then have their ids."""
    frames = numbered(6)
    server.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"skip": 1},
        data={"failCommands": ["insert"], "blockConnection": True, "blockTimeMS": 3_000},
    )
    try:
        task = asyncio.ensure_future(Dragon.aio.insert_many(frames))
        while len(names_stored(server, db)) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        server.client.admin.command("configureFailPoint", "failCommand", mode="off")

    ids = {d["_id"] for d in server.client[db].Dragon.find()}
    assert {f._id for f in frames[:3]} <= ids <= {f._id for f in frames}


# Nothing is sent when something cannot be stored


class Heavy:
    """A value that only the client's fallback can encode."""


async def test_a_value_is_encoded_once(call: Runtime, server: Server, db: str) -> None:
    """A batch that goes in one message is not encoded a second time to be checked."""
    asked: list[Any] = []

    def fallback(value: Any) -> Any:
        asked.append(value)
        return "heavy"

    options = CodecOptions[Any](type_registry=TypeRegistry(fallback_encoder=fallback))
    with loom.using(collection_options={"codec_options": options}):
        await call(Hoard).insert_many([{"name": Heavy()} for _ in range(20)])

    assert 20 == len(asked)
    assert {"heavy"} == {d["name"] for d in server.client[db].Hoard.find()}


@pytest.mark.parametrize("position", [0, 2, 3, 7])
async def test_a_bad_value_in_any_part(
    call: Runtime, proxy: Proxy, commands: Commands, position: int
) -> None:
    """A value that cannot be stored is found before the first part is sent."""
    frames = numbered(8)
    frames[position].age = object()
    commands.clear()
    with pytest.raises(EncodeError, match=rf"Dragon\.{position}\.age"):
        await call(Dragon).insert_many(frames)
    stored_frames = [Dragon({"_id": n, "age": 1}) for n in range(8)]
    stored_frames[position]._document["age"] = object()
    with pytest.raises(EncodeError, match=rf"Dragon\.{position}\.age"):
        await call(Dragon).update_many(stored_frames, "age")

    assert [] == commands.names
    assert not any("_id" in f for f in frames)


@pytest.mark.parametrize("count", [2, 3])
async def test_a_document_that_is_too_large(call: Runtime, commands: Commands, count: int) -> None:
    """It is refused before anything is sent, also where all would fit one message."""
    frames = [Token({"note": "x"}) for _ in range(count)]
    frames[1].note = "x" * 17_000_000
    with pytest.raises(EncodeError, match=r"Token\.1: expected a document of at most 16 MB"):
        await call(Token).insert_many(frames)

    assert [] == commands.names


@pytest.mark.parametrize("compressors", [None, "zlib"])
def test_large_messages(server: Server, db: str, commands: Commands, compressors: Any) -> None:
    """Messages above 16 MB are looked through for documents that are too large."""
    options: dict[str, Any] = {"compressors": compressors} if compressors else {}
    client: MongoClient[Any] = MongoClient(server.uri, event_listeners=[commands], **options)
    loom.connect(client, db=db)
    with client:
        made = Token.insert_many([{"note": "x" * 6_000_000} for _ in range(4)])
        for frame in made:
            frame.note = "y" * 6_000_000
        Token.update_many(made, "note")
        assert ["insert", "update"] == commands.names
        assert {"y"} == {d["note"][0] for d in client[db].Token.find()}
        commands.clear()
        with pytest.raises(EncodeError, match="at most 16 MB"):
            Token.insert_many([{"note": "x" * 17_000_000}, {"note": "x"}])
        assert [] == commands.names


# Where PyMongo works in another way


@pytest.fixture(params=["other operations", "other runs"])
def other_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyMongo whose messages cannot be looked at, and whose bulk writes look otherwise."""
    monkeypatch.setattr(requests, "_STEPS", frozenset({"another_step"}))
    if request.param == "other runs":
        monkeypatch.setattr(requests, "_run_of", lambda bulk: None)
    else:
        monkeypatch.setattr(requests.Batch, "_others", lambda self, operations: None)


async def test_batches_of_another_driver(
    call: Runtime, other_driver: None, proxy: Proxy, server: Server, db: str, commands: Commands
) -> None:
    """They are written by PyMongo's requests, and checked before anything is sent."""
    frames = await call(Dragon).insert_many(numbered(8))
    for frame in frames:
        frame.name += "!"
    await call(Dragon).update_many(frames, "name")
    assert [f"{n}!" for n in range(8)] == names_stored(server, db)
    await call(Dragon).delete_many(frames)
    assert [] == names_stored(server, db)
    commands.clear()
    bad = numbered(8)
    bad[7].age = object()
    with pytest.raises(EncodeError, match=r"Dragon\.7\.age"):
        await call(Dragon).insert_many(bad)
    assert [] == commands.names
    with proxy.plan("insert", "pass", *BEFORE), pytest.raises(AutoReconnect):
        await call(Dragon).insert_many(bad[:7])


async def test_unacknowledged_batches(call: Runtime, server: Server, db: str) -> None:
    """They are checked before they are sent; every frame gets its id."""
    with Dragon.with_options(write_concern=WriteConcern(w=0)):
        frames = await call(Dragon).insert_many(numbered(3))
        with pytest.raises(EncodeError, match=r"Dragon\.1\.age"):
            await call(Dragon).insert_many([{"age": 1}, {"age": object()}])
    while len(names_stored(server, db)) < 3:
        await asyncio.sleep(0) if call.is_async else None

    assert {f._id for f in frames} == {d["_id"] for d in server.client[db].Dragon.find()}


# Stored frames


async def test_a_frame_given_twice_is_written_once(call: Runtime, commands: Commands) -> None:
    """Updates, removals and deletions of the same frame go once; the list comes back as given."""
    burt = (await call(Dragon).insert_many([{"name": "Burt", "age": 1}]))[0]
    heard: list[Any] = []
    for event in ("update", "updated", "delete", "deleted"):
        Dragon.listen(event, lambda frames: heard.append(len(frames)))
    burt.age = 2
    commands.clear()
    assert [burt, burt] == await call(Dragon).update_many([burt, burt], "age")
    assert [burt, burt] == await call(Dragon).unset_many([burt, burt], "age")
    assert [burt, burt] == await call(Dragon).delete_many([burt, burt])

    assert [1] * 6 == heard
    bodies = [b for b in commands.bodies if next(iter(b)) in ("update", "delete")]
    assert [1, 1, 1] == [len(b.get("updates") or b.get("deletes")) for b in bodies]


async def test_new_frames_twice_are_refused(call: Runtime) -> None:
    """One new frame cannot stand for two documents."""
    burt = Dragon(name="Burt")
    with pytest.raises(FieldError, match="expected every frame once"):
        await call(Dragon).insert_many([burt, Dragon(name="Ray"), burt])


async def test_updates_of_plain_values_are_those_of_others(
    call: Runtime, commands: Commands
) -> None:
    """What is sent for many frames is what is sent for each of them."""
    when = datetime(2024, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
    made = await call(Dragon).insert_many([{"name": "a"}, {"name": "b"}])
    for frame in made:
        frame.name, frame.created, frame.loot = f"{frame.name}!", when, [1]
    for fields in (("name",), ("name", "created"), ("name", "loot"), ("created",), ()):
        commands.clear()
        await call(Dragon).update_many(made, *fields)
        (body,) = commands.bodies
        for frame, sent in zip(made, body["updates"], strict=True):
            commands.clear()
            await call(frame).update(*fields)
            assert commands.bodies[0]["updates"][0]["u"] == sent["u"]
            assert commands.bodies[0]["updates"][0]["q"] == sent["q"]
    assert when - timedelta(microseconds=456) == made[0].created


class Counted(Frame):
    """A frame with a counter."""

    name: str
    visits: IncrCounter


async def test_counters_and_parts_in_a_batch(call: Runtime, commands: Commands) -> None:
    """What is added is sent once, and of values that were fetched in part only what was changed."""
    made = await call(Counted).insert_many([{"name": "a", "visits": 1}, {"visits": 5}])
    for frame in made:
        frame.visits += 2
    await call(Counted).update_many([*made, made[0]], "visits")
    await call(Counted).update_many(made, "visits")
    assert [3, 7] == [d["visits"] for d in stored(Counted)] == [f.visits for f in made]

    await call(Dragon).insert_many([{"lair": {"name": "Cave", "inventory": {"gold": 1}}}])
    parts = await call(Dragon).many(projection={"lair": {"$sub": Lair, "name": True}})
    parts[0].lair.name = "Den"
    commands.clear()
    await call(Dragon).update_many(parts, "lair")
    assert {"$set": {"lair.name": "Den"}} == commands.bodies[0]["updates"][0]["u"]


async def test_updates_that_are_rolled_back(call: Runtime) -> None:
    """What a batch wrote in a transaction that is not committed is saved by the next `save`."""
    made = await call(Dragon).insert_many([{"name": "a", "age": 1}, {"name": "b", "age": 1}])
    for frame in made:
        frame.age = 2

    async def roll_back() -> None:
        if call.is_async:
            async with loom.aio.transaction():
                await call(Dragon).update_many(made, "age")
                await call(Dragon).unset_many(made, "name")
                raise ZeroDivisionError
        with loom.transaction():
            await call(Dragon).update_many(made, "age")
            await call(Dragon).unset_many(made, "name")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roll_back()

    assert ["a", "b"] == [f.name for f in made]
    assert [1, 1] == [d["age"] for d in stored(Dragon)]
    for frame in made:
        await call(frame).save()
    assert [("a", 2), ("b", 2)] == [(d["name"], d["age"]) for d in stored(Dragon)]


async def test_written_fields_are_no_longer_unsaved(call: Runtime, commands: Commands) -> None:
    """`save` after a batch sends nothing of what the batch wrote, and all of what it did not."""
    made = await call(Dragon).insert_many([{"name": "a", "age": 1}, {"name": "b", "age": 1}])
    for frame in made:
        frame.name, frame.age = "c", 2
    await call(Dragon).update_many(made, "name")
    commands.clear()
    await call(made[0]).save()
    assert {"$set": {"age": 2}} == commands.bodies[0]["updates"][0]["u"]
    commands.clear()
    await call(made[0]).save()
    assert [] == commands.names


Edit = Callable[[Any], Any]

EDITS: dict[str, tuple[Edit, dict[str, Any]]] = {
    "nothing": (lambda d: None, {}),
    "read": (lambda d: [d.loot, d.lair, d.name], {}),
    "a list": (lambda d: d._document["loot"].append("crown"), {"loot": ["ring", "crown"]}),
    "a sub-frame": (lambda d: setattr(d._document["lair"], "name", "Den"), {"lair.name": "Den"}),
    "deep": (
        lambda d: d._document["lair"].inventory.update(gold=2),
        {"lair.inventory.gold": 2},
    ),
    "read, then edited": (lambda d: d.loot.clear(), {"loot": []}),
    "edited, then read": (
        lambda d: [d._document["loot"].append("crown"), d.loot],
        {"loot": ["ring", "crown"]},
    ),
    "assigned": (lambda d: setattr(d, "loot", ["ring"]), {"loot": ["ring"]}),
    "plain": (lambda d: setattr(d, "name", "Ray"), {"name": "Ray"}),
    "copied": (lambda d: copy.copy(d), {}),
}


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.parametrize("way", ["itself", "copied", "deep copied", "pickled"])
async def test_what_is_saved_after_a_batch(
    call: Runtime, quiet: Quiet, commands: Commands, case: str, way: str
) -> None:
    """A frame that was inserted in a batch is saved as one that was inserted alone."""
    edit, expected = EDITS[case]
    ways: dict[str, Edit] = {
        "itself": lambda d: d,
        "copied": copy.copy,
        "deep copied": copy.deepcopy,
        "pickled": lambda d: pickle.loads(pickle.dumps(d)),
    }
    for client in (quiet, nullcontext, None):
        lair = Lair(name="Cave", inventory={"gold": 1})
        burt = Dragon(name="Burt", loot=["ring"], lair=lair, created=datetime(2024, 1, 1))
        if client is None:
            await call(burt).insert()
        else:
            with client():
                await call(Dragon).insert_many([{"name": "Fang", "loot": [1, {}]}, burt])
        burt = ways[way](burt)
        edit(burt)
        commands.clear()
        await call(burt).save()
        sent = commands.bodies[0]["updates"][0]["u"]["$set"] if commands.bodies else {}
        assert expected == sent
        commands.clear()
        await call(burt).save()
        assert [] == commands.names


@pytest.mark.parametrize("is_quiet", [False, True])
async def test_values_of_every_type_are_unchanged_after_a_batch(
    call: Runtime, quiet: Quiet, commands: Commands, is_quiet: bool
) -> None:
    """What is stored in another form than it was given in is not taken as edited."""
    inside = [Decimal("1.5"), Kind.SMALL, {3, 1}, uuid4(), re.compile("a"), 2**40, b"x", None, (1,)]
    with quiet() if is_quiet else nullcontext():
        made = await call(Hoard).insert_many(
            [{"loot": inside, "owner": {"when": datetime(2024, 1, 1, tzinfo=ZONE)}} for _ in "ab"]
        )
    commands.clear()
    for hoard in made:
        await call(hoard).save()

    assert [] == commands.names


def test_large_documents_are_not_kept(server: Server, db: str, commands: Commands) -> None:
    """They may hold long texts, which copies share."""
    with loom.using(client=server.quiet(Runtime("blocking")), db=db):
        frames = Hoard.insert_many([{"name": "x" * 20_000, "loot": [n]} for n in range(3)])
    frames[1]._document["loot"].append("crown")
    commands.clear()
    for frame in frames:
        frame.save()
    assert [{"$set": {"loot": [1, "crown"]}}] == [
        body["updates"][0]["u"] for body in commands.bodies if "update" in body
    ]


async def test_the_errors_of_a_batch_hold_documents(call: Runtime, quiet: Quiet) -> None:
    """They show what was sent, as PyMongo's do, in whatever form it went."""
    Hoard.get_collection().create_index("name", unique=True)
    frames = [Hoard(name=name, loot=[{"when": datetime(2024, 1, 1)}]) for name in "abb"]
    with quiet(), pytest.raises(BulkError) as caught:
        await call(Hoard).insert_many(frames)
    (failure,) = caught.value.details["writeErrors"]
    assert ["_id", "name", "loot"] == [*failure["op"]]
    assert [{"when": datetime(2024, 1, 1, tzinfo=UTC)}] == failure["op"]["loot"]
    assert "'loot'" in str(caught.value.__cause__)


class Gem(SubFrame):
    """Its annotations leave no place for a datetime."""

    cut: str
    carats: float | None


@pytest.mark.parametrize("naive", ["utc", "refuse"])
async def test_annotations_say_where_datetimes_are(call: Runtime, quiet: Quiet, naive: Any) -> None:
    """A value under an annotation of another type is looked at where it would be refused."""
    when = datetime(2024, 1, 1, microsecond=5)
    gem = Gem(cut="round", carats=1.5)
    gem.cut = when  # type: ignore[assignment]
    hoards = [Hoard(loot=[gem]), Hoard(loot=[Gem(cut="oval", carats=None)])]
    if naive == "refuse":
        with pytest.raises(EncodeError, match=r"^Hoard\.loot\.0\.cut: expected a datetime with"):
            prepared(hoards, naive)
        return
    with quiet():
        await call(Hoard).insert_many(hoards)
    assert [[{"cut": when.replace(microsecond=0, tzinfo=UTC), "carats": 1.5}], 1] == [
        *(d["loot"] for d in stored(Hoard) if d["_id"] == hoards[0]._id),
        len([d for d in stored(Hoard) if d["loot"][0]["cut"] == "oval"]),
    ]


async def test_a_batch_in_parts_remembers_what_was_sent(
    call: Runtime, proxy: Proxy, commands: Commands
) -> None:
    """Each frame remembers its own document, whichever message it went in; failed ones none."""
    Token.get_collection().create_index("note.0", unique=True)
    frames = [Token(note=[note]) for note in ("a", "b", "a", "c", "d", "b", "e")]
    with pytest.raises(BulkError) as caught:
        await call(Token).insert_many(frames, ordered=False)
    for frame in caught.value.frames_written:
        commands.clear()
        await call(frame).save()
        assert [] == commands.names
        frame.note.append("!")
        await call(frame).save()
    assert [["a", "!"], ["b", "!"], ["c", "!"], ["d", "!"], ["e", "!"]] == sorted(
        d["note"] for d in stored(Token)
    )
    assert [None, None] == [getattr(f, "_state", None) for f, _ in caught.value.frames_failed]


async def test_a_batch_that_is_rolled_back(call: Runtime, server: Server, db: str) -> None:
    """Frames of a batch in a transaction that is not committed are new again."""
    frames = [Dragon(name="a", loot=[1]), Dragon(name="b")]

    async def roll_back() -> None:
        if call.is_async:
            async with loom.aio.transaction():
                await call(Dragon).insert_many(frames)
                raise ZeroDivisionError
        with loom.transaction():
            await call(Dragon).insert_many(frames)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roll_back()

    assert not any("_id" in f for f in frames)
    await call(Dragon).insert_many(frames)
    assert ["a", "b"] == names_stored(server, db)


async def test_sessions_reach_every_command(call: Runtime, server: Server, db: str) -> None:
    """The batch, and what asks for the missing ones, go in the caller's session."""
    client = server.aio if call.is_async else server.client
    session = client.start_session()
    made = await call(Dragon).insert_many(numbered(2), session=session)
    server.commands.clear()
    with pytest.raises(BulkError):
        await call(Dragon).update_many([*made, Dragon(_id=1, name="x")], "name", session=session)
    sent = [body["lsid"] for body in server.commands.bodies]
    wanted = session.session_id
    if call.is_async:
        await session.end_session()
    else:
        session.end_session()

    assert [wanted] * 2 == sent
    assert ["update", "find"] == server.commands.names


# Versions


async def test_versions_of_a_batch(call: Runtime) -> None:
    """A batch filters by the version of each frame and counts it; frames know the new one."""
    made = await call(Versioned).insert_many([{"note": "a"}, {"note": "b"}])
    for frame in made:
        frame.note += "!"
    await call(Versioned).update_many(made, "note")
    await call(Versioned).update_many(made)
    await call(Versioned).unset_many(made, "note")

    assert [4, 4] == [f["_v"] for f in made] == [d["_v"] for d in stored(Versioned)]


async def test_a_batch_tells_conflict_from_gone(call: Runtime, commands: Commands) -> None:
    """On a shortfall one read tells what was changed in between from what is no longer there."""
    made = await call(Versioned).insert_many([{"note": str(n)} for n in range(4)])
    collection = Versioned.get_collection()
    collection.update_one({"_id": made[1]._id}, {"$set": {"note": "theirs"}, "$inc": {"_v": 5}})
    collection.delete_one({"_id": made[2]._id})
    for frame in made:
        frame.note += "!"
    commands.clear()
    with pytest.raises(BulkError) as caught:
        await call(Versioned).update_many(made, "note")
    error = caught.value

    assert ["update", "find"] == commands.names
    assert [made[0], made[3]] == error.frames_written
    assert [
        f"the document with _id={made[1]._id!r} was changed in between: expected _v=1, found 6",
        f"no document has _id={made[2]._id!r}",
    ] == [why for _, why in error.frames_failed]
    assert [2, 1, 1, 2] == [f["_v"] for f in made]
    assert ["0!", "theirs", "3!"] == [d["note"] for d in stored(Versioned)]


async def test_a_version_that_others_counted_to(call: Runtime) -> None:
    """Of two writers that count to the same number, what is stored tells whose it is."""
    made = await call(Versioned).insert_many([{"note": note} for note in "abc"])
    collection = Versioned.get_collection()
    collection.update_one({"_id": made[0]._id}, {"$set": {"note": "theirs"}, "$inc": {"_v": 1}})
    for frame in made:
        frame.note += "!"
    with pytest.raises(BulkError) as caught:
        await call(Versioned).update_many(made, "note")
    error = caught.value

    assert made[1:] == error.frames_written
    assert [made[0]] == [f for f, _ in error.frames_failed]
    assert error.frames_failed[0][1].endswith("expected _v=1, found 2")
    assert [1, 2, 2] == [f["_v"] for f in made]


async def test_others_wrote_the_same(call: Runtime) -> None:
    """Whose write it was cannot be told when both wrote the same: the error says so."""
    made = await call(Versioned).insert_many([{"note": "a"}, {"note": "b"}])
    others = await call(Versioned).many()
    await call(Versioned).update_many([f for f in others if f.note == "a"], "note")
    with pytest.raises(BulkError) as caught:
        await call(Versioned).update_many(made, "note")
    error = caught.value

    assert ([], []) == (error.frames_written, error.frames_failed)
    assert made == [f for f, _ in error.frames_unknown]
    assert "1 documents had the version that was expected" in error.frames_unknown[0][1]
    assert [1, 1] == [f["_v"] for f in made]


async def test_others_were_faster_and_slower(
    call: Runtime, proxy: Proxy, server: Server, db: str
) -> None:
    """What a batch has written, and others have changed before the question, may be its own."""
    made = await call(Versioned).insert_many([{"note": note} for note in "abc"])
    collection = server.client[db].Versioned
    collection.update_one({"_id": made[0]._id}, {"$set": {"note": "theirs"}, "$inc": {"_v": 1}})

    def then() -> None:
        collection.update_one({"_id": made[1]._id}, {"$set": {"note": "x"}, "$inc": {"_v": 1}})

    for frame in made:
        frame.note += "!"
    with proxy.first("find", then), pytest.raises(BulkError) as caught:
        await call(Versioned).update_many(made, "note")
    error = caught.value

    assert [made[2]] == error.frames_written
    assert [made[1]] == [f for f, _ in error.frames_unknown]
    assert [made[0]] == [f for f, _ in error.frames_failed]


async def test_removals_and_deeper_paths_of_a_stale_batch(call: Runtime) -> None:
    """Removed fields and paths in embedded documents are compared as well; list positions not."""
    collection = Versioned.get_collection()
    for fields, theirs in (
        (("note",), {"$set": {"note": {"a": [1, 2], "b": 5}}}),
        (("note.b",), {"$set": {"note.b": 5}}),
        (("note.a.1",), {"$set": {"note.b": 5}}),
    ):
        made = await call(Versioned).insert_many(
            [{"note": {"a": [1, 2], "b": 1}}, {"note": {"a": [1, 2], "b": 1}}]
        )
        collection.update_one({"_id": made[0]._id}, {**theirs, "$inc": {"_v": 1}})
        with pytest.raises(BulkError) as caught:
            await call(Versioned).update_many(made, *fields)
        error = caught.value
        if fields == ("note.a.1",):
            assert made == [f for f, _ in error.frames_unknown]
        else:
            assert ([made[1]], [made[0]]) == (
                error.frames_written,
                [f for f, _ in error.frames_failed],
            )
    made = await call(Versioned).insert_many([{"note": "a"}, {"note": "b"}])
    collection.update_one({"_id": made[0]._id}, {"$inc": {"_v": 1}})
    with pytest.raises(BulkError) as caught:
        await call(Versioned).unset_many(made, "note")
    assert [made[1]] == caught.value.frames_written
    assert ["note" in f for f in made] == [True, False]


async def test_a_child_with_versions_in_a_batch_of_its_parent(call: Runtime) -> None:
    """Each frame is written under the conditions of its own class."""

    class Parent(Frame):
        note: str

    class Child(Parent):
        _collection = "Parent"
        _version = "_v"

    one, two, other = Child(note="a"), Child(note="b"), Parent(note="c")
    await call(Parent).insert_many([one, two, other])
    assert [1, 1, None] == [f.get("_v") for f in (one, two, other)]
    Parent.get_collection().update_one({"_id": two._id}, {"$inc": {"_v": 1}})
    for frame in (one, two, other):
        frame.note += "!"
    with pytest.raises(BulkError) as caught:
        await call(Parent).update_many([one, two, other], "note")

    assert [one, other] == caught.value.frames_written
    assert [two] == [f for f, _ in caught.value.frames_failed]
    assert [2, 1, None] == [f.get("_v") for f in (one, two, other)]


async def test_all_of_a_batch_are_stale(call: Runtime) -> None:
    """A batch of which nothing matched names all as changed, none as unknown."""
    made = await call(Versioned).insert_many([{"note": "a"}, {"note": "b"}])
    Versioned.get_collection().update_many({}, {"$inc": {"_v": 7}})
    with pytest.raises(BulkError) as caught:
        await call(Versioned).update_many(made, "note")

    assert made == [f for f, _ in caught.value.frames_failed]
    assert [] == caught.value.frames_unknown


async def test_versions_of_deletions(call: Runtime) -> None:
    """A batch deletes what is as the frames say; what was never read is deleted by its id."""
    made = await call(Versioned).insert_many([{"note": str(n)} for n in range(4)])
    collection = Versioned.get_collection()
    collection.update_one({"_id": made[1]._id}, {"$inc": {"_v": 1}})
    collection.delete_one({"_id": made[2]._id})
    only_id = Versioned(_id=made[3]._id)
    with pytest.raises(BulkError) as caught:
        await call(Versioned).delete_many([made[0], made[1], made[2], only_id])
    error = caught.value

    assert [made[0], made[2], only_id] == error.frames_written
    assert [made[1]] == [f for f, _ in error.frames_failed]
    assert [made[1]._id] == [d["_id"] for d in stored(Versioned)]


# The error


def test_a_bulk_error_survives_pickling() -> None:
    """What it says of every frame goes with it."""
    error = BulkError("Dragon.x", [Dragon(_id=1)], [(Dragon(_id=2), "no")], {}, [(Dragon(), "?")])
    again = pickle.loads(pickle.dumps(error))

    assert str(error) == str(again)
    assert [(1, 1, 1)] == [
        (len(e.frames_written), len(e.frames_failed), len(e.frames_unknown)) for e in [again]
    ]
    assert str(error).endswith("see frames_written, frames_failed and frames_unknown")


def test_a_bulk_error_has_the_labels_of_its_cause() -> None:
    """So a transaction that lost its connection in a batch is tried again."""
    cause = AutoReconnect("lost", {"errorLabels": ["TransientTransactionError"]})
    error = BulkError("Dragon.x", [], [])
    assert not error.has_error_label("TransientTransactionError")
    error.__cause__ = cause

    assert error.has_error_label("TransientTransactionError")
    assert isinstance(error, BulkWriteError)
    assert not error.timeout
