"""Values that cannot be stored: where they stand, what they are, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidDocument, InvalidStringData
from pymongo.errors import DocumentTooLarge

from .errors import EncodeError, MissingId

__all__ = ["ENCODING_ERRORS", "brief", "clearer", "unencodable", "unstorable"]

#: Raised while a document is turned into BSON, before anything is sent. (A UUID that the
#: client does not know how to store, and text with lone surrogates, are ValueErrors. PyMongo
#: before 4.20 has a SystemError for binary data of the subtype 255.)
ENCODING_ERRORS = (
    EncodeError,
    MissingId,
    InvalidDocument,
    InvalidStringData,
    OverflowError,
    RecursionError,
    SystemError,
    ValueError,
)

#: What to write instead, by package and name of a type or of one of its parents.
_WAYS_OUT = {
    "datetime.time": "write value.isoformat()",
    "datetime.timedelta": "write value.total_seconds()",
    "builtins.bytearray": "write bytes(value)",
    "builtins.memoryview": "write bytes(value)",
    "builtins.complex": "write [value.real, value.imag]",
    "builtins.range": "write list(value)",
    "builtins.generator": "write list(value)",
    "builtins.map": "write list(value)",
    "builtins.filter": "write list(value)",
    "builtins.zip": "write list(value)",
    "builtins.dict_keys": "write list(value)",
    "builtins.dict_values": "write list(value)",
    "builtins.dict_items": "write dict(value)",
    "builtins.function": "is a call missing?",
    "builtins.method": "is a call missing?",
    "builtins.builtin_function_or_method": "is a call missing?",
    "builtins.type": "is a call missing?",
    "builtins.coroutine": "is an await missing?",
    "collections.deque": "write list(value)",
    "collections.UserList": "write list(value)",
    "collections.UserString": "write str(value)",
    "array.array": "write value.tolist()",
    "fractions.Fraction": "write str(value), or a Decimal",
    "numpy.ndarray": "write value.tolist()",
    "numpy.timedelta64": "write value / numpy.timedelta64(1, 's')",
    "numpy.longdouble": "write float(value)",
    "numpy.complexfloating": "write [value.real, value.imag]",
    "numpy.void": "write a dict, or value.item()",
    "numpy.datetime64": "write a datetime of the years 1 to 9999, or None",
    "pandas.NaTType": "write None",
    "pandas.NAType": "write None",
    "pandas.Series": "write value.tolist()",
    "pandas.Index": "write value.tolist()",
    "pandas.Categorical": "write value.tolist()",
    "pandas.DataFrame": "write value.to_dict('records')",
}
#: The same of arrays whose `tolist()` would be bare numbers, by the kind of their dtype.
_WAYS_OUT_OF_TIMES = {
    "M": "write value.astype('datetime64[ms]').tolist()",
    "m": "write (value / numpy.timedelta64(1, 's')).tolist()",
}


def brief(value: Any) -> str:
    """Return the beginning of what a value looks like."""
    try:
        text = repr(value[:120] if isinstance(value, (str, bytes)) else value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def unstorable(value: Any) -> EncodeError:
    """Return the error for a value that has no stored form; it names no path."""
    way_out = "convert it, or register a codec with the client"
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        way_out = "write dataclasses.asdict(value), or make the class a SubFrame"
    for parent in kind.__mro__:
        name = f"{parent.__module__.partition('.')[0]}.{parent.__name__}"
        if name in _WAYS_OUT:
            way_out = _WAYS_OUT[name]
            if name == "numpy.ndarray":
                way_out = _WAYS_OUT_OF_TIMES.get(value.dtype.kind, way_out)
            break
    return EncodeError(
        f"expected a value that BSON can hold, got {brief(value)} of type {kind.__name__}; "
        f"{way_out}"
    )


def unencodable(
    place: str, document: Any, options: CodecOptions[Any], cause: Exception
) -> Exception:
    """Return the error that names the path of the first value that cannot be stored.

    Walks the document slowly, which is fine once encoding has failed. Gives `cause` back
    when every value can be stored, and the document is not too large.
    """
    failure = _first_failure(document, options)
    if failure is None and isinstance(cause, EncodeError):
        if str(cause).startswith((f"{place}:", f"{place}.")):
            return cause
        return EncodeError(f"{place}: {cause}")  # in the filter of a write, or in an option
    if failure is None:
        return _too_large(place, document, options, cause)
    names, value, reason = failure
    where = ".".join([place, *names])
    if isinstance(reason, MissingId):
        return MissingId(
            f"{where}: expected a stored frame as reference, got {brief(value)} without _id; "
            "insert it first"
        )
    return EncodeError(f"{where}: {_explained(value, reason)}")


def clearer(place: str, content: Any, options: CodecOptions[Any], error: Exception) -> Exception:
    """Return the error that names the value in `content` that cannot be stored."""
    found = unencodable(place, content, options, error)
    if found is error:
        raise error  # nothing more is known
    return found


def _explained(value: Any, reason: Exception) -> str:
    if isinstance(reason, EncodeError):
        return str(reason)
    if "UuidRepresentation" in str(reason):
        return (
            f"expected a client that says how UUIDs are stored, got {brief(value)}; "
            "connect with uuidRepresentation='standard'"
        )
    if isinstance(value, datetime):
        if value != value:
            return str(unstorable(value))
        return f"expected a datetime of the years 1 to 9999 in UTC, got {value!r}; write another"
    got = f"got {brief(value)} of type {type(value).__name__}"
    if isinstance(reason, UnicodeEncodeError):
        return (
            f"expected a value that BSON can hold, {got}, which UTF-8 cannot write; "
            "write bytes, or text.encode('utf-8', 'replace').decode()"
        )
    text = str(reason).partition(" | ")[0]
    return f"expected a value that BSON can hold, {got}: {text}"


#: Levels below which a value that is too deep is not looked into.
_DEEPEST = 200

_Failure = tuple[list[str], Any, Exception]


def _first_failure(value: Any, options: CodecOptions[Any]) -> _Failure | None:
    reason = _refusal(value, options)
    names: list[str] = []
    above = {id(value)}
    while reason is not None:
        key, member, inner = _failing_member(value, options)
        if inner is None:
            break
        names.append(str(key))
        value, reason = member, inner
        if member is key or (len(names) > _DEEPEST and isinstance(reason, RecursionError)):
            break
        if id(value) in above:
            text = f"expected a value that BSON can hold, got {brief(value)}, which holds itself"
            return names, value, EncodeError(f"{text}; leave out the circle")
        above.add(id(value))
    if reason is None:
        return None
    if isinstance(reason, RecursionError):
        text = f"expected at most 100 levels of documents and lists, got {len(names)} and more"
        return names[:1], value, EncodeError(f"{text}; store the inner ones apart")
    return names, value, reason


def _failing_member(value: Any, options: CodecOptions[Any]) -> tuple[Any, Any, Exception | None]:
    """Return the first member that cannot be stored, with its key and the error."""
    for key, member in _members(value):
        if not _is_key(key):
            return key, key, _bad_key(key)
        error = _refusal(member, options)
        if error is not None:
            return key, member, error
    return None, None, None


def _refusal(value: Any, options: CodecOptions[Any]) -> Exception | None:
    try:
        bson.encode({"": value}, codec_options=options)
    except (*ENCODING_ERRORS, TypeError) as error:
        return error
    return None


def _members(value: Any) -> Iterable[tuple[Any, Any]]:
    if getattr(type(value), "_is_subframe", False):
        value = value._document
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, (list, tuple, set, frozenset)):
        return ((str(index), member) for index, member in enumerate(value))
    return ()


def _is_key(key: Any) -> bool:
    if not isinstance(key, str) or "\0" in key:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_key(key: Any) -> EncodeError:
    return EncodeError(
        f"expected a key that BSON can hold, got {brief(key)}; use text without NUL "
        "and lone surrogates"
    )


def _too_large(place: str, content: Any, options: CodecOptions[Any], cause: Exception) -> Exception:
    """Return the error for a document that is too large, with the largest of its values."""
    if not isinstance(cause, DocumentTooLarge):
        return cause
    sizes = {
        str(key): len(bson.encode({"": member}, codec_options=options))
        for key, member in _members(content)
    }
    size = sum(sizes.values())
    largest = max(sizes, key=sizes.__getitem__, default="")
    return EncodeError(
        f"{place}: expected a document of at most 16 MB, got {size} bytes, of which "
        f"{sizes.get(largest, 0)} in {largest!r}; store large values in GridFS, or apart"
    )
