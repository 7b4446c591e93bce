"""Sort orders in PyMongo's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..errors import QueryError
from .conditions import Field, check

__all__ = ["Sort", "SortBy", "to_sort"]

#: What every `sort` parameter takes: `'-created'`, `Q.created.desc`, `('created', -1)`, a list of
#: them, or a mapping.
Sort: TypeAlias = str | Field | tuple[Any, ...] | list[Any] | Mapping[str, Any] | None


def SortBy(*qs: Sort) -> list[tuple[str, Any]]:
    """Return the sort order that the paths describe, the first one first.

    >>> from loom.frames.queries import Q
    >>> SortBy(Q.breed, Q.created.desc)
    [('breed', 1), ('created', -1)]
    """
    return to_sort(list(qs)) or []


def to_sort(value: Sort) -> list[tuple[str, Any]] | None:
    """Return a sort in PyMongo's form, or None for no order.

    Args:
        value: `'name'`, `'-name'`, `Q.name`, `Q.name.desc`, `('name', -1)`, a list or tuple of
            these, or a mapping of names to directions. A direction is 1, -1 or `{'$meta': ...}`.

    Raises:
        QueryError: an empty or repeated name, a direction that is none of these.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        pairs = [_sort_pair(item) for item in value.items()]
    elif isinstance(value, list) or (isinstance(value, tuple) and not _is_pair(value)):
        pairs = [_sort_pair(item) for item in value]
    else:
        pairs = [_sort_pair(value)]
    if len(dict(pairs)) < len(pairs):
        raise QueryError(f"sort: expected each name once, got {value!r}")
    return pairs or None


def _is_pair(value: Any) -> bool:
    """Tell `('name', -1)` from `('name', 'age')`."""
    return len(value) == 2 and not isinstance(value[1], (str, Field, tuple, list))


def _sort_pair(item: Any) -> tuple[str, Any]:
    direction: Any = 1
    name = item
    if isinstance(item, Field):
        name = str(item)
        if name.endswith(".desc"):
            name, direction = name[:-5], -1
    elif isinstance(item, str):
        if item.startswith("-"):
            name, direction = item[1:], -1
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        name, direction = item
        name = str(name) if isinstance(name, Field) else name
    else:
        raise QueryError(f"sort: expected a name, a path or (name, direction), got {item!r}")
    if name != "$natural":
        if not isinstance(name, str) or not name:
            raise QueryError(f"sort: expected the name of a field, got {item!r}")
        check(name)
    if isinstance(direction, Mapping) and "$meta" in direction:
        return name, dict(direction)
    if type(direction) is not int or direction not in (1, -1):
        raise QueryError(f"sort: expected 1 or -1 as the direction of {name!r}, got {direction!r}")
    return name, direction
