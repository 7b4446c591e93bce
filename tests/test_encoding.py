"""Values on their way to the server: types BSON does not know, datetimes, the path of failures."""

from __future__ import annotations

import enum
import types
import uuid
import zoneinfo
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, ObjectId
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

import loom
from loom import EncodeError, Frame, MissingId, Q, SubFrame

from .conftest import Commands, Runtime, Server
from .zoo import Dragon, Inventory, Item, Lair

UTC = timezone.utc
ODD = datetime(2024, 3, 10, 12, 0, 0, 123_456, tzinfo=UTC)
EVEN = datetime(2024, 3, 10, 12, 0, 0, 123_000, tzinfo=UTC)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Color(enum.Enum):
    """Values of several types."""

    RED = "red"
    COST = Decimal("1.5")
    DAY = date(2024, 3, 10)


class Size(str, enum.Enum):
    """A str that is an Enum."""

    BIG = "big"


class Level(enum.IntEnum):
    """An int that is an Enum."""

    LOW = 1


class Anything(Frame):
    """Takes any field."""


STORED = [
    ((1, (2,)), [1, [2]]),
    ({5}, [5]),
    (frozenset({"a"}), ["a"]),
    (set(), []),
    (Color.RED, "red"),
    (Color.COST, Decimal128("1.5")),
    (Color.DAY, datetime(2024, 3, 10, tzinfo=UTC)),
    (Size.BIG, "big"),
    (Level.LOW, 1),
    (Decimal("1.10"), Decimal128("1.10")),
    (Decimal("NaN"), Decimal128("NaN")),
    (date(2024, 3, 10), datetime(2024, 3, 10, tzinfo=UTC)),
    (Path("a/b"), "a/b"),
    (UUID, UUID),
    (types.MappingProxyType({"a": {1}}), {"a": [1]}),
    (Lair(inventory=Inventory(gold={1})), {"inventory": {"gold": [1]}}),
    ({Decimal(1)}, [Decimal128("1")]),
    (Anything(_id=5), 5),
    (Anything(_id=Decimal("1.5")), Decimal128("1.5")),
    (Anything(_id=Color.COST), Decimal128("1.5")),
    (Anything(_id=UUID), UUID),
    (Anything(_id={"a": Decimal(1)}), {"a": Decimal128("1")}),
    (Anything(_id=Anything(_id=Size.BIG)), "big"),
    (loom.Missing(Item, Decimal(2)), Decimal128("2")),
]


@pytest.mark.parametrize(("value", "stored"), STORED, ids=[repr(v) for v, _ in STORED])
async def test_what_is_stored(call: Runtime, value: Any, stored: Any) -> None:
    """Each type has one stored form: alone, in lists, dicts and sub-frames, in updates."""
    frame = Anything(a=value, b=[value], c={"d": value}, e=SubFrame({"f": value}))
    await call(frame).insert()
    await call(Anything(_id=frame._id, later=value)).update("later")
    found = await call(Anything).by_id(frame._id)

    assert {
        "_id": frame._id,
        "a": stored,
        "b": [stored],
        "c": {"d": stored},
        "e": {"f": stored},
        "later": stored,
    } == found._document
    assert frame.get("a") is value


@pytest.mark.parametrize("value", [Decimal("1.5"), Color.RED, Size.BIG, date(2024, 3, 10), UUID])
async def test_the_same_values_are_found_by_filters(call: Runtime, value: Any) -> None:
    """A value matches in a filter what it was stored as, also inside `In`."""
    await call(Anything(a=value)).insert()

    assert 1 == await call(Anything).count(Q.a == value)
    assert 1 == await call(Anything).count({"a": {"$in": [value]}})


async def test_numpy_scalars(call: Runtime) -> None:
    """NumPy scalars are stored as numbers, text and datetimes; an array is refused."""
    np = pytest.importorskip("numpy")
    frame = Anything(
        i=np.int64(5),
        u=np.uint8(5),
        f=np.float32(1.5),
        d=np.float64(2.5),
        b=np.bool_(True),
        s=np.str_("x"),
        t=np.datetime64("2024-03-10T12:00:00.123456789"),
    )
    await call(frame).insert()
    found = (await call(Anything).by_id(frame._id))._document

    assert {"i": 5, "u": 5, "f": 1.5, "d": 2.5, "b": True, "s": "x", "t": EVEN} == {
        k: v for k, v in found.items() if k != "_id"
    }
    with pytest.raises(EncodeError, match=r"Anything\.a: .* of type ndarray"):
        await call(Anything(a=np.array([1]))).insert()


# What cannot be stored


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


async def test_circles_are_refused(call: Runtime) -> None:
    """A list that holds itself raises EncodeError."""
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(EncodeError, match=r"^Anything\.a\.0: expected a value that BSON can hold"):
        await call(Anything(a=circle)).insert()


async def test_long_values_are_cut_in_messages(call: Runtime) -> None:
    """A message shows the beginning of a long value."""

    class Long:
        def __repr__(self) -> str:
            return "x" * 10_000

    with pytest.raises(EncodeError) as caught:
        await call(Anything(a=Long())).insert()

    assert len(str(caught.value)) < 400


async def test_filters_name_the_path(call: Runtime) -> None:
    """A value in a filter that cannot be sent is named too."""
    with pytest.raises(EncodeError, match=r"Anything filter\.a"):
        await call(Anything).one({"a": Weird()})


# The user's own codecs


class Money:
    """A type with a codec."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents


class MoneyCodec(TypeCodec):
    """Stores Money as binary data."""

    python_type = Money  # type: ignore[assignment]
    bson_type = Binary  # type: ignore[assignment]

    def transform_python(self, value: Money) -> Any:
        return Binary(str(value.cents).encode(), 128)

    def transform_bson(self, value: Any) -> Any:
        return Money(int(value)) if value.subtype == 128 else value


def theirs(value: Any) -> Any:
    """Stores Decimals as text, and knows Weird; returns the rest, as PyMongo's docs do."""
    if isinstance(value, Decimal):
        return f"decimal {value}"
    return "weird" if isinstance(value, Weird) else value


async def test_own_codecs_are_kept(call: Runtime) -> None:
    """Types and fallback of the user's own registry have the first word, also for ids of frames."""
    registry = TypeRegistry([MoneyCodec()], fallback_encoder=theirs)
    codecs: CodecOptions[Any] = CodecOptions(type_registry=registry)
    frame = Anything(
        money=Money(5),
        price=Decimal("1.5"),
        odd=Weird(),
        tags={Decimal(1)},
        ref=Anything(_id=Decimal(2)),
        paid=Anything(_id=Money(7)),
        day=date(2024, 3, 10),
    )
    with loom.using(collection_options={"codec_options": codecs}):
        await call(frame).insert()
        found = (await call(Anything).by_id(frame._id))._document

    assert {
        "_id": frame._id,
        "money": Money(5),
        "price": "decimal 1.5",
        "odd": "weird",
        "tags": ["decimal 1"],
        "ref": "decimal 2",
        "paid": Money(7),
        "day": datetime(2024, 3, 10),
    } == found


async def test_an_own_fallback_that_refuses(call: Runtime) -> None:
    """Where the user's fallback raises, Loom's own rules hold, then the path is named."""

    def strict(value: Any) -> Any:
        raise ValueError(f"no {value!r}")

    codecs: CodecOptions[Any] = CodecOptions(type_registry=TypeRegistry(fallback_encoder=strict))
    with loom.using(collection_options={"codec_options": codecs}):
        await call(Anything(_id=1, a={1})).insert()
        with pytest.raises(EncodeError, match=r"^Anything\.a: expected a value that BSON"):
            await call(Anything(a=Weird())).insert()

        assert [1] == (await call(Anything).by_id(1))["a"]


def test_uuids_of_ready_clients(server: Server, db: str) -> None:
    """A ready client that does not say how UUIDs are stored gets an error that does."""
    with MongoClient[dict[str, Any]](server.uri) as client:
        loom.connect(client, db=db)
        with pytest.raises(EncodeError, match=r"Anything\.a: .*uuidRepresentation='standard'"):
            Anything(a=UUID).insert()


# Datetimes


async def test_what_you_set_is_what_you_read(call: Runtime) -> None:
    """Datetimes are cut to milliseconds in the frame itself, at any depth, on every write."""
    frame = Anything(
        a=ODD,
        b=[ODD, 1],
        c=Lair(name=ODD, inventory={"deep": [ODD]}),
        d=(ODD, "x"),
        e={"f": ODD},
        g={ODD},
        h=types.MappingProxyType({"i": ODD}),
    )
    await call(frame).insert()
    expected = {
        "a": EVEN,
        "b": [EVEN, 1],
        "c": Lair(name=EVEN, inventory={"deep": [EVEN]}),
        "d": (EVEN, "x"),
        "e": {"f": EVEN},
        "g": {EVEN},
        "h": {"i": EVEN},
    }
    found = await call(Anything).by_id(frame._id)

    assert {"_id": frame._id, **expected} == frame._document
    assert (EVEN, [EVEN, 1], [EVEN, "x"]) == (found["a"], found["b"], found["d"])

    frame["a"] = frame["z"] = ODD
    await call(frame).update("a")

    assert (EVEN, ODD) == (frame["a"], frame["z"])
    await call(Anything).update_many([frame])

    assert EVEN == frame["z"] == (await call(Anything).by_id(frame._id))["z"]


async def test_filters_cut_datetimes_too(call: Runtime) -> None:
    """A filter with microseconds matches what was stored from the same value."""
    await call(Anything(a=ODD)).insert()

    assert 1 == await call(Anything).count(Q.a == ODD)


def reconnected(server: Server, db: str, naive: Any) -> None:
    loom.connect(server.client, aio=server.aio, db=db, naive=naive)


async def test_naive_is_utc(call: Runtime) -> None:
    """A datetime without zone is taken as UTC."""
    frame = Anything(a=ODD.replace(tzinfo=None))
    await call(frame).insert()

    assert EVEN == (await call(Anything).by_id(frame._id))["a"]
    assert 1 == await call(Anything).count(Q.a == ODD.replace(tzinfo=None))


async def test_naive_may_be_refused(
    call: Runtime, server: Server, commands: Commands, db: str
) -> None:
    """With naive='refuse' such a value raises with its path, in writes and filters."""
    reconnected(server, db, "refuse")
    naive = ODD.replace(tzinfo=None)
    for value, path in (
        (naive, "a"),
        ([ODD, naive], "a.1"),
        ({"b": naive}, "a.b"),
        (Lair(name=naive), "a.name"),
        ((naive,), "a.0"),
        ({naive}, "a.0"),
    ):
        with pytest.raises(
            EncodeError, match=rf"^Anything\.{path}: expected a datetime with a zone"
        ):
            await call(Anything(a=value)).insert()
        with pytest.raises(EncodeError, match=rf"^Anything\.{path}: expected a datetime"):
            await call(Anything(_id=1, a=value)).update("a")
        with pytest.raises(EncodeError, match="expected a datetime with a zone"):
            await call(Anything).insert_many([{"a": 1}, {"a": value}])
    with pytest.raises(EncodeError, match="expected a datetime with a zone"):
        await call(Anything).many(Q.a > naive)
    assert [] == commands.names

    await call(Anything(a=ODD)).insert()


async def test_naive_may_mean_a_zone(call: Runtime, server: Server, db: str) -> None:
    """With a zone such a value is made aware in it, in the frame and in filters."""
    zone = timezone(timedelta(hours=2), "two")
    reconnected(server, db, zone)
    frame = Anything(a=datetime(2024, 3, 10, 12, 0), b=[datetime(2024, 3, 10, 12, 0)])
    await call(frame).insert()
    found = await call(Anything).one(Q.a == datetime(2024, 3, 10, 12, 0), required=True)

    assert datetime(2024, 3, 10, 10, 0, tzinfo=UTC) == frame["a"] == found["a"] == found["b"][0]
    assert zone is frame["a"].tzinfo


@pytest.mark.parametrize("setting", [True, False, None])
async def test_tz_aware_of_a_class(call: Runtime, setting: bool | None) -> None:
    """`_tz_aware` decides for a class; without it the client does. Assigning it later holds."""

    class Event(Frame):
        at: datetime

    await call(Event(at=ODD)).insert()
    before = (await call(Event).one()).at
    Event._tz_aware = setting
    after = (await call(Event).one()).at

    assert EVEN == before
    assert EVEN.replace(tzinfo=None if setting is False else UTC) == after


def test_ready_clients_keep_their_options(server: Server, db: str) -> None:
    """A ready client that reads naive datetimes goes on doing so, unless a class says otherwise."""

    class Event(Frame):
        at: datetime

    class Aware(Event):
        _collection = "Event"
        _tz_aware = True

    with MongoClient[dict[str, Any]](server.uri) as client:
        loom.connect(client, db=db)
        Event(at=ODD).insert()

        assert EVEN.replace(tzinfo=None) == Event.one(required=True).at
        assert EVEN == Aware.one(required=True).at


# Round trips

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.uuids()
    | st.builds(ObjectId, st.binary(min_size=12, max_size=12))
    | st.datetimes(timezones=st.sampled_from([UTC, zoneinfo.ZoneInfo("UTC")])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\0$."), min_size=1
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(values)
def test_what_is_inserted_is_read_back(db: str, value: Any) -> None:
    """Any document comes back as the frame holds it after the insert."""
    frame = Anything({"a": value, "b": [value], "c": {"d": value}})
    frame.insert()

    assert frame._document == Anything.by_id(frame._id, required=True)._document


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.decimals(allow_nan=False, places=2, min_value=-(10**20), max_value=10**20)
    | st.sets(st.integers(-100, 100))
    | st.dates()
    | st.tuples(st.text("abc"), st.sets(st.sampled_from(Color)))
)
def test_what_bson_does_not_know_is_found_again(db: str, value: Any) -> None:
    """The stored form of a value, read back and written again, is the same."""
    frame = Anything(a=value)
    frame.insert()
    found = Anything.by_id(frame._id, required=True)
    found.update()

    assert bson.encode(found._document) == bson.encode(
        Anything.by_id(frame._id, required=True)._document
    )
