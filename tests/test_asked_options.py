"""The options of reads: None is as none, and what cannot be asked is refused before it is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from bson import Timestamp
from pymongo.collection import Collection
from pymongo.cursor import Cursor

import loom
from loom import FieldError, Frame, Q, QueryError, Ref
from loom.frames import Paginator
from loom.frames.asked_options import check_find, check_numbers, check_watch, check_write

from .conftest import Commands, Runtime
from .zoo import Dragon

#: Reads of all dragons by the names that PyMongo's find has for options.
READS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "many": lambda view, options: view.many(**options),
    "one": lambda view, options: view.one(**options),
    "by_id": lambda view, options: view.by_id(5, **options),
    "by_ids": lambda view, options: view.by_ids([5], **options),
    "ids": lambda view, options: view.ids(**options),
    "exists": lambda view, options: view.exists(**options),
    "rows": lambda view, options: view.rows(None, "name", **options),
    "page": lambda view, options: view.page(**options),
}


async def streamed(stream: Any) -> list[Any]:
    """Return all frames of a stream."""
    async with stream as frames:
        return [frame async for frame in frames]


def view_of(call: Runtime) -> Any:
    """Return what directives begin with."""
    return Dragon.aio if call.is_async else Dragon


async def got(result: Any) -> Any:
    """Return what a directive gives, blocking or awaited."""
    return await result if inspect.isawaitable(result) else result


async def filled(call: Runtime) -> None:
    """Store three dragons."""
    await call(Dragon).insert_many([Dragon(_id=i, name=str(i)) for i in range(3)])


async def test_none_is_as_none(call: Runtime, db: str) -> None:
    """A number that is None is no number, wherever one is taken."""
    await filled(call)
    view = call(Dragon)
    nothing: dict[str, Any] = {"skip": None, "limit": None, "batch_size": None}
    for read in READS.values():
        plain, given = await read(view, {}), await read(view, dict(nothing))
        assert repr(plain) == repr(given)
    counted = {"skip": None, "limit": None}

    assert 3 == await view.count({}, **counted)
    assert 3 == await view.count({}, limit=0)
    assert 3 == len(await streamed(view.each(**nothing)))
    assert 3 == len(await streamed(view.each(limit=0)))
    for directive in (view_of(call).filter(), view_of(call).agg([{"$sort": {"_id": 1}}])):
        assert directive == directive.skip(None).limit(None)
        assert 3 == len(await got(directive.load_many(batch_size=None)))
    paginator = Paginator(Dragon, limit=None, skip=None, batch_size=None, projection=None)
    pages = paginator.aio if call.is_async else call(paginator)
    assert 3 == len(await pages.page(1))
    assert 3 == await pages.count()


@pytest.mark.parametrize("name", READS)
async def test_wrong_numbers(call: Runtime, commands: Commands, name: str) -> None:
    """What is no whole number is refused by its name, and nothing is sent."""
    commands.clear()
    for option, value in (("skip", "5"), ("skip", -1), ("skip", True), ("batch_size", 2.5)):
        with pytest.raises(QueryError, match=f"{option}="):
            await READS[name](call(Dragon), {option: value})
    if name not in ("page", "one", "exists", "by_id"):
        with pytest.raises(QueryError, match="expected limit= to be a whole number, got 'x'"):
            await READS[name](call(Dragon), {"limit": "x"})

    assert [] == commands.names


@pytest.mark.parametrize("name", READS)
async def test_unknown_options(call: Runtime, commands: Commands, name: str) -> None:
    """An option that no find has is refused with the nearest that there is."""
    commands.clear()
    with pytest.raises(QueryError, match="'max_time'; did you mean 'max_time_ms'"):
        await READS[name](call(Dragon), {"max_time": 5})

    assert [] == commands.names


async def test_other_places(call: Runtime, commands: Commands) -> None:
    """Streams, counts, directives and numbered pages refuse the same."""
    commands.clear()
    view = call(Dragon)
    with pytest.raises(QueryError, match="got 'limits'; did you mean 'limit'"):
        view.each(limits=5)
    with pytest.raises(QueryError, match="expected limit of at least 0, got 'x'"):
        view.each(limit="x")
    with pytest.raises(QueryError, match="expected skip= to be a whole number, got 'x'"):
        await view.count({}, skip="x")
    with pytest.raises(QueryError, match="expected batch_size= to be a whole number, got 'x'"):
        await got(view_of(call).filter().load_many(batch_size="x"))
    with pytest.raises(QueryError, match="expected limit= to be a whole number, got True"):
        await view.many(limit=True)
    with pytest.raises(QueryError, match=r"got 'name'; a filter is Q\.name == 'Burt' or \{'name'"):
        await view.one(name="Burt")
    paginator = Paginator(Dragon, nonsense=1)
    with pytest.raises(QueryError, match="expected an option, got 'nonsense'; .*options are"):
        await (paginator.aio if call.is_async else call(paginator)).page(1)
    with pytest.raises(QueryError, match="got limit=5"):
        Paginator(Dragon, limit=5)

    assert [] == commands.names


async def test_a_negative_limit_passes(call: Runtime, db: str) -> None:
    """A negative limit asks for one batch, as it does in PyMongo."""
    await filled(call)

    assert 2 == len(await call(Dragon).many(limit=-2))


def test_every_option_of_find_passes() -> None:
    """All names that PyMongo's find takes are known; None is as none, but for a collation."""
    names = [*inspect.signature(Cursor.__init__).parameters][4:]
    options = dict.fromkeys(names)

    check_find("Dragon", options)

    assert {"collation": None} == options


def test_numbers_are_taken_out_only_when_none() -> None:
    """What was given stays."""
    options = {"limit": 0, "skip": 5, "batchSize": None, "comment": None}

    check_numbers("Dragon", options)

    assert {"limit": 0, "skip": 5, "comment": None} == options


WHEN = Timestamp(5, 1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"limit": 5}, "expected an option, got 'limit'; known are"),
        ({"full_documents": "x"}, "did you mean 'full_document'"),
        ({"batch_size": "x"}, "batch_size= to be a whole number, got 'x' of type str"),
        ({"batch_size": -1}, "batch_size= to be a whole number from 0 on, got -1"),
        ({"max_await_time_ms": "x"}, "max_await_time_ms= to be a whole number from 0 on, got 'x'"),
        ({"max_await_time_ms": -5}, "max_await_time_ms= to be a whole number from 0 on, got -5"),
        ({"max_await_time_ms": True}, "max_await_time_ms= to be a whole number"),
        ({"resume_after": "x"}, "resume_after= to be a token, .*got 'x' of type str"),
        ({"start_after": 5}, "start_after= to be a token"),
        ({"start_at_operation_time": 5}, r"to be a bson.Timestamp, got 5 .*Timestamp\(when, 0\)"),
        (
            {"resume_after": {"_data": "8"}, "start_at_operation_time": WHEN},
            "one place to begin at, got resume_after= and start_at_operation_time=",
        ),
        ({"full_document": 5}, "full_document= to be text such as 'updateLookup'"),
        ({"full_document_before_change": 5}, "full_document_before_change= to be text"),
    ],
)
async def test_watching(
    call: Runtime, commands: Commands, options: dict[str, Any], problem: str
) -> None:
    """What no change stream takes is refused when `watch` is called."""
    commands.clear()
    with pytest.raises(QueryError, match=f"Dragon.watch: .*{problem}"):
        call(Dragon).watch(**options)

    assert [] == commands.names


def test_every_option_of_watch_passes() -> None:
    """All names that PyMongo's watch takes are known, and the values it documents."""
    collection: Any = Collection
    names = [*inspect.signature(collection.watch).parameters][1:]
    check_watch("Dragon", dict.fromkeys(names), collection.watch)
    given = {
        "full_document": "whenAvailable",
        "max_await_time_ms": 0,
        "batch_size": 5,
        "start_at_operation_time": WHEN,
        "resume_after": None,
    }
    check_watch("Dragon", dict(given), collection.watch)
    check_watch("Dragon", {"start_after": {"_data": "8"}}, collection.watch)


async def test_explaining_in_a_transaction(call: Runtime, db: str) -> None:
    """A transaction explains nothing; it is refused by its name, and the transaction goes on."""
    await filled(call)
    problem = "Dragon.explain: expected it outside of a transaction"
    view = view_of(call)
    for directive in (view.filter(Q.name == "1"), view.agg({"$count": "n"})):
        if call.is_async:
            async with loom.aio.transaction():
                with pytest.raises(loom.TransactionError, match=problem):
                    await directive.explain()
                await Dragon(_id=9).aio.insert()
        else:
            with loom.transaction():
                with pytest.raises(loom.TransactionError, match=problem):
                    directive.explain()
                Dragon(_id=9).insert()
        assert 4 == await call(Dragon).count({})
        await call(Dragon).delete_where({"_id": 9})


class Grotto(Frame):
    """What is referred to."""

    name: str
    size: int


class Lizard(Frame):
    """Goes with its grotto."""

    grotto: Annotated[Grotto, Ref(on_delete="cascade")]


#: Writes of a grotto with an option that no method of PyMongo's has.
MISSPELT: dict[str, Callable[[Any, Any], Any]] = {
    "insert": lambda call, grotto: call(Grotto(name="a")).insert(sesion=None),
    "update": lambda call, grotto: call(grotto).update("name", sesion=None),
    "save": lambda call, grotto: call(grotto).save(sesion=None),
    "upsert": lambda call, grotto: call(grotto).upsert(sesion=None),
    "unset": lambda call, grotto: call(grotto).unset("name", sesion=None),
    "delete": lambda call, grotto: call(grotto).delete(sesion=None),
    "insert_many": lambda call, grotto: call(Grotto).insert_many([{}], sesion=None),
    "update_many": lambda call, grotto: call(Grotto).update_many([grotto], "name", sesion=None),
    "unset_many": lambda call, grotto: call(Grotto).unset_many([grotto], "name", sesion=None),
    "delete_many": lambda call, grotto: call(Grotto).delete_many([grotto], sesion=None),
}


@pytest.mark.parametrize("name", MISSPELT)
async def test_misspelt_options_of_writes(call: Runtime, commands: Commands, name: str) -> None:
    """Nothing is sent, and no listener is told, which may have deleted what goes with it."""
    grotto = Grotto(name="Deep")
    await call(grotto).insert()
    await call(Lizard(grotto=grotto)).insert()
    commands.clear()
    told: list[str] = []
    for event in ("insert", "update", "delete"):
        Grotto.listen(event, lambda event: told.append(event))
    message = rf"^Grotto\.{name}: expected an option, got 'sesion'; did you mean 'session'\?$"
    with pytest.raises(FieldError, match=message):
        await MISSPELT[name](call, grotto)

    assert ([], []) == (commands.names, told)
    assert 1 == await call(Lizard).count({})


async def test_options_that_are_the_operations_own(call: Runtime, commands: Commands) -> None:
    """A change brings back the frame as it is afterwards; ids say which frames, in which order."""
    grotto = Grotto(name="Deep", size=1)
    await call(grotto).insert()
    commands.clear()
    for work in (
        lambda: call(grotto).inc("size", return_document=False),
        lambda: call(grotto).change({"$inc": {"size": 1}}, projection={"size": True}),
        lambda: call(Grotto).take({}, {"$inc": {"size": 1}}, return_document=False),
    ):
        with pytest.raises(FieldError, match="expected the frame to be as it is after the change"):
            await work()
    for name, value in (("limit", 1), ("skip", 1), ("sort", "name")):
        with pytest.raises(QueryError, match=rf"ids that say which frames, .* got {name}="):
            await call(Grotto).by_ids([grotto._id], **{name: value})

    assert [] == commands.names


async def test_options_of_counts(call: Runtime, commands: Commands) -> None:
    """A count takes the names of a find where it can, and refuses what no count has."""
    await filled(call)

    assert 3 == await call(Dragon).count({"name": {"$exists": True}}, max_time_ms=60_000)
    assert 60_000 == commands.bodies[-1]["maxTimeMS"]
    with pytest.raises(QueryError, match="expected an option, got 'sort'"):
        await call(Dragon).count(sort="name")


@pytest.mark.parametrize("method", ["insert_one", "update_one", "delete_one", "bulk_write"])
def test_every_option_of_writes_passes(method: str) -> None:
    """What PyMongo's methods take by name today, Loom's take."""
    names = inspect.signature(getattr(Collection, method)).parameters
    given = {"self", "filter", "update", "document", "requests"}
    check_write("Dragon.write", dict.fromkeys(names.keys() - given), method)
