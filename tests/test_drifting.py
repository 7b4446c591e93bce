"""Drift: where stored documents depart from what their class says."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from uuid import UUID, uuid4

import pytest
from bson import Code, Decimal128, ObjectId, Regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import FieldError, Frame, IncrCounter, QueryError, StrLower, SubFrame
from loom.frames import drifting
from loom.frames.drifting import Departure, Drift, drift
from loom.frames.expectations import expectations, stored_kind

from .conftest import Commands, Runtime


class Lair(SubFrame):
    name: str
    gold: int


class Dragon(Frame):
    _private_fields = {"secret"}

    name: str
    age: int | None
    lair: Lair
    spare: list[Lair]
    tags: list[str]
    scores: dict[str, float]
    secret: str
    friend: Dragon


GOOD = {
    "name": "Burt",
    "lair": {"name": "Cave", "gold": 5},
    "spare": [{"name": "Hill", "gold": 1}],
    "tags": ["a"],
    "scores": {"one": 1, "two": 2.5},
    "secret": "hush",
    "friend": 7,
}


async def run(call: Runtime, *args: Any, **options: Any) -> Drift:
    """Call `drift`, blocking or awaited."""
    if call.is_async:
        return await drifting.aio.drift(*args, **options)
    return drift(*args, **options)


def store(cls: Any, *documents: dict[str, Any]) -> None:
    """Store documents as they are."""
    cls.get_collection().insert_many([dict(document) for document in documents])


def brief(found: Drift) -> list[tuple[Any, ...]]:
    """Return path, problem, found types, documents and examples of each departure."""
    return sorted((d.path, d.problem, d.found, d.documents, d.examples) for d in found.departures)


async def test_documents_as_declared_do_not_depart(call: Runtime) -> None:
    """Whole numbers are floats, too; what may be None may be missing."""
    store(Dragon, {"_id": 1, **GOOD}, {"_id": 2, **GOOD, "age": None}, {"_id": 3, **GOOD, "age": 3})

    found = await run(call, Dragon)

    assert ("Dragon", 3, (), {}) == tuple(found)
    assert "Dragon: 3 documents, no departures" == str(found)
    assert "no departures" in found._repr_html_()


async def test_every_departure_is_reported(call: Runtime) -> None:
    """Unknown, missing and wrongly typed fields, in documents, lists and maps."""
    store(
        Dragon,
        {"_id": 1, **GOOD, "nickname": "B", "age": "3"},
        {"_id": 2, **GOOD, "nickname": 5, "tags": ["a", 1, 2]},
        {"_id": 3, **GOOD, "lair": {"name": None, "depth": 2}},
        {"_id": 4, **GOOD, "spare": [{"name": "x", "gold": "y"}, 3], "tags": "a"},
        {"_id": 5, **GOOD, "scores": {"one": "1"}, "secret": 77_001},
        {"_id": 6, **{k: v for k, v in GOOD.items() if k not in ("name", "friend")}},
    )

    found = await run(call, Dragon)

    assert [
        ("age", "type", {"string": 1}, 1, (1,)),
        ("friend", "missing", {"missing": 1}, 1, (6,)),
        ("lair.depth", "unknown field", {"int": 1}, 1, (3,)),
        ("lair.gold", "missing", {"missing": 1}, 1, (3,)),
        ("lair.name", "type", {"null": 1}, 1, (3,)),
        ("name", "missing", {"missing": 1}, 1, (6,)),
        ("scores.*", "type", {"string": 1}, 1, (5,)),
        ("secret", "type", {"int": 1}, 1, (5,)),
        ("spare[]", "type", {"int": 1}, 1, (4,)),
        ("spare[].gold", "type", {"string": 1}, 1, (4,)),
        ("tags", "type", {"string": 1}, 1, (4,)),
        ("tags[]", "type", {"int": 2}, 1, (2,)),
    ] == [row for row in brief(found) if row[0] != "nickname"]
    (nickname,) = (d for d in found.departures if d.path == "nickname")
    assert ({"string": 1, "int": 1}, 2, 6, {1, 2}) == (
        nickname.found,
        nickname.documents,
        nickname.of,
        {*nickname.examples},
    )
    assert nickname == found.departures[0]
    assert 2 / 6 == nickname.share


async def test_it_prints_types_and_never_values(call: Runtime) -> None:
    """Text and HTML show paths, types, counts, shares and ids."""
    store(Dragon, {"_id": 1, **GOOD, "secret": 77_001, "<b>": "shown"}, {"_id": 2, **GOOD})

    found = await run(call, Dragon)
    text, html = str(found), found._repr_html_()

    assert ["Dragon: 2 documents, 2 departures", "field"] == [
        text.splitlines()[0],
        text.splitlines()[1].split()[0],
    ]
    assert any(
        line.split() == ["Dragon.secret", "type", "str", "int", "(1)", "1", "(50.0%)", "1"]
        for line in text.splitlines()
    )
    assert "&lt;b&gt;" in html
    assert "<td style='text-align:left'>1 (50.0%)</td>" in html
    assert not any(secret in text + html for secret in ("77001", "77_001", "shown", "hush"))


async def test_fields_without_a_type(call: Runtime) -> None:
    """Where nothing is said, several types in one field are told; numbers are one type."""

    class Loose(Frame):
        _fields = {"a", "b", "c"}

    store(
        Loose,
        *({"_id": n, "a": n, "b": 1, "c": None} for n in range(3)),
        {"_id": 3, "a": "x", "b": 2.5, "c": "y"},
        {"_id": 4, "b": Decimal128("1")},
    )

    found = await run(call, Loose)

    assert [
        ("a", "missing", {"missing": 1}, 1, (4,)),
        ("a", "mixed types", {"number": 3, "string": 1}, 1, (3,)),
        ("c", "missing", {"missing": 1}, 1, (4,)),
    ] == brief(found)


async def test_a_class_without_fields(call: Runtime) -> None:
    """It knows every field, and none is missing."""

    class Open(Frame):
        pass

    store(Open, {"_id": 1, "a": 1}, {"_id": 2, "a": "x", "b": 1})

    found = await run(call, Open)

    assert [("a", "mixed types")] == [row[:2] for row in brief(found)]


async def test_kinds_are_compared_with_their_own_class(call: Runtime) -> None:
    """A field of a Dog is not missed in a Cat; kinds of no class are told."""

    class Animal(Frame):
        _kind_field = "type"

    class Dog(Animal):
        barks: int

    class Cat(Animal):
        lives: int

    store(
        Animal,
        {"_id": 1, "type": "Dog", "barks": 1, "lives": 2},
        {"_id": 2, "type": "Cat", "lives": "9"},
        {"_id": 3, "type": "horse"},
        {"_id": 4},
    )

    found = await run(call, Animal)
    dogs = await run(call, Dog)

    assert [
        ("Animal", "type", "unknown kind", {"'horse'": 1, "missing": 1}, 2),
        ("Cat", "lives", "type", {"string": 1}, 1),
        ("Dog", "lives", "unknown field", {"int": 1}, 1),
    ] == sorted((d.frame_class, d.path, d.problem, d.found, d.of) for d in found.departures)
    assert (1, ["lives"]) == (dogs.sampled, [d.path for d in dogs.departures])


async def test_older_documents_are_upgraded_first(call: Runtime) -> None:
    """What an upgrade sets right does not depart; one that fails is told."""

    class Coin(Frame):
        _schema_version = 2

        value: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["value"] = document.pop("worth")

    store(
        Coin,
        {"_id": 1, "worth": 1},
        {"_id": 2},
        {"_id": 3, "_schema_version": 2, "value": 3},
        {"_id": 4, "_schema_version": 3, "values": [3]},
    )

    found = await run(call, Coin)

    assert {0: 2, 2: 1, 3: 1} == found.versions
    assert [
        ("", "upgrade failed", {"KeyError": 1}, 1, (2,)),
        ("value", "missing", {"missing": 1}, 1, (4,)),
        ("values", "unknown field", {"array": 1}, 1, (4,)),
    ] == brief(found)
    assert "schema versions: 2 of 0, 1 of 2, 1 of 3" in str(found)
    assert {"_id": 1, "worth": 1} == Coin.get_collection().find_one({"_id": 1})


async def test_a_sample_of_what_matches(call: Runtime, commands: Commands) -> None:
    """One command, with the size of the sample and the filter."""
    store(Dragon, *({"_id": n, **GOOD, "odd": n} for n in range(5)))
    commands.clear()

    found = await run(call, Dragon, {"_id": {"$gt": 0}}, sample=3, comment="drift")

    assert 3 == found.sampled
    assert ["aggregate"] == commands.names
    assert [{"$match": {"_id": {"$gt": 0}}}, {"$sample": {"size": 3}}] == commands.bodies[0][
        "pipeline"
    ]


async def test_what_is_refused(call: Runtime) -> None:
    """A sample of nothing, options of a query, and what is no Frame class."""
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(QueryError, match="sample"):
            await run(call, Dragon, sample=wrong)
    with pytest.raises(FieldError, match="aggregation"):
        await run(call, Dragon, limit=3)
    with pytest.raises(QueryError, match="Frame class"):
        await run(call, Lair)


# Annotations


class Colour(Enum):
    RED = "red"
    BLUE = 3


Name = NewType("Name", str)


def test_annotations_say_how_values_are_stored() -> None:
    """Every annotated type leads to the types that MongoDB stores for it."""

    class All(Frame):
        a: int
        b: float | None
        c: Annotated[str, "mark"]
        d: datetime
        e: Decimal
        f: UUID
        g: Path
        h: Colour
        i: Literal["x", 3, None]
        j: Name
        k: list[int]
        m: set[str]
        n: dict[str, int]
        o: tuple[int, ...]
        p: tuple[int, str]
        q: StrLower
        r: IncrCounter
        s: int | str
        t: Any
        u: Dragon
        v: Lair | None
        w: ObjectId
        x: bytes
        y: date
        z: list[Lair] | None

    found = expectations(All)
    del found["_id"]
    kinds = {name: sorted(e.kinds) if e.kinds is not None else None for name, e in found.items()}

    assert {
        "a": ["int"],
        "b": ["double", "int"],
        "c": ["string"],
        "d": ["date"],
        "e": ["decimal"],
        "f": ["binData"],
        "g": ["string"],
        "h": ["int", "string"],
        "i": ["int", "null", "string"],
        "j": ["string"],
        "k": ["array"],
        "m": ["array"],
        "n": ["object"],
        "o": ["array"],
        "p": ["array"],
        "q": ["string"],
        "r": ["int"],
        "s": ["int", "string"],
        "t": None,
        "u": None,
        "v": ["object"],
        "w": ["objectId"],
        "x": ["binData"],
        "y": ["date"],
        "z": ["array"],
    } == kinds
    assert {"b", "i", "t", "v", "z"} == {name for name, e in found.items() if e.is_nullable}
    assert Lair is found["v"].frame_class
    assert Lair is found["z"].items.frame_class  # type: ignore[union-attr]
    assert "float or None" == found["b"].text


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (Code("x"), "javascript"),
        (uuid4(), "binData"),
        (b"", "binData"),
        (Regex("a"), "regex"),
        (Decimal128("1"), "decimal"),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "date"),
        ({}, "object"),
    ],
)
def test_stored_kinds(value: Any, kind: str) -> None:
    """Loaded values have the types that MongoDB names."""
    assert kind == stored_kind(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "gold", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from([*GOOD, "age", "more"]), VALUES, max_size=6)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_any_documents_can_be_looked_at(db: str, documents: list[dict[str, Any]]) -> None:
    """Whatever is stored, counts are those of documents, and unknown and missing fields are right."""
    collection = Dragon.get_collection()
    collection.delete_many({})
    store(Dragon, *({"_id": n, **document} for n, document in enumerate(documents)))

    found = drift(Dragon)
    by_path: dict[tuple[str, str], Departure] = {(d.path, d.problem): d for d in found.departures}

    assert len(documents) == found.sampled
    assert all(1 <= d.documents <= d.of == len(documents) for d in found.departures)
    for name in GOOD:
        missing = sum(name not in document for document in documents)
        told = by_path.get((name, "missing"))
        assert missing == (0 if told is None else told.documents)
    more = by_path.get(("more", "unknown field"))
    assert sum("more" in document for document in documents) == (
        0 if more is None else more.documents
    )
    assert str(found)
    assert found._repr_html_()
