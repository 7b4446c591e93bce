"""Months, quarters and years, also fiscal ones, and which frame two ends are."""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

from ...errors import TimeFrameError
from .calendar_frames import CalendarFrame, DailyFrame, WeeklyFrame
from .hourly_frames import HourlyFrame
from .resolution import Resolution
from .timeframe import TimeFrame
from .zones import TimeZone

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "FRAMES",
    "MonthlyFrame",
    "QuarterlyFrame",
    "YearlyFrame",
    "align_to_human_timeframe",
]

#: In English, whatever the locale is.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


class MonthlyFrame(CalendarFrame):
    """A month.

    >>> MonthlyFrame.parse("2024-03").get_pretty_value()
    'March 2024'
    """

    __slots__ = ()
    resolution = Resolution.MONTHLY
    _form = r"(\d{4})-(\d\d)"

    @classmethod
    def _first(cls, day: date, option: int) -> int:
        return day.toordinal() - day.day + 1

    @classmethod
    def _moved(cls, first: int, count: int, option: int) -> int:
        return _first_of(_month_of(date.fromordinal(first)) + count)

    def get_pretty_value(self) -> str:
        """Return the month for people: `March 2024`."""
        first = date.fromordinal(self._begin())
        return f"{_MONTHS[first.month - 1]} {first.year}"

    def _text(self) -> str:
        return date.fromordinal(self._begin()).isoformat()[:7]

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        return cls._at(date(int(parts[0]), int(parts[1]), 1).toordinal(), zone, cls._usual)


class _OfYear(CalendarFrame):
    """What quarters and years share: the month in which a year begins."""

    __slots__ = ()
    _usual = 1
    _takes = ("year_start",)
    _months: int

    def __init__(
        self,
        moment: datetime | None = None,
        tzone: TimeZone | None = None,
        *,
        year_start: int = 1,
    ) -> None:
        self._place(moment, tzone, _year_start(year_start, type(self).__name__))

    @classmethod
    def create(
        cls,
        moment: datetime | None = None,
        tzone: TimeZone | None = None,
        *,
        year_start: int = 1,
    ) -> Self:
        """Return the frame that a moment lies in; see `DailyFrame.create`.

        Args:
            moment: as there.
            tzone: as there.
            year_start: the month in which the year begins, 1 to 12; by default January.
        """
        return cls(moment, tzone, year_start=year_start)

    @property
    def year_start(self) -> int:
        """The month in which the year begins, 1 to 12."""
        return self._option

    @property
    def year(self) -> int:
        """The year; a fiscal one has the number of the year in which it ends."""
        return self._number()[0]

    @classmethod
    def _first(cls, day: date, option: int) -> int:
        month = _month_of(day)
        return _first_of(month - (month - option + 1) % cls._months)

    @classmethod
    def _moved(cls, first: int, count: int, option: int) -> int:
        return _first_of(_month_of(date.fromordinal(first)) + cls._months * count)

    def _number(self) -> tuple[int, int]:
        """Return the year, and the quarter of it in which the frame begins."""
        months = _month_of(date.fromordinal(self._begin())) - self._option + 1
        return months // 12 + (self._option > 1), months % 12 // 3 + 1

    @classmethod
    def _numbered(cls, year: str, quarter: str, option: int, zone: tzinfo) -> Self:
        months = (int(year) - (option > 1)) * 12 + (int(quarter) - 1) * 3 + option - 1
        return cls._at(_first_of(months), zone, option)


class QuarterlyFrame(_OfYear):
    """Three months of a year that begins in January, or in another month.

    >>> QuarterlyFrame.parse("2024-Q1").get_pretty_value()
    'Q1 2024'
    >>> QuarterlyFrame.create(datetime(2023, 10, 1), "UTC", year_start=10).get_pretty_value()
    'Q1 FY2024'
    """

    __slots__ = ()
    resolution = Resolution.QUARTERLY
    _form = r"(\d{4})-Q([1-4])|FY(\d{4})-Q([1-4])/(\d\d)"
    _months = 3

    @property
    def quarter(self) -> int:
        """The quarter of the year, 1 to 4."""
        return self._number()[1]

    def get_pretty_value(self) -> str:
        """Return the quarter for people: `Q1 2024`, of a fiscal year `Q1 FY2024`."""
        year, quarter = self._number()
        return f"Q{quarter} {'FY' * (self._option > 1)}{year}"

    def _text(self) -> str:
        year, quarter = self._number()
        if self._option > 1:
            return f"FY{year:04}-Q{quarter}/{self._option:02}"
        return f"{year:04}-Q{quarter}"

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        year, quarter, fiscal, of_fiscal, month = parts
        option = _year_start(int(month or 1), cls.__name__)
        return cls._numbered(year or fiscal, quarter or of_fiscal, option, zone)


class YearlyFrame(_OfYear):
    """A year that begins in January, or in another month.

    >>> YearlyFrame.create(datetime(2024, 7, 1), "UTC", year_start=4).get_pretty_value()
    'FY2025'
    """

    __slots__ = ()
    resolution = Resolution.YEARLY
    _form = r"(\d{4})|FY(\d{4})/(\d\d)"
    _months = 12

    def get_pretty_value(self) -> str:
        """Return the year for people: `2024`; a fiscal one as `FY2024`."""
        return f"{'FY' * (self._option > 1)}{self.year}"

    def _text(self) -> str:
        return f"FY{self.year:04}/{self._option:02}" if self._option > 1 else f"{self.year:04}"

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        year, fiscal, month = parts
        return cls._numbered(year or fiscal, "1", _year_start(int(month or 1), cls.__name__), zone)


#: The kinds by their resolution, from the shortest to the longest.
FRAMES: Final[dict[Resolution, type[CalendarFrame]]] = {
    kind.resolution: kind
    for kind in (HourlyFrame, DailyFrame, WeeklyFrame, MonthlyFrame, QuarterlyFrame, YearlyFrame)
}


def align_to_human_timeframe(
    floor: datetime, ceiling: datetime, tzone: TimeZone | None = None
) -> TimeFrame:
    """Return the frame of the calendar that has these ends, or else a plain `TimeFrame`.

    Weeks are those of ISO 8601, years begin in January.

    Args:
        floor: an aware datetime, or a naive one if `tzone` is given.
        ceiling: the same; behind `floor`.
        tzone: the zone whose calendar counts, by default that of `floor`.

    >>> align_to_human_timeframe(datetime(2024, 4, 1), datetime(2024, 7, 1), "Europe/Vienna")
    QuarterlyFrame.parse('2024-Q2[Europe/Vienna]')
    """
    plain = TimeFrame(floor, ceiling, tzone)
    for kind in reversed(FRAMES.values()):
        found = kind(plain._start, plain._zone)
        if (found._start, found._end) == (plain._start, plain._end):
            return found
    return plain


def _month_of(day: date) -> int:
    return day.year * 12 + day.month - 1


def _first_of(month: int) -> int:
    return date(month // 12, month % 12 + 1, 1).toordinal()


def _year_start(given: Any, place: str) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 12:
        return int(given)
    raise TimeFrameError(f"{place}.year_start: expected a month from 1 to 12, got {given!r}")
