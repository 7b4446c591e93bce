"""Numbered pages, as MongoFrames has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collation import Collation

import loom
from loom import Frame, LoomError, PageError, Q, QueryError
from loom.frames import InvalidPage, Page, Paginator
from loom.frames.index import Index

from .conftest import Commands, Runtime


class Wyrm(Frame):
    """A dragon of these tests."""

    name: str
    age: int
    friend: Any


class Caseless(Frame):
    """Its names are found in any case."""

    _indexes = [Index("name", case_insensitive=True)]

    name: str


class Blocking:
    """A paginator, called the awaited way."""

    def __init__(self, pages: Any) -> None:
        self.pages = pages

    async def page(self, number: int) -> Any:
        """Return a page."""
        assert self.pages[number].number == number
        return self.pages.page(number)

    async def count(self) -> int:
        """Count the items."""
        return int(self.pages.count())

    async def all(self) -> list[Any]:
        """Return all pages."""
        return list(self.pages)


class Awaited(Blocking):
    """The same, awaited."""

    async def page(self, number: int) -> Any:
        """Return a page."""
        return await self.pages.aio.page(number)

    async def count(self) -> int:
        """Count the items."""
        return int(await self.pages.aio.count())

    async def all(self) -> list[Any]:
        """Return all pages."""
        return [page async for page in self.pages.aio]


@pytest.fixture
def view(call: Runtime) -> Callable[[Any], Blocking]:
    """Return what asks a paginator in one runtime."""
    return Awaited if call.is_async else Blocking


def put(count: int) -> None:
    """Store dragons with an age each."""
    if count:
        Wyrm.get_collection().insert_many([{"_id": n, "age": n} for n in range(count)])


def ids(page: Any) -> list[Any]:
    """Return the ids of a page."""
    return [wyrm._id for wyrm in page]


# Pages


async def test_pages_by_number(view: Any, commands: Commands) -> None:
    """A page has its frames, its number and those beside it; nothing is counted for it."""
    put(7)
    pages = view(Paginator(Wyrm, Q.age >= 0, per_page=3, sort="age"))
    commands.clear()
    first, second, third = [await pages.page(number) for number in (1, 2, 3)]

    assert [[0, 1, 2], [3, 4, 5], [6]] == [ids(page) for page in (first, second, third)]
    assert [(1, None, 2), (2, 1, 3), (3, 2, None)] == [
        (page.number, page.prev, page.next) for page in (first, second, third)
    ]
    assert {"find"} == set(commands.names)
    assert isinstance(second[0], Wyrm)
    assert 4 == second.offset(second[1])


async def test_iteration(view: Any, commands: Commands) -> None:
    """All pages come in order, one query each, and nothing is counted."""
    put(7)
    commands.clear()
    found = await view(Paginator(Wyrm, per_page=3, sort="age")).all()

    assert [[0, 1, 2], [3, 4, 5], [6]] == list(map(ids, found))
    assert ["find"] * 3 == commands.names


async def test_nothing_is_sent_before_it_is_asked_for(view: Any, commands: Commands) -> None:
    """Making a paginator costs no command."""
    put(3)
    commands.clear()
    pages = Paginator(Wyrm, Q.age > 0)

    assert [] == commands.names
    assert (20, 0) == (pages.per_page, pages.orphans)


def test_counts_are_made_once(db: str, commands: Commands) -> None:
    """Counts are there when they are asked for, and one count serves all."""
    put(32)
    pages = Paginator(Wyrm, Q.age >= 0, per_page=10)
    commands.clear()

    assert (4, range(1, 5), 32) == (pages.page_count, pages.page_numbers, pages.item_count)
    assert ["aggregate"] == commands.names
    assert 3 == Paginator(Wyrm, Q.age >= 0, per_page=10, orphans=2).page_count


async def test_counting_anew(view: Any, commands: Commands) -> None:
    """`count` asks again, and what it finds holds from then on, also for what is not awaited."""
    put(5)
    pages = Paginator(Wyrm, Q.age >= 0, per_page=2)

    assert 5 == await view(pages).count()
    commands.clear()
    assert (5, 3) == (pages.item_count, pages.page_count)
    assert [] == commands.names
    Wyrm.get_collection().delete_one({"_id": 0})
    assert 4 == await view(pages).count() == pages.item_count


async def test_no_items(view: Any) -> None:
    """Without items there is one page, an empty one."""
    pages = Paginator(Wyrm, Q.age > 100)
    page = await view(pages).page(1)

    assert ([], None, None) == (page.items, page.next, page.prev)
    assert (1, range(1, 2), 0) == (pages.page_count, pages.page_numbers, pages.item_count)
    with pytest.raises(PageError):
        await view(pages).page(2)


async def test_orphans_join_the_last_page(view: Any) -> None:
    """A few that are left over make no page of their own."""
    put(12)
    pages = view(Paginator(Wyrm, per_page=10, orphans=2, sort="age"))
    page = await pages.page(1)

    assert (12, None) == (len(page), page.next)
    with pytest.raises(PageError, match="got 2; there are not so many"):
        await pages.page(2)
    put_more = {"_id": 12, "age": 12}
    Wyrm.get_collection().insert_one(put_more)
    assert [10, 3] == [len(page) for page in await pages.all()]


@given(st.integers(0, 25), st.integers(1, 6), st.integers(0, 7))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pages_and_counts_agree(db: str, stored: int, per_page: int, orphans: int) -> None:
    """Pages without a count are those that the count says, and hold everything once."""
    Wyrm.get_collection().delete_many({})
    put(stored)
    pages = Paginator(Wyrm, Q.age >= 0, per_page, orphans, sort="age")
    found = list(pages)

    assert list(pages.page_numbers) == [page.number for page in found]
    assert list(range(stored)) == [id for page in found for id in ids(page)]
    assert all(len(page) == per_page for page in found[:-1])
    assert len(found[-1]) <= per_page + orphans


async def test_references_of_the_page_only(view: Any, commands: Commands) -> None:
    """Frames are built as by `many`; what looks ahead is not dereferenced."""
    Wyrm.get_collection().insert_many([{"_id": n, "friend": 100 + n} for n in range(4)])
    projection = {"friend": {"$ref": Wyrm}}
    pages = view(Paginator(Wyrm, Q.friend >= 0, per_page=2, sort="_id", projection=projection))
    commands.clear()
    page = await pages.page(1)

    assert [0, 1] == ids(page)
    assert not page[0].friend
    assert [100, 101] == sorted(commands.bodies[-1]["filter"]["_id"]["$in"])


# What is passed on


async def test_session_collation_and_comment_reach_both(view: Any, commands: Commands) -> None:
    """Pages and counts are asked in the same way."""
    Wyrm.get_collection().insert_many([{"name": name} for name in ("ann", "Ann", "Bob")])
    collation = Collation("en", strength=2)
    pages = Paginator(Wyrm, Q.name == "ANN", collation=collation, comment="list", max_time_ms=5_000)
    commands.clear()
    page = await view(pages).page(1)
    count = await view(pages).count()
    asked, *_, counted = commands.bodies

    assert 2 == len(page) == count
    assert 2 == asked["collation"]["strength"] == counted["collation"]["strength"]
    assert "list" == asked["comment"] == counted["comment"]
    assert 5_000 == asked["maxTimeMS"] == counted["maxTimeMS"]


def test_session(db: str, commands: Commands) -> None:
    """A session that is given is the one of all commands."""
    put(3)
    commands.clear()
    with Wyrm.get_client().start_session() as session:
        pages = Paginator(Wyrm, Q.age >= 0, per_page=1, session=session)
        assert (3, 1) == (pages.item_count, len(pages[2]))
        expected = session.session_id

    assert [expected] * 2 == [body["lsid"] for body in commands.bodies]


async def test_the_collation_of_an_index(view: Any, commands: Commands) -> None:
    """A case-insensitive index is used by pages and counts alike."""
    Caseless.get_collection().insert_many([{"name": name} for name in ("ann", "Ann", "Bob")])
    pages = Paginator(Caseless, Q.name == "ANN")

    assert 2 == len(await view(pages).page(1)) == await view(pages).count()


async def test_transactions(db: str) -> None:
    """Inside of a transaction the pages show what was written in it."""
    put(2)
    with loom.transaction():
        Wyrm(age=5).insert()
        pages = Paginator(Wyrm)
        assert 3 == len(pages[1]) == pages.item_count


async def test_filter_is_copied(view: Any) -> None:
    """A dict that is changed later changes no page."""
    put(3)
    filter = {"age": {"$gte": 1}}
    pages = view(Paginator(Wyrm, filter))
    filter["age"]["$gte"] = 2
    filter["name"] = {}

    assert [1, 2] == ids(await pages.page(1))


# What is refused


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (r"Paginator\(Wyrm\): expected per_page of at least 1, got 0", {"per_page": 0}),
        (r"expected per_page of at least 1, got '5'", {"per_page": "5"}),
        (r"expected per_page of at least 1, got True", {"per_page": True}),
        (r"expected orphans of at least 0, got -1", {"orphans": -1}),
        (r"expected pages by number, got skip=5; per_page= says how many", {"skip": 5}),
        (r"expected pages by number, got limit=5", {"limit": 5}),
        (r"filter", {"filter": False}),
    ],
)
def test_wrong_paginators(message: str, options: dict[str, Any]) -> None:
    """A paginator that cannot work is refused when it is made."""
    with pytest.raises(QueryError, match=message):
        Paginator(Wyrm, **options)


def test_no_class() -> None:
    """The first argument is a Frame class."""
    with pytest.raises(QueryError, match=r"Paginator: expected a Frame class, got 5"):
        Paginator(5)  # type: ignore[type-var]


async def test_wrong_numbers(view: Any, commands: Commands) -> None:
    """A page that is not there is a PageError, which users of MongoFrames know as InvalidPage."""
    put(3)
    pages = view(Paginator(Wyrm, per_page=2))
    commands.clear()
    for number in (0, -1, "1", 1.0, True, None):
        with pytest.raises(PageError, match=r"expected the number of a page, from 1 on, got"):
            await pages.page(number)
    assert [] == commands.names
    with pytest.raises(
        InvalidPage, match=r"Paginator\(Wyrm\): expected the number of a page, got 3"
    ):
        await pages.page(3)

    assert issubclass(InvalidPage, LookupError)
    assert issubclass(InvalidPage, LoomError)


def test_representations(db: str) -> None:
    """Paginators and pages say what they are."""
    pages = Paginator(Wyrm, per_page=5)
    page: Page[Any] = Page(0, 1, [1, 2], None, None)  # type: ignore[list-item]

    assert "Paginator(Wyrm, per_page=5, orphans=0)" == repr(pages)
    assert "Paginator(Wyrm, per_page=5, orphans=0).aio" == repr(pages.aio)
    assert "NumberedPage(1, [1, 2])" == repr(page)
    assert ([1], 2, 2) == (page[:1], len(page), page[1])
    with pytest.raises(ValueError, match="not in list"):
        page.offset(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("left", "seen"), [(4, [0, 1, 2, 3]), (3, [0, 1, 2]), (1, [0, 1, 2])])
async def test_what_goes_between_two_pages(
    call: Runtime, commands: Commands, left: int, seen: list[int]
) -> None:
    """A loop ends where the pages have come to an end meanwhile, and leaves out nothing."""
    await call(Wyrm).insert_many([{"_id": n} for n in range(5)])
    pages = Paginator(Wyrm, per_page=3, orphans=1, sort="_id")
    found: list[int] = []

    def note(page: Any) -> None:
        found.extend(wyrm._id for wyrm in page)
        Wyrm.get_collection().delete_many({"_id": {"$gte": left}})

    if call.is_async:
        async for page in pages.aio:
            note(page)
    else:
        for page in pages:
            note(page)

    assert seen == found
