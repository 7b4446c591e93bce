"""ObjectIds as they are asked for: as an extension type, as bytes, or as text."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .types import contains, is_object_id, rebuilt, replaced

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["Ids", "given_array", "given_type"]

Ids = Literal["extension", "binary", "hex"]


def given_type(type: Any, ids: Ids) -> Any:
    """Return a type as it is given, with ObjectIds as they were asked for."""
    if ids == "extension" or not contains(type, is_object_id):
        return type
    instead = pa.string() if ids == "hex" else pa.binary(12)
    return replaced(type, lambda t: instead if is_object_id(t) else t)


def given_array(array: Any, ids: Ids) -> Any:
    """Return values as they are given, with ObjectIds as they were asked for."""
    return rebuilt(
        array,
        given_type(array.type, ids),
        lambda found, _: _hex(found.storage) if ids == "hex" else found.storage,
    )


def _hex(array: Any) -> Any:
    """Return ids as text of 24 digits."""
    rows = len(array)
    raw = np.frombuffer(array.buffers()[1] or b"", np.uint8, rows * 12, array.offset * 12)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.empty((rows * 12, 2), np.uint8)
    text[:, 0] = digits[raw >> 4]
    text[:, 1] = digits[raw & 15]
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(24), rows, [None, pa.py_buffer(text.tobytes())]
    )
    found = fixed.cast(pa.binary()).cast(pa.string())
    if array.null_count:
        return pc.if_else(array.is_valid(), found, pa.scalar(None, pa.string()))
    return found
