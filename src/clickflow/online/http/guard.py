"""What stands before every route: keys, limits, time, and after it: the answer or the problem, counted and logged."""

import asyncio
import itertools
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response

from clickflow.online.engine import Busy
from clickflow.online.http import problems
from clickflow.online.http.keys import Key, hashed
from clickflow.online.http.problems import Refused
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service
from clickflow.online.http.tracing import HEADERS
from clickflow.online.state import Away
from clickflow.system.errors import ClickflowError, UsageError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LINES_A_SECOND = 100
"""Of the log; more are counted, and the next second says how many."""
TIMES = "a time is microseconds since 1970 UTC, or RFC 3339 with a zone: 2026-01-30T12:00:00Z"
JSON = (b"content-type", b"application/json")
PLAIN = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
_START, _NUMBER = secrets.token_hex(4), itertools.count(1)
_encoder = msgspec.json.Encoder()


class Gone(Exception):
    """The client has hung up."""


class Endpoint:
    """A route as an ASGI application."""

    def __init__(self, service: Service, route: Route) -> None:
        self._service, self._route = service, route
        self._decoder = None if route.takes is None else msgspec.json.Decoder(route.takes)
        self._seconds = service.metrics.seconds.labels(route.path)
        self._done = service.metrics.requests.labels(route.path, str(route.status))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = time.perf_counter()
        service, route = self._service, self._route
        call = Call(fresh(), route.path, scope.get("path_params") or {})
        span = trace(service, route, call, scope)
        refused: Refused | None = None
        try:
            async with asyncio.timeout(route.seconds or service.serve.timeout_seconds):
                answer = await self._answered(call, scope, receive)
            body = b"" if isinstance(answer, Response) else _encoder.encode(answer)
        except Gone:
            if span is not None:
                span(None)
            return
        except BaseException as error:
            refused = refusal(error, call, reading=self._decoder is not None and call.body is None)
            answer = problems.response(refused, call.request, language_of(scope))
        if isinstance(answer, Response):
            status = answer.status_code
            answer.headers.setdefault("x-content-type-options", "nosniff")
            answer.headers.setdefault("x-request-id", call.request)
            await answer(scope, receive, send)
        else:
            status = route.status
            own = (b"x-request-id", call.request.encode())
            headers = [JSON, (b"content-length", b"%d" % len(body)), own, *PLAIN]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        seconds = time.perf_counter() - begun
        self._seconds.observe(seconds)
        counter = self._done if status == route.status else service.metrics.requests.labels(route.path, str(status))
        counter.inc()
        if span is not None:
            span(status)
        if refused is not None or service.serve.log_requests:
            log(call, status, seconds, refused)

    async def _answered(self, call: Call, scope: Scope, receive: Receive) -> Any:
        service, route = self._service, self._route
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        call.key, client = let_in(service, route, headers, scope)
        if service.bucket is not None and (wait := service.bucket.wait(client, time.monotonic())):
            raise Refused("too-many", f"{client} may ask again in {wait:.2f} s", retry_after=wait)
        if route.query is not None:
            given = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
            call.query = msgspec.convert(dict(given), route.query, strict=False)
        if self._decoder is not None:
            if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
                raise Refused("not-json", "the body's Content-Type is not application/json")
            call.body = self._decoder.decode(await body_of(receive, headers, service.serve.max_body_kb * 1024))
        call.understood = True
        return await route.answer(service, call)


def language_of(scope: Scope) -> bytes:
    """In which language whoever asks wants to be told what is wrong, as `Accept-Language`."""
    return next((value for name, value in scope["headers"] if name == b"accept-language"), b"")


def let_in(service: Service, route: Route, headers: Mapping[bytes, bytes], scope: Scope) -> tuple[Key | None, str]:
    """The key of a request, and who is counted as its client. Raises Refused where it may not ask this.

    Where there are no keys, whoever reaches the server may ask, but for what changes champions; names other than
    loopback's are refused there, so that no page of another site can ask in a browser's name.
    """
    keys = service.settings.keys()
    if not keys:
        host = headers.get(b"host", b"localhost").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] if ":" in host else host
        if name not in LOOPBACK:
            raise Refused("not-allowed", "without keys the server answers to loopback's names only")
        if route.scope == "promote":
            raise Refused("no-key", "what changes champions needs a key with the scope promote")
        return None, str((scope.get("client") or ("local",))[0])
    given = headers.get(b"x-api-key", b"")
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    given = token.strip() if kind.lower() == b"bearer" else given
    key = keys.get(hashed(given.decode("latin-1"))) if given else None
    if route.scope is None:
        return key, key.name if key else str((scope.get("client") or ("unknown",))[0])
    if key is None:
        raise Refused("no-key", "the key is not known" if given else "there is no key in the request")
    if route.scope not in key.scopes:
        raise Refused("not-allowed", f"the key {key.name} lacks the scope {route.scope}")
    return key, key.name


async def body_of(receive: Receive, headers: Mapping[bytes, bytes], most: int) -> bytes:
    """The body. Raises Refused where it has over `most` bytes, Gone where the client hangs up."""
    said = headers.get(b"content-length", b"")
    if said.isdigit() and int(said[:20]) > most:
        raise _large(most)
    message = await receive()
    parts, size = [], 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
    raise Gone


def _large(most: int) -> Refused:
    return Refused("too-large", f"a body has at most {most:,} bytes here (serve.max_body_kb)")


def refusal(error: BaseException, call: Call, *, reading: bool = False) -> Refused:
    """What a client is told of an error; a fault of this program goes to the log, and only its id to the client."""
    match error:
        case Refused():
            return error
        case msgspec.ValidationError() if not call.understood:
            text, _, where = str(error).partition(" - at `")
            where = where.rstrip("`")
            return Refused("invalid", text, TIMES if where.endswith((".time", ".now")) else "", where=where)
        case msgspec.DecodeError() | RecursionError() | UnicodeDecodeError() if not call.understood:
            nested = isinstance(error, RecursionError)
            return Refused("malformed", "the body is nested too deeply" if nested else f"the body is no JSON: {error}")
        case TimeoutError():
            return Refused("too-slow", "the body did not come") if reading else Refused("timeout", "no answer in time")
        case Away() | Busy():
            return Refused("not-ready", error.what, error.next_step, retry_after=1)
        case UsageError():
            return Refused("not-found", error.what, error.next_step)
        case ClickflowError():
            return Refused("not-ready", error.what, error.next_step)
        case Exception():
            places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
            write({"level": "error", "request": call.request, "fault": type(error).__name__, "at": places[-8:]})
            return Refused("fault", f"{type(error).__name__}; the log has it as {call.request}")
        case _:
            raise error


@dataclass
class _Written:
    """How many lines this second has, and how many were not written."""

    second: int = 0
    lines: int = 0
    left_out: int = 0


_written = _Written()


def log(call: Call, status: int, seconds: float | None, refused: Refused | None) -> None:
    """A line about a request: no path, body, address or id of a person. `seconds`: None of what no route has taken."""
    line: dict[str, Any] = {
        "level": "info" if status < 500 else "error",
        "request": call.request,
        "route": call.route,
        "status": status,
    } | ({} if seconds is None else {"ms": round(1000 * seconds, 2)})
    known = {"key": call.key and call.key.name, "model": call.model, "version": call.version}
    line |= {name: value for name, value in known.items() if value}
    if refused is not None:
        line["problem"] = refused.name
    write(line)


def write(line: Mapping[str, Any]) -> None:
    """One JSON object on standard error; at most `LINES_A_SECOND`, so that a flood of requests fills no disk."""
    second = int(time.time())
    if second != _written.second:
        left = _written.left_out
        _written.second, _written.lines, _written.left_out = second, 0, 0
        if left:
            _put({"level": "warning", "left_out": left})
    _written.lines += 1
    if _written.lines > LINES_A_SECOND:
        _written.left_out += 1
        return
    _put(line)


def _put(line: Mapping[str, Any]) -> None:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        sys.stderr.write(json.dumps({"time": stamp, **line}) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads the log: no reason to answer nobody


def trace(service: Service, route: Route, call: Call, scope: Scope) -> Callable[[int | None], None] | None:
    """Open a span of OpenTelemetry, a part of the trace that the request names; what is returned ends it, of who has
    hung up without a status. None where no tracer is set.
    """
    tracer = service.settings.extra.get("tracer")
    if tracer is None:
        return None
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    span = tracer.start_span(f"{route.method} {route.path}", {name: named[name] for name in HEADERS if name in named})

    def end(status: int | None) -> None:
        attributes: dict[str, Any] = {
            "http.request.method": route.method,
            "http.route": route.path,
            "clickflow.request": call.request,
        }
        if call.model:
            attributes |= {"clickflow.model": call.model, "clickflow.version": call.version}
        if status is not None:
            attributes["http.response.status_code"] = status
        if status is None or status >= 500:
            attributes["error.type"] = "gone" if status is None else str(status)
        span.set_attributes(attributes)
        span.end()

    return end


def fresh() -> str:
    """An id for a request."""
    return f"{_START}-{next(_NUMBER):x}"
