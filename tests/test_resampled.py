"""Resampled: frames and their figures as a sequence, as columns, as tables and pictures."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

pytest.importorskip("scipy", reason="the extra time is not installed")

import numpy as np

from loom import MissingExtra, QueryError, TimeFrameError
from loom.frames.time import DailyFrame, HourlyFrame, Spread, WeeklyFrame, YearlyFrame
from loom.frames.time.resampling.local import resample_columns
from loom.frames.time.resampling.resampled import Resampled

UTC = timezone.utc
NOON = datetime(2024, 3, 9, 12, tzinfo=UTC)
TIMES = [NOON + n * timedelta(hours=9) for n in (0, 1, 2, 8, 9)]
PRICES = [1.5, None, 3.0, math.inf, math.nan]
VOLUMES = [2, 3, None, 5, 2**60]


def made(**named: Any) -> Resampled:
    """Return days of a zone, one of them without a moment, one without a value."""
    asked = named or {"price": ["first", "mean"], "volume": "sum"}
    columns = {"price": PRICES, "volume": VOLUMES}
    return resample_columns(TIMES, columns, DailyFrame, tzone="America/New_York", **asked)


def test_as_a_sequence() -> None:
    """Frames come with their figures, None where there are none."""
    found = made()

    assert [(str(frame)[:10], n, values) for frame, n, values in found] == [
        ("2024-03-09", 2, {"price_first": 1.5, "price_mean": 1.5, "volume_sum": 5}),
        ("2024-03-10", 1, {"price_first": 3.0, "price_mean": 3.0, "volume_sum": None}),
        ("2024-03-11", 0, {"price_first": None, "price_mean": None, "volume_sum": None}),
        ("2024-03-12", 2, {"price_first": None, "price_mean": None, "volume_sum": 5 + 2**60}),
    ]
    assert len(found) == 4
    assert found[-1] == [*found][-1]
    assert found[1].frame.duration == timedelta(hours=23)
    assert [*found[1:3]] == [*found][1:3]
    for place in (4, -5):
        with pytest.raises(IndexError, match=f"expected a place below 4, got {place}"):
            found[place]
    for place in (1.0, None, found.frames[0]):
        with pytest.raises(TypeError, match="expected a place, a slice or the name of a column"):
            found[place]  # type: ignore[call-overload]


def test_as_columns() -> None:
    """Nothing is NaN among floats and masked among integers, and the counts say how much of it."""
    found = made()

    assert found["price_mean"].tolist()[:2] == [1.5, 3.0]
    assert np.isnan(found["price_mean"][2:]).all()
    assert found["volume_sum"].dtype == np.int64
    assert found["volume_sum"].mask.tolist() == [False, True, True, False]
    assert found.n.tolist() == [2, 1, 0, 2]
    assert {name: counts.tolist() for name, counts in found.left_out.items()} == {
        "price": [1, 0, 0, 2],
        "volume": [0, 1, 0, 0],
    }
    assert Spread.of(found["volume_sum"]).left_out == 2
    assert found.times.tolist() == [
        f.floor.astimezone(UTC).replace(tzinfo=None) for f in found.frames
    ]
    with pytest.raises(QueryError, match="got 'price_maen'; did you mean 'price_mean'"):
        found["price_maen"]


def test_a_sum_of_nothing_is_nothing() -> None:
    """Neither a sum nor a deviation of no value is 0; a count is."""
    found = made(price=["sum", "std", "count"])

    assert [values for _, _, values in found][2:] == [
        {"price_sum": None, "price_std": None, "price_count": 0}
    ] * 2


def test_frozen() -> None:
    """Neither attributes nor arrays can be changed; equal results are equal and hash alike."""
    found = made()

    with pytest.raises(AttributeError):
        found.n = None  # type: ignore[misc, assignment]
    with pytest.raises(ValueError, match="read-only"):
        found["price_mean"][0] = 0
    with pytest.raises(ValueError, match="read-only"):
        found["volume_sum"][0] = 0
    with pytest.raises(TypeError):
        found.columns["other"] = found.n  # type: ignore[index]
    assert copy.copy(found) is found
    restored = pickle.loads(pickle.dumps(found))
    assert (restored, restored["volume_sum"].flags.writeable) == (found, False)
    assert (found, hash(found)) == (made(), hash(made()))
    assert found != made(price=["first", "mean"], volume="max")
    assert found != found[:3]
    assert found != "frames"


def test_repr() -> None:
    """The repr says which frames, how many moments and which columns."""
    assert repr(made(volume=["sum"])) == (
        "Resampled(4 DailyFrames, 2024-03-09[America/New_York] to 2024-03-12[America/New_York], "
        "n=5: volume_sum)"
    )
    assert repr(resample_columns([], {}, DailyFrame)) == "Resampled(no DailyFrame: n alone)"


def test_html() -> None:
    """A notebook shows the first and the last frames, escaped, and nothing where nothing is."""
    hours = [NOON + n * timedelta(hours=1) for n in range(40)]
    found = resample_columns(hours, {"<b>": [1.25] * 39 + [None]}, HourlyFrame, {"<b>": "max"})

    text = found._repr_html_()
    assert text.count("<tr>") == 1 + 5 + 1 + 5
    assert "<th>&lt;b&gt;_max</th>" in text
    assert "<td>03/09/2024 12:00 UTC</td><td>1</td><td>1.25</td>" in text
    assert text.endswith("<td>03/11/2024 03:00 UTC</td><td>1</td><td></td></tr></tbody></table>")


def test_table() -> None:
    """A table has a row for each frame, and nulls where there is nothing."""
    pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    table = made().to_table()

    assert {field.name: str(field.type) for field in table.schema} == {
        "frame": "string",
        "floor": "timestamp[ms, tz=America/New_York]",
        "ceiling": "timestamp[ms, tz=America/New_York]",
        "n": "int64",
        "price_first": "double",
        "price_mean": "double",
        "volume_sum": "int64",
        "price_left_out": "int64",
        "volume_left_out": "int64",
    }
    rows = table.to_pylist()
    frames = made().frames
    assert [row["floor"] for row in rows] == [frame.floor for frame in frames]
    assert [row["ceiling"] for row in rows] == [frame.ceiling for frame in frames]
    assert [row["volume_sum"] for row in rows] == [5, None, None, 5 + 2**60]
    assert [row["price_mean"] for row in rows] == [1.5, 3.0, None, None]
    assert DailyFrame.parse(rows[1]["frame"]) == frames[1]
    assert resample_columns([], {}, DailyFrame).to_table().num_rows == 0


def test_dataframe() -> None:
    """A DataFrame keeps whole numbers whole and times aware."""
    pytest.importorskip("pandas", reason="the extra pandas is not installed")
    frame = made().to_dataframe()

    assert frame["volume_sum"].tolist()[3] == 5 + 2**60
    assert frame["price_mean"].isna().tolist() == [False, False, True, True]
    assert frame["floor"][1] == made().frames[1].floor


def test_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyArrow or pandas the error says what to install."""
    found = made()
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    if __import__("importlib.util").util.find_spec("pyarrow"):
        with pytest.raises(MissingExtra, match="pandas"):
            found.to_dataframe()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="arrow"):
        found.to_table()


# What is asked for


def test_the_range_may_be_named() -> None:
    """Frames cover what was asked for, whole, and moments in others do not count."""
    ends = {"start": datetime(2024, 3, 8, 22), "end": datetime(2024, 3, 11)}
    found = resample_columns(TIMES, {}, DailyFrame, tzone="America/New_York", **ends)

    assert [(str(frame)[:10], n) for frame, n, _ in found] == [
        ("2024-03-08", 0),
        ("2024-03-09", 2),
        ("2024-03-10", 1),
    ]
    later = resample_columns(TIMES, {}, DailyFrame, start=TIMES[3])
    assert later.n.tolist() == [2]
    earlier = resample_columns(TIMES, {}, DailyFrame, end=TIMES[2])
    assert earlier.n.tolist() == [2, 1]  # whole days
    assert len(resample_columns(TIMES, {}, DailyFrame, start=TIMES[4] + timedelta(hours=1))) == 0


def test_weeks_and_years_begin_where_one_says() -> None:
    """The options of kinds are taken, and refused by other kinds."""
    weeks = resample_columns(TIMES, {}, WeeklyFrame, week_start="sunday")
    years = resample_columns(TIMES, {}, YearlyFrame, year_start=4)

    assert [frame.floor.day for frame in weeks.frames] == [3, 10]
    assert [frame.get_pretty_value() for frame in years.frames] == ["FY2024"]
    with pytest.raises(
        TimeFrameError, match="expected it with WeeklyFrame, got it with DailyFrame"
    ):
        resample_columns(TIMES, {}, DailyFrame, week_start=6)
    with pytest.raises(TimeFrameError, match="month from 1 to 12"):
        resample_columns(TIMES, {}, YearlyFrame, year_start=13)


def test_moments_in_any_order() -> None:
    """Arrays are put in the order of time; what has no time is left out."""
    order = [3, 0, 4, 1, 2]
    times = [*(TIMES[n] for n in order), None]
    columns = {"volume": [*(VOLUMES[n] for n in order), 7]}
    asked = {"volume": ["first", "last", "sum"]}

    found = resample_columns(times, columns, DailyFrame, asked)
    assert found == resample_columns(TIMES, {"volume": VOLUMES}, DailyFrame, asked)
    assert found["volume_first"].tolist() == [2, None, None, 5]  # by the days of UTC


def test_moments_in_disorder_with_all_values() -> None:
    """Columns without gaps are put in order, too."""
    found = resample_columns(TIMES[::-1], {"v": np.arange(5)}, DailyFrame, v=["first", "last"])

    assert found["v_first"].tolist() == [4, 2, None, 1]
    assert found["v_last"].tolist() == [3, 2, None, 0]


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        ({"price": "avg"}, QueryError, "price: expected the name of an aggregation .*got 'avg'"),
        ({"price": "men"}, QueryError, "did you mean 'mean'"),
        ({"price": ["mean", 5]}, QueryError, "got 5"),
        ({"price": 5}, QueryError, "got 5"),
        ({"price": "p101"}, QueryError, "got 'p101'"),
        ({"prise": "mean"}, QueryError, "prise: expected a field, got none; did you mean 'price'"),
        ({"tzone": "Mars/Olympus"}, TimeFrameError, "tzone: expected a time zone"),
        ({"start": datetime(2024, 1, 1)}, TimeFrameError, "start: expected a datetime with a zone"),
        ({"start": TIMES[1], "end": TIMES[1]}, QueryError, "an end later than the start"),
        ({"ddof": -1}, QueryError, "expected ddof"),
        ({"ddof": True}, QueryError, "expected ddof"),
    ],
)
def test_what_is_refused(asked: Any, error: type[Exception], match: str) -> None:
    """What cannot be done is refused, and the way out is named."""
    with pytest.raises(error, match=match):
        resample_columns(TIMES, {"price": PRICES}, DailyFrame, **asked)


def test_a_frame_has_both_ends() -> None:
    """A frame as the start is the same as its floor and its ceiling."""
    week = WeeklyFrame.create(NOON, "America/New_York")
    asked: Any = {"tzone": "America/New_York", "price": "mean"}
    columns = {"price": PRICES}
    found = resample_columns(TIMES, columns, DailyFrame, start=week, **asked)

    assert found == resample_columns(
        TIMES, columns, DailyFrame, start=week.floor, end=week.ceiling, **asked
    )
    assert week.split(DailyFrame) == [*found.frames]
    with pytest.raises(QueryError, match="expected a frame alone"):
        resample_columns(TIMES, columns, DailyFrame, start=week, end=NOON, **asked)


def test_slices_go_forward() -> None:
    """What would go against time is refused, because pictures and tables go with it."""
    found = made()

    assert [*found][::2] == [*found[::2]]
    with pytest.raises(QueryError, match="a slice in the order of time"):
        found[::-1]
    assert [*found][::-1] == [*reversed(found)]


def test_other_refusals() -> None:
    """Kinds that are none, fields that are no dict, values of another length, text."""
    with pytest.raises(QueryError, match="expected a kind of frames"):
        resample_columns(TIMES, {}, "day")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="expected aggregations by field, got 'price'"):
        resample_columns(TIMES, {}, DailyFrame, "price")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match=r"each field once, got \['price'\] twice"):
        resample_columns(TIMES, {"price": PRICES}, DailyFrame, {"price": "sum"}, price="mean")
    with pytest.raises(QueryError, match="expected 5 values, one for each time, got 4"):
        resample_columns(TIMES, {"price": PRICES[:4]}, DailyFrame, price="mean")
    with pytest.raises(QueryError, match="price: expected numbers, got 'x'"):
        resample_columns(TIMES[:1], {"price": ["x"]}, DailyFrame, price="mean")
    with pytest.raises(QueryError, match="aware datetimes"):
        resample_columns([datetime(2024, 1, 1)], {}, DailyFrame)
    with pytest.raises(QueryError, match="one row of datetimes"):
        resample_columns([1, 2], {}, DailyFrame)


def test_figures_beyond_squares() -> None:
    """Deviations of values whose squares no float holds are right, frame by frame."""
    values = [1e-200, 3e-200, 1e200, 3e200, 1.0, 1.0, 1e308, 1e308]
    times = [NOON + n // 2 * timedelta(days=1) for n in range(8)]

    found = resample_columns(times, {"v": values}, DailyFrame, v=["mean", "std", "sum"], ddof=0)

    assert found["v_mean"].tolist() == [2e-200, 2e200, 1.0, 1e308]
    assert found["v_std"].tolist() == [1e-200, 1e200, 0.0, 0.0]
    assert found["v_sum"].tolist()[3] == math.inf  # larger than any float


def test_finer_times_than_those_of_moments() -> None:
    """Nanoseconds lie in the frame that they lie in, also before 1970."""
    ends = np.array([-1, 0, 86_400 * 10**9 - 1], "datetime64[ns]")

    assert resample_columns(ends, {}, DailyFrame).n.tolist() == [1, 2]


# Pictures


def test_plot() -> None:
    """A line for each column; a bar for each frame with prices; the zone's clock below."""
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    hours = [NOON + n * timedelta(minutes=10) for n in range(40)]
    found = resample_columns(hours, {"v": range(40)}, HourlyFrame, v=["ohlc", "mean", "count"])
    axes = found.plot()
    assert [line.get_label() for line in axes.get_lines()] == ["v_mean", "v_count"]
    assert len(axes.collections[0].get_segments()) == len(found)
    assert axes.get_legend() is not None
    alone = found.plot(columns="v_mean")
    assert (alone.get_ylabel(), alone.get_legend()) == ("v_mean", None)
    assert found.plot(axes, columns=["v_open"]) is axes
    with pytest.raises(QueryError, match="expected frames with columns"):
        resample_columns(hours, {}, HourlyFrame).plot()
    pyplot.close("all")


def test_lists_of_integers() -> None:
    """Lists of whole numbers stay whole where 64 bits hold them; other lists are floats."""
    for values, expected in (
        ([0, 0, 7, 1, 2], [0, 7, None, 3]),
        ([None] * 5, [None] * 4),
        ([2**70, None, None, None, 1], [float(2**70), None, None, 1.0]),
        ([1, 2.5, 0, 0, 0], [3.5, 0.0, None, 0.0]),
        (range(5), [1, 2, None, 7]),
    ):
        found = resample_columns(
            TIMES, {"v": values}, DailyFrame, v="sum", tzone="America/New_York"
        )
        figures = [one.values["v_sum"] for one in found]
        assert figures == expected
        assert [type(one) for one in figures] == [type(one) for one in expected]
