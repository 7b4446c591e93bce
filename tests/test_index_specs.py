"""Indexes as servers report them, against what is declared: no false alarm, no difference missed."""

from __future__ import annotations

from typing import Any

import pytest
from bson import SON, Int64

from loom import Q
from loom.frames.index import Index
from loom.frames.index_diffs import Diff, Done, Found, compared
from loom.frames.index_specs import differences, read_index

#: What MongoDB 8 reports of collations that were given by locale (and strength).
FULL = {
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
TEXT = {
    "v": 2,
    "key": SON(_fts="text", _ftsx=1),
    "name": "title_text_body_text",
    "weights": {"body": 1, "title": 1},
    "default_language": "english",
    "language_override": "language",
    "textIndexVersion": 3,
}


def reported(key: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return what listIndexes says of an index."""
    name = "_".join(f"{path}_{kind}" for path, kind in key.items())
    return {"v": 2, "key": SON(key), "name": name, **options}


SAME = [
    (Index("a"), reported({"a": 1})),
    (Index("a"), reported({"a": 1.0}, ns="zoo.Dragon", background=True)),
    (Index("-a", "b"), reported({"a": Int64(-1), "b": 5})),
    (Index("a"), reported({"a": 1}, unique=False, sparse=False, hidden=False)),
    (Index("a", unique=True), reported({"a": 1}, unique=True)),
    (Index("a", ttl=5), reported({"a": 1}, expireAfterSeconds=Int64(5))),
    (Index("a", ttl=0), reported({"a": 1}, expireAfterSeconds=0.0)),
    (Index("a", case_insensitive=True), reported({"a": 1}, collation=FULL)),
    (Index("a", collation={"locale": "en", "strength": 2}), reported({"a": 1}, collation=FULL)),
    (Index("a", collation=FULL), reported({"a": 1}, collation={**FULL, "version": "153.14"})),
    (
        Index("a", collation={"locale": "fr_CA"}),
        reported({"a": 1}, collation={**FULL, "locale": "fr_CA", "strength": 3, "backwards": True}),
    ),
    (
        Index("a", collation={"locale": "da"}),
        reported(
            {"a": 1}, collation={**FULL, "locale": "da", "strength": 3, "caseFirst": "upper"}
        ),
    ),
    (
        Index("a", collation={"locale": "vi"}),
        reported({"a": 1}, collation={**FULL, "locale": "vi", "strength": 3, "normalization": True}),
    ),
    (Index("a", collation={"locale": "simple"}), reported({"a": 1})),
    (Index("a", kind="2dsphere"), {**reported({"a": "2dsphere"}), "2dsphereIndexVersion": 3}),
    (Index("a", kind="2d"), reported({"a": "2d"}, bits=26, min=-180.0, max=180.0)),
    (Index("a", kind="hashed"), reported({"a": "hashed"})),
    (Index("title", "body", kind="text"), TEXT),
    (Index("body", "title", kind="text", name="by words"), {**TEXT, "name": "by words"}),
    (Index("title", ("x", 1), kind="text"), {**TEXT, "key": SON(_fts="text", _ftsx=1, x=1), "weights": {"title": 1}}),
    (
        Index("title", "body", kind="text", weights={"title": 5}, default_language="german"),
        {**TEXT, "weights": {"body": 1, "title": 5}, "default_language": "german"},
    ),
    (Index(kind="wildcard"), reported({"$**": 1})),
    (
        Index(kind="wildcard", wildcardProjection={"a.b": True, "c": 1}),
        reported({"$**": 1}, wildcardProjection={"a": {"b": True}, "c": True, "_id": False}),
    ),
    (
        Index("a", unique=True, optional=True),
        reported({"a": 1}, unique=True, partialFilterExpression={"a": {"$exists": True}}),
    ),
    (
        Index("a", partial=(Q.b == 5) & (Q.c > 1)),
        reported({"a": 1}, partialFilterExpression={"c": {"$gt": 1}, "b": {"$eq": 5}}),
    ),
    (
        Index("a", partial=(Q.b > 1) & (Q.b < 5)),
        reported({"a": 1}, partialFilterExpression={"$and": [{"b": {"$gt": 1}}, {"b": {"$lt": 5}}]}),
    ),
    (
        Index("a", partial={"b": 1, "$and": [{"c": 1}]}),
        reported({"a": 1}, partialFilterExpression={"$and": [{"b": 1}, {"c": 1}]}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("index", "stored"), SAME, ids=repr)
def test_what_is_the_same(index: Index, stored: dict[str, Any]) -> None:
    """What a server adds or writes in its own way is no difference."""
    assert () == differences(index.to_dict(), stored)
    assert Diff() == compared("zoo.Dragon", [(index, index.to_dict())], [stored])


@pytest.mark.parametrize(
    ("index", "stored", "expected"),
    [
        (Index("a"), reported({"a": -1}), [("keys", (("a", -1),), (("a", 1),))]),
        (
            Index("a", "b"),
            reported({"b": 1, "a": 1}),
            [("keys", (("b", 1), ("a", 1)), (("a", 1), ("b", 1)))],
        ),
        (Index("a", unique=True), reported({"a": 1}), [("unique", False, True)]),
        (Index("a"), reported({"a": 1}, unique=True), [("unique", True, False)]),
        (Index("a"), reported({"a": 1}, sparse=True), [("sparse", True, False)]),
        (Index("a", hidden=True), reported({"a": 1}), [("hidden", False, True)]),
        (Index("a", ttl=0), reported({"a": 1}), [("ttl", None, 0)]),
        (Index("a", ttl=5), reported({"a": 1}, expireAfterSeconds=6), [("ttl", 6, 5)]),
        (
            Index("a", case_insensitive=True),
            reported({"a": 1}),
            [("collation", None, {"locale": "en", "strength": 2})],
        ),
        (
            Index("a", case_insensitive=True),
            reported({"a": 1}, collation={**FULL, "strength": 3}),
            [("collation", {"locale": "en"}, {"locale": "en", "strength": 2})],
        ),
        (
            Index("a", case_insensitive=True),
            reported({"a": 1}, collation={**FULL, "numericOrdering": True}),
            [
                (
                    "collation",
                    {"locale": "en", "strength": 2, "numericOrdering": True},
                    {"locale": "en", "strength": 2},
                )
            ],
        ),
        (
            Index("a", collation={"locale": "fr_CA", "backwards": False}),
            reported({"a": 1}, collation={"locale": "fr_CA", "backwards": True}),
            [("collation", {"locale": "fr_CA", "backwards": True}, {"locale": "fr_CA"})],
        ),
        (
            Index("a", collation={"locale": "fr"}),
            reported({"a": 1}, collation={"locale": "fr", "backwards": True}),
            [("collation", {"locale": "fr", "backwards": True}, {"locale": "fr"})],
        ),
        (
            Index("a"),
            reported({"a": 1}, partialFilterExpression={"b": 1}),
            [("partial", {"b": 1}, None)],
        ),
        (
            Index("title", kind="text"),
            TEXT,
            [("keys", (("body", "text"), ("title", "text")), (("title", "text"),))],
        ),
        (
            Index("title", "body", kind="text", weights={"title": 2}),
            TEXT,
            [("weights", None, {"body": 1, "title": 2})],
        ),
        (
            Index("title", "body", kind="text"),
            {**TEXT, "default_language": "german"},
            [("default_language", "german", "english")],
        ),
        (
            Index("title", "body", kind="text", textIndexVersion=2),
            TEXT,
            [("textIndexVersion", 3, 2)],
        ),
        (
            Index(kind="wildcard", wildcardProjection={"a": 0}),
            reported({"$**": 1}, wildcardProjection={"a": True}),
            [("wildcardProjection", {"a": 1}, {"a": 0})],
        ),
        (
            Index("a"),
            reported({"a": 1}, storageEngine={"wiredTiger": {}}, somethingNew=5),
            [("somethingNew", 5, None), ("storageEngine", {"wiredTiger": {}}, None)],
        ),
    ],
    ids=repr,
)
def test_what_differs(index: Index, stored: dict[str, Any], expected: list[Any]) -> None:
    """Every option that differs is named, with both values."""
    assert expected == [*map(tuple, differences(index.to_dict(), stored))]


def test_the_collation_of_the_collection() -> None:
    """An index that names no collation takes over the collection's, and that is no difference."""
    swedish = {**FULL, "locale": "sv", "strength": 3}
    usual = reported({"_id": 1}, name="_id_") | {"name": "_id_", "collation": swedish}
    plain, simple = Index("a"), Index("a", collation={"locale": "simple"})
    text = Index("title", "body", kind="text")

    def found(index: Index, *stored: dict[str, Any]) -> Diff:
        return compared("zoo.Dragon", [(index, index.to_dict())], [usual, *stored])

    assert not found(plain, reported({"a": 1}, collation=swedish))
    assert not found(simple, reported({"a": 1}))
    assert not found(text, TEXT)
    assert found(plain, reported({"a": 1})).changed[0].differences == (
        ("collation", None, {"locale": "sv"}),
    )
    assert found(simple, reported({"a": 1}, collation=swedish)).changed


@pytest.mark.parametrize(("index", "stored"), SAME, ids=repr)
def test_a_stored_index_reads_as_a_declared_one(index: Index, stored: dict[str, Any]) -> None:
    """What only the server has is shown so that it can be declared."""
    read = read_index(stored)
    written = eval(repr(read))

    assert () == differences(written.to_dict(), stored)
    assert stored["name"] == read.name


def test_stored_indexes_are_shown_briefly() -> None:
    """The defaults that a server fills in are not shown."""
    present = {"a": {"$exists": True}}

    assert "Index('a', case_insensitive=True)" == repr(
        read_index(reported({"a": 1}, collation=FULL))
    )
    assert "Index('a', unique=True, optional=True)" == repr(
        read_index(reported({"a": 1}, unique=True, partialFilterExpression=present))
    )
    assert "Index('a', ttl=0, name='old')" == repr(
        read_index({**reported({"a": 1}, expireAfterSeconds=0), "name": "old"})
    )


# Which stored index is which declared one


def compare(
    declared: list[Index], *stored: dict[str, Any], elsewhere: list[Index] | None = None
) -> Diff:
    """Compare declared indexes with stored ones."""
    return compared(
        "zoo.Dragon",
        [(index, index.to_dict()) for index in declared],
        [reported({"_id": 1}) | {"name": "_id_"}, *stored],
        [(index, index.to_dict()) for index in elsewhere or []],
    )


def test_missing_and_extra() -> None:
    """What is only declared is missing, what is only stored is extra, `_id_` is neither."""
    found = compare([Index("a")], reported({"b": 1}))

    assert Diff((Found("zoo.Dragon", Index("a")),), (), (Found("zoo.Dragon", Index("b")),)) == found
    assert found
    assert not compare([])
    assert "missing  zoo.Dragon: Index('a')\nextra    zoo.Dragon: Index('b')" == str(found)
    assert "indexes are as declared" == str(compare([]))
    assert "indexes were as declared" == str(Done())


def test_another_name_will_do_unless_one_is_declared() -> None:
    """The same index under a name of its own is there; a declared name must be that."""
    stored = {**reported({"a": 1}), "name": "by a"}
    (changed,) = compare([Index("a", name="other")], stored).changed

    assert not compare([Index("a")], stored)
    assert not compare([Index("a", name="by a")], stored)
    assert (("name", "by a", "other"),) == changed.differences
    assert "zoo.Dragon: Index('a', name='other'): name is 'by a', declared 'other'" == str(changed)


def test_the_same_index_is_found_before_one_of_the_same_name() -> None:
    """An index that is right under another name is not mistaken for a changed one."""
    right = {**reported({"a": 1}), "name": "right"}
    wrong = {**reported({"b": 1}), "name": "a_1"}
    found = compare([Index("a")], wrong, right)

    assert () == found.missing == found.changed
    assert ["a_1"] == [extra.index.name for extra in found.extra]


def test_the_same_name_or_the_same_keys_are_a_change() -> None:
    """What stands in the way of building is a change, not something missing and something extra."""
    by_name = compare([Index("a", name="x")], {**reported({"b": 1}), "name": "x"})
    by_keys = compare([Index("a", unique=True)], {**reported({"a": 1}), "name": "old"})

    assert () == by_name.missing == by_name.extra == by_keys.missing == by_keys.extra
    assert ["keys"] == [d.option for d in by_name.changed[0].differences]
    assert ["unique"] == [d.option for d in by_keys.changed[0].differences]
    assert "old" == by_keys.changed[0].stored.name


def test_two_indexes_over_the_same_keys() -> None:
    """Partial indexes over the same keys are told apart."""
    old = Index("a", partial=Q.b > 1, name="old")
    new = Index("a", partial=Q.b < 1, name="new")
    stored = reported({"a": 1}, partialFilterExpression={"b": {"$gt": 1}}) | {"name": "old"}
    found = compare([new, old], stored)

    assert (Found("zoo.Dragon", new),) == found.missing
    assert () == found.changed == found.extra


def test_what_other_classes_declare_is_not_extra() -> None:
    """An index of another class of the collection is neither extra nor a change, even changed."""
    other = Index("a", unique=True, name="others")
    stored = reported({"a": 1}, unique=True) | {"name": "others"}
    changed = reported({"a": 1}) | {"name": "others"}

    assert not compare([], stored, elsewhere=[other])
    assert not compare([], changed, elsewhere=[other])
    assert (Found("zoo.Dragon", Index("a")),) == compare(
        [Index("a")], stored, elsewhere=[other]
    ).missing
    assert compare([], stored).extra
