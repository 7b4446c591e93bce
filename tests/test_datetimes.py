"""Datetimes on their way to the server: milliseconds, zones, and what has none."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

import loom
from loom import DefinitionError, EncodeError, Frame, Missing, Q, SubFrame
from loom.datetimes import settle_datetimes
from loom.frames import In

from .conftest import Commands, Runtime, Server
from .zoo import Lair

UTC = timezone.utc
OSLO = ZoneInfo("Europe/Oslo")
ODD = datetime(2024, 3, 10, 12, 0, 0, 123_456, tzinfo=UTC)
EVEN = datetime(2024, 3, 10, 12, 0, 0, 123_000, tzinfo=UTC)


class Anything(Frame):
    """Takes any field."""


def instant(value: datetime) -> int:
    """Return microseconds since 1970, by the clock and the offset of the zone."""
    offset = value.utcoffset() or timedelta()
    return ((value.replace(tzinfo=None) - datetime(1970, 1, 1)) - offset) // timedelta(
        microseconds=1
    )


# Milliseconds


async def test_what_you_set_is_what_you_read(call: Runtime) -> None:
    """Datetimes are cut to milliseconds in the frame itself, at any depth, on every write."""
    frame = Anything(
        a=ODD,
        b=[ODD, 1],
        c=Lair(name=ODD, inventory={"deep": [ODD]}),
        d=(ODD, "x"),
        e={"f": ODD},
        g={ODD},
        h=types.MappingProxyType({"i": ODD}),
    )
    await call(frame).insert()
    expected = {
        "a": EVEN,
        "b": [EVEN, 1],
        "c": Lair(name=EVEN, inventory={"deep": [EVEN]}),
        "d": (EVEN, "x"),
        "e": {"f": EVEN},
        "g": {EVEN},
        "h": {"i": EVEN},
    }
    found = await call(Anything).by_id(frame._id)

    assert {"_id": frame._id, **expected} == frame._document
    assert (EVEN, [EVEN, 1], [EVEN, "x"]) == (found["a"], found["b"], found["d"])

    frame["a"] = frame["z"] = ODD
    await call(frame).update("a")

    assert (EVEN, ODD) == (frame["a"], frame["z"])
    await call(Anything).update_many([frame])

    assert EVEN == frame["z"] == (await call(Anything).by_id(frame._id))["z"]


class Visit(NamedTuple):
    """A named tuple."""

    at: Any
    name: str


class At(datetime):
    """A datetime with more to it."""


class Moment(datetime, enum.Enum):
    """A datetime that is an Enum."""

    ODD = 2024, 3, 10, 12, 0, 0, 123_456


async def test_what_holds_datetimes_keeps_its_type(call: Runtime) -> None:
    """Named tuples, subclasses and frozen sets stay what they are, where that can be."""
    frame = Anything(
        a=Visit(ODD, "x"),
        b=At(2024, 3, 10, 12, 0, 0, 123_456, UTC),
        c=frozenset({ODD}),
        d=Moment.ODD,
        e=(1, (2, [ODD])),
    )
    await call(frame).insert()

    assert Visit(EVEN, "x") == frame["a"]
    assert (At, EVEN) == (type(frame["b"]), frame["b"])
    assert frozenset({EVEN}) == frame["c"]
    assert EVEN.replace(tzinfo=None) == frame["d"]
    assert (1, (2, [EVEN])) == frame["e"]


async def test_pandas_and_numpy(call: Runtime) -> None:
    """Their finer times are cut, too, and keep their type."""
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    at = "2024-03-10T12:00:00.123456789"
    summer = pd.Timestamp("2024-10-27T02:30:00.123456789").tz_localize(OSLO, ambiguous=True)
    frame = Anything(
        a=pd.Timestamp(at, tz="UTC"),
        b=np.datetime64(at),
        c=[pd.Timestamp("2024-03-10T12:00:00.123000789", tz="UTC")],
        d=summer,
        e=np.datetime64("1969-12-31T23:59:59.999999"),
    )
    given = dict(frame._document)
    await call(frame).insert()
    found = await call(Anything).by_id(frame._id)

    assert [pd.Timestamp, np.datetime64] == [type(frame["a"]), type(frame["b"])]
    assert found["a"] == frame["a"] == frame["c"][0] == found["c"][0] == EVEN
    assert np.datetime64("2024-03-10T12:00:00.123") == frame["b"]
    assert EVEN == found["b"]
    # A time that comes twice equals none of another zone, as Python has it; the instants are one.
    expected = instant(datetime(2024, 10, 27, 0, 30, 0, 123_000, UTC))
    assert expected == instant(frame["d"]) == instant(found["d"])
    assert found["e"] == datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)
    for name, value in given.items():
        assert 1 == await call(Anything).count({name: value}), name


zones = st.one_of(
    st.sampled_from([UTC, OSLO, ZoneInfo("America/St_Johns"), ZoneInfo("Australia/Lord_Howe")]),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
#: Around the ends of summer time, 1970, and anywhere.
times = st.one_of(
    st.datetimes(),
    st.datetimes(datetime(2024, 10, 27), datetime(2024, 10, 27, 4)),
    st.datetimes(datetime(2024, 3, 31), datetime(2024, 3, 31, 4)),
    st.datetimes(datetime(1969, 12, 31), datetime(1970, 1, 2)),
)


LAST = instant(datetime.max.replace(tzinfo=UTC))
FIRST = instant(datetime.min.replace(tzinfo=UTC))


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(times, st.none() | zones, st.sampled_from([0, 1]))
@example(datetime(1, 1, 1, 0, 0, 0, 1), timezone(timedelta(microseconds=1)), 0)
@example(datetime(1, 1, 1, 0, 0, 0, 1), timezone(timedelta(microseconds=2)), 0)
@example(datetime.max, timezone(timedelta(microseconds=-1)), 0)
@example(datetime(1, 1, 1), None, 0)
@example(datetime.max, None, 0)
@example(datetime(1, 1, 1, 0, 0), timezone(timedelta(microseconds=-1)), 0)
def test_any_instant_is_kept(db: str, at: datetime, zone: tzinfo | None, fold: int) -> None:
    """The frame holds the instant of the same millisecond, a load gives it, a filter finds it."""
    value = at.replace(tzinfo=zone, fold=fold)
    frame = Anything(a=value, b=[(value,)])
    if not FIRST <= instant(value) <= LAST:
        with pytest.raises(EncodeError, match=r"^Anything\.a: expected a datetime of the years"):
            frame.insert()
        return
    milliseconds = instant(value) // 1000
    frame.insert()
    found = Anything.by_id(frame._id, required=True)

    assert [milliseconds * 1000] * 4 == [
        *map(instant, (frame["a"], frame["b"][0][0], found["a"], found["b"][0][0]))
    ]
    if at > datetime(1, 1, 2):  # before the year 1 of its zone it is told in UTC
        assert (fold, zone) == (frame["a"].fold, frame["a"].tzinfo)
    for filter in (Q.a == value, In(Q.a, [value]), {"a": {"$gte": value, "$lte": value}}):
        assert Anything.exists((Q._id == frame._id) & filter)


class Unread(dict[str, Any]):
    """A document whose fields must not be looked at one by one."""

    def items(self) -> Any:
        raise AssertionError("walked")


def test_documents_without_datetimes_are_not_walked() -> None:
    """Nothing is done in Python for the values of a document, or of a list of them, without any."""
    plain = Unread(a=1, b="x", c=None, d=1.5, e=b"x", f=bson.ObjectId(), g=True)
    settle_datetimes(plain, "refuse", "Anything")
    settle_datetimes({"a": [plain, plain], "b": SubFrame(plain)}, "refuse", "Anything")
    settle_datetimes({"a": RawBSONDocument(bson.encode({"a": ODD}))}, "utc", "Anything")

    with pytest.raises(AssertionError, match="walked"):
        settle_datetimes(Unread(a=1, b=ODD), "utc", "Anything")


# Filters and zones


async def test_filters_cut_datetimes_too(call: Runtime) -> None:
    """A filter with microseconds matches what was stored from the same value."""
    await call(Anything(a=ODD)).insert()

    assert 1 == await call(Anything).count(Q.a == ODD)


def reconnected(server: Server, db: str, naive: Any) -> None:
    loom.connect(server.client, aio=server.aio, db=db, naive=naive)


async def test_naive_is_utc(call: Runtime) -> None:
    """A datetime without zone is taken as UTC."""
    frame = Anything(a=ODD.replace(tzinfo=None))
    await call(frame).insert()

    assert EVEN == (await call(Anything).by_id(frame._id))["a"]
    assert 1 == await call(Anything).count(Q.a == ODD.replace(tzinfo=None))


async def test_naive_may_be_refused(
    call: Runtime, server: Server, commands: Commands, db: str
) -> None:
    """With naive='refuse' such a value raises with its path, in writes and filters."""
    reconnected(server, db, "refuse")
    naive = ODD.replace(tzinfo=None)
    for value, path in (
        (naive, "a"),
        ([ODD, naive], "a.1"),
        ({"b": naive}, "a.b"),
        (Lair(name=naive), "a.name"),
        ((naive,), "a.0"),
        ({naive}, "a.0"),
    ):
        with pytest.raises(
            EncodeError, match=rf"^Anything\.{path}: expected a datetime with a zone"
        ):
            await call(Anything(a=value)).insert()
        with pytest.raises(EncodeError, match=rf"^Anything\.{path}: expected a datetime"):
            await call(Anything(_id=1, a=value)).update("a")
        with pytest.raises(EncodeError, match="expected a datetime with a zone"):
            await call(Anything).insert_many([{"a": 1}, {"a": value}])
    with pytest.raises(EncodeError, match="expected a datetime with a zone"):
        await call(Anything).many(Q.a > naive)
    assert [] == commands.names

    await call(Anything(a=ODD)).insert()


async def test_naive_may_mean_a_zone(call: Runtime, server: Server, db: str) -> None:
    """With a zone such a value is made aware in it, in the frame and in filters."""
    zone = timezone(timedelta(hours=2), "two")
    reconnected(server, db, zone)
    frame = Anything(a=datetime(2024, 3, 10, 12, 0), b=[datetime(2024, 3, 10, 12, 0)])
    await call(frame).insert()
    found = await call(Anything).one(Q.a == datetime(2024, 3, 10, 12, 0), required=True)

    assert datetime(2024, 3, 10, 10, 0, tzinfo=UTC) == frame["a"] == found["a"] == found["b"][0]
    assert zone is frame["a"].tzinfo


@pytest.mark.parametrize("setting", [True, False, None])
async def test_tz_aware_of_a_class(call: Runtime, setting: bool | None) -> None:
    """`_tz_aware` decides for a class; without it the client does. Assigning it later holds."""

    class Event(Frame):
        at: datetime

    await call(Event(at=ODD)).insert()
    before = (await call(Event).one()).at
    Event._tz_aware = setting
    after = (await call(Event).one()).at

    assert EVEN == before
    assert EVEN.replace(tzinfo=None if setting is False else UTC) == after


def test_ready_clients_keep_their_options(server: Server, db: str) -> None:
    """A ready client that reads naive datetimes goes on doing so, unless a class says otherwise."""

    class Event(Frame):
        at: datetime

    class Aware(Event):
        _collection = "Event"
        _tz_aware = True

    with MongoClient[dict[str, Any]](server.uri) as client:
        loom.connect(client, db=db)
        Event(at=ODD).insert()

        assert EVEN.replace(tzinfo=None) == Event.one(required=True).at
        assert EVEN == Aware.one(required=True).at


# Naive values, everywhere


NAIVE = datetime(2024, 7, 1, 12)
MEANT = datetime(2024, 7, 1, 10, tzinfo=UTC)


class Deadline(enum.Enum):
    """Times without zone."""

    NOON = NAIVE
    BOTH = (1, {"at": NAIVE})
    SET = frozenset({NAIVE})


#: What makes a value, and what is stored when it is Oslo's time.
PLACES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: NAIVE, MEANT),
    (lambda: [1, NAIVE], [1, MEANT]),
    (lambda: (NAIVE,), [MEANT]),
    (lambda: {NAIVE}, [MEANT]),
    (lambda: {"b": NAIVE}, {"b": MEANT}),
    (lambda: Lair(name=[NAIVE]), {"name": [MEANT]}),
    (lambda: types.MappingProxyType({"b": [NAIVE]}), {"b": [MEANT]}),
    (lambda: Deadline.NOON, MEANT),
    (lambda: Deadline.BOTH, [1, {"at": MEANT}]),
    (lambda: Deadline.SET, [MEANT]),
    (lambda: {Deadline.NOON}, [MEANT]),
    (lambda: Anything(_id=NAIVE), MEANT),
    (lambda: Anything(_id={"at": NAIVE}), {"at": MEANT}),
    (lambda: [Missing(None, Deadline.NOON)], [MEANT]),
]


@pytest.mark.parametrize(("value", "stored"), PLACES)
async def test_naive_in_every_place(
    call: Runtime,
    server: Server,
    commands: Commands,
    db: str,
    value: Callable[[], Any],
    stored: Any,
) -> None:
    """The setting holds for values inside others, too: in Enums, references, sets and filters."""
    reconnected(server, db, "refuse")
    for write in ("insert", "upsert"):
        with pytest.raises(EncodeError, match=r"^Anything\.a\b.*: expected a datetime with a zone"):
            await getattr(call(Anything(a=value())), write)()
    with pytest.raises(EncodeError, match=r"^Anything\.a\b.*: expected a datetime with a zone"):
        await call(Anything(_id=1, a=value())).update("a")
    with pytest.raises(EncodeError, match="expected a datetime with a zone"):
        await call(Anything).insert_many([{"a": 1}, {"a": value()}])
    with pytest.raises(EncodeError, match="expected a datetime with a zone"):
        await call(Anything).many(Q.a == value())
    assert [] == commands.names

    reconnected(server, db, OSLO)
    frame = Anything(a=value())
    await call(frame).insert()
    await call(Anything).insert_many([{"a": value()}, {"a": 0}])
    found = await call(Anything).many(Q.a == value())

    assert [stored, stored] == [f["a"] for f in found]


async def test_naive_ids(call: Runtime, server: Server, db: str) -> None:
    """A frame with a naive `_id` is the stored one, whatever is done with it."""
    reconnected(server, db, OSLO)
    await call(Anything(_id=MEANT, a=1)).insert()
    same = Anything(_id=NAIVE, a=2)

    await call(same).update("a")
    await call(Anything(_id=NAIVE, b=3)).upsert()
    await call(Anything).update_many([Anything(_id=NAIVE, c=4)])
    await call(same).reload()
    assert {"_id": MEANT, "a": 2, "b": 3, "c": 4} == same._document

    same = Anything(_id=NAIVE, a=5)
    await call(same).unset("a")
    assert not await call(Anything).exists(Q.a.exists())
    assert (await call(Anything).by_id(NAIVE))["b"] == 3
    assert 1 == len(await call(Anything).by_ids([NAIVE]))
    await call(Anything(_id=NAIVE)).delete()
    assert 0 == await call(Anything).count({})

    reconnected(server, db, "refuse")
    with pytest.raises(EncodeError, match="^Anything: expected a datetime with a zone"):
        await call(Anything(_id=NAIVE, a=2)).update("a")


async def test_numpy_has_no_zone(call: Runtime, server: Server, db: str) -> None:
    """A datetime64 is a datetime without zone."""
    np = pytest.importorskip("numpy")
    reconnected(server, db, OSLO)
    frame = Anything(a=np.datetime64("2024-07-01T12:00"))
    await call(frame).insert()

    assert MEANT == frame["a"] == (await call(Anything).one())["a"]

    reconnected(server, db, "refuse")
    with pytest.raises(EncodeError, match=r"^Anything\.b\.0: expected a datetime with a zone"):
        await call(Anything(b=[np.datetime64("2024-07-01T12:00")])).insert()


async def test_the_setting_of_a_connection_may_change(
    call: Runtime, server: Server, db: str
) -> None:
    """Assigning `naive` to the connection holds at once."""
    connection = loom.connect(server.client, aio=server.aio, db=db)
    await call(Anything(_id=1, a=Deadline.NOON)).insert()
    connection.naive = OSLO
    await call(Anything(_id=2, a=Deadline.NOON)).insert()

    found = await call(Anything).many(sort="_id")
    assert [NAIVE.replace(tzinfo=UTC), MEANT] == [f["a"] for f in found]


async def test_a_zone_needs_aware_loads(call: Runtime, server: Server, db: str) -> None:
    """What is read without zone would be written as another instant: the combination is refused."""

    class Event(Frame):
        at: datetime

    reconnected(server, db, OSLO)
    await call(Event(at=NAIVE)).insert()
    Event._tz_aware = False
    with pytest.raises(DefinitionError, match=r"^Event: expected aware datetimes beside naive="):
        await call(Event).one()
    Event._tz_aware = True

    assert MEANT == (await call(Event).one()).at

    reconnected(server, db, UTC)  # what is read is what is meant
    Event._tz_aware = False
    frame = await call(Event).one()
    await call(frame).update()

    assert MEANT.replace(tzinfo=None) == (await call(Event).one()).at
