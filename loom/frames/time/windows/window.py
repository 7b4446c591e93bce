"""MomentWindow: the moments of one symbol in the order of time, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

from ....errors import NotFound, QueryError
from ...frame import Frame
from ...port import blocking, complete
from ...projections import plan_for
from ...references import build
from ..calendar_frames import CalendarFrame
from ..timeframe import TimeFrame
from ..zones import TimeZone
from .cones import Cone, Cones, cones_of, folds_of
from .gaps import Gaps, gaps_of
from .gathering import columns_of_moments
from .loads import Loads
from .moment_columns import np
from .pictures import Pictures
from .resampling import Resampling
from .series import Series
from .sliding_windows import SlidingWindows, sliding, split_by
from .spans import Size, ends_of, floor_of
from .versions import Versions, check_known, check_versions, known_rows, of_rows, unasked

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MomentWindow"]

#: How many moments iteration makes at a time.
_BLOCK = 1_000


class MomentWindow(Loads, Resampling, Pictures):
    """Moments of one symbol, in the order of time, kept as columns.

    It is a sequence of moments, which are made when they are asked for. Slices, `between` and
    whatever slides are views of the same arrays. Moments of one time are in the order in which
    they became known; those that became known together in the order of their `_id`, if they were
    loaded with one that is an ObjectId or an integer, else in the order in which they came.

    Where no moment says since when it is known, each has been known since its time. Where only some
    say so, whatever asks what was known is refused: `as_of`, cones and folds.

    `_id` and times are those of what is stored, in whole milliseconds.

    Args:
        moments: frames of one class and one symbol, in any order.
        cls: their class; by default that of the first, or the one that all share which are of
            several kinds (`_kind_field`). It is not known when there is none.
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
            TypeError: it is none of these.
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
        if not hasattr(key, "__index__"):
            raise TypeError(
                f"{type(self).__name__}: expected a place, a slice or the name of a field, got "
                f"{key!r}"
            )
        row, count = key.__index__(), len(self)
        if not -count <= row < count:
            raise IndexError(f"{type(self).__name__}: expected a place below {count}, got {row}")
        return self._moments(row % count, row % count + 1)[0]

    def _moments(self, start: int, stop: int) -> list[Any]:
        columns = self._columns
        documents = columns.documents(self._start + start, self._start + stop)
        # What is embedded is mapped, and what is there in part remembers it, as after a load.
        plan = plan_for(columns.cls, dict.fromkeys(columns.names, True))
        return complete(build(blocking(), plan, documents, {}))

    def __iter__(self) -> Iterator[Any]:
        count = len(self)
        for start in range(0, count, _BLOCK):
            yield from self._moments(start, min(start + _BLOCK, count))

    def __reversed__(self) -> Iterator[Any]:
        for stop in range(len(self), 0, -_BLOCK):
            yield from reversed(self._moments(max(stop - _BLOCK, 0), stop))

    def __contains__(self, moment: object) -> bool:
        """Tell whether a moment is in the window: by its `_id`, or by all values if it has none.

        A window that was loaded without `_id` holds nothing that has one.

        Raises:
            TypeError: it is no frame.
        """
        if not isinstance(moment, Frame):
            raise TypeError(
                f"{type(self).__name__}: expected a moment before in, got {moment!r}; fields are in "
                ".fields, times in .times"
            )
        roles, document = self._columns.roles, moment._document
        if not isinstance(moment, self.cls) or document.get(roles.time) is None:
            return False
        if moment._id is not None:
            return "_id" in self.fields and moment._id in self.values("_id").tolist()
        alone = type(self)([moment], self.cls, tzone=self.tzone)
        row = self._row_at(int(alone._columns.times[0]))
        while row < self._stop and self._columns.times[row] == alone._columns.times[0]:
            if self._view(row, row + 1) == alone:
                return True
            row += 1
        return False

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
            QueryError: an end before the start, or beside a frame.
            TimeFrameError: a datetime without a zone.
        """
        place = f"{type(self).__name__}.between"
        low, high = ends_of(start, end, place)
        return self._view(
            self._start if low is None else self._row_at(low),
            self._stop if high is None else self._row_at(high),
        )

    def as_of(self, instant: datetime, *, versions: Versions = "last") -> Self:
        """Return the window as it was known at an instant.

        What became known later is not in it. Of moments with one time only those stay that had
        become known last: they correct the others. Several that became known together all stay.

        Args:
            instant: an aware datetime.
            versions: `"all"` keeps what was corrected.

        Returns:
            A view, if its moments are one after the other; else a window of its own. It has no
            `query`: what is stored by now was not known then.

        Raises:
            QueryError: some moments do not say since when they are known, and others do; the
                message counts them.
            TimeFrameError: a datetime without a zone.
        """
        place = f"{type(self).__name__}.as_of"
        check_versions(versions, place)
        check_known(self, place)
        now = floor_of(instant, place)
        rows = known_rows(self._columns, self._start, self._stop, now, versions)
        return of_rows(unasked(self), rows)

    def gaps(
        self,
        expected: str | timedelta | type[CalendarFrame] | Iterable[TimeFrame],
        *,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        tolerance: str | timedelta | None = None,
        **options: Any,
    ) -> Gaps:
        """Return where there are no moments though some were expected.

        Args:
            expected: how often there is a moment, `"1h"` or a timedelta; or in which frames there
                should be one: `DailyFrame`, whose days are those of the window's zone; or the
                frames of a calendar of one's own.
            start: an aware datetime, from which on moments are expected; by default that of the
                first; or a time frame, which has both ends.
            end: an aware datetime, before which they are; by default that of the last.
            tolerance: how much later than expected a moment may come and be no gap.
            options: `week_start` or `year_start` of weeks and years.

        Raises:
            QueryError: `expected` is none of these.
            TimeFrameError: a datetime without a zone, or an option that the kind does not take.

        >>> from datetime import timezone
        >>> from loom.frames.time import DailyFrame, Moment
        >>> days = [datetime(2024, 3, n, 12, tzinfo=timezone.utc) for n in (1, 2, 5)]
        >>> window = MomentWindow(Moment(symbol="ACME", time=day) for day in days)
        >>> found = window.gaps(DailyFrame)
        >>> found.count, [day.get_pretty_value() for day in found.missing]
        (2, ['03/03/2024', '03/04/2024'])
        """
        return gaps_of(self, expected, start, end, tolerance, options)

    # What slides

    def sliding_window(self, size: Size, step: Size = 1) -> SlidingWindows[Self]:
        """Return the windows of a size that slide over this one: a sequence of views.

        Args:
            size: so many moments; or a duration, `"36h"`, `"90d"` or a timedelta: such a window
                begins with a moment, and ends before what is that much later.
            step: how much further the next one begins: a number of moments, or, with a duration
                as the size, of times with moments, or a duration.

        Returns:
            Only whole windows: those of a duration end no later than at the last moment, because
            what comes after it is not known.

        Raises:
            QueryError: they are no sizes.

        >>> from datetime import timezone
        >>> from loom.frames.time import Moment
        >>> noon = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
        >>> window = MomentWindow(Moment(symbol="ACME", time=noon.replace(hour=n)) for n in range(5))
        >>> [len(part) for part in window.sliding_window(3)]
        [3, 3, 3]
        >>> [len(part) for part in window.sliding_window("2h", step="2h")]
        [2, 2]
        """
        return sliding(self, size, step)

    def split(self, kind: type[CalendarFrame], **options: Any) -> list[tuple[CalendarFrame, Self]]:
        """Return the frames of the calendar from the first moment to the last, with their views.

        Frames without moments are there, too, with an empty window.

        Args:
            kind: `HourlyFrame`, `DailyFrame` ...; their zone is that of the window.
            options: `week_start` or `year_start`, as for that kind.

        Raises:
            QueryError: `kind` is no kind of frame.
            TimeFrameError: it does not take an option.

        >>> from datetime import timezone
        >>> from loom.frames.time import DailyFrame, Moment
        >>> noons = [datetime(2024, 3, n, 12, tzinfo=timezone.utc) for n in (1, 2, 4)]
        >>> window = MomentWindow(Moment(symbol="ACME", time=noon) for noon in noons)
        >>> [(day.get_pretty_value(), len(part)) for day, part in window.split(DailyFrame)]
        [('03/01/2024', 1), ('03/02/2024', 1), ('03/03/2024', 0), ('03/04/2024', 1)]
        """
        return split_by(self, kind, options)

    def sliding_time_cone(
        self,
        past_size: Size,
        future_size: Size,
        strict: bool = False,
        *,
        gap: Size = 0,
        step: Size = 1,
        versions: Versions = "last",
    ) -> Cones[Self]:
        """Return pairs of a past and a future, one for each time at which there are moments.

        The future begins with the moments of that time. The past ends before it, a gap earlier,
        and holds only what was known when it ends: a correction that came later is not in it.
        The future holds the last version of each moment. Moments of one time share a cone, because
        nobody knows which of them came first.

        Args:
            past_size: so many moments, or a duration.
            future_size: the same.
            strict: leave out cones that are not whole: with fewer moments than were asked for, or,
                of a duration, with a past that begins before the first moment or a future that
                ends after the last one.
            gap: what is between past and future: times with moments, or a duration.
            step: how much further the next cone is: times with moments, or a duration.
            versions: `"all"` keeps what was corrected.

        Returns:
            A sequence of `(past, future)`; its `times` are where the futures begin. Views, unless
            something became known later than at its time.

        Raises:
            QueryError: they are no sizes, `strict` is no bool, or some moments do not say since when
                they are known.
        """
        return cones_of(self, past_size, future_size, gap, step, strict, versions)

    def folds(
        self,
        past_size: Size,
        future_size: Size,
        *,
        gap: Size = 0,
        embargo: Size = 0,
        versions: Versions = "last",
    ) -> list[Cone[Self]]:
        """Return whole cones that have no time in common, to train with and to test by.

        Each begins after the future of the one before, `embargo` later, as early as it can: no
        future of one fold, nor what is in its time, is in the past of another.

        Args:
            past_size: so many moments, or a duration.
            future_size: the same.
            gap: as for `sliding_time_cone`.
            embargo: what is left out after each future: times with moments, or a duration.
            versions: as for `sliding_time_cone`.

        Raises:
            QueryError: they are no sizes, or some moments do not say since when they are known.
        """
        return folds_of(self, past_size, future_size, gap, embargo, versions)

    def _row_at(self, milliseconds: int) -> int:
        """Return the row of the columns where a time begins, or would."""
        times = self._columns.times[self._start : self._stop]
        return self._start + int(np.searchsorted(times, milliseconds))
