"""Stages that search, by text, by vectors, by several ways at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import QueryError
from .conditions import Filter, to_filter
from .pipelines import (
    Pipeline,
    Stages,
    expression,
    key_of,
    one_of,
    options,
    path_of,
    positive,
    stages_of,
)
from .values import plain

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SearchStages"]

Normalization = Literal["none", "sigmoid", "minMaxScaler"]
_NORMALIZATIONS = ("none", "sigmoid", "minMaxScaler")


class SearchStages(Pipeline):
    """The stages that search."""

    __slots__ = ()

    def search(
        self,
        operator: Mapping[str, Any],
        *,
        index: str | None = None,
        highlight: Mapping[str, Any] | None = None,
        concurrent: bool | None = None,
        count: Mapping[str, Any] | None = None,
        search_after: str | None = None,
        search_before: str | None = None,
        score_details: bool | None = None,
        sort: Mapping[str, Any] | None = None,
        return_stored_source: bool | None = None,
        return_scope: Mapping[str, Any] | None = None,
        tracking: Mapping[str, Any] | None = None,
    ) -> Self:
        """Search by an index of Atlas Search: `$search`, which comes first.

        Args:
            operator: one operator or collector, `{"text": {"query": ..., "path": ...}}`.
            index: its name, `"default"` if not given.
            highlight: where to show what was found.
            concurrent: search the segments of the index at once.
            count: how to count what is found.
            search_after: the token of a result to go on behind.
            search_before: the token of a result to go back from.
            score_details: keep how the score was made.
            sort: by stored fields, instead of by score.
            return_stored_source: return what the index stores, not the documents.
            return_scope: the path of embedded documents to return.
            tracking: the search terms to track.
        """
        more = options(
            index=index,
            highlight=highlight,
            concurrent=concurrent,
            count=count,
            search_after=search_after,
            search_before=search_before,
            score_details=score_details,
            sort=sort,
            return_stored_source=return_stored_source,
            return_scope=return_scope,
            tracking=tracking,
        )
        return self._add("$search", _searching(operator, more, "search"))

    def search_meta(
        self,
        operator: Mapping[str, Any],
        *,
        index: str | None = None,
        count: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return what is known of a search, not its results: `$searchMeta`, which comes first.

        Args:
            operator: as for `search`.
            index: as for `search`.
            count: as for `search`.
        """
        more = options(index=index, count=count)
        return self._add("$searchMeta", _searching(operator, more, "search_meta"))

    def vector_search(
        self,
        *,
        index: str,
        path: str,
        limit: int,
        query_vector: Iterable[float] | Any = None,
        query: Any = None,
        num_candidates: int | None = None,
        exact: bool | None = None,
        filter: Filter = None,
        model: str | None = None,
    ) -> Self:
        """Find the nearest vectors: `$vectorSearch`, which comes first.

        Args:
            index: its name.
            path: of the field that is indexed.
            limit: how many documents to return.
            query_vector: numbers, or a BSON vector.
            query: text or media to make the vector of, for an index that embeds by itself.
            num_candidates: how many neighbours to look at, unless `exact`.
            exact: compare with all vectors.
            filter: on fields that the index covers.
            model: the model that embeds `query`.
        """
        place = "vector_search"
        if (query_vector is None) == (query is None):
            raise QueryError(f"{place}: expected query_vector or query, and not both")
        if (num_candidates is None) == (not exact):
            raise QueryError(f"{place}: expected num_candidates or exact=True, and not both")
        if query_vector is not None and not isinstance(query_vector, bytes):
            query_vector = list(query_vector)
        content = options(
            index=index,
            path=path_of(path, f"{place}.path"),
            query_vector=query_vector,
            query=query,
            num_candidates=num_candidates,
            exact=exact,
            limit=positive(limit, f"{place}.limit"),
            filter=to_filter(filter) or None,
            model=model,
        )
        if num_candidates is not None and num_candidates < limit:
            raise QueryError(
                f"{place}.num_candidates: expected no less than limit ({limit}), got "
                f"{num_candidates!r}"
            )
        return self._add("$vectorSearch", content)

    def rank_fusion(
        self,
        pipelines: Mapping[str, Stages],
        *,
        weights: Mapping[str, float] | None = None,
        score_details: bool | None = None,
    ) -> Self:
        """Join the results of several pipelines by their ranks: `$rankFusion`, which comes first.

        Args:
            pipelines: by name.
            weights: of the ranks, by name; 1 if not given.
            score_details: keep how the score was made.
        """
        content: dict[str, Any] = {"input": {"pipelines": _inputs(pipelines, "rank_fusion")}}
        if weights is not None:
            content["combination"] = {"weights": _weights(weights, pipelines, "rank_fusion")}
        return self._add("$rankFusion", content | options(score_details=score_details))

    def score_fusion(
        self,
        pipelines: Mapping[str, Stages],
        *,
        normalization: Normalization = "none",
        weights: Mapping[str, float] | None = None,
        combine: Any = None,
        score_details: bool | None = None,
    ) -> Self:
        """Join the results of several pipelines by their scores: `$scoreFusion`, which comes first.

        Args:
            pipelines: by name.
            normalization: of the scores, before they are combined.
            weights: of the scores, by name; 1 if not given.
            combine: an expression of the score, in which `$$name` is that of a pipeline; by
                default the average.
            score_details: keep how the score was made.
        """
        place = "score_fusion"
        combination: dict[str, Any] = {}
        if weights is not None:
            combination["weights"] = _weights(weights, pipelines, place)
        if combine is not None:
            combination["method"] = "expression"
            combination["expression"] = expression(combine, f"{place}.combine")
        content = {
            "input": {
                "pipelines": _inputs(pipelines, place),
                "normalization": one_of(normalization, _NORMALIZATIONS, f"{place}.normalization"),
            }
        }
        more = options(combination=combination or None, score_details=score_details)
        return self._add("$scoreFusion", content | more)

    def score(
        self,
        score: Any,
        *,
        normalization: Normalization | None = None,
        weight: float | None = None,
        score_details: bool | None = None,
    ) -> Self:
        """Compute a score and keep it beside each document: `$score`.

        Args:
            score: an expression.
            normalization: of the score.
            weight: a factor, after that.
            score_details: keep how the score was made.
        """
        if normalization is not None:
            one_of(normalization, _NORMALIZATIONS, "score.normalization")
        more = options(normalization=normalization, weight=weight, score_details=score_details)
        return self._add("$score", {"score": expression(score, "score"), **more})


def _searching(operator: Any, more: dict[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(operator, Mapping) or len(operator) != 1:
        raise QueryError(
            f"{place}: expected one operator, {{'text': {{'query': ..., 'path': ...}}}}, got "
            f"{operator!r}"
        )
    # No expressions: text in a search is looked for, whatever it begins with.
    return {**plain(more, place), **plain(operator, place)}


def _inputs(pipelines: Any, place: str) -> dict[str, Any]:
    if not isinstance(pipelines, Mapping) or not pipelines:
        raise QueryError(f"{place}: expected pipelines by their names, got {pipelines!r}")
    return {
        key_of(name, place): stages_of(part, f"{place}.{name}") for name, part in pipelines.items()
    }


def _weights(
    weights: Mapping[str, float], pipelines: Mapping[str, Any], place: str
) -> dict[str, float]:
    for name in weights:
        one_of(name, pipelines, f"{place}.weights")
    return dict(weights)
