"""Text of one case in what is written: by every operation, at every depth, in the frame too."""

from __future__ import annotations

import copy
from collections import OrderedDict
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loom
from loom import BulkError, Frame, Gone, Q, QueryError, StrLower, StrUpper, SubFrame, default, muted
from loom.frames import events
from loom.frames.marks import Lower
from loom.frames.normalising import normalise_changes
from loom.frames.texts import normalise

from .conftest import Commands, Runtime


class Hue(Enum):
    """What is stored as text."""

    RED = "Red"
    DEEP = "blue"


class Shade(str, Enum):
    """Text of a fixed choice."""

    DARK = "Dark"


class Markup(str):
    """Text of another type."""

    __slots__ = ()


class Pair(NamedTuple):
    """A tuple with names."""

    first: str
    second: str


class Lair(SubFrame):
    """An embedded document."""

    code: StrUpper
    name: str
    annexes: list[Lair]


class User(Frame):
    """Has marked text in all places."""

    _id: Any
    email: StrLower
    nick: StrLower | None
    code: StrUpper
    tags: list[StrLower]
    rows: list[list[StrLower]]
    words: dict[str, StrLower]
    lists: dict[str, list[StrUpper]]
    lair: Lair
    lairs: list[Lair]
    rooms: dict[str, Lair]
    anything: Annotated[Any, Lower()]
    mixed: StrLower | int
    plain: str
    loose: dict[str, Any]


class Member(User):
    """A child with a mark of its own."""

    alias: StrUpper


WRITTEN = {
    "email": "Ann@Example.com",
    "nick": None,
    "code": "ab-1",
    "tags": ["New", "old", None, 5],
    "rows": [["A"], ["b", "C"]],
    "words": {"Key": "Value", "n": 1},
    "lists": {"k": ["a"], "none": None},
    "lair": {"code": "x1", "name": "Cave", "annexes": [{"code": "y"}], "other": "Text"},
    "lairs": [{"code": "z", "name": "Den"}, {"name": "Nest"}],
    "rooms": {"Hall": {"code": "h", "name": "Hall"}},
    "anything": ["X", ["Y"]],
    "mixed": 7,
    "plain": "Plain",
    "loose": {"Any": "Thing"},
}
STORED = {
    **WRITTEN,
    "email": "ann@example.com",
    "code": "AB-1",
    "tags": ["new", "old", None, 5],
    "rows": [["a"], ["b", "c"]],
    "words": {"Key": "value", "n": 1},
    "lists": {"k": ["A"], "none": None},
    "lair": {"code": "X1", "name": "Cave", "annexes": [{"code": "Y"}], "other": "Text"},
    "lairs": [{"code": "Z", "name": "Den"}, {"name": "Nest"}],
    "rooms": {"Hall": {"code": "H", "name": "Hall"}},
    "anything": ["x", ["y"]],
}


def written(**values: Any) -> dict[str, Any]:
    """Return a document as a user might write it, with sub-frames."""
    document = {
        **WRITTEN,
        "tags": [*WRITTEN["tags"]],  # type: ignore[misc]
        "rows": [["A"], ["b", "C"]],
        "words": dict(WRITTEN["words"]),  # type: ignore[call-overload]
        "lists": {"k": ["a"], "none": None},
        "lair": Lair(code="x1", name="Cave", annexes=[Lair(code="y")]),
        "lairs": [Lair(code="z", name="Den"), Lair(name="Nest")],
        "rooms": {"Hall": Lair(code="h", name="Hall")},
        "anything": ["X", ["Y"]],
    }
    document["lair"]._document["other"] = "Text"
    return document | values


def stored(id: Any = 1, cls: Any = User) -> Any:
    """Return the stored document without its id."""
    found = cls.get_collection().find_one({"_id": id})
    return {k: v for k, v in found.items() if k != "_id"}


def held(frame: Any) -> dict[str, Any]:
    """Return what a frame holds, in plain dicts."""
    plain: dict[str, Any] = loom.frames.to_refs({**frame._document})
    plain.pop("_id", None)
    return plain


def put(id: Any = 1, **values: Any) -> None:
    """Store a document without Loom."""
    User.get_collection().insert_one({"_id": id, **values})


async def loaded(call: Runtime, id: Any = 1) -> Any:
    """Return a loaded frame."""
    return await call(User).by_id(id, required=True)


def updates(commands: Commands) -> list[Any]:
    """Return the update documents that were sent."""
    bodies = [body for body in commands.bodies if "update" in body]
    return [update["u"] for body in bodies for update in body["updates"]]


# Writing new frames


async def test_insert(call: Runtime) -> None:
    """Text is stored in its case in every place; the frame holds what is stored."""
    user = User(_id=1, **written())
    await call(user).insert()

    assert STORED == stored() == held(user)


async def test_insert_many(call: Runtime) -> None:
    """Frames and dicts are given their case in one batch."""
    users = await call(User).insert_many([User(_id=1, **written()), {"_id": 2, **written()}])

    assert STORED == stored(1) == stored(2) == held(users[0]) == held(users[1])


async def test_upsert_and_save_of_new_frames(call: Runtime) -> None:
    """What inserts a frame gives it its case, too."""
    one, other = User(_id=1, email="A"), User(email="B")
    await call(one).upsert()
    await call(other).save()

    assert ({"email": "a"}, {"email": "b"}) == (stored(), stored(other._id))
    assert ("a", "b") == (one.email, other.email)


async def test_children(call: Runtime) -> None:
    """A child's own marks hold beside its parents', also in a batch of the parent's collection."""

    class Guest(Member):
        _collection = "User"

    await call(Member(_id=1, alias="x", email="A")).insert()
    await call(User).insert_many([Guest(_id=1, alias="x", email="A")])

    assert {"alias": "X", "email": "a"} == stored(1, Member) == stored(1)


async def test_defaults_are_given_their_case(call: Runtime) -> None:
    """Defaults are filled in before."""

    class Keeper(Frame):
        email: StrLower = "Nobody"
        tags: list[StrLower] = default(lambda: ["New"])

    keeper = Keeper(_id=1)
    await call(keeper).insert()

    assert {"email": "nobody", "tags": ["new"]} == stored(1, Keeper) == held(keeper)


async def test_ids(call: Runtime, commands: Commands) -> None:
    """An `_id` is given its case when it is stored, looked for in it, and stays what it is."""

    class Word(Frame):
        _id: StrLower
        note: StrLower

    word = Word(_id="ONE", note="A")
    await call(word).insert()
    Word.get_collection().insert_one({"_id": "TWO"})
    word.note = "B"
    await call(word).update()
    await call(Word).update_many([Word(_id="TWO", note="C")])

    assert "one" == word._id
    assert "b" == (await call(Word).by_id("One", required=True)).note
    assert ["one"] == [found._id for found in await call(Word).by_ids(["ONE", "three"])]
    assert {"note": "c"} == stored("TWO", Word)

    await call(Word(_id="ONE", note="D")).upsert()
    await call(Word(_id="Three", note="E")).upsert()

    assert ({"note": "d"}, {"note": "e"}) == (stored("one", Word), stored("three", Word))


class Term(Frame):
    """A document whose `_id` has one case."""

    _id: StrLower
    note: StrLower
    uses: int


WITH_A_TERM: dict[str, Any] = {
    "update": lambda call, term: call(term).update("note"),
    "save": lambda call, term: call(term).save(),
    "unset": lambda call, term: call(term).unset("note"),
    "inc": lambda call, term: call(term).inc("uses"),
    "change": lambda call, term: call(term).change({"$set": {"note": "x"}}),
    "reload": lambda call, term: call(term).reload(),
    "delete": lambda call, term: call(term).delete(),
    "update_many": lambda call, term: call(Term).update_many([term], "note"),
    "unset_many": lambda call, term: call(Term).unset_many([term], "note"),
    "delete_many": lambda call, term: call(Term).delete_many([{"_id": "three"}, term]),
}


@pytest.mark.parametrize("operation", WITH_A_TERM)
async def test_ids_in_another_case(call: Runtime, operation: str) -> None:
    """What is done with a frame whose `_id` is not as stored is refused, and says how it is."""
    Term.get_collection().insert_many([{"_id": "one", "note": "a"}, {"_id": "TWO", "note": "a"}])
    told: list[Any] = []
    Term.listen("delete", lambda sender, frames: told.extend(frames))
    work = WITH_A_TERM[operation]

    with pytest.raises((Gone, BulkError), match="_id='ONE'.*stored with _id='one'"):
        await work(call, Term(_id="ONE", note="b"))
    assert {"note": "a"} == stored("one", Term)
    assert [] == told
    term = Term.get_collection().find_one({"_id": "TWO"})
    await work(call, Term({**term, "note": "b"}))  # stored before the field was marked


async def test_ids_that_are_gone(call: Runtime, commands: Commands) -> None:
    """A delete of what is stored in no case is no error, as ever."""
    await call(Term(_id="ONE")).delete()
    await call(Term).delete_many([Term(_id="ONE"), Term(_id="TWO")])

    assert ["find", "delete", "find", "delete"] == commands.names


async def test_bulk_upserts_of_ids(call: Runtime) -> None:
    """A bulk upserts what is stored under an `_id` as it is, and else in its case."""
    Term.get_collection().insert_many([{"_id": "one", "note": "a"}, {"_id": "TWO", "note": "a"}])
    terms = [Term(_id="ONE", note="B"), Term(_id="TWO", note="C"), Term(_id="Three", note="D")]
    if call.is_async:
        async with Term.aio.bulk() as awaited:
            for term in terms:
                await awaited.upsert(term)
    else:
        with Term.bulk() as bulk:
            for term in terms:
                bulk.upsert(term)

    assert {"one": "b", "TWO": "c", "three": "d"} == {
        document["_id"]: document["note"] for document in Term.get_collection().find()
    }


# Updating


@pytest.mark.parametrize("operation", ["update", "upsert", "save"])
async def test_updates(call: Runtime, operation: str) -> None:
    """Updates without names give all that is written its case."""
    put(plain="Old")
    user = User(_id=1, **written())
    await getattr(call(user), operation)()

    assert STORED == stored() == held(user)


async def test_update_many(call: Runtime) -> None:
    """Batches give each frame its case, with and without names."""
    put(1)
    put(2)
    users = [User(_id=1, **written()), User(_id=2, **written(email="B", code="c"))]
    await call(User).update_many(users, "email", "lair.code")

    assert {"email": "ann@example.com", "lair": {"code": "X1"}} == stored(1)
    assert {"email": "b", "lair": {"code": "X1"}} == stored(2)

    await call(User).update_many(users)

    assert (STORED, STORED | {"email": "b", "code": "C"}) == (stored(1), stored(2))


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("email", {"email": "ann@example.com"}),
        ("nick", {"nick": None}),
        ("tags", {"tags": ["new", "old", None, 5]}),
        ("tags.0", {"tags.0": "new"}),
        ("rows.1.1", {"rows.1.1": "c"}),
        ("words", {"words": {"Key": "value", "n": 1}}),
        ("words.Key", {"words.Key": "value"}),
        ("lair.code", {"lair.code": "X1"}),
        ("lair.name", {"lair.name": "Cave"}),
        ("lair.annexes", {"lair.annexes": [{"code": "Y"}]}),
        ("lair.annexes.0.code", {"lair.annexes.0.code": "Y"}),
        ("lairs.0", {"lairs.0": {"code": "Z", "name": "Den"}}),
        ("rooms.Hall.code", {"rooms.Hall.code": "H"}),
        ("plain", {"plain": "Plain"}),
    ],
)
async def test_named_fields(
    call: Runtime, commands: Commands, field: str, sent: dict[str, Any]
) -> None:
    """A named field is given its case; what is not named is neither written nor touched."""
    put(1, email="Other")
    user = User(_id=1, **written())
    before = held(User(written()))
    commands.clear()
    await call(user).update(field)
    root = field.partition(".")[0]

    assert [{"$set": sent}] == [loom.frames.to_refs(update) for update in updates(commands)]
    assert {k: v for k, v in before.items() if k != root} == {
        k: v for k, v in held(user).items() if k != root
    }


async def test_an_item_of_a_tuple(call: Runtime) -> None:
    """What cannot be changed in place is replaced."""
    put(1, tags=["x", "y"])
    user = User(_id=1, tags=("A", "B"))
    await call(user).update("tags.1")

    assert {"tags": ["x", "b"]} == stored()
    assert ("a", "b") == user.tags


async def test_what_is_not_named_stays_as_others_stored_it(call: Runtime) -> None:
    """A field that holds old text in another case is not written by the way."""
    put(1, email="Old", plain="a", tags=["Old"])
    user = await loaded(call)
    assert ["Old"] == user.tags
    User.get_collection().update_one({"_id": 1}, {"$set": {"email": "new", "tags": ["new"]}})
    user.plain = "b"
    await call(user).update("plain")

    assert {"email": "new", "plain": "b", "tags": ["new"]} == stored()

    user.plain = "c"
    await call(user).save()

    assert {"email": "new", "plain": "c", "tags": ["new"]} == stored()


async def test_save_sends_what_was_edited(call: Runtime, commands: Commands) -> None:
    """`save` gives what was assigned and edited in place its case, and sends nothing else."""
    put(1, email="Old", tags=["a"], lair={"code": "X", "name": "N"}, plain="P")
    user = await loaded(call)
    user.tags.append("NEW")
    user.lair.code = "y"
    user.nick = "Nick"
    commands.clear()
    await call(user).save()

    assert [{"$set": {"lair.code": "Y", "nick": "nick", "tags": ["a", "new"]}}] == [
        {"$set": dict(sorted(update["$set"].items()))} for update in updates(commands)
    ]
    commands.clear()
    await call(user).save()

    assert [] == commands.sent


async def test_unset(call: Runtime) -> None:
    """Removing a field writes no other one."""
    put(1, email="Old", nick="Nick", plain="P")
    user = await loaded(call)
    await call(user).unset("nick")
    await call(User).unset_many([user], "plain")

    assert {"email": "Old"} == stored()


async def test_a_frame_loaded_in_part(call: Runtime) -> None:
    """What was fetched in part is written in part, in its case."""
    put(1, email="Old", lair={"code": "A", "name": "N"}, tags=["a", "b"])
    user = await call(User).one(projection={"lair": {"$sub": Lair, "code": True}})
    user.lair.code = "b"
    await call(user).update("lair")

    assert {"email": "Old", "lair": {"code": "B", "name": "N"}, "tags": ["a", "b"]} == stored()


async def test_bulk(call: Runtime) -> None:
    """What a bulk writer sends is in its case."""
    put(1)
    put(2)
    for number, send in enumerate(("update", "upsert", "insert"), 1):
        bulk = call(User).bulk() if call.is_async else User.bulk()
        document = {"_id": number, **written()}
        if call.is_async:
            async with bulk:
                await getattr(bulk, send)(document)
        else:
            with bulk:
                getattr(bulk, send)(document)

        assert STORED == stored(number)


# Changes on the server


async def test_change(call: Runtime) -> None:
    """Update documents are given their case; the frame holds what came back."""
    put(1, tags=["a"], lairs=[{"code": "A"}], email="x", code="B", rows=[], words={})
    user = await loaded(call)
    changes = {
        "$set": {"email": "ANN", "lairs.0.code": "z", "words.K": "V", "plain": "P"},
        "$push": {"tags": {"$each": ["B", 5], "$slice": -5}, "rows": ["X"]},
        "$min": {"code": "a"},
        "$inc": {"mixed": 1},
    }
    kept = str(changes)
    await call(user).change(changes)

    assert kept == str(changes)
    assert {
        "tags": ["a", "b", 5],
        "lairs": [{"code": "Z"}],
        "email": "ann",
        "code": "A",
        "rows": [["x"]],
        "words": {"K": "v"},
        "plain": "P",
        "mixed": 1,
    } == stored()
    assert ("ann", ["a", "b", 5]) == (user.email, user.tags)
    await call(user).change({"$pull": {"tags": {"$in": ["A"]}, "lairs": {"code": "z"}}})
    await call(user).change({"$addToSet": {"tags": "B"}, "$pullAll": {"rows": [["X"]]}})

    assert (["b", 5], [], []) == (user.tags, user.lairs, user.rows)


async def test_change_by_a_pipeline(call: Runtime) -> None:
    """Values in stages are given their case."""
    put(1, email="a", plain="B")
    user = await loaded(call)
    await call(user).change([{"$set": {"email": "ANN", "code": {"$toUpper": "$plain"}}}])

    assert ("ann", "B") == (user.email, user.code)


async def test_take(call: Runtime) -> None:
    """`take` finds and writes text in its case."""
    put(1, email="ann", plain="P")
    user = await call(User).take({"email": "ANN"}, {"$set": {"email": "BOB"}})

    assert "bob" == user.email == stored()["email"]


async def test_update_where(call: Runtime) -> None:
    """`update_where` finds and writes text in its case."""
    put(1, email="ann", code="A")
    put(2, email="bob", code="A")
    changed = await call(User).update_where(Q.email == "ANN", {"$set": {"code": "b"}})

    assert (1, "B", "A") == (changed, stored(1)["code"], stored(2)["code"])


async def test_conditions_of_writes(call: Runtime) -> None:
    """`where` looks for text in its case."""
    put(1, email="ann", plain="a")
    user = await loaded(call)
    user.plain = "b"
    await call(user).update("plain", where=Q.email == "ANN")

    assert "b" == stored()["plain"]
    assert 1 == await call(User).delete_where({"email": {"$in": ["Ann"]}})


async def test_text_that_the_server_would_make(call: Runtime, commands: Commands) -> None:
    """What cannot be given its case here is refused, and nothing is sent."""
    put(1, email="a", plain="B")
    user = await loaded(call)
    commands.clear()
    with pytest.raises(QueryError, match=r"User.email: expected a value, .* got '\$plain'"):
        await call(user).change([{"$set": {"email": "$plain"}}])
    with pytest.raises(QueryError, match="User.email: expected text in its case, got that of 'pl"):
        await call(user).change({"$rename": {"plain": "email"}})

    assert [] == commands.sent


# Listeners


async def test_it_is_an_ordinary_listener(call: Runtime) -> None:
    """It can be listed, muted and stopped, and listens only where something is marked."""

    class Pet(Frame):
        name: str

    put(1)
    assert [normalise] == events.listening("insert", User) == events.listening("update", User)
    assert [] == events.listening("insert", Pet)
    assert normalise not in events.listening("delete", User)
    user = User(_id=1, email="Ann")
    with muted(normalise):
        await call(user).update()

    assert "Ann" == user.email == stored()["email"]

    User.stop_listening("update", normalise)
    await call(user).update()

    assert ("Ann", []) == (stored()["email"], events.listening("update", User))


def test_it_can_be_called() -> None:
    """Called by hand it changes the frames."""
    user = User(email="Ann", tags=["A"], nick="N")
    normalise(User, [user])

    assert {"email": "ann", "tags": ["a"], "nick": "n"} == held(user)

    user.email, user.nick = "Bob", "B"
    normalise(User, [user], fields=["email"])

    assert ("bob", "B") == (user.email, user.nick)


async def test_it_comes_after_other_listeners(call: Runtime, commands: Commands) -> None:
    """What a listener assigns or edits in place is given its case, also when others are named."""

    def touch(sender: Any, frames: list[User]) -> None:
        for frame in frames:
            frame.email = "ANN"
            frame.tags.append("NEW")
            frame.lair.code = "y"
            frame["nick"] = "NICK"
        frames.clear()  # its own list

    put(1, email="Old", code="Legacy", tags=["Old"], lair={"code": "A", "name": "N"}, plain="p")
    user = await loaded(call)
    User.listen("update", touch)
    user.plain = "q"
    await call(user).update("plain")

    assert {
        "email": "ann",
        "code": "Legacy",
        "tags": ["old", "new"],
        "lair": {"code": "Y", "name": "N"},
        "nick": "nick",
        "plain": "q",
    } == stored()
    assert (["old", "new"], "Y") == (user.tags, user.lair.code)


async def test_listeners_of_changes(call: Runtime) -> None:
    """What a listener does to the frame beside a change is given its case."""

    def touch(sender: Any, frames: list[User]) -> None:
        frames[0].nick = "NICK"

    put(1, email="a", mixed=1)
    user = await loaded(call)
    User.listen("update", touch)
    await call(user).inc("mixed")

    assert {"email": "a", "mixed": 2, "nick": "nick"} == stored()


async def test_listeners_of_inserts(call: Runtime) -> None:
    """What a listener assigns before an insert is given its case."""

    def touch(sender: Any, frames: list[User]) -> None:
        frames[0].tags = ["NEW"]
        frames.clear()

    User.listen("insert", touch)
    await call(User(_id=1, email="A")).insert()

    assert {"email": "a", "tags": ["new"]} == stored()


# Values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Straße", "straße"),
        ("İ", "i̇"),
        ("ΟΔΟΣ", "οδος"),
        (Markup("A"), "a"),
        (Shade.DARK, "dark"),
        (Hue.RED, "red"),
        (PurePosixPath("/A/b"), "/a/b"),
        (("A", "b"), ("a", "b")),
        (Pair("A", "B"), Pair("a", "b")),
        ({"A"}, {"a"}),
        (frozenset({"A", "a"}), frozenset({"a"})),
        (b"A", b"A"),
        (5, 5),
        (None, None),
        ([["A"], "B"], [["a"], "b"]),
    ],
)
async def test_values(call: Runtime, value: Any, expected: Any) -> None:
    """Whatever is stored as text is given its case; all else is left alone."""
    user = User(_id=1, anything=value)
    await call(user).insert()

    assert expected == user.anything
    assert type(expected) is type(user.anything)
    if isinstance(expected, str):
        assert expected == stored()["anything"]


@pytest.mark.parametrize(
    "value", ["a", Markup("a"), Hue.DEEP, PurePosixPath("/a"), ("a", 1), {"a"}, ["a"], {"k": "a"}]
)
def test_values_in_their_case_stay(value: Any) -> None:
    """What has its case already is the same object afterwards."""
    user = User(anything=value)
    normalise(User, [user])

    assert value is user.anything


def test_mappings() -> None:
    """A map of another type is replaced only if text in it changes; ordered dicts stay."""
    same, other = MappingProxyType({"k": "a"}), MappingProxyType({"k": "A"})
    ordered = OrderedDict(k="A")
    user = User(words=same)
    normalise(User, [user])
    assert same is user.words

    user.words = other
    normalise(User, [user])
    assert {"k": "a"} == user.words
    assert {"k": "A"} == other

    user.words = ordered
    normalise(User, [user])
    assert ordered is user.words
    assert "a" == ordered["k"]


async def test_a_document_that_holds_itself(call: Runtime) -> None:
    """A circle is refused by the encoder, whose message names the path."""
    lair = Lair(code="x")
    lair.annexes = [lair]
    with pytest.raises(loom.EncodeError, match=r"User.*lair"):
        await call(User(_id=1, lair=lair)).insert()


@pytest.mark.parametrize("operation", ["update", "save"])
async def test_a_failed_update(call: Runtime, operation: str) -> None:
    """An update that finds no document leaves the frame's text in its case, to be sent again."""
    user = User(_id=1, email="Ann")
    with pytest.raises(Gone):
        await getattr(call(user), operation)()
    put(1)
    await getattr(call(user), operation)()

    assert {"email": "ann"} == stored()


# Any document

ANY_TEXT = st.text("aAßİΣς", max_size=3) | st.none() | st.integers(0, 3)


def documents(depth: int = 2) -> Any:
    """Return a strategy of documents like those of a lair."""
    optional: dict[str, Any] = {"code": ANY_TEXT, "name": ANY_TEXT, "other": ANY_TEXT}
    if depth:
        optional["annexes"] = st.lists(documents(depth - 1), max_size=2)
    return st.fixed_dictionaries({}, optional=optional)


ANY = st.fixed_dictionaries(
    {},
    optional={
        "email": ANY_TEXT,
        "code": ANY_TEXT,
        "plain": ANY_TEXT,
        "tags": st.lists(ANY_TEXT, max_size=3),
        "rows": st.lists(st.lists(ANY_TEXT, max_size=2), max_size=2),
        "words": st.dictionaries(st.sampled_from(["K", "l"]), ANY_TEXT),
        "lair": documents(),
        "lairs": st.lists(documents(1), max_size=2),
        "rooms": st.dictionaries(st.sampled_from(["K", "l"]), documents(0)),
    },
)


def modelled(value: Any, name: str = "") -> Any:
    """Return what a model stores: here the names of fields decide, wherever they are."""
    if isinstance(value, dict):
        return {k: modelled(v, name if name == "words" else k) for k, v in value.items()}
    if isinstance(value, list):
        return [modelled(member, name) for member in value]
    if not isinstance(value, str):
        return value
    return {"code": value.upper(), "name": value, "other": value, "plain": value}.get(
        name, value.lower()
    )


def with_sub_frames(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with a sub-frame and with one in a list."""
    copied = copy.deepcopy(document)
    if "lair" in copied:
        copied["lair"] = Lair(copied["lair"])
    copied["lairs"] = [Lair(member) for member in copied.get("lairs", [])]
    return copied


@given(ANY)
def test_any_document(document: dict[str, Any]) -> None:
    """Whatever a document holds: all marked text in it is given its case, and nothing else."""
    expected = modelled(document)
    plain = User(copy.deepcopy(document))
    user = User(with_sub_frames(document))
    for _ in range(2):  # the second time nothing changes
        normalise(User, [plain, user])

        assert expected == held(plain)
        assert expected | {"lairs": expected.get("lairs", [])} == held(user)

    assert {"$set": expected} == normalise_changes(User, {"$set": document})
