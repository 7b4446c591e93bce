"""Every operation on frames, written once as a coroutine over a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError

from ..errors import BulkError, Duplicate, FieldError, Gone, NotFound
from .changes import Snapshot, check_fields, document_to_insert, id_or_error, update_of
from ..encoding import ENCODING_ERRORS, settle_datetimes, unencodable
from .events import emit, listeners
from .paths import is_ancestor
from .port import Port
from .projections import Projection, plan_for
from .queries import to_filter, to_sort
from .references import build

__all__ = [
    "by_id",
    "by_ids",
    "count",
    "delete",
    "delete_many",
    "each",
    "exists",
    "ids",
    "insert",
    "insert_many",
    "many",
    "one",
    "reload",
    "unset",
    "unset_many",
    "update",
    "update_many",
    "upsert",
]

Options = dict[str, Any]

#: How many frames one step of `each` makes.
BATCH = 1_000

# Reading


def compiled_filter(port: Port, cls: Any, filter: Any) -> dict[str, Any]:
    """Return a filter as the driver takes it."""
    compiled = to_filter(filter)
    naive = port.naive(cls)
    if naive != "utc":
        settle_datetimes(compiled, naive, f"{cls.__name__} filter")
    return compiled


def id_filter(id: Any) -> dict[str, Any]:
    """Return the filter for one `_id`, which no value of it can turn into an operator."""
    return {"_id": id} if isinstance(id, (ObjectId, str, int)) else {"_id": {"$eq": id}}


def _find_options(options: Options) -> Options:
    if "sort" in options:
        options["sort"] = to_sort(options["sort"])
    return options


async def one(
    port: Port, cls: Any, filter: Any, projection: Projection, required: bool, options: Options
) -> Any:
    """Return the first frame that matches, or None."""
    query = compiled_filter(port, cls, filter)
    plan = plan_for(cls, projection)
    document = await port.find_one(cls, query, plan.driver, _find_options(options))
    if document is None:
        if required:
            raise NotFound(f"{cls.__name__}: expected a document that matches {query!r}, found none")
        return None
    return (await build(port, plan, [document], options))[0]


async def many(
    port: Port, cls: Any, filter: Any, projection: Projection, options: Options
) -> list[Any]:
    """Return all frames that match."""
    query = compiled_filter(port, cls, filter)
    plan = plan_for(cls, projection)
    documents = await port.find(cls, query, plan.driver, _find_options(options))
    return await build(port, plan, documents, options)


def each(
    port: Port, cls: Any, filter: Any, projection: Projection, options: Options
) -> AsyncGenerator[list[Any], None]:
    """Return batches of frames; the collection is chosen now, the query is sent by the first step."""
    query = compiled_filter(port, cls, filter)
    plan = plan_for(cls, projection)
    options = {"batch_size": BATCH, **_find_options(options)}
    collection = port.collection(cls)
    cursor = collection.find(query, plan.driver, **options)

    async def batches() -> AsyncGenerator[list[Any], None]:
        stream = port.batches(cursor, BATCH)
        try:
            async for documents in stream:
                yield await build(port, plan, documents, options)
        except ENCODING_ERRORS as error:
            raise unencodable(
                f"{cls.__name__} filter", query, collection.codec_options, error
            ) from error
        finally:
            await stream.aclose()

    return batches()


async def by_id(
    port: Port, cls: Any, id: Any, projection: Projection, required: bool, options: Options
) -> Any:
    """Return the frame with an `_id`, or None."""
    return await one(port, cls, id_filter(cls._to_id(id)), projection, required, options)


async def by_ids(
    port: Port, cls: Any, ids: Iterable[Any], projection: Projection, options: Options
) -> list[Any]:
    """Return the frames with these ids, in their order, without the missing ones."""
    wanted = to_filter({"_id": {"$in": [cls._to_id(id) for id in _listed(cls, ids, "by_ids")]}})
    wanted_ids = wanted["_id"]["$in"]
    plan = plan_for(cls, projection)
    if plan.driver is not None and plan.driver.get("_id") is False:
        raise FieldError(f"{cls.__name__}.by_ids: expected a projection with _id, got it excluded")
    size = port.reference_chunk(cls)
    unique = _unique(wanted_ids)
    work = [
        port.find(cls, {"_id": {"$in": unique[start : start + size]}}, plan.driver, options)
        for start in range(0, len(unique), size)
    ]
    found = await port.all(work, ordered=options.get("session") is not None)
    frames = await build(port, plan, [d for documents in found for d in documents], options)
    index = {_hashable(frame._document["_id"]): frame for frame in frames}
    return [index[key] for key in map(_hashable, wanted_ids) if key in index]


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _unique(values: Iterable[Any]) -> list[Any]:
    return list({_hashable(value): value for value in values}.values())


def _listed(cls: Any, values: Any, operation: str) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise FieldError(
            f"{cls.__name__}.{operation}: expected a list, got {values!r} of type "
            f"{type(values).__name__}"
        )
    return list(values)


async def count(port: Port, cls: Any, filter: Any, options: Options) -> int:
    """Return how many documents match; without a filter the server's own estimate."""
    query = compiled_filter(port, cls, filter)
    if not query and options.keys() <= {"comment"}:
        return await port.estimate(cls, options)
    return await port.count(cls, query, options)


async def ids(port: Port, cls: Any, filter: Any, options: Options) -> list[Any]:
    """Return the ids of the documents that match."""
    query = compiled_filter(port, cls, filter)
    documents = await port.find(cls, query, {"_id": True}, _find_options(options))
    return [document["_id"] for document in documents]


async def exists(port: Port, cls: Any, filter: Any, options: Options) -> bool:
    """Tell whether a document matches."""
    query = compiled_filter(port, cls, filter)
    return await port.find_one(cls, query, {"_id": True}, options) is not None


async def reload(port: Port, frame: Any, projection: Projection, options: Options) -> None:
    """Replace what a frame holds by what is stored now."""
    cls = type(frame)
    id = id_or_error(frame, "reload")
    fresh = await one(port, cls, id_filter(id), projection, False, options)
    if fresh is None:
        raise _gone(cls, id, "reload")
    frame._document = fresh._document
    if hasattr(frame, "_state"):
        del frame._state
    if hasattr(fresh, "_state"):
        frame._state = fresh._state


def _gone(cls: Any, id: Any, operation: str) -> Gone:
    return Gone(
        f"{cls.__name__}.{operation}: expected the document with _id={id!r}, found none; "
        "it was deleted or never stored"
    )


# Writing one


async def _before(port: Port, event: str, cls: Any, frames: list[Any], **payload: Any) -> None:
    if listeners(event, cls):
        await emit(port, event, cls, frames, payload)


_after = _before


async def insert(port: Port, frame: Any, options: Options) -> None:
    """Store a new frame and give it its `_id`."""
    cls = type(frame)
    session = options.get("session")
    await _before(port, "insert", cls, [frame], session=session)
    document = document_to_insert(frame, port.naive(cls))
    await port.write(cls, "insert_one", document, document, **options)
    frame._document["_id"] = document["_id"]
    await _after(port, "inserted", cls, [frame], session=session)


def _snapshot(port: Port, frame: Any) -> Snapshot:
    return Snapshot(frame._document, port.collection(type(frame)).codec_options)


async def update(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Write fields of a stored frame."""
    cls = type(frame)
    id = id_or_error(frame, "update")
    check_fields(cls, fields, "update")
    session = options.get("session")
    snapshot = None
    if listeners("update", cls):
        snapshot = _snapshot(port, frame)
        await emit(port, "update", cls, [frame], {"fields": fields, "session": session})
    change = update_of(frame, fields, snapshot, port.naive(cls), "update")
    await _update_one(port, cls, id, change, options, "update")
    await _after(
        port,
        "updated",
        cls,
        [frame],
        fields=_paths([change]),
        changes=[change],
        session=session,
    )


async def _update_one(
    port: Port, cls: Any, id: Any, change: Mapping[str, Any], options: Options, operation: str
) -> None:
    result = await port.write(
        cls, "update_one", change.get("$set", {}), id_filter(id), change, **options
    )
    if result.acknowledged and not result.matched_count and result.upserted_id is None:
        raise _gone(cls, id, operation)


def _paths(changes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p for change in changes for paths in change.values() for p in paths))


async def unset(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Remove fields from a stored document, then from the frame."""
    cls = type(frame)
    id = id_or_error(frame, "unset")
    _check_unset(cls, fields, "unset")
    session = options.get("session")
    change: dict[str, Any] = {"$unset": dict.fromkeys(fields, True)}
    if listeners("update", cls):
        snapshot = _snapshot(port, frame)
        await emit(port, "update", cls, [frame], {"fields": fields, "session": session})
        change = _unset_change(port, frame, fields, snapshot)
    await _update_one(port, cls, id, change, options, "unset")
    _forget(frame, fields)
    await _after(
        port, "updated", cls, [frame], fields=_paths([change]), changes=[change], session=session
    )


def _check_unset(cls: Any, fields: tuple[str, ...], operation: str) -> None:
    if not fields:
        raise FieldError(f"{cls.__name__}.{operation}: expected names of fields, got none")
    check_fields(cls, fields, operation)


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


def _unset_change(
    port: Port, frame: Any, fields: tuple[str, ...], snapshot: Snapshot
) -> dict[str, Any]:
    change = joined_changes(port, frame, fields, snapshot)
    change["$unset"] = {**change.get("$unset", {}), **dict.fromkeys(fields, True)}
    return change


def _forget(frame: Any, fields: Iterable[str]) -> None:
    for field in fields:
        *parents, last = field.split(".")
        holder: Any = frame._document
        for key in parents:
            holder = holder.get(key) if isinstance(holder, dict) else None
            holder = getattr(holder, "_document", holder)
        if isinstance(holder, dict):
            holder.pop(last, None)


async def upsert(port: Port, frame: Any, fields: tuple[str, ...], options: Options) -> None:
    """Insert a frame that is not stored, else update it; right also when others do the same."""
    cls = type(frame)
    check_fields(cls, fields, "upsert")
    if frame._document.get("_id") is None:
        frame._document.pop("_id", None)
        return await insert(port, frame, options)
    id = frame._document["_id"]
    shared = {k: options[k] for k in ("session", "comment") if k in options}
    while True:
        # Another writer may insert or delete between the look and the write: look again.
        if await port.find_one(cls, id_filter(id), {"_id": True}, shared) is not None:
            try:
                return await update(port, frame, fields, options)
            except Gone:
                continue
        try:
            return await insert(port, frame, options)
        except Duplicate as error:
            if error.fields != ("_id",):
                raise


async def delete(port: Port, frame: Any, options: Options) -> None:
    """Delete a stored document."""
    cls = type(frame)
    id = id_or_error(frame, "delete")
    session = options.get("session")
    await _before(port, "delete", cls, [frame], session=session)
    await port.write(cls, "delete_one", {}, id_filter(id), **options)
    await _after(port, "deleted", cls, [frame], session=session)


# Writing many


def frames_of(cls: Any, documents: Any, operation: str) -> list[Any]:
    """Return frames for a list of frames and dicts."""
    frames = []
    for document in _listed(cls, documents, operation):
        if isinstance(document, cls):
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
    session = options.get("session")
    await _before(port, "insert", cls, frames, session=session)
    naive = port.naive(cls)
    copies = [document_to_insert(frame, naive) for frame in frames]
    failed: BulkWriteError | None = None
    written = range(len(frames))
    reasons: dict[int, str] = {}
    try:
        await port.write(cls, "insert_many", copies, copies, **options)
    except BulkWriteError as error:
        failed = error
        reasons = _reasons(error, len(frames), options.get("ordered", True))
    done = [i for i in written if i not in reasons]
    for i in done:
        frames[i]._document["_id"] = copies[i]["_id"]
    stored = [frames[i] for i in done]
    if stored:
        await _after(port, "inserted", cls, stored, session=session)
    if failed is not None:
        raise _bulk_error(cls, "insert_many", frames, reasons, failed) from failed
    return frames


def _reasons(error: BulkWriteError, total: int, ordered: bool) -> dict[int, str]:
    """Return, by position, why operations of a batch were not done."""
    errors = (error.details or {}).get("writeErrors", [])
    reasons = {e["index"]: str(e.get("errmsg", e)) for e in errors}
    if ordered and reasons:
        first = min(reasons)
        reasons |= {i: "not tried after an earlier failure" for i in range(first + 1, total)}
    return reasons


def _bulk_error(
    cls: Any,
    operation: str,
    frames: list[Any],
    reasons: Mapping[int, str],
    error: BulkWriteError | None,
) -> BulkError:
    return BulkError(
        f"{cls.__name__}.{operation}",
        [frame for i, frame in enumerate(frames) if i not in reasons],
        [(frames[i], reasons[i]) for i in sorted(reasons)],
        None if error is None else error.details,
    )


#: Options of PyMongo's single operations; the others belong to the batch.
_OF_OPERATION = frozenset({"array_filters", "collation", "hint", "sort", "upsert"})


async def _batch(
    port: Port,
    cls: Any,
    operation: str,
    frames: list[Any],
    requests: list[Any],
    contents: Any,
    options: Options,
) -> dict[int, str]:
    """Send one request per frame; return why some were not done, by position.

    Raises:
        BulkError: after the reasons are known and none of the frames was written.
    """
    batch = {k: v for k, v in options.items() if k not in _OF_OPERATION}
    try:
        result = await port.write(cls, "bulk_write", contents, requests, **batch)
    except BulkWriteError as error:
        reasons = _reasons(error, len(frames), options.get("ordered", True))
        raise _Partly(reasons, error) from error
    if operation == "delete_many" or not result.acknowledged or options.get("upsert"):
        return {}
    if result.matched_count >= len(frames):
        return {}
    # Fewer matched than asked for: one more read tells which documents are not there.
    all_ids = [frame._document["_id"] for frame in frames]
    shared = {k: options[k] for k in ("session", "comment") if k in options}
    size = port.reference_chunk(cls)
    unique = _unique(all_ids)
    found = await port.all(
        [
            port.find(cls, {"_id": {"$in": unique[i : i + size]}}, {"_id": True}, shared)
            for i in range(0, len(unique), size)
        ],
        ordered=True,
    )
    present = {_hashable(d["_id"]) for documents in found for d in documents}
    return {
        i: f"no document has _id={id!r}"
        for i, id in enumerate(all_ids)
        if _hashable(id) not in present
    }


class _Partly(Exception):
    """A batch that the server did in part, on its way to the after-event."""

    def __init__(self, reasons: dict[int, str], error: BulkWriteError) -> None:
        super().__init__()
        self.reasons = reasons
        self.error = error


async def _write_many(
    port: Port,
    cls: Any,
    operation: str,
    event: str,
    frames: list[Any],
    requests: list[Any],
    contents: Any,
    options: Options,
    **payload: Any,
) -> None:
    """Send a batch, then the after-event for the frames that were written, then the failure."""
    failed: BulkWriteError | None = None
    try:
        reasons = await _batch(port, cls, operation, frames, requests, contents, options)
    except _Partly as partly:
        reasons, failed = partly.reasons, partly.error
    written = [frame for i, frame in enumerate(frames) if i not in reasons]
    changes = payload.get("changes")
    if changes:
        payload["changes"] = [change for i, change in enumerate(changes) if i not in reasons]
        payload["fields"] = _paths(payload["changes"])
    if operation == "unset_many":
        for frame, change in zip(written, payload["changes"]):
            _forget(frame, change["$unset"])
    if written:
        await _after(port, event, cls, written, session=options.get("session"), **payload)
    if reasons or failed is not None:
        raise _bulk_error(cls, operation, frames, reasons, failed) from failed


def _update_requests(
    cls: Any, frames: list[Any], changes: list[dict[str, Any]], options: Options
) -> list[Any]:
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    return [
        UpdateOne(id_filter(frame._document["_id"]), change, **single)
        for frame, change in zip(frames, changes)
    ]


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
        snapshots = [_snapshot(port, frame) for frame in frames]
        session = options.get("session")
        await emit(port, "update", cls, frames, {"fields": fields, "session": session})
    naive = port.naive(cls)
    changes = [
        update_of(frame, fields, snapshot, naive, "update_many")
        for frame, snapshot in zip(frames, snapshots)
    ]
    requests = _update_requests(cls, frames, changes, options)
    contents = [change.get("$set", {}) for change in changes]
    await _write_many(
        port, cls, "update_many", "updated", frames, requests, contents, options, changes=changes
    )
    return frames


async def unset_many(
    port: Port, cls: Any, documents: Any, fields: tuple[str, ...], options: Options
) -> list[Any]:
    """Remove fields from stored documents, then from the frames, in one batch."""
    frames = frames_of(cls, documents, "unset_many")
    _check_unset(cls, fields, "unset_many")
    for frame in frames:
        id_or_error(frame, "unset_many")
    if not frames:
        return frames
    changes = [{"$unset": dict.fromkeys(fields, True)} for _ in frames]
    if listeners("update", cls):
        snapshots = [_snapshot(port, frame) for frame in frames]
        session = options.get("session")
        await emit(port, "update", cls, frames, {"fields": fields, "session": session})
        changes = [_unset_change(port, f, fields, s) for f, s in zip(frames, snapshots)]
    requests = _update_requests(cls, frames, changes, options)
    contents = [change.get("$set", {}) for change in changes]
    await _write_many(
        port, cls, "unset_many", "updated", frames, requests, contents, options, changes=changes
    )
    return frames


async def delete_many(port: Port, cls: Any, documents: Any, options: Options) -> list[Any]:
    """Delete stored documents, in one batch."""
    frames = frames_of(cls, documents, "delete_many")
    for frame in frames:
        id_or_error(frame, "delete_many")
    if not frames:
        return frames
    await _before(port, "delete", cls, frames, session=options.get("session"))
    single = {k: v for k, v in options.items() if k in _OF_OPERATION}
    requests = [DeleteOne(id_filter(frame._document["_id"]), **single) for frame in frames]
    await _write_many(port, cls, "delete_many", "deleted", frames, requests, [], options)
    return frames


Operation = Coroutine[Any, Any, Any]
