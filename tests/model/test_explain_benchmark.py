"""benchmarks/explain.py on a small shop: what is planted is what is named."""

import argparse
from pathlib import Path

import pytest
import small_models

from clickflow.sequences.from_arrays import write_store
from clickflow.system.moments import HOUR
from clickflow.system.paths import Paths


def test_a_planted_cart_is_named_first(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "benchmarks")
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    import explain

    week = 7 * 24 * HOUR
    parts = {"train": small_models.split(1500, 0), "valid": small_models.split(200, 1, week)}
    source, own = Paths(tmp_path / "source").sequences("session"), tmp_path / "planted"
    write_store(source, parts | {"test": small_models.split(300, 2, 2 * week)})
    causes = explain.plant(source, Paths(own).sequences("session"), "carts", 0)
    args = argparse.Namespace(events=1000, encoder="gru", epochs=1, seed=0)
    model = explain.served(args, own, ("purchase",), "boosting")
    result = explain.named_first(model, own, causes["test"], "purchase", 50)
    assert result["cases"] == 50
    assert result["first"] >= 45, "nine of ten, and by chance it would be one of seven"
    assert result["chance"] < 0.25
    assert result["twice"]["as_explained"] >= 45
