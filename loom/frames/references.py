"""From documents to frames: sub-frames are wrapped, references fetched and put in place.

References are resolved level by level. All fields of a level that want the same class, with
the same projection and key, share one `$in` query, whatever document or list they are in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .document import wrap
from .ids import id_keys
from .loaded import Loaded
from .plans import Plan
from .port import Documents, Port
from .slots import Root, Slots, gather
from .subframes import wrap_children

__all__ = ["build"]

#: What the queries for references take over from the one that they belong to.
_INHERITED = ("session", "comment")


async def build(
    port: Port, plan: Plan, documents: Documents, options: Mapping[str, Any]
) -> list[Any]:
    """Return a frame for every document, with all that its plan asks for in place.

    Args:
        port: the runtime.
        plan: the compiled projection that the documents were fetched with.
        documents: become part of the frames; changed.
        options: of the query; session and comment are taken over.
    """
    if plan.is_plain:
        return wrap(plan.frame_class, documents)

    inherited = {name: options[name] for name in _INHERITED if options.get(name) is not None}
    waiting: list[Slots] = []
    loaded: list[tuple[Plan, list[Any]]] = []
    frames = _place(plan, documents, waiting, loaded)
    filled: list[Slots] = []
    while waiting:
        groups: dict[Any, list[Slots]] = {}
        for slots in waiting:
            groups.setdefault(slots.query, []).append(slots)
        filled += waiting
        waiting = []
        found = await _fetch(port, list(groups.values()), inherited)
        for group, fetched in zip(groups.values(), found, strict=True):
            reference = group[0].reference
            keys = id_keys([document.get(reference.key) for document in fetched])
            targets = _place(reference.plan, fetched, waiting, loaded)
            index = dict(zip(keys, targets, strict=True))
            for slots in group:
                slots.fill(index)

    for made_with, made in loaded:
        Loaded.remember(made_with, made)
    for slots in filled:
        slots.remember_hidden()
    return frames


def _place(
    plan: Plan, documents: Documents, waiting: list[Slots], loaded: list[tuple[Plan, list[Any]]]
) -> list[Any]:
    """Wrap documents; note which references wait to be fetched."""
    frames = wrap(plan.frame_class, documents)
    if documents and not plan.node.is_empty:
        if plan.node.has_references:
            gather(plan.node, documents, Root(documents, frames, ()), waiting)
        wrap_children(plan.node, documents, plan.frame_class.__name__)
    if plan.is_remembered:
        loaded.append((plan, frames))
    return frames


async def _fetch(
    port: Port, groups: list[list[Slots]], options: Mapping[str, Any]
) -> list[Documents]:
    """Fetch the documents of every group, in chunks of ids, all of them at once."""
    work = []
    owners = []
    for number, group in enumerate(groups):
        reference = group[0].reference
        distinct: dict[Any, Any] = {}
        for slots in group:
            distinct.update(slots.gather())
        ids = list(distinct.values())
        size = port.reference_chunk(reference.frame_class)
        for start in range(0, len(ids), size):
            wanted = {reference.key: {"$in": ids[start : start + size]}}
            work.append(port.find(reference.frame_class, wanted, reference.plan.driver, options))
            owners.append(number)
    found: list[Documents] = [[] for _ in groups]
    try:
        answers = await port.all(work, ordered="session" in options)
    finally:
        for query in work:
            query.close()  # those that were never sent, because one before them failed
    for number, documents in zip(owners, answers, strict=True):
        found[number] += documents
    return found
