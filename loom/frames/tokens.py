"""Tokens: where a page ends, as text that fits into a URL.

A token holds the values by which its document is sorted, and says of which class, filter and sort
it is. It is signed where there is a secret; where there is none, a checksum finds what was damaged.
What it holds is encoded, not encrypted.

    version, flags | class, filter, sort: 4 bytes each | values as BSON | signature or checksum
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.regex import Regex

from ..encoding import encode
from ..errors import PageError

__all__ = ["Binding", "Position", "read_token", "token_of"]

_VERSION = 1
_INCLUSIVE = 1
_SIGNED = 2
_HEAD = 2
_DIGEST = 4
_VALUES = _HEAD + 3 * _DIGEST
_EMPTY_BSON = 5
_SIGNATURE = 16
_CHECKSUM = 4
#: Operators whose list means the same in any order.
_ANY_ORDER = frozenset(("$in", "$nin"))
_GROUPS = frozenset(("$and", "$or", "$nor"))
_AGAIN = "begin again with the first page"


class Position(NamedTuple):
    """A place in a sort order.

    Attributes:
        values: of the keys.
        inclusive: what has these values is on the next page, in either direction.
    """

    values: list[Any]
    inclusive: bool = False


class Binding(NamedTuple):
    """What a token belongs to: digests of class, filter and sort, and the secret that signs it."""

    place: str
    digests: tuple[bytes, bytes, bytes]
    size: int
    codecs: CodecOptions[Any]
    secret: bytes | None

    @classmethod
    def of(
        cls,
        frame_class: Any,
        query: Mapping[str, Any],
        keys: Sequence[tuple[str, int]],
        collation: Any,
        codecs: CodecOptions[Any],
        secret: str | bytes | None,
    ) -> Binding:
        """Return the binding of a query.

        Args:
            frame_class: that is asked.
            query: the filter, as the driver takes it.
            keys: the sort order.
            collation: of the query, as the driver takes it.
            codecs: how values are encoded.
            secret: None for a checksum instead of a signature.
        """
        name = f"{frame_class.__name__}\0{frame_class._collection}".encode()
        order = {"keys": list(keys), "collation": getattr(collation, "document", collation)}
        digests = (
            _digest(name),
            _digest(encode({"": _canonical(query, codecs)}, codecs)),
            _digest(encode(order, codecs)),
        )
        if isinstance(secret, str):
            secret = secret.encode()
        return cls(f"{frame_class.__name__}.page", digests, len(keys), codecs, secret)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_DIGEST]


def _canonical(query: Mapping[str, Any], codecs: CodecOptions[Any]) -> dict[str, Any]:
    """Return a filter in which the order of what has none is always the same."""
    return {key: _canonical_test(key, query[key], codecs) for key in sorted(query)}


def _canonical_test(key: str, test: Any, codecs: CodecOptions[Any]) -> Any:
    if key in _GROUPS and isinstance(test, (list, tuple)):
        return [_canonical(one, codecs) if isinstance(one, Mapping) else one for one in test]
    if key in _ANY_ORDER and isinstance(test, (list, tuple)):
        return sorted(test, key=lambda one: encode({"": one}, codecs))
    if isinstance(test, Mapping) and any(str(name)[:1] == "$" for name in test):
        return {name: _canonical_test(name, test[name], codecs) for name in sorted(test)}
    return test


# Writing


def token_of(binding: Binding, position: Position) -> str:
    """Return the token of a position."""
    flags = _INCLUSIVE * position.inclusive + _SIGNED * (binding.secret is not None)
    values = {str(number): value for number, value in enumerate(position.values)}
    content = b"".join([bytes((_VERSION, flags)), *binding.digests, encode(values, binding.codecs)])
    made = base64.urlsafe_b64encode(content + _seal(binding, content))
    return made.rstrip(b"=").decode()


def _seal(binding: Binding, content: bytes) -> bytes:
    if binding.secret is None:
        return hashlib.sha256(content).digest()[:_CHECKSUM]
    return hmac.digest(binding.secret, b"loom page token" + content, "sha256")[:_SIGNATURE]


# Reading


def read_token(binding: Binding, token: Any, name: str) -> Position:
    """Return the position that a token stands for.

    Args:
        binding: of the query that it was given to.
        token: from `Page.next` or `Page.previous`, perhaps by way of a stranger.
        name: of the argument, for messages.

    Raises:
        PageError: it was changed, or belongs to another query; the message says which.
    """
    place = f"{binding.place}: expected the token of a page in {name}="
    content = _whole(place, _decoded(place, token), binding)
    for what, found, expected in zip(
        ("class", "filter", "sort order"),
        (content[at : at + _DIGEST] for at in range(_HEAD, _VALUES, _DIGEST)),
        binding.digests,
        strict=True,
    ):
        if found != expected:
            hint = " or collation" if what == "sort order" else ""
            raise PageError(
                f"{place}, got one that belongs to another {what}{hint}; pass the same "
                f"class, filter and sort as for its page, or {_AGAIN}"
            )
    try:
        values = [*bson.decode(content[_VALUES:], binding.codecs).values()]
    except (BSONError, ValueError, OverflowError, RecursionError):
        values = []
    if len(values) != binding.size or any(isinstance(value, (list, Regex)) for value in values):
        raise PageError(f"{place}, got one whose values are none of a page; {_AGAIN}")
    return Position(values, bool(content[1] & _INCLUSIVE))


def _decoded(place: str, token: Any) -> bytes:
    if not isinstance(token, str):
        raise PageError(
            f"{place}, which is text, got {type(token).__name__}; pass on Page.next or "
            "Page.previous as it is"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]*", token):
        raise PageError(f"{place}, got text with characters that none has; {_AGAIN}")
    try:
        content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error:
        raise PageError(f"{place}, got one that was cut; {_AGAIN}") from None
    if content and content[0] != _VERSION:
        raise PageError(
            f"{place}, got text that is none, or one of another version of Loom; {_AGAIN}"
        )
    return content


def _whole(place: str, content: bytes, binding: Binding) -> bytes:
    """Return the content without its signature or checksum, which is right."""
    if len(content) < _VALUES + _EMPTY_BSON:
        raise PageError(f"{place}, got one that was cut; {_AGAIN}")
    is_signed = bool(content[1] & _SIGNED)
    size = _VALUES + int.from_bytes(content[_VALUES : _VALUES + 4], "little")
    size += _SIGNATURE if is_signed else _CHECKSUM
    if len(content) < size:
        raise PageError(f"{place}, got one that was cut or changed; {_AGAIN}")
    if is_signed and binding.secret is None:
        raise PageError(
            f"{place}, got one that is signed where no secret is set; set page_secret of "
            "loom.connect() as where it was made"
        )
    if binding.secret is not None and not is_signed:
        raise PageError(f"{place}, got one without signature where a secret is set; {_AGAIN}")
    end = len(content) - (_SIGNATURE if is_signed else _CHECKSUM)
    if not hmac.compare_digest(content[end:], _seal(binding, content[:end])):
        other = ", or was signed with another secret" if is_signed else ""
        raise PageError(f"{place}, got one that was changed{other}; {_AGAIN}")
    return content[:end]
