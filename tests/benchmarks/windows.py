"""Windows of moments: what they cost beside the load of their columns, and what sliding does.

The raw side of a load is the table alone; a window, load and all, may cost half as much again. The
limit of sliding windows is a time: they are small enough to be made for each moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from time import thread_time
from typing import Any

from .bench import Bench, Row, ratio_row, time_text
from .columns import compare_process

__all__ = ["windows"]

MOMENTS = 1_000_000
SIZE = 30


def windows(bench: Bench) -> Iterator[Row]:
    """Yield what a window costs beside its load, and what sliding windows and cones cost each."""
    if find_spec("pymongoarrow") is None:
        return
    from loom.frames import arrow
    from loom.frames.time import Moment, MomentWindow

    class Price(Moment):
        """Six columns: two times, a symbol, two numbers and the id."""

        amount: float
        volume: int

    size = bench.size(MOMENTS)
    bench.use(Price, "prices", size)

    def table() -> Any:
        return arrow.table(Price)

    def window() -> Any:
        return MomentWindow.load(Price)

    rounds = bench.rounds(7)
    yield ratio_row(
        f"windows: load of {size:,}, to table()", compare_process(window, table, rounds), 1.50
    )
    loaded = table().combine_chunks()
    mixed = loaded.take([*range(1, size, 2), *range(0, size, 2)])
    whole = MomentWindow.from_table(Price, loaded)
    assert whole == MomentWindow.from_table(Price, mixed)
    found = compare_process(lambda: MomentWindow.from_table(Price, mixed), table, rounds)
    yield ratio_row(f"windows: made of {size:,} rows in disorder, to table()", found, 1.50)

    def each(views: Any) -> Callable[[], None]:
        return lambda: deque(views, maxlen=0).clear()

    cases = (
        (f"sliding_window({SIZE})", whole.sliding_window(SIZE), 0.5e-6),
        ('sliding_window("30min")', whole.sliding_window("30min"), 0.5e-6),
        (f"sliding_time_cone({SIZE}, 5)", whole.sliding_time_cone(SIZE, 5), 5e-6),
    )
    for name, views, limit in cases:
        assert len(views) == len([*views])
        times = sorted(_time(each(views)) / len(views) for _ in range(rounds))
        taken = times[len(times) // 2]
        yield Row(
            f"windows: {name}, each of {len(views):,}",
            time_text(taken),
            "-",
            "-",
            f"{time_text(times[0])} to {time_text(times[-1])}",
            time_text(limit),
            taken <= limit,
        )


def _time(action: Callable[[], None]) -> float:
    start = thread_time()
    action()
    return thread_time() - start
