"""`python leash.py PARENT COMMAND…`: run a program that cannot outlive who started it, killed by whatever means.

Standard input is a pipe whose other end the parent holds: when the parent ends, kill -9 included, the pipe closes, and
the program ends with all that it has started. The same where the program ends alone and leaves children behind, or
this process is killed: the kernel then kills the program, and its children share a process group that the parent ends.
The exit code, or signal, is the program's.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_DEATHSIG, _SUBREAPER = 1, 36
"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of prctl(2)."""

GRACE = 3.0
"""Seconds between asking and killing, where the parent is gone."""

LOOK = 0.5
"""Seconds between two looks at who the parent is, should another process hold the pipe open."""


def main(words: list[str]) -> int:
    """Run the program, wait for its end or the parent's, leave no process behind, and end as it ended."""
    parent = int(words[0])
    control = _linux()
    control(_SUBREAPER, 1)  # orphans among the descendants become children of this process: none is lost
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # sent to the group: the program decides what it means
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        control(_DEATHSIG, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)
        _become(words[1:])
    return _wait(child, parent, wake)


def _become(words: list[str]) -> None:
    """Replace this process by the program; its standard input is empty."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"error: {words[0]} cannot be run: {error.strerror}\n".encode())
    os._exit(127)


def _wait(child: int, parent: int, wake: int) -> int:
    while True:
        ready, _, _ = select.select([0, wake], [], [], LOOK)
        if wake in ready:
            os.read(wake, 4096)
        status = _reap(child)
        if status is not None:
            _end_descendants(0.0)  # what it left behind
            return status
        if 0 in ready or os.getppid() != parent:
            _end_descendants(GRACE)
            return 1 << 8  # as a status of wait(2): exit code 1


def _reap(child: int | None) -> int | None:
    """Take in what has ended; the status of `child` where it is among them."""
    ended = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if process == 0:
            return ended
        if process == child:
            ended = status


def _end_descendants(grace: float) -> None:
    """End every process below this one: interrupted, and after `grace` seconds killed, until none is left."""
    deadline = time.monotonic() + grace
    interrupted = grace <= 0
    while running := _descendants():
        kill = time.monotonic() >= deadline
        if kill or not interrupted:
            interrupted = True
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL if kill else signal.SIGINT)
        _reap(None)
        time.sleep(0.02)
        if time.monotonic() > deadline + 10:
            return  # what cannot be killed waits in the kernel


def _descendants() -> list[int]:
    """The processes below this one, from /proc; those that have ended and wait to be taken in are none."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, above = entry.read_bytes().rpartition(b")")[2].split()[:2]
            if state not in b"ZX":
                parents[int(entry.parent.name)] = int(above)
    below, frontier = [], [os.getpid()]
    while frontier:
        frontier = [process for process, above in parents.items() if above in frontier]
        below += frontier
    return below


def _linux() -> Callable[[int, int], object]:
    """prctl(2); where there is none, the pipe and the process group must do."""
    try:
        call = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return lambda *_: None
    return lambda option, value: call(option, ctypes.c_ulong(value), 0, 0, 0)


def _end(status: int) -> int:
    """Exit as the program did: with its code, or by its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.set_wakeup_fd(-1)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_end(main(sys.argv[1:])))
