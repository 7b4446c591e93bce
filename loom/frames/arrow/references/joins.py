"""References in columns: what ids stand for is loaded, and put in their places as structs.

For each batch, level by level: the distinct ids of all places that want the same of a class are
asked for with one `$in`, as `many` does; what was loaded for an earlier batch is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ...chunks import found_of_each
from ...port import Port
from ..asking import Asked
from ..ids import Ids
from .layouts import Layout, Target
from .places import Pending, Slot, joined, joined_schema
from .rows import Referrers, Rows

__all__ = ["Joins"]

#: What the queries for references take over from the one that they belong to, as for `many`.
_INHERITED = ("session", "comment")


class Joins:
    """Puts what is referred to into the batches of one call.

    Args:
        port: of the call.
        layout: the columns of the batches.
        asked: the call.
        options: for PyMongo, of the call.
    """

    def __init__(
        self, port: Port, layout: Layout, asked: Asked, options: Mapping[str, Any]
    ) -> None:
        self._port = port
        self._layout = layout
        self._ids: Ids = asked.ids
        self._options = {n: options[n] for n in _INHERITED if options.get(n) is not None}
        self._rows: dict[Target, Rows] = {}
        self._types: dict[Target, Any] = {}
        for target in layout.targets:
            kind = Rows if target.reverse is None else Referrers
            rows = self._rows[target] = kind(target, asked, self._types)
            self._types[target] = rows.type
        self._schema: Any = None

    @property
    def mismatches(self) -> dict[str, int]:
        """By class and field, in how many loaded documents a value did not fit."""
        counts: Counter[str] = Counter()
        for rows in self._rows.values():  # several of them may be of one class
            counts.update(rows.mismatches)
        return dict(counts)

    def schema(self, schema: Any) -> Any:
        """Return the schema of the batches that `batch` makes of those with a schema."""
        self._schema = joined_schema(schema, self._layout, self._types, self._ids)
        return self._schema

    async def batch(self, batch: Any) -> Any:
        """Return a batch with structs in the places of ids.

        Raises:
            NotFound: a document is not there, and its reference is to raise.
            SchemaError: a value of a document does not fit, and the call is to raise.
        """
        main = Pending.of(batch, self._layout.places)
        level = main.all()
        while level:
            groups: dict[Target, list[Slot]] = {}
            for slot in level:
                groups.setdefault(slot.reference.target, []).append(slot)
            wanted = {target: self._rows[target].unknown(of) for target, of in groups.items()}
            asked = [(self._rows[target], [*ids.values()]) for target, ids in wanted.items()]
            answers = await found_of_each(self._port, asked, self._options)
            found = dict(zip(wanted, answers, strict=True))
            level = []
            for target, slots in groups.items():
                rows = self._rows[target]
                level += rows.add(found[target])
                rows.gone.update(key for key in wanted[target] if key not in rows.index)
                rows.check(slots)
                rows.keep(slots)
        for rows in self._rows.values():  # what another one needs stands before it
            rows.settle(self._rows, self._ids)
        made = pa.RecordBatch.from_arrays(joined(main, self._rows, self._ids), schema=self._schema)
        for rows in self._rows.values():
            rows.trim()
        return made
