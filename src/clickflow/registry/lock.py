"""One change of the registry at a time, among all processes that share a home, by who may change it."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickflow.system import locks
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client

PATIENCE = 300.0
"""Seconds to wait for another change to finish; one takes seconds."""


@contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Hold the registry's lock; the operating system frees it when the process ends, however it ends."""
    mlflow_client.sign_in_as_promoter()
    file = paths.home / "registry.lock"
    refusal = ClickflowError(
        f"another process has held {file} for over {PATIENCE:.0f} s",
        kept="nothing was changed",
        next_step="see what it is doing (`fuser` names it), end it, and run the command again",
    )
    waiting = f"another process is changing the registry; waiting for {file}"
    with locks.held(file, refusal, waiting=waiting, patience=PATIENCE):
        yield
