"""Circles of references in a tree: what goes when everything that is left is in one, or behind one.

Documents that refer to one another in a circle have no order of their own. They are gathered into
parts: all documents that can be reached from each other are one part, and any other document is a
part of its own. Between parts there is an order again: a part is placed when all that it refers to
is placed. Inside of a part documents are placed from where it is entered, each behind one that it
refers to; what is left at any time can so be found again from the roots.

The parts are Tarjan's (Depth-first search and linear graph algorithms, SIAM J. Comput. 1, 1972),
with all that is noted on the way in the database, so that memory does not grow with the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

__all__ = ["place_circles"]

_TABLES = """
ALTER TABLE node ADD COLUMN part INTEGER;
ALTER TABLE node ADD COLUMN referred INTEGER DEFAULT 0;
ALTER TABLE node ADD COLUMN seen INTEGER;
ALTER TABLE node ADD COLUMN low INTEGER;
ALTER TABLE node ADD COLUMN above INTEGER;
ALTER TABLE node ADD COLUMN tried INTEGER DEFAULT 0;
CREATE INDEX leaves ON node (number) WHERE referred = 0 AND part IS NULL AND round IS NULL;
CREATE INDEX taken ON node (seen) WHERE part IS NOT NULL;
CREATE INDEX met ON node (seen) WHERE part IS NULL AND seen IS NOT NULL;
CREATE TABLE part (number INTEGER PRIMARY KEY, waiting INTEGER DEFAULT 0, opened INTEGER);
CREATE INDEX shut ON part (number) WHERE waiting = 0 AND opened IS NULL;
CREATE INDEX fresh ON part (opened);
"""

# Leaves: nothing that is left refers to them, so that they are in no circle.

_COUNT_REFERRERS = """
UPDATE node SET referred = (
    SELECT count(*) FROM edge JOIN node AS source ON source.number = edge.source
    WHERE edge.target = node.number AND edge.source <> edge.target AND source.round IS NULL
) WHERE round IS NULL
"""
_TAKE_LEAVES = """
UPDATE node INDEXED BY leaves SET part = number, seen = ?
WHERE referred = 0 AND part IS NULL AND round IS NULL
"""
_FREE_OF_LEAVES = """
INSERT INTO freed
SELECT edge.target, count(*)
FROM node INDEXED BY taken CROSS JOIN edge ON edge.source = node.number
WHERE node.seen = ? AND node.part IS NOT NULL AND edge.source <> edge.target
GROUP BY edge.target
"""
_COUNT_DOWN_REFERRED = """
UPDATE node SET referred = referred - (SELECT count FROM freed WHERE source = number)
WHERE number IN (SELECT source FROM freed)
"""

# Parts.

_NEXT_START = """
SELECT number FROM node WHERE number > ? AND round IS NULL AND part IS NULL ORDER BY number LIMIT 1
"""
_ENTER = "UPDATE node SET seen = ?1, low = ?1, above = ?2 WHERE number = ?3"
_STATE = "SELECT seen, low, above, tried FROM node WHERE number = ?"
_NEXT_TARGET = """
SELECT node.number, node.seen FROM edge JOIN node ON node.number = edge.target
WHERE edge.source = ? AND edge.target > ? AND node.part IS NULL AND node.round IS NULL
ORDER BY edge.target LIMIT 1
"""
_TRIED = "UPDATE node SET tried = ?, low = min(low, ?) WHERE number = ?"
_LOWER = "UPDATE node SET low = min(low, ?) WHERE number = ?"
_CLOSE = "UPDATE node INDEXED BY met SET part = ? WHERE seen >= ? AND part IS NULL"

# The order of parts.

_LIST_PARTS = "INSERT INTO part (number) SELECT DISTINCT part FROM node WHERE round IS NULL"
_BETWEEN = """
INSERT INTO freed
SELECT source.part, count(*) FROM node AS target
JOIN edge ON edge.target = target.number JOIN node AS source ON source.number = edge.source
WHERE target.round IS ? AND source.round IS NULL AND source.part <> target.part
GROUP BY source.part
"""
_COUNT_BETWEEN = """
UPDATE part SET waiting = waiting + ? * (SELECT count FROM freed WHERE source = number)
WHERE number IN (SELECT source FROM freed)
"""
_OPEN = "UPDATE part INDEXED BY shut SET opened = ? WHERE waiting = 0 AND opened IS NULL"
_PLACE_ENTRIES = """
UPDATE node INDEXED BY parted SET round = ?1
WHERE round IS NULL AND part IN (SELECT number FROM part WHERE opened = ?1) AND (
    depth = 0 OR EXISTS (
        SELECT 1 FROM edge JOIN node AS target ON target.number = edge.target
        WHERE edge.source = node.number AND target.round < ?1
    )
)
"""
_PLACE_BEHIND = """
UPDATE node SET round = ?1
WHERE round IS NULL AND number IN (
    SELECT source.number FROM node AS target
    JOIN edge ON edge.target = target.number JOIN node AS source ON source.number = edge.source
    WHERE target.round = ?1 - 1 AND source.part = target.part AND source.round IS NULL
)
"""


def place_circles(db: sqlite3.Connection, round: int) -> None:
    """Find the round in which each document goes that has none yet.

    Args:
        db: the database of a tree, in which nothing is left that refers only to what is placed.
        round: the first that is free.
    """
    for statement in _TABLES.split(";"):
        db.execute(statement)
    _part_leaves(db)
    _part_circles(db)
    db.execute("CREATE INDEX parted ON node (part) WHERE round IS NULL")
    db.execute(_LIST_PARTS)
    _count_between(db, None)
    while True:
        db.execute(_OPEN, (round,))
        placed = db.execute(_PLACE_ENTRIES, (round,)).rowcount
        placed += db.execute(_PLACE_BEHIND, (round,)).rowcount
        if not placed:
            return
        _count_between(db, round)
        round += 1


def _count_between(db: sqlite3.Connection, round: int | None) -> None:
    """Count the references from part to part: all, or no longer those to a round."""
    db.execute(_BETWEEN, (round,))
    db.execute(_COUNT_BETWEEN, (1 if round is None else -1,))
    db.execute("DELETE FROM freed")


def _part_leaves(db: sqlite3.Connection) -> None:
    """Make parts of what nothing refers to, again and again."""
    db.execute(_COUNT_REFERRERS)
    level = -1
    while db.execute(_TAKE_LEAVES, (level,)).rowcount:
        db.execute(_FREE_OF_LEAVES, (level,))
        db.execute(_COUNT_DOWN_REFERRED)
        db.execute("DELETE FROM freed")
        level -= 1


def _part_circles(db: sqlite3.Connection) -> None:
    """Make parts of the rest."""
    count = start = 0
    while True:
        found = db.execute(_NEXT_START, (start,)).fetchone()
        if found is None:
            return
        (start,) = found
        node: int | None = start
        count += 1
        db.execute(_ENTER, (count, None, node))
        while node is not None:
            seen, low, above, tried = db.execute(_STATE, (node,)).fetchone()
            found = db.execute(_NEXT_TARGET, (node, tried)).fetchone()
            if found is None:
                if low == seen:
                    db.execute(_CLOSE, (node, seen))
                elif above is not None:
                    db.execute(_LOWER, (low, above))
                node = above
                continue
            target, target_seen = found
            if target_seen is not None:
                db.execute(_TRIED, (target, target_seen, node))
                continue
            db.execute(_TRIED, (target, low, node))
            count += 1
            db.execute(_ENTER, (count, node, target))
            node = target
