"""The distinct values of a field."""

from __future__ import annotations

from typing import Any

from ..asked_options import check_distinct
from ..collations import add_collation
from ..conditions import Field
from ..pipelines import path_of
from ..port import Port
from .reading import Options, compiled_filter

__all__ = ["distinct"]


async def distinct(
    port: Port, cls: Any, field: str | Field, filter: Any, options: Options
) -> list[Any]:
    """Return the distinct values of a field, as the server tells them apart."""
    place = f"{cls.__name__}.distinct"
    check_distinct(place, options)
    key = path_of(field, place)
    query = compiled_filter(port, cls, filter)
    # A collation would also decide which values are the same.
    add_collation(cls, query, options, prefixes=False)
    found: list[Any] = await port.ask(cls, "distinct", query, {**options, "key": key})
    return found
