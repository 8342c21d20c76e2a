"""Requests at a rate, whatever the server does: an open-loop generator, in a process of its own, to loopback alone.

    python benchmarks/load.py --url http://127.0.0.1:8600/v1/recommend --bodies FILE --rate 1500 --seconds 30 --json OUT

FILE holds a JSON body a line, asked in turn. Requests are due at the times of a Poisson process (`--seed`); the latency
of one is counted from when it was due, so that time in the queue is seen. `--rate 0` asks one by one, each when the one
before it is answered. `late_ms` is how far behind the generator itself was: where it is not small, the generator, and
not the server, was measured.
"""

import argparse
import asyncio
import ipaddress
import json
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 10.0
"""Seconds after the last request was due that answers are waited for."""
PERCENTILES = (50, 90, 99, 99.9)


def drive(url: str, bodies: Sequence[Any], *, rate: float, seconds: float, connections: int = 64, **words: Any) -> Any:
    """What `main` prints, from a process of its own; `words` are further options (`key`, `seed`, `every`)."""
    with TemporaryDirectory() as folder:
        bodies_file, result_file = Path(folder, "bodies"), Path(folder, "result")
        bodies_file.write_text("\n".join(body if isinstance(body, str) else json.dumps(body) for body in bodies))
        options = {"url": url, "bodies": bodies_file, "rate": rate, "seconds": seconds, "connections": connections}
        command = [sys.executable, __file__, "--json", str(result_file)]
        for name, value in (options | words).items():
            command += [f"--{name}", str(value)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(result_file.read_text())


class Connection(asyncio.Protocol):
    """One kept-alive connection of HTTP/1.1, a request at a time."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._transport: Any = None
        self._due = 0.0
        self._busy = False
        self._read = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Of asyncio."""
        self._transport = transport

    def send(self, due: float, request: bytes) -> None:
        """Ask; `due`: since when the answer is waited for."""
        self._due, self._busy = due, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Of asyncio: a part of an answer."""
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._read[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._read) < end + 4 + length:
            return
        status, closes = int(head[9:12]), b"connection: close" in head
        self._read.clear()
        self._busy = False
        self._load.answered(self, self._due, status, closes=closes)

    def connection_lost(self, _: Exception | None) -> None:
        """Of asyncio."""
        if self._busy:
            self._load.answered(self, self._due, 0, closes=True)
        else:
            self._load.lost(self)


class Load:
    """The requests of one run, and how they went."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes], started: float, every: float) -> None:
        self._host, self._port, self._requests, self._every = host, port, requests, every
        self._started = started
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._next = 0
        self.open = 0
        self.sent = 0
        self.done = 0
        self.taken: list[float] = []
        self.late: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.parts: dict[int, list[float]] = {}
        self.closed_loop = False

    async def connect(self) -> None:
        """One more connection."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        except OSError:
            return
        self.open += 1
        self._free(connection)

    def ask(self, due: float) -> None:
        """One more request, as soon as a connection is free."""
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        self.sent += 1
        if self._idle:
            now = time.perf_counter()
            self.late.append(now - due)
            self._idle.popleft().send(due, request)
        else:
            self._waiting.append((due, request))

    def answered(self, connection: Connection, due: float, status: int, *, closes: bool) -> None:
        """An answer, or with status 0 the loss of its connection."""
        now = time.perf_counter()
        self.done += 1
        self.statuses[status] += 1
        self.taken.append(now - due)
        if self._every:
            self.parts.setdefault(int((now - self._started) / self._every), []).append(now - due)
        if closes:
            self.lost(connection)
        else:
            self._free(connection)
        if self.closed_loop:
            self.ask(time.perf_counter())

    def lost(self, connection: Connection) -> None:
        """Another connection in the place of one that is no more."""
        if connection in self._idle:
            self._idle.remove(connection)
        self.open -= 1
        asyncio.get_running_loop().create_task(self.connect())

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            due, request = self._waiting.popleft()
            connection.send(due, request)
        else:
            self._idle.append(connection)


async def run(args: argparse.Namespace, requests: Sequence[bytes]) -> dict[str, Any]:
    """Ask for `args.seconds`, wait for the last answers, and say how it went."""
    at = urlsplit(args.url)
    load = Load(at.hostname or "", at.port or 80, requests, time.perf_counter(), args.every)
    await asyncio.gather(*(load.connect() for _ in range(args.connections if args.rate else 1)))
    if not load.open:
        raise SystemExit(f"load: nothing answers at {args.url}")
    draw = random.Random(args.seed)
    begun = time.perf_counter()
    end = begun + args.seconds
    if args.rate:
        due = begun
        while (due := due + draw.expovariate(args.rate)) < end:
            ahead = due - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            load.ask(due)
            if ahead <= 0 and load.sent % 64 == 0:
                await asyncio.sleep(0)
    else:
        load.closed_loop = True
        load.ask(begun)
        await asyncio.sleep(args.seconds)
        load.closed_loop = False
    last = time.perf_counter()
    while load.done < load.sent and time.perf_counter() < last + PATIENCE:
        await asyncio.sleep(0.01)
    return figures(args, load, time.perf_counter() - begun)


def figures(args: argparse.Namespace, load: Load, seconds: float) -> dict[str, Any]:
    """The figures of a run."""
    good = sum(count for status, count in load.statuses.items() if 200 <= status < 300)
    lost = load.sent - load.done
    return {
        "url": args.url,
        "rate_asked": args.rate,
        "connections": args.connections if args.rate else 1,
        "seconds": round(seconds, 3),
        "sent": load.sent,
        "answered": load.done,
        "errors": load.done - good + lost,
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "unanswered": lost,
        "processor_ms": round(1000 * time.process_time() / max(load.sent, 1), 3),
        "requests_per_second": round(good / max(seconds, 1e-9), 1),
        "latency_ms": percentiles(load.taken),
        "late_ms": percentiles(load.late),
        "parts": [
            {"from": round(part * args.every, 1), "answers": len(taken), **percentiles(taken)}
            for part, taken in sorted(load.parts.items())
        ],
    }


def percentiles(taken: Sequence[float]) -> dict[str, float]:
    """In milliseconds; by the nearest rank."""
    ordered = sorted(taken)
    if not ordered:
        return {}
    milliseconds = {f"p{p:g}": ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in PERCENTILES}
    return {name: round(1000 * value, 3) for name, value in (milliseconds | {"max": ordered[-1]}).items()}


def request_of(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST, or of a GET where the body is empty."""
    at = urlsplit(url)
    path = at.path + (f"?{at.query}" if at.query else "")
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: {at.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a JSON body a line; an empty file: GET")
    parser.add_argument("--rate", type=float, required=True, help="requests a second; 0: one by one")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--key", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=0, help="also percentiles of each so many seconds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    host = urlsplit(args.url).hostname or ""
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise SystemExit("load: only loopback is asked")
    headers = {"Authorization": f"Bearer {args.key}"} if args.key else {}
    bodies = args.bodies.read_bytes().splitlines() or [b""]
    requests = [request_of(args.url, body, headers) for body in bodies]
    try:
        import uvloop

        result = uvloop.run(run(args, requests))
    except ImportError:
        result = asyncio.run(run(args, requests))
    text = json.dumps(result, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
