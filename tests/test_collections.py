"""`create_collection`: what is sent, and how what is there is compared with what is declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import bson
import pytest
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo import WriteConcern
from pymongo.collation import Collation
from pymongo.errors import OperationFailure

import loom
from loom import CollectionConflict, Frame, Q, QueryError, ReadOnly, StrLower
from loom.frames.collection_options import changes_of, compared
from loom.frames.ledger import LedgerFrame
from loom.frames.operations import creating
from loom.frames.time import Moment
from tests.conftest import Commands, Runtime, Server
from tests.faults import fault


class Dragon(Frame):
    """An ordinary class."""

    name: StrLower
    age: int


class Price(Moment):
    """A class whose collection is a time series."""

    _timeseries = {"granularity": "minutes", "expireAfterSeconds": timedelta(days=1)}

    amount: float


def sent(commands: Commands, name: str) -> Any:
    """Return what was sent as a command, without what belongs to the driver."""
    (body,) = [body for body in commands.bodies if body.get(name) is not None]
    return {k: v for k, v in body.items() if k[0] != "$" and k not in ("lsid", "txnNumber")}


# What is sent


async def test_a_time_series(call: Runtime, commands: Commands) -> None:
    """It is looked for, and created as the class declares it."""
    assert await call(Price).create_collection() is True
    assert ["listCollections", "create"] == commands.names
    assert {"name": "Price"} == commands.bodies[0]["filter"]

    assert {
        "create": "Price",
        "timeseries": {"timeField": "time", "metaField": "symbol", "granularity": "minutes"},
        "expireAfterSeconds": 86_400,
    } == sent(commands, "create")


async def test_options_go_as_they_are(call: Runtime, commands: Commands) -> None:
    """Those of PyMongo's method, with a condition as the validator, and a comment."""
    await call(Dragon).create_collection(
        capped=True,
        size=4096,
        max=10,
        validator=(Q.name == "BURT") & (Q.age >= 0),
        validationLevel="moderate",
        collation=Collation("en", strength=2),
        comment="c",
    )
    body = sent(commands, "create")
    assert (True, 4096, 10, "moderate") == tuple(
        body[name] for name in ("capped", "size", "max", "validationLevel")
    )
    assert {"$and": [{"name": "burt"}, {"age": {"$gte": 0}}]} == body["validator"]
    assert {"locale": "en", "strength": 2} == dict(body["collation"])

    assert ["c", "c"] == [body["comment"] for body in commands.bodies]


async def test_json_schemas(call: Runtime, commands: Commands) -> None:
    """A plain validator goes as it is."""
    schema = {"$jsonSchema": {"required": ["name"], "properties": {"age": {"minimum": 0}}}}
    await call(Dragon).create_collection(validator=schema)

    assert schema == sent(commands, "create")["validator"]


async def test_write_concerns(call: Runtime, commands: Commands) -> None:
    """The one of the call goes before that of the block."""
    with Dragon.with_options(write_concern=WriteConcern(w=1)):
        await call(Dragon).create_collection()
        assert {"w": 1} == sent(commands, "create")["writeConcern"]
        Dragon.get_collection().drop()
        commands.clear()
        await call(Dragon).create_collection(write_concern=WriteConcern(j=True))

    assert {"j": True} == sent(commands, "create")["writeConcern"]


async def test_what_is_there_is_left(call: Runtime, commands: Commands) -> None:
    """A second call sees that it is as declared, and does nothing."""
    for cls, options in ((Price, {}), (Dragon, {"validator": Q.age >= 0}), (Entry, {})):
        await call(cls).create_collection(**options)
        commands.clear()
        assert await call(cls).create_collection(**options) is False
        assert await call(cls).create_collection(modify=True, **options) is False

        assert ["listCollections", "listCollections"] == commands.names


class Entry(LedgerFrame):
    """A class whose documents are only added."""

    text: str


async def test_what_is_there_otherwise(call: Runtime, commands: Commands) -> None:
    """The error names what differs, and what of it can be changed; nothing is."""
    await call(Dragon).create_collection(validator=Q.age >= 0)
    commands.clear()
    with pytest.raises(CollectionConflict) as caught:
        await call(Dragon).create_collection(validator=Q.age >= 1)
    assert ["validator"] == [each.option for each in caught.value.differences]
    for part in ("'Dragon'", "{'$gte': 0}", "{'$gte': 1}", "pass modify=True to have validator"):
        assert part in str(caught.value)
    with pytest.raises(CollectionConflict, match="no server changes capped, size of a") as caught:
        await call(Dragon).create_collection(modify=True, capped=True, size=1)
    assert "modify=True then changes validator" in str(caught.value)

    assert ["listCollections", "listCollections"] == commands.names


async def test_changing_what_is_there(call: Runtime, commands: Commands) -> None:
    """One collMod sets what differs, and nothing else."""
    await call(Dragon).create_collection(validator=Q.age >= 0)
    commands.clear()
    assert await call(Dragon).create_collection(
        modify=True, validator=Q.age >= 1, validationAction="warn", comment="c"
    )
    assert ["listCollections", "collMod"] == commands.names

    assert {
        "collMod": "Dragon",
        "validator": {"age": {"$gte": 1}},
        "validationAction": "warn",
        "comment": "c",
    } == sent(commands, "collMod")


async def test_a_plain_collection_is_no_time_series(call: Runtime) -> None:
    """An insert before the collection was created has made an ordinary one: that is told."""
    Price.get_db().create_collection("Price")
    with pytest.raises(CollectionConflict, match="timeseries.timeField is None, declared 'time'"):
        await call(Price).create_collection(modify=True)


async def test_others_may_create_it_meanwhile(
    call: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second compares with what is there then."""
    look = creating._look
    looks: list[Any] = []

    async def late(*args: Any) -> Any:
        looks.append(args)
        if len(looks) > 1:
            return await look(*args)
        Dragon.get_db().create_collection("Dragon", validator={"age": {"$gte": 1}})
        return None

    monkeypatch.setattr(creating, "_look", late)
    with pytest.raises(CollectionConflict, match="validator"):
        await call(Dragon).create_collection(validator=Q.age >= 0)

    assert 2 == len(looks)


async def test_errors_of_the_server_pass_through(call: Runtime, server: Server) -> None:
    """What is no race is not tried again."""
    if not server.is_embedded:
        pytest.skip("needs a server that takes failpoints")
    server.commands.clear()
    with fault(server, "create", errorCode=13), pytest.raises(OperationFailure):
        await call(Price).create_collection()

    assert 1 == server.commands.names.count("create")


@pytest.mark.parametrize(
    ("cls", "options", "problem"),
    [
        (Dragon, {"timeseries": {"timeField": "x"}}, "expected timeseries in _timeseries of the"),
        (Price, {"expireAfterSeconds": 5}, "expected expireAfterSeconds in _timeseries of the"),
        (Price, {"validator": {}}, "options that a time-series collection takes, got 'validator'"),
        (Price, {"capped": True, "size": 1}, "that a time-series collection takes, got 'capped'"),
        (Dragon, {"check_exists": False}, "options of the collection, got 'check_exists'"),
        (Dragon, {"codec_options": None}, "options of the collection, got 'codec_options'"),
        (Dragon, {"validator": 5}, "expected"),
    ],
)
async def test_options_that_do_not_go(
    call: Runtime, commands: Commands, cls: Any, options: dict[str, Any], problem: str
) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(QueryError, match=problem):
        await call(cls).create_collection(**options)

    assert [] == commands.names


async def test_values_that_cannot_be_stored(call: Runtime, commands: Commands) -> None:
    """The path is named, and nothing is sent."""
    with pytest.raises(loom.EncodeError, match="validator"):
        await call(Dragon).create_collection(validator={"age": object()})

    assert [] == commands.names


async def test_where_it_cannot_be_created(call: Runtime, commands: Commands) -> None:
    """Not where writing is switched off, nor in a transaction."""
    with loom.read_only(), pytest.raises(ReadOnly, match=r"Dragon\.create_collection"):
        await call(Dragon).create_collection()
    problem = r"Dragon\.create_collection: expected it outside of a transaction"
    if call.is_async:
        async with loom.aio.transaction():
            with pytest.raises(loom.TransactionError, match=problem):
                await call(Dragon).create_collection()
    else:
        with loom.transaction(), pytest.raises(loom.TransactionError, match=problem):
            await call(Dragon).create_collection()

    assert [] == commands.names


# What servers say, as documented


def differing(wanted: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Return the names of what is stored otherwise than wanted."""
    return [each.option for each in compared(wanted, stored, DEFAULT_CODEC_OPTIONS)]


SERIES = {"timeField": "time", "metaField": "symbol"}
COLLATION = {
    "locale": "en",
    "caseLevel": False,
    "caseFirst": "off",
    "strength": 2,
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
    "version": "57.1",
}


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        ({}, {}),
        ({"timeseries": SERIES}, {"timeseries": {**SERIES, "granularity": "seconds"}}),
        (
            {"timeseries": SERIES},
            {"timeseries": {**SERIES, "granularity": "seconds", "bucketMaxSpanSeconds": 3600}},
        ),
        (
            {"timeseries": {**SERIES, "granularity": "hours"}, "expireAfterSeconds": 60},
            {
                "timeseries": {
                    **SERIES,
                    "granularity": "hours",
                    "bucketMaxSpanSeconds": 2_592_000,
                    "bucketRoundingSeconds": 3600,
                },
                "expireAfterSeconds": bson.Int64(60),
            },
        ),
        (
            {
                "timeseries": {
                    **SERIES,
                    "bucketMaxSpanSeconds": 60,
                    "bucketRoundingSeconds": 60,
                }
            },
            {
                "timeseries": {
                    **SERIES,
                    "bucketRoundingSeconds": 60,
                    "bucketMaxSpanSeconds": 60,
                }
            },
        ),
        ({"capped": True, "size": 1000}, {"capped": True, "size": 1024}),
        ({"capped": True, "size": 1000}, {"capped": True, "size": 1000}),
        ({"size": 1000}, {}),
        ({"collation": {"locale": "en", "strength": 2}}, {"collation": COLLATION}),
        ({"collation": {"locale": "simple"}}, {}),
        ({"validator": {}, "validationLevel": "strict"}, {}),
        ({}, {"validationAction": "error", "uuid": 5, "flags": 1, "autoIndexId": True}),
        (
            {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
            {"clusteredIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_", "unique": True}},
        ),
        ({"viewOn": "dragons"}, {"viewOn": "dragons", "pipeline": []}),
        ({"validator": {"age": {"$in": {1}}}}, {"validator": {"age": {"$in": [1]}}}),
    ],
)
def test_what_is_the_same(wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """What servers add, round and reorder is no difference."""
    codecs = Dragon_codecs()

    assert () == compared(wanted, stored, codecs)


def Dragon_codecs() -> Any:
    """Return codecs that encode sets, as Loom's do."""
    from loom.encoding import codec_options

    return codec_options(DEFAULT_CODEC_OPTIONS)


@pytest.mark.parametrize(
    ("wanted", "stored", "names", "changes"),
    [
        ({}, {"capped": True, "size": 1024}, ["capped", "size"], None),
        (
            {"capped": True, "size": 512},
            {"capped": True, "size": 256},
            ["size"],
            {"cappedSize": 512},
        ),
        ({"capped": True, "size": 256, "max": 5}, {"capped": True, "size": 256}, ["max"], None),
        ({}, {"collation": COLLATION}, ["collation"], None),
        ({"collation": {"locale": "en"}}, {"collation": COLLATION}, ["collation"], None),
        ({}, {"validator": {"a": 1}}, ["validator"], {"validator": {}}),
        (
            {},
            {"validationLevel": "off", "validationAction": "warn"},
            ["validationAction", "validationLevel"],
            {"validationAction": "error", "validationLevel": "strict"},
        ),
        (
            {"changeStreamPreAndPostImages": {"enabled": True}},
            {},
            ["changeStreamPreAndPostImages"],
            {"changeStreamPreAndPostImages": {"enabled": True}},
        ),
        ({}, {"viewOn": "x", "pipeline": [{"$match": {}}]}, ["pipeline", "viewOn"], None),
        (
            {"timeseries": SERIES, "expireAfterSeconds": 5},
            {"timeseries": SERIES},
            ["expireAfterSeconds"],
            {"expireAfterSeconds": 5},
        ),
        (
            {"timeseries": SERIES},
            {"timeseries": SERIES, "expireAfterSeconds": 5},
            ["expireAfterSeconds"],
            {"expireAfterSeconds": "off"},
        ),
        (
            {"timeseries": {**SERIES, "granularity": "hours"}},
            {"timeseries": {**SERIES, "granularity": "seconds", "bucketMaxSpanSeconds": 3600}},
            ["timeseries.granularity"],
            {"timeseries": {"granularity": "hours"}},
        ),
        (
            {"timeseries": SERIES},
            {"timeseries": {**SERIES, "granularity": "hours"}},
            ["timeseries.granularity"],
            None,
        ),
        (
            {
                "timeseries": {
                    **SERIES,
                    "bucketMaxSpanSeconds": 7200,
                    "bucketRoundingSeconds": 7200,
                }
            },
            {"timeseries": {**SERIES, "granularity": "seconds"}},
            [
                "timeseries.bucketMaxSpanSeconds",
                "timeseries.bucketRoundingSeconds",
                "timeseries.granularity",
            ],
            {"timeseries": {"bucketMaxSpanSeconds": 7200, "bucketRoundingSeconds": 7200}},
        ),
        (
            {
                "timeseries": {
                    **SERIES,
                    "bucketMaxSpanSeconds": 60,
                    "bucketRoundingSeconds": 60,
                }
            },
            {
                "timeseries": {
                    **SERIES,
                    "bucketMaxSpanSeconds": 90,
                    "bucketRoundingSeconds": 90,
                }
            },
            ["timeseries.bucketMaxSpanSeconds", "timeseries.bucketRoundingSeconds"],
            None,
        ),
        (
            {
                "timeseries": {
                    **SERIES,
                    "bucketMaxSpanSeconds": 3600,
                    "bucketRoundingSeconds": 3600,
                }
            },
            {"timeseries": {**SERIES, "granularity": "seconds"}},
            [
                "timeseries.bucketMaxSpanSeconds",
                "timeseries.bucketRoundingSeconds",
                "timeseries.granularity",
            ],
            None,
        ),
        (
            {"timeseries": {"timeField": "time"}},
            {"timeseries": SERIES},
            ["timeseries.metaField"],
            None,
        ),
        (
            {"timeseries": {**SERIES, "granularity": "hours"}},
            {"timeseries": {"timeField": "ts", "metaField": "symbol"}},
            ["timeseries.granularity", "timeseries.timeField"],
            None,
        ),
        (
            {"timeseries": {"timeField": "t"}},
            {},
            ["timeseries.granularity", "timeseries.timeField"],
            None,
        ),
        (
            {},
            {"timeseries": {"timeField": "t"}},
            ["timeseries.granularity", "timeseries.timeField"],
            None,
        ),
    ],
)
def test_what_differs(
    wanted: dict[str, Any], stored: dict[str, Any], names: list[str], changes: Any
) -> None:
    """Each option by its name, and what collMod takes of them; None where something stays."""
    assert names == differing(wanted, stored)
    found, staying = changes_of(compared(wanted, stored, DEFAULT_CODEC_OPTIONS))

    assert changes == (None if staying else found)
