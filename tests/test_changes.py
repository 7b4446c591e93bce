"""What writes send: named fields, what listeners change, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from loom import Frame, SubFrame
from loom.errors import EncodeError, FieldError, MissingId, ProjectionError, QueryError

from .conftest import Commands, Runtime


class Chest(SubFrame):
    """Inside a hoard."""

    _fields = {"gold", "gems", "lock"}


class Hoard(Frame):
    """A frame to be changed."""

    _fields = {"name", "gold", "chest", "chests", "map", "tags", "modified", "keeper"}


class Heap(Frame):
    """A frame without fields."""


WHOLE = {
    "_id": 1,
    "name": "h",
    "gold": 1,
    "chest": {"gold": 2, "gems": ["a"], "lock": {"key": 1}},
    "chests": [{"gold": 3}, {"gold": 4}],
    "map": {"a": {"gold": 5}},
    "tags": [1, 2],
}

MAPPED = {"chest": {"$sub": Chest}, "chests": {"$sub": Chest}, "map": {"$sub.": Chest}}


async def hoard(call: Runtime) -> Any:
    """Store a hoard and load it with its chests as sub-frames."""
    Hoard.get_collection().insert_one({**WHOLE})
    return await call(Hoard).by_id(1, projection=MAPPED)


def stored(cls: Any = Hoard) -> Any:
    """Return what is stored."""
    return cls.get_collection().find_one({"_id": 1})


def change(commands: Commands) -> Any:
    """Return the update document of the last update."""
    body = next(b for b in reversed(commands.bodies) if "update" in b)
    return plain(body["updates"][0]["u"])


def plain(value: Any) -> Any:
    """Return a value with its sub-frames as dicts."""
    if hasattr(value, "_document"):
        return plain(value._document)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(params=["update", "update_many"])
def write(request: pytest.FixtureRequest, call: Runtime) -> Callable[..., Any]:
    """Update one frame, alone or in a batch."""
    if request.param == "update":
        return lambda frame, *fields, **options: call(frame).update(*fields, **options)
    return lambda frame, *fields, **options: call(type(frame)).update_many(
        [frame], *fields, **options
    )


# Named fields


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ((), {k: v for k, v in WHOLE.items() if k != "_id"}),
        (("name",), {"name": "h"}),
        (("name", "name", "gold"), {"name": "h", "gold": 1}),
        (("chest.gold",), {"chest.gold": 2}),
        (("chest.lock.key", "map.a.gold"), {"chest.lock.key": 1, "map.a.gold": 5}),
        (("chests.1.gold", "tags.0"), {"chests.1.gold": 4, "tags.0": 1}),
        (("chests.1",), {"chests.1": {"gold": 4}}),
        (("chest.gold", "chest"), {"chest": WHOLE["chest"]}),
        (("chest", "chest.gold"), {"chest": WHOLE["chest"]}),
    ],
)
async def test_named_fields(
    call: Runtime, write: Any, commands: Commands, fields: Any, sent: Any
) -> None:
    """Only what is named is sent; a path inside another named one is covered by it."""
    frame = await hoard(call)
    commands.clear()
    await write(frame, *fields)

    assert {"$set": sent} == change(commands)
    assert WHOLE == stored()


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        (("keeper",), QueryError, r"'keeper', which is absent; use unset\('keeper'\)"),
        (("chest.x",), QueryError, r"'chest.x', which is absent; use unset\('chest.x'\)"),
        (("chests.7",), QueryError, r"'chests.7', which is absent"),
        (("chests.gold",), QueryError, r"'chests.gold', which is absent"),
        (("name.first",), QueryError, r"'name.first', which is absent"),
        (("nmae",), FieldError, r"got 'nmae'; did you mean 'name'\?"),
        (("nmae.first",), FieldError, r"got 'nmae'; did you mean 'name'\?"),
        (("_id",), QueryError, r"expected fields that can change, got '_id'"),
        (("_id.x",), QueryError, r"expected fields that can change, got '_id'"),
        ((5,), FieldError, r"expected names of fields, got 5 of type int"),
        ((["name"],), FieldError, r"expected names of fields, got \['name'\] of type list"),
        (("",), QueryError, r"got ''"),
        (("chest..gold",), QueryError, r"got 'chest..gold'"),
        (("$set",), QueryError, r"expected a path of names, got '\$set'"),
        (("chest.$gold",), QueryError, r"'chest.\$gold', which is absent"),
        (("chests.$.gold",), QueryError, r"'chests.\$.gold', which is absent"),
        (("chests.$[].gold",), QueryError, "which is absent"),
    ],
)
async def test_refused_fields(
    call: Runtime, write: Any, commands: Commands, fields: Any, kind: Any, message: str
) -> None:
    """A path that cannot be written is refused with the way out, and nothing is sent."""
    frame = await hoard(call)
    commands.clear()
    with pytest.raises(kind, match=rf"Hoard\.update(_many)?: .*{message}"):
        await write(frame, *fields)

    assert [] == commands.sent


async def test_nothing_to_write(call: Runtime, write: Any, commands: Commands) -> None:
    """A frame that holds only its id cannot be updated."""
    with pytest.raises(QueryError, match="expected something to write"):
        await write(Hoard(_id=1))
    with pytest.raises(MissingId, match="expected a frame with _id"):
        await write(Hoard(name="x"))

    assert [] == commands.sent


@pytest.mark.parametrize("key", ["a.b", "$x", "", 5])
async def test_keys_that_no_path_can_name(
    call: Runtime, write: Any, commands: Commands, key: Any
) -> None:
    """A document with such a key is refused without names, and written field by field."""
    Heap.get_collection().insert_one({"_id": 1, "a": {"b": 1}, "n": 1})
    heap = Heap({"_id": 1, "a": {"b": 1}, "n": 2, key: 9})
    commands.clear()
    with pytest.raises(QueryError, match="expected keys that a path can name"):
        await write(heap)
    assert [] == commands.sent
    await write(heap, "n")
    assert {"_id": 1, "a": {"b": 1}, "n": 2} == stored(Heap)
    await write(heap, "a.b")
    assert {"_id": 1, "a": {"b": 1}, "n": 2} == stored(Heap)


async def test_keys_inside_a_whole_document(call: Runtime, write: Any) -> None:
    """Inside a document that is written whole, a key with a dot is stored as it is."""
    Heap.get_collection().insert_one({"_id": 1})
    await write(Heap({"_id": 1, "map": {"a.b": 1}}))

    assert {"_id": 1, "map": {"a.b": 1}} == stored(Heap)


# Listeners


def set_name(frame: Any) -> None:
    frame.name = "L"


def set_same(frame: Any) -> None:
    frame.name = "h"


def set_absent(frame: Any) -> None:
    frame.keeper = None


def set_in_sub_frame(frame: Any) -> None:
    frame.chest.gold = 20


def set_deep(frame: Any) -> None:
    frame.chest.lock["key"] = 2


def set_in_list(frame: Any) -> None:
    frame.chests[0].gold = 30


def set_in_map(frame: Any) -> None:
    frame.map["a"].gold = 50


def append(frame: Any) -> None:
    frame.tags.append(3)


def append_deep(frame: Any) -> None:
    frame.chest.gems.append("b")


def replace_sub_frame(frame: Any) -> None:
    frame.chest = Chest(gold=7)


def replace_by_equal(frame: Any) -> None:
    frame.chest = Chest({**frame.chest._document})


def retype(frame: Any) -> None:
    frame.gold = 1.0


def retype_in_place(frame: Any) -> None:
    frame.tags[0] = True


def retype_list(frame: Any) -> None:
    frame.tags = [True, 2.0]


def delete(frame: Any) -> None:
    del frame._document["gold"]


def delete_deep(frame: Any) -> None:
    del frame.chest._document["lock"]


def delete_all(frame: Any) -> None:
    del frame._document["chest"]


def add_deep(frame: Any) -> None:
    frame.chest["lock"]["new"] = 1


def odd_key(frame: Any) -> None:
    frame.chest.lock["a.b"] = 1


def nothing(frame: Any) -> None:
    pass


C = WHOLE["chest"]


@pytest.mark.parametrize(
    ("listener", "fields", "sent"),
    [
        (nothing, ("name",), {"$set": {"name": "h"}}),
        (set_same, ("gold",), {"$set": {"gold": 1, "name": "h"}}),
        (set_name, ("gold",), {"$set": {"gold": 1, "name": "L"}}),
        (set_name, ("name",), {"$set": {"name": "L"}}),
        (set_absent, ("gold",), {"$set": {"gold": 1, "keeper": None}}),
        (set_absent, ("keeper",), {"$set": {"keeper": None}}),
        (set_in_sub_frame, ("name",), {"$set": {"name": "h", "chest.gold": 20}}),
        (set_in_sub_frame, ("chest.gems",), {"$set": {"chest.gems": ["a"], "chest.gold": 20}}),
        (set_in_sub_frame, ("chest",), {"$set": {"chest": {**C, "gold": 20}}}),
        (set_deep, ("name",), {"$set": {"name": "h", "chest.lock.key": 2}}),
        (add_deep, ("name",), {"$set": {"name": "h", "chest.lock.new": 1}}),
        (
            set_in_list,
            ("name", "chests.1.gold"),
            {"$set": {"name": "h", "chests": [{"gold": 30}, {"gold": 4}]}},
        ),
        (set_in_map, ("name",), {"$set": {"name": "h", "map.a.gold": 50}}),
        (append, ("name",), {"$set": {"name": "h", "tags": [1, 2, 3]}}),
        (append_deep, ("name",), {"$set": {"name": "h", "chest.gems": ["a", "b"]}}),
        (replace_sub_frame, ("chest.gems",), {"$set": {"chest": {"gold": 7}}}),
        (replace_sub_frame, ("name",), {"$set": {"name": "h", "chest": {"gold": 7}}}),
        (replace_by_equal, ("name",), {"$set": {"name": "h", "chest": WHOLE["chest"]}}),
        (retype, ("name",), {"$set": {"name": "h", "gold": 1.0}}),
        (retype_in_place, ("name",), {"$set": {"name": "h", "tags": [True, 2]}}),
        (retype_list, ("name",), {"$set": {"name": "h", "tags": [True, 2.0]}}),
        (delete, ("name",), {"$set": {"name": "h"}, "$unset": {"gold": True}}),
        (delete, ("gold",), {"$unset": {"gold": True}}),
        (delete_deep, ("name",), {"$set": {"name": "h"}, "$unset": {"chest.lock": True}}),
        (delete_deep, ("chest",), {"$set": {"chest": {"gold": 2, "gems": ["a"]}}}),
        (delete_all, ("chest.gold",), {"$unset": {"chest": True}}),
        (delete_all, ("name",), {"$set": {"name": "h"}, "$unset": {"chest": True}}),
        (odd_key, ("name",), {"$set": {"name": "h", "chest.lock": {"key": 1, "a.b": 1}}}),
    ],
)
async def test_what_a_listener_changes_joins(
    call: Runtime, write: Any, commands: Commands, listener: Any, fields: Any, sent: Any
) -> None:
    """Assignments, edits in place and deletions by a before-listener join the write."""
    frame = await hoard(call)
    Hoard.listen("update", lambda sender, frames: [listener(f) for f in frames])
    commands.clear()
    await write(frame, *fields)
    made = change(commands)

    assert sent == made
    for path in (*made.get("$set", {}), *made.get("$unset", {})):
        wanted, got = sent.get("$set", {}).get(path), made.get("$set", {}).get(path)
        assert repr(wanted) == repr(got)
    assert plain(frame) == stored()


async def test_deletion_joins_an_update_without_names(
    call: Runtime, write: Any, commands: Commands
) -> None:
    """What a listener deletes is removed on the server, too."""
    frame = await hoard(call)
    Hoard.listen("update", lambda frames: [delete(f) for f in frames])
    await write(frame)

    assert "gold" not in stored()


async def test_listener_changes_in_a_partial_load(call: Runtime, write: Any) -> None:
    """A listener's edit of a partial document joins leaf by leaf, of a partial list it raises."""
    Hoard.get_collection().insert_one({**WHOLE})
    frame = await call(Hoard).one(projection={"chest.gold": True, "name": True})
    Hoard.listen("update", lambda frames: [f.chest.update(gold=20, new=1) for f in frames])
    await write(frame, "name")
    assert {**C, "gold": 20, "new": 1} == stored()["chest"]

    frame = await call(Hoard).one(projection={"chests.gold": True, "chest": True, "name": True})
    Hoard.listen("update", lambda frames: [f.chests.append({}) for f in frames])
    with pytest.raises(ProjectionError, match=r"chests: expected a value that was fetched whole"):
        await write(frame, "name")
    assert WHOLE["chests"] == stored()["chests"]


async def test_listener_edits_where_ids_are_hidden(
    call: Runtime, write: Any, commands: Commands
) -> None:
    """An edit in place where ids are hidden is refused, neither lost nor written over them."""
    Hoard.get_collection().insert_one({"_id": 1, "name": "h", "tags": [98, 99]})
    tags = {"tags": {"$ref": Hoard, "$missing": "drop"}}
    frame = await call(Hoard).one(projection=tags)
    Hoard.listen("update", lambda frames: [f.tags.append(7) for f in frames])
    for names in (("name",), ()):
        commands.clear()
        with pytest.raises(ProjectionError, match=r"tags: .*'keep'"):
            await write(frame, *names)
        assert [] == commands.sent
    await write(frame, "tags")
    assert [7, 7, 7] == stored()["tags"]


async def test_stored_values_beyond_python(call: Runtime, write: Any) -> None:
    """Comparing a document before and after copes with dates that Python has none for."""
    Heap.get_collection().insert_one({"_id": 1})
    heap = Heap({"_id": 1, "in": {"far": DatetimeMS(2**50), "n": 1}, "x": 1})
    Heap.listen("update", lambda frames: [f["in"].update(n=2) for f in frames])
    commands_sent = await write(heap, "x")

    assert commands_sent is None or [heap] == commands_sent
    raw = Heap.get_collection().find_one({"_id": 1}, {"in.n": True, "x": True})
    assert {"_id": 1, "x": 1, "in": {"n": 2}} == raw


# Insert


async def test_insert_copies(call: Runtime) -> None:
    """A new document has its id first; the frame holds frames and sub-frames as before."""
    keeper = Hoard(_id=ObjectId(), name="k")
    frame = Hoard(name="n", chest=Chest(gold=1), keeper=keeper, tags={1})
    await call(frame).insert()

    assert ["_id", "name", "chest", "keeper", "tags"] == list(
        Hoard.get_collection().find_one({"_id": frame._id})
    )
    assert frame.keeper is keeper
    assert isinstance(frame.chest, Chest)


async def test_unsaved_reference(call: Runtime, write: Any, commands: Commands) -> None:
    """A reference to a frame without id is refused with its path before anything is sent."""
    frame = Hoard(_id=1, name="n", chest=Chest(lock=[Hoard()]))
    with pytest.raises(MissingId, match=r"chest\.lock\.0.*insert it first"):
        await write(frame, "chest")
    with pytest.raises(MissingId, match=r"Hoard\.chest\.lock\.0"):
        await call(frame).insert()

    assert [] == commands.sent


async def test_datetimes_are_what_is_stored(call: Runtime, write: Any) -> None:
    """The frame holds milliseconds after a write, wherever its datetimes are."""
    now = datetime(2024, 1, 2, 3, 4, 5, 123456, timezone.utc)
    Hoard.get_collection().insert_one({"_id": 1})
    frame = Hoard(_id=1, modified=now, chest=Chest(lock=[now]), tags=[{"at": now}])
    await write(frame, "modified", "chest.lock", "tags")
    cut = now - timedelta(microseconds=456)

    assert cut == frame.modified == frame.chest.lock[0] == frame.tags[0]["at"]
    assert cut == stored()["modified"] == stored()["chest"]["lock"][0]


async def test_value_that_cannot_be_stored(call: Runtime, write: Any, commands: Commands) -> None:
    """The error names the path inside the field that was named."""
    frame = Hoard(_id=1, chest=Chest(lock={"key": object()}), gold=Int64(1))
    for names in (("chest",), ("chest.lock",), ("chest.lock.key",)):
        with pytest.raises(EncodeError, match=r"Hoard\.(0\.)?chest\.lock\.key"):
            await write(frame, *names)

    assert [] == commands.sent
