"""The operations of Frame, blocking and awaited."""

from __future__ import annotations

from loom import Q

from .conftest import Runtime
from .zoo import Dragon


async def test_insert_gives_the_frame_its_id(call: Runtime) -> None:
    """What was inserted is found again under the id that the frame got."""
    burt = Dragon(name="Burt")
    await call(burt).insert()

    assert burt == await call(Dragon).by_id(burt._id)
    assert (await call(Dragon).one(Q.name == "Burt")).name == "Burt"


async def test_each_streams_every_frame(call: Runtime) -> None:
    """`each` yields all frames over several batches."""
    await call(Dragon).insert_many([{"age": n} for n in range(2_500)])

    assert list(range(2_500)) == sorted([d.age async for d in call(Dragon).each()])
