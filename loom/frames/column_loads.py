"""The methods of directives that load columns, which need the extra `arrow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chains import Chain
from .port import awaited, blocking, complete

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["AwaitedColumnLoads", "ColumnLoads"]


class ColumnLoads(Chain):
    """Loads columns; blocking."""

    __slots__ = ()

    def load_table(self, **options: Any) -> Any:
        """Return all results as a `pyarrow.Table`.

        Of whole documents the annotations say the types; rows, and what `add_fields` adds, need
        `schema=`. Needs `pip install 'loom-frames[arrow]'`.

        Args:
            options: `schema`, `on_mismatch`, `ids`, `batch_rows` and `progress` as for
                `loom.frames.arrow.table`, and those of `load_many`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from .arrow import chained  # with the extra

        return complete(chained.load_table(blocking(), self, options))

    def load_dataframe(self, **options: Any) -> pd.DataFrame:
        """Return all results as a DataFrame of pandas, whose columns keep their Arrow types.

        Needs `pip install 'loom-frames[pandas]'`.

        Args:
            options: as for `load_table`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from .arrow import chained

        found: pd.DataFrame = complete(chained.load_dataframe(blocking(), self, options))
        return found

    def load_polars(self, **options: Any) -> pl.DataFrame:
        """Return all results as a DataFrame of Polars.

        Needs `pip install 'loom-frames[polars]'`.

        Args:
            options: as for `load_table`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from .arrow import chained

        found: pl.DataFrame = complete(chained.load_polars(blocking(), self, options))
        return found


class AwaitedColumnLoads(Chain):
    """Loads columns; awaited."""

    __slots__ = ()

    async def load_table(self, **options: Any) -> Any:
        """Return all results as a `pyarrow.Table`; see `Directive.load_table`."""
        from .arrow import chained

        return await chained.load_table(awaited(), self, options)

    async def load_dataframe(self, **options: Any) -> pd.DataFrame:
        """Return all results as a DataFrame of pandas; see `Directive.load_dataframe`."""
        from .arrow import chained

        found: pd.DataFrame = await chained.load_dataframe(awaited(), self, options)
        return found

    async def load_polars(self, **options: Any) -> pl.DataFrame:
        """Return all results as a DataFrame of Polars; see `Directive.load_polars`."""
        from .arrow import chained

        found: pl.DataFrame = await chained.load_polars(awaited(), self, options)
        return found
