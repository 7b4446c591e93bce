"""What PyMongo sends, told to who asks for it, of clients that were made before as well.

PyMongo takes its command listeners only when a client is made, and pays for them with every command.
But it also writes each command to its logger `pymongo.command`, when that is switched on. A tap
switches it on, and keeps from the handlers what nobody wanted to see there.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Command", "can_be_tapped", "close", "open", "tapped"]

#: What a driver sends by itself, and not because of a call.
_HOUSEKEEPING = frozenset(("endSessions", "hello", "isMaster", "ismaster", "killCursors", "ping"))

_logger = logging.getLogger("pymongo.command")


class Command(NamedTuple):
    """A command that was sent, or the reply to it.

    Attributes:
        name: `find`, `getMore`, `update`, ...
        database: its name.
        collection: its name; empty for a command that is about none.
        body: the command as it was sent.
        reply: of the server; None when the command was sent just now.
    """

    name: str
    database: str
    collection: str
    body: Mapping[str, Any]
    reply: Mapping[str, Any] | None = None


#: Called in the thread and task in which PyMongo sends the command, or gets the reply.
Receiver = Callable[[Command], object]


class _Tap(logging.Filter):
    """Sees all records of the logger before its handlers do."""

    def __init__(self) -> None:
        super().__init__()
        self.receivers: tuple[Receiver, ...] = ()
        #: what the logger was, when it had to be switched on
        self.before: tuple[int, bool] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell the receivers; return whether the record was wanted without them."""
        command = _command_of(record)
        if command is not None:
            for receiver in self.receivers:
                receiver(command)
        return self.before is None


_tap = _Tap()
_changing = threading.Lock()


def open(receiver: Receiver) -> None:
    """Tell a function of all commands that are sent in this process from now on, and of replies."""
    with _changing:
        if not _tap.receivers:
            if not _logger.isEnabledFor(logging.DEBUG):
                _tap.before = _logger.level, _logger.disabled
                _logger.disabled = False
                _logger.setLevel(logging.DEBUG)
            _logger.addFilter(_tap)
        _tap.receivers = (*_tap.receivers, receiver)


def close(receiver: Receiver) -> None:
    """End what `open` began."""
    with _changing:
        _tap.receivers = tuple(one for one in _tap.receivers if one is not receiver)
        if not _tap.receivers:
            _logger.removeFilter(_tap)
            if _tap.before is not None:
                level, _logger.disabled = _tap.before
                if _logger.level == logging.DEBUG:
                    _logger.setLevel(level)
                _tap.before = None


@contextmanager
def tapped(receiver: Receiver) -> Iterator[None]:
    """Tell a function of what is sent inside the block, by all threads and tasks."""
    open(receiver)
    try:
        yield
    finally:
        close(receiver)


def can_be_tapped() -> bool:
    """Tell whether `logging.disable` leaves PyMongo its log."""
    return _logger.manager.disable < logging.DEBUG


def _command_of(record: logging.LogRecord) -> Command | None:
    """Return the command that a record is about, None when it is about something else."""
    said = getattr(record.msg, "_kwargs", None)
    if said is None:  # not as PyMongo has it today: as text, which may be cut off
        try:
            said = json.loads(record.getMessage())
        except ValueError:
            return None
    name, message = said.get("commandName"), str(getattr(said.get("message"), "value", ""))
    message = message or str(said.get("message"))
    if not isinstance(name, str) or name in _HOUSEKEEPING:
        return None
    database = str(said.get("databaseName", ""))
    if message == "Command started":
        body = said.get("command")
        body = body if isinstance(body, Mapping) else {}
        collection = body.get("collection" if name == "getMore" else name)
        return Command(name, database, collection if isinstance(collection, str) else "", body)
    if message == "Command succeeded":
        reply = said.get("reply")
        return Command(name, database, "", {}, reply if isinstance(reply, Mapping) else {})
    return None
