"""LedgerFrame: documents that are added and never changed.

What was true before stays on record: a correction is another document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from . import operations
from .aio import AwaitedClass
from .frame import Frame
from .marks import TimeInserted
from .port import Port, awaited, blocking, complete
from .projections import Projection
from .queries import Filter
from .views import Aio

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LedgerFrame"]

L = TypeVar("L", bound="LedgerFrame")

#: The newest first; of one instant the one with the greatest id.
_NEWEST = [("recorded", -1), ("_id", -1)]


async def _latest(
    port: Port, cls: Any, filter: Filter, projection: Projection, required: bool, options: Any
) -> Any:
    return await operations.one(
        port, cls, filter, projection, required, {"sort": _NEWEST, **options}
    )


class AwaitedLedger(AwaitedClass[L]):
    """The class methods of a LedgerFrame class, awaited."""

    __slots__ = ()

    @overload
    async def latest(
        self,
        filter: Filter = None,
        *,
        required: Literal[True],
        projection: Projection = None,
        **options: Any,
    ) -> L: ...
    @overload
    async def latest(
        self,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> L | None: ...
    async def latest(
        self,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> L | None:
        """Return the newest frame that matches, or None; see `LedgerFrame.latest`."""
        found: L | None = await _latest(awaited(), self._cls, filter, projection, required, options)
        return found


class _LedgerAio(Aio):
    def __get__(self, frame: Any, owner: Any) -> Any:
        return AwaitedLedger(owner) if frame is None else super().__get__(frame, owner)


class LedgerFrame(Frame):
    """A frame that is only ever added: every `save` stores a new document.

    Updates and deletes are refused with ReadOnly, whichever operation asks for them: on a frame,
    in a batch, by a filter, by a cascade. (The collection that `get_collection` gives is PyMongo's
    own, and takes whatever the database user may do.)

    `recorded` is the time of the insert, by this machine's clock.

    >>> class Price(LedgerFrame):
    ...     symbol: str
    ...     amount: float
    """

    __slots__ = ()

    _append_only: ClassVar[bool] = True

    recorded: TimeInserted

    #: The same methods, awaited.
    aio: ClassVar[Any] = _LedgerAio()

    @overload
    @classmethod
    def latest(
        cls,
        filter: Filter = None,
        *,
        required: Literal[True],
        projection: Projection = None,
        **options: Any,
    ) -> Self: ...
    @overload
    @classmethod
    def latest(
        cls,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None: ...
    @classmethod
    def latest(
        cls,
        filter: Filter = None,
        *,
        required: bool = False,
        projection: Projection = None,
        **options: Any,
    ) -> Self | None:
        """Return the frame that was recorded last of those that match, or None.

        Args:
            filter: as for `one`.
            required: raise NotFound instead of returning None.
            projection: as for `one`.
            options: as for `Collection.find_one`.

        Raises:
            NotFound: nothing matches, and `required` is true.
        """
        found: Self | None = complete(
            _latest(blocking(), cls, filter, projection, required, options)
        )
        return found
