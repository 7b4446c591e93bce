"""How long the frames of a kind are."""

from __future__ import annotations

from enum import Enum

__all__ = ["Resolution", "TimeFrameResolution"]


class Resolution(str, Enum):
    """How long time frames are: the calendar's units, or `NONE` for frames of any length.

    It is text, and is stored and compared as such.

    >>> Resolution("daily") is Resolution.DAILY, Resolution.DAILY == "daily"
    (True, True)
    """

    NONE = "none"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"

    def __str__(self) -> str:
        return self.value


#: Another name for `Resolution`.
TimeFrameResolution = Resolution
