"""Trees: the documents that one delete takes with it, by id, and the order in which they go.

Leaves first: a document goes when nothing that goes with it refers to it any more. Documents are
placed in rounds, from the roots outwards: in each round those all of whose references are placed;
the last round goes first. Only documents that refer to one another in a circle have no such order;
they go from where the way from the roots enters the circle, that one last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion

from ..encoding import encode
from ..errors import MissingExtra
from .circles import place_circles
from .links import Link

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Batch", "Place", "Tree", "pack", "unpack"]

#: How much of a tree is held in memory, in KiB; the rest is in a file that goes with the tree.
CACHE = 4_000

_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{CACHE};
CREATE TABLE node (
    number INTEGER PRIMARY KEY, place INTEGER, id BLOB, depth INTEGER, heard INTEGER,
    waiting INTEGER DEFAULT 0, round INTEGER, UNIQUE (place, id)
);
CREATE TABLE edge (
    source INTEGER, target INTEGER, link INTEGER, PRIMARY KEY (source, target, link)
) WITHOUT ROWID;
CREATE TABLE freed (source INTEGER PRIMARY KEY, count INTEGER);
CREATE TABLE counted (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_INDEXES = (
    "CREATE INDEX referrers ON edge (target)",
    "CREATE INDEX ready ON node (number) WHERE waiting = 0 AND round IS NULL",
    "CREATE INDEX unplaced ON node (number) WHERE round IS NULL",
    "CREATE INDEX placed ON node (round)",
)
_ADD_NODE = """
INSERT INTO node (place, id, depth, heard) VALUES (?, ?, ?, ?)
ON CONFLICT (place, id) DO UPDATE SET heard = max(heard, excluded.heard)
"""
_ADD_EDGE = """
INSERT OR IGNORE INTO edge
SELECT source.number, target.number, ? FROM node AS source, node AS target
WHERE source.place = ? AND source.id = ? AND target.place = ? AND target.id = ?
"""
_FREE = """
INSERT INTO freed
SELECT edge.source, count(*) FROM node JOIN edge ON edge.target = node.number
WHERE edge.source <> edge.target AND node.round IS ? GROUP BY edge.source
"""
_COUNT = """
UPDATE node SET waiting = waiting + ? * (SELECT count FROM freed WHERE source = number)
WHERE number IN (SELECT source FROM freed)
"""
_REASONS = """
SELECT edge.link, node.id FROM edge JOIN node ON node.number = edge.target
WHERE edge.source = ? AND edge.target <> edge.source
"""

_NEUTRAL: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)


def pack(id: Any, codecs: CodecOptions[Any]) -> bytes:
    """Return an id as bytes, the same for what is equal to MongoDB."""
    if type(id) is ObjectId:
        return b"o" + id.binary
    if type(id) is str:
        return b"s" + id.encode("utf-8", "surrogatepass")
    if type(id) is not int:
        stored = encode({"": id}, codecs)
        id = bson.decode(stored, _NEUTRAL)[""]
        if type(id) in (ObjectId, str):
            return pack(id, codecs)
        is_whole = isinstance(id, bson.Int64) or (isinstance(id, float) and id.is_integer())
        if type(id) is not int and not is_whole:
            return b"b" + stored
    return b"i" + str(int(id)).encode()


def unpack(packed: bytes) -> Any:
    """Return the id again, in a form that is stored as the same."""
    kind, content = packed[:1], packed[1:]
    if kind == b"o":
        return ObjectId(content)
    if kind == b"s":
        return content.decode("utf-8", "surrogatepass")
    return int(content) if kind == b"i" else bson.decode(content, _NEUTRAL)[""]


def _temporary() -> sqlite3.Connection:
    """Return a database of this call's own; without a name its file is, too, and goes with it."""
    try:
        # Few deletes have a tree to remember, and some Pythons are built without it.
        import sqlite3
    except ImportError:
        raise MissingExtra(
            "loom: expected Python's sqlite3, which holds the ids of what a delete takes with it, "
            "got a Python built without it; install one with it"
        ) from None
    return sqlite3.connect("", isolation_level=None)


class Place:
    """A collection in a tree, and the class that speaks for its documents."""

    __slots__ = ("cls", "codecs", "number")

    def __init__(self, number: int, cls: Any, codecs: CodecOptions[Any]) -> None:
        self.number = number
        self.cls = cls
        self.codecs = codecs


class Batch(NamedTuple):
    """Documents that go together."""

    place: Place
    is_root: bool
    #: whether events are sent of it
    is_heard: bool
    #: numbers and ids
    rows: list[tuple[int, Any]]


class Tree:
    """The ids of what goes with the roots, and what refers to what.

    Roots alone are held as they are. What goes with them is in a temporary database of SQLite's,
    of which at most `CACHE` KiB are in memory.
    """

    def __init__(self, root: Place, ids: Iterable[Any] = ()) -> None:
        self.root = root
        self.places: dict[int, Place] = {root.number: root}
        self.roots = {pack(id, root.codecs): id for id in ids}
        #: how many roots there are
        self.width = len(self.roots)
        self.links: list[Link] = []
        self.size = 0
        self._db: sqlite3.Connection | None = None
        #: the number of the last node of each depth
        self._ends = [0]

    def close(self) -> None:
        """Forget all of it."""
        if self._db is not None:
            self._db.close()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = _temporary()
            self._db.executescript(_TABLES)
            self._db.execute("BEGIN")
            self._plant(self._db, self.roots)
        return self._db

    def _plant(self, db: sqlite3.Connection, packed: Iterable[bytes]) -> None:
        rows = ((self.root.number, id, 0, 1) for id in packed)
        db.executemany(_ADD_NODE, rows)
        (self.width,) = db.execute("SELECT count(*) FROM node").fetchone()
        self._ends[0] = self.width

    # Growing

    def plant(self, ids: Iterable[Any]) -> None:
        """Add roots, of which none is held in memory; before anything grows on them."""
        self._plant(self._opened(), [pack(id, self.root.codecs) for id in ids])

    def add(
        self, link: Link, place: Place, target: Place, found: Sequence[tuple[bytes, list[bytes]]]
    ) -> None:
        """Add documents that refer to some in the tree by a link.

        Args:
            link: the way.
            place: of the documents.
            target: of what they refer to.
            found: their ids, each with the ids referred to.
        """
        db = self._opened()
        self.places.setdefault(place.number, place)
        if link not in self.links:
            self.links.append(link)
        way = self.links.index(link)
        depth = len(self._ends)
        db.executemany(
            _ADD_NODE, [(place.number, id, depth, int(link.is_heard)) for id, _ in found]
        )
        db.executemany(
            _ADD_EDGE,
            [
                (way, place.number, id, target.number, other)
                for id, others in found
                for other in others
            ],
        )

    def deepen(self) -> bool:
        """Go on with what was added last; return False when that was nothing."""
        if self._db is None:
            return False
        (last,) = self._db.execute("SELECT max(number) FROM node").fetchone()
        self.size = last - self.width
        if last == self._ends[-1]:
            return False
        self._ends.append(last)
        return True

    # Reading

    def ids(self, place: Place, size: int, *, newest: bool = False) -> Iterator[list[Any]]:
        """Yield the ids of a place in lists of `size`: all, or those of the last depth."""
        if self._db is None:
            if place is self.root:
                yield from self.roots_in(size)
            return
        number = self._ends[-2] if newest and len(self._ends) > 1 else 0
        rows = [(number, b"")]
        while True:
            rows = self._db.execute(
                "SELECT number, id FROM node WHERE number > ? AND number <= ? AND place = ? "
                "ORDER BY number LIMIT ?",
                (rows[-1][0], self._ends[-1], place.number, size),
            ).fetchall()
            if not rows:
                return
            yield [unpack(id) for _, id in rows]

    def holds(self, place: Place, packed: Sequence[bytes]) -> list[bool]:
        """Tell which ids of a place are in the tree."""
        if self._db is None:
            return [place is self.root and id in self.roots for id in packed]
        query = "SELECT 1 FROM node WHERE place = ? AND id = ?"
        return [self._db.execute(query, (place.number, id)).fetchone() is not None for id in packed]

    def holds_any(self, place: Place) -> bool:
        """Tell whether documents of a place are in the tree."""
        return place.number in self.places

    def count_once(self, packed: Iterable[bytes]) -> int:
        """Return how many of the ids were not counted before."""
        db = self._opened()
        rows = [(id,) for id in packed]
        return db.executemany("INSERT OR IGNORE INTO counted VALUES (?)", rows).rowcount

    def forget_counted(self) -> None:
        """Count from the beginning."""
        if self._db is not None:
            self._db.execute("DELETE FROM counted")

    # The order

    def arrange(self, *, with_roots: bool) -> None:
        """Find the round in which each document goes."""
        if self._db is None:
            return
        db = self._db
        for index in _INDEXES:
            db.execute(index)
        if not with_roots:
            db.execute("UPDATE node SET round = -1 WHERE depth = 0")
        self._free(None)
        round = 0
        while True:
            placed = db.execute(
                "UPDATE node INDEXED BY ready SET round = ? WHERE waiting = 0 AND round IS NULL",
                (round,),
            ).rowcount
            if not placed:
                break
            self._free(round)
            round += 1
        if db.execute("SELECT 1 FROM node WHERE round IS NULL LIMIT 1").fetchone():
            place_circles(db, round)

    def _free(self, round: int | None) -> None:
        """Count the references to what is not placed, or no longer those to a round."""
        db = self._opened()
        db.execute(_FREE, (round,))
        db.execute(_COUNT, (1 if round is None else -1,))
        db.execute("DELETE FROM freed")

    def roots_in(self, size: int) -> Iterator[list[Any]]:
        """Yield the ids of the roots in lists of `size`."""
        ids = [*self.roots.values()]
        for start in range(0, len(ids), size):
            yield ids[start : start + size]

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield what goes, in order; roots alone go, too."""
        if self._db is None:
            for ids in self.roots_in(size):
                yield Batch(self.root, True, True, [(0, id) for id in ids])
            return
        rows = self._db.execute(
            "SELECT place, depth = 0, heard, number, id FROM node WHERE round >= 0 "
            "ORDER BY round DESC, place, depth = 0, heard, number"
        )
        for (place, is_root, heard), group in groupby(rows, itemgetter(0, 1, 2)):
            while part := [*islice(group, size)]:
                ids = [(number, unpack(id)) for *_, number, id in part]
                yield Batch(self.places[place], bool(is_root), bool(heard), ids)

    def reasons(self, number: int) -> list[tuple[Link, list[Any]]]:
        """Return why a document goes: the links by which it refers, and to what.

        A root goes without a reason.
        """
        if self._db is None or number <= self._ends[0]:
            return []
        found: dict[int, list[Any]] = {}
        for link, id in self._db.execute(_REASONS, (number,)):
            found.setdefault(link, []).append(unpack(id))
        return [(self.links[link], ids) for link, ids in found.items()]
