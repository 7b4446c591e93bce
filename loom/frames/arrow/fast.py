"""The fast look: PyMongoArrow decodes a batch, and what it lets through is searched for.

PyMongoArrow raises for most values that do not fit. It does not for these, and each of them is
looked for, in the finished column and among the types of what stands in the batch:

- a double in a column of ints is cut, a bool becomes 1 or 0;
- a bool in a column of doubles becomes 1.0 or 0.0, an int64 beyond 2**53 is rounded;
- NaN becomes null, in columns of all types;
- another value than a list becomes an empty list, another than a document a struct of nulls, as
  does null and what is absent;
- a field whose name has a dot is taken for one of an embedded document;
- of a field that is there twice both values are taken, the second for that of a later document;
- text is not checked to be UTF-8.

What is found settles nothing but that the column of that batch needs the exact look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pymongoarrow.context import PyMongoArrowContext
from pymongoarrow.schema import Schema as Asked
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from .columns import Column
from .survey import ARRAY, DOCUMENT, Place, Unclear, survey
from .types import AnyId, contains, is_object_id, replaced

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["Doubt", "Fast"]

_DAY = 86_400_000
_EXACT = float(2**53)
_BOOL, _DOUBLE, _INT64 = 0x08, 0x01, 0x12
#: What PyMongoArrow raises where it refuses a batch.
_REFUSALS = (TypeError, ValueError, OverflowError, pa.ArrowException)


#: Decodes some values once more, with doubles in place of ints.
Twin: TypeAlias = Callable[[], Any]


class Doubt(Exception):
    """A column that needs the exact look."""


class Decoded(NamedTuple):
    """A batch, before anything is checked."""

    #: as PyMongoArrow made it
    table: Any
    #: what stands in the documents
    top: Place


class Fast:
    """The columns of a schema that PyMongoArrow can decode.

    Args:
        columns: all that are asked for.
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        columns = [*columns]
        paths = {column.path for column in columns}
        tree: dict[str, Any] = {}
        self.columns: list[Column] = []
        for column in columns:
            parts = column.path.split(".")
            above = {".".join(parts[:i]) for i in range(1, len(parts))}
            below = any(path.startswith(f"{column.path}.") for path in paths)
            if not _is_supported(column) or above & paths or below:
                continue
            *parents, last = parts
            branch = tree
            for parent in parents:
                branch = branch.setdefault(parent, {})
            wanted = _asked(column.type)
            if branch.setdefault(last, wanted) == wanted:
                self.columns.append(column)
        self._schema = Asked({name: _typed(of) for name, of in tree.items()})

    def decode(self, batch: bytes) -> Decoded:
        """Return a batch before anything is checked.

        Raises:
            Doubt: PyMongoArrow refuses a value of it, or would give values to other documents.
        """
        try:
            top = survey(batch, self.columns)
        except Unclear as error:
            raise Doubt from error
        return Decoded(_decoded(self._schema, batch), top)

    def column(self, column: Column, decoded: Decoded, batch: bytes) -> Any:
        """Return a column of a decoded batch.

        Raises:
            Doubt: it may hold something else than what is stored.
        """
        path = column.path.split(".")
        root, *rest = path
        table, top = decoded
        found = table.column(root)
        array = found.chunk(0) if found.num_chunks == 1 else pa.concat_arrays(found.chunks)
        for position, name in enumerate(rest, 1):
            array = array.field(name)
            # A list on the way gives a list, of which PyMongoArrow knows nothing.
            if top.at(path[:position]).counts[ARRAY]:
                raise Doubt
        if top.has_signs and (rest or pa.types.is_nested(array.type)):
            raise Doubt  # a name such as "lair.gold", which is no path

        def twin() -> Any:
            wanted = _doubled(_asked(column.type))
            for name in reversed(rest):
                wanted = pa.struct([(name, wanted)])
            found = _decoded(Asked({root: wanted}), batch).column(root).chunk(0)
            for name in rest:
                found = found.field(name)
            return found

        return settled(array, column.type, top.at(path), twin)


def _decoded(schema: Any, batch: bytes) -> Any:
    try:
        context = PyMongoArrowContext(schema)
        context.process_bson_stream(batch)
        return context.finish()
    except _REFUSALS as error:
        raise Doubt from error


def _is_supported(column: Column) -> bool:
    return not {*"[]"} & {*column.path} and not contains(
        column.type,
        lambda t: (
            pa.types.is_map(t)
            or isinstance(t, AnyId)
            or pa.types.is_decimal128(t)
            or pa.types.is_null(t)
            # PyMongoArrow tells fields apart by these signs.
            or (pa.types.is_struct(t) and any({*"[]."} & {*field.name} for field in t))
        ),
    )


def _asked(type: Any) -> Any:
    """Return the type under which PyMongoArrow decodes the values of another."""
    types = pa.types
    if types.is_list(type):
        return pa.list_(_asked(type.value_type))
    if types.is_struct(type):
        return pa.struct([(field.name, _asked(field.type)) for field in type])
    if types.is_integer(type):
        return pa.int64()
    if types.is_date32(type):
        return pa.timestamp("ms")
    if type == pa.uuid():
        return BinaryType(4)
    if type == pa.binary():
        return BinaryType(0)
    return type


def _typed(of: Any) -> Any:
    if isinstance(of, dict):
        return pa.struct([(name, _typed(inner)) for name, inner in of.items()])
    return of


def _doubled(type: Any) -> Any:
    """Return a type with doubles in place of ints."""
    return replaced(type, lambda t: pa.float64() if pa.types.is_integer(t) else t)


def settled(array: Any, type: Any, place: Place, twin: Twin) -> Any:
    """Return what PyMongoArrow made of some values, under the type of their column.

    Args:
        array: what it made of them.
        type: of their column.
        place: what stands there.
        twin: decodes the same again, with doubles in place of ints.

    Raises:
        Doubt: one of them may have been changed.
    """
    types = pa.types
    if array.null_count > len(array) - place.values() and not types.is_struct(type):
        raise Doubt  # NaN, which became null
    if types.is_integer(type):
        return _integers(array, type, place, twin)
    if types.is_float64(type):
        _check_doubles(array, place)
        return array
    if types.is_list(type):
        return _lists(array, type, place, twin)
    if types.is_struct(type):
        return _structs(array, type, place, twin)
    if type == pa.string() or isinstance(type, CodeType):
        texts = array if type == pa.string() else array.storage
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise Doubt from error
        return array
    if types.is_date32(type):
        return _dates(array, type)
    if type == pa.uuid():
        try:
            return array.storage.cast(pa.binary(16)).cast(type)
        except pa.ArrowInvalid as error:
            raise Doubt from error
    if type == pa.binary():
        return array.storage.cast(type)
    if (
        types.is_timestamp(type)
        or types.is_boolean(type)
        or is_object_id(type)
        or isinstance(type, (BinaryType, Decimal128Type))
    ):
        return array
    raise Doubt


def _integers(array: Any, type: Any, place: Place, twin: Twin) -> Any:
    if len(array) == 0:
        return array.cast(type)
    values = _numbers(array)
    if place.counts[_DOUBLE]:
        # As an int and as a double it must be the same number.
        doubles = _numbers(twin())
        # What no int64 holds becomes whatever the processor makes of it.
        differ = (values.astype(np.float64) != doubles) | (np.abs(doubles) >= 2.0**63)
        if bool((differ & np.asarray(array.is_valid())).any()):
            raise Doubt
    if place.counts[_BOOL]:
        raise Doubt
    try:
        return array.cast(type)
    except pa.ArrowInvalid as error:
        raise Doubt from error


def _check_doubles(array: Any, place: Place) -> None:
    if place.counts[_BOOL]:
        raise Doubt
    if place.counts[_INT64] and bool((np.abs(_numbers(array)) >= _EXACT).any()):
        raise Doubt


def _numbers(array: Any) -> Any:
    """Return the numbers of an array; in place of nulls stands anything."""
    buffer = array.buffers()[1] or b""
    kind = np.float64 if pa.types.is_float64(array.type) else np.int64
    return np.frombuffer(buffer, kind, len(array), array.offset * 8)


def _dates(array: Any, type: Any) -> Any:
    days = array.cast(pa.int64())
    values = _numbers(days)
    if days.null_count:
        values = values[np.asarray(days.is_valid())]
    if bool((values % _DAY).any()) or bool((np.abs(values) >= 2**31 * _DAY).any()):
        raise Doubt
    return pc.divide(days, _DAY).cast(pa.int32()).cast(type)


def _lists(array: Any, type: Any, place: Place, twin: Twin) -> Any:
    if not place.holds_only(ARRAY) or place.items is None:
        raise Doubt
    offsets = array.offsets
    # Behind the last item may be nulls, for documents without any list.
    count = offsets[-1].as_py() if len(array) else 0
    items = array.values.slice(0, count)
    mask = array.is_null() if array.null_count else None
    inner = settled(items, type.value_type, place.items, lambda: twin().values.slice(0, count))
    return pa.ListArray.from_arrays(offsets, inner, mask=mask)


def _field(twin: Twin, position: int) -> Any:
    return twin().field(position)


def _structs(array: Any, type: Any, place: Place, twin: Twin) -> Any:
    if not place.holds_only(DOCUMENT):
        raise Doubt
    children = []
    valid = np.zeros(len(array), dtype=bool)
    for position, field in enumerate(type):
        inner = partial(_field, twin, position)
        child = settled(array.field(position), field.type, place.fields[field.name], inner)
        children.append(child)
        valid |= np.asarray(child.is_valid())
    mask = None
    if not bool(valid.all()):
        # Those without any value are absent, null, empty, or something else.
        if place.counts[DOCUMENT] != int(valid.sum()):
            raise Doubt
        mask = pa.array(~valid)
    return pa.StructArray.from_arrays(children, fields=[*type], mask=mask)
