"""Columns to write, in parts.

A column of a part is an array of Arrow's, or a list: values that are Python's objects already.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = ["Input", "Part"]


class Part(NamedTuple):
    """Some rows: an array or a list for each column."""

    columns: list[Any]
    rows: int

    def slice(self, start: int, rows: int) -> Part:
        """Return some of the rows."""
        taken = [
            column[start : start + rows] if isinstance(column, list) else column.slice(start, rows)
            for column in self.columns
        ]
        return Part(taken, min(rows, self.rows - start))

    def size(self) -> int:
        """Return how many bytes the rows take, about; of Python's objects it is a guess."""
        return sum(
            64 * self.rows if isinstance(column, list) else _size(column) for column in self.columns
        )


def _size(array: Any) -> int:
    """Return how many bytes the values of some rows take, about; in documents each has its own."""
    types = pa.types
    if types.is_dictionary(array.type):
        return _mean(array.dictionary) * len(array)
    if types.is_run_end_encoded(array.type):
        return _mean(array.values) * len(array)
    # Of a slice of these, Arrow takes the memory of all rows for its own.
    if array.type == pa.string_view():
        return int(array.cast(pa.large_string()).nbytes)
    if array.type == pa.binary_view():
        return int(array.cast(pa.large_binary()).nbytes)
    return int(array.nbytes)


def _mean(values: Any) -> int:
    return int(values.nbytes) // max(1, len(values))


class Input(NamedTuple):
    """Columns to write.

    Attributes:
        names: of the columns.
        types: of Arrow, None for columns of Python's objects.
        rows: how many there are, None when only the end of a stream tells.
        is_kept: whether it can be gone through twice.
        parts: returns what goes through it.
    """

    names: list[str]
    types: list[Any]
    rows: int | None
    is_kept: bool
    parts: Callable[[], Iterator[Part] | AsyncGenerator[Part, None]]
