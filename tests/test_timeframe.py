"""Time frames: ends, neighbours, words, queries; every zone is in test_timeframe_zones.py."""

from __future__ import annotations

import calendar
import contextlib
import copy
import io
import pickle
import subprocess
import sys
import timeit
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from datetime import time as clock_time
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import ObjectId
from bson.tz_util import utc as bson_utc
from hypothesis import given
from hypothesis import strategies as st

import loom as lm
from loom.errors import TimeFrameError
from loom.frames import time as times
from loom.frames.time import (
    EASTERN_TIMEZONE,
    EST_TIMEZONE,
    UTC,
    CalendarFrame,
    DailyFrame,
    HourlyFrame,
    MonthlyFrame,
    QuarterlyFrame,
    Resolution,
    TimeFrame,
    WeeklyFrame,
    YearlyFrame,
    align_to_human_timeframe,
    parse,
)

from .conftest import Runtime

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW_YORK = ZoneInfo("America/New_York")
APIA = "Pacific/Apia"
KINDS = [HourlyFrame, DailyFrame, WeeklyFrame, MonthlyFrame, QuarterlyFrame, YearlyFrame]


class Shift(TimeFrame):
    """A stretch of work."""


def shift() -> Shift:
    """Return one of four hours."""
    return Shift(NOON, NOON + 4 * HOUR)


def utc(*parts: int) -> datetime:
    """Return an instant."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def frames(start: str, count: int) -> list[str]:
    """Return the texts of a frame and those that follow, without their zone."""
    frame = parse(start)
    return [str(frame.get_next_frame(n)).partition("[")[0] for n in range(count)]


# Making


@pytest.mark.parametrize(
    ("kind", "floor", "ceiling"),
    [
        (HourlyFrame, utc(2024, 3, 10, 12), utc(2024, 3, 10, 13)),
        (DailyFrame, utc(2024, 3, 10), utc(2024, 3, 11)),
        (WeeklyFrame, utc(2024, 3, 4), utc(2024, 3, 11)),
        (MonthlyFrame, utc(2024, 3, 1), utc(2024, 4, 1)),
        (QuarterlyFrame, utc(2024, 1, 1), utc(2024, 4, 1)),
        (YearlyFrame, utc(2024, 1, 1), utc(2025, 1, 1)),
    ],
)
def test_frames_in_utc(kind: type[CalendarFrame], floor: datetime, ceiling: datetime) -> None:
    """Without a zone the calendar is that of UTC; the constructor and `create` are one."""
    for frame in (kind.create(NOON + timedelta(minutes=30)), kind(NOON), kind.create(moment=NOON)):
        assert (floor, ceiling) == (frame.floor, frame.ceiling)
        assert (floor, ceiling) == (frame.get_floor(), frame.get_ceiling())
        assert UTC is frame.floor.tzinfo is frame.ceiling.tzinfo is frame.tzone
        assert ceiling - floor == frame.duration


def test_ends_are_in_the_zone() -> None:
    """Both ends show the clock of the zone, on either side of a change."""
    day = DailyFrame.create(NOON, "America/New_York")

    assert "2024-03-10T00:00:00-05:00" == day.floor.isoformat()
    assert "2024-03-11T00:00:00-04:00" == day.ceiling.isoformat()
    assert NEW_YORK is day.floor.tzinfo is day.ceiling.tzinfo
    assert timedelta(hours=23) == day.duration


def test_the_zone_of_a_moment_does_not_count() -> None:
    """Only `tzone` says whose calendar counts; a moment is an instant."""
    late = datetime(2024, 3, 10, 23, tzinfo=NEW_YORK)

    assert date(2024, 3, 11) == DailyFrame.create(late).floor.date()
    assert date(2024, 3, 10) == DailyFrame.create(late, NEW_YORK).floor.date()


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_moment_it_is_the_present(kind: type[CalendarFrame]) -> None:
    """`create()` is the frame of now."""
    before = datetime.now(UTC)
    frame = kind.create(tzone=NEW_YORK)

    assert frame.contains(before) or frame.contains(datetime.now(UTC))


@pytest.mark.parametrize(
    "zone", [timezone.utc, "UTC", ZoneInfo("UTC"), bson_utc, timezone(timedelta(0), "GMT")]
)
def test_all_names_of_utc_are_one(zone: Any) -> None:
    """UTC of Python, PyMongo and the tz database give equal frames."""
    frame = DailyFrame.create(NOON.replace(tzinfo=bson_utc), zone)

    assert (DailyFrame(NOON), UTC, "2024-03-10") == (frame, frame.tzone, str(frame))


def test_fixed_offsets() -> None:
    """A fixed offset is a zone, and its name does not count."""
    named = timezone(timedelta(hours=-5), "Eastern")

    assert DailyFrame(NOON, EST_TIMEZONE) == DailyFrame(NOON, named)
    assert "2024-03-10[-05:00]" == str(DailyFrame(NOON, named))
    half = HourlyFrame(utc(2024, 3, 10, 18, 40), timezone(timedelta(hours=-5, minutes=-30)))
    assert utc(2024, 3, 10, 18, 30) == half._start
    odd = timezone(timedelta(seconds=1, microseconds=7))
    assert HourlyFrame(NOON, odd) == parse(str(HourlyFrame(NOON, odd)))
    assert DailyFrame(NOON, "-05:00") == DailyFrame(NOON, named) == parse("2024-03-10", "-05:00")
    assert UTC is DailyFrame(NOON, "+00:00").tzone


def test_naive_datetimes_need_a_zone() -> None:
    """A datetime without zone is refused, unless the call says whose clock it shows."""
    naive = datetime(2024, 3, 10, 12)
    for make in (
        lambda: DailyFrame.create(naive),
        lambda: TimeFrame(naive, naive),
        lambda: DailyFrame.range(naive, naive),
    ):
        with pytest.raises(TimeFrameError, match=r"expected a datetime with a zone, .*tzone="):
            make()
    for ask in (DailyFrame(NOON).contains, DailyFrame(NOON).elapsed):
        with pytest.raises(TimeFrameError, match=r"with a zone, .*\); write moment\.replace"):
            ask(naive)

    assert DailyFrame(NOON, NEW_YORK) == DailyFrame.create(naive, NEW_YORK)


def test_moments_of_foreign_zones() -> None:
    """A moment may be in any zone that Python can compute with."""
    moment = datetime(2024, 3, 10, 0, 30, tzinfo=Foreign())

    assert utc(2024, 3, 9, 23) == HourlyFrame.create(moment).floor
    assert moment in DailyFrame.parse("2024-03-09")
    assert TimeFrame(moment, moment + timedelta(hours=1), "UTC").floor == moment
    with pytest.raises(TimeFrameError, match="expected a time zone"):
        TimeFrame(moment, moment + timedelta(hours=1))


def test_fold_of_naive_datetimes_counts() -> None:
    """`fold` tells which of two equal clock times is meant."""
    twice = datetime(2024, 11, 3, 1, 30)

    assert utc(2024, 11, 3, 5) == HourlyFrame(twice, NEW_YORK)._start
    assert utc(2024, 11, 3, 6) == HourlyFrame(twice.replace(fold=1), NEW_YORK)._start
    assert utc(2024, 11, 3, 6) == HourlyFrame(twice.replace(fold=1, tzinfo=NEW_YORK), "UTC")._start


@pytest.mark.parametrize(
    "moment", ["2024-03-10", date(2024, 3, 10), clock_time(1), 5, float("nan"), True]
)
def test_what_is_no_moment_is_refused(moment: Any) -> None:
    """Only datetimes are moments; a date is no instant."""
    with pytest.raises(TimeFrameError, match="DailyFrame: expected a datetime, got") as refused:
        DailyFrame.create(moment, "UTC")
    assert ("fromisoformat() reads a time, parse() a frame" in str(refused.value)) is isinstance(
        moment, str
    )


def test_datetimes_of_pandas() -> None:
    """A Timestamp is a moment, its nanoseconds are cut, and NaT is refused."""
    pandas = pytest.importorskip("pandas", reason="pandas is an extra")
    last = pandas.Timestamp("2024-03-10T23:59:59.999999999", tz="UTC")

    frame = DailyFrame.create(last)

    assert DailyFrame(NOON) == frame
    assert type(TimeFrame(pandas.Timestamp(NOON), last).floor) is datetime
    assert last in frame
    with pytest.raises(TimeFrameError, match="got NaT"):
        DailyFrame.create(pandas.NaT)


class Foreign(tzinfo):
    """A zone of another library, which cannot be hashed, as those of dateutil."""

    __hash__ = None  # type: ignore[assignment]

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return an offset that depends on the moment."""
        return None if moment is None else timedelta(hours=moment.month % 2)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../etc/passwd", "+5", "+24:00", "-05:60", 5, Foreign()]
)
def test_what_is_no_zone_is_refused(zone: Any) -> None:
    """Zones are names, ZoneInfo or fixed offsets; others are refused with a way out."""
    with pytest.raises(TimeFrameError, match=r"expected a time zone, got .*zoneinfo\.ZoneInfo"):
        DailyFrame.create(NOON, zone)


def test_a_zone_without_a_name_is_refused() -> None:
    """A zone read from a file could not be pickled."""
    raw = subprocess.run(
        [
            sys.executable,
            "-c",
            "import tests.zones as z, sys; sys.stdout.buffer.write(z._file('UTC'))",
        ],
        capture_output=True,
        check=True,
    ).stdout
    with pytest.raises(TimeFrameError, match="expected a time zone"):
        DailyFrame.create(NOON, ZoneInfo.from_file(io.BytesIO(raw)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar(kind: type[CalendarFrame], moment: datetime) -> None:
    """What would lie beyond the years 1 to 9999 is refused, or works."""
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        for at in (moment.replace(tzinfo=UTC), moment.replace(tzinfo=ZoneInfo(zone))):
            with contextlib.suppress(TimeFrameError):
                frame = kind.create(at, zone)
                assert at in frame
                assert frame == parse(str(frame))
    for frame in (kind(NOON), kind(NOON, APIA)):
        for step in (frame.get_next_frame, frame.get_previous_frame):
            with pytest.raises(TimeFrameError, match="years 1 to 9999"):
                step(10**8)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: TimeFrame.create(NOON), r"TimeFrame.create: .*; write DailyFrame.create\(...\)"),
        (lambda: Shift.create(NOON, UTC), r"Shift.create: .*, or Shift\(floor, ceiling\) for ends"),
        (
            lambda: TimeFrame.range(NOON, NOON),
            r"TimeFrame.range: .*; write DailyFrame.range\(...\)",
        ),
        (
            lambda: CalendarFrame.create(NOON),
            "CalendarFrame: expected a kind of frames such as Dai",
        ),
        (
            lambda: CalendarFrame.range(NOON, NOON + HOUR),
            "CalendarFrame: expected a kind of frames",
        ),
        (lambda: shift().split(TimeFrame), "Shift.split: expected a class such as DailyFrame"),
        (lambda: shift().split(CalendarFrame), "CalendarFrame: expected a kind of frames"),
    ],
)
def test_frames_without_a_calendar_are_made_of_their_ends(
    made: Callable[[], Any], message: str
) -> None:
    """Nothing tells which frame holds a moment, or which one follows: the error says what does."""
    with pytest.raises(TimeFrameError, match=message):
        made()


def test_range_up_to_the_end_of_the_calendar() -> None:
    """It goes on to the last frame that there is, and asks for none behind."""
    start, end = datetime(9999, 12, 29, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

    assert ["9999-12-29", "9999-12-30"] == [*map(str, DailyFrame.range(start, end))]
    assert 48 == len([*HourlyFrame.range(start, end)])


def test_plain_frames() -> None:
    """A TimeFrame has the ends that it was given; the zone is that of the ends, or the given one."""
    floor, ceiling = datetime(2024, 3, 10, 1, tzinfo=NEW_YORK), datetime(2024, 3, 10, 4)
    frame = TimeFrame(floor, ceiling.replace(tzinfo=NEW_YORK))

    assert frame == TimeFrame(floor.replace(tzinfo=None), ceiling, NEW_YORK)
    assert (timedelta(hours=2), NEW_YORK) == (frame.duration, frame.tzone)
    assert NEW_YORK is TimeFrame(NOON, NOON + timedelta(1), NEW_YORK).floor.tzinfo
    with pytest.raises(TimeFrameError, match="both ends in one zone, got America/New_York and UTC"):
        TimeFrame(floor, NOON)
    for end in (floor, floor - timedelta(seconds=1)):
        with pytest.raises(TimeFrameError, match="ceiling later than the floor"):
            TimeFrame(floor, end)


def test_an_hour_that_goes_backwards_on_the_clock() -> None:
    """Ends are compared as instants: 01:30 EDT is before 01:10 EST."""
    first = datetime(2024, 11, 3, 1, 30, tzinfo=NEW_YORK)
    second = datetime(2024, 11, 3, 1, 10, tzinfo=NEW_YORK, fold=1)
    frame = TimeFrame(first, second)

    assert timedelta(minutes=40) == frame.duration
    assert first in frame
    assert second not in frame
    assert datetime(2024, 11, 3, 1, 40, tzinfo=NEW_YORK) in frame
    assert datetime(2024, 11, 3, 1, 5, tzinfo=NEW_YORK, fold=1) in frame
    assert datetime(2024, 11, 3, 1, 5, tzinfo=NEW_YORK) not in frame


# Odd days and hours


@pytest.mark.parametrize(
    ("zone", "day", "floor", "hours"),
    [
        ("America/New_York", "2024-11-03", "2024-11-03T00:00:00-04:00", 25),
        ("Asia/Beirut", "2024-03-31", "2024-03-31T01:00:00+03:00", 23),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00", 23),
        ("America/Havana", "2024-11-03", "2024-11-03T00:00:00-04:00", 25),
        ("Australia/Lord_Howe", "2024-04-07", "2024-04-07T00:00:00+11:00", 24.5),
        ("America/Toronto", "1919-03-31", "1919-03-31T00:30:00-04:00", 23.5),
        ("Antarctica/Troll", "2024-03-31", "2024-03-31T00:00:00+00:00", 22),
        (APIA, "2011-12-29", "2011-12-29T00:00:00-10:00", 24),
        (APIA, "2011-12-31", "2011-12-31T00:00:00+14:00", 24),
        ("Pacific/Kwajalein", "1969-09-30", "1969-09-30T00:00:00+11:00", 47),
        ("Africa/Monrovia", "1972-01-07", "1972-01-07T00:44:30+00:00", 23 + 15.5 / 60),
    ],
)
def test_days_that_are_odd(zone: str, day: str, floor: str, hours: float) -> None:
    """Days begin with the first instant that shows them, and are as long as they are."""
    frame = DailyFrame.parse(day, zone)

    assert (floor, timedelta(hours=hours)) == (frame.floor.isoformat(), frame.duration)


def test_a_midnight_that_comes_twice() -> None:
    """The first midnight begins the day, also when clocks go back a minute later: the hour before
    it, shown again, belongs to the new day."""
    sunday = DailyFrame.parse("2010-11-07[America/St_Johns]")
    again = sunday._start + timedelta(minutes=30)

    assert timedelta(hours=25) == sunday.duration
    assert date(2010, 11, 6) == again.astimezone(sunday.tzone).date()
    assert sunday == DailyFrame.create(again, "America/St_Johns")
    assert sunday == DailyFrame.create(again, "America/St_Johns").get_next_frame(0)
    assert sunday.get_previous_frame()._end == sunday._start


def test_a_day_that_was_left_out() -> None:
    """Samoa had no 30 December 2011: no frame, neighbours meet, and it cannot be named."""
    before = DailyFrame.parse("2011-12-29", APIA)

    assert ["2011-12-29", "2011-12-31", "2012-01-01"] == frames("2011-12-29[Pacific/Apia]", 3)
    assert before == before.get_next_frame(2).get_previous_frame(2)
    assert before.ceiling == before.get_next_frame().floor
    with pytest.raises(TimeFrameError, match="Pacific/Apia left this day out"):
        DailyFrame.parse("2011-12-30", APIA)
    december = MonthlyFrame.parse("2011-12", APIA)
    assert (30, 6) == (
        len(december.split(DailyFrame)),
        len(WeeklyFrame.parse("2011-W52", APIA).split(DailyFrame)),
    )
    week = WeeklyFrame.create(utc(2012, 1, 1), APIA, week_start="friday")
    assert ("2011-12-30/P1W[Pacific/Apia]", 31) == (str(week), week.floor.day)
    assert week == parse(str(week)) == week.get_next_frame().get_previous_frame()


@pytest.mark.parametrize(
    ("first", "texts"),
    [
        (  # an autumn night
            "2024-11-03T00-04:00[America/New_York]",
            ["2024-11-03T00-04:00", "2024-11-03T01-04:00", "2024-11-03T01-05:00"]
            + ["2024-11-03T02-05:00"],
        ),
        (  # a spring night
            "2024-03-10T01-05:00[America/New_York]",
            ["2024-03-10T01-05:00", "2024-03-10T03-04:00"],
        ),
        (  # half an hour back, and half an hour ahead
            "2024-04-07T01+11:00[Australia/Lord_Howe]",
            ["2024-04-07T01+11:00", "2024-04-07T01+10:30", "2024-04-07T02+10:30"],
        ),
        (
            "2024-10-06T01+10:30[Australia/Lord_Howe]",
            ["2024-10-06T01+10:30", "2024-10-06T02+11:00", "2024-10-06T03+11:00"],
        ),
        (  # a quarter of an hour: 00:00 became 00:15
            "1985-12-31T23+05:30[Asia/Kathmandu]",
            ["1985-12-31T23+05:30", "1986-01-01T00+05:45", "1986-01-01T01+05:45"],
        ),
        (  # 44 minutes and 30 seconds
            "1972-01-06T23-00:44:30[Africa/Monrovia]",
            ["1972-01-06T23-00:44:30", "1972-01-07T00Z", "1972-01-07T01Z"],
        ),
        ("2024-03-10T23Z", ["2024-03-10T23Z", "2024-03-11T00Z"]),
    ],
)
def test_hours_that_are_odd(first: str, texts: list[str]) -> None:
    """An hour is as long as one hour and one offset are shown."""
    found = frames(first, len(texts))

    assert texts == [text.replace("+00:00", "Z") for text in found]


def test_short_hours_are_short() -> None:
    """Lord Howe repeats half an hour in autumn, and leaves half an hour out in spring."""
    hours = ["2024-04-07T01+11:00", "2024-04-07T01+10:30", "2024-10-06T02+11:00"]
    found = [HourlyFrame.parse(hour, "Australia/Lord_Howe") for hour in hours]

    assert [60, 30, 30] == [frame.duration.total_seconds() / 60 for frame in found]
    assert "10/06/2024 02:30 +11" == found[2].get_pretty_value()


# Weeks, quarters, years


@pytest.mark.parametrize(
    ("start", "floor"),
    [
        ("monday", 4),
        (calendar.MONDAY, 4),
        ("Sunday", 10),
        (calendar.SUNDAY, 10),
        (calendar.SATURDAY, 9),
        ("friday", 8),
    ],
)
def test_weeks_begin_with_any_day(start: Any, floor: int) -> None:
    """Sunday 10 March 2024 is in the week that began with the last such day."""
    week = WeeklyFrame.create(NOON, week_start=start)

    assert date(2024, 3, floor) == week.floor.date()
    assert floor - 7 == week.get_previous_frame().floor.day or floor < 8
    assert week == WeeklyFrame(NOON, week_start=week.week_start) == parse(str(week))


@pytest.mark.parametrize("start", [7, -1, True, "someday", 1.5, None])
def test_week_start_is_a_day(start: Any) -> None:
    """What is no day is refused: 7 would be Sunday in `isoweekday`, where Monday is 1."""
    with pytest.raises(TimeFrameError, match="expected the name of a day, or 0 for Monday"):
        WeeklyFrame.create(NOON, week_start=start)


@given(st.dates(date(1, 1, 8), date(9999, 12, 20)))
def test_weeks_are_those_of_iso_8601(day: date) -> None:
    """The number of a week is that of ISO 8601, also around the new year."""
    week = WeeklyFrame.create(datetime.combine(day, clock_time(), UTC))
    year, number, _ = day.isocalendar()

    assert f"{year:04}-W{number:02}" == str(week)
    assert week == parse(str(week))


@pytest.mark.parametrize(
    ("moment", "start", "quarter", "year"),
    [
        (utc(2024, 3, 31), 1, "Q1 2024", "2024"),
        (utc(2024, 4, 1), 1, "Q2 2024", "2024"),
        (utc(2023, 10, 1), 10, "Q1 FY2024", "FY2024"),
        (utc(2023, 9, 30), 10, "Q4 FY2023", "FY2023"),
        (utc(2024, 1, 15), 2, "Q4 FY2024", "FY2024"),
        (utc(2024, 2, 1), 2, "Q1 FY2025", "FY2025"),
        (utc(2024, 11, 30), 12, "Q4 FY2024", "FY2024"),
    ],
)
def test_fiscal_years(moment: datetime, start: int, quarter: str, year: str) -> None:
    """A fiscal year is called after the year in which it ends."""
    quarterly = QuarterlyFrame.create(moment, year_start=start)
    yearly = YearlyFrame.create(moment, year_start=start)

    assert (quarter, year) == (quarterly.get_pretty_value(), yearly.get_pretty_value())
    assert (quarterly, yearly) == (parse(str(quarterly)), parse(str(yearly)))
    assert yearly.split(QuarterlyFrame, year_start=start)[quarterly.quarter - 1] == quarterly
    assert yearly.year == quarterly.year
    assert start == yearly.floor.month == yearly.year_start == quarterly.year_start


@pytest.mark.parametrize("start", [0, 13, True, "april", None])
def test_year_start_is_a_month(start: Any) -> None:
    """What is no month is refused."""
    with pytest.raises(TimeFrameError, match="YearlyFrame.year_start: expected a month"):
        YearlyFrame.create(NOON, year_start=start)


# Words


@pytest.mark.parametrize(
    ("text", "pretty"),
    [
        ("2024-11-03T01-05:00[America/New_York]", "11/03/2024 01:00 EST"),
        ("2024-03-10T12Z", "03/10/2024 12:00 UTC"),
        ("2024-03-10[Europe/Vienna]", "03/10/2024"),
        ("0999-03-10", "03/10/0999"),
        ("2024-W10[Europe/Vienna]", "03/04 - 03/10"),
        ("2024-12-29/P1W", "12/29 - 01/04"),
        ("2024-03", "March 2024"),
        ("2024-Q3", "Q3 2024"),
        ("FY2024-Q1/10", "Q1 FY2024"),
        ("2024[+05:30]", "2024"),
        ("FY2024/04", "FY2024"),
        (
            "2024-03-10T01:00:00-05:00/2024-03-10T04:00:00.500000-04:00[America/New_York]",
            "03/10/2024 01:00 EST - 03/10/2024 04:00 EDT",
        ),
        (
            "2024-03-10T01:00:05+00:00/2024-03-10T04:00:00+00:00",
            "03/10/2024 01:00:05 UTC - 03/10/2024 04:00 UTC",
        ),
    ],
)
def test_words(text: str, pretty: str) -> None:
    """`str` writes what `parse` reads; people get another form."""
    frame = parse(text)

    assert (text, pretty) == (str(frame), frame.get_pretty_value())
    assert frame == type(frame).parse(text) == TimeFrame.parse(f" {text} ")
    assert f"{type(frame).__name__}.parse({text!r})" == repr(frame)
    assert frame == eval(repr(frame))


def test_parse_takes_a_zone() -> None:
    """The zone is in the text or beside it; two that differ are refused."""
    assert str(parse("2024-03-10", NEW_YORK)) == "2024-03-10[America/New_York]"
    assert parse("2024-03-10[America/New_York]", "America/New_York").tzone is NEW_YORK
    assert "2024-03-10T11:00:00+00:00/2024-03-10T12:00:00+00:00" == str(
        parse("2024-03-10T12:00+01:00/2024-03-10T12:00Z")
    )
    with pytest.raises(TimeFrameError, match="expected one zone"):
        parse("2024-03-10[America/New_York]", "Europe/Vienna")
    with pytest.raises(TimeFrameError, match="expected a time zone"):
        parse("2024-03-10[+99:00]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-11-03T01[America/New_York]", "2024-11-03T01-04:00 and 2024-11-03T01-05:00"),
        ("2024-03-10T02[America/New_York]", "America/New_York does not have this hour"),
        ("2024-03-10T03-05:00[America/New_York]", "does not have this hour"),
        ("2024-W53", "no time frame"),
        ("2024-13", "no time frame"),
        ("2023-02-29", "no time frame"),
        ("2024-Q5", "expected text such as"),
        ("FY2024", "expected text such as"),
        ("FY2024/13", "expected a month"),
        ("0000", "no time frame"),
        ("9999", "years 1 to 9999|no time frame"),
        ("yesterday", "expected text such as"),
        ("٢٠٢٤", "expected text such as"),
        ("", "expected text such as"),
        (None, "expected text, got None"),
        ("2024-03-11T00:00Z/2024-03-10T00:00Z", "ceiling later than the floor"),
    ],
)
def test_what_cannot_be_parsed(text: Any, message: str) -> None:
    """Text that names no frame is refused, and hours that come twice need their offset."""
    with pytest.raises(TimeFrameError, match=message):
        parse(text)


def test_an_hour_that_comes_once_needs_no_offset() -> None:
    """Nor does one that is cut short by a change."""
    assert parse("2024-03-10T03[America/New_York]") == HourlyFrame(utc(2024, 3, 10, 7), NEW_YORK)
    assert timedelta(minutes=30) == parse("2024-10-06T02", "Australia/Lord_Howe").duration


def test_a_class_parses_its_own_form_only() -> None:
    """`DailyFrame.parse` reads no month."""
    with pytest.raises(TimeFrameError, match="DailyFrame.parse: expected text such as"):
        DailyFrame.parse("2024-03")
    with pytest.raises(TimeFrameError, match="that is a WeeklyFrame, TimeFrame.parse takes all"):
        DailyFrame.parse("2024-W10")


@pytest.mark.parametrize(
    ("kind", "name"), [(HourlyFrame, "Hourly"), (TimeFrame, "Custom"), (YearlyFrame, "Yearly")]
)
def test_names_of_kinds(kind: type[TimeFrame], name: str) -> None:
    """A kind has a name and a resolution."""
    frame = kind(NOON, NOON + timedelta(1)) if kind is TimeFrame else kind(NOON)  # type: ignore[call-arg]

    assert name == frame.get_pretty_name()
    assert frame.resolution is kind.resolution is Resolution(name.lower().replace("custom", "none"))
    assert times.FRAMES.get(frame.resolution, TimeFrame) is kind


ZONES = st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", APIA, "Asia/Kathmandu"])
MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(MOMENTS, MOMENTS, MOMENTS, ZONES)
def test_plain_frames_of_any_ends(
    one: datetime, two: datetime, moment: datetime, zone: str
) -> None:
    """A frame of any ends is what its text says, and holds what is between them as instants."""
    if one == two:
        two += timedelta(microseconds=1)
    low, high = sorted((one, two))
    frame = TimeFrame(low, high, zone)

    assert frame == parse(str(frame)) == TimeFrame(frame.floor, frame.ceiling)
    assert high - low == frame.duration
    assert (low <= moment < high) is (moment.astimezone(ZoneInfo("Asia/Tokyo")) in frame)
    assert frame.get_next_frame().get_previous_frame() == frame
    other = TimeFrame(moment, moment + timedelta(days=1), zone)
    assert (frame.overlap(other) is None) == (moment >= high or low >= moment + timedelta(days=1))
    assert frame.overlap(other) == other.overlap(frame)


@given(MOMENTS, ZONES, st.sampled_from(KINDS), st.integers(-1_500, 1_500))
def test_steps_lead_back(moment: datetime, zone: str, kind: type[CalendarFrame], n: int) -> None:
    """So many frames ahead and as many back is the frame itself, and steps add up."""
    frame = kind(moment, zone)
    there = frame.get_next_frame(n)

    assert frame == there.get_previous_frame(n)
    assert there == frame.get_next_frame(n - 7).get_next_frame(7)
    assert there == kind(there.floor, zone)
    assert (n > 0, n < 0) == (there > frame, there < frame)


# Relations


def test_floor_belongs_to_it_and_ceiling_does_not() -> None:
    """The floor is inside, the ceiling is not, in whatever zone they are said."""
    day = DailyFrame(NOON, NEW_YORK)
    for zone in (UTC, NEW_YORK, bson_utc, ZoneInfo("Asia/Tokyo")):
        assert day.floor.astimezone(zone) in day
        assert day.contains((day.ceiling - timedelta(microseconds=1)).astimezone(zone))
        assert day.ceiling.astimezone(zone) not in day
        assert day.get_previous_frame().ceiling.astimezone(zone) in day
    assert day in MonthlyFrame(NOON, NEW_YORK)
    assert day in day
    assert day.get_next_frame(21) not in MonthlyFrame(NOON)
    assert day not in HourlyFrame(NOON, NEW_YORK)


def test_overlap() -> None:
    """What two frames share, in the zone of the first; neighbours share nothing."""
    day, month = DailyFrame(NOON, NEW_YORK), MonthlyFrame(NOON)

    assert day.overlap(month) == TimeFrame(day.floor, day.ceiling)
    assert day.overlap(DailyFrame(NOON)) == TimeFrame(day.floor, utc(2024, 3, 11), NEW_YORK)
    assert DailyFrame(NOON).overlap(day).tzone is UTC  # type: ignore[union-attr]
    assert day.overlap(day.get_next_frame()) is None
    assert day.overlap(day.get_next_frame(5)) is None
    with pytest.raises(TimeFrameError, match=r"DailyFrame.overlap: expected a time frame, got 3"):
        day.overlap(3)  # type: ignore[arg-type]


def test_split() -> None:
    """The parts tile the whole; what sticks out is cut."""
    month = MonthlyFrame(NOON, NEW_YORK)
    for kind, count in ((DailyFrame, 31), (HourlyFrame, 743), (WeeklyFrame, 5), (YearlyFrame, 1)):
        parts = month.split(kind)
        assert count == len(parts)
        assert (month._start, month._end) == (parts[0]._start, parts[-1]._end)
        assert all(one._end == two._start for one, two in pairwise(parts))
    weeks = month.split(WeeklyFrame)
    assert [TimeFrame, WeeklyFrame, WeeklyFrame, WeeklyFrame, WeeklyFrame] == [*map(type, weeks)]
    sundays = month.split(WeeklyFrame, week_start="sunday")
    assert "2024-03-03/P1W[America/New_York]" == str(sundays[1])
    assert [23, 25] == [
        len(DailyFrame.parse(day, NEW_YORK).split(HourlyFrame))
        for day in ("2024-03-10", "2024-11-03")
    ]


def test_range() -> None:
    """All frames that share time with the range, and no other; made as they are asked for."""
    days = DailyFrame.range(NOON, utc(2024, 3, 13), NEW_YORK)

    assert iter(days) is days
    assert ["10", "11", "12"] == [f"{day.floor:%d}" for day in days]
    assert [] == list(DailyFrame.range(NOON, NOON))
    assert [DailyFrame(NOON)] == list(DailyFrame.range(NOON, NOON + timedelta(microseconds=1)))
    assert [DailyFrame(NOON)] == list(DailyFrame.range(NOON, utc(2024, 3, 11)))
    fiscal = list(YearlyFrame.range(utc(2023, 1, 1), utc(2024, 1, 1), year_start=10))
    assert ["FY2023/10", "FY2024/10"] == [str(year) for year in fiscal]
    with pytest.raises(TimeFrameError, match="expected a datetime"):
        DailyFrame.range("2024", NOON)  # type: ignore[arg-type]


def test_range_over_a_frame() -> None:
    """A frame has both ends, and its zone is that of the frames unless another is named."""
    month = MonthlyFrame(NOON, NEW_YORK)

    assert month.split(DailyFrame) == [*DailyFrame.range(month)]
    assert [MonthlyFrame(NOON), MonthlyFrame(NOON).get_next_frame()] == [
        *MonthlyFrame.range(month, tzone=UTC)
    ]
    with pytest.raises(TimeFrameError, match="expected a frame alone"):
        DailyFrame.range(month, NOON)
    with pytest.raises(TimeFrameError, match="expected an end, or a frame"):
        DailyFrame.range(NOON)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DailyFrame, {"week_start": 1}, "week_start: expected it with WeeklyFrame, got it with D"),
        (WeeklyFrame, {"year_start": 1}, "year_start: expected it with QuarterlyFrame and Year"),
        (WeeklyFrame, {"week_begin": 1}, "expected week_start or year_start, got 'week_begin'"),
        ("1h", {}, "expected a class such as DailyFrame, got '1h'"),
        (TimeFrame, {}, "expected a class such as DailyFrame, got <class"),
    ],
)
def test_options_of_other_kinds_are_refused(kind: Any, options: Any, message: str) -> None:
    """The error names the option and who takes it, and no method inside."""
    with pytest.raises(TimeFrameError, match=r"MonthlyFrame.split.*" + message):
        MonthlyFrame(NOON).split(kind, **options)
    if options:
        with pytest.raises(TimeFrameError, match=r"Frame.range.*" + message):
            kind.range(NOON, NOON, **options)


def test_elapsed() -> None:
    """How much has passed, by the time that really passes."""
    day = DailyFrame(NOON, NEW_YORK)

    assert 0.5 == day.elapsed(day.floor + timedelta(hours=11.5) + timedelta(hours=1))
    assert (0.0, 1.0) == (day.elapsed(utc(2000, 1, 1)), day.elapsed(day.ceiling))
    assert (False, True) == (day.has_passed(NOON), day.has_passed(day.ceiling))
    assert (True, False) == (day.is_in_frame(NOON), day.is_in_frame(day.ceiling))
    assert (1.0, True, False) == (day.elapsed(), day.has_passed(), day.is_in_frame())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zone", [UTC, NEW_YORK, EST_TIMEZONE])
def test_align_to_human_timeframe(kind: type[CalendarFrame], zone: Any) -> None:
    """Two ends of a frame of the calendar give that frame; others a plain one."""
    frame = kind(NOON, zone)

    assert frame == align_to_human_timeframe(frame.floor, frame.ceiling)
    assert frame == align_to_human_timeframe(frame._start, frame._end, zone)
    longer = align_to_human_timeframe(frame.floor, frame.ceiling + timedelta(minutes=1))
    assert type(longer) is TimeFrame


@pytest.mark.parametrize("n", ["1", 1.0, None, True])
def test_steps_are_whole_numbers(n: Any) -> None:
    """So many frames back is a number."""
    with pytest.raises(TimeFrameError, match="expected a number of frames"):
        DailyFrame(NOON).get_previous_frame(n)


def test_neighbours_of_plain_frames() -> None:
    """A plain frame's neighbours have its duration."""
    frame = TimeFrame(NOON, NOON + timedelta(minutes=90))

    assert frame.ceiling == frame.get_next_frame().floor
    assert NOON - timedelta(minutes=180) == frame.get_previous_frame(2).floor
    assert frame == frame.get_next_frame(-3).get_next_frame(3)


# Values


def everything() -> list[TimeFrame]:
    """Return frames of all kinds, in several zones and with several options."""
    zones = (UTC, NEW_YORK, EST_TIMEZONE)
    found: list[TimeFrame] = [kind(NOON, zone) for kind in KINDS for zone in zones]
    found += [WeeklyFrame(NOON, NEW_YORK, week_start="sunday"), YearlyFrame(NOON, year_start=4)]
    found += [TimeFrame(NOON, utc(2024, 3, 11)), TimeFrame(NOON, utc(2024, 3, 11), NEW_YORK)]
    return found


@pytest.mark.parametrize("frame", everything(), ids=str)
def test_frames_are_values(frame: TimeFrame) -> None:
    """Frames are equal, hash alike, survive pickling and copying, and cannot be changed."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(frame, protocol))
        assert (frame, hash(frame), str(frame)) == (other, hash(other), str(other))
        assert frame.floor.isoformat() == other.floor.isoformat()
    assert frame is copy.copy(frame) is copy.deepcopy(frame)
    for name in ("floor", "_start", "tzone", "resolution", "anything"):
        with pytest.raises(AttributeError):
            setattr(frame, name, NOON)
    assert frame != "x"
    assert frame != frame.floor


def test_zones_are_compared_by_name() -> None:
    """A second object for the same zone is the same zone."""
    other = ZoneInfo.no_cache("America/New_York")

    assert DailyFrame(NOON, NEW_YORK) == DailyFrame(NOON, other)
    assert 1 == len({DailyFrame(NOON, NEW_YORK), DailyFrame(NOON, other)})


def test_frames_of_different_kinds_and_zones_differ() -> None:
    """Equal ends are not enough."""
    found = everything()

    assert len(found) == len({*found})
    assert DailyFrame(NOON) != align_to_human_timeframe(NOON, utc(2024, 3, 11))


def test_frames_have_an_order() -> None:
    """By floor, then by ceiling, then by what tells them apart; any two are in one order."""
    found = everything()

    for one in found:
        for two in found:
            assert 1 == (one < two) + (one == two) + (two < one)
            assert (one <= two) == (not two < one)
            assert (one >= two) == (not one < two)
    assert sorted(found)[0].floor == utc(2023, 4, 1)
    other_way_round = found[::-1]
    assert sorted(found) == sorted(other_way_round)
    with pytest.raises(TypeError):
        assert DailyFrame(NOON) < 5


def test_order_in_an_autumn_night() -> None:
    """01:00 EDT is before 01:00 EST, though the clock shows the same."""
    first = HourlyFrame.parse("2024-11-03T01-04:00", NEW_YORK)
    second = first.get_next_frame()

    assert first < second
    assert first != second
    assert [first, second] == sorted([second, first])


# Queries


class Event(lm.Frame):
    """Something that happened."""

    created: datetime
    number: int


async def test_filter_finds_what_lies_in_the_frame(call: Runtime, db: str) -> None:
    """A condition on a datetime: the floor belongs to it, the ceiling does not."""
    day = DailyFrame(NOON, NEW_YORK)
    step = timedelta(milliseconds=1)
    ends = [day._start - step, day._start, day._end - step, day._end]
    await call(Event).insert_many(
        [Event(created=moment, number=number) for number, moment in enumerate(ends)]
    )

    for field in ("created", lm.Q.created):
        found = await call(Event).many(day.filter(field), sort="number")
        assert [1, 2] == [event.number for event in found]
    found = await call(Event).many(day.filter("created") & (lm.Q.number > 1))
    assert [2] == [event.number for event in found]


def test_filter_is_one_range_in_utc() -> None:
    """Both bounds stand in one document, in UTC, as an index needs them."""
    day = DailyFrame(NOON, NEW_YORK)

    assert {"log.at": {"$gte": utc(2024, 3, 10, 5), "$lt": utc(2024, 3, 11, 4)}} == (
        day.filter("log.at").to_dict()
    )
    assert {"$gte", "$lt"} == day.filter(lm.Q.log.at).to_dict()["log.at"].keys()


def test_filter_moves_finer_ends_to_the_next_millisecond() -> None:
    """What is stored has milliseconds: one lies in the frame if it is not before the floor."""
    low, high = utc(2024, 3, 10, 0, 0, 0, 1), utc(2024, 3, 10, 0, 0, 1, 999_001)
    frame = TimeFrame(low, high)

    assert {"$gte": utc(2024, 3, 10, 0, 0, 0, 1_000), "$lt": utc(2024, 3, 10, 0, 0, 2)} == (
        frame.filter("at").to_dict()["at"]
    )
    assert ["$gte"] == [
        *TimeFrame(low, datetime.max.replace(tzinfo=UTC)).filter("at").to_dict()["at"]
    ]
    old = TimeFrame(utc(1960, 1, 1, 0, 0, 0, 1), utc(1960, 1, 2))
    assert utc(1960, 1, 1, 0, 0, 0, 1_000) == old.filter("at").to_dict()["at"]["$gte"]


async def test_object_ids_find_what_was_made_in_the_frame(call: Runtime, db: str) -> None:
    """A condition on `_id`: ids of the first and the last second are in it."""
    day = DailyFrame(NOON, NEW_YORK)
    seconds = [day._start - timedelta(seconds=1), day._start]
    seconds += [day._end - timedelta(seconds=1), day._end]
    for number, moment in enumerate(seconds):
        second = int(moment.timestamp()).to_bytes(4, "big")
        for rest in (bytes(8), b"\xff" * 8):
            await call(Event(_id=ObjectId(second + rest), number=number)).insert()

    found = await call(Event).many(day.object_ids(), sort="_id")

    assert [1, 1, 2, 2] == [event.number for event in found]


def test_object_ids_hold_the_years_1970_to_2105() -> None:
    """Frames outside match nothing, or all that is left."""
    first, last = ObjectId(bytes(12)), ObjectId(b"\xff" * 12)

    assert {"_id": {"$gte": first, "$lt": first}} == YearlyFrame.parse(
        "1969"
    ).object_ids().to_dict()
    assert {"_id": {"$gt": last}} == YearlyFrame.parse("2107").object_ids().to_dict()
    assert {"$gte"} == YearlyFrame.parse("2106").object_ids().to_dict()["_id"].keys()
    assert {"parent"} == YearlyFrame.parse("2024").object_ids("parent").to_dict().keys()
    short = TimeFrame(utc(2024, 1, 1, 0, 0, 0, 500_000), utc(2024, 1, 1, 0, 0, 1, 500_000))
    bounds = short.object_ids().to_dict()["_id"]
    assert [1, 2] == [bounds[end].generation_time.second for end in ("$gte", "$lt")]


# The whole


def test_constants() -> None:
    """The zones with a constant are those of the tz database, read when they are asked for."""
    assert EASTERN_TIMEZONE is NEW_YORK
    for name, zone in times.zones.NAMED.items():
        assert zone == getattr(times, name).key
    assert times.UTC_TIMEZONE is UTC
    with pytest.raises(AttributeError, match="no attribute 'NO_TIMEZONE'"):
        times.NO_TIMEZONE
    with pytest.raises(AttributeError, match="no attribute 'NO_TIMEZONE'"):
        times.zones.NO_TIMEZONE


def test_frames_need_no_numpy() -> None:
    """`import loom` does not load the frames, and they load neither NumPy nor a zone."""
    code = (
        "import sys, loom\n"
        "assert 'loom.frames.time' not in sys.modules\n"
        "before = set(sys.modules)\n"
        "from loom.frames.time import DailyFrame, parse\n"
        "DailyFrame.create()\n"
        "print(sorted({'numpy', 'scipy', 'pandas', 'matplotlib'} & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ("[]\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("name", times.__all__)
def test_exports(name: str) -> None:
    """What `__all__` names is there, or names what is to be installed."""
    with contextlib.suppress(lm.MissingExtra):
        assert getattr(times, name) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_frames_back_cost_no_walk(kind: type[CalendarFrame]) -> None:
    """A thousand frames cost as much as ten do, give or take a few; a walk would cost a hundred times."""
    frame = kind(NOON, NEW_YORK)

    def cost(step: Callable[[], Any]) -> float:
        return min(timeit.repeat(step, number=20, repeat=20))

    assert cost(lambda: frame.get_previous_frame(1_000)) < 30 * cost(
        lambda: frame.get_previous_frame(10)
    )
