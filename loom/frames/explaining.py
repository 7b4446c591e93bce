"""What a server says of a query, in brief."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["brief"]


def brief(place: str, explained: Mapping[str, Any]) -> str:
    """Return the plan of a query in one line, with the counts that the server gives.

    Args:
        place: what was asked.
        explained: what the server says.

    >>> plan = {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "age_1"}}
    >>> counts = {"nReturned": 2, "totalKeysExamined": 2, "totalDocsExamined": 2}
    >>> brief("User", {"queryPlanner": {"winningPlan": plan}, "executionStats": counts})
    'User: IXSCAN (age_1), FETCH; 2 keys examined, 2 documents examined, 2 found'
    """
    plans = [" + ".join(_steps(plan)) or "unknown" for plan in _plans(explained)]
    distinct = list(dict.fromkeys(plan.replace(" + ", ", ") for plan in plans))
    stages = [next(iter(stage), "") for stage in _list(explained.get("stages"))]
    after = [name for name in stages if name not in ("$cursor", "")]
    text = " | ".join(distinct) or "no plan given"
    if after:
        text += f", then {', '.join(after)}"
    counts = _counts(explained)
    return f"{place}: {text}{'; ' if counts else ''}{', '.join(counts)}"


def _plans(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the winning plans: one, or one for each shard."""
    if not isinstance(value, Mapping):
        return
    planner = value.get("queryPlanner")
    if isinstance(planner, Mapping) and isinstance(planner.get("winningPlan"), Mapping):
        winning = planner["winningPlan"]
        parts = _list(winning.get("shards"))
        for part in parts or [winning]:
            yield part.get("winningPlan", part)
        return
    for stage in _list(value.get("stages")):
        yield from _plans(stage.get("$cursor"))
    shards = value.get("shards")
    for part in shards.values() if isinstance(shards, Mapping) else ():
        yield from _plans(part)


def _steps(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the stages of a plan in the order in which documents pass them."""
    plan = plan.get("queryPlan", plan)  # of the newer engine
    inner = [plan[key] for key in ("inputStage", "outerStage", "innerStage") if key in plan]
    for part in [*inner, *_list(plan.get("inputStages"))]:
        yield from _steps(part)
    name = plan.get("stage")
    if isinstance(name, str):
        index = plan.get("indexName")
        yield f"{name} ({index})" if index else name


def _counts(explained: Mapping[str, Any]) -> list[str]:
    said = [*_statistics(explained)]
    found = []
    for key, text in (
        ("totalKeysExamined", "keys examined"),
        ("totalDocsExamined", "documents examined"),
        ("nReturned", "found"),
    ):
        numbers = [int(one[key]) for one in said if key in one]
        if numbers:
            found.append(f"{sum(numbers):,} {text}")
    return found


def _statistics(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the counts of the whole query, or of each shard."""
    if not isinstance(value, Mapping):
        return
    if isinstance(value.get("executionStats"), Mapping):
        yield value["executionStats"]
        return
    for stage in _list(value.get("stages")):
        yield from _statistics(stage.get("$cursor"))
    shards = value.get("shards")
    for part in shards.values() if isinstance(shards, Mapping) else ():
        yield from _statistics(part)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
