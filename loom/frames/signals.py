"""The signals of Loom's events: Blinker's, with its traps closed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Sequence
from operator import itemgetter
from typing import Any

import blinker

from .. import epoch

__all__ = [
    "AFTER",
    "BEFORE",
    "EVENTS",
    "Signal",
    "assigned_by",
    "assigning",
    "checking",
    "signals",
]

#: The events, in pairs: before, after. And the one that follows every after-event.
EVENTS = ("insert", "inserted", "update", "updated", "delete", "deleted", "committed")
BEFORE = frozenset({"insert", "update", "delete"})
AFTER = frozenset({"inserted", "updated", "deleted"})

_order = itertools.count()


class Signal(blinker.NamedSignal):
    """A signal whose listeners are called in order of registration, the parents' ones too."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._registered: list[tuple[tuple[int, int], Any, Any]] = []
        self._changing = threading.Lock()

    def connect(
        self, receiver: Any, sender: Any = blinker.ANY, weak: bool = False, last: int = 0
    ) -> Any:
        """Connect a receiver; it is held strongly, so that a lambda or a closure stays.

        One with a higher `last` is called after those with a lower one.
        """
        with self._changing:
            if not any(
                r is not None and r == receiver and s is sender for _, r, s in self._registered
            ):
                entry = ((last, next(_order)), receiver, sender)
                self._registered = sorted([*self._registered, entry], key=itemgetter(0))
            super().connect(receiver, sender, weak=False)
            epoch.advance()
        return receiver

    def disconnect(self, receiver: Any, sender: Any = blinker.ANY) -> None:
        """Disconnect a receiver from a sender, or from all of them."""
        with self._changing:
            self._registered = [
                (order, r, s)
                for order, r, s in self._registered
                if not (r == receiver and (sender is blinker.ANY or s is sender))
            ]
            super().disconnect(receiver, sender)
            epoch.advance()

    def receivers_for(self, sender: Any) -> Generator[Any, None, None]:
        """Yield what listens to a class or to one of its parents, first registered first.

        A receiver that was registered for both is yielded once.
        """
        classes = sender.__mro__ if isinstance(sender, type) else (sender,)
        seen: list[Any] = []
        for _, receiver, wanted in self._registered:
            wants = wanted is blinker.ANY or any(wanted is cls for cls in classes)
            if wants and receiver not in seen:
                seen.append(receiver)
                yield receiver


#: Loom's own signals: others may use the same names for theirs.
signals: dict[str, Signal] = {name: Signal(name) for name in EVENTS}

#: Declared listeners that are called after the other declared ones, and that assign only to the
#: fields that a function of a class and of the named fields returns.
assigning: list[tuple[Callable[..., Any], Callable[[Any, Sequence[str]], tuple[str, ...]]]] = []

#: Declared listeners that refuse frames which cannot be stored, and do nothing else.
checking: list[Callable[..., Any]] = []


def assigned_by(receiver: Any) -> Callable[[Any, Sequence[str]], tuple[str, ...]] | None:
    """Return what tells the fields that a listener assigns to, None when only itself knows."""
    return next((fields for one, fields in assigning if one is receiver), None)
