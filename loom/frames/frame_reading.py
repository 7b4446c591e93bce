"""The blocking methods of Frame that read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from bson import ObjectId

from . import operations
from .document import Document
from .port import blocking, complete

if TYPE_CHECKING:
    from typing_extensions import Self

    from .projections import Projection
    from .queries import Filter
    from .streams import Stream

__all__ = ["Reading"]


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

    @classmethod
    def each(
        cls, filter: Filter = None, *, projection: Projection = None, **options: Any
    ) -> Stream[Self]:
        """Return a stream of the frames that match, which holds 1,000 of them at a time.

        References are resolved for each batch. The client and session are chosen now; the
        query is sent when the first frame is asked for. Use it in a `with` block when the
        loop may end early: the cursor is closed at the end of the block.

        Args:
            filter: as for `one`.
            projection: as for `one`.
            options: as for `Collection.find`.
        """
        from .streams import Stream  # when it is used

        return Stream(operations.each(blocking(), cls, filter, projection, options))

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
            options: as for `Collection.find`.
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
