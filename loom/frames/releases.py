"""Releases: references to what is deleted are taken out of the documents that hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bson
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from ..encoding import encode
from . import operations
from .changes import Snapshot
from .chunks import found_by_id
from .events import emit, listeners
from .links import Link
from .operations.guards import acknowledged
from .operations.writing import after_event
from .paths import is_ancestor
from .port import Port
from .primaries import on_primary
from .trees import pack
from .updates import paths_in, with_joined, with_version

__all__ = ["release"]

#: How many frames are held and written at a time.
BATCH = operations.BATCH

#: Tells which documents of a list of frames are left alone.
Skip = Callable[[list[Any]], list[bool]]


async def release(
    port: Port,
    link: Link,
    ids: Sequence[Any],
    options: dict[str, Any],
    *,
    place: str,
    events: bool = True,
    skip: Skip | None = None,
) -> int:
    """End the references to `ids`, some at a time; return how many documents were changed.

    Args:
        port: of the operation.
        link: where documents refer.
        ids: what they refer to.
        options: of every command.
        place: of the operation, for errors.
        events: whether listeners are called, which loads the documents.
        skip: which of some frames are left alone, when there are listeners.
    """
    cls = link.cls
    is_heard = events and bool(listeners("update", cls) or listeners("updated", cls))
    size = port.reference_chunk(cls)
    changed = 0
    for start in range(0, len(ids), size):
        gone = ids[start : start + size]
        if is_heard or link.is_made_anew:
            way = _Way(port, link, options, place, is_heard)
            changed += await way.release(gone, skip)
            continue
        change = with_version(cls, link.change(gone, link.default()))
        content = {"change": change}
        result = await port.write(cls, "update_many", content, link.filter(gone), change, **options)
        changed += result.modified_count if result.acknowledged else 0
    return changed


class _Way:
    """How documents are released one by one: loaded, and each with a change of its own."""

    def __init__(
        self, port: Port, link: Link, options: dict[str, Any], place: str, events: bool
    ) -> None:
        self.port = port
        self.link = link
        self.options = options
        self.place = place
        self.events = events

    async def release(self, gone: Sequence[Any], skip: Skip | None) -> int:
        """Load what refers, in batches, and write it with its events."""
        port, link = self.port, self.link
        codecs = port.collection(link.cls).codec_options
        packed = {pack(id, codecs) for id in gone}

        def is_gone(id: Any) -> bool:
            return pack(id, codecs) in packed

        changed = 0
        options, steps = dict(self.options), operations.Steps(BATCH)
        with on_primary(port, link.cls):
            batches = operations.each(port, link.cls, link.filter(gone), None, options, steps)
        try:
            async for frames in batches:
                if skip is not None:
                    skipped = skip(frames)
                    frames = [f for f, leave in zip(frames, skipped, strict=True) if not leave]
                if frames:
                    changed += await self._write(frames, gone, is_gone)
        finally:
            await batches.aclose()
        return changed

    async def _write(
        self, frames: list[Any], gone: Sequence[Any], is_gone: Callable[[Any], bool]
    ) -> int:
        port, link, cls = self.port, self.link, self.link.cls
        session = self.options.get("session")
        payload: dict[str, Any] = {"fields": (link.path,), "session": session}
        new = [link.default() for _ in frames]
        for frame, default in zip(frames, new, strict=True):
            link.release(frame._document, is_gone, default)
        snapshots: list[Snapshot | None] = [None] * len(frames)
        if self.events and listeners("update", cls):
            codecs = port.collection(cls).codec_options
            snapshots = [Snapshot(frame, codecs) for frame in frames]
            await emit(port, "update", cls, frames, payload)
        changes = [
            with_version(cls, _change(port, link, frame, snapshot, link.change(gone, default)))
            for frame, snapshot, default in zip(frames, snapshots, new, strict=True)
        ]
        # Only where it still refers: what changed meanwhile is somebody else's.
        condition = link.filter(gone)
        requests = [
            UpdateOne({"$and": [operations.id_filter(frame._document["_id"]), condition]}, change)
            for frame, change in zip(frames, changes, strict=True)
        ]
        contents = [c if isinstance(c, dict) else {"stages": c} for c in changes]
        port.check(cls, contents)
        reasons: dict[int, str] = {}
        failure: Exception | None = None
        try:
            result = await port.write(cls, "bulk_write", contents, requests, **self.options)
            number = result.matched_count if result.acknowledged else len(frames)
        except BulkWriteError as error:
            reasons = operations.reasons_of(error, len(frames), True)
            failure = operations.bulk_error(self.place, frames, reasons, error)
            failure.__cause__ = error
            number = (error.details or {}).get("nMatched", 0)
        written = [i for i in range(len(frames)) if i not in reasons]
        if number < len(written):
            written = await _written(port, link, frames, written, self.options)
        for i in written:
            acknowledged(frames[i], changes[i] if isinstance(changes[i], dict) else {})
        payload["changes"] = [changes[i] for i in written]
        payload["fields"] = tuple(dict.fromkeys(p for i in written for p in paths_in(changes[i])))
        told = [frames[i] for i in written] if self.events else []
        await after_event(port, "updated", cls, told, failure, **payload)
        return len(written)


def _change(port: Port, link: Link, frame: Any, snapshot: Snapshot | None, change: Any) -> Any:
    """Return the change with what listeners changed; what they put into the field itself holds."""
    if snapshot is None:
        return change
    joined = operations.joined_changes(port, frame, (), snapshot)
    if any(path == link.path or is_ancestor(path, link.path) for path in paths_in(joined)):
        return joined
    return with_joined(change, joined)


async def _written(
    port: Port, link: Link, frames: list[Any], tried: list[int], options: dict[str, Any]
) -> list[int]:
    """Return the positions of what was written, when others changed documents meanwhile.

    The server says only how many. What was written holds now what its frame does.
    """
    cls = link.cls
    codecs = port.collection(cls).codec_options
    packed = {pack(frames[i]._document["_id"], codecs): i for i in tried}
    ids = [frames[i]._document["_id"] for i in tried]
    with on_primary(port, cls):
        documents = await found_by_id(port, cls, ids, {link.root: True}, options)
    found = []
    for document in documents:
        position = packed.get(pack(document["_id"], codecs))
        if position is not None:
            frame = frames[position]._document
            ours = bson.decode(encode({"": frame.get(link.root)}, codecs), codecs)
            if ours[""] == document.get(link.root):
                found.append(position)
    return sorted(found)
