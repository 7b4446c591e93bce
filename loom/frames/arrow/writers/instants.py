"""Instants and dates of all units as datetimes in milliseconds, without a silent loss."""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from bson.datetime_ms import DatetimeMS

from ....datetimes import Naive
from ....errors import SchemaError
from .cells import Cell, Unfit, filled, first, numbers

__all__ = ["Finer", "Instants"]

#: What is done with instants finer than the milliseconds that MongoDB keeps.
Finer = Literal["raise", "cut"]
DAY = 86_400_000
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_CUT = "round the column, or pass finer='cut'"


class Instants(Cell):
    """Timestamps and dates; a date is midnight in UTC.

    Args:
        place: class and column, for errors.
        type: of the arrays.
        naive: what a timestamp without zone means.
        finer: what is done with parts of milliseconds.
        aware: whether the datetimes are to have a zone.
        whole_days: whether only midnights are taken.

    Raises:
        SchemaError: a timestamp without zone, and `naive` is `"refuse"`.
    """

    def __init__(
        self,
        place: str,
        type: Any,
        naive: Naive,
        finer: Finer,
        *,
        aware: bool,
        whole_days: bool = False,
    ) -> None:
        is_naive = pa.types.is_timestamp(type) and type.tz is None
        if is_naive and naive == "refuse":
            raise SchemaError(
                f"{place}: expected timestamps with a zone, got {type}; give them one, such as "
                "UTC, or connect with naive='utc'",
                place.partition(".")[2] or None,
                None,
                "timestamps with a zone",
                str(type),
            )
        self.zone = naive if is_naive and isinstance(naive, tzinfo) else None
        self.cuts = finer == "cut"
        self.aware = aware
        self.whole_days = whole_days or pa.types.is_date64(type)
        self.unit = "D" if pa.types.is_date32(type) else "ms"
        if pa.types.is_timestamp(type):
            self.unit = type.unit
        self.integers = pa.int32() if self.unit == "D" else pa.int64()

    def check(self, array: Any) -> None:
        """Look for parts of milliseconds, and for what is too far away."""
        found = numbers(array.view(self.integers) if len(array) else array.cast(self.integers))
        per = _PER_MS.get(self.unit)
        if per is not None and not self.cuts:
            self._refuse(array, first(found % per != 0), "whole milliseconds", _CUT)
        if self.unit == "s":
            limit = (2**63 - 1) // 1000
            at = first((found > limit) | (found < -limit))
            self._refuse(array, at, "an instant within 64 bits of milliseconds", "leave it out")
        if self.whole_days:
            at = first(self._milliseconds(found) % DAY != 0)
            self._refuse(array, at, "a date", "cut it to midnight in UTC")
        if self.zone is not None:
            found = self._milliseconds(found)
            at = first((found < _FIRST) | (found > _LAST))
            self._refuse(array, at, "a time of the years 1 to 9999", "give the column a zone")

    def _refuse(self, array: Any, at: int | None, expected: str, advice: str) -> None:
        if at is not None:
            raise Unfit(at, expected, _told(array[at]), advice)

    def _milliseconds(self, found: Any) -> Any:
        if self.unit in _PER_MS:
            return found // _PER_MS[self.unit]
        factor = {"s": 1_000, "D": DAY}.get(self.unit, 1)
        return found.astype(np.int64, copy=False) * factor

    def values(self, array: Any) -> list[Any]:
        """Return datetimes, naive ones of UTC unless they are to be aware."""
        found = numbers(array.view(self.integers) if len(array) else array.cast(self.integers))
        milliseconds = self._milliseconds(found)
        made: list[Any] = milliseconds.astype("datetime64[ms]").tolist()
        if len(made) and (milliseconds.min() < _FIRST or milliseconds.max() > _LAST):
            pairs = zip(made, milliseconds.tolist(), strict=True)
            made = [d if isinstance(d, datetime) else DatetimeMS(ms) for d, ms in pairs]
        zone = self.zone or (timezone.utc if self.aware else None)
        if zone is not None:
            made = [d.replace(tzinfo=zone) if isinstance(d, datetime) else d for d in made]
        return filled(made, array)


#: The first and the last millisecond that Python knows.
_FIRST = -62_135_596_800_000
_LAST = 253_402_300_799_999


def _told(value: Any) -> Any:
    """Return an instant as it can be shown, whatever its unit."""
    try:
        return str(value)
    except (OverflowError, ValueError):
        return value.value
