"""Frames of the calendar of a zone, and those of less than a month: hours, days and weeks.

All but hours are made of days, and a day ends where the next one begins, so that neighbours leave
no gap and share nothing, whatever the clocks of the zone do.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import TimeFrameError, nearest
from .resolution import Resolution
from .timeframe import TimeFrame
from .zones import (
    UTC,
    TimeZone,
    beyond,
    day_start,
    instant,
    name_of,
    skipped_days,
    zone_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BEYOND", "CalendarFrame", "DailyFrame", "WeeklyFrame", "date_text"]

_set = object.__setattr__
#: What is raised beyond the first and the last day of Python's calendar.
BEYOND = (OverflowError, ValueError)
#: The options of frames, and who takes them.
_TAKERS = {"week_start": "WeeklyFrame", "year_start": "QuarterlyFrame and YearlyFrame"}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class CalendarFrame(TimeFrame):
    """What the frames of the calendar have in common."""

    __slots__ = ("_option",)
    _option: int
    _usual: ClassVar[int] = 0
    #: The options that `create` takes, beside a moment and a zone.
    _takes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, moment: datetime | None = None, tzone: TimeZone | None = None) -> None:
        self._place(moment, tzone, self._usual)

    def _place(self, moment: datetime | None, tzone: TimeZone | None, option: int) -> None:
        place = type(self).__name__
        if tzone is None:
            zone: tzinfo = UTC
            at = datetime.now(UTC) if moment is None else instant(moment, None, place)
        else:
            zone = zone_of(tzone, place)
            at = datetime.now(UTC) if moment is None else instant(moment, zone, place)
        try:
            start, end = self._around(at, zone, option)
        except TimeFrameError:
            raise
        except BEYOND:
            raise beyond(place) from None
        _set(self, "_start", start)
        _set(self, "_end", end)
        _set(self, "_zone", zone)
        _set(self, "_option", option)

    @classmethod
    def create(cls, moment: datetime | None = None, tzone: TimeZone | None = None) -> Self:
        """Return the frame that a moment lies in.

        Args:
            moment: an aware datetime, or a naive one, which shows the clock of `tzone`; by default
                the present.
            tzone: the zone whose calendar counts, by default UTC, whatever zone `moment` has.

        Raises:
            TimeFrameError: a naive datetime without `tzone`, or no zone.
        """
        return cls(moment, tzone)

    @classmethod
    def _made(cls, start: datetime, end: datetime, zone: tzinfo, option: int | None = None) -> Self:
        self = super()._made(start, end, zone)
        _set(self, "_option", cls._usual if option is None else option)
        return self

    def _options(self) -> tuple[int, ...]:
        return (self._option,)

    @classmethod
    def range(
        cls,
        start: datetime | TimeFrame,
        end: datetime | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> Iterator[Self]:
        """Return an iterator over the frames that share time with `start` to `end`, in order.

        The first one holds `start`; the last one holds what comes right before `end`, which itself
        is left out.

        Args:
            start: an aware datetime, or a naive one if `tzone` is given; or a time frame, which has
                both ends.
            end: an aware or a naive datetime, as `start`.
            tzone: the zone whose calendar counts, by default UTC, or that of the frame.
            options: `week_start` or `year_start`, where `create` takes it.

        Raises:
            TimeFrameError: a naive datetime without `tzone`, no end, no zone, or an option that
                this kind does not take.

        >>> march = DailyFrame.range(datetime(2024, 3, 1), datetime(2024, 4, 1), "Europe/Vienna")
        >>> sum(day.duration.total_seconds() for day in march) / 3600
        743.0
        """
        place = f"{cls.__name__}.range"
        cls._check_options(options, place)
        if isinstance(start, TimeFrame):
            if end is not None:
                raise TimeFrameError(f"{place}: expected a frame alone, got {start!r} and {end!r}")
            whole = start
            tzone = whole.tzone if tzone is None else tzone
            start, end = whole._start, whole._end
        elif end is None:
            raise TimeFrameError(f"{place}: expected an end, or a frame, got {start!r} alone")
        zone = None if tzone is None else zone_of(tzone, place)
        first, last = instant(start, zone, place), instant(end, zone, place)
        frame = cls(first, zone, **options)
        return cls._walk(frame, last) if first < last else iter(())

    @classmethod
    def _check_options(cls, options: Iterable[str], place: str) -> None:
        """Refuse options that frames of this kind do not take.

        Raises:
            TimeFrameError: one is among them.
        """
        for name in options:
            if name not in _TAKERS:
                known = " or ".join(_TAKERS)
                raise TimeFrameError(
                    f"{place}: expected {known}, got {name!r}{nearest(name, _TAKERS)}"
                )
            if name not in cls._takes:
                raise TimeFrameError(
                    f"{place}.{name}: expected it with {_TAKERS[name]}, got it with {cls.__name__}"
                )

    @classmethod
    def _walk(cls, frame: Self, end: datetime) -> Iterator[Self]:
        yield frame
        while frame._end < end:
            frame = frame._shifted(1)
            yield frame

    @classmethod
    def _around(cls, at: datetime, zone: tzinfo, option: int) -> tuple[datetime, datetime]:
        """Return the ends of the frame around an instant."""
        day = at.astimezone(zone)
        first = cls._first(day, option)
        following = cls._moved(first, 1, option)
        start, end = day_start(zone, first), day_start(zone, following)
        while at >= end:
            # The clocks were set back over a midnight that had passed: the day that began then
            # goes on.
            following = cls._moved(following, 1, option)
            start, end = end, day_start(zone, following)
        return start, end

    @classmethod
    def _at(cls, first: int, zone: tzinfo, option: int) -> Self:
        """Return the frame that begins with a date; it may be empty."""
        start = day_start(zone, first)
        return cls._made(start, day_start(zone, cls._moved(first, 1, option)), zone, option)

    @classmethod
    def _first(cls, day: date, option: int) -> int:
        """Return the ordinal of the first date of the frame around a date."""
        raise TimeFrameError(
            f"{cls.__name__}: expected a kind of frames such as DailyFrame, got what all kinds have "
            "in common"
        )

    @classmethod
    def _moved(cls, first: int, count: int, option: int) -> int:
        """Return the ordinal of the first date of a frame that lies `count` frames later."""
        raise NotImplementedError

    def _shifted(self, count: int) -> Self:
        try:
            return self._at(
                self._moved(self._begin(), count, self._option), self._zone, self._option
            )
        except BEYOND:
            raise beyond(type(self).__name__) from None

    def _begin(self) -> int:
        """Return the ordinal of the first date, also if the zone left that date out."""
        return self._first(self.floor, self._option)


class DailyFrame(CalendarFrame):
    """A date, from the first instant that shows it to the first that shows a later one.

    >>> DailyFrame.create(datetime(2024, 3, 10, 12), "America/New_York").duration
    datetime.timedelta(seconds=82800)
    """

    __slots__ = ()
    resolution = Resolution.DAILY
    _form = r"(\d{4}-\d\d-\d\d)"

    @classmethod
    def _first(cls, day: date, option: int) -> int:
        return day.toordinal()

    @classmethod
    def _moved(cls, first: int, count: int, option: int) -> int:
        return first + count

    def _shifted(self, count: int) -> Self:
        zone = self._zone
        first = self.floor.toordinal()
        target = first + count
        skipped = skipped_days(zone)
        if skipped and count > 0:
            for day in skipped[bisect_right(skipped, first) :]:
                target += day <= target
        elif skipped:
            for day in reversed(skipped[: bisect_left(skipped, first)]):
                target -= day >= target
        try:
            return self._at(target, zone, 0)
        except BEYOND:
            raise beyond(type(self).__name__) from None

    def get_pretty_value(self) -> str:
        """Return the date for people: `03/10/2024`."""
        return date_text(self.floor)

    def _text(self) -> str:
        return self.floor.date().isoformat()

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        frame = cls._at(date.fromisoformat(parts[0]).toordinal(), zone, 0)
        if frame._start == frame._end:
            raise TimeFrameError(f"{name_of(zone)} left this day out")
        return frame


class WeeklyFrame(CalendarFrame):
    """Seven dates, from Monday on as ISO 8601 counts them, or from another day.

    Args:
        week_start: the first day, as `calendar.SUNDAY` or `"sunday"`.

    >>> WeeklyFrame.parse("2024-W10").get_pretty_value()
    '03/04 - 03/10'
    """

    __slots__ = ()
    resolution = Resolution.WEEKLY
    _takes = ("week_start",)
    _form = r"(\d{4})-W(\d\d)|(\d{4}-\d\d-\d\d)/P1W"

    def __init__(
        self,
        moment: datetime | None = None,
        tzone: TimeZone | None = None,
        *,
        week_start: int | str = 0,
    ) -> None:
        self._place(moment, tzone, _week_start(week_start) if week_start != 0 else 0)

    @classmethod
    def create(
        cls,
        moment: datetime | None = None,
        tzone: TimeZone | None = None,
        *,
        week_start: int | str = 0,
    ) -> Self:
        """Return the week that a moment lies in; see `DailyFrame.create`.

        Args:
            moment: as there.
            tzone: as there.
            week_start: the first day, as `calendar.SUNDAY` or `"sunday"`; by default Monday.
        """
        return cls(moment, tzone, week_start=week_start)

    @property
    def week_start(self) -> int:
        """The first day, 0 for Monday, as in `calendar` and `datetime.weekday`."""
        return self._option

    @classmethod
    def _first(cls, day: date, option: int) -> int:
        ordinal = day.toordinal()
        return ordinal - (ordinal - 1 - option) % 7

    @classmethod
    def _moved(cls, first: int, count: int, option: int) -> int:
        return first + 7 * count

    def get_pretty_value(self) -> str:
        """Return the first and the last date for people: `03/04 - 03/10`."""
        first = self._begin()
        return f"{date.fromordinal(first):%m/%d} - {date.fromordinal(first + 6):%m/%d}"

    def _text(self) -> str:
        first = date.fromordinal(self._begin())
        if self._option:
            return f"{first.isoformat()}/P1W"
        year, week, _ = first.isocalendar()
        return f"{year:04}-W{week:02}"

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        year, week, day = parts
        first = date.fromisoformat(day) if day else date.fromisocalendar(int(year), int(week), 1)
        return cls._at(first.toordinal(), zone, first.weekday())


def date_text(moment: datetime) -> str:
    """Return the date of a moment for people: `03/10/2024`."""
    return f"{moment:%m/%d}/{moment.year:04}"


def _week_start(given: Any) -> int:
    if isinstance(given, str) and given.lower() in _DAYS:
        return _DAYS.index(given.lower())
    # The numbers of `isoweekday` would begin with 1: 7 is refused, and the names cannot be mistaken.
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 6:
        return int(given)
    raise TimeFrameError(
        "WeeklyFrame.week_start: expected the name of a day, or 0 for Monday to 6 for Sunday, "
        f"got {given!r}"
    )
