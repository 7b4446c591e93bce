"""The columns of a directive: read by its find, or by its aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import SchemaError
from ..commands import find_of
from ..operations.aggregating import aggregate_for, find_options
from ..port import Port
from .exact import OnMismatch
from .ids import Ids
from .reading import BATCH_ROWS, Reading
from .results import dataframe_of, polars_of
from .schema import columns_for

if TYPE_CHECKING:
    from ..chains import Chain
    from ..progress import Progress

__all__ = ["load_dataframe", "load_polars", "load_table"]


def _reading(
    port: Port,
    chain: Chain,
    *,
    schema: Any = None,
    on_mismatch: OnMismatch = "raise",
    ids: Ids = "extension",
    batch_rows: int = BATCH_ROWS,
    progress: Progress = False,
    **options: Any,
) -> Reading:
    cls = chain._cls
    filter: Any = None
    columns: Any = None
    stages: Any = None
    found = find_of(chain)
    if found is not None:
        filter, columns = found.filter, found.projection
        options = {**find_options(chain, options), **found.options}
    else:
        command = aggregate_for(port, chain, options)
        stages, options = command.stages, command.options
        if chain.is_whole():
            named = [step.content for step in chain._steps if step.name == "project"]
            if schema is None and not named and chain.added():
                raise SchemaError(
                    f"{cls.__name__}: expected the type of {chain.added()[0]!r}, which a step adds, "
                    "got no schema; name the columns with schema={...} or project(...)"
                )
            schema = columns_for(cls, named[0] if named else None, schema)
    return Reading(
        port, cls, filter, columns, schema, stages, on_mismatch, ids, batch_rows, progress, options
    )


async def load_table(port: Port, chain: Chain, options: dict[str, Any]) -> Any:
    """Return what a chain gives as a `pyarrow.Table`."""
    return await _reading(port, chain, **options).table()


async def load_dataframe(port: Port, chain: Chain, options: dict[str, Any]) -> Any:
    """Return what a chain gives as a DataFrame of pandas."""
    reading = _reading(port, chain, **options)
    return dataframe_of(reading, await reading.table())


async def load_polars(port: Port, chain: Chain, options: dict[str, Any]) -> Any:
    """Return what a chain gives as a DataFrame of Polars."""
    reading = _reading(port, chain, **options)
    return polars_of(reading, await reading.table())
