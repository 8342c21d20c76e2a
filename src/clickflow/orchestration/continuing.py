"""Which recorded run a new one continues, so that only new data is read; and whether there is anything to do.

A run starts from the entries of dvc.lock of the newest recorded run whose lasting outputs (`persist: true`: the events)
were made by the same code with the same params. DVC then skips what has not changed, and `ingest` finds what it took in
before, so that it appends. The results are those of a run that starts from nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickflow.orchestration import (
    fragments,
    graph,
    history,
    journal,
    raw_files,
    removed_objects,
    repository,
    selection,
    workspace,
)
from clickflow.orchestration.history import Recorded
from clickflow.orchestration.variables import parse_yaml
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import ClickflowError
from clickflow.system.process import Say, dvc, git

LOOK_BACK = 50
"""How many of the newest runs are looked at."""

CHAMPION = "champion"


def choose(run: Run, folder: Path) -> str:
    """The commit of the recorded run that `run` builds on; empty where there is none, or the commit's lock is newer.

    `folder`: a workspace of the run. One with the same params comes first, for nothing of it may have to be done again.
    """
    origin = repository.at(run.repository, Path(run.home))
    params = parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8"))
    plan = graph.load(folder)
    lasting = [stage for stage in plan.stages.values() if any(out.persist for out in stage.outs)]
    committed = git(folder, "log", "-1", "--format=%ct", "--", fragments.FILE).strip()
    newest = ""
    for other in history.recorded(origin)[:LOOK_BACK]:
        if committed and other.when.timestamp() < int(committed):
            break
        lock = history.lock_of(origin, other.commit)
        if removed_objects.among(lock, Path(run.home)):
            continue  # its events held people who were forgotten since
        if not all(_same(stage, lock.get(stage.name), params, origin, run.commit, other) for stage in lasting):
            continue
        if _that_count(history.params_of(origin, other.commit), plan) == _that_count(params, plan):
            return other.commit
        newest = newest or other.commit
    return newest


def entries(run: Run) -> fragments.Fragments:
    """The lock entries that the run builds on; none where they are gone, for they only save work."""
    if not run.base:
        return {}
    try:
        return history.lock_of(repository.having(run.repository, Path(run.home), run.base), run.base)
    except ClickflowError:
        return {}


def unseen(folder: Path) -> bool:
    """Whether a workspace's source can change without DVC seeing it: a table, unless `source.as_of` pins it."""
    source = parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8")).get("source") or {}
    return source.get("kind") == "sql" and source.get("as_of") is None


def unchanged(run: Run, say: Say) -> str:
    """Why the run has nothing to do; empty where a stage of it would run.

    Another champion alone is no change: the candidate would be the same one, and was judged before. For runs that
    nobody asked for: one started by hand is never skipped.
    """
    try:
        folder = workspace.create(run, "unchanged", entries(run))
        lock = fragments.read(folder)
        plan, params = graph.load(folder), parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8"))
        wanted = selection.stages(plan, run.models, params.get("models") or {})
        if removed_objects.among({name: lock[name] for name in wanted if name in lock}, Path(run.home)):
            say("people in the data were forgotten since: the run goes on, to learn without them")
            return ""
        if not all(name in lock for name in wanted):
            return ""
        if unseen(folder):
            say("a table may have changed without a trace (source.as_of is null): the run goes on")
            return ""
        workspace.set_params(folder, _champions(lock))
        env = workspace.environment(run, folder)
        raw_files.bring(run, folder, env, say)
        raw_files.check_roots(run, folder)
        ends = [name for name in plan.leaves() if name in wanted]
        done = dvc(["repro", "--dry", "--allow-missing", *ends], cwd=folder, env=env, say=lambda _: None)
        if done.code or any(line.startswith("Running stage") for line in done.tail):
            return ""
        reason = f"nothing has changed since {_named(run)}: the same data, code and params, so the same models"
        journal.skipped(run, reason)
        return reason
    finally:
        workspace.remove(run.workspaces / "unchanged")


def _named(run: Run) -> str:
    for other in history.recorded(repository.at(run.repository, Path(run.home))):
        if other.commit == run.base:
            return f"run {other.id} of {other.when:%Y-%m-%d %H:%M} UTC"
    return f"the {fragments.FILE} of commit {run.commit[:10]}"


def _same(
    stage: graph.Stage, entry: Mapping[str, Any] | None, params: Any, origin: Path, commit: str, other: Recorded
) -> bool:
    """Whether the other run's entry of a stage was made by the same command, params and code."""
    said = (entry or {}).get("cmd")
    if entry is None or ([said] if isinstance(said, str) else said) != list(stage.cmd):
        return False
    known = (entry.get("params") or {}).get(graph.PARAMS) or {}
    own = {name: _value(params, name) for name in stage.params if ":" not in name}
    if own != {name: known.get(name) for name in own}:
        return False
    return all(_object(origin, commit, dep) == _object(origin, other.of, dep) for dep in stage.deps)


def _value(params: Any, name: str) -> Any:
    for part in name.split("."):
        params = params.get(part) if isinstance(params, Mapping) else None
    return params


def _object(origin: Path, commit: str, path: str) -> str:
    """What git keeps of a path at a commit; empty where it keeps nothing, as of data."""
    try:
        return git(origin, "rev-parse", "--verify", "--quiet", f"{commit}:{path}").strip()
    except ClickflowError:
        return ""


def _that_count(params: Mapping[str, Any], plan: graph.Graph) -> dict[str, Any]:
    """The params that a stage depends on, by name: not those of schedules, approval or watching, nor the champions."""
    names = {name for stage in plan.stages.values() for name in stage.params if ":" not in name}
    return {name: _value(params, name) for name in names if name.partition(".")[0] != CHAMPION}


def _champions(lock: fragments.Fragments) -> dict[str, Any]:
    """The champions that the entries were made against, as overrides."""
    return {
        name: value
        for entry in lock.values()
        for name, value in ((entry.get("params") or {}).get(graph.PARAMS) or {}).items()
        if name.startswith(f"{CHAMPION}.")
    }
