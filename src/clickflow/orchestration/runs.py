"""A run from opening to record: git commit + checked overrides, a workspace per task, lock fragments in between.

The bytes travel through DVC's cache and remote, the state as fragments, the history as `refs/runs/<run>`. Nothing here
knows Airflow: `clickflow.airflow` calls these functions, one a task.
"""

import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clickflow.orchestration import (
    continuing,
    dvc_storage,
    fragments,
    graph,
    journal,
    overrides,
    permitted,
    raw_files,
    repository,
    selection,
    workspace,
)
from clickflow.orchestration.continuing import unchanged
from clickflow.orchestration.results import decisions, record, results, stages
from clickflow.orchestration.variables import parse_yaml
from clickflow.orchestration.workspace import Run
from clickflow.system import process
from clickflow.system.errors import EXIT_DATA, EXIT_FAILED, EXIT_USAGE, ClickflowError, UsageError
from clickflow.system.process import Finished, Say, dvc, git, last_words

__all__ = [
    "StageFailed",
    "decisions",
    "last_words",
    "open_run",
    "promote",
    "record",
    "results",
    "run_id",
    "run_stage",
    "stages",
    "unchanged",
]

_LAST_ERROR = re.compile(r"exited with (-?\d+)")


class StageFailed(ClickflowError):
    """A stage ended with an exit code; 2 and 3 say that trying again does not help."""

    def __init__(self, what: str, *, exit_code: int, kept: str, next_step: str) -> None:
        super().__init__(what, kept=kept, next_step=next_step)
        self.exit_code = exit_code


def run_id(name: str) -> str:
    """A run's id from any name, fit for a folder and a git reference."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.replace("+00:00", "Z"))
    cleaned = re.sub(r"\.{2,}", ".", cleaned).strip(".-")
    cleaned = re.sub(r"\.lock$", "-lock", cleaned)
    if not cleaned:
        raise UsageError(f"{name!r} cannot name a run: it holds no letter or digit")
    return cleaned


def open_run(
    origin: Path | str,
    home: Path,
    name: str,
    values: overrides.Overrides,
    *,
    compiled: graph.Graph | None,
    models: Sequence[str] = (),
    dag_run: str = "",
    note: str = "",
    reason: str = "",
    person: str = "",
    champions: Mapping[str, int] | None = None,
    say: Say,
) -> Run:
    """Fix a run's commit and params, champions' versions included, before any work starts.

    `origin`: a checkout, or the URL of a repository. `compiled` is the graph that the caller will follow. `models`:
    only these; none: all. `champions`: versions to be judged against, where they are not those of the registry. Raises
    UsageError where a value is wrong, or none that a run may set, or the commit's graph, with the run's params, is
    another one.
    """
    origin, home = (str(origin.resolve()) if isinstance(origin, Path) else origin), home.absolute()
    commit = repository.head(origin, home)
    if repository.is_checkout(origin) and (changed := changes(Path(origin))):
        say(f"the run uses commit {commit[:10]}; changes in {changed} are not part of it")
    text = git(repository.at(origin, home), "show", f"{commit}:{graph.PARAMS}")
    chosen = selection.check(models, parse_yaml(overrides.apply(text, values)))
    permitted.check(text, values)
    given = {f"champion.{model}": version for model, version in (champions or {}).items()}
    values = {**given, **values}
    run = Run(run_id(name), commit, origin, str(home), dict(values), dag_run, note, chosen, reason, person=person)
    try:
        folder = workspace.create(run, "open", {})
        _check_graph(folder, compiled)
        raw_files.check(run, folder)
        verb(run, folder, ["open"], say)
        frozen = _params(folder)["champion"]
        run = replace(run, base=continuing.choose(run, folder))
    finally:
        workspace.remove(run.workspaces / "open")
    committed = parse_yaml(text)["champion"]
    standing = {f"champion.{model}": v for model, v in frozen.items() if committed.get(model) != v}
    run = replace(run, overrides={**standing, **values})
    journal.opened(run)
    return run


def head(checkout: Path) -> str:
    """The commit that a run of the checkout would be of. Raises UsageError where there is none."""
    return repository.head(str(checkout), checkout)


def changes(checkout: Path) -> str:
    """The files of a checkout that differ from its commit, for a message; empty where there are none."""
    listed = git(checkout, "status", "--porcelain", "-z", "--no-renames").split("\0")
    names = sorted(entry[3:] for entry in listed if entry)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def run_stage(run: Run, stage: str, parts: Iterable[fragments.Fragments], say: Say) -> fragments.Fragments:
    """Run one stage in a workspace of its own and return its fragment; outputs are in the cache and the remote then.

    Raises StageFailed with the stage's exit code; the workspace is kept, and the message says where.
    """
    given = fragments.merge(parts)
    before = {name: entry for name, entry in continuing.entries(run).items() if name == stage}
    folder = workspace.create(run, stage, {**before, **given})
    env = workspace.environment(run, folder)
    if dvc_storage.is_shared(run.repository):
        env["CLICKFLOW_CHECKPOINT_REMOTE"] = str(folder)  # a training that is killed here may go on elsewhere
    plan = graph.load(folder)
    reads = raw_files.reads(folder, plan.stages[stage])
    if reads:
        raw_files.bring(run, folder, env, say)
        raw_files.check_roots(run, folder)
        raw_files.check_there(folder, [folder])
        env |= raw_files.environment(run, folder)
    _bring_persistent(plan.stages[stage], folder, env, say)
    if not fragments.fits(fragments.read(folder).get(stage, {}), given):
        # DVC would take inputs that are not here yet for those in the stage's own entry
        fragments.remove(folder, stage)
    repro, push = ["repro", "--pull", "--single-item", stage], ["push", stage]
    if reads and continuing.unseen(folder):
        repro.append("--force")
    done = dvc(repro, push, cwd=folder, env=env, say=say)
    if done.code and not "".join(done.tail[-1:]).startswith("dvc push"):
        raise _failed(run, folder, stage, done)
    if done.code:
        raise ClickflowError(
            f"stage {stage} is done, but its outputs did not reach the DVC remote: {last_words(done)}",
            kept=f"the workspace {folder}; the outputs are in the cache, so that trying again does not repeat the work",
            next_step="see that the remote can be reached and has room, then clear the task",
        )
    fragment = fragments.take(folder, stage)
    workspace.remove(folder)
    say(f"its workspace is removed; what it wrote will lie in {run.folder}, the reports in MLflow, by the task record")
    return fragment


def promote(run: Run, say: Say, answers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Carry out the gates' decisions of a recorded run; what `clickflow promote --json` says.

    `answers`: what people said of the candidates that wait for it, by model; see `clickflow.registry.approval`.
    """
    folder = results(run, say)
    said = ["--answers", json.dumps(answers)] if answers else []
    promoted: dict[str, Any] = json.loads(verb(run, folder, ["promote", *run.models, *said], say).stdout)
    return promoted


def verb(run: Run, folder: Path, words: list[str], say: Say, *, secrets: Mapping[str, str] | None = None) -> Finished:
    """`clickflow …` in a folder of the run, its result as JSON in `stdout`; `secrets`: more of its environment.

    Raises StageFailed with the verb's exit code and last words.
    """
    command = ["clickflow", *words, "--json"]
    env = {**workspace.environment(run, folder), **(secrets or {})}
    if words[0] in ("promote", "rollback", "canary"):
        env = workspace.promoting(env)
    done = process.run(command, cwd=folder, env=env, say=say, capture=True)
    if done.code:
        killed = process.killed(done.code)
        raise StageFailed(
            f"`{_plain(command)}` {killed or 'failed'}: {last_words(done)}",
            exit_code=EXIT_FAILED if killed else done.code,
            kept="what was recorded stays",
            next_step="clear the task: it goes on where it was" if killed else "mend what it says, then clear the task",
        )
    return done


def _plain(command: list[str]) -> str:
    """A command as a person would type it: without options, among which are answers as JSON and folders of a run."""
    return " ".join(itertools.takewhile(lambda word: not word.startswith("-"), command))


def _check_graph(folder: Path, compiled: graph.Graph | None) -> None:
    plan = graph.load(folder)
    uncached = {out.path: name for name, stage in plan.stages.items() for out in stage.outs if not out.cache}
    for name, stage in plan.stages.items():
        for dep in stage.deps:
            for path, writer in uncached.items():
                if raw_files.overlap(dep, path):
                    raise UsageError(
                        f"{graph.FILE}: stage {name} reads {path}, which stage {writer} writes with `cache: false`; "
                        "such an output does not reach another task",
                        kept="nothing was run",
                        next_step="let DVC keep it: take `cache: false` away",
                    )
    if compiled is not None and not plan.same_shape(compiled):
        ours, theirs = set(plan.stages), set(compiled.stages)
        raise UsageError(
            "the pipeline of the commit, with this run's params, is not the one the DAG was made from"
            + (f": {', '.join(sorted(ours ^ theirs))} in one of them only" if ours != theirs else ": other edges"),
            kept="nothing was run",
            next_step=f"commit {graph.FILE} and {graph.PARAMS}; models are added and removed there, not by an override",
        )


def _bring_persistent(stage: graph.Stage, folder: Path, env: dict[str, str], say: Say) -> None:
    """Lay out what a stage adds to; what cannot be had, it makes anew."""
    known = {out["path"] for out in fragments.read(folder).get(stage.name, {}).get("outs", [])}
    wanted = [out.path for out in stage.outs if out.persist and out.path in known]
    if wanted:
        dvc(["pull", "--quiet", "--allow-missing", *wanted], cwd=folder, env=env, say=say)


def _failed(run: Run, folder: Path, stage: str, done: Finished) -> StageFailed:
    codes = [match.group(1) for line in done.tail if (match := _LAST_ERROR.search(line))]
    code = int(codes[-1]) if codes else 1
    why = {EXIT_USAGE: "a param or a prerequisite is wrong", EXIT_DATA: "the data is not fit for use"}.get(code, "")
    by_hand = (
        f"cd {shlex.quote(str(folder))} && CLICKFLOW_HOME={shlex.quote(run.home)} PYTHONPATH=src dvc repro -s {stage}"
    )
    words, how = last_words(done), f"failed with exit code {code}{f', {why}' if why else ''}"
    if process.is_full("\n".join(done.tail)):
        words, by_hand = f"no space is left on the disk; {words}", f"{process.ROOM}; {by_hand}"
    if killed := process.killed(code):
        how, code = killed, EXIT_FAILED
        by_hand = f"where memory is short (`dmesg -T` says), run less at once, or with smaller batches; {by_hand}"
    return StageFailed(
        f"stage {stage} {how}: {words}",
        exit_code=code,
        kept=f"the workspace {folder}; results of earlier stages are in the cache",
        next_step=f"by hand: {by_hand}",
    )


def _params(folder: Path) -> Any:
    return parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8"))
