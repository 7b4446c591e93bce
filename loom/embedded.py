"""The embedded server: MongoDB's protocol without an installation.

It is SecantusDB (extra `embedded`), always in a process of its own: Loom never imports it.
`loom.connect("embedded")` is the everyday way to it; this module starts, finds and stops it:

>>> with start(memory=True) as server:
...     print(server.uri)                                                       # doctest: +ELLIPSIS
mongodb://127.0.0.1:.../loom?directConnection=true

The server belongs to the process that started it and ends with it, even if that is killed. A
directory has one server at a time. Every acknowledged write is on the disk. The server listens on
127.0.0.1 only and asks for no password: whoever is logged in to the machine can reach it.

`python -m loom.embedded` is the process itself: it prints one line of JSON when it is ready, and
runs until its standard input closes.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, TYPE_CHECKING, Any

from .errors import NotConnected, missing_extra

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Server", "data_directory", "serve", "start"]

_NOTE = "loom-server.json"
_LOG_LIMIT = 1_000_000  # bytes
_STOP_SECONDS = 10.0

_servers: dict[Path | int, Server] = {}
_starting = threading.Lock()


class Server:
    """A running embedded server; `start` makes it.

    As a context manager it stops at the end of the block. A directory's server is shared by all
    who start it in one process: the first `stop` ends it for all.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], private: Path, ready: Mapping[str, Any], port: int
    ) -> None:
        self._process = process
        self._private = private
        self._owner = os.getpid()
        self._port = port
        self._pid = int(ready["pid"])
        self._directory = Path(ready["directory"]) if ready["directory"] else None

    @property
    def uri(self) -> str:
        """The URI to connect by; its default database is `loom`."""
        return _uri(self._port)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._pid

    @property
    def directory(self) -> Path | None:
        """The directory that holds the data, or None for one in memory."""
        return self._directory

    @property
    def running(self) -> bool:
        """Whether the server still runs."""
        if self._owner == os.getpid():
            return self._process.poll() is None
        # After a fork the server is nobody's child here, so only its port tells.
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        """The last lines that the server wrote, for the report of an error."""
        return _tail(self._private / "log")

    def stop(self) -> None:
        """Stop the server: what is in a directory stays, what is in memory is gone.

        Does nothing when it is stopped already, or in a fork of the process that started it.
        """
        if self._owner != os.getpid():
            return
        if self._process.poll() is None:
            _end(self._process, kindly=self._directory is not None)
        _close(self._process)
        shutil.rmtree(self._private, ignore_errors=True)
        _forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = "memory" if self._directory is None else str(self._directory)
        state = "" if self.running else ", stopped"
        return f"<Server {self.uri} in {where}, pid {self._pid}{state}>"


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


def start(
    directory: str | os.PathLike[str] | None = None,
    *,
    memory: bool = False,
    port: int = 0,
    timeout: float = 60.0,
) -> Server:
    """Return the server of `directory`; it is started unless this process runs it already.

    Args:
        directory: where the data is and stays; made when it does not exist; see `data_directory`.
        memory: start a new server that keeps its data in memory and forgets it.
        port: of 127.0.0.1; 0 takes a free one.
        timeout: seconds to wait for the server. One takes less than a second to start, longer
            after a crash in the middle of many writes.

    Raises:
        MissingExtra: SecantusDB is not installed.
        NotConnected: the directory cannot be used, or is in use by another process, or the server
            did not start; the error carries what it wrote.
    """
    if memory and directory is not None:
        raise NotConnected(
            f"loom.embedded: expected a directory or memory=True, got both ({os.fspath(directory)})"
        )
    if not 0 <= port <= 65_535:
        raise NotConnected(f"loom.embedded: expected a port from 0 to 65535, got {port}")
    if importlib.util.find_spec("secantus") is None:
        raise missing_extra("embedded", "SecantusDB")
    with _starting:
        if memory:
            return _remember(_launch(None, port, timeout))
        home = Path(data_directory() if directory is None else directory).expanduser().resolve()
        server = _servers.get(home)
        if server is not None and server.running:
            if port not in (0, server.port):
                raise NotConnected(
                    f"loom.embedded: {home} is served on port {server.port} by this process, "
                    f"expected {port}; stop that server first"
                )
            return server
        if server is not None:
            server.stop()
        _prepare(home)
        return _remember(_launch(home, port, timeout))


def serve(
    directory: str | os.PathLike[str] | None = None, *, memory: bool = False, port: int = 0
) -> None:
    """Run a server in the foreground until Ctrl-C; print its URI for others to connect by.

    The arguments and errors are those of `start`; NotConnected also if the server dies.
    """
    with start(directory, memory=memory, port=port) as server:
        where = "memory, gone when it stops" if server.directory is None else server.directory
        print(f"{server.uri}\nLoom's embedded server, data in {where}; Ctrl-C stops it", flush=True)
        # Short waits, for Windows does not let Ctrl-C interrupt a long one.
        with contextlib.suppress(KeyboardInterrupt):
            while server.running:
                time.sleep(0.2)
            raise _died("the server died", server._process.returncode, server.log)


def _uri(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/loom?directConnection=true"


# What runs in the process that starts a server.


def _prepare(home: Path) -> None:
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


def _launch(home: Path | None, port: int, timeout: float) -> Server:
    """Start a process and wait until it says that it is ready."""
    private = Path(tempfile.mkdtemp(prefix="loom-"))
    place = ["--memory"] if home is None else ["--directory", str(home)]
    environment = {
        **os.environ,
        # It imports what this process would import, whatever the path to that is here.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(private)),
    }
    process: subprocess.Popen[bytes] | None = None
    try:
        with (private / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "loom.embedded", *place]
                + ["--port", str(port), "--owner", str(os.getpid()), "--private", str(private)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=private,
                env=environment,
                # Ctrl-C in a terminal reaches this process, and not the server.
                start_new_session=True,
                creationflags=0x0000_0200 if sys.platform == "win32" else 0,  # NEW_PROCESS_GROUP
            )
        ready = _first_line(process, timeout)
        if "port" not in ready:
            raise _not_started(process, home, ready, timeout, private / "log")
        return Server(process, private, ready, int(ready["port"]))
    except BaseException as error:
        if process is not None:
            _end(process, kindly=False)
            _close(process)
        shutil.rmtree(private, ignore_errors=True)
        if isinstance(error, OSError):
            raise NotConnected(f"loom.embedded: cannot start {sys.executable}: {error}") from error
        raise


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    """Return what the process says first, or nothing when it ended or took too long."""
    lines: list[bytes] = []
    assert process.stdout is not None
    # In a thread, for no other way to wait for a pipe with a timeout works on every platform.
    reader = threading.Thread(
        target=lambda out: lines.append(out.readline()), args=[process.stdout]
    )
    reader.daemon = True
    reader.start()
    reader.join(timeout)
    if not lines:
        process.kill()
        reader.join()
        return {"late": True}
    try:
        return dict(json.loads(lines[0] or b"{}"))
    except ValueError:
        return {}


def _not_started(
    process: subprocess.Popen[bytes],
    home: Path | None,
    ready: Mapping[str, Any],
    timeout: float,
    log: Path,
) -> NotConnected:
    if "held" in ready:
        held = ready["held"]
        uri = f" at {_uri(held['port'])}" if "port" in held else ""
        return NotConnected(
            f"loom.embedded: {home} is in use by process {held.get('owner', 'unknown')}, whose "
            f"server has pid {held.get('pid', 'unknown')}{uri}, since {held.get('since', 'now')}; "
            "to share it, run `loom serve` in one process and connect the others by its URI"
        )
    if "late" in ready:
        return _died(f"the server was not ready after {timeout:g} seconds", None, _tail(log))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return _died("the server did not start", process.returncode, _tail(log))


def _died(what: str, code: int | None, log: str) -> NotConnected:
    lines = log.splitlines()
    text = f"loom.embedded: {what}"
    if code is not None:
        text += f" (exit code {code})"
    if lines:
        text += f": {lines[-1].strip()}"
    if len(lines) > 1:
        text += "\nThe server wrote:\n" + "\n".join(f"    {line}" for line in lines)
    return NotConnected(text)


def _tail(path: Path, lines: int = 20) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _end(process: subprocess.Popen[bytes], *, kindly: bool) -> None:
    """End the process: ask by closing its input, then by a signal, then kill it."""
    if kindly:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        for ask in (process.terminate, process.kill):
            try:
                process.wait(_STOP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                ask()
    else:
        process.kill()
    process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _remember(server: Server) -> Server:
    _servers[server.directory or server.pid] = server
    return server


def _forget(server: Server) -> None:
    key = server.directory or server.pid
    if _servers.get(key) is server:
        del _servers[key]


@atexit.register
def _stop_all() -> None:
    for server in list(_servers.values()):
        server.stop()


def _after_fork() -> None:
    """Let go of the parent's servers: the pipes are what keeps them alive."""
    global _starting
    _starting = threading.Lock()
    for server in _servers.values():
        if server._process.returncode is None:
            _close(server._process)
            server._process.returncode = 0  # else Popen warns, at the exit, of a child that runs


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# What runs in the process of the server.


class _Claim:
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
        text = json.dumps(note).encode()
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        os.write(self._file, text)

    def read(self) -> dict[str, Any]:
        os.lseek(self._file, 0, os.SEEK_SET)
        try:
            return dict(json.loads(os.read(self._file, 4_096) or b"{}"))
        except ValueError:  # it is being written
            return {}


class _BoundedLog(logging.Handler):
    """Writes to standard error, and starts its file again before that fills the disk."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            if os.fstat(2).st_size > _LOG_LIMIT:
                os.ftruncate(2, 0)
            os.write(2, f"{self.format(record)}\n".encode())


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loom.embedded",
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
    claim: _Claim | None = None
    note: dict[str, Any] = {"owner": owner, "pid": os.getpid()}
    if home is not None:
        _prepare(home)
        claim = _Claim(home)
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
