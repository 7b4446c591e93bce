"""Writing one frame: insert, update, upsert, unset, delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymongo.errors import PyMongoError, WriteConcernError

from ...errors import Conflict, Duplicate, FieldError, Gone, QueryError
from ..changes import (
    Foreseen,
    Removed,
    Snapshot,
    check_fields,
    document_to_insert,
    unsaved,
    update_of,
)
from ..events import add_note, emit, listeners
from ..forms import with_marks
from ..ids import id_or_error, lacks_id
from ..marked import marked
from ..paths import is_ancestor, without_descendants
from ..port import Port
from ..signals import assigned_by
from ..stamping import known_later, stamp_updated, stamped_anew
from ..texts import normalise
from ..tracking import is_doubtful, resolve
from .guards import (
    LOOKS,
    Guard,
    acknowledged,
    check_call,
    forget,
    inserted,
    paths_of,
    perhaps_inserted,
    stored_now,
    tell_unknown,
)
from .reading import Options, check_case, id_filter, shared_options, without_update_options


async def before_event(
    port: Port, event: str, cls: Any, frames: list[Any], **payload: Any
) -> list[str]:
    """Send a before-event; return what listeners have done, for an error after it."""
    if listeners(event, cls):
        return await emit(port, event, cls, frames, payload)
    return []


def tell_done(error: BaseException | None, done: list[str]) -> None:
    """Say on an error what listeners have done before it."""
    if error is not None:
        for note in done:
            add_note(error, note)


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
    check_call(port, cls, "insert", options, "insert_one")
    session = port.session(cls, options)
    await before_event(port, "insert", cls, [frame], session=session)
    document = document_to_insert(frame, port.naive(cls))
    port.remember(cls, options, [frame])
    concern = None
    try:
        await port.write(cls, "insert_one", document, document, **options)
    except WriteConcernError as error:  # the write stands
        concern = error
    except PyMongoError as error:
        if tell_unknown(error, cls, "insert", document["_id"]):
            perhaps_inserted(frame, document["_id"])
        raise
    inserted(frame, document["_id"])
    await after_event(port, "inserted", cls, [frame], concern, session=session)


def foreseen(cls: Any, fields: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Return the fields that the listeners of an update change, None when only they know.

    What annotations declare changes the named fields, and time stamps. What is derived of some
    named fields changes with these.
    """
    found: tuple[str, ...] = ()
    for listener in listeners("update", cls):
        assigned = assigned_by(listener.receiver)
        if listener.receiver is stamp_updated:
            found += marked(cls).updated
        elif assigned is not None:
            found += assigned(cls, fields)
        elif listener.receiver is not normalise:
            return None
    return found


def snapshot_of(port: Port, frame: Any) -> Snapshot:
    """Return what a frame holds before the listeners of its class are told of an update."""
    names = foreseen(type(frame))
    if names is not None:
        return Foreseen(frame, names)
    return Snapshot(frame, port.collection(type(frame)).codec_options)


async def update(
    port: Port, frame: Any, fields: tuple[str, ...], where: Any, options: Options
) -> None:
    """Write fields of a stored frame."""
    cls = type(frame)
    check_call(port, cls, "update", options, "update_one")
    id_or_error(frame, "update")
    check_fields(cls, fields, "update")
    joined: set[str] = set()
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        payload = {"fields": fields, "session": port.session(cls, options)}
        await emit(port, "update", cls, [frame], payload)
        joined = snapshot.changed()
    change = update_of(frame, fields, joined, port.naive(cls), "update")
    await _write(port, frame, change, where, "update", options)


async def save(
    port: Port, frame: Any, fields: tuple[str, ...], where: Any, options: Options
) -> None:
    """Insert a new frame; of a stored one write what was changed."""
    cls = type(frame)
    check_call(port, cls, "save", options, "insert_one", "update_one")
    if cls._append_only:
        if not await _was_appended(port, frame, options):
            await _append(port, frame, fields, where, options)
        return
    if lacks_id(frame._document):
        if where is not None:
            raise QueryError(
                f"{cls.__name__}.save: expected no where= for a frame without _id, which is "
                f"inserted, got {where!r}; leave it out, or load the frame first"
            )
        check_fields(cls, fields, "save")
        await insert(port, frame, without_update_options(options))
        return
    if is_doubtful(frame) and await _was_inserted(port, frame, options):
        return
    if fields:
        await update(port, frame, fields, where, options)
        return
    paths = unsaved(frame, port.collection(cls).codec_options)
    if not paths:
        await Guard(port, frame).brought_up(port, "save", options)
        return
    port.check_writable(cls, "update")
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        payload = {"fields": tuple(sorted(paths)), "session": port.session(cls, options)}
        await emit(port, "update", cls, [frame], payload)
        paths |= snapshot.changed()
    change = update_of(frame, (), paths, port.naive(cls), "save", whole=False)
    if change:
        await _write(port, frame, change, where, "save", options)


async def _was_appended(port: Port, frame: Any, options: Options) -> bool:
    """Finish a save whose outcome was not known; tell whether nothing is left to be saved."""
    if not is_doubtful(frame):
        return False
    if await _was_inserted(port, frame, options):
        return True
    return not unsaved(frame, port.collection(type(frame)).codec_options)


async def _was_inserted(port: Port, frame: Any, options: Options) -> bool:
    """Insert a frame that may be stored; return False if it was."""
    cls, shared = type(frame), shared_options(options)
    # A time series takes an `_id` twice.
    if cls._timeseries is None or not await stored_now(
        port, cls, id_filter(frame._document["_id"]), {"_id": True}, shared
    ):
        try:
            await insert(port, frame, without_update_options(options))
            return True
        except Duplicate as error:
            if not _is_of_id(error):
                raise
    resolve(frame)
    return False


async def _append(
    port: Port, frame: Any, fields: tuple[str, ...], where: Any, options: Options
) -> None:
    """Store a frame of which documents are only added as a new one."""
    cls = type(frame)
    if fields or where is not None:
        raise QueryError(
            f"{cls.__name__}.save: expected no fields and no where=, got {fields or where!r}; a "
            "new document is stored, whole"
        )
    was = {name: frame._document.pop(name, None) for name in ("_id", *stamped_anew(frame))}
    frame._document.update(known_later(frame, was))
    try:
        await insert(port, frame, without_update_options(options))
    except BaseException:
        # Not stored: the frame is still the one that was recorded before.
        if frame._document.get("_id") is None:
            frame._document.update({k: v for k, v in was.items() if v is not None})
        raise


async def _write(
    port: Port,
    frame: Any,
    change: dict[str, Any],
    where: Any,
    operation: str,
    options: Options,
    removed: Iterable[str] = (),
) -> None:
    """Send the update of one frame, under its condition, and the after-event."""
    cls = type(frame)
    guard = Guard(port, frame, where)
    sent = with_marks(cls, guard.counting(change), options)
    port.remember(cls, options, [frame], change.get("$unset", ()))
    concern = None
    content = change.get("$set", {})
    try:
        if options.get("upsert"):
            await guard.brought_up(port, operation, options)
        for _ in range(LOOKS):
            result = await port.write(cls, "update_one", content, guard.filter(), sent, **options)
            # `n` counts what was matched or upserted; an unacknowledged write has no result.
            found = result.raw_result
            if not found or found["n"]:
                break
            if not await guard.again(port, operation, options):
                raise await guard.refusal(port, operation, options)
        else:
            raise await guard.refusal(port, operation, options)
    except WriteConcernError as error:  # the write stands
        concern = error
    except PyMongoError as error:
        tell_unknown(error, cls, operation, guard.id)
        raise
    forget(frame, removed)
    acknowledged(frame, change)
    await _updated(port, frame, sent, port.session(cls, options), concern)


async def _updated(
    port: Port, frame: Any, change: dict[str, Any], session: Any, failure: Exception | None
) -> None:
    cls = type(frame)
    if failure is not None or listeners("updated", cls):
        payload = {"fields": paths_of([change]), "changes": [change], "session": session}
        await after_event(port, "updated", cls, [frame], failure, **payload)


async def unset(
    port: Port, frame: Any, fields: tuple[str, ...], where: Any, options: Options
) -> None:
    """Remove fields from a stored document, then from the frame."""
    cls = type(frame)
    check_call(port, cls, "unset", options, "update_one")
    id_or_error(frame, "unset")
    check_unset(cls, fields, "unset")
    change: dict[str, Any] = {"$unset": removals(fields)}
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        payload = {"fields": Removed(fields), "session": port.session(cls, options)}
        await emit(port, "update", cls, [frame], payload)
        change = unset_change(port, frame, fields, snapshot.changed())
    await _write(port, frame, change, where, "unset", options, removed=fields)


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
    return _joined(port, frame, fields, snapshot.changed())


def _joined(
    port: Port, frame: Any, fields: tuple[str, ...], changed: set[str]
) -> dict[str, dict[str, Any]]:
    paths = {
        path
        for path in changed
        if not any(path == f or is_ancestor(f, path) or is_ancestor(path, f) for f in fields)
    }
    if not paths:
        return {}
    return update_of(frame, (), paths, port.naive(type(frame)), "update", whole=False)


def unset_change(
    port: Port, frame: Any, fields: tuple[str, ...], changed: set[str]
) -> dict[str, Any]:
    change = _joined(port, frame, fields, changed)
    change["$unset"] = {**change.get("$unset", {}), **removals(fields)}
    return change


async def upsert(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Insert a frame that is not stored, else update it; right also when others do the same."""
    cls = type(frame)
    check_call(port, cls, "upsert", options, "insert_one", "update_one")
    check_fields(cls, fields, "upsert")
    to_insert = without_update_options(options)
    if lacks_id(frame._document):
        return await insert(port, frame, to_insert)
    shared = shared_options(options)
    while True:
        id = frame._document["_id"]  # a listener of the insert may have put it in its case
        # Another writer may insert or delete between the look and the write: look again.
        if await stored_now(port, cls, id_filter(id), {"_id": True}, shared) is not None:
            if frame._document.keys() == {"_id"} and not listeners("update", cls):
                return None  # it is there, and that is all that was asked for
            try:
                return await update(port, frame, fields, None, options)
            except Gone:
                continue
        before = {**frame._document}
        try:
            return await insert(port, frame, to_insert)
        except Duplicate as error:
            if not _is_of_id(error):
                raise
            if cls._kinds is not None:
                await _check_kind(port, cls, id, error, shared)
            # Defaults and time stamps of an insert that was not to be: no update writes them.
            before["_id"] = frame._document["_id"]
            frame._document.clear()
            frame._document.update(before)


async def _check_kind(port: Port, cls: Any, id: Any, error: Duplicate, options: Options) -> None:
    """Raise the error of an insert when a document of another kind has the `_id`."""
    kinds = cls._kinds
    found = await stored_now(port, kinds.root, id_filter(id), {kinds.field: True}, options)
    if found is not None and not issubclass(kinds.class_of(kinds.root, found), cls):
        place = f"{cls.__name__}.upsert"
        kind = found.get(kinds.field)
        add_note(error, f"{place}: the document that has the _id is a {kind!r}, no {cls._kind!r}")
        raise error


def _is_of_id(error: Duplicate) -> bool:
    return error.fields == ("_id",) or error.index == "_id_"


async def delete(port: Port, frame: Any, where: Any, options: Options) -> None:
    """Delete a stored document."""
    cls = type(frame)
    check_call(port, cls, "delete", options, "delete_one")
    id = id_or_error(frame, "delete")
    session = port.session(cls, options)
    guard = Guard(port, frame, where)
    guard.form = {}
    await check_case(port, cls, [frame], "delete", options)
    if guard.version is not None and guard.version not in frame._document:
        guard.version = None  # made of an _id alone: it was never read
    # Nothing goes with a document that does not go itself.
    looks = guard.is_conditional and listeners("delete", cls)
    if looks and await stored_now(port, cls, guard.filter(), {"_id": True}, options) is None:
        refusal = await guard.refusal(port, "delete", options)
        if isinstance(refusal, Conflict):
            raise refusal
    done = await before_event(port, "delete", cls, [frame], session=session)
    concern = None
    try:
        result = await port.write(cls, "delete_one", {"_id": id}, guard.filter(), **options)
        if result.acknowledged and not result.deleted_count:
            if guard.is_conditional:
                refusal = await guard.refusal(port, "delete", options)
                if isinstance(refusal, Conflict):
                    tell_done(refusal, done)
                    raise refusal
            return  # somebody else has deleted it, and told it
    except WriteConcernError as error:  # the delete stands
        concern = error
    except PyMongoError as error:
        tell_unknown(error, cls, "delete", id)
        tell_done(error, done)
        raise
    await after_event(port, "deleted", cls, [frame], concern, session=session)
