"""Columns: beside PyMongoArrow with the same schema, and pandas over `list(find())`.

Time is the CPU time of the process: Arrow works in threads of its own, too.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any

import loom as lm

from .bench import Bench, Row, ratio_row
from .data import SPARSE
from .measure import Comparison

__all__ = ["ROWS", "Trip", "compare_process", "memory", "tables"]

#: Of these, none is a mismatch.
ROWS = 100_000


class Trip(lm.Frame):
    """Six columns: an ObjectId, a datetime, a text and three doubles."""

    start: datetime
    carrier: str
    distance: float
    delay: float
    price: float


def compare_process(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> Comparison:
    times: dict[Any, list[float]] = {ours: [], theirs: []}
    for number in range(-1, rounds):
        for action in (ours, theirs) if number % 2 else (theirs, ours):
            gc.collect()
            start = process_time()
            result = action()
            taken = process_time() - start
            del result
            if number >= 0:
                times[action].append(taken)
    return Comparison.of(times[ours], times[theirs])


class Sparse(lm.Frame):
    """Many doubles, a fifth of which each document lacks."""


def tables(bench: Bench) -> Iterator[Row]:
    """Yield how tables and DataFrames compare with PyMongoArrow's and with lists of dicts."""
    if find_spec("pymongoarrow") is None:
        return
    import pandas as pd
    import pyarrow as pa
    from pymongoarrow.api import find_arrow_all, find_pandas_all
    from pymongoarrow.schema import Schema

    from loom.frames import arrow

    size = bench.size(ROWS)
    bench.use(Trip, "trips", size)
    raw = bench.collection(Trip)
    columns = arrow.schema_of(Trip)
    schema = Schema({column.name: column.type for column in columns})

    def theirs() -> Any:
        return find_arrow_all(raw, {}, schema=schema)

    def ours() -> Any:
        return arrow.table(Trip, schema=columns)

    assert ours().equals(theirs())
    rounds = bench.rounds(15)
    yield ratio_row(f"table(), 6 columns, {size:,}", compare_process(ours, theirs, rounds), 0.50)

    async def awaited() -> Any:
        return await arrow.aio.table(Trip, schema=columns)

    found = compare_process(lambda: bench.loop.run_until_complete(awaited()), theirs, rounds)
    yield ratio_row(f"awaited table(), 6 columns, {size:,}, to blocking", found, 0.60)

    def frame() -> Any:
        return arrow.dataframe(Trip, schema=columns)

    found = compare_process(frame, lambda: find_pandas_all(raw, {}, schema=schema), rounds)
    yield ratio_row(f"dataframe(), 6 columns, {size:,}", found, 0.70)
    found = compare_process(frame, lambda: pd.DataFrame(list(raw.find({}))), max(2, rounds // 3))
    yield ratio_row(f"dataframe() against DataFrame(list(find())), {size:,}", found, 0.33)
    size = bench.size(ROWS // 5)
    bench.use(Sparse, "sparse", size)
    wide = bench.collection(Sparse)
    types = {"_id": columns.find("_id"), **{f"value_{n}": pa.float64() for n in range(SPARSE)}}
    asked = Schema(types)

    def ours_of_many() -> Any:
        return arrow.table(Sparse, schema=types)

    def theirs_of_many() -> Any:
        return find_arrow_all(wide, {}, schema=asked)

    assert ours_of_many().equals(theirs_of_many())
    found = compare_process(ours_of_many, theirs_of_many, rounds)
    yield ratio_row(f"table(), {SPARSE} columns, a fifth absent, {size:,}", found, 1.75)


#: Prints what a table or batches cost beyond what was there, and the size of the table, in bytes.
_MEMORY = """
import re, sys
import loom as lm
from loom.frames import arrow
from tests.benchmarks.columns import Trip

how, uri, size, first = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
lm.connect(uri)
Trip._collection = f"trips_{first}"
for batch in arrow.batches(Trip):  # what is imported and made once
    pass

def said(what):
    with open("/proc/self/status") as file:
        return int(re.search(what + r":\\s+(\\d+) kB", file.read())[1]) * 1024

Trip._collection = f"trips_{size}"
before = said("VmRSS")
if how == "batches":
    nbytes = 0
    for batch in arrow.batches(Trip):
        nbytes += batch.nbytes
else:
    nbytes = arrow.table(Trip).nbytes
print(said("VmHWM") - before, nbytes)
"""


def _spent(bench: Bench, how: str, size: int) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, how, bench.uri, str(size), str(bench.size(50_000))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    spent, nbytes = done.stdout.split()
    return int(spent), int(nbytes)


def memory(bench: Bench) -> Iterator[Row]:
    """Yield what batches hold, however many rows there are, and a table beyond its own size."""
    if find_spec("pymongoarrow") is None or not sys.platform.startswith("linux"):
        return
    few, many = bench.size(ROWS), bench.size(10 * ROWS)
    small, _ = _spent(bench, "batches", few)
    large, nbytes = _spent(bench, "batches", many)
    limit = small + 4_000_000
    yield Row(
        f"memory of batches(), {few:,} and {many:,} rows",
        f"{large / 1e6:.1f} MB",
        f"{small / 1e6:.1f} MB",
        f"{large / max(small, 1):.2f}",
        f"table of {nbytes / 1e6:.0f} MB",
        "+ 4 MB",
        large <= limit,
    )
    spent, nbytes = _spent(bench, "table", many)
    batches = 2 * 16_384 * (nbytes / many + 130)  # as Arrow's, and as it is sent
    yield Row(
        f"memory of table(), {many:,} rows",
        f"{spent / 1e6:.1f} MB",
        f"{nbytes / 1e6:.1f} MB",
        f"{(spent - batches) / nbytes:.2f}",
        "less two batches",
        "1.30",
        spent - batches <= 1.3 * nbytes,
    )
