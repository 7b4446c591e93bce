"""The embedded server: MongoDB's protocol without an installation.

It is SecantusDB (extra `embedded`), always in a process of its own: Loom never imports it.
`loom.connect("embedded")` is the everyday way to it; this module starts, finds and stops it:

>>> with start(memory=True) as server:
...     print(server.uri)                                                       # doctest: +ELLIPSIS
mongodb://127.0.0.1:.../loom?directConnection=true

The server belongs to the process that started it and ends with it, even if that is killed. A
directory has one server at a time. Every acknowledged write is on the disk. The server listens on
127.0.0.1 only and asks for no password: whoever is logged in to the machine can reach it.

The process itself is `python -m loom.embedded_server`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .embedded_directory import data_directory, prepare
from .errors import NotConnected, missing_extra

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Server", "data_directory", "serve", "start"]

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
        prepare(home)
        return _remember(_launch(home, port, timeout))


def serve(
    directory: str | os.PathLike[str] | None = None, *, memory: bool = False, port: int = 0
) -> None:
    """Run a server in the foreground until Ctrl-C; print its URI for others to connect by.

    The arguments and errors are those of `start`; NotConnected also if the server dies.
    """
    with (
        start(directory, memory=memory, port=port) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        where = "memory, gone when it stops" if server.directory is None else server.directory
        print(f"{server.uri}\nLoom's embedded server, data in {where}; Ctrl-C stops it", flush=True)
        # Short waits, for Windows does not let Ctrl-C interrupt a long one.
        while server.running:
            time.sleep(0.2)
        raise _died("the server died", server._process.returncode, server.log)


def _uri(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/loom?directConnection=true"


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
                [sys.executable, "-W", "ignore", "-m", "loom.embedded_server", *place]
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
