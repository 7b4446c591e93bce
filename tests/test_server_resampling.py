"""Resampling on the server: the same as here, to the last frame of the oddest zones."""

from __future__ import annotations

import inspect
import math
import zoneinfo
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import pytest

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
pytest.importorskip("scipy", reason="the extra time is not installed")

import numpy as np
from bson import Decimal128, Int64, MaxKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

import loom
from loom import FieldError, Frame, Q, QueryError, SchemaError, StrUpper, SubFrame
from loom.frames import arrow
from loom.frames.index import Index
from loom.frames.port import complete
from loom.frames.time import DailyFrame, HourlyFrame, Moment, MomentWindow, TimedFrame
from loom.frames.time.ranges import milliseconds
from loom.frames.time.resampling.local import edges_of, plan_of
from loom.frames.time.resampling.on_server import Moments, floor_expression, on_server
from loom.frames.time.resampling.resampled import Resampled
from tests.conftest import Commands, Runtime, Server
from tests.test_resampling import KINDS, PLACES, moments, zone_of

UTC = timezone.utc
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBERS = ["count", "first", "last", "min", "max", "sum", "mean", "std", "ohlc"]


class Price(Moment):
    """A price."""

    amount: float | None
    volume: int | None
    open: bool | None
    note: str | None


class Plain(Frame):
    """What is no moment."""

    amount: float


class Reading(TimedFrame):
    """What has neither a symbol nor a time at which it became known."""

    _time_field = "ts"

    ts: datetime
    celsius: float


def same(one: Resampled, two: Resampled, scale: float = 1.0) -> bool:
    """Tell whether two results are one, but for the rounding of sums of numbers of this size."""
    assert (one.kind, one.frames, one.n.tolist()) == (two.kind, two.frames, two.n.tolist())
    assert (list(one.columns), list(one.left_out)) == (list(two.columns), list(two.left_out))
    for field, counts in one.left_out.items():
        assert counts.tolist() == two.left_out[field].tolist()
    for name, column in one.columns.items():
        other = two[name]
        assert column.dtype == other.dtype, name
        if column.dtype.kind == "f" and name.rpartition("_")[2] in ("sum", "mean", "std"):
            np.testing.assert_allclose(column, other, rtol=0, atol=1e-13 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(np.ma.filled(column, -7), np.ma.filled(other, -7), name)
            assert np.ma.getmaskarray(column).tolist() == np.ma.getmaskarray(other).tolist()
    return True


# Which frame


def evaluated(expression: Any, time: datetime) -> Any:
    """Return what MongoDB documents for an expression, of a time."""
    if expression == "$time":
        return time
    if not isinstance(expression, dict):
        return expression
    ((operator, operands),) = expression.items()
    if operator == "$cond":
        test, then, otherwise = operands
        return evaluated(then if evaluated(test, time) else otherwise, time)
    one, two = (evaluated(operand, time) for operand in operands)
    if operator == "$lt":
        return one < two
    if operator == "$mod":
        return one % two
    assert operator == "$subtract"
    difference = one - (two if isinstance(two, datetime) else timedelta(milliseconds=two))
    return difference // timedelta(milliseconds=1) if isinstance(two, datetime) else difference


@pytest.mark.parametrize(("place", "centre"), PLACES)
@pytest.mark.parametrize(("kind", "options", "reach"), KINDS)
def test_floors_are_those_of_the_frames(
    place: str, centre: datetime, kind: Any, options: Any, reach: timedelta
) -> None:
    """The first and the last millisecond of each frame have its floor as their key."""
    frames = tuple(kind.range(centre - reach, centre + 5 * reach, zone_of(place), **options))
    expression = floor_expression(frames, "$time")

    edges = [
        NOON + timedelta(milliseconds=int(e) - milliseconds(NOON)) for e in edges_of(frames, 1000)
    ]
    for floor, ceiling in pairwise(edges):
        last = ceiling - timedelta(milliseconds=1)
        assert evaluated(expression, floor) == floor
        assert evaluated(expression, last) == floor
        assert evaluated(expression, floor + timedelta(milliseconds=1)) == floor


def test_a_century_of_hours_is_a_small_expression() -> None:
    """Hours of one length are one run, however many they are."""
    start = datetime(1975, 1, 1, tzinfo=UTC)
    frames = tuple(HourlyFrame.range(start, start + timedelta(days=3650), "America/New_York"))

    assert len(frames) == 87_600
    assert str(floor_expression(frames, "$time")).count("$mod") <= 22


# The same figures

floats = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.1, -0.1, 3, Int64(2**52)]),
    st.floats(-1e6, 1e6),
)
whole = st.one_of(st.none(), st.integers(-(2**50), 2**50), st.sampled_from([2.0, -7.0]))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=moments(), data=st.data(), ddof=st.integers(0, 2))
def test_both_sides_are_equal(db: str, drawn: Any, data: Any, ddof: int) -> None:
    """What the server computes is what is computed here, in odd zones and of odd values."""
    place, kind, options, times = drawn
    times = list(dict.fromkeys(times))  # of several at one time any may be the first
    collection = Price.get_collection()
    collection.delete_many({})
    documents = [
        {
            "symbol": "ACME",
            "time": time,
            "known_at": time,
            "amount": data.draw(floats),
            "volume": data.draw(whole),
            "open": data.draw(st.sampled_from([True, False, None])),
        }
        for time in data.draw(st.permutations(times))
    ]
    collection.insert_many(documents)

    window = MomentWindow.load(Price, Q.symbol == "ACME", tzone=zone_of(place))
    asked = {"amount": NUMBERS, "volume": NUMBERS, "open": ["mean", "last"]}
    there = window.resample(kind, asked, ddof=ddof, **options)
    here = window.resample(kind, asked, ddof=ddof, on="local", **options)

    assert (there.source, here.source) == ("server", "local")
    given_ = [d[n] for d in documents for n in ("amount", "volume", "open")]
    scale = math.fsum(abs(v) for v in given_ if v is not None and math.isfinite(v))
    assert same(there, here, scale)


@pytest.mark.parametrize(("place", "centre"), PLACES)
async def test_every_hour_around_a_change(call: Runtime, place: str, centre: datetime) -> None:
    """A moment in each ten minutes of two days lies in the same hour on both sides."""
    times = [centre + n * HOUR / 6 for n in range(-144, 144)]
    await call(Price).insert_many([price(time, amount=float(n)) for n, time in enumerate(times)])

    window = await load(call, Price, tzone=zone_of(place))
    for kind in (HourlyFrame, DailyFrame):
        there = await resample(call, window, kind, amount=["sum", "first"])
        assert there.source == "server"
        assert same(there, window.resample(kind, on="local", amount=["sum", "first"]))


def price(time: datetime, **values: Any) -> Price:
    """Return a moment."""
    return Price({"symbol": "ACME", "time": time, "known_at": time} | values)


async def load(call: Runtime, cls: Any = Price, filter: Any = None, **options: Any) -> MomentWindow:
    """Return a window, loaded blocking or awaited."""
    if call.is_async:
        return await MomentWindow.aio.load(cls, filter, **options)
    return MomentWindow.load(cls, filter, **options)


async def resample(call: Runtime, window: MomentWindow, *given: Any, **named: Any) -> Resampled:
    """Return a window resampled, blocking or awaited."""
    if call.is_async:
        return await window.aio.resample(*given, **named)
    return window.resample(*given, **named)


async def test_what_is_sent(call: Runtime, commands: Commands) -> None:
    """The ends are two queries for one document each, all figures one aggregate."""
    await call(Price).insert_many([price(NOON + n * HOUR, amount=1.0) for n in range(3)])
    window = await load(call)
    commands.clear()

    await resample(call, window, DailyFrame, amount="mean")
    assert commands.names == ["aggregate"] * 3
    commands.clear()
    found = await resample(
        call, window, DailyFrame, start=NOON, end=NOON + 60 * HOUR, amount="mean"
    )

    assert commands.names == ["aggregate"]
    assert found.n.tolist() == [3, 0, 0]
    commands.clear()
    await resample(call, window, DailyFrame, start=NOON, amount="mean")
    assert commands.names == ["aggregate"] * 2
    commands.clear()
    found = await resample(
        call, window, DailyFrame, start=NOON, end=NOON + 60 * HOUR, amount="mean"
    )
    match = commands.bodies[0]["pipeline"][0]["$match"]["time"]
    assert match == {"$gte": found.frames[0].floor, "$lt": found.frames[-1].ceiling}


# Which moments


async def test_a_part_of_a_window(call: Runtime) -> None:
    """A slice is asked for with its range of time."""
    await call(Price).insert_many([price(NOON + n * HOUR, amount=float(n)) for n in range(48)])
    window = await load(call)

    part = window.between(NOON + 5 * HOUR, NOON + 30 * HOUR)
    found = await resample(call, part, DailyFrame, amount=["first", "last"])

    assert found.source == "server"
    assert found.n.tolist() == [7, 18]
    assert same(found, part.resample(DailyFrame, on="local", amount=["first", "last"]))


async def test_what_is_stored_now(call: Runtime) -> None:
    """The server computes what is stored now, also in the database that was connected then."""
    await call(Price).insert_many([price(NOON, amount=1.0), price(NOON + HOUR, amount=2.0)])
    window = await load(call)
    await call(price(NOON + 24 * HOUR, amount=9.0)).insert()

    there = await resample(call, window, DailyFrame, amount="sum")
    here = await resample(call, window, DailyFrame, amount="sum", on="local")

    assert (there["amount_sum"].tolist(), here["amount_sum"].tolist()) == ([3.0, 9.0], [3.0])


async def test_what_was_known_is_not_asked_again(call: Runtime) -> None:
    """What came after the load is in no past, and in nothing that is told as of an instant."""
    times = [NOON + n * HOUR for n in range(6)]
    await call(Price).insert_many([price(time, known_at=time, amount=1.0) for time in times])
    window = await load(call)
    cones, folds = window.sliding_time_cone(2, 2), window.folds(2, 2)
    told = [
        window.as_of(times[-1]),
        window[:4].as_of(times[3]),
        *cones[2],
        *folds[0],
        cones[3][0][:1],
    ]
    await call(price(times[1], known_at=times[-1] + HOUR, amount=99.0)).insert()

    for part in told:
        found = await resample(call, part, DailyFrame, amount="max")
        assert (found.source, found.n.sum(), found["amount_max"].max()) == ("local", len(part), 1.0)
        with pytest.raises(QueryError, match="known at an instant"):
            await resample(call, part, DailyFrame, on="server")
    assert 99.0 == (await resample(call, window, DailyFrame, amount="max"))["amount_max"].max()


async def test_filters_are_compiled(call: Runtime) -> None:
    """The filter of a window is sent as any other: text in the case in which it is stored."""

    class Tick(Moment):
        _collection = "ticks"
        symbol: Annotated[str, StrUpper]
        amount: float

    await call(Tick).insert_many(
        [Tick(symbol=name, time=NOON, amount=1.0) for name in ("acme", "bolt")]
    )
    window = await load(call, Tick, Q.symbol == "acme")

    found = await resample(call, window, DailyFrame, amount="count")

    assert (found.source, found.n.tolist()) == ("server", [1])


async def test_classes_in_one_collection(call: Runtime) -> None:
    """A class of several in a collection sees its own moments only."""

    class Quote(Moment):
        _collection = "quotes"
        _kind_field = "kind"
        _kind = "quote"
        amount: float

    class Bid(Quote):
        _kind = "bid"

    await call(Quote).insert_many([Quote(symbol="A", time=NOON, amount=1.0)])
    await call(Bid).insert_many([Bid(symbol="A", time=NOON + HOUR, amount=5.0)])
    window = await load(call, Bid)

    found = await resample(call, window, HourlyFrame, amount="sum")

    assert (found.source, found["amount_sum"].tolist()) == ("server", [5.0])


@pytest.mark.parametrize(
    "options", [{"tz_aware": False}, {"datetime_conversion": "DATETIME_MS"}], ids=str
)
async def test_clients_that_read_dates_otherwise(
    call: Runtime, server: Server, db: str, options: Any
) -> None:
    """What a client makes of dates makes no difference."""
    known = datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=700_000)
    await call(Price).insert_many([price(NOON, amount=1.0, known_at=known), price(NOON + HOUR)])
    expected = (await load(call)).resample(DailyFrame, on="local", amount=["first", "mean"])
    with MongoClient(server.uri, **options) as client, loom.using(client=client, db=db):
        found = MomentWindow.load(Price).resample(DailyFrame, amount=["first", "mean"])

    assert found.source == "server"
    assert same(found, expected)


async def test_in_a_transaction(call: Runtime) -> None:
    """In a transaction a window is asked for what the transaction has written."""
    await call(price(NOON, amount=1.0)).insert()
    transaction = loom.aio.transaction if call.is_async else loom.transaction
    if call.is_async:
        async with transaction():
            await call(price(NOON + HOUR, amount=2.0)).insert()
            found = await resample(call, await load(call), DailyFrame, amount="sum")
    else:
        with transaction():
            await call(price(NOON + HOUR, amount=2.0)).insert()
            found = await resample(call, await load(call), DailyFrame, amount="sum")

    assert (found.source, found["amount_sum"].tolist()) == ("server", [3.0])


@pytest.mark.parametrize("hint", [[("symbol", 1), ("time", 1)], "symbol_1_time_1"])
async def test_the_index_of_a_load(call: Runtime, commands: Commands, hint: Any) -> None:
    """The hint of a load is sent with what is asked later."""
    await call(price(NOON, amount=1.0)).insert()
    Price.get_collection().create_index([("symbol", 1), ("time", 1)])
    window = await load(call, filter="ACME", hint=hint)
    commands.clear()

    assert (await resample(call, window, DailyFrame)).n.tolist() == [1]
    sent = hint if isinstance(hint, str) else dict(hint)
    assert [body["hint"] for body in commands.bodies] == [sent] * 3


async def test_the_session_of_a_load(call: Runtime, server: Server) -> None:
    """The session of a load is not that of what is asked later."""
    await call(price(NOON, amount=1.0)).insert()
    if call.is_async:
        async with server.aio.start_session() as session:
            window = await load(call, session=session)
    else:
        with server.client.start_session() as session:
            window = await load(call, session=session)

    assert (await resample(call, window, DailyFrame)).source == "server"


async def test_the_connection_of_a_load(call: Runtime, server: Server, db: str) -> None:
    """A window asks the database that it came from, whatever is connected now."""
    await call(price(NOON, amount=1.0)).insert()
    window = await load(call)
    loom.connect(server.client, aio=server.aio, db=f"{db}_other")

    assert (await resample(call, window, DailyFrame)).n.tolist() == [1]
    assert await call(Price).count() == 0


async def test_fields_of_other_names(call: Runtime) -> None:
    """A class without a symbol, whose time has another name."""
    await call(Reading).insert_many([Reading(ts=NOON + n * HOUR, celsius=n / 4) for n in range(30)])
    window = await load(call, Reading)

    found = await resample(call, window, DailyFrame, celsius=NUMBERS)

    assert found.source == "server"
    assert same(found, window.resample(DailyFrame, on="local", celsius=NUMBERS), 30)


async def test_moments_of_one_time(call: Runtime) -> None:
    """Of one time, first is what was known first, on both sides."""
    known = [NOON + n * HOUR for n in (5, 1, 9, None, 3) if n is not None]
    stored = [price(NOON, amount=float(n), known_at=at) for n, at in enumerate(known)]
    await call(Price).insert_many(stored)
    window = await load(call)

    for on in ("server", "local"):
        found = await resample(call, window, DailyFrame, on=on, amount=["first", "last"])
        assert [column.tolist() for column in found.columns.values()] == [[1.0], [2.0]]


async def test_no_moments(call: Runtime) -> None:
    """Of nothing there are no frames; with both ends there are, and they are empty."""
    window = await load(call)
    ends = {"start": NOON, "end": NOON + 48 * HOUR}

    for on in ("server", "local"):
        assert len(await resample(call, window, DailyFrame, on=on, amount=NUMBERS)) == 0
        found = await resample(call, window, DailyFrame, on=on, amount=NUMBERS, **ends)
        assert (found.n.tolist(), len(found)) == ([0, 0, 0], 3)
        assert {*found[0].values.values()} == {0, None}


# What a server cannot do


async def test_what_is_computed_here(call: Runtime, commands: Commands) -> None:
    """What servers only estimate is computed here, and the result says why."""
    await call(Price).insert_many([price(NOON + n * HOUR, amount=float(n)) for n in range(4)])
    window = await load(call)
    limited = await load(call, limit=2)
    await load(call, pipeline=[{"$match": {}}], schema=arrow.schema_of(Price))
    commands.clear()

    median = await resample(call, window, DailyFrame, amount=["sum", "median"])
    assert (median.source, median["amount_median"].tolist()) == ("local", [1.5])
    assert "servers only estimate percentiles" in median.reason
    found = await resample(call, limited, DailyFrame, amount="sum")
    assert (found.n.tolist(), found.reason) == ([2], "a window that was loaded with limit=")
    part = window[::2]
    assert (await resample(call, part, DailyFrame)).n.tolist() == [2]
    assert commands.names == []
    for one, named in ((window, {"amount": "p95"}), (limited, {}), (part, {})):
        with pytest.raises(QueryError, match="expected what a server can do, got"):
            await resample(call, one, DailyFrame, on="server", **named)


async def test_decimals(call: Runtime) -> None:
    """Decimals are computed here, as floats."""

    class Quote(Moment):
        _collection = "quotes"
        amount: Decimal | None

    given = [Decimal("0.1"), Decimal("0.3"), None]
    made = [Quote(symbol="A", time=NOON + n * HOUR, amount=v) for n, v in enumerate(given)]
    await call(Quote).insert_many(made)
    asked = {"amount": ["last", "mean", "count"]}

    found = await resample(call, await load(call, Quote), DailyFrame, asked)
    assert (found.source, found.reason) == (
        "local",
        "amount: values that are no numbers of 64 bits",
    )
    assert [column.tolist() for column in found.columns.values()] == [[0.3], [0.2], [2]]
    assert same(await stored(call, Quote, None, DailyFrame, asked), found)


async def test_refusals(call: Runtime) -> None:
    """What is asked wrongly is refused before anything is sent."""
    await call(price(NOON, amount=1.0, note="x")).insert()
    window = await load(call)

    with pytest.raises(QueryError, match="'local' or 'server', got 'mars'"):
        await resample(call, window, DailyFrame, on="mars")
    with pytest.raises(FieldError, match="got 'amuont'; did you mean 'amount'"):
        await resample(call, window, DailyFrame, amuont="sum")
    with pytest.raises(QueryError, match="expected numbers"):
        await resample(call, window, DailyFrame, note="sum")
    if call.is_async:
        with pytest.raises(QueryError, match="expected a window, got its class"):
            await MomentWindow.aio.resample(DailyFrame)


@pytest.mark.parametrize(
    ("field", "value", "got"),
    [
        ("amount", "12", "string"),
        ("amount", True, "bool"),
        ("amount", 2**53 + 1, "long"),
        ("amount", Decimal128("1.5"), "decimal"),
        ("volume", 2.5, "double"),
        ("volume", math.nan, "double"),
        ("volume", 2.0**63, "double"),
        ("volume", [1], "array"),
        ("open", 1, "int"),
    ],
)
async def test_values_that_do_not_fit(call: Runtime, field: str, value: Any, got: str) -> None:
    """What columns refuse is refused on the server, too, and the document is named."""
    await call(Price).insert_many([price(NOON, amount=1.0, volume=1, open=True)])
    window = await load(call)
    Price.get_collection().insert_one(
        {"_id": 7, "symbol": "ACME", "time": NOON + HOUR, field: value}
    )

    with pytest.raises(
        SchemaError, match=f"Price.{field}: .* got a value of type {got} in .*_id=7"
    ):
        await resample(call, window, HourlyFrame, {field: "mean"})
    with pytest.raises(SchemaError):
        await load(call)


async def test_values_that_a_load_leaves_out(call: Runtime) -> None:
    """Where the load put null in the place of what did not fit, so does the server."""
    values = [1.5, "x", None, 2.5]
    Price.get_collection().insert_many(
        [{"symbol": "A", "time": NOON + n * HOUR, "amount": v} for n, v in enumerate(values)]
    )
    with pytest.warns(RuntimeWarning, match="1 of amount"):
        window = await load(call, on_mismatch="null", projection=["amount"])

    found = await resample(call, window, DailyFrame, amount=["sum", "count"])

    assert found.source == "server"
    assert (found["amount_sum"].tolist(), found.left_out["amount"].tolist()) == ([4.0], [2])
    assert same(found, window.resample(DailyFrame, on="local", amount=["sum", "count"]))


async def test_several_symbols(call: Runtime) -> None:
    """A second symbol that came since is refused, as by a load."""
    await call(price(NOON, amount=1.0)).insert()
    window = await load(call)
    await call(price(NOON + HOUR, amount=1.0, symbol="BOLT")).insert()

    with pytest.raises(QueryError, match="one symbol, got several: 'ACME', 'BOLT'; choose one"):
        await resample(call, window, DailyFrame, amount="sum")


async def test_true_is_not_the_symbol_1(call: Runtime) -> None:
    """To MongoDB 1 and 1.0 are the same, and True is another; to Python they are all equal."""

    class Amount(TimedFrame):
        _time_field = "time"
        _symbol_field = "of"

        time: datetime
        of: Any
        amount: float

    async def found() -> Resampled:
        asked: Any = {"amount": "sum"}
        if call.is_async:
            return await MomentWindow.aio.load_resampled(Amount, {}, DailyFrame, asked)
        return MomentWindow.load_resampled(Amount, {}, DailyFrame, asked)

    await call(Amount).insert_many([Amount(time=NOON, of=of, amount=1.0) for of in (1, 1.0)])
    assert [2.0] == (await found())["amount_sum"].tolist()
    await call(Amount(time=NOON, of=True, amount=1.0)).insert()
    with pytest.raises(QueryError, match=r"one symbol, got several: 1(\.0)?, True; choose one"):
        await found()


async def test_a_moment_without_a_symbol(call: Runtime) -> None:
    """No symbol is one more symbol, as to a load."""
    await call(price(NOON, amount=1.0)).insert()
    window = await load(call)
    Price.get_collection().insert_one({"time": NOON + HOUR, "amount": 2.0})

    with pytest.raises(QueryError, match="one symbol, got several: None, 'ACME'"):
        await resample(call, window, DailyFrame, amount="sum")
    with pytest.raises(QueryError, match="one symbol"):
        await load(call)


@pytest.mark.parametrize("time", [None, "noon", MaxKey()])
async def test_moments_without_a_time(call: Runtime, time: Any) -> None:
    """A moment without a time that came since is refused, as by a load."""
    await call(price(NOON, amount=1.0)).insert()
    window = await load(call)
    Price.get_collection().insert_one({"symbol": "ACME", "time": time, "amount": 2.0})

    with pytest.raises(QueryError, match="expected a time for each moment, got"):
        await resample(call, window, DailyFrame, amount="sum")


# Without a window


async def stored(call: Runtime, *given: Any, **named: Any) -> Resampled:
    """Return stored moments resampled, blocking or awaited."""
    if call.is_async:
        return await MomentWindow.aio.load_resampled(*given, **named)
    return MomentWindow.load_resampled(*given, **named)


async def test_without_a_window(call: Runtime, commands: Commands) -> None:
    """What is stored is resampled by the server without being loaded."""
    await call(Price).insert_many(
        [price(NOON + n * HOUR, amount=n / 4, volume=n, symbol="AB"[n % 2]) for n in range(60)]
    )
    asked = {"amount": ["ohlc", "mean"], "volume": "sum"}
    window = await load(call, filter=Q.symbol == "A", tzone="Asia/Kathmandu")
    commands.clear()

    found = await stored(
        call, Price, Q.symbol == "A", DailyFrame, asked, tzone="Asia/Kathmandu",
        options={"comment": "days"},
    )  # fmt: skip

    assert found.source == "server"
    assert commands.names == ["aggregate"] * 3
    assert {body["comment"] for body in commands.bodies} == {"days"}
    assert same(found, window.resample(DailyFrame, asked, on="local"), 100)
    with pytest.raises(QueryError, match="one symbol, got several: 'A', 'B'"):
        await stored(call, Price, None, DailyFrame, amount="sum")


async def test_what_is_loaded_after_all(call: Runtime, commands: Commands) -> None:
    """Only the fields of percentiles are loaded, and the result says why."""
    await call(Price).insert_many([price(NOON + n * HOUR, amount=n / 4) for n in range(9)])
    commands.clear()

    found = await stored(call, Price, None, DailyFrame, amount="median")
    assert (found.source, found["amount_median"].tolist()) == ("local", [1.0])
    assert "servers only estimate percentiles" in found.reason
    assert commands.names == ["find"]
    assert {*commands.bodies[0]["projection"]} == {"symbol", "time", "known_at", "amount", "_id"}
    few = await stored(call, Price, None, DailyFrame, amount="count", options={"limit": 4})
    assert (few.source, few.n.tolist()) == ("local", [4])


async def test_what_is_asked_wrongly_of_what_is_stored(call: Runtime) -> None:
    """Fields that are none, and classes without times, are refused."""
    with pytest.raises(FieldError, match="did you mean 'amount'"):
        await stored(call, Price, None, DailyFrame, amuont="sum")
    with pytest.raises(QueryError, match="expected a class of moments"):
        await stored(call, Plain, None, DailyFrame)
    await call(price(NOON, note="x")).insert()
    with pytest.raises(QueryError, match="expected numbers"):
        await stored(call, Price, None, DailyFrame, note="sum")
    for of, options, message in (
        (
            "sum",
            {"comentt": "x"},
            "Price: expected an option, got 'comentt'; did you mean 'comment'",
        ),
        ("median", {"comentt": "x"}, "Price: expected an option, got 'comentt'"),
        ("sum", {"on_mismatch": "ignore"}, "expected on_mismatch of "),
        ("sum", ["comment"], "expected options as a dict, got "),
    ):
        with pytest.raises(QueryError, match=message):
            await stored(call, Price, None, DailyFrame, amount=of, options=options)


@pytest.mark.parametrize("name", ["resample", "load_resampled"])
def test_both_runtimes_take_the_same(name: str) -> None:
    """Blocking and awaited methods have the same signature."""
    window = MomentWindow([], Price)

    blocking, awaited = getattr(window, name), getattr(window.aio, name)
    assert inspect.signature(blocking) == inspect.signature(awaited)


class Answers:
    """A port that answers from a list: what the server of the tests cannot say."""

    def __init__(self, *documents: list[dict[str, Any]]) -> None:
        self.documents = [*documents]

    async def aggregate(self, cls: Any, stages: Any, options: Any) -> list[dict[str, Any]]:
        """Return the next answer."""
        return self.documents.pop(0)

    async def all(self, work: Any, *, ordered: bool) -> list[Any]:
        """Run one after the other."""
        return [await one for one in work]


def test_sums_that_do_not_fit() -> None:
    """MongoDB gives a sum of integers beyond 64 bits as a double, which is not exact: an error."""
    floor = milliseconds(DailyFrame(NOON).floor)
    group = {"_id": floor, "n": 2, "count0": 2, "misfit0": None, "sum0": 2.0**63}
    plan = plan_of(
        "resample", DailyFrame, {"volume": "sum"}, {}, tzone=None, start=NOON, end=NOON + HOUR
    )
    moments = Moments(Reading, {}, {}, "ts", None, None, {"volume": "int"})

    with pytest.raises(QueryError, match=r"sums that fit 64 bits, got 9.22337e\+18 for volume_sum"):
        complete(on_server(Answers([group]), moments, plan))  # type: ignore[arg-type]
    whole = Answers([{**group, "sum0": Int64(2**62)}])
    found = complete(on_server(whole, moments, plan))  # type: ignore[arg-type]
    assert found["volume_sum"].tolist() == [2**62]


@settings(max_examples=100, deadline=None)
@given(
    zone=st.sampled_from(sorted(zoneinfo.available_timezones())),
    year=st.integers(1970, 2037),
    kind=st.sampled_from(KINDS),
    data=st.data(),
)
def test_floors_in_every_zone(zone: str, year: int, kind: Any, data: Any) -> None:
    """In any zone and year the first and the last millisecond of a frame have its floor."""
    frame, options, reach = kind
    start = datetime(year, 1, 1, tzinfo=UTC)
    frames = tuple(frame.range(start, start + 40 * reach, zone, **options))
    expression = floor_expression(frames, "$time")

    for number in data.draw(st.sets(st.integers(0, len(frames) - 1), max_size=20)):
        floor, ceiling = frames[number]._start, frames[number]._end
        assert evaluated(expression, floor) == floor
        assert evaluated(expression, ceiling - timedelta(milliseconds=1)) == floor


async def test_fields_of_sub_frames(call: Runtime) -> None:
    """A field inside another is named by its path."""

    class Den(SubFrame):
        gold: int

    class Count(Moment):
        _collection = "counts"
        den: Den

    made = [Count(symbol="A", time=NOON + n * HOUR, den={"gold": 2**40 + n}) for n in range(3)]
    await call(Count).insert_many(made)
    asked = {"den.gold": ["sum", "last"]}

    found = await stored(call, Count, "A", DailyFrame, asked)
    assert (found.source, found["den.gold_last"].tolist()) == ("server", [2**40 + 2])
    window = await load(call, Count, projection=["den.gold"])
    assert same(await resample(call, window, DailyFrame, asked), found)
    assert same(await resample(call, window, DailyFrame, asked, on="local"), found)


async def test_classes_that_upgrade_are_refused(call: Runtime) -> None:
    """What a server sums up has the form that it was stored in, of which a class tells nothing."""

    class Fare(Moment):
        _collection = "fares"
        _schema_version = 2
        amount: float

        @classmethod
        def _upgrade(cls, document: dict[str, Any], version: int) -> dict[str, Any]:
            return {**document, "amount": document.pop("cents") / 100}

    await call(Fare(symbol="A", time=NOON, amount=1.5)).insert()

    with pytest.raises(QueryError, match="got a class that upgrades older ones"):
        await stored(call, Fare, "A", DailyFrame, {"amount": ["sum"]})


async def test_a_collation_is_computed_here(call: Runtime) -> None:
    """Under one a server would take ACME and acme for one symbol, which a window does not."""

    class Bid(Moment):
        _collection = "bids"
        _indexes: ClassVar = [Index("symbol", case_insensitive=True)]
        amount: float

    await call(Bid).insert_many([Bid(symbol="ACME", time=NOON, amount=1.5)])
    asked = {"amount": ["sum"]}

    found = await stored(call, Bid, "acme", DailyFrame, asked)
    assert ("local", [1.5]) == (found.source, found["amount_sum"].tolist())
    assert found.reason.startswith("a collation")
    window = await load(call, Bid, "acme")
    assert "local" == (await resample(call, window, DailyFrame, asked)).source
    exact = {"collation": None}
    assert "server" == (await stored(call, Bid, "ACME", DailyFrame, asked, options=exact)).source
    given = {"collation": {"locale": "en", "strength": 2}}
    assert "local" == (await stored(call, Price, "ACME", DailyFrame, asked, options=given)).source
    await call(Bid).insert_many([Bid(symbol="acme", time=NOON, amount=2.5)])
    with pytest.raises(QueryError, match="expected one symbol, got 2"):
        await stored(call, Bid, "acme", DailyFrame, asked)
    for symbol, amount in (("acme", 2.5), ("ACME", 1.5)):
        found = await stored(call, Bid, symbol, DailyFrame, asked, options=exact)
        assert ("server", [amount]) == (found.source, found["amount_sum"].tolist())
        window = await load(call, Bid, symbol, **exact)
        found = await resample(call, window, DailyFrame, asked)
        assert ("server", [amount]) == (found.source, found["amount_sum"].tolist())


async def test_only_what_counts_is_loaded(call: Runtime, commands: Commands) -> None:
    """What lies in no frame that is asked for is not loaded, where the server cannot compute."""
    await call(Price).insert_many([price(NOON + n * HOUR, amount=n) for n in range(96)])
    window = await load(call)
    ends = {"start": NOON + 20 * HOUR, "end": NOON + 40 * HOUR}
    commands.clear()

    for some in ({}, ends, {"start": ends["start"]}, {"end": ends["end"]}):
        found = await stored(call, Price, None, DailyFrame, {"amount": ["median", "sum"]}, **some)
        local = await resample(call, window, DailyFrame, {"amount": ["median", "sum"]}, **some)
        assert ("local", True) == (found.source, same(found, local))
    filters = [body["filter"] for body in commands.bodies]
    day = datetime(2024, 3, 11, tzinfo=UTC)
    low, high = {"$gte": day}, {"$lt": day + timedelta(days=2)}
    assert [{}, {"time": {**low, **high}}, {"time": low}, {"time": high}] == filters
    limited = {"options": {"limit": 30, "sort": "time"}}
    found = await stored(call, Price, None, DailyFrame, {"amount": ["median"]}, **ends, **limited)
    assert [18, 0] == found.n.tolist()  # of the first 30, not of those of these days
