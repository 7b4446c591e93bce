"""Replies as they are: the documents of a batch as bytes, without an object for any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import bson
from bson.errors import InvalidBSON

__all__ = [
    "LENGTHS",
    "PREFIXED",
    "documents_of",
    "last_of",
    "parts_of",
    "take_bytes",
    "taking_bytes",
]

#: Takes the keys out of an array of documents; in C, where PyMongo has its C extension.
_joined: Any = getattr(bson, "_array_of_documents_to_buffer", None)

_DOCUMENT, _ARRAY = 3, 4
_EMPTY_ARRAY = b"\x05\0\0\0\0"
#: Lengths of values by their BSON type, those with a length of their own left out.
LENGTHS = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0,
    0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0,
}  # fmt: skip
#: Those that begin with a length, and what the length leaves out.
PREFIXED = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0D: 4, 0x0E: 4, 0x0F: 0}


class _Switch:
    """Whether batches are taken from replies directly; on by default."""

    def __init__(self) -> None:
        self.enabled = True


taking_bytes = _Switch()


def take_bytes(cursor: Any) -> Any:
    """Return a raw-batch cursor of PyMongo's that takes its batches from the reply directly.

    PyMongo's own makes a RawBSONDocument of every document of a reply and throws it away, which is
    two thirds of what it costs. What this calls is not part of PyMongo's public interface: where
    it is not there, or a reply looks otherwise than expected, the cursor does what it always did. So
    it does while `taking_bytes.enabled` is False.
    """
    original = getattr(cursor, "_unpack_response", None)
    if original is None or _joined is None or not taking_bytes.enabled:
        return cursor

    def unpack(response: Any, *args: Any, **options: Any) -> Any:
        found = _unpacked(response)
        return original(response, *args, **options) if found is None else found

    cursor._unpack_response = unpack
    return cursor


def _unpacked(response: Any) -> list[dict[str, Any]] | None:
    """Return a reply with its batch as one stream of bytes, None when it has no batch."""
    get = getattr(response, "raw_command_response", None)
    payload = memoryview(get()) if get is not None else memoryview(b"")
    found = documents_of(payload)
    if found is None:
        return None
    key, start, end, opened = found
    # The reply without its batch, which is small.
    removed = end - start - len(_EMPTY_ARRAY)
    rest = bytearray(b"".join([payload[:start], _EMPTY_ARRAY, payload[end:]]))
    for position in (0, opened):
        length = int.from_bytes(payload[position : position + 4], "little")
        rest[position : position + 4] = (length - removed).to_bytes(4, "little")
    reply: dict[str, Any] = bson.decode(bytes(rest))
    stream = _joined(payload[start:end])
    reply["cursor"][key] = [stream] if stream else []
    return [reply]


def documents_of(payload: memoryview) -> tuple[str, int, int, int] | None:
    """Return the name of a reply's batch, where it begins and ends, and where its cursor begins.

    >>> reply = bson.encode({"cursor": {"firstBatch": [{}], "id": 0}, "ok": 1.0})
    >>> documents_of(memoryview(reply))
    ('firstBatch', 28, 41, 12)
    """
    try:
        opened = _elements(payload, 0).get("cursor")
        if opened is None or opened[0] != _DOCUMENT:
            return None
        inner = _elements(payload, opened[1])
    except (IndexError, InvalidBSON):
        return None  # what the driver then says of it
    for key in ("firstBatch", "nextBatch"):
        if key in inner and inner[key][0] == _ARRAY:
            return key, inner[key][1], inner[key][2], opened[1]
    return None


def parts_of(batch: bytes, limit: int | None) -> Iterator[bytes]:
    """Yield the documents of a batch in parts of at most so many bytes; one document at least.

    >>> [len(part) for part in parts_of(bson.encode({}) * 5, 10)]
    [10, 10, 5]
    """
    if limit is None or len(batch) <= limit:
        yield batch
        return
    start = position = 0
    while position < len(batch):
        end = _end(batch, position)
        if end - start > limit and position > start:
            yield batch[start:position]
            start = position
        position = end
    yield batch[start:]


def last_of(batch: bytes) -> bytes:
    """Return the last document of a batch that has one.

    >>> bson.decode(last_of(bson.encode({"_id": 1}) + bson.encode({"_id": 2})))
    {'_id': 2}
    """
    position = start = 0
    while position < len(batch):
        start, position = position, _end(batch, position)
    return batch[start:]


def _end(batch: bytes, position: int) -> int:
    """Return where a document ends; a broken one is as long as an empty one, or no loop would end."""
    return position + max(5, int.from_bytes(batch[position : position + 4], "little"))


def _elements(payload: memoryview, start: int) -> Mapping[str, tuple[int, int, int]]:
    """Return type, begin and end of the values of a document, by their names."""
    found: dict[str, tuple[int, int, int]] = {}
    end = start + int.from_bytes(payload[start : start + 4], "little") - 1
    position = start + 4
    while position < end:
        kind = payload[position]
        stop = position = position + 1
        while payload[stop]:
            stop += 1
        name = bytes(payload[position:stop]).decode()
        position = stop + 1
        if kind in LENGTHS:
            length = LENGTHS[kind]
        elif kind in PREFIXED:
            length = int.from_bytes(payload[position : position + 4], "little") + PREFIXED[kind]
        else:
            raise InvalidBSON(f"type {kind} in a reply")
        found[name] = (kind, position, position + length)
        position += length
    return found
