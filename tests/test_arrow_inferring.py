"""Schemas from documents, and the report of what they hold."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timezone
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex
from hypothesis import HealthCheck, given, settings

from loom import Frame, Q, QueryError, SchemaError, StrLower

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.drift import Inferred, SeenType
from loom.frames.arrow.exact import decoded

from .conftest import Commands, Runtime
from .test_arrow_decoding import CODECS, FITTING, documents_of, raw

BORN = datetime(2024, 3, 1, tzinfo=timezone.utc)


class Wyvern(Frame):
    """A dragon of these tests."""

    _id: int
    name: StrLower
    age: int
    weight: float
    born: date
    tags: list[str]
    odd: dict


def drift_of(*documents: dict[str, Any], **types: Any) -> Inferred:
    """Return what some documents hold."""
    drift = Inferred("Wyvern", {"age": pa.int64(), "tags": pa.list_(pa.string())}, types)
    drift.note(decoded(raw([*documents])))
    return drift


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], "int32"),
        ([1, Int64(2)], "int64"),
        ([1, 2.5], "float64"),
        ([Int64(1), 2.5, None], "float64"),
        ([Int64(2**53), 2.5], "float64"),
        ([Int64(2**53 + 1), 2.0, 5], "int64"),
        ([None], "null"),
        (["x", None], "string"),
        ([True], "bool"),
        ([BORN], "timestamp[UTC]"),
        ([ObjectId()], "objectid"),
        ([Decimal128("1")], "decimal128"),
        ([b"x"], "binary"),
        ([Binary(b"x", 5)], "binary[5]"),
        ([uuid.UUID(int=1)], "uuid"),
        ([Code("x")], "code"),
        ([[1], [2.5], []], "list<float64>"),
        ([[]], "list<null>"),
        ([{}], "map<null>"),
        ([{"a": 1}, {"b": "x"}, {"a": Int64(5)}, {}], "struct<a: int64, b: string>"),
        ([[{"a": 1}], [{"b": [None]}]], "list<struct<a: int32, b: list<null>>>"),
    ],
)
def test_types_widen_and_merge(values: list[Any], expected: str) -> None:
    """The type of a column holds all values that were seen, and they fit it."""
    documents = [{"v": value} for value in values]
    schema = drift_of(*documents).schema

    assert [f"v: {expected}"] == [str(column) for column in schema]
    Decoder(schema).batch(raw(documents))


def test_types_that_nothing_holds() -> None:
    """The error names both types and a document of each, at its path; a given type wins."""
    documents = [{"_id": 1, "v": {"w": 1}}, {"_id": 2, "v": {"w": "x"}}, {"_id": 3, "v": {"w": 5}}]
    with pytest.raises(
        SchemaError,
        match=r"v.w: expected values of one type, got int32 \(2, as in _id=1\) and string",
    ):
        _ = drift_of(*documents).schema
    for double in (2.5, float("nan"), float("inf"), 2.0**63):
        documents_of_numbers = [{"_id": 1, "v": double}, {"_id": 2, "v": Int64(2**53 + 1)}]
        with pytest.raises(SchemaError, match=r"no double is, as in _id=2, and .*, as in _id=1"):
            _ = drift_of(*documents_of_numbers).schema
    with pytest.raises(SchemaError, match="expected values that columns can hold, got Regex"):
        _ = drift_of({"_id": 1, "v": Regex("a")}).schema
    with pytest.raises(SchemaError, match="expected documents to infer columns from, got none"):
        _ = drift_of().schema

    assert "_id: int32\nv: string" == str(drift_of(*documents, v=pa.string()).schema)
    assert "_id: int32\nmore: int64" == str(drift_of(*documents, v=None, more=pa.int64()).schema)


@pytest.mark.parametrize("name", ["", "lair.gold", "$gold"])
def test_names_that_no_path_leads_to(name: str) -> None:
    """A field that no projection can name would be a column of nulls: it is refused, or left out."""
    documents = [{"_id": 1, name: 2}]
    found = Inferred("Wyvern", {}, {})
    found.note(documents)
    with pytest.raises(SchemaError, match="expected fields that a path can name"):
        _ = found.schema

    found = Inferred("Wyvern", {}, {name: None})
    found.note(documents)
    assert [column.name for column in found.schema] == ["_id"]
    assert repr(found) == "<Inferred of Wyvern: 1 document>"


def test_the_report() -> None:
    """It says of every path which types were seen, how often and where, and what is declared."""
    drift = drift_of(
        {"_id": 1, "age": 5, "tags": ["a"], "lair": {"gold": 1}},
        {"_id": 2, "age": "<old>", "tags": [None, 7]},
        {"_id": 3, "age": None, "lair": {}},
    )
    report = dict(drift)

    assert (SeenType("int32", 3, (1, 2, 3)),) == report["_id"]
    assert [("int32", 1), ("string", 1), ("null", 1)] == [f[:2] for f in report["age"]]
    assert SeenType("absent", 1, ()) == report["tags"][1]
    assert [("string", 1), ("null", 1), ("int32", 1)] == [f[:2] for f in report["tags[]"]]
    assert [("int32", 1), ("absent", 1)] == [f[:2] for f in report["lair.gold"]]
    assert ("age", "tags") == drift.drifted()
    assert (
        "Wyvern: 3 documents\n_id: int32 3\nage: int32 1, string 1, null 1 (declared int64) ["
        in (str(drift))
    )
    html = drift.to_html()
    assert html == drift._repr_html_()
    assert '<tr class="drifted"><td>age</td><td>int64</td>' in html
    assert "<old>" not in html


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=80)
@given(documents_of({name: of for name, of in FITTING.items() if name not in ("i", "f")}))
def test_inferred_columns_hold_their_documents(documents: list[dict[str, Any]]) -> None:
    """What a schema was inferred from is loaded with it, all of it."""
    drift = Inferred("Wyvern", {}, {})
    batch = raw(documents)
    drift.note(decoded(batch))
    if not documents or not any(documents):
        return
    if any(_is_clash(d) for d in bson.decode_all(batch, CODECS)):
        return  # a large int64 beside a double: told when it is read
    Decoder(drift.schema).batch(batch)


def _is_clash(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_clash, value.values()))
    if isinstance(value, list):
        return any(map(_is_clash, value))
    return isinstance(value, int) and abs(value) > 2**53


async def test_a_sample(call: Runtime, commands: Commands) -> None:
    """The documents are drawn by the server; the schema is for the readers."""
    Wyvern.get_collection().insert_many(
        [
            {"_id": n, "name": "a", "age": n, "weight": n * 0.5, "odd": {"a": n}, "born": BORN}
            for n in range(20)
        ]
    )
    commands.clear()
    some = await call(arrow).infer(Wyvern, Q.name == "A", sample=5, comment="why")
    all = await call(arrow).infer(Wyvern, sample=None, types={"odd": dict[str, int]})

    assert (5, 20) == (some.documents, all.documents)
    assert [{"$match": {"name": "a"}}, {"$sample": {"size": 5}}] == commands.bodies[0]["pipeline"]
    assert "why" == commands.bodies[0]["comment"]
    assert () == all.drifted()
    table = await call(arrow).table(Wyvern, schema=all.schema, sort="_id")
    assert [("a", 3)] == table.column("odd")[3].as_py()
    assert "age: int32" in str(some.schema)


async def test_samples_that_mean_nothing(call: Runtime) -> None:
    """They are refused."""
    for sample in (0, True, "all"):
        with pytest.raises(QueryError, match="expected a sample of at least 1, or None"):
            await call(arrow).infer(Wyvern, sample=sample)
    with pytest.raises(QueryError, match="expected a Frame class"):
        await call(arrow).infer(str)
    with pytest.raises(QueryError, match="expected no progress, which only readers take"):
        await call(arrow).infer(Wyvern, progress=True)


async def test_an_empty_collection(call: Runtime) -> None:
    """There is a report, but no schema."""
    drift = await call(arrow).infer(Wyvern)

    assert "Wyvern: 0 documents" == str(drift)
    with pytest.raises(SchemaError):
        _ = drift.schema
