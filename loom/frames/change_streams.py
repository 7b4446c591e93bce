"""Filters and projections of whole documents, as a change stream takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ProjectionError, QueryError

__all__ = ["check_projection", "fetched", "match_stage"]

_GROUPS = frozenset(("$and", "$or", "$nor"))
_BEFORE = "fullDocumentBeforeChange"
#: Paths of a projection as a tree; None where the whole value is meant.
_Tree = dict[str, Any]


# Filters


def match_stage(
    query: Mapping[str, Any], place: str, *, sees_before: bool = False
) -> dict[str, Any]:
    """Return the stage that lets the changes of documents that match a filter through.

    A change that comes without a document, such as a delete, cannot be tested but for its `_id`;
    it is let through, because to leave it out would hide that a document that matched is gone.

    Args:
        query: the filter, as the driver takes it.
        place: for messages.
        sees_before: the stream shows documents as they were before; then a delete is tested by
            what it deleted.

    Raises:
        QueryError: the filter asks for something that cannot be asked of a change.

    >>> match_stage({"age": 5}, "Dragon.watch")["$match"]["$or"][-1]
    {'$and': [{'fullDocument': {'$ne': None}}, {'fullDocument.age': 5}]}
    """
    unknown: dict[str, Any] = {"fullDocument": None}
    before: list[dict[str, Any]] = []
    if sees_before:
        seen = {"fullDocument": None, _BEFORE: {"$ne": None}}
        before.append({"$and": [seen, _prefixed(query, f"{_BEFORE}.", place)]})
        unknown[_BEFORE] = None
    ids = [{"documentKey._id": test} for test in _of_id(query)]
    if ids:
        unknown["$and"] = ids
    now = {"$and": [{"fullDocument": {"$ne": None}}, _prefixed(query, "fullDocument.", place)]}
    return {"$match": {"$or": [{"documentKey": None}, unknown, *before, now]}}


def _of_id(query: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the tests of `_id` that hold for all that matches."""
    for key, test in query.items():
        if key == "_id":
            yield test
        elif key == "$and":
            for part in test:
                yield from _of_id(part)


def _prefixed(query: Mapping[str, Any], prefix: str, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, test in query.items():
        if key in _GROUPS:
            found[key] = [_prefixed(part, prefix, place) for part in test]
        elif key == "$comment":
            found[key] = test
        elif key[:1] == "$":
            raise QueryError(
                f"{place}: expected conditions on fields, got {key}, which speaks of whole "
                "documents; write it as a stage in pipeline=, on $fullDocument"
            )
        else:
            found[f"{prefix}{key}"] = test
    return found


# Projections


def check_projection(driver: Mapping[str, Any] | None, place: str) -> None:
    """Check that a projection only names what is fetched and what is not.

    Raises:
        ProjectionError: it holds an operator.
    """
    for path, value in (driver or {}).items():
        if not isinstance(value, (bool, int)):
            raise ProjectionError(
                f"{place}.{path}: expected True or False in the projection of a change stream, "
                f"got {value!r}"
            )


def fetched(document: Mapping[str, Any], driver: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of a document with what a projection fetches.

    >>> fetched({"_id": 1, "lair": [{"name": "Cave", "gold": 5}]}, {"lair.name": True})
    {'_id': 1, 'lair': [{'name': 'Cave'}]}
    """
    driver = driver or {}
    others = {path: value for path, value in driver.items() if path != "_id"}
    includes = any(others.values()) or (not others and bool(driver.get("_id")))
    tree: _Tree = {}
    for path in others:
        *parents, last = path.split(".")
        level = tree
        for name in parents:
            level = level.setdefault(name, {})
        level[last] = None
    if driver.get("_id", True) is includes:
        tree["_id"] = None
    found: dict[str, Any] = _picked(document, tree) if includes else _left(document, tree)
    return found


def _picked(value: Any, tree: _Tree) -> Any:
    if isinstance(value, list):
        return [_picked(item, tree) for item in value if isinstance(item, (Mapping, list))]
    found = {}
    for name, inner in value.items():
        if name not in tree:
            continue
        below = tree[name]
        if below is None:
            found[name] = _copied(inner)
        elif isinstance(inner, (Mapping, list)):
            found[name] = _picked(inner, below)
    return found


def _left(value: Any, tree: _Tree) -> Any:
    if isinstance(value, list):
        return [_left(item, tree) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for name, inner in value.items():
        if name not in tree:
            found[name] = _copied(inner)
        elif tree[name] is not None:
            found[name] = _left(inner, tree[name])
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if type(value) is dict:
        return {name: _copied(inner) for name, inner in value.items()}
    return value
