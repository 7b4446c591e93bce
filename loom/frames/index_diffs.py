"""What `indexes.diff` and `indexes.ensure` return: which indexes are otherwise than declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .index import Index
from .index_specs import Difference, differences, read_index, same_keys

__all__ = ["Changed", "Diff", "Done", "Found", "compared"]

Spec = Mapping[str, Any]
#: An index with its form for createIndexes, whose values are as BSON keeps them.
Declared = tuple[Index, Spec]


@dataclass(frozen=True)
class Found:
    """An index of a collection.

    Attributes:
        namespace: `database.collection`.
        index: the index; one that is only stored is shown as it would be declared.
    """

    namespace: str
    index: Index

    def __str__(self) -> str:
        return f"{self.namespace}: {self.index!r}"


@dataclass(frozen=True)
class Changed:
    """An index that is stored otherwise than declared.

    Attributes:
        namespace: `database.collection`.
        index: the index as declared.
        stored: the index as the server has it.
        differences: each option with its stored and its declared value.
    """

    namespace: str
    index: Index
    stored: Index
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return f"{self.namespace}: {self.index!r}: {', '.join(map(str, self.differences))}"


def _listed(parts: Mapping[str, Sequence[Any]], nothing: str) -> str:
    width = max(map(len, parts))
    lines = [f"{name:{width}}  {found}" for name, all_found in parts.items() for found in all_found]
    return "\n".join(lines) or nothing


class Diff(NamedTuple):
    """What classes declare, compared with what the server has; false when nothing differs.

    Attributes:
        missing: declared, not there.
        changed: there, but otherwise.
        extra: there, not declared by any imported class of the collection.
    """

    missing: tuple[Found, ...] = ()
    changed: tuple[Changed, ...] = ()
    extra: tuple[Found, ...] = ()

    def __bool__(self) -> bool:
        return any(map(len, self))

    def __str__(self) -> str:
        return _listed(self._asdict(), "indexes are as declared")


class Done(NamedTuple):
    """What `indexes.ensure` did; false when there was nothing to do.

    Attributes:
        created: were missing.
        modified: their `ttl` or `hidden` was set, without building anything.
        rebuilt: were dropped and created anew.
        dropped: were not declared.
    """

    created: tuple[Found, ...] = ()
    modified: tuple[Changed, ...] = ()
    rebuilt: tuple[Changed, ...] = ()
    dropped: tuple[Found, ...] = ()

    def __bool__(self) -> bool:
        return any(map(len, self))

    def __str__(self) -> str:
        return _listed(self._asdict(), "indexes were as declared")


def compared(
    namespace: str,
    declared: Sequence[Declared],
    stored: Iterable[Spec],
    elsewhere: Sequence[Declared] = (),
) -> Diff:
    """Compare the indexes of one collection.

    Args:
        namespace: of the collection.
        declared: indexes, each with its form for createIndexes.
        stored: as listIndexes reports them.
        elsewhere: what other classes of the collection declare, which is therefore not extra.
    """
    specs = {spec["name"]: spec for spec in stored}
    # An index that names no collation takes over that of the collection, and so did this one.
    usual_collation = specs.pop("_id_", {}).get("collation")

    def differ(index: Index, spec: Spec, other: Spec) -> tuple[Difference, ...]:
        found = differences(spec, other, usual_collation)
        if index.is_named and other["name"] != index.name:
            return (Difference("name", other["name"], index.name), *found)
        return found

    # The same index under another name will do, unless a name is asked for. An index of the same
    # name stands in the way, and one over the same keys does on most servers.
    rest, _ = _paired(declared, specs, lambda *pair: not differ(*pair))
    names = {index.name for index, _ in declared}
    _paired(elsewhere, specs, lambda *pair: not differ(*pair))
    _paired(
        [(index, spec) for index, spec in elsewhere if index.name not in names],
        specs,
        lambda index, spec, other: bool(other["name"] == index.name),
    )
    rest, named = _paired(rest, specs, lambda index, spec, other: bool(other["name"] == index.name))
    rest, keyed = _paired(rest, specs, lambda index, spec, other: same_keys(spec, other))
    return Diff(
        tuple(Found(namespace, index) for index, _ in rest),
        tuple(
            Changed(namespace, pair[0], read_index(pair[2]), differ(*pair))
            for pair in (*named, *keyed)
        ),
        tuple(Found(namespace, read_index(spec)) for spec in specs.values()),
    )


def _paired(
    declared: Iterable[Declared], specs: dict[str, Spec], fits: Callable[[Index, Spec, Spec], bool]
) -> tuple[list[Declared], list[tuple[Index, Spec, Spec]]]:
    """Take what fits out of `specs`; return the indexes without a partner, and the pairs."""
    rest, pairs = [], []
    for index, spec in declared:
        other = next((other for other in specs.values() if fits(index, spec, other)), None)
        if other is None:
            rest.append((index, spec))
        else:
            pairs.append((index, spec, other))
            del specs[other["name"]]
    return rest, pairs
