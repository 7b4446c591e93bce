"""What type checkers see of Loom; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import assert_type

import loom
from loom import Frame, Q, SubFrame, default
from loom.frames import And, Condition, ElemMatch, Group, SortBy
from loom.frames.streams import AsyncStream, Stream


class Lair(SubFrame):
    """An embedded document."""

    name: str
    gold: int = 0


class Dragon(Frame):
    """A frame with all kinds of fields."""

    _collection = "dragons"
    _private_fields = {"secret"}

    name: str
    lair: Lair
    nemesis: Annotated[Dragon, "a note"]
    tags: list[str] = default(list)
    secret: str


def reading() -> None:
    """Reading gives frames of the class."""
    assert_type(Dragon.one(), Dragon | None)
    assert_type(Dragon.one(Q.name == "Burt", required=True), Dragon)
    assert_type(Dragon.by_id("65f0", required=True), Dragon)
    assert_type(Dragon.by_id("65f0"), Dragon | None)
    assert_type(Dragon.many({"name": "Burt"}, sort="-name", limit=3), list[Dragon])
    assert_type(Dragon.by_ids([1, 2]), list[Dragon])
    assert_type(Dragon.count(), int)
    assert_type(Dragon.ids(), list[Any])
    assert_type(Dragon.exists(), bool)
    assert_type(Dragon.each(), Stream[Dragon])
    for dragon in Dragon.each():
        assert_type(dragon, Dragon)
    with Dragon.each() as dragons:
        assert_type(next(dragons), Dragon)


def fields(burt: Dragon) -> None:
    """Fields have the types of their annotations."""
    assert_type(burt.name, str)
    assert_type(burt.lair.gold, int)
    assert_type(burt.nemesis.nemesis.name, str)
    assert_type(burt.tags, list[str])
    assert_type(burt.to_json_type(datetimes="iso"), dict[str, Any])
    burt.name = "Ursula"
    burt.lair = Lair(name="Cave")


def writing(burt: Dragon) -> None:
    """Writing one frame returns nothing, writing many the frames."""
    burt.update("name", "lair.gold", comment="why")
    assert_type(Dragon.insert_many([burt, {"name": "Fred"}]), list[Dragon])
    assert_type(Dragon.delete_many([burt]), list[Dragon])


async def awaiting(burt: Dragon) -> None:
    """The awaited methods have the same types."""
    assert_type(await Dragon.aio.one(), Dragon | None)
    assert_type(await Dragon.aio.one(required=True), Dragon)
    assert_type(await Dragon.aio.many(), list[Dragon])
    assert_type(await Dragon.aio.count(), int)
    assert_type(Dragon.aio.each(), AsyncStream[Dragon])
    async for dragon in Dragon.aio.each():
        assert_type(dragon, Dragon)
    await burt.aio.update("name")
    assert_type(await Dragon.aio.insert_many([burt]), list[Dragon])


def conditions() -> None:
    """Expressions are conditions and groups."""
    condition = Q.lair.gold > 5
    assert_type(condition, Condition)
    assert_type(ElemMatch(Q.loot, Q.value > 3), Condition)
    group: Group = And(condition, Q.name == "Burt")
    Dragon.many(group & ~condition, sort=SortBy(Q.name, Q.age.desc))


@Dragon.listen("insert")
def stamp(sender: type[Dragon], frames: list[Dragon]) -> None:
    """A decorated listener keeps its type."""
    assert_type(sender, type[Dragon])


def listeners() -> None:
    """Anything callable can listen."""
    Dragon.listen("insert", Dragon.timestamp_insert)
    Dragon.listen("deleted", lambda sender, frames: Dragon.cascade(Dragon, "nemesis", frames))
    stamp(Dragon, [])


def connecting() -> None:
    """`connect` takes URIs, callables and clients."""
    assert_type(loom.connect("mongodb://localhost/zoo"), loom.Connection)
    loom.connect(lambda: "mongodb://localhost/zoo", db="zoo")
    with loom.using(db="archive"), loom.muted("insert"):
        pass
