"""Columns into Parquet files: streamed, each file there whole or not at all, parts resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import QueryError
from ..port import awaited, blocking, complete
from .asking import Asked, told
from .checks import check_count
from .exact import decoded
from .files import Files
from .reading import Reading

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..conditions import Filter
    from .asking import ReadOptions, Source

__all__ = ["ParquetAwaited", "Written", "to_parquet"]

#: What the metadata of a part tell: of which call it is, and the `_id` that it ends with.
_CALL, _LAST = b"loom.call", b"loom.last"
#: The file that tells that no part is missing.
_DONE = "_done"
#: Of temporary files: two calls may write to one path.
_numbers = count()


class Written(NamedTuple):
    """What is in the files.

    Attributes:
        rows: how many rows, those of earlier calls included.
        files: their paths, in order.
        mismatches: by column, in how many rows of this call a value did not fit.
    """

    rows: int
    files: tuple[Path, ...]
    mismatches: dict[str, int]


@told
def to_parquet(
    source: Source,
    path: str | os.PathLike[str],
    filter: Filter = None,
    *,
    part_rows: int | None = None,
    compression: str = "zstd",
    **how: Unpack[ReadOptions],
) -> Written:
    """Write columns to a Parquet file, or to a directory of part files, batch by batch.

    A file appears when it is complete, under a name of its own until then. With `part_rows` the
    documents come in the order of `_id`; the same call goes on behind the last part where one
    before it ended early. When all is there, it returns what is there: remove the directory to
    write anew.

    Args:
        path: of the file, or of the directory.
        part_rows: None for one file; else how many rows a part has at least.
        compression: `"zstd"`, `"snappy"`, `"gzip"`, `"none"` and what else PyArrow knows.
        ARGUMENTS

    Raises:
        SchemaError: a column has no type, or a value does not fit its column; complete parts stay.
        FieldError: a path begins with no field of the class.
        QueryError: the path is in no directory; the parts in the directory are those of another
            call, or parts cannot follow the order that is asked for.
    """
    reading = Reading(blocking(), Asked.of(source, filter, how), "to_parquet")
    return complete(_to_parquet(reading, Path(path), part_rows, compression))


class ParquetAwaited:
    """The same, awaited: the files are written by threads, off the event loop."""

    @told
    async def to_parquet(
        self,
        source: Source,
        path: str | os.PathLike[str],
        filter: Filter = None,
        *,
        part_rows: int | None = None,
        compression: str = "zstd",
        **how: Unpack[ReadOptions],
    ) -> Written:
        """Write columns to a Parquet file, or to a directory of part files; see `to_parquet`."""
        reading = Reading(awaited(), Asked.of(source, filter, how), "to_parquet")
        return await _to_parquet(reading, Path(path), part_rows, compression)


async def _to_parquet(
    reading: Reading, path: Path, part_rows: int | None, compression: str
) -> Written:
    files = Files(reading.is_async)
    if part_rows is None:
        if path.is_dir():
            raise QueryError(
                f"to_parquet: expected a path for a file, got the directory {path}; part_rows=... "
                "writes part files into it"
            )
        if not path.parent.is_dir():
            raise QueryError(
                f"to_parquet: expected a path in a directory that is there, got {path}; make "
                f"{path.parent} before"
            )
        batches = reading.batches()
        try:
            async with _File(files, path, reading.schema, compression) as file:
                async for batch in batches:
                    await file.add(batch)
                await file.finish({})
        finally:
            await batches.aclose()
        return Written(file.rows, (path,), reading.mismatches)
    check_count("to_parquet", "part_rows", part_rows, or_none=True)
    reading.put_in_order("to_parquet(part_rows=...)")
    return await _parts(files, reading, path, part_rows, compression)


async def _parts(
    files: Files, reading: Reading, path: Path, part_rows: int, compression: str
) -> Written:
    call = hashlib.sha256(reading.identity()).hexdigest().encode()
    parts, rows, last, is_done = await files.do(_there, path, call)
    if is_done:
        return Written(rows, (*parts,), {})
    if last is not None:
        reading.resume_behind(decoded(last)[0]["_id"])
    batches = reading.batches()
    try:
        while True:
            name = path / f"part-{len(parts):06}.parquet"
            async with _File(files, name, reading.schema, compression) as file:
                is_last = await _fill(file, batches, part_rows)
                if file.rows or (is_last and not parts):
                    place = bson.encode({"_id": reading.place}, codec_options=reading.codecs)
                    await file.finish({_CALL: call, _LAST: place.hex().encode()})
                    parts.append(name)
                    rows += file.rows
            if is_last:
                break
    finally:
        await batches.aclose()
    await files.do(_put, path / _DONE, f"{rows}\n")
    return Written(rows, (*parts,), reading.mismatches)


async def _fill(file: _File, batches: AsyncGenerator[Any, None], rows: int) -> bool:
    """Write batches until there are enough rows; return True when there are no more."""
    async for batch in batches:
        await file.add(batch)
        if file.rows >= rows:
            return False
    return True


def _there(path: Path, call: bytes) -> tuple[list[Path], int, bytes | None, bool]:
    """Return what is in a directory.

    Returns:
        The complete parts, how many rows they have, where the last one ends, and whether no part
        is missing.
    """
    path.mkdir(parents=True, exist_ok=True)
    files = sorted(path.glob("part-*.parquet"))
    rows = 0
    last = None
    for number, file in enumerate(files):
        metadata = pq.read_metadata(file)
        told = metadata.metadata or {}
        if told.get(_CALL) != call or file.name != f"part-{number:06}.parquet":
            raise QueryError(
                f"to_parquet: expected a directory for this call, got {file}, which is a part of "
                "another one (class, filter, columns or options differ); write elsewhere, or "
                "remove it"
            )
        rows += metadata.num_rows
        last = bytes.fromhex(told[_LAST].decode())
    return files, rows, last, (path / _DONE).exists()


class _File:
    """A Parquet file that appears when it is complete."""

    def __init__(self, files: Files, path: Path, schema: Any, compression: str) -> None:
        self._files = files
        self._path = path
        self._how = (schema, compression)
        self._temporary = _temporary(path)
        self._writer: Any = None
        self.rows = 0

    async def add(self, batch: Any) -> None:
        """Write a batch."""
        await self._files.do(self._writer.write_batch, batch)
        self.rows += batch.num_rows

    async def finish(self, metadata: dict[bytes, bytes]) -> None:
        """Put the file in its place."""
        await self._files.do(self._finish, metadata)

    def _open(self) -> None:
        schema, compression = self._how
        self._writer = pq.ParquetWriter(self._temporary, schema, compression=compression)

    def _finish(self, metadata: dict[bytes, bytes]) -> None:
        self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        _into_place(self._temporary, self._path)

    def _discard(self) -> None:
        if self._writer is not None:
            with suppress(pa.ArrowException, OSError):
                self._writer.close()
        self._temporary.unlink(missing_ok=True)

    async def __aenter__(self) -> _File:
        try:
            await self._files.do(self._open)
        except BaseException:
            await self._files.do(self._discard)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._files.do(self._discard)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.tmp")


def _put(path: Path, text: str) -> None:
    temporary = _temporary(path)
    temporary.write_text(text, encoding="utf-8")
    _into_place(temporary, path)


def _into_place(temporary: Path, path: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
