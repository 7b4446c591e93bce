"""Ids as keys of Python's dicts: equal where they are equal to MongoDB."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import bson
from bson import ObjectId
from bson.codec_options import CodecOptions

from ..encoding import DEFAULT_CODEC_OPTIONS, ENCODING_ERRORS, encode

__all__ = ["id_key", "id_keys"]

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
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bson.Int64):
        return int(value)
    return id_key(value) if type(value) in {ObjectId, *_OWN_KEYS} else (encoded,)
