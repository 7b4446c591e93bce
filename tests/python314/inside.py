"""What runs inside Pyodide: pytest, on the tests that need neither a server nor an event loop."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

TESTS = (
    "tests/python314/deferred.py",
    "tests/test_annotations.py",
    "tests/test_document.py",
    "tests/test_encoding.py",
    "tests/test_errors.py",
    "tests/test_fields.py",
    "tests/test_jsonable.py",
    "tests/test_paths.py",
    "tests/test_projections.py",
    "tests/test_queries.py",
)


class WithoutServer:
    """Leaves out the tests that ask for a server, and the awaited ones."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Function]
    ) -> None:
        left_out = [
            item
            for item in items
            if "server" in item.fixturenames or inspect.iscoroutinefunction(item.obj)
        ]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def no_processes(*arguments: Any, **options: Any) -> NoReturn:
    pytest.skip("there are no processes in Pyodide")


def main(arguments: Sequence[str] = ()) -> int:
    print(f"Python {sys.version.split()[0]} on {sys.platform}", flush=True)
    if sys.version_info < (3, 14):
        print("expected Python 3.14 or newer; pin a newer Pyodide in package.json")
        return 1
    subprocess.Popen = no_processes  # type: ignore[assignment, misc]
    # There are no threads either, so that a hang cannot be noticed.
    options = ["-p", "no:cacheprovider", "-o", "addopts=", "-o", "faulthandler_timeout=0", "-rs"]
    return int(pytest.main([*options, *(arguments or TESTS)], plugins=[WithoutServer()]))
