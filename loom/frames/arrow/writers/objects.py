"""Columns of Python's objects: what is in them is looked at value by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongoarrow.types import CodeType, Decimal128Type

from ....datetimes import settle_datetimes
from ....encoding import ENCODING_ERRORS, encode
from ...values import plain
from ..types import OBJECT_ID, is_object_id
from .cells import Cell, Unfit, Unstorable
from .fitting import Rules, is_hex, shown
from .instants import DAY

__all__ = ["Things"]

#: Values of these types are stored as they are.
_AS_THEY_ARE = frozenset(
    (str, int, float, bool, bytes, type(None), ObjectId, Decimal128, Decimal, Binary, Code, UUID)
)
#: Of these types every value can be sent.
_ANY = frozenset((float, bool, type(None), ObjectId, Decimal128))
#: So many values are tried together.
_AT_ONCE = 1_000
#: What the encoder raises; a key that is no text is a TypeError in PyMongo's Python form.
_REFUSALS = (*ENCODING_ERRORS, TypeError)
#: Units of NumPy's of which 64 bits hold more than of milliseconds.
_LONGER = frozenset(("Y", "M", "W", "D", "h", "m", "s"))
_CONTAINERS = (list, tuple, set, frozenset, Mapping, np.ndarray)


class Things(Cell):
    """Python's objects, each as the core stores it.

    Args:
        place: class and column, for errors.
        target: what the class says that the field is; None for nothing.
        rules: of the call.
    """

    def __init__(self, place: str, target: Any, rules: Rules) -> None:
        self.place = place
        self.rules = rules
        self.fits = None if target is None else _fit_of(target)
        self.expected = "" if target is None else shown(target)
        #: types whose values are those of the field
        self.plain = frozenset([type(None), *(kind for one, kind in _PLAIN if one == target)])

    def check(self, array: Any) -> None:
        """Look at each value, and whether it can be sent."""
        made, codecs = self.values(array), self.rules.codecs
        if codecs is None or _ANY.issuperset(map(type, made)):
            return
        for start in range(0, len(made), _AT_ONCE):
            some = made[start : start + _AT_ONCE]
            try:
                encode({"": some}, codecs)
            except _REFUSALS:
                for at, value in enumerate(some, start):
                    try:
                        encode({"": value}, codecs)
                    except _REFUSALS as error:
                        raise Unstorable(at, value, error) from None

    def values(self, array: Any) -> list[Any]:
        """Return the values as they are sent."""
        plain = _AS_THEY_ARE if self.fits is None else self.plain
        if plain.issuperset(map(type, array)):
            return [*array]
        return [None if v is None else self._value(at, v) for at, v in enumerate(array)]

    def _value(self, at: int, value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, _CONTAINERS) or getattr(type(value), "_is_subframe", False):
            inner = _listed(value) if isinstance(value, np.ndarray) else value
            # A copy: what the caller has is not changed.
            value = self._inside(at, plain(inner, self.place))
        else:
            value = self._single(at, value)
        if self.fits is None:
            return value
        found = self.fits(value)
        if found is None:
            advice = "convert it, or annotate the field with what it is"
            raise Unfit(at, f"{self.expected}, as its annotation says", value, advice)
        return found

    def _inside(self, at: int, value: Any) -> Any:
        """Return what a container holds, and itself, as it is sent."""
        if isinstance(value, dict):
            if _AS_THEY_ARE.issuperset(map(type, value.values())):
                return value
            return {name: self._inside(at, one) for name, one in value.items()}
        if isinstance(value, list):
            if _AS_THEY_ARE.issuperset(map(type, value)):
                return value
            return [self._inside(at, one) for one in value]
        return self._single(at, value)

    def _single(self, at: int, value: Any) -> Any:
        """Return what holds no other values."""
        if isinstance(value, (datetime, np.datetime64)):
            return self._instant(at, value)
        return _python(value) if isinstance(value, np.generic) else value

    @staticmethod
    def _cut(at: int, value: Any) -> Any:
        """Return a datetime64 in milliseconds."""
        with suppress(OverflowError):  # since NumPy 2.5; before, it wraps around
            cut = value.astype("datetime64[ms]")
            is_longer = np.datetime_data(value.dtype)[0] in _LONGER
            if not is_longer or cut.astype(value.dtype) == value:
                return cut
        raise Unfit(at, "an instant within 64 bits of milliseconds", str(value), "leave it out")

    def _instant(self, at: int, value: Any) -> Any:
        if type(value) is datetime and not value.microsecond % 1000:  # as most are
            if value.tzinfo is timezone.utc:
                return value
            if value.tzinfo is None and self.rules.naive == "utc":
                return value.replace(tzinfo=timezone.utc)
        if value != value:
            # NaT inside of a container: NumPy's is null, the encoder refuses pandas'.
            return None if isinstance(value, np.datetime64) else value
        given, is_finer = value, False
        if isinstance(value, np.datetime64):
            cut = self._cut(at, value)
            is_finer = bool(cut != value)
            found = cut.item()
            value = found if isinstance(found, datetime) else DatetimeMS(int(cut.astype(int)))
        elif value.microsecond % 1000 or getattr(value, "nanosecond", 0):
            is_finer = True
        if is_finer and self.rules.finer == "raise":
            raise Unfit(at, "whole milliseconds", str(given), "round it, or pass finer='cut'")
        if not isinstance(value, datetime):
            return value
        made = datetime.combine(value.date(), value.time().replace(fold=value.fold), value.tzinfo)
        if made.tzinfo is None:
            naive = self.rules.naive
            if naive == "refuse":
                raise Unfit(at, "an instant with a zone", str(given), "give it one")
            made = made.replace(tzinfo=naive if isinstance(naive, tzinfo) else timezone.utc)
        holder = {"": made}
        settle_datetimes(holder, "utc", self.place)
        return holder[""]


def _listed(array: Any) -> Any:
    """Return an array of NumPy's as lists, in which what is no plain number or text stays NumPy's.

    `tolist` gives numbers for instants finer than microseconds and for durations, and leaves the
    names of fields out.
    """
    if array.dtype.kind not in "mMV":
        return array.tolist()
    if not array.ndim:
        return array[()]
    members = [_listed(one) if isinstance(one, np.ndarray) else one for one in array]
    return [None if one is np.ma.masked else one for one in members]


def _python(value: Any) -> Any:
    """Return a scalar of NumPy's as Python's own; durations and records, which the encoder refuses."""
    return value if value.dtype.kind in "mV" else value.item()


def _fit_of(target: Any) -> Callable[[Any], Any] | None:
    """Return what gives a value as a field has it, None where it is none of it."""
    types = pa.types
    if types.is_boolean(target):
        return lambda value: value if isinstance(value, bool) else None
    if types.is_integer(target):
        return _integer
    if types.is_floating(target):
        return _float
    if types.is_string(target) or types.is_large_string(target):
        return lambda value: None if isinstance(value, (*_NO_TEXT,)) else value
    if types.is_timestamp(target):
        return lambda value: value if isinstance(value, (date, DatetimeMS)) else None
    if types.is_date(target):
        return _date
    if types.is_decimal(target) or isinstance(target, Decimal128Type):
        return _decimal
    if is_object_id(target):
        return _object_id
    if target == pa.uuid():
        return _uuid
    if isinstance(target, CodeType):
        return lambda value: Code(value) if isinstance(value, str) else None
    if types.is_binary(target):
        return lambda value: value if isinstance(value, bytes) else None
    if types.is_list(target):
        return _list_of(_fit_of(target.value_type))
    if types.is_struct(target):
        return _document_of({field.name: _fit_of(field.type) for field in target}, None)
    if types.is_map(target):
        return _document_of({}, _fit_of(target.item_type))
    return None


#: Gives a value as a field has it, None where it is none of it; stands for nothing that is said.
_Fit = Callable[[Any], Any] | None


def _inner(fit: _Fit, value: Any) -> Any:
    """Return a value inside of another, `_UNFIT` where it is none."""
    if value is None or fit is None:
        return value
    found = fit(value)
    return _UNFIT if found is None else found


_UNFIT = object()


def _list_of(inner: _Fit) -> Callable[[Any], Any]:
    def fit(value: Any) -> Any:
        if not isinstance(value, list):
            return None
        made = [_inner(inner, item) for item in value]
        return None if any(one is _UNFIT for one in made) else made

    return fit


def _document_of(fields: Mapping[str, _Fit], others: _Fit) -> Callable[[Any], Any]:
    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            return None
        made = {name: _inner(fields.get(name, others), one) for name, one in value.items()}
        return None if any(one is _UNFIT for one in made.values()) else made

    return fit


#: By type, the one whose values are stored as they are.
_PLAIN: tuple[tuple[Any, type], ...] = (
    (pa.string(), str),
    (pa.int64(), int),
    (pa.float64(), float),
    (pa.bool_(), bool),
    (OBJECT_ID, ObjectId),
)

#: What is surely no text; others may be stored as such.
_NO_TEXT = (
    bool,
    int,
    float,
    bytes,
    datetime,
    date,
    ObjectId,
    Decimal,
    Decimal128,
    list,
    dict,
    UUID,
)


def _integer(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**63 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value) if int(float(value)) == value else None
        except OverflowError:
            return None
    return value if isinstance(value, float) else None


def _date(value: Any) -> Any:
    if isinstance(value, datetime):
        value = value.replace(tzinfo=value.tzinfo or timezone.utc)
        return value if not int(DatetimeMS(value)) % DAY else None
    if isinstance(value, DatetimeMS):
        return value if not int(value) % DAY else None
    return value if isinstance(value, date) else None


def _decimal(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value if isinstance(value, (Decimal, Decimal128)) else None


def _object_id(value: Any) -> Any:
    if isinstance(value, str):
        return ObjectId(value) if is_hex(value) else None
    # A frame stands for its _id, of whatever type that is.
    return None if isinstance(value, (bool, int, float, bytes, datetime, list, dict)) else value


def _uuid(value: Any) -> Any:
    if isinstance(value, UUID):
        return value
    return value if isinstance(value, Binary) and value.subtype in (3, 4) else None
