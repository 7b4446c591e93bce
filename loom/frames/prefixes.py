"""Prefixes without case, as ranges that a case-insensitive index can answer.

No index answers a pattern that ignores case. Beside `startswith(text, ignore_case=True)` a range is
put that holds whatever the pattern matches, so that a server looks at the index first. The pattern
decides: a collation takes more texts for equal than a pattern does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .patterns import Quoted

__all__ = ["has_prefix", "is_simple", "with_ranges"]

#: Languages in which no two letters of ASCII, nor one with what follows it, sort as another letter.
_SIMPLE = frozenset(("de", "en", "fr", "it", "nl", "pt"))
_JOINING = ("$and", "$or")


def is_simple(collation: Mapping[str, Any]) -> bool:
    """Tell whether text that begins alike is together in the order of a collation."""
    language, *more = str(collation["locale"]).split("_")
    return (
        language in _SIMPLE
        and not any("@" in part for part in more)
        and not collation.get("numericOrdering")
        and collation.get("alternate", "non-ignorable") == "non-ignorable"
    )


def has_prefix(filter: Mapping[str, Any], paths: Collection[str]) -> bool:
    """Tell whether a filter asks one of some paths for a prefix without case."""
    return any(
        any(has_prefix(part, paths) for part in test)
        if path in _JOINING
        else path in paths and bool(_range(test))
        for path, test in filter.items()
    )


def with_ranges(filter: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Return a filter that finds the same, with ranges beside the prefixes of some paths.

    Args:
        filter: as the driver takes it; not changed.
        paths: the fields of an index with a simple collation, in which the query is to run.
    """
    made: dict[str, Any] = {}
    for path, test in filter.items():
        if path in _JOINING:
            made[path] = [with_ranges(part, paths) for part in test]
        else:
            made[path] = {**_range(test), **test} if path in paths and _range(test) else test
    return made


def _range(test: Any) -> dict[str, str]:
    """Return the range that holds whatever a test for a prefix matches; empty for other tests."""
    if type(test) is not dict or "i" not in test.get("$options", ""):
        return {}
    pattern = test.get("$regex")
    if not isinstance(pattern, Quoted) or not test.keys() <= {"$regex", "$options"}:
        return {}
    head = pattern.head
    if not head or not (head.isascii() and head.isprintable()):
        return {}
    end = _end(head)
    return {"$gte": head, "$lt": end} if end else {"$gte": head}


def _end(head: str) -> str:
    """Return a text that sorts behind all that begins with `head`; empty when there is none.

    Letters and digits are in the same order everywhere, signs are not; behind z there may be more.
    """
    for position in range(len(head) - 1, -1, -1):
        letter = head[position].lower()
        if letter.isalnum() and letter != "z":
            return head[:position] + ("a" if letter == "9" else chr(ord(letter) + 1))
    return ""
