"""The order of parts: none begins before the one before it has ended."""

from __future__ import annotations

import math
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

from loom import PartitionError
from loom.frames.arrow.exact import decoded
from loom.frames.arrow.parallel.key_ranges import cuts_of
from loom.frames.arrow.parallel.part_order import Order, order_of

#: In MongoDB's order.
SORTED: list[Any] = [
    MinKey(), None, math.nan, -math.inf, Int64(-(2**63)), -1, 0.5, Decimal128("0.6"), 2**53,
    Int64(2**53 + 1), math.inf, "", "a", "a\0", "b", "é", {}, {"b": 1}, {"a": "x"}, {"a": {}},
    {"a": [1]}, {"a": [1, 2]}, b"", b"z", Binary(b"a", 5), b"zz", ObjectId(b"a" * 12),
    ObjectId(b"b" * 12), False, True, DatetimeMS(-1), DatetimeMS(2**62), Timestamp(1, 2),
    Timestamp(2, 1), MaxKey(),
]  # fmt: skip


def packed(*keys: Any) -> list[bytes]:
    """Return keys as parts tell them."""
    return [bson.encode({"key": key, "_id": 1}) for key in keys]


def test_values_of_all_types_have_an_order() -> None:
    """Values as they are read come in MongoDB's order."""
    orders = [order_of(decoded(one)[0]["key"]) for one in packed(*SORTED)]

    assert orders == sorted(orders)
    assert len(orders) == len({*map(repr, orders)})


@pytest.mark.parametrize("same", [(2, 2.0), (Int64(2), Decimal128("2.0")), (math.nan, math.nan)])
def test_equal_numbers_are_equal(same: tuple[Any, Any]) -> None:
    """Numbers are compared by what they are worth."""
    assert order_of(same[0]) == order_of(same[1])


@pytest.mark.parametrize("value", [Regex("a"), Code("x"), Code("x", {}), DBRef("a", 1)])
def test_what_has_no_known_order(value: Any) -> None:
    """What MongoDB does not document has none, within documents, too."""
    assert order_of(value) is None
    assert order_of({"a": value}) is None


@pytest.mark.parametrize(
    "told",
    [
        [(0, 1, 3), (1, 3, 9)],
        [(1, 3, 9), (0, 1, 3)],
        [(2, 5, 6), (0, 1, 2), (0, 2, 5)],
        [(0, 1, 2), (2, 1, 6)],
        [(0, 1, 2), (1, 4, 5), (0, 3, 4)],
    ],
)
def test_a_part_that_begins_too_early(told: list[tuple[int, int, int]]) -> None:
    """In whatever order parts come, two that hold the same are found."""
    order = Order("Egg", "number", 3, texts=False)
    for number, first, last in told[:-1]:
        order.add(number, *packed(first, last))
    number, *ends = told[-1]
    with pytest.raises(PartitionError, match=r"Egg: expected part \d of 3.*number=\d.*got \d"):
        order.add(number, *packed(*ends))


@pytest.mark.parametrize(
    "told",
    [
        [(0, 1, 2), (1, 3, 9)],
        [(2, 5, 6), (0, 1, 2), (0, 3, 4)],
        [(1, "b", "c"), (0, "x", "z")],
        [(0, Regex("b"), Regex("c")), (1, Regex("a"), Regex("a"))],
    ],
)
def test_parts_in_order(told: list[tuple[int, Any, Any]]) -> None:
    """What is in order, or has none that is known, is taken."""
    order = Order("Egg", "number", 3, texts=False)
    for number, first, last in told:
        order.add(number, *packed(first, last))
    order.add(2, b"", b"")


def test_text_by_its_bytes() -> None:
    """Text is held against other text where nothing but its bytes decides."""
    order = Order("Egg", "name", 2, texts=True)
    order.add(0, *packed("a", "x"))
    with pytest.raises(PartitionError, match="name='x'.*got 'b'"):
        order.add(1, *packed("b", "z"))


def test_cuts_come_in_order() -> None:
    """What a server sorts otherwise than it is compared makes no range."""
    assert [(2,), (4.0,)] == [cut.value for cut in cuts_of([1, 2, 1.5, 4.0], 4)]
    assert [("B",), ("a",), ("C",)] == [cut.value for cut in cuts_of(["A", "B", "a", "C"], 4)]
