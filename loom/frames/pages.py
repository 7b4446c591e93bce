"""Pages: some frames in the order of a sort, and tokens that lead to those before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

__all__ = ["Items", "Page"]

F = TypeVar("F")


class Items(Sequence[F]):
    """A page as the sequence of its items."""

    __slots__ = ("items",)

    items: list[F]

    @overload
    def __getitem__(self, position: int) -> F: ...
    @overload
    def __getitem__(self, position: slice) -> list[F]: ...
    def __getitem__(self, position: Any) -> Any:
        return self.items[position]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[F]:
        return iter(self.items)


class Page(Items[F]):
    """The frames of one page, in the order of the sort: what `Frame.page` returns.

    Attributes:
        items: the frames, in a list.
        next: the token for `after=`, None on the last page.
        previous: the token for `before=`, None on the first page.

    >>> page = Page(["Burt", "Fred"], "a-token", None)
    >>> len(page), page[0], page.has_next, page.has_previous
    (2, 'Burt', True, False)
    """

    __slots__ = ("next", "previous")

    def __init__(self, items: list[F], next: str | None, previous: str | None) -> None:
        self.items = items
        self.next = next
        self.previous = previous

    @property
    def has_next(self) -> bool:
        """Whether there is a page after this one."""
        return self.next is not None

    @property
    def has_previous(self) -> bool:
        """Whether there is a page before this one."""
        return self.previous is not None

    def __repr__(self) -> str:
        return f"Page({self.items!r}, next={self.next!r}, previous={self.previous!r})"
