"""`benchmarks/gate.py`: the slice rule that it measures is judged."""

from pathlib import Path

import pytest


def test_the_slice_rule_is_judged_and_sees_a_drop(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import gate

    measured = gate.slice_rule(2000, 8, 0.4, trials=1, seed=0)
    assert (measured["judged"], measured["held"]) == (8, 1)
