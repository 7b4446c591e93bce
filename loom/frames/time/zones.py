"""Time zones: where their days and hours begin, and where their clocks change.

All of it is asked of `zoneinfo`. Instants are datetimes in UTC throughout, because Python compares
two datetimes of one zone by what their clocks show, and calls an hour that comes twice one hour.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...errors import TimeFrameError

__all__ = [
    "ALASKA_TIMEZONE",
    "CENTRAL_TIMEZONE",
    "EASTERN_TIMEZONE",
    "EPOCH",
    "EST_TIMEZONE",
    "HAWAII_TIMEZONE",
    "MICROSECOND",
    "MILLISECOND",
    "MOUNTAIN_TIMEZONE",
    "NAMED",
    "PACIFIC_TIMEZONE",
    "UTC",
    "UTC_TIMEZONE",
    "TimeZone",
    "arrow_name_of",
    "changes",
    "check_shown",
    "day_start",
    "hour_around",
    "hour_shifted",
    "instant",
    "name_of",
    "skipped_days",
    "zone_of",
]

#: What names a zone: an IANA name, a `ZoneInfo`, or a fixed offset, also as text: `"+05:30"`.
TimeZone: TypeAlias = str | tzinfo

UTC: Final = timezone.utc
UTC_TIMEZONE: Final = UTC
#: From which instants are counted.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
MICROSECOND: Final = timedelta(microseconds=1)
#: Five hours behind UTC, all the year round.
EST_TIMEZONE: Final = timezone(timedelta(hours=-5))

EASTERN_TIMEZONE: ZoneInfo
CENTRAL_TIMEZONE: ZoneInfo
MOUNTAIN_TIMEZONE: ZoneInfo
PACIFIC_TIMEZONE: ZoneInfo
ALASKA_TIMEZONE: ZoneInfo
HAWAII_TIMEZONE: ZoneInfo

#: Zones with a constant; each is read from the tz database when it is first asked for.
NAMED: Final = {
    "EASTERN_TIMEZONE": "America/New_York",
    "CENTRAL_TIMEZONE": "America/Chicago",
    "MOUNTAIN_TIMEZONE": "America/Denver",
    "PACIFIC_TIMEZONE": "America/Los_Angeles",
    "ALASKA_TIMEZONE": "America/Anchorage",
    "HAWAII_TIMEZONE": "Pacific/Honolulu",
}

_OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{6})?)?", re.ASCII)
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_ZERO = timedelta()
#: How far apart a zone is asked for its offset. No two changes of a zone in the tz database are
#: closer than 3.98 days (Freetown, 1939), so that none hides between two questions.
_STEP = timedelta(days=3)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


def __getattr__(name: str) -> ZoneInfo:
    if name not in NAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    zone = globals()[name] = ZoneInfo(NAMED[name])
    return zone


# Zones


@lru_cache(maxsize=2048)
def _known(given: str | ZoneInfo | timezone) -> ZoneInfo | timezone | None:
    if isinstance(given, str):
        if given == "UTC":
            return UTC
        if _OFFSET.fullmatch(given):
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{given}").utcoffset()
            return timezone(offset) if offset else UTC
        try:
            return ZoneInfo(given)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
    if isinstance(given, ZoneInfo):
        # A zone read from a file has no name, and could neither be shown nor be pickled.
        key: str | None = given.key
        return UTC if key == "UTC" else given if key else None
    offset = given.utcoffset(None)
    return timezone(offset) if offset else UTC


def _fixed(given: tzinfo) -> timezone | None:
    """Return a fixed offset of another library, such as that of PyMongo, as one of Python."""
    offset = given.utcoffset(None)
    return None if offset is None else timezone(offset) if offset else UTC


def zone_of(given: Any, place: str) -> ZoneInfo | timezone:
    """Return a zone as frames keep it: a `ZoneInfo`, or a fixed offset.

    Raises:
        TimeFrameError: it is none, or of a library whose datetimes Python cannot compute with.

    >>> zone_of("America/New_York", "zone")
    zoneinfo.ZoneInfo(key='America/New_York')
    """
    found: ZoneInfo | timezone | None = None
    if isinstance(given, (str, ZoneInfo, timezone)):
        found = _known(given)
    elif isinstance(given, tzinfo):
        found = _fixed(given)
    if found is not None:
        return found
    hint = "use a name of the tz database such as 'America/New_York', or a zoneinfo.ZoneInfo"
    if isinstance(given, str):
        hint += "; without a database on the computer: pip install tzdata"
    raise TimeFrameError(f"{place}: expected a time zone, got {given!r}; {hint}")


def name_of(zone: tzinfo) -> str:
    """Return the name of a zone: of the tz database, or its offset.

    >>> name_of(timezone(timedelta(hours=5, minutes=30)))
    '+05:30'
    """
    if zone is UTC:
        return "UTC"
    return zone.key if isinstance(zone, ZoneInfo) else str(zone).removeprefix("UTC")


def arrow_name_of(zone: tzinfo) -> str:
    """Return the name of a zone in a table of Arrow's, which knows offsets of whole minutes only.

    What an offset has in seconds is left out: the instants are the same, their clock is less than
    a minute off.

    >>> arrow_name_of(timezone(-timedelta(minutes=44, seconds=30)))
    '-00:44'
    """
    name = name_of(zone)
    return name if isinstance(zone, ZoneInfo) else name[:6]


# Instants


def instant(moment: Any, zone: tzinfo | None, place: str, *, takes_zone: bool = True) -> datetime:
    """Return a moment in UTC.

    Args:
        moment: a datetime; a naive one shows the clock of `zone`.
        zone: None refuses naive datetimes.
        place: for errors.
        takes_zone: whether the call has a `tzone=`, for errors.

    Raises:
        TimeFrameError: no datetime, one without a zone, or one beyond the years of Python.
    """
    if type(moment) is not datetime and (not isinstance(moment, datetime) or moment != moment):
        hint = "; datetime.fromisoformat() reads a time, parse() a frame"
        raise TimeFrameError(
            f"{place}: expected a datetime, got {moment!r} of type {type(moment).__name__}"
            f"{hint if isinstance(moment, str) else ''}"
        )
    try:
        if moment.utcoffset() is None:
            if zone is None:
                hint = "name the zone whose clock it shows with tzone=, or " if takes_zone else ""
                raise TimeFrameError(
                    f"{place}: expected a datetime with a zone, got {moment!r}; {hint}write "
                    "moment.replace(tzinfo=...)"
                )
            moment = datetime.combine(moment.date(), moment.time(), zone)
        moved = moment.astimezone(UTC)
    except OverflowError:
        raise beyond(place) from None
    # Of pandas and others; there is no fold in UTC.
    return moved if type(moved) is datetime else datetime.combine(moved.date(), moved.time(), UTC)


def beyond(place: str) -> TimeFrameError:
    """Return the error for what does not lie in Python's calendar."""
    return TimeFrameError(f"{place}: expected a time frame within the years 1 to 9999")


def check_shown(moment: datetime, zone: tzinfo, place: str) -> None:
    """Raise TimeFrameError if a zone cannot show an instant: to it, it is the year 0, or 10000."""
    if 1 < moment.year < 9999:
        return
    try:
        moment.astimezone(zone)
    except OverflowError:
        raise beyond(place) from None


def offset_at(zone: tzinfo, moment: datetime) -> timedelta:
    """Return what the clocks of a zone are ahead of UTC at an instant."""
    offset = moment.astimezone(zone).utcoffset()
    return _ZERO if offset is None else offset


# Changes of the clock


def changes(zone: tzinfo, low: datetime, high: datetime) -> list[datetime]:
    """Return the instants in (low, high] from which the offset is another one."""
    if not isinstance(zone, ZoneInfo) or low >= high:
        return []
    return [
        change
        for year in range(low.year, high.year + 1)
        for change in _changes_of_year(zone, year)
        if low < change <= high
    ]


@lru_cache(maxsize=8192)
def _changes_of_year(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    found: list[datetime] = []
    low = datetime(year, 1, 1, tzinfo=UTC)
    end = datetime(year + 1, 1, 1, tzinfo=UTC) if year < 9999 else _LAST - _DAY
    before = _known_offset(zone, low)
    while low < end:
        high = min(low + _STEP, end)
        after = _known_offset(zone, high)
        if after != before:
            found.append(_change_between(zone, low, high))
            before = after
        low = high
    return tuple(found)


def _known_offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    try:
        return offset_at(zone, moment)
    except OverflowError:  # in the zone it is the year 0, or 10000
        return offset_at(zone, min(max(moment, _FIRST + _DAY), _LAST - _DAY))


def _change_between(zone: tzinfo, low: datetime, high: datetime) -> datetime:
    """Return the first second after `low` with another offset; there is one up to `high`."""
    before = offset_at(zone, low)
    count = (high - low) // _SECOND
    unchanged = 0
    while count - unchanged > 1:
        middle = (unchanged + count) // 2
        if offset_at(zone, low + middle * _SECOND) == before:
            unchanged = middle
        else:
            count = middle
    return low + count * _SECOND


# Days


@lru_cache(maxsize=16384)
def day_start(zone: tzinfo, ordinal: int) -> datetime:
    """Return the first instant at which the clocks show this date, or a later one.

    A date whose midnight comes twice begins with the first; one without midnight begins where the
    clocks go on; one that was left out altogether begins where the next one does, and is empty.

    >>> from datetime import date
    >>> day_start(ZoneInfo("Asia/Beirut"), date(2024, 3, 31).toordinal()).isoformat()
    '2024-03-30T22:00:00+00:00'
    """
    midnight = datetime.fromordinal(ordinal)
    first = zone.utcoffset(midnight) or _ZERO
    second = zone.utcoffset(midnight.replace(fold=1)) or _ZERO
    midnight = midnight.replace(tzinfo=UTC)
    if first >= second:
        return midnight - first
    # The clocks jump over it: `first` is the offset before the jump, `second` that after it.
    return _change_between(zone, midnight - second, midnight - first)


@lru_cache(maxsize=2048)
def skipped_days(zone: tzinfo) -> tuple[int, ...]:
    """Return the ordinals of the dates that a zone left out, as Samoa did 2011-12-30."""
    found: list[int] = []
    if not isinstance(zone, ZoneInfo):
        return ()
    for year in range(1800, 2100, 10):
        low, high = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 10, 1, 1, tzinfo=UTC)
        # Who leaves a day out comes from the far side of the date line: from -10 to +14, say.
        if offset_at(zone, high) - offset_at(zone, low) > 20 * _HOUR:
            for change in changes(zone, low, high):
                day = change.astimezone(zone).toordinal()
                around = range(day - 2, day + 1)
                found += [d for d in around if day_start(zone, d) == day_start(zone, d + 1)]
    return tuple(sorted({*found}))


# Hours


def hour_around(zone: tzinfo, moment: datetime) -> tuple[datetime, datetime]:
    """Return the ends of the run around an instant that has one local hour and one offset."""
    offset = offset_at(zone, moment)
    start = _hour_of(zone, moment)
    end = start + _HOUR
    if offset_at(zone, start) != offset:
        start = _change_between(zone, start, moment)
    # Offsets and changes of the tz database are whole seconds.
    elif offset_at(zone, end - _SECOND) != offset:
        end = _change_between(zone, start, end)
    return start, end


def hour_shifted(zone: tzinfo, start: datetime, count: int) -> datetime:
    """Return where the hour begins that lies `count` hours after the one that begins at `start`.

    Between two changes of the clock it is one division, however many hours lie there.
    """
    run_start = _FIRST
    if count >= 0:
        for change in changes(zone, start, start + (count + 1) * _HOUR):
            ahead = _hours_between(zone, start, change - _SECOND)
            if count <= ahead:
                break
            count -= ahead + 1
            start = change
    else:
        for change in reversed(changes(zone, start + count * _HOUR - _SECOND, start)):
            behind = _hours_between(zone, change, start)
            if -count <= behind:
                run_start = change  # which may lie within a local hour
                break
            count += behind + 1
            start = hour_around(zone, change - _SECOND)[0]
    return max(_hour_of(zone, start) + count * _HOUR, run_start) if count else start


def _hour_of(zone: tzinfo, moment: datetime) -> datetime:
    """Return where the local hour of an instant would begin had its offset always been so."""
    local = moment.astimezone(zone)
    return moment - timedelta(
        minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )


def _hours_between(zone: tzinfo, low: datetime, high: datetime) -> int:
    return (_hour_of(zone, high) - _hour_of(zone, low)) // _HOUR
