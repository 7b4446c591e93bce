"""Places on the earth as MongoDB looks for them: tests of GeoJSON fields, distances in metres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from ..errors import QueryError

__all__ = ["near", "refuse_near", "within"]

#: The radius of the earth by which MongoDB turns metres into radians.
_RADIUS = 6_378_100.0
#: What sorts by distance.
_SORTING = frozenset(("$near", "$nearSphere"))


def near(
    point: Any, max_distance: Any, min_distance: Any, place: str
) -> tuple[dict[str, Any], str]:
    """Return the test for places around a point, the nearest first, and how it was written.

    Raises:
        QueryError: no point on the earth, or no distance.
    """
    coordinates = _coordinates(point, place)
    test: dict[str, Any] = {"$geometry": {"type": "Point", "coordinates": coordinates}}
    call = f"near({(*coordinates,)!r}"
    for name, operator, given in (
        ("max_distance", "$maxDistance", max_distance),
        ("min_distance", "$minDistance", min_distance),
    ):
        if given is not None:
            test[operator] = metres = _metres(given, name, place)
            call += f", {name}={metres!r}"
    if test.get("$minDistance", 0) > test.get("$maxDistance", math.inf):
        raise QueryError(
            f"{place}: expected a min_distance of at most max_distance, got {min_distance!r} and "
            f"{max_distance!r}"
        )
    return {"$nearSphere": test}, f"{call})"


def within(point: Any, distance: Any, place: str) -> tuple[dict[str, Any], str]:
    """Return the test for places not further away than a distance, and how it was written.

    Raises:
        QueryError: no point on the earth, or no distance.
    """
    coordinates = _coordinates(point, place)
    metres = _metres(distance, "a distance", place)
    test = {"$geoWithin": {"$centerSphere": [coordinates, metres / _RADIUS]}}
    return test, f"within({(*coordinates,)!r}, {metres!r})"


def refuse_near(place: str, filter: Mapping[str, Any]) -> None:
    """Refuse a filter that sorts by distance, where no server takes one.

    Args:
        place: of the call, for the error.
        filter: as the driver takes it.

    Raises:
        QueryError: it holds `$near` or `$nearSphere`.
    """
    for path, test in filter.items():
        if type(test) is dict and not _SORTING.isdisjoint(test):
            raise QueryError(
                f"{place}: expected a filter without order, got Q.{path}.near(...), which sorts by "
                f"distance; write Q.{path}.within(point, metres)"
            )
        if path == "$and":
            for part in test:
                refuse_near(place, part)


def _coordinates(point: Any, place: str) -> list[Any]:
    """Return the longitude and the latitude of a point."""
    pair = point
    if isinstance(point, Mapping):
        if point.get("type") != "Point":
            raise QueryError(
                f"{place}: expected a GeoJSON point, {{'type': 'Point', 'coordinates': [longitude, "
                f"latitude]}}, got {point!r}"
            )
        pair = point.get("coordinates")
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_number, pair)):
        raise QueryError(
            f"{place}: expected (longitude, latitude) in degrees, or a GeoJSON point, got {point!r}"
        )
    longitude, latitude = pair
    for name, degrees, limit in (("longitude", longitude, 180), ("latitude", latitude, 90)):
        if not -limit <= degrees <= limit:
            is_swapped = -90 <= longitude <= 90 and -180 <= latitude <= 180
            hint = "; is that (latitude, longitude)?" if is_swapped else ""
            raise QueryError(
                f"{place}: expected (longitude, latitude) with a {name} from -{limit} to {limit}, "
                f"got {point!r}{hint}"
            )
    return [*map(_plain, pair)]


def _metres(given: Any, name: str, place: str) -> Any:
    if not _is_number(given) or given < 0:
        raise QueryError(f"{place}: expected {name} in metres, 0 or more, got {given!r}")
    return _plain(given)


def _is_number(value: Any) -> bool:
    return type(value) is not bool and isinstance(value, Real) and math.isfinite(value)


def _plain(number: Any) -> Any:
    """Return a number of NumPy, or a fraction, as one that can be stored."""
    return number if type(number) in (int, float) else float(number)
