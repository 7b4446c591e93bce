"""Columns to write, in parts: how large they are, whatever memory their rows share."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa

from loom.frames.arrow.writers.pieces import Part

TEXTS = pa.array(["x" * 1_000] * 100)
ONE = pa.array([0] * 100)


@pytest.mark.parametrize(
    "array",
    [
        TEXTS,
        TEXTS.cast(pa.large_string()),
        TEXTS.cast(pa.string_view()),
        TEXTS.cast(pa.binary()).cast(pa.binary_view()),
        pa.DictionaryArray.from_arrays(ONE, TEXTS),
        pa.DictionaryArray.from_arrays(ONE, TEXTS[:1]),
        pa.RunEndEncodedArray.from_arrays(pa.array([100]), TEXTS[:1]),
        pa.DictionaryArray.from_arrays(pa.array([None] * 100, pa.int8()), TEXTS[:0]),
        pa.StructArray.from_arrays([TEXTS], ["a"]),
    ],
    ids=lambda array: str(array.type),
)
def test_rows_have_the_size_of_their_values(array: Any) -> None:
    """A part of the rows takes its share, and not the memory of all of them."""
    whole = Part([array], len(array)).size()
    tenth = Part([array], len(array)).slice(50, 10)

    assert whole == 0 if array.null_count else 100_000 <= whole < 103_000
    assert whole // 10 <= tenth.size() < whole // 10 + 200


def test_objects() -> None:
    """The size of Python's objects is a guess."""
    assert 128 == Part([[object(), None]], 2).size()
