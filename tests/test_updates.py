"""Update documents: what is accepted, what is refused, and what is sent."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import ObjectId

from loom import EncodeError, FieldError, Frame, MissingId, Q, QueryError
from loom.frames.queries import ElemMatch
from loom.frames.updates import compiled_changes, paths_in, with_joined, with_version

from .zoo import Dragon, Inventory, Item, Lair


class Anything(Frame):
    """A frame that takes any field."""


class Counted(Frame):
    """A frame whose documents count their versions."""

    _version = "_v"

    name: str
    gold: int


def compiled(changes: Any, cls: Any = Dragon, naive: Any = "utc") -> Any:
    """Return what is sent."""
    return compiled_changes(cls, changes, naive, "update_where")


# Operators


def test_operators_pass() -> None:
    """MongoDB's operators go out as they are written, on plain and dotted paths."""
    changes = {
        "$set": {"name": "Burt", "lair.name": "Cave"},
        "$unset": {"secret": ""},
        "$inc": {"age": 1},
        "$mul": {"lair.inventory.gold": 2},
        "$push": {"loot": {"$each": [1, 2], "$slice": -5}},
        "$currentDate": {"modified": True},
    }

    assert changes == compiled(changes)


def test_paths_may_be_q() -> None:
    """Keys may be written with Q, those of `$rename` on both sides."""
    changes = {"$set": {Q.lair.name: "Cave"}, "$rename": {Q.breed: Q.name}}

    assert {"$set": {"lair.name": "Cave"}, "$rename": {"breed": "name"}} == compiled(changes)


def test_positional_paths_pass() -> None:
    """Paths into lists keep their placeholders."""
    for path in ("loot.$", "loot.$[]", "loot.$[cheap].value", "loot.0"):
        assert {"$set": {path: 1}} == compiled({"$set": {path: 1}})


def test_values_are_as_stored() -> None:
    """Frames become ids, sub-frames dicts, sets and tuples lists, datetimes whole milliseconds."""
    burt = Dragon(_id=7)
    now = datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=timezone.utc)
    changes = {
        "$set": {"nemesis": burt, "lair": Lair(inventory=Inventory(gold=3)), "created": now},
        "$addToSet": {"loot": {"$each": (Item(_id=1), Item(_id=2))}},
    }

    assert {
        "$set": {
            "nemesis": 7,
            "lair": {"inventory": {"gold": 3}},
            "created": now.replace(microsecond=123000),
        },
        "$addToSet": {"loot": {"$each": [1, 2]}},
    } == compiled(changes)


def test_naive_datetimes() -> None:
    """What a naive datetime means is the connection's, in operators and in stages."""
    naive = datetime(2024, 1, 1)
    zone = timezone(timedelta(hours=2))

    assert (
        naive.replace(tzinfo=zone)
        == compiled({"$set": {"created": naive}}, naive=zone)["$set"]["created"]
    )
    with pytest.raises(EncodeError, match=r"Dragon.*created"):
        compiled({"$set": {"created": naive}}, naive="refuse")
    with pytest.raises(EncodeError, match=r"Dragon.*created"):
        compiled([{"$set": {"created": naive}}], naive="refuse")


def test_pull_takes_conditions() -> None:
    """What `$pull` looks for may be a condition on the item, or on its fields."""
    loot = {"$pull": {"loot": Q >= 5}}

    assert {"$pull": {"loot": {"$gte": 5}}} == compiled(loot)
    assert {"$pull": {"loot": {"value": {"$gt": 5}, "desc": "cup"}}} == compiled(
        {"$pull": {"loot": (Q.value > 5) & (Q.desc == "cup")}}
    )
    assert {"$pull": {"loot": {"$in": [1, 2]}}} == compiled({"$pull": {Q.loot: {"$in": (1, 2)}}})
    assert {"$pull": {"loot": 3}} == compiled({"$pull": {"loot": 3}})


def test_nothing_given_is_changed() -> None:
    """The caller's dict, and what is in it, stays as it was, and what is sent is another."""
    inner = [1, {"a": [datetime(2024, 1, 1, 0, 0, 0, 7)]}]
    changes = {"$set": {"loot": inner}, "$inc": {"age": 1}}
    before = copy.deepcopy(changes)
    sent = compiled(changes)
    sent["$set"]["loot"][1]["a"].append(9)

    assert before == changes


# Stages


def test_stages() -> None:
    """In a pipeline a path is text or Q, and a Q in an expression reads the field."""
    changes = [
        {"$set": {Q.age: {"$add": [Q.age, 1]}, "lair.name": {"$toUpper": "$name"}}},
        {"$addFields": {"breed": Q.name}},
        {"$unset": Q.secret},
        {"$unset": ["created", Q.modified]},
        {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"age": 3}]}},
    ]

    assert [
        {"$set": {"age": {"$add": ["$age", 1]}, "lair.name": {"$toUpper": "$name"}}},
        {"$addFields": {"breed": "$name"}},
        {"$unset": ["secret"]},
        {"$unset": ["created", "modified"]},
        {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"age": 3}]}},
    ] == compiled(changes)


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "expected update operators such as"),
        ("$set", "expected update operators such as"),
        ({}, "expected something to write"),
        ([], "expected something to write"),
        ({"$set": {}}, "expected something to write"),
        ({"age": 5}, r"got the field 'age'; write \{'\$set': \{'age': \.\.\.\}\}"),
        ({Q.lair.name: 5}, r"got the field 'lair\.name'; write \{'\$set'"),
        ({"$set": {"age": 1}, "name": "x"}, "got the field 'name'"),
        ({1: {"age": 1}}, "got the field 1"),
        ({"$sett": {"age": 1}}, r"got '\$sett'; did you mean '\$set'"),
        ({"$setOnInsert": {"age": 1}}, "only an insert heeds"),
        ({"$set": 5}, r"update_where\.\$set: expected a dict"),
        ({"$unset": ["age"]}, r"update_where\.\$unset: expected a dict"),
        ({"$set": {"_id": 1}}, "fields that can change, got '_id'"),
        ({"$set": {"_id.a": 1}}, "fields that can change, got '_id'"),
        ({"$rename": {"age": "_id"}}, "fields that can change, got '_id'"),
        ({"$set": {"$inc": {"age": 1}}}, "expected a path of names"),
        ({"$set": {"lair..name": 1}}, "single dots"),
        ({"$set": {"": 1}}, "single dots"),
        ({"$set": {Q.age: 1, "age": 2}}, "each field once"),
        ({"$set": {"age": 1}, "$inc": {"age": 1}}, "changed once, got 'age' beside 'age'"),
        ({"$set": {"lair.name": 1}, "$unset": {"lair": 1}}, "got 'lair.name' beside 'lair'"),
        ({"$rename": {"name": "breed"}, "$set": {"breed": 1}}, "'breed' beside 'breed'"),
        ({"$set": {"age": Q.lair.name}}, r"write a pipeline, \[\{'\$set': \{'age': '\$lair\.name'"),
        ({"$set": {"age": Q.name == 1}}, "expected a value"),
        ({"$set": {"age": len}}, "is a call missing"),
        ([5], "expected stages"),
        ([{"$set": {"age": 1}, "$unset": "name"}], "each in a dict of its own"),
        ([{"$match": {"age": 1}}], "expected stages"),
        ([{"$set": 5}], "expected a dict"),
        ([{"$set": {"_id": 5}}], "fields that can change"),
        ([{"$unset": "_id"}], "fields that can change"),
        ([{"$set": {"age": 1, Q.age: 2}}], "each field once"),
    ],
)
def test_refused(changes: Any, message: str) -> None:
    """What a server would refuse, or take for something else, is refused with a way out."""
    with pytest.raises(QueryError, match=message):
        compiled(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"$set": {"nmae": 1}},
        {"$set": {Q.nmae.x: 1}},
        {"$rename": {"name": "nmae"}},
        [{"$set": {"nmae": 1}}],
        [{"$unset": ["nmae"]}],
    ],
)
def test_undeclared_fields(changes: Any) -> None:
    """A path that begins with no declared field names the nearest."""
    with pytest.raises(FieldError, match=r"got 'nmae'; did you mean 'name'"):
        compiled(changes)


def test_other_refusals() -> None:
    """Names that are no text, and frames that were never stored."""
    with pytest.raises(FieldError, match="expected names of fields, got 5"):
        compiled({"$set": {5: 1}})
    with pytest.raises(FieldError, match="expected names of fields"):
        compiled([{"$unset": {"age": 1}}])
    with pytest.raises(MissingId, match=r"Dragon\.nemesis"):
        compiled({"$set": {"nemesis": Dragon(name="new")}})


def test_a_class_without_fields_takes_any() -> None:
    """Such a class is changed anywhere, and its `_id` nowhere."""
    assert {"$set": {"x": 1}} == compiled({"$set": {"x": 1}}, Anything)
    with pytest.raises(QueryError, match="_id"):
        compiled({"$unset": {"_id": 1}}, Anything)


# Versions, paths, and what joins


def test_versions_are_counted() -> None:
    """A class with versions counts one more; the caller leaves the number alone."""
    assert {"$set": {"name": "x"}, "$inc": {"_v": 1}} == with_version(
        Counted, compiled({"$set": {"name": "x"}}, Counted)
    )
    assert {"$inc": {"_v": 1, "gold": 2}} == with_version(
        Counted, compiled({"$inc": {"gold": 2}}, Counted)
    )
    assert {"$set": {"_v": {"$add": [{"$ifNull": ["$_v", 0]}, 1]}}} == with_version(
        Counted, compiled([{"$unset": "name"}], Counted)
    )[-1]
    changes = compiled({"$set": {"name": "x"}})
    assert changes is with_version(Dragon, changes)
    for wrong in ({"$inc": {"_v": 1}}, [{"$set": {"_v": 5}}]):
        with pytest.raises((QueryError, FieldError), match="_v"):
            compiled(wrong, Counted)
    with pytest.raises(QueryError, match="expected stages that keep '_v'"):
        compiled([{"$replaceWith": {}}], Counted)


def test_paths() -> None:
    """Every path is named once, in order; stages that replace name none."""
    changes = {"$set": {"a": 1, "b.c": 2}, "$rename": {"d": "e"}}

    assert ("a", "b.c", "d", "e") == paths_in(changes)
    assert ("a", "b", "c") == paths_in(
        [{"$set": {"a": 1}}, {"$unset": ["b", "a"]}, {"$addFields": {"c": 1}}, {"$replaceWith": {}}]
    )


def test_what_joins() -> None:
    """Further paths are set beside; in a pipeline a value stays what it is."""
    id = ObjectId()
    joined = {"$set": {"a": {"b": "$c"}, "d": id}, "$unset": {"e": True}, "$inc": {"f": 2}}

    assert {
        "$set": {"a": {"b": "$c"}, "d": id, "x": 1},
        "$unset": {"e": True},
        "$inc": {"f": 2},
    } == (with_joined({"$set": {"x": 1}}, joined))
    assert [
        {"$unset": ["x"]},
        {
            "$set": {
                "a": {"$literal": {"b": "$c"}},
                "d": {"$literal": id},
                "f": {"$add": [{"$ifNull": ["$f", 0]}, 2]},
            }
        },
        {"$unset": ["e"]},
    ] == with_joined([{"$unset": ["x"]}], joined)
    assert [{"$unset": ["x"]}] == with_joined([{"$unset": ["x"]}], {})


def test_elements_of_lists() -> None:
    """A condition with a list inside is compiled as in a filter."""
    changes = {"$pull": {"loot": ElemMatch(Q.tags, Q == "old")}}

    assert {"$pull": {"loot": {"tags": {"$elemMatch": {"$eq": "old"}}}}} == compiled(changes)
