"""Search: people by any part of name and address, whatever its case, and by distance.

What: derived fields that indexes can answer, patterns made of what strangers type, places.
When: a search box over thousands of documents, without a search server.
When not: ranking, stemming or misspellings matter; then use a search engine.

Run: python snippets/search.py
"""

from __future__ import annotations

import os
from typing import Any

import loom as lm
from loom import Q, query_log
from loom.frames import derived, indexes
from loom.frames.indexes import Index
from loom.testing import assert_queries


def reverse(text: str) -> str:
    return text[::-1].lower()


def join(*names: str | None) -> str:
    return " ".join(name for name in names if name)


class Person(lm.Frame):
    _indexes = [
        Index("full", case_insensitive=True),
        Index("email_rev"),
        Index("home", kind="2dsphere"),
    ]
    _derived = {
        "full": (("first", "last"), join),
        "email_rev": ("email", reverse),
    }

    first: str
    last: str
    full: str
    email: lm.StrLower
    email_rev: str
    home: dict[str, Any]


def point(longitude: float, latitude: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [longitude, latitude]}


def search(typed: str) -> list[str]:
    """Return whom a search box finds; what was typed is never a pattern."""
    if typed.startswith("@"):
        filter = Q.email_rev.startswith(reverse(typed))
    else:
        filter = Q.full.startswith(typed, ignore_case=True)
    return [person.full for person in Person.many(filter, limit=20)]


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    indexes.ensure(Person)
    ann, _, anna = Person.insert_many(
        [
            {"first": "Ann", "last": "Lee", "email": "Ann@X.org", "home": point(-0.12, 51.51)},
            {"first": "Bob", "last": "May", "email": "bob@y.org", "home": point(-0.13, 51.51)},
            {"first": "Anna", "email": "anna@x.org", "home": point(2.35, 48.86)},
        ]
    )
    assert anna.full == "Anna"

    assert sorted(search("an")) == ["Ann Lee", "Anna"]
    assert search("ANN L") == ["Ann Lee"]
    assert sorted(search("@x.org")) == ["Ann Lee", "Anna"]
    assert search(".*") == []

    # Whoever marries keeps being found: by every way of writing.
    ann.last = "May"
    ann.save()
    Person.update_where(Q.first == "Bob", {"$set": {"email": "bob@x.org"}})
    assert search("ann m") == ["Ann May"]
    assert len(search("@x.org")) == 3

    # Within two kilometres, however many they are.
    here = (-0.12, 51.51)
    near = Person.many(Q.home.near(here, max_distance=2_000))
    assert {person.first for person in near} == {"Ann", "Bob"}
    assert Person.count(Q.home.within(here, 2_000)) == 2

    # An import went past Loom.
    Person.get_collection().insert_one({"_id": 1, "first": "Zoe", "last": "Lee"})
    found = derived.rebuild_derived(Person)
    print(f"{found.changed} of {found.checked} were out of step")
    assert search("zoe") == ["Zoe Lee"]

    # What a search costs: one command, and what is slow is in the log.
    with query_log.logged(slow_ms=50), assert_queries(1):
        search("ann")

    lm.close()


if __name__ == "__main__":
    main()
