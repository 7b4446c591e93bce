"""What the pages of the documentation show runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Server
from .pages import ROOT, blocks, run_page

PAGES = [
    page
    for room in ("tutorial", "howto", "explanation")
    for page in sorted((ROOT / "docs" / room).glob("*.md"))
    if any(blocks(page.read_text("utf-8")))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_every_block_of_a_page_runs(
    page: Path, server: Server, db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's Python blocks run, one after the other, and show what the page says they show."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path / "data"))
    run_page(page, server, db)

    pictures = re.findall(r"\]\(pictures/([\w.-]+)\)", page.read_text("utf-8"))
    assert [] == [name for name in pictures if not (tmp_path / name).exists()]


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("1 + 1  #> 3\n", "actual: 2"),
        ("print('a', 1)  #> a 2\n", "actual: a 1"),
        ("for n in range(2):\n    print(n)\n    #> 0\n    #> 2\n", "actual: 1"),
        ("for n in range(2):\n    print(n)\n#> 0\n", r"actual: \['0', '1'\]"),
    ],
)
def test_a_wrong_statement_in_a_page_is_found(
    block: str, problem: str, server: Server, db: str, tmp_path: Path
) -> None:
    """A page that shows what is not so fails."""
    page = tmp_path / "page.md"
    page.write_text(f"Text.\n\n```python\n{block}```\n", "utf-8")

    with pytest.raises(AssertionError, match=problem):
        run_page(page, server, db)
