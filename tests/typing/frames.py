"""What type checkers see of Loom; checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from typing_extensions import assert_type

import loom
from loom import (
    Frame,
    IncrCounter,
    Q,
    Ref,
    StrLower,
    StrUpper,
    SubFrame,
    TimeInserted,
    TimeUpdated,
    default,
)
from loom.frames import And, Condition, ElemMatch, Group, Paginator, SortBy
from loom.frames.pages import Page
from loom.frames.streams import AsyncStream, Stream
from loom.running_transactions import Transaction

T = TypeVar("T")


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


class Box(SubFrame, Generic[T]):
    """A sub-frame whose value can be anything."""

    content: T


class Keeper(Frame):
    """A frame with all kinds of marks."""

    email: StrLower
    nick: StrLower | None
    code: StrUpper = "A1"
    tags: list[StrLower] = default(list)
    words: dict[str, StrUpper]
    box: Box[StrLower]
    created: TimeInserted
    modified: TimeUpdated | None
    visits: IncrCounter
    rings: IncrCounter = 0
    dragon: Annotated[Dragon, Ref(on_delete="cascade")]
    dragons: list[Annotated[Dragon, Ref("pull", events=False)]]
    friend: Annotated[Keeper | None, Ref()]


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


def rows() -> None:
    """Rows are what `row` makes; tuples by default."""
    assert_type(Dragon.rows(None, "name", Q.lair.gold, sort="name"), list[tuple[Any, ...]])
    assert_type(Dragon.rows(None, "name", row=dict), list[dict[str, Any]])
    assert_type(Dragon.rows(None, "name", "gold", row=Lair), list[Lair])
    assert_type(Dragon.rows(None, "name", row=len), list[int])


def pages() -> None:
    """Pages are sequences of frames."""
    page = Dragon.page(Q.name == "Burt", sort="-name", after=None)
    assert_type(page, Page[Dragon])
    assert_type(page[0], Dragon)
    assert_type(page[1:], list[Dragon])
    assert_type(page.next, str | None)
    pages = Paginator(Dragon, per_page=5)
    assert_type(pages[1].items, list[Dragon])
    assert_type(pages.page_numbers, range)
    for numbered in pages:
        assert_type(numbered[0], Dragon)


def fields(burt: Dragon) -> None:
    """Fields have the types of their annotations."""
    assert_type(burt.name, str)
    assert_type(burt.lair.gold, int)
    assert_type(burt.nemesis.nemesis.name, str)
    assert_type(burt.tags, list[str])
    assert_type(burt.to_json_type(datetimes="iso"), dict[str, Any])
    burt.name = "Ursula"
    burt.lair = Lair(name="Cave")


def marks(ann: Keeper) -> None:
    """A marked field has the type that is marked."""
    assert_type(ann.email, str)
    assert_type(ann.nick, str | None)
    assert_type(ann.code, str)
    assert_type(ann.tags, list[str])
    assert_type(ann.words, dict[str, str])
    assert_type(ann.box.content, str)
    assert_type(ann.created, datetime)
    assert_type(ann.modified, datetime | None)
    assert_type(ann.visits, int)
    assert_type(ann.dragon, Dragon)
    assert_type(ann.dragon.lair, Lair)
    assert_type(ann.dragons, list[Dragon])
    assert_type(ann.friend, Keeper | None)
    ann.email = ann.email.partition("@")[0]
    ann.tags.append("new")
    ann.visits += 1
    ann.rings -= 2
    ann.created = datetime.now()
    ann.code = 5  # type: ignore[assignment]  # text, as it is marked
    ann.visits += "x"  # type: ignore[operator]


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
    assert_type(await Dragon.aio.rows(None, "name"), list[tuple[Any, ...]])
    assert_type(await Dragon.aio.page(), Page[Dragon])
    assert_type((await Paginator(Dragon).aio.page(1))[0], Dragon)
    assert_type(Dragon.aio.each(), AsyncStream[Dragon])
    async for dragon in Dragon.aio.each():
        assert_type(dragon, Dragon)
    await burt.aio.update("name")
    assert_type(await Dragon.aio.insert_many([burt]), list[Dragon])


async def transacting(burt: Dragon) -> None:
    """A transaction gives its object; `with_transaction` gives what the function returns."""
    with loom.transaction(Dragon) as found:
        assert_type(found, Transaction)
    async with loom.aio.transaction() as found:
        assert_type(found, Transaction)
    assert_type(loom.with_transaction(lambda: len("a")), int)

    async def count() -> int:
        return await Dragon.aio.count()

    assert_type(await loom.aio.with_transaction(count), int)


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
