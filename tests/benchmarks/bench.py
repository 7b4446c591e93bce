"""What the cases share: the server, both clients, and the lines of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

import loom as lm

from .measure import Comparison

__all__ = ["Bench", "Documents", "Row", "ratio_row", "time_text"]

Documents = list[dict[str, Any]]


class Bench:
    """What the cases share: the server, both clients and how long they may take."""

    def __init__(self, uri: str, rounds: int | None, quick: bool) -> None:
        self.is_quick = quick
        self.uri = uri
        self._rounds = rounds
        self.connection = lm.connect(uri)
        self.client: MongoClient[dict[str, Any]] = MongoClient(
            uri, tz_aware=True, uuidRepresentation="standard"
        )
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        """Close both clients and the loop."""
        self.loop.run_until_complete(lm.aio.close())
        self.loop.close()
        lm.close()
        self.client.close()

    def rounds(self, usual: int) -> int:
        """Return how many rounds a case has."""
        return self._rounds or (2 if self.is_quick else usual)

    def size(self, usual: int) -> int:
        """Return how many documents or calls a case has."""
        return usual // 50 if self.is_quick else usual

    def collection(self, frame_class: type[lm.Frame]) -> Collection[dict[str, Any]]:
        """Return the collection of a class as a raw client sees it."""
        return self.client["bench"][str(frame_class._collection)]

    def commands(self, action: Callable[[], Any]) -> int:
        """Return how many commands a call sends."""
        self.client.admin.command("commandCounts", reset=True)
        action()
        return int(self.client.admin.command("commandCounts")["total"])

    def use(self, frame_class: type[lm.Frame], kind: str, size: int) -> None:
        """Let a class stand for a collection of the server."""
        frame_class._collection = f"{kind}_{size}"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: str
    loom: str
    raw: str
    ratio: str
    spread: str
    limit: str
    passed: bool


def ratio_row(case: str, found: Comparison, limit: float) -> Row:
    return Row(
        case,
        time_text(found.loom),
        time_text(found.raw),
        f"{found.ratio:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        f"{limit:.2f}",
        round(found.ratio, 2) <= limit,
    )


def time_text(seconds: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
