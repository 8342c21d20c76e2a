"""`benchmarks/compression.py`: every form and both students are measured."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from test_next_item_benchmark import log

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.mark.slow
def test_forms_and_students_stand_side_by_side(tmp_path: Path) -> None:
    import compression

    train = log(tmp_path / "train.tsv.gz", 120, 0, clock=True)
    output = io.StringIO()
    words = ["--train", train, "--tail", "0.2", "--epochs", "1", "--json", tmp_path / "out.json"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", ["compression.py", *map(str, words)])
        compression.main()
    result = json.loads(output.getvalue())
    assert {"none", "int8", "pruned", "int8_pruned", "onnxruntime_dynamic"} < set(result["forms"])
    assert result["forms"]["int8"]["size_mb"] < result["forms"]["none"]["size_mb"]
    (run,) = result["distillation"]["runs"]
    assert run["alone"]["predictions"] == run["taught"]["predictions"] > 0
    assert set(result["distillation"]["mean"]) == {"alone", "taught"}
