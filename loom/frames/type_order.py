"""MongoDB's order of types: what a sort puts before what when values are of different types.

A sort compares values of all types, while `$gt` and `$lt` look at values of their own type only,
and find NaN neither smaller nor larger than any number. Whoever asks for all that comes behind a
value therefore names the types that follow.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from bson import Decimal128, MaxKey, MinKey
from bson.codec_options import CodecOptions

from ..encoding import encode

__all__ = ["ARRAY", "EMPTY_LIST", "NULL", "NUMBER", "ORDER", "Place", "is_nan", "place_of"]


class Place(NamedTuple):
    """One place in the order; the values in it are compared with one another."""

    #: What `$type` calls the types in it.
    names: tuple[str, ...]
    #: The bytes that stand for them in BSON.
    codes: bytes
    #: Whether there is one value only, behind which nothing of the same place comes.
    single: bool = False
    #: That value.
    value: Any = None


NULL = Place(("null",), b"\x0a\x06", single=True)
NUMBER = Place(("number",), b"\x01\x10\x12\x13")
#: A list as a whole, which only an `_id` can be compared as; elsewhere a list stands where its
#: items do, so that only an empty one has a place of its own.
ARRAY = Place(("array",), b"\x04")
EMPTY_LIST = Place((), b"", single=True, value=[])
#: All places, the first to be sorted first; null and missing are one, and so are text and symbols.
ORDER = (
    Place(("minKey",), b"\xff", single=True, value=MinKey()),
    EMPTY_LIST,
    NULL,
    NUMBER,
    Place(("string", "symbol"), b"\x02\x0e"),
    Place(("object",), b"\x03"),
    ARRAY,
    Place(("binData",), b"\x05"),
    Place(("objectId",), b"\x07"),
    Place(("bool",), b"\x08"),
    Place(("date",), b"\x09"),
    Place(("timestamp",), b"\x11"),
    Place(("regex",), b"\x0b"),
    Place(("dbPointer",), b"\x0c"),
    Place(("javascript",), b"\x0d"),
    Place(("javascriptWithScope",), b"\x0f"),
    Place(("maxKey",), b"\x7f", single=True, value=MaxKey()),
)
_PLACES = {code: place for place in ORDER for code in place.codes}


def place_of(value: Any, codecs: CodecOptions[Any]) -> Place:
    """Return the place of a value, as it would be stored.

    >>> place_of(2.5, CodecOptions()).names
    ('number',)
    """
    return _PLACES[encode({"": value}, codecs)[4]]


def is_nan(value: Any) -> bool:
    """Tell NaN, which a sort puts before all other numbers.

    >>> is_nan(float("nan")), is_nan(Decimal128("NaN")), is_nan("NaN")
    (True, True, False)
    """
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    return number.is_nan() if isinstance(number, Decimal) else bool(number != number)
