"""Links: where the documents of one class refer to those of another, and what a delete does there.

A link is found by a filter, and loosened by an update document. Where the way leads through maps,
or lists of lists, filter and update are expressions, which read every document of the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final, Literal
from weakref import ref

from .values import to_refs

__all__ = ["LIST", "MAP", "Act", "Holder", "Link", "Step"]


class Holder(Enum):
    """What a step of a path goes through without a name."""

    LIST = "[]"
    MAP = "{}"


LIST: Final = Holder.LIST
MAP: Final = Holder.MAP
#: A name, or all that a list or map holds.
Step = str | Holder
#: What is done to a reference, or to the document that holds it.
Act = Literal["cascade", "nullify", "pull", "restrict", "default"]

_GONE = "$$gone"
_LISTS = (list, tuple, AbstractSet)


class Link:
    """One place where documents refer to others.

    Attributes:
        steps: the way to the reference: `("lairs", LIST, "keeper")`.
        path: the same as a dotted path.
        act: what a delete does there.
        is_heard: whether that sends events.
        new_default: makes the value that `"default"` sets.
        is_made_anew: whether that is another one for every document.
    """

    __slots__ = (
        "_cls",
        "_target",
        "act",
        "is_heard",
        "is_made_anew",
        "new_default",
        "path",
        "steps",
    )

    def __init__(
        self,
        cls: Any,
        steps: tuple[Step, ...],
        act: Act,
        target: Any,
        is_heard: bool = True,
        new_default: Callable[[], Any] | None = None,
        is_made_anew: bool = False,
    ) -> None:
        # What is known of classes does not keep them.
        self._cls = ref(cls)
        self.steps = steps
        self.act: Act = act
        self._target = ref(target)
        self.is_heard = is_heard
        self.new_default = new_default
        self.is_made_anew = is_made_anew
        self.path = ".".join(step for step in steps if isinstance(step, str))

    def __repr__(self) -> str:
        return f"Link({self.place}, {self.act})"

    @property
    def cls(self) -> Any:
        """The class of the documents that refer."""
        return self._cls()

    @property
    def target(self) -> Any:
        """The class of what is referred to."""
        return self._target()

    @property
    def place(self) -> str:
        """The link as messages name it: `User.company`."""
        return f"{self.cls.__name__}.{self.path}"

    @property
    def root(self) -> str:
        """The field that holds the reference."""
        return str(self.steps[0])

    @property
    def projection(self) -> dict[str, Any]:
        """What must be fetched of a document to know what it refers to."""
        return {"_id": True, self.path if self._has_path() else self.root: True}

    def _has_path(self) -> bool:
        """Tell whether a dotted path reaches the reference: through lists, not lists of lists."""
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return MAP not in self.steps and (LIST, LIST) not in pairs

    def filter(self, ids: Sequence[Any]) -> dict[str, Any]:
        """Return what finds the documents that refer to one of `ids`."""
        if self._has_path():
            return {self.path: {"$in": list(ids)}}
        found = _holds(f"${self.root}", self.steps[1:])
        return {"$expr": _with_gone(ids, found)}

    def change(self, ids: Sequence[Any], new: Any = None) -> Any:
        """Return the update document, or the stages, that end the references to `ids`.

        Args:
            ids: of what is gone.
            new: what `"default"` sets.
        """
        last = max(at for at, step in enumerate(self.steps) if isinstance(step, str))
        tail = self.steps[last + 1 :]
        if not any(isinstance(step, Holder) for step in self.steps[:last]):
            if self.act == "default":
                return {"$set": {self.path: new}}
            if self.act == "pull" and tail == (LIST,):
                return {"$pull": {self.path: {"$in": list(ids)}}}
            if not tail:
                return {"$set": {self.path: None}}
        loosened = self._loosened(f"${self.root}", self.steps[1:], new)
        return [{"$set": {self.root: _with_gone(ids, loosened)}}]

    def default(self) -> Any:
        """Return a new value for `"default"` to set."""
        return None if self.new_default is None else self.new_default()

    # As expressions of the server

    def _loosened(self, value: str, steps: tuple[Step, ...], new: Any) -> Any:
        """Return the expression of a value without its references."""
        if not steps:
            return {"$cond": [{"$in": [value, _GONE]}, None, value]}
        step, rest = steps[0], steps[1:]
        if isinstance(step, str):
            inner = f"{value}.{step}"
            if self.act == "default" and _is_last_name(rest):
                loosened: Any = {"$literal": new}
            else:
                loosened = self._loosened(inner, rest, new)
            refers = {"$and": [_is_object(value), _holds(inner, rest)]}
            return {"$cond": [refers, {"$mergeObjects": [value, {step: loosened}]}, value]}
        name = _variable(value)
        is_pulled = self.act == "pull" and not rest
        if step is LIST:
            if is_pulled:
                kept = _filter(value, name, {"$not": [{"$in": [f"$${name}", _GONE]}]})
            else:
                kept = _map(value, name, self._loosened(f"$${name}", rest, new))
            return {"$cond": [{"$isArray": [value]}, kept, self._loosened(value, rest, new)]}
        pairs = {"$objectToArray": value}
        if is_pulled:
            kept = _filter(pairs, name, {"$not": [{"$in": [f"$${name}.v", _GONE]}]})
        else:
            pair = {"k": f"$${name}.k", "v": self._loosened(f"$${name}.v", rest, new)}
            kept = _map(pairs, name, pair)
        return {"$cond": [_is_object(value), {"$arrayToObject": kept}, value]}

    # In documents that are loaded

    def values(self, document: Any) -> Iterator[Any]:
        """Yield the references that a document holds here, as ids."""
        yield from _values(document, self.steps)

    def release(
        self, document: dict[str, Any], is_gone: Callable[[Any], bool], new: Any = None
    ) -> None:
        """Change a loaded document as the stored one is going to be."""
        self._released(document, self.steps, is_gone, new)

    def _released(
        self, value: Any, steps: tuple[Step, ...], is_gone: Callable[[Any], bool], new: Any
    ) -> Any:
        """Return a value without its references; documents are changed in place."""
        if not steps:
            return None if value is not None and is_gone(to_refs(value)) else value
        step, rest = steps[0], steps[1:]
        if isinstance(step, str):
            document = _document(value)
            if document is not None and step in document:
                inner = document[step]
                if self.act == "default" and _is_last_name(rest):
                    if any(is_gone(id) for id in _values(inner, rest)):
                        document[step] = new
                else:
                    document[step] = self._released(inner, rest, is_gone, new)
            return value
        is_pulled = self.act == "pull" and not rest
        if step is LIST:
            if not isinstance(value, _LISTS):
                return self._released(value, rest, is_gone, new)
            if is_pulled:
                return [member for member in value if not is_gone(to_refs(member))]
            return [self._released(member, rest, is_gone, new) for member in value]
        found = _document(value)
        if found is None:
            return value
        if is_pulled:
            return {k: v for k, v in found.items() if not is_gone(to_refs(v))}
        return {k: self._released(v, rest, is_gone, new) for k, v in found.items()}


def _is_last_name(rest: tuple[Step, ...]) -> bool:
    return all(isinstance(step, Holder) for step in rest)


def _document(value: Any) -> dict[str, Any] | None:
    """Return the dict of an embedded document, None of anything else."""
    if getattr(type(value), "_is_subframe", False):
        value = value._document
    return value if isinstance(value, dict) else None


def _values(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    if not steps:
        if value is not None:
            yield to_refs(value)
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        document = _document(value)
        if document is not None and step in document:
            yield from _values(document[step], rest)
    elif step is LIST:
        for member in value if isinstance(value, _LISTS) else [value]:
            yield from _values(member, rest)
    else:
        for member in (_document(value) or {}).values():
            yield from _values(member, rest)


def _with_gone(ids: Sequence[Any], expression: Any) -> dict[str, Any]:
    # Said once, however often the expression asks: an id is a value, whatever it looks like.
    return {"$let": {"vars": {"gone": {"$literal": list(ids)}}, "in": expression}}


def _holds(value: str, steps: tuple[Step, ...]) -> Any:
    """Return the expression that tells whether a value holds a reference that is gone."""
    if not steps:
        return {"$in": [value, _GONE]}
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        return {"$cond": [_is_object(value), _holds(f"{value}.{step}", rest), False]}
    name = _variable(value)
    if step is LIST:
        some = {"$anyElementTrue": [_map(value, name, _holds(f"$${name}", rest))]}
        return {"$cond": [{"$isArray": [value]}, some, _holds(value, rest)]}
    pairs = {"$objectToArray": value}
    some = {"$anyElementTrue": [_map(pairs, name, _holds(f"$${name}.v", rest))]}
    return {"$cond": [_is_object(value), some, False]}


def _variable(value: str) -> str:
    """Return a name for the members of a value, which no name around it is."""
    depth = value.partition(".")[0].removeprefix("$$in") if value.startswith("$$in") else "0"
    return f"in{int(depth) + 1}"


def _is_object(value: str) -> dict[str, Any]:
    return {"$eq": [{"$type": value}, "object"]}


def _map(given: Any, name: str, member: Any) -> dict[str, Any]:
    return {"$map": {"input": given, "as": name, "in": member}}


def _filter(given: Any, name: str, condition: Any) -> dict[str, Any]:
    return {"$filter": {"input": given, "as": name, "cond": condition}}
