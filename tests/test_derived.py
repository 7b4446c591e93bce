"""Derived fields: kept in step by every write, and made anew by a rebuild."""

from __future__ import annotations

import enum
import random
from datetime import datetime, timezone
from typing import Annotated, Any

import pytest
from bson import ObjectId

import loom
from loom import (
    Conflict,
    DefinitionError,
    EncodeError,
    Frame,
    Gone,
    IncrCounter,
    MissingId,
    ProjectionError,
    Q,
    QueryError,
    ReadOnly,
    Ref,
    StrLower,
    SubFrame,
    TimeUpdated,
    muted,
)
from loom.errors import DeriveError, FieldError
from loom.frames import derived, history
from loom.frames.derivations import derivations
from loom.frames.derived import Rebuilt
from loom.frames.deriving import derive
from loom.frames.events import listening
from loom.frames.indexes import Index
from loom.frames.operations.reading import id_filter

from .conftest import Commands, Runtime


def reverse(text: str) -> str:
    """Return a text backwards."""
    return text[::-1]


def join(*names: str | None) -> str:
    """Return the names that are there, with blanks between them."""
    return " ".join(name for name in names if name)


class Home(SubFrame):
    """Where somebody lives."""

    city: str
    street: str


class User(Frame):
    """Somebody with fields that are made of others."""

    _derived = {
        "email_rev": ("email", reverse),
        "full": (("first", "last"), join),
        "city_rev": ("home.city", reverse),
        "tag_count": ("tags", len),
        # Of a field that is derived itself.
        "full_length": ("full", len),
    }

    email: StrLower
    email_rev: str
    first: str
    last: str
    full: str
    full_length: int
    home: Home
    city_rev: str
    tags: list[str]
    tag_count: int
    age: int


def expected_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the derived fields that a document is to have, made in the plainest way."""
    found: dict[str, Any] = {}
    if document.get("email") is not None:
        found["email_rev"] = document["email"][::-1]
    if document.get("first") is not None or document.get("last") is not None:
        found["full"] = join(document.get("first"), document.get("last"))
        found["full_length"] = len(found["full"])
    if (document.get("home") or {}).get("city") is not None:
        found["city_rev"] = document["home"]["city"][::-1]
    if document.get("tags") is not None:
        found["tag_count"] = len(document["tags"])
    return found


def check(cls: Any = User) -> None:
    """Check that what is stored is in step."""
    for document in cls.get_collection().find():
        held = {name: document[name] for name in User._derived if name in document}

        assert expected_of(document) == held, document


def stored(user: Any) -> dict[str, Any]:
    """Return the document of a frame as it is stored."""
    found: dict[str, Any] = type(user).get_collection().find_one(id_filter(user._id))
    return found


def ann() -> User:
    """Return a new user with all fields."""
    home = Home(city="Ulm", street="Gasse")
    return User(email="Ann@X.org", first="Ann", last="Lee", home=home, tags=["a"], age=5)


# --- inserts


async def test_insert(call: Runtime) -> None:
    """An insert makes them, of what is stored: of text in its case, too."""
    user = ann()
    await call(user).insert()

    assert ("gro.x@nna", "Ann Lee", 7, "mlU", 1) == (
        user.email_rev,
        user.full,
        user.full_length,
        user.city_rev,
        user.tag_count,
    )
    check()


async def test_insert_many(call: Runtime, commands: Commands) -> None:
    """A batch too, in one command; what the caller gave for a derived field does not count."""
    users = await call(User).insert_many(
        [{"email": "A@x"}, {"email": "b@x", "email_rev": "wrong"}, {"email_rev": "no source"}, {}]
    )

    assert ["insert"] == commands.names
    assert ["x@a", "x@b", None, None] == [user.email_rev for user in users]
    assert "email_rev" not in users[2]
    check()


async def test_upsert_and_save_insert(call: Runtime) -> None:
    """Whatever inserts, inserts them."""
    one, other = ann(), ann()
    other._id = 5
    await call(one).save()
    await call(other).upsert()

    check()
    assert 2 == User.count({})


async def test_bulk(call: Runtime) -> None:
    """Bulk writes keep them."""
    user = ann()
    user.insert()
    user.first = "Bea"
    if call.is_async:
        async with User.aio.bulk() as bulk:
            await bulk.insert(ann())
            await bulk.update(user, "first")
            await bulk.upsert(User(_id=7, email="q@x"))
    else:
        with User.bulk() as blocking:
            blocking.insert(ann())
            blocking.update(user, "first")
            blocking.upsert(User(_id=7, email="q@x"))

    check()
    assert "Bea Lee" == stored(user)["full"]


# --- updates


async def test_a_named_update_takes_them_along(call: Runtime, commands: Commands) -> None:
    """Where the source is named, the derived field joins the write; nothing else does."""
    user = ann()
    await call(user).insert()
    commands.clear()
    user.email = "Bob@x.org"
    user.age = 6
    await call(user).update("email")

    assert ["update"] == commands.names
    ((update,),) = [body["updates"] for body in commands.bodies]
    assert {"$set": {"email": "bob@x.org", "email_rev": "gro.x@bob"}} == update["u"]
    await call(user).update("age")
    assert {"$set": {"age": 6}} == commands.bodies[-1]["updates"][0]["u"]
    check()


async def test_every_update(call: Runtime) -> None:
    """Update, save, upsert, inner paths and edits in place."""
    user = ann()
    await call(user).insert()
    user.first = "Bea"
    await call(user).update()
    check()
    user.last = "May"
    await call(user).save()
    check()
    user.home.city = "Bonn"
    await call(user).save()
    check()
    user.home.city = "Köln"
    await call(user).update("home.city")
    check()
    user.home = Home(city="Trier")
    await call(user).update("home")
    check()
    user.tags.append("b")
    await call(user).save()
    check()
    user.email = "new@x"
    await call(user).upsert()
    check()
    assert stored(user) == {
        "_id": user._id,
        "email": "new@x",
        "email_rev": "x@wen",
        "age": 5,
        "first": "Bea",
        "last": "May",
        "full": "Bea May",
        "full_length": 7,
        "home": {"city": "Trier"},
        "city_rev": "reirT",
        "tags": ["a", "b"],
        "tag_count": 2,
    }


async def test_update_many(call: Runtime) -> None:
    """A batch with names and without; each frame by what it holds."""
    users = [ann(), User(email="only@x"), User(first="Only")]
    await call(User).insert_many(users)
    for number, user in enumerate(users):
        user.email = f"U{number}@x"
    await call(User).update_many(users, "email")
    check()
    for number, user in enumerate(users):
        user.last = f"L{number}"
    await call(User).update_many(users)
    check()
    for user in users:
        user.last = None
    await call(User).update_many(users, "last")
    check()
    assert "full" not in stored(users[1])
    assert "Ann" == stored(users[0])["full"]


async def test_unset(call: Runtime) -> None:
    """Without its source a derived field goes, too; of several sources the others stay."""
    users = [ann(), ann(), ann(), ann()]
    await call(User).insert_many(users)
    await call(users[0]).unset("email", "last", "home.city")
    await call(users[1]).unset("home")
    await call(User).unset_many(users[2:], "first", "last", "tags")

    check()
    assert "email_rev" not in users[0]
    assert "Ann" == users[0].full == stored(users[0])["full"]
    assert {"home": {"street": "Gasse"}}.items() <= stored(users[0]).items()
    assert "city_rev" not in stored(users[1])
    assert "full_length" not in stored(users[2])
    assert "tag_count" not in users[3]


async def test_a_value_that_is_null_counts_as_absent(call: Runtime) -> None:
    """The function is not called for sources that are all null."""
    user = ann()
    await call(user).insert()
    user.email = None
    await call(user).update("email")

    check()
    assert "email_rev" not in stored(user)


async def test_what_a_listener_changes(call: Runtime) -> None:
    """A source that a listener of the user's changes takes them along."""

    @User.listen("update")
    def older(sender: Any, frames: list[Any]) -> None:
        for frame in frames:
            frame.first = "Old"

    users = [ann(), ann()]
    await call(User).insert_many(users)
    await call(users[0]).update("age")
    await call(User).update_many(users, "age")
    check()
    await call(User).update_where(Q.age == 5, {"$set": {"age": 6}})
    check()
    await call(users[0]).inc("age")
    check()
    await call(User).take(Q.age == 6, {"$set": {"age": 7}})
    check()
    assert "Old Lee" == stored(users[1])["full"]


@pytest.mark.parametrize("heard", [False, True])
async def test_a_stale_frame_writes_both(call: Runtime, heard: bool) -> None:
    """A frame that writes its source again writes the derived field again, too."""
    if heard:
        User.listen("update", lambda sender, frames: None)
    user = ann()
    await call(user).insert()
    other = await call(User).by_id(user._id)
    user.email = "other@x"
    await call(user).update("email")
    await call(other).update("email")

    check()
    assert "ann@x.org" == stored(user)["email"]


async def test_assigning_one_is_of_no_use(call: Runtime) -> None:
    """A derived field that is written itself is made anew."""
    user = ann()
    await call(user).insert()
    user.email_rev = "nonsense"
    await call(user).save()
    check()
    user.full = "nonsense"
    await call(user).update("full")
    check()
    assert 7 == stored(user)["full_length"]


# --- frames that were loaded in part


async def test_sources_that_were_not_loaded_are_read(call: Runtime, commands: Commands) -> None:
    """What a frame lacks is read, once per batch, and never taken for absent."""
    await call(User).insert_many([ann(), ann()])
    users = await call(User).many(None, projection={"first": True})
    for user in users:
        user.first = "Bea"
    commands.clear()
    await call(users[0]).update("first")
    assert ["find", "update"] == commands.names
    await call(User).update_many(users, "first")
    assert ["find", "update", "find", "update"] == commands.names
    check()
    assert ["Bea Lee"] * 2 == [document["full"] for document in User.get_collection().find()]

    user = await call(User).one(None, projection={"last": True})
    user.last = "May"
    await call(user).save()
    await call(user).update()
    await call(user).unset("last")
    check()
    assert "Bea" == stored(user)["full"]


async def test_one_source_costs_no_read(call: Runtime, commands: Commands) -> None:
    """What is written is in the frame."""
    await call(User).insert_many([ann()])
    user = await call(User).one(None, projection={"email": True})
    user.email = "bob@x"
    commands.clear()
    await call(user).update("email")
    await call(user).update()

    assert ["update", "update"] == commands.names
    check()


async def test_parts_of_a_source(call: Runtime) -> None:
    """Of an embedded document that was fetched in part, what is needed is read or refused."""

    class House(Frame):
        _derived = {"rooms": ("plan", lambda plan: len(plan)), "hall": ("plan.a", str.upper)}
        name: str
        plan: dict[str, Any]
        rooms: int
        hall: str

    await call(House(name="x", plan={"a": "q", "b": "r"})).insert()
    house = await call(House).one(None, projection={"plan": {"b": True}})
    house.plan["b"] = "s"
    house.plan["c"] = "t"
    await call(house).update("plan")
    document = stored(house)
    assert {"plan": {"a": "q", "b": "s", "c": "t"}, "rooms": 3, "hall": "Q"}.items() <= (
        document.items()
    )
    await call(house).reload()
    del house.plan["a"]
    await call(house).save()
    document = stored(house)
    assert ({"b": "s", "c": "t"}, 2) == (document["plan"], document["rooms"])
    assert "hall" not in document

    class Tower(Frame):
        _derived = {"floors": ("plan", len)}
        plan: list[Any]
        floors: int

    await call(Tower(plan=[1, 2, 3])).insert()
    tower = await call(Tower).one(None, projection={"plan": {"$slice": 1}})
    with pytest.raises(
        ProjectionError, match=r"^Tower\.update\.plan: expected a value that was fet"
    ):
        await call(tower).update("plan")


async def test_stale_frames(call: Runtime) -> None:
    """Sources that are not written are read: those in a frame may be old."""
    await call(ann()).insert()
    one = await call(User).one()
    other = await call(User).one()
    one.first = "Bea"
    await call(one).update("first")
    other.last = "May"
    await call(other).update("last")
    check()
    assert ("Bea May", "Ann") == (other.full, other.first)
    one.tags.append("b")
    await call(one).save()
    one.email = "new@x"
    await call(User).update_many([one], "email", "last")
    check()
    assert "Bea Lee" == stored(one)["full"]


async def test_stale_parts(call: Runtime) -> None:
    """What is written into a document is put into it as it is stored now."""

    class Shop(Frame):
        _derived = {"kinds": ("stock", lambda stock: ",".join(sorted(stock))), "n": ("list", sum)}
        stock: dict[str, Any]
        kinds: str
        list: Any
        n: int

    await call(Shop(stock={"a": {"x": 1}}, list=[1, 2])).insert()
    one, other = await call(Shop).one(), await call(Shop).one()
    one.stock["b"] = 2
    await call(one).save()
    other.stock["c"] = 3
    other.stock["a"]["y"] = 4
    await call(other).save()
    assert ("a,b,c", "a,b,c") == (other.kinds, stored(one)["kinds"])
    await call(one).unset("stock.a")
    assert "b,c" == stored(one)["kinds"]
    other.list[0] = 7
    await call(other).update("list.0")
    assert ([7, 2], 9) == (stored(one)["list"], stored(one)["n"])


async def test_paths_into_lists(call: Runtime) -> None:
    """A path into a list is put into the list as it is stored."""

    class Cart(Frame):
        _derived = {
            "total": (
                "items",
                lambda items: sum(item["n"] for item in items if type(item["n"]) is int),
            )
        }
        items: list[dict[str, int]]
        total: int

    cart = Cart(items=[{"n": 1}, {"n": 2}])
    await call(cart).insert()
    cart.items[1]["n"] = 5
    await call(cart).update("items.1.n")

    assert (6, [{"n": 1}, {"n": 5}]) == (stored(cart)["total"], stored(cart)["items"])
    cart.items[0]["n"] = object()  # type: ignore[assignment]
    with pytest.raises(EncodeError, match=r"^Cart\.items\.0\.n: "):
        await call(cart).update("items")
    cart.items[0]["n"] = User(email="x")  # type: ignore[assignment]
    with pytest.raises(
        MissingId, match=r"^Cart\.items\.0\.n: expected a stored User, got one with"
    ):
        await call(cart).update("items")


async def test_a_version_makes_reads_needless(call: Runtime, commands: Commands) -> None:
    """A write that holds for one version only trusts what the frame has."""

    class Card(Frame):
        _version = "_v"
        _derived = {"full": (("first", "last"), join)}
        first: str
        last: str
        full: str

    card = Card(first="Ann", last="Lee")
    await call(card).insert()
    card.first = "Bea"
    commands.clear()
    await call(card).update("first")

    assert ["update"] == commands.names
    assert "Bea Lee" == stored(card)["full"]
    part = await call(Card).one(None, projection={"first": True, "_v": True})
    part.first = "Eve"
    commands.clear()
    await call(part).update("first")
    assert ["find", "update"] == commands.names
    assert "Eve Lee" == stored(card)["full"]


async def test_a_version_and_parts(call: Runtime, commands: Commands) -> None:
    """Also with a version, what was fetched in part is not taken for the whole."""

    class Plot(Frame):
        _version = "_v"
        _derived = {"text": (("name", "place"), lambda name, place: f"{name}:{len(place)}")}
        name: str
        place: dict[str, int]
        text: str

    await call(Plot(name="a", place={"x": 1, "y": 2})).insert()
    plot = await call(Plot).one(None, projection={"name": True, "place": {"x": True}})
    plot.name = "b"
    commands.clear()
    await call(plot).update("name")

    assert "b:2" == stored(plot)["text"]


async def test_one_that_is_gone(call: Runtime) -> None:
    """A document that was deleted meanwhile is Gone, as with every update."""
    await call(ann()).insert()
    user = await call(User).one(None, projection={"first": True})
    await call(User).delete_where({}, all=True)
    with pytest.raises(Gone):
        await call(user).update("first")


async def test_in_a_transaction(call: Runtime) -> None:
    """What is read for them is read in the transaction."""
    await call(ann()).insert()
    user = await call(User).one(None, projection={"first": True})
    if call.is_async:
        async with loom.aio.transaction():
            await User.aio.update_where({}, {"$set": {"email": "t@x"}}, all=True)
            await user.aio.update("first")
    else:
        with loom.transaction():
            User.update_where({}, {"$set": {"email": "t@x"}}, all=True)
            user.update("first")

    check()
    assert "Ann Lee" == stored(user)["full"]


# --- update documents


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"$set": {"email": "B@x"}}, {"$set": {"email": "b@x", "email_rev": "x@b"}}),
        (
            {"$set": {"first": "B", "last": "M"}, "$inc": {"age": 1}},
            {
                "$set": {"first": "B", "last": "M", "full": "B M", "full_length": 3},
                "$inc": {"age": 1},
            },
        ),
        (
            {"$set": {"first": "B"}, "$unset": {"last": True}},
            {"$set": {"first": "B", "full": "B", "full_length": 1}, "$unset": {"last": True}},
        ),
        ({"$unset": {"email": 1}}, {"$unset": {"email": 1, "email_rev": True}}),
        ({"$set": {"home.city": "Bonn"}}, {"$set": {"home.city": "Bonn", "city_rev": "nnoB"}}),
        ({"$set": {"home.street": "Weg"}}, {"$set": {"home.street": "Weg"}}),
        (
            {"$set": {"home": {"city": "Bonn"}}},
            {"$set": {"home": {"city": "Bonn"}, "city_rev": "nnoB"}},
        ),
        (
            {"$set": {"home": {"street": "x"}}},
            {"$set": {"home": {"street": "x"}}, "$unset": {"city_rev": True}},
        ),
        ({"$set": {"tags": ["x", "y"]}}, {"$set": {"tags": ["x", "y"], "tag_count": 2}}),
        ({"$inc": {"age": 1}}, {"$inc": {"age": 1}}),
    ],
)
async def test_update_documents(
    call: Runtime, commands: Commands, changes: dict[str, Any], added: dict[str, Any]
) -> None:
    """What a change sets to known values is sent with what follows from it, in the same command."""
    users = [ann(), ann(), ann()]
    await call(User).insert_many(users)
    commands.clear()
    await call(User).update_where(Q.age == 5, changes)
    assert ["update"] == commands.names
    assert added == commands.bodies[0]["updates"][0]["u"]
    check()
    await call(users[0]).change(changes)
    check()
    assert expected_of(users[0].to_json_type()).items() <= users[0]._document.items()
    taken = await call(User).take(Q._id == users[1]._id, changes)
    check()
    assert expected_of(taken._document).keys() <= taken._document.keys()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"$set": {"first": "B"}}, "full"),
        ({"$push": {"tags": "x"}}, "tag_count"),
        ({"$set": {"tags.0": "x"}}, "tag_count"),
        ({"$rename": {"age": "tags"}}, "tag_count"),
        ({"$rename": {"first": "last"}}, "full"),
        ({"$min": {"email": "a"}}, "email_rev"),
        ([{"$set": {"email": "x"}}], "email_rev"),
        ([{"$replaceWith": {"email": "x"}}], "email_rev"),
    ],
)
async def test_what_only_the_server_knows(
    call: Runtime, commands: Commands, changes: Any, field: str
) -> None:
    """A change whose outcome for a derived field is not known is refused before it is sent."""
    user = ann()
    await call(user).insert()
    commands.clear()
    for act in (
        lambda: call(User).update_where(Q.age == 5, changes),
        lambda: call(user).change(changes),
        lambda: call(User).take(Q.age == 5, changes),
    ):
        with pytest.raises(
            QueryError, match=rf"^User\.{field}: expected a change that sets or uns"
        ):
            await act()

    assert {"find"} >= set(commands.names)
    check()


async def test_the_words_of_a_refusal(call: Runtime) -> None:
    """The errors say of what a field is derived, and what to do."""
    user = ann()
    await call(user).insert()
    with pytest.raises(QueryError) as caught:
        await call(user).change({"$set": {"first": "B"}})
    assert str(caught.value) == (
        "User.full: expected a change that sets or unsets all of 'first', 'last', of which 'full' "
        "is derived, got {'$set': {'first': 'B'}}, whose outcome only the server knows; load the "
        "frames, and update them"
    )
    with pytest.raises(QueryError) as caught:
        await call(User).update_where({}, {"$set": {"email_rev": "x"}}, all=True)
    assert str(caught.value) == (
        "User.email_rev: expected a change of 'email', got one of 'email_rev', which is derived of "
        "that"
    )
    with pytest.raises(
        QueryError, match=r"^User\.email_rev: expected a change of 'email', got one"
    ):
        await call(user).change({"$set": {"email": "b@x", "email_rev": "x@b"}})
    with pytest.raises(QueryError) as caught:
        await call(user).unset("email_rev")
    assert str(caught.value) == (
        "User.unset: expected other fields than 'email_rev', which is derived of 'email'; unset "
        "these"
    )
    check()


# --- other behaviours


async def test_references_that_are_released(call: Runtime) -> None:
    """What a delete does to what refers takes along what is derived of the reference."""

    class Author(Frame):
        name: str

    class Post(Frame):
        _derived = {"is_signed": ("author", lambda author: True), "count": ("readers", len)}
        author: Annotated[Author, Ref(on_delete="nullify")]
        readers: Annotated[list[Author], Ref(on_delete="pull")]
        is_signed: bool
        count: int

    ann, bob = await call(Author).insert_many([{"name": "Ann"}, {"name": "Bob"}])
    post = Post(author=ann, readers=[ann, bob])
    await call(post).insert()
    assert (True, 2) == (post.is_signed, post.count)
    await call(ann).delete()

    document = stored(post)
    assert ("is_signed" not in document, 1) == (True, document["count"])


async def test_references_in_lists_that_are_released(call: Runtime) -> None:
    """Where a delete writes into each document of a list, what the frame holds then counts."""

    class Author(Frame):
        name: str

    class Line(SubFrame):
        author: Annotated[Author, Ref(on_delete="nullify")]

    class Paper(Frame):
        _derived = {"signed": ("lines", lambda lines: sum(1 for x in lines if x.get("author")))}
        lines: list[Line]
        signed: int

    ann, bob = await call(Author).insert_many([{"name": "Ann"}, {"name": "Bob"}])
    paper = Paper(lines=[Line(author=ann), Line(author=bob), Line()])
    await call(paper).insert()
    assert 2 == paper.signed
    await call(ann).delete()

    assert 1 == stored(paper)["signed"]


async def test_versions_and_conditions(call: Runtime) -> None:
    """A conditional write carries them, and one that does not hold changes nothing."""

    class Page(Frame):
        _version = "_v"
        _derived = {"upper": ("title", str.upper)}
        title: str
        upper: str

    page = Page(title="a")
    await call(page).insert()
    other = await call(Page).by_id(page._id)
    page.title = "b"
    await call(page).update("title", where=Q.upper == "A")
    assert {"title": "b", "upper": "B", "_v": 2}.items() <= stored(page).items()
    other.title = "c"
    with pytest.raises(Conflict):
        await call(other).update("title")
    assert "B" == stored(page)["upper"]
    assert Rebuilt(1, 0, 0, page._id) == await rebuild(call, Page)
    Page.get_collection().update_one({}, {"$set": {"upper": "?"}})
    assert Rebuilt(1, 1, 0, page._id) == await rebuild(call, Page)
    page.title = "d"
    await call(page).update("title")  # a rebuild is no new version
    assert "D" == stored(page)["upper"]


async def test_the_change_log_sees_them(call: Runtime) -> None:
    """A history of a class notes what was derived as well."""

    class Note(Frame):
        _derived = {"upper": ("title", str.upper)}
        title: str
        upper: str

    tracking = history.track(Note)
    note = Note(title="a")
    await call(note).insert()
    note.title = "b"
    await call(note).update("title")
    await call(Note).update_where(Q.title == "b", {"$set": {"title": "c"}})
    tracking.stop()

    entries = await call(history.ChangeLog).many(history.of(note))
    assert [{"title", "upper"}] * 3 == [{c.path for c in entry.changes} for entry in entries]
    assert {"title": "c", "upper": "C"}.items() <= stored(note).items()


async def test_kinds(call: Runtime) -> None:
    """Of several classes in one collection each has its own."""

    class Shape(Frame):
        _kind_field = "kind"
        _derived = {"upper": ("name", str.upper)}
        name: str
        upper: str

    class Circle(Shape):
        _kind = "circle"
        _derived = {"area": ("radius", lambda radius: 3 * radius**2)}
        radius: int
        area: int

    await call(Shape).insert_many([Circle(name="a", radius=2), Shape(name="b")])
    shapes = await call(Shape).many(sort="name")
    assert [12, None] == [shape.get("area") for shape in shapes]
    shapes[0].radius = 3
    shapes[0].name = "c"
    shapes[1].name = "d"
    await call(Shape).update_many(shapes)
    assert Rebuilt(2, 0, 0, shapes[1]._id) == await rebuild(call, Shape)
    await call(Shape).update_where({}, {"$set": {"name": "e"}}, all=True)

    found = {(d["upper"], d.get("area")) for d in Shape.get_collection().find()}
    assert {("E", 27), ("E", None)} == found


# --- functions


async def test_a_function_that_raises(call: Runtime, commands: Commands) -> None:
    """The error names class, field, function and value, and nothing is sent."""

    class Broken(Frame):
        _derived = {"rev": ("a", reverse), "sum": (("a", "b"), lambda a, b: a + b)}
        a: Any
        b: Any
        rev: str
        sum: Any

    with pytest.raises(DeriveError) as caught:
        await call(Broken(a=5)).insert()
    assert str(caught.value) == (
        "Broken.rev: expected reverse() to return a value for a=5, got TypeError: 'int' object is "
        "not subscriptable"
    )
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(DeriveError) as caught:
        await call(Broken(a="x" * 200)).insert()
    assert str(caught.value) == (
        f"Broken.sum: expected <lambda>() to return a value for a='{'x' * 99}..., b=None, got "
        'TypeError: can only concatenate str (not "NoneType") to str'
    )
    with pytest.raises(DeriveError):
        await call(Broken).update_where({}, {"$set": {"a": 5}}, all=True)
    assert [] == commands.sent


async def test_a_function_sees_what_is_stored(call: Runtime) -> None:
    """Enums, frames and datetimes come as they are read back; the result is stored as it is."""

    class Color(enum.Enum):
        RED = "red"

    seen: list[Any] = []

    class Thing(Frame):
        _derived = {"copy": (("color", "at", "owner", "tags"), lambda *values: seen.append(values))}
        color: Any
        at: datetime
        owner: User
        tags: Any
        copy: Any

    owner = User(_id=7)
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
    thing = Thing(color=Color.RED, at=at, owner=owner, tags=("a", {"b"}))
    await call(thing).insert()
    derived.rebuild_derived(Thing)

    assert seen[0] == ("red", at.replace(microsecond=678_000), 7, ["a", ["b"]])
    assert seen[0] == seen[1]
    assert "copy" not in stored(thing)


async def test_times_and_case(call: Runtime) -> None:
    """A time stamp can be a source, and a derived text has its case."""

    class Post(Frame):
        _derived = {"year": ("modified", lambda time: time.year), "slug": ("title", lambda t: t)}
        title: str
        slug: StrLower
        modified: TimeUpdated
        year: int

    post = Post(title="Hello World")
    await call(post).insert()
    assert ("hello world", post.modified.year) == (post.slug, post.year)
    Post.get_collection().update_one({}, {"$set": {"year": 1900}})
    post.title = "Bye"
    await call(post).update("title")

    assert {"slug": "bye", "year": post.modified.year}.items() <= stored(post).items()
    await call(Post).update_where({}, {"$set": {"title": "MORE"}}, all=True)
    assert {"slug": "more", "year": post.modified.year}.items() <= stored(post).items()


# --- declaring


def test_they_are_listeners() -> None:
    """They are listed after all others, and can be muted and stopped."""

    class Member(User):
        pass

    assert derive is listening("insert", Member)[-1]
    assert derive is listening("update", User)[-1]
    assert [] == listening("insert", Frame)
    assert derived.derived(Member)["full"] == ("first", "last")


async def test_muted_and_stopped(call: Runtime) -> None:
    """As with every listener, who mutes it writes without it."""
    user = ann()
    with muted(derive):
        await call(user).insert()
    assert "email_rev" not in stored(user)
    User.stop_listening("update", derive)
    await call(user).update("email")
    assert "email_rev" not in stored(user)


async def test_children(call: Runtime) -> None:
    """A child inherits them, adds to them, and can make one otherwise."""

    class Member(User):
        _derived = {"short": ("first", lambda first: first[:1]), "email_rev": ("email", str.upper)}
        short: StrLower

    member = Member(email="a@x", first="Ann")
    await call(member).insert()

    assert ("A@X", "Ann", "a") == (member.email_rev, member.full, member.short)
    member.email = "B@x"
    await call(member).update("email")
    assert "B@X" == stored(member)["email_rev"]


async def test_a_child_that_marks_a_source(call: Runtime) -> None:
    """What the child's annotation does to the text is done before the parent's function sees it."""

    class Loud(Frame):
        _derived = {"rev": ("name", reverse)}
        name: str
        rev: str

    class Quiet(Loud):
        name: StrLower

    await call(Loud(name="AB")).insert()
    quiet = Quiet(name="AB")
    await call(quiet).insert()
    assert ("ab", "ba") == (quiet.name, quiet.rev)
    quiet.name = "CD"
    await call(quiet).update("name")
    assert "dc" == stored(quiet)["rev"]


async def test_assigned_later(call: Runtime) -> None:
    """A setting that is assigned takes effect, and is checked."""

    class Late(Frame):
        a: str
        b: str

    await call(Late(a="x")).insert()
    Late._derived = {"b": ("a", str.upper)}
    late = Late(a="y")
    await call(late).insert()

    assert "Y" == late.b
    with pytest.raises(TypeError):
        Late._derived["b"] = ("a", str.lower)  # type: ignore[index]
    with pytest.raises(DefinitionError):
        Late._derived = {"c": ("a", str.upper)}
    assert ["b"] == [derivation.field for derivation in derivations(Late)]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (["b"], "expected a dict, got ['b']; write _derived = {'email_rev': ('email', reverse)}"),
        (
            {"b": "a"},
            (
                "expected the path of a source, or a tuple of them, and a function for 'b', got 'a'; "
                "write _derived = {'email_rev': ('email', reverse)}"
            ),
        ),
        (
            {"b": ("a", "upper")},
            (
                "expected a plain function that makes 'b', got 'upper'; write _derived = {'email_rev': "
                "('email', reverse)}"
            ),
        ),
        ({"bb": ("a", len)}, "expected declared fields, got 'bb'; did you mean 'b'?"),
        ({"b": ("aa", len)}, "expected declared fields, got 'aa'; did you mean 'a'?"),
        (
            {"b": ("a..c", len)},
            "path: expected names joined by single dots, got 'a..c'; it is a source of 'b'",
        ),
        ({"b": ((), len)}, "expected each source of 'b' once, got ()"),
        ({"b": (("a", "a"), len)}, "expected each source of 'b' once, got ('a', 'a')"),
        ({"b": ("b.x", len)}, "expected other fields as sources of 'b', got itself"),
        (
            {"a": ("b", len), "b": ("a", len)},
            "expected fields that are made of others in the end, got a circle of 'a', 'b'",
        ),
        (
            {"b": ("_id", len)},
            "expected other fields than '_id': an _id may be made after its document",
        ),
        ({"b": ("_v", len)}, "expected declared fields, got '_v'"),
        (
            {"b": ("n", str)},
            "expected fields that are set, got the counter 'n', to which the server adds",
        ),
    ],
)
def test_what_cannot_be_declared(setting: Any, problem: str) -> None:
    """A setting that cannot work is an error when the class is made."""
    with pytest.raises(DefinitionError) as caught:

        class Wrong(Frame):
            _version = "_v"
            _derived = setting
            a: str
            b: str
            n: IncrCounter

    assert f"Wrong._derived: {problem}" == str(caught.value)


def test_not_on_a_subframe() -> None:
    """They are declared where the document is stored."""
    with pytest.raises(DefinitionError) as caught:

        class Wrong(SubFrame):
            _derived = {"b": ("a", len)}
            a: str
            b: int

    assert str(caught.value) == (
        "Wrong._derived: expected derived fields of a Frame, got them on a SubFrame; declare them "
        "where it is stored: {'gold': ('lair.gold', function)}"
    )


# --- rebuilding


async def rebuild(call: Runtime, *args: Any, **options: Any) -> Rebuilt:
    """Rebuild in either runtime."""
    if call.is_async:
        return await derived.aio.rebuild_derived(*args, **options)
    return derived.rebuild_derived(*args, **options)


async def test_rebuild(call: Runtime, commands: Commands) -> None:
    """What is wrong is corrected, batch by batch, and only that is written."""
    raw = User.get_collection()
    raw.insert_many(
        [
            {"_id": 1, "email": "a@x"},
            {"_id": 2, "email": "b@x", "email_rev": "x@b"},
            {"_id": 3, "email_rev": "left over", "first": "C"},
            {"_id": 4, "first": "D", "full": "D", "full_length": 1},
            {"_id": 5, "first": "E", "full": "E", "full_length": 9.0},
        ]
    )
    seen: list[tuple[int, int]] = []
    commands.clear()
    dry = await rebuild(call, User, dry_run=True)
    assert Rebuilt(5, 3, 0, 5) == dry
    assert ["find"] == commands.names
    told = lambda done, total: seen.append((done, total))  # noqa: E731
    found = await rebuild(call, User, batch_size=2, progress=told)

    assert Rebuilt(5, 3, 0, 5) == found
    assert [(2, 5), (4, 5), (5, 5)] == seen
    check()
    assert Rebuilt(5, 0, 0, 5) == await rebuild(call, User)


async def test_rebuild_some(call: Runtime) -> None:
    """Some fields, some documents, and the rest of them."""
    raw = User.get_collection()
    raw.insert_many([{"_id": n, "email": "a@x", "first": "A", "age": n % 2} for n in range(6)])

    assert Rebuilt(3, 3, 0, 4) == await rebuild(call, User, "email_rev", filter=Q.age == 0)
    assert 3 == raw.count_documents({"email_rev": "x@a", "full": {"$exists": False}})
    assert Rebuilt(2, 2, 0, 5) == await rebuild(call, User, after=3)
    assert Rebuilt(6, 4, 0, 5) == await rebuild(call, User)
    check()
    assert Rebuilt(0, 0, 0, None) == await rebuild(call, User, filter=Q.age == 9)


async def test_rebuild_with_ids_of_all_types(call: Runtime) -> None:
    """Ids of several types are all looked at, and can all be gone on behind."""
    ids: list[Any] = [1, 2.5, "a", "b", {"x": 1}, ObjectId(), ObjectId(), True]
    raw = User.get_collection()
    raw.insert_many([{"_id": id, "email": "a@x"} for id in ids])

    assert Rebuilt(8, 8, 0, True) == await rebuild(call, User, batch_size=3)
    for number, id in enumerate(ids, 1):
        assert 8 - number == (await rebuild(call, User, after=id)).checked, id


async def test_rebuild_by_a_filter_without_case(call: Runtime) -> None:
    """The filter means what it means everywhere."""

    class Member(Frame):
        _indexes = [Index("email", case_insensitive=True)]
        _derived = {"upper": ("email", str.upper)}
        email: str
        upper: str

    Member.get_collection().insert_many([{"_id": "a", "email": "A@x"}, {"_id": "b", "email": "b"}])

    assert Rebuilt(1, 1, 0, "a") == await rebuild(call, Member, filter=Q.email == "a@X")
    with pytest.raises(QueryError) as caught:
        await rebuild(call, Member, filter=Q.email == "a@X", after="a")
    assert str(caught.value) == (
        "Member: rebuild_derived: expected no text as after= beside a filter that ignores case, "
        "got 'a', whose place depends on case; leave the filter out"
    )


async def test_rebuild_beside_other_writers(call: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that changes between the look and the write is looked at again."""
    raw = User.get_collection()
    raw.insert_many([{"_id": n, "email": f"{n}@x"} for n in range(3)])
    changed = []

    def slow(text: str) -> str:
        if text == "1@x" and not changed:
            changed.append(text)
            raw.update_one({"_id": 1}, {"$set": {"email": "new@x"}})
        return text[::-1]

    monkeypatch.setattr(User, "_derived", {**User._derived, "email_rev": ("email", slow)})

    assert Rebuilt(3, 3, 0, 2) == await rebuild(call, User)
    check()

    def restless(text: str) -> str:
        raw.update_one({"_id": 2}, {"$set": {"email": f"{random.random()}@x"}})
        return f"{text}!"

    monkeypatch.setattr(User, "_derived", {**User._derived, "email_rev": ("email", restless)})
    found = await rebuild(call, User, filter=Q._id == 2)

    assert Rebuilt(1, 0, 1, 2) == found


async def test_a_rebuild_that_fails_says_where(call: Runtime) -> None:
    """The note on the error says how far it came."""
    User.get_collection().insert_many([{"_id": 1, "email": "a"}, {"_id": 2, "email": 5}])
    with pytest.raises(DeriveError, match=r"^User\.email_rev: ") as caught:
        await rebuild(call, User, batch_size=1)

    assert ["User: rebuild_derived: 1 documents are done; go on with after=1"] == (
        caught.value.__notes__
    )


async def test_a_rebuild_that_is_refused(call: Runtime, commands: Commands) -> None:
    """What cannot be done is said before anything is sent."""

    class Plain(Frame):
        name: str

    for arguments, options, error, message in [
        ((Plain,), {}, FieldError, "Plain: rebuild_derived: expected a class with derived fields"),
        ((User, "emailrev"), {}, FieldError, "got 'emailrev'; did you mean 'email_rev'?"),
        ((User,), {"batch_size": 0}, QueryError, "expected batch_size of at least 1, got 0"),
        ((User,), {"progress": 5}, QueryError, "expected a plain function for progress, got 5"),
        ((User,), {"limit": 5}, FieldError, "expected options comment, session, got 'limit'"),
    ]:
        with pytest.raises(error) as caught:
            await rebuild(call, *arguments, **options)
        assert message in str(caught.value)
    with loom.read_only(), pytest.raises(ReadOnly):
        await rebuild(call, User)
    assert [] == commands.sent


async def test_the_primary_is_read(call: Runtime, secondaries: Commands) -> None:
    """Classes that read from secondaries derive of what the primary holds."""
    user = ann()
    await call(user).insert()
    secondaries.clear()
    await call(user).update("first")
    await rebuild(call, User)
    read = [body.get("$readPreference") for body in secondaries.bodies if "find" in body]
    await call(User).many()

    assert [None, None] == read
    assert {"mode": "secondaryPreferred"} == secondaries.bodies[-1]["$readPreference"]


# --- all of it


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_written_is_in_step(call: Runtime, seed: int) -> None:
    """Random writes of all kinds, by fresh frames and by stale ones, leave nothing out of step."""
    chance = random.Random(seed)
    values = ["", "a", "Bc", None]
    fields = ["email", "first", "last", "home", "tags"]
    projections = [None, {"home": {"city": True}, "first": True}, {"home": {"street": True}}]
    projections += [dict.fromkeys(two, True) for two in (fields[:2], fields[2:4], fields[3:])]

    def value_of(field: str) -> Any:
        if field == "tags":
            return chance.choice([[], ["x"], ["x", "y"], None])
        if field == "home":
            return chance.choice([Home(city="Ulm"), Home(street="x"), Home()])
        return chance.choice(values)

    async def write(users: list[Any], act: int) -> None:
        some = chance.sample(fields, chance.randint(1, 3))
        for user in users:
            for field in some:
                home = user.home if field == "home" else None
                if home is not None and chance.random() < 0.7:
                    home.city = chance.choice(["Bonn", "Ulm", None])
                else:
                    setattr(user, field, value_of(field))
        if act == 0:
            await call(users[0]).update(*some)
        elif act == 1:
            await call(users[0]).save()
        elif act == 2:
            await call(User).update_many(users, *some)
        elif act == 3:
            await call(User).update_many(users)
        elif act == 4:
            await call(users[0]).unset(*some)
        elif act == 5:
            await call(User).unset_many(users[:2], *some)
        elif act == 6:
            await call(users[0]).upsert()
        elif act == 7:
            names = {"first": chance.choice(values), "last": chance.choice(values)}
            await call(User).update_where(Q._id == users[0]._id, {"$set": names})
        elif act == 8:
            await call(users[0]).change({"$set": {"home.city": chance.choice(["Rom", None])}})
        else:
            await call(users[0]).update("home" if users[0].home is None else "home.city")

    await call(User).insert_many([ann() for _ in range(4)])
    older: list[list[Any]] = []
    for _ in range(50):
        older.append(await call(User).many(None, projection=chance.choice(projections)))
        users = chance.choice(older[-5:])
        try:
            await write(users, chance.randrange(10))
        except QueryError as error:
            # A path that a frame lacks cannot be named.
            if "which is absent" not in str(error) and "holds only its _id" not in str(error):
                raise

        check()
