"""What refers to documents: fetched for all of them at once, and put into each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from .fetching import is_fetched
from .ids import id_key, id_keys
from .path_expressions import values_at
from .paths import lookup_all
from .plans import Plan, Reverse
from .port import Documents, Port
from .values import Placed

__all__ = ["TO", "Referring", "limited", "owners_of"]

#: The field in which an aggregation tells which document its result refers to.
TO = "_loom_to"
_FOUND = "_loom_found"


class Referring:
    """The places of what refers to the documents of one level.

    It is fetched and filled as `Slots` are.
    """

    __slots__ = ("_documents", "_keys", "_reverse", "_to")

    def __init__(self, reverse: Reverse, documents: Documents) -> None:
        self._reverse = reverse
        self._documents = documents
        self._keys: list[Any] = []
        #: by the identity of a fetched document, the keys of those that it refers to
        self._to: dict[int, list[Any]] = {}

    @property
    def query(self) -> Any:
        """What must be equal to share a query."""
        return "$from", id(self._reverse)

    @property
    def frame_class(self) -> Any:
        """The class of what is fetched."""
        return self._reverse.frame_class

    @property
    def plan(self) -> Plan:
        """What is fetched."""
        return self._reverse.plan

    def gather(self) -> Iterable[tuple[Any, Any]]:
        """Return the ids that are referred to, each after its key."""
        ids = [document.get(self._reverse.key) for document in self._documents]
        self._keys = id_keys(ids)
        pairs = zip(self._keys, ids, strict=True)
        return [(key, id) for key, id in pairs if id is not None]

    async def find(self, port: Port, ids: list[Any], options: Mapping[str, Any]) -> Documents:
        """Fetch what refers to some ids."""
        reverse = self._reverse
        cls, driver = reverse.frame_class, reverse.plan.driver
        if reverse.limit is not None:
            stages = limited(reverse, ids)
            if driver is not None:
                project = driver if is_fetched(driver, TO) else {**driver, TO: True}
                stages.append({"$project": project})
            found = await port.aggregate(cls, stages, options)
            for document in found:
                self._to[id(document)] = [id_key(document.pop(TO))]
            return found
        wanted = {reverse.on: {"$in": ids}}
        found = await port.find(cls, wanted, driver, {**options, "sort": reverse.sort})
        asked = {*id_keys(ids)}
        for document in found:
            self._to[id(document)] = owners_of(document, reverse.on, asked)
        return found

    def keys_of(self, documents: Documents) -> list[Any]:
        """Return what tells where fetched documents belong, before they are changed."""
        return [self._to[id(document)] for document in documents]

    def index(self, keys: list[Any], frames: list[Any]) -> dict[Any, Any]:
        """Return the frames by where they belong."""
        index: dict[Any, Any] = {}
        for of_frame, frame in zip(keys, frames, strict=True):
            for key in of_frame:
                index.setdefault(key, []).append(frame)
        return index

    def fill(self, index: Mapping[Any, Any]) -> None:
        """Put the frames into the documents that they refer to."""
        name = self._reverse.name
        for key, document in zip(self._keys, self._documents, strict=True):
            document[name] = Placed(name, index.get(key, ()))

    def remember_hidden(self) -> None:
        """Do nothing: no id was hidden."""


def owners_of(document: Any, on: str, asked: Set[Any]) -> list[Any]:
    """Return the keys of those that a document refers to, among some."""
    keys = id_keys([*_flat(lookup_all(document, on))])
    return [key for key in dict.fromkeys(keys) if key in asked]


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        elif value is not None:
            yield value


def limited(reverse: Reverse, ids: list[Any]) -> list[dict[str, Any]]:
    """Return the pipeline that finds the first ones for each id, which `TO` names."""
    first = {"n": reverse.limit, "sortBy": dict(reverse.sort), "output": "$$ROOT"}
    return [
        {"$match": {reverse.on: {"$in": ids}}},
        {"$set": {TO: {"$setUnion": [values_at(reverse.on), []]}}},
        {"$unwind": f"${TO}"},
        {"$match": {TO: {"$in": ids}}},
        {"$group": {"_id": f"${TO}", _FOUND: {"$topN": first}}},
        {"$unwind": f"${_FOUND}"},
        {"$replaceRoot": {"newRoot": f"${_FOUND}"}},
    ]
