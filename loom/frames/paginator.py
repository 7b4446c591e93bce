"""Numbered pages, as MongoFrames has them: `Paginator(Dragon)[2]`.

They skip what comes before them, which costs the more the later the page is, and what is inserted
or deleted meanwhile moves all that follow. `Frame.page` has neither problem, and no numbers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import PageError, QueryError
from . import operations
from .pages import Items
from .port import Port, awaited, blocking, complete
from .queries import Filter, to_filter

if TYPE_CHECKING:
    from .frame import Frame

__all__ = ["AwaitedPaginator", "InvalidPage", "NumberedPage", "Page", "Paginator"]

F = TypeVar("F", bound="Frame")


class NumberedPage(Items[F]):
    """The frames of one page.

    Attributes:
        items: the frames, in a list.
        number: of the page, from 1 on.
        next: number of the next page, None on the last one.
        prev: number of the previous page, None on the first one.
    """

    __slots__ = ("_offset", "next", "number", "prev")

    def __init__(
        self, offset: int, number: int, items: list[F], next: int | None, prev: int | None
    ) -> None:
        self._offset = offset
        self.number = number
        self.items = items
        self.next = next
        self.prev = prev

    def offset(self, item: F) -> int:
        """Return how many items come before this one, on this page and on those before it.

        Raises:
            ValueError: the item is not on this page.
        """
        return self._offset + self.items.index(item)

    def __repr__(self) -> str:
        return f"NumberedPage({self.number}, {self.items!r})"


# The names that users of MongoFrames know.
InvalidPage = PageError
Page = NumberedPage


class Paginator(Generic[F]):
    """The frames that match, in pages that are numbered from 1 on.

    Nothing is sent until a page or a count is asked for. A page is one query; it finds out by one
    document more whether there is a next one. Only `item_count`, `page_count` and `page_numbers`
    count, once.

    Args:
        frame_cls: the Frame class.
        filter: as for `Frame.many`.
        per_page: how many frames a page holds.
        orphans: so many more the last page may hold, instead of a page of their own.
        filter_args: as for `Frame.many`, without `skip` and `limit`. A sort without equal
            documents keeps them from changing places between two pages.

    Raises:
        QueryError: the filter or a number cannot be used.

    >>> from loom import Frame
    >>> Paginator(Frame, per_page=10)
    Paginator(Frame, per_page=10, orphans=0)
    """

    def __init__(
        self,
        frame_cls: type[F],
        filter: Filter = None,
        per_page: int = 20,
        orphans: int = 0,
        **filter_args: Any,
    ) -> None:
        if not isinstance(frame_cls, type) or not getattr(frame_cls, "_is_frame", False):
            raise QueryError(f"Paginator: expected a Frame class, got {frame_cls!r}")
        place = f"Paginator({frame_cls.__name__})"
        for name, number, least in (("per_page", per_page, 1), ("orphans", orphans, 0)):
            if type(number) is not int or number < least:
                raise QueryError(f"{place}: expected {name} of at least {least}, got {number!r}")
        for name in ("skip", "limit"):
            given = filter_args.pop(name, None)
            if given is not None:
                raise QueryError(
                    f"{place}: expected pages by number, got {name}={given!r}; "
                    "per_page= says how many frames a page holds"
                )
        self._frame_cls = frame_cls
        self._filter = to_filter(filter)  # a copy, so that all pages have the same
        self._options = filter_args
        self._per_page = per_page
        self._orphans = orphans
        self._count: int | None = None

    @property
    def per_page(self) -> int:
        """How many frames a page holds."""
        return self._per_page

    @property
    def orphans(self) -> int:
        """How many more the last page may hold."""
        return self._orphans

    @property
    def aio(self) -> AwaitedPaginator[F]:
        """The same pages, awaited."""
        return AwaitedPaginator(self)

    # Pages

    def page(self, number: int) -> NumberedPage[F]:
        """Return a page.

        Args:
            number: from 1 on.

        Raises:
            PageError: there is no such page.
        """
        return complete(self._page(blocking(), number))

    def __getitem__(self, number: int) -> NumberedPage[F]:
        """Return a page; `paginator[1]` is the first one."""
        return self.page(number)

    def __iter__(self) -> Iterator[NumberedPage[F]]:
        number: int | None = 1
        while number is not None:
            page = complete(self._page(blocking(), number, is_next=True))
            if page.items or number == 1:
                yield page
            number = page.next

    async def _page(self, port: Port, number: Any, *, is_next: bool = False) -> NumberedPage[F]:
        """Return a page; one that another has named as the next may be gone, and is then empty."""
        name = self._frame_cls.__name__
        if type(number) is not int or number < 1:
            raise PageError(
                f"Paginator({name}): expected the number of a page, from 1 on, got {number!r}"
            )
        size, orphans = self._per_page, self._orphans
        start = (number - 1) * size
        items, found = await operations.numbered(
            port, self._frame_cls, self._filter, start, size, orphans, self._options
        )
        if number > 1 and found <= orphans and not is_next:
            raise PageError(
                f"Paginator({name}): expected the number of a page, got {number}; there are not "
                "so many"
            )
        next = number + 1 if found > size + orphans else None
        return NumberedPage(start, number, items, next, number - 1 if number > 1 else None)

    # Counts

    def count(self) -> int:
        """Count the items anew, and return how many there are."""
        return complete(self._counted(blocking()))

    async def _counted(self, port: Port) -> int:
        self._count = await operations.count_items(
            port, self._frame_cls, self._filter, self._options
        )
        return self._count

    @property
    def item_count(self) -> int:
        """How many items there are, as `Frame.count` counts; counted when it is first asked for."""
        return self.count() if self._count is None else self._count

    @property
    def page_count(self) -> int:
        """How many pages there are; an empty one, if there are no items."""
        return max(1, -((self._orphans - self.item_count) // self._per_page))

    @property
    def page_numbers(self) -> range:
        """The numbers of the pages."""
        return range(1, self.page_count + 1)

    def __repr__(self) -> str:
        return (
            f"Paginator({self._frame_cls.__name__}, per_page={self._per_page}, "
            f"orphans={self._orphans})"
        )


class AwaitedPaginator(Generic[F]):
    """The pages of a Paginator, awaited.

    `await pages.aio.page(2)`, `async for page in pages.aio`. After `await pages.aio.count()` the
    paginator itself knows `item_count`, `page_count` and `page_numbers`, and counts no more.
    """

    __slots__ = ("_paginator",)

    def __init__(self, paginator: Paginator[F]) -> None:
        self._paginator = paginator

    def __repr__(self) -> str:
        return f"{self._paginator!r}.aio"

    async def page(self, number: int) -> NumberedPage[F]:
        """Return a page; see `Paginator.page`."""
        return await self._paginator._page(awaited(), number)

    async def count(self) -> int:
        """Count the items anew, and return how many there are."""
        return await self._paginator._counted(awaited())

    async def __aiter__(self) -> AsyncIterator[NumberedPage[F]]:
        number: int | None = 1
        while number is not None:
            page = await self._paginator._page(awaited(), number, is_next=True)
            if page.items or number == 1:
                yield page
            number = page.next
