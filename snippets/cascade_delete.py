"""Deleting without leaving loose ends.

What: a dragon takes its eggs with it; its keepers forget it; all of it in one transaction.
When: documents belong to others, and MongoDB shall not keep what nobody reaches.
When not: history must stay readable; then mark documents as ended instead of deleting them.

Run: python snippets/cascade_delete.py
"""

from __future__ import annotations

import os
from typing import Any

import loom as lm


class Egg(lm.Frame):
    colour: str


class Dragon(lm.Frame):
    name: str
    eggs: list[Egg]
    mate: Dragon


class Keeper(lm.Frame):
    name: str
    dragons: list[Dragon]
    favourite: Dragon


@Dragon.listen("deleted")
def clear_up(sender: Any, frames: list[Dragon]) -> None:
    Dragon.cascade(Egg, "eggs", frames)  # what the dragon points to goes
    Dragon.nullify(Dragon, "mate", frames)  # what points to the dragon forgets it
    Dragon.nullify(Keeper, "favourite", frames)
    Dragon.pull(Keeper, "dragons", frames)


hatchery: list[str] = []


@Egg.listen("deleted")
def note_eggs(frames: list[Egg]) -> None:
    # What a cascade deletes has events as well.
    hatchery.extend(egg.colour for egg in frames)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    red, blue = Egg.insert_many([{"colour": "red"}, {"colour": "blue"}])
    burt = Dragon(name="Burt", eggs=[red, blue])
    burt.insert()
    fred = Dragon(name="Fred", mate=burt)
    fred.insert()
    ann = Keeper(name="Ann", dragons=[burt, fred], favourite=burt)
    ann.insert()

    # Stopped halfway, nothing has happened.
    try:
        with Dragon.get_client().start_session() as session, session.start_transaction():
            burt.delete(session=session)
            raise RuntimeError("the phone rang")
    except RuntimeError:
        pass
    assert Egg.count({}) == Dragon.count({}) == 2

    hatchery.clear()
    with Dragon.get_client().start_session() as session, session.start_transaction():
        burt.delete(session=session)
    assert hatchery == ["red", "blue"]
    assert Egg.count({}) == 0

    ann.reload()
    fred.reload()
    assert ann.dragons == [fred._id]
    assert ann.favourite is None
    assert fred.mate is None

    print(ann, fred, sep="\n")
    lm.close()


if __name__ == "__main__":
    main()
