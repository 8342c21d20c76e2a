"""What this machine knows of a run beside git: how it was opened, what was answered, what works on it now, and what
failures left. A run and a person's answer travel through Airflow's database, where people of few rights can change
them; where both ends are of one home, they are held against what is written here.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clickflow.orchestration.workspace import Run, changed, running
from clickflow.system.files import read_json, write_json

FILE = "run.json"


def opened(run: Run) -> None:
    """Note that the run was opened."""
    write_json(_file(run), {**run.travelling(), "opened": datetime.now(UTC).isoformat(timespec="seconds")})


def as_opened(run: Run) -> Run:
    """The run. Raises UsageError where this machine has opened it as another one."""
    was, now = _read(_file(run)), json.loads(json.dumps(run.travelling()))
    if was and (other := [name for name in now if name in was and was[name] != now[name]]):
        raise changed(f"is another run than was opened: its {', '.join(other)}")
    return run


def answer_file(run: Run, task: str) -> Path:
    """Where the task that asks a person keeps the answer."""
    return _file(run).with_name(f"{task}.answer.json")


def as_answered(run: Run, task: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer. Raises UsageError where this machine has opened the run, and was given another one, or none."""
    if _read(_file(run)) and _read(answer_file(run, task)) != answer:
        raise changed(f"is not what {task} was answered")
    return answer


def skipped(run: Run, reason: str) -> None:
    """Note that the run was not done, and why."""
    write_json(_file(run), {**_read(_file(run)), **run.travelling(), "skipped": reason})


def ended(home: Path, name: str, state: str, outcome: str) -> None:
    """Note that a run opened here has ended, `done` or `failed`, and what it came to; empty: it is at work again."""
    file = home / "logs" / name / FILE
    if file.is_file():
        write_json(file, {**_read(file), "ended": state, "outcome": outcome})


def known(home: Path) -> dict[str, Mapping[str, Any]]:
    """The runs opened on this machine, by id."""
    return {file.parent.name: _read(file) for file in sorted((home / "logs").glob(f"*/{FILE}"))}


def workspaces(home: Path, name: str) -> dict[str, bool]:
    """The workspaces of a run that are there, and whether a process works in each."""
    folder = home / "workspaces" / name
    return {path.name: running(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def size(folder: Path) -> int:
    """Bytes of the files below a folder that are nobody else's: hard links, as to a cache, are left out."""
    return sum(status.st_size for status in _files(folder) if status.st_nlink == 1)


def _files(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(place) / name).lstat()
            except OSError:
                continue


def _file(run: Run) -> Path:
    return Path(run.home) / "logs" / run.id / FILE


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
