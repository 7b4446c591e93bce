"""The functions that load columns, blocking and awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..port import awaited, blocking, complete
from .asking import Asked, told
from .inferring import Inferring
from .parallel.dask_frames import DaskAwaited
from .parquet import ParquetAwaited
from .reading import Reading
from .results import AsyncBatches, Batches, load_dataframe, load_numpy, load_polars
from .writers.writing import WritingAwaited

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    from typing_extensions import Unpack

    from ..conditions import Filter
    from .asking import ReadOptions, Source

__all__ = ["aio", "batches", "dataframe", "numpy", "polars", "table"]


def _blocking(operation: str, source: Source, filter: Filter, how: ReadOptions) -> Reading:
    return Reading(blocking(), Asked.of(source, filter, how), operation)


def _awaited(operation: str, source: Source, filter: Filter, how: ReadOptions) -> Reading:
    return Reading(awaited(), Asked.of(source, filter, how), operation)


@told
def batches(source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> Batches:
    """Return a stream of record batches, which holds one batch at a time.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another.
    """
    return Batches(_blocking("batches", source, filter, how))


@told
def table(source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> Any:
    """Return a `pyarrow.Table`; its metadata count what did not fit.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another.
    """
    return complete(_blocking("table", source, filter, how).table())


@told
def dataframe(source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> pd.DataFrame:
    """Return a pandas DataFrame whose columns keep their Arrow types.

    Ints with nulls stay ints, instants aware, and NaN is not null. `attrs` counts what did not fit.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another.
        MissingExtra: pandas is not installed.
    """
    return complete(load_dataframe(_blocking("dataframe", source, filter, how)))


@told
def polars(source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> pl.DataFrame:
    """Return a DataFrame of Polars.

    What did not fit is told by a RuntimeWarning.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another.
        MissingExtra: Polars is not installed.
    """
    return complete(load_polars(_blocking("polars", source, filter, how)))


@told
def numpy(
    source: Source, filter: Filter = None, **how: Unpack[ReadOptions]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays of NumPy by column; numbers and times with nulls are masked arrays.

    Instants are in UTC, without a zone. What did not fit is told by a RuntimeWarning.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another.
    """
    return complete(load_numpy(_blocking("numpy", source, filter, how)))


class Awaited(DaskAwaited, Inferring, ParquetAwaited, WritingAwaited):
    """The same functions, awaited: `await arrow.aio.table(Dragon)`.

    `batches` gives an asynchronous stream: `async for batch in arrow.aio.batches(Dragon)`.
    """

    @told
    def batches(
        self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]
    ) -> AsyncBatches:
        """Return a stream of record batches, which holds one batch at a time; see `arrow.batches`."""
        return AsyncBatches(_awaited("batches", source, filter, how))

    @told
    async def table(self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> Any:
        """Return a `pyarrow.Table`; its metadata count what did not fit; see `arrow.table`."""
        return await _awaited("table", source, filter, how).table()

    @told
    async def dataframe(
        self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]
    ) -> pd.DataFrame:
        """Return a pandas DataFrame whose columns keep their Arrow types; see `arrow.dataframe`."""
        return await load_dataframe(_awaited("dataframe", source, filter, how))

    @told
    async def polars(
        self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]
    ) -> pl.DataFrame:
        """Return a DataFrame of Polars; see `arrow.polars`."""
        return await load_polars(_awaited("polars", source, filter, how))

    @told
    async def numpy(
        self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return arrays of NumPy by column; numbers and times with nulls are masked arrays; see `arrow.numpy`."""
        return await load_numpy(_awaited("numpy", source, filter, how))


aio = Awaited()
