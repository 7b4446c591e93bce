"""Where windows come from, and what becomes of them: queries, tables and DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...connection import connection_of, overrides
from ...errors import QueryError
from ..conditions import Filter, to_filter
from .moment_columns import Query, Roles
from .views import View
from .window_resampling import AwaitedResampling
from .zones import UTC, TimeZone

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from typing_extensions import Self

__all__ = ["AwaitedLoads", "Loads"]

W = TypeVar("W", bound="Loads")


class AwaitedLoads(AwaitedResampling, Generic[W]):
    """What loads windows of a class, and what a window asks the server, awaited."""

    __slots__ = ("_cls",)

    def __init__(self, cls: type[W], window: W | None) -> None:
        self._cls = cls
        self._window = window

    async def load(
        self,
        of: Any,
        filter: Filter = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> W:
        """Return the window of the moments that match; see `MomentWindow.load`."""
        place = f"{self._cls.__name__}.load"
        query = _asked(of, filter, projection, options, place)
        arrow, tables = _tables()
        table = await arrow.aio.table(of, filter, **query.options)
        columns = tables.columns_of_table(of, table, tzone, place, naive=UTC, query=query)
        return self._cls._of(columns)


class _Aio:
    def __get__(self, window: W | None, owner: type[W]) -> AwaitedLoads[W]:
        return AwaitedLoads(owner, window)


class Loads(View):
    """Loads windows, blocking, and makes tables of them."""

    __slots__ = ()

    #: The same, awaited: `await MomentWindow.aio.load(Price, Q.symbol == "ACME")`.
    aio = _Aio()

    @classmethod
    def load(
        cls,
        of: Any,
        filter: Filter = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> Self:
        """Return the window of the moments that match; awaited: `MomentWindow.aio.load(...)`.

        They are loaded as columns, in any order, and then sorted. Needs the extra `arrow`.

        Args:
            of: the class of the moments.
            filter: as for `many`; what it matches has one symbol.
            projection: names of fields, to load no more; the time, the symbol and since when it is
                known are loaded in any case.
            tzone: the zone in which times are shown, by default UTC.
            options: as for `loom.frames.arrow.table`: `schema`, `limit`, `hint`, `progress` ...

        Raises:
            QueryError: several symbols, or moments without a time; the message counts them.
            SchemaError: a field has no type, or a value does not fit it.
        """
        place = f"{cls.__name__}.load"
        query = _asked(of, filter, projection, options, place)
        arrow, tables = _tables()
        table = arrow.table(of, filter, **query.options)
        return cls._of(tables.columns_of_table(of, table, tzone, place, naive=UTC, query=query))

    @classmethod
    def from_table(cls, of: Any, table: Any, *, tzone: TimeZone | None = None) -> Self:
        """Return the window of the rows of a table of Arrow's, or of what gives a stream of it.

        Args:
            of: the class of the moments; columns have the names of its fields, further ones are
                kept.
            table: what has the rows, in any order.
            tzone: the zone in which times are shown, by default UTC. Naive ones are taken to show
                its clock, and refused without it.

        Raises:
            QueryError: several symbols, or rows without a time; the message counts them.
            SchemaError: there is no column for the time, or times are finer than milliseconds.
        """
        place = f"{cls.__name__}.from_table"
        return cls._of(_tables()[1].columns_of_table(of, table, tzone, place))

    @classmethod
    def from_dataframe(cls, of: Any, frame: Any, *, tzone: TimeZone | None = None) -> Self:
        """Return the window of the rows of a DataFrame of pandas or Polars.

        An index that has a name is a column like others. NaN stays NaN, NaT and NA are null.

        Args:
            of: as for `from_table`.
            frame: the DataFrame.
            tzone: as for `from_table`.

        Raises:
            QueryError: as for `from_table`.
            SchemaError: as for `from_table`.
        """
        place = f"{cls.__name__}.from_dataframe"
        tables = _tables()[1]
        table = tables.table_of_dataframe(of, frame, place)
        return cls._of(tables.columns_of_table(of, table, tzone, place))

    def to_table(self) -> Any:
        """Return a `pyarrow.Table`, its times in the zone of the window.

        Raises:
            SchemaError: Arrow has no type for the values of a field.
        """
        return _tables()[1].table_of(self)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame of pandas whose columns keep their Arrow types; see `to_table`."""
        found: pd.DataFrame = _tables()[1].dataframe_of(self)
        return found

    def to_polars(self) -> pl.DataFrame:
        """Return a DataFrame of Polars; see `to_table`."""
        found: pl.DataFrame = _tables()[1].polars_of(self)
        return found


def _asked(of: Any, filter: Any, projection: Any, options: dict[str, Any], place: str) -> Query:
    """Return what a load asks for, and of which database."""
    roles = Roles.of(of, place)
    if projection is not None:
        if isinstance(projection, (str, Mapping)) or not isinstance(projection, Iterable):
            raise QueryError(f"{place}: expected projection as names of fields, got {projection!r}")
        needed = [name for name in (roles.symbol, roles.time, roles.known) if name is not None]
        options = {"projection": [*dict.fromkeys([*needed, *map(str, projection)])], **options}
    override = overrides.get()
    using: dict[str, Any] = {"client": connection_of(of), "db": None}
    if override is not None:
        using["db"] = override.db
        using["client"] = using["client"] if override.client is None else override.client
    return Query(of, to_filter(filter), options, using)


def _tables() -> tuple[Any, Any]:
    """Return the modules that need the extra `arrow`."""
    from .. import arrow
    from . import window_tables

    return arrow, window_tables
