"""Where a task runs: `meta.airflow` of its stage as an operator's settings.

dvc.yaml says what a stage needs (queue, pool, resources); the executor that serves a queue is a matter of the
installation, so it comes from its variables: CLICKFLOW_EXECUTOR_GPU=EdgeExecutor for queue `gpu`, and so on.
"""

import os
import re
from typing import Any

from airflow.sdk.configuration import conf

from clickflow.orchestration.tasks import Resources, Routing

KUBERNETES = "KubernetesExecutor"


def settings(routing: Routing) -> dict[str, Any]:
    """What an operator is given; what is not said is left to Airflow's own defaults."""
    options: dict[str, Any] = {
        "queue": routing.queue,
        "retries": routing.retries,
        "execution_timeout": routing.timeout,
    }
    if routing.pool:
        options["pool"] = routing.pool
    if executor := executor_of(routing.queue):
        options["executor"] = executor
    if KUBERNETES in (executor or _first_executor()) and routing.resources != Resources():
        options["executor_config"] = {"pod_override": _pod(routing.resources)}
    return options


def executor_of(queue: str) -> str | None:
    """The executor that tasks of a queue ask for, from `CLICKFLOW_EXECUTOR_<QUEUE>`; None: Airflow's first one."""
    return os.environ.get("CLICKFLOW_EXECUTOR_" + re.sub(r"\W", "_", queue).upper()) or None


def _first_executor() -> str:
    """Airflow's own, where a task asks for none: the first one of `[core] executor`."""
    return str(conf.get("core", "executor")).split(",")[0]


def _pod(needs: Resources) -> Any:
    """The pod of a task, laid over the installation's template: how much CPU, memory and how many GPUs it asks for."""
    # Only where it is needed: the client takes a second to load.
    from kubernetes.client import models as k8s

    requests = {
        **({"cpu": _plain(needs.cpu)} if needs.cpu else {}),
        **({"memory": f"{_plain(needs.memory_gb)}G"} if needs.memory_gb else {}),
    }
    # Memory beyond the request would be taken from others until the node kills someone; CPU is only shared.
    limits = {name: amount for name, amount in requests.items() if name == "memory"}
    if needs.gpu:
        limits["nvidia.com/gpu"] = str(needs.gpu)
    container = k8s.V1Container(name="base", resources=k8s.V1ResourceRequirements(requests=requests, limits=limits))
    return k8s.V1Pod(spec=k8s.V1PodSpec(containers=[container]))


def _plain(number: float) -> str:
    return f"{number:g}"
