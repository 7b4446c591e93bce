"""Reading rows: values without frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import QueryError
from ..conditions import Field
from ..plans import Plan
from ..port import Documents, Port
from ..projections import plan_for
from ..rows import driver_of, field_names, made, maker_of
from .reading import Options, compiled_filter, query_options, shared_options

__all__ = ["rows"]


async def rows(
    port: Port, cls: Any, filter: Any, fields: Sequence[Any], row: Any, options: Options
) -> list[Any]:
    """Return a row for every document that matches."""
    if "projection" in options:
        raise QueryError(
            f"{cls.__name__}.rows: expected the names of fields, got projection=; rows hold the "
            "fields that are named after the filter"
        )
    if isinstance(filter, (str, Field)):
        raise QueryError(
            f"{cls.__name__}.rows: expected a filter before the fields, got {filter!r}; for all "
            f"documents write {cls.__name__}.rows(None, {str(filter)!r})"
        )
    names = field_names(cls, fields)
    make = maker_of(cls, names, row)
    query = compiled_filter(port, cls, filter)
    options = query_options(cls, query, options)
    plan = plan_for(cls, dict.fromkeys(names, True))
    with port.pause(options.get("limit")):
        if plan.upgrades:
            documents = await _upgraded(port, plan, query, names, options)
        else:
            documents = await port.find(cls, query, driver_of(names), options)
        return made(make, documents)


async def _upgraded(
    port: Port, plan: Plan, query: dict[str, Any], names: Sequence[str], options: Options
) -> Documents:
    """Return documents that hold the named fields as their class has them today."""
    from ..upgrading import brought  # when a class has older documents

    documents = await port.find(plan.frame_class, query, plan.driver, options)
    documents = await brought(port, plan, documents, shared_options(options))
    roots = {name.partition(".")[0] for name in names}
    for document in documents:
        for name in document.keys() - roots:
            del document[name]  # what tells which form the document has, and whose it is
    return documents
