"""Documents that are being deleted: which they are, and how a batch of them goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pymongo import DeleteOne
from pymongo.errors import BulkWriteError

from . import operations
from .chunks import found_by_id
from .events import emit, listeners
from .operations.reading import frames_by_id
from .operations.writing import after_event
from .port import Port
from .primaries import on_primary
from .projections import plan_for
from .trees import pack

__all__ = ["Doomed", "being_deleted", "guarded", "is_permitted", "permitted", "undone"]

#: What is being deleted around a call, by collection: listeners may ask for it again.
_deleting: ContextVar[frozenset[tuple[str, bytes]]] = ContextVar(
    "loom.deleting", default=frozenset()
)


@contextmanager
def guarded(port: Port, cls: Any, ids: Iterable[Any]) -> Iterator[None]:
    """Remember what is being deleted, so that references in a circle come to an end."""
    collection = port.collection(cls)
    codecs = collection.codec_options
    now = {(collection.full_name, pack(id, codecs)) for id in ids}
    token = _deleting.set(_deleting.get() | now)
    try:
        yield
    finally:
        _deleting.reset(token)


def being_deleted(port: Port, cls: Any) -> frozenset[bytes]:
    """Return the packed ids of a class's collection that deletes around this call are at work on."""
    name = port.collection(cls).full_name
    return frozenset(id for place, id in _deleting.get() if place == name)


def undone(port: Port, cls: Any, ids: Iterable[Any]) -> list[Any]:
    """Return the ids that no delete around this call is at work on."""
    deleting = _deleting.get()
    if not deleting:
        return list(ids)
    collection = port.collection(cls)
    name, codecs = collection.full_name, collection.codec_options
    return [id for id in ids if (name, pack(id, codecs)) not in deleting]


#: What may be deleted, because all that goes with it was checked before.
_permitted: ContextVar[frozenset[tuple[str, bytes]]] = ContextVar(
    "loom.permitted", default=frozenset()
)


@contextmanager
def permitted(port: Port, cls: Any, ids: Iterable[Any]) -> Iterator[None]:
    """Let documents be deleted inside the block without a look at what restricts it.

    For a delete in batches, whose documents may refer to each other, and which was checked as a
    whole with `Clearing.check`.
    """
    collection = port.collection(cls)
    name, codecs = collection.full_name, collection.codec_options
    token = _permitted.set(frozenset((name, pack(id, codecs)) for id in ids))
    try:
        yield
    finally:
        _permitted.reset(token)


def is_permitted(port: Port, cls: Any, packed: Iterable[bytes]) -> bool:
    """Tell whether all of some documents were checked before."""
    allowed = _permitted.get()
    if not allowed:
        return False
    name = port.collection(cls).full_name
    return all((name, id) in allowed for id in packed)


class Doomed:
    """A batch of documents of one class that is to be deleted.

    Args:
        port: of the operation.
        cls: the class.
        filters: of each document its id and its filter, by its packed id.
        options: of every command.
        place: of the operation, for errors.
    """

    def __init__(
        self,
        port: Port,
        cls: Any,
        filters: Mapping[bytes, tuple[Any, dict[str, Any]]],
        options: dict[str, Any],
        place: str,
    ) -> None:
        self.port = port
        self.cls = cls
        self.filters = filters
        self.options = options
        self.place = place
        self.codecs = port.collection(cls).codec_options

    async def delete(self, keeper: Callable[..., Any], *, events: bool) -> int:
        """Delete what matches its filter, in order; return how many documents that were.

        Args:
            keeper: a listener that need not be told.
            events: whether the others are.
        """
        port, cls = self.port, self.cls
        told = (*listeners("delete", cls), *listeners("deleted", cls)) if events else ()
        if all(listener.receiver is keeper for listener in told):
            requests = [DeleteOne(filter) for _, filter in self.filters.values()]
            result = await port.write(cls, "bulk_write", {}, requests, **self.options)
            return int(result.deleted_count) if result.acknowledged else len(requests)
        frames = await self._loaded()
        if not frames:
            return 0
        with guarded(port, cls, [frame._document["_id"] for frame in frames]):
            return await self._told(frames)

    async def _told(self, frames: list[Any]) -> int:
        """Delete with events before and after."""
        port, cls, session = self.port, self.cls, self.options.get("session")
        if listeners("delete", cls):
            await emit(port, "delete", cls, frames, {"session": session})
        requests = [DeleteOne(self.filters[self._key(frame)][1]) for frame in frames]
        failure: Exception | None = None
        reasons: dict[int, str] = {}
        try:
            result = await port.write(cls, "bulk_write", {}, requests, **self.options)
            number = result.deleted_count if result.acknowledged else len(requests)
        except BulkWriteError as error:
            reasons = operations.reasons_of(error, len(requests), True)
            failure = operations.bulk_error(self.place, frames, reasons, error)
            failure.__cause__ = error
            number = (error.details or {}).get("nRemoved", 0)
        gone = [frame for i, frame in enumerate(frames) if i not in reasons]
        if number < len(gone):
            left = await self._left(gone)
            gone = [frame for frame in gone if self._key(frame) not in left]
        await after_event(port, "deleted", cls, gone, failure, session=session)
        return int(number)

    def _key(self, frame: Any) -> bytes:
        return pack(frame._document["_id"], self.codecs)

    async def _loaded(self) -> list[Any]:
        """Return the frames, in their order, without those that are gone."""
        # What a class's projection leaves out of a load may be its _id.
        driver = plan_for(self.cls, None).driver
        is_hidden = driver is not None and driver.get("_id") is False
        plan = plan_for(self.cls, {} if is_hidden else None)
        ids = [id for id, _ in self.filters.values()]
        with on_primary(self.port, self.cls):
            frames = await frames_by_id(self.port, plan, ids, self.options)
        found = {self._key(frame): frame for frame in frames}
        return [found[key] for key in self.filters if key in found]

    async def _left(self, frames: list[Any]) -> set[bytes]:
        """Return which documents are there still: they point elsewhere by now, and stay."""
        ids = [frame._document["_id"] for frame in frames]
        with on_primary(self.port, self.cls):
            found = await found_by_id(self.port, self.cls, ids, {"_id": True}, self.options)
        return {pack(document["_id"], self.codecs) for document in found}
