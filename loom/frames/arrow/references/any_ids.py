"""Ids as Python's objects: each distinct one of a column once, as the driver takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from bson import Binary, ObjectId

from ...ids import id_keys
from ..exact import decoded
from ..types import AnyId, is_object_id

__all__ = ["Distinct", "distinct", "is_known", "keys_of"]


class Distinct(NamedTuple):
    """The ids of some places.

    Attributes:
        codes: for every place, which of the ids; null where there is none.
        keys: of the ids, each once, as `id_keys` makes them.
        ids: as the driver takes them; None for ObjectIds, whose keys are their bytes.
    """

    codes: Any
    keys: list[Any]
    ids: list[Any] | None

    def id_at(self, number: int) -> Any:
        """Return an id as the driver takes it."""
        return ObjectId(self.keys[number]) if self.ids is None else self.ids[number]

    def lacking(self, *known: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the keys that are in none of these, each with its id, in their order."""
        rest = {*self.keys}.difference(*known)
        for number, key in enumerate(self.keys if rest else ()):
            if key in rest:
                yield key, self.id_at(number)


def is_known(type: Any) -> bool:
    """Tell the types whose values are ids as they are, and need no look one by one."""
    return bool(
        is_object_id(type) or type == pa.string() or type == pa.uuid() or pa.types.is_integer(type)
    )


def distinct(array: Any) -> Distinct:
    """Return the ids of an array, of a known type or of any.

    >>> distinct(pa.array(["AA", None, "UA", "AA"])).keys
    ['AA', 'UA']
    """
    plain = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    encoded = plain.dictionary_encode()
    ids = encoded.dictionary.to_pylist()
    if is_object_id(array.type):
        return Distinct(encoded.indices, ids, None)
    if isinstance(array.type, AnyId):
        ids = [document[""] for document in decoded(b"".join(ids))]
    elif array.type == pa.uuid():
        ids = [Binary(one, 4) for one in ids]
    return Distinct(encoded.indices, id_keys(ids), ids)


def keys_of(array: Any, type: Any, raw: bytes, path: str) -> list[Any]:
    """Return the keys of ids that are each there once, as `id_keys` makes them.

    Args:
        array: the ids, as they are given.
        type: of their column.
        raw: the documents that they are of.
        path: where they are in them.
    """
    if array.null_count or not is_known(type):  # one that does not fit is not in the column
        return id_keys([document.get(path) for document in decoded(raw)])
    if is_object_id(type):
        if pa.types.is_string(array.type):
            return [*map(bytes.fromhex, array.to_pylist())]
        plain = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
        found: list[Any] = plain.to_pylist()
        return found
    if type == pa.uuid():
        return id_keys([Binary(one, 4) for one in array.storage.to_pylist()])
    return id_keys(array.to_pylist())
