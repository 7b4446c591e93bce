"""How values become BSON: the codec fallback, datetimes, and the path of what cannot be stored.

The C encoder of PyMongo calls a `Fallback` only for types that it does not know, so that
ordinary documents are not walked in Python.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal

import bson
from bson.codec_options import CodecOptions, TypeRegistry
from bson.decimal128 import Decimal128, create_decimal128_context
from bson.errors import InvalidDocument, InvalidStringData

from .errors import EncodeError, MissingId

__all__ = [
    "ENCODING_ERRORS",
    "Naive",
    "codec_options",
    "encode",
    "id_of",
    "settle_datetimes",
    "unencodable",
]

#: What to do with a datetime that has no zone.
Naive = Literal["utc", "refuse"] | tzinfo

#: Raised while a document is turned into BSON, before anything is sent. (A UUID that the
#: client does not know how to store, and text with lone surrogates, are ValueErrors.)
ENCODING_ERRORS = (
    EncodeError,
    MissingId,
    InvalidDocument,
    InvalidStringData,
    OverflowError,
    RecursionError,
    ValueError,
)


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


class Fallback:
    """Gives the stored form of a value that BSON does not know.

    Frames become their `_id`, SubFrames their document, sets lists, an Enum its value,
    Decimal a Decimal128, a date midnight UTC, a path its text, a NumPy scalar a number.

    Args:
        theirs: the user's own fallback; it has the first word on all but frames.
        encoded: types that the user's own codecs encode.
    """

    def __init__(
        self, theirs: Callable[[Any], Any] | None = None, encoded: Iterable[type] = ()
    ) -> None:
        self._theirs = theirs
        self._encoded = frozenset(encoded)

    def __call__(self, value: Any) -> Any:
        stored = self._stored(value)
        if stored is value:
            stored = self._by_theirs(value)
        if stored is not value:
            return stored
        if isinstance(value, int):
            raise EncodeError(
                f"expected an integer of at most 64 bits, got {value!r}; store a Decimal or text"
            )
        raise EncodeError(
            f"expected a value that BSON can hold, got {_brief(value)} of type "
            f"{type(value).__name__}; convert it, or register a codec with the client"
        )

    def _stored(self, value: Any) -> Any:
        # To the end: the encoder asks about a value only once.
        kind = type(value)
        if kind in self._encoded:
            return value
        if getattr(kind, "_is_subframe", False):
            return value._document
        if getattr(kind, "_is_frame", False):
            return self._stored(id_of(value))
        if getattr(kind, "_is_missing", False):
            return self._stored(value._id)
        if not isinstance(value, _OURS) and not _is_numpy_scalar(value):
            return value
        theirs = self._by_theirs(value)
        return self._by_ours(value) if theirs is value else theirs

    def _by_theirs(self, value: Any) -> Any:
        if self._theirs is None:
            return value
        try:
            return self._theirs(value)
        except Exception:
            return value  # refused: the error names the path

    def _by_ours(self, value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            return list(value)
        if isinstance(value, Enum):
            return self._stored(value.value)
        if isinstance(value, Decimal):
            return _decimal(value)
        if isinstance(value, datetime):
            return value
        if isinstance(value, date):
            return datetime.combine(value, time(), timezone.utc)
        if isinstance(value, PurePath):
            return str(value)
        if type(value).__name__ == "datetime64":
            value = value.astype("datetime64[ms]")
        return self._stored(value.item())


_OURS = (set, frozenset, Enum, Decimal, date, PurePath)


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0


def _decimal(value: Decimal) -> Decimal128:
    stored = Decimal128(create_decimal128_context().create_decimal(value))
    if stored.to_decimal() != value and not value.is_nan():
        raise EncodeError(f"expected a Decimal of at most 34 digits, got {value!r}; round it first")
    return stored


def codec_options(
    options: CodecOptions[Any], tz_aware: bool | None = None
) -> CodecOptions[dict[str, Any]]:
    """Return `options` with Loom's fallback in front of the one they hold already."""
    registry = options.type_registry
    theirs: Callable[[Any], Any] | None = registry._fallback_encoder
    ours = registry
    if not isinstance(theirs, Fallback):
        ours = TypeRegistry(fallback_encoder=Fallback(theirs, registry._encoder_map))
        # The public constructor takes codecs, not a registry; their maps carry over as they are.
        ours._encoder_map = registry._encoder_map
        ours._decoder_map = registry._decoder_map
    changed: dict[str, Any] = {"type_registry": ours}
    if tz_aware is not None:
        changed["tz_aware"] = tz_aware
        if not tz_aware:
            changed["tzinfo"] = None
    return options.with_options(**changed)


DEFAULT_CODEC_OPTIONS: CodecOptions[dict[str, Any]] = codec_options(CodecOptions())


def encode(
    document: Mapping[str, Any], options: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS
) -> bytes:
    """Return a document as BSON, Loom's types included."""
    return bson.encode(document, codec_options=options)


# Naming the value that cannot be stored


def unencodable(
    place: str, document: Any, options: CodecOptions[Any], cause: Exception
) -> Exception:
    """Return the error that names the path of the first value that cannot be stored.

    Walks the document slowly, which is fine once encoding has failed. Gives `cause` back
    when every value can be stored (a document that is too large, say).
    """
    failure = _first_failure(document, options)
    if failure is None:
        return cause
    path, value, reason = failure
    where = ".".join([place, *path])
    if isinstance(reason, MissingId):
        return MissingId(
            f"{where}: expected a stored frame as reference, got {_brief(value)} without _id; "
            "insert it first"
        )
    text = str(reason).partition(" | ")[0]
    if type(value).__name__ == "UUID":
        text = (
            f"expected a client that says how UUIDs are stored, got {value!r}; "
            "connect with uuidRepresentation='standard'"
        )
    elif not isinstance(reason, EncodeError):
        text = (
            f"expected a value that BSON can hold, got {_brief(value)} of type "
            f"{type(value).__name__}: {text}"
        )
    return EncodeError(f"{where}: {text}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _first_failure(
    value: Any, options: CodecOptions[Any], above: frozenset[int] = frozenset()
) -> tuple[tuple[str, ...], Any, Exception] | None:
    try:
        bson.encode({"": value}, codec_options=options)
        return None
    except (*ENCODING_ERRORS, TypeError) as error:
        reason: Exception = error
    inner = value._document if getattr(type(value), "_is_subframe", False) else value
    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(inner, Mapping):
        members = inner.items()
    elif isinstance(inner, (list, tuple, set, frozenset)):
        members = enumerate(inner)
    above |= {id(value)}
    for key, member in members:
        if id(member) in above:  # the document holds itself
            return (str(key),), member, reason
        found = _first_failure(member, options, above)
        if found is not None:
            return (str(key), *found[0]), found[1], found[2]
        if isinstance(inner, Mapping) and not _is_key(key):
            return (
                (str(key),),
                key,
                EncodeError(
                    f"expected a key that BSON can hold, got {key!r}; use text without NUL"
                ),
            )
    return (), value, reason


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and "\0" not in key


# Datetimes

#: Values of these types hold no datetime.
PLAIN = frozenset(
    {str, int, float, bool, type(None), bytes, bson.ObjectId, Decimal128, bson.Int64, bson.Binary}
)


def settle_datetimes(document: dict[str, Any], naive: Naive, place: str) -> None:
    """Cut datetimes to the milliseconds that MongoDB keeps, in place.

    Args:
        document: changed where it holds datetimes that cannot be stored as they are.
        naive: `"utc"` leaves naive values, which BSON takes as UTC; `"refuse"` refuses them;
            a zone makes them aware in it.
        place: class or path, for errors.

    Raises:
        EncodeError: a naive value, and `naive` is `"refuse"`.
    """
    if not PLAIN.issuperset(map(type, document.values())):
        # A document that holds itself: the encoder refuses it, and its path is named there.
        with contextlib.suppress(RecursionError):
            _settle_values(document, naive, place)


def _settle_values(document: dict[str, Any], naive: Naive, place: str) -> None:
    for key, value in document.items():
        if type(value) not in PLAIN:
            settled = _settle(value, naive, place, key)
            if settled is not value:
                document[key] = settled


def _settle(value: Any, naive: Naive, place: str, key: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None and naive != "utc":
            value = _aware(value, naive, f"{place}.{key}")
        if value.microsecond % 1000:
            value = value.replace(microsecond=value.microsecond // 1000 * 1000)
    elif getattr(type(value), "_is_subframe", False):
        _settle_values(value._document, naive, f"{place}.{key}")
    elif isinstance(value, dict):
        _settle_values(value, naive, f"{place}.{key}")
    elif isinstance(value, list):
        if not PLAIN.issuperset(map(type, value)):
            for index, member in enumerate(value):
                if type(member) not in PLAIN:
                    settled = _settle(member, naive, f"{place}.{key}", index)
                    if settled is not member:
                        value[index] = settled
    elif isinstance(value, (tuple, set, frozenset)):
        members = [_settle(member, naive, f"{place}.{key}", i) for i, member in enumerate(value)]
        if any(new is not old for new, old in zip(members, value, strict=True)):
            return members if hasattr(value, "_fields") else type(value)(members)
    elif isinstance(value, Mapping):
        copied = dict(value)
        _settle_values(copied, naive, f"{place}.{key}")
        return value if all(copied[name] is value[name] for name in copied) else copied
    return value


def _aware(value: datetime, naive: Naive, path: str) -> datetime:
    if isinstance(naive, tzinfo):
        return value.replace(tzinfo=naive)
    raise EncodeError(
        f"{path}: expected a datetime with a zone, got {value!r}; "
        "write value.replace(tzinfo=...), or connect with naive='utc'"
    )
