"""Reading columns: batch by batch, in bounded memory, over the driver's own cursors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pymongo.errors import OperationFailure, PyMongoError

from ...encoding import ENCODING_ERRORS, encode, settle_datetimes, unencodable
from ...errors import QueryError
from ..id_ranges import behind
from ..operations.reading import Options, compiled_filter, query_options
from ..port import Port
from ..projections import plan_for
from .columns import Column
from .decoding import MISMATCHES, Decoder
from .exact import OnMismatch, decoded
from .ids import Ids
from .progress import tally_for
from .raw import take_bytes
from .schema import columns_for

if TYPE_CHECKING:
    from ..progress import Progress

__all__ = ["BATCH_ROWS", "Reading", "driver_of", "raw_aggregate", "stages_of"]

#: How many documents the server is asked for at a time. Memory that grows by doubling then fits.
BATCH_ROWS = 16_384
#: How long the server may count for the progress, in milliseconds.
_COUNTING = 5_000


class Reading:
    """One call: what is asked for, and what was found on the way.

    Args:
        port: blocking or awaited.
        cls: the class.
        filter: as for `many`.
        projection: see `columns_for`.
        schema: see `columns_for`.
        pipeline: stages of an aggregation, None to find documents.
        on_mismatch: what is done with a value that does not fit its column.
        ids: how ObjectIds are given.
        batch_rows: how many rows a batch has at most.
        progress: as for `each`.
        options: for PyMongo's `find`, or `aggregate`.

    Raises:
        QueryError: one of them is none.
    """

    def __init__(
        self,
        port: Port,
        cls: Any,
        filter: Any,
        projection: Any,
        schema: Any,
        pipeline: Any,
        on_mismatch: OnMismatch,
        ids: Ids,
        batch_rows: int,
        progress: Progress,
        options: Options,
    ) -> None:
        place = f"loom.frames.arrow, {getattr(cls, '__name__', cls)}"
        if not isinstance(cls, type) or getattr(cls, "_is_frame", False) is not True:
            raise QueryError(f"loom.frames.arrow: expected a Frame class, got {cls!r}")
        _check(place, "on_mismatch", on_mismatch, ("raise", "null", "string"))
        _check(place, "ids", ids, ("extension", "binary", "hex"))
        if not isinstance(batch_rows, int) or isinstance(batch_rows, bool) or batch_rows < 1:
            raise QueryError(f"{place}: expected batch_rows of at least 1, got {batch_rows!r}")
        self._port = port = port.bound()
        self._cls: Any = cls
        self.columns = columns_for(cls, projection, schema)
        self._decoder = Decoder(self.columns, on_mismatch, ids)
        self._tally = tally_for(progress, cls.__name__)
        self._filter: dict[str, Any] = {}
        self._stages: list[dict[str, Any]] | None = None
        self._options: Options
        if pipeline is None:
            if plan_for(cls, {"_id": True}).upgrades:
                raise QueryError(
                    f"{place}: expected documents of one form, got a class that upgrades older "
                    "ones, which columns do not; upgrade what is stored, load rows(), or load what "
                    "is stored with pipeline=[] and a schema"
                )
            self._filter = compiled_filter(port, cls, filter)
            self._options = {"batch_size": batch_rows, **query_options(cls, self._filter, options)}
        else:
            if schema is None or filter is not None:
                raise QueryError(
                    f"{place}: expected a schema and no filter beside a pipeline, got "
                    f"{'no schema' if schema is None else f'the filter {filter!r}'}; what comes "
                    "out of a pipeline has no annotations, and a filter is its $match"
                )
            self._stages = stages_of(port, cls, pipeline, place)
            self._options = {"batchSize": batch_rows, **options}
        self._collection = port.collection(cls)
        self._is_placed = False
        #: the `_id` of the last document that was read, where documents are read in its order
        self.place: Any = None

    @property
    def schema(self) -> Any:
        """The schema of what is given."""
        return self._decoder.schema

    @property
    def mismatches(self) -> dict[str, int]:
        """By column, in how many rows a value did not fit, so far; columns without are absent."""
        return self._decoder.mismatches

    # Going on behind an _id

    @property
    def codecs(self) -> Any:
        """The options under which ids are encoded."""
        return self._collection.codec_options

    def put_in_order(self, place: str) -> None:
        """Read in the order of `_id`, and remember how far.

        Raises:
            QueryError: another order is asked for, or what has no ids.
        """
        sort = self._options.get("sort") or [("_id", 1)]
        others = [n for n in ("skip", "limit", "collation") if self._options.get(n)]
        if self._stages is not None or [*sort] != [("_id", 1)] or others:
            what = "a pipeline" if self._stages is not None else ", ".join(others) or f"sort={sort}"
            raise QueryError(
                f"{self._cls.__name__}, {place}: expected documents in the order of _id, got "
                f"{what}; leave it out, or write one file"
            )
        self._options["sort"] = [("_id", 1)]
        self._is_placed = True

    def resume_behind(self, id: Any) -> None:
        """Read only what comes behind an `_id`."""
        rest = behind(id, 1, self.codecs)
        self._filter = {"$and": [self._filter, rest]} if self._filter else rest
        self.place = id

    def identity(self) -> bytes:
        """Return what tells this call from one with other results."""
        namespace = self._collection.full_name
        told = [namespace, self.columns.to_json(), str(self.schema), self._decoder.on_mismatch]
        filter = self._port.narrowed(self._cls, self._filter)
        return encode({"told": told, "filter": filter}, self.codecs)

    async def _cursor(self) -> Any:
        cls, port = self._cls, self._port
        wanted = driver_of([*self.columns])
        if self._stages is None:
            query = port.narrowed(cls, self._filter)
            options = port.options(cls, self._options)
            return take_bytes(self._collection.find_raw_batches(query, wanted, **options))
        return await raw_aggregate(port, cls, [*self._stages, {"$project": wanted}], self._options)

    async def batches(self) -> AsyncGenerator[Any, None]:
        """Yield record batches, one for each reply; the cursor is closed at the end.

        Raises:
            SchemaError: a value does not fit, and the call is to raise.
        """
        tally = self._tally
        try:
            if tally is not None:
                tally.total = await self._total()
            stream = self._port.batches(await self._cursor(), 1)
            try:
                async for parts in stream:
                    raw: Any = parts.pop()
                    batch = self._decoder.batch(raw)
                    if self._is_placed:
                        self.place = last_id(raw)
                    del raw
                    if tally is not None:
                        tally.add(batch.num_rows)
                    yield batch
                    del batch  # before the next one comes
            finally:
                await stream.aclose()
        except ENCODING_ERRORS as error:
            codecs, place = self._collection.codec_options, self._cls.__name__
            if self._stages is None:
                raise unencodable(f"{place} filter", self._filter, codecs, error) from error
            raise unencodable(place, {"pipeline": self._stages}, codecs, error) from error
        finally:
            if tally is not None:
                tally.close()

    async def table(self) -> Any:
        """Return all as one table, which says in its metadata what did not fit."""
        found = [batch async for batch in self.batches()]
        table = pa.Table.from_batches(found, self.schema)
        if self.mismatches:
            said = {f"loom.{MISMATCHES[1:]}": json.dumps(self.mismatches)}
            table = table.replace_schema_metadata(said)
        return table

    async def _total(self) -> int | None:
        """Return how many rows there will be, None when the server does not say soon enough."""
        options, port, cls = self._options, self._port, self._cls
        session = port.session(cls, options)
        if self._stages is not None or (session is not None and session.in_transaction):
            return None  # in a transaction an error would end it
        shared = ("session", "comment", "collation", "hint", "skip", "limit")
        counting = {name: options[name] for name in shared if options.get(name)}
        counting["maxTimeMS"] = _COUNTING
        try:
            return await port.count(cls, self._filter, counting)
        except OperationFailure:
            return None


def last_id(raw: bytes) -> Any:
    """Return the `_id` of the last document of a batch."""
    position = start = 0
    while position < len(raw):
        start = position
        position += int.from_bytes(raw[position : position + 4], "little")
    return decoded(raw[start:])[0]["_id"]


async def raw_aggregate(
    port: Port, cls: Any, stages: list[dict[str, Any]], options: Options
) -> Any:
    """Return a cursor over the batches of an aggregation, as bytes."""
    sent = port.options(cls, options)
    pipeline: Any = stages if cls._kinds is None else cls._kinds.narrowed_stages(cls, stages)
    try:
        return take_bytes(
            await port.call(port.collection(cls).aggregate_raw_batches, pipeline, **sent)
        )
    except PyMongoError as error:
        port.failed(sent, error)
        raise


def stages_of(port: Port, cls: Any, pipeline: Any, place: str) -> list[dict[str, Any]]:
    """Return a pipeline of one's own, with its conditions as the driver takes them."""
    stages = [copied(stage) for stage in pipeline]
    for stage in stages:
        if len(stage) != 1 or stage.keys() & {"$out", "$merge"}:
            raise QueryError(
                f"{place}: expected stages that give documents, got {stage!r}; write with "
                f"{cls.__name__}.get_collection().aggregate(...)"
            )
    if stages and "$match" in stages[0]:
        # Documents of the class as they are stored: later ones may be others.
        stages[0] = {"$match": compiled_filter(port, cls, stages[0]["$match"])}
    naive = port.naive(cls)
    if naive != "utc":
        settle_datetimes({"stages": stages}, naive, f"{cls.__name__} pipeline")
    return stages


def copied(value: Any) -> Any:
    """Return a stage whose dicts and lists are new ones."""
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    return [*map(copied, value)] if isinstance(value, list) else value


def _check(place: str, name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise QueryError(
            f"{place}: expected {name} of {', '.join(map(repr, known))}, got {value!r}"
        )


def driver_of(columns: list[Column]) -> dict[str, bool]:
    """Return the projection that fetches some columns, and the `_id`, which errors name.

    >>> driver_of([Column("gold", None, "lair.gold"), Column("name", None, "name")])
    {'_id': True, 'lair.gold': True, 'name': True}
    """
    paths = {column.path for column in columns}
    wanted = {"_id": True}
    for column in columns:
        parts = column.path.split(".")
        # The server refuses a path beside one that it begins with.
        if (
            not any(".".join(parts[:i]) in paths for i in range(1, len(parts)))
            and parts[0] != "_id"
        ):
            wanted[column.path] = True
    return wanted
