"""Windows out of queries, tables and DataFrames, and back."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import loom
from loom import FieldError, Q, QueryError, SchemaError, SubFrame, TimeFrameError
from loom.frames import arrow
from loom.frames.time import DailyFrame, Moment, MomentWindow, Spread, TimedFrame

from .conftest import Commands, Runtime, Server
from .test_window import HOUR, START, Price, Reading, Tick, price, ticks

UTC = timezone.utc


class Quote(Moment):
    """What is loaded: values of many kinds."""

    amount: float
    volume: int | None
    note: str | None
    at: datetime | None
    broker: ObjectId | None
    tags: list[str] | None


class Numbered(Quote):
    """The same collection, with ids of the user's own."""

    _collection = "Quote"

    _id: int


class Inside(SubFrame):
    """A part of a moment."""

    celsius: float
    humid: float


class Weather(TimedFrame):
    """A moment with documents inside, and names of its own."""

    _time_field = "ts"
    _symbol_field = "origin"

    ts: datetime
    origin: str
    inside: Inside


def stored(count: int = 10, **values: Any) -> list[Quote]:
    """Store moments, the last one first, and return them in the order of time."""
    quotes = [
        Quote(
            symbol="ACME",
            time=START + n * HOUR,
            known_at=START + n * HOUR,
            amount=n * 10.0,
            volume=n if n % 3 else None,
            note=f"n{n}",
            at=START if n % 2 else None,
            broker=ObjectId() if n % 4 else None,
            tags=["a", "b"][: n % 3],
        )
        for n in range(count)
    ]
    for quote in quotes:
        quote._document |= values
    Quote.insert_many(quotes[::-1])
    return quotes


async def load(call: Runtime, *args: Any, **options: Any) -> MomentWindow:
    """Return a window that was loaded, blocking or awaited."""
    if call.is_async:
        return await MomentWindow.aio.load(*args, **options)
    return MomentWindow.load(*args, **options)


async def test_a_load_has_what_many_has(call: Runtime) -> None:
    """The moments are those that `many` gives, in the order of time."""
    stored()
    found = await load(call, Quote, Q.symbol == "ACME")
    many = await call(Quote).many(Q.symbol == "ACME", sort="time")

    assert [quote._document for quote in many] == [quote._document for quote in found]
    assert many == [*found]
    assert ("ACME", 10) == (found.symbol, len(found))
    assert found == MomentWindow(many)


async def test_columns_of_a_load(call: Runtime) -> None:
    """Numbers and times are arrays of their kind, nulls are masked."""
    stored(4)
    found = await load(call, Quote)

    assert ["<f8", "<i8", "|O", "<M8[ms]"] == [
        found.values(name).dtype.str for name in ("amount", "volume", "note", "at")
    ]
    assert [None, 1, 2, None] == found.values("volume").tolist()
    assert [["a"], ["a"]] == [found[1].tags, found[1:][0].tags]
    assert 15.0 == Spread.of(found["amount"]).mean


async def test_a_loaded_window_is_pickled(call: Runtime) -> None:
    """Without what it was loaded by, and without the rest of its columns."""
    stored(200)
    part = (await load(call, Quote))[20:30]
    text = pickle.dumps(part)

    assert part == pickle.loads(text)
    assert pickle.loads(text).query is None
    assert len(text) < len(pickle.dumps(await load(call, Quote))) / 5


async def test_one_command(call: Runtime, commands: Commands) -> None:
    """A load is one query; views and moments ask for nothing."""
    stored()
    commands.clear()
    found = await load(call, Quote, Q.symbol == "ACME")
    [*found[2:5], found.latest, *found.between(START)]

    assert ["find"] == commands.names


async def test_a_projection_loads_less(call: Runtime, commands: Commands) -> None:
    """The fields that a window needs are loaded in any case."""
    stored(3)
    commands.clear()
    found = await load(call, Quote, projection=["amount"])

    assert ("symbol", "time", "known_at", "amount") == found.fields
    assert {"_id", "symbol", "time", "known_at", "amount"} == {*commands.bodies[0]["projection"]}
    assert {"symbol": "ACME", "time": START, "known_at": START, "amount": 0.0} == found[0]._document
    with pytest.raises(QueryError, match="load: expected projection as names of fields"):
        await load(call, Quote, projection="amount")


async def test_paths_are_put_in_their_places(call: Runtime) -> None:
    """A dotted path is a column, and inside a document in the moments."""
    Weather(ts=START, origin="JFK", inside=Inside(celsius=20.5, humid=0.4)).insert()
    found = await load(call, Weather, projection=["inside.celsius"])

    assert [20.5] == found.values("inside.celsius").tolist()
    assert 20.5 == found[0].inside.celsius
    assert isinstance(found[0].inside, Inside)
    whole = await load(call, Weather)
    assert [{"celsius": 20.5, "humid": 0.4}] == whole.values("inside").tolist()
    assert 0.4 == whole[0].inside.humid


async def test_several_symbols_are_counted(call: Runtime) -> None:
    """Nothing is left out of a load."""
    stored(3)
    Quote.insert_many([Quote(symbol="BETA", time=START, known_at=START)])

    with pytest.raises(QueryError, match=r"load: expected one symbol, got 2: ACME 3, BETA 1; make"):
        await load(call, Quote)
    assert 1 == len(await load(call, Quote, Q.symbol == "BETA"))


async def test_moments_without_a_time_are_counted(call: Runtime) -> None:
    """Documents that others stored may have none."""
    stored(2)
    Quote.get_collection().insert_one({"symbol": "ACME"})

    with pytest.raises(QueryError, match="expected a time for each moment, got 1 of 3 without"):
        await load(call, Quote)


async def test_late_knowledge(call: Runtime) -> None:
    """What a moment says of when it became known counts; of what says nothing nothing is guessed."""
    for late in (5, None, 0):
        document = {"symbol": "ACME", "time": START, "amount": float(late or 0)}
        if late is not None:
            document["known_at"] = START + late * HOUR
        Quote.get_collection().insert_one(document)
    whole = await load(call, Quote)
    assert [None, START, START + 5 * HOUR] == [
        known and known.replace(tzinfo=UTC) for known in whole.known.tolist()
    ]
    with pytest.raises(QueryError, match=r"as_of: .* got 1 of 3 without; .* Q\.known_at != None"):
        whole.as_of(START)
    found = await load(call, Quote, Q.known_at != None)  # noqa: E711

    assert [START, START + 5 * HOUR] == [k.replace(tzinfo=UTC) for k in found.known.tolist()]
    assert 1 == len(found.as_of(START))
    assert [5.0] == found.as_of(START + 5 * HOUR).values("amount").tolist()
    assert 1 == len((await load(call, Quote, Q.known_at == None)).as_of(START))  # noqa: E711

    class Plain(Quote):
        _collection = "Quote"
        _known_at_field = None

    assert 3 == len((await load(call, Plain)).as_of(START)) == len(await call(Plain).as_of("ACME"))


async def test_values_that_do_not_fit_are_refused(call: Runtime) -> None:
    """As columns refuse them."""
    stored(1, volume=2.5)
    with pytest.raises(SchemaError, match=r"Quote\.volume"):
        await load(call, Quote)


async def test_nothing_is_loaded_for_no_zone(call: Runtime, commands: Commands) -> None:
    """What is no zone is refused before anything is sent."""
    with pytest.raises(TimeFrameError, match="load, tzone: expected a time zone, got 'Mars'"):
        await call(Quote).window("ACME", tzone="Mars")

    assert [] == commands.names


async def test_values_that_did_not_fit_are_told(call: Runtime) -> None:
    """A load that puts null in their place says so."""
    stored(2, volume=2.5)
    with pytest.warns(RuntimeWarning, match="load: values that do not fit their column: 2 of vol"):
        found = await load(call, Quote, on_mismatch="null")

    assert [None, None] == found.values("volume").tolist()
    with pytest.warns(RuntimeWarning) as told:
        await call(Quote).window(on_mismatch="null")

    named = [Path(one.filename).parent.name for one in told]
    assert ["tests"] == named, "not a line of Loom's"


async def test_absent_is_not_null(call: Runtime) -> None:
    """A load that asks gives moments that lack what the documents lack."""
    documents = [
        {"_id": 3, "symbol": "ACME", "time": START + HOUR, "known_at": START, "volume": None},
        {"_id": 1, "symbol": "ACME", "time": START, "known_at": START, "amount": 1.0},
    ]
    Quote.get_collection().insert_many(documents)
    types = {"_id": int, "symbol": str, "time": datetime, "known_at": datetime}
    types |= {"amount": float, "volume": int}
    found = await load(call, Quote, presence=True, schema=types)

    assert documents[::-1] == [moment._document for moment in found]
    assert documents[:1] == [moment._document for moment in found[1:]]
    assert tuple(types) == found.fields


async def test_an_empty_load(call: Runtime) -> None:
    """It is a window without moments, which has its columns."""
    found = await load(call, Quote, Q.symbol == "ACME")

    assert (0, None, []) == (len(found), found.symbol, [*found])
    assert 0 == len(found.values("amount"))
    assert [] == [*found.sliding_window(3)] == [*found.sliding_time_cone(3, 3)]


async def test_other_classes_are_refused(call: Runtime) -> None:
    """Before anything is asked."""
    with pytest.raises(QueryError, match="load: expected a class of moments, got"):
        await load(call, loom.Frame)


# What was asked


async def test_a_window_remembers_its_query(call: Runtime, db: str) -> None:
    """Class, filter, options and database, so that the server can be asked again."""
    stored()
    condition = Q.amount >= 20
    found = await load(call, Quote, condition, limit=20)
    query: Any = found.query

    assert (Quote, {"amount": {"$gte": 20}}, {"limit": 20}) == query[:3]
    assert 8 == len(Quote.many(query.filter, **query.options))
    with loom.using(db="elsewhere"):
        other: Any = (await load(call, Quote)).query
    assert "elsewhere" == other.using["db"]
    assert query is copy.copy(found).query
    with loom.using(**query.using):
        assert db == Quote.get_db().name
    assert MomentWindow([price(0)]).query is None


async def test_the_query_of_a_slice(call: Runtime) -> None:
    """It has the slice's range of time, unless it cannot be told by time, or limits count."""
    stored()
    Quote.get_collection().insert_one({"symbol": "ACME", "time": START + 3 * HOUR, "amount": 1.0})
    for options in ({}, {"filter": Q.symbol == "ACME"}):
        whole = await load(call, Quote, **options)
        for start, stop in ((0, 3), (2, 5), (5, 11), (7, 7), (3, 5), (0, 0), (11, 11)):
            part: MomentWindow = whole[start:stop]
            query = part.query
            if query is None:
                assert start == stop
            else:
                assert part == MomentWindow(Quote.many(query.filter), Quote)
        assert whole[2:4].query is None  # parts two of one time
        assert whole[::2].query is None
        assert whole[:] == whole
        assert whole[:].query == whole.query
    limited = await load(call, Quote, sort="time", limit=5)
    assert limited.query is not None
    assert limited[1:3].query is None


# Tables


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_001, 253_402_300_800_000, 2**62])
def test_times_that_no_datetime_shows(milliseconds: int) -> None:
    """MongoDB keeps them; they are refused when a window is made, and counted."""
    times = pa.array([0, milliseconds, 5], pa.timestamp("ms", "UTC"))
    table = pa.table({"symbol": ["ACME"] * 3, "time": times})
    with pytest.raises(QueryError, match="from_table: .*years 1 to 9999, got 1 of 3 beyond; leave"):
        MomentWindow.from_table(Price, table)


def test_offsets_with_seconds() -> None:
    """Clocks of such an offset are read; Arrow, which does not know them, shows those of its minute."""
    zone = timezone(-timedelta(minutes=44, seconds=30))
    clocks = [datetime(2024, 3, 10, hour) for hour in (0, 12)]
    table = pa.table({"symbol": ["ACME"] * 2, "time": clocks, "amount": [1.0, 2.0]})
    window = MomentWindow.from_table(Price, table, tzone=zone)
    days = window.resample(DailyFrame, amount="sum")
    columns = [window.to_table()["time"], days.to_table()["floor"], days.to_table()["ceiling"]]

    assert [clock.replace(tzinfo=zone) for clock in clocks] == [one.time for one in window]
    assert [pa.timestamp("ms", "-00:44")] * 3 == [column.type for column in columns]
    assert [one.time for one in window] == columns[0].to_pylist()
    assert (days[0].frame.floor, days[0].frame.ceiling) == (
        *columns[1].to_pylist(),
        *columns[2].to_pylist(),
    )
    assert [3.0] == days.to_dataframe()["amount_sum"].tolist()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_tables_round_trip(db: str, zone: str) -> None:
    """A table has the moments with aware times in the zone, and makes an equal window."""
    stored()
    for found in (
        MomentWindow.load(Quote, tzone=zone),
        MomentWindow(Quote.many(), tzone=zone),
    ):
        table = found.to_table()

        assert pa.timestamp("ms", zone) == table.schema.field("time").type
        assert found == MomentWindow.from_table(Quote, table)
        assert found[2:5] == MomentWindow.from_table(Quote, found[2:5].to_table(), tzone=zone)
        assert [moment.time for moment in found] == table["time"].to_pylist()
        frame = found.to_dataframe()
        assert zone == str(frame["time"].dtype.pyarrow_dtype.tz)
        assert [moment.amount for moment in found] == frame["amount"].to_list()
        assert found == MomentWindow.from_dataframe(Quote, frame)
        polars = found.to_polars()
        assert found.values("volume").tolist() == polars["volume"].to_list()
        assert zone == polars.schema["time"].time_zone  # type: ignore[union-attr]
        assert found == MomentWindow.from_dataframe(Quote, polars)


class Bill(Moment):
    """A moment with a Decimal."""

    due: Decimal | None


def test_decimals_and_ids_come_back(db: str) -> None:
    """What MongoDB has a type of its own for goes through every kind of table, null or not."""
    Bill.insert_many(
        [
            Bill(symbol="ACME", time=START, due=due)
            for due in (Decimal("1.50"), None, Decimal("NaN"))
        ]
    )
    loaded, given = MomentWindow.load(Bill), MomentWindow(Bill.many())

    for found in (loaded, given, MomentWindow(Bill.many())[1:]):
        table = found.to_table()
        assert table.schema == loaded.to_table().schema
        for again in (
            MomentWindow.from_table(Bill, table),
            MomentWindow.from_dataframe(Bill, found.to_dataframe()),
            MomentWindow.from_dataframe(Bill, found.to_polars()),
        ):
            assert found == again
            assert found[0]._id == again[0]._id
    plain = MomentWindow([Bill(symbol="ACME", time=START, due=Decimal("1.5"))])
    assert [Decimal128("1.5")] == MomentWindow.from_table(Bill, plain.to_table()).values(
        "due"
    ).tolist()
    with pytest.raises(SchemaError, match=r"Bill\.due: expected values that Arrow has a type for"):
        MomentWindow([Bill(symbol="ACME", time=START, due="much")]).to_table()
    with pytest.raises(SchemaError, match="from_table: expected columns that Arrow can read"):
        MomentWindow.from_table(Bill, loaded.to_polars())


class Told(Moment):
    """A moment with documents inside."""

    inside: Inside
    july: Spread | None


def test_documents_inside(db: str) -> None:
    """Windows of frames and of loads are equal, and so are their tables."""
    inside, july = Inside(celsius=1.5, humid=0.5), Spread.of([1.0, 2.0])
    Told.insert_many(
        [
            Told(symbol="ACME", time=START, known_at=START, inside=inside, july=spread)
            for spread in (july, None)
        ]
    )
    loaded, given = MomentWindow.load(Told), MomentWindow(Told.many())

    assert loaded == given
    assert loaded.to_table() == given.to_table()
    assert loaded[0].july == given[0].july == july


def test_dataframes_that_are_refused() -> None:
    """Naive datetimes among others, columns that come twice, what is not collected, pointers."""
    naive = START.replace(tzinfo=None)
    frame = pd.DataFrame({"time": pd.Series([START, naive, None], dtype=object), "symbol": "ACME"})
    with pytest.raises(
        SchemaError, match="time: expected datetimes with a zone, got 1 of 2 without"
    ):
        MomentWindow.from_dataframe(Price, frame)
    twice = pd.DataFrame([[1, 2]], columns=["time", "time"])
    with pytest.raises(SchemaError, match="expected each column once, got time, time"):
        MomentWindow.from_dataframe(Price, twice)
    with pytest.raises(QueryError, match="expected a DataFrame, got LazyFrame; collect it first"):
        MomentWindow.from_dataframe(Price, pl.LazyFrame({"time": [START]}))
    objects = pl.DataFrame({"time": [START], "note": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(SchemaError, match="note: expected values that Arrow has a type for"):
        MomentWindow.from_dataframe(Price, objects)


def test_tables_share_memory(db: str) -> None:
    """A slice of a loaded window is a table without a copy of its columns."""
    stored()
    found = MomentWindow.load(Quote)[3:6]
    column = found.to_table()["amount"].chunk(0)

    assert np.shares_memory(found.values("amount"), column.to_numpy())


def rows(**columns: Any) -> Any:
    """Return a table of a symbol's moments."""
    count = len(next(iter(columns.values())))
    times = pa.array([START + n * HOUR for n in range(count)][::-1], pa.timestamp("ms", "UTC"))
    return pa.table({"symbol": ["ACME"] * count, "time": times} | columns)


def test_tables_of_others() -> None:
    """Any types of columns; further ones are kept, in the order of time."""
    table = rows(
        amount=pa.array([1.0, None, float("nan")]),
        volume=pa.array([1, 2, None], pa.int32()),
        note=pa.array(["x", "y", "x"]).dictionary_encode(),
        open=pa.array([True, None, False]),
        price=pa.array([Decimal("1.5"), None, Decimal("2.5")]),
        day=pa.array([START.date(), None, START.date()]),
        seen=pa.array([START, START, None], pa.timestamp("us", "America/New_York")),
        lists=pa.array([[1], None, []]),
    )
    found = MomentWindow.from_table(Price, table)
    document = found[-1]._document

    assert [None, 2, 1] == found.values("volume").tolist()
    assert [False, True, False] == found.values("amount").mask.tolist()
    assert np.isnan(found[0].amount)
    assert ["x", "y", "x"] == found.values("note").tolist()
    assert [False, None, True] == found.values("open").tolist()
    assert {
        "symbol": "ACME",
        "time": START + 2 * HOUR,
        "amount": 1.0,
        "volume": 1,
        "note": "x",
        "open": True,
        "price": Decimal("1.5"),
        "day": START.date(),
        "seen": START,
        "lists": [1],
    } == document
    assert table.slice(2).to_pylist()[0]["lists"] == found.first["lists"] == []


def test_views_of_tables() -> None:
    """Slices with steps, and what is chosen, have the right rows of every column."""
    table = rows(amount=[4.0, 3.0, 2.0, 1.0, 0.0], note=["e", "d", "c", "b", "a"])
    found = MomentWindow.from_table(Price, table)

    assert ["a", "c", "e"] == [m.note for m in found[::2]] == found[::2].values("note").tolist()
    assert ["b", "d"] == found[1:][::2].values("note").tolist()
    assert ["b", "d"] == found[1:][::2].to_table()["note"].to_pylist()


def test_batches_and_readers() -> None:
    """Whatever gives a stream of Arrow's is taken; chunks are one column."""
    table = rows(amount=[3.0, 2.0, 1.0])
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])

    for each in (chunked, chunked.to_reader(), pl.DataFrame(table), table.to_batches()[0]):
        assert [1.0, 2.0, 3.0] == MomentWindow.from_table(Price, each).values("amount").tolist()
    with pytest.raises(QueryError, match="from_table: expected a table of Arrow's, got list"):
        MomentWindow.from_table(Price, [1])


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 5)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_tables_and_frames_make_equal_windows(given: list[tuple[int, int | None]]) -> None:
    """Sorting, versions and nulls are the same, wherever moments come from."""
    moments = [
        price(t, volume=n, known_at=None if k is None else START + k * HOUR)
        for n, (t, k) in enumerate(given)
    ]
    instant = pa.timestamp("ms", "UTC")
    table = pa.table(
        {
            "symbol": pa.array([m.symbol for m in moments], pa.string()),
            "time": pa.array([m.time for m in moments], instant),
            "known_at": pa.array([m.known_at for m in moments], instant),
            "volume": pa.array([m.volume for m in moments], pa.int64()),
        }
    )
    one, two = MomentWindow(moments, Price), MomentWindow.from_table(Price, table)

    assert one.values("volume").tolist() == two.values("volume").tolist()
    assert one.known.tolist() == two.known.tolist()
    now = START + 3 * HOUR
    if 0 < [k for _, k in given].count(None) < len(given):
        for window in (one, two):
            with pytest.raises(QueryError, match="as_of: expected a known_at for all moments"):
                window.as_of(now)
    else:
        assert one.as_of(now).values("volume").tolist() == two.as_of(now).values("volume").tolist()


def test_times_of_tables() -> None:
    """Naive ones need a zone, finer ones and dates are refused, each with its column."""
    naive = pa.table({"time": pa.array([datetime(2024, 3, 10, 12)]), "symbol": ["ACME"]})
    with pytest.raises(SchemaError, match="from_table, time: expected instants with a zone"):
        MomentWindow.from_table(Price, naive)
    found = MomentWindow.from_table(Price, naive, tzone="America/New_York")
    assert datetime(2024, 3, 10, 16, tzinfo=UTC) == found[0].time
    assert ZoneInfo("America/New_York") == found.tzone

    fine = pa.table({"time": pa.array([1_500], pa.timestamp("us", "UTC")), "symbol": ["ACME"]})
    with pytest.raises(SchemaError, match="time: expected whole milliseconds, .*floor_temporal"):
        MomentWindow.from_table(Price, fine)
    dates = pa.table({"time": pa.array([START.date()]), "symbol": ["ACME"]})
    with pytest.raises(SchemaError, match="time: expected instants, got a column of date32"):
        MomentWindow.from_table(Price, dates)
    twice = pa.table({"time": pa.array([datetime(2024, 11, 3, 1, 30)]), "symbol": ["ACME"]})
    with pytest.raises(SchemaError, match="that the clocks of America/New_York show once"):
        MomentWindow.from_table(Price, twice, tzone="America/New_York")


def test_columns_of_tables() -> None:
    """A table needs a time, one symbol, and each name once."""
    with pytest.raises(SchemaError, match="expected a column 'time', got symbol, tiem; did you"):
        MomentWindow.from_table(Price, pa.table({"symbol": ["ACME"], "tiem": [1]}))
    table = rows(amount=[1.0, 2.0]).set_column(0, "symbol", pa.array(["A", "B"]))
    with pytest.raises(QueryError, match="expected one symbol, got 2: A 1, B 1"):
        MomentWindow.from_table(Price, table)
    with pytest.raises(SchemaError, match="expected each column once"):
        MomentWindow.from_table(Price, pa.table([["ACME"], [1], [1]], names=["symbol", "a", "a"]))
    with pytest.raises(QueryError, match="expected a class of moments"):
        MomentWindow.from_table(None, table)
    nulls = pa.table({"time": pa.array([START, None], pa.timestamp("ms", "UTC"))})
    with pytest.raises(QueryError, match="expected a time for each moment, got 1 of 2 without"):
        MomentWindow.from_table(Price, nulls)


def ids_of(*raw: bytes | None) -> Any:
    """Return ObjectIds as an array of Arrow's."""
    stored = pa.array([None if one is None else one * 12 for one in raw], pa.binary(12))
    return pa.ExtensionArray.from_storage(arrow.schema_of(Price).find("_id"), stored)


def test_symbols_of_other_types() -> None:
    """A symbol may be a number or an ObjectId, too."""
    table = rows(amount=[1.0, 2.0])
    for symbols, symbol in ((pa.array([7, 7]), 7), (ids_of(b"x", b"x"), ObjectId(b"x" * 12))):
        found = MomentWindow.from_table(Price, table.set_column(0, "symbol", symbols))

        assert symbol == found.symbol == found.latest.symbol
        assert found == MomentWindow([*found])
    three = rows(amount=[1.0] * 3).set_column(0, "symbol", ids_of(b"x", b"y", None))
    with pytest.raises(QueryError, match=r"got 3: 7878\w+ 1, 7979\w+ 1, none 1"):
        MomentWindow.from_table(Price, three)


def test_documents_as_symbols() -> None:
    """A symbol may be a struct."""
    table = rows(amount=[1.0, 2.0])
    one = table.set_column(0, "symbol", pa.array([{"id": 1}, {"id": 1}]))
    two = table.set_column(0, "symbol", pa.array([{"id": 1}, {"id": 2}]))

    assert {"id": 1} == MomentWindow.from_table(Price, one).symbol
    with pytest.raises(QueryError, match="expected one symbol, got 2"):
        MomentWindow.from_table(Price, two)


# DataFrames


def test_dataframes_of_pandas() -> None:
    """NaN stays NaN, NaT and NA are null, and an index with a name is a column."""
    frame = pd.DataFrame(
        {
            "symbol": "ACME",
            "amount": [1.5, float("nan"), 3.0],
            "volume": pd.array([1, None, 3], dtype="Int64"),
            "note": ["x", None, "z"],
            "at": pd.to_datetime(["2024-03-10T00:00:00Z", None, None], utc=True),
        },
        index=pd.date_range("2024-03-10", periods=3, freq="h", tz="UTC", name="time"),
    )
    found = MomentWindow.from_dataframe(Price, frame)

    assert ["time", "symbol"] == [*found.fields[:2]]
    assert np.isnan(found[1].amount)
    assert [1, None, 3] == found.values("volume").tolist()
    assert ["x", None, "z"] == found.values("note").tolist()
    assert [START, None, None] == [moment["at"] for moment in found]
    assert START + HOUR == found[1].time


def test_naive_dataframes() -> None:
    """Times without a zone need one."""
    frame = pd.DataFrame({"time": pd.date_range("2024-03-10", periods=2), "symbol": "ACME"})
    with pytest.raises(SchemaError, match="from_dataframe, time: expected instants with a zone"):
        MomentWindow.from_dataframe(Price, frame)

    found = MomentWindow.from_dataframe(Price, frame, tzone="UTC")
    assert timedelta(days=1) == found[1].time - found[0].time


def test_what_is_no_dataframe_is_refused() -> None:
    """Series, numbers as names."""
    with pytest.raises(QueryError, match="from_dataframe: expected a DataFrame, got Series"):
        MomentWindow.from_dataframe(Price, pd.Series([1]))
    with pytest.raises(QueryError, match="from_dataframe: expected a DataFrame, got list"):
        MomentWindow.from_dataframe(Price, [START])
    times = pd.DataFrame({"amount": [1.0]}, pd.DatetimeIndex([START]))
    with pytest.raises(SchemaError, match=r"'time', got an index .* frame.rename_axis\('time'\)"):
        MomentWindow.from_dataframe(Price, times)
    both = times.rename_axis("time").assign(time=START)
    with pytest.raises(SchemaError, match=r"time as an index, too; .*reset_index\(drop=True\)"):
        MomentWindow.from_dataframe(Price, both)
    with pytest.raises(SchemaError, match="from_dataframe, amount: expected values that Arrow has"):
        MomentWindow.from_dataframe(Price, pd.DataFrame({"time": [START], "amount": [1j]}))
    with pytest.raises(QueryError, match="MomentWindow: expected moments, got 5"):
        MomentWindow(5)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="expected columns with names of fields, got 0"):
        MomentWindow.from_dataframe(Price, pd.DataFrame([[1, 2]]))


def test_dataframes_of_polars() -> None:
    """They are taken as they are."""
    frame = pl.DataFrame(
        {"ts": [START + HOUR, START], "celsius": [1.5, None]},
        schema={"ts": pl.Datetime("ms", "UTC"), "celsius": pl.Float64},
    )
    found = MomentWindow.from_dataframe(Reading, frame)

    assert [None, 1.5] == found.values("celsius").tolist()
    assert frame.sort("ts").equals(found.to_polars())


def test_values_without_a_type_are_refused() -> None:
    """The error of a table names the field."""
    with pytest.raises(
        SchemaError, match=r"MomentWindow of Price\.other: expected values that Arr"
    ):
        MomentWindow([price(0, other=object)]).to_table()
    table = MomentWindow([price(0, _id=ObjectId(b"x" * 12)), price(1)]).to_table()
    assert [ObjectId(b"x" * 12), None] == table["_id"].to_pylist()
    assert arrow.schema_of(Price).find("_id") == table.schema.field("_id").type


# From the class


async def test_a_class_loads_windows(call: Runtime, commands: Commands) -> None:
    """A symbol and a stretch of time, or a frame; the query has one range."""
    stored(48)
    Quote.insert_many([Quote(symbol="BETA", time=START, known_at=START)])
    commands.clear()
    found = await call(Quote).window("ACME", START + 2 * HOUR, START + 4 * HOUR, tzone="Asia/Tokyo")

    assert [20.0, 30.0] == [moment.amount for moment in found]
    assert ZoneInfo("Asia/Tokyo") == found.tzone
    span = {"$gte": START + 2 * HOUR, "$lt": START + 4 * HOUR}
    assert {"symbol": "ACME", "time": span} == commands.bodies[0]["filter"] == found.query.filter
    day = DailyFrame.create(START + 30 * HOUR)
    whole = await call(Quote).window("ACME")
    assert 48 == len(whole)
    assert whole.between(day) == await call(Quote).window("ACME", day)
    assert whole[5:] == await call(Quote).window(Q.amount >= 50, end=START + 90 * HOUR)
    both = await call(Quote).window(Q.time < START + 9 * HOUR, START + 5 * HOUR)
    assert whole[5:9] == both[:]
    part = await call(Quote).window("ACME", projection=["amount"])
    assert ("symbol", "time", "known_at", "amount") == part.fields
    with pytest.raises(TimeFrameError, match="MomentWindow.load: expected a datetime with a zone"):
        await call(Quote).window("ACME", datetime(2024, 3, 10))


async def test_an_end_behind_all_times(call: Runtime) -> None:
    """`datetime.max` is an end like none; where a gap reaches up to it, the error says so."""
    stored(2)
    last = datetime.max.replace(tzinfo=UTC)
    sentinel = Quote(symbol="ACME", time=last, amount=1.0)
    await call(sentinel).insert()
    found = await call(Quote).window("ACME", START + HOUR, last)

    assert [START + HOUR, sentinel.time] == [quote.time for quote in found]
    assert 2 == len(found.between(START + HOUR, last))
    with pytest.raises(TimeFrameError, match="expected a time frame within the years 1 to 9999"):
        found[:1].gaps("1h", end=last)


async def test_starts_finer_than_milliseconds(call: Runtime) -> None:
    """What was stored before a start is not loaded, however little before."""
    stored(3)
    fine = timedelta(microseconds=1)

    assert 2 == len(await call(Quote).window("ACME", START + fine))
    assert 2 == len(await call(Quote).window("ACME", end=START + HOUR + fine))


async def test_as_of_is_what_the_server_says(call: Runtime) -> None:
    """A window knows at every instant what an aggregate over what is stored knows."""
    late = [0, 3, 1, 0, 7, 2, 5, 8, 4, 6]
    Quote.insert_many(
        [
            Quote(symbol="ACME", time=START + n % 4 * HOUR, known_at=START + (n % 4 + k) * HOUR)
            for n, k in enumerate(late)
        ]
    )
    found = await call(Quote).window("ACME")
    for hour in range(-1, 12):
        now = START + hour * HOUR

        assert await call(Quote).as_of("ACME", now) == [*found.as_of(now)]


#: Moments by hour, by delay and by the place of their id.
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=14).flatmap(
    lambda rows: st.tuples(st.just(rows), st.permutations(range(len(rows))))
)


@given(ROWS, st.integers(-2, 8), st.booleans())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_as_of_of_class_and_window(
    db: str, server: Server, told: tuple[list[tuple[int, int]], list[int]], hour: int, is_int: bool
) -> None:
    """Whatever ties and corrections came in whatever order: both know the same, in one order."""
    rows, places = told
    Quote.get_collection().delete_many({})
    documents = [
        {
            "_id": place if is_int else ObjectId(f"{place * 0x1357 % 0x100:02x}" + f"{place:022x}"),
            "symbol": "ACME",
            "time": START + at * HOUR,
            "known_at": START + (at + late) * HOUR,
            "amount": float(place),
        }
        for (at, late), place in zip(rows, places, strict=True)
    ]
    if documents:
        Quote.get_collection().insert_many(documents)
    cls = Numbered if is_int else Quote
    now = START + hour * HOUR
    run = server.loop.run_until_complete
    at_once = cls.as_of("ACME", now)
    last = {
        d["time"]: d["known_at"]
        for d in sorted(documents, key=lambda d: d["known_at"])
        if d["known_at"] <= now
    }
    expected = [d for d in documents if d["known_at"] == last.get(d["time"])]

    assert sorted(expected, key=lambda d: (d["time"], d["known_at"], d["_id"])) == [
        {name: one._document[name] for name in documents[0]} for one in at_once
    ]
    assert at_once == run(cls.aio.as_of("ACME", now))
    assert at_once == [*cls.window("ACME").as_of(now)]
    assert at_once == [*run(cls.aio.window("ACME")).as_of(now)]
    assert cls.as_of("ACME") == [*cls.window("ACME").as_of(START + 99 * HOUR)]


async def test_ties_of_a_load_go_by_their_ids(call: Runtime) -> None:
    """So a server that resamples and the window say the same of what is first and last."""
    ids = [ObjectId(f"{n:024x}") for n in (0xFF00000000, 3, 1, 0xFF000000000000, 2)]
    await call(Quote).insert_many(
        [
            Quote(_id=id, symbol="ACME", time=START, known_at=START, amount=n)
            for n, id in enumerate(ids)
        ]
        + [Quote(symbol="ACME", time=START + n * HOUR, known_at=START, amount=9.0) for n in (2, 1)]
    )
    found = await call(Quote).window("ACME")
    assert [2.0, 4.0, 1.0, 0.0, 3.0, 9.0, 9.0] == found.values("amount").tolist()
    assert sorted(ids) == found.values("_id").tolist()[:5]
    wanted = {"amount": ["first", "last"]}
    here, there = (found[:5].resample(DailyFrame, wanted, on=on) for on in ("local", None))
    assert "local" == here.source
    both = await call(MomentWindow).load_resampled(
        Quote, Q.time == START, DailyFrame, amount=["first", "last", "p50"]
    )
    assert "local" == both.source
    server = await call(MomentWindow).load_resampled(Quote, Q.time == START, DailyFrame, wanted)
    assert "server" == server.source
    for result in (here, there, both, server):
        assert [[2.0], [3.0]] == [result[f"amount_{name}"].tolist() for name in ("first", "last")]
    # Without it they are as they came, and stay so in tables.
    bare = await call(Quote).window("ACME", projection=["amount"])
    assert {*range(5)} == {*bare.values("amount").tolist()[:5]}
    table = pa.table({"time": [START] * 2, "symbol": ["X"] * 2, "_id": [2, 1]})

    assert [2, 1] == MomentWindow.from_table(Price, table).values("_id").tolist()


async def test_moments_of_several_kinds(call: Runtime) -> None:
    """What a root of kinds finds is a window, loaded as columns or made of frames."""
    await call(Tick).insert_many(ticks())
    loaded = await load(call, Tick, "A")
    made = MomentWindow(await call(Tick).many({"symbol": "A"}))

    assert Tick is made.cls is loaded.cls
    assert [*made] == [*loaded]
    assert [type(moment) for moment in made] == [type(tick) for tick in ticks()]


async def test_fields_inside_documents(call: Runtime) -> None:
    """They are those of a load by projection, whether the documents were loaded or their fields."""
    for n in range(4):
        Weather(
            ts=START + n * HOUR, origin="JFK", inside=Inside(celsius=n + 0.5, humid=0.4)
        ).insert()
    Weather(ts=START + 5 * HOUR, origin="JFK").insert()
    whole = await load(call, Weather, "JFK")
    part = await load(call, Weather, "JFK", projection=["inside.celsius"])

    for found in (whole, part):
        values = found.values("inside.celsius")
        assert ([0.5, 1.5, 2.5, 3.5, None], "f") == (values.tolist(), values.dtype.kind)
        summed = found.resample(DailyFrame, {"inside.celsius": "sum"})
        assert ("server", [8.0]) == (summed.source, summed["inside.celsius_sum"].tolist())
    with pytest.raises(FieldError, match=r"name it in projection=\['inside.humid'\]"):
        part.values("inside.humid")


async def test_a_directive_is_loaded(call: Runtime) -> None:
    """What is asked step by step is a window, as with the same filter and options."""
    stored()
    asked = Quote.filter(Q.symbol == "ACME").filter(Q.amount > 15).sort("-time").limit(5)
    found = await load(call, asked)

    assert [5.0, 6.0, 7.0, 8.0, 9.0] == (found.values("amount") / 10).tolist()
    assert found == await load(
        call, Quote, Q.symbol.is_in(["ACME"]) & (Q.amount > 15), sort="-time", limit=5
    )
    few = await load(call, Quote.filter(Q.amount > 15).project("amount"), "ACME", START + 5 * HOUR)
    assert ("symbol", "time", "known_at", "amount") == tuple(
        name for name in few.fields if name != "_id"
    )
    assert [50.0, 60.0] == few.values("amount").tolist()[:2]
    few = await load(call, Quote.filter({}).project({"amount": True}))
    assert 10 == len(few)


async def test_a_directive_is_resampled(call: Runtime) -> None:
    """The server computes it where it can; a part of the moments is loaded."""
    stored()

    async def found(of: Any, what: str = "sum", filter: Any = None) -> Any:
        asked: Any = (of, filter, DailyFrame, {"amount": what})
        if call.is_async:
            return await MomentWindow.aio.load_resampled(*asked)
        return MomentWindow.load_resampled(*asked)

    some = await found(Quote.filter(Q.amount > 15).project("amount", "note"), filter="ACME")
    assert ("server", [440.0]) == (some.source, some["amount_sum"].tolist())
    some = await found(Quote.filter(Q.amount > 15), "median")
    assert ("local", [55.0]) == (some.source, some["amount_median"].tolist())
    some = await found(Quote.filter(Q.amount > 15).sort("time").limit(2))
    assert ("local", [50.0]) == (some.source, some["amount_sum"].tolist())


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        (Quote.filter({}).unwind("tags"), {}, "expected steps that a find does.*from_table"),
        (Quote.filter({}).limit(2).sort("time"), {}, "expected steps that a find does"),
        (Quote.filter({}).limit(2), {"limit": 3}, "expected limit once"),
        (Quote.filter({}).limit(2), {"filter": "ACME"}, "before its limit"),
        (Quote.filter({}).skip(2), {"end": START}, "before its limit"),
        (Quote.filter({}).project("at"), {"projection": ["at"]}, "expected projection once"),
        (Quote.filter({}).project({"at": {"$slice": 1}}), {}, r"names of fields in project\("),
    ],
)
async def test_directives_that_are_no_windows(
    call: Runtime, asked: Any, options: Any, message: str
) -> None:
    """What a window would not be the moments of is refused before anything is sent."""
    with pytest.raises(QueryError, match=f"MomentWindow.load: .*{message}"):
        await load(call, asked, **options)


def test_a_dataframe_as_a_table() -> None:
    """Whichever way a DataFrame of pandas comes in, NaN stays NaN, and its index is a column."""
    times = pd.date_range("2024-01-01", periods=3, tz="UTC", name="time")
    frame = pd.DataFrame({"symbol": "X", "amount": [1.0, np.nan, 3.0]}, times)
    found = [
        MomentWindow.from_table(Price, frame),
        MomentWindow.from_dataframe(Price, frame),
    ]

    assert found[0] == found[1]
    assert [1.0, "nan", 3.0] == [v if v == v else "nan" for v in found[0]["amount"].values]
    assert 0 == sum(moment.amount is None for moment in found[0])
