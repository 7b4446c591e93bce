"""Which cell stands for a column: what its type is, and what the class says of its field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute
from bson import Binary, Code, Decimal128, ObjectId
from bson.codec_options import CodecOptions
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from ....datetimes import Naive
from ....errors import SchemaError
from ..types import is_object_id
from .cells import (
    Booleans,
    Cell,
    Changed,
    Decimals,
    Floats,
    Integers,
    Mapped,
    Nothing,
    Objects,
    Repeated,
    Texts,
    Unfit,
    as_decimal128,
    first,
    numbers,
    uuid_binary,
)
from .containers import FixedLists, Lists, Maps, Structs, Views
from .instants import Finer, Instants

pc: Any = pyarrow.compute  # made when it is imported

__all__ = ["Rules", "cell_for", "is_hex", "shown"]


class Rules(NamedTuple):
    """What a call says of all values.

    Attributes:
        naive: what an instant without zone means.
        finer: what is done with instants finer than milliseconds.
        omits: whether nulls in documents are left out.
        aware: whether datetimes are to have a zone, because listeners see them.
        codecs: under which objects are tried to be encoded, None for not at all.
    """

    naive: Naive = "utc"
    finer: Finer = "raise"
    omits: bool = False
    aware: bool = False
    codecs: CodecOptions[Any] | None = None


def shown(type: Any) -> str:
    """Return a type of Arrow's as text, extension types by their names."""
    return type.extension_name if isinstance(type, pa.BaseExtensionType) else str(type)


def cell_for(place: str, type: Any, target: Any, rules: Rules) -> Cell:
    """Return what makes the values of a column.

    Args:
        place: class and column, for errors.
        type: of the column.
        target: what the class says that the field is, as a type of Arrow's; None for nothing.
        rules: of the call.

    Raises:
        SchemaError: values of the type are not stored, or are none of the field.
    """
    types = pa.types
    if types.is_dictionary(type):
        large = _without_views(type.value_type)
        inner = cell_for(place, large, target, rules)
        return Repeated(inner, lambda array: (_as(large, array.dictionary), array.indices))
    if types.is_run_end_encoded(type):
        large = _without_views(type.value_type)
        inner = cell_for(place, large, target, rules)
        return Repeated(inner, lambda array: (_as(large, array.values), _runs(array)))
    if (large := _without_views(type)) != type:
        return Changed(lambda array: _as(large, array), cell_for(place, large, target, rules))
    if types.is_null(type):
        return Nothing()
    if types.is_nested(type) and not types.is_union(type):
        return _container(place, type, target, rules)
    plain = _plain(place, type, rules)
    return plain if target is None else _to(place, type, plain, target, rules)


def _without_views(type: Any) -> Any:
    """Return a type of text or bytes as one that Arrow can take values from."""
    if type == pa.string_view():
        return pa.large_string()
    return pa.large_binary() if type == pa.binary_view() else type


def _as(type: Any, array: Any) -> Any:
    return array if array.type == type else array.cast(type)


def _runs(array: Any) -> Any:
    """Return in which run each row is."""
    rows = np.arange(array.offset, array.offset + len(array))
    return pa.array(np.searchsorted(array.run_ends.to_numpy(), rows, "right"), pa.int64())


def _plain(place: str, type: Any, rules: Rules) -> Cell:
    """Return what makes values as they are."""
    types = pa.types
    if isinstance(type, pa.BaseExtensionType):
        return _extension(place, type)
    for is_one, make in _SIMPLE:
        if is_one(type):
            return make()
    if types.is_timestamp(type):
        return Instants(place, type, rules.naive, rules.finer, aware=rules.aware)
    if types.is_date(type):
        return Instants(place, type, "utc", rules.finer, aware=rules.aware)
    raise _refused(place, "a type whose values MongoDB stores", type, _advice(type))


_SIMPLE: tuple[tuple[Callable[[Any], bool], type[Cell]], ...] = (
    (pa.types.is_boolean, Booleans),
    (pa.types.is_integer, Integers),
    (pa.types.is_floating, Floats),
    (pa.types.is_string, Texts),
    (pa.types.is_large_string, Texts),
    (pa.types.is_binary, Objects),
    (pa.types.is_large_binary, Objects),
    (pa.types.is_fixed_size_binary, Objects),
    (pa.types.is_decimal, Decimals),
)


def _advice(type: Any) -> str:
    if pa.types.is_time(type):
        return "cast it to text, or to a number of units since midnight"
    if pa.types.is_duration(type) or pa.types.is_interval(type):
        return "cast it to a number of units, such as seconds"
    if pa.types.is_union(type):
        return "write a column for each of its types"
    return "cast it to another type"


def _refused(place: str, expected: str, type: Any, advice: str) -> SchemaError:
    got = shown(type)
    column = place.partition(".")[2] or None
    return SchemaError(
        f"{place}: expected {expected}, got a column of {got}; {advice}, or leave it out by "
        "columns={name: None}",
        column,
        None,
        expected,
        got,
    )


def _extension(place: str, type: Any) -> Cell:
    if is_object_id(type):
        return Mapped(ObjectId)
    if type == pa.uuid():
        return Mapped(uuid_binary)
    if isinstance(type, Decimal128Type):
        return Mapped(Decimal128.from_bid)
    if isinstance(type, CodeType):
        return Mapped(Code, Texts())
    if isinstance(type, BinaryType):
        subtype = type.subtype
        return Mapped(lambda raw: Binary(raw, subtype))
    expected = "a type whose values MongoDB stores"
    raise _refused(
        place, expected, type, f"cast it to {type.storage_type} if that is what it means"
    )


# Lists and documents


def _container(place: str, type: Any, target: Any, rules: Rules) -> Cell:
    types = pa.types
    if types.is_struct(type):
        return _struct(place, type, target, rules)
    if types.is_map(type):
        if not (types.is_string(type.key_type) or types.is_large_string(type.key_type)):
            raise _refused(place, "a map with text as keys", type, "cast its keys to string")
        if target is not None and not (types.is_map(target) or types.is_struct(target)):
            raise _refused(place, _name(target), type, "convert it")
        item = target.item_type if target is not None and types.is_map(target) else None
        return Maps(cell_for(f"{place}{{}}", type.item_type, item, rules), omits=rules.omits)
    if target is not None and not types.is_list(target):
        raise _refused(place, _name(target), type, "convert it")
    item = None if target is None else target.value_type
    inner = cell_for(f"{place}[]", type.value_type, item, rules)
    if types.is_fixed_size_list(type):
        return FixedLists(inner, type.list_size)
    is_view = types.is_list_view(type) or types.is_large_list_view(type)
    return Views(inner) if is_view else Lists(inner)


def _struct(place: str, type: Any, target: Any, rules: Rules) -> Cell:
    names = [field.name for field in type]
    if len({*names}) < len(names):
        raise _refused(place, "each field of a struct once", type, "rename one")
    if any("\0" in name for name in names):
        raise _refused(place, "fields of a struct without NUL in their names", type, "rename them")
    if target is not None and not (pa.types.is_struct(target) or pa.types.is_map(target)):
        raise _refused(place, _name(target), type, "convert it")
    cells = []
    for field in type:
        wanted = None
        if target is not None and pa.types.is_map(target):
            wanted = target.item_type
        elif target is not None and target.get_field_index(field.name) >= 0:
            wanted = target.field(field.name).type
        cells.append(cell_for(f"{place}.{field.name}", field.type, wanted, rules))
    return Structs(names, cells, omits=rules.omits)


# As the class says


def _name(target: Any) -> str:
    return shown(target)


def _to(place: str, type: Any, plain: Cell, target: Any, rules: Rules) -> Cell:
    """Return what makes values that are those of a field."""
    types = pa.types
    is_text = types.is_string(type) or types.is_large_string(type)
    is_bytes = (
        types.is_binary(type) or types.is_large_binary(type) or types.is_fixed_size_binary(type)
    )
    found: Cell | None = None
    if type == target:
        found = plain
    elif types.is_integer(target):
        if types.is_integer(type):
            found = plain
        elif types.is_floating(type):
            found = _WholeFloats()
    elif types.is_floating(target):
        if types.is_floating(type):
            found = plain
        elif types.is_integer(type):
            found = _ExactIntegers()
    elif types.is_boolean(target):
        found = plain if types.is_boolean(type) else None
    elif types.is_string(target) or types.is_large_string(target):
        found = plain if is_text else None
    elif types.is_timestamp(target):
        found = plain if types.is_timestamp(type) or types.is_date(type) else None
    elif types.is_date(target):
        if types.is_date(type):
            found = plain
        elif types.is_timestamp(type):
            naive, finer, aware = rules.naive, rules.finer, rules.aware
            found = Instants(place, type, naive, finer, aware=aware, whole_days=True)
    elif types.is_decimal(target) or isinstance(target, Decimal128Type):
        if types.is_decimal(type) or isinstance(type, Decimal128Type):
            found = plain
        elif types.is_integer(type):
            found = Mapped(lambda number: as_decimal128(0, number), Integers())
        elif is_bytes:  # as Polars holds them
            found = _Bytes(16, Decimal128.from_bid, "a Decimal128 of 16 bytes")
    elif is_object_id(target):
        if is_text:
            found = _Hex()
        elif is_bytes:
            found = _Bytes(12, ObjectId, "an ObjectId of 12 bytes")
    elif target == pa.uuid():
        if is_text:
            found = _UuidTexts()
        elif is_bytes:
            found = _Bytes(16, uuid_binary, "a UUID of 16 bytes")
    elif isinstance(target, CodeType):
        found = Mapped(Code, Texts()) if is_text else None
    elif isinstance(target, BinaryType):
        subtype = target.subtype
        found = Mapped(lambda raw: Binary(raw, subtype)) if is_bytes else None
    elif types.is_binary(target):
        found = plain if is_bytes or isinstance(type, BinaryType) or type == pa.uuid() else None
    if found is None:
        raise _refused(
            place, f"a column of {_name(target)}, as its annotation says", type, "cast it"
        )
    return found


class _WholeFloats(Cell):
    """Floats in a field of integers, as pandas makes them where one is missing."""

    def check(self, array: Any) -> None:
        found = numbers(array).astype(np.float64, copy=False)
        whole = (np.floor(found) == found) & (found >= -(2.0**63)) & (found < 2.0**63)
        at = first(~whole)
        if at is not None:
            advice = "astype('Int64') keeps missing ones" if found[at] != found[at] else "round it"
            raise Unfit(at, "an integer", float(found[at]), advice)

    def values(self, array: Any) -> list[Any]:
        made: list[Any] = Integers().values(array.cast(pa.float64()).cast(pa.int64()))
        return made


class _ExactIntegers(Cell):
    """Integers in a field of floats."""

    def check(self, array: Any) -> None:
        found = numbers(array)
        doubles = found.astype(np.float64)
        # What is rounded up to more than the type holds: what a cast makes of it is the processor's.
        is_over = doubles >= float(np.iinfo(found.dtype).max) + 1
        at = first(is_over | (np.where(is_over, 0, doubles).astype(found.dtype) != found))
        if at is not None:
            raise Unfit(at, "an integer that a double holds exactly", int(found[at]), "cast it")

    def values(self, array: Any) -> list[Any]:
        return Floats().values(array.cast(pa.float64(), safe=False))


_HEX = re.compile(r"[0-9a-fA-F]{24}\Z")


def is_hex(text: str) -> bool:
    """Tell whether text is an ObjectId in hexadecimal digits."""
    return _HEX.match(text) is not None


class _Hex(Mapped):
    """ObjectIds as text."""

    def __init__(self) -> None:
        super().__init__(ObjectId, Texts())

    def check(self, array: Any) -> None:
        super().check(array)
        for at, text in enumerate(self.inner.values(array)):
            if text is not None and not is_hex(text):
                advice = "annotate the field with the type that it has"
                raise Unfit(at, "an ObjectId in 24 hexadecimal digits", text, advice)


class _UuidTexts(Mapped):
    """UUIDs as text."""

    def __init__(self) -> None:
        super().__init__(lambda text: uuid_binary(UUID(text).bytes), Texts())

    def check(self, array: Any) -> None:
        super().check(array)
        for at, text in enumerate(self.inner.values(array)):
            try:
                UUID(text or "00000000-0000-0000-0000-000000000000")
            except ValueError:
                raise Unfit(at, "a UUID as text", text, "correct it") from None


class _Bytes(Mapped):
    """Values of a fixed number of bytes."""

    def __init__(self, size: int, make: Callable[[bytes], Any], expected: str) -> None:
        super().__init__(make)
        self.size = size
        self.expected = expected

    def check(self, array: Any) -> None:
        for at, raw in enumerate(self.inner.values(array)):
            if raw is not None and len(raw) != self.size:
                raise Unfit(at, self.expected, raw, "correct it")
