"""The queue of questions for a model: its threads take several together, and refuse those that are too many."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """For many threads. One thread takes whatever is there; the others come in where so many wait that they are worth a
    pass over all items of their own: a pass costs nearly the same for one as for `few`.
    """

    def __init__(self, *, together: int, few: int, most: int, seconds: float) -> None:
        """`together`: taken at once, at most; `most`: that wait, at most; `seconds`: for so long, about."""
        self._together, self._few, self._most, self._seconds = together, few, most, seconds
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
            if not self._at_work or len(self._waiting) >= self._few:
                self._change.notify()
            return True

    def take(self) -> list[T]:
        """The next that wait, when there are some for this thread; it says `done` before it takes again."""
        with self._change:
            while not self._waiting or (self._at_work and len(self._waiting) < self._few):
                self._change.wait()
            self._at_work += 1
            return [self._waiting.popleft()[1] for _ in range(min(self._together, len(self._waiting)))]

    def done(self) -> None:
        """What was taken is answered."""
        with self._change:
            self._at_work -= 1
