"""The embedded server, started for real."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from loom import embedded
from loom.errors import MissingExtra, NotConnected

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("secantus") is None, reason="SecantusDB is not installed"
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and fork")


@contextlib.contextmanager
def client_of(server: embedded.Server) -> Iterator[MongoClient[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(server.uri, serverSelectionTimeoutMS=5_000)
    try:
        yield client
    finally:
        client.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie is dead, though nobody has asked for its exit code yet.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def python(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a program that talks to us by lines."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


HOLD = """
import sys
from loom import embedded
server = embedded.start(sys.argv[1] if sys.argv[1:] else None, memory=not sys.argv[1:])
print(server.pid, server.port, server._private, flush=True)
sys.stdin.read()
"""


def test_data_survives(tmp_path: Path) -> None:
    """A directory keeps its data from one start to the next, and its server leaves nothing else."""
    with embedded.start(tmp_path / "data") as server, client_of(server) as client:
        private = server._private
        client.get_default_database()["dragons"].insert_one({"_id": "Burt"})
        log = server.log

    assert not alive(server.pid)
    assert not private.exists()
    assert log == ""
    assert "stopped" in repr(server)

    with embedded.start(str(tmp_path / "data")) as server, client_of(server) as client:
        assert client["loom"]["dragons"].count_documents({}) == 1
        assert server.directory == tmp_path / "data"
        assert server.uri == f"mongodb://127.0.0.1:{server.port}/loom?directConnection=true"
        assert repr(server) == f"<Server {server.uri} in {tmp_path / 'data'}, pid {server.pid}>"


def test_one_server_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads that start a directory get its one server; only another port is refused."""
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path / "data"))
    got: list[embedded.Server] = []
    threads = [threading.Thread(target=lambda: got.append(embedded.start())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with got[0] as server:
        assert got == [server] * 3
        assert embedded.start(tmp_path / "data" / ".." / "data", port=server.port) is server
        with pytest.raises(NotConnected, match=f"is served on port {server.port} by this process"):
            embedded.start(port=1 + server.port % 65_535)


def test_restart_after_a_crash(tmp_path: Path) -> None:
    """When the server was killed, the next start makes a new one, with every write."""
    with embedded.start(tmp_path) as server:
        with client_of(server) as client:
            client["loom"]["dragons"].insert_one({"_id": "Burt"})
        os.kill(server.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        assert until(lambda: not server.running)
        with embedded.start(tmp_path) as second, client_of(second) as other:
            assert second is not server
            assert other["loom"]["dragons"].find_one() == {"_id": "Burt"}


def test_second_process(tmp_path: Path) -> None:
    """Another process is refused, and told who has the directory and how to share it."""
    with embedded.start(tmp_path) as server:
        other = python(HOLD, tmp_path)
        out, err = other.communicate(timeout=240)

        message = err.strip().splitlines()[-1]
        assert (out, other.returncode) == ("", 1)
        assert message.startswith(
            f"loom.errors.NotConnected: loom.embedded: {tmp_path} is in use by process "
            f"{os.getpid()}, whose server has pid {server.pid} at {server.uri}, since "
        )
        assert message.endswith(
            "to share it, run `loom serve` in one process and connect the others by its URI"
        )
        assert server.running


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in memory starts empty, stops at once, and leaves nothing on the disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with embedded.start(memory=True) as server:
        with client_of(server) as client:
            client["loom"]["dragons"].insert_one({"_id": "Burt"})
        assert server.directory is None
        assert "in memory" in repr(server)
        assert list(tmp_path.iterdir())
        kindly: list[bool] = []
        end = embedded._end
        monkeypatch.setattr(
            embedded,
            "_end",
            lambda process, **how: (kindly.append(how["kindly"]), end(process, **how)),
        )
        server.stop()
        assert [False] == kindly  # a kind end takes two seconds, and saves nothing here
    server.stop()

    assert not server.running
    assert not alive(server.pid)
    assert not list(tmp_path.iterdir())


@posix
@pytest.mark.parametrize("memory", [True, False])
def test_killed_owner(tmp_path: Path, memory: bool) -> None:
    """The server ends with the process that started it, also if that is killed; so does its folder.

    The directory is free for the next at once, without a wait by the user.
    """
    owner = python(HOLD, *([] if memory else [tmp_path]))
    assert owner.stdout is not None
    pid, port, private = owner.stdout.readline().split(maxsplit=2)
    owner.kill()
    owner.communicate()
    if not memory:
        with embedded.start(tmp_path) as server:
            assert server.pid != int(pid)

    assert until(lambda: not alive(int(pid)))
    assert not Path(private.strip()).exists()
    assert until(lambda: not answers(int(port)))


@posix
def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C reaches the program and not its server, which is stopped cleanly at the exit."""
    owner = python(HOLD, tmp_path)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline().split()[0])
    os.kill(pid, signal.SIGINT)
    time.sleep(0.1)

    assert os.getpgid(pid) != os.getpgid(owner.pid)
    assert alive(pid)

    owner.send_signal(signal.SIGINT)
    owner.communicate(timeout=240)

    assert not alive(pid)
    assert '"stopping": true' in (tmp_path / "loom-server.json").read_text()


FORK = """
import os, sys, warnings
from loom import embedded
warnings.simplefilter("error")
server = embedded.start(sys.argv[1])
child = os.fork()
if not child:
    assert server.running and embedded.start(sys.argv[1]) is server
    server.stop()
    assert server.running
    sys.exit(0)
_, status = os.waitpid(child, 0)
child = os.fork()
if not child:
    sys.stdin.read()
    os._exit(0)
print(os.waitstatus_to_exitcode(status), server.running, server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@posix
def test_fork(tmp_path: Path) -> None:
    """A fork can use the server of its parent; it neither stops it nor keeps it alive."""
    run = python(FORK, tmp_path)
    assert run.stdout is not None
    code, running, pid = run.stdout.readline().split()

    assert (code, running) == ("0", "True")
    assert until(lambda: not alive(int(pid)))

    _, err = run.communicate(timeout=240)

    assert err == ""


def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is the reason given, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(NotConnected) as caught:
            embedded.start(tmp_path, port=port)

    assert str(caught.value) == (
        "loom.embedded: the server did not start (exit code 1): "
        f"cannot listen on 127.0.0.1:{port}: Address already in use"
    )


def test_broken_data(tmp_path: Path) -> None:
    """When the server dies, the error has its reason in the first line and the rest below."""
    (tmp_path / "WiredTiger").write_text("broken")
    (tmp_path / "WiredTiger.turtle").write_text("broken")
    with pytest.raises(NotConnected) as caught:
        embedded.start(tmp_path)

    first, second, *rest = str(caught.value).splitlines()
    assert first.startswith("loom.embedded: the server did not start (exit code ")
    assert "WT_" in first
    assert second == "The server wrote:"
    assert 0 < len(rest) <= 20


def test_timeout(tmp_path: Path) -> None:
    """A server that takes too long is ended, and the error says how long it had."""
    with pytest.raises(NotConnected, match=r"the server was not ready after 0\.01 seconds"):
        embedded.start(tmp_path, timeout=0.01)
    with embedded.start(tmp_path) as server:
        assert server.running


def test_folder_of_others(tmp_path: Path) -> None:
    """A folder with other files, and a place that is no folder, are refused and left alone."""
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(NotConnected, match=r"expected an empty directory .* holds 'thesis\.txt'"):
        embedded.start(tmp_path)
    with pytest.raises(NotConnected, match=r"cannot use .*thesis\.txt.*LOOM_DATA_DIR"):
        embedded.start(tmp_path / "thesis.txt" / "data")

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_bad_arguments(tmp_path: Path) -> None:
    """A contradiction and an impossible port are refused before anything starts."""
    with pytest.raises(NotConnected, match="a directory or memory=True, got both"):
        embedded.start(tmp_path, memory=True)
    with pytest.raises(NotConnected, match="a port from 0 to 65535, got 65536"):
        embedded.start(memory=True, port=65_536)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SecantusDB the error names the pip command."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MissingExtra, match=r"pip install 'loom-frames\[embedded\]'"):
        embedded.start(memory=True)


def test_server_is_not_imported() -> None:
    """The server never runs in the process of its user."""
    with embedded.start(memory=True):
        assert "secantus" not in sys.modules


def test_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`LOOM_DATA_DIR` goes first, then the place that the platform has for a user's data."""
    monkeypatch.setenv("LOOM_DATA_DIR", "somewhere")
    assert embedded.data_directory() == Path("somewhere")

    monkeypatch.delenv("LOOM_DATA_DIR")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/burt"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert embedded.data_directory() == Path("/home/burt/.local/share/loom")

    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert embedded.data_directory() == Path("/xdg/loom")

    monkeypatch.setattr(sys, "platform", "darwin")
    assert embedded.data_directory() == Path("/home/burt/Library/Application Support/loom")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert embedded.data_directory() == Path("/local/loom")


SERVE = "from loom import embedded; embedded.serve(memory=True)"


@posix
def test_serve() -> None:
    """`serve` prints the URI first, runs until Ctrl-C, and then ends without a traceback."""
    run = python(SERVE)
    assert run.stdout is not None
    uri = run.stdout.readline().strip()
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    client.admin.command("ping")
    client.close()
    run.send_signal(signal.SIGINT)
    out = run.stdout.read()
    _, err = run.communicate(timeout=240)

    assert out == "Loom's embedded server, data in memory, gone when it stops; Ctrl-C stops it\n"
    assert (err, run.returncode) == ("", 0)


def test_serve_reports_a_death(capsys: pytest.CaptureFixture[str]) -> None:
    """When the server dies while it is served, that is an error."""

    others = set(embedded._servers.values())

    def kill() -> None:
        until(lambda: bool(set(embedded._servers.values()) - others))
        for server in set(embedded._servers.values()) - others:
            os.kill(server.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    threading.Thread(target=kill).start()
    with pytest.raises(NotConnected, match=r"the server died \(exit code -?\d+\)"):
        embedded.serve(memory=True)
    assert capsys.readouterr().out.startswith("mongodb://127.0.0.1:")


def test_launcher_by_hand(tmp_path: Path) -> None:
    """`python -m loom.embedded_server` prints one line of JSON and runs until its input closes."""
    run = subprocess.run(
        [sys.executable, "-m", "loom.embedded_server", "--directory", str(tmp_path)],
        input="",
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    ready = json.loads(run.stdout)
    assert ready["directory"] == str(tmp_path)
    assert ready["owner"] == os.getpid()
    assert run.stdout.count("\n") == 1
    assert run.stderr == ""
