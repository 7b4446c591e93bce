"""Counting again: what counter caches hold is compared with what refers, and corrected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import UpdateOne

from . import operations
from .ids import id_keys
from .operations.reading import shared_options
from .path_expressions import joined, listed, values_at
from .port import Port
from .transitions import on_primary

if TYPE_CHECKING:
    from .counting import CounterCache

__all__ = ["Recount", "recount"]

#: How often a count is looked at that goes on changing.
_LOOKS = 5


class Recount(NamedTuple):
    """What a recount has found.

    Attributes:
        checked: how many documents were looked at.
        wrong: how many of them held a wrong count, and were corrected.
        unsettled: how many were left alone, because their counts changed with every look.
    """

    checked: int
    wrong: int
    unsettled: int


class _Wrong(NamedTuple):
    """A document whose count is not what was counted."""

    id: Any
    held: Any
    counted: int


async def recount(
    port: Port, cache: CounterCache, filter: Any, dry_run: bool, options: dict[str, Any]
) -> Recount:
    """Correct the counts of the documents that match, some at a time."""
    owner = cache.owner
    codecs = port.collection(owner).codec_options
    size = port.reference_chunk(owner)
    found = Recount(0, 0, 0)
    with on_primary(port, owner), on_primary(port, cache.of):
        batches = operations.each(port, owner, filter, {cache.field: True}, dict(options))
        shared = shared_options(options)
        try:
            async for frames in batches:
                for at in range(0, len(frames), size):
                    documents = [frame._document for frame in frames[at : at + size]]
                    keys = id_keys([document["_id"] for document in documents], codecs)
                    held = dict(zip(keys, documents, strict=True))
                    wrong, unsettled = await _correct(port, cache, held, dry_run, shared)
                    found = Recount(
                        found.checked + len(held), found.wrong + wrong, found.unsettled + unsettled
                    )
        finally:
            await batches.aclose()
    return found


async def _correct(
    port: Port,
    cache: CounterCache,
    held: dict[Any, dict[str, Any]],
    dry_run: bool,
    options: dict[str, Any],
) -> tuple[int, int]:
    """Correct the counts of some documents; return how many were wrong, and how many unsettled.

    A count is wrong when two looks show the same difference: a write that is being counted at
    this moment shows in the first one only. It is corrected only while it is what was seen.
    """
    wrong = unsettled = 0
    before: dict[Any, _Wrong] = {}
    for look in range(_LOOKS):
        if look:
            held = await _held(port, cache, [one.id for one in before.values()], options)
        now = await _look(port, cache, held, options)
        steady = [key for key, one in now.items() if before.get(key) == one]
        corrected = len(steady)
        if steady and not dry_run:
            corrected = await _write(port, cache, [now[key] for key in steady], options)
        wrong += corrected
        unsettled = len(now) - corrected
        if corrected == len(steady):
            for key in steady:
                del now[key]
        before = now
        if not before:
            break
    return wrong, unsettled


async def _write(
    port: Port, cache: CounterCache, wrong: list[_Wrong], options: dict[str, Any]
) -> int:
    """Correct counts that are still what they were; return how many were."""
    field = cache.field
    requests = [
        UpdateOne(
            {"$and": [{"_id": {"$eq": one.id}}, {field: {"$eq": one.held}}]},
            {"$set": {field: one.counted}},
        )
        for one in wrong
    ]
    done = await port.write(cache.owner, "bulk_write", [], requests, ordered=False, **options)
    return int(done.matched_count) if done.acknowledged else len(requests)


async def _held(
    port: Port, cache: CounterCache, ids: list[Any], options: dict[str, Any]
) -> dict[Any, dict[str, Any]]:
    wanted = {"_id": {"$in": ids}}
    documents = await port.find(cache.owner, wanted, {cache.field: True}, options)
    codecs = port.collection(cache.owner).codec_options
    keys = id_keys([document["_id"] for document in documents], codecs)
    return dict(zip(keys, documents, strict=True))


async def _look(
    port: Port, cache: CounterCache, held: dict[Any, dict[str, Any]], options: dict[str, Any]
) -> dict[Any, _Wrong]:
    """Return those of the documents whose counts are not what refers to them."""
    if not held:
        return {}
    codecs = port.collection(cache.owner).codec_options
    pipeline = counting(
        cache.by, [document["_id"] for document in held.values()], cache.condition(port)
    )
    groups = await port.aggregate(cache.of, pipeline, options)
    keys = id_keys([group["_id"] for group in groups], codecs)
    counted = dict(zip(keys, [int(group["n"]) for group in groups], strict=True))
    looked = [
        (key, _Wrong(document["_id"], document.get(cache.field), counted.get(key, 0)))
        for key, document in held.items()
    ]
    return {key: one for key, one in looked if not _is_count(one.held, one.counted)}


def _is_count(held: Any, counted: int) -> bool:
    return isinstance(held, (int, float)) and not isinstance(held, bool) and held == counted


def counting(by: str, ids: list[Any], condition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pipeline that counts what refers to some ids at a path.

    Each document counts once for an id, however often it refers to it.
    """
    held: dict[str, Any] = {"$in": ids}
    # An index serves both, and the second is rare: ids that are documents, and maps of ids.
    refers = {"$or": [{by: held}, {by: {"$type": "object"}}]}
    return [
        {"$match": {"$and": [refers, condition]} if condition else refers},
        {"$project": {"_id": False, "id": {"$setUnion": [_referred(by), []]}}},
        {"$unwind": "$id"},
        {"$match": {"id": held}},
        {"$group": {"_id": "$id", "n": {"$sum": 1}}},
    ]


def _referred(by: str) -> dict[str, Any]:
    """Return the expression for the list of what `owners_of` in `counting` finds at a path."""
    inside = joined({"$objectToArray": "$$this"}, listed("$$this.v"))
    itself_and_inside = {"$concatArrays": [["$$this"], inside]}
    is_document = {"$eq": [{"$type": "$$this"}, "object"]}
    return joined(values_at(by), {"$cond": [is_document, itself_and_inside, ["$$this"]]})
