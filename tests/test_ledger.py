"""LedgerFrame: what is recorded stays as it is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from pymongo.errors import ConnectionFailure

import loom
from loom import Frame, Q, ReadOnly, Ref, TimeInserted
from loom.frames import indexes
from loom.frames.ledger import LedgerFrame
from tests.conftest import Commands, Runtime, Server
from tests.faults import fault


class Price(LedgerFrame):
    """A price at a time."""

    symbol: str
    amount: float


class Shop(Frame):
    """What refers to prices."""

    price: Price


def stored() -> list[Any]:
    """Return the stored documents, in the order of their ids."""
    return [*Price.get_collection().find(sort=[("_id", 1)])]


async def test_every_save_is_a_new_document(call: Runtime) -> None:
    """A saved frame stays the newest; what was recorded before stays too."""
    price = Price(symbol="X", amount=1.0)
    await call(price).save()
    first, recorded = price._id, price.recorded
    assert datetime.now(timezone.utc) - recorded < timedelta(minutes=1)
    price.amount = 2.0
    await call(price).save()
    await call(price).save()

    assert [1.0, 2.0, 2.0] == [document["amount"] for document in stored()]
    assert first == stored()[0]["_id"]
    assert price._id == stored()[2]["_id"]
    assert price.recorded >= recorded == stored()[0]["recorded"]


async def test_latest(call: Runtime) -> None:
    """The newest that matches, by time, then by id."""
    then = datetime(2024, 1, 1, tzinfo=timezone.utc)
    Price.get_collection().insert_many(
        [
            {"_id": 3, "symbol": "X", "recorded": then},
            {"_id": 1, "symbol": "X", "recorded": then + timedelta(1)},
            {"_id": 2, "symbol": "X", "recorded": then + timedelta(1)},
            {"_id": 9, "symbol": "Y", "recorded": then},
        ]
    )
    assert 2 == (await call(Price).latest())._id
    assert 9 == (await call(Price).latest(Q.symbol == "Y", projection=["symbol"]))._id
    assert await call(Price).latest(Q.symbol == "Z") is None
    with pytest.raises(loom.NotFound):
        await call(Price).latest(Q.symbol == "Z", required=True)


@pytest.mark.parametrize(
    "write",
    [
        lambda call, p: call(p).update(),
        lambda call, p: call(p).update("amount"),
        lambda call, p: call(p).unset("amount"),
        lambda call, p: call(p).delete(),
        lambda call, p: call(p).upsert(),
        lambda call, p: call(p).inc("amount"),
        lambda call, p: call(p).change({"$set": {"amount": 2.0}}),
        lambda call, p: call(Price).take({}, {"$set": {"amount": 2.0}}),
        lambda call, p: call(Price).update_many([p]),
        lambda call, p: call(Price).unset_many([p], "amount"),
        lambda call, p: call(Price).delete_many([p]),
        lambda call, p: call(Price).update_where(Q.amount > 0, {"$set": {"amount": 2.0}}),
        lambda call, p: call(Price).delete_where(Q.amount > 0),
        lambda call, p: call(Shop).cascade(Price, "price", [Shop(_id=1, price=p)]),
    ],
)
async def test_nothing_is_changed(call: Runtime, commands: Commands, write: Any) -> None:
    """Every way to update or delete is refused, before listeners hear of it."""
    price = Price(symbol="X", amount=1.0)
    await call(price).insert()
    heard: list[Any] = []
    Price.listen("update", lambda sender, frames: heard.append(frames))
    Price.listen("delete", lambda sender, frames: heard.append(frames))
    with pytest.raises(ReadOnly, match=r"Price\.\w+: expected save\(\) or insert\(\)"):
        await write(call, price)

    assert [] == heard
    assert [1.0] == [document["amount"] for document in stored()]


async def test_references_in_what_is_never_changed(call: Runtime) -> None:
    """A `Ref` that would change or delete a ledger's documents is refused."""

    class Entry(LedgerFrame):
        shop: Annotated[Shop, Ref(on_delete="cascade")]

    with pytest.raises(loom.DefinitionError, match="Entry.shop: expected on_delete='restrict'"):
        await call(Shop(_id=1)).delete()
    Entry._append_only = False  # else every later delete would be refused for it


async def test_inserting_many(call: Runtime) -> None:
    """Batches add documents, each with the time of the insert."""
    await call(Price).insert_many([{"symbol": "X", "amount": float(n)} for n in range(3)])

    assert 1 == len({document["recorded"] for document in stored()})


@pytest.mark.parametrize("was_stored", [False, True])
async def test_a_save_whose_answer_was_lost(
    call: Runtime, server: Server, was_stored: bool
) -> None:
    """Saved again it is stored once; with another value it is another document."""
    if not server.is_embedded:
        pytest.skip("needs a server that takes failpoints")
    price = Price(symbol="X", amount=1.0)
    with fault(server, "insert", closeConnection=True), pytest.raises(ConnectionFailure):
        await call(price).save()
    if was_stored:
        Price.get_collection().insert_one({**price._document})
    await call(price).save()
    assert [1.0] == [document["amount"] for document in stored()]
    price.amount = 2.0
    await call(price).save()
    await call(price).save()

    assert [1.0, 2.0, 2.0] == [document["amount"] for document in stored()]


async def test_a_save_that_failed(call: Runtime) -> None:
    """The frame is still the one that was recorded before."""
    price = Price(symbol="X", amount=1.0)
    await call(price).save()
    id, recorded = price._id, price.recorded
    price.amount = object()  # type: ignore[assignment]
    with pytest.raises(loom.EncodeError):
        await call(price).save()

    assert (id, recorded) == (price._id, price.recorded)
    with pytest.raises(loom.QueryError, match="expected no fields and no where="):
        await call(price).save("amount")


async def test_nothing_is_changed_where_nothing_listens(call: Runtime) -> None:
    """Updates of plain values are refused as well when there is nobody to tell of them."""
    price = Price(symbol="X", amount=1.0)
    await call(price).insert()
    with pytest.raises(ReadOnly, match=r"Price\.update: expected save\(\)"):
        await call(price).update("amount")


async def test_times_of_what_is_added_again(call: Runtime) -> None:
    """A new document has its own times of the insert, but for those that were assigned."""

    class Offer(LedgerFrame):
        amount: float
        made: TimeInserted

    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    offer = Offer(amount=1.0, made=long_ago)
    await call(offer).save()
    assert long_ago == offer.made
    offer.amount = 2.0
    await call(offer).save()
    assert offer.made == offer.recorded
    offer.made = long_ago
    await call(offer).save()

    assert [long_ago, True, long_ago] == [
        found.made if found.made == long_ago else found.made == found.recorded
        for found in Offer.many(sort="_id")
    ]


async def test_indexes_of_a_ledger(call: Runtime) -> None:
    """They are built, changed and dropped like others: no document is changed by that."""

    class Indexed(LedgerFrame):
        _indexes = [indexes.Index("symbol", "-recorded"), indexes.Index("recorded", ttl=60)]
        symbol: str

    async def run(**options: Any) -> Any:
        if call.is_async:
            return await indexes.aio.ensure(Indexed, **options)
        return indexes.ensure(Indexed, **options)

    assert 2 == len((await run()).created)
    Indexed._indexes = [indexes.Index("recorded", ttl=90)]
    changed = await run(drop=True)

    assert (1, 1) == (len(changed.modified), len(changed.dropped))
