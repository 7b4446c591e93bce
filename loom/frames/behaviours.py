"""What is done around writes: time stamps, defaults, and references kept whole.

All of it is done by listeners, or by functions that listeners call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from ..errors import FieldError
from . import operations
from .changes import Snapshot, id_or_error
from .events import emit, listeners, muted, running
from .operations import joined_changes
from .paths import lookup_all, split
from .port import Port
from .queries import to_refs

__all__ = ["cascade", "insert_defaults", "nullify", "pull", "timestamp_insert", "timestamp_update"]


def _now() -> datetime:
    now = datetime.now(timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def timestamp_insert(sender: type, frames: list[Any]) -> None:
    """Set `created` and `modified` to now, aware UTC in milliseconds; a listener for `insert`."""
    now = _now()
    for frame in frames:
        frame["created"] = frame["modified"] = now


def timestamp_update(sender: type, frames: list[Any]) -> None:
    """Set `modified` to now, aware UTC in milliseconds; a listener for `update`."""
    now = _now()
    for frame in frames:
        frame["modified"] = now


def insert_defaults(sender: Any, frames: list[Any]) -> None:
    """Fill absent fields with their declared defaults; a listener for `insert`."""
    for frame in frames:
        document = frame._document
        definition = frame._definition
        for field in definition.defaults:
            if field not in document:
                document[field] = definition.new_default(field)


# References kept whole

_deleting: ContextVar[frozenset[Any]] = ContextVar("loom.deleting", default=frozenset())

#: How many frames one step holds in memory.
BATCH = operations.BATCH


@contextmanager
def _guarded(cls: Any, ids: Iterable[Any]) -> Any:
    """Remember what is being deleted, so that references in a circle come to an end."""
    token = _deleting.set(_deleting.get() | {(cls._collection, repr(id)) for id in ids})
    try:
        yield
    finally:
        _deleting.reset(token)


def _is_deleting(cls: Any, id: Any) -> bool:
    return (cls._collection, repr(id)) in _deleting.get()


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple, set, frozenset)):
            yield from _flat(value)
        elif isinstance(value, dict):
            yield from _flat(value.values())
            yield value  # an id may be a document, too; a map of ids is nobody's id
        elif value is not None:
            yield value


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a behaviour, with the session of the event that asks for it.

    Raises:
        FieldError: an option that its queries do not share.
    """
    for name in options:
        if name not in ("session", "comment"):
            raise FieldError(f"cascade, nullify, pull: expected session or comment, got {name!r}")
    current = running()
    if current is not None and current.session is not None:
        return {"session": current.session, **options}
    return options


def _check_field(cls: Any, ref_cls: Any, field: Any, owner: Any, operation: str) -> None:
    place = f"{cls.__name__}.{operation}"
    if not getattr(ref_cls, "_is_frame", False) or not isinstance(ref_cls, type):
        raise FieldError(f"{place}: expected a Frame class, got {ref_cls!r}")
    root = split(field)[0]
    definition = owner._definition
    if root not in definition.names and not definition.is_open:
        raise FieldError(f"{place}: expected a field of {owner.__name__}, got {field!r}")


async def cascade(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Delete the documents of `ref_cls` that the frames point to."""
    frames = list(frames)
    for frame in frames:
        _check_field(cls, ref_cls, field, type(frame), "cascade")
    values = [value for frame in frames for value in lookup_all(frame._document, field)]
    ids = {repr(id): id for id in map(to_refs, _flat(values))}
    targets = [id for id in ids.values() if not _is_deleting(ref_cls, id)]
    own = [frame._document["_id"] for frame in frames if "_id" in frame._document]
    with _guarded(cls, own), _guarded(ref_cls, targets):
        for start in range(0, len(targets), BATCH):
            await _delete(port, ref_cls, targets[start : start + BATCH], events, options)


async def _delete(
    port: Port, cls: Any, ids: list[Any], events: bool, options: dict[str, Any]
) -> None:
    if events and (listeners("delete", cls) or listeners("deleted", cls)):
        doomed = await operations.by_ids(port, cls, ids, None, options)
        await operations.delete_many(port, cls, doomed, options)
    else:
        with muted(sender=cls):
            await operations.delete_many(port, cls, [{"_id": id} for id in ids], options)


async def nullify(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Set `field` to None where a document of `ref_cls` points to one of the frames."""
    ids = _own_ids(cls, ref_cls, field, frames, "nullify")
    await _release(port, cls, ref_cls, field, ids, "nullify", events, options)


async def pull(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Take the frames out of the list `field` of the documents of `ref_cls`."""
    ids = _own_ids(cls, ref_cls, field, frames, "pull")
    await _release(port, cls, ref_cls, field, ids, "pull", events, options)


def _own_ids(cls: Any, ref_cls: Any, field: str, frames: Any, operation: str) -> list[Any]:
    _check_field(cls, ref_cls, field, ref_cls, operation)
    ids = []
    for frame in frames:
        if not isinstance(frame, cls):
            raise FieldError(
                f"{cls.__name__}.{operation}: expected {cls.__name__} frames, got {frame!r} of type "
                f"{type(frame).__name__}; call {type(frame).__name__}.{operation}"
            )
        ids.append(id_or_error(frame, operation))
    return ids


async def _release(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    ids: list[Any],
    operation: str,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Nullify or pull in the documents whose `field` holds one of `ids`, some ids at a time."""
    heard = events and (listeners("update", ref_cls) or listeners("updated", ref_cls))
    size = port.reference_chunk(ref_cls)
    for start in range(0, len(ids), size):
        held = {"$in": ids[start : start + size]}
        condition = {field: held}
        change = {"$pull": {field: held}} if operation == "pull" else {"$set": {field: None}}
        if not heard:
            await port.write(ref_cls, "update_many", {}, condition, change, **options)
            continue
        pulled = held["$in"] if operation == "pull" else None
        batches: AsyncGenerator[list[Any], None] = operations.each(
            port, ref_cls, condition, None, dict(options)
        )
        try:
            async for frames in batches:
                for frame in frames:
                    _release_in(frame._document, field, pulled)
                place = f"{cls.__name__}.{operation}"
                await _send_released(
                    port, ref_cls, frames, field, condition, change, options, place
                )
        finally:
            await batches.aclose()


def _release_in(document: Any, field: str, pulled: list[Any] | None) -> None:
    """Change a loaded document the way the stored one is going to be."""
    *parents, last = split(field)
    for key in parents:
        document = document.get(key) if isinstance(document, dict) else None
        document = getattr(document, "_document", document)
    if isinstance(document, dict) and last in document:
        if pulled is None:
            document[last] = None
        elif isinstance(document[last], list):
            document[last] = [v for v in document[last] if to_refs(v) not in pulled]


async def _send_released(
    port: Port,
    cls: Any,
    frames: list[Any],
    field: str,
    condition: dict[str, Any],
    change: dict[str, Any],
    options: dict[str, Any],
    place: str,
) -> None:
    session = options.get("session")
    snapshots: list[Snapshot | None] = [None] * len(frames)
    payload = {"fields": (field,), "session": session}
    if listeners("update", cls):
        codecs = port.collection(cls).codec_options
        snapshots = [Snapshot(frame, codecs) for frame in frames]
        await emit(port, "update", cls, frames, payload)
    changes = []
    requests = []
    for frame, snapshot in zip(frames, snapshots, strict=True):
        joined: dict[str, dict[str, Any]] = {}
        if snapshot is not None:
            joined = joined_changes(port, frame, (field,), snapshot)
        sent = {
            name: {**joined.get(name, {}), **change.get(name, {})} for name in {*joined, *change}
        }
        changes.append(sent)
        # Only where it still refers: what changed meanwhile is somebody else's.
        id = frame._document["_id"]
        requests.append(UpdateOne({"$and": [{"_id": {"$eq": id}}, condition]}, sent))
    contents = [sent.get("$set", {}) for sent in changes]
    port.check(cls, contents)
    reasons: dict[int, str] = {}
    failed: BulkWriteError | None = None
    try:
        await port.write(cls, "bulk_write", contents, requests, **options)
    except BulkWriteError as error:
        failed = error
        reasons = operations.reasons_of(error, len(frames), True)
    written = [i for i in range(len(frames)) if i not in reasons]
    if written and listeners("updated", cls):
        payload["changes"] = [changes[i] for i in written]
        await emit(port, "updated", cls, [frames[i] for i in written], payload)
    if failed is not None:
        raise operations.bulk_error(place, frames, reasons, failed) from failed
