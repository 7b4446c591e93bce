"""What windows are made of: one array for each field of their moments, in the order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple, TypeAlias

from ....datetimes import PLAIN
from ....errors import QueryError, missing_extra
from ..zones import EPOCH, MILLISECOND, UTC, beyond

try:
    import numpy as np
except ImportError:
    raise missing_extra("arrow,time", "NumPy") from None

__all__ = [
    "Array",
    "Column",
    "Columns",
    "Query",
    "Roles",
    "check_times",
    "check_years",
    "datetime_of",
    "distinct",
    "frozen",
    "mixed",
    "np",
    "objects",
    "one_symbol",
    "order_of",
    "shown_in",
    "ties_by",
]

Array: TypeAlias = Any

_UNITS = {"s": timedelta(seconds=1), "ms": MILLISECOND, "us": timedelta(microseconds=1)}


#: From when on there are datetimes, and from when on there are none, in milliseconds.
_YEARS = [
    (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND,
    (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND + 1,
]


def datetime_of(milliseconds: int) -> datetime:
    """Return an instant of a window as a datetime in UTC.

    Raises:
        TimeFrameError: none shows it.
    """
    try:
        return EPOCH + milliseconds * MILLISECOND
    except OverflowError:
        raise beyond("MomentWindow") from None


def shown_in(moment: datetime, zone: tzinfo) -> datetime:
    """Return an instant in a zone; in UTC where it is the year 0 or 10000 to the zone."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def frozen(array: Array) -> Array:
    """Return a view of an array that cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def mixed(mask: Array | None) -> Array | None:
    """Return a mask where it tells some from others, else None."""
    return None if mask is None or mask.all() or not mask.any() else frozen(mask)


def distinct(times: Array) -> Array:
    """Return the times in order, each once, of times in order."""
    if not len(times):
        return times
    is_new = np.empty(len(times), bool)
    is_new[0] = True
    np.not_equal(times[1:], times[:-1], out=is_new[1:])
    return times[is_new]


class Column:
    """The values of one field: an array, and where it has none.

    Args:
        values: numbers, bools, datetime64 in UTC, or objects; whatever where there is none.
        null: where the value is None, or None if it nowhere is.
        absent: where a moment does not have the field at all; there `null` is true as well.
        arrow: the same as an array of Arrow's; `values` may then be None, and is made of it when
            it is first asked for.
    """

    __slots__ = ("_values", "absent", "arrow", "null", "parts")

    def __init__(
        self, values: Array, null: Array = None, absent: Array = None, arrow: Any = None
    ) -> None:
        self._values = values if values is None else frozen(values)
        self.null = None if null is None else frozen(null)
        self.absent = None if absent is None else frozen(absent)
        self.arrow = arrow
        #: what was taken out of the documents in it, by path
        self.parts: dict[str, Column] = {}

    @property
    def all(self) -> Array:
        """The values of all rows, as an array without a mask."""
        if self._values is None:
            self._values = frozen(objects(self.arrow.to_pylist()))
        return self._values

    def array(self, start: int, stop: int) -> Array:
        """Return a view of the values of some rows, a masked one where there are nulls."""
        found = self.all[start:stop]
        if self.null is None or found.dtype.kind == "O":
            return found
        masked = np.ma.MaskedArray(found, self.null[start:stop])
        masked.mask.flags.writeable = False
        return masked

    def objects(self, start: int, stop: int) -> list[Any]:
        """Return the values of some rows as a document holds them."""
        if self._values is None:
            values: list[Any] = self.arrow[start:stop].to_pylist()
            return values  # made anew
        found = self._values[start:stop]
        kind = found.dtype.kind
        if kind == "O":
            return [value if type(value) in PLAIN_OBJECTS else deepcopy(value) for value in found]
        if kind == "M":
            unit = _UNITS[np.datetime_data(found.dtype)[0]]
            values = [EPOCH + tick * unit for tick in found.astype(np.int64).tolist()]
        else:
            values = found.tolist()
        if self.null is not None:
            where = self.null[start:stop]
            if where.any():
                values = [
                    None if gone else value
                    for gone, value in zip(where.tolist(), values, strict=True)
                ]
        return values

    def plain(self) -> Column:
        """Return the column without Arrow's array, to be kept elsewhere."""
        return Column(self.all, self.null, self.absent)

    def chosen(self, rows: Any) -> Column:
        """Return the column of some rows: a slice gives views, an array of numbers a copy."""
        arrow = self.arrow
        if isinstance(rows, slice):
            values = self.all  # Arrow has no steps
            arrow = None if rows.step not in (None, 1) or arrow is None else arrow[rows]
        else:
            values = self._values
            arrow = None if arrow is None else arrow.take(rows)
        null = None if self.null is None else self.null[rows]
        absent = None if self.absent is None else self.absent[rows]
        return Column(None if values is None else values[rows], null, absent, arrow)


#: What cannot be changed in place, and so may stand in a window and in documents at once.
PLAIN_OBJECTS = PLAIN | {datetime}


def objects(values: list[Any]) -> Array:
    """Return a list as an array of objects; NumPy would make a second dimension of lists."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


class Roles(NamedTuple):
    """The fields by which a window orders moments; those that a class does not have are None."""

    time: str
    symbol: str | None
    known: str | None

    @classmethod
    def of(cls, frame_class: Any, place: str) -> Roles:
        """Return those of a class of moments.

        Raises:
            QueryError: it is none.
        """
        time = getattr(frame_class, "_time_field", None)
        if not isinstance(frame_class, type) or not isinstance(time, str):
            raise QueryError(
                f"{place}: expected a class of moments, got {frame_class!r}; derive it from "
                "Moment, or from TimedFrame with a _time_field"
            )
        return cls(time, frame_class._symbol_field, frame_class._known_at_field)  # type: ignore[attr-defined]


class Query(NamedTuple):
    """What a window was loaded by.

    Attributes:
        cls: the class of the moments.
        filter: as it is sent.
        options: those of the call.
        using: the client and the name of the database, for `loom.using(**query.using)`.
    """

    cls: Any
    filter: dict[str, Any]
    options: Mapping[str, Any]
    using: Mapping[str, Any]


class Columns(NamedTuple):
    """The moments of one symbol, in the order of time; shared by all views of a window.

    Attributes:
        cls: the class of the moments.
        roles: which of its fields are which.
        symbol: of all of them, None when they have none, or there are no moments.
        tzone: the zone in which they are shown.
        times: event times, in milliseconds since 1970 in UTC, in order.
        known: since when each moment has been known, None if all were known at their times. Its
            time stands in where nobody knows.
        unknown: where nobody knows, None if that is so of all moments, or of none.
        fields: the columns by field in the order of documents, those of `symbol` and `time` left
            out.
        names: all fields, in the order of documents.
        query: what they were loaded by, or None.
    """

    cls: Any
    roles: Roles
    symbol: Any
    tzone: tzinfo
    times: Array
    known: Array | None
    fields: dict[str, Column]
    names: tuple[str, ...]
    query: Query | None = None
    unknown: Array | None = None

    def chosen(self, rows: Any) -> Columns:
        """Return some rows: a slice gives views, an array of numbers a copy."""
        return self._replace(
            times=frozen(self.times[rows]),
            known=None if self.known is None else frozen(self.known[rows]),
            fields={name: column.chosen(rows) for name, column in self.fields.items()},
            query=None,
            unknown=None if self.unknown is None else frozen(self.unknown[rows]),
        )

    def known_since(self) -> Array:
        """Return since when each moment has been known, in milliseconds."""
        return self.times if self.known is None else self.known

    def documents(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return some rows as documents; those of a field that has dots are inside others."""
        count = stop - start
        parts: list[tuple[str, list[Any], Array]] = []
        for name in self.names:
            if name == self.roles.symbol:
                if self.symbol is not None:
                    parts.append((name, [self.symbol] * count, None))
            elif name == self.roles.time:
                ticks = self.times[start:stop].tolist()
                parts.append((name, [EPOCH + tick * MILLISECOND for tick in ticks], None))
            else:
                column = self.fields[name]
                absent = None if column.absent is None else column.absent[start:stop]
                parts.append((name, column.objects(start, stop), absent))
        if all(absent is None for _, _, absent in parts) and "." not in "".join(self.names):
            rows = zip(*(values for _, values, _ in parts), strict=True)
            names = [name for name, _, _ in parts]
            return [dict(zip(names, row, strict=True)) for row in rows]
        documents: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, values, absent in parts:
            _fill(documents, name.split("."), values, absent)
        return documents


def _fill(
    documents: list[dict[str, Any]], path: list[str], values: list[Any], absent: Array
) -> None:
    *outer, last = path
    for row, (document, value) in enumerate(zip(documents, values, strict=True)):
        if absent is None or not absent[row]:
            for name in outer:
                document = document.setdefault(name, {})
            document[last] = value


def order_of(times: Array, known: Array | None) -> Array | None:
    """Return the rows by time, of one time by when they became known; None if they are so."""
    later, same = times[1:] > times[:-1], times[1:] == times[:-1]
    if known is not None:
        same &= known[1:] >= known[:-1]
    if (later | same).all():
        return None
    found: Array = np.lexsort((times,) if known is None else (known, times))
    return found


def ties_by(
    keys: tuple[Array, ...], order: Array | None, times: Array, known: Array | None
) -> Array | None:
    """Return an order of rows in which what is of one time, and known at one time, goes by keys.

    Args:
        keys: of the rows as they came; the last one counts first.
        order: that of the rows by time and since when they are known; None if they came so.
        times: of the rows in that order, as is `known`.
    """
    same = times[1:] == times[:-1]
    if known is not None:
        same &= known[1:] == known[:-1]
    if not same.any():
        return order
    is_tied = np.append(same, False)
    is_tied[1:] |= same
    places = np.flatnonzero(is_tied)
    runs = np.cumsum(~np.append(False, same))[places]
    rows = places if order is None else order[places]
    found = np.arange(len(times)) if order is None else order.copy()
    found[places] = rows[np.lexsort((*(key[rows] for key in keys), runs))]
    return order if order is None and (found[places] == places).all() else found


def one_symbol(counts: Sequence[tuple[Any, int]], field: str | None, place: str) -> Any:
    """Return the only symbol there is, None when there is none.

    Args:
        counts: symbols, and how many moments have each.
        field: that of the symbol.
        place: for errors.

    Raises:
        QueryError: there are several; the message counts them.
    """
    if len(counts) > 1:
        by_size = sorted(counts, key=lambda item: -item[1])
        shown = [f"{'none' if name is None else name} {count:,}" for name, count in by_size[:5]]
        if len(by_size) > 5:
            rest = sum(count for _, count in by_size[5:])
            shown.append(f"{len(by_size) - 5} others {rest:,}")
        raise QueryError(
            f"{place}: expected one symbol, got {len(counts)}: {', '.join(shown)}; make a window of "
            f"each: Q.{field} == {by_size[0][0]!r}"
        )
    return counts[0][0] if counts else None


def check_years(times: Array, field: str, place: str) -> None:
    """Refuse times, in order, that no datetime can show, and say how many there are.

    Raises:
        QueryError: there are some.
    """
    first, last = np.searchsorted(times, _YEARS)
    others = len(times) - int(last - first)
    if others:
        raise QueryError(
            f"{place}: expected times within the years 1 to 9999, got {others:,} of {len(times):,} "
            f"beyond; leave them out first, by a range of Q.{field}"
        )


def check_times(missing: int, count: int, field: str, place: str) -> None:
    """Refuse moments that have no time, and say how many there are.

    Raises:
        QueryError: there are some.
    """
    if missing:
        raise QueryError(
            f"{place}: expected a {field} for each moment, got {missing:,} of {count:,} without; "
            f"leave them out first, as with Q.{field} != None"
        )
