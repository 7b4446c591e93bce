"""Runs the Python blocks of a Markdown page: in order, in one namespace, on the test server.

- `mongodb://localhost/zoo` in a block stands for the test server and a database of the test's own.
- `await` may stand at the top level, as in `python -m asyncio`.
- `expression  #> text` compares what the expression shows (or prints) with the text; `...` in it
  stands for anything.
- Lines `#> text` below a statement are compared with what it prints, line by line.
- A comment `<!-- run ... -->` holds code that runs and is not shown. It also sees `commands`, the
  names of the commands sent so far.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymongo.monitoring
import pytest

import loom

from .conftest import Commands, Server

ROOT = Path(__file__).parents[1]
ADDRESS = "mongodb://localhost/zoo"

_BLOCK = re.compile(r"^(?:```python\n(.*?)^```$|<!-- run\n(.*?)^-->$)", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"#> (.*)$")
_PRINTED = re.compile(r"\s*#> (.*)$")


class _Recorder(Commands):
    """Notes commands while a page runs; listeners of PyMongo cannot be taken back."""

    is_recording = False

    def started(self, event: Any) -> None:
        """Note a command."""
        if self.is_recording:
            super().started(event)


_commands = _Recorder()


def run_page(page: Path, server: Server, db: str) -> None:
    """Run all blocks of a page; an error's traceback shows the page's own lines."""
    text = page.read_text("utf-8")
    skip_if_lacking(server, text)
    module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
    address = address_of(server.uri, db)
    vars(module).update(_check=_check, _printing=_printing, _printed=_printed, commands=_commands)
    sys.modules[module.__name__] = module
    try:
        with _recording(), _closing(server.loop):
            for number, source in blocks(text):
                _run(source.replace(ADDRESS, address), number, page, module, server.loop)
    finally:
        del sys.modules[module.__name__]


def skip_if_lacking(server: Server, text: str) -> None:
    """Skip the test of a page or program whose extra or deployment is not there."""
    if "import arrow" in text or ".window(" in text:
        pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    if "start_transaction" in text or ".watch(" in text:
        hello = server.client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            pytest.skip("transactions and change streams need a replica set or a sharded cluster")


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line on which each block of code begins, and the block."""
    for found in _BLOCK.finditer(text):
        yield text.count("\n", 0, found.start()) + 2, found[1] or found[2]


def _run(
    source: str, number: int, page: Path, module: Any, loop: asyncio.AbstractEventLoop
) -> None:
    tree = _Checked(source).visit(ast.parse(source, str(page)))
    ast.increment_lineno(ast.fix_missing_locations(tree), number - 1)
    code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, vars(module))
    if inspect.iscoroutine(result):
        loop.run_until_complete(result)


class _Checked(ast.NodeTransformer):
    """Turns `expression  #> text`, and `#> text` below a statement, into a comparison."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines()

    def visit_Module(self, node: ast.Module) -> ast.AST:
        body: list[ast.stmt] = []
        for statement in node.body:
            expected: list[ast.expr] = []
            for line in self.lines[statement.end_lineno or statement.lineno :]:
                found = _PRINTED.match(line)
                if found is None:
                    break
                expected.append(ast.Constant(found[1]))
            made = self.visit(statement)
            if expected:
                texts = ast.List(expected, ast.Load())
                body += [self._call("_printing", made), made, self._call("_printed", made, texts)]
            else:
                body.append(made)
        node.body = body
        return node

    def _call(self, name: str, near: ast.stmt, *arguments: ast.expr) -> ast.Expr:
        call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
        return ast.copy_location(ast.Expr(call), near)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        found = _EXPECTED.search(self.lines[(node.end_lineno or node.lineno) - 1])
        if found is None:
            return node
        value = node.value
        is_print = isinstance(value, ast.Call) and ast.unparse(value.func) == "print"
        shown = ast.Tuple(value.args, ast.Load()) if is_print else value  # type: ignore[attr-defined]
        arguments = [shown, ast.Constant(is_print), ast.Constant(found[1])]
        return self._call("_check", node, *arguments)


def _printing() -> None:
    """Take what is printed from here on."""
    sys.stdout = io.StringIO()


def _printed(expected: list[str]) -> None:
    """Compare what was printed since."""
    actual = sys.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(expected) == len(actual), f"expected: {expected}\n  actual: {actual}"
    for line, text in zip(actual, expected, strict=True):
        _check(line, True, text)


def _check(value: Any, is_print: bool, expected: str) -> None:
    if isinstance(value, tuple) and is_print:
        value = " ".join(map(str, value))
    actual = value if is_print else repr(value)
    fits = doctest.OutputChecker().check_output(expected, actual, doctest.ELLIPSIS)
    assert fits, f"expected: {expected}\n  actual: {actual}"


def address_of(uri: str, db: str) -> str:
    """Return the URI with another database; the user's own stays the one to log in by."""
    parts = urlsplit(uri)
    query = parts.query
    if parts.username and "authsource" not in query.lower():
        query += f"&authSource={parts.path.strip('/') or 'admin'}"
    return parts._replace(path=f"/{db}", query=query.strip("&")).geturl()


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    if _commands not in pymongo.monitoring._LISTENERS.command_listeners:
        pymongo.monitoring.register(_commands)
    _commands.is_recording = True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        _commands.is_recording = False
        _commands.clear()


@contextlib.contextmanager
def _closing(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Close every connection that a page made, those that it replaced too."""
    connect = loom.connect
    made: list[loom.Connection] = []

    def noted(*args: Any, **options: Any) -> loom.Connection:
        made.append(connect(*args, **options))
        return made[-1]

    loom.connect = noted
    try:
        yield
    finally:
        loom.connect = connect
        for connection in made:
            loop.run_until_complete(connection.close_async())
            connection.close()
        loom.close()
