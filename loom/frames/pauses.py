"""A pause of Python's garbage collector while a load is built.

While a list of documents grows, the collector would walk it again and again, and a pause that
merely postpones costs the same walk later. So what was made during a pause is handed to the
oldest generation unwalked; the next full collection sees it like everything else.
"""

from __future__ import annotations

import gc

__all__ = ["paused", "pausing_collection"]

#: Loads that cannot be larger are not worth a pause.
_SMALL = 1_000
#: With fewer new objects the next collection is left to its course.
_MANY_OBJECTS = 4_000
#: So often may loads be handed on before a full collection has to come by itself: handing on
#: sets the collector's counters to zero, and a program of nothing but loads would never have one.
_IN_A_ROW = 10


class _Switch:
    """Whether blocking loads may pause the collector; on by default."""

    def __init__(self) -> None:
        self.enabled = True


pausing_collection = _Switch()

_full_collections = -1
_left = _IN_A_ROW


class paused:
    """Pause the collector inside the block, if that is worth while and nobody paused it yet.

    How large a load is, is known only when its reply has been decoded, so that every load
    without a small limit is paused from its start. Only the load that paused resumes: a
    count of overlapping loads might never come down to zero.

    Args:
        limit: how many documents are asked for at most; 0 or None for all.
    """

    __slots__ = ("_limit", "_pauses")

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._pauses = False

    def __enter__(self) -> None:
        global _full_collections, _left
        if self._limit and abs(self._limit) < _SMALL:
            return
        if not pausing_collection.enabled or not gc.isenabled():
            return
        full = gc.get_stats()[-1]["collections"]
        if full != _full_collections:
            _full_collections, _left = full, _IN_A_ROW
        self._pauses = True
        gc.disable()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._pauses:
            return
        try:
            if kind is None:
                _hand_on()
        finally:
            gc.enable()


def _hand_on() -> None:
    """Put all young objects into the oldest generation, without a look at them."""
    global _left
    if not _left or gc.get_count()[0] <= _MANY_OBJECTS:
        return
    if gc.get_freeze_count():
        _left = 0  # the program froze objects for good, which unfreezing would undo
        return
    _left -= 1
    gc.freeze()
    gc.unfreeze()
