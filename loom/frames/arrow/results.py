"""What columns are given as: streams of record batches, and what other libraries make of a table."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...errors import QueryError, SchemaError, missing_extra
from ..mismatches import warn_of_mismatches
from ..port import complete
from .decoding import MISMATCHES
from .reading import Reading
from .types import rebuilt, stored

if TYPE_CHECKING:
    import pandas
    import polars

pc: Any = pyarrow.compute  # made when it is imported

__all__ = [
    "AsyncBatches",
    "Batches",
    "dataframe_of",
    "load_dataframe",
    "load_numpy",
    "load_polars",
    "numpy_of",
    "polars_of",
]

#: What pandas and NumPy take for "not a time".
_NOT_A_TIME = -(2**63)


class Batches:
    """Record batches one after the other; holds one at a time.

    Whatever takes a stream of Arrow's takes it, once: `polars.DataFrame(batches)`, a query of
    DuckDB. `reader` is the same as a RecordBatchReader. The cursor is closed when the stream ends,
    is closed, or is left as a context manager.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._batches = self._stepped(reading)

    @staticmethod
    def _stepped(reading: Reading) -> Generator[Any, None, None]:
        batches = reading.batches()
        try:
            while True:
                try:
                    batch = complete(batches.__anext__())
                except StopAsyncIteration:
                    return
                yield batch
                del batch  # before the next one comes
        finally:
            complete(batches.aclose())

    @property
    def schema(self) -> Any:
        """The schema of every batch."""
        return self._reading.schema

    @property
    def mismatches(self) -> dict[str, int]:
        """By column, in how many rows a value did not fit, so far; columns without are absent."""
        return self._reading.mismatches

    def __repr__(self) -> str:
        return _shown(self, self._reading)

    @property
    def reader(self) -> Any:
        """The rest of the stream as a RecordBatchReader.

        Raises:
            QueryError: the stream is at its end: whoever reads it again would find no rows.
        """
        return pa.RecordBatchReader.from_batches(self.schema, self._rest())

    def _rest(self) -> Iterator[Any]:
        """Return the batches that are to come, without a reader, which changes errors to Arrow's."""
        if inspect.getgeneratorstate(self._batches) == inspect.GEN_CLOSED:
            raise QueryError(
                f"{self._reading.columns.place}: expected a stream with batches to come, got one "
                "that was read or closed; make another one with arrow.batches(...)"
            )
        return self._batches

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.reader.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[Any]:
        return self._batches

    def __next__(self) -> Any:
        return next(self._batches)

    def close(self) -> None:
        """Close the cursor; the stream is then at its end."""
        self._batches.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncBatches:
    """Record batches one after the other, awaited; holds one at a time.

    The cursor is closed when the stream ends, is closed, or is left as an asynchronous context
    manager; cancellation closes it too.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._batches = reading.batches()

    @property
    def schema(self) -> Any:
        """The schema of every batch."""
        return self._reading.schema

    @property
    def mismatches(self) -> dict[str, int]:
        """By column, in how many rows a value did not fit, so far; columns without are absent."""
        return self._reading.mismatches

    def __repr__(self) -> str:
        return _shown(self, self._reading)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._batches

    async def __anext__(self) -> Any:
        return await self._batches.__anext__()

    async def aclose(self) -> None:
        """Close the cursor; the stream is then at its end."""
        await self._batches.aclose()

    async def __aenter__(self) -> AsyncBatches:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _shown(stream: Any, reading: Reading) -> str:
    names, rows = reading.schema.names, reading.rows
    return (
        f"<{type(stream).__name__} of {reading.columns.place}: {', '.join(names)}; "
        f"{rows} row{'' if rows == 1 else 's'} so far>"
    )


async def load_dataframe(reading: Reading) -> pandas.DataFrame:
    """Read everything into a DataFrame of pandas."""
    return dataframe_of(reading, await reading.table())


async def load_polars(reading: Reading) -> polars.DataFrame:
    """Read everything into a DataFrame of Polars."""
    return polars_of(reading, await reading.table())


async def load_numpy(reading: Reading) -> dict[str, np.ndarray[Any, Any]]:
    """Read everything into arrays of NumPy."""
    return numpy_of(reading, await reading.table())


def dataframe_of(reading: Reading, table: Any) -> pandas.DataFrame:
    """Return a table as a DataFrame whose columns keep Arrow's types.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        from .pandas_dtypes import dtype_of
    except ImportError:
        raise missing_extra("pandas", "pandas") from None

    _check_times(reading, table)
    if not table.num_rows:
        table = _empty(table.schema)  # with a chunk, which that dtype needs
    frame: pandas.DataFrame = table.to_pandas(types_mapper=dtype_of)
    if reading.mismatches:
        frame.attrs[f"loom.{MISMATCHES[1:]}"] = reading.mismatches
    return frame


def _empty(schema: Any) -> Any:
    """Return a table without rows; Arrow's own makes none of extension types inside others."""
    arrays = [
        rebuilt(
            pa.array([], stored(field.type)),
            field.type,
            lambda found, type: pa.ExtensionArray.from_storage(type, found),
        )
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def polars_of(reading: Reading, table: Any) -> polars.DataFrame:
    """Return a table as a DataFrame of Polars.

    Raises:
        MissingExtra: Polars is not installed.
    """
    try:
        import polars
    except ImportError:
        raise missing_extra("polars", "Polars") from None
    warn_of_mismatches(reading.columns.place, reading.mismatches)
    # As bytes: of columns of PyMongoArrow's types Polars can make no table of Arrow's again.
    types = [stored(type) for type in table.schema.types]
    columns = [
        pa.chunked_array([_without_names(one, type) for one in column.chunks], type)
        for column, type in zip(table.columns, types, strict=True)
    ]
    found = polars.from_arrow(pa.Table.from_arrays(columns, table.column_names))
    assert isinstance(found, polars.DataFrame)  # as of every table
    return found


def _without_names(array: Any, type: Any) -> Any:
    """Return an array without extension types, as `stored` gives its type."""
    return rebuilt(array, type, lambda found, _: found.storage)


def numpy_of(reading: Reading, table: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of a table as arrays; numbers and times with nulls as masked ones."""
    _check_times(reading, table)
    warn_of_mismatches(reading.columns.place, reading.mismatches)
    place = reading.columns.place
    return {name: _array(place, name, table.column(name)) for name in table.column_names}


def _array(place: str, name: str, column: Any) -> np.ndarray[Any, Any]:
    type = column.type
    types = pa.types
    is_plain = types.is_integer(type) or types.is_floating(type) or types.is_boolean(type)
    if not (is_plain or types.is_timestamp(type) or types.is_date32(type)):
        found = np.empty(len(column), dtype=object)
        # One by one: NumPy would make a second dimension of lists.
        for row, value in enumerate(column):
            try:
                found[row] = value.as_py()
            except (OverflowError, ValueError) as error:
                raise SchemaError(
                    f"{place}.{name}: expected dates and instants of the years 1 to 9999 inside of "
                    f"{type}, got another one in row {row}, for which Python has no object; load a "
                    "table",
                    name,
                ) from error
        return found
    if not column.null_count:
        return np.asarray(column.to_numpy())
    masked = np.asarray(column.is_null().to_numpy())
    if types.is_boolean(type):
        zero: Any = pa.scalar(False)
    else:  # Arrow makes days of 32 bits only, instants of 64
        zero = pa.scalar(0, pa.int32() if types.is_date32(type) else pa.int64()).cast(type)
    values = np.asarray(pc.fill_null(column, zero).to_numpy())
    array: np.ndarray[Any, Any] = np.ma.MaskedArray(values, masked)
    return array


def _check_times(reading: Reading, table: Any) -> None:
    """Refuse the one instant that NumPy and pandas take for none."""
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type) and len(column) > column.null_count:
            lowest = pc.min(column.cast(pa.int64())).as_py()
            if lowest == _NOT_A_TIME:
                raise SchemaError(
                    f"{reading.columns.place}.{name}: expected instants later than "
                    f"{_NOT_A_TIME} ms before 1970, got that one, which is NaT in NumPy and "
                    "pandas; load a table",
                    name,
                )
