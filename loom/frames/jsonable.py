"""Documents as values that `json.dumps` takes."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal
from uuid import UUID

import bson
from bson.code import Code
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.regex import Regex
from bson.timestamp import Timestamp

from ..errors import EncodeError

__all__ = ["Datetimes", "jsonable", "redacted"]

#: `"text"`: `2024-03-10 12:00:00`, as in MongoFrames; `"iso"`: ISO 8601, nothing lost.
Datetimes = Literal["text", "iso"]


def jsonable(value: Any, datetimes: Datetimes, place: str) -> Any:
    """Return `value` as JSON-safe dicts, lists, text, numbers, booleans and None.

    Args:
        value: anything a document can hold, frames included.
        datetimes: the format of datetimes.
        place: class or path, for errors.

    Raises:
        EncodeError: a value that has no JSON form; the message names its path.
    """
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if kind is dict:
        return {str(k): jsonable(v, datetimes, f"{place}.{k}") for k, v in value.items()}
    if kind is list:
        return [jsonable(v, datetimes, f"{place}.{i}") for i, v in enumerate(value)]
    if getattr(kind, "_is_missing", False):
        return jsonable(value._id, datetimes, place)
    if getattr(kind, "_is_frame", False) or getattr(kind, "_is_subframe", False):
        return _document(value, datetimes, place)
    if isinstance(value, datetime):
        return _datetime(value, datetimes)
    if isinstance(value, bson.ObjectId | Decimal128 | Decimal | UUID | PurePath):
        return str(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Enum):
        return jsonable(value.value, datetimes, place)
    return _others(value, datetimes, place)


def _document(value: Any, datetimes: Datetimes, place: str) -> Any:
    try:
        # A class may have its own way, written when there was no choice of format.
        if datetimes == "text":
            return value.to_json_type()
        return value.to_json_type(datetimes=datetimes)
    except EncodeError as error:
        inner = str(error).removeprefix(type(value).__name__)
        raise EncodeError(f"{place}{inner}") from error


def _datetime(value: datetime, datetimes: Datetimes) -> str:
    if datetimes == "iso":
        # BSON takes a value without zone as UTC; said here so that nothing is lost.
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()
    return value.strftime("%Y-%m-%d %H:%M:%S")


def _others(value: Any, datetimes: Datetimes, place: str) -> Any:
    if isinstance(value, Mapping):
        return {str(k): jsonable(v, datetimes, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v, datetimes, f"{place}.{i}") for i, v in enumerate(value)]
    if isinstance(value, bytes):  # Binary too
        if isinstance(value, bson.Binary) and value.subtype in (3, 4) and len(value) == 16:
            return str(value.as_uuid(value.subtype))
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, Regex | re.Pattern):
        pattern = value.pattern
        return pattern if isinstance(pattern, str) else pattern.decode("utf-8", "backslashreplace")
    if isinstance(value, Timestamp):
        return _datetime(value.as_datetime(), datetimes)
    if isinstance(value, DBRef):
        return jsonable(dict(value.as_doc()), datetimes, place)
    if isinstance(value, bool | int | float | str):  # subclasses such as Int64
        base = next(b for b in (bool, int, float, str) if isinstance(value, b))
        return base(value)
    if isinstance(value, bson.DatetimeMS):
        return int(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return jsonable(value.tolist(), datetimes, place)
    if isinstance(value, MinKey | MaxKey):
        return type(value).__name__
    raise EncodeError(
        f"{place}: expected a value with a JSON form, got {value!r} of type "
        f"{type(value).__name__}; convert it first or declare the field in _private_fields"
    )


# Private paths

_Tree = dict[str, Any]
_NOTHING: Any = object()


def redacted(
    document: Mapping[str, Any], paths: Iterable[str], mark: Any = _NOTHING
) -> dict[str, Any]:
    """Return a document without the values at `paths`, or with `mark` in their place.

    A path goes on inside each document of a list, and of a map: a dict below the first
    level whose values are all documents. What holds no such value is not copied.

    >>> redacted({"lair": {"gold": 5, "name": "Cave"}}, {"lair.gold"})
    {'lair': {'name': 'Cave'}}
    """
    tree: _Tree = {}
    for path in sorted(paths):
        *above, last = path.split(".")
        branch: Any = tree
        for name in above:
            branch = None if branch is None else branch.setdefault(name, {})
        if branch is not None:
            branch[last] = None
    return _pruned(document, tree, mark) if tree else dict(document)


def _pruned(document: Mapping[str, Any], tree: _Tree, mark: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name not in tree:
            kept[name] = value
        elif tree[name] is not None:
            kept[name] = _inside(value, tree[name], mark)
        elif mark is not _NOTHING:
            kept[name] = mark
    return kept


def _inside(value: Any, tree: _Tree, mark: Any) -> Any:
    if isinstance(value, (list, tuple)):
        items = [_inside(item, tree, mark) for item in value]
        positions = {str(position): item for position, item in enumerate(items)}
        return [*_pruned(positions, tree, mark).values()]
    if isinstance(value, Mapping):
        is_map = bool(value) and all(map(_is_document, value.values()))
        inner = {k: _inside(v, tree, mark) for k, v in value.items()} if is_map else value
        return _pruned(inner, tree, mark)
    if _is_document(value):
        shown = object.__new__(type(value))
        shown._document = _pruned(value._document, tree, mark)
        return shown
    return value


def _is_document(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_document, value))
    kind = type(value)
    wrapped = getattr(kind, "_is_frame", False) or getattr(kind, "_is_subframe", False)
    return wrapped or isinstance(value, Mapping)
