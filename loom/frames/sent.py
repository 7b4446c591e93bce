"""A document of a batch as the BSON that was sent, which is also what its frame remembers of it.

`save` must tell whether a container was edited since it was stored. A frame stored alone keeps
copies of its containers; for a batch these would cost more than the whole write. The BSON is
needed anyway, and few frames are saved again: what it holds is unpacked when it is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from ..encoding import ENCODING_ERRORS, encode
from .changes import COMPARED
from .tracking import Kept, Tracked, is_fixed

__all__ = ["Sent", "encoded", "plain"]

#: What is larger, in bytes, is not kept: it may hold long texts, which copies share.
_SMALL = 1 << 14

#: Where the first member begins in a document that holds a list under an empty name: behind two
#: sizes, a type and a name's end.
_MEMBERS = 10
_size_at = struct.Struct("<i").unpack_from


class Sent(bytes):
    """The BSON of a document, which PyMongo's encoder takes as a document.

    Without attributes of its own it is nothing that the garbage collector looks at. It stands as
    `_state` of a frame until something is asked of what is tracked.
    """

    __slots__ = ()

    #: tells the encoder that `raw` is the document
    _type_marker = RawBSONDocument._type_marker

    @property
    def raw(self) -> bytes:
        """The BSON."""
        return self

    def __repr__(self) -> str:
        return repr(bson.decode(self, COMPARED))  # in the text of the driver's errors

    def tracked(self, document: Mapping[str, Any]) -> Tracked:
        """Return what is tracked of a frame that was sent so: nothing was assigned since."""
        return _Unread(self, document)


class _Unread(Tracked):
    """Unpacks what the containers were when it is asked for `read`."""

    __slots__ = ("_document", "_sent")

    def __init__(self, sent: bytes, document: Mapping[str, Any]) -> None:
        super().__init__()
        self._sent = sent
        self._document = document
        del self.read

    def __getattr__(self, name: str) -> Any:
        if name != "read":
            raise AttributeError(name)
        sent = bson.decode(self._sent, COMPARED)
        self.read = {
            name: Kept(value, sent[name])
            for name, value in self._document.items()
            if name in sent and name != "_id" and not is_fixed(value)
        }
        self._sent = b""
        return self.read


def encoded(documents: list[dict[str, Any]], options: CodecOptions[Any]) -> list[Any]:
    """Return documents as `Sent`, or as they are: those that are large or cannot be encoded.

    Args:
        documents: at least one, each with its `_id` first, as it is stored.
        options: of the collection.
    """
    try:
        if len(encode(documents[0], options)) > _SMALL:
            return documents
        together = encode({"": documents}, options)  # one call to the encoder
    except (*ENCODING_ERRORS, TypeError):
        return documents  # the driver is to say why
    made: list[Any] = []
    position = _MEMBERS
    for index, document in enumerate(documents):
        start = position + len(str(index)) + 2  # behind its type and its name
        position = start + _size_at(together, start)[0]
        is_small = position - start <= _SMALL
        made.append(Sent(together[start:position]) if is_small else document)
    return made


def plain(document: Any) -> Any:
    """Return a document in a form that all of PyMongo takes."""
    return RawBSONDocument(bytes(document)) if type(document) is Sent else document
