"""Upserts of which listeners are told: what is stored is looked up, then updated or inserted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from ....errors import BulkError
from ... import operations
from ...forms import own_fields
from ...ids import id_keys
from ...operations.reading import shared_options
from ...paths import lookup
from .containers import OMITS
from .inserting import framed
from .storing import Job
from .targets import assembled

__all__ = ["looked_up", "tell_upserts", "value_at"]

Document = dict[str, Any]


def value_at(filter: Mapping[str, Any], path: str) -> Any:
    """Return the value that a filter asks for at a path."""
    found = filter[path] if path in filter else filter["$and"][0][path]
    return found["$eq"] if isinstance(found, Mapping) and [*found] == ["$eq"] else found


async def looked_up(
    job: Job, on: list[str], filters: list[Any], fields: list[str]
) -> list[Document | None]:
    """Return what is stored of what each filter finds, None where there is nothing.

    Args:
        job: the call.
        on: the paths of the filters.
        filters: each for one document.
        fields: to be read, beside the paths.
    """
    port, cls = job.port, job.cls
    codecs = port.collection(cls).codec_options
    options = {name: v for name, v in shared_options(job.options).items() if name != "ordered"}
    projection = dict.fromkeys(("_id", *on, *fields), True)
    size = port.reference_chunk(cls)
    there: dict[Any, Document] = {}
    for at in range(0, len(filters), size):
        some = filters[at : at + size]
        if on == ["_id"]:
            query: Document = {"_id": {"$in": [value_at(filter, "_id") for filter in some]}}
        else:
            query = {"$or": some}
        for document in await port.find(cls, query, projection, options):
            key = tuple(id_keys([lookup(document, path) for path in on], codecs))
            there[key] = document
    wanted = ([value_at(filter, path) for path in on] for filter in filters)
    return [there.get(tuple(id_keys(values, codecs))) for values in wanted]


async def tell_upserts(
    job: Job, on: list[str], filters: list[Any], columns: list[list[Any]], start: int
) -> None:
    """Update the documents that rows name, insert the others, and tell listeners of both."""
    cls, rows = job.cls, len(filters)
    own = [name for name in own_fields(cls, {}, job.operation) if name is not None]
    try:
        stored = await looked_up(job, on, filters, own)
    except PyMongoError as error:
        job.leave(rows, error)
        return
    documents = assembled(job.paths, columns, rows, job.leaves_out)
    given = [document.get("_id") for document in documents]
    for document, found in zip(documents, stored, strict=True):
        if found is not None:
            known = ("_id", *own, *(path for path in on if "." not in path))
            document.update({name: found[name] for name in known if name in found})
        elif document.get("_id") is None:
            document.pop("_id", None)
    frames = framed(cls, documents)
    number = {id(frame): row for row, frame in enumerate(frames)}
    batches: dict[tuple[str, ...] | None, list[Any]] = {}
    for row, (frame, found) in enumerate(zip(frames, stored, strict=True)):
        fields = None
        if found is not None:
            there = (p for p, c in zip(job.paths, columns, strict=True) if _is_there(job, c[row]))
            fields = tuple(path for path in there if path != "_id" and path not in on)
        batches.setdefault(fields, []).append(frame)
    made: list[Any] = [None] * rows
    for fields, some in batches.items():
        if job.is_over:
            job.not_sent += len(some)
            continue
        written = await _written(job, fields, some, number, start)
        if fields is None:
            job.upserted += len(written)
            for frame in written:
                row = number[id(frame)]
                made[row] = frame._document["_id"] if given[row] is None or on != ["_id"] else None
        else:
            job.matched += len(written)
            job.modified += len(written) if fields else 0
    if job.way.return_ids:
        job.ids.add(made)


def _is_there(job: Job, value: Any) -> bool:
    return not (type(value) in OMITS and type(value) in job.leaves_out)


async def _written(
    job: Job,
    fields: tuple[str, ...] | None,
    frames: list[Any],
    number: Mapping[int, int],
    start: int,
) -> list[Any]:
    """Insert frames, or update fields of them; return those that were written."""
    port, cls, options = job.port, job.cls, dict(job.options)
    if fields == ():
        return frames
    said: dict[int, Any] = {}
    try:
        if fields is None:
            return await operations.insert_many(port, cls, frames, options)
        return await operations.update_many(port, cls, frames, fields, options)
    except BulkError as error:
        _pass_on_listeners(error)
        cause = error.__cause__
        is_lost = isinstance(cause, PyMongoError) and not isinstance(cause, BulkWriteError)
        job.error = cause if is_lost else error
        details = error.details or {}
        for one in details.get("writeErrors", ()):
            said[id(frames[one["index"]])] = one
        job.failures.concerns += details.get("writeConcernErrors") or ()
        failed, unknown, written = error.frames_failed, error.frames_unknown, error.frames_written
    except PyMongoError as error:
        _pass_on_listeners(error)
        job.error = error
        is_open = isinstance(error, ConnectionFailure)
        is_open = is_open and not isinstance(error, ServerSelectionTimeoutError)
        reasons = [(frame, f"{type(error).__name__}: {error}") for frame in frames]
        failed, unknown = ([], reasons) if is_open else (reasons, [])
        written = []
    for state, those in (("failed", failed), ("unknown", unknown)):
        for frame, reason in those:
            row = start + number[id(frame)]
            told = said.get(id(frame), {})
            id_ = frame._document.get("_id")
            job.failures.add(row, state, told, reason, id_)  # type: ignore[arg-type]  # one of two
    return written


def _pass_on_listeners(error: PyMongoError) -> None:
    """Raise what a listener raised: the write was done."""
    if any("raised by a listener" in note for note in getattr(error, "__notes__", ())):
        raise error
