"""The last version of each moment: what `Moment.as_of` asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ProjectionError
from ..chains import Chain
from ..port import Port
from ..projections import Projection, plan_for
from ..references import build
from .aggregating import aggregate_for
from .reading import Options

__all__ = ["as_of", "versions_of"]


async def as_of(
    port: Port, cls: Any, filter: Any, projection: Projection, options: Options
) -> list[Any]:
    """Return the last version of each time that matches, in the order of time."""
    plan = plan_for(cls, projection)
    # In the order of an index over the same fields, which is then read as it is.
    by = [name for name in (cls._symbol_field, cls._time_field) if name is not None]
    stages = [
        {"$sort": dict.fromkeys([*by, *versions_of(cls)], 1)},
        {"$group": {"_id": _group(cls), "moment": {"$last": "$$ROOT"}}},
        {"$replaceRoot": {"newRoot": "$moment"}},
        {"$sort": _order(cls)},
    ]
    if plan.driver:
        stages.append({"$project": _projected(cls, plan.driver)})
    command = aggregate_for(port, Chain(cls).filter(filter), options, *stages)
    with port.pause(None):
        documents = await port.aggregate(cls, command.stages, command.options)
        return await build(port, plan, documents, command.options)


def versions_of(cls: Any) -> list[str]:
    """Return what puts the versions of one time in order: of one instant the `_id`."""
    known = cls._known_at_field
    return ["_id"] if known is None else [known, "_id"]


def _group(cls: Any) -> Any:
    """Return what versions of one fact have in common."""
    if cls._symbol_field is None:
        return f"${cls._time_field}"
    # An absent one and a null are the same, as they are to filters.
    symbol = {"$ifNull": [f"${cls._symbol_field}", None]}
    return {"time": f"${cls._time_field}", "symbol": symbol}


def _order(cls: Any) -> dict[str, int]:
    symbol = {} if cls._symbol_field is None else {cls._symbol_field: 1}
    return {cls._time_field: 1, **symbol}


def _projected(cls: Any, driver: Mapping[str, Any]) -> dict[str, Any]:
    """Return a driver projection as `$project` takes it."""
    for path, value in driver.items():
        for operator in ("$slice", "$elemMatch", "$meta"):
            if isinstance(value, Mapping) and operator in value:
                raise ProjectionError(
                    f"{cls.__name__}.{path}: expected a projection for an aggregate, got "
                    f"{operator}, which only a find takes so; fetch the field whole"
                )
    return dict(driver)
