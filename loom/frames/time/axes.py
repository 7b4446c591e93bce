"""What insight takes for times: datetimes or numbers in any form, as ticks from an origin."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from fractions import Fraction
from typing import Any, NamedTuple

from ...errors import QueryError, nearest
from .arrays import Array, array_of, kind_of, np, numbers_of
from .zones import EPOCH, MICROSECOND

__all__ = ["UNITS", "Axis", "axis_of", "instants_of"]

#: Units of time that a call may name, in nanoseconds.
UNITS = {
    "nanosecond": 1,
    "microsecond": 10**3,
    "millisecond": 10**6,
    "second": 10**9,
    "minute": 60 * 10**9,
    "hour": 3600 * 10**9,
    "day": 86400 * 10**9,
    "week": 7 * 86400 * 10**9,
}
_NOT_A_TIME = np.iinfo(np.int64).min


class Axis(NamedTuple):
    """Times as whole ticks (or floats), and what a regression needs of them."""

    ticks: Array
    known: Array
    per: str
    #: How many ticks one unit of x has.
    size: float
    is_calendar: bool
    offset: Fraction | int = 0
    #: Whether x is the numbers themselves, which are no times.
    is_plain: bool = False

    def origins(self, places: Array) -> Array:
        """Return from which tick x is counted when the first points are at `places`."""
        if self.is_plain:
            return np.full(np.shape(places), 0.0 - float(self.offset))
        return self.cut(places)

    def cut(self, places: Array) -> Array:
        """Return the times at some places, cut as documents cut them."""
        found = self.ticks[places]
        if not self.is_calendar:
            return found
        per_millisecond = 1000  # a document keeps no more of a time than its milliseconds
        return found // per_millisecond * per_millisecond

    def shown(self, origins: Array) -> Array:
        """Return origins as the results have them: times in UTC, or numbers."""
        if self.is_calendar:
            return origins.astype("datetime64[us]")
        return origins + float(self.offset) if self.offset else origins

    def kept(self, name: str, origin: Array) -> dict[str, Any]:
        """Return the two fields by which results keep one origin: a time or a number."""
        time = number = None
        if origin is not None and self.is_calendar:
            time = self.shown(origin).item().replace(tzinfo=timezone.utc)
        elif origin is not None:
            number = float(self.shown(origin))
        return {f"{name}_time": time, f"{name}_number": number}

    def since(self, origin: Any, ticks: Array) -> Array:
        """Return x: ticks since an origin, in the unit."""
        return (ticks - origin) / self.size


def axis_of(times: Any, count: int, per: str | None, unit: str | None, place: str) -> Axis:
    """Return times in any form as an axis.

    Args:
        times: None for steps 0, 1, 2 ...; datetime64 (UTC), aware datetimes, or numbers.
        count: how many there must be.
        per: the unit of x.
        unit: the unit of numbers: of time, or any other word, which then is the unit of x.
        place: of the call, for errors.

    Raises:
        QueryError: naive datetimes, numbers without a unit, another number of times, or `per` with
            numbers whose unit is none of time.
    """
    if times is None:
        if per not in (None, "step") or unit is not None:
            raise QueryError(f"{place}: expected times with per= and unit=, got none; pass times=")
        return Axis(np.arange(count), np.ones(count, bool), "step", 1, False)
    if unit is not None:
        _check_unit(unit, per, place)
    is_plain = unit is not None and unit not in UNITS
    if is_plain:
        per, size = str(unit), 1.0
    else:
        per = "day" if per is None else per
        if per not in UNITS:
            raise QueryError(
                f"{place}: expected per= one of {', '.join(UNITS)}, got {per!r}"
                f"{nearest(str(per), UNITS)}"
            )
        size = UNITS[per] / UNITS[unit or "microsecond"]
    # Of a series, which has both, values are x when their unit is named, and never its times.
    both = (getattr(times, name, None) for name in ("times", "values"))
    is_series = all(found is not None and not callable(found) for found in both)
    if is_series and unit is None:
        raise QueryError(
            f"{place}: expected times, got {type(times).__name__} with values and times; name the "
            "unit of its values, as unit='mph', or pass its .times"
        )
    array = array_of(times, "values" if is_series else "times")
    if array.shape != (count,):
        raise QueryError(f"{place}: expected {count} times, one for each value, got {array.shape}")
    if array.dtype.kind == "M" or (unit is None and not count) or _holds_datetimes(array):
        if unit is not None:
            raise QueryError(f"{place}: expected unit= with numbers, got it with datetimes")
        ticks = _microseconds(array, place)
        return Axis(ticks, ticks != _NOT_A_TIME, per, size, True)
    if unit is None:
        raise QueryError(
            f"{place}: expected datetimes, or numbers whose unit is named, got {kind_of(array)}; "
            "pass unit='second'"
        )
    numbers = numbers_of(array, place)
    known = ~np.isnan(numbers.values)
    return Axis(numbers.values, known, per, size, False, numbers.offset, is_plain)


def _check_unit(unit: Any, per: str | None, place: str) -> None:
    """Refuse what is no unit, and what may be a misspelt one of time."""
    if not isinstance(unit, str) or not unit.strip():
        raise QueryError(
            f"{place}: expected unit= one of {', '.join(UNITS)}, or the name of another one, got "
            f"{unit!r}"
        )
    hint = nearest(unit, UNITS)
    if unit not in UNITS and unit.lower().rstrip("s") in UNITS:
        raise QueryError(f"{place}: expected unit= one of {', '.join(UNITS)}, got {unit!r}{hint}")
    if unit not in UNITS and per is not None:
        raise QueryError(
            f"{place}: expected per= with times, got it with numbers in {unit!r}{hint}; x is in "
            "that unit, leave per= out"
        )


def _holds_datetimes(array: Array) -> bool:
    """Tell datetimes from numbers; None alone is a time that is missing."""
    return array.dtype.kind == "O" and (
        any(isinstance(value, datetime) for value in array) or all(value is None for value in array)
    )


def _cast(array: Array, place: str) -> Array:
    with suppress(OverflowError):  # since NumPy 2.5; before, it wraps around
        cast = array.astype("datetime64[us]")
        is_finer = np.datetime_data(array.dtype)[0] in ("ns", "ps", "fs", "as")
        if is_finer or (cast.astype(array.dtype) == array)[~np.isnat(array)].all():
            return cast
    raise QueryError(
        f"{place}: expected times within 64 bits of microseconds, got some of {array.dtype} that "
        "are too far away; leave them out"
    )


def _microseconds(array: Array, place: str) -> Array:
    if array.dtype.kind == "M":
        return _cast(array, place).astype(np.int64)
    ticks = np.empty(len(array), np.int64)
    for number, value in enumerate(array):
        if value is None or type(value).__name__ == "NaTType":
            ticks[number] = _NOT_A_TIME
        elif not isinstance(value, datetime) or value.utcoffset() is None:
            raise QueryError(
                f"{place}: expected aware datetimes, got {value!r} at {number}; "
                "say its zone: value.replace(tzinfo=...)"
            )
        else:
            ticks[number] = (value - EPOCH) // MICROSECOND
    return ticks


def instants_of(times: Any, place: str) -> Array:
    """Return datetimes in any form as microseconds since 1970, those that are missing masked.

    Raises:
        QueryError: naive datetimes, or something else.
    """
    array = array_of(times, "times")
    if array.ndim != 1 or not (array.dtype.kind == "M" or _holds_datetimes(array)):
        if array.shape != (0,):
            raise QueryError(
                f"{place}: expected one row of datetimes as times, got {kind_of(array.ravel())}"
            )
        array = array.astype("datetime64[us]")
    ticks = _microseconds(array, place)
    missing = ticks == _NOT_A_TIME
    return np.ma.MaskedArray(ticks, missing) if missing.any() else ticks
