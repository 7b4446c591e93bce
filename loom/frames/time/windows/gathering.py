"""Gathering moments that are frames into the columns of a window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime, tzinfo
from typing import Any

from bson import Int64

from ....errors import FieldError, QueryError, nearest
from ...paths import MISSING
from ..zones import EPOCH, MILLISECOND, UTC, TimeZone, instant, zone_of
from .moment_columns import (
    PLAIN_OBJECTS,
    Array,
    Column,
    Columns,
    Roles,
    check_times,
    frozen,
    mixed,
    np,
    objects,
    one_symbol,
    order_of,
)

__all__ = ["columns_of_moments", "part_of", "symbol_of"]

#: Integers that floats hold, and those that arrays do.
_EXACT, _WIDEST = 2**53, 2**63


def columns_of_moments(
    moments: Iterable[Any], cls: Any, tzone: TimeZone | None, place: str
) -> Columns:
    """Return the columns of frames.

    Args:
        moments: frames of one class, in any order.
        cls: their class; None for that of the first, or of several kinds the one they share.
        tzone: in which they are shown, and whose clock naive times show; None refuses these.
        place: for errors.

    Raises:
        QueryError: they are no moments, of several symbols, or some have no time.
        TimeFrameError: naive times, and no zone.
    """
    if hasattr(moments, "__arrow_c_stream__"):
        raise QueryError(
            f"{place}: expected moments, got {type(moments).__name__}; tables go into from_table, "
            "DataFrames into from_dataframe"
        )
    if not isinstance(moments, Iterable):
        raise QueryError(f"{place}: expected moments, got {moments!r}; several in a list")
    frames = [*moments]
    if cls is None and frames:
        cls = _class_of({type(frame): None for frame in frames})
    if cls is None:
        raise QueryError(f"{place}: expected moments or a class, got none; name it: cls=Price")
    roles = Roles.of(cls, place)
    others = Counter(type(frame).__name__ for frame in frames if not isinstance(frame, cls))
    if others:
        shown = ", ".join(f"{name} {count:,}" for name, count in others.most_common(5))
        raise QueryError(
            f"{place}: expected moments of {cls.__name__}, got {others.total():,} others: {shown}"
        )
    zone = None if tzone is None else zone_of(tzone, f"{place}, tzone")
    documents = [_document_of(frame, cls) for frame in frames]
    times, missing = _ticks(documents, roles.time, zone, place)
    check_times(int(missing.sum()), len(frames), roles.time, place)
    known = unknown = None
    if roles.known is not None:
        ticks, unknown = _ticks(documents, roles.known, zone, place)
        known = np.where(unknown, times, ticks)
    found: dict[str, None] = dict.fromkeys(["_id", *cls._definition.ordered])
    for document in documents:
        found.update(dict.fromkeys(document))
    symbol = None
    if roles.symbol is not None:
        symbol = symbol_of((d.get(roles.symbol) for d in documents), roles.symbol, place)
    fields = {}
    for name in found:
        if name not in (roles.time, roles.symbol):
            fields[name] = column_of([document.get(name, MISSING) for document in documents])
    if "_id" in fields and fields["_id"].absent is not None and fields["_id"].absent.all():
        del fields["_id"]
    names = tuple(n for n in found if n in fields or n in (roles.time, roles.symbol))
    trivial = known is None or bool((known == times).all())
    columns = Columns(
        cls,
        roles,
        symbol,
        UTC if zone is None else zone,
        frozen(times),
        None if trivial else frozen(known),
        fields,
        names,
        unknown=mixed(unknown),
    )
    order = order_of(columns.times, columns.known)
    return columns if order is None else columns.chosen(order)


def _class_of(classes: Iterable[Any]) -> Any:
    """Return the class of moments of these classes: of kinds the nearest that is above them all."""
    first, *others = classes
    for cls in first.__mro__:
        # Above the root of the kinds they are not of one collection.
        is_kind = getattr(cls, "_kinds", None) is not None and getattr(cls, "_time_field", None)
        if is_kind and all(issubclass(other, cls) for other in others):
            return cls
    return first


def _document_of(frame: Any, cls: Any) -> dict[str, Any]:
    """Return the document of a moment; that of another kind than the window's class names it."""
    document: dict[str, Any] = frame._document
    kinds = getattr(cls, "_kinds", None)
    if kinds is None or type(frame) is cls or kinds.field in document:
        return document
    return {**document, kinds.field: type(frame)._kind}


def symbol_of(symbols: Iterable[Any], field: str, place: str) -> Any:
    """Return what all symbols are, told apart as MongoDB does: 1 and 1.0 are one, True is another.

    Documents, which have no hash, are told apart by their texts.

    Raises:
        QueryError: there are several.
    """
    given = [*symbols]
    try:
        counts = Counter((type(symbol) is bool, symbol) for symbol in given)
        return one_symbol([(symbol, n) for (_, symbol), n in counts.items()], field, place)
    except TypeError:
        firsts = {repr(symbol): symbol for symbol in reversed(given)}
        texts = Counter(map(repr, given))
        return deepcopy(one_symbol([(firsts[text], n) for text, n in texts.items()], field, place))


def _ticks(
    documents: list[dict[str, Any]], name: str, zone: tzinfo | None, place: str
) -> tuple[Array, Array]:
    """Return the times of a field in milliseconds, cut as `insert` cuts them, and which lack."""
    ticks = np.zeros(len(documents), np.int64)
    missing = np.zeros(len(documents), bool)
    for row, document in enumerate(documents):
        value = document.get(name)
        if value is None or value != value:  # pandas' NaT
            missing[row] = True
        else:
            ticks[row] = (instant(value, zone, f"{place}, {name} of {row}") - EPOCH) // MILLISECOND
    return ticks, missing


def column_of(values: list[Any]) -> Column:
    """Return Python's values as a column; what is MISSING or None is null.

    Numbers that an array holds exactly are kept as numbers, whatever else as it is.
    """
    count = len(values)
    absent = np.fromiter((value is MISSING for value in values), bool, count)
    null = np.fromiter((value is MISSING or value is None for value in values), bool, count)
    given = [value for value in values if value is not MISSING and value is not None]
    kinds = {_kind_of(type(value)) for value in given}
    made: Array = None
    if kinds and kinds <= {int, float}:
        made = _numbers(values, null, given, kinds)
    elif kinds == {bool}:
        made = np.fromiter(
            (not gone and bool(v) for v, gone in zip(values, null, strict=True)), bool, count
        )
    elif kinds == {datetime} and all(_is_whole(value) for value in given):
        made = np.fromiter(
            (
                0 if gone else (v - EPOCH) // MILLISECOND
                for v, gone in zip(values, null, strict=True)
            ),
            np.int64,
            count,
        ).view("datetime64[ms]")
    if made is None:
        made = objects([None if value is MISSING else _kept(value) for value in values])
    return Column(made, null if null.any() else None, absent if absent.any() else None)


def _kind_of(kind: type[Any]) -> type[Any]:
    """Return the type as which values of a type are stored: of numbers that of Python."""
    if kind is Int64 or issubclass(kind, np.integer):
        return int
    if issubclass(kind, np.floating) and kind is not np.longdouble:  # which Python's cannot hold
        return float
    return bool if issubclass(kind, np.bool_) else kind


def part_of(column: Column, path: str, place: str) -> Column:
    """Return the column of a field inside the documents of another one; made once.

    Raises:
        FieldError: no document has it, or what has to be one is none.
    """
    found = column.parts.get(path)
    if found is None:
        values: list[Any] = column.all.tolist()
        for name in path.split("."):
            values = _inside(values, name, place)
        found = column.parts[path] = column_of(values)
    return found


def _inside(values: list[Any], name: str, place: str) -> list[Any]:
    known: dict[str, None] = {}
    for value in values:
        if isinstance(value, dict):
            known.update(dict.fromkeys(value))
        elif value is not None and value is not MISSING:
            raise FieldError(
                f"{place}: expected documents that have {name!r}, got {type(value).__name__}"
            )
    if name not in known and known:
        raise FieldError(
            f"{place}: expected one of {', '.join(known)}, got {name!r}{nearest(name, known)}"
        )
    return [value.get(name, MISSING) if isinstance(value, dict) else MISSING for value in values]


def _kept(value: Any) -> Any:
    """Return a value of its own, as a document holds it: sub-frames as documents."""
    kind = type(value)
    if kind in PLAIN_OBJECTS:
        return value
    if getattr(kind, "_is_subframe", False) is True:
        return _kept(value._document)
    if kind is dict:
        return {name: _kept(each) for name, each in value.items()}
    return [_kept(each) for each in value] if kind in (list, tuple) else deepcopy(value)


def _numbers(values: list[Any], null: Array, given: list[Any], kinds: set[type]) -> Array:
    whole = [int(value) for value in given if isinstance(value, (int, np.integer))]
    largest = max(map(abs, whole), default=0)
    if kinds == {int}:
        if largest >= _WIDEST:
            return None
        pairs = zip(values, null.tolist(), strict=True)
        return np.fromiter((0 if gone else v for v, gone in pairs), np.int64, len(values))
    if largest > _EXACT:
        return None
    pairs = zip(values, null.tolist(), strict=True)
    return np.fromiter((np.nan if gone else v for v, gone in pairs), np.float64, len(values))


def _is_whole(value: datetime) -> bool:
    return value.tzinfo is not None and value.microsecond % 1000 == 0
