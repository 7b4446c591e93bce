"""What a write holds for: the stored document as the caller, or its version, expects it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.errors import (
    ConfigurationError,
    InvalidOperation,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from ...errors import Conflict, Duplicate, Gone
from ..asked_options import check_write
from ..document import wrap_one
from ..events import add_note
from ..forms import in_form
from ..port import Port
from ..primaries import on_primary
from ..tracking import doubt, settle, stored
from .reading import Options, compiled_filter, gone, id_filter, shared_options

__all__ = [
    "LOOKS",
    "NOT_SENT",
    "Guard",
    "acknowledged",
    "check_call",
    "forget",
    "inserted",
    "is_in_doubt",
    "leaves_open",
    "paths_of",
    "perhaps_inserted",
    "stored_now",
    "tell_unknown",
]


#: Codes of servers that ended a command in its midst: MaxTimeMSExpired, ExceededTimeLimit,
#: ShutdownInProgress, PrimarySteppedDown, Interrupted, InterruptedAtShutdown,
#: InterruptedDueToReplStateChange.
_INTERRUPTED = frozenset({50, 262, 91, 189, 11600, 11601, 11602})
#: What the driver raises before it sends anything: there is no server, no connection is free, the
#: client is closed, the session has ended, the settings do not go together.
NOT_SENT = (
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    InvalidOperation,
    ConfigurationError,
)
#: NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary: refused before it began.
_NOT_BEGUN = frozenset({10107, 13435, 13436})


#: How often a write is tried whose document others bring into another form meanwhile.
LOOKS = 5


def check_call(port: Port, cls: Any, operation: str, options: Options, *methods: str) -> None:
    """Check that an operation may write, and has options of its driver's methods.

    Before listeners are told, which may write by themselves.

    Raises:
        FieldError: an option that none of the methods takes.
        ReadOnly: writing is switched off.
    """
    port.check_writable(cls, operation)
    if options:
        check_write(f"{cls.__name__}.{operation}", options, *methods)


class Guard:
    """The condition of one write: an `_id`, what `where` asks for, the version and the form."""

    __slots__ = ("_has_looked", "cls", "condition", "form", "frame", "id", "version")

    def __init__(self, port: Port, frame: Any, where: Any = None) -> None:
        self.frame = frame
        self.cls = type(frame)
        self.id = frame._document["_id"]
        self.version: str | None = self.cls._version
        #: what a document of the class's schema version is; none is asked of one that is deleted
        self.form = {} if self.cls._schema_version is None else in_form(self.cls)
        self._has_looked = False
        self.condition = None if where is None else compiled_filter(port, self.cls, where)

    @property
    def is_conditional(self) -> bool:
        """True when the document can be there and yet not be written."""
        return bool(self.condition) or self.version is not None

    def filter(self) -> dict[str, Any]:
        """Return the filter of the write."""
        wanted = id_filter(self.id)
        if self.version is not None:
            wanted[self.version] = self.frame._document.get(self.version)
        wanted |= self.form
        if not self.condition:
            return wanted
        if wanted.keys() & self.condition.keys() or any(k[:1] == "$" for k in self.condition):
            return {"$and": [wanted, self.condition]}
        return wanted | self.condition

    def counting(self, change: Any) -> Any:
        """Return an update document that counts the version."""
        if self.version is None:
            return change
        if isinstance(change, list):
            number = {"$add": [{"$ifNull": [f"${self.version}", 0]}, 1]}
            return [*change, {"$set": {self.version: number}}]
        return {**change, "$inc": {**change.get("$inc", {}), self.version: 1}}

    async def brought_up(self, port: Port, operation: str, options: Options) -> bool:
        """Upgrade the stored document of an older form; tell whether there was one.

        Raises:
            SchemaVersionError: it has a newer form than the class.
        """
        if not self.form:
            return False
        from ..stored_upgrades import brought_up  # when a class has older documents

        place = f"{self.cls.__name__}.{operation}"
        shared = shared_options(options)
        return bool(await brought_up(port, self.cls, [self.frame], shared, place))

    async def again(self, port: Port, operation: str, options: Options) -> bool:
        """Tell whether a write that has found nothing is to be tried again.

        Raises:
            SchemaVersionError: the document has a newer form than the class.
        """
        if not self.form:
            return False
        was_older = await self.brought_up(port, operation, options)
        # Others may have upgraded it between the write and the look.
        is_first = not self._has_looked
        self._has_looked = not was_older
        return was_older or is_first

    async def refusal(self, port: Port, operation: str, options: Options) -> Conflict | Gone:
        """Return why nothing matched: the document differs, or is not there."""
        document = None
        if self.is_conditional or self.form:
            shared = shared_options(options)
            document = await stored_now(port, self.cls, id_filter(self.id), None, shared)
        if document is None:
            return gone(self.cls, self.id, operation)
        if self.cls._schema_version is not None:
            from ..upgrading import upgraded  # when a class has older documents

            document = upgraded(self.cls, document)
        return self.conflict(operation, wrap_one(self.cls, document))

    def conflict(self, operation: str, found: Any) -> Conflict:
        """Return the error that holds the frame and the document stored now."""
        expected = []
        if self.version is not None:
            number = self.frame._document.get(self.version)
            expected.append(f"{self.version}={number!r} (stored: {found.get(self.version)!r})")
        if self.condition:
            expected.append(repr(self.condition))
        if not expected:
            expected += (f"{name}={value!r}" for name, value in self.form.items())
        return Conflict(
            f"{self.cls.__name__}.{operation}: expected the document with _id={self.id!r} to have "
            f"{' and '.join(expected)}, found it different; reload the frame and decide again, "
            "`stored` of this error is the document as it is",
            self.frame,
            found,
        )


async def stored_now(
    port: Port, cls: Any, query: Mapping[str, Any], projection: Any, options: Options
) -> dict[str, Any] | None:
    """Return the first document that matches as the last write has left it, or None."""
    with on_primary(port, cls):
        return await port.find_one(cls, query, projection, options)


def paths_of(changes: Iterable[Any]) -> tuple[str, ...]:
    """Return the paths that update documents write, each once."""
    found: dict[str, None] = {}
    for change in changes:
        if isinstance(change, Mapping):
            for operator, paths in change.items():
                found.update(dict.fromkeys(paths))
                if operator == "$rename":
                    found.update(dict.fromkeys(paths.values()))
    return tuple(found)


def acknowledged(frame: Any, change: Mapping[str, Any]) -> None:
    """Bring a frame to what an acknowledged `$set`, `$unset` or `$inc` of it has stored."""
    version = type(frame)._version
    if version is not None:
        frame._document[version] = (frame._document.get(version) or 0) + 1
    settle(frame, paths_of([change]))


def leaves_open(error: BaseException) -> bool:
    """Tell whether a write may have been done by the attempt that raised an error."""
    if isinstance(error, (*NOT_SENT, Duplicate)):
        return False  # or something else is there
    if isinstance(error, NotPrimaryError) and isinstance(error.details, Mapping):
        return error.details.get("code") not in _NOT_BEGUN
    return (
        not isinstance(error, OperationFailure)
        or error.code in _INTERRUPTED
        or error.has_error_label("RetryableWriteError")
    )


def _before(error: BaseException) -> BaseException | None:
    """Return why the driver had to send a write again, None when it did not.

    It raises what the last attempt met, which may be a refusal of what the first one has done. The
    only one that knows is the driver's loop, in a frame of the traceback.
    """
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "run" and code.co_filename.endswith("mongo_client.py"):
            found = getattr(trace.tb_frame.f_locals.get("self"), "_last_error", None)
            return found if isinstance(found, BaseException) and found is not error else None
        trace = trace.tb_next
    return None


def is_in_doubt(error: BaseException) -> bool:
    """Tell whether a write may have been done that ended with an error, by any of its attempts."""
    if isinstance(error, Duplicate):
        return False
    first = _before(error)
    return leaves_open(error) or (first is not None and leaves_open(first))


def tell_unknown(error: PyMongoError, cls: Any, operation: str, id: Any = None) -> bool:
    """Say on an error that the write may have been done; return whether it may."""
    if not is_in_doubt(error):
        return False
    which = "a document" if id is None else f"the document with _id={id!r}"
    add_note(
        error,
        f"{cls.__name__}.{operation}: it is not known whether {which} was written; the server's "
        "answer was lost",
    )
    return True


def inserted(frame: Any, id: Any) -> None:
    """Give a frame the `_id` that it was stored under."""
    frame._document["_id"] = id
    stored(frame)


def perhaps_inserted(frame: Any, id: Any) -> None:
    """Give a frame the `_id` that it may be stored under.

    Who inserts it again is told by the `_id` that it was there; `save` asks by inserting it.
    """
    if frame._document.get("_id") is None:  # nobody else can have stored it
        inserted(frame, id)
        doubt(frame)


def forget(frame: Any, fields: Iterable[str]) -> None:
    """Remove what is no longer stored from a frame."""
    for field in fields:
        *parents, last = field.split(".")
        holder: Any = frame._document
        for key in parents:
            holder = holder.get(key) if isinstance(holder, dict) else None
            holder = getattr(holder, "_document", holder)
        if isinstance(holder, dict):
            holder.pop(last, None)
