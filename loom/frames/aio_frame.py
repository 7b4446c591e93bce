"""The awaited methods of one frame, under the same names: `burt.aio.insert()`.

What they do is said once, in the docstrings of Frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import operations
from .port import awaited
from .projections import Projection
from .queries import Filter

if TYPE_CHECKING:
    from .frame import Frame

__all__ = ["AwaitedFrame"]

F = TypeVar("F", bound="Frame")


class AwaitedFrame(Generic[F]):
    """The methods of one frame, awaited."""

    __slots__ = ("_frame",)

    def __init__(self, frame: F) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        return f"{self._frame!r}.aio"

    async def reload(self, *, projection: Projection = None, **options: Any) -> None:
        """Replace what the frame holds by what is stored now; see `Frame.reload`."""
        await operations.reload(awaited(), self._frame, projection, options)

    async def insert(self, **options: Any) -> None:
        """Store the frame as a new document; see `Frame.insert`."""
        await operations.insert(awaited(), self._frame, options)

    async def save(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Insert the frame if it has no `_id`, else write what was changed; see `Frame.save`."""
        await operations.save(awaited(), self._frame, fields, where, options)

    async def update(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Write fields of the frame to its document; see `Frame.update`."""
        await operations.update(awaited(), self._frame, fields, where, options)

    async def inc(
        self, field: str, amount: float = 1, *, where: Filter = None, **options: Any
    ) -> Any:
        """Add to a number of the document and return what it is now; see `Frame.inc`."""
        return await operations.inc(awaited(), self._frame, field, amount, where, options)

    async def change(
        self,
        changes: Mapping[str, Any] | list[Mapping[str, Any]],
        *,
        where: Filter = None,
        **options: Any,
    ) -> None:
        """Change the document in one step, take in the new values; see `Frame.change`."""
        await operations.change(awaited(), self._frame, changes, where, options)

    async def upsert(self, *fields: str, **options: Any) -> None:
        """Insert the frame if it is not stored, else update it; see `Frame.upsert`."""
        await operations.upsert(awaited(), self._frame, fields, options)

    async def unset(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Remove fields from the document and from the frame; see `Frame.unset`."""
        await operations.unset(awaited(), self._frame, fields, where, options)

    async def delete(self, *, where: Filter = None, **options: Any) -> None:
        """Delete the document of the frame; see `Frame.delete`."""
        await operations.delete(awaited(), self._frame, where, options)
