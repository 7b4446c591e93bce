"""References: what is fetched in how many commands, and what stands where."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure

from loom import Frame, Missing, SubFrame
from loom.errors import NotFound, ProjectionError

from .conftest import Commands, Runtime, Server


class Home(SubFrame):
    """A place with references inside."""

    _fields = {"name", "owner", "guests", "rooms", "annex"}


class Thing(Frame):
    """Something that is pointed to."""

    _fields = {"name", "code", "maker", "home"}


class Being(Frame):
    """A frame with references in every shape."""

    _fields = {"name", "code", "home", "homes", "places", "one", "two", "many", "map", "deep"}


REF = {"$ref": Thing}


async def store(cls: Any, *documents: dict[str, Any]) -> None:
    """Put documents into a collection without Loom's help."""
    cls.get_collection().insert_many(list(documents))


async def things(count: int = 5) -> None:
    """Store things 1 to `count`; each is made by the next."""
    await store(
        Thing,
        *(
            {"_id": n, "name": f"t{n}", "code": f"c{n}", "maker": n + 1}
            for n in range(1, count + 1)
        ),
    )


def stored(cls: Any, id: Any = 1) -> Any:
    """Return what is stored."""
    return cls.get_collection().find_one({"_id": id})


# Where references stand


async def test_every_shape(call: Runtime) -> None:
    """Scalars, lists, maps, maps of lists and dotted paths hold frames instead of ids."""
    await things()
    await store(
        Being,
        {
            "_id": 1,
            "one": 1,
            "many": [2, 1, 2, None, [3]],
            "map": {"a": 1, "b": [2, 3], "c": None, "d": {"e": 4}},
            "home": {"owner": 5, "name": "h"},
            "homes": [{"owner": 1}, {"guests": [2]}, 7],
        },
        {"_id": 2, "one": None, "many": [], "map": {}, "home": 5, "homes": None},
        {"_id": 3},
    )
    projection = {
        "one": REF,
        "many": REF,
        "map": {"$ref.": Thing},
        "home.owner": REF,
        "homes.owner": REF,
        "homes.guests": REF,
    }
    first, second, third = await call(Being).many(projection=projection, sort="_id")

    assert "t1" == first.one.name
    assert [2, 1, 2, None] == [getattr(m, "_id", m) for m in first.many[:4]]
    assert 3 == first.many[4][0]._id
    assert (1, [2, 3], None, 4) == (
        first.map["a"]._id,
        [thing._id for thing in first.map["b"]],
        first.map["c"],
        first.map["d"]["e"]._id,
    )
    assert ("t5", "h") == (first.home["owner"].name, first.home["name"])
    assert ("t1", "t2", 7) == (
        first.homes[0]["owner"].name,
        first.homes[1]["guests"][0].name,
        first.homes[2],
    )
    assert {
        "_id": 2,
        "one": None,
        "many": [],
        "map": {},
        "home": 5,
        "homes": None,
    } == second._document
    assert {"_id": 3} == third._document


async def test_references_inside_sub_frames(call: Runtime) -> None:
    """References inside sub-frames, lists and maps of them, and sub-frames inside those."""
    await things()
    await store(
        Being,
        {
            "_id": 1,
            "home": {"owner": 1, "annex": {"owner": 2, "rooms": [{"owner": 3}]}},
            "homes": [{"owner": 1, "guests": [2, 3]}, {"guests": {"a": 4}}],
            "places": {"x": {"owner": 5}, "y": [{"owner": 1}, {"annex": {"owner": 2}}]},
        },
    )
    found = await call(Being).one(
        projection={
            "home": {
                "$sub": Home,
                "owner": REF,
                "annex": {"$sub": Home, "owner": REF, "rooms": {"$sub": Home, "owner": REF}},
            },
            "homes": {"$sub": Home, "owner": REF, "guests": REF},
            "places": {"$sub.": Home, "owner": REF, "annex": {"$sub": Home, "owner": REF}},
        }
    )

    assert ["t1", "t2", "t3"] == [
        found.home.owner.name,
        found.home.annex.owner.name,
        found.home.annex.rooms[0].owner.name,
    ]
    assert ["t1", "t2", "t3", "t4"] == [
        found.homes[0].owner.name,
        *(guest.name for guest in found.homes[0].guests),
        found.homes[1].guests["a"].name,
    ]
    assert ["t5", "t1", "t2"] == [
        found.places["x"].owner.name,
        found.places["y"][0].owner.name,
        found.places["y"][1].annex.owner.name,
    ]


async def test_references_inside_references(call: Runtime, commands: Commands) -> None:
    """Nesting has no limit; each level is one query."""
    await things(6)
    await store(Being, {"_id": 1, "one": 1})
    nested: dict[str, Any] = {"$ref": Thing}
    for _ in range(4):
        nested = {"$ref": Thing, "maker": nested}
    commands.clear()
    found = await call(Being).one(projection={"one": nested})

    assert 5 == found.one.maker.maker.maker.maker._id
    assert 6 == found.one.maker.maker.maker.maker.maker
    assert ["find"] * 6 == commands.names


async def test_sub_frames_and_their_references_inside_references(call: Runtime) -> None:
    """The projection of a reference may wrap and dereference in turn."""
    await store(Thing, {"_id": 1, "home": {"owner": 2}}, {"_id": 2, "name": "two"})
    await store(Being, {"_id": 1, "one": 1})
    found = await call(Being).one(
        projection={"one": {"$ref": Thing, "home": {"$sub": Home, "owner": {"$ref": Thing}}}}
    )

    assert "two" == found.one.home.owner.name


# Commands


async def test_one_query_per_class_projection_and_key(call: Runtime, commands: Commands) -> None:
    """Fields that want the same share one query with every id once."""
    await things()
    await store(Being, {"_id": 1, "one": 1, "two": 2, "many": [1, 2, 3, 3], "home": {"owner": 3}})
    commands.clear()
    await call(Being).many(
        projection={
            "one": {"$ref": Thing, "name": True, "code": 1},
            "two": {"code": True, "$ref": Thing, "name": 1.0},
            "many": {"$ref": Thing, "name": True, "code": True, "$missing": "drop"},
            "home": {"$sub": Home, "owner": {"$ref": Thing, "name": True, "code": True}},
        }
    )

    assert [("find", "Being"), ("find", "Thing")] == commands.sent
    assert [1, 2, 3] == sorted(commands.bodies[1]["filter"]["_id"]["$in"])
    assert {"name": True, "code": True} == commands.bodies[1]["projection"]


async def test_another_projection_or_key_is_another_query(
    call: Runtime, commands: Commands
) -> None:
    """Different projections and keys are not mixed."""
    await things()
    await store(Being, {"_id": 1, "one": 1, "two": 1, "many": ["c1"], "map": {"a": 1}})
    commands.clear()
    found = await call(Being).one(
        projection={
            "one": {"$ref": Thing, "name": True},
            "two": {"$ref": Thing, "code": True},
            "many": {"$ref": Thing, "$ref_key": "code", "name": True},
            "map": {"$ref": Being, "name": True},
        }
    )

    assert ["Being", "Being", "Thing", "Thing", "Thing"] == sorted(n for _, n in commands.sent)
    assert ({"_id", "name"}, {"_id", "code"}) == ({*found.one._document}, {*found.two._document})


async def test_no_query_without_ids(call: Runtime, commands: Commands) -> None:
    """Nothing to fetch, nothing sent."""
    await store(Being, {"_id": 1, "one": None, "many": [], "map": {"a": None}}, {"_id": 2})
    commands.clear()
    projection = {"one": REF, "many": REF, "map": REF, "home": {"$sub": Home, "owner": REF}}
    await call(Being).many(projection=projection)
    await call(Being).many({"_id": 99}, projection=projection)

    assert ["find", "find"] == commands.names


async def test_chunks(call: Runtime, commands: Commands) -> None:
    """More ids than a chunk holds take several queries, and every frame finds its own."""
    await things(60)
    await store(Being, {"_id": 1, "many": [*range(1, 61), *range(1, 61)]})
    commands.clear()
    found = await call(Being).one(projection={"many": {"$ref": Thing, "name": True}})

    assert [f"t{n}" for n in [*range(1, 61), *range(1, 61)]] == [t.name for t in found.many]
    sizes = [len(body["filter"]["_id"]["$in"]) for body in commands.bodies[1:]]
    assert 60 == sum(sizes)


async def test_every_kind_of_read(call: Runtime, commands: Commands) -> None:
    """`one`, `many`, `by_id`, `by_ids` and `reload` take two commands, `each` two per batch."""
    await things()
    await store(Being, {"_id": 1, "one": 1}, {"_id": 2, "one": 2})
    projection = {"one": REF}
    being = await call(Being).by_id(1)
    for read in (
        lambda: call(Being).one(projection=projection),
        lambda: call(Being).many(projection=projection),
        lambda: call(Being).by_id(1, projection=projection),
        lambda: call(Being).by_ids([1, 2], projection=projection),
        lambda: call(being).reload(projection=projection),
    ):
        commands.clear()
        await read()
        assert [("find", "Being"), ("find", "Thing")] == commands.sent
    assert "t1" == being.one.name

    commands.clear()
    names = [b.one.name async for b in call(Being).each(projection=projection, batch_size=100)]
    assert ["t1", "t2"] == sorted(names)
    assert [("find", "Being"), ("find", "Thing")] == commands.sent


async def test_each_dereferences_per_batch(call: Runtime, commands: Commands) -> None:
    """A stream resolves the references of one batch at a time."""
    await things()
    await store(Being, *({"_id": n, "one": 1} for n in range(1_500)))
    commands.clear()
    found = [b.one.name async for b in call(Being).each(projection={"one": REF})]

    assert ["t1"] * 1_500 == found
    assert [("find", "Being"), ("find", "Thing"), ("getMore", "Being"), ("find", "Thing")] == (
        commands.sent
    )


async def test_session_and_comment_are_shared(
    call: Runtime, commands: Commands, server: Server
) -> None:
    """All reads of one call use the caller's session and comment, and nothing else of it."""
    await things()
    await store(Being, {"_id": 1, "one": 1, "two": 2})
    session = (server.aio if call.is_async else server.client).start_session()
    projection = {"one": {"$ref": Thing, "maker": REF}, "two": {"$ref": Being}}
    options = {"session": session, "comment": "why", "sort": "-_id", "limit": 1}
    id = session.session_id["id"]
    commands.clear()
    await call(Being).many(projection=projection, **options)
    ended = session.end_session()
    if call.is_async:
        await ended

    assert 4 == len(commands.sent)
    assert {"why"} == {body["comment"] for body in commands.bodies}
    assert {id} == {body["lsid"]["id"] for body in commands.bodies}
    assert all("limit" not in body and "sort" not in body for body in commands.bodies[1:])


async def test_failing_query_for_references(call: Runtime, server: Server) -> None:
    """An error of the server comes through, and leaves no query half made."""
    if not server.is_embedded:
        pytest.skip("needs failpoints")
    await things()
    await store(Being, {"_id": 1, "one": 1, "two": 2})
    server.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"skip": 1},
        data={"failCommands": ["find"], "errorCode": 8000},
    )
    try:
        with pytest.raises(OperationFailure):
            await call(Being).one(projection={"one": REF, "two": {"$ref": Thing, "name": True}})
    finally:
        server.client.admin.command("configureFailPoint", "failCommand", mode="off")


# Ids


async def test_frames_are_shared(call: Runtime) -> None:
    """The same document at two places is the same frame."""
    await things()
    await store(Being, {"_id": 1, "one": 1, "many": [1, 1]}, {"_id": 2, "one": 1})
    first, second = await call(Being).many(projection={"one": REF, "many": REF}, sort="_id")

    assert first.one is second.one is first.many[0] is first.many[1]


@pytest.mark.parametrize(
    "ids", [[0, 1], ["", "a"], [1.5, 2], [True, 1, False, 0], [ObjectId(), b"x"]]
)
async def test_any_kind_of_id(call: Runtime, ids: list[Any]) -> None:
    """Falsy ids are ids, and True is no 1."""
    await store(Thing, *({"_id": id, "name": repr(id)} for id in ids))
    await store(Being, {"_id": 1, "one": ids[0], "many": ids})
    found = await call(Being).one(projection={"one": REF, "many": REF})

    assert repr(ids[0]) == found.one.name
    assert [repr(id) for id in ids] == [thing.name for thing in found.many]


async def test_key_field_that_holds_a_list(call: Runtime) -> None:
    """A key that is a list stands for none of its members."""
    await store(Thing, {"_id": 1, "code": ["x", "y"], "name": "list"})
    await store(Being, {"_id": 1, "one": "x"})
    found = await call(Being).one(projection={"one": {"$ref": Thing, "$ref_key": "code"}})

    assert isinstance(found.one, Missing)


# $ref_key


@pytest.mark.parametrize(
    "wanted", [{}, {"name": True}, {"maker": REF}, {"home": False}, {"home": {"$sub": Home}}]
)
async def test_ref_key_is_always_fetched(call: Runtime, wanted: dict[str, Any]) -> None:
    """The key comes along whatever the projection of the reference names."""
    await things()
    await store(Being, {"_id": 1, "one": "c2"})
    found = await call(Being).one(projection={"one": {"$ref": Thing, "$ref_key": "code", **wanted}})

    assert (2, "t2", "c2") == (found.one._id, found.one.name, found.one.code)


async def test_undeclared_ref_key(call: Runtime) -> None:
    """A key that the class does not declare does not narrow what is fetched."""

    class Plain(Frame):
        _fields = {"name"}
        _collection = "Thing"

    await things()
    await store(Being, {"_id": 1, "one": "c2", "two": "c3"})
    found = await call(Being).one(
        projection={
            "one": {"$ref": Plain, "$ref_key": "code"},
            "two": {"$ref": Plain, "$ref_key": "code", "maker": {"$ref": Plain}},
        }
    )

    assert ("t2", "t3", "t4") == (found.one.name, found.two.name, found.two["maker"].name)


KEYED = {
    "one": {"$ref": Thing, "$ref_key": "code"},
    "many": {"$ref": Thing, "$ref_key": "code", "name": True},
    "map": {"$ref": Thing, "$ref_key": "code"},
    "home": {
        "$sub": Home,
        "owner": {"$ref": Thing, "$ref_key": "code"},
        "guests": REF,
        "annex": {"$sub": Home, "owner": {"$ref": Thing, "$ref_key": "code"}},
    },
    "homes": {"$sub": Home, "owner": {"$ref": Thing, "$ref_key": "code"}},
    "places": {"$sub.": Home, "owner": {"$ref": Thing, "$ref_key": "code"}},
    "deep": {"x": {"y": {"$ref": Thing, "$ref_key": "code"}}},
}

KEYED_DOCUMENT = {
    "_id": 1,
    "name": "n",
    "one": "c1",
    "many": ["c2", "gone", None],
    "map": {"a": "c3", "b": ["c4"]},
    "home": {"owner": "c5", "guests": [1], "annex": {"owner": "c1"}},
    "homes": [{"owner": "c1"}, {"owner": None}, 5],
    "places": {"owner": {"owner": "c1", "name": "x"}, "y": [{"owner": "c2"}]},
    "deep": {"x": {"y": "c3"}, "z": 1},
}


@pytest.mark.parametrize("copied", [lambda f: f, copy.copy, copy.deepcopy, "pickle"])
async def test_ref_key_goes_back_as_that_key(call: Runtime, copied: Any) -> None:
    """Writing back, whole, by name, by path or as a new document, stores keys, not ids."""
    if copied == "pickle":
        copied = lambda f: pickle.loads(pickle.dumps(f))  # noqa: E731 - two words
    await things()
    await store(Being, KEYED_DOCUMENT)
    frame = copied(await call(Being).one(projection=KEYED))
    assert ("t1", "t5", "t3") == (
        frame.one.name,
        frame.home.owner.name,
        frame.deep["x"]["y"].name,
    )
    await call(frame).update()
    assert KEYED_DOCUMENT == stored(Being)
    for path in (
        "one",
        "many",
        "many.0",
        "map",
        "map.a",
        "map.b",
        "home",
        "home.owner",
        "home.annex",
        "home.annex.owner",
        "homes",
        "homes.0",
        "homes.0.owner",
        "places",
        "places.owner",
        "places.owner.owner",
        "places.y",
        "places.y.0",
        "places.y.0.owner",
        "deep",
        "deep.x",
        "deep.x.y",
    ):
        await call(frame).update(path)
        assert KEYED_DOCUMENT == stored(Being), path
        await call(Being).update_many([frame], path)
        assert KEYED_DOCUMENT == stored(Being), path
    frame._document["_id"] = 2
    await call(frame).insert()
    frame._document["_id"] = 3
    await call(Being).insert_many([frame])
    assert {**KEYED_DOCUMENT, "_id": 2} == stored(Being, 2)
    assert {**KEYED_DOCUMENT, "_id": 3} == stored(Being, 3)


async def test_frame_assigned_to_a_keyed_reference(call: Runtime) -> None:
    """Another frame is written as its key, one without the key is refused."""
    await things()
    await store(Being, {"_id": 1, "one": "c1"})
    being = await call(Being).one(projection={"one": KEYED["one"]})
    being.one = await call(Thing).by_id(2)
    await call(being).update("one")
    assert "c2" == stored(Being)["one"]
    being.one = Thing(_id=3)
    with pytest.raises(ValueError, match="one: expected a Thing with 'code'"):
        await call(being).update("one")


# Missing references

GONE = {
    "_id": 1,
    "name": "n",
    "one": 99,
    "many": [1, 99, 2, 98],
    "map": {"a": 1, "b": 99},
    "home": {"name": "h", "owner": 99, "guests": [1]},
    "homes": [{"name": "a", "owner": 1}, {"name": "b", "owner": 99}],
    "places": {"x": {"owner": 1, "name": "px"}, "y": {"owner": 99, "name": "py"}},
}


def missing(mode: str) -> dict[str, Any]:
    """Return a projection with references in every shape."""
    ref = {"$ref": Thing, "name": True, "$missing": mode}
    return {
        "one": ref,
        "many": ref,
        "map": ref,
        "home": {"$sub": Home, "owner": ref, "guests": ref},
        "homes": {"$sub": Home, "owner": ref},
        "places": {"$sub.": Home, "owner": ref},
    }


async def test_missing_is_kept(call: Runtime) -> None:
    """By default `Missing` stands for the document, and writing back keeps its id."""
    await things()
    await store(Being, GONE)
    projection = missing("keep")
    for field in ("one", "many", "map"):
        projection[field] = REF
    being = await call(Being).one(projection=projection)

    assert not being.one
    assert (99, None) == (being.one._id, being.one.name)
    assert [1, 99, 2, 98] == [thing._id for thing in being.many]
    assert isinstance(being.places["y"].owner, Missing)
    await call(being).update()
    assert GONE == stored(Being)
    await call(being).update("many", "home.owner", "homes", "places.y.owner", "map.b", "one")
    assert GONE == stored(Being)


@pytest.mark.parametrize("copied", [lambda f: f, copy.copy, copy.deepcopy, "pickle"])
@pytest.mark.parametrize("mode", ["none", "drop"])
async def test_hidden_ids_are_not_lost(call: Runtime, mode: str, copied: Any) -> None:
    """A nameless update leaves hidden ids alone and writes everything else."""
    if copied == "pickle":
        copied = lambda f: pickle.loads(pickle.dumps(f))  # noqa: E731 - two words
    await things()
    await store(Being, GONE)
    being = copied(await call(Being).one(projection=missing(mode)))
    if mode == "none":
        assert being._document["one"] is None
        assert [1, None, 2, None] == [thing and thing._id for thing in being.many]
        assert being.map["b"] is None
        assert being.home._document["owner"] is None
    else:
        assert "one" not in being
        assert [1, 2] == [thing._id for thing in being.many]
        assert {"a"} == being.map.keys()
        assert "owner" not in being.home
    await call(being).update()
    assert GONE == stored(Being)
    await call(Being).update_many([being])
    assert GONE == stored(Being)

    being.home.name = "changed"
    being.places["y"].name = "changed"
    being.name = "changed"
    await call(being).update()
    found = stored(Being)
    assert ("changed", {**GONE["home"], "name": "changed"}) == (found["name"], found["home"])
    assert {"owner": 99, "name": "changed"} == found["places"]["y"]


@pytest.mark.parametrize("mode", ["none", "drop"])
async def test_naming_writes_what_is_seen(call: Runtime, mode: str) -> None:
    """Whoever names a field means what it shows."""
    await things()
    await store(Being, GONE)
    being = await call(Being).one(projection=missing(mode))
    names = ["many", "map", "home", "homes", "places"]
    if mode == "none":
        names.append("one")
    await call(being).update(*names)
    found = stored(Being)

    if mode == "none":
        assert (None, [1, None, 2, None], None) == (
            found["one"],
            found["many"],
            found["home"]["owner"],
        )
    else:
        assert ([1, 2], {"a": 1}) == (found["many"], found["map"])
        assert {"name": "h", "guests": [1]} == found["home"]
        assert {"name": "py"} == found["places"]["y"]


@pytest.mark.parametrize("mode", ["none", "drop"])
async def test_assigned_anew_is_written(call: Runtime, mode: str) -> None:
    """A value assigned where an id was hidden is written by a nameless update, too."""
    await things()
    await store(Being, GONE)
    being = await call(Being).one(projection=missing(mode))
    two = await call(Thing).by_id(2)
    being.one = two
    being.many = [two]
    being.home.owner = two
    being.places = {}
    await call(being).update()
    found = stored(Being)

    assert (2, [2], 2, {}) == (found["one"], found["many"], found["home"]["owner"], found["places"])
    assert (GONE["homes"], GONE["map"]) == (found["homes"], found["map"])


async def test_path_into_a_list_with_dropped_ids(call: Runtime) -> None:
    """An index of a list that lost members would hit another one: refused."""
    await things()
    await store(Being, {"_id": 1, "many": [99, 1, 2]})
    being = await call(Being).one(projection={"many": {"$ref": Thing, "$missing": "drop"}})
    being.many[0] = Thing(_id=5)
    with pytest.raises(ProjectionError, match=r"many\.0"):
        await call(being).update("many.0")
    assert [99, 1, 2] == stored(Being)["many"]


@pytest.mark.parametrize("field", ["one", "many", "map", "home", "homes", "places"])
async def test_missing_raises(call: Runtime, field: str) -> None:
    """`'$missing': 'raise'` names the path, the class and the id."""
    await things()
    await store(Being, GONE)
    with pytest.raises(
        NotFound, match=rf"Being\.{field}.*expected the Thing with _id=9\d, found none"
    ):
        await call(Being).one(projection={field: missing("raise")[field]})


async def test_missing_inside_references(call: Runtime) -> None:
    """What is hidden in a referenced frame is kept when that frame is written."""
    await store(Thing, {"_id": 1, "name": "a", "maker": 99})
    await store(Being, {"_id": 1, "one": 1})
    being = await call(Being).one(
        projection={"one": {"$ref": Thing, "maker": {"$ref": Thing, "$missing": "none"}}}
    )
    assert being.one.maker is None
    await call(being.one).update()
    assert {"_id": 1, "name": "a", "maker": 99} == stored(Thing)


async def test_reload_forgets_what_was_hidden(call: Runtime) -> None:
    """After a reload only the new projection counts."""
    await store(Being, GONE)
    being = await call(Being).one(projection=missing("none"))
    await call(being).reload()
    being.many = being.many[:1]
    await call(being).update()

    assert [1] == stored(Being)["many"]


async def test_path_into_a_reference(call: Runtime) -> None:
    """A path that leads into another document is refused before anything is sent."""
    await things()
    await store(Being, {"_id": 1, "one": 1, "many": [1]})
    being = await call(Being).one(projection={"one": REF, "many": REF})
    for path in ("one.name", "many.0.name"):
        with pytest.raises(ValueError, match="refers to a Thing; update that frame"):
            await call(being).update(path)
    assert {"_id": 1, "one": 1, "many": [1]} == stored(Being)
