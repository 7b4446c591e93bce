"""Indexes: declared with the class, compared in CI, built by the deployment.

What: a user table with a unique address in any case, sessions that expire, and the two commands
    that a deployment needs.
When: several people or programs change the same database, and indexes are to be reviewed as code.
When not: one collection with one index that a script has made once.

Run: python snippets/indexes.py
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import loom as lm
from loom import Q
from loom.frames import indexes
from loom.frames.indexes import Index


class User(lm.Frame):
    _indexes = [
        Index("email", unique=True, case_insensitive=True),
        Index("card", unique=True, optional=True),
    ]

    email: str
    card: str


class Session(lm.Frame):
    _indexes = [Index("user"), Index("expires", ttl=0)]

    user: User
    expires: datetime


ALL = (User, Session)


def check() -> int:
    """Show what differs; the exit code for CI."""
    found = indexes.diff(*ALL)
    print(found)
    return 1 if found else 0


def deploy() -> None:
    """Build what is missing; changed indexes are an error that shows both definitions."""
    print(indexes.ensure(*ALL, comment="deploy"))


def refusal(email: str) -> str | None:
    """Add a user; return why that cannot be, if it cannot."""
    try:
        User(email=email).insert()
    except lm.Duplicate as error:
        return f"{error.index}: there is a user with {error.values}"
    return None


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    assert check() == 1
    deploy()
    assert check() == 0

    ann = User(email="ann@x.org")
    ann.insert()
    User(email="bob@x.org").insert()  # neither has a card: no duplicates
    Session(user=ann, expires=datetime.now(timezone.utc) + timedelta(hours=1)).insert()

    assert User.one(Q.email == "ANN@X.ORG") == ann
    print(refusal("Ann@X.org"))
    assert refusal("cid@x.org") is None

    lm.close()


if __name__ == "__main__":
    main()
