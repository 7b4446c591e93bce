"""What readers are asked for: the one place of their options, with defaults, checks and words.

A new option is named twice here, in `ReadOptions` for type checkers and in `Asked`, which checks it,
and told in `ARGUMENTS`. Readers take all of them as `**how`, and `told` shows them in `help()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from ...errors import QueryError, nearest
from ...refusals import brief
from ..chains import Chain
from ..conditions import Field
from .checks import check_choice, check_count, check_flag
from .columns import Schema
from .exact import OnMismatch
from .ids import Ids
from .signatures import showing
from .zones import Zone, zone_name

if TYPE_CHECKING:
    from ..frame import Frame
    from ..pipelines import Stages
    from ..progress import Progress
    from ..sorts import Sort

__all__ = ["BATCH_ROWS", "Asked", "Columns", "ReadOptions", "Source", "Types", "told"]

F = TypeVar("F", bound=Callable[..., Any])

#: A class; or what is asked of it, step by step.
Source: TypeAlias = "type[Frame] | Chain"
#: Paths, or columns with the path that each comes from.
Columns: TypeAlias = "Sequence[str | Field] | Mapping[str, Any] | None"
#: A schema, one of Arrow's, or types by column.
Types: TypeAlias = "Schema | Mapping[str, Any] | Any | None"

#: How many documents the server is asked for at a time. Memory that grows by doubling then fits.
BATCH_ROWS = 16_384


class DriverOptions(TypedDict, total=False):
    """Options that go to PyMongo; of a pipeline and of directives, those of `aggregate`."""

    sort: Sort
    skip: int
    limit: int
    hint: Any
    collation: Any
    session: Any
    comment: Any
    let: Mapping[str, Any]
    batch_size: int
    max_time_ms: int
    allow_disk_use: bool
    allow_partial_results: bool
    no_cursor_timeout: bool
    max: Any
    min: Any


class ReadOptions(DriverOptions, total=False):
    """The keywords of every reader, for type checkers."""

    projection: Columns
    schema: Types
    pipeline: Stages | None
    on_mismatch: OnMismatch
    ids: Ids
    zone: Zone
    presence: bool
    batch_rows: int
    max_bytes: int | None
    partitions: int | None
    partition_by: str | Field
    ordered: bool
    counted: bool
    connect: Callable[[], Any] | None
    progress: Progress


#: What `help()` says of them, behind the arguments of a function's own.
ARGUMENTS = """\
source: a Frame class; or a directive, `Dragon.filter(...).sort(...)`, whose steps are the
    filter, the order and the like.
filter: as for `many`.
projection: names and dotted paths; or a dict, `{"gold": "lair.gold", "name": True}`, which
    names the columns. A dict with `$ref` in it, `{"carrier": {"$ref": Airline, "name": True}}`,
    gives structs of what ids stand for. None for all columns of the schema.
schema: the types; None for those of the annotations, see `schema_of`. A dict by column
    gives those of some, beside a projection, or all.
pipeline: stages whose results are loaded instead of documents; needs a schema, and no
    filter. The list that is passed is not changed.
on_mismatch: `"raise"` names the document with a value that does not fit its column;
    `"null"` puts null in its place and counts; `"string"` also keeps the value as text,
    in the last column, `_mismatches`.
ids: ObjectIds as PyMongoArrow's extension type, as 12 bytes, or as 24 hexadecimal digits.
zone: in which instants are shown: an IANA name, a `ZoneInfo` or a fixed offset. They are the
    same instants, None for UTC; columns that a schema gives another zone keep it.
presence: whether each column `age` has a second one, `age__present`, which is False where the
    document lacks the field, and True where it has it, with null in it, too.
batch_rows: how many documents the server sends at a time, at most.
max_bytes: how many bytes of documents a batch holds at most, None for all of a reply; one
    document that is larger is a batch of its own.
partitions: so many processes read ranges of documents, each through a client of its own; None
    to read in this one. Rows come in the order of the key.
partition_by: the key that the ranges are of, by default `_id`; an index begins with it.
ordered: False to take batches of partitions as they come.
counted: whether the server counts each range as well, and all of them together, and other
    numbers of rows raise; for collections that nobody changes meanwhile.
connect: a function of a module that returns a client, a Connection or a URI, for partitions of
    what is read through a ready client.
progress: True for a bar, or a function that is called with the number of rows that are
    loaded and the total, or None.
options: for PyMongo's `find` (or `aggregate`): `sort`, `skip`, `limit`, `hint`,
    `collation`, `session`, `comment`, ..."""


@dataclass(frozen=True)
class Asked:
    """One call, as a value: nothing is sent for it, and it can go to another process.

    Raises:
        QueryError: an option is none.
    """

    source: Any
    filter: Any = None
    projection: Any = None
    schema: Any = None
    pipeline: Any = None
    on_mismatch: OnMismatch = "raise"
    ids: Ids = "extension"
    zone: Zone = None
    presence: bool = False
    batch_rows: int = BATCH_ROWS
    max_bytes: int | None = None
    partitions: int | None = None
    partition_by: Any = "_id"
    ordered: bool = True
    counted: bool = False
    connect: Any = None
    progress: Any = False
    #: for PyMongo
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Any, filter: Any, how: Mapping[str, Any]) -> Asked:
        """Return the call with these keywords; what is none of a reader's is for PyMongo."""
        own = {name: value for name, value in how.items() if name in _NAMES}
        others = {name: value for name, value in how.items() if name not in _NAMES}
        return cls(source, filter, **own, options=others)

    def __post_init__(self) -> None:
        cls = self.cls
        if not isinstance(cls, type) or getattr(cls, "_is_frame", False) is not True:
            raise QueryError(
                f"loom.frames.arrow: expected a Frame class or a directive, got {brief(self.source)}"
            )
        place = self.place
        check_choice(place, "on_mismatch", self.on_mismatch, ("raise", "null", "string"))
        check_choice(place, "ids", self.ids, ("extension", "binary", "hex"))
        zone_name(self.zone, place)
        check_flag(place, "presence", self.presence)
        check_count(place, "batch_rows", self.batch_rows)
        check_count(place, "max_bytes", self.max_bytes, or_none=True)
        self._check_partitions()
        self._check_names()

    @property
    def cls(self) -> Any:
        """The class that is asked."""
        return self.source._cls if isinstance(self.source, Chain) else self.source

    @property
    def place(self) -> str:
        """The call, for errors."""
        return f"loom.frames.arrow, {self.cls.__name__}"

    def _check_partitions(self) -> None:
        check_count(self.place, "partitions", self.partitions, or_none=True)
        beside = {
            "partition_by": isinstance(self.partition_by, str) and self.partition_by == "_id",
            "ordered": self.ordered is True,
            "counted": self.counted is False,
            "connect": self.connect is None,
        }
        for name, is_default in beside.items():
            value = getattr(self, name)
            if not is_default and self.partitions is None:
                raise QueryError(
                    f"{self.place}: expected partitions beside {name}, got {value!r} alone; say "
                    "how many"
                )
        if not isinstance(self.partition_by, (str, Field)) or not str(self.partition_by):
            raise QueryError(
                f"{self.place}: expected partition_by as a path, got {self.partition_by!r}"
            )
        check_flag(self.place, "ordered", self.ordered)
        check_flag(self.place, "counted", self.counted)
        if self.connect is not None and not callable(self.connect):
            raise QueryError(
                f"{self.place}: expected connect as a function that returns a client, got a value "
                f"of type {type(self.connect).__name__}"
            )

    def _check_names(self) -> None:
        """Refuse misspelt options of readers; what is none of PyMongo's is found when it is sent."""
        theirs = DriverOptions.__annotations__.keys()
        for name in self.options.keys() - theirs:
            if name in _NAMES:  # of a call that is no reader's
                raise QueryError(
                    f"{self.place}: expected no {name}, which only readers take, got one; leave it "
                    "out"
                )
            hint = nearest(name, _NAMES)
            if hint and hint == nearest(name, _NAMES | theirs):
                raise QueryError(f"{self.place}: expected an option, got {name!r}{hint}")


_NAMES = frozenset(one.name for one in fields(Asked)) - {"source", "filter", "options"}


def told(function: F) -> F:
    """Show the options of readers in the signature and the words of a function with `**how`."""
    annotations = ReadOptions.__annotations__
    options = [
        (one.name, one.default, annotations[one.name].__forward_arg__)
        for one in fields(Asked)
        if one.name in _NAMES
    ]
    return showing(function, options, "ARGUMENTS", ARGUMENTS)
