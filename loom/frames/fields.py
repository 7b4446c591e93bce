"""Declared fields: what a class says of its documents.

Both spellings end here: `_fields = {"name"}` and annotations (`name: str`).
Nothing in this module knows a database.
"""

from __future__ import annotations

import keyword
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import DefinitionError
from .annotations import is_class_variable, mentioned, own_annotations

__all__ = ["Default", "Definition", "default", "define"]

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
        for field, annotation in own_annotations(namespace).items()
        if not (_is_reserved(field) or is_class_variable(annotation))
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
        inherited[field] = (annotation, module, mentioned(annotation, scope))

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
    if _is_reserved(field):
        raise DefinitionError(
            f"{owner}.{field}: expected a name that Loom and Python leave free, got {field!r}; "
            "read such a field of a document as frame[name]"
        )


def _is_reserved(field: str) -> bool:
    return field in RESERVED or (field.startswith("__") and field.endswith("__"))


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
    shown = (
        annotation if isinstance(annotation, str) else getattr(annotation, "__name__", annotation)
    )
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
