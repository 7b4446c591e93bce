"""Indexes as a server reports them, compared with what is declared.

A server reports more than it was given (versions, the defaults of a collation, the weights of a
text index) and in forms of its own, so that both sides are brought into one form first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .index import CASE_INSENSITIVE, Index
from .index_checks import Keys

__all__ = [
    "Difference",
    "differences",
    "normal",
    "plain_collation",
    "read_index",
    "same_collation",
    "same_keys",
]

Spec = Mapping[str, Any]


class Difference(NamedTuple):
    """An option of an index that is stored otherwise than declared."""

    option: str
    stored: Any
    declared: Any

    def __str__(self) -> str:
        return f"{self.option} is {self.stored!r}, declared {self.declared!r}"


#: What a server says of an index beside its options. Of these, only what versions are declared
#: is compared.
_VERSIONS = ("2dsphereIndexVersion", "textIndexVersion")
_IGNORED = frozenset(
    ("v", "ns", "key", "name", "background", "dropDups", "clustered", "prepareUnique", *_VERSIONS)
)
#: The server's names for Loom's.
_NAMES = {
    "expireAfterSeconds": "ttl",
    "partialFilterExpression": "partial",
}
#: What an index has that says nothing about it. Old servers also report what is false.
_DEFAULTS: dict[str, Any] = {
    "unique": False,
    "sparse": False,
    "hidden": False,
    "default_language": "english",
    "language_override": "language",
    "bits": 26,
    "min": -180,
    "max": 180,
}
_COLLATION: dict[str, Any] = {
    "caseLevel": False,
    "caseFirst": "off",
    "strength": 3,
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
}
#: Where a locale has defaults of its own. Normalization is on for many of them.
_OF_LOCALE: dict[str, tuple[str, ...]] = {
    "caseFirst": ("da", "mt", "cu"),
    "alternate": ("th",),
    "backwards": ("fr_CA",),
}


def normal(spec: Spec) -> dict[str, Any]:
    """Return the options of an index by Loom's names, those that are as usual left out.

    Args:
        spec: what createIndexes takes, or what listIndexes reports.
    """
    keys, weights = _keys(spec)
    found: dict[str, Any] = {"keys": keys}
    for option, value in spec.items():
        if option in _IGNORED or value is None or _DEFAULTS.get(option, _NOTHING) == value:
            continue
        found[_NAMES.get(option, option)] = value
    found.pop("weights", None)
    if any(weight != 1 for weight in weights.values()):
        found["weights"] = weights
    if isinstance(found.get("ttl"), float) and found["ttl"].is_integer():
        found["ttl"] = int(found["ttl"])
    if "partial" in found:
        found["partial"] = _plain_filter(found["partial"])
    if "wildcardProjection" in found:
        found["wildcardProjection"] = _plain_projection(found["wildcardProjection"])
    collation = plain_collation(found.pop("collation", None))
    if collation is not None:
        found["collation"] = collation
    return found


_NOTHING: Any = object()


def _keys(spec: Spec) -> tuple[Keys, dict[str, Any]]:
    """Return the keys, those for text in the order of their names, and the weights of these."""
    weights: dict[str, Any] = dict(spec.get("weights") or {})
    for path, kind in spec["key"].items():
        if kind == "text" and path != "_fts":
            weights.setdefault(path, 1)
    keys: list[tuple[str, int | str]] = []
    with_text = False
    for path, kind in spec["key"].items():
        if path == "_ftsx":
            continue
        if kind != "text":
            # Shells write 1.0, and any number counts by its sign.
            keys.append((path, kind if isinstance(kind, str) else 1 if kind > 0 else -1))
        elif not with_text:
            with_text = True
            keys += ((name, "text") for name in sorted(weights))
    return tuple(keys), {name: weights[name] for name in sorted(weights)} if with_text else {}


def _plain_filter(filter: Any) -> Any:
    """Return a filter with fewer ways to write the same."""
    if isinstance(filter, (list, tuple)):
        return [_plain_filter(item) for item in filter]
    if not isinstance(filter, Mapping):
        return filter
    found = {key: _plain_filter(value) for key, value in filter.items()}
    if found.keys() == {"$eq"}:
        value = found["$eq"]
        return found if isinstance(value, dict) else value
    parts = found.get("$and")
    if isinstance(parts, list):
        rest = [{key: value} for key, value in found.items() if key != "$and"]
        joined: dict[str, Any] = {}
        for part in (*rest, *parts):
            if not isinstance(part, dict) or joined.keys() & part.keys():
                return found
            joined |= part
        return joined
    return found


def _plain_projection(projection: Mapping[str, Any], above: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in projection.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= _plain_projection(value, f"{path}.")
        else:
            found[path] = int(bool(value))
    if not above and not found.get("_id", 1) and 1 in found.values():
        del found["_id"]  # which is left out anyway
    return found


def plain_collation(collation: Any) -> dict[str, Any] | None:
    """Return a collation without what is usual for every locale; None for comparing bytes."""
    if not collation or collation.get("locale") == "simple":
        return None
    return {
        option: value
        for option, value in collation.items()
        if option != "version" and _COLLATION.get(option, _NOTHING) != value
    }


def same_keys(one: Spec, other: Spec) -> bool:
    """Tell whether two indexes are over the same keys."""
    return _keys(one)[0] == _keys(other)[0]


def differences(
    declared: Spec, stored: Spec, usual_collation: Any = None
) -> tuple[Difference, ...]:
    """Return the options that are stored otherwise than declared.

    Args:
        declared: what createIndexes takes.
        stored: what listIndexes reports.
        usual_collation: the collection's own, which an index that names none takes over.
    """
    ours, theirs = normal(declared), normal(stored)
    found = [
        Difference(option, theirs.get(option, default), ours.get(option, default))
        for option in sorted(ours.keys() | theirs.keys())
        if option != "collation"
        for default in [_DEFAULTS.get(option)]
        if ours.get(option, default) != theirs.get(option, default)
    ]
    wanted = ours.get("collation")
    if "collation" not in declared:
        wanted = plain_collation(usual_collation)
        if {"text", "2d"} & {kind for _, kind in ours["keys"]}:
            wanted = None
    if not same_collation(wanted, theirs.get("collation"), declared.get("collation") or {}):
        found.append(Difference("collation", theirs.get("collation"), wanted))
    for version in _VERSIONS:
        if version in declared and declared[version] != stored.get(version):
            found.append(Difference(version, stored.get(version), declared[version]))
    return tuple(found)


def same_collation(declared: Any, stored: Any, given: Mapping[str, Any]) -> bool:
    if declared is None or stored is None:
        return declared is stored
    locale = stored.get("locale", "").partition("@")[0]
    return all(
        declared.get(option) == stored.get(option)
        or (option not in given and _is_of_locale(option, locale))
        for option in declared.keys() | stored.keys()
    )


def _is_of_locale(option: str, locale: str) -> bool:
    return option == "normalization" or locale in _OF_LOCALE.get(option, ())


def read_index(spec: Spec) -> Index:
    """Return a reported index as it would be declared."""
    found = normal(spec)
    keys: Keys = found.pop("keys")
    settings = dict(_settings(keys, found))
    return Index.as_stored(keys, spec["name"], settings)


def _settings(keys: Keys, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    partial = found.pop("partial", None)
    collation = found.pop("collation", None)
    for flag in ("unique", "sparse"):
        if found.pop(flag, False):
            yield flag, True
            if flag == "unique" and partial == {path: {"$exists": True} for path, _ in keys}:
                partial = None
                yield "optional", True
    if collation == CASE_INSENSITIVE:
        collation = None
        yield "case_insensitive", True
    if found.pop("hidden", False):
        yield "hidden", True
    for option, value in (("partial", partial), ("ttl", found.pop("ttl", None))):
        if value is not None:
            yield option, value
    if collation is not None:
        yield "collation", collation
    yield from found.items()
