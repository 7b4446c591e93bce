"""References in columns: beside the frames of the same projection, and tables merged by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import loom as lm

from . import data
from .bench import Bench, Row, ratio_row
from .columns import ROWS, compare_process

__all__ = ["references"]


class Carrier(lm.Frame):
    """Who flies: there are few."""

    _collection = f"carriers_{data.CARRIERS}"

    name: str
    country: str


class Plane(lm.Frame):
    """What flies: there are some thousands."""

    _collection = f"planes_{data.PLANES}"

    code: str
    year: int
    seats: int
    weight: float


class Flight(lm.Frame):
    """One flight, with two references."""

    start: datetime
    delay: float
    carrier: Carrier
    plane: Plane


def references(bench: Bench) -> Iterator[Row]:
    """Yield how a table with two references compares with frames, and with merged DataFrames."""
    if find_spec("pymongoarrow") is None:
        return
    from pymongoarrow.api import find_pandas_all
    from pymongoarrow.schema import Schema

    from loom.frames import arrow

    size = bench.size(ROWS)
    bench.use(Flight, "flights", size)
    followed = {
        "carrier": {"$ref": Carrier, "name": True, "country": True},
        "plane": dict.fromkeys(("code", "year", "seats", "weight"), True) | {"$ref": Plane},
    }
    projection = {"_id": True, "start": True, "delay": True, **followed}

    def ours() -> Any:
        return arrow.table(Flight, projection=projection)

    def frames() -> Any:
        return Flight.many(projection=projection)

    raw = {cls: bench.collection(cls) for cls in (Flight, Carrier, Plane)}
    schemas = {
        cls: Schema({column.name: column.type for column in arrow.schema_of(cls)}) for cls in raw
    }

    def merged() -> Any:
        flights, carriers, planes = (
            find_pandas_all(raw[cls], {}, schema=schemas[cls]) for cls in (Flight, Carrier, Plane)
        )
        flights = flights.merge(carriers, left_on="carrier", right_on="_id", how="left")
        return flights.merge(planes, left_on="plane", right_on="_id", how="left")

    table, found = ours(), frames()
    assert [flight.plane.code for flight in found] == [
        row["code"] for row in table.column("plane").to_pylist()
    ]
    assert table.num_rows == len(merged())
    rounds = bench.rounds(7)
    case = f"table(), 2 references, {size:,}"
    yield ratio_row(f"{case}, to many()", compare_process(ours, frames, max(2, rounds // 2)), 0.25)
    yield ratio_row(f"{case}, to DataFrames merged", compare_process(ours, merged, rounds), 0.15)
    plain = ["_id", "start", "delay", "carrier", "plane"]
    found = compare_process(ours, lambda: arrow.table(Flight, projection=plain), rounds)
    yield ratio_row(f"{case}, to their ids", found, 2.10)
