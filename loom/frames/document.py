"""One Python object around one document: what Frame and SubFrame share."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from copy import deepcopy
from datetime import datetime
from itertools import islice, repeat, starmap
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .. import epoch
from ..errors import EncodeError, FieldError, nearest
from . import fields
from .annotations import mentioned, register
from .declared_indexes import checked_indexes
from .definitions import Definition, Names
from .tracking import Tracked, attach, keep, track, track_all, tracked_of, write_counter
from .values import SCALARS

if TYPE_CHECKING:
    from typing_extensions import Self

    from .jsonable import Datetimes

__all__ = ["Document", "DocumentMeta", "SubFrame", "wrap"]

D = TypeVar("D", bound="Document")

_blank: Any = object.__new__


class DocumentMeta(type):
    """Makes the fields of Frame and SubFrame classes."""

    _definition: Definition
    _kinds: Any

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        is_frame = any(getattr(base, "_is_frame", False) for base in bases)
        is_frame = is_frame or namespace.get("_is_frame", False)
        caller = sys._getframe(1)
        for setting in namespace.keys() & fields.RESERVED:
            fields.check_setting(name, setting, namespace[setting])
        definition = fields.define(
            name,
            bases,
            namespace,
            implicit=("_id",) if is_frame else (),
            locals_of_caller=None if caller.f_locals is caller.f_globals else caller.f_locals,
        )
        namespace["_definition"] = definition
        namespace["_fields"] = Names(definition)
        has_kinds = any(getattr(base, "_kinds", None) is not None for base in bases)
        if is_frame and namespace.get("_collection") is None and not has_kinds:
            namespace["_collection"] = name
        explicit_dict = "__dict__" in namespace["__slots__"]
        made = super().__new__(cls, name, bases, namespace, **options)
        for setting in sorted(namespace.keys() & {"_derived", "_indexes", "_timeseries"}):
            setattr(made, setting, namespace[setting])
        if has_kinds or namespace.get("_kind_field") or namespace.get("_kind"):
            from .kinds import enrol  # when it is used

            enrol(made, namespace)
        definition.is_watched = all(isinstance(base, DocumentMeta) for base in made.__mro__[:-1])
        register(made)
        # A function's local name is not bound yet, and another class may have the same one.
        for annotation in definition.own.annotations.values():
            annotation.scope.update(mentioned(annotation.text, {name: made}))
        epoch.advance()
        if made.__dictoffset__ and not explicit_dict and not _inherits_dict(bases):
            warnings.warn(
                f"{name}: a base class without __slots__ lets misspelt field names pass; "
                "give it __slots__ = (), or declare __slots__ = ('__dict__',) to allow "
                "loose attributes",
                stacklevel=2,
            )
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        # Fields assigned after the class is made take effect as if written in its body.
        if name == "_fields":
            cls._redefine(value)
        else:
            if name in fields.RESERVED:
                if name in _FIXED or cls._kinds is not None:
                    from .kinds import refuse_late  # when it is used

                    refuse_late(cls, name, value)
                fields.check_setting(cls.__name__, name, value)
            if name == "_indexes":
                value = checked_indexes(cls, value)
            elif name == "_derived" and value != {}:
                from .derivations import checked_derived  # when it is used

                value = checked_derived(cls, value)
            elif name == "_timeseries" and value is not None:
                from .timeseries import checked_timeseries  # when it is used

                value = checked_timeseries(cls, value)
            super().__setattr__(name, value)
        epoch.advance()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        epoch.advance()

    def _redefine(cls, listed: Any) -> None:
        old = cls._definition.own.generated
        implicit = ("_id",) if getattr(cls, "_is_frame", False) else ()
        definition, properties = fields.redefine(cls, listed, implicit=implicit)
        super().__setattr__("_definition", definition)
        super().__setattr__("_fields", Names(definition))
        for field in old - definition.own.generated:
            super().__delattr__(field)
        for field, made in properties.items():
            super().__setattr__(field, made)
        children: list[Any] = cls.__subclasses__()
        for child in children:
            child._redefine(child._definition.own.listed)


#: Settings that are written in the body of a class.
_FIXED = frozenset(("_kind", "_kind_field", "_kinds", "_schema_version"))


def _inherits_dict(bases: tuple[type, ...]) -> bool:
    return any(isinstance(base, DocumentMeta) and base.__dictoffset__ for base in bases)


class Document(metaclass=DocumentMeta):
    """A document with attribute access to its fields."""

    __slots__ = ("__weakref__", "_document", "_state")

    _is_frame: ClassVar[bool] = False
    _is_subframe: ClassVar[bool] = False
    #: The classes in one collection, by kind, see `kinds`.
    _kinds: ClassVar[Any] = None
    _definition: ClassVar[Definition]
    if TYPE_CHECKING:
        _fields: ClassVar[AbstractSet[str]]
    _private_fields: ClassVar[AbstractSet[str]] = frozenset()

    _document: dict[str, Any]
    _state: Any

    def __init__(self, document: dict[str, Any] | None = None, /, **values: Any) -> None:
        """Wrap `document` as it is, or make one of the keywords.

        Args:
            document: kept, not copied; may hold anything.
            values: declared fields (any name, when the class declares none).

        Raises:
            FieldError: a keyword is not a declared field, or `document` is not a dict.
        """
        if document is None:
            document = values
            definition = self._definition
            if not definition.is_open and not definition.names >= values.keys():
                raise _unknown(type(self), next(n for n in values if n not in definition.names))
            if "_id" in values and self._is_frame:
                # Not loaded: what was given is to be written.
                track_all(self, values)
        elif values or not isinstance(document, dict):
            raise FieldError(
                f"{type(self).__name__}: expected a dict or keywords, got "
                + ("both" if values else f"{document!r} of type {type(document).__name__}")
                + f"; write {type(self).__name__}({{...}}) or {type(self).__name__}(name=...)"
            )
        self._document = document

    # Items

    def __getitem__(self, name: str) -> Any:
        """Return a value of the document; KeyError when the document has none."""
        value = self._document[name]
        if self._is_frame and value.__class__ not in SCALARS:
            keep(self, name, value)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        definition = self._definition
        if name not in definition.names and not definition.is_open:
            raise _unknown(type(self), name)
        if name in definition.counters:
            write_counter(self, name, value)
            return
        self._document[name] = value
        if self._is_frame and name != "_id":
            track(self)[name] = True

    def __delitem__(self, name: str) -> None:
        """Forget a value; `unset` removes it from the stored document too."""
        del self._document[name]
        tracked = tracked_of(self) if self._is_frame else None
        if tracked is not None:
            tracked.forget(name)

    def __contains__(self, name: object) -> bool:
        return name in self._document

    # Without this, iteration would try the items 0, 1, 2 ...
    __iter__: ClassVar[None] = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value of the document, or `default` when the document has none."""
        return self[name] if name in self._document else default

    # Equality, copies

    def __eq__(self, other: Any) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return self is other or self._document == other._document

    __hash__ = None  # type: ignore[assignment]  # equal by value and changeable

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__setstate__((dict(self._document), _detached(self), _loose(self)))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__((deepcopy(self._document, memo), _detached(self), None))
        for name, value in _loose(self).items():
            setattr(copied, name, deepcopy(value, memo))
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        # In two steps, so that frames may refer to each other in a circle.
        return _blank, (type(self),), (self._document, _detached(self), _loose(self))

    def __setstate__(self, state: tuple[Any, Any, Any]) -> None:
        self._document, detached, loose = state
        if isinstance(detached, Tracked):
            attach(self, detached.attached(self._document))
        elif detached is not None:
            self._state = detached.attached(self._document)
        for name, value in (loose or {}).items():
            setattr(self, name, value)

    # Showing

    @recursive_repr("...")
    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={text}" for name, text in _shown(self))
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        import html  # its table of entities is a sixth of Loom's import, and only notebooks ask

        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in _shown(self)
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"

    def to_json_type(self, datetimes: Datetimes = "text") -> dict[str, Any]:
        """Return the document as values that `json.dumps` takes, without private fields.

        Args:
            datetimes: `"text"` writes `2024-03-10 12:00:00` as MongoFrames does;
                `"iso"` writes ISO 8601 with microseconds and zone, so that nothing is lost.

        Returns:
            A new dict. ObjectId, UUID, Decimal128 and dates become text, bytes base64,
            sets lists; frames inside become dicts, without their own private fields. NaN and
            infinities stay floats: `json.dumps` writes them as `NaN` and `Infinity`, which
            browsers refuse; `json.dumps(..., allow_nan=False)` tells.

        Raises:
            EncodeError: a value that has no JSON form, or a frame that holds itself; the
                message names the path.

        >>> class User(SubFrame):
        ...     _private_fields = {"password"}
        ...     name: str
        ...     password: str
        >>> User(name="Ann", password="...").to_json_type()
        {'name': 'Ann'}
        """
        from .jsonable import jsonable, redacted  # when it is asked for

        if datetimes not in ("text", "iso"):
            raise FieldError(f"to_json_type: expected datetimes='text' or 'iso', got {datetimes!r}")
        name = type(self).__name__
        outer = _converting.get()
        if id(self) in outer:
            raise EncodeError(f"{name}: expected a document without a circle, got one in itself")
        token = _converting.set(outer | {id(self)})
        try:
            visible = redacted(self._document, self._private_fields)
            return {str(k): jsonable(v, datetimes, f"{name}.{k}") for k, v in visible.items()}
        finally:
            _converting.reset(token)

    @classmethod
    def get_fields(cls) -> set[str]:
        """Return the names of the declared fields."""
        return set(cls._fields)

    @classmethod
    def get_private_fields(cls) -> set[str]:
        """Return the paths that `to_json_type` leaves out."""
        return set(cls._private_fields)


def _unknown(cls: type[Document], name: str) -> FieldError:
    known = cls._definition.names
    hint = nearest(name, known) or f"; known are {', '.join(sorted(known))}"
    return FieldError(f"{cls.__name__}: expected a declared field, got {name!r}{hint}")


def _detached(frame: Document) -> Any:
    """Return what a frame remembers, in a form that fits a copy."""
    state = tracked_of(frame)
    if state is None:
        state = getattr(frame, "_state", None)
    return None if state is None else state.detached(frame._document)


def _loose(frame: Document) -> dict[str, Any]:
    """Return what a subclass keeps beside the document."""
    slots = [name for cls in type(frame).__mro__ for name in cls.__dict__.get("__slots__", ())]
    own = {name for name in slots if name not in _SLOTS and hasattr(frame, name)}
    return {**getattr(frame, "__dict__", {}), **{name: getattr(frame, name) for name in own}}


def _shown(frame: Document) -> Iterator[tuple[str, str]]:
    from .jsonable import redacted

    visible = redacted(getattr(frame, "_document", {}), frame._private_fields, _PRIVATE)
    for name, value in visible.items():
        # A zone's repr is longer than the rest of its datetime.
        text = value.isoformat(" ") if isinstance(value, datetime) else repr(_beginning(value))
        yield str(name), text if len(text) <= 80 else f"{text[:77]}..."


class _Private:
    """Stands for a private value where a frame is shown."""

    def __repr__(self) -> str:
        return "<private>"


_PRIVATE = _Private()
_SLOTS = frozenset({"__dict__", "__weakref__", "_document", "_state"})
#: The frames around the one that becomes JSON now, by identity.
_converting: ContextVar[frozenset[int]] = ContextVar("loom.to_json_type", default=frozenset())


def _beginning(value: Any) -> Any:
    """Return no more of a value than `repr` shows: long ones are not written out first."""
    if isinstance(value, (str, bytes, list, tuple)):
        return value[:80] if len(value) > 80 else value
    if type(value) is dict and len(value) > 80:
        return dict(islice(value.items(), 80))
    return value


def wrap(cls: type[D], documents: list[dict[str, Any]]) -> list[D]:
    """Return a frame, of the class of its kind, around every document, which is kept as it is."""
    if cls._kinds is not None and cls._kinds.below(cls):
        class_of = cls._kinds.class_of
        return [_wrapped(class_of(cls, document), document) for document in documents]
    if cls.__init__ is not Document.__init__ or cls.__new__ is not object.__new__:
        return list(map(cls, documents))
    # One shared argument tuple and a slot store in bytecode: half the cost of calling the class.
    blank = starmap(_blank, repeat((cls,), len(documents)))
    # mypy does not know a loop that assigns to an attribute of its own variable.
    return [
        frame
        for frame, frame._document in zip(blank, documents, strict=True)  # type: ignore[has-type]
    ]


def wrap_one(cls: type[D], document: dict[str, Any]) -> D:
    """Return a frame around a document, which is kept, not copied."""
    if cls._kinds is not None:
        cls = cls._kinds.class_of(cls, document)
    return _wrapped(cls, document)


def _wrapped(cls: type[D], document: dict[str, Any]) -> D:
    if cls.__init__ is not Document.__init__ or cls.__new__ is not object.__new__:
        return cls(document)
    frame: D = _blank(cls)
    frame._document = document
    return frame


class SubFrame(Document):
    """An embedded document with attribute access to its fields.

    >>> class Lair(SubFrame):
    ...     name: str
    ...     gold: int
    >>> Lair(name="Cave", gold=5).gold
    5
    """

    __slots__ = ()
    _is_subframe: ClassVar[bool] = True


def is_document(value: Any) -> bool:
    """Tell an embedded document, wrapped or not, from other values."""
    return isinstance(value, Mapping) or getattr(type(value), "_is_subframe", False)
