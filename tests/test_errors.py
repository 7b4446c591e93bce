"""The errors: one root, the builtins they are, and that they survive copying."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

import loom
from loom import errors

from .zoo import Dragon

TREE = {
    "DefinitionError": TypeError,
    "NotConnected": RuntimeError,
    "MissingId": ValueError,
    "QueryError": ValueError,
    "ProjectionError": errors.QueryError,
    "Conflict": RuntimeError,
    "Gone": LookupError,
    "NotFound": LookupError,
    "Duplicate": DuplicateKeyError,
    "FieldError": TypeError,
    "DeriveError": ValueError,
    "EncodeError": TypeError,
    "CollectionConflict": RuntimeError,
    "IndexConflict": RuntimeError,
    "MissingExtra": ImportError,
    "BulkError": BulkWriteError,
    "ListenerError": RuntimeError,
    "PageError": LookupError,
    "PartitionError": RuntimeError,
    "HistoryLost": LookupError,
    "ReadOnly": PermissionError,
    "SchemaError": TypeError,
    "SchemaVersionError": RuntimeError,
    "Restricted": ValueError,
    "RowsError": BulkWriteError,
    "TimeFrameError": ValueError,
    "TransactionError": RuntimeError,
}


def test_every_error_has_the_root_and_a_builtin() -> None:
    """All are LoomErrors, and what a reader without Loom would catch; the tree is complete."""
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.LoomError)
    }

    assert {"LoomError", *TREE} == found.keys() == set(errors.__all__)
    for name, builtin in TREE.items():
        assert issubclass(found[name], builtin)
        assert found[name] is getattr(loom, name)
    assert loom.LoomError is errors.LoomError


def test_the_tree_is_drawn_at_the_top() -> None:
    """The module's docstring names every error with its builtin."""
    drawn = dict(re.findall(r"^ {6,}(\w+)(?:\((\w+)\))?", errors.__doc__ or "", re.MULTILINE))

    assert TREE.keys() == drawn.keys()
    for name, builtin in drawn.items():
        assert not builtin or builtin == TREE[name].__name__


@pytest.mark.parametrize(
    "name", [n for n in TREE if n not in ("BulkError", "Duplicate", "RowsError")]
)
def test_simple_errors_survive_copies(name: str) -> None:
    """Errors cross process borders with their message."""
    error = getattr(errors, name)("Dragon.name: expected this, got that")

    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(error), str(error)) == (type(copied), str(copied))


def duplicate(**details: Any) -> errors.Duplicate:
    """Return the error of a server's reply."""
    return errors.Duplicate("Dragon", details.get("errmsg", ""), 11000, details)


def test_duplicate_reads_the_reply() -> None:
    """Index, fields and values are read from what servers send, old and new."""
    text = "E11000 duplicate key error collection: zoo.Dragon index: name_1 dup key: { name: 1 }"
    new = duplicate(errmsg=text, keyPattern={"name": 1, "age": -1}, keyValue={"name": "Burt"})
    old = duplicate(errmsg=text.replace("index: name_1", "index: zoo.Dragon.$name_1"))
    bare = errors.Duplicate("Dragon")

    assert ("name_1", ("name", "age"), {"name": "Burt", "age": None}) == (
        new.index,
        new.fields,
        new.values,
    )
    assert str(new) == (
        "Dragon: name='Burt', age=None is taken already in index name_1; "
        "change it or update that document"
    )
    assert ("name_1", ("name",), {"name": 1}) == (old.index, old.fields, old.values)
    assert "Dragon: name=1 is taken already in index name_1;" in str(old)
    assert "Dragon: the key is taken already;" in str(bare)
    assert (None, (), {}) == (bare.index, bare.fields, bare.values)
    assert isinstance(new, PyMongoError)
    assert 11000 == new.code
    assert {"name": "Burt"} == (new.details or {})["keyValue"]


def test_index_names_with_spaces() -> None:
    """An index may have any name."""
    text = "E11000 duplicate key error collection: zoo.Dragon index: by name dup key: { name: 1 }"

    assert "by name" == duplicate(errmsg=text).index
    collated = text.replace("by name", "by name collation: { locale: 'en' }")
    assert "by name" == duplicate(errmsg=collated).index


def test_duplicate_survives_copies() -> None:
    """A Duplicate keeps index, values and code."""
    error = duplicate(
        errmsg="E11000 duplicate key error index: name_1 dup key: {}", keyValue={"name": "Burt"}
    )

    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(error) == str(copied)
        assert (error.index, error.values, error.code, error.details) == (
            copied.index,
            copied.values,
            copied.code,
            copied.details,
        )


def test_a_duplicate_shows_what_was_written_where_a_collation_hides_it() -> None:
    """An index that ignores case holds no text; the error says that it compares so."""
    text = (
        'E11000 duplicate key error collection: zoo.User index: email_1 collation: { locale: "en", '
        'strength: 2 } dup key: { email: "CollationKey(0x2b)" }'
    )
    error = errors.Duplicate("User", text, 11000, {}, {"email": "ANN@X.ORG"})

    assert {"email": "ANN@X.ORG"} == error.values
    assert str(error) == (
        "User: email='ANN@X.ORG' is taken already in index email_1 (collation en, strength 2); "
        "change it or update that document"
    )
    assert {"email": "ANN@X.ORG"} == pickle.loads(pickle.dumps(error)).values


def test_a_bulk_error_lists_its_duplicates() -> None:
    """What unique indexes refused in a batch is there with index, fields and values."""
    text = (
        "E11000 duplicate key error collection: zoo.Dragon index: a_1_b.c_1 dup key: { : 1, : 2 }"
    )
    hidden = 'index: d_1 collation: { locale: "en" } dup key: { d: "CollationKey(0x2b)" }'
    error = errors.BulkError(
        "Dragon.insert_many",
        [],
        [],
        {
            "writeErrors": [
                {"index": 0, "code": 11000, "errmsg": text, "op": {"a": 1, "b": {"c": 2}}},
                {"index": 1, "code": 121, "errmsg": "Document failed validation"},
                {
                    "index": 2,
                    "code": 11000,
                    "errmsg": hidden,
                    "op": {"q": {}, "u": {"$set": {"d": "D"}}},
                },
                {
                    "index": 3,
                    "code": 11000,
                    "errmsg": hidden,
                    "op": {"q": {}, "u": [{"$set": {"d": "D"}}]},
                },
            ]
        },
    )

    assert [
        ("a_1_b.c_1", {"a": 1, "b.c": 2}),
        ("d_1", {"d": "D"}),
        ("d_1", {"d": "CollationKey(0x2b)"}),
    ] == [(found.index, found.values) for found in error.duplicates]
    assert 0 == (error.duplicates[0].details or {})["index"]
    assert str(error.duplicates[0]).startswith("Dragon.insert_many: a=1, b.c=2 is taken already")
    assert [] == errors.BulkError("Dragon", [], []).duplicates


def test_bulk_error_survives_copies() -> None:
    """A BulkError keeps which frames were written, and why the others were not."""
    a, b = Dragon(_id=1, name="a"), Dragon(_id=2, name="b")
    error = errors.BulkError("Dragon.insert_many", [a], [(b, "why")], {"nInserted": 1})

    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert "Dragon.insert_many: 1 of 2 frames were written, 1 were not; first: why" in str(
            copied
        )
        assert ([a], [(b, "why")]) == (copied.frames_written, copied.frames_failed)
        assert {"nInserted": 1} == copied.details


def test_missing_extra_names_the_command() -> None:
    """The error for a missing package is the command to paste."""
    error = errors.missing_extra("embedded", "SecantusDB")

    assert str(error).endswith("run: pip install 'loom-frames[embedded]'")
    assert "SecantusDB" == error.name


def test_nearest_suggests_or_stays_silent() -> None:
    """A similar name is suggested, a strange one is not."""
    assert "; did you mean 'name'?" == errors.nearest("nmae", ["name", "age"])
    assert "" == errors.nearest("xyz", ["name", "age"])


def test_rows_error_keeps_its_rows() -> None:
    """A RowsError names the first row that failed, keeps its result, and survives copies."""
    error = errors.RowsError("Dragon.insert_table", "3 rows: 1 inserted", [(2, "why")], {"a": 1})
    copied = pickle.loads(pickle.dumps(error))

    assert "Dragon.insert_table: 3 rows: 1 inserted; row 2: why; see result.errors" == str(error)
    assert (str(error), error.result, [(2, "why")]) == (
        str(copied),
        copied.result,
        copied.frames_failed,
    )
