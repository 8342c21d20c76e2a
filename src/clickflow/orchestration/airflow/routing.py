"""Where a task runs: `meta.airflow` of its stage as an operator's settings."""

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
    return found
