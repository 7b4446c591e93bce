"""Windows that slide over another one: views, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, overload

from ....errors import QueryError
from ..calendar_frames import CalendarFrame
from ..zones import MICROSECOND
from .moment_columns import Array, datetime_of, distinct, np
from .spans import Size, ceiling_of, span_of
from .views import V

__all__ = ["SlidingWindows", "sliding", "split_by"]

_new = object.__new__
#: How many ends are taken out of their arrays at a time.
_BLOCK = 4096


class _Rows(Sequence[int]):
    """Where moments of or after some instants begin; looked up when it is asked for.

    Args:
        times: in milliseconds, in order.
        instants: evenly spaced ones, of which there may be more than fit into memory.
        low: what is added to the places in `times`.
    """

    __slots__ = ("_instants", "_low", "_times")

    def __init__(self, times: Array, instants: range, low: int) -> None:
        self._times = times
        self._instants = instants
        self._low = low

    def __len__(self) -> int:
        return len(self._instants)

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> _Rows: ...
    def __getitem__(self, key: int | slice) -> int | _Rows:
        found = self._instants[key]
        if isinstance(found, range):
            return _Rows(self._times, found, self._low)
        return self._low + int(np.searchsorted(self._times, found))

    def __sub__(self, low: int) -> _Rows:
        return _Rows(self._times, self._instants, self._low - low)

    def tolist(self) -> list[int]:
        """Return all at once."""
        found: list[int] = (self._low + np.searchsorted(self._times, [*self._instants])).tolist()
        return found


class SlidingWindows(Sequence[V], Generic[V]):
    """The windows that slide over another one: a sequence of views, made when they are asked for.

    Args:
        window: over which they slide.
        starts: the rows of its columns with which the windows begin.
        stops: the rows before which they end.
    """

    __slots__ = ("_starts", "_stops", "_window")

    def __init__(self, window: V, starts: Any, stops: Any) -> None:
        self._window = window
        self._starts = starts
        self._stops = stops

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, key: int) -> V: ...
    @overload
    def __getitem__(self, key: slice) -> SlidingWindows[V]: ...
    def __getitem__(self, key: int | slice) -> V | SlidingWindows[V]:
        if isinstance(key, slice):
            return SlidingWindows(self._window, self._starts[key], self._stops[key])
        return self._window._view(int(self._starts[key]), int(self._stops[key]))

    def __iter__(self) -> Iterator[V]:
        cls: type[V] = type(self._window)
        columns = self._window._columns
        for first in range(0, len(self), _BLOCK):
            parts = (ends[first : first + _BLOCK] for ends in (self._starts, self._stops))
            starts, stops = (p if isinstance(p, range) else p.tolist() for p in parts)
            for start, stop in zip(starts, stops, strict=True):
                view = _new(cls)
                view._columns = columns
                view._start = start
                view._stop = stop
                yield view

    def __reduce__(self) -> tuple[Any, ...]:
        # The rows of a window that is kept elsewhere begin with its own.
        low = self._window._start
        ends = (
            range(end.start - low, end.stop - low, end.step)
            if isinstance(end, range)
            else end - low
            for end in (self._starts, self._stops)
        )
        return type(self), (self._window._apart(), *ends)

    def __repr__(self) -> str:
        return f"SlidingWindows({len(self):,} over {self._window!r})"


def sliding(window: V, size: Size, step: Size) -> SlidingWindows[V]:
    """Return the windows of a size that begin a step apart.

    Raises:
        QueryError: they are no sizes, or a number of moments every so often.
    """
    place = f"{type(window).__name__}.sliding_window"
    length = span_of(size, f"{place}, size")
    stride = span_of(step, f"{place}, step")
    if length.is_count:
        if not stride.is_count:
            raise QueryError(
                f"{place}: expected a step in moments beside a size in moments, got {step!r}; give "
                "both as durations"
            )
        last = window._stop - length.amount
        starts = range(window._start, last + 1, stride.amount)
        stops = range(
            window._start + length.amount,
            window._start + length.amount + len(starts) * stride.amount,
            stride.amount,
        )
        return SlidingWindows(window, starts, stops)
    times = window._columns.times[window._start : window._stop]
    # What comes after the last moment is not known: a window that reaches beyond is not whole.
    first, last = (int(times[0]), int(times[-1]) - length.amount) if len(times) else (0, -1)
    if not stride.is_count:
        # Of years in steps of milliseconds there are more than fit into memory.
        ends = (range(first + add, last + add + 1, stride.amount) for add in (0, length.amount))
        return SlidingWindows(window, *(_Rows(times, end, window._start) for end in ends))
    floors: Array = distinct(times)[:: stride.amount]
    floors = floors[floors <= last]
    return SlidingWindows(
        window,
        window._start + np.searchsorted(times, floors),
        window._start + np.searchsorted(times, floors + length.amount),
    )


def split_by(window: V, kind: Any, options: dict[str, Any]) -> list[tuple[CalendarFrame, V]]:
    """Return the frames of a kind that have moments, those between them, and their views.

    Raises:
        QueryError: it is no kind of frame.
    """
    place = f"{type(window).__name__}.split"
    if not isinstance(kind, type) or not issubclass(kind, CalendarFrame) or kind is CalendarFrame:
        raise QueryError(f"{place}: expected a class such as DailyFrame, got {kind!r}")
    kind._check_options(options, place)
    if not len(window):
        return []
    times = window._columns.times[window._start : window._stop]
    ends = datetime_of(int(times[0])), datetime_of(int(times[-1])) + MICROSECOND
    frames = [*kind.range(*ends, window.tzone, **options)]
    ceilings = [ceiling_of(frame._end, place) for frame in frames]
    stops = [window._start, *(window._start + np.searchsorted(times, ceilings)).tolist()]
    views = map(window._view, stops[:-1], stops[1:])
    return [*zip(frames, views, strict=True)]
