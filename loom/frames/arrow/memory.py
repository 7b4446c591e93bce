"""The bytes of a batch, read at many positions at once, in NumPy's arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .raw import LENGTHS, PREFIXED

__all__ = ["Memory", "Names", "Unclear", "behind", "step_over"]

#: By BSON type: how long a value is beside a length that it begins with; -1 where that is not known.
_SIZES = np.full(256, -1, np.int64)
_HAS_LENGTH = np.zeros(256, bool)
for _kind, _size in LENGTHS.items():
    _SIZES[_kind] = _size
for _kind, _size in PREFIXED.items():
    _SIZES[_kind] = _size
    _HAS_LENGTH[_kind] = True

_LENGTH_OF: list[int] = _SIZES.tolist()


#: How often a name is looked for behind the one before it, and how many are looked up in all.
_GUESSES, _PATIENCE = 4, 10_000


class Unclear(Exception):
    """Documents that hold a field twice, or that only the driver can read."""


class Memory:
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
            raise Unclear
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
            raise Unclear
        return self.batch[position : end + 1]

    def values(self, position: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the BSON types of values, and where they begin.

        Raises:
            Unclear: how long one of them is is not known.
        """
        batch = self.batch
        while position < end:
            kind = batch[position]
            position = batch.index(b"\0", position + 1) + 1
            yield kind, position
            size = _LENGTH_OF[kind]
            if size < 0:
                raise Unclear
            if kind in PREFIXED:
                size += int.from_bytes(batch[position : position + 4], "little")
            position += size
        if position > end:
            raise Unclear

    def alike(self, position: int, end: int) -> tuple[int, int] | None:
        """Return the type of the items of a list, and how many there are, if all are of one length.

        Args:
            position: of the first one.
            end: behind the last one.
        """
        if position >= end or self.batch[position + 1 : position + 3] != b"0\0":
            return None
        kind = self.batch[position]
        if kind not in LENGTHS:
            return None
        # Of the items with keys of one digit, of two, and so on.
        left, digits, sizes = end - position, 1, []
        while left > 0:
            size = 2 + digits + LENGTHS[kind]
            count = min(9 * 10 ** (digits - 1) + (digits == 1), -(-left // size))
            sizes.append(np.full(count, size))
            left -= count * size
            digits += 1
        if left:
            return None
        lengths = np.concatenate(sizes)
        starts = position + np.cumsum(lengths) - lengths
        numbers = np.arange(len(starts))
        keys = lengths - 2 - LENGTHS[kind]
        is_it = (self.bytes[starts] == kind) & (self.bytes[starts + 1 + keys] == 0)
        for digit in range(digits - 1):
            has = np.flatnonzero(keys > digit)
            there = self.bytes[(starts + keys - digit)[has]]
            is_it[has] &= there == numbers[has] // 10**digit % 10 + ord("0")
        return (kind, len(starts)) if bool(is_it.all()) else None


class Names:
    """The names of fields, each with the NUL behind it, as words of eight bytes.

    They are linked in the order in which documents have them.
    """

    def __init__(self, names: list[bytes]) -> None:
        self.all: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._patience = _PATIENCE
        self._reserve(2 * len(names) + 8, 8)
        for name in names:
            self._add(name, len(self.all) - 1)

    def __len__(self) -> int:
        return len(self.all)

    def number(self, name: bytes) -> int:
        """Return the number of a name, -1 when it is not known."""
        return self._numbers.get(name, -1)

    def _reserve(self, room: int, width: int) -> None:
        """Make room for names."""
        self._words = np.zeros((-(-width // 8), room), "<u8")
        self._masks = np.zeros_like(self._words)
        #: how long each is
        self.sizes = np.zeros(room, np.int64)
        self._next = np.zeros(room, np.int64)

    def _add(self, name: bytes, last: int) -> int:
        """Add a name behind another one, and return its number."""
        number = len(self.all)
        if number == len(self.sizes) or len(name) > 8 * len(self._words):
            order, width = self._next, max(len(name), 8 * len(self._words))
            self._reserve(max(2 * number, len(order)) + 8, width)
            self._next[: len(order)] = order
            for known, one in enumerate(self.all):
                self._write(known, one)
        self._write(number, name)
        self.all.append(name)
        self._numbers[name] = number
        behind_it = max(last, 0)
        self._next[number] = self._next[behind_it]
        self._next[behind_it] = number
        return number

    def _write(self, number: int, name: bytes) -> None:
        width = 8 * len(self._words)
        self._words[:, number] = np.frombuffer(name.ljust(width, b"\0"), "<u8")
        self._masks[:, number] = np.frombuffer((b"\xff" * len(name)).ljust(width, b"\0"), "<u8")
        self.sizes[number] = len(name)

    def find(self, memory: Memory, positions: Any, last: Any) -> Any:
        """Return the numbers of the names at some positions; new ones are added.

        Args:
            memory: where they stand.
            positions: where they begin.
            last: of each, the name that was there before it.

        Raises:
            Unclear: the documents are too different.
        """
        found = last.copy()
        unknown = np.arange(len(positions))
        for _ in range(min(_GUESSES, len(self.all))):
            guess = self._next[found[unknown]]
            found[unknown] = guess
            unknown = unknown[~self._stand(memory, positions[unknown], guess)]
            if not len(unknown):
                return found
        while len(unknown):
            self._patience -= 1
            if self._patience < 0:
                raise Unclear
            first = int(unknown[0])
            name = memory.name_at(int(positions[first]))
            number = self._numbers.get(name)
            if number is None:
                number = self._add(name, int(last[first]))
            numbers = np.full(len(unknown), number)
            is_it = self._stand(memory, positions[unknown], numbers)
            found[unknown[is_it]] = number
            unknown = unknown[~is_it]
        return found

    def _stand(self, memory: Memory, positions: Any, numbers: Any) -> Any:
        """Tell whether names stand at positions."""
        same: Any = None
        for start, words, masks in zip(itertools.count(0, 8), self._words, self._masks):
            at = np.minimum(positions + start, len(memory.words) - 1) if start else positions
            equal = (memory.words[at] & masks[numbers]) == words[numbers]
            same = equal if same is None else same & equal
        return same


def step_over(memory: Memory, kind: int, positions: Any) -> Any:
    """Return the positions behind values of one BSON type.

    Raises:
        Unclear: how long they are is not known.
    """
    size = int(_SIZES[kind])
    if size < 0:
        raise Unclear
    return positions + size + (memory.lengths(positions) if _HAS_LENGTH[kind] else 0)


def behind(memory: Memory, kinds: Any, positions: Any) -> Any:
    """Return the positions behind values of several BSON types.

    Raises:
        Unclear: how long one is is not known.
    """
    first = int(kinds[0])
    if bool((kinds == first).all()):
        return step_over(memory, first, positions)
    sizes = _SIZES[kinds]
    if bool((sizes < 0).any()):
        raise Unclear
    found = positions + sizes
    prefixed = np.flatnonzero(_HAS_LENGTH[kinds])
    found[prefixed] += memory.lengths(positions[prefixed])
    return found
