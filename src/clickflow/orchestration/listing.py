"""`clickflow runs`: every run that git keeps, and those that this machine has opened and not recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clickflow.orchestration import history, journal, repository, workspace
from clickflow.system import console
from clickflow.system.paths import Paths


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One run. `state`: recorded, running, failed, skipped, done (ended well, with no record, as `score` and `watch`)
    or opened (it has not ended); `params` are those that differ from the commit's; `outcome`: what its tasks came to;
    `dag_run`: what Airflow calls it, `dag/run`, empty of one that it did not run.

    `models`: decision, metric and value by model, of recorded runs; `kept_bytes`: of workspaces that failures left.
    """

    id: str
    state: str
    when: str
    commit: str
    params: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    reason: str
    note: str
    person: str = ""
    dag_run: str = ""
    outcome: str = ""
    failed: tuple[str, ...] = ()
    kept_bytes: int = 0


def run(paths: Paths, *, limit: int, as_json: bool) -> None:
    """Print them, the newest first."""
    origin, home = workspace.places(paths.root)
    runs = collect(origin, home)
    shown = runs[:limit] if limit else runs
    console.emit(
        {"runs": [asdict(run) for run in shown], "total": len(runs), "repository": repository.shown(origin)},
        as_json=as_json,
        text=lambda: _table(shown, len(runs), home),
    )


def collect(origin: str, home: Path) -> list[Listed]:
    """The runs of a repository and a home, the newest first."""
    repository.fetch(origin, home)
    opened = journal.known(home)
    recorded = history.recorded(repository.at(origin, home))
    names = {run.id for run in recorded}
    left = [name for name in _folders(home / "workspaces") if name not in names and name not in opened]
    listed = []
    with console.progress("runs", len(recorded) + len(opened.keys() - names) + len(left)) as advance:
        for run in recorded:
            details = {"outcome": opened.get(run.id, {}).get("outcome"), **run.details, "commit": run.of}
            listed.append(_listed(home, run.id, run.when.isoformat(), details, recorded=True))
            advance(1)
        for name in [*(opened.keys() - names), *left]:
            known = opened.get(name, {})
            listed.append(_listed(home, name, known.get("opened", ""), known))
            advance(1)
    # times are of whole seconds: of two runs of one second, the one that was recorded came before the one that was not
    return sorted(listed, key=lambda run: (run.when, run.state != "recorded"), reverse=True)


def _listed(home: Path, name: str, when: str, details: Mapping[str, Any], *, recorded: bool = False) -> Listed:
    left = journal.workspaces(home, name)
    failed = tuple(task for task, works in left.items() if not works)
    states = {
        "running": any(left.values()),
        "recorded": recorded,
        "failed": bool(failed) or details.get("ended") == "failed",
        "skipped": "skipped" in details,
        "done": details.get("ended") == "done",
    }
    return Listed(
        id=name,
        state=next((state for state, holds in states.items() if holds), "opened"),
        when=when,
        commit=str(details.get("commit", "")),
        params=dict(details.get("overrides") or {}),
        models=dict(details.get("decisions") or {}),
        reason=str(details.get("skipped") or details.get("reason") or ""),
        note=str(details.get("note") or ""),
        person=str(details.get("person") or ""),
        dag_run=str(details.get("dag_run") or ""),
        outcome=str(details.get("outcome") or ""),
        failed=failed,
        kept_bytes=journal.size(home / "workspaces" / name) if left else 0,
    )


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _table(runs: list[Listed], total: int, home: Path) -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    if not runs:
        return "no run yet: `clickflow retrain`, or trigger the DAG retrain"
    tables: list[Any] = []
    for run in runs:
        table = Table(title=escape(run.id), title_justify="left", title_style="bold", show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for name, value in _facts(run, home):
            table.add_row(name, escape(value))
        tables.append(table)
    return Group(*tables, f"{len(runs)} of {total} runs; `clickflow checkout RUN` brings one back")


def _facts(run: Listed, home: Path) -> Iterator[tuple[str, str]]:
    when = f", {datetime.fromisoformat(run.when):%Y-%m-%d %H:%M} UTC" if run.when else ""
    yield "state", run.state + when + (f", of commit {run.commit[:10]}" if run.commit else "")
    for model, said in run.models.items():
        value = said.get("value")
        measured = f", {said.get('metric')} {value:.4f}" if isinstance(value, float) else ""
        yield model, f"{said.get('decision')}{measured}"
    if params := [f"{name}={value}" for name, value in run.params.items() if not name.startswith("champion.")]:
        yield "params", ", ".join(params)
    outcome = [part.replace("**", "") for part in run.outcome.split("\n\n") if not part.startswith("[")]  # no links
    reason = ", ".join(filter(None, [run.reason, run.person]))
    for name, text in (("reason", reason), ("note", run.note), ("outcome", "\n".join(outcome))):
        if text:
            yield name, text
    if run.failed:
        kept = f"{run.kept_bytes / 1e6:.1f} MB in {home / 'workspaces' / run.id}"
        yield "failed", f"{', '.join(run.failed)}; {kept}"
