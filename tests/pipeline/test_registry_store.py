"""MLflow behind the registry: what `status` says of it, and what follows where it was changed, lost or is away."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from registry_workspace import MODEL, call, candidate, home_of, lines, params_of, state, with_store
from typer.testing import CliRunner

import forks
from clickflow import cli
from clickflow.registry import champion, ledger
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models


def test_status_says_what_to_run_when_tbare_is_nothing(bare: Paths) -> None:
    status = call("status")["models"][MODEL]
    assert (status["champion"], status["candidate"], status["last"]) == (None, None, None)
    shown = CliRunner().invoke(cli.app, ["status"])
    assert "dvc repro" in shown.stdout
    assert not (home_of() / "mlflow.db").exists()


def test_status_names_champion_candidate_and_last_decision(here: Paths) -> None:
    why = candidate(here, "one", mrr=0.25)["summary"]
    call("promote")
    candidate(here, "two", decision="hold", champion=1)
    call("promote")
    here.params.write_text(champion.with_champions(here.params.read_text(encoding="utf-8"), {MODEL: 0}))
    status = call("status")["models"][MODEL]
    assert (status["champion"]["version"], status["champion"]["metrics"]) == (1, {"mrr@20": 0.25, "recall@20": 1.0})
    assert status["champion"]["origin"]["run_id"] == "run-7"
    assert status["champion"]["why"] == f"promote: {why}"
    assert status["candidate"] == 2
    assert (status["last"]["action"], status["last"]["version"]) == ("hold", 2)
    assert any("clickflow open" in note for note in status["notes"])
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
    status = call("status")["models"][MODEL]
    assert (status["champion"], status["last"]["why"]) == (None, "meanwhile")


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
        text = call(*verb, fails=code)
        assert uri in text
        assert "MLFLOW_TRACKING_URI" in text
        assert ("cannot be used: Connection refused\n" in text) == uri.startswith("http")
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


def test_who_waits_for_mlflow_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    heard = threading.Event()
    monkeypatch.setattr(mlflow_client, "SILENT", 0.01)

    def say(text: str) -> None:
        texts.append(text)
        heard.set()

    monkeypatch.setattr(mlflow_client, "say", say)
    with mlflow_client.reaching("http://me:secret@shop:5000"), mlflow_client.reaching("http://shop:5000"):
        assert heard.wait(60)
    (line,) = texts
    assert line.startswith("MLflow at http://…@shop:5000 has been waited for")
    assert "is given up after about" in line
