"""Declared fields: what a class says of its documents.

Both spellings end here: `_fields = {"name"}` and annotations (`name: str`).
Nothing in this module knows a database.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import Any, TypeVar

from ..errors import DefinitionError
from .annotated import said
from .annotations import Annotation, evaluated, is_class_variable, mentioned, own_annotations
from .definitions import NOTHING, Default, Definition, Own, merged
from .properties import Kind, kind_of, properties

__all__ = ["Default", "Definition", "check_setting", "default", "define", "redefine"]

T = TypeVar("T")

#: Settings and slots of the base classes: never fields.
RESERVED = frozenset(
    {
        "_append_only",
        "_client",
        "_collection",
        "_db",
        "_default_projection",
        "_definition",
        "_derived",
        "_document",
        "_fields",
        "_indexes",
        "_is_frame",
        "_is_subframe",
        "_page_secret",
        "_kind",
        "_kind_field",
        "_kinds",
        "_known_at_field",
        "_private_fields",
        "_schema_version",
        "_state",
        "_symbol_field",
        "_time_field",
        "_timeseries",
        "_tz_aware",
        "_upgrade",
        "_version",
    }
)
#: Of these, what holds the document: neither fields nor settings.
_INTERNAL = ("_definition", "_document", "_state")

#: What a newcomer writes after the `=` where the `:` belongs.
_TYPES = (bool, bytes, date, datetime, dict, float, int, list, set, str, tuple)


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
    written = own_annotations(namespace)
    for internal in _INTERNAL if bases else ():
        if internal in namespace or internal in written:
            _check_name(name, internal)
    annotations = {
        field: annotation
        for field, annotation in written.items()
        if not (_is_reserved(field) or is_class_variable(annotation))
    }
    listed = (*implicit, *_listed_fields(name, namespace.pop("_fields", ())))
    fields = dict.fromkeys([*listed, *annotations])
    for field in fields:
        _check_name(name, field)

    slots = namespace.setdefault("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    namespace["__slots__"] = slots
    inherited = merged(bases, NOTHING)
    defaults = _taken_defaults(name, namespace, {*fields, *inherited.names} - {*slots})
    for slot in slots:
        if slot in fields or slot in inherited.names:
            raise DefinitionError(
                f"{name}.{slot}: expected a field or a slot, got both; remove it from __slots__"
            )

    module = namespace.get("__module__", "")
    holder = namespace.get("__qualname__", "").rpartition(".")[0]
    scope = locals_of_caller or {}
    placed = {
        field: Annotation(annotation, module, holder, mentioned(annotation, scope))
        for field, annotation in annotations.items()
    }
    is_frame = bool(implicit)
    resolved = {field: evaluated(annotation) for field, annotation in placed.items()}
    for field, annotation in resolved.items():
        if annotation is not None:
            said(f"{name}.{field}", annotation, is_frame=is_frame)
    kinds: dict[str, Kind] = {
        field: "embedded" if field in implicit or not is_frame else kind_of(resolved.get(field))
        for field in fields
        if field not in inherited.names or field in placed
    }
    if not is_frame:
        _refuse_counters(name, resolved)
    own = Own(listed, placed, defaults, frozenset(), kinds)
    definition = merged(bases, own)
    moved = definition.place([base._definition.positions for base in _documents(bases)])
    wanted = {
        field: definition.access(field)
        for field in definition.ordered
        if field not in namespace
        and (field in moved or kinds.get(field) not in (None, inherited.kinds.get(field)))
    }
    made = properties(name, bases, wanted, annotations, inherited.names)
    namespace.update(made)
    definition.own = own._replace(generated=frozenset(made))
    return definition


def redefine(
    cls: Any, listed: Any, *, implicit: Iterable[str] = ()
) -> tuple[Definition, dict[str, Any]]:
    """Return the definition of a class with other listed fields, and its new properties."""
    name = cls.__name__
    old: Own = cls._definition.own
    listed = tuple(dict.fromkeys([*implicit, *_listed_fields(name, listed)]))
    for field in listed:
        _check_name(name, field)
    inherited = merged(cls.__bases__, NOTHING)
    free: dict[str, Kind] = {
        field: "embedded" if field in implicit or not implicit else "watched"
        for field in listed
        if field not in inherited.names and field not in vars(cls)
    }
    kinds: dict[str, Kind] = {
        f: k for f, k in old.kinds.items() if f in listed or f in old.annotations
    }
    own = old._replace(listed=listed, kinds=kinds | free)
    definition = merged(cls.__bases__, own)
    # A frame that is tracked already keeps the places of its fields.
    above = [base._definition.positions for base in _documents(cls.__bases__)]
    moved = definition.place([cls._definition.positions, *above])
    wanted = {f: definition.access(f) for f in definition.ordered if f in free or f in moved}
    made = properties(name, cls.__bases__, wanted, {}, inherited.names)
    kept = old.generated & {*listed, *old.annotations}
    definition.own = own._replace(generated=kept | made.keys())
    return definition, made


def _documents(bases: Iterable[Any]) -> list[Any]:
    return [base for base in bases if hasattr(base, "_definition")]


def _refuse_counters(owner: str, annotations: Mapping[str, Any]) -> None:
    for field, annotation in annotations.items():
        if kind_of(annotation) == "counter":
            raise DefinitionError(
                f"{owner}.{field}: expected a counter on a Frame, got one on a SubFrame; declare "
                f"it as int and count with frame.inc('path.{field}')"
            )


def _taken_defaults(owner: str, namespace: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """Take the values of fields out of a class body; refuse what was meant as a field."""
    defaults: dict[str, Any] = {}
    for name, value in [*namespace.items()]:
        if name in fields:
            if not hasattr(type(value), "__get__"):
                defaults[name] = _checked_default(owner, name, namespace.pop(name))
        elif isinstance(value, Default):
            raise DefinitionError(
                f"{owner}.{name}: expected a declared field, got {value!r} without a type; "
                f"write {name}: list[str] = default(...)"
            )
        elif any(value is kind for kind in _TYPES):
            raise DefinitionError(
                f"{owner}.{name}: expected an annotation, got the type as a value; "
                f"write {name}: {value.__name__}"
            )
    return defaults


def _listed_fields(name: str, listed: Any) -> list[str]:
    if isinstance(listed, (str, bytes)) or not isinstance(listed, Iterable):
        raise DefinitionError(
            f"{name}._fields: expected a set of field names, got {listed!r}; "
            "write _fields = {'name', ...}"
        )
    # A set has an order of its own in each process.
    return sorted(listed, key=str) if isinstance(listed, AbstractSet) else list(listed)


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


def _checked_default(owner: str, field: str, value: Any) -> Any:
    if type(value).__hash__ is None:  # lists, dicts, sets, sub-frames
        raise DefinitionError(
            f"{owner}.{field}: expected a default that cannot change, got {value!r} "
            "that all documents would share; write default(list) or default(lambda: ...)"
        )
    return value


def check_setting(owner: str, name: str, value: Any) -> None:
    """Refuse a setting that would silently do something else.

    Raises:
        DefinitionError: it has the wrong type.
    """
    if name == "_private_fields":
        # A bare text would hide its letters, and show the field.
        if isinstance(value, (str, bytes)) or not _are_texts(value):
            raise DefinitionError(
                f"{owner}._private_fields: expected a set of paths, got {value!r}; "
                "write _private_fields = {'name', ...}"
            )
    elif name == "_collection":
        if value is not None and (not isinstance(value, str) or not value):
            raise DefinitionError(
                f"{owner}._collection: expected the name of a collection, got {value!r}"
            )
    elif name == "_db" and value is not None:
        db = getattr(value, "name", value)
        if not isinstance(db, str) or not db:
            raise DefinitionError(
                f"{owner}._db: expected the name of a database, or a Database, got {value!r}"
            )
    elif name == "_version":
        if value is not None:
            _check_version(owner, value)
    elif name in ("_kind", "_kind_field") and value is not None:
        is_name = isinstance(value, str) and value != ""
        if not is_name or (name == "_kind_field" and not _is_plain_name(value)):
            what = "the name of a field" if name == "_kind_field" else "a text"
            raise DefinitionError(
                f"{owner}.{name}: expected {what} that tells the classes of a collection apart, "
                f"got {value!r}"
            )
    elif name == "_schema_version":
        if value is not None and (type(value) is not int or value < 1):
            raise DefinitionError(
                f"{owner}._schema_version: expected a whole number from 1 on, got {value!r}"
            )
    elif name == "_upgrade":
        if value is not None and not callable(getattr(value, "__func__", value)):
            raise DefinitionError(
                f"{owner}._upgrade: expected a function of a document and its version, got "
                f"{value!r}"
            )
    elif name == "_page_secret":
        if value is not None and (not isinstance(value, (str, bytes)) or not value):
            raise DefinitionError(
                f"{owner}._page_secret: expected text or bytes that are not empty, got "
                f"{type(value).__name__ if value else 'nothing in it'}"
            )
    elif name == "_tz_aware" and value not in (None, True, False):
        raise DefinitionError(f"{owner}._tz_aware: expected True, False or None, got {value!r}")


def _check_version(owner: str, name: Any) -> None:
    if not isinstance(name, str) or not _is_plain_name(name):
        raise DefinitionError(
            f"{owner}._version: expected the name of a field that counts the document's versions, "
            f"got {name!r}; write _version = '_v'"
        )


def _is_plain_name(name: str) -> bool:
    return name not in ("", "_id") and name[:1] != "$" and "." not in name


def _are_texts(values: Any) -> bool:
    return isinstance(values, Iterable) and all(isinstance(value, str) for value in values)
