"""What insight takes: numbers in any form, as arrays of 64-bit floats."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from ...errors import QueryError, missing_extra

try:
    import numpy as np
    from scipy import special
except ImportError as error:
    package = "SciPy" if (error.name or "").startswith("scipy") else "NumPy"
    raise missing_extra("time", package) from None

__all__ = [
    "Array",
    "Numbers",
    "Sample",
    "array_of",
    "exponent_of",
    "kind_of",
    "np",
    "numbers_of",
    "of_field",
    "special",
]

Array: TypeAlias = Any

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
        with np.errstate(over="ignore"):  # what lies around values may be beyond any float
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
        raise QueryError(f"{place}: expected numbers, got {kind_of(array)}")
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
    given = _listed(given)
    if not hasattr(given, "__array__") and not hasattr(given, "__len__"):
        given = list(given) if isinstance(given, Iterable) else given
    if isinstance(given, (list, tuple)) and not all(type(v) in (int, float) for v in given):
        # NumPy would make text of numbers that stand beside text.
        made = np.empty(len(given), object)
        made[:] = given
        return made
    return np.asarray(given)


def _listed(given: Any) -> Any:
    """Return a column of Arrow, pandas or Polars as a list, if NumPy would make floats of integers."""
    type_ = getattr(given, "type", None) or getattr(given, "dtype", None)
    if type_ is None or isinstance(given, np.ndarray):
        return given
    nulls = getattr(given, "null_count", None)
    if nulls is None:  # of pandas
        missing = getattr(given, "isna", None)
        nulls = 0 if missing is None else int(missing().sum())
    elif callable(nulls):  # of Polars
        nulls = nulls()
    if not nulls or not str(type_).lower().startswith(("int", "uint")):
        return given
    names = ("to_pylist", "tolist", "to_list")
    return next(getattr(given, name)() for name in names if hasattr(given, name))


def kind_of(array: Array) -> str:
    """Return what an array has, for errors."""
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
        found = float(value)
    except OverflowError:
        found = np.inf
    return found if np.isfinite(found) else np.nan  # as an infinity: no float holds it


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
