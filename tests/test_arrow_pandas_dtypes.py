"""ObjectIds in DataFrames: what pandas does with arrays holds for them, too."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, ObjectId, encode

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

import numpy as np
import pandas as pd
import pyarrow as pa
from pymongoarrow.pandas_types import PandasObjectId, PandasObjectIdArray
from pymongoarrow.types import Decimal128Type, ObjectIdType

from loom.frames.arrow.columns import Column, Schema
from loom.frames.arrow.decoding import Decoder
from loom.frames.arrow.pandas_dtypes import ObjectIdArray, ObjectIdDtype, dtype_of
from loom.frames.arrow.types import OBJECT_ID

A, B, C = (ObjectId(bytes([number]) * 12) for number in (1, 2, 3))


def series(*ids: ObjectId | None) -> Any:
    """Return a column as readers make it."""
    raw = pa.array([None if id is None else id.binary for id in ids], pa.binary(12))
    stored = pa.ExtensionArray.from_storage(ObjectIdType(), raw)
    return pd.Series(ObjectIdDtype().__from_arrow__(stored))


def theirs(*ids: ObjectId | None) -> Any:
    """Return a column as PyMongoArrow makes it."""
    data = np.empty(len(ids), object)
    data[:] = ids
    return pd.Series(PandasObjectIdArray(data, PandasObjectId()))


@pytest.mark.parametrize("dropna", [True, False])
def test_values_are_counted(dropna: bool) -> None:
    """Counts are by id, nulls of every kind together, or left out."""
    nulls = [] if dropna else [(None, 2)]
    found = pd.Series([B, None, A, np.nan, B, B], dtype=ObjectIdDtype()).value_counts(dropna=dropna)

    assert [(B, 3), *nulls, (A, 1)] == [*found.items()]
    assert ObjectIdDtype() == found.index.dtype
    assert {} == series(None).value_counts().to_dict()
    assert 2 == series(A, None, B, A).describe()["unique"]


@pytest.mark.parametrize("turned", [False, True])
def test_columns_of_pymongoarrow(turned: bool, tmp_path: Path) -> None:
    """Columns of both put together are of the dtype that has more; alone, they are two dtypes."""
    both = [series(A, None), theirs(B, None)]
    found = pd.concat([*reversed(both)] if turned else both, ignore_index=True)
    pd.DataFrame({"id": found}).to_parquet(tmp_path / "ids.parquet")

    assert isinstance(found.array, ObjectIdArray)
    assert ([B, None, A, None] if turned else [A, None, B, None]) == found.tolist()
    assert ObjectIdDtype() != PandasObjectId()
    assert PandasObjectId() != ObjectIdDtype()
    assert isinstance(theirs(A).astype(ObjectIdDtype()).array, ObjectIdArray)
    assert [True, True] == (series(A, B) == theirs(A, B)).tolist()
    assert object == pd.concat([series(A), pd.Series(["x"], dtype=object)]).dtype


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_text_is_hexadecimal(text: Any) -> None:
    """As text of Arrow's, too, an id is its digits, and never its bytes."""
    expected = [str(A), None]

    assert (
        expected
        == series(A, None)
        .astype(pd.ArrowDtype(text))
        .astype(object)
        .replace({pd.NA: None})
        .tolist()
    )
    assert expected == pa.array(series(A, None), text).to_pylist()
    assert [str(A), pd.NA] == series(A, None).astype("string").tolist()
    assert [A.binary] == series(A).astype(pd.ArrowDtype(pa.binary(12))).tolist()


def test_what_pandas_does_with_columns() -> None:
    """Frames are put together, pickled, filled and changed, and keep their dtype."""
    ids = series(A, None, B)
    frames = pd.concat([pd.DataFrame({"id": ids}), pd.DataFrame({"id": series(C)})])
    pickled = pickle.loads(pickle.dumps(ids))
    filled = ids.fillna(C)

    assert [ObjectIdDtype()] * 4 == [one.dtype for one in (frames["id"], pickled, filled, ids[:0])]
    assert [A, None, B, C] == frames["id"].tolist()
    assert pickled.equals(ids)
    assert [A, C, B] == filled.tolist()
    assert [A, None, B] == ids.astype(object).tolist()
    assert [A, B] == pd.Series([A, B]).astype(ObjectIdDtype()).tolist()
    assert "bson_PandasObjectId" == repr(ids.dtype)
    with pytest.raises(ValueError, match="ObjectId"):
        pd.Series(["x"]).astype(ObjectIdDtype())


def test_objects_inside_of_others() -> None:
    """Decimals, and what holds ObjectIds or UUIDs, can be shown, exported and put together."""
    id, uid = ObjectId(b"a" * 12), UUID(int=1)
    types = {
        "d": Decimal128Type(),
        "l": pa.list_(OBJECT_ID),
        "s": pa.struct([("id", OBJECT_ID)]),
        "m": pa.map_(pa.string(), pa.uuid()),
    }
    schema = Schema("Dragon", [Column(name, type, name) for name, type in types.items()])
    document = {
        "d": Decimal128("1.5"),
        "l": [id, None],
        "s": {"id": id},
        "m": {"a": Binary(uid.bytes, 4)},
    }
    batch = Decoder(schema).batch(encode(document) + encode({}))
    frame = pa.Table.from_batches([batch]).to_pandas(types_mapper=dtype_of)
    values = [Decimal128("1.5"), [id, None], {"id": id}, [("a", uid)]]
    several = pd.concat([frame, frame.iloc[1:].copy()], ignore_index=True)

    assert [pd.ArrowDtype(type) for type in types.values()] == [*frame.dtypes]
    for name, value in zip(types, values, strict=True):
        assert [value, pd.NA] == frame[name].to_numpy().tolist()
        assert [value, None, None] == several[name].to_numpy(na_value=None).tolist()
    assert str(id) in frame.to_csv()
    assert "1.5" in repr(several)
    assert frame.equals(pickle.loads(pickle.dumps(frame)))
    assert batch.schema.types == pa.Table.from_pandas(frame).schema.types
