"""A batch as one request of the driver's bulk write.

PyMongo's `bulk_write` lets every request add its operation. A `Batch` adds all of its operations
at once, in the form that PyMongo's own request gives to the first: the others are not walked in
Python again. It also sees every message before it leaves, and every reply. So it knows

- that a batch is about to be split, and has all of it checked before a part is sent,
- when the connection is lost, which operations are known to be done, and which may be.

Where PyMongo does not work as it does today, each operation is added by a request of PyMongo's,
the whole batch is checked before it is sent, and nothing is known when a connection is lost.
"""

from __future__ import annotations

import logging
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import bson
from pymongo import DeleteOne, InsertOne, UpdateOne

from .sent import plain

__all__ = ["Batch", "Part", "shows_documents"]

#: What the driver does with a part of a bulk write: encode it, then send it.
_STEPS = frozenset({"batch_command", "write_command"})
#: The size of the largest document, in bytes.
LARGEST = 16 * 1024 * 1024
#: Where the number stands that tells a message from a compressed one, and what it is.
_CODE = slice(12, 16)
_size_at = struct.Struct("<i").unpack_from
_OP_MSG = (2013).to_bytes(4, "little")
#: Behind the header and the flags: the kind of the first section, then the command.
_COMMAND = 21


class Part:
    """The operations of a batch that went in one message."""

    __slots__ = ("count", "errors", "reply", "start")

    def __init__(self, start: int, count: int) -> None:
        self.start = start
        self.count = count
        #: what the server said, None when that is not known
        self.reply: Mapping[str, Any] | None = None
        #: why it is not, once for every time that the driver sent the message
        self.errors: list[BaseException] = []

    @property
    def stop(self) -> int:
        """The position of the first operation behind it."""
        return self.start + self.count


class Batch:
    """Operations of one kind.

    Args:
        kind: PyMongo's class for one of them.
        columns: its arguments, each as a list with one value per operation.
        options: the arguments that all operations share.
        check: raises when a value cannot be stored; called before a batch is sent in parts.

    Attributes:
        parts: what was sent, in its order.
    """

    __slots__ = ("_check", "_columns", "_kind", "_operations", "_options", "parts")

    def __init__(
        self,
        kind: type[InsertOne[Any]] | type[UpdateOne] | type[DeleteOne],
        columns: Sequence[Sequence[Any]],
        options: Mapping[str, Any],
        check: Callable[[], None],
    ) -> None:
        self._kind: Any = kind
        self._columns = columns
        self._options = options
        self._check = check
        self._operations: Sequence[Any] = []
        self.parts: list[Part] = []

    def __len__(self) -> int:
        return len(self._columns[0])

    def _request(self, position: int) -> Any:
        return self._kind(*[plain(column[position]) for column in self._columns], **self._options)

    def _add_to_bulk(self, bulk: Any) -> None:
        """Add the operations to the driver's bulk write; called by the driver."""
        # The first says what an operation looks like, and whether the options are right.
        self._request(0)._add_to_bulk(bulk)
        others = self._others(bulk.ops)
        run = None if others is None else _run_of(bulk)
        if others is None:
            for position in range(1, len(self)):
                self._request(position)._add_to_bulk(bulk)
        elif run is None:
            bulk.ops.extend(zip(repeat(bulk.ops[0][0]), others))
        else:
            run.ops.extend(others)
            run.index_map = range(len(self))
            bulk.gen_ordered = bulk.gen_unordered = lambda: iter((run,))
        self._watch(bulk, [operation for _, operation in bulk.ops] if run is None else run.ops)

    def _others(self, operations: Any) -> Iterable[Any] | None:
        """Return all operations but the first in its form, None when that form is not known."""
        if type(operations) is not list or len(operations) != 1:
            return None
        first = operations[0]
        if type(first) is not tuple or len(first) != 2:
            return None
        made = first[1]
        if self._kind is InsertOne:
            (documents,) = self._columns
            return documents[1:] if made is documents[0] else None
        if type(made) is not dict:
            return None
        names = [name for name in made if any(made[name] is c[0] for c in self._columns)]
        if names == ["q"] and len(self._columns) == 1:
            return [{**made, "q": filter} for filter in self._columns[0][1:]]
        if names == ["q", "u"] and len(self._columns) == 2:
            filters, changes = (column[1:] for column in self._columns)
            pairs = zip(filters, changes, strict=True)
            return [{**made, "q": filter, "u": change} for filter, change in pairs]
        return None

    # What is sent

    def _watch(self, bulk: Any, operations: Sequence[Any]) -> None:
        """Look at the messages of a bulk write, or check the batch now if that cannot be done."""
        execute = getattr(type(bulk), "_execute_batch", None)
        code = getattr(execute, "__code__", None)
        collection = bulk.collection
        if (
            code is None
            or not _STEPS.issubset(code.co_names)
            or not collection.write_concern.acknowledged
            or collection.database.client.options.auto_encryption_opts is not None
        ):
            self._check()
            return
        self._operations = operations
        send = type(bulk).write_command
        here = weakref.ref(bulk)  # that holds this: a circle would outlive the call

        def blocking(context: Any, command: Any, id: Any, message: bytes, *rest: Any) -> Any:
            with self._leaving(message, rest[0]) as part:
                part.reply = reply = send(here(), context, command, id, message, *rest)
            return reply

        async def awaited(context: Any, command: Any, id: Any, message: bytes, *rest: Any) -> Any:
            with self._leaving(message, rest[0]) as part:
                part.reply = reply = await send(here(), context, command, id, message, *rest)
            return reply

        is_async = bool(code.co_flags & _IS_COROUTINE)
        bulk.write_command = awaited if is_async else blocking

    @contextmanager
    def _leaving(self, message: bytes, operations: list[Any]) -> Iterator[Part]:
        """Note what becomes of a message that is about to be sent."""
        part = self.parts[-1] if self.parts else None
        if part is not None and operations[0] is self._operations[part.start]:
            part.count, part.reply = len(operations), None  # the driver sends it again
        else:
            if part is None and (len(operations) < len(self) or _holds_too_large(message)):
                self._check()
            part = Part(0 if part is None else part.stop, len(operations))
            self.parts.append(part)
        try:
            yield part
        except BaseException as error:
            part.errors.append(error)
            raise


def shows_documents(collection: Any) -> bool:
    """Tell whether the driver does more with the documents of a bulk write than to encode them.

    It shows them to command listeners and in its log, and encrypts values in them.
    """
    client = collection.database.client
    listeners = getattr(client, "_event_listeners", None)
    return (
        not bson.has_c()
        or getattr(listeners, "enabled_for_commands", True)
        or client.options.auto_encryption_opts is not None
        or logging.getLogger("pymongo.command").isEnabledFor(logging.DEBUG)
    )


def _run_of(bulk: Any) -> Any:
    """Return the run that the driver makes of the operations, None when it is not as it is today.

    A bulk write is sent in runs of operations of one kind, to which it adds them one by one.
    """
    try:
        (run,) = bulk.gen_ordered()
        is_known = run.ops == [bulk.ops[0][1]] and type(run.ops) is list and run.index_map == [0]
    except (AttributeError, TypeError, ValueError):
        return None
    return run if is_known else None


_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE: that module is not needed for more


def _holds_too_large(message: bytes) -> bool:
    """Tell whether a message may hold a document that is larger than a server takes."""
    if len(message) <= LARGEST:
        return False
    if message[_CODE] != _OP_MSG:
        return True  # compressed
    # The command, then the kind and the size of the second section, then its name.
    position = _COMMAND + _size_at(message, _COMMAND)[0] + 5
    position = message.index(b"\0", position) + 1
    while position < len(message):
        size = _size_at(message, position)[0]
        if size > LARGEST:
            return True
        position += size
    return False
