"""Batches of documents as record batches: the fast look, and the exact one where it is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from ...errors import SchemaError
from .columns import Column, Schema
from .exact import Document, OnMismatch, Policy, decoded, exact_column
from .fast import Doubt, Fast
from .ids import Ids, given_array, given_type
from .presence import Presence
from .survey import Place

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
        loose: what some columns hold where it does not fit: ids of other types. These columns
            are given as they are stored.
        presence: whether each column has another one that says whether the field was there.

    Raises:
        SchemaError: a column has the name that is taken for what does not fit, or for what was
            there.
    """

    def __init__(
        self,
        columns: Schema,
        on_mismatch: OnMismatch = "raise",
        ids: Ids = "extension",
        loose: Mapping[str, Column] = MappingProxyType({}),
        *,
        presence: bool = False,
    ) -> None:
        self._columns = columns
        self._ids: Ids = ids
        self.on_mismatch = on_mismatch
        self._fast = Fast(columns)
        self._fast_columns = {column.name for column in self._fast.columns}
        self._is_changed = {
            column.name
            for column in columns
            if column.name not in loose and given_type(column.type, ids) != column.type
        }
        self._loose = loose
        fields = [(c.name, c.type if c.name in loose else given_type(c.type, ids)) for c in columns]
        self._presence = Presence(columns) if presence else None
        if self._presence is not None:
            fields += self._presence.fields
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
        fast = None
        if self._fast_columns:
            with suppress(Doubt):  # in which column, the exact look finds
                fast = self._fast.decode(raw)
        documents = _Documents(raw)
        texts: dict[int, Document] = {}
        settled: dict[str, Place] = {}
        arrays = []
        for column in self._columns:
            array = None
            if fast is not None and column.name in self._fast_columns:
                with suppress(Doubt):
                    array = self._fast.column(column, fast, raw)
                    settled[column.name] = fast.top.at(column.path.split("."))
            if array is None:
                asked = self._loose.get(column.name, column)
                array = exact_column(asked, documents(), self._policy, texts)
            arrays.append(array)
        present = (
            [] if self._presence is None else self._presence.arrays(arrays, settled, documents)
        )
        for position, column in enumerate(self._columns):
            if column.name in self._is_changed:
                arrays[position] = given_array(arrays[position], self._ids)
        arrays += present
        if self.on_mismatch == "string":
            rows = len(arrays[0])
            arrays.append(
                pa.array([[*texts[r].items()] if r in texts else None for r in range(rows)], _TEXTS)
                if texts
                else pa.nulls(rows, _TEXTS)
            )
        if self._loose:  # whose types are those of this batch
            return pa.RecordBatch.from_arrays(arrays, names=self.schema.names)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Documents:
    """The documents of a batch, decoded when they are first asked for."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._found: list[Document] | None = None

    def __call__(self) -> list[Document]:
        if self._found is None:
            self._found = decoded(self._raw)
        return self._found
