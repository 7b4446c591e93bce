"""How much stands in the places of references: arrays hold 2 GiB of text, or of bytes, and no more.

A document that many rows of a batch refer to is there once for each of them: with 200 kB of text in
it, 16,384 rows have more than 3 GB. Arrow's `take` does not look, and makes arrays whose memory
cannot be read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ....errors import SchemaError

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["MOST", "check_size", "too_large"]

#: So many bytes of text, and so many items of lists, an array can hold.
MOST = 2**31 - 1


def check_size(place: str, rows: Any, numbers: Any) -> None:
    """Check that arrays can hold what is taken.

    Args:
        place: the class, for errors.
        rows: of structs.
        numbers: which of them are taken, null where none is.

    Raises:
        SchemaError: it is too much; it names the field.
    """
    if rows.nbytes * len(numbers) > MOST:
        taken = np.asarray(numbers.drop_null())
        _check(place, rows, np.bincount(taken, minlength=len(rows)), len(numbers))


def _check(place: str, array: Any, times: Any, count: int) -> None:
    """Check an array of which each value is taken so many times."""
    types, type = pa.types, array.type
    if isinstance(type, pa.BaseExtensionType):
        _check(place, array.storage, times, count)
    elif types.is_struct(type):
        for number, field in enumerate(type):
            _check(f"{place}.{field.name}", array.field(number), times, count)
    elif types.is_list(type) or types.is_map(type):
        offsets = np.asarray(array.offsets)
        inside = np.repeat(times, np.diff(offsets))
        if inside.sum() > MOST:
            raise too_large(place, f"for {count} references")
        values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
        _check(place, values, inside, count)
    elif types.is_string(type) or types.is_binary(type):
        lengths = np.asarray(pc.fill_null(pc.binary_length(array), 0), np.int64)
        if (lengths * times).sum() > MOST:
            raise too_large(place, f"for {count} references")


def too_large(place: str, what: str) -> SchemaError:
    """Return the error for more than arrays can hold.

    Args:
        place: the class, or a field of it.
        what: of which there is too much.
    """
    return SchemaError(
        f"{place}: expected at most {MOST} bytes of a field in a batch, or items of its lists, got "
        f"more {what}; pass a smaller batch_rows, or leave the field out of the projection"
    )
