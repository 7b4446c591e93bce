"""A JSON API on Starlette, with a streamed list.

What: endpoints that await Loom, errors as answers, a long list as it is read; requested
    in-process through ASGI.
When: an ASGI service reads and writes MongoDB.
When not: requests want describing and checking; fastapi_app.py does that.

Run: python snippets/starlette_app.py
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import loom as lm


class Dragon(lm.Frame):
    name: str
    age: int


async def create(request: Request) -> Response:
    body = await request.json()
    dragon = Dragon(name=str(body["name"]), age=int(body["age"]))
    await dragon.aio.insert()
    return JSONResponse(dragon.to_json_type(), 201)


async def show(request: Request) -> Response:
    dragon = await Dragon.aio.by_id(request.path_params["id"], required=True)
    return JSONResponse(dragon.to_json_type())


async def export(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        # The cursor is closed also when the client goes away.
        async with Dragon.aio.each(sort="age") as dragons:
            async for dragon in dragons:
                yield json.dumps(dragon.to_json_type()) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def refused(request: Request, error: Exception) -> Response:
    status = {lm.NotFound: 404, lm.Duplicate: 409}[type(error)]
    return JSONResponse({"error": type(error).__name__}, status)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    yield
    await lm.aio.close()
    lm.close()


app = Starlette(
    routes=[
        Route("/dragons", create, methods=["POST"]),
        Route("/dragons", export),
        Route("/dragons/{id}", show),
    ],
    exception_handlers={lm.NotFound: refused, lm.Duplicate: refused},
    lifespan=lifespan,
)


async def visit() -> None:
    transport = httpx2.ASGITransport(app)
    async with lifespan(app), httpx2.AsyncClient(transport=transport, base_url="http://zoo") as web:
        made = await web.post("/dragons", json={"name": "Burt", "age": 130})
        assert made.status_code == 201
        burt = made.json()

        found = await web.get(f"/dragons/{burt['_id']}")
        assert found.json() == burt
        assert (await web.get(f"/dragons/{'0' * 24}")).status_code == 404

        many = [web.post("/dragons", json={"name": "Egg", "age": n}) for n in range(20)]
        assert {answer.status_code for answer in await asyncio.gather(*many)} == {201}
        lines = (await web.get("/dragons")).text.splitlines()
        assert len(lines) == 21
        assert json.loads(lines[-1]) == burt


def main() -> None:
    asyncio.run(visit())
    print("served and visited")


if __name__ == "__main__":
    main()
