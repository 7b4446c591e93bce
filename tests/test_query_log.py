"""The query log: one record for each call, without values, and at no cost while it is off."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

import loom
from loom import Frame, Gone, Q, QueryError, ReadOnly, query_log, taps
from loom.frames import operations
from loom.frames.operations import everyday
from loom.frames.queries import to_filter

from .conftest import Runtime


class Owner(Frame):
    """Whose pets they are."""

    _collection = "owners"

    name: str


class Pet(Frame):
    """A pet, and whose it is."""

    name: str
    age: int
    owner: Owner


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)

    @property
    def texts(self) -> list[str]:
        """The messages, without times."""
        return [_timeless(record.getMessage()) for record in self.kept]


def _timeless(text: str) -> str:
    words = text.split(", ")
    return ", ".join("* ms" if word.endswith(" ms") else word for word in words)


@pytest.fixture
def records(db: str) -> Iterator[Records]:
    """Switch the log on, and return what it writes."""
    handler = Records()
    level = query_log.logger.level
    query_log.logger.addHandler(handler)
    query_log.logger.setLevel(logging.DEBUG)
    query_log.start()
    try:
        yield handler
    finally:
        query_log.stop()
        query_log.logger.setLevel(level)
        query_log.logger.removeHandler(handler)


def pets(number: int = 3) -> None:
    """Store some pets of one owner, unlogged."""
    owner = Owner.get_collection().insert_one({"name": "Ann"}).inserted_id
    Pet.get_collection().insert_many(
        [{"_id": n, "name": f"p{n}", "age": n, "owner": owner} for n in range(number)]
    )


# --- records


async def test_what_a_record_says(call: Runtime, records: Records) -> None:
    """Operation, class, collection, form of the filter, time, documents, commands."""
    pets()
    await call(Pet).many((Q.age > 0) & (Q.name != "secret"), sort="name")

    assert [
        (
            "Pet.many {'$and': [{'age': {'$gt': '?'}}, {'name': {'$ne': '?'}}]}: 2 documents, "
            "1 command, * ms"
        )
    ] == records.texts
    (record,) = records.kept
    assert (logging.DEBUG, "loom.query") == (record.levelno, record.name)
    assert ("many", "Pet", "Pet") == (record.operation, record.frame_class, record.collection)
    assert "{'$and': [{'age': {'$gt': '?'}}, {'name': {'$ne': '?'}}]}" == record.filter
    assert (2, 1, ["find Pet"]) == (record.documents, record.commands, record.sent)
    assert 0 < record.ms < 60_000
    assert (False, None) == (record.slow, record.error)


async def test_every_operation_has_one(call: Runtime, records: Records) -> None:
    """What reads and what writes, for classes and frames, each call one record."""
    pet = Pet(_id=7, name="x", age=1)
    await call(pet).insert()
    await call(pet).update("name")
    await call(pet).inc("age")
    pet.name = "y"
    await call(pet).save()
    await call(pet).upsert()
    await call(pet).unset("age")
    await call(pet).reload()
    await call(Pet).one(Q.name == "y")
    await call(Pet).by_id(7)
    await call(Pet).by_ids([7, 8])
    await call(Pet).count(Q.name == "y")
    await call(Pet).exists(Q.name == "y")
    await call(Pet).ids()
    await call(Pet).insert_many([{"_id": 8}, {"_id": 9}])
    await call(Pet).update_many([{"_id": 8, "name": "a"}, {"_id": 9, "name": "b"}], "name")
    await call(Pet).update_where(Q._id > 7, {"$set": {"age": 3}})
    await call(Pet).take(Q.age == 3, {"$inc": {"age": 1}})
    await call(Pet).delete_where(Q.age == 3)
    await call(pet).delete()

    by_id = "{'_id': '?'}: 1 document, 1 command, * ms"
    assert [
        "Pet.insert: 1 document, 1 command, * ms",
        f"Pet.update {by_id}",
        f"Pet.inc {by_id}",
        f"Pet.save {by_id}",
        "Pet.upsert {'_id': '?'}: 2 documents, 2 commands, * ms",
        f"Pet.unset {by_id}",
        f"Pet.reload {by_id}",
        "Pet.one {'name': '?'}: 1 document, 1 command, * ms",
        f"Pet.by_id {by_id}",
        "Pet.by_ids {'_id': {'$in': '? x 2'}}: 1 document, 1 command, * ms",
        "Pet.count [{'$match': {'name': '?'}}, {'$group': '?'}]: 1 command, * ms",
        "Pet.exists {'name': '?'}: 1 document, 1 command, * ms",
        "Pet.ids {}: 1 document, 1 command, * ms",
        "Pet.insert_many: 2 documents, 1 command, * ms",
        "Pet.update_many {'_id': '?'}: 2 documents, 1 command, * ms",
        "Pet.update_where {'_id': {'$gt': '?'}}: 2 documents, 1 command, * ms",
        "Pet.take {'age': '?'}: 1 document, 1 command, * ms",
        "Pet.delete_where {'age': '?'}: 1 document, 1 command, * ms",
        f"Pet.delete {by_id}",
    ] == records.texts


async def test_columns_have_records(call: Runtime, records: Records) -> None:
    """What loads columns, writes them and looks at types: each call one, of which documents count."""
    pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    from loom.frames import arrow

    functions = arrow if not call.is_async else arrow.aio

    async def done(result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result

    ids = [ObjectId() for _ in range(3)]
    rows = {"_id": ids, "name": ["x", "y", "z"], "age": [1, 2, 3]}
    await done(functions.insert_table(Pet, rows))
    await done(functions.upsert_table(Pet, {"_id": ids[:1], "age": [4]}))
    await done(functions.replace(Pet, {"_id": ids[:1], "name": ["w"], "age": [5]}))
    await done(functions.table(Pet, Q.age > 2, batch_rows=1))
    stream = functions.batches(Pet, batch_rows=2)
    if not call.is_async:
        next(stream)
        stream.close()
    else:
        await stream.__anext__()
        await stream.aclose()
    with pytest.raises(ReadOnly), loom.read_only():
        await done(functions.insert_table(Pet, rows))
    await done(functions.infer(Pet, sample=None))

    assert [
        "Pet.insert_table: 3 documents, 1 command, * ms",
        "Pet.upsert_table {'_id': '?'}: 1 document, 1 command, * ms",
        "Pet.replace {'_id': '?'}: 1 document, 1 command, * ms",
        "Pet.table {'age': {'$gt': '?'}}: 2 documents, 3 commands, * ms",
        "Pet.batches {}: 2 documents, 1 command, * ms",
    ] == records.texts[:-1]
    assert ("infer", 3) == (records.kept[-1].operation, records.kept[-1].documents)


async def test_an_estimate_is_no_document(call: Runtime, records: Records) -> None:
    """What a server counts, on the way to something else, has not come."""
    pets(3)
    async for _ in call(Pet).each(progress=lambda *told: None):
        pass

    (record,) = records.kept
    assert "count Pet" in record.sent
    assert 3 == record.documents


async def test_upserts_that_tell_listeners_are_one_call(call: Runtime, records: Records) -> None:
    """What is looked up, updated and inserted for a table has no records of its own."""
    pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    from loom.frames import arrow

    Pet.get_collection().insert_one({"_id": 7, "name": "x"})

    @Pet.listen("updated")
    def note(sender: Any, frames: list[Any]) -> None:
        pass

    rows = {"_id": [7, 8], "name": ["a", "b"]}
    if not call.is_async:
        arrow.upsert_table(Pet, rows)
    else:
        await arrow.aio.upsert_table(Pet, rows)

    assert ["upsert_table"] == [record.operation for record in records.kept]


async def test_resampling_has_a_record(call: Runtime, records: Records) -> None:
    """What a server computes of a window is one call, and so is what was known at an instant."""
    pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    pytest.importorskip("scipy", reason="the extra time is not installed")
    from loom.frames.time import DailyFrame, Moment, MomentWindow

    class Price(Moment):
        amount: float

    noon = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
    await call(Price).insert_many([{"symbol": "ACME", "time": noon, "amount": 9.5}])
    if not call.is_async:
        MomentWindow.load_resampled(Price, "ACME", DailyFrame, amount="sum")
        MomentWindow.load(Price, "ACME").resample(DailyFrame, amount="sum")
    else:
        await MomentWindow.aio.load_resampled(Price, "ACME", DailyFrame, amount="sum")
        window = await MomentWindow.aio.load(Price, "ACME")
        await window.aio.resample(DailyFrame, amount="sum")
    await call(Price).as_of("ACME")
    await call(Price).latest("ACME")

    assert [
        ("insert_many", 1), ("load_resampled", 3), ("table", 1), ("resample", 3), ("as_of", 1),
        ("one", 1),
    ] == [(record.operation, record.commands) for record in records.kept]  # fmt: skip
    assert {"Price"} == {record.frame_class for record in records.kept}


async def test_what_happens_on_the_way_belongs_to_the_call(call: Runtime, records: Records) -> None:
    """References and the calls of listeners are in the record of the call that caused them."""
    pets()

    @Pet.listen("updated")
    async def note(sender: Any, frames: list[Any]) -> None:
        await Owner(name="noted").aio.insert()

    found = await call(Pet).many(None, projection={"name": True, "owner": {"$ref": Owner}})
    await call(found[0]).update("name")
    await call(Owner).count({"name": "noted"})

    assert [
        "Pet.many {}: 4 documents, 2 commands, * ms",
        "Pet.update {'_id': '?'}: 2 documents, 2 commands, * ms",
        "Owner.count [{'$match': {'name': '?'}}, {'$group': '?'}]: 1 command, * ms",
    ] == records.texts
    assert ["find Pet", "find owners"] == records.kept[0].sent


async def test_a_stream_has_one_record(call: Runtime, records: Records) -> None:
    """At its end, with the time of its batches; when the loop ends early, too."""
    pets(5)
    slept = 0.0
    began = time.perf_counter()
    async for _ in call(Pet).each(Q.age >= 0, batch=2):
        asleep = time.perf_counter()
        time.sleep(0.05)
        slept += time.perf_counter() - asleep
    taken = time.perf_counter() - began - slept

    assert 1 == len(records.kept)
    (record,) = records.kept
    assert ("each", 5, "{'age': {'$gte': '?'}}") == (
        record.operation,
        record.documents,
        record.filter,
    )
    assert record.commands >= 3
    assert record.ms <= taken * 1_000 + 1
    async with call(Pet).each(batch=2) as stream:
        async for _ in stream:
            break
    assert 2 == len(records.kept)
    assert records.kept[1].error is None


async def test_a_call_inside_a_stream_has_its_own(call: Runtime, records: Records) -> None:
    """What the loop over a stream calls is not the stream's."""
    pets(2)
    async for pet in call(Pet).each():
        await call(pet).update("name")

    assert ["update", "update", "each"] == [record.operation for record in records.kept]
    assert [1, 1] == [record.commands for record in records.kept[:2]]


async def test_failures(call: Runtime, records: Records) -> None:
    """A call that fails has a record that says so; one that sends nothing, too."""
    with pytest.raises(Gone):
        await call(Pet(_id=7, name="x")).update("name")
    with pytest.raises(QueryError):
        await call(Pet).one(5)

    assert [
        "Pet.update {'_id': '?'}: 0 documents, 1 command, * ms, Gone",
        "Pet.one: 0 documents, 0 commands, * ms, QueryError",
    ] == records.texts
    assert ["Gone", "QueryError"] == [record.error for record in records.kept]


async def test_a_stream_that_fails(call: Runtime, records: Records) -> None:
    """A stream that breaks off has a record that says so."""

    async def loop() -> None:
        async for _ in call(Pet).each({"$nonsense": 1}):
            pass

    with pytest.raises(OperationFailure):
        await loop()

    assert ["Pet.each {'$nonsense': '?'}: 0 documents, 1 command, * ms, OperationFailure"] == (
        records.texts
    )


async def test_slow_calls_are_warnings(call: Runtime, records: Records) -> None:
    """From the threshold on a call is a WARNING, below it DEBUG; the level decides what is seen."""
    query_log.start(slow_ms=0)
    await call(Pet).many()
    query_log.start(slow_ms=60_000)
    await call(Pet).many()
    query_log.logger.setLevel(logging.WARNING)
    await call(Pet).many()
    query_log.start(slow_ms=0.0)
    await call(Pet).many()

    assert [logging.WARNING, logging.DEBUG, logging.WARNING] == [r.levelno for r in records.kept]
    assert [True, False, True] == [record.slow for record in records.kept]
    assert (
        "Pet.many {}: 0 documents, 1 command, * ms, slow".replace(", slow", "") in records.texts[1]
    )
    assert records.kept[0].getMessage().endswith(" ms, slow")


async def test_values_when_asked(call: Runtime, records: Records) -> None:
    """Values are shown only when that is asked for, and long ones are cut off."""
    await call(Pet).many(Q.name == "secret")
    query_log.start(values=True)
    await call(Pet).many(Q.name == "secret")
    await call(Pet).many(Q.name.is_in(["x" * 500] * 5))

    assert ["{'name': '?'}", "{'name': 'secret'}"] == [r.filter for r in records.kept[:2]]
    assert 1_003 == len(records.kept[2].filter)


async def test_tasks_have_their_own(db: str, records: Records) -> None:
    """Calls that run at once do not count each other's commands."""
    pets()

    async def work() -> None:
        await asyncio.gather(*[Pet.aio.many(Q.age == n) for n in range(5)], Pet.aio.one())

    await work()

    assert [1] * 6 == [record.commands for record in records.kept]
    assert 6 == len(records.kept)


async def test_a_task_that_outlives_its_call(db: str, records: Records) -> None:
    """What a listener begins and does not wait for has its own record, once the call is over."""
    begun: list[asyncio.Task[Any]] = []
    over = asyncio.Event()

    async def later() -> None:
        await over.wait()
        await Owner.aio.count({})

    @Pet.listen("inserted")
    async def begin(sender: Any, frames: list[Any]) -> None:
        begun.append(asyncio.ensure_future(later()))

    async def work() -> None:
        await Pet(_id=1).aio.insert()
        over.set()
        await begun[0]

    await work()

    assert ["insert", "count"] == [record.operation for record in records.kept]


# --- on and off


async def test_off_means_off(call: Runtime, db: str) -> None:
    """Without the log nothing is wrapped, PyMongo's log is as it was, and calls are everyday."""
    logger = logging.getLogger("pymongo.command")
    before = logger.level, logger.isEnabledFor(logging.DEBUG), [*logger.filters]
    plain = operations.one
    pets()
    Pet.one({"name": "p1"})

    assert everyday.one(Pet, {"name": "p1"}) is not everyday.NOT_EVERYDAY
    with query_log.logged():
        assert operations.one is not plain
        assert everyday.one(Pet, {"name": "p1"}) is everyday.NOT_EVERYDAY
        assert not everyday.update(Pet(_id=1, name="x"), ("name",))
        await call(Pet).one({"name": "p1"})
    assert operations.one is plain
    assert everyday.one(Pet, {"name": "p1"}) is not everyday.NOT_EVERYDAY
    assert before == (logger.level, logger.isEnabledFor(logging.DEBUG), [*logger.filters])
    query_log.stop()  # once more is no error


async def test_blocks_may_be_nested(call: Runtime, records: Records) -> None:
    """A block leaves the log as it found it."""
    with query_log.logged(values=True):
        await call(Pet).many(Q.name == "x")
    await call(Pet).many(Q.name == "x")

    assert ["{'name': 'x'}", "{'name': '?'}"] == [record.filter for record in records.kept]


async def test_nobody_listens(call: Runtime, db: str) -> None:
    """Where the logger takes nothing, nothing is written, and calls work."""
    pets()
    query_log.logger.setLevel(logging.CRITICAL)
    try:
        with query_log.logged(slow_ms=0):
            assert 3 == len(await call(Pet).many())
    finally:
        query_log.logger.setLevel(logging.NOTSET)


async def test_logging_that_is_disabled(call: Runtime, records: Records) -> None:
    """Where PyMongo's log is disabled, the calls are logged without numbers of commands."""
    pets()
    logging.disable(logging.DEBUG)
    try:
        query_log.start(slow_ms=0)
        assert 3 == len(await call(Pet).many())
    finally:
        logging.disable(logging.NOTSET)

    assert ["Pet.many: unknown commands, * ms, slow"] == records.texts
    assert (None, None) == (records.kept[0].documents, records.kept[0].commands)


async def test_transactions_and_blocks(call: Runtime, records: Records) -> None:
    """Inside of transactions and other blocks calls are logged as everywhere."""
    if call.is_async:
        async with loom.aio.transaction():
            await Pet(_id=1).aio.insert()
    else:
        with loom.transaction():
            Pet(_id=1).insert()
    with loom.using(comment="x"):
        await call(Pet).one()

    assert ["insert", "one"] == [record.operation for record in records.kept]


@pytest.mark.parametrize("slow_ms", [-1, "5", True, float("nan")])
def test_what_is_no_threshold(slow_ms: Any) -> None:
    """A threshold is a number of milliseconds."""
    with pytest.raises(QueryError) as caught:
        query_log.start(slow_ms=slow_ms)

    assert str(caught.value) == (
        f"query_log.start: expected slow_ms in milliseconds, 0 or more, got {slow_ms!r}"
    )


# --- forms


@pytest.mark.parametrize(
    ("filter", "form"),
    [
        (None, {}),
        (Q.name == "x", {"name": "?"}),
        (Q.name == {"$ne": "x"}, {"name": {"$eq": "?"}}),
        ({"lair": {"name": "x"}}, {"lair": "?"}),
        (Q.name.startswith("x", ignore_case=True), {"name": {"$regex": "?", "$options": "i"}}),
        (~(Q.age > 5), {"age": {"$not": {"$gt": "?"}}}),
        (Q.age.is_in([1, 2, 3]), {"age": {"$in": "? x 3"}}),
        (Q.age.exists(), {"age": {"$exists": True}}),
        (Q.age.type("int"), {"age": {"$type": "int"}}),
        (Q.loot.elem_match(Q.value > 5), {"loot": {"$elemMatch": {"value": {"$gt": "?"}}}}),
        (Q.scores.elem_match(Q >= 5), {"scores": {"$elemMatch": {"$gte": "?"}}}),
        ((Q.a == 1) | (Q.b == 2), {"$or": [{"a": "?"}, {"b": "?"}]}),
        (Q.at.near((0, 0), max_distance=5), {"at": {"$nearSphere": "?"}}),
        ({"$expr": {"$gt": ["$a", 5]}}, {"$expr": "?"}),
    ],
)
def test_forms(filter: Any, form: Any) -> None:
    """Paths and operators stay, values go."""
    assert form == query_log.form_of(to_filter(filter))


VALUES = st.recursive(
    st.text() | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="xyz", min_size=1), inner),
    max_leaves=5,
)


@given(VALUES, st.sampled_from(["$eq", "$ne", "$gt", "$in", "$all", "$regex", "$mod", "$new"]))
def test_no_value_is_in_a_form(value: Any, operator: str) -> None:
    """Whatever the value, two filters that differ by it alone have one form."""
    marked = {"deep": [value, {"secret-83": "secret-83"}]}
    for filter in (
        {"a": marked},
        {"a": {operator: [marked]}},
        {"$and": [{"a": {"$not": {operator: [marked]}}}]},
        {"a": {"$elemMatch": {operator: marked}}},
        {"$where": "secret-83"},
    ):
        assert "secret-83" not in repr(query_log.form_of(filter))


# --- what PyMongo says


def test_taps_are_closed(db: str) -> None:
    """A tap tells only of what is sent while it is open; others go on."""
    one: list[taps.Command] = []
    other: list[taps.Command] = []
    with taps.tapped(one.append):
        Pet.count(Q.age > 5)
        with taps.tapped(other.append):
            Pet.one()
    Pet.one()

    assert ["aggregate", "aggregate", "find", "find"] == [command.name for command in one]
    assert ["find", "find"] == [command.name for command in other]
    assert [False, True] == [command.reply is not None for command in other]
    assert ("Pet", db) == (other[0].collection, other[0].database)


def test_nothing_new_is_seen_in_pymongos_log(db: str, caplog: pytest.LogCaptureFixture) -> None:
    """A tap hides what the program did not ask for, and nothing that it did."""
    with taps.tapped(lambda command: None):
        Pet.one()
    assert [] == caplog.records
    caplog.set_level(logging.DEBUG, logger="pymongo.command")
    with taps.tapped(lambda command: None):
        Pet.one()
    assert 2 == len(caplog.records)


def test_a_logger_that_was_disabled(db: str) -> None:
    """`logging.config` disables loggers that it does not know; a tap still sees."""
    logger = logging.getLogger("pymongo.command")
    seen: list[taps.Command] = []
    logger.disabled = True
    try:
        with taps.tapped(seen.append):
            Pet.one()
        assert logger.disabled
    finally:
        logger.disabled = False

    assert 2 == len(seen)


def test_a_message_as_text(db: str) -> None:
    """Should PyMongo's messages hold no fields any more, their text is read."""

    class Text:
        def __str__(self) -> str:
            return (
                '{"message": "Command started", "command": {"find": "Pet"}, "commandName": "find", '
                '"databaseName": "zoo"}'
            )

    seen: list[taps.Command] = []
    with taps.tapped(seen.append):
        logging.getLogger("pymongo.command").debug(Text())
        logging.getLogger("pymongo.command").debug("something else")

    assert [taps.Command("find", "zoo", "Pet", {"find": "Pet"})] == seen
