"""What an annotation says of text and time stamps: the marks in it, and what leads to more of them."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, ForwardRef, Literal, NamedTuple, TypeAlias, TypeVar

from ..errors import DefinitionError
from .marks import InsertTime, Lower, Mark, UpdateTime, Upper

__all__ = ["Case", "Rule", "Said", "closed", "is_open", "mentions_mark", "said"]

#: Gives text the case in which it is stored.
Case: TypeAlias = Callable[[str], str]

_CASES: dict[type[Mark], Case] = {Lower: str.lower, Upper: str.upper}
#: How users write the marks.
_SPELLED = {Lower: "StrLower", Upper: "StrUpper"}
_SPELLED |= {InsertTime: "TimeInserted", UpdateTime: "TimeUpdated"}

#: A SubFrame class, and what its type parameters stand for.
Embedded: TypeAlias = tuple[Any, tuple[Any, ...]]
#: What type variables stand for.
Bindings: TypeAlias = Mapping[Any, Any]


class Rule(NamedTuple):
    """What holds for a value, or for the items of a list in its place."""

    #: of text, None when it is kept as it is
    case: Case | None
    #: the sub-frames that it can be
    documents: tuple[Embedded, ...]
    #: what holds for the values of a map
    values: Rule | None


class Said(NamedTuple):
    """What an annotation says of a field."""

    rule: Rule
    #: the marks of its time stamp
    times: frozenset[type[Mark]]


def said(place: str, annotation: Any, *, is_frame: bool) -> Said:
    """Return what an annotation says of a field.

    Args:
        place: class and field, for errors.
        annotation: evaluated.
        is_frame: False for a field of a SubFrame.

    Raises:
        DefinitionError: text of two cases, a mark on something else than it is for, or one in a
            place that no write looks at.
    """
    reading = _Reading(place)
    found = reading.read(annotation, None, is_top=True)
    if reading.times and (not is_frame or place.endswith("._id")):
        where = "the _id" if is_frame else "a SubFrame"
        raise DefinitionError(
            f"{place}: expected {_spelled(reading.times)} on a field of a Frame, got it on "
            f"{where}; annotate it as datetime and set it where it is made"
        )
    return Said(reading.rule(found), frozenset(reading.times))


class _Found:
    """What an annotation says of a value, bit by bit."""

    __slots__ = ("cases", "documents", "values")

    def __init__(self) -> None:
        #: of the texts in it, each with how it is spelled; None for text that is kept as it is
        self.cases: dict[Case | None, str] = {}
        self.documents: dict[Embedded, None] = {}
        self.values: _Found | None = None

    def add(self, other: _Found) -> None:
        self.cases |= other.cases
        self.documents |= other.documents
        if other.values is not None:
            self.values = self.values or _Found()
            self.values.add(other.values)

    def has_text(self) -> bool:
        return bool(self.cases) or (self.values is not None and self.values.has_text())


class _Reading:
    """Reads one annotation."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.times: set[type[Mark]] = set()

    def rule(self, found: _Found) -> Rule:
        if len(found.cases) > 1:
            raise DefinitionError(
                f"{self.place}: expected text of one case, got {' and '.join(found.cases.values())}"
                "; filters could not tell which is meant: use fields of their own"
            )
        case = next(iter(found.cases), None)
        values = None if found.values is None else self.rule(found.values)
        return Rule(case, (*found.documents,), values)

    def read(self, annotation: Any, mark: type[Mark] | None, *, is_top: bool) -> _Found:
        """Return what an annotation says; `mark` is that of the text in it."""
        annotation = self._bare(annotation)
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            return self._annotated(annotation, mark, is_top)
        found = _Found()
        if origin is typing.Union or origin is types.UnionType:
            for member in typing.get_args(annotation):
                found.add(self.read(member, mark, is_top=is_top))
            return found
        if origin is Literal:
            self._literal(annotation, mark, found)
            return found
        kind = annotation if origin is None else origin
        if not isinstance(kind, type) or kind in (Any, object):
            self._unknown(annotation, mark, found)
        elif getattr(kind, "_is_subframe", False):
            arguments = typing.get_args(annotation)
            found.documents[kind, arguments] = None
        elif issubclass(kind, Mapping):
            self._map(annotation, mark, found)
        elif issubclass(kind, str):
            if not issubclass(kind, Enum):
                self._text(mark, found)
        elif issubclass(kind, Iterable) and not issubclass(kind, (bytes, bytearray)):
            members = [m for m in typing.get_args(annotation) if m is not ...]
            for member in members:
                found.add(self.read(member, mark, is_top=False))
            if not members and mark is not None:
                self._text(mark, found)
        else:
            self._nothing_in(annotation)
        return found

    def _bare(self, annotation: Any) -> Any:
        """Return what an alias, a new type or a type variable stands for."""
        while True:
            origin = typing.get_origin(annotation)
            if (
                type(annotation).__name__ == "TypeAliasType"
            ):  # `type Email = StrLower`, from 3.12 on
                annotation = annotation.__value__
            elif type(origin).__name__ == "TypeAliasType":  # `type Some[T] = list[T]`
                parameters = origin.__type_params__
                given = dict(zip(parameters, typing.get_args(annotation), strict=False))
                annotation = closed(origin.__value__, given)
            elif hasattr(annotation, "__supertype__"):
                annotation = annotation.__supertype__
            elif isinstance(annotation, TypeVar) and annotation.__bound__ is not None:
                annotation = annotation.__bound__
            else:
                return annotation

    def _annotated(self, annotation: Any, mark: type[Mark] | None, is_top: bool) -> _Found:
        inner = annotation.__origin__
        for given in annotation.__metadata__:
            kind = given if isinstance(given, type) else type(given)
            if kind in _CASES:
                if mark is not None and mark is not kind:
                    raise DefinitionError(
                        f"{self.place}: expected text of one case, got {_SPELLED[mark]} and "
                        f"{_SPELLED[kind]}; leave one out"
                    )
                mark = kind
            elif kind in (InsertTime, UpdateTime):
                if not is_top or not self._is_datetime(inner):
                    raise DefinitionError(
                        f"{self.place}: expected {_SPELLED[kind]} on a field of one datetime, got "
                        f"it {_shown(inner) if is_top else 'in a container'}; annotate the field "
                        f"as {_SPELLED[kind]}"
                    )
                self.times.add(kind)
        found = self.read(inner, mark, is_top=is_top)
        if mark is not None and not found.has_text():
            raise DefinitionError(
                f"{self.place}: expected text under {_SPELLED[mark]}, got {_shown(inner)}; "
                "leave the mark out, or annotate it as str"
            )
        return found

    def _is_datetime(self, annotation: Any) -> bool:
        annotation = self._bare(annotation)
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            return self._is_datetime(annotation.__origin__)
        if origin is typing.Union or origin is types.UnionType:
            return any(map(self._is_datetime, typing.get_args(annotation)))
        return origin is None and isinstance(annotation, type) and issubclass(annotation, datetime)

    def _map(self, annotation: Any, mark: type[Mark] | None, found: _Found) -> None:
        arguments = typing.get_args(annotation)
        found.values = _Found()
        if len(arguments) == 2:
            self._nothing_in(arguments[0])
            found.values = self.read(arguments[1], mark, is_top=False)
        elif mark is not None:
            self._text(mark, found.values)

    def _literal(self, annotation: Any, mark: type[Mark] | None, found: _Found) -> None:
        for value in typing.get_args(annotation):
            if isinstance(value, str):
                if mark is not None and _CASES[mark](value) != value:
                    raise DefinitionError(
                        f"{self.place}: expected {_CASES[mark](value)!r} under {_SPELLED[mark]}, "
                        f"got {value!r}; write it as it is stored"
                    )
                self._text(mark, found)

    def _unknown(self, annotation: Any, mark: type[Mark] | None, found: _Found) -> None:
        """Take what can be anything for text only when it is marked."""
        self._nothing_in(annotation)
        if mark is not None and annotation is not None:
            self._text(mark, found)

    def _text(self, mark: type[Mark] | None, found: _Found) -> None:
        found.cases[None if mark is None else _CASES[mark]] = _SPELLED.get(mark, "str")  # type: ignore[arg-type]

    def _nothing_in(self, annotation: Any) -> None:
        """Refuse marks where nothing is done about them."""
        if _holds_mark(annotation):
            raise DefinitionError(
                f"{self.place}: expected marks on a value, or on those of a list or a map, got "
                f"{_shown(annotation)}; keys are stored as they are, and other types are not "
                "looked into"
            )


def _holds_mark(annotation: Any) -> bool:
    if any(isinstance(given, tuple(_SPELLED)) for given in getattr(annotation, "__metadata__", ())):
        return True
    if isinstance(annotation, ForwardRef):
        return mentions_mark(annotation.__forward_arg__)
    members = annotation if isinstance(annotation, list) else typing.get_args(annotation)
    return any(map(_holds_mark, members))


def _spelled(marks: Iterable[type[Mark]]) -> str:
    return " and ".join(sorted(_SPELLED[mark] for mark in marks))


def _shown(annotation: Any) -> str:
    is_class = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__name__ if is_class else repr(annotation)


def mentions_mark(text: str) -> bool:
    """Tell whether the text of an annotation names a mark."""
    words = "".join(c if c.isidentifier() or c.isdigit() else " " for c in text).split()
    return not {*_SPELLED.values()}.isdisjoint(words)


# Type parameters


def is_open(annotation: Any) -> bool:
    """Tell whether an annotation has type variables."""
    parameters: Any = getattr(annotation, "__parameters__", None)
    return isinstance(annotation, TypeVar) or bool(parameters)


def closed(annotation: Any, bound: Bindings) -> Any:
    """Return an annotation with what its type variables stand for."""
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not bound or not parameters or typing.get_origin(annotation) is None:
        return annotation
    return annotation[tuple(bound.get(parameter, parameter) for parameter in parameters)]
