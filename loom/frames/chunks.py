"""Documents by their ids: asked for in chunks that a server answers fast, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .ids import id_keys
from .port import Documents, Port

__all__ = ["documents_by_id", "found_by_id", "found_of_each"]

_NOTHING: Mapping[str, Any] = {}


async def found_by_id(
    port: Port,
    cls: Any,
    ids: Sequence[Any],
    projection: Any,
    options: Mapping[str, Any],
    beside: Mapping[str, Any] = _NOTHING,
) -> Documents:
    """Return the documents that have one of some ids, in no order.

    Args:
        port: the runtime.
        cls: whose documents they are.
        ids: as they are stored.
        projection: as the driver takes it.
        options: of each query.
        beside: what the documents have to match, too.
    """
    size = port.reference_chunk(cls)
    work = [
        port.find(cls, {**beside, "_id": {"$in": ids[at : at + size]}}, projection, options)
        for at in range(0, len(ids), size)
    ]
    found = await port.all(work, ordered=options.get("session") is not None)
    return found[0] if len(found) == 1 else [document for some in found for document in some]


class Finder(Protocol):
    """What asks for the documents that some ids lead to."""

    @property
    def frame_class(self) -> Any:
        """The class of the documents."""

    async def find(self, port: Port, ids: list[Any], options: Mapping[str, Any]) -> list[Any]:
        """Return what is found of some ids."""
        ...


async def found_of_each(
    port: Port, asked: Sequence[tuple[Finder, list[Any]]], options: Mapping[str, Any]
) -> list[list[Any]]:
    """Return what each of several finds of its ids: in chunks of ids, all of them at once."""
    work = []
    owners = []
    for number, (finder, ids) in enumerate(asked):
        size = port.reference_chunk(finder.frame_class)
        for start in range(0, len(ids), size):
            work.append(finder.find(port, ids[start : start + size], options))
            owners.append(number)
    found: list[list[Any]] = [[] for _ in asked]
    answers = await port.all(work, ordered=options.get("session") is not None)
    for number, some in zip(owners, answers, strict=True):
        found[number] += some
    return found


async def documents_by_id(
    port: Port,
    cls: Any,
    ids: Sequence[Any],
    projection: Any,
    options: Mapping[str, Any],
    beside: Mapping[str, Any] = _NOTHING,
) -> list[dict[str, Any] | None]:
    """Return the document of each id, in their order, None for those that are not there.

    An id may be there several times; its document is then the same dict. The arguments are those
    of `found_by_id`.
    """
    codecs = port.collection(cls).codec_options
    keys = id_keys([*ids], codecs)
    distinct = [*dict(zip(keys, ids, strict=True)).values()]
    found = await found_by_id(port, cls, distinct, projection, options, beside)
    by_key = dict(zip(id_keys([d["_id"] for d in found], codecs), found, strict=True))
    return [by_key.get(key) for key in keys]
