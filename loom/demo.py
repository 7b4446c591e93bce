"""The frames of `loom demo`, and the functions that it runs and shows.

The data is that of `loom.nycflights`. After `loom demo --keep` the frames are there to go on with:

>>> from loom.demo import Flight
>>> Flight(number=1545, origin="EWR").origin
'EWR'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from .frames import Frame, Q
from .frames.time import DailyFrame, TimedFrame

__all__ = ["Airline", "Airport", "Change", "Flight", "Plane", "Weather"]


class Airline(Frame):
    """An airline; its `_id` is the carrier's code."""

    _collection = "airlines"

    _id: str
    name: str


class Airport(Frame):
    """An airport; its `_id` is the FAA's code."""

    _collection = "airports"

    _id: str
    name: str
    loc: dict[str, Any]
    altitude: int
    utc_offset: int
    dst: str
    zone: str


class Plane(Frame):
    """A plane; its `_id` is the tail number."""

    _collection = "planes"

    _id: str
    year: int
    type: str
    manufacturer: str
    model: str
    engines: int
    seats: int
    speed: int
    engine: str


class Weather(TimedFrame):
    """An hour of weather at one of the three airports."""

    _collection = "weather"
    _time_field = "time"
    _symbol_field = "origin"
    _known_at_field = None

    origin: Airport
    time: datetime
    temperature: float
    dew_point: float
    humidity: float
    wind_direction: int
    wind_speed: float
    wind_gust: float
    precipitation: float
    pressure: float
    visibility: float


class Flight(Frame):
    """A flight out of New York."""

    _collection = "flights"

    time: datetime
    airline: Airline
    number: int
    plane: Plane
    origin: Airport
    destination: Airport
    distance: int
    air_time: int
    scheduled_departure: int
    departure: int
    departure_delay: int
    scheduled_arrival: int
    arrival: int
    arrival_delay: int
    modified: datetime
    history: list[Change]


class Change(Frame):
    """What was written to a flight, and when."""

    _collection = "changes"

    at: datetime
    values: dict[str, Any]


# The parts of the demo. Each is printed as it stands here, so its lines are short and it explains
# nothing: the text around it does.


def load(
    frame_class: type[Frame],
    documents: Iterator[dict[str, Any]],
    advance: Callable[[int], None],
) -> None:
    while batch := list(islice(documents, 5_000)):
        frame_class.insert_many(batch)
        advance(len(batch))


# Partial, for the embedded server needs 20 s to write an index of 100,000 flights to the disk.
def add_index() -> None:
    Flight.get_collection().create_index(
        "departure_delay",
        partialFilterExpression=(Q.departure_delay > 60).to_dict(),
    )


def five_hours_late() -> list[Flight]:
    return Flight.many(
        Q.departure_delay > 300,
        sort="-departure_delay",
        limit=5,
    )


def one_page() -> list[Flight]:
    return Flight.many(
        Q.departure_delay > 120,
        sort="-departure_delay",
        limit=20,
        projection={
            "number": True,
            "airline": {"$ref": Airline, "name": True},
            "plane": {"$ref": Plane, "model": True},
            "origin": {"$ref": Airport, "name": True},
            "destination": {"$ref": Airport, "name": True},
        },
    )


async def log_change(frames: list[Flight], fields: tuple[str, ...]) -> None:
    changes = []
    for flight in frames:
        written = {name: flight[name] for name in fields}
        change = Change(at=datetime.now(timezone.utc), values=written)
        flight.history = [*(flight.history or []), change]
        changes.append(change)
    await Change.aio.insert_many(changes)


def forgive_the_delay(late: list[Flight]) -> None:
    Flight.listen("update", Flight.timestamp_update)
    Flight.listen("update", log_change)

    for flight in late:
        flight.departure_delay = 0
    Flight.update_many(late, "departure_delay")


def delete_history(frames: list[Flight]) -> None:
    Flight.cascade(Change, "history", frames)


def delete_them(late: list[Flight]) -> None:
    Flight.listen("deleted", delete_history)
    Flight.delete_many(late)


def the_longest_day() -> list[Weather]:
    day = DailyFrame.parse("2013-11-03", "America/New_York")
    return Weather.many(
        day.filter("time") & (Q.origin == "JFK"),
        sort="time",
        limit=4,
    )
