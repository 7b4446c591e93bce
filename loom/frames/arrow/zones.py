"""Zones of instants: what their clocks show, and never which instant it is."""

from __future__ import annotations

import re
from datetime import tzinfo
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa

from ...errors import QueryError
from .types import rebuilt, replaced

__all__ = ["Zone", "Zoned", "zone_name"]

#: An IANA name, a `ZoneInfo` or a fixed offset; None for UTC.
Zone: TypeAlias = str | tzinfo | None

_OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):[0-5]\d")


def zone_name(zone: Zone, place: str) -> str | None:
    """Return the name by which Arrow knows a zone.

    Raises:
        QueryError: it is none.

    >>> from datetime import timedelta, timezone
    >>> zone_name(timezone(timedelta(hours=2)), "")
    '+02:00'
    """
    if zone is None:
        return None
    try:
        if isinstance(zone, str):
            return zone if _OFFSET.fullmatch(zone) else ZoneInfo(zone).key
        return zone_name(str(pa.timestamp("ms", tz=zone).tz), place)
    except (KeyError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise QueryError(
            f"{place}: expected zone as an IANA name such as 'Europe/Berlin', or a tzinfo with "
            f"one, got {zone!r}"
        ) from error


class Zoned:
    """Gives instants in UTC another zone: the same ones, as its clocks show them.

    Args:
        zone: its name.
    """

    def __init__(self, zone: str) -> None:
        self._instant = pa.timestamp("ms", tz=zone)

    def _zoned(self, type: Any) -> Any:
        utc = pa.timestamp("ms", tz="UTC")
        return replaced(type, lambda inner: self._instant if inner == utc else inner)

    def schema(self, schema: Any) -> Any:
        """Return a schema whose instants have the zone."""
        return pa.schema([field.with_type(self._zoned(field.type)) for field in schema])

    async def batch(self, batch: Any) -> Any:
        """Return a batch whose instants have the zone."""
        arrays = [
            rebuilt(array, self._zoned(array.type), lambda found, type: found.cast(type))
            for array in batch.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema(batch.schema))
