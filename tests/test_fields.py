"""Declared fields: both spellings, inheritance, names that collide, defaults, slots."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from bson import ObjectId

from loom import DefinitionError, FieldError, Frame, LoomError, SubFrame, default

from .conftest import Commands, Runtime

T = TypeVar("T")


class Listed(Frame):
    """Fields in a set, as MongoFrames has them."""

    _fields = {"name", "breed"}


class Annotated(Frame):
    """Fields by annotations."""

    name: str
    breed: str


class Both(Frame):
    """Fields in both spellings."""

    _fields = {"name"}
    breed: str


@pytest.mark.parametrize("cls", [Listed, Annotated, Both])
async def test_both_spellings_declare_fields(call: Runtime, cls: Any) -> None:
    """A field is read and written as an attribute, stored and found, however it is declared."""
    frame = cls(name="Burt")
    frame.breed = "Cold-drake"
    await call(frame).insert()
    found = await call(cls).by_id(frame._id)

    assert {"_id", "name", "breed"} == cls.get_fields() == cls._fields
    assert ("Burt", "Cold-drake") == (found.name, found.breed)


def test_fields_is_any_iterable_of_names() -> None:
    """`_fields` takes sets, lists, dict keys; what it gives is always a frozen set with `_id`."""

    class FromList(Frame):
        _fields = ["name", "age"]

    class FromKeys(Frame):
        _fields = {"name": str}.keys()

    assert frozenset({"_id", "name", "age"}) == FromList._fields
    assert frozenset({"_id", "name"}) == FromKeys._fields


def test_subclasses_have_their_parents_fields() -> None:
    """A subclass has its parents' fields and its own, in both spellings and from several parents."""

    class Winged(Frame):
        span: int

    class Fire(Annotated):
        _fields = Annotated._fields | {"heat"}

    class Wyvern(Fire, Winged):
        sting: bool

    wyvern = Wyvern(name="W", heat=3, span=9, sting=True)

    assert {"_id", "name", "breed", "heat", "span", "sting"} == Wyvern.get_fields()
    assert ("W", 3, 9, True) == (wyvern.name, wyvern.heat, wyvern.span, wyvern.sting)


def test_sub_frames_have_no_id_of_their_own() -> None:
    """A SubFrame has `_id` only when it declares one."""

    class Lair(SubFrame):
        name: str

    class Den(SubFrame):
        _fields = {"_id", "name"}

    assert {"name"} == Lair.get_fields()
    assert 5 == Den(_id=5, name="x")._id


async def test_fields_assigned_later(call: Runtime) -> None:
    """Assigning `_fields` adds and removes fields, keeps the annotated ones, reaches children."""

    class Later(Frame):
        _fields = {"name", "old"}
        age: int

    class Child(Later):
        wings: int

    Later._fields = Later._fields - {"old"} | {"count", "fire"}
    frame = Child(name="Burt", fire=1, count=7, wings=2)
    await call(frame).insert()

    assert {"_id", "name", "age", "count", "fire"} == Later.get_fields()
    assert {"_id", "name", "age", "count", "fire", "wings"} == Child.get_fields()
    assert (1, 7) == (frame.fire, frame.count)
    assert 1 == await call(Child).count()
    assert not hasattr(frame, "old")
    with pytest.raises(FieldError, match="Later: expected a declared field, got 'old'"):
        Later(old=1)


@pytest.mark.parametrize("wrong", ["name", b"name", None, 5])
def test_fields_must_be_a_set_of_names(wrong: Any) -> None:
    """A bare text is refused as `_fields`, in the body and later: its letters are no fields."""
    with pytest.raises(DefinitionError, match=r"Dragon\._fields: expected a set of field names"):
        type("Dragon", (Frame,), {"_fields": wrong})

    class Dragon(Frame):
        name: str

    with pytest.raises(DefinitionError, match=r"Dragon\._fields: expected a set of field names"):
        Dragon._fields = wrong
    assert {"_id", "name"} == Dragon.get_fields()


@pytest.mark.parametrize("name", ["", "$set", "a.b", "a\0b", "_document", "__init__", "_client"])
def test_names_that_cannot_be_fields(name: str) -> None:
    """A name that MongoDB, Python or Loom refuses raises when the class is made."""
    with pytest.raises(DefinitionError, match="expected a (field )?name"):
        type("Dragon", (Frame,), {"_fields": {name}})
    with pytest.raises(DefinitionError, match="expected names as str, got 5"):
        type("Dragon", (Frame,), {"_fields": {5}})


@pytest.mark.parametrize("name", ["_document", "_state", "_definition"])
def test_what_holds_the_document_cannot_be_declared(name: str) -> None:
    """Annotating or setting the slots of a frame raises when the class is made."""
    with pytest.raises(DefinitionError, match=f"Dragon.{name}: expected a name that Loom"):
        type("Dragon", (Frame,), {"__annotations__": {name: "int"}})
    with pytest.raises(DefinitionError, match=f"Dragon.{name}: expected a name that Loom"):
        type("Dragon", (Frame,), {name: None})


async def test_names_that_are_no_identifiers(call: Runtime) -> None:
    """Such a field is declared in `_fields` and used by item."""

    class Odd(Frame):
        _fields = {"class", "first name", "9lives"}

    odd = Odd(**{"class": "a", "first name": "b"})
    odd["9lives"] = "c"
    await call(odd).insert()
    found = await call(Odd).by_id(odd._id)

    assert ("a", "b", "c") == (found["class"], found["first name"], found["9lives"])


# Names of operations


class Counter(Frame):
    """Fields that have the names of class-level operations."""

    _fields = {"one", "many", "count", "ids", "exists", "by_id", "by_ids", "each"}
    insert_many: int
    get_collection: str
    listen: bool
    _to_id: int


async def test_a_field_named_like_a_class_operation(call: Runtime) -> None:
    """The frame gives the field, the class keeps the operation, and all operations still work."""
    frame = Counter(count=3, one=1, ids=[1, 2], insert_many=4, get_collection="c", listen=True)
    frame.many = 9
    frame._to_id = 8
    await call(frame).insert()
    others = await call(Counter).insert_many([{"count": 5}, {"count": 6}])
    found = await call(Counter).one({"count": 3}, required=True)
    found.count = 4
    await call(found).update("count")
    await call(found).reload()
    await call(others[0]).delete()

    assert (4, 1, [1, 2], 9, 4, "c", True, 8) == (
        found.count,
        found.one,
        found.ids,
        found.many,
        found.insert_many,
        found.get_collection,
        found.listen,
        found._to_id,
    )
    assert 2 == await call(Counter).count() == len(await call(Counter).many())
    assert [4, 6] == sorted([f.count async for f in call(Counter).each()])
    assert await call(Counter).exists({"count": 6})
    assert found == await call(Counter).by_id(str(found._id))
    assert "many" in vars(Counter)
    await call(Counter).delete_many([found])
    assert [others[1]._id] == await call(Counter).ids()


async def test_a_field_named_like_an_instance_method(call: Runtime) -> None:
    """The method stays, the field is used by item, and the class warns once when it is made."""
    with pytest.warns(UserWarning, match="under this name stays") as warned:

        class Log(Frame):
            update: str
            get: str

    class Child(Log):
        more: int

    log = Child({"update": "u", "get": "g"})
    await call(log).insert()
    log["update"] = "v"
    await call(log).update("update")

    assert ["Log.update", "Log.get"] == [str(w.message).partition(":")[0] for w in warned]
    assert {__file__} == {w.filename for w in warned}
    assert "read and write the field as frame['update']" in str(warned[0].message)
    assert ("v", "g") == ((await call(Child).one())["update"], log.get("get"))


# Access


def test_absent_reads_none() -> None:
    """A declared field that the document lacks reads None; items tell absent from null."""
    frame = Annotated({"breed": None})

    assert (None, None) == (frame.name, frame.breed)
    assert "breed" in frame
    assert "name" not in frame
    assert 5 == frame.get("name", 5)
    assert frame.get("breed", 5) is None
    with pytest.raises(KeyError, match="name"):
        frame["name"]


def test_misspelt_attributes() -> None:
    """Reading or writing a misspelt attribute raises AttributeError; `hasattr` works."""
    frame = Annotated(name="Burt")

    with pytest.raises(AttributeError, match="nmae"):
        frame.nmae = "x"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="nmae"):
        frame.nmae  # type: ignore[attr-defined]
    assert not hasattr(frame, "nmae")
    assert hasattr(frame, "breed")
    assert {"name": "Burt"} == frame._document


def test_python_names_the_nearest_field() -> None:
    """Python's own traceback of a misspelt attribute says which field was meant."""
    code = "import loom\nclass D(loom.Frame):\n    name: str\nD(name='x').nam"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "Did you mean: 'name'?" in run.stderr


def test_unknown_keywords() -> None:
    """A keyword that is no field raises FieldError with the nearest one; a dict never raises."""
    with pytest.raises(
        FieldError, match=r"Annotated: expected a declared field, got 'nmae'.*'name'"
    ):
        Annotated(nmae="x")
    with pytest.raises(FieldError, match="known are _id, breed, name"):
        Annotated(zzzzzz="x")
    with pytest.raises(FieldError, match="expected a declared field, got 'nmae'"):
        Annotated()["nmae"] = 1

    assert "x" == Annotated({"nmae": "x"})["nmae"]


@pytest.mark.parametrize("wrong", ["x", 5, [], [("a", 1)], Annotated(name="x"), {"a"}, True])
def test_frames_wrap_dicts_only(wrong: Any) -> None:
    """Anything but a dict raises FieldError, which says how to write it."""
    with pytest.raises(
        FieldError, match=r"Listed: expected a dict or keywords, got .* write Listed\("
    ):
        Listed(wrong)
    with pytest.raises(FieldError, match="got both"):
        Listed({}, name="x")


async def test_classes_without_fields_are_open(call: Runtime) -> None:
    """A class that declares no field takes any keyword and fetches whole documents."""

    class Anything(Frame):
        pass

    frame = Anything(name="Burt", deep={"a": [1]})
    frame["more"] = 5
    del frame["name"]
    await call(frame).insert()

    assert {"_id": frame._id, "deep": {"a": [1]}, "more": 5} == (
        await call(Anything).one()
    )._document
    assert not hasattr(frame, "more")


# `_id`


async def test_ids_of_other_types(call: Runtime) -> None:
    """24 hexadecimal digits stay text where `_id` is declared as str, else mean an ObjectId."""

    class Named(Frame):
        _id: str
        age: int

    digits = "65f000000000000000000001"
    await call(Named(_id=digits, age=1)).insert()
    await call(Annotated(_id=ObjectId(digits))).insert()

    assert digits == (await call(Named).by_id(digits))._id
    assert ObjectId(digits) == (await call(Annotated).by_id(digits))._id


# Slots


def test_slots_of_subclasses() -> None:
    """Own slots and `__dict__` are possible; `cached_property` needs `__dict__`."""

    class Slotted(Annotated):
        __slots__ = ("note",)

    class Loose(Annotated):
        __slots__ = ("__dict__",)

        @cached_property
        def title(self) -> str:
            return f"{self.name} the {self.breed}"

    class Child(Loose):
        wings: int

    slotted = Slotted(name="x")
    slotted.note = "kept beside the document"  # type: ignore[attr-defined]
    loose = Child(name="Burt", breed="cold")
    loose.anything = 1  # type: ignore[attr-defined]

    assert {"name": "x"} == slotted._document
    assert loose.title is loose.title == "Burt the cold"
    with pytest.raises(AttributeError):
        slotted.other = 1  # type: ignore[attr-defined]
    with pytest.raises(DefinitionError, match=r"Clash\.name: expected a field or a slot, got both"):
        type("Clash", (Frame,), {"_fields": {"name"}, "__slots__": ("name",)})
    with pytest.raises(DefinitionError, match=r"Clash\.name: expected a field or a slot, got both"):
        type("Clash", (Annotated,), {"__slots__": "name"})


def test_a_mixin_without_slots_warns() -> None:
    """A mixin that lets misspelt names pass is named when the class is made; one with slots is not."""

    class Loose:
        pass

    class Tight:
        __slots__ = ()

        def shout(self) -> str:
            return self.name.upper()  # type: ignore[attr-defined,no-any-return]

    with pytest.warns(UserWarning, match=r"Mixed: a base class without __slots__ lets misspelt"):

        class Mixed(Loose, Frame):
            name: str

    class Child(Mixed):
        age: int

    class Clean(Tight, Frame):
        name: str

    class Told(Loose, Frame):
        __slots__ = ("__dict__",)
        name: str

    assert "BURT" == Clean(name="Burt").shout()
    assert "x" == Told(name="x").name


def test_generic_frames() -> None:
    """A frame class may be generic."""

    class Box(SubFrame, Generic[T]):
        content: T

    class Crate(Frame, Generic[T]):
        label: str

    assert "x" == Box[str](content="x").content
    assert {"_id", "label"} == Crate.get_fields()


def test_class_variables_and_methods_are_no_fields() -> None:
    """ClassVar, methods, properties and constants stay what they are."""

    class Dragon(Frame):
        kinds: ClassVar[list[str]] = ["cold"]
        LIMIT = 5
        name: str
        _fields = {"title"}

        @property
        def title(self) -> str:
            return f"Sir {self.name}"

        def roar(self) -> str:
            return self.name.upper()

    assert {"_id", "name", "title"} == Dragon.get_fields()
    assert (["cold"], 5, "Sir Burt") == (Dragon.kinds, Dragon.LIMIT, Dragon(name="Burt").title)


@pytest.mark.parametrize("kind", [str, int, dict, list])
def test_a_type_as_value_is_no_annotation(kind: type) -> None:
    """`name = str`, where `name: str` was meant, raises and says so."""
    with pytest.raises(
        DefinitionError, match=f"Dragon.name: expected an annotation.* name: {kind.__name__}"
    ):
        type("Dragon", (Frame,), {"name": kind})


# Settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("_private_fields", "password", "a set of paths"),
        ("_private_fields", 5, "a set of paths"),
        ("_private_fields", {1}, "a set of paths"),
        ("_collection", 5, "the name of a collection"),
        ("_collection", "", "the name of a collection"),
        ("_db", 5, "the name of a database"),
        ("_tz_aware", "yes", "True, False or None"),
    ],
)
def test_settings_of_a_wrong_type(name: str, value: Any, expected: str) -> None:
    """A setting that would silently do something else raises, in the body and later."""
    with pytest.raises(DefinitionError, match=rf"Dragon\.{name}: expected {expected}"):
        type("Dragon", (Frame,), {name: value})

    class Dragon(Frame):
        name: str

    with pytest.raises(DefinitionError, match=rf"Dragon\.{name}: expected {expected}"):
        setattr(Dragon, name, value)


# Defaults


class Hoard(Frame):
    """Defaults of all kinds."""

    owner: str
    gold: int = 0
    loot: list[str] = default(list)
    key: ObjectId = default(ObjectId)
    note: str | None = None


async def test_defaults_are_written_by_insert_only(call: Runtime, commands: Commands) -> None:
    """A default fills an absent field on insert; a read invents nothing, an update neither."""
    first, second = Hoard(owner="a"), Hoard(owner="b", gold=None)

    assert (None, None) == (first.gold, first.loot)
    assert "gold" not in first

    await call(Hoard).insert_many([first, second])
    first.loot.append("ring")
    bare = await call(Hoard).one({"_id": first._id}, projection={"owner": True})
    await call(bare).update()

    assert (0, ["ring"], None, True) == (first.gold, first.loot, first.note, "note" in first)
    assert (None, []) == (second.gold, second.loot)
    assert first.key != second.key
    assert bare.gold is None
    assert 0 == (await call(Hoard).by_id(first._id)).gold


async def test_defaults_are_inherited_and_replaced(call: Runtime) -> None:
    """A child has its parent's defaults, and replaces one with or without a new annotation."""

    class Rich(Hoard):
        gold = 1_000
        rank: int = 1

    class Listed(Frame):
        _fields = {"age"}
        age = 7

    rich, listed = Rich(owner="r"), Listed()
    await call(rich).insert()
    await call(listed).insert()
    rich.gold += 1

    assert (1_001, [], 1, 7) == (rich.gold, rich.loot, rich.rank, listed.age)


async def test_a_default_id(call: Runtime) -> None:
    """`_id` may have a factory."""

    class Numbered(Frame):
        _id: str = default(lambda: "made")
        name: str

    frame = Numbered(name="x")
    await call(frame).insert()

    assert "made" == frame._id == (await call(Numbered).one())._id


@pytest.mark.parametrize("value", [[], {}, {1}, bytearray(b"x"), SubFrame()])
def test_defaults_that_can_change_are_refused(value: Any) -> None:
    """A default that all documents would share raises and names the factory form."""
    with pytest.raises(
        DefinitionError,
        match=r"Dragon\.loot: expected a default that cannot change.*default\(list\)",
    ):
        type("Dragon", (Frame,), {"_fields": {"loot"}, "loot": value})


def test_default_takes_a_callable_for_a_field() -> None:
    """`default` refuses a value, and a place that is no field."""
    with pytest.raises(
        DefinitionError, match=r"default: expected a callable such as list, got \[\]"
    ):
        default([])  # type: ignore[arg-type]
    with pytest.raises(
        DefinitionError, match=r"Dragon\.loot: expected a declared field.*loot: list"
    ):
        type("Dragon", (Frame,), {"loot": default(list)})


def test_definition_errors_are_type_errors() -> None:
    """Who knows nothing of Loom catches a DefinitionError as TypeError."""
    assert issubclass(DefinitionError, TypeError)
    assert issubclass(DefinitionError, LoomError)
