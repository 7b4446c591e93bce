"""Moment: what was so at an instant, and since when it is known.

A moment has two times: `time`, when it happened, and `known_at`, when it became known. A fact that
is corrected is known twice, of one time.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, ClassVar

from ...datetimes import python_datetime
from ...errors import DefinitionError, EncodeError, nearest
from .. import events
from ..annotations import resolved_annotations
from ..frame import Frame
from ..marks import TimeInserted, marks_in

__all__ = ["Moment", "TimedFrame"]

#: The settings that name fields, each with what is in the field.
_NAMED = {"_time_field": "time", "_symbol_field": "symbol", "_known_at_field": "known_at"}


def _check_fields(cls: Any) -> None:
    """Refuse settings that name no fields, or fields of other types.

    Raises:
        DefinitionError: one does.
    """
    definition = cls._definition
    for setting, content in _NAMED.items():
        name = getattr(cls, setting)
        if name is None:
            continue
        place = f"{cls.__name__}.{setting}"
        if definition.is_open or name not in definition.names:
            raise DefinitionError(
                f"{place}: expected the name of a declared field, got {name!r}"
                f"{nearest(name, definition.names)}"
            )
        found = marks_in(resolved_annotations(definition).get(name, Any))
        is_time = found.shape == "one" and _may_be_a_time(found.target)
        if content != "symbol" and not is_time:
            raise DefinitionError(
                f"{place}: expected a field of datetimes, got {name!r} of another type; annotate "
                f"it with datetime{' or TimeInserted' if content == 'known_at' else ''}"
            )


def _may_be_a_time(target: Any) -> bool:
    return not isinstance(target, type) or issubclass(target, datetime)


class TimedFrame(Frame):
    """A frame with a time, whatever its fields are called: the parent of `Moment`.

    For collections that are there already:

    - `_time_field`: name of the field that says when it happened.
    - `_symbol_field`: name of the field that says of what it is told; None when all documents
      tell of one thing.
    - `_known_at_field`: name of the field that says since when it is known; None when no field does.

    >>> class Reading(TimedFrame):
    ...     _time_field = "ts"
    ...     _symbol_field = "sensor"
    ...     ts: datetime
    ...     sensor: int
    ...     celsius: float
    """

    __slots__ = ()

    _time_field: ClassVar[str | None] = None
    _symbol_field: ClassVar[str | None] = None
    _known_at_field: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_fields(cls)


class Moment(TimedFrame):
    """What was so at an instant: a price, a temperature, a position.

    `time` is when it happened. `known_at` is when it became known: the time of the insert, unless
    it is given, because what is brought from elsewhere was known earlier. Both are aware in UTC.

    An `insert` without `time` or `symbol` is refused.

    >>> class Price(Moment):
    ...     amount: float
    >>> noon = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
    >>> Price(symbol="ACME", time=noon, amount=9.5).time.hour
    12
    """

    __slots__ = ()

    _time_field: ClassVar[str | None] = "time"
    _symbol_field: ClassVar[str | None] = "symbol"
    _known_at_field: ClassVar[str | None] = "known_at"

    symbol: str
    time: datetime
    known_at: TimeInserted


def check_moments(sender: type, frames: list[Any]) -> None:
    """Refuse frames without their time or symbol; a listener for `insert`.

    A naive time is taken as the connection's `naive=` says, and is aware then.

    Args:
        sender: the class.
        frames: their times are made aware, in place.

    Raises:
        EncodeError: one has none, or a time that is no datetime.
    """
    running = events.running()
    naive = "utc" if running is None else running.port.naive(sender)
    for frame in frames:
        cls, document = type(frame), frame._document
        symbol_field = cls._symbol_field
        if symbol_field is not None and document.get(symbol_field) in (None, ""):
            raise EncodeError(
                f"{cls.__name__}.{symbol_field}: expected a symbol, got "
                f"{document.get(symbol_field)!r}; say of what it is told"
            )
        for name in (cls._time_field, cls._known_at_field):
            if name is None:
                continue
            time = document.get(name)
            if type(time).__name__ == "datetime64":
                time = document[name] = python_datetime(time)
            if not isinstance(time, datetime) or time != time:  # pandas' NaT
                raise EncodeError(
                    f"{cls.__name__}.{name}: expected an aware datetime, got {time!r}"
                )
            if time.tzinfo is None and naive == "utc":
                document[name] = time.replace(tzinfo=timezone.utc)


def _declared(cls: type) -> list[tuple[str, Any]]:
    """Return the listener that a class with a time asks for, called after its stamps are set."""
    if issubclass(cls, TimedFrame) and cls._time_field is not None:
        return [("insert", check_moments)]
    return []


events.declaring.append(_declared)
