"""A workspace with a packed store that a small model learns within a second: items follow each other in a ring."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import warm
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.sequences.from_arrays import write_store
from clickflow.system.paths import Paths
from clickflow.tuning import search

ITEMS = 30

MODEL = {
    "models.next_step.encoder.units": 8,
    "models.next_step.encoder.features": [],
    "models.next_step.heads.next_item.negatives": 16,
    "models.next_step.budget.epochs": 3,
    "models.next_step.budget.max_length": 8,
}
SPACE = {
    "optimiser.learning_rate": {"low": 1e-6, "high": 0.03, "log": True},
    "optimiser.embedding_learning_rate": {"low": 1e-6, "high": 0.1, "log": True},
    "encoder.attention": {"choices": ["none", "bilinear"]},
}


def ring(sequences: int, seed: int) -> dict[str, np.ndarray]:
    """Sequences of 3 to 8 items, each the one after the last, nine times of ten."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, 9, sequences)
    items: list[int] = []
    for length in lengths:
        at = int(draw.integers(ITEMS))
        for _ in range(length):
            items.append(2 + at)
            at = (at + 1) % ITEMS if draw.random() < 0.9 else int(draw.integers(ITEMS))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return {"offsets": offsets, "item": np.array(items, np.int32)}


TRIAL = """
import sys
from clickflow.tuning import trial
sys.exit(trial.main(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def _warm(tmp_path_factory: pytest.TempPathFactory) -> warm.Server:
    imports = "import lightgbm, sklearn.linear_model; from clickflow.tuning import trial"
    return warm.serving(tmp_path_factory, "trials", imports)


@pytest.fixture
def quick(_warm: warm.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of this process need not import torch, which takes longer than they do."""
    monkeypatch.setattr(search, "PROGRAM", (sys.executable, "-c", _warm.ask(TRIAL)))


@pytest.fixture
def small(_warm: warm.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such trials, of which none may have more than 40 GB."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, 2 * (40 << 30,)){TRIAL}"
    monkeypatch.setattr(search, "PROGRAM", (sys.executable, "-c", _warm.ask(limited)))


Shop = Callable[..., Paths]


@pytest.fixture
def shop(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Make the workspace; keyword arguments are sections of tuning, `values` other params by dotted name.

    There is no MLflow, whose database takes seconds to make, but where a test asks for it.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")

    def make(values: Mapping[str, Any] | None = None, data: int = 0, **tuning: Any) -> Paths:
        raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
        raw["models"] = {"next_step": raw["models"]["next_step"]}
        raw["champion"] = {"next_step": 0}
        raw["tuning"] |= {"space": {"next_step": SPACE}, "pruning": "none", **tuning}
        for name, value in {**MODEL, **(values or {})}.items():
            *path, last = name.split(".")
            place = raw
            for part in path:
                place = place[part]
            place[last] = value
        text = "# a comment at the top\n" + yaml.safe_dump(raw, sort_keys=False)
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
        (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        paths = Paths(tmp_path)
        folder = paths.sequences("session")
        write_store(folder, {"train": ring(400, data), "valid": ring(60, 1), "test": ring(60, 2)}, known=ITEMS + 2)
        return paths

    return make


@pytest.fixture
def params_of() -> Callable[[Paths], Params]:
    return lambda paths: load(paths.params)


@pytest.fixture
def processes() -> Callable[[Path], list[int]]:
    """The processes that work on trials below a folder."""

    def find(folder: Path) -> list[int]:
        ids = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"clickflow.tuning.trial" in words and os.fsencode(folder) in words:
                ids.append(int(entry.name))
        return ids

    return find
