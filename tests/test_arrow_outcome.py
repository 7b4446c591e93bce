"""What became of rows: counted, shown, and held in columns."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from bson import ObjectId

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames.arrow.types import OBJECT_ID
from loom.frames.arrow.writers.outcome import Failures, Ids, RowsWritten

ID = ObjectId("65f000000000000000000001")


def result(failures: Failures | None = None, **counts: Any) -> RowsWritten:
    """Return a result with some counts."""
    names = [name for name in RowsWritten._fields if name not in ("errors", "ids")]
    given = dict.fromkeys(names, 0) | {"is_acknowledged": True} | counts
    return RowsWritten(errors=(failures or Failures()).table(), ids=None, **given)


def failed(*ids: Any) -> Failures:
    """Return rows that a unique index refused."""
    failures = Failures()
    for row, id in enumerate(ids):
        failures.add(row, "failed", {"code": 11000, "op": {"_id": id}}, "<taken>", id)
    return failures


def test_results_are_told() -> None:
    """A result says what there is to say, and nothing of what is not."""
    assert "0 rows: nothing to write" == str(result())
    assert "3 rows: 1 inserted, 1 unknown, 1 not sent" == str(
        result(rows=3, inserted=1, unknown=1, not_sent=1)
    )
    assert "2 rows: 2 not written (1 duplicate)" == str(result(rows=2, failed=2, duplicates=1))
    assert "<4 rows: 3 matched, 2 modified, 1 upserted>" == repr(
        result(rows=4, matched=3, modified=2, upserted=1)
    )


def test_results_are_frozen_and_survive_copies() -> None:
    """A result cannot be changed, and crosses the borders of processes."""
    found = result(failed(1), rows=1, failed=1)
    with pytest.raises(AttributeError):
        found.rows = 2  # type: ignore[misc]  # that is what is tested

    assert found == pickle.loads(pickle.dumps(found))
    assert not found.is_whole
    assert result(rows=1, inserted=1).is_whole


def test_results_in_notebooks() -> None:
    """A notebook shows counts and the first errors, with nothing taken for HTML."""
    shown = result(failed(*range(12)), rows=12, failed=12, duplicates=12)._repr_html_()

    assert "<th>failed</th><td>12</td>" in shown
    assert 10 == shown.count("&lt;taken&gt;")
    assert "and 2 more" in shown
    assert "inserted" not in shown
    assert "message" not in result(rows=1, inserted=1)._repr_html_()


@pytest.mark.parametrize(
    ("ids", "type", "expected"),
    [
        ([ID, None], OBJECT_ID, [ID, None]),
        ([1, None], pa.int64(), [1, None]),
        (["a"], pa.string(), ["a"]),
        ([1, "a", ID], pa.string(), ["1", "a", f'{{"$oid": "{ID}"}}']),
        ([2**80], pa.string(), [str(2**80)]),
        ([object], pa.string(), ["<class 'object'>"]),
        ([None], OBJECT_ID, [None]),
    ],
)
def test_ids_of_errors(ids: list[Any], type: Any, expected: list[Any]) -> None:
    """The ids of rows that failed are held as they are, or as text where types are mixed."""
    failures = failed(*ids)
    column = failures.table()["_id"]

    assert type == column.type
    assert expected == column.to_pylist()
    assert len(ids) == failures.duplicates
    assert all("op" not in error for error in failures.write_errors)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([[None, None], [None]], None),
        ([[None], [ID, None]], [None, ID, None]),
        ([["a"], [None], ["b"]], ["a", None, "b"]),
        ([["a"], [ID]], ["a", f'{{"$oid": "{ID}"}}']),
        ([], None),
    ],
)
def test_ids_that_were_made(parts: list[list[Any]], expected: Any) -> None:
    """The ids of all parts are one column, None when none was made."""
    ids = Ids()
    for part in parts:
        ids.add(part)
    column = ids.column()

    assert expected == (None if column is None else column.to_pylist())
