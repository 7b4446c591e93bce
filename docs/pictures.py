"""Makes the pictures of a page by running the page: `python docs/pictures.py`, or a build.

All Python blocks of the page run in order, against a server of their own, in the folder that the
page takes its pictures from. The tests run the same blocks and look at what they show.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: The pages that draw, and the folder of their pictures.
PAGES = [HERE / "tutorial" / "weather-and-flights.md"]
FOLDER = HERE / "tutorial" / "pictures"

ADDRESS = "mongodb://localhost/zoo"
_BLOCK = re.compile(r"^(?:```python\n(.*?)^```$|<!-- run\n(.*?)^-->$)", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"\]\(pictures/([\w.-]+)\)")


def make(page: Path) -> None:
    """Make the pictures of a page, unless all are there and newer than the page."""
    text = page.read_text("utf-8")
    wanted = [FOLDER / name for name in _PICTURE.findall(text)]
    is_made = all(path.exists() for path in wanted)
    if is_made and min(p.stat().st_mtime for p in wanted) > page.stat().st_mtime:
        return
    import matplotlib

    import loom
    from loom import embedded

    FOLDER.mkdir(exist_ok=True)
    with (
        embedded.start(memory=True) as server,
        matplotlib.rc_context({"savefig.dpi": 130, "font.size": 9}),
        _inside(FOLDER),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        matplotlib.use("agg")
        namespace: dict[str, Any] = {"__name__": f"page_{page.stem.replace('-', '_')}"}
        try:
            for found in _BLOCK.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                source = "\n" * line + (found[1] or found[2]).replace(ADDRESS, server.uri)
                exec(compile(source, str(page), "exec", dont_inherit=True), namespace)
        finally:
            loom.close()
    missing = [path.name for path in wanted if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{page}: shows {', '.join(missing)}, which its blocks do not save")


@contextlib.contextmanager
def _inside(folder: Path) -> Any:
    """Work in a folder; Python 3.10 has no `contextlib.chdir`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    for page in PAGES:
        make(page)
