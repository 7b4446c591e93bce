"""What became of the rows of a table that was written."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from bson import ObjectId, json_util

from ..types import OBJECT_ID

__all__ = ["Failures", "Ids", "RowsWritten"]

State = Literal["failed", "unknown"]

#: Codes of a duplicate key: of today, of an update before 2.6, and of a capped collection.
_DUPLICATE_KEY = (11000, 11001, 12582)


class RowsWritten(NamedTuple):
    """What became of the rows of a table.

    Attributes:
        rows: how many were read.
        inserted: how many were stored as new documents.
        matched: how many found the document that they were to change, or replace.
        modified: how many of these changed it.
        upserted: how many found none, and were stored as new documents.
        duplicates: how many a unique index refused.
        failed: how many were not written, the duplicates among them.
        unknown: of how many that is not known, because the connection was lost.
        not_sent: how many were left when writing ended early.
        errors: a row for each that failed or is unknown: `row`, its number from 0 on; `state`;
            `code` and `message` of the server; `_id`, as it is, or as JSON where types are mixed.
        ids: the ids that were made, a row for each row, null where it had its own or was not
            stored; None when none was made. It takes 12 bytes for each row.
        is_acknowledged: False when the write concern asks for no answer: then nothing is counted.
    """

    rows: int
    inserted: int
    matched: int
    modified: int
    upserted: int
    duplicates: int
    failed: int
    unknown: int
    not_sent: int
    errors: Any
    ids: Any
    is_acknowledged: bool = True

    @property
    def is_whole(self) -> bool:
        """True when all rows were written."""
        return not (self.failed or self.unknown or self.not_sent)

    def __str__(self) -> str:
        if not self.is_acknowledged:
            return f"{self._rows} sent, without an answer"
        counts = {
            "inserted": self.inserted,
            "matched": self.matched,
            "modified": self.modified,
            "upserted": self.upserted,
            "not written": self.failed,
            "unknown": self.unknown,
            "not sent": self.not_sent,
        }
        if self.duplicates:
            told = f"{self.duplicates} duplicate{'s' * (self.duplicates > 1)}"
            counts = {
                f"{what} ({told})" if what == "not written" else what: number
                for what, number in counts.items()
            }
        parts = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        return f"{self._rows}: {parts or 'nothing to write'}"

    @property
    def _rows(self) -> str:
        return "1 row" if self.rows == 1 else f"{self.rows} rows"

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        counts = [
            (name, getattr(self, name))
            for name in self._fields
            if name not in ("errors", "ids", "is_acknowledged") and getattr(self, name)
        ]
        rows = "".join(f"<tr><th>{name}</th><td>{number}</td></tr>" for name, number in counts)
        found = f"<table>{rows}</table>"
        if not self.errors.num_rows:
            return found
        names = self.errors.column_names
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) + "</tr>"
            for row in self.errors.slice(0, _SHOWN).to_pylist()
        )
        more = self.errors.num_rows - _SHOWN
        rest = f"<p>and {more} more</p>" if more > 0 else ""
        return f"{found}<table><tr>{head}</tr>{body}</table>{rest}"


#: How many errors a notebook shows.
_SHOWN = 10


class Failures:
    """The rows that were not written, or may not have been."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.states: list[State] = []
        self.codes: list[int | None] = []
        self.messages: list[str] = []
        self.ids: list[Any] = []
        self.duplicates = 0
        #: what the server said, by row, as PyMongo's errors hold it
        self.write_errors: list[dict[str, Any]] = []
        self.concerns: list[Any] = []

    def add(self, row: int, state: State, said: Mapping[str, Any], message: str, id: Any) -> None:
        """Note a row."""
        code = said.get("code")
        self.rows.append(row)
        self.states.append(state)
        self.codes.append(code)
        self.messages.append(message)
        self.ids.append(id)
        if code in _DUPLICATE_KEY:
            self.duplicates += 1
        if said:
            kept = {name: value for name, value in said.items() if name != "op"}
            self.write_errors.append({**kept, "index": row})

    def of(self, state: State) -> list[tuple[int, str]]:
        """Return the rows of a state, each with its reason."""
        return [
            (row, message)
            for row, one, message in zip(self.rows, self.states, self.messages, strict=True)
            if one == state
        ]

    def table(self) -> Any:
        """Return a table of them."""
        return pa.table(
            {
                "row": pa.array(self.rows, pa.int64()),
                "state": pa.array(self.states, pa.string()),
                "code": pa.array(self.codes, pa.int32()),
                "message": pa.array(self.messages, pa.string()),
                "_id": _array(self.ids),
            }
        )


class Ids:
    """The `_id`s that were made, with 12 bytes for each row."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._is_made = False

    def add(self, ids: Sequence[Any]) -> None:
        """Note those of the next rows, None for a row that had its own."""
        self._is_made = self._is_made or any(id is not None for id in ids)
        self._chunks.append(_array(ids))

    def column(self) -> Any:
        """Return them as a column, None when there are none."""
        if not self._is_made:
            return None
        types = [chunk.type for chunk in self._chunks if chunk.null_count < len(chunk)]
        if all(type == types[0] for type in types):
            chunks = [
                chunk if chunk.type == types[0] else _nulls(len(chunk), types[0])
                for chunk in self._chunks
            ]
            return pa.chunked_array(chunks, types[0])
        return pa.chunked_array(
            [_texts([_python(one) for one in chunk]) for chunk in self._chunks], pa.string()
        )


def _nulls(rows: int, type: Any) -> Any:
    storage = type.storage_type if isinstance(type, pa.BaseExtensionType) else type
    found = pa.nulls(rows, storage)
    return pa.ExtensionArray.from_storage(type, found) if storage != type else found


def _python(value: Any) -> Any:
    return value.as_py()


def _array(ids: Sequence[Any]) -> Any:
    kinds = {*map(type, ids)} - {type(None)}
    if kinds == {ObjectId}:
        raw = [None if id is None else id.binary for id in ids]
        return pa.ExtensionArray.from_storage(OBJECT_ID, pa.array(raw, pa.binary(12)))
    if not kinds:
        return _nulls(len(ids), OBJECT_ID)
    if kinds in ({int}, {str}):
        try:
            return pa.array(ids)
        except (pa.ArrowInvalid, OverflowError):  # of more than 64 bits
            return _texts(ids)
    return _texts(ids)


def _texts(ids: Sequence[Any]) -> Any:
    return pa.array([None if id is None else _text(id) for id in ids], pa.string())


def _text(id: Any) -> str:
    if isinstance(id, str):
        return id
    try:
        return json_util.dumps(id)
    except TypeError:
        return repr(id)
