"""What sessions and customers did so far: in this process, or in a Redis that several servers share.

A subject is a pseudonym with its kind (`session:…`); raw ids do not get here.
"""

import hashlib
import re
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, Protocol

import msgspec

from clickflow.online.history import Step
from clickflow.system.errors import ClickflowError

PREFIX, KEPT = "clickflow:steps:", "clickflow:kept:"
PATIENCE = 0.5
"""Seconds that a Redis may take."""

History = tuple[Step, ...]


class Kept(NamedTuple):
    """What became of steps that were told. `new`: whether they were kept, and not before under their name."""

    steps: int
    """Of the subject, now."""
    new: bool


class Away(ClickflowError):
    """The state cannot be reached."""


class State(Protocol):
    """The latest steps of each subject, by time."""

    async def history(self, subject: str) -> History:
        """Its steps, the oldest first; none of a subject that is not known. Raises Away."""

    async def append(self, subject: str, steps: Sequence[Step], name: str | None = None) -> Kept:
        """Keep steps, all of which have a time. `name`: of these; those of one name are kept once, however often they
        are sent. Raises Away: they may have been kept nevertheless.
        """

    async def forget(self, subject: str) -> bool:
        """Whether there were steps, which are no more. Raises Away."""

    async def subjects(self, prefix: str, most: int) -> list[str]:
        """Some of those whose name begins so, at most `most`; of this process the latest first. Raises Away."""

    async def wrong(self) -> str:
        """What is wrong; empty where nothing is."""

    @property
    def counts(self) -> dict[str, int]:
        """`subjects` that are kept, `evicted` for room, `expired`; none of them where that is not known."""


def by_time(steps: Iterable[Step]) -> list[Step]:
    """In order of time; steps of one time stay as they are."""
    return sorted(steps, key=lambda step: step.time or 0)


class Memory:
    """In this process: of `subjects` subjects at most `steps` steps each; the longest idle go first."""

    def __init__(self, *, subjects: int, steps: int, keep_seconds: float) -> None:
        self._most, self._steps, self._keep = subjects, steps, keep_seconds
        self._held: OrderedDict[str, tuple[float, History]] = OrderedDict()
        self._named: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()
        self._evicted = self._expired = 0

    async def history(self, subject: str) -> History:
        """As `State`."""
        with self._lock:
            self._expire()
            return self._held.get(subject, (0.0, ()))[1]

    async def append(self, subject: str, steps: Sequence[Step], name: str | None = None) -> Kept:
        """As `State`."""
        with self._lock:
            self._expire()
            if name is not None and _once(subject, name) in self._named:
                return Kept(len(self._held.get(subject, (0.0, ()))[1]), new=False)
            _, before = self._held.pop(subject, (0.0, ()))
            now = tuple(by_time((*before, *steps))[-self._steps :])
            self._held[subject] = (time.monotonic(), now)
            if len(self._held) > self._most:
                self._held.popitem(last=False)
                self._evicted += 1
            if name is not None:
                self._named[_once(subject, name)] = None
                if len(self._named) > self._most:
                    self._named.popitem(last=False)
            return Kept(len(now), new=True)

    async def forget(self, subject: str) -> bool:
        """As `State`."""
        with self._lock:
            return self._held.pop(subject, None) is not None

    async def subjects(self, prefix: str, most: int) -> list[str]:
        """As `State`."""
        with self._lock:
            self._expire()
            return list(islice((name for name in reversed(self._held) if name.startswith(prefix)), most))

    async def wrong(self) -> str:
        """As `State`."""
        return ""

    def _expire(self) -> None:
        """The first are the longest idle: those that are too old go."""
        oldest = time.monotonic() - self._keep
        while self._held and next(iter(self._held.values()))[0] < oldest:
            self._held.popitem(last=False)
            self._expired += 1

    @property
    def counts(self) -> dict[str, int]:
        """As `State`."""
        return {"subjects": len(self._held), "evicted": self._evicted, "expired": self._expired}


APPEND = """
if redis.call('SET', KEYS[2], ARGV[4], 'NX', 'EX', ARGV[3]) then
    for place = 5, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[place]) end
    redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return {redis.call('LLEN', KEYS[1]), redis.call('GET', KEYS[2]) == ARGV[4] and 1 or 0}
"""
"""ARGV[4] is of this request: one that the client sends again, as it does where no reply came, is the same one."""
TRIED = 60
"""Seconds for which it is known that steps without a name were kept: a request that is tried again keeps them once."""


def _once(subject: str, name: str) -> str:
    """What tells that steps of a name were kept; no pseudonym can be read off it."""
    return hashlib.blake2b(f"{subject}\0{name}".encode(), digest_size=16).hexdigest()


class Redis:
    """In a Redis, a list a subject; steps are added, cut and given their time to live in one script, which does nothing
    where it did so before: a Redis that was stopped for a while does what it was asked meanwhile.
    """

    def __init__(self, address: str, *, steps: int, keep_seconds: float) -> None:
        from redis.asyncio import Redis as Client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._client: Any = Client.from_url(
            address, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 1)
        )
        self._steps, self._keep = steps, max(1, round(keep_seconds))
        self._unread = 0

    async def history(self, subject: str) -> History:
        """As `State`. What this program did not write so is passed over, and said by `wrong`."""
        rows = await self._ask(self._client.lrange(PREFIX + subject, 0, -1))
        return tuple(by_time(step for row in rows if (step := self._step(row)) is not None))

    def _step(self, row: bytes) -> Step | None:
        head, body = row[: len(CHECKED) + 4], row[len(CHECKED) + 4 :]
        checked = row.startswith(CHECKED)  # servers of before wrote no check
        if checked and head != CHECKED + _check(body):
            self._unread += 1
            return None
        try:
            return _DECODER.decode(body if checked else row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unread += 1
            return None

    async def append(self, subject: str, steps: Sequence[Step], name: str | None = None) -> Kept:
        """As `State`."""
        request = secrets.token_hex(16)
        key_of_name = KEPT + _once(subject, name or request)
        given = [self._steps, self._keep, TRIED if name is None else self._keep, request, *map(_packed, steps)]
        count, new = await self._ask(self._client.eval(APPEND, 2, PREFIX + subject, key_of_name, *given))
        return Kept(int(count), bool(new))

    async def forget(self, subject: str) -> bool:
        """As `State`."""
        return bool(await self._ask(self._client.delete(PREFIX + subject)))

    async def subjects(self, prefix: str, most: int) -> list[str]:
        """As `State`; by no order, for a Redis keeps none."""

        async def scanned() -> list[str]:
            pattern = PREFIX + re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"
            names: list[str] = []
            async for name in self._client.scan_iter(match=pattern, count=1000):
                names.append(name.decode().removeprefix(PREFIX))
                if len(names) >= most:
                    break
            return names

        return list(await self._ask(scanned()))

    async def wrong(self) -> str:
        """As `State`."""
        try:
            await self._ask(self._client.ping())
        except Away as error:
            return error.what
        steps = (
            f"{self._unread:,} steps in Redis could not be read and were passed over: something else has written them"
        )
        return steps if self._unread else ""

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _ask(self, reply: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            return await reply
        except (RedisError, OSError, TimeoutError) as error:
            raise Away(
                f"Redis, which keeps what visitors did, does not answer: {type(error).__name__}",
                kept="questions with a history in them are answered",
                next_step="start it again; serve.redis of params.yaml names it",
            ) from error

    @property
    def counts(self) -> dict[str, int]:
        """As `State`."""
        return {}


def _packed(step: Step) -> bytes:
    """A step as Redis keeps it, with a check of its bytes: without it another item could be read off a flipped bit."""
    body = _ENCODER.encode(step)
    return CHECKED + _check(body) + body


def _check(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


CHECKED = b"\xc1"
"""Begins a step that has a check before it; nothing of msgpack begins so."""
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Step)
