"""What the commands print, and where they use colour."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import pytest

from loom.terminal import Screen, progress


class Terminal(io.StringIO):
    """A terminal that remembers what was printed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that asks for nothing special."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.usefixtures("colourful")
def test_colour_on_a_terminal_only() -> None:
    """Titles and code have colour on a terminal, and none in a file."""
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        screen = Screen(out)
        screen.title("Dragons")
        screen.code("burt.fly()")

    assert terminal.getvalue() == "\n\x1b[1mDragons\x1b[0m\n\n\x1b[36m    burt.fly()\x1b[0m\n\n"
    assert file.getvalue() == "\nDragons\n\n    burt.fly()\n\n"


@pytest.mark.usefixtures("colourful")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_when_unwanted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and a dumb terminal get plain text."""
    monkeypatch.setenv(name, value)
    terminal = Terminal()
    Screen(terminal).title("Dragons")

    assert terminal.getvalue() == "\nDragons\n"


def test_table() -> None:
    """Columns of numbers stand to the right, others to the left, nothing trails."""
    out = io.StringIO()
    Screen(out).table([("gold", 1_200, "pieces"), ("skulls", 7, "")])
    Screen(out).table([])

    assert out.getvalue() == "  gold    1,200  pieces\n  skulls      7\n"


def test_say_wraps() -> None:
    """Text is wrapped at 80 columns; long words stay whole."""
    out = io.StringIO()
    Screen(out).say("dragon " * 20 + "x" * 90)

    assert [76, 62, 90] == [len(line) for line in out.getvalue().splitlines()]


def test_progress_without_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without tqdm there is no bar, and no error."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress(10, "dragons") as advance:
        advance(10)

    assert capsys.readouterr() == ("", "")


def test_progress_with_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tqdm the bar gets what is done, is silent in a file, and is closed."""
    seen: list[Any] = []

    class Bar:
        def __init__(self, **options: Any) -> None:
            seen.append(options)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: Any) -> None:
            seen.append("closed")

        def update(self, done: int) -> None:
            seen.append(done)

    module = ModuleType("tqdm")
    module.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", module)
    with progress(10, "dragons") as advance:
        advance(4)

    options, *rest = seen
    assert rest == [4, "closed"]
    assert (options["total"], options["unit"], options["disable"]) == (10, " dragons", None)
