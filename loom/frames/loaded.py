"""What a frame must remember of how it was loaded, so that writing it back loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ProjectionError
from .plans import PartialTree, Plan, Reference

__all__ = ["Loaded"]

_NO_TREE: PartialTree = {}


class Loaded:
    """Kept by frames whose projection fetched a part of a value, or put ids out of sight.

    Attributes:
        plan: what the frame was loaded with, None when only ids were hidden.
        originals: by path, the very objects that hold only a part; a value assigned later is
            another object, and whole.
        hidden: fields in which `$missing` hid an id.
    """

    __slots__ = ("hidden", "originals", "plan")

    def __init__(
        self, plan: Plan | None, originals: dict[str, Any], hidden: frozenset[str]
    ) -> None:
        self.plan = plan
        self.originals = originals
        self.hidden = hidden

    @classmethod
    def of(cls, document: dict[str, Any], plan: Plan | None) -> Loaded:
        """Remember a document as it was loaded."""
        originals: dict[str, Any] = {}
        if plan is not None:
            originals.update({n: document[n] for n in plan.computed if n in document})
            originals.update(_partials(document, plan.partial, ""))
        return cls(plan, originals, frozenset())

    def hiding(self, field: str) -> Loaded:
        """Return the same with one more field in which an id is hidden."""
        return Loaded(self.plan, self.originals, self.hidden | {field})

    def detached(self, document: dict[str, Any]) -> Loaded:
        """Return a form that fits a copy of the document: paths without their objects."""
        paths = {p: None for p, value in self.originals.items() if _at(document, p) is value}
        return Loaded(self.plan, paths, self.hidden)

    def attached(self, document: dict[str, Any]) -> Loaded:
        """Return a detached form bound to a document."""
        return Loaded(self.plan, {p: _at(document, p) for p in self.originals}, self.hidden)

    def __reduce__(self) -> tuple[Any, ...]:
        return Loaded, (self.plan, self.originals, self.hidden)

    def keyed(self) -> Mapping[str, Reference]:
        """Return the references that are stored as another key than `_id`."""
        return {} if self.plan is None else self.plan.keyed

    def is_partial(self, path: str, value: Any) -> bool:
        """Tell whether a value is the object that was fetched only in part."""
        return path in self.originals and self.originals[path] is value

    def parts(self, path: str, value: Any, place: str) -> Iterator[tuple[str, Any]]:
        """Yield the paths and values that stand for a value fetched in part.

        Raises:
            ProjectionError: the value is a list, or has keys that a path cannot name.
        """
        document = getattr(value, "_document", value)
        if isinstance(document, list) or self._is_computed(path):
            raise ProjectionError(
                f"{place}.{path}: expected a value that was fetched whole, got a part of it by "
                "its projection; name other fields to write, or reload it whole first"
            )
        if not isinstance(document, Mapping):
            yield path, value
            return
        for key, inner in document.items():
            if not key or "." in key or key.startswith("$"):
                raise ProjectionError(
                    f"{place}.{path}: expected keys that a path can name, got {key!r} in a "
                    "document that was fetched in part; reload it whole first"
                )
            deeper = f"{path}.{key}"
            if self.is_partial(deeper, inner):
                yield from self.parts(deeper, inner, place)
            else:
                yield deeper, inner

    def _is_computed(self, path: str) -> bool:
        return self.plan is not None and path in self.plan.computed


def _partials(document: Any, tree: PartialTree, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, deeper in tree.items():
        value = document.get(key)
        if value is not None:
            yield prefix + key, value
            inner = getattr(value, "_document", value)
            if isinstance(inner, Mapping):
                yield from _partials(inner, deeper, f"{prefix}{key}.")


def _at(document: Any, path: str) -> Any:
    value: Any = document
    for key in path.split("."):
        value = getattr(value, "_document", value)
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
