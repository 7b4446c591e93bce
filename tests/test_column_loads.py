"""Columns of directives."""

from __future__ import annotations

import inspect
from datetime import datetime, timezone
from typing import Any

import pytest

from loom import FieldError, Frame, Q, QueryError, SubFrame
from loom.errors import SchemaError

from .conftest import Commands, Runtime

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pymongoarrow")


class Lair(SubFrame):
    """Where a dragon lives."""

    gold: int


class Beast(Frame):
    """Something to count."""

    name: str
    age: int | None
    born: datetime
    lair: Lair


def start(call: Runtime) -> Any:
    """Return what directives begin with."""
    return Beast.aio if call.is_async else Beast


async def got(result: Any) -> Any:
    """Return what an executed directive gives, blocking or awaited."""
    return await result if inspect.isawaitable(result) else result


BORN = datetime(2024, 1, 2, tzinfo=timezone.utc)


async def beasts(call: Runtime) -> None:
    """Store three."""
    await call(Beast).insert_many(
        [
            Beast(name=name, age=age, born=BORN, lair=Lair(gold=n))
            for n, (name, age) in enumerate([("Burt", 3), ("Fred", None), ("Ann", 7)])
        ]
    )


async def test_a_find(call: Runtime, commands: Commands) -> None:
    """Where a find does what the steps say, its documents become columns."""
    await beasts(call)
    commands.clear()
    directive = start(call).filter(Q.name != "Fred").sort("age", descending=True).limit(5)
    table = await got(directive.project("name", "age", "lair.gold").load_table())

    assert ["find"] == commands.names
    assert ["name", "age", "lair.gold"] == table.column_names
    assert [pa.string(), pa.int64(), pa.int64()] == table.schema.types
    assert {"name": ["Ann", "Burt"], "age": [7, 3], "lair.gold": [2, 0]} == table.to_pydict()


async def test_whole_documents(call: Runtime) -> None:
    """The annotations say the types, whatever the steps, as long as documents are whole."""
    await beasts(call)
    for directive in (
        start(call).filter(Q.age != 3).sort("name"),
        start(call).agg([{"$match": {"age": {"$ne": 3}}}, {"$sort": {"name": 1}}]),
    ):
        table = await got(directive.load_table(ids="hex"))
        assert ["_id", "name", "age", "born", "lair"] == table.column_names
        assert ["Ann", "Fred"] == table["name"].to_pylist()
        assert [7, None] == table["age"].to_pylist()
        assert [BORN, BORN] == table["born"].to_pylist()
        assert [{"gold": 2}, {"gold": 1}] == table["lair"].to_pylist()


async def test_groups(call: Runtime, commands: Commands) -> None:
    """Rows become columns by a schema."""
    await beasts(call)
    group = start(call).filter().group_by("name").acc(total={"$sum": "$age"}).sort("name")
    table = await got(group.load_table(schema={"name": pa.string(), "total": pa.int64()}))
    assert {"name": ["Ann", "Burt", "Fred"], "total": [7, 3, 0]} == table.to_pydict()

    commands.clear()
    with pytest.raises(QueryError, match="expected a schema"):
        await got(group.load_table())
    assert [] == commands.names


async def test_what_steps_add(call: Runtime, commands: Commands) -> None:
    """It has no annotation: a schema or names are asked for, and nothing is left out silently."""
    await beasts(call)
    added = start(call).filter().add_fields(double={"$multiply": ["$age", 2]}).sort("name")
    commands.clear()
    with pytest.raises(SchemaError, match="expected the type of 'double', which a step adds"):
        await got(added.load_table())
    assert [] == commands.names
    table = await got(added.load_table(schema={"name": pa.string(), "double": pa.int64()}))
    assert {"name": ["Ann", "Burt", "Fred"], "double": [14, 6, None]} == table.to_pydict()


async def test_other_libraries(call: Runtime) -> None:
    """pandas and Polars get the same."""
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    await beasts(call)
    directive = start(call).filter().sort("name").project("name", "age")
    frame = await got(directive.load_dataframe())
    assert ["Ann", "Burt", "Fred"] == frame["name"].tolist()
    assert 10 == frame["age"].sum()
    assert {"name": ["Ann", "Burt", "Fred"], "age": [7, 3, None]} == (
        await got(directive.load_polars())
    ).to_dict(as_series=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"on_mismatch": "guess"}, QueryError, "expected on_mismatch of 'raise'"),
        ({"sort": "name"}, QueryError, "expected sort as a step of the chain"),
        ({"nonsense": 1}, QueryError, "expected an option, got 'nonsense'"),
        ({"schema": 3}, SchemaError, "expected schema=Schema"),
    ],
)
async def test_bad_options(
    call: Runtime, commands: Commands, options: Any, error: Any, message: str
) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(error, match=message):
        await got(start(call).filter().load_table(**options))
    with pytest.raises(FieldError, match="declare|expected a field"):
        await got(start(call).filter().project("nmae").load_table())
    assert [] == commands.names


async def test_mismatches(call: Runtime) -> None:
    """A value of another type is an error that names it, or what was asked for instead."""
    await call(Beast({"name": "Burt", "age": 2.5})).insert()
    directive = start(call).filter().project("age")
    with pytest.raises(SchemaError, match=r"age.*2\.5"):
        await got(directive.load_table())
    assert [None] == (await got(directive.load_table(on_mismatch="null")))["age"].to_pylist()
