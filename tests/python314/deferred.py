"""Frames with annotations that Python 3.14 defers.

Without `from __future__ import annotations`, on purpose: here an annotation is a piece of code that
runs when it is asked for, and it may name what does not exist yet. `tests/python314/run` runs this
file; on an older Python its classes would raise NameError.
"""

import pickle
import sys
import typing
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import annotationlib
import pytest

from loom import DefinitionError, FieldError, default
from loom.frames import Frame, SubFrame
from loom.frames.annotations import resolved_annotations
from loom.frames.port import complete
from loom.frames.projections import plan_for
from loom.frames.references import build

if TYPE_CHECKING:
    from decimal import Decimal


class Dragon(Frame):
    """Names classes that are made further down, in every way that maps a sub-frame."""

    name: str
    lair: Lair
    spare: Lair | None
    former: list[Lair]
    rooms: dict[str, Lair]
    marked: Annotated[Lair, "marked"]
    nemesis: Dragon
    price: Decimal
    kind: ClassVar[Kind] = "dragon"


class Lair(SubFrame):
    gold: int
    annexe: Lair
    treasure: Treasure


class Treasure(SubFrame):
    items: list[str]


class Wyvern(Dragon):
    wings: int = 2
    eggs: list[Egg] = default(list)


class Egg(SubFrame):
    laid: int


def load(frame_class: type[Frame], **document: Any) -> Any:
    """Return the frame of a document as if it came from a server."""
    port: Any = None  # nothing is fetched, for there are no references
    return complete(build(port, plan_for(frame_class), [document], {}))[0]


def test_annotations_are_deferred_here() -> None:
    """This Python keeps no annotations in the class body, or the tests of this file say nothing."""

    class Plain:
        name: Undefined

    assert sys.version_info >= (3, 14)
    assert "__annotations__" not in vars(Plain)
    assert annotationlib.get_annotate_from_class_namespace(vars(Plain)) is not None


def test_undefined_names_declare_fields() -> None:
    """A name that does not exist when the class is made declares a field like any other."""
    expected = {
        *("_id", "name", "lair", "spare", "former", "rooms", "marked", "nemesis", "price"),
    }

    assert expected == Dragon.get_fields()
    assert "dragon" == Dragon.kind


@pytest.mark.parametrize("frame_class", [Dragon, Wyvern])
@pytest.mark.parametrize("field", ["lair", "spare", "marked"])
def test_later_classes_are_mapped(frame_class: type[Dragon], field: str) -> None:
    """A sub-frame that is defined further down is mapped without a projection."""
    frame = load(frame_class, _id=1, **{field: {"gold": 5}})

    assert Lair(gold=5) == frame[field]


def test_later_classes_are_mapped_in_lists_and_maps() -> None:
    """So are those in a list or a map; a field that may hold a reference stays what it is."""
    burt = load(Dragon, former=[{"gold": 1}], rooms={"hall": {"gold": 2}}, nemesis={"_id": 1})

    assert [Lair(gold=1)] == burt.former
    assert {"hall": Lair(gold=2)} == burt.rooms
    assert {"_id": 1} == burt.nemesis


def test_what_type_checkers_alone_import_stays_out() -> None:
    """An annotation that is never resolved leaves the others as they are."""
    types = resolved_annotations(Dragon._definition)

    assert "price" not in types
    assert types["nemesis"] is Dragon
    assert types["marked"] == Annotated[Lair, "marked"]
    assert types["former"] == list[Lair]


def test_recursive_sub_frames() -> None:
    """A sub-frame that holds itself is mapped at any depth."""
    burt = load(Dragon, lair={"annexe": {"annexe": {"treasure": {"items": ["cup"]}}}})

    assert Treasure(items=["cup"]) == burt.lair.annexe.annexe.treasure


def test_fields_read_and_write() -> None:
    """Reading, writing and the check of names work as on every Python."""
    burt = Dragon(name="Burt", lair=Lair(gold=5))
    burt.price = 3

    assert "Burt" == burt.name
    assert 5 == burt.lair.gold
    assert 3 == burt["price"]
    assert burt.spare is None
    with pytest.raises(FieldError, match="nmae"):
        Dragon(nmae="Burt")
    with pytest.raises(AttributeError):
        burt.nmae = "Burt"


def test_defaults() -> None:
    """Defaults are taken from the class body, whose annotations are elsewhere."""
    definition = Wyvern._definition

    assert 2 == definition.new_default("wings")
    assert [] == definition.new_default("eggs")
    assert definition.new_default("eggs") is not definition.new_default("eggs")
    with pytest.raises(DefinitionError, match="Hydra.heads"):

        class Hydra(Frame):
            heads: list[Head] = []


def test_a_class_that_appears_later_changes_the_plan() -> None:
    """A plan made before a class exists is not kept once it does."""

    class Cave(Frame):
        guard: Guard

    assert {"name": "Rex"} == load(Cave, guard={"name": "Rex"}).guard

    class Guard(SubFrame):
        name: str

    assert Guard(name="Rex") == load(Cave, guard={"name": "Rex"}).guard


def test_names_of_the_function() -> None:
    """A class inside a function finds what that function defines, before and after."""

    class Before(SubFrame):
        gold: int

    class Hoard(Frame):
        first: Before
        second: list[After]

    class After(SubFrame):
        gold: int

    hoard = load(Hoard, first={"gold": 1}, second=[{"gold": 2}])

    assert Before(gold=1) == hoard.first
    assert [After(gold=2)] == hoard.second


def test_conditional_annotations() -> None:
    """Python counts the annotations under an `if`; only those that ran are fields."""

    class Chest(Frame):
        name: str
        if sys.version_info >= (3, 14):
            lid: Lid
        else:
            cover: Lid

    assert {"_id", "name", "lid"} == Chest.get_fields()


def test_a_field_named_like_its_type() -> None:
    """The property that the class gets does not hide the type of the same name."""

    class Day(Frame):
        date: date
        dates: list[date]

    expected = {"_id": Any, "date": date, "dates": list[date]}

    assert expected == resolved_annotations(Day._definition)


@pytest.mark.parametrize("written", ["typing.NoSuchName", "int[str]"])
def test_wrong_annotations(written: str) -> None:
    """An annotation that cannot be evaluated declares its field and leaves the others alone."""
    namespace: dict[str, Any] = {"Frame": Frame, "typing": typing}
    exec(f"class Broken(Frame):\n    name: str\n    value: {written}", namespace)
    broken = namespace["Broken"]

    assert {"_id", "name", "value"} == broken.get_fields()
    assert {"_id": Any, "name": str} == resolved_annotations(broken._definition)


def test_both_spellings() -> None:
    """`_fields` and deferred annotations add up."""

    class Knight(Frame):
        _fields = {"name"}
        horse: Horse

    assert {"_id", "name", "horse"} == Knight.get_fields()


def test_annotations_stay_available() -> None:
    """What reads annotations elsewhere, such as an editor's help, still finds them."""
    annotations = annotationlib.get_annotations(Dragon, format=annotationlib.Format.STRING)

    assert "list[Lair]" == annotations["former"]
    assert Treasure is typing.get_type_hints(Lair)["treasure"]


def test_pickle() -> None:
    """A frame whose class was made with open annotations survives pickling."""
    burt = Dragon(_id=1, name="Burt", lair=Lair(gold=5))
    copy: Any = pickle.loads(pickle.dumps(burt))

    assert burt == copy
    assert 5 == copy.lair.gold
