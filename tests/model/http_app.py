"""The application of `clickflow serve` in this process, and how tests ask it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from clickflow.online import state
from clickflow.online.engine import Engine
from clickflow.online.http import server
from clickflow.online.http.app import app
from clickflow.online.http.settings import Settings
from clickflow.online.served import Served
from clickflow.params.serve import Serve

KEY = b"k" * 32
VISIT: list[dict[str, Any]] = [{"item": "5"}, {"item": "6", "action": "cart", "price": 3.5}]

Ask = Callable[..., httpx.Response]


def client(served: Served | None, host: str = "127.0.0.1", **given: Any) -> Ask:
    """Ask an application in this process: `ask(method, path, **words of httpx)`."""
    limits = Serve(**given.pop("serve", {}))
    memory = state.Memory(subjects=limits.subjects, steps=limits.steps, keep_seconds=60)
    settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw), **given)
    return asking(app(Engine({} if served is None else {served.model: served}), memory, settings), host)


def asking(application: Any, host: str = "127.0.0.1") -> Ask:
    """Ask an application in this process."""

    def ask(method: str, path: str, **words: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(application, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
                return await http.request(method, path, **words)

        return asyncio.run(once())

    return ask
