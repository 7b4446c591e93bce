"""Resampling: moments gathered by the frames of the calendar, from arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from ....errors import QueryError, TimeFrameError, nearest
from ..arrays import Array, np
from ..axes import instants_of
from ..calendar_frames import CalendarFrame
from ..timeframe import TimeFrame, both_ends
from ..year_frames import FRAMES
from ..zones import EPOCH, MICROSECOND, UTC, TimeZone, instant, zone_of
from .aggregates import Aggregations, Wanted, aggregate, known_of, wanted_of
from .resampled import Resampled

__all__ = ["Plan", "edges_of", "places_of", "plan_of", "resample_columns", "resampled"]


class Plan(NamedTuple):
    """What a call asks for."""

    place: str
    kind: type[CalendarFrame]
    zone: tzinfo
    options: dict[str, Any]
    #: In UTC, None for where the moments begin and end.
    start: datetime | None
    end: datetime | None
    wanted: list[Wanted]
    ddof: int

    @property
    def fields(self) -> list[str]:
        """The fields, each once, in order."""
        return [*dict.fromkeys(one.field for one in self.wanted)]

    def of(self, field: str) -> list[Wanted]:
        """Return what is wanted of one field."""
        return [one for one in self.wanted if one.field == field]

    def frames(self, first: datetime | None, last: datetime | None) -> tuple[CalendarFrame, ...]:
        """Return the frames: over what was asked for, elsewhere over the moments.

        Args:
            first, last: the times of the first and the last moment; None if there are none.
        """
        start = first if self.start is None else self.start
        end = self.end
        if end is None and last is not None:
            end = last + MICROSECOND
        if start is None or end is None or start >= end:
            return ()
        return tuple(self.kind.range(start, end, self.zone, **self.options))

    def ends(self) -> tuple[datetime | None, datetime | None]:
        """Return from where on and up to where moments count, None where all do: whole frames."""
        first = last = None
        if self.start is not None:
            first = self.kind(self.start, self.zone, **self.options)._start
        if self.end is not None:
            last = self.kind(self.end - MICROSECOND, self.zone, **self.options)._end
        return first, last


def plan_of(
    place: str,
    kind: type[CalendarFrame],
    fields: Aggregations | None,
    named: Aggregations,
    *,
    tzone: TimeZone | None,
    zone: tzinfo = UTC,
    start: datetime | TimeFrame | None = None,
    end: datetime | None = None,
    week_start: int | str | None = None,
    year_start: int | None = None,
    ddof: int = 1,
) -> Plan:
    """Return what a call asks for, checked; `zone` is that of calls which name none.

    Raises:
        QueryError: an aggregation that is none, or a kind that is none.
        TimeFrameError: no zone, a naive datetime, an option that the kind does not take.
    """
    if not (isinstance(kind, type) and kind in FRAMES.values()):
        known = ", ".join(one.__name__ for one in FRAMES.values())
        raise QueryError(f"{place}: expected a kind of frames ({known}), got {kind!r}")
    if isinstance(fields, (str, bytes)) or not isinstance(fields or {}, Mapping):
        raise QueryError(
            f"{place}: expected aggregations by field, got {fields!r}; write "
            "price='mean', or {'price': ['first', 'last']}"
        )
    twice = (fields or {}).keys() & named.keys()
    if twice:
        raise QueryError(f"{place}: expected each field once, got {sorted(twice)} twice")
    if not isinstance(ddof, int) or isinstance(ddof, bool) or ddof < 0:
        raise QueryError(f"{place}: expected ddof to be 0, 1 ..., got {ddof!r}")
    options: dict[str, Any] = {}
    for name, given in (("week_start", week_start), ("year_start", year_start)):
        if given is None:
            continue
        kind._check_options([name], place)
        options[name] = given
    named_zone = None if tzone is None else zone_of(tzone, f"{place}.tzone")
    zone = zone if named_zone is None else named_zone
    kind(EPOCH, zone, **options)  # refuses a bad option before anything is sent
    start, end = both_ends(start, end, place)
    first = None if start is None else instant(start, named_zone, f"{place}.start")
    last = None if end is None else instant(end, named_zone, f"{place}.end")
    if first is not None and last is not None and first >= last:
        raise QueryError(
            f"{place}: expected an end later than the start, got {start!r} and {end!r}"
        )
    wanted = wanted_of({**(fields or {}), **named}, place)
    return Plan(place, kind, zone, options, first, last, wanted, ddof)


def resample_columns(
    times: Any,
    columns: Mapping[str, Any],
    kind: type[CalendarFrame],
    fields: Aggregations | None = None,
    /,
    *,
    tzone: TimeZone | None = None,
    start: datetime | TimeFrame | None = None,
    end: datetime | None = None,
    week_start: int | str | None = None,
    year_start: int | None = None,
    ddof: int = 1,
    **named: Any,
) -> Resampled:
    """Return what arrays of moments amount to, frame of the calendar by frame.

    Args:
        times: datetime64 (taken as UTC) or aware datetimes, in any order; those that are missing
            are left out.
        columns: numbers by field, one for each time.
        kind: `HourlyFrame`, `DailyFrame`, `WeeklyFrame`, `MonthlyFrame`, `QuarterlyFrame` or
            `YearlyFrame`.
        fields: what of which field, `{"price": ["first", "last"], "volume": "sum"}`; or by name:
            `price="ohlc"`. The aggregations are `count`, `first`, `last`, `min`, `max`, `sum`,
            `mean`, `std`, `median`, percentiles as `p95`; `open`, `high`, `low` and `close`, and
            `ohlc` for these four. First and last are by time, of the values that count.
        tzone: the zone whose calendar counts; by default UTC.
        start, end: over which time there are frames, whole ones, with `end` left out; by default
            from the first moment to the last. A time frame as `start` has both ends. Moments in
            other frames are not counted.
        week_start, year_start: as for `WeeklyFrame.create` and `YearlyFrame.create`.
        ddof: what a standard deviation subtracts from the number of values.

    Raises:
        QueryError: no such field or aggregation, or what is not a number.
        TimeFrameError: no zone, or naive datetimes.

    >>> from loom.frames.time import DailyFrame
    >>> times = np.array(["2024-03-09T23", "2024-03-10T01", "2024-03-12T00"], "datetime64[s]")
    >>> days = resample_columns(times, {"gold": [4, 6, None]}, DailyFrame, gold=["sum", "mean"])
    >>> [(str(frame), n, values["gold_sum"]) for frame, n, values in days]
    [('2024-03-09', 1, 4), ('2024-03-10', 1, 6), ('2024-03-11', 0, None), ('2024-03-12', 1, None)]
    """
    if not hasattr(columns, "keys"):
        raise QueryError(
            f"resample_columns: expected columns by field, got {type(columns).__name__}; write "
            "{'price': values}"
        )
    plan = plan_of(
        "resample_columns", kind, fields, named, tzone=tzone, start=start, end=end,
        week_start=week_start, year_start=year_start, ddof=ddof,
    )  # fmt: skip
    ticks = instants_of(times, plan.place)
    order: Array = None
    if isinstance(ticks, np.ma.MaskedArray):
        order = np.argsort(ticks.data, kind="stable")
        order = order[~np.ma.getmaskarray(ticks)[order]]
    elif (ticks[1:] < ticks[:-1]).any():
        order = np.argsort(ticks, kind="stable")
    return resampled(plan, np.ma.getdata(ticks), columns, order)


def resampled(
    plan: Plan, ticks: Array, columns: Mapping[str, Any], order: Array = None, size: int = 1
) -> Resampled:
    """Return what moments amount to.

    Args:
        plan: what is asked for.
        ticks: the times since 1970.
        columns: values by field; only those that the plan names are looked at.
        order: in which the moments lie by time, None if they do; what it leaves out is left out.
        size: of a tick, in microseconds.
    """
    ordered = ticks if order is None else ticks[order]
    first, last = (
        (_instant(ordered[0], size), _instant(ordered[-1], size)) if len(ordered) else (None, None)
    )
    frames = plan.frames(first, last)
    cuts = np.searchsorted(ordered, edges_of(frames, size)) if frames else np.zeros(1, np.intp)
    n = np.diff(cuts)
    found: dict[str, Array] = {}
    left_out: dict[str, Array] = {}
    for field in plan.fields:
        place = f"{plan.place}: {field}"
        if field not in columns:
            raise QueryError(f"{place}: expected a field, got none{nearest(field, columns)}")
        known = known_of(columns[field], place)
        count = len(known.values if known.kept is None else known.kept)
        if count != len(ticks):
            raise QueryError(
                f"{place}: expected {len(ticks):,} values, one for each time, got {count:,}"
            )
        counts, made = aggregate(known.taken(order), cuts, plan.of(field), plan.ddof)
        found |= made
        left_out[field] = n - counts
    in_order = {one.column: found[one.column] for one in plan.wanted}
    return Resampled(plan.kind, frames, n, in_order, left_out)


def _instant(tick: Any, size: int) -> datetime:
    try:
        return EPOCH + int(tick) * size * MICROSECOND
    except OverflowError:
        raise TimeFrameError(
            f"resample: expected times within the years 1 to 9999, got {int(tick) * size:,} "
            "microseconds since 1970"
        ) from None


def places_of(plan: Plan, ticks: Array) -> Iterator[tuple[CalendarFrame, slice | Array]]:
    """Yield the frames of a plan, and which of the moments lie in each.

    Args:
        plan: what is asked for.
        ticks: the times in microseconds since 1970, in any order.
    """
    order: Array = None
    if (ticks[1:] < ticks[:-1]).any():
        order = np.argsort(ticks, kind="stable")
        ticks = ticks[order]
    ends = (_instant(ticks[0], 1), _instant(ticks[-1], 1)) if len(ticks) else (None, None)
    frames = plan.frames(*ends)
    cuts: Array = np.searchsorted(ticks, edges_of(frames, 1))
    for number, frame in enumerate(frames):
        where = slice(cuts[number], cuts[number + 1])
        yield frame, where if order is None else order[where]


def edges_of(frames: tuple[CalendarFrame, ...], size: int) -> Array:
    """Return where frames begin and the last one ends, in ticks; at the next one if it is finer."""
    ends = [frame._start for frame in frames] + [frame._end for frame in frames[-1:]]
    return np.array([-((EPOCH - end) // MICROSECOND // size) for end in ends], np.int64)
