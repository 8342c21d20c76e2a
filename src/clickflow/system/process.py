"""Child processes: their output is read line by line, and they end together with everything they have started.

Each runs on a leash (`leash.py`), so that none outlives the process that waits for it, however that one ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickflow.system import leash
from clickflow.system.errors import ClickflowError

Say = Callable[[str], None]
"""Takes one line for whoever is watching."""

NO_TELEMETRY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",  # as MLflow spells it: 1 would not count
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
}
"""Variables by which the programs that a run starts tell nobody of their use. Airflow's is in its configuration."""

TAIL = 200
"""Lines kept of what a program says, for messages."""

_GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 10.0))

_running: set[subprocess.Popen[str]] = set()
_watching: set[int] = set()


@dataclass(frozen=True)
class Finished:
    """How a program ended: its code, the last lines it said, and, where asked for, its standard output."""

    code: int
    tail: tuple[str, ...]
    stdout: str = ""


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    say: Say,
    capture: bool = False,
    limit: float | None = None,
) -> Finished:
    """Run a program to its end, giving every line it says to `say`; with `capture` only standard error is said. After
    `limit` seconds it is ended.

    Whatever ends the wait (Ctrl-C, a time limit) ends the program and its children first; whatever ends this process
    (kill -9 too) ends them right after.
    """
    tail: deque[str] = deque(maxlen=TAIL)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,  # the leash's other end, held by nobody else
            stdout=kept if capture else subprocess.PIPE,
            stderr=subprocess.PIPE if capture else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        _running.add(child)
        threading.Thread(target=_end_group, args=[child], daemon=True).start()
        late = None if limit is None else threading.Timer(limit, stop, [child])
        if late is not None:
            late.daemon = True
            late.start()
        try:
            for line in (child.stderr if capture else child.stdout) or ():
                tail.append(line.rstrip("\n"))
                say(tail[-1])
            code = child.wait()
        finally:
            if late is not None:
                late.cancel()
            stop(child)
            _running.discard(child)
        kept.seek(0)
        return Finished(code, tuple(tail), kept.read())


def detached(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, without input; what it says goes to a new file `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(child: "subprocess.Popen[str]") -> None:
    """End a program and its children: SIGINT, SIGTERM, then SIGKILL by the leash. Nothing to do where it has ended."""
    for number, seconds in _GRACE:
        if child.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    if child.stdin:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(2 * leash.GRACE + 2)
    except subprocess.TimeoutExpired:
        child.kill()
    _end_group(child)


def _end_group(child: "subprocess.Popen[str]") -> None:
    """Where the leash itself was killed, its group is all there is to end; else there is nobody left in it."""
    child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def stop_all() -> None:
    """End every program that this process is waiting for."""
    for child in tuple(_running):
        stop(child)


def end_with_parent() -> None:
    """From now on this process ends, and what it waits for with it, when the process that started it is gone.

    For a task whose supervisor is killed: nobody would hear of its result, and another attempt may begin elsewhere.
    """
    me, parent = os.getpid(), os.getppid()
    if me in _watching:
        return
    _watching.add(me)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(leash.LOOK)
        os.kill(me, signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


_DVC = """
import json, logging, sys
from dvc.cli import main
from dvc.repo import scm_context
scm_context.logger.setLevel(logging.WARNING)  # no advice to `git add` what this program commits itself
for words in json.loads(sys.argv[1]):
    code = main(words)
    if code:
        print(f"dvc {words[0]} ended with exit code {code}", flush=True)
        sys.exit(code)
"""


_BUSY = ("it is being blocked by", "Unable to acquire lock")
"""What DVC says where another DVC holds a lock."""

_ADVICE = "Use `dvc push` to send your updates"
"""How DVC ends a repro by hand; here the push follows by itself."""


def dvc(*commands: Sequence[str], cwd: Path, env: Mapping[str, str], say: Say) -> Finished:
    """`dvc …`, one command after the other in one process, for loading DVC takes longer than most of them.

    The first that fails ends it, and the last line of `tail` names it. Where another DVC holds a lock, wait for it, up
    to a minute in all.
    """

    def said(line: str) -> None:
        if not line.startswith(_ADVICE):
            say(line)

    deadline, pause = time.monotonic() + 60, 1.0
    while True:
        done = run([sys.executable, "-c", _DVC, json.dumps(commands)], cwd=cwd, env=env, say=said)
        if done.code and any("RWLock-file" in line for line in done.tail):
            # cut short by a kill; it only says who works here, and DVC's own lock keeps others out meanwhile
            say("a lock file of DVC was left damaged by a killed process; it is removed")
            (cwd / ".dvc/tmp/rwlock").unlink(missing_ok=True)
        elif not done.code or not any(word in line for line in done.tail for word in _BUSY):
            return done
        if time.monotonic() + pause > deadline:
            return done
        say(f"dvc is busy; again in {pause:.0f} s")
        time.sleep(pause)
        pause *= 2


_GIT = ("GIT_SSH", "GIT_SSL_", "GIT_HTTP_", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")
"""Variables that say how git reaches a server; the others would lead it to another repository."""


def git(cwd: Path, *arguments: str, timeout: float | None = None) -> str:
    """What `git …` prints. Raises ClickflowError with git's own message where it fails, TimeoutExpired where it
    takes over `timeout` seconds.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_GIT)}
    env["GIT_TERMINAL_PROMPT"] = "0"  # nobody is there to type a password
    try:
        command = ["git", "-C", str(cwd), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as error:
        raise ClickflowError("git is not installed", next_step="sudo apt-get install git") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        if is_full(said):
            raise ClickflowError(f"no space is left on the disk of {cwd}", kept=_SAFE, next_step=ROOM)
        raise ClickflowError(f"git {' '.join(arguments[:2])} failed in {cwd}: {said}")
    return done.stdout


ROOM = "make room there (`clickflow prune` removes old runs and failures), then clear the task"
_SAFE = "what earlier tasks have made, in the DVC remote"


def is_full(said: str) -> bool:
    """Whether a program's last words are those of a full disk."""
    return any(words in said for words in ("No space left on device", "Out of diskspace", "Disk quota exceeded"))


def killed(code: int) -> str:
    """How a program was killed, for a message; empty where it ended by itself. `code` may be that of a shell."""
    number = -code if code < 0 else code - 128 if code > 128 else 0
    return f"was killed ({signal.strsignal(number)}, signal {number})" if number else ""


def last_words(done: Finished) -> str:
    """What a program said at its end: from its last `error:` line on, DVC's own closing lines left out.

    DVC must not be asked with --quiet then: it keeps its errors to itself.
    """
    closing = (
        "ERROR: failed to reproduce",
        "ERROR: failed to push data",
        "dvc repro ended",
        "dvc push ended",
        "dvc pull ended",
    )
    lines = [line for line in done.tail if line.strip() and not line.startswith(closing)]
    starts = [number for number, line in enumerate(lines) if line.lower().startswith("error:")]
    said = lines[starts[-1] :][:12] if starts else [line for line in lines if not line.startswith("WARNING:")][-5:]
    # where DVC could not even begin, its closing line has the reason
    said = said or [line for line in done.tail if line.startswith(closing[:2])][-1:] or lines[-5:]
    return "\n".join(said).removeprefix("error: ") or "it said nothing"
