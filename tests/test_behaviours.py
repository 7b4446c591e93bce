"""Time stamps and defaults."""

from __future__ import annotations

import pytest

import loom
from loom import FieldError, Frame

from .conftest import Commands, Runtime


class Pet(Frame):
    """Has no times."""

    name: str


async def test_defaults_are_filled_in_by_insert(call: Runtime) -> None:
    """A declared default is written when the field is absent, and only then."""

    class Hoard(Frame):
        gold: int = 5
        tags: list[str] = loom.default(list)

    empty = Hoard()
    await call(empty).insert()
    await call(Hoard).insert_many([{"gold": None, "tags": ["x"]}])
    first, second = await call(Hoard).many(sort="_id")

    assert (5, []) == (first.gold, first.tags) == (empty.gold, empty.tags)
    assert (None, ["x"]) == (second.gold, second.tags)


async def test_timestamps_need_their_fields(call: Runtime, commands: Commands) -> None:
    """A class without `created` is told so, and nothing is written."""
    Pet.listen("insert", Pet.timestamp_insert)
    with pytest.raises(FieldError, match="Pet: expected a declared field, got 'created'"):
        await call(Pet(name="cat")).insert()

    assert [] == commands.names
