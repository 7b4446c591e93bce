"""Stages that join documents into groups, or reckon with those around each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import QueryError
from .conditions import Field
from .pipelines import (
    Pipeline,
    expression,
    field_names,
    key_of,
    named,
    one_of,
    options,
    path_of,
    positive,
    sort_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sorts import Sort

__all__ = ["GroupStages", "accumulator"]

_GRANULARITIES = ("R5", "R10", "R20", "R40", "R80", "1-2-5", "POWERSOF2") + (
    ("E6", "E12", "E24", "E48", "E96", "E192")
)
_UNITS = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
_ABSENT: Any = object()


class GroupStages(Pipeline):
    """The stages that join documents into groups, or reckon with those around each."""

    __slots__ = ()

    def group(self, _id: Any, /, **accumulators: Mapping[str, Any]) -> Self:
        """Join documents: `$group`.

        Args:
            _id: what they have in common: `"$breed"`, `Q.breed`, a dict of expressions, or None
                for all of them.
            accumulators: `total={"$sum": "$gold"}`.
        """
        if isinstance(_id, str) and not _id.startswith("$"):
            raise QueryError(
                f"group: expected an expression such as '${_id}', got the text {_id!r}, by which "
                "all documents are one group"
            )
        found = {name: accumulator(name, given) for name, given in accumulators.items()}
        return self._add("$group", {"_id": expression(_id, "group._id"), **found})

    def bucket(
        self,
        group_by: Any,
        boundaries: Sequence[Any],
        *,
        default: Any = _ABSENT,
        output: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Join documents by ranges of a value: `$bucket`.

        Args:
            group_by: an expression of the value.
            boundaries: in rising order, two at least; each range ends before the next begins.
            default: the `_id` of the bucket for all other documents.
            output: accumulators by field; by default `count`.
        """
        if isinstance(boundaries, str) or len(boundaries) < 2:
            raise QueryError(f"bucket: expected two boundaries or more, got {boundaries!r}")
        content = options(
            group_by=expression(group_by, "bucket.group_by"),
            boundaries=[expression(value, "bucket.boundaries") for value in boundaries],
            output=_output(output),
        )
        if default is not _ABSENT:
            content["default"] = expression(default, "bucket.default")
        return self._add("$bucket", content)

    def bucket_auto(
        self,
        group_by: Any,
        buckets: int,
        *,
        output: Mapping[str, Mapping[str, Any]] | None = None,
        granularity: str | None = None,
    ) -> Self:
        """Join documents into so many groups of about the same size: `$bucketAuto`.

        Args:
            group_by: an expression of the value.
            buckets: how many.
            output: as for `bucket`.
            granularity: the preferred numbers to round boundaries to, such as `"R5"`.
        """
        if granularity is not None:
            one_of(granularity, _GRANULARITIES, "bucket_auto.granularity")
        content = options(
            group_by=expression(group_by, "bucket_auto.group_by"),
            buckets=positive(buckets, "bucket_auto.buckets"),
            output=_output(output),
            granularity=granularity,
        )
        return self._add("$bucketAuto", content)

    def count(self, field: str = "count") -> Self:
        """Return how many documents there are, in one document: `$count`."""
        return self._add("$count", key_of(field, "count"))

    def sort_by_count(self, value: Any) -> Self:
        """Return how often each value occurs, the most frequent first: `$sortByCount`.

        Args:
            value: an expression.
        """
        return self._add("$sortByCount", expression(value, "sort_by_count"))

    def set_window_fields(
        self,
        output: Mapping[str, Mapping[str, Any]],
        *,
        sort_by: Sort = None,
        partition_by: Any = None,
    ) -> Self:
        """Add fields that are computed of the documents around each: `$setWindowFields`.

        Args:
            output: by field, an operator, and with it `"window"`:
                `{"total": {"$sum": "$gold", "window": {"documents": ["unbounded", "current"]}}}`.
            sort_by: the order inside each partition.
            partition_by: an expression; by default all documents are one partition.
        """
        content = options(
            partition_by=None if partition_by is None else expression(partition_by, "partition_by"),
            sort_by=None if sort_by is None else dict(sort_of([sort_by], "sort_by")),
            output=named(output, {}, "set_window_fields.output"),
        )
        return self._add("$setWindowFields", content)

    def densify(
        self,
        field: str | Field,
        *,
        step: float,
        unit: str | None = None,
        bounds: Literal["full", "partition"] | Sequence[Any] = "full",
        partition_by_fields: Iterable[str | Field] | None = None,
    ) -> Self:
        """Add documents where values of a field are missing: `$densify`.

        Args:
            field: holds numbers or dates.
            step: from one value to the next.
            unit: of the step, for dates.
            bounds: the lowest and the highest value, or where to find them.
            partition_by_fields: what separates series.
        """
        if unit is not None:
            one_of(unit, _UNITS, "densify.unit")
        if isinstance(bounds, str):
            one_of(bounds, ("full", "partition"), "densify.bounds")
        elif len(bounds) != 2:
            raise QueryError(f"densify.bounds: expected the lowest and highest, got {bounds!r}")
        limits = bounds if isinstance(bounds, str) else list(bounds)
        content = options(
            field=path_of(field, "densify.field"),
            partition_by_fields=None
            if partition_by_fields is None
            else field_names(partition_by_fields, "densify.partition_by_fields"),
            range=options(step=step, unit=unit, bounds=limits),
        )
        return self._add("$densify", content)

    def fill(
        self,
        output: Mapping[str, Mapping[str, Any]],
        *,
        sort_by: Sort = None,
        partition_by: Any = None,
        partition_by_fields: Iterable[str | Field] | None = None,
    ) -> Self:
        """Put values where fields are null or absent: `$fill`.

        Args:
            output: by field, `{"value": expression}` or `{"method": "linear"}` or `"locf"`.
            sort_by: the order, which the methods need.
            partition_by: an expression of what separates series.
            partition_by_fields: the same, as names of fields.
        """
        if partition_by is not None and partition_by_fields is not None:
            raise QueryError("fill: expected partition_by or partition_by_fields, got both")
        content = options(
            partition_by=None if partition_by is None else expression(partition_by, "partition_by"),
            partition_by_fields=None
            if partition_by_fields is None
            else field_names(partition_by_fields, "fill.partition_by_fields"),
            sort_by=None if sort_by is None else dict(sort_of([sort_by], "sort_by")),
            output=named(output, {}, "fill.output"),
        )
        return self._add("$fill", content)


def accumulator(name: str, given: Any) -> Any:
    """Return what is computed of a group, as a plain dict.

    Raises:
        QueryError: no dict with one operator, or a name that a group cannot have.
    """
    if key_of(name, "group") == "_id":
        raise QueryError("group: expected a name for what is computed, got '_id', the group's own")
    is_one = isinstance(given, Mapping) and len(given) == 1
    if not is_one or not str(next(iter(given))).startswith("$"):
        raise QueryError(
            f"group.{name}: expected one accumulator such as {{'$sum': '$gold'}}, got {given!r}"
        )
    return expression(given, f"group.{name}")


def _output(output: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if output is None:
        return None
    return {name: accumulator(name, given) for name, given in output.items()}
