"""The process of the embedded server, `python -m loom.embedded_server`.

It prints one line of JSON when it is ready, and runs until its standard input closes. It alone
imports SecantusDB; `loom.embedded` starts it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

from .embedded_directory import Claim, data_directory, prepare

_LOG_LIMIT = 1_000_000  # bytes


class _BoundedLog(logging.Handler):
    """Writes to standard error, and starts its file again before that fills the disk."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            if os.fstat(2).st_size > _LOG_LIMIT:
                os.ftruncate(2, 0)
            os.write(2, f"{self.format(record)}\n".encode())


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loom.embedded_server",
        description="Run Loom's embedded server until standard input closes.",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--directory", type=Path, help="where the data is (default: LOOM_DATA_DIR)")
    place.add_argument("--memory", action="store_true", help="keep the data in memory")
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)"
    )
    parser.add_argument("--owner", type=int, default=os.getppid(), help=argparse.SUPPRESS)
    parser.add_argument("--private", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    # Run by hand, Ctrl-C stops it; run by Loom, only the process that started it does.
    signal.signal(signal.SIGINT, leave if sys.stdin.isatty() else signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, handlers=[_BoundedLog()])
    # Standard output is for the one line; what anybody else prints goes to standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        home = None if options.memory else Path(options.directory or data_directory()).resolve()
        code = _run(home, options.port, options.owner, out)
    # Not after an exception: the log is in there, and the owner reads it.
    if options.private is not None:
        shutil.rmtree(options.private, ignore_errors=True)
    return code


def _run(home: Path | None, port: int, owner: int, out: IO[str]) -> int:
    claim: Claim | None = None
    note: dict[str, Any] = {"owner": owner, "pid": os.getpid()}
    if home is not None:
        prepare(home)
        claim = Claim(home)
        if not claim.take():
            print(json.dumps({"held": claim.read()}), file=out, flush=True)
            return 1
        note["since"] = datetime.now().astimezone().isoformat(" ", "seconds")
        claim.write(**note)
    server = importlib.import_module("secantus").SecantusDBServer(
        port=port,
        storage_path=":memory:" if home is None else str(home),
        # Fail points are for tests; tests have no time to wait for documents to expire.
        enable_test_commands=home is None,
        ttl_sweep_seconds=1 if home is None else 60,
        # Without it, a power failure loses writes that were acknowledged.
        sync_on_commit=home is not None,
        durable=home is not None,
    )
    try:
        server.start()
    except OSError as error:
        server.stop()
        raise SystemExit(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
    note["port"] = server.port
    if claim is not None:
        claim.write(**note)
    print(json.dumps({**note, "directory": home and str(home)}), file=out, flush=True)
    try:
        sys.stdin.buffer.read()
    finally:
        if claim is not None:
            claim.write(**note, stopping=True)
            _stop(server)
    return 0


def _stop(server: Any) -> None:
    """Stop the server, without the 2 s that its thread would wait for one more connection."""
    stopped = threading.Event()

    def knock() -> None:
        while not stopped.wait(0.02):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", server.port), timeout=0.1).close()

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        # In the thread that made it: from another one it cannot write down the state of its oplog.
        server.stop()
    finally:
        stopped.set()
        knocking.join()


if __name__ == "__main__":
    sys.exit(_main())
