"""How far a stream is: a bar of tqdm's, or a function of the caller's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from ..errors import QueryError, missing_extra

__all__ = ["Bar", "Progress", "bar_for"]

#: True for a bar, or a function that is called with how many are done and how many there are.
Progress: TypeAlias = bool | Callable[[int, int | None], object]


class Bar:
    """A progress bar that appears when the total is known and goes when the stream ends."""

    def __init__(self, name: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise missing_extra("progress", "tqdm") from None
        self._make: Callable[..., Any] = tqdm
        self._name = name
        self._bar: Any = None

    def start(self, total: int | None) -> None:
        """Show the bar."""
        self._bar = self._make(total=total, desc=self._name, unit=" frames", unit_scale=True)

    def advance(self) -> None:
        """Count one more."""
        self._bar.update()

    def close(self) -> None:
        """Close the bar, if it was shown."""
        if self._bar is not None:
            self._bar.close()


class Told(Bar):
    """Tells a function, once for each batch and at the end."""

    def __init__(self, function: Callable[[int, int | None], object], every: int) -> None:
        self._function = function
        self._every = every
        self._done = self._told = 0
        self._total: int | None = None

    def start(self, total: int | None) -> None:
        """Note the total."""
        self._total = total

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        if self._done - self._told >= self._every:
            self._tell()

    def close(self) -> None:
        """Tell of those that are left."""
        if self._done > self._told:
            self._tell()

    def _tell(self) -> None:
        self._told = self._done
        self._function(self._done, self._total)


def bar_for(progress: Progress, every: int, name: str) -> Bar | None:
    """Return what shows the progress, None for nothing.

    Raises:
        MissingExtra: a bar without tqdm.
        QueryError: it is neither a bool nor a plain function.
    """
    if isinstance(progress, bool):
        return Bar(name) if progress else None
    if not callable(progress) or inspect.iscoroutinefunction(progress):
        raise QueryError(
            f"{name}.each: expected progress=True or a plain function, got {progress!r}; a function is "
            "called with two numbers and not awaited"
        )
    return Told(progress, every)
