"""Work with files, off the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")

from loom.frames.arrow.files import Files
from loom.frames.port import complete

setting: ContextVar[str] = ContextVar("setting", default="outside")


def test_blocking_work_is_done_at_once() -> None:
    """No event loop and no thread is needed."""
    assert threading.get_ident() == complete(Files(False).do(threading.get_ident))


async def test_awaited_work_is_done_by_threads() -> None:
    """The loop goes on, results and errors come back, and what was set is seen."""
    files = Files(True)
    held = threading.Event()
    work = asyncio.ensure_future(files.do(held.wait, 60))
    while not work.done():  # which would never end on the loop itself
        await asyncio.sleep(0)
        held.set()
    setting.set("inside")

    assert work.result()
    assert threading.get_ident() != await files.do(threading.get_ident)
    assert "inside" == await files.do(setting.get)
    with pytest.raises(ZeroDivisionError):
        await files.do(divmod, 1, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_work_comes_to_its_end(fails: bool) -> None:
    """The cancellation is raised when the thread is done, however often it comes."""
    began, held, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        held.wait(60)
        ended.set()
        if fails:
            raise OSError("disk full")

    task = asyncio.ensure_future(Files(True).do(work))
    while not began.is_set():
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()
