"""Windows of moments: how they are made, their moments, columns and views."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from bson import Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import FieldError, Frame, NotFound, QueryError, SubFrame, TimeFrameError
from loom.frames.time import DailyFrame, Moment, MomentWindow, Regression, Spread, TimedFrame

START = datetime(2024, 3, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


class Place(SubFrame):
    """Where something was traded."""

    name: str


class Price(Moment):
    """A price."""

    amount: float
    volume: int | None
    open: bool
    note: str
    tags: list[str]
    place: Place


class Reading(TimedFrame):
    """What a sensor says, with names of its own."""

    _time_field = "ts"

    ts: datetime
    celsius: float


class Tick(Moment):
    """What is told of a stock, of several kinds."""

    _kind_field = "kind"


class Trade(Tick):
    """One kind."""

    paid: float


class Bid(Tick):
    """Another."""

    bid: float


class FirmBid(Bid):
    """A kind of the other."""

    size: int


def nan() -> float:
    """Return one that is no other."""
    return float("nan")


def price(hour: float, **values: Any) -> Price:
    """Return a moment so many hours after the start."""
    return Price({"symbol": "ACME", "time": START + hour * HOUR, "amount": hour * 10.0} | values)


def window(count: int = 10) -> MomentWindow:
    """Return a window with a moment in each hour."""
    return MomentWindow(price(hour) for hour in range(count))


def ticks() -> list[Any]:
    """Return moments of three kinds, none of which is stored."""
    return [
        Trade(symbol="A", time=START, paid=1.0),
        Bid(symbol="A", time=START + HOUR, bid=2.0),
        FirmBid(symbol="A", time=START + 2 * HOUR, bid=3.0, size=4),
    ]


def amounts(moments: Any) -> list[Any]:
    """Return what identifies the moments of these tests."""
    return [moment.amount for moment in moments]


# Out of frames


def test_values_are_those_of_documents() -> None:
    """Sub-frames, results among them, are dicts in columns, and themselves in moments."""

    class Told(Moment):
        july: Spread
        places: list[Place]

    july, places = Spread.of([1.0, 2.0]), [Place(name="NYSE")]
    given = Told(symbol="ACME", time=START, july=july, places=places)
    found = MomentWindow([given])
    places[0].name = "LSE"

    assert 1.5 == found.values("july")[0]["mean"]
    assert [{"name": "NYSE"}] == found.values("places")[0]
    assert (july, [Place(name="NYSE")]) == (found[0].july, found[0].places)


def test_moments_are_those_that_were_given() -> None:
    """A window gives back frames of the class with what they held, and not what they lacked."""
    given = [
        price(1, _id=ObjectId(), volume=None, tags=["a"], place=Place(name="NYSE")),
        price(0, volume=5, open=True, note="x", known_at=START + 9 * HOUR),
    ]
    found = MomentWindow(given)

    assert [given[1]._document, given[0]._document] == [m._document for m in found]
    assert {Price} == {type(m) for m in found}
    assert "NYSE" == found[1].place.name
    assert isinstance(found[1].place, Place)
    assert "volume" in found[1]
    assert "note" not in found[1]


def test_moments_that_are_in_a_window() -> None:
    """One with an `_id` by that, one that was never stored by its values; others are none."""
    nan = float("nan")
    given = [
        price(0, volume=5, place=Place(name="NYSE")),
        price(1, amount=nan),
        price(1, note="x", known_at=START + 9 * HOUR),
        price(2, _id=ObjectId()),
    ]
    found = MomentWindow(given)
    stored = Price(_id=given[3]._id, symbol="ACME", time=START + 5 * HOUR)
    others = [price(0), price(1), price(1, note="y"), price(3), price(2), price(2, _id=ObjectId())]

    assert all(moment in found for moment in [*given, *found, stored])
    assert not any(moment in found for moment in [*others, Price(symbol="ACME"), ticks()[0]])
    assert [False, True, True, False] == [moment in found[1:3] for moment in given]
    assert given[0] not in found[:0]
    assert Price({**given[0]._document, "symbol": "B"}) not in found
    for what in ("amount", START, None):
        with pytest.raises(TypeError, match="expected a moment before in, got .*fields are in"):
            what in found  # noqa: B015


def test_moments_are_sorted_by_time_then_by_when_they_were_known() -> None:
    """What became known together stays in the order in which it came."""
    given = [
        price(2, note="a"),
        price(1, note="late", known_at=START + 5 * HOUR),
        price(1, note="b"),
        price(1, note="c"),
        price(0, note="d"),
    ]

    assert ["d", "b", "c", "late", "a"] == [m.note for m in MomentWindow(given)]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_sorting_is_that_of_python(rows: list[tuple[int, int | None]]) -> None:
    """Whatever times there are, the order is the stable one by time and known_at."""
    moments = [
        price(t, volume=n, known_at=None if k is None else START + k * HOUR)
        for n, (t, k) in enumerate(rows)
    ]
    expected = sorted(moments, key=lambda m: (m.time, m.known_at or m.time))

    assert [m.volume for m in expected] == [m.volume for m in MomentWindow(moments, Price)]


def test_several_symbols_are_counted() -> None:
    """Nothing is left out: the error says how many moments each symbol has."""
    given = [price(n, symbol=s) for n, s in enumerate("AAABBC")] + [price(9, symbol=None)]

    with pytest.raises(
        QueryError, match=r"expected one symbol, got 4: A 3, B 2, C 1, none 1; .*'A'"
    ):
        MomentWindow(given)


def test_many_symbols_are_summed() -> None:
    """The error names the largest and sums the rest."""
    with pytest.raises(QueryError, match=r"got 9: S0 1, S1 1, .*, 4 others 4;"):
        MomentWindow(price(n, symbol=f"S{n}") for n in range(9))


def test_symbols_may_be_documents() -> None:
    """The meta field of a time series is often a document."""
    found = MomentWindow([price(0, symbol={"sensor": 1}), price(1, symbol={"sensor": 1})])

    assert {"sensor": 1} == found.symbol
    with pytest.raises(QueryError, match="expected one symbol, got 2"):
        MomentWindow([price(0, symbol={"sensor": 1}), price(1, symbol={"sensor": 2})])


def test_moments_without_a_time_are_counted() -> None:
    """The error says how many there are."""
    with pytest.raises(QueryError, match="expected a time for each moment, got 2 of 3 without"):
        MomentWindow([price(0), price(1, time=None), Price(symbol="ACME")])


def test_other_frames_are_refused() -> None:
    """Only moments of the class go in; the error counts the others."""

    class Egg(Frame):
        number: int

    with pytest.raises(QueryError, match="expected moments of Price, got 2 others: Reading 2"):
        MomentWindow([price(0), Reading(ts=START), Reading(ts=START)])
    with pytest.raises(QueryError, match="expected a class of moments, got .*Egg"):
        MomentWindow([Egg(number=1)])
    with pytest.raises(QueryError, match="expected moments, got Table; tables go into from_table"):
        MomentWindow(pytest.importorskip("pyarrow").table({"time": []}))
    with pytest.raises(QueryError, match="expected moments or a class, got none"):
        MomentWindow([])


def test_naive_times_need_a_zone() -> None:
    """They are refused, unless the call says whose clock they show."""
    noon = datetime(2024, 3, 10, 12)
    with pytest.raises(TimeFrameError, match="MomentWindow, time of 0: expected a datetime with a"):
        MomentWindow([price(0, time=noon)])
    found = MomentWindow([price(0, time=noon)], tzone="America/New_York")

    assert datetime(2024, 3, 10, 16, tzinfo=timezone.utc) == found[0].time
    assert "2024-03-10T12:00:00-04:00" in repr(found)


def test_times_are_cut_to_milliseconds() -> None:
    """As `insert` cuts them, also before 1970."""
    for year in (1969, 2024):
        moment = datetime(year, 3, 1, 0, 0, 0, 123_456, tzinfo=timezone.utc)

        assert moment.replace(microsecond=123_000) == MomentWindow([price(0, time=moment)])[0].time


def test_a_class_names_its_fields() -> None:
    """A collection with other names, and without a symbol, makes windows as well."""
    found = MomentWindow([Reading(ts=START + HOUR, celsius=2.0), Reading(ts=START, celsius=1.0)])

    assert [1.0, 2.0] == found.values("celsius").tolist()
    assert found.symbol is None
    assert ("ts", "celsius") == found.fields
    assert found.times[0] == found.values("ts")[0]


# Columns


def test_columns_have_the_types_of_numpy() -> None:
    """Numbers, bools and times are arrays of their kind, whatever else objects."""
    found = MomentWindow(
        [
            price(0, volume=Int64(5), open=True, note="x", other=START),
            price(1, volume=6, open=False, note="y", other=START + HOUR),
        ]
    )
    kinds = {name: found.values(name).dtype.str for name in found.fields}

    assert {
        "symbol": "|O",
        "time": "<M8[ms]",
        "amount": "<f8",
        "volume": "<i8",
        "open": "|b1",
        "note": "|O",
        "other": "<M8[ms]",
    } == {name: kinds[name] for name in kinds if name not in ("known_at", "tags", "place")}
    assert ["ACME", "ACME"] == found.values("symbol").tolist()


def test_nulls_are_masked() -> None:
    """None is a mask, NaN a value."""
    found = MomentWindow([price(0, amount=None), price(1, amount=float("nan")), price(2, volume=3)])

    assert [True, False, False] == found.values("amount").mask.tolist()
    assert [None, None, 3] == found.values("volume").tolist()
    assert found[0].amount is None
    assert np.isnan(found[1].amount)
    assert 3 == found[2].volume


@pytest.mark.parametrize(
    "values",
    [[1, 2.5], [2**53, 0.5], [2**53 + 1, 0.5], [2**63, 1], [-(2**63) + 1], [True, 1], [1, "x"], []],
    ids=str,
)
def test_no_value_is_changed(values: list[Any]) -> None:
    """What an array of numbers would change is kept as it is."""
    found = MomentWindow((price(n, other=value) for n, value in enumerate(values)), Price)

    assert values == [m["other"] for m in found]
    assert [type(v) is bool for v in values] == [type(m["other"]) is bool for m in found]


def test_arrays_cannot_be_written() -> None:
    """Neither values nor masks nor times can be changed through what a window gives."""
    found = MomentWindow([price(0, volume=None), price(1, volume=2)])
    for array in (found.values("amount"), found.values("volume"), found.times, found.known):
        with pytest.raises(ValueError, match="read-only|assignment"):
            array[0] = array[1]
    with pytest.raises(ValueError, match="read-only"):
        found.values("volume").mask[0] = False
    with pytest.raises(AttributeError, match="frozen"):
        found["amount"].name = "x"


def test_moments_share_nothing_with_the_window() -> None:
    """Changing a moment that a window gave, or was made of, changes no other."""
    given = price(0, tags=["a"])
    found = MomentWindow([given])
    given.tags.append("b")
    found[0].tags.append("c")

    assert ["a"] == found[0].tags


def test_insight_takes_series() -> None:
    """The values of a field, and their times, are what insight asks for."""
    found = MomentWindow([price(0, amount=1.0), price(1, amount=None), price(2, amount=3.0)])

    assert (2, 2.0, 1) == ((s := Spread.of(found["amount"])).n, s.mean, s.left_out)
    assert 1.0 == pytest.approx(Regression.of(found["amount"], per="hour").slope)
    assert 3 == Spread.of(window(3)["amount"]).n


def test_series_are_sequences() -> None:
    """A series has a length, values, slices and an array."""
    found = window(4)["amount"]

    assert [0.0, 10.0, 20.0, 30.0] == [*found] == np.asarray(found).tolist()
    assert (4, 10.0, [20.0, 30.0]) == (len(found), found[1], found[2:].values.tolist())
    assert "Series('amount', 4 values of float64)" == repr(found)
    assert [0, 10] == np.asarray(found[:2], dtype=int).tolist()
    assert np.shares_memory(found, np.asarray(found))
    assert not np.shares_memory(found, np.array(found))
    with pytest.raises(ValueError, match="amount: expected copy=None, because <class 'int'> needs"):
        found.__array__(int, copy=False)
    revived = pickle.loads(pickle.dumps(found[1:3]))
    assert ([10.0, 20.0], "amount") == (revived.values.tolist(), revived.name)


def test_series_are_equal_by_value() -> None:
    """By name, times and values, of which NaN equals NaN, and null equals null alone."""
    one, two = (
        MomentWindow([price(0, amount=nan()), price(1, volume=None), price(2, volume=0)])
        for _ in "ab"
    )

    assert all(one[name] == two[name] for name in one.fields)
    assert one["volume"] == pickle.loads(pickle.dumps(one["volume"]))
    assert one["volume"][:1] == one["volume"][:1]
    assert one["volume"][1:2] != MomentWindow([price(1, volume=0)])["volume"]
    assert window(3)["amount"] != one["amount"]
    assert window(3)["amount"] != window(2)["amount"]
    assert window(3)["amount"][:2] != window(3)["amount"][1:]
    assert window(3)["amount"] != window(3)["known_at"] != "known_at"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one["amount"])
    nulls = MomentWindow([price(0, amount=None), price(1)])["amount"]
    assert np.isnan(np.asarray(nulls)).tolist() == [True, False]
    with pytest.raises(TypeError, match="expected values without nulls"):
        np.asarray(MomentWindow([price(0, volume=None), price(1, volume=1)])["volume"])


def test_a_misspelt_field_is_refused() -> None:
    """The error names the nearest one."""
    with pytest.raises(
        FieldError, match=r"one of its fields \(symbol, time, .*got 'amout'.*amount"
    ):
        window()["amout"]
    with pytest.raises(FieldError, match=r"one of name, got 'nam'; did you mean 'name'"):
        MomentWindow([price(0, place=Place(name="NYSE"))]).values("place.nam")
    with pytest.raises(
        FieldError, match="tags.first: expected documents that have 'first', got list"
    ):
        MomentWindow([price(0, tags=["a"])]).values("tags.first")
    with pytest.raises(FieldError, match="got 'amuont.x'; did you mean 'amount'"):
        window()["amuont.x"]


def test_fields_inside_documents() -> None:
    """They are taken out of the documents, once for all views; null where one is missing."""
    names = ["A", None, "B", "C"]
    found = MomentWindow(
        price(n, place=None if name is None else {"name": name, "at": {"floor": n}})
        for n, name in enumerate(names)
    )

    assert names == found.values("place.name").tolist()
    floors = found.values("place.at.floor")
    assert (np.dtype(np.int64), [0, None, 2, 3]) == (floors.dtype, floors.tolist())
    assert [2, 3] == found[2:]["place.at.floor"].values.tolist()
    assert np.shares_memory(floors, found[2:].values("place.at.floor"))
    assert "place.at.floor" not in found.fields
    assert [None, None] == window(2).values("place.name").tolist()
    assert (
        5.0 == found.resample(DailyFrame, {"place.at.floor": "sum"})[0].values["place.at.floor_sum"]
    )
    assert Spread.of(found["place.at.floor"]) == Spread.of([0, None, 2, 3])


# Views


def test_indexing() -> None:
    """Moments are counted from both ends; there is an end on both sides."""
    found = window()

    assert (30.0, 90.0, 0.0) == (found[3].amount, found[-1].amount, found[-10].amount)
    for number in (10, -11):
        with pytest.raises(IndexError, match=f"expected a place below 10, got {number}"):
            found[number]
    for place in (1.0, None, [0]):
        with pytest.raises(TypeError, match="expected a place, a slice or the name of a field"):
            window()[place]  # type: ignore[call-overload]


@given(
    st.integers(0, 12),
    st.none() | st.integers(-15, 15),
    st.none() | st.integers(-15, 15),
    st.none() | st.integers(1, 4),
)
@settings(max_examples=200, deadline=None)
def test_slices_are_those_of_lists(
    count: int, start: int | None, stop: int | None, step: int | None
) -> None:
    """A slice, and a slice of a slice, has the moments that a list would have."""
    found, numbers = MomentWindow(map(price, range(count)), Price), [*range(count)]
    rows = slice(start, stop, step)
    part = found[rows]

    assert [n * 10.0 for n in numbers[rows]] == amounts(part) == part.values("amount").tolist()
    assert [n * 10.0 for n in numbers[rows][1:-1]] == amounts(part[1:-1])
    assert amounts(part)[::-1] == amounts(reversed(part))


def test_views_share_memory() -> None:
    """Slices, slices of them, steps and `between` copy nothing."""
    whole = window()
    views = [whole[2:8], whole[2:8][1:], whole[::3], whole.between(START + HOUR, START + 5 * HOUR)]
    for view in views:
        assert np.shares_memory(whole.values("amount"), view.values("amount"))
        assert np.shares_memory(whole.times, view.times)


def test_slices_against_time_are_refused() -> None:
    """A window is always in the order of time."""
    with pytest.raises(QueryError, match="in the order of time"):
        window()[::-1]


@given(st.lists(st.integers(0, 20), max_size=15), st.integers(-2, 22), st.integers(0, 24))
@settings(max_examples=200, deadline=None)
def test_between_takes_the_floor_and_not_the_ceiling(
    hours: list[int], low: int, width: int
) -> None:
    """Of moments at the ends, those at the start belong to it, those at the end do not."""
    found = MomentWindow(map(price, hours), Price).between(
        START + low * HOUR, START + (low + width) * HOUR
    )

    assert [h * 10.0 for h in sorted(hours) if low <= h < low + width] == amounts(found)


def test_between_takes_frames_and_open_ends() -> None:
    """A time frame has both ends; None leaves one open."""
    found = window(48)
    day = DailyFrame.create(START + 30 * HOUR)

    assert amounts(found[24:]) == amounts(found.between(day))
    assert amounts(found[:5]) == amounts(found.between(end=START + 5 * HOUR))
    assert 48 == len(found.between())
    # An end between two milliseconds: the one before it lies inside.
    assert 2 == len(found.between(START, START + HOUR + timedelta(microseconds=1)))
    assert 0 == len(found[3:5].between(START + 8 * HOUR))


def test_between_refuses_what_is_no_stretch_of_time() -> None:
    """Naive datetimes, an end before the start, a frame and an end."""
    with pytest.raises(
        TimeFrameError, match=r"between: expected a datetime with a zone, .*\); write moment.repl"
    ):
        window().between(datetime(2024, 3, 10))
    with pytest.raises(QueryError, match="expected an end behind"):
        window().between(START, START - HOUR)
    with pytest.raises(QueryError, match="expected a frame alone"):
        window().between(DailyFrame.create(START), START)


def test_ends() -> None:
    """`first` and `latest` raise when there is none, `latest_or` does not."""
    found = window(3)

    assert (0.0, 20.0, 20.0) == (found.first.amount, found.latest.amount, found.latest_or().amount)
    nothing = found[:0]
    assert nothing.latest_or() is None
    assert "x" == nothing.latest_or("x")
    with pytest.raises(NotFound, match=r"Price ACME: no moments\).latest: expected a moment"):
        nothing.latest
    with pytest.raises(NotFound, match="first: expected a moment, got an empty window"):
        nothing.first


# As a value


def test_equality() -> None:
    """Windows are equal by class, symbol and all values; where they come from does not count."""
    assert window() == window()
    assert window()[2:4] == MomentWindow([price(3), price(2)])
    assert window() != window(9)
    assert window() != MomentWindow(price(n, symbol="BETA") for n in range(10))
    assert window(2) != MomentWindow([price(0), price(1, amount=None)])
    assert window(2) != MomentWindow([price(0), price(1, other=1)])
    assert window(1) != MomentWindow([price(0.5, amount=0.0)])
    for values in ([nan()], [nan(), "x"], [{"a": [1, nan()]}], [[nan()], [nan(), None]]):
        one, two = (MomentWindow([price(n, amount=v) for n, v in enumerate(values)]) for _ in "ab")
        assert one == two == pickle.loads(pickle.dumps(one))
    assert MomentWindow([price(0, amount=[nan()])]) != MomentWindow([price(0, amount=[nan(), 1])])
    assert window() != "window"
    with pytest.raises(TypeError, match="unhashable"):
        hash(window())


def test_truth_and_length() -> None:
    """An empty window is false."""
    assert (True, False, 10) == (bool(window()), bool(window()[5:5]), len(window()))


def test_repr() -> None:
    """It tells class, symbol, number and ends."""
    assert (
        "MomentWindow(Price ACME: 10 moments, 2024-03-10T00:00:00+00:00 to "
        "2024-03-10T09:00:00+00:00)" == repr(window())
    )
    assert "MomentWindow(Price: no moments)" == repr(MomentWindow([], Price))


def test_the_ends_of_the_calendar() -> None:
    """What a zone cannot show is shown in UTC; frames that are not whole are an error that says so."""
    last = price(0, time=datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=timezone.utc))
    first = price(0, time=datetime(1, 1, 1, tzinfo=timezone.utc))
    found = MomentWindow([last, first], tzone="Asia/Tokyo")

    assert repr(found).endswith("0001-01-01T09:18:59+09:18:59 to 9999-12-31T23:59:59.999000+00:00)")
    assert "9999-12-31 23:59:59.999000+00:00" in found._repr_html_()
    for call in (found[1:].split, found[1:].gaps):
        with pytest.raises(
            TimeFrameError, match="expected a time frame within the years 1 to 9999"
        ):
            call(DailyFrame)
    assert ["0001-01-01"] == [str(day) for day, _ in MomentWindow([first]).split(DailyFrame)]


def test_numbers_of_numpy() -> None:
    """They are kept as the numbers that are stored of them."""
    given = [
        price(0, amount=np.float64(1.5), volume=np.int32(2), open=np.bool_(True)),
        price(1, amount=np.float32(0.5), volume=3, open=False),
        price(2, amount=np.float16(2.5), volume=None, open=np.False_),
    ]
    found = MomentWindow(given)

    assert ["f", "i", "b"] == [found.values(n).dtype.kind for n in ("amount", "volume", "open")]
    assert [1.5, 0.5, 2.5] == found.values("amount").tolist()
    assert [2, 3, None] == found.values("volume").tolist()
    assert [True, False, False] == found.values("open").tolist()
    assert [float, int, bool] == [type(found[0][n]) for n in ("amount", "volume", "open")]


def test_pickle_and_copy() -> None:
    """A view is pickled without the rest of the window."""
    whole = window(1000)
    part = whole[10:20]
    text = pickle.dumps(part)

    assert part == pickle.loads(text) == copy.copy(part) == copy.deepcopy(part)
    assert len(text) < len(pickle.dumps(whole)) / 5
    assert whole.query is None


def test_iteration_crosses_blocks() -> None:
    """More moments than are made at a time come once each, in both directions."""
    found = window(2_500)
    backwards: Iterator[Any] = reversed(found)

    assert [n * 10.0 for n in range(2_500)] == amounts(found)
    assert [n * 10.0 for n in reversed(range(2_500))] == amounts(backwards)


def test_subclasses_stay() -> None:
    """Views of a subclass of windows are of that class."""

    class Prices(MomentWindow):
        __slots__ = ()

    found = Prices(map(price, range(4)))

    assert {Prices} == {type(found[1:]), type(found[::2]), type(found.between(START))}


def test_moments_of_several_kinds() -> None:
    """The class is the nearest that all kinds share, in whatever order they come."""
    trade, bid, firm = ticks()
    for moments in ([trade, bid, firm], [firm, bid, trade]):
        found = MomentWindow(moments)
        assert found.cls is Tick
        assert [Trade, Bid, FirmBid] == [type(moment) for moment in found]
        assert [None, 2.0, 3.0] == found.values("bid").tolist()
        assert 4 == found.latest.size
    assert Bid is MomentWindow([firm, bid]).cls
    assert [Bid, FirmBid] == [type(moment) for moment in MomentWindow([firm, bid])]
    assert FirmBid is MomentWindow([firm]).cls
    assert "kind" not in trade._document  # what was given is as it was
    with pytest.raises(QueryError, match="expected moments of Trade, got 2 others: Bid 1, Price 1"):
        MomentWindow([trade, bid, price(0)])
    with pytest.raises(QueryError, match="expected moments of Price, got 1 others: Trade 1"):
        MomentWindow([price(0), trade])


def test_symbols_are_told_apart_as_on_the_server() -> None:
    """1 and 1.0 are one symbol, True is another, and so are two documents."""

    def of(*symbols: Any) -> MomentWindow:
        return MomentWindow(price(n, symbol=symbol) for n, symbol in enumerate(symbols))

    assert 2 == len(of(1, 1.0))
    assert of(1) == of(1.0) != of(True)
    assert of(True) == of(True)
    with pytest.raises(QueryError, match=r"got 2: 1 2, True 1; make .*: Q.symbol == 1"):
        of(1, True, 1.0)
    with pytest.raises(QueryError, match=r"got 2: .* 2, .* 1; .*: Q.symbol == {'a': 1}"):
        of({"a": 1}, {"a": 2}, {"a": 1})
