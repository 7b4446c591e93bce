"""Ranges of keys of all types: each value is in one, and they come in MongoDB's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

from loom.frames.arrow.exact import decoded
from loom.frames.arrow.parallel.key_ranges import Cut, condition, cuts_of

from .conftest import Server


class Missing:
    """What a document that lacks the key has there."""


MISSING = Missing()

#: The order of MongoDB's documentation, told once more: what a value is, and its rank.
RANKS: list[tuple[str, Any]] = [
    ("minKey", MinKey), ("null", (type(None), Missing)),
    ("number", (int, float, Int64, Decimal128)), ("string", str), ("object", dict),
    ("binData", (bytes, Binary)), ("objectId", ObjectId), ("bool", bool), ("date", DatetimeMS),
    ("timestamp", Timestamp), ("regex", Regex), ("javascript", Code), ("maxKey", MaxKey),
]  # fmt: skip
NAMES = [name for name, _ in RANKS]


def kind_of(value: Any) -> str:
    """Return the name of a value's type, as `$type` takes it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Code):
        return "javascript" if value.scope is None else "javascriptWithScope"
    return next(name for name, types in RANKS if isinstance(value, types))


def rank(value: Any) -> float:
    """Return where the type of a value stands."""
    kind = kind_of(value)
    return NAMES.index("javascript") + 0.5 if kind == "javascriptWithScope" else NAMES.index(kind)


def comparable(value: Any) -> Any:
    """Return what values of one type are compared by."""
    kind = kind_of(value)
    if kind == "number":
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        return (0, Decimal(0)) if number.is_nan() else (1, number)
    if kind == "binData":
        subtype = value.subtype if isinstance(value, Binary) else 0
        return len(value), subtype, bytes(value)
    if kind == "string":
        return value.encode()
    if kind == "object":
        return tuple((rank(v), k, comparable(v)) for k, v in value.items())
    if kind == "date":
        return int(value)
    if kind == "timestamp":
        return value.time, value.inc
    if kind in ("objectId", "bool"):
        return value
    return str(value) if kind in ("regex", "javascript", "javascriptWithScope") else 0


def compare(one: Any, other: Any) -> int:
    """Compare two values as a sort does."""
    ours, theirs = (rank(one), comparable(one)), (rank(other), comparable(other))
    return (ours > theirs) - (ours < theirs)


def is_nan(value: Any) -> bool:
    """Tell NaN."""
    return kind_of(value) == "number" and comparable(value)[0] == 0


def finds(filter: dict[str, Any], value: Any) -> bool:
    """Tell whether a filter finds a document, as MongoDB's documentation has it."""
    if "$or" in filter:
        return any(finds(one, value) for one in filter["$or"])
    if not filter:
        return True
    (tests,) = filter.values()
    return all(passes(name, wanted, value) for name, wanted in tests.items())


def passes(name: str, wanted: Any, value: Any) -> bool:
    """Tell whether a value passes one test."""
    if name == "$type":
        # Missing has no type.
        return value is not MISSING and kind_of(value) in wanted
    if name == "$in":
        return any(one != [] and compare(one, value) == 0 for one in wanted)
    # Of one type only, and NaN with itself only.
    if kind_of(wanted) != kind_of(value) or is_nan(wanted) or is_nan(value):
        return False
    found = compare(value, wanted)
    return found >= 0 if name == "$gte" else found < 0


scalars = st.one_of(
    st.sampled_from(
        [None, MISSING, MinKey(), MaxKey(), True, False, math.nan, math.inf, -math.inf]
    ),
    st.integers(-5, 5),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.sampled_from([0.5, -0.0, 2.0, 1e300]),
    st.sampled_from(["1.5", "NaN", "-Infinity", "2"]).map(Decimal128),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=2),
    st.binary(max_size=2),
    st.builds(Binary, st.binary(max_size=2), st.sampled_from([0, 4, 5])),
    st.integers(0, 3).map(lambda n: ObjectId(n.to_bytes(12, "big"))),
    st.integers(-5, 2**40).map(DatetimeMS),
    st.builds(Timestamp, st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from(["a", "b"]).map(Regex),
    st.sampled_from(["a", "b"]).map(Code),
    st.just(Code("a", {})),
)
keys = st.one_of(
    scalars, st.dictionaries(st.sampled_from("ab"), st.one_of(st.integers(-9, 9), st.text("ab")))
)


def ranges(key: str, values: Sequence[Any], parts: int) -> list[dict[str, Any]]:
    """Return the filters of the ranges that some values are divided into."""
    cuts: list[Cut | None] = [*cuts_of(values, parts)]
    return [condition(key, *ends) for ends in zip([None, *cuts], [*cuts, None], strict=True)]


@given(st.lists(keys, max_size=30), st.lists(keys, max_size=20), st.integers(1, 12))
def test_every_value_is_in_one_range(sample: list[Any], others: list[Any], parts: int) -> None:
    """Ranges of a sample hold every value once, those outside of the sample too, in order."""
    ordered = sorted(sample, key=cmp_to_key(compare))
    drawn = [None if value is MISSING else value for value in ordered]
    found = ranges("key", drawn, parts)
    everything = sorted([*sample, *others], key=cmp_to_key(compare))
    places = [[n for n, one in enumerate(found) if finds(one, value)] for value in everything]

    assert [1] * len(everything) == [len(place) for place in places]
    assert sorted(places) == places
    assert len(found) <= parts


def test_values_are_divided_evenly() -> None:
    """So many parts are made as there are values for, of as many values each."""
    found = ranges("key", range(100), 4)

    assert [25] * 4 == [sum(finds(one, value) for value in range(100)) for one in found]
    assert 3 == len(ranges("key", [1, 2, 3], 9))
    assert [{}] == ranges("key", [1, 1, 1], 9)
    assert [{}] == ranges("key", [], 9)


@pytest.mark.parametrize("key", ["_id", "key"])
def test_a_server_finds_every_document_once(key: str, server: Server, db: str) -> None:
    """The ranges of `_id`, and of a field that can be absent, are those of a server's order."""
    values = [
        MinKey(), None, math.nan, Decimal128("NaN"), -5, 0.5, Int64(7), Decimal128("8.5"), 1e300,
        "", "a", "b", {}, {"a": 1}, {"a": 2}, b"", b"x", Binary(b"x" * 16, 4), ObjectId(b"a" * 12),
        ObjectId(b"b" * 12), False, True, DatetimeMS(-1), DatetimeMS(5), Timestamp(1, 1), MaxKey(),
    ]  # fmt: skip
    if key == "_id":
        values.remove(values[3])  # equal to the other NaN
        documents = [{"_id": value} for value in values]
    else:
        documents = [{"_id": n, "key": value} for n, value in enumerate(values)] + [{"_id": 99}]
    collection = server.client[db].ranges
    collection.insert_many([dict(one) for one in documents])
    pipeline = [{"$sort": {key: 1}}, {"$project": {"_id": 0, "key": f"${key}"}}]
    raw = b"".join(collection.aggregate_raw_batches(pipeline))
    ordered = [one.get("key") for one in decoded(raw)]
    for parts in (1, 2, 3, 7, len(values)):
        found = ranges(key, ordered, parts)
        counts = [collection.count_documents(one) for one in found]

        assert len(documents) == sum(counts), (parts, counts)
        ids = [str(one["_id"]) for part in found for one in collection.find(part)]
        assert len(documents) == len(set(ids)), parts


def test_a_range_without_anything_finds_nothing() -> None:
    """Between a cut and itself there is nothing."""
    cut = Cut(0)

    assert {"_id": {"$in": []}} == condition("_id", cut, cut)
