"""No program outlives who waits for it: killed with -9 at any level, nothing stays behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clickflow.system import process

TASK = """
import sys
from pathlib import Path
from clickflow.system import process
process.end_with_parent()
folder = Path(sys.argv[1])
done = process.run(["sh", "-c", sys.argv[2]], cwd=folder, env=__import__("os").environ, say=print)
(folder / "ended").write_text(str(done.code))
"""

SUPERVISOR = """
import subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]])
"""

# A program as DVC is one: it starts a stage, which starts workers, one of them in a session of its own.
STAGE = "echo $$ > stage; sleep 4321 & setsid sleep 4321 & sh -c 'sleep 4321; true' & touch begun; wait; true"


def processes(folder: Path) -> dict[int, str]:
    """Those that work in `folder`, with their commands."""
    commands = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if command and (entry / "cwd").readlink().is_relative_to(folder):
                commands[int(entry.name)] = command
        except OSError:
            continue
    return commands


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for number in processes(tmp_path):  # of a test that failed
        os.kill(number, signal.SIGKILL)


def task(folder: Path, *before: str, stage: str = STAGE) -> "subprocess.Popen[bytes]":
    """A task's process, or its supervisor, once the stage works; started from elsewhere, so that it is not counted."""
    child = subprocess.Popen([sys.executable, *before, "-c", TASK, str(folder), stage], cwd="/")
    until(lambda: (folder / "begun").exists() and len(processes(folder)) >= 5, "the stage never began")
    return child


def gone(folder: Path) -> None:
    until(lambda: not processes(folder), f"left behind: {processes(folder)}")


def test_killing_the_task_ends_the_stage_and_all_it_has_started(folder: Path) -> None:
    child = task(folder)
    child.kill()
    child.wait()
    gone(folder)
    assert not (folder / "ended").exists()


def test_killing_the_supervisor_ends_the_task_and_the_stage(folder: Path) -> None:
    supervisor = task(folder, "-c", SUPERVISOR)
    (below,) = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    supervisor.kill()
    supervisor.wait()
    gone(folder)
    until(lambda: not Path(f"/proc/{below}").exists(), "the task works on without a supervisor")
    assert not (folder / "ended").exists()


def test_killing_the_program_ends_what_it_has_started_and_the_task_hears_of_it(folder: Path) -> None:
    child = task(folder)
    os.kill(int((folder / "stage").read_text()), signal.SIGKILL)
    assert child.wait(30) == 0
    assert (folder / "ended").read_text() == str(-signal.SIGKILL)
    gone(folder)


def test_killing_the_leash_ends_the_program_and_the_task_hears_of_it(folder: Path) -> None:
    child = task(folder, stage=STAGE.replace("setsid ", ""))
    leash = next(number for number, command in processes(folder).items() if "leash.py" in command)
    os.kill(leash, signal.SIGKILL)
    assert child.wait(30) == 0
    assert (folder / "ended").read_text() == str(-signal.SIGKILL)
    gone(folder)


def test_who_ignores_being_asked_is_killed(folder: Path) -> None:
    child = task(folder, stage=f"trap '' INT TERM; {STAGE}")
    child.kill()
    child.wait()
    gone(folder)


def test_stopping_ends_a_program_in_good_order(folder: Path) -> None:
    stage = "trap 'echo tidied up; exit 5' INT; touch begun; while true; do sleep 0.05; done"
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)

    ends: list[process.Finished] = []
    run = threading.Thread(
        target=lambda: ends.append(process.run(["bash", "-c", stage], cwd=folder, env=os.environ, say=say))
    )
    run.start()
    until(lambda: (folder / "begun").exists(), "the program never began")
    process.stop_all()
    run.join(30)
    assert lines == ["tidied up"]
    assert ends[0].code == 5
    gone(folder)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["sh", "-c", "echo out; echo err >&2; exit 3"], 3, {"out", "err"}),
        (["sh", "-c", "kill -SEGV $$"], -signal.SIGSEGV, set()),
        (["cat"], 0, set()),
        (["no-such-program"], 127, {"error: no-such-program cannot be run: No such file or directory"}),
    ],
)
def test_the_end_of_a_program_is_told_as_it_was(folder: Path, command: list[str], code: int, said: set[str]) -> None:
    done = process.run(command, cwd=folder, env=os.environ, say=lambda line: None)
    assert (done.code, set(done.tail)) == (code, said)


def test_what_a_program_leaves_behind_does_not_hold_the_task_up(folder: Path) -> None:
    done = process.run(["sh", "-c", "setsid sleep 4321 & echo done"], cwd=folder, env=os.environ, say=lambda line: None)
    assert done == process.Finished(0, ("done",))
    gone(folder)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (["error: bad", "  next: this", "ERROR: failed to reproduce 'x': failed to run", "dvc repro ended with 1"],
         "bad\n  next: this"),
        (["WARNING: failed to collect 'workspace', skipping", "ERROR: failed to reproduce 'x': 'raw' does not exist",
          "dvc repro ended with exit code 255"], "ERROR: failed to reproduce 'x': 'raw' does not exist"),
        (["WARNING: shaky", "killed"], "killed"),
        (["WARNING: shaky"], "WARNING: shaky"),
        ([], "it said nothing"),
    ],
)  # fmt: skip
def test_the_last_words_of_a_program_are_its_reason(tail: list[str], words: str) -> None:
    assert process.last_words(process.Finished(1, tuple(tail))) == words
