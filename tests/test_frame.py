"""The operations of Frame, blocking and awaited."""

from __future__ import annotations

import copy
import pydoc
import threading
from datetime import datetime, timezone
from typing import Annotated, Any

import pytest
from bson import ObjectId
from pymongo import WriteConcern

import loom
from loom import FieldError, Frame, NotConnected, ProjectionError, Q, QueryError
from loom.frames.document import DocumentMeta

from .conftest import Commands, Runtime, Server
from .zoo import Dragon


async def test_insert_gives_the_frame_its_id(call: Runtime) -> None:
    """What was inserted is found again under the id that the frame got."""
    burt = Dragon(name="Burt")
    await call(burt).insert()

    assert burt == await call(Dragon).by_id(burt._id)
    assert (await call(Dragon).one(Q.name == "Burt")).name == "Burt"


async def test_each_streams_every_frame(call: Runtime) -> None:
    """`each` yields all frames over several batches."""
    await call(Dragon).insert_many([{"age": n} for n in range(2_500)])

    assert list(range(2_500)) == sorted([d.age async for d in call(Dragon).each()])


# What a Frame class is


def test_settings_of_a_class() -> None:
    """The collection is named after the class unless the class says otherwise."""

    class Beast(Frame):
        name: str

    class Named(Frame):
        _collection = "beasts"
        name: str

    class Child(Named):
        pass

    assert ("Beast", "beasts", "Child") == (Beast._collection, Named._collection, Child._collection)
    assert {"_id", "name"} == Beast.get_fields() == Child.get_fields()
    assert Beast.get_fields() is not Beast.get_fields()
    assert {"secret", "lair.inventory.skulls"} == Dragon.get_private_fields()


async def test_settings_assigned_later_take_effect(call: Runtime, server: Server, db: str) -> None:
    """`_collection`, `_db` and `_default_projection` may be assigned after the class was used."""

    class Later(Frame):
        name: str
        age: int

    await call(Later(name="a", age=1)).insert()
    Later._default_projection = {"name": True}
    assert "age" not in await call(Later).one()
    Later._collection = "other"
    assert await call(Later).one() is None
    await call(Later(name="b")).insert()
    assert 1 == server.client[db]["other"].count_documents({})
    Later._db = f"{db}_x"
    try:
        await call(Later(name="c")).insert()
        assert ["c"] == [d.name for d in await call(Later).many()]
        assert 1 == server.client[f"{db}_x"]["other"].count_documents({})
    finally:
        server.client.drop_database(f"{db}_x")


async def test_a_client_on_a_class(call: Runtime, server: Server, db: str) -> None:
    """`_client` on a class is used without `connect`, and inherited."""
    loom.connection._default = None

    class Base(Frame):
        _client = server.aio if call.is_async else server.client
        _db = db

    class Child(Base):
        name: str

    await call(Child(name="a")).insert()

    assert "a" == (await call(Child).one()).name
    with pytest.raises(NotConnected, match="Dragon: expected a connection"):
        await call(Dragon).one()


async def test_the_wrong_kind_of_client(call: Runtime, server: Server, db: str) -> None:
    """A blocking client cannot be awaited, nor the other way round; the error says what to do."""

    class Wrong(Frame):
        _client = server.client if call.is_async else server.aio
        _db = db

    with pytest.raises(NotConnected, match=r"Wrong\._client: expected"):
        await call(Wrong).one()


async def test_a_database_object_as_setting(call: Runtime, server: Server, db: str) -> None:
    """`_db` takes the driver's Database too, and means its name."""

    class Odd(Frame):
        _db = server.client[db]  # type: ignore[assignment]
        name: str

    await call(Odd(name="a")).insert()

    assert db == Odd.get_db().name
    assert server.client is Odd.get_client()
    assert "Odd" == Odd.get_collection().name


async def test_with_options(call: Runtime, commands: Commands) -> None:
    """`with_options` holds for the class in the block, not for its children, and is restored."""

    class Child(Dragon):
        pass

    concern = WriteConcern(w=1, j=True)
    with Dragon.with_options(write_concern=concern) as collection:
        assert concern == collection.write_concern
        assert concern == Dragon.get_collection().write_concern
        assert concern != Child.get_collection().write_concern
        await call(Dragon(name="a")).insert()
    assert {"w": 1, "j": True} == commands.bodies[-1]["writeConcern"]
    assert concern != Dragon.get_collection().write_concern
    with pytest.raises(QueryError, match=r"Dragon\.with_options: expected"):
        Dragon.with_options(nonsense=1).__enter__()


async def test_with_options_stays_in_its_thread(call: Runtime) -> None:
    """Another thread keeps its own options."""
    seen: list[Any] = []
    with Dragon.with_options(write_concern=WriteConcern(w=0)):
        thread = threading.Thread(
            target=lambda: seen.append(Dragon.get_collection().write_concern.acknowledged)
        )
        thread.start()
        thread.join()

    assert [True] == seen


async def test_whole_documents_without_fields(call: Runtime) -> None:
    """A class without fields takes any keyword and fetches whole documents."""

    class Anything(Frame):
        pass

    await call(Anything(a=1, b={"c": 2})).insert()
    found = await call(Anything).one()

    assert (1, {"c": 2}) == (found["a"], found["b"])
    assert 1 == found.to_json_type()["a"]


async def test_only_declared_fields_are_fetched(call: Runtime) -> None:
    """Without a projection the declared fields are fetched, and no others."""
    Dragon.get_collection().insert_one({"_id": 1, "name": "Burt", "old_field": "x"})
    burt = await call(Dragon).one()

    assert {"_id", "name"} == burt._document.keys()


async def test_tz_aware(call: Runtime) -> None:
    """`_tz_aware` says how datetimes are read."""

    class Naive(Frame):
        _tz_aware = False
        at: datetime

    await call(Naive(at=datetime(2024, 3, 10, tzinfo=timezone.utc))).insert()

    assert datetime(2024, 3, 10) == (await call(Naive).one()).at


@pytest.mark.parametrize(
    ("declared", "becomes"),
    [
        (Any, ObjectId),
        (ObjectId, ObjectId),
        (ObjectId | None, ObjectId),
        (Annotated[ObjectId, "note"], ObjectId),
        (str, str),
        (str | None, str),
        (ObjectId | str, str),
        (Annotated[str, "note"], str),
        (int, str),
    ],
    ids=str,
)
async def test_which_ids_are_read_from_digits(call: Runtime, declared: Any, becomes: type) -> None:
    """24 hexadecimal digits become an ObjectId where the declared type of `_id` allows it only."""
    made = DocumentMeta("Made", (Frame,), {"__annotations__": {"_id": declared, "name": str}})
    text = "a1" * 12
    await call(made(_id=becomes(text), name="found")).insert()

    assert "found" == (await call(made).by_id(text)).name


# Equality, order, hashing


def test_frames_are_equal_by_class_and_id() -> None:
    """Class and `_id` make frames equal; without an `_id` a frame equals only itself."""

    class Other(Dragon):
        pass

    assert Dragon(_id=1, name="a") == Dragon(_id=1, name="b")
    assert Dragon(_id=1) != Dragon(_id=2)
    assert Dragon(_id=1) != Other(_id=1)
    assert Dragon(_id=1) != 1
    unsaved = Dragon(name="a")
    assert unsaved == unsaved
    assert unsaved != Dragon(name="a")
    assert Dragon(_id=None) != Dragon(_id=None)
    assert {Dragon(_id=1)} == {Dragon(_id=1, name="x")}
    with pytest.raises(TypeError, match="expected a frame with _id"):
        hash(unsaved)
    assert [Dragon(_id=1), Dragon(_id=2)] == sorted([Dragon(_id=2), Dragon(_id=1)])
    with pytest.raises(TypeError):
        sorted([Dragon(_id=1), 5])


def test_constructing() -> None:
    """Keywords are checked, a dict is taken as it is, both at once are refused."""
    with pytest.raises(FieldError, match=r"Dragon: expected a declared field, got 'nmae'; did you"):
        Dragon(nmae="x")
    document = {"anything": 1}
    assert document is Dragon(document)._document
    for wrong in ([], "x", 5):
        with pytest.raises(FieldError, match="Dragon: expected a dict or keywords, got"):
            Dragon(wrong)  # type: ignore[arg-type]
    with pytest.raises(FieldError, match="both"):
        Dragon({}, name="x")
    with pytest.raises(AttributeError):
        Dragon().nmae = "x"
    with pytest.raises(TypeError):
        list(Dragon())  # type: ignore[call-overload]


async def test_operations_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection every operation says how to get one, in both runtimes."""
    loom.connection._default = None
    for read in (Dragon.one, Dragon.many, Dragon.each, Dragon.count, Dragon(name="x").insert):
        with pytest.raises(NotConnected, match=r"Dragon: expected a connection.*loom\.connect"):
            read()
    for awaited in (Dragon.aio.one, Dragon.aio.many, Dragon.aio.count, Dragon(name="x").aio.insert):
        with pytest.raises(NotConnected, match="expected a connection"):
            await awaited()
    with pytest.raises(NotConnected):
        Dragon.aio.each()


@pytest.mark.parametrize("wrong", [True, False, 5, "name", ["name"], Dragon.one, object()])
async def test_what_is_no_filter_is_refused(call: Runtime, commands: Commands, wrong: Any) -> None:
    """Nothing but a condition, a dict or None is a filter, for every method that takes one."""
    for name in ("one", "many", "count", "ids", "exists"):
        with pytest.raises(QueryError):
            await getattr(call(Dragon), name)(wrong)
    with pytest.raises(QueryError):
        call(Dragon).each(wrong)

    assert [] == commands.names


async def test_what_is_no_projection_is_refused(call: Runtime, commands: Commands) -> None:
    """A projection that cannot be understood is refused before anything is sent."""
    burt = Dragon(_id=1, name="x")
    for wrong in ({"name": True, "age": False}, {"nemesis": {"$ref": "Dragon2"}}, "name", 5):
        with pytest.raises(ProjectionError):
            await call(Dragon).one(projection=wrong)
        with pytest.raises(ProjectionError):
            await call(Dragon).many(projection=wrong)
        with pytest.raises(ProjectionError):
            await call(Dragon).by_ids([1], projection=wrong)
        with pytest.raises(ProjectionError):
            await call(burt).reload(projection=wrong)
        with pytest.raises(ProjectionError):
            call(Dragon).each(projection=wrong)

    assert [] == commands.names


async def test_the_callers_options_are_not_changed(call: Runtime) -> None:
    """Dicts and lists given to an operation are left as they were."""
    filter = {"$or": [{"name": "a"}, {"age": {"$gt": 1}}]}
    projection = {"name": True, "nemesis": {"$ref": Dragon, "name": True}}
    sort = [("name", 1)]
    ids = ["0" * 24]
    given = copy.deepcopy((filter, sort, ids))
    await call(Dragon).many(filter, projection=projection, sort=sort)
    await call(Dragon).by_ids(ids)

    assert given == (filter, sort, ids)
    assert projection == {"name": True, "nemesis": {"$ref": Dragon, "name": True}}


def test_help_shows_what_an_operation_does() -> None:
    """`help(Dragon)` holds the operations with their arguments."""
    text = pydoc.render_doc(Dragon, renderer=pydoc.plaintext)

    assert "Return the first frame that matches, or None." in text
    assert "insert_many" in text
