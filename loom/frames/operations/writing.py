"""Writing one frame: insert, update, upsert, unset, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.errors import WriteConcernError

from ...errors import Duplicate, FieldError, Gone
from ..changes import (
    Snapshot,
    check_fields,
    document_to_insert,
    id_or_error,
    update_of,
)
from ..events import add_note, emit, listeners
from ..paths import is_ancestor, without_descendants
from ..port import Port
from .reading import Options, gone, id_filter, shared_options


async def before_event(port: Port, event: str, cls: Any, frames: list[Any], **payload: Any) -> None:
    if listeners(event, cls):
        await emit(port, event, cls, frames, payload)


async def after_event(
    port: Port,
    event: str,
    cls: Any,
    frames: list[Any],
    failure: Exception | None = None,
    **payload: Any,
) -> None:
    """Send an after-event for what was written, then raise the failure of the write, if any."""
    if frames and listeners(event, cls):
        try:
            await emit(port, event, cls, frames, payload)
        except Exception as error:
            if failure is None:
                raise
            add_note(failure, f"a listener of {event!r} failed too: {error!r}")
    if failure is not None:
        raise failure


async def insert(port: Port, frame: Any, options: Options) -> None:
    """Store a new frame and give it its `_id`."""
    cls = type(frame)
    session = options.get("session")
    await before_event(port, "insert", cls, [frame], session=session)
    document = document_to_insert(frame, port.naive(cls))
    concern = None
    try:
        await port.write(cls, "insert_one", document, document, **options)
    except WriteConcernError as error:  # the write stands
        concern = error
    frame._document["_id"] = document["_id"]
    await after_event(port, "inserted", cls, [frame], concern, session=session)


def snapshot_of(port: Port, frame: Any) -> Snapshot:
    return Snapshot(frame._document, port.collection(type(frame)).codec_options)


async def update(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Write fields of a stored frame."""
    cls = type(frame)
    id = id_or_error(frame, "update")
    change = await _prepared(port, frame, fields, options)
    concern = None
    content = change.get("$set", {})
    try:
        result = await port.write(cls, "update_one", content, id_filter(id), change, **options)
        _check_found(result, cls, id, "update")
    except WriteConcernError as error:  # the write stands
        concern = error
    await _updated(port, frame, change, options.get("session"), concern)


async def _prepared(
    port: Port, frame: Any, fields: tuple[str, ...], options: Options
) -> dict[str, Any]:
    """Call the before-listeners and return the update document with what they changed."""
    cls = type(frame)
    check_fields(cls, fields, "update")
    snapshot = None
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        payload = {"fields": fields, "session": options.get("session")}
        await emit(port, "update", cls, [frame], payload)
    return update_of(frame, fields, snapshot, port.naive(cls), "update")


def _check_found(result: Any, cls: Any, id: Any, operation: str) -> None:
    # `n` counts what was matched or upserted; there is no result of an unacknowledged write.
    sent = result.raw_result
    if sent and not sent["n"]:
        raise gone(cls, id, operation)


async def _updated(
    port: Port, frame: Any, change: dict[str, Any], session: Any, failure: Exception | None
) -> None:
    cls = type(frame)
    if failure is not None or listeners("updated", cls):
        payload = {"fields": paths_of([change]), "changes": [change], "session": session}
        await after_event(port, "updated", cls, [frame], failure, **payload)


def paths_of(changes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p for change in changes for paths in change.values() for p in paths))


async def unset(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Remove fields from a stored document, then from the frame."""
    cls = type(frame)
    id = id_or_error(frame, "unset")
    check_unset(cls, fields, "unset")
    session = options.get("session")
    change: dict[str, Any] = {"$unset": removals(fields)}
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        await emit(port, "update", cls, [frame], {"fields": fields, "session": session})
        change = unset_change(port, frame, fields, snapshot)
    concern = None
    content = change.get("$set", {})
    try:
        result = await port.write(cls, "update_one", content, id_filter(id), change, **options)
        _check_found(result, cls, id, "unset")
    except WriteConcernError as error:  # the write stands
        concern = error
    forget(frame, fields)
    await _updated(port, frame, change, session, concern)


def check_unset(cls: Any, fields: tuple[str, ...], operation: str) -> None:
    if not fields:
        raise FieldError(f"{cls.__name__}.{operation}: expected names of fields, got none")
    check_fields(cls, fields, operation)


def removals(fields: Iterable[str]) -> dict[str, bool]:
    """Return what `$unset` takes; a server refuses a path beside its ancestor."""
    return dict.fromkeys(without_descendants(fields), True)


def joined_changes(
    port: Port, frame: Any, fields: tuple[str, ...], snapshot: Snapshot
) -> dict[str, dict[str, Any]]:
    """Return what listeners changed beside the fields that the operation itself changes."""
    changed = tuple(
        path
        for path in snapshot.changed(frame._document)
        if not any(path == f or is_ancestor(f, path) or is_ancestor(path, f) for f in fields)
    )
    if not changed:
        return {}
    return update_of(frame, changed, snapshot, port.naive(type(frame)), "update")


def unset_change(
    port: Port, frame: Any, fields: tuple[str, ...], snapshot: Snapshot
) -> dict[str, Any]:
    change = joined_changes(port, frame, fields, snapshot)
    change["$unset"] = {**change.get("$unset", {}), **removals(fields)}
    return change


def forget(frame: Any, fields: Iterable[str]) -> None:
    for field in fields:
        *parents, last = field.split(".")
        holder: Any = frame._document
        for key in parents:
            holder = holder.get(key) if isinstance(holder, dict) else None
            holder = getattr(holder, "_document", holder)
        if isinstance(holder, dict):
            holder.pop(last, None)


#: Options of `update_one` that `insert_one` does not take.
_ONLY_UPDATE = frozenset({"array_filters", "collation", "hint", "let", "sort"})


async def upsert(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Insert a frame that is not stored, else update it; right also when others do the same."""
    cls = type(frame)
    check_fields(cls, fields, "upsert")
    to_insert = {k: v for k, v in options.items() if k not in _ONLY_UPDATE}
    if frame._document.get("_id") is None:
        frame._document.pop("_id", None)
        return await insert(port, frame, to_insert)
    id = frame._document["_id"]
    shared = shared_options(options)
    while True:
        # Another writer may insert or delete between the look and the write: look again.
        if await port.find_one(cls, id_filter(id), {"_id": True}, shared) is not None:
            if frame._document.keys() == {"_id"} and not listeners("update", cls):
                return None  # it is there, and that is all that was asked for
            try:
                return await update(port, frame, fields, options)
            except Gone:
                continue
        try:
            return await insert(port, frame, to_insert)
        except Duplicate as error:
            if error.fields != ("_id",) and error.index != "_id_":
                raise


async def delete(port: Port, frame: Any, options: Options) -> None:
    """Delete a stored document."""
    cls = type(frame)
    id = id_or_error(frame, "delete")
    session = options.get("session")
    await before_event(port, "delete", cls, [frame], session=session)
    concern = None
    try:
        await port.write(cls, "delete_one", {"_id": id}, id_filter(id), **options)
    except WriteConcernError as error:
        concern = error
    await after_event(port, "deleted", cls, [frame], concern, session=session)
