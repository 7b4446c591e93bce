"""An export each night: a Parquet file for every day, begun again where it stopped.

What: writes the orders of each day of a time zone, with the country of their customer, into a
    directory of its own, `day=2024-03-10`, as data sets are read by pandas, Polars, DuckDB and Spark.
    A file is there when it is complete, so a run that was stopped goes on with the days that lack.
When: data for a lake or a warehouse, from collections that go on growing.
When not: one file once (`arrow.to_parquet` alone); what was corrected since, for a day that is there
    is not written again.

Run: python snippets/nightly_export.py
"""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.dataset as ds

import loom as lm
from loom.frames import arrow
from loom.frames.indexes import Index
from loom.frames.time import DailyFrame, TimeFrame

ZONE = "Europe/Vienna"


class Customer(lm.Frame):
    _id: str
    country: str


class Order(lm.Frame):
    _indexes = [Index("placed")]

    customer: Customer
    placed: datetime
    amount: float


COLUMNS = {"customer": {"$ref": Customer, "country": True}, "placed": True, "amount": True}


def export_day(day: TimeFrame, root: Path) -> arrow.Written | None:
    """Write the orders of a day, or return None if that is done."""
    path = root / f"day={day.floor:%Y-%m-%d}" / "orders.parquet"
    if path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    # With millions of orders a day, partitions=4 reads them by four processes.
    return arrow.to_parquet(
        Order, path, day.filter("placed"), projection=COLUMNS, ids="hex", on_mismatch="null"
    )


def export(start: datetime, end: datetime, root: Path) -> dict[str, arrow.Written]:
    """Write the days from `start` to before `end` that are not there yet."""
    days = DailyFrame.range(start, end, ZONE)
    found = {str(day.floor.date()): export_day(day, root) for day in days}
    return {name: written for name, written in found.items() if written is not None}


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    Customer.insert_many([{"_id": "ann", "country": "AT"}, {"_id": "bob", "country": "NZ"}])
    # 31 March 2024 had 23 hours in Vienna.
    midnight = datetime(2024, 3, 29, 23, tzinfo=timezone.utc)
    Order.insert_many(
        Order(customer=("ann", "bob")[n % 2], placed=midnight + n * timedelta(minutes=30), amount=n)
        for n in range(24 * 2 * 3 - 2)
    )
    Order.get_collection().insert_one({"customer": "ann", "placed": midnight, "amount": "12 EUR"})

    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        first = export(midnight, midnight + timedelta(hours=47), root)
        assert {day: written.rows for day, written in first.items()} == {
            "2024-03-30": 49,
            "2024-03-31": 46,
        }
        assert first["2024-03-30"].mismatches == {"amount": 1}

        # The next night.
        second = export(midnight, midnight + timedelta(hours=71), root)
        assert {day: written.rows for day, written in second.items()} == {"2024-04-01": 48}

        table = ds.dataset(root, partitioning="hive").to_table().flatten()
        counts = table.group_by(["day", "customer.country"]).aggregate([("amount", "count")])
        assert counts.num_rows == 6
        assert table.num_rows == Order.count({}) == 143

    print(f"{table.num_rows} orders of {len(first) + len(second)} days in {table.nbytes:,} bytes")
    lm.close()


if __name__ == "__main__":
    main()
