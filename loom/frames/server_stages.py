"""Stages that follow changes, or tell of the server itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import QueryError
from .pipelines import Pipeline, expression, options

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ServerStages"]


class ServerStages(Pipeline):
    """The stages that follow changes, or tell of the server itself."""

    __slots__ = ()

    # Changes

    def change_stream(
        self,
        *,
        full_document: Literal["default", "required", "updateLookup", "whenAvailable"]
        | None = None,
        full_document_before_change: Literal["off", "required", "whenAvailable"] | None = None,
        resume_after: Mapping[str, Any] | None = None,
        start_after: Mapping[str, Any] | None = None,
        start_at_operation_time: Any = None,
        show_expanded_events: bool | None = None,
        all_changes_for_cluster: bool | None = None,
    ) -> Self:
        """Follow changes: `$changeStream`, which comes first. PyMongo's `watch` adds it by itself.

        Args:
            full_document: whether updates bring the document as it is now.
            full_document_before_change: whether changes bring the document as it was.
            resume_after: the token of the last change seen.
            start_after: the same, after an invalidate.
            start_at_operation_time: a BSON timestamp.
            show_expanded_events: also what is done to collections and indexes.
            all_changes_for_cluster: of all databases.
        """
        given = (resume_after, start_after, start_at_operation_time)
        if sum(value is not None for value in given) > 1:
            raise QueryError(
                "change_stream: expected one of resume_after, start_after and "
                "start_at_operation_time, got several"
            )
        content = options(
            full_document=full_document,
            full_document_before_change=full_document_before_change,
            resume_after=resume_after,
            start_after=start_after,
            start_at_operation_time=start_at_operation_time,
            show_expanded_events=show_expanded_events,
            all_changes_for_cluster=all_changes_for_cluster,
        )
        return self._add("$changeStream", expression(content, "change_stream"))

    def change_stream_split_large_event(self) -> Self:
        """Split changes of more than 16 MB: `$changeStreamSplitLargeEvent`, which comes last."""
        return self._add("$changeStreamSplitLargeEvent", {})

    # Statistics; each comes first

    def coll_stats(
        self,
        *,
        latency_stats: bool | Mapping[str, Any] = False,
        storage_stats: bool | Mapping[str, Any] = False,
        count: bool = False,
        query_exec_stats: bool = False,
    ) -> Self:
        """Return statistics of a collection: `$collStats`.

        Args:
            latency_stats: True, or `{"histograms": True}`.
            storage_stats: True, or `{"scale": 1024}`.
            count: of its documents.
            query_exec_stats: how often its queries scanned all of it.
        """
        given = {
            "latency_stats": latency_stats,
            "storage_stats": storage_stats,
            "count": count,
            "query_exec_stats": query_exec_stats,
        }
        asked = {name: {} if value is True else value for name, value in given.items()}
        chosen = {name: value for name, value in asked.items() if value is not False}
        return self._add("$collStats", options(**chosen))

    def index_stats(self) -> Self:
        """Return how often each index was used: `$indexStats`."""
        return self._add("$indexStats", {})

    def plan_cache_stats(self, *, all_hosts: bool | None = None) -> Self:
        """Return the cached query plans of a collection: `$planCacheStats`.

        Args:
            all_hosts: of each shard, of all its members.
        """
        return self._add("$planCacheStats", options(all_hosts=all_hosts))

    def list_search_indexes(self, *, id: str | None = None, name: str | None = None) -> Self:
        """Return the search indexes of a collection: `$listSearchIndexes`.

        Args:
            id: of one.
            name: of one.
        """
        if id is not None and name is not None:
            raise QueryError("list_search_indexes: expected id or name, got both")
        return self._add("$listSearchIndexes", options(id=id, name=name))

    def list_sampled_queries(self, *, namespace: str | None = None) -> Self:
        """Return the queries that were sampled to choose a shard key: `$listSampledQueries`.

        Args:
            namespace: `database.collection`; by default of all.
        """
        return self._add("$listSampledQueries", options(namespace=namespace))

    def query_settings(self, *, show_debug_query_shape: bool | None = None) -> Self:
        """Return the query settings of the deployment, on `admin`: `$querySettings`.

        Args:
            show_debug_query_shape: add the shape of each query.
        """
        content = options(show_debug_query_shape=show_debug_query_shape)
        return self._add("$querySettings", content)

    def query_stats(self, *, transform_identifiers: Mapping[str, Any] | None = None) -> Self:
        """Return statistics of the queries that were sent, on `admin`: `$queryStats`.

        Args:
            transform_identifiers: how to hide names of fields.
        """
        return self._add("$queryStats", options(transform_identifiers=transform_identifiers))

    def list_sessions(
        self, *, users: Iterable[Mapping[str, str]] | None = None, all_users: bool | None = None
    ) -> Self:
        """Return the sessions of `config.system.sessions`: `$listSessions`.

        Args:
            users: `[{"user": ..., "db": ...}]`; by default who asks.
            all_users: of all users.
        """
        return self._add("$listSessions", _users(users, all_users, "list_sessions"))

    def list_local_sessions(
        self, *, users: Iterable[Mapping[str, str]] | None = None, all_users: bool | None = None
    ) -> Self:
        """Return the sessions that a server has in memory, of a database: `$listLocalSessions`.

        Args:
            users: as for `list_sessions`.
            all_users: as for `list_sessions`.
        """
        return self._add("$listLocalSessions", _users(users, all_users, "list_local_sessions"))

    def list_cluster_catalog(
        self, *, shards: bool | None = None, balancing_configuration: bool | None = None
    ) -> Self:
        """Return the collections of a database with how they are sharded: `$listClusterCatalog`.

        Args:
            shards: add on which shards each is.
            balancing_configuration: add how each is balanced.
        """
        content = options(shards=shards, balancing_configuration=balancing_configuration)
        return self._add("$listClusterCatalog", content)

    def current_op(
        self,
        *,
        all_users: bool | None = None,
        idle_connections: bool | None = None,
        idle_cursors: bool | None = None,
        idle_sessions: bool | None = None,
        local_ops: bool | None = None,
        target_all_nodes: bool | None = None,
    ) -> Self:
        """Return what the server is doing, on `admin`: `$currentOp`.

        Args:
            all_users: of all users.
            idle_connections: also connections that wait.
            idle_cursors: also cursors that wait.
            idle_sessions: also sessions that wait in a transaction.
            local_ops: of a mongos itself.
            target_all_nodes: of all members of the shards.
        """
        content = options(
            all_users=all_users,
            idle_connections=idle_connections,
            idle_cursors=idle_cursors,
            idle_sessions=idle_sessions,
            local_ops=local_ops,
            target_all_nodes=target_all_nodes,
        )
        return self._add("$currentOp", content)

    def sharded_data_distribution(self) -> Self:
        """Return how documents are spread over the shards, on `admin`: `$shardedDataDistribution`."""
        return self._add("$shardedDataDistribution", {})


def _users(users: Any, all_users: bool | None, place: str) -> dict[str, Any]:
    if users is not None and all_users:
        raise QueryError(f"{place}: expected users or all_users, got both")
    return options(users=None if users is None else list(map(dict, users)), all_users=all_users)
