"""What a run leaves: a commit under `refs/runs/`, and a folder with its reports and models."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clickflow.orchestration import (
    continuing,
    dvc_storage,
    fragments,
    graph,
    history,
    raw_files,
    repository,
    selection,
    workspace,
)
from clickflow.orchestration.variables import parse_yaml
from clickflow.orchestration.workspace import IDENTITY, Run
from clickflow.system.errors import ClickflowError
from clickflow.system.files import read_json, write_text
from clickflow.system.process import Say, dvc, git, last_words

MARKER = ".git/clickflow-results"
"""In a folder of results: the commit whose results are all there."""

BULK = "data"
"""Outputs below this folder stay in the cache and the remote until `dvc pull` asks for them."""

LINKS = "reflink,hardlink,copy"
"""How a run's results are laid out: by links to the cache where the file system can, for nothing works in them."""


def record(run: Run, parts: Iterable[fragments.Fragments], say: Say) -> str:
    """Commit the run's params and lock under `refs/runs/<run>`, lay its results out, and return the commit.

    A second time replaces the first: the run is what its last attempt made.
    """
    folder = workspace.create(run, "record", {**continuing.entries(run), **fragments.merge(parts)})
    dvc_storage.configure(folder, run.repository, Path(run.home), link_types=LINKS)
    _lay_out(run, folder, say)
    git(folder, "add", "--force", graph.PARAMS, fragments.FILE)
    silent = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")
    words = ("commit", "--quiet", "--allow-empty", "--message", history.message(run, decisions(folder)))
    git(folder, *IDENTITY, *silent, *words)
    commit = git(folder, "rev-parse", "HEAD").strip()
    repository.publish(run.repository, Path(run.home), folder, commit, run.reference)
    write_text(folder / MARKER, f"{commit} without bulk")
    workspace.remove(run.folder)
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(run.folder)
    workspace.remove(folder)  # the run's folder of workspaces, where nothing is left in it
    return commit


def decisions(folder: Path) -> dict[str, dict[str, Any]]:
    """What each model's gate decided in a folder of results, and the metric that it went by."""
    by_model = {}
    for file in sorted(folder.glob("reports/*/gate/decision.json")):
        decision = read_json(file)
        metric = decision.get("primary", "")
        by_model[file.parent.parent.name] = {
            "decision": decision.get("decision"),
            "metric": metric,
            "value": (decision.get("metrics") or {}).get(metric),
        }
    return by_model


def results(run: Run, say: Say, *, everything: bool = False) -> Path:
    """The folder of a recorded run, `<home>/runs/<run>`: its commit, reports and models, bulk data where asked for.

    It is made where it is missing or shows another attempt, and left alone where it is complete.
    """
    folder, home = run.folder, Path(run.home)
    origin = repository.at(run.repository, home)
    commit = repository.recorded(run.repository, home, run.reference)
    marker, wanted = folder / MARKER, f"{commit} {'everything' if everything else 'without bulk'}"
    if marker.is_file() and marker.read_text() in (wanted, f"{commit} everything"):
        return folder
    if not folder.is_dir() or git(folder, "rev-parse", "HEAD").strip() != commit:
        workspace.remove(folder)
        workspace.clone(origin, folder, commit)
        dvc_storage.configure(folder, run.repository, home, link_types=LINKS)
    _lay_out(run, folder, say, everything=everything)
    write_text(marker, wanted)
    return folder


def stages(run: Run, folder: Path) -> tuple[str, ...]:
    """The stages that a run of its models does, by a folder at its commit."""
    return selection.stages(graph.load(folder), run.models, _params(folder).get("models") or {})


def _lay_out(run: Run, folder: Path, say: Say, *, everything: bool = False) -> None:
    plan = graph.load(folder)
    outs = [out.path for name in stages(run, folder) for out in plan.stages[name].outs if out.cache]
    paths = [path for path in outs if everything or not raw_files.overlap(path, BULK)]
    done = dvc(["pull", *paths], cwd=folder, env=workspace.environment(run, folder), say=say)
    if done.code:
        raise ClickflowError(
            f"results of run {run.id} could not be fetched: {last_words(done)}",
            kept="every stage's outputs, in the cache of the worker that made them and in the DVC remote",
            next_step="see that the remote can be reached, then clear the task; "
            f"by hand: cd {shlex.quote(str(folder))} && dvc pull",
        )


def _params(folder: Path) -> Any:
    return parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8"))
