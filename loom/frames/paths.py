"""Dotted paths in nested documents and lists.

A path is text such as `lair.gold` or `loot.0.value`. Where a list is met, a number is an index and
any other name reads on in each document of the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

from ..errors import QueryError

__all__ = [
    "MISSING",
    "Absent",
    "ancestors",
    "is_ancestor",
    "lookup",
    "lookup_all",
    "remove",
    "split",
    "without_descendants",
]


class Absent(Enum):
    """The type of `MISSING`, which tells an absent value from a null one."""

    MISSING = "MISSING"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Absent.MISSING


def split(path: str) -> list[str]:
    """Return the names in `path`.

    Raises:
        QueryError: not text, empty, an empty name between dots, or a null character.

    >>> split("lair.gold")
    ['lair', 'gold']
    """
    if not isinstance(path, str):
        raise QueryError(
            f"path: expected text such as 'lair.gold', got {path!r} of type {type(path).__name__}"
        )
    names = path.split(".")
    if "" in names:
        raise QueryError(f"path: expected names joined by single dots, got {path!r}")
    if "\0" in path:
        raise QueryError(f"path: expected text without null characters, got {path!r}")
    return names


def lookup(document: Any, path: str) -> Any:
    """Return the value at `path`, or MISSING.

    It reads through dicts, sub-frames and, by number, lists; `lookup_all` also reads every item.

    >>> lookup({"loot": [{"value": 3}]}, "loot.0.value")
    3
    >>> lookup({"loot": [{"value": 3}]}, "loot.value")
    MISSING
    """
    value = document
    for name in path.split("."):
        value = _step(_unwrapped(value), name)
        if value is MISSING:
            return MISSING
    return value


def lookup_all(document: Any, path: str) -> list[Any]:
    """Return every value at `path`, reading on in each item of the lists on the way.

    A list at the very end of the path is one value.

    >>> lookup_all({"loot": [{"value": 3}, {}, {"value": [1, 2]}]}, "loot.value")
    [3, [1, 2]]
    """
    found: list[Any] = []
    _collect(document, path.split("."), 0, found)
    return found


def remove(document: Any, path: str) -> None:
    """Remove what is at `path` from `document`, also in each document of a list or of a map.

    A map is a dict whose values are all documents, or lists of them. It is searched value by value
    only where it has no key of the name looked for, and never at the first name of the path.

    >>> lair = {"loot": [{"value": 3}], "staff": {"cook": {"name": "Ann", "pay": 5}}}
    >>> remove(lair, "loot.value"), remove(lair, "staff.pay"), lair
    (None, None, {'loot': [{}], 'staff': {'cook': {'name': 'Ann'}}})
    """
    _remove(document, path.split("."), 0, maps=False)


def ancestors(path: str) -> list[str]:
    """Return the paths that hold `path`, the shortest first.

    >>> ancestors("lair.vault.gold")
    ['lair', 'lair.vault']
    """
    return [path[:end] for end, letter in enumerate(path) if letter == "."]


def is_ancestor(ancestor: str, path: str) -> bool:
    """Tell whether `path` lies below `ancestor`; a path is not its own ancestor."""
    return path.startswith(f"{ancestor}.")


def without_descendants(paths: Iterable[str]) -> list[str]:
    """Return `paths` in their order, without repetitions and those that another one covers.

    >>> without_descendants(["lair.gold", "name", "lair", "name"])
    ['name', 'lair']
    """
    unique = dict.fromkeys(paths)
    return [path for path in unique if not any(above in unique for above in ancestors(path))]


def _unwrapped(value: Any) -> Any:
    """Return the dict inside a sub-frame, anything else as it is."""
    if isinstance(value, (Mapping, list, tuple)):
        return value
    document = getattr(value, "_document", None)
    return document if isinstance(document, Mapping) else value


def _step(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, (list, tuple)) and _is_index(name):
        index = int(name)
        return value[index] if index < len(value) else MISSING
    return MISSING


def _is_index(name: str) -> bool:
    # Only what MongoDB takes for an index: no sign, no leading zero, no other digits than 0 to 9.
    # A list never has 10 ** 18 items; the limit keeps int() from refusing thousands of digits.
    plain = name.isascii() and name.isdigit() and len(name) <= 18
    return plain and (name == "0" or name[0] != "0")


def _collect(value: Any, names: list[str], at: int, found: list[Any]) -> None:
    if at == len(names):
        found.append(value)
        return
    value = _unwrapped(value)
    if isinstance(value, (list, tuple)) and not _is_index(names[at]):
        for item in value:
            _collect(item, names, at, found)
        return
    inner = _step(value, names[at])
    if inner is not MISSING:
        _collect(inner, names, at + 1, found)


def _remove(value: Any, names: list[str], at: int, *, maps: bool) -> None:
    value, name = _unwrapped(value), names[at]
    if isinstance(value, (list, tuple)) and not _is_index(name):
        for item in value:
            _remove(item, names, at, maps=maps)
        return
    inner = _step(value, name)
    if inner is MISSING:
        if maps and isinstance(value, Mapping) and all(map(_holds_documents, value.values())):
            for item in value.values():
                _remove(item, names, at, maps=False)
    elif at + 1 < len(names):
        _remove(inner, names, at + 1, maps=True)
    elif isinstance(value, list):
        del value[int(name)]
    elif isinstance(value, dict):
        del value[name]


def _holds_documents(value: Any) -> bool:
    value = _unwrapped(value)
    if isinstance(value, (list, tuple)):
        return all(map(_holds_documents, value))
    return isinstance(value, Mapping)
