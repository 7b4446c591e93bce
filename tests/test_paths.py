"""Dotted paths, checked against an oracle that lists every place in a document."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import QueryError
from loom.frames.paths import (
    MISSING,
    ancestors,
    is_ancestor,
    lookup,
    lookup_all,
    remove,
    split,
    without_descendants,
)


class Wrapped:
    """As much of a SubFrame as paths look at."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document


NAMES = st.sampled_from(["a", "b", "c", "0", "1", "01"])
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        st.integers(0, 3) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=3,
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Return every (steps, value) in a document, in its order."""
    found = [(at, value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*at, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*at, index))
    return found


def leads_to(names: tuple[str, ...], steps: tuple[str | int, ...], fan_out: bool) -> bool:
    """Tell whether a path means this place."""
    if not steps or not names:
        return not steps and not names
    if isinstance(steps[0], str):
        return names[0] == steps[0] and leads_to(names[1:], steps[1:], fan_out)
    if names[0] in ("0", "1"):
        return int(names[0]) == steps[0] and leads_to(names[1:], steps[1:], fan_out)
    return fan_out and leads_to(names, steps[1:], fan_out)


def meant(document: Any, path: str, fan_out: bool) -> list[Any]:
    names = tuple(path.split("."))
    return [value for steps, value in places(document) if leads_to(names, steps, fan_out)]


def wrap(value: Any) -> Any:
    if isinstance(value, dict):
        return Wrapped({key: wrap(inner) for key, inner in value.items()})
    return [wrap(inner) for inner in value] if isinstance(value, list) else value


def unwrap(value: Any) -> Any:
    if isinstance(value, Wrapped):
        return {key: unwrap(inner) for key, inner in value._document.items()}
    return [unwrap(inner) for inner in value] if isinstance(value, list) else value


@given(DOCUMENTS, PATHS)
def test_lookup_finds_the_one_place(document: dict[str, Any], path: str) -> None:
    """Lookup agrees with the oracle, also through sub-frames."""
    expected = [*meant(document, path, fan_out=False), MISSING][0]

    assert expected == lookup(document, path)
    assert expected == unwrap(lookup(wrap(document), path))


@given(DOCUMENTS, PATHS)
def test_lookup_all_finds_every_place(document: dict[str, Any], path: str) -> None:
    """Lists fan out, and nothing is found twice."""
    expected = meant(document, path, fan_out=True)

    assert expected == lookup_all(document, path)
    assert expected == unwrap(lookup_all(wrap(document), path))


@given(DOCUMENTS, PATHS)
def test_removed_is_gone(document: dict[str, Any], path: str) -> None:
    """Where names alone are used, a removed path leads nowhere; other values stay."""
    path = path.replace("01", "d").replace("0", "d").replace("1", "d")
    changed = copy.deepcopy(document)
    remove(changed, path)

    assert [] == lookup_all(changed, path)
    if not lookup_all(document, path) and "." not in path:
        assert document == changed


@given(DOCUMENTS, st.sampled_from(["a", "b.c", "a.b.c", "c.0.a"]))
def test_remove_reads_through_sub_frames(document: dict[str, Any], path: str) -> None:
    """Wrapped and plain documents lose the same."""
    plain, wrapped = copy.deepcopy(document), wrap(document)
    remove(plain, path)
    remove(wrapped, path)

    assert plain == unwrap(wrapped)


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"a": 1, "b": 2}, "a", {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, "a.b", {"a": {"c": 2}}),
        ({"a": [{"b": 1}, [{"b": 2}], 3]}, "a.b", {"a": [{}, [{}], 3]}),
        ({"a": {"x": {"b": 1}, "y": [{"b": 2, "c": 3}]}}, "a.b", {"a": {"x": {}, "y": [{"c": 3}]}}),
        ({"a": [{"m": {"x": {"b": 1}}}]}, "a.m.b", {"a": [{"m": {"x": {}}}]}),
        ({"a": {"x": {"b": 1}, "y": 2}}, "a.b", {"a": {"x": {"b": 1}, "y": 2}}),
        ({"a": {"b": 1, "x": {"b": 2}}}, "a.b", {"a": {"x": {"b": 2}}}),
        ({"x": {"a": {"b": 1}}}, "a.b", {"x": {"a": {"b": 1}}}),
        ({"a": {"x": {"y": {"b": 1}}}}, "a.b", {"a": {"x": {"y": {"b": 1}}}}),
        ({"a": [1, 2]}, "a.0", {"a": [2]}),
        ({"a": (1, 2)}, "a.0", {"a": (1, 2)}),
        ({"a": None}, "a.b", {"a": None}),
        ({}, "a.b", {}),
    ],
)
def test_remove(document: dict[str, Any], path: str, expected: dict[str, Any]) -> None:
    """A path is removed through dicts, lists and maps, and nowhere else."""
    remove(document, path)

    assert expected == document


def test_an_index_is_what_mongodb_takes_for_one() -> None:
    """Signs, leading zeros, other digits and beyond the end find nothing."""
    for name in ("-1", "01", "²", "٣", "2", "9" * 5000, ""):
        assert lookup({"a": [1, 2]}, f"a.{name}") is MISSING

    assert lookup({"a": (1, 2)}, "a.1") == 2


@given(st.lists(PATHS))
def test_without_descendants(paths: list[str]) -> None:
    """What remains covers all, nothing in it covers another, and the order stays."""
    kept = without_descendants(paths)

    for path in paths:
        assert any(path == top or path.startswith(f"{top}.") for top in kept)
    assert not any(is_ancestor(one, other) for one in kept for other in kept)
    assert [path for path in dict.fromkeys(paths) if path in kept] == kept


@given(PATHS)
def test_ancestors(path: str) -> None:
    """The ancestors are the proper beginnings, the shortest first."""
    names = path.split(".")

    assert [".".join(names[:end]) for end in range(1, len(names))] == ancestors(path)
    assert all(is_ancestor(above, path) for above in ancestors(path))
    assert not is_ancestor(path, path)
    assert not is_ancestor(path, f"{path}x")


def test_split() -> None:
    """A path is split at its dots."""
    assert ["lair", "gold"] == split("lair.gold")


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\0b", None, 5, ["a"]])
def test_split_refuses(path: Any) -> None:
    """A path that cannot be one is an error that shows it."""
    with pytest.raises(QueryError, match=r"^path: expected ") as caught:
        split(path)

    assert repr(path) in str(caught.value)


def test_missing() -> None:
    """MISSING is false, readable, and the same object after a copy."""
    assert not MISSING
    assert repr(MISSING) == "MISSING"
    assert copy.deepcopy(MISSING) is MISSING
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
