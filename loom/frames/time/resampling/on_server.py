"""Resampling on the server: one `$group`, whose keys are the floors of Loom's own frames.

`$dateTrunc` would be shorter, and wrong here and there: it makes one hour of the two that an autumn
night repeats, knows neither fiscal years nor the frames around a change of half an hour, and reads
the server's tz database, which may be of another year than Python's. So the server is told where
frames begin, and needs no zone: between two changes of the clock all days have one length, and the
floor of a moment is a remainder.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

from ....errors import QueryError, SchemaError
from ...port import Port
from ..arrays import Array, np
from ..calendar_frames import CalendarFrame
from ..ranges import in_range
from ..zones import EPOCH, MILLISECOND
from .aggregates import Wanted, filled
from .local import Plan, edges_of
from .resampled import Resampled

__all__ = ["Kind", "Moments", "floor_expression", "on_server", "reason_for_local"]

Expression: TypeAlias = Any
#: What numbers of a field are in a window.
Kind: TypeAlias = Literal["bool", "float", "int"]

_MILLISECONDS = 1000  # microseconds in one
_INFINITY = float("inf")


class Moments(NamedTuple):
    """The moments of one symbol, as a query.

    Attributes:
        cls: their class.
        filter: as it is sent.
        options: for PyMongo's `aggregate`.
        time, symbol, known: the fields that say when, of what, and since when it is known; the
            latter two may be None.
        kinds: what the numbers of each field are, which is checked on the server.
        lenient: whether what does not fit is left out, as by a load that was told so.
    """

    cls: Any
    filter: Mapping[str, Any]
    options: Mapping[str, Any]
    time: str
    symbol: str | None
    known: str | None
    kinds: Mapping[str, Kind]
    lenient: bool = False


def reason_for_local(plan: Plan) -> str:
    """Return why a server cannot do what is asked for; empty if it can."""
    percentiles = [one.column for one in plan.wanted if one.of == "percentile"]
    if percentiles:
        return f"{percentiles[0]}: servers only estimate percentiles"
    return ""


async def on_server(port: Port, moments: Moments, plan: Plan) -> Resampled:
    """Return what the moments of a query amount to, computed by the server.

    Raises:
        QueryError: moments without a time, or of several symbols.
        SchemaError: a value that is no number of its field's kind.
    """
    ways = [way for way, end in ((1, plan.start), (-1, plan.end)) if end is None]
    ends = dict(zip(ways, await port.all(
        [_outermost(port, moments, plan, way) for way in ways],
        ordered=moments.options.get("session") is not None,
    ), strict=True))  # fmt: skip
    frames = plan.frames(ends.get(1), ends.get(-1))
    if not frames:
        return _result(plan, moments, frames, [])
    within = in_range(moments.time, frames[0]._start, frames[-1]._end).to_dict()
    stages: list[dict[str, Any]] = [
        {"$match": {"$and": [dict(moments.filter), within]} if moments.filter else within},
        {"$project": _projected(moments, plan, frames)},
        {"$group": _grouped(moments, plan)},
        {"$set": _finished(plan)},
    ]
    documents = await port.aggregate(moments.cls, stages, moments.options)
    return _result(plan, moments, frames, documents)


async def _outermost(port: Port, moments: Moments, plan: Plan, way: int) -> datetime | None:
    """Return the first or the last time.

    What is no time is ordered before or behind all of them, and so is found here.
    """
    time = f"${moments.time}"
    stages: list[dict[str, Any]] = [
        *([{"$match": dict(moments.filter)}] if moments.filter else []),
        {"$sort": {moments.time: way}},
        {"$limit": 1},
        # As numbers, so that it is the same whatever clients make of dates.
        {
            "$project": {
                "_id": 0,
                "type": {"$type": time},
                "time": {"$cond": [{"$eq": [{"$type": time}, "date"]}, {"$toLong": time}, None]},
            }
        },
    ]
    for document in await port.aggregate(moments.cls, stages, moments.options):
        if document["time"] is not None:
            return EPOCH + timedelta(milliseconds=document["time"])
        raise QueryError(
            f"{plan.place}: expected a {moments.time} for each moment, got {document['type']}; "
            f"leave those without out first, as with Q.{moments.time} != None"
        )
    return None


# Which frame


def floor_expression(frames: tuple[CalendarFrame, ...], time: str) -> Expression:
    """Return the expression for the floor of the frame that a time lies in.

    Frames that follow each other with one length are one run, in which a floor is a remainder. The
    runs are searched by halves.

    Args:
        frames: one behind the other without a gap; the time lies in one of them.
        time: an expression, such as `"$time"`.
    """
    edges = edges_of(frames, _MILLISECONDS)
    lengths = np.diff(edges)
    begins = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(begins, append=len(lengths))
    runs = [
        (EPOCH + int(edges[begin]) * MILLISECOND, int(lengths[begin]), int(count))
        for begin, count in zip(begins, counts, strict=True)
    ]
    return _among(runs, time)


def _among(runs: list[tuple[datetime, int, int]], time: str) -> Expression:
    if len(runs) > 1:
        middle = len(runs) // 2
        before, behind = _among(runs[:middle], time), _among(runs[middle:], time)
        return {"$cond": [{"$lt": [time, runs[middle][0]]}, before, behind]}
    ((start, length, count),) = runs
    if count == 1:
        return start
    return {"$subtract": [time, {"$mod": [{"$subtract": [time, start]}, length]}]}


# What of it


def _projected(
    moments: Moments, plan: Plan, frames: tuple[CalendarFrame, ...]
) -> dict[str, Expression]:
    time = f"${moments.time}"
    found = {"frame": floor_expression(frames, time), "time": time}
    if moments.symbol is not None:
        # In a document, because minimum and maximum would pass over null.
        found["symbol"] = {"is": {"$ifNull": [f"${moments.symbol}", None]}}
    if moments.known is not None:
        found["known"] = {"$ifNull": [f"${moments.known}", time]}
    for number, field in enumerate(plan.fields):
        value = f"${field}"
        found[f"type{number}"] = {"$type": value}
        fits, usable, converted = _of_kind(value, moments.kinds[field])
        found[f"v{number}"] = {"$cond": [usable, converted, None]}
        found[f"misfit{number}"] = {
            "$and": [{"$ne": [{"$ifNull": [value, None]}, None]}, {"$not": [fits]}]
        }
    return found


def _of_kind(value: str, kind: Kind) -> tuple[Expression, Expression, Expression]:
    """Return expressions: whether a value fits, whether it counts, and the value as its kind.

    They are the rules by which columns are loaded: a whole double is an integer, an integer that a
    double holds exactly is a double.
    """
    type_ = {"$type": value}
    if kind == "bool":
        flag = {"$eq": [type_, "bool"]}
        return flag, flag, {"$cond": [value, 1.0, 0.0]}
    to = "long" if kind == "int" else "double"
    # Neither conversions nor comparisons fail, whatever the value is.
    converted = {"$convert": {"input": value, "to": to, "onError": None, "onNull": None}}
    fits = {"$and": [{"$in": [type_, ["double", "int", "long"]]}, {"$eq": [converted, value]}]}
    if kind == "int":
        return fits, fits, converted
    # NaN is less than all numbers.
    finite = [{"$gt": [value, -_INFINITY]}, {"$lt": [value, _INFINITY]}]
    return fits, {"$and": [fits, *finite]}, converted


def _grouped(moments: Moments, plan: Plan) -> dict[str, Expression]:
    found: dict[str, Expression] = {"_id": "$frame", "n": {"$sum": 1}}
    if moments.symbol is not None:
        found["symbol_low"] = {"$min": "$symbol"}
        found["symbol_high"] = {"$max": "$symbol"}
    places = {"time": "$time", "known": "$known", "id": "$_id"}
    if moments.known is None:
        del places["known"]
    for number, field in enumerate(plan.fields):
        value = f"$v{number}"
        none = {"$eq": [value, None]}
        found[f"count{number}"] = {"$sum": {"$cond": [none, 0, 1]}}
        misfit = {"id": "$_id", "type": f"$type{number}"}
        found[f"misfit{number}"] = {"$min": {"$cond": [f"$misfit{number}", misfit, None]}}
        # Documents are compared field by field, so the least one has the first value.
        placed = {"$cond": [none, None, {**places, "value": value}]}
        by_name: dict[str, Expression] = {
            "first": {"$min": placed}, "last": {"$max": placed}, "min": {"$min": value},
            "max": {"$max": value}, "sum": {"$sum": value}, "mean": {"$avg": value},
            "std": {"$stdDevPop": value},
        }  # fmt: skip
        for one in plan.of(field):
            if one.of in by_name:
                found[f"{one.of}{number}"] = by_name[one.of]
    return found


def _finished(plan: Plan) -> dict[str, Expression]:
    found: dict[str, Expression] = {"_id": {"$toLong": "$_id"}}
    for number, field in enumerate(plan.fields):
        for one in plan.of(field):
            if one.of in ("first", "last"):
                found[f"{one.of}{number}"] = f"${one.of}{number}.value"
    return found


# Results


def _result(
    plan: Plan, moments: Moments, frames: tuple[CalendarFrame, ...], documents: list[Any]
) -> Resampled:
    edges = edges_of(frames, _MILLISECONDS)
    floors = np.array([document["_id"] for document in documents], np.int64)
    rows = np.searchsorted(edges, floors)
    _check_symbols(plan, moments, documents)
    n = np.zeros(len(frames), np.int64)
    n[rows] = [document["n"] for document in documents]
    columns: dict[str, Array] = {}
    left_out: dict[str, Array] = {}
    for number, field in enumerate(plan.fields):
        _check_kind(moments, field, number, documents)
        counts = np.zeros(len(frames), np.int64)
        counts[rows] = [document[f"count{number}"] for document in documents]
        left_out[field] = n - counts
        full = counts > 0
        # In the order of the frames, those with a value.
        order = [place for place in np.argsort(rows) if documents[place][f"count{number}"]]
        having = [documents[place] for place in order]
        for one in plan.of(field):
            if one.of == "count":
                columns[one.column] = counts.copy()
                continue
            values = _values(having, one, number, moments.kinds[field], plan)
            if one.of == "std" and len(values):
                values = _with_ddof(values, counts[full], plan.ddof)
            columns[one.column] = filled(values, full)
    in_order = {one.column: columns[one.column] for one in plan.wanted}
    return Resampled(plan.kind, frames, n, in_order, left_out, "server")


def _values(having: list[Any], one: Wanted, number: int, kind: Kind, plan: Plan) -> Array:
    found = [document[f"{one.of}{number}"] for document in having]
    if kind != "int" or one.of in ("mean", "std"):
        return np.array(found, np.float64)
    # A sum that no 64 bits hold comes as a double.
    beyond = [value for value in found if isinstance(value, float)]
    if beyond:
        raise QueryError(
            f"{plan.place}: expected sums that fit 64 bits, got {max(beyond, key=abs):g} for "
            f"{one.column}; load the field as float"
        )
    return np.array(found, np.int64)


def _with_ddof(deviations: Array, counts: Array, ddof: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = deviations * np.sqrt(counts / (counts - ddof))
    found[counts <= ddof] = np.nan
    return found


def _check_symbols(plan: Plan, moments: Moments, documents: list[Any]) -> None:
    if moments.symbol is None:
        return
    found: list[Any] = []
    for document in documents:
        for name in ("symbol_low", "symbol_high"):
            symbol = document[name]["is"]
            # To Python, though not to MongoDB, True is 1.
            if (type(symbol) is bool, symbol) not in [(type(one) is bool, one) for one in found]:
                found.append(symbol)
    if len(found) > 1:
        shown = ", ".join(map(repr, found[:5]))
        raise QueryError(
            f"{plan.place}: expected moments of one symbol, got several: {shown}; choose one: "
            f"Q.{moments.symbol} == {found[0]!r}"
        )


def _check_kind(moments: Moments, field: str, number: int, documents: list[Any]) -> None:
    for document in () if moments.lenient else documents:
        misfit = document[f"misfit{number}"]
        if misfit is not None:
            expected = {"bool": "bool", "float": "float64", "int": "int64"}[moments.kinds[field]]
            raise SchemaError(
                f"{moments.cls.__name__}.{field}: expected {expected}, got a value of type "
                f"{misfit['type']} in the document with _id={misfit['id']!r}; annotate the field "
                "otherwise",
                field,
                misfit["id"],
                expected,
                misfit["type"],
            )
