"""Definitions: what one class declares, its parents' fields included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import DefinitionError
from .annotations import Annotation
from .properties import Access, Kind

__all__ = ["NOTHING", "Default", "Definition", "Names", "Own", "merged"]

T = TypeVar("T")


class Default(Generic[T]):
    """A default that is made anew for every document."""

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[[], T]) -> None:
        if not callable(factory):
            raise DefinitionError(
                f"default: expected a callable such as list, got {factory!r}; "
                "write a plain value after the `=` instead"
            )
        self.factory = factory

    def __repr__(self) -> str:
        return f"default({getattr(self.factory, '__name__', self.factory)})"


class Own(NamedTuple):
    """What the body of one class says, without its parents."""

    listed: tuple[str, ...]
    annotations: dict[str, Annotation]
    defaults: dict[str, Any]
    #: fields that got a property
    generated: frozenset[str]
    #: how fields are accessed
    kinds: dict[str, Kind]


NOTHING = Own((), {}, {}, frozenset(), {})


class Definition:
    """What one class declares, its parents' fields included."""

    __slots__ = (
        "annotations",
        "collated",
        "collections",
        "counters",
        "declared",
        "defaults",
        "everyday",
        "generated",
        "is_open",
        "is_watched",
        "kinds",
        "names",
        "ordered",
        "own",
        "plans",
        "positions",
        "ready",
        "resolved",
        "resolved_at",
    )

    def __init__(
        self,
        own: Own,
        names: Iterable[str],
        annotations: dict[str, Annotation],
        defaults: dict[str, Any],
        kinds: dict[str, Kind],
    ) -> None:
        #: what the class itself says; the rest is with its parents
        self.own = own
        self.ordered = tuple(dict.fromkeys(names))
        self.names = frozenset(self.ordered)
        self.annotations = annotations
        self.defaults = defaults
        self.kinds = kinds
        #: the case-insensitive indexes, and the epoch in which they were found
        self.collated: tuple[int, tuple[Any, ...]] = (-1, ())
        self.counters = frozenset(name for name, kind in kinds.items() if kind == "counter")
        #: by field, its place in the state of a frame
        self.positions: dict[str, int] = {}
        #: a class without fields takes whatever a document holds
        self.is_open = not self.names - {"_id"}
        self.plans: dict[Any, Any] = {}
        self.collections: dict[bool, Any] = {}
        #: the collection of blocking calls, and the epoch in which it was found
        self.ready: tuple[int, Any] = (-1, None)
        #: what everyday calls need, and the epoch in which it was found out
        self.everyday: tuple[int, Any, Any, bool] = (-1, None, None, False)
        #: settings assigned to the class or a parent are noticed
        self.is_watched = False
        self.resolved: dict[str, Any] | None = None
        #: what the resolved annotations declare, see `marks`
        self.declared: Any = None
        self.resolved_at = -1

    def place(self, taken: Iterable[Mapping[str, int]]) -> set[str]:
        """Give every field a place in the list that tells which were assigned.

        A field keeps its parent's place, where the parent's property looks for it.

        Args:
            taken: the places in the parents, or in the class before its fields changed.

        Returns:
            The inherited fields that had to move, because two parents gave different places.
        """
        moved = set()
        used: set[int] = set()
        for places in taken:
            for name, place in places.items():
                if name in self.positions:
                    if self.positions[name] != place:
                        moved.add(name)
                    continue
                if place in used:
                    place = max(used) + 1
                    moved.add(name)
                self.positions[name] = place
                used.add(place)
        for name in self.ordered:
            if name not in self.positions and self.kinds.get(name) != "embedded":
                self.positions[name] = max(used, default=0) + 1
                used.add(self.positions[name])
        return moved & self.names

    def access(self, name: str) -> Access:
        """Return how a field is accessed."""
        return Access(self.kinds.get(name, "watched"), self.positions.get(name, 0))

    def new_default(self, name: str) -> Any:
        """Return the default of a field, made anew when it is a factory."""
        value = self.defaults[name]
        return value.factory() if isinstance(value, Default) else value


class Names(frozenset[str]):
    """The names of the fields, in the order of their declaration, which `help` shows."""

    __slots__ = ("_ordered",)
    _ordered: tuple[str, ...]

    def __new__(cls, definition: Definition) -> Names:
        """Return the names of a definition."""
        made = super().__new__(cls, definition.names)
        made._ordered = definition.ordered
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._ordered)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._ordered))}}}"

    def __reduce__(self) -> tuple[Any, ...]:
        return frozenset, (self._ordered,)


def merged(bases: Iterable[Any], own: Own) -> Definition:
    """Return the fields of the parents and a class's own."""
    names: list[str] = []
    annotations: dict[str, Annotation] = {}
    defaults: dict[str, Any] = {}
    kinds: dict[str, Kind] = {}
    for base in reversed([*bases]):
        definition: Definition | None = getattr(base, "_definition", None)
        if definition is not None:
            names += definition.ordered
            annotations |= definition.annotations
            defaults |= definition.defaults
            kinds |= definition.kinds
    names += [*own.listed, *own.annotations]
    return Definition(
        own, names, annotations | own.annotations, defaults | own.defaults, kinds | own.kinds
    )
