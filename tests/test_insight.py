"""What all results of insight have in common, and what they take."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bson import Decimal128

from loom import Frame, LoomError
from loom.errors import QueryError
from loom.frames.time import insight
from loom.frames.time.insight import PdfValue, Regression, Spread, Trending

VALUES = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
RESULTS = [Spread, Regression, PdfValue, Trending]


class Station(Frame):
    """A frame that keeps what was found."""

    name: str
    spread: Spread
    regression: Regression
    density: PdfValue
    trending: Trending


@pytest.mark.parametrize("kind", RESULTS)
def test_results_are_equal_by_value(kind: Any) -> None:
    """The same values make the same result, with the same hash; others make another."""
    found, again, other = kind.of(VALUES), kind.of(VALUES), kind.of(VALUES[:-1])

    assert found == again
    assert hash(found) == hash(again)
    assert found != other
    assert len({found, again, other}) == 2


@pytest.mark.parametrize("kind", RESULTS)
def test_results_are_frozen(kind: Any) -> None:
    """Nothing of a result can be assigned or deleted, and the error says what to do."""
    found = kind.of(VALUES)

    with pytest.raises(AttributeError, match=f"{kind.__name__}.n: expected no change"):
        found.n = 3
    with pytest.raises(AttributeError, match="frozen"):
        found["n"] = 3
    with pytest.raises(AttributeError, match="frozen"):
        del found["n"]
    with pytest.raises(AttributeError, match="frozen"):
        del found.n
    assert found == kind.of(VALUES)


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("values", [VALUES, [], [2.0], [2.0, 2.0], [None, 1.0]])
def test_copies_are_equal(kind: Any, values: list[Any]) -> None:
    """A copy, a deep copy and what pickle brings back equal the result, and are frozen."""
    found = kind.of(values)
    unpickled = pickle.loads(pickle.dumps(found))

    assert (found, found, found) == (unpickled, copy.copy(found), copy.deepcopy(found))
    assert hash(found) == hash(unpickled)
    with pytest.raises(AttributeError, match="frozen"):
        unpickled.n = 3


@pytest.mark.parametrize("values", [VALUES, [], [2.0], [2.0, 2.0], [None, 1.0, float("nan")]])
async def test_results_are_stored_and_read_back(values: list[Any], call: Any) -> None:
    """A frame keeps results in its fields, and reads back what it wrote, as results."""
    times = [
        datetime(2013, 1, 1, 0, 0, 0, 123456, timezone.utc) + timedelta(hours=i) for i in range(8)
    ]
    station = Station(
        name="JFK",
        spread=Spread.of(values),
        regression=Regression.of(values, times[: len(values)]),
        density=PdfValue.of(values),
        trending=Trending.of(values, times[: len(values)]),
    )
    await call(station).insert()
    found = await call(Station).one({"name": "JFK"})

    assert type(found.spread) is Spread
    assert found.spread == Spread.of(values)
    assert found.regression == Regression.of(values, times[: len(values)])
    assert found.density == PdfValue.of(values)
    assert found.trending == Trending.of(values, times[: len(values)])
    assert type(found.trending.density) is PdfValue
    assert hash(found.trending) == hash(station.trending)
    assert found.spread.n == (await call(Station).one({"spread.n": found.spread.n})).spread.n


@pytest.mark.parametrize("kind", RESULTS)
def test_no_data_is_said(kind: Any) -> None:
    """Without data every figure is None, the result is false, and its text says so."""
    for values, left_out in (([], 0), ([None, float("nan"), float("inf")], 3)):
        found = kind.of(values)

        assert (found.n, found.left_out, bool(found)) == (0, left_out, False)
        assert "no data" in repr(found)
        assert "no data" in found._repr_html_()
        told = {"ddof", "first_number", "last_number", "left_out", "n"}
        figures = {name: found[name] for name in kind.get_fields() - told}
        assert not any(isinstance(value, (int, float)) for value in figures.values())


@pytest.mark.parametrize("kind", RESULTS)
def test_results_are_shown_briefly(kind: Any) -> None:
    """A result is shown in a line, and as a table in notebooks; what was left out is said."""
    found = kind.of([*VALUES, None])

    assert repr(found).startswith(f"{kind.__name__}(n=8, ")
    assert "left_out=1" in repr(found)
    assert len(repr(found)) < (700 if kind is Trending else 260)
    assert found._repr_html_().startswith("<table>")
    assert "<th style='text-align:left'>n</th>" in found._repr_html_()


# What is taken


@pytest.mark.parametrize(
    "values",
    [
        tuple(VALUES),
        (value for value in VALUES),
        np.array(VALUES),
        np.array(VALUES, np.float32),
        np.array(VALUES, np.int8),
        np.array(VALUES, np.uint64),
        [int(value) for value in VALUES],
        [Decimal(value) for value in VALUES],
        [Decimal128(str(value)) for value in VALUES],
        [Fraction(value) for value in VALUES],
        pd.Series(VALUES),
        pd.Series(VALUES, dtype="Int64"),
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_values_in_any_form(values: Any) -> None:
    """Values may be an array, a series, a list or an iterator of any numbers."""
    assert Spread.of(values) == Spread.of(VALUES)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, 3.0],
        [1, None, 3],
        np.array([1, np.inf, 3]),
        [Decimal(1), Decimal("NaN"), 3],
        [1, Decimal("-Infinity"), Decimal(3)],
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="float64"),
        np.ma.masked_array([1, 2, 3], [False, True, False]),
        [1, 10**400, 3],
        [1, Decimal("1e400"), 3],
        [1, Decimal128("-1e400"), 3],
    ],
    ids=str,
)
def test_what_is_left_out(values: Any) -> None:
    """None, NaN, what is masked, infinite or larger than any float is left out and counted."""
    found = Spread.of(values)

    assert (found.n, found.left_out, found.mean) == (2, 1, 2.0)
    assert PdfValue.of(values).peak == 2.0


@pytest.mark.parametrize("kind", RESULTS)
def test_figures_larger_than_any_float(kind: Any) -> None:
    """They are infinite, without a warning."""
    found = kind.of([1.7e308, -1.7e308, None])

    assert (found.n, found.left_out) == (2, 1)
    assert "inf" in repr(found)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["1", "2"], "expected numbers, got '1' of type str at 0"),
        ([1.0, "x"], "expected numbers, got 'x' of type str at 1"),
        (np.array(["a"]), "expected numbers, got str_s"),
        (np.array([1j]), "expected numbers, got complex128s"),
        (np.array([[1.0]]), "expected one row of values, got 2 dimensions"),
        (5, "expected one row of values, got 0 dimensions"),
        ([datetime(2013, 1, 1)], "got datetime.datetime"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", RESULTS)
def test_what_is_no_number_is_refused(kind: Any, values: Any, problem: str) -> None:
    """Text and the like are refused with place and value."""
    with pytest.raises(QueryError, match=problem) as caught:
        kind.of(values)
    assert str(caught.value).startswith(f"{kind.__name__}: ")
    assert isinstance(caught.value, (LoomError, ValueError))


@pytest.mark.parametrize("name", ["spread", "regression", "density", "trending"])
@pytest.mark.parametrize(("size", "step"), [(0, 1), (-1, 1), (2, 0), (2.0, 1), (True, 1), ("2", 1)])
def test_windows_are_whole(name: str, size: Any, step: Any) -> None:
    """A size or step that is not 1, 2, 3 ... is refused."""
    with pytest.raises(QueryError, match="to be 1, 2, 3"):
        getattr(insight, name)(VALUES, size, step)


@pytest.mark.parametrize("name", ["spread", "regression", "density", "trending"])
@pytest.mark.parametrize(
    ("size", "step", "count"), [(8, 1, 1), (9, 1, 0), (3, 1, 6), (3, 2, 3), (3, 9, 1)]
)
def test_how_many_windows(name: str, size: int, step: int, count: int) -> None:
    """Every column has an entry for each whole window, none when there is none."""
    columns = getattr(insight, name)(VALUES, size, step)

    assert {len(column) for column in columns.values()} == {count}


# Packages


def test_the_frames_need_no_numpy() -> None:
    """Neither Loom nor the time frames import NumPy or SciPy; the results are there by name."""
    code = (
        "import sys, loom, loom.frames.time as time\n"
        "assert not {'numpy', 'scipy'} & (set(sys.modules) - before), 'imported'\n"
        "assert time.Spread.of([1, 2]).mean == 1.5\n"
        "assert not {'scipy.stats', 'scipy.optimize', 'matplotlib', 'pandas'} & set(sys.modules)\n"
    )
    driver = "import sys, pymongo, blinker\nbefore = set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", driver + code], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("package", "shown"), [("numpy", "NumPy"), ("scipy", "SciPy")])
def test_a_missing_package_names_the_command(package: str, shown: str) -> None:
    """Without NumPy or SciPy the error says what to install."""
    code = f"import sys; sys.modules[{package!r}] = None\nfrom loom.frames.time import Spread"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    expected = f"MissingExtra: loom: {shown} is not installed; run: pip install 'loom-frames[time]'"
    assert expected in done.stderr


@pytest.mark.parametrize("kind", RESULTS)
def test_plots_name_the_missing_package(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib, `plot` says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)

    with pytest.raises(ImportError, match=r"pip install 'loom-frames\[plot\]'"):
        kind.of(VALUES).plot()


@pytest.fixture
def pyplot() -> Any:
    """Matplotlib, drawing into memory."""
    matplotlib = pytest.importorskip("matplotlib", reason="plots need the extra `plot`")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize("kind", RESULTS)
def test_plots(kind: Any, pyplot: Any) -> None:
    """Every result draws itself, on new axes or on those it is given."""
    axes = kind.of(VALUES).plot()
    count = 3 if kind is Trending else 1
    given = pyplot.subplots(1, count)[1]
    figure = np.ravel(given)[0].figure

    assert np.ravel(axes).shape == (count,)
    assert kind.of(VALUES).plot(given) is given
    figure.canvas.draw()
    assert all(place.lines for place in np.ravel(given))


def test_the_axis_of_a_regression(pyplot: Any) -> None:
    """It says from when time is counted; numbers that are no times have their unit alone."""
    del pyplot  # or a window would be opened
    assert Regression.of([1, 2, 4], [5, 20, 7], unit="mph").plot().get_xlabel() == "mph"
    below = Regression.of([1, 2, 4], [-5, -20, 7], unit="mph")
    (line,) = below.plot().lines
    assert [*line.get_xdata()] == [-20, 7]
    assert [*line.get_ydata()] == [below.at(-20), below.at(7)]
    timed = Regression.of([1, 2, 4], [5, 20, 7], unit="day")
    assert timed.plot().get_xlabel() == "days since 5.0"


@pytest.mark.parametrize("kind", RESULTS)
def test_no_data_is_not_drawn(kind: Any, pyplot: Any) -> None:
    """There is no picture of no data."""
    with pytest.raises(QueryError, match=r"plot: expected"):
        kind.of([]).plot()


# Beside documents


async def test_what_was_read_is_not_written_again(call: Any, commands: Any) -> None:
    """A result that nobody could change is no change; `save` sends nothing."""
    station = Station(name="LGA", density=PdfValue.of(VALUES), spread=Spread.of(VALUES))
    await call(station).insert()
    found = await call(Station).one({"name": "LGA"})
    assert found.density.intervals
    commands.clear()
    await call(found).save()

    assert commands.names == []
    found.spread = Spread.of([1, 2])
    await call(found).save()
    assert (await call(Station).one({"name": "LGA"})).spread == Spread.of([1, 2])


async def test_a_part_of_a_result(call: Any) -> None:
    """A projection may read a part of a result, which is shown as what it is."""
    await call(Station(name="EWR", spread=Spread.of(VALUES))).insert()
    found = await call(Station).one(
        {"name": "EWR"}, projection={"spread": {"$sub": Spread, "mean": True}}
    )

    assert repr(found.spread) == "Spread(mean=3.875)"
    assert found.spread


@pytest.mark.parametrize("kind", RESULTS)
def test_results_as_json(kind: Any) -> None:
    """Results become values that JSON takes."""
    made = Station(
        name="JFK",
        **{{"PdfValue": "density"}.get(kind.__name__, kind.__name__.lower()): kind.of(VALUES)},
    )

    assert json.loads(json.dumps(made.to_json_type(), allow_nan=False))["name"] == "JFK"


def test_without_percentiles() -> None:
    """A spread may have no percentiles."""
    assert Spread.of(VALUES, percentiles=()).percentiles == ()
    assert {*insight.spread(VALUES, 3, percentiles=())} == {
        "n",
        "left_out",
        "mean",
        "std",
        "min",
        "max",
    }


def test_results_as_columns(db: str) -> None:
    """Stored results are read into columns, with a type for each figure."""
    pytest.importorskip("pymongoarrow", reason="columns need the extra `arrow`")
    from loom.frames import arrow

    Station(name="JFK", spread=Spread.of(VALUES), trending=Trending.of(VALUES)).insert()
    Station(name="LGA", spread=Spread.of([]), trending=Trending.of([])).insert()
    found = arrow.table(Station, sort="name").to_pydict()

    assert [spread["mean"] for spread in found["spread"]] == [3.875, None]
    assert found["spread"][0]["percentiles"] == list(Spread.of(VALUES).percentiles)
    assert found["trending"][0]["regression"]["slope"] == Regression.of(VALUES).slope
