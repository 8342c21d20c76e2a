"""The queue of questions for a model: its threads take several together, and refuse those that are too many."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
LATE = 0.025
"""Seconds after which what waits is no longer left to a thread at work: it has something that takes long."""


class Waiting(Generic[T]):
    """For many threads. One takes whatever is there; the others come in where as many wait as one takes at once, or the
    first for long: a pass over all items costs nearly the same for one question as for several, and two passes at once
    hold each other up.
    """

    def __init__(self, *, together: int, most: int, seconds: float) -> None:
        """`together`: taken at once, at most; `most`: that wait, at most; `seconds`: for so long, about."""
        self._together, self._most, self._seconds = together, most, seconds
        self._waiting: deque[tuple[float, T]] = deque()
        self._at_work = 0
        self._change = threading.Condition(threading.Lock())

    def put(self, each: T) -> bool:
        """Have it taken; False where too many wait, or the first of them for too long."""
        now = time.monotonic()
        with self._change:
            if len(self._waiting) >= self._most or (self._waiting and now - self._waiting[0][0] > self._seconds):
                return False
            self._waiting.append((now, each))
            if not self._at_work or self._crowded(now):
                self._change.notify()
            return True

    def take(self) -> list[T]:
        """The next that wait, when there are some for this thread; it says `done` before it takes again."""
        with self._change:
            while not self._waiting or (self._at_work and not self._crowded(time.monotonic())):
                self._change.wait()
            self._at_work += 1
            return [self._waiting.popleft()[1] for _ in range(min(self._together, len(self._waiting)))]

    def done(self) -> None:
        """What was taken is answered."""
        with self._change:
            self._at_work -= 1

    def _crowded(self, now: float) -> bool:
        """Whether what waits, of which there is some, is worth another thread."""
        return len(self._waiting) >= self._together or now - self._waiting[0][0] > LATE
