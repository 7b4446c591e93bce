"""Columns to write, in parts.

A column of a part is an array of Arrow's, or a list: values that are Python's objects already.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, NamedTuple

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
            64 * self.rows if isinstance(column, list) else column.nbytes for column in self.columns
        )


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
