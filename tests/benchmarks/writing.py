"""Writing batches: what is measured, and how much it may cost.

Both sides write the same values, in the same number of messages. What is written is made anew for
every call, outside of the timing: frames for Loom, dicts for the raw side, both without `_id`
where they are inserted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pymongo import DeleteOne, UpdateOne
from pymongo.collection import Collection

import loom as lm
from loom.frames.events import listeners

from . import data
from .bench import Bench, Documents, Row, ratio_row
from .measure import compare


class Small(lm.Frame):
    """Six fields, all annotated: none holds a datetime."""

    name: str
    breed: str
    age: int
    gold: float
    awake: bool


class Plain(lm.Frame):
    """The same fields, by their names only."""

    _fields = data.SMALL_FIELDS


class Loot(lm.SubFrame):
    """One of ten embedded documents."""

    what: str
    worth: float
    count: int
    cursed: bool


class Medium(lm.Frame):
    """Twenty fields."""

    _fields = data.MEDIUM_FIELDS


def _documents(kind: str, size: int) -> Documents:
    """Return documents without `_id`."""
    made = list(data.documents(kind, size))
    for document in made:
        del document["_id"]
    return made


def _frames(frame_class: type[lm.Frame], kind: str, size: int) -> list[lm.Frame]:
    return [frame_class(document) for document in _documents(kind, size)]


def _with_subframes(size: int) -> list[lm.Frame]:
    made = _frames(Medium, "medium", size)
    for frame in made:
        frame._document["loot"] = [Loot(loot) for loot in frame._document["loot"]]
    return made


def _awaited(
    loop: asyncio.AbstractEventLoop, frame_class: type[lm.Frame], frames: list[lm.Frame]
) -> list[lm.Frame]:
    return loop.run_until_complete(frame_class.aio.insert_many(frames))


def inserts(bench: Bench) -> Iterator[Row]:
    """New documents in one batch, against `insert_many` of the same dicts."""
    size = bench.size(10_000)
    frames = f"{size:,} frames"
    cases: list[tuple[str, type[lm.Frame], str, Callable[[], Any], Any, float]] = [
        ("6 fields", Small, "small", partial(_frames, Small, "small", size), None, 0.70),
        ("6 fields by name", Plain, "small", partial(_frames, Plain, "small", size), None, 0.80),
        (
            "20 fields, 10 dicts",
            Medium,
            "medium",
            partial(_frames, Medium, "medium", size),
            None,
            1.35,
        ),
        ("20 fields, 10 sub-frames", Medium, "medium", partial(_with_subframes, size), None, 1.25),
        (
            "6 fields, awaited",
            Small,
            "small",
            partial(_frames, Small, "small", size),
            bench.loop,
            0.80,
        ),
    ]
    for case, frame_class, kind, made, loop, limit in cases:
        bench.use(frame_class, kind, size)
        ours: Callable[..., Any] = frame_class.insert_many
        if loop is not None:
            ours = partial(_awaited, loop, frame_class)
        found = compare(
            ours,
            bench.collection(frame_class).insert_many,
            rounds=bench.rounds(25),
            given=(made, partial(_documents, kind, size)),
        )
        yield ratio_row(f"insert_many(), {case}, {frames}", found, limit)


def updates(bench: Bench) -> Iterator[Row]:
    """One field of stored documents in one batch, and their end, against `bulk_write`."""
    size = bench.size(10_000)
    bench.use(Small, "small", size)
    collection = bench.collection(Small)

    def changed_frames() -> list[Small]:
        frames = Small.many()
        for frame in frames:
            frame.name = f"Old {frame.age}"
        return frames

    def changed_documents() -> Documents:
        documents = list(collection.find())
        for document in documents:
            document["name"] = f"Old {document['age']}"
        return documents

    jobs: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "update_many('name')": (
            lambda frames: Small.update_many(frames, "name"),
            partial(_update_by_hand, collection),
        ),
        "unset_many('name')": (
            lambda frames: Small.unset_many(frames, "name"),
            partial(_unset_by_hand, collection),
        ),
        "delete_many()": (Small.delete_many, partial(_delete_by_hand, collection)),
    }
    for case, (ours, theirs) in jobs.items():
        found = compare(
            ours, theirs, rounds=bench.rounds(25), given=(changed_frames, changed_documents)
        )
        yield ratio_row(f"{case}, {size:,} frames", found, 1.12)


def _update_by_hand(collection: Collection[dict[str, Any]], documents: Documents) -> Any:
    return collection.bulk_write(
        [UpdateOne({"_id": d["_id"]}, {"$set": {"name": d["name"]}}) for d in documents]
    )


def _unset_by_hand(collection: Collection[dict[str, Any]], documents: Documents) -> Any:
    done = collection.bulk_write(
        [UpdateOne({"_id": d["_id"]}, {"$unset": {"name": True}}) for d in documents]
    )
    for document in documents:
        document.pop("name", None)
    return done


def _delete_by_hand(collection: Collection[dict[str, Any]], documents: Documents) -> Any:
    return collection.bulk_write([DeleteOne({"_id": d["_id"]}) for d in documents])


def events(bench: Bench) -> Iterator[Row]:
    """What a write asks about events that nobody listens to, against an update of one document."""
    bench.use(Small, "small", bench.size(10_000))
    collection = bench.collection(Small)
    filter, change = {"_id": data.id_of("small", 7)}, {"$set": {"name": "Burt"}}
    found = compare(
        lambda: (listeners("update", Small), listeners("updated", Small)),
        lambda: collection.update_one(filter, change),
        rounds=bench.rounds(31),
        calls=bench.size(150),
    )
    yield ratio_row("events nobody listens to", found, 0.01)
