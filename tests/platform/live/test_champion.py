"""Two runs at once, both waiting for a person: one is approved, the other is not. Then the champion goes back."""

import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from platform_client import Platform

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

APPROVE = f"approve.{records.MODEL}"


@dataclass(frozen=True)
class Answered:
    """Two runs, and who was champion before them."""

    approved: str
    rejected: str
    champion: int
    questions: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def answered(shop: Platform, first: str) -> Answered:
    """Two runs at once with params of their own; the first is approved, the second rejected, through the REST API."""
    before = int(records.champion(shop)["version"])
    with shop.committed({"promotion.approve": [records.MODEL]}):
        runs = [
            shop.trigger(
                "retrain",
                {
                    "epochs": number,
                    "note": f"{8 * number} units",
                    "overrides": {"models.next_step.encoder.units": 8 * number},
                },
            )
            for number in (1, 3)
        ]
        for run in runs:
            shop.wait_for_task("retrain", run, "open", "success", timeout=300)
    questions = {}
    for run in runs:
        shop.wait_for_task("retrain", run, APPROVE, "awaiting_input", timeout=1200)
        path = f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}/taskInstances/{APPROVE}/-1/hitlDetails"
        questions[run] = shop.get(path)
    assert int(records.champion(shop)["version"]) == before, "nobody has said a word"
    time.sleep(2)  # an answer within the second fails the task, which then has to try again
    records.answer(shop, runs[0], "Approve", "small, and as good")
    records.answer(shop, runs[1], "Reject", "too large for the till")
    for run in runs:
        assert shop.wait("retrain", run, timeout=600) == "success", shop.states("retrain", run)
    return Answered(*runs, before, questions)  # type: ignore[arg-type, call-arg]


def test_runs_at_once_keep_to_their_own_params_and_results(shop: Platform, answered: Answered) -> None:
    models = {run: records.params(shop, run)["models"][records.MODEL] for run in (answered.approved, answered.rejected)}
    assert [model["encoder"]["units"] for model in models.values()] == [8, 24]
    assert [model["budget"]["epochs"] for model in models.values()] == [1, 3]
    small, large = (records.result(shop, run, "reports/next_step/evaluation/metrics.json") for run in models)
    assert small["next_item"]["candidate"] != large["next_item"]["candidate"]
    notes = [records.listed(shop, run)["note"] for run in models]
    assert notes == ["8 units", "24 units"]


def test_the_question_has_what_is_needed_for_an_answer(shop: Platform, answered: Answered) -> None:
    for run, question in answered.questions.items():
        assert records.MODEL in question["subject"]
        assert question["options"] == ["Approve", "Reject"]  # type: ignore[comparison-overlap]
        for part in ("mrr@20", "popularity", "report.html", "decision.html"):
            assert part in question["body"], part
        (waiting,) = [notice for notice in records.notices(shop, run) if notice["kind"] == "waiting"]
        assert "Required Actions" in waiting["next"]
        link = records.links(shop, run, "record")[f"Report of {records.MODEL}"]
        assert link.startswith(f"{shop.mlflow}/#/experiments/")
        assert f"]({link})" in question["body"]
        assert link in waiting["text"]
        page = records.page(shop, link)
        assert "<html" in page
        assert records.MODEL in page


def test_who_said_what_and_when_stands_in_the_ledger(shop: Platform, answered: Answered) -> None:
    lines = {line["facts"].get("dag_run"): line for line in records.ledger(shop)}
    yes, no = lines[f"retrain/{answered.approved}"], lines[f"retrain/{answered.rejected}"]
    assert (yes["action"], no["action"]) == ("promote", "reject")
    assert yes["facts"]["approval"]["answer"] == "approve"
    for line, reason in ((yes, "small, and as good"), (no, "too large for the till")):
        assert line["facts"]["approval"]["by"] == "admin"
        assert line["facts"]["approval"]["reason"] == reason
        assert line["facts"]["approval"]["at"][:10] == line["time"][:10]
        assert reason in line["reason"]


def test_what_was_rejected_is_no_champion(shop: Platform, answered: Answered) -> None:
    lines = {line["facts"].get("dag_run"): line for line in records.ledger(shop)}
    yes, no = lines[f"retrain/{answered.approved}"], lines[f"retrain/{answered.rejected}"]
    assert (yes["champion"], yes["previous"]) == (yes["version"], answered.champion)
    assert no["champion"] == yes["version"] != no["version"]
    states = [shop.states("retrain", run) for run in (answered.approved, answered.rejected)]
    assert [state["promote"] for state in states] == ["success", "skipped"]
    assert [state["announce"] for state in states] == ["success", "skipped"]
    notes = [shop.run("retrain", run)["note"] for run in (answered.approved, answered.rejected)]
    assert [note.partition(f" {records.MODEL}:")[0] for note in notes] == [
        "**Outcome** **promoted**",
        "**Outcome** **rejected**",
    ]
    assert "too large for the till" in notes[1]
    assert "too large for the till" in records.listed(shop, answered.rejected)["outcome"]


def test_rollback_puts_the_previous_champion_back(shop: Platform, answered: Answered) -> None:
    before = records.champion(shop)
    for wrong in ({"reason": "oops"}, {}, {"reason": "sales fell since yesterday", "to": 4711}):
        body = {"logical_date": None, "conf": {"model": records.MODEL, **wrong}}
        status, problem = shop.request("POST", "/dags/rollback/dagRuns", body)
        assert status == 400, problem
    listed = shop.get("/dags/rollback/details")["params"]["to"]["schema"]
    assert set(listed["enum"]) >= {None, before["version"], before["previous"]}
    assert f"{records.MODEL} {before['version']}, champion since" in listed["values_display"][str(before["version"])]

    run = shop.trigger("rollback", {"model": records.MODEL, "reason": "sales fell since yesterday"})
    assert shop.wait("rollback", run, timeout=300) == "success"
    after = records.champion(shop)
    assert (after["version"], after["previous"]) == (before["previous"], before["version"])
    line = records.ledger(shop)[-1]
    assert (line["action"], line["version"]) == ("rollback", before["previous"])
    assert "sales fell since yesterday" in line["reason"]
    assert "admin" in line["actor"]
    event = records.news(shop, "clickflow://champion/")[0]
    assert event["source_run_id"] == run
    assert event["extra"]["models"] == {records.MODEL: before["previous"]}


def test_the_champion_scores_every_session(shop: Platform, first: str) -> None:
    version = records.champion(shop)["version"]
    run = shop.trigger("score", {"since_hours": None, "top": 5})
    assert shop.wait("score", run, timeout=600) == "success", shop.states("score", run)
    assert records.listed(shop, run)["state"] == "done"
    event = records.news(shop, "clickflow://predictions/")[0]
    assert event["source_run_id"] == run
    assert (event["extra"]["model"], event["extra"]["version"]) == (records.MODEL, version)
    rows = event["extra"]["rows"]
    in_files = {file: parquet.read_table(Path(event["extra"]["path"]) / file).num_rows for file in rows}
    assert in_files == rows
    assert rows["actions.parquet"] == event["extra"]["sessions"] > 0
    assert rows["items.parquet"] == 5 * rows["actions.parquet"]
