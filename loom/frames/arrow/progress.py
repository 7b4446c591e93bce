"""How many rows are there already: for a bar of tqdm's, or a function of the caller's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import QueryError, missing_extra

if TYPE_CHECKING:
    from ..progress import Progress

__all__ = ["tally_for"]


class Tally:
    """Tells how many rows there are, after each batch."""

    def __init__(self, tell: Callable[[int, int | None], object]) -> None:
        self._tell = tell
        self._done = 0
        self.total: int | None = None

    def add(self, rows: int) -> None:
        """Count the rows of a batch."""
        self._done += rows
        self._tell(self._done, self.total)

    def close(self) -> None:
        """Tell nothing more."""


class Bar(Tally):
    """Shows a bar."""

    def __init__(self, name: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise missing_extra("progress", "tqdm") from None
        super().__init__(self._show)
        self._make: Callable[..., Any] = tqdm
        self._name = name
        self._bar: Any = None

    def _show(self, done: int, total: int | None) -> None:
        if self._bar is None:
            self._bar = self._make(total=total, desc=self._name, unit=" rows", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Close the bar, if it was shown."""
        if self._bar is not None:
            self._bar.close()


def tally_for(progress: Progress, place: str) -> Tally | None:
    """Return what tells the progress, None for nothing.

    Raises:
        MissingExtra: a bar without tqdm.
        QueryError: it is neither a bool nor a plain function.
    """
    if isinstance(progress, bool):
        return Bar(place) if progress else None
    if not callable(progress) or inspect.iscoroutinefunction(progress):
        raise QueryError(
            f"{place}: expected progress=True or a plain function, got {progress!r}; a function is "
            "called with two numbers and not awaited"
        )
    return Tally(progress)
