"""Connecting: where clients come from, how long they live, what `using` switches."""

from __future__ import annotations

import asyncio
import os
import socket
import socketserver
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import AsyncMongoClient, MongoClient, ReadPreference
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.write_concern import WriteConcern

import loom
from loom import Frame, NotConnected, QueryError

from .conftest import Commands, Runtime, Server

SECRET = "hunter2x"


class Dragon(Frame):
    """Uses the connection."""

    name: str


class Child(Dragon):
    """Has a collection of its own."""


@pytest.fixture
def uri(server: Server, db: str) -> str:
    """A URI that names this test's database."""
    head, _, options = server.uri.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{db}" + (f"?{options}" if options else "")


@pytest.fixture
def _closing() -> Iterator[None]:
    """Close what the test connected."""
    yield
    loom.close()


def everything(error: BaseException) -> str:
    """Return all that a log could hold of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error.args)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(loom.__file__).parents[1]), **environment},
    )


# Where the address comes from


@pytest.mark.usefixtures("_closing")
def test_an_argument_or_a_callable(uri: str) -> None:
    """`connect` takes a URI, or a callable that is asked when a client is first needed."""
    asked = []

    def secret() -> str:
        asked.append(1)
        return uri

    loom.connect(uri)
    Dragon(name="a").insert()
    loom.close()
    connection = loom.connect(secret)

    assert [] == asked
    assert [1, 1] == [Dragon.count(), Dragon.count()]
    assert [1] == asked
    assert uri not in repr(connection)


@pytest.mark.usefixtures("_closing")
def test_the_environment(uri: str, db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOOM_URI goes before MONGODB_URI, an argument before both."""
    monkeypatch.setenv("MONGODB_URI", uri)

    assert db in repr(loom.connect())

    monkeypatch.setenv("LOOM_URI", "mongodb://from-loom/zoo")

    assert "from-loom" in repr(loom.connect())
    assert "given" in repr(loom.connect("mongodb://given/zoo"))

    monkeypatch.setenv("LOOM_URI", "")

    assert db in repr(loom.connect())


def test_no_address_at_all() -> None:
    """With no URI anywhere the error says how; there is no silent default."""
    with pytest.raises(
        NotConnected, match=r"neither LOOM_URI nor MONGODB_URI is set; write loom\.connect"
    ):
        loom.connect()


async def test_no_connection(call: Runtime) -> None:
    """A call without a connection raises NotConnected, which names the class and the way out."""
    loom.close()

    with pytest.raises(
        NotConnected, match=r"Dragon: expected a connection, got none; call loom\.connect"
    ):
        await call(Dragon).one()
    with pytest.raises(NotConnected):
        await call(Dragon(name="x")).insert()
    with pytest.raises(RuntimeError):
        Dragon.get_collection()


@pytest.mark.parametrize("wrong", [5, b"mongodb://h/db", "", [], object(), ["mongodb://h"]])
def test_what_is_no_address(wrong: Any) -> None:
    """Anything else raises NotConnected with its type only."""
    with pytest.raises(NotConnected, match="expected a URI as str, got a value of type"):
        loom.connect(wrong)
    connection = loom.connect(lambda: wrong)
    with pytest.raises(NotConnected, match="expected a URI as str, got a value of type"):
        connection.client


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"db": ""}, "expected the name of a database"),
        ({"db": 5}, "expected the name of a database"),
        ({"read_only": "yes"}, "expected read_only=True or False"),
        ({"naive": "local"}, "expected naive='utc', 'refuse' or a zone"),
        ({"naive": None}, "expected naive='utc', 'refuse' or a zone"),
        ({"reference_chunk": 0}, "expected reference_chunk of at least 1"),
        ({"reference_chunk": "9"}, "expected reference_chunk of at least 1"),
    ],
)
def test_options_of_connect(options: dict[str, Any], message: str) -> None:
    """A wrong option raises at once and leaves the connection as it was."""
    kept = loom.connect("mongodb://kept/zoo")
    with pytest.raises(NotConnected, match=message):
        loom.connect("mongodb://other/zoo", **options)

    assert loom.connection._default is kept


# Secrets

BAD_URIS = [
    f"mongodb://user:{SECRET}@host:port/db",
    f"mongodb://user:{SECRET}@host:1:2/db",
    f"mongodb://user:{SECRET}@/db",
    f"mongodb://user:{SECRET}/@host/db",
    f"mongodb://user:{SECRET}:{SECRET}@host/db",
    f"mongodb://user:a@{SECRET}@host/db",
    f"mongodb://user:a/{SECRET}@host/db",
    f"mongodb://user:a?{SECRET}@host/db",
    f"mongodb://user:a#{SECRET}@host/db",
    f"mongodb://user:a[{SECRET}]@host/db",
    f"mongodb://user:%{SECRET}@host/db",
    f"mongodb://user:{SECRET}%zz@host/db",
    f"mongodb://user:{SECRET}@host/d b",
    f"mongodb://host/db?{SECRET}",
    f"mongodb://host/db?authMechanism={SECRET}",
    f"mongodb://user:{SECRET}@host/db?authMechanism=nope",
    f"mongodb://user:{SECRET}@host/db?w=1&w=&authSource=",
    f"mongodb://user:{SECRET}@host/db?directConnection=true&replicaSet=a,b&tls=x",
    f"mongodb://host/db?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN{SECRET}",
    f"mongo://user:{SECRET}@host/db",
    f"user:{SECRET}@host/db",
    f"mongodb+srv://user:{SECRET}@localhost:27017/db",
    f"mongodb+srv://user:{SECRET}@localhost/db",
    f"mongodb+srv://user:a@{SECRET}@a,b/db",
]


@pytest.mark.parametrize("bad", BAD_URIS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_secret_in_any_message(bad: str) -> None:
    """Whatever is wrong with a URI: no message, repr or traceback holds a part of its secrets."""
    for given in (bad, lambda: bad):
        seen = ""
        try:
            connection = loom.connect(given, db="zoo", serverSelectionTimeoutMS=1)
            seen = repr(connection)
            connection.client.admin.command("ping")
            pytest.fail("an unreachable server answered")
        except (NotConnected, PyMongoError) as error:
            seen += everything(error)
        finally:
            loom.close()

        assert SECRET not in seen


def test_no_secret_in_the_repr() -> None:
    """The repr of a connection shows hosts and user, never passwords or options."""
    assert "Connection(mongodb://ann:***@a:1,b:2/zoo, db=None)" == repr(
        loom.connect(f"mongodb://ann:{SECRET}@a:1,b:2/zoo?tlsCertificateKeyFilePassword={SECRET}")
    )
    assert "Connection(mongodb://a/zoo, db='x')" == repr(loom.connect("mongodb://a/zoo", db="x"))
    assert SECRET not in repr(loom.connect(lambda: f"mongodb://u:{SECRET}@h/db", password=SECRET))


def test_client_options_with_secrets() -> None:
    """An option that PyMongo refuses raises NotConnected without the values of secret ones."""
    connection = loom.connect(
        "mongodb://host/db", username="ann", password=SECRET, authMechanism="nope"
    )
    with pytest.raises(NotConnected) as caught:
        connection.client

    assert SECRET not in everything(caught.value)


# Clients


def test_clients_are_lazy(uri: str) -> None:
    """`connect` makes no client; a blocking one is made once, by whichever thread is first."""
    connection = loom.connect(uri)

    assert connection._client is None

    with ThreadPoolExecutor(8) as pool:
        clients = {id(c) for c in pool.map(lambda _: connection.client, range(32))}
    connection.close()

    assert 1 == len(clients)


@pytest.mark.usefixtures("_closing")
def test_an_async_client_per_loop(uri: str) -> None:
    """Each running loop has a client of its own, which ends with `asyncio.run`."""
    connection = loom.connect(uri)
    clients: list[Any] = []

    async def use() -> int:
        first, second = connection.async_client(), connection.async_client()
        assert first is second
        clients.append(first)
        await Dragon(name="x").aio.insert()
        await asyncio.gather(*[Dragon.aio.count() for _ in range(5)])
        return await Dragon.aio.count({})

    counts = [asyncio.run(use()), asyncio.run(use())]
    with ThreadPoolExecutor(2) as pool:
        counts += sorted(pool.map(lambda _: asyncio.run(use()), range(2)))

    assert [1, 2] == counts[:2]
    assert 4 == len({id(c) for c in clients})
    assert all(c._closed for c in clients)
    assert not connection._aio
    with pytest.raises(NotConnected, match="expected a running event loop"):
        connection.async_client()


@pytest.mark.usefixtures("_closing")
def test_closing_the_client_of_a_loop(uri: str) -> None:
    """After `await loom.aio.close()` the next call makes a new client; closing twice is fine."""
    connection = loom.connect(uri)

    async def use() -> None:
        await loom.aio.close()
        first = connection.async_client()
        await Dragon.aio.count({})
        await loom.aio.close()
        await loom.aio.close()

        assert connection.async_client() is not first
        assert 0 == await Dragon.aio.count({})

    asyncio.run(use())


def test_close_forgets_the_connection(uri: str) -> None:
    """After `loom.close()` there is no connection; the Connection itself makes a new client."""
    connection = loom.connect(uri)
    first = connection.client
    loom.close()
    loom.close()
    with pytest.raises(NotConnected):
        Dragon.count()
    with loom.using(client=connection):
        assert 0 == Dragon.count()
    assert connection.client is not first
    connection.close()


def test_a_ready_client_stays_open(server: Server, db: str) -> None:
    """`close` does not close what the caller made."""
    loom.connect(server.client, aio=server.aio, db=db)
    loom.close()

    assert 1 == server.client.admin.command("ping")["ok"]


async def test_ready_clients_of_both_kinds(server: Server, db: str, call: Runtime) -> None:
    """A client serves its own runtime; the other one raises and says what to give."""
    loom.connect(server.aio if call.is_async else server.client, db=db)
    await call(Dragon(name="x")).insert()

    loom.connect(server.client if call.is_async else server.aio, db=db)
    with pytest.raises(
        NotConnected, match="expected an? (Async)?MongoClient for an? (awaited|blocking) call"
    ):
        await call(Dragon).count({})
    with pytest.raises(NotConnected, match="no client options beside a ready client, got tls"):
        loom.connect(server.client, tls=True)


async def test_a_client_of_a_class(server: Server, db: str, call: Runtime) -> None:
    """`Frame._client` and `_db` work as in MongoFrames, and may be assigned at any time."""
    loom.close()

    class Local(Frame):
        name: str

    Local._client = server.aio if call.is_async else server.client
    Local._db = db
    await call(Local(name="x")).insert()

    assert 1 == await call(Local).count({})

    Local._client = server.client if call.is_async else server.aio
    with pytest.raises(NotConnected, match=r"Local\._client: expected"):
        await call(Local).count({})
    Local._client = f"mongodb://u:{SECRET}@host/db"  # type: ignore[assignment]
    with pytest.raises(
        NotConnected, match=r"Local\._client: .*for a URI write loom\.connect"
    ) as caught:
        await call(Local).count({})

    assert SECRET not in everything(caught.value)


def test_a_client_of_all_frames(server: Server, db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Frame._client = MongoClient(...)` is the connection of all classes, even beside `connect`."""
    loom.connect("mongodb://nowhere/zoo")
    monkeypatch.setattr(Frame, "_client", server.client)
    monkeypatch.setattr(Frame, "_db", db)
    Dragon(name="x").insert()

    assert 1 == Dragon.count({})
    assert server.client is Dragon.get_client()
    assert db == Dragon.get_db().name
    assert "Dragon" == Dragon.get_collection().name

    monkeypatch.setattr(Frame, "_db", server.client[db])

    assert 1 == Dragon.count({})


def test_the_name_of_the_database(uri: str, server: Server, db: str) -> None:
    """`db=` goes before the URI's; without both the error names all three ways."""
    bare = server.uri.partition("?")
    address = f"{bare[0].rsplit('/', 1)[0]}/?{bare[2]}"
    loom.connect(address)
    with pytest.raises(NotConnected, match=r"Dragon: expected the name of a database.*_db"):
        Dragon.count({})
    loom.close()
    loom.connect(uri, db="other")

    assert "other" == Dragon.get_db().name

    loom.close()
    loom.connect(uri)

    assert db == Dragon.get_db().name

    loom.close()


# Servers that do not answer, or say no


def test_an_unreachable_server() -> None:
    """The driver's own error comes after the configured time, with the host and no password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        loom.connect(f"mongodb://ann:{SECRET}@127.0.0.1:{port}/zoo", serverSelectionTimeoutMS=1_000)
        with pytest.raises(ServerSelectionTimeoutError, match=f"127.0.0.1:{port}") as caught:
            Dragon.one()

        async def use() -> None:
            with pytest.raises(ServerSelectionTimeoutError, match=f"127.0.0.1:{port}"):
                await Dragon.aio.one()

        asyncio.run(use())
        loom.close()

    assert SECRET not in everything(caught.value)


class _Refusing(socketserver.BaseRequestHandler):
    """Answers like a server that knows no user."""

    def handle(self) -> None:
        """Answer every message of one connection."""
        while head := self.request.recv(16, socket.MSG_WAITALL):
            length, number = int.from_bytes(head[:4], "little"), head[4:8]
            body = self.request.recv(length - 16, socket.MSG_WAITALL)
            legacy = int.from_bytes(head[12:16], "little") == 2004
            command = bson.decode(body[body.index(b"\0", 4) + 9 :] if legacy else body[5:])
            if next(iter(command)).lower() in ("hello", "ismaster"):
                reply: dict[str, Any] = {
                    "ok": 1,
                    "isWritablePrimary": True,
                    "ismaster": True,
                    "maxWireVersion": 25,
                    "minWireVersion": 0,
                    "maxBsonObjectSize": 16_777_216,
                    "maxMessageSizeBytes": 48_000_000,
                    "maxWriteBatchSize": 100_000,
                    "saslSupportedMechs": ["SCRAM-SHA-256"],
                }
            else:
                reply = {"ok": 0, "code": 18, "errmsg": "Authentication failed.", "codeName": "x"}
            answer = bson.encode(reply)
            if legacy:
                kind, rest = 1, bytes(16) + (1).to_bytes(4, "little") + answer
                rest = (8).to_bytes(4, "little") + rest[4:]
            else:
                kind, rest = 2013, bytes(5) + answer
            size = (16 + len(rest)).to_bytes(4, "little")
            self.request.sendall(size + bytes(4) + number + kind.to_bytes(4, "little") + rest)


@contextmanager
def refusing_server() -> Iterator[int]:
    # Its end waits for the threads of its connections, which the client closes.
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refusing) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def test_a_wrong_password() -> None:
    """The server's refusal comes through as the driver's error, without the password."""
    with refusing_server() as port:
        loom.connect(
            f"mongodb://ann:{SECRET}@127.0.0.1:{port}/zoo?directConnection=true",
            serverSelectionTimeoutMS=5_000,
        )
        with pytest.raises(OperationFailure, match="Authentication failed") as caught:
            Dragon.one()
        loom.close()

    assert SECRET not in everything(caught.value)


# using and with_options


async def test_using_another_database(call: Runtime, server: Server, db: str) -> None:
    """`using` holds for its block, nests, keeps what an inner block does not set."""
    other = f"{db}_other"
    client = server.aio if call.is_async else server.client
    try:
        await call(Dragon(name="here")).insert()
        with loom.using(db=other):
            await call(Dragon(name="there")).insert()
            with loom.using(client=client, collection_options={"write_concern": WriteConcern(1)}):
                assert "there" == (await call(Dragon).one(required=True)).name
                with loom.using(db=db):
                    assert "here" == (await call(Dragon).one(required=True)).name
            assert other == Dragon.get_db().name
        with pytest.raises(ZeroDivisionError), loom.using(db=other):
            raise ZeroDivisionError

        assert ["here"] == [d.name for d in await call(Dragon).many()]
    finally:
        server.client.drop_database(other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"client": "mongodb://h"}, NotConnected, "loom.using: expected a client or a Connection"),
        ({"db": ""}, NotConnected, "loom.using: expected the name of a database"),
        ({"db": 5}, NotConnected, "loom.using: expected the name of a database"),
        ({"collection_options": {"codecs": 1}}, QueryError, "loom.using: expected codec_options"),
    ],
)
def test_using_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A wrong argument raises before the block runs."""
    with pytest.raises(error, match=message), loom.using(**arguments):
        pytest.fail("the block ran")


def test_using_in_threads(db: str) -> None:
    """A block in one thread is not seen by another."""
    barrier = threading.Barrier(4)

    def use(number: int) -> str:
        with loom.using(db=f"db{number}"):
            barrier.wait()
            name = str(Dragon.get_db().name)
            barrier.wait()
        return name

    with loom.using(db="outer"), ThreadPoolExecutor(4) as pool:
        names = list(pool.map(use, range(4)))

    assert ["db0", "db1", "db2", "db3"] == names
    with ThreadPoolExecutor(1) as pool, loom.using(db="outer"):
        assert db == pool.submit(lambda: Dragon.get_db().name).result()


def test_using_in_tasks(server: Server, db: str) -> None:
    """A block in one task is not seen by its siblings; a task begun inside keeps it."""
    seen: dict[str, str] = {}

    async def use(name: str) -> None:
        with loom.using(db=name):
            await asyncio.sleep(0)
            await Dragon.aio.count({})
            seen[name] = Dragon.aio.get_db().name
            await asyncio.create_task(inner(name))

    async def inner(name: str) -> None:
        seen[f"{name} inside"] = Dragon.aio.get_db().name

    async def all() -> None:
        await asyncio.gather(*[use(f"db{n}") for n in range(4)])
        seen["after"] = Dragon.aio.get_db().name

    server.loop.run_until_complete(all())

    assert db == seen.pop("after")
    assert all_equal(seen)


def all_equal(seen: dict[str, str]) -> bool:
    return all(key.partition(" ")[0] == value for key, value in seen.items())


async def test_with_options(call: Runtime, commands: Commands) -> None:
    """The options hold for the class in the block, and are sent; neither children nor others see them."""
    one = WriteConcern(w=1, wtimeout=5_000)
    with (
        call(Dragon).with_options(write_concern=one)
        if call.is_async
        else Dragon.with_options(write_concern=one) as collection
    ):
        await call(Dragon(name="x")).insert()
        with Dragon.with_options(read_preference=ReadPreference.PRIMARY_PREFERRED):
            inner = Dragon.get_collection()

        assert one == collection.write_concern == Dragon.get_collection().write_concern
        assert (one, ReadPreference.PRIMARY_PREFERRED) == (
            inner.write_concern,
            inner.read_preference,
        )
        assert one != Child.get_collection().write_concern
        with ThreadPoolExecutor(1) as pool:
            assert one != pool.submit(Dragon.get_collection).result().write_concern

    assert one != Dragon.get_collection().write_concern
    assert {"w": 1, "wtimeout": 5_000} == commands.bodies[0]["writeConcern"]
    with pytest.raises(QueryError, match=r"Dragon\.with_options: expected codec_options"):
        Dragon.with_options(codec=1).__enter__()


async def test_settings_assigned_later(call: Runtime, server: Server, db: str) -> None:
    """`_collection` and `_db` take effect when assigned, though collections are kept."""

    class Moving(Frame):
        name: str

    await call(Moving(name="a")).insert()
    Moving._collection = "elsewhere"
    await call(Moving(name="b")).insert()

    assert ["b"] == [m.name for m in await call(Moving).many()]
    assert {"Moving", "elsewhere"} <= {*server.client[db].list_collection_names()}


# Scripts

SCRIPT = """
import asyncio, os, sys
import loom
class Dragon(loom.Frame):
    name: str
loom.connect({address!r})
Dragon(name="a").insert()
async def main():
    await Dragon(name="b").aio.insert()
    async for dragon in Dragon.aio.each(batch_size=1):
        break
    return await Dragon.aio.count({{}})
for dragon in Dragon.each(batch_size=1):
    break
print(asyncio.run(main()), asyncio.run(main()))
"""


def test_a_script_that_never_closes(uri: str) -> None:
    """A script that opens everything and closes nothing ends without a warning."""
    ran = run(SCRIPT.format(address=uri))

    assert ("2 3\n", "", 0) == (ran.stdout, ran.stderr, ran.returncode)


@pytest.mark.parametrize("address", ["embedded", "embedded:memory", "embedded:zoo"])
def test_the_embedded_server(address: str, tmp_path: Any, server: Server) -> None:
    """`connect("embedded...")` starts a server for the script, and ends it without a warning."""
    if not server.is_embedded:
        pytest.skip("tests run against another deployment: the embedded server may be missing")
    code = f"import os; os.chdir({str(tmp_path)!r})\n" + SCRIPT.format(address=address)
    ran = run(code, XDG_DATA_HOME=str(tmp_path), HOME=str(tmp_path))

    assert ("2 3\n", "", 0) == (ran.stdout, ran.stderr, ran.returncode)
    if address == "embedded:zoo":
        assert any((tmp_path / "zoo").iterdir())

        ran = run(code)

        assert ("5 6\n", "") == (ran.stdout, ran.stderr)


def test_connecting_again(uri: str) -> None:
    """A connection that was replaced closes its client when nobody needs it."""
    ran = run(
        "import gc, loom\n"
        "class Dragon(loom.Frame):\n    name: str\n"
        f"for _ in range(3):\n    loom.connect({uri!r})\n    print(Dragon.count())\n"
        "    gc.collect()\n"
    )

    assert ("0\n0\n0\n", "") == (ran.stdout, ran.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork(uri: str) -> None:
    """Parent and child both go on after a fork, each with clients of its own."""
    ran = run(
        "import asyncio, os, sys, warnings, loom\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # of fork beside threads, 3.12 on\n"
        "class Dragon(loom.Frame):\n    name: str\n"
        f"connection = loom.connect({uri!r})\n"
        "Dragon(name='a').insert()\n"
        "async def count():\n    return await Dragon.aio.count({})\n"
        "asyncio.run(count())\n"
        "before = connection.client\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    # What the parent's threads have open at the fork nobody closes in the child.\n"
        "    warnings.simplefilter('ignore', ResourceWarning)\n"
        "    same = connection.client is before\n"
        "    print('child', Dragon.count({}), asyncio.run(count()), same, flush=True)\n"
        "    sys.exit()\n"
        "status = os.waitpid(child, 0)[1]\n"
        "print('parent', status, Dragon.count({}), connection.client is before)\n"
    )

    assert ("child 1 1 False\nparent 0 1 True\n", "") == (ran.stdout, ran.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("work", ["pass", "print(Dragon.count({}), flush=True)"])
def test_a_fork_inside_a_stream(uri: str, work: str) -> None:
    """A fork that ends leaves the parent the cursor of its stream, and says nothing."""
    ran = run(
        "import os, sys, warnings, loom\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # of fork beside threads, 3.12 on\n"
        "class Dragon(loom.Frame):\n    name: str\n"
        f"loom.connect({uri!r})\n"
        "Dragon.insert_many([{'name': name} for name in 'abcdef'])\n"
        "seen = []\n"
        "for dragon in Dragon.each(sort='name', batch=1):\n"
        "    seen.append(dragon.name)\n"
        "    if len(seen) == 2:\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            warnings.simplefilter('ignore', ResourceWarning)\n"
        f"            {work}\n"
        "            sys.exit()\n"
        "        assert os.waitpid(child, 0)[1] == 0\n"
        "print(''.join(seen))\n"
    )

    assert ("abcdef", "") == (ran.stdout.split()[-1], ran.stderr)


def test_both_kinds_of_ready_clients_at_once(server: Server, db: str) -> None:
    """`connect(client, aio=...)` serves both runtimes with the caller's clients."""
    assert isinstance(server.client, MongoClient)
    assert isinstance(server.aio, AsyncMongoClient)
    connection = loom.connect(server.client, aio=server.aio, db=db)

    assert server.client is connection.client
    assert server.aio is connection.async_client()
    assert "Connection(ready client, db=" in repr(connection)
