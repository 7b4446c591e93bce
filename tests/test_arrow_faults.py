"""Writers of columns under faults: what is told of each row is what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import loom
from loom import Frame, LoomError, RowsError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow as pa
from pymongo.errors import PyMongoError

from loom.frames import arrow

from .conftest import Runtime, Server
from .faults import Faulty, clients
from .test_faults import AWAITED, PLANS

ROWS = 8
TABLE = pa.table({"_id": range(ROWS), "new": [1] * ROWS})
OPERATIONS = ("insert_table", "upsert_table", "replace", "told insert_table", "told upsert_table")


class Beast(Frame):
    """What is written."""

    _id: int
    new: int


@pytest.fixture(scope="module")
def faulty(server: Server) -> Iterator[tuple[Faulty, Any]]:
    """A server that takes three writes in a message, and fails when it is told to."""
    if not server.is_embedded:
        pytest.skip("needs fail points, and a server of its own")
    proxy = Faulty(server, batch=3)
    uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    with clients(server, uri) as made:
        yield proxy, made
    proxy.close()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_is_told_is_what_is_stored(
    server: Server,
    call: Runtime,
    faulty: tuple[Faulty, Any],
    db: str,
    operation: str,
) -> None:
    """At every command that fails, each row is written, is not, or is said to be unknown."""
    proxy, (client, aio) = faulty
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    collection = server.client[db]["Beast"]
    name = operation.removeprefix("told ")
    if name != operation:
        for event in ("inserted", "updated"):
            Beast.listen(event, lambda: None)
    there = {"insert_table": (), "replace": range(ROWS)}.get(name, range(0, ROWS, 2))

    wrong = []
    for plan in AWAITED if call.is_async else PLANS:
        for position in range(5):
            collection.delete_many({})
            if there:
                collection.insert_many([{"_id": n, "new": 0} for n in there])
            with proxy.failing(position, plan):
                found = await attempt(call, name)
            stored = {d["_id"] for d in collection.find() if d["new"]}
            problem = problems(found, stored)
            wrong += [f"{plan.name} at {position}: {problem}: {found!r}"] if problem else []

    assert not wrong, "\n".join(["", *wrong])


async def attempt(call: Runtime, name: str) -> Any:
    """Return what a call returns, or raises."""
    try:
        return await getattr(call(arrow), name)(Beast, TABLE, batch_rows=5)
    except (LoomError, PyMongoError) as error:
        return error


def problems(error: Any, stored: set[int]) -> str:
    """Return what is told of rows and is not so."""
    if isinstance(error, Exception) and not isinstance(error, RowsError):
        notes = " ".join(getattr(error, "__notes__", ()))
        return "stored, and nothing told of it" if stored and "unknown" not in notes else ""
    result = error.result if isinstance(error, RowsError) else error
    errors = result.errors.to_pylist()
    by_state = {
        state: {e["row"] for e in errors if e["state"] == state} for state in ("failed", "unknown")
    }
    if (result.failed, result.unknown) != (len(by_state["failed"]), len(by_state["unknown"])):
        return "the numbers do not fit the table"
    told = result.inserted + result.matched + result.upserted
    if told + result.failed + result.unknown + result.not_sent != ROWS:
        return f"not every row is counted: {result!r}"
    if stored & by_state["failed"]:
        return "failed, and stored"
    known = stored - by_state["unknown"]
    return f"{told} written, {len(known)} stored" if told != len(known) else ""
