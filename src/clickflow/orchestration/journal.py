"""What this machine knows of a run beside git: how it was opened, what was answered, what works on it now, and what
failures left. A run and a person's answer travel through Airflow's database, where people of few rights can change
them; they are held against what is written here, and in git (`refs/opened/`) for machines of another home.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clickflow.orchestration import repository
from clickflow.orchestration.workspace import Run, changed, running
from clickflow.system.files import read_json, unsealed, write_record

FILE = "run.json"


def opened(run: Run) -> None:
    """Note that the run was opened."""
    _keep(run, _file(run), {**run.travelling(), "opened": datetime.now(UTC).isoformat(timespec="seconds")})


def as_opened(run: Run) -> Run:
    """The run. Raises UsageError where it was opened as another one."""
    was, now = _kept(run, _file(run)), json.loads(json.dumps(run.travelling()))
    if not was and _file(run).is_file():
        raise changed(f"cannot be held against how the run was opened: {_file(run)} is damaged, and git has no other")
    if was and (other := [name for name in now if name in was and was[name] != now[name]]):
        raise changed(f"is another run than was opened: its {', '.join(other)}")
    return run


def answered(run: Run, task: str, answer: Mapping[str, Any]) -> None:
    """Note what a person has answered a task."""
    _keep(run, _answer(run, task), answer)


def answer(run: Run, task: str) -> dict[str, Any]:
    """What a person has answered a task; empty where nobody has."""
    return _kept(run, _answer(run, task))


def forget_answer(run: Run, task: str) -> None:
    """What was answered before counts no more."""
    _answer(run, task).unlink(missing_ok=True)
    if _kept(run, _answer(run, task)):
        repository.withdraw(run.repository, Path(run.home), [_reference(run, _answer(run, task))])


def as_answered(run: Run, task: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer. Raises UsageError where the run was opened, and another answer was given, or none."""
    if _kept(run, _file(run)) and _kept(run, _answer(run, task)) != answer:
        raise changed(f"is not what {task} was answered")
    return answer


def skipped(run: Run, reason: str) -> None:
    """Note that the run was not done, and why."""
    write_record(_file(run), {**_read(_file(run)), **run.travelling(), "skipped": reason})


def ended(home: Path, name: str, state: str, outcome: str) -> None:
    """Note that a run opened here has ended, `done` or `failed`, and what it came to; empty: it is at work again."""
    file = home / "logs" / name / FILE
    if file.is_file():
        write_record(file, {**_read(file), "ended": state, "outcome": outcome})


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


def _keep(run: Run, file: Path, content: Mapping[str, Any]) -> None:
    write_record(file, content)
    repository.keep(run.repository, Path(run.home), file, _reference(run, file))


def _kept(run: Run, file: Path) -> dict[str, Any]:
    """Of this home, else of the one that the task before was in."""
    if here := _read(file):
        return here
    try:
        content = unsealed(json.loads(repository.kept(run.repository, Path(run.home), _reference(run, file)) or "{}"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _reference(run: Run, file: Path) -> str:
    return f"{repository.OPENED}{run.id}/{file.stem}"


def _answer(run: Run, task: str) -> Path:
    return _file(run).with_name(f"{task}.answer.json")


def _file(run: Run) -> Path:
    return Path(run.home) / "logs" / run.id / FILE


def _read(file: Path) -> dict[str, Any]:
    try:
        content = unsealed(read_json(file))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
