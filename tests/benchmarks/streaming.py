"""Streams: `each` against a raw cursor, and the memory of a million documents with references."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import loom as lm

from .bench import Bench, Row, ratio_row
from .measure import compare
from .reading import Child, Medium, Small

__all__ = ["each", "memory_of_each"]

ROOT = Path(__file__).parents[2]
#: What both sides ask for at a time.
_BATCH = 1_000
#: Megabytes above the start.
_LIMIT = 60


class Rider(lm.Frame):
    """Refers to one child, and to a list of two."""

    name: str
    age: int
    mount: Child
    mounts: list[Child]


def each(bench: Bench) -> Iterator[Row]:
    """Documents one by one, against a raw cursor with the same batches, each in its runtime."""
    for frame_class, kind, usual in ((Small, "small", 100_000), (Medium, "medium", 20_000)):
        size = bench.size(usual)
        bench.use(frame_class, kind, size)
        yield from _each(
            bench, frame_class, f"6 fields, {size:,}" if kind == "small" else f"{kind}, {size:,}"
        )


def _each(bench: Bench, frame_class: type[lm.Frame], case: str) -> Iterator[Row]:
    collection = bench.collection(frame_class)

    def by_loom() -> None:
        for _ in frame_class.each():
            pass

    def by_hand() -> None:
        for _ in collection.find({}, batch_size=_BATCH):
            pass

    async def awaited_by_loom() -> None:
        async for _ in frame_class.aio.each():
            pass

    async def awaited_by_hand() -> None:
        async for _ in frame_class.aio.get_collection().find({}, batch_size=_BATCH):
            pass

    rounds = bench.rounds(9)
    yield ratio_row(f"each(), {case} documents", compare(by_loom, by_hand, rounds=rounds), 1.15)
    run = bench.loop.run_until_complete
    found = compare(lambda: run(awaited_by_loom()), lambda: run(awaited_by_hand()), rounds=rounds)
    yield ratio_row(f"awaited each(), {case} documents", found, 1.15)


def memory_of_each(bench: Bench) -> Iterator[Row]:
    """The peak of a process that streams a million documents with references, above its start."""
    size = bench.size(1_000_000)
    for runtime in ("blocking", "awaited"):
        ours = _growth(bench, "loom", runtime, size)
        theirs = _growth(bench, "raw", runtime, size)
        yield Row(
            f"memory of each() with references, {size:,} documents, {runtime}",
            f"+{ours:.1f} MB",
            f"+{theirs:.1f} MB",
            "",
            "",
            f"+{_LIMIT} MB",
            ours <= _LIMIT,
        )


def _growth(bench: Bench, side: str, runtime: str, size: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.streaming", bench.uri, side, runtime, str(size)],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


# The process that is measured


def _peak() -> float:
    """Return the largest memory of this process so far, in megabytes."""
    with suppress(OSError):
        # The other figure begins with the memory of the process that this one was forked from.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


async def _read(side: str, runtime: str, size: int) -> int:
    """Read a collection in one way and return how many documents came."""
    Rider._collection = f"riders_{size}"
    projection: dict[str, Any] = {"name": True, "mount": {"$ref": Child}, "mounts": {"$ref": Child}}
    count = 0
    if side == "loom" and runtime == "blocking":
        for rider in Rider.each(projection=projection):
            count += bool(rider.mount.name and rider.mounts[1].name)
    elif side == "loom":
        async for rider in Rider.aio.each(projection=projection):
            count += bool(rider.mount.name and rider.mounts[1].name)
    elif runtime == "blocking":
        for document in Rider.get_collection().find({}, batch_size=_BATCH):
            count += len(document["mounts"]) // 2
    else:
        async for document in Rider.aio.get_collection().find({}, batch_size=_BATCH):
            count += len(document["mounts"]) // 2
    return count


async def _measure(uri: str, side: str, runtime: str, size: int) -> float:
    lm.connect(uri)
    assert await _read(side, runtime, 1) == 1  # imports, and connects
    start = _peak()
    assert size == await _read(side, runtime, size)
    found = _peak() - start
    await lm.aio.close()
    lm.close()
    return found


if __name__ == "__main__":
    uri, side, runtime, size = sys.argv[1:]
    print(asyncio.run(_measure(uri, side, runtime, int(size))))
