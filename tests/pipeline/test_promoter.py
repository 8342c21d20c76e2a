"""What only who changes a champion is given reaches `promote` and `rollback`, and no stage."""

import json
import os
from pathlib import Path

import pytest

from clickflow.orchestration import runs, workspace
from clickflow.registry.lock import changing
from clickflow.system.paths import Paths

SECRET = {
    "CLICKFLOW_PROMOTER_PASSWORD": "a password of the registry",
    "CLICKFLOW_LEDGER_KEY": "a key of the ledger " * 2,
}


def test_stages_are_not_given_it_and_promote_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    run = workspace.Run("run-1", "a" * 40, str(tmp_path), str(tmp_path / "home"), {})
    stage = workspace.environment(run, tmp_path)
    assert not {value for value in stage.values() for secret in SECRET.values() if secret in value}
    assert {name: workspace.promoting(stage)[name] for name in SECRET} == SECRET


def test_who_changes_the_registry_is_its_promoter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_PROMOTER_PASSWORD", SECRET["CLICKFLOW_PROMOTER_PASSWORD"])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "writer")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "the writer's")

    with changing(Paths(tmp_path)):
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "promoter"
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == SECRET["CLICKFLOW_PROMOTER_PASSWORD"]


def test_a_verb_that_fails_is_named_without_its_options(tmp_path: Path) -> None:
    """What people answered, as JSON, is none of what a run's note has room for."""
    run = workspace.Run("run-1", "a" * 40, str(tmp_path), str(tmp_path / "home"), {})
    answers = json.dumps({"next_step": {"answer": "approve", "by": "admin", "reason": "late but yes"}})
    with pytest.raises(runs.StageFailed) as failure:
        runs.verb(run, tmp_path, ["promote", "next_step", "--answers", answers], lambda _: None)
    assert failure.value.what.startswith("`clickflow promote next_step` failed: ")
    assert "late but yes" not in failure.value.what.partition(":")[0]
