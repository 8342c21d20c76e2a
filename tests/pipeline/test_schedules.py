"""When DAGs start by themselves, and what every DAG has: words, an owner, limits; and that reading them is light."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clickflow.orchestration import overrides
from clickflow.params.file import check
from clickflow.system.errors import UsageError
from warm import Server

READ = """
import importlib, json, sys
from pathlib import Path
sys.path.insert(0, "dags")
dags = {file.stem: importlib.import_module(file.stem).dag for file in Path("dags").glob("*.py")}
heavy = {"torch", "pandas", "numpy", "great_expectations", "mlflow", "dvc", "duckdb", "pyarrow", "ruamel", "apprise"}
from airflow.serialization.serialized_objects import DagSerialization
def assets(schedule):
    condition = getattr(schedule, "asset_condition", schedule)
    return sorted(asset.uri for asset in getattr(condition, "objects", ()))
print(json.dumps({
    "heavy": sorted(heavy & set(sys.modules)),
    "dags": {
        dag.dag_id: {
            "file": name,
            "doc": dag.doc_md or "",
            "tags": sorted(dag.tags),
            "timeout": dag.dagrun_timeout.total_seconds(),
            "deadline": bool(dag.deadline),
            "notifies": dag.on_failure_callback is not None,
            "catchup": dag.catchup,
            "runs": dag.max_active_runs,
            "assets": assets(dag.schedule),
            "cron": getattr(getattr(dag.timetable, "timetable", dag.timetable), "expression", None),
            "tasks": {
                task.task_id: {
                    "owner": task.owner,
                    "doc": task.doc_md or "",
                    "limit": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                    "retries": task.retries,
                    "backoff": task.retry_exponential_backoff,
                    "delay": task.retry_delay.total_seconds(),
                    "notifies": bool(task.on_failure_callback),
                }
                for task in dag.tasks
            },
            "fields": {
                name: [dag.params.get_param(name).schema.get("title"), dag.params.get_param(name).schema.get("section")]
                for name in dag.params
            },
        }
        for name, dag in dags.items()
        if DagSerialization.to_dict(dag)
    },
}))
"""


def read(root: Path, code: str = READ, **env: str) -> Any:
    """The DAG files of a checkout, read in a process of their own."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def facts(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read(root, AIRFLOW_HOME=str(tmp_path_factory.mktemp("airflow")))


def test_reading_all_dags_imports_nothing_heavy(facts: Any) -> None:
    assert facts["heavy"] == []


def test_every_dag_says_what_it_does_and_has_limits(facts: Any) -> None:
    assert {"retrain", "backfill", "rollback"} <= set(facts["dags"])
    for name, dag in facts["dags"].items():
        assert dag["file"] == name
        assert len(dag["doc"]) > 80, name
        assert "clickflow" in dag["tags"], name
        assert dag["timeout"] > 0, name
        assert dag["deadline"], name
        assert dag["notifies"], name
        assert not dag["catchup"], name
        assert dag["runs"] >= 2, name
        for task, has in dag["tasks"].items():
            assert has["owner"] == "clickflow", task
            assert has["doc"], task
            assert has["limit"], task
            assert has["notifies"], task
            assert (has["backoff"] >= 2, has["delay"] > 0) == (True, True), task
        for field, (title, _section) in dag["fields"].items():
            assert title, (name, field)


def test_what_may_mend_itself_is_tried_again(facts: Any) -> None:
    tasks = facts["dags"]["retrain"]["tasks"]
    assert min(task["retries"] for task in tasks.values()) >= 1


def test_retrain_starts_by_hand_on_new_data_and_on_drift(facts: Any) -> None:
    assert facts["dags"]["retrain"]["assets"] == ["clickflow://drift/", "clickflow://events/"]
    assert facts["dags"]["retrain"]["cron"] is None
    assert facts["dags"]["rollback"]["assets"] == []


def test_with_a_cron_line_it_starts_by_the_clock_as_well(root: Path, tmp_path: Path, airflow_server: Server) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "dags", tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    changed = overrides.apply((tmp_path / "params.yaml").read_text(), {"schedule.retrain": "30 4 * * 1"})
    (tmp_path / "params.yaml").write_text(changed)
    dag = read(tmp_path, airflow_server.ask(READ))["dags"]["retrain"]
    assert dag["cron"] == "30 4 * * 1"
    assert dag["assets"] == ["clickflow://drift/", "clickflow://events/"]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schedule", "retrain"), "at four", "schedule.retrain: 'at four' is no cron line"),
        (("schedule", "backfill"), "@dayly", "schedule.backfill: '@dayly' is no cron line"),
        (("schedule", "backfill_days"), 0, "schedule.backfill_days: 0"),
        (("schedule", "deadline_hours"), 0, "schedule.deadline_hours"),
        (("promotion", "approve"), ["nxt_step"], "promotion.approve: there is no model 'nxt_step'"),
        (("promotion", "wait_hours"), 0, "promotion.wait_hours"),
        (("sequences", "until"), "2026-13-01", "sequences.until"),
    ],
)
def test_what_makes_no_sense_is_refused(raw_params: Any, place: tuple[str, str], value: Any, message: str) -> None:
    raw_params[place[0]][place[1]] = value
    with pytest.raises(UsageError, match=message):
        check(raw_params)


def test_a_window_that_ends_before_it_begins_is_refused(raw_params: Any) -> None:
    raw_params["sequences"] |= {"since": "2026-02-01", "until": "2026-01-31T23:00:00-02:00"}
    with pytest.raises(UsageError, match="is not after sequences"):
        check(raw_params | {"sequences": raw_params["sequences"] | {"until": "2026-01-31T21:00:00-02:00"}})
    check(raw_params)
