"""What a write makes of stored documents: some of their fields before it, and after it.

A listener that must know both reads the documents before the write. What is stored after it
follows from the update document, as far as that assigns and removes; else it is read.

Writes nest: a listener may write the same class, even the same document. So the documents read
for an event wait, with those of the writes around it, until the event after the write takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from weakref import ref

from bson.codec_options import CodecOptions

from .chunks import found_by_id
from .ids import id_keys
from .paths import is_ancestor, split, without_descendants
from .port import Port
from .predicates import as_compared
from .primaries import on_primary
from .tracking import copied

__all__ = [
    "UNKNOWN",
    "Transition",
    "are_touched",
    "changed_part",
    "on_primary",
    "read_before",
    "taken",
    "touched_by",
]

#: The fields of a stored document that matter, by their paths; None for one that is not there.
Part = dict[str, Any] | None

#: How many writes are remembered at most: those around each other, and those that failed.
_DEPTH = 100
#: How many are remembered whatever their size, and how many documents of all the others.
_NEAR, _DOCUMENTS = 8, 20_000


class Transition:
    """The documents of one write, as they were stored before it.

    Attributes:
        event: the event before the write.
        place: database and collection.
        before: the documents by the keys of their ids.
        is_read: whether they were read; else the write cannot change what matters.
        after: the same after the write, once it is known.
    """

    __slots__ = ("after", "before", "event", "heard", "is_read", "place", "told", "waiting")

    def __init__(
        self, event: str, place: str, heard: list[Any], before: dict[Any, Part], is_read: bool
    ) -> None:
        self.event = event
        self.place = place
        self.before = before
        self.is_read = is_read
        self.after: dict[Any, Part] | None = None
        #: the frames of the events before and after it, which are the same for all that listen
        self.heard = _refs(heard)
        self.told: list[ref[Any]] | None = None
        self.waiting: set[Any] = set()


_pending: ContextVar[tuple[Transition, ...]] = ContextVar("loom.transitions", default=())


def _place(port: Port, cls: Any) -> str:
    return str(port.collection(cls).full_name)


def _codecs(port: Port, cls: Any) -> CodecOptions[Any]:
    found: CodecOptions[Any] = port.collection(cls).codec_options
    return found


def _keys(port: Port, cls: Any, frames: Iterable[Any]) -> list[Any]:
    return id_keys([frame._document["_id"] for frame in frames], _codecs(port, cls))


def _refs(frames: Iterable[Any]) -> list[ref[Any]]:
    """Return references that do not keep the frames of a failed write alive."""
    return [*map(ref, frames)]


def _are_same(refs: Sequence[ref[Any]], frames: Sequence[Any]) -> bool:
    return len(refs) == len(frames) and all(
        one() is frame for one, frame in zip(refs, frames, strict=True)
    )


def _kept(pending: Sequence[Transition]) -> Sequence[Transition]:
    """Return the writes that are remembered beside a new one: a failed one is never taken."""
    start, documents = len(pending) - _NEAR, 0
    while start > max(0, len(pending) - _DEPTH):
        documents += len(pending[start - 1].before)
        if documents > _DOCUMENTS:
            break
        start -= 1
    return pending[max(0, start) :]


async def _stored(
    port: Port, cls: Any, ids: dict[Any, Any], paths: Iterable[str], session: Any
) -> dict[Any, Part]:
    """Return what is stored of the ids now, by key."""
    names = without_descendants([path for path in paths if split(path)[0] != "_id"])
    projection = dict.fromkeys(names, True) or {"_id": True}
    options = {} if session is None else {"session": session}
    with on_primary(port, cls):
        documents = await found_by_id(port, cls, [*ids.values()], projection, options)
    codecs = _codecs(port, cls)
    parts: dict[Any, Part] = dict.fromkeys(ids)
    keys = id_keys([document["_id"] for document in documents], codecs)
    parts.update(zip(keys, [as_compared(d, codecs) for d in documents], strict=True))
    return parts


async def read_before(
    port: Port,
    who: Any,
    cls: Any,
    event: str,
    frames: list[Any],
    paths: Iterable[str] | None,
    session: Any,
) -> None:
    """Read the documents that are about to be written, once for all that ask in one event.

    Every event is noted, so that the one after the write finds the one before it.

    Args:
        port: the runtime.
        who: asks, and will ask for what has become of them.
        cls: whose documents they are.
        event: `update` or `delete`.
        frames: the list that the event carries.
        paths: of the fields that anyone who asks in this event needs; None to read nothing,
            because the write cannot change them.
        session: of the event.
    """
    for transition in reversed(_pending.get()):
        # Who waits already has heard an earlier event of these frames, whose write has failed.
        is_here = transition.event == event and who not in transition.waiting
        if is_here and _are_same(transition.heard, frames):
            transition.waiting.add(who)
            return
    keys = _keys(port, cls, frames)
    ids = dict(zip(keys, [frame._document["_id"] for frame in frames], strict=True))
    if paths is None:
        before = dict.fromkeys(ids)
    else:
        before = await _stored(port, cls, ids, paths, session)
    transition = Transition(event, _place(port, cls), frames, before, paths is not None)
    transition.waiting.add(who)
    _pending.set((*_kept(_pending.get()), transition))


async def taken(
    port: Port,
    who: Any,
    cls: Any,
    event: str,
    frames: list[Any],
    changes: Sequence[Any],
    paths: Sequence[str],
    session: Any,
) -> Transition | None:
    """Return the documents of a write, before it and after it; None when nobody was told before.

    Args:
        port: the runtime.
        who: asked for them in the event before the write.
        cls: whose documents they are.
        event: that event.
        frames: the list that the event after the write carries.
        changes: an update document for each frame, or one for all; none when they were deleted.
        paths: of the fields that matter.
        session: of the event.
    """
    pending = _pending.get()
    if not pending:
        return None
    keys = _keys(port, cls, frames)
    place = _place(port, cls)
    for position in reversed(range(len(pending))):
        found = pending[position]
        if (
            who in found.waiting
            and (found.event, found.place) == (event, place)
            and (found.told is None or _are_same(found.told, frames))
            and found.before.keys() >= {*keys}
        ):
            break
    else:
        return None
    found.told = _refs(frames)
    found.waiting.discard(who)
    # What was begun after it has failed, or it would have been taken before.
    others = [t for t in pending[position + 1 :] if t.told is not None]
    others = [*pending[:position], *([found] if found.waiting else []), *others]
    _pending.set(tuple(others))
    if found.after is None and found.is_read:
        ids = dict(zip(keys, [frame._document["_id"] for frame in frames], strict=True))
        if event == "delete":
            found.after = dict.fromkeys(keys)
        else:
            found.after = await _after(
                port, cls, found, keys, ids, changes, without_descendants(paths), session
            )
        found.before = {key: found.before[key] for key in ids}
        for around in pending[:position]:
            if around.told is None and around.place == place:
                _replace(around.before, found)
    return found


def _replace(before: dict[Any, Part], inner: Transition) -> None:
    """Bring what a write found to what a write inside it has made of the same documents.

    Where the inner one found something else, the outer write had been done already.
    """
    for key, part in (inner.after or {}).items():
        if key in before and before[key] == inner.before[key]:
            before[key] = part


# What an update document makes of a document

#: Stands for what an update document alone does not tell.
UNKNOWN: Any = object()


async def _after(
    port: Port,
    cls: Any,
    transition: Transition,
    keys: list[Any],
    ids: dict[Any, Any],
    changes: Sequence[Any],
    paths: Sequence[str],
    session: Any,
) -> dict[Any, Part]:
    codecs = _codecs(port, cls)
    after = {key: transition.before[key] for key in ids}
    if len(changes) == 1 < len(keys):
        changes = [*changes] * len(keys)
    if len(changes) != len(keys):
        after = dict.fromkeys(keys, UNKNOWN)
        changes = [{}] * len(keys)
    touched = touched_by(changes, paths)
    for key, change in zip(keys, changes, strict=True):
        after[key] = changed_part(after[key], change, touched, codecs)
    unknown = {key: id for key, id in ids.items() if after[key] is UNKNOWN}
    if unknown:
        after.update(await _stored(port, cls, unknown, paths, session))
    return after


def are_touched(paths: Iterable[str], changed: Iterable[str]) -> bool:
    """Tell whether a change of some paths can change what is read at others."""
    return any(
        path == other or is_ancestor(path, other) or is_ancestor(other, path)
        for other in map(_without_places, changed)
        for path in paths
    )


def _without_places(path: str) -> str:
    """Return a path that reads a list as a whole where `path` names a place in it."""
    if "." not in path:
        return path
    return ".".join(name for name in path.split(".") if not _is_place(name))


def touched_by(changes: Iterable[Any], paths: Iterable[str]) -> frozenset[str]:
    """Return the paths in update documents that can change what is read at others."""
    named: set[str] = set()
    for change in changes:
        if isinstance(change, Mapping):
            for operator, values in change.items():
                named.update(values)
                if operator == "$rename":
                    named.update(values.values())
    paths = [*paths]
    return frozenset(path for path in named if are_touched(paths, [path]))


def changed_part(
    part: Part, change: Any, touched: frozenset[str], codecs: CodecOptions[Any]
) -> Part:
    """Return what an update document makes of a part, or `UNKNOWN`.

    Args:
        part: of a stored document; not changed.
        change: an update document, or the stages of a pipeline.
        touched: of its paths, those that can change the part.
        codecs: to encode what is assigned.
    """
    unknown: Part = UNKNOWN
    if part is None or part is UNKNOWN or not isinstance(change, Mapping):
        return unknown
    assigned: dict[str, Any] = {}
    removed: list[str] = []
    for operator, values in change.items():
        if touched.isdisjoint(values):
            if operator == "$rename" and not touched.isdisjoint(values.values()):
                return unknown
        elif operator == "$set":
            assigned = {path: value for path, value in values.items() if path in touched}
        elif operator == "$unset":
            removed = [path for path in values if path in touched]
        else:
            return unknown
    if not assigned and not removed:
        return part
    made: dict[str, Any] = copied(part)
    stored = as_compared({str(n): v for n, v in enumerate(assigned.values())}, codecs)
    for path, value in zip(assigned, stored.values(), strict=True):
        if not _assign(made, split(path), value):
            return unknown
    for path in removed:
        if not _remove(made, split(path)):
            return unknown
    return made


def _is_place(name: str) -> bool:
    """Tell what means a place in a list, which may have been read without some members."""
    return name.isdigit() or name[:1] == "$"


def _assign(holder: dict[str, Any], names: list[str], value: Any) -> bool:
    *above, last = names
    if any(map(_is_place, names)):
        return False
    for name in above:
        inner = holder.setdefault(name, {})
        if not isinstance(inner, dict):
            return False
        holder = inner
    holder[last] = value
    return True


def _remove(holder: dict[str, Any], names: list[str]) -> bool:
    *above, last = names
    if any(map(_is_place, names)):
        return False
    for name in above:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            # Below a value that has no fields there is nothing to remove.
            return inner is None or not isinstance(inner, list)
        holder = inner
    holder.pop(last, None)
    return True
