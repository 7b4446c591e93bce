"""What a load and its processes tell each other: messages through pipes, with the bytes of batches."""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO

import pyarrow as pa

__all__ = ["receive", "send", "write"]

#: The length of a message, and of what follows it.
_HEADER = struct.Struct("<IQ")


def send(pipe: BinaryIO, message: tuple[Any, ...], tail: Any = b"") -> None:
    """Write a message, and the bytes that go with it."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    content = memoryview(tail).cast("B")
    write(pipe, _HEADER.pack(len(body), len(content)) + body)
    write(pipe, content)


def write(pipe: BinaryIO, content: Any) -> None:
    """Write all of some bytes to a pipe that takes as many as it can."""
    rest = memoryview(content)
    while rest:
        rest = rest[pipe.write(rest) :]


def receive(pipe: BinaryIO) -> tuple[tuple[Any, ...], Any] | None:
    """Return the next message and the buffer that goes with it; None when the other side is gone."""
    header = _read(pipe, _HEADER.size)
    if header is None:
        return None
    body_length, length = _HEADER.unpack(header)
    body = _read(pipe, body_length)
    tail = _read(pipe, length)
    if body is None or tail is None:
        return None
    return pickle.loads(body), tail


def _read(pipe: BinaryIO, length: int) -> Any:
    buffer = pa.allocate_buffer(length)
    rest = memoryview(buffer).cast("B")
    while rest:
        got = pipe.readinto(rest)  # type: ignore[attr-defined]  # of files without a buffer, too
        if not got:
            return None
        rest = rest[got:]
    return buffer
