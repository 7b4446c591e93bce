"""A described and checked JSON API on FastAPI, one database per tenant.

What: Pydantic models at the border, frames behind it, a dependency that picks the tenant's
    database; requested in-process through ASGI.
When: the API is for others, who want its description and clear refusals.
When not: frames are all that is wanted; starlette_app.py is shorter.

Run: python snippets/fastapi_app.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

import loom as lm
from loom import Q

TENANTS = {"oslo": "snippet_api_oslo", "rome": "snippet_api_rome"}


class Dragon(lm.Frame):
    name: str
    age: int
    secret: str = "afraid of mice"


class NewDragon(BaseModel):
    name: str = Field(min_length=1)
    age: int = Field(ge=0)


class ShownDragon(NewDragon):
    id: str

    @classmethod
    def of(cls, dragon: Dragon) -> ShownDragon:
        return cls(id=str(dragon._id), name=dragon.name, age=dragon.age)


async def tenant(x_tenant: Annotated[str, Header()]) -> AsyncIterator[None]:
    # `async def`: a plain generator would run in a thread, and its block would end there.
    if x_tenant not in TENANTS:
        raise HTTPException(403, "no such tenant")
    with lm.using(db=TENANTS[x_tenant]):
        yield


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    yield
    await lm.aio.close()
    lm.close()


app = FastAPI(lifespan=lifespan, dependencies=[Depends(tenant)])


@app.post("/dragons", status_code=201)
async def create(new: NewDragon) -> ShownDragon:
    dragon = Dragon(**new.model_dump())
    await dragon.aio.insert()
    return ShownDragon.of(dragon)


@app.get("/dragons")
async def index(age: int = 0) -> list[ShownDragon]:
    dragons = await Dragon.aio.many(Q.age >= age, sort="name", limit=100)
    return [ShownDragon.of(dragon) for dragon in dragons]


@app.get("/count")
def count() -> int:
    # A plain endpoint runs in a thread, where blocking calls are right.
    return Dragon.count({})


async def visit() -> None:
    transport = httpx2.ASGITransport(app)
    oslo, rome = {"X-Tenant": "oslo"}, {"X-Tenant": "rome"}
    async with lifespan(app), httpx2.AsyncClient(transport=transport, base_url="http://zoo") as web:
        try:
            made = await web.post("/dragons", json={"name": "Burt", "age": 130}, headers=oslo)
            assert made.json() == {"id": made.json()["id"], "name": "Burt", "age": 130}

            assert (await web.get("/dragons?age=100", headers=oslo)).json() == [made.json()]
            assert (await web.get("/dragons", headers=rome)).json() == []
            assert (await web.get("/count", headers=oslo)).json() == 1

            wrong = await web.post("/dragons", json={"name": "", "age": -1}, headers=oslo)
            assert wrong.status_code == 422
            assert (await web.get("/dragons", headers={"X-Tenant": "rom"})).status_code == 403
        finally:
            for name in TENANTS.values():
                await Dragon.aio.get_client().drop_database(name)


def main() -> None:
    asyncio.run(visit())
    print("served and visited")


if __name__ == "__main__":
    main()
