"""Every value has one stored form, or is refused by name: as the page says, everywhere, both ways."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import enum
import fractions
import math
import re
import types
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient, MongoClient

import loom
from loom import EncodeError, Frame, Missing, Q, SubFrame
from loom.frames import In

from .conftest import Commands, Runtime, Server

try:
    import numpy as np
    import pandas as pd
except ImportError:  # both are optional, and Loom imports neither
    np = pd = None

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "values.md"
utc = timezone.utc


class Anything(Frame):
    """Takes any field."""


class Dragon(Frame):
    """What is referred to."""


class Lair(SubFrame):
    """What is embedded."""


class Point(NamedTuple):
    """A named tuple."""

    x: Any
    y: Any


class Color(enum.Enum):
    """Values of several types."""

    RED = "red"
    PRICE = Decimal("1.5")
    DAY = date(2024, 3, 10)
    PAIR = (1, frozenset({"b", "a"}))
    MAP = {"at": datetime(2024, 3, 10, 12, tzinfo=utc)}
    NOTHING = None


class Size(enum.IntEnum):
    """A number."""

    BIG = 3


class Text(str, enum.Enum):
    """A text."""

    ODD = "odd"


class Rights(enum.Flag):
    """Bits."""

    READ = 1
    WRITE = 2


class Name(str):
    """A text with more to it."""


class Number(int):
    """A number with more to it."""


@dataclasses.dataclass
class Pair:
    """A data class."""

    a: int
    b: int


#: What the expressions of the page may name.
NAMES: dict[str, Any] = {
    **globals(),
    "Fraction": fractions.Fraction,
    "UUID": uuid.UUID,
    "time": time,
    "Counter": collections.Counter,
    "UserList": collections.UserList,
    "UserString": collections.UserString,
    "array": array.array,
    "deque": collections.deque,
}
#: Compares types, too: 1, 1.0 and True are three values to MongoDB.
STRICT: CodecOptions[Any] = CodecOptions(
    tz_aware=True, uuid_representation=UuidRepresentation.STANDARD
)


def as_bson(value: Any) -> bytes:
    """Return a value that BSON knows as BSON."""
    return bson.encode({"": value}, codec_options=STRICT)


# The rows of the page


def rows(heading: str) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the table below a heading of the page."""
    section = PAGE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    for line in re.findall(r"^\| `.*\|$", section, re.MULTILINE):
        yield tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def code(cell: str) -> str:
    """Return the expression that a cell begins with."""
    found = re.match(r"`(.*?)`", cell)
    assert found is not None
    return found.group(1).replace("\\|", "|")


def value_of(text: str) -> Any:
    """Return the value of an expression of the page."""
    if ("np." in text or "pd." in text) and np is None:
        pytest.skip("NumPy and pandas are not installed")
    return eval(text, NAMES)


STORED = [(code(cells[0]), code(cells[2])) for cells in rows("What is stored")]
REFUSED = [(code(cells[0]), cells[1].strip("`")) for cells in rows("What is refused")]


def test_the_page_is_read() -> None:
    """The tables of the page are found whole."""
    assert (43, 36) == (len(STORED), len(REFUSED))


@pytest.mark.parametrize(("written", "read"), STORED)
async def test_what_is_stored(call: Runtime, written: str, read: str) -> None:
    """A row of the page holds alone, in lists, dicts and sub-frames, in inserts and updates."""
    value, expected = value_of(written), value_of(read)
    frame = Anything(a=value, b=[value], c={"d": value}, e=Lair({"f": value}))
    await call(frame).insert()
    await call(Anything(_id=frame._id, later=value)).update("later")
    found = (await call(Anything).by_id(frame._id))._document

    assert as_bson(expected) == as_bson(found["a"])
    assert type(expected) is type(found["a"])
    assert as_bson([expected, {"d": expected}, {"f": expected}, expected]) == as_bson(
        [found["b"][0], found["c"], found["e"], found["later"]]
    )


@pytest.mark.parametrize("written", [written for written, _ in STORED if "re.c" not in written])
async def test_what_is_stored_is_found(call: Runtime, written: str) -> None:
    """The value of a row finds, in every form of a filter, what was written with it."""
    value = value_of(written)
    await call(Anything).insert_many([{"_id": 1, "a": value}, {"_id": 2, "a": "other"}])

    for filter in filters(value):
        assert [1] == [f._id for f in await call(Anything).many(filter)], filter


def filters(value: Any) -> list[Any]:
    """Return the ways to ask for what equals a value."""
    ways: list[Any] = [Q.a == value, In(Q.a, [value]), {"a": {"$in": [value, "x"]}}]
    ways.append((Q.a == value) & (Q._id < 2))
    if not isinstance(value, (Regex, Mapping)):
        ways.append({"a": value})
    return ways


@pytest.mark.parametrize(("written", "way_out"), REFUSED)
async def test_what_is_refused(
    call: Runtime, commands: Commands, written: str, way_out: str
) -> None:
    """A row of the page is refused with its path, its type and the way out; nothing is sent."""
    for path, document in (
        ("a", lambda v: {"a": v}),
        ("a.b.1", lambda v: {"a": {"b": [0, v]}}),
        ("a.b", lambda v: {"a": Lair({"b": v})}),
    ):
        whole = document(value_of(written))
        with pytest.raises(EncodeError, match=f"^Anything.{path}") as refused:
            await call(Anything(whole)).insert()
        assert way_out.replace("`", "").strip() in str(refused.value)

        with pytest.raises(EncodeError, match=path):
            await call(Anything).insert_many([{"a": 1}, whole, {"a": 2}])
        for write in ("update", "save", "upsert"):
            frame = Anything({} if write == "upsert" else {"_id": 1})
            frame["a"] = whole["a"]
            with pytest.raises(EncodeError, match=f"^Anything.{path}"):
                await getattr(call(frame), write)()
        with pytest.raises(EncodeError, match=path):
            await call(Anything).update_many([Anything(_id=1, a=1), Anything({"_id": 2, **whole})])
    assert [] == commands.names
    if not callable(value_of(written)) and ".keys()" not in written:  # those a filter knows
        with pytest.raises(EncodeError, match=r"^Anything filter\.a"):
            await call(Anything).one(Q.a == value_of(written))
    assert [] == commands.names


# Every type, nested


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$."), max_size=5)
zones = st.sampled_from(
    [
        utc,
        ZoneInfo("Europe/Oslo"),
        ZoneInfo("America/St_Johns"),
        ZoneInfo("Asia/Kathmandu"),
        timezone(timedelta(hours=5, minutes=17, seconds=3)),
        timezone(timedelta(hours=-9, microseconds=77_501)),
    ]
)
#: pandas miscounts in zones that are off by parts of a second.
settled = zones.filter(lambda zone: not zone.utcoffset(datetime(2024, 1, 1)).microseconds)
datetimes = st.builds(
    lambda at, fold: at.replace(fold=fold),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.none() | zones)
    | st.datetimes(datetime(2024, 10, 27), datetime(2024, 10, 27, 4), timezones=zones)
    | st.datetimes(datetime(1969, 12, 31, 23), datetime(1970, 1, 1, 1), timezones=zones),
    st.sampled_from([0, 1]),
)
decimals = st.builds(
    lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
    st.sampled_from([0, 1]),
    st.lists(st.integers(0, 9), min_size=1, max_size=34).map(tuple),
    st.integers(-6_176, 6_111),
) | st.sampled_from([Decimal(t) for t in ("NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-0")])
object_ids = st.binary(min_size=12, max_size=12).map(ObjectId)
enums = st.sampled_from([*Color, *Size, *Text, *Rights, Rights.READ | Rights.WRITE])
#: What sets and ids are made of.
hashable = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    text,
    st.binary(max_size=8),
    st.booleans(),
    st.dates(),
    st.uuids(),
    object_ids,
    datetimes,
    decimals.filter(lambda d: not d.is_nan()),
    st.sampled_from([*Size, *Text, Color.RED, Color.PRICE, Color.DAY]),
    text.map(PurePosixPath),
    st.builds(Name, text),
)
of_bson = st.one_of(
    st.builds(Int64, st.integers(-(2**63), 2**63 - 1)),
    st.builds(Binary, st.binary(max_size=8), st.sampled_from([0, 5, 128, 254])),
    st.builds(Timestamp, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
    st.builds(DatetimeMS, st.integers(-62_135_596_800_000, 253_402_300_799_999)),
    st.builds(Code, text),
    st.builds(DBRef, text.filter(bool), object_ids),
    st.sampled_from([MinKey(), MaxKey(), Decimal128("1.50"), Decimal128("NaN")]),
)
of_numpy: st.SearchStrategy[Any] = st.nothing()
if np is not None:
    of_numpy = st.one_of(
        st.booleans().map(np.bool_),
        st.integers(-(2**7), 2**7 - 1).map(np.int8),
        st.integers(0, 2**16 - 1).map(np.uint16),
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.integers(0, 2**63 - 1).map(np.uint64),
        st.floats(width=16).map(np.float16),
        st.floats(width=32).map(np.float32),
        st.floats().map(np.float64),
        # NumPy shows no NUL at the end of a text.
        text.map(lambda t: np.str_(t.rstrip("\0"))),
        st.binary(max_size=8).map(np.bytes_),
        st.builds(
            np.datetime64,
            st.integers(-(10**9), 10**9),
            st.sampled_from(["s", "ms", "us", "ns", "ps", "25s"]),
        ),
        st.builds(np.datetime64, st.integers(-(10**7), 10**7), st.just("h")),
        st.builds(np.datetime64, st.integers(-500, 500), st.sampled_from(["Y", "M", "W", "D"])),
        st.integers(-(2**62), 2**62).map(lambda ns: pd.Timestamp(ns, unit="ns")),
        st.builds(
            lambda ns, zone: pd.Timestamp(ns, unit="ns", tz=zone),
            st.integers(-(2**60), 2**60),
            zones.filter(lambda zone: zone is utc or isinstance(zone, ZoneInfo)),
        ),
    )
leaves = st.one_of(
    st.none(),
    hashable,
    st.floats(),
    decimals,
    enums,
    st.builds(PureWindowsPath, text),
    st.builds(Number, st.integers(-(2**63), 2**63 - 1)),
    of_bson,
    of_numpy,
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return containers of values."""
    documents = st.dictionaries(keys, inner, max_size=3)
    members = st.lists(inner, max_size=3)
    ids = hashable | st.tuples(hashable) | st.frozensets(text, max_size=3)
    return st.one_of(
        members,
        members.map(tuple),
        st.builds(Point, inner, inner),
        st.sets(hashable, max_size=4),
        st.frozensets(text | st.frozensets(st.integers(0, 999)), max_size=4),
        documents,
        documents.map(Lair),
        documents.map(collections.OrderedDict),
        documents.map(lambda d: collections.defaultdict(list, d)),
        documents.map(types.MappingProxyType),
        documents.map(collections.UserDict),
        documents.map(lambda d: collections.ChainMap(d)),
        st.dictionaries(keys, st.integers(1, 9), max_size=3).map(collections.Counter),
        st.builds(lambda id: Dragon(_id=id), ids),
        st.builds(lambda id: Dragon(_id=Dragon(_id=id)), ids),
        st.builds(lambda id: Missing(Dragon, id), ids),
    )


anything = st.recursive(leaves, nested, max_leaves=8)


def rule(value: Any, zone: tzinfo = utc) -> Any:
    """Return what is read back for a value, as the page has it; Loom is not asked.

    Args:
        value: any value that is stored.
        zone: in which datetimes without zone are meant.
    """
    if isinstance(value, (Dragon, Missing)):
        return rule(value._id, zone)
    if isinstance(value, Lair):
        return rule(value._document, zone)
    if isinstance(value, enum.Enum):
        return rule(value.value, zone)
    if isinstance(value, (set, frozenset)):
        return sorted((rule(member, zone) for member in value), key=order)
    if isinstance(value, (list, tuple)):
        return [rule(member, zone) for member in value]
    if isinstance(value, Mapping):
        return {key: rule(member, zone) for key, member in value.items()}
    if isinstance(value, datetime):
        return instant(value, zone)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=utc)
    if isinstance(value, Decimal):
        return Decimal128(str(value) if value.is_finite() else value)
    if isinstance(value, (PurePosixPath, PureWindowsPath)):
        return str(value)
    if isinstance(value, DatetimeMS):
        return datetime(1970, 1, 1, tzinfo=utc) + timedelta(milliseconds=int(value))
    if np is not None and isinstance(value, np.datetime64):
        number = int(value.astype("datetime64[ms]").astype("int64"))
        return instant(datetime(1970, 1, 1) + timedelta(milliseconds=number), zone)
    if np is not None and isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    for parent in (bool, Int64, int, float, str):
        if isinstance(value, parent) and not isinstance(value, Code):
            return parent(value)
    return value


def instant(value: datetime, zone: tzinfo) -> datetime:
    """Return a datetime in UTC, cut to milliseconds."""
    offset = (value if value.tzinfo else value.replace(tzinfo=zone)).utcoffset()
    plain = datetime(*value.timetuple()[:6], value.microsecond) - (offset or timedelta())
    return plain.replace(microsecond=plain.microsecond // 1000 * 1000, tzinfo=utc)


def has_naive(value: Any) -> bool:
    """Tell whether a value is, or holds, a datetime without zone."""
    if isinstance(value, (Dragon, Missing)):
        return has_naive(value._id)
    if isinstance(value, Lair):
        return has_naive(value._document)
    if isinstance(value, enum.Enum):
        return has_naive(value.value)
    if isinstance(value, (set, frozenset, list, tuple)):
        return any(map(has_naive, value))
    if isinstance(value, Mapping):
        return any(map(has_naive, value.values()))
    if isinstance(value, datetime):
        return value.tzinfo is None
    return np is not None and isinstance(value, np.datetime64)


def order(stored: Any) -> tuple[Any, ...]:
    """Numbers by size, then text, then all else."""
    number = stored.to_decimal() if isinstance(stored, Decimal128) else stored
    is_number = isinstance(number, (int, float, Decimal)) and not isinstance(number, bool)
    if is_number and not math.isnan(number):
        return 0, number, as_bson(stored)
    return (1, stored) if isinstance(stored, str) else (2, as_bson(stored))


def held(value: Any) -> Iterator[datetime]:
    """Yield the datetimes that a frame holds, but for those inside its Enums and references."""
    if isinstance(value, Lair):
        value = value._document
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from held(member)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for member in value:
            yield from held(member)


def run(call: Runtime, server: Server, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine of either runtime."""
    if call.is_async:
        return server.loop.run_until_complete(work)
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a blocking call suspended")


async def by_insert(call: Runtime, value: Any) -> Any:
    frame = Anything(a=value, rest=[{"b": value}])
    await call(frame).insert()
    return frame


async def by_insert_many(call: Runtime, value: Any) -> Any:
    frame, _ = await call(Anything).insert_many([{"a": value, "rest": [{"b": value}]}, {"a": 1}])
    return frame


async def by_update(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0)
    await call(frame).insert()
    frame["a"], frame["rest"] = value, [{"b": value}]
    await call(frame).update()
    return frame


async def by_update_many(call: Runtime, value: Any) -> Any:
    frames = await call(Anything).insert_many([{"a": 0}, {"a": 1}])
    frames[0]["a"], frames[0]["rest"] = value, [{"b": value}]
    await call(Anything).update_many(frames)
    return frames[0]


async def by_save(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0)
    await call(frame).insert()
    frame["a"], frame["rest"] = value, [{"b": value}]
    await call(frame).save()
    return frame


async def by_upsert(call: Runtime, value: Any) -> Any:
    frame = Anything(_id=ObjectId(), a=value, rest=[{"b": value}])
    await call(frame).upsert()
    return frame


async def by_paths(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0, rest=[{"b": 0}], c={})
    await call(frame).insert()
    frame["a"], frame["rest"][0]["b"], frame["c"]["d"] = value, value, value
    await call(frame).update("a", "rest.0.b", "c.d")
    return frame


async def by_edit(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0, rest=[{"b": 0}])
    await call(frame).insert()
    frame = await call(Anything).by_id(frame._id)
    frame["a"], frame["rest"][0]["b"] = value, value
    await call(frame).save()
    return frame


async def by_change(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0)
    await call(frame).insert()
    await call(frame).change({"$set": {"a": value, "rest": [{"b": value}]}})
    return frame


async def by_update_where(call: Runtime, value: Any) -> Any:
    frame = Anything(a=0)
    await call(frame).insert()
    await call(Anything).update_where(Q._id == frame._id, {"$set": {"a": value}})
    await call(Anything).update_where(Q._id == frame._id, {"$push": {"rest": {"b": value}}})
    await call(frame).reload()
    return frame


WRITES: list[Callable[[Runtime, Any], Coroutine[Any, Any, Any]]] = [
    by_insert,
    by_insert_many,
    by_update,
    by_update_many,
    by_save,
    by_upsert,
    by_paths,
    by_edit,
    by_change,
    by_update_where,
]


async def check_round_trip(call: Runtime, write: Any, value: Any, zone: tzinfo = utc) -> None:
    """Write a value, read it back, find it by itself, and write back what was read."""
    expected = as_bson(rule(value, zone))  # before the frame's datetimes are cut
    frame = await write(call, value)
    found = await call(Anything).by_id(frame._id)

    assert expected == as_bson(found["a"])
    assert expected == as_bson(found["rest"][0]["b"])
    assert expected == as_bson(rule(frame["a"], zone)), "the frame holds another value"
    for at in held(frame["a"]):
        assert (at.replace(tzinfo=None) - (at.utcoffset() or timedelta())).microsecond % 1000 == 0
        assert getattr(at, "nanosecond", 0) == 0
        assert at.tzinfo is not None or zone is utc
    for filter in (Q.a == value, In(Q.a, [value])):
        assert await call(Anything).count(filter & (Q._id == frame._id)) == 1, filter
    await call(found).update()
    assert expected == as_bson((await call(Anything).by_id(frame._id))["a"])


@settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(value=anything, write=st.sampled_from(WRITES))
def test_any_value_is_read_back_as_the_page_says(
    call: Runtime, server: Server, db: str, value: Any, write: Any
) -> None:
    """Any value, nested in any other, is stored by the rule, held by the frame, and found."""
    event(type(value).__name__)
    server.client.get_database(db).drop_collection("Anything")
    run(call, server, check_round_trip(call, write, value))


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(value=anything, write=st.sampled_from(WRITES), zone=settled | st.none())
def test_any_value_beside_a_setting_for_naive_datetimes(
    call: Runtime, server: Server, db: str, value: Any, write: Any, zone: tzinfo | None
) -> None:
    """A zone is given to what has none, wherever it is; or it is refused, and all else stored."""
    server.client.get_database(db).drop_collection("Anything")
    loom.connect(server.client, aio=server.aio, db=db, naive=zone or "refuse")
    if zone is not None or not has_naive(value):
        run(call, server, check_round_trip(call, write, value, zone or utc))
        return
    with pytest.raises(EncodeError, match=r"(?s)^Anything.*: expected a datetime with"):
        run(call, server, write(call, value))
    with pytest.raises(EncodeError, match=r"(?s)^Anything.*: expected a datetime with"):
        run(call, server, look(call, value))


async def look(call: Runtime, value: Any) -> Any:
    """Look for a value."""
    return await call(Anything).one(Q.a == value)


def is_id(value: Any) -> bool:
    """Tell whether a server takes a value as `_id`: no list, no null, no keys of a DBRef."""
    stored = rule(value)
    return stored is not None and not isinstance(stored, list) and b"$ref" not in as_bson(stored)


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(id=(anything | hashable).filter(is_id))
def test_any_value_is_an_id(call: Runtime, server: Server, db: str, id: Any) -> None:
    """A document is found, changed, referred to, reloaded and deleted by an `_id` of any type."""
    server.client.get_database(db).drop_collection("Anything")
    server.client.get_database(db).drop_collection("Dragon")
    run(call, server, check_id(call, id))


async def check_id(call: Runtime, id: Any) -> None:
    """Do everything that is done by an `_id`."""
    expected = as_bson(rule(id))
    same = copied(id)
    dragon = Dragon(_id=id, name="Burt")
    await call(dragon).insert()
    dragon["age"] = 5
    await call(dragon).update("age")
    await call(Dragon).update_many([Dragon(_id=same, gold=7)])
    await call(Anything(_id=1, pet=dragon, pets=[Dragon(_id=same)])).insert()
    holder = await call(Anything).one(
        projection={"pet": {"$ref": Dragon}, "pets": {"$ref": Dragon}}
    )
    await call(dragon).reload()
    # A document where a reference is expected is a map of references.
    pets = [] if isinstance(rule(id), dict) else [holder["pet"], *holder["pets"]]

    assert expected == as_bson(dragon._id)
    for found in (
        *pets,
        await call(Dragon).by_id(same),
        *await call(Dragon).by_ids([same, same]),
        await call(Dragon).one(Q._id == same),
    ):
        assert ("Burt", 5, 7) == (found["name"], found["age"], found["gold"])
        assert expected == as_bson(found._id)
    assert (await call(Anything).one(Q.pet == dragon)) == holder
    await call(Dragon(_id=same, name="Bob")).upsert()
    assert "Bob" == (await call(Dragon).one())["name"]
    await call(Dragon(_id=same)).delete()
    assert 0 == await call(Dragon).count({})


def copied(value: Any) -> Any:
    """Return a copy of a value that shares no container with it."""
    try:
        return copy.deepcopy(value)
    except TypeError:  # a mapping proxy is, or is in it
        return value


@st.composite
def with_refused(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """Return a value that holds a refused one somewhere, and the path of that."""
    value: Any = value_of(draw(st.sampled_from(_REFUSED_INSIDE)))
    path: list[str] = []
    for _ in range(draw(st.integers(0, 4))):
        before = draw(st.lists(leaves, max_size=2))
        kind = draw(st.sampled_from(["list", "tuple", "dict", "map", "sub-frame"]))
        if kind in ("list", "tuple"):
            value = [*before, value] if kind == "list" else (*before, value)
            path.insert(0, str(len(before)))
            continue
        document = {**{f"k{i}": member for i, member in enumerate(before)}, "x": value}
        makers: dict[str, Any] = {"dict": dict, "map": types.MappingProxyType, "sub-frame": Lair}
        value = makers[kind](document)
        path.insert(0, "x")
    return value, path


_REFUSED_INSIDE = [
    written
    for written, _ in REFUSED
    if not written.startswith("{1") and not written.startswith('{"a\\')
    if np is not None or ("np." not in written and "pd." not in written)
]


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(refused=with_refused(), write=st.sampled_from([by_insert, by_insert_many, by_upsert]))
def test_what_is_refused_is_named_anywhere(
    call: Runtime,
    server: Server,
    commands: Commands,
    refused: tuple[Any, list[str]],
    write: Any,
) -> None:
    """Somewhere in any value, what is refused is named with its path, and nothing is written."""
    value, path = refused
    commands.clear()
    place = r"\.".join([r"^Anything(\.0)?\.a", *path])
    with pytest.raises(EncodeError, match=f"{place}: expected "):
        run(call, server, write(call, value))

    assert not {"insert", "update"} & {*commands.names}


# Ready clients


LEGACY = {"uuidRepresentation": "pythonLegacy"}


@pytest.mark.parametrize("options", [{}, {"tz_aware": True}, LEGACY, {"tz_aware": True, **LEGACY}])
async def test_ready_clients(
    call: Runtime, server: Server, db: str, options: dict[str, Any]
) -> None:
    """A ready client keeps its options: what is written with them is read and found with them."""
    client: Any = (AsyncMongoClient if call.is_async else MongoClient)(server.uri, **options)
    loom.connect(client, db=db)
    at = datetime(2024, 3, 10, 12, 0, 0, 123_456, utc)
    values = [at, {at}, Color.DAY, Color.MAP, Decimal("1.10"), Lair({"at": [at]})]
    if "uuidRepresentation" in options:
        id = uuid.UUID(int=5)
        values += [id, {id, uuid.UUID(int=2)}, (id,), Dragon(_id=id), [Missing(Dragon, id)]]
    try:
        for number, value in enumerate(values):
            expected = rule(value)
            frame = Anything(_id=number, a=value)
            await call(frame).insert()
            found = await call(Anything).one((Q.a == value) & (Q._id == number))
            if "tz_aware" not in options:
                expected = without_zones(expected)
            if not isinstance(value, set):
                assert expected == found["a"]
            assert type(expected) is type(found["a"])
            await call(found).update()
            assert found == await call(Anything).by_id(number)
    finally:
        closed = client.close()
        if closed is not None:
            await closed


def without_zones(value: Any) -> Any:
    """Return what a client reads that is not asked for aware datetimes."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, list):
        return [without_zones(member) for member in value]
    if isinstance(value, dict):
        return {key: without_zones(member) for key, member in value.items()}
    return value
