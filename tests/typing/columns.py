"""What type checkers see of readers of columns; checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from typing_extensions import assert_type

from loom import Frame, Q
from loom.frames import arrow


class Dragon(Frame):
    """A frame."""

    name: str
    age: int


def options() -> None:
    """Readers take a class or a directive, and options of theirs and of PyMongo's, by name."""
    assert_type(arrow.dataframe(Dragon, Q.age > 1, ids="hex", zone="Asia/Tokyo"), pd.DataFrame)
    assert_type(arrow.polars(Dragon.filter(Q.age > 1), presence=True), pl.DataFrame)
    assert_type(
        arrow.numpy(Dragon, {"age": 1}, sort="-age", limit=5, max_bytes=1_000),
        dict[str, np.ndarray[Any, Any]],
    )
    assert_type(arrow.batches(Dragon, pipeline=[], schema={"a": int}), arrow.Batches)
    assert_type(arrow.to_parquet(Dragon, "x", part_rows=5, zone=timezone.utc), arrow.Written)
    assert_type(Dragon.filter(Q.age > 1).load_dataframe(on_mismatch="null"), pd.DataFrame)
    arrow.table(Dragon, ids="text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    arrow.table(Dragon, on_mismach="null")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    arrow.table(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaited() -> None:
    """The same, awaited."""
    assert_type(await arrow.aio.dataframe(Dragon, projection=["name"]), pd.DataFrame)
    assert_type(await arrow.aio.polars(Dragon.aio.filter(), batch_rows=5), pl.DataFrame)
    assert_type(arrow.aio.batches(Dragon, progress=True), arrow.AsyncBatches)
    assert_type(await arrow.aio.to_parquet(Dragon, "x", compression="gzip"), arrow.Written)
    assert_type(await Dragon.aio.filter().load_polars(ids="hex"), pl.DataFrame)
    await arrow.aio.table(Dragon, presence="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
