"""From an exported model to a champion and its answers: export, evaluate, gate, promote, open, score, all real."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import ITEMS, KNOWN, shop, spec, split, trained
from typer.testing import CliRunner
from watched_shop import LENIENT

import mlflow_database
from clickflow import cli
from clickflow.artefact.artefact import load
from clickflow.sequences.from_arrays import write_store
from clickflow.serving.score import score
from clickflow.system.errors import ClickflowError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from recorded import lock

MODEL = "next_step"


@pytest.fixture
def paths(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Paths:
    """A workspace with a packed store and a gate that lets an untrained model through."""
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    own = {"min_slice: 500": "min_slice: 100000", "bootstrap: 1000": "bootstrap: 50", "max_length: 50": "max_length: 8"}
    for old, new in (LENIENT | own).items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text + "units: [session]\n", encoding="utf-8")
    (tmp_path / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    workspace = Paths(tmp_path)
    mlflow_database.empty_into(workspace.home)
    shop(workspace.sequences("session"))
    return workspace


def call(*arguments: str, as_json: bool = True) -> Any:
    result = CliRunner().invoke(cli.app, [*arguments, *(["--json"] if as_json else [])])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout) if as_json else result.stdout


def decide(paths: Paths, seed: int) -> str:
    """A network with random weights, through every stage after training; the gate's decision."""
    if paths.trained(MODEL).exists():
        for file in paths.trained(MODEL).iterdir():
            file.unlink()
        paths.trained(MODEL).rmdir()
    trained(paths.trained(MODEL), paths.sequences("session"), spec(), seed=seed)
    for verb in ("export", "evaluate", "gate"):
        call(verb, MODEL, as_json=False)
    lock(paths, MODEL)
    return str(read_json(paths.gate(MODEL) / "decision.json")["decision"])


def renamed(paths: Paths) -> Paths:
    """The same shop after another training window: the same items and categories under other indexes."""
    order = np.random.default_rng(9).permutation(np.arange(2, ITEMS + 2))  # new index of each old one
    new = np.concatenate([[0, 1], order]).astype(np.int32)
    names = [""] * ITEMS
    for old, index in enumerate(order, start=2):
        names[index - 2] = str(old)
    parts = {
        "train": split(300, 0),
        "valid": split(40, 1, 80 * 3_600_000_000),
        "test": split(60, 2, 160 * 3_600_000_000),
    }
    for part in parts.values():
        part["item"] = new[part["item"]]
    write_store(paths.sequences("session"), parts, known=ITEMS + 2, items=names)
    return paths


def test_a_model_ships_and_answers(paths: Paths) -> None:
    with pytest.raises(ClickflowError, match="no champion yet"):
        call("score", MODEL)
    assert decide(paths, seed=0) == "promote"
    assert call("promote")["models"][0]["champion"] == 1
    before = call("score", MODEL, "--limit", "7")["sessions"]
    assert len(before) == 7
    for session in before:
        assert len(session["next_items"]) == 5
        chances = [each["probability"] for each in session["next_items"]]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1.0001
        assert sum(session["next_actions"].values()) == pytest.approx(1, abs=1e-4)
        assert "exit" in session["next_actions"]
    shown = call("score", MODEL, as_json=False)
    assert "version 1" in shown
    assert "exit" in shown

    # another store: the champion reads it by the items' names, and says the same
    renamed(paths)
    after = {each["session"]: each for each in call("score", MODEL, "--limit", "7")["sessions"]}
    for session in before:
        answer = after[session["session"]]
        assert [step["item"] for step in answer["steps"]] == [step["item"] for step in session["steps"]]
        assert [each["item"] for each in answer["next_items"]] == [each["item"] for each in session["next_items"]]
        assert answer["next_actions"] == pytest.approx(session["next_actions"], abs=1e-4)
        assert all(step["known"] == (int(step["item"]) < KNOWN) for step in answer["steps"])


def test_the_candidate_is_judged_against_the_frozen_champion(paths: Paths) -> None:
    assert decide(paths, seed=0) == "promote"
    call("promote")
    assert call("open")["changed"] == {MODEL: {"was": 0, "is": 1}}
    assert call("open")["changed"] == {}

    # the same weights again: equal to the champion in every prediction, and no second version
    assert decide(paths, seed=0) == "promote"
    content = read_json(paths.gate(MODEL) / "decision.json")
    champion_rule = next(rule for rule in content["rules"] if "the champion" in rule["rule"])
    assert champion_rule["evidence"]["interval"] == [0.0, 0.0]
    assert call("promote")["models"][0]["outcome"] == "already champion"

    # other weights on a store with other indexes: the champion is scored through its own vocabulary
    decide(renamed(paths), seed=1)
    metrics = read_json(paths.measured(MODEL))
    assert metrics["champion_version"] == 1
    assert metrics["next_item"]["champion"]["recall@20"]["value"] > 0
    assert read_json(paths.gate(MODEL) / "decision.json")["champion_version"] == 1


def test_the_latest_sequences_are_scored(paths: Paths) -> None:
    decide(paths, seed=0)
    answers = score(load(paths.exported(MODEL)), paths.sequences("session"), limit=1000)
    assert len(answers) == 60, "all there are"
    few = score(load(paths.exported(MODEL)), paths.sequences("session"), limit=3)
    assert [each.session for each in few] == [each.session for each in answers[-3:]]
    for alone, among in zip(few, answers[-3:], strict=True):
        assert [item for item, _ in alone.answers["next_item"]] == [item for item, _ in among.answers["next_item"]]
