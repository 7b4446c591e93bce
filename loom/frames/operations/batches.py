"""Writing many frames in one batch, with the truth about every one of them."""

from __future__ import annotations

from itertools import chain
from typing import Any

from pymongo import DeleteOne, InsertOne, UpdateOne

from ...encoding import PLAIN, Naive, settle_datetimes
from ...errors import FieldError
from ..changes import Foreseen, Removed, Snapshot, check_fields, update_of
from ..events import emit, listeners
from ..forms import with_marks
from ..ids import id_or_error
from ..inserts import Inserts, document_of, inserts_of
from ..port import Port
from ..requests import Batch, shows_documents
from ..sent import Sent
from ..signals import assigned_by
from ..tracking import loaded_of, tracked_of
from ..values import SCALARS
from .batch_guards import Guards
from .guards import acknowledged, check_call, forget, inserted, paths_of, perhaps_inserted
from .outcomes import Outcome, bulk_error, reasons_of, send
from .reading import Options, check_case, listed, shared_options
from .writing import (
    after_event,
    before_event,
    check_unset,
    foreseen,
    removals,
    tell_done,
    unset_change,
)

__all__ = ["bulk_error", "delete_many", "insert_many", "reasons_of", "unset_many", "update_many"]

Document = dict[str, Any]


def frames_of(cls: Any, documents: Any, operation: str) -> list[Any]:
    """Return frames for a list of frames and dicts."""
    given = listed(cls, documents, operation)
    if all(_is_kind_of(kind, cls) for kind in {*map(type, given)}):
        return given
    frames = []
    kinds = cls._kinds
    for document in given:
        if _is_kind_of(type(document), cls):
            frames.append(document)
        elif isinstance(document, dict):
            frames.append((cls if kinds is None else kinds.class_of(cls, document))(document))
        else:
            raise FieldError(
                f"{cls.__name__}.{operation}: expected {cls.__name__} frames or dicts, got "
                f"{document!r} of type {type(document).__name__}"
            )
    return frames


def _is_kind_of(kind: Any, cls: Any) -> bool:
    return issubclass(kind, cls) and kind._collection == cls._collection


async def insert_many(port: Port, cls: Any, documents: Any, options: Options) -> list[Any]:
    """Store new frames, give them their ids and return them."""
    check_call(port, cls, "insert_many", options, "insert_many", "bulk_write")
    frames = frames_of(cls, documents, "insert_many")
    if not frames:
        return frames
    if len({*map(id, map(document_of, frames))}) < len(frames):
        raise FieldError(
            f"{cls.__name__}.insert_many: expected every frame once, got one of them twice; copy it"
        )
    session = port.session(cls, options)
    await before_event(port, "insert", cls, frames, session=session)
    collection = port.collection(cls)
    inserts = inserts_of(
        frames,
        port.naive(cls),
        collection.codec_options,
        encodes=len(frames) > 1 and not shows_documents(collection),
    )
    sent = inserts.documents

    def contents() -> list[Any]:
        return [document for document in sent if type(document) is not Sent]

    batch = Batch(InsertOne, [sent], {}, lambda: port.check(cls, contents()))
    port.remember(cls, options, frames)
    outcome = await send(port, cls, batch, contents, options)
    _note_inserted(frames, inserts, outcome)
    failure = outcome.failure(f"{cls.__name__}.insert_many", frames)
    await after_event(port, "inserted", cls, outcome.of(frames), failure, session=session)
    return frames


def _note_inserted(frames: list[Any], inserts: Inserts, outcome: Outcome) -> None:
    """Give frames the ids that they were stored under, and what tells later edits."""
    documents, ids, tracked = inserts
    stored, of_stored = outcome.of(frames), outcome.of(ids)
    for frame, id, sent in zip(stored, of_stored, outcome.of(documents), strict=True):
        frame._document["_id"] = id
        if type(sent) is Sent:
            frame._state = sent
    for i in tracked.intersection(outcome.done()) if tracked else ():
        inserted(frames[i], ids[i])
    for i in outcome.unknown:
        perhaps_inserted(frames[i], ids[i])


# Of stored frames

#: Options of PyMongo's single operations; the others belong to the batch.
_OF_OPERATION = frozenset({"array_filters", "collation", "hint", "sort", "upsert"})


def _stored(cls: Any, documents: Any, operation: str) -> tuple[list[Any], list[Any]]:
    """Return the frames of a batch as given, and each of them once.

    Raises:
        MissingId: one has no `_id`.
    """
    frames = frames_of(cls, documents, operation)
    for frame in frames:
        if frame._document.get("_id") is None:
            id_or_error(frame, operation)
    distinct = {id(frame._document): frame for frame in frames}
    return frames, frames if len(distinct) == len(frames) else [*distinct.values()]


async def _heard(
    port: Port, cls: Any, frames: list[Any], fields: tuple[str, ...], options: Options
) -> tuple[list[Snapshot], tuple[str, ...]]:
    """Call the before-listeners of an update.

    Returns:
        The frames as they were, none where it is known what listeners change, and the fields that
        they are known to change.
    """
    if not listeners("update", cls):
        return [], ()
    codecs = port.collection(cls).codec_options
    # A child may declare more than the listeners do that are called.
    added = foreseen(cls, fields) if {*map(type, frames)} == {cls} else None
    snapshots: list[Snapshot] = []
    if added is None:
        snapshots = [Snapshot(frame, codecs) for frame in frames]
    if added and not fields and any(assigned_by(one.receiver) for one in listeners("update", cls)):
        # What is derived depends on what each frame holds.
        snapshots.extend(Foreseen(frame, added) for frame in frames)
        added = ()
    payload = {"fields": fields, "session": port.session(cls, options)}
    await emit(port, "update", cls, frames, payload)
    return snapshots, added or ()


async def update_many(
    port: Port, cls: Any, documents: Any, fields: tuple[str, ...], options: Options
) -> list[Any]:
    """Write fields of stored frames, in one batch."""
    check_call(port, cls, "update_many", options, "update_one", "bulk_write")
    given, frames = _stored(cls, documents, "update_many")
    check_fields(cls, fields, "update_many")
    if not frames:
        return given
    snapshots, added = await _heard(port, cls, frames, fields, options)
    naive = port.naive(cls)
    named = (*dict.fromkeys((*fields, *added)),) if fields else ()
    changes = None if snapshots else _plain_changes(frames, named, naive)
    is_plain = changes is not None
    if changes is None:
        joined = [snapshot.changed() for snapshot in snapshots] or [{*added}] * len(frames)
        changes = [
            update_of(frame, fields, more, naive, "update_many")
            for frame, more in zip(frames, joined, strict=True)
        ]
    await _send_updates(port, cls, "update_many", frames, changes, options, is_plain=is_plain)
    return given


def _plain_changes(
    frames: list[Any], fields: tuple[str, ...], naive: Naive
) -> list[Document] | None:
    """Return the changes of frames whose named fields hold plain values, None if there are others.

    What they send is what `update_of` would find, without its steps that find nothing to do.
    """
    if not fields or any("." in field for field in fields):
        return None
    kinds: set[Any] = {*map(type, frames)}
    if any(kind._definition.counters.intersection(fields) for kind in kinds):
        return None
    if any(loaded_of(frame) is not None for frame in frames):
        return None
    try:
        if len(fields) == 1:
            (field,) = fields
            parts = [{field: frame._document[field]} for frame in frames]
        else:
            parts = [{field: frame._document[field] for field in fields} for frame in frames]
    except KeyError:
        return None
    held = {*map(type, chain.from_iterable(map(dict.values, parts)))}
    if not held <= SCALARS:
        return None
    if not held <= PLAIN:
        for frame, part in zip(frames, parts, strict=True):
            settle_datetimes(part, naive, type(frame).__name__)
            frame._document.update(part)
    return [{"$set": part} for part in parts]


async def unset_many(
    port: Port, cls: Any, documents: Any, fields: tuple[str, ...], options: Options
) -> list[Any]:
    """Remove fields from stored documents, then from the frames, in one batch."""
    check_call(port, cls, "unset_many", options, "update_one", "bulk_write")
    given, frames = _stored(cls, documents, "unset_many")
    check_unset(cls, fields, "unset_many")
    if not frames:
        return given
    snapshots, added = await _heard(port, cls, frames, Removed(fields), options)
    changes = [{"$unset": removals(fields)} for _ in frames]
    is_plain = not snapshots and not added and not any("." in field for field in fields)
    if snapshots or added:
        joined = [snapshot.changed() for snapshot in snapshots] or [{*added}] * len(frames)
        changes = [unset_change(port, f, fields, j) for f, j in zip(frames, joined, strict=True)]
    await _send_updates(port, cls, "unset_many", frames, changes, options, is_plain=is_plain)
    return given


async def _send_updates(
    port: Port,
    cls: Any,
    operation: str,
    frames: list[Any],
    changes: list[Document],
    options: Options,
    *,
    is_plain: bool = False,
) -> None:
    """Send a batch of updates, then the after-event for what was written, then the failure."""
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    if cls._schema_version is not None:
        from ..stored_upgrades import brought_up  # when a class has older documents

        place = f"{cls.__name__}.{operation}"
        await brought_up(port, cls, frames, shared_options(options), place)
    guards = Guards(port, cls, frames)
    sent = guards.counting(changes)
    if options.get("upsert"):
        pairs = zip(frames, sent, strict=True)
        sent = [with_marks(type(frame), change, options) for frame, change in pairs]

    def contents() -> list[Document]:
        pairs = zip(guards.ids, sent, strict=True)
        return [{"_id": id, **change.get("$set", {})} for id, change in pairs]

    batch = Batch(UpdateOne, [guards.filters(), sent], single, lambda: port.check(cls, contents()))
    if port.transaction(cls, options) is not None:
        for frame, change in zip(frames, changes, strict=True):
            port.remember(cls, options, [frame], change.get("$unset", ()))
    outcome = await send(port, cls, batch, contents, _of_batch(options))
    if not options.get("upsert"):
        await guards.explain(outcome, options, sent)
    written = outcome.of(frames)
    for frame, change in zip(written, outcome.of(changes), strict=True):
        if is_plain and not guards.versions:
            _note_plain(frame, change)
            continue
        if operation == "unset_many":
            forget(frame, change["$unset"])
        acknowledged(frame, change)
    failure = outcome.failure(f"{cls.__name__}.{operation}", frames)
    payload: Document = {"session": port.session(cls, options)}
    if listeners("updated", cls):
        payload["changes"] = outcome.of(sent)
        payload["fields"] = paths_of(payload["changes"])
    await after_event(port, "updated", cls, written, failure, **payload)


def _note_plain(frame: Any, change: Document) -> None:
    """Bring a frame to what a change of fields with plain values has stored."""
    tracked = tracked_of(frame)
    document = frame._document
    for field in change.get("$unset", ()):
        document.pop(field, None)
        if tracked is not None:
            tracked.forget(field)
    if tracked is not None:
        for field, value in change.get("$set", {}).items():
            if document.get(field) is value:  # else it was assigned anew meanwhile
                tracked.forget(field)


def _of_batch(options: Options) -> Options:
    return {k: v for k, v in options.items() if k not in _OF_OPERATION}


async def delete_many(port: Port, cls: Any, documents: Any, options: Options) -> list[Any]:
    """Delete stored documents, in one batch."""
    check_call(port, cls, "delete_many", options, "delete_one", "bulk_write")
    given, frames = _stored(cls, documents, "delete_many")
    if not frames:
        return given
    session = port.session(cls, options)
    await check_case(port, cls, frames, "delete_many", options)
    done = await before_event(port, "delete", cls, frames, session=session)
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    guards = Guards(port, cls, frames, is_delete=True)

    def contents() -> list[Document]:
        return [{"_id": id} for id in guards.ids]

    batch = Batch(DeleteOne, [guards.filters()], single, lambda: port.check(cls, contents()))
    outcome = await send(port, cls, batch, contents, _of_batch(options), "nRemoved")
    await guards.explain(outcome, options)
    failure = outcome.failure(f"{cls.__name__}.delete_many", frames)
    tell_done(failure, done)
    gone = [] if outcome.is_none_found else outcome.of(frames)
    await after_event(port, "deleted", cls, gone, failure, session=session)
    return given
