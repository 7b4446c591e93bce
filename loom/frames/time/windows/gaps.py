"""Gaps: where a window has no moments though some were expected."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, overload

from ....errors import QueryError
from ..calendar_frames import CalendarFrame
from ..timeframe import TimeFrame, both_ends
from ..zones import MICROSECOND
from .moment_columns import Array, datetime_of, distinct, np
from .spans import ceiling_of, milliseconds_of
from .views import View

__all__ = ["Gaps", "Stretches", "gaps_of"]

#: How many gaps are shown.
_SHOWN = 5


class Stretches(Sequence[TimeFrame]):
    """Time frames, one after the other, which are made when they are asked for.

    Args:
        floors, ceilings: in milliseconds.
        tzone: the zone of the frames.
    """

    __slots__ = ("_ceilings", "_floors", "_tzone")

    def __init__(self, floors: Array, ceilings: Array, tzone: tzinfo) -> None:
        self._floors = floors
        self._ceilings = ceilings
        self._tzone = tzone

    def __len__(self) -> int:
        return len(self._floors)

    @overload
    def __getitem__(self, key: int) -> TimeFrame: ...
    @overload
    def __getitem__(self, key: slice) -> Stretches: ...
    def __getitem__(self, key: int | slice) -> TimeFrame | Stretches:
        if isinstance(key, slice):
            return Stretches(self._floors[key], self._ceilings[key], self._tzone)
        floor, ceiling = datetime_of(int(self._floors[key])), datetime_of(int(self._ceilings[key]))
        return TimeFrame(floor, ceiling, self._tzone)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Stretches, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(map(TimeFrame.__eq__, self, other))

    def __hash__(self) -> int:
        return hash((*self,))

    def __repr__(self) -> str:
        shown = [*map(repr, self[:_SHOWN]), *(["..."] if len(self) > _SHOWN else [])]
        return f"Stretches({len(self):,}: {', '.join(shown)})" if self else "Stretches(none)"


@dataclass(frozen=True, repr=False)
class Gaps:
    """Where a window has no moments though some were expected; false when there is no gap.

    Attributes:
        expected: how many frames there are, or how many moments there would be.
        count: how many of them are missing.
        missing: the frames without a moment; of a spacing, the stretches without one, a sequence
            that makes them when they are asked for.
        runs: the same, neighbours as one stretch.
        total: how long they are together.
        longest: the longest of `runs`, None if there is none.
    """

    expected: int
    count: int
    missing: Sequence[TimeFrame]
    runs: Sequence[TimeFrame]
    total: timedelta
    longest: TimeFrame | None

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return "\n".join(f"{name}: {text}" for name, text in self._lines())

    def __repr__(self) -> str:
        if not self:
            return f"Gaps(none, {self.expected:,} expected)"
        runs = f"{len(self.runs):,} {'stretch' if len(self.runs) == 1 else 'stretches'}"
        return (
            f"Gaps({self.count:,} of {self.expected:,} missing in {runs}, "
            f"{self.total} together, longest {self.longest})"
        )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>Gaps</caption>{rows}</table>"

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "missing", f"{self.count:,} of {self.expected:,}"
        if self.longest is not None:
            yield "together", str(self.total)
            yield "longest", f"{self.longest.get_pretty_value()} ({self.longest.duration})"
            for number, run in enumerate(self.runs[:_SHOWN], 1):
                yield f"gap {number}", f"{run.get_pretty_value()} ({run.duration})"
            if len(self.runs) > _SHOWN:
                yield "further gaps", f"{len(self.runs) - _SHOWN:,}"


def gaps_of(
    window: View,
    expected: Any,
    start: datetime | TimeFrame | None,
    end: datetime | None,
    tolerance: Any,
    options: dict[str, Any],
) -> Gaps:
    """Return where a window has no moments.

    Raises:
        QueryError: `expected` is no spacing and no calendar, or the end is before the start.
        TimeFrameError: an end is a datetime without a zone, or an option that the kind does not take.
    """
    place = f"{type(window).__name__}.gaps"
    times = window._columns.times[window._start : window._stop]
    start, end = both_ends(start, end, place)
    low = ceiling_of(start, f"{place}, start") if start is not None else None
    high = ceiling_of(end, f"{place}, end") if end is not None else None
    if low is not None and high is not None and high < low:
        raise QueryError(f"{place}: expected an end behind {start!r}, got {end!r}")
    if isinstance(expected, (str, timedelta)):
        spacing = milliseconds_of(expected, f"{place}, expected")
        leeway = 0 if tolerance is None else milliseconds_of(tolerance, place, least=0)
        if options:
            raise QueryError(f"{place}: expected no {', '.join(options)} beside a duration")
        return _of_spacing(window, times, spacing, leeway, low, high)
    if tolerance is not None:
        raise QueryError(f"{place}: expected tolerance= beside a duration, got {expected!r}")
    frames: Iterable[TimeFrame]
    is_kind = isinstance(expected, type) and issubclass(expected, CalendarFrame)
    if is_kind and expected is not CalendarFrame:
        expected._check_options(options, place)
        if not len(times) and (low is None or high is None):
            return Gaps(0, 0, (), (), timedelta(), None)
        first = start if start is not None else datetime_of(int(times[0]))
        last = end if end is not None else datetime_of(int(times[-1])) + MICROSECOND
        frames = expected.range(first, last, window.tzone, **options)
    elif isinstance(expected, Iterable) and not options:
        frames = expected
    else:
        raise QueryError(
            f"{place}: expected a duration, a class such as DailyFrame, or time frames, got "
            f"{expected!r}"
        )
    return _of_frames(times, [*frames], place)


def _of_frames(times: Array, frames: list[Any], place: str) -> Gaps:
    for frame in frames:
        if not isinstance(frame, TimeFrame):
            raise QueryError(f"{place}: expected time frames, got {frame!r}")
    frames.sort(key=lambda frame: frame._start)
    ends = np.array(
        [[ceiling_of(frame._start, place), ceiling_of(frame._end, place)] for frame in frames],
        np.int64,
    ).reshape(-1, 2)
    held = np.searchsorted(times, ends)
    missing = [frames[row] for row in np.flatnonzero(held[:, 0] == held[:, 1])]
    runs = _runs(missing)
    total = sum((run.duration for run in runs), timedelta())
    longest = max(runs, key=lambda run: run.duration, default=None)
    return Gaps(len(frames), len(missing), tuple(missing), tuple(runs), total, longest)


def _of_spacing(
    window: View, times: Array, spacing: int, leeway: int, low: int | None, high: int | None
) -> Gaps:
    """Return the gaps of moments that come once in a while."""
    times = distinct(times)
    if high is not None:
        times = times[: np.searchsorted(times, high)]
    if low is not None:
        times = times[np.searchsorted(times, low) :]
    # Before the first one was due at the start; the last is followed by the end.
    before = [] if low is None else [low - spacing]
    after = [] if high is None else [high]
    marks = np.concatenate([before, times, after]).astype(np.int64)
    distances = np.diff(marks)
    late = np.flatnonzero(distances > spacing + leeway)
    absent = -((leeway - distances) // spacing) - 1
    count = int(absent[late].sum())
    floors, ceilings = marks[late] + spacing, marks[late + 1]
    found = Stretches(floors, ceilings, window.tzone)
    lengths = ceilings - floors
    total = timedelta(milliseconds=int(lengths.sum()))
    # Between two of them lies a moment: none is another's neighbour.
    longest = found[int(np.argmax(lengths))] if found else None
    return Gaps(len(times) + count, count, found, found, total, longest)


def _runs(frames: list[TimeFrame]) -> list[TimeFrame]:
    """Return frames in order, neighbours as one."""
    runs: list[TimeFrame] = []
    first = 0
    for place, frame in enumerate(frames):
        if place + 1 == len(frames) or frames[place + 1]._start != frame._end:
            floor = frames[first]._start
            runs.append(frame if first == place else TimeFrame(floor, frame._end, frame.tzone))
            first = place + 1
    return runs
