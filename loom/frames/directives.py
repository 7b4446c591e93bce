"""Directives: what to ask of a class, built step by step, and executed by `load_many` and the like.

`User.filter(Q.age < 40).sort("-age").limit(10)` is a value: no step changes it, and nothing is sent
before it is executed. `User.aio.filter(...)` gives the same, awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ..errors import LoomError
from . import operations
from .chains import Chain
from .collations import add_collation
from .column_loads import AwaitedColumnLoads, ColumnLoads
from .commands import aggregate_of, find_of
from .conditions import Field
from .normalising import normalise_filter
from .pipelines import Stages
from .port import awaited, blocking, complete
from .projections import plan_for
from .queries import to_filter
from .showing import shown_aggregate, shown_find

if TYPE_CHECKING:
    from .document import SubFrame

__all__ = ["AwaitedDirective", "Directive", "Row"]

#: What a directive gives.
R = TypeVar("R")
S = TypeVar("S", bound="SubFrame")

#: A result that is no document of the class.
Row = dict[str, Any]
Verbosity = Literal["queryPlanner", "executionStats", "allPlansExecution"]


class Shown(Chain):
    """A chain that shows itself as the command that it sends."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            return self._shown()
        except LoomError as error:
            return f"<{type(self).__name__} of {self._cls.__name__} that cannot be sent: {error}>"

    def _shown(self) -> str:
        cls = self._cls

        def compiled(filter: Any, knows: Callable[[str], bool] | None = None) -> dict[str, Any]:
            return normalise_filter(cls, to_filter(filter), knows)

        found = find_of(self)
        if found is None:
            command = aggregate_of(self, compiled, {})
            stages = command.stages
            if cls._kinds is not None:
                stages = cls._kinds.narrowed_stages(cls, stages)
            return shown_aggregate(cls._collection, stages, command.options, cls._private_fields)
        query = compiled(found.filter)
        options = dict(found.options)
        add_collation(cls, query, options)
        if cls._kinds is not None:
            query = cls._kinds.narrowed(cls, query)
        driver = plan_for(cls, found.projection).driver
        return shown_find(cls._collection, query, driver, options, cls._private_fields)


class Directive(Shown, ColumnLoads, Generic[R]):
    """What to ask of a class; blocking.

    Made by `Frame.filter` and `Frame.agg`. Every method but the last ones gives a new
    directive with one step more; steps act in their order. `load_many`, `load_one`,
    `load_latest`, `exists`, `count` and `explain` ask the server. Where a plain find does what
    the steps say, it is sent, else an aggregate.

    Results are frames as long as the steps keep documents whole. After `group_by`, `unwind` and
    what reshapes documents they are rows: dicts, or sub-frames of the class given as `into`.
    """

    __slots__ = ()

    # What the results are from here on

    def group_by(self, *fields: str | Field, **expressions: Any) -> Directive[Row]:
        """Join documents that have the same values; `acc` says what to compute of each group.

        The results are rows with these fields and what is computed. Null and absent are one
        group.

        Args:
            fields: names or paths; without any, all documents are one group.
            expressions: more of them, by the field for the result: `year={"$year": "$born"}`.

        Raises:
            FieldError: the class declares no such field.
        """
        return Directive(self._cls, self._grouped(fields, expressions))

    def unwind(
        self,
        path: str | Field,
        *,
        include_array_index: str | None = None,
        preserve_null_and_empty_arrays: bool | None = None,
    ) -> Directive[Row]:
        """Return a row for each item of a list, with the item in the place of the list.

        Args:
            path: of the list.
            include_array_index: a field for the position of the item.
            preserve_null_and_empty_arrays: also documents without items.

        Raises:
            FieldError: the class declares no such field.
        """
        steps = self._unwound(
            path,
            include_array_index=include_array_index,
            preserve_null_and_empty_arrays=preserve_null_and_empty_arrays,
        )
        return Directive(self._cls, steps)

    def agg(self, stages: Stages) -> Directive[Any]:
        """Go on with stages of an aggregation pipeline, which are not checked against the class.

        Args:
            stages: `AggregationStages`, a list of dicts, or one dict; conditions may stand in
                `$match`.

        Raises:
            QueryError: no stage, or one that writes.
        """
        return Directive(self._cls, self._staged(stages))

    # Executing

    @overload
    def load_many(self, *, into: None = None, **options: Any) -> list[R]: ...
    @overload
    def load_many(self, *, into: type[S], **options: Any) -> list[S]: ...
    def load_many(self, *, into: Any = None, **options: Any) -> list[Any]:
        """Return all results, as a list.

        Args:
            into: a SubFrame class for rows.
            options: as for `Collection.find`, without those that are steps: `session`, `hint`,
                `collation`, `comment`, `let`, `max_time_ms`, `allow_disk_use`, `batch_size`;
                for aggregates, too.

        Raises:
            QueryError: the filter, a stage or an option cannot be sent.
            FieldError: the SubFrame class lacks a field of the groups.
        """
        return complete(operations.load_many(blocking(), self, into, options))

    @overload
    def load_one(self, *, required: Literal[True], into: None = None, **options: Any) -> R: ...
    @overload
    def load_one(
        self, *, required: bool = False, into: None = None, **options: Any
    ) -> R | None: ...
    @overload
    def load_one(self, *, required: bool = False, into: type[S], **options: Any) -> S | None: ...
    def load_one(self, *, required: bool = False, into: Any = None, **options: Any) -> Any:
        """Return the first result, or None.

        Args:
            required: raise NotFound instead of returning None.
            into: as for `load_many`.
            options: as for `load_many`.

        Raises:
            NotFound: there is no result, and `required` is true.
        """
        return complete(operations.load_one(blocking(), self, into, required, options))

    @overload
    def load_latest(
        self, field: str | Field | None = None, *, required: Literal[True], **options: Any
    ) -> R: ...
    @overload
    def load_latest(
        self, field: str | Field | None = None, *, required: bool = False, **options: Any
    ) -> R | None: ...
    def load_latest(
        self, field: str | Field | None = None, *, required: bool = False, **options: Any
    ) -> R | None:
        """Return the newest result, or None.

        Args:
            field: the time to go by; by default the `TimeUpdated` field of the class.
            required: raise NotFound instead of returning None.
            options: as for `load_many`.

        Raises:
            QueryError: no field is given, and the class declares none, or several.
            NotFound: there is no result, and `required` is true.
        """
        latest = self._latest(field)
        found: R | None = complete(operations.load_one(blocking(), latest, None, required, options))
        return found

    def exists(self, **options: Any) -> bool:
        """Tell whether there is a result.

        Args:
            options: as for `load_many`.
        """
        return complete(operations.load_exists(blocking(), self, options))

    def count(self, **options: Any) -> int:
        """Return how many results there are; of groups, how many groups.

        As `Frame.count`: without any step it is the server's own count of the collection.

        Args:
            options: as for `load_many`.
        """
        return complete(operations.load_count(blocking(), self, options))

    @overload
    def explain(
        self,
        *,
        verbosity: Verbosity = "executionStats",
        full: Literal[False] = False,
        **options: Any,
    ) -> str: ...
    @overload
    def explain(
        self, *, verbosity: Verbosity = "executionStats", full: Literal[True], **options: Any
    ) -> dict[str, Any]: ...
    def explain(
        self, *, verbosity: Verbosity = "executionStats", full: bool = False, **options: Any
    ) -> Any:
        """Return how the server does it: the plan, its index, how much it had to look at.

        Args:
            verbosity: `"executionStats"` runs the query and counts, `"queryPlanner"` does not run it,
                `"allPlansExecution"` also tries the plans that were not taken.
            full: return all that the server says, instead of one line.
            options: as for `load_many`.
        """
        return complete(operations.explain(blocking(), self, verbosity, full, options))


class AwaitedDirective(Shown, AwaitedColumnLoads, Generic[R]):
    """What to ask of a class; awaited.

    Made by `Frame.aio.filter` and `Frame.aio.agg`. Every method but the last ones gives a new
    directive with one step more; steps act in their order. `await load_many`, `load_one`,
    `load_latest`, `exists`, `count` and `explain` ask the server. Where a plain find does what
    the steps say, it is sent, else an aggregate.

    Results are frames as long as the steps keep documents whole. After `group_by`, `unwind` and
    what reshapes documents they are rows: dicts, or sub-frames of the class given as `into`.
    """

    __slots__ = ()

    # What the results are from here on

    def group_by(self, *fields: str | Field, **expressions: Any) -> AwaitedDirective[Row]:
        """As `Directive.group_by`, awaited."""
        return AwaitedDirective(self._cls, self._grouped(fields, expressions))

    def unwind(
        self,
        path: str | Field,
        *,
        include_array_index: str | None = None,
        preserve_null_and_empty_arrays: bool | None = None,
    ) -> AwaitedDirective[Row]:
        """As `Directive.unwind`, awaited."""
        steps = self._unwound(
            path,
            include_array_index=include_array_index,
            preserve_null_and_empty_arrays=preserve_null_and_empty_arrays,
        )
        return AwaitedDirective(self._cls, steps)

    def agg(self, stages: Stages) -> AwaitedDirective[Any]:
        """As `Directive.agg`, awaited."""
        return AwaitedDirective(self._cls, self._staged(stages))

    # Executing

    @overload
    async def load_many(self, *, into: None = None, **options: Any) -> list[R]: ...
    @overload
    async def load_many(self, *, into: type[S], **options: Any) -> list[S]: ...
    async def load_many(self, *, into: Any = None, **options: Any) -> list[Any]:
        """Return all results, as a list; see `Directive.load_many`."""
        return await operations.load_many(awaited(), self, into, options)

    @overload
    async def load_one(
        self, *, required: Literal[True], into: None = None, **options: Any
    ) -> R: ...
    @overload
    async def load_one(
        self, *, required: bool = False, into: None = None, **options: Any
    ) -> R | None: ...
    @overload
    async def load_one(
        self, *, required: bool = False, into: type[S], **options: Any
    ) -> S | None: ...
    async def load_one(self, *, required: bool = False, into: Any = None, **options: Any) -> Any:
        """Return the first result, or None; see `Directive.load_one`."""
        return await operations.load_one(awaited(), self, into, required, options)

    @overload
    async def load_latest(
        self, field: str | Field | None = None, *, required: Literal[True], **options: Any
    ) -> R: ...
    @overload
    async def load_latest(
        self, field: str | Field | None = None, *, required: bool = False, **options: Any
    ) -> R | None: ...
    async def load_latest(
        self, field: str | Field | None = None, *, required: bool = False, **options: Any
    ) -> R | None:
        """Return the newest result, or None; see `Directive.load_latest`."""
        latest = self._latest(field)
        found: R | None = await operations.load_one(awaited(), latest, None, required, options)
        return found

    async def exists(self, **options: Any) -> bool:
        """Tell whether there is a result; see `Directive.exists`."""
        return await operations.load_exists(awaited(), self, options)

    async def count(self, **options: Any) -> int:
        """Return how many results there are; of groups, how many groups; see `Directive.count`."""
        return await operations.load_count(awaited(), self, options)

    @overload
    async def explain(
        self,
        *,
        verbosity: Verbosity = "executionStats",
        full: Literal[False] = False,
        **options: Any,
    ) -> str: ...
    @overload
    async def explain(
        self, *, verbosity: Verbosity = "executionStats", full: Literal[True], **options: Any
    ) -> dict[str, Any]: ...
    async def explain(
        self, *, verbosity: Verbosity = "executionStats", full: bool = False, **options: Any
    ) -> Any:
        """As `Directive.explain`, awaited."""
        return await operations.explain(awaited(), self, verbosity, full, options)
