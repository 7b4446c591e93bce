"""How far a call is: a bar of tqdm's, or a function of the caller's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from ..errors import QueryError, missing_extra

__all__ = ["Bar", "Progress", "bar_for"]

#: True for a bar, or a function that is called with how many are done and how many there are.
Progress: TypeAlias = bool | Callable[[int, int | None], object]


class Bar:
    """A progress bar that appears when the total is known and goes when the call ends."""

    def __init__(self, name: str, unit: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise missing_extra("progress", "tqdm") from None
        self._make: Callable[..., Any] = tqdm
        self._named = {"desc": name, "unit": f" {unit}"}
        self._bar: Any = None

    def start(self, total: int | None) -> None:
        """Show the bar."""
        self._bar = self._make(total=total, unit_scale=True, **self._named)

    def advance(self, count: int = 1) -> None:
        """Count some more."""
        self._bar.update(count)

    def close(self) -> None:
        """Close the bar, if it was shown."""
        if self._bar is not None:
            self._bar.close()


class Told(Bar):
    """Tells a function, whenever so many more are done, and at the end."""

    def __init__(self, function: Callable[[int, int | None], object], every: int) -> None:
        self._function = function
        self._every = every
        self._done = self._told = 0
        self._total: int | None = None

    def start(self, total: int | None) -> None:
        """Note the total."""
        self._total = total

    def advance(self, count: int = 1) -> None:
        """Count some more."""
        self._done += count
        if self._done - self._told >= self._every:
            self._tell()

    def close(self) -> None:
        """Tell of those that are left."""
        if self._done > self._told:
            self._tell()

    def _tell(self) -> None:
        self._told = self._done
        self._function(self._done, self._total)


def bar_for(progress: Progress, place: str, *, name: str, unit: str, every: int = 1) -> Bar | None:
    """Return what shows the progress, None for nothing.

    Args:
        progress: what the caller wants.
        place: for errors.
        name: before the bar.
        unit: what is counted, as a plural.
        every: how many more are done until a function is told.

    Raises:
        MissingExtra: a bar without tqdm.
        QueryError: it is neither a bool nor a plain function.
    """
    if isinstance(progress, bool):
        return Bar(name, unit) if progress else None
    if not callable(progress) or inspect.iscoroutinefunction(progress):
        raise QueryError(
            f"{place}: expected progress=True or a plain function, got {progress!r}; a function is "
            "called with two numbers and not awaited"
        )
    return Told(progress, every)
