"""For tests of programs that use Loom: how many commands a block of code sends.

In a `conftest.py`, `pytest_plugins = ["loom.testing"]` makes `assert_queries` a fixture as well. No
entry point does so by itself, which would import Loom in every run of pytest on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .taps import Command, can_be_tapped, tapped

try:
    import pytest
except ModuleNotFoundError:  # the function serves other test runners
    pytest = None  # type: ignore[assignment]

__all__ = ["Command", "assert_queries"]

#: What tells commands of one kind apart.
_TELLING = ("filter", "pipeline", "query", "updates", "deletes", "documents", "key", "indexes")


@contextmanager
def assert_queries(
    expected: int | None = None, *, at_most: int | None = None
) -> Iterator[list[Command]]:
    """Check how many commands are sent to the server inside the block.

    All of this process count, by Loom or by PyMongo itself, blocking and awaited, in all threads: so
    it also works around the client of a web framework's tests. What the driver sends by itself
    (`hello`, `endSessions`, `killCursors`) does not count; each further batch of a cursor
    (`getMore`) does, and so do `commitTransaction` and `abortTransaction`.

    Args:
        expected: exactly so many.
        at_most: no more than that.

    Yields:
        The commands sent so far; it grows.

    Raises:
        AssertionError: it was another number; the message lists them.

    >>> with assert_queries(0) as commands:
    ...     pass
    >>> commands
    []
    """
    wanted = expected if at_most is None else at_most
    if (expected is None) is (at_most is None) or type(wanted) is not int or wanted < 0:
        raise TypeError(
            "assert_queries: expected one number of commands, as in assert_queries(2) or "
            f"assert_queries(at_most=2), got {expected!r} and at_most={at_most!r}"
        )
    if not can_be_tapped():
        raise RuntimeError(
            "assert_queries: expected PyMongo's log, which tells of commands, got it switched off "
            "by logging.disable(); call logging.disable(logging.NOTSET)"
        )
    sent: list[Command] = []

    def note(command: Command) -> None:
        if command.reply is None:
            sent.append(command)

    with tapped(note):
        yield sent
    number = len(sent)
    if number != expected if at_most is None else number > at_most:
        limit = f"{wanted}" if at_most is None else f"at most {wanted}"
        word = "command" if wanted == 1 else "commands"
        raise AssertionError(f"expected {limit} {word}, got {number}{_listed(sent)}")


def _listed(sent: list[Command]) -> str:
    lines = [f"\n  {number}. {_shown(command)}" for number, command in enumerate(sent, 1)]
    return f":{''.join(lines)}" if lines else ""


def _shown(command: Command) -> str:
    """Return a command in one line: what it does, to what, and what tells it from others."""
    parts = [command.name, command.collection or command.database]
    parts += [f"{name}={_brief(command.body[name])}" for name in _TELLING if name in command.body]
    return " ".join(parts)


def _brief(value: Any) -> str:
    if isinstance(value, list):
        value = [dict(item) if isinstance(item, Mapping) else item for item in value[:3]]
    shown = repr(dict(value) if isinstance(value, Mapping) else value)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


if pytest is not None:

    @pytest.fixture(name="assert_queries")
    def _assert_queries() -> Callable[..., AbstractContextManager[list[Command]]]:
        """Return `assert_queries`."""
        return assert_queries
