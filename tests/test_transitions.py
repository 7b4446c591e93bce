"""What is stored before a write and after it, as far as an update document tells."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import WriteError

from loom import BulkError, Frame
from loom.encoding import DEFAULT_CODEC_OPTIONS
from loom.frames import transitions
from loom.frames.counters import counter_cache
from loom.frames.paths import lookup_all
from loom.frames.transitions import UNKNOWN, are_touched, changed_part, touched_by

from .conftest import Runtime


class Thing(Frame):
    """Holds anything."""


class Owner(Frame):
    """Holds a number."""

    number: int


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("post", True),
        ("post.x", True),
        ("post.0", True),
        ("post.$[]", True),
        ("meta.post", True),
        ("meta", True),
        ("meta.post.x", True),
        ("meta.0.post", True),
        ("meta.$.post", True),
        ("posts", False),
        ("meta.other", False),
        ("meta.0.other", False),
        ("other", False),
    ],
)
def test_what_a_change_touches(changed: str, expected: bool) -> None:
    """The path itself, what holds it and what is in it, in lists too."""
    assert are_touched(["post", "meta.post"], [changed]) is expected
    assert are_touched(["post", "meta.post"], ["name", changed]) is expected


values = st.one_of(st.none(), st.integers(0, 2), st.lists(st.integers(0, 2), max_size=2))
embedded = st.dictionaries(
    st.sampled_from("ab"), st.one_of(values, st.dictionaries(st.sampled_from("ab"), values))
)
documents = st.dictionaries(
    st.sampled_from("abc"), st.one_of(values, embedded, st.lists(embedded, max_size=2)), max_size=3
)
paths = st.sampled_from(["a", "b", "c", "a.b", "b.a", "a.b.a", "a.0", "a.0.b", "c.a"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "$set": st.dictionaries(paths, st.one_of(values, embedded), min_size=1, max_size=2),
        "$unset": st.dictionaries(paths, st.just(True), min_size=1, max_size=2),
        "$inc": st.dictionaries(paths, st.just(1), min_size=1, max_size=1),
        "$rename": st.just({"c": "a"}),
    },
).filter(bool)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    document=documents,
    change=changes,
    wanted=st.lists(st.sampled_from(["a", "b", "a.b", "b.a"]), min_size=1, max_size=2),
)
def test_it_is_what_the_server_makes_of_it(
    db: str, document: dict[str, Any], change: dict[str, Any], wanted: list[str]
) -> None:
    """Where an update document tells what is stored after it, that is what is stored."""
    collection = Thing.get_collection()
    collection.replace_one({"_id": 1}, {"_id": 1, **document}, upsert=True)
    names = [p for p in wanted if not any(p.startswith(f"{other}.") for other in wanted)]
    projection = dict.fromkeys(names, True)
    before = collection.find_one({"_id": 1}, projection)
    try:
        collection.update_one({"_id": 1}, change)
    except WriteError:
        return
    after = collection.find_one({"_id": 1}, projection)

    touched = touched_by([change], wanted)
    found = changed_part(before, change, touched, DEFAULT_CODEC_OPTIONS)
    if found is not UNKNOWN:
        expected = {path: lookup_all(after, path) for path in wanted}
        assert expected == {path: lookup_all(found, path) for path in wanted}


async def test_failed_writes_keep_no_frames(call: Runtime) -> None:
    """What is remembered of a write that failed does not keep its frames alive."""
    counter_cache(Owner, "number", of=Thing, by="owner")
    things = [Thing(_id=n, owner=1) for n in range(3)]
    with pytest.raises(BulkError):
        await call(Thing).update_many(things)
    alive = [weakref.ref(thing) for thing in things]
    del things
    gc.collect()

    assert [None] * 3 == [thing() for thing in alive]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * 5, 5),
        ([1] * 150, 100),
        ([30_000] * 5, 5),
        ([30_000] * 20, 8),
        ([9_000] * 20, 10),
        ([30_000, *[1] * 10], 10),
    ],
)
def test_how_many_failed_writes_are_remembered(sizes: list[int], expected: int) -> None:
    """The last ones always, more as long as they are small."""
    writes = [
        transitions.Transition("update", "db.things", [], dict.fromkeys(range(size)), True)
        for size in sizes
    ]

    assert writes[-expected:] == [*transitions._kept(writes)]
