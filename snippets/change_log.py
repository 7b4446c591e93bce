"""A change log: who changed what, from what to what.

What: each insert, update and delete of a watched class leaves an entry with the user, the
    document and the changes; secrets leave only a trace.
When: people ask who changed this, and the answer may come from the program's own writes.
When not: changes by other programs count too; then read MongoDB's change streams.

Run: python snippets/change_log.py
"""

from __future__ import annotations

import os
from contextvars import ContextVar

import loom as lm
from loom import Q
from loom.frames import history
from loom.frames.history import ChangeLog

user: ContextVar[str] = ContextVar("user", default="system")


class Watched(lm.Frame):
    """A class whose changes are logged; its children are watched too."""


class Dragon(Watched):
    _private_fields = {"weakness"}

    name: str
    age: int
    weakness: str


history.track(Watched, by=user.get)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    burt = Dragon(name="Burt", age=3, weakness="mice")
    burt.insert()
    user.set("ann")
    burt.age = 4
    burt.weakness = "garlic"
    burt.save()
    # Writes by filter are logged, too, document by document.
    Dragon.update_where(Q.age > 3, {"$set": {"name": "Burt the Old"}})
    burt.delete()

    for entry in ChangeLog.many(history.of(burt), sort="_id"):
        print(entry)


if __name__ == "__main__":
    main()
