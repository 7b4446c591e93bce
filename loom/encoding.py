"""How values become BSON: the codec fallback, and one stored form for every type.

The C encoder of PyMongo calls a `Fallback` only for types that it does not know, so that
ordinary documents are not walked in Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from pathlib import PurePath
from typing import Any
from uuid import UUID

import bson
from bson import ObjectId
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeRegistry
from bson.decimal128 import Decimal128, create_decimal128_context

from .datetimes import PLAIN, Naive, python_datetime, settle_datetimes, zoned
from .errors import EncodeError, MissingId
from .refusals import ENCODING_ERRORS, brief, clearer, unencodable, unstorable

__all__ = [
    "ENCODING_ERRORS",
    "PLAIN",
    "Naive",
    "clearer",
    "codec_options",
    "encode",
    "id_of",
    "in_order",
    "settle_datetimes",
    "unencodable",
]


def id_of(frame: Any) -> Any:
    """Return the `_id` that stands for a frame.

    Raises:
        MissingId: the frame was never stored.
    """
    id = frame._document.get("_id")
    if id is None:
        raise MissingId(
            f"{type(frame).__name__}: expected a stored frame as reference, "
            "got one without _id; insert it first"
        )
    return id


#: What the encoder takes as it is, subclasses too, beside PyMongo's own types.
_KNOWN = (str, int, float, bytes, type(None), datetime, list, tuple, Mapping, UUID, re.Pattern)
#: More steps than a value takes to its stored form.
_STEPS = 50


class Fallback:
    """Gives the stored form of a value that BSON does not know.

    Frames become their `_id`, SubFrames their document, sets lists in order, an Enum its
    value, Decimal a Decimal128, a date midnight UTC, a path its text, a NumPy scalar a number.

    Args:
        theirs: the user's own fallback; it has the first word on all but frames.
        encoded: types that the user's own codecs encode.
        naive: what a datetime without zone inside such a value means.
    """

    def __init__(
        self,
        theirs: Callable[[Any], Any] | None = None,
        encoded: Iterable[type] = (),
        naive: Naive = "utc",
    ) -> None:
        self.theirs = theirs
        self._encoded = frozenset(encoded)
        self._naive: Naive = naive

    def __call__(self, value: Any) -> Any:
        if getattr(type(value), "_is_subframe", False):
            return value._document
        # To the end: the encoder asks about a value only once.
        given = value
        asked: tuple[type, ...] = ()
        refusal: Exception | None = None
        for _ in range(_STEPS):
            kind: Any = type(value)
            if getattr(kind, "_is_frame", False):
                value = id_of(value)
                continue
            if getattr(kind, "_is_missing", False):
                value = value._id
                continue
            if getattr(kind, "_is_subframe", False):
                value, kind = value._document, dict
            if kind in self._encoded and value is not given:
                return value
            if _is_known(kind) and not _is_too_long(value):
                return value if self._naive == "utc" else zoned(value, self._naive)
            if self.theirs is not None and kind not in asked:
                asked = (*asked, kind)
                try:
                    theirs = self.theirs(value)
                except Exception as error:  # refused: ours hold, then the error names the path
                    refusal = error
                else:
                    if theirs is not value:
                        value = theirs
                        continue
            try:
                value = _stored(value)
            except EncodeError as error:
                if refusal is None:
                    raise
                raise EncodeError(f"{error} (the client's fallback: {refusal!r})") from refusal
        raise unstorable(given)


@lru_cache(maxsize=256)
def _is_known(kind: type) -> bool:
    # Asked once: Mapping looks through all that ever said it is one.
    return issubclass(kind, _KNOWN) or isinstance(getattr(kind, "_type_marker", None), int)


def _is_too_long(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _stored(value: Any) -> Any:
    """Return the next form of a value on its way to BSON."""
    if isinstance(value, (set, frozenset)):
        return in_order(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date):
        return datetime.combine(value, time(), timezone.utc)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, int):
        raise EncodeError(
            f"expected an integer of at most 64 bits, got {brief(value)}; store a Decimal or text"
        )
    # NumPy is imported where there is a value of its own.
    scalar = getattr(sys.modules.get("numpy"), "generic", None)
    if scalar is not None and isinstance(value, scalar):
        return _python_scalar(value)
    raise unstorable(value)


def _decimal(value: Decimal) -> Decimal128:
    if value.is_nan():
        if value.as_tuple().digits:
            raise EncodeError(f"expected a NaN without digits, got {value!r}; write Decimal('NaN')")
        return Decimal128(value)
    stored = Decimal128(create_decimal128_context().create_decimal(value))
    if stored.to_decimal() != value:
        raise EncodeError(
            f"expected a Decimal of at most 34 digits, got {brief(value)}; round it first"
        )
    return stored


def _python_scalar(value: Any) -> Any:
    """Return a scalar of NumPy as Python's own."""
    kind = value.dtype.kind
    found = python_datetime(value) if kind == "M" else value.item() if kind in "biuf" else None
    if type(found) not in (bool, int, float, datetime):  # long doubles stay what they are
        raise unstorable(value)
    return found


# Sets


def in_order(members: Iterable[Any]) -> list[Any]:
    """Return the members of a set in the order in which they are stored.

    Numbers by size, text by its characters, all else by its bytes: equal sets are stored
    alike, whatever their order in memory, and so found by each other.
    """
    listed = list(members)
    kinds = {*map(type, listed)}
    if kinds == {str} or kinds == {int}:
        return sorted(listed)
    if kinds == {ObjectId}:
        return sorted(listed, key=attrgetter("binary"))
    try:
        return sorted(listed, key=_rank) if len(listed) > 1 else listed
    except (*ENCODING_ERRORS, TypeError):
        return listed  # what is wrong with a member is said where it is encoded


def _rank(member: Any) -> tuple[Any, ...]:
    encoded = encode({"": member}, _RANKED)
    stored = bson.decode(encoded)[""]
    if isinstance(stored, Decimal128):
        stored = stored.to_decimal()
    is_number = isinstance(stored, (int, float, Decimal)) and type(stored) is not bool
    if is_number and stored == stored:
        return 0, stored, encoded
    return (1, stored, encoded) if isinstance(stored, str) else (2, encoded)


# Codecs


def codec_options(
    options: CodecOptions[Any], tz_aware: bool | None = None, naive: Naive = "utc"
) -> CodecOptions[dict[str, Any]]:
    """Return `options` with Loom's fallback in front of the one they hold already."""
    registry = options.type_registry
    theirs: Callable[[Any], Any] | None = registry._fallback_encoder
    encoders: Mapping[Any, Any] = registry._encoder_map
    if isinstance(theirs, Fallback):
        theirs = theirs.theirs
    else:
        encoders = {kind: _naming(kind, codec) for kind, codec in encoders.items()}
    ours = TypeRegistry(fallback_encoder=Fallback(theirs, encoders, naive))
    # The public constructor takes codecs, not a registry; their maps carry over.
    ours._encoder_map = dict(encoders)
    ours._decoder_map = registry._decoder_map
    changed: dict[str, Any] = {"type_registry": ours}
    if tz_aware is not None:
        changed["tz_aware"] = tz_aware
        if not tz_aware:
            changed["tzinfo"] = None
    return options.with_options(**changed)


def _naming(kind: type, codec: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a codec whose errors are told from those of the driver, so that they get a path."""

    def named(value: Any) -> Any:
        try:
            return codec(value)
        except Exception as error:
            raise EncodeError(
                f"expected a {kind.__name__} that its codec can store, got {brief(value)}: {error}"
            ) from error

    return named


DEFAULT_CODEC_OPTIONS: CodecOptions[dict[str, Any]] = codec_options(CodecOptions())
_RANKED = DEFAULT_CODEC_OPTIONS.with_options(uuid_representation=UuidRepresentation.STANDARD)


def encode(
    document: Mapping[str, Any], options: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS
) -> bytes:
    """Return a document as BSON, Loom's types included."""
    return bson.encode(document, codec_options=options)
