"""Text of one case in what is looked for: every operator that compares text, in every place."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest
from bson import Int64, MinKey, ObjectId, Regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Frame, Q, QueryError, StrLower, StrUpper, SubFrame
from loom.frames import (
    All,
    And,
    ElemMatch,
    Exists,
    In,
    Nor,
    Not,
    NotIn,
    Or,
    Size,
    Type,
)
from loom.frames.normalising import normalise_changes, normalise_filter, with_array_filters
from loom.frames.queries import to_filter

from .conftest import Commands, Runtime


class Hue(Enum):
    """What is stored as text."""

    RED = "Red"


class Lair(SubFrame):
    """An embedded document."""

    code: StrUpper
    name: str
    annexes: list[Lair]


class User(Frame):
    """Has marked text in all places."""

    email: StrLower
    nick: StrLower | None
    code: StrUpper
    tags: list[StrLower]
    rows: list[list[StrLower]]
    words: dict[str, StrLower]
    lair: Lair
    lairs: list[Lair]
    rooms: dict[str, Lair]
    maps: list[dict[str, StrUpper]]
    mixed: StrLower | int
    plain: str


class Pet(Frame):
    """Has no marked text."""

    email: str


def compiled(filter: Any) -> Any:
    """Return a filter as it is sent."""
    return normalise_filter(User, to_filter(filter))


# Filters


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        # comparing
        (Q.email == "Ann", {"email": "ann"}),
        (Q.email != "Ann", {"email": {"$ne": "ann"}}),
        (Q.email < "B", {"email": {"$lt": "b"}}),
        (Q.email <= "B", {"email": {"$lte": "b"}}),
        (Q.email > "B", {"email": {"$gt": "b"}}),
        (Q.email >= "B", {"email": {"$gte": "b"}}),
        (Q.code == "ß", {"code": "SS"}),
        (Q.email.between("A", "C"), {"email": {"$gte": "a", "$lt": "c"}}),
        (Q.email.is_in(["Ann", 5, None, "b"]), {"email": {"$in": ["ann", 5, None, "b"]}}),
        (In(Q.code, {"a"}), {"code": {"$in": ["A"]}}),
        (NotIn(Q.email, ["Ann"]), {"email": {"$nin": ["ann"]}}),
        (Q.mixed == "A", {"mixed": "a"}),
        (Q.mixed == 5, {"mixed": 5}),
        (Q.nick == "N", {"nick": "n"}),
        (Q.nick == None, {"nick": None}),  # noqa: E711
        # text at the beginning, at the end, inside
        (Q.email.startswith("A.b"), {"email": {"$regex": r"^a\.b"}}),
        (Q.code.endswith("x"), {"code": {"$regex": r"X$(?!\n)"}}),
        (Q.email.contains("\0A"), {"email": {"$regex": r"\x00a"}}),
        (Q.code.contains("\0a"), {"code": {"$regex": r"\x00A"}}),
        (Q.code.contains("\n"), {"code": {"$regex": "\\\n"}}),
        (Q.code.glob("a?b*"), {"code": {"$regex": "^A.B", "$options": "s"}}),
        (
            Q.email.startswith("A", ignore_case=True),
            {"email": {"$regex": "^a", "$options": "i"}},
        ),
        (~Q.email.startswith("A"), {"email": {"$not": {"$regex": "^a"}}}),
        # lists
        (Q.tags == "New", {"tags": "new"}),
        (Q.tags == ["New", "b"], {"tags": ["new", "b"]}),
        (Q.tags[0] == "New", {"tags.0": "new"}),
        (All(Q.tags, ["New"]), {"tags": {"$all": ["new"]}}),
        (ElemMatch(Q.tags, Q == "New"), {"tags": {"$elemMatch": {"$eq": "new"}}}),
        (
            ElemMatch(Q.tags, Q >= "A", ~Q.startswith("B")),
            {"tags": {"$elemMatch": {"$gte": "a", "$not": {"$regex": "^b"}}}},
        ),
        (
            All(Q.tags, [ElemMatch(Q, Q == "A")]),
            {"tags": {"$all": [{"$elemMatch": {"$eq": "a"}}]}},
        ),
        (Q.rows == ["A"], {"rows": ["a"]}),
        (Q.rows[0][1] == "A", {"rows.0.1": "a"}),
        # documents
        (Q.lair.code == "x", {"lair.code": "X"}),
        (Q.lair.name == "x", {"lair.name": "x"}),
        (Q.lairs.code == "x", {"lairs.code": "X"}),
        (Q.lairs[0].annexes.code.is_in(["x"]), {"lairs.0.annexes.code": {"$in": ["X"]}}),
        (Q.lair == Lair(code="x", name="n"), {"lair": {"$eq": {"code": "X", "name": "n"}}}),
        ({"lair": {"name": "n", "code": "x"}}, {"lair": {"name": "n", "code": "X"}}),
        (
            ElemMatch(Q.lairs, Q.code == "x", Q.name == "x"),
            {"lairs": {"$elemMatch": {"code": "X", "name": "x"}}},
        ),
        (
            ElemMatch(Q.lairs, (Q.code == "x") | (Q.name == "x")),
            {"lairs": {"$elemMatch": {"$or": [{"code": "X"}, {"name": "x"}]}}},
        ),
        # maps
        (Q.words.Key == "V", {"words.Key": "v"}),
        (Q.words == {"Key": "V"}, {"words": {"$eq": {"Key": "v"}}}),
        ({"words": {"a.b": "V"}}, {"words": {"a.b": "v"}}),
        (Q.rooms.Hall.code == "h", {"rooms.Hall.code": "H"}),
        (Q.words["0"] == "V", {"words.0": "v"}),
        (Q.maps.k == "v", {"maps.k": "V"}),
        (Q.maps[0].k == "v", {"maps.0.k": "V"}),
        (ElemMatch(Q.maps, Q.k == "v"), {"maps": {"$elemMatch": {"k": "V"}}}),
        # groups
        (
            And(Q.email == "A", Or(Q.code == "a", {"tags": {"$in": ["A"]}})),
            {"$and": [{"email": "a"}, {"$or": [{"code": "A"}, {"tags": {"$in": ["a"]}}]}]},
        ),
        (Nor(Q.email == "A"), {"$nor": [{"email": "a"}]}),
        (Not(Q.email > "A"), {"email": {"$not": {"$gt": "a"}}}),
        (Not(And(Q.email == "A")), {"$nor": [{"$and": [{"email": "a"}]}]}),
        # plain dicts
        ({"email": "A", "plain": "A"}, {"email": "a", "plain": "A"}),
        ({"email": {"$in": ["A"], "$ne": "B"}}, {"email": {"$in": ["a"], "$ne": "b"}}),
        ({"$and": [{"email": "A"}]}, {"$and": [{"email": "a"}]}),
        ({"lairs": {"$elemMatch": {"code": "x"}}}, {"lairs": {"$elemMatch": {"code": "X"}}}),
        ({"email": {"$not": {"$eq": "A"}}}, {"email": {"$not": {"$eq": "a"}}}),
        # values that are stored as text
        (Q.email == Hue.RED, {"email": {"$eq": "red"}}),
        (Q.email.is_in([PurePosixPath("/A")]), {"email": {"$in": ["/a"]}}),
        # left alone
        (Q.email.matches("^A"), {"email": {"$regex": "^A"}}),
        (Q.email == re.compile("A", re.IGNORECASE), {"email": {"$regex": "A", "$options": "i"}}),
        ({"email": {"$regex": "A"}}, {"email": {"$regex": "A"}}),
        ({"email": Regex("A")}, {"email": {"$regex": "A"}}),
        ({"$text": {"$search": "A"}}, {"$text": {"$search": "A"}}),
        ({"$comment": "A"}, {"$comment": "A"}),
        ({"$expr": {"$eq": ["$email", "A"]}}, {"$expr": {"$eq": ["$email", "A"]}}),
        (Exists(Q.email), {"email": {"$exists": True}}),
        (Type(Q.email, "string"), {"email": {"$type": "string"}}),
        (Size(Q.tags, 2), {"tags": {"$size": 2}}),
        (Q.email > MinKey(), {"email": {"$gt": MinKey()}}),
        (Q.email == Int64(5), {"email": Int64(5)}),
        (Q.unknown.email == "A", {"unknown.email": "A"}),
        ({}, {}),
        (None, {}),
    ],
)
def test_filters(filter: Any, expected: Any) -> None:
    """Text is looked for in its case; other values, fields and patterns stay as they are."""
    found = compiled(filter)

    assert expected == found
    assert repr(expected) == repr(found)


def test_filters_of_classes_without_marks() -> None:
    """A class without marked text gets its filter back, the same object."""
    filter = {"email": "Ann"}

    assert filter is normalise_filter(Pet, filter)
    assert normalise_filter(User, filter) is not filter


def test_a_filter_is_not_changed() -> None:
    """What the caller passed stays as it was."""
    filter = {"$and": [{"email": {"$in": ["A"]}}, {"lairs": {"$elemMatch": {"code": "x"}}}]}
    before = copy.deepcopy(filter)
    compiled(filter)
    normalise_filter(User, filter)

    assert before == filter


def test_an_expression_serves_several_classes() -> None:
    """The case belongs to the class and not to the expression."""
    expression = Q.email.startswith("Ann") | (Q.email == "Bob")
    first = compiled(expression)

    assert {"$or": [{"email": {"$regex": "^ann"}}, {"email": "bob"}]} == first
    assert {"$or": [{"email": {"$regex": "^Ann"}}, {"email": "Bob"}]} == (
        normalise_filter(Pet, to_filter(expression))
    )


@pytest.mark.parametrize("passed", [copy.copy, copy.deepcopy, pickle.dumps])
def test_patterns_of_text_survive_copies(passed: Callable[[Any], Any]) -> None:
    """A pattern that was made of text is still known in a copy of the expression or of its dict."""
    condition = Q.email.glob("A*b", ignore_case=True)
    for value in (condition, {"$or": [condition.to_dict()]}):
        other = passed(value)
        other = pickle.loads(other) if isinstance(other, bytes) else other

        assert to_filter(value) == to_filter(other)
        assert "^a.*b" in repr(compiled(other))


def test_match_stages_may_hold_anything() -> None:
    """A filter that was not compiled is looked into as far as it can be."""
    content: Any = {5: "A", "email": ("A", Hue.RED), "$or": [True, {"code": "a"}], "$and": "x"}

    assert {5: "A", "email": ["a", "red"], "$or": [True, {"code": "A"}], "$and": "x"} == (
        normalise_filter(User, content)
    )


# Update documents


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"$set": {"email": "A", "plain": "A"}}, {"$set": {"email": "a", "plain": "A"}}),
        ({"$setOnInsert": {"email": "A"}}, {"$setOnInsert": {"email": "a"}}),
        (
            {"$min": {"code": "a"}, "$max": {"email": "A"}},
            {"$min": {"code": "A"}, "$max": {"email": "a"}},
        ),
        ({"$set": {"lair.code": "x"}}, {"$set": {"lair.code": "X"}}),
        ({"$set": {"lairs.$[].code": "x"}}, {"$set": {"lairs.$[].code": "X"}}),
        ({"$set": {"lairs.$[one].code": "x"}}, {"$set": {"lairs.$[one].code": "X"}}),
        ({"$set": {"tags.$": "A"}}, {"$set": {"tags.$": "a"}}),
        (
            {"$set": {"lair": {"code": "x", "name": "n"}}},
            {"$set": {"lair": {"code": "X", "name": "n"}}},
        ),
        ({"$push": {"tags": "A"}}, {"$push": {"tags": "a"}}),
        ({"$push": {"rows": ["A"]}}, {"$push": {"rows": ["a"]}}),
        (
            {"$push": {"tags": {"$each": ["A"], "$position": 0}}},
            {"$push": {"tags": {"$each": ["a"], "$position": 0}}},
        ),
        ({"$push": {"lairs": {"code": "x"}}}, {"$push": {"lairs": {"code": "X"}}}),
        ({"$addToSet": {"words.k": "A"}}, {"$addToSet": {"words.k": "a"}}),
        ({"$pull": {"tags": "A"}}, {"$pull": {"tags": "a"}}),
        ({"$pull": {"tags": {"$in": ["A"]}}}, {"$pull": {"tags": {"$in": ["a"]}}}),
        (
            {"$pull": {"lairs": {"code": {"$ne": "x"}}}},
            {"$pull": {"lairs": {"code": {"$ne": "X"}}}},
        ),
        ({"$pullAll": {"tags": ["A"]}}, {"$pullAll": {"tags": ["a"]}}),
        ({"$unset": {"email": ""}}, {"$unset": {"email": ""}}),
        ({"$inc": {"mixed": 1}}, {"$inc": {"mixed": 1}}),
        ({"$rename": {"email": "nick"}}, {"$rename": {"email": "nick"}}),
        ({"$rename": {"email": "plain"}}, {"$rename": {"email": "plain"}}),
        ({"$rename": {"lair.code": "code"}}, {"$rename": {"lair.code": "code"}}),
        ({"$set": 5}, {"$set": 5}),
    ],
)
def test_update_documents(changes: Any, expected: Any) -> None:
    """Update documents write text in its case, and what was passed is not changed."""
    before = copy.deepcopy(changes)

    assert expected == normalise_changes(User, changes)
    assert before == changes
    assert changes is normalise_changes(Pet, changes)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ({"$set": {"email": "A", "plain": "$email"}}, {"$set": {"email": "a", "plain": "$email"}}),
        ({"$addFields": {"lair.code": "x"}}, {"$addFields": {"lair.code": "X"}}),
        ({"$set": {"email": {"$literal": "$A"}}}, {"$set": {"email": {"$literal": "$a"}}}),
        ({"$set": {"email": {"$toLower": "$plain"}}}, None),
        ({"$set": {"code": {"$toUpper": "$plain"}}}, None),
        ({"$set": {"email": "$nick", "lair": "$lairs.0"}}, None),
        ({"$set": {"email": "$$REMOVE", "mixed": 5}}, None),
        (
            {"$set": {"lair": {"code": "x", "name": "$plain"}}},
            {"$set": {"lair": {"code": "X", "name": "$plain"}}},
        ),
        ({"$set": {"tags": ["A", "$email"]}}, {"$set": {"tags": ["a", "$email"]}}),
        (
            {"$set": {"tags": {"$concatArrays": ["$tags", ["A"]]}}},
            {"$set": {"tags": {"$concatArrays": ["$tags", ["a"]]}}},
        ),
        (
            {"$set": {"email": {"$ifNull": ["$email", "A"]}}},
            {"$set": {"email": {"$ifNull": ["$email", "a"]}}},
        ),
        (
            {"$set": {"email": {"$cond": [{"$eq": ["$plain", "A"]}, "A", "$nick"]}}},
            {"$set": {"email": {"$cond": [{"$eq": ["$plain", "A"]}, "a", "$nick"]}}},
        ),
        (
            {"$set": {"email": {"$cond": {"if": "$plain", "then": "A", "else": "$email"}}}},
            {"$set": {"email": {"$cond": {"if": "$plain", "then": "a", "else": "$email"}}}},
        ),
        ({"$set": {"plain": {"$concat": ["$email", "A"]}}}, None),
        ({"$unset": ["email"]}, None),
        (
            {"$project": {"email": 1, "plain": "$x", "code": "a"}},
            {"$project": {"email": 1, "plain": "$x", "code": "A"}},
        ),
        ({"$replaceWith": {"email": "A", "x": "$y"}}, {"$replaceWith": {"email": "a", "x": "$y"}}),
        (
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"email": "A"}]}},
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"email": "a"}]}},
        ),
        (
            {"$replaceRoot": {"newRoot": {"email": "A"}}},
            {"$replaceRoot": {"newRoot": {"email": "a"}}},
        ),
    ],
)
def test_pipelines(stage: Any, expected: Any) -> None:
    """Stages write text in its case: values, and expressions that keep the case."""
    before = copy.deepcopy(stage)

    assert [stage if expected is None else expected] == normalise_changes(User, [stage])
    assert before == stage


@pytest.mark.parametrize(
    "stage",
    [
        {"$set": {"email": "$plain"}},
        {"$set": {"email": "$code"}},
        {"$set": {"email": {"$concat": ["$email", "A"]}}},
        {"$set": {"email": {"$toUpper": "$email"}}},
        {"$set": {"lair": "$words"}},
        {"$set": {"email": {"$cond": ["$plain", "$plain", "a"]}}},
        {"$set": {"tags": {"$map": {"input": "$tags", "in": "$$this"}}}},
        {"$replaceWith": "$lair"},
        {"$project": {"email": "$plain"}},
    ],
)
def test_text_that_the_server_would_make(stage: Any) -> None:
    """An expression whose text is not known to be in its case is refused."""
    with pytest.raises(QueryError, match=r"^User.*: expected a value, or an expression in \$to"):
        normalise_changes(User, [stage])


@pytest.mark.parametrize("renamed", [{"plain": "email"}, {"code": "email"}, {"words": "lair"}])
def test_renaming_into_marked_text(renamed: dict[str, str]) -> None:
    """A field of other text cannot become one of marked text."""
    with pytest.raises(QueryError, match=r"^User\.(email|lair): expected text in its case, got"):
        normalise_changes(User, {"$rename": renamed})


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("tags.$[t]", {"t": "Old"}, {"t": "old"}),
        ("rows.$[].$[t]", {"t": {"$in": ["Old"]}}, {"t": {"$in": ["old"]}}),
        (
            "lairs.$[one].name",
            {"one.code": "x", "one.name": "x"},
            {"one.code": "X", "one.name": "x"},
        ),
        ("lairs.$[one].annexes.$[two].name", {"two.code": "x"}, {"two.code": "X"}),
        (
            "lairs.$[one].name",
            {"$or": [{"one.code": {"$ne": "x"}}, {"one.name": "x"}]},
            {"$or": [{"one.code": {"$ne": "X"}}, {"one.name": "x"}]},
        ),
        ("plain.$[t]", {"t": "Old"}, {"t": "Old"}),
    ],
)
def test_array_filters(path: str, given: Any, expected: Any) -> None:
    """What chooses the items of a list looks for text in its case."""
    changes = {"$set": {path: "New"}}
    options = {"array_filters": [given], "hint": "x"}
    before = copy.deepcopy(options)

    assert {"array_filters": [expected], "hint": "x"} == with_array_filters(User, changes, options)
    assert before == options
    assert options is with_array_filters(Pet, changes, options)


def test_options_without_array_filters() -> None:
    """Other options, and those of a pipeline, are passed on."""
    for options in ({}, {"array_filters": None}, {"array_filters": []}):
        assert options is with_array_filters(User, {"$set": {"email": "A"}}, options)
    options = {"array_filters": [{"t": "A"}]}

    assert options is with_array_filters(User, [{"$set": {"email": "A"}}], options)


# What is promised


@given(st.text())
def test_giving_text_its_case_twice(text: str) -> None:
    """Text in its case stays as it is: what was stored is not changed by storing it again."""
    assert text.lower() == text.lower().lower()
    assert text.upper() == text.upper().upper()


@given(st.text(), st.text())
def test_what_is_found(written: str, asked: str) -> None:
    """Text is found by what has the same lower case, as Python makes it."""
    stored = normalise_changes(User, {"$set": {"email": written}})["$set"]["email"]
    looked_for = compiled(Q.email == asked)["email"]

    assert (written.lower() == asked.lower()) == (stored == looked_for)


TEXTS = st.text("aAbBß", max_size=2)
PATHS = ("email", "code", "plain", "tags", "lair.code", "lair.name", "lairs.code", "words.k")
CASES: dict[str, Callable[[str], str]] = {
    "email": str.lower,
    "code": str.upper,
    "tags": str.lower,
    "lair.code": str.upper,
    "lairs.code": str.upper,
    "words.k": str.lower,
}


def case(path: str, text: str) -> str:
    """Return text as the model stores it."""
    return CASES.get(path, str)(text)


LAIRS = st.fixed_dictionaries({}, optional={"code": TEXTS, "name": TEXTS})
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "email": TEXTS,
        "code": TEXTS,
        "plain": TEXTS,
        "tags": st.lists(TEXTS, max_size=2),
        "lair": LAIRS,
        "lairs": st.lists(LAIRS, max_size=2),
        "words": st.fixed_dictionaries({}, optional={"k": TEXTS}),
    },
)

#: Of one text, by the name of the operator: what Loom takes, what it means.
OF_TEXT: dict[str, tuple[Callable[..., Any], Callable[[str, str], bool]]] = {
    "==": (lambda q, t: q == t, lambda s, t: s == t),
    "<": (lambda q, t: q < t, lambda s, t: s < t),
    "<=": (lambda q, t: q <= t, lambda s, t: s <= t),
    ">": (lambda q, t: q > t, lambda s, t: s > t),
    ">=": (lambda q, t: q >= t, lambda s, t: s >= t),
    "startswith": (lambda q, t: q.startswith(t), str.startswith),
    "endswith": (lambda q, t: q.endswith(t), str.endswith),
    "contains": (lambda q, t: q.contains(t), lambda s, t: t in s),
    "glob": (lambda q, t: q.glob(f"{t}*"), str.startswith),
    "$eq": (lambda q, t: {str(q): {"$eq": t}}, lambda s, t: s == t),
    "elem": (lambda q, t: ElemMatch(q, Q == t), lambda s, t: s == t),
}
LISTS = ("is_in", "not_in", "all", "$in")


def leaves() -> Any:
    """Return a strategy of single conditions, for the model."""
    one = st.tuples(st.sampled_from(sorted(OF_TEXT)), st.sampled_from(PATHS), TEXTS)
    several = st.tuples(
        st.sampled_from(LISTS), st.sampled_from(PATHS), st.lists(TEXTS, min_size=1, max_size=2)
    )
    lair = st.tuples(st.just("lair"), st.just("lairs"), st.tuples(TEXTS, TEXTS))
    return one | several | lair


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: (
        st.tuples(st.sampled_from(("and", "or", "nor")), st.lists(inner, min_size=1, max_size=2))
        | st.tuples(st.just("not"), inner)
    ),
    max_leaves=4,
)


def as_filter(condition: Any) -> Any:
    """Return what a user would write."""
    kind, first, *rest = condition
    if kind in ("and", "or", "nor"):
        return {"and": And, "or": Or, "nor": Nor}[kind](*map(as_filter, first))
    if kind == "not":
        return Not(as_filter(first))
    q, value = Q[first], rest[0]
    if kind == "lair":
        return ElemMatch(q, Q.code == value[0], {"name": value[1]})
    if kind == "$in":
        return {first: {"$in": value}}
    if kind in LISTS:
        return getattr(q, kind)(value)
    return OF_TEXT[kind][0](q, value)


def values_at(document: dict[str, Any], path: str) -> list[Any]:
    """Return the values at a path, through lists."""
    values: list[Any] = [document]
    for name in path.split("."):
        values = [item for v in values for item in (v if isinstance(v, list) else [v])]
        values = [v[name] for v in values if name in v]
    return values


def holds(condition: Any, document: dict[str, Any]) -> bool:
    """Tell what the model says of a stored document."""
    kind, first, *rest = condition
    if kind == "and":
        return all(holds(c, document) for c in first)
    if kind == "or":
        return any(holds(c, document) for c in first)
    if kind == "nor":
        return not any(holds(c, document) for c in first)
    if kind == "not":
        return not holds(first, document)
    if kind == "lair":
        code, name = case("lairs.code", rest[0][0]), rest[0][1]
        return any(
            lair.get("code") == code and lair.get("name") == name
            for lair in document.get("lairs", [])
        )
    at = values_at(document, first)
    texts = [text for value in at for text in (value if isinstance(value, list) else [value])]
    if kind == "elem":
        texts = [text for value in at if isinstance(value, list) for text in value]
    if kind in ("is_in", "$in"):
        return any(text in {case(first, t) for t in rest[0]} for text in texts)
    if kind == "not_in":
        return not any(text in {case(first, t) for t in rest[0]} for text in texts)
    if kind == "all":
        return {case(first, t) for t in rest[0]} <= {*texts}
    return any(OF_TEXT[kind][1](text, case(first, rest[0])) for text in texts)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(DOCUMENTS, min_size=1, max_size=6), st.lists(CONDITIONS, min_size=1, max_size=6))
def test_any_filter_finds_what_the_model_finds(
    db: str, documents: list[dict[str, Any]], conditions: list[Any]
) -> None:
    """Whatever is stored and asked for, in whatever case: the answer is that of a model."""
    User.get_collection().delete_many({})
    User.insert_many([{"_id": i, **copy.deepcopy(d)} for i, d in enumerate(documents)])
    stored = {d["_id"]: d for d in User.get_collection().find()}
    for condition in conditions:
        expected = [i for i in stored if holds(condition, stored[i])]

        assert expected == sorted(User.ids(as_filter(condition))), condition


@given(CONDITIONS)
def test_normalising_twice(condition: Any) -> None:
    """A filter in its case stays as it is, and what was passed is not changed."""
    filter = to_filter(as_filter(condition))
    before = copy.deepcopy(filter)
    once = normalise_filter(User, filter)

    assert once == normalise_filter(User, once)
    assert before == filter


# Where filters go


async def test_every_operation_that_takes_a_filter(call: Runtime, commands: Commands) -> None:
    """Reading, counting, deleting and writing by filter look for text in its case."""
    await call(User).insert_many([{"_id": 1, "email": "ANN", "tags": ["A"]}, {"_id": 2}])
    wanted = {"email": "Ann"}
    users = call(User)
    commands.clear()

    assert 1 == (await users.one(wanted, required=True))._id
    assert [1] == [user._id for user in await users.many(Q.email == "Ann")]
    assert [1] == [user._id async for user in users.each(wanted)]
    assert 1 == await users.count(wanted)
    assert [1] == await users.ids(wanted)
    assert await users.exists(wanted)
    assert 1 == await users.update_where(wanted, {"$set": {"plain": "x"}}, dry_run=True)
    assert 1 == await users.update_where(wanted, {"$set": {"plain": "x"}})
    assert 1 == (await users.take(wanted, {"$set": {"plain": "y"}}))._id
    assert 1 == await users.delete_where(wanted)
    assert {"email": "Ann"} == wanted


async def test_items_that_are_changed(call: Runtime) -> None:
    """Array filters of changes choose items by text in its case."""
    lairs = [{"code": "a", "name": "A"}, {"code": "b", "name": "B"}]
    await call(User).insert_many([{"_id": 1, "lairs": lairs, "tags": ["X", "Y"]}])
    user = await call(User).one()
    await call(user).change({"$set": {"lairs.$[one].name": "C"}}, array_filters=[{"one.code": "a"}])
    await call(User).take({}, {"$set": {"tags.$[t]": "Z"}}, array_filters=[{"t": "X"}])
    await call(User).update_where(
        Q.tags == "Y", {"$set": {"lairs.$[one].code": "d"}}, array_filters=[{"one.code": "b"}]
    )

    assert {
        "_id": 1,
        "lairs": [{"code": "A", "name": "C"}, {"code": "D", "name": "B"}],
        "tags": ["z", "y"],
    } == User.get_collection().find_one()


async def test_everyday_calls(call: Runtime, commands: Commands) -> None:
    """The shortest way of a read is not taken where text has a case; it is for other classes."""
    id = ObjectId()
    await call(User(_id=id, email="ANN")).insert()
    await call(Pet(_id=id, email="ANN")).insert()

    assert id == (await call(User).one({"email": "ANN"}))._id
    assert id == (await call(User).by_id(id))._id
    assert id == (await call(Pet).one({"email": "ANN"}))._id
    assert await call(Pet).one({"email": "ann"}) is None
