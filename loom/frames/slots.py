"""Slots: where references stand in documents, and how frames are put there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, compress
from typing import Any, Literal, NamedTuple

from ..errors import NotFound
from .document import is_document
from .ids import id_key, id_keys
from .loaded import Loaded, is_nameable
from .missing import Missing
from .plans import Node, Plan, Reference
from .port import Documents, Port
from .subframes import embedded_in, inside

__all__ = ["Root", "Slots", "gather"]

_HOLDERS = (list, dict, tuple)
_LISTS = frozenset({list})
_NONE = type(None)


def _flat(value: Any) -> Iterable[Any]:
    """Yield the ids of a list or map of references."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        if value is not None:
            yield value
        return
    for member in value:
        yield from _flat(member)


class Root(NamedTuple):
    """The documents of one load, their frames, and the way from them to a reference."""

    documents: Documents
    frames: list[Any]
    #: the keys on the way, each with whether a map is under it
    trail: tuple[tuple[str, bool], ...]


class Slots:
    """The places of one reference in all documents of a level."""

    __slots__ = ("_hidden", "_keys", "_shape", "_values", "containers", "key", "reference", "root")

    def __init__(self, reference: Reference, key: str, containers: Documents, root: Root) -> None:
        self.reference = reference
        self.key = key
        self.containers = containers
        self.root = root
        #: where `$missing` hid an id: by container, the keys that lead to it from there
        self._hidden: dict[int, list[tuple[str, ...]]] = {}
        self._values: list[Any] = []
        self._keys: list[Any] = []
        self._shape: Literal["ids", "lists", "mixed"] = "ids"

    @property
    def query(self) -> Any:
        """What must be equal for references to share a query."""
        return self.reference.frame_class, id(self.reference.plan), self.reference.key

    @property
    def frame_class(self) -> Any:
        """The class of what is fetched."""
        return self.reference.frame_class

    @property
    def plan(self) -> Plan:
        """What is fetched."""
        return self.reference.plan

    def gather(self) -> Iterable[tuple[Any, Any]]:
        """Return the ids that stand here, each after its key."""
        key = self.key
        values: list[Any] = [container.get(key) for container in self.containers]
        kinds = {*map(type, values)}
        if _NONE in kinds:
            filled = [value is not None for value in values]
            self.containers = [*compress(self.containers, filled)]
            values = [*compress(values, filled)]
            kinds.discard(_NONE)
        self._values = values
        ids = values
        if kinds == _LISTS:
            self._shape = "lists"
            ids = [*chain.from_iterable(values)]
            inner = {*map(type, ids)}
            if _NONE in inner or any(issubclass(kind, _HOLDERS) for kind in inner):
                self._shape = "mixed"
        elif any(issubclass(kind, _HOLDERS) for kind in kinds):
            self._shape = "mixed"
        if self._shape == "mixed":
            ids = [id for value in values for id in _flat(value)]
        self._keys = id_keys(ids)
        return zip(self._keys, ids, strict=True)

    async def find(self, port: Port, ids: list[Any], options: Mapping[str, Any]) -> Documents:
        """Fetch the documents with some ids."""
        reference = self.reference
        wanted = {reference.key: {"$in": ids}}
        return await port.find(reference.frame_class, wanted, reference.plan.driver, options)

    def keys_of(self, documents: Documents) -> list[Any]:
        """Return what tells where fetched documents belong, before they are changed."""
        return id_keys([document.get(self.reference.key) for document in documents])

    def index(self, keys: list[Any], frames: list[Any]) -> dict[Any, Any]:
        """Return the frames by where they belong."""
        return dict(zip(keys, frames, strict=True))

    def fill(self, index: Mapping[Any, Any]) -> None:
        """Put the frames in place of their ids."""
        if self._shape == "ids":
            self._fill_ids(index)
        elif self._shape == "lists":
            self._fill_lists(index)
        else:
            for container in self.containers:
                self._place(container, index)

    def _fill_ids(self, index: Mapping[Any, Any]) -> None:
        key = self.key
        frames = map(index.get, self._keys)
        for container, frame in zip(self.containers, frames, strict=True):
            if frame is not None:
                container[key] = frame
            else:
                self._place(container, index)

    def _fill_lists(self, index: Mapping[Any, Any]) -> None:
        frames = [*map(index.get, self._keys)]
        start = 0
        for container, ids in zip(self.containers, self._values, strict=True):
            end = start + len(ids)
            part = frames[start:end]
            start = end
            if all(part):
                container[self.key] = part
            else:
                self._place(container, index)

    def _place(self, container: Any, index: Mapping[Any, Any]) -> None:
        placed = self._placed(container[self.key], index, container, (self.key,), False)
        if placed is _DROPPED:
            del container[self.key]
        else:
            container[self.key] = placed

    def _placed(
        self,
        value: Any,
        index: Mapping[Any, Any],
        container: Any,
        keys: tuple[str, ...],
        deep: bool,
    ) -> Any:
        """Return a value with frames for ids; `deep` inside a list, where no key leads to it."""
        if value is None:
            return None
        if isinstance(value, dict):
            pairs = (
                (k, self._placed(v, index, container, keys if deep else (*keys, k), deep))
                for k, v in value.items()
            )
            return {k: v for k, v in pairs if v is not _DROPPED}
        if isinstance(value, (list, tuple)):
            members = (self._placed(v, index, container, keys, True) for v in value)
            return [v for v in members if v is not _DROPPED]
        frame = index.get(id_key(value))
        return self._missing(value, container, keys) if frame is None else frame

    def _missing(self, missing_id: Any, container: Any, keys: tuple[str, ...]) -> Any:
        reference = self.reference
        if reference.on_missing == "keep":
            return Missing(reference.frame_class, missing_id)
        if reference.on_missing == "raise":
            raise NotFound(
                f"{type(self.root.frames[0]).__name__}.{reference.path}: expected the "
                f"{reference.frame_class.__name__} with {reference.key}={missing_id!r}, found "
                "none; use '$missing': 'keep' to load it all the same"
            )
        self._hidden.setdefault(id(container), []).append(keys)
        return None if reference.on_missing == "none" else _DROPPED

    def remember_hidden(self) -> None:
        """Tell the frames in which ids were hidden, so that no write loses them."""
        if not self._hidden:
            return
        for document, frame in zip(self.root.documents, self.root.frames, strict=True):
            places = [("", document, False)]
            for key, is_map in self.root.trail:
                places = [
                    found
                    for path, container, deep in places
                    for found in _addressed(
                        container.get(key), is_map, path if deep else _joined(path, key), deep
                    )
                ]
            paths = {
                path if deep else _joined(path, *keys)
                for path, container, deep in places
                for keys in self._hidden.get(id(container), ())
            }
            if paths:
                state = getattr(frame, "_state", None) or Loaded.nothing()
                frame._state = state.hiding(document, paths)


_DROPPED = object()


def _joined(path: str, *keys: str) -> str:
    """Return a path; it ends before a key that no path can name."""
    for key in keys:
        if not is_nameable(key):
            break
        path = f"{path}.{key}" if path else key
    return path


def _addressed(value: Any, is_map: bool, path: str, deep: bool) -> Iterable[tuple[str, Any, bool]]:
    """Yield embedded documents with the path to each, or to the list that it is in."""
    if isinstance(value, list):
        for member in value:
            yield from _addressed(member, False, path, True)
    elif is_document(value):
        if not is_map:
            yield path, inside(value), deep
        else:
            for key, member in inside(value).items():
                lost = deep or not is_nameable(key)
                yield from _addressed(member, False, path if lost else f"{path}.{key}", lost)


def gather(node: Node, documents: Documents, root: Root, waiting: list[Any]) -> None:
    for key, reference in node.references.items():
        waiting.append(Slots(reference, key, documents, root))
    for key, child in node.children.items():
        for inner, is_map in ((child.named, False), (child.node, child.is_map)):
            if inner is not None and inner.has_references:
                deeper = root._replace(trail=(*root.trail, (key, is_map)))
                gather(inner, list(embedded_in(documents, key, is_map)), deeper, waiting)
