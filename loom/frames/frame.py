"""Frame: one class for one collection.

Its blocking methods are in `frame_reading` and `frame_writing`, the awaited ones in `aio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args, overload

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

from ..clients import AnyClient
from ..connection import find_client, find_collection, find_database, with_options
from . import behaviours, events
from .annotations import resolved_annotations
from .frame_writing import Writing
from .views import Aio

if TYPE_CHECKING:
    from .index import Index

__all__ = ["Frame"]

L = TypeVar("L", bound=Callable[..., Any])

# Defaults, which listen from the beginning, come before them, and the case of text at the end.


def _declared(cls: type) -> list[tuple[str, Callable[..., Any]]]:
    """Return the listeners that annotations of plain values declare."""
    from . import stamping, texts  # when a class first writes

    found = [*stamping.stamping(cls), *texts.normalising(cls)]
    if any(vars(parent).get("_derived") for parent in cls.__mro__):
        from . import deriving  # when a class has derived fields

        found += deriving.deriving(cls)
    series = getattr(cls, "_timeseries", None)
    if series is not None and series["timeField"] != getattr(cls, "_time_field", None):
        from .timeseries import check_times  # when a class has one

        found.append(("insert", check_times))
    return found


events.declaring.append(_declared)


class Frame(Writing):
    """A document of a collection, with attribute access to its fields.

    A subclass names its fields, by annotations or in `_fields`, and may set:

    - `_collection`: name of the collection; the class's own name by default.
    - `_db`: name of the database; by default the one that the connection names.
    - `_client`: a MongoClient, AsyncMongoClient or Connection; by default what
      `loom.connect` made.
    - `_private_fields`: paths that `to_json_type` leaves out.
    - `_default_projection`: the projection of calls that give none.
    - `_version`: name of a field that counts versions: every update then holds only when the
      stored document is the one that was loaded, and raises Conflict when it is not.
    - `_kind_field`: name of a field that tells the classes of one collection apart: the class and
      those derived from it share a collection, and each document is loaded as the class that it
      names. `_kind` is what is stored there for a class; by default the class's name.
    - `_schema_version`: number of the form that documents are written in, from 1 on; `_upgrade`
      brings a document of an older form to this one, see `loom.frames.upgrading`.
    - `_indexes`: a list of `Index(...)`, which `loom.frames.indexes` compares and builds; none is
      built by itself.
    - `_derived`: a dict of fields that are made of others, `{"email_rev": ("email", reverse)}`, and
      kept in step by every write; see `loom.frames.derived`.
    - `_timeseries`: what `create_collection` makes a time-series collection of, in MongoDB's names:
      `{"timeField": "time", "metaField": "symbol", "granularity": "minutes"}`.
    - `_page_secret`: text or bytes that sign the tokens of pages; by default the `page_secret` of
      `loom.connect`.
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
    _version: ClassVar[str | None] = None
    _kind_field: ClassVar[str | None] = None
    _kind: ClassVar[str | None] = None
    _schema_version: ClassVar[int | None] = None
    #: Brings a document of an older `_schema_version`, the second argument, to that of the class.
    _upgrade: Any = None  # a function, a static method or a class method
    _page_secret: ClassVar[str | bytes | None] = None
    #: Documents are added and never changed, see `LedgerFrame`.
    _append_only: ClassVar[bool] = False
    _indexes: ClassVar[Sequence[Index]] = ()
    _derived: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    _timeseries: ClassVar[Mapping[str, Any] | None] = None

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
            event: `insert`, `inserted`, `update`, `updated`, `delete`, `deleted` or `committed`.
            func: gets what its parameters are named after: `sender` (the class), `frames`
                (a list), `fields` (paths), `changes` (update documents), `session`, `event`. A
                first parameter of another name, without a default, gets the sender.

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
