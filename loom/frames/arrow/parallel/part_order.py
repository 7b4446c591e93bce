"""The order of parts: whether the keys of one come behind those of the part before it.

Ranges are cut where the server sorts, and asked for by comparison. Where a server's sort and its
comparison disagree, ranges overlap, and documents would come twice. Each part comes sorted, so its
first key and its last one tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bson import Binary, Decimal128, ObjectId, Timestamp
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef

from ....errors import PartitionError
from ...id_ranges import holds_text
from ...type_order import NUMBER, ORDER, is_nan, place_of
from ..exact import decoded

__all__ = ["Order", "order_of"]

_CODECS: CodecOptions[Any] = CodecOptions()
#: An end of a part: the key as it is compared, and the key itself.
_End = tuple[tuple[Any, ...], Any]


class Order:
    """The first and the last keys of parts, as they become known.

    Args:
        place: what errors begin with.
        key: the path of the keys.
        count: how many parts there are.
        texts: whether the server compares text by its bytes; where a collation may decide, False.
    """

    def __init__(self, place: str, key: str, count: int, *, texts: bool) -> None:
        self._place = place
        self._key = key
        self._texts = texts
        self._firsts: list[_End | None] = [None] * count
        self._lasts: list[_End | None] = [None] * count

    def add(self, number: int, first: bytes, last: bytes) -> None:
        """Note how far a part was read, and hold it against the parts around it.

        Args:
            number: of the part.
            first: the BSON of its first key, b"" when that is not told.
            last: the BSON of its last key so far, b"" when that is not told.

        Raises:
            PartitionError: the part begins before another one has ended.
        """
        if first and self._firsts[number] is None:
            self._firsts[number] = self._end(first)
            before = next((one for one in reversed(self._lasts[:number]) if one), None)
            self._compare(number, before, self._firsts[number])
        end = self._end(last) if last else None
        if end is not None:
            self._lasts[number] = end
            others = enumerate(self._firsts[number + 1 :], number + 1)
            later, behind = next(((n, one) for n, one in others if one), (number, None))
            self._compare(later, end, behind)

    def _end(self, place: bytes) -> _End | None:
        key = decoded(place)[0]["key"]
        if not self._texts and holds_text(key):
            return None
        order = order_of(key)
        return None if order is None else (order, key)

    def _compare(self, number: int, before: _End | None, first: _End | None) -> None:
        if before is not None and first is not None and first[0] <= before[0]:
            raise PartitionError(
                f"{self._place}: expected part {number + 1} of {len(self._firsts)} to begin behind "
                f"{self._key}={before[1]!r}, where a part before it ended, got {first[1]!r}; the "
                "server sorts such keys otherwise than it compares them, and documents would come "
                "twice; load without partitions, or name another field with partition_by"
            )


def order_of(value: Any) -> tuple[Any, ...] | None:
    """Return a value as Python compares it in MongoDB's order, None where that is not known.

    Args:
        value: as BSON's own types; text is compared by its bytes.

    >>> order_of(2) < order_of(2.5) < order_of("2")
    True
    """
    try:
        return _order(value)
    except TypeError:
        return None


def _order(value: Any) -> tuple[Any, ...]:
    if isinstance(value, DBRef):
        raise TypeError  # which may have been a pointer
    place = place_of(value, _CODECS)
    rank = ORDER.index(place)
    return (rank,) if place.single else (rank, _content(value, place is NUMBER))


def _content(value: Any, is_number: bool) -> Any:
    if is_number:
        if is_nan(value):
            return (0,)
        if isinstance(value, Decimal128):
            return (1, value.to_decimal())
        return (1, Decimal(int(value)) if isinstance(value, int) else Decimal.from_float(value))
    if type(value) is str:  # code is text with a scope
        return value.encode()
    if isinstance(value, Mapping):
        return [_split(inner, name.encode()) for name, inner in value.items()]
    if isinstance(value, list):
        return [_split(inner, b"") for inner in value]
    if isinstance(value, bytes):
        return (len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value))
    if isinstance(value, ObjectId):
        return value.binary
    if isinstance(value, Timestamp):
        return (value.time, value.inc)
    if isinstance(value, (bool, DatetimeMS)):
        return int(value)
    raise TypeError


def _split(value: Any, name: bytes) -> tuple[Any, ...]:
    """Return a field of a document: its type is compared first, then its name, then its value."""
    rank, *content = _order(value)
    return (rank, name, *content)
