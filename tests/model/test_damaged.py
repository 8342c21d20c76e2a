"""A damaged artefact, ledger or decision is refused in words, or answers as the whole one does.

`benchmarks/fuzz_models.py` asks the same of thousands; here are a few by chance.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import online_shop
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz_models

from clickflow.online.served import Served
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, write_json


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


@pytest.mark.parametrize(
    "steps",
    [[], "view", {"event_types": "view"}, {"event_types": []}, {"event_types": ["waved"]}, {"drop_repeats": "no"}],
)
def test_a_card_that_says_oddly_what_a_step_is_is_refused(artefact: Path, tmp_path: Path, steps: Any) -> None:
    folder = shutil.copytree(artefact, tmp_path / "exported")
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", {**card, "steps": steps})
    with pytest.raises(DataError, match="steps"):
        Served.of("next_step", 1, folder)
