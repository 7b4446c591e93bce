"""Dtypes of pandas for the types of columns; that of ObjectIds has what pandas asks of every array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pyarrow as pa
from bson import ObjectId
from pymongoarrow.pandas_types import PandasObjectId, PandasObjectIdArray
from pymongoarrow.types import ObjectIdType

from .types import contains, is_object_id

__all__ = ["ObjectIdArray", "ObjectIdDtype", "ObjectsArray", "dtype_of"]


def _is_text(type: Any) -> bool:
    """Tell a type of text of Arrow's."""
    types = pa.types
    return bool(types.is_string(type) or types.is_large_string(type) or types.is_string_view(type))


class ObjectIdArray(PandasObjectIdArray):  # type: ignore[misc]  # a class without types
    """ObjectIds, or None.

    PyMongoArrow's array refuses `DataFrame.info()`, `memory_usage()` and `to_parquet()`.
    """

    @property
    def _default_dtype(self) -> ObjectIdDtype:
        return ObjectIdDtype()

    @property
    def nbytes(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The size of the references, in bytes."""
        return int(self.data.nbytes)

    def value_counts(self, dropna: bool = True) -> Any:
        """Return how often each is there, with null only if it is not to be dropped."""
        data = self.data.copy()
        data[self.isna()] = None
        found = pandas.Series(data, dtype=object).value_counts(dropna=dropna)
        index = pandas.Index(type(self)(found.index.to_numpy(dtype=object), self.dtype))
        return pandas.Series(found.to_numpy(), index=index, name="count")

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the values as another dtype; as text of Arrow's they are hexadecimal digits."""
        wanted = pandas.api.types.pandas_dtype(dtype)
        if isinstance(wanted, pandas.ArrowDtype) and _is_text(wanted.pyarrow_dtype):
            return pandas.array(self._texts(), dtype=wanted)
        return super().astype(wanted, copy=copy)

    def _texts(self) -> list[str | None]:
        # Arrow would take the bytes for text.
        return [None if gone else str(id) for id, gone in zip(self.data, self.isna(), strict=True)]

    def __arrow_array__(self, type: Any = None) -> Any:
        if type is not None and _is_text(type):
            return pa.array(self._texts(), type)
        stored = [
            None if gone else id.binary for id, gone in zip(self.data, self.isna(), strict=True)
        ]
        wanted = ObjectIdType()
        found = pa.ExtensionArray.from_storage(wanted, pa.array(stored, wanted.storage_type))
        return found if type is None else found.cast(type)


class ObjectIdDtype(PandasObjectId):  # type: ignore[misc]
    """The dtype of ObjectIds, under the name that PyMongoArrow has given it."""

    @property
    def name(self) -> str:
        """The name under which pandas finds PyMongoArrow's dtype."""
        return "bson_PandasObjectId"

    def __repr__(self) -> str:
        return self.name

    def _get_common_dtype(self, dtypes: list[Any]) -> Any:
        """Return this dtype for columns of it and of PyMongoArrow's, which are put together."""
        return self if all(isinstance(one, PandasObjectId) for one in dtypes) else None

    @classmethod
    def construct_array_type(cls) -> type[ObjectIdArray]:
        """Return the class of the arrays."""
        return ObjectIdArray

    def __from_arrow__(self, array: Any) -> ObjectIdArray:
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        data = np.empty(len(array), dtype=object)
        data[:] = [
            None if stored is None else ObjectId(stored)
            for chunk in chunks
            for stored in chunk.storage.to_numpy(zero_copy_only=False)
        ]
        return ObjectIdArray(data, self)


class ObjectsArray(pandas.arrays.ArrowExtensionArray):  # type: ignore[misc]
    """Decimals, UUIDs and the like, and what holds these or ObjectIds.

    Arrow makes NumPy's objects of none of them, or bytes. Without those pandas can neither show nor
    export a DataFrame; here each value is made by itself.
    """

    def to_numpy(
        self,
        dtype: Any = None,
        copy: bool = False,
        na_value: Any = pandas.api.extensions.no_default,
    ) -> Any:
        """Return the values as Python's objects."""
        found = np.empty(len(self), dtype=object)
        for row, value in enumerate(self):
            found[row] = value
        if na_value is not pandas.api.extensions.no_default:
            found[self.isna()] = na_value
        return found if dtype is None else found.astype(dtype, copy=False)


class ObjectsDtype(pandas.ArrowDtype):  # type: ignore[misc]
    """Makes arrays whose dtype is a plain ArrowDtype."""

    def __from_arrow__(self, array: Any) -> ObjectsArray:
        return ObjectsArray(array)


def dtype_of(type: Any) -> Any:
    """Return the dtype for an Arrow type, which keeps it."""
    if is_object_id(type):
        # Arrow can neither compare nor group its extension types, PyMongoArrow's dtype can.
        return ObjectIdDtype()
    has_objects = contains(type, lambda one: isinstance(one, pa.BaseExtensionType))
    return ObjectsDtype(type) if has_objects else pandas.ArrowDtype(type)
