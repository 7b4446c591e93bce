"""Resampling arrays: every frame of the calendar, every value once, nothing where nothing is."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest

pytest.importorskip("scipy", reason="the extra time is not installed")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import QueryError, TimeFrameError
from loom.frames.time import (
    DailyFrame,
    HourlyFrame,
    MonthlyFrame,
    QuarterlyFrame,
    Spread,
    TimeFrame,
    WeeklyFrame,
    YearlyFrame,
)
from loom.frames.time.resampling import resample_columns

UTC = timezone.utc
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: Where the clocks, or the calendar, do something; with an instant near it.
PLACES = [
    ("UTC", NOON),
    ("America/New_York", datetime(2024, 3, 10, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2024, 11, 3, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2024, 4, 6, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2024, 10, 5, 15, 30, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2024, 3, 30, 22, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2024, 10, 27, 1, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(1985, 12, 31, 18, 30, tzinfo=UTC)),
    ("+05:45", datetime(1969, 12, 31, 20, tzinfo=UTC)),
]
KINDS: list[tuple[Any, dict[str, Any], timedelta]] = [
    (HourlyFrame, {}, timedelta(hours=8)),
    (DailyFrame, {}, timedelta(days=4)),
    (WeeklyFrame, {}, timedelta(days=20)),
    (WeeklyFrame, {"week_start": "sunday"}, timedelta(days=20)),
    (MonthlyFrame, {}, timedelta(days=200)),
    (QuarterlyFrame, {}, timedelta(days=400)),
    (QuarterlyFrame, {"year_start": 2}, timedelta(days=400)),
    (YearlyFrame, {}, timedelta(days=1500)),
    (YearlyFrame, {"year_start": 10}, timedelta(days=1500)),
]
ALL = ["count", "first", "last", "min", "max", "sum", "mean", "std", "median", "p95"]


def zone_of(name: str) -> Any:
    """Return what `tzone=` takes for a place."""
    return timezone(timedelta(hours=5, minutes=45)) if name.startswith("+") else name


numbers = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 0.1, 1e9]),
    st.floats(-1e6, 1e6),
)


@st.composite
def moments(draw: Any) -> tuple[str, Any, dict[str, Any], list[datetime]]:
    """Draw a zone, a kind of frames with its options, and times around where the zone is odd."""
    place, centre = draw(st.sampled_from(PLACES))
    kind, options, reach = draw(st.sampled_from(KINDS))
    around = int(reach / timedelta(milliseconds=1))
    given = draw(st.lists(st.integers(-around, around), min_size=1, max_size=25))
    edges = draw(st.lists(st.integers(-3, 3), max_size=3))
    times = [centre + timedelta(milliseconds=m) for m in given]
    for number in edges:  # exactly on a floor
        times.append(kind(centre, zone_of(place), **options).get_next_frame(number).floor)
    return place, kind, options, sorted(t.astimezone(UTC) for t in times)


def root(square: Fraction) -> float:
    """Return a square root; no power of it is too small."""
    return math.isqrt(int(square * 4**1100)) / 2**1100


def expected_of(values: list[Any], ddof: int = 1) -> dict[str, Any]:
    """Return what the values of one frame amount to, by Python's exact arithmetic."""
    kept = [v for v in values if v is not None and math.isfinite(v)]
    if not kept:
        return {**dict.fromkeys(ALL), "count": 0}
    exact = [Fraction(v) for v in kept]
    mean = sum(exact) / len(exact)
    ordered = Spread.of(kept, percentiles=[50, 95])
    squares = sum((v - mean) ** 2 for v in exact)
    return {
        "count": len(kept),
        "first": kept[0],
        "last": kept[-1],
        "min": min(kept),
        "max": max(kept),
        "sum": math.fsum(kept) if isinstance(kept[0], float) else sum(kept),
        "mean": float(mean),
        "std": root(squares / (len(kept) - ddof)) if len(kept) > ddof else None,
        "median": ordered.median,
        "p95": ordered.percentile(95),
    }


def close(found: Any, expected: Any, scale: float) -> bool:
    """Tell whether two figures are one but for the rounding of sums of numbers of this size."""
    if found is None or expected is None or isinstance(expected, int):
        return bool(found is expected or found == expected)
    return bool(abs(found - expected) <= 1e-13 * scale)


# Frames


@settings(max_examples=300, deadline=None)
@given(moments(), st.data())
def test_every_moment_in_its_frame(given: Any, data: Any) -> None:
    """Frames tile from the first moment to the last, and each has the figures of its own values."""
    place, kind, options, times = given
    values = data.draw(st.lists(numbers, min_size=len(times), max_size=len(times)))

    found = resample_columns(
        times, {"gold": values}, kind, tzone=zone_of(place), gold=ALL, **options
    )

    by_frame: dict[TimeFrame, list[Any]] = {}
    for time, value in zip(times, values, strict=True):
        by_frame.setdefault(kind(time, zone_of(place), **options), []).append(value)
    assert [frame.ceiling for frame in found.frames[:-1]] == [f.floor for f in found.frames[1:]]
    assert (found.frames[0], found.frames[-1]) == (min(by_frame), max(by_frame))
    scale = math.fsum(abs(v) for v in values if v is not None and math.isfinite(v))
    for row, (frame, n, figures) in enumerate(found):
        mine = by_frame.get(frame, [])
        expected = expected_of(mine)
        assert n == len(mine)
        assert found.left_out["gold"][row] == n - expected["count"]
        for name in ALL:
            assert close(figures[f"gold_{name}"], expected[name], scale), (name, frame)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_integers_are_exact(data: Any) -> None:
    """Of integers first, last, extremes and sums are integers, to the last of 64 bits."""
    count = data.draw(st.integers(1, 12))
    hours = data.draw(st.lists(st.integers(0, 96), min_size=count, max_size=count))
    whole = st.one_of(st.none(), st.integers(-(2**62), 2**62 - 1), st.integers(-9, 9))
    values = data.draw(st.lists(whole, min_size=count, max_size=count))
    times = [NOON + hour * HOUR for hour in sorted(hours)]
    sums: dict[Any, list[int]] = {}
    for time, value in zip(times, values, strict=True):
        sums.setdefault(DailyFrame(time), []).extend([] if value is None else [value])
    given = np.ma.MaskedArray([v or 0 for v in values], [v is None for v in values], np.int64)

    if any(not -(2**63) <= sum(kept) < 2**63 for kept in sums.values()):
        with pytest.raises(QueryError, match="fit 64 bits"):
            resample_columns(times, {"gold": given}, DailyFrame, gold="sum")
        return
    found = resample_columns(
        times, {"gold": given}, DailyFrame, gold=["first", "max", "sum", "last"]
    )
    for frame, _, figures in found:
        kept = sums.get(frame) or []
        expected = [kept[0], max(kept), sum(kept), kept[-1]] if kept else [None] * 4
        assert list(figures.values()) == expected
    assert found["gold_sum"].dtype == np.int64


def test_what_is_neither_columns_nor_a_time_of_the_calendar() -> None:
    """The errors say so, rather than what went wrong inside."""
    with pytest.raises(QueryError, match="expected columns by field, got list; write "):
        resample_columns([NOON], [1], DailyFrame, gold="sum")  # type: ignore[arg-type]
    far = np.array(["12024-01-01"], "datetime64[D]")
    with pytest.raises(TimeFrameError, match="expected times within the years 1 to 9999, got "):
        resample_columns(far, {"gold": [1]}, DailyFrame, gold="sum")


def test_integers_of_columns_stay_integers() -> None:
    """Those of pandas, Arrow and Polars too, also where some are missing."""
    pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    pd = pytest.importorskip("pandas", reason="the extra pandas is not installed")
    pl = pytest.importorskip("polars", reason="the extra polars is not installed")
    values = [2**60 + 1, None, 2]
    times = [NOON + n * HOUR for n in range(3)]
    columns = {
        "list": values,
        "tuple": (*values,),
        "objects": np.array(values, object),
        "pandas": pd.Series(values, dtype="Int64"),
        "missing": pd.Series(pd.array(values, "Int64"), dtype=object),
        "arrow": pa.array(values),
        "chunks": pa.chunked_array([values[:1], values[1:]]),
        "of_arrow": pd.Series(values, dtype="int64[pyarrow]"),
        "polars": pl.Series(values),
    }
    found = resample_columns(
        times, columns, DailyFrame, {name: ["sum", "count"] for name in columns}
    )

    for name in columns:
        assert (2**60 + 3, 2) == (found[f"{name}_sum"][0], found[f"{name}_count"][0]), name
        assert np.int64 is found[f"{name}_sum"].dtype.type, name
    near = [2**60 + 1, None, 2**60 + 4]
    for column in (near, pd.Series(near, dtype="Int64"), pa.array(near), pl.Series(near)):
        assert Spread.of([1, 4]).std == Spread.of(column).std
