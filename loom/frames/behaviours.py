"""What is done around writes: time stamps and defaults, all of it by listeners."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

__all__ = ["insert_defaults", "timestamp_insert", "timestamp_update"]


def _now() -> datetime:
    now = datetime.now(timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def timestamp_insert(sender: type, frames: list[Any]) -> None:
    """Set `created` and `modified` to now, aware UTC in milliseconds; a listener for `insert`."""
    now = _now()
    for frame in frames:
        frame["created"] = frame["modified"] = now


def timestamp_update(sender: type, frames: list[Any]) -> None:
    """Set `modified` to now, aware UTC in milliseconds; a listener for `update`."""
    now = _now()
    for frame in frames:
        frame["modified"] = now


def insert_defaults(sender: Any, frames: list[Any]) -> None:
    """Fill absent fields with their declared defaults; a listener for `insert`."""
    for frame in frames:
        document = frame._document
        definition = frame._definition
        for field in definition.defaults:
            if field not in document:
                document[field] = definition.new_default(field)
