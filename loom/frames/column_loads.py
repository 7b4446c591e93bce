"""The methods of directives that load columns, which need the extra `arrow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chains import Chain

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from typing_extensions import Unpack

    from .arrow.asking import ReadOptions

__all__ = ["AwaitedColumnLoads", "ColumnLoads"]


class ColumnLoads(Chain):
    """Loads columns; blocking."""

    __slots__ = ()

    def load_table(self, **options: Unpack[ReadOptions]) -> Any:
        """Return all results as a `pyarrow.Table`.

        Of whole documents the annotations say the types; rows, and what `add_fields` adds, need
        `schema=`. Needs `pip install 'loom-frames[arrow]'`.

        Args:
            options: as for `loom.frames.arrow.table`, and those of `load_many`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from . import arrow  # with the extra

        return arrow.table(self, **options)

    def load_dataframe(self, **options: Unpack[ReadOptions]) -> pd.DataFrame:
        """Return all results as a DataFrame of pandas, whose columns keep their Arrow types.

        Needs `pip install 'loom-frames[pandas]'`.

        Args:
            options: as for `load_table`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from . import arrow

        return arrow.dataframe(self, **options)

    def load_polars(self, **options: Unpack[ReadOptions]) -> pl.DataFrame:
        """Return all results as a DataFrame of Polars.

        Needs `pip install 'loom-frames[polars]'`.

        Args:
            options: as for `load_table`.

        Raises:
            SchemaError: a column has no type, or a value does not fit its column.
        """
        from . import arrow

        return arrow.polars(self, **options)


class AwaitedColumnLoads(Chain):
    """Loads columns; awaited."""

    __slots__ = ()

    async def load_table(self, **options: Unpack[ReadOptions]) -> Any:
        """Return all results as a `pyarrow.Table`; see `Directive.load_table`."""
        from . import arrow

        return await arrow.aio.table(self, **options)

    async def load_dataframe(self, **options: Unpack[ReadOptions]) -> pd.DataFrame:
        """Return all results as a DataFrame of pandas; see `Directive.load_dataframe`."""
        from . import arrow

        return await arrow.aio.dataframe(self, **options)

    async def load_polars(self, **options: Unpack[ReadOptions]) -> pl.DataFrame:
        """Return all results as a DataFrame of Polars; see `Directive.load_polars`."""
        from . import arrow

        return await arrow.aio.polars(self, **options)
