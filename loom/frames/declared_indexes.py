"""The setting `_indexes` of a class: checked when it is set, joined with what parents declare.

This much is loaded with every Frame; an `Index` itself, and what builds one, only by who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import DefinitionError, nearest
from .marks import declared as declared_marks

__all__ = [
    "check_paths",
    "checked_indexes",
    "declared_indexes",
    "indexes_from",
    "refuse_for_timeseries",
]


def checked_indexes(cls: Any, value: Any) -> tuple[Any, ...]:
    """Return the indexes that are to be a class's own.

    Raises:
        DefinitionError: what is no index, a field that is not declared, two indexes with one name.
    """
    place = f"{cls.__name__}._indexes"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise DefinitionError(
            f"{place}: expected a list of indexes, got {value!r}; write _indexes = [Index('name')]"
        )
    own = tuple(value)
    if own and not cls._is_frame:
        raise DefinitionError(
            f"{place}: expected indexes of a Frame, got them on a SubFrame; declare them where it "
            "is stored, with the path: Index('lair.name')"
        )
    for index in own:
        _check(cls, place, index)
    _joined(place, [*indexes_from(cls, cls.__mro__[1:]), *own])
    if getattr(cls, "_timeseries", None) is not None:
        refuse_for_timeseries(cls, own)
    return own


def refuse_for_timeseries(cls: Any, indexes: Iterable[Any]) -> None:
    """Refuse indexes that a time-series collection cannot have.

    Raises:
        DefinitionError: one is unique, or of text, or of flat places.
    """
    for index in indexes:
        spec = index.to_dict()
        kinds = [kind for kind in spec["key"].values() if kind in ("text", "2d")]
        if spec.get("unique") or kinds:
            what = "a unique one" if spec.get("unique") else f"one of the kind {kinds[0]!r}"
            raise DefinitionError(
                f"{cls.__name__}._indexes: expected indexes that a time-series collection can "
                f"have, got {what}: {index!r}; leave it out"
            )


def declared_indexes(cls: Any) -> tuple[Any, ...]:
    """Return the indexes of a class: those of the parents that share its collection, then its own.

    Raises:
        DefinitionError: two of them have one name, or are the same under two names.
    """
    return _joined(f"{cls.__name__}._indexes", indexes_from(cls, cls.__mro__))


def indexes_from(cls: Any, parents: Iterable[type]) -> Iterator[Any]:
    """Yield what parents that share the collection of a class declare, the eldest's first."""
    for parent in reversed([*parents]):
        own = vars(parent).get("_indexes")
        if own and _shares(parent, cls):
            yield from own


def _shares(parent: Any, cls: Any) -> bool:
    """Tell whether a parent's documents are in the collection of the class."""
    if not getattr(parent, "_is_frame", False):
        return True  # a mixin has no collection of its own
    return all(
        getattr(parent, setting) == getattr(cls, setting)
        for setting in ("_collection", "_db", "_client")
    )


def _check(cls: Any, place: str, index: Any) -> None:
    if getattr(type(index), "_is_index", False) is not True:
        shown = f"Index({index!r})" if isinstance(index, str) else "Index('name', ...)"
        raise DefinitionError(
            f"{place}: expected indexes, got {index!r} of type {type(index).__name__}; write {shown}, "
            "and import it by `from loom.frames.indexes import Index`"
        )
    definition = cls._definition
    if definition.is_open:
        return
    for path in index.fields:
        field = path.partition(".")[0]
        if field not in definition.names and field not in ("$**", cls._version, cls._kind_field):
            raise DefinitionError(
                f"{place}: expected paths of declared fields, got {path!r}"
                f"{nearest(field, definition.names)}; index: {index!r}"
            )


def _joined(place: str, indexes: Iterable[Any]) -> tuple[Any, ...]:
    """Return indexes, each once."""
    found: dict[str, Any] = {}
    specs: list[tuple[Any, dict[str, Any]]] = []
    for index in indexes:
        other = found.setdefault(index.name, index)
        if other is index:
            spec = {option: value for option, value in index.to_dict().items() if option != "name"}
            same = [known for known, known_spec in specs if _is_same(known_spec, spec)]
            if same:
                raise DefinitionError(
                    f"{place}: expected different indexes, got one under two names: {same[0]!r} "
                    f"and {index!r}"
                )
            specs.append((index, spec))
        elif other != index:
            raise DefinitionError(
                f"{place}: expected one index of each name, got two named {index.name!r}: "
                f"{other!r} and {index!r}; give one of them a name="
            )
    return tuple(found.values())


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one == other and [*one["key"]] == [*other["key"]]  # their order counts


def check_paths(cls: Any, index: Any) -> None:
    """Refuse a path that leads to no field of an embedded document.

    Not before indexes are compared or built: only then all classes are known.

    Raises:
        DefinitionError: there is no such field.
    """
    for path in index.fields:
        field, _, rest = path.partition(".")
        marks = declared_marks(cls).get(field)
        _check_below(cls, index, path, marks, rest)


def _check_below(cls: Any, index: Any, path: str, marks: Any, rest: str) -> None:
    while rest and rest != "$**" and marks is not None:
        name, _, below = rest.partition(".")
        if marks.shape == "map" or (marks.shape == "list" and name.isdigit()):
            # One key or position leads to a member; the name of its field follows.
            name, _, below = below.partition(".")
            if not name or name == "$**":
                return
        target = marks.target
        if not getattr(target, "_is_subframe", False) or target._definition.is_open:
            return
        if name not in target._definition.names:
            raise DefinitionError(
                f"{cls.__name__}._indexes: expected paths of declared fields, got {path!r}, but "
                f"{target.__name__} has no {name!r}{nearest(name, target._definition.names)}; "
                f"index: {index!r}"
            )
        marks, rest = declared_marks(target).get(name), below
