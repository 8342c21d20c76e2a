"""Promote, through the command line, on a real MLflow over SQLite."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from registry_workspace import MODEL, call, candidate, home_of, lines, params_of, refusal, state
from typer.testing import CliRunner

from clickflow import cli
from clickflow.registry import champion, ledger, pages
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client


def test_first_model_then_a_better_one(here: Paths) -> None:
    candidate(here, "one")
    first = call("promote")["models"][0]
    assert (first["outcome"], first["version"], first["champion"], first["previous"]) == ("promoted", 1, 1, 0)
    assert state(here)["aliases"] == {"champion": 1}

    summary = candidate(here, "two", champion=1, mrr=0.3)["summary"]
    second = call("promote", MODEL)["models"][0]
    assert (second["outcome"], second["champion"], second["previous"]) == ("promoted", 2, 1)
    registry = state(here)
    assert registry["aliases"] == {"champion": 2, "previous": 1}
    assert registry["actions"] == [("promote", 1), ("promote", 2)]
    assert registry["anchored"]
    tags = registry["versions"][2]
    assert (tags["commit"], tags["run_id"], tags["decision"], tags["data_sha256"]) == (
        "c0ffee",
        "run-7",
        "promote",
        "d" * 64,
    )
    assert json.loads(tags["metrics"]) == {"mrr@20": 0.3, "recall@20": 1.0}
    assert described(here, 2) == (f"{MODEL} 2 · data dddddddd · promote", f"**promote**: {summary}")
    assert lines(here)[1]["actor"] == "ada"
    assert not (here.root / "mlruns").exists(), "MLflow wrote into the working folder"


def described(paths: Paths, number: int) -> tuple[str, str]:
    """What MLflow calls the run of a version, and the verdict in the version's description."""
    client = mlflow_client.connect(params_of(paths), paths).client
    version = client.get_model_version(MODEL, str(number))
    run = client.get_run(version.run_id)
    assert run.data.tags["mlflow.note.content"] == version.description
    assert "run_id `run-7`" in version.description
    return run.info.run_name, next(each for each in version.description.split("\n\n") if each.startswith("**"))


def test_a_run_in_mlflow_is_called_by_version_data_and_verdict(here: Paths) -> None:
    data = {"kind": "files", "preset": "rees46", "to": "2026-01-27T23:59"}
    candidate(here, "one", decision="hold", data=data)
    call("promote")
    assert described(here, 1)[0] == f"{MODEL} 1 · files rees46 to 2026-01-27 · hold"
    candidate(here, "one", data=data)
    call("promote")
    assert described(here, 1)[0] == f"{MODEL} 1 · files rees46 to 2026-01-27 · promote"


def test_a_published_report_names_its_run_and_commit(here: Paths) -> None:
    page = here.root / "report.html"
    page.write_text("<p>A simulated shop<!-- run --></p>", encoding="utf-8")
    pages.publish(params_of(here), here, {"next_step/report.html": page}, "http://mlflow")
    client = mlflow_client.connect(params_of(here), here).client
    (run,) = client.search_runs([client.get_experiment_by_name(pages.EXPERIMENT).experiment_id])
    held = Path(client.download_artifacts(run.info.run_id, "next_step/report.html", str(here.home)))
    shown = held.read_text(encoding="utf-8")
    assert shown == "<p>A simulated shop; run <code>run-7</code>, commit <code>c0ffee</code></p>"
    assert page.read_text(encoding="utf-8") == "<p>A simulated shop<!-- run --></p>"


def test_the_same_decision_twice_changes_nothing(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    before = ledger.path(here).read_bytes()
    again = call("promote")["models"][0]
    assert (again["outcome"], again["version"]) == ("already champion", 1)
    assert ledger.path(here).read_bytes() == before
    assert list(state(here)["versions"]) == [1]


@pytest.mark.parametrize(("decision", "outcome"), [("hold", "held"), ("reject", "rejected")])
def test_hold_and_reject_are_recorded_and_change_no_champion(here: Paths, decision: str, outcome: str) -> None:
    candidate(here, "one")
    call("promote")
    summary = candidate(here, "two", decision=decision, champion=1)["summary"]
    for _ in range(2):
        assert call("promote")["models"][0]["outcome"] == outcome
    registry = state(here)
    assert registry["aliases"] == {"candidate": 2, "champion": 1}
    assert registry["actions"] == [("promote", 1), (decision, 2)]
    assert registry["versions"][2]["decision"] == decision
    assert summary in call("status")["models"][MODEL]["last"]["why"]


def test_a_held_artefact_that_passes_later_is_the_same_version(here: Paths) -> None:
    candidate(here, "one", decision="hold")
    call("promote")
    candidate(here, "one", decision="promote")
    assert call("promote")["models"][0]["champion"] == 1
    registry = state(here)
    assert list(registry["versions"]) == [1]
    assert registry["versions"][1]["decision"] == "promote"
    assert registry["actions"] == [("hold", 1), ("promote", 1)]


def test_the_same_model_measured_on_a_slower_day_is_the_same_version(here: Paths) -> None:
    candidate(here, "one", latency=2.0)
    call("promote")
    as_registered = sha256_folder(here.exported(MODEL))
    candidate(here, "one", latency=5.0, champion=1)
    assert call("promote")["models"][0]["outcome"] == "already champion"
    candidate(here, "two", champion=1)
    call("promote")
    candidate(here, "one", latency=5.0, champion=2)
    assert call("promote")["models"][0]["champion"] == 1
    assert list(state(here)["versions"]) == [1, 2]
    assert sha256_folder(champion.fetch(params_of(here), here, MODEL, 1)) == as_registered


def test_a_decision_against_an_older_champion_is_refused(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    candidate(here, "two", champion=0)
    text = refusal()
    assert "clickflow open" in text
    assert "champion is 1 now" in text
    refusal()
    registry = state(here)
    assert registry["aliases"]["champion"] == 1
    assert registry["actions"] == [("promote", 1), ("refuse", 0)], "a repeated refusal is one line"
    assert list(registry["versions"]) == [1]


@pytest.mark.parametrize("file", ["model.onnx", "vocabulary.parquet"])
def test_bytes_that_the_gate_did_not_judge_are_refused(here: Paths, file: str) -> None:
    candidate(here, "one")
    with (here.exported(MODEL) / file).open("ab") as changed:
        changed.write(b"!")
    assert "not the one the gate judged" in refusal()
    assert state(here)["versions"] == {}
    assert state(here)["standing"].champion == 0


def test_nothing_to_promote_is_said_before_anything_is_touched(bare: Paths) -> None:
    assert "dvc repro" in call("promote", fails=2)
    assert "did you mean" in call("promote", "next_stop", fails=2)
    candidate(bare, "one")
    (bare.gate(MODEL) / "decision.json").write_text('{"decision": "ship it"}')
    integrity.seal(bare.gate(MODEL))
    assert "clickflow gate" in call("promote", fails=3)
    assert not (home_of() / "mlflow.db").exists()
    assert lines(bare) == []


def test_fetch_gives_the_registered_bytes_and_mends_its_copy(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    params = params_of(here)
    expected = sha256_folder(here.exported(MODEL))
    folder = champion.fetch(params, here, MODEL, 1)
    assert folder == home_of() / "models" / MODEL / "1"
    assert sha256_folder(folder) == expected
    (folder / "model.onnx").write_bytes(b"other weights")
    assert sha256_folder(champion.fetch(params, here, MODEL, 1)) == expected
    with pytest.raises(UsageError, match="no version 5"):
        champion.fetch(params, here, MODEL, 5)


def test_several_models_one_refused(here: Paths, root: Path) -> None:
    text = here.params.read_text(encoding="utf-8")
    start, end = text.index("  next_step:\n"), text.index("training:\n")
    other = text[start:end].replace("  next_step:", "  second:", 1).rstrip() + "\n\n"
    text = text[:end] + other + text[end:].replace("  next_step: 0", "  next_step: 0\n  second: 0")
    here.params.write_text(text, encoding="utf-8")
    candidate(here, "one")
    candidate(here, "other", model="second", champion=4)
    result = CliRunner().invoke(cli.app, ["promote", "--json"])
    assert isinstance(result.exception, UsageError)
    outcomes = {entry["model"]: entry["outcome"] for entry in json.loads(result.stdout)["models"]}
    assert outcomes == {MODEL: "promoted", "second": "refused"}
    assert state(here)["aliases"]["champion"] == 1


def test_the_real_command_line_is_quiet(bare: Paths) -> None:
    candidate(bare, "one")
    command = [sys.executable, "-m", "clickflow.cli"]
    done = subprocess.run([*command, "promote", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"][0]["outcome"] == "promoted"
    own = ("ledger.key", "ledger.pub", "has been waited for")  # the last on a machine that is busy
    noise = [line for line in done.stderr.splitlines() if not any(words in line for words in own)]
    assert not noise, "MLflow and its migrations speak"


def test_the_version_keeps_report_decision_and_params(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    names = {
        file.relative_to(home_of() / "mlartifacts").parts[2:]
        for file in (home_of() / "mlartifacts").rglob("*")
        if file.is_file()
    }
    assert {("gate", "decision.json"), ("evaluation", "report.html"), ("params", "params.yaml")} <= names
    assert {("exported", "model.onnx"), ("exported", "vocabulary.parquet"), ("exported", "card.json")} <= names
