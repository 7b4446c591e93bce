"""Reading columns: batch by batch, in bounded memory, over the driver's own cursors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, cast

import pyarrow as pa
from pymongo.errors import OperationFailure

from ...encoding import ENCODING_ERRORS, encode, unencodable
from ...errors import QueryError
from .. import operations
from ..id_ranges import behind
from ..port import Port
from ..progress import bar_for
from .asking import Asked
from .decoding import MISMATCHES, Decoder
from .exact import decoded
from .parallel import partitions
from .raw import last_of, parts_of
from .raw_cursors import raw_aggregate, raw_find, replies
from .references.joins import Joins
from .references.layouts import Layout
from .sources import Command, command_of, driver_of
from .zones import Zoned, zone_name

__all__ = ["Reading", "Step"]

#: How long the server may count for the progress, in milliseconds.
_COUNTING = 5_000


class Step(Protocol):
    """What is done with every batch once it is decoded, before it is given."""

    def schema(self, schema: Any) -> Any:
        """Return the schema of the batches that `batch` makes of those with a schema."""

    async def batch(self, batch: Any) -> Any:
        """Return a batch with as many rows; what it asks the server goes through a port."""


class Reading:
    """One call: what is sent for it, and what was found on the way.

    Args:
        port: blocking or awaited.
        asked: what is asked for.
        operation: the name of the call, for the query log.

    Raises:
        QueryError: it cannot be sent.
        SchemaError: a column has no type.
    """

    def __init__(self, port: Port, asked: Asked, operation: str = "batches") -> None:
        self.asked = asked
        self._operation = operation
        self._port = port = port.bound()
        self._cls: Any = asked.cls
        self.columns, self._filter, self._stages, self._options = command_of(port, asked)
        layout = self.columns if isinstance(self.columns, Layout) else None
        loose = layout.loose() if layout is not None else {}
        how = (asked.on_mismatch, asked.ids, loose)
        # Without the classes of references, which another process may not know.
        columns = self.columns if layout is None else layout.plain()
        self._decoding = partial(Decoder, columns, *how, presence=asked.presence)
        self._decoder = self._decoding()
        self._steps: list[Step] = []
        #: the schema of what is given
        self.schema: Any = self._decoder.schema
        zone = zone_name(asked.zone, asked.place)
        if zone is not None:
            self.add(Zoned(zone))
        self._joins: Joins | None = None
        if layout is not None and layout.places:
            self._joins = Joins(port, layout, asked, self._options)
            self.add(self._joins)
        name = self._cls.__name__
        self._bar = bar_for(asked.progress, name, name=name, unit="rows")
        self._collection = port.collection(self._cls)
        self._is_placed = False
        #: how many batches of a partition may wait, None for any number
        self._window: int | None = partitions.WINDOW
        #: what did not fit elsewhere
        self._told: Counter[str] = Counter()
        #: the `_id` of the last document that was read, where documents are read in its order
        self.place: Any = None
        #: how many rows were given
        self.rows = 0

    def add(self, step: Step) -> None:
        """Do something more with every batch, before the first one; zones are given last."""
        self._steps.append(step)
        self._steps.sort(key=lambda one: isinstance(one, Zoned))
        self.schema = self._decoder.schema
        for one in self._steps:
            self.schema = one.schema(self.schema)

    @property
    def is_async(self) -> bool:
        """Whether the call is an awaited one."""
        return self._port.is_async

    @property
    def mismatches(self) -> dict[str, int]:
        """By column, in how many rows a value did not fit, so far; columns without are absent."""
        referred = {} if self._joins is None else self._joins.mismatches
        return {**self._decoder.mismatches, **self._told, **referred}

    @property
    def steps(self) -> Sequence[Step]:
        """What is done with every batch once it is decoded."""
        return self._steps

    def whole(self) -> partitions.Whole:
        """Return what can be read in parts, all steps left out."""
        command = Command(self.columns, self._filter, self._stages, self._options)
        return partitions.Whole(self._port, self.asked, command, self._decoding)

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
        if self.asked.partitions and (
            not self.asked.ordered or str(self.asked.partition_by) != "_id"
        ):
            raise QueryError(
                f"{self._cls.__name__}, {place}: expected partitions in the order of _id, got "
                f"partition_by={str(self.asked.partition_by)!r}, ordered={self.asked.ordered}; "
                "leave them out, or write one file"
            )
        self._options["sort"] = [("_id", 1)]
        self._is_placed = True

    def resume_behind(self, id: Any) -> None:
        """Read only what comes behind an `_id`."""
        self.narrow(behind(id, 1, self.codecs))
        self.place = id

    def narrow(self, condition: dict[str, Any]) -> None:
        """Read only what also meets a condition, given as the driver takes it; of a find."""
        self._filter = {"$and": [self._filter, condition]} if self._filter else condition

    def identity(self) -> bytes:
        """Return what tells this call from one with other results."""
        namespace = self._collection.full_name
        told = [namespace, self.columns.to_json(), str(self.schema), self._decoder.on_mismatch]
        filter = self._port.narrowed(self._cls, self._filter)
        # An index need not hold all documents, nor all of its range be read.
        chosen = {name: self._options.get(name) for name in ("hint", "min", "max")}
        return encode({"told": told, "filter": filter, "chosen": chosen}, self.codecs)

    async def _cursor(self) -> Any:
        port, cls, options = self._port, self._cls, self._options
        if self._stages is None:
            return raw_find(port, cls, self._filter, driver_of(self.columns), options)
        return await raw_aggregate(port, cls, self._stages, options)

    def batches(self) -> AsyncGenerator[Any, None]:
        """Yield record batches, one for each reply or part of it; the cursor is closed at the end.

        Raises:
            SchemaError: a value does not fit, and the call is to raise.
        """
        found = operations.wrapped(self._operation, _batches)(self._port, self._cls, self)
        return cast(AsyncGenerator[Any, None], found)

    async def _all(self) -> AsyncGenerator[Any, None]:
        bar = self._bar
        try:
            if bar is not None:
                bar.start(await self._total())
            stream = self._in_one() if self.asked.partitions is None else self._in_parts()
            try:
                async for batch in stream:
                    for step in self._steps:
                        batch = await step.batch(batch)
                    if bar is not None:
                        bar.advance(batch.num_rows)
                    self.rows += batch.num_rows
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
            if bar is not None:
                bar.close()

    async def _in_one(self) -> AsyncGenerator[Any, None]:
        """Yield batches as they are decoded here."""
        async with aclosing(replies(self._port, await self._cursor())) as stream:
            async for reply in stream:
                for raw in parts_of(reply, self.asked.max_bytes):
                    batch = self._decoder.batch(raw)
                    if self._is_placed:
                        self.place = decoded(last_of(raw))[0]["_id"]
                    del raw
                    yield batch
                    del batch
                del reply  # before the next one comes

    async def _in_parts(self) -> AsyncGenerator[Any, None]:
        """Yield batches as other processes have decoded them."""
        async with aclosing(partitions.stream(self.whole(), self._window)) as stream:
            async for loaded in stream:
                self._told.update(loaded.mismatches)
                if self._is_placed:
                    self.place = decoded(loaded.last)[0]["_id"]
                yield loaded.batch
                del loaded

    async def table(self) -> Any:
        """Return all as one table, which says in its metadata what did not fit."""
        self._window = None
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


def _batches(port: Port, cls: Any, reading: Reading) -> AsyncGenerator[Any, None]:
    return reading._all()
