"""What README.md shows runs."""

from __future__ import annotations

import re

from .conftest import Server
from .pages import ROOT, blocks, run_page

README = ROOT / "README.md"


def test_every_block_of_the_readme_runs(server: Server, db: str) -> None:
    """The README's Python blocks run, one after the other, and show what it says they show."""
    assert list(blocks(README.read_text("utf-8")))
    run_page(README, server, db)


def test_the_two_commands_are_lines_that_can_be_pasted() -> None:
    """The README has one line that installs and runs the demo, and one that runs the tests."""
    lines = README.read_text("utf-8").splitlines()
    commands = [line for line in lines if re.match(r"pip install .*&& ", line)]

    assert ['pip install ".[demo]" && loom demo', 'pip install ".[test]" && pytest'] == commands


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Every file that the README links is there."""
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text("utf-8"))

    assert [] == [link for link in links if not (ROOT / link).exists()]
