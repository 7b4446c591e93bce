"""Drift: where the documents of a collection depart from what their class says.

Types are compared by what is stored: an `int` is a whole number of any size, a `set` a list, a
reference whatever an `_id` can be. Values are never shown, only their types and the `_id`s of a few
documents.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from ..errors import FieldError, QueryError, nearest
from .expectations import ANYTHING, Expected, expectations, stored_kind
from .forms import own_fields, version_of
from .operations.reading import compiled_filter
from .port import Port, awaited, blocking, complete
from .upgrading import upgraded

if TYPE_CHECKING:
    from .frame import Frame
    from .queries import Filter

__all__ = ["Departure", "Drift", "aio", "drift"]

Problem: TypeAlias = Literal[
    "unknown field", "missing", "type", "mixed types", "unknown kind", "upgrade failed"
]

#: How many documents are named for each departure.
_EXAMPLES = 3
#: Compared by value, these are one type.
_NUMBERS = frozenset(("int", "double", "decimal"))


class Departure(NamedTuple):
    """One way in which documents depart from their class.

    Attributes:
        frame_class: name of the class.
        path: of the field; `[]` stands for the members of a list, `*` for the values of a map.
        problem: what is wrong.
        expected: what the class says, as text.
        found: the types that were found, each with how often.
        documents: how many of them depart so.
        of: how many documents of the class were looked at.
        examples: the ids of a few of them.
    """

    frame_class: str
    path: str
    problem: str
    expected: str
    found: dict[str, int]
    documents: int
    of: int
    examples: tuple[Any, ...]

    @property
    def share(self) -> float:
        """The part of the documents that depart so, from 0 to 1."""
        return self.documents / self.of if self.of else 0.0

    def _cells(self) -> tuple[str, ...]:
        return (
            f"{self.frame_class}.{self.path}" if self.path else self.frame_class,
            self.problem,
            self.expected,
            ", ".join(f"{kind} ({number})" for kind, number in self.found.items()),
            f"{self.documents} ({self.share:.1%})",
            ", ".join(map(repr, self.examples)),
        )


_HEAD = ("field", "problem", "expected", "found", "documents", "examples")


class Drift(NamedTuple):
    """What a sample of a collection shows.

    Attributes:
        frame_class: name of the class.
        sampled: how many documents were looked at.
        departures: where they depart from the class, the most frequent ones first.
        versions: how many documents have each schema version, 0 for none; empty without one.
    """

    frame_class: str
    sampled: int
    departures: tuple[Departure, ...]
    versions: dict[int, int]

    def _caption(self) -> str:
        found = len(self.departures)
        text = f"{self.frame_class}: {self.sampled} documents, {found or 'no'} departures"
        if self.versions:
            numbers = ", ".join(f"{number} of {name}" for name, number in self.versions.items())
            text += f"; schema versions: {numbers}"
        return text

    def __str__(self) -> str:
        if not self.departures:
            return self._caption()
        rows = [_HEAD, *(departure._cells() for departure in self.departures)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([self._caption(), *lines])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = [(_HEAD, "th"), *((departure._cells(), "td") for departure in self.departures)]
        body = "".join(
            "<tr>"
            + "".join(f"<{tag} style='text-align:left'>{html.escape(c)}</{tag}>" for c in cells)
            + "</tr>"
            for cells, tag in (rows if self.departures else ())
        )
        return f"<table><caption>{html.escape(self._caption())}</caption>{body}</table>"


def drift(cls: type[Frame], filter: Filter = None, *, sample: int = 1_000, **options: Any) -> Drift:
    """Return where the stored documents of a class depart from what the class says.

    Unknown and missing fields, types other than the annotated ones, and fields without a type that
    hold several. Fields that may be None may be missing. A document of an older schema version is
    upgraded before it is looked at, in memory only.

    Awaited, it is `await drifting.aio.drift(...)`.

    Args:
        cls: the class; of several kinds each document is compared with its own.
        filter: which documents are looked at; None for all.
        sample: how many of them at most, chosen at random by the server.
        options: as for `Collection.aggregate`.

    Raises:
        QueryError: `sample` is no positive number, or the filter cannot be sent.
    """
    return complete(_drift(blocking(), cls, filter, sample, options))


class Awaited:
    """The same function, awaited: `await drifting.aio.drift(Dragon)`."""

    async def drift(
        self, cls: type[Frame], filter: Filter = None, *, sample: int = 1_000, **options: Any
    ) -> Drift:
        """Return where stored documents depart from what their class says; see `drift`."""
        return await _drift(awaited(), cls, filter, sample, options)


aio = Awaited()


async def _drift(port: Port, cls: Any, filter: Any, sample: int, options: dict[str, Any]) -> Drift:
    if not isinstance(cls, type) or not getattr(cls, "_is_frame", False):
        raise QueryError(f"drift: expected a Frame class, got {cls!r}")
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 1:
        raise QueryError(f"drift: expected a sample of at least 1, got {sample!r}")
    for name in ("projection", "sort", "limit", "skip"):
        if name in options:
            raise FieldError(
                f"drift: expected options of an aggregation, got {name!r}"
                f"{nearest(name, ('session', 'comment', 'collation'))}"
            )
    query = compiled_filter(port, cls, filter)
    pipeline = [*([{"$match": query}] if query else []), {"$sample": {"size": sample}}]
    look = _Look(cls)
    documents = await port.aggregate(cls, pipeline, options)
    for document in documents:
        look.at(document)
    return look.report()


class _Noted:
    """What was noted of one problem at one path."""

    __slots__ = ("count", "examples", "expected", "found")

    def __init__(self, expected: str) -> None:
        self.expected = expected
        self.found: Counter[str] = Counter()
        self.count = 0
        self.examples: list[Any] = []


class _Look:
    """Looks at one document after the other."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.sampled = 0
        self.versions: Counter[int] = Counter()
        #: how many documents there are of each class
        self.of: Counter[Any] = Counter()
        self.noted: dict[tuple[Any, str, Problem], _Noted] = {}
        #: of fields whose type is not said: by class and path, the ids by type
        self.untyped: dict[tuple[Any, str], dict[str, list[Any]]] = {}
        self.counts: dict[tuple[Any, str], Counter[str]] = {}
        self.expected: dict[Any, dict[str, Expected]] = {}
        # Of the document in hand:
        self._class: Any = None
        self._id: Any = None
        self._told: set[tuple[str, str]] = set()

    def at(self, document: dict[str, Any]) -> None:
        """Look at a document."""
        self.sampled += 1
        self._id = document.get("_id")
        self._told = set()
        kinds = self.cls._kinds
        self._class = self.cls if kinds is None else kinds.class_of(self.cls, document)
        self.of[self._class] += 1
        if self.cls._schema_version is not None:
            try:
                self.versions[version_of(self.cls, document)] += 1
                document = upgraded(self.cls, document)
            except Exception as error:
                self._note("", "upgrade failed", "", type(error).__name__)
                return
            if kinds is not None:
                self._class = kinds.class_of(self.cls, document)
        if kinds is not None and not kinds.is_known(document.get(kinds.field)):
            self._unknown_kind(kinds, document)
            return
        self._document(self._class, document, "", own_fields(self._class, {}, ""))

    def _unknown_kind(self, kinds: Any, document: Mapping[str, Any]) -> None:
        found = "missing"
        if kinds.field in document:
            kind = document[kinds.field]
            is_shown = type(kind) is str and kinds.field not in self._class._private_fields
            found = repr(kind) if is_shown else stored_kind(kind)
        self._note(kinds.field, "unknown kind", "the kind of an imported class", found)

    def _document(
        self, cls: Any, document: Mapping[str, Any], prefix: str, own: Iterable[Any] = ()
    ) -> None:
        definition = cls._definition
        expected = self.expected.get(cls)
        if expected is None:
            expected = self.expected[cls] = expectations(cls)
        names = definition.names if cls._is_frame else definition.names - {"_id"}
        if not definition.is_open:
            for name in document.keys() - names - {*own}:
                self._note(prefix + name, "unknown field", "", stored_kind(document[name]))
            for name in names - document.keys():
                wanted = expected.get(name)
                if wanted is None or not wanted.is_nullable:
                    text = ANYTHING.text if wanted is None else wanted.text
                    self._note(prefix + name, "missing", text, "missing")
        for name, value in document.items():
            if name in own or (name not in names and not definition.is_open):
                continue
            if name != "_id" or name in expected:
                self._value(prefix + name, value, expected.get(name, ANYTHING))

    def _value(self, path: str, value: Any, wanted: Expected) -> None:
        kind = stored_kind(value)
        if wanted.kinds is None:
            self._untyped(path, kind)
        elif kind == "null":
            if not wanted.is_nullable:
                self._note(path, "type", wanted.text, kind)
        elif kind not in wanted.kinds:
            self._note(path, "type", wanted.text, kind)
        elif kind == "array" and wanted.items is not None:
            for member in value:
                self._value(f"{path}[]", member, wanted.items)
        elif kind == "object":
            if wanted.frame_class is not None:
                self._document(wanted.frame_class, value, f"{path}.")
            elif wanted.values is not None:
                for member in value.values():
                    self._value(f"{path}.*", member, wanted.values)

    def _untyped(self, path: str, kind: str) -> None:
        if kind == "null":
            return
        kind = "number" if kind in _NUMBERS else kind
        key = self._class, path
        self.counts.setdefault(key, Counter())[kind] += 1
        ids = self.untyped.setdefault(key, {}).setdefault(kind, [])
        if not ids or ids[-1] is not self._id:
            ids.append(self._id)

    def _note(self, path: str, problem: Problem, expected: str, found: str) -> None:
        noted = self.noted.setdefault((self._class, path, problem), _Noted(expected))
        noted.found[found] += 1
        if (path, problem) not in self._told:
            self._told.add((path, problem))
            noted.count += 1
            if len(noted.examples) < _EXAMPLES:
                noted.examples.append(self._id)

    def report(self) -> Drift:
        """Return what was found."""
        departures = [
            Departure(
                cls.__name__,
                path,
                problem,
                noted.expected,
                dict(noted.found.most_common()),
                noted.count,
                self.of[cls],
                tuple(noted.examples),
            )
            for (cls, path, problem), noted in self.noted.items()
        ]
        departures += self._mixed()
        departures.sort(key=lambda one: (-one.share, one.frame_class, one.path, one.problem))
        versions = dict(sorted(self.versions.items()))
        return Drift(self.cls.__name__, self.sampled, tuple(departures), versions)

    def _mixed(self) -> Iterable[Departure]:
        for (cls, path), by_kind in self.untyped.items():
            if len(by_kind) < 2:
                continue
            counts = dict(self.counts[cls, path].most_common())
            usual = next(iter(counts))
            others = [id for kind in counts if kind != usual for id in by_kind[kind]]
            yield Departure(
                cls.__name__,
                path,
                "mixed types",
                "one type",
                counts,
                len(others),
                self.of[cls],
                tuple(others[:_EXAMPLES]),
            )
