"""Cells: the values of Arrow's arrays as MongoDB stores them, a column at a time.

A `Cell` knows one type. `check` looks through an array, without making Python's objects where it
can; `values` makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from bson import Binary, Decimal128

pc: Any = pyarrow.compute  # made when it is imported

__all__ = [
    "Booleans",
    "Cell",
    "Changed",
    "Decimals",
    "Floats",
    "Integers",
    "Mapped",
    "Nothing",
    "Objects",
    "Repeated",
    "Texts",
    "Unfit",
    "Unstorable",
    "as_decimal128",
    "filled",
    "first",
    "numbers",
    "uuid_binary",
]

Array = Any
_INT64 = 2**63


class Unfit(Exception):
    """A value that cannot be stored, on its way to where its row is known.

    Attributes:
        at: its position in the array.
        expected: what can be stored.
        got: the value.
        advice: what to do instead.
    """

    def __init__(self, at: int, expected: str, got: Any, advice: str) -> None:
        super().__init__(at, expected, got, advice)
        self.at = at
        self.expected = expected
        self.got = got
        self.advice = advice

    def moved(self, at: int) -> Unfit:
        """Return the same at another position."""
        return Unfit(at, self.expected, self.got, self.advice)


class Unstorable(Unfit):
    """A value that BSON cannot hold.

    Attributes:
        reason: what the encoder has raised.
    """

    def __init__(self, at: int, got: Any, reason: Exception) -> None:
        super().__init__(at, "a value that BSON can hold", got, "convert it")
        self.reason = reason


class Cell:
    """The values of one type of Arrow's."""

    def check(self, array: Array) -> None:
        """Look for values that cannot be stored.

        Raises:
            Unfit: there is one.
        """

    def values(self, array: Array) -> list[Any]:
        """Return the values of an array that was checked; None for null."""
        raise NotImplementedError


def filled(made: list[Any], array: Array) -> list[Any]:
    """Return values with None where an array is null."""
    if array.null_count:
        for position in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            made[position] = None
    return made


def first(mask: Any) -> int | None:
    """Return the first position where a mask of NumPy's is true, None if there is none."""
    return int(np.argmax(mask)) if mask.any() else None


def numbers(array: Array) -> Any:
    """Return numbers as an array of NumPy's, zero for null."""
    if array.null_count and pa.types.is_float16(array.type):
        array = array.cast(pa.float32())  # those can be filled
    if array.null_count:
        zero = False if pa.types.is_boolean(array.type) else 0
        array = pc.fill_null(array, pa.scalar(zero, array.type))
    return array.to_numpy(zero_copy_only=False)


class Nothing(Cell):
    """Nulls."""

    def values(self, array: Array) -> list[Any]:
        """Return as many Nones."""
        return [None] * len(array)


class Booleans(Cell):
    """Booleans."""

    def values(self, array: Array) -> list[Any]:
        """Return them."""
        return filled(numbers(array).tolist(), array)


class Integers(Cell):
    """Integers of all sizes."""

    def check(self, array: Array) -> None:
        """Look for one beyond 64 bits with a sign."""
        if array.type == pa.uint64():
            found = numbers(array)
            at = first(found >= _INT64)
            if at is not None:
                advice = "make the column decimals, floats or text"
                raise Unfit(at, "an integer below 2**63", int(found[at]), advice)

    def values(self, array: Array) -> list[Any]:
        """Return them."""
        return filled(numbers(array).tolist(), array)


class Floats(Cell):
    """Floats of all sizes; NaN is a value."""

    def values(self, array: Array) -> list[Any]:
        """Return them as Python's, which are doubles."""
        return filled(numbers(array).astype(np.float64, copy=False).tolist(), array)


class Objects(Cell):
    """Bytes, which NumPy holds as Python's objects."""

    def values(self, array: Array) -> list[Any]:
        """Return them."""
        found: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return found


class Texts(Objects):
    """Text."""

    def check(self, array: Array) -> None:
        """Look for what is no UTF-8, which Arrow lets through."""
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            for at, raw in enumerate(array.cast(pa.large_binary()).to_pylist()):
                try:
                    (raw or b"").decode()
                except UnicodeDecodeError:
                    raise Unfit(at, "text in UTF-8", raw, "make the column binary") from None
            raise


class Decimals(Cell):
    """Decimals."""

    def check(self, array: Array) -> None:
        """Look for one with too many digits."""
        if array.type.precision > 34:
            for at, number in enumerate(array.to_pylist()):
                if number is not None:
                    as_decimal128(at, number)

    def values(self, array: Array) -> list[Any]:
        """Return them as Decimal128."""
        return [None if number is None else Decimal128(number) for number in array.to_pylist()]


def as_decimal128(at: int, number: Decimal | int) -> Decimal128:
    """Return a number as MongoDB stores it.

    Raises:
        Unfit: it has too many digits.
    """
    try:
        return Decimal128(Decimal(number))
    except (Inexact, InvalidOperation, Overflow):
        raise Unfit(at, "a decimal of at most 34 digits", number, "round it first") from None


class Changed(Cell):
    """Arrays that are given another form first."""

    def __init__(self, change: Callable[[Array], Array], inner: Cell) -> None:
        self.change = change
        self.inner = inner

    def check(self, array: Array) -> None:
        """Look through that form."""
        self.inner.check(self.change(array))

    def values(self, array: Array) -> list[Any]:
        """Return the values of that form."""
        return self.inner.values(self.change(array))


class Mapped(Cell):
    """Values that a function makes, one by one, of those of another cell."""

    def __init__(self, make: Callable[[Any], Any], inner: Cell | None = None) -> None:
        self.make = make
        self.inner = inner or Objects()

    def check(self, array: Array) -> None:
        """Look through what they are made of."""
        self.inner.check(_stored(array))

    def values(self, array: Array) -> list[Any]:
        """Return them."""
        make = self.make
        inner = self.inner.values(_stored(array))
        if array.null_count:
            return [None if value is None else make(value) for value in inner]
        return [*map(make, inner)]


def _stored(array: Array) -> Array:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


class Repeated(Cell):
    """Values that rows have in common: each is looked at once, and those that no row has never.

    To give every row its own would take any amount of memory, and more than arrays of text hold.

    Args:
        inner: of the values.
        split: returns the values of an array, and which of them each row has, null for none.
    """

    def __init__(self, inner: Cell, split: Callable[[Array], tuple[Array, Array]]) -> None:
        self.inner = inner
        self.split = split

    def _used(self, array: Array) -> tuple[Array, Array, Any]:
        """Return the values that rows have, which rows have one, and which."""
        kinds, numbered = self.split(array)
        codes = numbers(numbered.drop_null() if numbered.null_count else numbered)
        if len(kinds) <= len(codes):
            is_used = np.zeros(len(kinds), bool)
            is_used[codes] = True
            used, which = np.flatnonzero(is_used), (np.cumsum(is_used) - 1)[codes]
        else:  # of many kinds, most are of other rows
            used, which = np.unique(codes, return_inverse=True)
        rows = np.flatnonzero(numbered.is_valid().to_numpy(zero_copy_only=False))
        return kinds.take(pa.array(used, pa.int64())), rows, which

    def check(self, array: Array) -> None:
        """Look through the values that are in use."""
        kinds, rows, which = self._used(array)
        try:
            self.inner.check(kinds)
        except Unfit as unfit:
            raise unfit.moved(int(rows[np.argmax(which == unfit.at)])) from None

    def values(self, array: Array) -> list[Any]:
        """Return the value of each row, one that can be edited for each anew."""
        kinds, rows, which = self._used(array)
        made = self.inner.values(kinds)
        found: list[Any] = [made[number] for number in which.tolist()]
        if len(found) < len(array):
            there, found = found, [None] * len(array)
            for row, value in zip(rows.tolist(), there, strict=True):
                found[row] = value
        if any(isinstance(kind, (list, dict)) for kind in made):
            return [deepcopy(one) for one in found]
        return found


def uuid_binary(raw: bytes) -> Binary:
    """Return a UUID in the form that readers expect, whatever the codec of the client."""
    made: Binary = Binary(raw, 4)
    return made
