"""Time stamps that annotations declare: what `TimeInserted` and `TimeUpdated` do.

Ordinary listeners do it, called after all others. A stamp is an aware UTC datetime in
milliseconds, one for all frames of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from .marked import marked
from .paths import is_ancestor
from .tracking import tracked_of

__all__ = ["known_later", "now", "stamp_inserted", "stamp_updated", "stamped_anew", "stamping"]


def stamping(cls: Any) -> Iterable[tuple[str, Any]]:
    """Return the listeners that the annotations of a class ask for, each after its event."""
    found = marked(cls)
    if found.inserted or found.updated:
        yield "insert", stamp_inserted
    if found.updated:
        yield "update", stamp_updated


def now() -> datetime:
    """Return the time in UTC, cut to the milliseconds that are stored."""
    time = datetime.now(timezone.utc)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def stamp_inserted(sender: type, frames: list[Any]) -> None:
    """Set the `TimeInserted` and `TimeUpdated` fields of new frames; a listener for `insert`.

    A time that a frame has already is kept: what is brought from elsewhere was made there.

    Args:
        sender: the class.
        frames: changed in place.
    """
    time = now()
    for frame in frames:
        found = marked(type(frame))
        document = frame._document
        for name in (*found.inserted, *found.updated):
            if document.get(name) is None:
                document[name] = time


def stamped_anew(frame: Any) -> tuple[str, ...]:
    """Return the fields that are stamped when a frame of which copies are added is added again.

    A time that was assigned since it was stored is kept: what is brought from elsewhere was made
    there.
    """
    if frame._document.get("_id") is None:
        return ("recorded",)
    assigned = tracked_of(frame) or ()
    times = (name for name in marked(type(frame)).inserted if name not in assigned)
    return tuple({"recorded": None, **dict.fromkeys(times)})


def known_later(frame: Any, was: Mapping[str, Any]) -> dict[str, datetime]:
    """Return since when a correction is known, where a stamp would not tell it from what it corrects.

    Two saves may come in one millisecond, or the clock may have been put back.

    Args:
        frame: that is added again.
        was: its stamps of before.
    """
    name: str = getattr(type(frame), "_known_at_field", None) or ""
    before = was.get(name)
    if not isinstance(before, datetime):
        return {}
    if before.tzinfo is None:  # as a client gives it that is not to make datetimes aware
        before = before.replace(tzinfo=timezone.utc)
    return {} if before < now() else {name: before + timedelta(milliseconds=1)}


def stamp_updated(sender: type, frames: list[Any], changes: Sequence[Any] = ()) -> None:
    """Set the `TimeUpdated` fields of what is updated; a listener for `update`.

    Args:
        sender: the class.
        frames: changed in place, unless there are changes.
        changes: update documents that are about to be sent; the stamp is added to each that
            does not itself write the field.
    """
    time = now()
    for change in changes:
        names = [name for name in marked(sender).updated if not _writes(change, name)]
        if not names:
            continue
        stamps = dict.fromkeys(names, time)
        if isinstance(change, list):
            change.append({"$set": stamps})
        else:
            change["$set"] = {**change.get("$set", {}), **stamps}
    if not changes:
        for frame in frames:
            for name in marked(type(frame)).updated:
                frame._document[name] = time


def _writes(change: Any, name: str) -> bool:
    parts = change if isinstance(change, list) else [change]
    contents = [content for part in parts for content in part.values()]
    paths: set[str] = set()
    for content in contents:
        paths.update(map(str, content if not isinstance(content, str) else [content]))
    return any(path == name or is_ancestor(name, path) for path in paths)
