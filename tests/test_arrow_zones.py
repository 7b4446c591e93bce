"""Zones of instants in columns."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import ObjectId

from loom import Frame, QueryError, SubFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from loom.frames import arrow
from loom.frames.arrow.zones import zone_name

from .conftest import Commands, Runtime

BERLIN = ZoneInfo("Europe/Berlin")
#: Both are half past two on the clocks of Berlin.
TWICE = [datetime(2024, 10, 27, hour, 30, tzinfo=timezone.utc) for hour in (0, 1)]


class Visit(SubFrame):
    """Something that happened."""

    when: datetime
    by: ObjectId


class Guest(Frame):
    """A document of these tests."""

    _id: int
    born: datetime
    seen: list[datetime]
    visit: Visit
    visits: dict[str, Visit]


def stored() -> list[dict[str, Any]]:
    """Store documents, and return them."""
    visits = [{"when": when, "by": ObjectId("65f000000000000000000001")} for when in TWICE]
    rows = [
        {"_id": n, "born": when, "seen": [when, None], "visit": visit, "visits": {"a": visit}}
        for n, (when, visit) in enumerate(zip(TWICE, visits, strict=True))
    ]
    Guest.get_collection().insert_many([*rows, {"_id": 2}])
    return rows


def seconds(value: Any) -> Any:
    """Return a value with instants as numbers: Python compares none in an hour that comes twice."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: seconds(one) for key, one in value.items()}
    return [*map(seconds, value)] if isinstance(value, (list, tuple)) else value


async def test_instants_are_the_same(call: Runtime) -> None:
    """The clocks of the zone show them, wherever they stand, also where an hour comes twice."""
    stored()
    utc = await call(arrow).table(Guest, sort="_id")
    table = await call(arrow).table(Guest, sort="_id", zone="Europe/Berlin")
    at = pa.timestamp("ms", "Europe/Berlin")
    visit = pa.struct([("when", at), ("by", utc.schema.field("visit").type.field("by").type)])

    assert [at, pa.list_(at), visit, pa.map_(pa.string(), visit)] == table.schema.types[1:]
    assert utc["born"].cast(pa.int64()) == table["born"].cast(pa.int64())
    shown = table["born"].to_pylist()
    assert ["02:30+0200", "02:30+0100"] == [when.strftime("%H:%M%z") for when in shown[:2]]
    for column in ("seen", "visit", "visits"):  # as instants
        assert seconds(utc[column].to_pylist()) == seconds(table[column].to_pylist())
    table.validate(full=True)


async def test_other_libraries(call: Runtime, tmp_path: Path) -> None:
    """pandas, Polars and files have the zone; arrays of NumPy have none, and stay in UTC."""
    stored()
    how: dict[str, Any] = {"sort": "_id", "zone": BERLIN, "projection": ["born"], "limit": 2}
    frame = await call(arrow).dataframe(Guest, **how)
    polars = await call(arrow).polars(Guest, **how)
    arrays = await call(arrow).numpy(Guest, **how)
    path = tmp_path / "guests.parquet"
    await call(arrow).to_parquet(Guest, path, ids="hex", **how)

    assert "timestamp[ms, tz=Europe/Berlin][pyarrow]" == str(frame["born"].dtype)
    assert seconds(TWICE) == seconds(frame["born"].tolist())
    assert seconds(TWICE) == seconds(polars["born"].to_list())
    assert [2, 2] == [when.hour for when in frame["born"]] == polars["born"].dt.hour().to_list()
    assert "Europe/Berlin" == polars.schema["born"].time_zone
    assert np.datetime64("2024-10-27T00:30:00.000") == arrays["born"][0]
    assert pa.timestamp("ms", "Europe/Berlin") == pq.read_schema(path).field("born").type
    assert seconds(TWICE) == seconds(pq.read_table(path)["born"].to_pylist())


async def test_columns_with_their_own_zone(call: Runtime) -> None:
    """What a schema says of a column goes before the zone of the call."""
    stored()
    tokyo, plain = pa.timestamp("ms", "Asia/Tokyo"), pa.timestamp("ms")
    table = await call(arrow).table(
        Guest,
        projection={"tokyo": "born", "plain": "born", "there": "born"},
        schema={"tokyo": tokyo, "plain": plain},
        zone="Europe/Berlin",
        ids="hex",
        presence=True,
    )

    assert [tokyo, plain, pa.timestamp("ms", "Europe/Berlin")] == table.schema.types[:3]


async def test_zones_and_ids(call: Runtime) -> None:
    """Both are given, one inside the other, in every batch."""
    stored()
    found = []
    if call.is_async:
        found = [
            b async for b in arrow.aio.batches(Guest, zone="Asia/Kolkata", ids="hex", batch_rows=1)
        ]
        schema = arrow.aio.batches(Guest, zone="Asia/Kolkata", ids="hex").schema
    else:
        found = [*arrow.batches(Guest, zone="Asia/Kolkata", ids="hex", batch_rows=1)]
        schema = arrow.batches(Guest, zone="Asia/Kolkata", ids="hex").schema

    assert [schema] * 3 == [batch.schema for batch in found]
    inner = pa.struct([("when", pa.timestamp("ms", "Asia/Kolkata")), ("by", pa.string())])
    assert inner == schema.field("visit").type


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("+05:30", "+05:30"),
        (timezone.utc, "UTC"),
        (timezone(timedelta(hours=-3)), "-03:00"),
        (BERLIN, "Europe/Berlin"),
        (None, None),
    ],
)
def test_names(zone: Any, name: str | None) -> None:
    """Zones are known by IANA name, and by an offset."""
    assert name == zone_name(zone, "here")


class Odd(tzinfo):
    """A zone without a name."""


@pytest.mark.parametrize(
    "zone",
    ["Nowhere/Town", "", "../etc/passwd", "+25:00", 5, timezone(timedelta(seconds=30)), Odd()],
)
async def test_what_is_no_zone(call: Runtime, commands: Commands, zone: Any) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(QueryError, match="Guest: expected zone as an IANA name"):
        await call(arrow).table(Guest, zone=zone)

    assert [] == commands.names
