"""Schemas of columns: from annotations, overridden, printed, saved and loaded."""

from __future__ import annotations

import subprocess
import sys
import uuid
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional

import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from loom import FieldError, Frame, IncrCounter, Q, Ref, SchemaError, StrLower, SubFrame
from loom.frames.annotations import resolved_annotations

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow
from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.schema import columns_for
from loom.frames.arrow.types import OBJECT_ID, from_plain, named, to_plain


class Colour(Enum):
    """Of scales."""

    RED = "red"
    GREEN = "green"


class Rank(IntEnum):
    """Of a dragon."""

    LOW = 1


class Mixed(Enum):
    """Values of two types."""

    ONE = 1
    TWO = "two"


Name = NewType("Name", str)


class Hoard(SubFrame):
    """What a lair holds."""

    gold: int
    gems: list[str]


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    hoard: Hoard
    hoards: list[Hoard]


class Airline(Frame):
    """A company with an `_id` of its own type."""

    _id: str
    name: str


class Everything(Frame):
    """A field of every type."""

    i: int
    i64: Int64
    f: float
    s: str
    low: StrLower
    b: bytes
    bb: Binary
    yes: bool
    when: datetime
    day: date
    dec: Decimal
    d128: Decimal128
    oid: ObjectId
    uid: uuid.UUID
    colour: Colour
    rank: Rank
    maybe: Optional[int]  # noqa: UP045 - as it is also written
    also: int | None
    number: int | float
    names: list[str]
    pair: tuple[int, ...]
    few: set[ObjectId]
    map: dict[str, list[int]]
    lair: Lair
    word: Literal["a", "b", None]
    airline: Annotated[Airline, Ref(on_delete="cascade")]
    others: list[Airline]
    me: Everything
    visits: IncrCounter
    named: Name
    code: Code


class Loose(Frame):
    """Fields without one type."""

    good: int
    bare: dict
    plain: list
    anything: Any
    both: int | str
    mixed: Mixed


class Nested(SubFrame):
    """A sub-frame inside itself."""

    inner: Nested


def test_every_annotation_has_a_type() -> None:
    """Each annotation gives the one Arrow type that its values are stored as."""
    hoard = pa.struct([("gold", pa.int64()), ("gems", pa.list_(pa.string()))])
    expected = {
        "_id": OBJECT_ID,
        "i": pa.int64(),
        "i64": pa.int64(),
        "f": pa.float64(),
        "s": pa.string(),
        "low": pa.string(),
        "b": pa.binary(),
        "bb": pa.binary(),
        "yes": pa.bool_(),
        "when": pa.timestamp("ms", "UTC"),
        "day": pa.date32(),
        "dec": from_plain("", "decimal128"),
        "d128": from_plain("", "decimal128"),
        "oid": OBJECT_ID,
        "uid": pa.uuid(),
        "colour": pa.string(),
        "rank": pa.int64(),
        "maybe": pa.int64(),
        "also": pa.int64(),
        "number": pa.float64(),
        "names": pa.list_(pa.string()),
        "pair": pa.list_(pa.int64()),
        "few": pa.list_(OBJECT_ID),
        "map": pa.map_(pa.string(), pa.list_(pa.int64())),
        "lair": pa.struct([("name", pa.string()), ("hoard", hoard), ("hoards", pa.list_(hoard))]),
        "word": pa.string(),
        "airline": pa.string(),
        "others": pa.list_(pa.string()),
        "me": OBJECT_ID,
        "visits": pa.int64(),
        "named": pa.string(),
        "code": from_plain("", "code"),
    }
    schema = arrow.schema_of(Everything)

    assert expected == {column.name: column.type for column in schema}
    assert [*resolved_annotations(Everything._definition)][1:] == [
        c.name for c in schema if c.name != "_id"
    ]


@pytest.mark.parametrize("name", ["bare", "plain", "anything", "both", "mixed"])
def test_what_means_no_single_type_is_refused(name: str) -> None:
    """An annotation that leaves the type open is named, with the way out."""
    others = dict.fromkeys({"bare", "plain", "anything", "both", "mixed"} - {name})
    with pytest.raises(SchemaError, match=f"Loose.{name}: expected an annotation that means one"):
        arrow.schema_of(Loose, others)


def test_overrides() -> None:
    """A type, an annotation or None stand in place of what a field says."""
    types = {"bare": pa.int32(), "plain": list[float], "anything": None, "both": str, "mixed": None}
    schema = arrow.schema_of(Loose, types)

    assert "_id: objectid\ngood: int64\nbare: int32\nplain: list<float64>\nboth: string" == str(
        schema
    )
    with pytest.raises(FieldError, match="did you mean 'good'"):
        arrow.schema_of(Loose, {"goood": None})
    with pytest.raises(SchemaError, match=r"Loose.bare: expected a type that columns can have"):
        arrow.schema_of(Loose, {**types, "bare": pa.timestamp("ns")})


def test_fields_without_annotation() -> None:
    """Listed fields need a type; a class that is open takes any name."""

    class Listed(Frame):
        _fields = {"name"}

    class Open(Frame):
        pass

    class Deep(Frame):
        nested: Nested

    with pytest.raises(SchemaError, match="Listed.name: expected an annotation, got none"):
        arrow.schema_of(Listed)
    with pytest.raises(SchemaError, match="got Nested inside itself"):
        arrow.schema_of(Deep)
    assert "name: string" in str(arrow.schema_of(Listed, {"name": str}))
    assert "any: int64" in str(arrow.schema_of(Open, {"any": int}))


def test_annotations_that_are_not_defined() -> None:
    """A name that nothing has is told."""

    class Odd(Frame):
        name: Unknown  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SchemaError, match="expected an annotation that is defined, got 'Unknown'"):
        arrow.schema_of(Odd)


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A schema comes back from its file as it was."""
    schema = arrow.schema_of(Everything, {"i": pa.decimal128(20, 2), "when": pa.timestamp("ms")})
    schema.save(tmp_path / "schema.json")

    assert schema == Schema.load(tmp_path / "schema.json")
    assert hash(schema) == hash(Schema.from_json(schema.to_json()))
    assert "i: decimal[20, 2]" in str(schema)
    assert schema != arrow.schema_of(Everything)
    assert 32 == len(schema)
    assert repr(schema).startswith("<Schema of Everything: _id: objectid, i: decimal[20, 2], ")
    assert ["_id", "i"] == schema.to_arrow().names[:2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "of": "D", "columns": []}',
        '{"version": 1, "of": "D", "columns": []}',
        '{"version": 1, "of": "D", "columns": [{"name": "a", "path": "", "type": "int64"}]}',
        '{"version": 1, "of": "D", "columns": [{"name": "a", "path": null, "type": "int64"}]}',
        '{"version": 1, "of": "D", "columns": [{"name": "a", "path": "a", "type": "int128"}]}',
        '{"version": 1, "of": "D", "columns": [{"name": "a", "path": "a", "type": {"list": 1}}]}',
        '{"version": 1, "of": "D", "columns": [{"name": "a", "path": "a", "type": {"struct": 1}}]}',
    ],
)
def test_other_texts_are_no_schema(text: str) -> None:
    """What to_json() did not write is refused."""
    with pytest.raises(SchemaError):
        Schema.from_json(text)


def test_other_files_are_no_schema(tmp_path: Path) -> None:
    """A file with other bytes than text is refused as one with other text is."""
    (tmp_path / "schema.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(SchemaError, match="expected JSON that Schema.to_json"):
        Schema.load(tmp_path / "schema.json")


def plain_types() -> Any:
    """Generate types as JSON holds them."""
    leaves = st.sampled_from(["int64", "string", "objectid", "uuid", {"timestamp": "UTC"}])
    return st.recursive(
        leaves | st.builds(lambda p: {"decimal": [p, 0]}, st.integers(1, 38)),
        lambda inner: (
            st.builds(lambda i: {"list": i}, inner)
            | st.builds(lambda i: {"map": i}, inner)
            | st.builds(
                lambda i: {"struct": i},
                st.dictionaries(st.text("ab", min_size=1), inner, min_size=1),
            )
        ),
    )


@given(plain_types())
def test_types_and_their_names(plain: Any) -> None:
    """Every type is made of its plain form, and gives it back."""
    type = from_plain("a", plain)

    assert plain == to_plain("a", type)
    assert named(type)


def test_projections_choose_columns() -> None:
    """Names, dotted paths, renamed paths, also through lists, take their types from annotations."""
    lair = {"n": "lair.name", "gold": Q.lair.hoard.gold, "all": "$lair.hoards.gold", "i": True}
    found = columns_for(Everything, lair, None)
    some = columns_for(Everything, ["lair.name", Q.i], {"i": pa.int32()})
    saved = columns_for(Everything, ["i"], Schema("E", [Column("i", pa.int8(), "i")]))

    assert str(found) == (
        "n: string from lair.name\ngold: int64 from lair.hoard.gold\n"
        "all: list<int64> from lair.hoards.gold\ni: int64"
    )
    assert "lair.name: string\ni: int32" == str(some)
    assert "i: int8" == str(saved)
    assert "a: int64" == str(columns_for(Everything, None, {"a": int}))
    assert "a: int64" == str(columns_for(Everything, None, pa.schema([("a", pa.int64())])))


@pytest.mark.parametrize(
    ("projection", "error"),
    [
        ("name", SchemaError),
        ({"name": False}, SchemaError),
        ({"i": 1.5}, SchemaError),
        (["i", "i"], SchemaError),
        (["lair..name"], SchemaError),
        (["$$ROOT"], SchemaError),
        (["lair.gold"], SchemaError),
        (["nothing"], FieldError),
        ([], SchemaError),
    ],
)
def test_projections_that_mean_nothing(projection: Any, error: type[Exception]) -> None:
    """What names no column is refused before anything is sent."""
    with pytest.raises(error):
        columns_for(Everything, projection, None)


@pytest.mark.parametrize(
    ("projection", "types", "said"),
    [
        (["i"], {"ii": int}, "got 'ii'; did you mean 'i'"),
        ({"gold": "lair.gold"}, {"gold": int, "lair.gld": int}, "did you mean 'lair.gold'"),
        (["i"], pa.schema([("i", pa.int64()), ("s", pa.string())]), "got 's'; the projection"),
    ],
)
def test_types_of_no_column(projection: Any, types: Any, said: str) -> None:
    """Beside a projection, a type that is given for something else is refused by name."""
    with pytest.raises(SchemaError, match=f"expected names of columns in the schema, .*{said}"):
        columns_for(Everything, projection, types)


def test_schemas_that_mean_nothing() -> None:
    """A schema is a Schema, one of Arrow's, or types by name."""
    with pytest.raises(SchemaError, match="expected schema=Schema"):
        columns_for(Everything, None, 5)
    with pytest.raises(SchemaError, match="expected a Frame class, got 5"):
        arrow.schema_of(5)  # type: ignore[arg-type]


def test_without_the_extra() -> None:
    """The import names the pip command, without a warning; `import loom` does not ask for it."""
    code = (
        "import sys, loom, loom.frames\n"
        "assert not {'pyarrow', 'pymongoarrow', 'loom.frames.arrow'} & set(sys.modules)\n"
        "sys.modules[sys.argv[1]] = None\n"
        "try: import loom.frames.arrow\n"
        "except loom.MissingExtra as error: print(error)\n"
    )
    for module, package in (("pyarrow", "PyArrow"), ("pymongoarrow", "PyMongoArrow")):
        run = [sys.executable, "-W", "error", "-c", code, module]
        shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        expected = f"loom: {package} is not installed; run: pip install 'loom-frames[arrow]'\n"

        assert expected == shown


def test_no_warning_on_import() -> None:
    """The import is quiet."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", "import loom.frames.arrow"], check=True, timeout=120
    )


def test_schemas_of_arrow_that_name_a_column_twice(db: str) -> None:
    """Of two types for one column none is taken silently, by readers and by writers."""
    twice = pa.schema([("name", pa.string()), ("name", pa.int64())])
    reference = {"airline": {"$ref": Airline}}

    for ask in (
        lambda: columns_for(Airline, None, twice),
        lambda: arrow.table(Airline, projection=["name"], schema=twice),
        lambda: arrow.table(Everything, projection=reference, schema=twice),
        lambda: arrow.insert_table(Airline, pa.table({"name": ["x"]}), schema=twice),
    ):
        with pytest.raises(SchemaError, match=r"\.name: expected each column once, got it twice"):
            ask()
