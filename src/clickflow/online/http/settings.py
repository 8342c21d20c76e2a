"""The settings of the server, and what its routes share while it runs."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec import Struct

from clickflow.online.engine import Engine
from clickflow.online.history import Question
from clickflow.online.http.keys import Bucket, Key
from clickflow.online.http.metrics import Metrics
from clickflow.online.http.problems import Refused
from clickflow.online.state import State
from clickflow.params.serve import Serve
from clickflow.system import console

PAUSE = 0.02
"""Seconds in which answers gather before observers are told: to wake them for each would hold up who answers."""
VIEW = "view"
"""What was done where nothing is said of it."""
WAITING = 10_000
"""Answers that may wait for observers; those above are dropped, and counted."""


class Answered(Struct, frozen=True):
    """An answer that was given, for observers. `session`, `customer`: pseudonyms."""

    route: str
    model: str
    version: int
    question: Question
    answer: Any
    """The struct of the schema that was sent."""
    request: str
    time: int
    """Microseconds since 1970 UTC."""
    seconds: float
    session: str | None = None
    customer: str | None = None
    name: str = ""
    """What the engine calls who answered: the model, or its canary."""
    reply: Any = None
    """The engine's answer."""
    rules: Any = None


Observer = Callable[[Answered], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an application is told.

    `pseudonym`: of kind `session` or `customer` and a raw id; None where the text stands for nobody. Raises ValueError
    where it is no id.
    """

    serve: Serve = field(default_factory=Serve)
    pseudonym: Callable[[str, str], str | None]
    action: Callable[[str | None], str | None] = lambda word: word or VIEW
    """From a shop's word for what was done (None: none was said) to the type of event; None: such events are left out
    (`source.event_types`).
    """
    keys: Callable[[], Mapping[bytes, Key]] = dict
    """The keys as they are now; none: whoever reaches the server may ask."""
    wrong: Callable[[], Mapping[str, str]] = dict
    """What is wrong with champions, by model."""
    champions: Callable[[], Mapping[str, int]] = dict
    """The version that should answer, by model; 0: none."""
    next: Callable[[], Mapping[str, str]] = dict
    """What mends it, by the same names."""
    observers: Sequence[Observer] = ()
    gap: Callable[[str], int | None] = lambda _: None
    """Of a unit: microseconds between two steps after which another sequence begins; None: they all are one."""
    choose: Callable[[str, str | None], str] | None = None
    """From a model and the subject's pseudonym to the one of the engine's names that answers: a canary's place."""
    at_end: Callable[[], object] = lambda: None
    """Called when the application ends."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What routes of other modules need."""


class Observers:
    """Tells observers of answers, in a thread of its own."""

    def __init__(self, observers: Sequence[Observer], metrics: Metrics) -> None:
        self._observers, self._metrics = tuple(observers), metrics
        self._queue: queue.SimpleQueue[Answered | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        for observer in observers:
            metrics.failed.labels(_name(observer))  # 0 from the start: an alert sees the first fault
        if observers:
            self._thread = threading.Thread(target=self._run, name="observers", daemon=True)
            self._thread.start()

    def tell(self, answered: Answered) -> None:
        """Never waits: what finds no room is dropped, and counted."""
        if self._thread is None:
            return
        if self._queue.qsize() < WAITING:
            self._queue.put(answered)
        else:
            self._metrics.dropped.inc()

    def close(self, seconds: float = 5) -> None:
        """Tell of what still waits, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(seconds)

    def _run(self) -> None:
        while (answered := self._queue.get()) is not None:
            if self._queue.empty():
                time.sleep(PAUSE)
            for observer in self._observers:
                try:
                    observer(answered)
                except Exception as error:  # an observer's fault is not the answer's; it is counted and said
                    self._metrics.failed.labels(_name(observer)).inc()
                    console.say_seldom(f"warning: an observer of answers failed: {type(error).__name__}: {error}")


def _name(observer: Observer) -> str:
    return str(getattr(observer, "__name__", type(observer).__name__))


class Apart:
    """Threads of their own for what takes long, so that nothing else waits for them: a request that is given up leaves
    its thread at work. Of more than `most` at once, those above are refused.
    """

    def __init__(self, name: str, *, threads: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._name, self._most, self._under_way = name, most, 0
        self._one = threading.Lock()

    async def run(self, function: Callable[..., Any], *given: Any, **words: Any) -> Any:
        """What the function returns. Raises Refused where too many wait."""
        with self._one:
            if self._under_way >= self._most:
                what = f"{self._most} {self._name} are being made already"
                raise Refused("not-ready", what, "try again", retry_after=1)
            self._under_way += 1
        future = self._pool.submit(partial(function, *given, **words))
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _: "Future[Any]") -> None:
        with self._one:
            self._under_way -= 1


@dataclass(kw_only=True)
class Service:
    """What an application holds while it runs; each route gets it."""

    engine: Engine
    state: State
    settings: Settings
    metrics: Metrics
    observers: Observers
    bucket: Bucket | None
    started: float = field(default_factory=time.monotonic)
    explanations: Apart = field(default_factory=lambda: Apart("explanations", threads=1, most=8))
    changes: Apart = field(default_factory=lambda: Apart("changes and looks at the registry", threads=2, most=4))

    @property
    def serve(self) -> Serve:
        """Section `serve` of params.yaml."""
        return self.settings.serve
