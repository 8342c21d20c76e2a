"""Rollback, through the command line, on a real MLflow over SQLite."""

import sqlite3
from contextlib import closing

import pytest
from registry_workspace import MODEL, call, candidate, home_of, lines, params_of, refusal, state
from typer.testing import CliRunner

from clickflow import cli
from clickflow.registry import champion
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths


def test_rollback_swaps_and_a_used_decision_does_not_ship_again(here: Paths) -> None:
    for number, content in enumerate(("one", "two")):
        candidate(here, content, champion=number)
        call("promote")
    done = call("rollback", MODEL, "--reason", "clicks fell")
    assert (done["champion"], done["previous"]) == (1, 2)
    registry = state(here)
    assert registry["aliases"] == {"champion": 1, "previous": 2}
    assert call("status")["models"][MODEL]["candidate"] is None, "a former champion is no candidate"
    last = lines(here)[-1]
    assert (last["action"], last["reason"], last["actor"], last["champion"]) == ("rollback", "clicks fell", "ada", 1)
    assert last["time"].endswith("+00:00")

    # the task that promoted is run again, with the frozen champion 1, which is champion once more
    assert "rollback next_step --to 2" in refusal()
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
