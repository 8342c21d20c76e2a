"""The DAG `retrain`, compiled from dvc.yaml."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, TaskGroup

from clickflow.orchestration import graph
from clickflow.orchestration.airflow import routing
from clickflow.orchestration.airflow.assets import CHAMPION
from clickflow.orchestration.airflow.operators import (
    AnnounceOperator,
    OpenOperator,
    PromoteOperator,
    RecordOperator,
    StageOperator,
)
from clickflow.orchestration.tasks import ANNOUNCE, OPEN, PROMOTE, RECORD, Task, plan


def pipeline(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG of a checkout's dvc.yaml: open → the stages → record → promote → announce."""
    compiled = graph.load(root)
    steps = plan(compiled)
    with DAG(
        dag_id=dag_id,
        schedule=None,
        catchup=False,
        tags=["clickflow", "training"],
        default_args={
            "owner": "clickflow",
            "retry_delay": timedelta(seconds=15),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
        },
        params={
            "overrides": Param(
                {},
                type=["object", "null"],
                title="Other params for this run",
                description_md='By dotted name, for instance `{"simulator.events": 50000}`; docs/reference/params.md '
                "has them all. They are checked before any work starts.",
            ),
            "note": Param(
                "", type=["string", "null"], maxLength=500, title="Note", description_md="Kept with the run."
            ),
        },
        doc_md=f"{about}\n\n" + "\n".join(f"- **{task.label}**: {task.about}" for task in steps.values()),
    ) as dag:
        groups: dict[str, TaskGroup] = {}
        made: dict[str, BaseOperator] = {}
        for task in steps.values():
            if task.group and task.group not in groups:
                groups[task.group] = TaskGroup(group_id=task.group)
            made[task.id] = _operator(task, groups.get(task.group or ""), str(root), compiled)
            for upstream in task.upstream:
                made[upstream] >> made[task.id]
    return dag


def _operator(task: Task, group: TaskGroup | None, repository: str, compiled: graph.Graph) -> BaseOperator:
    kinds: dict[str, Callable[..., BaseOperator]] = {
        OPEN: OpenOperator,
        RECORD: RecordOperator,
        PROMOTE: PromoteOperator,
        ANNOUNCE: AnnounceOperator,
    }
    own: dict[str, Any] = {}
    if task.stage is not None:
        own["stage"] = task.stage
    if task.id == OPEN:
        own["compiled"] = compiled
    if task.id == ANNOUNCE:
        own["outlets"] = [CHAMPION]
    return kinds.get(task.id, StageOperator)(
        task_id=task.id if group is None else task.id.split(".", 1)[1],
        task_group=group,
        repository=repository,
        doc_md=task.about,
        **routing.settings(task.routing),
        **own,
    )
