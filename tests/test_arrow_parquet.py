"""Columns in Parquet files: whole or not there, and resumed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from loom import Frame, Q, QueryError, SchemaError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import pyarrow.parquet as pq

from loom.frames import arrow

from .conftest import Commands, Runtime


class Egg(Frame):
    """A document of these tests."""

    _id: int
    number: int
    parent: ObjectId


PARENT = ObjectId("65f000000000000000000001")


def stored(count: int = 20) -> list[dict[str, Any]]:
    """Store documents, and return them."""
    documents = [{"_id": n, "number": n * n, "parent": PARENT} for n in range(count)]
    Egg.get_collection().insert_many([*reversed(documents)])
    return documents


async def test_one_file(call: Runtime, tmp_path: Path) -> None:
    """A file holds what a table does, and takes the place of an older one at its end."""
    documents = stored()
    path = tmp_path / "eggs.parquet"
    path.write_text("old")
    written = await call(arrow).to_parquet(Egg, path, Q._id < 15, sort="_id", batch_rows=4)

    assert (15, (path,), {}) == written
    assert documents[:15] == pq.read_table(path).to_pylist()
    assert [path] == [*tmp_path.iterdir()]
    assert 4 == pq.read_metadata(path).num_row_groups


async def test_a_directory_is_no_file(call: Runtime, tmp_path: Path, commands: Commands) -> None:
    """It is refused before anything is read, and not after all of it."""
    with pytest.raises(QueryError, match="expected a path for a file, got the directory"):
        await call(arrow).to_parquet(Egg, tmp_path)
    with pytest.raises(QueryError, match="expected a path in a directory that is there, got"):
        await call(arrow).to_parquet(Egg, tmp_path / "new" / "eggs.parquet")

    assert [] == commands.names == [*tmp_path.iterdir()]


async def test_nothing_is_left_of_a_failure(call: Runtime, tmp_path: Path) -> None:
    """An older file stays as it is, and no other one is there."""
    stored()
    Egg.get_collection().insert_one({"_id": 99, "number": "x"})
    path = tmp_path / "eggs.parquet"
    path.write_text("old")
    with pytest.raises(SchemaError, match="_id=99"):
        await call(arrow).to_parquet(Egg, path, sort="_id", batch_rows=4)

    assert "old" == path.read_text()
    assert [path] == [*tmp_path.iterdir()]


async def test_files_are_written_by_threads(
    call: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Awaited, nothing of a file is done on the event loop."""
    threads: set[int] = set()
    writer = pq.ParquetWriter

    class Seen(writer):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            threads.add(threading.get_ident())
            super().__init__(*args, **options)

        def write_batch(self, *args: Any, **options: Any) -> None:
            threads.add(threading.get_ident())
            super().write_batch(*args, **options)

        def close(self) -> None:
            threads.add(threading.get_ident())
            super().close()

    monkeypatch.setattr(pq, "ParquetWriter", Seen)
    stored()
    await call(arrow).to_parquet(Egg, tmp_path, part_rows=5, batch_rows=3)

    assert call.is_async == (threading.get_ident() not in threads)
    assert threads


async def test_cancelled_writing(db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cancelled while a thread writes leaves no half file, and an older one whole."""
    stored()
    path = tmp_path / "eggs.parquet"
    path.write_text("old")
    began, held = threading.Event(), threading.Event()
    written: list[int] = []
    write = pq.ParquetWriter.write_batch

    def slowly(self: Any, batch: Any) -> None:
        began.set()
        held.wait(60)
        write(self, batch)
        written.append(batch.num_rows)

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", slowly)
    task = asyncio.ensure_future(arrow.aio.to_parquet(Egg, path, batch_rows=4))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    assert 2 == len([*tmp_path.iterdir()])
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [4] == written
    assert "old" == path.read_text()
    assert [path] == [*tmp_path.iterdir()]


async def test_two_calls_for_one_file(db: str, tmp_path: Path) -> None:
    """Each writes a file of its own; the last one to end is there."""
    documents = stored()
    path = tmp_path / "eggs.parquet"
    await asyncio.gather(
        *(arrow.aio.to_parquet(Egg, path, sort="_id", batch_rows=n) for n in (3, 4))
    )

    assert documents == pq.read_table(path).to_pylist()
    assert [path] == [*tmp_path.iterdir()]


async def test_parts_are_resumed(call: Runtime, tmp_path: Path, commands: Commands) -> None:
    """A call that failed goes on behind the last part; one that is complete asks nothing."""
    documents = stored()
    eggs = Egg.get_collection()
    eggs.update_one({"_id": 13}, {"$set": {"number": 2.5}})
    how: dict[str, Any] = {"part_rows": 5, "batch_rows": 3, "ids": "hex"}
    with pytest.raises(SchemaError, match="_id=13"):
        await call(arrow).to_parquet(Egg, tmp_path, Q._id >= 0, **how)
    before = sorted(tmp_path.iterdir())
    eggs.update_one({"_id": 13}, {"$set": {"number": 169}})
    commands.clear()
    written = await call(arrow).to_parquet(Egg, tmp_path, Q._id >= 0, **how)
    asked = commands.bodies[0]["filter"]
    commands.clear()
    again = await call(arrow).to_parquet(Egg, tmp_path, Q._id >= 0, **how)

    assert ["part-000000.parquet", "part-000001.parquet"] == [path.name for path in before]
    assert {"_id": {"$gt": 11}} in asked["$and"][1].get("$or", [])
    assert 20 == written.rows == again.rows
    assert [6, 6, 6, 2] == [pq.read_metadata(path).num_rows for path in written.files]
    assert written.files == again.files
    assert [] == commands.names
    rows = [row for path in written.files for row in pq.read_table(path).to_pylist()]
    assert [{**d, "parent": str(PARENT)} for d in documents] == rows
    assert {"_done", *(path.name for path in written.files)} == {p.name for p in tmp_path.iterdir()}


async def test_parts_of_another_call(call: Runtime, tmp_path: Path) -> None:
    """Parts of other documents or columns are not mixed with these."""
    stored()
    how: dict[str, Any] = {"part_rows": 5, "batch_rows": 3}
    await call(arrow).to_parquet(Egg, tmp_path, **how)
    others: list[Any] = [
        ((Q._id > 3,), {}),
        ((), {"projection": ["number"]}),
        ((), {"ids": "hex"}),
        ((), {"on_mismatch": "null"}),
        ((), {"hint": "_id_", "min": [("_id", 3)]}),
        ((), {"hint": "a_partial_index"}),
    ]
    for args, more in others:
        with pytest.raises(QueryError, match="which is a part of another one"):
            await call(arrow).to_parquet(Egg, tmp_path, *args, **how, **more)


async def test_parts_of_nothing(call: Runtime, tmp_path: Path) -> None:
    """There is one part without rows, so that its columns are known."""
    written = await call(arrow).to_parquet(Egg, tmp_path / "deep" / "er", part_rows=5)

    assert (0, 1) == (written.rows, len(written.files))
    assert ["_id", "number", "parent"] == pq.read_table(written.files[0]).column_names


@pytest.mark.parametrize(
    "how",
    [
        {"part_rows": 0},
        {"part_rows": True},
        {"part_rows": 5, "sort": "-_id"},
        {"part_rows": 5, "limit": 3},
        {"part_rows": 5, "pipeline": [], "schema": {"number": int}},
    ],
)
async def test_parts_that_have_no_order(call: Runtime, tmp_path: Path, how: Any) -> None:
    """They are refused before anything is written."""
    with pytest.raises(QueryError):
        await call(arrow).to_parquet(Egg, tmp_path / "eggs", **how)

    assert [] == [*tmp_path.iterdir()]


async def test_results_of_an_aggregation(call: Runtime, tmp_path: Path) -> None:
    """They go to one file."""
    stored(5)
    pipeline = [{"$group": {"_id": None, "sum": {"$sum": "$number"}}}]
    path = tmp_path / "sums.parquet"
    written = await call(arrow).to_parquet(Egg, path, pipeline=pipeline, schema={"sum": int})

    assert 1 == written.rows
    assert [{"sum": 30}] == pq.read_table(path).to_pylist()


async def test_values_that_do_not_fit(call: Runtime, tmp_path: Path) -> None:
    """They are counted."""
    stored(5)
    Egg.get_collection().insert_one({"_id": 99, "number": "x"})
    path = tmp_path / "eggs.parquet"
    written = await call(arrow).to_parquet(Egg, path, on_mismatch="string")

    assert {"number": 1} == written.mismatches
    assert [("number", "x")] in pq.read_table(path).column("_mismatches").to_pylist()
