"""Cells: arrays of Arrow's as MongoDB stores their values, and those that it does not store."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import SchemaError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.types import OBJECT_ID
from loom.frames.arrow.writers.cells import Unfit
from loom.frames.arrow.writers.fitting import Rules, cell_for

from .test_arrow_decoding import ALL, CODECS, FITTING, documents_of, raw

UTC = timezone.utc
ID = ObjectId("65f000000000000000000001")
UID = UUID("12345678-1234-5678-1234-567812345678")


def values(array: Any, target: Any = None, **rules: Any) -> list[Any]:
    """Return what is stored of an array."""
    cell = cell_for("Dragon.x", array.type, target, Rules(**rules))
    cell.check(array)
    return cell.values(array)


def typed(found: list[Any]) -> list[tuple[type, Any]]:
    """Return values with their types: True is no 1."""
    return [(type(value), value) for value in found]


def extended(type: Any, storage: list[Any]) -> Any:
    """Return an array of an extension type."""
    return pa.ExtensionArray.from_storage(type, pa.array(storage, type.storage_type))


ZONED = pa.timestamp("ms", "Europe/Berlin")

STORED: dict[str, tuple[Any, list[Any]]] = {
    "null": (pa.nulls(2), [None, None]),
    "bool": (pa.array([True, None, False]), [True, None, False]),
    **{
        f"{kind}": (pa.array([1, None, 7], kind), [1, None, 7])
        for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    "int64 at its ends": (pa.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
    "uint64 within": (pa.array([2**63 - 1], pa.uint64()), [2**63 - 1]),
    "float16": (pa.array([1.5, None], pa.float16()), [1.5, None]),
    "float32": (pa.array([0.5, None], pa.float32()), [0.5, None]),
    "float64": (pa.array([0.1, None, math.inf]), [0.1, None, math.inf]),
    "string": (pa.array(["a", None, "ä\0"]), ["a", None, "ä\0"]),
    "large_string": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "string_view": (pa.array(["a", None, "x" * 30], pa.string_view()), ["a", None, "x" * 30]),
    "binary": (pa.array([b"a", None]), [b"a", None]),
    "large_binary": (pa.array([b"a", None], pa.large_binary()), [b"a", None]),
    "binary_view": (pa.array([b"a", None], pa.binary_view()), [b"a", None]),
    "fixed binary": (pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
    "date32": (pa.array([date(1969, 12, 31), None]), [datetime(1969, 12, 31), None]),
    "date64": (pa.array([date(2024, 2, 29)], pa.date64()), [datetime(2024, 2, 29)]),
    "seconds": (pa.array([1, None], pa.timestamp("s")), [datetime(1970, 1, 1, 0, 0, 1), None]),
    "zoned": (pa.array([0], ZONED), [datetime(1970, 1, 1)]),
    "microseconds": (
        pa.array([-1000], pa.timestamp("us")),
        [datetime(1969, 12, 31, 23, 59, 59, 999000)],
    ),
    "nanoseconds": (pa.array([10**6], pa.timestamp("ns")), [datetime(1970, 1, 1, 0, 0, 0, 1000)]),
    "beyond Python": (
        pa.array([2**60, None, 0], pa.timestamp("ms")),
        [DatetimeMS(2**60), None, datetime(1970, 1, 1)],
    ),
    "decimal128": (
        pa.array([Decimal("1.50"), None]),
        [Decimal128("1.50"), None],
    ),
    "decimal256": (
        pa.array([Decimal(10**33), None], pa.decimal256(60, 2)),
        None,
    ),
    "categories": (pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", None, "b", "a"]),
    "no categories": (pa.array([None], pa.dictionary(pa.int8(), pa.string())), [None]),
    "runs": (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", None]), ["a", "a", None]),
    "runs of structs": (
        pa.RunEndEncodedArray.from_arrays(
            pa.array([2, 3, 9]), pa.array([{"a": 1}, None, {"a": 2}])
        ).slice(1, 4),
        [{"a": 1}, None, {"a": 2}, {"a": 2}],
    ),
    "lists": (pa.array([[1, None], None, []]), [[1, None], None, []]),
    "large lists": (pa.array([[1], None], pa.large_list(pa.int8())), [[1], None]),
    "fixed lists": (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
    "list views": (
        pa.ListViewArray.from_arrays(
            pa.array([2, 0, 1], pa.int32()), pa.array([1, 2, 0], pa.int32()), pa.array([1, 2, 3])
        ),
        [[3], [1, 2], []],
    ),
    "structs": (pa.array([{"a": 1, "b": None}, None]), [{"a": 1, "b": None}, None]),
    "empty structs": (pa.array([{}, None], pa.struct([])), [{}, None]),
    "maps": (
        pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
        [{"a": 1, "b": None}, None, {}],
    ),
    "deep": (
        pa.array([{"a": [{"b": [1]}, None]}]),
        [{"a": [{"b": [1]}, None]}],
    ),
    "ObjectId": (extended(OBJECT_ID, [ID.binary, None]), [ID, None]),
    "UUID": (extended(pa.uuid(), [UID.bytes, None]), [Binary(UID.bytes, 4), None]),
    "Decimal128": (extended(Decimal128Type(), [Decimal128("1E+3").bid]), [Decimal128("1E+3")]),
    "Code": (extended(CodeType(), ["f()", None]), [Code("f()"), None]),
    "Binary": (extended(BinaryType(5), [b"x", None]), [Binary(b"x", 5), None]),
}
STORED["decimal256"] = (STORED["decimal256"][0], [Decimal128(f"{10**33}.0"), None])


@pytest.mark.parametrize("name", [n for n in STORED if n != "decimal256"])
def test_values_are_stored_as_they_are(name: str) -> None:
    """Each type of Arrow's has its values in documents, also in a slice of an array."""
    array, expected = STORED[name]
    twice = pa.concat_arrays([array, array]) if name not in ("runs", "list views") else array

    assert typed(expected) == typed(values(array))
    assert typed(expected[1:]) == typed(values(array[1:]))
    assert typed(expected) == typed(values(twice[len(twice) - len(array) :]))
    assert [] == values(array[:0])


def test_nan_stays_nan() -> None:
    """NaN is a value, in floats of all sizes, and no null."""
    for type in (pa.float16(), pa.float32(), pa.float64()):
        found, missing = values(pa.array([float("nan"), None], type))

        assert math.isnan(found)
        assert missing is None


def test_large_decimals() -> None:
    """Of decimals with room for more digits than MongoDB has, those that need no more are stored."""
    type = pa.decimal256(60, 2)

    assert [Decimal128("1.50")] == values(pa.array([Decimal("1.50")], type))
    with pytest.raises(Unfit) as caught:
        values(pa.array([None, Decimal(10**34 + 1)], type))
    assert (1, "a decimal of at most 34 digits") == (caught.value.at, caught.value.expected)


@pytest.mark.parametrize(
    "type",
    [
        pa.time32("s"),
        pa.time64("us"),
        pa.duration("ms"),
        pa.month_day_nano_interval(),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.bool8(),
        pa.map_(pa.int64(), pa.int64()),
        pa.struct([("a", pa.int8()), ("a", pa.int8())]),
        pa.list_(pa.duration("s")),
        pa.dictionary(pa.int8(), pa.time32("s")),
    ],
    ids=str,
)
def test_types_that_are_refused(type: Any) -> None:
    """Types that MongoDB has no values for are refused by name, with a way out."""
    with pytest.raises(SchemaError, match=r"Dragon\.x.*: expected .*columns=\{name: None\}"):
        cell_for("Dragon.x", type, None, Rules())


# Values that cannot be stored


def lists(type: Any, *items: Any) -> Any:
    """Return a list array with the items in the last of its lists, behind a null and an empty one."""
    return pa.array([None, [], [*items]], pa.list_(type))


@pytest.mark.parametrize(
    ("array", "at"),
    [
        (pa.array([1, 2**63], pa.uint64()), 1),
        (pa.array([None, 2**64 - 1], pa.uint64()), 1),
        (lists(pa.uint64(), 1, 2**63), 2),
        (pa.array([None, [1, 2**63]], pa.list_(pa.uint64(), 2)), 1),
        (pa.array([None, {"a": 2**63}], pa.struct([("a", pa.uint64())])), 1),
        (pa.array([None, [("a", 1)], [("a", 2**63)]], pa.map_(pa.string(), pa.uint64())), 2),
        (pa.array([[("a", 1)], [("b", 1), ("b", 2)]], pa.map_(pa.string(), pa.uint64())), 1),
        (pa.array([1, 2**63], pa.uint64()).dictionary_encode(), 1),
        (pa.array([1000, 1], pa.timestamp("us")), 1),
        (pa.array([10**6, 10**6 + 1], pa.timestamp("ns", "UTC")), 1),
        (pa.array([0, 2**60], pa.timestamp("s")), 1),
        (pa.array([b"ok", b"\xff"]).cast(pa.large_binary()).view(pa.large_string()), 1),
        (
            pa.MapArray.from_arrays(
                pa.array([0, 1, 2], pa.int32()),
                pa.array([b"ok", b"\xff"]).view(pa.string()),
                [1, 2],
            ),
            1,
        ),
    ],
    ids=str,
)
def test_values_that_are_refused(array: Any, at: int) -> None:
    """A value that would be changed is found by its row, however deep it is."""
    with pytest.raises(Unfit) as caught:
        values(array)

    assert at == caught.value.at


def test_what_is_behind_a_null_is_not_looked_at() -> None:
    """Memory behind a null may hold anything."""
    bad = pa.array([1, 2**63], pa.uint64())
    masked = pa.ListArray.from_arrays([0, 1, 2], bad, mask=pa.array([False, True]))
    struct = pa.StructArray.from_arrays([bad], ["a"], mask=pa.array([False, True]))

    ids = pa.array([str(ID), "no id"])
    fixed = pa.FixedSizeListArray.from_arrays(ids, 1, mask=pa.array([False, True]))

    assert [[1], None] == values(masked)
    assert [{"a": 1}, None] == values(struct)
    assert [[ID], None] == values(fixed, pa.list_(OBJECT_ID))


@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_categories_that_no_row_has_are_not_looked_at(type: Any) -> None:
    """Those of a part of a table may be of other rows."""
    kinds = pa.array(["no id", str(ID)]).cast(type)
    array = pa.DictionaryArray.from_arrays(pa.array([None, 1, 1]), kinds)

    assert [None, ID, ID] == values(array, OBJECT_ID)
    assert [None] == values(array.slice(0, 1), OBJECT_ID)


@pytest.mark.parametrize("type", [pa.string(), pa.string_view()], ids=str)
def test_runs(type: Any) -> None:
    """What several rows have in common is the value of each, also in a part of them."""
    kinds = pa.array(["a", None, "no id"]).cast(type)
    array = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 5]), kinds)

    assert ["a", "a", None, "no id", "no id"] == values(array)
    assert ["a", None, "no id"] == values(array.slice(1, 3))
    with pytest.raises(Unfit) as caught:
        values(array.slice(2), OBJECT_ID)
    assert 1 == caught.value.at


def test_values_in_common_of_any_length() -> None:
    """Texts that many rows have in common are not there once for each of them."""
    long = pa.array(["x" * 3_000])
    array = pa.DictionaryArray.from_arrays(pa.array([0] * 800_000, pa.int8()), long)
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([800_000]), long)

    for one in (array, runs):
        cell_for("Dragon.x", one.type, None, Rules()).check(one)
    assert ["x" * 3_000] == values(array.slice(7, 1)) == values(runs.slice(7, 1))


def test_documents_in_common() -> None:
    """A document, or a list, that rows have in common is another one for each."""
    array = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([{"a": [1]}]))
    one, other = values(array)

    assert one == other == {"a": [1]}
    assert one is not other
    assert one["a"] is not other["a"]


# Instants


def test_finer_instants_are_cut_when_asked_for() -> None:
    """`finer='cut'` cuts towards the past, as all datetimes are."""
    array = pa.array([1, -1, 1999], pa.timestamp("us"))

    expected = [datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999000)]
    assert [*expected, datetime(1970, 1, 1, 0, 0, 0, 1000)] == values(array, finer="cut")


def test_naive_instants() -> None:
    """Instants without zone are UTC, are refused, or get a zone, as the connection says."""
    array = pa.array([0, None], pa.timestamp("ms"))
    berlin = ZoneInfo("Europe/Berlin")
    found = values(array, naive=berlin)

    assert datetime(1970, 1, 1, tzinfo=berlin) == found[0]
    assert found[0].utcoffset() == timedelta(hours=1)
    with pytest.raises(SchemaError, match=r"Dragon\.x: expected timestamps with a zone"):
        values(array, naive="refuse")
    assert [datetime(1970, 1, 1)] == values(pa.array([0], ZONED), naive="refuse")
    assert [datetime(1970, 1, 1)] == values(pa.array([date(1970, 1, 1)]), naive=berlin)
    with pytest.raises(Unfit, match="years 1 to 9999"):
        values(pa.array([2**60], pa.timestamp("ms")), naive=berlin)


def test_aware_instants() -> None:
    """Where listeners see them, instants have a zone."""
    array = pa.array([0, None], pa.timestamp("ms"))

    assert [datetime(1970, 1, 1, tzinfo=UTC), None] == values(array, aware=True)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_all_instants(instants: list[int]) -> None:
    """Every instant of 64 bits is stored as that instant."""
    found = values(pa.array(instants, pa.timestamp("ms", "UTC")))
    stored = bson.encode({"a": found})
    options = bson.CodecOptions(
        datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_MS
    )

    assert instants == [*map(int, bson.decode(stored, options)["a"])]


# What the class says


@pytest.mark.parametrize(
    ("array", "target", "expected"),
    [
        (pa.array([1.0, None, -3.0]), pa.int64(), [1, None, -3]),
        (pa.array([2.0], pa.float16()), pa.int64(), [2]),
        (pa.array([1, None], pa.int8()), pa.float64(), [1.0, None]),
        (pa.array([2**54, -(2**63)]), pa.float64(), [float(2**54), -(2.0**63)]),
        (pa.array([2**63], pa.uint64()), pa.float64(), [2.0**63]),
        (pa.array([str(ID), None]), OBJECT_ID, [ID, None]),
        (pa.array([str(ID)], pa.string_view()), OBJECT_ID, [ID]),
        (pa.array([ID.binary, None], pa.binary(12)), OBJECT_ID, [ID, None]),
        (pa.array([ID.binary], pa.large_binary()), OBJECT_ID, [ID]),
        (pa.array([str(UID), None]), pa.uuid(), [Binary(UID.bytes, 4), None]),
        (pa.array([UID.bytes]), pa.uuid(), [Binary(UID.bytes, 4)]),
        (pa.array([date(2024, 1, 1)]), pa.timestamp("ms", "UTC"), [datetime(2024, 1, 1)]),
        (pa.array([86_400], pa.timestamp("s")), pa.date32(), [datetime(1970, 1, 2)]),
        (pa.array([7]), Decimal128Type(), [Decimal128("7")]),
        (pa.array([Decimal("1.5")]), Decimal128Type(), [Decimal128("1.5")]),
        (pa.array([Decimal128("1.50").bid]), Decimal128Type(), [Decimal128("1.50")]),
        (pa.array(["f()"]), CodeType(), [Code("f()")]),
        (pa.array([b"x"]), BinaryType(5), [Binary(b"x", 5)]),
        (pa.array(["a"]).dictionary_encode(), pa.string(), ["a"]),
        (pa.array([[1.0]]), pa.list_(pa.int64()), [[1]]),
        (pa.array([{"a": 1.0, "b": "x"}]), pa.struct([("a", pa.int64())]), [{"a": 1, "b": "x"}]),
        (pa.array([{"a": 1.0}]), pa.map_(pa.string(), pa.int64()), [{"a": 1}]),
        (
            pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64())),
            pa.map_(pa.string(), pa.int64()),
            [{"a": 1}],
        ),
        (pa.nulls(1), pa.int64(), [None]),
    ],
    ids=str,
)
def test_values_become_what_the_class_says(array: Any, target: Any, expected: list[Any]) -> None:
    """The same value in the type of the field: an id of its digits, an int of a whole float."""
    assert typed(expected) == typed(values(array, target))


@pytest.mark.parametrize(
    ("array", "target", "at"),
    [
        (pa.array([1.0, 1.5]), pa.int64(), 1),
        (pa.array([1.0, float("nan")]), pa.int64(), 1),
        (pa.array([1.0, 2.0**63]), pa.int64(), 1),
        (pa.array([2**54, 2**53 + 1]), pa.float64(), 1),
        (pa.array([2**63 - 1]), pa.float64(), 0),
        (pa.array([2**64 - 1], pa.uint64()), pa.float64(), 0),
        (pa.array([None, "no id"]), OBJECT_ID, 1),
        (pa.array([None, b"short"]), OBJECT_ID, 1),
        (pa.array([None, "no uuid"]), pa.uuid(), 1),
        (pa.array([None, b"short"]), pa.uuid(), 1),
        (pa.array([None, b"short"]), Decimal128Type(), 1),
        (pa.array([0, 1], pa.timestamp("s")), pa.date32(), 1),
    ],
    ids=str,
)
def test_values_that_are_none_of_the_field(array: Any, target: Any, at: int) -> None:
    """A value that would be another one in the field's type is found by its row."""
    with pytest.raises(Unfit) as caught:
        values(array, target)

    assert at == caught.value.at


@pytest.mark.parametrize(
    ("type", "target"),
    [
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int64()),
        (pa.int64(), pa.bool_()),
        (pa.int64(), pa.string()),
        (pa.float64(), Decimal128Type()),
        (pa.string(), pa.timestamp("ms", "UTC")),
        (pa.int64(), pa.date32()),
        (pa.int64(), OBJECT_ID),
        (OBJECT_ID, pa.string()),
        (pa.float64(), pa.uuid()),
        (pa.int64(), pa.list_(pa.int64())),
        (pa.list_(pa.string()), pa.list_(pa.int64())),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.struct([("a", pa.int8())]), pa.string()),
        (pa.map_(pa.string(), pa.int8()), pa.string()),
        (pa.string(), pa.binary()),
        (pa.string(), pa.struct([("a", pa.int8())])),
        (pa.binary(), CodeType()),
    ],
    ids=str,
)
def test_types_that_are_none_of_the_field(type: Any, target: Any) -> None:
    """A column of another type than its annotation is refused before any value is looked at."""
    with pytest.raises(SchemaError, match=r"Dragon\.x.*: expected .*, got a column of"):
        cell_for("Dragon.x", type, target, Rules())


# Whole documents


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(documents_of(FITTING))
def test_columns_and_back(documents: list[dict[str, Any]]) -> None:
    """Documents that are read into columns, and made of them again, are the same ones."""
    batch = Decoder(FIT, "raise").batch(raw(documents))
    columns = [
        values(array, column.type, omits=True)
        for array, column in zip(batch.columns, FIT, strict=True)
    ]
    names = [column.name for column in FIT]
    found = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    assert [*map(stripped, documents)] == [*map(stripped, found)]


FIT = Schema("Dragon", [Column(name, ALL.find(name), name) for name in FITTING])


def stripped(document: dict[str, Any]) -> Any:
    """Return a document as columns can hold it: without nulls, and so that equal is the same."""
    return _stripped(bson.decode(bson.encode(document, codec_options=CODECS), CODECS))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stripped(v) for k, v in sorted(value.items()) if v is not None and k != "other"}
    if isinstance(value, list):
        return [_stripped(one) for one in value]
    if isinstance(value, Decimal128):
        value = value.to_decimal()
        return (Decimal128, value if value.is_finite() else str(value))
    return "NaN" if isinstance(value, float) and math.isnan(value) else value
