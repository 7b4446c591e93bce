"""Counter caches: right after every write, in both runtimes, at once, and after faults."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

import loom
from loom import (
    BulkError,
    DefinitionError,
    FieldError,
    Frame,
    Gone,
    IncrCounter,
    ListenerError,
    Q,
    QueryError,
    Ref,
    SubFrame,
)
from loom.frames import events
from loom.frames.counters import CounterCache, Recount, counter_cache

from .conftest import Commands, Runtime, Server
from .faults import Faulty, Plan, clients


class Post(Frame):
    """Is commented on."""

    title: str
    comment_count: int = 0
    approved_count: int = 0
    modified: Any


class Meta(SubFrame):
    """Refers from inside."""

    post: Post


class Comment(Frame):
    """Refers to posts."""

    post: Any
    text: str
    approved: bool
    score: int
    meta: Meta
    metas: list[Meta]
    modified: Any


def cache(by: Any = "post", **options: Any) -> CounterCache:
    """Count the comments of a post."""
    return counter_cache(Post, "comment_count", of=Comment, by=by, **options)


def held(field: str = "comment_count") -> dict[str, Any]:
    """Return what the posts hold, by title."""
    return {d["title"]: d.get(field) for d in Post.get_collection().find(sort=[("title", 1)])}


async def posts(call: Runtime, titles: str = "ab") -> list[Post]:
    """Return stored posts."""
    found: list[Post] = await call(Post).insert_many([{"title": title} for title in titles])
    return found


# Every write


async def test_inserts_are_counted(call: Runtime, commands: Commands) -> None:
    """One and many, with one more command for each batch."""
    cache()
    a, b = await posts(call)
    commands.clear()
    await call(Comment(post=a)).insert()

    assert ["insert", "update"] == commands.names
    commands.clear()
    await call(Comment).insert_many([{"post": p} for p in (a, b, a, None)] + [{"text": "x"}])

    assert ["insert", "update"] == commands.names
    assert [1, 2] == sorted(u["u"]["$inc"]["comment_count"] for u in commands.bodies[1]["updates"])
    assert {"a": 3, "b": 1} == held()


async def test_a_frame_or_its_id(call: Runtime) -> None:
    """A reference is counted as a frame, as an id, and as one whose document is missing."""
    cache()
    a, b = await posts(call)
    await call(Comment).insert_many([{"post": a}, {"post": a._id}, {"post": ObjectId()}])
    first = await call(Comment).one(sort="_id", projection={"post": {"$ref": Post}})
    assert first.post == a
    copied = Comment({"post": first.post})
    await call(copied).insert()
    assert {"a": 3, "b": 0} == held()
    first.post = b
    await call(first).update()

    assert {"a": 2, "b": 1} == held()


async def test_updates_are_counted(call: Runtime, commands: Commands) -> None:
    """What was stored before counts, not what the frame held."""
    cache()
    a, b = await posts(call)
    comment = Comment(post=a, text="x")
    await call(comment).insert()
    stale = Comment({"_id": comment._id, "post": None})
    stale.post = b
    commands.clear()
    await call(stale).update("post")

    assert ["find", "update", "update"] == commands.names
    assert {"a": 0, "b": 1} == held()
    await call(stale).update()
    assert {"a": 0, "b": 1} == held()
    comment.text = "y"
    await call(comment).update()  # the stale reference is written, too
    assert {"a": 1, "b": 0} == held()
    comment.post = None
    await call(comment).save()
    assert {"a": 0, "b": 0} == held()
    comment.post = b
    await call(comment).save("post")
    assert {"a": 0, "b": 1} == held()
    await call(Comment(_id=comment._id, post=a)).upsert()
    assert {"a": 1, "b": 0} == held()
    await call(Comment(_id=7, post=a)).upsert()
    assert {"a": 2, "b": 0} == held()
    await call(Comment(_id=8, post=b)).update(upsert=True)
    assert {"a": 2, "b": 1} == held()


async def test_updates_of_other_fields_cost_nothing(call: Runtime, commands: Commands) -> None:
    """Nothing is read for an update that names other fields; a time stamp makes no difference."""
    cache()
    Comment.listen("update", Comment.timestamp_update)
    (a,) = await posts(call, "a")
    comment = Comment(post=a, text="x", score=0)
    await call(comment).insert()
    commands.clear()
    comment.text = "y"
    await call(comment).update("text")
    await call(comment).save("text")
    await call(comment).unset("text")
    await call(comment).inc("score")
    await call(Comment).update_many([comment], "score")

    assert ["find", "insert"] != commands.names
    assert not [name for name in commands.names if name == "find"]
    assert {"a": 1} == held()


async def test_listeners_may_change_the_reference(call: Runtime) -> None:
    """What a before-listener changes is counted, though the caller named another field."""
    cache()
    a, b = await posts(call)
    comment = Comment(post=a, text="x")
    await call(comment).insert()

    @Comment.listen("update")
    def move(frames: list[Comment]) -> None:
        for frame in frames:
            frame.post = b

    await call(comment).update("text")

    assert {"a": 0, "b": 1} == held()


async def test_unset_is_counted(call: Runtime) -> None:
    """One and many."""
    cache()
    a, b = await posts(call)
    comments = await call(Comment).insert_many([{"post": p} for p in (a, a, b)])
    await call(comments[0]).unset("post")
    assert {"a": 1, "b": 1} == held()
    await call(Comment).unset_many(comments, "post")
    assert {"a": 0, "b": 0} == held()


async def test_deletes_are_counted_once(call: Runtime, commands: Commands) -> None:
    """A document that is gone already is not counted down again, whatever the frame says."""
    cache()
    a, b = await posts(call)
    comments = await call(Comment).insert_many([{"post": p} for p in (a, a, b, b, a)])
    stale = Comment({"_id": comments[0]._id, "post": b})
    commands.clear()
    await call(stale).delete()
    assert ["find", "delete", "update"] == commands.names
    assert {"a": 2, "b": 2} == held()
    commands.clear()
    await call(stale).delete()
    await call(comments[0]).delete()
    assert "update" not in commands.names
    commands.clear()
    await call(Comment).delete_many([comments[0], comments[1], comments[2], comments[2]])
    assert ["find", "delete", "update"] == [n for n in commands.names if n != "aggregate"]
    assert {"a": 1, "b": 1} == held()
    await call(Comment).delete_many([Comment({"_id": comments[3]._id}), {"_id": comments[4]._id}])
    assert {"a": 0, "b": 0} == held()


async def test_changes_on_the_server_are_counted(call: Runtime) -> None:
    """`change` and `take` by assignment, by other operators, by renaming and by a pipeline."""
    cache()
    a, b = await posts(call)
    comment = Comment(post=[a._id], text="x")
    await call(comment).insert()
    await call(comment).change({"$push": {"post": b._id}})
    assert {"a": 1, "b": 1} == held()
    await call(comment).change({"$pull": {"post": a._id}})
    assert {"a": 0, "b": 1} == held()
    await call(comment).change({"$set": {"post": a, "text": "y"}})
    assert {"a": 1, "b": 0} == held()
    await call(comment).change([{"$set": {"post": b._id}}])
    assert {"a": 0, "b": 1} == held()
    await call(comment).change({"$rename": {"post": "text"}})
    assert {"a": 0, "b": 0} == held()
    await call(comment).change({"$set": {"post": a._id}, "$inc": {"score": 1}})
    taken = await call(Comment).take({}, {"$set": {"post": b._id}})
    assert comment == taken
    assert {"a": 0, "b": 1} == held()
    assert await call(Comment).take(Q.text == "none", {"$set": {"post": a._id}}) is None
    assert {"a": 0, "b": 1} == held()


async def test_writes_by_filter_are_counted(call: Runtime) -> None:
    """`update_where` and `delete_where`, in batches too."""
    cache()
    a, b = await posts(call)
    await call(Comment).insert_many([{"post": a, "score": n} for n in range(7)])
    assert 4 == await call(Comment).update_where(Q.score < 4, {"$set": {"post": b}}, batch_size=3)
    assert {"a": 3, "b": 4} == held()
    await call(Comment).update_where(Q.score == 0, [{"$set": {"post": a._id}}])
    assert {"a": 4, "b": 3} == held()
    await call(Comment).update_where({}, {"$inc": {"score": 1}}, all=True)
    assert 3 == await call(Comment).delete_where(Q.post == b, batch_size=2)
    assert {"a": 4, "b": 0} == held()


async def test_cascades_are_counted(call: Runtime) -> None:
    """What `cascade`, `nullify` and `pull` touch sends the same events."""
    cache()
    a, b = await posts(call)
    await call(Comment).insert_many([{"post": [a, b]}, {"post": [b]}])
    await call(Post).pull(Comment, "post", [a])
    assert {"a": 0, "b": 2} == held()
    await call(Comment(post=a)).insert()
    await call(Post).nullify(Comment, "post", [a])
    assert {"a": 0, "b": 2} == held()
    keeper = Comment(post=(await call(Comment).one(Q.post == b._id))._id)
    await call(Comment).cascade(Comment, "post", [keeper])
    assert {"a": 0, "b": 1} == held()


async def test_the_bulk_writer_is_counted(call: Runtime) -> None:
    """Mixed operations are counted flush by flush; of one that fails in part, what was written."""
    cache()
    a, b = await posts(call)
    old = await call(Comment).insert_many([{"_id": n, "post": a} for n in range(4)])
    for comment in old:
        comment.post = b
    new = [Comment(_id=n, post=b) for n in (3, 7, 8)]

    def works(bulk: Any) -> list[Callable[[], Any]]:
        return [
            lambda: bulk.update(old[0], "post"),
            lambda: bulk.insert(new[0]),
            lambda: bulk.insert(new[1]),
            lambda: bulk.delete(old[1]),
            lambda: bulk.upsert(new[2]),
        ]

    with contextlib.suppress(BulkError):
        if call.is_async:
            async with Comment.aio.bulk(ordered=False) as awaited:
                for work in works(awaited):
                    await work()
        else:
            with Comment.bulk(ordered=False) as bulk:
                for work in works(bulk):
                    work()
    assert {"a": 2, "b": 3} == held()
    assert {"a": 2, "b": 3} == {
        post.title: await call(Comment).count(Q.post == post) for post in (a, b)
    }


async def test_what_references_ask_for_is_counted(call: Runtime) -> None:
    """Documents that are deleted or released with what they refer to."""

    class Author(Frame):
        name: str

    class Letter(Frame):
        author: Annotated[Author, Ref(on_delete="cascade")]
        post: Annotated[Post, Ref(on_delete="nullify")]

    counter_cache(Post, "comment_count", of=Letter, by="post")
    a, b = await posts(call)
    ann, bob = await call(Author).insert_many([{"name": "Ann"}, {"name": "Bob"}])
    await call(Letter).insert_many(
        [{"author": author, "post": post} for author in (ann, bob) for post in (a, b, b)]
    )
    assert {"a": 2, "b": 4} == held()
    await call(ann).delete()
    assert {"a": 1, "b": 2} == held()
    await call(a).delete()
    assert {"b": 2} == held()
    assert 1 == await call(Letter).count({"post": None})


async def test_batches_that_fail_in_part(call: Runtime) -> None:
    """What was written is counted, and nothing else; the error is that of the batch."""
    cache()
    a, b = await posts(call)
    Comment.get_collection().create_index("text", unique=True, sparse=True)
    given = [{"post": a, "text": "1"}, {"post": a, "text": "1"}, {"post": b, "text": "2"}]
    with pytest.raises(BulkError):
        await call(Comment).insert_many([dict(d) for d in given], ordered=False)
    assert {"a": 1, "b": 1} == held()
    given = [{"post": a, "text": "3"}, {"post": a, "text": "3"}, {"post": b, "text": "4"}]
    with pytest.raises(BulkError):
        await call(Comment).insert_many([dict(d) for d in given])
    assert {"a": 2, "b": 1} == held()
    comments = await call(Comment).many(sort="text")
    for comment in comments:
        comment.post = b
    with pytest.raises(BulkError):
        await call(Comment).update_many([comments[0], Comment(_id=1, post=b), comments[1]])
    assert {"a": 1, "b": 2} == held()
    comments[2].text = "1"
    comments[2].post = a
    with pytest.raises(BulkError):
        await call(Comment).update_many([comments[2], comments[0]], "post", "text")
    assert {"a": 1, "b": 2} == held()
    with pytest.raises(Gone):
        await call(Comment(_id=1, post=b)).update()
    assert {"a": 1, "b": 2} == held()


async def test_the_same_document_twice_in_a_batch(call: Runtime) -> None:
    """The last of its changes counts."""
    cache()
    a, b = await posts(call)
    comment = Comment(_id=1, post=a)
    await call(comment).insert()
    await call(Comment).update_many([{"_id": 1, "post": b}, {"_id": 1, "post": a}])
    assert {"a": 1, "b": 0} == held()
    await call(Comment).update_many([{"_id": 1, "post": None}, {"_id": 1, "post": b}])
    assert {"a": 0, "b": 1} == held()


async def test_many_owners_and_many_documents(call: Runtime, commands: Commands) -> None:
    """Batches larger than a query's ids are read in chunks, and counted in one command."""
    cache()
    found = await posts(call, "abcdefghijklmnopqrstuvwxyzABCDEFGH")
    comments = await call(Comment).insert_many([{"post": found[n % 34]} for n in range(80)])
    for comment in comments:
        comment.post = found[0]
    commands.clear()
    await call(Comment).update_many(comments, "post")

    assert ["find"] * 4 + ["update", "update"] == commands.names
    assert 80 == held()["a"] == sum(held().values())


# What refers


def shapes(a: Any, b: Any) -> list[tuple[Any, int, int]]:
    """Return values at the reference, and how many they count for two posts."""
    return [
        (None, 0, 0),
        ([], 0, 0),
        ({}, 0, 0),
        (a._id, 1, 0),
        (ObjectId(), 0, 0),
        ("text", 0, 0),
        ([a, b], 1, 1),
        ([a, a, None, a._id], 1, 0),
        ({"x": a, "y": b._id}, 1, 1),
        ({"x": [a, b], "y": a}, 1, 1),
        ([{"x": a}, {"y": b}], 1, 1),
        ({"x": None, "y": 5}, 0, 0),
    ]


async def test_lists_and_maps_of_references(call: Runtime) -> None:
    """A document counts once for each post that it refers to; a recount agrees."""
    kept = cache()
    a, b = await posts(call)
    for value, in_a, in_b in shapes(a, b):
        comment = Comment(post=value)
        await call(comment).insert()
        assert {"a": in_a, "b": in_b} == held(), value
        assert 0 == (await recounted(call, kept)).wrong, value
        for other, in_a, in_b in shapes(a, b)[3::4]:
            comment.post = other
            await call(comment).update("post")
            assert {"a": in_a, "b": in_b} == held(), (value, other)
            comment.post = value
            await call(comment).update("post")
        await call(comment).delete()
        assert {"a": 0, "b": 0} == held(), value


async def recounted(call: Runtime, kept: CounterCache, *args: Any, **options: Any) -> Recount:
    """Recount in either runtime."""
    return await call(kept).recount(*args, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("by", ["meta.post", Q.meta.post])
async def test_references_inside_documents(call: Runtime, by: Any) -> None:
    """A dotted path, as text or as a condition's; the embedded document is written in many ways."""
    kept = cache(by)
    a, b = await posts(call)
    comment = Comment(meta=Meta(post=a))
    await call(comment).insert()
    assert {"a": 1, "b": 0} == held()
    comment.meta.post = b
    await call(comment).update("meta.post")
    assert {"a": 0, "b": 1} == held()
    comment.meta = Meta(post=a)
    await call(comment).save()
    assert {"a": 1, "b": 0} == held()
    await call(comment).unset("meta.post")
    assert {"a": 0, "b": 0} == held()
    await call(comment).change({"$set": {"meta.post": b._id}})
    assert {"a": 0, "b": 1} == held()
    assert Recount(2, 0, 0) == await recounted(call, kept)
    await call(comment).unset("meta")
    assert {"a": 0, "b": 0} == held()
    await call(comment).change({"$set": {"meta.post": a._id}})
    await call(comment).change({"$set": {"meta": None}})
    assert {"a": 0, "b": 0} == held()


async def test_references_in_lists_of_documents(call: Runtime) -> None:
    """Each document of the list is looked into."""
    kept = cache("metas.post")
    a, b = await posts(call)
    comment = Comment(metas=[Meta(post=a), Meta(post=a), Meta()])
    await call(comment).insert()
    assert {"a": 1, "b": 0} == held()
    await call(comment).change({"$set": {"metas.1.post": b._id}})
    assert {"a": 1, "b": 1} == held()
    comment.metas = [Meta(post=b)]
    await call(comment).save()
    assert {"a": 0, "b": 1} == held()
    assert Recount(2, 0, 0) == await recounted(call, kept)


async def test_ids_of_any_type(call: Runtime) -> None:
    """Numbers are equal across types, as to the server; documents may be ids."""
    kept = cache()
    ids: list[Any] = [1, "1", {"shop": 7, "number": 2}]
    await call(Post).insert_many([{"_id": id, "title": str(n)} for n, id in enumerate(ids)])
    given = [1, 1.0, True, "1", ids[2], [1, 1.0, ids[2]], {"x": "1"}]
    comments = await call(Comment).insert_many([{"post": value} for value in given])
    assert {"0": 3, "1": 2, "2": 2} == held()
    assert Recount(3, 0, 0) == await recounted(call, kept)
    await call(Comment).delete_many(comments)
    assert {"0": 0, "1": 0, "2": 0} == held()


async def test_a_reference_that_is_the_id(call: Runtime) -> None:
    """One document for each owner, under its id; or an id that holds the reference."""

    class Summary(Frame):
        text: str

    class Vote(Frame):
        value: int

    whole = counter_cache(Post, "comment_count", of=Summary, by="_id")
    inside = counter_cache(Post, "approved_count", of=Vote, by="_id.post")
    (a,) = await posts(call, "a")
    await call(Summary(_id=a._id)).insert()
    votes = await call(Vote).insert_many([{"_id": {"post": a._id, "user": n}} for n in range(3)])
    await call(votes[0]).delete()

    assert ({"a": 1}, {"a": 2}) == (held(), held("approved_count"))
    assert Recount(1, 0, 0) == await recounted(call, whole) == await recounted(call, inside)


async def test_owners_that_are_not_there(call: Runtime) -> None:
    """Nobody is counted for, and nothing is made; a recount finds those that come later."""
    kept = cache()
    await call(Comment(post=5)).insert()
    assert {} == held()
    await call(Post(_id=5, title="a")).insert()
    assert {"a": 0} == held()
    assert Recount(1, 1, 0) == await recounted(call, kept)
    assert {"a": 1} == held()


async def test_documents_that_refer_to_their_own_class(call: Runtime) -> None:
    """Replies to comments, for one."""

    class Note(Frame):
        parent: Note
        title: str
        replies: int = 0

    kept = counter_cache(Note, "replies", of=Note, by="parent")
    root = Note(title="root")
    await call(root).insert()
    one, two = await call(Note).insert_many([{"parent": root}, {"parent": root}])
    two.parent = one
    await call(two).update()
    await call(root).reload()
    await call(one).reload()

    assert (1, 1) == (root.replies, one.replies)
    assert Recount(3, 0, 0) == await recounted(call, kept)


async def test_children_of_the_counted_class(call: Runtime) -> None:
    """Those in the same collection are counted, those with a collection of their own are not."""

    class Reply(Comment):
        _collection = "Comment"

    class Elsewhere(Comment):
        pass

    kept = cache()
    (a,) = await posts(call, "a")
    reply, other = Reply(post=a), Elsewhere(post=a)
    await call(reply).insert()
    await call(other).insert()
    other.text = "x"
    await call(other).update()
    await call(other).delete()
    assert {"a": 1} == held()
    assert Recount(1, 0, 0) == await recounted(call, kept)
    await call(reply).unset("post")
    assert {"a": 0} == held()


# Conditions


async def test_only_what_matches_is_counted(call: Runtime, commands: Commands) -> None:
    """Coming to match and ceasing to do so count like inserts and deletes; without more reads."""
    kept = cache(where=(Q.approved == True) & (Q.score >= 3))  # noqa: E712
    a, b = await posts(call)
    comment = Comment(post=a, approved=False, score=3)
    await call(comment).insert()
    assert {"a": 0, "b": 0} == held()
    comment.approved = True
    commands.clear()
    await call(comment).update("approved")
    assert ["find", "update", "update"] == commands.names
    assert {"a": 1, "b": 0} == held()
    await call(comment).inc("score", -1)
    assert {"a": 0, "b": 0} == held()
    comment.post = b
    comment.score = 5
    await call(comment).save()
    assert {"a": 0, "b": 1} == held()
    assert Recount(2, 0, 0) == await recounted(call, kept)
    await call(comment).unset("approved")
    assert {"a": 0, "b": 0} == held()
    await call(Comment).insert_many([{"post": a, "approved": True, "score": n} for n in range(6)])
    assert {"a": 3, "b": 0} == held()
    assert Recount(2, 0, 0) == await recounted(call, kept)
    await call(Comment).delete_where(Q.post == a)
    assert {"a": 0, "b": 0} == held()


async def test_several_caches_share_what_is_read(call: Runtime, commands: Commands) -> None:
    """Two counts of the same documents cost one read together."""
    cache()
    counter_cache(Post, "approved_count", of=Comment, by="post", where={"approved": True})
    a, b = await posts(call)
    comment = Comment(post=a, approved=True)
    await call(comment).insert()
    comment.post = b
    commands.clear()
    await call(comment).update("post")
    assert ["find", "update", "update", "update"] == commands.names
    assert ({"a": 0, "b": 1}, {"a": 0, "b": 1}) == (held(), held("approved_count"))
    await call(comment).change([{"$set": {"post": a._id}}])
    assert ({"a": 1, "b": 0}, {"a": 1, "b": 0}) == (held(), held("approved_count"))
    commands.clear()
    await call(comment).delete()
    assert ["find", "delete", "update", "update"] == commands.names
    assert ({"a": 0, "b": 0}, {"a": 0, "b": 0}) == (held(), held("approved_count"))


# Listeners


async def test_the_listeners_can_be_listed_muted_and_stopped(call: Runtime) -> None:
    """They are ordinary ones; what is muted is not counted, a recount finds it."""
    kept = cache()
    a, b = await posts(call)
    assert ("inserted", "update", "updated", "delete", "deleted") == tuple(
        event for event, _ in kept.listeners
    )
    for event, listener in kept.listeners:
        assert listener in events.listening(event, Comment)
    with loom.muted(*[listener for _, listener in kept.listeners]):
        await call(Comment(_id=1, post=a)).insert()
        await call(Comment(_id=1, post=b)).update()
    assert {"a": 0, "b": 0} == held()
    assert Recount(2, 1, 0) == await recounted(call, kept)
    assert {"a": 0, "b": 1} == held()
    kept.stop()
    await call(Comment(_id=1)).delete()
    assert {"a": 0, "b": 1} == held()
    assert [] == [r for event in events.EVENTS for r in events.listening(event, Comment)]


async def test_half_of_the_events_muted(call: Runtime) -> None:
    """A count that cannot be known is an error, not a guess; the write stands."""
    kept = cache()
    a, b = await posts(call)
    comment = Comment(post=a, text="x")
    await call(comment).insert()
    with loom.muted("update"):
        await call(comment).update("text")
        comment.post = b
        with pytest.raises(ListenerError, match="'updated'.*recount"):
            await call(comment).update("post")
    with loom.muted("delete"), pytest.raises(ListenerError, match="'deleted'.*recount"):
        await call(comment).delete()
    assert 0 == await call(Comment).count({})
    assert {"a": 1, "b": 0} == held()
    assert Recount(2, 1, 0) == await recounted(call, kept)


async def test_a_delete_that_came_second(call: Runtime) -> None:
    """What another program has deleted and counted meanwhile is not counted again."""
    cache()
    a, _ = await posts(call)
    comments = await call(Comment).insert_many([{"post": a} for _ in range(2)])

    def overtaken(frames: Any) -> None:
        Comment.get_collection().delete_one({"_id": frames[0]._id})
        Post.get_collection().update_one({"_id": a._id}, {"$inc": {"comment_count": -1}})

    Comment.listen("delete", overtaken)
    await call(comments[0]).delete()

    assert {"a": 1, "b": 0} == held()


async def test_a_listener_that_stops_the_write(call: Runtime) -> None:
    """Nothing is counted, then or later."""
    cache()
    a, b = await posts(call)
    comment = Comment(post=a)
    await call(comment).insert()

    def refuse() -> None:
        raise PermissionError

    for event in ("insert", "update", "delete"):
        Comment.listen(event, refuse)
    comment.post = b
    for write in (Comment(post=b).insert, comment.update, comment.delete):
        with pytest.raises(PermissionError):
            await getattr(call(write.__self__), write.__name__)()
    assert {"a": 1, "b": 0} == held()
    for event in ("insert", "update", "delete"):
        Comment.stop_listening(event, refuse)
    await call(comment).update("post")
    assert {"a": 0, "b": 1} == held()
    await call(comment).delete()
    assert {"a": 0, "b": 0} == held()


@pytest.mark.parametrize("event", ["update", "updated"])
@pytest.mark.parametrize("first", [True, False])
async def test_writes_inside_of_writes(call: Runtime, event: str, first: bool) -> None:
    """A listener that moves the same document is counted, as is the write around it."""
    if not first:
        cache()
    a, b, c = await posts(call, "abc")
    comment = Comment(_id=1, post=a)
    await call(comment).insert()
    busy: list[int] = []

    @Comment.listen(event)
    async def move(frames: list[Comment]) -> None:
        if not busy:
            busy.append(1)
            await Comment(_id=1, post=b).aio.update()

    if first:
        kept = cache()
        await recounted(call, kept)
    await call(Comment(_id=1, post=c)).update()

    found = (await call(Comment).by_id(1)).post
    assert found == (c._id if event == "update" else b._id)
    assert {"a": 0, "b": int(found == b._id), "c": int(found == c._id)} == held()


async def test_deletes_inside_of_deletes(call: Runtime) -> None:
    """A tree that listeners delete from the root on is counted down once."""
    cache()
    (a,) = await posts(call, "a")
    await call(Comment).insert_many([{"_id": n, "post": a, "score": n // 2} for n in range(1, 40)])

    @Comment.listen("delete")
    async def delete_replies(frames: list[Comment]) -> None:
        replies = await Comment.aio.many(Q.score.is_in([frame._id for frame in frames]))
        await Comment.aio.delete_many(replies)

    await call(Comment(_id=2)).delete()

    assert {"a": await call(Comment).count(Q.post == a)} == held()
    assert 0 < held()["a"] < 39


async def test_failed_writes_are_forgotten(call: Runtime) -> None:
    """Writes that fail over and over leave nothing that is taken for another write."""
    cache()
    a, b = await posts(call)
    comment = Comment(_id=1, post=a)
    await call(comment).insert()
    for _ in range(150):
        with pytest.raises(loom.Conflict):
            await call(Comment(_id=1, post=b)).update(where=Q.score == 5)
    await call(Comment(_id=1, post=b)).update()
    assert {"a": 0, "b": 1} == held()
    await call(Comment(_id=1, post=a)).update()
    assert {"a": 1, "b": 0} == held()


# The events of the owner


async def test_owners_are_not_told_by_default(call: Runtime, commands: Commands) -> None:
    """No event of the owner is sent, and it is not read."""
    cache()
    (a,) = await posts(call, "a")
    heard: list[Any] = []
    for event in ("update", "updated"):
        Post.listen(event, lambda event=event: heard.append(event))
    commands.clear()
    await call(Comment(post=a)).insert()

    assert ([], ["insert", "update"]) == (heard, commands.names)


async def test_owners_are_told_when_asked(call: Runtime) -> None:
    """With `events=True` they get the events of an update; what listeners change is written."""
    cache(events=True)
    a, b = await posts(call)
    heard: list[Any] = []
    Post.listen("update", Post.timestamp_update)
    Post.listen("update", lambda frames, fields: heard.append((fields, [f.title for f in frames])))
    Post.listen("updated", lambda frames, changes: heard.append((frames[0].comment_count, changes)))
    await call(Comment).insert_many([{"post": a}, {"post": a}, {"post": ObjectId()}])
    stored = await call(Post).by_id(a._id)

    assert (("comment_count",), ["a"]) == heard[0]
    assert (2, [{"$set": {"modified": stored.modified}, "$inc": {"comment_count": 2}}]) == heard[1]
    assert {"a": 2, "b": 0} == held()
    await call(Comment(post=ObjectId())).insert()
    assert 2 == len(heard)
    with loom.muted(sender=Post):
        await call(Comment(post=b)).insert()
    assert ({"a": 2, "b": 1}, 2) == (held(), len(heard))


async def test_an_owner_whose_number_is_no_number(call: Runtime) -> None:
    """The server refuses to add to it: the caller is told, others are counted, and told of."""
    kept = cache(events=True)
    a, b = await posts(call)
    Post.get_collection().update_one({"_id": a._id}, {"$set": {"comment_count": "many"}})
    heard: list[Any] = []
    Post.listen("updated", lambda frames: heard.extend(frame.title for frame in frames))
    with pytest.raises(BulkWriteError) as raised:
        await call(Comment).insert_many([{"post": a}, {"post": b}])
    assert "recount() corrects it" in str(raised.value.__notes__)
    assert ({"a": "many", "b": 1}, ["b"]) == (held(), heard)
    assert Recount(2, 1, 0) == await recounted(call, kept)
    assert {"a": 1, "b": 1} == held()


# The number in the owner


async def test_frames_do_not_write_an_old_number_back(call: Runtime) -> None:
    """An `int` becomes a counter: writing all that a frame holds leaves the number alone."""
    cache()
    (a,) = await posts(call, "a")
    await call(Comment).insert_many([{"post": a}, {"post": a}])
    a.title = "A"
    await call(a).update()
    assert {"A": 2} == held()
    await call(Post).update_many([a])
    with pytest.raises(FieldError, match=r"Post\.comment_count: expected \+= or -="):
        a.comment_count = 5
    a.comment_count += 1
    await call(a).save()
    assert {"A": 3} == held()
    assert 9 == Post(comment_count=9).comment_count


async def test_every_spelling_of_the_number(call: Runtime) -> None:
    """Annotated, listed, inherited, not declared at all, or named like an operation."""

    class Marked(Frame):
        number: IncrCounter = 0

    class Listed(Frame):
        _fields: ClassVar[Any] = {"number"}

    class Parent(Frame):
        number: int

    class Child(Parent):
        name: str

    class Open(Frame):
        pass

    class Named(Frame):
        count: int

    class Note(Frame):
        of: Any

    class Later(Listed):
        pass

    for owner, field in ((Marked, "number"), (Listed, "number"), (Child, "number")):
        counter_cache(owner, field, of=Note, by="of")
    counter_cache(Open, "number", of=Note, by="of")
    counter_cache(Named, "count", of=Note, by="of")

    class Last(Listed):
        pass

    for owner in (Marked, Listed, Child, Open, Named):
        field = "count" if owner is Named else "number"
        frame = owner(_id=1)
        await call(frame).insert()
        note = Note(of=1)
        await call(note).insert()
        await call(frame).reload()
        with pytest.raises(FieldError, match="expected \\+= or -="):
            frame[field] = 7
        assert 1 == frame[field], owner
        await call(frame).delete()
    assert 0 == await call(Named).count({})
    for child in (Later, Last):
        with pytest.raises(FieldError, match="expected \\+= or -="):
            child({"_id": 1, "number": 2}).number = 3
    Parent({"_id": 1}).number = 3


# Registration


class User(Frame):
    """Not what a comment refers to."""

    name: str
    posts: int


class Vote(Frame):
    """Refers to posts, and says so."""

    post: Annotated[Post, Ref()]
    voters: list[User]
    path: dict[str, Post]


@pytest.mark.parametrize(
    ("owner", "field", "of", "by", "error", "message"),
    [
        ("Post", "comment_count", Comment, "post", DefinitionError, "expected a Frame class"),
        (Post, "comment_count", Meta, "post", DefinitionError, "expected a Frame class"),
        (Frame, "comment_count", Comment, "post", DefinitionError, "class with a collection"),
        (Post, "comment_cuont", Comment, "post", FieldError, "did you mean 'comment_count'"),
        (Post, "stats.comments", Comment, "post", FieldError, "expected the name of a field"),
        (Post, "", Comment, "post", FieldError, "expected the name of a field"),
        (Post, 5, Comment, "post", FieldError, "expected the name of a field"),
        (Post, "$inc", Comment, "post", FieldError, "expected the name of a field"),
        (Post, "_id", Comment, "post", DefinitionError, "expected a field of its own"),
        (Post, "_document", Comment, "post", DefinitionError, "expected a field of its own"),
        (Post, "title", Comment, "post", DefinitionError, "expected a field of int"),
        (Vote, "voters", Comment, "post", DefinitionError, "expected a field of int"),
        (Post, "comment_count", Comment, "psot", FieldError, "did you mean 'post'"),
        (Post, "comment_count", Comment, "post.0", FieldError, "expected a path of names"),
        (Post, "comment_count", Comment, "post..x", QueryError, "single dots"),
        (Post, "comment_count", Comment, "", QueryError, "single dots"),
        (Post, "comment_count", Vote, "voters", DefinitionError, "refers to User"),
        (User, "posts", Vote, "post", DefinitionError, "refers to Post"),
        (Comment, "score", Comment, "score", DefinitionError, "does not decide"),
    ],
)
def test_wrong_registrations_are_refused(
    owner: Any, field: Any, of: Any, by: Any, error: Any, message: str
) -> None:
    """Misspelt names and wrong classes are errors at once, and nothing listens."""
    before = [events.listening(event, Comment) for event in events.EVENTS]
    with pytest.raises(error, match=message):
        counter_cache(owner, field, of=of, by=by)

    assert before == [events.listening(event, Comment) for event in events.EVENTS]


@pytest.mark.parametrize(
    ("where", "error"),
    [
        (Q.text.startswith("x"), QueryError),
        ({"$where": "1"}, QueryError),
        (Q.aproved == True, FieldError),  # noqa: E712
        (False, QueryError),
    ],
)
def test_conditions_that_cannot_be_kept_are_refused(where: Any, error: Any) -> None:
    """What only the server can decide is refused, and what is not declared."""
    with pytest.raises(error, match="counter_cache: where|expected a"):
        cache(where=where)


def test_a_number_is_kept_by_one_cache() -> None:
    """The same cache twice, or another one for the same number, is an error until it is stopped."""
    kept = cache()
    with pytest.raises(DefinitionError, match=r"got the one of counter_cache\(Post"):
        cache()
    with pytest.raises(DefinitionError, match="stop"):
        counter_cache(Post, "comment_count", of=Vote, by="post")
    kept.stop()
    again = cache(where={"approved": True})
    for event, listener in again.listeners:
        Comment.stop_listening(event, listener)
    cache()


def test_what_a_cache_shows() -> None:
    """It shows how it was made."""
    kept = cache(where=Q.score > 3, events=True)

    assert (
        "counter_cache(Post, 'comment_count', of=Comment, by='post', where={'score': {'$gt': 3}}, "
        "events=True)"
    ) == repr(kept)
    assert f"{kept!r}.aio" == repr(kept.aio)
    assert (Post, "comment_count", Comment, "post") == (kept.owner, kept.field, kept.of, kept.by)


def test_a_class_with_versions_keeps_its_version() -> None:
    """The number of versions is no number to count with."""

    class Page(Frame):
        _version: ClassVar[str | None] = "number"
        number: int

    with pytest.raises(DefinitionError, match="expected a field of its own"):
        counter_cache(Page, "number", of=Comment, by="post")


# At once


def test_threads_at_once(db: str) -> None:
    """Forty threads insert, move, unset and delete; the counts are those of what is left."""
    kept = cache()
    counter_cache(Post, "approved_count", of=Comment, by="post", where={"approved": True})
    found = Post.insert_many([{"title": title} for title in "abcde"])
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        mine: list[Comment] = []
        try:
            for _ in range(8):
                write(chance, mine)
        except BaseException as error:
            failures.append(error)

    def write(chance: random.Random, mine: list[Comment]) -> None:
        post, approved = chance.choice([*found, None]), chance.random() < 0.5
        kind = chance.randrange(6) if mine else 0
        if kind == 0:
            mine.append(Comment(post=post, approved=approved))
            mine[-1].insert()
        elif kind == 1:
            many = [{"post": chance.choice(found), "approved": approved} for _ in range(5)]
            mine.extend(Comment.insert_many(many))
        elif kind == 2:
            comment = chance.choice(mine)
            comment.post, comment.approved = post, approved
            comment.save()
        elif kind == 3:
            for comment in mine:
                comment.post = post
            Comment.update_many(mine, "post")
        elif kind == 4:
            chance.choice(mine).unset("post", "approved")
        else:
            mine.pop(chance.randrange(len(mine))).delete()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert held() == {post.title: Comment.count(Q.post == post) for post in found}
    assert held("approved_count") == {
        post.title: Comment.count((Q.post == post) & (Q.approved == True))  # noqa: E712
        for post in found
    }
    assert Recount(5, 0, 0) == kept.recount()


async def test_tasks_at_once(call: Runtime) -> None:
    """Forty tasks do the same, gathered; what one reads is not taken for another's."""
    if not call.is_async:
        return
    cache()
    found = await posts(call, "abc")

    async def work(number: int) -> None:
        comment = Comment(post=found[number % 3])
        await comment.aio.insert()
        await Comment.aio.insert_many([{"_id": (number + 1) * 100 + n} for n in range(3)])
        comment.post = found[(number + 1) % 3]
        await comment.aio.update()
        comment.post = found[(number + 2) % 3]
        await asyncio.gather(
            comment.aio.save(),
            Comment(_id=(number + 1) * 100, post=found[0]).aio.update(),
            Comment.aio.delete_where(Q._id == (number + 1) * 100 + 1),
        )
        if number % 2:
            await comment.aio.delete()

    await asyncio.gather(*[work(number) for number in range(40)])
    counted = [await call(Comment).count(Q.post == post) for post in found]

    assert sum(counted) == 60
    assert counted == [*held().values()]


# Transactions


async def test_counts_belong_to_the_transaction(call: Runtime, server: Server) -> None:
    """What is rolled back is not counted, what is committed is; also with events."""
    cache()
    counter_cache(Post, "approved_count", of=Comment, by="post", events=True)
    Post.listen("update", Post.timestamp_update)
    a, b = await posts(call)
    kept = Comment(post=a)
    await call(kept).insert()

    async def write() -> None:
        await call(Comment).insert_many([{"post": a}, {"post": b}])
        kept.post = b
        await call(kept).update("post")
        assert (1, 2) == tuple([p.comment_count for p in await call(Post).many(sort="title")])

    with contextlib.suppress(ZeroDivisionError):
        if call.is_async:
            async with loom.aio.transaction():
                await write()
                raise ZeroDivisionError
        else:
            with loom.transaction():
                await write()
                raise ZeroDivisionError
    assert {"a": 1, "b": 0} == held() == held("approved_count")
    if call.is_async:
        async with loom.aio.transaction():
            await write()
    else:
        with loom.transaction():
            await write()
    assert {"a": 1, "b": 2} == held() == held("approved_count")


def test_the_same_documents_at_once_in_transactions(db: str) -> None:
    """Threads that move and delete the same documents, each in a transaction, count them once."""
    kept = cache()
    a, b, c = Post.insert_many([{"title": title} for title in "abc"])
    comments = Comment.insert_many([{"post": a} for _ in range(3)])
    failures: list[BaseException] = []

    def write(id: Any, number: int) -> None:
        if number % 2:
            Comment(_id=id).delete()
        else:
            with contextlib.suppress(Gone):
                Comment(_id=id, post=(b, c)[number // 2]).update()

    def work(number: int) -> None:
        try:
            for comment in comments:
                loom.with_transaction(lambda id=comment._id: write(id, number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert {"a": 0, "b": 0, "c": 0} == held()
    assert Recount(3, 0, 0) == kept.recount()


# Faults


@pytest.fixture
def fail(server: Server, db: str) -> Iterator[Callable[..., Any]]:
    """`with fail(["insert"], errorCode=...)`: such commands of clients of its own fail."""
    options: dict[str, Any] = {
        "appName": db,
        "heartbeatFrequencyMS": 500,
        "tz_aware": True,
        "event_listeners": [server.commands],
    }
    client: MongoClient[Any] = MongoClient(server.uri, **options)

    async def make() -> AsyncMongoClient[Any]:
        return AsyncMongoClient(server.uri, **options)

    aio = server.loop.run_until_complete(make())
    loom.connect(client, aio=aio, db=db, reference_chunk=25)

    @contextmanager
    def failing(names: list[str], mode: Any, **data: Any) -> Iterator[None]:
        admin = server.client.admin
        try:
            admin.command(
                {
                    "configureFailPoint": "failCommand",
                    "mode": mode,
                    "data": {"failCommands": names, "appName": db, **data},
                }
            )
        except OperationFailure as error:
            pytest.skip(f"this deployment has no fail points: {error}")
        try:
            yield
        finally:
            admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    yield failing
    client.close()
    server.loop.run_until_complete(aio.close())


CONCERN = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
FAULTS: dict[str, dict[str, Any]] = {
    "refused": {"errorCode": 8000},
    "not primary": {"errorCode": 10107},
    "disconnected": {"closeConnection": True},
    "write concern": {"writeConcernError": CONCERN},
}
WRITES: dict[str, Any] = {
    "insert": lambda call, one, b: call(Comment(_id=9, post=b)).insert(),
    "insert_many": lambda call, one, b: call(Comment).insert_many([{"post": b}, {"post": b}]),
    "update": lambda call, one, b: call(Comment(_id=1, post=b)).update(),
    "update_many": lambda call, one, b: call(Comment).update_many([{"_id": 1, "post": b}]),
    "unset": lambda call, one, b: call(one).unset("post"),
    "change": lambda call, one, b: call(one).change({"$set": {"post": b._id}}),
    "pipeline": lambda call, one, b: call(one).change([{"$set": {"post": b._id}}]),
    "update_where": lambda call, one, b: call(Comment).update_where(
        Q._id == 1, {"$set": {"post": b._id}}
    ),
    "delete": lambda call, one, b: call(one).delete(),
    "delete_many": lambda call, one, b: call(Comment).delete_many([one]),
    "delete_where": lambda call, one, b: call(Comment).delete_where(Q._id == 1),
}


@pytest.mark.parametrize(
    ("write", "fault"),
    [
        *[(write, "refused") for write in WRITES],
        *[(write, f) for f in list(FAULTS)[1:] for write in ("insert_many", "update", "delete")],
    ],
)
async def test_faults_at_each_step(
    call: Runtime, fail: Callable[..., Any], commands: Commands, write: str, fault: str
) -> None:
    """Whichever command fails, the caller is told, and a recount finds all that is wrong.

    Before the write nothing is written. When the `$inc` fails, the error says that the write
    stands.
    """
    kept = cache()

    async def prepare() -> tuple[Comment, Post]:
        for cls in (Post, Comment):
            cls.get_collection().delete_many({})
        a, b = await posts(call)
        one = Comment(_id=1, post=a)
        await call(one).insert()
        return one, b

    one, b = await prepare()
    commands.clear()
    await WRITES[write](call, one, b)
    steps = list(commands.names)
    told = wrong = 0
    for step, name in enumerate(steps):
        one, b = await prepare()
        # A driver tries again once; `skip` leads to the step among commands of its name.
        times = sum(other == name for other in steps[:step])
        mode = {"skip": times} if times else "alwaysOn"
        failure = None
        with fail([name], mode, **FAULTS[fault]):
            try:
                await WRITES[write](call, one, b)
            except (PyMongoError, BulkError) as error:
                failure = error
        truth = {p.title: await call(Comment).count(Q.post == p) for p in await call(Post).many()}
        off = sum(truth[title] != count for title, count in held().items())
        if fault != "write concern":
            assert failure is not None, (step, name)
        if failure is None:
            assert 0 == off
        told += failure is not None
        wrong += bool(off)
        if off:
            notes = str(getattr(failure, "__notes__", ""))
            assert "recount() corrects it" in notes or "no event after it told" in notes
        assert off == (await recounted(call, kept)).wrong
        assert truth == held()

    assert told == len(steps) - (fault == "write concern") * steps.count("find")
    # What comes after the write: the `$inc`, and for some what is read to know what was stored. A
    # write concern that is not met leaves everything applied.
    after = {"pipeline": 2, "update_where": 2}.get(write, 1)
    assert wrong == (0 if fault == "write concern" else after)


@pytest.fixture(scope="module")
def faulty(server: Server) -> Iterator[tuple[Faulty, Any]]:
    """A server that loses connections when it is told to, and its clients."""
    if not server.is_embedded:
        pytest.skip("needs a server of its own")
    proxy = Faulty(server, batch=100)
    with clients(server, f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true") as made:
        yield proxy, made
    proxy.close()


LOSSES = {
    "once before": (("before",), "pass", 0),
    "once after": (("after",), "pass", 0),
    "for good before": ((), "before", 1),
    "for good after": ((), "after", 1),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("write", ["insert_many", "update", "pipeline", "delete", "delete_many"])
async def test_connections_lost_at_each_step(
    call: Runtime, db: str, faulty: tuple[Faulty, Any], write: str, loss: str
) -> None:
    """A lost connection is made up for, and nothing is counted twice.

    One that stays lost is told, and a recount finds all that is wrong.
    """
    proxy, (client, aio) = faulty
    loom.connect(client, aio=aio, db=db, reference_chunk=25)
    kept = cache()
    steps, rest, expected = LOSSES[loss]

    async def run(position: int, plan: Plan | None) -> tuple[list[str], int]:
        for cls in (Post, Comment):
            cls.get_collection().delete_many({})
        a, b = await posts(call)
        one = Comment(_id=1, post=a)
        await call(one).insert()
        failed = 0
        with proxy.failing(position, plan):
            try:
                await WRITES[write](call, one, b)
            except (PyMongoError, BulkError):
                failed = 1
        return list(proxy.names), failed

    names, _ = await run(0, None)
    for position, name in enumerate(names):
        _, failed = await run(position, Plan(loss, steps, rest))
        truth = {p.title: await call(Comment).count(Q.post == p) for p in await call(Post).many()}
        wrong = {title: count for title, count in held().items() if count != truth[title]}
        assert failed == expected, (position, name)
        if not failed:
            assert {} == wrong, (position, name)
        assert len(wrong) == (await recounted(call, kept)).wrong
        assert truth == held()


# Anything in any order

IDS = st.integers(0, 5)
OWNERS = st.one_of(
    st.none(),
    st.integers(0, 4),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 3), max_size=2),
)
META = st.one_of(st.none(), st.fixed_dictionaries({}, optional={"post": OWNERS}))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "post": OWNERS,
        "approved": st.booleans(),
        "score": st.integers(0, 3),
        "meta": META,
        "text": st.sampled_from("pq"),
    },
)
NAMES = st.sampled_from(["post", "approved", "score", "meta", "text"])
BATCH = st.lists(st.tuples(IDS, FIELDS).map(lambda pair: {"_id": pair[0], **pair[1]}), max_size=4)
CHANGES = st.one_of(
    st.builds(lambda fields: {"$set": fields}, FIELDS.filter(bool)),
    st.builds(lambda owners: {"$set": {"meta.post": owners}}, OWNERS),
    st.builds(lambda name: {"$unset": {name: True}}, NAMES),
    st.just({"$unset": {"meta.post": True}}),
    st.builds(lambda amount: {"$inc": {"score": amount}}, st.integers(-2, 2)),
    st.builds(lambda owner: {"$push": {"post": owner}}, st.integers(0, 3)),
    st.builds(lambda owner: {"$pull": {"post": owner}}, st.integers(0, 3)),
    st.just({"$rename": {"post": "meta"}}),
    st.builds(lambda owner: [{"$set": {"post": owner}}, {"$unset": ["score"]}], OWNERS),
)


def referred(value: Any) -> set[Any]:
    """Return the numbers in a value, however it holds them."""
    if isinstance(value, (list, dict)):
        members = value if isinstance(value, list) else value.values()
        return {number for member in members for number in referred(member)}
    return {value}


class Writing(RuleBasedStateMachine):
    """Writes comments in every way; after each step the numbers are those of what is stored."""

    call: ClassVar[Runtime]
    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        for cls in (Post, Comment):
            cls.get_collection().delete_many({})
        Post.get_collection().insert_many([{"_id": n, "title": str(n)} for n in range(4)])

    def run(self, write: Callable[[Any], Any]) -> None:
        """Run an operation in the runtime under test; it may fail, as a whole or in part."""
        expected = (BulkError, Gone, loom.Duplicate, QueryError, OperationFailure)
        with contextlib.suppress(*expected):
            result = write(self.call)
            if self.call.is_async:
                self.server.loop.run_until_complete(result)

    @rule(id=IDS, fields=FIELDS)
    def insert(self, id: int, fields: Any) -> None:
        """Store one."""
        self.run(lambda call: call(Comment({"_id": id, **fields})).insert())

    @rule(batch=BATCH, ordered=st.booleans())
    def insert_many(self, batch: Any, ordered: bool) -> None:
        """Store some; ids and texts may be taken."""
        self.run(lambda call: call(Comment).insert_many(batch, ordered=ordered))

    @rule(id=IDS, fields=FIELDS, names=st.lists(NAMES, max_size=2))
    def update(self, id: int, fields: Any, names: list[str]) -> None:
        """Write a frame that never saw what is stored."""
        self.run(lambda call: call(Comment({"_id": id, **fields})).update(*names))

    @rule(id=IDS, fields=FIELDS)
    def save(self, id: int, fields: Any) -> None:
        """Assign to a loaded frame, and save it."""
        document = Comment.get_collection().find_one({"_id": id})
        if document is not None:
            frame = Comment(document)
            for name, value in fields.items():
                frame[name] = value
            self.run(lambda call: call(frame).save())

    @rule(batch=BATCH, names=st.lists(NAMES, max_size=2), ordered=st.booleans())
    def update_many(self, batch: Any, names: list[str], ordered: bool) -> None:
        """Write some; they may be gone, or given twice."""
        self.run(lambda call: call(Comment).update_many(batch, *names, ordered=ordered))

    @rule(id=IDS, fields=FIELDS)
    def upsert(self, id: int, fields: Any) -> None:
        """Write or store one."""
        self.run(lambda call: call(Comment({"_id": id, **fields})).upsert())

    @rule(id=IDS, fields=FIELDS)
    def update_upserting(self, id: int, fields: Any) -> None:
        """The same by the driver's option."""
        self.run(lambda call: call(Comment({"_id": id, **fields})).update(upsert=True))

    @rule(ids=st.lists(IDS, min_size=1, max_size=3), name=NAMES)
    def unset(self, ids: list[int], name: str) -> None:
        """Remove a field of one or of some."""
        frames = [Comment({"_id": id}) for id in ids]
        if len(frames) == 1:
            self.run(lambda call: call(frames[0]).unset(name))
        else:
            self.run(lambda call: call(Comment).unset_many(frames, name))

    @rule(id=IDS, changes=CHANGES)
    def change(self, id: int, changes: Any) -> None:
        """Change one on the server."""
        self.run(lambda call: call(Comment({"_id": id})).change(changes))

    @rule(changes=CHANGES, score=st.integers(0, 3))
    def take(self, changes: Any, score: int) -> None:
        """Change the first that matches."""
        self.run(lambda call: call(Comment).take(Q.score == score, changes))

    @rule(changes=CHANGES, score=st.integers(0, 3), size=st.integers(1, 3))
    def update_where(self, changes: Any, score: int, size: int) -> None:
        """Change all that match."""
        self.run(
            lambda call: call(Comment).update_where(Q.score <= score, changes, batch_size=size)
        )

    @rule(ids=st.lists(IDS, min_size=1, max_size=3))
    def delete(self, ids: list[int]) -> None:
        """Delete one or some, which may be gone."""
        frames = [Comment({"_id": id, "post": 1}) for id in ids]
        if len(frames) == 1:
            self.run(lambda call: call(frames[0]).delete())
        else:
            self.run(lambda call: call(Comment).delete_many(frames))

    @rule(score=st.integers(0, 3))
    def delete_where(self, score: int) -> None:
        """Delete all that match."""
        self.run(lambda call: call(Comment).delete_where(Q.score == score))

    @rule(owner=st.integers(0, 3))
    def nullify(self, owner: int) -> None:
        """Release the references to one."""
        self.run(lambda call: call(Post).nullify(Comment, "post", [Post(_id=owner)]))

    @invariant()
    def the_numbers_are_right(self) -> None:
        """As many as refer, counted anew from what is stored."""
        stored = [*Comment.get_collection().find()]
        for owner in Post.get_collection().find():
            by_post = [d for d in stored if owner["_id"] in referred(d.get("post"))]
            by_meta = [
                d
                for d in stored
                if isinstance(d.get("meta"), dict)
                and owner["_id"] in referred(d["meta"].get("post"))
                and (d.get("approved") is True or d.get("score", 0) > 1)
            ]
            assert len(by_post) == owner.get("comment_count", 0)
            assert len(by_meta) == owner.get("approved_count", 0)

    def teardown(self) -> None:
        """A recount agrees, and corrects numbers that are turned over."""
        Post.get_collection().update_one({"_id": 0}, {"$set": {"comment_count": -3}})
        for kept in self.kept:
            found = kept.recount()
            assert (4, 0) == (found.checked, found.unsettled)
        self.the_numbers_are_right()

    kept: ClassVar[list[CounterCache]]


def test_writes_in_any_order(call: Runtime, server: Server) -> None:
    """Whatever is written, in whatever order and with whatever failures, the numbers are right."""
    Comment.get_collection().create_index("text", unique=True, sparse=True)
    Writing.call, Writing.server = call, server
    Writing.kept = [
        cache(),
        counter_cache(
            Post,
            "approved_count",
            of=Comment,
            by="meta.post",
            where=(Q.approved == True) | (Q.score > 1),  # noqa: E712
        ),
    ]
    run_state_machine_as_test(
        Writing,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
