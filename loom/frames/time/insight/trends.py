"""Trending: spread, regression and density together, of one window or of many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from ....errors import QueryError
from ..arrays import Array, array_of, np, numbers_of, of_field
from ..axes import axis_of, instants_of
from ..calendar_frames import CalendarFrame
from ..percentiles import DEFAULT, levels_of
from ..resampling.local import places_of, plan_of
from ..results import Result, axes_for
from ..timeframe import TimeFrame
from ..zones import UTC, TimeZone
from .densities import PdfValue
from .regressions import Regression, regression, times_of
from .sliding_densities import density
from .spreads import Spread, spread

__all__ = ["Trending", "trending"]


class Trending(Result):
    """Where the values of a window lie, how fast they grow, and where they are densest.

    Shape:
        n, left_out: int, as in the spread; first, last: the times of the first and the last value,
        cut to a millisecond, or numbers; stored as first_time or first_number; spread: Spread; regression: Regression;
        density: PdfValue.

    >>> found = Trending.of([1, 3, 5, 8])
    >>> found.spread.mean, found.regression.slope
    (4.25, 2.3)
    >>> Trending.of([])
    Trending(no data)
    """

    first_time: datetime | None
    first_number: float | None
    last_time: datetime | None
    last_number: float | None
    spread: Spread
    regression: Regression
    density: PdfValue

    @classmethod
    def of(
        cls,
        values: Any,
        times: Any = None,
        *,
        per: str | None = None,
        unit: str | None = None,
        percentiles: Iterable[float] = DEFAULT,
        ddof: int = 1,
        mass: float = 0.9,
        points: int = 101,
    ) -> Trending:
        """Return all three of one window.

        Args:
            values, times, per, unit: as for `Regression.of`.
            percentiles, ddof: as for `Spread.of`.
            mass, points: as for `PdfValue.of`.

        Raises:
            QueryError: as these do.

        >>> Trending.of([2, 4], [0, 60], unit="second", per="minute").regression
        Regression(n=2, slope=2 per minute, intercept=2, r=1)
        """
        times = times_of(values, times)
        numbers = numbers_of(values, "Trending")
        axis = axis_of(times, len(numbers.values), per, unit, "Trending")
        known = np.flatnonzero(axis.known)[[0, -1]] if axis.known.any() else None
        first, last = (None, None) if known is None else axis.cut(known)
        found = Spread.of(values, percentiles=percentiles, ddof=ddof)
        return cls(
            n=found.n,
            left_out=found.left_out,
            **axis.kept("first", first),
            **axis.kept("last", last),
            spread=found,
            regression=Regression.of(values, times, per=per, unit=unit),
            density=PdfValue.of(values, mass=mass, points=points),
        )

    @property
    def first(self) -> datetime | float | None:
        """Return the time, or the number, of the first value."""
        return self.first_number if self.first_time is None else self.first_time

    @property
    def last(self) -> datetime | float | None:
        """Return the time, or the number, of the last value."""
        return self.last_number if self.last_time is None else self.last_time

    @classmethod
    def each(
        cls, windows: Iterable[Any], *, field: str | None = None, **options: Any
    ) -> Iterator[Trending]:
        """Yield all three of each window, when it is asked for.

        Args:
            windows: arrays, or whatever has `.values` and perhaps `.times`; or windows of moments,
                with `field`.
            field: the name of a field of theirs.
            options: as for `Trending.of`.

        >>> [found.spread.mean for found in Trending.each([[1, 2], [], [3, 5]])]
        [1.5, None, 4.0]
        """
        for window in windows:
            yield cls.of(of_field(window, field, "Trending.each"), **options)

    @classmethod
    def over(
        cls,
        values: Any,
        kind: type[CalendarFrame],
        *,
        field: str | None = None,
        times: Any = None,
        tzone: TimeZone | None = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        week_start: int | str | None = None,
        year_start: int | None = None,
        **options: Any,
    ) -> Iterator[tuple[CalendarFrame, Trending]]:
        """Return an iterator over frames of the calendar, each with all three of what lies in it.

        Frames without values are among them, with no data.

        Args:
            values, times: as for `Regression.of`, with a time for each value; or a window with
                `field`.
            kind: `DailyFrame` or another kind.
            field: the name of a field, when `values` is a window of moments.
            tzone: the zone whose calendar counts; by default that of the window, else UTC.
            start, end, week_start, year_start: as for `MomentWindow.resample`.
            options: as for `Trending.of`.

        Raises:
            QueryError: values without times.
            TimeFrameError: no zone.

        >>> from loom.frames.time import DailyFrame
        >>> times = np.arange(36).astype("datetime64[h]")
        >>> [(str(day), found.n) for day, found in Trending.over(range(36), DailyFrame, times=times)]
        [('1970-01-01', 24), ('1970-01-02', 12)]
        """
        plan = plan_of(
            "Trending.over", kind, None, {}, tzone=tzone, zone=getattr(values, "tzone", UTC),
            start=start, end=end, week_start=week_start, year_start=year_start,
        )  # fmt: skip
        values = of_field(values, field, plan.place)
        given = times_of(values, times)
        row = array_of(values)
        ticks = instants_of([] if given is None else given, plan.place)
        missing = len(row) - len(ticks) + int(np.ma.getmaskarray(ticks).sum())
        if missing:
            raise QueryError(
                f"{plan.place}: expected a time for each of {len(row):,} values, got {missing:,} "
                "without"
            )
        instants = ticks.view("datetime64[us]")
        # Not a generator itself: what is refused is refused by the call.
        cls.of(row[:0], instants[:0], **options)
        return (
            (frame, cls.of(row[places], instants[places], **options))
            for frame, places in places_of(plan, ticks)
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw all three beside each other; return the three axes of matplotlib.

        Args:
            axes: three axes; new ones when None.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: as the plots of the parts do.
        """
        axes = axes_for(axes, 3)
        for part, place in zip((self.spread, self.regression, self.density), axes, strict=True):
            part.plot(place)
        return axes

    def _figures(self) -> Iterator[tuple[str, str]]:
        for name, value in (("first", self.first), ("last", self.last)):
            yield name, value.isoformat(" ") if isinstance(value, datetime) else str(value)
        for part in (self.spread, self.regression, self.density):
            yield "", repr(part)


def trending(
    values: Any,
    size: int | type[CalendarFrame],
    step: int = 1,
    *,
    field: str | None = None,
    times: Any = None,
    per: str | None = None,
    unit: str | None = None,
    percentiles: Iterable[float] = DEFAULT,
    ddof: int = 1,
    **frames: Any,
) -> dict[str, Array]:
    """Return spread, regression and density of every sliding window, or frame, as columns.

    Args:
        values, times, per, unit: as for `Regression.of`; or a window with `field`, which has times.
        size: how many values a window has; or `DailyFrame` or another kind of frames, which are
            taken one by one, each in about a millisecond.
        step: by how many values the next window begins later.
        field: the name of a field, when `values` is a window of moments.
        percentiles, ddof: as for `Spread.of`.
        frames: `tzone`, `start`, `end`, `week_start`, `year_start`, as for `Trending.over`.

    Returns:
        The columns of `spread`, `regression` and `density`. `n` and `left_out` are those of the
        spread; `points` is the regression's n, which misses values without a time. Of frames also
        `floor`, datetime64 in UTC; those without values are among them.

    Raises:
        QueryError: as `Regression.of`, and a size or step that is not whole and positive.

    >>> list(trending([1, 2, 4], 2, percentiles=[50]))[:6]
    ['n', 'left_out', 'mean', 'std', 'min', 'max']
    """
    if isinstance(size, type):
        if step != 1:
            raise QueryError(f"trending: expected step=1 with frames, got {step!r}")
        found = Trending.over(
            values, size, field=field, times=times, per=per, unit=unit, percentiles=percentiles,
            ddof=ddof, points=0, **frames,
        )  # fmt: skip
        return _columns_of([*found], levels_of(percentiles, "trending"))
    if frames:
        raise QueryError(
            f"trending: expected {', '.join(frames)} with frames, got windows of {size}"
        )
    values = of_field(values, field, "trending")
    lines = regression(values, size, step, times=times, per=per, unit=unit)
    points = lines.pop("n")
    del lines["left_out"]
    columns = spread(values, size, step, percentiles=percentiles, ddof=ddof)
    return {**columns, "points": points, **lines, **density(values, size, step)}


#: The columns of each part; those of the spread have the percentiles beside them.
_OF_LINES = ("slope", "intercept", "r", "p", "stderr", "intercept_stderr")
_OF_DENSITIES = ("bandwidth", "peak", "density", "half_low", "half_high")


def _columns_of(
    found: list[tuple[CalendarFrame, Trending]], levels: tuple[float, ...]
) -> dict[str, Array]:
    each = [trend for _, trend in found]
    floors = [frame._start.replace(tzinfo=None) for frame, _ in found]
    columns = {
        "floor": np.array(floors, "datetime64[us]"),
        "n": np.array([trend.n for trend in each], np.int64),
        "left_out": np.array([trend.left_out for trend in each], np.int64),
    }
    for name in ("mean", "std", "min", "max"):
        columns[name] = _floats(getattr(trend.spread, name) for trend in each)
    for number, level in enumerate(levels):
        columns[f"p{level:g}"] = _floats(trend.spread.percentiles[number] for trend in each)
    columns["points"] = np.array([trend.regression.n for trend in each], np.int64)
    for name in _OF_LINES:
        columns[name] = _floats(getattr(trend.regression, name) for trend in each)
    origins = [trend.regression.origin_time for trend in each]
    naive = [None if origin is None else origin.replace(tzinfo=None) for origin in origins]
    columns["origin"] = np.array(naive, "datetime64[us]")
    for name in _OF_DENSITIES:
        columns[name] = _floats(getattr(trend.density, name) for trend in each)
    return columns


def _floats(values: Iterable[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], np.float64)
