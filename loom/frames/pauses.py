"""A pause of Python's garbage collector while a large load is built.

While a list of documents grows, the collector would walk it again and again. The youngest
generation goes on: it walks each document once, while it is still in the processor's cache.
The older ones wait once a load has grown large.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["paused", "pausing_collection"]

#: Below this many documents a pause gains nothing.
_LARGE = 50_000
#: More collections of the youngest generation than any load brings about.
_NEVER = 2**30


class _Switch:
    """Whether blocking loads may pause the collector; on by default."""

    def __init__(self) -> None:
        self.enabled = True


pausing_collection = _Switch()

#: Held by the load that may pause: one at a time, and others leave the collector alone.
_turn = Lock()


class _Growth:
    """Hears of collections, and pauses the older generations once much was made."""

    def __init__(self) -> None:
        self.thresholds = gc.get_threshold()
        self.made = 0
        self.has_paused = False

    def __call__(self, phase: str, details: dict[str, int]) -> None:
        if phase == "stop" and details["generation"] > 0 and not self.has_paused:
            youngest, middle, oldest = self.thresholds
            self.made += youngest * middle
            if self.made >= _LARGE:
                self.has_paused = True
                gc.set_threshold(youngest, _NEVER, oldest)

    def end(self) -> None:
        """Give back the thresholds, unless somebody set others meanwhile."""
        if self.has_paused and gc.get_threshold()[1] == _NEVER:
            gc.set_threshold(*self.thresholds)


@contextmanager
def paused(limit: int | None) -> Iterator[None]:
    """Pause the collection of older generations inside the block, once the load is large.

    Only the load that paused resumes: a count of overlapping loads might never come down
    to zero.

    Args:
        limit: how many documents are asked for at most; 0 or None for all.
    """
    is_small = limit and abs(limit) < _LARGE
    if is_small or not pausing_collection.enabled or not gc.isenabled():
        yield
        return
    if not _turn.acquire(blocking=False):
        yield
        return
    growth = _Growth()
    gc.callbacks.append(growth)
    try:
        yield
    finally:
        gc.callbacks.remove(growth)
        growth.end()
        _turn.release()
