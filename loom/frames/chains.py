"""Chains: what a directive does, step by step, and what its results are.

A chain is a value. It knows whether its results are still documents of the class, or rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import FieldError, QueryError, nearest
from .collection_stages import lookup_of
from .conditions import Field, Filter, to_filter
from .group_stages import accumulator
from .marked import marked
from .paths import is_ancestor
from .pipelines import (
    Stages,
    named,
    options,
    path_of,
    positive,
    sort_of,
    stages_of,
)
from .projections import Projection, plan_for
from .steps import FIRST, Group, Step, added_by, keeps, writes
from .values import Frozen

if TYPE_CHECKING:
    from typing_extensions import Self

    from .frame import Frame
    from .sorts import Sort

__all__ = ["Chain"]


class Chain(Frozen):
    """The steps of a directive; every method gives a new one, and this one stays as it is."""

    __slots__ = ("_cls", "_steps")
    _cls: Any
    _steps: tuple[Step, ...]

    def __init__(self, cls: Any, steps: Iterable[Step] = ()) -> None:
        object.__setattr__(self, "_cls", cls)
        object.__setattr__(self, "_steps", tuple(steps))

    # Steps

    def filter(self, filter: Filter) -> Self:
        """Keep what also meets a condition.

        Args:
            filter: a condition (`Q.age < 40`), a dict as for PyMongo, or None for any.
        """
        compiled = to_filter(filter)
        return self._then(Step("$match", compiled)) if compiled else self

    def sort(self, *by: Sort, descending: bool = False) -> Self:
        """Put the documents in order.

        Args:
            by: names, `"-age"`, `Q.age.desc`, `SortBy(...)`, or PyMongo's lists.
            descending: the direction of all of them.
        """
        return self._then(Step("$sort", sort_of(by, self._place("sort"), descending)))

    def skip(self, number: int | None) -> Self:
        """Leave out the first documents; None leaves out none."""
        if number is None:
            return self
        return self._then(Step("$skip", positive(number, self._place("skip"), least=0)))

    def limit(self, number: int | None) -> Self:
        """Keep the first documents; None keeps all."""
        if number is None:
            return self
        return self._then(Step("$limit", positive(number, self._place("limit"))))

    def sample(self, size: int) -> Self:
        """Keep so many documents, chosen by chance."""
        return self._then(Step("$sample", {"size": positive(size, self._place("sample"))}))

    def project(self, *fields: Projection | str | Field) -> Self:
        """Say what to fetch.

        Args:
            fields: a projection as for `Frame.many`, `$ref` and `$sub` included, or names. Of
                rows: a dict as for MongoDB's `$project`, or names.

        Raises:
            ProjectionError: the projection cannot be understood.
            QueryError: there is one already.
        """
        place = self._place("project")
        projection: Any = fields[0] if len(fields) == 1 else fields
        if isinstance(projection, (str, Field)) or len(fields) > 1:
            projection = [path_of(name, place) for name in fields]
        if not self.is_whole():
            if not isinstance(projection, Mapping):
                projection = dict.fromkeys(projection or (), True)
            return self._then(Step("$project", named(projection, {}, place)))
        if any(step.name == "project" for step in self._steps):
            raise QueryError(f"{place}: expected one projection, got a second one; join the two")
        plan_for(self._cls, projection)  # which refuses what it cannot understand
        return self._then(Step("project", _kept(projection)))

    #: Another name for `project`.
    projection = project

    def add_fields(self, fields: Mapping[str, Any] | None = None, /, **named_: Any) -> Self:
        """Add fields that the server computes.

        Args:
            fields: expressions by the names of fields.
            named_: the same, as keywords.
        """
        place = self._place("add_fields")
        found = named(fields, named_, place)
        for path in _references(found):
            self._check(path, "add_fields")
        return self._then(Step("$addFields", found))

    def lookup(
        self,
        from_: type[Frame] | str,
        local_field: str | Field | None = None,
        foreign_field: str | Field | None = None,
        *,
        as_: str,
        pipeline: Stages | None = None,
        let: Mapping[str, Any] | None = None,
    ) -> Self:
        """Add a list of the documents of another collection that belong to each.

        Args:
            from_: a Frame class or the name of a collection.
            local_field: what is compared here.
            foreign_field: what is compared there, `_id` if not given.
            as_: the field for the list.
            pipeline: what is done there.
            let: variables for the pipeline.
        """
        content = lookup_of(from_, local_field, foreign_field, as_, pipeline, let)
        if "localField" in content:
            self._check(content["localField"], "lookup")
        return self._then(Step("$lookup", content))

    def acc(self, **accumulators: Mapping[str, Any]) -> Self:
        """Compute something of each group that `group_by` made.

        Args:
            accumulators: MongoDB's, by the field for the result: `total={"$sum": "$gold"}`.

        Raises:
            QueryError: there is no group, or a field has this name already.
        """
        last = self._steps[-1] if self._steps else None
        if last is None or last.name != "group":
            raise QueryError(
                f"{self._place('acc')}: expected group_by(...) right before it, got "
                f"{'nothing' if last is None else last.name}"
            )
        group: Group = last.content
        found = {name: accumulator(name, given) for name, given in accumulators.items()}
        before = Chain(self._cls, self._steps[:-1])
        for path in _references(found):
            before._check(path, "acc")
        joined = Group(group.keys, group.accumulators | found)
        self._check_names([*group.names(), *found])
        return type(self)(self._cls, (*self._steps[:-1], Step("group", joined)))

    # Steps that change what the results are: typed in the subclasses

    def _grouped(self, names: Iterable[Any], expressions: Mapping[str, Any]) -> tuple[Step, ...]:
        place = self._place("group_by")
        paths = [path_of(name, place) for name in names]
        computed = named(expressions, {}, place) if expressions else {}
        for path in [*paths, *_references(computed)]:
            self._check(path, "group_by")
        keys: dict[str, Any] = {path: f"${path}" for path in paths} | computed
        self._check_names([*paths, *expressions])
        return self._after(Step("group", Group(keys, {})))

    def _unwound(self, path: Any, **given: Any) -> tuple[Step, ...]:
        place = self._place("unwind")
        name = path_of(path, place)
        self._check(name, "unwind")
        return self._after(Step("$unwind", options(path=f"${name}", **given)))

    def _staged(self, stages: Stages) -> tuple[Step, ...]:
        place = self._place("agg")
        found = stages_of(stages, place)
        chain = self
        for stage in found:
            ((name, content),) = stage.items()
            writing = writes(stage)
            if writing is not None:
                raise QueryError(
                    f"{place}: expected stages that read, got {writing}, which writes; run it with "
                    f"{self._cls.__name__}.get_collection().aggregate(stages.to_list())"
                )
            if name == "$changeStream":
                raise QueryError(
                    f"{place}: expected stages that come to an end, got $changeStream; run it with "
                    "PyMongo's watch"
                )
            if name == "$sort":
                content = [*content.items()]
            chain = Chain(self._cls, chain._after(Step(name, content, True)))
        return chain._steps

    def _then(self, step: Step) -> Self:
        return type(self)(self._cls, self._after(step))

    def _after(self, step: Step) -> tuple[Step, ...]:
        if step.name in FIRST and self._steps:
            raise QueryError(
                f"{self._place('agg')}: expected {step.name} as the first stage, where alone "
                f"servers take it, got it behind {self._steps[-1].name}"
            )
        made = (*self._steps, step)
        if not keeps(step):
            for one in self._steps:
                if one.name == "project":
                    self._check_unresolved(one.content, step.name)
        return made

    # What the results are

    def is_whole(self) -> bool:
        """Tell whether the results are documents of the class, not rows."""
        return all(map(keeps, self._steps))

    def added(self) -> list[str]:
        """Return the paths of what the steps add to whole documents."""
        return [path for step in self._steps for path in added_by(step)]

    # Checks

    def _place(self, method: str) -> str:
        return f"{self._cls.__name__}.{method}"

    def _check(self, path: str, method: str) -> None:
        """Refuse a field that the class does not declare, while its documents are whole."""
        definition = self._cls._definition
        first = path.partition(".")[0]
        if definition.is_open or first in definition.names or not self.is_whole():
            return
        known = {*definition.names, *(name.partition(".")[0] for name in self.added())}
        kinds = self._cls._kinds
        if kinds is not None and (first == kinds.field or kinds.declares(self._cls, first)):
            return
        if first not in known:
            hint = nearest(first, known) or "; what is not declared goes into agg([...])"
            raise FieldError(
                f"{self._place(method)}: expected a declared field, got {first!r}{hint}"
            )

    def _check_names(self, names: list[str]) -> None:
        for position, name in enumerate(names):
            for other in names[:position]:
                if name == other or is_ancestor(name, other) or is_ancestor(other, name):
                    raise QueryError(
                        f"{self._place('group_by')}: expected each name once, got {other!r} and "
                        f"{name!r}; give one of them another name by a keyword"
                    )

    def _check_unresolved(self, projection: Any, name: str) -> None:
        plan = plan_for(self._cls, projection)
        if plan.node.has_references or getattr(plan, "reverses", None):
            raise QueryError(
                f"{self._place('project')}: expected no $ref before {name}, because references are "
                "resolved in frames only; leave it out, or use lookup(...)"
            )

    def _latest(self, field: Any) -> Self:
        """Return the chain in the order of a time, the newest first."""
        place = self._place("load_latest")
        if field is None:
            names = marked(self._cls).updated
            if len(names) != 1:
                got = f"{len(names)} ({', '.join(names)})" if names else "none"
                raise QueryError(
                    f"{place}: expected a class with one TimeUpdated field, got {got}; name the "
                    "field, as in load_latest('created')"
                )
            (field,) = names
        path = path_of(field, place)
        self._check(path, "load_latest")
        return self.sort((path, -1))

    # What a value is

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain) or type(self) is not type(other):
            return NotImplemented
        return self._cls is other._cls and self._steps == other._steps

    def __hash__(self) -> int:
        return hash((self._cls, *(step.name for step in self._steps)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._cls, self._steps)

    def _no_list(self, *arguments: object) -> NoReturn:
        name = type(self).__name__
        raise QueryError(
            f"{name} of {self._cls.__name__}: is no list and has no truth value, because nothing "
            f"was asked yet; call .load_many(), .exists() or .count(), or stream with "
            f"{self._cls.__name__}.each(filter)"
        )

    __bool__ = __len__ = __iter__ = __aiter__ = __contains__ = __getitem__ = _no_list


def _kept(projection: Any) -> Any:
    """Return a copy of a projection, which later changes of the caller's do not reach."""
    if isinstance(projection, Mapping):
        return {name: _kept(inner) for name, inner in projection.items()}
    return [*map(_kept, projection)] if isinstance(projection, (list, tuple)) else projection


def _references(value: Any) -> Iterator[str]:
    """Yield the paths of the field references in an expression."""
    if isinstance(value, str) and value[:1] == "$" and value[1:2] != "$" and len(value) > 1:
        yield value[1:]
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "$literal":
                yield from _references(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _references(inner)
