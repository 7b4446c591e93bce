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
#: How many bytes a pattern may have: what MongoDB takes.
_LONGEST = 32_764
#: What `glob` does not take literally: stars, a question mark, and characters in brackets, among
#: which a closing one stands first. A bracket that is not closed is literal.
_SIGNS = r"(\*+|\?|\[(?:!(?:\][^\]]*|[^\]]+)|\][^\]]*|[^\]!][^\]]*)\])"


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

    @property
    def head(self) -> str:
        """The text that whatever matches begins with; empty when it may begin with anything."""
        if self._make is starting:
            return self._text
        return re.split(_SIGNS, self._text, maxsplit=1)[0] if self._make is globbing else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return Quoted, (str(self), self._make, self._text)


def starting(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what begins with `text`; an index can answer it when case matters."""
    return _quoting(starting, text, "^" + _escape(text, place), ignore_case, place)


def ending(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what ends with `text`, to the last character."""
    return _quoting(ending, text, _escape(text, place) + _END, ignore_case, place)


def containing(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match what holds `text`."""
    return _quoting(containing, text, _escape(text, place), ignore_case, place)


def globbing(text: str, ignore_case: bool, place: str) -> dict[str, Any]:
    """Match the whole value: `*` is any text, `?` any character, `[a-z]` one of these.

    As in Python's `fnmatch`, `[!a-z]` is any other character, and what `glob.escape` returns
    is literal.
    """
    # Literal texts, and between them signs.
    pieces = re.split(_SIGNS, _text(text, place))
    signs = pieces[1::2]
    made = [
        _sign(piece, place) if number % 2 else _escape(piece, place)
        for number, piece in enumerate(pieces)
    ]
    # A star at either end needs no pattern; without it a leading text can use an index.
    opens = len(pieces) > 1 and pieces[0] == "" and pieces[1][0] == "*"
    closes = len(pieces) > 1 and pieces[-1] == "" and pieces[-2][0] == "*"
    first, last = (2 if opens else 0), len(made) - (2 if closes else 0)
    pattern = ("" if opens else "^") + "".join(made[first:last]) + ("" if closes else _END)
    inner = signs[1 if opens else 0 : len(signs) - (1 if closes else 0)]
    dots = "s" if any(sign[0] != "[" for sign in inner) else ""
    return _quoting(globbing, text, pattern, ignore_case, place, dots)


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
    options = "".join(letter for flag, letter in _FLAGS.items() if flags & flag)
    return _regex(source, options, place)


def _sign(sign: str, place: str) -> str:
    """Return the pattern of what `glob` does not take literally."""
    if sign[0] != "[":
        return "." if sign == "?" else ".*"
    is_negated = sign[1] == "!"
    body = sign[2 if is_negated else 1 : -1]
    members = []
    at = 0
    while at < len(body):
        low, high = body[at], body[at + 2 : at + 3]
        if body[at + 1 : at + 2] != "-" or not high:
            members.append(_escape(low, place))
            at += 1
            continue
        if low > high:
            raise QueryError(
                f"{place}: expected ranges from low to high, got {low}-{high} in {sign!r}; "
                "glob.escape() makes any text literal"
            )
        members.append(f"{_escape(low, place)}-{_escape(high, place)}")
        at += 3
    return f"[{'^' if is_negated else ''}{''.join(members)}]"


def _text(text: str, place: str) -> str:
    if not isinstance(text, str):
        raise QueryError(f"{place}: expected text, got {text!r} of type {type(text).__name__}")
    return text


def _escape(text: str, place: str) -> str:
    # A pattern ends at a null character for MongoDB, and re.escape leaves it as it is.
    return re.escape(_text(text, place)).replace("\0", r"\x00")


def _quoting(
    make: Callable[..., dict[str, Any]],
    text: str,
    pattern: str,
    ignore_case: bool,
    place: str,
    flags: str = "",
) -> dict[str, Any]:
    return _regex(Quoted(pattern, make, text), ("i" if ignore_case else "") + flags, place)


def _regex(pattern: str, options: str, place: str) -> dict[str, Any]:
    size = len(pattern.encode(errors="surrogatepass")) if len(pattern) > _LONGEST // 4 else 0
    if size > _LONGEST:
        raise QueryError(
            f"{place}: expected a text that makes a pattern of at most {_LONGEST:,} bytes, which "
            f"is what MongoDB takes, got {size:,}; look for a shorter part of it"
        )
    return {"$regex": pattern, "$options": options} if options else {"$regex": pattern}
