"""Verbs that read the packed stores and train nothing, each in a workspace of its own: `score`, `watch`.

Their DAGs run the stages up to the stores, as `retrain` does and with the same results, and then the verb. Nothing here
knows Airflow.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from clickflow.orchestration import fragments, graph, runs, workspace
from clickflow.orchestration.tasks import OPEN, Task, plan
from clickflow.orchestration.workspace import Run
from clickflow.params.schema import Params
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.process import Say, dvc


def stage_of(stages: graph.Graph, unit: str) -> str:
    """The stage that makes a unit's store. Raises UsageError where none does."""
    wanted = f"data/sequences/{unit}"
    for name, stage in stages.stages.items():
        if any(out.path == wanted for out in stage.outs):
            return name
    raise UsageError(f"{graph.FILE}: no stage makes {wanted}", next_step=f"add {unit} to the stage sequences")


def steps(stages: graph.Graph, params: Params) -> dict[str, Task]:
    """The task `open`, and those of the stages up to the stores of all models, in running order."""
    ends = {stage_of(stages, model.unit) for model in params.models.values()}
    wanted = {*ends, *(above for end in ends for above in stages.ancestors(end))}
    every = plan(stages, list(params.models))
    return {name: task for name, task in every.items() if name == OPEN or task.stage in wanted}


def verb(
    run: Run,
    name: str,
    stages: Iterable[str],
    parts: Iterable[fragments.Fragments],
    words: list[str],
    say: Say,
    *,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """`clickflow …` in a fresh workspace that holds the outputs of `stages`; what it says with --json.

    `parts` are these stages' fragments, `secrets` variables of its environment.
    Raises StageFailed with the verb's exit code; the workspace is kept then.
    """
    folder = workspace.create(run, name, fragments.merge(parts))
    done = dvc(["pull", *stages], cwd=folder, env=workspace.environment(run, folder), say=say)
    if done.code:
        raise ClickflowError(
            f"the outputs of {', '.join(stages)} are neither in the cache nor in the remote: {done.tail[-1:]}",
            kept=f"the workspace {folder}",
            next_step="see that the DVC remote can be reached, then clear the task",
        )
    said: dict[str, Any] = json.loads(runs.verb(run, folder, words, say, secrets=secrets or {}).stdout)
    workspace.remove(folder)
    return said


def champions(run: Run, committed: Params) -> Mapping[str, int]:
    """The champions' versions as they were when the run opened, by model."""
    return {model: int(run.overrides.get(f"champion.{model}", was)) for model, was in committed.champion.items()}
