"""The setting `_indexes`: checked when it is set, inherited where the collection is shared."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest
from pymongo import IndexModel

from loom import DefinitionError, Frame, SubFrame
from loom.frames.declared_indexes import check_paths
from loom.frames.indexes import Index, declared


class Lair(SubFrame):
    name: str
    gold: int


class Item(Frame):
    desc: str
    loose: Any


class Dragon(Frame):
    _indexes = [Index("name", unique=True), Index("lair.gold")]

    name: str
    lair: Lair
    lairs: list[Lair]
    by_place: dict[str, Annotated[Lair, "note"]]
    loot: list[Item]
    anything: dict[str, Any]


def test_a_class_has_its_indexes() -> None:
    """They are kept in order, as a tuple that cannot be added to behind the class's back."""
    assert (Index("name", unique=True), Index("lair.gold")) == declared(Dragon) == Dragon._indexes
    assert "_indexes" not in Dragon._fields
    assert () == declared(Item) == Frame._indexes


def test_any_iterable_and_annotations() -> None:
    """A generator will do; an annotation of the setting declares no field."""

    class Wolf(Frame):
        _indexes: ClassVar[Any] = (Index(name) for name in ("a", "b"))
        a: str
        b: str

    assert (Index("a"), Index("b")) == declared(Wolf)
    assert {"_id", "a", "b"} == set(Wolf._fields)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("name", r"expected a list of indexes, got 'name'; write _indexes = \[Index"),
        (Index("name"), r"expected a list of indexes, got Index\('name'\)"),
        ({"name": 1}, "expected a list of indexes"),
        (None, "expected a list of indexes, got None"),
        (["name"], r"expected indexes, got 'name' of type str; write Index\('name'\)"),
        ([IndexModel("name")], r"of type IndexModel; write Index\('name', ...\)"),
        ([Index("nmae")], "expected paths of declared fields, got 'nmae'; did you mean 'name'"),
        ([Index("liar.gold")], "got 'liar.gold'; did you mean 'lair'"),
        ([Index("name", "zzz")], r"got 'zzz'; index: Index\('name', 'zzz'\)"),
        ([Index("nmae", kind="wildcard")], r"got 'nmae.\$\*\*'; did you mean 'name'"),
        ([Index("name"), Index("name", unique=True)], "two named 'name_1': .*; give one of them"),
        ([Index("name"), Index("name", name="x")], "got one under two names"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_refused(value: Any, problem: str) -> None:
    """When the class is made, and when the setting is assigned; then the old one stays."""
    namespace = {"__annotations__": {"name": str, "lair": Lair}, "_indexes": value}
    with pytest.raises(DefinitionError, match=rf"^Wolf\._indexes: .*{problem}"):
        type(Frame)("Wolf", (Frame,), namespace)

    class Bear(Frame):
        _indexes = [Index("name")]
        name: str
        lair: Lair

    with pytest.raises(DefinitionError, match=rf"^Bear\._indexes: .*{problem}"):
        Bear._indexes = value

    assert (Index("name"),) == declared(Bear)


def test_what_is_right() -> None:
    """Ids, wildcards, versions and classes without fields are not mistaken for misspelt names."""

    class Wolf(Frame):
        _version = "_v"
        _indexes = [Index("-_id", "name"), Index(kind="wildcard"), Index("_v"), Index("name.x")]
        name: str

    class Open(Frame):
        _indexes = [Index("whatever")]

    assert 4 == len(declared(Wolf))
    assert 1 == len(declared(Open))
    Wolf._indexes = [
        Index("name"),
        Index("-name"),
        Index("name"),
        Index("name", sparse=True, name="s"),
    ]
    assert (Index("name"), Index("-name"), Index("name", sparse=True, name="s")) == declared(Wolf)


def test_a_sub_frame_has_no_indexes() -> None:
    """They belong to the collection that it is stored in."""
    with pytest.raises(DefinitionError, match=r"Cave\._indexes: .* got them on a SubFrame"):
        type(SubFrame)("Cave", (SubFrame,), {"_indexes": [Index("name")]})


def test_a_child_inherits_with_the_collection() -> None:
    """A child of the same collection has its parents' indexes and its own, another has its own."""

    class Fire(Dragon):
        _collection = "Dragon"
        _indexes = [Index("heat"), Index("name", unique=True)]
        heat: int

    class Plain(Dragon):
        _collection = "Dragon"

    class Ice(Dragon):
        _indexes = [Index("cold")]
        cold: int

    class Elsewhere(Dragon):
        _collection = "Dragon"
        _db = "archive"

    assert (*declared(Dragon), Index("heat")) == declared(Fire)
    assert declared(Dragon) == declared(Plain)
    assert (Index("cold"),) == declared(Ice)
    assert () == declared(Elsewhere)
    Ice._collection = "Dragon"
    assert (*declared(Dragon), Index("cold")) == declared(Ice)


def test_a_child_cannot_contradict_its_parent() -> None:
    """One name stands for one index; found when the class is made, or when the parent changes."""
    shared = {"_collection": "Dragon", "_indexes": [Index("name")]}
    with pytest.raises(DefinitionError, match=r"Fire\._indexes: .*two named 'name_1'"):
        type(Dragon)("Fire", (Dragon,), shared)

    class Wolf(Frame):
        name: str

    class Grey(Wolf):
        _collection = "Wolf"
        _indexes = [Index("name")]

    Wolf._indexes = [Index("name", unique=True)]
    with pytest.raises(DefinitionError, match=r"Grey\._indexes: .*two named 'name_1'"):
        declared(Grey)


def test_a_mixin_gives_its_indexes() -> None:
    """A plain class beside Frame has no collection of its own: what it declares is for the class."""

    class Timed:
        __slots__ = ()
        _indexes = [Index("-created")]

    class Wolf(Timed, Frame):
        _indexes = [Index("name")]
        name: str
        created: str

    assert (Index("-created"), Index("name")) == declared(Wolf)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("lair.gold", None),
        ("lair.gond", "'lair.gond', but Lair has no 'gond'; did you mean 'gold'"),
        ("lair.name.x", None),
        ("lair", None),
        ("lair.$**", None),
        ("lairs.gold", None),
        ("lairs.0.gold", None),
        ("lairs.0", None),
        ("lairs.gond", "Lair has no 'gond'"),
        ("lairs.0.gond", "Lair has no 'gond'"),
        ("by_place.north.gold", None),
        ("by_place.north", None),
        ("by_place.$**", None),
        ("by_place.north.$**", None),
        ("by_place.north.gond", "Lair has no 'gond'"),
        ("loot.whatever", None),
        ("anything.at.all", None),
    ],
)
def test_paths_into_embedded_documents(path: str, problem: str | None) -> None:
    """A path into a SubFrame names one of its fields; what is not declared may be anything."""
    if problem is None:
        check_paths(Dragon, Index(path))
    else:
        with pytest.raises(DefinitionError, match=problem):
            check_paths(Dragon, Index(path))
