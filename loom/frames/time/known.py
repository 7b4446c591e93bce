"""What was known of moments at an instant: the latest, and each time's last versions."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from bson import ObjectId

from ...errors import QueryError
from .. import operations
from ..operations.reading import Options
from ..operations.versions import versions_of
from ..port import Port
from ..projections import Projection
from ..queries import Filter, Q, to_filter
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
    if "sort" in options:
        raise QueryError(
            f"{cls.__name__}.latest: expected no sort, because the latest is wanted, got "
            f"{options['sort']!r}; use one(filter, sort=...)"
        )
    query = _query(cls, "latest", of, known_at, None)
    sort = [(name, -1) for name in (cls._time_field, *versions_of(cls))]
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
    """Return the last versions of each time that was known, in the order of time."""
    for name in _NOT_TAKEN:
        if name in options:
            raise QueryError(
                f"{cls.__name__}.as_of: expected options of an aggregate, got {name!r}; all times "
                "come, in their order: pass frame= for some of them"
            )
    query = _query(cls, "as_of", of, known_at, frame)
    return await operations.as_of(port, cls, query, projection, options, _is_symbol(of))


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
