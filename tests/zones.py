"""What the tz database says, read without Loom: the oracle of the tests of time frames.

Changes are read from the compiled files themselves (RFC 9636), and the days and hours between them
are computed in whole seconds, with neither `fold` nor any datetime that has a zone.
"""

from __future__ import annotations

import os
import struct
import zoneinfo
from bisect import bisect_right
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from functools import cache
from importlib import resources
from itertools import pairwise

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HOUR, DAY = 3_600, 86_400
#: 1970 to 2037.
FIRST, LAST = 0, int((datetime(2038, 1, 1, tzinfo=timezone.utc) - EPOCH).total_seconds())
_DATE_OF_EPOCH = date(1970, 1, 1).toordinal()


def at(second: float) -> datetime:
    """Return an instant as a datetime in UTC."""
    return EPOCH + timedelta(seconds=second)


@cache
def _file(name: str) -> bytes:
    for folder in zoneinfo.TZPATH:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def groups() -> list[list[str]]:
    """Return the names of all zones, those with one file together."""
    found = defaultdict(list)
    for name in sorted(zoneinfo.available_timezones()):
        found[_file(name)].append(name)
    return list(found.values())


class Clock:
    """The offsets of a zone: from `starts[i]` on it is `offsets[i]` seconds ahead of UTC."""

    def __init__(self, name: str) -> None:
        starts, offsets, rule = _read(_file(name))
        if "," in rule:  # what follows the file's last change is a rule, not a list
            zone = zoneinfo.ZoneInfo(name)
            before = offsets[-1]
            for second in range(max(starts[-1], FIRST) + DAY, LAST + 2_200 * DAY, DAY):
                after = _asked(zone, second)
                if after != before:
                    low = second - DAY
                    while second - low > 1:
                        middle = (low + second) // 2
                        low, second = (
                            (middle, second) if _asked(zone, middle) == before else (low, middle)
                        )
                    starts.append(second)
                    offsets.append(after)
                    before = after
        self.starts, self.offsets = starts, offsets

    def changes(self, low: int = FIRST, high: int = LAST) -> list[int]:
        """Return the seconds between which the offset becomes another one."""
        return [second for second in self.starts[1:] if low <= second < high]

    def offset(self, second: int) -> int:
        """Return the offset at an instant."""
        return self.offsets[max(bisect_right(self.starts, second) - 1, 0)]

    def first_showing(self, clock: int) -> int:
        """Return the first instant at which the clock shows this or a later time."""
        near = bisect_right(self.starts, clock - 3 * DAY) - 1
        for index in range(max(near, 0), len(self.starts)):
            found = clock - self.offsets[index]
            if index:
                found = max(found, self.starts[index])
            if index + 1 == len(self.starts) or found < self.starts[index + 1]:
                return found
        raise AssertionError(clock)

    def day(self, day: date) -> int:
        """Return where a date begins."""
        return self.first_showing((day.toordinal() - _DATE_OF_EPOCH) * DAY)

    def date_at(self, second: int) -> date:
        """Return the latest date that the clock has shown up to an instant."""
        first = max(bisect_right(self.starts, second - 3 * DAY) - 1, 0)
        shown = [second + self.offset(second)]
        shown += [s - 1 + self.offset(s - 1) for s in self.starts[max(first, 1) :] if s <= second]
        return date.fromordinal(_DATE_OF_EPOCH + max(shown) // DAY)

    def hours(self, low: int, high: int) -> list[int]:
        """Return where hours begin between two instants: at full ones, and where the offset changes."""
        found = {second for second in self.starts[1:] if low <= second <= high}
        ends = [low, *sorted(found), high]
        for start, end in pairwise(ends):
            offset = self.offset(start)
            found.update(range(start + -(start + offset) % HOUR, end, HOUR))
        return sorted(found)


def _asked(zone: zoneinfo.ZoneInfo, second: int) -> int:
    offset = at(second).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _read(data: bytes) -> tuple[list[int], list[int], str]:
    """Return the changes of offset that a compiled file lists, and the rule at its end."""

    def counts(place: int) -> tuple[int, ...]:
        return struct.unpack(">6l", data[place + 20 : place + 44])

    is_ut, is_std, leap, times, types, letters = counts(0)
    place = 44 + times * 5 + types * 6 + letters + leap * 8 + is_std + is_ut
    _, _, _, times, types, _ = counts(place)
    place += 44
    seconds = struct.unpack(f">{times}q", data[place : place + 8 * times])
    place += 8 * times
    indexes = data[place : place + times]
    place += times
    known = [struct.unpack(">l", data[place + 6 * i : place + 6 * i + 4])[0] for i in range(types)]
    starts, offsets = [-(2**60)], [known[0]]
    for second, index in zip(seconds, indexes, strict=True):
        if known[index] != offsets[-1]:
            starts.append(second)
            offsets.append(known[index])
    return starts, offsets, data.rsplit(b"\n", 2)[-2].decode()
