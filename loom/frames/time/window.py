"""MomentWindow: the moments of one symbol in the order of time, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from ...errors import NotFound, QueryError
from ..document import wrap
from .gathering import columns_of_moments
from .moment_columns import np
from .series import Series
from .spans import ceiling_of
from .timeframe import TimeFrame
from .window_loads import Loads
from .zones import TimeZone

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MomentWindow"]

#: How many moments iteration makes at a time.
_BLOCK = 1_000


class MomentWindow(Loads):
    """Moments of one symbol, in the order of time, kept as columns.

    It is a sequence of moments, which are made when they are asked for. Slices, `between` and
    whatever slides are views of the same arrays. Moments of one time are in the order in which
    they became known, those that became known together in the order in which they came.

    `_id` and times are those of what is stored, in whole milliseconds.

    Args:
        moments: frames of one class and one symbol, in any order.
        cls: their class; by default that of the first, which is not known when there is none.
        tzone: the zone in which times are shown, by default UTC. Naive times of the moments are
            taken to show its clock, and refused without it.

    Raises:
        QueryError: several symbols, or moments without a time; the message counts them.
        TimeFrameError: naive times, and no zone.

    >>> from datetime import timedelta, timezone
    >>> from loom.frames.time import Moment
    >>> class Price(Moment):
    ...     amount: float
    >>> noon = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
    >>> hours = [noon + n * timedelta(hours=1) for n in range(4)]
    >>> window = MomentWindow(Price(symbol="ACME", time=t, amount=9.5 + n) for n, t in enumerate(hours))
    >>> window[-1].amount, window.values("amount").tolist()
    (12.5, [9.5, 10.5, 11.5, 12.5])
    >>> len(window.between(hours[1], hours[3]))
    2
    """

    __slots__ = ()

    def __init__(
        self,
        moments: Iterable[Any] = (),
        cls: Any = None,
        *,
        tzone: TimeZone | None = None,
    ) -> None:
        self._columns = columns_of_moments(moments, cls, tzone, type(self).__name__)
        self._start = 0
        self._stop = len(self._columns.times)

    # Moments

    @overload
    def __getitem__(self, key: int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Self: ...
    @overload
    def __getitem__(self, key: str) -> Series: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """Return a moment, the view of a slice, or the series of a field.

        Raises:
            IndexError: there is no such moment.
            FieldError: there is no such field.
            QueryError: a slice against the order of time.
        """
        if isinstance(key, str):
            return Series(key, self.values(key), self.times)
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step < 1:
                raise QueryError(
                    f"{type(self).__name__}: expected a slice in the order of time, got {key!r}; "
                    "reversed(window) goes backwards"
                )
            if step == 1:
                return self._view(self._start + start, self._start + stop)
            rows = slice(self._start + start, self._start + max(start, stop), step)
            return self._of(self._columns.chosen(rows))
        row = key.__index__()
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"{type(self).__name__}: expected a place below {count}, got {row}")
        return self._moments(row % count, row % count + 1)[0]

    def _moments(self, start: int, stop: int) -> list[Any]:
        columns = self._columns
        return wrap(columns.cls, columns.documents(self._start + start, self._start + stop))

    def __iter__(self) -> Iterator[Any]:
        count = len(self)
        for start in range(0, count, _BLOCK):
            yield from self._moments(start, min(start + _BLOCK, count))

    def __reversed__(self) -> Iterator[Any]:
        for stop in range(len(self), 0, -_BLOCK):
            yield from reversed(self._moments(max(stop - _BLOCK, 0), stop))

    @property
    def first(self) -> Any:
        """The earliest moment.

        Raises:
            NotFound: there is none.
        """
        return self[0] if self else self._refuse("first")

    @property
    def latest(self) -> Any:
        """The last moment.

        Raises:
            NotFound: there is none; `latest_or` gives something else instead.
        """
        return self[-1] if self else self._refuse("latest")

    def latest_or(self, default: Any = None) -> Any:
        """Return the last moment, or `default` when there is none."""
        return self[-1] if self else default

    def _refuse(self, name: str) -> Any:
        hint = "; latest_or(None) gives None" if name == "latest" else ""
        raise NotFound(f"{self!r}.{name}: expected a moment, got an empty window{hint}")

    # Time

    def between(
        self, start: datetime | TimeFrame | None = None, end: datetime | None = None
    ) -> Self:
        """Return the view of the moments from `start`, which belongs to it, to before `end`.

        Args:
            start: an aware datetime, or None for the first moment; or a time frame, which has both
                ends.
            end: an aware datetime, or None for the last moment and all of them.

        Raises:
            TimeFrameError: a datetime without a zone, or an end before the start.
        """
        place = f"{type(self).__name__}.between"
        if isinstance(start, TimeFrame):
            if end is not None:
                raise QueryError(f"{place}: expected a frame alone, got {start!r} and {end!r}")
            return self.between(start.floor, start.ceiling)
        low = None if start is None else ceiling_of(start, place)
        high = None if end is None else ceiling_of(end, place)
        if low is not None and high is not None and high < low:
            raise QueryError(f"{place}: expected an end behind {start!r}, got {end!r}")
        return self._view(
            self._start if low is None else self._row_at(low),
            self._stop if high is None else self._row_at(high),
        )

    def _row_at(self, milliseconds: int) -> int:
        """Return the row of the columns where a time begins, or would."""
        times = self._columns.times[self._start : self._stop]
        return self._start + int(np.searchsorted(times, milliseconds))
