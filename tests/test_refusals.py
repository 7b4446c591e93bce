"""Values that cannot be stored: the path, the type and the way out; and nothing is sent."""

from __future__ import annotations

import enum
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pymongo
import pytest
from bson import Binary, Code
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from pymongo import MongoClient

import loom
from loom import EncodeError, Frame, MissingId, Q

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Inventory, Item, Lair


class Anything(Frame):
    """Takes any field."""


class Weird:
    """Known to nobody."""

    def __repr__(self) -> str:
        return "<weird>"


REFUSED = [
    ({"a": Weird()}, "Anything.a: expected a value that BSON can hold, got <weird> of type Weird"),
    ({"a": [1, {"b": Weird()}]}, "Anything.a.1.b: expected a value"),
    ({"a": {Weird()}}, "Anything.a.0: expected a value"),
    ({"a": Lair(inventory=Inventory(gold=Weird()))}, "Anything.a.inventory.gold: expected a value"),
    ({"a": timedelta(1)}, "Anything.a: expected a value that BSON can hold"),
    ({"a": 2**64}, "Anything.a: expected an? "),
    ({"a": [2**64]}, "Anything.a.0: expected an? "),
    ({"a": {1: 2}}, "Anything.a.1: expected a key that BSON can hold, got 1"),
    ({"a": {"b\0": 2}}, "Anything.a.b\0: expected a key that BSON can hold"),
    ({"a": "\ud800"}, "Anything.a: expected a value that BSON can hold"),
    ({"a": Decimal("1." + "1" * 40)}, "Anything.a: expected a Decimal of at most 34 digits"),
    ({"a": Anything(_id=Weird())}, "Anything.a: expected a value that BSON can hold"),
    ({"a": enum.Enum("E", {"x": Weird()}).x}, "Anything.a: expected a value that BSON can hold"),  # type: ignore[attr-defined]
]


@pytest.mark.parametrize(("document", "message"), REFUSED)
async def test_what_cannot_be_stored(
    call: Runtime, commands: Commands, document: dict[str, Any], message: str
) -> None:
    """A value that cannot be stored raises EncodeError with its path; nothing is written."""
    good = Anything(_id=1)
    await call(good).insert()
    commands.clear()

    with pytest.raises(EncodeError, match=f"^{message}"):
        await call(Anything(dict(document))).insert()
    with pytest.raises(EncodeError, match=message.partition(":")[2]):
        await call(Anything).insert_many([{"ok": 1}, dict(document)])
    with pytest.raises(EncodeError, match=f"^{message}"):
        await call(Anything({"_id": 1, **document})).update("a")
    assert [] == commands.names
    assert 1 == await call(Anything).count({})


async def test_references_must_be_stored(call: Runtime, commands: Commands) -> None:
    """A reference to a frame without `_id` raises MissingId with its path; nothing is written."""
    new = Item(desc="ring")
    for document, path in (
        ({"nemesis": Dragon()}, "nemesis"),
        ({"loot": [Item(_id=1), new]}, "loot.1"),
        ({"lair": Lair(inventory=new)}, "lair.inventory"),
        ({"lair": {"deep": {"er": new}}}, "lair.deep.er"),
    ):
        with pytest.raises(MissingId, match=rf"^Dragon\.{path}: expected a stored frame"):
            await call(Dragon(dict(document))).insert()
    assert [] == commands.names


async def test_circles_are_refused(call: Runtime, commands: Commands) -> None:
    """A value that holds itself raises EncodeError with the path at which it comes back."""
    circle: list[Any] = []
    circle.append(circle)
    loop: dict[str, Any] = {"b": [1, {"c": 2}]}
    loop["b"][1]["d"] = loop
    lair = Lair(name="Cave")
    lair.inventory = {"of": lair}
    frame = Anything(_id=1)
    frame["self"] = frame._document
    for document, path in (
        ({"a": circle}, "a.0"),
        ({"x": 1, "a": loop}, "a.b.1.d"),
        ({"a": [lair]}, "a.0.inventory.of"),
        (frame._document, "self.self"),
    ):
        with pytest.raises(EncodeError, match=f"^Anything.{path}: .*, which holds itself; leave"):
            await call(Anything(document)).insert()
        with pytest.raises(EncodeError, match=f"{path}.*, which holds itself; leave"):
            await call(Anything).insert_many([{"a": 1}, document])
    assert [] == commands.names


async def test_circles_in_filters(call: Runtime, commands: Commands) -> None:
    """A filter or a change with a value that holds itself raises EncodeError."""
    circle: list[Any] = []
    circle.append({"b": circle})
    message = "expected at most 100 levels of documents and lists, got more, or a list that holds"
    with pytest.raises(EncodeError, match=rf"^a: {message}"):
        await call(Anything).one(Q.a == circle)
    with pytest.raises(EncodeError, match=rf"^a.*: {message}"):
        await call(Anything).one({"a": {"$gt": circle}})
    with pytest.raises(EncodeError, match=rf"^Anything\.a: {message}"):
        await call(Anything(_id=1)).change({"$set": {"a": circle}})
    assert [] == commands.names


@pytest.mark.parametrize("kind", [dict, list])
async def test_deep_documents_are_refused(
    call: Runtime, commands: Commands, kind: type[Any]
) -> None:
    """What is nested too deeply to be encoded raises EncodeError, whatever it holds."""
    value: Any = datetime(2024, 3, 10, 12, 0, 0, 1)
    for _ in range(100_000):
        value = {"b": value} if kind is dict else [value]

    with pytest.raises(
        EncodeError, match=r"^Anything\.a: expected at most 100 levels of documents"
    ):
        await call(Anything(a=value)).insert()
    assert [] == commands.names

    while value:  # Python itself would free it level by level, too deep
        value = value.pop("b") if kind is dict else value.pop()
        if not isinstance(value, kind):
            break


LARGE = 17 * 1024 * 1024


async def test_large_documents_are_refused(call: Runtime, commands: Commands) -> None:
    """A document of more than 16 MB raises EncodeError that names its largest field."""
    frame = Anything(_id=1, small="x", large=b"x" * LARGE)
    await call(Anything(_id=1)).insert()
    commands.clear()

    message = r"^Anything: expected a document of at most 16 MB, got 1782\d{4} bytes, of which"
    for write in ("insert", "update"):
        with pytest.raises(EncodeError, match=message + " 1782.... in 'large'; store large"):
            await getattr(call(frame), write)()
    with pytest.raises(EncodeError, match=r"^Anything\.1: expected a document of at most 16 MB"):
        await call(Anything).insert_many([{"a": 1}, {"large": "x" * LARGE}])
    assert [] == commands.names
    with pytest.raises(EncodeError, match=r"^Anything filter: expected a document of at most 16"):
        await call(Anything).one(Q.large == b"x" * LARGE)


@pytest.mark.parametrize(
    ("key", "shown"),
    [(1, "1"), (None, "None"), (b"b", "b'b'"), ("a\0b", "'a\\x00b'"), ("\ud800", "'\\ud800'")]
    + [((1, 2), "(1, 2)"), (1.5, "1.5"), (True, "True")],
)
async def test_keys_that_cannot_be_stored(
    call: Runtime, commands: Commands, key: Any, shown: str
) -> None:
    """A key that is no text, or that BSON cannot write, is named with its path."""
    message = f"expected a key that BSON can hold, got {re.escape(shown)}; use text"
    for document, path in (
        ({"a": {key: 1}}, "a."),
        ({"a": [{"b": {"x": 1, key: Weird()}}]}, "a.0.b."),
        ({"a": Lair({key: 1})}, "a."),
    ):
        with pytest.raises(EncodeError, match=f"^Anything.{path}.*: {message}"):
            await call(Anything(document)).insert()
        with pytest.raises(EncodeError, match=message):
            await call(Anything).insert_many([{"a": 1}, document])
    with pytest.raises(EncodeError, match=message):
        await call(Anything({key: 1})).insert()
    assert [] == commands.names


@pytest.mark.parametrize("key", ["", "a.b", "$set", "$", ".", "a.$b", "\ufeff", " ", "0"])
async def test_odd_keys(call: Runtime, key: str) -> None:
    """Keys that are empty, hold dots or begin with a dollar are stored inside documents."""
    value = {"x": {key: 1, "b": {key: [{key: 2}]}}}
    frame = Anything(_id=1, a=value)
    await call(frame).insert()
    frame["c"] = value
    await call(frame).update("c")
    await call(Anything).update_many([Anything(_id=1, d=[value])])
    found = await call(Anything).one(Q.a == value)

    assert {"_id": 1, "a": value, "c": value, "d": [value]} == found._document


class Several(Mapping[str, Any]):
    """A mapping that names a key twice, as the query strings of web frameworks do."""

    def __getitem__(self, key: str) -> Any:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b", "a"])

    def __len__(self) -> int:
        return 3


async def test_keys_that_come_twice(call: Runtime, commands: Commands) -> None:
    """A mapping with a key twice is refused: one of the values would be lost."""
    with pytest.raises(
        EncodeError, match=r"^Anything\.a\.0: expected each key once, got .*Several"
    ):
        await call(Anything(a=[Several()])).insert()
    with pytest.raises(EncodeError, match=r"^Anything\.a: expected each key once, got .*Several"):
        await call(Anything(_id=1, a=Several())).update("a")
    with pytest.raises(EncodeError, match="expected each key once"):
        await call(Anything).insert_many([{"a": 1}, {"a": Several()}])
    with pytest.raises(EncodeError, match="expected each key once"):
        await call(Anything(_id=1)).change({"$set": {"a": Several()}})
    with pytest.raises(EncodeError, match="expected each key once"):
        await call(Anything).one(Q.a == Several())
    assert [] == commands.names


async def test_long_values_are_cut_in_messages(call: Runtime) -> None:
    """A message shows the beginning of a long value, also of one that cannot be shown."""

    class Long:
        def __repr__(self) -> str:
            return "x" * 10_000

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in (Long(), Mute(), {"a": "x" * 10_000, "b": Long()}, "\ud800" + "x" * 10_000):
        with pytest.raises(EncodeError) as caught:
            await call(Anything(a=value)).insert()

        assert len(str(caught.value)) < 400


async def test_filters_name_the_path(call: Runtime, commands: Commands) -> None:
    """A value in a filter that cannot be sent is named too."""
    for read in ("one", "many", "count", "exists", "ids"):
        with pytest.raises(EncodeError, match=r"^Anything filter\.a: expected .* got <weird>"):
            await getattr(call(Anything), read)({"a": Weird()})
    with pytest.raises(EncodeError, match=r"^Anything filter\.\$or\.1\.a\.\$gt: expected"):
        await call(Anything).one((Q.b == 1) | (Q.a > Weird()))
    with pytest.raises(EncodeError, match=r"^Anything filter\.a\.\$in\.1: expected"):
        await call(Anything).one({"a": {"$in": [1, Weird()]}})
    with pytest.raises(EncodeError, match=r"^Anything filter\._id\.\$eq: expected"):
        await call(Anything).by_id(Weird())
    for _ in [1]:
        with pytest.raises(EncodeError, match=r"^Anything filter\.a: expected .* got <weird>"):
            async for _ in call(Anything).each({"a": Weird()}):
                pass
    assert [] == commands.names


async def test_conditions_and_ids_of_writes(call: Runtime, commands: Commands) -> None:
    """What cannot be sent beside the content of a write names the class."""
    for write in (
        lambda: call(Anything(_id=1, a=1)).update("a", where=Q.a == Weird()),
        lambda: call(Anything(_id=1, a=1)).delete(where=Q.a == Weird()),
        lambda: call(Anything(_id=Weird(), a=1)).update("a"),
        lambda: call(Anything(_id=Weird(), a=1)).delete(),
        lambda: call(Anything(_id=Weird(), a=1)).unset("a"),
        lambda: call(Anything).update_many([Anything(_id=1, a=1), Anything(_id=Weird(), a=1)]),
        lambda: call(Anything).delete_many([Anything(_id=1), Anything(_id=Weird())]),
        lambda: call(Anything(_id=1, a=1)).change({"$set": {"b": [Weird()]}}),
        lambda: call(Anything(_id=1, a=1)).change({"$push": {"b": Weird()}}),
        lambda: call(Anything).update_where(Q.a == 1, {"$set": {"b": Weird()}}),
        lambda: call(Anything).take(Q.a == Weird(), {"$set": {"b": 1}}),
    ):
        with pytest.raises(EncodeError, match=r"^Anything.*: expected a value that BSON.*<weird>"):
            await write()
    assert [] == commands.names


@pytest.mark.parametrize(
    ("number", "unit"),
    [(2**61, "s"), (-(2**61), "s"), (2**61, "D"), (2**62, "M"), (20_000 - 1970, "Y")],
)
async def test_datetimes_of_numpy_that_are_too_far(
    call: Runtime, commands: Commands, number: int, unit: str
) -> None:
    """A datetime64 beyond the milliseconds of 64 bits is refused: NumPy makes it one of 1970."""
    np = pytest.importorskip("numpy")
    with pytest.raises(EncodeError, match=r"^Anything\.a: expected .* of type datetime64; write a"):
        await call(Anything(a=np.datetime64(number, unit))).insert()
    assert [] == commands.names


@pytest.mark.parametrize("unit", ["ns", "ps", "us", "s", "D", "M"])
async def test_durations_of_numpy(call: Runtime, commands: Commands, unit: str) -> None:
    """A timedelta64 is refused in every unit: some of them NumPy gives as a bare number."""
    np = pytest.importorskip("numpy")
    with pytest.raises(
        EncodeError, match=r"^Anything\.a\.0: expected .* of type timedelta64; write"
    ):
        await call(Anything(a=[np.timedelta64(1, unit)])).insert()
    with pytest.raises(EncodeError, match="of type timedelta64"):
        await call(Anything).one(Q.a == np.timedelta64(1, unit))
    assert [] == commands.names


async def test_what_the_driver_cannot_write(call: Runtime, commands: Commands) -> None:
    """Binary data of the subtype 255, which PyMongo knows since 4.20, is stored or refused."""
    frame = Anything(a=[Binary(b"x", 255)])
    if pymongo.version_tuple >= (4, 20):
        await call(frame).insert()
        assert [Binary(b"x", 255)] == (await call(Anything).one())["a"]
        return
    with pytest.raises(EncodeError, match=r"^Anything\.a\.0: expected a value that BSON can hold"):
        await call(frame).insert()
    assert [] == commands.names


# Codecs


class Cents:
    """A type with a codec."""


class CentsCodec(TypeCodec):
    """Refuses all."""

    python_type = Cents  # type: ignore[assignment]
    bson_type = Code  # type: ignore[assignment]

    def transform_python(self, value: Cents) -> Any:
        raise KeyError("no currency")

    def transform_bson(self, value: Any) -> Any:
        return value


async def test_codecs_that_fail(call: Runtime, commands: Commands) -> None:
    """What a codec or fallback of the user's own raises is told with the path."""

    def strict(value: Any) -> Any:
        raise ValueError(f"not {value!r}")

    registry = TypeRegistry([CentsCodec()], fallback_encoder=strict)
    codecs: CodecOptions[Any] = CodecOptions(type_registry=registry)
    with loom.using(collection_options={"codec_options": codecs}):
        with pytest.raises(
            EncodeError, match=r"^Anything\.a\.0: expected a Cents that its codec can"
        ):
            await call(Anything(a=[Cents()])).insert()
        with pytest.raises(
            EncodeError, match=r"^Anything\.a: .*\(the client's fallback: ValueError.'not <weird>'"
        ):
            await call(Anything(a=Weird())).insert()
    assert [] == commands.names


def test_uuids_of_ready_clients(server: Server, db: str) -> None:
    """A ready client that does not say how UUIDs are stored gets an error that does."""
    value = uuid.UUID(int=5)
    with MongoClient[dict[str, Any]](server.uri) as client:
        loom.connect(client, db=db)
        for document, path in (
            ({"a": value}, "a"),
            ({"a": {value}}, "a.0"),
            ({"a": Anything(_id=value)}, "a"),
            ({"a": [{"b": Lair(name=value)}]}, "a.0.b.name"),
            ({"_id": value}, "_id"),
        ):
            with pytest.raises(
                EncodeError, match=rf"^Anything\.{path}: .*uuidRepresentation='standard'"
            ):
                Anything(document).insert()
            with pytest.raises(EncodeError, match=rf"{path}: .*uuidRepresentation='standard'"):
                Anything.insert_many([{}, document])
        with pytest.raises(EncodeError, match=r"filter\.a: .*uuidRepresentation='standard'"):
            Anything.one(Q.a == value)


@pytest.mark.parametrize(
    ("dtype", "way_out"),
    [
        ("int64", r"write value\.tolist\(\)$"),
        ("datetime64[ns]", r"write value\.astype\('datetime64\[ms\]'\)\.tolist\(\)$"),
        ("timedelta64[ns]", r"write \(value / numpy\.timedelta64\(1, 's'\)\)\.tolist\(\)$"),
    ],
)
async def test_arrays_of_times_are_no_bare_numbers(call: Runtime, dtype: str, way_out: str) -> None:
    """What is advised for an array keeps what it means."""
    np = pytest.importorskip("numpy")
    with pytest.raises(EncodeError, match=way_out):
        await call(Anything(a=np.array([1, 2], dtype))).insert()
