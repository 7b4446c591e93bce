"""Queries that carry the collation of a case-insensitive index by themselves.

A collation holds for a whole query. So it is added where nothing else in the filter is compared
as text, and where something is, the call has to say what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from .. import epoch
from ..errors import QueryError
from .declared_indexes import declared_indexes
from .prefixes import has_prefix, is_simple, with_ranges

__all__ = ["add_collation", "collation_for", "is_collated"]

_GROUPS = ("$and", "$or", "$nor")
#: Operators that compare no text, or to which no collation applies.
_INDIFFERENT = frozenset(
    ("$regex", "$options", "$exists", "$type", "$size", "$mod", "$comment", "$sampleRate")
    + ("$geoWithin", "$geoIntersects", "$near", "$nearSphere", "$minDistance", "$maxDistance")
    + ("$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear")
)
_DBREF = ("$ref", "$id", "$db")


def is_collated(cls: Any) -> bool:
    """Tell whether a class has a case-insensitive index."""
    return bool(_case_insensitive(cls))


def add_collation(
    cls: Any, query: dict[str, Any], options: dict[str, Any], *, prefixes: bool = True
) -> None:
    """Add the collation that a query carries by itself to its options, if they name none.

    Args:
        cls: the class that is asked.
        query: the filter, as the driver takes it; changed where it asks for a prefix without case,
            to something that finds the same by the index.
        options: changed; a `sort` in it is in the driver's form.
        prefixes: whether the filter and the sort are all that a collation decides, so that one may
            be added for the sake of an index alone.

    Raises:
        QueryError: the collation would also decide how other text is compared.
    """
    number, indexes = cls._definition.collated
    if number == epoch.current and not indexes:
        return
    if "collation" not in options:
        sort = options.get("sort")
        found = collation_for(cls, query, sort)
        if prefixes:
            found = _of_prefixes(cls, query, sort, found)
        if found is not None:
            options["collation"] = found


def collation_for(
    cls: Any, query: Mapping[str, Any], sort: Iterable[tuple[str, Any]] | None = None
) -> dict[str, Any] | None:
    """Return the collation that a query carries by itself, or None.

    It is that of a case-insensitive index whose first field the filter compares, when it compares
    a field of that index with text, or by whose first field the query is sorted.

    Args:
        cls: the class that is asked.
        query: the filter, as the driver takes it.
        sort: in the driver's form.

    Raises:
        QueryError: the filter also compares other text, of which no such index says that its case
            does not matter; or two indexes with different collations are asked at once.
    """
    indexes = _case_insensitive(cls)
    if not indexes:
        return None
    compared: dict[str, bool] = {}
    for path, is_text in _compared(query, ""):
        compared[path] = is_text or compared.get(path, False)
    texts = [path for path, is_text in compared.items() if is_text]
    first = next(iter(sort or ()), (None, 1))[0]
    asked = [
        index
        for index in indexes
        if first == index.fields[0]
        or (index.fields[0] in compared and any(path in texts for path in index.fields))
    ]
    if not asked:
        return None
    collation: dict[str, Any] = asked[0].collation
    for index in asked[1:]:
        if index.collation != collation:
            raise QueryError(
                f"{cls.__name__}: expected a query in one collation, got one that asks "
                f"{asked[0]!r} and {index!r}; pass collation="
            )
    covered = {path for index in indexes if index.collation == collation for path in index.fields}
    others = [path for path in texts if path not in covered]
    if others:
        raise QueryError(
            f"{cls.__name__}: expected a filter that compares no other text than "
            f"{', '.join(sorted(covered))}, because {asked[0]!r} makes the whole query ignore "
            f"case, got {', '.join(others)}, too; pass collation={collation!r} to ignore it there, "
            "too, or collation=None to compare exactly, without that index"
        )
    return collation


def _of_prefixes(
    cls: Any,
    query: dict[str, Any],
    sort: Iterable[tuple[str, Any]] | None,
    carried: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """Put ranges beside the prefixes without case that an index can answer; return its collation.

    Not where the collation, unless the query carries it anyway, would decide more than that: how
    other text is compared, or in which order documents come.
    """
    for index in _case_insensitive(cls):
        collation: dict[str, Any] = index.collation
        first = index.fields[:1]
        if carried in (None, collation) and is_simple(collation) and has_prefix(query, first):
            narrow = with_ranges(query, first)
            texts = {path for path, is_text in _compared(narrow, "") if is_text}
            alone = texts == {*first} and all(path in first for path, _ in sort or ())
            if carried is not None or alone:
                query.update(narrow)
                carried = collation
    return carried


def _case_insensitive(cls: Any) -> tuple[Any, ...]:
    definition = cls._definition
    number: int
    indexes: tuple[Any, ...]
    number, indexes = definition.collated
    if number != epoch.current:
        number = epoch.current
        indexes = tuple(index for index in declared_indexes(cls) if index.is_case_insensitive)
        if definition.is_watched:
            definition.collated = number, indexes
    return indexes


def _compared(query: Mapping[str, Any], above: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths that a filter compares, each with whether it is with text."""
    for key, test in query.items():
        if key in _GROUPS:
            for part in test:
                yield from _compared(part, above)
        elif key[:1] != "$":
            yield from _tested(f"{above}{key}", test)
        elif key not in _INDIFFERENT:
            yield key, True  # $expr, $where, $text: what they compare is not known


def _tested(path: str, test: Any) -> Iterator[tuple[str, bool]]:
    if not _is_operators(test):
        yield path, _holds_text(test)
        return
    for operator, value in test.items():
        if operator == "$not":
            yield from _tested(path, value)
        elif operator == "$elemMatch":
            if _is_operators(value):
                yield from _tested(path, value)
            else:
                yield from _compared(value, f"{path}.")
        elif operator == "$all":
            for item in value:
                yield from _tested(path, item)
        elif operator not in _INDIFFERENT:
            yield path, _holds_text(value)


def _is_operators(test: Any) -> bool:
    first = next(iter(test), "") if isinstance(test, Mapping) else ""
    return first[:1] == "$" and first not in _DBREF and first not in _GROUPS


def _holds_text(value: Any) -> bool:
    if isinstance(value, (str, PurePath)):
        return True
    if isinstance(value, Enum):
        return _holds_text(value.value)
    if isinstance(value, Mapping):
        return any(map(_holds_text, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_holds_text, value))
    return False
