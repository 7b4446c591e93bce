"""The frames that tests, docs and snippets share: dragons, their lairs and their loot."""

from __future__ import annotations

from datetime import datetime

from loom import Frame, SubFrame


class Inventory(SubFrame):
    """What a lair holds."""

    gold: int
    skulls: int


class Lair(SubFrame):
    """Where a dragon lives."""

    name: str
    inventory: Inventory


class Item(Frame):
    """A piece of loot."""

    desc: str
    value: int
    previous_owner: Dragon


class Dragon(Frame):
    """A dragon."""

    _private_fields = {"secret", "lair.inventory.skulls"}

    name: str
    breed: str
    age: int
    lair: Lair
    loot: list[Item]
    nemesis: Dragon
    secret: str
    created: datetime
    modified: datetime
