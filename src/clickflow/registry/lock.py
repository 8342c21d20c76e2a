"""One change of the registry at a time, among all processes that share a home, by who may change it."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickflow.system.console import say
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client

PATIENCE = 300.0
"""Seconds to wait for another change to finish; one takes seconds."""


@contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Hold the registry's lock; the operating system frees it when the process ends, however it ends."""
    from filelock import FileLock, Timeout

    mlflow_client.sign_in_as_promoter()
    paths.home.mkdir(parents=True, exist_ok=True)
    file = paths.home / "registry.lock"
    lock = FileLock(file)
    try:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            say(f"another process is changing the registry; waiting for {file}")
            lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise ClickflowError(
            f"another process has held {file} for over {PATIENCE:.0f} s",
            kept="nothing was changed",
            next_step="see what it is doing (`fuser` names it), end it, and run the command again",
        ) from error
    try:
        yield
    finally:
        lock.release()
