"""What `Ref(on_delete=...)` declares, carried out before documents are deleted.

First all that goes with them is found, and nothing is written: a `"restrict"` anywhere in it forbids
the whole. Then references are released and documents deleted, leaves first; the documents asked
for go last, by the operation that was called. A failure in between leaves documents that have no
referrers, and the next delete of the same documents finds the rest.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from pymongo.errors import PyMongoError

from ..errors import DefinitionError, Restricted
from . import operations
from .doomed import Doomed, being_deleted, guarded, is_permitted
from .events import add_note, listeners, running
from .links import Holder, Link
from .operations.guards import NOT_SENT
from .port import Port
from .primaries import on_primary
from .referrers import current, referrers
from .releases import release
from .trees import Place, Tree, pack

__all__ = ["Clearing"]

#: How many documents one step holds in memory.
BATCH = operations.BATCH


class Applied(NamedTuple):
    """A link as it leads to one place of a tree."""

    link: Link
    #: of the documents that refer
    place: Place
    #: its target is a parent class with a collection of its own
    is_foreign: bool


class Clearing:
    """One delete: what goes with the documents, and the way to there.

    Args:
        port: of the operation.
        cls: the class of the documents.
        ids: of them.
        options: of every command: session and comment.
        place: of the operation, for errors.
        keeper: the listener that does this for a class, when it listens.
    """

    def __init__(
        self,
        port: Port,
        cls: Any,
        ids: Iterable[Any],
        options: dict[str, Any],
        place: str,
        keeper: Callable[..., Any],
    ) -> None:
        self.port = port
        self.cls = cls
        self.options = options
        self.place = place
        self.keeper = keeper
        self._places: dict[tuple[int, str], Place] = {}
        self._applied: dict[int, list[Applied]] = {}
        self.root = self._place(cls)
        self.tree = Tree(self.root, ids)
        self.deleted = 0
        self.changed = 0

    async def check(self, more: AsyncIterable[list[Any]] | None = None) -> None:
        """Find out what goes, and whether it may.

        Args:
            more: further ids, which are not held in memory.

        Raises:
            DefinitionError: a declared `Ref` is not understood.
            Restricted: what is to go is referred to by something that is not, and forbids it.
        """
        try:
            if self._links(self.root):
                if more is not None:
                    async for ids in more:
                        self.tree.plant(ids)
                await self._check()
        finally:
            self.tree.close()

    async def run(self, *, with_roots: bool = False, events: bool = True) -> None:
        """Check, release what refers, and delete what goes.

        Args:
            with_roots: delete the documents themselves as well, last.
            events: send the events of it all.
        """
        try:
            with guarded(self.port, self.cls, self.tree.roots.values()):
                await self._check()
                try:
                    await self._carry_out(with_roots, events)
                except BaseException as error:
                    self._say(error)
                    raise
            if not with_roots:
                self._leave_word()
        finally:
            self.tree.close()

    async def _check(self) -> None:
        if self._links(self.root):
            await self._grow()
            if not is_permitted(self.port, self.cls, self.tree.roots):
                await self._check_restricted()

    def _say(self, error: BaseException) -> None:
        note = self._done
        if isinstance(error, PyMongoError) and not isinstance(error, NOT_SENT):
            note = f"{note}, and perhaps some of those that were being written"
        elif not self.deleted and not self.changed:
            return
        add_note(error, f"{note}; delete again to finish")

    def _leave_word(self) -> None:
        """Have an error of the operation that goes on say what is done already."""
        current = running()
        if current is not None and (self.deleted or self.changed):
            current.done.append(f"{self._done}; delete again to finish")

    @property
    def _done(self) -> str:
        return (
            f"{self.place}: {self.deleted} documents were deleted and {self.changed} "
            "changed before, which stand unless a transaction is rolled back"
        )

    # Links

    def _options(self, cls: Any) -> dict[str, Any]:
        """Return the options of a class's commands; a session holds for one client."""
        session = self.options.get("session")
        if session is None or self.port.collection(cls).database.client is session.client:
            return self.options
        return {name: value for name, value in self.options.items() if name != "session"}

    def _key(self, cls: Any) -> tuple[int, str]:
        collection = self.port.collection(cls)
        return id(collection.database.client), collection.full_name

    def _place(self, cls: Any) -> Place:
        """Return the place of a class; of several in one collection a parent speaks for all."""
        if cls._kinds is not None:
            cls = cls._kinds.root
        key = self._key(cls)
        place = self._places.get(key)
        if place is None:
            codecs = self.port.collection(cls).codec_options
            place = self._places[key] = Place(len(self._places), cls, codecs)
        elif issubclass(place.cls, cls):
            place.cls = cls
        return place

    def _links(self, place: Place) -> list[Applied]:
        """Return what leads to the documents of a place."""
        found = self._applied.get(place.number)
        if found is None:
            found = self._applied[place.number] = self._leading(place)
        return found

    def _leading(self, place: Place) -> list[Applied]:
        if not any(found.receiver is self.keeper for found in listeners("delete", place.cls)):
            return []  # muted, or stopped
        known = referrers()
        known.check()
        cls = current(place.cls)
        found: dict[tuple[int, Any, Any], Applied] = {}
        for link in known.links:
            target = link.target
            if target is None or link.cls is None:
                continue  # classes that are no longer there
            is_foreign = self._is_foreign(current(target), cls)
            if is_foreign is None:
                continue
            referring = self._place(link.cls)
            # A class that is one of several kinds finds its own documents only.
            key = referring.number, link.steps, link.cls if link.cls._kinds is not None else None
            if key not in found or _comes_before(link, found[key].link):
                found[key] = Applied(link, referring, is_foreign)
        links = [applied.link for applied in found.values()]
        return [applied for applied in found.values() if not _is_covered(applied.link, links)]

    def _is_foreign(self, target: Any, cls: Any) -> bool | None:
        """Tell whether references to a class can mean documents of another, and how.

        They are looked for in the collection of the class that is named. A child may have a
        collection of its own. Classes made by functions know each other by inheritance only.
        """
        is_child = issubclass(cls, target)
        if cls._collection == target._collection and self._key(cls) == self._key(target):
            is_related = is_child or issubclass(target, cls)
            return False if is_related or (_is_imported(cls) and _is_imported(target)) else None
        return True if is_child else None

    def _chunks(self, place: Place, link: Link, *, newest: bool = False) -> Iterator[list[Any]]:
        """Yield the ids of a place, as many as a query of a link takes."""
        yield from self.tree.ids(place, self.port.reference_chunk(link.cls), newest=newest)

    async def _meant(self, applied: Applied, ids: list[Any]) -> list[Any]:
        """Return the ids that a link can mean: none that its target's own collection has."""
        if not applied.is_foreign:
            return ids
        target = applied.link.target
        codecs = self.port.collection(target).codec_options
        query = {"_id": {"$in": ids}}
        with on_primary(self.port, target):
            found = await self.port.find(target, query, {"_id": True}, self._options(target))
        own = {pack(document["_id"], codecs) for document in found}
        return [id for id in ids if pack(id, codecs) not in own]

    # Finding what goes

    async def _grow(self) -> None:
        while True:
            for place in list(self.tree.places.values()):
                for applied in self._links(place):
                    if applied.link.act == "cascade":
                        for ids in self._chunks(place, applied.link, newest=True):
                            await self._follow(place, applied, await self._meant(applied, ids))
            if not self.tree.deepen():
                return

    async def _follow(self, place: Place, applied: Applied, ids: list[Any]) -> None:
        """Put what refers to some of the newest into the tree."""
        link, codecs = applied.link, applied.place.codecs
        wanted = {pack(id, codecs) for id in ids}
        elsewhere = self._elsewhere(applied.place)
        async with aclosing(self._referring(link, ids, link.projection)) as batches:
            async for documents in batches:
                found = []
                for document in documents:
                    id = pack(document["_id"], codecs)
                    if id not in elsewhere:
                        values = {pack(value, codecs) for value in link.values(document)}
                        found.append((id, [*values & wanted]))
                self.tree.add(link, applied.place, place, found)

    def _elsewhere(self, place: Place) -> frozenset[bytes]:
        """Return what a delete around this one deletes."""
        going = being_deleted(self.port, place.cls)
        return going - self.tree.roots.keys() if place is self.root else going

    async def _referring(
        self, link: Link, ids: Sequence[Any], projection: dict[str, Any]
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield the documents that refer to `ids`, in batches."""
        options = {"batch_size": BATCH, **self._options(link.cls)}
        with on_primary(self.port, link.cls):
            cursor = self.port.cursor(link.cls, link.filter(ids), projection, options)
        batches = self.port.batches(cursor, BATCH)
        try:
            async for documents in batches:
                yield documents
        finally:
            await batches.aclose()

    async def _check_restricted(self) -> None:
        counts: dict[str, int] = {}
        for place in list(self.tree.places.values()):
            for applied in self._links(place):
                link = applied.link
                if link.act == "restrict" or (
                    link.act == "default" and self._goes(place, link.default())
                ):
                    count = await self._count(place, applied)
                    if count:
                        counts[link.place] = counts.get(link.place, 0) + count
        if counts:
            shown = ", ".join(f"{count} by {name}" for name, count in counts.items())
            raise Restricted(
                f"{self.place}: expected documents that nothing with on_delete='restrict' "
                f"refers to, got references: {shown}; delete or change those first, nothing was "
                "deleted",
                counts,
            )

    def _goes(self, place: Place, default: Any) -> bool:
        """Tell whether the default of a reference is to be deleted itself."""
        if default is None or isinstance(default, (list, dict)):
            return False
        return self.tree.holds(place, [pack(default, place.codecs)])[0]

    async def _count(self, place: Place, applied: Applied) -> int:
        """Return how many documents refer by a link and are not to be deleted themselves."""
        link, tree = applied.link, self.tree
        is_single = not any(isinstance(step, Holder) for step in link.steps)
        is_one_query = not tree.size and tree.width <= self.port.reference_chunk(link.cls)
        options = self._options(link.cls)
        count = 0
        elsewhere = self._elsewhere(applied.place)
        is_free = not tree.holds_any(applied.place) and not elsewhere
        if is_free and (is_single or is_one_query):
            for ids in self._chunks(place, link):
                query = link.filter(await self._meant(applied, ids))
                with on_primary(self.port, link.cls):
                    count += await self.port.count(link.cls, query, options)
            return count
        tree.forget_counted()
        for ids in self._chunks(place, link):
            referring = self._referring(link, await self._meant(applied, ids), {"_id": True})
            async with aclosing(referring) as batches:
                async for documents in batches:
                    packed = [pack(document["_id"], applied.place.codecs) for document in documents]
                    goes = tree.holds(applied.place, packed)
                    count += tree.count_once(
                        id
                        for id, gone in zip(packed, goes, strict=True)
                        if not gone and id not in elsewhere
                    )
        return count

    # Doing it

    async def _carry_out(self, with_roots: bool, events: bool) -> None:
        tree = self.tree
        tree.arrange(with_roots=with_roots)
        if with_roots or tree.size:
            for place, is_root, is_heard, rows in tree.batches(BATCH):
                await self._release(place, [id for _, id in rows], events)
                batch = Doomed(
                    self.port,
                    self.cls if is_root else place.cls,
                    {pack(id, place.codecs): (id, self._condition(id, n)) for n, id in rows},
                    self._options(place.cls),
                    self.place,
                )
                self.deleted += await batch.delete(self.keeper, events=events and is_heard)
        if not with_roots:
            for ids in tree.roots_in(BATCH):
                await self._release(tree.root, ids, events)

    async def _release(self, place: Place, ids: list[Any], events: bool) -> None:
        """Take references to what goes out of the documents that stay."""
        for applied in self._links(place):
            link = applied.link
            if link.act in ("cascade", "restrict"):
                continue
            meant = await self._meant(applied, ids)
            skip = partial(self._go_too, applied.place)
            self.changed += await release(
                self.port,
                link,
                meant,
                self._options(link.cls),
                place=self.place,
                events=events and link.is_heard,
                skip=skip if self.tree.holds_any(applied.place) else None,
            )

    def _go_too(self, place: Place, frames: list[Any]) -> list[bool]:
        ids = [pack(frame._document["_id"], place.codecs) for frame in frames]
        return self.tree.holds(place, ids)

    def _condition(self, id: Any, number: int) -> dict[str, Any]:
        """Return the filter of a document as long as it refers to what goes."""
        wanted = operations.id_filter(id)
        reasons = [
            link.filter(ids) for link, ids in self.tree.reasons(number) if link.root != "_id"
        ]
        if len(reasons) == 1:
            return {**wanted, **reasons[0]}
        return {**wanted, "$or": reasons} if reasons else wanted


def _is_imported(cls: Any) -> bool:
    """Tell a class that a module has from one that a function made."""
    return "<locals>" not in cls.__qualname__ and cls.__module__ in sys.modules


def _is_covered(link: Link, others: Iterable[Link]) -> bool:
    """Tell whether a link is that of a parent, which finds the documents of this kind, too."""
    kinds = link.cls._kinds
    return kinds is not None and any(
        other.steps == link.steps
        and other.cls in link.cls.__mro__[1:]
        and other.cls._kinds is kinds
        for other in others
    )


def _comes_before(link: Link, other: Link) -> bool:
    """Tell which of two links at one place of a collection speaks for both.

    Raises:
        DefinitionError: they say different things.
    """
    if link.act != other.act:
        raise DefinitionError(
            f"{link.place}: expected the on_delete of {other.place}, which is in the same "
            f"collection, got {link.act!r} beside {other.act!r}; declare the same"
        )
    if (link.cls.__module__, link.cls.__qualname__) == (
        other.cls.__module__,
        other.cls.__qualname__,
    ):
        return True  # made again
    return issubclass(other.cls, link.cls)
