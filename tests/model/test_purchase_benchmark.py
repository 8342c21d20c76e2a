"""benchmarks/purchase.py: where its result goes."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest


def test_the_result_lies_where_it_was_asked_for(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import purchase

    def measure(_: Any, folder: Path) -> dict[str, Any]:
        os.chdir(folder)  # as the stages do
        return {"seeds": [0], "without_a_yes": math.nan}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(purchase, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["purchase.py", "--json", "results/one.json"])
    purchase.main()
    text = (tmp_path / "results/one.json").read_text()
    assert json.loads(text) == {"seeds": [0], "without_a_yes": None}
