"""Writing columns: beside PyMongo's `insert_many` of a DataFrame's rows, and PyMongoArrow's `write`.

Time is the CPU time of the process: Arrow works in threads of its own, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pymongo import UpdateOne

from .bench import Bench, Row, ratio_row
from .columns import ROWS, Trip, compare_process

__all__ = ["writers"]


def writers(bench: Bench) -> Iterator[Row]:
    """Yield how rows that are written compare with those of others."""
    if find_spec("pymongoarrow") is None:
        return
    from pymongoarrow.api import write

    from loom.frames import arrow

    size = bench.size(ROWS)
    bench.use(Trip, "trips", size)
    raw = bench.collection(Trip)
    table = arrow.table(Trip)
    frame = arrow.dataframe(Trip)
    plain = frame.assign(
        _id=frame["_id"].astype(object), start=frame["start"].astype("datetime64[ms, UTC]")
    ).astype({"carrier": object, "distance": float, "delay": float, "price": float})
    rounds = bench.rounds(7)

    def ours() -> Any:
        return arrow.insert_table(Trip, table)

    def records() -> Any:
        return raw.insert_many(plain.to_dict("records"))

    found = compare_process(ours, lambda: write(raw, table), rounds)
    yield ratio_row(f"insert_table(), 6 columns, {size:,}, against write()", found, 0.20)
    found = compare_process(ours, records, rounds)
    yield ratio_row(f"insert_table() against insert_many(to_dict()), {size:,}", found, 0.30)
    found = compare_process(lambda: arrow.insert_dataframe(Trip, plain), records, rounds)
    yield ratio_row(f"insert_dataframe() against insert_many(to_dict()), {size:,}", found, 0.30)

    def upserts() -> Any:
        rows = table.to_pylist()
        return raw.bulk_write(
            [UpdateOne({"_id": row.pop("_id")}, {"$set": row}, upsert=True) for row in rows],
            ordered=False,
        )

    found = compare_process(lambda: arrow.upsert_table(Trip, table), upserts, rounds)
    yield ratio_row(f"upsert_table() against bulk_write() of UpdateOne, {size:,}", found, 0.40)
