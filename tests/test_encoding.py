"""Values on their way to the server: types BSON does not know, datetimes, the path of failures."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
import types
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, ObjectId
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry

import loom
from loom import EncodeError, Frame, Q, SubFrame
from loom.encoding import DEFAULT_CODEC_OPTIONS

from .conftest import Commands, Runtime
from .zoo import Inventory, Item, Lair

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


class Weird:
    """Known to nobody."""

    def __repr__(self) -> str:
        return "<weird>"


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


# Sets


def test_equal_sets_are_stored_alike() -> None:
    """The order of a set does not depend on how it came to be, nor on the text's hashes."""
    grown = set(range(1_000))
    grown -= set(range(100, 1_000))
    for same in ([{8, 0, 16}, {16, 8, 0}], [grown, set(range(100))]):
        first, second = (bson.encode({"": s}, codec_options=DEFAULT_CODEC_OPTIONS) for s in same)
        assert first == second
    program = (
        "from loom.encoding import encode; "
        "print(encode({'a': {'x', 'y', 'zebra', 'A', '', (1, 'q'), 3, 2.5, None, frozenset('pq')}}))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[1],
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert 1 == len(shown)


@pytest.mark.parametrize(
    ("members", "stored"),
    [
        ({3, 20, -1, 2.5, Decimal("2.75")}, [-1, 2.5, Decimal128("2.75"), 3, 20]),
        ({"b", "a", "ab", "é", "Z"}, ["Z", "a", "ab", "b", "é"]),
        ({"b", 7, None, True}, [7, "b", None, True]),
        ({Size.BIG, "a"}, ["a", "big"]),
        ({Anything(_id=20), Anything(_id=3)}, [3, 20]),
        ({ObjectId("f" * 24), ObjectId("0" * 24)}, [ObjectId("0" * 24), ObjectId("f" * 24)]),
        ({float("inf"), float("-inf"), 0}, [float("-inf"), 0, float("inf")]),
        ({date(2024, 3, 10), date(1960, 1, 1)}, None),
    ],
)
async def test_the_order_of_sets(
    call: Runtime, members: set[Any], stored: list[Any] | None
) -> None:
    """Numbers by size, text by its characters, then all else; an equal set finds it."""
    await call(Anything(_id=1, a=members, b=frozenset(members))).insert()
    found = await call(Anything).one(Q.a == members)
    reversed_members = [*members][::-1]
    also = await call(Anything).one({"b": set(reversed_members)})

    assert found == also
    assert found["a"] == found["b"]
    assert stored is None or stored == found["a"]
    assert found == await call(Anything).one(Q.a == found["a"])


async def test_sets_are_no_changes(call: Runtime, commands: Commands) -> None:
    """`save` sends no set that is as it was stored."""
    frame = Anything(a={"x", "y", "z", 5})
    await call(frame).insert()
    assert {"x", "y", "z", 5} == frame["a"]
    commands.clear()
    await call(frame).save()
    assert [] == commands.names

    frame["a"].add("w")
    await call(frame).save()
    assert [5, "w", "x", "y", "z"] == (await call(Anything).one())["a"]


# What is optional


def test_numpy_and_pandas_are_not_imported() -> None:
    """Encoding values of any kind imports neither."""
    program = (
        "import sys, datetime, decimal, enum, pathlib, loom\n"
        "from loom.encoding import encode\n"
        "encode({'a': {1}, 'b': decimal.Decimal(1), 'c': datetime.date(2024, 1, 1),"
        " 'd': pathlib.Path('a'), 'e': enum.Enum('E', 'a').a})\n"
        "try: encode({'a': object()})\n"
        "except loom.EncodeError: pass\n"
        "print(sorted({'numpy', 'pandas'} & sys.modules.keys()))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).parents[1],
    ).stdout

    assert "[]" == shown.strip()
