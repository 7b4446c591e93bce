"""The process that reads parts of a load: `main` is what it runs.

It takes its orders from standard input and writes batches to standard output. It ends when its
standard input does, as it does when the process that started it is gone.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from queue import SimpleQueue
from signal import SIG_IGN, SIGINT, signal
from time import sleep
from typing import Any, BinaryIO

from pymongo import MongoClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from ....errors import PartitionError
from ...operations.streaming import is_lost
from .messages import receive, send
from .part_reading import Call, client_of, read

__all__ = ["main"]

#: How long what is read may take to end when nobody wants it any more, in seconds.
_GRACE = 5.0
#: How long the first wait before another attempt is, in seconds; each is twice as long.
_PAUSE = 0.2


class _Orders:
    """What the other side wants: parts to read, and how many batches of one it takes."""

    def __init__(self, inbox: BinaryIO) -> None:
        self.parts: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self.is_over = False
        self._wanted = 0
        self._part = -1
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def _listen(self, inbox: BinaryIO) -> None:
        while (received := receive(inbox)) is not None:
            kind, *content = received[0]
            if kind == "part":
                self.parts.put(tuple(content))
                continue
            with self._changed:
                self._wanted += content[0] == self._part
                self._changed.notify()
        timer = threading.Timer(_GRACE, os._exit, (1,))
        timer.daemon = True
        timer.start()
        with self._changed:
            self.is_over = True
            self._changed.notify()
        self.parts.put(None)

    def begin(self, part: int, wanted: int) -> None:
        """Begin with a part, of which so many batches are taken at once."""
        with self._changed:
            self._part, self._wanted = part, wanted

    def wait(self) -> bool:
        """Wait until a batch is wanted; return False when nothing is any more."""
        with self._changed:
            while not (self._wanted or self.is_over):
                self._changed.wait()
            self._wanted -= 1
            return not self.is_over


def main() -> None:
    """Read what the other side asks for, until it has gone."""
    signal(SIGINT, SIG_IGN)  # who started this process ends it
    inbox: Any = sys.stdin.buffer
    # What is printed here is no message.
    outbox = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        _serve(inbox, outbox)
    except OSError:
        os._exit(1)  # nobody is there to hear of it
    os._exit(0)


def _serve(inbox: BinaryIO, outbox: BinaryIO) -> None:
    received = receive(inbox)
    if received is None:
        return
    try:
        call: Call = pickle.loads(received[1])
        client, close = client_of(call)
    except Exception as error:
        send(outbox, ("failed", None, *_told(error)))
        return
    orders = _Orders(inbox)
    schema = call.decoder().schema
    send(outbox, ("ready",))
    while (part := orders.parts.get()) is not None:
        _read_part(call, schema, client, orders, outbox, *part)
    close()


def _read_part(
    call: Call,
    schema: Any,
    client: MongoClient[Any],
    orders: _Orders,
    outbox: BinaryIO,
    number: int,
    filter: bytes,
    wanted: int,
    attempt: int,
) -> None:
    if attempt:
        sleep(_PAUSE * 2**attempt)
    orders.begin(number, wanted)
    rows = 0
    loaded = read(call, client, filter)
    try:
        for batch, last, mismatches, first in loaded:
            if not orders.wait():
                return
            rows += batch.num_rows
            # Columns of references can have other types in each batch.
            of = None if batch.schema == schema else batch.schema.serialize().to_pybytes()
            message = ("batch", number, batch.num_rows, first, last, mismatches, of)
            send(outbox, message, batch.serialize())
        counted = call.count(client, filter) if call.is_counted else None
    except BrokenPipeError:
        raise
    except Exception as error:
        kind = "lost" if _may_come_back(error) else "failed"
        send(outbox, (kind, number, *_told(error)))
        return
    finally:
        loaded.close()
    send(outbox, ("end", number, rows, counted))


def _may_come_back(error: Exception) -> bool:
    # The driver has waited for a server already.
    return (
        isinstance(error, PyMongoError)
        and is_lost(error)
        and not isinstance(error, ServerSelectionTimeoutError)
    )


def _told(error: Exception) -> tuple[bytes, str]:
    """Return an error as bytes that the other side can read, and where it was raised."""
    where = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        found = pickle.dumps(error)
        pickle.loads(found)
    except Exception:
        found = pickle.dumps(PartitionError(f"{type(error).__name__}: {error}"))
    return found, where
