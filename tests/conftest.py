"""One server per test process, one database per test, every behaviour in both runtimes.

`LOOM_TEST_URI` runs the suite against another deployment.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from signal import SIGINT, default_int_handler
from signal import signal as handle_signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

import loom
from loom import embedded
from loom.frames import events

# No example fails because the machine is slow.
settings.register_profile("slow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow")

# Shells have what runs in the background ignore Ctrl-C, and its children inherit that.
handle_signal(SIGINT, default_int_handler)

_OPTIONS: dict[str, Any] = {
    "tz_aware": True,
    "uuidRepresentation": "standard",
    "serverSelectionTimeoutMS": 10_000,
    # Soon there again after an error that says it is no primary.
    "heartbeatFrequencyMS": 500,
}


class Commands(CommandListener):
    """The commands that the clients sent: `[(name, collection), ...]`, handshakes left out."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.bodies: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note a command."""
        if event.command_name in ("hello", "ping", "endSessions", "killCursors"):
            return
        target = event.command.get(event.command_name)
        if event.command_name == "getMore":
            target = event.command["collection"]
        self.sent.append((event.command_name, str(target)))
        self.bodies.append(event.command)

    def succeeded(self, event: Any) -> None:
        """Nothing to note."""

    def failed(self, event: Any) -> None:
        """Nothing to note."""

    def clear(self) -> None:
        """Forget what was sent."""
        self.sent.clear()
        self.bodies.clear()

    @property
    def names(self) -> list[str]:
        """The names of the commands."""
        return [name for name, _ in self.sent]


class _Done:
    """A result that is there already, for `await`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Iterator[Any]:
        return self.value
        yield


class _Stream:
    """A blocking stream, for `async for` and `async with`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def __aiter__(self) -> AsyncIterator[Any]:
        for frame in self.stream:
            yield frame

    async def __anext__(self) -> Any:
        try:
            return next(self.stream)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.stream, name)
        return (lambda: _Done(value())) if callable(value) else value

    async def __aenter__(self) -> _Stream:
        self.stream.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.stream.close()


class _Blocking:
    """The blocking methods of a class or frame, called the awaited way."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name in ("each", "watch"):
            return lambda *args, **options: _Stream(method(*args, **options))
        return lambda *args, **options: _Done(method(*args, **options))


class Runtime:
    """`await call(Dragon).one(...)` and `await call(burt).insert()`, blocking or awaited."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_async = name == "awaited"

    def __call__(self, target: Any) -> Any:
        return target.aio if self.is_async else _Blocking(target)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Server:
    """The deployment under test and one client of each kind."""

    def __init__(self, uri: str, loop: asyncio.AbstractEventLoop, is_embedded: bool) -> None:
        self.uri = uri
        self.loop = loop
        self.is_embedded = is_embedded
        self.commands = Commands()
        self.client: MongoClient[dict[str, Any]] = MongoClient(
            uri, event_listeners=[self.commands], **_OPTIONS
        )

        self._quiet: MongoClient[dict[str, Any]] = MongoClient(uri, **_OPTIONS)

        async def make(**options: Any) -> AsyncMongoClient[dict[str, Any]]:
            return AsyncMongoClient(uri, **options, **_OPTIONS)

        self.aio = loop.run_until_complete(make(event_listeners=[self.commands]))
        self._quiet_aio = loop.run_until_complete(make())

    def quiet(self, call: Runtime) -> Any:
        """Return a client that no listener watches."""
        return self._quiet_aio if call.is_async else self._quiet

    def close(self) -> None:
        """Close the clients."""
        for client in (self.client, self._quiet):
            client.close()
        for aio in (self.aio, self._quiet_aio):
            self.loop.run_until_complete(aio.close())


@pytest.fixture(scope="session")
def event_loop_of_process() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop that awaited tests run on."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture(scope="session")
def server(event_loop_of_process: asyncio.AbstractEventLoop) -> Iterator[Server]:
    """The server of this test process."""
    given = os.environ.get("LOOM_TEST_URI")
    started = None if given else embedded.start(memory=True)
    found = Server(given or started.uri, event_loop_of_process, started is not None)  # type: ignore[union-attr]
    try:
        yield found
    finally:
        found.close()
        if started is not None:
            started.stop()


@pytest.fixture
def db(server: Server) -> Iterator[str]:
    """Connect Loom to an empty database of this test's own, and return its name."""
    name = f"loom_test_{uuid.uuid4().hex[:12]}"
    chunk = 25 if server.is_embedded else None
    loom.connect(server.client, aio=server.aio, db=name, reference_chunk=chunk)
    server.commands.clear()
    yield name
    server.client.drop_database(name)


@pytest.fixture
def commands(server: Server, db: str) -> Commands:
    """The commands sent since the test began, or since `commands.clear()`."""
    return server.commands


@pytest.fixture(params=["blocking", "awaited"])
def call(request: pytest.FixtureRequest, db: str) -> Runtime:
    """Run a test once with blocking and once with awaited calls."""
    return Runtime(request.param)


@pytest.fixture
def secondaries(call: Runtime, server: Server, db: str) -> Iterator[Commands]:
    """Connect with clients that read from secondaries where they can."""
    name = server.client.admin.command("hello").get("setName")
    if name is None:
        pytest.skip("only the members of a replica set are told which of them to read")
    options: dict[str, Any] = {
        "directConnection": False,
        "replicaSet": name,
        "readPreference": "secondaryPreferred",
        "event_listeners": [server.commands],
    }

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, **options)

    aio = server.loop.run_until_complete(make())
    client: MongoClient[Any] = MongoClient(server.uri, **options)
    loom.connect(client, aio=aio, db=db)
    yield server.commands
    client.close()
    server.loop.run_until_complete(aio.close())


@pytest.fixture
def quiet(server: Server, call: Runtime, db: str) -> Callable[[], AbstractContextManager[None]]:
    """Return what has calls go by a client that no listener watches: `with quiet(): ...`."""
    return lambda: loom.using(client=server.quiet(call), db=db)


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no listener and no connection to the next test."""
    monkeypatch.delenv("LOOM_URI", raising=False)
    monkeypatch.delenv("MONGODB_URI", raising=False)
    kept = {name: list(signal._registered) for name, signal in events.signals.items()}
    declared = set(events._declared)
    yield
    events._declared.intersection_update(declared)
    for name, signal in events.signals.items():
        for _, receiver, sender in list(signal._registered):
            if not any(r is receiver and s is sender for _, r, s in kept[name]):
                signal.disconnect(receiver, sender)
    loom.connection._default = None
    loom.epoch.advance()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests: blocking ones to the end at once, others on the loop."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    runtime = arguments.get("call")
    if isinstance(runtime, Runtime) and not runtime.is_async:
        coroutine = function(**arguments)
        try:
            coroutine.send(None)
        except StopIteration:
            return True
        coroutine.close()
        pytest.fail("a blocking call suspended")
    loop = pyfuncitem._request.getfixturevalue("event_loop_of_process")
    loop.run_until_complete(function(**arguments))
    return True
