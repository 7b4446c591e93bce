"""Time frames: what making one costs, and going far.

The raw side computes both ends of a day by hand, with `astimezone` and `replace`, and is wrong on
days whose midnight is odd. The limits are times, not ratios: a frame is small enough to be made
for each document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from loom.frames.time import DailyFrame, HourlyFrame, MonthlyFrame, zones

from .bench import Bench, Row, time_text
from .measure import compare

_UTC = timezone.utc
_ZONE = ZoneInfo("America/New_York")
_MOMENT = datetime(2024, 3, 10, 12, tzinfo=_UTC)
_DAY = timedelta(days=1)


def frames(bench: Bench) -> Iterator[Row]:
    """Frames of the calendar, against the ends of a day by hand."""
    day, hour = DailyFrame(_MOMENT, _ZONE), HourlyFrame(_MOMENT, _ZONE)
    year = datetime(2024, 1, 1, tzinfo=_UTC), datetime(2025, 1, 1, tzinfo=_UTC)

    def cold() -> Any:
        zones.day_start.cache_clear()
        zones._known.cache_clear()
        return DailyFrame.create(_MOMENT, _ZONE)

    cases: list[tuple[str, Callable[[], Any], float, int]] = [
        ("a day, its ends known", lambda: DailyFrame.create(_MOMENT, _ZONE), 3e-6, 1),
        ("a day, nothing known", cold, 8e-6, 1),
        ("an hour", lambda: HourlyFrame.create(_MOMENT, _ZONE), 10e-6, 1),
        ("a month", lambda: MonthlyFrame.create(_MOMENT, _ZONE), 5e-6, 1),
        ("1,000 days back", lambda: day.get_previous_frame(1000), 10e-6, 1),
        ("1,000 hours back", lambda: hour.get_previous_frame(1000), 30e-6, 1),
        ("a day of a year's", lambda: list(DailyFrame.range(*year, _ZONE)), 5e-6, 366),
    ]
    for name, action, limit, count in cases:
        calls = max(bench.size(20_000) // count, 1)
        found = compare(action, _by_hand, rounds=bench.rounds(15), calls=calls)
        yield Row(
            f"time: {name}",
            time_text(found.loom / count),
            time_text(found.raw),
            f"{found.ratio / count:.2f}",
            f"{found.low / count:.2f} to {found.high / count:.2f}",
            time_text(limit),
            found.loom / count <= limit,
        )


def _by_hand() -> tuple[datetime, datetime]:
    floor = _MOMENT.astimezone(_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    return floor.astimezone(_UTC), (floor + _DAY).astimezone(_UTC)
