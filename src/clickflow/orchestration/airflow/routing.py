"""Where a task runs: `meta.airflow` of its stage as an operator's settings.

dvc.yaml says what a stage needs (queue, pool, resources); the executor that serves a queue is a matter of the
installation, so it comes from its variables: CLICKFLOW_EXECUTOR_GPU=EdgeExecutor for queue `gpu`, and so on.
"""

import os
import re
from typing import Any

from clickflow.orchestration.tasks import Routing


def settings(routing: Routing) -> dict[str, Any]:
    """What an operator is given; what is not said is left to Airflow's own defaults."""
    found: dict[str, Any] = {
        "queue": routing.queue,
        "retries": routing.retries,
        "execution_timeout": routing.timeout,
    }
    if routing.pool:
        found["pool"] = routing.pool
    if executor := executor_of(routing.queue):
        found["executor"] = executor
    return found


def executor_of(queue: str) -> str | None:
    """The executor that tasks of a queue ask for, from `CLICKFLOW_EXECUTOR_<QUEUE>`; None: Airflow's first one."""
    return os.environ.get("CLICKFLOW_EXECUTOR_" + re.sub(r"\W", "_", queue).upper()) or None
