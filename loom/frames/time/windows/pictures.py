"""Windows as pictures, and as small tables in notebooks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ....errors import QueryError
from ..pictures import draw_lines, html_table, show_zone, shown_rows
from ..results import axes_for, number_text
from ..zones import name_of
from .moment_columns import Array, datetime_of, np, shown_in
from .spans import milliseconds_of
from .views import View

__all__ = ["Pictures"]

#: How long a value in a table may be.
_WIDTH = 60


class Pictures(View):
    """What a window looks like."""

    __slots__ = ()

    def plot(self, *fields: str, gap: str | timedelta | None = None, axes: Any = None) -> Any:
        """Draw fields over their times, in the zone of the window; return matplotlib's axes.

        A line stops where a value is missing.

        Args:
            fields: names of numeric fields; without any, all of them.
            gap: a duration such as `"36h"`; moments that are farther apart are not joined.
            axes: where to draw; new ones when None.

        Raises:
            MissingExtra: matplotlib is not installed.
            FieldError: no such field.
            QueryError: no moments, or a field that is not numeric.
        """
        place = f"{type(self).__name__}.plot"
        widest = None if gap is None else milliseconds_of(gap, f"{place}, gap")
        axes = axes_for(axes)
        names = fields or tuple(n for n in self.fields if _is_numeric(self.values(n)))
        if not len(self) or not names:
            raise QueryError(f"{place}: expected moments with numbers, got {self!r}")
        for name in names:
            if not _is_numeric(self.values(name)):
                raise QueryError(
                    f"{place}: expected numbers, got {name} of {self.values(name).dtype}"
                )
        lines = {name: _floats(self.values(name)) for name in names}
        draw_lines(axes, self.times, lines, widest)
        if len(lines) > 1:
            axes.legend()
        else:
            axes.set_ylabel(*lines)
        axes.set_title("" if self.symbol is None else str(self.symbol))
        show_zone(axes, self.tzone)
        return axes

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: the first and the last moments."""
        roles = self._columns.roles
        others = [name for name in self.fields if name not in (roles.time, roles.symbol)]
        columns = {name: self.values(name) for name in others}
        rows = [
            None
            if row is None
            else [self._shown(self.times[row]), *(self._shown(c[row]) for c in columns.values())]
            for row in shown_rows(len(self))
        ]
        caption = f"{self!r}, {name_of(self.tzone)}"
        return html_table(caption, [roles.time, *columns], rows)

    def _shown(self, value: Any) -> str:
        """Return one value for people, a time in the zone of the window."""
        if value is None or value is np.ma.masked:
            return ""
        if isinstance(value, np.datetime64):
            value = datetime_of(int(value.astype("datetime64[ms]").astype(np.int64)))
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return shown_in(value, self.tzone).isoformat(" ")
        if isinstance(value, float):
            return number_text(value)
        text = str(value)
        return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _is_numeric(values: Array) -> bool:
    return values.dtype.kind in "fiu"


def _floats(values: Array) -> Array:
    """Return numbers as floats, NaN where one is missing or infinite."""
    made = np.ma.filled(values.astype(np.float64), np.nan)
    return np.where(np.isfinite(made), made, np.nan)
