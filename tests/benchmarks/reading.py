"""Reading: what is measured, and how much it may cost.

The raw side asks the server for the same, with a client of the same options, and is written
as one would write it by hand. A limit is in times of the raw side on Python 3.11 unless its
case says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from bson import ObjectId
from pymongo.collection import Collection

import loom as lm

from . import data
from .bench import Bench, Documents, Row, ratio_row, time_text
from .measure import Comparison, compare, held

ROOT = Path(__file__).parents[2]


# The classes


class Small(lm.Frame):
    """Six fields."""

    name: str
    breed: str
    age: int
    gold: float
    awake: bool


class Medium(lm.Frame):
    """Twenty fields; the embedded documents stay dicts."""

    _fields = data.MEDIUM_FIELDS


class Loot(lm.SubFrame):
    """One of ten embedded documents."""

    what: str
    worth: float
    count: int
    cursed: bool


class Mapped(lm.Frame):
    """Twenty fields; the embedded documents become sub-frames."""

    _fields = data.MEDIUM_FIELDS
    _default_projection: ClassVar[dict[str, Any]] = {"loot": {"$sub": Loot}}


class Home(lm.Frame):
    """Where a child is: the second level."""

    _collection = f"homes_{data.HOMES}"
    name: str
    altitude: int


class Child(lm.Frame):
    """What the parents refer to."""

    _collection = f"children_{data.CHILDREN}"
    name: str
    gold: float
    home: Home


class Parent(lm.Frame):
    """Three references and a list of two."""

    _collection = f"parents_{data.PARENTS}"
    name: str
    age: int
    lair: Child
    nest: Child
    cellar: Child
    hoards: list[Child]


# Loading many


def _many(
    bench: Bench, frame_class: type[lm.Frame], kind: str, limits: dict[int, float], case: str
) -> Iterator[Row]:
    for usual, limit in limits.items():
        size = bench.size(usual)
        bench.use(frame_class, kind, size)
        collection = bench.collection(frame_class)
        found = compare(
            frame_class.many,
            partial(_listed, collection),
            rounds=bench.rounds(_rounds_of(kind, usual)),
        )
        yield ratio_row(f"{case}, {size:,} documents", found, limit)


def _listed(
    collection: Collection[dict[str, Any]], projection: dict[str, bool] | None = None
) -> Documents:
    return list(collection.find({}, projection))


def _awaited(loop: asyncio.AbstractEventLoop, frame_class: type[lm.Frame]) -> list[lm.Frame]:
    return loop.run_until_complete(frame_class.aio.many())


def _rounds_of(kind: str, size: int) -> int:
    weight = size * (12 if kind == "medium" else 1)
    return 25 if weight <= 10_000 else 11 if weight <= 120_000 else 5


def many_small(bench: Bench) -> Iterator[Row]:
    """Small documents, against `list(find())`."""
    yield from _many(bench, Small, "small", {10_000: 1.10, 100_000: 0.95}, "many(), 6 fields")


def many_in_a_loop(bench: Bench) -> Iterator[Row]:
    """Small documents, loaded again and again: collections come as they come."""
    size = bench.size(10_000)
    bench.use(Small, "small", size)
    collection = bench.collection(Small)
    found = compare(
        Small.many,
        partial(_listed, collection),
        rounds=bench.rounds(5),
        calls=4 if bench.is_quick else 30,
    )
    yield ratio_row(f"many() in a loop, 6 fields, {size:,} documents", found, 1.10)


def many_medium(bench: Bench) -> Iterator[Row]:
    """Medium documents whose embedded documents stay dicts."""
    case = "many(), 20 fields, 10 dicts"
    yield from _many(bench, Medium, "medium", {10_000: 1.03, 100_000: 0.70}, case)


def many_mapped(bench: Bench) -> Iterator[Row]:
    """Medium documents whose embedded documents become sub-frames."""
    case = "many(), 20 fields, 10 sub-frames"
    yield from _many(bench, Mapped, "medium", {10_000: 1.45, 100_000: 0.90}, case)


def awaited(bench: Bench) -> Iterator[Row]:
    """Awaited loads, against blocking raw ones."""
    for frame_class, kind, limit in ((Small, "small", 1.20), (Medium, "medium", 1.06)):
        size = bench.size(10_000)
        bench.use(frame_class, kind, size)
        collection = bench.collection(frame_class)
        found = compare(
            partial(_awaited, bench.loop, frame_class),
            partial(_listed, collection),
            rounds=bench.rounds(_rounds_of(kind, size)),
        )
        yield ratio_row(f"awaited many(), {kind}, {size:,} documents", found, limit)


# Rows


def rows(bench: Bench) -> Iterator[Row]:
    """Tuples of all fields, against `list(find(..., projection))`, which holds dicts."""
    names = ("_id", *sorted(data.SMALL_FIELDS))
    for usual, limit in ((10_000, 1.05), (100_000, 0.75)):
        size = bench.size(usual)
        bench.use(Small, "small", size)
        found = compare(
            partial(Small.rows, None, *names),
            partial(_listed, bench.collection(Small), dict.fromkeys(names, True)),
            rounds=bench.rounds(_rounds_of("small", usual)),
        )
        yield ratio_row(f"rows() as tuples, 6 fields, {size:,} documents", found, limit)


# Dereferencing


def dereferencing(bench: Bench) -> Iterator[Row]:
    """Parents with five references each and a second level, against batches by hand."""
    child = {"$ref": Child, "home": {"$ref": Home}}
    projection = dict.fromkeys(("lair", "nest", "cellar", "hoards"), child)
    parents, children, homes = map(bench.collection, (Parent, Child, Home))
    rounds = bench.rounds(15)

    def by_loom() -> list[Parent]:
        return Parent.many(projection=projection)

    def by_hand() -> Documents:
        return _dereferenced(parents, children, homes)

    _check_dereferenced(by_loom(), by_hand())
    case = f"dereferencing, {data.PARENTS:,} parents"
    yield ratio_row(case, compare(by_loom, by_hand, rounds=rounds), 1.03)
    ours, theirs = bench.commands(by_loom), bench.commands(by_hand)
    yield Row(
        f"{case}, commands", f"{ours}", f"{theirs}", f"{ours / theirs:.2f}", "", "3", ours <= 3
    )


def _dereferenced(
    parents: Collection[dict[str, Any]],
    children: Collection[dict[str, Any]],
    homes: Collection[dict[str, Any]],
) -> Documents:
    """Return parents with their references in place: one `$in` per class and level."""
    found = list(parents.find())
    ids: set[ObjectId] = set()
    for parent in found:
        ids.update((parent["lair"], parent["nest"], parent["cellar"]), parent["hoards"])
    by_id = {child["_id"]: child for child in children.find({"_id": {"$in": list(ids)}})}
    for parent in found:
        parent["lair"] = by_id.get(parent["lair"])
        parent["nest"] = by_id.get(parent["nest"])
        parent["cellar"] = by_id.get(parent["cellar"])
        parent["hoards"] = [by_id.get(id) for id in parent["hoards"]]
    ids = {child["home"] for child in by_id.values()}
    home_of = {home["_id"]: home for home in homes.find({"_id": {"$in": list(ids)}})}
    for child in by_id.values():
        child["home"] = home_of.get(child["home"])
    return found


def _check_dereferenced(ours: list[Parent], theirs: Documents) -> None:
    for parent, document in zip(ours, theirs, strict=True):
        assert parent.hoards[1].home.name == document["hoards"][1]["home"]["name"]
        assert parent.nest.gold == document["nest"]["gold"]


# Single documents


def single(bench: Bench) -> Iterator[Row]:
    """One document read or written."""
    bench.use(Small, "small", bench.size(10_000))
    collection = bench.collection(Small)
    fields = dict.fromkeys(sorted(Small.get_fields()), True)
    id = data.id_of("small", 7)
    filter = {"_id": id}
    frame = Small.by_id(id, required=True)
    change = {"$set": {"name": frame.name}}
    jobs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "one(filter)": (lambda: Small.one(filter), lambda: collection.find_one(filter, fields)),
        "by_id(id)": (lambda: Small.by_id(id), lambda: collection.find_one({"_id": id}, fields)),
        "update('name')": (
            lambda: frame.update("name"),
            lambda: collection.update_one(filter, change),
        ),
    }
    for case, (ours, theirs) in jobs.items():
        found = compare(ours, theirs, rounds=bench.rounds(31), calls=bench.size(150))
        yield ratio_row(case, found, 1.05)


# Fields and memory


def fields(bench: Bench) -> Iterator[Row]:
    """Access to a field, in look-ups `d['x']` of the same loop."""
    document = data.MAKERS["small"](7)
    del document["breed"]
    frame = Small(document)
    look_up = _loop("value['name']", document)
    newer = sys.version_info >= (3, 13)
    for case, statement, limit in (
        ("reading a field", "value.name", 2.3 if newer else 5.2),
        ("reading a missing field", "value.breed", 2.3 if newer else 5.2),
        ("writing a field", "value.name = 'Burt'", 5.5 if newer else 7),
    ):
        ours = _loop(statement, frame)
        found = compare(ours, look_up, rounds=bench.rounds(31), calls=bench.size(1_000))
        per_look_up = Comparison(
            found.loom / _UNROLLED, found.raw / _UNROLLED, found.ratio, found.low, found.high
        )
        yield ratio_row(case, per_look_up, limit)


_UNROLLED = 100


def _loop(statement: str, value: Any) -> Callable[[], None]:
    """Return a function that runs a statement often; the loop itself costs next to nothing."""
    lines = "\n  ".join([statement] * 10)
    made: dict[str, Any] = {}
    exec(f"def run(value):\n for _ in range({_UNROLLED // 10}):\n  {lines}", made)
    run = made["run"]
    return lambda: run(value)


def memory(bench: Bench) -> Iterator[Row]:
    """What a loaded small frame holds, against the dict alone."""
    size = bench.size(10_000)
    bench.use(Small, "small", size)
    collection = bench.collection(Small)
    ours = held(Small.many) / size
    theirs = held(partial(_listed, collection)) / size
    ratio = ours / theirs
    case = "memory of a small frame"
    yield Row(
        case,
        f"{ours:.0f} bytes",
        f"{theirs:.0f} bytes",
        f"{ratio:.2f}",
        "",
        "1.07",
        round(ratio, 2) <= 1.07,
    )


# Importing


def importing(bench: Bench) -> Iterator[Row]:
    """`import loom`, which imports PyMongo, against `import pymongo` in new processes."""
    rounds = bench.rounds(21)
    times: dict[str, list[float]] = {"loom": [], "pymongo": []}
    with TemporaryDirectory() as compiled:
        for number in range(-1, rounds):
            for module in sorted(times, reverse=bool(number % 2)):
                taken = _import_time(module, compiled)
                if number >= 0:
                    times[module].append(taken)
    found = Comparison.of(times["loom"], times["pymongo"])
    added = median(
        ours - theirs for ours, theirs in zip(times["loom"], times["pymongo"], strict=True)
    )
    yield Row(
        "import loom",
        time_text(found.loom),
        time_text(found.raw),
        f"{found.ratio:.2f}",
        f"{added * 1e3:+.1f} ms",
        "+10 ms",
        added <= 0.010,
    )


def _import_time(module: str, compiled: str) -> float:
    """Return the CPU time of an import; what was compiled is in a directory of the benchmark."""
    program = (
        "from time import process_time as time; start = time(); "
        f"import {module}; print(time() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-X", f"pycache_prefix={compiled}", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
