"""Cursors over the batches of an aggregation or a find, as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo.errors import PyMongoError

from ..operations.reading import Options
from ..port import Port
from .asking import BATCH_ROWS
from .raw import take_bytes

__all__ = ["opened", "raw_aggregate", "raw_find", "whole"]

#: How long a call that is cancelled waits for the server to tell which cursor is to be closed, in
#: seconds.
_GRACE = 1.0


async def opened(port: Port, work: Coroutine[Any, Any, Any], session: Any) -> Any:
    """Return what opens a cursor; where it is cancelled, the cursor is known and can be closed.

    The driver leaves a query at once, and nobody is told of the cursor that the server has opened
    for it. Here its reply is waited for, for a moment. What came of it then is closed.

    Args:
        port: blocking or awaited.
        work: what opens the cursor.
        session: of the query, or None.
    """
    # A transaction is read in the task that began it, and closes its cursors when it ends.
    if not port.is_async or (session is not None and session.in_transaction):
        return await work
    opening = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([opening], timeout=_GRACE)
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


async def raw_aggregate(
    port: Port, cls: Any, stages: list[dict[str, Any]], options: Options
) -> Any:
    """Return a cursor over the batches of an aggregation, as bytes."""
    sent = port.options(cls, options)
    pipeline: Any = stages if cls._kinds is None else cls._kinds.narrowed_stages(cls, stages)
    try:
        sending = port.call(port.collection(cls).aggregate_raw_batches, pipeline, **sent)
        return take_bytes(await opened(port, sending, sent.get("session")))
    except PyMongoError as error:
        port.failed(sent, error)
        raise


def raw_find(
    port: Port,
    cls: Any,
    filter: Mapping[str, Any],
    projection: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    """Return a cursor over the batches of a find, as bytes."""
    query = port.narrowed(cls, filter)
    sent = port.options(cls, {"batch_size": BATCH_ROWS, **options})
    return take_bytes(port.collection(cls).find_raw_batches(query, projection, **sent))


async def whole(port: Port, cursor: Any) -> Sequence[bytes]:
    """Return all batches of a cursor, and close it."""
    stream = port.batches(cursor, 1)
    found: list[Any] = []
    try:
        async for parts in stream:
            found += parts
    finally:
        await stream.aclose()
    return found
