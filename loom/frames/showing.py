"""A command as text, as it would be written in a shell; private values are not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .paths import is_ancestor

__all__ = ["shown_aggregate", "shown_find"]


def shown_find(
    collection: str,
    filter: Mapping[str, Any],
    projection: Any,
    options: Mapping[str, Any],
    private: Iterable[str],
) -> str:
    """Return a find as text.

    >>> shown_find("users", {"age": {"$lt": 40}}, None, {"sort": [("age", -1)], "limit": 5}, ())
    "db.users.find({'age': {'$lt': 40}}).sort([('age', -1)]).limit(5)"
    """
    given = repr(_brief(_masked(filter, "", [*private])))
    if projection:
        given += f", {projection!r}"
    calls = "".join(f".{name}({value!r})" for name, value in options.items())
    return f"{_named(collection)}.find({given}){calls}"


def shown_aggregate(
    collection: str,
    stages: Iterable[Mapping[str, Any]],
    options: Mapping[str, Any],
    private: Iterable[str],
) -> str:
    """Return an aggregate as text.

    >>> shown_aggregate("users", [{"$match": {"code": 5}}], {}, {"code"})
    "db.users.aggregate([{'$match': {'code': <private>}}])"
    """
    paths = [*private]
    shown = []
    for stage in stages:
        ((name, content),) = stage.items()
        if name not in ("$sort", "$project", "$unset"):
            content = _masked(content, "", paths)
        shown.append({name: _brief(content)})
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"{_named(collection)}.aggregate({shown!r}{more})"


def _named(collection: str) -> str:
    parts = collection.split(".")
    plain = all(part.isidentifier() for part in parts)
    return f"db.{collection}" if plain else f"db[{collection!r}]"


class _Words:
    """Stands for what is not shown."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


_PRIVATE = _Words("<private>")


def _brief(value: Any) -> Any:
    """Return a value with the beginnings of long lists."""
    if isinstance(value, Mapping):
        return {key: _brief(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) > 20:
            return [*map(_brief, value[:10]), _Words(f"... {len(value) - 10:,} more")]
        return [*map(_brief, value)]
    return value


def _masked(value: Any, place: str, private: list[str]) -> Any:
    """Return a filter or the content of a stage without the values that private fields have."""
    if not private:
        return value
    if isinstance(value, Mapping):
        return {key: _under(key, inner, place, private) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        # An expression that compares a private field, `["$code", 5]`.
        if any(_is_private(item[1:], private) for item in value if isinstance(item, str)):
            return [item if _is_reference(item) else _PRIVATE for item in value]
        return [_masked(item, place, private) for item in value]
    return value


def _under(key: Any, value: Any, place: str, private: list[str]) -> Any:
    name = str(key)
    if name[:1] == "$":
        return _masked(value, place, private)
    path = f"{place}.{name}" if place else name
    path = ".".join(part for part in path.split(".") if not part.isdigit()) or path
    if _is_private(path, private):
        return value if _is_reference(value) else _PRIVATE
    return _masked(value, path, private)


def _is_private(path: str, private: list[str]) -> bool:
    return any(path == one or is_ancestor(one, path) for one in private)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value[:1] == "$"
