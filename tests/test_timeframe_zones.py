"""Time frames in every zone of the tz database, from 1970 to 2037, against the database itself.

The changes of each zone are read from its file, and what the frames around each have to be is
computed in whole seconds (`tests/zones.py`). `LOOM_ALL_ZONES=1` looks at every change in every way
and compares each minute around every kind of change; without it, changes that are alike are
sampled.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from loom.frames.time import (
    CalendarFrame,
    DailyFrame,
    HourlyFrame,
    MonthlyFrame,
    QuarterlyFrame,
    WeeklyFrame,
    YearlyFrame,
    zones,
)

from .zones import DAY, EPOCH, FIRST, HOUR, LAST, Clock, at, groups

ALL = bool(os.environ.get("LOOM_ALL_ZONES"))
#: The zones are tested in so many parts.
PARTS = 8
MICROSECOND = timedelta(microseconds=1)
#: What did not go by the book at least once.
ODD = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Enderbury",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
]


def months_of(day: date, months: int, years_from: int) -> Iterator[date]:
    """Return the first dates of periods of months around a date, three before and behind it."""
    month = day.year * 12 + day.month - 1
    month -= (month - years_from + 1) % months
    for count in range(-3, 4):
        moved = month + count * months
        yield date(moved // 12, moved % 12 + 1, 1)


def dates_of(kind: type[CalendarFrame], day: date, option: int) -> list[date]:
    """Return the first dates of the frames around a date, as a calendar on the wall shows them."""
    if kind is DailyFrame:
        return [day + timedelta(days=count) for count in range(-3, 5)]
    if kind is WeeklyFrame:
        while day.weekday() != option:
            day -= timedelta(days=1)
        return [day + timedelta(days=7 * count) for count in range(-3, 4)]
    months = {MonthlyFrame: 1, QuarterlyFrame: 3, YearlyFrame: 12}[kind]
    return list(months_of(day, months, option))


#: Kinds, and what says where their weeks and years begin.
KINDS: list[tuple[type[CalendarFrame], dict[str, int], int]] = [
    (DailyFrame, {}, 0),
    (WeeklyFrame, {}, 0),
    (WeeklyFrame, {"week_start": 4}, 4),
    (MonthlyFrame, {}, 1),
    (QuarterlyFrame, {}, 1),
    (QuarterlyFrame, {"year_start": 11}, 11),
    (YearlyFrame, {}, 1),
    (YearlyFrame, {"year_start": 4}, 4),
]


class Checker:
    """Compares frames with what they have to be, and counts how often."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.zone, self.clock = name, ZoneInfo(name), Clock(name)
        self.random = random.Random(f"{name} {seed}")
        self.count = 0

    def same(self, expected: object, actual: object, *about: object) -> None:
        """Compare once."""
        self.count += 1
        assert expected == actual, (self.name, *about)

    def around(self, second: int) -> None:
        """Check the frames of all kinds around an instant."""
        edges = self.clock.hours(second - 5 * HOUR, second + 5 * HOUR)
        self.frames(HourlyFrame, edges, {})
        day = self.clock.date_at(second)
        for kind, options, option in KINDS:
            dates = dates_of(kind, day, option)
            if 1 < dates[0].year and dates[-1].year < 9999:
                edges = sorted({self.clock.day(first) for first in dates})
                self.frames(kind, edges, options)

    def frames(self, kind: type[CalendarFrame], edges: list[int], options: dict[str, int]) -> None:
        """Check that the frames between these edges are these, and know each other."""
        made = []
        for low, high in pairwise(edges):
            inside = self.random.uniform(low, high - 0.001)
            frame = kind(at(low), self.zone, **options)
            made.append(frame)
            about = kind.__name__, at(low), at(high), options
            # Instants are compared in UTC: in one zone Python would compare the clocks.
            self.same((at(low), at(high)), (frame._start, frame._end), *about)
            self.same(frame, kind(at(high) - MICROSECOND, self.zone, **options), *about)
            self.same(frame, kind(at(inside), self.zone, **options), *about)
            self.same((True, False), (at(low) in frame, at(high) in frame), *about)
            self.same(frame, kind.parse(str(frame)), *about)
        for number, (first, second) in enumerate(pairwise(made)):
            self.same(second, first.get_next_frame(), kind, first)
            self.same(first, second.get_previous_frame(), kind, second)
            self.same((True, False), (first < second, second <= first), kind, first)
            if number:
                self.same(made[0], first.get_previous_frame(number), kind, first)
                self.same(first, made[0].get_next_frame(number), kind, first)
        self.same(made, list(kind.range(at(edges[0]), at(edges[-1]), self.zone, **options)), kind)

    def minutes(self, second: int) -> None:
        """Compare days and hours with what the clock shows each minute for three days, one by one.

        A frame begins where the clock shows what it has not shown before: for days a later date
        than ever, for hours another hour or another offset. Nothing but `astimezone` is asked.
        """
        low = second - 36 * HOUR
        moments = {*range(low, second + 36 * HOUR, 60), second - 1, second, second + 1}
        day, hour = None, None
        first: dict[type[CalendarFrame], CalendarFrame] = {}
        for number in sorted(moments):
            local = at(number).astimezone(self.zone)
            latest = max(day or local.date(), local.date())
            label = (local.date(), local.hour, local.utcoffset())
            for kind, is_new in ((DailyFrame, latest != day), (HourlyFrame, label != hour)):
                frame = kind(at(number), self.zone)
                if is_new or kind not in first:
                    if kind in first:
                        self.same(first[kind]._end, frame._start, kind, at(number))
                    first[kind] = frame
                self.same(first[kind], frame, kind, at(number))
            day, hour = latest, label


def chosen(checker: Checker) -> Iterator[tuple[int, bool]]:
    """Return changes, and whether they are the first of their kind in the zone."""
    seen: dict[tuple[int, int, int], int] = {}
    for change in checker.clock.changes():
        before, after = checker.clock.offset(change - 1), checker.clock.offset(change)
        kind = (before, after, (change + before) % DAY)
        seen[kind] = seen.get(kind, 0) + 1
        if ALL or seen[kind] == 1 or checker.random.random() < 0.02:
            yield change, seen[kind] == 1


@pytest.mark.parametrize("part", range(PARTS))
def test_frames_tile_in_every_zone(part: int, record_property: pytest.RecordProperty) -> None:
    """Around every change of every zone, and elsewhere, frames are what the database says."""
    known = changes = count = 0
    for names in groups()[part::PARTS]:
        checker = Checker(names[0], part)
        for change, _ in chosen(checker):
            checker.around(change)
            changes += 1
        for _ in range(20 if ALL else 1):
            checker.around(checker.random.randrange(FIRST, LAST))
        for name in names[1:]:  # the same file under another name
            moment = at(checker.random.randrange(FIRST, LAST))
            frame = DailyFrame(moment, name)
            checker.same(DailyFrame(moment, checker.zone)._start, frame._start, name)
        known += len(names)
        count += checker.count
    print(f"part {part}: {known} zones, {changes:,} changes, {count:,} checks")
    record_property("checks", count)

    assert known
    assert count > 1_000


@pytest.mark.parametrize("name", [n[0] for n in groups()] if ALL else ODD)
def test_frames_are_what_the_clock_shows(name: str, record_property: pytest.RecordProperty) -> None:
    """Minute by minute around each kind of change, days and hours begin where the clock says."""
    checker = Checker(name, 0)
    kinds = [change for change, is_first in chosen(checker) if is_first]
    for change in kinds if ALL else kinds[:3]:
        checker.minutes(change)
    print(f"{name}: {len(kinds)} kinds of changes, {checker.count:,} checks")
    record_property("checks", checker.count)


@pytest.mark.parametrize("part", range(PARTS))
def test_long_ways_are_as_many_steps(part: int) -> None:
    """A thousand frames back or ahead at once is where a thousand steps lead."""
    for names in groups()[part :: PARTS * (1 if ALL else 12)]:
        checker = Checker(names[0], part)
        for kind in (HourlyFrame, DailyFrame):
            start = kind(at(checker.random.randrange(FIRST, LAST)), checker.zone)
            frame = start
            for steps in range(1, 1_001):
                frame = frame.get_next_frame()
                if steps in (2, 3, 24, 365) or not steps % 250:
                    checker.same(frame, start.get_next_frame(steps), start, steps)
                    checker.same(start, frame.get_previous_frame(steps), frame, steps)


@pytest.mark.parametrize("name", ["Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati"])
def test_long_ways_over_days_that_were_left_out(name: str) -> None:
    """A day that a zone left out is not counted."""
    checker = Checker(name, 0)
    changes = [c for c in checker.clock.changes() if checker.clock.offset(c) > 10 * HOUR]
    start = DailyFrame(at(changes[0] - 400 * DAY), name)
    frame, frames = start, [start]
    for _ in range(800):
        frame = frame.get_next_frame()
        frames.append(frame)

    assert all(first._end == second._start for first, second in pairwise(frames))
    for steps in range(1, 801, 7):
        assert frames[steps] == start.get_next_frame(steps)
        assert start == frames[steps].get_previous_frame(steps)


def test_no_two_changes_are_closer_than_three_days() -> None:
    """What the look for changes relies on: none hides between two questions three days apart."""
    closest = min(
        second - first
        for names in groups()
        for first, second in pairwise(Clock(names[0]).changes(-(2**59), LAST))
    )

    assert closest > 3 * DAY


def test_days_left_out_are_those_of_the_database() -> None:
    """Every date that a zone left out is known, and no other."""
    found = {}
    for names in groups():
        clock, left_out = Clock(names[0]), set()
        for change in clock.changes(-(2**40), LAST):
            for number in range(-2, 3):
                day = clock.date_at(change) + timedelta(days=number)
                if clock.day(day) == clock.day(day + timedelta(days=1)):
                    left_out.add(day)
        if left_out:
            found[names[0]] = sorted(left_out)
        skipped = zones.skipped_days(ZoneInfo(names[0]))
        assert sorted(left_out) == [date.fromordinal(day) for day in skipped], names

    assert [date(2011, 12, 30)] == found["Pacific/Apia"]
    assert len(found) > 4


def test_changes_are_those_of_the_database() -> None:
    """Every change of every zone is found, and nothing else."""
    first, count = at(-(2**32) if ALL else FIRST), 0
    # The shortest summer there was since 1970 had seven days: in Recife, in 2000.
    for names in [n for n in groups() if "America/Recife" in n] + groups()[:: 1 if ALL else 6]:
        clock = Clock(names[0])
        changes = zones.changes(ZoneInfo(names[0]), first - MICROSECOND, at(LAST) - MICROSECOND)
        count += len(changes)
        assert changes == [at(s) for s in clock.changes(-(2**32) if ALL else FIRST)], names
    print(f"{count:,} changes")

    assert count > 2_000


def test_before_1970(record_property: pytest.RecordProperty) -> None:
    """Frames tile as well around the changes from local mean time on, at whatever second they are."""
    count = 0
    for number, names in enumerate(groups()):
        checker = Checker(names[0], 1)
        older = checker.clock.changes(-(2**40), FIRST)
        for change in older if ALL else older[number % 7 :: 7][:1]:
            if datetime(1700, 1, 1, tzinfo=EPOCH.tzinfo) < at(change):
                checker.around(change)
        count += checker.count
    print(f"before 1970: {count:,} checks")
    record_property("checks", count)

    assert count
