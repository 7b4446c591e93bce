"""Warnings of values that did not fit the columns they were loaded into."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping

__all__ = ["warn_of_mismatches"]


def warn_of_mismatches(place: str, counts: Mapping[str, int]) -> None:
    """Warn of them, at the line outside of Loom that asked for the columns.

    Args:
        place: for the warning.
        counts: how many, by the name of the column; no warning, where it is empty.
    """
    if not counts:
        return
    said = ", ".join(f"{count} of {name}" for name, count in counts.items())
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "loom":
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{place}: values that do not fit their column: {said}",
        RuntimeWarning,
        stacklevel=level,
    )
