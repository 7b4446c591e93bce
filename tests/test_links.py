"""Links: their filters, their changes on the server, and the same changes in loaded documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Frame, SubFrame
from loom.frames.links import LIST, MAP, Act, Holder, Link, Step

from .conftest import Server


class Thing(Frame):
    """Holds references in every way."""

    _collection = "Thing"


class Target(Frame):
    """Referred to."""


def link(steps: tuple[Step, ...], act: Act, new: Any = None) -> Link:
    """Return a link from Thing to Target."""
    return Link(Thing, steps, act, Target, new_default=lambda: new)


# Pure


@pytest.mark.parametrize(
    ("steps", "act", "filter", "change"),
    [
        (("a",), "nullify", {"a": {"$in": [1, 2]}}, {"$set": {"a": None}}),
        (("a", "b"), "nullify", {"a.b": {"$in": [1, 2]}}, {"$set": {"a.b": None}}),
        (("a", LIST), "pull", {"a": {"$in": [1, 2]}}, {"$pull": {"a": {"$in": [1, 2]}}}),
        (("a", "b", LIST), "pull", {"a.b": {"$in": [1, 2]}}, {"$pull": {"a.b": {"$in": [1, 2]}}}),
        (("a",), "default", {"a": {"$in": [1, 2]}}, {"$set": {"a": 9}}),
        (("a", LIST), "default", {"a": {"$in": [1, 2]}}, {"$set": {"a": 9}}),
        (("a", LIST, "b"), "nullify", {"a.b": {"$in": [1, 2]}}, None),
    ],
)
def test_plain_ways_use_plain_operators(
    steps: tuple[Step, ...], act: Act, filter: Any, change: Any
) -> None:
    """Filters are dotted paths, which an index serves; changes are operators where that is enough."""
    found = link(steps, act)

    assert filter == found.filter([1, 2])
    sent = found.change([1, 2], 9)
    assert change == sent if change is not None else isinstance(sent, list)


def test_maps_and_lists_of_lists_need_expressions() -> None:
    """No dotted path leads into all values of a map."""
    assert ["$expr"] == [*link(("a", MAP), "pull").filter([1])]
    assert ["$expr"] == [*link(("a", LIST, LIST), "pull").filter([1])]
    assert ["$expr"] == [*link(("a", MAP, "b"), "nullify").filter([1])]


def test_what_is_fetched_to_follow_a_link() -> None:
    """Only the references themselves, where a path leads to them."""
    assert {"_id": True, "a.b": True} == link(("a", LIST, "b"), "cascade").projection
    assert {"_id": True, "a": True} == link(("a", MAP, "b"), "cascade").projection


def test_it_reads_sub_frames_and_frames() -> None:
    """Wrapped documents and loaded references are read as what is stored."""

    class Lair(SubFrame):
        keeper: Target

    document = {"lairs": [Lair(keeper=Target(_id=1)), Lair({"keeper": 2}), Lair({}), None, 5]}
    found = link(("lairs", LIST, "keeper"), "nullify")
    assert [1, 2] == [*found.values(document)]
    found.release(document, lambda id: id == 1)
    assert [1, 2] != [*found.values(document)]
    assert {"keeper": None} == document["lairs"][0]._document  # type: ignore[index, union-attr]


def test_names() -> None:
    """A link is shown by its class and path."""
    found = link(("a", LIST, "b"), "cascade")

    assert ("Thing.a.b", "a", "Link(Thing.a.b, cascade)") == (found.place, found.root, repr(found))


# Against the server


@st.composite
def ways(draw: Any) -> tuple[Step, ...]:
    """A way to a reference: names, lists and maps, at most three names deep."""
    steps: list[Step] = []
    for name in draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")])):
        steps.append(name)
        steps += draw(st.lists(st.sampled_from([LIST, MAP]), max_size=2))
    return tuple(steps)


#: Ids of several types, some of which look like expressions of the server.
IDS = st.sampled_from([1, 2, 3, "$gone", "$$gone", "x", {"k": 2}, {"k": "$a"}])


def values(steps: tuple[Step, ...], single: bool = True) -> st.SearchStrategy[Any]:
    """What may be stored along a way; sometimes something else than was declared."""
    other = st.sampled_from([None, 5, "text"])
    if not steps:
        return st.one_of(IDS, st.none())
    step, inner = steps[0], values(steps[1:], single)
    if step is LIST:
        return st.one_of(st.lists(inner, max_size=3), inner if single else st.nothing(), other)
    if step is MAP:
        keys = st.sampled_from(["p", "q.r", "s"])
        return st.one_of(st.dictionaries(keys, inner, max_size=3), other)
    made = st.fixed_dictionaries({}, optional={step: inner, "other": st.integers(0, 3)})
    return st.one_of(made, other)


def holds(value: Any, steps: tuple[Step, ...], gone: list[Any]) -> bool:
    """The model: tell whether a value holds a reference to something gone."""
    if not steps:
        return value in gone
    step, rest = steps[0], steps[1:]
    if step is LIST:
        if not isinstance(value, list):
            return holds(value, rest, gone)
        return any(holds(member, rest, gone) for member in value)
    if not isinstance(value, dict):
        return False
    if step is MAP:
        return any(holds(member, rest, gone) for member in value.values())
    return step in value and holds(value[step], rest, gone)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), steps=ways(), act=st.sampled_from(["nullify", "pull", "default"]))
def test_server_and_loaded_documents_change_alike(
    server: Server, db: str, data: Any, steps: tuple[Step, ...], act: Act
) -> None:
    """The filter finds what refers, the change ends it there, and `release` does the same here."""
    if act == "pull" and not isinstance(steps[-1], Holder):
        act = "nullify"
    # A list where one thing was declared is read by a dotted path: no document of the model.
    # `$pull` refuses to pull from what is no list, and says so.
    single = not isinstance(link(steps, act).change([1]), dict) or act != "pull"
    top = st.fixed_dictionaries({}, optional={"a": values(steps[1:], single)})
    documents = data.draw(st.lists(top, min_size=1, max_size=4))
    gone = data.draw(st.lists(IDS, min_size=1, max_size=3))
    new = data.draw(st.sampled_from(["$default", 7, [1]])) if act == "default" else None
    found = link(steps, act, new)
    collection = server.client[db]["Thing"]
    collection.delete_many({})
    collection.insert_many([{"_id": n, **copy.deepcopy(d)} for n, d in enumerate(documents)])
    expected, referring = [], 0
    for n, document in enumerate(documents):
        refers = holds(document, steps, gone)
        assert refers == any(value in gone for value in found.values(document))
        referring += refers
        if refers:
            found.release(document, lambda id: id in gone, new)
        expected.append({"_id": n, **document})
    matched = collection.update_many(found.filter(gone), found.change(gone, new)).matched_count

    assert expected == list(collection.find(sort=[("_id", 1)]))
    assert referring == matched
