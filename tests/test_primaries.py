"""What a write rests on is read from the primary, wherever else is read."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest

from loom import BulkError, Conflict, Frame, Q, Ref, Restricted, StrLower

from .conftest import Commands, Runtime


class Warden(Frame):
    """What is referred to."""

    name: str


class Salamander(Frame):
    """Goes with its warden."""

    warden: Annotated[Warden, Ref(on_delete="cascade")]
    name: str


class Slip(Frame):
    """Forgets its salamander."""

    salamander: Annotated[Salamander, Ref(on_delete="nullify")]


class Toll(Frame):
    """Forbids that its warden goes."""

    warden: Annotated[Warden, Ref(on_delete="restrict")]


class Coffer(Frame):
    """With versions."""

    _version: ClassVar[str | None] = "_v"
    _id: StrLower
    gold: int


@pytest.fixture(name="secondaries")
def stored_for_secondaries(secondaries: Commands) -> Commands:
    """Store documents, and connect with clients that read from secondaries."""
    Warden.insert_many([{"_id": n, "name": "Ann"} for n in (1, 2)])
    Salamander.insert_many([{"_id": n, "warden": 1, "name": "Burt"} for n in (1, 2)])
    Slip.insert_many([{"_id": 1, "salamander": 1}])
    Toll.insert_many([{"_id": 1, "warden": 2}])
    Coffer.insert_many([{"_id": "a", "gold": 1, "_v": 3}, {"_id": "b", "gold": 1, "_v": 3}])
    secondaries.clear()
    return secondaries


async def _bulk(call: Runtime) -> None:
    if call.is_async:
        async with Warden.aio.bulk() as awaited:
            await awaited.upsert(Warden(_id=1, name="Bea"))
    else:
        with Warden.bulk() as bulk:
            bulk.upsert(Warden(_id=1, name="Bea"))


def _listen() -> None:
    Warden.listen("update", lambda frames: None)
    Warden.listen("updated", lambda frames: None)


async def _update_where(call: Runtime) -> None:
    _listen()
    await call(Warden).update_where(Q.name == "Ann", {"$set": {"name": "Bea"}})


async def _take(call: Runtime) -> None:
    _listen()
    await call(Warden).take({}, {"$set": {"name": "Bea"}})


def _coffer() -> Coffer:
    return Coffer({"_id": "a", "gold": 2, "_v": 1})


#: Writes, what they raise, and how many reads they make.
WRITES: dict[str, tuple[Any, Any, int]] = {
    "upsert": (lambda call: call(Warden(_id=1, name="Bea")).upsert(), None, 1),
    "bulk": (_bulk, None, 1),
    "conflict": (lambda call: call(_coffer()).update(), Conflict, 1),
    "conflicts": (lambda call: call(Coffer).update_many([_coffer()]), BulkError, 1),
    "an _id in another case": (lambda call: call(Coffer(_id="C")).delete(), None, 1),
    "by filter": (_update_where, None, 3),
    "dry run": (lambda call: call(Warden).delete_where(Q.name == "Ann", dry_run=True), None, 1),
    "take": (_take, None, 1),
    "cascade": (lambda call: call(Warden(_id=1)).delete(), None, 2),
    "restrict": (lambda call: call(Warden(_id=2)).delete(), Restricted, 2),
}


@pytest.mark.parametrize("name", WRITES)
async def test_writes_read_from_the_primary(
    call: Runtime, secondaries: Commands, name: str
) -> None:
    """A secondary may not have the last write yet, on which a decision rests."""
    work, error, least = WRITES[name]
    if error is None:
        await work(call)
    else:
        with pytest.raises(error):
            await work(call)
    bodies = [b for b in secondaries.bodies if "find" in b or "aggregate" in b]
    await call(Warden).many()

    assert least <= len(bodies)
    assert {None} == {body.get("$readPreference") for body in bodies}
    assert {"mode": "secondaryPreferred"} == secondaries.bodies[-1]["$readPreference"]
