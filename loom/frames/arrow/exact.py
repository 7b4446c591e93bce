"""The exact look: documents as Python's objects, every value held against the type of its column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import bson
import pyarrow as pa
from bson import Binary, Code, Decimal128, Int64, ObjectId, json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.errors import InvalidBSON
from pymongoarrow.types import BinaryType, CodeType, Decimal128Type

from ...errors import SchemaError
from ..events import add_note
from .columns import Column
from .raw import parts_of
from .types import AnyId, is_object_id, named, rebuilt, stored

__all__ = ["OnMismatch", "Policy", "decoded", "exact_column"]

OnMismatch = Literal["raise", "null", "string"]

Document = dict[str, Any]
#: Tells that a value does not fit, and returns what stands in its place.
Misfit = Callable[[Any, Any], None]
#: Returns what Arrow stores for a value.
Fit = Callable[[Any, Misfit], Any]

_DAY = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: Nothing is lost: instants as numbers, binaries with their subtypes, no type of the user's.
_CODECS: CodecOptions[Document] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
)
_BSON_NAMES = {
    bool: "bool", int: "int32", Int64: "int64", float: "double", str: "string", dict: "document",
    list: "array", bytes: "binary", Binary: "binary", DatetimeMS: "date", ObjectId: "objectId",
    Decimal128: "decimal",
}  # fmt: skip


class Policy(NamedTuple):
    """What is done with values that do not fit, and how many there were.

    Attributes:
        place: the name of the class, for errors.
        on_mismatch: what is done.
        counts: by column, in how many rows a value did not fit.
    """

    place: str
    on_mismatch: OnMismatch
    counts: Counter[str]


def decoded(batch: bytes) -> list[Document]:
    """Return the documents of a batch.

    Raises:
        InvalidBSON: it holds something else, such as text that is no UTF-8; a note says where.
    """
    try:
        return bson.decode_all(batch, _CODECS)
    except InvalidBSON as error:
        _add_place(error, batch)
        raise


def _add_place(error: InvalidBSON, batch: bytes) -> None:
    """Add to the driver's error which of many documents it is about."""
    lenient = _CODECS.with_options(unicode_decode_error_handler="replace")
    for document in parts_of(batch, 1):
        try:
            bson.decode(document, _CODECS)
        except InvalidBSON:
            with suppress(InvalidBSON):
                id = bson.decode(document, lenient).get("_id")
                add_note(
                    error,
                    f"in the document with _id={id!r}; correct it, or leave the field out of what "
                    "is loaded",
                )
            return


class _Refused(Exception):
    """A value that does not fit, on its way to where its document is known."""


def exact_column(
    column: Column, documents: Sequence[Document], policy: Policy, texts: dict[int, Document]
) -> Any:
    """Return a column of some documents.

    Args:
        column: what it is.
        documents: as `decoded` returns them.
        policy: what is done with values that do not fit; its counts are advanced.
        texts: by row, the values that did not fit as text, by column; added to.

    Raises:
        SchemaError: a value does not fit, and the policy is to raise.
    """
    path = column.path.split(".")
    fit = _fit(column.type)
    misfits: list[tuple[Any, Any]] = []

    def note(type: Any, value: Any) -> None:
        if policy.on_mismatch == "raise":
            raise _Refused(type, value)
        misfits.append((type, value))

    values: list[Any] = []
    for row, document in enumerate(documents):
        value = document.get(path[0]) if len(path) == 1 else _reached(document, path)
        if value is None:
            values.append(None)
            continue
        try:
            values.append(fit(value, note))
        except _Refused as refused:
            type, got = refused.args
            raise _error(policy.place, column, document, type, got) from None
        if misfits:
            policy.counts[column.name] += 1
            if policy.on_mismatch == "string":
                texts.setdefault(row, {})[column.name] = _text(value)
            misfits.clear()
    array = pa.array(values, stored(column.type))
    return rebuilt(array, column.type, lambda found, of: pa.ExtensionArray.from_storage(of, found))


def _reached(value: Any, path: list[str]) -> Any:
    """Return what a path leads to: through a list, what it leads to in each document of it."""
    for position, name in enumerate(path):
        value = value.as_doc() if isinstance(value, DBRef) else value
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list):
            rest = path[position:]
            return [
                _reached(item, rest) for item in value if isinstance(item, (Mapping, list, DBRef))
            ]
        else:
            return None
    return value


def _text(value: Any) -> str:
    if value.__class__ is str:  # Code is text, too
        return str(value)
    return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _error(place: str, column: Column, document: Document, type: Any, got: Any) -> SchemaError:
    expected = named(type)
    within = "" if type == column.type else f" in {named(column.type)}"
    shown = repr(got)
    if isinstance(got, DatetimeMS):
        shown = f"{int(got)} ms after 1970"
        with suppress(OverflowError):
            shown = str(_EPOCH + timedelta(milliseconds=int(got)))
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    where = (
        f"in the document with _id={document['_id']!r}"
        if "_id" in document
        else f"in the document {str(document)[:80]}"
    )
    path = "" if column.path == column.name else f" (from {column.path})"
    return SchemaError(
        f"{place}.{column.name}{path}: expected {expected}{within}, got {shown} of type "
        f"{_BSON_NAMES.get(got.__class__, got.__class__.__name__)} {where}; give the column "
        "another type, or pass on_mismatch='null' or 'string'",
        column.name,
        document.get("_id"),
        expected,
        got,
    )


# One value


def _fit(type: Any) -> Fit:
    """Return what makes values of a type."""
    types = pa.types
    if types.is_integer(type):
        return _integer(type)
    if types.is_list(type):
        return _list(type)
    if types.is_struct(type):
        return _struct(type)
    if types.is_map(type):
        return _map(type)
    if types.is_decimal128(type):
        return _decimal(type)
    if isinstance(type, BinaryType) or type == pa.binary():
        return _binary(type, getattr(type, "subtype", 0))
    if type == pa.uuid():
        return _uuid(type)
    if types.is_timestamp(type):
        return lambda value, misfit: (
            int(value) if value.__class__ is DatetimeMS else misfit(type, value)
        )
    if types.is_date32(type):
        return _date(type)
    if types.is_float64(type):
        return _float(type)
    if is_object_id(type):
        return lambda value, misfit: (
            value.binary if value.__class__ is ObjectId else misfit(type, value)
        )
    if isinstance(type, AnyId):
        return _any_id(type)
    if isinstance(type, Decimal128Type):
        return lambda value, misfit: (
            value.bid if value.__class__ is Decimal128 else misfit(type, value)
        )
    if isinstance(type, CodeType):
        return lambda value, misfit: (
            str(value) if value.__class__ is Code and value.scope is None else misfit(type, value)
        )
    kind = {pa.bool_(): bool, pa.string(): str}.get(type)
    return lambda value, misfit: value if value.__class__ is kind else misfit(type, value)


def _integer(type: Any) -> Fit:
    bits = type.bit_width
    signed = pa.types.is_signed_integer(type)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)

    def fit(value: Any, misfit: Misfit) -> Any:
        # A whole double is the same number, and what some shells write for one.
        if isinstance(value, float) and value.is_integer():
            value = int(value) if low <= int(value) < high else value
        if isinstance(value, (float, bool)) or not isinstance(value, int):
            return misfit(type, value)
        return int(value) if low <= value < high else misfit(type, value)

    return fit


def _float(type: Any) -> Fit:
    def fit(value: Any, misfit: Misfit) -> Any:
        if value.__class__ is float:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            number = float(value)
            if int(number) == value:
                return number
        return misfit(type, value)

    return fit


def _date(type: Any) -> Fit:
    def fit(value: Any, misfit: Misfit) -> Any:
        if value.__class__ is DatetimeMS and not int(value) % _DAY:
            days = int(value) // _DAY
            if -(2**31) <= days < 2**31:
                return days
        return misfit(type, value)

    return fit


def _decimal(type: Any) -> Fit:
    precision, scale = type.precision, type.scale

    def fit(value: Any, misfit: Misfit) -> Any:
        if value.__class__ is not Decimal128:
            return misfit(type, value)
        number: Decimal = value.to_decimal()
        if not number.is_finite():
            return misfit(type, value)
        sign, digits, exponent = number.as_tuple()
        written = int("".join(map(str, digits)))
        if not written:
            return Decimal(0)
        shift = int(exponent) + scale
        while shift < 0 and written % 10 == 0:
            written, shift = written // 10, shift + 1
        if shift < 0 or len(str(written)) + shift > precision:
            return misfit(type, value)
        return Decimal((sign, tuple(map(int, str(written))), shift - scale))

    return fit


def _binary(type: Any, subtype: int) -> Fit:
    def fit(value: Any, misfit: Misfit) -> Any:
        if not isinstance(value, bytes) or getattr(value, "subtype", 0) != subtype:
            return misfit(type, value)
        return bytes(value)

    return fit


def _uuid(type: Any) -> Fit:
    def fit(value: Any, misfit: Misfit) -> Any:
        if not isinstance(value, Binary) or value.subtype != 4 or len(value) != 16:
            return misfit(type, value)
        return bytes(value)

    return fit


def _any_id(type: Any) -> Fit:
    def fit(value: Any, misfit: Misfit) -> Any:
        # What `many` takes for several ids, and what names a collection of its own.
        if isinstance(value, (list, Mapping, DBRef)):
            return misfit(type, value)
        return bson.encode({"": value}, codec_options=_CODECS)

    return fit


def _list(type: Any) -> Fit:
    inner = _fit(type.value_type)

    def fit(value: Any, misfit: Misfit) -> Any:
        if value.__class__ is not list:
            return misfit(type, value)
        return [None if item is None else inner(item, misfit) for item in value]

    return fit


def _struct(type: Any) -> Fit:
    fields = [(field.name, _fit(field.type)) for field in type]

    def fit(value: Any, misfit: Misfit) -> Any:
        value = value.as_doc() if isinstance(value, DBRef) else value
        if not isinstance(value, Mapping):
            return misfit(type, value)
        return {
            name: None if value.get(name) is None else inner(value[name], misfit)
            for name, inner in fields
        }

    return fit


def _map(type: Any) -> Fit:
    inner = _fit(type.item_type)

    def fit(value: Any, misfit: Misfit) -> Any:
        value = value.as_doc() if isinstance(value, DBRef) else value
        if not isinstance(value, Mapping):
            return misfit(type, value)
        return [(k, None if item is None else inner(item, misfit)) for k, item in value.items()]

    return fit
