"""From documents to frames: sub-frames are wrapped, references fetched and put in place.

References are resolved level by level. All fields of a level that want the same class, with
the same projection and key, share one `$in` query, whatever document or list they are in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .chunks import found_of_each
from .document import wrap
from .loaded import Loaded
from .plans import Plan
from .port import Documents, Port
from .reverse import Referring
from .slots import Root, Slots, gather
from .subframes import wrap_children

__all__ = ["build"]

#: What is fetched in one step, and put where it belongs.
Waiting: TypeAlias = Slots | Referring

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
    if plan.upgrades:
        documents = await _upgraded(port, plan, documents, inherited)
    waiting: list[Waiting] = []
    loaded: list[tuple[Plan, list[Any]]] = []
    frames = _place(plan, documents, waiting, loaded)
    filled: list[Waiting] = []
    while waiting:
        groups: dict[Any, list[Waiting]] = {}
        for slots in waiting:
            groups.setdefault(slots.query, []).append(slots)
        filled += waiting
        waiting = []
        asked = [(group[0], _distinct(group)) for group in groups.values()]
        found = await found_of_each(port, asked, inherited)
        for group, fetched in zip(groups.values(), found, strict=True):
            first = group[0]
            if first.plan.upgrades:
                fetched = await _upgraded(port, first.plan, fetched, inherited)
            keys = first.keys_of(fetched)
            targets = _place(first.plan, fetched, waiting, loaded)
            index = first.index(keys, targets)
            for slots in group:
                slots.fill(index)

    for made_with, made in loaded:
        Loaded.remember(made_with, made)
    for slots in filled:
        slots.remember_hidden()
    return frames


def _place(
    plan: Plan, documents: Documents, waiting: list[Waiting], loaded: list[tuple[Plan, list[Any]]]
) -> list[Any]:
    """Wrap documents; note which references wait to be fetched."""
    if not plan.kinds:
        return _place_one_kind(plan, documents, waiting, loaded)
    cls = plan.frame_class
    frames: list[Any] = [None] * len(documents)
    for kind, positions in cls._kinds.grouped(cls, documents).items():
        some = [documents[position] for position in positions]
        made = _place_one_kind(plan.kinds.get(kind, plan), some, waiting, loaded)
        for position, frame in zip(positions, made, strict=True):
            frames[position] = frame
    return frames


def _place_one_kind(
    plan: Plan, documents: Documents, waiting: list[Waiting], loaded: list[tuple[Plan, list[Any]]]
) -> list[Any]:
    frames = wrap(plan.frame_class, documents)
    if documents and not plan.node.is_empty:
        if plan.node.has_references:
            gather(plan.node, documents, Root(documents, frames, ()), waiting)
        wrap_children(plan.node, documents, plan.frame_class.__name__)
    if documents:
        waiting += (Referring(reverse, documents) for reverse in plan.reverses)
    if plan.is_remembered:
        loaded.append((plan, frames))
    return frames


async def _upgraded(
    port: Port, plan: Plan, documents: Documents, options: Mapping[str, Any]
) -> Documents:
    from .upgrading import brought  # when a class has older documents

    return await brought(port, plan, documents, options)


def _distinct(group: list[Waiting]) -> list[Any]:
    """Return the ids that a group waits for, each once."""
    ids: dict[Any, Any] = {}
    for slots in group:
        ids.update(slots.gather())
    return [*ids.values()]
