"""Time stamps that annotations declare."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from loom import (
    Conflict,
    Frame,
    Q,
    StrLower,
    SubFrame,
    TimeInserted,
    TimeUpdated,
    default,
    muted,
)
from loom.frames import events, stamping
from loom.frames.stamping import now, stamp_inserted, stamp_updated

from .conftest import Commands, Runtime

EARLY = datetime(2001, 2, 3, 4, 5, 6, 789000, timezone.utc)
OTHER = datetime(2010, 1, 1, tzinfo=timezone.utc)


class Post(Frame):
    """Has both kinds of stamps."""

    title: str
    text: str
    hits: int
    tags: list[str]
    created: TimeInserted
    modified: TimeUpdated | None
    touched: TimeUpdated


class Note(Frame):
    """Is stamped once."""

    title: str
    created: TimeInserted


class Reply(Post):
    """A child with a stamp of its own."""

    _collection = "Post"
    answered: TimeInserted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """A clock that is a second later with every look: the times that it showed."""
    shown: list[datetime] = []

    def look() -> datetime:
        shown.append(EARLY + timedelta(seconds=len(shown)))
        return shown[-1]

    monkeypatch.setattr(stamping, "now", look)
    return shown


def stored(id: Any = 1) -> Any:
    """Return the stored document."""
    return Post.get_collection().find_one({"_id": id})


def put(id: Any = 1, **values: Any) -> None:
    """Store a document without Loom."""
    Post.get_collection().insert_one({"_id": id, **values})


def stamps(time: datetime) -> dict[str, datetime]:
    """Return what an update writes."""
    return {"modified": time, "touched": time}


def test_now() -> None:
    """A stamp is aware, in UTC, and has no more than milliseconds."""
    before = datetime.now(timezone.utc)
    time = now()

    assert timezone.utc is time.tzinfo
    assert 0 == time.microsecond % 1000
    assert before - timedelta(milliseconds=1) <= time <= datetime.now(timezone.utc)


async def test_insert(call: Runtime) -> None:
    """A new document has one instant in all its stamps; the frame holds what is stored."""
    post = Post(_id=1, title="a")
    before = now()
    await call(post).insert()
    found = await call(Post).by_id(1)

    assert before <= post.created == post.modified == post.touched <= now()
    assert post._document == found._document == stored()


async def test_one_instant_for_a_batch(call: Runtime, clock: list[datetime]) -> None:
    """All documents of a batch have the same stamps; the clock is looked at once."""
    await call(Post).insert_many([Post(_id=1), {"_id": 2}, Reply(_id=3)])
    expected = {"created": EARLY, **stamps(EARLY)}

    assert [EARLY] == clock
    assert {"_id": 1, **expected} == stored()
    assert {"_id": 2, **expected} == stored(2)
    assert {"_id": 3, "answered": EARLY, **expected} == stored(3)


async def test_times_of_new_frames_are_kept(call: Runtime, clock: list[datetime]) -> None:
    """What was made elsewhere keeps its times; None is no time."""
    await call(Post).insert_many([Post(_id=1, created=OTHER, modified=OTHER, touched=None)])

    assert {"_id": 1, "created": OTHER, "modified": OTHER, "touched": EARLY} == stored()


async def test_defaults_go_first(call: Runtime, clock: list[datetime]) -> None:
    """A default is a time that the frame has."""

    class Page(Frame):
        created: TimeInserted = default(lambda: OTHER)
        modified: TimeUpdated | None = None

    page = Page()
    await call(page).insert()

    assert (OTHER, EARLY) == (page.created, page.modified)


@pytest.mark.parametrize("fields", [(), ("title",), ("title", "text")])
async def test_update(call: Runtime, clock: list[datetime], fields: tuple[str, ...]) -> None:
    """Every update is stamped, with the fields that it names or without names."""
    put(created=OTHER, modified=OTHER, title="a", text="b")
    post = await call(Post).one()
    post.title = "c"
    await call(post).update(*fields)

    expected = {"_id": 1, "title": "c", "text": "b", "created": OTHER, **stamps(EARLY)}
    assert expected == stored() == post._document


async def test_save(call: Runtime, commands: Commands, clock: list[datetime]) -> None:
    """`save` stamps what it sends, and sends nothing when nothing was changed."""
    put(title="a", tags=[], created=OTHER, modified=OTHER)
    post = await call(Post).one()
    commands.clear()
    await call(post).save()

    assert [] == commands.sent == clock

    post.tags.append("new")
    await call(post).save()

    assert {"_id": 1, "title": "a", "tags": ["new"], "created": OTHER, **stamps(EARLY)} == stored()

    await call(post).save()

    assert [EARLY] == clock


async def test_update_many(call: Runtime, clock: list[datetime]) -> None:
    """Batches of updates have one instant, with and without names."""
    put(1, title="a", text="x")
    put(2, title="b", text="y")
    posts = await call(Post).many(sort="_id")
    await call(Post).update_many(posts, "title")

    assert [EARLY] == clock
    assert {"_id": 1, "title": "a", "text": "x", **stamps(EARLY)} == stored()
    assert {"_id": 2, "title": "b", "text": "y", **stamps(EARLY)} == stored(2)

    await call(Post).update_many(posts)

    assert stamps(clock[1]).items() <= stored().items()
    assert 2 == len(clock)


async def test_unset(call: Runtime, clock: list[datetime]) -> None:
    """Removing fields is an update; a stamp can be removed, too."""
    put(1, title="a", text="x", touched=OTHER)
    post = await call(Post).one()
    await call(post).unset("text")

    assert {"_id": 1, "title": "a", **stamps(EARLY)} == stored() == post._document

    await call(Post).unset_many([post], "title", "touched")

    assert {"_id": 1, "modified": clock[1]} == stored() == post._document


async def test_upsert(call: Runtime, clock: list[datetime]) -> None:
    """An upsert stamps as what it does: insert or update."""
    post = Post(_id=1, title="a")
    await call(post).upsert()

    assert {"_id": 1, "title": "a", "created": EARLY, **stamps(EARLY)} == stored()

    post.title = "b"
    await call(post).upsert()

    assert {"_id": 1, "title": "b", "created": EARLY, **stamps(clock[-1])} == stored()


async def test_changes_on_the_server(call: Runtime, clock: list[datetime]) -> None:
    """`inc`, `change` and `take` are stamped in the same step, and bring the stamp back."""
    put(1, title="a", hits=1, created=OTHER)
    post = await call(Post).one()
    await call(post).inc("hits")
    assert {"_id": 1, "title": "a", "hits": 2, "created": OTHER, **stamps(clock[-1])} == stored()
    assert clock[-1] == post.modified

    await call(post).change({"$push": {"tags": "x"}})
    assert stamps(clock[-1]).items() <= stored().items()
    assert clock[-1] == post.modified

    await call(post).change([{"$set": {"title": {"$toUpper": "$title"}}}])
    assert stamps(clock[-1]).items() <= stored().items()
    assert ("A", clock[-1]) == (post.title, post.modified)

    taken = await call(Post).take({"hits": 2}, {"$set": {"hits": 0}})
    assert clock[-1] == taken.modified == stored()["modified"]
    assert 4 == len({*clock})


async def test_changes_that_write_a_stamp(call: Runtime, clock: list[datetime]) -> None:
    """A change that writes the field itself is left as it is."""
    put(1, title="a", modified=EARLY, touched=EARLY)
    post = await call(Post).one()
    await call(post).change({"$set": {"modified": OTHER}, "$unset": {"touched": True}})

    assert {"_id": 1, "title": "a", "modified": OTHER} == stored()

    await call(post).change([{"$set": {"touched": OTHER}}, {"$unset": "modified"}])

    assert {"_id": 1, "title": "a", "touched": OTHER} == stored()


async def test_update_where(call: Runtime, clock: list[datetime]) -> None:
    """Writes by filter are stamped."""
    put(1, title="a")
    put(2, title="b")
    put(3, title="c")
    changed = await call(Post).update_where(Q.title < "c", {"$set": {"text": "x"}})

    assert 2 == changed
    assert {"_id": 1, "title": "a", "text": "x", **stamps(clock[0])} == stored()
    assert {"_id": 2, "title": "b", "text": "x", **stamps(clock[-1])} == stored(2)
    assert {"_id": 3, "title": "c"} == stored(3)


async def test_a_class_without_update_stamps(call: Runtime, clock: list[datetime]) -> None:
    """`TimeInserted` alone costs updates nothing, and is not written by them."""
    note = Note(_id=1, title="a")
    await call(note).insert()
    note.title = "b"
    await call(note).update()

    assert [EARLY] == clock
    assert {"_id": 1, "title": "b", "created": EARLY} == Note.get_collection().find_one()
    assert [] == events.listening("update", Note)


async def test_they_are_ordinary_listeners(call: Runtime, clock: list[datetime]) -> None:
    """They can be listed, muted and stopped."""
    put(1, modified=OTHER)
    assert [stamp_inserted] == events.listening("insert", Post)
    assert [stamp_updated] == events.listening("update", Post)
    post = await call(Post).one()
    with muted(stamp_updated):
        await call(post).update()
    with muted(stamp_inserted):
        await call(Post(_id=2)).insert()

    assert ({"_id": 1, "modified": OTHER}, {"_id": 2}) == (stored(), stored(2))

    Post.stop_listening("update", stamp_updated)
    await call(post).update()

    assert {"_id": 1, "modified": OTHER} == stored()
    assert [] == clock


def test_they_can_be_called(clock: list[datetime]) -> None:
    """Called by hand they change frames, or the changes."""
    post, reply = Post(title="a"), Reply()
    stamp_inserted(Post, [post, reply])
    assert [EARLY] * 4 == [post.created, post.modified, reply.answered, reply.created]

    stamp_updated(Post, [post])
    assert (EARLY, clock[-1]) == (post.created, post.modified)

    changes: list[Any] = [{"$inc": {"hits": 1}}, [{"$unset": ["title"]}]]
    stamp_updated(Post, [post], changes)

    assert [
        {"$inc": {"hits": 1}, "$set": stamps(clock[-1])},
        [{"$unset": ["title"]}, {"$set": stamps(clock[-1])}],
    ] == changes
    assert clock[1] == post.modified


async def test_they_come_after_other_listeners(call: Runtime, clock: list[datetime]) -> None:
    """What others set is seen: a time that a listener gives to a new frame is kept."""

    def give(sender: Any, frames: list[Post]) -> None:
        for frame in frames:
            frame.created = frame.modified = OTHER

    Post.listen("insert", give)
    Post.listen("update", give)
    post = Post(_id=1)
    await call(post).insert()
    assert {"_id": 1, "created": OTHER, "modified": OTHER, "touched": EARLY} == stored()

    post.title = "a"
    await call(post).update("title")
    assert {"_id": 1, "title": "a", "created": OTHER, **stamps(clock[-1])} == stored()


async def test_a_refused_update(call: Runtime, clock: list[datetime]) -> None:
    """An update whose condition fails writes no stamp."""
    put(1, title="a", modified=OTHER)
    post = await call(Post).one()
    post.title = "b"
    with pytest.raises(Conflict):
        await call(post).update("title", where=Q.title == "x")

    assert {"_id": 1, "title": "a", "modified": OTHER} == stored()


async def test_projections_without_stamps(call: Runtime, clock: list[datetime]) -> None:
    """A frame that was loaded without its stamps is stamped all the same."""
    put(1, title="a", created=OTHER, modified=OTHER)
    post = await call(Post).one(projection={"title": True})
    post.title = "b"
    await call(post).update("title")

    assert {"_id": 1, "title": "b", "created": OTHER, **stamps(EARLY)} == stored()


async def test_versions(call: Runtime, clock: list[datetime]) -> None:
    """A stamp and a counted version go together."""

    class Page(Frame):
        _version = "_v"
        title: str
        modified: TimeUpdated

    page = Page(_id=1, title="a")
    await call(page).insert()
    page.title = "b"
    await call(page).update("title")
    await call(page).change({"$set": {"title": "c"}})

    assert {"_id": 1, "_v": 3, "title": "c", "modified": clock[-1]} == (
        Page.get_collection().find_one()
    )


async def test_frames_with_sub_frames(call: Runtime, clock: list[datetime]) -> None:
    """A named path inside a sub-frame is written beside the stamp."""

    class Part(SubFrame):
        name: str

    class Whole(Frame):
        part: Part
        modified: TimeUpdated

    whole = Whole(_id=1, part=Part(name="a"))
    await call(whole).insert()
    whole.part.name = "b"
    await call(whole).update("part.name")

    assert {"_id": 1, "part": {"name": "b"}, "modified": clock[-1]} == (
        Whole.get_collection().find_one()
    )


async def test_children_in_a_batch_of_a_parent(call: Runtime, clock: list[datetime]) -> None:
    """The listeners of the class that is called are called; what a child adds is left as it is."""

    class Base(Frame):
        title: StrLower
        text: str

    class Child(Base):
        _collection = "Base"
        modified: TimeUpdated

    child = Child(_id=1, title="A", modified=OTHER, text="x")
    await call(Base).insert_many([child])
    child.title = "B"
    await call(Base).update_many([child, Base(_id=1, title="C")], "title")
    await call(Base).unset_many([child], "text")

    assert {"_id": 1, "title": "c", "modified": OTHER} == Base.get_collection().find_one()
    assert [] == clock


async def test_bulk(call: Runtime, clock: list[datetime]) -> None:
    """What a bulk writer sends is stamped."""
    put(1, title="a")
    put(2, title="a")
    posts = await call(Post).many(sort="_id")
    bulk = call(Post).bulk() if call.is_async else Post.bulk()
    for post in posts:
        post.title = "b"
    if call.is_async:
        async with bulk:
            await bulk.update(posts[0], "title")
            await bulk.insert(Post(_id=3))
            await bulk.upsert({"_id": 2, "title": "c"})
            await bulk.upsert({"_id": 4})
    else:
        with bulk:
            bulk.update(posts[0], "title")
            bulk.insert(Post(_id=3))
            bulk.upsert({"_id": 2, "title": "c"})
            bulk.upsert({"_id": 4})

    assert {"_id", "title", *stamps(EARLY)} == stored(1).keys() == stored(2).keys()
    assert {"_id", "created", *stamps(EARLY)} == stored(3).keys() == stored(4).keys()


async def test_an_upsert_that_comes_second(call: Runtime) -> None:
    """What an insert that was not to be has filled in is not written over what is stored."""

    class Visit(Frame):
        name: str
        created: TimeInserted
        kind: str = "new"

    then = datetime(2020, 1, 1, tzinfo=timezone.utc)

    def be_quicker(sender: Any, frames: Any) -> None:
        Visit.get_collection().insert_one({"_id": 1, "created": then, "kind": "old"})
        Visit.stop_listening("insert", be_quicker)

    Visit.listen("insert", be_quicker)
    await call(Visit(_id=1, name="Burt")).upsert()

    found = Visit.get_collection().find_one({"_id": 1})
    assert {"_id": 1, "name": "Burt", "created": then, "kind": "old"} == found
