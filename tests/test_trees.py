"""Trees: ids as bytes, what is found, and the order in which it goes."""

from __future__ import annotations

import sys
import tracemalloc
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import Frame, MissingExtra
from loom.encoding import DEFAULT_CODEC_OPTIONS as CODECS
from loom.frames.links import Link
from loom.frames.trees import Place, Tree, pack, unpack


class Node(Frame):
    """Refers to others."""

    ups: list[Any]


LINK = Link(Node, ("ups",), "cascade", Node)


class Colour(Enum):
    """Values that are stored as text."""

    RED = "red"


# Ids


@pytest.mark.parametrize(
    "id",
    [
        ObjectId(b"-0-1-2-3-4-5"),
        "text",
        "65f000000000000000000001",
        7,
        -(2**63),
        1.5,
        True,
        b"bytes",
        UUID(int=5),
        datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc),
        Decimal128("1.50"),
        {"shop": 1, "number": {"$x": [1]}},
        Binary(b"1234567890123456", 3),
    ],
    ids=repr,
)
def test_ids_survive(id: Any) -> None:
    """An id as bytes becomes one that is stored as the same, and is packed as the same."""
    codecs = CODECS.with_options(uuid_representation=4)
    again = unpack(pack(id, codecs))

    assert pack(id, codecs) == pack(again, codecs)


def test_equal_ids_are_one() -> None:
    """What is equal to MongoDB is packed alike, and nothing else."""
    assert 1 == len({pack(id, CODECS) for id in (1, 1.0, Int64(1))})
    assert pack("red", CODECS) == pack(Colour.RED, CODECS)
    assert pack(Decimal("1.5"), CODECS) == pack(Decimal128("1.5"), CODECS)
    assert 4 == len({pack(id, CODECS) for id in (1, True, "1", {"a": 1})})


# Trees


def grown(roots: list[int], edges: list[tuple[int, int]]) -> Tree:
    """Return the tree of what refers to the roots: `(source, target)` is a reference."""
    place = Place(0, Node, CODECS)
    tree = Tree(place, roots)
    while True:
        newest = {id for ids in tree.ids(place, 3, newest=True) for id in ids}
        found: dict[int, list[bytes]] = {}
        for source, target in edges:
            if target in newest:
                found.setdefault(source, []).append(pack(target, CODECS))
        if found:
            tree.add(LINK, place, place, [(pack(s, CODECS), t) for s, t in found.items()])
        if not tree.deepen():
            return tree


def order(tree: Tree, *, with_roots: bool) -> list[int]:
    """Return the ids in the order in which they go."""
    tree.arrange(with_roots=with_roots)
    return [id for batch in tree.batches(3) for _, id in batch.rows]


GRAPHS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40)
ROOTS = st.lists(st.integers(0, 11), min_size=1, max_size=3, unique=True)


@settings(max_examples=300, deadline=None)
@given(edges=GRAPHS, roots=ROOTS)
def test_all_that_refers_goes_once_and_the_rest_can_be_found_again(
    edges: list[tuple[int, int]], roots: list[int]
) -> None:
    """However far a delete came, what is left of the tree is reached from the roots that are left."""
    reached = closure(roots, edges)
    tree = grown(roots, edges)
    gone = order(tree, with_roots=False) if reached - {*roots} else []
    tree.close()

    assert sorted(reached - {*roots}) == sorted(gone)
    for number in range(len(gone) + 1):
        left = reached - {*gone[:number]}
        kept = [(s, t) for s, t in edges if s in left and t in left]
        assert left == closure(roots, kept)


@settings(max_examples=300, deadline=None)
@given(edges=GRAPHS, roots=ROOTS, with_roots=st.booleans())
def test_leaves_go_first(edges: list[tuple[int, int]], roots: list[int], with_roots: bool) -> None:
    """Nothing goes before what refers to it, but for what is in a circle with it."""
    tree = grown(roots, edges)
    if tree.size:
        gone = order(tree, with_roots=with_roots)
        position = {id: at for at, id in enumerate(gone)}
        going = [(s, t) for s, t in edges if s in position and t in position]
        backwards = [(target, source) for source, target in going]
        for source, target in going:
            if source not in closure([target], backwards):
                assert position[source] < position[target]
        assert len(position) == len(gone)
    tree.close()


def test_around_a_circle() -> None:
    """What leads into a circle goes before it, and it before what it leads to."""
    edges = [(2, 1), (3, 2), (4, 3), (5, 4), (3, 5), (6, 5), (7, 6), (6, 7), (8, 7), (9, 2)]
    tree = grown([1], edges)
    gone = order(tree, with_roots=True)
    tree.close()

    assert sorted(gone) == [*range(1, 10)]
    places = [
        {8: "last", 6: "second", 7: "second", 9: "any"}.get(id, "first" if id > 2 else id)
        for id in gone
    ]
    assert ["last", "second", "second", "first", "first", "first", 2, 1] == [
        place for place in places if place != "any"
    ]


def test_a_circle_goes_from_its_end() -> None:
    """In a circle a document goes before the one by which it is found from the root."""
    ring = [(n + 1, n) for n in range(1, 30)] + [(2, 30)]
    tree = grown([1], ring)

    assert [*range(30, 1, -1)] == order(tree, with_roots=False)
    tree.close()


def test_circles_need_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tree with long circles nothing is held in memory while it is put in order."""
    monkeypatch.setattr("loom.frames.trees.CACHE", 100)
    place = Place(0, Node, CODECS)
    tree = Tree(place, [0])
    count = 20_000
    ids = [pack(n, CODECS) for n in range(count)]
    # One ring, and one ring of two on each of its documents.
    tree.add(LINK, place, place, [(ids[n], [ids[0], ids[n - 1]]) for n in range(1, count)])
    tree.add(LINK, place, place, [(ids[1], [ids[-1]])])
    twins = [pack(-n, CODECS) for n in range(1, count)]
    tree.deepen()
    tree.add(LINK, place, place, [(twins[n - 1], [ids[n], twins[n - 2]]) for n in range(1, count)])
    tree.deepen()
    tracemalloc.start()
    tree.arrange(with_roots=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 200_000
    tree.close()


def closure(roots: list[int], edges: list[tuple[int, int]]) -> set[int]:
    """Return what refers to the roots at any depth, and the roots."""
    found = {*roots}
    while new := {s for s, t in edges if t in found} - found:
        found |= new
    return found


def test_roots_alone_need_no_database() -> None:
    """A delete with nothing around it remembers its ids only."""
    tree = grown([1, 2, 3, 4], [(9, 8)])

    assert tree._db is None
    assert ([[1, 2, 3], [4]], [True, False]) == (
        [*tree.ids(tree.root, 3)],
        tree.holds(tree.root, [pack(1, CODECS), pack(9, CODECS)]),
    )
    assert [1, 2, 3, 4] == order(tree, with_roots=True)
    assert [] == tree.reasons(1)


def test_reasons() -> None:
    """What goes knows why: all that it refers to in the tree, not itself; a root has no reason."""
    tree = grown([1], [(2, 1), (3, 1), (3, 2), (3, 3), (3, 7), (1, 3)])
    tree.arrange(with_roots=True)
    reasons = {id: tree.reasons(n) for batch in tree.batches(9) for n, id in batch.rows}

    assert {1: [], 2: [(LINK, [1])], 3: [(LINK, [1, 2])]} == reasons
    tree.close()


def test_events_are_sent_when_one_way_asks_for_them() -> None:
    """A document that goes for two links is quiet only when both are."""
    quiet = Link(Node, ("friend",), "cascade", Node, is_heard=False)
    place = Place(0, Node, CODECS)
    tree = Tree(place, [1])
    one, two, three = (pack(id, CODECS) for id in (1, 2, 3))
    tree.add(quiet, place, place, [(two, [one]), (three, [one])])
    tree.add(LINK, place, place, [(three, [one])])
    tree.deepen()
    tree.arrange(with_roots=False)

    assert [(False, 2), (True, 3)] == [(b.is_heard, b.rows[0][1]) for b in tree.batches(9)]
    tree.close()


def test_counting_once() -> None:
    """An id is counted once until counting begins anew."""
    tree = grown([1], [(2, 1)])

    assert (2, 1) == (tree.count_once([b"a", b"b"]), tree.count_once([b"b", b"c"]))
    tree.forget_counted()
    assert 1 == tree.count_once([b"a"])
    tree.close()


def test_a_python_without_sqlite_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no sqlite3, a delete that takes others with it says so before it begins."""
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(MissingExtra, match="a Python built without it"):
        grown([1], [(2, 1)])
    assert 0 == grown([1], []).size
