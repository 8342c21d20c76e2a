"""What a server does at intervals: it makes the report of `clickflow live`, and ends canaries where params say so.

Both run in a process of their own, so that nobody who asks waits for them; of several workers and servers with one home
one does it. What goes wrong is said once, and health has it.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clickflow.online.live import log
from clickflow.params.live import Live as Section
from clickflow.system import process
from clickflow.system.console import say
from clickflow.system.paths import Paths

LOOK = 5.0
"""Seconds between two looks at whether it is time."""
MARK = "regular.lock"
"""In the folder of the log: when it was done last, and a lock for who does it."""
Verb = Callable[[Sequence[str]], str]
"""Runs `clickflow …`; empty, or why it failed."""


@dataclass
class Regular:
    """`clickflow live`, and `clickflow canary judge`, every so many minutes."""

    section: Section
    paths: Paths
    verb: Verb | None = None
    clock: Callable[[], float] = time.time
    wrong: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-regular", daemon=True)

    @property
    def verbs(self) -> tuple[tuple[str, ...], ...]:
        """What is done."""
        return (("live",), *([("canary", "judge")] if self.section.judge else []))

    def start(self) -> "Regular":
        """Begin, where params say so."""
        if self.section.report_minutes is not None:
            self._thread.start()
        return self

    def stop(self) -> None:
        """End; a process at work is ended by its leash."""
        self._ended.set()

    def tick(self) -> bool:
        """Do it, where it is time and nobody else is at it; whether it was done."""
        if self.section.report_minutes is None:
            return False
        with _alone(log.place(self.paths.home) / MARK) as handle:
            if handle is None or self.clock() - _last(handle) < 60 * self.section.report_minutes:
                return False
            os.pwrite(handle, f"{self.clock():<31.3f}".encode(), 0)
            for words in self.verbs:
                self._note(" ".join(words), (self.verb or self._run)(words))
        return True

    def _note(self, name: str, why: str) -> None:
        name = f"live {name}" if name != "live" else "live report"
        before = self.wrong.get(name, "")
        self.wrong = {key: value for key, value in self.wrong.items() if key != name} | ({name: why} if why else {})
        if why and why != before:
            say(f"warning: {name}: {why}")

    def _run(self, words: Sequence[str]) -> str:
        command = [sys.executable, "-m", "clickflow.cli", *words, "--json"]
        env = {**os.environ, "CLICKFLOW_HOME": str(self.paths.home), "OMP_NUM_THREADS": "1"}
        done = process.run(command, cwd=self.paths.root, env=env, say=lambda _: None, capture=True)
        return process.last_words(done) if done.code else ""

    def _work(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self.tick()
            except Exception as error:
                self._note("live", f"{type(error).__name__}: {error}")


@contextmanager
def _alone(file: Path) -> Iterator[int | None]:
    """The file, held; None where another holds it, or nothing was logged yet."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o640) if file.parent.is_dir() else None
    try:
        yield handle if handle is not None and _took(handle) else None
    finally:
        if handle is not None:
            os.close(handle)


def _last(handle: int) -> float:
    """When it was done last, seconds since 1970 UTC; 0: never."""
    try:
        return float(os.pread(handle, 32, 0) or 0)
    except ValueError:
        return 0.0


def _took(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
