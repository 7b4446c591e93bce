"""Filters that are decided without the server: exactly as the server decides them."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from bson.binary import UuidRepresentation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Frame, Q, QueryError
from loom.encoding import DEFAULT_CODEC_OPTIONS
from loom.frames.predicates import as_compared, check_predicate, matches
from loom.frames.queries import to_filter


class Thing(Frame):
    """Holds whatever is compared."""


def decided(filter: Any, document: dict[str, Any]) -> bool:
    """Return what is decided here."""
    compiled = to_filter(filter)
    check_predicate(compiled, "test")
    codecs = DEFAULT_CODEC_OPTIONS.with_options(uuid_representation=UuidRepresentation.STANDARD)
    return matches(as_compared(compiled, codecs), as_compared(document, codecs))


MOMENT = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
IDS = [ObjectId("65f000000000000000000001"), ObjectId("65f000000000000000000002")]
VALUES = [
    *(None, True, False, 0, 1, 2, -1, 1.0, 1.5, Int64(2), Decimal128("1"), Decimal128("1.5")),
    *(
        "",
        "a",
        "b",
        "B",
        "é",
        "1",
        MOMENT,
        MOMENT.replace(year=2025),
        *IDS,
        b"x" * 16,
        Binary(b"x" * 16, 4),
    ),
    *(2**53, float(2**53), 2**53 + 1, float("inf"), Decimal128("NaN"), float("nan")),
]
# The first ones often, so that they meet.
scalars = st.one_of(st.sampled_from([None, True, 1, 1.0, "a"]), st.sampled_from(VALUES))
plain = scalars.filter(lambda v: v == v and v != Decimal128("NaN"))
ordered = plain.filter(
    lambda v: isinstance(v, (int, float, Decimal128, str, datetime)) and not isinstance(v, bool)
)
held = st.one_of(scalars, st.lists(scalars, max_size=3))
embedded = st.dictionaries(st.sampled_from(["a", "b"]), held, max_size=2)
documents = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(held, embedded, st.lists(st.one_of(embedded, scalars), max_size=3)),
    max_size=3,
)
tests = st.one_of(
    plain,
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$eq", "$ne"]), plain),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$in", "$nin"]), st.lists(plain, max_size=3)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
    st.just({"$type": "null"}),
)
tests = st.one_of(
    tests,
    st.builds(lambda a, b: {**a, **b}, *[tests.filter(lambda t: isinstance(t, dict))] * 2),
    st.builds(lambda t: {"$not": t}, tests.filter(lambda t: isinstance(t, dict))),
)
filters = st.recursive(
    st.dictionaries(st.sampled_from(["a", "b", "a.b", "b.a"]), tests, max_size=2),
    lambda inner: st.builds(
        lambda op, parts: {op: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(filter=filters, stored=st.lists(documents, min_size=10, max_size=25))
def test_it_decides_as_the_server_does(
    db: str, filter: dict[str, Any], stored: list[dict[str, Any]]
) -> None:
    """For any filter it takes and any documents, the matching ones are those the server finds."""
    collection = Thing.get_collection()
    collection.delete_many({})
    collection.insert_many([{"_id": n, **document} for n, document in enumerate(stored)])
    expected = {d["_id"] for d in collection.find(filter, {"_id": True})}

    assert expected == {n for n, document in enumerate(stored) if decided(filter, document)}


@pytest.mark.parametrize(
    ("filter", "document", "expected"),
    [
        (None, {}, True),
        (Q.a == 1, {"a": 1.0}, True),
        (Q.a == 1, {"a": True}, False),
        (Q.a == 1, {"a": [0, 1]}, True),
        (Q.a == None, {}, True),  # noqa: E711
        (Q.a == None, {"a": [None]}, True),  # noqa: E711
        (Q.a == None, {"a": 0}, False),  # noqa: E711
        (Q.a != 1, {}, True),
        (Q.a != 1, {"a": [0, 1]}, False),
        (Q.a != None, {}, False),  # noqa: E711
        (Q.a > 1, {"a": "2"}, False),
        (Q.a > 1, {"a": [Decimal128("NaN"), Decimal128("sNaN")]}, False),
        (Q.a > 1, {"a": [Decimal128("NaN"), Decimal128("1.5")]}, True),
        (Q.a > "1", {"a": "2"}, True),
        (Q.a >= MOMENT, {"a": MOMENT}, True),
        (Q.a < 1, {}, False),
        (~(Q.a < 1), {}, True),
        (Q.a.is_in([1, None]), {}, True),
        (Q.a.not_in([1, None]), {"a": 2}, True),
        (Q.a.exists(), {"a": None}, True),
        (Q.a.exists(False), {"a": None}, False),
        (Q.a.is_null(), {"b": 1}, False),
        (Q.a.is_null(), {"a": [None]}, True),
        (Q.a.between(1, 3), {"a": 2}, True),
        (Q.a.b == 1, {"a": [{"b": 0}, {"b": [1]}]}, True),
        (Q.a.b == None, {"a": [{"b": 1}, {}]}, True),  # noqa: E711
        (Q.a.b == None, {"a": []}, False),  # noqa: E711
        ((Q.a == 1) & (Q.b == 2), {"a": 1, "b": 2}, True),
        ((Q.a == 1) | (Q.b == 2), {"b": 2}, True),
        (~((Q.a == 1) | (Q.b == 2)), {"b": 2}, False),
        (Q.a == uuid.UUID(int=5), {"a": Binary.from_uuid(uuid.UUID(int=5))}, True),
    ],
    ids=str,
)
def test_what_conditions_mean(filter: Any, document: dict[str, Any], expected: bool) -> None:
    """Numbers are equal across types, null is also absent, a list stands for its members."""
    assert decided(filter, document) is expected


@pytest.mark.parametrize(
    "filter",
    [
        Q.a.startswith("x"),
        Q.a == Regex("x"),
        Q.a.is_in([Regex("x")]),
        Q.a.elem_match(Q.b == 1),
        Q.a == [1, 2],
        Q.a == {"b": 1},
        Q.a > None,
        Q.a > True,
        Q.a == float("nan"),
        {"$expr": {"$gt": ["$a", "$b"]}},
        {"a": {"$size": 2}},
        {"a": {"$mod": [2, 0]}},
        {"a": {"$not": Regex("x")}},
        {"$or": [{"a": 1}, {"b": {"$type": "string"}}]},
        {"a.0": 1},
    ],
    ids=str,
)
def test_what_it_does_not_decide_is_refused(filter: Any) -> None:
    """Patterns, places in lists, documents and the like are an error, never a wrong answer."""
    with pytest.raises(QueryError, match="^test"):
        check_predicate(to_filter(filter), "test")


def test_the_paths_that_are_tested() -> None:
    """Each path is named once, also those inside groups."""
    filter = to_filter((Q.a == 1) & ((Q.b.c > 2) | (Q.a == 3)))

    assert ("a", "b.c") == check_predicate(filter, "test")
