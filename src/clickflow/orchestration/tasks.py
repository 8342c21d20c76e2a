"""The tasks of a run: open, one a stage, record, promote, announce. No Airflow yet, so that anyone can list them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clickflow.errors import UsageError
from clickflow.orchestration.graph import FILE, Graph, Stage

OPEN, RECORD, PROMOTE, ANNOUNCE = "open", "record", "promote", "announce"

FAILED = "task failed with exit code"
"""In a task's log the line before the last words, followed by the code of `clickflow.errors`."""

ABOUT = {
    OPEN: "Fixes the run's commit, checks its params, and freezes the champions' versions in them.",
    RECORD: "Commits the run's params and lock under `refs/runs/<run>`, and lays its results out.",
    PROMOTE: "Registers the candidates; what the gate let through becomes champion, under a lock.",
    ANNOUNCE: "Tells who waits for it that there is a new champion: an asset event. Skipped where there is none.",
}

_ROUTING = {"queue": str, "pool": str, "retries": int, "timeout_minutes": (int, float)}


@dataclass(frozen=True)
class Routing:
    """Where and how a task runs; `meta.airflow` of its stage."""

    queue: str = "default"
    pool: str | None = None
    retries: int = 0
    timeout: timedelta | None = None


@dataclass(frozen=True)
class Task:
    """One task; `stage` is None for those that frame the stages."""

    id: str
    group: str | None
    upstream: tuple[str, ...]
    routing: Routing
    about: str
    stage: str | None = None

    @property
    def label(self) -> str:
        """The name that people see: the stage's."""
        return self.stage or self.id


def plan(graph: Graph) -> dict[str, Task]:
    """The tasks by id, in running order. Raises UsageError where names clash or routing is not understood."""
    ids = {name: task_id(stage) for name, stage in graph.stages.items()}
    groups = {stage.group for stage in graph.stages.values()}
    for name in sorted(groups & ABOUT.keys()):
        raise UsageError(f"{FILE}: a stage cannot be called {name}: a task of every run has that name")
    found = {OPEN: _frame(OPEN, ())}
    for name, stage in graph.stages.items():
        if ids[name] in found:
            other = found[ids[name]].stage
            raise UsageError(f"{FILE}: stages {other} and {name} would both be task {ids[name]}")
        found[ids[name]] = Task(
            id=ids[name],
            group=stage.group if stage.key is not None else None,
            upstream=tuple(ids[up] for up in graph.upstream(name)) or (OPEN,),
            routing=_routing(stage),
            about=stage.desc,
            stage=name,
        )
    found[RECORD] = _frame(RECORD, tuple(ids[name] for name in graph.leaves()))
    found[PROMOTE] = _frame(PROMOTE, (RECORD,))
    found[ANNOUNCE] = _frame(ANNOUNCE, (PROMOTE,))
    return found


def task_id(stage: Stage) -> str:
    """`train@next_step` as Airflow names a task in a group: `train.next_step`."""
    parts = [stage.group] if stage.key is None else [stage.group, stage.key]
    return ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts)


def _frame(name: str, upstream: tuple[str, ...]) -> Task:
    retries = 0 if name in (OPEN, ANNOUNCE) else 2
    return Task(name, None, upstream, Routing(retries=retries, timeout=timedelta(hours=1)), ABOUT[name])


def _routing(stage: Stage) -> Routing:
    said: Mapping[str, Any] = stage.routing()
    for key, value in said.items():
        if key not in _ROUTING:
            raise UsageError(
                f"{FILE}: stage {stage.name}: meta.airflow.{key} is not understood",
                next_step=f"it may hold {', '.join(_ROUTING)}",
            )
        if not isinstance(value, _ROUTING[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise UsageError(f"{FILE}: stage {stage.name}: meta.airflow.{key}: {value!r} is of the wrong type")
    minutes = said.get("timeout_minutes")
    return Routing(
        queue=said.get("queue", "default"),
        pool=said.get("pool"),
        retries=said.get("retries", 0),
        timeout=timedelta(minutes=minutes) if minutes else None,
    )
