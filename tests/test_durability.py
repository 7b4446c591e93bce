"""A server that is killed in the middle of a bulk write has everything that it acknowledged."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from loom import embedded

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("secantus") is None, reason="SecantusDB is not installed"
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals"),
]

#: Writes in bulk for ever, and prints what was acknowledged after every batch.
WRITER = """
import json, sys
import loom as lm
from pymongo import MongoClient

class Entry(lm.Frame):
    _collection = "entries"
    number: int
    text: str
    touched: int

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=500)
lm.connect(client, db="loom")
start, told = int(sys.argv[2]), 0
written = []
try:
    with Entry.bulk(ordered=True, size=40) as bulk:
        for number in range(start, start + 1_000_000):
            entry = bulk.insert(Entry(_id=number, number=number, text="x" * (number % 500)))
            written.append(entry)
            if len(written) % 3 == 0:
                bulk.update(Entry(_id=written[-3]._id, touched=1), "touched")
            if len(written) % 5 == 0:
                bulk.delete(Entry(_id=written[-5]._id))
            if told < len(bulk.results):
                new, told = bulk.results[told:], len(bulk.results)
                print(json.dumps([[r.operation, r.frame._id, r.state] for r in new]), flush=True)
except Exception as error:
    print(json.dumps([[r.operation, r.frame._id, r.state] for r in bulk.results[told:]]))
    print(json.dumps("stopped: " + type(error).__name__), flush=True)
"""


class Told:
    """What the writer was told of: the last thing of each document."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.touched: set[int] = set()
        self.gone: set[int] = set()
        #: what may be either
        self.open: set[int] = set()
        self.count = 0

    def take(self, operation: str, id: int, state: str) -> None:
        """Note one result."""
        if state != "written":
            if state == "unknown":
                self.open.add(id)
            return
        self.count += 1
        found = {"insert": self.there, "update": self.touched, "delete": self.gone}[operation]
        found.add(id)


def kill_in_the_middle(directory: Path, start: int, batches: int, delay: float, told: Told) -> str:
    """Kill the server some time after so many batches; return the writer's last words."""
    with embedded.start(directory) as server:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, server.uri, str(start)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
        assert writer.stdout is not None
        last = ""
        timer = threading.Timer(delay, os.kill, (server.pid, signal.SIGKILL))
        try:
            for number, line in enumerate(writer.stdout):
                if number == batches:
                    timer.start()
                found = json.loads(line)
                if isinstance(found, str):
                    last = found
                    continue
                for operation, id, state in found:
                    told.take(operation, id, state)
        finally:
            timer.cancel()
            writer.kill()
            writer.wait()
            writer.stdout.close()
    return last


def whole(document: dict[str, Any]) -> bool:
    """Tell whether nothing of a document is missing."""
    number = document["_id"]
    return document["number"] == number and document["text"] == "x" * (number % 500)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_in_a_bulk_write(tmp_path: Path, seed: int) -> None:
    """Acknowledged inserts, updates and deletes hold; what was on its way is whole or absent."""
    chance = random.Random(seed)
    told = Told()
    directory = tmp_path / "data"
    for round in range(2):
        delay = chance.uniform(0, 0.05)
        last = kill_in_the_middle(directory, round * 10_000_000, chance.randint(1, 8), delay, told)
        assert last.startswith("stopped: "), last
    with embedded.start(directory) as server:
        client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
        stored = {d["_id"]: d for d in client["loom"]["entries"].find()}
        client.close()

    assert told.count > 40
    lost = told.there - told.gone - told.open - stored.keys()
    assert not lost, f"{len(lost)} of {told.count} acknowledged writes are lost"
    assert not told.gone - told.open & stored.keys()
    assert not [id for id in told.touched & stored.keys() if stored[id].get("touched") != 1]
    assert all(map(whole, stored.values()))
