"""Ranges of a key: together they hold every document exactly once, whatever types its values have.

A range is asked for by what `$gte`, `$lt`, `$type` and `$in` find, which an index answers, and not by
`$expr`. Two traps: a comparison finds values of its own type only, and NaN is neither smaller nor
larger than any number. So a range names the types that lie between its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bson.codec_options import CodecOptions

from ...id_ranges import holds_text
from ...type_order import ARRAY, EMPTY_LIST, NULL, NUMBER, ORDER, Place, is_nan, place_of
from .part_order import order_of

__all__ = ["Cut", "condition", "cuts_of"]

#: In these a range can begin at any value; in others (regular expressions, code, what has one value
#: only) where the type begins.
_DIVIDED = frozenset(
    {"number", "string", "object", "binData", "objectId", "bool", "date", "timestamp"}
)
_CODECS: CodecOptions[Any] = CodecOptions()
_NAN = float("nan")


class Cut(NamedTuple):
    """Where one range ends and the next one begins.

    Attributes:
        rank: of the type, in MongoDB's order.
        value: the first value of the next range, in a list; an empty list where the type begins.
    """

    rank: int
    value: tuple[Any, ...] = ()


def cuts_of(values: Sequence[Any], parts: int) -> list[Cut]:
    """Return the cuts that divide some values into so many parts, or fewer.

    Args:
        values: of the key, in MongoDB's order, as BSON's own types.
        parts: how many.

    >>> [cut.value for cut in cuts_of([1, 2, 3, 4], 2)]
    [(3,)]
    """
    if not values:
        return []
    # Nothing is likely to be before the first of them.
    found = [_cut(values[0])]
    for number in range(1, parts):
        cut = _cut(values[len(values) * number // parts])
        if _is_behind(cut, found[-1]):
            found.append(cut)
    return found[1:]


def _is_behind(cut: Cut, other: Cut) -> bool:
    """Tell whether a cut comes behind another one; ranges between others would overlap."""
    if cut == other or cut.rank != other.rank or not (cut.value and other.value):
        return cut > other
    if holds_text(cut.value) or holds_text(other.value):
        return True  # in which order, a collation may decide
    here, there = order_of(cut.value[0]), order_of(other.value[0])
    return here is None or there is None or here > there


def _cut(value: Any) -> Cut:
    place = place_of(value, _CODECS)
    rank = ORDER.index(place)
    if place.names[0] not in _DIVIDED or (place is NUMBER and is_nan(value)):
        return Cut(rank)
    return Cut(rank, (value,))


def condition(key: str, lower: Cut | None, upper: Cut | None) -> dict[str, Any]:
    """Return the filter for the documents from one cut, included, to another one, excluded.

    Documents that have a list at the key can be in several ranges, unless the key is `_id`.

    Args:
        key: the path.
        lower: None for the beginning.
        upper: None for the end.

    >>> condition("age", Cut(3, (5,)), Cut(3, (9,)))
    {'age': {'$gte': 5, '$lt': 9}}
    """
    if lower is None and upper is None:
        return {}
    first = 0 if lower is None else lower.rank
    last = len(ORDER) - 1 if upper is None else upper.rank
    values: list[Any] = []
    types: list[str] = []
    tests: list[dict[str, Any]] = []
    for rank in range(first, last + 1):
        place = ORDER[rank]
        if place is (EMPTY_LIST if key == "_id" else ARRAY):
            continue
        start = lower.value if lower is not None and rank == lower.rank else ()
        end = upper.value if upper is not None and rank == upper.rank else None
        if end == ():
            continue  # the type begins where this range has ended
        if not start and end is None:
            _take_all(place, values, types)
            continue
        test = {"$gte": start[0]} if start else {}
        if end is not None:
            test["$lt"] = end[0]
            if place is NUMBER and not start:
                values.append(_NAN)
        tests.append(test)
    if values:
        tests.append({"$in": values})
    if types:
        tests.append({"$type": types})
    return _any_of(key, tests)


def _take_all(place: Place, values: list[Any], types: list[str]) -> None:
    if place.single:
        values.append(place.value)
    else:
        types += place.names
    if place is NULL:
        types.append("undefined")  # which servers once took for null


def _any_of(key: str, tests: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = [{key: test} for test in tests]
    if not found:
        return {key: {"$in": []}}
    return found[0] if len(found) == 1 else {"$or": found}
