"""What an index is written with: read into one form, and refused where no server would take it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pymongo.collation import Collation

from ..errors import DefinitionError, LoomError, nearest
from .conditions import Field
from .queries import to_filter

__all__ = [
    "CASE_INSENSITIVE",
    "KINDS",
    "OPTIONS",
    "Keys",
    "check_flags",
    "check_options",
    "check_together",
    "default_name",
    "is_wildcard",
    "read_collation",
    "read_keys",
    "read_name",
    "read_partial",
    "read_ttl",
]

#: Paths with their directions (1, -1) or kinds.
Keys = tuple[tuple[str, int | str], ...]

KINDS = ("2d", "2dsphere", "hashed", "text", "wildcard")
#: Options that few indexes have, as the server names them.
OPTIONS = frozenset(
    ("2dsphereIndexVersion", "bits", "default_language", "language_override", "max", "min")
    + ("storageEngine", "textIndexVersion", "weights", "wildcardProjection")
)
#: The collation of a case-insensitive index that names no other: Ann is ANN, but not Änn.
CASE_INSENSITIVE: dict[str, Any] = {"locale": "en", "strength": 2}

#: What others call what Loom gives a name of its own.
_OTHER_NAMES = {
    "expireAfterSeconds": "ttl",
    "expire_after_seconds": "ttl",
    "partialFilterExpression": "partial",
    "partial_filter_expression": "partial",
    "wildcard_projection": "wildcardProjection",
}
#: What no partial index takes, on any version.
_NOT_PARTIAL = frozenset(
    ("$ne", "$nin", "$not", "$nor", "$regex", "$expr", "$where", "$text", "$near", "$nearSphere")
)
#: Seconds: the server keeps them in 32 bits.
_LONGEST = 2**31 - 1


def is_wildcard(path: str) -> bool:
    """Tell a path that stands for all that is below it."""
    return path == "$**" or path.endswith(".$**")


def default_name(keys: Keys) -> str:
    """Return the name that MongoDB gives an index of these keys."""
    return "_".join(f"{path}_{kind}" for path, kind in keys)


def check_flags(place: str, flags: Mapping[str, Any]) -> None:
    """Refuse flags that are neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise DefinitionError(f"{place}: expected {name} of True or False, got {value!r}")


def check_options(place: str, options: Iterable[str], others: Iterable[str]) -> None:
    """Refuse options that no index has."""
    for name in options:
        if name not in OPTIONS:
            wanted = _OTHER_NAMES.get(name)
            hint = f"; write {wanted}=" if wanted else nearest(name, [*OPTIONS, *others])
            raise DefinitionError(f"{place}: expected an option of an index, got {name!r}{hint}")


def read_keys(place: str, keys: tuple[Any, ...], kind: Any) -> Keys:
    """Return paths with their directions or kinds."""
    if kind is not None and kind not in KINDS:
        raise DefinitionError(
            f"{place}: expected kind of {', '.join(map(repr, KINDS))} or None, got {kind!r}"
            f"{nearest(str(kind), KINDS)}"
        )
    if kind == "wildcard" and not keys:
        keys = ("$**",)
    if not keys:
        raise DefinitionError(f"{place}: expected at least one path, got none; write Index('name')")
    if len(keys) > 1 and kind in ("2d", "hashed", "wildcard"):
        pair = "'path.$**'" if kind == "wildcard" else f"('path', {kind!r})"
        raise DefinitionError(
            f"{place}: expected one path beside kind={kind!r}, got {len(keys)}; leave out the kind "
            f"and write that key as {pair}"
        )
    found = tuple(_read_key(place, key, kind) for key in keys)
    if len(dict(found)) < len(found):
        raise DefinitionError(f"{place}: expected each path once, got one of them twice")
    if found == (("_id", 1),):
        raise DefinitionError(
            f"{place}: expected another path than _id, which every collection has an index of; "
            "leave it out"
        )
    return found


def _read_key(place: str, key: Any, kind: Any) -> tuple[str, int | str]:
    path, direction = key, None
    if isinstance(key, (tuple, list)) and len(key) == 2:
        path, direction = key
        if direction is None or direction not in (1, -1, *KINDS[:4]) or direction is True:
            raise DefinitionError(
                f"{place}: expected 1, -1, {', '.join(map(repr, KINDS[:4]))} as the second of a "
                f"pair, got {direction!r}"
            )
    is_descending = False
    if isinstance(path, Field):
        path = str(path)
        is_descending = direction is None and path.endswith(".desc")  # as in SortBy
        path = path.removesuffix(".desc") if is_descending else path
    elif isinstance(path, str) and direction is None:
        is_descending = path[:1] == "-"
        path = path.removeprefix("-")
    _check_path(place, path)
    if is_descending and kind is not None:
        raise DefinitionError(
            f"{place}: expected paths without a direction beside kind={kind!r}, got {key!r}; write "
            f"a key of another kind as a pair: ({path!r}, -1)"
        )
    if direction is None:
        if kind == "wildcard":
            return (path if is_wildcard(path) else f"{path}.$**"), 1
        direction = -1 if is_descending else kind or 1
    return path, direction


def _check_path(place: str, path: Any) -> None:
    if not isinstance(path, str):
        raise DefinitionError(
            f"{place}: expected a path such as 'name', '-created' or Q.lair.gold, got {path!r}"
        )
    *above, last = path.split(".")
    segments = above if last == "$**" else [*above, last]
    if not all(segments) or "\0" in path or any(segment[:1] == "$" for segment in segments):
        raise DefinitionError(
            f"{place}: expected a path of names that MongoDB takes, got {path!r}; a name is not "
            "empty, has no NUL and does not start with $"
        )


def read_name(place: str, name: Any) -> str | None:
    """Return the name, if one is given that a server takes."""
    if name is None:
        return None
    if not isinstance(name, str) or not name or "\0" in name or name in ("*", "_id_"):
        raise DefinitionError(
            f"{place}: expected the name of an index, got {name!r}; leave it out for the usual one"
        )
    return name


def read_ttl(place: str, ttl: Any) -> int | None:
    """Return seconds."""
    if ttl is None:
        return None
    seconds = ttl
    if isinstance(ttl, timedelta):
        seconds = ttl.total_seconds()
    elif not isinstance(ttl, int) or isinstance(ttl, bool):
        raise DefinitionError(f"{place}: expected ttl in seconds or as a timedelta, got {ttl!r}")
    if seconds % 1 or not 0 <= seconds <= _LONGEST:
        raise DefinitionError(
            f"{place}: expected ttl of whole seconds from 0 to {_LONGEST}, got {ttl!r}"
        )
    return int(seconds)


def read_partial(place: str, partial: Any) -> dict[str, Any] | None:
    """Return a filter as the server takes it."""
    if partial is None:
        return None
    try:
        filter = to_filter(partial)
    except LoomError as error:
        raise DefinitionError(f"{place}: partial: {error}") from error
    if not filter:
        raise DefinitionError(
            f"{place}: expected a condition as partial, got {partial!r}, which all documents meet; "
            "leave it out"
        )
    _check_partial(place, filter)
    return filter


def _check_partial(place: str, test: Any) -> None:
    if isinstance(test, (list, tuple)):
        for item in test:
            _check_partial(place, item)
    elif isinstance(test, Mapping):
        for key, value in test.items():
            if key in _NOT_PARTIAL or (key == "$exists" and not value):
                shown = "$exists: False" if key == "$exists" else key
                raise DefinitionError(
                    f"{place}: partial: expected what a partial index can hold, got {shown}; use "
                    "==, <, <=, >, >=, exists(), type(), is_in(), & and |"
                )
            _check_partial(place, value)


def read_collation(place: str, given: Any, case_insensitive: bool) -> dict[str, Any] | None:
    """Return a collation as a dict."""
    if given is None:
        return None
    collation = given.document if isinstance(given, Collation) else given
    if not isinstance(collation, Mapping) or not isinstance(collation.get("locale"), str):
        raise DefinitionError(
            f"{place}: expected a collation with a locale, got {given!r}; write "
            "collation={'locale': 'sv'}"
        )
    if not case_insensitive:
        return dict(collation)
    # A strength of 3 tells a from A, and so does caseLevel at any strength.
    if (
        collation["locale"] == "simple"
        or collation.get("strength", 2) not in (1, 2)
        or collation.get("caseLevel")
    ):
        raise DefinitionError(
            f"{place}: expected a collation that can ignore case, got {given!r}; leave out its "
            "strength and caseLevel, or case_insensitive=True"
        )
    return dict(collation)


def check_together(place: str, keys: Keys, settings: Mapping[str, Any]) -> None:
    """Refuse what is right alone, but not with the rest."""
    kinds = [kind for _, kind in keys]
    wild = any(is_wildcard(path) for path, _ in keys)
    (field, first), *more = keys
    problem = ""
    if "ttl" in settings and (more or first not in (1, -1) or wild or field == "_id"):
        problem = "ttl with one field that holds a datetime, and no kind"
    elif "unique" in settings and (wild or "hashed" in kinds):
        problem = "unique without a hashed or wildcard key, by which MongoDB cannot tell"
    elif "optional" in settings and "unique" not in settings:
        problem = "optional beside unique=True; to index fewer documents use partial="
    elif "sparse" in settings and settings.keys() & {"optional", "partial"}:
        problem = "sparse alone, which optional= and partial= do without"
    elif settings.keys() & {"collation", "case_insensitive"} and {"text", "2d"} & {*kinds}:
        problem = "no collation with kind 'text' or '2d', which compare bytes"
    elif kinds.count("hashed") > 1:
        problem = "one hashed key at most"
    if problem:
        raise DefinitionError(f"{place}: expected {problem}, got both")
