"""What type checkers see of moments; checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

from typing_extensions import assert_type

from loom import Q
from loom.frames.ledger import LedgerFrame
from loom.frames.time import DailyFrame, LedgerMoment, Moment, TimedFrame
from loom.frames.time.moment import AwaitedMoments

NOON = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)


class Price(Moment):
    """A moment."""

    _timeseries = {"granularity": "hours"}

    amount: float


class Ticket(Moment, LedgerFrame):
    """One that is never changed."""

    amount: float


class Tide(LedgerMoment):
    """The same."""

    metres: float


class Reading(TimedFrame):
    """One with other names."""

    _time_field = "ts"
    _symbol_field = None

    ts: datetime


def results() -> None:
    """Frames of the class, whatever is asked by."""
    assert_type(Price.latest("X"), Price | None)
    assert_type(Price.latest(5, known_at=NOON, required=True), Price)
    assert_type(Price.latest(Q.amount > 5), Price | None)
    assert_type(Reading.latest(UUID(int=0)), Reading | None)
    assert_type(Price.as_of("X", NOON, DailyFrame.create(NOON)), list[Price])
    assert_type(Ticket.latest("X"), Ticket | None)
    assert_type(Tide.as_of(), list[Tide])
    assert_type(Price(symbol="X", time=NOON).time, datetime)
    assert_type(Price(symbol="X", time=NOON).known_at, datetime)
    assert_type(Price.create_collection(modify=True), bool)
    Price.latest(2.5)  # type: ignore[call-overload]  # no symbol
    Price.as_of("X", "now")  # type: ignore[arg-type]  # an instant


async def awaited() -> None:
    """The same, awaited."""
    prices: AwaitedMoments[Price] = Price.aio
    assert_type(await prices.latest("X"), Price | None)
    assert_type(await prices.latest("X", required=True), Price)
    assert_type(await prices.as_of("X", NOON), list[Price])
    assert_type(await prices.create_collection(), bool)
