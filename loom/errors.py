"""The errors that Loom raises.

Every one is a `LoomError`, and also the builtin (or PyMongo) error that a reader would catch without knowing Loom::

    LoomError
      DefinitionError(TypeError)        a class is written wrongly; raised when it is made
      NotConnected(RuntimeError)        no client, no server or no database for the call
      MissingId(ValueError)             the operation needs an _id
      QueryError(ValueError)            a filter, sort, path or change that cannot be sent
        ProjectionError                 a projection that cannot be understood
      Conflict(RuntimeError)            the document changed under a conditional write
      Gone(LookupError)                 the document is no longer there
      NotFound(LookupError)             required=True found nothing
      Duplicate(DuplicateKeyError)      a unique index refused the write
      FieldError(TypeError)             no such field
      EncodeError(TypeError)            a value that cannot be stored or shown; names its path
      DeriveError(ValueError)           the function of a derived field raised
      CollectionConflict(RuntimeError)  a collection is there with other options than declared
      IndexConflict(RuntimeError)       an index is stored otherwise than declared
      SchemaVersionError(RuntimeError)  a document whose form this program cannot write
      ReadOnly(PermissionError)         a write while writing is switched off
      TimeFrameError(ValueError)        what is no time frame, or a datetime whose zone nobody said
      TransactionError(RuntimeError)    a transaction that cannot be used where it is
      Restricted(ValueError)            a delete that references to the document forbid
      MissingExtra(ImportError)         names the pip command
      BulkError(BulkWriteError)         a batch was written in part; says which frames
        RowsError                       a table was written in part; says which rows
      ListenerError(RuntimeError)       a listener that cannot run where it was called
      PageError(LookupError)            a page or token that does not exist or fit
      SchemaError(TypeError)            a value that does not fit its column
      HistoryLost(LookupError)          a change stream cannot go on where it was
      PartitionError(RuntimeError)      a part of a load was not read, so that nothing is given

Other errors of the driver pass through unchanged.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

__all__ = [
    "BulkError",
    "CollectionConflict",
    "Conflict",
    "DefinitionError",
    "DeriveError",
    "Duplicate",
    "EncodeError",
    "FieldError",
    "Gone",
    "HistoryLost",
    "IndexConflict",
    "ListenerError",
    "LoomError",
    "MissingExtra",
    "MissingId",
    "NotConnected",
    "NotFound",
    "PageError",
    "PartitionError",
    "ProjectionError",
    "QueryError",
    "ReadOnly",
    "Restricted",
    "RowsError",
    "SchemaError",
    "SchemaVersionError",
    "TimeFrameError",
    "TransactionError",
]


class LoomError(Exception):
    """The root of all errors that Loom raises."""


class DefinitionError(LoomError, TypeError):
    """A Frame class is written wrongly; raised when the class is made."""


class NotConnected(LoomError, RuntimeError):
    """There is no client, no server or no database for this call."""


class MissingId(LoomError, ValueError):
    """The operation needs an `_id` and the frame has none."""


class QueryError(LoomError, ValueError):
    """A filter, sort, path or change that cannot be sent."""


class ProjectionError(QueryError):
    """A projection that cannot be understood."""


class Conflict(LoomError, RuntimeError):
    """The document is there, but is not as the conditional write expects it.

    Nothing was written. Reload the frame, or take `stored`, and decide anew.

    Attributes:
        frame: the frame that was to be written, as it is.
        stored: the document as it was found stored now, a frame of the same class.
    """

    def __init__(self, message: str, frame: Any = None, stored: Any = None) -> None:
        super().__init__(message)
        self.frame = frame
        self.stored = stored

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.frame, self.stored)


class Gone(LoomError, LookupError):
    """The document is no longer in the collection."""


class NotFound(LoomError, LookupError):
    """Nothing matched, and the call said `required=True`."""


class CollectionConflict(LoomError, RuntimeError):
    """A collection is there with other options than its class declares; nothing was changed.

    Attributes:
        differences: the options, each with what is stored and what was declared.
    """

    def __init__(self, message: str, differences: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.differences)


class IndexConflict(LoomError, RuntimeError):
    """An index is stored otherwise than a class declares it; nothing was built.

    Attributes:
        diff: all that differs, as `indexes.diff` returns it.
    """

    def __init__(self, message: str, diff: Any = None) -> None:
        super().__init__(message)
        self.diff = diff

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.diff)


class FieldError(LoomError, TypeError):
    """The class has no such field."""


class EncodeError(LoomError, TypeError):
    """A value that cannot be stored, or not be shown as JSON; the message names its path."""


class DeriveError(LoomError, ValueError):
    """The function of a derived field raised; nothing was written."""


class MissingExtra(LoomError, ImportError):
    """An optional package is needed; the message holds the pip command."""


class ListenerError(LoomError, RuntimeError):
    """A listener that cannot run where it was called."""


class PageError(LoomError, LookupError):
    """There is no such page, or a token does not fit the call that it was given to."""


class SchemaError(LoomError, TypeError):
    """A column has no type, or a value does not fit the type of its column.

    Attributes:
        column: its name, None when it is not about one.
        id: the `_id` of the document that the value is in, None when it is not about a value.
        expected: what the column takes, as text.
        got: the value that does not fit.
    """

    def __init__(
        self,
        message: str,
        column: str | None = None,
        id: Any = None,
        expected: str | None = None,
        got: Any = None,
    ) -> None:
        super().__init__(message)
        self.column = column
        self.id = id
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.column, self.id, self.expected, self.got)


class SchemaVersionError(LoomError, RuntimeError):
    """A document has another form than its class, and cannot be written, or brought to it."""


class PartitionError(LoomError, RuntimeError):
    """A part of a load in several processes was not read, or not all of it."""


class HistoryLost(LoomError, LookupError):
    """The server no longer knows what happened since a change stream was left.

    What changed meanwhile has to be found by reading the collection.

    Attributes:
        token: the place that the stream was to go on from, None when it is not known.
    """

    def __init__(self, message: str, token: Any = None) -> None:
        super().__init__(message)
        self.token = token

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.token)


class ReadOnly(LoomError, PermissionError):
    """A write was called for while writing is switched off; nothing was sent."""


class TimeFrameError(LoomError, ValueError):
    """What is no time frame, or a datetime of which nobody said the zone."""


class TransactionError(LoomError, RuntimeError):
    """A transaction cannot be used where or how the call asks for it."""


class Restricted(LoomError, ValueError):
    """A delete is forbidden by what refers to the document; nothing was deleted.

    Attributes:
        counts: how many documents refer, by class and field: `{"User.company": 3}`.
    """

    def __init__(self, message: str, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.counts = dict(counts or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.counts)


class Duplicate(LoomError, DuplicateKeyError):
    """A unique index refused the write.

    Attributes:
        index: name of the index, or None when the server did not say.
        fields: paths of the index, in its order; empty when they are not known.
        values: the values that are already taken, by path. An index that ignores case may hold
            them in another spelling.
    """

    index: str | None
    fields: tuple[str, ...]
    values: dict[str, Any]

    def __init__(
        self,
        place: str,
        error: str = "",
        code: int | None = 11000,
        details: Mapping[str, Any] | None = None,
        written: Any = None,
        advice: str = "change it or update that document",
    ) -> None:
        details = details or {}
        from .duplicate_keys import duplicate_key  # when a key is refused

        key = duplicate_key(details, error, written)
        self.index, self.fields, self.values = key.name, key.fields, key.values
        taken = ", ".join(f"{path}={value!r}" for path, value in self.values.items())
        taken = taken or key.text or ", ".join(self.fields) or "the key"
        where = f" in index {self.index}" if self.index else ""
        collation = f" ({key.collation})" if key.collation else ""
        message = f"{place}: {taken} is taken already{where}{collation}; {advice}"
        DuplicateKeyError.__init__(self, message, code, details)
        self.args = (message,)  # PyMongo appends all details, which are an attribute anyway
        self._given = (place, error, code, details, dict(self.values), advice)

    @classmethod
    def of_bulk(cls, place: str, error: Mapping[str, Any]) -> Duplicate | None:
        """Return what an entry of `writeErrors` says, None when it is no duplicate key.

        Args:
            place: class or operation, for the message.
            error: the entry, as a BulkWriteError holds it in its `details`.
        """
        if error.get("code") not in _DUPLICATE_KEY:
            return None
        written = error.get("op") or {}
        if "q" in written and "u" in written:  # an update
            change = written["u"]
            written = change.get("$set") or change if isinstance(change, Mapping) else {}
        details = {name: value for name, value in error.items() if name != "op"}
        return cls(place, "", error["code"], details, written)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given


#: Codes of a duplicate key: of today, of an update before 2.6, and of a capped collection.
_DUPLICATE_KEY = (11000, 11001, 12582)


class BulkError(LoomError, BulkWriteError):
    """A batch was written only in part.

    Attributes:
        frames_written: the frames that are written as asked.
        frames_failed: the frames that are not, each with the reason, in the order given.
        frames_unknown: the frames of which that is not known, each with the reason: the
            connection was lost before the server could say.
    """

    frames_written: list[Any]
    frames_failed: list[tuple[Any, str]]
    frames_unknown: list[tuple[Any, str]]

    def __init__(
        self,
        place: str,
        frames_written: Iterable[Any],
        frames_failed: Iterable[tuple[Any, str]],
        details: Mapping[str, Any] | None = None,
        frames_unknown: Iterable[tuple[Any, str]] = (),
    ) -> None:
        self.frames_written = list(frames_written)
        self.frames_failed = list(frames_failed)
        self.frames_unknown = list(frames_unknown)
        self._place = place
        BulkWriteError.__init__(self, dict(details or {}))
        self.args = (self._summary(),)

    @property
    def duplicates(self) -> list[Duplicate]:
        """What unique indexes refused, each with its index, fields and values."""
        errors = (self.details or {}).get("writeErrors", ())
        found = (Duplicate.of_bulk(self._place, error) for error in errors)
        return [error for error in found if error is not None]

    def has_error_label(self, label: str) -> bool:
        """Tell whether the error, or the one behind it, has a label of the server's."""
        cause = self.__cause__
        return super().has_error_label(label) or (
            isinstance(cause, PyMongoError) and cause.has_error_label(label)
        )

    @property
    def timeout(self) -> bool:
        """Whether the error, or the one behind it, is that of a time limit."""
        cause = self.__cause__
        return super().timeout or (isinstance(cause, PyMongoError) and cause.timeout)

    def _summary(self) -> str:
        written, unknown = len(self.frames_written), self.frames_unknown
        total = written + len(self.frames_failed) + len(unknown)
        text = f"{self._place}: {written} of {total} frames were written"
        if unknown:
            text += f", {len(unknown)} may be; {unknown[0][1]}"
        if self.frames_failed:
            text += f", {len(self.frames_failed)} were not; first: {self.frames_failed[0][1]}"
        concerns = (self.details or {}).get("writeConcernErrors")
        if concerns:
            text += f"; the write concern failed: {concerns[0].get('errmsg', concerns[0])}"
        lists = (
            "frames_written, frames_failed and frames_unknown"
            if unknown
            else "frames_written and frames_failed"
        )
        return f"{text}; see {lists}"

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (
                self._place,
                self.frames_written,
                self.frames_failed,
                self.details,
                self.frames_unknown,
            ),
        )


class RowsError(BulkError):
    """Rows of a table were written only in part.

    `frames_failed` and `frames_unknown` hold the numbers of rows, from 0 on, each with the reason.

    Attributes:
        result: what was written and what was not, as the call would have returned it.
    """

    result: Any

    def __init__(
        self,
        place: str,
        result: Any,
        failed: Iterable[tuple[int, str]],
        details: Mapping[str, Any] | None = None,
        unknown: Iterable[tuple[int, str]] = (),
    ) -> None:
        self.result = result
        super().__init__(place, (), failed, details, unknown)

    def _summary(self) -> str:
        text = f"{self._place}: {self.result}"
        for row, reason in (*self.frames_unknown[:1], *self.frames_failed[:1]):
            text += f"; row {row}: {reason}"
        concerns = (self.details or {}).get("writeConcernErrors")
        if concerns:
            text += f"; the write concern failed: {concerns[0].get('errmsg', concerns[0])}"
        return f"{text}; see result.errors"

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._place, self.result, self.frames_failed, self.details, self.frames_unknown)
        return type(self), given


def missing_extra(extra: str, package: str) -> MissingExtra:
    """Return the error for an optional `package` that is not installed.

    >>> print(missing_extra("embedded", "SecantusDB"))
    loom: SecantusDB is not installed; run: pip install 'loom-frames[embedded]'
    """
    return MissingExtra(
        f"loom: {package} is not installed; run: pip install 'loom-frames[{extra}]'", name=package
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the most similar of `known`, or an empty text."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else ""
