"""A stretch of time in a zone: from its floor, which belongs to it, to its ceiling, which does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import QueryError, TimeFrameError
from ..conditions import Condition
from ..queries import Path
from ..values import Frozen
from .ranges import in_range, made_in_range
from .resolution import Resolution
from .texts import parsed
from .zones import UTC, TimeZone, beyond, check_shown, instant, name_of, zone_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from .calendar_frames import CalendarFrame

__all__ = ["TimeFrame", "both_ends", "parse"]

_new = object.__new__
_set = object.__setattr__

#: The kinds of frames that `str` writes in a form of their own; the classes put themselves here.
_kinds: list[type[TimeFrame]] = []


class TimeFrame(Frozen):
    """The time from `floor`, which belongs to it, to `ceiling`, which does not.

    Both are instants; the zone is in which they are shown and in which the calendar is read.
    Frames are values: equal if kind, zone and both ends are equal, in order by their ends.

    Args:
        floor: an aware datetime, or a naive one if `tzone` is given.
        ceiling: the same; behind `floor`.
        tzone: name of a zone, `ZoneInfo` or fixed offset; by default that of `floor`.

    Raises:
        TimeFrameError: naive datetimes without a zone, two zones, or an end that is no later.

    >>> shift = TimeFrame(datetime(2024, 3, 10, 1), datetime(2024, 3, 10, 4), "America/New_York")
    >>> shift.duration  # the hour from two to three was left out
    datetime.timedelta(seconds=7200)
    """

    __slots__ = ("_end", "_start", "_zone")
    _start: datetime
    _end: datetime
    _zone: tzinfo

    #: How long frames of this kind are.
    resolution: ClassVar[Resolution] = Resolution.NONE
    #: What `str` writes, without the zone.
    _form: ClassVar[str] = r"([^/]+T[^/]+)/([^/]+T[^/]+)"

    def __init__(self, floor: datetime, ceiling: datetime, tzone: TimeZone | None = None) -> None:
        place = type(self).__name__
        zone = None if tzone is None else zone_of(tzone, f"{place}.tzone")
        start = instant(floor, zone, f"{place}.floor")
        end = instant(ceiling, zone, f"{place}.ceiling")
        if zone is None:
            zone, other = (zone_of(end.tzinfo, f"{place}.tzone") for end in (floor, ceiling))
            if name_of(zone) != name_of(other):
                raise TimeFrameError(
                    f"{place}: expected both ends in one zone, got {name_of(zone)} and "
                    f"{name_of(other)}; say in which with tzone="
                )
        if start >= end:
            raise TimeFrameError(
                f"{place}: expected a ceiling later than the floor, got {floor!r} and {ceiling!r}"
            )
        check_shown(end, zone, place)
        check_shown(start, zone, place)
        _set(self, "_start", start)
        _set(self, "_end", end)
        _set(self, "_zone", zone)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_form" in cls.__dict__:
            _kinds.append(cls)

    @classmethod
    def _made(cls, start: datetime, end: datetime, zone: tzinfo) -> Self:
        self = _new(cls)
        _set(self, "_start", start)
        _set(self, "_end", end)
        _set(self, "_zone", zone)
        return self

    @classmethod
    def create(cls, moment: datetime | None = None, tzone: TimeZone | None = None) -> Self:
        """Return the frame that a moment lies in: of kinds such as `DailyFrame`, not of this one.

        Raises:
            TimeFrameError: a frame with ends of its own is asked, of which nothing tells which.
        """
        raise _no_kind(cls, "create")

    @classmethod
    def range(
        cls,
        start: datetime | TimeFrame,
        end: datetime | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> Iterator[Self]:
        """Return an iterator over frames in order: of kinds such as `DailyFrame`, not of this one.

        Raises:
            TimeFrameError: as for `create`.
        """
        raise _no_kind(cls, "range")

    # Ends

    @property
    def floor(self) -> datetime:
        """The first instant, in the zone."""
        return self._start.astimezone(self._zone)

    @property
    def ceiling(self) -> datetime:
        """The first instant behind it, in the zone."""
        return self._end.astimezone(self._zone)

    def get_floor(self) -> datetime:
        """Return the first instant, in the zone."""
        return self.floor

    def get_ceiling(self) -> datetime:
        """Return the first instant behind it, in the zone."""
        return self.ceiling

    @property
    def tzone(self) -> tzinfo:
        """The zone."""
        return self._zone

    @property
    def duration(self) -> timedelta:
        """The time that really passes, which for a day may be 23, 24 or 25 hours."""
        return self._end - self._start

    # Neighbours

    def get_next_frame(self, n: int = 1) -> Self:
        """Return the n-th frame after this one; one of its duration begins where it ends."""
        return self._shifted(_count(n, f"{type(self).__name__}.get_next_frame"))

    def get_previous_frame(self, n: int = 1) -> Self:
        """Return the n-th frame before this one."""
        return self._shifted(-_count(n, f"{type(self).__name__}.get_previous_frame"))

    def _shifted(self, count: int) -> Self:
        place = type(self).__name__
        try:
            moved = self.duration * count
            start, end = self._start + moved, self._end + moved
        except OverflowError:
            raise beyond(place) from None
        check_shown(start, self._zone, place)
        check_shown(end, self._zone, place)
        return self._made(start, end, self._zone)

    # Membership

    def contains(self, other: datetime | TimeFrame) -> bool:
        """Tell whether a moment, or the whole of another frame, lies in this one.

        Raises:
            TimeFrameError: a datetime without a zone.
        """
        if isinstance(other, TimeFrame):
            return self._start <= other._start and other._end <= self._end
        return (
            self._start
            <= instant(other, None, f"{type(self).__name__}.contains", takes_zone=False)
            < self._end
        )

    __contains__ = contains

    def overlap(self, other: TimeFrame) -> TimeFrame | None:
        """Return what two frames have in common, in the zone of this one; None if nothing.

        Raises:
            TimeFrameError: it is no frame.
        """
        if not isinstance(other, TimeFrame):
            raise TimeFrameError(
                f"{type(self).__name__}.overlap: expected a time frame, got {other!r}"
            )
        start, end = max(self._start, other._start), min(self._end, other._end)
        return TimeFrame._made(start, end, self._zone) if start < end else None

    def elapsed(self, now: datetime | None = None) -> float:
        """Return how much of the frame has passed, from 0.0 to 1.0.

        Args:
            now: an aware datetime; by default the present.
        """
        passed = (_present(now, type(self).__name__) - self._start) / self.duration
        return min(max(passed, 0.0), 1.0)

    def has_passed(self, now: datetime | None = None) -> bool:
        """Tell whether the frame has ended."""
        return _present(now, type(self).__name__) >= self._end

    def is_in_frame(self, now: datetime | None = None) -> bool:
        """Tell whether the present, or `now`, lies in the frame."""
        return self._start <= _present(now, type(self).__name__) < self._end

    def split(self, kind: type[CalendarFrame], **options: Any) -> list[TimeFrame]:
        """Return the frames of another kind that make up this one, in order.

        They tile it: what sticks out at an end, as weeks do from a month, is a plain `TimeFrame`
        of what is inside.

        Args:
            kind: `HourlyFrame`, `DailyFrame` ...
            options: `week_start` or `year_start`, as for that kind.

        Raises:
            TimeFrameError: it is no kind of the calendar, or does not take an option.

        >>> from loom.frames.time import DailyFrame, HourlyFrame
        >>> day = DailyFrame.parse("2024-11-03[America/New_York]")
        >>> len(day.split(HourlyFrame))
        25
        """
        place = f"{type(self).__name__}.split"
        if not isinstance(kind, type) or not hasattr(kind, "_check_options"):
            raise TimeFrameError(f"{place}: expected a class such as DailyFrame, got {kind!r}")
        kind._check_options(options, place)
        return [
            frame if self.contains(frame) else _cut(frame, self)
            for frame in kind.range(self._start, self._end, self._zone, **options)
        ]

    # Queries

    def filter(self, field: str | Path) -> Condition:
        """Return the condition for a datetime field that lies in this frame.

        It is one range, in UTC, and so uses an index on the field. MongoDB keeps milliseconds:
        finer ends are moved to the next one, so that neighbours share no document.

        >>> from loom.frames.time import DailyFrame
        >>> DailyFrame.parse("2024-03-10").filter("created").to_dict()["created"]["$lt"]
        datetime.datetime(2024, 3, 11, 0, 0, tzinfo=datetime.timezone.utc)
        """
        return in_range(field, self._start, self._end)

    def object_ids(self, field: str | Path = "_id") -> Condition:
        """Return the condition for ObjectIds that were made in this frame.

        An ObjectId holds the second in which it was made, by the clock of who made it, and only
        the years 1970 to 2105.

        >>> from loom.frames.time import YearlyFrame
        >>> YearlyFrame.parse("2024").object_ids().to_dict()["_id"]["$gte"]
        ObjectId('659200800000000000000000')
        """
        return made_in_range(field, self._start, self._end)

    # Words

    def get_pretty_name(self) -> str:
        """Return the kind for people: `Daily`."""
        return self.resolution.value.capitalize() if self.resolution != "none" else "Custom"

    def get_pretty_value(self) -> str:
        """Return the frame for people: `03/10/2024 01:00 EST - 03/10/2024 04:00 EDT`."""
        return f"{_clock(self.floor)} - {_clock(self.ceiling)}"

    def _text(self) -> str:
        return f"{self.floor.isoformat()}/{self.ceiling.isoformat()}"

    def __str__(self) -> str:
        """Return the text that `parse` takes: `2024-03-10[America/New_York]`, without zone in UTC."""
        zone = "" if self._zone is UTC else f"[{name_of(self._zone)}]"
        return self._text() + zone

    def __repr__(self) -> str:
        return f"{type(self).__name__}.parse({str(self)!r})"

    @classmethod
    def parse(cls, text: str, tzone: TimeZone | None = None) -> Self:
        """Return the frame that `str` wrote as this text; called on `TimeFrame`, of any kind.

        Args:
            text: `2024-11-03T01-04:00`, `2024-03-10`, `2024-W10`, `2024-03`, `2024-Q3`, `2024`, or
                two datetimes with a slash between them; a zone may follow: `[Europe/Vienna]`.
            tzone: the zone, if the text names none; by default UTC.

        Raises:
            TimeFrameError: the text is no frame of this kind, or names a day or hour that the zone
                does not have.

        >>> TimeFrame.parse("2024-Q3").get_pretty_value()
        'Q3 2024'
        """
        made: Self = parsed(
            f"{cls.__name__}.parse", _kinds if cls is TimeFrame else [cls], _kinds, text, tzone
        )
        return made

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        floor, ceiling = (re.sub("Z$", "+00:00", part) for part in parts)
        return cls(datetime.fromisoformat(floor), datetime.fromisoformat(ceiling), zone)

    # As a value

    def _key(self) -> tuple[Any, ...]:
        return self._start, self._end, type(self).__name__, name_of(self._zone), self._options()

    def _options(self) -> tuple[int, ...]:
        return ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimeFrame):
            return NotImplemented
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self._start, self._end))

    def __lt__(self, other: TimeFrame) -> bool:
        return self._key() < other._key() if isinstance(other, TimeFrame) else NotImplemented

    def __le__(self, other: TimeFrame) -> bool:
        return self._key() <= other._key() if isinstance(other, TimeFrame) else NotImplemented

    def __gt__(self, other: TimeFrame) -> bool:
        return self._key() > other._key() if isinstance(other, TimeFrame) else NotImplemented

    def __ge__(self, other: TimeFrame) -> bool:
        return self._key() >= other._key() if isinstance(other, TimeFrame) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._start, self._end, self._zone, *self._options())


_kinds.append(TimeFrame)


def parse(text: str, tzone: TimeZone | None = None) -> TimeFrame:
    """Return the frame that `str` wrote as this text, of whatever kind it is.

    >>> parse("2024-W10").floor.date()
    datetime.date(2024, 3, 4)
    """
    return TimeFrame.parse(text, tzone)


def _no_kind(cls: type[TimeFrame], method: str) -> TimeFrameError:
    return TimeFrameError(
        f"{cls.__name__}.{method}: expected a kind of frames of the calendar, got {cls.__name__}; write "
        f"DailyFrame.{method}(...) or that of another kind, or {cls.__name__}(floor, ceiling) for "
        "ends of your own"
    )


def both_ends(
    start: datetime | TimeFrame | None, end: datetime | None, place: str
) -> tuple[datetime | None, datetime | None]:
    """Return the ends of a stretch, of which a frame as the start has both.

    Raises:
        QueryError: an end beside a frame.
    """
    if not isinstance(start, TimeFrame):
        return start, end
    if end is not None:
        raise QueryError(f"{place}: expected a frame alone, got {start!r} and {end!r}")
    return start.floor, start.ceiling


def _restored(kind: type[TimeFrame], *values: Any) -> TimeFrame:
    return kind._made(*values)


def _cut(frame: TimeFrame, whole: TimeFrame) -> TimeFrame:
    start, end = max(frame._start, whole._start), min(frame._end, whole._end)
    return TimeFrame._made(start, end, whole._zone)


def _count(n: Any, place: str) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TimeFrameError(f"{place}: expected a number of frames, got {n!r}")
    return int(n.__index__())


def _present(now: datetime | None, place: str) -> datetime:
    return (
        datetime.now(UTC) if now is None else instant(now, None, f"{place}: now", takes_zone=False)
    )


def _clock(moment: datetime) -> str:
    seconds = ":%S" if moment.second else ""
    return f"{moment:%m/%d}/{moment.year:04} {moment:%H:%M{seconds}} {moment.tzname()}"
