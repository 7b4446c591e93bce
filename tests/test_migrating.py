"""Migrations: all stored documents of an older form, upgraded in batches."""

from __future__ import annotations

from copy import deepcopy
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loom
from loom import DefinitionError, FieldError, Frame, QueryError, ReadOnly, SchemaVersionError
from loom.frames import migrating
from loom.frames.migrating import Migration, migrate
from loom.frames.upgrading import upgraded

from .conftest import Runtime
from .test_upgrading import DOCUMENTS, NEW, OLD, Dragon, store, stored


async def run(call: Runtime, *args: Any, **options: Any) -> Migration:
    """Call `migrate`, blocking or awaited."""
    if call.is_async:
        return await migrating.aio.migrate(*args, **options)
    return migrate(*args, **options)


async def test_all_older_documents_are_upgraded(call: Runtime) -> None:
    """Afterwards everything has today's form, and a second run finds nothing."""
    store()

    report = await run(call, Dragon)
    again = await run(call, Dragon)

    assert NEW == stored()
    assert (2, 2, 0, 0, (), 0, 2) == report[:7]
    assert (0, 0, 0) == again[:3]
    assert "nothing to upgrade" == str(again)
    assert "2 seen, 2 upgraded" == str(report)


async def test_a_dry_run_writes_nothing_and_shows_examples(call: Runtime) -> None:
    """It counts what would be done; private values are not shown."""

    class Account(Frame):
        _schema_version = 1
        _private_fields = {"secret", "keys.inner"}

        secret: str
        keys: dict[str, str]
        name: str

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["secret"] = document.pop("password")
            document["keys"] = {"inner": "hidden2"}
            document["name"] = document["name"].title()
            document.pop("old", None)

    given = [
        {"_id": n, "password": "shown", "secret": "hidden1", "name": "ann", "old": n}
        for n in range(8)
    ]
    store(Account, given)

    report = await run(call, Account, dry_run=True)
    html = report._repr_html_()

    assert given == stored(Account)
    assert (8, 8, 0, True) == (report.seen, report.upgraded, report.unchanged, report.dry_run)
    assert 5 == len(report.examples)
    assert ("'ann'", "'Ann'") == report.examples[0].changes["name"]
    assert ("0", None) == report.examples[0].changes["old"]
    assert (None, "<private>") == report.examples[0].changes["keys"]
    assert "8 to be upgraded" in str(report)
    assert "- old: 0" in str(report)
    assert "name: 'ann' -> 'Ann'" in str(report)
    assert "&#x27;ann&#x27; -&gt; &#x27;Ann&#x27;" in html
    assert "hidden" not in str(report) + html


async def test_a_failing_document_is_reported_and_left(call: Runtime) -> None:
    """The others go on; with `on_error="raise"` the first one stops it."""

    class Egg(Frame):
        _schema_version = 1

        size: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            if document["_id"] == 2:
                raise ValueError("too small")
            if document["_id"] == 3:
                document["size"] = object()
            if document["_id"] == 4:
                document["a.b"] = 1

    given = [{"_id": n, "size": n} for n in range(6)]
    store(Egg, given)

    report = await run(call, Egg, batch_size=2)
    with pytest.raises(ValueError, match="too small") as caught:
        await run(call, Egg, on_error="raise")

    assert [2, 3, 4] == [failure.id for failure in report.failed]
    assert "ValueError: too small" == report.failed[0].reason
    assert (6, 0, 3) == report[:3]
    assert given[2:5] == stored(Egg)[2:5]
    assert [1, 1, 1] == [stored(Egg)[n]["_schema_version"] for n in (0, 1, 5)]
    assert "failed _id=2: ValueError: too small" in str(report)
    assert "failed: 2" in report._repr_html_()
    assert any("came so far" in note for note in caught.value.__notes__)


async def test_what_a_unique_index_refuses_is_reported(call: Runtime) -> None:
    """The server's refusal is a failure of that document only."""

    class Name(Frame):
        _schema_version = 1

        name: str

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["name"] = document["name"].lower()

    Name.get_collection().create_index("name", unique=True)
    store(Name, [{"_id": 1, "name": "ANN"}, {"_id": 2, "name": "ann "}, {"_id": 3, "name": "ann"}])

    report = await run(call, Name)
    with pytest.raises(SchemaVersionError, match="_id=1"):
        await run(call, Name, on_error="raise")

    assert [1] == [failure.id for failure in report.failed]
    assert "ANN" == stored(Name)[0]["name"]
    assert 1 == stored(Name)[1]["_schema_version"]


async def test_concurrent_changes_are_kept(call: Runtime, monkeypatch: Any) -> None:
    """A document that is changed between look and write is looked at again."""
    store()
    changed: list[Any] = []
    upgrade = Dragon._upgrade

    def slow(document: dict[str, Any], version: int) -> None:
        if not changed:
            changed.append(document["_id"])
            Dragon.get_collection().update_one({"_id": 1}, {"$set": {"gold": 50, "more": 1}})
            Dragon.get_collection().delete_one({"_id": 2})
        upgrade(document, version)

    monkeypatch.setattr(Dragon, "_upgrade", staticmethod(slow))
    report = await run(call, Dragon)

    found = stored()
    assert ({"name": "Cave", "gold": 50}, 1) == (found[0]["lair"], found[0]["more"])
    assert (2, 1, 0, 1) == report[:4]


async def test_restless_documents_fail(call: Runtime, monkeypatch: Any) -> None:
    """One that others change with every look is reported."""
    store()

    def restless(document: dict[str, Any], version: int) -> None:
        Dragon.get_collection().update_one({"_id": document["_id"]}, {"$inc": {"age": 1}})

    monkeypatch.setattr(Dragon, "_upgrade", staticmethod(restless))
    report = await run(call, Dragon)

    assert [1, 2] == [failure.id for failure in report.failed]
    assert "changed by others" in report.failed[0].reason


async def test_a_filter_and_a_start(call: Runtime) -> None:
    """Only what matches and comes behind an `_id` is looked at; ids of all types come."""
    store(documents=[{"_id": id, "name": "a b"} for id in (1, 2, "x", "y")])
    seen: list[Any] = []

    first = await run(call, Dragon, {"_id": 1})
    second = await run(call, Dragon, after=2, batch_size=1, progress=lambda *n: seen.append(n))

    assert (1, 1) == (first.seen, first.last)
    assert (2, "y") == (second.seen, second.last)
    assert [(1, 2), (2, 2)] == seen
    assert [3, None, 3, 3] == [document.get("_schema_version") for document in stored()]


async def test_newer_documents_are_left_and_counted(call: Runtime) -> None:
    """What a newer program has stored stays."""
    newer = {"_id": 9, "_schema_version": 7}
    store(documents=[*OLD, newer])

    report = await run(call, Dragon)

    assert 1 == report.newer
    assert "1 of a newer form" in str(report)
    assert [*NEW, newer] == stored()


async def test_without_an_upgrade_documents_are_numbered(call: Runtime) -> None:
    """A class that begins to number its documents can number those that are there."""

    class Nest(Frame):
        _schema_version = 2

    store(Nest, [{"_id": 1, "a": 1}, {"_id": 2, "_schema_version": 1}])

    report = await run(call, Nest)

    assert (2, 0, 2) == report[:3]
    assert [2, 2] == [document["_schema_version"] for document in stored(Nest)]


async def test_kinds_migrate_together_or_alone(call: Runtime) -> None:
    """The root migrates all kinds, a kind its own."""

    class Animal(Frame):
        _kind_field = "type"
        _schema_version = 1

    class Dog(Animal):
        barks: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["barks"] = 1

    class Cat(Animal):
        pass

    store(Animal, [{"_id": 1, "type": "Dog"}, {"_id": 2, "type": "Cat"}, {"_id": 3}])

    alone = await run(call, Dog)
    rest = await run(call, Animal)

    assert ((1, 1, 0), (2, 0, 2)) == (alone[:3], rest[:3])
    assert [1, None, None] == [document.get("barks") for document in stored(Animal)]


async def test_what_is_refused(call: Runtime) -> None:
    """Classes without a number, and settings that cannot be."""

    class Plain(Frame):
        pass

    with pytest.raises(DefinitionError, match="_schema_version"):
        await run(call, Plain)
    with pytest.raises(QueryError, match="Frame class"):
        await run(call, "Dragon")
    for wrong in ({"batch_size": 0}, {"progress": 3}, {"on_error": "stop"}):
        with pytest.raises(QueryError):
            await run(call, Dragon, **wrong)
    with pytest.raises(FieldError, match="session"):
        await run(call, Dragon, sesion=None)
    store()
    with loom.read_only(), pytest.raises(ReadOnly):
        await run(call, Dragon)
    with loom.read_only():
        assert 2 == (await run(call, Dragon, dry_run=True)).upgraded


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_migrating_is_loading_and_saving(db: str, documents: list[dict[str, Any]]) -> None:
    """Both leave the same documents: what `_upgrade` makes of them."""
    collection = Dragon.get_collection()
    given = [{"_id": n, **document} for n, document in enumerate(documents)]
    expected = [upgraded(Dragon, deepcopy(document)) for document in given]

    collection.delete_many({})
    store(documents=given)
    report = migrate(Dragon, batch_size=2)
    migrated = stored()
    collection.delete_many({})
    store(documents=given)
    for frame in Dragon.each():
        frame.save()

    assert expected == migrated == stored()
    assert len(given) == report.upgraded + report.unchanged


def test_nothing_that_others_write_meanwhile_is_lost(db: str) -> None:
    """While programs of both forms count, the migration loses no coin."""

    class Purse(Frame):
        _schema_version = 1

        gold: int

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["gold"] = document.pop("coins", 0)

    store(Purse, [{"_id": n, "coins": 0} for n in range(40)])
    collection = Purse.get_collection()
    added = {"old": 0, "new": 0}

    def write_the_old_form() -> None:
        for n in range(120):
            wanted = {"_id": (n * 7) % 40, "_schema_version": None}
            added["old"] += collection.update_one(wanted, {"$inc": {"coins": 1}}).matched_count

    def write_the_new_form() -> None:
        for n in range(60):
            Purse(_id=39 - n % 40).inc("gold", 1)
            added["new"] += 1

    writers = [Thread(target=write) for write in (write_the_old_form, write_the_new_form)]
    for writer in writers:
        writer.start()
    reports = [migrate(Purse, batch_size=5)]
    for writer in writers:
        writer.join()
    while reports[-1].failed:
        reports.append(migrate(Purse))

    assert 60 == added["new"]
    assert added["old"] + added["new"] == sum(d["gold"] for d in collection.find())
    assert 0 == collection.count_documents({"coins": {"$exists": True}})


async def test_a_document_that_is_too_large_fails_alone(call: Runtime) -> None:
    """What cannot be compared and written in one command is reported, and the others go on."""

    class Scroll(Frame):
        _schema_version = 1

        text: str

        @staticmethod
        def _upgrade(document: dict[str, Any], version: int) -> None:
            document["text"] = document["text"].upper()

    store(Scroll, [{"_id": 1, "text": "x" * 9_000_000}, {"_id": 2, "text": "y"}])

    report = await run(call, Scroll)

    assert [1] == [failure.id for failure in report.failed]
    assert "16 MB" in report.failed[0].reason
    assert "Y" == stored(Scroll)[1]["text"]
