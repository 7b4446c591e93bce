"""Changing the form of documents while two programs run.

What: names become two fields; documents are upgraded when they are loaded, saved or migrated.
When: what is stored has an older form than the program, and there is too much of it to stop for.
When not: a new field with a default is enough; or the collection is small and nobody else writes.

Run: python snippets/upgrade_documents.py
"""

from __future__ import annotations

import os
from typing import Any

import loom as lm
from loom.frames.drifting import drift
from loom.frames.migrating import migrate


class OldUser(lm.Frame):
    """As the program of last year knows users."""

    _collection = "User"
    _schema_version = 1

    name: str
    logins: int = 0


class User(lm.Frame):
    """As today's program does."""

    _schema_version = 2

    first: str
    last: str
    logins: int = 0

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None:
        if version < 2:
            document["first"], _, document["last"] = document.pop("name").partition(" ")


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    OldUser.insert_many([{"_id": n, "name": f"Ann {letter}"} for n, letter in enumerate("ABCDE")])

    # Loaded, a document has today's form; stored, it still has the old one.
    user = User.by_id(0, required=True)
    assert (user.first, user.last) == ("Ann", "A")
    assert "name" in User.get_collection().find_one({"_id": 0})

    # The old program goes on with it, until the new one has written it.
    old = OldUser.by_id(0, required=True)
    old.inc("logins", 1)
    user.last = "Archer"
    user.save()
    assert (User.get_collection().find_one({"_id": 0})) == {
        "_id": 0,
        "first": "Ann",
        "last": "Archer",
        "logins": 1,
        "_schema_version": 2,
    }
    try:
        old.inc("logins", 1)
    except lm.SchemaVersionError as error:
        print(error)

    # The rest at night.
    print(migrate(User, dry_run=True))
    report = migrate(User)
    print(report)
    assert (report.upgraded, report.failed) == (4, ())

    # Nothing departs from the class any more.
    print(drift(User))
    assert not drift(User).departures


if __name__ == "__main__":
    main()
