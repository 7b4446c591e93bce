"""Measurements as columns: totals by day, a file for other programs, and what does not fit.

What: loads a collection into Arrow without an object per document, sums it, writes it to Parquet
    batch by batch, and finds the documents that hold something else than they should.
When: statistics, plots and exports of many documents.
When not: a few documents, or their references and methods; load frames.

Run: python snippets/columns.py
"""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

import loom as lm
from loom import Q
from loom.frames import arrow


class Site(lm.SubFrame):
    name: str
    height: int | None


class Reading(lm.Frame):
    at: datetime
    site: Site
    rain: float


#: Columns under names of their own.
RAIN = {"at": True, "site": "site.name", "rain": True}


def rain_by_site() -> dict[str, float]:
    """Return the sum of every site."""
    table = arrow.table(Reading, Q.rain > 0, projection=RAIN)
    sums = table.group_by("site").aggregate([("rain", "sum")])
    return dict(zip(*(sums.column(name).to_pylist() for name in ("site", "rain_sum")), strict=True))


def export(path: Path) -> int:
    """Write all readings, batch by batch, and return how many."""
    return arrow.to_parquet(Reading, path, projection=RAIN, sort="at", batch_rows=500).rows


def first_that_does_not_fit() -> lm.SchemaError | None:
    """Return what is wrong with the first reading that is not as it should be."""
    try:
        arrow.table(Reading)
    except lm.SchemaError as error:
        return error
    return None


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    start = datetime(2024, 3, 10, tzinfo=timezone.utc)
    sites = ({"name": "Hill", "height": 300}, {"name": "Vale"})
    Reading.insert_many(
        [
            {"at": start + timedelta(hours=n), "site": sites[n % 2], "rain": n % 4 * 0.5}
            for n in range(2_000)
        ]
    )

    assert rain_by_site() == {"Hill": 500.0, "Vale": 1_000.0}

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "rain.parquet")
        assert export(path) == 2_000
        assert pc.max(pq.read_table(path).column("rain")).as_py() == 1.5

    # Somebody wrote text.
    Reading.get_collection().insert_one({"at": start, "site": sites[0], "rain": "n/a"})
    error = first_that_does_not_fit()
    assert error is not None
    assert (error.column, error.got) == ("rain", "n/a")
    assert Reading.by_id(error.id, required=True).rain == "n/a"
    table = arrow.table(Reading, on_mismatch="string")
    texts = [text for text in table.column("_mismatches").to_pylist() if text]
    assert texts == [[("rain", "n/a")]]

    print(f"2,000 readings, {table.num_rows - 2_000} more that does not fit")
    lm.close()


if __name__ == "__main__":
    main()
