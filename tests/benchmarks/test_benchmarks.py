"""The benchmarks run; how fast is not for a test to say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient

from . import data, wire

#: With the extra arrow.
COLUMNS = (
    "table(), 6 columns",
    "dataframe(), 6 columns",
    "dataframe() against DataFrame(list(find()))",
    "table(), 2 references",
    "windows: load of 20,000",
    "windows: sliding_window(30)",
    "memory of batches()",
    "memory of table()",
    "table(partitions=",
    "memory of batches(partitions=2)",
    "spread() of a window with nulls",
    "resample() to days of a zone",
)
EXPECTED = (
    "many(), 6 fields",
    "many() in a loop",
    "many(), 20 fields, 10 dicts",
    "many(), 20 fields, 10 sub-frames",
    "rows() as tuples",
    "dereferencing",
    "one(filter)",
    "by_id(id)",
    "update('name')",
    "insert_many(), 6 fields,",
    "insert_many(), 6 fields by name",
    "insert_many(), 20 fields, 10 sub-frames",
    "update_many('name')",
    "delete_many()",
    "events nobody listens to",
    "reading a field",
    "reading a missing field",
    "writing a field",
    "memory of a small frame",
    "memory of each() with references",
    "each(), 6 fields",
    "awaited each(), medium",
    "awaited many()",
    *(COLUMNS if find_spec("pymongoarrow") else ()),
    "time: a day, its ends known",
    "spread(), 20,000 windows of 30",
    "PdfValue.of(), 10,000 values",
    "import loom",
)


def test_quick_run_prints_every_case() -> None:
    """`--quick` runs all programs and prints the table."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.benchmarks", "--quick"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert [case for case in EXPECTED if f"| {case}" not in done.stdout] == []


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """A server with canned replies."""
    with wire.start() as started:
        yield started


@pytest.fixture
def database(uri: str) -> Iterator[Any]:
    """Its database, blocking."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri, tz_aware=True)
    client.admin.command("commandCounts", reset=True)
    yield client.get_default_database()
    client.close()


@pytest.mark.parametrize("kind", data.MAKERS)
def test_documents_arrive_as_they_were_made(database: Any, kind: str) -> None:
    """The server's replies decode to the documents that were encoded."""
    assert list(data.documents(kind, 150)) == list(database[f"{kind}_150"].find())


@pytest.mark.parametrize(
    ("options", "commands"),
    [
        ({}, {"find": 1, "getMore": 1}),
        ({"batch_size": 150}, {"find": 1, "getMore": 1}),
        ({"batch_size": 2**31 - 1}, {"find": 1}),
        ({"batch_size": 70}, {"find": 1, "getMore": 4}),
        ({"limit": 20}, {"find": 1}),
        ({"limit": 120, "skip": 100}, {"find": 1, "getMore": 1}),
    ],
)
def test_batches_and_commands_are_those_of_a_server(
    database: Any, options: dict[str, Any], commands: dict[str, int]
) -> None:
    """Batch sizes and limits are honoured, and commands are counted."""
    found = database.small_300.find({}, **options).to_list()
    counted = database.client.admin.command("commandCounts")["counts"]

    start = options.get("skip", 0)
    expected = list(data.documents("small", 300))[start:][: options.get("limit")]
    assert (expected, commands) == (found, counted)


def test_ids_select_documents(database: Any) -> None:
    """A filter on `_id` takes one or `$in`; others are refused."""
    ids = [data.id_of("small", number) for number in (5, 3, 999)]
    several = database.small_10.find({"_id": {"$in": ids}}).to_list()
    one = database.small_10.find_one({"_id": ids[0]})

    assert [5, 3] == [document["age"] for document in several]
    assert "Dragon 5" == one["name"]
    assert database.small_10.find_one({"_id": ids[2]}) is None
    with pytest.raises(Exception, match="expected a filter on _id"):
        database.small_10.find_one({"age": 5})


def test_replies_of_16_mib_end_a_batch(database: Any) -> None:
    """No reply is larger than a server's."""
    count = sum(1 for _ in database.medium_20000.find(batch_size=2**31 - 1))
    commands = database.client.admin.command("commandCounts")["counts"]

    assert (20_000, {"find": 1, "getMore": 1}) == (count, commands)


def test_writes_are_acknowledged(database: Any) -> None:
    """Writes are answered as if all had matched; nothing is kept."""
    assert 1 == database.small_10.update_one({"_id": 1}, {"$set": {"age": 5}}).modified_count
    assert 3 == len(database.small_10.insert_many([{}, {}, {}]).inserted_ids)
    assert 1 == database.small_10.delete_one({"_id": 1}).deleted_count
    assert 10 == database.small_10.count_documents({})


def test_awaited_client_reads_the_same(uri: str) -> None:
    """An asynchronous client gets the same replies."""

    async def read() -> list[dict[str, Any]]:
        async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
            return await client.get_default_database().small_150.find().to_list()

    assert list(data.documents("small", 150)) == asyncio.run(read())
