"""The application: an engine, a state and settings become routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Place
from starlette.types import Receive, Scope, Send

from clickflow.online.engine import Engine
from clickflow.online.http import about, answers, guard, metrics, openapi, problems, shop
from clickflow.online.http.keys import Bucket
from clickflow.online.http.problems import Refused
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Observers, Service, Settings
from clickflow.online.live import routes as live
from clickflow.online.page import routes as page
from clickflow.online.state import State
from clickflow.online.why import routes as why

UNMATCHED = "unmatched"
"""In counts and in the log, of what no route is for."""
SHOWN = 5.0
"""Seconds between two looks at what gauges show."""


async def schema(_: Service, __: Call) -> Response:
    """The schema of all routes."""
    return Response(_document(), media_type="application/json")


ROUTES: tuple[Route, ...] = (
    *answers.ROUTES,
    *about.ROUTES,
    *shop.ROUTES,
    *live.ROUTES,
    *page.ROUTES,
    *why.ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        answer=schema,
        scope=None,
        media="application/json",
        summary="This schema, OpenAPI 3.1.",
    ),
)
"""Every route of the server; other modules add theirs here."""


class Direct(Starlette):
    """Routes whose path is one text are found by it: Starlette's layers try one route after the other, and catch what
    an `Endpoint` catches itself. All that stands before and after a route is the endpoint's: a middleware of Starlette
    would not see these requests, and there is none. Other methods and paths go through Starlette, which says what there
    is not.
    """

    endpoints: Mapping[tuple[str, str], guard.Endpoint] = MappingProxyType({})
    """By method and path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self.endpoints.get((scope["method"], scope["path"]))
            if endpoint is not None:
                return await endpoint(scope, receive, send)
        return await super().__call__(scope, receive, send)


def _document() -> bytes:
    return msgspec.json.encode(openapi.document(ROUTES))


def app(engine: Engine, state: State, settings: Settings) -> Direct:
    """The server's application; many may be made in one process."""
    counted = metrics.new()
    engine.together = counted.batches.observe
    if (live := settings.extra.get("live")) is not None:
        live.log.counted = counted.lost.inc
        live.failed = counted.failed.labels("shadow").inc
    service = Service(
        engine=engine,
        state=state,
        settings=settings,
        metrics=counted,
        observers=Observers(settings.observers, counted),
        bucket=None if settings.serve.rate is None else Bucket(settings.serve.rate, settings.serve.burst),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        shown = asyncio.create_task(_shown(service))  # of several workers one is asked for what all of them show
        yield
        shown.cancel()
        settings.at_end()
        service.observers.close()

    endpoints = [(route, guard.Endpoint(service, route)) for route in ROUTES]
    direct = Direct(
        routes=[Place(route.path, endpoint, methods=[route.method]) for route, endpoint in endpoints],
        exception_handlers={HTTPException: _no_such, Exception: _fault},
        lifespan=lifespan,
    )
    direct.endpoints = {(route.method, route.path): own for route, own in endpoints if "{" not in route.path}
    direct.state.service = service
    direct.router.redirect_slashes = False
    return direct


async def _shown(service: Service) -> None:
    while True:
        with contextlib.suppress(Exception):  # what is wrong is said where it is made
            await about.show(service)
        await asyncio.sleep(SHOWN)


async def _no_such(request: Request, error: Exception) -> Response:
    """A path or a method that there is not."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        name, detail = "wrong-method", f"the path takes {(error.headers or {})['Allow']}"
    else:
        name, detail = "not-found", "there is no such path"
    return _refusal(request, Call(guard.fresh(), UNMATCHED, {}), Refused(name, detail), error.headers)


async def _fault(request: Request, error: Exception) -> Response:
    """What no route has caught."""
    call = Call(guard.fresh(), UNMATCHED, {})
    return _refusal(request, call, guard.refusal(error, call))


def _refusal(request: Request, call: Call, refused: Refused, headers: Any = None) -> Response:
    answer = problems.response(refused, call.request, guard.language_of(request.scope))
    own = {"x-content-type-options": "nosniff", "x-request-id": call.request}
    answer.headers.update(own | dict(headers or {}))
    service: Service = request.app.state.service
    service.metrics.requests.labels(call.route, str(answer.status_code)).inc()
    guard.log(call, answer.status_code, None, refused)
    return answer
