"""From a chain to the command that does it: a find where it can, else an aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple, NoReturn

from ..errors import ProjectionError, QueryError
from .chains import Chain
from .collations import add_collation, collation_for
from .conditions import GROUPS, tests_value
from .fetching import fetches_the_rest, is_fetched, partial
from .paths import ancestors, is_ancestor
from .pipelines import copied
from .plans import Plan
from .projections import plan_for
from .steps import Group, Names, Step, keeps

__all__ = ["Aggregate", "Find", "aggregate_of", "find_of"]

#: Compiles a filter as the driver takes it, given which fields are the class's own.
Compile = Callable[[Any, Callable[[str], bool]], dict[str, Any]]

#: What a find does, in its order.
_ORDER = {"$match": 0, "$sort": 0, "$skip": 1, "$limit": 2}
#: Stages that compare no text.
_INDIFFERENT = frozenset(("$count", "$limit", "$sample", "$skip", "$unset", "$unwind"))
#: Those of whole documents: what filters compare is known, and orders are as in a find.
_ORDERED = _INDIFFERENT | {"$geoNear", "$match", "$project", "$sort"}
#: Conditions that also put documents in order, which only a find does.
_NEAR = frozenset(("$near", "$nearSphere"))


class Find(NamedTuple):
    """A find that does what a chain says."""

    filter: dict[str, Any]
    #: as for `Frame.many`
    projection: Any
    #: `sort`, `skip` and `limit`, where they are given
    options: dict[str, Any]


class Aggregate(NamedTuple):
    """An aggregate that does what a chain says."""

    stages: list[dict[str, Any]]
    options: dict[str, Any]
    #: what makes frames of the results, None when they are rows
    plan: Plan | None


def find_of(chain: Chain) -> Find | None:
    """Return the find that does what a chain says, None when only an aggregate can."""
    filters: list[dict[str, Any]] = []
    projection: Any = None
    asked: dict[str, Any] = {}
    reached, is_projected = 0, False
    for name, content, is_stage in chain._steps:
        if is_stage:
            return None
        if name == "project":
            projection, is_projected = copied(content), True
            continue
        order = _ORDER.get(name)
        if order is None or order < reached or (is_projected and order == 0):
            return None
        reached = order
        if name == "$match":
            filters.append(content)
        elif name == "$sort":
            asked["sort"] = list(content)
        elif name == "$skip":
            asked["skip"] = asked.get("skip", 0) + content
        else:
            asked["limit"] = min(asked.get("limit", content), content)
    return Find(_joined(filters), projection, asked)


def aggregate_of(
    chain: Chain,
    compiled: Compile,
    options: Mapping[str, Any],
    *last: dict[str, Any],
    first_only: bool = False,
) -> Aggregate:
    """Return the aggregate that does what a chain says.

    Args:
        chain: the chain.
        compiled: makes the driver's form of a filter of the class.
        options: of the call, in PyMongo's names for `aggregate`.
        last: stages behind the chain's own; with them the results are rows.
        first_only: of the results, the first one alone.

    Raises:
        QueryError: a condition that only a find takes, or a collation that would decide more
            than the filter.
        ProjectionError: a part of a projection that only a find takes.
    """
    whole: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    names = Names()
    scopes: dict[int, Names] = {}
    for step in chain._steps:
        part = whole if keeps(step) and not rest else rest
        for stage in _sent(chain, step):
            scopes[id(stage)] = names
            part.append(stage)
        names = names.after(step)
    asked = dict(options)
    _compile(chain, whole, rest, compiled, asked, scopes)
    stages = [*whole, *rest]
    if first_only:
        stages.append({"$limit": 1})
    if last or not chain.is_whole():
        return Aggregate([*stages, *last], asked, None)
    plan, added = _plan_of(chain), chain.added()
    driver = _with_added(plan.driver, added)
    if driver and not any(step.name == "project" for step in chain._steps):
        stages.append({"$project": _of_aggregate(chain, driver)})
    return Aggregate(stages, asked, _with_computed(plan, added))


# Stages


def _sent(chain: Chain, step: Step) -> Iterator[dict[str, Any]]:
    """Yield the stages of one step."""
    name, content, _ = step
    if name == "project":
        driver = plan_for(chain._cls, content).driver
        if driver:
            yield {"$project": _of_aggregate(chain, driver)}
    elif name == "group":
        yield from _grouping(chain, content)
    elif name == "$sort":
        yield {name: dict(content)}
    else:
        yield {name: copied(content)}


def _grouping(chain: Chain, group: Group) -> Iterator[dict[str, Any]]:
    """Yield a group, and what puts its keys beside what was computed, under their own names."""
    keys, computed = group
    if not keys and not computed:
        raise QueryError(
            f"{chain._cls.__name__}.group_by: expected names of fields or acc(...), got neither"
        )
    # Null and absent are one group, also among several keys: as they are for a single one.
    several = {name: {"$ifNull": [copied(value), None]} for name, value in keys.items()}
    single = copied(next(iter(keys.values()), None))
    id = _nested(several) if len(keys) > 1 else single
    yield {"$group": {"_id": id, **copied(computed)}}
    shown: dict[str, Any] = {} if "_id" in keys else {"_id": False}
    for name in keys:
        shown[name] = f"$_id.{name}" if len(keys) > 1 else "$_id"
    yield {"$project": shown | {name: f"${name}" for name in computed}}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return paths as documents in documents, because a key holds no dots."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *above, last = path.split(".")
        level = found
        for name in above:
            level = level.setdefault(name, {})
        level[last] = value
    return found


def _of_aggregate(chain: Chain, driver: Mapping[str, Any]) -> dict[str, Any]:
    """Return a driver projection as `$project` takes it."""
    for path, value in driver.items():
        operators = value if isinstance(value, Mapping) else ()
        for operator in ("$slice", "$elemMatch"):
            if operator in operators:
                raise ProjectionError(
                    f"{chain._cls.__name__}.{path}: expected a projection for an aggregate, got "
                    f"{operator}, which only a find takes so; write an expression, as in "
                    "add_fields(tags={'$slice': ['$tags', 5]})"
                )
    return dict(driver)


# Frames


def _plan_of(chain: Chain) -> Plan:
    projections = [step.content for step in chain._steps if step.name == "project"]
    return plan_for(chain._cls, projections[0] if projections else None)


def _with_computed(plan: Plan, added: list[str]) -> Plan:
    """Return a plan in which what the steps added is computed: kept, and never written."""
    if not added:
        return plan
    computed = {path: f"${path}" for path in added}
    driver = _with_added(plan.driver, added)
    if driver is not None and not fetches_the_rest(driver):
        # An upgrade takes what is computed as it was fetched.
        roots = {path.partition(".")[0] for path in added}
        fetched = {path: path.partition(".")[0] for path in driver}
        driver = {path: driver[path] for path, root in fetched.items() if root not in roots} | {
            root: f"${root}" for root in roots & {*fetched.values()}
        }
    elif driver is not None and plan.upgrades:
        raise ProjectionError(
            f"{plan.frame_class.__name__}: expected a projection that names fields beside what is "
            "added, because older documents are upgraded, got one that leaves some out; name them"
        )
    made = copy(plan)
    made.driver = driver
    others = {
        path: value
        for path, value in (plan.driver or {}).items()
        if not any(path == name or is_ancestor(name, path) for name in added)
    }
    made.partial, made.computed = partial({**others, **computed})
    made.is_plain = False
    made.kinds = {cls: _with_computed(inner, added) for cls, inner in plan.kinds.items()}
    # What a pickled frame is told again that it was loaded with.
    made.projection = {**plan.projection, **computed} if plan.has_keys else computed
    return made


def _with_added(driver: dict[str, Any] | None, added: list[str]) -> dict[str, Any] | None:
    """Return a driver projection that keeps what was added."""
    if driver is None:
        return None
    found = dict(driver)
    for name in added:
        if is_fetched(found, name) and not any(is_ancestor(name, path) for path in found):
            continue
        if any(above in found for above in (*ancestors(name), name)):
            continue  # left out, or computed, by the class's own projection
        found = {path: value for path, value in found.items() if not is_ancestor(name, path)}
        found[name] = True
    return found


# Filters


def _joined(filters: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one filter for several; new dicts."""
    if len(filters) < 2:
        return copied(filters[0]) if filters else {}
    return {"$and": [copied(one) for one in filters]}


def _compile(
    chain: Chain,
    whole: list[dict[str, Any]],
    rest: list[dict[str, Any]],
    compiled: Compile,
    asked: dict[str, Any],
    scopes: Mapping[int, Names],
) -> None:
    """Compile filters, in place, as far as fields are the class's; add the collation they carry."""
    lead = 0
    while lead < len(whole) and "$match" in whole[lead]:
        lead += 1
    first = compiled(_joined([stage["$match"] for stage in whole[:lead]]), Names().knows)
    others = []
    for stage in whole[lead:]:
        for holder, name in ((stage, "$match"), (stage.get("$geoNear"), "query")):
            if isinstance(holder, dict) and name in holder:
                holder[name] = compiled(holder[name], scopes.get(id(stage), Names()).knows)
                others.append(holder[name])
    inside: list[Any] = []
    for position, stage in enumerate(rest):
        if id(stage) not in scopes:
            continue
        if "$match" in stage:
            stage["$match"] = compiled(stage["$match"], scopes[id(stage)].knows)
        for inner, names, is_whole in _inner(stage, scopes[id(stage)]):
            if "$match" in inner:
                inner["$match"] = compiled(inner["$match"], names.knows)
                # The first facet sees whole documents.
                (others if is_whole and not position else inside).append(inner["$match"])
    for one in (first, *others, *inside, *(stage.get("$match") for stage in rest)):
        _check(chain, one)
    if "collation" not in asked:
        found = _collation(chain, whole[lead:], first, others)
        if found is not None:
            _check_collated(chain, whole[lead:], _ORDERED, found)
            _check_collated(chain, rest, _INDIFFERENT, found)
            asked["collation"] = found
    whole[:lead] = [{"$match": first}] if first else []


def _inner(stage: dict[str, Any], names: Names) -> Iterator[tuple[dict[str, Any], Names, bool]]:
    """Yield the stages inside a `$facet`, if it is one.

    Each with what is known of the fields that it sees, and whether documents are still whole.
    """
    facet = stage.get("$facet")
    for pipeline in facet.values() if isinstance(facet, dict) else ():
        known, is_whole = names, True
        for inner in pipeline if isinstance(pipeline, list) else ():
            if not isinstance(inner, dict) or len(inner) != 1:
                break  # a server says what is wrong with it
            ((name, content),) = inner.items()
            step = Step(name, content)
            is_whole = is_whole and keeps(step)
            yield inner, known, is_whole
            known = known.after(step)


def _check(chain: Chain, filter: Any) -> None:
    """Refuse conditions that an aggregate does not take; values may look as they like."""
    for key, test in filter.items() if isinstance(filter, Mapping) else ():
        if key in GROUPS:
            for part in test:
                _check(chain, part)
        elif key == "$where":
            _refuse(chain, key, "write $expr")
        while key[:1] != "$" and isinstance(test, Mapping):
            for operator in _NEAR & test.keys():
                _refuse(chain, operator, "begin with agg(AggregationStages().geo_near(...))")
            test = test.get("$not") if tests_value(test) else None


def _refuse(chain: Chain, operator: str, hint: str) -> NoReturn:
    raise QueryError(
        f"{chain._cls.__name__}: expected conditions that an aggregate takes, got {operator}, which "
        f"only a find does; {hint}"
    )


def _collation(
    chain: Chain,
    stages: list[dict[str, Any]],
    first: dict[str, Any],
    others: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """Return the collation that filters and the order of whole documents carry by themselves."""
    sort = next((list(stage["$sort"].items()) for stage in stages if "$sort" in stage), None)
    if others:
        return collation_for(chain._cls, _joined([first, *others]), sort)
    carried: dict[str, Any] = {} if sort is None else {"sort": sort}
    add_collation(chain._cls, first, carried, prefixes=False)  # other stages compare text, too
    return carried.get("collation")


def _check_collated(
    chain: Chain, stages: list[dict[str, Any]], known: frozenset[str], collation: dict[str, Any]
) -> None:
    """Refuse a collation that would decide more than the filters and the order."""
    for stage in stages:
        (name,) = stage
        if name not in known:
            raise QueryError(
                f"{chain._cls.__name__}: expected no stage that compares text itself behind a "
                f"filter or an order that ignores case, got {name}, which would ignore case, too; "
                f"pass collation={collation!r} to ignore it there, too, or collation=None to "
                "compare exactly"
            )
