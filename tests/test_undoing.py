"""What is put back in frames when a transaction is not committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loom
from loom import BulkError, Frame, IncrCounter, SubFrame

from .conftest import Runtime, Server
from .test_transactions import Faults, aborted, begun, connected, retried


class Author(SubFrame):
    """An embedded document."""

    name: str
    tags: list[str]


class Post(Frame):
    """Has everything that a write may note."""

    _version = "_v"

    title: str
    likes: int
    tags: list[Any]
    author: Author
    visits: IncrCounter


@pytest.fixture
def fail(server: Server, db: str) -> Iterator[Faults]:
    """`with fail("insert", errorCode=...)`: the next such command of this test fails."""
    with connected(server, db, server.uri):
        yield Faults(server, db)


async def new(call: Runtime) -> Post:
    """Return a stored frame, loaded anew."""
    post = Post(title="a", likes=1, tags=["x"], author={"name": "Ann", "tags": []}, visits=5)
    await call(post).insert()
    found: Post = await call(Post).by_id(post._id)
    return found


def stored() -> list[dict[str, Any]]:
    """Return what is stored, without ids and versions."""
    found = Post.get_collection().find({}, {"_id": False, "_v": False}).sort("title")
    return list(found)


async def test_a_frame_that_was_not_stored(call: Runtime) -> None:
    """It has no `_id` again, so that it can be inserted."""
    post, *many = (Post(title=name) for name in "abc")
    async with aborted(call):
        await call(post).insert()
        await call(Post).insert_many(many)
        post.title = "later"
        await call(post).save()
    assert [False] * 3 == ["_id" in frame for frame in (post, *many)]
    assert ["later", "b", "c"] == [frame.title for frame in (post, *many)]
    await call(post).save()
    await call(Post).insert_many(many)
    post.likes = 1
    await call(post).save()

    assert [{"title": "b"}, {"title": "c"}, {"title": "later", "likes": 1}] == stored()


async def test_an_id_of_the_callers_stays(call: Runtime) -> None:
    """Only what the write gave is taken back."""
    post = Post(_id=7, title="a")
    async with aborted(call):
        await call(post).insert()

    assert 7 == post._id


async def test_what_was_saved_is_unsaved_again(call: Runtime) -> None:
    """Assigned, edited in place, counted: the next save sends it, under the version as it is."""
    post = await new(call)
    post.visits += 1
    async with aborted(call):
        post.title = "b"
        post.tags.append("y")
        post.author.tags.append("z")
        await call(post).save()
        post.likes = 2
        await call(post).save()
    assert {"title": "a", "likes": 1, "tags": ["x"], "visits": 5} == {
        k: v for k, v in stored()[0].items() if k != "author"
    }
    await call(post).save()

    assert stored() == [
        {
            "title": "b",
            "likes": 2,
            "tags": ["x", "y"],
            "author": {"name": "Ann", "tags": ["z"]},
            "visits": 6,
        }
    ]


async def test_what_was_counted_inside_is_taken_back(call: Runtime) -> None:
    """An attempt that counts is not counted twice."""
    post = await new(call)
    async with aborted(call):
        post.visits += 1
        await call(post).save()
        assert 6 == post.visits
    assert 5 == post.visits
    post.visits += 2
    await call(post).save()

    assert 7 == stored()[0]["visits"]


async def test_edits_after_the_write_stay_unsaved(call: Runtime) -> None:
    """What the program does later in the block, or after it, is not forgotten either."""
    post = await new(call)
    async with aborted(call):
        post.tags.append("y")
        await call(post).save()
        post.tags.append("z")
        post.author.name = "Bob"
    post.likes = 9
    await call(post).save()

    found = stored()[0]
    assert (["x", "y", "z"], "Bob", 9) == (found["tags"], found["author"]["name"], found["likes"])


async def test_values_of_the_server_are_taken_back(call: Runtime) -> None:
    """What inc, change and unset put into the frame, or took out, is as before."""
    post = await new(call)
    before = dict(post._document)
    async with aborted(call):
        assert 6 == await call(post).inc("likes", 5)
        await call(post).change({"$push": {"tags": "new"}, "$set": {"author.name": "Bob"}})
        await call(post).unset("title")
    assert before == post._document
    assert "Ann" == post.author.name
    await call(post).save()
    await call(post).update()

    assert (1, ["x"], "a") == (lambda d: (d["likes"], d["tags"], d["title"]))(stored()[0])


async def test_batches(call: Runtime) -> None:
    """The same for many frames at once."""
    posts = await call(Post).insert_many([{"title": n, "likes": 1} for n in "abc"])
    versions = [post["_v"] for post in posts]
    async with aborted(call):
        for post in posts:
            post.title += "!"
        await call(Post).update_many(posts, "title")
        await call(Post).unset_many(posts[:1], "likes")
    assert versions == [post["_v"] for post in posts]
    assert ["a!", "b!", "c!"] == [post.title for post in posts]
    assert 1 == posts[0].likes
    for post in posts:
        await call(post).save()

    assert ["a!", "b!", "c!"] == [d["title"] for d in stored()]


async def test_a_batch_that_failed_in_part(call: Runtime) -> None:
    """A transaction leaves none of it, and no frame an id."""
    Post.get_collection().create_index("title", unique=True)
    await call(Post(title="b")).insert()
    posts = [Post(title=name) for name in "abc"]

    async def insert() -> None:
        async with begun(call):
            await call(Post).insert_many(posts, ordered=False)

    with pytest.raises(BulkError):
        await insert()

    assert [False] * 3 == ["_id" in post for post in posts]
    assert ["b"] == [d["title"] for d in stored()]


async def test_what_is_committed_stays(call: Runtime) -> None:
    """Nothing is put back after a commit."""
    post = await new(call)
    fresh = Post(title="f")
    async with begun(call):
        post.title = "b"
        await call(post).save()
        await call(fresh).insert()

    assert fresh._id is not None
    assert post["_v"] == Post.get_collection().find_one({"title": "b"})["_v"]


async def test_a_frame_that_was_reloaded(call: Runtime) -> None:
    """A frame that was loaded anew in the block is as it was loaded."""
    post = await new(call)
    async with aborted(call):
        post.title = "b"
        await call(post).save()
        await call(post).reload()

    assert "b" == post.title


@pytest.mark.parametrize("command", ["commitTransaction", "update"])
async def test_a_save_is_not_lost_when_it_is_tried_again(
    call: Runtime, fail: Faults, command: str
) -> None:
    """Every attempt sends what the first one sent."""
    post, fresh = await new(call), Post(title="f")
    post.title = "b"
    post.tags.append("y")
    post.visits += 1
    attempts = []

    async def work() -> None:
        attempts.append(1)
        await call(post).save()
        await call(post).inc("likes")
        await call(fresh).save()

    with fail(command, times=2, errorCode=112, errorLabels=["TransientTransactionError"]):
        await retried(call, work)

    assert 3 == len(attempts)
    found = stored()
    assert ["b", "f"] == [d["title"] for d in found]
    assert (["x", "y"], 6, 2) == (found[0]["tags"], found[0]["visits"], found[0]["likes"])
    assert (2, post["_v"]) == (post.likes, Post.get_collection().find_one({"title": "b"})["_v"])


STEPS = st.lists(
    st.sampled_from(
        ["title", "likes", "append", "nested", "visits", "save", "inc", "push", "unset", "update"]
    ),
    max_size=8,
)


def step(post: Post, name: str, number: int) -> None:
    """Do something with a frame."""
    if name == "title":
        post.title = f"t{number}"
    elif name == "likes":
        post.likes = number
    elif name == "append" and post.tags is not None:
        post.tags.append(number)
    elif name == "nested" and post.author is not None:
        post.author.name = f"n{number}"
    elif name == "visits":
        post.visits += 1
    elif name == "save":
        post.save()
    elif post._document.get("_id") is None:
        return
    elif name == "inc":
        post.inc("likes")
    elif name == "push":
        post.change({"$push": {"tags": number}})
    elif name == "unset" and "title" in post:
        post.unset("title")
    elif name == "update" and "title" in post:
        post.update("title")


@given(before=STEPS, inside=STEPS, after=STEPS, is_stored=st.booleans())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_save_after_a_rollback_stores_the_frame(
    db: str, before: list[str], inside: list[str], after: list[str], is_stored: bool
) -> None:
    """Whatever was done before, inside and after: what is saved then is what the frame holds."""
    Post.get_collection().delete_many({})
    post = Post(title="a", likes=1, tags=["x"], author=Author(name="Ann", tags=[]), visits=5)
    if is_stored:
        post.insert()
        post = Post.by_id(post._id, required=True)
    for number, name in enumerate(before):
        step(post, name, number)
    with rolled_back():
        for number, name in enumerate(inside, 100):
            step(post, name, number)
    for number, name in enumerate(after, 200):
        step(post, name, number)
    post.save()

    assert loom.frames.to_refs(post._document) == Post.get_collection().find_one()


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction that is not committed."""
    try:
        with loom.transaction():
            yield
            raise LookupError
    except LookupError:
        pass
