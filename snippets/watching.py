"""A second store that follows a collection, also through restarts.

What: copies what changes into another place (a dict here; a search index, a cache, a queue in
    earnest), and goes on where it was when it is started again.
When: something has to follow what any program writes, in order, with nothing left out.
When not: within the program that writes, where a listener is simpler; or on a standalone server,
    which has no change streams.

Run: python snippets/watching.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import loom as lm
from loom import Frame


class Dragon(Frame):
    name: str
    gold: int


def apply(change: Any, store: dict[Any, str]) -> None:
    """Bring the store to where the collection is; to do it twice does no harm."""
    if change.kind == "delete":
        store.pop(change.id, None)
    elif change.frame is not None:  # else it is gone meanwhile: its delete comes
        store[change.id] = f"{change.frame.name}: {change.frame.gold}"


def follow(store: dict[Any, str], place: Path) -> int:
    """Apply all that has changed since the last time, and return how much that was."""
    count = 0
    with Dragon.watch(checkpoint=place, max_await_time_ms=200) as changes:
        while (change := changes.try_next()) is not None:
            apply(change, store)
            count += 1
    return count


def rebuild(store: dict[Any, str], place: Path) -> None:
    """Read everything: at the very beginning, and when the server has lost the history."""
    place.unlink(missing_ok=True)
    follow(store, place)  # from now on
    store.clear()
    for dragon in Dragon.each():
        store[dragon._id] = f"{dragon.name}: {dragon.gold}"


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    store: dict[Any, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "dragons.place")
        burt = Dragon(name="Burt", gold=5)
        burt.insert()

        rebuild(store, place)
        assert store == {burt._id: "Burt: 5"}

        # Nobody follows while these are written.
        burt.inc("gold", 2)
        fred = Dragon(name="Fred", gold=1)
        fred.insert()
        burt.delete()

        try:
            assert follow(store, place) == 3
        except lm.HistoryLost:
            rebuild(store, place)
        assert store == {fred._id: "Fred: 1"}
        assert follow(store, place) == 0

    print("the store has followed", list(store.values()))
    lm.close()


if __name__ == "__main__":
    main()
