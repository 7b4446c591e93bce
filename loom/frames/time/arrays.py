"""What insight takes: numbers and times in any form, as arrays of 64-bit floats."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from ...errors import QueryError, missing_extra, nearest

try:
    import numpy as np
    from scipy import special
except ImportError as error:
    package = "SciPy" if (error.name or "").startswith("scipy") else "NumPy"
    raise missing_extra("time", package) from None

__all__ = [
    "UNITS",
    "Array",
    "Axis",
    "Numbers",
    "Sample",
    "array_of",
    "axis_of",
    "exponent_of",
    "instants_of",
    "np",
    "numbers_of",
    "of_field",
    "special",
]

Array: TypeAlias = Any

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
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_NOT_A_TIME = np.iinfo(np.int64).min
#: Beyond these powers of two, squares are not safe from overflow and underflow.
_SAFE = 200


class Numbers(NamedTuple):
    """Values as floats, NaN where one is missing or infinite; `offset` was subtracted, exactly."""

    values: Array
    offset: Fraction | int

    def back(self, values: Array) -> Array:
        """Return values of the columns on the caller's own scale."""
        return values + float(self.offset) if self.offset else values


class Sample(NamedTuple):
    """The finite numbers, divided by a power of two when their squares would not fit a float."""

    values: Array
    left_out: int
    exponent: int
    offset: Fraction | int

    @classmethod
    def of(cls, values: Any, place: str) -> Sample:
        """Return what remains of values in any form."""
        numbers = numbers_of(values, place)
        kept = numbers.values[~np.isnan(numbers.values)]
        exponent = exponent_of(kept)
        scaled = np.ldexp(kept, -exponent) if exponent else kept
        return cls(scaled, len(numbers.values) - len(kept), exponent, numbers.offset)

    def length(self, value: float) -> float:
        """Return a distance on the caller's scale."""
        with np.errstate(over="ignore"):  # a deviation may be larger than any float
            return float(np.ldexp(value, self.exponent))

    def place(self, value: float) -> float:
        """Return a location on the caller's scale."""
        value = float(np.ldexp(value, self.exponent))
        return float(Fraction(value) + self.offset) if self.offset else value


def exponent_of(values: Array) -> int:
    """Return the power of two by which values are divided before they are squared; mostly 0."""
    largest = max(values.max(), -values.min()) if len(values) else 0.0
    exponent = int(np.frexp(largest)[1])
    return exponent if largest and abs(exponent) > _SAFE else 0


def of_field(values: Any, field: str | None, place: str) -> Any:
    """Return what is measured: one field of a window, or values as they are.

    Raises:
        QueryError: `field` with values that have no fields, or fields and none is named.
    """
    if field is None:
        _check_row(values, place)
        return values
    if not hasattr(values, "fields"):
        raise QueryError(
            f"{place}: expected a window with field={field!r}, got {type(values).__name__}"
        )
    return values[field]


def numbers_of(values: Any, place: str) -> Numbers:
    """Return values in any form as floats.

    Args:
        values: an array, a list, a series or column, or whatever has `.values`. None, NaN and
            infinities become NaN.
        place: of the call, for errors.

    Raises:
        QueryError: not one row of numbers.
    """
    _check_row(values, place)
    array = array_of(values, "values")
    if isinstance(array, np.ma.MaskedArray):
        return _from_masked(array, place)
    if array.ndim != 1:
        raise QueryError(f"{place}: expected one row of values, got {array.ndim} dimensions")
    if array.dtype.kind in "iu":
        return _from_integers(array)
    if array.dtype.kind == "O":
        return _from_objects(array, place)
    if array.dtype.kind not in "fb":
        raise QueryError(f"{place}: expected numbers, got {_named(array)}")
    floats = array.astype(np.float64, copy=False)
    finite = np.isfinite(floats)
    return Numbers(floats if finite.all() else np.where(finite, floats, np.nan), 0)


def _check_row(values: Any, place: str) -> None:
    """Refuse a window, which has a row of values for each field."""
    if callable(getattr(values, "values", None)) and hasattr(values, "fields"):
        raise QueryError(
            f"{place}: expected values, got {values!r}; name one of its fields: window['price']"
        )


def array_of(given: Any, attribute: str = "values") -> Array:
    """Return what is given in any form as an array; `attribute` is asked for where it is there."""
    inner = getattr(given, attribute, None)
    if inner is not None and not callable(inner):
        given = inner
    if isinstance(given, np.ma.MaskedArray):
        if given.dtype.kind in "biuf" and given.ndim == 1:
            return given
        if given.dtype.kind == "M":
            return given.filled(np.datetime64("NaT", "us"))
        given = np.where(np.ma.getmaskarray(given), np.array(None), given.data.astype(object))
    if getattr(getattr(given, "dtype", None), "tz", None) is not None:
        return given.to_numpy("datetime64[us]")  # pandas: the instants, in UTC
    if not hasattr(given, "__array__") and not hasattr(given, "__len__"):
        given = list(given) if isinstance(given, Iterable) else given
    if isinstance(given, (list, tuple)) and not all(type(v) in (int, float) for v in given):
        # NumPy would make text of numbers that stand beside text.
        made = np.empty(len(given), object)
        made[:] = given
        return made
    return np.asarray(given)


def _named(array: Array) -> str:
    return f"{type(array[0]).__name__}s" if len(array) else f"an array of {array.dtype}"


def _from_masked(array: Array, place: str) -> Numbers:
    """Return numbers, NaN where one is masked."""
    known = ~np.ma.getmaskarray(array)
    kept = numbers_of(np.ma.getdata(array)[known], place)
    values = np.full(len(array), np.nan)
    values[known] = kept.values
    return Numbers(values, kept.offset)


def _from_integers(array: Array) -> Numbers:
    """Floats hold integers below 2**53; what lies above is counted from the smallest."""
    if len(array):
        low, high = int(array.min()), int(array.max())
        if max(high, -low) > 2**53 and high - low <= 2**53:
            return Numbers((array - array.dtype.type(low)).astype(np.float64), low)
    return Numbers(array.astype(np.float64), 0)


def _from_objects(array: Array, place: str) -> Numbers:
    exact = [_exact(value, number, place) for number, value in enumerate(array)]
    given = [value for value in exact if value is not None]
    offset: Fraction | int = 0
    if any(not isinstance(value, float) for value in given):
        middle = Fraction(sorted(given)[len(given) // 2])
        # Near the middle the differences are closer to what is meant than the values are.
        largest = max(abs(Fraction(value) - middle) for value in given)
        if largest <= min(abs(Fraction(value)) for value in given):
            offset = middle
    floats = [
        np.nan if value is None else _rounded(Fraction(value) - offset if offset else value)
        for value in exact
    ]
    return Numbers(np.array(floats, np.float64), offset)


def _rounded(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("nan")  # as an infinity: no float holds it


def _exact(value: Any, number: int, place: str) -> float | int | Decimal | Fraction | None:
    """Return a number as one that compares exactly, None for one that is left out."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "to_decimal"):
        value = value.to_decimal()
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, (int, Fraction)):
        return value
    raise QueryError(
        f"{place}: expected numbers, got {value!r} of type {type(value).__name__} at {number}"
    )


# Times


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
            f"{place}: expected datetimes, or numbers whose unit is named, got {_named(array)}; "
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
            ticks[number] = (value - _EPOCH) // _MICROSECOND
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
                f"{place}: expected one row of datetimes as times, got {_named(array.ravel())}"
            )
        array = array.astype("datetime64[us]")
    ticks = _microseconds(array, place)
    missing = ticks == _NOT_A_TIME
    return np.ma.MaskedArray(ticks, missing) if missing.any() else ticks
