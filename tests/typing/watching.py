"""What type checkers see of watching; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from loom import Frame, Q
from loom.frames.watching import AsyncWatch, Change, Watch


class Dragon(Frame):
    """A frame."""

    name: str


class Kept:
    """A checkpoint of one's own."""

    def load(self) -> Any:
        """Return the token."""

    def save(self, token: Mapping[str, Any], /) -> None:
        """Keep a token."""


def blocking() -> None:
    """A blocking stream gives changes of the class."""
    with Dragon.watch(Q.name == "Burt", checkpoint="place", feed=True) as changes:
        assert_type(changes, Watch[Dragon])
        for change in changes:
            assert_type(change, Change[Dragon])
            assert_type(change.frame, Dragon | None)
            assert_type(change.before, Dragon | None)
            assert_type(change.changed, dict[str, Any])
            assert_type(change.kind, str)
        assert_type(changes.try_next(), Change[Dragon] | None)
    Dragon.watch(checkpoint=Path("place"))
    Dragon.watch(checkpoint=Kept())
    Dragon.watch(checkpoint=5)  # type: ignore[arg-type]


async def awaited() -> None:
    """So does an awaited one."""
    async with Dragon.aio.watch() as changes:
        assert_type(changes, AsyncWatch[Dragon])
        async for change in changes:
            assert_type(change.frame, Dragon | None)
        assert_type(await changes.try_next(), Change[Dragon] | None)


def streams() -> None:
    """What `each` takes."""
    Dragon.each(Q.name == "x", batch=10, limit=5, after=7, resume=True, progress=True)
    Dragon.each(progress=lambda done, total: print(done, total))
    Dragon.each(progress="yes")  # type: ignore[arg-type]
