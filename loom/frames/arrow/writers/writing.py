"""The functions that write columns, blocking and awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ... import operations
from ...port import Port, awaited, blocking, complete
from .inputs import only_dataframe
from .inserting import Insert
from .outcome import RowsWritten
from .replacing import Replace
from .storing import Job, stored
from .upserting import Upsert
from .ways import WriteOptions, shows_ways

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...frame import Frame

__all__ = ["WritingAwaited", "insert_dataframe", "insert_table", "replace", "upsert_table"]


async def _insert(port: Port, cls: Any, operation: str, data: Any, how: Any) -> RowsWritten:
    return await _stored(Insert(port, cls, operation, how), data)


async def _insert_dataframe(port: Port, cls: Any, data: Any, how: Any) -> RowsWritten:
    place = f"{getattr(cls, '__name__', cls)}.insert_dataframe"
    return await _insert(port, cls, "insert_dataframe", only_dataframe(place, data), how)


async def _upsert(port: Port, cls: Any, data: Any, on: Any, how: Any) -> RowsWritten:
    return await _stored(Upsert(port, cls, "upsert_table", on, how), data)


async def _replace(port: Port, cls: Any, data: Any, on: Any, upsert: bool, how: Any) -> RowsWritten:
    return await _stored(Replace(port, cls, "replace", on, upsert, how), data)


async def _stored(job: Job, data: Any) -> RowsWritten:
    """Store rows, as one call in the query log."""

    async def call(port: Port, cls: Any) -> RowsWritten:
        return await stored(job, data)

    found: RowsWritten = await operations.wrapped(job.operation, call)(job.port, job.cls)
    return found


@shows_ways
def insert_table(cls: type[Frame], data: Any, **how: Unpack[WriteOptions]) -> RowsWritten:
    """Store the rows of a table as new documents; return what became of them.

    What fields declare holds as in `insert_many`: time stamps, the case of text, defaults, derived
    fields. No value is changed silently: one that MongoDB cannot hold, or that its annotation does
    not allow, raises, and of what is in memory nothing is sent then. A stream is taken part by
    part, so that it may be larger than memory.

    Args:
        cls: a Frame class.
        data: a table, a record batch, a reader, or whatever is a stream of Arrow's; a DataFrame of
            pandas or Polars, or a LazyFrame; a structured array; a dict of arrays. Awaited, also
            what gives record batches to `async for`; it is closed at the end.
        WAYS

    Raises:
        RowsError: some rows were not written; its `result` says which, and why.
        SchemaError: a column, or a value in it, cannot be stored; it names column and row.
        FieldError: a column belongs to no field of the class.
        QueryError: an option is none.
        ReadOnly: writing is switched off.

    >>> import pyarrow as pa
    >>> from loom import Frame
    >>> class Egg(Frame):
    ...     number: int
    >>> result = insert_table(Egg, pa.table({"number": [1, 2]}))  # doctest: +SKIP
    >>> result  # doctest: +SKIP
    <2 rows: 2 inserted>
    """
    return complete(_insert(blocking(), cls, "insert_table", data, how))


@shows_ways
def insert_dataframe(cls: type[Frame], df: Any, **how: Unpack[WriteOptions]) -> RowsWritten:
    """Store the rows of a DataFrame as new documents; return what became of them.

    NaN in a column of floats is a value, and is stored as such. What is missing in all other
    columns, NaN among objects too, is null. An index that is more than the number of the rows is
    refused: `reset_index()` makes it a column.

    Args:
        cls: a Frame class.
        df: of pandas or Polars, eager or lazy.
        WAYS

    Raises:
        RowsError: some rows were not written; its `result` says which, and why.
        SchemaError: a column, or a value in it, cannot be stored; it names column and row.
        FieldError: a column belongs to no field of the class.
        QueryError: an option is none.
        ReadOnly: writing is switched off.
    """
    return complete(_insert_dataframe(blocking(), cls, df, how))


@shows_ways
def upsert_table(
    cls: type[Frame], data: Any, on: str | Sequence[str] = "_id", **how: Unpack[WriteOptions]
) -> RowsWritten:
    """Set the fields of rows in the documents that they name; insert those that are not there.

    Other fields of a stored document stay as they are. Of several rows that name one document the
    last one holds. An index on what `on` names is needed for speed, and a unique one so that two
    programs at a time do not both insert. An `_id` that is not in `on`, defaults and the time of
    the insert are written only where a document is inserted.

    Where listeners are told, documents are looked up first, then updated or inserted, so that one
    that others insert meanwhile is a duplicate.

    Args:
        cls: a Frame class.
        data: as for `insert_table`.
        on: the columns, or paths, that name a document; no value of theirs may be null.
        WAYS

    Raises:
        RowsError: some rows were not written; its `result` says which, and why.
        SchemaError: a column, or a value in it, cannot be stored; it names column and row.
        FieldError: a column belongs to no field of the class, or its documents have several forms.
        QueryError: a field that is not to be set, or an option that is none.
        ReadOnly: writing is switched off, or the class is a LedgerFrame.
    """
    return complete(_upsert(blocking(), cls, data, on, how))


@shows_ways
def replace(
    cls: type[Frame],
    data: Any,
    on: str | Sequence[str] = "_id",
    *,
    upsert: bool = False,
    **how: Unpack[WriteOptions],
) -> RowsWritten:
    """Put rows, as whole documents, in the place of those that they name.

    Of a document that is replaced nothing stays but its `_id`: what is no column is gone.
    Documents that no row names stay as they are.

    Args:
        cls: a Frame class.
        data: as for `insert_table`.
        on: the columns, or paths, that name a document; no value of theirs may be null.
        upsert: insert the rows that name no document; otherwise they are errors.
        WAYS

    Raises:
        RowsError: some rows were not written; its `result` says which, and why.
        SchemaError: a column, or a value in it, cannot be stored; it names column and row.
        FieldError: a column belongs to no field of the class, or the class counts versions.
        QueryError: an option is none; or listeners, which are not told of replacements.
        ReadOnly: writing is switched off, or the class is a LedgerFrame.
    """
    return complete(_replace(blocking(), cls, data, on, upsert, how))


class WritingAwaited:
    """The functions that write columns, awaited."""

    @shows_ways
    async def insert_table(
        self, cls: type[Frame], data: Any, **how: Unpack[WriteOptions]
    ) -> RowsWritten:
        """Store the rows of a table as new documents; see `arrow.insert_table`.

        An asynchronous stream of record batches is taken as well; one that blocks holds the event
        loop while it is read.
        """
        return await _insert(awaited(), cls, "insert_table", data, how)

    @shows_ways
    async def insert_dataframe(
        self, cls: type[Frame], df: Any, **how: Unpack[WriteOptions]
    ) -> RowsWritten:
        """Store the rows of a DataFrame as new documents; see `arrow.insert_dataframe`."""
        return await _insert_dataframe(awaited(), cls, df, how)

    @shows_ways
    async def upsert_table(
        self,
        cls: type[Frame],
        data: Any,
        on: str | Sequence[str] = "_id",
        **how: Unpack[WriteOptions],
    ) -> RowsWritten:
        """Set the fields of rows in the documents that they name; see `arrow.upsert_table`."""
        return await _upsert(awaited(), cls, data, on, how)

    @shows_ways
    async def replace(
        self,
        cls: type[Frame],
        data: Any,
        on: str | Sequence[str] = "_id",
        *,
        upsert: bool = False,
        **how: Unpack[WriteOptions],
    ) -> RowsWritten:
        """Put rows, as whole documents, in the place of those that they name; see `arrow.replace`."""
        return await _replace(awaited(), cls, data, on, upsert, how)
