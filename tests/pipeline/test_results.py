"""What a run's record says of its decisions."""

from pathlib import Path
from typing import Any

import pytest

from clickflow.orchestration import results
from clickflow.system.files import write_json


@pytest.mark.parametrize(
    ("primary", "metric"),
    [
        ("mrr@20", "mrr@20"),
        ({"next_item": "mrr@20"}, "mrr@20"),
        ({"next_action": "log_loss"}, "next_action.log_loss"),
        ({"elsewhere": "log_loss"}, "elsewhere.log_loss"),
    ],
)
def test_the_metric_is_that_of_the_gate_whatever_its_form(tmp_path: Path, primary: Any, metric: str) -> None:
    metrics = {"mrr@20": 0.2, "next_action.log_loss": 0.8}
    folder = tmp_path / "reports/next_step/gate"
    folder.mkdir(parents=True)
    decision = {"decision": "promote", "metrics": metrics, "judged_by": {"gate": {"primary": primary}}}
    write_json(folder / "decision.json", decision)
    said = results.decisions(tmp_path)
    assert said == {"next_step": {"decision": "promote", "metric": metric, "value": metrics.get(metric)}}
