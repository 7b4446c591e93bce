"""One object around one document: showing, copying, comparing."""

from __future__ import annotations

import copy
import functools
import html
import pickle
import pydoc
from collections import OrderedDict
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from loom import Frame, Missing, SubFrame

from .conftest import Runtime
from .zoo import Dragon, Inventory, Item, Lair


class User(Frame):
    """Private fields at the top, and by dotted paths."""

    _private_fields = {"password", "profile.token", "devices.key", "teams.secret"}

    name: str
    password: str
    profile: Profile
    devices: list[dict[str, Any]]
    teams: dict[str, dict[str, Any]]
    friend: User


class Profile(SubFrame):
    """Has a private field of its own."""

    _private_fields = {"pin"}

    email: str
    token: str
    pin: int


class Loose(Frame):
    """Keeps values beside the document."""

    __slots__ = ("__dict__",)
    name: str


class Slotted(Frame):
    """Keeps one value in a slot."""

    __slots__ = ("note",)
    name: str


def secretive() -> User:
    """Return a user full of secrets."""
    return User(
        name="Ann",
        password="s3cret",
        profile=Profile(email="a@b", token="s3cret", pin="s3cret"),
        devices=[{"id": 1, "key": "s3cret"}, {"id": 2, "key": "s3cret"}],
        teams={"red": {"secret": "s3cret", "size": 3}, "blue": {"secret": "s3cret"}},
        friend=User(name="Bob", password="s3cret"),
    )


# Showing


def test_repr_shows_what_the_document_holds() -> None:
    """The repr of a frame reads like the call that makes it."""
    assert "Dragon(name='Burt', lair=Lair(name='Cave'))" == repr(
        Dragon(name="Burt", lair=Lair(name="Cave"))
    )
    assert "Dragon()" == repr(Dragon())
    assert "Dragon(_id=5, other=[1])" == repr(Dragon({"_id": 5, "other": [1]}))


def test_repr_hides_private_values() -> None:
    """No repr holds a private value: at the top, in lists, maps, sub-frames and other frames."""
    user = secretive()

    assert "s3cret" not in repr(user)
    assert "s3cret" not in repr([user]) + repr({"a": user}) + str(user) + f"{user}"
    assert "s3cret" not in user._repr_html_()
    assert "password=<private>" in repr(user)
    assert "token=<private>" in repr(user)
    assert "email='a@b'" in repr(user)
    assert "s3cret" == user.password == user.profile.token


def test_repr_is_short() -> None:
    """A long value is cut: lists of frames, texts, dicts."""
    dragon = Dragon(
        name="x" * 1_000_000,
        loot=[Item(desc="ring", value=n) for n in range(100_000)],
        lair={str(n): n for n in range(100_000)},
    )

    assert len(repr(dragon)) < 300
    assert repr(dragon).count("...") == 3
    assert "loot=[Item(desc='ring', value=0), Item(desc='ring', value=1)" in repr(dragon)


def test_repr_of_a_circle_ends() -> None:
    """Frames that refer to each other can be shown."""
    burt, fred = Dragon(name="Burt"), Dragon(name="Fred")
    burt.nemesis, fred.nemesis = fred, burt

    assert "Dragon(name='Burt', nemesis=Dragon(name='Fred', nemesis=...))" == repr(burt)


def test_repr_html_is_escaped() -> None:
    """The table for notebooks holds names and values as text, never as markup."""
    evil = "<script>alert('x')</script>"
    cls = type("Page", (Frame,), {"_fields": {evil, "ok"}})
    shown = cls({evil: evil, "ok": 1, 5: "five"})._repr_html_()

    assert "<script>" not in shown
    assert html.escape(evil) in shown
    assert shown.startswith("<table>")
    assert ">5<" in shown


def test_help_reads_well() -> None:
    """`help` of a class shows its docstring, its fields with their types, and the operations."""
    text = pydoc.plain(pydoc.render_doc(Dragon))

    assert "A dragon." in text
    assert "Field `breed` (str)." in text
    assert "one(" in text
    assert text.index("Field `name`") < text.index("Field `breed`") < text.index("Field `age`")
    assert "Return the first frame that matches, or None." in text


# Copies


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    """A pickled frame comes back equal, with its sub-frames, in every protocol."""
    burt = Dragon(_id=ObjectId(), name="Burt", lair=Lair(inventory=Inventory(gold=5)))
    again = pickle.loads(pickle.dumps(burt, protocol))

    assert (burt, burt._document) == (again, again._document)
    assert isinstance(again.lair.inventory, Inventory)


def test_circles_are_copied() -> None:
    """Frames that refer to each other survive deepcopy and pickle."""
    burt, fred = Dragon(_id=1), Dragon(_id=2)
    burt.nemesis, fred.nemesis = fred, burt

    for again in (copy.deepcopy(burt), pickle.loads(pickle.dumps(burt))):
        assert again is not burt
        assert again.nemesis.nemesis is again
        assert 2 == again.nemesis._id


def test_copy_and_deepcopy() -> None:
    """A copy has its own document; a deep copy has its own values too."""
    burt = Dragon(name="Burt", lair=Lair(name="Cave"), loot=[1])
    shallow, deep = copy.copy(burt), copy.deepcopy(burt)
    shallow.name = deep.name = "Other"
    deep.lair.name = "Hole"

    assert "Burt" == burt.name
    assert shallow.lair is burt.lair
    assert "Cave" == burt.lair.name
    assert deep.loot is not burt.loot


def test_copies_keep_what_stands_beside_the_document() -> None:
    """Loose attributes and own slots are copied and pickled, deeply where asked."""
    loose, slotted = Loose(name="x"), Slotted(name="x")
    loose.tags = ["a"]  # type: ignore[attr-defined]
    slotted.note = ["b"]  # type: ignore[attr-defined]

    for make in (copy.copy, copy.deepcopy, lambda frame: pickle.loads(pickle.dumps(frame))):
        assert ["a"] == make(loose).tags  # type: ignore[attr-defined]
        assert ["b"] == make(slotted).note  # type: ignore[attr-defined]
    assert copy.copy(loose).tags is loose.tags  # type: ignore[attr-defined]
    assert copy.deepcopy(loose).tags is not loose.tags  # type: ignore[attr-defined]
    assert not hasattr(copy.copy(Slotted()), "note")


async def test_copies_of_partial_loads(call: Runtime) -> None:
    """A copy of a frame that was fetched in part still never overwrites what was not fetched."""
    burt = Dragon(name="Burt", lair=Lair(name="Cave", inventory=Inventory(gold=5, skulls=1)))
    await call(burt).insert()
    part = {"lair": {"$sub": Lair, "name": True}}
    for make in (copy.copy, copy.deepcopy, lambda frame: pickle.loads(pickle.dumps(frame))):
        again = make(await call(Dragon).by_id(burt._id, projection=part))
        again.lair.name = "Hole"
        await call(again).update()

    found = (await call(Dragon).by_id(burt._id)).lair

    assert ("Hole", 5, 1) == (found.name, found["inventory"].gold, found["inventory"].skulls)


async def test_copies_of_missing_references(call: Runtime) -> None:
    """A reference whose document is gone stays Missing in copies, and is written back as its id."""
    item = Item(desc="ring")
    await call(item).insert()
    burt = Dragon(name="Burt", loot=[item])
    await call(burt).insert()
    await call(item).delete()
    found = await call(Dragon).by_id(burt._id, projection={"loot": {"$ref": Item}})
    for again in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        missing = again.loot[0]
        await call(again).update("loot")

        assert isinstance(missing, Missing)
        assert (False, None, item._id) == (bool(missing), missing.desc, missing._id)
        assert missing == found.loot[0]
        assert "Missing(Item" in repr(missing)
    assert [item._id] == (await call(Dragon).by_id(burt._id)).loot


# Comparing


def test_equality_of_frames() -> None:
    """Frames are equal when class and `_id` are; one without `_id` equals only itself."""

    class Young(Dragon):
        pass

    burt = Dragon(_id=1, name="Burt")

    assert burt == Dragon(_id=1, name="Fred")
    assert burt != Dragon(_id=2)
    assert burt != Young(_id=1)
    assert burt != {"_id": 1}
    assert burt != 1
    new = Dragon(name="Burt")
    assert new == new
    assert new != Dragon(name="Burt")
    assert Dragon(_id=None) != Dragon(_id=None)


def test_equality_of_sub_frames() -> None:
    """Sub-frames are equal when class and values are, and cannot be hashed."""
    assert Lair(name="Cave") == Lair(name="Cave")
    assert Lair(name="Cave") != Lair(name="Hole")
    assert Lair(name="Cave") != {"name": "Cave"}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Lair())


def test_hash_and_order() -> None:
    """Any hashable `_id` hashes; frames sort by `_id`; without one both raise TypeError."""
    frames = [Dragon(_id=3), Dragon(_id=1), Dragon(_id=2)]

    assert 3 == len({*frames, Dragon(_id=1)})
    assert hash(Dragon(_id="a")) == hash(Dragon(_id="a"))
    assert [1, 2, 3] == [f._id for f in sorted(frames)]
    assert Dragon(_id=2) > Dragon(_id=1)
    with pytest.raises(TypeError, match="got one without, which cannot be hashed; insert it first"):
        hash(Dragon())
    with pytest.raises(TypeError):
        hash(Dragon(_id={"a": 1}))
    with pytest.raises(TypeError):
        sorted([Dragon(_id=1), Dragon()])


def test_items() -> None:
    """Items read, write, delete and test; a frame cannot be iterated."""
    burt = Dragon(name="Burt")
    burt["age"] = 5
    del burt["name"]

    assert {"age": 5} == burt._document
    assert "name" not in burt
    with pytest.raises(KeyError):
        del burt["name"]
    with pytest.raises(TypeError, match="not iterable"):
        list(burt)  # type: ignore[call-overload]


def test_the_document_is_kept_not_copied() -> None:
    """A frame wraps the very dict it is given, of any subclass."""
    document: Any = OrderedDict(name="Burt")
    burt = Dragon(document)
    burt.age = 3

    assert document is burt._document
    assert 3 == document["age"]


def test_missing() -> None:
    """Missing is false, reads None everywhere, and stays closed to private names."""
    gone = Missing(Dragon, 7)

    assert (False, None, None, 3, 7) == (bool(gone), gone.name, gone.x, gone.get("a", 3), gone._id)
    assert "name" not in gone
    assert gone == Missing(Dragon, 7) != Missing(Item, 7)
    assert gone != 7
    assert hash(gone) == hash(Missing(Dragon, 7))
    assert gone == copy.deepcopy(gone) == pickle.loads(pickle.dumps(gone))
    with pytest.raises(KeyError):
        gone["name"]
    with pytest.raises(AttributeError):
        gone._other


def test_an_init_of_its_own() -> None:
    """A class may have an own `__init__`; copies and pickles do not call it."""
    made = Counted(name="x")
    pickle.loads(pickle.dumps(copy.deepcopy(copy.copy(made))))

    assert 1 == Counted.calls


class Counted(Frame):
    """Counts its makings."""

    calls = 0
    name: str

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        type(self).calls += 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(functools.partial(Lair), st.fixed_dictionaries({"name": inner}))
    ),
    max_leaves=8,
)


@given(values)
def test_any_document_is_shown_and_copied(value: Any) -> None:
    """Repr, table, copies and pickle work on whatever a document holds."""
    frame = Dragon({"_id": 1, "name": value})
    deep, pickled = copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))

    assert frame._document == deep._document == pickled._document
    assert len(repr(frame)) < 150
    assert frame._repr_html_().endswith("</table>")
