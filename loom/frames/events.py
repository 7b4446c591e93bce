"""Events around every write, as Blinker signals, with Blinker's traps closed.

| event                 | when                       | carries                            |
|-----------------------|----------------------------|------------------------------------|
| `insert`, `inserted`  | before, after an insert    | `frames`, `session`                |
| `update`, `updated`   | before, after an update    | `frames`, `fields`, `changes`, ... |
| `delete`, `deleted`   | before, after a delete     | `frames`, `session`                |
| `committed`           | when a write stands        | `event` and what that one carries  |

`committed` comes after every after-event, and in a transaction only when that was committed.
`unset` and `upsert` send the events of what they do. Batches send one event with all frames.
An exception in a before-listener stops the write; one in an after-listener reaches the caller
once all listeners have run, and the write stands.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .. import epoch
from ..errors import ListenerError, nearest
from .signals import AFTER, BEFORE, EVENTS, Signal, assigned_by, signals

__all__ = [
    "EVENTS",
    "Running",
    "listen",
    "listeners",
    "listening",
    "muted",
    "running",
    "stop_listening",
]

#: What a listener may ask for by name.
PAYLOAD = ("frames", "fields", "changes", "session", "event")

#: What finds the listeners that a class declares: `(event, receiver)` pairs of a class.
Declaring = Callable[[type], Iterable[tuple[str, Callable[..., Any]]]]
declaring: list[Declaring] = []
_declared: set[tuple[str, Any, type]] = set()


class Listener:
    """A receiver, the event it listens to, and how it wants to be called."""

    __slots__ = ("event", "names", "receiver", "takes_sender")

    def __init__(self, event: str, receiver: Callable[..., Any]) -> None:
        self.event = event
        self.receiver = receiver
        self.takes_sender, self.names = _wishes(receiver)

    def __call__(self, sender: type, payload: dict[str, Any]) -> Any:
        wanted = {name: sender if name == "sender" else payload[name] for name in self.names}
        return self.receiver(sender, **wanted) if self.takes_sender else self.receiver(**wanted)


def _wishes(receiver: Any) -> tuple[bool, tuple[str, ...]]:
    """Return whether a receiver takes the sender first, and which arguments it takes by name."""
    if not callable(receiver):
        raise ListenerError(f"listen: expected a function, got {receiver!r}")
    if inspect.isgeneratorfunction(receiver) or inspect.isasyncgenfunction(receiver):
        raise ListenerError(
            f"listen: expected a function, got the generator function {_name(receiver)}, whose "
            "body would never run; leave the yield out"
        )
    try:
        parameters = list(inspect.signature(receiver).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return True, PAYLOAD
    takes_sender = False
    names: list[str] = []
    for position, parameter in enumerate(parameters):
        positional = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if parameter.kind is parameter.VAR_KEYWORD:
            names = list(dict.fromkeys([*names, *PAYLOAD, *(() if takes_sender else ("sender",))]))
        elif parameter.name in PAYLOAD and parameter.kind is not parameter.POSITIONAL_ONLY:
            names.append(parameter.name)
        elif positional and position == 0 and parameter.default is parameter.empty:
            takes_sender = True
        elif parameter.name == "sender" and parameter.kind is not parameter.POSITIONAL_ONLY:
            names.append("sender")
        elif (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        ):
            raise ListenerError(
                f"listen: expected parameters sender, {', '.join(PAYLOAD)}, got "
                f"{parameter.name!r} in {_name(receiver)}{inspect.signature(receiver)}; "
                "give it a default"
            )
    return takes_sender, tuple(names)


def _name(receiver: Any) -> str:
    return getattr(receiver, "__qualname__", repr(receiver))


def listen(event: str, receiver: Callable[..., Any], sender: type) -> None:
    """Call `receiver` on an event of a class and its children."""
    signal = _signal(event, sender)
    _wishes(receiver)  # a signature that does not fit is said now, not at the first write
    signal.connect(receiver, sender)


def stop_listening(event: str, receiver: Callable[..., Any], sender: type) -> None:
    """End what `listen` or an annotation began."""
    _declare(sender)
    _signal(event, sender).disconnect(receiver, sender)


def listening(event: str, sender: type) -> list[Callable[..., Any]]:
    """Return what listens to an event of a class, in the order of the calls.

    What annotations declare is among it, after all others.
    """
    _signal(event, sender)
    return [found.receiver for found in listeners(event, sender) if found.event == event]


def _declare(sender: type) -> None:
    """Connect what the annotations of a class declare; once, so that it can be stopped."""
    for declare in declaring:
        for event, receiver in declare(sender):
            if (event, receiver, sender) not in _declared:
                _declared.add((event, receiver, sender))
                last = 1 if assigned_by(receiver) is None else 2
                signals[event].connect(receiver, sender, last=last)


def _signal(event: str, sender: type) -> Signal:
    try:
        return signals[event]
    except (KeyError, TypeError):
        hint = nearest(event, EVENTS) if isinstance(event, str) else ""
        raise ListenerError(
            f"{sender.__name__}.listen: expected one of {', '.join(EVENTS)}, got {event!r}{hint}"
        ) from None


_cache: dict[tuple[str, type], tuple[int, tuple[Listener, ...]]] = {}


def listeners(event: str, sender: type) -> tuple[Listener, ...]:
    """Return what is to be told of an event of a class; cheap when there is nothing.

    For an after-event that is what listens to `committed`, too; for a class whose documents are
    of several kinds also what listens to one of these.
    """
    cached = _cache.get((event, sender))
    if cached is None or cached[0] != epoch.current:
        # The number is read first: what is connected meanwhile makes the entry an old one.
        kinds = getattr(sender, "_kinds", None)
        senders = (sender,) if kinds is None else (sender, *kinds.below(sender))
        for one in senders:
            _declare(one)
        number = epoch.current
        names = (event, "committed") if event in AFTER else (event,)
        receivers = [
            (name, receiver)
            for name in names
            for one in senders
            for receiver in signals[name].receivers_for(one)
        ]
        distinct = [pair for at, pair in enumerate(receivers) if pair not in receivers[:at]]
        cached = number, tuple(Listener(name, receiver) for name, receiver in distinct)
        _cache[event, sender] = cached
    found = cached[1]
    if found and (silenced := _muted.get()):
        return tuple(
            listener
            for listener in found
            if not any(mute.covers(listener.event, listener.receiver, sender) for mute in silenced)
        )
    return found


_updates_heard: dict[type, tuple[int, bool]] = {}


def are_updates_heard(sender: type) -> bool:
    """Tell whether anything is told of the updates of a class, muted or not."""
    cached = _updates_heard.get(sender)
    if cached is None or cached[0] != epoch.current:
        _declare(sender)
        number = epoch.current
        found = [
            receiver
            for event in ("update", "updated", "committed")
            for receiver in signals[event].receivers_for(sender)
        ]
        cached = _updates_heard[sender] = number, bool(found)
    return cached[1]


# Muting


class _Mute:
    __slots__ = ("events", "receivers", "sender")

    def __init__(self, what: Sequence[Any], sender: type | None) -> None:
        self.events = frozenset(w for w in what if isinstance(w, str))
        self.receivers = [w for w in what if not isinstance(w, str)]
        self.sender = sender

    def covers(self, event: str, receiver: Any, sender: type) -> bool:
        if self.sender is not None and not issubclass(sender, self.sender):
            return False
        if self.events and event not in self.events:
            return False
        return not self.receivers or any(receiver == r for r in self.receivers)


_muted: ContextVar[tuple[_Mute, ...]] = ContextVar("loom.muted", default=())


@contextmanager
def muted(*what: str | Callable[..., Any], sender: type | None = None) -> Iterator[None]:
    """Call no listeners inside the block, in this thread or task only.

    Args:
        what: names of events, listeners, or both; none means all.
        sender: a class; its children are meant too. None means every class.

    Raises:
        ListenerError: an event that does not exist, or something else that is no listener.

    >>> from loom import Frame, muted
    >>> with muted("update", sender=Frame):
    ...     pass
    """
    for event in what:
        if isinstance(event, str) and event not in EVENTS:
            raise ListenerError(
                f"muted: expected one of {', '.join(EVENTS)}, got {event!r}{nearest(event, EVENTS)}"
            )
        if not isinstance(event, str) and (
            not callable(event) or getattr(event, "_is_frame", False)
        ):
            raise ListenerError(
                f"muted: expected names of events or listeners, got {event!r}; "
                "a class goes into sender="
            )
    token = _muted.set((*_muted.get(), _Mute(what, sender)))
    try:
        yield
    finally:
        _muted.reset(token)


# The event that runs now


class Running:
    """A listener's call: the port its Loom calls use, and work it hands back."""

    __slots__ = ("active", "deferred", "done", "event", "fed", "port", "session", "task", "thread")

    def __init__(self, event: str, port: Any, session: Any, fed: bool = False) -> None:
        self.event = event
        self.port = port
        self.session = session
        #: whether a change stream tells of what others have written
        self.fed = fed
        self.thread = threading.get_ident()
        self.task = current_task()
        self.active = True
        self.deferred: list[Callable[[Any], Coroutine[Any, Any, Any]]] = []
        #: what the listener has written, to be said when the operation itself fails
        self.done: list[str] = []

    def is_here(self) -> bool:
        """True in the very task and thread of the event, while its listener runs.

        A task or thread that the listener starts inherits the context variable, but is not it.
        """
        return self.active and self.thread == threading.get_ident() and self.task is current_task()


def current_task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


running_event: ContextVar[Running | None] = ContextVar("loom.running", default=None)


def running() -> Running | None:
    """Return the event whose listener makes this call, None outside of listeners."""
    found = running_event.get()
    return found if found is not None and found.is_here() else None


def refuse_fed(who: Any) -> None:
    """Refuse to follow a write that was followed where it was made: a change stream tells of it.

    Raises:
        ListenerError: it does.
    """
    current = running()
    if current is not None and current.fed:
        raise ListenerError(
            f"{who}: expected a write of this program, got one told by watch(feed=True), which is "
            "counted or logged where it is made; read the stream in a program without it, or in "
            "`with loom.muted(...)`"
        )


def add_note(error: BaseException, note: str) -> None:
    """Add a line to what is shown of an error; Python 3.10 keeps it without showing it."""
    error.__dict__.setdefault("__notes__", []).append(note)


async def emit(
    port: Any, event: str, sender: type, frames: list[Any], payload: dict[str, Any]
) -> list[str]:
    """Call the listeners of an event, and do what they handed back.

    After an after-event `committed` is sent; in a transaction that waits for its end.

    Returns:
        What the listeners say that they have done, for the error of an operation that fails.

    Raises:
        ListenerError: an async listener suspended in a blocking call.
    """
    kinds = getattr(sender, "_kinds", None)
    if kinds is not None and {*map(type, frames)} - {sender}:
        return await _emit_to_each(port, event, kinds.shares(frames, payload), payload)
    session = port.session(sender, payload)
    payload = {"fields": (), "changes": (), "event": event, **payload, "session": session}
    found = listeners(event, sender)
    if kinds is not None and kinds.below(sender):
        own_receivers = _receivers_of(event, sender)
        found = tuple(one for one in found if (one.event, one.receiver) in own_receivers)
    own = [listener for listener in found if listener.event == event]
    done: list[str] = []
    failures = await call(port, event, sender, own, frames, payload, done)
    for failure in failures:
        add_note(failure, f"raised by a listener of {event!r}: the write was done")
    if len(own) < len(found):
        waiting = Committed(sender, found[len(own) :], frames, payload)
        if not port.postpone(waiting):
            failures += await waiting.send(port, "the write stands")
    raise_first(failures, event)
    return done


def _receivers_of(event: str, sender: type) -> list[tuple[str, Any]]:
    """Return what listens to a class itself, and not to a kind below it only."""
    names = (event, "committed") if event in AFTER else (event,)
    return [(name, receiver) for name in names for receiver in signals[name].receivers_for(sender)]


async def _emit_to_each(
    port: Any, event: str, shares: Iterable[Any], payload: dict[str, Any]
) -> list[str]:
    """Send an event for each class of the frames, so that each listener hears its own."""
    done: list[str] = []
    failures: list[Exception] = []
    for share in shares:
        try:
            done += await emit(port, event, share.cls, share.frames, share.payload)
        except Exception as error:
            if event in BEFORE:
                raise
            failures.append(error)
        share.give_back(payload)
    raise_first(failures, event)
    return done


class Committed:
    """A write that `committed` is to tell of."""

    __slots__ = ("frames", "listeners", "payload", "sender")

    def __init__(
        self,
        sender: type,
        listeners: Sequence[Listener],
        frames: list[Any],
        payload: dict[str, Any],
    ) -> None:
        self.sender = sender
        self.listeners = listeners
        self.frames = [*frames]
        self.payload = payload

    async def send(self, port: Any, note: str) -> list[Exception]:
        """Call the listeners, outside of any transaction; return what they raised, with a note."""
        payload = {**self.payload, "session": None}
        failures = await call(port, "committed", self.sender, self.listeners, self.frames, payload)
        for failure in failures:
            add_note(failure, f"raised by a listener of 'committed': {note}")
        return failures


async def call(
    port: Any,
    event: str,
    sender: type,
    found: Sequence[Listener],
    frames: list[Any],
    payload: dict[str, Any],
    done: list[str] | None = None,
) -> list[Exception]:
    """Call listeners one after the other; return what they raised, of a before-event raise it."""
    failures: list[Exception] = []
    for listener in found:
        current = Running(event, port, payload["session"], payload.get("fed", False))
        token = running_event.set(current)
        try:
            # A copy of the list: what a listener does to its own changes nothing for others.
            result = listener(sender, {**payload, "frames": [*frames]})
            if inspect.isawaitable(result):
                await port.listener(result, event, _name(listener.receiver))
            for work in current.deferred:
                await work(port)
            if done is not None:
                done += current.done
        except Exception as error:
            if event in BEFORE:
                raise
            failures.append(error)
        finally:
            current.active = False
            running_event.reset(token)
    return failures


def raise_first(failures: Sequence[Exception], event: str) -> None:
    """Raise the first of what listeners raised, with a note about each of the others."""
    if failures:
        first, *others = failures
        for other in others:
            add_note(first, f"another listener of {event!r} failed too: {other!r}")
        raise first
