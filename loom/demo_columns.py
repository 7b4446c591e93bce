"""The parts of `loom demo` that need PyArrow, NumPy and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .demo import Airline, Flight, Weather
from .frames import Q, arrow
from .frames.time import QuarterlyFrame, TimeFrame, Trending

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["late_by_airline", "temperature_by_quarter"]

# Printed as they stand here, like those of `loom.demo`.


def late_by_airline() -> pa.Table:
    late = arrow.table(
        Flight,
        Q.departure_delay > 60,
        projection={
            "airline": {"$ref": Airline, "name": True},
            "delay": "departure_delay",
        },
    )
    return (
        late.flatten()
        .group_by("airline.name")
        .aggregate([("delay", "count"), ("delay", "mean")])
        .sort_by([("delay_count", "descending")])
    )


def temperature_by_quarter() -> list[tuple[TimeFrame, Trending]]:
    year = Weather.window("JFK", tzone="America/New_York")
    return list(Trending.over(year, QuarterlyFrame, field="temperature"))
