"""Where windows come from, and what becomes of them: queries, tables and DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ....errors import QueryError
from ...asked_options import check_find
from ...port import Port, awaited, blocking, complete
from ..calendar_frames import CalendarFrame
from ..known import Of
from ..resampling.aggregates import Aggregations
from ..resampling.local import Plan, plan_of
from ..resampling.on_server import Kind
from ..resampling.resampled import Resampled
from ..timeframe import TimeFrame
from ..zones import UTC, TimeZone, zone_of
from .asking import query_of
from .moment_columns import Query
from .resampling import CHOOSING, AwaitedResampling, of_query, reason_to_load, resample_here
from .views import View

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from typing_extensions import Self

__all__ = ["Loads"]

W = TypeVar("W", bound="Loads")

#: What numbers are of the types of columns that a server can compute with.
_KINDS: dict[str, Kind] = {"bool": "bool", "double": "float", "int64": "int"}


class AwaitedLoads(AwaitedResampling, Generic[W]):
    """What loads windows of a class, and what a window asks the server, awaited."""

    __slots__ = ("_cls",)

    def __init__(self, cls: type[W], window: W | None) -> None:
        self._cls = cls
        self._window = window

    async def load(
        self,
        of: Any,
        filter: Of = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> W:
        """Return the window of the moments that match; see `MomentWindow.load`."""
        query = query_of(of, filter, projection, options, _place(self._cls), start, end)
        return await _load(awaited(), self._cls, query, tzone)

    async def load_resampled(
        self,
        of: Any,
        filter: Of,
        kind: type[CalendarFrame],
        fields: Aggregations | None = None,
        /,
        *,
        tzone: TimeZone | None = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        week_start: int | str | None = None,
        year_start: int | None = None,
        ddof: int = 1,
        options: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Resampled:
        """Return what stored moments amount to; see `MomentWindow.load_resampled`."""
        plan = plan_of(
            f"{self._cls.__name__}.load_resampled", kind, fields, named, tzone=tzone, start=start,
            end=end, week_start=week_start, year_start=year_start, ddof=ddof,
        )  # fmt: skip
        return await _load_resampled(awaited(), self._cls, of, filter, options, plan)


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
        filter: Of = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> Self:
        """Return the window of the moments that match; awaited: `MomentWindow.aio.load(...)`.

        They are loaded as columns, in any order, and then sorted. Needs the extra `arrow`.

        Args:
            of: the class of the moments; or what is asked of it step by step,
                `Price.filter(...).limit(100)`, as far as a find does it.
            filter: a symbol, or a filter as for `many`; what it matches has one symbol.
            start: an aware datetime, from which on moments are loaded; or a time frame, which has
                both ends.
            end: an aware datetime, before which they are.
            projection: names of fields, to load no more; the time, the symbol and since when it is
                known are loaded in any case.
            tzone: the zone in which times are shown, by default UTC.
            options: as for `loom.frames.arrow.table`: `schema`, `limit`, `hint`, `progress` ...
                With `presence=True` the moments lack what the documents lack; else it is None.

        Raises:
            QueryError: several symbols, or moments without a time; the message counts them.
            SchemaError: a field has no type, or a value does not fit it.
            TimeFrameError: a datetime without a zone.
        """
        query = query_of(of, filter, projection, options, _place(cls), start, end)
        return complete(_load(blocking(), cls, query, tzone))

    @classmethod
    def load_resampled(
        cls,
        of: Any,
        filter: Of,
        kind: type[CalendarFrame],
        fields: Aggregations | None = None,
        /,
        *,
        tzone: TimeZone | None = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        week_start: int | str | None = None,
        year_start: int | None = None,
        ddof: int = 1,
        options: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Resampled:
        """Return what stored moments amount to, frame of the calendar by frame.

        It is `MomentWindow.load(of, filter).resample(...)` without the load: the server computes
        it. Only for what servers but estimate, percentiles, the fields are loaded. Awaited:
        `await MomentWindow.aio.load_resampled(...)`. Needs the extra `arrow`.

        Args:
            of: the class of the moments, or a directive, as for `load`.
            filter: as for `load`; None for all.
            kind, fields: as for `resample`, as is `price="ohlc"`.
            tzone: the zone whose calendar counts; by default UTC.
            start, end, week_start, year_start, ddof: as for `resample`.
            options: `session`, `comment`, `hint`, `collation` and others, as for `load`.

        Raises:
            FieldError: no such field.
            QueryError: as for `load` and `resample`.
            SchemaError: a field has no type, or a value does not fit it.
        """
        plan = plan_of(
            f"{cls.__name__}.load_resampled", kind, fields, named, tzone=tzone, start=start, end=end,
            week_start=week_start, year_start=year_start, ddof=ddof,
        )  # fmt: skip
        return complete(_load_resampled(blocking(), cls, of, filter, options, plan))

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
        tables = _tables()
        if type(table).__module__.partition(".")[0] == "pandas":
            # As a stream of Arrow's it would have null for NaN, and lose its index.
            table = _dataframes().table_of_dataframe(of, table, place)
        return cls._of(tables.columns_of_table(of, table, tzone, place))

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
        tables = _tables()
        table = _dataframes().table_of_dataframe(of, frame, place)
        return cls._of(tables.columns_of_table(of, table, tzone, place))

    def to_table(self) -> Any:
        """Return a `pyarrow.Table`, its times in the zone of the window.

        Arrow knows offsets of whole minutes: one with seconds is shown by that of its minute.

        Raises:
            SchemaError: Arrow has no type for the values of a field.
        """
        return _tables().table_of(self)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame of pandas whose columns keep their Arrow types; see `to_table`."""
        found: pd.DataFrame = _dataframes().dataframe_of(self)
        return found

    def to_polars(self) -> pl.DataFrame:
        """Return a DataFrame of Polars; see `to_table`."""
        found: pl.DataFrame = _dataframes().polars_of(self)
        return found


def _place(cls: type[Loads]) -> str:
    return f"{cls.__name__}.load"


async def _load(port: Port, cls: type[W], query: Query, tzone: TimeZone | None) -> W:
    """Return the window of the moments that a query finds."""
    tables = _tables()  # or the extra is missing
    from ...arrow.asking import Asked
    from ...arrow.reading import Reading

    if tzone is not None:
        tzone = zone_of(tzone, f"{_place(cls)}, tzone")  # before all is loaded
    asked = Asked.of(query.cls, query.filter or None, query.options)
    table = await Reading(port, asked, "table").table()
    columns = tables.columns_of_table(query.cls, table, tzone, _place(cls), naive=UTC, query=query)
    return cls._of(columns)


async def _load_resampled(
    port: Port,
    cls: type[Loads],
    of: Any,
    filter: Any,
    options: Mapping[str, Any] | None,
    plan: Plan,
) -> Resampled:
    """Return what stored moments amount to, loaded only where the server cannot compute it."""
    query, kinds, reason = _stored(port, of, filter, options, plan)
    if not reason:
        return await of_query(port, query, kinds, plan)
    narrowed = query_of(
        query.cls, query.filter, _needed(plan), {**query.options}, _place(cls), *_ends(query, plan)
    )
    return resample_here(await _load(port, cls, narrowed, None), plan, reason)


def _stored(
    port: Port, of: Any, filter: Any, options: Mapping[str, Any] | None, plan: Plan
) -> tuple[Query, dict[str, Kind], str]:
    """Return the query of moments, what their fields hold, and why they must be loaded, if so."""
    if not isinstance(options or {}, Mapping):
        raise QueryError(f"{plan.place}: expected options as a dict, got {options!r}")
    query = query_of(of, filter, None, dict(options or {}), plan.place)
    _tables()  # or the extra is missing
    from ...arrow.asking import Asked
    from ...arrow.schema import columns_for
    from ...arrow.sources import check_form

    of = query.cls
    query.options.pop("projection", None)  # type: ignore[attr-defined]  # the plan names fields
    asked = Asked.of(of, None, query.options)
    if asked.pipeline is None:  # else there will be a load, which says it
        check_find(of.__name__, dict(asked.options))
        check_form(asked)
    columns = columns_for(of, plan.fields, None) if plan.fields else ()
    types = {column.name: str(column.type) for column in columns}
    kinds: dict[str, Kind] = {
        field: _KINDS[type] for field, type in types.items() if type in _KINDS
    }
    return query, kinds, reason_to_load(port, query, plan, kinds)


def _ends(query: Query, plan: Plan) -> tuple[datetime | None, datetime | None]:
    """Return between which ends moments are loaded: of a limit, of all as it chooses them."""
    if any(query.options.get(name) is not None for name in CHOOSING):
        return None, None
    return plan.ends()


def _needed(plan: Plan) -> list[str]:
    """Return the fields to load: with the id, where it tells what is first of one time."""
    by_id = any(one.of in ("first", "last") for one in plan.wanted)
    return [*plan.fields, "_id"] if by_id else plan.fields


def _tables() -> Any:
    """Return the module that needs the extra `arrow`."""
    from . import tables as window_tables

    return window_tables


def _dataframes() -> Any:
    """Return the module that needs the extra `arrow`, and pandas or Polars."""
    from . import dataframes as window_dataframes

    return window_dataframes
