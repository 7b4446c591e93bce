"""Ids: as keys of Python's dicts, equal where they are equal to MongoDB; and new ones in bulk."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

import bson
from bson import ObjectId
from bson.codec_options import CodecOptions

from ..encoding import DEFAULT_CODEC_OPTIONS, ENCODING_ERRORS, encode
from ..errors import MissingId

__all__ = ["id_key", "id_keys", "id_or_error", "lacks_id", "new_ids"]

_OBJECT_ID = frozenset({ObjectId})
#: Types whose values are their own keys.
_OWN_KEYS = frozenset({str, int})
#: Bytes are hashed and compared in C, ObjectIds in Python, at twice the cost.
_bytes_of = attrgetter("binary")


def id_keys(ids: list[Any], codecs: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS) -> list[Any]:
    """Return a key for each id: hashable, and the same for an id as it is and as it is stored."""
    kinds = {*map(type, ids)}
    if kinds == _OBJECT_ID:
        return [*map(_bytes_of, ids)]
    return ids if _OWN_KEYS.issuperset(kinds) else [id_key(id, codecs) for id in ids]


def id_key(id: Any, codecs: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS) -> Any:
    """Return the key of one id; True is no 1, and 1.0 is."""
    if type(id) is ObjectId:
        return id.binary
    if type(id) in _OWN_KEYS:
        return id
    try:
        encoded = encode({"": id}, codecs)
    except ENCODING_ERRORS:
        return (repr(id),)  # the query says what is wrong with it
    value = bson.decode(encoded)[""]
    if isinstance(value, bson.Int64):
        return int(value)
    if isinstance(value, bson.Decimal128):
        value = value.to_decimal()
    if isinstance(value, (float, Decimal)):
        # Python compares, and hashes, numbers of all types by their exact values, as MongoDB does.
        return value if value == value else ("NaN",)
    return id_key(value) if type(value) in {ObjectId, *_OWN_KEYS} else (encoded,)


# New ids

#: The counter of an ObjectId has three bytes.
_COUNTERS = 1 << 24
#: So many ids bear the time of one look at the clock.
_AT_ONCE = 1 << 16
_pack = struct.Struct(">8sI").pack


def new_ids(count: int) -> list[ObjectId]:
    """Return new ObjectIds, as `ObjectId()` would make them, at an eighth of the cost.

    They take a stretch of PyMongo's own counter, with its lock and its random number, which is
    another one after a fork: an id made by `ObjectId()` is never among them.
    """
    if not _is_known():
        return [ObjectId() for _ in range(count)]
    stretches = (min(_AT_ONCE, count - start) for start in range(0, count, _AT_ONCE))
    return [*chain.from_iterable(map(_stretch, stretches))]


def _stretch(count: int) -> Iterator[ObjectId]:
    cls: Any = ObjectId
    with cls._inc_lock:
        start = cls._inc
        cls._inc = (start + count) % _COUNTERS
    random = cls._random()
    # Four bytes of time and five that are random; the last of these stands before the counter.
    head = struct.pack(">I", int(time.time())) + random[:4]
    last = random[4] << 24
    before_end = min(count, _COUNTERS - start)
    numbers = chain(
        range(last | start, (last | start) + before_end), range(last, last + count - before_end)
    )
    return map(ObjectId, map(_pack, repeat(head), numbers))


@cache
def _is_known() -> bool:
    """Tell whether this PyMongo makes its ObjectIds as those known here do."""
    cls: Any = ObjectId
    try:
        made = ObjectId().binary
        with cls._inc_lock:
            passed = (cls._inc - int.from_bytes(made[9:], "big")) % _COUNTERS
        # Other threads may have made some, too.
        return bool(made[4:9] == cls._random()) and 0 < passed < _COUNTERS // 2
    except (AttributeError, TypeError):
        return False


def lacks_id(document: dict[str, Any]) -> bool:
    """Tell whether a document has no `_id`; one of None is taken out, so that one is made."""
    if document.get("_id") is not None:
        return False
    document.pop("_id", None)
    return True


def id_or_error(frame: Any, operation: str) -> Any:
    """Return the `_id` that an operation on a stored frame needs.

    Raises:
        MissingId: the frame has none.
    """
    id = frame._document.get("_id")
    if id is None:
        name = type(frame).__name__
        raise MissingId(
            f"{name}.{operation}: expected a frame with _id, got one without; "
            "insert it first, or load it with its _id"
        )
    return id
