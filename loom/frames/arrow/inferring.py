"""Schemas from documents: `infer` looks at a sample of a collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import QueryError, SchemaError
from ..conditions import Filter
from ..operations.reading import Options
from ..port import Port, awaited, blocking, complete
from .drift import Inferred
from .exact import decoded
from .reading import raw_aggregate, stages_of
from .schema import as_type, schema_of

if TYPE_CHECKING:
    from ..frame import Frame

__all__ = ["Inferring", "infer"]


def infer(
    cls: type[Frame],
    filter: Filter = None,
    *,
    sample: int | None = 10_000,
    types: Mapping[str, Any] | None = None,
    **options: Any,
) -> Inferred:
    """Return what a sample of documents holds; its `schema` is for the readers.

    Ints widen to int64 and to doubles, embedded documents and lists are merged, what is only null
    becomes a column of nulls. Asking for the schema raises where a column has values of types that
    nothing holds together.

    Args:
        cls: a Frame class; its annotations are compared with what is found.
        filter: which documents, as for `many`.
        sample: how many documents are drawn by chance, None for all.
        types: what some columns are instead: a type of Arrow's, an annotation, or None to leave
            one out.
        options: for PyMongo's `aggregate`.

    Raises:
        QueryError: the sample is no number.
    """
    return complete(_infer(blocking(), cls, filter, sample, types or {}, options))


class Inferring:
    """The same, awaited."""

    async def infer(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        sample: int | None = 10_000,
        types: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Inferred:
        """Return what a sample of documents holds; see `arrow.infer`."""
        return await _infer(awaited(), cls, filter, sample, types or {}, options)


async def _infer(
    port: Port,
    cls: Any,
    filter: Any,
    sample: Any,
    types: Mapping[str, Any],
    options: Options,
) -> Inferred:
    if not isinstance(cls, type) or getattr(cls, "_is_frame", False) is not True:
        raise QueryError(f"loom.frames.arrow: expected a Frame class, got {cls!r}")
    place = f"loom.frames.arrow.infer, {cls.__name__}"
    if sample is not None and (
        not isinstance(sample, int) or isinstance(sample, bool) or sample < 1
    ):
        raise QueryError(f"{place}: expected a sample of at least 1, or None, got {sample!r}")
    given = {
        name: None if of is None else as_type(f"{cls.__name__}.{name}", of)
        for name, of in types.items()
    }
    stages: list[dict[str, Any]] = [{"$match": filter}] if filter is not None else []
    if sample is not None:
        stages.append({"$sample": {"size": sample}})
    drift = Inferred(cls.__name__, _declared(cls), given)
    cursor = await raw_aggregate(port, cls, stages_of(port, cls, stages, place), options)
    batches = port.batches(cursor, 1)
    try:
        async for parts in batches:
            raw: Any = parts.pop()
            drift.note(decoded(raw))
    finally:
        await batches.aclose()
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
