"""The documents behind an `_id` in the order of a sort by `_id`, whatever types the ids have.

A comparison in a filter looks at values of its own type only: `{"_id": {"$gt": "x"}}` finds no
ObjectId, although a sort puts all ObjectIds behind all text. Here the types that follow are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.codec_options import CodecOptions

from ..encoding import PLAIN
from .missing import Missing
from .type_order import EMPTY_LIST, NUMBER, ORDER, is_nan, place_of

__all__ = ["behind", "holds_text"]

_NAN = float("nan")
#: The places that an `_id` can have.
_ORDER = [place for place in ORDER if place is not EMPTY_LIST]


def behind(id: Any, direction: int, codecs: CodecOptions[Any]) -> dict[str, Any]:
    """Return the condition for what comes behind an `_id`.

    Args:
        id: any value that can be stored.
        direction: of the sort by `_id`: 1, or -1 for what comes before it.
        codecs: of the collection.

    >>> behind(True, 1, CodecOptions())["$or"][0]
    {'_id': {'$gt': True}}
    """
    place = place_of(id, codecs)
    value = id if type(id) in PLAIN else Missing(None, id)
    parts: list[dict[str, Any]] = []
    if place is NUMBER and is_nan(id):
        # The smallest number for a sort; for a comparison it is neither smaller nor larger.
        if direction > 0:
            parts.append({"_id": {"$type": "number", "$ne": _NAN}})
    elif not place.single:
        parts.append({"_id": {"$gt" if direction > 0 else "$lt": value}})
        if place is NUMBER and direction < 0:
            parts.append({"_id": _NAN})
    rank = _ORDER.index(place)
    others = _ORDER[rank + 1 :] if direction > 0 else _ORDER[:rank]
    names = [name for other in others for name in other.names]
    if names:
        parts.append({"_id": {"$type": names}})
    if not parts:
        return {"_id": {"$in": []}}
    return parts[0] if len(parts) == 1 else {"$or": parts}


def holds_text(id: Any) -> bool:
    """Tell an `_id` whose place in the order depends on a collation."""
    if isinstance(id, Mapping):
        return any(map(holds_text, id.values()))
    return isinstance(id, str) or (isinstance(id, (list, tuple)) and any(map(holds_text, id)))
