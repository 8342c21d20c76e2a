"""The platform's processes, found by an environment variable that all of them inherit.

Airflow and its tasks start processes in sessions of their own, so neither parents nor groups tell what belongs to the
platform. `/proc` does: whatever carries `CLICKFLOW_PLATFORM=<folder>`, stages of tasks included.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
    wanted = f"{PLATFORM}={folder}"
    spared = set(_line(os.getpid()))
    return [process for process in _all(wanted) if process.id not in spared]


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
            _gone(find, 5)
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
    return _status(process) not in (None, "Z", "X")


def memory(process: int) -> int:
    """Bytes of memory, pages shared with others counted in part (PSS); 0 where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def holder(port: int) -> str:
    """Who listens on a TCP port of this machine: `python3 (process 123)`; empty where that cannot be known."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (folder / "fd").iterdir():
                if str(link.readlink()) in inodes:
                    return f"{(folder / 'comm').read_text().strip()} (process {folder.name})"
    return ""


def _gone(find: Callable[[], Iterable[Process]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while list(find()) and time.monotonic() < deadline:
        time.sleep(0.05)


def _all(wanted: str) -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            pairs = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
            if wanted not in pairs or _status(int(folder.name)) in (None, "Z", "X"):
                continue
            env = dict(pair.partition("=")[::2] for pair in pairs)
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            yield Process(int(folder.name), _parent(int(folder.name)), env.get(SERVICE, ""), TASK in env, command)


def _line(process: int) -> Iterator[int]:
    """A process and its parents."""
    while process > 1:
        yield process
        process = _parent(process)


def _stat(process: int) -> list[str]:
    # The name stands in brackets and may hold anything.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _parent(process: int) -> int:
    try:
        return int(_stat(process)[1])
    except (OSError, IndexError):
        return 0


def _status(process: int) -> str | None:
    try:
        return _stat(process)[0]
    except (OSError, IndexError):
        return None


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                parts = line.split()
                if parts[3] == "0A" and int(parts[1].rpartition(":")[2], 16) == port:
                    yield parts[9]
