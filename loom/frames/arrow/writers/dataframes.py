"""DataFrames of pandas, structured arrays of NumPy and dicts of arrays, as columns to write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from bson import ObjectId

from ....errors import SchemaError
from .pieces import Input, Part

__all__ = ["of_arrays", "of_pandas", "of_records"]

#: Returns the rows of a column from one position to another: an array of Arrow's, or a list.
Take = Callable[[int, int], Any]


def _input(place: str, takes: Mapping[str, Take], rows: int, at_once: int) -> Input:
    types = [None if isinstance(some := take(0, 0), list) else some.type for take in takes.values()]

    def taken(name: str, start: int, stop: int) -> Any:
        try:
            return takes[name](start, stop)
        except UnicodeEncodeError as error:  # of lone surrogates
            raise SchemaError(
                f"{place}: expected text that UTF-8 can write in the column {name!r}, got "
                f"{error.object!r} in the rows {start} to {stop - 1}; correct it",
                name,
                None,
                "text in UTF-8",
                error.object,
            ) from None

    def parts() -> Iterator[Part]:
        for start in range(0, rows, at_once):
            stop = min(start + at_once, rows)
            yield Part([taken(name, start, stop) for name in takes], stop - start)

    return Input([*takes], types, rows, True, parts)


def _refuse(place: str, name: Any, got: object, advice: str) -> NoReturn:
    raise SchemaError(
        f"{place}: expected columns whose values MongoDB stores, got {name!r} of {got}; {advice}",
        name,
        None,
        None,
        str(got),
    )


# pandas


def of_pandas(place: str, data: Any, at_once: int) -> Input:
    """Return the columns of a DataFrame.

    Raises:
        SchemaError: it has an index that would be lost, columns of several levels, or a dtype
            whose values are not stored.
    """
    import pandas

    if isinstance(data, pandas.Series):
        if data.name is None:
            raise SchemaError(f"{place}: expected a Series with a name, got one without")
        data = data.to_frame()
    if not isinstance(data, pandas.DataFrame):
        raise SchemaError(
            f"{place}: expected a DataFrame of pandas, got {type(data).__name__}; to_frame()"
        )
    if data.columns.nlevels > 1:
        raise SchemaError(
            f"{place}: expected columns of one level, got {data.columns.nlevels}; join their names"
        )
    index: Any = data.index
    is_default = isinstance(index, pandas.RangeIndex) and index.name is None
    if not is_default or (index.start, index.step) != (0, 1):
        named = ", ".join(repr(name) for name in index.names if name is not None)
        raise SchemaError(
            f"{place}: expected rows that are numbered, got an index "
            f"{f'named {named}' if named else f'of {type(index).__name__}'}; reset_index() makes "
            "it a column, reset_index(drop=True) leaves it out"
        )
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()][0]
        raise SchemaError(f"{place}: expected each column once, got {twice!r} twice; rename one")
    takes = {name: _of_series(place, name, data[name]) for name in data.columns}
    return _input(place, takes, len(data), at_once)


def _of_series(place: str, name: Any, series: Any) -> Take:
    import pandas

    dtype = series.dtype
    of = dtype.categories.dtype if isinstance(dtype, pandas.CategoricalDtype) else dtype
    for kind, advice in (
        (pandas.PeriodDtype, "dt.to_timestamp() makes instants of it"),
        (pandas.IntervalDtype, "write its two ends, as columns"),
    ):
        if isinstance(of, kind):
            _refuse(place, name, dtype, advice)
    if isinstance(dtype, pandas.SparseDtype):
        return _of_series(place, name, series.sparse.to_dense())
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return _of_numpy(place, name, series.to_numpy())
    if of == np.dtype(object):
        return _of_objects(series.astype(object).to_numpy())
    if of is not dtype and isinstance(of, pandas.DatetimeTZDtype):
        # Of categories Arrow asks for these in a way that pandas warns of.
        return _of_series(place, name, series.astype(of))
    if type(dtype).__module__.startswith("pymongoarrow."):
        return _of_objects(series.to_numpy(dtype=object))
    if isinstance(dtype, pandas.DatetimeTZDtype):
        instants = _of_numpy(place, name, series.dt.tz_convert(None).to_numpy())
        return lambda start, stop: instants(start, stop).cast(pa.timestamp(dtype.unit, "UTC"))
    if isinstance(dtype, pandas.ArrowDtype):
        chunked = pa.chunked_array(series.array.__arrow_array__())
        return _of_chunked(chunked)
    values = series.array

    def take(start: int, stop: int) -> Any:
        return _whole(pa.array(values[start:stop], from_pandas=True))

    try:
        take(0, 0)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        _refuse(place, name, dtype, f"convert it ({error})")
    return take


def _of_chunked(chunked: Any) -> Take:
    def take(start: int, stop: int) -> Any:
        return _whole(chunked.slice(start, stop - start))

    return take


def _whole(array: Any) -> Any:
    """Return an array, chunked or not, as one."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    combined = array.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):  # of types that cannot be joined
        return pa.concat_arrays(combined.chunks)
    return combined


# Python's objects


def _of_objects(values: Any) -> Take:
    def take(start: int, stop: int) -> list[Any]:
        some = [*values[start:stop]]
        if _WHOLE.issuperset(map(type, some)):
            return some
        return [None if _is_missing(value) else value for value in some]

    return take


#: Types of which no value stands for a missing one; None is what others become.
_WHOLE = frozenset((str, int, bool, bytes, ObjectId, datetime, list, dict, type(None)))


def _is_missing(value: Any) -> bool:
    """Tell what stands for a missing value among objects: None, NaN, NaT and pandas' NA."""
    kind = type(value)
    if value is None:
        return True
    if kind is float or isinstance(value, np.floating):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NaT or value is pandas.NA)


# NumPy


def _of_numpy(place: str, name: Any, values: Any) -> Take:
    """Return what takes rows of an array of NumPy's, whatever its dimensions."""
    if isinstance(values, np.matrix):
        values = np.asarray(values)  # which has other dimensions than two
    dtype = values.dtype
    if values.ndim > 1:
        flat = _of_numpy(place, name, values.reshape(-1))
        inside = int(np.prod(values.shape[1:]))
        shape = values.shape[1:]
        return lambda start, stop: _lists(
            flat(start * inside, stop * inside), (stop - start, *shape)
        )
    if dtype.names is not None:
        inner = {field: _of_numpy(place, f"{name}.{field}", values[field]) for field in dtype.names}
        mask = _masked_rows(values)
        return lambda start, stop: _struct(inner, start, stop, mask)
    if dtype.kind == "T":  # text of any length, None or NaN where it is missing
        values = values.astype(object)
    if values.dtype.kind == "O":
        if np.ma.isMaskedArray(values):
            pairs = zip(values.data, np.ma.getmaskarray(values), strict=True)
            return _of_objects([None if is_hidden else value for value, is_hidden in pairs])
        return _of_objects(values)
    if dtype.kind in "cmV" or (dtype.kind == "f" and dtype.itemsize > 8):
        advice = {
            "c": "write its real and its imaginary part, as columns",
            "m": "make it a number of units, such as seconds",
            "V": "name its fields",
        }
        _refuse(place, name, dtype, advice.get(dtype.kind, "make it float64"))
    if dtype.kind == "M":
        values = _instants(place, name, values)
    if not dtype.isnative:
        values = values.astype(dtype.newbyteorder("="))
    mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    data = np.ma.getdata(values)
    if mask is not None and dtype.kind == "M":
        mask = mask | np.isnat(data)  # Arrow looks for them only where there is no mask

    def take(start: int, stop: int) -> Any:
        some, hidden = data[start:stop], None if mask is None else mask[start:stop]
        if dtype.kind in "US":
            # One by one: Arrow's own way keeps the zeros at the end.
            texts = (
                [None if h else v for v, h in zip(some.tolist(), hidden, strict=True)]
                if (hidden is not None)
                else some.tolist()
            )
            return pa.array(texts, pa.large_string() if dtype.kind == "U" else pa.large_binary())
        return pa.array(np.ascontiguousarray(some), mask=hidden, from_pandas=dtype.kind == "M")

    return take


def _masked_rows(values: Any) -> Any:
    """Return which rows of a structured array are masked as a whole, None for none."""
    if not np.ma.isMaskedArray(values) or values.ndim > 1:
        return None
    return _all_of(np.ma.getmaskarray(values))


def _all_of(mask: Any) -> Any:
    """Return which rows of a mask are hidden in all their fields."""
    if mask.dtype.names is not None:
        return np.logical_and.reduce([_all_of(mask[name]) for name in mask.dtype.names])
    return mask.reshape(len(mask), -1).all(axis=1) if mask.ndim > 1 else mask


#: The units that Arrow has, from the longest on.
_UNITS = ("s", "ms", "us", "ns")


def _instants(place: str, name: Any, values: Any) -> Any:
    """Return instants in a unit that Arrow has."""
    unit, count = np.datetime_data(values.dtype)
    if unit in _UNITS and count == 1:
        return values
    if unit in ("ps", "fs", "as"):
        _refuse(place, name, values.dtype, "astype('datetime64[ns]') cuts it")
    if unit == "generic":
        return values.astype("datetime64[s]")
    wanted = unit if unit in _UNITS else "s"
    with suppress(OverflowError):  # since NumPy 2.5; before, it wraps around
        cast = values.astype(f"datetime64[{wanted}]")
        there = ~np.isnat(np.ma.getdata(values))
        back = np.ma.getdata(cast.astype(values.dtype))
        if (back == np.ma.getdata(values))[there].all():
            return cast
    _refuse(place, name, values.dtype, "some of its instants are too far away")


def _struct(inner: Mapping[str, Take], start: int, stop: int, mask: Any) -> Any:
    taken = {name: take(start, stop) for name, take in inner.items()}
    hidden = None if mask is None else mask[start:stop]
    if any(isinstance(one, list) for one in taken.values()):
        columns = [one if isinstance(one, list) else one.to_pylist() for one in taken.values()]
        rows: list[Any] = [dict(zip(taken, row, strict=True)) for row in zip(*columns, strict=True)]
        return (
            rows
            if hidden is None
            else [None if h else row for row, h in zip(rows, hidden, strict=True)]
        )
    return pa.StructArray.from_arrays(
        [*taken.values()], [*taken], mask=None if hidden is None else pa.array(hidden)
    )


def _lists(items: Any, shape: tuple[int, ...]) -> Any:
    """Return items as lists of lists, as a shape says; its first number is that of the rows."""
    for depth in range(len(shape) - 1, 0, -1):
        size, count = shape[depth], int(np.prod(shape[:depth]))
        if isinstance(items, list):
            items = [items[at * size : (at + 1) * size] for at in range(count)]
        elif size:
            items = pa.FixedSizeListArray.from_arrays(items, size)
        else:  # of which Arrow cannot tell how many there are
            items = pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), items)
    return items


def of_records(place: str, data: Any, at_once: int) -> Input:
    """Return the columns of a structured array.

    Raises:
        SchemaError: it is none, or has a dtype whose values are not stored.
    """
    if data.dtype.names is None or data.ndim != 1:
        raise SchemaError(
            f"{place}: expected a structured array of one dimension, got one of {data.dtype} with "
            f"{data.ndim} dimensions; give a dict of arrays, {{name: array}}"
        )
    takes = {name: _of_numpy(place, name, data[name]) for name in data.dtype.names}
    return _input(place, takes, len(data), at_once)


def of_arrays(place: str, data: Mapping[str, Any], at_once: int) -> Input:
    """Return the columns of a dict of arrays, which may be of any kind.

    Raises:
        SchemaError: they differ in their lengths, or one holds what is not stored.
    """
    rows: int | None = None
    takes: dict[str, Take] = {}
    for name, values in data.items():
        is_one = isinstance(values, (str, bytes, bytearray, Mapping)) or (
            not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0
        )
        if is_one or isinstance(values, Set):
            advice = "its values have no order" if isinstance(values, Set) else "repeat one value"
            raise SchemaError(
                f"{place}: expected an array for each column, got {type(values).__name__} for "
                f"{name!r}; {advice}"
            )
        if rows is not None and len(values) != rows:
            raise SchemaError(
                f"{place}: expected columns of one length, got {rows} rows and, in {name!r}, "
                f"{len(values)}"
            )
        rows = len(values)
        takes[name] = _of_any(place, name, values)
    return _input(place, takes, rows or 0, at_once)


def _of_any(place: str, name: str, values: Any) -> Take:
    pandas = sys.modules.get("pandas")
    if isinstance(values, np.ndarray):
        return _of_numpy(place, name, values)
    if pandas is not None and isinstance(
        values, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)
    ):
        return _of_series(place, name, pandas.Series(values))
    if isinstance(values, pa.ChunkedArray):
        return _of_chunked(values)
    if isinstance(values, pa.Array):
        return lambda start, stop: values.slice(start, stop - start)
    if hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__"):
        return _of_chunked(pa.chunked_array(values))
    return _of_objects([*values])
