"""Opening a cursor in an awaited call that may be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["opened"]

T = TypeVar("T")

#: How long a call that is cancelled waits for the server to tell which cursor is to be closed, in
#: seconds.
GRACE = 1.0


async def opened(work: Coroutine[Any, Any, T], session: Any) -> T:
    """Return what opens a cursor; where it is cancelled, the cursor is known and can be closed.

    The driver leaves a query at once, and nobody is told of the cursor that the server has opened
    for it. Here its reply is waited for, for a moment. What came of it then is closed.

    Args:
        work: what opens the cursor, awaited.
        session: of the query, or None.
    """
    # A transaction is read in the task that began it, and closes its cursors when it ends.
    if session is not None and session.in_transaction:
        return await work
    opening = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([opening], timeout=GRACE)
        finally:
            opening.cancel()
            while not opening.done():
                with suppress(asyncio.CancelledError):  # once more; it is raised below
                    await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            close = getattr(opening.result(), "close", None)
            if close is not None:
                await close()
        raise
