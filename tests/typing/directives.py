"""What type checkers see of directives and stages; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from loom import AggregationStages, Frame, Q, SubFrame
from loom.frames.directives import AwaitedDirective, Directive


class Lair(SubFrame):
    """An embedded document."""

    name: str
    gold: int


class Dragon(Frame):
    """A frame."""

    name: str
    age: int
    lair: Lair


def steps() -> None:
    """Steps keep what the results are; groups and stages change it."""
    old = Dragon.filter(Q.age > 100).filter({"name": "Burt"}).sort("-age", descending=False)
    assert_type(old, Directive[Dragon])
    assert_type(old.skip(1).limit(5).sample(2).project("name").add_fields(x=1), Directive[Dragon])
    assert_type(old.projection({"lair": {"$sub": Lair}}), Directive[Dragon])
    assert_type(old.lookup(Dragon, "name", "name", as_="same"), Directive[Dragon])
    groups = old.group_by("age", Q.lair.name, odd={"$mod": ["$age", 2]}).acc(n={"$sum": 1})
    assert_type(groups, Directive[dict[str, Any]])
    assert_type(old.unwind("lair"), Directive[dict[str, Any]])
    assert_type(old.agg([{"$limit": 5}]), Directive[Any])
    assert_type(Dragon.agg(AggregationStages().limit(5)), Directive[Any])
    assert_type(Dragon.aio.filter(Q.age > 1).limit(5), AwaitedDirective[Dragon])
    old.limit("5")  # type: ignore[arg-type]  # a number


def results() -> None:
    """Frames of the class, rows, or what `into` names."""
    old = Dragon.filter(Q.age > 100)
    assert_type(old.load_many(), list[Dragon])
    assert_type(old.load_one(), Dragon | None)
    assert_type(old.load_one(required=True), Dragon)
    assert_type(old.load_latest("age"), Dragon | None)
    assert_type(old.load_latest(required=True), Dragon)
    assert_type(old.exists(), bool)
    assert_type(old.count(max_time_ms=500), int)
    assert_type(old.explain(), str)
    assert_type(old.explain(full=True), dict[str, Any])
    assert_type(old.group_by("age").load_many(), list[dict[str, Any]])
    assert_type(old.group_by("age").load_many(into=Lair), list[Lair])
    assert_type(old.group_by("age").load_one(into=Lair), Lair | None)


async def awaited() -> None:
    """The same, awaited."""
    old = Dragon.aio.filter(Q.age > 100)
    assert_type(await old.load_many(), list[Dragon])
    assert_type(await old.load_one(required=True), Dragon)
    assert_type(await old.load_latest(required=True), Dragon)
    assert_type(await old.count(), int)
    assert_type(await old.explain(full=True), dict[str, Any])
    assert_type(await old.group_by("age").load_many(into=Lair), list[Lair])


def stages() -> None:
    """Every stage gives stages."""
    some = AggregationStages().match(Q.age > 5).group("$name", n={"$sum": 1}).set(x=1)
    assert_type(some, AggregationStages)
    assert_type(some | {"$limit": 5}, AggregationStages)
    assert_type(some.lookup(Dragon, "name", as_="same", pipeline=some), AggregationStages)
    assert_type(some.to_list(), list[dict[str, Any]])
    some.limit("5")  # type: ignore[arg-type]  # a number
    some.fill({"age": {"value": 0}}, sort_by=5)  # type: ignore[arg-type]  # no order
