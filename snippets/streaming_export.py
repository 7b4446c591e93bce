"""A large collection into a file, and back, with little memory.

What: writes one JSON document per line while it reads, references resolved on the way; loads
    such a file in batches.
When: an export for people or other programs, from collections that memory does not hold.
When not: a backup; mongodump keeps every type and the indexes.

Run: python snippets/streaming_export.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import loom as lm
from loom import Q


class Breed(lm.Frame):
    _id: str
    title: str


class Dragon(lm.Frame):
    name: str
    age: int
    breed: Breed


EXPORTED = {"_id": False, "name": True, "age": True, "breed": {"$ref": Breed, "title": True}}


def export(path: Path, filter: Any = None) -> int:
    """Write dragons, one per line, and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file, Dragon.each(filter, projection=EXPORTED) as all:
        for dragon in all:
            file.write(json.dumps(dragon.to_json_type(datetimes="iso")) + "\n")
            count += 1
    return count


def load(path: Path, size: int = 1_000) -> int:
    """Insert the dragons of a file, `size` at a time, and return how many."""
    count = 0
    with path.open(encoding="utf-8") as file:
        while batch := list(islice(_documents(file), size)):
            count += len(Dragon.insert_many(batch, ordered=False))
    return count


def _documents(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        document = json.loads(line)
        yield {**document, "breed": document["breed"]["_id"]}


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    Breed.insert_many(
        [{"_id": "cold", "title": "Cold-drake"}, {"_id": "fire", "title": "Fire-drake"}]
    )
    breeds = ("cold", "fire")
    Dragon.insert_many(
        [{"name": f"Dragon {n}", "age": n, "breed": breeds[n % 2]} for n in range(2_500)]
    )

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "dragons.jsonl")
        assert export(path, Q.age >= 100) == 2_400

        first = json.loads(path.read_text("utf-8").splitlines()[0])
        assert first["breed"] == {"_id": "cold", "title": "Cold-drake"}

        with lm.using(db=f"{Dragon.get_db().name}_copy"):
            try:
                assert load(path) == 2_400
                assert Dragon.count(Q.breed == "fire") == 1_200
            finally:
                Dragon.get_client().drop_database(Dragon.get_db().name)

    assert Dragon.count({}) == 2_500
    print("2,400 dragons went out and came back")
    lm.close()


if __name__ == "__main__":
    main()
