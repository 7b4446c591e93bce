"""The directory of an embedded server: where it is, what it may hold, who has it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from .errors import NotConnected

__all__ = ["Claim", "data_directory", "prepare"]

_NOTE = "loom-server.json"


def data_directory() -> Path:
    """Return the directory that `start` takes when none is given.

    It is `LOOM_DATA_DIR`, else the folder `loom` where the platform keeps a user's data.
    """
    named = os.environ.get("LOOM_DATA_DIR")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base, "loom")


def prepare(home: Path) -> None:
    """Make the directory, private to the user; refuse one that holds something else."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [entry.name for entry in home.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise NotConnected(
            f"loom.embedded: cannot use {home}: {error.strerror}; "
            "name another directory, or set LOOM_DATA_DIR"
        ) from error
    if set(names) - {_NOTE} and not any(name.startswith("WiredTiger") for name in names):
        raise NotConnected(
            f"loom.embedded: {home}: expected an empty directory or one of an embedded server, "
            f"got one that holds {min(names)!r}; name another directory"
        )


class Claim:
    """The lock on a directory, and the note that tells others who holds it.

    The lock goes with the process, however it ends. The note is only for messages.
    """

    def __init__(self, home: Path) -> None:
        self._file = os.open(home / _NOTE, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, patience: float = 30.0) -> bool:
        """Return whether the directory is ours; wait for a holder that is about to stop."""
        deadline = time.monotonic() + patience
        # A holder needs a moment to notice that its owner is gone.
        grace = time.monotonic() + 0.3
        while not self._lock():
            now = time.monotonic()
            if now > deadline or (now > grace and "stopping" not in self.read()):
                return False
            time.sleep(0.02)
        return True

    def _lock(self) -> bool:
        try:
            if sys.platform == "win32":
                import msvcrt

                # Far behind the note: what is locked there cannot be read either.
                os.lseek(self._file, 1 << 30, os.SEEK_SET)
                msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def write(self, **note: Any) -> None:
        """Tell others what they need to know of the holder."""
        text = json.dumps(note).encode()
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        os.write(self._file, text)

    def read(self) -> dict[str, Any]:
        """Return what the holder wrote."""
        os.lseek(self._file, 0, os.SEEK_SET)
        try:
            return dict(json.loads(os.read(self._file, 4_096) or b"{}"))
        except ValueError:  # it is being written
            return {}
