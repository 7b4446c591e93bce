"""Kinds: several classes in one collection, told apart by a field of their documents.

The class at the root names the field, `_kind_field = "type"`; each class below it stores its own
name there, or its `_kind`. The root sees all documents. A class below sees those of its own kind
and of the kinds below it: the port adds that to every filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import epoch
from ..errors import DefinitionError, FieldError
from .steps import FIRST

__all__ = ["Kinds", "Share", "enrol", "refuse_late"]

#: Methods of a collection whose first argument is a filter.
_BY_FILTER = frozenset(
    ("delete_many", "delete_one", "find_one_and_delete", "find_one_and_replace")
    + ("find_one_and_update", "replace_one", "update_many", "update_one")
)
#: What says where documents are: for all kinds the same.
PLACE = ("_client", "_collection", "_db")


class Kinds:
    """The classes whose documents are in one collection, by their kinds.

    Only classes that are imported are known.

    Attributes:
        root: the class that names the field.
        field: holds the kind of a document.
    """

    __slots__ = ("_below", "_classes", "_conditions", "field", "root")

    def __init__(self, root: Any, field: str) -> None:
        self.root = root
        self.field = field
        self._classes: dict[str, Any] = {}
        #: by class, each after its epoch
        self._below: dict[Any, tuple[int, tuple[Any, ...]]] = {}
        self._conditions: dict[Any, tuple[int, Any]] = {}

    def __repr__(self) -> str:
        return f"Kinds({self.root.__name__}.{self.field}: {', '.join(self._classes)})"

    def add(self, cls: Any) -> None:
        """Take in a class.

        Raises:
            DefinitionError: another class has its kind.
        """
        kind = cls._kind
        for known, other in [*self._classes.items()]:
            # Made again, as a notebook's cell is that runs twice.
            is_again = (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)
            if is_again:
                del self._classes[known]
            elif known.casefold() == kind.casefold():
                # A query whose collation ignores case would take one for the other.
                raise DefinitionError(
                    f"{cls.__name__}._kind: expected a kind of its own, got {kind!r}, and "
                    f"{other.__name__} has {known!r}; write another _kind = '...'"
                )
        self._classes[kind] = cls

    def below(self, cls: Any) -> tuple[Any, ...]:
        """Return the classes below a class, the first imported first."""
        number, found = self._below.get(cls, (-1, ()))
        if number != epoch.current:
            number = epoch.current
            known = self._classes.values()
            new = tuple(one for one in known if one is not cls and issubclass(one, cls))
            found = found if new == found else new
            self._below[cls] = number, found
        return found

    def class_of(self, cls: Any, document: Mapping[str, Any]) -> Any:
        """Return the class of a document that was read as one of `cls`.

        It is `cls` itself when the kind is not known.
        """
        kind = document.get(self.field)
        found = self._classes.get(kind) if type(kind) is str else None
        return found if found is not None and issubclass(found, cls) else cls

    def is_known(self, kind: Any) -> bool:
        """Tell whether a class is known that has a kind."""
        return type(kind) is str and kind in self._classes

    def grouped(self, cls: Any, documents: Sequence[Mapping[str, Any]]) -> dict[Any, list[int]]:
        """Return the positions of documents by their classes."""
        groups: dict[Any, list[int]] = {}
        for position, document in enumerate(documents):
            groups.setdefault(self.class_of(cls, document), []).append(position)
        return groups

    def declares(self, cls: Any, name: str) -> bool:
        """Tell whether a class, or one below it, declares a field."""
        definitions = [one._definition for one in (cls, *self.below(cls))]
        return any(name in one.names or one.is_open for one in definitions)

    def shares(self, frames: Sequence[Any], payload: Mapping[str, Any]) -> list[Share]:
        """Return what is told of the frames of each class, the class of the first frame first."""
        groups: dict[Any, list[int]] = {}
        for position, frame in enumerate(frames):
            groups.setdefault(type(frame), []).append(position)
        return [Share(cls, frames, payload, positions) for cls, positions in groups.items()]

    # What a class sees

    def condition(self, cls: Any) -> Any:
        """Return what the field must be in the documents of a class, None when it sees all."""
        if cls is self.root:
            return None
        number, found = self._conditions.get(cls, (-1, None))
        if number != epoch.current:
            number = epoch.current
            kinds = [one._kind for one in (cls, *self.below(cls))]
            found = kinds[0] if len(kinds) == 1 else {"$in": kinds}
            self._conditions[cls] = number, found
        return found

    def narrowed(self, cls: Any, filter: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a filter that finds documents of a class only."""
        condition = self.condition(cls)
        if condition is None:
            return filter
        if self.field in filter:
            return {"$and": [filter, {self.field: condition}]}
        return {**filter, self.field: condition}

    def narrowed_call(self, cls: Any, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a writing method that writes documents of a class only."""
        if method not in _BY_FILTER:
            return args
        return self.narrowed(cls, args[0]), *args[1:]

    def narrowed_stages(
        self, cls: Any, pipeline: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """Return a pipeline that begins with documents of a class only."""
        condition = self.condition(cls)
        if condition is None:
            return pipeline
        at = 1 if pipeline and FIRST & pipeline[0].keys() else 0
        return [*pipeline[:at], {"$match": {self.field: condition}}, *pipeline[at:]]

    # What is stored

    def mark(self, cls: Any, document: dict[str, Any]) -> None:
        """Put the kind of a class into a new document.

        Raises:
            FieldError: another one is there.
        """
        kind = document.get(self.field)
        if kind is None:
            document[self.field] = cls._kind
        else:
            self.check(cls, document, "insert")

    def check(self, cls: Any, document: Mapping[str, Any], operation: str) -> None:
        """Check that a document still has the kind of its class.

        Raises:
            FieldError: it was made another one.
        """
        kind = document.get(self.field)
        if kind == cls._kind or kind is None:
            return
        if cls is not self.root or self.is_known(kind):
            wanted = self._classes[kind].__name__ if self.is_known(kind) else "another class"
            raise FieldError(
                f"{cls.__name__}.{operation}: expected {self.field}={cls._kind!r}, which tells the "
                f"class of the document, got {kind!r}; make a {wanted} of it, or change the kind "
                "of a stored document by get_collection()"
            )


class Share:
    """The frames of one class among those of an event, and what goes with them.

    Attributes:
        cls: the class.
        frames: those of it.
        payload: of the event, with the changes of these frames.
    """

    __slots__ = ("_positions", "cls", "frames", "payload")

    def __init__(
        self, cls: Any, frames: Sequence[Any], payload: Mapping[str, Any], positions: list[int]
    ) -> None:
        self.cls = cls
        self.frames = [frames[position] for position in positions]
        self.payload = dict(payload)
        self._positions: list[int] = []
        changes = payload.get("changes")
        if isinstance(changes, list) and len(changes) == len(frames):
            self._positions = positions
            self.payload["changes"] = [changes[position] for position in positions]

    def give_back(self, payload: Mapping[str, Any]) -> None:
        """Take over what listeners put into the list of changes."""
        if not self._positions:
            return
        changes, ours = payload["changes"], self.payload["changes"]
        if len(ours) != len(self._positions):
            changes[:] = ours  # the caller says what is wrong
            return
        for position, change in zip(self._positions, ours, strict=True):
            changes[position] = change


def enrol(cls: Any, namespace: Mapping[str, Any]) -> None:
    """Take a new class into the kinds of its collection, or make it their root.

    Raises:
        DefinitionError: its settings contradict each other, or those of a parent.
    """
    name = cls.__name__
    above = {id(base._kinds): base._kinds for base in cls.__mro__[1:] if _has_kinds(base)}
    if not getattr(cls, "_is_frame", False):
        raise DefinitionError(
            f"{name}: expected kinds of Frame classes, got a SubFrame; embedded documents are "
            "mapped to the class of their field"
        )
    if len(above) > 1:
        raise DefinitionError(
            f"{name}: expected parents of one collection, got "
            f"{' and '.join(repr(kinds) for kinds in above.values())}"
        )
    if not above:
        if namespace.get("_kind_field") is None:
            raise DefinitionError(
                f"{name}._kind: expected a parent with _kind_field, got none; write "
                "_kind_field = '...' in the class that stands for all kinds"
            )
        type.__setattr__(cls, "_kinds", Kinds(cls, namespace["_kind_field"]))
    else:
        (kinds,) = above.values()
        if namespace.get("_kind", name) is None:
            raise DefinitionError(f"{name}._kind: expected a text, got None; leave it out")
        for setting in ("_kind_field", "_schema_version", "_timeseries", *PLACE):
            if setting in namespace:
                raise DefinitionError(
                    f"{name}.{setting}: expected the one of {kinds.root.__name__}, which all kinds "
                    f"share, got {namespace[setting]!r}; leave it out, or name the kind by "
                    "_kind = '...'"
                )
    if namespace.get("_kind") is None:
        type.__setattr__(cls, "_kind", name)
    cls._kinds.add(cls)


def refuse_late(cls: Any, name: str, value: Any) -> None:
    """Refuse a setting that is assigned to a class later, where that cannot be heeded.

    Raises:
        DefinitionError: it belongs into the body of the class, or to the root of its kinds.
    """
    kinds = cls._kinds
    if kinds is not None and name in PLACE and cls is not kinds.root:
        raise DefinitionError(
            f"{cls.__name__}.{name}: expected the one of {kinds.root.__name__}, which all kinds "
            f"share, got {value!r}; assign it there"
        )
    if name not in PLACE and (name.startswith("_kind") or name == "_schema_version"):
        raise DefinitionError(
            f"{cls.__name__}.{name}: expected it in the body of the class, got {value!r} assigned "
            "later"
        )


def _has_kinds(base: Any) -> bool:
    return getattr(base, "_kinds", None) is not None
