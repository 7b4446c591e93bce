"""MongoDB's order of types."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy
import pytest
from bson import Binary, Decimal128, MaxKey, MinKey, ObjectId, Timestamp
from bson.codec_options import CodecOptions

from loom.encoding import codec_options
from loom.frames.type_order import EMPTY_LIST, NUMBER, ORDER, is_nan, place_of

from .zoo import Dragon

VALUES: list[Any] = [
    MinKey(),
    None,
    1,
    "a",
    {"a": 1},
    Binary(b"a"),
    ObjectId(),
    True,
    datetime(2024, 5, 1, tzinfo=timezone.utc),
    Timestamp(5, 1),
    # No code: the embedded server takes it for text, other than MongoDB.
    MaxKey(),
]


def test_every_type_has_one_place() -> None:
    """Each type of BSON is in the order, once."""
    codes = b"".join(place.codes for place in ORDER)

    assert [*range(0x01, 0x14), 0x7F, 0xFF] == sorted(codes)


def test_the_order_is_that_of_the_server(db: str) -> None:
    """A sort on the server puts values of different types where the table has them."""
    codecs = Dragon.get_collection().codec_options
    Dragon.get_collection().insert_many([{"_id": value} for value in VALUES[::-1]])
    order = [found["_id"] for found in Dragon.get_collection().find().sort("_id", 1)]

    ranks = [ORDER.index(place_of(value, codecs)) for value in order]

    assert len(VALUES) == len(order)
    assert sorted(set(ranks)) == ranks


def test_an_empty_list_comes_before_null(db: str) -> None:
    """Among fields, an empty list is sorted between the smallest key and null."""
    Dragon.get_collection().insert_many([{"a": value} for value in (None, [], MinKey())])

    order = [found["a"] for found in Dragon.get_collection().find().sort("a", 1)]

    assert [MinKey(), [], None] == order
    assert 1 == ORDER.index(EMPTY_LIST)


@pytest.mark.parametrize(
    "value", [float("nan"), Decimal128("NaN"), Decimal128("sNaN"), Decimal("NaN"), numpy.nan]
)
def test_nan_is_told(value: Any) -> None:
    """NaN of every kind of number is told from numbers."""
    assert is_nan(value)
    assert not is_nan(type(value)(1) if type(value) is not Decimal128 else Decimal128("1"))


def test_a_value_stands_where_it_would_be_stored() -> None:
    """The place is that of the stored form."""
    assert NUMBER is place_of(Decimal128("1"), CodecOptions())
    assert NUMBER is place_of(Decimal("NaN"), codec_options(CodecOptions()))
