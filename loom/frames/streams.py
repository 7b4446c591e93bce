"""Streams of frames: what `each` returns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .port import complete

if TYPE_CHECKING:
    from .progress import Bar

__all__ = ["AsyncStream", "Stream"]

F = TypeVar("F")


class Stream(Generic[F]):
    """Frames one after the other; holds one batch at a time.

    The cursor is closed when the stream ends, is closed, or is left as a context manager.

    >>> from loom import Frame
    >>> with Frame.each() as frames:  # doctest: +SKIP
    ...     for frame in frames:
    ...         break
    """

    def __init__(
        self, batches: AsyncGenerator[Iterable[Any], None], bar: Bar | None = None
    ) -> None:
        self._frames = self._flattened(batches, bar)

    @staticmethod
    def _flattened(
        batches: AsyncGenerator[Iterable[Any], None], bar: Bar | None
    ) -> Generator[Any, None, None]:
        try:
            while True:
                try:
                    batch: Iterable[Any] = complete(batches.__anext__())
                except StopAsyncIteration:
                    return
                if bar is None:
                    yield from batch
                else:
                    for frame in batch:
                        yield frame
                        bar.advance()
                del batch  # before the next one comes
        finally:
            try:
                complete(batches.aclose())
            finally:
                if bar is not None:
                    bar.close()

    def __iter__(self) -> Iterator[F]:
        # The generator itself, which costs one step less per frame than __next__ below.
        return self._frames

    def __next__(self) -> F:
        return next(self._frames)  # type: ignore[no-any-return]  # made of frames of the class

    def close(self) -> None:
        """Close the cursor; the stream is then at its end."""
        self._frames.close()

    def __enter__(self) -> Stream[F]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncStream(Generic[F]):
    """Frames one after the other, awaited; holds one batch at a time.

    The cursor is closed when the stream ends, is closed, or is left as an asynchronous
    context manager; cancellation closes it too.
    """

    def __init__(
        self, batches: AsyncGenerator[Iterable[Any], None], bar: Bar | None = None
    ) -> None:
        self._frames = self._flattened(batches, bar)

    @staticmethod
    async def _flattened(
        batches: AsyncGenerator[Iterable[Any], None], bar: Bar | None
    ) -> AsyncGenerator[Any, None]:
        try:
            async for batch in batches:
                for frame in batch:
                    yield frame
                    if bar is not None:
                        bar.advance()
                del batch  # before the next one comes
        finally:
            try:
                await batches.aclose()
            finally:
                if bar is not None:
                    bar.close()

    def __aiter__(self) -> AsyncIterator[F]:
        return self._frames

    async def __anext__(self) -> F:
        return await self._frames.__anext__()  # type: ignore[no-any-return]  # frames of the class

    async def aclose(self) -> None:
        """Close the cursor; the stream is then at its end."""
        await self._frames.aclose()

    async def __aenter__(self) -> AsyncStream[F]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
