"""Cursors over the batches of an aggregation or a find, as bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from pymongo.errors import PyMongoError

from ..operations.reading import Options
from ..port import Port
from .asking import BATCH_ROWS
from .raw import take_bytes

__all__ = ["raw_aggregate", "raw_find", "replies", "whole"]


async def raw_aggregate(
    port: Port, cls: Any, stages: list[dict[str, Any]], options: Options
) -> Any:
    """Return a cursor over the batches of an aggregation, as bytes."""
    sent = port.options(cls, options)
    pipeline: Any = stages if cls._kinds is None else cls._kinds.narrowed_stages(cls, stages)
    try:
        sending = port.call(port.collection(cls).aggregate_raw_batches, pipeline, **sent)
        return take_bytes(await port.opened(sending, sent))
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


async def replies(port: Port, cursor: Any) -> AsyncGenerator[bytes, None]:
    """Yield the batches of a cursor, one at a time; it is closed at the end."""
    async with aclosing(port.batches(cursor, 1)) as stream:
        async for parts in stream:
            reply: Any = parts.pop()
            yield reply
            del reply  # before the next one comes


async def whole(port: Port, cursor: Any) -> list[bytes]:
    """Return all batches of a cursor, and close it."""
    return [reply async for reply in replies(port, cursor)]
