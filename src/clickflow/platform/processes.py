"""The platform's processes, found by an environment variable that all of them inherit.

Airflow and its tasks start processes in sessions of their own, so neither parents nor groups tell what belongs to the
platform. The environment does: whatever carries `CLICKFLOW_PLATFORM=<folder>`, stages of tasks included.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

PLATFORM = "CLICKFLOW_PLATFORM"
"""The platform's folder, in the environment of each of its processes."""

SERVICE = "CLICKFLOW_SERVICE"
"""The service that a process belongs to."""

TASK = "CLICKFLOW_RUN_ID"
"""Set where the process is a stage's, or another that a task has started."""


@dataclass(frozen=True)
class Process:
    """A process that was there a moment ago."""

    id: int
    parent: int
    service: str
    task: bool
    command: str


def ours(folder: Path) -> list[Process]:
    """The processes of the platform in `folder`, this one and its parents left out."""
    me = psutil.Process()
    spared = {me.pid, *(process.pid for process in me.parents())}
    return [process for process in _all(str(folder)) if process.id not in spared]


def end(find: Callable[[], Iterable[Process]], *, patience: float) -> list[Process]:
    """Ask what `find` finds to end (SIGTERM), wait, kill the rest; what had to be killed.

    A task's own processes are asked first by SIGINT, as Ctrl-C would, so that training writes its checkpoint.
    """
    deadline = time.monotonic() + patience
    interrupted: set[int] = set()
    while running := list(find()):
        if time.monotonic() > deadline:
            for process in running:
                send(process.id, signal.SIGKILL)
            _gone(find)
            return running
        for process in running:
            if process.id not in interrupted:
                send(process.id, signal.SIGINT if process.task else signal.SIGTERM)
                interrupted.add(process.id)
        time.sleep(0.1)
    return []


def send(process: int, number: signal.Signals) -> None:
    """A signal, to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def alive(process: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return psutil.Process(process).status() not in _ENDED
    except (psutil.Error, ValueError):
        return False


def memory(process: int) -> int:
    """Bytes of memory, pages shared with others counted in part (PSS); 0 where it cannot be read."""
    try:
        return int(psutil.Process(process).memory_full_info().pss)
    except (psutil.Error, OSError, ValueError):
        return 0


def holder(port: int) -> str:
    """Who listens on a TCP port of this machine: `python3 (process 123)`; empty where that cannot be known."""
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} (process {one.pid})"
    return ""


def _gone(find: Callable[[], Iterable[Process]]) -> None:
    deadline = time.monotonic() + 5
    while list(find()) and time.monotonic() < deadline:
        time.sleep(0.05)


_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _all(folder: str) -> Iterator[Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended since, or is somebody else's
            env = process.environ()
            if env.get(PLATFORM) != folder or process.status() in _ENDED:
                continue
            command = " ".join(process.cmdline())
            yield Process(process.pid, process.ppid(), env.get(SERVICE, ""), TASK in env, command)
