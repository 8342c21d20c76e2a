"""The judged party does not set the rules: what promote refuses to believe, and what it puts into the ledger."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry_workspace import MODEL, candidate, judged, lines, state, with_store, workspace
from small_shop import dvc, git
from typer.testing import CliRunner

from clickflow import cli
from clickflow.evaluation.answers.ranking import values
from clickflow.gate import locked
from clickflow.orchestration import history, overrides
from clickflow.orchestration.workspace import Run
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json, write_json
from clickflow.system.paths import Paths
from recorded import lock


@pytest.fixture
def here(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Somebody's own checkout, committed, with an empty registry in its home."""
    paths = with_store(workspace(tmp_path / "shop", root))
    (paths.root / ".gitignore").write_text("/models/\n/reports/\n")
    git(paths.root, "init", "--quiet")
    git(paths.root, "add", "--all")
    git(paths.root, "commit", "--quiet", "--message", "a shop")
    monkeypatch.chdir(paths.root)
    return paths


def recorded(here: Paths, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **how: Any) -> Paths:
    """The folder of a recorded run of the checkout's commit, asked for by bob, with other params."""
    folder = here.home / "runs" / "run-7"
    git(here.root, "clone", "--quiet", str(here.root), str(folder))
    paths = Paths(folder)
    paths.params.write_text(overrides.apply(paths.params.read_text(), values))
    candidate(paths, "one", **how)
    commit = git(here.root, "rev-parse", "HEAD").strip()
    run = Run("run-7", commit, str(here.root), str(here.home), values, "retrain/x", reason="by hand", person="bob")
    git(folder, "add", "--force", "params.yaml", "dvc.lock")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", history.message(run, {}))
    git(folder, "push", "--quiet", str(here.root), "HEAD:refs/runs/run-7")
    monkeypatch.chdir(folder)
    return paths


def promote(*words: str) -> dict[str, Any]:
    """What became of the candidate; `error` holds all that was said where it was refused."""
    result = CliRunner().invoke(cli.app, ["promote", *words, "--json"])
    if result.exception and not isinstance(result.exception, UsageError):
        raise result.exception
    (outcome,) = json.loads(result.stdout)["models"]
    assert (outcome["outcome"] == "refused") == (result.exception is not None)
    return {**outcome, "error": str(result.exception)}


def one_line(*words: str) -> str:
    """What a verb prints, as it would on a wide screen."""
    return re.sub(r"[\s│]+", " ", CliRunner().invoke(cli.app, words).stdout)


def refused(paths: Paths, *expected: str) -> None:
    """It is refused with these words and a way back, by a line in the ledger, and nobody is champion."""
    outcome = promote()
    assert outcome["outcome"] == "refused"
    for words in expected:
        assert words in outcome["error"]
    assert any(way in outcome["next_step"] for way in ("dvc repro", "checkout", "clickflow evaluate"))
    assert lines(paths)[-1]["action"] == "refuse"
    assert state(paths)["standing"].champion == 0


def edit_rows(paths: Paths, system: str, rank: int) -> None:
    """Give a system this rank in every row, and metrics.json what follows from it."""
    file = paths.evaluation(MODEL) / "predictions.parquet"
    table = pq.read_table(file)
    ranks = np.full(len(table), rank, np.int32)
    pq.write_table(
        table.set_column(table.column_names.index(f"rank_{system}"), f"rank_{system}", pa.array(ranks)), file
    )
    metrics = read_json(paths.measured(MODEL))
    for name, entry in metrics["next_item"][system].items():
        entry["value"] = float(values(name, ranks, ranks).mean())
    write_json(paths.measured(MODEL), metrics)
    integrity.seal(paths.evaluation(MODEL))


def rewrite(file: Path, **changes: Any) -> None:
    write_json(file, read_json(file) | changes)


@pytest.mark.parametrize("decision", ["hold", "reject"])
def test_a_verdict_written_by_hand_is_not_believed(here: Paths, decision: str) -> None:
    candidate(here, "one", decision=decision)
    file = here.gate(MODEL) / "decision.json"
    rewrite(file, decision="promote")
    refused(here, "reports/next_step/gate is not what dvc.lock holds")
    lock(here, MODEL)
    refused(here, f"decision.json says promote, the evidence gives {decision}")
    rewrite(file, decision=decision, summary="all is well")
    lock(here, MODEL)
    refused(here, "differs from what the evidence gives, in summary")
    judged(here, MODEL, decision)
    assert promote()["outcome"] == {"hold": "held", "reject": "rejected"}[decision]


def test_edited_evidence_is_named(here: Paths) -> None:
    candidate(here, "one", decision="reject")
    metrics = read_json(here.measured(MODEL))
    metrics["next_item"]["popularity"]["mrr@20"]["value"] = 0.01
    write_json(here.measured(MODEL), metrics)
    refused(here, "reports/next_step/evaluation is not what dvc.lock holds")
    lock(here, MODEL)
    refused(here, "metrics.json says mrr@20 of popularity is 0.01", "clickflow evaluate")


def test_edited_rows_with_their_hash_change_the_decision_or_are_recorded(here: Paths) -> None:
    """By hand dvc.lock is the person's own: rows that agree with it, and with the decision, are what was judged."""
    candidate(here, "one", decision="reject")
    edit_rows(here, "popularity", 40)
    lock(here, MODEL)
    refused(here, "decision.json says reject, the evidence gives promote")
    judged(here, MODEL, "promote")
    assert promote()["outcome"] == "promoted"
    facts = lines(here)[-1]["facts"]
    assert facts["uncommitted"] is True
    assert "dvc.lock" in facts["differs"]["files"]


def test_the_lock_of_a_run_is_the_one_that_git_keeps(here: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = recorded(here, {}, monkeypatch, decision="reject")
    edit_rows(paths, "popularity", 40)
    judged(paths, MODEL, "promote")
    refused(paths, "dvc.lock of run run-7 changed after it was recorded", "git checkout -- dvc.lock")
    refused(paths, "dvc.lock of run run-7 changed after it was recorded", "git commit -a")
    git(paths.root, "commit", "--quiet", "--all", "--amend", "--no-edit")
    refused(paths, "is not the record of run run-7: git keeps it as")


def test_rules_that_are_not_those_of_params_yaml_are_refused(here: Paths) -> None:
    candidate(here, "one")
    text = here.params.read_text()
    here.params.write_text(overrides.apply(text, {"gate.floors": {"recall@20": -1}, "gate.max_size_mb": 300}))
    refused(here, "judged by other rules than those of params.yaml: gate.floors, gate.max_size_mb")
    here.params.write_text(text)
    assert promote()["outcome"] == "promoted"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"gate.champion.margin": 5.0}, "gate.champion.margin: 0.01 → 5.0"),
        ({"promotion.approve": []}, "promotion.approve: ['next_step'] → []"),
        ({"registry.mlflow_uri": "sqlite:///mine.db"}, "registry.mlflow_uri: None → sqlite:///mine.db"),
    ],
)
def test_a_run_does_not_bring_its_own_rules(
    here: Paths, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], says: str
) -> None:
    """The run's own decision is all in order: judged by its params, the lock as git keeps it."""
    here.params.write_text(overrides.apply(here.params.read_text(), {"promotion.approve": [MODEL]}))
    git(here.root, "commit", "--quiet", "--all", "--message", "somebody must agree")
    recorded(here, values, monkeypatch)
    outcome = promote()
    assert outcome["outcome"] == "refused"
    assert f"the run set rules that are the commit's alone ({says})" in outcome["error"]


def test_the_ledger_names_who_asked_who_agreed_and_what_was_changed(
    here: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.params.write_text(overrides.apply(here.params.read_text(), {"promotion.approve": [MODEL]}))
    git(here.root, "commit", "--quiet", "--all", "--message", "somebody must agree")
    paths = recorded(here, {"models.next_step.budget.epochs": 3}, monkeypatch)
    assert promote()["outcome"] == "held"
    answer = {"answer": "approve", "by": "Ada L.", "at": "2026-01-05T10:00:00+00:00", "reason": "looked"}
    assert promote("--answers", json.dumps({MODEL: answer}))["outcome"] == "promoted"
    facts = lines(paths)[-1]["facts"]
    assert (facts["asked_by"], facts["approval"]["by"], facts["run_id"]) == ("bob", "Ada L.", "run-7")
    assert facts["overrides"] == {"models.next_step.budget.epochs": 3}
    assert facts["commit"] == git(here.root, "rev-parse", "HEAD").strip()
    assert facts["os_user"]
    assert "uncommitted" not in facts
    for text in ("asked for by bob", "approved by Ada L.", "budget.epochs=3", "run-7"):
        assert text in one_line("status")


def test_by_hand_what_is_not_committed_stands_in_the_ledger(here: Paths) -> None:
    candidate(here, "one")
    git(here.root, "add", "--all")
    git(here.root, "commit", "--quiet", "--message", "with its lock")
    assert promote()["outcome"] == "promoted"
    assert "uncommitted" not in lines(here)[-1]["facts"]
    here.params.write_text(overrides.apply(here.params.read_text(), {"gate.max_size_mb": 150}))
    candidate(here, "two", champion=1)
    assert promote()["outcome"] == "promoted"
    facts = lines(here)[-1]["facts"]
    assert facts["uncommitted"] is True
    assert facts["differs"]["files"] == ["dvc.lock", "params.yaml"]
    assert facts["differs"]["params"] == {
        "gate.max_size_mb": {"commit": 200, "here": 150},
        "champion.next_step": {"commit": 0, "here": 1},
    }
    assert "gate.max_size_mb 200 → 150; not committed: dvc.lock, params.yaml" in one_line("status")


@pytest.mark.parametrize("decision", ["hold", "reject"])
def test_a_person_rejects_what_the_gate_held_and_it_is_recorded_once(here: Paths, decision: str) -> None:
    candidate(here, "one", decision=decision)
    promote()
    for _ in range(2):
        assert promote("--reject", "the brand filter is missing")["outcome"] == "rejected"
    last = lines(here)[-1]
    assert [line["action"] for line in lines(here)] == [decision, "reject"]
    assert last["facts"]["approval"]["reason"] == "the brand filter is missing"
    assert f"the gate's decision was {decision}" in last["reason"]


def test_a_dry_run_says_whether_the_decision_stands_and_writes_nothing(here: Paths) -> None:
    candidate(here, "one")
    assert promote("--dry-run")["outcome"] == "stands"
    rewrite(here.gate(MODEL) / "decision.json", decision="hold")
    assert promote("--dry-run")["outcome"] == "refused"
    assert lines(here) == []


def test_no_lock_no_record(here: Paths) -> None:
    candidate(here, "one")
    (here.root / "dvc.lock").unlink()
    refused(here, "dvc.lock has no entry of gate@next_step")


@pytest.mark.usefixtures("_dvc")
def test_a_folder_hashes_as_dvc_has_it_and_the_file_that_changed_is_named(here: Paths) -> None:
    candidate(here, "one")
    (here.root / ".gitignore").write_text("")
    (here.root / "dvc.yaml").rename(here.root / "dvc.yaml.kept")
    gate = here.gate(MODEL)
    (gate / "Zoë").mkdir()
    (gate / "Zoë/b.txt").write_text("b")
    lock(here, MODEL)
    for words in (["init", "--quiet"], ["add", "--quiet", "reports/next_step/gate"]):
        dvc(here.root, *words)
    assert f"md5: {locked.md5(gate)}\n" in gate.with_name("gate.dvc").read_text()
    (here.root / "dvc.yaml.kept").rename(here.root / "dvc.yaml")
    (gate / "Zoë/b.txt").write_text("c")
    refused(here, "reports/next_step/gate/Zoë/b.txt is not what dvc.lock holds: changed after the gate")
