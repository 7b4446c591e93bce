"""The snippets run, each as a program of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Server
from .pages import ROOT, address_of, skip_if_lacking

SNIPPETS = sorted((ROOT / "snippets").glob("*.py"))


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda path: path.stem)
def test_a_snippet_runs(snippet: Path, server: Server, db: str) -> None:
    """A snippet ends well and shows something; warnings are errors."""
    skip_if_lacking(server, snippet.read_text("utf-8"))
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(snippet)],
        env={**os.environ, "LOOM_URI": address_of(server.uri, db), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert 0 == ended.returncode, ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda path: path.stem)
def test_a_snippet_is_a_whole_idea_on_one_page(snippet: Path) -> None:
    """A snippet has at most 120 lines, says what, when and when not, and has a `main`."""
    source = snippet.read_text("utf-8")
    tree = ast.parse(source)
    said = ast.get_docstring(tree) or ""

    assert source.count("\n") <= 120
    assert ["What", "When", "When not", "Run"] == [
        line.partition(":")[0] for line in said.splitlines() if line[:1] in "WR" and ":" in line
    ]
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
