"""What can be written: every holder of columns gives the same rows, or says what to do instead."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from loom import SchemaError, SubFrame
from loom.encoding import ENCODING_ERRORS, encode

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
from pymongoarrow.types import CodeType, Decimal128Type

from loom.frames.arrow.types import OBJECT_ID
from loom.frames.arrow.writers.cells import Unfit
from loom.frames.arrow.writers.fitting import Rules, cell_for
from loom.frames.arrow.writers.inputs import awaited_input, input_of, only_dataframe
from loom.frames.arrow.writers.objects import Things

UTC = timezone.utc
ID = ObjectId("65f000000000000000000001")
PLACE = "Dragon.insert_table"


def rows(data: Any, at_once: int = 2) -> list[dict[str, Any]]:
    """Return the rows of what holds columns, as they are stored."""
    given = input_of(PLACE, data, at_once)
    cells = [
        Things(f"Dragon.{name}", None, Rules())
        if type is None
        else cell_for(f"Dragon.{name}", type, None, Rules())
        for name, type in zip(given.names, given.types, strict=True)
    ]
    found: list[dict[str, Any]] = []
    for part in given.parts():  # type: ignore[union-attr]  # none of them is asynchronous
        columns = []
        for cell, column, type in zip(cells, part.columns, given.types, strict=True):
            assert type is None or column.type == type
            cell.check(column)
            columns.append(cell.values(column))
        made = [dict(zip(given.names, row, strict=True)) for row in zip(*columns, strict=True)]
        assert part.rows == len(made)
        found += made
    assert given.rows in (None, len(found))
    return found


def column(values: Any) -> list[Any]:
    """Return what is stored of a column."""
    return [row["a"] for row in rows({"a": values})]


EXPECTED = [
    {"name": "Burt", "age": 3},
    {"name": None, "age": 4},
    {"name": "Fred", "age": None},
]
TABLE = pa.table({"name": ["Burt", None, "Fred"], "age": [3, 4, None]})


class Capsule:
    """Something of another library, that is a stream of Arrow's."""

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return TABLE.__arrow_c_stream__(schema)


class Batch:
    """Something of another library, that is an array of Arrow's."""

    def __arrow_c_array__(self, schema: Any = None) -> Any:
        return TABLE.to_batches()[0].__arrow_c_array__(schema)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: pa.concat_tables([TABLE[:1], TABLE[1:]]),
        lambda: TABLE.to_batches()[0],
        lambda: TABLE.to_reader(max_chunksize=1),
        lambda: TABLE.to_batches(max_chunksize=2),
        lambda: iter(TABLE.to_batches(max_chunksize=2)),
        lambda: pa.dataset.dataset(TABLE),
        lambda: pa.dataset.dataset(TABLE).scanner(),
        Capsule,
        Batch,
        lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
        lambda: TABLE.to_pandas().astype({"age": "Int64"}),
        lambda: pl.from_arrow(TABLE),
        lambda: pl.from_arrow(TABLE).lazy(),  # type: ignore[union-attr]  # a DataFrame
        lambda: TABLE.to_pydict(),
        lambda: {"name": TABLE["name"], "age": TABLE["age"].combine_chunks()},
        lambda: {"name": pl.Series(["Burt", None, "Fred"]), "age": pd.array([3, 4, None], "Int8")},
        lambda: {
            "name": pd.Series(["Burt", None, "Fred"]),
            "age": np.ma.array([3, 4, 0], mask=[False, False, True]),
        },
        lambda: np.ma.array(
            [("Burt", 3), ("", 4), ("Fred", 0)],
            mask=[(False, False), (True, False), (False, True)],
            dtype=[("name", "U4"), ("age", "i2")],
        ),
    ],
)
def test_all_holders_of_columns(make: Any) -> None:
    """Tables, batches, streams, DataFrames and arrays of all libraries give the same rows."""
    assert EXPECTED == rows(make())


def test_a_stream_is_taken_batch_by_batch() -> None:
    """A reader is asked for one batch at a time."""
    asked = []

    def batches() -> Any:
        for number in range(3):
            asked.append(number)
            yield pa.record_batch({"a": [number]})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    given = input_of(PLACE, reader, 10)
    parts = iter(given.parts())  # type: ignore[call-overload]  # it blocks

    assert (None, False) == (given.rows, given.is_kept)
    assert [] == asked
    assert [0] == next(parts).columns[0].to_pylist()
    assert len(asked) <= 2


def test_a_lazy_frame_is_run_once() -> None:
    """A LazyFrame is collected when it is written, and its schema is known before."""
    runs = []

    def note(frame: Any) -> Any:
        runs.append(len(frame))
        return frame

    lazy = pl.LazyFrame({"a": [1, 2, 3]}).map_batches(note, schema=pl.Schema({"a": pl.Int64}))
    given = input_of(PLACE, lazy, 10)

    assert (["a"], [pa.int64()], []) == (given.names, given.types, runs)
    assert [{"a": 1}, {"a": 2}, {"a": 3}] == rows(lazy)
    assert 3 == sum(runs)


def test_queries_of_duckdb() -> None:
    """A query of DuckDB is a stream of Arrow's."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        assert EXPECTED == rows(connection.from_arrow(TABLE).order("age NULLS LAST"))


async def test_awaited_streams() -> None:
    """An asynchronous stream of batches has a schema, or begins with a batch that has."""

    class Stream:
        async def __aiter__(self) -> AsyncIterator[Any]:
            yield TABLE.to_batches()[0]

    class Told(Stream):
        schema = TABLE.schema

    for stream in (Stream(), Told()):
        given = await awaited_input(PLACE, stream)
        parts: Any = given.parts()

        assert (["name", "age"], False) == (given.names, given.is_kept)
        assert [TABLE.num_rows] == [part.rows async for part in parts]


async def test_awaited_streams_that_are_refused() -> None:
    """A stream that was begun, and is not taken, is closed."""
    closed = []

    async def stream() -> AsyncIterator[Any]:
        try:
            yield pa.record_batch([pa.array([1]), pa.array([2])], names=["a", "a"])
        finally:
            closed.append(True)

    with pytest.raises(SchemaError, match="expected each column once, got 'a' twice"):
        await awaited_input(PLACE, stream())
    assert [True] == closed


# pandas


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, 2], dtype="uint8"), [1, 2]),
        (pd.Series([1, None], dtype="UInt16"), [1, None]),
        (pd.Series([1.5, None]), [1.5, "NaN"]),
        (pd.Series([1.5, None], dtype="Float32"), [1.5, None]),
        (pd.Series([1.5], dtype="float16"), [1.5]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series(["a", None]), ["a", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series(["a", None], dtype=object), ["a", None]),
        (pd.Series(["a", None, "a"], dtype="category"), ["a", None, "a"]),
        (pd.Series([3, None, 3]).astype("category"), [3.0, None, 3.0]),
        (pd.Series([1, "a"], dtype=object).astype("category"), [1, "a"]),
        (pd.Series([float("nan"), pd.NA, pd.NaT, None, 1], dtype=object), [None] * 4 + [1]),
        (pd.Series([ID, None], dtype=object), [ID, None]),
        (pd.Series([[1], {"a": 2}, (3,)], dtype=object), [[1], {"a": 2}, [3]]),
        (pd.to_datetime(pd.Series(["2024-01-01", None])), [datetime(2024, 1, 1), None]),
        (
            pd.to_datetime(pd.Series(["2024-01-01", None])).dt.tz_localize("Europe/Berlin"),
            [datetime(2023, 12, 31, 23), None],
        ),
        (
            pd.Series(
                pd.to_datetime(["2024-01-01", None]).tz_localize("Asia/Tokyo"), dtype="category"
            ),
            [datetime(2023, 12, 31, 15), None],
        ),
        (pd.arrays.SparseArray([0, 1, 0]), [0, 1, 0]),
        (pd.Series([date(2024, 1, 1), None], dtype=object), [date(2024, 1, 1), None]),
        (pd.Series([date(2024, 1, 1)], dtype=pd.ArrowDtype(pa.date32())), [datetime(2024, 1, 1)]),
        (
            pd.Series([Decimal("1.5")], dtype=pd.ArrowDtype(pa.decimal128(3, 1))),
            [Decimal128("1.5")],
        ),
        (pd.Series([], dtype="float64"), []),
        (pd.Series([], dtype=object), []),
    ],
    ids=lambda given: str(getattr(given, "dtype", "")),
)
def test_dtypes_of_pandas(series: Any, expected: list[Any]) -> None:
    """Each dtype has its values; what is missing is null, but NaN among floats is a value."""
    found = [
        "NaN" if type(value) is float and math.isnan(value) else value
        for value in column(pd.Series(series))
    ]

    assert [(type(e), e) for e in expected] == [(type(f), f) for f in found]


def test_extension_arrays_of_pymongoarrow() -> None:
    """What readers give as DataFrames is taken as it is."""
    from pymongoarrow.pandas_types import PandasObjectId

    table = pa.table(
        {
            "id": pa.ExtensionArray.from_storage(OBJECT_ID, pa.array([ID.binary], pa.binary(12))),
            "dec": pa.ExtensionArray.from_storage(
                Decimal128Type(), pa.array([Decimal128("1").bid], pa.binary(16))
            ),
            "code": pa.ExtensionArray.from_storage(CodeType(), pa.array(["f"])),
        }
    )
    frame = table.to_pandas()

    assert isinstance(frame["id"].dtype, PandasObjectId)
    assert [{"id": ID, "dec": Decimal128("1"), "code": Code("f")}] == rows(frame)
    assert rows(frame) == rows(table)


@pytest.mark.parametrize(
    ("series", "advice"),
    [
        (pd.Series(pd.period_range("2024", periods=2, freq="M")), "to_timestamp"),
        (pd.Series(pd.interval_range(0, 2)), "two ends"),
        (pd.Series(pd.period_range("2024", periods=2, freq="M"), dtype="category"), "to_timestamp"),
        (pd.cut(pd.Series([1, 2]), 2), "two ends"),
        (pd.Series([1j]), "imaginary"),
        (pd.to_timedelta(pd.Series([1])), "units"),
    ],
    ids=lambda given: str(getattr(given, "dtype", given)),
)
def test_dtypes_of_pandas_that_are_refused(series: Any, advice: str) -> None:
    """Periods, intervals and the like are refused by name, with a way out."""
    with pytest.raises(SchemaError, match=rf"expected columns.*'a' of .*{advice}"):
        column(series)


def test_an_index_is_never_lost() -> None:
    """An index that says more than the number of the row is refused, and `reset_index` named."""
    frame = pd.DataFrame({"a": [1, 2, 3]})

    assert 3 == len(rows(frame))
    for indexed in (
        frame.set_index(pd.Index([5, 6, 7])),
        frame.rename_axis("number"),
        frame[frame["a"] > 1],
        frame.set_index([[1, 2, 3], ["x", "y", "z"]]),
        frame.set_index(pd.date_range("2024", periods=3)),
    ):
        with pytest.raises(SchemaError, match=r"got an index .*reset_index\(\)"):
            rows(indexed)
        assert 0 < len(rows(indexed.reset_index(drop=True)))


def test_columns_of_pandas_that_are_refused() -> None:
    """Columns of several levels, twice the same name and names that are no text are refused."""
    levels = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    for frame, message in (
        (levels, "one level"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' twice"),
        (pd.DataFrame([[1]], columns=[7]), "got 7 of type int"),
    ):
        with pytest.raises(SchemaError, match=message):
            rows(frame)
    with pytest.raises(SchemaError, match="'a' twice"):
        rows(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
    with pytest.raises(SchemaError, match="a name"):
        rows(pd.Series([1]))
    assert [{"a": 1}] == rows(pd.Series([1], name="a"))


# Polars


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([1, None], dtype=pl.UInt32), [1, None]),
        (pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
        (pl.Series(["a", None], dtype=pl.Enum(["a"])), ["a", None]),
        (pl.Series([Decimal("1.5")], dtype=pl.Decimal(10, 2)), [Decimal128("1.50")]),
        (pl.Series([date(2024, 1, 1)]), [datetime(2024, 1, 1)]),
        (pl.Series([datetime(2024, 1, 1)], dtype=pl.Datetime("ms", "UTC")), [datetime(2024, 1, 1)]),
        (pl.Series([[1, None], None]), [[1, None], None]),
        (pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)), [[1, 2]]),
        (pl.Series([{"a": 1}]), [{"a": 1}]),
        (pl.Series([b"x"]), [b"x"]),
        (pl.Series([None]), [None]),
        (pl.Series([True]), [True]),
        (pl.Series([1.5], dtype=pl.Float32), [1.5]),
    ],
    ids=lambda given: str(getattr(given, "dtype", "")),
)
def test_dtypes_of_polars(series: Any, expected: list[Any]) -> None:
    """Each dtype has its values, eager and lazy."""
    frame = pl.DataFrame({"a": series})

    assert [{"a": value} for value in expected] == rows(frame) == rows(frame.lazy())


def test_frames_of_polars_that_were_made_of_tables() -> None:
    """A type of PyMongoArrow's, which Polars takes over from Arrow, is written as its bytes."""
    ids = pa.ExtensionArray.from_storage(OBJECT_ID, pa.array([ID.binary], pa.binary(12)))
    frame = pl.from_arrow(pa.table({"a": ids, "b": [1]}))
    assert isinstance(frame, pl.DataFrame)

    for data in (frame, frame.lazy()):
        assert [{"a": ID.binary, "b": 1}] == rows(data)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([object()]),
        pl.Series([1]).cast(pl.Int128),
        pl.Series([1]).cast(pl.Duration),
        pl.Series([1]).cast(pl.Time),
    ],
    ids=lambda series: str(series.dtype),
)
def test_dtypes_of_polars_that_are_refused(series: Any) -> None:
    """Objects, durations and times are refused, with a way out."""
    with pytest.raises(SchemaError, match="cast it"):
        rows(pl.DataFrame({"a": series}))


# NumPy


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.array([1.5], "f2"), [1.5]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (np.array([1, "a", None, np.nan], dtype=object), [1, "a", None, None]),
        (np.array(["2024-01-01", "NaT"], "M8[D]"), [datetime(2024, 1, 1), None]),
        (np.array(["2024-01", "1969"], "M8[M]"), [datetime(2024, 1, 1), datetime(1969, 1, 1)]),
        (np.array(["2024-01-01T05"], "M8[h]"), [datetime(2024, 1, 1, 5)]),
        (np.array([3], "M8[25s]"), [datetime(1970, 1, 1, 0, 1, 15)]),
        (np.array([1_000_000], "M8[ns]"), [datetime(1970, 1, 1, 0, 0, 0, 1000)]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.arange(8).reshape(2, 2, 2), [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]),
        (np.array([["a", None]], dtype=object), [["a", None]]),
        (np.arange(6)[::2], [0, 2, 4]),
        (np.ma.array([1, 2], mask=[True, False]), [None, 2]),
        (np.ma.array(["a", "b"], mask=[True, False]), [None, "b"]),
        (np.ma.array([1, "x"], mask=[True, False], dtype=object), [None, "x"]),
        (np.ma.array([[1, 2]], mask=[[True, False]]), [[None, 2]]),
        (np.ma.array(["2024", "2025"], "M8[Y]", mask=[True, False]), [None, datetime(2025, 1, 1)]),
        (
            np.array([(1, (2.5, "x"))], [("b", "i4"), ("c", [("d", "f8"), ("e", "U1")])]),
            [{"b": 1, "c": {"d": 2.5, "e": "x"}}],
        ),
        (np.array([(1, None)], [("b", "i4"), ("c", "O")]), [{"b": 1, "c": None}]),
        (np.zeros((1, 2), [("b", "i1")]), [[{"b": 0}, {"b": 0}]]),
        (np.zeros((2, 0)), [[], []]),
        (np.zeros((2, 0, 3)), [[], []]),
        (np.zeros((1, 2, 0), dtype=object), [[[], []]]),
        (np.ma.array(["2024", "NaT"], "M8[s]", mask=[True, False]), [None, None]),
    ],
    ids=lambda given: str(getattr(given, "dtype", "")),
)
def test_arrays_of_numpy(array: Any, expected: list[Any]) -> None:
    """Each dtype has its values; more dimensions are lists, fields documents, masks nulls."""
    assert expected == column(array)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no StringDType")
@pytest.mark.parametrize("missing", [None, np.nan])
def test_text_of_any_length(missing: Any) -> None:
    """NumPy's own text is text; what is missing in it is null."""
    dtype = np.dtypes.StringDType(na_object=missing)
    assert column(np.array(["a", missing, "bc"], dtype)) == ["a", None, "bc"]


@pytest.mark.parametrize(
    "values", [np.array(["a", "\ud800"]), pd.array(["a", "\ud800"], dtype="string[python]")]
)
def test_text_that_utf8_cannot_write(values: Any) -> None:
    """Text that Arrow cannot hold is refused with its column and about its rows."""
    with pytest.raises(SchemaError, match=r"in the column 'a', got '.ud800' in the rows 0 to 1"):
        column(values)


def test_matrices() -> None:
    """A matrix, which has two dimensions whatever becomes of it, is a column of lists."""
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1, 2], [3, 4]])

    assert column(matrix) == [[1, 2], [3, 4]]


def test_structured_arrays() -> None:
    """The fields of a structured array are columns; one of several values is a list."""
    array = np.array([(1, [2, 3], "x")], [("a", "u1"), ("b", "i4", (2,)), ("c", "U3")])

    assert [{"a": 1, "b": [2, 3], "c": "x"}] == rows(array)
    for plain in (np.array([1]), np.zeros((1, 1), [("a", "i1")])):
        with pytest.raises(SchemaError, match="a structured array of one dimension"):
            rows(plain)


@pytest.mark.parametrize(
    "dtype", ["m8[s]", "c16", "M8[ps]", "V3"] + ["g"] * (np.dtype("g").itemsize > 8)
)
def test_dtypes_of_numpy_that_are_refused(dtype: str) -> None:
    """Durations, complex numbers, long doubles and the like are refused by name."""
    with pytest.raises(SchemaError, match="expected columns whose values MongoDB stores, got 'a'"):
        column(np.zeros(1, dtype))


def test_instants_of_numpy_too_far_away() -> None:
    """An instant that has no place in 64 bits of seconds is refused, and not wrapped around."""
    with pytest.raises(SchemaError, match="too far away"):
        column(np.array([2**62], "M8[W]"))
    with pytest.raises(SchemaError, match="too far away"):
        column(np.ma.array([2**62, 2], mask=[False, True], dtype="M8[W]"))


# Python's objects


class Kind(Enum):
    """A kind of dragon."""

    RED = "red"


class Lair(SubFrame):
    """Where a dragon lives."""

    gold: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Kind.RED, "red"),
        (Lair(gold=3), {"gold": 3}),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
        (pd.Timestamp("2024-01-01", tz="UTC"), datetime(2024, 1, 1, tzinfo=UTC)),
        (np.datetime64("2024-01-01"), datetime(2024, 1, 1, tzinfo=UTC)),
        (np.datetime64(2**60, "ms"), DatetimeMS(2**60)),
        (UUID(int=1), UUID(int=1)),
        (Binary(b"x", 7), Binary(b"x", 7)),
    ],
    ids=repr,
)
def test_objects(value: Any, expected: Any) -> None:
    """An object is stored as the core stores it."""
    (found,) = column([value])

    assert (type(expected), expected) == (type(found), found)


def test_objects_are_not_changed() -> None:
    """A list in a column is copied: what the caller has stays as it is."""
    inner = [datetime(2024, 1, 1, microsecond=1)]
    (found,) = Things("Dragon.a", None, Rules(finer="cut")).values([inner])

    assert [datetime(2024, 1, 1, microsecond=1)] == inner
    assert [datetime(2024, 1, 1, tzinfo=UTC)] == found


def test_instants_among_objects() -> None:
    """An instant among objects is held to the same rules as one in a column of instants."""
    fine = datetime(2024, 1, 1, microsecond=1)
    for value in (fine, pd.Timestamp(1, unit="ns"), np.datetime64(1, "us")):
        with pytest.raises(Unfit, match="whole milliseconds"):
            column([None, value])
        cut = Things("Dragon.a", None, Rules(finer="cut")).values([value])[0]
        assert 0 == cut.microsecond % 1000
    for value in (np.datetime64(2**55, "D"), np.datetime64(2**62, "s")):
        with pytest.raises(Unfit, match="64 bits of milliseconds"):
            column([None, value])
    with pytest.raises(Unfit, match="with a zone"):
        Things("Dragon.a", None, Rules(naive="refuse")).values([datetime(2024, 1, 1)])
    berlin = ZoneInfo("Europe/Berlin")
    (found,) = Things("Dragon.a", None, Rules(naive=berlin)).values([datetime(2024, 1, 1)])
    assert datetime(2023, 12, 31, 23, tzinfo=UTC) == found


@pytest.mark.parametrize(
    "value",
    [
        [datetime(2024, 1, 1, microsecond=1)],
        [[pd.Timestamp(1, unit="ns")]],
        {"a": [np.datetime64(1, "us")]},
        np.array([1], "datetime64[ns]"),
        np.array([[1]], "datetime64[us]"),
        np.array(1, "datetime64[ns]"),
        Lair(gold=datetime(2024, 1, 1, microsecond=1)),
    ],
    ids=repr,
)
def test_instants_inside_of_objects(value: Any) -> None:
    """An instant inside of an object is held to the same rules: no part of it is lost silently."""
    with pytest.raises(Unfit, match="whole milliseconds") as refused:
        column([None, value])
    assert 1 == refused.value.at
    assert Things("Dragon.a", None, Rules(finer="cut")).values([value])


def test_arrays_inside_of_objects() -> None:
    """An array of instants is a list of them, and not of numbers; a masked one is null."""
    instants = np.ma.MaskedArray(np.array([1, 2], "datetime64[s]").astype("M8[ns]"), [True, False])
    (found, deeper) = column([instants, np.array([["1970-01-01", "NaT"]], "datetime64[D]")])

    assert [None, datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)] == found
    assert [[datetime(1970, 1, 1, tzinfo=UTC), None]] == deeper


@pytest.mark.parametrize(
    "value",
    [np.timedelta64(5, "ns"), np.array([5], "timedelta64[ns]"), np.zeros(1, [("a", "i4")])],
    ids=repr,
)
def test_durations_and_records_are_no_numbers(value: Any) -> None:
    """A duration among objects is not stored as a number, nor a record without its names."""
    (found,) = column([value])

    with pytest.raises(ENCODING_ERRORS):
        encode({"a": found})
    with pytest.raises(Unfit):
        Things("Dragon.a", pa.int64(), Rules()).values([value])


@pytest.mark.parametrize(
    ("target", "fits", "unfit"),
    [
        (pa.bool_(), [True], [1]),
        (pa.int64(), [1, 2.0], [1.5, True, "1"]),
        (pa.float64(), [1.5, 1], [2**63 + 1, 10**400, True, "1"]),
        (pa.string(), ["a"], [1, b"a", ID]),
        (pa.timestamp("ms", "UTC"), [datetime(2024, 1, 1, tzinfo=UTC), date(2024, 1, 1)], [1, "x"]),
        (
            pa.date32(),
            [date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), np.datetime64("2024-01-01")],
            [datetime(2024, 1, 1, 5), DatetimeMS(1), "x"],
        ),
        (pa.list_(pa.date32()), [[date(2024, 1, 1)]], [[datetime(2024, 1, 1, 5, tzinfo=UTC)]]),
        (Decimal128Type(), [Decimal(1), 2], [1.5, "1"]),
        (OBJECT_ID, [ID, str(ID)], [1, "x", b"x"]),
        (pa.uuid(), [UUID(int=1)], ["x", 1]),
        (CodeType(), ["f"], [1]),
        (pa.binary(), [b"x"], ["x"]),
        (pa.list_(pa.int64()), [[1], (1,), [1.0, None, np.int8(1)]], [1, {}, ["x"], [1.5]]),
        (pa.struct([("a", pa.int64())]), [{"a": 1}, {"b": "x"}], [[1], 1, {"a": "x"}]),
        (pa.map_(pa.string(), pa.int64()), [{"a": 1}], [1, {"a": "x"}]),
        (pa.list_(pa.list_(pa.struct([("a", OBJECT_ID)]))), [[[{"a": str(ID)}]]], [[[{"a": 1}]]]),
    ],
    ids=str,
)
def test_objects_and_what_the_class_says(target: Any, fits: list[Any], unfit: list[Any]) -> None:
    """An object that is none of its field is refused by its row."""
    cell = Things("Dragon.a", target, Rules())
    cell.check([*fits, None])

    for value in unfit:
        with pytest.raises(Unfit) as caught:
            cell.check([None, value])
        assert 1 == caught.value.at


def test_batches_of_several_schemas() -> None:
    """Record batches that come one by one have one schema."""
    batches = [pa.record_batch({"a": [1]}), pa.record_batch({"a": ["x"]})]
    with pytest.raises(SchemaError, match="the schema of the first, got a: string"):
        rows(batches)
    with pytest.raises(SchemaError, match="expected record batches, got builtins.int"):
        rows(iter([1]))


def test_readers_hold_to_their_schema() -> None:
    """A reader that gives another type than it said is refused: its columns were looked at."""
    said = pa.schema([("a", pa.int64())])
    reader = pa.RecordBatchReader.from_batches(said, iter([pa.record_batch({"a": ["x"]})]))
    with pytest.raises(SchemaError, match="the schema of their reader, got a: string"):
        rows(reader)


# What is no holder of columns


@pytest.mark.parametrize(
    "data",
    [
        *([{"a": 1}], "a", 7, None, {"a": 1}, {"a": "text"}, {"a": [1], "b": [1, 2]}),
        *({"a": {1, 2}}, {"a": bytearray(b"ab")}, {"a": np.array(1)}),
    ],
    ids=repr,
)
def test_other_things_are_refused(data: Any) -> None:
    """Lists of documents, single values and columns of several lengths are refused."""
    with pytest.raises(SchemaError, match=r"^Dragon\.insert_table: expected "):
        rows(data)


@pytest.mark.parametrize(
    "data",
    [pa.array([1]), pa.chunked_array([[1]]), pl.Series([1])],
    ids=lambda data: str(type(data)),
)
def test_columns_without_names(data: Any) -> None:
    """An array is no column: it has no name."""
    with pytest.raises(SchemaError, match="name"):
        rows(data)
    assert [{"a": 1}] == rows({"a": data})
    assert [{"a": 1}] == rows(pa.array([{"a": 1}]))


def test_only_dataframes() -> None:
    """`insert_dataframe` takes DataFrames only."""
    assert only_dataframe(PLACE, pd.DataFrame()) is not None
    assert only_dataframe(PLACE, pl.LazyFrame()) is not None
    with pytest.raises(SchemaError, match=r"expected a DataFrame .* use insert_table\(\)"):
        only_dataframe(PLACE, TABLE)
