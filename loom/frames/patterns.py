"""Text as regular expressions that mean the same to MongoDB (PCRE) and to Python.

Each function returns `{"$regex": text, "$options": flags}`, without `$options` when there are none. A
regex value is never sent as such: not every server matches one on an indexed field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bson.regex import Regex

from ..errors import QueryError

__all__ = ["Quoted", "containing", "ending", "globbing", "matching", "starting"]

# `$` alone also matches before a newline at the end of the text.
_END = r"$(?!\n)"
_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
# Python sets UNICODE on every text pattern; it is how MongoDB matches anyway.
_KNOWN = int(sum(_FLAGS) | re.UNICODE)


class Quoted(str):
    """A pattern that was made of text, which can be made of that text in another case."""

    __slots__ = ("_make", "_text")
    _make: Callable[[str, bool, str], dict[str, Any]]
    _text: str

    def __new__(cls, pattern: str, make: Callable[..., dict[str, Any]], text: str) -> Quoted:
        """Return a pattern that remembers how it was made."""
        made = super().__new__(cls, pattern)
        made._make = make
        made._text = text
        return made

    def in_case(self, case: Callable[[str], str]) -> str:
        """Return the pattern of the same text in another case."""
        pattern: str = self._make(case(self._text), False, "")["$regex"]
        return pattern

    def __reduce__(self) -> tuple[Any, ...]:
        return Quoted, (str(self), self._make, self._text)


def starting(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what begins with `text`; an index can answer it when case matters."""
    return _quoting(starting, text, "^" + _escape(text, place), ignore_case)


def ending(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what ends with `text`, to the last character."""
    return _quoting(ending, text, _escape(text, place) + _END, ignore_case)


def containing(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what holds `text`."""
    return _quoting(containing, text, _escape(text, place), ignore_case)


def globbing(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match the whole value, where `*` is any text and `?` any one character."""
    pieces = re.split(r"(\*+|\?)", _text(text, place))
    pattern = "".join(
        ".*" if piece.startswith("*") else "." if piece == "?" else _escape(piece, place)
        for piece in pieces
    )
    # A star at either end needs no pattern; without it a leading text can use an index.
    pattern = pattern[2:] if text.startswith("*") else f"^{pattern}"
    if text.endswith("*"):
        pattern = pattern[:-2]
    else:
        pattern += _END
    dots = "s" if "?" in text or "*" in text.strip("*") else ""
    return _quoting(globbing, text, pattern, ignore_case, dots)


def matching(
    pattern: str | re.Pattern[str] | Regex[Any], ignore_case: bool, place: str
) -> dict[str, Any]:
    """Match a regular expression; a compiled one brings its flags I, M, S and X."""
    flags = int(re.IGNORECASE) if ignore_case else 0
    source: Any = pattern
    if isinstance(pattern, (re.Pattern, Regex)):
        source = pattern.pattern
        flags |= int(pattern.flags)
    if not isinstance(source, str):
        raise QueryError(f"{place}: expected a pattern of text, got {pattern!r}")
    if "\0" in source:
        raise QueryError(f"{place}: a pattern cannot hold a null character; write it as \\x00")
    if flags & ~_KNOWN:
        raise QueryError(
            f"{place}: MongoDB knows the flags I, M, S and X, got {pattern!r}; leave out the others"
        )
    return _regex(source, "".join(letter for flag, letter in _FLAGS.items() if flags & flag))


def _text(text: str, place: str) -> str:
    if not isinstance(text, str):
        raise QueryError(f"{place}: expected text, got {text!r} of type {type(text).__name__}")
    return text


def _escape(text: str, place: str) -> str:
    # A pattern ends at a null character for MongoDB, and re.escape leaves it as it is.
    return re.escape(_text(text, place)).replace("\0", r"\x00")


def _quoting(
    make: Callable[..., dict[str, Any]], text: str, pattern: str, ignore_case: bool, flags: str = ""
) -> dict[str, Any]:
    return _regex(Quoted(pattern, make, text), ("i" if ignore_case else "") + flags)


def _regex(pattern: str, options: str) -> dict[str, Any]:
    return {"$regex": pattern, "$options": options} if options else {"$regex": pattern}
