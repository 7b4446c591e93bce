"""What `save` must know of a frame: the names that were assigned, and the containers that were read.

A value that is assigned through the frame is noted by name. A container that is read through the
frame may be edited in place, so that a copy is kept of it as it was. What nobody read cannot have
been edited. Frames that are only read for their plain values remember nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from enum import Enum
from pathlib import PurePath
from re import Pattern
from typing import Any, NamedTuple

from ..encoding import in_order
from ..errors import FieldError
from ..switches import overrides
from .paths import MISSING, lookup
from .values import SCALARS, Placed, is_placed

__all__ = [
    "Tracked",
    "copied",
    "doubt",
    "is_doubtful",
    "keep",
    "loaded_of",
    "resolve",
    "settle",
    "stored",
    "track",
    "tracked_of",
    "uncounted",
]


class Kept(NamedTuple):
    """A container, and a copy of what it held."""

    value: Any
    copy: Any


class Tracked(dict[str, bool]):
    """The names that were assigned, each with whether that was since the last `mark`.

    The `_state` of a tracked frame is a list of this and of one flag per field, which the
    properties set; `tracked_of` gathers them, also from what was `Sent` in a batch.

    Attributes:
        loaded: what the frame remembers of its load, None when nothing.
        read: the containers that were read, by name.
        counters: what counters were before something was added, by name.
    """

    __slots__ = ("counters", "loaded", "read")

    def __init__(self, loaded: Any = None) -> None:
        super().__init__()
        self.loaded = loaded
        self.read: dict[str, Kept] = {}
        self.counters: dict[str, Any] = {}

    def mark(self) -> None:
        """Begin to tell apart what is assigned from now on."""
        for name in self:
            self[name] = False

    def forget(self, name: str) -> None:
        """Track a name no longer."""
        self.pop(name, None)
        self.read.pop(name, None)
        self.counters.pop(name, None)

    # Copies of frames

    def detached(self, document: dict[str, Any]) -> Tracked:
        """Return a form that fits a copy of the document: copies without their containers."""
        other = Tracked(None if self.loaded is None else self.loaded.detached(document))
        other.update(self)
        other.counters = dict(self.counters)
        other.read = {
            name: Kept(None, copied(kept.copy))
            for name, kept in self.read.items()
            if document.get(name) is kept.value
        }
        # A container that was replaced without notice is to be written.
        other.update(dict.fromkeys(self.read.keys() & document.keys() - other.read.keys(), True))
        return other

    def attached(self, document: dict[str, Any]) -> Tracked:
        """Return a detached form bound to a document."""
        if self.loaded is not None:
            self.loaded = self.loaded.attached(document)
        self.read = {n: Kept(document.get(n), kept.copy) for n, kept in self.read.items()}
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"loaded": self.loaded, "read": self.read, "counters": self.counters}
        return _revived, (dict(self), state)

    def since_mark(self) -> set[str]:
        """Return the names that were assigned since the last `mark`."""
        return {name for name, is_new in self.items() if is_new}


def _revived(assigned: dict[str, bool], attributes: dict[str, Any]) -> Tracked:
    state = Tracked()
    state.update(assigned)
    for name, value in attributes.items():
        setattr(state, name, value)
    return state


def track_all(frame: Any, names: Iterable[str]) -> None:
    """Note that values were given to a new frame that has an `_id`."""
    track(frame).update((name, True) for name in names if name != "_id")


def track(frame: Any) -> Tracked:
    """Return what is tracked of a frame; begins to track it."""
    found = tracked_of(frame)
    if found is None:
        found = Tracked(getattr(frame, "_state", None))
        attach(frame, found)
    return found


def attach(frame: Any, tracked: Tracked) -> None:
    """Begin to track a frame that was assigned so much already."""
    frame._state = [tracked, *([None] * max(frame._definition.positions.values(), default=0))]


def tracked_of(frame: Any) -> Tracked | None:
    """Return what is tracked of a frame, None when nothing is."""
    state = getattr(frame, "_state", None)
    if type(state) is not list:
        if not isinstance(state, bytes):
            return None
        attach(frame, state.tracked(frame._document))  # type: ignore[attr-defined]
        state = frame._state
    tracked: Tracked = state[0]
    if True in state[1:]:
        for name, position in frame._definition.positions.items():
            if position < len(state) and state[position]:
                state[position] = None
                tracked[name] = True
    return tracked


def loaded_of(frame: Any) -> Any:
    """Return what a frame remembers of its load, None when nothing."""
    state = getattr(frame, "_state", None)
    if type(state) is list:
        return state[0].loaded
    return None if isinstance(state, bytes) else state


#: Stands among the names that were assigned; no field has it.
_DOUBT = ""


def doubt(frame: Any) -> None:
    """Note that a new frame was sent, and that it is not known whether it is stored."""
    track(frame)[_DOUBT] = False


def is_doubtful(frame: Any) -> bool:
    """Tell whether a frame was sent and it is not known whether it is stored."""
    tracked = tracked_of(frame)
    return tracked is not None and _DOUBT in tracked


def resolve(frame: Any) -> None:
    """Note that a frame is stored after all."""
    tracked = tracked_of(frame)
    if tracked is not None:
        tracked.pop(_DOUBT, None)


def keep(frame: Any, name: str, value: Any) -> None:
    """Keep a copy of a container that is being read."""
    if is_fixed(value) or frame._document.get("_id") is None or is_placed(name, value):
        return
    read = track(frame).read
    kept = read.get(name)
    if kept is None or kept.value is not value:
        read[name] = Kept(value, copied(value))


#: Values of these types cannot be edited in place, nor can those of their subclasses.
_FIXED = (str, int, float, bytes, Enum, PurePath, Pattern, *(SCALARS - {type(None)}))


def is_fixed(value: Any) -> bool:
    """Tell values that cannot be edited in place; a referenced frame is stored apart."""
    kind = type(value)
    return (
        kind in SCALARS
        or getattr(kind, "_is_frame", False)
        or getattr(kind, "_is_missing", False)
        or isinstance(value, _FIXED)
    )


def copied(value: Any) -> Any:
    """Return a copy of a container that later edits do not reach; embedded documents as dicts."""
    kind = type(value)
    if kind in SCALARS or kind is Placed:
        return value
    if kind is dict:
        if SCALARS.issuperset(map(type, value.values())):
            return value.copy()
        return {key: copied(member) for key, member in value.items()}
    if kind is list:
        if SCALARS.issuperset(map(type, value)):
            return value.copy()
        return [copied(member) for member in value]
    if getattr(kind, "_is_subframe", False):
        return copied(value._document)
    if is_fixed(value):
        return value
    if isinstance(value, (set, frozenset)):
        return in_order(map(copied, value))  # as it is encoded
    if isinstance(value, tuple):
        return [copied(member) for member in value]
    if isinstance(value, Mapping):
        return {key: copied(member) for key, member in value.items()}
    return deepcopy(value)


def stored(frame: Any) -> None:
    """Note that a frame was stored whole."""
    document = frame._document
    containers = None
    if not SCALARS.issuperset(map(type, document.values())):
        # The caller may still hold what it gave to the frame, and edit it.
        containers = {
            name: Kept(value, copied(value))
            for name, value in document.items()
            if name != "_id" and not is_fixed(value) and not is_placed(name, value)
        }
    tracked = tracked_of(frame)
    if tracked is None:
        if not containers:
            return
        tracked = track(frame)
    tracked.clear()
    tracked.counters.clear()
    tracked.read = containers or {}


def settle(frame: Any, paths: Iterable[str]) -> None:
    """Note that what a frame holds at some paths was written."""
    document = frame._document
    tracked = tracked_of(frame)
    for path in paths:
        root, _, rest = path.partition(".")
        value = document.get(root, MISSING)
        if not rest:
            if tracked is not None:
                tracked.forget(root)
            if value is not MISSING and not is_fixed(value):
                tracked = track(frame)
                tracked.read[root] = Kept(value, copied(value))
        elif tracked is not None and root in tracked.read and tracked.read[root].value is value:
            _settle_inside(tracked.read[root].copy, rest.split("."), lookup(document, path))


def _settle_inside(holder: Any, names: list[str], value: Any) -> None:
    """Bring a kept copy to what was written at a path in it."""
    *above, last = names
    for name in above:
        deeper = _member(holder, name)
        if not isinstance(deeper, (dict, list)):
            if not isinstance(holder, dict) or value is MISSING:
                return
            deeper = holder[name] = {}
        holder = deeper
    if isinstance(holder, dict):
        if value is MISSING:
            holder.pop(last, None)
        else:
            holder[last] = copied(value)
    elif isinstance(holder, list) and last.isdigit() and value is not MISSING:
        index = int(last)
        if index < len(holder):
            holder[index] = copied(value)


def _member(holder: Any, name: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(name)
    if isinstance(holder, list) and name.isdigit() and int(name) < len(holder):
        return holder[int(name)]
    return None


# Counters


class Count(int):
    """The value of a counter; what is added to it is counted.

    >>> Count(5) + 1
    6
    """

    #: the document that it was read from
    owner: Any = None

    def __add__(self, other: Any) -> Any:
        return self._counted(int.__add__(self, other))

    def __sub__(self, other: Any) -> Any:
        return self._counted(int.__sub__(self, other))

    def _counted(self, result: Any) -> Any:
        if result is NotImplemented:
            return result
        counted = Count(result)
        counted.owner = self.owner
        return counted


def uncounted(frame: Any, names: Iterable[str]) -> dict[str, int]:
    """Return what was added to counters and is not stored yet, by name."""
    tracked = tracked_of(frame)
    if tracked is None:
        return {}
    counters = tracked.counters
    return {n: frame._document[n] - counters[n] for n in names if n in counters}


def read_counter(frame: Any, name: str) -> Any:
    """Return the value of a counter, to which something can be added."""
    value = frame._document.get(name)
    if type(value) is not int and not isinstance(value, int):
        return value
    count = Count(value)
    count.owner = frame._document
    return count


def write_counter(frame: Any, name: str, value: Any) -> None:
    """Take what was added to a counter.

    Raises:
        FieldError: the value was not made of the counter by adding or subtracting.
    """
    document = frame._document
    if document.get("_id") is None:
        document[name] = int(value) if isinstance(value, Count) else value
        return
    if not isinstance(value, Count) or value.owner is not document:
        raise FieldError(
            f"{type(frame).__name__}.{name}: expected += or -= on a counter, got {value!r} "
            f"assigned, which would lose what others count; write frame.{name} += 1, or set it "
            "with change({'$set': ...})"
        )
    state = track(frame)
    before = document.get(name, 0)
    state.counters.setdefault(name, before)
    document[name] = int(value)
    state[name] = True
    override = overrides.get()
    if override is not None and override.transaction is not None:
        # What a rolled back attempt has counted, the next one counts again.
        amount = document[name] - before
        override.transaction.on_rollback(lambda: _count_back(document, name, amount))


def _count_back(document: dict[str, Any], name: str, amount: int) -> None:
    if isinstance(document.get(name), int):
        document[name] -= amount
