"""Windows out of Arrow's columns, and back."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from bson import Decimal128

from ....errors import FieldError, QueryError, SchemaError, missing_extra, nearest
from ...mismatches import warn_of_mismatches
from ..zones import UTC, TimeZone, arrow_name_of, name_of, zone_of
from .gathering import symbol_of
from .moment_columns import (
    Array,
    Column,
    Columns,
    Query,
    Roles,
    check_times,
    check_years,
    frozen,
    mixed,
    np,
    one_symbol,
    order_of,
    ties_by,
)

try:
    import pyarrow as pa
    import pyarrow.compute
except ImportError:
    raise missing_extra("arrow,time", "PyArrow") from None

if TYPE_CHECKING:
    from .views import View

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["array_of_objects", "columns_of_table", "table_of"]


def columns_of_table(
    cls: Any,
    table: Any,
    tzone: TimeZone | None,
    place: str,
    *,
    naive: tzinfo | None = None,
    query: Query | None = None,
) -> Columns:
    """Return the columns of a table.

    Args:
        cls: the class of the moments.
        table: Arrow's, or what gives a stream of it.
        tzone: the zone in which times are shown; also of naive ones.
        place: for errors.
        naive: the zone of naive times, by default `tzone`.
        query: what the table was loaded by.

    Raises:
        QueryError: several symbols, or moments without a time.
        SchemaError: the table has no column for the time, or times that cannot be kept.
    """
    roles = Roles.of(cls, place)
    zone = None if tzone is None else zone_of(tzone, f"{place}, tzone")
    naive = zone if naive is None else naive
    if not isinstance(table, pa.Table):
        if not hasattr(table, "__arrow_c_stream__"):
            raise QueryError(
                f"{place}: expected a table of Arrow's, got {type(table).__name__}; moments go into "
                "MomentWindow(moments), DataFrames into from_dataframe"
            )
        try:
            table = pa.table(table)
        except pa.ArrowInvalid as error:  # Polars has ObjectIds that Arrow cannot read
            raise SchemaError(
                f"{place}: expected columns that Arrow can read: {error}; DataFrames go into "
                "from_dataframe"
            ) from error
    is_present: dict[str, Any] = {}
    if query is not None:
        _tell_of_mismatches(table, place)
        if query.options.get("presence"):
            table, is_present = _without_presence(table)
    names = tuple(table.column_names)
    if len({*names}) < len(names):
        raise SchemaError(f"{place}: expected each column once, got {', '.join(names)}")
    if roles.time not in names:
        raise SchemaError(
            f"{place}: expected a column {roles.time!r}, got {', '.join(names) or 'none'}"
            f"{nearest(roles.time, names)}; rename_columns(...) gives columns the names of fields"
        )
    symbol = None
    if roles.symbol is not None and roles.symbol in names:
        symbol = _symbol(table.column(roles.symbol), roles.symbol, place)
    column = _instants(table.column(roles.time), naive, f"{place}, {roles.time}")
    check_times(column.null_count, len(column), roles.time, place)
    times, known, unknown = _ticks(column), None, None
    if roles.known is not None and roles.known in names:
        column = _instants(table.column(roles.known), naive, f"{place}, {roles.known}")
        known = _ticks(column)
        if column.null_count:
            unknown = np.asarray(column.is_null())
            known = np.where(unknown, times, known)
            unknown = mixed(unknown)
        known = None if (known == times).all() else known
    order = order_of(times, known)
    if order is not None:
        times = times[order]
        known = None if known is None else known[order]
    check_years(times, roles.time, place)
    if query is not None and "_id" in names:
        # As servers put them in order, whichever came first.
        keys = _id_keys(table.column("_id"))
        order = order if keys is None else ties_by(keys, order, times, known)
    if unknown is not None and order is not None:
        unknown = frozen(unknown[order])
    fields = {
        name: _column(table.column(name), is_present.get(name), order, naive, f"{place}, {name}")
        for name in names
        if name not in (roles.time, roles.symbol)
    }
    return Columns(
        cls,
        roles,
        symbol,
        UTC if zone is None else zone,
        frozen(times),
        None if known is None else frozen(known),
        fields,
        names,
        query,
        unknown,
    )


def _id_keys(column: Any) -> tuple[Array, ...] | None:
    """Return by what servers compare ids, if they are ObjectIds or integers; what counts first last."""
    from ...arrow.types import is_object_id  # with the extra

    if column.null_count or not len(column):
        return None
    if is_object_id(column.type):
        stored = _whole(column).storage
        dtype = [("high", ">u8"), ("low", ">u4")]
        pairs = np.frombuffer(stored.buffers()[1], dtype)[stored.offset :][: len(stored)]
        return pairs["low"], pairs["high"]
    if pa.types.is_integer(column.type):
        return (_whole(column).to_numpy(),)
    return None


def _symbol(column: Any, name: str, place: str) -> Any:
    """Return what all symbols are; Arrow counts them as they are in memory."""
    type, stored = column.type, column
    if isinstance(type, pa.BaseExtensionType):
        stored = column.cast(type.storage_type)
    elif pa.types.is_struct(type) and len(column) and not column.null_count:
        fields = pa.Table.from_struct_array(_whole(column))
        with suppress(pa.ArrowNotImplementedError):  # of documents inside
            if fields.group_by(fields.column_names).aggregate([]).num_rows == 1:
                return column[0].as_py()
    try:
        counted = pc.value_counts(stored)
    except pa.ArrowNotImplementedError:
        return symbol_of(column.to_pylist(), name, place)
    found = counted.field("values")
    if stored is not column:
        found = pa.ExtensionArray.from_storage(type, found)
    symbols = zip(found.to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return one_symbol([*symbols], name, place)


def _instants(column: Any, naive: tzinfo | None, place: str) -> Any:
    """Return times as instants in whole milliseconds; of others in microseconds.

    Raises:
        SchemaError: they are none, are naive and nobody says of which zone, or are finer.
    """
    type = column.type
    if not pa.types.is_timestamp(type):
        raise SchemaError(f"{place}: expected instants, got a column of {type}")
    if type.tz is None:
        if naive is None:
            raise SchemaError(
                f"{place}: expected instants with a zone, got naive ones; say whose clock they "
                "show: tzone='UTC'"
            )
        if isinstance(naive, ZoneInfo):
            try:
                column = pc.assume_timezone(column, name_of(naive))
            except pa.ArrowInvalid as error:
                raise SchemaError(
                    f"{place}: expected times that the clocks of {name_of(naive)} show once, got "
                    f"others: {error}; pass aware ones"
                ) from error
    try:
        found = column.cast(pa.timestamp("ms", "UTC"))
        if type.tz is None and not isinstance(naive, ZoneInfo):
            ahead = pa.scalar(naive.utcoffset(None), pa.duration("ms"))  # type: ignore[union-attr]
            found = pc.subtract_checked(found, ahead)
        return found
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"{place}: expected whole milliseconds, which is what MongoDB keeps, got finer times "
            f"({error}); cut them first: pyarrow.compute.floor_temporal(times, unit='millisecond')"
        ) from None


def _ticks(column: Any) -> Array:
    whole = _whole(column).cast(pa.int64())
    found: Array = (whole.fill_null(0) if whole.null_count else whole).to_numpy()
    return found


def _whole(column: Any) -> Any:
    """Return the one array of a column, whose memory NumPy can share."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _tell_of_mismatches(table: Any, place: str) -> None:
    """Warn of values that did not fit their columns, if the load was not to refuse them."""
    said = (table.schema.metadata or {}).get(b"loom.mismatches")
    warn_of_mismatches(place, json.loads(said) if said else {})


def _without_presence(table: Any) -> tuple[Any, dict[str, Any]]:
    """Return the columns of values, and by field the column that tells whether it was there."""
    from ...arrow.presence import PRESENT  # with the extra

    names = [name for name in table.column_names if name + PRESENT in table.column_names]
    told = {name: table.column(name + PRESENT) for name in names}
    return table.drop_columns([name + PRESENT for name in names]), told


def _column(
    column: Any, present: Any, order: Array | None, naive: tzinfo | None, place: str
) -> Column:
    types = pa.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type, column = column.type, _whole(column)
    if order is not None:
        column = column.take(pa.array(order))
    null = np.asarray(column.is_null()) if column.null_count else None
    absent = None
    if present is not None:
        found = ~np.asarray(present)
        absent = (found if order is None else found[order]) if found.any() else None
    if types.is_timestamp(type):
        column = _instants(column, naive, place)
        return Column(_ticks(column).view("datetime64[ms]"), null, absent, column)
    if types.is_integer(type) or types.is_floating(type) or types.is_boolean(type):
        filled = column
        if null is not None:
            gone = np.nan if types.is_floating(type) else False if types.is_boolean(type) else 0
            filled = column.fill_null(pa.scalar(gone, type))
        return Column(filled.to_numpy(zero_copy_only=False), null, absent, column)
    return Column(None, null, absent, column)


# Out of windows


def table_of(window: View) -> Any:
    """Return a window as a `pyarrow.Table`, its times in its zone."""
    columns, start, stop = window._columns, window._start, window._stop
    instants = pa.timestamp("ms", arrow_name_of(columns.tzone))
    arrays: dict[str, Any] = {}
    for name in columns.names:
        place = f"{type(window).__name__} of {columns.cls.__name__}.{name}"
        if name == columns.roles.time:
            arrays[name] = pa.array(window.times).cast(pa.timestamp("ms", "UTC")).cast(instants)
        elif name == columns.roles.symbol:
            arrays[name] = array_of_objects(
                [columns.symbol] * len(window), columns.cls, name, place
            )
        else:
            column = columns.fields[name]
            if column.arrow is not None:
                found = column.arrow[start:stop]
            elif column.all.dtype.kind == "O":
                found = array_of_objects(column.objects(start, stop), columns.cls, name, place)
            else:
                mask = None if column.null is None else column.null[start:stop]
                found = pa.array(column.all[start:stop], mask=mask)
                if pa.types.is_timestamp(found.type):
                    found = found.cast(pa.timestamp("ms", "UTC"))
            arrays[name] = found.cast(instants) if _is_instant(found.type) else found
    return pa.table(arrays)


def _is_instant(type: Any) -> bool:
    return bool(pa.types.is_timestamp(type)) and type.tz is not None


def array_of_objects(values: list[Any], cls: Any, name: str, place: str) -> Any:
    """Return objects as an array, of the type that the field's annotation says, if it does.

    Raises:
        SchemaError: Arrow has no type for them, or they do not fit it.
    """
    from pymongoarrow.types import Decimal128Type

    from ... import arrow  # with the extra
    from ...arrow.types import is_object_id

    type: Any = None
    with suppress(SchemaError, FieldError):
        others = {other: None for other in ("_id", *cls._definition.ordered) if other != name}
        type = arrow.schema_of(cls, others).find(name)
    try:
        if is_object_id(type):
            raw = [None if value is None else value.binary for value in values]
            return pa.ExtensionArray.from_storage(type, pa.array(raw, type.storage_type))
        if isinstance(type, Decimal128Type):
            raw = [None if value is None else _decimal(value).bid for value in values]
            return pa.ExtensionArray.from_storage(type, pa.array(raw, type.storage_type))
        return pa.array(values, type)
    except (AttributeError, TypeError, ArithmeticError, pa.ArrowException) as error:
        raise SchemaError(f"{place}: expected values that Arrow has a type for: {error}") from error


def _decimal(value: Any) -> Decimal128:
    return value if isinstance(value, Decimal128) else Decimal128(value)
