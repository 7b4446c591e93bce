"""What stands in a batch, and documents that hold a field twice, of which the last value counts."""

from __future__ import annotations

import random
import struct
from collections import Counter
from typing import Any

import bson
import pytest
from bson import Regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.fast import Fast
from loom.frames.arrow.survey import Unclear, survey

from .test_arrow_decoding import (
    ALL,
    FITTING,
    HOARD,
    anything,
    check,
    documents_of,
    raw,
    rows,
    schema_of,
)

#: A document as pairs, so that a name may come twice.
Pairs = list[tuple[str, Any]]


def encoded(pairs: Pairs) -> bytes:
    """Return a document of pairs as bytes."""
    body = b""
    for name, value in pairs:
        if isinstance(value, tuple):  # a document or a list, of pairs
            kind, inner = value
            body += bytes([kind]) + name.encode() + b"\0" + encoded(inner)
        else:
            body += bson.encode({name: value})[4:-1]
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def document(*pairs: tuple[str, Any]) -> tuple[int, Pairs]:
    """Return an embedded document."""
    return 3, [*pairs]


def listed(*values: Any) -> tuple[int, Pairs]:
    """Return a list."""
    return 4, [(str(number), value) for number, value in enumerate(values)]


def is_unclear(batch: bytes, schema: Schema = ALL) -> bool:
    """Tell whether documents are left to the driver."""
    try:
        survey(batch, Fast(schema).columns)
    except Unclear:
        return True
    return False


def repeats(*documents: Pairs, schema: Schema = ALL) -> bool:
    """Tell what is said of some documents."""
    return is_unclear(b"".join(map(encoded, documents)), schema)


A = ("i", 1)


@pytest.mark.parametrize(
    "documents",
    [
        [[A, A]],
        [[A], [A, ("f", 0.5), A], []],
        [[], [A, ("i", None)], [A]],
        [[("f", 0.5)], [A, ("f", 0.5), ("i", "x")]],
        [[("a_name_that_is_long", 1)], [A], [("a_name_that_is_long", 1), A] * 2],
        [[("lair", document(("gold", 1), ("gold", 2)))], []],
        [[("lair", document(("gold", 1)))], [("lair", document(("worth", 2.0), ("worth", 1.0)))]],
        [[("lairs", listed(document(("gold", 1)), document(("gold", 1), ("gold", 2))))]],
        [[A], [("lairs", listed(None, document(("gold", 1), ("gold", 2))))]],
        [[("deep", document(("lair", document(("gold", 1), ("x", 1), ("gold", 2)))))]],
        [[("lair", document(("gold", 1))), ("lair", document(("gold", 1)))]],
    ],
)
def test_repeated_fields(documents: list[Pairs]) -> None:
    """They are seen wherever columns come from, and the last value is in the column."""
    assert repeats(*documents)
    batch = b"".join(map(encoded, documents))
    check(ALL, batch)
    for column in ALL:
        check(Schema("Dragon", [column]), batch)


def given_rows(schema: Schema, batch: bytes) -> Any:
    """Return the rows of a batch."""
    return Decoder(schema).batch(batch).to_pylist()


def test_nothing_moves() -> None:
    """Without the look, the second value would be that of the document behind."""
    batch = encoded([("_id", 1), A, ("i", 2)]) + encoded([("_id", 2), ("i", 3)]) + encoded([])

    expected = [{"_id": 1, "i": 2}, {"_id": 2, "i": 3}, {"_id": None, "i": None}]
    assert expected == given_rows(schema_of("_id", "i"), batch)


@pytest.mark.parametrize(
    "documents",
    [
        [],
        [[]],
        [[], [], []],
        [[A], [("f", 0.5), A], [A, ("f", 0.5)]],
        [[("other", document(("x", 1), ("x", 2)))]],  # nothing comes from there
        [[("lair", document(A, ("gold", 1))), A], [A, ("lair", document(("gold", 2), A))]],
        [[("lairs", listed(document(("gold", 1)), None, document(("gold", 1))))], [A]],
        [[("lairs", listed(*[document(("gold", n)) for n in range(12)]))], [("lairs", listed())]],
        [[("s", "_id\0i\0"), A], [("s", "\x10i\0"), A]],
        [
            [(f"field_{n:02}", n) for n in range(40)],
            [(f"field_{n:02}", n) for n in range(39, 0, -2)],
        ],
    ],
)
def test_what_is_there_once(documents: list[Pairs]) -> None:
    """It is not taken for more, in whatever order and beside whatever it stands."""
    assert not repeats(*documents)


values = st.integers(-5, 5) | st.none() | st.sampled_from([0.5, "x", "i\0", True, float("nan")])
inner = st.lists(st.tuples(st.sampled_from(["gold", "worth", "z"]), values), max_size=3)
pairs = st.lists(
    st.tuples(st.sampled_from(["i", "f", "s", "yes", "unknown_name"]), values)
    | st.tuples(st.sampled_from(["lair", "i"]), inner.map(lambda p: document(*p)))
    | st.tuples(
        st.just("lairs"),
        st.lists(inner.map(lambda p: document(*p)) | values, max_size=3).map(lambda v: listed(*v)),
    ),
    max_size=4,
)


def is_twice(found: Pairs, path: str = "") -> bool:
    """Tell whether a name is there twice where columns come from."""
    names = [name for name, _ in found]
    if len(names) != len(set(names)):
        return True
    for name, value in found:
        if isinstance(value, tuple) and name in ("lair", "lairs") and not path:
            kind, within = value
            if kind == 3 and name == "lair" and is_twice(within, name):
                return True
            if name == "lairs" and any(
                isinstance(one, tuple) and is_twice(one[1], name) for _, one in within
            ):
                return True
    return False


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(st.lists(pairs, max_size=6))
@example([[("i", 5), ("i", None)], [], [("i", 3)]])
@example([[("i", 5), ("i", 6)], [("lair", document(("gold", 1), ("gold", 1)))], []])
def test_whatever_repeats_is_given_or_told(documents: list[Pairs]) -> None:
    """What is in the columns is what the driver reads; what is there twice is seen, no more."""
    schema = schema_of("i", "f", "s", "yes", "lair", "lairs")
    check(schema, b"".join(map(encoded, documents)))

    assert any(map(is_twice, documents)) == repeats(*documents, schema=schema)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=100)
@given(documents_of(FITTING))
def test_documents_of_drivers_are_never_taken_for_others(documents: list[dict[str, Any]]) -> None:
    """What drivers write keeps the fast look."""
    assert not is_unclear(raw(documents))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(documents_of(FITTING), documents_of(dict.fromkeys(FITTING, anything)), st.integers(20, 80))
def test_many_documents(
    fitting: list[dict[str, Any]], others: list[dict[str, Any]], times: int
) -> None:
    """Many documents together are what they are alone, in all columns and in each."""
    check(ALL, raw(fitting * times))
    check(ALL, raw(fitting * times + others))
    for column in ALL:
        check(Schema("Dragon", [column]), raw(others[:1] * times + fitting * times))


def test_large_batches() -> None:
    """Thousands of documents of many forms, and one that repeats a field somewhere."""
    chance = random.Random(7)
    names = [f"number_{n}" for n in range(30)]
    documents = [
        [("_id", n), *((name, 0.5) for name in names if chance.random() < 0.7)]
        for n in range(2_000)
    ]
    assert not repeats(*documents)
    for place in (0, 1_234, 1_999):
        one = documents[place]
        assert repeats(*documents[:place], [*one, one[-1]], *documents[place + 1 :])


def test_documents_of_ever_other_fields() -> None:
    """Thousands of names, in any order, are told from repeated ones, or left to the driver."""
    chance = random.Random(3)
    names = [f"name_{n}_{'x' * (n % 20)}" for n in range(300)]
    mixed = [[(name, 1) for name in chance.sample(names, 20)] for _ in range(300)]
    repeated = [*mixed, [*mixed[7], mixed[7][3]]]
    endless = [[(f"field_{n}_{m}", 1) for m in range(30)] for n in range(1_000)]

    for documents in (mixed, repeated, endless):
        check(schema_of("i"), b"".join(map(encoded, [[A], *documents, [("i", 2)]])))
    assert not repeats(*mixed)
    assert repeats(*repeated)


def test_forms_that_only_the_driver_reads() -> None:
    """Types without a known length, and lists numbered otherwise, get the exact look."""
    assert repeats([("odd", Regex("a"))])
    odd = [("lairs", (4, [("7", document(("gold", 1)))]))]
    assert repeats(*[odd] * 100)
    for count in (1, 100):
        check(ALL, encoded(odd) * count)
    assert is_unclear(bson.encode({"i": 1})[:-3])
    assert is_unclear(encoded([A, ("s", "x")]).replace(b"\x02\0\0\0x", b"\xff\xff\0\0x"))


def counts_of(value: Any, path: list[str]) -> Counter[int]:
    """Return how many values of each type a path leads to, in documents as they are written."""
    found: Counter[int] = Counter()
    for name, one in value:
        kind = one[0] if isinstance(one, tuple) else bson.encode({"": one})[4]
        if name == path[0] and len(path) == 1:
            found[kind] += 1
        elif name == path[0] and path[1] == "[]" and kind == 4:
            if len(path) == 2:
                found.update(
                    i[0] if isinstance(i, tuple) else bson.encode({"": i})[4] for _, i in one[1]
                )
            else:
                for _, item in one[1]:
                    if isinstance(item, tuple) and item[0] == 3:
                        found += counts_of(item[1], path[2:])
        elif name == path[0] and kind == 3:
            found += counts_of(one[1], path[1:])
    return found


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(st.lists(pairs, max_size=6))
def test_types_are_counted(documents: list[Pairs]) -> None:
    """Each value counts under its type, at its place, also in documents and lists."""
    columns = [*schema_of("i", "f", "s", "lair", "lairs")]
    try:
        top = survey(b"".join(map(encoded, documents)), columns)
    except Unclear:
        return
    for path in ("i", "f", "s", "lair", "lair.gold", "lair.worth", "lairs", "lairs.[]"):
        place, expected = top, Counter[int]()
        for document_ in documents:
            expected += counts_of(document_, path.split("."))
        for name in path.split("."):
            inner = place.items if name == "[]" else place.fields[name]
            assert inner is not None
            place = inner
        assert expected == +place.counts, path
    gold = top.fields["lairs"].items
    assert gold is not None
    inside: Counter[int] = Counter()
    for document_ in documents:
        inside += counts_of(document_, ["lairs", "[]", "gold"])
    assert inside == +gold.fields["gold"].counts


@pytest.mark.parametrize("count", [1, 9, 10, 11, 63, 100, 101, 1_000, 1_234, 12_345])
@pytest.mark.parametrize(
    "item", [0.5, 7, 2**40, True, None, "x", "long" * 20, {"gold": 1}, [1, None], "mixed"]
)
def test_long_lists(count: int, item: Any) -> None:
    """Lists of any length are counted, alone and beside many short ones."""
    values: Any = [item] * count
    if item == "mixed":
        values = [0.5 if n % 7 else n for n in range(count)]
    expected = Counter(bson.encode({"": value})[4] for value in values)
    type = pa.list_(HOARD) if isinstance(item, dict) else pa.list_(pa.int64())
    if isinstance(item, list):
        type = pa.list_(pa.list_(pa.int64()))
    columns = [Column("v", type, "v")]
    short = [{"v": values[:3]}] * 70
    for documents in ([{"v": values}], [{}, {"v": values}, {"v": values}], [*short, {"v": values}]):
        items = survey(raw(documents), columns).at(["v"]).items
        assert items is not None
        found: Counter[int] = Counter()
        for one in documents:
            found.update(bson.encode({"": value})[4] for value in one.get("v", ()))
        assert found == +items.counts
        if isinstance(item, dict):
            assert {16: found[3]} == dict(items.at(["gold"]).counts)
        if isinstance(item, list):
            assert items.items is not None
            assert {16: found[4], 10: found[4]} == dict(items.items.counts)
    assert sum(expected.values()) == count


@given(st.lists(values, min_size=1, max_size=40), st.integers(1, 12))
def test_items_of_one_length(items: list[Any], times: int) -> None:
    """They are counted at once only if they are all of one type."""
    listed_values = items * times
    batch = raw([{"v": listed_values}])
    found = survey(batch, [Column("v", pa.list_(pa.int64()), "v")]).at(["v"]).items

    assert found is not None
    assert Counter(bson.encode({"": one})[4] for one in listed_values) == +found.counts


def test_names_with_signs() -> None:
    """Those that PyMongoArrow takes for paths are seen, where it looks."""
    assert survey(encoded([("lair.gold", 1)]), [*ALL]).has_signs
    assert survey(encoded([("lairs", listed(document(("a.b", 1))))]), [*ALL]).has_signs
    assert survey(encoded([("a[]", 1)]), [*ALL]).has_signs
    assert not survey(encoded([("other", document(("a.b", 1)))]), [*ALL]).has_signs


def test_where_columns_come_from() -> None:
    """Places are those of columns, by path and type."""
    columns = [
        Column("a", pa.int64(), "a"),
        Column("b", pa.int64(), "x.y.b"),
        Column("c", pa.list_(pa.struct([("d", HOARD)])), "x.c"),
    ]
    top = survey(b"", columns)
    lists = top.at(["x", "c"])

    assert {"a", "x"} == top.fields.keys()
    assert {"y", "c"} == top.at(["x"]).fields.keys()
    assert lists.items is not None
    assert {"gold", "worth", "tags"} == lists.items.at(["d"]).fields.keys()
    assert lists.items.at(["d", "tags"]).items is not None
    assert rows(schema_of("i"), [{"i": 1}]) == [{"i": 1}]
