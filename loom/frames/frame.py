"""Frame: one class for one collection, and its blocking methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, overload

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

from ..clients import AnyClient
from ..connection import find_client, find_collection, find_database, with_options
from . import behaviours, events, operations
from .aio import Aio
from .annotations import resolved_annotations
from .document import Document
from .operations import everyday
from .port import blocking, complete
from .projections import Projection
from .queries import Filter
from .streams import Stream

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Frame"]

L = TypeVar("L", bound=Callable[..., Any])


class Frame(Document):
    """A document of a collection, with attribute access to its fields.

    A subclass names its fields, by annotations or in `_fields`, and may set:

    - `_collection`: name of the collection; the class's own name by default.
    - `_db`: name of the database; by default the one that the connection names.
    - `_client`: a MongoClient, AsyncMongoClient or Connection; by default what
      `loom.connect` made.
    - `_private_fields`: paths that `to_json_type` leaves out.
    - `_default_projection`: the projection of calls that give none.
    - `_tz_aware`: whether datetimes are read as aware ones, when it is not the client's choice.

    Methods that take `**options` hand them to the PyMongo method that they call (`session`,
    `comment`, `hint`, `collation`, ...). Every method is there to be awaited, too, under the
    same name on `aio`.

    >>> class Dragon(Frame):
    ...     name: str
    ...     gold: int = 0
    >>> Dragon(name="Burt").name
    'Burt'
    """

    __slots__ = ()

    _is_frame: ClassVar[bool] = True
    _client: ClassVar[AnyClient | None] = None
    _db: ClassVar[str | None] = None
    _collection: ClassVar[str | None] = None
    _default_projection: ClassVar[Mapping[str, Any] | None] = None
    _tz_aware: ClassVar[bool | None] = None

    _id: Any

    #: The same methods, awaited.
    aio: ClassVar[Aio] = Aio()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        parents = [base for base in cls.__mro__[1:] if issubclass(base, Frame)]
        if cls._definition.defaults and not any(p._definition.defaults for p in parents):
            events.listen("insert", behaviours.insert_defaults, cls)

    def __eq__(self, other: Any) -> bool:
        if self is other:
            return True
        if self.__class__ is not other.__class__:
            return NotImplemented
        id = self._document.get("_id")
        return id is not None and bool(id == other._document.get("_id"))

    def __hash__(self) -> int:  # type: ignore[override]  # a sub-frame has none, a stored frame does
        id = self._document.get("_id")
        if id is None:
            raise TypeError(
                f"{type(self).__name__}: expected a frame with _id, got one without, which cannot "
                "be hashed; insert it first"
            )
        return hash(id)

    def __lt__(self, other: Any) -> bool:
        """Order frames by `_id`."""
        if not isinstance(other, Frame):
            return NotImplemented
        mine: Any = self._document.get("_id")
        return bool(mine < other._document.get("_id"))

    @classmethod
    def _to_id(cls, id: Any) -> Any:
        """Return an ObjectId for its 24 hexadecimal digits, unless ids have another type."""
        if isinstance(id, str) and len(id) == 24 and ObjectId.is_valid(id):
            declared = resolved_annotations(cls._definition).get("_id", Any)
            choices = get_args(declared) or (declared,)  # of a union, or of Annotated
            if str not in choices and (Any in choices or ObjectId in choices):
                return ObjectId(id)
        return id

    # Reading

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

    # Writing

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

    def update(self, *fields: str, **options: Any) -> None:
        """Write fields of this frame to its document.

        Sends `update` and `updated`. What listeners change is written too.

        Args:
            fields: names or dotted paths; none means everything that the frame holds.
            options: as for `Collection.update_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Gone: the document is not there.
            FieldError: a name is not a declared field.
            QueryError: a named field is absent from the frame; `unset` removes fields.
            ProjectionError: a list that was fetched only in part would be overwritten.
        """
        if options or not everyday.update(self, fields):
            complete(operations.update(blocking(), self, fields, options))

    def upsert(self, *fields: str, **options: Any) -> None:
        """Insert this frame if it is not stored, else update it.

        A frame with an `_id` costs one more query, which tells which of the two it is; the
        events are those of `insert` or `update`.

        Args:
            fields: as for `update`.
            options: as for `Collection.insert_one` and `Collection.update_one`.
        """
        complete(operations.upsert(blocking(), self, fields, options))

    def unset(self, *fields: str, **options: Any) -> None:
        """Remove fields from the document and from this frame.

        Sends `update` and `updated`.

        Args:
            fields: names or dotted paths.
            options: as for `Collection.update_one`.

        Raises:
            MissingId: the frame has no `_id`.
            Gone: the document is not there.
        """
        complete(operations.unset(blocking(), self, fields, options))

    def delete(self, **options: Any) -> None:
        """Delete the document of this frame; one that is gone already is no error.

        Sends `delete` and `deleted`.

        Args:
            options: as for `Collection.delete_one`.

        Raises:
            MissingId: the frame has no `_id`.
        """
        complete(operations.delete(blocking(), self, options))

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

        Sends one `delete` and one `deleted` with all frames.

        Args:
            documents: frames of this class, or dicts with `_id`.
            options: as for `Collection.bulk_write` and `DeleteOne`.

        Raises:
            MissingId: a frame has no `_id`; nothing was sent.
            BulkError: some were not deleted; it says which, and why.
        """
        return complete(operations.delete_many(blocking(), cls, documents, options))

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
            events: send `delete` and `deleted` for what is deleted, which loads it first.
            options: session and comment.

        >>> class Item(Frame):
        ...     value: int
        >>> class Dragon(Frame):
        ...     loot: list[Item]
        >>> @Dragon.listen("deleted")
        ... def drop_loot(sender, frames):
        ...     Dragon.cascade(Item, "loot", frames)
        """
        _run(cls, behaviours.cascade, ref_cls, field, frames, events, options)

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
            field: a path in `ref_cls` that holds one id.
            frames: of this class.
            events: send `update` and `updated` for what changes, which loads it first.
            options: session and comment.

        Raises:
            FieldError: a frame is not of this class, or `ref_cls` has no such field.
        """
        _run(cls, behaviours.nullify, ref_cls, field, frames, events, options)

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
        """Take the frames out of the list `field` of the documents of `ref_cls`.

        Args:
            ref_cls: the class of what points here.
            field: a path in `ref_cls` that holds a list of ids.
            frames: of this class.
            events: send `update` and `updated` for what changes, which loads it first.
            options: session and comment.

        Raises:
            FieldError: a frame is not of this class, or `ref_cls` has no such field.
        """
        _run(cls, behaviours.pull, ref_cls, field, frames, events, options)

    timestamp_insert = staticmethod(behaviours.timestamp_insert)
    timestamp_update = staticmethod(behaviours.timestamp_update)

    # Events

    @overload
    @classmethod
    def listen(cls, event: str, func: None = None) -> Callable[[L], L]: ...
    @overload
    @classmethod
    def listen(cls, event: str, func: L) -> L: ...
    @classmethod
    def listen(cls, event: str, func: Any = None) -> Any:
        """Call `func` on an event of this class and its children; also a decorator.

        Listeners are called in the order of their registration and are kept until
        `stop_listening`. An `async def` listener works for blocking calls too, as long as it
        awaits only Loom.

        Args:
            event: `insert`, `inserted`, `update`, `updated`, `delete` or `deleted`.
            func: gets what its parameters are named after: `sender` (the class), `frames`
                (a list), `fields` (paths), `changes` (update documents), `session`. A first
                parameter of another name, without a default, gets the sender.

        Raises:
            ListenerError: no such event, or a parameter that nothing is passed for.
        """
        if func is None:
            return lambda function: cls.listen(event, function)
        events.listen(event, func, cls)
        return func

    @classmethod
    def stop_listening(cls, event: str, func: Callable[..., Any]) -> None:
        """End what `listen` began.

        Args:
            event: its name.
            func: the listener.
        """
        events.stop_listening(event, func, cls)

    # The driver's objects

    @classmethod
    def get_client(cls) -> Any:
        """Return the MongoClient that blocking calls of this class use now."""
        return find_client(cls, aio=False)

    @classmethod
    def get_db(cls) -> Database[dict[str, Any]]:
        """Return the Database that blocking calls of this class use now."""
        return find_database(cls, aio=False)  # type: ignore[no-any-return]

    @classmethod
    def get_collection(cls) -> Collection[dict[str, Any]]:
        """Return the Collection that blocking calls of this class use now.

        It encodes frames, sets, Enums and Decimals as Loom does.
        """
        return find_collection(cls, aio=False)  # type: ignore[no-any-return]

    @classmethod
    @contextmanager
    def with_options(cls, **options: Any) -> Iterator[Collection[dict[str, Any]]]:
        """Give this class's collection options inside the block, and yield it.

        Holds for this class, not its children, in the running thread or task only.

        Args:
            options: as for `Collection.with_options`: read_preference, read_concern,
                write_concern, codec_options.
        """
        with with_options(cls, options):
            yield cls.get_collection()


def _run(
    cls: type[Frame],
    behaviour: Any,
    ref_cls: Any,
    field: str,
    frames: Iterable[Frame],
    with_events: bool,
    options: dict[str, Any],
) -> None:
    """Run a behaviour now, or hand it to the event whose listener asks for it."""
    kept = list(frames)
    shared = behaviours.options_of(options)
    current = events.running()
    if current is None:
        complete(behaviour(blocking(), cls, ref_cls, field, kept, with_events, shared))
    else:
        current.deferred.append(
            lambda port: behaviour(port, cls, ref_cls, field, kept, with_events, shared)
        )
