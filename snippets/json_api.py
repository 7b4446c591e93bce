"""Frames in and out of JSON, as an API needs them.

What: one function that shows a dragon, one that takes changes from a request.
When: a JSON API stands on collections and shall show some fields and take fewer.
When not: the requests want describing and checking; put Pydantic in front (fastapi_app.py).

Run: python snippets/json_api.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import loom as lm
from loom import Q


class Lair(lm.SubFrame):
    _private_fields = {"way_in"}
    name: str
    way_in: str


class Dragon(lm.Frame):
    _private_fields = {"secret"}
    name: str
    born: datetime
    lair: Lair
    secret: str


# What a request may change, and what makes a value of it.
CHANGEABLE: dict[str, Callable[[str], Any]] = {"name": str, "born": datetime.fromisoformat}


def shown(dragon: Dragon) -> str:
    return json.dumps(dragon.to_json_type(datetimes="iso"))


def found(name: Any) -> list[Dragon]:
    # With Q a value stays a value, also if the request sent {"$ne": null}.
    return Dragon.many(Q.name == name, sort="_id", limit=100)


def changed(id: str, request: str) -> Dragon:
    body = json.loads(request)
    unknown = body.keys() - CHANGEABLE.keys()
    if unknown:
        raise ValueError(f"cannot be changed: {', '.join(sorted(unknown))}")
    dragon = Dragon.by_id(id, required=True)
    for name, value in body.items():
        dragon[name] = CHANGEABLE[name](value)
    dragon.update(*body)
    return dragon


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    burt = Dragon(
        name="Burt",
        born=datetime(1890, 5, 1, 12, 0, 0, 250_000, timezone.utc),
        lair=Lair(name="Cave", way_in="behind the fall"),
        secret="afraid of mice",
    )
    burt.insert()
    id = str(burt._id)

    answer = json.loads(shown(burt))
    assert answer.keys() == {"_id", "name", "born", "lair"}
    assert answer["born"] == "1890-05-01T12:00:00.250000+00:00"
    assert answer["lair"] == {"name": "Cave"}

    dragon = changed(id, '{"name": "Burtrand", "born": "1891-05-01T12:00:00+00:00"}')
    assert dragon.name == "Burtrand"
    assert Dragon.by_id(id, required=True).born.year == 1891

    assert found({"$ne": None}) == []
    assert found("Burtrand") == [burt]

    for request, error in (('{"secret": ""}', ValueError), ("[]", AttributeError)):
        try:
            changed(id, request)
        except error:
            continue
        raise AssertionError(request)

    print(shown(dragon))
    lm.close()


if __name__ == "__main__":
    main()
