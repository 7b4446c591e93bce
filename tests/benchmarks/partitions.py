"""Columns in partitions: how many rows a second come from several processes, and from one.

Time is that of the clock: several processes work. Both sides read the same documents from the same
server, which answers from what it has made in a first round; it has a process of its own, which
takes its share of the same cores. The start of the processes is left out: they have their clients
when the time begins.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from .bench import Bench, Row, ratio_row
from .columns import Trip
from .measure import Comparison

__all__ = ["memory", "throughput"]

ROWS = 2_000_000
#: By the number of cores: how many times the rows of one process there are to be.
WANTED = {2: 1.3, 4: 1.6}


def throughput(bench: Bench) -> Iterator[Row]:
    """Yield the time of a table from several processes beside that from one."""
    if find_spec("pymongoarrow") is None:
        return
    from loom.frames import arrow

    size = bench.size(ROWS)
    bench.use(Trip, "runs", size)
    processes = 4 if _cores() >= 4 else 2

    def one() -> float:
        start = perf_counter()
        rows = arrow.table(Trip).num_rows
        taken = perf_counter() - start
        assert rows == size
        return taken

    times: dict[Any, list[float]] = {several: [], one: []}
    for number in range(-1, bench.rounds(5)):
        for action in (several, one) if number % 2 else (one, several):
            gc.collect()
            taken = several(processes, size) if action is several else one()
            if number >= 0:
                times[action].append(taken)
    yield ratio_row(
        f"table(partitions={processes}), {size:,} rows, by the clock",
        Comparison.of(times[several], times[one]),
        1 / WANTED[processes],
    )


def several(processes: int, size: int) -> float:
    """Return the time of a table from processes that are ready."""
    import pyarrow as pa

    from loom.frames.arrow.asking import Asked
    from loom.frames.arrow.parallel import partitions
    from loom.frames.arrow.reading import Reading
    from loom.frames.port import blocking, complete

    reading = Reading(blocking(), Asked(Trip, partitions=processes))
    whole = reading.whole()
    call = partitions.call_of(whole)
    plan = complete(partitions.plan_of(whole, call))
    load = partitions.load_of(plan, whole.asked, None)
    try:
        load.start()
        load.await_ready()
        start = perf_counter()
        found = []
        while (loaded := load.next()) is not None:
            found.append(loaded.batch)
        table = pa.Table.from_batches(found, reading.schema)
        taken = perf_counter() - start
        assert table.num_rows == size
    finally:
        load.close()
    return taken


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


#: Prints what batches cost this process beyond what was there, in bytes.
_MEMORY = """
import re, sys
import loom as lm
from loom.frames import arrow
from tests.benchmarks.columns import Trip

uri, size, first = sys.argv[1], sys.argv[2], sys.argv[3]
lm.connect(uri)
Trip._collection = f"runs_{first}"
for batch in arrow.batches(Trip, partitions=2):  # what is imported and made once
    pass

def said(what):
    with open("/proc/self/status") as file:
        return int(re.search(what + r":\\s+(\\d+) kB", file.read())[1]) * 1024

Trip._collection = f"runs_{size}"
before = said("VmRSS")
for batch in arrow.batches(Trip, partitions=2):
    pass
print(said("VmHWM") - before)
"""


def memory(bench: Bench) -> Iterator[Row]:
    """Yield what a stream of partitions holds, however many rows there are."""
    if find_spec("pymongoarrow") is None or not sys.platform.startswith("linux"):
        return
    few, many = bench.size(ROWS // 10), bench.size(ROWS)
    small, large = (
        int(
            subprocess.run(
                [sys.executable, "-c", _MEMORY, bench.uri, str(size), str(bench.size(100_000))],
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for size in (few, many)
    )
    # Six batches of each of four parts can wait for their turn.
    limit = small + 24 * 16_384 * 60
    yield Row(
        f"memory of batches(partitions=2), {few:,} and {many:,} rows",
        f"{large / 1e6:.1f} MB",
        f"{small / 1e6:.1f} MB",
        f"{large / max(small, 1):.2f}",
        f"table of {many * 54 / 1e6:.0f} MB",
        "+ 24 MB",
        large <= limit,
    )
