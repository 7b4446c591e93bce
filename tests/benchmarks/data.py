"""The documents of the benchmarks: the same in every run, and made without Loom.

Small documents have six fields, medium ones twenty, of which one is a list of ten embedded
documents. A thousand parents refer to five children each, every child to one of the homes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from bson import ObjectId

__all__ = [
    "CARRIERS",
    "CHILDREN",
    "HOMES",
    "MAKERS",
    "MEDIUM_FIELDS",
    "PARENTS",
    "PERIODS",
    "PLANES",
    "SMALL_FIELDS",
    "SPARSE",
    "id_of",
    "number_of",
]

PARENTS = 1_000
#: Each parent has five of its own, so that no side gains from fetching one only once.
CHILDREN = 5 * PARENTS
HOMES = 500
#: What flights refer to.
CARRIERS = 20
PLANES = 3_000
#: How many fields documents have of which each lacks a fifth.
SPARSE = 40

_START = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
_KINDS = {
    "small": 1,
    "medium": 2,
    "parents": 3,
    "children": 4,
    "homes": 5,
    "riders": 6,
    "trips": 7,
    "runs": 8,
    "flights": 9,
    "carriers": 10,
    "planes": 11,
    "prices": 12,
    "sparse": 13,
}


def id_of(kind: str, number: int) -> ObjectId:
    """Return the `_id` of a document, so that both sides can ask for it."""
    return ObjectId(_KINDS[kind].to_bytes(4, "big") + number.to_bytes(8, "big"))


def number_of(id: ObjectId) -> int:
    """Return which document of its collection has an `_id`."""
    return int.from_bytes(id.binary[4:], "big")


def _small(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("small", number),
        "name": f"Dragon {number}",
        "breed": ("Welsh Green", "Fire-drake", "Wyvern")[number % 3],
        "age": number % 900,
        "gold": number * 1.25,
        "awake": number % 2 == 0,
    }


def _medium(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("medium", number),
        "name": f"Dragon {number}",
        "breed": ("Welsh Green", "Fire-drake", "Wyvern")[number % 3],
        "title": f"Keeper of hoard {number}",
        "country": ("GB", "IS", "NO")[number % 3],
        "colour": ("green", "red", "gold")[number % 3],
        "age": number % 900,
        "rank": number % 50,
        "visits": number,
        "victories": number % 7,
        "weight": number * 0.5,
        "length": number * 0.25,
        "wingspan": number * 0.75,
        "gold": number * 1.25,
        "awake": number % 2 == 0,
        "hungry": number % 3 == 0,
        "rival": id_of("medium", number // 2),
        "born": _START - timedelta(days=number % 20_000),
        "seen": _START + timedelta(minutes=number),
        "loot": [
            {"what": f"Item {i}", "worth": i * 1.5, "count": number % 10 + i, "cursed": i % 2 == 0}
            for i in range(10)
        ],
    }


def _parent(number: int) -> dict[str, Any]:
    first = 5 * number
    return {
        "_id": id_of("parents", number),
        "name": f"Dragon {number}",
        "age": number % 900,
        "lair": id_of("children", first),
        "nest": id_of("children", first + 1),
        "cellar": id_of("children", first + 2),
        "hoards": [id_of("children", first + 3), id_of("children", first + 4)],
    }


def _child(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("children", number),
        "name": f"Lair {number}",
        "gold": number * 1.25,
        "home": id_of("homes", number % HOMES),
    }


def _home(number: int) -> dict[str, Any]:
    return {"_id": id_of("homes", number), "name": f"Valley {number}", "altitude": number}


def _rider(number: int) -> dict[str, Any]:
    first = 3 * number
    return {
        "_id": id_of("riders", number),
        "name": f"Rider {number}",
        "age": number % 90,
        "mount": id_of("children", first % CHILDREN),
        "mounts": [id_of("children", (first + i) % CHILDREN) for i in (1, 2)],
    }


def _run(number: int) -> dict[str, Any]:
    return {**_trip(number), "_id": id_of("runs", number)}


def _trip(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("trips", number),
        "start": _START + timedelta(minutes=number),
        "carrier": ("United", "Delta", "JetBlue")[number % 3],
        "distance": number * 0.25,
        "delay": number % 90 - 10.5,
        "price": number * 1.25,
    }


def _price(number: int) -> dict[str, Any]:
    time = _START + timedelta(minutes=number)
    return {
        "_id": id_of("prices", number),
        "symbol": "ACME",
        "time": time,
        "known_at": time,
        "amount": number * 1.25,
        "volume": number % 1000,
    }


def _sparse(number: int) -> dict[str, Any]:
    values = {f"value_{n}": number * 0.25 + n for n in range(SPARSE) if (number * 7 + n * 3) % 5}
    return {"_id": id_of("sparse", number), **values}


def _flight(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("flights", number),
        "start": _START + timedelta(minutes=number),
        "delay": number % 90 - 10.5,
        "carrier": id_of("carriers", number * 31 % CARRIERS),
        "plane": id_of("planes", number * 7_919 % PLANES),
    }


def _carrier(number: int) -> dict[str, Any]:
    return {"_id": id_of("carriers", number), "name": f"Carrier {number}", "country": "US"}


def _plane(number: int) -> dict[str, Any]:
    return {
        "_id": id_of("planes", number),
        "code": f"N{number:05}",
        "year": 1960 + number % 60,
        "seats": number % 300,
        "weight": number * 1.25,
    }


#: By collection: how one document is made of its number.
MAKERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "small": _small,
    "medium": _medium,
    "parents": _parent,
    "children": _child,
    "homes": _home,
    "trips": _trip,
    "riders": _rider,
    "runs": _run,
    "flights": _flight,
    "carriers": _carrier,
    "planes": _plane,
    "prices": _price,
    "sparse": _sparse,
}

#: Kinds of which the server makes so many documents and sends them again and again.
PERIODS = {"riders": 10_000}

SMALL_FIELDS = frozenset(_small(0)) - {"_id"}
MEDIUM_FIELDS = frozenset(_medium(0)) - {"_id"}


def documents(kind: str, count: int) -> Iterator[dict[str, Any]]:
    """Yield the first documents of a collection."""
    return map(MAKERS[kind], range(count))
