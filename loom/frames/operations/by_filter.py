"""Writing all documents that match a filter, without losing count or a listener.

With nothing to listen it is one command. Else the ids of what matches are read as a stream, in
their order, so that no document comes twice however it is changed; each batch of them is read,
told to the listeners, written with its ids and the filter, and told again.
"""

from __future__ import annotations

from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import DeleteOne, UpdateOne

from ...encoding import ENCODING_ERRORS, clearer, encode
from ...errors import FieldError, QueryError, nearest
from ..events import emit, listeners
from ..normalising import with_array_filters
from ..paths import MISSING, lookup
from ..port import Port
from ..updates import Changes, compiled_changes, paths_in, with_joined, with_version
from ..values import plain
from .matching import Matching, Way
from .reading import Options
from .writing import joined_changes, snapshot_of, tell_done

__all__ = ["delete_where", "update_where"]

_OF_DELETE = frozenset({"collation", "comment", "hint", "let", "session"})
_OF_UPDATE = _OF_DELETE | {"array_filters", "bypass_document_validation"}


async def update_where(
    port: Port, cls: Any, filter: Any, changes: Changes, way: Way, options: Options
) -> int:
    """Change all documents that match; return how many they were."""
    _check(port, cls, "update_where", way, options, _OF_UPDATE)
    sent = compiled_changes(cls, changes, port.naive(cls), "update_where")
    options = with_array_filters(cls, sent, options)
    _check_encoding(port, cls, sent)
    matching = Matching(port, cls, "update_where", filter, way, options)
    if way.dry_run:
        return await matching.count()
    if cls._timeseries is not None:
        _check_series(matching, sent)
    await matching.bring_up()
    if not matching.is_heard("update", "updated"):
        if listeners("update", cls):
            (sent,) = await _extended(matching, sent, 1, [])
            if cls._timeseries is not None:
                _check_series(matching, sent)
        return await matching.at_once("update_many", with_version(cls, sent))
    return await matching.in_batches(lambda ids: _update(matching, sent, ids))


def _check_series(matching: Matching, sent: Any) -> None:
    """Refuse what no time-series collection takes."""
    from ..timeseries import check_update  # when a class has one

    cls = matching.cls
    query, counted = matching.port.narrowed(cls, matching.query), with_version(cls, sent)
    check_update(cls, query, counted, paths_in(counted), matching.is_heard("update", "updated"))


async def delete_where(port: Port, cls: Any, filter: Any, way: Way, options: Options) -> int:
    """Delete all documents that match; return how many they were."""
    _check(port, cls, "delete_where", way, options, _OF_DELETE)
    matching = Matching(port, cls, "delete_where", filter, way, options)
    if way.dry_run:
        return await matching.count()
    if not matching.is_heard("delete", "deleted"):
        return await matching.at_once("delete_many")
    return await matching.in_batches(lambda ids: _delete(matching, ids))


def _check(
    port: Port, cls: Any, operation: str, way: Way, options: Options, known: frozenset[str]
) -> None:
    if not way.dry_run:
        port.check_writable(cls, operation)
    for name in options:
        if name not in known:
            hint = "; to insert what is not there use upsert()" if name == "upsert" else ""
            raise FieldError(
                f"{cls.__name__}.{operation}: expected options {', '.join(sorted(known))}, got "
                f"{name!r}{hint or nearest(name, known)}"
            )


def _check_encoding(port: Port, cls: Any, sent: Any) -> None:
    """Refuse what cannot be stored before any listener hears of it."""
    content = sent if isinstance(sent, dict) else {"stages": sent}
    codecs = port.collection(cls).codec_options
    try:
        encode(content, codecs)
    except ENCODING_ERRORS as error:
        raise clearer(cls.__name__, content, codecs, error) from error


# One batch


async def _update(matching: Matching, sent: Any, ids: list[Any]) -> None:
    cls = matching.cls
    frames = matching.named(ids)
    if matching.wants_frames("update"):
        positions, frames = await matching.frames(ids, only_matching=True)
        ids = [ids[position] for position in positions]
        if not ids:
            return
    changes = [sent] * len(ids)
    if listeners("update", cls):
        changes = await _extended(matching, sent, len(ids), frames)
    counted = [with_version(cls, change) for change in changes]

    def contents() -> list[Any]:
        parts = (c if isinstance(c, dict) else {"stages": c} for c in counted)
        return [{"_id": id, **part} for id, part in zip(ids, parts, strict=True)]

    outcome, number = await matching.send(UpdateOne, ids, [counted], contents, "nMatched")
    failure = matching.failure(outcome, frames)
    written = outcome.done()
    with matching.asking(failure):
        if number < len(written):
            written = await _written(matching, ids, changes, written, number)
        now = matching.named([ids[position] for position in written])
        if matching.wants_frames("updated"):
            positions, now = await matching.frames([f._document["_id"] for f in now])
            written = [written[position] for position in positions]
    told = [counted[position] for position in written]
    paths = tuple(dict.fromkeys(path for change in told for path in paths_in(change)))
    await matching.tell("updated", now, failure, fields=paths, changes=told)


async def _extended(matching: Matching, sent: Any, count: int, frames: list[Any]) -> list[Any]:
    """Tell what listens to `update`; return update documents with what listeners changed."""
    port, cls = matching.port, matching.cls
    changes = [plain(sent, "") for _ in range(count)]
    snapshots = [snapshot_of(port, frame) for frame in frames]
    payload = {"fields": paths_in(sent), "changes": changes, "session": matching.session}
    await emit(port, "update", cls, frames, payload)
    if len(changes) != count:
        raise QueryError(
            f"{matching.place}: expected listeners to leave {count} changes, one for each frame, "
            f"got {len(changes)}; extend the dicts in the list"
        )
    naive = port.naive(cls)
    changes = [compiled_changes(cls, change, naive, "update_where") for change in changes]
    for position, (frame, snapshot) in enumerate(zip(frames, snapshots, strict=True)):
        change = changes[position]
        joined = joined_changes(port, frame, paths_in(change), snapshot)
        changes[position] = with_joined(change, joined)
    return changes


async def _written(
    matching: Matching, ids: list[Any], changes: list[Any], tried: list[int], number: int
) -> list[int]:
    """Return the positions of what was written, when others changed documents meanwhile.

    The server says only how many. What still matches was written, unless the write itself made
    that it does not; then what is there and does not contradict the write.
    """
    asked = [ids[position] for position in tried]
    still = await matching.find(asked, {"_id": True}, only_matching=True)
    if len(still) == number:
        return [tried[position] for position in still]
    there = await matching.find(asked, None)
    codecs = matching.port.collection(matching.cls).codec_options
    likely = [
        position
        for position, document in there.items()
        if position in still or _shows(document, changes[tried[position]], codecs)
    ]
    return [tried[position] for position in (likely if len(likely) >= number else there)]


def _shows(document: dict[str, Any], change: Any, codecs: CodecOptions[Any]) -> bool:
    """Tell whether a document can be what an update document has made."""
    if isinstance(change, list):
        return True
    assigned = bson.decode(encode(change.get("$set", {}), codecs), codecs)
    for path, value in assigned.items():
        if "$" not in path and lookup(document, path) != value:
            return False
    return all(lookup(document, path) is MISSING for path in change.get("$unset", {}))


async def _delete(matching: Matching, ids: list[Any]) -> None:
    cls = matching.cls
    frames = matching.named(ids)
    if matching.wants_frames("delete", "deleted"):
        positions, frames = await matching.frames(ids, only_matching=True)
        ids = [ids[position] for position in positions]
        if not ids:
            return
    done = []
    if listeners("delete", cls):
        done = await emit(matching.port, "delete", cls, frames, {"session": matching.session})

    def contents() -> list[Any]:
        return [{"_id": id} for id in ids]

    outcome, number = await matching.send(DeleteOne, ids, [], contents, "nRemoved")
    failure = matching.failure(outcome, frames)
    tell_done(failure, done)
    written = outcome.done()
    if number < len(written):
        with matching.asking(failure):
            there = await matching.find([ids[position] for position in written], {"_id": True})
        written = [at for position, at in enumerate(written) if position not in there]
    await matching.tell("deleted", [frames[position] for position in written], failure)
