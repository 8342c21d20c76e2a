"""File locks between processes, and the error where another process holds one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickflow.system.console import say
from clickflow.system.errors import ClickflowError


@contextmanager
def held(file: Path, refusal: ClickflowError, *, waiting: str = "", patience: float = 0) -> Iterator[None]:
    """Hold the lock `file`; the operating system frees it when the process ends, however it ends.

    Where another process holds it, `waiting` is said; `refusal` is raised after `patience` seconds.
    """
    from filelock import FileLock, Timeout

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=min(0.5, patience))
    except Timeout:
        if not patience:
            raise refusal from None
        say(waiting)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise refusal from None
    try:
        yield
    finally:
        lock.release()
