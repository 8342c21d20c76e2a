"""A damaged artefact, ledger or decision is refused in words, or answers as the whole one does.

`benchmarks/fuzz_models.py` asks the same of thousands; here are a few by chance.
"""

import sys
from pathlib import Path

import online_shop
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz_models


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return online_shop.exported(tmp_path_factory.mktemp("whole")).artefact.folder


@pytest.mark.parametrize("kind", fuzz_models.KINDS)
def test_whatever_is_damaged_is_refused_or_changes_no_answer(
    artefact: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    for seed in range(50_000, 50_008):
        line = fuzz_models.attempt(kind, seed, artefact, tmp_path / "w")
        assert line["outcome"] in fuzz_models.KNOWN, line
