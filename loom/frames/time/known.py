"""What was known of moments at an instant: the latest, and each time's last version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from bson import ObjectId

from ...errors import ProjectionError, QueryError
from .. import operations
from ..directives import Directive
from ..operations.aggregating import aggregate_for
from ..operations.reading import Options
from ..port import Port
from ..projections import Projection, plan_for
from ..queries import Filter, Q, to_filter
from ..references import build
from .timeframe import TimeFrame

__all__ = ["Of", "as_of", "asked", "latest"]

#: Of what is asked: a symbol, or a filter as for `one`.
Of: TypeAlias = Filter | str | int | UUID | ObjectId | Enum

_SYMBOLS = (str, int, UUID, ObjectId, Enum)
#: What says itself which of the results are wanted, and in which order.
_NOT_TAKEN = ("limit", "skip", "sort")


async def latest(
    port: Port,
    cls: Any,
    of: Of,
    known_at: datetime | None,
    projection: Projection,
    required: bool,
    options: Options,
) -> Any:
    """Return the moment with the latest time, in its last version, or None."""
    query = _query(cls, "latest", of, known_at, None)
    sort = [(cls._time_field, -1), *_versions(cls)]
    return await operations.one(port, cls, query, projection, required, {"sort": sort, **options})


async def as_of(
    port: Port,
    cls: Any,
    of: Of,
    known_at: datetime | None,
    frame: TimeFrame | None,
    projection: Projection,
    options: Options,
) -> list[Any]:
    """Return the last version of each time that was known, in the order of time."""
    for name in _NOT_TAKEN:
        if name in options:
            raise QueryError(
                f"{cls.__name__}.as_of: expected options of an aggregate, got {name!r}; all times "
                "come, in their order: pass frame= for some of them"
            )
    query = _query(cls, "as_of", of, known_at, frame)
    plan = plan_for(cls, projection)
    versions = [
        {"$sort": {cls._time_field: 1, **dict(_versions(cls))}},
        {"$group": {"_id": _group(cls), "moment": {"$first": "$$ROOT"}}},
        {"$replaceRoot": {"newRoot": "$moment"}},
        {"$sort": _order(cls)},
    ]
    if plan.driver:
        versions.append({"$project": _projected(cls, plan.driver)})
    chain: Directive[Any] = Directive(cls).filter(query)
    command = aggregate_for(port, chain, options, *versions)
    with port.pause(None):
        documents = await port.aggregate(cls, command.stages, command.options)
        return await build(port, plan, documents, command.options)


def asked(cls: Any, operation: str, of: Any) -> dict[str, Any]:
    """Return the filter for a symbol, or of what matches.

    Raises:
        QueryError: it is none, or the class has no field for the symbol.
    """
    return _query(cls, operation, of, None, None)


def _query(
    cls: Any, operation: str, of: Any, known_at: Any, frame: TimeFrame | None
) -> dict[str, Any]:
    """Return the filter for what was known of a symbol, or of what matches."""
    place = f"{cls.__name__}.{operation}"
    if cls._time_field is None:
        raise QueryError(f"{place}: expected a class with _time_field, got one without")
    parts = []
    if _is_symbol(of):
        if cls._symbol_field is None:
            raise QueryError(
                f"{place}: expected a filter, because the class names no _symbol_field, got {of!r}"
            )
        parts.append(to_filter(Q[cls._symbol_field] == of))
    elif of is not None:
        parts.append(to_filter(of))
    if known_at is not None:
        if cls._known_at_field is None:
            raise QueryError(
                f"{place}: expected no known_at, because the class names no _known_at_field, got "
                f"{known_at!r}"
            )
        if not isinstance(known_at, datetime):
            raise QueryError(f"{place}: expected known_at as a datetime, got {known_at!r}")
        parts.append(to_filter(Q[cls._known_at_field] <= known_at))
    if frame is not None:
        if not isinstance(frame, TimeFrame):
            raise QueryError(f"{place}: expected a TimeFrame as frame, got {frame!r}")
        parts.append(to_filter(frame.filter(cls._time_field)))
    return _joined(parts)


def _is_symbol(of: Any) -> bool:
    return isinstance(of, _SYMBOLS) and not isinstance(of, bool)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for part in parts for name in part]
    if len({*names}) < len(names) or any(name[:1] == "$" for name in names):
        return {"$and": parts}
    return {name: condition for part in parts for name, condition in part.items()}


def _versions(cls: Any) -> list[tuple[str, int]]:
    """Return the order of what is known of one time: the last first, of one instant by `_id`."""
    known = cls._known_at_field
    return [("_id", -1)] if known is None else [(known, -1), ("_id", -1)]


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
