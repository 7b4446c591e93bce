"""How time and memory are taken, the same way for both sides of a comparison.

Time is the CPU time of the benchmark's own thread: waiting for the server costs nothing,
and the driver's monitoring threads do not count. Awaited calls run in that thread, too.

Both sides take turns, A B, B A, A B, so that what slows the computer for a while slows both.
The ratio is the median of the rounds' ratios, not the ratio of the best times: the neighbours
in a round ran under the same conditions. The spread is the middle half of the rounds.

Python's garbage collector is on, with its own thresholds. A full collection before every
sample gives both sides the same start. After the call, objects are made until the young and
the middle generation were collected once more, and the time that those collections take beyond
what they take after no call is added: a load that pauses the collector pays for what it only
postponed. (The collection of the oldest generation comes when the program's other objects say
so, and finds the same objects on both sides.) The result is kept alive until then, and freed
outside of the timing. Nothing is added to a loop of calls whose results are dropped one by one:
its collections come when Python's thresholds say so.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import thread_time
from typing import Any

__all__ = ["Comparison", "compare", "held"]

Action = Callable[..., Any]
#: Makes what one call is given.
Maker = Callable[[], Any]

#: The generation that must have been collected before a sample ends.
_MIDDLE = 1
#: Enough for any threshold that Python comes with; an upper end for one that was raised.
_MAX_STEPS = 1_000


@dataclass(frozen=True)
class Comparison:
    """Two sides of one job, in seconds per call or in whatever else was measured."""

    loom: float
    raw: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, loom: list[float], raw: list[float]) -> Comparison:
        """Return what rounds of both sides say."""
        ratios = [ours / theirs for ours, theirs in zip(loom, raw, strict=True)]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return cls(median(loom), median(raw), median(ratios), low, high)


def compare(
    loom: Action,
    raw: Action,
    *,
    rounds: int,
    calls: int = 1,
    given: tuple[Maker, Maker] | None = None,
) -> Comparison:
    """Return the time of one call on both sides.

    Args:
        loom: Loom's side; what it returns is freed after the timing.
        raw: the other side.
        rounds: how often both are measured, after one that is thrown away.
        calls: how often a sample calls; more than one for calls that are too short to time.
        given: what makes the argument of a call, for each side; called outside of the timing.
    """
    times: dict[Action, list[float]] = {loom: [], raw: []}
    makers = dict(zip((loom, raw), given, strict=True)) if given else {}
    for number in range(-1, rounds):
        for action in (loom, raw) if number % 2 else (raw, loom):
            arguments = [makers[action]()] if given else []
            taken = _load(action, *arguments) if calls == 1 else _calls(action, calls)
            if number >= 0:
                times[action].append(taken)
    return Comparison.of(times[loom], times[raw])


def _load(action: Action, *arguments: Any) -> float:
    """Return the CPU time of one call that leaves much behind, postponed collections included."""
    gc.collect()
    idle = _postponed()
    gc.collect()
    start = thread_time()
    result = action(*arguments)
    taken = thread_time() - start
    taken += _postponed() - idle
    del result
    return taken


def _calls(action: Action, calls: int) -> float:
    """Return the CPU time of one of many calls."""
    gc.collect()
    repeated = range(calls)
    start = thread_time()
    for _ in repeated:
        action()
    return (thread_time() - start) / calls


def _postponed() -> float:
    """Make objects until the middle generation is collected; return the time of collections."""
    spent = 0.0
    started = 0.0

    def note(phase: str, _: dict[str, int]) -> None:
        nonlocal spent, started
        if phase == "start":
            started = thread_time()
        else:
            spent += thread_time() - started

    def collections() -> int:
        return sum(generation["collections"] for generation in gc.get_stats()[_MIDDLE:])

    before = collections()
    kept: list[Any] = []
    gc.callbacks.append(note)
    try:
        for _ in range(_MAX_STEPS):
            kept.append([[] for _ in range(100)])
            if collections() != before:
                break
    finally:
        gc.callbacks.remove(note)
    return spent


def held(action: Action) -> int:
    """Return how many bytes the result of a call holds, all that is in it included."""
    action()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = action()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] - before
        del result
    finally:
        tracemalloc.stop()
    return size
