"""Batches of documents as record batches: the fast look, and the exact one where it is needed."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pyarrow as pa

from ...errors import SchemaError
from .columns import Schema
from .exact import Document, OnMismatch, Policy, decoded, exact_column
from .fast import Doubt, Fast
from .ids import Ids, given_array, given_type

__all__ = ["MISMATCHES", "Decoder"]

#: The column that holds, with `on_mismatch="string"`, what does not fit; also the key under which
#: the metadata of a table say how many there were.
MISMATCHES = "_mismatches"
_TEXTS = pa.map_(pa.string(), pa.string())


class Decoder:
    """Makes record batches of the bytes of documents; knows no database.

    Args:
        columns: what they hold.
        on_mismatch: what is done with a value that does not fit its column.
        ids: how ObjectIds are given.

    Raises:
        SchemaError: a column has the name that is taken for what does not fit.
    """

    def __init__(
        self, columns: Schema, on_mismatch: OnMismatch = "raise", ids: Ids = "extension"
    ) -> None:
        self._columns = columns
        self._ids: Ids = ids
        self.on_mismatch = on_mismatch
        self._fast = Fast(columns)
        self._fast_columns = {column.name for column in self._fast.columns}
        self._is_changed = {
            column.name for column in columns if given_type(column.type, ids) != column.type
        }
        fields = [(column.name, given_type(column.type, ids)) for column in columns]
        if on_mismatch == "string":
            if columns.find(MISMATCHES) is not None:
                raise SchemaError(
                    f"{columns.place}.{MISMATCHES}: expected another name beside "
                    "on_mismatch='string', got that of the column for what does not fit"
                )
            fields.append((MISMATCHES, _TEXTS))
        #: the schema of every batch
        self.schema = pa.schema(fields)
        self._policy = Policy(columns.place, on_mismatch, Counter())

    @property
    def mismatches(self) -> dict[str, int]:
        """By column, in how many rows a value did not fit, so far; columns without are absent."""
        return dict(self._policy.counts)

    def batch(self, raw: bytes) -> Any:
        """Return the record batch of some documents, as they come from the server.

        Raises:
            SchemaError: a value does not fit, and the decoder is to raise.
        """
        table = None
        if self._fast_columns:
            with suppress(Doubt):  # in which column, the exact look finds
                table = self._fast.decode(raw)
        documents: list[Document] | None = None
        texts: dict[int, Document] = {}
        arrays = []
        for column in self._columns:
            array = None
            if table is not None and column.name in self._fast_columns:
                with suppress(Doubt):
                    array = self._fast.column(column, table, raw)
            if array is None:
                if documents is None:
                    documents = decoded(raw)
                array = exact_column(column, documents, self._policy, texts)
            arrays.append(
                given_array(array, self._ids) if column.name in self._is_changed else array
            )
        if self.on_mismatch == "string":
            rows = len(arrays[0])
            arrays.append(
                pa.array([[*texts[r].items()] if r in texts else None for r in range(rows)], _TEXTS)
                if texts
                else pa.nulls(rows, _TEXTS)
            )
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
