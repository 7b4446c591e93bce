"""One database per tenant, chosen per request.

What: `loom.using` around a request makes all Loom calls in it, in threads and tasks alike,
    go to the tenant's database.
When: customers' data must not mix, and each may be moved or dropped by itself.
When not: thousands of small tenants; a field and an index cost a server less.

Run: python snippets/multi_tenant.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import loom as lm

TENANTS = {"oslo": "snippet_zoo_oslo", "rome": "snippet_zoo_rome"}


class Dragon(lm.Frame):
    name: str


class Audit(lm.Frame):
    text: str


@Dragon.listen("inserted")
async def audit(frames: list[Dragon]) -> None:
    # Listeners run inside the block of the call, so this goes to the tenant, too.
    await Audit.aio.insert_many([{"text": f"new: {frame.name}"} for frame in frames])


@asynccontextmanager
async def tenant(name: str) -> AsyncIterator[None]:
    """Make calls in the block use a tenant's database; as middleware or dependency."""
    if name not in TENANTS:
        raise PermissionError(f"no tenant {name!r}")
    with lm.using(db=TENANTS[name]):
        yield


async def request(who: str, dragons: int) -> int:
    """Serve one request: insert some dragons and return how many the tenant has."""
    async with tenant(who):
        for n in range(dragons):
            await Dragon(name=f"{who} {n}").aio.insert()
            await asyncio.sleep(0)
        return await Dragon.aio.count({})


async def serve() -> None:
    # Both at once: each task has its own context.
    counts = await asyncio.gather(request("oslo", 3), request("rome", 5))
    assert list(counts) == [3, 5]

    async with tenant("oslo"):
        assert await Audit.aio.count({}) == 3
        # Threads of asyncio inherit the context.
        assert await asyncio.to_thread(Dragon.count, {}) == 3

    try:
        await request("atlantis", 1)
    except PermissionError as error:
        print(error)
    else:
        raise AssertionError("a tenant that is not there was served")
    await lm.aio.close()


def main() -> None:
    connection = lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    try:
        asyncio.run(serve())
        with lm.using(db=TENANTS["rome"]):
            assert Dragon.count({}) == 5
    finally:
        for name in TENANTS.values():
            connection.client.drop_database(name)
    print("each tenant saw its own dragons")
    lm.close()


if __name__ == "__main__":
    main()
