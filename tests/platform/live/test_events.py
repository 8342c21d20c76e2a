"""Runs that nobody starts by hand: new data is told of, or the data has moved. Nothing new: nothing is done."""

import pytest
from platform_client import Platform

from live import told

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

EVENTS, DRIFT = "clickflow://events/", "clickflow://drift/"
WINDOW = {"since": "2026-01-06", "until": "2026-01-17"}


def test_new_data_starts_a_run_of_its_window_and_the_same_news_again_does_not_train(shop: Platform, first: str) -> None:
    before = told.runs_of(shop, "retrain", "asset_triggered")
    body = {"asset_id": told.asset(shop, EVENTS), "extra": {"window": WINDOW}}
    assert shop.request("POST", "/assets/events", body)[0] == 200
    run = told.wait_for_run(shop, "retrain", "asset_triggered", before, timeout=120)
    assert shop.wait("retrain", run, timeout=1200) == "success", shop.states("retrain", run)
    window = told.params(shop, run)["sequences"]
    assert (str(window["since"])[:10], str(window["until"])[:10]) == (WINDOW["since"], WINDOW["until"])
    card = told.result(shop, run, "reports/next_step/metrics.json")
    assert card != told.result(shop, first, "reports/next_step/metrics.json")
    assert told.listed(shop, run)["reason"] == "because new data has arrived"

    before, lines = told.runs_of(shop, "retrain", "asset_triggered"), len(told.ledger(shop))
    assert shop.request("POST", "/assets/events", body)[0] == 200
    again = told.wait_for_run(shop, "retrain", "asset_triggered", before, timeout=120)
    assert shop.wait("retrain", again, timeout=300) == "success"
    assert set(shop.states("retrain", again).values()) == {"skipped"}
    assert "nothing has changed since" in shop.log("retrain", again, "open")
    assert told.listed(shop, again)["state"] == "skipped"
    assert len(told.ledger(shop)) == lines


def test_drift_calls_for_retraining_and_calm_does_not(shop: Platform, first: str) -> None:
    before = told.runs_of(shop, "retrain", "asset_triggered")
    # The same shop with other goods: what people turn to has moved away from what the champion knows.
    moved = {"seed": 77, "simulator.items": 400, "simulator.categories": 25}
    drifted, calm = shop.trigger("watch", {"overrides": moved}), shop.trigger("watch")
    for run in (drifted, calm):
        assert shop.wait("watch", run, timeout=900) == "success", shop.states("watch", run)
    assert shop.states("watch", calm)["call"] == "skipped", shop.log("watch", calm, "watch")
    assert shop.states("watch", drifted)["call"] == "success", shop.log("watch", drifted, "watch")

    (event,) = [event for event in told.news(shop, DRIFT) if event["source_run_id"] == drifted]
    assert told.MODEL in event["extra"]["models"]
    started = told.wait_for_run(shop, "retrain", "asset_triggered", before, timeout=120)
    shop.wait_for_task("retrain", started, "open", "success", "skipped", timeout=300)
    assert "because the data has drifted" in shop.log("retrain", started, "open")
    shop.wait("retrain", started, timeout=900)
