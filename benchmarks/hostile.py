"""Does `clickflow serve` ever answer 500, or fall silent, whatever it is sent?

An application in this process, with a small untrained model, is sent hostile requests, each from a seed of its own:
broken and nested JSON, wrong types, sizes and numbers out of bounds, bytes that are no text, headers and paths that
lie, bodies that end early, valid requests bent in one place. Prints one JSON: requests by status and kind, the seeds
of those that got a 5xx, no answer, or one that is no problem detail, and whether a plain question is still answered.

    python benchmarks/hostile.py [--requests 10000] [--seed 0] [--json FILE]
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = (
    "/v1/recommend",
    "/v1/predict",
    "/v1/score",
    "/v1/events",
    "/v1/recommend/batch",
    "/v1/predict/batch",
    "/v1/score/batch",
    "/v1/explain",
    "/v1/segment",
    "/v1/feedback",
    "/v1/console/answers",
    "/v1/console/explain",
    "/v1/console/models/next_step/rollback",
)
GET_PATHS = (
    "/v1/similar/5",
    "/v1/models",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/similar/",
    "/",
    "/page/app.js",
    "/v1/console",
    "/v1/console/subjects",
    "/v1/console/subjects/session/a",
    "/v1/console/items",
    "/v1/console/forecasts",
    "/v1/console/models",
    "/v1/segments",
    "/v1/live",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.0, -0.0, 1e-320, 1e308, "", " ", "5",
    "view", "\x00", "\u202e", "😀" * 300, "a" * 300, "a" * 100_000, [], {}, [[]], [{}], {"a": 1}, ["5"] * 2000,
    [{"item": "5"}] * 3000, "2024-01-01T00:00:00Z", "0000-00-00", "9999-12-31T23:59:59Z", "1969-01-01T00:00:00+14:00",
    "../../etc/passwd", "'; DROP TABLE x", "{{7*7}}", "%s%s%n", "next_step", "NaN", "Infinity",
)  # fmt: skip
FIELDS = (
    "model", "history", "session", "customer", "now", "k", "exclude", "only", "exclude_seen", "categories",
    "price_from", "price_to", "per_category", "diversity", "items", "outputs", "events", "questions", "unknown", "",
    "output", "target", "watch", "request", "clicked", "value", "to", "reason",
    "__proto__",
)  # fmt: skip
STEP_FIELDS = ("item", "action", "time", "category", "price", "quantity", "extra")
Request = tuple[str, str, list[tuple[bytes, bytes]], bytes, bytes]
"""Method, path, headers, query, body."""


def plain(draw: random.Random) -> dict[str, Any]:
    """A body that is right for some route."""
    actions = ["view", "cart", "purchase", "nothing"]
    steps = range(draw.randint(0, 12))
    body: dict[str, Any] = {
        "history": [{"item": str(draw.randint(0, 60)), "action": draw.choice(actions)} for _ in steps]
    }
    body |= {"k": draw.randint(1, 50)} if draw.random() < 0.5 else {}
    body |= {"model": "next_step"} if draw.random() < 0.5 else {}
    return body


def post(draw: random.Random, body: bytes, path: str = "") -> Request:
    """With the headers that a body has."""
    headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")]
    return "POST", path or draw.choice(PATHS), headers, b"", body


def bent(draw: random.Random) -> Request:
    """A right body with fields that are wrong, of the body or of a step."""
    body = plain(draw)
    for _ in range(draw.randint(1, 3)):
        body[draw.choice(FIELDS)] = draw.choice(VALUES)
    history = body.get("history")
    if isinstance(history, list) and history and isinstance(history[0], dict) and draw.random() < 0.5:
        history[0] = {**history[0], draw.choice(STEP_FIELDS): draw.choice(VALUES)}
    path = draw.choice(PATHS)
    if path.endswith("batch") and draw.random() < 0.8:
        body = {"questions": [body] * draw.choice([1, 2, 300])}
    if path == "/v1/events" and draw.random() < 0.8:
        body = {"session": body.get("session", "s"), "events": body.get("history", [])}
    return post(draw, json.dumps(body).encode(), path)


def nested(draw: random.Random) -> Request:
    """Deeper than any reader follows."""
    depth = draw.choice([10, 1000, 100_000, 300_000])
    opening, closing = draw.choice([("[", "]"), ('{"history":', "}"), ('{"a":', "}"), ('[{"questions":', "}]")])
    whole = draw.random() < 0.5
    return post(draw, (opening * depth + ("1" + closing * depth if whole else "")).encode())


def broken(draw: random.Random) -> Request:
    """Right JSON with bytes cut off, turned or put in."""
    body = bytearray(json.dumps(plain(draw)).encode())
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(body) + 1) if body else 0
        turn = draw.randrange(3)
        if turn == 0:
            body[at:] = b""
        elif turn == 1:
            body[at : at + 1] = bytes([draw.randrange(256)])
        else:
            body[at:at] = draw.choice(
                [b"\xff", b"\x00", b'"', b"\\ud800", b"1e999", b"NaN", b"{", b"\xed\xa0\x80", b"\xef\xbb\xbf"]
            )
    return post(draw, bytes(body))


def noise(draw: random.Random) -> Request:
    """Bytes of no meaning."""
    return post(draw, draw.randbytes(draw.choice([0, 1, 10, 1000, 100_000])))


def large(draw: random.Random) -> Request:
    """Over the limit, in one field, in many, or in white space."""
    size = draw.choice([1_100_000, 2_000_000])
    name = draw.choice(["session", "history"])
    body = {"a": b" " * size, "b": b'{"%s":"' % name.encode() + b"x" * size + b'"}'}[draw.choice("ab")]
    return post(draw, body)


def lying(draw: random.Random) -> Request:
    """Headers that are wrong."""
    method, path, headers, query, body = post(draw, json.dumps(plain(draw)).encode())
    wrong: list[tuple[bytes, bytes]] = [
        (b"content-length", draw.choice([b"-1", b"999999999999999999999999", b"abc", b"0"])),
        (b"content-type", draw.choice([b"", b"text/plain", b"application/json; charset=\xff", b"application/xml"])),
        (b"host", draw.choice([b"", b"evil.example", b"[::1", b"127.0.0.1:99999", b"\xff\xfe"])),
        (b"authorization", draw.choice([b"Bearer", b"Bearer \xff\xfe", b"Basic x", b"Bearer " + b"x" * 100_000])),
        (b"x-api-key", draw.choice([b"", b"\x00", b"\xff"])),
        (b"accept", b"\xff/\xff"),
    ]
    return method, path, [*headers, *draw.sample(wrong, draw.randint(1, 4))], query, body


def astray(draw: random.Random) -> Request:
    """Methods, paths and queries of all sorts."""
    method = draw.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW", ""])
    odd = [
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/recommend/",
        "/../../etc/passwd",
        "/v1/similar/" + "x" * 5000,
        "/\x00",
        "/v1/\udcff",
    ]
    path = draw.choice([*PATHS, *GET_PATHS, *odd, "/v1/similar/%2e%2e", "/v1/similar/5/6"])
    query = draw.choice(
        [
            b"",
            b"k=5",
            b"k=-1",
            b"k=abc",
            b"k=1e9",
            b"model=x",
            b"k=1&k=2",
            b"\xff=\xff",
            b"k",
            b"&&&===",
            b"other=1",
            b"unit=session&q=%00",
            b"unit=..%2F..&limit=200",
            b"model=next_step&q=5",
            b"q=%ff&source=demand",
        ]
    )
    return method, path, [(b"host", b"localhost:8600")], query, draw.choice([b"", b"{}"])


def right(draw: random.Random) -> Request:
    """Nothing is wrong with it."""
    return post(draw, json.dumps(plain(draw)).encode(), draw.choice(["/v1/recommend", "/v1/predict"]))


KINDS: Mapping[str, Callable[[random.Random], Request]] = {
    each.__name__: each for each in (bent, nested, broken, noise, large, lying, astray, right)
}
WEIGHTS = (40, 6, 20, 8, 2, 8, 12, 4)


def request(seed: int) -> tuple[str, Request]:
    """The kind and the request of a seed."""
    draw = random.Random(seed)
    (kind,) = draw.choices(tuple(KINDS), WEIGHTS)
    return kind, KINDS[kind](draw)


async def send(app: Any, question: Request, seed: int = 0) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer; status 0: there was none. Some bodies come in pieces, or end early."""
    method, path, headers, query, body = question
    draw = random.Random(-seed - 1)
    cut = draw.random() < 0.02
    half = len(body) // 2
    pieces = [body[:half], body[half:]] if draw.random() < 0.3 else [body]
    messages = [
        {"type": "http.request", "body": piece, "more_body": place + 1 < len(pieces)}
        for place, piece in enumerate(pieces)
    ]
    if cut:
        messages[-1] = {"type": "http.disconnect"}
    status, parts = 0, list[bytes]()
    answer_headers: dict[bytes, bytes] = {}

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def keep(message: Any) -> None:
        nonlocal status, answer_headers
        if message["type"] == "http.response.start":
            status, answer_headers = message["status"], dict(message["headers"])
        else:
            parts.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "root_path": "", "raw_path": path.encode("utf-8", "surrogateescape"), "query_string": query, "headers": headers,
        "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8600),
    }  # fmt: skip
    await app(scope, receive, keep)
    return (-1 if cut and not status else status), answer_headers, b"".join(parts)


def fault_of(status: int, headers: Mapping[bytes, bytes], body: bytes, method: str) -> str:
    """What is wrong with an answer; empty where nothing is. Status -1: who asked has hung up."""
    if status == -1 or (status == 503 and b"not ready" in body):
        return ""
    if status == 0 or status >= 500:
        return f"status {status}: {body[:200]!r}"
    if status < 400 or method == "HEAD":
        return ""
    try:
        problem = json.loads(body)
    except ValueError:
        return f"status {status} without JSON: {body[:100]!r}"
    if (
        headers.get(b"content-type") != b"application/problem+json"
        or problem.get("status") != status
        or not problem.get("next")
    ):
        return f"status {status} is no problem detail: {body[:200]!r}"
    return ""


async def storm(app: Any, requests: int, seed: int) -> dict[str, Any]:
    """Send them all."""
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    faults: dict[int, str] = {}
    slowest, begun = (0.0, 0), time.perf_counter()
    for own in range(seed, seed + requests):
        kind, question = request(own)
        since = time.perf_counter()
        try:
            status, headers, body = await send(app, question, own)
        except Exception as error:
            status, headers, body = 0, {}, repr(error).encode()
        slowest = max(slowest, (time.perf_counter() - since, own))
        statuses[str(status) if status >= 0 else "hung up"] += 1
        kinds[f"{kind} {status // 100}xx" if status > 0 else f"{kind} none"] += 1
        if fault := fault_of(status, headers, body, question[0]):
            faults[own] = f"{kind} {question[0]} {question[1][:60]}: {fault}"
    status, _, body = await send(app, post(random.Random(0), b'{"history":[{"item":"5"}]}', "/v1/recommend"))
    return {
        "requests": requests,
        "seeds": [seed, seed + requests - 1],
        "statuses": dict(sorted(statuses.items())),
        "kinds": dict(sorted(kinds.items())),
        "faults": {str(own): text for own, text in list(faults.items())[:50]},
        "fault_count": len(faults),
        "still_answers": status == 200 and bool(json.loads(body)["items"]),
        "seconds": round(time.perf_counter() - begun, 1),
        "slowest_ms": round(1000 * slowest[0], 1),
        "slowest_seed": slowest[1],
    }


def application(folder: Path) -> Any:
    """A small model behind the real application."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/model")]
    import online_shop

    from clickflow.online.engine import Engine
    from clickflow.online.http import guard, server
    from clickflow.online.http.app import app
    from clickflow.online.http.settings import Settings
    from clickflow.online.state import Memory
    from clickflow.params.serve import Serve

    served = online_shop.exported(folder)
    guard.LINES_A_SECOND = 0
    settings = Settings(serve=Serve(), pseudonym=lambda kind, raw: server.pseudonym(b"k" * 32, kind, raw))
    return app(Engine({served.model: served}), Memory(subjects=1000, steps=500, keep_seconds=60), settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(storm(application(Path(folder)), args.requests, args.seed))
    text = json.dumps(result, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)
    raise SystemExit(0 if not result["fault_count"] and result["still_answers"] else 1)


if __name__ == "__main__":
    main()
