"""The keys of a sort order: their values, what comes after them, and how they are fetched."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson import Decimal128, MaxKey, MinKey, ObjectId, Regex
from bson.codec_options import CodecOptions

from loom import PageError, ProjectionError, QueryError
from loom.frames.keysets import behind, beyond, key_of, key_sort, may_tie, with_keys

KEYS = [("lair.gold", 1), ("_id", 1)]


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (None, (None, [])),
        ({"name": True}, ({"name": True, "lair.gold": True}, ["lair"])),
        ({"lair": True}, ({"lair": True}, [])),
        ({"lair.gold": True}, ({"lair.gold": True}, [])),
        (
            {"lair.name": True},
            ({"lair.name": True, "lair.gold": True}, ["lair.gold"]),
        ),
        ({"name": False}, ({"name": False}, [])),
        ({"lair": False}, (None, ["lair"])),
        ({"lair": False, "name": False}, ({"name": False}, ["lair"])),
        ({"lair.gold": False, "name": False}, ({"name": False}, ["lair.gold"])),
        ({"_id": False}, (None, ["_id"])),
        (
            {"_id": False, "name": True},
            ({"name": True, "lair.gold": True}, ["lair", "_id"]),
        ),
        ({"lair.gold.x": False}, (None, ["lair.gold.x"])),
    ],
)
def test_keys_are_fetched(driver: Any, expected: Any) -> None:
    """A projection is completed by what is sorted by, and what was added for that is known."""
    assert expected == with_keys("x", driver, KEYS)


@pytest.mark.parametrize(
    "driver", [{"lair.gold": {"$slice": 2}}, {"lair": {"$slice": 2}}, {"lair.gold.x": True}]
)
def test_keys_that_are_changed_are_refused(driver: Any) -> None:
    """A key that is fetched otherwise than it is stored cannot be found again."""
    with pytest.raises(ProjectionError, match=r"x: expected a projection that fetches 'lair.gold'"):
        with_keys("x", driver, KEYS)


def test_conditions_have_no_comparison_across_types() -> None:
    """Each test asks for one type, or lists types and single values: an index can answer it."""
    after = beyond([("a", 1)], [5], CodecOptions())
    before = beyond([("a", -1)], [5], CodecOptions())

    assert {"a": {"$gt": 5}} == after[0]
    assert {"a": {"$in": [MaxKey()]}} == after[1]
    assert "number" not in after[2]["a"]["$type"]
    assert {"a": {"$lt": 5}} == before[0]
    assert [MinKey(), [], None] == before[1]["a"]["$in"][:3]
    assert len(before) == 2


def test_regular_expressions_are_refused() -> None:
    """A stored regular expression can be compared by no query."""
    with pytest.raises(
        PageError, match=r"got Regex\('a', 0\) in the document with _id=1, which no"
    ):
        key_of("x", {"_id": 1, "age": Regex("a")}, [("age", 1)])


@pytest.mark.parametrize(
    ("collation", "equal", "different"),
    [
        ({"strength": 1}, ["a", "A", "á"], ["b", "a-", "ab"]),
        ({"strength": 2}, ["a", "A"], ["á", "b", "01"]),
        ({"strength": 2, "caseLevel": True}, ["a"], ["A"]),
        ({}, ["\u00e1", "a\u0301"], ["a", "\u00c1"]),
        ({"alternate": "shifted"}, ["a-b", "ab", "a b"], ["AB", "b"]),
        ({"numericOrdering": True}, ["a01", "a1", "a001"], ["a10", "a"]),
        ({"strength": 2}, [{"x": "a"}, {"x": "A"}], [{"x": "b"}, {"y": "a"}, 5]),
    ],
)
def test_what_a_collation_may_make_equal(
    collation: dict[str, Any], equal: list[Any], different: list[Any]
) -> None:
    """Text is compared no more exactly than by the collation, and no less without need."""
    given = {"locale": "en", **collation}

    assert all(may_tie([1, equal[0]], [1, other], given) for other in equal)
    assert not any(may_tie([1, equal[0]], [1, other], given) for other in different)
    assert not any(may_tie([1, equal[0]], [2, other], given) for other in equal)
    assert not may_tie(["a"], ["A"], {"locale": "simple"})


def test_single_values_have_nothing_of_their_type_behind_them() -> None:
    """After null and missing come the other types, and the lower ones the other way."""
    up, down = (beyond([("a", way)], [None], CodecOptions()) for way in (1, -1))

    assert [{"a": {"$in": [MaxKey()]}}, {"a": {"$in": [MinKey(), []]}}] == [up[0], down[0]]
    assert {"number", "string", "symbol", "date"} <= set(up[1]["a"]["$type"])
    assert len(down) == 1


@pytest.mark.parametrize("nan", [math.nan, Decimal128("NaN")])
def test_nan_is_the_smallest_number(nan: Any) -> None:
    """NaN is neither less nor greater than a number, but stands before all of them."""
    up, down = (beyond([("a", way)], [nan], CodecOptions()) for way in (1, -1))
    number = beyond([("a", -1)], [5], CodecOptions())

    assert {"a": {"$gte": -math.inf}} == up[0]
    assert all("$lt" not in one["a"] for one in down)
    assert math.isnan(number[1]["a"]["$in"][-1])
    assert {"$or": up} == behind([("a", 1)], [nan], CodecOptions())


def test_later_keys_decide_where_earlier_ones_are_equal() -> None:
    """There is an alternative for each key, in which all before it are equal."""
    id = ObjectId()
    found = beyond([("a", 1), ("b", -1), ("_id", -1)], ["x", 5, id], CodecOptions())

    assert {"a": {"$gt": "x"}} == found[0]
    assert {"a": {"$eq": "x"}, "b": {"$lt": 5}} in found
    assert {"a": {"$eq": "x"}, "b": {"$eq": 5}, "_id": {"$lt": id}} in found
    inclusive = beyond([("_id", 1)], [id], CodecOptions(), inclusive=True)
    assert {"_id": {"$eq": id}} == inclusive[-1]


def test_the_first_key_has_a_bound() -> None:
    """What no value of the first key can be is said in one test."""
    assert {"$not": {"$lt": 5}} == behind([("a", 1)], [5], CodecOptions())["a"]
    assert ["$or"] == list(behind([("a", 1)], [None], CodecOptions()))


def test_sort_orders() -> None:
    """`_id` is the last key, unless it is one already; only fields can be keys."""
    assert [("a", -1), ("_id", -1)] == key_sort("x", "-a")
    assert [("_id", -1)] == key_sort("x", "-_id")
    assert [("_id", 1)] == key_sort("x", None)
    with pytest.raises(QueryError, match="x: expected a sort by the values of fields"):
        key_sort("x", "$natural")


def test_values_of_keys() -> None:
    """A value is found by its path; what is missing, or no document on the way, is None."""
    keys = [("a.b", 1), ("c", 1), ("_id", 1)]

    assert [5, None, 1] == key_of("x", {"_id": 1, "a": {"b": 5}}, keys)
    assert [None, 2, 1] == key_of("x", {"_id": 1, "a": 5, "c": 2}, keys)
    assert [None, {"d": [1]}, 1] == key_of("x", {"_id": 1, "c": {"d": [1]}}, keys)
    with pytest.raises(PageError, match="got a list in the document with _id=1"):
        key_of("x", {"_id": 1, "a": [{"b": 5}]}, keys)
