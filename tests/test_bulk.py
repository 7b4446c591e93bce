"""Bulk: writes of all kinds in batches, and the truth about each."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

import loom
from loom import BulkError, FieldError, Frame, StrLower
from loom.frames.bulk import BulkResult
from tests.conftest import Commands, Runtime, Server
from tests.faults import fault


class Dragon(Frame):
    """What is written."""

    name: str
    age: int
    tags: list[str] = loom.default(list)


class Account(Frame):
    """With versions."""

    _version: ClassVar[str | None] = "_v"
    name: str


class _Bulk:
    """A bulk of either runtime, used in the awaited way."""

    def __init__(self, call: Runtime, cls: Any, **options: Any) -> None:
        self.call = call
        self.bulk = cls.aio.bulk(**options) if call.is_async else cls.bulk(**options)

    async def __aenter__(self) -> _Bulk:
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self.call.is_async:
            await self.bulk.__aexit__(*error)
        else:
            self.bulk.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        if name == "results":
            return self.bulk.results
        method = getattr(self.bulk, name)
        if self.call.is_async:
            return method

        async def awaited(*args: Any) -> Any:
            return method(*args)

        return awaited


async def filled(bulk: Any, *writes: tuple[Any, ...], error: Exception | None = None) -> None:
    """Give writes to a bulk, and end it."""
    async with bulk:
        for name, *arguments in writes:
            await getattr(bulk, name)(*arguments)
        if error is not None:
            raise error


def stored(cls: Any = Dragon) -> list[Any]:
    """Return the stored documents."""
    return [*cls.get_collection().find(sort=[("_id", 1)])]


def outcomes(bulk: Any) -> list[Any]:
    """Return the results as operation, id and state."""
    return [(r.operation, r.frame.get("_id"), r.state) for r in bulk.results]


@pytest.mark.parametrize("ordered", [True, False])
async def test_all_kinds(call: Runtime, ordered: bool) -> None:
    """Inserts, updates, unsets, upserts and deletes in one block."""
    old = await call(Dragon).insert_many([{"_id": i, "name": "old", "age": 1} for i in range(4)])
    async with _Bulk(call, Dragon, ordered=ordered) as bulk:
        new = await bulk.insert({"_id": 9, "name": "new"})
        old[0].name = "changed"
        assert old[0] is await bulk.update(old[0], "name")
        await bulk.unset(old[1], "age")
        await bulk.upsert(Dragon(_id=2, name="upserted"))
        await bulk.upsert(Dragon(_id=8, name="upserted"))
        await bulk.delete(old[3])
        assert [] == bulk.results

    assert isinstance(new, Dragon)
    assert stored() == [
        {"_id": 0, "name": "changed", "age": 1, "tags": []},
        {"_id": 1, "name": "old", "tags": []},
        {"_id": 2, "name": "upserted", "age": 1, "tags": []},
        {"_id": 8, "name": "upserted", "tags": []},
        {"_id": 9, "name": "new", "tags": []},
    ]
    assert {"written"} == {result.state for result in bulk.results}
    assert sorted(["insert", "update", "unset", "upsert", "upsert", "delete"]) == sorted(
        result.operation for result in bulk.results
    )


async def test_batches_by_count(call: Runtime, commands: Commands) -> None:
    """What waits is sent when it is enough; events come with every batch."""
    heard: list[int] = []
    Dragon.listen("insert", lambda sender, frames: heard.append(len(frames)))
    commands.clear()
    async with _Bulk(call, Dragon, size=10) as bulk:
        for number in range(25):
            await bulk.insert(Dragon(name=str(number)))
        assert 20 == len(bulk.results)
        await bulk.flush()
        assert 25 == len(bulk.results)

    assert ["insert"] * 3 == commands.names
    assert [10, 10, 5] == heard
    assert [True] * 25 == [result.frame._id is not None for result in bulk.results]


async def test_batches_by_bytes(call: Runtime, commands: Commands) -> None:
    """Large documents are sent before they are many."""
    commands.clear()
    async with _Bulk(call, Dragon, max_bytes=10_000) as bulk:
        for _ in range(4):
            await bulk.insert(Dragon(name="x" * 6_000))

    assert ["insert"] * 2 == commands.names


async def test_an_ordered_failure(call: Runtime) -> None:
    """The first failure ends it; what came after is known not to be sent."""
    await call(Dragon(_id=1)).insert()
    frames = [Dragon(_id=i, name="x") for i in (0, 1, 2)]
    late = Dragon(_id=5)
    bulk = _Bulk(call, Dragon)
    with pytest.raises(BulkError, match=r"Dragon.bulk: 1 of 4 frames were written") as caught:
        await filled(bulk, *[("insert", frame) for frame in frames], ("delete", late))

    assert [("insert", 0, "written"), ("insert", 1, "failed")] == outcomes(bulk)[:2]
    assert [("insert", 2, "failed"), ("delete", 5, "not sent")] == outcomes(bulk)[2:]
    assert [frames[0]] == caught.value.frames_written
    assert [frames[1], frames[2], late] == [frame for frame, _ in caught.value.frames_failed]
    assert "duplicate key" in caught.value.frames_failed[0][1]


async def test_an_unordered_failure(call: Runtime) -> None:
    """All that can be written is; the failures come at the end, each with its reason."""
    await call(Dragon(_id=1)).insert()
    mine = [Dragon(name="a"), Dragon(_id=1, name="b"), Dragon(name="c")]
    gone = Dragon(_id=7, name="gone")
    bulk = _Bulk(call, Dragon, ordered=False, size=2)
    writes = [*[("insert", f) for f in mine], ("update", gone, "name")]
    with pytest.raises(BulkError) as caught:
        await filled(bulk, *writes, ("upsert", Dragon(_id=3, name="d")))

    assert [(mine[1], True), (gone, True)] == [
        (frame, bool(reason)) for frame, reason in caught.value.frames_failed
    ]
    assert [mine[0]._id, mine[2]._id, 3] == [f._id for f in caught.value.frames_written]
    assert [None, None] != [mine[0].get("_id"), mine[2].get("_id")]
    assert 4 == len(stored())


async def test_a_block_left_by_an_error(call: Runtime) -> None:
    """What waits is not sent, and the error says so."""
    bulk = _Bulk(call, Dragon)
    writes = [("insert", Dragon(_id=1)), ("flush",), ("insert", Dragon(_id=2))]
    with pytest.raises(KeyError) as caught:
        await filled(bulk, *writes, error=KeyError("mine"))

    assert [1] == [document["_id"] for document in stored()]
    assert [("insert", 1, "written"), ("insert", 2, "not sent")] == outcomes(bulk)
    assert "1 written, 1 not sent" in "".join(caught.value.__notes__)


async def test_a_value_that_cannot_be_stored(call: Runtime) -> None:
    """Its batch is not sent, what came after it neither; the error is the value's."""
    bulk = _Bulk(call, Dragon)
    bad = Dragon({"_id": 1, "name": object()})
    with pytest.raises(loom.EncodeError, match="Dragon"):
        await filled(bulk, ("insert", bad), ("delete", Dragon(_id=2)))

    assert [("insert", 1, "failed"), ("delete", 2, "not sent")] == outcomes(bulk)
    assert [] == stored()


async def test_stale_versions(call: Runtime) -> None:
    """A frame that somebody else has changed meanwhile is not written."""
    accounts = await call(Account).insert_many([{"_id": i, "name": "a"} for i in range(3)])
    Account.get_collection().update_one({"_id": 1}, {"$inc": {"_v": 5}})
    for account in accounts:
        account.name = "b"
    bulk = _Bulk(call, Account, ordered=False)
    with pytest.raises(BulkError) as caught:
        await filled(bulk, *[("upsert", account) for account in accounts])

    assert [1] == [frame._id for frame, _ in caught.value.frames_failed]
    assert ["b", "a", "b"] == [document["name"] for document in stored(Account)]


async def test_upserts_race(call: Runtime) -> None:
    """An upsert whose document came or went in between is done all the same."""
    await call(Dragon(_id=1, name="old")).insert()

    def interfere(sender: Any, frames: Any) -> None:
        Dragon.get_collection().delete_one({"_id": 1})
        Dragon.get_collection().insert_one({"_id": 2})
        Dragon.stop_listening("update", interfere)
        Dragon.stop_listening("insert", interfere)

    Dragon.listen("insert", interfere)
    async with _Bulk(call, Dragon, ordered=False) as bulk:
        await bulk.upsert(Dragon(_id=1, name="one"))
        await bulk.upsert(Dragon(_id=2, name="two"))

    assert ["one", "two"] == [document["name"] for document in stored()]


async def test_in_a_transaction(call: Runtime) -> None:
    """A bulk joins the transaction around it."""
    frames = [Dragon(name="a"), Dragon(name="b")]

    def fail() -> None:
        with Dragon.bulk() as bulk:
            for frame in frames:
                bulk.insert(frame)
        raise KeyError

    async def fail_awaited() -> None:
        await filled(Dragon.aio.bulk(), *[("insert", frame) for frame in frames])
        raise KeyError

    async def run() -> None:
        if call.is_async:
            await loom.aio.with_transaction(fail_awaited)
        else:
            loom.with_transaction(fail)

    with pytest.raises(KeyError):
        await run()

    assert [] == stored()
    assert [None, None] == [frame.get("_id") for frame in frames]


async def test_a_lost_connection(call: Runtime, server: Server) -> None:
    """What was sent and not answered is unknown, what came before is known."""
    if not server.is_embedded:
        pytest.skip("needs a server that takes failpoints")
    frames = [Dragon(_id=i) for i in range(4)]
    bulk = _Bulk(call, Dragon, size=2)
    await bulk.insert(frames[0])
    await bulk.insert(frames[1])
    server.client.admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": {"failCommands": ["insert"], "closeConnection": True},
        }
    )
    try:
        await bulk.insert(frames[2])
        with pytest.raises(Exception, match=r".") as caught:
            await bulk.insert(frames[3])
    finally:
        server.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    assert ["written", "written", "unknown", "unknown"] == [r.state for r in bulk.results]
    assert any("2 written, 2 unknown" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": "x"}, {"max_bytes": -1}])
async def test_bad_sizes(call: Runtime, options: Any) -> None:
    """They are refused at once."""
    with pytest.raises(FieldError, match="expected (size|max_bytes) of at least 1"):
        _Bulk(call, Dragon, **options)


async def test_bad_writes(call: Runtime, commands: Commands) -> None:
    """What cannot be written is refused when it is given."""
    commands.clear()
    bulk = _Bulk(call, Dragon)
    dragon = Dragon(_id=1)
    await bulk.insert(dragon)
    with pytest.raises(FieldError, match="expected every frame once"):
        await bulk.insert(dragon)
    with pytest.raises(FieldError, match="expected Dragon frames or dicts"):
        await bulk.insert(5)
    with pytest.raises(loom.MissingId):
        await bulk.update(Dragon(name="x"), "name")
    with pytest.raises(FieldError, match="did you mean 'name'"):
        await bulk.update(dragon, "nmae")
    with pytest.raises(FieldError, match="expected names of fields, got none"):
        await bulk.unset(dragon)

    assert [] == commands.sent


def test_results_are_values() -> None:
    """A result can be compared and unpacked."""
    frame = Dragon(_id=1)
    assert BulkResult(frame, "insert", "written") == (frame, "insert", "written", None)


async def test_sessions(call: Runtime, server: Server, commands: Commands) -> None:
    """Every command of a bulk goes in its session, also the look before an upsert."""
    await call(Dragon).insert_many([{"_id": 1, "name": "Burt"}])
    commands.clear()
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    stored = Dragon(_id=1, name="Burt"), Dragon(_id=2, name="Ann")
    async with _Bulk(call, Dragon, session=session) as bulk:
        for dragon in stored:
            await bulk.upsert(dragon)

    assert ["find", "insert", "update"] == commands.names
    assert [session.session_id] * 3 == [body["lsid"] for body in commands.bodies]
    ended = session.end_session()
    if call.is_async:
        await ended


class Word(Frame):
    """Is found under another `_id` than the one that it was made with."""

    _collection = "bulk_words"
    _id: StrLower
    note: str


async def test_upserts_whose_answer_is_lost(call: Runtime, server: Server) -> None:
    """What others have stored meanwhile is written again; if that is not answered, it is unknown."""
    Word.get_collection().insert_one({"_id": "one"})
    bulk = _Bulk(call, Word)
    await bulk.upsert(Word(_id="ONE", note="a"))
    with fault(server, "update", times=2, closeConnection=True), pytest.raises(BulkError) as caught:
        await bulk.flush()

    assert [] == caught.value.frames_failed
    assert ["one"] == [word._id for word, _ in caught.value.frames_unknown]
    assert ["unknown"] == [result.state for result in bulk.results]
