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

from clickflow.orchestration import notices, workspace
from clickflow.orchestration.tasks import LONGEST
from clickflow.params import Params

ERROR = "error"
"""XCom key under which a task that fails leaves its message, line by line."""

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
        "on_failure_callback": partial(failed, root),
        "default_args": {
            "owner": "clickflow",
            "execution_timeout": LONGEST,
            "retry_delay": timedelta(seconds=15),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
        },
    }


def _deadline(root: Path, hours: float) -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=SyncCallback(late, kwargs={"root": str(root), "hours": hours}),
    )


def wait(params: Params) -> timedelta:
    """How long a candidate waits for a person's word."""
    return timedelta(hours=params.promotion.wait_hours)


def failed(root: Path, context: Any) -> None:
    """A run has failed: one notice, with what each failed task said. Called once a run, when nothing of it works."""
    dag, run = context["dag"].dag_id, context["run_id"]
    errors = _errors(context)
    first = next(iter(errors.values()), [])
    steps = [line.removeprefix("next: ") for line in first if line.startswith("next: ")]
    text = "\n\n".join(f"{task}: " + "\n".join(lines) for task, lines in errors.items())
    notices.tell(
        workspace.places(root)[1],
        "failed",
        title=f"clickflow: {dag} has failed" + (f" at {', '.join(errors)}" if errors else ""),
        text=text or f"the run ended: {context.get('reason') or 'no task has said why'}",
        dag=dag,
        run=run,
        next_step=steps[0] if steps else "open the run, read the failed task's log, mend the cause, clear the task",
        say=print,
    )


def late(context: Any, root: str, hours: float) -> None:
    """A run has taken longer than `schedule.deadline_hours`; it goes on."""
    run = context["dag_run"]
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


def _errors(context: Any) -> dict[str, list[str]]:
    """What the failed tasks of a run have left as their message; the last task's name where they left none."""
    if (ti := context.get("ti")) is None:
        return {}
    found: dict[str, list[str]] = {}
    for name in context["dag"].task_ids:
        if lines := ti.xcom_pull(task_ids=name, key=ERROR):
            found[name] = list(lines)
    return found or {ti.task_id: [str(context.get("reason") or "see its log")]}
