"""Index as a value: what it is written with, how it is shown, what it refuses."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pymongo import ASCENDING, DESCENDING, GEOSPHERE
from pymongo.collation import Collation

from loom import DefinitionError, Q
from loom.frames import And, Or
from loom.frames.indexes import CASE_INSENSITIVE, Index

from .zoo import Dragon


@pytest.mark.parametrize(
    ("index", "key"),
    [
        (Index("email"), {"email": 1}),
        (Index("x", "-y"), {"x": 1, "y": -1}),
        (Index(Q.lair.gold, Q.created.desc), {"lair.gold": 1, "created": -1}),
        (Index(Q["created.desc"]), {"created": -1}),
        (Index("created.desc"), {"created.desc": 1}),
        (Index(Q.desc), {"desc": 1}),
        (Index(("x", ASCENDING), (Q.y, DESCENDING)), {"x": 1, "y": -1}),
        (Index("loot.0.value"), {"loot.0.value": 1}),
        (Index("loc", kind="2dsphere"), {"loc": "2dsphere"}),
        (Index("loc", ("kind", 1), kind="2dsphere"), {"loc": "2dsphere", "kind": 1}),
        (Index(("loc", GEOSPHERE), "-kind"), {"loc": "2dsphere", "kind": -1}),
        (Index("loc", kind="2d"), {"loc": "2d"}),
        (Index("title", "body", kind="text"), {"title": "text", "body": "text"}),
        (Index("name", kind="hashed"), {"name": "hashed"}),
        (Index("_id", kind="hashed"), {"_id": "hashed"}),
        (Index("_id", "name"), {"_id": 1, "name": 1}),
        (Index(kind="wildcard"), {"$**": 1}),
        (Index("tags", kind="wildcard"), {"tags.$**": 1}),
        (Index("name", "tags.$**"), {"name": 1, "tags.$**": 1}),
    ],
    ids=repr,
)
def test_keys(index: Index, key: dict[str, Any]) -> None:
    """Paths are written as elsewhere in Loom, or as for PyMongo; MongoDB's name is made of them."""
    name = "_".join(f"{path}_{kind}" for path, kind in key.items())

    assert {"key": key, "name": name} == index.to_dict()
    assert [*key] == [*index.to_dict()["key"]]
    assert tuple(key) == index.fields
    assert tuple(key.items()) == index.keys
    assert (name, False) == (index.name, index.is_named)


PRESENT = {"$exists": True}


@pytest.mark.parametrize(
    ("index", "options"),
    [
        (Index("a", unique=True), {"unique": True}),
        (Index("a", sparse=True, hidden=True), {"sparse": True, "hidden": True}),
        (
            Index("a", unique=True, optional=True),
            {"unique": True, "partialFilterExpression": {"a": PRESENT}},
        ),
        (
            Index("a", "-b.c", unique=True, optional=True),
            {"unique": True, "partialFilterExpression": {"a": PRESENT, "b.c": PRESENT}},
        ),
        (
            Index("a", unique=True, optional=True, partial=Q.b > 5),
            {"unique": True, "partialFilterExpression": {"a": PRESENT, "b": {"$gt": 5}}},
        ),
        (
            Index("a", unique=True, optional=True, partial=Q.a > 5),
            {
                "unique": True,
                "partialFilterExpression": {"$and": [{"a": PRESENT}, {"a": {"$gt": 5}}]},
            },
        ),
        (
            Index("a", partial={"b": {"$type": "string"}}),
            {"partialFilterExpression": {"b": {"$type": "string"}}},
        ),
        (
            Index("a", partial=Or(Q.b == 1, Q.c.is_in({2}))),
            {"partialFilterExpression": {"$or": [{"b": 1}, {"c": {"$in": [2]}}]}},
        ),
        (Index("a", ttl=0), {"expireAfterSeconds": 0}),
        (Index("-a", ttl=timedelta(days=30)), {"expireAfterSeconds": 2_592_000}),
        (Index("a", collation={"locale": "sv"}), {"collation": {"locale": "sv"}}),
        (
            Index("a", collation=Collation("sv", strength=1)),
            {"collation": {"locale": "sv", "strength": 1}},
        ),
        (Index("a", case_insensitive=True), {"collation": {"locale": "en", "strength": 2}}),
        (
            Index("a", case_insensitive=True, collation={"locale": "de"}),
            {"collation": {"locale": "de", "strength": 2}},
        ),
        (
            Index("a", case_insensitive=True, collation=Collation("de", strength=1)),
            {"collation": {"locale": "de", "strength": 1}},
        ),
        (
            Index("a", "b", kind="text", weights={"a": 3}, default_language="german"),
            {"weights": {"a": 3}, "default_language": "german"},
        ),
        (
            Index(kind="wildcard", wildcardProjection={"a": 1}),
            {"wildcardProjection": {"a": 1}},
        ),
        (
            Index("a", kind="2d", bits=30, min=0, max=100),
            {"bits": 30, "min": 0, "max": 100},
        ),
    ],
    ids=repr,
)
def test_options(index: Index, options: dict[str, Any]) -> None:
    """Options become what createIndexes takes, and nothing is sent that was not asked for."""
    sent = index.to_dict()
    del sent["key"], sent["name"]

    assert options == sent


def test_the_exact_name() -> None:
    """A name is kept; the usual one counts as none."""
    named = Index("a", name="by a")

    assert ("by a", True) == (named.name, named.is_named)
    assert "Index('a', name='by a')" == repr(named)
    assert Index("a") == Index("a", name="a_1") != named


@pytest.mark.parametrize(
    "text",
    [
        "Index('email', unique=True)",
        "Index('x', '-y', unique=True, optional=True)",
        "Index('expires', ttl=0)",
        "Index('loc', kind='2dsphere')",
        "Index(('loc', '2dsphere'), '-kind')",
        "Index('title', 'body', kind='text', weights={'title': 3})",
        "Index(kind='wildcard')",
        "Index('tags', kind='wildcard')",
        "Index('name', 'tags.$**')",
        "Index('a', case_insensitive=True, hidden=True, collation={'locale': 'de'})",
        "Index('a', partial={'b': {'$gt': 5}}, name='some')",
    ],
)
def test_an_index_is_a_value(text: str) -> None:
    """It reads as it is written, equals its copies, and cannot be changed."""
    index = eval(text)

    assert text == repr(index)
    for other in (eval(text), copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert (index, hash(index), text) == (other, hash(other), repr(other))
        assert (index.is_named, index.to_dict()) == (other.is_named, other.to_dict())
    with pytest.raises(AttributeError, match="frozen"):
        index.name = "other"
    with pytest.raises(AttributeError, match="frozen"):
        del index.keys
    assert index != Index("quite another")
    assert index != text


def test_what_an_index_gives_is_its_readers_own() -> None:
    """Changing what was given, or what is handed out, changes no index."""
    partial = {"b": {"$in": [1, 2]}}
    collation = {"locale": "de"}
    index = Index("a", partial=partial, collation=collation)
    expected = index.to_dict()
    partial["b"]["$in"].append(3)
    collation["locale"] = "sv"
    index.to_dict()["key"]["x"] = 1
    index.to_dict()["partialFilterExpression"]["b"]["$in"].append(4)
    assert index.collation is not None
    index.collation["locale"] = "fr"

    assert expected == index.to_dict()
    assert {"$in": [1, 2]} == expected["partialFilterExpression"]["b"]


def test_values_in_partial_are_those_of_a_filter() -> None:
    """Frames become their ids, as in every filter."""
    burt = Dragon(_id=ObjectId(), name="Burt")
    since = datetime(2024, 1, 1, tzinfo=timezone.utc)
    index = Index("name", partial=And(Q.nemesis == burt, Q.created >= since))

    assert {"$and": [{"nemesis": burt._id}, {"created": {"$gte": since}}]} == index.to_dict()[
        "partialFilterExpression"
    ]


def test_which_are_case_insensitive() -> None:
    """Only `case_insensitive=True` makes queries carry a collation, not any collation."""
    assert Index("a", case_insensitive=True).is_case_insensitive
    assert not Index("a", collation=CASE_INSENSITIVE).is_case_insensitive
    assert Index("a", case_insensitive=True) != Index("a", collation=CASE_INSENSITIVE)
    assert Index("a").collation is None


@pytest.mark.parametrize(
    ("keys", "options", "problem"),
    [
        ((), {}, "at least one path"),
        ((5,), {}, "expected a path such as 'name'"),
        (("",), {}, "not empty"),
        (("-",), {}, "not empty"),
        (("a..b",), {}, "not empty"),
        (("$a",), {}, "start with"),
        (("a.$b",), {}, "start with"),
        (("a.$**.b",), {}, "start with"),
        (("a\0",), {}, "NUL"),
        ((Q,), {}, "not empty"),
        (("a", "a"), {}, "each path once"),
        (("a", "-a"), {}, "each path once"),
        (("_id",), {}, "_id"),
        ((("a", 2),), {}, "as the second of a pair, got 2"),
        ((("a", True),), {}, "as the second of a pair, got True"),
        ((("a", None),), {}, "as the second of a pair, got None"),
        ((("a", "2dspere"),), {}, "as the second of a pair, got '2dspere'"),
        ((("a", 1, 2),), {}, "expected a path such as"),
        (("a",), {"kind": "2dsphre"}, "did you mean '2dsphere'"),
        (("-a",), {"kind": "2dsphere"}, r"write a key of another kind as a pair: \('a', -1\)"),
        ((Q.a.desc,), {"kind": "text"}, "without a direction"),
        (("a", "b"), {"kind": "hashed"}, r"write that key as \('path', 'hashed'\)"),
        (("a", "b"), {"kind": "2d"}, "one path beside kind='2d'"),
        (("a", "b"), {"kind": "wildcard"}, r"'path.\$\*\*'"),
        ((("a", "hashed"), ("b", "hashed")), {}, "one hashed key"),
        (("a",), {"unique": "yes"}, "unique of True or False, got 'yes'"),
        (("a",), {"uniqe": True}, "did you mean 'unique'"),
        (("a",), {"expireAfterSeconds": 5}, "write ttl="),
        (("a",), {"partialFilterExpression": {}}, "write partial="),
        (("a",), {"background": True}, "an option of an index, got 'background'"),
        (("a", "b"), {"ttl": 5}, "ttl with one field"),
        (("_id",), {"kind": "hashed", "ttl": 5}, "ttl with one field"),
        (("a",), {"kind": "wildcard", "ttl": 5}, "ttl with one field"),
        (("a",), {"ttl": -1}, "whole seconds from 0"),
        (("a",), {"ttl": 2**31}, "whole seconds from 0"),
        (("a",), {"ttl": timedelta(milliseconds=500)}, "whole seconds from 0"),
        (("a",), {"ttl": 0.5}, "seconds or as a timedelta"),
        (("a",), {"ttl": True}, "seconds or as a timedelta"),
        (("a",), {"optional": True}, "optional beside unique=True"),
        (("a",), {"unique": True, "optional": True, "sparse": True}, "sparse alone"),
        (("a",), {"partial": Q.a > 5, "sparse": True}, "sparse alone"),
        (("a",), {"kind": "hashed", "unique": True}, "unique without a hashed"),
        (("a",), {"kind": "wildcard", "unique": True}, "unique without a hashed"),
        (("a",), {"kind": "text", "case_insensitive": True}, "no collation"),
        (("a",), {"kind": "2d", "collation": {"locale": "sv"}}, "no collation"),
        (("a",), {"collation": "sv"}, "a collation with a locale"),
        (("a",), {"collation": {"strength": 2}}, "a collation with a locale"),
        (("a",), {"collation": {"locale": "simple"}, "case_insensitive": True}, "can ignore case"),
        (
            ("a",),
            {"collation": {"locale": "de", "strength": 3}, "case_insensitive": True},
            "can ignore case",
        ),
        (
            ("a",),
            {"collation": {"locale": "de", "caseLevel": True}, "case_insensitive": True},
            "can ignore case",
        ),
        (("a",), {"name": ""}, "the name of an index"),
        (("a",), {"name": "_id_"}, "the name of an index"),
        (("a",), {"name": "*"}, "the name of an index"),
        (("a",), {"name": 5}, "the name of an index"),
        (("a",), {"partial": {}}, "which all documents meet"),
        (("a",), {"partial": False}, "partial: filter: expected a condition"),
        (("a",), {"partial": Q.a != 5}, r"got \$ne"),
        (("a",), {"partial": ~(Q.a > 5)}, r"got \$not"),
        (("a",), {"partial": Q.a.exists(False)}, r"got \$exists: False"),
        (("a",), {"partial": (Q.a == 1) & Q.b.startswith("x")}, r"got \$regex"),
        (("a",), {"partial": {"$or": [{"a": {"$nin": [1]}}]}}, r"got \$nin"),
    ],
)
def test_what_no_server_would_build_is_refused(
    keys: tuple[Any, ...], options: dict[str, Any], problem: str
) -> None:
    """An index that is written wrongly is an error at once, with its keys and the way out."""
    with pytest.raises(DefinitionError, match=f"^Index\\(.*\\): .*{problem}"):
        Index(*keys, **options)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,6}){0,2}", fullmatch=True),
            st.sampled_from([1, -1, "2dsphere", "text"]),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda pair: pair[0],
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "sparse": st.just(True),
            "hidden": st.just(True),
            "name": st.from_regex(r"[a-z ]{1,8}", fullmatch=True),
            "weights": st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
        },
    ),
)
def test_every_index_reads_as_it_is_written(keys: list[Any], options: dict[str, Any]) -> None:
    """What is shown of an index makes the same index."""
    index = Index(*keys, **options)

    assert index == eval(repr(index))
    assert index.to_dict() == eval(repr(index)).to_dict()
    assert dict(keys) == index.to_dict()["key"]
