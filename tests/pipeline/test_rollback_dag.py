"""The DAG `rollback`: the verb, in a workspace, with the reason and the name of whoever asked; once a run."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_airflow import started
from registry_workspace import MODEL, candidate, lines, state, with_store, workspace
from small_shop import commit, with_airflow
from typer.testing import CliRunner

from clickflow import cli
from warm import Server

pytestmark = pytest.mark.timeout(900)

VERB = """
    elif verb == "rollback":
        import os, pathlib
        if "--to" in sys.argv:
            print("error: version 9 of next_step is not registered", file=sys.stderr)
            sys.exit(2)
        pathlib.Path(os.environ["CLICKFLOW_HOME"], "said").write_text(json.dumps([os.getcwd(), *sys.argv[1:]]))
        print(json.dumps({"model": "next_step", "champion": 3, "previous": 4}))
"""


@pytest.fixture
def rolling(shop: Path, root: Path, airflow: None) -> Path:
    """The small shop with the DAG, and a verb that says what it was asked."""
    with_airflow(shop, root)
    shutil.copy(root / "dags/rollback.py", shop / "dags")
    code = shop / "src/clickflow/cli.py"
    code.write_text(code.read_text().replace("\n    else:\n", f"{VERB}    else:\n"))
    commit(shop, "rollback")
    return shop


def run(server: Server, shop: Path, confs: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Runs of the DAG: the exit code of each, and what its task has said."""
    days = [f"2026-01-{day:02}" for day, _ in enumerate(confs, start=5)]
    with started(server, shop) as airflow:
        codes = [airflow.run("rollback", f"{day}T00:00:00+00:00", conf) for day, conf in zip(days, confs, strict=True)]
    home = Path(os.environ["CLICKFLOW_HOME"])
    logs = [next((home / "logs").glob(f"*{day}*/rollback.log")).read_text() for day in days]
    return list(zip(codes, logs, strict=True))


FORM = """
import json, sys
sys.path.insert(0, "dags")
import rollback
heavy = {"torch", "pandas", "numpy", "great_expectations", "mlflow", "dvc", "duckdb", "pyarrow", "ruamel"}
from copy import deepcopy
from airflow.sdk.exceptions import ParamValidationError
fields = rollback.dag.params
def takes(conf):
    form = {name: deepcopy(fields.get_param(name)) for name in fields}  # a field keeps what it is asked to resolve
    try:
        return bool([field.resolve(conf.get(name, field.value)) for name, field in form.items()])
    except ParamValidationError:
        return False
taken = [takes(conf) for conf in json.loads(sys.argv[1])]
to = fields.get_param("to").schema
print(json.dumps({"taken": taken, "to": to, "heavy": sorted(heavy & set(sys.modules))}))
"""


def form(server: Server, root: Path, *confs: dict[str, Any]) -> Any:
    """Which of these Airflow takes, the schema of the field `to`, and what heavy modules the DAG file has loaded."""
    command = [sys.executable, "-c", server.ask(FORM), json.dumps(confs)]
    return json.loads(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)


def test_the_form_lists_the_versions_and_refuses_before_there_is_a_run(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, airflow_server: Server
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = with_store(workspace(tmp_path, root))
    reason: dict[str, Any] = {"reason": "clicks fell again"}
    confs: list[dict[str, Any]] = [
        reason,
        {},
        {"reason": "oops"},
        {"reason": " two words "},
        {**reason, "to": 1},
        {**reason, "to": 3},
    ]
    before = form(airflow_server, root, *confs, {**reason, "to": 0})
    assert before["taken"] == [True, False, False, False, True, True, False]
    assert "There was no champion yet" in before["to"]["description_md"]
    for number, content in enumerate(["one", "two"]):
        candidate(paths, content, champion=number)
        assert CliRunner().invoke(cli.app, ["promote", "--json"]).exit_code == 0
    after = form(airflow_server, root, *confs)
    assert after["taken"] == [True, False, False, False, True, False]
    assert after["to"]["enum"] == [None, 2, 1]
    assert after["to"]["values_display"]["2"].endswith("(champion now)")
    assert after["to"]["values_display"]["1"].startswith(f"{MODEL} 1, champion since 20")
    assert after["heavy"] == []


@pytest.mark.slow
def test_the_verb_runs_with_the_reason_and_the_news_goes_out(rolling: Path, airflow_server: Server) -> None:
    home = Path(os.environ["CLICKFLOW_HOME"])
    refused: list[tuple[dict[str, Any], str]] = [
        ({"reason": "clicks fell again", "resaon": "clicks fell again"}, "no field 'resaon'; did you mean 'reason'"),
        ({"reason": "clicks fell once more", "to": 9}, "version 9 of next_step is not registered"),
    ]
    confs: list[dict[str, Any]] = [{"reason": "clicks fell after the release"}, *(conf for conf, _ in refused)]
    done = run(airflow_server, rolling, confs)
    code, output = done[0]
    assert code == 0, output
    folder, *words = json.loads((home / "said").read_text())
    assert words == ["rollback", MODEL, "--reason", "clicks fell after the release", "--json"]
    assert folder.startswith(str(home / "workspaces"))
    assert not Path(folder).exists()
    with sqlite3.connect(home / "airflow/airflow.db") as database:
        ((extra,),) = database.execute("select extra from asset_event").fetchall()
    assert json.loads(extra)["models"] == {MODEL: 3}
    assert json.loads(extra)["rollback"] == "clicks fell after the release"

    for (code, output), (_, message) in zip(done[1:], refused, strict=True):
        assert code == 1
        assert "task failed with exit code 2" in output
        assert message in output
    notices = [json.loads(line) for line in (home / "notices.jsonl").open()]
    assert [notice["title"] for notice in notices] == ["clickflow: rollback has failed at rollback"] * 2
    assert "version 9 of next_step is not registered" in notices[-1]["text"]


def test_a_rollback_whose_task_runs_again_is_done_once(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = with_store(workspace(tmp_path, root))
    for number, content in enumerate(["one", "two"]):
        candidate(paths, content, champion=number)
        assert CliRunner().invoke(cli.app, ["promote", "--json"]).exit_code == 0
    monkeypatch.setenv("CLICKFLOW_DAG_RUN", "rollback/manual__1")
    words = ["rollback", MODEL, "--reason", "clicks fell", "--json"]
    first, again = (json.loads(CliRunner().invoke(cli.app, words).stdout) for _ in range(2))
    assert first == again == {"model": MODEL, "champion": 1, "previous": 2, "reason": "clicks fell"}
    assert [line["action"] for line in lines(paths)] == ["promote", "promote", "rollback"]
    monkeypatch.setenv("CLICKFLOW_DAG_RUN", "rollback/manual__2")
    assert json.loads(CliRunner().invoke(cli.app, words).stdout)["champion"] == 2
    assert state(paths)["aliases"]["champion"] == 2
