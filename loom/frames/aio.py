"""The awaited class methods of Frame, under the same names: `Dragon.aio.one()`.

What they do is said once, in the docstrings of Frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from ..connection import find_client, find_collection, find_database, with_options
from . import integrity, operations
from .port import awaited
from .projections import Projection
from .queries import Filter, Sort
from .streams import AsyncStream

if TYPE_CHECKING:
    from .bulk import AwaitedBulk
    from .checkpoints import CheckpointLike
    from .conditions import Field
    from .directives import AwaitedDirective
    from .frame import Frame
    from .pages import Page
    from .pipelines import Stages
    from .progress import Progress
    from .updates import Changes
    from .watching import AsyncWatch

__all__ = ["AwaitedClass"]

F = TypeVar("F", bound="Frame")
R = TypeVar("R")


class AwaitedClass(Generic[F]):
    """The class methods of a Frame class, awaited."""

    __slots__ = ("_cls",)

    def __init__(self, cls: type[F]) -> None:
        self._cls = cls

    def __repr__(self) -> str:
        return f"{self._cls.__name__}.aio"

    @overload
    async def one(
        self,
        filter: Filter = None,
        *,
        required: Literal[True],
        projection: Projection = None,
        **options: Any,
    ) -> F: ...
    @overload
    async def one(
        self,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> F | None: ...
    async def one(
        self,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> F | None:
        """Return the first frame that matches, or None; see `Frame.one`."""
        found: F | None = await operations.one(
            awaited(), self._cls, filter, projection, required, options
        )
        return found

    async def many(
        self, filter: Filter = None, *, projection: Projection = None, **options: Any
    ) -> list[F]:
        """Return all frames that match, as a list; see `Frame.many`."""
        return await operations.many(awaited(), self._cls, filter, projection, options)

    @overload
    async def rows(
        self, filter: Filter, *fields: str | Field, row: type[dict[Any, Any]], **options: Any
    ) -> list[dict[str, Any]]: ...
    @overload
    async def rows(
        self,
        filter: Filter,
        *fields: str | Field,
        row: Callable[..., type[tuple[Any, ...]]],
        **options: Any,
    ) -> list[Any]: ...
    @overload
    async def rows(
        self, filter: Filter, *fields: str | Field, row: Callable[..., R], **options: Any
    ) -> list[R]: ...
    @overload
    async def rows(
        self,
        filter: Filter = None,
        *fields: str | Field,
        row: type[tuple[Any, ...]] = tuple,
        **options: Any,
    ) -> list[tuple[Any, ...]]: ...
    async def rows(
        self, filter: Filter = None, *fields: str | Field, row: Any = tuple, **options: Any
    ) -> list[Any]:
        """Return the values of some fields of all documents that match; see `Frame.rows`."""
        return await operations.rows(awaited(), self._cls, filter, fields, row, options)

    async def page(
        self,
        filter: Filter = None,
        *,
        sort: Sort = None,
        size: int = 25,
        after: str | None = None,
        before: str | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> Page[F]:
        """Return a page of the frames that match; see `Frame.page`."""
        return await operations.page(
            awaited(), self._cls, filter, sort, size, after, before, projection, options
        )

    def each(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        batch: int = operations.BATCH,
        limit: int | None = None,
        after: Any = None,
        resume: bool = False,
        progress: Progress = False,
        **options: Any,
    ) -> AsyncStream[F]:
        """Return a stream of the frames that match, for `async for`; see `Frame.each`."""
        from .progress import bar_for  # when it is used

        steps = operations.Steps(batch, 0 if limit is None else limit, after, resume)
        name = self._cls.__name__
        bar = bar_for(progress, f"{name}.each", name=name, unit="frames", every=batch)
        stream = operations.stream(awaited(), self._cls, filter, projection, options, steps, bar)
        return AsyncStream(stream, bar)

    def watch(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        checkpoint: CheckpointLike = None,
        feed: bool = False,
        **options: Any,
    ) -> AsyncWatch[F]:
        """Return a stream of the changes of the collection; see `Frame.watch`."""
        from .watching import AsyncWatch  # when it is used

        port = awaited()
        return AsyncWatch(
            operations.Watching(port, self._cls, filter, projection, checkpoint, feed, options)
        )

    @overload
    async def by_id(
        self, id: Any, *, required: Literal[True], projection: Projection = None, **options: Any
    ) -> F: ...
    @overload
    async def by_id(
        self, id: Any, *, required: bool = False, projection: Projection = None, **options: Any
    ) -> F | None: ...
    async def by_id(
        self, id: Any, *, required: bool = False, projection: Projection = None, **options: Any
    ) -> F | None:
        """Return the frame with this `_id`, or None; see `Frame.by_id`."""
        found: F | None = await operations.by_id(
            awaited(), self._cls, id, projection, required, options
        )
        return found

    async def by_ids(
        self, ids: Iterable[Any], *, projection: Projection = None, **options: Any
    ) -> list[F]:
        """Return the frames with these ids, in their order; see `Frame.by_ids`."""
        return await operations.by_ids(awaited(), self._cls, ids, projection, options)

    async def count(self, filter: Filter = None, **options: Any) -> int:
        """Return how many documents match; see `Frame.count`."""
        return await operations.count(awaited(), self._cls, filter, options)

    async def distinct(
        self, field: str | Field, filter: Filter = None, **options: Any
    ) -> list[Any]:
        """Return the distinct values of a field; see `Frame.distinct`."""
        return await operations.distinct(awaited(), self._cls, field, filter, options)

    async def ids(self, filter: Filter = None, **options: Any) -> list[Any]:
        """Return the ids of the documents that match; see `Frame.ids`."""
        return await operations.ids(awaited(), self._cls, filter, options)

    async def exists(self, filter: Filter = None, **options: Any) -> bool:
        """Tell whether a document matches; see `Frame.exists`."""
        return await operations.exists(awaited(), self._cls, filter, options)

    def filter(self, filter: Filter = None) -> AwaitedDirective[F]:
        """Return a directive, whose last step is awaited; see `Frame.filter`."""
        from .directives import AwaitedDirective  # when it is used

        directive: AwaitedDirective[F] = AwaitedDirective(self._cls)
        return directive.filter(filter)

    def agg(self, stages: Stages = ()) -> AwaitedDirective[Any]:
        """Return a directive that begins with stages of a pipeline; see `Frame.agg`."""
        from .directives import AwaitedDirective  # when it is used

        directive: AwaitedDirective[Any] = AwaitedDirective(self._cls)
        return directive.agg(stages)

    async def take(
        self,
        filter: Filter,
        changes: Mapping[str, Any] | list[Mapping[str, Any]],
        *,
        sort: Any = None,
        projection: Projection = None,
        **options: Any,
    ) -> F | None:
        """Change the first document that matches and return its frame; see `Frame.take`."""
        found: F | None = await operations.take(
            awaited(), self._cls, filter, changes, sort, projection, options
        )
        return found

    async def insert_many(self, documents: Iterable[F | dict[str, Any]], **options: Any) -> list[F]:
        """Store new documents in one batch and return their frames; see `Frame.insert_many`."""
        return await operations.insert_many(awaited(), self._cls, documents, options)

    async def update_many(
        self, documents: Iterable[F | dict[str, Any]], *fields: str, **options: Any
    ) -> list[F]:
        """Write fields of many frames in one batch; see `Frame.update_many`."""
        return await operations.update_many(awaited(), self._cls, documents, fields, options)

    async def unset_many(
        self, documents: Iterable[F | dict[str, Any]], *fields: str, **options: Any
    ) -> list[F]:
        """Remove fields from many documents in one batch; see `Frame.unset_many`."""
        return await operations.unset_many(awaited(), self._cls, documents, fields, options)

    async def delete_many(self, documents: Iterable[F | dict[str, Any]], **options: Any) -> list[F]:
        """Delete many documents in one batch; see `Frame.delete_many`."""
        return await operations.delete_many(awaited(), self._cls, documents, options)

    async def update_where(
        self,
        filter: Filter,
        changes: Changes,
        *,
        all: bool = False,
        dry_run: bool = False,
        batch_size: int = operations.BATCH,
        progress: operations.Progress | None = None,
        **options: Any,
    ) -> int:
        """Change all documents that match, return how many; see `Frame.update_where`."""
        way = operations.Way(all, dry_run, batch_size, progress)
        return await operations.update_where(awaited(), self._cls, filter, changes, way, options)

    async def delete_where(
        self,
        filter: Filter,
        *,
        all: bool = False,
        dry_run: bool = False,
        batch_size: int = operations.BATCH,
        progress: operations.Progress | None = None,
        **options: Any,
    ) -> int:
        """Delete all documents that match, return how many; see `Frame.delete_where`."""
        way = operations.Way(all, dry_run, batch_size, progress)
        return await operations.delete_where(awaited(), self._cls, filter, way, options)

    def bulk(
        self,
        *,
        ordered: bool = True,
        size: int = 1_000,
        max_bytes: int = 16 * 1024 * 1024,
        **options: Any,
    ) -> AwaitedBulk[F]:
        """Return a writer that sends writes in batches, for `async with`; see `Frame.bulk`."""
        from .bulk import AwaitedBulk  # imported when it is used

        return AwaitedBulk(self._cls, ordered, size, max_bytes, options)

    async def cascade(
        self,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Delete the documents of `ref_cls` that the frames point to; see `Frame.cascade`."""
        await integrity.cascade(
            awaited(), self._cls, ref_cls, field, frames, events, integrity.options_of(options)
        )

    async def nullify(
        self,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Set `field` to None where `ref_cls` points to a frame; see `Frame.nullify`."""
        await integrity.nullify(
            awaited(), self._cls, ref_cls, field, frames, events, integrity.options_of(options)
        )

    async def pull(
        self,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Take the frames out of a list in `ref_cls`; see `Frame.pull`."""
        await integrity.pull(
            awaited(), self._cls, ref_cls, field, frames, events, integrity.options_of(options)
        )

    async def create_collection(self, *, modify: bool = False, **options: Any) -> bool:
        """Create the collection unless it is there; see `Frame.create_collection`."""
        return await operations.create_collection(awaited(), self._cls, modify, options)

    def get_client(self) -> Any:
        """Return the AsyncMongoClient that awaited calls of the class use now."""
        return find_client(self._cls, aio=True)

    def get_db(self) -> AsyncDatabase[dict[str, Any]]:
        """Return the AsyncDatabase that awaited calls of the class use now."""
        return find_database(self._cls, aio=True)  # type: ignore[no-any-return]

    def get_collection(self) -> AsyncCollection[dict[str, Any]]:
        """Return the AsyncCollection that awaited calls of the class use now."""
        return find_collection(self._cls, aio=True)  # type: ignore[no-any-return]

    @contextmanager
    def with_options(self, **options: Any) -> Iterator[AsyncCollection[dict[str, Any]]]:
        """Give the class's collection options inside the block; see `Frame.with_options`."""
        with with_options(self._cls, options):
            yield self.get_collection()
