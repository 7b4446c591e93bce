"""Indexes on the server: compared with what classes declare, and built."""

from __future__ import annotations

import gc
import inspect
import pickle
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo.errors import ConnectionFailure, OperationFailure

import loom
from loom import (
    DefinitionError,
    Duplicate,
    EncodeError,
    Frame,
    IndexConflict,
    Q,
    QueryError,
    ReadOnly,
    StrLower,
    SubFrame,
    TransactionError,
)
from loom.frames import indexes
from loom.frames.indexes import Diff, Done, Found, Index

from .conftest import Commands, Runtime, Server


class Lair(SubFrame):
    name: str
    gold: int


class Dragon(Frame):
    _indexes = [
        Index("name", unique=True),
        Index("lair.gold", "-age"),
        Index("x", "-y", unique=True, optional=True),
        Index("expires", ttl=3600),
        Index("loc", kind="2dsphere"),
        Index("email", unique=True, optional=True, case_insensitive=True),
        Index("age", partial=Q.age > 5, hidden=True, name="old ones"),
    ]

    name: str
    email: str
    age: int
    x: int
    y: int
    expires: datetime
    loc: Any
    lair: Lair
    breed: StrLower


class Wolf(Frame):
    _collection = "wolves"  # a name that no class of another test has

    name: str
    age: int


class _Functions:
    """The functions of a module, called the awaited way."""

    def __getattr__(self, name: str) -> Any:
        async def function(*args: Any, **options: Any) -> Any:
            return getattr(indexes, name)(*args, **options)

        return function


def of(call: Runtime) -> Any:
    """Return the functions of one runtime, to be awaited."""
    return indexes.aio if call.is_async else _Functions()


def names(cls: type[Frame]) -> set[str]:
    """Return the names of a collection's indexes."""
    return {*cls.get_collection().index_information()} - {"_id_"}


@pytest.fixture(autouse=True)
def undeclared() -> Any:
    """Wolves declare anew in each test."""
    gc.collect()  # classes of earlier tests, which would still declare what they declare
    Wolf._indexes = []
    yield
    Wolf._indexes = []


async def test_ensure_builds_what_diff_misses(call: Runtime, commands: Commands) -> None:
    """All declared indexes are missing, then built by one command, then there."""
    declared = tuple(Found(f"{Dragon.get_db().name}.Dragon", i) for i in Dragon._indexes)
    before = await of(call).diff(Dragon)
    assert ["listIndexes"] == commands.names
    done = await of(call).ensure(Dragon)

    assert Diff(declared) == before
    assert Done(declared) == done
    assert ["listIndexes", "listIndexes", "createIndexes"] == commands.names
    assert {index.name for index in Dragon._indexes} == names(Dragon)
    assert not await of(call).diff(Dragon)
    assert "indexes are as declared" == str(await of(call).diff(Dragon))
    commands.clear()
    assert Done() == await of(call).ensure(Dragon) == await of(call).ensure(Dragon, drop=True)
    assert ["listIndexes"] * 2 == commands.names


def test_nothing_is_built_by_itself(db: str, commands: Commands) -> None:
    """Making, assigning, writing and reading send no command about indexes."""

    class Bear(Frame):
        _indexes = [Index("name", unique=True)]
        name: str

    Bear(name="Bert").insert()
    Bear(name="Bert").insert()
    Bear._indexes = [Index("name")]

    assert 2 == len(Bear.many(Q.name == "Bert"))
    assert {"insert", "find"} == {*commands.names}
    assert set() == names(Bear)


def test_what_is_sent(db: str, commands: Commands, server: Server) -> None:
    """The command holds the indexes as MongoDB documents them, and the options of the call."""
    # A server without replicas takes no quorum.
    quorum = "majority" if "setName" in server.client.admin.command("hello") else None
    indexes.ensure(Dragon, comment="deploy", maxTimeMS=60_000, commitQuorum=quorum)
    (sent,) = [body for body in commands.bodies if "createIndexes" in body]
    present = {"$exists": True}

    assert [
        {"key": {"name": 1}, "name": "name_1", "unique": True},
        {"key": {"lair.gold": 1, "age": -1}, "name": "lair.gold_1_age_-1"},
        {
            "key": {"x": 1, "y": -1},
            "name": "x_1_y_-1",
            "unique": True,
            "partialFilterExpression": {"x": present, "y": present},
        },
        {"key": {"expires": 1}, "name": "expires_1", "expireAfterSeconds": 3600},
        {"key": {"loc": "2dsphere"}, "name": "loc_2dsphere"},
        {
            "key": {"email": 1},
            "name": "email_1",
            "unique": True,
            "partialFilterExpression": {"email": present},
            "collation": {"locale": "en", "strength": 2},
        },
        {
            "key": {"age": 1},
            "name": "old ones",
            "hidden": True,
            "partialFilterExpression": {"age": {"$gt": 5}},
        },
    ] == sent["indexes"]
    assert ("deploy", 60_000) == (sent["comment"], sent["maxTimeMS"])
    assert quorum == sent.get("commitQuorum")
    assert ["deploy"] * 2 == [body["comment"] for body in commands.bodies]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (
            Index("title", "body", kind="text", weights={"title": 3}, default_language="german"),
            {
                "key": {"title": "text", "body": "text"},
                "name": "title_text_body_text",
                "weights": {"title": 3},
                "default_language": "german",
            },
        ),
        (Index("name", kind="hashed"), {"key": {"name": "hashed"}, "name": "name_hashed"}),
        (
            Index(kind="wildcard", wildcardProjection={"a": 1}),
            {"key": {"$**": 1}, "name": "$**_1", "wildcardProjection": {"a": 1}},
        ),
        (
            Index("spot", kind="2d", bits=30, min=0, max=9),
            {"key": {"spot": "2d"}, "name": "spot_2d", "bits": 30, "min": 0, "max": 9},
        ),
    ],
    ids=repr,
)
def test_kinds_that_not_every_server_has(
    index: Index, expected: dict[str, Any], db: str, commands: Commands
) -> None:
    """Text, hashed, wildcard and flat geographic indexes are sent as MongoDB documents them."""

    class Page(Frame):
        _indexes = [index]

    try:
        indexes.ensure(Page)
    except OperationFailure as error:
        assert error.code == 67  # noqa: PT017  # CannotCreateIndex: only what is sent is tested
    (sent,) = [body for body in commands.bodies if "createIndexes" in body]

    assert [expected] == sent["indexes"]


async def test_indexes_that_are_extra(call: Runtime) -> None:
    """What nobody declares is shown as it would be declared, and dropped only on request."""
    collection = Wolf.get_collection()
    collection.create_index([("age", -1)], name="by age", sparse=True)
    collection.create_index("name", unique=True)
    namespace = collection.full_name
    Wolf._indexes = [Index("name", unique=True)]
    extra = (Found(namespace, Index("-age", sparse=True, name="by age")),)

    assert Diff(extra=extra) == await of(call).diff(Wolf)
    assert f"extra    {namespace}: Index('-age', sparse=True, name='by age')" == str(
        await of(call).diff(Wolf)
    )
    assert Done() == await of(call).ensure(Wolf)
    assert {"name_1", "by age"} == names(Wolf)
    assert Done(dropped=extra) == await of(call).ensure(Wolf, drop=True)
    assert {"name_1"} == names(Wolf)
    Wolf._indexes = []
    assert 1 == len((await of(call).ensure(Wolf, drop=True)).dropped)
    assert ["_id_"] == [*Wolf.get_collection().index_information()]


async def test_indexes_that_have_changed(call: Runtime, commands: Commands) -> None:
    """Another definition is an error that says what differs; with `drop` it is built anew."""
    Wolf._indexes = [Index("name")]
    await of(call).ensure(Wolf)
    Wolf._indexes = [Index("name", unique=True), Index("age")]
    found = await of(call).diff(Wolf)
    commands.clear()
    with pytest.raises(IndexConflict, match="unique is False, declared True; pass drop=") as caught:
        await of(call).ensure(Wolf)

    assert [("unique", False, True)] == [*found.changed[0].differences]
    assert Index("name") == found.changed[0].stored
    assert ["age_1"] == [missing.index.name for missing in found.missing]
    assert ["listIndexes"] == commands.names
    assert found == caught.value.diff == pickle.loads(pickle.dumps(caught.value)).diff
    assert {"name_1"} == names(Wolf)

    done = await of(call).ensure(Wolf, drop=True)

    assert (found.missing, found.changed, ()) == (done.created, done.rebuilt, done.dropped)
    assert "rebuilt " in str(done)
    assert not await of(call).diff(Wolf)


async def test_an_index_of_another_name(call: Runtime) -> None:
    """The same index under its own name is enough, unless the class asks for a name."""
    Wolf.get_collection().create_index("name", name="mine")
    Wolf._indexes = [Index("name")]
    assert not await of(call).ensure(Wolf)
    Wolf._indexes = [Index("name", name="yours")]
    with pytest.raises(IndexConflict, match="name is 'mine', declared 'yours'"):
        await of(call).ensure(Wolf)

    assert await of(call).ensure(Wolf, drop=True)
    assert {"yours"} == names(Wolf)


async def test_what_needs_no_building(call: Runtime, commands: Commands) -> None:
    """Another `ttl`, or hiding, is set in place: no time without the index, no building."""
    Wolf._indexes = [Index("age", ttl=50), Index("name", hidden=True)]
    await of(call).ensure(Wolf)
    Wolf._indexes = [Index("age", ttl=timedelta(minutes=1)), Index("name")]
    with pytest.raises(IndexConflict, match=r"ttl is 50, declared 60.*hidden is True"):
        await of(call).ensure(Wolf)
    commands.clear()
    done = await of(call).ensure(Wolf, drop=True, comment="why")

    assert ["listIndexes", "collMod", "collMod"] == commands.names
    assert ["age_1", "name_1"] == [changed.index.name for changed in done.modified]
    assert () == done.rebuilt
    assert {"name": "age_1", "expireAfterSeconds": 60} == commands.bodies[1]["index"]
    assert {"name": "name_1", "hidden": False} == commands.bodies[2]["index"]
    assert ["why"] * 3 == [body["comment"] for body in commands.bodies]
    assert 60 == Wolf.get_collection().index_information()["age_1"]["expireAfterSeconds"]
    Wolf._indexes = [Index("age")]
    Wolf.get_collection().drop_index("name_1")
    commands.clear()
    await of(call).ensure(Wolf, drop=True)
    assert ["listIndexes", "dropIndexes", "createIndexes"] == commands.names


async def test_duplicates_that_are_stored(call: Runtime) -> None:
    """An index that cannot be unique is an error that names it, its fields and the values."""
    Dragon.get_collection().insert_many(
        [{"name": f"n{i}", "lair": {"name": "Cave", "gold": 5}} for i in range(3)]
    )

    class Unique(Frame):
        _collection = "Dragon"
        _indexes = [Index("lair.name", "lair.gold", unique=True)]
        lair: Lair

    with pytest.raises(Duplicate, match="several documents hold it") as caught:
        await of(call).ensure(Unique)

    assert "lair.name_1_lair.gold_1" == caught.value.index
    assert ("lair.name", "lair.gold") == caught.value.fields
    assert {"lair.name": "Cave", "lair.gold": 5} == caught.value.values
    assert str(caught.value).startswith("Unique._indexes: lair.name='Cave', lair.gold=5 is taken")
    assert set() == names(Unique)


async def test_a_failed_rebuild_brings_the_old_index_back(call: Runtime) -> None:
    """Where the new one cannot be built, what was there is there again, and is said to be."""
    Wolf._indexes = [Index("name", sparse=True, name="mine")]
    await of(call).ensure(Wolf)
    Wolf.insert_many([{"name": "Grey"}, {"name": "Grey"}])
    Wolf._indexes = [Index("name", unique=True, name="mine")]
    with pytest.raises(Duplicate) as caught:
        await of(call).ensure(Wolf, drop=True)

    assert ["mine is as it was"] == caught.value.__notes__  # type: ignore[attr-defined]
    assert [("sparse", True, False), ("unique", False, True)] == [
        *indexes.diff(Wolf).changed[0].differences
    ]


@pytest.mark.parametrize("failing", ["dropIndexes", "createIndexes"])
async def test_a_lost_connection_while_rebuilding(
    call: Runtime, server: Server, failing: str
) -> None:
    """The caller hears of it and what it means; doing it again ends it."""
    if not server.is_embedded:
        pytest.skip("fail points are switched on in the embedded server only")
    Wolf._indexes = [Index("name")]
    await of(call).ensure(Wolf)
    Wolf._indexes = [Index("name", sparse=True), Index("age")]
    Wolf.get_collection().create_index("age")
    server.client.admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": [failing], "closeConnection": True},
        }
    )
    with pytest.raises(ConnectionFailure) as caught:
        await of(call).ensure(Wolf, drop=True)
    notes = getattr(caught.value, "__notes__", [])

    assert ([] if failing == "dropIndexes" else [LOST]) == notes
    assert {"name_1", "age_1"} - ({"name_1"} if notes else set()) == names(Wolf)
    await of(call).ensure(Wolf, drop=True)
    assert not await of(call).diff(Wolf)


async def test_a_rebuild_that_the_server_refuses(call: Runtime, server: Server) -> None:
    """What could not be dropped is there; what could not come back is said to be gone."""
    if not server.is_embedded:
        pytest.skip("fail points are switched on in the embedded server only")
    Wolf._indexes = [Index("name")]
    await of(call).ensure(Wolf)
    Wolf._indexes = [Index("name", sparse=True)]

    def refuse(command: str, times: int) -> None:
        data = {"failCommands": [command], "errorCode": 13}  # Unauthorized
        fail = {"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data}
        server.client.admin.command(fail)

    refuse("dropIndexes", 1)
    with pytest.raises(OperationFailure):
        await of(call).ensure(Wolf, drop=True)
    assert {"name_1"} == names(Wolf)
    refuse("createIndexes", 2)
    with pytest.raises(OperationFailure) as caught:
        await of(call).ensure(Wolf, drop=True)

    (note,) = caught.value.__notes__  # type: ignore[attr-defined]
    assert note.startswith("name_1 was dropped and could not be built again: OperationFailure(")
    assert set() == names(Wolf)
    await of(call).ensure(Wolf)
    assert not await of(call).diff(Wolf)


LOST = "name_1 was dropped, and may be missing; ensure it again"


async def test_several_classes(call: Runtime, commands: Commands) -> None:
    """Several classes are looked at together, each collection once."""

    class Grey(Wolf):
        _collection = "wolves"
        _indexes = [Index("age")]

    Wolf._indexes = [Index("name")]
    found = await of(call).diff(Wolf, Grey, Dragon)

    assert ["listIndexes"] * 2 == commands.names
    assert ["name_1", "age_1"] == [each.index.name for each in found.missing][:2]
    assert 2 + 7 == len(found.missing)
    await of(call).ensure(Wolf, Grey, Dragon)
    assert not await of(call).diff(Wolf, Grey, Dragon)


async def test_what_another_class_declares_is_not_dropped(call: Runtime) -> None:
    """A class does not drop what a child of the same collection declares."""

    class Grey(Wolf):
        _collection = "wolves"
        _indexes = [Index("age")]

    Wolf._indexes = [Index("name")]
    await of(call).ensure(Grey)

    assert {"name_1", "age_1"} == names(Wolf)
    assert not await of(call).diff(Wolf)
    assert not await of(call).ensure(Wolf, drop=True)
    assert {"name_1", "age_1"} == names(Wolf)
    del Grey


async def test_a_class_made_again_replaces_the_former(call: Runtime) -> None:
    """In a notebook, what the former class of a cell declared is extra, not another's."""

    def made(*declared: Index) -> type[Frame]:
        class Cell(Frame):
            _indexes = declared
            name: str
            age: int

        return Cell

    former = made(Index("name"), Index("age"))
    await of(call).ensure(former)
    again = made(Index("name"))

    assert ["age_1"] == [extra.index.name for extra in (await of(call).diff(again)).extra]
    assert not await of(call).diff(former)


async def test_two_classes_that_contradict_each_other(call: Runtime) -> None:
    """One collection has one index of a name."""

    class Other(Frame):
        _collection = "wolves"
        _indexes = [Index("name", unique=True)]
        name: str

    Wolf._indexes = [Index("name")]
    with pytest.raises(DefinitionError, match=r"Other\._indexes: .* but Wolf declares"):
        await of(call).diff(Wolf, Other)
    assert 1 == len((await of(call).diff(Wolf)).missing)
    del Other


async def test_paths_into_embedded_documents_are_checked(call: Runtime, commands: Commands) -> None:
    """A misspelt path would make an index over nothing; nothing is sent."""

    class Cave(Frame):
        _indexes = [Index("lair.gond")]
        lair: Lair

    with pytest.raises(DefinitionError, match="Lair has no 'gond'; did you mean 'gold'"):
        await of(call).ensure(Cave)
    assert [] == commands.names


def test_classes_that_cannot_be_reached_do_not_matter(db: str, server: Server) -> None:
    """A class of the same name whose client is not there for this call is of another collection."""

    class Elsewhere(Frame):
        _collection = "wolves"
        _client = server.aio
        _indexes = [Index("name")]
        name: str

    Wolf.get_collection().create_index("name")

    assert ["name_1"] == [extra.index.name for extra in indexes.diff(Wolf).extra]
    del Elsewhere


async def test_a_value_in_partial_that_cannot_be_stored(call: Runtime, commands: Commands) -> None:
    """The error names the class, the index and the path; nothing is sent."""
    Wolf._indexes = [Index("name", partial=Q.age == object())]
    with pytest.raises(EncodeError, match=r"Wolf\._indexes\.name_1\.partialFilterExpression\.age"):
        await of(call).ensure(Wolf)
    assert [] == commands.names


async def test_values_in_partial_are_stored_ones(call: Runtime) -> None:
    """Marked text, sets and datetimes in `partial` are as they are stored, and then compared so."""
    since = datetime(2024, 1, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    class Drake(Frame):
        _indexes = [
            Index("name", partial=Q.breed == "COLD-Drake"),
            Index("born", partial=(Q.born >= since) & Q.n.is_in({1})),
        ]
        name: str
        breed: StrLower
        born: datetime
        n: int

    await of(call).ensure(Drake)
    stored = Drake.get_collection().index_information()

    assert {"breed": "cold-drake"} == stored["name_1"]["partialFilterExpression"]
    assert not await of(call).diff(Drake)
    Drake._indexes = [Index("born", partial=Q.born >= since + timedelta(seconds=1))]
    assert ["partial"] == [d.option for d in (await of(call).diff(Drake)).changed[0].differences]


async def test_an_optional_index(call: Runtime) -> None:
    """Documents that lack a field do not count as duplicates, those that have all do."""
    await of(call).ensure(Dragon)
    for document in ({"x": 1}, {"x": 1}, {"y": 1}, {}, {"x": 1, "y": 1}, {"x": 1, "y": 2}):
        await call(Dragon(name=str(id(document)), **document)).insert()
    with pytest.raises(Duplicate) as caught:
        await call(Dragon(name="again", x=1, y=1)).insert()

    assert ("x_1_y_-1", {"x": 1, "y": 1}) == (caught.value.index, caught.value.values)


async def test_a_case_insensitive_index(call: Runtime) -> None:
    """The same address in another case is a duplicate, and is found."""
    await of(call).ensure(Dragon)
    await call(Dragon(name="Ann", email="ann@x.org")).insert()
    with pytest.raises(Duplicate) as caught:
        await call(Dragon(name="Bob", email="ANN@X.ORG")).insert()

    assert ("email_1", {"email": "ANN@X.ORG"}) == (caught.value.index, caught.value.values)
    assert "Ann" == (await call(Dragon).one(Q.email == "Ann@X.org")).name


async def test_duplicates_of_a_batch(call: Runtime) -> None:
    """What unique indexes refuse of a batch is there with its index and values, nested ones too."""

    class Cave(Frame):
        _indexes = [Index("lair.name", "-n", unique=True)]
        lair: Lair
        n: int

    await of(call).ensure(Cave)
    caves = [{"lair": {"name": "A"}, "n": n} for n in (1, 1, 2, 1)]
    with pytest.raises(loom.BulkError) as caught:
        await call(Cave).insert_many(caves, ordered=False)

    assert [{"lair.name": "A", "n": 1}] * 2 == [error.values for error in caught.value.duplicates]
    assert {"lair.name_1_n_-1"} == {error.index for error in caught.value.duplicates}


async def test_calls_that_make_no_sense(call: Runtime, commands: Commands) -> None:
    """Classes and options are checked before anything is sent."""
    for classes in ((), ("Dragon",), (Lair,), ([Dragon],), (Dragon(),)):
        with pytest.raises(QueryError, match=r"indexes.diff: expected Frame classes"):
            await of(call).diff(*classes)
    with pytest.raises(QueryError, match="got 'coment'; did you mean 'comment'"):
        await of(call).diff(Dragon, coment="x")
    with pytest.raises(QueryError, match="expected the options comment, session, got 'maxTimeMS'"):
        await of(call).diff(Dragon, maxTimeMS=5)
    with pytest.raises(QueryError, match="got 'max_time_ms'; did you mean 'maxTimeMS'"):
        await of(call).ensure(Dragon, max_time_ms=5)
    assert [] == commands.names


def test_read_only(db: str) -> None:
    """Comparing is reading, building is writing."""
    Wolf._indexes = [Index("name"), Index("age", ttl=5)]
    with loom.read_only():
        assert indexes.diff(Wolf)
        with pytest.raises(ReadOnly, match="Wolf"):
            indexes.ensure(Wolf)
    indexes.ensure(Wolf)
    Wolf._indexes = [Index("name", hidden=True), Index("age", ttl=6)]
    with loom.read_only():
        with pytest.raises(ReadOnly, match="Wolf"):
            indexes.ensure(Wolf, drop=True)
        Wolf._indexes = []
        with pytest.raises(ReadOnly, match="Wolf"):
            indexes.ensure(Wolf, drop=True)
    assert {"name_1", "age_1"} == names(Wolf)


def test_not_in_a_transaction(db: str, server: Server) -> None:
    """Servers list and build indexes outside of transactions only; the call says so."""
    with server.client.start_session() as session:
        assert indexes.diff(Dragon, session=session)
        session.start_transaction()
        for function in (indexes.diff, indexes.ensure):
            with pytest.raises(TransactionError, match="outside of a transaction"):
                function(Dragon, session=session)
        session.abort_transaction()
    with pytest.raises(TransactionError, match="outside of a transaction"), loom.transaction():
        indexes.ensure(Dragon)


async def test_a_comment_of_the_block(call: Runtime, commands: Commands) -> None:
    """`using(comment=...)` marks these commands, too."""
    with loom.using(comment="deploy 7"):
        await of(call).ensure(Wolf, Dragon)

    assert {"deploy 7"} == {body["comment"] for body in commands.bodies}


def test_two_processes_at_once(db: str) -> None:
    """Racing calls all end well, and the indexes are there once."""
    errors: list[BaseException] = []
    Wolf._indexes = [Index("name", unique=True), Index("age")]
    Wolf.get_collection().create_index("age", sparse=True)
    gate = threading.Barrier(8)

    def ensure() -> None:
        try:
            gate.wait()
            indexes.ensure(Wolf, drop=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == errors
    assert not indexes.diff(Wolf)


def test_an_ended_build_is_begun_anew(db: str, server: Server, commands: Commands) -> None:
    """When another process drops what is being built, the build is tried again."""
    Wolf._indexes = [Index("name")]
    fail = {
        "configureFailPoint": "failCommand",
        "mode": {"times": 2},
        "data": {"failCommands": ["createIndexes"], "errorCode": 276},
    }
    if not server.is_embedded:
        pytest.skip("fail points are switched on in the embedded server only")
    server.client.admin.command(fail)
    commands.clear()
    indexes.ensure(Wolf)

    assert ["createIndexes"] * 3 == [name for name in commands.names if name == "createIndexes"]
    assert {"name_1"} == names(Wolf)
    server.client.admin.command({**fail, "mode": {"times": 99}})
    Wolf._indexes = [Index("name"), Index("age")]
    try:
        with pytest.raises(OperationFailure) as caught:
            indexes.ensure(Wolf)
    finally:
        server.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    assert 276 == caught.value.code


def test_awaited_and_blocking_have_one_signature() -> None:
    """`indexes.aio` has the same functions with the same parameters."""
    for name in ("diff", "ensure"):
        plain = inspect.signature(getattr(indexes, name))
        awaited = inspect.signature(getattr(indexes.aio, name))

        assert plain == awaited
    assert inspect.iscoroutinefunction(indexes.aio.ensure)


def test_exports() -> None:
    """All that the module lists is there; `import loom` does without it."""
    for name in indexes.__all__:
        assert hasattr(indexes, name)
    code = "import sys, loom; print([name for name in sys.modules if '.frames.index' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
