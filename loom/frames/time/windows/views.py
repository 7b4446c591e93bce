"""Views: some rows of the columns of a window."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Any, TypeVar

from ....errors import FieldError, nearest
from .equality import is_null, same
from .gathering import part_of
from .moment_columns import Array, Columns, Query, datetime_of, frozen, np, shown_in

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["V", "View"]

V = TypeVar("V", bound="View")

_new = object.__new__


class View:
    """Some rows of columns, one after the other; small, because many may share the columns."""

    __slots__ = ("_columns", "_start", "_stop")
    _columns: Columns
    _start: int
    _stop: int

    @classmethod
    def _of(cls, columns: Columns) -> Self:
        """Return the window of all rows of columns."""
        made: Self = _new(cls)
        made._columns, made._start, made._stop = columns, 0, len(columns.times)
        return made

    def _view(self, start: int, stop: int) -> Self:
        """Return the window of some rows of the same columns."""
        made: Self = _new(type(self))
        made._columns, made._start, made._stop = self._columns, start, max(start, stop)
        return made

    def _apart(self) -> Self:
        """Return the same window over columns that begin and end with it, to be kept elsewhere."""
        columns = self._columns
        if (self._start, self._stop) == (0, len(columns.times)):
            return self
        return self._of(columns.chosen(slice(self._start, self._stop)))

    # What it is

    @property
    def cls(self) -> Any:
        """The class of the moments."""
        return self._columns.cls

    @property
    def symbol(self) -> Any:
        """The symbol of all moments, None if they have none."""
        return self._columns.symbol

    @property
    def tzone(self) -> tzinfo:
        """The zone in which times are shown."""
        return self._columns.tzone

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns.names

    @property
    def query(self) -> Query | None:
        """What was asked for to get these moments; None if they came from elsewhere.

        That of a slice also has a range of time. A slice that parts moments of one time, or one of
        a load with `limit` or `skip`, has none.
        """
        query = self._columns.query
        if query is None or (self._start, self._stop) == (0, len(self._columns.times)):
            return query
        if query.options.get("limit") or query.options.get("skip"):
            return None
        times, ends = self._columns.times, {}
        for operator, row in (("$gte", self._start), ("$lt", self._stop)):
            if 0 < row < len(times):
                if times[row - 1] == times[row]:
                    return None
                ends[operator] = datetime_of(int(times[row]))
        if self._start >= len(times) or not self._stop:
            return None  # of no moments
        within = {self._columns.roles.time: ends}
        return query._replace(filter={"$and": [query.filter, within]} if query.filter else within)

    def __len__(self) -> int:
        return self._stop - self._start

    def __bool__(self) -> bool:
        return self._stop > self._start

    def __repr__(self) -> str:
        name, count = type(self).__name__, len(self)
        of = self.cls.__name__ if self.symbol is None else f"{self.cls.__name__} {self.symbol}"
        if not count:
            return f"{name}({of}: no moments)"
        ends = (datetime_of(int(self._columns.times[row])) for row in (self._start, self._stop - 1))
        first, last = (shown_in(end, self.tzone).isoformat() for end in ends)
        moments = "moment" if count == 1 else "moments"
        return f"{name}({of}: {count:,} {moments}, {first} to {last})"

    def __eq__(self, other: object) -> bool:
        """Tell whether class, symbol and the values of all moments are the same.

        NaN equals NaN, and a field that no moment of one has, one that is null in the other.
        """
        if not isinstance(other, View):
            return NotImplemented
        one, two = self._columns, other._columns
        if one.cls is not two.cls or len(self) != len(other):
            return False
        if not self:
            return True
        if one.symbol != two.symbol or (type(one.symbol) is bool) != (type(two.symbol) is bool):
            return False
        if not (self.times == other.times).all():
            return False
        return all(
            same(self.values(name), other.values(name))
            if name in one.fields and name in two.fields
            else is_null((self if name in one.fields else other).values(name))
            for name in {*one.fields, *two.fields}
        )

    __hash__ = None  # type: ignore[assignment]  # equal by many values

    def __copy__(self) -> Self:
        return self._view(self._start, self._stop)

    def __reduce__(self) -> tuple[Any, ...]:
        columns = self._apart()._columns
        columns = columns._replace(
            query=None,
            fields={name: column.plain() for name, column in columns.fields.items()},
        )
        return _restored, (type(self), columns)

    # Columns

    @property
    def times(self) -> Array:
        """The event times, as `datetime64[ms]` in UTC; a view that cannot be written."""
        return self._columns.times[self._start : self._stop].view("datetime64[ms]")

    @property
    def known(self) -> Array:
        """Since when each moment has been known, as `datetime64[ms]` in UTC.

        Where no moment says so, all have been known since their times; where some do, it is NaT
        for the others.
        """
        columns, rows = self._columns, slice(self._start, self._stop)
        known = columns.known_since()[rows].view("datetime64[ms]")
        if columns.unknown is None or not columns.unknown[rows].any():
            return known
        return frozen(np.where(columns.unknown[rows], np.datetime64("NaT", "ms"), known))

    def values(self, field: str) -> Array:
        """Return the values of a field: a view that cannot be written.

        Numbers, bools and times are masked where they are null; of others null is None. A field
        inside documents, `"lair.gold"`, is taken out of them when it is first asked for; a window
        that was loaded with `projection=["lair.gold"]` has it as a column.

        Raises:
            FieldError: there is no such field.
        """
        columns = self._columns
        column = columns.fields.get(field)
        if column is not None:
            return column.array(self._start, self._stop)
        if field == columns.roles.time:
            return self.times
        if field == columns.roles.symbol:
            made = np.empty(len(self), object)
            made[:] = [columns.symbol] * len(self)
            made.flags.writeable = False
            return made
        place = f"{type(self).__name__} of {self.cls.__name__}"
        names = field.split(".") if isinstance(field, str) else []
        for cut in range(len(names) - 1, 0, -1):
            outer, path = ".".join(names[:cut]), ".".join(names[cut:])
            if outer in columns.fields:
                part = part_of(columns.fields[outer], path, f"{place}, {field}")
                return part.array(self._start, self._stop)
        hint = nearest(field, self.fields) if names else ""
        known = ", ".join(self.fields)
        if len(names) > 1 and names[0] in self.cls._definition.names:
            hint = f"; it was not loaded, name it in projection=[{field!r}]"
        raise FieldError(f"{place}: expected one of its fields ({known}), got {field!r}{hint}")


def _restored(cls: Any, columns: Columns) -> Any:
    return cls._of(columns)
