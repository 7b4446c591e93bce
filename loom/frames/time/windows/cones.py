"""Cones of time: what was known before an instant, and what came from it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, overload

from ....errors import QueryError
from .moment_columns import Array, distinct, np
from .spans import Size, Span, span_of
from .versions import (
    Versions,
    check_known,
    check_versions,
    known_rows,
    last_versions,
    of_rows,
    unasked,
)
from .views import V

__all__ = ["Cone", "Cones", "cones_of", "folds_of"]


class Cone(tuple[V, V]):
    """Two windows: what was known before an instant, and what came from it on."""

    __slots__ = ()

    @property
    def past(self) -> V:
        """What was known before."""
        return self[0]

    @property
    def future(self) -> V:
        """What came from then on."""
        return self[1]

    def __repr__(self) -> str:
        return f"Cone(past={self[0]!r}, future={self[1]!r})"


class _Shape(NamedTuple):
    """How far all cones of a window reach."""

    past: Span
    future: Span
    gap: Span
    versions: Versions

    @classmethod
    def of(cls, past: Size, future: Size, gap: Size, versions: Versions, place: str) -> _Shape:
        """Return what a call asks for."""
        check_versions(versions, place)
        return cls(
            span_of(past, f"{place}, past_size"),
            span_of(future, f"{place}, future_size"),
            span_of(gap, f"{place}, gap", least=0),
            versions,
        )


class _Reach(Generic[V]):
    """How far into a window the cones of all its times reach, in rows of its columns."""

    def __init__(self, window: V, shape: _Shape) -> None:
        # What is stored later is in no past.
        self.window = window = unasked(window)
        self.shape = shape
        columns, self.low, self.high = window._columns, window._start, window._stop
        self.columns = columns
        self.times = columns.times[self.low : self.high]
        #: the times at which there are moments; each is where the future of a cone begins
        self.events: Array = distinct(self.times)
        gap = shape.gap.amount
        #: when the past ends, and what is not known yet is not in it
        self.nows = self.events - gap
        if shape.gap.is_count:
            # Before the first moment there is nothing, as there is at it.
            self.nows = self.events[np.maximum(np.arange(len(self.events)) - gap, 0)]
        self.past_stops: Array = self.low + np.searchsorted(self.times, self.nows)
        if shape.past.is_count:
            self.past_starts = np.maximum(self.past_stops - shape.past.amount, self.low)
        else:
            floors = self.nows - shape.past.amount
            self.past_starts = self.low + np.searchsorted(self.times, floors)
        #: the rows that were never corrected, or are the last corrections
        self.finals = last_versions(columns, np.arange(self.low, self.high), shape.versions)
        final_times = columns.times[self.finals]
        self.future_starts: Array = np.searchsorted(final_times, self.events)
        if shape.future.is_count:
            stops = self.future_starts + shape.future.amount
            self.is_whole_future = stops <= len(self.finals)
            self.future_stops = np.minimum(stops, len(self.finals))
        else:
            ceilings = self.events + shape.future.amount
            self.future_stops = np.searchsorted(final_times, ceilings)
            # What comes after the last moment is not known.
            self.is_whole_future = ceilings <= self.times[-1:]

    def past(self, place: int, low: int) -> Array:
        """Return the rows of a past when not all was known at its time, from a row on."""
        stop, now = int(self.past_stops[place]), int(self.nows[place])
        versions = self.shape.versions
        if not self.shape.past.is_count:
            return known_rows(self.columns, int(self.past_starts[place]), stop, now, versions)
        # What was not known yet, or was corrected, does not count: look further back.
        wanted = reach = self.shape.past.amount
        while True:
            start = max(stop - reach, low)
            rows = known_rows(self.columns, start, stop, now, versions)
            if len(rows) >= wanted or start <= low:
                return rows[-wanted:]
            reach *= 2

    def is_whole_past(self, place: int, low: int, floor: int) -> bool:
        """Tell whether a past is all that was asked for, from a row and a time on."""
        if not self.shape.past.is_count:
            return bool(self.nows[place] - self.shape.past.amount >= floor)
        if self.columns.known is None:
            return bool(self.past_stops[place] - low >= self.shape.past.amount)
        return len(self.past(place, low)) == self.shape.past.amount

    def first_place(self, low: int, floor: int) -> int:
        """Return before which time no past is whole that begins at a row and a time."""
        if self.shape.past.is_count:
            return int(np.searchsorted(self.past_stops, low + self.shape.past.amount))
        return int(np.searchsorted(self.nows, floor + self.shape.past.amount))

    def told(self) -> Array:
        """Return of how many times something was known when each past ends: its least length."""
        firsts = np.searchsorted(self.times, self.events)  # what was known first of a time
        since = np.maximum(
            self.columns.known_since()[self.low : self.high][firsts], self.events + 1
        )
        found: Array = np.searchsorted(np.sort(since), self.nows, "right")
        return found

    def whole(self, places: Array) -> Array:
        """Return those of some places at which the cones are whole."""
        places = places[self.is_whole_future[places]]
        if self.shape.past.is_count and self.columns.known is not None:
            is_certain = self.told()[places] >= self.shape.past.amount
            found = [
                place
                for place, certain in zip(places.tolist(), is_certain.tolist(), strict=True)
                if certain or self.is_whole_past(place, self.low, 0)
            ]
            return np.array(found, np.int64)
        if self.shape.past.is_count:
            is_whole = self.past_stops[places] - self.low >= self.shape.past.amount
        else:
            is_whole = self.nows[places] - self.shape.past.amount >= self.times[:1]
        return places[is_whole]

    def cone(self, place: int, low: int) -> Cone[V]:
        """Return the cone of a time; a past of so many moments begins no earlier than a row."""
        first, last = int(self.future_starts[place]), int(self.future_stops[place])
        if self.columns.known is not None:
            past = of_rows(self.window, self.past(place, low))
            return Cone((past, of_rows(self.window, self.finals[first:last])))
        view = self.window._view
        past = view(int(self.past_starts[place]), int(self.past_stops[place]))
        return Cone((past, view(self.low + first, self.low + last)))


class Cones(Sequence[Cone[V]], Generic[V]):
    """The cones of a window, one for each time that its moments have; made when asked for."""

    __slots__ = ("_places", "_reach")

    def __init__(self, reach: _Reach[V], places: Array) -> None:
        self._reach = reach
        self._places = places

    @property
    def times(self) -> Array:
        """When the future of each begins, as `datetime64[ms]` in UTC."""
        return self._reach.events[self._places].view("datetime64[ms]")

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, key: int) -> Cone[V]: ...
    @overload
    def __getitem__(self, key: slice) -> Cones[V]: ...
    def __getitem__(self, key: int | slice) -> Cone[V] | Cones[V]:
        if isinstance(key, slice):
            return Cones(self._reach, self._places[key])
        return self._reach.cone(int(self._places[key]), self._reach.low)

    def __iter__(self) -> Iterator[Cone[V]]:
        low = self._reach.low
        return (self._reach.cone(int(place), low) for place in self._places)

    def __reduce__(self) -> tuple[Any, ...]:
        # The rows of a window that is kept elsewhere begin with its own.
        return _restored, (self._reach.window._apart(), self._reach.shape, self._places)

    def __repr__(self) -> str:
        return f"Cones({len(self):,} in {self._reach.window!r})"


def _restored(window: V, shape: _Shape, places: Array) -> Cones[V]:
    return Cones(_Reach(window, shape), places)


def cones_of(
    window: V,
    past: Size,
    future: Size,
    gap: Size,
    step: Size,
    strict: bool,
    versions: Versions,
) -> Cones[V]:
    """Return the cones of a window.

    Raises:
        QueryError: what was given are no sizes, or some moments do not say since when they are known.
    """
    place = f"{type(window).__name__}.sliding_time_cone"
    if not isinstance(strict, bool):  # a third size would be a gap
        raise QueryError(
            f"{place}: expected strict=True or False, got {strict!r}; sizes beside those of past and "
            "future have names: gap=, step="
        )
    reach = _Reach(window, _Shape.of(past, future, gap, versions, place))
    stride = span_of(step, f"{place}, step")
    check_known(window, place)
    if not stride.is_count:
        # The first time at or behind each step: those between which and the one before lies one.
        steps = (reach.events - reach.events[:1]) // stride.amount
        places = np.flatnonzero(np.diff(steps, prepend=-1))
    else:
        places = np.arange(0, len(reach.events), stride.amount)
    return Cones(reach, reach.whole(places) if strict else places)


def folds_of(
    window: V, past: Size, future: Size, gap: Size, embargo: Size, versions: Versions
) -> list[Cone[V]]:
    """Return whole cones that have no time in common, each as early as it can be.

    Raises:
        QueryError: what was given are no sizes, or some moments do not say since when they are known.
    """
    place = f"{type(window).__name__}.folds"
    reach = _Reach(window, _Shape.of(past, future, gap, versions, place))
    pause = span_of(embargo, f"{place}, embargo", least=0)
    check_known(window, place)
    found: list[Cone[V]] = []
    events = reach.events
    low, floor, number = reach.low, int(events[0]) if len(events) else 0, 0
    while True:
        # The past reaches back to the end of the fold before at most.
        number = max(number, reach.first_place(low, floor))
        if number >= len(events):
            return found
        if not reach.is_whole_future[number] or not reach.is_whole_past(number, low, floor):
            number += 1
            continue
        found.append(reach.cone(number, low))
        floor = int(events[number]) + reach.shape.future.amount
        if reach.shape.future.is_count:
            last = found[-1].future
            floor = int(last._columns.times[last._stop - 1]) + 1
        number = int(np.searchsorted(events, floor))
        if not pause.is_count:
            floor += pause.amount
        elif number + pause.amount < len(events):
            floor = int(events[number + pause.amount])
        else:
            return found
        low = reach.low + int(np.searchsorted(reach.times, floor))
        number = int(np.searchsorted(events, floor))
