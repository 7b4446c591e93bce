"""Columns as DataFrames of Dask, computed here and by a cluster of processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, ObjectId
from pymongo import MongoClient

import loom
from loom import Frame, MissingExtra, Q, QueryError, Ref, SchemaError, SubFrame

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
pytest.importorskip("dask", reason="the extra dask is not installed")

from loom.frames import arrow

from .conftest import Commands, Runtime, Server
from .faults import fault


class Nest(Frame):
    """Where eggs are."""

    name: str


class Egg(Frame):
    """A document of these tests."""

    number: int
    colour: str | None
    laid: datetime
    nest: Annotated[Nest | None, Ref()]


LAID = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)


@pytest.fixture
def eggs(server: Server, db: str) -> Iterator[list[dict[str, Any]]]:
    """A connection that other processes can make, and documents behind it."""
    loom.connect(server.uri, db=db)
    documents = [
        {"_id": ObjectId(b"egg%09d" % n), "number": n, "colour": f"c{n % 7}", "laid": LAID}
        for n in range(200)
    ]
    Egg.get_collection().insert_many([*reversed(documents)])
    yield documents
    loom.close()


async def test_partitions_are_the_collection(call: Runtime, eggs: list[dict[str, Any]]) -> None:
    """All partitions together are the DataFrame of a load in one, with the same types."""
    how: dict[str, Any] = {"zone": "Europe/Berlin", "projection": ["_id", "number", "laid"]}
    found = await call(arrow).dask(Egg, Q.number < 150, partitions=4, **how)
    whole = await call(arrow).dataframe(Egg, Q.number < 150, sort="_id", ids="hex", **how)
    computed = found.compute(scheduler="synchronous")

    assert 4 == found.npartitions
    assert whole.dtypes.equals(found.dtypes)
    assert whole.equals(computed.reset_index(drop=True))
    if call.is_async:
        await loom.aio.close()


class Shell(SubFrame):
    """What an egg is in."""

    id: UUID
    weight: Decimal


class Laid(Frame):
    """A document with extension types inside of others."""

    _id: int
    shell: Shell
    shells: list[Shell]
    ids: dict[str, UUID]


def test_extension_types_inside_of_others(server: Server, db: str) -> None:
    """UUIDs and decimals inside of structs, lists and maps are the same as in a DataFrame."""
    loom.connect(server.uri, db=db)
    shell = {"id": Binary(bytes(16), 4), "weight": Decimal128("1.5")}
    documents = [
        {"_id": n, "shell": shell, "shells": [shell], "ids": {"a": shell["id"]}} for n in range(9)
    ]
    Laid.get_collection().insert_many(documents)
    found = arrow.dask(Laid, partitions=2)
    whole = arrow.dataframe(Laid, sort="_id")
    computed = found.compute(scheduler="synchronous").reset_index(drop=True)
    loom.close()

    assert whole.dtypes.equals(found.dtypes)
    assert whole.to_dict("list") == computed.to_dict("list")


def test_a_cluster_computes(eggs: list[dict[str, Any]]) -> None:
    """The processes of a cluster load their partitions through clients of their own."""
    distributed = pytest.importorskip("distributed")
    found = arrow.dask(Egg, partitions=3, projection=["number", "colour"])
    with (
        distributed.LocalCluster(
            processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        total = found["number"].sum().compute()
        counts = found.groupby("colour")["number"].count().compute()

    assert sum(range(200)) == total
    assert [29, 29, 29, 29, 28, 28, 28] == counts.sort_index().tolist()


SEEN = Commands()


def watched() -> MongoClient[Any]:
    """Return a client whose commands are seen."""
    return MongoClient(os.environ["EGGS"], event_listeners=[SEEN])


def test_only_what_is_computed_is_loaded(
    server: Server, eggs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computation that takes one column fetches that one, and the key."""
    monkeypatch.setenv("EGGS", server.uri)
    SEEN.clear()
    found = arrow.dask(Egg, partitions=2, partition_by="laid", connect=watched)
    total = found["number"].sum().compute(scheduler="synchronous")

    assert sum(range(200)) == total
    assert [{"_id": True, "number": True, "laid": True}] == [
        body["projection"] for body in SEEN.bodies
    ]


def test_values_that_do_not_fit_raise_when_they_are_computed(eggs: list[Any]) -> None:
    """A mismatch is a SchemaError, or is kept as text in a column of its own."""
    Egg.get_collection().update_one({"number": 7}, {"$set": {"number": "x"}})
    how: dict[str, Any] = {"partitions": 2, "projection": ["number"]}
    with pytest.raises(SchemaError, match=r"Egg.number: expected int64, got 'x'"):
        arrow.dask(Egg, **how).compute(scheduler="synchronous")
    found = arrow.dask(Egg, on_mismatch="string", **how)["_mismatches"]

    assert 1 == found.count().compute(scheduler="synchronous")


def test_a_lost_connection_is_made_again(server: Server, eggs: list[Any]) -> None:
    """A partition is read anew when its cursor is gone, with no row twice."""
    found = arrow.dask(Egg, partitions=1, projection=["number"], batch_rows=50)
    with fault(server, "getMore", times=2, closeConnection=True):
        computed = found.compute(scheduler="synchronous")

    assert [*range(200)] == computed["number"].tolist()


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({}, "expected partitions=, got none"),
        ({"partitions": 2, "progress": True}, "expected no progress"),
        ({"partitions": 2, "counted": True}, "expected no counted"),
        ({"partitions": 2, "limit": 5}, "expected no limit"),
        ({"partitions": 2, "ids": "extension"}, "expected ids='hex' or 'binary', got 'extension'"),
        (
            {"partitions": 2, "projection": {"nest": {"$ref": Nest, "name": True}}},
            "expected columns of one collection",
        ),
    ],
)
def test_what_dask_cannot_load(how: dict[str, Any], problem: str, server: Server, db: str) -> None:
    """Options that partitions of Dask cannot have are refused before anything is loaded."""
    loom.connect(server.uri, db=db)
    with pytest.raises(QueryError, match=problem):
        arrow.dask(Egg, **how)
    loom.close()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask the error tells what to install."""
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(MissingExtra, match=r"pip install 'loom-frames\[dask\]'"):
        arrow.dask(Egg, partitions=2)
