"""What loads of windows ask for, as a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ....connection import connection_of, overrides
from ....errors import QueryError, TimeFrameError
from ...chains import Chain
from ...commands import find_of
from ..known import asked
from .moment_columns import Query, Roles, datetime_of
from .spans import ends_of

__all__ = ["query_of"]


def query_of(
    of: Any,
    filter: Any,
    projection: Any,
    options: dict[str, Any],
    place: str,
    start: Any = None,
    end: Any = None,
) -> Query:
    """Return what a load asks for, and of which database."""
    within: Any = None
    if isinstance(of, Chain):
        is_narrowed = filter is not None or start is not None or end is not None
        of, within, projection, options = _steps(of, projection, options, is_narrowed, place)
    roles = Roles.of(of, place)
    query = asked(of, "window", filter)
    if within:
        query = {"$and": [within, query]} if query else within
    low, high = ends_of(start, end, place)
    ends = {} if low is None else {"$gte": datetime_of(low)}
    if high is not None:
        with suppress(TimeFrameError):  # behind the last instant that a datetime shows
            ends["$lt"] = datetime_of(high)
    if ends:
        stretch = {roles.time: ends}
        query = {"$and": [query, stretch]} if roles.time in query else {**query, **stretch}
    if projection is not None:
        if isinstance(projection, (str, Mapping)) or not isinstance(projection, Iterable):
            raise QueryError(f"{place}: expected projection as names of fields, got {projection!r}")
        needed = [name for name in (roles.symbol, roles.time, roles.known) if name is not None]
        options = {"projection": [*dict.fromkeys([*needed, *map(str, projection)])], **options}
    override = overrides.get()
    using: dict[str, Any] = {"client": connection_of(of), "db": None}
    if override is not None:
        using["db"] = override.db
        using["client"] = using["client"] if override.client is None else override.client
    return Query(of, query, options, using)


def _steps(
    directive: Chain, projection: Any, options: dict[str, Any], is_narrowed: bool, place: str
) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
    """Return class, filter, projection and options of what is asked step by step.

    Raises:
        QueryError: no find does it, or something is said twice.
    """
    found = find_of(directive)
    if found is None:
        raise QueryError(
            f"{place}: expected steps that a find does in their order, filter, sort, skip, limit, "
            f"project, got {directive!r}; load what an aggregate gives with "
            "from_table(cls, directive.load_table(schema=...))"
        )
    if is_narrowed and found.options.keys() & {"limit", "skip"}:
        raise QueryError(
            f"{place}: expected all that narrows the moments in the directive, before its limit, got "
            f"{directive!r} and a filter beside it"
        )
    twice = [name for name in found.options if options.get(name) is not None]
    twice += ["projection"] if projection is not None and found.projection is not None else []
    if twice:
        raise QueryError(
            f"{place}: expected {twice[0]} once, got it in the directive and as a keyword"
        )
    if found.projection is not None:
        projection = found.projection
        if isinstance(projection, Mapping):
            if not all(type(value) in (bool, int) and value for value in projection.values()):
                raise QueryError(
                    f"{place}: expected names of fields in project(...), got {projection!r}"
                )
            projection = [*projection]
    return directive._cls, found.filter, projection, {**found.options, **options}
