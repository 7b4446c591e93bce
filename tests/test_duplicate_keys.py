"""What servers say of a duplicate key, in all the ways in which they say it."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from loom.duplicate_keys import Key, duplicate_key

ID = "65f0aa11bb22cc33dd44ee55"


def key(message: str, **details: Any) -> Key:
    """Return what is read of a message."""
    return duplicate_key(details, message)


@pytest.mark.parametrize(
    ("message", "index", "values"),
    [
        (
            'E11000 duplicate key error collection: zoo.Dragon index: name_1 dup key: { name: "Burt" }',
            "name_1",
            {"name": "Burt"},
        ),
        (
            'E11000 duplicate key error collection: zoo.Dragon index: name_1 dup key: { : "Burt" }',
            "name_1",
            {"name": "Burt"},
        ),
        (
            'E11000 duplicate key error index: zoo.Dragon.$name_1  dup key: { : "Burt" }',
            "name_1",
            {"name": "Burt"},
        ),
        (
            (
                "insertDocument :: caused by :: 11000 E11000 duplicate key error index: "
                'zoo.Dragon.$lair.name_1_age_-1 dup key: { : "Cave", : 5.0 }'
            ),
            "lair.name_1_age_-1",
            {"lair.name": "Cave", "age": 5.0},
        ),
        (
            (
                "Plan executor error during findAndModify :: caused by :: E11000 duplicate key error "
                'collection: zoo.Dragon index: by name dup key: { lair.name: "a, b: c", age: null }'
            ),
            "by name",
            {"lair.name": "a, b: c", "age": None},
        ),
        (
            (
                "Index build failed: 300b6f16-9aad-4b8f-8990-8b1865459a0c: Collection zoo.Dragon ( "
                "adc3df19-d608-4779-b262-3af176beaca3 ) :: caused by :: E11000 duplicate key error "
                "collection: zoo.Dragon index: a.b_1 dup key: { a.b: 1 }"
            ),
            "a.b_1",
            {"a.b": 1},
        ),
        (
            f"E11000 duplicate key error collection: zoo.Dragon index: _id_ dup key: {{ : ObjectId('{ID}') }}",
            "_id_",
            {"_id": ObjectId(ID)},
        ),
        (
            (
                "E11000 duplicate key error collection: zoo.Dragon index: k dup key: { d: new "
                'Date(1577836800000), u: UUID("00000000-0000-0000-0000-000000000007"), o: { a: 1, b: '
                '[ 1, "x" ] }, t: true, m: MinKey }'
            ),
            "k",
            {
                "d": datetime(2020, 1, 1, tzinfo=timezone.utc),
                "u": UUID(int=7),
                "o": {"a": 1, "b": [1, "x"]},
                "t": True,
                "m": "MinKey",
            },
        ),
        (
            (
                "E11000 duplicate key error collection: zoo.Dragon index: name_1 dup key: { name: "
                "\"say \"hi\"\" }, full error: {'index': 0, 'code': 11000}"
            ),
            "name_1",
            {"name": 'say "hi"'},
        ),
    ],
)
def test_messages_of_servers(message: str, index: str, values: dict[str, Any]) -> None:
    """A message alone gives index, fields and values, from 2.4 to today."""
    found = key(message)

    assert (index, tuple(values), values) == (found.name, found.fields, found.values)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", (None, (), {})),
        (
            "E11000 duplicate key error collection: db.coll. Failed _id or unique index",
            (None, (), {}),
        ),
        ("E11000 duplicate key error collection: Dragon index: _id_", ("_id_", ("_id",), {})),
        (
            "E11000 duplicate key error collection: Dragon index: name_1, full error: {}",
            ("name_1", ("name",), {}),
        ),
        # Which of its fields has this value, only the name of the index could tell.
        ('E11000 duplicate key error index: a.b.$mine dup key: { : "x" }', ("mine", (), {})),
        (
            'E11000 duplicate key error index: a.b.$a_1_b_1 dup key: { : "x" }',
            ("a_1_b_1", ("a", "b"), {}),
        ),
    ],
)
def test_what_is_not_said_is_left_out(message: str, expected: tuple[Any, ...]) -> None:
    """Servers that say less give less, and nothing is made up."""
    found = key(message)

    assert expected == (found.name, found.fields, found.values)


def test_details_come_before_the_message() -> None:
    """`keyPattern` gives the fields in their order, `keyValue` the values."""
    message = 'E11000 duplicate key error collection: a.b index: k dup key: { x: "text", y: 1 }'
    found = key("", errmsg=message, keyPattern={"x": 1, "y": -1}, keyValue={"y": 1, "x": "text"})

    assert ("k", ("x", "y"), {"x": "text", "y": 1}) == found[:3]
    assert ["x", "y"] == [*found.values]


def test_a_collation_hides_values_that_the_written_document_shows() -> None:
    """An index with a collation holds no text: the value is taken from what was written."""
    message = (
        "E11000 duplicate key error collection: zoo.User index: email_1_lair.name_1 collation: "
        '{ locale: "en", caseLevel: false, caseFirst: "off", strength: 2, version: "57.1" } '
        'dup key: { email: "CollationKey(0x2b2f)", lair.name: "CollationKey(0x2c)" }'
    )
    hidden = {"email": "CollationKey(0x2b2f)", "lair.name": "CollationKey(0x2c)"}
    details = {"errmsg": message, "keyPattern": dict.fromkeys(hidden, 1), "keyValue": hidden}
    document = {"email": "ANN@X.ORG", "lair": {"name": "Cave"}}

    assert {"email": "ANN@X.ORG", "lair.name": "Cave"} == duplicate_key(
        details, "", document
    ).values
    assert {"email": "ANN@X.ORG", "lair.name": "Cave"} == duplicate_key(
        {}, message, document
    ).values
    assert {**hidden, "email": "B"} == duplicate_key(details, "", {"email": "B"}).values
    assert {**hidden, "lair.name": "C"} == duplicate_key(details, "", {"lair.name": "C"}).values
    assert hidden == duplicate_key(details, "", {"lair": ["Cave"]}).values
    assert "collation en, strength 2" == duplicate_key(details, "").collation
    given = {**details, "collation": {"locale": "sv", "strength": 1}}
    assert "collation sv, strength 1" == duplicate_key(given, "").collation
    assert "" == key("index: a_1 dup key: { a: 1 }").collation


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_nothing_raises(message: str, inner: str, details: dict[str, Any]) -> None:
    """Whatever a server says, reading it gives a key, not an error."""
    for said in (
        message,
        f"index: k_1 dup key: {{ {inner}",
        f"index: k_1 dup key: {{ : {inner} }}",
    ):
        assert isinstance(duplicate_key(details, said), Key)
    assert isinstance(duplicate_key({"errmsg": details, "keyValue": message}, inner), Key)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True),
        st.one_of(
            st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"])),
            st.integers(),
            st.booleans(),
            st.none(),
        ),
        min_size=1,
    )
)
def test_values_come_back(values: dict[str, Any]) -> None:
    """Values of the usual kinds are read as they were written."""
    words = {None: "null", True: "true", False: "false"}

    def shown(value: Any) -> str:
        if isinstance(value, str):
            return f'"{value}"'
        return words[value] if value is None or isinstance(value, bool) else str(value)

    text = ", ".join(f"{path}: {shown(value)}" for path, value in values.items())
    found = key(f"E11000 duplicate key error collection: a.b index: mine dup key: {{ {text} }}")

    assert ("mine", values) == (found.name, found.values)
    assert re.sub(r"\s", "", text) in re.sub(r"\s", "", found.text)
