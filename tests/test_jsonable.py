"""Documents as JSON: every type, private paths, both formats of datetimes."""

from __future__ import annotations

import enum
import json
import math
import re
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from loom import EncodeError, FieldError, Frame, Missing, SubFrame

from .conftest import Runtime
from .test_document import Profile, User, secretive
from .zoo import Dragon, Inventory, Item, Lair

ID = ObjectId("65f000000000000000000001")
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2024, 3, 10, 12, 0, 0, 123456, tzinfo=timezone.utc)


class Color(enum.Enum):
    """Plain values."""

    RED = "red"
    NOON = NOON


class Size(str, enum.Enum):
    """A str that is an Enum."""

    BIG = "big"


class Level(enum.IntEnum):
    """An int that is an Enum."""

    LOW = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (5, 5),
        (2**70, 2**70),
        (Int64(5), 5),
        (1.5, 1.5),
        ("text", "text"),
        (ID, str(ID)),
        (Decimal128("1.10"), "1.10"),
        (Decimal("1.10"), "1.10"),
        (UUID, str(UUID)),
        (Binary.from_uuid(UUID), str(UUID)),
        (Binary(b"short", 4), "c2hvcnQ="),
        (b"\x00\xff", "AP8="),
        (Binary(b"\x00\xff", 128), "AP8="),
        (NOON, "2024-03-10 12:00:00"),
        (date(2024, 3, 10), "2024-03-10"),
        (time(12, 30, 1, 5), "12:30:01.000005"),
        (Timestamp(1_710_072_000, 1), "2024-03-10 12:00:00"),
        (bson.DatetimeMS(5), 5),
        (Color.RED, "red"),
        (Color.NOON, "2024-03-10 12:00:00"),
        (Size.BIG, "big"),
        (Level.LOW, 1),
        (Regex("^a", "i"), "^a"),
        (re.compile(rb"\xff"), "\\xff"),
        (re.compile(b"\xff"), "\\xff"),
        (Code("f()"), "f()"),
        (DBRef("c", ID), {"$ref": "c", "$id": str(ID)}),
        (MinKey(), "MinKey"),
        (MaxKey(), "MaxKey"),
        (PurePosixPath("a/b"), "a/b"),
        ((1, (2,)), [1, [2]]),
        ({5}, [5]),
        (frozenset({ID}), [str(ID)]),
        ({1: {"a": ID}}, {"1": {"a": str(ID)}}),
        (Lair(inventory=Inventory(gold=1)), {"inventory": {"gold": 1}}),
        ([Item(_id=ID, desc="x")], [{"_id": str(ID), "desc": "x"}]),
        (Missing(Item, ID), str(ID)),
    ],
    ids=repr,
)
def test_every_type(value: Any, expected: Any) -> None:
    """Each type that a document can hold has one JSON form, alone, in lists and in dicts."""
    shown = Dragon({"name": value, "loot": [value], "lair": {"a": value}}).to_json_type()

    assert {"name": expected, "loot": [expected], "lair": {"a": expected}} == shown
    assert type(expected) is type(shown["name"])
    assert shown == json.loads(json.dumps(shown))


def test_numpy() -> None:
    """NumPy scalars and arrays become numbers and lists."""
    np = pytest.importorskip("numpy")
    shown = Dragon(age=np.int64(5), name=np.float32(1.5), loot=np.array([1, 2])).to_json_type()

    assert {"age": 5, "name": 1.5, "loot": [1, 2]} == shown
    assert {int, float, list} == {*map(type, shown.values())}


def test_nan_and_infinities_stay_floats() -> None:
    """They are kept, and `json.dumps(..., allow_nan=False)` tells."""
    shown = Dragon(age=math.nan, name=-math.inf).to_json_type()

    assert math.isnan(shown["age"])
    assert -math.inf == shown["name"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps(shown, allow_nan=False)


def test_a_new_dict() -> None:
    """The result shares nothing with the frame, and the frame is not changed."""
    user = secretive()
    before = repr(user._document)
    shown = user.to_json_type()
    shown["devices"].append(1)
    shown["profile"]["email"] = "changed"

    assert before == repr(user._document)
    assert "a@b" == user.profile.email


# Datetimes


@given(st.datetimes() | st.datetimes(timezones=st.timezones()))
def test_iso_loses_nothing(value: datetime) -> None:
    """`datetimes="iso"` gives the same instant back, to the microsecond."""
    try:
        value.astimezone(timezone.utc)
    except OverflowError:  # outside the years that UTC can say
        return
    text = Dragon(created=value).to_json_type(datetimes="iso")["created"]
    aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)

    assert aware.astimezone(timezone.utc) == datetime.fromisoformat(text).astimezone(timezone.utc)


def test_iso_reaches_everywhere() -> None:
    """The format holds for nested frames, lists, Enums and time stamps."""
    dragon = Dragon(
        nemesis=Dragon(created=NOON), loot=[NOON], lair=Lair(name=NOON), breed=Color.NOON
    )
    text = "2024-03-10T12:00:00.123456+00:00"

    assert {
        "nemesis": {"created": text},
        "loot": [text],
        "lair": {"name": text},
        "breed": text,
    } == dragon.to_json_type(datetimes="iso")


def test_other_formats_are_refused() -> None:
    """A misspelt format raises and names both."""
    with pytest.raises(FieldError, match="expected datetimes='text' or 'iso', got 'ISO'"):
        Dragon().to_json_type(datetimes="ISO")  # type: ignore[arg-type]


async def test_stored_and_back(call: Runtime) -> None:
    """What was stored and read again shows the same."""
    burt = Dragon(name="Burt", created=NOON, lair=Lair(inventory=Inventory(gold=3)))
    await call(burt).insert()
    found = await call(Dragon).by_id(burt._id)

    assert found.to_json_type("iso") == burt.to_json_type("iso")


# Private paths


def test_private_paths() -> None:
    """Private values are left out: top, dotted, through lists, maps, sub- and other frames."""
    shown = secretive().to_json_type()

    assert {
        "name": "Ann",
        "profile": {"email": "a@b"},
        "devices": [{"id": 1}, {"id": 2}],
        "teams": {"red": {"size": 3}, "blue": {}},
        "friend": {"name": "Bob"},
    } == shown
    assert {"password", "profile.token", "devices.key", "teams.secret"} == User.get_private_fields()


@pytest.mark.parametrize(
    ("paths", "document", "expected"),
    [
        ({"a.b"}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ({"a", "a.b"}, {"a": {"b": 1}}, {}),
        ({"a.b"}, {"a": 5}, {"a": 5}),
        ({"a.b"}, {"a": None}, {"a": None}),
        ({"a.b"}, {}, {}),
        ({"a.b"}, {"a": [[{"b": 1}], 5]}, {"a": [[{}], 5]}),
        ({"a.0.b"}, {"a": [{"b": 1}, {"b": 2}]}, {"a": [{}, {"b": 2}]}),
        ({"a.1"}, {"a": [1, 2, 3]}, {"a": [1, 3]}),
        ({"a.b"}, {"a": {"x": {"b": 1}, "b": {"b": 2}}}, {"a": {"x": {}}}),
        ({"a.b.c"}, {"a": {"x": {"b": {"c": 1, "d": 2}}}}, {"a": {"x": {"b": {"d": 2}}}}),
        ({"a.b"}, {"a": {"x": {"b": 1}, "n": 5}}, {"a": {"x": {"b": 1}, "n": 5}}),
        ({"a.b"}, {"b": 1, "a": {}}, {"b": 1, "a": {}}),
    ],
)
def test_private_path(paths: set[str], document: Any, expected: Any) -> None:
    """A path removes what it names and nothing else; a map is searched only below the top."""
    cls: Any = type("Thing", (Frame,), {"_private_fields": paths})

    assert expected == cls(document).to_json_type()


def test_private_values_need_no_json_form() -> None:
    """What is left out is not converted: it may be anything."""
    user = User(password=object(), profile=Profile(token=object(), pin=object(), email="e"))

    assert {"profile": {"email": "e"}} == user.to_json_type()


# Errors


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"name": object()}, "Dragon.name"),
        ({"loot": [1, {"a": object()}]}, "Dragon.loot.1.a"),
        ({"lair": Lair(inventory=Inventory(gold=object()))}, "Dragon.lair.inventory.gold"),
        ({"nemesis": Dragon(loot=[Item(value=timedelta(1))])}, "Dragon.nemesis.loot.0.value"),
        ({"name": {object()}}, "Dragon.name.0"),
    ],
)
def test_unknown_values_are_named(document: dict[str, Any], path: str) -> None:
    """A value without a JSON form raises EncodeError with its whole path and its type."""
    with pytest.raises(
        EncodeError, match=rf"^{re.escape(path)}: expected a value with a JSON form"
    ):
        Dragon(document).to_json_type()


def test_circles_are_named() -> None:
    """A frame that holds itself has no JSON form; the same frame twice has."""
    burt, fred = Dragon(name="Burt"), Dragon(name="Fred")
    burt.nemesis = fred
    burt.loot = [fred, fred]

    assert 2 == len(burt.to_json_type()["loot"])

    fred.nemesis = burt
    with pytest.raises(
        EncodeError, match=r"^Dragon\.nemesis\.nemesis: expected a document without"
    ):
        burt.to_json_type()
    fred.nemesis = None

    assert burt.to_json_type()["nemesis"] == {"name": "Fred", "nemesis": None}


def test_a_class_may_have_its_own_way() -> None:
    """An own `to_json_type`, also one written for MongoFrames, is used for nested frames."""

    class Secret(SubFrame):
        value: int

        def to_json_type(self) -> Any:  # type: ignore[override]
            return {**super().to_json_type(), "extra": True}

    assert {"lair": {"value": 1, "extra": True}} == Dragon(lair=Secret(value=1)).to_json_type()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.uuids()
    | st.decimals()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.builds(ObjectId, st.binary(min_size=12, max_size=12))
    | st.sampled_from([Color.RED, Size.BIG, Level.LOW, Decimal128("NaN"), MinKey(), Regex("a")])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Lair, st.fixed_dictionaries({"name": inner}))
        | st.builds(Dragon, st.fixed_dictionaries({"name": inner, "secret": inner}))
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=4), anything, max_size=4))
def test_json_dumps_takes_any_document(document: dict[str, Any]) -> None:
    """`json.dumps` takes what comes out, in both formats, for any document; no secret is in it."""
    for datetimes in ("text", "iso"):
        shown = Dragon(dict(document)).to_json_type(datetimes=datetimes)  # type: ignore[arg-type]

        assert isinstance(json.dumps(shown), str)
        assert "secret" not in shown
