"""Referrers: which links the imported classes declare, and what is wrong with the others."""

from __future__ import annotations

import gc
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

import pytest
from bson import ObjectId

from loom import DefinitionError, Frame, Ref, SubFrame, default
from loom.frames import annotations
from loom.frames.declared_links import steps_of
from loom.frames.referrers import current, referrers

if TYPE_CHECKING:
    from decimal import Decimal as Elsewhere


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Let the classes of a test go: a wrong one would forbid the deletes of all others."""
    yield
    for forget in typing._cleanups:  # type: ignore[attr-defined]  # it keeps what was asked for
        forget()
    gc.collect()
    assert () == referrers().problems


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A module whose code a test writes."""
    made: Any = types.ModuleType(f"written_{request.node.name.replace('[', '_').rstrip(']')}")
    sys.modules[made.__name__] = made

    def write(code: str) -> Any:
        header = (
            "from __future__ import annotations\n"
            "from typing import *\n"
            "import loom\n"
            "from loom import Frame, Ref, SubFrame\n"
        )
        exec(header + textwrap.dedent(code), vars(made))
        return made

    made.write = write
    yield made
    del sys.modules[made.__name__]
    vars(made).clear()


def links_of(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return the links of a class: by path its steps, what is done, and the target."""
    return {
        link.path: (link.steps, link.act, link.target)
        for link in referrers().links
        if link.cls is cls
    }


class Company(Frame):
    """Referred to."""

    _collection = "referrers.company"


class Seat(SubFrame):
    """Holds a reference."""

    owner: Annotated[Company | None, Ref(on_delete="nullify")]
    tags: list[str]


def test_shapes() -> None:
    """References are found in lists, maps and embedded documents, however the Ref is placed."""

    class User(Frame):
        one: Annotated[Company, Ref("cascade")]
        optional: Annotated[Company | None, Ref("restrict")]
        union: Union[Annotated[Company, Ref("nullify")], None]  # noqa: UP007
        listed: Annotated[list[Company], Ref("pull")]
        inside: list[Annotated[Company, Ref("nullify")]]
        mapped: Annotated[dict[str, Company], Ref("pull")]
        deep: dict[str, list[Annotated[Company | None, Ref("pull")]]]
        pair: tuple[Annotated[Company, Ref("nullify")], ...]
        seat: Seat
        seats: list[Seat] | None
        rooms: dict[str, Seat]
        either: Annotated[Company | ObjectId, Ref("nullify")]
        nothing: Annotated[Company, Ref()]
        plain: Company

    L, M = steps_of(User, "inside")[1], steps_of(User, "mapped")[1]
    expected: dict[str, Any] = {
        "one": (("one",), "cascade"),
        "optional": (("optional",), "restrict"),
        "union": (("union",), "nullify"),
        "listed": (("listed", L), "pull"),
        "inside": (("inside", L), "nullify"),
        "mapped": (("mapped", M), "pull"),
        "deep": (("deep", M, L), "pull"),
        "pair": (("pair", L), "nullify"),
        "either": (("either",), "nullify"),
        "seat.owner": (("seat", "owner"), "nullify"),
        "seats.owner": (("seats", L, "owner"), "nullify"),
        "rooms.owner": (("rooms", M, "owner"), "nullify"),
    }

    assert {path: (*found, Company) for path, found in expected.items()} == links_of(User)
    assert ("seats", L, "owner") == steps_of(User, "seats.owner")
    assert ("seats", "0", "owner") == steps_of(User, "seats.0.owner")
    assert ("unknown", "path") == steps_of(User, "unknown.path")


def test_children_declare_what_their_parents_do() -> None:
    """A link of a parent is one of its children, too; another annotation takes its place."""

    class User(Frame):
        company: Annotated[Company, Ref("cascade")]

    class Admin(User):
        pass

    class Guest(User):
        company: Company

    assert {"company": (("company",), "cascade", Company)} == links_of(Admin)
    assert {} == links_of(Guest)


def test_several_targets() -> None:
    """A union refers to each of its classes."""

    class Shop(Frame):
        pass

    class Bill(Frame):
        payer: Annotated[Company | Shop, Ref("restrict")]

    assert [Company, Shop] == [link.target for link in referrers().links if link.cls is Bill]


def test_annotations_as_text_and_aliases(module: Any) -> None:
    """Text is resolved, whatever the names it uses for `Ref`, and whatever comes later."""
    made = module.write(
        """
        Owner = Annotated["Shop", Ref("cascade")]
        soft = Ref("nullify")
        class Bill(Frame):
            owner: Owner
            soft: Annotated[Shop, soft]
            dotted: Annotated[Shop, loom.Ref(on_delete="restrict", events=False)]
        class Shop(Frame):
            name: str
        """
    )

    assert {"owner": "cascade", "soft": "nullify", "dotted": "restrict"} == {
        path: act for path, (_, act, _) in links_of(made.Bill).items()
    }
    assert [False] == [link.is_heard for link in referrers().links if link.path == "dotted"]


def test_classes_without_a_ref_are_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without `Ref` pays for a look at the text of its annotations."""

    class Plain(Frame):
        name: str
        company: Company
        later: Elsewhere

    asked: list[Any] = []
    monkeypatch.setattr(
        "loom.frames.referrers.resolved_annotations", lambda definition: asked.append(definition)
    )
    monkeypatch.setattr("loom.frames.referrers._may_refer", lambda cls: cls is Plain and None)
    referrers()

    assert [] == asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("str", False),
        ("list[str] | None", False),
        ("Elsewhere", None),
        ("Annotated[Nobody, Ref('cascade')]", True),
        ("Annotated[Nobody, marks.Ref('cascade')]", True),
        ("Annotated[Nobody, R('cascade')]", True),
        ("Annotated[Nobody, quiet]", True),
        ("alias", True),
        ("worded", True),
        ("a note in words: nothing", None),
        (Annotated["Nobody", Ref("pull")], True),  # noqa: F821
        (list["Nobody"], None),  # noqa: F821
        (Optional["alias"], True),  # noqa: F821
        (Any, False),
    ],
)
def test_what_may_hold_a_ref(text: Any, expected: bool | None) -> None:
    """It is told without resolving: names stand for what the module has, or are not known yet."""
    from loom.frames.referrers import _may_hold

    scope = {
        "R": Ref,
        "quiet": Ref("cascade", events=False),
        "alias": Annotated["Nobody", Ref("cascade")],  # noqa: F821
        "worded": "Annotated[Nobody, R('cascade')]",
    }
    written = annotations.Annotation(text, __name__, "", scope)

    assert expected == _may_hold(written)


# Problems


PROBLEMS = [
    (
        'company: Annotated[Nobody, Ref("cascade")]',
        r"User\.company: .* whose names are known .*Annotated\[Nobody.*'Nobody' is not defined.*import",
    ),
    (
        'company: Annotated[Shop, Ref("casacde")]',
        r"User\.company: .*expected on_delete of 'cascade'",
    ),
    (
        'company: Annotated[Shop, Ref("default")]',
        r"User\.company: expected a default for on_delete='default', got none",
    ),
    (
        'company: Annotated[Shop, Ref("pull")]',
        r"User\.company: expected a list or map to pull from, got one Shop; use .*nullify",
    ),
    (
        'company: Annotated[int, Ref("cascade")]',
        r"User\.company: expected a Frame class that Ref\(on_delete='cascade'\) refers to, got int",
    ),
    (
        'company: Annotated[list[Annotated[Shop, Ref("pull")]], Ref("cascade")]',
        r"User\.company: expected one on_delete, got Ref\(on_delete='cascade'\) and .*pull",
    ),
    (
        '_id: Annotated[Shop, Ref("nullify")]',
        r"User\._id: expected on_delete='cascade' or 'restrict' for an _id, which cannot change",
    ),
    ("parts: list[Part]", r"Part\.parts: expected embedded documents of a known depth"),
]


@pytest.mark.parametrize(("field", "message"), PROBLEMS)
def test_what_cannot_be_carried_out(module: Any, field: str, message: str) -> None:
    """A Ref that names nothing, or that asks for what cannot be done, is told, not skipped."""
    module.write(
        f"""
        class Shop(Frame):
            pass
        class Part(SubFrame):
            {'maker: Annotated[Shop, Ref("nullify")]' if "Part" in field else "name: str"}
            parts: list[Part]
        class User(Frame):
            {field}
        """
    )
    with pytest.raises(DefinitionError, match=message):
        referrers().check()


def test_embedded_documents_that_cannot_be_seen(module: Any) -> None:
    """An annotation that may mean a SubFrame with a Ref must be resolved, too."""
    module.write(
        """
        class Place(SubFrame):
            owner: Annotated[User, Ref("nullify")]
        class User(Frame):
            home: Nobody[Place]
        """
    )
    with pytest.raises(DefinitionError, match=r"User\.home: expected an annotation whose names"):
        referrers().check()


def test_other_annotations_need_not_be_resolved(module: Any) -> None:
    """What holds no Ref may be unknown for ever."""
    made = module.write(
        """
        class Shop(Frame):
            pass
        class User(Frame):
            shop: Annotated[Shop, Ref("cascade")]
            price: Decimal
            note: "some words, and a reference"
        """
    )
    referrers().check()

    assert ["shop"] == [*links_of(made.User)]


def test_a_name_that_comes_later_solves_the_problem(module: Any) -> None:
    """Once the class is imported, the Ref is followed."""
    made = module.write('class User(Frame):\n    shop: Annotated[Boutique, Ref("cascade")]')
    assert referrers().problems
    module.write("class Boutique(Frame):\n    pass")

    assert {"shop": (("shop",), "cascade", made.Boutique)} == links_of(made.User)


# Classes made again


def test_a_class_made_again_takes_the_place_of_the_one_before(module: Any) -> None:
    """As in a notebook: the new class counts, also where the old one is referred to."""
    module.write(
        """
        class Shop(Frame):
            pass
        class User(Frame):
            shop: Annotated[Shop, Ref("cascade")]
        """
    )
    referrers()
    old_user, old_shop = module.User, module.Shop
    module.write('class User(Frame):\n    shop: Annotated[Shop, Ref("restrict")]')
    referrers()
    module.write("class Shop(Frame):\n    pass")

    assert {} == links_of(old_user)
    assert module.User is current(old_user)
    assert module.Shop is current(old_shop)
    assert {"shop": (("shop",), "restrict", old_shop)} == links_of(module.User)


def test_classes_of_functions_are_all_there() -> None:
    """A function that makes classes, one set for each tenant, makes them for good."""

    def made() -> Any:
        class User(Frame):
            company: Annotated[Company, Ref("cascade")]

        return User

    first, second = made(), made()

    assert links_of(first) == links_of(second) != {}
    assert first is current(first)


def test_defaults_come_from_the_class_that_declares_them() -> None:
    """A link knows how to make the default, also that of an embedded document."""
    id = ObjectId()

    class Place(SubFrame):
        owner: Annotated[Company, Ref("default")] = default(lambda: Company(_id=id))

    class User(Frame):
        place: Place
        company: Annotated[Company | None, Ref("default")] = None

    values = {link.path: link.default() for link in referrers().links if link.cls is User}

    assert {"place.owner": Company(_id=id), "company": None} == values
