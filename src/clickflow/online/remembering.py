"""Servers do not remember who was forgotten: `clickflow forget` lists them, and a state that holds them drops them."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clickflow.events import forgotten
from clickflow.events.forgotten import Forgotten
from clickflow.online.history import Step
from clickflow.online.state import History, Kept, State
from clickflow.system import console
from clickflow.system.errors import ClickflowError

AGE = 1.0
"""Seconds after which a change of the list is seen."""


class Listed:
    """The list of forgotten people of a home (`clickflow.events.forgotten`), read again when its file has changed."""

    def __init__(self, home: Path, key: bytes) -> None:
        self._home, self._key = home, key
        self._stamp: tuple[int, int, int] | None = None
        self._looked = 0.0
        self._people = Forgotten(key)
        self.now()

    def now(self) -> tuple[Forgotten, bool]:
        """Those that are listed, and whether they are others than at the last call.

        A list that cannot be read any more leaves the earlier ones, which is said.
        """
        at = time.monotonic()
        if self._looked and at - self._looked < AGE:
            return self._people, False
        self._looked = at
        if (stamp := self._seen()) == self._stamp:
            return self._people, False
        self._stamp = stamp
        try:
            self._people = forgotten.load(self._home, self._key)
        except ClickflowError as error:
            console.say(f"forgotten people: {error.what}; the earlier ones still hold")
        return self._people, True

    def _seen(self) -> tuple[int, int, int] | None:
        try:
            stat = (self._home / forgotten.NAME).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size


class Remembering:
    """A state that keeps nothing of who was forgotten, and drops what it held of them."""

    def __init__(self, state: State, listed: Listed) -> None:
        self._state, self._listed = state, listed

    async def history(self, subject: str) -> History:
        """As `State`."""
        return () if await self._gone(subject) else await self._state.history(subject)

    async def append(self, subject: str, steps: Sequence[Step], name: str | None = None) -> Kept:
        """As `State`; 0 of who was forgotten."""
        return Kept(0, new=True) if await self._gone(subject) else await self._state.append(subject, steps, name)

    async def forget(self, subject: str) -> bool:
        """As `State`."""
        return await self._state.forget(subject)

    async def subjects(self, prefix: str, most: int) -> list[str]:
        """As `State`."""
        await self._gone("")
        return await self._state.subjects(prefix, most)

    async def wrong(self) -> str:
        """As `State`."""
        return await self._state.wrong()

    @property
    def counts(self) -> dict[str, int]:
        """As `State`."""
        return self._state.counts

    async def _gone(self, subject: str) -> bool:
        people, changed = self._listed.now()
        if changed and people:
            for held in await self._state.subjects("", sys.maxsize):
                if _among(people, held):
                    await self._state.forget(held)
        return _among(people, subject)


def _among(people: Forgotten, subject: str) -> bool:
    """Whether a subject (`session:…`, `customer:…`) is a forgotten person, or a visit that was theirs alone."""
    kind, _, name = subject.partition(":")
    listed = people.sessions if kind == "session" else people.users
    return bool(listed) and forgotten.hashed(name, people.key) in listed
