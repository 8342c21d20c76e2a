"""benchmarks/serving.py: what it plants in a network is what an index can use, and what it does not plant is not."""

import sys
from functools import partial
from pathlib import Path

import pytest

from clickflow.online import near
from clickflow.online.served import Served

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

ITEMS, UNITS, SIZE = 3000, 32, 50


@pytest.mark.parametrize("planted", [True, False])
def test_an_index_finds_the_best_of_planted_neighbourhoods_alone(
    planted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import explain
    import serving

    monkeypatch.setattr(near, "LEAST", 1)
    monkeypatch.setattr(near, "LOOKED_AT", 1)
    change = partial(serving.plant, size=SIZE, seed=0) if planted else lambda _: None
    folder = explain.untrained(tmp_path, ITEMS, UNITS, 0, change).artefact.folder
    served = Served.of("m", 1, folder, recall=0.9)
    assert served.index is not None
    assert served.approximate == planted == (served.index.recall >= 0.9)
