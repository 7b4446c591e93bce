"""What readers are asked for: options in one place, and sources of every kind."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from loom import AggregationStages, FieldError, Frame, Q, QueryError, SchemaError, SubFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from loom.frames import arrow
from loom.frames.arrow.asking import ARGUMENTS, Asked, DriverOptions, ReadOptions
from loom.frames.arrow.reading import Reading
from loom.frames.port import awaited, blocking

from .conftest import Commands, Runtime

READERS = ("batches", "table", "dataframe", "polars", "numpy", "to_parquet")


class Nest(SubFrame):
    """Where a bird lives."""

    height: float


class Bird(Frame):
    """A document of these tests."""

    _id: int
    name: str
    age: int
    nest: Nest


def stored(count: int = 6) -> list[dict[str, Any]]:
    """Store documents, and return them."""
    documents = [
        {"_id": n, "name": f"B{n}", "age": n * 2, "nest": {"height": n / 2}} for n in range(count)
    ]
    Bird.get_collection().insert_many(documents)
    return documents


def start(call: Runtime) -> Any:
    """Return what directives begin with."""
    return Bird.aio if call.is_async else Bird


async def rows_of(call: Runtime, name: str, tmp_path: Path, *args: Any, **how: Any) -> Any:
    """Return the `_id` and the age of each row that a reader gives."""
    if name == "batches":
        if call.is_async:
            found = [batch async for batch in arrow.aio.batches(*args, **how)]
        else:
            found = [*arrow.batches(*args, **how)]
        return [(row["_id"], row["age"]) for batch in found for row in batch.to_pylist()]
    if name == "to_parquet":
        path = tmp_path / "birds.parquet"
        source, *rest = args
        await call(arrow).to_parquet(source, path, *rest, **how)
        return [(row["_id"], row["age"]) for row in pq.read_table(path).to_pylist()]
    columns = await getattr(call(arrow), name)(*args, **how)
    if name == "table":
        columns = columns.to_pydict()
    return [*zip(map(int, columns["_id"]), map(int, columns["age"]), strict=True)]


# Options


def test_options_have_one_place() -> None:
    """What type checkers are told of, what is checked, and what is said, is the same."""
    own = {one.name for one in fields(Asked)} - {"source", "filter", "options"}
    said = {line.partition(":")[0] for line in ARGUMENTS.splitlines() if line[:1] != " "}

    assert own == ReadOptions.__annotations__.keys() - DriverOptions.__annotations__.keys()
    assert own | {"source", "filter", "options"} == said


@pytest.mark.parametrize("name", READERS)
def test_help_shows_them(name: str) -> None:
    """The signature of every reader names each option with its default, and its words say what."""
    reader: Callable[..., Any] = getattr(arrow, name)
    parameters = inspect.signature(reader).parameters

    for one in fields(Asked):
        if one.name not in ("source", "options"):
            assert one.default == parameters[one.name].default
    assert "how" not in parameters
    assert "ARGUMENTS" not in (reader.__doc__ or "")
    assert '\n        `"null"` puts null in its place' in (inspect.getdoc(reader) or "")
    assert parameters == inspect.signature(getattr(arrow.aio, name)).parameters


@pytest.mark.parametrize(
    "how",
    [
        {"on_mismatch": "ignore"},
        {"ids": "text"},
        {"batch_rows": 0},
        {"batch_rows": True},
        {"max_bytes": 0},
        {"max_bytes": "1 MB"},
        {"zone": "x"},
        {"presence": 1},
    ],
)
@pytest.mark.parametrize("name", READERS)
async def test_options_that_mean_nothing(
    call: Runtime, commands: Commands, tmp_path: Path, name: str, how: Any
) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(QueryError, match=f"expected {next(iter(how))}[ =]"):
        await rows_of(call, name, tmp_path, Bird, **how)

    assert [] == commands.names


async def test_calls_go_to_other_processes(call: Runtime) -> None:
    """A call is a value: pickled, it reads the same."""
    documents = stored()
    schema = arrow.schema_of(Bird, {"nest": None})
    for asked in (
        Asked.of(Bird, Q.age > 4, {"schema": schema, "sort": "_id", "ids": "hex"}),
        Asked.of(Bird.filter(Q.age > 4).sort("_id"), None, {"schema": schema}),
        Asked.of(Bird, None, {"schema": schema, "pipeline": [{"$match": {"age": {"$gt": 4}}}]}),
    ):
        again = pickle.loads(pickle.dumps(asked))
        assert asked == again
        if call.is_async:
            table = await Reading(awaited(), again).table()
        else:
            table = arrow.table(again.source, again.filter, **_how(again))
        assert [d["_id"] for d in documents if d["age"] > 4] == table["_id"].to_pylist()


def _how(asked: Asked) -> Any:
    own = {one.name: getattr(asked, one.name) for one in fields(Asked)}
    return {k: v for k, v in own.items() if k not in ("source", "filter", "options")} | {
        **asked.options
    }


async def test_readings_of_a_range(call: Runtime) -> None:
    """A reading can be narrowed, and every batch goes through its steps."""

    class Doubling:
        def schema(self, schema: Any) -> Any:
            return schema.append(pa.field("double", pa.int64()))

        async def batch(self, batch: Any) -> Any:
            return batch.append_column(
                "double", pa.array([2 * n for n in batch["age"].to_pylist()])
            )

    stored()
    port = awaited() if call.is_async else blocking()
    reading = Reading(port, Asked.of(Bird, Q.age < 9, {"sort": "_id", "batch_rows": 2}))
    reading.narrow({"_id": {"$gte": 3}})
    reading.add(Doubling())
    found = []
    batches = reading.batches()
    while True:
        try:
            batch = await batches.__anext__()
        except StopAsyncIteration:
            break
        assert reading.schema == batch.schema
        found += batch.select(["_id", "double"]).to_pylist()

    assert [{"_id": 3, "double": 12}, {"_id": 4, "double": 16}] == found


# Sources


@pytest.mark.parametrize("name", READERS)
async def test_sources(call: Runtime, tmp_path: Path, name: str, commands: Commands) -> None:
    """A class with a filter, a directive and a pipeline give the same, whatever reads them."""
    stored()
    expected = [(5, 10), (4, 8), (3, 6)]
    stages = [{"$match": {"age": {"$gt": 4}}}, {"$sort": {"_id": -1}}]
    commands.clear()
    of_class = await rows_of(call, name, tmp_path, Bird, Q.age > 4, sort="-_id")
    of_chain = await rows_of(call, name, tmp_path, start(call).filter(Q.age > 4).sort("-_id"))
    of_agg = await rows_of(call, name, tmp_path, start(call).agg(stages))
    of_pipeline = await rows_of(
        call, name, tmp_path, Bird, pipeline=stages, schema={"_id": int, "age": int}
    )

    assert expected == of_class == of_chain == of_agg == of_pipeline
    assert ["find", "find", "aggregate", "aggregate"] == [
        name for name in commands.names if name != "getMore"
    ]


async def test_columns_of_directives(call: Runtime) -> None:
    """They are named, and come from paths, as those of a class; also those of rows."""
    stored()
    table = await call(arrow).table(
        start(call).filter(Q._id == 3), projection={"h": "nest.height", "name": True}
    )
    group = start(call).filter().group_by("name").acc(n={"$sum": 1}).sort("name").limit(1)
    rows = await call(arrow).table(group, projection={"who": "name"}, schema={"who": str})

    assert {"h": [1.5], "name": ["B3"]} == table.to_pydict()
    assert {"who": ["B0"]} == rows.to_pydict()


async def test_names_of_directives(call: Runtime) -> None:
    """What a step names is in the column of that name, whether a find or an aggregate is sent."""
    stored(2)
    named = {"h": "$nest.height", "name": "$name", "age": True}
    for first in (start(call).filter(), start(call).filter().sample(5)):
        table = await call(arrow).table(first.project(named).sort("_id"), zone="UTC")
        assert {"h": [0.0, 0.5], "name": ["B0", "B1"], "age": [0, 2]} == table.to_pydict()
    later = start(call).filter().project({"h": "$nest.height"}).filter(Q.h > 0.1)
    assert [0.5] == (await call(arrow).table(later))["h"].to_pylist()


async def test_rows_of_projected_documents(call: Runtime) -> None:
    """Of groups, the schema says the columns, whatever was projected before."""
    stored(2)
    groups = start(call).filter().project("name", "age").group_by("name").acc(n={"$sum": "$age"})
    table = await call(arrow).table(groups.sort("name"), schema={"name": str, "n": int})
    named = await call(arrow).table(groups, schema={"n": int}, projection={"total": "n"})

    assert {"name": ["B0", "B1"], "n": [0, 2]} == table.to_pydict()
    assert ["total"] == named.column_names
    with pytest.raises(
        FieldError, match=r"Bird.nmae: expected a field of the groups.*'nmae'.*name"
    ):
        await call(arrow).table(groups.limit(5), schema={"nmae": str, "n": int})
    whole = start(call).filter().group_by().acc(n={"$sum": 1})
    assert [2] == (await call(arrow).table(whole, schema={"n": int}))["n"].to_pylist()


async def test_undeclared_fields_of_directives(call: Runtime) -> None:
    """A schema says what is loaded, also where the class does not declare it."""
    await call(Bird).insert_many([Bird(_id=1, name="A", age=1, nest=None)])
    Bird.get_collection().update_one({}, {"$set": {"song": "tweet"}})
    for directive in (start(call).filter(), start(call).agg([{"$match": {}}])):
        table = await call(arrow).table(directive, schema={"song": str})
        assert ["tweet"] == table["song"].to_pylist()


async def test_stages_of_looms(call: Runtime) -> None:
    """A pipeline may be made of conditions and stages."""
    stored()
    stages = AggregationStages().match(Q.age > 4).group(Q.name, age={"$max": Q.age})
    table = await call(arrow).table(
        Bird,
        pipeline=stages,
        projection={"name": "_id", "age": True},
        schema={"name": str, "age": int},
    )

    assert {("B3", 6), ("B4", 8), ("B5", 10)} == {(r["name"], r["age"]) for r in table.to_pylist()}


async def test_things_that_are_said_twice(call: Runtime, commands: Commands) -> None:
    """What a directive says by a step is refused beside it, before anything is sent."""
    directive = start(call).filter(Q.age > 4)
    refused: list[Any] = [
        ((Q.age > 5,), {}, r"expected filter as a step .* write \.filter"),
        ((), {"pipeline": []}, r"expected pipeline as a step .* write \.agg"),
        ((), {"sort": "_id"}, "expected sort as a step of the chain"),
    ]
    for args, how, message in refused:
        for name in ("table", "infer"):
            with pytest.raises(QueryError, match=message):
                await getattr(call(arrow), name)(directive, *args, **how)
    with pytest.raises(QueryError, match="expected one projection"):
        await call(arrow).table(directive.project("name"), projection=["age"])
    with pytest.raises(QueryError, match=r"expected a schema for .* write schema=\{'name': ...\}"):
        await call(arrow).table(directive.group_by("name"))
    with pytest.raises(QueryError, match=r"a Frame class or a directive, got \['B', .*\.\.\.$"):
        await call(arrow).table(["B"] * 1_000)
    with pytest.raises(SchemaError, match="age: expected a type, got None; .* leave 'age' out"):
        await call(arrow).table(directive, schema={"age": None})
    with pytest.raises(FieldError, match="expected a field, got 'nmae'"):
        await call(arrow).table(directive, projection=["nmae"])

    assert [] == commands.names


@pytest.mark.parametrize(
    "writing",
    [
        {"$out": "x"},
        {"$merge": {"into": "x"}},
        {"$lookup": {"from": "y", "as": "z", "pipeline": [{"$out": "x"}]}},
        {"$facet": {"a": [{"$merge": {"into": "x"}}]}},
    ],
)
async def test_stages_that_write(call: Runtime, commands: Commands, writing: Any) -> None:
    """They are refused wherever they stand."""
    with pytest.raises(QueryError, match="expected stages that read, got .(out|merge)"):
        await call(arrow).table(Bird, pipeline=[{"$match": {}}, writing], schema={"a": int})
    with pytest.raises(QueryError, match="expected stages that read"):
        await call(arrow).infer(Bird, pipeline=[writing])

    assert [] == commands.names


async def test_default_projections(call: Runtime) -> None:
    """They choose columns as they choose fields; a schema or a projection goes before them."""

    class Shy(Frame):
        _collection = "Bird"
        _default_projection = {"name": True, "nest": {"$sub": Nest, "height": True}}
        _id: int
        name: str
        age: int
        nest: Nest

    class Open(Shy):
        _collection = "Bird"
        _default_projection = {"name": False}

    stored(1)
    of_chain = Shy.aio.filter() if call.is_async else Shy.filter()

    assert ["_id", "name", "nest"] == (await call(arrow).table(Shy)).column_names
    assert ["_id", "name", "nest"] == (await call(arrow).table(of_chain)).column_names
    assert ["_id", "age", "nest"] == (await call(arrow).table(Open)).column_names
    assert ["age"] == (await call(arrow).table(Shy, projection=["age"])).column_names
    schema = arrow.schema_of(Shy)
    assert ["_id", "name", "age", "nest"] == (
        await call(arrow).table(Shy, schema=schema)
    ).column_names


async def test_older_forms_in_directives(call: Runtime) -> None:
    """A class that upgrades its documents gives no columns of whole ones."""

    class Old(Frame):
        _schema_version = 2
        name: str

        @classmethod
        def _upgrade(cls, document: dict[str, Any], version: int) -> dict[str, Any]:
            return document

    first = Old.aio if call.is_async else Old
    for directive in (first.filter(), first.agg([{"$match": {}}])):
        with pytest.raises(QueryError, match="got a class that upgrades older ones"):
            await call(arrow).table(directive)


async def test_what_steps_add_needs_a_type(call: Runtime) -> None:
    """A field that a step adds has no annotation."""
    added = start(call).filter().add_fields(double={"$add": ["$age", "$age"]})
    with pytest.raises(SchemaError, match="expected the type of 'double'"):
        await call(arrow).table(added)


async def test_inferring_from_directives(call: Runtime) -> None:
    """Steps say which documents are looked at; of rows there is no annotation to compare with."""
    stored()
    filtered = await call(arrow).infer(start(call).filter(Q.age > 4), sample=None)
    grouped = await call(arrow).infer(start(call).filter().group_by("name").acc(n={"$sum": 1}))
    piped = await call(arrow).infer(
        Bird, pipeline=[{"$project": {"twice": {"$add": ["$age", 0.5]}}}]
    )

    assert 3 == filtered.documents
    assert ["_id", "name", "age", "nest"] == [column.name for column in filtered.schema]
    assert {"name": "string", "n": "int32"} == {
        column.name: str(column).partition(": ")[2] for column in grouped.schema
    }
    assert pa.float64() == piped.schema.find("twice")
