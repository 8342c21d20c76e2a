"""The DAG `backfill`: its windows, what a window becomes, and that it never starts by itself."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clickflow.airflow.backfill import of_window
from clickflow.orchestration import overrides
from clickflow.orchestration.variables import parse_yaml
from clickflow.params.file import check, load
from warm import Server

READ = """
import json, sys
from datetime import UTC, datetime
sys.path.insert(0, "dags")
import backfill
from airflow.serialization.serialized_objects import DagSerialization
dag = DagSerialization.from_dict(DagSerialization.to_dict(backfill.dag))
windows = dag.iter_dagrun_infos_between(datetime(2026, 1, 11, tzinfo=UTC), datetime(2026, 1, 25, tzinfo=UTC))
regular = dag.next_dagrun_info(last_automated_run_info=None)
print(json.dumps({
    "windows": [[w.data_interval.start.isoformat(), w.data_interval.end.isoformat()] for w in windows],
    "regular": regular and str(regular),
    "params": {name: dag.params[name] for name in dag.params},
}))
"""


@pytest.fixture(scope="module")
def dag(root: Path, airflow_server: Server) -> Any:
    """The DAG as Airflow's scheduler knows it."""
    command = [sys.executable, "-c", airflow_server.ask(READ)]
    read = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(read.stdout.splitlines()[-1])


def test_a_backfill_has_a_run_for_each_week_and_none_of_its_own(dag: Any) -> None:
    assert dag["windows"] == [
        ["2026-01-11T00:00:00+00:00", "2026-01-18T00:00:00+00:00"],
        ["2026-01-18T00:00:00+00:00", "2026-01-25T00:00:00+00:00"],
        ["2026-01-25T00:00:00+00:00", "2026-02-01T00:00:00+00:00"],
    ]
    assert dag["regular"] is None
    assert dag["params"]["promote"] is False


def test_a_window_becomes_the_end_of_what_is_learned_from(root: Path) -> None:
    params, end = load(root / "params.yaml"), datetime(2026, 1, 18, tzinfo=UTC)
    request = of_window({"epochs": 2, "note": "weekly"}, params, end)
    assert request.values == {
        "sequences.until": "2026-01-18T00:00:00+00:00",
        "models.next_step.budget.epochs": 2,
    }
    assert (request.champions, request.by_itself) == ({"next_step": 0, "customers": 0}, False)
    assert "2026-01-18" in request.reason
    check(parse_yaml(overrides.apply((root / "params.yaml").read_text(), request.values)))


def test_days_cut_off_what_is_older(root: Path) -> None:
    params, end = load(root / "params.yaml"), datetime(2026, 1, 18, tzinfo=UTC)
    values = of_window({"days": 7}, params, end).values
    assert values["sequences.since"] == "2026-01-11T00:00:00+00:00"


def test_only_a_backfill_that_promotes_is_held_against_the_champion(root: Path) -> None:
    params, end = load(root / "params.yaml"), datetime(2026, 1, 18, tzinfo=UTC)
    assert of_window({"promote": True}, params, end).champions == {}
