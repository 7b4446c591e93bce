"""What the results of insight have in common: they are frozen, shown briefly, and stored."""

from __future__ import annotations

import html
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import missing_extra
from ..document import SubFrame

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Result", "axes_for", "number_text"]


class Result(SubFrame):
    """A frozen sub-frame: equal by value, hashable, and stored in a field like any other."""

    __slots__ = ()

    n: int
    left_out: int

    def __init__(self, document: dict[str, Any] | None = None, /, **values: Any) -> None:
        super().__init__(document, **values)
        # What is read back from the server holds lists.
        frozen = {name: _frozen(value) for name, value in self._document.items()}
        object.__setattr__(self, "_document", frozen)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_document", "_state"):
            raise self._refusal(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise self._refusal(name)

    def __setitem__(self, name: str, value: Any) -> None:
        raise self._refusal(name)

    def __delitem__(self, name: str) -> None:
        raise self._refusal(name)

    def _refusal(self, name: str) -> AttributeError:
        return AttributeError(
            f"{type(self).__name__}.{name}: expected no change, results are frozen; make a new one"
        )

    def __hash__(self) -> int:  # type: ignore[override]  # frozen, unlike its parent
        return hash((type(self), tuple(sorted(self._document.items()))))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __bool__(self) -> bool:
        """False when there was no data."""
        return self._document.get("n") != 0

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={text}" if name else text for name, text in self._lines())
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"

    def plot(self, axes: Any = None) -> Any:
        """Draw the result; return the axes of matplotlib."""
        raise NotImplementedError

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Yield what is shown: names, and texts of values."""
        if not self._definition.names <= self._document.keys():
            # Read in part, by a projection.
            yield from ((name, repr(value)) for name, value in self._document.items())
            return
        if self.n:
            yield "n", str(self.n)
            yield from self._figures()
        else:
            yield "", "no data"
        if self.left_out:
            yield "left_out", str(self.left_out)

    def _figures(self) -> Iterator[tuple[str, str]]:
        """Yield what a child shows between n and left_out."""
        raise NotImplementedError


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def number_text(value: float | None) -> str:
    """Return a number in at most six digits; more when they are what tells it from others.

    >>> number_text(0.1 + 0.2), number_text(1000000000.25), number_text(None)
    ('0.3', '1000000000.25', 'None')
    """
    if value is None:
        return "None"
    return f"{value:.12g}" if 1e6 <= abs(value) < 1e12 else f"{value:.6g}"


def axes_for(axes: Any, count: int = 1) -> Any:
    """Return the axes to draw on, new ones when none are given.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        pyplot: Any = import_module("matplotlib.pyplot")
    except ImportError:
        raise missing_extra("plot", "matplotlib") from None
    if axes is not None:
        return axes
    return pyplot.subplots(1, count, figsize=(5 * count, 4), layout="constrained")[1]
