"""Runs that nobody starts by hand: new data is told of, or the data has moved. Nothing new: nothing is done."""

import pytest
from platform_client import Platform

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

EVENTS, DRIFT = "clickflow://events/", "clickflow://drift/"
WINDOW = {"since": "2026-01-06", "until": "2026-01-17"}


def test_news_that_change_nothing_train_nothing(shop: Platform, first: str) -> None:
    lines = len(records.ledger(shop))
    run = _run_on_event(shop, {})
    assert shop.wait("retrain", run, timeout=300) == "success"
    assert set(shop.states("retrain", run).values()) == {"skipped"}
    assert "nothing has changed since" in shop.log("retrain", run, "open")
    entry = records.listed(shop, run)
    assert entry["state"] == "skipped"
    assert "nothing has changed since" in entry["reason"]
    assert len(records.ledger(shop)) == lines


def test_news_of_a_window_start_a_run_of_that_window(shop: Platform, first: str) -> None:
    run = _run_on_event(shop, {"window": WINDOW})
    try:
        shop.wait_for_task("retrain", run, "ingest", "success", timeout=600)
        log = shop.log("retrain", run, "open")
        assert "started because new data has arrived" in log
        for end, moment in WINDOW.items():
            assert f"sequences.{end}: {moment}" in log
    finally:  # what such a run trains, and that it is recorded so, backfill shows three times
        records.give_up(shop, "retrain", run)


def test_drift_calls_for_retraining(shop: Platform, first: str) -> None:
    before = records.runs_of(shop, "retrain", "asset_triggered")
    # The same shop with other goods: what people turn to has moved away from what the champion knows.
    moved = {"seed": 77, "simulator.items": 400, "simulator.categories": 25}
    watched = shop.trigger("watch", {"overrides": moved})
    assert shop.wait("watch", watched, timeout=900) == "success", shop.states("watch", watched)
    assert shop.states("watch", watched)["call"] == "success", shop.log("watch", watched, "watch")
    (event,) = [event for event in records.news(shop, DRIFT) if event["source_run_id"] == watched]
    assert records.MODEL in event["extra"]["models"]

    # It is of what params.yaml says, as every run that nobody asked for; that is where it was, so it stops there.
    run = records.wait_for_run(shop, "retrain", "asset_triggered", before, timeout=120)
    assert shop.wait("retrain", run, timeout=900) == "success"
    assert "started because the data has drifted" in shop.log("retrain", run, "open")


def _run_on_event(shop: Platform, extra: dict[str, object]) -> str:
    """The run that an event of the events' asset has started."""
    before = records.runs_of(shop, "retrain", "asset_triggered")
    status, answer = shop.request("POST", "/assets/events", {"asset_id": records.asset(shop, EVENTS), "extra": extra})
    assert status == 200, answer
    return records.wait_for_run(shop, "retrain", "asset_triggered", before, timeout=120)
