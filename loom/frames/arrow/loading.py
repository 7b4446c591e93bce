"""The functions that load columns, blocking and awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..conditions import Field, Filter
from ..port import awaited, blocking, complete
from .columns import Schema
from .exact import OnMismatch
from .ids import Ids
from .inferring import Inferring
from .parquet import ParquetAwaited
from .reading import BATCH_ROWS, Reading
from .results import AsyncBatches, Batches, dataframe_of, numpy_of, polars_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl

    from ..frame import Frame
    from ..progress import Progress

__all__ = ["aio", "batches", "dataframe", "numpy", "polars", "table"]

#: Paths, or columns with the path that each comes from.
Columns: TypeAlias = "Sequence[str | Field] | Mapping[str, bool | str | Field] | None"
#: A schema, one of Arrow's, or types by column.
Types: TypeAlias = "Schema | Mapping[str, Any] | Any | None"
#: Stages of an aggregation.
Pipeline: TypeAlias = "Sequence[Mapping[str, Any]]"


def batches(
    cls: type[Frame],
    filter: Filter = None,
    *,
    projection: Columns = None,
    schema: Types = None,
    pipeline: Pipeline | None = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> Batches:
    """Return a stream of record batches, which holds one batch at a time.

    Args:
        cls: a Frame class.
        filter: as for `many`.
        projection: names and dotted paths; or a dict, `{"gold": "lair.gold", "name": True}`, which
            names the columns. None for all columns of the schema.
        schema: the types; None for those of the annotations, see `schema_of`. A dict by column
            gives those of some, beside a projection, or all.
        pipeline: stages whose results are loaded instead of documents; needs a schema, and no
            filter. The list that is passed is not changed.
        on_mismatch: `"raise"` names the document with a value that does not fit its column;
            `"null"` puts null in its place and counts; `"string"` also keeps the value as text,
            in the last column, `_mismatches`.
        ids: ObjectIds as PyMongoArrow's extension type, as 12 bytes, or as 24 hexadecimal digits.
        batch_rows: how many documents the server sends at a time, at most.
        progress: True for a bar, or a function that is called with the number of rows that are
            loaded and the total, or None.
        options: for PyMongo's `find` (or `aggregate`): `sort`, `skip`, `limit`, `hint`,
            `collation`, `session`, `comment`, ...

    Raises:
        SchemaError: a column has no type, or a value does not fit its column.
        FieldError: a path begins with no field of the class.
    """
    return Batches(
        Reading(
            blocking(),
            cls,
            filter,
            projection,
            schema,
            pipeline,
            on_mismatch,
            ids,
            batch_rows,
            progress,
            options,
        )
    )


def table(
    cls: type[Frame],
    filter: Filter = None,
    *,
    projection: Columns = None,
    schema: Types = None,
    pipeline: Pipeline | None = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> Any:
    """Return a `pyarrow.Table`; its metadata count what did not fit.

    The arguments and errors are those of `batches`.
    """
    reading = Reading(
        blocking(),
        cls,
        filter,
        projection,
        schema,
        pipeline,
        on_mismatch,
        ids,
        batch_rows,
        progress,
        options,
    )
    return complete(reading.table())


def dataframe(
    cls: type[Frame],
    filter: Filter = None,
    *,
    projection: Columns = None,
    schema: Types = None,
    pipeline: Pipeline | None = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> pd.DataFrame:
    """Return a pandas DataFrame whose columns keep their Arrow types.

    Ints with nulls stay ints, instants aware, and NaN is not null. `attrs` counts what did not fit.

    The arguments and errors are those of `batches`.
    """
    reading = Reading(
        blocking(),
        cls,
        filter,
        projection,
        schema,
        pipeline,
        on_mismatch,
        ids,
        batch_rows,
        progress,
        options,
    )
    return dataframe_of(reading, complete(reading.table()))


def polars(
    cls: type[Frame],
    filter: Filter = None,
    *,
    projection: Columns = None,
    schema: Types = None,
    pipeline: Pipeline | None = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> pl.DataFrame:
    """Return a DataFrame of Polars.

    What did not fit is told by a RuntimeWarning.

    The arguments and errors are those of `batches`.
    """
    reading = Reading(
        blocking(),
        cls,
        filter,
        projection,
        schema,
        pipeline,
        on_mismatch,
        ids,
        batch_rows,
        progress,
        options,
    )
    return polars_of(reading, complete(reading.table()))


def numpy(
    cls: type[Frame],
    filter: Filter = None,
    *,
    projection: Columns = None,
    schema: Types = None,
    pipeline: Pipeline | None = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays of NumPy by column; numbers and times with nulls are masked arrays.

    Instants are in UTC, without a zone. What did not fit is told by a RuntimeWarning.

    The arguments and errors are those of `batches`.
    """
    reading = Reading(
        blocking(),
        cls,
        filter,
        projection,
        schema,
        pipeline,
        on_mismatch,
        ids,
        batch_rows,
        progress,
        options,
    )
    return numpy_of(reading, complete(reading.table()))


class Awaited(Inferring, ParquetAwaited):
    """The same functions, awaited: `await arrow.aio.table(Dragon)`.

    `batches` gives an asynchronous stream: `async for batch in arrow.aio.batches(Dragon)`.
    """

    def batches(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        projection: Columns = None,
        schema: Types = None,
        pipeline: Pipeline | None = None,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        batch_rows: int = BATCH_ROWS,
        progress: Progress = False,
        **options: Any,
    ) -> AsyncBatches:
        """Return a stream of record batches, which holds one batch at a time; see `arrow.batches`."""
        return AsyncBatches(
            Reading(
                awaited(),
                cls,
                filter,
                projection,
                schema,
                pipeline,
                on_mismatch,
                ids,
                batch_rows,
                progress,
                options,
            )
        )

    async def table(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        projection: Columns = None,
        schema: Types = None,
        pipeline: Pipeline | None = None,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        batch_rows: int = BATCH_ROWS,
        progress: Progress = False,
        **options: Any,
    ) -> Any:
        """Return a `pyarrow.Table`; its metadata count what did not fit; see `arrow.table`."""
        reading = Reading(
            awaited(),
            cls,
            filter,
            projection,
            schema,
            pipeline,
            on_mismatch,
            ids,
            batch_rows,
            progress,
            options,
        )
        return await reading.table()

    async def dataframe(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        projection: Columns = None,
        schema: Types = None,
        pipeline: Pipeline | None = None,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        batch_rows: int = BATCH_ROWS,
        progress: Progress = False,
        **options: Any,
    ) -> pd.DataFrame:
        """Return a pandas DataFrame whose columns keep their Arrow types; see `arrow.dataframe`."""
        reading = Reading(
            awaited(),
            cls,
            filter,
            projection,
            schema,
            pipeline,
            on_mismatch,
            ids,
            batch_rows,
            progress,
            options,
        )
        return dataframe_of(reading, await reading.table())

    async def polars(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        projection: Columns = None,
        schema: Types = None,
        pipeline: Pipeline | None = None,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        batch_rows: int = BATCH_ROWS,
        progress: Progress = False,
        **options: Any,
    ) -> pl.DataFrame:
        """Return a DataFrame of Polars; see `arrow.polars`."""
        reading = Reading(
            awaited(),
            cls,
            filter,
            projection,
            schema,
            pipeline,
            on_mismatch,
            ids,
            batch_rows,
            progress,
            options,
        )
        return polars_of(reading, await reading.table())

    async def numpy(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        projection: Columns = None,
        schema: Types = None,
        pipeline: Pipeline | None = None,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        batch_rows: int = BATCH_ROWS,
        progress: Progress = False,
        **options: Any,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return arrays of NumPy by column; numbers and times with nulls are masked arrays; see `arrow.numpy`."""
        reading = Reading(
            awaited(),
            cls,
            filter,
            projection,
            schema,
            pipeline,
            on_mismatch,
            ids,
            batch_rows,
            progress,
            options,
        )
        return numpy_of(reading, await reading.table())


aio = Awaited()
