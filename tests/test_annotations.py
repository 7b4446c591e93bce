"""Annotations: deferred, forward, circular, in functions; what they mean for reading."""

from __future__ import annotations

import gc
import importlib
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Optional, TypeVar

import pytest
from bson import ObjectId

from loom import Frame, Q, SubFrame
from loom.frames.annotations import embedded, resolved_annotations

from .conftest import Runtime

if TYPE_CHECKING:
    from elsewhere import Castle  # type: ignore[import-not-found]

T = TypeVar("T")


class Vault(SubFrame):
    """Held by others."""

    gold: int


class Box(SubFrame, Generic[T]):
    """A generic sub-frame."""

    content: T


class Keep(Frame):
    """All ways to hold a sub-frame, and some that are none."""

    one: Vault
    maybe: Vault | None
    optional: Optional[Vault]  # noqa: UP045 - the older spelling
    noted: typing.Annotated[Vault, "a note"]
    many: list[Vault]
    sequence: Sequence[Vault]
    both: tuple[Vault, ...]
    by_name: dict[str, Vault]
    maybe_many: list[Vault | None] | None
    box: Box[int]
    boxes: list[Box[int]]
    later: Gate
    mixed: tuple[Vault, int]
    either: Vault | Box[int]
    a_class: type[Vault]
    plain: dict[str, int]


class Gate(SubFrame):
    """Declared after the class that names it."""

    width: int


DOCUMENT: dict[str, Any] = {
    "one": {"gold": 1},
    "maybe": {"gold": 1},
    "optional": {"gold": 1},
    "noted": {"gold": 1},
    "many": [{"gold": 1}],
    "sequence": [{"gold": 1}],
    "both": [{"gold": 1}],
    "by_name": {"a": {"gold": 1}},
    "maybe_many": [{"gold": 1}, None],
    "box": {"content": 5},
    "boxes": [{"content": 5}],
    "later": {"width": 3},
    "mixed": [{"gold": 1}, 5],
    "either": {"gold": 1},
    "a_class": {"gold": 1},
    "plain": {"a": 1},
}


async def test_annotated_sub_frames_are_mapped(call: Runtime) -> None:
    """A SubFrame, a list or a map of one is mapped without a projection, in every spelling."""
    await call(Keep).insert_many([dict(DOCUMENT)])
    keep = await call(Keep).one(required=True)

    assert [Vault(gold=1)] * 4 == [keep.one, keep.maybe, keep.optional, keep.noted]
    assert [[Vault(gold=1)]] * 3 == [keep.many, keep.sequence, keep.both]
    assert {"a": Vault(gold=1)} == keep["by_name"]
    assert [Vault(gold=1), None] == keep.maybe_many
    assert (5, 5) == (keep.box.content, keep.boxes[0].content)
    assert 3 == keep.later.width


async def test_what_is_not_surely_a_sub_frame_stays_as_stored(call: Runtime) -> None:
    """A tuple of different types, a union of several, a class: left as dicts."""
    await call(Keep).insert_many([dict(DOCUMENT)])
    keep = await call(Keep).one(required=True)

    for name in ("mixed", "either", "a_class", "plain"):
        assert DOCUMENT[name] == keep[name]


async def test_values_that_do_not_fit_are_left_alone(call: Runtime) -> None:
    """Annotations convert nothing: a value of another type is read as it is stored."""
    odd = {"one": 5, "many": "text", "by_name": [1], "plain": None, "later": [{"width": 1}]}
    await call(Keep).insert_many([dict(odd)])
    keep = await call(Keep).one(required=True)

    assert (5, "text", [1], None) == (keep.one, keep.many, keep["by_name"], keep.plain)


async def test_annotations_that_do_not_resolve_declare_fields(call: Runtime) -> None:
    """A name for type checkers only, words, newer syntax, a failing expression: still fields."""

    class Odd(Frame):
        home: Castle
        words: "a note in words"  # type: ignore  # noqa: F722
        failing: 1 / 0  # type: ignore
        missing: sys.no_such_thing  # type: ignore[name-defined]
        good: Vault

    odd = Odd(home={"a": 1}, words="w", failing=1, missing=2, good=Vault(gold=2))
    await call(odd).insert()
    found = await call(Odd).one(Q.words == "w", required=True)

    assert ({"a": 1}, "w", 1, 2, 2) == (
        found.home,
        found.words,
        found.failing,
        found.missing,
        found.good.gold,
    )


async def test_classes_inside_functions(call: Runtime) -> None:
    """Annotations may name classes of the same function, themselves, and ones defined later."""

    class Wing(SubFrame):
        span: int

    class Bird(Frame):
        left: Wing
        friend: Bird
        nest: Nest
        all: list[Wing] | None

    class Nest(SubFrame):
        eggs: int

    bird = Bird(left=Wing(span=3), nest=Nest(eggs=2), all=[Wing(span=1)])
    await call(bird).insert()
    found = await call(Bird).by_id(bird._id)

    assert (3, 2, 1) == (found.left.span, found.nest.eggs, found.all[0].span)
    assert Bird is resolved_annotations(Bird._definition)["friend"]


def test_a_class_means_itself_whatever_others_are_called() -> None:
    """Two classes of one name, made by two calls of a function, each refer to themselves."""

    def make() -> Any:
        class Node(Frame):
            parent: Node

        return Node

    first, second = make(), make()

    assert first is resolved_annotations(first._definition)["parent"]
    assert second is resolved_annotations(second._definition)["parent"]


def test_names_that_could_mean_several_classes_stay_open(tmp_path: Path) -> None:
    """A class that only type checkers import is found by its name, if there is one of it."""
    source = "from loom import Frame, SubFrame\n"
    modules = {
        "zoo_users": "from __future__ import annotations\n"
        f"{source}class Pair(Frame):\n    single: Lonely\n    twin: Twin\n",
        "zoo_one": f"{source}class Lonely(SubFrame):\n    x: int\nclass Twin(SubFrame):\n    x: int\n",
        "zoo_two": f"{source}class Twin(SubFrame):\n    y: int\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        users, one, _two = [importlib.import_module(name) for name in modules]
        resolved = dict(resolved_annotations(users.Pair._definition))
    finally:
        sys.path.remove(str(tmp_path))
        for name in modules:
            sys.modules.pop(name, None)

    assert {"single": one.Lonely} == {k: v for k, v in resolved.items() if k != "_id"}


def test_circular_modules(tmp_path: Path) -> None:
    """Two modules that import each other resolve once both are there."""
    (tmp_path / "ring_a.py").write_text(
        "import ring_b\nfrom loom import Frame\n"
        "class A(Frame):\n    b: 'ring_b.B'\n    bs: list['ring_b.B']\n"
    )
    (tmp_path / "ring_b.py").write_text(
        "import ring_a\nfrom loom import SubFrame\nclass B(SubFrame):\n    a: 'ring_a.A'\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        ring_a = importlib.import_module("ring_a")
        ring_b = importlib.import_module("ring_b")
        of_a = resolved_annotations(ring_a.A._definition)
        of_b = resolved_annotations(ring_b.B._definition)

        assert (ring_b.B, list[ring_b.B], ring_a.A) == (of_a["b"], of_a["bs"], of_b["a"])
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("ring_a", "ring_b"):
            sys.modules.pop(name, None)


def test_class_variables_declare_no_field() -> None:
    """ClassVar is told in every spelling."""

    class Dragon(Frame):
        a: ClassVar[int] = 1
        b: typing.ClassVar = 2
        c: "ClassVar[dict[str, list[int]]]" = {}  # noqa: UP037 - the quoted spelling
        name: str

    assert {"_id", "name"} == Dragon.get_fields()
    assert (1, 2, {}) == (Dragon.a, Dragon.b, Dragon.c)


def test_a_field_named_like_its_type() -> None:
    """`Vault: Vault` and `date: date` mean the type, not the field."""
    from datetime import date

    class Day(Frame):
        date: date
        Vault: Vault

    assert date is resolved_annotations(Day._definition)["date"]
    assert Vault is resolved_annotations(Day._definition)["Vault"]


def test_annotations_keep_nothing_else_alive() -> None:
    """Of the function around a class only what its annotations mention is kept."""

    class Big:
        pass

    def make() -> Any:
        big = Big()

        class Small(Frame):
            vault: Vault

        return Small, id(big)

    cls, _ = make()
    gc.collect()

    assert not any(isinstance(o, Big) for o in gc.get_objects())
    assert {"vault"} == cls.get_fields() - {"_id"}


async def test_inherited_annotations_keep_their_module(call: Runtime) -> None:
    """A child's inherited annotations mean what they meant where they were written."""

    class Fort(Keep):
        flag: ObjectId

    await call(Fort).insert_many([dict(DOCUMENT)])

    assert Vault(gold=1) == (await call(Fort).one()).one


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax of 3.12")
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_type_aliases_and_type_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, future: str
) -> None:
    """`type Den = Vault` means a Vault; `class Crate[T](Frame)` works."""
    (tmp_path / "crates.py").write_text(
        f"{future}from loom import Frame, SubFrame\n"
        "class Hole(SubFrame):\n    gold: int\n"
        "type Den = Hole\n"
        "class Crate[T](Frame):\n    den: Den\n    dens: list[Den] | None\n    content: T\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("crates", None)
    crates = importlib.import_module("crates")
    resolved = resolved_annotations(crates.Crate._definition)

    assert (crates.Hole, "one") == embedded(resolved["den"])
    assert (crates.Hole, "list") == embedded(resolved["dens"])
