"""AggregationStages: every stage of an aggregation pipeline by its name.

Here are those that choose documents and change their fields; the others are in `group_stages`,
`collection_stages`, `search_stages` and `server_stages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from .collection_stages import CollectionStages
from .conditions import Field, Filter, to_filter
from .group_stages import GroupStages
from .pipelines import (
    expression,
    field_names,
    named,
    options,
    positive,
    reference,
    sort_of,
)
from .search_stages import SearchStages
from .server_stages import ServerStages
from .values import plain

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sorts import Sort

__all__ = ["AggregationStages"]


class AggregationStages(GroupStages, CollectionStages, SearchStages, ServerStages):
    """Stages of an aggregation pipeline: each method gives a new one with one stage more.

    `|` joins two of them, or a list of dicts; `to_list()` gives what PyMongo takes. Text that
    begins with a dollar is a field reference, as everywhere in MongoDB, and so is a path such as
    `Q.lair.gold`; values that come from users belong into `{"$literal": value}`, or into the
    conditions of `match`.

    Args:
        stages: what it begins with, as dicts.

    >>> from loom import Q
    >>> rich = AggregationStages().match(Q.gold > 5).sort("-gold")
    >>> (rich | [{"$limit": 3}]).to_list()
    [{'$match': {'gold': {'$gt': 5}}}, {'$sort': {'gold': -1}}, {'$limit': 3}]
    """

    __slots__ = ()

    # Choosing and ordering

    def match(self, filter: Filter) -> Self:
        """Keep what meets a condition: `$match`.

        Args:
            filter: a condition such as `Q.gold > 5`, or a dict.
        """
        return self._add("$match", to_filter(filter))

    def sort(self, *by: Sort, descending: bool = False) -> Self:
        """Put documents in order: `$sort`.

        Args:
            by: names, `"-age"`, `Q.age.desc`, `SortBy(...)`, or PyMongo's lists.
            descending: the direction of all of them.
        """
        return self._add("$sort", dict(sort_of(by, "sort", descending)))

    def skip(self, number: int) -> Self:
        """Leave out the first documents: `$skip`."""
        return self._add("$skip", positive(number, "skip", least=0))

    def limit(self, number: int) -> Self:
        """Keep the first documents: `$limit`."""
        return self._add("$limit", positive(number, "limit"))

    def sample(self, size: int) -> Self:
        """Keep so many documents, chosen by chance: `$sample`."""
        return self._add("$sample", {"size": positive(size, "sample")})

    def geo_near(
        self,
        near: Sequence[float] | Mapping[str, Any],
        distance_field: str | None = None,
        *,
        key: str | None = None,
        max_distance: float | None = None,
        min_distance: float | None = None,
        distance_multiplier: float | None = None,
        query: Filter = None,
        include_locs: str | None = None,
        spherical: bool | None = None,
    ) -> Self:
        """Return places by their distance, the nearest first: `$geoNear`, which comes first.

        Args:
            near: (longitude, latitude) in degrees, or a GeoJSON point, or a legacy pair as dict.
            distance_field: where to put the distance, in metres for GeoJSON.
            key: the indexed field, when there are several.
            max_distance: in metres.
            min_distance: in metres.
            distance_multiplier: of all distances.
            query: what else must hold.
            include_locs: where to put the place that was compared.
            spherical: reckon on a sphere; GeoJSON always does.
        """
        if isinstance(near, (list, tuple)):
            if len(near) != 2:
                raise QueryError(f"geo_near: expected (longitude, latitude), got {near!r}")
            near = {"type": "Point", "coordinates": list(near)}
        content = options(
            near=plain(near, "geo_near.near"),
            distance_field=distance_field,
            key=key,
            max_distance=max_distance,
            min_distance=min_distance,
            distance_multiplier=distance_multiplier,
            query=to_filter(query) or None,
            include_locs=include_locs,
            spherical=spherical,
        )
        return self._add("$geoNear", content)

    # Fields

    def add_fields(self, fields: Mapping[str, Any] | None = None, /, **named_: Any) -> Self:
        """Add fields, or put others in their place: `$addFields`.

        Args:
            fields: expressions by the names of fields.
            named_: the same, as keywords.
        """
        return self._add("$addFields", named(fields, named_, "add_fields"))

    def set(self, fields: Mapping[str, Any] | None = None, /, **named_: Any) -> Self:
        """Add fields, as `add_fields` does: `$set`."""
        return self._add("$set", named(fields, named_, "set"))

    def unset(self, *fields: str | Field) -> Self:
        """Leave out fields: `$unset`."""
        return self._add("$unset", field_names(fields, "unset"))

    def project(
        self, fields: Mapping[str, Any] | Iterable[str] | None = None, /, **named_: Any
    ) -> Self:
        """Keep, leave out or compute fields: `$project`.

        Args:
            fields: a dict as for MongoDB, or names of fields to keep.
            named_: more of them, as keywords.
        """
        if isinstance(fields, str):
            raise QueryError(f"project: expected a dict or a list of names, got {fields!r}")
        if fields is not None and not isinstance(fields, Mapping):
            fields = dict.fromkeys(field_names(fields, "project"), True)
        return self._add("$project", named(fields, named_, "project"))

    def replace_root(self, new_root: Any) -> Self:
        """Put another document in the place of each: `$replaceRoot`."""
        return self._add("$replaceRoot", {"newRoot": expression(new_root, "replace_root")})

    def replace_with(self, replacement: Any) -> Self:
        """Put another document in the place of each: `$replaceWith`."""
        return self._add("$replaceWith", expression(replacement, "replace_with"))

    def redact(self, decision: Any) -> Self:
        """Leave out parts by an expression of `$$KEEP`, `$$PRUNE` and `$$DESCEND`: `$redact`."""
        return self._add("$redact", expression(decision, "redact"))

    def unwind(
        self,
        path: str | Field,
        *,
        include_array_index: str | None = None,
        preserve_null_and_empty_arrays: bool | None = None,
    ) -> Self:
        """Return a document for each item of a list: `$unwind`.

        Args:
            path: of the list.
            include_array_index: a field for the position of the item.
            preserve_null_and_empty_arrays: also documents without items.
        """
        content = options(
            path=reference(path, "unwind"),
            include_array_index=include_array_index,
            preserve_null_and_empty_arrays=preserve_null_and_empty_arrays,
        )
        return self._add("$unwind", content)
