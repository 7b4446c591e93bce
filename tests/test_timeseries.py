"""`_timeseries`: what a class declares of it, and what time-series collections do not take.

The test server takes such collections for plain ones. So these tests look at what is sent, and at
what Loom refuses before anything is.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from pymongo.errors import ConnectionFailure

import loom
from loom import (
    DefinitionError,
    EncodeError,
    Frame,
    Q,
    QueryError,
    ReadOnly,
    Ref,
    SubFrame,
    TimeInserted,
    TimeUpdated,
)
from loom.frames import indexes
from loom.frames.indexes import Index
from loom.frames.time import Moment
from loom.frames.time.moment import LedgerMoment
from tests.conftest import Commands, Runtime, Server
from tests.faults import fault

NOON = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)


class Tag(SubFrame):
    """Of what a measurement is."""

    place: str
    unit: str


class Weather(Frame):
    """Measurements with a tag."""

    _timeseries = {"timeField": "ts", "metaField": "tag", "granularity": "minutes"}

    ts: datetime
    tag: Tag
    tagged: bool
    celsius: float


class Price(Moment):
    """Moments in a time series."""

    _timeseries = {"granularity": "hours", "expireAfterSeconds": timedelta(days=90)}

    amount: float


def stored() -> Price:
    """Return a stored price."""
    made = Price(symbol="X", time=NOON, amount=1.0)
    made.insert()
    return made


# Declaring


def test_what_is_declared() -> None:
    """A plain dict in MongoDB's names; moments know their fields, lengths may be timedeltas."""
    assert {"timeField": "ts", "metaField": "tag", "granularity": "minutes"} == Weather._timeseries
    assert {
        "timeField": "time",
        "metaField": "symbol",
        "granularity": "hours",
        "expireAfterSeconds": 90 * 86_400,
    } == Price._timeseries
    assert Frame._timeseries is None
    assert "_timeseries" not in Price._fields


def test_what_is_declared_cannot_be_changed_behind_the_class() -> None:
    """The dict is copied, and what the class has is read-only; assigning another is checked."""
    given: dict[str, Any] = {"timeField": "ts"}

    class Sensor(Frame):
        _timeseries = given
        ts: datetime

    given["timeField"] = "x"
    assert {"timeField": "ts"} == Sensor._timeseries
    with pytest.raises(TypeError):
        Sensor._timeseries["timeField"] = "x"  # type: ignore[index]
    with pytest.raises(DefinitionError, match=r"Sensor\._timeseries\.timeField: .* got 'x'"):
        Sensor._timeseries = {"timeField": "x"}
    Sensor._timeseries = {"timeField": "ts", "granularity": "hours"}
    assert "hours" == Sensor._timeseries["granularity"]
    Sensor._timeseries = None

    assert Sensor._timeseries is None


@pytest.mark.parametrize(
    "value",
    [
        {"timeField": "ts"},
        {"timeField": "ts", "metaField": None},
        {"timeField": "loose"},
        {"timeField": "ts", "bucketMaxSpanSeconds": 1, "bucketRoundingSeconds": 1},
        {
            "timeField": "ts",
            "bucketMaxSpanSeconds": 31_536_000,
            "bucketRoundingSeconds": 31_536_000,
        },
        {"timeField": "ts", "expireAfterSeconds": 1},
        {"timeField": "ts", "expireAfterSeconds": 60.0},
    ],
)
def test_settings_that_mongodb_takes(value: dict[str, Any]) -> None:
    """At the edges of what is documented nothing is refused."""

    class Sensor(Frame):
        ts: datetime
        tag: str
        loose: Any

    Sensor._timeseries = value

    assert {k: v for k, v in value.items() if v is not None} == Sensor._timeseries


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("ts", "expected a dict as of MongoDB's create, got 'ts'"),
        (True, "expected a dict as of MongoDB's create, got True"),
        ({}, "expected timeField, the name of the field that holds the time, got none"),
        ({"metaField": "tag"}, "expected timeField"),
        ({"timefield": "ts"}, "got 'timefield'; did you mean 'timeField'"),
        ({"timeField": "tss"}, "timeField: expected a declared field, got 'tss'; did you mean"),
        ({"timeField": "tag.ts"}, "timeField: expected the name of a field of the document itself"),
        ({"timeField": 5}, "timeField: expected the name of a field of the document itself, got 5"),
        ({"timeField": "_id"}, "timeField: expected another field than _id"),
        ({"timeField": "tag"}, "timeField: expected a field of datetimes, got 'tag' of another"),
        ({"timeField": "times"}, "timeField: expected a field of datetimes, got 'times'"),
        ({"metaField": "_id"}, "metaField: expected another field than _id"),
        (
            {"metaField": "ts"},
            "metaField: expected another field than timeField, got 'ts' for both",
        ),
        ({"metaField": "tga"}, "metaField: expected a declared field, got 'tga'; did you mean"),
        ({"granularity": "days"}, r"granularity: expected one of 'seconds', 'minutes', 'hours'"),
        ({"granularity": "hour"}, r"got 'hour'; did you mean 'hours'"),
        ({"bucketMaxSpanSeconds": 60}, "of the same number, got {'bucketMaxSpanSeconds': 60}"),
        ({"bucketMaxSpanSeconds": 60, "bucketRoundingSeconds": 30}, "of the same number, got"),
        ({"bucketMaxSpanSeconds": 0, "bucketRoundingSeconds": 0}, "from 1 to 31536000, got 0"),
        ({"bucketMaxSpanSeconds": 31_536_001, "bucketRoundingSeconds": 1}, "got 31536001"),
        ({"bucketMaxSpanSeconds": 60.0, "bucketRoundingSeconds": 60}, "whole number .* got 60.0"),
        ({"bucketMaxSpanSeconds": True, "bucketRoundingSeconds": 1}, "got True"),
        (
            {"granularity": "hours", "bucketMaxSpanSeconds": 60, "bucketRoundingSeconds": 60},
            "expected granularity or bucketMaxSpanSeconds and bucketRoundingSeconds, got both",
        ),
        ({"expireAfterSeconds": 0}, "expireAfterSeconds: expected whole seconds, more than 0"),
        ({"expireAfterSeconds": -1}, "more than 0, or a timedelta of some, got -1"),
        ({"expireAfterSeconds": timedelta(0)}, "expected whole seconds"),
        ({"expireAfterSeconds": timedelta(milliseconds=1500)}, "expected whole seconds"),
        ({"expireAfterSeconds": "1d"}, "got '1d'"),
        ({"expireAfterSeconds": float("inf")}, "got inf"),
        ({"expireAfterSeconds": float("nan")}, "got nan"),
        ({"expireAfterSeconds": True}, "got True"),
    ],
)
def test_settings_that_mongodb_refuses(value: Any, problem: str) -> None:
    """They are refused when the class is made, and when they are assigned."""
    if (
        isinstance(value, dict)
        and "timefield" not in value
        and value not in ({}, {"metaField": "tag"})
    ):
        value = {"timeField": "ts", **value}
    body: dict[str, Any] = {
        "__annotations__": {"ts": datetime, "tag": str, "times": list[datetime]},
        "__module__": __name__,
    }
    with pytest.raises(DefinitionError, match=rf"Wrong\._timeseries.*{problem}"):
        type(Frame)("Wrong", (Frame,), {**body, "_timeseries": value})
    made: Any = type(Frame)("Wrong", (Frame,), dict(body))
    with pytest.raises(DefinitionError, match=rf"Wrong\._timeseries.*{problem}"):
        made._timeseries = value


def test_sub_frames_are_in_no_collection() -> None:
    """The setting is one of a Frame."""
    with pytest.raises(DefinitionError, match="expected it on a Frame, got it on a SubFrame"):

        class Inner(SubFrame):
            _timeseries = {"timeField": "ts"}
            ts: datetime


@pytest.mark.parametrize(
    ("index", "what"),
    [
        (Index("symbol", unique=True), "a unique one"),
        (Index("amount", kind="text"), "one of the kind 'text'"),
    ],
)
def test_indexes_that_a_time_series_cannot_have(index: Index, what: str) -> None:
    """They are refused whichever of the two settings comes first, and on a child."""
    problem = rf"_indexes: expected indexes that a time-series collection can have, got {what}"
    with pytest.raises(DefinitionError, match=problem):

        class Both(Moment):
            _timeseries: Any = {}
            _indexes = [index]
            amount: float

    with pytest.raises(DefinitionError, match=problem):
        Price._indexes = [index]

    class Plain(Moment):
        _indexes = [index]
        amount: float

    with pytest.raises(DefinitionError, match=problem):
        Plain._timeseries = {}

    class Fine(Moment):
        _timeseries: Any = {}
        _indexes = [Index("symbol", "time", "known_at")]

    assert 1 == len(Fine._indexes)


def test_references_that_would_change_measurements(db: str) -> None:
    """What a delete would do to single documents of a time series is refused."""

    class Station(Frame):
        name: str

    class Sample(Frame):
        _timeseries = {"timeField": "ts"}
        ts: datetime
        station: Annotated[Station, Ref(on_delete="nullify")]

    with pytest.raises(DefinitionError, match=r"Sample\.station: expected on_delete='cascade'"):
        Station(_id=1).delete()
    Sample._timeseries = None  # type: ignore[assignment]  # else it would be told of ever again


# Writing


@pytest.mark.parametrize("time", [None, "2024-03-10", 1_710_072_000, 1.5, {"at": NOON}, [NOON]])
async def test_documents_without_a_time(call: Runtime, commands: Commands, time: Any) -> None:
    """MongoDB would refuse them one by one; none of a batch is sent."""
    problem = r"Weather\.ts: expected a datetime, got .*; a time-series collection takes no"
    with pytest.raises(EncodeError, match=problem):
        await call(Weather({"ts": time, "celsius": 1.0})).insert()
    with pytest.raises(EncodeError, match=problem):
        await call(Weather).insert_many([{"ts": NOON}, {"ts": time}])
    with pytest.raises(EncodeError, match=problem):
        await call(Weather).insert_many([{"celsius": 1.0}])

    assert [] == commands.names


async def test_times_that_something_else_gives(call: Runtime) -> None:
    """Stamps, defaults and dates are times, too; a class that is one no more asks for none."""

    class Stamped(Frame):
        _timeseries = {"timeField": "ts"}
        ts: TimeInserted

    class Daily(Frame):
        _timeseries = {"timeField": "day"}
        day: date

    await call(Stamped()).insert()
    await call(Daily(day=date(2024, 3, 10))).insert()
    assert datetime(2024, 3, 10, tzinfo=timezone.utc) == (await call(Daily).one())["day"]
    Daily._timeseries = None  # type: ignore[assignment]
    await call(Daily()).insert()

    assert 2 == await call(Daily).count({})


async def test_moments_are_inserted_and_read(call: Runtime, commands: Commands) -> None:
    """Adding and asking is as everywhere."""
    one = Price(symbol="X", time=NOON, amount=1.0)
    await call(one).insert()
    await call(Price).insert_many([{"symbol": "X", "time": NOON, "amount": 2.0}])
    await call(Price(symbol="Y", time=NOON, amount=3.0)).save()
    assert 2.0 == (await call(Price).latest("X")).amount
    assert 3 == await call(Price).count()
    await call(one).save()  # nothing was changed
    assert 1 == await call(Price).delete_where(Q.symbol == "Y")

    assert ["insert", "insert", "insert", "find", "count", "delete"] == commands.names


@pytest.mark.parametrize(
    "write",
    [
        lambda call, p: call(p).update(),
        lambda call, p: call(p).update("amount"),
        lambda call, p: call(p).save(),
        lambda call, p: call(p).save("amount"),
        lambda call, p: call(p).unset("amount"),
        lambda call, p: call(p).upsert(),
        lambda call, p: call(p).inc("amount"),
        lambda call, p: call(p).change({"$set": {"amount": 2.0}}),
        lambda call, p: call(Price).take({}, {"$set": {"amount": 2.0}}),
        lambda call, p: call(Price).update_many([p]),
        lambda call, p: call(Price).unset_many([p], "amount"),
    ],
)
async def test_single_documents_are_not_changed(
    call: Runtime, commands: Commands, write: Any
) -> None:
    """No version of MongoDB does that: nothing is sent, and no listener is told."""
    price = stored()
    price.amount = 2.0
    heard: list[Any] = []
    Price.listen("update", lambda sender, frames: heard.append(frames))
    commands.clear()
    with pytest.raises(ReadOnly, match=r"Price\.\w+: expected insert\(\) of a class with _time"):
        await write(call, price)

    assert ([], []) == (heard, commands.names)


async def test_single_documents_are_not_changed_when_nothing_listens(
    call: Runtime, commands: Commands
) -> None:
    """The everyday way of updates is closed, too, and the message has the way out."""
    price = stored()
    commands.clear()
    with pytest.raises(ReadOnly, match=r"insert what is right now as another moment of the same"):
        await call(price).update("amount")

    assert [] == commands.names


async def test_bulk_writes(call: Runtime) -> None:
    """A bulk writer takes inserts, and refuses changes when they are given."""
    price = stored()
    with Price.bulk() as bulk:
        bulk.insert({"symbol": "X", "time": NOON, "amount": 2.0})
        with pytest.raises(ReadOnly, match=r"Price\.update: expected insert"):
            bulk.update(price, "amount")

    assert 2 == await call(Price).count({})


async def test_updates_of_the_meta_field(call: Runtime, commands: Commands) -> None:
    """A filter on it may change it, in one command."""
    await call(Weather).insert_many([{"ts": NOON, "tag": {"place": "JFK", "unit": "F"}}])
    commands.clear()
    await call(Weather).update_where(Q.tag.place == "JFK", {"$set": {"tag.unit": "C"}})
    await call(Weather).update_where(
        (Q.tag.place == "JFK") | (Q.tag.unit == "C"), {"$set": {"tag": {"place": "EWR"}}}
    )
    first, second = (body["updates"] for body in commands.bodies)

    assert ["update", "update"] == commands.names
    assert [{"q": {"tag.place": "JFK"}, "u": {"$set": {"tag.unit": "C"}}, "multi": True}] == [
        {k: update[k] for k in ("q", "u", "multi")} for update in first
    ]
    assert first[0].get("upsert", False) is second[0].get("upsert", False) is False


@pytest.mark.parametrize(
    ("filter", "changes", "got"),
    [
        (Q.celsius > 5, {"$set": {"tag.unit": "C"}}, "got a filter by 'celsius'"),
        (
            (Q.tag.place == "JFK") & (Q.ts > NOON),
            {"$set": {"tag.unit": "C"}},
            "got a filter by 'ts'",
        ),
        ((Q.tag.unit == "F") | (Q.ts > NOON), {"$set": {"tag.unit": "C"}}, "got a filter by 'ts'"),
        (
            {"$expr": {"$eq": ["$ts", NOON]}},
            {"$set": {"tag.unit": "C"}},
            r"got a filter by '\$expr'",
        ),
        (Q.tag.place == "JFK", {"$set": {"celsius": 5.0}}, "got a change of 'celsius'"),
        (Q.tagged.exists(), {"$set": {"tag.unit": "C"}}, "got a filter by 'tagged'"),
        (Q.tag.place == "JFK", {"$rename": {"tag": "celsius"}}, "got a change of 'celsius'"),
        (Q.tag.place == "JFK", [{"$set": {"tag.unit": "C"}}], "got a pipeline"),
    ],
)
async def test_updates_beyond_the_meta_field(
    call: Runtime, commands: Commands, filter: Any, changes: Any, got: str
) -> None:
    """What MongoDB would refuse is not sent."""
    with pytest.raises(ReadOnly, match=rf"Weather\.update_where: .* of 'tag' alone, {got}"):
        await call(Weather).update_where(filter, changes)

    assert [] == commands.names


async def test_updates_that_listeners_are_told_of(call: Runtime, commands: Commands) -> None:
    """They would go by the `_id` of each document; so would none without a metaField."""
    Weather.listen("update", lambda sender, frames: None)
    with pytest.raises(ReadOnly, match="got one that listeners are told of"):
        await call(Weather).update_where(Q.tag.place == "JFK", {"$set": {"tag.unit": "C"}})

    class Stamped(Frame):
        _timeseries = {"timeField": "ts", "metaField": "tag"}
        ts: datetime
        tag: str
        changed: TimeUpdated

    with pytest.raises(ReadOnly, match="got a change of 'changed'"):
        await call(Stamped).update_where(Q.tag == "a", {"$set": {"tag": "b"}})

    class Bare(Frame):
        _timeseries = {"timeField": "ts"}
        ts: datetime

    with pytest.raises(ReadOnly, match="no update, as there is no metaField"):
        await call(Bare).update_where({}, {"$set": {"ts": NOON}}, all=True)

    assert [] == commands.names


async def test_writes_in_transactions(call: Runtime, commands: Commands) -> None:
    """None is sent in one, and no listener is told; reads are."""
    heard: list[Any] = []
    Price.listen("insert", lambda sender, frames: heard.append(frames))
    problem = r"Price\.\w+: expected it outside of a transaction, got it inside"
    writes: list[Any] = [
        lambda: call(Price(symbol="X", time=NOON)).insert(),
        lambda: call(Price).insert_many([{"symbol": "X", "time": NOON}]),
        lambda: call(Price).delete_where(Q.symbol == "X"),
    ]

    async def check() -> None:
        for write in writes:
            with pytest.raises(loom.TransactionError, match=problem):
                await write()
        await call(Price).many(Q.symbol == "X")

    if call.is_async:
        async with loom.aio.transaction():
            await check()
    else:
        with loom.transaction():
            await check()

    assert [] == heard
    assert {"insert", "delete"}.isdisjoint(commands.names)


def test_writes_in_a_session_of_ones_own(db: str, commands: Commands) -> None:
    """A session whose transaction runs is seen, too."""
    with (
        Price.get_client().start_session() as session,
        session.start_transaction(),
        pytest.raises(loom.TransactionError, match="outside of a transaction"),
    ):
        Price(symbol="X", time=NOON).insert(session=session)
    Price(symbol="X", time=NOON).insert()

    assert ["insert"] == commands.names


async def test_a_save_whose_answer_was_lost(call: Runtime, server: Server) -> None:
    """No unique index keeps an `_id` from being stored twice: it is looked for."""
    if not server.is_embedded:
        pytest.skip("needs a server that takes failpoints")
    for cls in (Price, Added):
        one: Any = cls(symbol="X", time=NOON, amount=1.0)
        with fault(server, "insert", closeConnection=True), pytest.raises(ConnectionFailure):
            await call(one).save()
        cls.get_collection().insert_one(dict(one._document))
        server.commands.clear()
        await call(one).save()

        assert ["find"] == server.commands.names
        assert 1 == await call(cls).count({})


class Added(LedgerMoment):
    """A ledger in a time series."""

    _timeseries: Any = {}

    amount: float


async def test_ledgers_of_time_series(call: Runtime, commands: Commands) -> None:
    """Every save is an insert, and so goes."""
    one = Added(symbol="X", time=NOON, amount=1.0)
    await call(one).save()
    one.amount = 2.0
    await call(one).save()

    assert ["insert", "insert"] == commands.names
    assert 2.0 == (await call(Added).latest("X")).amount


async def test_changes_are_not_streamed(call: Runtime, commands: Commands) -> None:
    """A change stream is refused with what to do instead."""
    with pytest.raises(QueryError, match=r"Price\.watch: expected an ordinary collection, got a"):
        call(Price).watch()

    assert [] == commands.names


async def test_read_only_connections(call: Runtime) -> None:
    """Switched off writing is told of as everywhere."""
    with loom.read_only(), pytest.raises(ReadOnly, match="switched off"):
        await call(Price(symbol="X", time=NOON)).insert()


def test_the_index_that_mongodb_builds_by_itself(db: str) -> None:
    """It is not extra, so that it is not dropped; others are, and on ordinary collections it is."""
    Price.get_collection().create_index([("symbol", 1), ("time", 1)])
    Price.get_collection().create_index([("time", 1), ("symbol", 1)])
    assert ["time_1_symbol_1"] == [found.index.name for found in indexes.diff(Price).extra]
    indexes.ensure(Price, drop=True)
    assert {"_id_", "symbol_1_time_1"} == Price.get_collection().index_information().keys()

    class Plain(Moment):
        amount: float

    Plain.get_collection().create_index([("symbol", 1), ("time", 1)])
    assert ["symbol_1_time_1"] == [found.index.name for found in indexes.diff(Plain).extra]


async def test_kinds_of_one_series(call: Runtime, commands: Commands) -> None:
    """The root declares it for all; a kind sees its own, and updates go by the root alone."""

    class Sample(Moment):
        _kind_field = "kind"
        _timeseries: Any = {}

    class Depth(Sample):
        metres: float

    with pytest.raises(DefinitionError, match=r"Other\._timeseries: expected the one of Sample"):

        class Other(Sample):
            _timeseries: Any = {}

    await call(Depth).create_collection()
    await call(Depth(symbol="X", time=NOON, metres=1.0)).insert()
    assert isinstance(await call(Sample).latest("X"), Depth)
    with pytest.raises(ReadOnly, match="got a filter by 'kind'"):
        await call(Depth).update_where(Q.symbol == "X", {"$set": {"symbol": "Y"}})
    assert 1 == await call(Sample).update_where(Q.symbol == "X", {"$set": {"symbol": "Y"}})

    assert "Sample" == next(body["create"] for body in commands.bodies if "create" in body)
