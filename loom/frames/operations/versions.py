"""The last versions of each moment: what `Moment.as_of` asks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from ...errors import ProjectionError
from ..chains import Chain
from ..fetching import fetches_the_rest
from ..port import Port
from ..projections import Projection, plan_for
from ..references import build
from .aggregating import aggregate_for
from .reading import Options

__all__ = ["as_of", "versions_of"]


#: Where since when the last version of a time is known stands in between.
_LAST = "_loom_last"


async def as_of(
    port: Port, cls: Any, filter: Any, projection: Projection, options: Options, is_one: bool
) -> list[Any]:
    """Return the last versions of each time that matches, in the order of time.

    Args:
        port: sends it.
        cls: the class of the moments.
        filter: what they match.
        projection: as for `many`.
        options: as for `Collection.aggregate`.
        is_one: the filter lets one symbol through.
    """
    plan = plan_for(cls, projection)
    projected = [{"$project": _projected(cls, plan.driver)}] if plan.driver else []
    asked = Chain(cls).filter(filter)
    in_order = {"$sort": _order(cls)}
    stages = [*_last_of_each(cls, is_one), in_order, *projected]
    command = aggregate_for(port, asked, options, *stages)
    is_mixed = _mixes_symbols(cls, command.options)
    if is_mixed:
        for stage in projected:
            if not fetches_the_rest(stage["$project"]):
                stage["$project"][_LAST] = True
        stages = [in_order, {"$set": {_LAST: _facts(cls)}}, *projected]
        command = aggregate_for(port, asked, options, *stages)
    with port.pause(None):
        documents = await port.aggregate(cls, command.stages, command.options)
        if is_mixed:
            documents = _last_told(documents)
        return await build(port, plan, documents, command.options)


def _mixes_symbols(cls: Any, options: Mapping[str, Any]) -> bool:
    """Tell whether a server would take different symbols for one, because a collation says so."""
    collation = options.get("collation")
    if collation is None or None in (cls._symbol_field, cls._known_at_field):
        return False
    said: Mapping[str, Any] = getattr(collation, "document", collation)
    return said.get("locale") != "simple"


def _facts(cls: Any) -> dict[str, Any]:
    """Return of what a moment tells, and since when that is known, in a document of its own."""
    fields = (cls._symbol_field, cls._time_field, cls._known_at_field)
    return {str(number): _or_null(field) for number, field in enumerate(fields)}


def _last_told(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last versions among documents in the order of their times and versions."""
    facts = [tuple(document.pop(_LAST).values()) for document in documents]
    lasts = {(_exact(symbol), time): known for symbol, time, known in facts}
    return [
        document
        for document, (symbol, time, known) in zip(documents, facts, strict=True)
        if lasts[_exact(symbol), time] == known
    ]


def _exact(symbol: Any) -> Any:
    """Return what is equal for equal symbols only: to Python, True is 1."""
    return (type(symbol) is bool, symbol) if isinstance(symbol, Hashable) else repr(symbol)


def versions_of(cls: Any) -> list[str]:
    """Return what puts the versions of one time in order: of one instant the `_id`."""
    known = cls._known_at_field
    return ["_id"] if known is None else [known, "_id"]


def _last_of_each(cls: Any, is_one: bool) -> list[dict[str, Any]]:
    """Return the stages that leave what was known last of each time, all of it.

    Of one symbol a server sorts by time, known-at and `_id`, as an index does that begins with the
    symbol, and then looks at the moments of one time at once.
    """
    known = cls._known_at_field
    if known is None:
        return []  # nothing is corrected
    window = {"documents": ["unbounded", "unbounded"]}
    return [
        {
            "$setWindowFields": {
                "partitionBy": _group(cls, is_one),
                "sortBy": dict.fromkeys(versions_of(cls), 1),
                "output": {_LAST: {"$max": f"${known}", "window": window}},
            }
        },
        # Those nobody knows since when are the last of their time where all of it are so.
        {"$match": {"$expr": {"$eq": [_or_null(known), _or_null(_LAST)]}}},
        {"$unset": _LAST},
    ]


def _or_null(field: str) -> dict[str, Any]:
    return {"$ifNull": [f"${field}", None]}


def _group(cls: Any, is_one: bool) -> Any:
    """Return what versions of one fact have in common."""
    if is_one or cls._symbol_field is None:
        return f"${cls._time_field}"
    # An absent one and a null are the same, as they are to filters.
    return {"time": f"${cls._time_field}", "symbol": _or_null(cls._symbol_field)}


def _order(cls: Any) -> dict[str, int]:
    return dict.fromkeys([cls._time_field, *versions_of(cls)], 1)


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
