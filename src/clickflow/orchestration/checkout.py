"""`clickflow checkout RUN`: a recorded run with its code, params, data and models, bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from clickflow.orchestration import (
    dvc_storage,
    fragments,
    graph,
    history,
    raw_files,
    removed_objects,
    repository,
    runs,
    workspace,
)
from clickflow.orchestration.history import Recorded
from clickflow.orchestration.workspace import Run
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError, nearest
from clickflow.system.paths import Paths
from clickflow.system.process import dvc, git


def run(paths: Paths, name: str, *, into: Path | None, as_json: bool) -> None:
    """Bring a run back: into this checkout where nothing would be lost, or into a new folder.

    Raises UsageError, with everything as it was, where there is no such run or something would be lost.
    """
    origin, home = workspace.places(paths.root)
    repository.fetch(origin, home)
    kept = _find(repository.at(origin, home), name)
    _whole(kept, history.lock_of(repository.at(origin, home), kept.commit), home)
    opened = replace(workspace.here({**kept.details, "id": kept.id, "commit": kept.of, "overrides": {}}, paths.root))
    folder = paths.root if into is None else into.absolute()
    if into is None:
        _check(folder, kept, opened)
        before = git(folder, "rev-parse", "--abbrev-ref", "HEAD").strip()
        git(folder, "fetch", "--quiet", str(repository.at(origin, home)), kept.reference)
        git(folder, "checkout", "--quiet", "--detach", kept.commit)
        remote = dvc_storage.ensure_remote(folder, home)
        back = "" if before == "HEAD" else f"git switch {before} && dvc checkout"
    else:
        _fresh(folder)
        git(folder.parent, "clone", "--quiet", "--no-checkout", str(repository.at(origin, home)), str(folder))
        git(folder, "fetch", "--quiet", "origin", kept.reference)
        git(folder, "checkout", "--quiet", "--detach", kept.commit)
        dvc_storage.configure(folder, origin, home)
        remote, back = "", ""
    env = workspace.environment(opened, folder)
    _pull(opened, folder, env, remote)
    if into is not None:
        raw_files.bring(opened, folder, env, console.say)
    differences = _differences(folder, env)
    console.emit(
        {
            "run": kept.id,
            "commit": kept.commit,
            "folder": str(folder),
            "clean": not differences,
            "differs": differences,
        },
        as_json=as_json,
        text=lambda: "\n".join(
            [
                f"run {kept.id} lies in {folder}, commit {kept.commit[:10]}",
                "`dvc status` is clean" if not differences else f"`dvc status` says otherwise of {_shown(differences)}",
                *([f"back to where you were: {back}"] if back else []),
            ]
        ),
    )


def _find(origin: Path, name: str) -> Recorded:
    known = {run.id: run for run in history.recorded(origin)}
    if name.removeprefix(repository.RUNS) in known:
        return known[name.removeprefix(repository.RUNS)]
    raise UsageError(
        f"there is no recorded run {name!r}{nearest(name, known)}",
        kept="nothing was changed",
        next_step="`clickflow runs` lists them",
    )


def _whole(kept: Recorded, lock: fragments.Fragments, home: Path) -> None:
    """Raise where what the run made was removed because it held people."""
    gone = removed_objects.among(lock, home)
    if gone:
        raise UsageError(
            f"run {kept.id} cannot be brought back: {', '.join(sorted(gone))} held people who were forgotten on "
            f"{max(gone.values())}, and {'was' if len(gone) == 1 else 'were'} removed from every cache and remote",
            kept=f"its code, params and dvc.lock, as {kept.reference}, and its models and reports in the DVC remote",
            next_step=f"git switch --detach {kept.commit[:10]}, then `dvc repro` makes its data and models anew, "
            "without them; or `dvc pull --allow-missing` brings what is left",
        )


def _check(folder: Path, kept: Recorded, opened: Run) -> None:
    """Raise where checking out would lose something that is kept nowhere else."""
    changed = runs.changes(folder)
    data = [] if changed else _changed_data(folder, workspace.environment(opened, folder))
    if changed or data:
        why = "not as the commit has it" if changed else "in no DVC cache"
        raise UsageError(
            f"would be lost: {changed or ', '.join(data)} ({why})",
            kept="nothing was changed",
            next_step=f"commit it, or restore the run into another folder: "
            f"clickflow checkout {kept.id} --into ../{kept.id}",
        )


def _changed_data(folder: Path, env: dict[str, str]) -> list[str]:
    """Outputs of the pipeline that lie in a checkout and are not what its dvc.lock says."""
    lines: list[str] = []
    done = dvc(["data", "status", "--json"], cwd=folder, env=env, say=lines.append)
    if done.code:
        raise ClickflowError(f"DVC cannot say whether data would be lost: {done.tail[-1:]}", kept="nothing was changed")
    status: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    uncommitted = status.get("uncommitted") or {}
    return sorted({str(path) for kind in ("added", "modified") for path in uncommitted.get(kind) or []})[:8]


def _fresh(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty", kept="nothing was changed", next_step="name a folder that is not there yet"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)


def _pull(opened: Run, folder: Path, env: dict[str, str], remote: str) -> None:
    """The outputs of the run, stage by stage; then what lock entries of other stages name, where it can be had."""
    lock, plan = fragments.read(folder), graph.load(folder)
    own = runs.stages(opened, folder)
    weights = {name: sum(out.get("size", 0) for out in lock[name].get("outs") or []) for name in own if name in lock}
    source = ["--remote", remote] if remote else []
    with console.progress(f"checkout {opened.id}", max(1, sum(weights.values()))) as advance:
        for name, weight in weights.items():
            done = dvc(["pull", "--force", *source, name], cwd=folder, env=env, say=lambda _: None)
            if done.code:
                raise ClickflowError(
                    f"outputs of stage {name} of run {opened.id} could not be fetched: {runs.last_words(done)}",
                    kept=f"{folder} has the run's code, params and dvc.lock, and what was fetched before",
                    next_step=f"see that the DVC remote can be reached, then `dvc pull` in {folder}",
                )
            advance(weight, name)
        others = [name for name in plan.stages if name in lock and name not in own]
        if others:
            dvc(["pull", "--quiet", "--allow-missing", *source, *others], cwd=folder, env=env, say=lambda _: None)


def _differences(folder: Path, env: dict[str, str]) -> dict[str, Any]:
    lines: list[str] = []
    done = dvc(["status", "--json"], cwd=folder, env=env, say=lines.append)
    text = next((line for line in reversed(lines) if line.startswith("{")), "")
    return json.loads(text) if text and not done.code else {"dvc status": runs.last_words(done)}


def _shown(differences: dict[str, Any]) -> str:
    return ", ".join(sorted(differences))
