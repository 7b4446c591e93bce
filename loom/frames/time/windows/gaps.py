"""Gaps: where a window has no moments though some were expected."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ....errors import QueryError
from ..calendar_frames import CalendarFrame
from ..timeframe import TimeFrame
from .moment_columns import Array, datetime_of, distinct, np
from .spans import ceiling_of, milliseconds_of
from .views import View

__all__ = ["Gaps", "gaps_of"]

#: How many gaps are shown.
_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Gaps:
    """Where a window has no moments though some were expected; false when there is no gap.

    Attributes:
        expected: how many frames there are, or how many moments there would be.
        count: how many of them are missing.
        missing: the frames without a moment; of a spacing, the stretches without one.
        runs: the same, neighbours as one stretch.
        total: how long they are together.
        longest: the longest of `runs`, None if there is none.
    """

    expected: int
    count: int
    missing: tuple[TimeFrame, ...]
    runs: tuple[TimeFrame, ...]
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
    if isinstance(start, TimeFrame):
        if end is not None:
            raise QueryError(f"{place}: expected a frame alone, got {start!r} and {end!r}")
        start, end = start.floor, start.ceiling
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
        last = end if end is not None else datetime_of(int(times[-1]) + 1)
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
    frames.sort(key=lambda frame: frame.floor)
    ends = np.array(
        [[ceiling_of(frame.floor, place), ceiling_of(frame.ceiling, place)] for frame in frames],
        np.int64,
    ).reshape(-1, 2)
    held = np.searchsorted(times, ends)
    missing = [frames[row] for row in np.flatnonzero(held[:, 0] == held[:, 1])]
    return _gaps(len(frames), len(missing), missing)


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
    tzone = window.tzone
    missing = [
        TimeFrame(datetime_of(int(marks[row]) + spacing), datetime_of(int(marks[row + 1])), tzone)
        for row in late
    ]
    count = int(absent[late].sum())
    return _gaps(len(times) + count, count, missing)


def _gaps(expected: int, count: int, missing: list[TimeFrame]) -> Gaps:
    runs: list[TimeFrame] = []
    for frame in missing:
        if runs and runs[-1].ceiling == frame.floor:
            runs[-1] = TimeFrame(runs[-1].floor, frame.ceiling, frame.tzone)
        else:
            runs.append(frame)
    total = sum((run.duration for run in runs), timedelta())
    longest = max(runs, key=lambda run: run.duration, default=None)
    return Gaps(expected, count, tuple(missing), tuple(runs), total, longest)
