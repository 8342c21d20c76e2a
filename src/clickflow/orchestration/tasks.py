"""The tasks of a run: open, one a stage, record, approve, promote, announce. No Airflow yet: anyone can list them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clickflow.orchestration import selection
from clickflow.orchestration.graph import FILE, Graph, Stage
from clickflow.system.errors import UsageError

OPEN, RECORD, APPROVE, PROMOTE, ANNOUNCE = "open", "record", "approve", "promote", "announce"

FAILED = "task failed with exit code"
"""In a task's log the line before the last words, followed by the code of `clickflow.system.errors`."""

ABOUT = {
    OPEN: "Fixes the run's commit, checks its params, and freezes the champions' versions in them.",
    RECORD: "Commits the run's params and lock under `refs/runs/<run>`, lays its results out, and puts its reports "
    "into MLflow; links to them stand under Details.",
    APPROVE: "Waits for a person's word on {model}, where promotion.approve names it and its gate says promote; "
    "skipped where not. The report's figures stand in the question; docs/howto/approve.md.",
    PROMOTE: "Registers the candidates; what the gate, and the person asked, let through becomes champion. "
    "Skipped where nothing was let through; the run's note says why.",
    ANNOUNCE: "Tells who waits for it that there is a new champion: an asset event. Skipped where there is none.",
}

HOUR = timedelta(hours=1)

LONGEST = timedelta(days=1)
"""For a stage that names no timeout."""

_ROUTING = {"queue": str, "pool": str, "retries": int, "timeout_minutes": (int, float), "resources": Mapping}
_RESOURCES = {"cpu": (int, float), "memory_gb": (int, float), "gpu": int}


@dataclass(frozen=True)
class Resources:
    """What a stage needs of a machine; 0: not said."""

    cpu: float = 0
    memory_gb: float = 0
    gpu: int = 0


@dataclass(frozen=True)
class Routing:
    """Where and how a task runs; `meta.airflow` of its stage."""

    queue: str = "default"
    pool: str | None = None
    retries: int = 0
    timeout: timedelta = LONGEST
    resources: Resources = Resources()


@dataclass(frozen=True)
class Task:
    """One task; `stage` is None for those that frame the stages."""

    id: str
    group: str | None
    upstream: tuple[str, ...]
    routing: Routing
    about: str
    stage: str | None = None
    needed_by: tuple[str, ...] = ()
    """The models that need the stage; the model that an approval is about."""
    after_some: bool = False
    """Starts when no task before it has failed and one has succeeded; others may be skipped."""

    @property
    def label(self) -> str:
        """The name that people see: the stage's."""
        return self.stage or self.id


def plan(graph: Graph, models: Collection[str] = ()) -> dict[str, Task]:
    """The tasks by id, in running order. Raises UsageError where names clash or routing is not understood."""
    needs = {model: set(selection.stages(graph, [model], models)) for model in models}
    ids = {name: task_id(stage) for name, stage in graph.stages.items()}
    groups = {stage.group for stage in graph.stages.values()}
    for name in sorted(groups & ABOUT.keys()):
        raise UsageError(f"{FILE}: a stage cannot be called {name}: a task of every run has that name")
    tasks = {OPEN: _frame(OPEN, ())}
    for name, stage in graph.stages.items():
        if ids[name] in tasks:
            other = tasks[ids[name]].stage
            raise UsageError(f"{FILE}: stages {other} and {name} would both be task {ids[name]}")
        tasks[ids[name]] = Task(
            id=ids[name],
            group=stage.group if stage.key is not None else None,
            upstream=tuple(ids[up] for up in graph.upstream(name)) or (OPEN,),
            routing=_routing(stage),
            about=stage.desc,
            stage=name,
            needed_by=tuple(model for model in models if name in needs[model]),
        )
    tasks[RECORD] = _frame(RECORD, tuple(ids[name] for name in graph.leaves()), after_some=True)
    approvals = {model: f"{APPROVE}.{model}" for model in models}
    for model, name in approvals.items():
        about = ABOUT[APPROVE].format(model=model)
        tasks[name] = Task(name, APPROVE, (RECORD,), Routing(retries=2, timeout=HOUR), about, needed_by=(model,))
    tasks[PROMOTE] = _frame(PROMOTE, (RECORD, *approvals.values()), after_some=True)
    tasks[ANNOUNCE] = _frame(ANNOUNCE, (PROMOTE,))
    return tasks


def task_id(stage: Stage) -> str:
    """`train@next_step` as Airflow names a task in a group: `train.next_step`."""
    parts = [stage.group] if stage.key is None else [stage.group, stage.key]
    return ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts)


def _frame(name: str, upstream: tuple[str, ...], *, after_some: bool = False) -> Task:
    pool = PROMOTE if name == PROMOTE else None
    return Task(name, None, upstream, Routing(pool=pool, retries=2, timeout=HOUR), ABOUT[name], after_some=after_some)


def _routing(stage: Stage) -> Routing:
    said = _understood(stage.name, "meta.airflow", stage.routing(), _ROUTING)
    needs = _understood(stage.name, "meta.airflow.resources", said.get("resources") or {}, _RESOURCES)
    for key, value in needs.items():
        if value < 0:
            raise UsageError(f"{FILE}: stage {stage.name}: meta.airflow.resources.{key} is below 0")
    minutes = said.get("timeout_minutes")
    return Routing(
        queue=said.get("queue", "default"),
        pool=said.get("pool"),
        retries=said.get("retries", 0),
        timeout=timedelta(minutes=minutes) if minutes else LONGEST,
        resources=Resources(**needs),
    )


def _understood(stage: str, at: str, said: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """What dvc.yaml says there. Raises UsageError where a key is not known or a value of the wrong type."""
    for key, value in said.items():
        if key not in known:
            raise UsageError(
                f"{FILE}: stage {stage}: {at}.{key} is not understood", next_step=f"it may hold {', '.join(known)}"
            )
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise UsageError(f"{FILE}: stage {stage}: {at}.{key}: {value!r} is of the wrong type")
    return said
