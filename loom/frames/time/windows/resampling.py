"""Windows by the frames of the calendar: computed by the server that a window came from, or here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from ....connection import using
from ....errors import QueryError
from ... import operations
from ...collations import add_collation, is_collated
from ...operations.reading import compiled_filter
from ...port import Port, awaited, blocking, complete
from ..arrays import np
from ..calendar_frames import CalendarFrame
from ..resampling.aggregates import Aggregations
from ..resampling.local import Plan, plan_of, resampled
from ..resampling.on_server import Kind, Moments, on_server, reason_for_local
from ..resampling.resampled import Resampled
from ..timeframe import TimeFrame
from ..zones import TimeZone
from .moment_columns import Query, Roles
from .views import View

__all__ = [
    "CHOOSING",
    "AwaitedResampling",
    "On",
    "Resampling",
    "of_query",
    "reason_to_load",
    "resample_here",
]

#: Where to compute.
On: TypeAlias = Literal["local", "server"]

#: What numbers of an array are.
_KINDS: dict[str, Kind] = {"b": "bool", "f": "float", "i": "int", "u": "int"}
#: Options of a load that an aggregate takes too.
_SHARED = ("collation", "comment", "hint", "let", "session")
_NAMES = {"allow_disk_use": "allowDiskUse", "max_time_ms": "maxTimeMS"}
#: Options after which a server would see other moments than the window has.
CHOOSING = ("limit", "skip", "pipeline", "min", "max")


class AwaitedResampling:
    """Windows by the frames of the calendar, awaited."""

    __slots__ = ("_window",)
    _window: Any

    async def resample(
        self,
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
        on: On | None = None,
        **named: Any,
    ) -> Resampled:
        """Return what the moments of a window amount to; see `MomentWindow.resample`.

        Raises:
            QueryError: as there, and the class was asked: `await window.aio.resample(...)`.
        """
        if self._window is None:
            raise QueryError("aio.resample: expected a window, got its class; write window.aio")
        plan = _plan(
            self._window, kind, fields, named, tzone=tzone, start=start, end=end,
            week_start=week_start, year_start=year_start, ddof=ddof,
        )  # fmt: skip
        return await _of_window(awaited(), self._window, plan, on)


class Resampling(View):
    """Windows by the frames of the calendar, blocking."""

    __slots__ = ()

    def resample(
        self,
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
        on: On | None = None,
        **named: Any,
    ) -> Resampled:
        """Return what the moments amount to, frame of the calendar by frame.

        A window that was loaded by a query is computed by the server, of what is stored now: two
        short queries for the ends, unless `start` and `end` are given, and one aggregate. Other
        windows are computed here, and so is what servers only estimate; the result has `source`
        and `reason`. Both give the same, but for the last digits of sums, means and deviations of
        floats. Which of several values of one time, known at one time, is first or last is told by
        `_id`; here by the order of the window, which is the same unless it was loaded without its
        `_id`, or with one that is neither an ObjectId nor an integer.

        Awaited: `await window.aio.resample(...)`.

        Args:
            kind: `HourlyFrame`, `DailyFrame`, `WeeklyFrame`, `MonthlyFrame`, `QuarterlyFrame` or
                `YearlyFrame`.
            fields: what of which field, `{"price": ["first", "last"], "volume": "sum"}`; or by
                name: `price="ohlc"`. The aggregations are `count`, `first`, `last`, `min`, `max`,
                `sum`, `mean`, `std`, `median`, percentiles as `p95`; `open`, `high`, `low` and
                `close`, and `ohlc` for these four. First and last are by time, of the values that
                count.
            tzone: the zone whose calendar counts; by default that of the window.
            start, end: over which time there are frames, whole ones, with `end` left out; by
                default from the first moment to the last. A time frame as `start` has both ends.
                Moments in other frames do not count.
            week_start, year_start: as for `WeeklyFrame.create` and `YearlyFrame.create`.
            ddof: what a standard deviation subtracts from the number of values.
            on: `"local"` computes here, of what was loaded; `"server"` refuses to.

        Raises:
            FieldError: no such field.
            QueryError: no such aggregation, what is no number, a sum that does not fit 64 bits, or
                `on="server"` for what a server cannot do.
            SchemaError: a value on the server is none of its field's type.
            TimeFrameError: no zone, or naive datetimes.

        >>> from loom.frames.time import DailyFrame, Moment, MomentWindow
        >>> class Price(Moment):
        ...     amount: float
        >>> noon = datetime.fromisoformat("2024-03-10T12:00+00:00")
        >>> window = MomentWindow([Price(symbol="ACME", time=noon, amount=9.5)])
        >>> window.resample(DailyFrame, amount=["first", "mean"])
        Resampled(1 DailyFrame, 2024-03-10, n=1: amount_first, amount_mean)
        """
        plan = _plan(
            self, kind, fields, named, tzone=tzone, start=start, end=end,
            week_start=week_start, year_start=year_start, ddof=ddof,
        )  # fmt: skip
        return complete(_of_window(blocking(), self, plan, on))


def _plan(
    window: Any, kind: Any, fields: Any, named: Any, *, tzone: TimeZone | None, **how: Any
) -> Plan:
    place = f"{type(window).__name__}.resample"
    return plan_of(place, kind, fields, named, tzone=tzone, zone=window.tzone, **how)


def reason_to_load(port: Port, query: Query, plan: Plan, kinds: Mapping[str, Kind]) -> str:
    """Return why the moments of a query have to be loaded, empty if the server can do it."""
    return _reason(port, query, plan, [field for field in plan.fields if field not in kinds])


async def _of_window(port: Port, window: View, plan: Plan, on: Any) -> Resampled:
    if on not in (None, "local", "server"):
        raise QueryError(f"{plan.place}: expected on= 'local' or 'server', got {on!r}")
    columns = {field: window.values(field) for field in plan.fields}
    reason = ""
    query = window.query
    if on != "local":
        others = [f for f, column in columns.items() if column.dtype.kind not in _KINDS]
        reason = _reason(port, query, plan, others)
        if not reason:
            assert query is not None  # or there would be a reason
            kinds: dict[str, Kind] = {
                field: _KINDS[column.dtype.kind] for field, column in columns.items()
            }
            # The session of the load may have ended, or be of the other runtime.
            kept = {name: v for name, v in query.options.items() if name != "session"}
            query = query._replace(options=kept)
            with using(**query.using):
                return await of_query(port, query, kinds, plan)
        if on == "server":
            raise QueryError(f"{plan.place}: expected what a server can do, got {reason}")
    return resample_here(window, plan, "" if query is None else reason)


def resample_here(window: View, plan: Plan, reason: str) -> Resampled:
    """Return what the moments of a window amount to, and say why it is computed here."""
    columns = {field: window.values(field) for field in plan.fields}
    found = resampled(plan, window.times.view(np.int64), columns, size=1000)
    return found._replace(reason=reason)


def _reason(port: Port, query: Query | None, plan: Plan, others: list[str]) -> str:
    """Return why this cannot be done on the server, empty if it can.

    Args:
        port: blocking or awaited.
        query: what the moments come from.
        plan: what is asked for.
        others: fields whose values are no numbers of 64 bits.
    """
    if query is None:
        return (
            "a window that came from no query, holds what was known at an instant, or is a part that "
            "no range of time tells"
        )
    for name in CHOOSING:
        if query.options.get(name):
            return f"a window that was loaded with {name}="
    if others:
        return f"{others[0]}: values that are no numbers of 64 bits"
    if _is_collated(port, query):
        return "a collation, under which servers may take several symbols for one"
    return reason_for_local(plan)


def _is_collated(port: Port, query: Query) -> bool:
    """Tell whether a collation, of the call or of an index, would also compare symbols."""
    cls, options = query.cls, {**query.options}
    if cls._symbol_field is None:
        return False
    if is_collated(cls):
        with using(**query.using):
            add_collation(cls, compiled_filter(port, cls, query.filter), options)
    return options.get("collation") is not None


async def of_query(port: Port, query: Query, kinds: Mapping[str, Kind], plan: Plan) -> Resampled:
    """Return what the moments of a query amount to, computed by the server."""
    roles = Roles.of(query.cls, plan.place)
    compiled = compiled_filter(port, query.cls, query.filter)
    options = {
        _NAMES.get(name, name): value
        for name, value in query.options.items()
        if value is not None and name in (*_SHARED, *_NAMES)
    }
    if isinstance(options.get("hint"), list):
        options["hint"] = dict(options["hint"])  # PyMongo's aggregate sends it as it is
    if "collation" not in query.options:  # one that is None is no collation
        add_collation(query.cls, compiled, options)
    lenient = query.options.get("on_mismatch", "raise") != "raise"
    moments = Moments(
        query.cls, compiled, options, roles.time, roles.symbol, roles.known, kinds, lenient
    )
    name = plan.place.rpartition(".")[2]
    found: Resampled = await operations.wrapped(name, _computed)(port, query.cls, moments, plan)
    return found


async def _computed(port: Port, cls: Any, moments: Moments, plan: Plan) -> Resampled:
    return await on_server(port, moments, plan)
