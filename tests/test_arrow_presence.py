"""Absent and null, told apart by columns of bools."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Binary
from bson.dbref import DBRef
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loom import Frame, QueryError, SchemaError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow
from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.decoding import MISMATCHES, Decoder
from loom.frames.arrow.fast import Fast
from loom.frames.arrow.presence import Presence, is_present

from .conftest import Runtime
from .test_arrow_decoding import ALL, FITTING, TYPES, anything, documents_of, raw, schema_of

GOLD = Schema(
    "Dragon",
    [
        Column("gold", pa.int64(), "lair.gold"),
        Column("worth", pa.list_(pa.float64()), "lairs.worth"),
        Column("deep", pa.string(), "a.b.c"),
        Column("i", pa.int64(), "i"),
    ],
)


class Hen(Frame):
    """A document of these tests."""

    _id: int


def present(schema: Schema, documents: list[dict[str, Any]], **how: Any) -> list[dict[str, bool]]:
    """Return, by row and column, what is said to be there."""
    batch = Decoder(schema, presence=True, **how).batch(raw(documents))
    batch.validate(full=True)
    names = [column.name for column in schema]
    said = [f"{name}__present" for name in names]
    assert [*names, *said] == [n for n in batch.schema.names if n != MISMATCHES]
    assert {pa.bool_()} == {batch.schema.field(name).type for name in said}
    return [
        {name: row[f"{name}__present"] for name in names} for row in batch.select(said).to_pylist()
    ]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(documents_of(FITTING) | documents_of(dict.fromkeys(FITTING, anything)))
def test_fields_that_are_there(documents: list[dict[str, Any]]) -> None:
    """A field is there if the document names it, whatever its value, also one that does not fit."""
    for how in ("null", "string"):
        found = present(ALL, documents, on_mismatch=how)
        assert [{name: name in d for name in TYPES} for d in documents] == found


inner = st.fixed_dictionaries({}, optional={"gold": st.integers(-5, 5) | st.none()})
paths = st.fixed_dictionaries(
    {},
    optional={
        "lair": inner | st.none() | st.just(5) | st.lists(inner | st.just(5), max_size=2),
        "lairs": st.lists(
            st.fixed_dictionaries({}, optional={"worth": st.sampled_from([None, 0.5, 2.0])})
            | st.none(),
            max_size=3,
        )
        | st.none()
        | st.just({"worth": [1.5, None]}),
        "a": st.sampled_from([None, {}, {"b": None}, {"b": {}}, {"b": {"c": None}}])
        | st.sampled_from([{"b": {"c": "x"}}, {"c": "x"}, {"b": 5}, {"b": [{"c": "x"}, {}]}]),
        "i": st.integers(-5, 5) | st.none(),
        "gold": st.none(),
        "c": st.none(),
    },
)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=60,
)
@given(documents=st.lists(paths, max_size=4))
@example(documents=[{"lairs": [{}, {"worth": None}]}, {"lairs": [{}]}, {"lairs": []}])
@example(documents=[{"lair": None}, {"lair": {"gold": None}}, {"lair": {}}, {"gold": None}])
def test_paths_as_the_server_has_them(db: str, documents: list[dict[str, Any]]) -> None:
    """What a path leads to is there where `$exists` finds it: not in absent or null parents."""
    collection = Hen.get_collection()
    collection.delete_many({})
    if documents:
        collection.insert_many([{**d, "_id": number} for number, d in enumerate(documents)])
    table = arrow.table(
        Hen,
        schema=Schema("Hen", [Column("_id", pa.int64(), "_id"), *GOLD]),
        presence=True,
        on_mismatch="null",
        batch_rows=2,
    )

    for column in GOLD:
        query = {column.path: {"$exists": True}}
        expected = {d["_id"] for d in collection.find(query, {"_id": True})}
        rows = zip(
            table["_id"].to_pylist(), table[f"{column.name}__present"].to_pylist(), strict=True
        )
        assert expected == {id for id, there in rows if there}, column.path


async def test_readers(call: Runtime) -> None:
    """Every reader has these columns, before that of what does not fit."""
    rows = [{"_id": 1, "age": 5}, {"_id": 2, "age": None}, {"_id": 3}, {"_id": 4, "age": "x"}]
    Hen.get_collection().insert_many(rows)
    how: dict[str, Any] = {"schema": {"age": int}, "presence": True, "sort": "_id"}
    table = await call(arrow).table(Hen, on_mismatch="string", **how)
    frame = await call(arrow).dataframe(
        Hen.filter({"_id": {"$lt": 4}}), schema={"age": int}, presence=True
    )
    arrays = await call(arrow).numpy(Hen, {"_id": {"$lt": 4}}, **how)
    polars = await call(arrow).polars(Hen, {"_id": {"$lt": 4}}, **how)
    piped = await call(arrow).table(
        Hen,
        pipeline=[{"$sort": {"_id": 1}}],
        schema={"age": int},
        presence=True,
        on_mismatch="null",
    )

    assert ["age", "age__present", "_mismatches"] == table.column_names
    assert [True, True, False, True] == table["age__present"].to_pylist()
    assert [True, True, False, True] == piped["age__present"].to_pylist()
    absent = frame[frame["age"].isna() & ~frame["age__present"]]
    null = frame[frame["age"].isna() & frame["age__present"]]
    assert ([2], [1]) == ([*absent.index], [*null.index])
    assert (
        [True, True, False] == arrays["age__present"].tolist() == polars["age__present"].to_list()
    )


async def test_names_that_clash(call: Runtime) -> None:
    """A column of the user's keeps its name; other names can be given."""
    schema = {"age": int, "age__present": bool}
    with pytest.raises(SchemaError, match=r"Hen.age__present: expected another name beside"):
        await call(arrow).table(Hen, schema=schema, presence=True)
    with pytest.raises(QueryError, match="expected presence=True or False, got 1"):
        await call(arrow).table(Hen, schema=schema, presence=1)

    projection = {"age": True, "was": "age__present"}
    table = await call(arrow).table(Hen, projection=projection, schema=schema, presence=True)
    assert ["age", "was", "age__present", "was__present"] == table.column_names


def test_no_document_is_made_where_nothing_is_null() -> None:
    """What the fast look settles needs no exact one, unless a null stands at its place."""
    schema = schema_of("i", "s", "f")
    documents = [{"i": 1, "s": "x"}, {"s": None, "f": 0.5}]
    fast = Fast(schema)
    decoded = fast.decode(raw(documents))
    arrays = [fast.column(column, decoded, raw(documents)) for column in schema]
    made: list[int] = []

    def decode() -> Any:
        made.append(1)
        return documents

    presence = Presence(schema)
    for names, expected in (("is", 1), ("if", 0)):
        made.clear()
        places = {name: decoded.top.at([name]) for name in names}
        chosen = Presence(schema_of(*names))
        found = chosen.arrays([arrays["isf".index(name)] for name in names], places, decode)
        there = [[name in document for document in documents] for name in names]
        assert there == [array.to_pylist() for array in found]
        assert expected == len(made)
    assert [pa.bool_()] * 3 == [type for _, type in presence.fields]


def test_documents_that_drivers_change() -> None:
    """A reference of the driver's is a document as well."""
    owner = DBRef("people", 5, None, note=None, kind=Binary(b"x", 5))
    schema = Schema("Dragon", [Column("note", pa.string(), "owner.note")])

    assert [{"note": True}, {"note": False}] == present(
        schema, [{"owner": owner}, {"owner": DBRef("people", 5)}]
    )
    assert is_present({"owner": owner}, ["owner", "kind"])
