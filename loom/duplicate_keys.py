"""What a server says of a duplicate key: the index, its fields and the values.

Servers from 4.2 on say it in `keyPattern` and `keyValue`. Older ones, and some that only speak
MongoDB's protocol, write it into a message; its known forms are read here, and what cannot be
read is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID

from bson import ObjectId

__all__ = ["Key", "duplicate_key"]


class Key(NamedTuple):
    """The key that is there already."""

    #: of the index
    name: str | None
    #: paths of the index, in its order; empty when they are not known
    fields: tuple[str, ...]
    #: what is known of the values, by path
    values: dict[str, Any]
    #: the key as the server wrote it
    text: str
    #: what the index takes for equal, when that is not what is spelt equal
    collation: str


# The patterns are compiled when they are first used: most programs never meet a duplicate.

#: `index: zoo.Dragon.$name_1  dup key: {...}` of 3.x, `collection: zoo.Dragon index: name_1
#: collation: {...} dup key: {...}` of 4.x; some servers leave out the key.
_INDEX = (
    r"(?s)index: +(?:\S+?\.\$)?(?P<index>\S.*?)"
    r"(?: +collation: \{ *(?P<collation>[^}]*)\})?(?: +dup key: *(?P<key>\{.*)|, full error: .*|$)"
)
_LOCALE = r'locale: "([^"]*)"'
_STRENGTH = r"strength: (\d)"
#: How indexes are named by default: `lair.name_1_age_-1`.
_NAMED = r"(?s)(?P<path>.+?)_(?:-?1|2d|2dsphere|hashed|text)(?:_|$)"
#: What stands for a text that an index with a collation holds.
_HIDDEN = "CollationKey("
_ENTRY = r'\s*(?P<name>[^\s"\'{\[][^"\'{\[]*?|):\s'
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NOTHING: Any = object()


def duplicate_key(details: Mapping[str, Any], message: str, written: Any = None) -> Key:
    """Return what is known of a duplicate key; never raises.

    Args:
        details: the server's error document, as far as there is one.
        message: the error's message, when `details` holds none.
        written: the document that was to be written, or what an update was to set.
    """
    said = details.get("errmsg")
    found = re.search(_INDEX, said if isinstance(said, str) and said else message)
    index = found["index"].strip() if found else None
    text = _key_text(found["key"] or "") if found else ""
    pattern, given = details.get("keyPattern"), details.get("keyValue")
    values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if isinstance(pattern, Mapping) and pattern:
        fields = tuple(pattern)
    else:
        if not values:
            values = _named(index, [*_entries(text)])
        fields = tuple(values) or tuple(_names(index))
    for path in fields:
        if _is_unknown(values.get(path, _NOTHING)):
            value = _looked_up(written, path)
            if value is not _NOTHING:
                values[path] = value
    if values:
        values = {path: values.get(path) for path in fields}
    return Key(index, fields, values, text, _collation(details, found and found["collation"]))


def _is_unknown(value: Any) -> bool:
    return value is _NOTHING or (isinstance(value, str) and value.startswith(_HIDDEN))


def _collation(details: Mapping[str, Any], said: str | None) -> str:
    given = details.get("collation")
    if isinstance(given, Mapping):
        locale, strength = given.get("locale"), given.get("strength")
    else:
        locale, strength = (
            match and match[1] for match in (re.search(p, said or "") for p in (_LOCALE, _STRENGTH))
        )
    if not locale or locale == "simple":
        return ""
    return f"collation {locale}" + (f", strength {strength}" if strength else "")


def _looked_up(written: Any, path: str) -> Any:
    """Return the value of a path in what was written, as far as no list is on the way."""
    if not isinstance(written, Mapping):
        return _NOTHING
    if path in written:  # an update names dotted paths
        return written[path]
    head, dot, rest = path.partition(".")
    if not dot or head not in written:
        return _NOTHING
    inner = written[head]
    return _looked_up(getattr(inner, "_document", inner), rest)


def _names(index: str | None) -> list[str]:
    """Return the fields that an index of a default name has; none for any other name."""
    if index == "_id_":
        return ["_id"]
    names = []
    end = 0
    for found in re.finditer(_NAMED, index or ""):
        names.append(found["path"])
        end = found.end()
    return names if index and end == len(index) else []


def _named(index: str | None, entries: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in entries]
    if not all(names):
        names = _names(index)  # before 4.2 a message has no names: `{ : "Burt", : 5 }`
    if len(names) != len(entries):
        return {}
    return dict(zip(names, (value for _, value in entries), strict=True))


def _key_text(text: str) -> str:
    """Return the braces at the beginning of a text, with what is in them."""
    for end, depth in _scanned(text):
        if depth == 0:
            return text[: end + 1]
    return ""


def _scanned(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places outside of quotes, each with how many brackets are open after it."""
    depth = 0
    quoted = ""
    for place, letter in enumerate(text):
        if quoted:
            # Servers do not escape quotes: one that ends a value stands before what follows it.
            if letter == quoted and text[place + 1 : place + 2] in ("", ",", " ", ")", "}", "]"):
                quoted = ""
            continue
        if letter in "\"'":
            quoted = letter
        elif letter in "{[(":
            depth += 1
        elif letter in "}])":
            depth -= 1
        yield place, depth


def _split(text: str) -> Iterator[str]:
    """Yield what commas separate, outside of quotes and brackets."""
    start = 0
    for place, depth in _scanned(text):
        if depth == 0 and text[place] == ",":
            yield text[start:place]
            start = place + 1
    if text[start:].strip():
        yield text[start:]


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of `{ name: "Burt", age: 5 }`; old servers write no names."""
    for entry in _split(text.strip()[1:-1]):
        found = re.match(_ENTRY, entry)
        name = found["name"].strip() if found else ""
        yield name, _value(entry[found.end() if found else 0 :].strip())


def _value(text: str) -> Any:
    """Return the value that a server writes so; the text itself when that is not known."""
    try:
        return _read_value(text)
    except (ArithmeticError, ValueError, RecursionError):
        return text


_WORDS: dict[str, Any] = {"null": None, "undefined": None, "true": True, "false": False}
_CALL = r"(?P<kind>ObjectId|UUID|new Date|Date)\(['\"]?(?P<of>[^'\")]*)['\"]?\)"


def _read_value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text[:1] == "{" and text[-1:] == "}":
        return dict(_entries(text))
    if text[:1] == "[" and text[-1:] == "]":
        return [value for _, value in _entries(text)]
    called = re.fullmatch(_CALL, text)
    if called is None:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    if called["kind"] == "ObjectId":
        return ObjectId(called["of"]) if ObjectId.is_valid(called["of"]) else text
    if called["kind"] == "UUID":
        return UUID(called["of"])
    return _EPOCH + timedelta(milliseconds=int(called["of"]))
