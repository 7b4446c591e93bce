"""Where a document stands in a sort order: the values of its keys, and what comes after them.

MongoDB sorts values of all types in one order: MinKey, empty lists, null and missing, numbers, text,
documents, binary data, ids, booleans, dates, timestamps, regular expressions, code, MaxKey. But
`$gt` and `$lt` compare values of one type only, and NaN with nothing. So what comes after a value
is asked for in up to three tests: those of its own type by comparison, single values by `$in`, all
other types by `$type`. Every test can be answered from an index.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson.codec_options import CodecOptions
from bson.regex import Regex

from ..errors import PageError, ProjectionError, QueryError
from .fetching import is_fetched
from .paths import ancestors, is_ancestor
from .sorts import Sort, to_sort
from .type_order import ARRAY, NUMBER, ORDER, is_nan, place_of

__all__ = ["Keys", "behind", "beyond", "key_of", "key_sort", "may_tie", "with_keys"]

Keys = list[tuple[str, int]]

#: The places that a key can have: a list stands where its items do.
_ORDER = [place for place in ORDER if place is not ARRAY]


# Sort orders


def key_sort(place: str, sort: Sort) -> Keys:
    """Return a sort order in which no two documents are equal: `_id` is its last key.

    Raises:
        QueryError: it is not by the values of fields.

    >>> key_sort("Dragon.page", "-created")
    [('created', -1), ('_id', -1)]
    """
    keys = to_sort(sort) or [("_id", 1)]
    for path, direction in keys:
        if path == "$natural" or not isinstance(direction, int):
            raise QueryError(
                f"{place}: expected a sort by the values of fields, got {path!r} with "
                f"{direction!r}; pages are found again by these values"
            )
    if not any(path == "_id" for path, _ in keys):
        keys = [*keys, ("_id", keys[-1][1])]
    return keys


# The keys of a document


def key_of(place: str, document: Mapping[str, Any], keys: Keys) -> list[Any]:
    """Return the values that a document is sorted by; what is missing is None.

    Raises:
        PageError: it has a list there, or a value that no query can compare.
    """
    return [_value(place, document, path) for path, _ in keys]


def _value(place: str, document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            break
        value = value.get(name)
    else:
        if not isinstance(value, (list, Regex)):
            return value
    if not isinstance(value, (list, Regex)):
        return None
    what = "a list" if isinstance(value, list) else f"{value!r}"
    why = "has no one place in the order" if isinstance(value, list) else "no query can compare"
    raise PageError(
        f"{place}: expected one value in {path!r} to sort by, got {what} in the document with "
        f"_id={document.get('_id')!r}, which {why}; sort by another field, or leave such documents "
        "out by the filter"
    )


def behind(
    keys: Keys, values: Sequence[Any], codecs: CodecOptions[Any], *, inclusive: bool = False
) -> dict[str, Any]:
    """Return a filter for what comes after the given values; the arguments are those of `beyond`.

    It says first, in one test, what no value of the first key can be. The alternatives say so, too,
    but a server that reads one index from end to end begins at that value then.

    >>> from bson.codec_options import DEFAULT_CODEC_OPTIONS
    >>> behind([("age", -1)], [5], DEFAULT_CODEC_OPTIONS)["age"]
    {'$not': {'$gt': 5}}
    """
    found: dict[str, Any] = {}
    (path, direction), value = keys[0], values[0]
    place = place_of(value, codecs)
    if not place.single and not (place is NUMBER and is_nan(value)):
        found[path] = {"$not": {"$lt" if direction > 0 else "$gt": value}}
    found["$or"] = beyond(keys, values, codecs, inclusive=inclusive)
    return found


def beyond(
    keys: Keys, values: Sequence[Any], codecs: CodecOptions[Any], *, inclusive: bool = False
) -> list[dict[str, Any]]:
    """Return the alternatives of a filter for what comes after the given values.

    Args:
        keys: the sort order.
        values: one for each key.
        codecs: how values are encoded.
        inclusive: also for what has exactly these values.

    >>> from bson.codec_options import DEFAULT_CODEC_OPTIONS
    >>> beyond([("age", 1)], [None], DEFAULT_CODEC_OPTIONS)[0]
    {'age': {'$in': [MaxKey()]}}
    """
    alternatives: list[dict[str, Any]] = []
    equal: dict[str, Any] = {}
    for (path, direction), value in zip(keys, values, strict=True):
        for test in _after(value, direction > 0, codecs):
            alternatives.append({**equal, path: test})
        equal[path] = {"$eq": value}
    return [*alternatives, equal] if inclusive else alternatives


def _after(value: Any, ascending: bool, codecs: CodecOptions[Any]) -> list[dict[str, Any]]:
    """Return the tests of what comes after a value."""
    place = place_of(value, codecs)
    position = _ORDER.index(place)
    others = _ORDER[position + 1 :] if ascending else _ORDER[:position]
    points = [other.value for other in others if other.single]
    types = [name for other in others if not other.single for name in other.names]
    tests: list[dict[str, Any]] = []
    if place is NUMBER and is_nan(value):
        # Before all other numbers, and neither less nor greater than any of them.
        if ascending:
            tests.append({"$gte": -math.inf})
    elif not place.single:
        tests.append({"$gt" if ascending else "$lt": value})
        if place is NUMBER and not ascending:
            points.append(math.nan)
    if points:
        tests.append({"$in": points})
    if types:
        tests.append({"$type": types})
    return tests


def may_tie(one: Sequence[Any], other: Sequence[Any], collation: Mapping[str, Any]) -> bool:
    """Tell whether a collation may make the keys of two documents equal, their ids included.

    >>> may_tie(["x", "ann"], ["x", "Ann"], {"locale": "en", "strength": 2})
    True
    """
    if collation.get("locale") == "simple":
        return False
    return all(
        _seen(mine, collation) == _seen(theirs, collation)
        for mine, theirs in zip(one, other, strict=True)
    )


def _seen(value: Any, collation: Mapping[str, Any]) -> Any:
    """Return a value with its text as a collation sees it, or with less."""
    if isinstance(value, Mapping):
        return [(key, _seen(inner, collation)) for key, inner in value.items()]
    if not isinstance(value, str):
        return value
    strength = collation.get("strength", 3)
    letters = unicodedata.normalize("NFD" if strength > 2 else "NFKD", value)
    if strength < 3 and not collation.get("caseLevel"):
        letters = unicodedata.normalize("NFKD", letters.casefold())
    ignored = ["Cc", "Cf"] + ["Mn"] * (strength < 2)
    kept: Iterable[str] = (one for one in letters if unicodedata.category(one) not in ignored)
    if collation.get("alternate") == "shifted":
        kept = filter(str.isalnum, kept)
    text = "".join(kept)
    return re.sub(r"(?<!\d)0+(?=\d)", "", text) if collation.get("numericOrdering") else text


# What is fetched


def with_keys(
    place: str, driver: dict[str, Any] | None, keys: Keys
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return a driver projection that fetches the keys of a sort order, too.

    Returns:
        The projection, and the paths that it fetches for the keys alone.

    Raises:
        ProjectionError: it changes the value of a key, or fetches a part of it only.

    >>> with_keys("Dragon.page", {"name": True}, [("lair.gold", 1), ("_id", 1)])
    ({'name': True, 'lair.gold': True}, ['lair'])
    """
    if driver is None:
        return None, []
    wanted = dict(driver)
    added: list[str] = []
    for path, _ in keys:
        near = [
            other
            for other in wanted
            if other == path or is_ancestor(other, path) or is_ancestor(path, other)
        ]
        changed = [other for other in near if not isinstance(wanted[other], bool)]
        part = [other for other in near if is_ancestor(path, other) and wanted[other]]
        if changed or part:
            raise ProjectionError(
                f"{place}: expected a projection that fetches {path!r} whole, because pages are "
                f"sorted by it, got {(changed or part)[0]!r} in it"
            )
        excluded = [other for other in near if wanted[other] is False]
        for other in excluded:
            del wanted[other]
        added += excluded
        if not wanted:
            return None, added
        # An `_id` that is not excluded always comes.
        if path.partition(".")[0] != "_id" and not is_fetched(wanted, path):
            wanted[path] = True
            if path not in added:
                added.append(_alone(path, driver))
    return wanted, added


def _alone(path: str, driver: Mapping[str, Any]) -> str:
    """Return the outermost part of a path that is fetched for nothing else."""
    for above in ancestors(path):
        if not any(is_ancestor(above, other) for other in driver):
            return above
    return path
