"""A change log: who changed what, written by listeners.

What: each insert, update and delete of a watched class leaves an entry with the user, the
    document and the changes.
When: people ask who changed this, and the answer may come from the program's own writes.
When not: changes by other programs count too; then read MongoDB's change streams.

Run: python snippets/change_log.py
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

import loom as lm
from loom import Q

user: ContextVar[str] = ContextVar("user", default="system")


class Entry(lm.Frame):
    when: datetime
    who: str
    what: str
    kind: str
    document: Any
    changes: list[dict[str, Any]]


class Watched(lm.Frame):
    """A class whose changes are logged; its children are watched too."""


class Dragon(Watched):
    name: str
    age: int


async def write(what: str, frames: list[Watched], changes: Any, session: Any) -> None:
    entries = [
        Entry(
            when=datetime.now(timezone.utc),
            who=user.get(),
            what=what,
            kind=type(frame).__name__,
            document=frame._id,
            # A list, because names such as $set and lair.gold are no field names.
            changes=[
                {"do": operator, "path": path, "value": value}
                for operator, paths in change.items()
                for path, value in paths.items()
            ],
        )
        for frame, change in zip(frames, changes or [{}] * len(frames), strict=True)
    ]
    # In the session of the write: in a transaction both stand, or neither.
    await Entry.aio.insert_many(entries, session=session)


@Watched.listen("inserted")
async def log_insert(frames: list[Watched], session: Any) -> None:
    await write("insert", frames, None, session)


@Watched.listen("updated")
async def log_update(frames: list[Watched], changes: Any, session: Any) -> None:
    await write("update", frames, changes, session)


@Watched.listen("deleted")
async def log_delete(frames: list[Watched], session: Any) -> None:
    await write("delete", frames, None, session)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    user.set("ann")
    burt = Dragon(name="Burt", age=130)
    burt.insert()

    user.set("bob")
    burt.age = 131
    burt.update("age")

    # A load of data that nobody asks about.
    with lm.muted(sender=Watched):
        Dragon.insert_many([{"name": "Fred"}, {"name": "Ann"}])
    burt.delete()

    entries = Entry.many(Q.document == burt._id, sort="_id")
    assert [entry.what for entry in entries] == ["insert", "update", "delete"]
    assert [entry.who for entry in entries] == ["ann", "bob", "bob"]
    assert entries[1].changes == [{"do": "$set", "path": "age", "value": 131}]
    assert Entry.count({}) == 3

    for entry in entries:
        print(f"{entry.when:%H:%M:%S} {entry.who} {entry.what} {entry.kind} {entry.changes}")
    lm.close()


if __name__ == "__main__":
    main()
