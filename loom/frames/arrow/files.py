"""Work with files: done at once in a blocking call, by a thread in an awaited one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

__all__ = ["Files"]

R = TypeVar("R")


class Files:
    """Does work with files, one piece after the other.

    Args:
        is_async: whether an event loop must not wait for it.
    """

    def __init__(self, is_async: bool) -> None:
        self._is_async = is_async

    async def do(self, work: Callable[..., R], *args: Any) -> R:
        """Do a piece of work and return its result.

        A thread cannot be interrupted: where the task is cancelled meanwhile, the cancellation is
        raised when the work is done, so that nothing goes on with a file that is being removed.
        """
        if not self._is_async:
            return work(*args)
        context = copy_context()
        # A future, not a task, which the end of an event loop would cancel before its thread ends.
        running = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError as cancelled:
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    continue  # once more; it is raised below
            running.exception()  # seen: the cancellation goes before it
            raise cancelled
