"""Declared fields: what a class says of its documents.

Both spellings end here: `_fields = {"name"}` and annotations (`name: str`).
Nothing in this module knows a database.
"""

from __future__ import annotations

import keyword
import sys
import types
import typing
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from ..errors import DefinitionError

if sys.version_info >= (3, 14):  # pragma: no cover - run under Pyodide, see tests/python314
    import annotationlib

__all__ = ["Default", "Definition", "default", "define", "embedded", "resolved_annotations"]

T = TypeVar("T")

#: Settings and slots of the base classes: never fields.
RESERVED = frozenset(
    {
        "_client",
        "_collection",
        "_db",
        "_default_projection",
        "_definition",
        "_document",
        "_fields",
        "_is_frame",
        "_is_subframe",
        "_private_fields",
        "_state",
        "_tz_aware",
    }
)


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


def default(factory: Callable[[], T]) -> T:
    """Declare that `insert` fills an absent field with `factory()`.

    Args:
        factory: called without arguments, once for every document.

    Raises:
        DefinitionError: `factory` cannot be called.

    >>> from loom import Frame, default
    >>> class Dragon(Frame):
    ...     name: str
    ...     loot: list[str] = default(list)
    """
    return typing.cast(T, Default(factory))


class Definition:
    """What one class declares, its parents' fields included."""

    __slots__ = (
        "annotations",
        "collections",
        "defaults",
        "generated",
        "is_open",
        "names",
        "plans",
        "resolved",
        "resolved_at",
    )

    def __init__(
        self,
        names: frozenset[str],
        annotations: dict[str, tuple[Any, str, dict[str, Any]]],
        defaults: dict[str, Any],
        generated: frozenset[str],
    ) -> None:
        self.names = names
        #: by field: the annotation as written, its module, and the names of the
        #: enclosing function that it mentions
        self.annotations = annotations
        self.defaults = defaults
        #: fields that got a property
        self.generated = generated
        #: a class without fields takes whatever a document holds
        self.is_open = not names - {"_id"}
        self.plans: dict[Any, Any] = {}
        self.collections: dict[bool, Any] = {}
        self.resolved: dict[str, Any] | None = None
        self.resolved_at = -1

    def new_default(self, name: str) -> Any:
        """Return the default of a field, made anew when it is a factory."""
        value = self.defaults[name]
        return value.factory() if isinstance(value, Default) else value


#: Every Loom class by its name, for annotations that name one defined later or elsewhere.
registry: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_registered = 0


def register(cls: type) -> None:
    """Make a class known to the annotations of others."""
    global _registered
    registry[cls.__name__] = cls
    _registered += 1


def define(
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    *,
    implicit: Iterable[str] = (),
    locals_of_caller: Mapping[str, Any] | None = None,
) -> Definition:
    """Take the fields out of a class body and put their properties into it.

    Args:
        name: of the class, for errors.
        bases: its parents; their fields are inherited.
        namespace: the class body; changed.
        implicit: fields that are there without being declared.
        locals_of_caller: names of the function in which the class is written.
    """
    annotations = {
        field: annotation
        for field, annotation in _own_annotations(namespace).items()
        if _is_field_annotation(field, annotation)
    }
    own = [*implicit, *_listed_fields(name, namespace), *annotations]
    for field in own:
        _check_name(name, field)

    names = set(own)
    inherited: dict[str, tuple[Any, str, dict[str, Any]]] = {}
    defaults: dict[str, Any] = {}
    generated: set[str] = set()
    for base in reversed(bases):
        definition: Definition | None = getattr(base, "_definition", None)
        if definition is not None:
            names |= definition.names
            inherited |= definition.annotations
            defaults |= definition.defaults
            generated |= definition.generated

    module = namespace.get("__module__", "")
    scope = locals_of_caller or {}
    for field, annotation in annotations.items():
        inherited[field] = (annotation, module, _mentioned(annotation, scope))

    for field in annotations:
        if field in namespace and not _is_descriptor(namespace[field]):
            defaults[field] = _checked_default(name, field, namespace.pop(field))

    slots = namespace.setdefault("__slots__", ())
    for slot in (slots,) if isinstance(slots, str) else tuple(slots):
        if slot in names:
            raise DefinitionError(
                f"{name}.{slot}: expected a field or a slot, got both; remove it from __slots__"
            )

    wanted = [field for field in dict.fromkeys(own) if field not in namespace]
    properties = _properties(name, bases, wanted, generated, annotations)
    namespace.update(properties)
    generated |= properties.keys()
    return Definition(frozenset(names), inherited, defaults, frozenset(generated))


def _own_annotations(namespace: Mapping[str, Any]) -> dict[str, Any]:
    if "__annotations__" in namespace:
        return dict(namespace["__annotations__"])
    if sys.version_info >= (3, 14):  # pragma: no cover - run under Pyodide
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            return dict(
                annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
            )
    return {}


def _is_field_annotation(field: str, annotation: Any) -> bool:
    if field in RESERVED or (field.startswith("__") and field.endswith("__")):
        return False
    if isinstance(annotation, str):
        head = annotation.partition("[")[0].rpartition(".")[2].strip()
        return head != "ClassVar"
    return annotation is not ClassVar and typing.get_origin(annotation) is not ClassVar


def _listed_fields(name: str, namespace: dict[str, Any]) -> list[str]:
    if "_fields" not in namespace:
        return []
    listed = namespace.pop("_fields")
    if isinstance(listed, (str, bytes)) or not isinstance(listed, Iterable):
        raise DefinitionError(
            f"{name}._fields: expected a set of field names, got {listed!r}; "
            "write _fields = {'name', ...}"
        )
    return list(listed)


def _check_name(owner: str, field: Any) -> None:
    if not isinstance(field, str):
        raise DefinitionError(
            f"{owner}._fields: expected names as str, got {field!r} of type {type(field).__name__}"
        )
    if not field or field.startswith("$") or "." in field or "\0" in field:
        raise DefinitionError(
            f"{owner}.{field}: expected a field name that MongoDB takes, got {field!r}; "
            "a name is not empty, has no dot and no NUL and does not start with $"
        )
    if field in RESERVED or (field.startswith("__") and field.endswith("__")):
        raise DefinitionError(
            f"{owner}.{field}: expected a name that Loom and Python leave free, got {field!r}; "
            "read such a field of a document as frame[name]"
        )


def _is_descriptor(value: Any) -> bool:
    return hasattr(type(value), "__get__")


def _checked_default(owner: str, field: str, value: Any) -> Any:
    if isinstance(value, (list, dict, set, bytearray)):
        raise DefinitionError(
            f"{owner}.{field}: expected a default that cannot change, got {value!r} "
            "that all documents would share; write default(list), default(dict) or "
            "default(lambda: ...)"
        )
    return value


def _properties(
    owner: str,
    bases: tuple[type, ...],
    fields: Iterable[str],
    inherited: set[str],
    annotations: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a property for every field that can have one under its own name."""
    made: dict[str, Any] = {}
    for field in fields:
        if field in inherited or not field.isidentifier() or keyword.iskeyword(field):
            continue
        existing = _attribute(bases, field)
        if existing is None:
            made[field] = _property(field, annotations.get(field))
        elif isinstance(existing, (classmethod, staticmethod)):
            made[field] = _FieldOverOperation(_property(field, annotations.get(field)), existing)
        else:
            warnings.warn(
                f"{owner}.{field}: the method of this name stays; "
                f"read and write the field as frame[{field!r}]",
                stacklevel=4,
            )
    return made


def _attribute(bases: tuple[type, ...], name: str) -> Any:
    for base in bases:
        for cls in base.__mro__:
            if cls is not object and name in cls.__dict__:
                return cls.__dict__[name]
    return None


def _property(field: str, annotation: Any) -> property:
    # Generated code, because a getter with the name as a constant is what CPython
    # specialises; `.get` because try/except makes an absent field four times slower.
    source = (
        f"def read(self): return self._document.get({field!r})\n"
        f"def write(self, value): self._document[{field!r}] = value\n"
    )
    made: dict[str, Any] = {}
    exec(compile(source, f"<field {field}>", "exec"), made)
    made["read"].__name__ = made["write"].__name__ = field
    shown = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", annotation)
    doc = f"Field `{field}`" + (f" ({shown})." if annotation is not None else ".")
    return property(made["read"], made["write"], doc=doc)


class _FieldOverOperation:
    """A field that has the name of a class-level operation.

    The frame gives the field, the class keeps the operation.
    """

    def __init__(self, field: property, operation: Any) -> None:
        self.field = field
        self.operation = operation
        self.__doc__ = field.__doc__

    def __get__(self, frame: Any, owner: type) -> Any:
        if frame is None:
            return self.operation.__get__(None, owner)
        return self.field.__get__(frame, owner)

    def __set__(self, frame: Any, value: Any) -> None:
        self.field.__set__(frame, value)


# Annotations, resolved when first needed


def _mentioned(annotation: Any, scope: Mapping[str, Any]) -> dict[str, Any]:
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
