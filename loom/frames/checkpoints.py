"""Checkpoints: where a change stream is kept, so that it goes on after a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from bson import json_util

from ..errors import HistoryLost, QueryError

__all__ = ["Checkpoint", "CheckpointLike", "FileCheckpoint", "checkpoint_of"]


@runtime_checkable
class Checkpoint(Protocol):
    """Keeps the place of a change stream.

    For an awaited stream both methods may be `async def`. A token is a small document; it is to be
    kept as it is.
    """

    def load(self) -> Any:
        """Return the token that was saved last, None at the very beginning."""

    def save(self, token: Mapping[str, Any], /) -> Any:
        """Keep a token in place of the last one."""


#: What `checkpoint=` takes.
CheckpointLike: TypeAlias = str | os.PathLike[str] | Checkpoint | None


class FileCheckpoint:
    """Keeps the place of a change stream in a file.

    The file is replaced as a whole: after a crash it holds the new token or the one before.

    Args:
        path: of the file; its directory must exist.
        name: of what is watched; a file that was written for something else is refused.
    """

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        self.path = Path(path)
        self._name = name

    def __repr__(self) -> str:
        return f"FileCheckpoint({str(self.path)!r})"

    def load(self) -> dict[str, Any] | None:
        """Return the token in the file, None when there is no file.

        Raises:
            HistoryLost: the file holds something else.
        """
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        try:
            kept = json_util.loads(text)
            name, token = kept["watched"], kept["token"]
        except (ValueError, TypeError, KeyError) as error:
            raise HistoryLost(
                f"{self._name}.watch: expected a checkpoint in {str(self.path)!r}, got something "
                "else; what changed since is not known: read the collection anew, then delete the "
                "file"
            ) from error
        if name != self._name:
            raise QueryError(
                f"{self._name}.watch: expected the checkpoint of {self._name!r}, got that of "
                f"{name!r} in {str(self.path)!r}; give each stream a file of its own"
            )
        return dict(token)

    def save(self, token: Mapping[str, Any]) -> None:
        """Replace what the file holds."""
        text = json.dumps({"watched": self._name, "token": json.loads(json_util.dumps(token))})
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def checkpoint_of(given: CheckpointLike, name: str) -> Checkpoint | None:
    """Return what keeps the place of a stream, None for nothing.

    Raises:
        QueryError: it is neither a path nor has it `load` and `save`.
    """
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)):
        return FileCheckpoint(given, name)
    if not isinstance(given, type) and isinstance(given, Checkpoint):
        return given
    raise QueryError(
        f"{name}.watch: expected checkpoint= to be a path, or an object with load() and save(), "
        f"got {given!r}"
    )
