"""Time stamps: when a document was made and last changed.

What: a parent class with `created` and `modified`, kept by Loom's two listeners.
When: lists are sorted by the last change, caches ask what is new.
When not: only the time of making counts; an ObjectId holds it, to the second.

Run: python snippets/timestamps.py
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone

import loom as lm
from loom import Q


class Stamped(lm.Frame):
    created: datetime
    modified: datetime


Stamped.listen("insert", Stamped.timestamp_insert)
Stamped.listen("update", Stamped.timestamp_update)


class Dragon(Stamped):
    name: str


class Keeper(Stamped):
    name: str


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    start = datetime.now(timezone.utc) - timedelta(milliseconds=1)

    burt, fred = Dragon.insert_many([{"name": "Burt"}, {"name": "Fred"}])
    ann = Keeper(name="Ann")
    ann.insert()
    assert burt.created == burt.modified == fred.modified
    assert start <= ann.created

    # The stamp joins the write of the one field.
    time.sleep(0.01)
    fred.name = "Frederick"
    fred.update("name")
    assert fred.created < fred.modified

    # What the frame holds is what is stored: aware UTC, in milliseconds.
    stored = Dragon.by_id(fred._id, required=True)
    assert stored.modified == fred.modified
    assert stored.modified.utcoffset() == timedelta(0)

    latest = Dragon.many(Q.modified > burt.modified, sort="-modified")
    assert latest == [fred]

    print(*[f"{dragon.name}: {dragon.modified:%H:%M:%S.%f}" for dragon in latest])
    lm.close()


if __name__ == "__main__":
    main()
