"""The steps of a chain, and what each of them leaves of the documents.

A stage that this module does not know to keep documents whole gives rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["FIRST", "WRITING", "Group", "Step", "added_by", "keeps"]


class Step(NamedTuple):
    """One step: a stage by its name, or `project` (a projection of Loom's) or `group`."""

    name: str
    content: Any
    #: written by the user as a stage, so that an aggregation is what is wanted
    is_stage: bool = False


class Group(NamedTuple):
    """What documents have in common, and what is computed of them."""

    keys: dict[str, Any]
    accumulators: dict[str, Any]

    def names(self) -> Iterator[str]:
        """Yield the fields of the results."""
        yield from self.keys
        yield from self.accumulators


def _nothing(content: Any) -> Iterable[str]:
    return ()


# A server says what is wrong with a stage that is not of its form.


def _names(content: Any) -> Iterable[str]:
    return content if isinstance(content, Mapping) else ()


def _at(*keys: str) -> Callable[[Any], Iterable[str]]:
    return lambda content: [
        content[key] for key in keys if key in _names(content) and isinstance(content[key], str)
    ]


def _output(content: Any) -> Iterable[str]:
    return _names(content.get("output")) if isinstance(content, Mapping) else ()


#: The stages that keep documents whole, each with what finds the fields that it adds.
_KEEPING: dict[str, Callable[[Any], Iterable[str]]] = {
    **dict.fromkeys(("$match", "$sort", "$skip", "$limit", "$sample", "project"), _nothing),
    **dict.fromkeys(("$search", "$vectorSearch"), _nothing),
    **dict.fromkeys(("$rankFusion", "$scoreFusion", "$score"), _nothing),
    **dict.fromkeys(("$addFields", "$set"), _names),
    **dict.fromkeys(("$lookup", "$graphLookup"), _at("as")),
    **dict.fromkeys(("$setWindowFields", "$fill"), _output),
    "$geoNear": _at("distanceField", "includeLocs"),
}
#: Stages that a server takes at the beginning of a pipeline only.
FIRST = frozenset(
    ("$changeStream", "$collStats", "$currentOp", "$documents", "$geoNear", "$indexStats")
    + ("$listClusterCatalog", "$listLocalSessions", "$listSampledQueries", "$listSearchIndexes")
    + ("$listSessions", "$planCacheStats", "$querySettings", "$queryStats", "$rankFusion")
    + ("$scoreFusion", "$search", "$searchMeta", "$shardedDataDistribution", "$vectorSearch")
)
WRITING = ("$out", "$merge")


def keeps(step: Step) -> bool:
    """Tell whether whole documents stay whole after a step."""
    stores = isinstance(step.content, Mapping) and step.content.get("returnStoredSource")
    return step.name in _KEEPING and not stores


def added_by(step: Step) -> Iterable[str]:
    """Return the paths of the fields that a step adds to whole documents."""
    return _KEEPING[step.name](step.content)
