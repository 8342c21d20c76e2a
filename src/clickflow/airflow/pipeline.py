"""dvc.yaml as a DAG: open → the stages → record → approve → promote → announce. `retrain` is one, `backfill` too."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param, TaskGroup

from clickflow.airflow import approval, forms, policy, routing
from clickflow.airflow.assets import CHAMPION, DRIFT, EVENTS
from clickflow.airflow.operators import (
    AnnounceOperator,
    Asks,
    OpenOperator,
    PromoteOperator,
    RecordOperator,
    StageOperator,
)
from clickflow.orchestration import definition, graph
from clickflow.orchestration.definition import Definition
from clickflow.orchestration.tasks import ANNOUNCE, APPROVE, OPEN, PROMOTE, RECORD, Task, plan
from clickflow.params.schema import Params

BECAUSE = {EVENTS.uri: "because new data has arrived", DRIFT.uri: "because the data has drifted"}

REASONS = {"scheduled": "by its schedule", "manual": "by hand", "operator_triggered": "by another DAG"}
"""By Airflow's type of the run."""

Operator = tuple[Callable[..., BaseOperator], Mapping[str, Any]]
"""What does a task, and the settings that only this kind of task has."""


def pipeline(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG that trains every model of a checkout anew: started by hand, by cron, by new data, by drift."""
    committed = definition.read(root)
    params = committed.params
    news = EVENTS | DRIFT
    cron = by_cron(params.schedule.retrain)
    return compiled(
        root,
        committed,
        dag_id=dag_id,
        about=about,
        tags=["training"],
        schedule=AssetOrTimeSchedule(timetable=cron, assets=news) if cron else news,
        fields={**forms.source(params), **forms.training(params)},
        asks=_retrain,
    )


def compiled(
    root: Path,
    committed: Definition,
    *,
    dag_id: str,
    about: str,
    tags: list[str],
    schedule: Any,
    fields: Mapping[str, Param],
    asks: Asks,
    steps: Mapping[str, Task] | None = None,
    operators: Mapping[str, Operator] | None = None,
) -> DAG:
    """A DAG with the stages of a checkout's definition. `asks`: what a DAG run's context asks for.

    `steps`: its tasks, none given: those of a run that trains. `operators`: what does those that only it has.
    """
    params, stages = committed.params, committed.stages
    steps = plan(stages, list(params.models)) if steps is None else steps
    tasks = "\n".join(f"- **{task.label}**: {task.about}" for task in steps.values())
    with DAG(
        dag_id=dag_id,
        schedule=schedule,
        tags=["clickflow", *tags],
        params=forms.warned(fields, committed.warning),
        doc_md="\n\n".join(filter(None, [committed.warning, about, tasks])),
        **policy.settings(root, params, [task.routing.timeout for task in steps.values()]),
    ) as dag:
        groups: dict[str, TaskGroup] = {}
        by_task: dict[str, BaseOperator] = {}
        for task in steps.values():
            if task.group and task.group not in groups:
                groups[task.group] = TaskGroup(group_id=task.group)
            kind, own = (operators or {}).get(task.id) or (_kind(task), _own(task, params, stages, asks))
            by_task[task.id] = kind(
                task_id=task.id if task.group is None else task.id.split(".", 1)[1],
                task_group=groups.get(task.group or ""),
                repository=str(root),
                doc_md=task.about,
                trigger_rule="none_failed_min_one_success" if task.after_some else "all_success",
                **routing.settings(task.routing),
                **own,
            )
            for upstream in task.upstream:
                by_task[upstream] >> by_task[task.id]
    return dag


def _kind(task: Task) -> Callable[..., BaseOperator]:
    if task.group == APPROVE:
        return approval.ApproveOperator
    kinds: dict[str, Callable[..., BaseOperator]] = {
        OPEN: OpenOperator,
        RECORD: RecordOperator,
        PROMOTE: PromoteOperator,
        ANNOUNCE: AnnounceOperator,
    }
    return kinds.get(task.id, StageOperator)


def _own(task: Task, params: Params, stages: graph.Graph, asks: Asks) -> dict[str, Any]:
    """The settings that only this kind of task has."""
    if task.stage is not None:
        return {"stage": task.stage, "needed_by": task.needed_by}
    if task.group == APPROVE:
        return {"model": task.needed_by[0], "wait": policy.wait(params), "params": approval.fields()}
    framing: dict[str, dict[str, Any]] = {
        OPEN: {"compiled": stages, "asks": asks},
        RECORD: {"models": tuple(params.models)},
        PROMOTE: {"approvals": {model: f"{APPROVE}.{model}" for model in params.models}},
        ANNOUNCE: {"outlets": [CHAMPION]},
    }
    return framing.get(task.id, {})


def _retrain(context: Any, params: Params) -> forms.Request:
    """By hand what the form says; by an asset its default values, and the window of the event."""
    by_asset = {key.uri: [e.extra for e in events] for key, events in context["triggering_asset_events"].items()}
    news = by_asset.get(EVENTS.uri, [])
    # Beside drift, which is about everything, a window of new data would leave something out.
    window = forms.window_of(news) if news and DRIFT.uri not in by_asset else None
    because = " and ".join(BECAUSE[uri] for uri in by_asset if uri in BECAUSE)
    kind = kind_of(context)
    request = forms.read(context["params"], params, window)
    return replace(request, reason=because or REASONS.get(kind, kind), by_itself=bool(because) or kind == "scheduled")


def by_cron(cron: str | None) -> CronTriggerTimetable | None:
    """A schedule of params.yaml, in UTC."""
    return CronTriggerTimetable(cron, timezone="UTC") if cron else None


def kind_of(context: Any) -> str:
    """Airflow's type of a run: a key of `REASONS`, or another."""
    return str(getattr(context["dag_run"].run_type, "value", context["dag_run"].run_type))


def request_of(context: Any, params: Params) -> forms.Request:
    """What the form of a DAG run says, and what started the run."""
    kind = kind_of(context)
    return replace(forms.read(context["params"], params), reason=REASONS.get(kind, kind))
