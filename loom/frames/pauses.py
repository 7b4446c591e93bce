"""A pause of Python's garbage collector while a large load is built.

While a list of documents grows, the collector would walk it again and again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused", "pausing_collection"]

#: Below this many documents a pause gains nothing.
_LARGE = 50_000


class _Switch:
    """Whether blocking loads may pause the collector; on by default."""

    def __init__(self) -> None:
        self.enabled = True


pausing_collection = _Switch()


@contextmanager
def paused(limit: int | None) -> Iterator[None]:
    """Pause the collector inside the block, if the load may be large and nobody paused it yet.

    How large it is is known only when its reply has been decoded, so that every load
    without a small limit is paused from its start. Only the load that paused resumes: a
    count of overlapping loads might never come down to zero.

    Args:
        limit: how many documents are asked for at most; 0 or None for all.
    """
    is_small = limit and abs(limit) < _LARGE
    if is_small or not pausing_collection.enabled or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
