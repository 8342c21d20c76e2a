"""Where tasks run follows from dvc.yaml and the installation's variables; nothing in the DAGs changes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clickflow.orchestration import graph
from clickflow.orchestration.tasks import Resources, plan
from clickflow.system.errors import UsageError
from warm import Server

READ = """
import json, os, sys, time
sys.path.insert(0, "dags")
import retrain
from airflow.serialization.serialized_objects import DagSerialization

read = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(retrain.dag))))
tasks = {}
for task in read.tasks:
    row = {"queue": task.queue, "pool": task.pool, "executor": task.executor, "pod": None}
    override = (task.executor_config or {}).get("pod_override")
    if override is not None:
        from datetime import datetime, timezone
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
        from kubernetes.client import ApiClient

        base = PodGenerator.deserialize_model_file(os.environ["TEMPLATE"])
        pod = PodGenerator.construct_pod(
            dag_id="retrain", task_id=task.task_id, pod_id="retrain-task", try_number=1, kube_image="clickflow:1",
            date=datetime(2026, 1, 1, tzinfo=timezone.utc), args=["airflow", "tasks"], pod_override_object=override,
            base_worker_pod=base, namespace="shop", scheduler_job_id="7",
        )
        row["pod"] = ApiClient().sanitize_for_serialization(pod)
    tasks[task.task_id] = row
print(json.dumps({"tasks": tasks, "kubernetes": "kubernetes" in sys.modules}))
"""


def read(server: Server, root: Path, **env: str) -> Any:
    """The retrain DAG as the scheduler has it, read in a process of its own under an installation's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CLICKFLOW_EXECUTOR"))}
    given = {**kept, "TEMPLATE": str(root / "docs/howto/pod.yaml"), **env}
    command = [sys.executable, "-c", server.ask(READ)]
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_variables_tasks_ask_for_no_executor(root: Path, airflow_server: Server) -> None:
    dag = read(airflow_server, root)
    assert {task["executor"] for task in dag["tasks"].values()} == {None}
    assert {task["pod"] for task in dag["tasks"].values()} == {None}
    assert not dag["kubernetes"], "the Kubernetes client was loaded where nothing asks for it"


def test_a_queue_has_the_executor_of_its_variable(root: Path, airflow_server: Server) -> None:
    edge = "airflow.providers.edge3.executors.EdgeExecutor"
    both = {"AIRFLOW__CORE__EXECUTOR": f"LocalExecutor,{edge}", "CLICKFLOW_EXECUTOR_GPU": "EdgeExecutor"}
    dag = read(airflow_server, root, **both)
    assert {task["queue"] for task in dag["tasks"].values()} == {"default", "gpu"}
    for task in dag["tasks"].values():
        assert task["executor"] == ("EdgeExecutor" if task["queue"] == "gpu" else None)
    assert dag["tasks"]["train.next_step"]["pool"] == "gpu"


@pytest.mark.parametrize(
    ("env", "on_kubernetes"),
    [
        ({"AIRFLOW__CORE__EXECUTOR": "KubernetesExecutor"}, {"default", "gpu"}),
        (
            {
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor,KubernetesExecutor",
                "CLICKFLOW_EXECUTOR_GPU": "KubernetesExecutor",
            },
            {"gpu"},
        ),
    ],
)
def test_under_kubernetes_a_task_asks_for_its_resources(
    root: Path, airflow_server: Server, env: dict[str, str], on_kubernetes: set[str]
) -> None:
    from kubernetes_validate import validate  # type: ignore[import-untyped]

    stages = {task.id: task for task in plan(graph.load(root)).values() if task.stage}
    dag = read(airflow_server, root, **env)
    for name, task in dag["tasks"].items():
        needs = stages[name].routing.resources if name in stages else Resources()
        if task["queue"] not in on_kubernetes or needs == Resources():
            assert task["pod"] is None
            continue
        pod = task["pod"]
        validate(pod, "1.31", strict=True)
        (container,) = pod["spec"]["containers"]
        assert container["name"] == "base"
        assert container["image"] == "clickflow:1"
        # The template's own settings stay.
        assert pod["spec"]["restartPolicy"] == "Never"
        assert container["envFrom"]
        resources = container["resources"]
        assert resources["requests"] == {"cpu": f"{needs.cpu:g}", "memory": f"{needs.memory_gb:g}G"}
        assert resources["limits"].get("nvidia.com/gpu") == (str(needs.gpu) if needs.gpu else None)
    gpus = [
        t["pod"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        for t in dag["tasks"].values()
        if t["pod"]
    ]
    assert "1" in gpus


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpus": 1}, "meta.airflow.resources.gpus is not understood"),
        ({"gpu": 0.5}, "meta.airflow.resources.gpu: 0.5 is of the wrong type"),
        ({"cpu": -1}, "meta.airflow.resources.cpu is below 0"),
        (4, "meta.airflow.resources: 4 is of the wrong type"),
    ],
)
def test_wrong_resources_are_named(tmp_path: Path, resources: Any, message: str) -> None:
    stages = {"a": {"cmd": "c", "meta": {"airflow": {"resources": resources}}}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(UsageError, match=message):
        plan(graph.load(tmp_path))
