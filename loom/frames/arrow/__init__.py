"""Columns: documents as Arrow, pandas, Polars and NumPy, without a value changed on the way.

The columns come from the annotations of a class. All functions block; `aio` has the same, awaited:
`await arrow.aio.table(Dragon)`. They need the extra: `pip install 'loom-frames[arrow]'`.

>>> from loom import Frame
>>> from loom.frames import arrow
>>> class Dragon(Frame):
...     name: str
...     age: int | None
>>> print(arrow.schema_of(Dragon))
_id: objectid
name: string
age: int64
"""

import warnings

from ...errors import missing_extra

try:
    with warnings.catch_warnings():
        # Of another PyArrow than PyMongoArrow was built with: sizes that have grown.
        warnings.filterwarnings("ignore", message=".*size changed", category=RuntimeWarning)
        import pyarrow
        import pymongoarrow
except ImportError as error:
    package = "PyMongoArrow" if (error.name or "").startswith("pymongoarrow") else "PyArrow"
    raise missing_extra("arrow", package) from None

from .columns import Column, Schema
from .drift import Inferred, SeenType
from .exact import OnMismatch
from .ids import Ids
from .inferring import infer
from .loading import aio, batches, dataframe, numpy, polars, table
from .parallel.dask_frames import dask
from .parquet import Written, to_parquet
from .results import AsyncBatches, Batches
from .schema import schema_of
from .writers.outcome import RowsWritten
from .writers.writing import insert_dataframe, insert_table, replace, upsert_table

__all__ = [
    "AsyncBatches",
    "Batches",
    "Column",
    "Ids",
    "Inferred",
    "OnMismatch",
    "RowsWritten",
    "Schema",
    "SeenType",
    "Written",
    "aio",
    "batches",
    "dask",
    "dataframe",
    "infer",
    "insert_dataframe",
    "insert_table",
    "numpy",
    "polars",
    "replace",
    "schema_of",
    "table",
    "to_parquet",
    "upsert_table",
]

del pyarrow, pymongoarrow, warnings, missing_extra
