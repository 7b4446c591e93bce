"""What annotations declare: marks in all spellings, and where they are refused."""

from __future__ import annotations

import importlib
import pickle
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import pytest

from loom import (
    DefinitionError,
    Frame,
    IncrCounter,
    Ref,
    StrLower,
    StrUpper,
    SubFrame,
    TimeInserted,
    TimeUpdated,
)
from loom.frames.marked import marked, step
from loom.frames.marks import (
    Counter,
    FieldMarks,
    InsertTime,
    Lower,
    UpdateTime,
    Upper,
    declared,
    marks_in,
)

T = TypeVar("T")
Lowered = TypeVar("Lowered", bound=StrLower)
Email = NewType("Email", str)


class Hue(str, Enum):
    """Text of a fixed choice."""

    RED = "Red"


class Lair(SubFrame):
    """An embedded document with a marked field."""

    code: StrUpper
    name: str
    annexes: list[Lair]


class Cave(SubFrame):
    """An embedded document without one, that holds itself."""

    name: str
    caves: list[Cave]


class Box(SubFrame, Generic[T]):
    """An embedded document whose value can be anything."""

    value: T
    values: dict[str, list[T]]


def cases(cls: Any) -> dict[str, str]:
    """Return the case of each marked field of a class."""
    names = {str.lower: "lower", str.upper: "upper", None: "inside"}
    return {name: names[rule.case] for name, rule in marked(cls).texts.items()}


def class_with(annotation: Any, base: Any = Frame) -> Any:
    """Return a class with a field of this annotation."""
    namespace = {"__annotations__": {"field": annotation}, "__module__": __name__}
    return type(base)("Made", (base,), namespace)


def module(path: Path, patch: pytest.MonkeyPatch, name: str, source: str) -> ModuleType:
    """Return a new module with this source."""
    (path / f"{name}.py").write_text(textwrap.dedent(source))
    patch.syspath_prepend(path)
    patch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


# Marks


def test_marks_are_values() -> None:
    """Marks of a kind are equal, can be hashed and pickled, and show how they are written."""
    assert Lower() == Lower() != Upper()
    assert 1 == len({Lower(), Lower()})
    assert "Lower()" == repr(Lower())
    assert Ref(on_delete="pull") == Ref("pull") != Ref()
    assert Ref("pull") != Lower()
    assert 1 == len({Ref("pull"), Ref("pull")})
    assert "Ref(on_delete='pull')" == repr(Ref("pull"))
    assert Ref("cascade") == pickle.loads(pickle.dumps(Ref("cascade")))


def test_only_known_words_on_delete() -> None:
    """A `Ref` refuses what it cannot do."""
    with pytest.raises(DefinitionError, match="expected on_delete of 'cascade', .* got 'casacde'"):
        Ref(on_delete="casacde")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (StrLower, FieldMarks((Lower(),), str, "one")),
        (StrLower | None, FieldMarks((Lower(),), str, "one")),
        (list[StrLower], FieldMarks((Lower(),), str, "list")),
        (dict[str, StrUpper | None], FieldMarks((Upper(),), str, "map")),
        (Annotated[Lair, Ref("pull")], FieldMarks((Ref("pull"),), Lair, "one")),
        (list[Annotated[Lair, Ref()]], FieldMarks((Ref(),), Lair, "list")),
        (Annotated[list[Lair], Ref()], FieldMarks((Ref(),), Lair, "list")),
        (tuple[Lair, ...], FieldMarks((), Lair, "list")),
        (Box[int], FieldMarks((), Box, "one")),
        (list, FieldMarks((), list, "one")),
        (tuple[()], FieldMarks((), None, "one")),
        (IncrCounter | str, FieldMarks((Counter(),), None, "one")),
    ],
)
def test_marks_in_an_annotation(annotation: Any, expected: FieldMarks) -> None:
    """A mark is found through None, lists and maps, with what it marks."""
    assert expected == marks_in(annotation)


def test_declared_marks_of_a_class() -> None:
    """What a class declares is found by field, and is the same object until it changes."""

    class Keeper(Frame):
        email: StrLower
        lair: Lair
        other: Undefined  # type: ignore[name-defined]  # noqa: F821

    assert {"_id", "email", "lair"} == {"_id", *declared(Keeper)}
    assert ((Lower(),), str, "one") == declared(Keeper)["email"]
    assert declared(Keeper) is declared(Keeper)


# Rules


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (StrLower, "lower"),
        (StrUpper, "upper"),
        (Annotated[str, Lower, []], "lower"),
        (Annotated[str, Lower(), Lower()], "lower"),
        (StrLower | None, "lower"),
        (Annotated[str | None, Lower()], "lower"),
        (list[StrLower], "lower"),
        (Annotated[list[str], Upper()], "upper"),
        (list[list[StrLower]], "lower"),
        (Sequence[StrLower], "lower"),
        (set[StrLower], "lower"),
        (frozenset[StrLower], "lower"),
        (tuple[StrLower, ...], "lower"),
        (tuple[StrLower, int], "lower"),
        (dict[str, StrLower], "inside"),
        (Mapping[str, list[StrUpper]], "inside"),
        (Annotated[dict[str, str], Lower()], "inside"),
        (Annotated[dict, Lower()], "inside"),
        (Annotated[list, Lower()], "lower"),
        (Annotated[Any, Lower()], "lower"),
        (Annotated[object, Lower()], "lower"),
        (StrLower | int, "lower"),
        (StrLower | list[StrLower], "lower"),
        (Annotated[Email, Lower()], "lower"),
        (NewType("Address", StrLower), "lower"),
        (Annotated[Literal["a", "b"], Lower()], "lower"),
        (Lair, "inside"),
        (Lair | None, "inside"),
        (dict[str, list[Lair]], "inside"),
        (Box[StrLower], "inside"),
        (Box[Box[StrLower]], "inside"),
        (Lowered, "lower"),
    ],
)
def test_marked_text(annotation: Any, expected: str) -> None:
    """A field that leads to marked text is known, however it is spelled."""
    assert {"field": expected} == cases(class_with(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        Any,
        None,
        int,
        bytes,
        list[str],
        dict[str, int],
        Hue,
        Cave,
        list[Cave],
        Box,
        Box[str],
        Literal["A", 1],
        Annotated[str, "a note", []],
        T,
        Frame,
        type[Any],
    ],
)
def test_unmarked_text(annotation: Any) -> None:
    """A field without a mark is left alone, also one whose sub-frames hold each other."""
    assert {} == cases(class_with(annotation))


def test_rules_below_a_field() -> None:
    """A path leads on through sub-frames, lists, maps and type parameters."""

    class Keeper(Frame):
        lair: Lair
        box: Box[StrLower]
        boxes: dict[str, Box[list[StrUpper]]]

    def case(path: str) -> Any:
        first, *names = path.split(".")
        rules: Any = [marked(Keeper).texts[first]]
        for name in names:
            rules = step(rules, name)
        return [rule.case for rule in rules if rule.case is not None]

    assert [str.upper] == case("lair.code") == case("lair.annexes.0.annexes.$[].code")
    assert [] == case("lair.name") == case("lair.code.x") == case("box")
    assert [str.lower] == case("box.value") == case("box.values.a.0")
    assert [str.upper] == case("boxes.a.value") == case("boxes.a.values.b")


def test_marks_are_inherited() -> None:
    """A child has its parents' marks and its own; it can leave one out."""

    class Parent(Frame):
        email: StrLower
        nick: StrLower
        created: TimeInserted

    class Child(Parent):
        nick: str  # type: ignore[assignment]
        code: StrUpper
        modified: TimeUpdated

    assert {"email": "lower", "code": "upper"} == cases(Child)
    assert (("created",), ("modified",)) == (marked(Child).inserted, marked(Child).updated)


def test_type_parameters_of_parents() -> None:
    """What a child puts in place of a parent's type variable is marked, at any distance."""

    class Base(Frame, Generic[T]):
        value: T
        values: list[T]

    class Middle(Base[list[T]], Generic[T]):
        other: T

    class Child(Middle[StrLower]):
        pass

    class Plain(Middle[str]):
        pass

    assert {"value": "lower", "values": "lower", "other": "lower"} == cases(Child)
    assert {} == cases(Plain) == cases(Base) == cases(Middle)


def test_fields_assigned_later() -> None:
    """Fields given to a class after it was made leave its marks as they are."""

    class Keeper(Frame):
        email: StrLower

    Keeper._fields = {"name"}

    assert {"email": "lower"} == cases(Keeper)


def test_marks_imported_for_type_checkers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that only type checkers import is found under its own name."""
    keepers = module(
        tmp_path,
        monkeypatch,
        "keepers",
        """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from loom import Frame
        if TYPE_CHECKING:
            from loom import StrLower
        class Keeper(Frame):
            email: StrLower
            tags: list["StrLower"]
        """,
    )

    assert {"email": "lower", "tags": "lower"} == cases(keepers.Keeper)


def test_marks_of_a_class_in_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of a function are known to the classes in it."""
    keepers = module(
        tmp_path,
        monkeypatch,
        "local_keepers",
        """
        from __future__ import annotations
        import loom
        def make():
            from loom import StrUpper as Code
            class Lair(loom.SubFrame):
                code: Code
            class Keeper(loom.Frame):
                email: loom.StrLower
                lair: Lair
            return Keeper
        """,
    )

    assert {"email": "lower", "lair": "inside"} == cases(keepers.make())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax of 3.12")
@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_type_aliases_and_type_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, future: str
) -> None:
    """`type Email = StrLower`, `type Many[T] = list[T]` and `class Crate[T]` are looked into."""
    crates = module(
        tmp_path,
        monkeypatch,
        "marked_crates",
        f"""
        {future}
        from loom import Frame, StrLower, StrUpper, SubFrame
        type Email = StrLower
        type Many[X] = list[X]
        class Crate[X](SubFrame):
            content: X
        class Keeper(Frame):
            email: Email | None
            emails: Many[Email]
            plain: Many[str]
            crate: Crate[StrUpper]
            empty: Crate[str]
        """,
    )

    assert {"email": "lower", "emails": "lower", "crate": "inside"} == cases(crates.Keeper)


# What is refused


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[int, Lower()], "expected text under StrLower, got int; leave the mark out"),
        (Annotated[bytes, Upper()], "expected text under StrUpper, got bytes"),
        (Annotated[int | None, Lower()], r"expected text under StrLower, got .*None"),
        (Annotated[Lair, Lower()], "expected text under StrLower, got Lair"),
        (Annotated[Hue, Lower()], "expected text under StrLower, got Hue"),
        (Annotated[dict[str, int], Lower()], "expected text under StrLower"),
        (Annotated[StrLower, Upper()], "expected text of one case, got StrLower and StrUpper"),
        (Annotated[list[StrLower], Upper()], "expected text of one case"),
        (StrLower | StrUpper, "expected text of one case, got StrLower and StrUpper"),
        (StrLower | str, "expected text of one case, got StrLower and str"),
        (tuple[StrLower, str], "expected text of one case, got StrLower and str; .* own"),
        (dict[str, StrLower] | dict[str, str], "expected text of one case"),
        (dict[StrLower, int], "expected marks on a value, .* keys are stored as they are"),
        (dict[type["StrLower"], int], "expected marks on a value"),
        (type[StrLower], "expected marks on a value"),
        (Annotated[Literal["A"], Lower()], "expected 'a' under StrLower, got 'A'"),
        (Annotated[str, InsertTime()], "one datetime, got it str"),
        (Annotated[date, UpdateTime()], "TimeUpdated on a field of one datetime"),
        (list[TimeInserted], "TimeInserted on a field of one datetime, got it in a container"),
        (dict[str, TimeUpdated], "got it in a container; annotate the field as TimeUpdated"),
    ],
)
def test_marks_where_they_do_nothing(annotation: Any, message: str) -> None:
    """A mark that cannot work is refused when the class is made, with the place."""
    with pytest.raises(DefinitionError, match=f"^Made.field: .*{message}"):
        class_with(annotation)


@pytest.mark.parametrize("annotation", [TimeInserted, TimeUpdated | None])
def test_time_stamps_of_sub_frames(annotation: Any) -> None:
    """A sub-frame is not inserted or updated by itself: its time stamps are refused."""
    with pytest.raises(DefinitionError, match=r"^Made.field: .* got it on a SubFrame; annotate"):
        class_with(annotation, SubFrame)


def test_time_stamps_as_ids() -> None:
    """An `_id` is given once, and two documents of a batch would have the same."""
    with pytest.raises(DefinitionError, match=r"^Keeper._id: expected TimeInserted .* the _id"):

        class Keeper(Frame):
            _id: TimeInserted


@pytest.mark.parametrize("annotation", [TimeInserted, TimeInserted | None])
def test_time_stamps(annotation: Any) -> None:
    """A time stamp may be optional."""
    assert ("field",) == marked(class_with(annotation)).inserted
    assert () == marked(class_with(annotation)).updated


def test_time_stamps_around_an_optional_time() -> None:
    """A mark may stand around None, too."""
    annotation = Annotated[datetime | None, InsertTime(), "a note"]

    assert ("field",) == marked(class_with(annotation)).inserted


def test_both_time_stamps_in_one_field() -> None:
    """A field may be both."""
    annotation = Annotated[datetime, InsertTime(), UpdateTime()]

    assert ("field",) == marked(class_with(annotation)).inserted
    assert ("field",) == marked(class_with(annotation)).updated


@pytest.mark.parametrize(
    "text", ["lm.StrLower", "StrLower | Undefined", "list[Undefined | TimeInserted]"]
)
def test_marks_that_cannot_be_seen(text: str) -> None:
    """A mark in an annotation that cannot be evaluated is refused by the first use, not lost."""
    made = class_with(text)

    with pytest.raises(DefinitionError, match=r"^Made.field: .*evaluated .* got .*TYPE_CHECKING"):
        marked(made)


def test_marks_of_classes_made_later() -> None:
    """What was not known yet is found when it is."""
    early = class_with("Latecomer | None")
    assert {} == cases(early)

    class Latecomer(SubFrame):
        code: StrUpper

    assert {"field": "inside"} == cases(early)
