"""Reading rows: values without frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import QueryError
from ..port import Port
from ..rows import driver_of, field_names, made, maker_of
from .reading import Options, _asked, compiled_filter

__all__ = ["rows"]


async def rows(
    port: Port, cls: Any, filter: Any, fields: Sequence[Any], row: Any, options: Options
) -> list[Any]:
    """Return a row for every document that matches."""
    if "projection" in options:
        raise QueryError(
            f"{cls.__name__}.rows: expected the names of fields, got projection=; rows hold the "
            "fields that are named after the filter"
        )
    names = field_names(cls, fields)
    make = maker_of(cls, names, row)
    query = compiled_filter(port, cls, filter)
    options = _asked(cls, query, options)
    with port.pause(options.get("limit")):
        return made(make, await port.find(cls, query, driver_of(names), options))
