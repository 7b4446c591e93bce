"""A JSON API on Tornado.

What: handlers that await Loom, a listener, errors as answers; started on a free port and
    requested once.
When: a Tornado service reads and writes MongoDB.
When not: the handlers would block anyway; then run them in threads, with blocking calls.

Run: python snippets/tornado_app.py
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime
from typing import Any

import tornado.web
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

import loom as lm
from loom import Q


class Dragon(lm.Frame):
    _private_fields = {"secret"}
    name: str
    age: int
    secret: str
    created: datetime
    modified: datetime


Dragon.listen("insert", Dragon.timestamp_insert)
Dragon.listen("update", Dragon.timestamp_update)

STATUS = {lm.NotFound: 404, lm.Gone: 410, lm.Duplicate: 409, KeyError: 400, ValueError: 400}


class Handler(tornado.web.RequestHandler):
    def write_error(self, status_code: int, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        self.set_status(next((s for e, s in STATUS.items() if isinstance(error, e)), status_code))
        self.finish({"error": type(error).__name__})

    def log_exception(self, kind: Any, error: Any, traceback: Any) -> None:
        if not isinstance(error, tuple(STATUS)):
            super().log_exception(kind, error, traceback)


class Dragons(Handler):
    async def get(self) -> None:
        oldest = int(self.get_query_argument("age", "0"))
        dragons = await Dragon.aio.many(Q.age >= oldest, sort="name", limit=100)
        self.finish({"dragons": [dragon.to_json_type() for dragon in dragons]})

    async def post(self) -> None:
        body = json.loads(self.request.body)
        dragon = Dragon(name=str(body["name"]), age=int(body["age"]), secret="afraid of mice")
        await dragon.aio.insert()
        self.set_status(201)
        self.finish(dragon.to_json_type())


class OneDragon(Handler):
    async def get(self, id: str) -> None:
        dragon = await Dragon.aio.by_id(id, required=True)
        self.finish(dragon.to_json_type())


async def serve_and_visit() -> None:
    server = HTTPServer(tornado.web.Application([("/", Dragons), ("/([0-9a-f]{24})", OneDragon)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    client = AsyncHTTPClient()
    try:
        body = json.dumps({"name": "Burt", "age": 130})
        made = await client.fetch(address, method="POST", body=body)
        burt = json.loads(made.body)
        assert (made.code, burt["name"], "secret" in burt) == (201, "Burt", False)

        answers = await asyncio.gather(*[client.fetch(f"{address}?age={age}") for age in range(8)])
        assert all(json.loads(answer.body)["dragons"] == [burt] for answer in answers)

        wrong: list[tuple[str, str, str | None, int]] = [
            ("0" * 24, "GET", None, 404),
            ("", "POST", "{}", 400),
            ("?age=old", "GET", None, 400),
        ]
        for path, method, content, status in wrong:
            refused = await client.fetch(
                address + path, method=method, body=content, raise_error=False
            )
            assert refused.code == status, refused.body
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()
        await lm.aio.close()


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    asyncio.run(serve_and_visit())
    print("served and visited")
    lm.close()


if __name__ == "__main__":
    main()
