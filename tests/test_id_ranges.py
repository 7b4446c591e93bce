"""What comes behind an `_id`, across all types that an `_id` can have."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from loom.frames.id_ranges import behind, holds_text

from .zoo import Dragon

WHEN = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
IDS: list[Any] = [
    MinKey(),
    None,
    float("nan"),
    -2.5,
    0,
    Decimal128("2.5"),
    3,
    Int64(2**40),
    "",
    "B",
    "a",
    {"a": 1},
    {"a": 1, "b": 2},
    {"b": 0},
    # Of one subtype: the embedded server does not compare different ones, as MongoDB does.
    UUID(int=7),
    UUID(int=2**100),
    ObjectId("65f000000000000000000000"),
    ObjectId("65f000000000000000000001"),
    False,
    True,
    WHEN.replace(year=1901),
    WHEN,
    Timestamp(5, 1),
    Code("x"),
    MaxKey(),
]


def stored(direction: int = 1) -> list[Any]:
    """Return the ids in the server's order."""
    found = Dragon.get_collection().find({}, {"_id": True}).sort("_id", direction)
    return [document["_id"] for document in found]


@pytest.mark.parametrize("direction", [1, -1])
def test_every_place_divides_the_order(db: str, direction: int) -> None:
    """Behind each `_id` come exactly those that a sort puts there, whatever their types."""
    Dragon.get_collection().insert_many([{"_id": id} for id in IDS])
    codecs = Dragon.get_collection().codec_options
    order = stored(direction)
    assert len(IDS) == len(order)
    for place, id in enumerate(order):
        condition = behind(id, direction, codecs)
        found = Dragon.get_collection().find(condition).sort("_id", direction)

        assert repr(order[place + 1 :]) == repr([document["_id"] for document in found]), id


def test_text_depends_on_collations() -> None:
    """Text is found wherever it is in an `_id`."""
    assert holds_text("a")
    assert holds_text({"a": [1, {"b": "c"}]})
    assert not holds_text({"a": [1, ObjectId()]})
    assert not holds_text(Decimal(1))
