"""Moments: two times, the latest, and what was known when."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collation import Collation

import loom
from loom import (
    EncodeError,
    Frame,
    Q,
    QueryError,
    ReadOnly,
    StrUpper,
    SubFrame,
    TimeInserted,
    TimeUpdated,
)
from loom.frames import indexes
from loom.frames.aio import AwaitedClass
from loom.frames.indexes import Index
from loom.frames.ledger import LedgerFrame
from loom.frames.stamping import known_later
from loom.frames.time import DailyFrame, Moment, TimedFrame, TimeFrame
from loom.frames.time.moment import AwaitedMoments, LedgerMoment, check_moments
from tests.conftest import Commands, Runtime

NOON = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


class Price(Moment):
    """A price at a time."""

    _indexes = [Index("symbol", "time", "known_at", "_id")]

    amount: float


class Reading(TimedFrame):
    """What a sensor said, in a collection of other names."""

    _time_field = "ts"
    _symbol_field = "sensor"

    ts: datetime
    sensor: int
    celsius: float


def price(amount: float, hours: float = 0, known: float | None = None, of: str = "X") -> Price:
    """Return a price of some hours after noon, known some hours after noon."""
    made = Price(symbol=of, time=NOON + hours * HOUR, amount=amount)
    if known is not None:
        made.known_at = NOON + known * HOUR
    return made


# Times


async def test_both_times_are_kept(call: Runtime) -> None:
    """The time is what was given; it is known from the insert on."""
    one = price(9.5)
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    await call(one).insert()
    found = await call(Price).one(required=True)

    assert (NOON, "X", 9.5) == (found.time, found.symbol, found.amount)
    assert before <= found.known_at == one.known_at <= datetime.now(timezone.utc)


async def test_when_it_was_known_may_be_said(call: Runtime) -> None:
    """What is brought from elsewhere knows better since when it is known."""
    await call(price(9.5, known=3)).insert()
    await call(Price).insert_many([price(1.0, known=4), {"symbol": "Y", "time": NOON}])
    first, second, third = await call(Price).many(sort="_id")

    assert [NOON + 3 * HOUR, NOON + 4 * HOUR] == [first.known_at, second.known_at]
    assert third.known_at > NOON + 4 * HOUR


@pytest.mark.parametrize(
    "zone", [timezone.utc, ZoneInfo("America/New_York"), timezone(timedelta(hours=5, minutes=45))]
)
async def test_times_of_any_zone(call: Runtime, zone: Any) -> None:
    """An aware time of any zone is the same instant, in milliseconds."""
    await call(Price(symbol="X", time=NOON.astimezone(zone), amount=1.0)).insert()

    assert NOON == (await call(Price).one(required=True)).time


async def test_naive_times_are_taken_as_utc(call: Runtime) -> None:
    """By default a naive time means UTC, and the frame holds it aware then."""
    one = Price(symbol="X", time=NOON.replace(tzinfo=None), known_at=datetime(2024, 3, 11))
    await call(one).insert()
    found = await call(Price).one(required=True)

    assert (NOON, datetime(2024, 3, 11, tzinfo=timezone.utc)) == (one.time, one.known_at)
    assert (one.time, one.known_at) == (found.time, found.known_at)


async def test_naive_times_where_they_are_refused(call: Runtime, db: str) -> None:
    """A connection that refuses naive datetimes refuses those of moments, and sends nothing."""
    one = Price(symbol="X", time=NOON.replace(tzinfo=None))
    connection = loom.connection._default
    assert connection is not None
    connection.naive = "refuse"
    with pytest.raises(EncodeError, match=r"Price\.time: expected a datetime with a zone"):
        await call(one).insert()
    with pytest.raises(EncodeError, match="time: expected a datetime with a zone"):
        await call(Price).insert_many([one, price(1.0)])

    assert 0 == await call(Price).count({})


async def test_naive_times_of_a_zone(call: Runtime, db: str) -> None:
    """A connection whose naive datetimes are in a zone takes those of moments so."""
    connection = loom.connection._default
    assert connection is not None
    connection.naive = ZoneInfo("America/New_York")
    await call(Price(symbol="X", time=datetime(2024, 3, 10, 8), amount=1.0)).insert()

    assert NOON == (await call(Price).one(required=True)).time


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"symbol": "X"}, r"Price\.time: expected a datetime, got none; say when it happened"),
        ({"symbol": "X", "time": None}, r"Price\.time: expected a datetime, got none"),
        ({"symbol": "X", "time": "2024"}, r"Price\.time: expected a datetime, got '2024' of type"),
        ({"symbol": "X", "time": date(2024, 3, 10)}, r"Price\.time: .* of type date"),
        ({"symbol": "X", "time": 1_710_072_000}, r"Price\.time: .* of type int"),
        ({"symbol": "X", "time": NOON, "known_at": "now"}, r"Price\.known_at: expected a datetime"),
        ({"time": NOON}, r"Price\.symbol: expected what the moment tells of, got none"),
        ({"time": NOON, "symbol": None}, r"Price\.symbol: expected what the moment tells of"),
        ({"time": NOON, "symbol": ""}, r"Price\.symbol: expected what the moment tells of, got ''"),
    ],
)
async def test_moments_that_are_none(
    call: Runtime, commands: Commands, values: dict[str, Any], message: str
) -> None:
    """Without a time or a symbol nothing is sent, alone, in a batch and in a bulk write."""
    with pytest.raises(EncodeError, match=message):
        await call(Price(values)).insert()
    with pytest.raises(EncodeError, match=message):
        await call(Price(dict(values))).save()
    with pytest.raises(EncodeError, match=message):
        await call(Price).insert_many([price(1.0), dict(values)])

    assert [] == commands.names


async def test_the_check_comes_after_other_listeners(call: Runtime) -> None:
    """A listener, or a default, may give a moment its time and symbol."""

    class Temperature(Moment):
        symbol: str = "JFK"
        celsius: float

    @Temperature.listen("insert")
    def now(sender: type, frames: list[Temperature]) -> None:
        for frame in frames:
            frame.time = NOON

    await call(Temperature).insert_many([{"celsius": 20.0}])

    assert "JFK" == (await call(Temperature).one(Q.time == NOON, required=True)).symbol


async def test_the_check_is_an_ordinary_listener(call: Runtime) -> None:
    """It can be stopped for a class."""

    class Loose(Moment):
        amount: float

    assert check_moments in loom.frames.events.listening("insert", Loose)
    Loose.stop_listening("insert", check_moments)
    await call(Loose(amount=1.0)).insert()

    assert 1 == await call(Loose).count({})


async def test_datetimes_of_numpy_and_pandas(call: Runtime) -> None:
    """A datetime64 and a Timestamp are times, NaT is none."""
    np = pytest.importorskip("numpy", reason="the extra time is not installed")
    pd = pytest.importorskip("pandas", reason="the extra pandas is not installed")
    times = [np.datetime64("2024-03-10T12:00:00.000000001"), pd.Timestamp(NOON)]
    await call(Price).insert_many([{"symbol": "X", "time": time} for time in times])
    assert [NOON, NOON] == [found.time for found in await call(Price).many()]
    for none in (np.datetime64("NaT", "ms"), pd.NaT):
        with pytest.raises(EncodeError, match=r"Price\.time: expected a datetime"):
            await call(Price(symbol="X", time=none)).insert()


# Classes


def test_names_of_fields() -> None:
    """A moment has a symbol and two times; a TimedFrame what its settings name."""
    assert ("time", "symbol", "known_at") == (
        Price._time_field,
        Price._symbol_field,
        Price._known_at_field,
    )
    assert {"_id", "symbol", "time", "known_at", "amount"} == Price._fields
    assert {"_id", "ts", "sensor", "celsius"} == Reading._fields


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"_time_field": "tims"}, "_time_field: expected the name of a declared field, got 'tims'"),
        ({"_time_field": "tims"}, "did you mean 'time'"),
        ({"_symbol_field": 5}, "_symbol_field: expected the name of a declared field, got 5"),
        ({"_time_field": "amount"}, "_time_field: expected a field of datetimes, got 'amount'"),
        ({"_known_at_field": "symbol"}, "_known_at_field: expected a field of datetimes"),
    ],
)
def test_settings_that_name_no_field(body: dict[str, Any], message: str) -> None:
    """What a setting names is declared, and times are datetimes."""
    with pytest.raises(loom.DefinitionError, match=message):
        type("Wrong", (Price,), {"_collection": "Wrong", **body})


def test_settings_are_checked_where_they_are_made() -> None:
    """A class without fields has no time, and a setting is no field."""
    with pytest.raises(loom.DefinitionError, match="expected the name of a declared field"):

        class Open(TimedFrame):
            _time_field = "ts"

    class Annotated_(TimedFrame):
        _time_field: str = "ts"  # type: ignore[misc]  # as a newcomer writes it
        ts: datetime

    assert {"_id", "ts"} == Annotated_._fields


def test_ledgers_come_after_moments() -> None:
    """The other order would give the `latest` of ledgers."""
    with pytest.raises(loom.DefinitionError, match=r"write class Wrong\(Moment, LedgerFrame\)"):

        class Wrong(LedgerFrame, Moment):
            amount: float


def test_moments_need_no_numpy() -> None:
    """Importing them loads neither NumPy nor SciPy, and `import loom` does not load them."""
    code = (
        "import sys, loom\n"
        "assert 'loom.frames.time' not in sys.modules\n"
        "from loom.frames.time import Moment\n"
        "from loom.frames.time.moment import LedgerMoment\n"
        "print(sorted({'numpy', 'scipy', 'pandas', 'pyarrow'} & {*sys.modules}))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert "[]" == shown.strip()


async def test_moments_are_frames(call: Runtime, commands: Commands) -> None:
    """Projections, references, sub-frames, kinds, marks and `save` work as for other frames."""

    class Venue(SubFrame):
        city: str

    class Source(Frame):
        name: str

    class Quote(Moment):
        _kind_field = "kind"

        symbol: StrUpper
        venue: Venue
        source: Source
        amount: float

    class Bid(Quote):
        depth: int

    source = Source(name="wire")
    await call(source).insert()
    bid = Bid(symbol="acme", time=NOON, venue=Venue(city="Oslo"), source=source, depth=3)
    await call(bid).insert()
    bid.amount = 2.0
    await call(bid).save()
    found = await call(Quote).latest("acme", projection={"source": {"$ref": Source}, "kind": True})
    assert isinstance(found, Bid)
    assert "wire" == found.source.name
    assert {"_id", "source", "kind"} == found._document.keys()
    assert "ACME" == bid.symbol
    (known,) = await call(Quote).as_of("acme", projection={"source": {"$ref": Source}})
    assert ("wire", Bid) == (known.source.name, type(known))
    (whole,) = await call(Bid).as_of("ACME")

    assert ("Oslo", 2.0, 3) == (whole.venue.city, whole.amount, whole.depth)


async def test_moments_of_a_time_frame(call: Runtime) -> None:
    """A frame of the calendar is a filter like others, its end excluded."""
    await call(Price).insert_many([price(float(n), hours=n) for n in range(-13, 14)])
    await call(price(99.0, of="Y")).insert()
    day = DailyFrame.create(NOON)
    found = await call(Price).many(day.filter("time") & (Q.symbol == "X"), sort="time")

    assert [float(n) for n in range(-12, 12)] == [one.amount for one in found]


def test_columns_of_moments() -> None:
    """A schema has both times, aware, beside what the class adds."""
    pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    from loom.frames.arrow import schema_of

    types = {column.name: str(column.type) for column in schema_of(Price).columns}

    assert {"_id", "symbol", "time", "known_at", "amount"} == types.keys()
    assert ["timestamp[ms, tz=UTC]"] * 2 == [types["time"], types["known_at"]]


# What was known when


async def filled(call: Runtime) -> None:
    """Store a corrected morning: each time, what it was, and when that was known."""
    await call(Price).insert_many(
        [
            price(1.0, hours=0, known=1),
            price(2.0, hours=1, known=2),
            price(1.5, hours=0, known=4),  # noon corrected
            price(3.0, hours=2, known=3),
            price(2.5, hours=1, known=5),  # one o'clock corrected
            price(9.0, hours=5, known=6, of="Y"),
        ]
    )


def amounts(found: list[Price]) -> list[float]:
    """Return what some prices are."""
    return [one.amount for one in found]


async def test_latest(call: Runtime) -> None:
    """The latest time counts, then the last version, whatever was inserted last."""
    await filled(call)
    assert 3.0 == (await call(Price).latest("X")).amount
    assert 9.0 == (await call(Price).latest()).amount
    assert 2.5 == (await call(Price).latest((Q.symbol == "X") & (Q.amount < 3))).amount
    assert 1.5 == (await call(Price).latest({"symbol": "X", "amount": {"$lt": 2}})).amount
    assert await call(Price).latest("Z") is None
    with pytest.raises(loom.NotFound):
        await call(Price).latest("Z", required=True)


async def test_latest_as_it_was_known(call: Runtime) -> None:
    """What became known later does not count, what became known at that very instant does."""
    await filled(call)
    found = [
        await call(Price).latest("X", known_at=NOON + hours * HOUR)
        for hours in (0.99, 1, 2.5, 3, 4, 10)
    ]

    assert [None, 1.0, 2.0, 3.0, 3.0, 3.0] == [one and one.amount for one in found]


async def test_as_of(call: Runtime) -> None:
    """Each time once, in its version of then, in order."""
    await filled(call)
    wanted = {0: [], 1: [1.0], 2: [1.0, 2.0], 3: [1.0, 2.0, 3.0]}
    wanted |= {4: [1.5, 2.0, 3.0], 5: [1.5, 2.5, 3.0]}
    for hours, expected in wanted.items():
        assert expected == amounts(await call(Price).as_of("X", NOON + hours * HOUR))
    assert [1.5, 2.5, 3.0] == amounts(await call(Price).as_of("X"))
    assert [1.5, 2.5, 3.0, 9.0] == amounts(await call(Price).as_of())
    assert [2.5] == amounts(await call(Price).as_of(Q.amount == 2.5))
    frame = TimeFrame(NOON + HOUR, NOON + 2 * HOUR)
    assert [2.0] == amounts(await call(Price).as_of("X", NOON + 4 * HOUR, frame))
    early = (Q.time <= NOON) & (Q.known_at > NOON + HOUR)  # of the same fields
    assert [1.5] == amounts(
        await call(Price).as_of(early, NOON + 4 * HOUR, DailyFrame.create(NOON))
    )
    assert [] == await call(Price).as_of(early, NOON + 3 * HOUR)
    either = (Q.amount == 1.5) | (Q.amount == 2.5)
    assert [1.5] == amounts(await call(Price).as_of(either, NOON + 4 * HOUR))
    (named,) = await call(Price).as_of("X", frame=frame, projection=["amount"])

    assert {"_id": named._id, "amount": 2.5} == named._document


async def test_as_of_keeps_symbols_apart(call: Runtime) -> None:
    """Under a collation, which finds both, acme corrects no ACME; as here, where windows tell."""

    class Bid(Moment):
        _indexes = [Index("symbol", "time", "known_at", case_insensitive=True)]
        amount: float
        tags: list[str]

    def bid(symbol: str, amount: float, known: int) -> Bid:
        made = Bid(symbol=symbol, time=NOON, amount=amount, tags=[])
        made.known_at = NOON + known * HOUR
        return made

    told = [bid("acme", 1.0, 0), bid("ACME", 2.0, 1), bid("acme", 1.5, 2), bid("Acme", 3.0, 3)]
    await call(Bid).insert_many(told[::-1])
    for asked in ("acme", "ACME", Q.symbol == "acme", Q.symbol.is_in(["Acme"])):
        assert [2.0, 1.5, 3.0] == amounts(await call(Bid).as_of(asked))
        assert [1.0, 2.0] == amounts(await call(Bid).as_of(asked, NOON + HOUR))
    assert [1.5] == amounts(await call(Bid).as_of("acme", collation=None))
    assert [2.0, 1.5, 3.0] == amounts(await call(Bid).as_of())
    for named in ({"locale": "en", "strength": 2}, Collation("en", strength=2)):
        assert [2.0, 1.5, 3.0] == amounts(await call(Bid).as_of(collation=named))
    assert [1.5] == amounts(await call(Bid).as_of("acme", collation={"locale": "simple"}))
    for projection in (["amount"], {"tags": False}, {"_id": False}, {"_id": False, "amount": True}):
        exact = await call(Bid).as_of("acme", projection=projection, collation=None)
        found = await call(Bid).as_of("acme", projection=projection)
        assert exact[0]._document == found[1]._document
    with pytest.raises(QueryError, match="compares no other text"):
        await call(Bid).as_of((Q.symbol == "acme") & (Q.tags == "x"))


async def test_as_of_is_one_aggregate(call: Runtime, commands: Commands) -> None:
    """The server goes by the order of the declared index, and looks at one time at once."""
    await call(Price).as_of("X", NOON, DailyFrame.create(NOON), comment="c", projection=["amount"])
    (sent,) = commands.bodies
    day = {"$gte": NOON.replace(hour=0), "$lt": NOON.replace(hour=0) + timedelta(1)}
    whole = {"documents": ["unbounded", "unbounded"]}

    assert [
        {"$match": {"symbol": "X", "known_at": {"$lte": NOON}, "time": day}},
        {
            "$setWindowFields": {
                "partitionBy": "$time",
                "sortBy": {"known_at": 1, "_id": 1},
                "output": {"_loom_last": {"$max": "$known_at", "window": whole}},
            }
        },
        {
            "$match": {
                "$expr": {"$eq": [{"$ifNull": [f"${f}", None]} for f in ("known_at", "_loom_last")]}
            }
        },
        {"$unset": "_loom_last"},
        {"$sort": {"time": 1, "known_at": 1, "_id": 1}},
        {"$project": {"amount": True}},
    ] == [_aware(stage) for stage in sent["pipeline"]]
    assert "c" == sent["comment"]
    commands.clear()
    await call(Price).as_of({"symbol": {"$in": ["X", "Y"]}})
    await call(Reading).as_of(5)
    several, plain = (sent["pipeline"] for sent in commands.bodies)

    by = {"time": "$time", "symbol": {"$ifNull": ["$symbol", None]}}
    assert by == several[1]["$setWindowFields"]["partitionBy"]
    assert [{"$match": {"sensor": 5}}, {"$sort": {"ts": 1, "_id": 1}}] == plain[:2]


def _aware(value: Any) -> Any:
    """Return what was sent with aware datetimes: a monitor may show naive ones."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc)
    return {k: _aware(v) for k, v in value.items()} if isinstance(value, dict) else value


async def test_latest_is_one_find(call: Runtime, commands: Commands) -> None:
    """The order is that of the declared index, backwards."""
    await call(Price).latest("X", known_at=NOON)
    (sent,) = commands.bodies

    assert {"time": -1, "known_at": -1, "_id": -1} == dict(sent["sort"])
    assert {"symbol", "known_at"} == sent["filter"].keys()
    with pytest.raises(QueryError, match=r"Price.latest: expected no sort, .* use one\("):
        await call(Price).latest("X", sort="time")


async def test_versions_of_one_instant(call: Runtime) -> None:
    """What became known at the same instant is no correction: all of it stays, `_id` by `_id`."""
    for id, known in ((2, 1), (3, 1), (1, 1), (4, 0), (5, 3)):
        told = NOON + known * HOUR
        await call(Price(_id=id, symbol="X", time=NOON, known_at=told, amount=1.0)).insert()
    await call(Price(_id=6, symbol="Y", time=NOON, known_at=NOON, amount=1.0)).insert()
    two = NOON + 2 * HOUR
    assert 5 == (await call(Price).latest("X"))._id
    assert 3 == (await call(Price).latest("X", known_at=two))._id
    assert [5] == [one._id for one in await call(Price).as_of("X")]
    assert [6, 1, 2, 3] == [one._id for one in await call(Price).as_of(known_at=two)]

    assert [1, 2, 3] == [one._id for one in await call(Price).as_of("X", two)]


async def test_what_nobody_knows_since_when(call: Runtime) -> None:
    """It is known at no instant; without one it stands where nothing else is told of its time."""
    for id, at, known in ((1, 0, None), (2, 0, 1), (3, 0, None), (4, 1, None), (5, 1, None)):
        document = {"_id": id, "symbol": "X", "time": NOON + at * HOUR, "amount": 1.0}
        if known is not None or id == 5:
            document["known_at"] = None if known is None else NOON + known * HOUR
        Price.get_collection().insert_one(document)
    assert [2] == [one._id for one in await call(Price).as_of("X", NOON + 9 * HOUR)]
    assert 2 == (await call(Price).latest("X", known_at=NOON + 9 * HOUR))._id

    assert [2, 4, 5] == [one._id for one in await call(Price).as_of("X")]
    assert [2, 4, 5] == [one._id for one in await call(Price).as_of()]


async def test_times_that_nobody_corrects(call: Runtime) -> None:
    """Where a class names no field for knowledge, all there is is known, in the order of time."""
    rows = [{"_id": n, "sensor": 5, "ts": NOON + at * HOUR} for n, at in enumerate((1, 0, 1, 0))]
    await call(Reading).insert_many(rows)

    assert [1, 3, 0, 2] == [one._id for one in await call(Reading).as_of(5)]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from("XY"), st.integers(0, 4), st.integers(0, 6) | st.none()),
        max_size=25,
    ),
    st.integers(0, 6),
)
def test_as_of_against_python(db: str, told: list[Any], hours: int) -> None:
    """Whatever was told when, the server says what a walk through all of it says."""
    Price.delete_where({}, all=True)
    frames = [
        price(float(n), hours=at, known=known, of=symbol)
        for n, (symbol, at, known) in enumerate(told)
    ]
    if frames:
        Price.insert_many(frames)
    instant = NOON + hours * HOUR
    last: dict[Any, list[Price]] = {}
    for one in sorted(frames, key=lambda one: (one.known_at, one._id)):
        if one.known_at <= instant:
            kept = last.setdefault((one.time, one.symbol), [])
            kept[:] = [other for other in kept if other.known_at == one.known_at] + [one]
    left = [one for kept in last.values() for one in kept]
    expected = sorted(left, key=lambda one: (one.time, one.known_at, one._id))
    assert expected == Price.as_of(known_at=instant)
    of_x = [one for one in expected if one.symbol == "X"]
    assert of_x == Price.as_of("X", instant)

    assert of_x[-1:] == [one for one in [Price.latest("X", known_at=instant)] if one is not None]


async def test_symbols_of_other_types(call: Runtime) -> None:
    """A symbol is a value, also when it looks like an operator; a number and an enum are some."""

    class Side(Enum):
        BID = "bid"

    await call(Reading).insert_many([{"sensor": 5, "ts": NOON}, {"sensor": 6, "ts": NOON + HOUR}])
    assert 5 == (await call(Reading).latest(5)).sensor
    assert 2 == len(await call(Reading).as_of())
    await call(price(1.0, of="bid")).insert()
    assert 1.0 == (await call(Price).latest(Side.BID)).amount

    assert await call(Price).latest("$ne") is None


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c(Price).latest(True), "expected"),
        (lambda c: c(Price).latest(["X"]), "expected"),
        (lambda c: c(Price).latest(Q.symbol), "expected"),
        (lambda c: c(Price).as_of("X", "now"), "Price.as_of: expected known_at as a datetime"),
        (lambda c: c(Price).as_of("X", NOON, "2024"), "Price.as_of: expected a TimeFrame as frame"),
        (lambda c: c(Price).as_of("X", limit=5), "Price.as_of: expected options of an aggregate"),
        (lambda c: c(Reading).latest(5, known_at=NOON), "names no _known_at_field"),
        (lambda c: c(TimedFrame).latest(), "expected a class with _time_field"),
        (
            lambda c: c(Price).as_of("X", projection={"tags": {"$slice": 2}}),
            r"Price.tags: expected a projection for an aggregate, got \$slice",
        ),
    ],
)
async def test_questions_that_are_none(
    call: Runtime, commands: Commands, ask: Any, message: str
) -> None:
    """What cannot be asked is refused before anything is sent."""
    with pytest.raises((QueryError, loom.ProjectionError), match=message):
        await ask(call)

    assert [] == commands.names


async def test_moments_without_a_symbol(call: Runtime) -> None:
    """Where all documents tell of one thing no symbol is asked for."""

    class Tide(TimedFrame):
        _time_field = "ts"
        _known_at_field = "told"

        ts: datetime
        told: TimeInserted
        metres: float

    await call(Tide).insert_many(
        [
            {"ts": NOON, "told": NOON, "metres": 1.0},
            {"ts": NOON, "told": NOON + HOUR, "metres": 1.1},
            {"ts": NOON + HOUR, "told": NOON + 2 * HOUR, "metres": 1.2},
        ]
    )
    assert [1.0] == [t.metres for t in await call(Tide).as_of(known_at=NOON)]
    assert [1.1, 1.2] == [t.metres for t in await call(Tide).as_of()]
    with pytest.raises(QueryError, match="expected a filter, because the class names no"):
        await call(Tide).latest("X")


# Ledgers


class Ticket(LedgerMoment):
    """A price that is never changed."""

    amount: float


class Joined(Moment, LedgerFrame):
    """The same, put together by hand."""

    amount: float


@pytest.mark.parametrize("cls", [Ticket, Joined])
async def test_corrections_are_added(call: Runtime, cls: Any) -> None:
    """A saved correction is another document, known from then on; nothing is changed."""
    one = cls(symbol="X", time=NOON, amount=1.0, known_at=NOON + HOUR)
    await call(one).save()
    one.amount = 1.5
    await call(one).save()
    assert one.known_at > NOON + HOUR
    late = one.known_at = NOON + 2 * HOUR
    one.amount = 1.2
    await call(one).save()

    assert [1.0, 1.5, 1.2] == [found.amount for found in await call(cls).many(sort="_id")]
    assert 1.5 == (await call(cls).latest("X")).amount
    assert 1.2 == (await call(cls).latest("X", known_at=late)).amount
    assert 1.0 == (await call(cls).latest("X", known_at=late - timedelta(seconds=1))).amount
    for write in (call(one).update("amount"), call(one).delete()) if call.is_async else ():
        with pytest.raises(ReadOnly):
            await write
    with pytest.raises(ReadOnly):
        await call(cls).delete_where({}, all=True)


async def test_corrections_within_a_millisecond(
    call: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A correction is known after what it corrects, however quick it is, or the clock goes back."""
    clock = [NOON]
    monkeypatch.setattr("loom.frames.stamping.now", lambda: clock[0])
    one = Ticket(symbol="X", time=NOON, amount=1.0)
    told = []
    for amount, at in ((1.0, NOON), (2.0, NOON), (3.0, NOON - HOUR), (4.0, NOON + HOUR)):
        clock[0], one.amount = at, amount
        await call(one).save()
        told.append(one.known_at)
        assert [amount] == [found.amount for found in await call(Ticket).as_of("X")]
        assert amount == (await call(Ticket).latest("X")).amount
    tick = timedelta(milliseconds=1)
    assert [NOON, NOON + tick, NOON + 2 * tick, NOON + HOUR] == told
    before = one._document.copy()
    one.amount = object()  # type: ignore[assignment]
    with pytest.raises(EncodeError):
        await call(one).save()

    assert before["known_at"] == one.known_at


def test_a_stamp_without_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that give naive datetimes have corrections known after what they correct, too."""
    monkeypatch.setattr("loom.frames.stamping.now", lambda: NOON)
    one = Ticket(symbol="X", time=NOON, amount=1.0)

    naive = NOON.replace(tzinfo=None)
    assert {"known_at": NOON + timedelta(milliseconds=1)} == known_later(one, {"known_at": naive})
    assert {} == known_later(one, {"known_at": naive - timedelta(milliseconds=1)})


async def test_a_correction_that_was_not_stored(call: Runtime) -> None:
    """The frame keeps its times and its id."""
    one = Ticket(symbol="X", time=NOON, amount=1.0, known_at=NOON)
    await call(one).save()
    before = one._id, one.known_at, one.recorded
    one.amount = object()  # type: ignore[assignment]
    with pytest.raises(EncodeError):
        await call(one).save()

    assert before == (one._id, one.known_at, one.recorded)


async def test_what_is_overwritten_is_known_from_then_on(call: Runtime) -> None:
    """Where a class says so: what is known of an instant is then nothing, and nothing wrong."""

    class Draft(Moment):
        known_at: TimeUpdated
        amount: float

    draft = Draft(symbol="X", time=NOON, known_at=NOON, amount=1.0)
    await call(draft).insert()
    assert [1.0] == [one.amount for one in await call(Draft).as_of("X", NOON)]
    draft.amount = 2.0
    await call(draft).update("amount")

    assert [] == await call(Draft).as_of("X", NOON)
    assert [2.0] == [one.amount for one in await call(Draft).as_of("X", draft.known_at)]


def test_marks_of_moments() -> None:
    """`known_at` is an ordinary stamp, that a class may declare anew."""

    class Told(Moment):
        known_at: Annotated[datetime, "as the vendor says"]  # type: ignore[assignment]

    with pytest.raises(EncodeError, match=r"Told\.known_at: expected a datetime, got none"):
        Told(symbol="X", time=NOON).insert()


@pytest.mark.parametrize("missing", ["scipy", "numpy"])
def test_names_that_need_an_extra(missing: str) -> None:
    """Without it `import *` and `dir` leave them out, and asked for they say what to install."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from loom.frames.time import *\n"
        "from loom.frames import time\n"
        "Moment, LedgerMoment, DailyFrame, EASTERN_TIMEZONE, parse\n"
        "assert 'Spread' not in globals() and 'Spread' not in dir(time)\n"
        "assert {'Moment', 'HAWAII_TIMEZONE'} <= {*dir(time)}\n"
        "try: time.Spread\n"
        "except ImportError as error: print(type(error).__name__)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert "MissingExtra" == shown.strip()


def test_all_names_of_time() -> None:
    """With the extra `dir` and `import *` show everything, those not yet imported, too."""
    pytest.importorskip("scipy", reason="the extra time is not installed")
    from loom.frames import time

    names: dict[str, Any] = {}
    exec("from loom.frames.time import *", names)

    assert {*time.__all__} <= {*dir(time)} & names.keys()
    assert {"Spread", "MomentWindow", "Moment"} <= {*time.__all__}


async def test_windows_say_the_same(call: Runtime) -> None:
    """What a window of all versions shows of an instant is what the server says of it."""
    pytest.importorskip("scipy", reason="the extra time is not installed")
    from loom.frames.time import MomentWindow

    await filled(call)
    window = MomentWindow(await call(Price).many(Q.symbol == "X"))
    for hours in range(7):
        instant = NOON + hours * HOUR

        assert [*window.as_of(instant)] == await call(Price).as_of("X", instant)


async def test_moments_from_columns(call: Runtime) -> None:
    """Tables are stored as moments are: stamped, checked row by row, and upserted."""
    pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    arrow: Any = pytest.importorskip("loom.frames.arrow", reason="the extra arrow is not installed")
    arrow = arrow.aio if call.is_async else arrow

    async def write(name: str, columns: dict[str, Any], **options: Any) -> None:
        found = getattr(arrow, name)(Price, pa.table(columns), **options)
        if call.is_async:
            await found

    await write("insert_table", {"symbol": ["X", "Y"], "time": [NOON] * 2, "amount": [1.0, 2.0]})
    stamped = (await call(Price).latest("Y")).known_at
    assert stamped > NOON
    await write(
        "upsert_table",
        {"symbol": ["Y", "Z"], "time": [NOON] * 2, "amount": [3.0, 4.0]},
        on=["symbol", "time"],
    )
    found = await call(Price).many(sort="symbol")
    assert [1.0, 3.0, 4.0] == amounts(found)
    assert [stamped, True] == [found[1].known_at, found[2].known_at >= stamped]
    for columns in (
        {"symbol": ["X", None], "time": [NOON] * 2},
        {"symbol": ["X"], "amount": [1.0]},
    ):
        with pytest.raises(EncodeError, match=r"Price\.(symbol|time): expected"):
            await write("insert_table", columns)
    with pytest.raises(EncodeError, match=r"Price\.time: expected a datetime"):
        await write("upsert_table", {"symbol": ["X"], "amount": [1.0]}, on="symbol")

    assert 3 == await call(Price).count({})


async def test_the_query_log_tells_of_both(call: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    """One record for each call, under the name of the operation."""
    from loom import query_log

    caplog.set_level("DEBUG", logger="loom.query")
    query_log.start()
    try:
        await call(Price).as_of("X", NOON)
        await call(Price).latest("X")
    finally:
        query_log.stop()

    assert ["Price.as_of", "Price.one"] == [
        record.getMessage().split()[0] for record in caplog.records if record.name == "loom.query"
    ]


async def test_answers_by_the_index(call: Runtime) -> None:
    """The declared index changes no answer."""
    await filled(call)
    frame = TimeFrame(NOON, NOON + 2 * HOUR)
    asked: list[Any] = [
        ("X", NOON + hours * HOUR, of) for hours in range(7) for of in (None, frame)
    ]
    before = [await call(Price).as_of(*one) for one in asked]
    latest = [await call(Price).latest("X", known_at=one[1]) for one in asked]
    assert 1 == len(indexes.ensure(Price).created)

    assert before == [await call(Price).as_of(*one) for one in asked]
    assert latest == [await call(Price).latest("X", known_at=one[1]) for one in asked]


def test_both_runtimes_have_the_same_methods() -> None:
    """What moments have beside other frames is there to be awaited, with the same parameters."""
    added = public(Moment).keys() - public(Frame).keys() - {"symbol", "time", "known_at"}
    assert {"latest", "as_of"} <= added
    assert added == public(AwaitedMoments).keys() - public(AwaitedClass).keys()

    assert {name: shape(getattr(Moment, name)) for name in added} == {
        name: shape(getattr(AwaitedMoments, name), skip=1) for name in added
    }


def public(cls: type) -> dict[str, Any]:
    """Return the public methods of a class."""
    names = (name for name in dir(cls) if not name.startswith("_"))
    return {name: getattr(cls, name) for name in names if callable(getattr(cls, name))}


def shape(function: Any, skip: int = 0) -> list[tuple[str, Any, Any]]:
    """Return name, kind and default of the parameters."""
    parameters = [*inspect.signature(function).parameters.values()][skip:]
    return [(p.name, p.kind, p.default) for p in parameters]
