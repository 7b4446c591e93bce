"""The first program: a class, an insert, a query, an update, a delete.

What: everything that one collection needs, in thirty lines.
When: to see whether Loom is installed and the server answers.
When not: as a pattern for a service; tornado_app.py and starlette_app.py are that.

Run: python snippets/quickstart.py
LOOM_URI names the server; without it one is started that keeps nothing.
"""

from __future__ import annotations

import os

import loom as lm
from loom import Q


class Dragon(lm.Frame):
    name: str
    breed: str
    age: int = 0


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    burt = Dragon(name="Burt", breed="Cold-drake", age=130)
    burt.insert()
    Dragon.insert_many([{"name": "Fred", "breed": "Fire-drake"}, {"name": "Ann"}])

    assert Dragon.many((Q.age > 100) & (Q.breed == "Cold-drake")) == [burt]
    assert [dragon.name for dragon in Dragon.each(sort="name")] == ["Ann", "Burt", "Fred"]

    burt.age += 1
    burt.update("age")
    assert Dragon.by_id(burt._id, required=True).age == 131

    fred = Dragon.one(Q.name == "Fred", required=True)
    fred.delete()
    assert Dragon.count({}) == 2

    print(*Dragon.many(sort="name"), sep="\n")
    lm.close()


if __name__ == "__main__":
    main()
