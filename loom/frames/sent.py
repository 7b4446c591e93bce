"""What a frame that was stored in a batch remembers: the BSON of its document, as it was sent.

`save` must tell whether a container was edited since it was stored. A frame stored alone keeps
copies of its containers; for a batch these would cost more than the whole write. The message held
them anyway, and few frames are saved again: what they hold is unpacked when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

from .tracking import Kept, Tracked, is_fixed

__all__ = ["SMALL", "Sent", "keep_sent"]

#: What is larger, in bytes, is not kept: it may hold long texts, which copies share.
SMALL = 1 << 14

_blank = dict.__new__
#: Reads what is compared only; a date beyond Python's years is no error.
_COMPARED: CodecOptions[Any] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Sent(Tracked):
    """Nothing was assigned, and no container read; but there is what was sent of them."""

    __slots__ = ("_counters", "_document", "_encoded", "_read")

    #: a new frame was not loaded
    loaded: Any = None
    _counters: dict[str, Any]
    _document: Mapping[str, Any]
    _encoded: bytes
    _read: dict[str, Kept]

    @property
    def counters(self) -> dict[str, Any]:
        """What counters were before something was added, by name."""
        try:
            return self._counters
        except AttributeError:
            found: dict[str, Any] = {}
            self._counters = found
            return found

    @counters.setter
    def counters(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, counters: dict[str, Any]
    ) -> None:
        self._counters = counters

    @property
    def read(self) -> dict[str, Kept]:
        """The containers, each with what was sent of it, by name."""
        try:
            return self._read
        except AttributeError:
            sent = bson.decode(self._encoded, _COMPARED)
            found = {
                name: Kept(value, sent[name])
                for name, value in self._document.items()
                if name in sent and name != "_id" and not is_fixed(value)
            }
            self._read = found
            self._encoded = b""
            return found

    @read.setter
    def read(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, read: dict[str, Kept]
    ) -> None:
        self._read = read
        self._encoded = b""


def keep_sent(
    frames: Sequence[Any], encoded: Sequence[bytes], names: Iterable[str]
) -> Iterator[int]:
    """Have frames that hold some fields remember what was sent of them.

    Args:
        frames: nothing is tracked of them yet.
        encoded: their documents as they were sent; of the first ones at least.
        names: of the fields.

    Yields:
        The positions of the frames that must remember it in another way.
    """
    empty: dict[Any, list[None]] = {}
    for position, (frame, sent) in enumerate(zip(frames, encoded, strict=False)):
        document = frame._document
        if document.keys().isdisjoint(names):
            continue
        if len(sent) > SMALL:
            yield position
            continue
        kind = type(frame)
        flags = empty.get(kind)
        if flags is None:
            length = max(kind._definition.positions.values(), default=0)
            flags = empty[kind] = [None] * length
        tracked = _blank(Sent)
        tracked._document = document
        tracked._encoded = sent
        frame._state = [tracked, *flags]
    yield from range(len(encoded), len(frames))
