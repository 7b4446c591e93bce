"""Windows out of DataFrames of pandas and Polars, and back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ....errors import QueryError, SchemaError, missing_extra
from .moment_columns import np
from .tables import array_of_objects, table_of

try:
    import pyarrow as pa
except ImportError:
    raise missing_extra("arrow,time", "PyArrow") from None

if TYPE_CHECKING:
    from .views import View

__all__ = ["dataframe_of", "polars_of", "table_of_dataframe"]


def table_of_dataframe(cls: Any, frame: Any, place: str) -> Any:
    """Return a DataFrame of pandas or Polars as a table; an index with a name is a column."""
    module = type(frame).__module__.partition(".")[0]
    if module == "polars":
        return _table_of_polars(frame, place)
    if module != "pandas":
        if not hasattr(frame, "__arrow_c_stream__"):
            raise QueryError(f"{place}: expected a DataFrame, got {type(frame).__name__}")
        return frame
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise QueryError(f"{place}: expected a DataFrame, got {type(frame).__name__}")
    named = [name for name in frame.index.names if name is not None]
    if named:
        both = [name for name in named if name in frame.columns]
        if both:
            raise SchemaError(
                f"{place}: expected each column once, got {both[0]} as an index, too; leave that out: "
                "frame.reset_index(drop=True)"
            )
        frame = frame.reset_index()
    time = getattr(cls, "_time_field", None)
    if not named and time not in frame.columns and isinstance(frame.index, pandas.DatetimeIndex):
        raise SchemaError(
            f"{place}: expected a column {time!r}, got an index of times without a name; name it: "
            f"frame.rename_axis({time!r})"
        )
    if not frame.columns.is_unique:
        shown = ", ".join(map(str, frame.columns))
        raise SchemaError(f"{place}: expected each column once, got {shown}")
    arrays = {}
    for name in frame.columns:
        if not isinstance(name, str):
            raise SchemaError(f"{place}: expected columns with names of fields, got {name!r}")
        column = frame[name]
        if isinstance(column.dtype, pandas.DatetimeTZDtype):
            naive = pa.array(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
            arrays[name] = naive.cast(pa.timestamp(naive.type.unit, "UTC"))
        elif isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
            arrays[name] = pa.array(column.to_numpy(), from_pandas=False)  # NaN stays NaN
        else:
            _check_clocks(column, f"{place}, {name}")
            try:
                arrays[name] = pa.array(column, from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # ObjectIds
                values = [None if value is pandas.NA else value for value in column.tolist()]
                arrays[name] = array_of_objects(values, cls, name, f"{place}, {name}")
    return pa.table(arrays)


def _check_clocks(column: Any, place: str) -> None:
    """Refuse a column of objects with naive and aware datetimes: Arrow takes naive ones for UTC.

    Raises:
        SchemaError: it has both.
    """
    if column.dtype != object:
        return
    times = [value for value in column if isinstance(value, datetime) and value == value]
    naive = sum(value.utcoffset() is None for value in times)
    if 0 < naive < len(times):
        raise SchemaError(
            f"{place}: expected datetimes with a zone, got {naive:,} of {len(times):,} without; say "
            "whose clock they show: value.replace(tzinfo=...)"
        )


def _table_of_polars(frame: Any, place: str) -> Any:
    """Return a DataFrame of Polars as a table.

    Polars keeps the bytes of ObjectIds and Decimals in another layout than Arrow can read as such.
    """
    import polars
    from pymongoarrow.types import Decimal128Type, ObjectIdType

    if not isinstance(frame, polars.DataFrame):
        hint = "; collect it first" if isinstance(frame, polars.LazyFrame) else ""
        raise QueryError(f"{place}: expected a DataFrame, got {type(frame).__name__}{hint}")
    known = {each.extension_name: each for each in (ObjectIdType(), Decimal128Type())}
    arrays = {}
    for column in frame.iter_columns():
        if column.dtype == polars.Object:  # whose pointers it would give
            raise SchemaError(
                f"{place}, {column.name}: expected values that Arrow has a type for, got a column "
                "of objects; cast it"
            )
        type_of_name = getattr(column.dtype, "ext_name", None)
        kind = None if type_of_name is None else known.get(type_of_name())
        if kind is None:
            arrays[column.name] = column.to_arrow()
        else:
            raw = column.ext.storage().to_arrow().cast(kind.storage_type)
            arrays[column.name] = pa.ExtensionArray.from_storage(kind, raw)
    return pa.table(arrays)


def dataframe_of(window: View) -> Any:
    """Return a window as a DataFrame of pandas.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        from ...arrow.pandas_dtypes import dtype_of
    except ImportError:
        raise missing_extra("pandas", "pandas") from None

    return table_of(window).to_pandas(types_mapper=dtype_of)


def polars_of(window: View) -> Any:
    """Return a window as a DataFrame of Polars.

    Raises:
        MissingExtra: Polars is not installed.
    """
    try:
        import polars
    except ImportError:
        raise missing_extra("polars", "Polars") from None
    return polars.from_arrow(table_of(window))
