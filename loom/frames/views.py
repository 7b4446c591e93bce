"""The attribute `aio` of classes and frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from .aio import AwaitedClass
    from .aio_frame import AwaitedFrame
    from .frame import Frame

__all__ = ["Aio"]

F = TypeVar("F", bound="Frame")


class Aio:
    """The attribute `aio`: of a class it gives its awaited class methods, of a frame its own."""

    @overload
    def __get__(self, frame: None, owner: type[F]) -> AwaitedClass[F]: ...
    @overload
    def __get__(self, frame: F, owner: type[F]) -> AwaitedFrame[F]: ...
    def __get__(self, frame: Any, owner: Any) -> Any:
        # Imported here: a script that only makes blocking calls does without.
        if frame is None:
            from .aio import AwaitedClass

            return AwaitedClass(owner)
        from .aio_frame import AwaitedFrame

        return AwaitedFrame(frame)
