"""Text from anywhere as patterns: what is literal, what is not, and that nothing gets out."""

from __future__ import annotations

import fnmatch
import glob
import re
from typing import Any

import pytest
from bson.regex import Regex
from hypothesis import given
from hypothesis import strategies as st

from loom import Frame, Q, QueryError
from loom.frames.queries import Condition, to_filter

from .conftest import Runtime

#: What a stranger may try.
HOSTILE = (
    [
        ".*",
        "a|b",
        "^",
        "$",
        "(",
        "(?#",
        "[",
        "[]",
        "[!]",
        "[^a]",
        "\\",
        "\\E.*",
        "\\Q",
        "(?i)x",
        "a\n",
    ]
    + ["\0", "a\0.*", "{1000}", "a{1,", "*", "?", "**", "{$ne: null}", "$where", "$", '{"$gt": ""}']
    + [
        "#",
        "a b",
        "-",
        "a-z",
        "]",
        "ß",
        "\u017f",
        "İ",
        "\u2028",
        "\U0001f600",
        "(*ACCEPT)",
        "(*FAIL)",
    ]
)
TEXT = st.sampled_from(HOSTILE) | st.text(max_size=8)


class Person(Frame):
    """Somebody with a name."""

    name: str


def pattern_of(condition: Condition) -> re.Pattern[str]:
    """Return the pattern of a condition for Python's `re`."""
    (test,) = condition.to_dict().values()
    assert test.keys() <= {"$regex", "$options"}
    flags = re.RegexFlag(0)
    for letter in test.get("$options", ""):
        flags |= {"i": re.I, "s": re.S}[letter]
    return re.compile(test["$regex"], flags)


def found(condition: Condition, text: str) -> bool:
    """Tell whether a condition matches a text."""
    return pattern_of(condition).search(text) is not None


def whole(pattern: str, text: str) -> bool:
    """Match a whole text as `fnmatch` does, exactly to its end."""
    return re.compile(fnmatch.translate(pattern)).match(text) is not None


def is_reversed(pattern: str) -> bool:
    """Tell a pattern with a range from high to low, which `fnmatch` takes for empty."""
    return any(low > high for low, high in re.findall(r"(?s)(?=(.)-(.))", pattern))


# --- literal text


@given(TEXT, TEXT)
def test_text_is_literal(text: str, around: str) -> None:
    """Each method finds the very text, and nothing that only looks like it."""
    for value in (text, around, text + around, around + text, f"{around}{text}\n", text[1:]):
        assert value.startswith(text) == found(Q.name.startswith(text), value)
        assert value.endswith(text) == found(Q.name.endswith(text), value)
        assert (text in value) == found(Q.name.contains(text), value)
        assert (value == text) == found(Q.name.glob(glob.escape(text)), value)


@given(TEXT, TEXT)
def test_escaped_text_in_a_glob_is_literal(text: str, around: str) -> None:
    """What the standard library escapes for its globs is literal in Loom's."""
    for value in (text, around, around + text + around):
        expected = text in value

        assert expected == found(Q.name.glob(f"*{glob.escape(text)}*"), value)


@given(TEXT)
def test_no_text_becomes_an_operator(text: str) -> None:
    """Whatever the text, the filter has one test of one path, and its value is text."""
    conditions = [
        Q.name.startswith(text),
        Q.name.startswith(text, ignore_case=True),
        Q.name.endswith(text),
        Q.name.contains(text),
        Q.name.glob(glob.escape(text)),
        ~Q.name.contains(text),
    ]
    for condition in conditions:
        ((path, test),) = to_filter(condition).items()
        test = test.get("$not", test)

        assert "name" == path
        assert test.keys() <= {"$regex", "$options"}
        assert set(map(type, (str(test["$regex"]), test.get("$options", "")))) == {str}
        assert "\0" not in test["$regex"]


@given(TEXT)
def test_a_value_compared_is_a_value(text: str) -> None:
    """A dict of operators from outside is a value to every comparison."""
    for value in ({"$ne": text}, {"$regex": text}, {"$gt": ""}, {"$where": text}):
        assert (Q.name == value).to_dict() == {"name": {"$eq": value}}
        assert (Q.name != value).to_dict() == {"name": {"$ne": value}}
        assert (Q.name > value).to_dict() == {"name": {"$gt": value}}
        assert (Q.name >= value).to_dict() == {"name": {"$gte": value}}
        assert (Q.name < value).to_dict() == {"name": {"$lt": value}}
        assert (Q.name <= value).to_dict() == {"name": {"$lte": value}}
        assert Q.name.between(value, text).to_dict() == {"name": {"$gte": value, "$lt": text}}
        assert Q.name.is_in([value]).to_dict() == {"name": {"$in": [value]}}
        assert Q.name.not_in([value]).to_dict() == {"name": {"$nin": [value]}}
        assert Q.name.all([value]).to_dict() == {"name": {"$all": [value]}}
        assert Q.name.elem_match(Q == value).to_dict() == {"name": {"$elemMatch": {"$eq": value}}}
        for method in (Q.name.size, Q.name.type, Q.name.exists, Q.name.near):
            with pytest.raises(QueryError, match=r"^Q\.name(\.\w+)?: expected "):
                method(value)  # type: ignore[operator]
        for method in (Q.name.startswith, Q.name.contains, Q.name.glob, Q.name.matches):
            with pytest.raises(QueryError, match=r"^Q\.name\.\w+: expected "):
                method(value)  # type: ignore[arg-type]


async def test_hostile_text_on_the_server(call: Runtime) -> None:
    """The server reads every pattern as it is meant."""
    await call(Person).insert_many([{"name": text} for text in HOSTILE])
    for text in HOSTILE:
        for condition, meant in [
            (Q.name.startswith(text), lambda name, t=text: name.startswith(t)),
            (Q.name.endswith(text), lambda name, t=text: name.endswith(t)),
            (Q.name.contains(text), lambda name, t=text: t in name),
            (Q.name.glob(glob.escape(text)), lambda name, t=text: name == t),
            (Q.name == text, lambda name, t=text: name == t),
        ]:
            frames = await call(Person).many(condition)
            expected = sorted(name for name in HOSTILE if meant(name))

            assert expected == sorted(frame.name for frame in frames), condition


# --- glob


@given(
    st.text(alphabet="ab*?[]!-.\n\\^", max_size=8), st.text(alphabet="ab[]!-.\n\\*^", max_size=6)
)
def test_glob_is_that_of_python(pattern: str, value: str) -> None:
    """Stars, question marks and brackets mean what they mean to `fnmatch`; all else is literal."""
    try:
        condition = Q.name.glob(pattern)
    except QueryError:
        assert is_reversed(pattern)
        return

    assert whole(pattern, value) == found(condition, value)


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("*frank?@*", ["frank1@x", "xfrank_@", "afrank@@"], ["frank@x", "frank12@x", "Frank1@x"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "Ax", "x", "-x", "axx"]),
        ("[!a-c]x", ["dx", "\nx"], ["ax", "x"]),
        ("[]a]", ["]", "a"], ["[]a]", "b"]),
        ("[!]a]", ["b"], ["]", "a"]),
        ("[*?]", ["*", "?"], ["a", ""]),
        ("[^a]", ["^", "a"], ["b"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[--0]", ["-", ".", "0"], ["a"]),
        ("[[:alpha:]]", ["[]", "a]", ":]"], ["b", "]"]),
        ("[\\d]", ["\\", "d"], ["5"]),
        ("[ab", ["[ab"], ["a", "b"]),
        ("[]", ["[]"], ["", "]"]),
        ("[!]", ["[!]"], ["!", "a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("", [""], ["a", "\n"]),
        ("*", ["", "a\nb"], []),
        ("?", ["a", "\n"], ["", "ab"]),
    ],
)
def test_glob(pattern: str, fitting: list[str], others: list[str]) -> None:
    """A glob fits a whole text, or it does not."""
    condition = Q.name.glob(pattern)

    assert fitting == [text for text in fitting if found(condition, text)]
    assert [] == [text for text in others if found(condition, text)]


async def test_glob_on_the_server(call: Runtime) -> None:
    """The server reads brackets as Python does."""
    names = ["ax", "bx", "dx", "Ax", "]x", "-x", "^x", "\\x", "x", "[a-c]x"]
    await call(Person).insert_many([{"name": name} for name in names])
    for pattern in ("[a-c]x", "[!a-c]x", "[]-]x", "[^\\]x", "[[]a-c]x", "?[!y]", "*[x]"):
        frames = await call(Person).many(Q.name.glob(pattern))
        expected = sorted(name for name in names if whole(pattern, name))

        assert expected == sorted(frame.name for frame in frames), pattern


def test_a_range_from_high_to_low_is_refused() -> None:
    """It would match nothing, or be an error of the server's."""
    with pytest.raises(QueryError) as caught:
        Q.name.glob("x[z-a]*")

    assert str(caught.value) == (
        "Q.name.glob: expected ranges from low to high, got z-a in '[z-a]'; "
        "glob.escape() makes any text literal"
    )


# --- limits


@pytest.mark.parametrize("method", ["startswith", "endswith", "contains", "glob", "matches"])
def test_too_long_a_text_is_refused(method: str) -> None:
    """A pattern that MongoDB does not take is refused before it is sent."""
    assert getattr(Q.name, method)("a" * 32_000) is not None
    with pytest.raises(QueryError) as caught:
        getattr(Q.name, method)("é" * 20_000)

    assert re.fullmatch(
        rf"Q\.name\.{method}: expected a text that makes a pattern of at most 32,764 bytes, which "
        r"is what MongoDB takes, got 40,\d+; look for a shorter part of it",
        str(caught.value),
    )


@pytest.mark.parametrize("given", [5, None, b"x", ["x"], {"$gt": ""}, re.compile("x"), Regex("x")])
def test_only_text_is_taken_literally(given: Any) -> None:
    """What is no text raises an error that says so."""
    for method in ("startswith", "endswith", "contains", "glob"):
        with pytest.raises(QueryError) as caught:
            getattr(Q.name, method)(given)

        assert str(caught.value) == (
            f"Q.name.{method}: expected text, got {given!r} of type {type(given).__name__}"
        )
