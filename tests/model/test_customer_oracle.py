"""The true process of a simulated log, asked who stays away after each cut-off."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from clickflow.evaluation import oracle
from clickflow.heads import churn
from clickflow.sources.simulator import simulate, truth
from clickflow.system.moments import DAY


def test_each_customer_and_cut_off_has_its_true_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate.simulate(replace(simulate.DEFAULTS, events=3_000, days=60), tmp_path, fmt="parquet")
    known = truth.customers(tmp_path / "truth", 20.0, 14.0, spend=False)
    later = truth.customers(tmp_path / "truth", 34.0, 14.0, spend=False)
    users = [known.user_id[0], known.user_id[0], "nobody"]
    start = int(np.datetime64("2026-01-05", "us").astype(np.int64))
    (tmp_path / "store" / "test").mkdir(parents=True)
    parquet.write_table(pa.table({"user_id": users}), tmp_path / "store" / "test" / "sequences.parquet")
    test: Any = SimpleNamespace(
        folder=tmp_path / "store",
        card=SimpleNamespace(own_settings={"horizon_days": 14}),
        questions=SimpleNamespace(sequence=np.arange(3)),
        split=SimpleNamespace(cut_off=start + np.array([20, 34, 20]) * DAY),
    )
    question: Any = SimpleNamespace(at=np.arange(3), head=churn.HEAD)
    stand_in = SimpleNamespace(baseline=lambda *_: (np.full((3, 2), -0.5, np.float32), True))
    monkeypatch.setattr(oracle, "ASKING", {"probability": stand_in})
    answers = oracle.Truth(tmp_path / "truth").answers(test, question, SimpleNamespace())  # type: ignore[arg-type]
    assert answers is not None
    logs, unknown = answers
    second = later.no_purchase[later.user_id.index(users[0])]
    assert np.exp(logs[:2, 1]) == pytest.approx([known.no_purchase[0], second], abs=1e-5)
    assert unknown == 1 and (logs[2] == -0.5).all()
