"""The documents behind an `_id` in the order of a sort by `_id`, whatever types the ids have.

A comparison in a filter looks at values of its own type only: `{"_id": {"$gt": "x"}}` finds no
ObjectId, although a sort puts all ObjectIds behind all text. Here the types that follow are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128

from ..encoding import PLAIN, encode
from .missing import Missing

__all__ = ["behind", "holds_text"]

#: The types in MongoDB's order of sorting, by the names that `$type` takes, each with the bytes
#: that stand for it in BSON. What is in one line is compared by value.
_TYPES: tuple[tuple[tuple[str, ...], bytes], ...] = (
    (("minKey",), b"\xff"),
    (("null",), b"\x0a\x06"),
    (("number",), b"\x01\x10\x12\x13"),
    (("string", "symbol"), b"\x02\x0e"),
    (("object",), b"\x03"),
    (("array",), b"\x04"),
    (("binData",), b"\x05"),
    (("objectId",), b"\x07"),
    (("bool",), b"\x08"),
    (("date",), b"\x09"),
    (("timestamp",), b"\x11"),
    (("regex",), b"\x0b"),
    (("dbPointer",), b"\x0c"),
    (("javascript",), b"\x0d"),
    (("javascriptWithScope",), b"\x0f"),
    (("maxKey",), b"\x7f"),
)
_RANKS = {byte: rank for rank, (_, codes) in enumerate(_TYPES) for byte in codes}
_NUMBER = _RANKS[0x01]
#: Types that have one value, behind which nothing of the same type comes.
_SINGLE = frozenset(_RANKS[byte] for byte in (0xFF, 0x0A, 0x7F))
_NAN = float("nan")


def behind(id: Any, direction: int, codecs: CodecOptions[Any]) -> dict[str, Any]:
    """Return the condition for what comes behind an `_id`.

    Args:
        id: any value that can be stored.
        direction: of the sort by `_id`: 1, or -1 for what comes before it.
        codecs: of the collection.

    >>> behind(True, 1, CodecOptions())["$or"][0]
    {'_id': {'$gt': True}}
    """
    rank = _RANKS[encode({"": id}, codecs)[4]]
    value = id if type(id) in PLAIN else Missing(None, id)
    parts: list[dict[str, Any]] = []
    if rank == _NUMBER and _is_nan(id):
        # The smallest number for a sort; for a comparison it is neither smaller nor larger.
        if direction > 0:
            parts.append({"_id": {"$type": "number", "$ne": _NAN}})
    elif rank not in _SINGLE:
        parts.append({"_id": {"$gt" if direction > 0 else "$lt": value}})
        if rank == _NUMBER and direction < 0:
            parts.append({"_id": _NAN})
    others = _TYPES[rank + 1 :] if direction > 0 else _TYPES[:rank]
    names = [name for line, _ in others for name in line]
    if names:
        parts.append({"_id": {"$type": names}})
    if not parts:
        return {"_id": {"$in": []}}
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _is_nan(id: Any) -> bool:
    number = id.to_decimal() if isinstance(id, Decimal128) else id
    return bool(number != number)


def holds_text(id: Any) -> bool:
    """Tell an `_id` whose place in the order depends on a collation."""
    if isinstance(id, Mapping):
        return any(map(holds_text, id.values()))
    return isinstance(id, str) or (isinstance(id, (list, tuple)) and any(map(holds_text, id)))
