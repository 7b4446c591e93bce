"""Awaited functions of Loom as a whole; frames have theirs on `Dragon.aio` and `burt.aio`."""

from __future__ import annotations

from .connection import close_async

__all__ = ["close"]


async def close() -> None:
    """Close the client of the running event loop; the next awaited call makes a new one.

    Call it before the loop ends; `loom.close()` ends the connection itself.
    """
    await close_async()
