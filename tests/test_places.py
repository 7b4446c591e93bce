"""Places: points in both forms, distances in metres, and what cannot be asked."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Frame, Q, QueryError
from loom.frames import Nor
from loom.frames.indexes import Index, ensure

from .conftest import Runtime

#: By their distance from Covent Garden, in metres, about.
PLACES = {
    "Covent Garden": (0, (-0.1231, 51.5121)),
    "Leicester Square": (430, (-0.1281, 51.5098)),
    "Trafalgar Square": (570, (-0.1281, 51.5080)),
    "Greenwich": (9_400, (-0.0015, 51.4778)),
    "Paris": (343_000, (2.3522, 48.8566)),
    "Sydney": (16_990_000, (151.2093, -33.8688)),
}
HERE = PLACES["Covent Garden"][1]


class Place(Frame):
    """A place on the earth."""

    _indexes = [Index("at", kind="2dsphere")]

    name: str
    at: dict


def geo(point: tuple[float, float]) -> dict[str, Any]:
    """Return a GeoJSON point."""
    return {"type": "Point", "coordinates": list(point)}


@pytest.fixture
def places(db: str) -> None:
    """Store the places, with their index."""
    ensure(Place)
    Place.insert_many([{"name": name, "at": geo(point)} for name, (_, point) in PLACES.items()])
    Place(name="nowhere").insert()


async def test_near(call: Runtime, places: None) -> None:
    """Between two distances, in metres, both ends included."""
    for low, high in [(0, 10), (0, 500), (100, 600), (500, 10_000), (None, 1_000_000), (0, None)]:
        found = await call(Place).many(Q.at.near(HERE, max_distance=high, min_distance=low))
        expected = {
            name
            for name, (metres, _) in PLACES.items()
            if (low or 0) <= metres <= (math.inf if high is None else high)
        }

        assert expected == {place.name for place in found}, (low, high)


async def test_within(call: Runtime, places: None) -> None:
    """The same places without an order, which can be counted and joined by Or."""
    for distance in (1, 500, 10_000, 1_000_000):
        filter = Q.at.within(HERE, distance)
        expected = {name for name, (metres, _) in PLACES.items() if metres <= distance}

        assert expected == {place.name for place in await call(Place).many(filter)}, distance
        assert len(expected) == await call(Place).count(filter)
        assert len(expected) + 1 == await call(Place).count(filter | (Q.name == "nowhere"))


async def test_near_cannot_be_counted(call: Runtime, places: None) -> None:
    """Counting is an aggregation, in which nothing sorts by distance; the error says what does."""
    filter = Q.at.near(HERE, max_distance=500)

    assert await call(Place).exists(filter)
    for one in (filter, filter & (Q.name != "x"), {"at": {"$near": {"$geometry": geo(HERE)}}}):
        with pytest.raises(QueryError) as caught:
            await call(Place).count(one)

        assert str(caught.value) == (
            "Place.count: expected a filter without order, got Q.at.near(...), which sorts by "
            "distance; write Q.at.within(point, metres)"
        )


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda near: near | (Q.name == "x"), "Or"),
        (lambda near: (Q.name == "x") | ((Q.name == "y") & near), "Or"),
        (lambda near: ~near, "Not"),
        (lambda near: ~(near & (Q.name == "x")), "Not"),
        (lambda near: Nor(near), "Nor"),
    ],
)
def test_near_stands_alone_or_in_and(act: Any, name: str) -> None:
    """What sorts cannot be one of several ways to match; `within` can."""
    near = Q.at.near((0, 0), max_distance=5)

    assert {"$and": [near.to_dict(), {"name": "x"}]} == (near & (Q.name == "x")).to_dict()
    assert act(Q.at.within((0, 0), 5)) is not None
    with pytest.raises(QueryError) as caught:
        act(near)
    assert str(caught.value) == (
        f"{name}: expected conditions without order, got Q.at.near((0, 0), max_distance=5), which "
        "sorts by distance; write Q.at.within(point, metres)"
    )


@given(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), st.floats(0, 1e7), st.floats(0, 1e7))
def test_both_forms_are_one(point: tuple[float, float], one: float, other: float) -> None:
    """A pair and a GeoJSON point are the same, and are sent in plain numbers."""
    low, high = sorted((one, other))
    pair = Q.at.near(point, max_distance=high, min_distance=low)

    assert pair == Q.at.near(geo(point), max_distance=high, min_distance=low)
    assert Q.at.within(list(point), high) == Q.at.within({**geo(point), "bbox": []}, high)
    assert pair.to_dict() == {
        "at": {"$nearSphere": {"$geometry": geo(point), "$maxDistance": high, "$minDistance": low}}
    }


def test_other_numbers_become_floats() -> None:
    """What is a number, of NumPy or a fraction, is sent as one."""
    condition = Q.at.near((Fraction(1, 2), 50), max_distance=Fraction(5, 2))

    assert repr(condition) == "Q.at.near((0.5, 50), max_distance=2.5)"
    assert repr(Q.at.within((1, 2), 5)) == "Q.at.within((1, 2), 5)"
    ((_, test),) = condition.to_dict().items()
    assert [0.5, 50] == test["$nearSphere"]["$geometry"]["coordinates"]
    assert [float, int] == [*map(type, test["$nearSphere"]["$geometry"]["coordinates"])]


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        (
            (51.5, -120.0),
            (
                "(longitude, latitude) with a latitude from -90 to 90, got (51.5, -120.0); is that "
                "(latitude, longitude)?"
            ),
        ),
        (
            (181, 0),
            "(longitude, latitude) with a longitude from -180 to 180, got (181, 0)",
        ),
        (
            (200, 100),
            "(longitude, latitude) with a longitude from -180 to 180, got (200, 100)",
        ),
        ((0,), "(longitude, latitude) in degrees, or a GeoJSON point, got (0,)"),
        ((0, 0, 0), "(longitude, latitude) in degrees, or a GeoJSON point, got (0, 0, 0)"),
        ("ab", "(longitude, latitude) in degrees, or a GeoJSON point, got 'ab'"),
        ((0, "1"), "(longitude, latitude) in degrees, or a GeoJSON point, got (0, '1')"),
        ((0, True), "(longitude, latitude) in degrees, or a GeoJSON point, got (0, True)"),
        ((0, math.nan), "(longitude, latitude) in degrees, or a GeoJSON point, got (0, nan)"),
        (None, "(longitude, latitude) in degrees, or a GeoJSON point, got None"),
        (
            {"type": "Point"},
            "(longitude, latitude) in degrees, or a GeoJSON point, got {'type': 'Point'}",
        ),
        (
            {"type": "Polygon", "coordinates": []},
            (
                "a GeoJSON point, {'type': 'Point', 'coordinates': [longitude, latitude]}, got "
                "{'type': 'Polygon', 'coordinates': []}"
            ),
        ),
        (
            {"$gt": ""},
            (
                "a GeoJSON point, {'type': 'Point', 'coordinates': [longitude, latitude]}, got "
                "{'$gt': ''}"
            ),
        ),
    ],
)
def test_what_is_no_point(point: Any, problem: str) -> None:
    """Each error says what is wrong with the point."""
    for name, ask in (("near", Q.at.near), ("within", lambda p: Q.at.within(p, 5))):
        with pytest.raises(QueryError) as caught:
            ask(point)

        assert f"Q.at.{name}: expected {problem}" == str(caught.value)


@pytest.mark.parametrize("metres", [-1, math.inf, math.nan, "5", True, {"$gt": 0}])
def test_what_is_no_distance(metres: Any) -> None:
    """A distance is a number of metres."""
    shown = f"in metres, 0 or more, got {metres!r}"
    with pytest.raises(QueryError) as caught:
        Q.at.near((0, 0), max_distance=metres)
    assert f"Q.at.near: expected max_distance {shown}" == str(caught.value)
    with pytest.raises(QueryError) as caught:
        Q.at.near((0, 0), min_distance=metres)
    assert f"Q.at.near: expected min_distance {shown}" == str(caught.value)
    with pytest.raises(QueryError) as caught:
        Q.at.within((0, 0), metres)
    assert f"Q.at.within: expected a distance {shown}" == str(caught.value)


def test_a_ring_without_places_is_refused() -> None:
    """A least distance above the greatest one would find nothing."""
    with pytest.raises(QueryError) as caught:
        Q.at.near((0, 0), max_distance=1, min_distance=2)

    assert str(caught.value) == (
        "Q.at.near: expected a min_distance of at most max_distance, got 2 and 1"
    )
