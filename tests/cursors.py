"""Which cursors the server has opened, and which of them were closed."""

from __future__ import annotations

from typing import Any

from pymongo.monitoring import CommandListener


class Opened(CommandListener):
    """All cursors that the server has opened, and those that were closed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.opened: list[int] = []
        self.closed: list[int] = []

    def started(self, event: Any) -> None:
        """Note what is closed."""
        self.asked.append(event.command_name)
        self.closed += event.command.get("cursors", ())

    def succeeded(self, event: Any) -> None:
        """Note what is open, and what was read to the end."""
        if event.command_name in ("find", "aggregate"):
            self.opened.append(event.reply["cursor"]["id"])
        elif event.command_name == "getMore" and not event.reply["cursor"]["id"]:
            self.closed.append(self.opened[-1])

    def failed(self, event: Any) -> None:
        """Nothing to note."""
