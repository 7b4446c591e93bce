"""Schemas from documents: `infer` looks at a sample of a collection."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ...errors import SchemaError
from .. import operations
from ..operations.aggregating import aggregate_for
from ..port import Port, awaited, blocking, complete
from .asking import Asked
from .checks import check_count
from .drift import Inferred
from .exact import decoded
from .raw_cursors import raw_aggregate, replies
from .schema import as_type, schema_of
from .sources import chain_of

if TYPE_CHECKING:
    from ..conditions import Filter
    from ..pipelines import Stages
    from .asking import Source

__all__ = ["Inferring", "infer"]


def infer(
    source: Source,
    filter: Filter = None,
    *,
    pipeline: Stages | None = None,
    sample: int | None = 10_000,
    types: Mapping[str, Any] | None = None,
    **options: Any,
) -> Inferred:
    """Return what a sample of documents holds; its `schema` is for the readers.

    Ints widen to int64 and to doubles, embedded documents and lists are merged, what is only null
    becomes a column of nulls. Asking for the schema raises where a column has values of types that
    nothing holds together.

    Args:
        source: a Frame class; or a directive, `Dragon.filter(...)`. The annotations are compared
            with what is found, unless rows are.
        filter: which documents, as for `many`.
        pipeline: stages whose results are looked at instead of documents.
        sample: how many documents are drawn by chance, None for all.
        types: what some columns are instead: a type of Arrow's, an annotation, or None to leave
            one out.
        options: for PyMongo's `aggregate`.

    Raises:
        QueryError: the sample is no number.
    """
    return complete(
        _asked(
            blocking(),
            Asked(source, filter, pipeline=pipeline, options=options),
            sample,
            types or {},
        )
    )


class Inferring:
    """The same, awaited."""

    async def infer(
        self,
        source: Source,
        filter: Filter = None,
        *,
        pipeline: Stages | None = None,
        sample: int | None = 10_000,
        types: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Inferred:
        """Return what a sample of documents holds; see `arrow.infer`."""
        return await _asked(
            awaited(),
            Asked(source, filter, pipeline=pipeline, options=options),
            sample,
            types or {},
        )


async def _asked(port: Port, asked: Asked, sample: Any, types: Mapping[str, Any]) -> Inferred:
    """Look at a sample, as one call in the query log."""
    infer = operations.wrapped("infer", _infer)
    found: Inferred = await infer(port, asked.cls, asked, sample, types)
    return found


async def _infer(
    port: Port, cls: Any, asked: Asked, sample: Any, types: Mapping[str, Any]
) -> Inferred:
    check_count(f"loom.frames.arrow.infer, {cls.__name__}", "a sample", sample, or_none=True)
    given = {
        name: None if of is None else as_type(f"{cls.__name__}.{name}", of)
        for name, of in types.items()
    }
    chain = chain_of(asked)
    # Behind a stage more the results are rows: whole documents, whatever the class declares.
    last: dict[str, Any] = {"$match": {}} if sample is None else {"$sample": {"size": sample}}
    command = aggregate_for(port, chain, dict(asked.options), last)
    drift = Inferred(cls.__name__, _declared(cls) if chain.is_whole() else {}, given)
    cursor = await raw_aggregate(port, cls, command.stages, command.options)
    async with aclosing(replies(port, cursor)) as batches:
        async for raw in batches:
            drift.note(decoded(raw))
    return drift


def _declared(cls: Any) -> dict[str, Any]:
    """Return the types of the annotations of a class that have one."""
    found = {}
    for name in ("_id", *cls._definition.annotations):
        others = dict.fromkeys({"_id", *cls._definition.ordered} - {name})
        try:
            found[name] = schema_of(cls, others).find(name)
        except SchemaError:
            continue
    return found
