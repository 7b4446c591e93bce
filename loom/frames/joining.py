"""What a call joins: the client, transaction and comment of the block that it is made in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pymongo.errors import PyMongoError

from .. import switches
from ..clients import Connection
from ..connection import connection_of, overrides
from ..errors import ReadOnly
from ..switches import Override, class_options
from .events import Committed

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..running_transactions import Transaction

__all__ = ["Joining"]

T = TypeVar("T")


#: What adds documents, or changes none. (What a bulk write does, its operation has checked.)
_ADDING = frozenset(
    ("bulk_write", "create_collection", "create_indexes", "drop_index", "ensure", "insert")
    + ("insert_dataframe", "insert_many", "insert_one", "insert_table", "save")
)


class Joining:
    """The part of a port that finds out what holds where it is used."""

    is_async: ClassVar[bool]
    _context: Context | None = None

    def narrowed(self, cls: Any, filter: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a filter that finds documents of a class only, where several share a collection."""
        return filter if cls._kinds is None else cls._kinds.narrowed(cls, filter)

    def bound(self) -> Self:
        """Return this port with the client, database and options that calls use now.

        A stream goes on with them when the block that set them has been left.
        """
        port = type(self)()
        port._context = copy_context()
        return port

    @contextmanager
    def loosened(self) -> Iterator[Self]:
        """Yield a port for listeners of what this one has read.

        Inside the block calls begin with the client, database and options that this one was bound
        with, and join a transaction that runs now; listeners may set others, as anywhere.
        """
        if self._context is None:
            yield self
            return
        bound, now = self._context.get(overrides), overrides.get()
        transaction = None if now is None else now.transaction
        if bound is not None or transaction is not None:
            bound = (bound or Override())._replace(transaction=transaction)
        tokens = overrides.set(bound), class_options.set(self._context.get(class_options) or {})
        try:
            yield type(self)()
        finally:
            overrides.reset(tokens[0])
            class_options.reset(tokens[1])

    def within(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function with the client, database and options of this port."""
        return function(*args) if self._context is None else self._context.run(function, *args)

    def _override(self) -> Override | None:
        return overrides.get() if self._context is None else self._context.get(overrides)

    def transaction(self, cls: Any, options: Mapping[str, Any]) -> Transaction | None:
        """Return the transaction that a call of a class joins, None outside of one.

        Args:
            cls: the class; calls through another client than the transaction's do not join.
            options: of the call; one with a session of its own does not join.

        Raises:
            TransactionError: the call is made where it cannot join.
        """
        override = overrides.get() if self._context is None else self._context.get(overrides)
        if override is None or override.transaction is None:
            return None
        found = override.transaction
        if options.get("session") not in (None, found.session) or not found.is_joined_by(self, cls):
            return None
        return found

    def session(self, cls: Any, options: Mapping[str, Any]) -> Any:
        """Return the session that a call uses: its own, or that of the transaction."""
        given = options.get("session")
        if given is not None or (self._context is None and overrides.get() is None):
            return given
        found = self.transaction(cls, options)
        return None if found is None else found.session

    def on_rollback(self, cls: Any, options: Mapping[str, Any], undo: Callable[[], object]) -> None:
        """Call a function if the transaction that a call joins, if any, is not committed."""
        found = self.transaction(cls, options)
        if found is not None:
            found.on_rollback(undo)

    def remember(
        self,
        cls: Any,
        options: Mapping[str, Any],
        frames: Iterable[Any],
        paths: Iterable[str] = (),
    ) -> None:
        """Have frames put back as they are now if the transaction, if any, is not committed.

        To be called before they are written.

        Args:
            cls: their class.
            options: of the call.
            frames: what is about to be written.
            paths: what the write takes in from the server, or takes out of the frames.
        """
        found = self.transaction(cls, options)
        if found is not None:
            from .undoing import remembered  # in a transaction only

            paths = [*paths]
            for frame in frames:
                found.on_rollback(remembered(frame, paths))

    def postpone(self, waiting: Committed) -> bool:
        """Keep what `committed` tells until the transaction ends; return False outside of one."""
        override = self._override()
        found = self.transaction(waiting.sender, waiting.payload)
        if found is not None and override is not None:
            found.postpone(waiting, override)
            return True
        session = waiting.payload["session"]
        if session is None or not session.in_transaction:
            return False
        warnings.warn(
            f"{waiting.sender.__name__}: 'committed' is not sent for a write in a transaction of "
            "the session's own; begin it with loom.transaction()",
            RuntimeWarning,
            stacklevel=2,
        )
        return True

    def options(self, cls: Any, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of a command, with the session and the comment of the block.

        Raises:
            TransactionError: the transaction takes no more commands.
        """
        override = overrides.get() if self._context is None else self._context.get(overrides)
        if override is None and not Connection.are_marked:
            return given
        added: dict[str, Any] = {}
        found = self.transaction(cls, given)
        if found is not None:
            found.check(cls)
            added["session"] = found.session
        if given.get("comment") is None:
            comment = None if override is None else override.comment
            if comment is None:
                connection = self.within(connection_of, cls)
                comment = None if connection is None else connection.comment
            if comment is not None:
                added["comment"] = comment
        return {**given, **added} if added else given

    def failed(self, options: Mapping[str, Any], error: PyMongoError) -> None:
        """Tell the transaction that a command used, if any, of an error of the driver.

        Raises:
            TransactionError: the server has no transactions.
        """
        override = self._override()
        found = None if override is None else override.transaction
        if found is not None and options.get("session") is found.session:
            found.failed(error)

    def check_stream(self, options: Mapping[str, Any]) -> None:
        """Check that a stream is read in the transaction that it was made in, if it was.

        Raises:
            TransactionError: that transaction has ended, or runs elsewhere.
        """
        override = self._override()
        found = None if override is None else override.transaction
        if found is not None and options.get("session") is found.session:
            found.check_stream()

    def check_writable(
        self, cls: Any, operation: str, sent: Mapping[str, Any] | None = None
    ) -> None:
        """Check that writing is not switched off, and that documents may be changed.

        Args:
            cls: the class.
            operation: its name, or that of a method of the driver.
            sent: the options of that method.

        Raises:
            TransactionError: the documents are a time series, and it is in a transaction.
            ReadOnly: inside `loom.read_only()`, or the connection is for reading only, or the
                operation would change what is only added.
        """
        if cls._append_only and operation not in _ADDING:
            raise ReadOnly(
                f"{cls.__name__}.{operation}: expected save() or insert() of a class whose "
                "documents are only added, got a change or delete; save a frame with what is "
                "right now"
            )
        if cls._timeseries is not None:
            from .timeseries import check_write  # when a class has one

            check_write(cls, operation, self.session(cls, sent or {}), sent is not None)
        if switches.read_only_blocks:
            place = "loom.read_only()"
        elif Connection.are_marked and getattr(self.within(connection_of, cls), "read_only", False):
            place = "loom.connect(..., read_only=True)"
        else:
            return
        raise ReadOnly(
            f"{cls.__name__}.{operation}: expected writing to be allowed, got it switched off by "
            f"{place}; nothing was sent"
        )
