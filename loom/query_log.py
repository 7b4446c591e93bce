"""The query log: one record for each call of Loom's, on the logger `loom.query`.

>>> import logging
>>> from loom import query_log
>>> logging.getLogger("loom.query").setLevel(logging.DEBUG)
>>> query_log.start(slow_ms=100)
>>> query_log.stop()

A record says which operation was called, of which class, what was asked for (the form of the filter,
without its values), how long it took, how many documents and commands it was. What the call does on
its way belongs to it: references, listeners and what these call are in its numbers, and have no
records of their own. A stream has one record, when it ends; its time is that of its batches, without
that of the loop over it.

Until `start` is called, nothing of this costs anything. While the log is on, a call costs 0.1 to
0.2 ms more, because PyMongo's own log tells of commands.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any

from . import taps
from .errors import QueryError
from .frames import operations
from .frames.conditions import GROUPS, tests_value

__all__ = ["form_of", "logged", "start", "stop"]

logger = logging.getLogger("loom.query")

#: Stands for a value.
_VALUE = "?"
#: Operators whose argument is no value of anybody's.
_PLAIN = frozenset(("$exists", "$options", "$type"))
#: So much of a filter is shown with its values.
_LONGEST = 1_000


class _Settings:
    """How the log is written, while it is on."""

    def __init__(self, slow_ms: float | None, values: bool) -> None:
        self.slow_ms = slow_ms
        self.values = values


_settings: _Settings | None = None
_switching = threading.Lock()


def start(*, slow_ms: float | None = None, values: bool = False) -> None:
    """Switch the log on, for all threads and tasks of this process; or set it anew.

    Args:
        slow_ms: calls that take so many milliseconds, or more, are logged as WARNING, all others as
            DEBUG; None means that none is slow.
        values: show the values of filters. They may be secrets, and personal data.

    Raises:
        QueryError: a threshold that is no number of milliseconds.
    """
    global _settings
    is_number = isinstance(slow_ms, (int, float)) and not isinstance(slow_ms, bool)
    if slow_ms is not None and (not is_number or not slow_ms >= 0):
        raise QueryError(
            f"query_log.start: expected slow_ms in milliseconds, 0 or more, got {slow_ms!r}"
        )
    with _switching:
        was_on = _settings is not None
        _settings = _Settings(slow_ms, values)
        if not was_on:
            taps.open(_note)
            operations.put_around(_around)


def stop() -> None:
    """Switch the log off."""
    global _settings
    with _switching:
        if _settings is not None:
            _settings = None
            operations.put_around(None)
            taps.close(_note)


@contextmanager
def logged(*, slow_ms: float | None = None, values: bool = False) -> Iterator[None]:
    """Have the log on inside the block, and afterwards as it was.

    Args:
        slow_ms: as for `start`.
        values: as for `start`.
    """
    before = _settings
    start(slow_ms=slow_ms, values=values)
    try:
        yield
    finally:
        if before is None:
            stop()
        else:
            start(slow_ms=before.slow_ms, values=before.values)


# One call


class _Call:
    """A call of Loom's that runs, and what it has sent."""

    __slots__ = ("cls", "commands", "documents", "is_running", "operation", "seconds")

    def __init__(self, operation: str, cls: Any) -> None:
        self.operation = operation
        self.cls = cls
        self.commands: list[taps.Command] = []
        self.documents = 0
        self.seconds = 0.0
        self.is_running = True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Take what is sent inside the block for this call's, and the time for its time."""
        token = _current.set(self)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            with suppress(ValueError):  # a coroutine that is thrown away is closed elsewhere
                _current.reset(token)

    def end(self, error: BaseException | None) -> None:
        """Write the record."""
        self.is_running = False
        settings = _settings
        if settings is None:
            return
        ms = self.seconds * 1000
        is_slow = settings.slow_ms is not None and ms >= settings.slow_ms
        level = logging.WARNING if is_slow else logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        first = self.commands[0] if self.commands else None
        asked = None if first is None else _asked(first)
        filter = None if asked is None else _shown(asked, settings.values)
        name = getattr(self.cls, "__name__", "")
        documents: int | None = None if self.operation in _COUNTING else self.documents
        commands: int | None = len(self.commands)
        told = [] if documents is None else [_number(documents, "document")]
        told.append(_number(len(self.commands), "command"))
        if not self.commands and not taps.can_be_tapped():
            documents = commands = None
            told = ["unknown commands"]
        details = {
            "operation": self.operation,
            "frame_class": name,
            "collection": "" if first is None else first.collection,
            "filter": filter,
            "ms": round(ms, 3),
            "documents": documents,
            "commands": commands,
            "sent": [f"{command.name} {command.collection}" for command in self.commands],
            "slow": is_slow,
            "error": None if error is None else type(error).__name__,
        }
        told.append(f"{ms:.1f} ms")
        if is_slow:
            told.append("slow")
        if error is not None:
            told.append(type(error).__name__)
        shown = "" if filter is None else f" {filter}"
        text = f"{name}.{self.operation}{shown}: {', '.join(told)}"
        logger.log(level, "%s", text, extra=details)


_current: ContextVar[_Call | None] = ContextVar("loom.query_log", default=None)


def _note(command: taps.Command) -> None:
    """Take a command for that of the call that runs here."""
    call = _current.get()
    if call is None or not call.is_running:
        return
    if command.reply is None:
        call.commands.append(command)
    elif call.operation not in _COUNTING and command.name != "count":
        call.documents += _documents_in(command.reply)


#: What users call operations that have another name.
_PUBLIC = {"load_count": "count", "load_exists": "exists", "stream": "each"}
#: Operations whose replies hold numbers, and no documents.
_COUNTING = frozenset(("count", "explain"))


def _documents_in(reply: Mapping[str, Any]) -> int:
    cursor = reply.get("cursor")
    if isinstance(cursor, Mapping):
        batch = cursor.get("firstBatch", cursor.get("nextBatch", ()))
        return sum(map(_documents_of, batch)) if isinstance(batch, list) else 0
    if "lastErrorObject" in reply:
        return int(reply.get("value") is not None)
    number = reply.get("n", 0)
    return int(number) if isinstance(number, (int, float)) else 0


def _documents_of(item: Any) -> int:
    """Return how many documents an item of a batch is: of columns, a batch is one, as bytes."""
    if not isinstance(item, bytes):
        return 1
    found = position = 0
    while position < len(item):
        # At least what an empty one takes, or a broken reply would never end.
        position += max(5, int.from_bytes(item[position : position + 4], "little"))
        found += 1
    return found


# Around operations


def _around(name: str, function: Any) -> Any:
    """Return an operation that writes a record, and what is no operation as it is."""
    if (
        not inspect.isfunction(function)
        or next(iter(inspect.signature(function).parameters), "") != "port"
    ):
        return function

    @wraps(function)
    def called(port: Any, *args: Any, **options: Any) -> Any:
        outer = _current.get()
        # A task that a listener began may outlive the call.
        if outer is not None and outer.is_running:
            return function(port, *args, **options)
        call = _Call(_PUBLIC.get(name, name), _class_of(args[0] if args else None))
        result = function(port, *args, **options)
        if inspect.iscoroutine(result):
            return _awaited(call, result)
        if inspect.isasyncgen(result):
            return _streamed(call, result)
        return result

    return called


async def _awaited(call: _Call, operation: Coroutine[Any, Any, Any]) -> Any:
    error: BaseException | None = None
    try:
        with call.step():
            return await operation
    except BaseException as raised:
        error = raised
        raise
    finally:
        call.end(error)


async def _streamed(call: _Call, batches: Any) -> AsyncGenerator[Any, None]:
    error: BaseException | None = None
    try:
        while True:
            with call.step():
                try:
                    batch = await batches.__anext__()
                except StopAsyncIteration:
                    return
            yield batch
            del batch  # before the next one comes
    except GeneratorExit:  # the loop over it has ended early
        raise
    except BaseException as raised:
        error = raised
        raise
    finally:
        with call.step():
            await batches.aclose()
        call.end(error)


def _class_of(target: Any) -> Any:
    """Return the class of which an operation is called: it, a frame of it, or a chain."""
    if isinstance(target, type):
        return target
    return getattr(target, "_cls", None) or type(target)


def _number(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number:,} {word}s"


# What was asked for


def _asked(command: taps.Command) -> Any:
    """Return the filter or the pipeline of a command, None when it has none."""
    body = command.body
    for name in ("filter", "pipeline", "query"):
        if name in body:
            return body[name]
    for name in ("updates", "deletes"):
        if body.get(name):
            return body[name][0].get("q")
    return None


def _shown(asked: Any, values: bool) -> str:
    if not values:
        return repr(form_of(asked))
    shown = repr(_plain(asked))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _plain(value: Any) -> Any:
    """Return a filter in dicts and lists, which show themselves in brief."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [*map(_plain, value)] if isinstance(value, list) else value


def form_of(filter: Any) -> Any:
    """Return the form of a filter or of a pipeline: its paths and operators without the values.

    >>> form_of({"name": "Ann", "age": {"$gt": 5}, "_id": {"$in": [1, 2, 3]}})
    {'name': '?', 'age': {'$gt': '?'}, '_id': {'$in': '? x 3'}}
    >>> form_of([{"$match": {"name": "Ann"}}, {"$group": {"_id": "$name"}}])
    [{'$match': {'name': '?'}}, {'$group': '?'}]
    """
    if isinstance(filter, list):
        return [
            {name: form_of(part) if name == "$match" else _VALUE for name, part in stage.items()}
            for stage in filter
        ]
    made: dict[str, Any] = {}
    for path, test in filter.items():
        if path in GROUPS and isinstance(test, list):
            made[path] = [form_of(part) for part in test]
        elif path[:1] == "$":
            made[path] = _VALUE
        else:
            made[path] = _form_of_test(test)
    return made


def _form_of_test(test: Any) -> Any:
    if not isinstance(test, Mapping) or not tests_value(test):
        return _VALUE
    made: dict[str, Any] = {}
    for operator, value in test.items():
        if operator in _PLAIN:
            made[operator] = value
        elif operator == "$not":
            made[operator] = _form_of_test(value)
        elif operator == "$elemMatch" and isinstance(value, Mapping):
            made[operator] = _form_of_test(value) if tests_value(value) else form_of(value)
        elif operator in ("$in", "$nin", "$all") and isinstance(value, list):
            made[operator] = f"{_VALUE} x {len(value)}"
        else:
            made[operator] = _VALUE
    return made
