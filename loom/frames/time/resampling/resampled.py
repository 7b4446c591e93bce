"""Resampled: what moments amount to, frame of the calendar by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, overload

from ....errors import QueryError, missing_extra, nearest
from ...values import Frozen
from ..arrays import Array, np
from ..calendar_frames import CalendarFrame
from ..pictures import draw_lines, draw_prices, html_table, show_zone, shown_rows
from ..ranges import milliseconds
from ..results import axes_for, number_text
from ..zones import UTC, arrow_name_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Resampled", "ResampledFrame", "Source"]

#: Where the figures were computed.
Source: TypeAlias = Literal["local", "server"]

_OHLC = ("open", "high", "low", "close")


class ResampledFrame(NamedTuple):
    """What the moments of one frame amount to."""

    #: The hour, day, week and so on.
    frame: CalendarFrame
    #: How many moments lie in it.
    n: int
    #: The figures by column; None where there is nothing to say.
    values: dict[str, Any]


class Resampled(Frozen):
    """Frames of the calendar, one after the other without a gap, and figures for each.

    Frames without a moment are among them, with `n` 0 and no figures: NaN among floats, masked
    among integers, null in a table, None when they are iterated; never 0.

    Shape:
        frames: tuple of frames, the earliest first; n: int64, how many moments lie in each;
        columns: arrays by name, such as `price_mean`: int64 of integers, but for `mean`, `std` and
        percentiles, else float64; left_out: int64 by field, how many moments of each frame have no
        value there that counts: None, NaN or infinite.

    Iterating gives `(frame, n, values)`; `found["price_mean"]` is a column, `found[0]` and `found[2:5]`
    are frames with their figures.
    """

    __slots__ = ("columns", "frames", "kind", "left_out", "n", "reason", "source")
    frames: tuple[CalendarFrame, ...]
    kind: type[CalendarFrame]
    n: Array
    columns: Mapping[str, Array]
    left_out: Mapping[str, Array]
    #: Where the figures were computed, and if not where one would expect, why.
    source: Source
    reason: str

    def __init__(
        self,
        kind: type[CalendarFrame],
        frames: tuple[CalendarFrame, ...],
        n: Array,
        columns: Mapping[str, Array],
        left_out: Mapping[str, Array],
        source: Source = "local",
        reason: str = "",
    ) -> None:
        for array in (n, *columns.values(), *left_out.values()):
            array.flags.writeable = False
        for name, value in (
            ("kind", kind),
            ("frames", frames),
            ("n", n),
            ("columns", MappingProxyType({**columns})),
            ("left_out", MappingProxyType({**left_out})),
            ("source", source),
            ("reason", reason),
        ):
            object.__setattr__(self, name, value)

    def _replace(self, **changes: Any) -> Resampled:
        """Return the same with other attributes."""
        return Resampled(**{name: getattr(self, name) for name in self.__slots__} | changes)

    # As a sequence

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[ResampledFrame]:
        lists = {name: plain(column) for name, column in self.columns.items()}
        counts = self.n.tolist()
        for row, frame in enumerate(self.frames):
            values = {name: column[row] for name, column in lists.items()}
            yield ResampledFrame(frame, counts[row], values)

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: int) -> ResampledFrame: ...
    @overload
    def __getitem__(self, key: slice) -> Resampled: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self.columns:
                known = ", ".join(self.columns) or "none"
                raise QueryError(
                    f"Resampled: expected a column ({known}), got {key!r}"
                    f"{nearest(key, self.columns)}"
                )
            return self.columns[key]
        if isinstance(key, slice):
            if key.indices(len(self))[2] < 1:
                raise QueryError(
                    f"Resampled: expected a slice in the order of time, got {key!r}; "
                    "reversed(found) goes backwards"
                )
            return self._replace(
                frames=self.frames[key],
                n=self.n[key],
                columns={name: column[key] for name, column in self.columns.items()},
                left_out={name: column[key] for name, column in self.left_out.items()},
            )
        if not hasattr(key, "__index__"):
            raise TypeError(
                f"Resampled: expected a place, a slice or the name of a column, got {key!r}"
            )
        if not -len(self) <= key.__index__() < len(self):
            raise IndexError(f"Resampled: expected a place below {len(self):,}, got {key}")
        frame = self.frames[key]
        values = {name: plain(column[[key]])[0] for name, column in self.columns.items()}
        return ResampledFrame(frame, int(self.n[key]), values)

    @property
    def times(self) -> Array:
        """The floors of the frames, as datetime64 in UTC."""
        floors = [frame._start.replace(tzinfo=None) for frame in self.frames]
        return np.array(floors, "datetime64[us]")

    # As columns

    def to_table(self) -> Any:
        """Return a `pyarrow.Table`, one row for each frame.

        Shape:
            frame: string, as `str(frame)`; floor, ceiling: timestamp[ms, zone]; n: int64; the
            columns; `price_left_out` for each field: int64. Arrow knows offsets of whole minutes:
            one with seconds is shown by that of its minute.

        Raises:
            MissingExtra: PyArrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise missing_extra("arrow", "PyArrow") from None
        instants = pa.timestamp(
            "ms", tz=arrow_name_of(self.frames[0].tzone if self.frames else UTC)
        )
        floors = [milliseconds(frame._start) for frame in self.frames]
        ceilings = [milliseconds(frame._end) for frame in self.frames]
        arrays = {
            "frame": pa.array(map(str, self.frames), pa.string()),
            "floor": pa.array(floors, pa.int64()).cast(instants),
            "ceiling": pa.array(ceilings, pa.int64()).cast(instants),
            "n": pa.array(self.n),
        }
        for name, column in self.columns.items():
            if isinstance(column, np.ma.MaskedArray):
                arrays[name] = pa.array(column.data, mask=np.ma.getmaskarray(column))
            else:
                arrays[name] = pa.array(column, from_pandas=True)
        for field, counts in self.left_out.items():
            arrays[f"{field}_left_out"] = pa.array(counts)
        return pa.table(arrays)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame of pandas, whose columns keep their Arrow types; see `to_table`.

        Raises:
            MissingExtra: PyArrow or pandas is not installed.
        """
        table = self.to_table()
        try:
            import pandas
        except ImportError:
            raise missing_extra("pandas", "pandas") from None
        found: pd.DataFrame = table.to_pandas(types_mapper=pandas.ArrowDtype)
        return found

    # For people

    def __repr__(self) -> str:
        columns = ", ".join(self.columns) or "n alone"
        return f"Resampled({self._summary()}: {columns})"

    def _summary(self) -> str:
        if not self.frames:
            return f"no {self.kind.__name__}"
        count = len(self.frames)
        ends = f"{self.frames[0]}" + (f" to {self.frames[-1]}" if count > 1 else "")
        return f"{count:,} {self.kind.__name__}{'s' * (count > 1)}, {ends}, n={int(self.n.sum()):,}"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: the first and the last frames."""
        rows = [
            None
            if row is None
            else [
                self.frames[row].get_pretty_value(),
                str(self.n[row]),
                *(cell(column, row) for column in self.columns.values()),
            ]
            for row in shown_rows(len(self))
        ]
        head = [self.kind(tzone="UTC").get_pretty_name(), "n", *self.columns]
        return html_table(f"Resampled: {self._summary()}", head, rows)

    def plot(self, axes: Any = None, *, columns: str | Iterable[str] | None = None) -> Any:
        """Draw columns over the floors of the frames, in their zone; return matplotlib's axes.

        Open, high, low and close of one field are drawn as bars of prices. A line stops where a
        frame has no figure.

        Args:
            axes: where to draw; new ones when None.
            columns: which, or one; all when None.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: there is nothing to draw, or no such column.
        """
        axes = axes_for(axes)
        names = [*self.columns] if columns is None else columns
        names = [names] if isinstance(names, str) else [*names]
        if not names or not len(self):
            raise QueryError("Resampled.plot: expected frames with columns, got none")
        lines = {name: floats(self[name]) for name in names}
        fields: list[str] = []
        for field in dict.fromkeys(name.rpartition("_")[0] for name in names):
            parts = [f"{field}_{one}" for one in _OHLC]
            if all(part in lines for part in parts):
                ends = [frame._start for frame in self.frames], [f._end for f in self.frames]
                draw_prices(axes, *ends, [lines.pop(part) for part in parts])
                fields.append(field)
        if lines:
            draw_lines(axes, self.times, lines, None)
        if lines and len(lines) + len(fields) > 1:
            axes.legend()
        else:
            axes.set_ylabel(", ".join([*fields, *lines]))
        show_zone(axes, self.frames[0].tzone)
        return axes

    # As a value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resampled):
            return NotImplemented
        mine = {"n": self.n, **self.columns, **self._named_counts()}
        theirs = {"n": other.n, **other.columns, **other._named_counts()}
        return (
            (self.kind, self.frames, [*mine]) == (other.kind, other.frames, [*theirs])
            and all(mine[name].dtype == theirs[name].dtype for name in mine)
            and all(plain(mine[name]) == plain(theirs[name]) for name in mine)
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.frames, tuple(self.columns), tuple(self.n.tolist())))

    def __reduce__(self) -> tuple[Any, ...]:
        columns, left_out = dict(self.columns), dict(self.left_out)
        return Resampled, (
            self.kind, self.frames, self.n, columns, left_out, self.source, self.reason,
        )  # fmt: skip

    def _named_counts(self) -> dict[str, Array]:
        return {f"{field}_left_out": counts for field, counts in self.left_out.items()}


def plain(column: Array) -> list[Any]:
    """Return a column as Python's values, None for what is missing."""
    if column.dtype.kind == "f":
        return [None if value != value else value for value in column.tolist()]
    found: list[Any] = column.tolist()  # of a masked array with None
    return found


def floats(column: Array) -> Array:
    """Return a column as floats, NaN for what is missing."""
    return np.ma.filled(column.astype(np.float64), np.nan)


def cell(column: Array, row: int) -> str:
    """Return one value for people."""
    (value,) = plain(column[[row]])
    return "" if value is None else number_text(value) if isinstance(value, float) else str(value)
