"""The fields of structs: what a SubFrame does not have is refused, as at the top."""

from __future__ import annotations

from typing import Any

import pytest

from loom import FieldError, Frame, SubFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames import arrow

from .conftest import Runtime


class Hoard(SubFrame):
    """What is in a lair."""

    gold: int


class Loose(SubFrame):
    """A document with any fields."""


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    hoard: Hoard
    hoards: list[Hoard]


class Wyrm(Frame):
    """A dragon of these tests."""

    lair: Lair | None
    lairs: list[Lair]
    named: dict[str, Lair]
    loose: Loose
    plain: dict


WRONG: dict[str, Any] = {"hoard": {"gold": 1, "goldd": 2}}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"lair": [{"nmae": "x"}]}, "Wyrm.lair: expected a field of Lair, got 'nmae'; did you"),
        ({"lair": [WRONG]}, "Wyrm.lair.hoard: expected a field of Hoard, got 'goldd'; did you"),
        ({"lair": [{"hoards": [{"goldd": 2}]}]}, "Wyrm.lair.hoards: expected a field of Hoard"),
        ({"lairs": [[WRONG]]}, "Wyrm.lairs.hoard: expected a field of Hoard, got 'goldd'"),
        ({"named": [{"a": WRONG}]}, "Wyrm.named.a.hoard: expected a field of Hoard, got 'goldd'"),
        (
            {"named": pa.array([[("a", WRONG)]], pa.map_(pa.string(), pa.array([WRONG]).type))},
            "Wyrm.named.hoard: expected a field of Hoard, got 'goldd'",
        ),
        (
            {"lair": pa.DictionaryArray.from_arrays([0], pa.array([WRONG]))},
            "Wyrm.lair.hoard: expected a field",
        ),
        ({"lair.nmae": ["x"]}, "Wyrm.lair.nmae: expected a field of Lair, got 'nmae'"),
        ({"lair.hoard.goldd": [1]}, "Wyrm.lair.hoard.goldd: expected a field of Hoard"),
        ({"named.a.hoard": [{"goldd": 1}]}, "Wyrm.named.a.hoard: expected a field of Hoard"),
    ],
)
async def test_fields_that_are_not_there(call: Runtime, columns: Any, said: str) -> None:
    """A struct, or a path, with a field that its SubFrame does not have is refused by name."""
    table = pa.table({"_id": [1], **columns})
    for write in (
        lambda: call(arrow).insert_table(Wyrm, table),
        lambda: call(arrow).upsert_table(Wyrm, table, on="_id"),
    ):
        with pytest.raises(FieldError, match=said):
            await write()
    assert 0 == Wyrm.get_collection().count_documents({})


async def test_fields_that_are_there(call: Runtime) -> None:
    """Declared fields are stored, and any where nothing is declared, or a schema says what it is."""
    documents: dict[str, Any] = {
        "lair": {"name": "x", "hoard": {"gold": 1}, "hoards": [{"gold": 2}]},
        "lairs": [{"name": "y"}],
        "named": {"a": {"hoard": {"gold": 3}}},
        "loose": {"any": 1},
        "plain": {"any": {"thing": 2}},
    }
    table = pa.table({name: [value] for name, value in documents.items()})
    await call(arrow).insert_table(Wyrm, table)
    other = pa.table({"lair": [WRONG]})
    await call(arrow).insert_table(Wyrm, other, schema={"lair": other.schema.field("lair").type})
    found = [*Wyrm.get_collection().find({}, {"_id": 0})]

    assert documents == found[0]
    assert {"lair": WRONG} == found[1]
