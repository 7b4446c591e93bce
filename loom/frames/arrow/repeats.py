"""Documents that hold a field twice, which the fast look would take for those of two documents.

No driver writes such documents, but servers store and return them. PyMongoArrow appends both values
to the column, so that those of later documents move on by one, until one without the field takes the
place up: nothing then differs in length. So the names of all fields are looked at, of all documents
together: the first field of each, then the second of each, and so on, in NumPy's arrays of positions.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from .columns import Column
from .raw import LENGTHS, PREFIXED

__all__ = ["Tree", "may_repeat", "tree_of"]

#: What is looked into, by name: documents (and those of lists) with fields of their own.
Tree = dict[str, Any]

_LIST, _DOCUMENT = 4, 3
#: By BSON type: how long a value is beside a length that it begins with; -1 where that is not known.
_SIZES = np.full(256, -1, np.int64)
_HAS_LENGTH = np.zeros(256, bool)
for _kind, _size in LENGTHS.items():
    _SIZES[_kind] = _size
for _kind, _size in PREFIXED.items():
    _SIZES[_kind] = _size
    _HAS_LENGTH[_kind] = True


def tree_of(columns: list[Column]) -> Tree:
    """Return which embedded documents have fields that columns come from."""
    tree: Tree = {}
    for column in columns:
        *parents, last = column.path.split(".")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        inner = _inside(column.type)
        if inner is not None:
            branch.setdefault(last, {}).update(inner)
    return tree


def _inside(type: Any) -> Tree | None:
    if pa.types.is_list(type):
        return _inside(type.value_type)
    if pa.types.is_struct(type):
        found = {field.name: _inside(field.type) for field in type}
        return {name: tree for name, tree in found.items() if tree is not None}
    return None


def may_repeat(batch: bytes, tree: Tree) -> bool:
    """Tell whether a document of a batch may hold a field twice, or is of a form not known here.

    >>> import bson
    >>> once = bson.encode({"a": 1, "b": 2})
    >>> may_repeat(once, {}), may_repeat(once.replace(b"b", b"a"), {})
    (False, True)
    """
    if not batch:
        return False
    try:
        memory = _Memory(batch)
        return _repeats(memory, memory.documents(), tree)
    except (_Unknown, IndexError, ValueError):
        return True  # also bytes that are no documents


class _Unknown(Exception):
    """Something that only the driver can read."""


class _Memory:
    """The bytes of a batch, to be read at many positions at once."""

    def __init__(self, batch: bytes) -> None:
        self.batch = batch
        padded = np.frombuffer(batch + bytes(16), np.uint8)
        self.bytes = padded
        #: eight bytes from every position on
        self.words = np.ndarray((len(padded) - 8,), "<u8", padded, strides=(1,))

    def lengths(self, positions: Any) -> Any:
        """Return the lengths that stand at some positions."""
        found = self._numbers(positions)
        if bool((found > len(self.batch)).any()):
            raise _Unknown
        return found

    def _numbers(self, positions: Any) -> Any:
        return (self.words[positions] & np.uint64(0xFFFFFFFF)).astype(np.int64)

    def matches(self, positions: Any, text: bytes) -> Any:
        """Tell at which positions a text stands."""
        found: Any = None
        for start in range(0, len(text), 8):
            part = text[start : start + 8]
            at = np.minimum(positions + start, len(self.words) - 1) if start else positions
            word = self.words[at]
            if len(part) < 8:
                word = word & np.uint64((1 << 8 * len(part)) - 1)
            same = word == np.uint64(int.from_bytes(part, "little"))
            found = same if found is None else found & same
        return found

    def documents(self) -> Any:
        """Return where the documents of the batch begin."""
        batch = self.batch
        header = batch[4 : batch.index(b"\0", 5) + 1] if len(batch) > 5 else b""
        if header:
            # Documents begin alike; where something else looks so, the lengths do not agree.
            kinds = np.flatnonzero(self.bytes[4 : len(batch)] == header[0])
            starts = kinds[self.matches(kinds + 4, header)]
            if len(starts) and starts[0] == 0:
                ends = starts + self._numbers(starts)
                if ends[-1] == len(batch) and bool((ends[:-1] == starts[1:]).all()):
                    return starts
        found = []
        position = 0
        while position < len(batch):
            found.append(position)
            position += max(int.from_bytes(batch[position : position + 4], "little"), 5)
        return np.array(found, np.int64)

    def name_at(self, position: int) -> bytes:
        """Return the name of a field, with the NUL behind it."""
        end = self.batch.find(b"\0", position)
        if end < 0:
            raise _Unknown
        return self.batch[position : end + 1]


def _repeats(memory: _Memory, starts: Any, tree: Tree) -> bool:
    """Tell whether one of some documents may hold a field twice."""
    walk = _Walk(memory, starts, tree)
    if walk.repeats():
        return True
    for name, positions in walk.found:
        inner = np.concatenate(positions)
        if len(inner) and _repeats(memory, inner, tree[name]):
            return True
    return False


class _Walk:
    """Goes through the fields of documents, through those of all together."""

    def __init__(self, memory: _Memory, starts: Any, tree: Tree) -> None:
        self._memory = memory
        self._ends = starts + memory.lengths(starts) - 1
        self._positions = starts + 4
        self._tree = tree
        self._names: list[bytes] = []
        self._at: dict[str, list[Any]] = {name: [] for name in tree}

    @property
    def found(self) -> list[tuple[str, list[Any]]]:
        """The embedded documents to look into, by name."""
        return [(name, positions) for name, positions in self._at.items() if positions]

    def repeats(self) -> bool:
        """Tell whether a field is there twice; collect embedded documents on the way."""
        return self._alike() or self._each()

    def _alike(self) -> bool:
        """Go on as long as the next field of all documents has the same type and name."""
        memory = self._memory
        while True:
            position = int(self._positions[0])
            if position >= self._ends[0]:
                return False
            kind = memory.batch[position]
            name = memory.name_at(position + 1)
            header = bytes((kind,)) + name
            if not bool(memory.matches(self._positions, header).all()):
                return False
            if name in self._names:
                return True
            self._names.append(name)
            values = self._positions + len(header)
            self._collect(name, kind, values)
            size = int(_SIZES[kind])
            if size < 0:
                raise _Unknown
            self._positions = values + size
            if _HAS_LENGTH[kind]:
                self._positions += memory.lengths(values)
            if bool((self._positions > self._ends).any()):
                raise _Unknown

    def _each(self) -> bool:
        """Go on where documents differ: the next field of each is likely one behind its last."""
        memory = self._memory
        rows = np.flatnonzero(self._positions < self._ends)
        positions, ends = self._positions[rows], self._ends[rows]
        names = _Names(self._names)
        width = len(names)
        seen = np.ones(len(self._ends) * width, bool)
        last = np.full(len(rows), len(names) - 1)
        while len(rows):
            kinds = memory.bytes[positions]
            last = names.find(memory, positions + 1, last)
            if len(names) > width:
                grown = np.zeros((len(self._ends), 2 * len(names)), bool)
                grown[:, :width] = seen.reshape(len(grown), width)
                seen, width = grown.reshape(-1), 2 * len(names)
            fields = rows * width + last
            if bool(seen[fields].any()):
                return True
            seen[fields] = True
            values = positions + 1 + names.sizes[last]
            for name in self._tree:
                for kind in (_DOCUMENT, _LIST) if (k := names.number(name)) >= 0 else ():
                    self._collect(names[k], kind, values[(last == k) & (kinds == kind)])
            positions = _behind(memory, kinds, values)
            if bool((positions > ends).any()):
                raise _Unknown
            stay = np.flatnonzero(positions < ends)
            rows, positions, ends, last = rows[stay], positions[stay], ends[stay], last[stay]
        return False

    def _collect(self, name: bytes, kind: int, positions: Any) -> None:
        """Keep where documents are that are looked into, also those in lists."""
        if not self._tree or kind not in (_DOCUMENT, _LIST) or not len(positions):
            return
        found = self._at.get(name[:-1].decode(errors="replace"))
        if found is not None:
            found += [positions] if kind == _DOCUMENT else _items(self._memory, positions)


class _Names:
    """The names of fields, each with the NUL behind it, as words of eight bytes."""

    def __init__(self, names: list[bytes]) -> None:
        self._names: list[bytes] = []
        #: how long each is
        self.sizes = np.zeros(0, np.int64)
        self._add(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> bytes:
        return self._names[number]

    def number(self, name: str) -> int:
        """Return the number of a name, -1 when it is not known."""
        text = name.encode() + b"\0"
        return self._names.index(text) if text in self._names else -1

    def _add(self, names: list[bytes]) -> None:
        self._names += names
        self.sizes = np.array([*map(len, self._names)], np.int64)
        width = max([-(-len(name) // 8) * 8 for name in self._names], default=8)
        shape = (len(self._names), width // 8)
        made = [name.ljust(width, b"\0") for name in self._names]
        ones = [(b"\xff" * len(name)).ljust(width, b"\0") for name in self._names]
        self._words = np.frombuffer(b"".join(made), "<u8").reshape(shape).T.copy()
        self._masks = np.frombuffer(b"".join(ones), "<u8").reshape(shape).T.copy()

    def find(self, memory: _Memory, positions: Any, last: Any) -> Any:
        """Return the numbers of the names at some positions; new ones are added.

        Args:
            memory: where they stand.
            positions: where they begin.
            last: of each, the number behind which is looked first.
        """
        found = last.copy()
        unknown = np.arange(len(positions))
        tries = 0
        while True:
            if tries == len(self._names):
                self._add([memory.name_at(int(positions[unknown[0]]))])
                found[unknown] = len(self._names) - 2
                tries = len(self._names) - 1
            guess = found[unknown] + 1
            guess[guess == len(self._names)] = 0
            found[unknown] = guess
            unknown = unknown[~self._stand(memory, positions[unknown], guess)]
            if not len(unknown):
                return found
            tries += 1

    def _stand(self, memory: _Memory, positions: Any, numbers: Any) -> Any:
        """Tell whether names stand at positions."""
        same: Any = None
        for start, words, masks in zip(itertools.count(0, 8), self._words, self._masks):
            at = np.minimum(positions + start, len(memory.words) - 1) if start else positions
            equal = (memory.words[at] & masks[numbers]) == words[numbers]
            same = equal if same is None else same & equal
        return same


def _items(memory: _Memory, starts: Any) -> list[Any]:
    """Return where the documents in lists are, also of lists in lists."""
    found: list[Any] = []
    ends = starts + memory.lengths(starts) - 1
    positions = starts + 4
    number = 0
    while True:
        stay = np.flatnonzero(positions < ends)
        if not len(stay):
            return found
        positions, ends = positions[stay], ends[stay]
        kinds = memory.bytes[positions]
        key = b"%d\0" % number
        if not bool(memory.matches(positions + 1, key).all()):
            raise _Unknown  # numbered otherwise than drivers do
        positions = positions + 1 + len(key)
        found.append(positions[kinds == _DOCUMENT])
        lists = positions[kinds == _LIST]
        if len(lists):
            found += _items(memory, lists)
        positions = _behind(memory, kinds, positions)
        if bool((positions > ends).any()):
            raise _Unknown
        number += 1


def _behind(memory: _Memory, kinds: Any, positions: Any) -> Any:
    """Return the positions behind values."""
    first = int(kinds[0])
    if not _HAS_LENGTH[first] and _SIZES[first] >= 0 and bool((kinds == first).all()):
        return positions + _SIZES[first]
    sizes = _SIZES[kinds]
    if bool((sizes < 0).any()):
        raise _Unknown
    found = positions + sizes
    prefixed = np.flatnonzero(_HAS_LENGTH[kinds])
    found[prefixed] += memory.lengths(positions[prefixed])
    return found
