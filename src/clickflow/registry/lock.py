"""One change of the registry at a time, among all processes that share a home, by who may change it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from clickflow.system.console import say
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths

PATIENCE = 300.0
"""Seconds to wait for another change to finish; one takes seconds."""

PROMOTER = "CLICKFLOW_PROMOTER_PASSWORD"
"""MLflow's password of user promoter, where its server asks who is there."""


def sign_in() -> None:
    """From now on this process is MLflow's user promoter, where it was given the password; else who it was."""
    if password := os.environ.get(PROMOTER):
        os.environ |= {"MLFLOW_TRACKING_USERNAME": "promoter", "MLFLOW_TRACKING_PASSWORD": password}


@contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Hold the registry's lock; the operating system frees it when the process ends, however it ends."""
    from filelock import FileLock, Timeout

    sign_in()
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
