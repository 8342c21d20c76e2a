"""Which version answers whom: the champion, or the canary that the ledger says is on; and which one is the shadow.

A visitor's place is a keyed hash of the pseudonym, a number in [0, 1); below the share the canary answers. So a visitor
meets one version as long as the canary is on, on whatever server, and who is in at a share stays in at a larger one.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clickflow.online.engine import Engine
from clickflow.online.live import log
from clickflow.online.served import Served
from clickflow.registry import canary, ledger
from clickflow.registry.ledger import Entry
from clickflow.system.console import say

POLL = 5.0
"""Seconds between two looks at the ledger; a start waits no longer for the first."""
LONGEST_PAUSE = 300.0
"""Seconds at most until a version that could not be had is tried again; the first time `POLL`, then twice as long."""
MARK = "@"
"""`next_step@canary` is what the engine calls the canary of `next_step`."""

Fetch = Callable[[str, int], Path]
"""The folder of a version, its bytes checked."""


def place(subject: str, model: str, version: int) -> float:
    """Where a visitor stands, in [0, 1)."""
    key = f"{model}/{version}".encode()[-64:]
    digest = hashlib.blake2b(subject.encode(), digest_size=8, key=key, person=b"clickflow arms")
    return int.from_bytes(digest.digest(), "big") / 2.0**64


def canary_of(model: str) -> str:
    """What the engine calls it."""
    return f"{model}{MARK}{log.CANARY}"


def arm_of(name: str) -> tuple[str, str]:
    """The model and the arm of one of the engine's names."""
    model, _, arm = name.partition(MARK)
    return model, arm or log.CHAMPION


def candidate(entries: Sequence[Entry], model: str) -> int:
    """The version that answers in the shadow: the canary, or the last one registered since the champion; 0: none."""
    if on := canary.running(entries, model):
        return on.version
    version = 0
    for entry in entries:
        if entry.model == model:
            version = 0 if entry.moves else entry.version or version
    return version


@dataclass
class Arms:
    """Follows the ledger of a home: loads canary and shadow, and says who is answered by whom."""

    engine: Engine
    home: Path
    fetch: Fetch
    shadow: bool
    """Whether candidates are loaded that no canary is of."""
    recall: float | None = None
    """See `Served.of`."""
    canaries: dict[str, Entry] = field(default_factory=dict)
    """By model, the line that began the canary that answers."""
    shadows: dict[str, Served] = field(default_factory=dict)
    """By model."""
    wrong: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen: tuple[int, int, tuple[str, ...]] | None = None
        self._again: dict[tuple[str, int], tuple[float, float]] = {}
        self._ended, self._looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-arms", daemon=True)

    def start(self) -> "Arms":
        """Look now, and follow; a version that is long in coming is not waited for."""
        self._thread.start()
        self._looked.wait(POLL)
        return self

    def stop(self) -> None:
        """No longer follow."""
        self._ended.set()

    def choose(self, model: str, subject: str | None) -> str:
        """The engine's name of what answers a visitor; nobody in particular is answered by the champion."""
        on = self.canaries.get(model)
        if on is None or subject is None or place(subject, model, on.version) >= float(on.facts.get("share", 0)):
            return model
        return canary_of(model)

    def test(self, model: str) -> int:
        """The number of the line that began the canary of a model; 0: none is on."""
        on = self.canaries.get(model)
        return on.number if on else 0

    def compared(self, model: str, arm: str) -> int:
        """The version that a canary of a model compares in an arm; 0: none is on."""
        on = self.canaries.get(model)
        return 0 if on is None else on.version if arm == log.CANARY else on.champion

    def look(self) -> None:
        """Read the ledger, where it has changed, or which models answer: one that is fetched first comes later. What
        cannot be read or loaded leaves the champion to answer.
        """
        file = self.home / "ledger.jsonl"
        try:
            stat = file.stat()
            mark = (stat.st_mtime_ns, stat.st_size, self.engine.models)
            if mark == self._seen:  # also where it was put back with its old time
                self.wrong = {}
                return
            entries = ledger.read(file)
        except FileNotFoundError:
            return
        except Exception as error:
            self._tell("ledger", f"{error}")
            return
        for model in self.engine.models:  # of all, before any is fetched: from here on their champion answers
            on, before = canary.running(entries, model), self.canaries.get(model)
            if before is not None and (on is None or before.version != on.version):
                del self.canaries[model]
                self.engine.withdraw(canary_of(model))
        done = [self._follow(entries, model) for model in self.engine.models]
        if all(done):
            self._seen, self.wrong = mark, {}

    def _follow(self, entries: Sequence[Entry], model: str) -> bool:
        """Whether all that the ledger says of a model is done."""
        on = canary.running(entries, model)
        version = candidate(entries, model) if self.shadow or on else 0
        due, pause = self._again.get((model, version), (0.0, POLL / 2))
        if time.monotonic() < due:
            return False
        try:
            if version and (model not in self.shadows or self.shadows[model].version != version):
                self.shadows[model] = Served.of(model, version, self.fetch(model, version), recall=self.recall)
                self._again.pop((model, version), None)
            if not version:
                self.shadows.pop(model, None)
            if on is not None:
                self.engine.swap(replace(self.shadows[model], model=canary_of(model)))
                self.canaries[model] = on
        except Exception as error:
            pause = min(2 * pause, LONGEST_PAUSE)
            self._again[model, version] = (time.monotonic() + pause, pause)
            self._tell(model, f"version {version if on is None else on.version} is not loaded: {error}")
            return False
        return True

    def _tell(self, name: str, what: str) -> None:
        what = what.splitlines()[0]
        if self.wrong.get(name) != what:
            say(f"warning: {name}: {what}; the champion answers")
        self.wrong = {**self.wrong, name: what}

    def _work(self) -> None:
        self.look()
        self._looked.set()
        while not self._ended.wait(POLL):
            self.look()
