"""Cones and folds: what was known before an instant, what came after it, and nothing in between."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import QueryError, TimeFrameError
from loom.frames.time import MomentWindow

from .test_window import HOUR, START, Price, amounts, price, window

#: A moment of these tests: its hour, the hour in which it became known, and its number.
Fact = tuple[int, int, int]

FACTS = st.lists(
    st.tuples(st.integers(0, 14), st.none() | st.integers(-3, 6)), min_size=1, max_size=20
)


def facts_of(rows: list[tuple[int, int | None]]) -> list[Fact]:
    """Return moments in the order of windows."""
    facts = [(hour, hour + (late or 0), n) for n, (hour, late) in enumerate(rows)]
    return sorted(facts, key=lambda fact: fact[:2])


def made(rows: list[tuple[int, int | None]]) -> MomentWindow:
    """Return their window; if none has a delay, none says when it became known."""
    nobody = all(late is None for _, late in rows)
    return MomentWindow(
        price(hour, volume=n, known_at=None if nobody else START + (hour + (late or 0)) * HOUR)
        for n, (hour, late) in enumerate(rows)
    )


def numbers(part: MomentWindow) -> list[int]:
    """Return the numbers of moments."""
    return [moment.volume for moment in part]


def last(facts: list[Fact]) -> list[Fact]:
    """Return those that were known last, of each hour."""
    return [f for f in facts if f[1] == max(g[1] for g in facts if g[0] == f[0])]


def known(facts: list[Fact], now: int) -> list[Fact]:
    """Return what was known in an hour."""
    return last([fact for fact in facts if fact[1] <= now])


@given(FACTS, st.integers(-2, 20), st.booleans())
@settings(max_examples=150, deadline=None)
def test_as_of(rows: list[tuple[int, int | None]], now: int, every: bool) -> None:
    """A window as it was known has what had become known, corrected as it then was."""
    facts = facts_of(rows)
    expected = [f for f in facts if f[1] <= now] if every else known(facts, now)
    found = made(rows).as_of(START + now * HOUR, versions="all" if every else "last")

    assert [number for *_, number in expected] == numbers(found)


def test_corrections_are_invisible_before_they_came() -> None:
    """The figure that was published first stands until its correction is known."""
    window = MomentWindow(
        [
            price(0, note="first", known_at=START),
            price(0, note="corrected", known_at=START + 10 * HOUR),
            price(1, note="other", known_at=START + HOUR),
        ]
    )

    assert ["first", "other"] == [m.note for m in window.as_of(START + 9 * HOUR)]
    assert ["corrected", "other"] == [m.note for m in window.as_of(START + 10 * HOUR)]
    assert ["first"] == [m.note for m in window.as_of(START)]
    assert 3 == len(window.as_of(START + 10 * HOUR, versions="all"))


def test_as_of_is_a_view_where_it_can_be() -> None:
    """When everything was known at its time, nothing is copied."""
    whole = window()

    assert np.shares_memory(whole.times, whole.as_of(START + 5 * HOUR).times)
    with pytest.raises(TimeFrameError, match="MomentWindow.as_of: expected a datetime with a zone"):
        whole.as_of(datetime(2024, 3, 10))
    with pytest.raises(QueryError, match="expected versions='last' or 'all', got 'first'"):
        whole.as_of(START, versions="first")  # type: ignore[arg-type]


def test_what_some_do_not_say() -> None:
    """Nobody says so: event times count. Some do: what asks for knowledge counts the others."""
    silent = [price(0), price(1)]
    assert 1 == len(MomentWindow(silent).as_of(START))
    assert 2 == len(MomentWindow(silent).sliding_time_cone(1, 1))
    mixed = MomentWindow([*silent, price(2, known_at=START + 5 * HOUR), price(3, known_at=START)])
    asked: dict[str, Any] = {
        "as_of": lambda part: part.as_of(START),
        "sliding_time_cone": lambda part: part.sliding_time_cone(1, 1),
        "folds": lambda part: part.folds(1, 1),
    }
    for name, ask in asked.items():
        message = rf"MomentWindow\.{name}: expected a known_at for all moments or for none, got "
        with pytest.raises(QueryError, match=message + r"2 of 4 without; .* Q\.known_at != None"):
            ask(mixed)
        # None of a part says so, but of the whole some do.
        with pytest.raises(QueryError, match=message + "2 of 2 without"):
            ask(mixed[:2])
        with pytest.raises(QueryError, match=message + "1 of 2 without"):
            ask(mixed[::2])
        ask(mixed[2:])
        ask(mixed[:0])
    with pytest.raises(QueryError, match="got 1 of 2 without"):
        pickle.loads(pickle.dumps(mixed[1:3])).as_of(START)
    told = [datetime(2024, 3, 10, 5), datetime(2024, 3, 10)]

    assert [0.0, 10.0, 20.0, 30.0] == amounts(mixed)
    assert [None, None, *told] == mixed.known.tolist()
    assert not mixed.known.flags.writeable
    assert told == mixed[2:].known.tolist()
    assert [3] == [len(part) for part in mixed.sliding_window(3)][:1]
    assert 30.0 == mixed.latest.amount


def expected_cones(
    facts: list[Fact],
    past: int,
    future: int,
    gap: int,
    kinds: tuple[bool, bool, bool],
    strict: bool,
) -> list[tuple[list[int], list[int]]]:
    """Return the numbers of the moments of all cones, found one by one."""
    hours = sorted({hour for hour, *_ in facts})
    finals = last(facts)
    found = []
    for place, hour in enumerate(hours):
        now: int | None = hour - gap
        if kinds[2]:
            now = hours[place - gap] if place >= gap else None
        before = [] if now is None else [f for f in known(facts, now) if f[0] < now]
        before = (
            before[-past:]
            if kinds[0]
            else [f for f in before if now is not None and f[0] >= now - past]
        )
        after = [f for f in finals if f[0] >= hour]
        after = after[:future] if kinds[1] else [f for f in after if f[0] < hour + future]
        is_whole = now is not None
        is_whole &= len(before) == past if kinds[0] else hours[0] <= (now or 0) - past
        is_whole &= len(after) == future if kinds[1] else hour + future <= hours[-1]
        if is_whole or not strict:
            found.append(([n for *_, n in before], [n for *_, n in after]))
    return found


@given(
    FACTS,
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 4),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_cones(
    rows: list[tuple[int, int | None]],
    past: int,
    future: int,
    gap: int,
    kinds: tuple[bool, bool, bool],
    strict: bool,
) -> None:
    """Whatever sizes, gaps and corrections there are, cones have what the definition says."""
    sizes = [n if kind else f"{n}h" for n, kind in zip((past, future, gap), kinds, strict=True)]
    found = made(rows).sliding_time_cone(sizes[0], sizes[1], strict, gap=sizes[2])
    cones = expected_cones(facts_of(rows), past, future, gap, kinds, strict)

    assert cones == [(numbers(one), numbers(two)) for one, two in found]
    assert len(cones) == len(found)
    assert cones == [(numbers(found[n].past), numbers(found[n].future)) for n in range(len(found))]


@given(FACTS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_cone_knows_its_future(
    rows: list[tuple[int, int | None]], past: int, future: int, gap: int, by_count: bool
) -> None:
    """All in a past happened, and was known, before its future begins."""
    sizes: Any = (past, future, gap) if by_count else (f"{past}h", f"{future}h", f"{gap}h")
    cones = made(rows).sliding_time_cone(sizes[0], sizes[1], gap=sizes[2])
    for (before, after), begin in zip(cones, cones.times, strict=True):
        assert (before.times < begin).all()
        assert (before.known <= begin).all()
        assert (after.times >= begin).all()
        assert begin == after.times[0]


@given(FACTS, st.integers(0, 8), st.integers(1, 8), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_slice_knows_nothing_around_it(
    rows: list[tuple[int, int | None]], start: int, length: int, strict: bool
) -> None:
    """Cones, folds and versions of a slice are those of a window of its moments alone."""
    part = made(rows)[min(start, len(rows) - 1) :][:length]
    alone = MomentWindow([*part], Price)
    for sizes in ((2, 2), ("2h", "3h")):
        assert [*alone.sliding_time_cone(*sizes, strict)] == [
            *part.sliding_time_cone(*sizes, strict)
        ]
        assert alone.folds(*sizes) == part.folds(*sizes)
    assert alone.as_of(START + 9 * HOUR) == part.as_of(START + 9 * HOUR)


def test_cones_are_views() -> None:
    """When everything was known at its time, nothing is copied."""
    whole = window(20)
    for past, future in whole.sliding_time_cone(5, "5h"):
        assert past._columns is future._columns is whole._columns


def test_cones_are_a_sequence() -> None:
    """They have a length, places, slices, and the times where their futures begin."""
    found = window(10).sliding_time_cone(3, 2, strict=True)

    assert 6 == len(found)
    assert ([0.0, 10.0, 20.0], [30.0, 40.0]) == tuple(map(amounts, found[0]))
    assert [40.0, 50.0, 60.0] == amounts(found[-3:][1].past)
    assert [50.0, 60.0, 70.0] == amounts(found[-1].past)
    assert [3, 5, 7] == [int(moment.hour) for moment in found[::2].times.tolist()]
    assert "Cones(6 in MomentWindow(Price ACME: 10 moments" in repr(found)


def test_steps() -> None:
    """Every so many times with moments, or every so often."""
    whole = window(10)

    assert [0, 4, 8] == [t.hour for t in whole.sliding_time_cone(3, 2, step=4).times.tolist()]
    assert [0, 4, 8] == [t.hour for t in whole.sliding_time_cone(3, 2, step="4h").times.tolist()]
    strict = whole.sliding_time_cone(3, 2, True, step="4h")
    assert [4, 8] == [t.hour for t in strict.times.tolist()]
    # Steps much shorter than a century are not counted one by one.
    ends = MomentWindow([price(0), price(1), price(24 * 36_525)])
    assert 3 == len(ends.sliding_time_cone(1, 1, step="1ms"))


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_steps_between_moments(hours: list[int], step: int) -> None:
    """A cone is at the first time at or behind each step, each once."""
    times = sorted({*hours})
    steps = range(times[0], times[-1] + 1, step)
    expected = sorted({min(time for time in times if time >= at) for at in steps})
    found = MomentWindow(map(price, hours)).sliding_time_cone(1, 1, step=step * HOUR)

    assert expected == [
        (t.replace(tzinfo=timezone.utc) - START) // HOUR for t in found.times.tolist()
    ]


def test_moments_of_one_time_share_a_cone() -> None:
    """None of them is in the past of another."""
    found = MomentWindow([price(0), price(1, note="a"), price(1, note="b"), price(2)])
    cones = found.sliding_time_cone(2, 2)

    assert 3 == len(cones)
    assert ["a", "b"] == [m.note for m in cones[1].future]
    assert ["a", "b"] == [m.note for m in cones[2].past]


def test_an_empty_window_has_no_cones() -> None:
    """Nor folds."""
    for sizes in ((2, 2), ("2h", "2h")):
        for strict in (False, True):
            assert [] == [*window()[:0].sliding_time_cone(*sizes, strict)]
        assert [] == window()[:0].folds(*sizes)


@pytest.mark.parametrize("name", ["past_size", "future_size", "gap", "step"])
def test_what_is_no_size_is_refused(name: str) -> None:
    """The error names the argument."""
    sizes: dict[str, Any] = {"past_size": 2, "future_size": 2} | {name: -1}
    with pytest.raises(QueryError, match=f"sliding_time_cone, {name}: expected a number of mom"):
        window().sliding_time_cone(**sizes)


def test_a_third_size_is_refused() -> None:
    """It is no `strict`, and was meant as a gap."""
    with pytest.raises(QueryError, match="expected strict=True or False, got '1h'; .* gap="):
        window().sliding_time_cone("2h", "2h", "1h")  # type: ignore[arg-type]


# Folds


@given(
    FACTS,
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 3),
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=250, deadline=None)
def test_no_future_enters_a_past(
    rows: list[tuple[int, int | None]],
    past: int,
    future: int,
    gap: int,
    embargo: int,
    kinds: tuple[bool, bool, bool, bool],
) -> None:
    """No moment, and no time, of any fold's future is in any fold's past; folds are whole."""
    sizes: Any = [
        n if kind else f"{n}h" for n, kind in zip((past, future, gap, embargo), kinds, strict=True)
    ]
    found = made(rows).folds(sizes[0], sizes[1], gap=sizes[2], embargo=sizes[3])
    pasts = {moment.time for fold in found for moment in fold.past}
    futures = {moment.time for fold in found for moment in fold.future}

    assert set() == pasts & futures
    for fold in found:
        assert not kinds[0] or past == len(fold.past)
        assert not kinds[1] or future == len(fold.future)
        begin = fold.future.times[0]
        assert (fold.past.times < begin).all()
        assert (fold.past.known <= begin).all()
    for one, two in pairwise(found):
        ends = one.future.times[-1], two.past.times[:1]
        between = {
            m.time for m in made(rows) if ends[0] < np.datetime64(m.time.replace(tzinfo=None))
        }
        skipped = {t for t in between if (np.datetime64(t.replace(tzinfo=None)) < ends[1]).all()}
        if len(ends[1]):
            assert ends[0] < ends[1][0]
            assert not kinds[3] or embargo <= len(skipped)
            assert kinds[3] or embargo * HOUR <= ends[1][0] - ends[0]


def test_folds() -> None:
    """Each begins where the one before ended, after a gap and an embargo."""
    whole = window(20)

    assert [
        ([0.0, 10.0, 20.0], [30.0, 40.0]),
        ([50.0, 60.0, 70.0], [80.0, 90.0]),
        ([100.0, 110.0, 120.0], [130.0, 140.0]),
        ([150.0, 160.0, 170.0], [180.0, 190.0]),
    ] == [tuple(map(amounts, fold)) for fold in whole.folds(3, 2)]
    assert [
        ([0.0, 10.0, 20.0], [40.0, 50.0]),
        ([80.0, 90.0, 100.0], [120.0, 130.0]),
    ] == [tuple(map(amounts, fold)) for fold in whole.folds(3, 2, gap=1, embargo=2)]
    by_time = whole.folds("3h", "2h", gap="1h", embargo="2h")
    assert [
        ([0.0, 10.0, 20.0], [40.0, 50.0]),
        ([80.0, 90.0, 100.0], [120.0, 130.0]),
    ] == [tuple(map(amounts, fold)) for fold in by_time]


def test_folds_of_what_was_known_late() -> None:
    """What was known late does not count, and what was before the fold is not taken instead."""
    late = dict.fromkeys((5, 6), START + 12 * HOUR)
    moments = [price(n, known_at=late.get(n, START + n * HOUR)) for n in range(14)]
    found = MomentWindow(moments).folds(3, 2)

    assert [
        ([0.0, 10.0, 20.0], [30.0, 40.0]),
        ([70.0, 80.0, 90.0], [100.0, 110.0]),
    ] == [tuple(map(amounts, fold)) for fold in found]


def test_times_before_1970() -> None:
    """Instants before 1970 are instants like others."""
    early = datetime(1969, 12, 31, 22, tzinfo=timezone.utc)
    found = MomentWindow((price(0, time=early + n * HOUR, volume=n) for n in range(5)), Price)

    assert [([0, 1], [2, 3])] == [(numbers(p), numbers(f)) for p, f in found.folds("2h", "2h")]
