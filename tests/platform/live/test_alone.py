"""By hand, over REST: a run that promotes, the same again, and what is refused, by Airflow or by the run itself.

This is the folder's first module: the same again needs the first run's champion, which other modules replace.
"""

from typing import Any

import pytest
from platform_client import Platform

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]


def test_a_run_by_hand_ends_with_a_champion_that_everybody_knows(shop: Platform, first: str) -> None:
    tasks = shop.tasks("retrain", first)
    assert {name: task["state"] for name, task in tasks.items() if task["state"] != "success"} == {
        "approve.next_step": "skipped"
    }
    training = tasks["train.next_step"]
    assert training["queue"] == "gpu"
    assert "EdgeExecutor" in training["executor"]
    assert "decides" in shop.log("retrain", first, "approve.next_step"), "why nobody was asked"

    (promoted,) = [line for line in records.ledger(shop) if line["version"] == 1]
    assert promoted["action"] == "promote"
    assert promoted["facts"]["dag_run"] == f"retrain/{first}"
    entry = records.listed(shop, first)
    assert (entry["state"], entry["note"], entry["reason"]) == ("recorded", "the first", "by hand")
    assert entry["person"] == promoted["actor"] == "admin"
    assert entry["models"][records.MODEL]["decision"] == "promote"
    (event,) = [event for event in records.news(shop, "clickflow://champion/") if event["source_run_id"] == first]
    assert event["extra"]["models"] == {records.MODEL: 1}


def test_the_same_again_changes_no_champion(shop: Platform, first: str) -> None:
    lines = len(records.ledger(shop))
    assert records.champion(shop)["version"] == 1
    again = shop.trigger("retrain", {"note": "the same again"})
    assert shop.wait("retrain", again, timeout=900) == "success"
    assert shop.states("retrain", again)["announce"] == "skipped"
    assert records.champion(shop)["version"] == 1
    assert not [line for line in records.ledger(shop)[lines:] if line["action"] == "promote"]
    # It is the same model, told apart by nothing but its run.
    measured = [
        records.result(shop, run, "reports/next_step/evaluation/metrics.json")["next_item"] for run in (first, again)
    ]
    assert measured[0]["candidate"] == measured[1]["candidate"]


@pytest.mark.parametrize(
    "conf",
    [{"epochs": 0}, {"epochs": -3}, {"epochs": "many"}, {"source_kind": "ftp"}, {"overrides": "seed=5"}],
    ids=str,
)
def test_a_field_of_the_wrong_kind_never_becomes_a_run(shop: Platform, conf: dict[str, Any]) -> None:
    before = records.runs_of(shop, "retrain", "manual")
    status, problem = shop.request("POST", "/dags/retrain/dagRuns", {"logical_date": None, "conf": conf})
    assert status == 400, problem
    assert next(iter(conf)) in str(problem)
    assert records.runs_of(shop, "retrain", "manual") == before


WRONG = {
    "a field that the form does not have": ({"epoch": 3}, "did you mean 'epochs'"),
    "a param that is not there": (
        {"overrides": {"simulator.event": 5000}},
        "simulator.event: unknown key; did you mean 'events'",
    ),
    "a param of the wrong type": ({"overrides": {"training.threads": "wide"}}, "training.threads"),
    "a rule that judges it": ({"overrides": {"promotion.approve": []}}, "promotion.approve is not a run's to set"),
}


def test_data_that_is_refused_is_seen_in_its_docs(shop: Platform, first: str) -> None:
    with shop.committed({"quality.min_events": 1_000_000}):
        run = shop.trigger("retrain")
        shop.wait_for_task("retrain", run, "open", "success", timeout=300)
    assert shop.wait("retrain", run, timeout=600) == "failed"
    shop.until(lambda: records.notices(shop, run), 60)
    (notice,) = records.notices(shop, run)
    (link,) = [line.removeprefix("Data Docs: ") for line in notice["text"].splitlines() if line.startswith("Data Docs")]
    assert link in shop.run("retrain", run)["note"]
    assert "<html" in records.page(shop, link)
    assert records.listed(shop, run)["state"] == "failed"


def test_what_airflow_takes_and_params_do_not_fails_before_any_work(shop: Platform, first: str) -> None:
    lines, runs = len(records.ledger(shop)), {}
    for what, (conf, _) in WRONG.items():
        runs[what] = shop.trigger("retrain", conf)  # type: ignore[arg-type]
    for what, run in runs.items():
        assert shop.wait("retrain", run, timeout=600) == "failed", what
        tasks = shop.tasks("retrain", run)
        assert (tasks["open"]["state"], tasks["open"]["try_number"]) == ("failed", 1), what
        assert {task["state"] for name, task in tasks.items() if name != "open"} == {"upstream_failed"}, what
        assert WRONG[what][1] in shop.log("retrain", run, "open"), what
        shop.until(lambda run=run: records.notices(shop, run), 60)  # type: ignore[misc]
        (notice,) = records.notices(shop, run)
        assert (notice["kind"], notice["dag"]) == ("failed", "retrain")
        assert WRONG[what][1] in notice["text"] + notice["next"], what
        assert run in notice["link"].replace("%3A", ":").replace("%2B", "+")
        assert "**failed** at open" in shop.run("retrain", run)["note"]
        assert records.deadlines(shop, run) == 0, "a run that has failed is not upcoming"
    assert len(records.ledger(shop)) == lines
