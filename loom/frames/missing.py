"""Missing: what stands for a referenced document that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .document import Document

__all__ = ["Missing"]


class Missing:
    """Stands for a referenced document that is not there.

    It is false, every field of it reads None, and writing it back keeps the id.

    >>> gone = Missing(None, 7)
    >>> bool(gone), gone.name, gone._id
    (False, None, 7)
    """

    __slots__ = ("_frame_class", "_id")

    _is_missing: ClassVar[bool] = True

    def __init__(self, frame_class: type[Document] | None, id: Any) -> None:
        self._frame_class = frame_class
        self._id = id

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return None

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return False

    def get(self, name: str, default: Any = None) -> Any:
        """Return `default`: a missing document has no values."""
        return default

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Missing):
            return NotImplemented
        return self._frame_class is other._frame_class and bool(self._id == other._id)

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Missing, (self._frame_class, self._id)

    def __repr__(self) -> str:
        name = "" if self._frame_class is None else f"{self._frame_class.__name__}, "
        return f"Missing({name}{self._id!r})"
