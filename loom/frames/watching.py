"""What `watch` returns: a stream of the changes of a collection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .port import complete

if TYPE_CHECKING:
    from .operations.watching import Watching

__all__ = ["AsyncWatch", "Change", "Watch"]

F = TypeVar("F")


class Change(Generic[F]):
    """One change of a document, or of the whole collection.

    Attributes:
        frame: the document as a frame, None where the server sends none: for a delete, for an
            update of a document that is gone meanwhile, for what concerns the collection.
        before: the document before the change, for streams with `full_document_before_change=`.
        change: the change as the server sends it.
    """

    __slots__ = ("before", "change", "frame")

    def __init__(self, change: Mapping[str, Any], frame: F | None, before: F | None) -> None:
        self.change = change
        self.frame = frame
        self.before = before

    @property
    def kind(self) -> str:
        """MongoDB's name for it, such as `insert`, `update`, `replace`, `delete`, `invalidate`."""
        return str(self.change["operationType"])

    @property
    def id(self) -> Any:
        """The `_id` of the document, None for what concerns the collection."""
        return (self.change.get("documentKey") or {}).get("_id")

    @property
    def changed(self) -> dict[str, Any]:
        """What was written, by path; for `insert` and `replace` all fields of the document."""
        if self.kind in ("insert", "replace"):
            return dict(self.change.get("fullDocument") or {})
        return dict(self._described.get("updatedFields") or {})

    @property
    def removed(self) -> tuple[str, ...]:
        """The paths that an update removed."""
        return tuple(self._described.get("removedFields") or ())

    @property
    def truncated(self) -> dict[str, int]:
        """The lists that an update made shorter at their end, by path, with their new length."""
        cut = self._described.get("truncatedArrays") or ()
        return {entry["field"]: entry["newSize"] for entry in cut}

    @property
    def time(self) -> datetime:
        """When it was done, aware and in UTC."""
        found = self.change.get("wallTime")
        if not isinstance(found, datetime):
            found = self.change["clusterTime"].as_datetime()
        if found.tzinfo is None:
            return found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc)

    @property
    def token(self) -> Mapping[str, Any]:
        """The place behind this change, for `resume_after=`."""
        return self.change["_id"]  # type: ignore[no-any-return]

    @property
    def _described(self) -> Mapping[str, Any]:
        return self.change.get("updateDescription") or {}

    def __repr__(self) -> str:
        return f"Change({self.kind!r}, _id={self.id!r})"


class Watch(Generic[F]):
    """The changes of a collection, one after the other; it waits for the next one.

    It is opened by `with`, or by the first step. A change is noted in the checkpoint when the next
    one is asked for: the one that was being handled when the program ended comes again.

    After an error, a step goes on behind the last change that was handed out.

    >>> from loom import Frame
    >>> with Frame.watch() as changes:  # doctest: +SKIP
    ...     for change in changes:
    ...         print(change.kind, change.frame)
    """

    def __init__(self, watching: Any) -> None:
        self._watching: Watching = watching

    @property
    def alive(self) -> bool:
        """Whether more may come; not after `close`, nor when the collection was dropped."""
        return self._watching.alive

    @property
    def resume_token(self) -> Mapping[str, Any] | None:
        """The place behind what was handed out, None where it is not known yet."""
        return self._watching.position

    def __iter__(self) -> Watch[F]:
        return self

    def __next__(self) -> Change[F]:
        change = complete(self._watching.next())
        if change is None:
            raise StopIteration
        return change

    def try_next(self) -> Change[F] | None:
        """Return the next change, or None if there is none within `max_await_time_ms`."""
        return complete(self._watching.try_next())

    def save(self) -> None:
        """Note in the checkpoint that all changes that were handed out are handled.

        The next step does that by itself; before leaving a loop it has to be said.
        """
        complete(self._watching.save())

    def close(self) -> None:
        """Close the change stream on the server; nothing more will come."""
        complete(self._watching.close())

    def __enter__(self) -> Watch[F]:
        complete(self._watching.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncWatch(Generic[F]):
    """The changes of a collection, awaited one after the other; see `Watch`.

    A step that is cancelled, by `asyncio.wait_for` too, closes the change stream on the server;
    the next step opens it again, and nothing is lost.
    """

    def __init__(self, watching: Any) -> None:
        self._watching: Watching = watching

    @property
    def alive(self) -> bool:
        """Whether more may come; not after `aclose`, nor when the collection was dropped."""
        return self._watching.alive

    @property
    def resume_token(self) -> Mapping[str, Any] | None:
        """The place behind what was handed out, None where it is not known yet."""
        return self._watching.position

    def __aiter__(self) -> AsyncWatch[F]:
        return self

    async def __anext__(self) -> Change[F]:
        change = await self._watching.next()
        if change is None:
            raise StopAsyncIteration
        return change

    async def try_next(self) -> Change[F] | None:
        """Return the next change, or None if there is none within `max_await_time_ms`."""
        return await self._watching.try_next()

    async def save(self) -> None:
        """Note in the checkpoint that all changes that were handed out are handled."""
        await self._watching.save()

    async def aclose(self) -> None:
        """Close the change stream on the server; nothing more will come."""
        await self._watching.close()

    async def __aenter__(self) -> AsyncWatch[F]:
        await self._watching.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
