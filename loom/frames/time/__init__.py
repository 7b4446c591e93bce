"""Time: frames of the calendar, and what is measured in them.

The frames need nothing but the standard library. What needs NumPy or SciPy is imported when it is
first asked for; without them `import *` and `dir()` leave it out.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .calendar_frames import CalendarFrame, DailyFrame, WeeklyFrame
from .hourly_frames import HourlyFrame
from .resolution import Resolution, TimeFrameResolution
from .timeframe import TimeFrame, parse
from .year_frames import (
    FRAMES,
    MonthlyFrame,
    QuarterlyFrame,
    YearlyFrame,
    align_to_human_timeframe,
)
from .zones import EST_TIMEZONE, NAMED, UTC, UTC_TIMEZONE, TimeZone

if TYPE_CHECKING:
    from .insight import PdfValue, Regression, Spread, Trending
    from .moment import LedgerMoment, Moment, TimedFrame
    from .resampling.resampled import Resampled
    from .windows.window import MomentWindow
    from .zones import (
        ALASKA_TIMEZONE,
        CENTRAL_TIMEZONE,
        EASTERN_TIMEZONE,
        HAWAII_TIMEZONE,
        MOUNTAIN_TIMEZONE,
        PACIFIC_TIMEZONE,
    )

__all__ = [
    "ALASKA_TIMEZONE",
    "CENTRAL_TIMEZONE",
    "EASTERN_TIMEZONE",
    "EST_TIMEZONE",
    "FRAMES",
    "HAWAII_TIMEZONE",
    "MOUNTAIN_TIMEZONE",
    "PACIFIC_TIMEZONE",
    "UTC",
    "UTC_TIMEZONE",
    "CalendarFrame",
    "DailyFrame",
    "HourlyFrame",
    "LedgerMoment",
    "Moment",
    "MomentWindow",
    "MonthlyFrame",
    "PdfValue",
    "QuarterlyFrame",
    "Regression",
    "Resampled",
    "Resolution",
    "Spread",
    "TimeFrame",
    "TimeFrameResolution",
    "TimeZone",
    "TimedFrame",
    "Trending",
    "WeeklyFrame",
    "YearlyFrame",
    "align_to_human_timeframe",
    "parse",
]

#: Names that are imported when they are first asked for, and their modules.
_LATER = (
    dict.fromkeys(NAMED, "zones")
    | dict.fromkeys(("PdfValue", "Regression", "Spread", "Trending"), "insight")
    | dict.fromkeys(("LedgerMoment", "Moment", "TimedFrame"), "moment")
    | {"MomentWindow": "windows.window", "Resampled": "resampling.resampled"}
)
#: Of these modules, those that need the extra `time`.
_OF_EXTRA = ("insight", "resampling.resampled", "windows.window")

if find_spec("numpy") is None or find_spec("scipy") is None:
    # Past type checkers, to which all names are there.
    globals()["__all__"] = [name for name in __all__ if _LATER.get(name) not in _OF_EXTRA]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
