"""Upgrades of stored documents: each is written only while it is as it was when it was read.

So two programs never undo what the other has done, and a write that comes from an older form is
never mixed into a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bson.codec_options import CodecOptions
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from ..encoding import ENCODING_ERRORS, encode
from ..errors import EncodeError, QueryError, SchemaVersionError
from .chunks import documents_by_id, found_by_id
from .forms import SCHEMA_VERSION, is_in_form, other_form, version_of
from .ids import id_keys
from .loaded import is_nameable
from .missing import Missing
from .port import Documents, Port
from .primaries import on_primary
from .tracking import copied
from .upgrading import upgraded

__all__ = [
    "Change",
    "Upgraded",
    "bring_up_first",
    "bring_up_matching",
    "brought_up",
    "change_of",
    "upgrade_stored",
]

Document = dict[str, Any]

#: The size of the largest command for one document, in bytes.
_LARGEST = 16 * 1024 * 1024
#: How often a document is looked at that others go on changing.
_LOOKS = 5


class Change(NamedTuple):
    """What an upgrade makes of one document.

    Attributes:
        before: the document as it was.
        update: the update document.
        is_content: whether more changes than its number.
    """

    before: Document
    update: dict[str, dict[str, Any]]
    is_content: bool


def change_of(cls: Any, document: Document, codecs: CodecOptions[Any]) -> Change:
    """Return what brings a stored document of an older form to the one of its class.

    Raises:
        EncodeError: a value cannot be stored, or the document is too large.
        Exception: what `_upgrade` raises.
        QueryError: it changes a field that no update can name.
    """
    if cls._kinds is not None:
        cls = cls._kinds.class_of(cls, document)
    before = copied(document)
    after = upgraded(cls, document)
    after[SCHEMA_VERSION] = cls._schema_version
    assigned = {
        name: value
        for name, value in after.items()
        if name not in before or not _is_same(before[name], value, codecs)
    }
    removed = dict.fromkeys((name for name in before if name not in after), True)
    for name in (*assigned, *removed):
        if not is_nameable(name):
            raise QueryError(
                f"{cls.__name__}._upgrade: expected changes of fields that an update can name, "
                f"got one of {name!r}"
            )
    is_content = bool(removed) or assigned.keys() != {SCHEMA_VERSION}
    update: dict[str, dict[str, Any]] = {"$set": assigned}
    if removed:
        update["$unset"] = removed
    if cls._version is not None:
        # Who has loaded the older form must not write it back.
        assigned.pop(cls._version, None)
        removed.pop(cls._version, None)
        update["$inc"] = {cls._version: 1}
    if len(encode(update, codecs)) + len(encode(before, codecs)) > _LARGEST:
        raise EncodeError(
            f"{cls.__name__}._upgrade: expected a document and its changes of at most 16 MB "
            "together, because it is written only while it is as it was, got more; write it by "
            "get_collection()"
        )
    return Change(before, update, is_content)


def _is_same(one: Any, other: Any, codecs: CodecOptions[Any]) -> bool:
    try:
        return encode({"": one}, codecs) == encode({"": other}, codecs)
    except ENCODING_ERRORS:
        return False  # the write itself says what is wrong with it


class Upgraded(NamedTuple):
    """What became of stored documents: their ids, and why some could not be upgraded."""

    changes: list[Change]
    failed: list[tuple[Any, BaseException | str]]
    #: upgraded, or deleted, by others meanwhile
    elsewhere: int


async def upgrade_stored(
    port: Port, cls: Any, documents: Documents, options: Mapping[str, Any]
) -> Upgraded:
    """Upgrade whole documents where they are stored, each only while it is as it was read.

    One that others change meanwhile is read again; it is never overwritten.
    """
    with on_primary(port, cls):
        return await _upgrade_stored(port, cls, documents, options)


async def _upgrade_stored(
    port: Port, cls: Any, documents: Documents, options: Mapping[str, Any]
) -> Upgraded:
    codecs = port.collection(cls).codec_options
    done: list[Change] = []
    failed: list[tuple[Any, BaseException | str]] = []
    elsewhere = 0
    for _ in range(_LOOKS):
        changes: list[Change] = []
        for document in documents:
            id = document["_id"]
            try:
                changes.append(change_of(cls, document, codecs))
            except Exception as error:
                failed.append((id, error))
        if not changes:
            return Upgraded(done, failed, elsewhere)
        requests = [UpdateOne(_unchanged(change.before), change.update) for change in changes]
        contents = [change.update["$set"] for change in changes]
        reasons: dict[int, str] = {}
        try:
            result = await port.write(
                cls, "bulk_write", contents, requests, ordered=False, **options
            )
            matched = result.matched_count if result.acknowledged else len(changes)
        except BulkWriteError as error:
            details = error.details or {}
            matched = details.get("nMatched", 0)
            for one in details.get("writeErrors", ()):
                reasons[one["index"]] = str(one.get("errmsg", one))
            if not reasons:
                raise  # the write concern failed
        failed += [(changes[at].before["_id"], reason) for at, reason in reasons.items()]
        tried = [change for at, change in enumerate(changes) if at not in reasons]
        if matched >= len(tried):
            return Upgraded(done + tried, failed, elsewhere)
        ids = [change.before["_id"] for change in tried]
        now = await documents_by_id(port, cls, ids, None, options)
        documents = []
        ours: list[Change] = []
        for change, found in zip(tried, now, strict=True):
            if found is not None and version_of(cls, found) < cls._schema_version:
                documents.append(found)
            else:
                ours.append(change)
        others = max(0, len(ours) - matched)
        elsewhere += others
        done += ours[: len(ours) - others]
        if not documents:
            return Upgraded(done, failed, elsewhere)
    why = f"it was changed by others between {_LOOKS} looks"
    failed += [(document["_id"], why) for document in documents]
    return Upgraded(done, failed, elsewhere)


def _unchanged(document: Document) -> Document:
    """Return the filter of a document, as long as it is what it was."""
    id = Missing(None, document["_id"])
    return {"_id": {"$eq": id}, "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}


async def brought_up(
    port: Port, cls: Any, frames: Sequence[Any], options: Mapping[str, Any], place: str
) -> int:
    """Upgrade the stored documents of frames that are about to be written; return how many.

    Frames that hold the version that their document had before take over the one it has now.

    Raises:
        SchemaVersionError: a document has a newer form than the class, or cannot be upgraded.
    """
    ids = [frame._document["_id"] for frame in frames]
    with on_primary(port, cls):
        documents = await found_by_id(port, cls, ids, None, options, other_form(cls))
    if not documents:
        return 0
    done = await _all_upgraded(port, cls, documents, options, place)
    codecs = port.collection(cls).codec_options
    by_key = dict(zip(id_keys(ids, codecs), frames, strict=True))
    for key, change in zip(
        id_keys([change.before["_id"] for change in done], codecs), done, strict=True
    ):
        frame: Any = by_key.get(key)
        version = getattr(frame, "_version", None)
        if version is not None and frame._document.get(version) == change.before.get(version):
            frame._document[version] = (frame._document.get(version) or 0) + 1
    return len(documents)


async def bring_up_matching(
    port: Port, cls: Any, query: Mapping[str, Any], options: Mapping[str, Any], place: str
) -> None:
    """Upgrade the stored documents that match a filter and are about to be written.

    Raises:
        SchemaVersionError: one has a newer form than the class, or cannot be upgraded.
    """
    wanted = {"$and": [query, other_form(cls)]} if query else other_form(cls)
    shared = {k: v for k, v in options.items() if k in ("session", "comment")}
    with on_primary(port, cls):
        cursor = port.cursor(cls, wanted, None, {**options, "batch_size": 1_000})
    stream = port.batches(cursor, 1_000)
    try:
        async for documents in stream:
            await _all_upgraded(port, cls, documents, shared, place)
    finally:
        await stream.aclose()


async def bring_up_first(
    port: Port, cls: Any, query: Mapping[str, Any], options: Mapping[str, Any], place: str
) -> None:
    """Upgrade the first document that matches a filter until it is one of the class's form.

    Raises:
        SchemaVersionError: it has a newer form, or cannot be upgraded.
    """
    shared = {k: v for k, v in options.items() if k in ("session", "comment")}
    for _ in range(_LOOKS):
        with on_primary(port, cls):
            found = await port.find_one(cls, query, {SCHEMA_VERSION: True}, options)
        if found is None or is_in_form(cls, found):
            return
        with on_primary(port, cls):
            documents = await documents_by_id(port, cls, [found["_id"]], None, shared)
        for document in documents:
            if document is not None and not is_in_form(cls, document):
                await _all_upgraded(port, cls, [document], shared, place)


async def _all_upgraded(
    port: Port, cls: Any, documents: Documents, options: Mapping[str, Any], place: str
) -> list[Change]:
    _refuse_newer(cls, documents, place)
    outcome = await upgrade_stored(port, cls, documents, options)
    for id, reason in outcome.failed:
        failure = SchemaVersionError(
            f"{place}: expected the stored document with _id={id!r} to be upgraded to "
            f"{SCHEMA_VERSION}={cls._schema_version}, got {reason}"
        )
        raise failure from (reason if isinstance(reason, BaseException) else None)
    return outcome.changes


def _refuse_newer(cls: Any, documents: Iterable[Mapping[str, Any]], place: str) -> None:
    """Refuse documents of a newer form than the class has.

    Raises:
        SchemaVersionError: there is one.
    """
    for document in documents:
        number = version_of(cls, document)
        if number > cls._schema_version:
            raise SchemaVersionError(
                f"{place}: expected a document with {SCHEMA_VERSION} up to {cls._schema_version}, "
                f"got {number} in the one with _id={document.get('_id')!r}, which a newer program "
                "has written; deploy that program here, too"
            )
