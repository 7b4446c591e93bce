"""Writing many frames in one batch, with the truth about every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError

from ...errors import BulkError, FieldError
from ..changes import Snapshot, check_fields, document_to_insert, id_or_error, update_of
from ..events import emit, listeners
from ..ids import id_keys
from ..port import Port
from .guards import Guard, acknowledged, forget, inserted, paths_of
from .reading import Options, id_filter, listed, shared_options
from .writing import (
    after_event,
    before_event,
    check_unset,
    removals,
    snapshot_of,
    unset_change,
)


def frames_of(cls: Any, documents: Any, operation: str) -> list[Any]:
    """Return frames for a list of frames and dicts."""
    frames = []
    for document in listed(cls, documents, operation):
        if isinstance(document, cls) and document._collection == cls._collection:
            frames.append(document)
        elif isinstance(document, dict):
            frames.append(cls(document))
        else:
            raise FieldError(
                f"{cls.__name__}.{operation}: expected {cls.__name__} frames or dicts, got "
                f"{document!r} of type {type(document).__name__}"
            )
    return frames


async def insert_many(port: Port, cls: Any, documents: Any, options: Options) -> list[Any]:
    """Store new frames, give them their ids and return them."""
    frames = frames_of(cls, documents, "insert_many")
    if not frames:
        return frames
    if len({id(frame._document) for frame in frames}) < len(frames):
        raise FieldError(
            f"{cls.__name__}.insert_many: expected every frame once, got one of them twice; copy it"
        )
    session = options.get("session")
    await before_event(port, "insert", cls, frames, session=session)
    naive = port.naive(cls)
    copies = [document_to_insert(frame, naive) for frame in frames]
    port.check(cls, copies)
    failed: BulkWriteError | None = None
    reasons: dict[int, str] = {}
    try:
        await port.write(cls, "insert_many", copies, copies, **options)
    except BulkWriteError as error:
        failed = error
        reasons = reasons_of(error, len(frames), options.get("ordered", True))
    done = [i for i in range(len(frames)) if i not in reasons]
    for i in done:
        inserted(frames[i], copies[i]["_id"])
    stored = [frames[i] for i in done]
    failure = _failure(f"{cls.__name__}.insert_many", frames, reasons, failed)
    await after_event(port, "inserted", cls, stored, failure, session=session)
    return frames


def reasons_of(error: BulkWriteError, total: int, ordered: bool) -> dict[int, str]:
    """Return, by position, why operations of a batch were not done."""
    errors = (error.details or {}).get("writeErrors", [])
    reasons = {e["index"]: str(e.get("errmsg", e)) for e in errors}
    if ordered and reasons:
        first = min(reasons)
        reasons |= dict.fromkeys(range(first + 1, total), "not tried after an earlier failure")
    return reasons


def bulk_error(
    place: str,
    frames: list[Any],
    reasons: Mapping[int, str],
    error: BulkWriteError | None,
) -> BulkError:
    """Return the error that says which frames of a batch were written."""
    return BulkError(
        place,
        [frame for i, frame in enumerate(frames) if i not in reasons],
        [(frames[i], reasons[i]) for i in sorted(reasons)],
        None if error is None else error.details,
    )


def _failure(
    place: str, frames: list[Any], reasons: Mapping[int, str], error: BulkWriteError | None
) -> BulkError | None:
    if not reasons and error is None:
        return None
    failure = bulk_error(place, frames, reasons, error)
    failure.__cause__ = error
    return failure


#: Options of PyMongo's single operations; the others belong to the batch.
_OF_OPERATION = frozenset({"array_filters", "collation", "hint", "sort", "upsert"})


async def _batch(
    port: Port,
    cls: Any,
    operation: str,
    frames: list[Any],
    requests: list[Any],
    contents: list[Any],
    options: Options,
) -> tuple[dict[int, str], BulkWriteError | None]:
    """Send one request per frame; return why some were not done, by position, and the failure."""
    batch = {k: v for k, v in options.items() if k not in _OF_OPERATION}
    contents = [
        {"_id": frame._document["_id"], **content}
        for frame, content in zip(frames, contents, strict=True)
    ]
    port.check(cls, contents)
    reasons: dict[int, str] = {}
    failed: BulkWriteError | None = None
    try:
        result = await port.write(cls, "bulk_write", contents, requests, **batch)
        matched = result.matched_count if result.acknowledged else len(frames)
    except BulkWriteError as error:
        failed = error
        reasons = reasons_of(error, len(frames), options.get("ordered", True))
        matched = (error.details or {}).get("nMatched", 0)
    tried = {i: frame._document["_id"] for i, frame in enumerate(frames) if i not in reasons}
    if operation != "delete_many" and not options.get("upsert") and matched < len(tried):
        for i in await _missing(port, cls, tried, options):
            reasons[i] = f"no document has _id={tried[i]!r}"
    return reasons, failed


async def _missing(port: Port, cls: Any, ids: dict[int, Any], options: Options) -> list[int]:
    """Return the positions of the ids that no document has."""
    codecs = port.collection(cls).codec_options
    keys = dict(zip(ids, id_keys([*ids.values()], codecs), strict=True))
    distinct = list({keys[i]: id for i, id in ids.items()}.values())
    size = port.reference_chunk(cls)
    found = await port.all(
        [
            port.find(
                cls,
                {"_id": {"$in": distinct[i : i + size]}},
                {"_id": True},
                shared_options(options),
            )
            for i in range(0, len(distinct), size)
        ],
        ordered=options.get("session") is not None,
    )
    present = {*id_keys([d["_id"] for documents in found for d in documents], codecs)}
    return [i for i, key in keys.items() if key not in present]


async def _write_many(
    port: Port,
    cls: Any,
    operation: str,
    event: str,
    frames: list[Any],
    requests: list[Any],
    contents: list[Any],
    options: Options,
    **payload: Any,
) -> None:
    """Send a batch, then the after-event for the frames that were written, then the failure."""
    reasons, failed = await _batch(port, cls, operation, frames, requests, contents, options)
    written = [frame for i, frame in enumerate(frames) if i not in reasons]
    changes = payload.get("changes")
    if changes:
        payload["changes"] = [change for i, change in enumerate(changes) if i not in reasons]
        payload["fields"] = paths_of(payload["changes"])
    if operation == "unset_many":
        for frame, change in zip(written, payload["changes"], strict=True):
            forget(frame, change["$unset"])
    if changes:
        for frame, change in zip(written, payload["changes"], strict=True):
            acknowledged(frame, change)
    failure = _failure(f"{cls.__name__}.{operation}", frames, reasons, failed)
    payload["session"] = options.get("session")
    await after_event(port, event, cls, written, failure, **payload)


async def _send_updates(
    port: Port,
    cls: Any,
    operation: str,
    frames: list[Any],
    changes: list[dict[str, Any]],
    options: Options,
) -> None:
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    requests = [
        UpdateOne(guard.filter(), guard.counting(change), **single)
        for guard, change in zip((Guard(port, frame) for frame in frames), changes, strict=True)
    ]
    contents = [change.get("$set", {}) for change in changes]
    await _write_many(
        port, cls, operation, "updated", frames, requests, contents, options, changes=changes
    )


async def update_many(
    port: Port, cls: Any, documents: Any, fields: tuple[str, ...], options: Options
) -> list[Any]:
    """Write fields of stored frames, in one batch."""
    frames = frames_of(cls, documents, "update_many")
    check_fields(cls, fields, "update_many")
    for frame in frames:
        id_or_error(frame, "update_many")
    if not frames:
        return frames
    snapshots: list[Snapshot | None] = [None] * len(frames)
    if listeners("update", cls):
        snapshots = [snapshot_of(port, frame) for frame in frames]
        session = options.get("session")
        await emit(port, "update", cls, frames, {"fields": fields, "session": session})
    naive = port.naive(cls)
    changes = [
        update_of(frame, fields, snapshot.changed() if snapshot else set(), naive, "update_many")
        for frame, snapshot in zip(frames, snapshots, strict=True)
    ]
    await _send_updates(port, cls, "update_many", frames, changes, options)
    return frames


async def unset_many(
    port: Port, cls: Any, documents: Any, fields: tuple[str, ...], options: Options
) -> list[Any]:
    """Remove fields from stored documents, then from the frames, in one batch."""
    frames = frames_of(cls, documents, "unset_many")
    check_unset(cls, fields, "unset_many")
    for frame in frames:
        id_or_error(frame, "unset_many")
    if not frames:
        return frames
    changes = [{"$unset": removals(fields)} for _ in frames]
    if listeners("update", cls):
        snapshots = [snapshot_of(port, frame) for frame in frames]
        session = options.get("session")
        await emit(port, "update", cls, frames, {"fields": fields, "session": session})
        changes = [unset_change(port, f, fields, s) for f, s in zip(frames, snapshots, strict=True)]
    await _send_updates(port, cls, "unset_many", frames, changes, options)
    return frames


async def delete_many(port: Port, cls: Any, documents: Any, options: Options) -> list[Any]:
    """Delete stored documents, in one batch."""
    frames = frames_of(cls, documents, "delete_many")
    for frame in frames:
        id_or_error(frame, "delete_many")
    if not frames:
        return frames
    await before_event(port, "delete", cls, frames, session=options.get("session"))
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    requests = [DeleteOne(id_filter(frame._document["_id"]), **single) for frame in frames]
    contents: list[Any] = [{} for _ in frames]
    await _write_many(port, cls, "delete_many", "deleted", frames, requests, contents, options)
    return frames
