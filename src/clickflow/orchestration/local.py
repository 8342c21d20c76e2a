"""`clickflow retrain`: the retrain DAG run by Airflow in one process, no server; the tasks are shown as they run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from clickflow.orchestration import graph, overrides, permitted, runs, workspace
from clickflow.orchestration.tasks import FAILED, OPEN, PROMOTE, Task, plan
from clickflow.orchestration.workspace import Run
from clickflow.params.schema import Params
from clickflow.system import console, process
from clickflow.system.errors import EXIT_FAILED, ClickflowError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

DAG = "retrain"
PROGRAM = (sys.executable, "-m", "clickflow.airflow.inprocess")
"""What runs a DAG."""

DONE = {"success", "failed", "upstream_failed", "skipped", "removed"}
MARKS = {"success": "[green]✓[/]", "failed": "[red]✗[/]", "running": "[cyan]▶[/]", "up_for_retry": "[yellow]↻[/]"}


@dataclass(frozen=True)
class State:
    """How far a task is; `seconds` since it began, or from begin to end."""

    name: str = "waiting"
    seconds: float | None = None


def run(params: Params, paths: Paths, settings: Sequence[str]) -> None:
    """Run the DAG; show its tasks, then the champions, what they predict, and where to look next.

    Raises UsageError before anything starts where a setting is wrong, ClickflowError where a task failed.
    """
    values = overrides.parse(settings)
    overrides.apply(paths.params.read_text(encoding="utf-8"), values)
    permitted.check(paths.params.read_text(encoding="utf-8"), values)
    tasks = plan(graph.load(paths.root), list(params.models))
    commit = runs.head(paths.root)
    if changed := runs.changes(paths.root):
        console.say(f"retrain: the run uses commit {commit[:10]}; changes in {changed} are not part of it")
    moment = datetime.now(UTC)
    name = f"manual__{moment.isoformat()}"
    logs = paths.home / "logs" / runs.run_id(name)
    logs.mkdir(parents=True, exist_ok=True)
    console.say(f"retrain: {len(tasks)} tasks under Airflow; logs in {_short(logs)}")

    started = time.monotonic()
    progress = logs / "tasks.json"
    child = _start(paths, moment, {"overrides": values}, logs, progress)
    try:
        states = _watch(child, tasks, lambda: _states(progress), logs)
    finally:
        _stop(child)
    if child.returncode:
        raise _failure(tasks, states, logs)
    console.say(f"retrain: done in {time.monotonic() - started:.0f} s")
    handed_on = _said(progress)["handed_on"]
    opened = workspace.here(handed_on[OPEN], paths.root)
    folder = runs.results(opened, lambda _: None, everything=True)
    scored = [outcome["model"] for outcome in handed_on[PROMOTE] if outcome["champion"]]
    _show(opened, folder, [["status"], *(["score", model] for model in scored)])
    _where_next(opened, folder, sorted(params.models))


def _start(
    paths: Paths, moment: datetime, conf: Mapping[str, Any], logs: Path, progress: Path
) -> "subprocess.Popen[bytes]":
    """The process that runs the DAG, with an Airflow of its own: nobody's settings, database or examples."""
    folder = paths.home / "airflow"
    folder.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    env = {
        **inherited,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(paths.root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o750",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o640",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **process.NO_TELEMETRY,
        "CLICKFLOW_HOME": str(paths.home),
        "CLICKFLOW_UNATTENDED": "yes",  # nobody can answer without a server
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    words = [str(paths.root / "dags"), DAG, moment.isoformat(), json.dumps(conf), str(progress)]
    return process.detached([*PROGRAM, *words], cwd=folder, env=env, log=logs / "airflow.log")


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End the process, by SIGINT and then SIGTERM; it ends the stage that it is waiting for."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(30)


def _watch(
    child: "subprocess.Popen[bytes]", tasks: Mapping[str, Task], read: Callable[[], dict[str, State]], logs: Path
) -> dict[str, State]:
    """Show the tasks until the process ends; their last states."""
    if console.err.is_terminal:
        with Live(console=console.err, refresh_per_second=4, transient=False) as live:
            while child.poll() is None:
                live.update(_table(tasks, read(), logs))
                time.sleep(0.25)
            live.update(_table(tasks, read(), logs))
        return read()
    reported: set[str] = set()
    while True:
        ended = child.poll() is not None
        states = read()
        for name, task in tasks.items():
            state = states.get(name, State())
            if state.name in DONE and name not in reported:
                reported.add(name)
                console.say(f"  {task.label:<24} {state.name:<16} {_seconds(state)}")
        if ended:
            return states
        time.sleep(0.5)


def _table(tasks: Mapping[str, Task], states: Mapping[str, State], logs: Path) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, task in tasks.items():
        state = states.get(name, State())
        note = _last_line(logs / f"{name}.log") if state.name == "running" else ""
        table.add_row(
            f"  {MARKS.get(state.name, '·')}", task.label, state.name, _seconds(state), f"[dim]{escape(note)}[/]"
        )
    return table


def _seconds(state: State) -> str:
    return "" if state.seconds is None else f"{state.seconds:.0f} s"


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:70] for line in reversed(lines) if line.strip()), "")


def _states(file: Path) -> dict[str, State]:
    """How far the tasks are, as Airflow's process says it; nothing where it has not begun."""
    states = {}
    for name, task in _said(file).get("tasks", {}).items():
        state, begin, end = task["state"], task["begin"], task["end"]
        seconds = None
        if begin and state not in (None, "scheduled", "queued"):
            until = datetime.fromisoformat(end) if end and state in DONE else datetime.now(UTC)
            seconds = (until - datetime.fromisoformat(begin)).total_seconds()
        states[name] = State(state or "waiting", seconds)
    return states


def _said(file: Path) -> dict[str, Any]:
    try:
        return dict(read_json(file))
    except FileNotFoundError:
        return {}


def _failure(tasks: Mapping[str, Task], states: Mapping[str, State], logs: Path) -> ClickflowError:
    failed = [name for name in tasks if states.get(name, State()).name == "failed"]
    if not failed:
        tail = (logs / "airflow.log").read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return ClickflowError(
            "Airflow ended before the tasks did:\n" + "\n".join(tail), next_step=f"look into {_short(logs)}/airflow.log"
        )
    log = logs / f"{failed[0]}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    marks = [number for number, line in enumerate(lines) if line.startswith(FAILED)]
    said = lines[marks[-1] + 1 :] if marks else lines[-15:]
    error = ClickflowError(
        f"task {tasks[failed[0]].label} failed:\n" + "\n".join(f"  {line}" for line in said),
        next_step=f"the whole log: {_short(log)}",
    )
    error.exit_code = int(lines[marks[-1]].rsplit(" ", 1)[1]) if marks else EXIT_FAILED
    return error


def _show(opened: Run, folder: Path, verbs: Sequence[Sequence[str]]) -> None:
    """What `clickflow …` says in the folder of the run: one after the other, found out at once."""
    env = workspace.environment(opened, folder)

    def ask(words: Sequence[str]) -> tuple[int, list[str]]:
        lines: list[str] = []
        return process.run(["clickflow", *words], cwd=folder, env=env, say=lines.append).code, lines

    with ThreadPoolExecutor(len(verbs)) as pool:
        try:
            for words, (code, lines) in zip(verbs, pool.map(ask, verbs), strict=True):
                for line in lines:
                    console.out.out(line, highlight=False)
                if code:
                    console.say(f"`clickflow {' '.join(words)}` ended with exit code {code}")
                console.out.print()
        except BaseException:
            process.stop_all()
            raise


def _where_next(opened: Run, folder: Path, models: Sequence[str]) -> None:
    home, here = Path(opened.home), _short(folder)
    places = {
        **{f"the report of {model}": f"{here}/reports/{model}/evaluation/report.html" for model in models},
        **{f"what the gate said of {model}": f"{here}/reports/{model}/gate/decision.html" for model in models},
        "the validation of the data": f"{here}/reports/data_docs/index.html",
        "answers, and a page that says why": "clickflow serve; then open http://127.0.0.1:8600/",
        "experiments and versions": f"MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri sqlite:///{_short(home)}/mlflow.db",
        "the run in your checkout": f"clickflow checkout {opened.id}; git keeps it as {opened.reference}",
        "the same by hand": "clickflow open && dvc repro && clickflow promote",
        "other params": "clickflow retrain -S simulator.events=50000; docs/reference/params.md",
        "your own data": "params.yaml, source",
    }
    width = max(map(len, places))
    activate = Path(sys.prefix) / "bin/activate"
    first = f" (of commands `source {_short(activate)}` is the first)" if "VIRTUAL_ENV" not in os.environ else ""
    console.out.print(f"[bold]Where to look next[/]{escape(first if activate.is_file() else '')}")
    for what, where in places.items():
        console.out.print(f"  {what:<{width}}  {escape(where)}")


def _short(path: Path) -> str:
    """A path as it is written from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
