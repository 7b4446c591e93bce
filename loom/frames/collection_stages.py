"""Stages of several pipelines or collections: joins, unions, and what writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import QueryError
from .conditions import Field, Filter, to_filter
from .pipelines import (
    Pipeline,
    Stages,
    collection_of,
    expression,
    key_of,
    new_path,
    one_of,
    options,
    path_of,
    positive,
    stages_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from .frame import Frame

__all__ = ["CollectionStages", "lookup_of"]


class CollectionStages(Pipeline):
    """The stages of several pipelines or collections."""

    __slots__ = ()

    def facet(self, pipelines: Mapping[str, Stages] | None = None, /, **named_: Stages) -> Self:
        """Return the results of several pipelines, each in its field: `$facet`."""
        given = {**(pipelines or {}), **named_}
        if not given:
            raise QueryError("facet: expected at least one pipeline, got none")
        parts = {
            key_of(name, "facet"): stages_of(part, f"facet.{name}") for name, part in given.items()
        }
        return self._add("$facet", parts)

    def lookup(
        self,
        from_: type[Frame] | str | None,
        local_field: str | Field | None = None,
        foreign_field: str | Field | None = None,
        *,
        as_: str,
        pipeline: Stages | None = None,
        let: Mapping[str, Any] | None = None,
    ) -> Self:
        """Add a list of the documents of another collection that belong to each: `$lookup`.

        Args:
            from_: a Frame class or the name of a collection; None for a pipeline that begins
                with `$documents`.
            local_field: what is compared here.
            foreign_field: what is compared there, `_id` if not given.
            as_: the field for the list.
            pipeline: what is done there.
            let: variables for the pipeline, by name; there they are `$$name`.
        """
        return self._add(
            "$lookup", lookup_of(from_, local_field, foreign_field, as_, pipeline, let)
        )

    def graph_lookup(
        self,
        from_: type[Frame] | str,
        *,
        start_with: Any,
        connect_from_field: str | Field,
        connect_to_field: str | Field,
        as_: str,
        max_depth: int | None = None,
        depth_field: str | None = None,
        restrict_search_with_match: Filter = None,
    ) -> Self:
        """Add a list of what is reached by following a field again and again: `$graphLookup`.

        Args:
            from_: a Frame class or the name of a collection.
            start_with: an expression of the first value.
            connect_from_field: leads on from a document that was found.
            connect_to_field: is compared with it.
            as_: the field for the list.
            max_depth: how many steps to go on behind the first one.
            depth_field: a field for the number of steps, in what was found.
            restrict_search_with_match: what all that is found must meet.
        """
        place = "graph_lookup"
        content = {"from": collection_of(from_, f"{place}.from_")} | options(
            start_with=expression(start_with, f"{place}.start_with"),
            connect_from_field=path_of(connect_from_field, f"{place}.connect_from_field"),
            connect_to_field=path_of(connect_to_field, f"{place}.connect_to_field"),
            as_=new_path(as_, f"{place}.as_"),
            max_depth=None
            if max_depth is None
            else positive(max_depth, f"{place}.max_depth", least=0),
            depth_field=depth_field,
            restrict_search_with_match=to_filter(restrict_search_with_match) or None,
        )
        return self._add("$graphLookup", content)

    def union_with(
        self, collection: type[Frame] | str | None, pipeline: Stages | None = None
    ) -> Self:
        """Add the documents of another collection behind these: `$unionWith`.

        Args:
            collection: a Frame class or a name; None for a pipeline that begins with `$documents`.
            pipeline: what is done there.
        """
        if collection is None and pipeline is None:
            raise QueryError("union_with: expected a collection or a pipeline, got neither")
        content = options(
            coll=None if collection is None else collection_of(collection, "union_with"),
            pipeline=None if pipeline is None else stages_of(pipeline, "union_with.pipeline"),
        )
        return self._add("$unionWith", content)

    def documents(self, documents: Any) -> Self:
        """Begin with documents that are given here, on a database: `$documents`."""
        return self._add("$documents", expression(documents, "documents"))

    # Writing

    def out(
        self,
        collection: type[Frame] | str,
        *,
        db: str | None = None,
        timeseries: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write the result in place of a collection: `$out`, which comes last.

        Args:
            collection: a Frame class or a name; all that it holds is replaced.
            db: another database.
            timeseries: options of a time series to make.
        """
        name = collection_of(collection, "out")
        if timeseries is not None and db is None:
            raise QueryError("out: expected db= with timeseries=, got none")
        if db is None:
            return self._add("$out", name)
        return self._add("$out", {"db": db, "coll": name} | options(timeseries=timeseries))

    def merge(
        self,
        into: type[Frame] | str,
        *,
        db: str | None = None,
        on: str | Sequence[str] | None = None,
        let: Mapping[str, Any] | None = None,
        when_matched: Literal["replace", "keepExisting", "merge", "fail"] | Stages | None = None,
        when_not_matched: Literal["insert", "discard", "fail"] | None = None,
    ) -> Self:
        """Write the result into a collection: `$merge`, which comes last.

        Args:
            into: a Frame class or a name.
            db: another database.
            on: fields with a unique index that tell what belongs together, `_id` if not given.
            let: variables for the pipeline.
            when_matched: what happens to a document that is there; a pipeline changes it.
            when_not_matched: what happens when there is none.
        """
        name = collection_of(into, "merge")
        if isinstance(when_matched, str):
            choices = ("replace", "keepExisting", "merge", "fail")
            one_of(when_matched, choices, "merge.when_matched")
        elif when_matched is not None:
            when_matched = stages_of(when_matched, "merge.when_matched")
        if when_not_matched is not None:
            one_of(when_not_matched, ("insert", "discard", "fail"), "merge.when_not_matched")
        content = options(
            into=name if db is None else {"db": db, "coll": name},
            on=on if on is None or isinstance(on, str) else list(on),
            let=None if let is None else expression(let, "merge.let"),
            when_matched=when_matched,
            when_not_matched=when_not_matched,
        )
        return self._add("$merge", content)


def lookup_of(
    from_: Any, local_field: Any, foreign_field: Any, as_: Any, pipeline: Any, let: Any
) -> dict[str, Any]:
    """Return the content of a `$lookup`."""
    if local_field is None and (pipeline is None or foreign_field is not None):
        raise QueryError("lookup: expected local_field or a pipeline, got neither")
    if let is not None and pipeline is None:
        raise QueryError("lookup: expected a pipeline that uses let, got none")
    joined = None if local_field is None else path_of(local_field, "lookup.local_field")
    there = None if joined is None else path_of(foreign_field or "_id", "lookup.foreign_field")
    content = {} if from_ is None else {"from": collection_of(from_, "lookup.from_")}
    return content | options(
        local_field=joined,
        foreign_field=there,
        let=None if let is None else expression(let, "lookup.let"),
        pipeline=None if pipeline is None else stages_of(pipeline, "lookup.pipeline"),
        as_=new_path(as_, "lookup.as_"),
    )
