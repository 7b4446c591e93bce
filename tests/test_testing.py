"""What Loom offers to tests: a number of commands that is asserted."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from loom import Frame, Q
from loom.testing import assert_queries

from .conftest import Runtime, Server


class Owner(Frame):
    """Whose pets they are."""

    name: str


class Pet(Frame):
    """A pet, and whose it is."""

    name: str
    owner: Owner


async def test_the_right_number(call: Runtime) -> None:
    """A block that sends what was expected passes, and shows what it was."""
    with assert_queries(3) as sent:
        await call(Owner(_id=1, name="Ann")).insert()
        await call(Pet).insert_many([{"name": "a", "owner": 1}, {"name": "b", "owner": 1}])
        assert 2 == len(sent)
        await call(Pet).one(Q.name == "a")
    with assert_queries(2):
        await call(Pet).many(None, projection={"owner": {"$ref": Owner}})
    with assert_queries(0):
        pass
    with assert_queries(at_most=2):
        await call(Pet).count({})

    assert ["insert", "insert", "find"] == [command.name for command in sent]
    assert ["Owner", "Pet", "Pet"] == [command.collection for command in sent]


async def test_the_wrong_number(call: Runtime) -> None:
    """The error lists what was sent, in its order."""
    await call(Pet).insert_many([{"_id": n, "name": "x"} for n in range(3)])

    async def one_by_one() -> None:
        with assert_queries(1):
            for pet in await call(Pet).many(sort="_id"):
                await call(Pet).by_id(pet._id)

    with pytest.raises(AssertionError) as caught:
        await one_by_one()

    assert str(caught.value) == (
        "expected 1 command, got 4:\n"
        "  1. find Pet filter={}\n"
        "  2. find Pet filter={'_id': 0}\n"
        "  3. find Pet filter={'_id': 1}\n"
        "  4. find Pet filter={'_id': 2}"
    )
    with pytest.raises(AssertionError) as caught, assert_queries(2):
        pass
    assert str(caught.value) == "expected 2 commands, got 0"
    with pytest.raises(AssertionError) as caught, assert_queries(at_most=0):
        await call(Pet(_id=9, name="y")).insert()
    assert str(caught.value) == (
        "expected at most 0 commands, got 1:\n  1. insert Pet documents=[{'_id': 9, 'name': 'y'}]"
    )


async def test_batches_of_a_cursor_count(call: Runtime) -> None:
    """Each further batch is a command."""
    await call(Pet).insert_many([{"name": "x"} for _ in range(5)])

    async def loop() -> None:
        with assert_queries(0):
            async for _ in call(Pet).each(batch=2):
                pass

    with pytest.raises(AssertionError, match=r"got \d:\n  1\. find .*\n  2\. getMore Pet"):
        await loop()


async def test_an_error_in_the_block_is_the_one_raised(call: Runtime) -> None:
    """What goes wrong in the block is not hidden by the number."""

    async def fail() -> None:
        with assert_queries(5):
            await call(Pet).one()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$"):
        await fail()
    with assert_queries(1):
        await call(Pet).one()


def test_other_threads_count(db: str) -> None:
    """All of the process count: the client of a web framework's tests calls in threads."""
    with assert_queries(2):
        threads = [threading.Thread(target=Pet.one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_pymongo_counts(db: str, server: Server) -> None:
    """What goes to the collection itself counts as well."""
    with assert_queries(2):
        list(Pet.get_collection().find())
        list(server.client[db]["other"].aggregate([]))


def test_the_fixture(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """With `pytest_plugins` the function is a fixture; without it nothing of Loom is imported."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["loom.testing"]\n')
    (tmp_path / "test_it.py").write_text(
        "def test_it(assert_queries):\n"
        "    with assert_queries(0) as sent:\n"
        "        pass\n"
        "    assert sent == []\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    root = Path(__file__).parent.parent
    environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )

    assert "1 passed" in run.stdout, run.stdout + run.stderr
    code = "import pytest, sys; pytest.main(['--version']); sys.exit('loom' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((), {}), ((1,), {"at_most": 2}), ((-1,), {}), (("2",), {}), ((True,), {})],
)
def test_what_is_no_number(arguments: Any, options: Any) -> None:
    """One number is asked for, and no other thing."""
    with pytest.raises(TypeError) as caught, assert_queries(*arguments, **options):
        pass

    assert str(caught.value) == (
        "assert_queries: expected one number of commands, as in assert_queries(2) or "
        f"assert_queries(at_most=2), got {(*arguments, None)[0]!r} and "
        f"at_most={options.get('at_most')!r}"
    )


def test_where_logging_is_disabled(db: str) -> None:
    """Where nothing can be seen, a number is not taken for right."""
    logging.disable(logging.CRITICAL)
    try:
        with pytest.raises(RuntimeError) as caught, assert_queries(0):
            pass
    finally:
        logging.disable(logging.NOTSET)

    assert str(caught.value) == (
        "assert_queries: expected PyMongo's log, which tells of commands, got it switched off by "
        "logging.disable(); call logging.disable(logging.NOTSET)"
    )
