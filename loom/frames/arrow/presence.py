"""Absent or null: for each column, whether the field was there.

A null says that there is no value. Whether the document had the field, with null in it, or lacked
it, is told by a second column of bools, `age__present` for `age`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from bson.dbref import DBRef

from ...errors import SchemaError
from .columns import Schema
from .exact import Document
from .survey import NULLS, Place

__all__ = ["PRESENT", "Presence", "is_present"]

#: What the name of such a column ends with.
PRESENT = "__present"


class Presence:
    """The columns that say whether a field was there.

    Args:
        columns: of the values.

    Raises:
        SchemaError: one of them has the name that another's companion would have.
    """

    def __init__(self, columns: Schema) -> None:
        names = {column.name for column in columns}
        for column in columns:
            if column.name + PRESENT in names:
                raise SchemaError(
                    f"{columns.place}.{column.name}{PRESENT}: expected another name beside "
                    f"presence=True, got that of the column that tells whether {column.name!r} was "
                    "there; name it otherwise in a projection"
                )
        self._columns = columns
        self.fields = [(column.name + PRESENT, pa.bool_()) for column in columns]

    def arrays(
        self,
        arrays: list[Any],
        settled: Mapping[str, Place],
        documents: Callable[[], list[Document]],
    ) -> list[Any]:
        """Return these columns of a batch.

        Args:
            arrays: the values, in the order of the columns.
            settled: by column, what stands at its place, where the fast look has the values.
            documents: decodes the documents, where only they can tell.
        """
        found = []
        for column, array in zip(self._columns, arrays, strict=True):
            place = settled.get(column.name)
            if place is not None and not any(place.counts[null] for null in NULLS):
                found.append(array.is_valid())
            else:
                path = column.path.split(".")
                found.append(pa.array([is_present(d, path) for d in documents()], pa.bool_()))
        return found


def is_present(value: Any, path: list[str]) -> bool:
    """Tell whether a path leads to a field: through a list, in one document of it at least.

    >>> is_present({"lair": {"gold": None}}, ["lair", "gold"])
    True
    >>> is_present({"lair": None}, ["lair", "gold"])
    False
    """
    for position, name in enumerate(path):
        if isinstance(value, list):
            return any(is_present(item, path[position:]) for item in value)
        value = value.as_doc() if isinstance(value, DBRef) else value
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True
