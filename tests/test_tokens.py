"""Tokens: what they hold, what they belong to, and that no other is taken."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Int64, ObjectId, Regex
from bson.codec_options import CodecOptions
from pymongo.collation import Collation

import loom
from loom import DefinitionError, Frame, NotConnected, PageError, Q
from loom.frames.tokens import Binding, Position, read_token, token_of

from .conftest import Commands, Runtime, Server


class Wyrm(Frame):
    """A dragon of these tests."""

    name: str
    age: int


class Worm(Frame):
    """Another class over the same documents."""

    _collection = "Wyrm"

    name: str
    age: int


class Guarded(Frame):
    """Its tokens are signed."""

    _collection = "Wyrm"
    _page_secret = "not to be told"

    name: str
    age: int


T0 = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)
IDS = [ObjectId(bytes([n]) * 12) for n in range(1, 5)]


def put(*documents: dict[str, Any]) -> None:
    """Store documents without Loom's help."""
    Wyrm.get_collection().insert_many([dict(one) for one in documents])


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


async def tokens(call: Runtime, cls: type[Frame] = Wyrm) -> str:
    """Return the token of a first page."""
    put({"_id": IDS[0], "age": 1, "name": "a"}, {"_id": IDS[1], "age": 2, "name": "a"})
    token = (await call(cls).page(Q.name == "a", sort="age", size=1)).next

    assert isinstance(token, str)
    return token


async def test_tokens_fit_into_urls(call: Runtime) -> None:
    """A token is short text of letters, digits, - and _."""
    token = await tokens(call)

    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len(token) < 80


@pytest.mark.parametrize("cls", [Wyrm, Guarded])
async def test_any_change_of_a_token_is_found(call: Runtime, cls: type[Frame]) -> None:
    """Whatever byte is changed, and wherever a token is cut or made longer, it is refused."""
    token = await tokens(call, cls)
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    wrong = {token[:end] for end in range(len(token))} | {token + "A", token + "AAAA"}
    for position in range(len(content)):
        for bits in (1, 2, 0x80):
            changed = bytearray(content)
            changed[position] ^= bits
            wrong.add(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode())
    # The last letter has bits that stand for nothing.
    wrong -= {token[:-1] + letter for letter in LETTERS}
    for one in wrong:
        with pytest.raises(PageError, match="expected the token of a page in after=") as caught:
            await call(cls).page(Q.name == "a", sort="age", after=one)

        assert "begin again" in str(caught.value) or "set page_secret" in str(caught.value)


@pytest.mark.parametrize("cls", [Wyrm, Guarded])
async def test_a_token_that_was_cut(call: Runtime, cls: type[Frame]) -> None:
    """A token that lacks its end is said to."""
    token = await tokens(call, cls)
    for end in range(len(token)):
        with pytest.raises(PageError, match="got one that was cut"):
            await call(cls).page(Q.name == "a", sort="age", after=token[:end])


async def test_foreign_tokens(call: Runtime) -> None:
    """A token of another class, filter, sort or collation is refused, and which it is is said."""
    token = await tokens(call)
    asked: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("another class", Worm, Q.name == "a", {"sort": "age"}),
        ("another filter", Wyrm, Q.name == "b", {"sort": "age"}),
        ("another filter", Wyrm, None, {"sort": "age"}),
        ("another sort order or collation", Wyrm, Q.name == "a", {"sort": "-age"}),
        ("another sort order or collation", Wyrm, Q.name == "a", {}),
        (
            "another sort order or collation",
            Wyrm,
            Q.name == "a",
            {"sort": "age", "collation": Collation("en")},
        ),
    ]
    for which, cls, filter, options in asked:
        for name in ("after", "before"):
            with pytest.raises(PageError, match=f"{cls.__name__}.page: .* {name}=, .*{which}; "):
                await call(cls).page(filter, **{name: token}, **options)

    assert [IDS[1]] == [
        wyrm._id for wyrm in await call(Wyrm).page({"name": "a"}, sort=[("age", 1)], after=token)
    ]


async def test_the_order_within_a_filter_does_not_matter(call: Runtime) -> None:
    """The same filter, put together in another order, goes on with the same token."""
    put(*({"_id": n, "age": n, "name": "a"} for n in range(5)))
    one = {"name": {"$in": ["a", "b"]}, "age": {"$gte": 1, "$lt": 9}}
    other = {"age": {"$lt": 9, "$gte": 1}, "name": {"$in": ["b", "a"]}}
    page = await call(Wyrm).page(one, size=2)

    assert [3, 4] == [w._id for w in await call(Wyrm).page(other, size=2, after=page.next)]
    with pytest.raises(PageError, match="another filter"):
        await call(Wyrm).page({**one, "lair": {"a": 1, "b": 2}}, after=page.next)


async def test_what_is_no_token(call: Runtime) -> None:
    """Anything else is refused, with what it is and what to do."""
    for wrong, message in (
        (5, r"which is text, got int; pass on Page.next or Page.previous as it is"),
        (b"abc", r"which is text, got bytes"),
        ("", r"got one that was cut; begin again"),
        ("a b", r"got text with characters that none has"),
        ("ä", r"got text with characters that none has"),
        ("AQ\n", r"got text with characters that none has"),
        ("65f0c0ffee65f0c0ffee65f0", r"got text that is none, or one of another version"),
        ("A", r"was cut"),
    ):
        with pytest.raises(PageError, match=message):
            await call(Wyrm).page(before=wrong)


def test_values_that_no_page_has(db: str) -> None:
    """Without a secret a stranger can make a token up, but none that asks for anything else."""
    binding = Binding.of(Wyrm, {}, [("_id", 1)], None, CodecOptions(), None)

    assert Position([5]) == read_token(binding, token_of(binding, Position([5])), "after")
    for values in ([], [1, 2], [[1]], [Regex(".*")]):
        made_up = token_of(binding, Position(values))
        with pytest.raises(PageError, match="got one whose values are none of a page; begin again"):
            read_token(binding, made_up, "after")


async def test_operators_in_a_token_are_values(call: Runtime, commands: Commands) -> None:
    """A document in a token is compared, and never read as operators."""
    put({"_id": 1}, {"_id": {"a": 1}})
    codecs = Wyrm.get_collection().codec_options
    binding = Binding.of(Wyrm, {}, [("_id", 1)], None, codecs, None)
    token = token_of(binding, Position([{"$ne": None}]))
    page = await call(Wyrm).page(after=token)

    assert {"$gt": {"$ne": None}} == commands.bodies[-1]["filter"]["$or"][0]["_id"]
    assert 1 not in [wyrm._id for wyrm in page]


async def test_secrets(call: Runtime, server: Server, db: str) -> None:
    """A token holds only where the secret is the one that it was signed with."""
    plain = await tokens(call)
    asked = {"filter": Q.name == "a", "sort": "age", "size": 1}

    def connect(secret: Any) -> None:
        loom.connect(server.client, aio=server.aio, db=db, page_secret=secret)

    connect("one")
    with pytest.raises(PageError, match="without signature where a secret is set"):
        await call(Wyrm).page(after=plain, **asked)
    signed = (await call(Wyrm).page(**asked)).next
    connect(b"one")
    assert [IDS[1]] == [wyrm._id for wyrm in await call(Wyrm).page(after=signed, **asked)]
    connect("two")
    with pytest.raises(PageError, match="changed, or was signed with another secret"):
        await call(Wyrm).page(after=signed, **asked)
    connect(None)
    with pytest.raises(PageError, match=r"signed where no secret is set; set page_secret of loom"):
        await call(Wyrm).page(after=signed, **asked)


async def test_the_secret_of_a_class_goes_first(
    call: Runtime, server: Server, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`_page_secret` holds for its class, whatever the connection says."""
    monkeypatch.setattr(Wyrm, "_page_secret", "mine")
    token = await tokens(call)
    loom.connect(server.client, aio=server.aio, db=db, page_secret="other")
    asked = {"filter": Q.name == "a", "sort": "age"}

    assert 1 == len(await call(Wyrm).page(after=token, **asked))
    monkeypatch.setattr(Wyrm, "_page_secret", None)
    with pytest.raises(PageError, match="another secret"):
        await call(Wyrm).page(after=token, **asked)


def test_wrong_secrets_are_refused_and_not_shown() -> None:
    """An empty secret, or one of another type, is a mistake; none stands in a message or repr."""
    for wrong in ("", b"", 12345):
        with pytest.raises(NotConnected, match="expected page_secret as text or bytes") as caught:
            loom.connect("mongodb://localhost/x", page_secret=wrong)  # type: ignore[arg-type]
        assert "12345" not in str(caught.value)
        with pytest.raises(DefinitionError, match=r"Wyrm._page_secret: expected text or bytes"):
            Wyrm._page_secret = wrong  # type: ignore[assignment]

    assert "hush" not in repr(loom.connect("mongodb://localhost/x", page_secret="hush"))


async def test_values_keep_their_types(call: Runtime, commands: Commands) -> None:
    """A token brings back what was stored: a date is a date, a number of 64 bits stays one."""
    for low, high in ((T0, T0 + timedelta(1)), (Int64(2**40), Int64(2**41)), (b"a", b"bb")):
        Wyrm.get_collection().delete_many({})
        put({"_id": 1, "age": low}, {"_id": 2, "age": high})
        page = await call(Wyrm).page(sort="age", size=1)
        await call(Wyrm).page(sort="age", size=1, after=page.next)
        sent = commands.bodies[-1]["filter"]["$or"][0]["age"]["$gt"]

        assert low == sent
        assert type(low) is type(sent)
