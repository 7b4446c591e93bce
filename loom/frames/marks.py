"""Marks: what an annotation declares beside a type.

`email: StrLower`, `created: TimeInserted`, `company: Annotated[Company, Ref(on_delete="cascade")]`.
A mark does nothing itself; listeners read it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from ..errors import DefinitionError
from .annotations import resolved_annotations, spelled

__all__ = [
    "FieldMarks",
    "IncrCounter",
    "Mark",
    "OnDelete",
    "Ref",
    "StrLower",
    "StrUpper",
    "TimeInserted",
    "TimeUpdated",
    "declared",
    "known",
    "marks_in",
]


class Mark:
    """The parent of all marks."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Lower(Mark):
    """Text is stored in lower case."""

    __slots__ = ()


class Upper(Mark):
    """Text is stored in upper case."""

    __slots__ = ()


class InsertTime(Mark):
    """Set to now when the document is inserted."""

    __slots__ = ()


class UpdateTime(Mark):
    """Set to now when the document is inserted or updated."""

    __slots__ = ()


class Counter(Mark):
    """What is added is sent as `$inc`."""

    __slots__ = ()


OnDelete = Literal["cascade", "nullify", "pull", "restrict", "default"]
_ON_DELETE = ("cascade", "nullify", "pull", "restrict", "default")


class Ref(Mark):
    """What happens to the document that refers when the one it refers to is deleted.

    Args:
        on_delete: `"cascade"` deletes it, `"nullify"` sets the reference to None, `"pull"` takes
            it out of the list or map, `"restrict"` forbids the delete, `"default"` sets the
            field's default. None does nothing.
        events: send the events of what is deleted or changed for it, which loads it first
            where something listens.

    Raises:
        DefinitionError: another word.

    >>> from typing import Annotated
    >>> from loom import Frame
    >>> class Company(Frame):
    ...     name: str
    >>> class User(Frame):
    ...     company: Annotated[Company, Ref(on_delete="cascade")]
    """

    __slots__ = ("events", "on_delete")

    def __init__(self, on_delete: OnDelete | None = None, *, events: bool = True) -> None:
        if on_delete is not None and on_delete not in _ON_DELETE:
            raise DefinitionError(
                f"Ref: expected on_delete of {', '.join(map(repr, _ON_DELETE))} or None, got "
                f"{on_delete!r}"
            )
        self.on_delete = on_delete
        self.events = events

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ref):
            return False
        return (self.on_delete, self.events) == (other.on_delete, other.events)

    def __hash__(self) -> int:
        return hash((Ref, self.on_delete, self.events))

    def __repr__(self) -> str:
        quiet = "" if self.events else ", events=False"
        return f"Ref(on_delete={self.on_delete!r}{quiet})"


#: A datetime that is set when the document is inserted.
TimeInserted = Annotated[datetime, InsertTime()]
#: A datetime that is set when the document is inserted, and again with every update.
TimeUpdated = Annotated[datetime, UpdateTime()]
#: Text that is stored, and looked for, in lower case.
StrLower = Annotated[str, Lower()]
#: Text that is stored, and looked for, in upper case.
StrUpper = Annotated[str, Upper()]
#: A number that counts: `frame.visits += 1` is sent as `$inc`, so that no count is lost.
IncrCounter = Annotated[int, Counter()]

spelled |= {
    "IncrCounter": IncrCounter,
    "Ref": Ref,
    "StrLower": StrLower,
    "StrUpper": StrUpper,
    "TimeInserted": TimeInserted,
    "TimeUpdated": TimeUpdated,
}

Shape = Literal["one", "list", "map"]


class FieldMarks(NamedTuple):
    """What the annotation of one field declares."""

    marks: tuple[Mark, ...]
    #: the class of its value, or of the members of its list or map; None when there are several
    target: Any
    shape: Shape


def declared(cls: Any) -> dict[str, FieldMarks]:
    """Return what the annotations of a class declare, by field; those not yet resolved are absent.

    Embedded documents are the `target` of their field: what they declare is asked of them.
    """
    kept = known(cls._definition)
    resolved = resolved_annotations(cls._definition)
    if kept.resolved is not resolved:
        kept.fields = {name: marks_in(annotation) for name, annotation in resolved.items()}
        kept.resolved = resolved
    return kept.fields


class Known:
    """What was found out about the annotations of a class."""

    __slots__ = ("fields", "marked", "resolved", "rules")

    def __init__(self) -> None:
        #: by `declared`, of these annotations
        self.fields: dict[str, FieldMarks] = {}
        self.resolved: Any = None
        #: by `marked`, each after its epoch
        self.marked: tuple[int, Any] = (-1, None)
        self.rules: tuple[int, dict[Any, Any]] = (-1, {})


def known(definition: Any) -> Known:
    """Return what is known of a class by its definition."""
    found: Known | None = definition.declared
    if found is None:
        found = definition.declared = Known()
    return found


def marks_in(annotation: Any) -> FieldMarks:
    """Return what an annotation declares: `list[StrLower] | None`, `Annotated[Dragon, Ref()]`."""
    marks: list[Mark] = []
    shape: Shape = "one"
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            marks += (m for m in annotation.__metadata__ if isinstance(m, Mark))
            annotation = annotation.__origin__
        elif type(annotation).__name__ == "TypeAliasType":  # `type Email = StrLower`, from 3.12 on
            annotation = annotation.__value__
        elif origin is typing.Union or origin is types.UnionType:
            members = [m for m in typing.get_args(annotation) if m is not type(None)]
            if len(members) != 1:
                inner = [marks_in(member) for member in members]
                return FieldMarks((*marks, *(m for i in inner for m in i.marks)), None, shape)
            annotation = members[0]
        elif isinstance(origin, type) and issubclass(origin, Iterable):
            arguments = [a for a in typing.get_args(annotation) if a is not ...]
            if not arguments:
                return FieldMarks(tuple(marks), None, shape)
            shape = "map" if issubclass(origin, Mapping) else "list"
            annotation = arguments[-1]
        else:
            return FieldMarks(tuple(marks), typing.get_origin(annotation) or annotation, shape)
