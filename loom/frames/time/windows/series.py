"""Series: the values of one field of a window, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...values import Frozen
from .equality import same
from .moment_columns import Array, np

__all__ = ["Series"]


class Series(Frozen):
    """The values of one field of a window, in the order of time; a view of the window's arrays.

    NumPy, pandas and insight take it: `Spread.of(window["price"])`.

    Attributes:
        name: of the field.
        values: an array that cannot be written, a masked one where values are null.
        times: of the values, as `datetime64[ms]` in UTC.
    """

    __slots__ = ("name", "times", "values")
    name: str
    values: Array
    times: Array

    def __init__(self, name: str, values: Array, times: Array) -> None:
        for attribute, given in (("name", name), ("values", values), ("times", times)):
            object.__setattr__(self, attribute, given)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, rows: Any) -> Any:
        """Return one value, or the series of a slice."""
        if isinstance(rows, slice):
            return Series(self.name, self.values[rows], self.times[rows])
        return self.values[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = self.values
        if isinstance(values, np.ma.MaskedArray):
            if values.dtype.kind != "f":  # numbers and instants without a "none" of their own
                raise TypeError(
                    f"{self.name}: expected values without nulls, got some; take .values, a masked "
                    "array"
                )
            values = values.data
        if dtype is None or dtype == values.dtype:
            return values.copy() if copy else values
        if copy is False:
            raise ValueError(f"{self.name}: expected copy=None, because {dtype} needs a copy")
        return values.astype(dtype)

    def __eq__(self, other: object) -> bool:
        """Tell whether name, times and all values are the same; NaN equals NaN."""
        if not isinstance(other, Series):
            return NotImplemented
        return (
            self.name == other.name
            and len(self) == len(other)
            and same(self.times, other.times)
            and same(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by many values

    def __reduce__(self) -> tuple[Any, ...]:
        return Series, (self.name, self.values, self.times)

    def __repr__(self) -> str:
        return f"Series({self.name!r}, {len(self)} values of {self.values.dtype})"
