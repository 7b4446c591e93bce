"""What the commands print: plain text of at most 80 columns, with colour only where it is welcome."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["WIDTH", "Screen", "progress", "shortened"]

#: Columns of a terminal that nobody has widened.
WIDTH = 80

_BOLD, _CODE, _PLAIN = "\x1b[1m", "\x1b[36m", "\x1b[0m"


class Screen:
    """Prints titles, text, code and tables.

    Args:
        out: where to; colour is used only if that is a terminal and NO_COLOR is not set.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._has_colour = _has_colour(self._out)

    def title(self, text: str) -> None:
        """Print the title of a part."""
        self._print()
        self._print(self._styled(_BOLD, text))

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._print(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False))

    def code(self, *parts: Any) -> None:
        """Print code: a text as it is, a class or function as it stands in its module."""
        texts = [part if isinstance(part, str) else inspect.getsource(part) for part in parts]
        self._print()
        for text in texts:
            for line in textwrap.dedent(text).strip("\n").splitlines():
                self._print(self._styled(_CODE, f"    {line}") if line else "")
            self._print()

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Print rows in columns: numbers to the right, with separated thousands."""
        texts = [[_text(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        rights = [
            all(isinstance(v, (int, float)) for v in column) for column in zip(*rows, strict=True)
        ]
        for row in texts:
            cells = (
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(row, widths, rights, strict=True)
            )
            self._print("  " + "  ".join(cells).rstrip())

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if self._has_colour else text

    def _print(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs, if that is a terminal and tqdm is there.

    Yields:
        A function that takes how much more is done.
    """
    try:
        tqdm = importlib.import_module("tqdm").tqdm
    except ImportError:
        yield lambda done: None
        return
    with tqdm(total=total, disable=None, unit=f" {unit}", unit_scale=True, leave=False) as bar:
        yield bar.update


def shortened(text: str, width: int) -> str:
    """Return the text, or its beginning and two dots if it is wider.

    >>> shortened("La Guardia", 8)
    'La Gua..'
    """
    return text if len(text) <= width else f"{text[: width - 2]}.."


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _has_colour(out: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not out.isatty():
        return False
    # Of the consoles of Windows, only its Terminal understands colours unasked.
    return sys.platform != "win32" or "WT_SESSION" in os.environ
