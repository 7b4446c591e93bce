"""Annotations: which fields they declare, and the types they mean once all classes are known."""

from __future__ import annotations

import sys
import types
import typing
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from .fields import Definition

if sys.version_info >= (3, 14):  # pragma: no cover - run under Pyodide, see tests/python314
    import annotationlib

__all__ = [
    "embedded",
    "is_class_variable",
    "mentioned",
    "own_annotations",
    "register",
    "resolved_annotations",
]

#: Every Loom class by its name, for annotations that name one defined later or elsewhere.
registry: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_registered = 0


def register(cls: type) -> None:
    """Make a class known to the annotations of others."""
    global _registered
    registry[cls.__name__] = cls
    _registered += 1


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
        head = annotation.partition("[")[0].rpartition(".")[2].strip()
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
    all Loom classes made so far.
    """
    if definition.resolved is not None and (
        len(definition.resolved) == len(definition.annotations)
        or definition.resolved_at == _registered
    ):
        return definition.resolved

    resolved: dict[str, Any] = {}
    for field, (annotation, module, scope) in definition.annotations.items():
        names = {**registry, **vars(sys.modules.get(module, types.ModuleType(""))), **scope}
        try:
            resolved[field] = _evaluate(annotation, names)
        except (NameError, AttributeError, TypeError, SyntaxError):
            # Not defined yet, imported for type checkers only, or newer syntax than this
            # Python runs: such an annotation still declares the field.
            continue
    definition.resolved = resolved
    definition.resolved_at = _registered
    return resolved


def _evaluate(annotation: Any, names: dict[str, Any]) -> Any:
    def carrier() -> None: ...

    carrier.__annotations__ = {"value": annotation}
    return typing.get_type_hints(carrier, names, names, include_extras=True)["value"]


Shape = Literal["one", "list", "map"]


def embedded(annotation: Any) -> tuple[type, Shape] | None:
    """Return the SubFrame class an annotation speaks of, and how it is held.

    `Lair`, `Lair | None`, `list[Lair]`, `dict[str, Lair]`, also inside `Annotated`.
    """
    annotation = _bare(annotation)
    if getattr(annotation, "_is_subframe", False):
        return annotation, "one"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return None
    inner = _bare(arguments[-1] if issubclass(origin, Mapping) else arguments[0])
    if not getattr(inner, "_is_subframe", False):
        return None
    if issubclass(origin, Mapping):
        return inner, "map"
    return (inner, "list") if issubclass(origin, Iterable) else None


def _bare(annotation: Any) -> Any:
    """Return an annotation without `Annotated` and `None`."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = annotation.__origin__
        elif origin is typing.Union or origin is types.UnionType:
            members = [m for m in typing.get_args(annotation) if m is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation
