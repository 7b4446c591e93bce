"""Types that a call gives: of its columns, and of what is inside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from .columns import Schema
from .schema import as_type, refuse_others
from .types import leaf_of

__all__ = ["GivenTypes"]


class GivenTypes:
    """The types that a call gives, by column; those of what is inside have dotted names.

    Args:
        place: for errors.
        types: a `Schema`, types by name, or None.
        fields: the only ones that there are, None for all of the class.
        found: the full names that were looked for; of what is inside, those of the whole call.
        above: what the names of the call begin with.
    """

    def __init__(
        self,
        place: str,
        types: Schema | Mapping[str, Any] | None,
        fields: list[str] | None = None,
        found: set[str] | None = None,
        above: str = "",
    ) -> None:
        self._place = place
        self._types = types
        self.fields = fields
        self._found = set() if found is None else found
        self._above = above

    def find(self, name: str, path: str) -> Any:
        """Return the type of a column, None when none is given."""
        self._found |= {f"{self._above}{name}", f"{self._above}{path}"}
        if self._types is None:
            return None
        if isinstance(self._types, Schema):
            return self._types.find(name) or self._types.at(path)
        found = self._types.get(name, self._types.get(path))
        return None if found is None else as_type(f"{self._place}.{name}", found)

    def single(self) -> dict[str, Any]:
        """Return the types of whole columns, None for those that are to be left out."""
        types = self._types if isinstance(self._types, Mapping) else {}
        self._found |= {f"{self._above}{name}" for name in types}
        return {name: type for name, type in types.items() if "." not in name}

    def below(self, name: str, path: str) -> GivenTypes:
        """Return the types that are given for what is inside a column."""
        types: dict[str, Any] = {}
        fields = None
        found = self.find(name, path)
        leaf = None if found is None else leaf_of(found)
        if leaf is not None and pa.types.is_struct(leaf):
            types = {field.name: field.type for field in leaf}
            fields = [*types]
        if isinstance(self._types, Schema):
            others = {column.name: column.type for column in self._types}
        else:
            others = dict(self._types or {})
        start = f"{name}."
        types |= {n[len(start) :]: t for n, t in others.items() if n.startswith(start)}
        above = f"{self._above}{name}."
        return GivenTypes(f"{self._place}.{name}", types, fields, self._found, above)

    def refuse_others(self) -> None:
        """Refuse types that nobody looked for, of the whole call.

        Raises:
            SchemaError: there is one; it names it.
        """
        if isinstance(self._types, Mapping):
            refuse_others(self._place, self._types, self._found)
