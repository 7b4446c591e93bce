"""Hours of the clock, as zones have them."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from ...errors import TimeFrameError
from .calendar_frames import BEYOND, CalendarFrame, date_text
from .resolution import Resolution
from .zones import UTC, beyond, check_shown, hour_around, hour_shifted, name_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HourlyFrame"]

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


class HourlyFrame(CalendarFrame):
    """An hour of the clock: as long as the clock shows one hour and has one offset from UTC.

    The hour that comes twice in autumn is two frames. Where clocks are set by half an hour, the
    frames beside it are half as long.

    >>> first = HourlyFrame.parse("2024-11-03T01-04:00[America/New_York]")
    >>> first.get_pretty_value(), first.get_next_frame().get_pretty_value()
    ('11/03/2024 01:00 EDT', '11/03/2024 01:00 EST')
    """

    __slots__ = ()
    resolution = Resolution.HOURLY
    _form = r"(\d{4}-\d\d-\d\dT\d\d)(Z|[+-]\d\d:\d\d(?::\d\d(?:\.\d{6})?)?)?"

    @classmethod
    def _around(cls, at: datetime, zone: tzinfo, option: int) -> tuple[datetime, datetime]:
        start, end = hour_around(zone, at)
        check_shown(end, zone, cls.__name__)
        return start, end

    def _shifted(self, count: int) -> Self:
        try:
            start = hour_shifted(self._zone, self._start, count)
            return self._made(*self._around(start, self._zone, 0), self._zone)
        except BEYOND:
            raise beyond(type(self).__name__) from None

    def get_pretty_value(self) -> str:
        """Return the hour for people: `03/10/2024 01:00 EST`."""
        floor = self.floor
        return f"{date_text(floor)} {floor:%H:%M} {floor.tzname()}"

    def _text(self) -> str:
        text = self.floor.isoformat()
        return text[:13] + ("Z" if self._zone is UTC else text[len("2024-03-10T01:00:00") :])

    @classmethod
    def _parsed(cls, parts: Any, zone: tzinfo) -> Self:
        text, offset = parts
        clock = datetime.fromisoformat(f"{text}:00:00")
        if offset:
            aware = f"{text}:00:00" + offset.replace("Z", "+00:00")
            offsets = {datetime.fromisoformat(aware).utcoffset()}
        else:
            ends = (clock, clock + _HOUR - _SECOND)
            offsets = {e.replace(tzinfo=zone, fold=f).utcoffset() for e in ends for f in (0, 1)}
        # An hour that a change of the clock cuts has its own clock time at one end only.
        found = {
            frame
            for ahead in offsets
            for at in (clock, clock + _HOUR - _SECOND)
            for frame in (cls(at.replace(tzinfo=UTC) - (ahead or timedelta()), zone),)
            if frame.floor.isoformat()[:13] == text and frame.floor.utcoffset() == ahead
        }
        if len(found) == 1:
            return found.pop()
        if found:
            texts = " and ".join(sorted(frame._text() for frame in found))
            raise TimeFrameError(f"expected one hour, but there are {texts}; write the offset")
        raise TimeFrameError(f"{name_of(zone)} does not have this hour")
