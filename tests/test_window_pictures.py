"""Windows as pictures and as small tables."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra plot is not installed")

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from collections.abc import Iterator

from matplotlib import pyplot

from loom import FieldError, QueryError
from loom.frames.time import Moment, MomentWindow

MIDNIGHT = datetime(2024, 3, 10, 5, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


class Price(Moment):
    """A price."""

    amount: float | None
    volume: int
    note: str


def window(hours: Any, **options: Any) -> MomentWindow:
    """Return a window with moments so many hours after midnight in New York."""
    return MomentWindow(
        [
            Price(symbol="<ACME>", time=MIDNIGHT + n * HOUR, amount=n / 4, volume=n, note="<i>")
            for n in hours
        ],
        Price,
        tzone="America/New_York",
        **options,
    )


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Leave no picture open."""
    yield
    pyplot.close("all")


def test_plot_draws_each_numeric_field() -> None:
    """Without names all numbers are drawn, over their times in the zone of the window."""
    axes = window(range(9)).plot()

    assert [line.get_label() for line in axes.get_lines()] == ["amount", "volume"]
    assert axes.get_lines()[0].get_ydata().tolist() == [n / 4 for n in range(9)]
    assert axes.get_title() == "<ACME>"
    # From one to three the clock of the zone was set forward.
    labels = axes.xaxis.get_major_formatter().format_ticks(
        mpl.dates.date2num([MIDNIGHT + 2 * HOUR])
    )
    assert labels == ["03:00"]


def test_plot_parts_lines_at_gaps() -> None:
    """Lines are parted where nothing is for longer than asked, and elsewhere where a value lacks."""
    found = window([0, 1, 2, 9, 10, 20])

    assert not np.isnan(found.plot("amount").get_lines()[0].get_ydata()).any()
    drawn = found.plot("amount", gap="5h").get_lines()[0].get_ydata()
    assert np.flatnonzero(np.isnan(drawn)).tolist() == [3, 6]
    assert len(drawn) == 8
    lacking = MomentWindow([Price(symbol="A", time=MIDNIGHT + n * HOUR, amount=v) for n, v in
                            enumerate([1.0, None, np.inf, 4.0])])  # fmt: skip
    assert np.isnan(lacking.plot("amount").get_lines()[0].get_ydata()).tolist() == [
        False, True, True, False,
    ]  # fmt: skip


def test_plot_shows_single_values() -> None:
    """A value between two gaps has no line, and is seen by a point, as few values are."""
    hours = [*range(60), 80, *range(100, 160)]

    def points(*given: Any, **options: Any) -> Any:
        line = window(*given).plot("amount", **options).get_lines()[0]
        assert line.get_marker() == "."
        places = np.arange(len(line.get_ydata()))
        return places[line.get_markevery()].tolist() if line.get_markevery() is not None else None

    assert points(hours) == []
    # A value that is missing stands before it, and one before what follows.
    assert points(hours, gap="5h") == [61]
    assert points(range(5)) is None


def test_plot_takes_axes() -> None:
    """It is drawn where one says, and the axes come back."""
    _, axes = pyplot.subplots()

    assert window(range(3)).plot("volume", axes=axes) is axes
    assert axes.get_ylabel() == "volume"


def test_plot_refuses_what_cannot_be_drawn() -> None:
    """Fields that are none, that are no numbers, and windows of nothing."""
    with pytest.raises(FieldError, match="did you mean 'amount'"):
        window(range(3)).plot("amuont")
    with pytest.raises(QueryError, match="expected numbers, got note"):
        window(range(3)).plot("note")
    with pytest.raises(QueryError, match="expected moments with numbers"):
        window([]).plot("amount")
    with pytest.raises(QueryError, match="gap: expected a duration"):
        window(range(3)).plot(gap="long")


def test_html_shows_the_ends() -> None:
    """A notebook shows the first and the last moments in the zone of the window, escaped."""
    text = window(range(50))._repr_html_()

    assert text.count("<tr>") == 1 + 5 + 1 + 5
    assert "Price &lt;ACME&gt;: 50 moments" in text
    assert "America/New_York</caption>" in text
    assert (
        "<td>2024-03-10 03:00:00-04:00</td><td></td><td>0.5</td><td>2</td><td>&lt;i&gt;</td>"
        in text
    )
    assert "<i>" not in text


def test_html_of_values_of_all_kinds() -> None:
    """Nothing is shown as nothing, long text is cut, times are in the zone."""

    class Event(Moment):
        seen: datetime
        what: str | None
        count: int | None

    events = [
        Event(symbol="A", time=MIDNIGHT, seen=MIDNIGHT, what="x" * 200, count=None),
        Event(symbol="A", time=MIDNIGHT + HOUR, seen=None, what=None, count=3),
    ]
    text = MomentWindow(events, tzone="America/New_York")._repr_html_()
    assert "x" * 57 + "...</td>" in text
    assert text.count("2024-03-10 00:00:00-05:00") == 2
    assert "None" not in text
    assert "<td>3</td>" in text
    assert "no moments" in MomentWindow([], Event)._repr_html_()
