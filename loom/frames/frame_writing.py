"""The blocking methods of Frame that write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import events, integrity, operations
from .frame_reading import Reading
from .port import blocking, complete

if TYPE_CHECKING:
    from typing_extensions import Self

    from .bulk import Bulk
    from .frame import Frame
    from .projections import Projection
    from .queries import Filter
    from .updates import Changes

__all__ = ["Writing"]


class Writing(Reading):
    """What a Frame class and a frame can write."""

    __slots__ = ()

    def insert(self, **options: Any) -> None:
        """Store this frame as a new document and give it its `_id`.

        Sends `insert` and `inserted`. Referenced frames are stored as their ids. When only the
        write concern fails, which PyMongo's WriteConcernError says, the document is stored: the
        frame has its id and `inserted` was sent.

        Args:
            options: as for `Collection.insert_one`.

        Raises:
            Duplicate: a unique index holds the values already.
            EncodeError: a value cannot be stored; nothing was sent.
            MissingId: a referenced frame was never stored; nothing was sent.
        """
        complete(operations.insert(blocking(), self, options))

    def save(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Insert this frame if it has no `_id`, else write what was changed, and nothing else.

        Without names that is what was assigned through the frame, and what was edited in place in
        the lists, dicts and sub-frames that were read through it: of those the paths that differ.
        Two copies of a document that change different fields both keep their change. A document
        that was deleted meanwhile stays deleted. When nothing was changed nothing is sent.

        Args:
            fields: names or dotted paths; given, they are written as by `update`.
            where: as for `update`.
            options: as for `Collection.insert_one` and `Collection.update_one`.

        Raises:
            Gone: the document is not there any more.
            Conflict: the document is there, but not as `where` or `_version` expects it.
            Duplicate: a unique index holds the values already.
        """
        complete(operations.save(blocking(), self, fields, where, options))

    def update(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Write fields of this frame to its document.

        Sends `update` and `updated`. What listeners change is written too.

        Args:
            fields: names or dotted paths; none means everything that the frame holds.
            where: a condition that the stored document must meet (compare and set).
            options: as for `Collection.update_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Gone: the document is not there.
            Conflict: the document is there, but not as `where` or `_version` expects it.
            FieldError: a name is not a declared field.
            QueryError: a named field is absent from the frame; `unset` removes fields.
            ProjectionError: a list that was fetched only in part would be overwritten.
        """
        if where is not None or options or not operations.everyday.update(self, fields):
            complete(operations.update(blocking(), self, fields, where, options))

    def inc(self, field: str, amount: float = 1, *, where: Filter = None, **options: Any) -> Any:
        """Add to a number of the document, atomically, and return what it is now.

        The new value is in the frame, too. A field that the document lacks counts from 0.

        Args:
            field: a name or dotted path.
            amount: what is added; less than 0 subtracts.
            where: as for `update`: `burt.inc("gold", -5, where=Q.gold >= 5)`.
            options: as for `Collection.find_one_and_update`.

        Raises:
            Conflict: the document is there, but not as `where` expects it.
            Gone: the document is not there.
        """
        return complete(operations.inc(blocking(), self, field, amount, where, options))

    def change(
        self,
        changes: Mapping[str, Any] | list[Mapping[str, Any]],
        *,
        where: Filter = None,
        **options: Any,
    ) -> None:
        """Change the document on the server in one step, and take the new values into the frame.

        Sends `update` and `updated`.

        Args:
            changes: an update document, `{"$push": {"loot": "ring"}}`, or a pipeline.
            where: as for `update`.
            options: as for `Collection.find_one_and_update`.

        Raises:
            Conflict: the document is there, but not as `where` expects it.
            Gone: the document is not there.
            QueryError: the update document cannot be sent.
        """
        complete(operations.change(blocking(), self, changes, where, options))

    @classmethod
    def take(
        cls,
        filter: Filter,
        changes: Mapping[str, Any] | list[Mapping[str, Any]],
        *,
        sort: Any = None,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None:
        """Change the first document that matches and return its frame, as it is after the change.

        One step on the server, so that of many workers only one gets a document:
        `Job.take(Q.state == "new", {"$set": {"state": "taken"}}, sort="created")`.

        Args:
            filter: as for `one`.
            changes: an update document or a pipeline.
            sort: which of those that match is the first, as for `one`.
            projection: as for `one`.
            options: as for `Collection.find_one_and_update`.

        Returns:
            The frame, None when nothing matches.

        Raises:
            QueryError: the filter or the update document cannot be sent.
        """
        found: Self | None = complete(
            operations.take(blocking(), cls, filter, changes, sort, projection, options)
        )
        return found

    def upsert(self, *fields: str, **options: Any) -> None:
        """Insert this frame if it is not stored, else update it.

        A frame with an `_id` costs one more query, which tells which of the two it is; the
        events are those of `insert` or `update`.

        Args:
            fields: as for `update`.
            options: as for `Collection.insert_one` and `Collection.update_one`.
        """
        complete(operations.upsert(blocking(), self, fields, options))

    def unset(self, *fields: str, where: Filter = None, **options: Any) -> None:
        """Remove fields from the document and from this frame.

        Sends `update` and `updated`.

        Args:
            fields: names or dotted paths.
            where: as for `update`.
            options: as for `Collection.update_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Gone: the document is not there.
            Conflict: the document is there, but not as `where` or `_version` expects it.
        """
        complete(operations.unset(blocking(), self, fields, where, options))

    def delete(self, *, where: Filter = None, **options: Any) -> None:
        """Delete the document of this frame; one that is gone already is no error.

        Sends `delete`, and `deleted` unless it was gone already. Before, what
        `Ref(on_delete=...)` declares is done with the documents that refer to it.

        Args:
            where: as for `update`.
            options: as for `Collection.delete_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Conflict: the document is there, but not as `where` expects it, or its `_version` is
                another one than the frame's.
            Gone: the frame's `_id` is not in the case in which its annotation has it stored.
            Restricted: a reference to it forbids the delete; nothing was deleted.
            DefinitionError: a declared `Ref` cannot be followed; nothing was deleted.
        """
        complete(operations.delete(blocking(), self, where, options))

    @classmethod
    def insert_many(cls, documents: Iterable[Self | dict[str, Any]], **options: Any) -> list[Self]:
        """Store new documents in one batch and return their frames, with their ids.

        Sends one `insert` and one `inserted` with all frames.

        Args:
            documents: frames of this class, or dicts.
            options: as for `Collection.insert_many`: `ordered`, ...

        Raises:
            BulkError: some were not stored; it says which, and why. Their frames have no id.
            EncodeError: a value cannot be stored, or a document is too large; nothing was sent.
            FieldError: a frame of another class or collection, or one given twice.
        """
        return complete(operations.insert_many(blocking(), cls, documents, options))

    @classmethod
    def update_many(
        cls, documents: Iterable[Self | dict[str, Any]], *fields: str, **options: Any
    ) -> list[Self]:
        """Write fields of many frames in one batch; returns the frames.

        Sends one `update` and one `updated` with all frames.

        Args:
            documents: frames of this class, or dicts with `_id`.
            fields: as for `update`.
            options: as for `Collection.bulk_write` and `UpdateOne`.

        Raises:
            MissingId: a frame has no `_id`; nothing was sent.
            BulkError: some were not written, or are not there; it says which, and why.
        """
        return complete(operations.update_many(blocking(), cls, documents, fields, options))

    @classmethod
    def unset_many(
        cls, documents: Iterable[Self | dict[str, Any]], *fields: str, **options: Any
    ) -> list[Self]:
        """Remove fields from many documents, and from their frames, in one batch.

        Args:
            documents: frames of this class, or dicts with `_id`.
            fields: names or dotted paths.
            options: as for `Collection.bulk_write` and `UpdateOne`.

        Raises:
            MissingId: a frame has no `_id`; nothing was sent.
            BulkError: some were not written, or are not there; it says which, and why.
        """
        return complete(operations.unset_many(blocking(), cls, documents, fields, options))

    @classmethod
    def delete_many(cls, documents: Iterable[Self | dict[str, Any]], **options: Any) -> list[Self]:
        """Delete many documents in one batch; returns their frames.

        Sends one `delete` and one `deleted` with all frames, but no `deleted` when all of them
        were gone already.

        Args:
            documents: frames of this class, or dicts with `_id`.
            options: as for `Collection.bulk_write` and `DeleteOne`.

        Raises:
            MissingId: a frame has no `_id`; nothing was sent.
            BulkError: some were not deleted; it says which, and why.
            Restricted: a reference to one of them forbids the delete; nothing was deleted.
        """
        return complete(operations.delete_many(blocking(), cls, documents, options))

    # Writes by filter

    @classmethod
    def update_where(
        cls,
        filter: Filter,
        changes: Changes,
        *,
        all: bool = False,
        dry_run: bool = False,
        batch_size: int = operations.BATCH,
        progress: operations.Progress | None = None,
        **options: Any,
    ) -> int:
        """Change all documents that match, and return how many matched.

        One command, when nothing listens but what annotations declare. Else the documents are
        changed in batches, each with its events `update` and `updated`: the before-listeners get
        the frames as they are stored and `changes`, one update document per frame, to which they
        may add; what they assign to a frame is written too. A document that others change so that
        it matches no more, before its turn has come, is left as it is. An error in the middle says
        by a note how many documents were written; they stay so outside of a transaction.

        Args:
            filter: as for `many`; one that every document matches is refused.
            changes: update operators (`{"$set": {...}, "$inc": {...}}`), whose paths may be
                written as `Q.lair.gold`, or a list of pipeline stages.
            all: allow a filter that every document matches.
            dry_run: write nothing and return how many documents match.
            batch_size: how many documents one event tells of.
            progress: called after each batch with how many documents were written, and how many
                matched at the start, which costs a count when something listens.
            options: as for `Collection.update_many`, without `upsert`.

        Returns:
            How many documents matched, changed by it or not; -1 when the write concern asks for
            no answer.

        Raises:
            QueryError: an empty filter, or an update document that cannot be sent.
            FieldError: a path does not begin with a declared field.
            BulkError: the server refused a document of a batch.
        """
        way = operations.Way(all, dry_run, batch_size, progress)
        return complete(operations.update_where(blocking(), cls, filter, changes, way, options))

    @classmethod
    def delete_where(
        cls,
        filter: Filter,
        *,
        all: bool = False,
        dry_run: bool = False,
        batch_size: int = operations.BATCH,
        progress: operations.Progress | None = None,
        **options: Any,
    ) -> int:
        """Delete all documents that match, and return how many were deleted.

        One command, when nothing listens. Else in batches, each with its events `delete` and
        `deleted`, as `update_where` does it.

        Args:
            filter: as for `many`; one that every document matches is refused.
            all: allow a filter that every document matches.
            dry_run: write nothing and return how many documents match.
            batch_size: how many documents one event tells of.
            progress: as for `update_where`.
            options: as for `Collection.delete_many`.

        Returns:
            How many documents were deleted; -1 when the write concern asks for no answer.

        Raises:
            QueryError: an empty filter.
            Restricted: a declared reference forbids a delete; the batches before are deleted.
            BulkError: the server refused to delete a document of a batch.

        >>> from loom import Frame
        >>> class Dragon(Frame):
        ...     name: str
        >>> Dragon.delete_where({})
        Traceback (most recent call last):
        loom.errors.QueryError: Dragon.delete_where: expected a filter, got {}, ...
        """
        way = operations.Way(all, dry_run, batch_size, progress)
        return complete(operations.delete_where(blocking(), cls, filter, way, options))

    @classmethod
    def bulk(
        cls,
        *,
        ordered: bool = True,
        size: int = 1_000,
        max_bytes: int = 16 * 1024 * 1024,
        **options: Any,
    ) -> Bulk[Self]:
        """Return a writer that sends inserts, updates, upserts and deletes in batches.

        What waits is sent when it is enough, and at the end of the `with` block:

            with Dragon.bulk(ordered=False) as bulk:
                for row in rows:
                    bulk.upsert(Dragon(row))

        Events are sent with every batch. Frames are written as they are when they are sent.

        Args:
            ordered: keep the order, and stop at the first failure, which is raised at once.
                Otherwise each kind goes in one batch, and all failures are raised at the end.
            size: how many writes wait at most.
            max_bytes: how many bytes wait, about.
            options: as for `Collection.bulk_write`.

        Raises:
            BulkError: some were not written; it says which, and why, and so do the writer's
                `results`.
        """
        from .bulk import Bulk  # not everybody's: imported when it is used

        return Bulk(cls, ordered, size, max_bytes, options)

    # References kept whole

    @classmethod
    def cascade(
        cls,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Delete the documents of `ref_cls` that `field` of the frames points to.

        Called by a listener it is done right after that listener returns, in the same
        session, blocking or awaited as the operation is. References in a circle come to an end.

        Args:
            ref_cls: the class of what is deleted.
            field: a path in the frames: an id, a frame, or a list or map of them.
            frames: those whose references are followed.
            events: send `delete` and `deleted` for what is deleted, which loads it first. What
                `Ref(on_delete=...)` declares for it is done in either case.
            options: session and comment.

        >>> from loom import Frame
        >>> class Item(Frame):
        ...     value: int
        >>> class Dragon(Frame):
        ...     loot: list[Item]
        >>> @Dragon.listen("deleted")
        ... def drop_loot(sender, frames):
        ...     Dragon.cascade(Item, "loot", frames)
        """
        _run(cls, integrity.cascade, ref_cls, field, frames, events, options)

    @classmethod
    def nullify(
        cls,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Set `field` to None in the documents of `ref_cls` that point to one of the frames.

        Args:
            ref_cls: the class of what points here.
            field: a path in `ref_cls` that holds an id; of a list or map, if the annotation tells
                of one, the members that point to a frame become None.
            frames: of this class.
            events: send `update` and `updated` for what changes, which loads it first.
            options: session and comment.

        Raises:
            FieldError: a frame is not of this class, or `ref_cls` has no such field.
        """
        _run(cls, integrity.nullify, ref_cls, field, frames, events, options)

    @classmethod
    def pull(
        cls,
        ref_cls: type[Frame],
        field: str,
        frames: Iterable[Frame],
        *,
        events: bool = True,
        **options: Any,
    ) -> None:
        """Take the frames out of the list or map `field` of the documents of `ref_cls`.

        Args:
            ref_cls: the class of what points here.
            field: a path in `ref_cls` that holds a list of ids, or a map if the annotation says so.
            frames: of this class.
            events: send `update` and `updated` for what changes, which loads it first.
            options: session and comment.

        Raises:
            FieldError: a frame is not of this class, or `ref_cls` has no such field.
        """
        _run(cls, integrity.pull, ref_cls, field, frames, events, options)

    # The collection

    @classmethod
    def create_collection(cls, *, modify: bool = False, **options: Any) -> bool:
        """Create the collection of this class; do nothing when it is there as declared.

        Nothing needs it: a first insert makes an ordinary collection. It is for those that have
        options, such as time series: a class with `_timeseries` must call it before its first
        insert. Several processes may do so at once.

        Args:
            modify: change a collection that is there in what `collMod` can change, such as a
                `validator`, how long documents are kept, a coarser granularity.
            options: as for PyMongo's `Database.create_collection`: `capped`, `size`, `validator`
                (which may be a condition, `Q.age >= 0`), `collation`, ...

        Returns:
            True when it was created or changed.

        Raises:
            CollectionConflict: it is there, and otherwise; nothing was changed.
            QueryError: the options do not go with the class, or with each other.
            ReadOnly: writing is switched off.
            TransactionError: the call is made in a transaction.
        """
        return complete(operations.create_collection(blocking(), cls, modify, options))


def _run(
    cls: type[Writing],
    behaviour: Any,
    ref_cls: Any,
    field: str,
    frames: Iterable[Frame],
    with_events: bool,
    options: dict[str, Any],
) -> None:
    """Run a behaviour now, or hand it to the event whose listener asks for it."""
    kept = list(frames)
    shared = integrity.options_of(options)
    current = events.running()
    if current is None:
        complete(behaviour(blocking(), cls, ref_cls, field, kept, with_events, shared))
    else:
        current.deferred.append(
            lambda port: behaviour(port, cls, ref_cls, field, kept, with_events, shared)
        )
