"""The blocking methods of Frame that read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from bson import ObjectId

from . import operations
from .document import Document
from .port import blocking, complete

if TYPE_CHECKING:
    from typing_extensions import Self

    from .checkpoints import CheckpointLike
    from .conditions import Field
    from .directives import Directive
    from .pages import Page
    from .pipelines import Stages
    from .progress import Progress
    from .projections import Projection
    from .queries import Filter, Sort
    from .streams import Stream
    from .watching import Watch

__all__ = ["Reading"]

R = TypeVar("R")


class Reading(Document):
    """What a Frame class and a frame can be asked."""

    __slots__ = ()

    @overload
    @classmethod
    def one(
        cls,
        filter: Filter = None,
        *,
        required: Literal[True],
        projection: Projection = None,
        **options: Any,
    ) -> Self: ...
    @overload
    @classmethod
    def one(
        cls,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None: ...
    @classmethod
    def one(
        cls,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None:
        """Return the first frame that matches, or None.

        Args:
            filter: a condition (`Q.name == "Burt"`), a dict as for PyMongo, or None for any.
            required: raise NotFound instead of returning None.
            projection: what to fetch; `$ref` and `$sub` inside make frames of references
                and embedded documents. One more query per referenced class and level.
            options: as for `Collection.find_one`; `sort` also takes `"-created"`.

        Raises:
            NotFound: nothing matches, and `required` is true.
            QueryError: the filter or sort cannot be sent.
            ProjectionError: the projection cannot be understood.
        """
        everyday = operations.everyday
        found: Self | None = everyday.NOT_EVERYDAY
        if projection is None and not (required or options):
            found = everyday.one(cls, filter)
        if found is everyday.NOT_EVERYDAY:
            found = complete(operations.one(blocking(), cls, filter, projection, required, options))
        return found

    @classmethod
    def many(
        cls, filter: Filter = None, *, projection: Projection = None, **options: Any
    ) -> list[Self]:
        """Return all frames that match, as a list.

        Args:
            filter: as for `one`.
            projection: as for `one`.
            options: as for `Collection.find`: `sort`, `limit`, `skip`, ...

        Raises:
            QueryError: the filter or sort cannot be sent.
            ProjectionError: the projection cannot be understood.
        """
        return complete(operations.many(blocking(), cls, filter, projection, options))

    @overload
    @classmethod
    def rows(
        cls, filter: Filter, *fields: str | Field, row: type[dict[Any, Any]], **options: Any
    ) -> list[dict[str, Any]]: ...
    @overload
    @classmethod
    def rows(
        cls,
        filter: Filter,
        *fields: str | Field,
        row: Callable[..., type[tuple[Any, ...]]],
        **options: Any,
    ) -> list[Any]: ...
    @overload
    @classmethod
    def rows(
        cls, filter: Filter, *fields: str | Field, row: Callable[..., R], **options: Any
    ) -> list[R]: ...
    @overload
    @classmethod
    def rows(
        cls,
        filter: Filter = None,
        *fields: str | Field,
        row: type[tuple[Any, ...]] = tuple,
        **options: Any,
    ) -> list[tuple[Any, ...]]: ...
    @classmethod
    def rows(
        cls, filter: Filter = None, *fields: str | Field, row: Any = tuple, **options: Any
    ) -> list[Any]:
        """Return the values of some fields of all documents that match; no frames are made.

        A field that a document lacks gives None. A path through a list gives a list, with what
        each document in it has. `_id` is there only when it is named.

        Args:
            filter: as for `one`.
            fields: names or paths, `"lair.gold"` or `Q.lair.gold`, in the order of the values.
            row: what holds the values of a document: `tuple`, `list`, `dict` (by the paths),
                `namedtuple` (dots become `_`, `_id` becomes `id`), a SubFrame class, or any
                callable, which is called with the values.
            options: as for `Collection.find`: `sort`, `limit`, `skip`, ...

        Raises:
            ProjectionError: no fields, or some that cannot be fetched together.
            QueryError: the filter or sort cannot be sent, or `row` cannot make rows of the fields.
            FieldError: the SubFrame class lacks a field.
        """
        return complete(operations.rows(blocking(), cls, filter, fields, row, options))

    @classmethod
    def page(
        cls,
        filter: Filter = None,
        *,
        sort: Sort = None,
        size: int = 25,
        after: str | None = None,
        before: str | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> Page[Self]:
        """Return a page of the frames that match, with tokens for the next and the previous one.

        A page is found by the values of the documents around it: nothing is counted or skipped, a
        late page costs what the first one does, and documents that are inserted or deleted
        meanwhile move no others. `_id` is added to the sort, so that no two documents are equal.

        Args:
            filter: as for `one`; the same for all pages of a walk.
            sort: as for `one`, by the values of fields that hold no lists; by `_id` without it.
            size: how many frames at most.
            after: the `next` of a page, for what comes after it.
            before: the `previous` of a page, for what comes before it.
            projection: as for `one`.
            options: as for `Collection.find`, without `limit` and `skip`.

        Raises:
            PageError: the token was changed or belongs to another class, filter or sort; or a
                document holds a list where the sort looks.
            QueryError: the filter or sort cannot be sent, or the size is not at least 1.
            ProjectionError: the projection cannot be understood, or changes what is sorted by.
        """
        return complete(
            operations.page(blocking(), cls, filter, sort, size, after, before, projection, options)
        )

    @classmethod
    def each(
        cls,
        filter: Filter = None,
        *,
        projection: Projection = None,
        batch: int = operations.BATCH,
        limit: int | None = None,
        after: Any = None,
        resume: bool = False,
        progress: Progress = False,
        **options: Any,
    ) -> Stream[Self]:
        """Return a stream of the frames that match, which holds 1,000 of them at a time.

        References are resolved for each batch. The client and session are chosen now; the
        query is sent when the first frame is asked for. Use it in a `with` block when the
        loop may end early: the cursor is closed at the end of the block.

        Args:
            filter: as for `one`.
            projection: as for `one`.
            batch: how many frames are made at a time, and documents sent at a time.
            limit: how many frames at most; None or 0 for all.
            after: an `_id` as for `by_id`, or a frame: the stream goes in the order of `_id`
                and begins behind it, whatever types the ids have.
            resume: go in the order of `_id`, and when the server drops the cursor or the
                connection is lost, go on behind the last frame; nothing comes twice. An error
                that comes again and again with nothing read in between is raised.
            progress: True for a bar on standard error, which needs tqdm; or a plain function,
                which is called with how many frames were taken and how many there are, None
                when that is not known. What matches a filter is counted at the start.
            options: as for `Collection.find`; beside `after` and `resume` a `sort` can only
                be by `_id`.

        Raises:
            MissingExtra: a progress bar without tqdm.
            QueryError: the filter or sort cannot be sent, or does not go with the others.
        """
        from .progress import bar_for  # when they are used
        from .streams import Stream

        steps = operations.Steps(batch, 0 if limit is None else limit, after, resume)
        name = cls.__name__
        bar = bar_for(progress, f"{name}.each", name=name, unit="frames", every=batch)
        stream = operations.stream(blocking(), cls, filter, projection, options, steps, bar)
        return Stream(stream, bar)

    @classmethod
    def watch(
        cls,
        filter: Filter = None,
        *,
        projection: Projection = None,
        checkpoint: CheckpointLike = None,
        feed: bool = False,
        **options: Any,
    ) -> Watch[Self]:
        """Return a stream of the changes of the collection, whoever makes them.

        It needs a replica set. The client is chosen now; the stream is opened by `with`, or by
        its first step, and shows what changes from then on. A lost connection is survived.

        Each change comes at least once: with a checkpoint a stream goes on after a restart, and
        the change that was being handled when the program ended comes again.

        Args:
            filter: as for `one`, on the whole document as it is when the change is read. Changes
                without a document, such as deletes, are tested by `_id` only.
            projection: as for `one`, of True, False, `$ref` and `$sub`.
            checkpoint: where the place of the stream is kept: a path, or an object with `load()`
                and `save(token)`.
            feed: also send each change to the listeners of `inserted`, `updated` and `deleted`.
                They are then told of this program's own writes twice.
            options: as for `Collection.watch`: `max_await_time_ms`, `pipeline`, ...;
                `full_document` is "updateLookup" unless said otherwise.

        Raises:
            HistoryLost: by a step; the server no longer knows what happened since the place in
                the checkpoint.
            QueryError: the filter cannot be sent, or not to a change stream.
        """
        from .watching import Watch  # when it is used

        return Watch(
            operations.Watching(blocking(), cls, filter, projection, checkpoint, feed, options)
        )

    @overload
    @classmethod
    def by_id(
        cls, id: Any, *, required: Literal[True], projection: Projection = None, **options: Any
    ) -> Self: ...
    @overload
    @classmethod
    def by_id(
        cls, id: Any, *, required: bool = False, projection: Projection = None, **options: Any
    ) -> Self | None: ...
    @classmethod
    def by_id(
        cls, id: Any, *, required: bool = False, projection: Projection = None, **options: Any
    ) -> Self | None:
        """Return the frame with this `_id`, or None.

        Args:
            id: 24 hexadecimal digits stand for an ObjectId, unless the class declares
                another type for `_id`.
            required: raise NotFound instead of returning None.
            projection: as for `one`.
            options: as for `Collection.find_one`.

        Raises:
            NotFound: there is no such document, and `required` is true.
        """
        everyday = operations.everyday
        found: Self | None = everyday.NOT_EVERYDAY
        if type(id) is ObjectId and projection is None and not (required or options):
            found = everyday.by_id(cls, {"_id": id})
        if found is everyday.NOT_EVERYDAY:
            found = complete(operations.by_id(blocking(), cls, id, projection, required, options))
        return found

    @classmethod
    def by_ids(
        cls, ids: Iterable[Any], *, projection: Projection = None, **options: Any
    ) -> list[Self]:
        """Return the frames with these ids, in the order of `ids`, without the missing ones.

        Args:
            ids: as for `by_id`; an id given twice gives the same frame twice.
            projection: as for `one`.
            options: as for `Collection.find`, without `limit`, `skip` and `sort`.
        """
        return complete(operations.by_ids(blocking(), cls, ids, projection, options))

    @classmethod
    def count(cls, filter: Filter = None, **options: Any) -> int:
        """Return how many documents match.

        Without a filter the server's own count of the collection is returned, which costs
        nothing but may be off after a crash or on a sharded cluster; `count({}, hint="_id_")`
        counts one by one.

        Args:
            filter: as for `one`.
            options: as for `Collection.count_documents`.
        """
        return complete(operations.count(blocking(), cls, filter, options))

    @classmethod
    def distinct(cls, field: str | Field, filter: Filter = None, **options: Any) -> list[Any]:
        """Return the distinct values of a field; of lists, those of their items.

        Documents without the field add nothing; null is a value. Together they are 16 MB at most.

        Args:
            field: its path, such as `"lair.kind"`, or `Q.lair.kind`.
            filter: as for `one`.
            options: as for `Collection.distinct`.
        """
        return complete(operations.distinct(blocking(), cls, field, filter, options))

    @classmethod
    def ids(cls, filter: Filter = None, **options: Any) -> list[Any]:
        """Return the ids of the documents that match.

        Args:
            filter: as for `one`.
            options: as for `Collection.find`.
        """
        return complete(operations.ids(blocking(), cls, filter, options))

    @classmethod
    def exists(cls, filter: Filter = None, **options: Any) -> bool:
        """Tell whether a document matches; asks for an `_id` only.

        Args:
            filter: as for `one`.
            options: as for `Collection.find_one`.
        """
        return complete(operations.exists(blocking(), cls, filter, options))

    @classmethod
    def filter(cls, filter: Filter = None) -> Directive[Self]:
        """Return a directive: what to ask, step by step, before it is asked.

        `User.filter(Q.age < 40).sort("-age").limit(10).load_many()`

        Args:
            filter: as for `one`.

        Raises:
            QueryError: the filter cannot be sent.
        """
        from .directives import Directive  # when it is used

        directive: Directive[Self] = Directive(cls)
        return directive.filter(filter)

    @classmethod
    def agg(cls, stages: Stages = ()) -> Directive[Any]:
        """Return a directive that begins with stages of an aggregation pipeline.

        Args:
            stages: `AggregationStages`, a list of dicts, or one dict.

        Raises:
            QueryError: no stage, or one that writes.
        """
        from .directives import Directive  # when it is used

        directive: Directive[Any] = Directive(cls)
        return directive.agg(stages)

    def reload(self, *, projection: Projection = None, **options: Any) -> None:
        """Replace what the frame holds by what is stored now.

        Args:
            projection: as for `one`; by default all declared fields.
            options: as for `Collection.find_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Gone: the document was deleted.
        """
        complete(operations.reload(blocking(), self, projection, options))
