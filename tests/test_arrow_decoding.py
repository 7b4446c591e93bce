"""Columns against the oracle: every value as the driver reads it, or told as one that does not fit."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp, json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.dbref import DBRef
from bson.errors import InvalidBSON
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loom import SchemaError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.decoding import MISMATCHES, Decoder
from loom.frames.arrow.fast import Fast
from loom.frames.arrow.raw import parts_of
from loom.frames.arrow.types import OBJECT_ID

UTC = timezone.utc
#: As `list(find())` of a client that Loom makes gives documents.
CODECS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, uuid_representation=UuidRepresentation.STANDARD
)
DAY = datetime(2024, 2, 29, tzinfo=UTC)

HOARD = pa.struct([("gold", pa.int64()), ("worth", pa.float64()), ("tags", pa.list_(pa.string()))])
TYPES: dict[str, Any] = {
    "_id": pa.int64(),
    "i": pa.int64(),
    "i32": pa.int32(),
    "u8": pa.uint8(),
    "f": pa.float64(),
    "s": pa.string(),
    "yes": pa.bool_(),
    "when": pa.timestamp("ms", "UTC"),
    "day": pa.date32(),
    "oid": OBJECT_ID,
    "dec": Decimal128Type(),
    "money": pa.decimal128(6, 2),
    "b": pa.binary(),
    "b5": BinaryType(5),
    "uid": pa.uuid(),
    "code": CodeType(),
    "none": pa.null(),
    "ints": pa.list_(pa.int64()),
    "floats": pa.list_(pa.float64()),
    "days": pa.list_(pa.date32()),
    "grid": pa.list_(pa.list_(pa.int32())),
    "lair": HOARD,
    "lairs": pa.list_(HOARD),
    "deep": pa.struct([("lair", HOARD), ("oids", pa.list_(OBJECT_ID)), ("uid", pa.uuid())]),
    "map": pa.map_(pa.string(), pa.list_(pa.int64())),
}


def schema_of(*names: str, **types: Any) -> Schema:
    """Return a schema of some of the types, under the name of each."""
    columns = [Column(name, TYPES[name], name) for name in names]
    return Schema("Dragon", columns + [Column(name, of, name) for name, of in types.items()])


ALL = schema_of(*TYPES)


def raw(documents: list[dict[str, Any]]) -> bytes:
    """Return documents as the server sends them."""
    return b"".join(bson.encode(document, codec_options=CODECS) for document in documents)


def rows(schema: Schema, documents: list[dict[str, Any]], **how: Any) -> list[dict[str, Any]]:
    """Return the rows of the record batch of some documents."""
    return shown(Decoder(schema, **how).batch(raw(documents)))


def shown(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch; it is a sound one."""
    batch.validate(full=True)
    return batch.to_pylist()  # type: ignore[no-any-return]


def same(value: Any, found: Any, type: Any) -> bool:
    """Tell whether a column holds a value as it is stored."""
    if value is None or found is None:
        return value is found
    if pa.types.is_struct(type):
        value = value.as_doc() if isinstance(value, DBRef) else value
        return isinstance(value, Mapping) and all(
            same(value.get(field.name), found[field.name], field.type) for field in type
        )
    if pa.types.is_map(type):
        return (
            isinstance(value, Mapping)
            and [*value] == [key for key, _ in found]
            and all(same(value[key], one, type.item_type) for key, one in found)
        )
    if pa.types.is_list(type):
        return (
            isinstance(value, list)
            and len(value) == len(found)
            and all(same(v, f, type.value_type) for v, f in zip(value, found, strict=True))
        )
    if isinstance(value, float) and math.isnan(value):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(value, bool) or isinstance(found, bool):
        return value is found
    if pa.types.is_date32(type):
        return bool(value == datetime(found.year, found.month, found.day, tzinfo=UTC))
    if isinstance(value, Decimal128) and isinstance(found, Decimal):
        return value.to_decimal() == found
    if isinstance(value, Binary) and not isinstance(found, Binary):
        return bool(value.subtype == 0 and bytes(value) == found)
    return bool(value == found)


def check(schema: Schema, batch: bytes) -> None:
    """Hold the columns of a batch against what the driver reads."""
    documents = bson.decode_all(batch, CODECS)
    decoder = Decoder(schema, "string")
    found = shown(decoder.batch(batch))
    counts = dict.fromkeys(TYPES, 0)

    assert len(documents) == len(found)
    for document, row in zip(documents, found, strict=True):
        texts = dict(row[MISMATCHES] or ())
        for column in schema:
            value = document.get(column.name)
            if column.name in texts:
                counts[column.name] += 1
                text = texts[column.name]
                if type(value) is str:
                    assert text == value
                else:
                    told = json_util.loads(text, json_options=JSON)
                    assert json_of(told) == json_of(value)
            else:
                assert same(value, row[column.name], column.type), (column.name, value)
    assert decoder.mismatches == {name: count for name, count in counts.items() if count}


def json_of(value: Any) -> str:
    """Return a value as text that says all of it."""
    return json_util.dumps(value, json_options=JSON)


JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
)

# What fits

int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
instants = st.datetimes(datetime(1700, 1, 1), datetime(2300, 1, 1)).map(
    lambda d: d.replace(microsecond=d.microsecond // 1000 * 1000, tzinfo=UTC)
)
days = st.integers(-100_000, 100_000).map(lambda n: DAY + timedelta(days=n))
object_ids = st.binary(min_size=12, max_size=12).map(ObjectId)
decimals = st.decimals(allow_nan=False, min_value=-(10**9), max_value=10**9, places=3).map(
    Decimal128
)
nothing = st.none()


def lists(of: Any) -> Any:
    """Generate lists with nulls in them."""
    return st.lists(of | nothing, max_size=3)


def hoards(gold: Any = int64s, worth: Any = floats, tags: Any = texts) -> Any:
    """Generate documents of which any field may be absent or null."""
    return st.fixed_dictionaries(
        {}, optional={"gold": gold | nothing, "worth": worth, "tags": lists(tags), "other": gold}
    )


FITTING: dict[str, Any] = {
    "i": int64s,
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u8": st.integers(0, 255),
    "f": floats | st.integers(-(2**53), 2**53),
    "s": texts,
    "yes": st.booleans(),
    "when": instants,
    "day": days,
    "oid": object_ids,
    "dec": decimals,
    "money": st.integers(-999_999, 999_999).map(lambda n: Decimal128(Decimal(n) / 100)),
    "b": st.binary(max_size=4),
    "b5": st.binary(max_size=4).map(lambda b: Binary(b, 5)),
    "uid": st.uuids(),
    "code": texts.map(Code),
    "ints": lists(int64s),
    "floats": lists(floats),
    "days": lists(days),
    "grid": lists(lists(st.integers(-5, 5))),
    "lair": hoards(),
    "lairs": lists(hoards()),
    "deep": st.fixed_dictionaries(
        {}, optional={"lair": hoards(), "oids": lists(object_ids), "uid": st.uuids()}
    ),
    "map": st.dictionaries(st.sampled_from(["a", "b", "gold"]), lists(int64s)),
}
anything = st.recursive(
    st.sampled_from(
        [None, True, 0, 1, 2.7, 2.0, -0.0, math.nan, math.inf, 2**53 + 1, 300, "", "x.gold", "f"]
        + [DAY, DAY + timedelta(hours=1), ObjectId("65f000000000000000000001"), b"", b"abc"]
        + [Binary(b"x", 5), uuid.UUID(int=7), Decimal128("1.005"), Decimal128("NaN"), Code("x")]
        + [Code("x", {"a": 1}), Regex("a"), Timestamp(1, 2), MaxKey(), [], {}, 2.0**62, 1e300]
        + [Int64(1), Int64(2**62 + 1), Decimal128("12345.6"), DBRef("a", 1)]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["gold", "worth", "tags", "lair", "a"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


def documents_of(values: dict[str, Any]) -> Any:
    """Generate lists of documents whose fields may be absent or null."""
    optional = {name: of | nothing for name, of in values.items()}
    return st.lists(st.fixed_dictionaries({}, optional=optional), max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(documents_of(FITTING))
def test_what_fits_is_as_it_is_stored(documents: list[dict[str, Any]]) -> None:
    """Values of the type of their column come as the driver reads them, none is refused."""
    batch = raw(documents)
    check(ALL, batch)
    decoder = Decoder(ALL, "raise")
    decoder.batch(batch)

    assert {} == decoder.mismatches


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(documents_of(dict.fromkeys([*FITTING, "none"], anything)))
def test_whatever_is_stored_is_given_or_told(documents: list[dict[str, Any]]) -> None:
    """A value of any type is in its column as it is stored, or is told as text."""
    check(ALL, raw(documents))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([*FITTING]))
def test_single_columns(data: st.DataObject, name: str) -> None:
    """The same, where mostly what fits is stored, so that the fast look has its say."""
    values = st.one_of(FITTING[name], FITTING[name], anything)
    documents = data.draw(documents_of({name: values, "other": values}))
    schema = schema_of(name)
    batch = raw(documents)
    check(schema, batch)

    # The fast look, where it has no doubt, says what the exact one says.
    exact = Decoder(schema, "string")
    exact._fast_columns = set()
    either = Decoder(schema, "string").batch(batch)
    assert shown(exact.batch(batch)).__repr__() == shown(either).__repr__()


def error_of(schema: Schema, document: dict[str, Any]) -> SchemaError:
    """Return the error for a document."""
    with pytest.raises(SchemaError) as caught:
        Decoder(schema).batch(raw([{"_id": 1}, {"_id": 7, **document}]))
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("i", 2.7, "expected int64, got 2.7 of type double in the document with _id=7"),
        ("i", True, "expected int64, got True of type bool"),
        ("i", math.nan, "expected int64, got nan of type double"),
        ("i", 1e300, "expected int64, got 1e+300 of type double"),
        ("i", "5", "expected int64, got '5' of type string"),
        ("i32", 2**31, "expected int32, got 2147483648"),
        ("u8", -1, "expected uint8, got -1"),
        ("f", True, "expected float64, got True of type bool"),
        ("f", 2**53 + 1, "expected float64, got 9007199254740993"),
        ("f", "x", "expected float64, got 'x' of type string"),
        ("s", 5, "expected string, got 5 of type int32"),
        ("s", Code("x"), "expected string"),
        ("yes", 1, "expected bool, got 1"),
        ("when", "2024", "expected timestamp[UTC], got '2024'"),
        ("day", DAY + timedelta(hours=1), "expected date, got 2024-02-29 01:00:00+00:00"),
        ("oid", "65f000000000000000000001", "expected objectid, got '65f000000000000000000001'"),
        ("dec", 1.5, "expected decimal128, got 1.5"),
        ("money", Decimal128("1.005"), "expected decimal[6, 2], got Decimal128('1.005')"),
        ("money", Decimal128("10000"), "expected decimal[6, 2], got Decimal128('10000')"),
        ("money", Decimal128("Infinity"), "expected decimal[6, 2]"),
        ("b", Binary(b"x", 5), "expected binary, got Binary(b'x', 5)"),
        ("b5", b"x", "expected binary[5], got b'x' of type binary"),
        ("uid", b"0123456789abcdef", "expected uuid"),
        ("ints", 5, "expected list<int64>, got 5 of type int32"),
        ("ints", {"0": 5}, "expected list<int64>, got {'0': 5} of type document"),
        ("ints", [1, 2.5], "expected int64 in list<int64>, got 2.5 of type double"),
        ("ints", [True], "expected int64 in list<int64>, got True"),
        ("floats", [1.0, True], "expected float64 in list<float64>, got True"),
        ("floats", [2**53 + 1], "expected float64 in list<float64>, got 9007199254740993"),
        ("grid", [[1], 2], "expected list<int32> in list<list<int32>>, got 2"),
        ("lair", 5, "expected struct<gold: int64, worth: float64, tags: list<string>>, got 5"),
        ("lair", [{"gold": 5}], "expected struct<gold: int64, worth: float64, tags: list<string>>"),
        ("lair", {"gold": 2.5}, "expected int64 in struct<"),
        ("lair", {"tags": "x"}, "expected list<string> in struct<"),
        ("lairs", [{"gold": 1}, 5], "expected struct<"),
        ("lairs", [{"gold": 1}, {"gold": False}], "expected int64 in list<struct<"),
        ("lairs", {"gold": 1}, "expected list<struct<"),
        ("map", 5, "expected map<list<int64>>, got 5"),
        ("map", {"a": [2.5]}, "expected int64 in map<list<int64>>, got 2.5"),
        ("none", 5, "expected null, got 5"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Any, expected: str) -> None:
    """The error names column, document, what was expected and what is there; the others say how many."""
    schema = schema_of("_id", name)
    error = error_of(schema, {name: value})
    null = Decoder(schema, "null")
    kept = Decoder(schema, "string")
    document = {"_id": 7, name: value}
    nulled = shown(null.batch(raw([document, document, {}])))

    assert f"Dragon.{name}: {expected}" in str(error)
    assert "in the document with _id=7; give" in str(error)
    assert (name, 7) == (error.column, error.id)
    assert {name: 2} == null.mismatches
    assert {"_id": None, name: None} == nulled[2]
    assert name in dict(shown(kept.batch(raw([document])))[0][MISMATCHES])
    if not isinstance(value, (list, dict)):
        assert nulled[0][name] is None


@pytest.mark.parametrize("empty", [None, [], [None], [None, None, 1], [1, None]])
def test_nulls_in_lists(empty: Any) -> None:
    """Nulls of a list stay, the first ones too, and no list is not an empty one."""
    documents = [{"_id": 1, "ints": empty}, {"_id": 2}, {"_id": 3, "ints": [5]}]

    assert [empty, None, [5]] == [row["ints"] for row in rows(schema_of("ints"), documents)]


def test_embedded_documents_that_are_not_there() -> None:
    """An absent document and null are null, an empty one holds nulls."""
    documents = [{}, {"lair": None}, {"lair": {}}, {"lair": {"other": 1}}, {"lair": {"gold": 5}}]
    empty = {"gold": None, "worth": None, "tags": None}
    expected = [None, None, empty, empty, {**empty, "gold": 5}]

    assert expected == [row["lair"] for row in rows(schema_of("lair"), documents)]
    # Where no empty one is among them, the fast look knows that.
    schema = schema_of("lair")
    some = raw([documents[0], documents[1], documents[4]])
    table = Fast(schema).decode(some)
    found = Fast(schema).column(schema.columns[0], table, some)
    assert [None, None, expected[4]] == found.to_pylist()


def test_no_number_is_not_null() -> None:
    """NaN stays NaN beside null, in columns, lists and documents; infinity is infinity."""
    documents = [{"f": math.nan}, {"f": None}, {}, {"f": math.inf}, {"f": 1.5}]
    found = Decoder(schema_of("f")).batch(raw(documents)).column(0)
    inner = rows(
        schema_of("floats", "lair"), [{"floats": [math.nan, None], "lair": {"worth": math.nan}}]
    )

    assert [False, True, True, False, False] == found.is_null().to_pylist()
    assert math.isnan(found[0].as_py())
    assert math.isnan(inner[0]["floats"][0])
    assert inner[0]["floats"][1] is None
    assert math.isnan(inner[0]["lair"]["worth"])


@pytest.mark.parametrize("name", [name for name in FITTING if name not in ("f", "map", "deep")])
def test_nan_in_other_columns(name: str) -> None:
    """NaN is no null in a column of any type."""
    with pytest.raises(SchemaError, match=f"Dragon.{name}: expected .*, got nan of type double"):
        rows(schema_of(name), [{name: None}, {name: math.nan}])
    if name in ("ints", "days", "grid", "lairs"):
        with pytest.raises(SchemaError, match="got nan of type double"):
            rows(schema_of(name), [{name: [None, math.nan]}])


def test_every_kind_of_nan() -> None:
    """Each bit pattern that is no number is seen as one."""
    kinds = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF]
    documents = [{"f": struct.unpack("<d", struct.pack("<Q", bits))[0]} for bits in kinds]
    found = Decoder(schema_of("f")).batch(raw([*documents, {}])).column(0)

    assert [False] * 4 + [True] == found.is_null().to_pylist()


def test_instants_beyond_those_of_python() -> None:
    """Instants that Python has no datetime for are kept; such days as well."""
    edges = [-(2**63), 2**63 - 1, 10**15]
    batch = b"".join(
        struct.pack("<i", 19) + b"\x09when\0" + struct.pack("<q", edge) + b"\0" for edge in edges
    )
    found = Decoder(schema_of("when")).batch(batch).column(0)

    assert edges == found.cast(pa.int64()).to_pylist()
    far = struct.pack("<i", 18) + b"\x09day\0" + struct.pack("<q", 2**31 * 86_400_000) + b"\0"
    with pytest.raises(SchemaError, match="got 185542587187200000 ms after 1970"):
        Decoder(schema_of("day")).batch(far)


def test_whole_doubles_are_ints() -> None:
    """A double without a fraction is the same number in a column of ints."""
    documents = [
        {"i": 2.0, "ints": [1.0, None, 2], "lair": {"gold": 2.0**62}, "lairs": [{"gold": 5.0}]},
        {},
        {
            "i": -3.0,
            "floats": [0.5],
            "lair": {"gold": 2**62 + 1},
            "lairs": [{"gold": 6}, {"gold": 0}],
        },
    ]
    schema = schema_of("i", "ints", "lair", "lairs", "floats")
    batch = raw(documents)
    fast = Fast(schema)
    table = fast.decode(batch)

    assert [2, None, -3] == [row["i"] for row in rows(schema, documents)]
    assert [[1, None, 2], None, None] == [row["ints"] for row in rows(schema, documents)]
    check(schema, batch)
    for column in schema:  # without the exact look
        assert 3 == len(fast.column(column, table, batch))
    for value in (2.5, 1e300, -math.inf, 2.0**63, math.nan):
        for document in ({"i": value}, {"ints": [value]}, {"lair": {"gold": value}}):
            with pytest.raises(SchemaError, match="expected int64"):
                rows(schema, [document, {}])


def test_ints_are_doubles_where_they_are_exact() -> None:
    """An int that a double holds exactly is given as one."""
    values = [1, 2**53, Int64(2**60), -5]

    assert [float(v) for v in values] == [
        row["f"] for row in rows(schema_of("f"), [{"f": v} for v in values])
    ]


def test_names_with_dots() -> None:
    """A field whose name has a dot is not one of the embedded document."""
    schema = schema_of("lair", "deep")
    documents = [
        {"lair.gold": 7, "lair": {"gold": 1}},
        {"lair": {"worth": 1.5}, "lair.gold": 8},
        {"deep": {"lair.gold": 9, "lair": {"worth": 2.5}}},
    ]
    check(schema, raw(documents))
    assert [1, None, None] == [(r["lair"] or {}).get("gold") for r in rows(schema, documents)]


def test_names_with_signs() -> None:
    """Fields are told apart whatever signs are in their names."""
    odd = {"a[]": pa.int64(), "c": pa.struct([("d[]", pa.int64()), ("d", pa.list_(pa.int64()))])}
    schema = schema_of(**odd)
    documents = [{"a[]": 1, "c": {"d[]": 2, "d": [3]}}, {"a": [4], "c": {"d": [5, 6]}}]

    check(schema, raw(documents))
    assert documents[0] == rows(schema, documents)[0]


def test_text_that_is_no_utf8() -> None:
    """Bytes that are no text raise the driver's error, as `list(find())` does, and say where."""
    batch = raw([{"_id": 1}, {"_id": 2, "s": "abc"}, {"_id": 3}]).replace(b"abc", b"\xff\xfe\xfd")

    with pytest.raises(InvalidBSON) as caught:
        Decoder(schema_of("s")).batch(batch)
    assert "in the document with _id=2; correct it" in caught.value.__notes__[0]


def test_batches_that_are_no_documents() -> None:
    """What is cut short, or has no length, raises the driver's error."""
    for batch in (bson.encode({"s": "abc"})[:-2], bson.encode({"s": "abc"}) + bytes(8)):
        with pytest.raises(InvalidBSON):
            Decoder(schema_of("s")).batch(batch)
        assert batch == b"".join(parts_of(batch, 1))


def test_paths_and_names() -> None:
    """Columns come from paths, through lists as lists; one may hold what another looks into."""
    schema = Schema(
        "Dragon",
        [
            Column("g", pa.int64(), "lair.gold"),
            Column("h", pa.int64(), "lair.hoard.gold"),
            Column("all", pa.list_(pa.int64()), "lairs.gold"),
            Column("tags", pa.list_(pa.string()), "lair.tags"),
        ],
    )
    documents = [
        {"lair": {"gold": 1, "hoard": {"gold": 2}, "tags": ["a"]}, "lairs": [{"gold": 3}, {}, 5]},
        {"lair": 5, "lairs": []},
        {"lair": {"hoard": None}, "lairs": None},
        {},
    ]
    both = Schema("Dragon", [*schema_of("lair"), schema.columns[0]])

    assert [
        {"g": 1, "h": 2, "all": [3, None], "tags": ["a"]},
        {"g": None, "h": None, "all": [], "tags": None},
        {"g": None, "h": None, "all": None, "tags": None},
        {"g": None, "h": None, "all": None, "tags": None},
    ] == rows(schema, documents)
    assert [(5, 5), (None, None)] == [
        (row["lair"] and row["lair"]["gold"], row["g"])
        for row in rows(both, [{"lair": {"gold": 5}}, {}])
    ]


@pytest.mark.parametrize("value", [[{"gold": 1}], [5]])
def test_paths_through_lists_that_were_not_expected(value: Any) -> None:
    """A list on the way to a single value does not fit."""
    schema = Schema("Dragon", [Column("g", pa.int64(), "lair.gold")])
    documents = [{"lair": {"gold": 1}}, {"_id": 7, "lair": value}]

    with pytest.raises(SchemaError, match=r"Dragon.g \(from lair.gold\): expected int64, got \["):
        Decoder(schema).batch(raw(documents))


Ids = Literal["extension", "binary", "hex"]


@given(st.lists(object_ids | nothing, max_size=5), st.sampled_from(["extension", "binary", "hex"]))
@example([], "hex")
def test_ids(ids: list[ObjectId | None], how: Ids) -> None:
    """ObjectIds are given as such, as bytes or as text, inside other values too."""
    types = {
        "o": OBJECT_ID,
        "l": pa.list_(OBJECT_ID),
        "s": pa.struct([("o", OBJECT_ID)]),
        "m": pa.map_(pa.string(), OBJECT_ID),
        "i": pa.list_(pa.int64()),
    }
    of = {"extension": lambda i: i, "binary": lambda i: i.binary, "hex": str}[how]
    documents = [
        {"o": i, "l": [i, None, i], "s": {"o": i}, "m": {"a": i}, "i": [1]} for i in ids
    ] + [{}]
    found = rows(schema_of(**types), documents, ids=how)
    made = [None if i is None else of(i) for i in ids]

    assert [{"o": i, "l": [i, None, i], "s": {"o": i}, "m": [("a", i)], "i": [1]} for i in made] + [
        dict.fromkeys(types)
    ] == found


def test_the_column_of_texts_has_its_name() -> None:
    """A column of the user's cannot have that name."""
    with pytest.raises(SchemaError, match="expected another name beside"):
        Decoder(schema_of(**{MISMATCHES: pa.int64()}), "string")


def test_lists_of_nothing_but_nulls() -> None:
    """They are sound inside documents with values of extension types."""
    kind = pa.struct([("uid", pa.uuid()), ("none", pa.list_(pa.null())), ("oid", OBJECT_ID)])
    documents = [
        {"d": {"uid": uuid.UUID(int=5), "none": [None, None]}, "m": {"a": [None] * 3}},
        {"d": None},
        {"d": {"oid": ObjectId("65f000000000000000000001"), "none": []}},
    ]
    schema = schema_of(d=kind, l=pa.list_(kind), m=pa.map_(pa.string(), pa.list_(pa.null())))
    listed = [{**one, "l": [one["d"], None, one["d"]]} for one in documents]
    found = rows(schema, listed)
    first = {"uid": uuid.UUID(int=5), "none": [None, None], "oid": None}
    last = {"uid": None, "none": [], "oid": ObjectId("65f000000000000000000001")}

    assert [first, None, last] == [row["d"] for row in found]
    assert [[one, None, one] for one in (first, None, last)] == [row["l"] for row in found]
    assert [("a", [None] * 3)] == found[0]["m"]


def test_dates_are_days() -> None:
    """Days before 1970 are right."""
    documents = [
        {"day": datetime(1969, 12, 31, tzinfo=UTC)},
        {"day": datetime(1, 1, 1, tzinfo=UTC)},
    ]

    assert [date(1969, 12, 31), date(1, 1, 1)] == [
        row["day"] for row in rows(schema_of("day"), documents)
    ]


def test_nothing_is_slow_that_fits() -> None:
    """The fast look settles all that it is made for, so that the exact one is the exception."""
    document = {name: value for name, value in SAMPLE.items() if name not in ("money", "map")}
    schema = schema_of(*document)

    assert [*document] == [column.name for column in Fast(schema).columns]
    for column in schema:
        # By itself: items of another list could be taken for those of this one.
        fast = Fast([column])
        batch = raw([{column.name: document[column.name]}] * 2 + [{}])
        assert 3 == len(fast.column(column, fast.decode(batch), batch))


SAMPLE: dict[str, Any] = {
    "i": 2,
    "i32": 3,
    "u8": 4,
    "f": 0.5,
    "s": "x",
    "yes": True,
    "when": DAY,
    "day": DAY,
    "oid": ObjectId(),
    "dec": Decimal128("1"),
    "b": b"x",
    "b5": Binary(b"x", 5),
    "uid": uuid.UUID(int=1),
    "code": Code("x"),
    "ints": [2],
    "floats": [0.5],
    "days": [DAY],
    "grid": [[5]],
    "lair": {"gold": 5, "worth": 0.5, "tags": ["a"]},
}
