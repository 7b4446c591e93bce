"""Derived fields: what the setting `_derived` of a class says.

`_derived = {"email_rev": ("email", reverse), "full": (("first", "last"), join)}` keeps each field at
what its function makes of other fields. This much is loaded with a class that has one; what keeps
them in step is in `deriving`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .. import epoch
from ..errors import DefinitionError, QueryError, nearest
from .paths import is_ancestor, split

__all__ = ["Derivation", "checked_derived", "derivations", "overlap"]

_EXAMPLE = "write _derived = {'email_rev': ('email', reverse)}"


class Derivation(NamedTuple):
    """One derived field."""

    field: str
    #: the paths that it is made of
    sources: tuple[str, ...]
    #: is called with as many values
    function: Callable[..., Any]

    @property
    def roots(self) -> tuple[str, ...]:
        """The fields that the sources are in, each once."""
        return (*dict.fromkeys(source.partition(".")[0] for source in self.sources),)

    @property
    def shown(self) -> str:
        """The sources, for errors."""
        return ", ".join(map(repr, self.sources))

    def is_touched(self, paths: Iterable[str]) -> bool:
        """Tell whether a write of some paths changes a source."""
        return any(overlap(source, path) for path in paths for source in self.sources)


def overlap(one: str, other: str) -> bool:
    """Tell whether two paths are the same, or one leads into the other."""
    return one == other or is_ancestor(one, other) or is_ancestor(other, one)


def checked_derived(cls: Any, value: Any) -> Mapping[str, Any]:
    """Return what is to be a class's own derived fields; it cannot be changed in place.

    Raises:
        DefinitionError: not of that form, a field that is not declared, or one that is made of
            itself.
    """
    place = f"{cls.__name__}._derived"
    if not isinstance(value, Mapping):
        raise DefinitionError(f"{place}: expected a dict, got {value!r}; {_EXAMPLE}")
    if value and not cls._is_frame:
        raise DefinitionError(
            f"{place}: expected derived fields of a Frame, got them on a SubFrame; declare them "
            "where it is stored: {'gold': ('lair.gold', function)}"
        )
    own = dict(value)
    for field, given in own.items():
        _check(cls, place, _read(place, field, given))
    _ordered(place, _of(cls, cls.__mro__[1:]) | {f: _read(place, f, g) for f, g in own.items()})
    return MappingProxyType(own)


_known: WeakKeyDictionary[type, tuple[int, tuple[Derivation, ...]]] = WeakKeyDictionary()


def derivations(cls: Any) -> tuple[Derivation, ...]:
    """Return the derived fields of a class and its parents, in an order in which each can be made."""
    found = _known.get(cls)
    if found is None or found[0] != epoch.current:
        number = epoch.current
        of_class = _of(cls, cls.__mro__)
        found = _known[cls] = number, _ordered(f"{cls.__name__}._derived", of_class)
    return found[1]


def _of(cls: Any, classes: Iterable[type]) -> dict[str, Derivation]:
    place = f"{cls.__name__}._derived"
    found: dict[str, Derivation] = {}
    for parent in reversed([*classes]):
        for field, given in (vars(parent).get("_derived") or {}).items():
            found[field] = _read(place, field, given)
    return found


def _read(place: str, field: Any, given: Any) -> Derivation:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise DefinitionError(
            f"{place}: expected the path of a source, or a tuple of them, and a function for "
            f"{field!r}, got {given!r}; {_EXAMPLE}"
        )
    sources, function = given
    sources = (sources,) if isinstance(sources, str) or not _is_list(sources) else (*sources,)
    texts = tuple(map(str, sources))
    if not sources or len({*texts}) < len(sources):
        raise DefinitionError(f"{place}: expected each source of {field!r} once, got {sources!r}")
    is_function = callable(function) and not isinstance(function, type(None))
    if not is_function or inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{place}: expected a plain function that makes {field!r}, got {function!r}; {_EXAMPLE}"
        )
    return Derivation(field, texts, function)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _check(cls: Any, place: str, derivation: Derivation) -> None:
    definition = cls._definition
    field, sources, _ = derivation
    roots: list[str] = []
    for source in sources:
        try:
            roots.append(split(source)[0])
        except QueryError as error:
            raise DefinitionError(f"{place}: {error}; it is a source of {field!r}") from None
    for name in (field, *roots):
        if not isinstance(name, str) or (name not in definition.names and not definition.is_open):
            hint = nearest(name, definition.names) if isinstance(name, str) else ""
            raise DefinitionError(f"{place}: expected declared fields, got {name!r}{hint}")
        if name == "_id" or name == cls._version:
            what = (
                "an _id may be made after its document" if name == "_id" else "it counts versions"
            )
            raise DefinitionError(f"{place}: expected other fields than {name!r}: {what}")
        if name in definition.counters:
            raise DefinitionError(
                f"{place}: expected fields that are set, got the counter {name!r}, to which the "
                "server adds"
            )
    if field in roots:
        raise DefinitionError(f"{place}: expected other fields as sources of {field!r}, got itself")


def _ordered(place: str, given: Mapping[str, Derivation]) -> tuple[Derivation, ...]:
    """Return derived fields, each after those that it is made of."""
    waiting = dict(given)
    done: list[Derivation] = []
    while waiting:
        ready = [d for d in waiting.values() if not any(root in waiting for root in d.roots)]
        if not ready:
            raise DefinitionError(
                f"{place}: expected fields that are made of others in the end, got a circle of "
                f"{', '.join(map(repr, waiting))}"
            )
        done += ready
        for derivation in ready:
            del waiting[derivation.field]
    return (*done,)
