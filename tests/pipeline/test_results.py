"""What a run's record says of its decisions."""

from pathlib import Path

import pytest

from clickflow.orchestration import results
from clickflow.system.files import write_json


@pytest.mark.parametrize("primary", ["mrr@20", "next_action.log_loss", "elsewhere.log_loss"])
def test_the_metric_is_that_by_which_the_gate_says_it_went(tmp_path: Path, primary: str) -> None:
    metrics = {"mrr@20": 0.2, "next_action.log_loss": 0.8}
    folder = tmp_path / "reports/next_step/gate"
    folder.mkdir(parents=True)
    write_json(folder / "decision.json", {"decision": "promote", "metrics": metrics, "primary": primary})
    decisions = results.decisions(tmp_path)
    assert decisions == {"next_step": {"decision": "promote", "metric": primary, "value": metrics.get(primary)}}
