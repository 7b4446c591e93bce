"""Annotations: which fields they declare, and the types they mean once all classes are known."""

from __future__ import annotations

import sys
import types
import typing
import weakref
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from ..datetimes import PLAIN

if TYPE_CHECKING:
    from .definitions import Definition

if sys.version_info >= (3, 14):  # pragma: no cover - run under Pyodide, see tests/python314
    import annotationlib

__all__ = [
    "Annotation",
    "embedded",
    "evaluated",
    "failure_of",
    "is_class_variable",
    "is_timeless",
    "mentioned",
    "own_annotations",
    "register",
    "resolved_annotations",
]


class Annotation(NamedTuple):
    """An annotation as written, and where."""

    text: Any
    module: str
    #: qualified name of the class or function around the class
    holder: str
    #: names of the enclosing function that it mentions
    scope: dict[str, Any]


#: Every Loom class by its name, for annotations that name one defined later or elsewhere.
_classes: dict[str, list[weakref.ref[type]]] = {}
_registered = 0


#: Loom's own names for annotations, which a module may import for type checkers only.
spelled: dict[str, Any] = {}


def register(cls: type) -> None:
    """Make a class known to the annotations of others."""
    global _registered
    others = [other for other in _classes.get(cls.__name__, ()) if other() is not None]
    _classes[cls.__name__] = [*others, weakref.ref(cls)]
    _registered += 1


def _registered_class(name: str, module: str, holder: str) -> type | None:
    """Return the Loom class that a name means in a module, None when several could be meant.

    A class made again, as in a notebook, takes the place of the one before; of several
    places those nearest to the reader count.
    """
    found = [cls for other in _classes.get(name, ()) if (cls := other()) is not None]
    here = [cls for cls in found if cls.__module__ == module]
    beside = [cls for cls in here if cls.__qualname__.rpartition(".")[0] == holder]
    near = beside or here or found
    return near[-1] if len({(cls.__module__, cls.__qualname__) for cls in near}) == 1 else None


def own_annotations(namespace: Mapping[str, Any]) -> dict[str, Any]:
    if "__annotations__" in namespace:
        return dict(namespace["__annotations__"])
    if sys.version_info >= (3, 14):  # pragma: no cover - run under Pyodide
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            return dict(
                annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
            )
    return {}


def is_class_variable(annotation: Any) -> bool:
    """Tell an annotation that declares no field."""
    if isinstance(annotation, str):
        head = annotation.strip(" '\"").partition("[")[0].rpartition(".")[2].strip()
        return head == "ClassVar"
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def mentioned(annotation: Any, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of `scope` that an annotation could mean.

    The scope itself is not kept: it would keep everything alive that a function holds.
    """
    if not scope:
        return {}
    text = annotation if isinstance(annotation, str) else repr(annotation)
    words = "".join(c if c.isidentifier() or c.isdigit() else " " for c in text).split()
    return {word: scope[word] for word in words if word in scope}


def resolved_annotations(definition: Definition) -> dict[str, Any]:
    """Return the annotated fields with their types; those that cannot be resolved yet are left out.

    Names are looked up in the function that holds the class, in its module, then among
    all Loom classes made so far and the marks.
    """
    if definition.resolved is not None and (
        len(definition.resolved) == len(definition.annotations)
        or definition.resolved_at == _registered
    ):
        return definition.resolved

    resolved: dict[str, Any] = {}
    for field, written in definition.annotations.items():
        try:
            resolved[field] = _evaluate(written)
        except Exception:
            # Not defined yet, imported for type checkers only, newer syntax than this Python
            # runs, or a note in words: such an annotation still declares the field.
            continue
    definition.resolved = resolved
    definition.resolved_at = _registered
    return resolved


def _evaluate(written: Annotation) -> Any:
    def carrier() -> None: ...

    carrier.__annotations__ = {"value": written.text}
    module = sys.modules.get(written.module)
    names = {**(vars(module) if module else {}), **written.scope}
    while True:
        try:
            value = typing.get_type_hints(carrier, names, names, include_extras=True)["value"]
            if sys.version_info >= (3, 11) or value == (value := _with_references(value)):
                return value
            carrier.__annotations__ = {"value": value}
        except NameError as error:
            name = error.name or ""
            found = _registered_class(name, written.module, written.holder) or spelled.get(name)
            if found is None or name in names:
                raise
            names[name] = found


def _with_references(annotation: Any) -> Any:
    """Return `list["Lair"]` with a reference in place of the text, which Python 3.10 leaves."""
    if not isinstance(annotation, types.GenericAlias):
        return annotation
    inner = [
        typing.ForwardRef(argument) if isinstance(argument, str) else _with_references(argument)
        for argument in typing.get_args(annotation)
    ]
    origin: Any = typing.get_origin(annotation)
    return types.GenericAlias(origin, tuple(inner))


def evaluated(written: Annotation) -> Any:
    """Return what an annotation means, None when that cannot be known yet."""
    try:
        return _evaluate(written)
    except Exception:
        return None  # see resolved_annotations


def failure_of(written: Annotation) -> Exception | None:
    """Return why an annotation cannot be resolved, None when it can."""
    try:
        _evaluate(written)
    except Exception as error:
        return error
    return None


Shape = Literal["one", "list", "map"]


def embedded(annotation: Any) -> tuple[type, Shape] | None:
    """Return the SubFrame class an annotation speaks of, and how it is held.

    `Lair`, `Lair | None`, `list[Lair]`, `dict[str, Lair]`, also inside `Annotated`.
    """
    annotation = _bare(annotation)
    found = _subframe(annotation)
    if found is not None:
        return found, "one"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return None
    members = [_subframe(_bare(argument)) for argument in arguments if argument is not ...]
    inner = members[-1]
    if inner is None:
        return None
    if issubclass(origin, Mapping):
        return inner, "map"
    return (inner, "list") if issubclass(origin, Iterable) and len({*members}) == 1 else None


def is_timeless(annotation: Any) -> bool:
    """Tell whether an annotation leaves no place for a datetime: text, a number, or None."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(map(is_timeless, typing.get_args(annotation)))
    # A datetime is a date, too.
    return isinstance(annotation, type) and annotation in PLAIN and annotation is not date


def _subframe(annotation: Any) -> type | None:
    """Return the SubFrame class of `Lair` or of a generic `Lair[int]`."""
    cls = typing.get_origin(annotation) or annotation
    return cls if isinstance(cls, type) and getattr(cls, "_is_subframe", False) else None


def _bare(annotation: Any) -> Any:
    """Return an annotation without `Annotated` and `None`."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = annotation.__origin__
        elif type(annotation).__name__ == "TypeAliasType":  # `type Den = Lair`, from 3.12 on
            annotation = annotation.__value__
        elif origin is typing.Union or origin is types.UnionType:
            members = [m for m in typing.get_args(annotation) if m is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation
