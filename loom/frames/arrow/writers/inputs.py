"""What can be written: tables, DataFrames, streams and arrays."""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from ....errors import SchemaError
from ..results import Batches
from .dataframes import of_arrays, of_pandas, of_records
from .pieces import Input, Part

__all__ = ["awaited_input", "close", "input_of", "only_dataframe"]


def input_of(place: str, data: Any, at_once: int) -> Input:
    """Return what can be written, from all that holds columns.

    Args:
        place: class and operation, for errors.
        data: a table, a record batch, a stream or another holder of columns.
        at_once: how many rows are asked for at a time, where that can be said.

    Raises:
        SchemaError: it holds no columns, or some that cannot be written; it says what to do.
    """
    kind = type(data).__module__.partition(".")[0]
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return _named(place, _table(data))
    if isinstance(data, pa.RecordBatchReader):
        return _named(place, _stream(data.schema, lambda: _alike(place, data)))
    if isinstance(data, Batches):
        batches = data._rest()
        return _named(place, _stream(data.schema, lambda: batches))
    if kind == "polars":
        return _named(place, _of_polars(place, data, at_once))
    if kind == "pandas" or (kind != "pyarrow" and _is_pandas(data)):
        return _named(place, of_pandas(place, data, at_once))
    if isinstance(data, np.ndarray):
        return _named(place, of_records(place, data, at_once))
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return _named(place, _of_capsule(place, data))
    if isinstance(data, Mapping):
        return _named(place, of_arrays(place, data, at_once))
    if isinstance(data, (list, tuple)):
        return _named(place, _of_batches(place, iter(data)))
    if hasattr(data, "__next__"):
        return _named(place, _of_batches(place, data))
    if hasattr(data, "to_reader"):  # a scanner
        return input_of(place, data.to_reader(), at_once)
    if hasattr(data, "scanner"):  # a data set
        return input_of(place, data.scanner(batch_size=at_once).to_reader(), at_once)
    raise SchemaError(
        f"{place}: expected a table, record batches, a stream of Arrow's, a DataFrame, a "
        f"structured array or a dict of arrays, got {_told(data)}; documents go to insert_many()"
    )


async def awaited_input(place: str, data: Any) -> Input:
    """Return what goes through an asynchronous stream; one without a schema is begun.

    Raises:
        SchemaError: it is no stream of record batches.
    """
    if hasattr(data, "schema"):
        return _named(place, _awaited(data.schema, data))
    batches = aiter(data)
    try:
        first: Any = await anext(batches, None)
        _check_batch(place, first)
        return _named(place, _awaited(first.schema, _with_first(place, first, batches)))
    except BaseException:
        await close(batches)
        raise


async def _with_first(
    place: str, first: Any, batches: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    try:
        yield first
        async for batch in batches:
            _check_batch(place, batch, first.schema)
            yield batch
            del batch  # before the next one comes
    finally:
        await close(batches)


async def close(stream: Any) -> None:
    """Close an asynchronous stream that can be closed, and with it its cursor."""
    if hasattr(stream, "aclose"):
        await stream.aclose()


def only_dataframe(place: str, data: Any) -> Any:
    """Return a DataFrame.

    Raises:
        SchemaError: it is something else.
    """
    kind = type(data).__module__.partition(".")[0]
    if kind in ("polars", "pandas") or _is_pandas(data):
        return data
    raise SchemaError(
        f"{place}: expected a DataFrame of pandas or Polars, got {_told(data)}; use insert_table()"
    )


def _told(data: Any) -> str:
    return f"{type(data).__module__}.{type(data).__name__}"


def _is_pandas(data: Any) -> bool:
    pandas = sys.modules.get("pandas")  # who has a DataFrame has imported it
    return pandas is not None and isinstance(data, (pandas.DataFrame, pandas.Series))


def _named(place: str, found: Input) -> Input:
    """Check the names of columns."""
    seen: set[Any] = set()
    for name in found.names:
        if not isinstance(name, str):
            raise SchemaError(
                f"{place}: expected names of columns, got {name!r} of type {type(name).__name__}; "
                "rename the column"
            )
        if name in seen:
            raise SchemaError(f"{place}: expected each column once, got {name!r} twice; rename one")
        seen.add(name)
    return found


def _table(table: Any) -> Input:
    def parts() -> Iterator[Part]:
        return (Part(batch.columns, batch.num_rows) for batch in table.to_batches())

    schema = table.schema
    return Input(schema.names, list(schema.types), table.num_rows, True, parts)


def _stream(schema: Any, batches: Callable[[], Iterable[Any]]) -> Input:
    def parts() -> Iterator[Part]:
        for batch in batches():
            yield Part(batch.columns, batch.num_rows)
            del batch  # before the next one comes

    return Input(schema.names, list(schema.types), None, False, parts)


def _of_capsule(place: str, data: Any) -> Input:
    """Return what another library gives as a stream, or an array, of Arrow's."""
    try:
        if hasattr(data, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(data)
            return _stream(reader.schema, lambda: iter(reader))
        return _table(pa.Table.from_batches([pa.record_batch(data)]))
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"{place}: expected columns with names, got {_told(data)} without; give a dict, "
            "{name: array}"
        ) from error


def _of_batches(place: str, batches: Iterator[Any]) -> Input:
    """Return what goes through record batches that come one by one; the first tells the schema."""
    first: Any = next(batches, None)
    _check_batch(place, first)

    def checked() -> Iterator[Any]:
        for batch in chain([first], batches):
            _check_batch(place, batch, first.schema)
            yield batch

    return _stream(first.schema, checked)


def _check_batch(place: str, batch: Any, schema: Any = None) -> None:
    """Refuse what is no record batch, or one with another schema than the first."""
    if not isinstance(batch, pa.RecordBatch):
        raise SchemaError(
            f"{place}: expected record batches, got {_told(batch)}; documents go to insert_many()"
        )
    if schema is not None and batch.schema != schema:
        raise SchemaError(
            f"{place}: expected record batches with the schema of the first, got {batch.schema}"
        )


def _alike(place: str, reader: Any) -> Iterator[Any]:
    """Yield the batches of a reader; Arrow does not look whether they have its schema."""
    for batch in reader:
        if batch.schema != reader.schema:
            raise SchemaError(
                f"{place}: expected record batches with the schema of their reader, got "
                f"{batch.schema}"
            )
        yield batch
        del batch  # before the next one comes


def _awaited(schema: Any, stream: Any) -> Input:
    async def parts() -> AsyncGenerator[Part, None]:
        try:
            async for batch in stream:
                yield Part(batch.columns, batch.num_rows)
                del batch
        finally:
            await close(stream)

    return Input(schema.names, list(schema.types), None, False, parts)


def _of_polars(place: str, data: Any, at_once: int) -> Input:
    import polars

    if isinstance(data, polars.Series):
        if not data.name:
            raise SchemaError(f"{place}: expected a Series with a name, got one without")
        data = data.to_frame()
    if not isinstance(data, (polars.DataFrame, polars.LazyFrame)):
        raise SchemaError(
            f"{place}: expected a DataFrame or a LazyFrame of Polars, got {_told(data)}"
        )
    named = [
        name
        for name, kind in data.collect_schema().items()
        if isinstance(kind, getattr(polars, "BaseExtension", ()))
    ]
    if named:  # such as PyMongoArrow's, of which Polars can make no arrays of Arrow's
        data = data.with_columns(polars.col(named).ext.storage())
    schema = data.collect_schema()
    names, types = [*schema], [_polars_type(place, name, kind) for name, kind in schema.items()]
    if isinstance(data, polars.DataFrame):

        def parts() -> Iterator[Part]:
            for some in data.iter_slices(max(at_once, 10_000)):
                yield from _table(some.to_arrow()).parts()  # type: ignore[misc]  # of a table

        return Input(names, types, data.height, True, parts)

    def collected() -> Iterator[Part]:
        if hasattr(data, "collect_batches"):
            frames: Iterable[Any] = data.collect_batches(maintain_order=True)
        else:  # an older Polars has the result as a whole only
            frames = [data.collect(engine="streaming")]
        for some in frames:
            yield from _table(some.to_arrow()).parts()  # type: ignore[misc]  # of a table

    return Input(names, types, None, False, collected)


def _polars_type(place: str, name: str, kind: Any) -> Any:
    """Return the type of Arrow's that a dtype of Polars has."""
    import polars

    try:
        if kind == polars.Object:  # whose pointers it would give
            raise TypeError
        return polars.DataFrame(schema={name: kind}).to_arrow().schema.field(0).type
    except Exception as error:  # of many kinds, by version
        raise SchemaError(
            f"{place}: expected columns that Arrow knows, got {name!r} of {kind}; cast it, or give "
            "a dict of lists",
            name,
        ) from error
