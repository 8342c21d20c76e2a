"""What holds for every task and run: retries, time limits, and who is told when something goes wrong.

What may mend itself (a lost connection, a killed process) is tried again, after 15 s and then after longer waits. Exit
codes 2 and 3 say that it will not: such a task fails at once.
"""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowRuntimeError

from clickflow.orchestration import notices, workspace
from clickflow.orchestration.tasks import LONGEST
from clickflow.params.schema import Params

UNATTENDED = "CLICKFLOW_UNATTENDED"
"""Set where Airflow runs in one process, without a server: nobody can answer."""


def settings(root: Path, params: Params, limits: Iterable[timedelta]) -> dict[str, Any]:
    """What every DAG is given. `limits`: the time limits of its tasks; the run's is that of one after the other."""
    whole = sum(limits, timedelta()) + wait(params)
    return {
        "catchup": False,
        "max_active_runs": 10,
        "dagrun_timeout": whole,
        "deadline": _deadline(root, params.schedule.deadline_hours),
        "on_failure_callback": partial(ended, root),
        "default_args": {
            "owner": "clickflow",
            "on_failure_callback": partial(failed, root),
            "execution_timeout": LONGEST,
            "retry_delay": timedelta(seconds=15),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
        },
    }


def _deadline(root: Path, hours: float) -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        # In seconds, which Airflow takes too: of a timedelta it keeps what it cannot read when a task of the run is
        # cleared, and clearing ends with HTTP 500 (3.3.2, taskinstance._recalculate_dagrun_queued_at_deadlines).
        interval=hours * 3600,
        callback=SyncCallback(late, kwargs={"root": str(root), "hours": hours}),
    )


def wait(params: Params) -> timedelta:
    """How long a candidate waits for a person's word."""
    return timedelta(hours=params.promotion.wait_hours)


def failed(root: Path, context: Any) -> None:
    """A task has failed for good: one notice a run, of the first such task. Called where the task ran."""
    ti, dag, run = context["ti"], context["dag"].dag_id, context["run_id"]
    try:
        states = ti.get_task_states(dag_id=dag, run_ids=[run]).get(run, {})
    except AirflowRuntimeError:
        states = {}  # better told twice than not at all
    if any(state == "failed" and name != ti.task_id for name, state in states.items()):
        return
    said = str(context.get("exception") or "it was killed, or its worker was lost").splitlines()
    steps = [line.removeprefix("next: ") for line in said if line.startswith("next: ")]
    notices.tell(
        workspace.places(root)[1],
        "failed",
        title=f"clickflow: {dag} has failed at {ti.task_id}",
        text="\n".join(line for line in said if not line.startswith("next: ")),
        dag=dag,
        run=run,
        next_step=steps[0] if steps else f"read the log of {ti.task_id}, mend the cause, clear the task",
        say=print,
    )


def ended(root: Path, context: Any) -> None:
    """A run has failed as a whole. That a task has is told already; this is about runs out of time and the like."""
    if (reason := str(context.get("reason"))) == "task_failure":
        return
    dag, run = context["dag"].dag_id, context["run_id"]
    notices.tell(
        workspace.places(root)[1],
        "failed",
        title=f"clickflow: {dag} has failed",
        text=f"Airflow ended the run: {reason.replace('_', ' ')}",
        dag=dag,
        run=run,
        next_step="see which task it was at, mend the cause, clear that task",
        say=print,
    )


def late(context: Any, root: str, hours: float) -> None:
    """A run has taken longer than `schedule.deadline_hours`; it goes on."""
    run = context["dag_run"]
    if run["state"] not in ("queued", "running"):
        return  # it failed before, which was told
    notices.tell(
        workspace.places(Path(root))[1],
        "late",
        title=f"clickflow: {run['dag_id']} is late",
        text=f"run {run['dag_run_id']} has taken over {hours:g} hours, and goes on",
        dag=run["dag_id"],
        run=run["dag_run_id"],
        next_step="see which task it is at; one that waits for a person is answered under Required Actions. "
        "schedule.deadline_hours in params.yaml sets the limit",
        say=print,
    )
