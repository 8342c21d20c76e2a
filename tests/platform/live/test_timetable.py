"""A cron line in params.yaml, committed while the platform runs."""

import subprocess

import pytest
from platform_client import Platform

from clickflow.orchestration import overrides
from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(900)]


def test_a_cron_line_starts_runs_by_itself(shop: Platform, first: str) -> None:
    before = records.runs_of(shop, "retrain", "scheduled")
    assert not before, "no schedule is committed yet"
    params, was = (shop.clone / "params.yaml").read_text(), shop.get("/dags/retrain")["timetable_summary"]
    commit(shop, overrides.apply(params, {"schedule.retrain": "* * * * *"}))
    try:
        run = records.wait_for_run(shop, "retrain", "scheduled", before, timeout=300)
        shop.wait_for_task("retrain", run, "open", "success", "skipped", timeout=300)
        assert "started by its schedule" in shop.log("retrain", run, "open")
    finally:  # nothing more is started, and what was is not waited for
        shop.request("PATCH", "/dags/retrain", {"is_paused": True})
        for other in records.runs_of(shop, "retrain", "scheduled"):
            records.give_up(shop, "retrain", other)
        commit(shop, params)
        shop.until(lambda: shop.get("/dags/retrain")["timetable_summary"] == was, 300)
        shop.request("PATCH", "/dags/retrain", {"is_paused": False})


def commit(shop: Platform, params: str) -> None:
    """Another params.yaml in the repository that the platform works with."""
    (shop.clone / "params.yaml").write_text(params)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(
        ["git", *identity, "commit", "--quiet", "--all", "-m", "another schedule"], cwd=shop.clone, check=True
    )
