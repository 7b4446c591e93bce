"""What a frame must remember of how it was loaded, so that writing it back loses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import ProjectionError
from .document import is_document
from .paths import MISSING, is_ancestor, lookup
from .plans import PartialTree, Plan
from .projections import plan_for

__all__ = ["Loaded", "is_nameable"]


class _Part(NamedTuple):
    """A value of which only a part was fetched, and the keys that came."""

    value: Any
    keys: frozenset[str]


class _Hidden(NamedTuple):
    """A value in which an id was hidden, and the document that holds it."""

    holder: Any
    value: Any


class Loaded:
    """Kept by frames whose projection fetched a part of a value, or put ids out of sight.

    It holds the very objects that were loaded: a value assigned later is another one, and whole.

    Attributes:
        plan: what the frame was loaded with, None when only ids were hidden.
        parts: by path, what holds only a part.
        hidden: by path, where `$missing` hid an id.
    """

    __slots__ = ("hidden", "parts", "plan")

    def __init__(
        self, plan: Plan | None, parts: dict[str, _Part], hidden: dict[str, _Hidden]
    ) -> None:
        self.plan = plan
        self.parts = parts
        self.hidden = hidden

    @classmethod
    def nothing(cls) -> Loaded:
        """Return the state of a frame that remembers nothing yet."""
        return cls(None, {}, {})

    @classmethod
    def remember(cls, plan: Plan, frames: Iterable[Any]) -> None:
        """Tell frames what they were loaded with."""
        if not plan.partial:
            shared = cls(plan, {}, {})
            for frame in frames:
                frame._state = shared
            return
        for frame in frames:
            parts = dict(_parts(frame._document, plan.partial, ""))
            if parts or plan.has_keys:
                frame._state = cls(plan, parts, {})

    def hiding(self, document: dict[str, Any], paths: Iterable[str]) -> Loaded:
        """Return the same with more paths at which ids are hidden."""
        more = {path: _Hidden(*_held(document, path)) for path in paths}
        return Loaded(self.plan, self.parts, self.hidden | more)

    # Copies

    def detached(self, document: dict[str, Any]) -> Loaded:
        """Return a form that fits a copy of the document: paths without their objects."""
        parts = {
            p: _Part(None, part.keys)
            for p, part in self.parts.items()
            if self._is_here(document, p)
        }
        hidden = dict.fromkeys(self._still_hidden(document), _Hidden(None, None))
        return Loaded(self.plan, parts, hidden)

    def attached(self, document: dict[str, Any]) -> Loaded:
        """Return a detached form bound to a document."""
        parts = {p: _Part(lookup(document, p), part.keys) for p, part in self.parts.items()}
        return Loaded(self.plan, parts, {}).hiding(document, self.hidden)

    def __reduce__(self) -> tuple[Any, ...]:
        plan = self.plan
        origin = None if plan is None else (plan.frame_class, plan.projection, plan.key)
        return _revived, (origin, self.parts, self.hidden)

    # Writing

    def _is_here(self, document: dict[str, Any], path: str) -> bool:
        return self.is_partial(path, lookup(document, path))

    def is_partial(self, path: str, value: Any) -> bool:
        """Tell whether a value is the object that was fetched only in part."""
        return path in self.parts and self.parts[path].value is value

    def _still_hidden(self, document: dict[str, Any]) -> list[str]:
        found = []
        for path, (holder, value) in self.hidden.items():
            holder_now, value_now = _held(document, path)
            if holder_now is holder and value_now is value:
                found.append(path)
        return found

    def covered(self, document: dict[str, Any], path: str) -> str | None:
        """Return a path with a hidden id that writing `path` would write, or None."""
        for hidden in self._still_hidden(document):
            if hidden == path or is_ancestor(path, hidden):
                return hidden
        return None

    def is_shifted(self, document: dict[str, Any], path: str, value: Any, inner: Any) -> bool:
        """Tell whether `inner` may stand elsewhere in the stored value than in this one."""
        if self.is_partial(path, value) and (isinstance(value, list) or self._is_computed(path)):
            return True
        holds_ids = isinstance(value, list) and not is_document(inner)
        return holds_ids and path in self._still_hidden(document)

    def written(
        self, document: dict[str, Any], path: str, place: str, *, seen: bool
    ) -> Iterator[tuple[str, Any]]:
        """Yield the paths and values that stand for the value at a path; MISSING removes.

        Args:
            document: of the frame.
            path: in it.
            place: for errors.
            seen: whether what is seen is written where ids are hidden.

        Raises:
            ProjectionError: the value is a list or an expression, or has keys that no path can
                name, so that its parts cannot be written one by one.
        """
        hidden = frozenset[str]() if seen else frozenset(self._still_hidden(document))
        return self._written(path, lookup(document, path), hidden, place)

    def _written(
        self, path: str, value: Any, hidden: frozenset[str], place: str
    ) -> Iterator[tuple[str, Any]]:
        if path in hidden:
            return
        is_partial = self.is_partial(path, value)
        if not is_partial and not any(is_ancestor(path, other) for other in hidden):
            yield path, value
            return
        document = getattr(value, "_document", value)
        if is_partial and (isinstance(document, list) or self._is_computed(path)):
            raise ProjectionError(
                f"{place}.{path}: expected a value that was fetched whole, got a part of it by "
                "its projection; name other fields to write, or reload it whole first"
            )
        if not isinstance(document, Mapping):
            yield path, value
            return
        for key, inner in document.items():
            if not is_nameable(key):
                raise ProjectionError(
                    f"{place}.{path}: expected keys that a path can name, got {key!r} in a "
                    "document that can only be written in part; reload it whole first"
                )
            yield from self._written(f"{path}.{key}", inner, hidden, place)
        if is_partial:
            for key in sorted(self.parts[path].keys - document.keys()):
                yield f"{path}.{key}", MISSING

    def _is_computed(self, path: str) -> bool:
        return self.plan is not None and path in self.plan.computed


def _revived(
    origin: tuple[Any, Any, Any] | None, parts: dict[str, _Part], hidden: dict[str, _Hidden]
) -> Loaded:
    return Loaded(None if origin is None else plan_for(*origin), parts, hidden)


def is_nameable(key: Any) -> bool:
    """Tell whether a path can name a key of a document."""
    return isinstance(key, str) and key != "" and "." not in key and not key.startswith("$")


def _parts(document: Any, tree: PartialTree, prefix: str) -> Iterator[tuple[str, _Part]]:
    for key, deeper in tree.items():
        value = document.get(key)
        if value is None:
            continue
        inner = getattr(value, "_document", value)
        if isinstance(inner, Mapping):
            yield prefix + key, _Part(value, frozenset(inner))
            yield from _parts(inner, deeper, f"{prefix}{key}.")
        else:
            yield prefix + key, _Part(value, frozenset())


def _held(document: dict[str, Any], path: str) -> tuple[Any, Any]:
    """Return the document that holds what is at a path, and that value."""
    above, _, last = path.rpartition(".")
    holder: Any = lookup(document, above) if above else document
    holder = getattr(holder, "_document", holder)
    return holder, holder.get(last, MISSING) if isinstance(holder, Mapping) else MISSING
