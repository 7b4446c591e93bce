"""DataFrames of Dask: each partition is a range of the collection, read where Dask computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
from pymongo.errors import PyMongoError

from ....errors import QueryError, missing_extra
from ...operations.streaming import is_lost
from ...port import Port, awaited, blocking, complete
from ..asking import Asked, told
from ..columns import Schema
from ..reading import Reading
from ..results import dataframe_of
from ..sources import driver_of
from ..zones import Zoned
from .part_reading import Call, client_of, read
from .partitions import call_of, check_portable, plan_of, with_key
from .workers import RETRIES

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Unpack

    from ...conditions import Filter
    from ..asking import ReadOptions, Source

__all__ = ["DaskAwaited", "dask"]


@told
def dask(source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> Any:
    """Return a DataFrame of Dask, of so many partitions or fewer; nothing is loaded yet.

    Each partition is a range of `partition_by`, loaded through a client of its own where Dask
    computes it. Only the columns that a computation takes are loaded. The divisions are not known.
    ObjectIds are text, `ids="hex"`, by default, or bytes with `ids="binary"`.

    Args:
        ARGUMENTS

    Raises:
        SchemaError: a column has no type; when it is computed, a value does not fit.
        FieldError: a path begins with no field of the class.
        QueryError: an option is none, or does not go with another; or `ids="extension"`.
        MissingExtra: Dask is not installed.
    """
    return complete(_dask(blocking(), _asked(source, filter, how)))


class DaskAwaited:
    """The same, awaited: what is planned on the server."""

    @told
    async def dask(self, source: Source, filter: Filter = None, **how: Unpack[ReadOptions]) -> Any:
        """Return a DataFrame of Dask; see `arrow.dask`."""
        return await _dask(awaited(), _asked(source, filter, how))


def _asked(source: Any, filter: Any, how: Any) -> Asked:
    asked = Asked.of(source, filter, how)
    if how.get("ids") == "extension":
        raise QueryError(
            f"{asked.place}, dask: expected ids='hex' or 'binary', got 'extension', whose dtype Dask "
            "does not know; leave it out for text"
        )
    # The default of other readers is none of Dask's.
    return replace(asked, ids=how.get("ids", "hex"))


async def _dask(port: Port, asked: Asked) -> Any:
    try:
        import dask.dataframe
    except ImportError:
        raise missing_extra("dask", "Dask") from None
    from_map: Any = dask.dataframe.from_map  # has no types
    if asked.partitions is None:
        raise QueryError(f"{asked.place}, dask: expected partitions=, got none; say how many")
    for name in ("progress", "counted"):
        if getattr(asked, name):
            raise QueryError(
                f"{asked.place}, dask: expected no {name}, which nobody would hear of, got one; "
                "leave it out"
            )
    reading = Reading(port, asked)
    steps = reading.steps
    if not all(isinstance(step, Zoned) for step in steps):
        raise QueryError(
            f"{asked.place}, dask: expected columns of one collection, got a reference in the "
            "projection; load its id, and merge two DataFrames"
        )
    whole = reading.whole()
    call = call_of(whole)
    check_portable(call, by_value=True)
    plan = await plan_of(whole, call, most=asked.partitions)
    filters = [plan.filter_of(number) for number in range(len(plan.filters))]
    nothing = pa.Table.from_batches([], reading.schema)
    meta = dataframe_of(_outcome(call, {}), nothing)
    # Dask takes what has equal arguments for the same; documents can have changed since.
    made = uuid4().hex
    return from_map(
        _loaded, filters, call=call, steps=steps, made=made, meta=meta, enforce_metadata=False
    )


def _loaded(
    filter: bytes,
    columns: Sequence[str] | None = None,
    *,
    call: Call,
    steps: Sequence[Zoned],
    made: str,
) -> pandas.DataFrame:
    """Return a partition, with some of its columns or all."""
    narrow = call if columns is None else _narrowed(call, columns)
    attempts = 1
    while True:
        try:
            table, mismatches = _table(narrow, filter, steps)
            break
        except PyMongoError as error:
            if attempts > RETRIES or not is_lost(error):
                raise
        attempts += 1
    if columns is not None:
        table = table.select([*columns])
    return dataframe_of(_outcome(call, mismatches), table)


def _table(call: Call, filter: bytes, steps: Sequence[Zoned]) -> tuple[Any, dict[str, int]]:
    client, close = client_of(call)
    mismatches: dict[str, int] = {}
    batches = []
    schema = call.decoder().schema
    for step in steps:
        schema = step.schema(schema)
    try:
        for loaded in read(call, client, filter, is_placed=False):
            batch = loaded.batch
            for step in steps:
                batch = complete(step.batch(batch))
            batches.append(batch)
            for name, count in loaded.mismatches.items():
                mismatches[name] = mismatches.get(name, 0) + count
    finally:
        close()
    return pa.Table.from_batches(batches, schema), mismatches


def _narrowed(call: Call, columns: Sequence[str]) -> Call:
    """Return a call that reads some columns only, where all of them are documents' own."""
    all: Schema = call.decoder.args[0]
    some = [column for column in all if column.name in columns]
    if len(some) < len({*columns}) or not some:
        return call
    schema = Schema(all.place, some)
    decoder = partial(call.decoder.func, schema, *call.decoder.args[1:], **call.decoder.keywords)
    projection = with_key(driver_of(schema), call.key)
    return replace(call, decoder=decoder, projection=projection)


def _outcome(call: Call, mismatches: dict[str, int]) -> Any:
    return SimpleNamespace(columns=call.decoder.args[0], mismatches=mismatches)
