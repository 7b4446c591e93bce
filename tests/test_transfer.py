"""The snippet `transfer`: an amount moves exactly once, whatever fails in between."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from pymongo.errors import PyMongoError

import loom
from tests.conftest import Server
from tests.pages import ROOT, address_of

SNIPPET = ROOT / "snippets" / "transfer.py"

#: Transfers 1 from Ann to Bob for every key, from a process that may be killed.
PROGRAM = """
import importlib.util, sys
import loom
spec = importlib.util.spec_from_file_location("transfer", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["transfer"] = module
spec.loader.exec_module(module)
loom.connect(sys.argv[2])
ann, bob = module.Account.by_id("ann"), module.Account.by_id("bob")
print("begun", flush=True)
for number in range(int(sys.argv[3])):
    module.transfer(f"key-{number}", ann, bob, 1)
print("done", flush=True)
"""


@pytest.fixture
def bank(db: str) -> Iterator[Any]:
    """The snippet as a module, with two accounts."""
    spec = importlib.util.spec_from_file_location("transfer", SNIPPET)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["transfer"] = module
    spec.loader.exec_module(module)
    module.Account(_id="ann", owner="Ann", balance=100).insert()
    module.Account(_id="bob", owner="Bob", balance=0).insert()
    yield module
    del sys.modules["transfer"]


def balances(bank: ModuleType) -> tuple[int, int, int]:
    """Return both balances and the number of receipts."""
    ann, bob = bank.Account.by_ids(["ann", "bob"])
    return ann.balance, bob.balance, bank.Receipt.count({})


def accounts(bank: ModuleType) -> Any:
    """Return both accounts."""
    return bank.Account.by_ids(["ann", "bob"])


def test_one_key_moves_once(bank: Any) -> None:
    """Called twice, it moves once; another transfer under the key is refused."""
    ann, bob = accounts(bank)
    first = bank.transfer("a", ann, bob, 60)
    again = bank.transfer("a", ann, bob, 60)
    assert first == again
    assert (40, 60, 1) == balances(bank)
    with pytest.raises(ValueError, match="belongs to another transfer"):
        bank.transfer("a", ann, bob, 5)
    with pytest.raises(bank.NotEnough, match="Ann has 40"):
        bank.transfer("b", ann, bob, 41)
    for amount in (0, -5):
        with pytest.raises(ValueError, match="above 0"):
            bank.transfer("c", ann, bob, amount)

    assert (40, 60, 1) == balances(bank)


def test_many_threads(bank: Any) -> None:
    """Eight threads that make the same forty transfers, in another order each, move each once."""

    def work(seed: int) -> None:
        keys = [*range(40)]
        random.Random(seed).shuffle(keys)
        ann, bob = accounts(bank)
        for key in keys:
            bank.transfer(str(key), ann, bob, 1)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (60, 40, 40) == balances(bank)


@pytest.mark.parametrize("command", ["insert", "findAndModify", "commitTransaction"])
@pytest.mark.parametrize(
    "failure",
    [
        {"closeConnection": True},
        {"errorCode": 10107, "errorLabels": ["TransientTransactionError"]},
        {"errorCode": 91, "errorLabels": ["TransientTransactionError"]},
        {"errorCode": 11600, "errorLabels": ["RetryableWriteError"]},
        {"writeConcernError": {"code": 91, "errmsg": "shutdown"}},
        {"errorCode": 50},
    ],
    ids=str,
)
def test_failures_at_every_step(
    bank: Any, server: Server, command: str, failure: dict[str, Any]
) -> None:
    """Whatever fails, the caller repeats the call until it returns, and it moved once."""
    if not server.is_embedded:
        pytest.skip("needs a server that takes failpoints")
    ann, bob = accounts(bank)
    server.client.admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": [command], **failure},
        }
    )
    try:
        for _ in range(10):
            try:
                bank.transfer("a", ann, bob, 1)
                break
            except PyMongoError:
                assert balances(bank) in ((100, 0, 0), (99, 1, 1))
        else:
            pytest.fail("never returned")
    finally:
        server.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    assert (99, 1, 1) == balances(bank)


def test_a_program_that_is_killed(bank: Any, server: Server, db: str) -> None:
    """A program killed at any moment leaves whole transfers; begun again, it makes the others."""
    address = address_of(server.uri, db)
    chance = random.Random(7)
    kills = 0
    for attempt in range(12):
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(SNIPPET), address, "60"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert b"begun" in program.stdout.readline()
        if attempt < 11:
            try:
                program.wait(chance.uniform(0.005, 0.08))
            except subprocess.TimeoutExpired:
                program.send_signal(signal.SIGKILL)
                kills += 1
        program.wait(60)
        program.stdout.close()
        if server.is_embedded:
            # What the program left open would keep others waiting until it expires.
            server.client.admin.command("killAllSessions", [])
        ann, bob, receipts = balances(bank)
        assert (100, bob) == (ann + bob, receipts)

    assert kills
    assert (40, 60, 60) == balances(bank)
    loom.close()
