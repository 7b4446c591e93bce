"""The cases by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import (
    column_references,
    column_writing,
    columns,
    insight,
    partitions,
    reading,
    streaming,
    time_frames,
    windows,
    writing,
)
from .bench import Bench, Row

__all__ = ["CASES"]

#: In the order of the table.
CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "small": reading.many_small,
    "loop": reading.many_in_a_loop,
    "medium": reading.many_medium,
    "mapped": reading.many_mapped,
    "rows": reading.rows,
    "dereferencing": reading.dereferencing,
    "each": streaming.each,
    "single": reading.single,
    "inserts": writing.inserts,
    "updates": writing.updates,
    "events": writing.events,
    "fields": reading.fields,
    "memory": reading.memory,
    "memory-each": streaming.memory_of_each,
    "columns": columns.tables,
    "column-references": column_references.references,
    "write-columns": column_writing.writers,
    "memory-columns": columns.memory,
    "partitions": partitions.throughput,
    "memory-partitions": partitions.memory,
    "awaited": reading.awaited,
    "time": time_frames.frames,
    "insight": insight.windows,
    "windows": windows.windows,
    "import": reading.importing,
}
