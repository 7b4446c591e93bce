"""Values that readers of columns lose elsewhere, one by one, in all libraries, beside `list(find())`."""

from __future__ import annotations

import io
import math
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loom import Frame, SchemaError

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pandas as pd
import pyarrow as pa

from loom.frames import arrow
from loom.frames.arrow.asking import Asked
from loom.frames.arrow.columns import Schema
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.reading import Reading
from loom.frames.arrow.results import dataframe_of, numpy_of, polars_of
from loom.frames.port import blocking

from .conftest import Runtime
from .test_arrow_decoding import ALL, FITTING, HOARD, documents_of, same

UTC = timezone.utc


class Cell(Frame):
    """Documents of every kind."""


def stored(*values: Any) -> list[Any]:
    """Store documents with these values as `v`, `...` for none, and return what `find` lists."""
    documents = [
        {"_id": n} if value is ... else {"_id": n, "v": value} for n, value in enumerate(values)
    ]
    Cell.get_collection().insert_many(documents)
    return [d.get("v") for d in Cell.get_collection().find().sort("_id")]


async def read(call: Runtime, type: Any, **how: Any) -> dict[str, list[Any]]:
    """Return the column `v` as each library has it, with None for its null."""
    given = {"schema": {"v": type}, "projection": ["v"], "sort": "_id", **how}
    readers = call(arrow)
    frame = await readers.dataframe(Cell, **given)
    arrays = await readers.numpy(Cell, **given)
    return {
        "table": (await readers.table(Cell, **given))["v"].to_pylist(),
        "pandas": [None if value is pd.NA else value for value in frame["v"]],
        "polars": (await readers.polars(Cell, **given))["v"].to_list(),
        "numpy": arrays["v"].tolist(),
    }


def agree(found: dict[str, list[Any]], expected: list[Any]) -> None:
    """Hold all libraries against the same values, of the same types where Python tells them apart."""
    for library, values in found.items():
        assert len(expected) == len(values), library
        for value, one in zip(expected, values, strict=True):
            if isinstance(value, float) and math.isnan(value):
                assert isinstance(one, float), library
                assert math.isnan(one), library
            else:
                assert value == one, library
                assert isinstance(one, bool) == isinstance(value, bool), library


@pytest.mark.parametrize(
    ("type", "fitting", "other", "said"),
    [
        (int, 3, 2.7, "expected int64, got 2.7 of type double"),
        (int, 3, "x", "expected int64, got 'x' of type string"),
        (int, 1, True, "expected int64, got True of type bool"),
        (pa.int32(), 1, 2**31, "expected int32, got 2147483648"),
        (str, "x", 7, "expected string, got 7 of type int32"),
        (str, "x", 2.5, "expected string, got 2.5 of type double"),
        (bool, True, 1, "expected bool, got 1 of type int32"),
        (float, 1.5, True, "expected float64, got True of type bool"),
        (float, 1.5, Int64(2**53 + 1), "expected float64, got 9007199254740993 of type int64"),
        (list[int], [1], 5, "expected list<int64>, got 5 of type int32"),
        (list[int], [1], [1, 2.5], "expected int64 in list<int64>, got 2.5 of type double"),
        (list[str], ["x"], {"0": "x"}, r"expected list<string>, got {'0': 'x'} of type document"),
        (HOARD, None, 5, "expected struct<.*>, got 5 of type int32"),
        (date, None, datetime(2024, 1, 1, 5, tzinfo=UTC), "expected date, got 2024-01-01 05:00"),
        (datetime, None, "2024-01-01", "expected timestamp.UTC., got '2024-01-01' of type string"),
        (pa.decimal128(5, 2), Decimal128("1.25"), Decimal128("1234.5"), "got Decimal128..1234.5"),
        (pa.decimal128(5, 2), Decimal128("1.25"), Decimal128("1.255"), "got Decimal128..1.255"),
        (pa.decimal128(5, 2), Decimal128("1.25"), Decimal128("NaN"), "got Decimal128..NaN"),
        (Decimal128, None, 1.5, "expected decimal128, got 1.5 of type double"),
    ],
)  # fmt: skip
async def test_what_does_not_fit(
    call: Runtime, type: Any, fitting: Any, other: Any, said: str
) -> None:
    """It is named with its document, or null and counted; what stands beside it is as it was."""
    stored(fitting, other, ..., fitting)
    # Of a list, only the items that do not fit are null.
    instead = [1, None] if other == [1, 2.5] else None
    beside = fitting.to_decimal() if isinstance(fitting, Decimal128) else fitting
    for name in ("table", "dataframe", "polars", "numpy"):
        with pytest.raises(SchemaError, match=f"Cell.v: .*{said}.* with _id=1; ") as caught:
            await getattr(call(arrow), name)(Cell, schema={"v": type})
        assert ("v", 1) == (caught.value.column, caught.value.id)
    table = await call(arrow).table(Cell, schema={"v": type}, on_mismatch="null", sort="_id")
    frame = await call(arrow).dataframe(Cell, schema={"v": type}, on_mismatch="null", sort="_id")

    assert [beside, instead, None, beside] == table["v"].to_pylist()
    assert {"v": 1} == frame.attrs["loom.mismatches"]
    assert [beside is None, instead is None, True, beside is None] == frame["v"].isna().tolist()
    for name in ("polars", "numpy"):
        with pytest.warns(RuntimeWarning, match="values that do not fit their column: 1 of v"):
            await getattr(call(arrow), name)(Cell, schema={"v": type}, on_mismatch="null")


async def test_whole_numbers(call: Runtime) -> None:
    """Ints beyond what doubles hold stay what they are, beside nulls, too."""
    expected = stored(2**53 + 1, None, Int64(-(2**63)), ..., 2**63 - 1, 3.0)
    agree(await read(call, int), expected)
    agree(await read(call, int, presence=True), expected)


async def test_no_number_and_no_value(call: Runtime) -> None:
    """NaN is NaN, null is null, absent is null, and infinity is infinity."""
    expected = stored(math.nan, None, ..., 1.5, math.inf, -0.0)
    found = await read(call, float)
    agree(found, expected)

    for library, values in found.items():
        assert -1.0 == math.copysign(1, values[5]), library
    frame = await call(arrow).dataframe(Cell, schema={"v": float}, sort="_id")
    assert [False, True, True, False, False, False] == (
        pa.array(frame["v"].array).is_null().to_pylist()
    )


async def test_lists_with_nulls(call: Runtime) -> None:
    """Nulls at the beginning of a list, and lists of nothing else, keep their places."""
    expected = stored([None, None, 1], [None], [], None, ..., [1, None], [None, None])
    agree(await read(call, list[int]), expected)
    Cell.get_collection().delete_many({})
    nested = stored([None, [None, 1]], None, [[], None])
    agree(await read(call, list[list[int]]), nested)


async def test_embedded_documents_that_are_absent_null_or_empty(call: Runtime) -> None:
    """An empty one is none of the others, in every library."""
    type = pa.struct([("gold", pa.int64()), ("names", pa.list_(pa.string()))])
    stored(..., None, {}, {"gold": None}, {"gold": 5, "names": [None, "x"]}, {"names": []})
    none = {"gold": None, "names": None}
    last = [{"gold": 5, "names": [None, "x"]}, {"gold": None, "names": []}]
    agree(await read(call, type), [None, None, none, none, *last])
    table = await call(arrow).table(
        Cell,
        projection=["v", "v.gold"],
        schema={"v": type, "v.gold": int},
        presence=True,
        sort="_id",
    )

    assert [False, True, True, True, True, True] == table["v__present"].to_pylist()
    assert [False, False, False, True, True, False] == table["v.gold__present"].to_pylist()


def instants(*numbers: int | None) -> tuple[Reading, Any]:
    """Return a call, and the table of documents with these instants; not all servers store them."""
    reading = Reading(blocking(), Asked(Cell, schema={"v": datetime}))
    documents = [{} if n is None else {"v": DatetimeMS(n)} for n in numbers]
    batch = Decoder(reading.columns).batch(b"".join(map(bson.encode, documents)))
    return reading, pa.Table.from_batches([batch])


def test_instants_beyond_those_of_python(db: str) -> None:
    """They are numbers of milliseconds in the end, which all libraries keep."""
    numbers = [-(2**62), -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**62, None]
    reading, table = instants(*numbers)
    frame, arrays = dataframe_of(reading, table), numpy_of(reading, table)

    assert numbers == table["v"].cast(pa.int64()).to_pylist()
    assert numbers == pa.array(frame["v"].array).cast(pa.int64()).to_pylist()
    assert numbers == polars_of(reading, table)["v"].to_physical().to_list()
    assert numbers[:-1] == arrays["v"].data.astype("int64").tolist()[:-1]
    assert [False] * 5 + [True] == np.ma.getmaskarray(arrays["v"]).tolist()


def test_the_instant_that_is_none_elsewhere(db: str) -> None:
    """The number that pandas and NumPy read as NaT is refused there, and kept elsewhere."""
    reading, table = instants(-(2**63), None)

    assert [-(2**63), None] == table["v"].cast(pa.int64()).to_pylist()
    assert [-(2**63), None] == polars_of(reading, table)["v"].to_physical().to_list()
    for make in (dataframe_of, numpy_of):
        with pytest.raises(SchemaError, match="which is NaT in NumPy and pandas"):
            make(reading, table)


async def test_instants_of_python(call: Runtime) -> None:
    """The first and the last are there, in another zone, too."""
    expected = stored(
        datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, UTC), None
    )
    table = await call(arrow).table(Cell, schema={"v": datetime}, sort="_id")
    zoned = await call(arrow).table(Cell, schema={"v": datetime}, sort="_id", zone="Asia/Tokyo")

    assert expected == table["v"].to_pylist()
    assert table["v"].cast(pa.int64()) == zoned["v"].cast(pa.int64())


async def test_days(call: Runtime) -> None:
    """Days have no hours, before 1970 neither, and may be absent."""
    days = [
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ]
    expected = [d.date() for d in stored(*days)]
    agree(await read(call, date), expected)
    Cell.get_collection().insert_one({"_id": 77})
    agree(await read(call, date), [*expected, None])


async def test_decimals(call: Runtime) -> None:
    """Those with a precision can be computed with; those without keep all digits and their form."""
    expected = stored(Decimal128("1.50"), None, Decimal128("-999.99"), ..., Decimal128("0E+3"))
    numbers = [None if d is None else d.to_decimal() for d in expected]
    agree(await read(call, pa.decimal128(5, 2)), numbers)
    Cell.get_collection().insert_one({"_id": 99, "v": Decimal128("1E-6000")})
    listed = [d.get("v") for d in Cell.get_collection().find().sort("_id")]
    found = await read(call, Decimal)
    as_bytes = found.pop("polars")  # Polars has no such type, and keeps what it is made of
    agree(found, listed)
    assert [None if d is None else d.bid for d in listed] == as_bytes
    empty = await call(arrow).dataframe(Cell, {"_id": -1}, schema=ALL)
    assert (0, len(ALL)) == empty.shape
    assert Decimal("-999.99") == sum(n for n in numbers if n is not None and n < 0)


def plain(value: Any) -> Any:
    """Return what a library gives as the table has it."""
    if value is pd.NA or value is np.ma.masked:
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    if isinstance(value, np.generic):
        return value.item()
    return value


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=40,
)
@given(documents=documents_of(FITTING), batch_rows=st.integers(1, 5))
@example(documents=[{"day": datetime(2024, 1, 1, tzinfo=UTC)}, {}], batch_rows=1)
def test_libraries_have_what_find_lists(
    db: str, documents: list[dict[str, Any]], batch_rows: int
) -> None:
    """Every value of a collection is in pandas and NumPy, and in Polars, as `list(find())` gives it."""
    collection = Cell.get_collection()
    collection.delete_many({})
    if documents:
        collection.insert_many([{**d, "_id": number} for number, d in enumerate(documents)])
    expected = list(collection.find({}).sort("_id"))
    how: dict[str, Any] = {"sort": "_id", "batch_rows": batch_rows, "max_bytes": 300}
    frame = arrow.dataframe(Cell, schema=ALL, **how)
    arrays = arrow.numpy(Cell, schema=ALL, **how)
    # Polars keeps these as the bytes that they are made of.
    shown = Schema(
        "Cell", [c for c in ALL if c.name not in ("oid", "dec", "b5", "uid", "deep", "code", "map")]
    )
    polars = arrow.polars(Cell, schema=shown, **how)

    assert len(expected) == len(frame) == len(arrays["_id"]) == polars.height
    for column in ALL:
        for row, document in enumerate(expected):
            stored_value = document.get(column.name)
            for library, value in (
                ("pandas", frame[column.name].iloc[row]),
                ("numpy", arrays[column.name][row]),
                *(
                    [("polars", polars[column.name].to_list()[row])]
                    if shown.find(column.name)
                    else []
                ),
            ):
                told = plain(value)
                if column.name == "when" and library == "numpy" and told is not None:
                    told = told.replace(tzinfo=UTC)
                assert same(stored_value, told, column.type), (library, column.name, told)


def test_pandas_asks_object_ids_for_everything(db: str, tmp_path: Path) -> None:
    """A DataFrame with ObjectIds tells its size, sorts, joins, and goes into a Parquet file and back."""
    one, two = ObjectId(), ObjectId()

    class Dragon(Frame):
        mate: ObjectId | None

    Dragon.insert_many([Dragon(_id=two, mate=one), Dragon(_id=one, mate=None)])
    found = arrow.dataframe(Dragon)
    shown = io.StringIO()
    found.info(buf=shown)
    assert "2 non-null" in shown.getvalue()
    assert "1 non-null" in shown.getvalue()
    assert found.memory_usage()["_id"] > 0
    assert [one, two] == found.sort_values("_id")["_id"].tolist()
    assert [None, one] == found.sort_values("_id")["mate"].tolist()
    assert [two] == found.merge(found, left_on="mate", right_on="_id")["_id_x"].tolist()
    assert 2 == found.groupby("_id").size().sum()
    found.to_parquet(tmp_path / "dragons.parquet")
    again = pd.read_parquet(tmp_path / "dragons.parquet")
    assert [two, one] == again["_id"].tolist()
    assert one == again["mate"][0]
