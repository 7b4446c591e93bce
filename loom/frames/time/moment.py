"""Moment: what was so at an instant, and since when it is known.

A moment has two times: `time`, when it happened, and `known_at`, when it became known. A fact that
is corrected is known twice, of one time.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from ...datetimes import python_datetime
from ...errors import DefinitionError, EncodeError, nearest
from .. import events
from ..aio import AwaitedClass
from ..frame import Frame
from ..ledger import LedgerFrame
from ..marks import TimeInserted
from ..port import awaited, blocking, complete
from ..projections import Projection
from ..signals import checking
from ..timeseries import may_hold_a_time
from ..views import Aio
from . import known
from .known import Of
from .timeframe import TimeFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from .windows.window import MomentWindow
    from .zones import TimeZone

__all__ = ["LedgerMoment", "Moment", "TimedFrame"]

T = TypeVar("T", bound="TimedFrame")

#: The settings that name fields, each with what is in the field.
_NAMED = {"_time_field": "time", "_symbol_field": "symbol", "_known_at_field": "known_at"}


class AwaitedMoments(AwaitedClass[T]):
    """The class methods of a class of moments, awaited."""

    __slots__ = ()

    @overload
    async def latest(
        self,
        filter: Of = None,
        *,
        required: Literal[True],
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> T: ...
    @overload
    async def latest(
        self,
        filter: Of = None,
        *,
        required: bool = False,
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> T | None: ...
    async def latest(
        self,
        filter: Of = None,
        *,
        required: bool = False,
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> T | None:
        """Return the moment with the latest time, or None; see `Moment.latest`."""
        found: T | None = await known.latest(
            awaited(), self._cls, filter, known_at, projection, required, options
        )
        return found

    async def as_of(
        self,
        filter: Of = None,
        known_at: datetime | None = None,
        frame: TimeFrame | None = None,
        *,
        projection: Projection = None,
        **options: Any,
    ) -> list[T]:
        """Return what was known of each time at an instant; see `Moment.as_of`."""
        return await known.as_of(awaited(), self._cls, filter, known_at, frame, projection, options)

    async def window(
        self,
        filter: Of = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> MomentWindow:
        """Return the moments of a symbol as columns; see `Moment.window`."""
        from .windows.window import MomentWindow  # with the extra

        return await MomentWindow.aio.load(
            self._cls, filter, start, end, projection=projection, tzone=tzone, **options
        )


class _MomentAio(Aio):
    def __get__(self, frame: Any, owner: Any) -> Any:
        return AwaitedMoments(owner) if frame is None else super().__get__(frame, owner)


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
                f"{nearest(str(name), definition.names)}"
            )
        if content != "symbol" and not may_hold_a_time(cls, name):
            raise DefinitionError(
                f"{place}: expected a field of datetimes, got {name!r} of another type; annotate "
                f"it with datetime{' or TimeInserted' if content == 'known_at' else ''}"
            )


def _place_of_ours(cls: type) -> int:
    return cls.mro().index(TimedFrame)


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

    #: The same methods, awaited.
    aio: ClassVar[Any] = _MomentAio()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if issubclass(cls, LedgerFrame) and cls.mro().index(LedgerFrame) < _place_of_ours(cls):
            raise DefinitionError(
                f"{cls.__name__}: expected moments before LedgerFrame, whose latest() goes by the "
                f"time of the insert; write class {cls.__name__}(Moment, LedgerFrame)"
            )
        _check_fields(cls)

    @overload
    @classmethod
    def latest(
        cls,
        filter: Of = None,
        *,
        required: Literal[True],
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> Self: ...
    @overload
    @classmethod
    def latest(
        cls,
        filter: Of = None,
        *,
        required: bool = False,
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None: ...
    @classmethod
    def latest(
        cls,
        filter: Of = None,
        *,
        required: bool = False,
        known_at: datetime | None = None,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None:
        """Return the moment with the latest time, or None; of several versions the last one.

        Of those that became known together it is the one with the greatest `_id`.

        Args:
            filter: a symbol, or a filter as for `one`.
            required: raise NotFound instead of returning None.
            known_at: as it was known then; what became known later, or nobody knows when, does
                not count.
            projection: as for `one`.
            options: as for `Collection.find_one`.

        Raises:
            NotFound: nothing matches, and `required` is true.
            QueryError: the filter cannot be sent, or the class does not name the field it needs.
        """
        found: Self | None = complete(
            known.latest(blocking(), cls, filter, known_at, projection, required, options)
        )
        return found

    @classmethod
    def as_of(
        cls,
        filter: Of = None,
        known_at: datetime | None = None,
        frame: TimeFrame | None = None,
        *,
        projection: Projection = None,
        **options: Any,
    ) -> list[Self]:
        """Return what was known at an instant: each time's last versions.

        Of one symbol and one time that counts which became known last, `known_at` included.
        Several that became known together, as two trades of one millisecond, all count. They come
        in the order of time, known-at and `_id`. One aggregate, with `$setWindowFields` (MongoDB
        5.0; in a transaction 5.3).

        Symbols are told apart exactly. A collation, of the call or of a case-insensitive index,
        finds 'acme' and 'ACME', and a server would take one for a correction of the other: then
        all versions are fetched, and the last ones chosen here.

        Args:
            filter: a symbol, or a filter as for `one`; it chooses among versions, too.
            known_at: the instant; without it, what is known now.
            frame: only times in it.
            projection: as for `one`, without `$slice` and `$elemMatch`.
            options: as for `Collection.aggregate`.

        Raises:
            QueryError: as for `latest`.
            ProjectionError: the projection cannot be understood, or not by an aggregate.
        """
        return complete(known.as_of(blocking(), cls, filter, known_at, frame, projection, options))

    @classmethod
    def window(
        cls,
        filter: Of = None,
        start: datetime | TimeFrame | None = None,
        end: datetime | None = None,
        *,
        projection: Iterable[str] | None = None,
        tzone: TimeZone | None = None,
        **options: Any,
    ) -> MomentWindow:
        """Return the moments of a symbol as columns; see `MomentWindow`.

        Needs the extras `arrow` and `time`.

        Args:
            filter: a symbol, or a filter that matches moments of one symbol.
            start: an aware datetime, from which on moments are loaded; or a time frame, which has
                both ends.
            end: an aware datetime, before which they are.
            projection: names of fields, to load no more.
            tzone: the zone in which times are shown, by default UTC.
            options: as for `loom.frames.arrow.table`.

        Raises:
            QueryError: several symbols, or moments without a time; the message counts them.
            SchemaError: a field has no type, or a value does not fit it.
            TimeFrameError: a datetime without a zone.
        """
        from .windows.window import MomentWindow  # with the extra

        return MomentWindow.load(
            cls, filter, start, end, projection=projection, tzone=tzone, **options
        )


class Moment(TimedFrame):
    """What was so at an instant: a price, a temperature, a position.

    `time` is when it happened. `known_at` is when it became known: the time of the insert, unless
    it is given, because what is brought from elsewhere was known earlier. Both are aware in UTC.

    An `insert` without `time` or `symbol` is refused. An `update` leaves `known_at` as it is:
    insert corrections, or declare `known_at: TimeUpdated`.

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


class LedgerMoment(Moment, LedgerFrame):
    """A moment that is only ever added: a correction is another one, of the same time.

    The same as `class Price(Moment, LedgerFrame)`. `recorded` is when it was inserted, by this
    machine's clock, whatever `known_at` says. A `save` of a moment that is stored adds the
    corrected one; it is known from then on, a millisecond after what it corrects at least, unless
    its `known_at` was assigned.

    >>> class Price(LedgerMoment):
    ...     amount: float
    """

    __slots__ = ()


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
                f"{cls.__name__}.{symbol_field}: expected what the moment tells of, got "
                f"{_shown(document.get(symbol_field))}; set {symbol_field} before it is inserted"
            )
        for name in (cls._time_field, cls._known_at_field):
            if name is None:
                continue
            time = document.get(name)
            if type(time).__name__ == "datetime64":
                time = document[name] = python_datetime(time)
            if not isinstance(time, datetime) or time != time:  # pandas' NaT
                hint = "when it happened" if name == cls._time_field else "since when it is known"
                raise EncodeError(
                    f"{cls.__name__}.{name}: expected a datetime, got {_shown(time)}; say {hint}"
                )
            if time.tzinfo is None and naive == "utc":
                document[name] = time.replace(tzinfo=timezone.utc)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value!r} of type {type(value).__name__}"


def _declared(cls: type) -> list[tuple[str, Any]]:
    """Return the listener that a class with a time asks for, called after its stamps are set."""
    if issubclass(cls, TimedFrame) and cls._time_field is not None:
        return [("insert", check_moments)]
    return []


events.declaring.append(_declared)
checking.append(check_moments)
