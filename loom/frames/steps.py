"""The steps of a chain, and what each of them leaves of the documents.

A stage that this module does not know to keep documents whole gives rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["FIRST", "WRITING", "Group", "Names", "Step", "added_by", "keeps", "writes"]


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


class Names(NamedTuple):
    """Which fields of the results are those of the class, so that what it says of them holds."""

    #: the only ones, None for all but the hidden ones
    only: frozenset[str] | None = None
    #: what other values stand under
    hidden: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """Tell whether a field is the class's own."""
        return name not in self.hidden and (self.only is None or name in self.only)

    def after(self, step: Step) -> Names:
        """Return what is known behind a step."""
        name, content, _ = step
        if name == "group":
            own = {n for n, value in content.keys.items() if value == f"${n}"}
            return Names(frozenset(n for n in map(_root, own) if self.knows(n)))
        if name == "$unwind":
            added = [*_at("includeArrayIndex")(content)]
        elif name == "project":
            named = content if isinstance(content, Mapping) else {}
            added = [n for n, value in named.items() if isinstance(value, str)]
        elif name in _KEEPING:
            added = [*added_by(step)]
        else:
            return Names(frozenset())
        return Names(self.only, self.hidden | {*map(_root, added)})


def _root(path: str) -> str:
    return path.partition(".")[0]


def writes(content: Any) -> str | None:
    """Return the stage that writes in the content of another one, None when there is none."""
    if isinstance(content, Mapping):
        for name, inner in content.items():
            found = name if name in WRITING else writes(inner)
            if found is not None:
                return found
    elif isinstance(content, (list, tuple)):
        return next(filter(None, map(writes, content)), None)
    return None


def keeps(step: Step) -> bool:
    """Tell whether whole documents stay whole after a step."""
    stores = isinstance(step.content, Mapping) and step.content.get("returnStoredSource")
    if step.name not in _KEEPING or stores:
        return False
    # By another _id a frame would be written over another document.
    return not any(_root(path) == "_id" for path in added_by(step))


def added_by(step: Step) -> Iterable[str]:
    """Return the paths of the fields that a step adds to whole documents."""
    return _KEEPING[step.name](step.content)
