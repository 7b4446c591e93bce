"""An import that can run again: a file into a collection, corrections over it, totals beside it.

What: streams a file of prices into a collection, runs the corrected file over it as often as one
    likes, and writes what was computed in columns to a collection of its own.
When: files of other systems, which come late, twice and corrected; results of statistics.
When not: single documents, or changes of which others must hear one by one; use frames.

Run: python snippets/import_prices.py
"""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

import loom as lm
from loom.frames import arrow, indexes
from loom.frames.indexes import Index


class Price(lm.Frame):
    """A price; symbol and time name it."""

    _indexes = [Index("symbol", "time", unique=True)]

    symbol: lm.StrUpper
    time: datetime
    amount: float
    imported: lm.TimeInserted
    corrected: lm.TimeUpdated


class Total(lm.Frame):
    """What is computed of the prices of one symbol."""

    _id: str
    mean: float
    count: int


START = datetime(2024, 3, 10, tzinfo=timezone.utc)


def file(path: Path, rows: int, factor: float) -> Path:
    """Write a file as another system would: its names, its types, its case."""
    table = pa.table(
        {
            "sym": pa.array(["egg", "ham"] * (rows // 2)).dictionary_encode(),
            "ts": [START + timedelta(minutes=n // 2) for n in range(rows)],
            "px": pa.array([n % 10 * factor for n in range(rows)], pa.float32()),
        }
    )
    pq.write_table(table, path, row_group_size=500)
    return path


def imported(path: Path) -> arrow.RowsWritten:
    """Bring a file into the collection, row group by row group."""
    rows = pyarrow.dataset.dataset(path).scanner(batch_size=500).to_reader()
    columns = {"sym": "symbol", "ts": "time", "px": "amount"}
    return arrow.upsert_table(Price, rows, on=["symbol", "time"], columns=columns, return_ids=False)


def totals() -> arrow.RowsWritten:
    """Compute in columns, and put the results in the place of the former ones."""
    table = arrow.table(Price, projection=["symbol", "amount"])
    found = table.group_by("symbol").aggregate([("amount", "mean"), ("amount", "count")])
    columns = {"symbol": "_id", "amount_mean": "mean", "amount_count": "count"}
    return arrow.replace(Total, found, columns=columns, upsert=True)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    indexes.ensure(Price)
    with tempfile.TemporaryDirectory() as folder:
        first = imported(file(Path(folder) / "prices.parquet", 1_000, 0.5))
        again = imported(file(Path(folder) / "prices.parquet", 1_200, 1.5))

    assert (first.upserted, first.matched) == (1_000, 0)
    assert (again.upserted, again.matched) == (200, 1_000)
    assert Price.count() == 1_200
    burnt = Price.one({"symbol": "egg"}, required=True)
    assert burnt.symbol == "EGG"
    assert burnt.corrected > burnt.imported

    assert totals().upserted == 2
    assert totals().matched == 2
    mean = pc.mean(arrow.table(Price, {"symbol": "HAM"})["amount"]).as_py()
    assert Total.by_id("HAM", required=True).mean == mean

    print(f"first: {first!r}, again: {again!r}")
    print([(total._id, total.mean, total.count) for total in Total.many(sort="_id")])


if __name__ == "__main__":
    main()
