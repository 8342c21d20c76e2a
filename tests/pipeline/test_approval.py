"""A person's word: asked for under Airflow, carried out by promote, kept in the ledger."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_airflow import settings
from registry_workspace import MODEL, candidate, lines, state, with_store, workspace
from small_shop import commit, with_airflow
from typer.testing import CliRunner

from clickflow import cli
from clickflow.airflow import approval
from clickflow.orchestration import overrides
from clickflow.system import integrity, process
from clickflow.system.errors import DataError, UsageError
from clickflow.system.paths import Paths
from warm import Server


@pytest.fixture
def here(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A workspace whose params ask for a person's word, after the gate has said promote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_ACTOR", "ada")
    paths = with_store(workspace(tmp_path, root))
    paths.params.write_text(overrides.apply(paths.params.read_text(), {"promotion.approve": [MODEL]}))
    candidate(paths, "one")
    return paths


def promote(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli.app, ["promote", *words, "--json"])
    if result.exception:
        raise result.exception
    (outcome,) = json.loads(result.stdout)["models"]
    model: dict[str, Any] = outcome
    return model


def answer(word: str, reason: str) -> str:
    return json.dumps({MODEL: {"answer": word, "by": "Ada L.", "at": "2026-01-05T10:00:00+00:00", "reason": reason}})


def test_nothing_ships_unasked_and_then_a_word_makes_it_champion(here: Paths) -> None:
    held = promote()
    assert (held["outcome"], held["version"], held["champion"]) == ("held", 1, 0)
    assert 'clickflow promote next_step --approve "why"' in held["text"]
    assert promote()["outcome"] == "held"
    assert [line["action"] for line in lines(here)] == ["hold"]

    done = promote(MODEL, "--approve", "looked at the report")
    assert (done["outcome"], done["version"], done["champion"]) == ("promoted", 1, 1)
    last = lines(here)[-1]
    assert (last["action"], last["facts"]["approval"]["by"]) == ("promote", "ada")
    assert last["facts"]["approval"]["reason"] == "looked at the report"
    assert "approved by ada: looked at the report" in last["reason"]
    assert state(here)["aliases"]["champion"] == 1
    assert promote(MODEL, "--answers", answer("approve", ""))["outcome"] == "already champion"


def test_a_rejected_candidate_is_registered_and_no_champion(here: Paths) -> None:
    done = promote("--answers", answer("reject", "the brand filter is missing"))
    assert (done["outcome"], done["version"], done["champion"]) == ("rejected", 1, 0)
    (line,) = lines(here)
    assert (line["action"], line["version"], line["champion"]) == ("reject", 1, 0)
    assert line["facts"]["approval"] == json.loads(answer("reject", "the brand filter is missing"))[MODEL]
    assert line["reason"] == "rejected by Ada L.: the brand filter is missing"
    assert state(here)["aliases"] == {"candidate": 1}
    promote("--answers", answer("reject", "the brand filter is missing"))
    assert len(lines(here)) == 1


@pytest.mark.parametrize("said", [None, "reject"])
def test_a_rollback_is_no_way_past_a_person(here: Paths, said: str | None) -> None:
    promote(*(["--answers", answer(said, "the brand filter is missing")] if said else []))
    for version in ("1", None):
        words = ["rollback", MODEL, "--reason", "a way round", *(["--to", version] if version else [])]
        result = CliRunner().invoke(cli.app, words)
        assert isinstance(result.exception, UsageError)
        assert ("nobody has agreed to it" if version else "has no champion yet") in str(result.exception)
    assert lines(here)[-1]["champion"] == 0
    promote(MODEL, "--approve", "looked again")
    assert lines(here)[-1]["champion"] == 1


@pytest.mark.parametrize("which", ["gate", "measured"])
def test_nobody_is_asked_by_figures_that_have_changed(here: Paths, which: str) -> None:
    decision, measured = here.gate(MODEL) / "decision.json", here.measured(MODEL)
    for file in (decision, measured):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"recall@20": 0.25}')
        integrity.seal(file.parent)
    approval.as_written(here, MODEL, here.home)
    (decision if which == "gate" else measured).write_text('{"recall@20": 0.65}')
    with pytest.raises(DataError, match="has changed"):
        approval.as_written(here, MODEL, here.home)


def test_no_answer_in_time_is_no_approval(here: Paths) -> None:
    done = promote("--answers", answer("none", "nobody answered within 72 hours"))
    assert (done["outcome"], done["champion"]) == ("held", 0)
    assert "nobody answered within 72 hours" in lines(here)[0]["reason"]


def test_a_word_cannot_lift_what_the_gate_holds(here: Paths) -> None:
    summary = candidate(here, "one", decision="hold")["summary"]
    assert promote("--answers", answer("approve", ""))["outcome"] == "held"
    assert lines(here)[0]["reason"] == summary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reject", " "], "a rejection needs a reason"),
        (["--approve", "a", "--reject", "b"], "one answer at a time"),
        (["--answers", '{"next_step": {"answer": "approve"}}'], "--answers is not understood"),
    ],
)
def test_an_answer_that_is_none_registers_nothing(here: Paths, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        promote(*words)
    assert lines(here) == []


# A run without a server, as `clickflow retrain` has it, and a person. Airflow's own code answers, as its API does for
# the button of the UI, each time that DAG.test() says it waits, in its thread. Another thread could answer before
# DAG.test() has written down that the task waits, which then hides the answer for ever.
DRIVE = """
import faulthandler, json, logging, sys
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from airflow.settings import configure_vars
from clickflow.airflow import inprocess
from clickflow.system import process

configure_vars()  # the folder of DAGs is another than the server's
process._DVC = sys.argv[4]  # as the test has it
PATIENCE = 90  # seconds in which a task begins or ends, or all is over
words = json.loads(sys.argv[3])

def answer():
    with create_session(scoped=False) as session:
        waiting = select(TaskInstance).where(TaskInstance.state == "awaiting_input")
        ti = session.scalar(waiting.options(joinedload(TaskInstance.hitl_detail)))
        if ti.hitl_detail.response_received or not words:
            sys.exit(f"error: {ti} waits, and {'is answered' if words else 'no answer is left'}")
        body = json.dumps(ti.hitl_detail.body)
        user = SimpleAuthManagerUser(username="ada", role="admin")
        payload = UpdateHITLDetailPayload(**words[0])
        update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, user, session)
    print("ASKED", body)
    words.pop(0)

class Person(logging.Handler):
    def emit(self, record):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        if record.getMessage().startswith("Waiting for Human-in-the-loop input"):
            answer()

faulthandler.dump_traceback_later(PATIENCE, exit=True)
for source in ("airflow.sdk.definitions.dag", "airflow.jobs.scheduler_job_runner.SchedulerJobRunner"):
    logging.getLogger(source).addHandler(Person())
sys.exit(inprocess.main(sys.argv[1], "retrain", sys.argv[2], "{}"))
"""

GATED = """
stages:
  gate:
    cmd:
      - mkdir -p reports/next_step/gate reports/next_step/evaluation
      - cp decision.json reports/next_step/gate/decision.json
      - cp metrics.json reports/next_step/evaluation/metrics.json
    deps: [decision.json, metrics.json]
    outs: [reports/next_step/gate]
    metrics: [reports/next_step/evaluation/metrics.json]
"""


@pytest.fixture
def gated(shop: Path, root: Path, airflow: None) -> Path:
    """The small shop, of which only the gate is left, which says promote; its params ask for a person's word."""
    with_airflow(shop, root)
    decision = {"decision": "promote", "summary": "9 rules passed", "champion_version": 3, "metrics": {"mrr@20": 0.2}}
    rule = {"rule": "floor: mrr@20", "verdict": "passed", "text": "mrr@20 is 0.2, at least 0.1"}
    (shop / "decision.json").write_text(json.dumps({**decision, "rules": [rule]}))
    measured = {"candidate": {"mrr@20": {"value": 0.2}}, "popularity": {"mrr@20": {"value": 0.0501}}, "champion": None}
    (shop / "metrics.json").write_text(json.dumps({"model": "next_step", "next_item": measured}))
    (shop / "dvc.yaml").write_text(GATED)
    code = (shop / "src/clickflow/cli.py").read_text()
    keep = ["import os, pathlib", 'pathlib.Path(os.environ["CLICKFLOW_HOME"], "said").write_text(" ".join(sys.argv))']
    branch = 'elif verb == "promote":\n'
    added = branch + "".join(f"        {line}\n" for line in keep)
    (shop / "src/clickflow/cli.py").write_text(code.replace(branch, added))
    commit(shop, "gated")
    return shop


def run(server: Server, shop: Path, words: list[dict[str, Any]]) -> tuple[dict[str, str], str, list[str]]:
    """One run in which a person answers: the tasks' states, what promote was called with, the questions."""
    home, (folder, env) = Path(os.environ["CLICKFLOW_HOME"]), settings(shop)
    del env["CLICKFLOW_UNATTENDED"]
    params = shop / "params.yaml"
    params.write_text(overrides.apply(params.read_text(), {"promotion.approve": ["next_step"]}))
    commit(shop, "a person approves")
    drive = [sys.executable, "-c", server.ask(DRIVE), str(shop / "dags"), "2026-01-05T00:00:00+00:00"]
    command = [*drive, json.dumps(words), process._DVC]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    with sqlite3.connect(folder / "airflow.db") as database:
        states = dict(database.execute("select task_id, state from task_instance").fetchall())
        answered = database.execute("select responded_at, chosen_options from hitl_detail").fetchall()
    ended = f"tasks: {states}; answers: {answered}"
    assert done.returncode == 0, f"{ended}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    questions = [
        json.loads(line.removeprefix("ASKED ")) for line in done.stdout.splitlines() if line.startswith("ASKED ")
    ]
    return states, (home / "said").read_text(), questions


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_question_has_the_figures_and_the_answer_reaches_promote(gated: Path, airflow_server: Server) -> None:
    """A rejection without a reason is asked about again; then a word that counts."""
    no = {"chosen_options": ["Reject"], "params_input": {"reason": " "}}
    yes = {"chosen_options": ["Approve"], "params_input": {"reason": "fine"}}
    states, arguments, (question, again) = run(airflow_server, gated, [no, yes])
    assert (states["approve.next_step"], states["promote"]) == ("success", "success")
    for part in (
        "with the params of the commit",
        "9 rules passed",
        "| candidate | 0.2000 |",
        "| popularity | 0.0501 |",
        "| floor: mrr@20 | passed |",
    ):
        assert part in question
        assert part in again
    assert "report.html" in question
    answers = json.loads(arguments.partition("--answers ")[2].removesuffix(" --json"))["next_step"]
    assert (answers["answer"], answers["by"], answers["reason"]) == ("approve", "ada", "fine")
    notices = [json.loads(line) for line in (Path(os.environ["CLICKFLOW_HOME"]) / "notices.jsonl").open()]
    assert {notice["kind"] for notice in notices} == {"waiting"}
