"""Airflow's own backfill: three windows, each a run that knows nothing of what came later."""

from typing import Any

import pytest
from platform_client import Platform

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

ENDS = ["2026-01-16", "2026-01-17", "2026-01-18"]


def test_three_windows_are_three_runs_and_none_is_promoted(shop: Platform, first: str) -> None:
    lines, champion = len(records.ledger(shop)), records.champion(shop)["version"]
    body = {"dag_id": "backfill", "from_date": "2026-01-15T00:00:00Z", "to_date": "2026-01-17T00:00:00Z"}
    # A busy moment of Airflow's database in SQLite (503, and its own 500) asks for another try; docs/howto/backfill.md.
    answers: list[tuple[int, Any]] = []

    def accepted() -> bool:
        answers.append(shop.request("POST", "/backfills", body))
        return answers[-1][0] < 500

    shop.until(accepted, 180, lambda: answers)
    assert answers[-1][0] == 200, answers
    shop.until(lambda: len(records.runs_of(shop, "backfill", "backfill")) == 3, 60)
    window = ("--from-date", "2026-01-15", "--to-date", "2026-01-16")
    second = shop.command("airflow", "backfill", "create", "--dag-id", "backfill", *window)
    assert second.returncode == 2, second.stderr
    assert "a backfill of this DAG is still at work" in second.stderr
    assert "Traceback" not in second.stderr
    runs = records.runs_of(shop, "backfill", "backfill")
    for run in runs:
        assert shop.wait("backfill", run, timeout=1500) == "success", shop.states("backfill", run)
        assert shop.states("backfill", run)["promote"] == "skipped"

    ends = {str(records.params(shop, run)["sequences"]["until"])[:10]: run for run in runs}
    assert sorted(ends) == ENDS
    reasons = [records.listed(shop, ends[end])["reason"] for end in ENDS]
    assert [reason.rpartition("as of ")[2][:10] for reason in reasons] == ENDS
    measured = [records.result(shop, ends[end], "reports/next_step/evaluation/metrics.json") for end in ENDS]
    assert len({str(metrics["next_item"]["candidate"]) for metrics in measured}) == 3
    assert len(records.ledger(shop)) == lines
    assert records.champion(shop)["version"] == champion


def test_a_backfill_without_a_window_is_refused(shop: Platform) -> None:
    run = shop.trigger("backfill", logical_date="2026-01-12T00:00:00Z")  # as the form of the UI sends one
    assert shop.wait("backfill", run, timeout=300) == "failed"
    assert "no data window" in shop.run("backfill", run)["note"]
    log = shop.log("backfill", run, "open")
    assert "no data window" in log
    assert "airflow backfill create" in log
