"""Promote, rollback, open and status, through the command line, on a real MLflow over SQLite."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from registry_workspace import MODEL, candidate, home_of, lines, params_of, state, with_store, workspace
from typer.testing import CliRunner

import forks
from clickflow import cli
from clickflow.registry import champion, ledger, pages
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models


@pytest.fixture
def here(bare: Paths) -> Paths:
    return with_store(bare)


@pytest.fixture
def bare(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A workspace whose home is empty still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_ACTOR", "ada")
    monkeypatch.setenv("CLICKFLOW_COMMIT", "c0ffee")
    monkeypatch.setenv("CLICKFLOW_RUN_ID", "run-7")
    return workspace(tmp_path, root)


def call(*arguments: str, fails: int = 0) -> Any:
    """The verb's JSON, or its error text where it should fail."""
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    if fails:
        assert isinstance(result.exception, ClickflowError), result.output
        assert result.exception.exit_code == fails
        return str(result.exception)
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def test_first_model_then_a_better_one(here: Paths) -> None:
    candidate(here, "one")
    first = call("promote")["models"][0]
    assert (first["outcome"], first["version"], first["champion"], first["previous"]) == ("promoted", 1, 1, 0)
    assert state(here)["aliases"] == {"champion": 1}

    summary = candidate(here, "two", champion=1, mrr=0.3)["summary"]
    second = call("promote", MODEL)["models"][0]
    assert (second["outcome"], second["champion"], second["previous"]) == ("promoted", 2, 1)
    found = state(here)
    assert found["aliases"] == {"champion": 2, "previous": 1}
    assert found["actions"] == [("promote", 1), ("promote", 2)]
    assert found["anchored"]
    tags = found["versions"][2]
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
    found = state(here)
    assert found["aliases"] == {"candidate": 2, "champion": 1}
    assert found["actions"] == [("promote", 1), (decision, 2)]
    assert found["versions"][2]["decision"] == decision
    assert summary in call("status")["models"][MODEL]["last"]["why"]


def test_a_held_artefact_that_passes_later_is_the_same_version(here: Paths) -> None:
    candidate(here, "one", decision="hold")
    call("promote")
    candidate(here, "one", decision="promote")
    assert call("promote")["models"][0]["champion"] == 1
    found = state(here)
    assert list(found["versions"]) == [1]
    assert found["versions"][1]["decision"] == "promote"
    assert found["actions"] == [("hold", 1), ("promote", 1)]


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
    said = call_failing_promote()
    assert "clickflow open" in said
    assert "champion is 1 now" in said
    call_failing_promote()
    found = state(here)
    assert found["aliases"]["champion"] == 1
    assert found["actions"] == [("promote", 1), ("refuse", 0)], "a repeated refusal is one line"
    assert list(found["versions"]) == [1]


def call_failing_promote() -> str:
    result = CliRunner().invoke(cli.app, ["promote", "--json"])
    assert isinstance(result.exception, UsageError)
    assert json.loads(result.stdout)["models"][0]["outcome"] == "refused"
    return str(result.exception)


@pytest.mark.parametrize("file", ["model.onnx", "vocabulary.parquet"])
def test_bytes_that_the_gate_did_not_judge_are_refused(here: Paths, file: str) -> None:
    candidate(here, "one")
    with (here.exported(MODEL) / file).open("ab") as changed:
        changed.write(b"!")
    assert "not the one the gate judged" in call_failing_promote()
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


def test_rollback_swaps_and_a_used_decision_does_not_ship_again(here: Paths) -> None:
    for number, content in enumerate(("one", "two")):
        candidate(here, content, champion=number)
        call("promote")
    done = call("rollback", MODEL, "--reason", "clicks fell")
    assert (done["champion"], done["previous"]) == (1, 2)
    found = state(here)
    assert found["aliases"] == {"champion": 1, "previous": 2}
    assert call("status")["models"][MODEL]["candidate"] is None, "a former champion is no candidate"
    last = lines(here)[-1]
    assert (last["action"], last["reason"], last["actor"], last["champion"]) == ("rollback", "clicks fell", "ada", 1)
    assert last["time"].endswith("+00:00")

    # the task that promoted is run again, with the frozen champion 1, which is champion once more
    assert "rollback next_step --to 2" in call_failing_promote()
    assert state(here)["standing"].champion == 1

    assert call("rollback", MODEL, "--reason", "it was the tracking", "--to", "2")["champion"] == 2
    assert champion.current(params_of(here), here, MODEL) == 2


def test_a_champion_is_taken_down_and_the_next_candidate_is_judged_as_the_first(here: Paths) -> None:
    candidate(here, "of a demo")
    call("promote")
    done = call("rollback", MODEL, "--to", "0", "--reason", "it was the demo's")
    assert (done["champion"], done["previous"]) == (0, 1)
    assert state(here)["aliases"] == {"previous": 1}
    assert champion.current(params_of(here), here, MODEL) == 0
    assert call("status")["models"][MODEL]["champion"] is None
    assert "none since" in CliRunner().invoke(cli.app, ["status"]).stdout
    assert "no champion yet" in call("rollback", MODEL, "--to", "0", "--reason", "x", fails=2)

    candidate(here, "of the shop", champion=0)
    assert call("promote")["models"][0]["champion"] == 2
    assert state(here)["aliases"] == {"champion": 2}
    assert call("rollback", MODEL, "--to", "1", "--reason", "the demo again")["champion"] == 1


def test_a_stage_says_before_its_work_that_params_name_another_champion(here: Paths) -> None:
    def said(*verb: str) -> str:
        return str(CliRunner().invoke(cli.app, verb).stderr)

    assert "champion" not in said("train", MODEL)
    candidate(here, "one")
    call("promote")
    warning = f"the champion of {MODEL} is version 1, and params.yaml says 0: run `clickflow open` first"
    for verb in (["train", MODEL], ["evaluate", MODEL]):
        assert warning in said(*verb).replace("\n", " ")
    call("open")
    assert "run `clickflow open` first" not in said("train", MODEL)


def test_rollback_refuses_what_never_proved_itself(here: Paths) -> None:
    assert "no champion yet" in call("rollback", MODEL, "--reason", "x", fails=2)
    candidate(here, "one")
    call("promote")
    assert "no champion before" in call("rollback", MODEL, "--reason", "x", fails=2)
    candidate(here, "two", decision="hold", champion=1)
    call("promote")
    assert "did not pass the gate" in call("rollback", MODEL, "--reason", "x", "--to", "2", fails=2)
    assert "is not registered" in call("rollback", MODEL, "--reason", "x", "--to", "9", fails=2)
    assert "champion already" in call("rollback", MODEL, "--reason", "x", "--to", "1", fails=2)
    assert "needs a reason" in call("rollback", MODEL, "--reason", " ", fails=2)
    assert [line["action"] for line in lines(here)] == ["promote", "hold"]


def test_rollback_to_a_version_whose_files_are_spoilt_changes_nothing(here: Paths) -> None:
    for number, content in enumerate(("one", "two")):
        candidate(here, content, champion=number)
        call("promote")
    first = lines(here)[0]["facts"]["artefact_sha256"]
    spoilt = [f for f in (home_of() / "mlartifacts").rglob("exported") if sha256_folder(f) == first]
    (spoilt[0] / "model.onnx").write_bytes(b"other weights")
    assert "not what was registered" in call("rollback", MODEL, "--reason", "x", fails=3)
    assert state(here)["aliases"]["champion"] == 2
    assert not (home_of() / "models" / MODEL / "1").exists()


@pytest.mark.parametrize("metrics", ['{"mrr@20": 0.9}', '{"mrr@20": 0.2'])
def test_a_rollback_signs_what_was_signed_and_not_what_mlflow_says_now(here: Paths, metrics: str) -> None:
    """A flipped bit of MLflow's database was signed into the ledger, and the version could not be fetched any more."""
    for number, content in enumerate(("one", "two")):
        candidate(here, content, champion=number)
        call("promote")
    with closing(sqlite3.connect(home_of() / "mlflow.db")) as con, con:
        changed = "UPDATE model_version_tags SET value = ? WHERE key = ? AND version = 1"
        for key, value in (("metrics", metrics), ("artefact_sha256", "0" * 64), ("model_sha256", "1" * 64)):
            assert con.execute(changed, [value, key]).rowcount == 1
    assert call("rollback", MODEL, "--reason", "clicks fell")["champion"] == 1
    first, last = lines(here)[0]["facts"], lines(here)[-1]["facts"]
    for name in ("metrics", "artefact_sha256", "model_sha256"):
        assert last[name] == first[name]
    assert champion.fetch(params_of(here), here, MODEL, 1).is_dir()
    candidate(here, "one", champion=1)  # the same model again
    call("promote")
    assert champion.fetch(params_of(here), here, MODEL, 1).is_dir()


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


def test_open_writes_the_champion_and_leaves_every_other_byte(bare: Paths) -> None:
    before = bare.params.read_text(encoding="utf-8")
    stamp = bare.params.stat().st_mtime_ns
    assert call("open") == {"champion": {MODEL: 0}, "changed": {}}
    assert bare.params.stat().st_mtime_ns == stamp, "nothing changed, and the file was written"
    assert not (home_of() / "mlflow.db").exists(), "nothing was ever registered, and MLflow was started"

    candidate(bare, "one")
    call("promote")
    assert call("open")["changed"] == {MODEL: {"was": 0, "is": 1}}
    after = bare.params.read_text(encoding="utf-8")
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert changed == [("  next_step: 0", "  next_step: 1")]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("champion: {next_step: 0, other_one: 7}  # now", "champion: {next_step: 12, other_one: 3}  # now"),
        (
            "champion:\n  other_one:   7 # b\n  next_step: 0   # a",
            "champion:\n  other_one:   3 # b\n  next_step: 12   # a",
        ),
    ],
)
def test_open_changes_only_the_numbers(bare: Paths, raw_params: dict[str, Any], block: str, expected: str) -> None:
    text = bare.params.read_text(encoding="utf-8")
    head = text[: text.index("champion:  ")]
    body = head.replace("models:\n", "models:\n  other_one: &m\n" + _indented(head) + "\n", 1)
    found = champion.with_champions(body + block + "\n", {"next_step": 12, "other_one": 3})
    assert found == body + expected + "\n"


def _indented(head: str) -> str:
    """The model of params.yaml once more."""
    start, end = head.index("  next_step:\n") + len("  next_step:\n"), head.index("training:\n")
    return head[start:end].rstrip()


def test_status_says_what_to_run_when_tbare_is_nothing(bare: Paths) -> None:
    found = call("status")["models"][MODEL]
    assert (found["champion"], found["candidate"], found["last"]) == (None, None, None)
    shown = CliRunner().invoke(cli.app, ["status"])
    assert "dvc repro" in shown.stdout
    assert not (home_of() / "mlflow.db").exists()


def test_status_names_champion_candidate_and_last_decision(here: Paths) -> None:
    why = candidate(here, "one", mrr=0.25)["summary"]
    call("promote")
    candidate(here, "two", decision="hold", champion=1)
    call("promote")
    here.params.write_text(champion.with_champions(here.params.read_text(encoding="utf-8"), {MODEL: 0}))
    found = call("status")["models"][MODEL]
    assert (found["champion"]["version"], found["champion"]["metrics"]) == (1, {"mrr@20": 0.25, "recall@20": 1.0})
    assert found["champion"]["origin"]["run_id"] == "run-7"
    assert found["champion"]["why"] == f"promote: {why}"
    assert found["candidate"] == 2
    assert (found["last"]["action"], found["last"]["version"]) == ("hold", 2)
    assert any("clickflow open" in note for note in found["notes"])
    shown = CliRunner().invoke(cli.app, ["status"]).stdout
    for text in ("version 1", "mrr@20 0.2500", "run_id run-7", "commit c0ffee", "version 2", "are too few"):
        assert text in shown


def test_status_that_waited_for_mlflow_while_another_changed_the_champion_accuses_nobody(
    here: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate(here, "one")
    call("promote")
    connect = mlflow_client.connect

    def slow(*words: Any) -> Any:
        monkeypatch.setattr(mlflow_client, "connect", connect)  # the next one waits no longer
        call("rollback", MODEL, "--to", "0", "--reason", "meanwhile")
        return connect(*words)

    monkeypatch.setattr(mlflow_client, "connect", slow)
    found = call("status")["models"][MODEL]
    assert (found["champion"], found["last"]["why"]) == (None, "meanwhile")


def test_an_alias_changed_by_hand_follows_the_ledger_again(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    candidate(here, "two", decision="reject", champion=1)
    call("promote")
    store = mlflow_client.connect(params_of(here), here)
    registered_models.point(store, MODEL, "champion", 2)
    assert champion.current(params_of(here), here, MODEL) == 1
    assert any("the ledger 1" in note for note in call("status")["models"][MODEL]["notes"])
    call("promote")
    assert state(here)["aliases"]["champion"] == 1


def test_a_registry_that_followed_another_ledger_is_not_touched(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    candidate(here, "two", champion=1)
    call("promote")
    kept = ledger.path(here).read_bytes()
    ledger.path(here).write_bytes(kept.splitlines(keepends=True)[0])
    candidate(here, "three", champion=1)
    assert "lost lines" in call("promote", fails=3)
    assert "lost lines" in call("rollback", MODEL, "--reason", "x", fails=3)
    assert registered_models.aliases(mlflow_client.connect(params_of(here), here), MODEL)["champion"] == 2
    ledger.path(here).write_bytes(kept)
    assert call("status")["models"][MODEL]["champion"]["version"] == 2


def test_a_registry_that_lost_a_version_is_named(here: Paths) -> None:
    candidate(here, "one")
    call("promote")
    with_store(here)  # an empty database in its place
    candidate(here, "two", champion=1)
    assert "names version 1" in call("promote", fails=3)
    assert any("has no version 1" in note for note in call("status")["models"][MODEL]["notes"])


@pytest.mark.parametrize(
    ("uri", "code"), [("http://127.0.0.1:9", 1), ("nonsense://x", 2), ("sqlite:////proc/none/x.db", 1)]
)
def test_a_registry_that_cannot_be_reached_is_named(
    bare: Paths, monkeypatch: pytest.MonkeyPatch, uri: str, code: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    candidate(bare, "one")
    for verb in (["promote"], ["status"], ["open"]):
        said = call(*verb, fails=code)
        assert uri in said
        assert "MLFLOW_TRACKING_URI" in said
    assert lines(bare) == []


def opening(root: str, home: str, *, killed: bool = False) -> None:
    """In a process of its own: open the store, or be killed while its tables are made."""
    os.environ["CLICKFLOW_HOME"] = home
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    paths = Paths(Path(root))
    if killed:
        import mlflow.store.db.utils as database

        database._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
    mlflow_client.connect(params_of(paths), paths)


def test_a_new_store_is_opened_by_several_at_once_and_after_a_kill(bare: Paths) -> None:
    """MLflow makes the tables of a new store step by step; two that did so at once, or a kill, spoilt it for good."""
    context, where = forks.context(), (str(bare.root), str(bare.home))
    killed = context.Process(target=opening, args=where, kwargs={"killed": True})
    killed.start()
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    assert not (bare.home / "mlflow.db").exists()
    several = [context.Process(target=opening, args=where) for _ in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join(120)
    assert [one.exitcode for one in several] == [0, 0, 0]
    assert not list(bare.home.glob(".mlflow.db.*.new*")), "what the killed one left is still there"
    assert mlflow_client.connect(params_of(bare), bare).client.search_experiments()


def test_passwords_are_not_shown() -> None:
    assert mlflow_client.without_password("postgresql://me:secret@host/db") == "postgresql://…@host/db"


def test_a_home_with_a_space_and_a_hash(bare: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "my home #1 ä"))
    candidate(bare, "one")
    call("promote")
    expected = sha256_folder(bare.exported(MODEL))
    assert sha256_folder(champion.fetch(params_of(bare), bare, MODEL, 1)) == expected


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
    outcomes = {found["model"]: found["outcome"] for found in json.loads(result.stdout)["models"]}
    assert outcomes == {MODEL: "promoted", "second": "refused"}
    assert state(here)["aliases"]["champion"] == 1


def test_the_real_command_line_is_quiet(bare: Paths) -> None:
    candidate(bare, "one")
    command = [sys.executable, "-m", "clickflow.cli"]
    done = subprocess.run([*command, "promote", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"][0]["outcome"] == "promoted"
    said = [line for line in done.stderr.splitlines() if "ledger.key" not in line and "ledger.pub" not in line]
    assert not said, "MLflow and its migrations speak"


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


def test_who_waits_for_mlflow_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    heard = threading.Event()
    monkeypatch.setattr(mlflow_client, "SILENT", 0.01)

    def say(text: str) -> None:
        told.append(text)
        heard.set()

    monkeypatch.setattr(mlflow_client, "say", say)
    with mlflow_client.reaching("http://me:secret@shop:5000"), mlflow_client.reaching("http://shop:5000"):
        assert heard.wait(60)
    (said,) = told
    assert said.startswith("MLflow at http://…@shop:5000 has been waited for")
    assert "is given up after about" in said
