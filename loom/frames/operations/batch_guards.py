"""The conditions of a batch, and who was meant when fewer documents met them than were sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.errors import BulkWriteError, PyMongoError

from ...encoding import ENCODING_ERRORS, encode
from ..chunks import documents_by_id
from ..forms import SCHEMA_VERSION, in_form, is_in_form, is_marked
from ..paths import MISSING, lookup, without_descendants
from ..port import Port
from ..primaries import on_primary
from .guards import Guard, paths_of
from .outcomes import Outcome
from .reading import Options, id_filter, said_of_case, shared_options

__all__ = ["Guards"]

Document = dict[str, Any]

#: Ids that a filter takes as they are, exactly.
_SIMPLE_IDS = frozenset({ObjectId, str, int})


class Guards:
    """The conditions of a batch: for each frame its `_id`, and its version if the class has one.

    Args:
        port: calls the driver.
        cls: the class.
        frames: of the batch, with ids.
        is_delete: whether what is not there is as wanted.
    """

    def __init__(self, port: Port, cls: Any, frames: list[Any], *, is_delete: bool = False) -> None:
        self.port = port
        self.cls = cls
        self.frames = frames
        self.is_delete = is_delete
        self.ids = [frame._document["_id"] for frame in frames]
        kinds: set[Any] = {*map(type, frames)}
        #: what counts the versions of the frames; a child may have one, and its parent none
        self.versions = {kind._version for kind in kinds} - {None}
        self._is_marked = any(map(is_marked, kinds))
        self._guards = [Guard(port, frame) for frame in frames] if self.versions else []
        for guard in self._guards:
            guard.form = {}  # `filters` asks for it
            if is_delete and guard.version not in guard.frame._document:
                guard.version = None  # made of an _id alone: it was never read

    def filters(self) -> list[Document]:
        """Return the filter of each operation."""
        found = self._filters()
        if not self._is_marked:
            return found
        narrowed = []
        for frame, filter in zip(self.frames, found, strict=True):
            kind = type(frame)
            form = in_form(kind) if self._has_form(kind) else {}
            narrowed.append({**self.port.narrowed(kind, filter), **form})
        return narrowed

    def _has_form(self, kind: Any) -> bool:
        return kind._schema_version is not None and not self.is_delete

    def _filters(self) -> list[Document]:
        if self._guards:
            return [guard.filter() for guard in self._guards]
        if _SIMPLE_IDS.issuperset(map(type, self.ids)):
            return [{"_id": id} for id in self.ids]
        return [id_filter(id) for id in self.ids]

    def counting(self, changes: list[Document]) -> list[Document]:
        """Return changes that count the version."""
        if not self._guards:
            return changes
        return [g.counting(change) for g, change in zip(self._guards, changes, strict=True)]

    async def explain(
        self, outcome: Outcome, options: Options, changes: Sequence[Document] = ()
    ) -> None:
        """Ask once for the documents of a batch of which some were not found; note which.

        The server says how many there were, not which. Without versions those are meant that
        are not there. With versions also those that are not as this batch has left them.

        Args:
            outcome: of the batch; what was not done is added to it.
            options: of the call.
            changes: what was sent, for every frame.
        """
        tried = outcome.done()
        if outcome.matched >= len(tried) or (self.is_delete and not self.versions):
            return
        if outcome.error is not None and not isinstance(outcome.error, BulkWriteError):
            return  # who does not answer is not asked
        paths = _comparable(changes) if self.versions else []
        try:
            found = await self._found([self.ids[i] for i in tried], paths, options)
        except PyMongoError as error:
            why = f"{outcome.matched} of {len(tried)} were found, and asking which failed: {error}"
            outcome.unknown.update(dict.fromkeys(tried, why))
            outcome.error = outcome.error or error
            return
        documents = dict(zip(tried, found, strict=True))
        if self.cls._kinds is not None:
            documents = {i: self._of_kind(i, document) for i, document in documents.items()}
        for i, document in documents.items():
            if document is None and not self.is_delete:
                outcome.failed[i] = f"no document has _id={self.ids[i]!r}"
                said = said_of_case(type(self.frames[i]), self.ids[i])
                if said:
                    outcome.failed[i] += f"; {said}"
            elif document is not None and self._is_marked:
                kind = type(self.frames[i])
                if self._has_form(kind) and not is_in_form(kind, document):
                    number = document.get(SCHEMA_VERSION)
                    outcome.failed[i] = (
                        f"the document with _id={self.ids[i]!r} has {SCHEMA_VERSION}={number!r} now"
                    )
        if not self.versions:
            return
        there = {i: document for i, document in documents.items() if document is not None}
        if self.is_delete:
            for i, document in there.items():
                if self._guards[i].version is not None:
                    outcome.failed[i] = self._changed(i, document)
        else:
            self._tell_apart(outcome, there, paths, changes)

    def _of_kind(self, i: int, document: Document | None) -> Document | None:
        """Return a document, None when it is of another kind than its frame."""
        kinds = self.cls._kinds
        if document is None or not issubclass(
            kinds.class_of(kinds.root, document), type(self.frames[i])
        ):
            return None
        return document

    def _tell_apart(
        self,
        outcome: Outcome,
        there: Mapping[int, Document],
        paths: Iterable[str],
        changes: Sequence[Document],
    ) -> None:
        """Note which of the documents that are there were changed by others."""
        codecs = self.port.collection(self.cls).codec_options
        ours: list[int] = []
        later: list[int] = []
        for i, document in there.items():
            version = self._guards[i].version
            if version is None:
                ours.append(i)
                continue
            next_one = (self.frames[i]._document.get(version) or 0) + 1
            stored = document.get(version)
            if stored == next_one and _is_written(document, changes[i], paths, codecs):
                ours.append(i)
                continue
            outcome.failed[i] = self._changed(i, document)
            if isinstance(stored, int) and stored > next_one:
                later.append(i)
        doubtful: list[int] = []
        if outcome.matched < len(ours):
            doubtful = ours  # others have written the same
        elif outcome.matched > len(ours):
            doubtful = later  # others have changed what was written just now
        for i in doubtful:
            outcome.failed.pop(i, None)
            outcome.unknown[i] = (
                f"{outcome.matched} documents had the version that was expected, and the one with "
                f"_id={self.ids[i]!r} may be among them, or was changed in between; reload the frame"
            )

    def _changed(self, i: int, document: Document) -> str:
        version = str(self._guards[i].version)
        return (
            f"the document with _id={self.ids[i]!r} was changed in between: expected "
            f"{version}={self.frames[i]._document.get(version)!r}, found {document.get(version)!r}"
        )

    async def _found(
        self, ids: list[Any], paths: Iterable[str], options: Options
    ) -> list[Document | None]:
        """Return what is stored of each id."""
        fields = dict.fromkeys(("_id", *paths, *self.versions), True)
        if self.cls._kinds is not None:
            fields[self.cls._kinds.field] = True
        if self._is_marked:
            fields[SCHEMA_VERSION] = True
        with on_primary(self.port, self.cls):
            return await documents_by_id(self.port, self.cls, ids, fields, shared_options(options))


def _comparable(changes: Iterable[Document]) -> list[str]:
    """Return the paths that changes set or remove, and that a document can be asked for."""
    paths = paths_of({k: v for k, v in c.items() if k in ("$set", "$unset")} for c in changes)
    named = {
        path for path in paths if not any(n.isdigit() or n[:1] == "$" for n in path.split("."))
    }
    return [*without_descendants(sorted(named))]


def _is_written(
    document: Document, change: Document, paths: Iterable[str], codecs: CodecOptions[Any]
) -> bool:
    """Tell whether a document holds what a change would leave at some paths."""
    assigned, removed = change.get("$set", {}), change.get("$unset", {})
    for path in paths:
        stored = lookup(document, path)
        if path in removed and stored is not MISSING:
            return False
        if path in assigned and not _is_same(stored, assigned[path], codecs):
            return False
    return True


def _is_same(stored: Any, sent: Any, codecs: CodecOptions[Any]) -> bool:
    try:
        return stored is not MISSING and encode({"": stored}, codecs) == encode({"": sent}, codecs)
    except ENCODING_ERRORS:
        return True  # of that nothing can be said
