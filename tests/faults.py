"""Faults at every step: a server that fails when it is told to, and clients that talk to it.

`fault` sets the server's own fail point. `Faulty` stands in front of the server and counts the
commands: it can lose the connection before the n-th of them, or after it was done, pass it on only
when the client has gone, or set a fail point for it.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pymongo.common
from pymongo import AsyncMongoClient, MongoClient

from .conftest import Server
from .proxy import Proxy, _name, _read

__all__ = ["Faulty", "Plan", "clients", "fault", "free"]

#: What drivers send by themselves, or only to clear up.
_NOT_COUNTED = frozenset(
    {"", "hello", "ismaster", "isMaster", "ping", "endSessions", "killCursors", "killAllSessions"}
)


@contextmanager
def fault(
    server: Server, commands: str | Iterable[str], *, times: int | None = None, **failure: Any
) -> Iterator[None]:
    """Let commands fail inside the block, as often as `times` says or always.

    Args:
        server: of the tests.
        commands: names of them.
        times: how often.
        failure: as MongoDB's fail point `failCommand` has it: `errorCode=10107`, `errorLabels=[]`,
            `closeConnection=True`, `writeConcernError={...}`, `blockConnection=True`.
    """
    names = [commands] if isinstance(commands, str) else [*commands]
    try:
        _set(server.client, names, times, failure)
        yield
    finally:
        _unset(server.client)


def _set(client: Any, names: Sequence[str], times: int | None, failure: Any) -> None:
    client.admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn" if times is None else {"times": times},
            "data": {"failCommands": [*names], **failure},
        }
    )


def _unset(client: Any) -> None:
    client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def free(server: Server) -> None:
    """End the transactions that lost clients have left open."""
    server.client.admin.command({"killAllSessions": []})


class Plan(NamedTuple):
    """What becomes of the commands from one on.

    Attributes:
        steps: of the command and those after it, one each: `pass`; `before` or `after` loses the
            connection; `late` does it when the client has gone; a dict is a failure for `fault`.
        rest: of all the others.
    """

    name: str
    steps: tuple[str | Mapping[str, Any], ...]
    rest: str | Mapping[str, Any] = "pass"


class Faulty(Proxy):
    """A server in front of the server that carries out plans.

    Args:
        server: of the tests.
        batch: the largest number of writes in one message.
    """

    def __init__(self, server: Server, batch: int) -> None:
        place = urlsplit(server.uri)
        assert place.port is not None
        super().__init__((str(place.hostname), place.port), batch)
        self._server = server
        self._at = -1
        self._steps: Plan | None = None
        self._busy = 0
        #: the names of the commands that came
        self.names: list[str] = []
        #: how many of them met a fault
        self.injected = 0

    @contextmanager
    def failing(self, position: int, plan: Plan | None) -> Iterator[None]:
        """Carry out a plan from the command at a position on; without one, only count."""
        with self._lock:
            self._at, self._steps, self.names, self.injected = position, plan, [], 0
        try:
            yield
        finally:
            with self._lock:
                self._at, self._steps = -1, None
            self.settle()
            if plan is not None and any(isinstance(s, Mapping) for s in (*plan.steps, plan.rest)):
                _unset(self._server.client)

    def settle(self) -> None:
        """Wait until all that came is done."""
        end = time.monotonic() + 5
        while self._busy and time.monotonic() < end:
            time.sleep(0.001)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while message := _read(client):
                counts = _name(message) not in _NOT_COUNTED
                with self._lock:
                    self._busy += counts
                try:
                    step = self._step(message)
                    if step == "before":
                        return
                    if step == "late":
                        _wait_until_gone(client)
                    server.sendall(message)
                    if _is_silent(message):
                        continue
                    reply = _read(server)
                finally:
                    with self._lock:
                        self._busy -= counts
                if step in ("after", "late") or not reply:
                    return
                client.sendall(self._changed(reply))

    def _step(self, message: bytes) -> str:
        name = _name(message)
        with self._lock:
            if name in _NOT_COUNTED:
                return "pass"
            number = len(self.names)
            self.names.append(name)
            plan, at = self._steps, self._at
            if plan is None or number < at:
                return "pass"
            later = number - at
            step = plan.steps[later] if later < len(plan.steps) else plan.rest
            if step != "pass":
                self.injected += 1
        if isinstance(step, Mapping):
            _set(self._server.client, [name], 1, step)
            return "pass"
        return step


def _is_silent(message: bytes) -> bool:
    """Tell a message that is not answered."""
    return bool(int.from_bytes(message[16:20], "little") & 2)


def _wait_until_gone(client: socket.socket) -> None:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        readable, _, _ = select.select([client], [], [], 0.05)
        if readable and not client.recv(1, socket.MSG_PEEK):
            return


_knob = threading.Lock()


@contextmanager
def clients(server: Server, uri: str, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a blocking and an awaited client that look for a lost server again at once."""
    options = {
        "tz_aware": True,
        "uuidRepresentation": "standard",
        "serverSelectionTimeoutMS": 5_000,
        "heartbeatFrequencyMS": 500,
        "serverMonitoringMode": "poll",
        **options,
    }

    async def make() -> AsyncMongoClient[Any]:
        made: AsyncMongoClient[Any] = AsyncMongoClient(uri, **options)
        await made.admin.command("ping")
        return made

    with _knob:
        kept = pymongo.common.MIN_HEARTBEAT_INTERVAL
        # Drivers wait half a second between two looks at a server, thousands of times here.
        pymongo.common.MIN_HEARTBEAT_INTERVAL = 0.005
        try:
            client: MongoClient[Any] = MongoClient(uri, **options)
            client.admin.command("ping")
            aio = server.loop.run_until_complete(make())
        finally:
            pymongo.common.MIN_HEARTBEAT_INTERVAL = kept
    try:
        yield client, aio
    finally:
        client.close()
        server.loop.run_until_complete(aio.close())
