"""Benchmarks that nothing else runs: each gives its figures, at a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.platform

SMALL = [
    "integrity --events 20000 --flips 1",
    "prepare --events 100000",
    "serving --items 20200 --units 16 --seconds 1 --search 1 --aims 20200=20@0.1 --neighbourhoods 100 "
    "--index exact,approximate --no-mlflow",
    "simulate --sizes 20000 --formats csv --repeat 1",
    "swaps --items 2000 --units 16 --swaps 2 --every 3 --rate 5",
    "training_speed --items 2000",
    "validate --events 20000",
    "watch --events 20000 --trials 3 --sizes 50",
]


@pytest.mark.parametrize("words", SMALL, ids=lambda words: words.split()[0])
def test_a_benchmark_gives_its_figures(words: str, root: Path, tmp_path: Path) -> None:
    name, *options = words.split()
    done = subprocess.run(
        [sys.executable, root / f"benchmarks/{name}.py", *options, "--json", tmp_path / "figures.json"],
        env={**os.environ, "TMPDIR": str(tmp_path), "CLICKFLOW_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert json.loads((tmp_path / "figures.json").read_text())
