"""What a write that is rolled back leaves in frames: nothing.

A write notes in a frame what is stored now: its `_id`, the number of its version, that fields
need not be saved again, values that the server computed. A transaction that is not committed puts
back what was there; what the program itself assigned stays, and is saved by the next `save`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .paths import MISSING, lookup
from .tracking import Kept, Tracked, attach, copied, tracked_of

__all__ = ["remembered"]


def remembered(frame: Any, paths: Iterable[str] = ()) -> Callable[[], None]:
    """Return what puts back how a frame is now.

    Args:
        frame: it is about to be written.
        paths: what the write takes in from the server, or takes out of the frame.
    """
    document = frame._document
    version = type(frame)._version
    named = {"_id", *paths} if version is None else {"_id", version, *paths}
    values = {path: lookup(document, path) for path in named}
    before = _copy(tracked_of(frame))
    return partial(_put_back, frame, document, values, before)


def _copy(tracked: Tracked | None) -> Tracked:
    state = Tracked(None if tracked is None else tracked.loaded)
    if tracked is not None:
        state.update(tracked)
        state.counters = dict(tracked.counters)
        state.read = {name: Kept(k.value, copied(k.copy)) for name, k in tracked.read.items()}
    return state


def _put_back(
    frame: Any, document: dict[str, Any], values: dict[str, Any], before: Tracked
) -> None:
    if frame._document is not document:
        return  # it was loaded anew
    for path, value in values.items():
        _put(document, path.split("."), value)
    now = tracked_of(frame)
    if now is None:
        if before or before.read or before.counters:
            attach(frame, before)
        return
    # What was assigned, counted or read since then counts too.
    for name in before:
        now.setdefault(name, False)
    now.counters.update(before.counters)
    for name, kept in before.read.items():
        if document.get(name) is kept.value:
            now.read[name] = kept


def _put(holder: Any, names: list[str], value: Any) -> None:
    name, *rest = names
    if not isinstance(holder, dict):
        return
    if rest:
        inner = holder.get(name)
        _put(getattr(inner, "_document", inner), rest, value)
    elif value is MISSING:
        holder.pop(name, None)
    else:
        holder[name] = value
