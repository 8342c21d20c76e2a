"""Programs as processes of their own: watched line by line, stopped with all that they have started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickflow.errors import ClickflowError

Say = Callable[[str], None]
"""Takes one line for whoever is watching."""

TAIL = 200
"""Lines kept of what a program says, for messages."""

_GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Finished:
    """How a program ended: its code, the last lines it said, and, where asked for, its standard output."""

    code: int
    tail: tuple[str, ...]
    stdout: str = ""


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], say: Say, capture: bool = False) -> Finished:
    """Run a program to its end, giving every line it says to `say`; with `capture` only standard error is said.

    Whatever ends the wait (Ctrl-C, a time limit) ends the program and its children first.
    """
    tail: deque[str] = deque(maxlen=TAIL)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=kept if capture else subprocess.PIPE,
            stderr=subprocess.PIPE if capture else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        _running.add(child)
        try:
            for line in (child.stderr if capture else child.stdout) or ():
                tail.append(line.rstrip("\n"))
                say(tail[-1])
            code = child.wait()
        finally:
            stop(child)
            _running.discard(child)
        kept.seek(0)
        return Finished(code, tuple(tail), kept.read())


def stop(child: "subprocess.Popen[str]") -> None:
    """End a program and its children: asked, told, killed. Nothing happens where it has ended."""
    for number, seconds in _GRACE:
        if child.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left behind


def stop_all() -> None:
    """End every program that this process is waiting for."""
    for child in tuple(_running):
        stop(child)


_DVC = """
import json, sys
from dvc.cli import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    if code:
        print(f"dvc {words[0]} ended with exit code {code}", flush=True)
        sys.exit(code)
"""


def dvc(*commands: Sequence[str], cwd: Path, env: Mapping[str, str], say: Say) -> Finished:
    """`dvc …`, one command after the other in one process, for loading DVC takes longer than most of them.

    The first that fails ends it, and the last line of `tail` names it. Where another DVC holds a lock, wait for it, up
    to a minute in all.
    """
    deadline, pause = time.monotonic() + 60, 1.0
    while True:
        done = run([sys.executable, "-c", _DVC, json.dumps(commands)], cwd=cwd, env=env, say=say)
        busy = done.code != 0 and any("is busy" in line and "blocked" in line for line in done.tail)
        if not busy or time.monotonic() + pause > deadline:
            return done
        say(f"dvc is busy; again in {pause:.0f} s")
        time.sleep(pause)
        pause *= 2


_GIT = ("GIT_SSH", "GIT_SSL_", "GIT_HTTP_", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")
"""Variables that say how git reaches a server; the others would lead it to another repository."""


def git(cwd: Path, *arguments: str) -> str:
    """What `git …` prints. Raises ClickflowError with git's own message where it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_GIT)}
    env["GIT_TERMINAL_PROMPT"] = "0"  # nobody is there to type a password
    try:
        done = subprocess.run(["git", "-C", str(cwd), *arguments], env=env, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ClickflowError("git is not installed", next_step="sudo apt-get install git") from error
    if done.returncode:
        shown = " ".join(arguments[:2])
        raise ClickflowError(f"git {shown} failed in {cwd}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
