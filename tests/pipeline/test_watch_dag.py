"""The DAG `watch`: the stages up to the store, the judgement, and a call for retraining where there is one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from in_airflow import started
from small_shop import commit
from store_shop import ran, read, with_stores

pytestmark = pytest.mark.timeout(900)


def said(retrain: list[str], why: str, *, stale: bool = False) -> dict[str, Any]:
    """What the verb answers."""
    window = {"since": "2026-01-31", "until": "2026-02-01", "broken": ["popularity"] if retrain else [], "bounds": []}
    return {
        "newest_event": "2026-02-01T00:00:00+00:00",
        "age_hours": 60.0,
        "stale": stale,
        "retrain": retrain,
        "why": why,
        "report": "/somewhere/report.html",
        "models": {"next_step": {"version": 3, "why": why, "windows": [window]}},
    }


def test_it_ends_at_the_call_and_trains_nothing(root: Path, tmp_path: Path) -> None:
    dag = read(root, "watch", tmp_path)
    tasks = dag["tasks"]
    assert list(tasks) == ["open", "ingest", "validate", "sequences.session", "watch", "call"]
    assert tasks["watch"]["upstream"] == ["sequences.session"]
    assert tasks["call"]["upstream"] == ["watch"]
    assert tasks["call"]["outlets"] == ["clickflow://drift/"]
    assert dag["heavy"] == []
    assert dag["params"] == ["models", "overrides", "note"]
    assert {"clickflow", "monitoring"} <= set(dag["tags"])
    assert "docs/howto/watch.md" in dag["doc"]


@pytest.mark.slow
@pytest.mark.usefixtures("airflow")
def test_it_calls_with_its_evidence_or_is_skipped_with_its_reason(shop: Path, root: Path) -> None:
    quiet = "next_step: nothing breaches: 0 of 5 windows"
    with_stores(shop, root, {"watch": said([], quiet, stale=True), "champion": 3})
    with started(shop) as airflow:
        done = ran(airflow, "watch", {})
        assert done.code == 0, done.said[-3000:]
        assert done.states["watch"] == "success"
        assert done.states["call"] == "skipped"
        assert quiet in done.logs["call"]
        assert done.events == []
        home = Path(os.environ["CLICKFLOW_HOME"])
        assert f"asked: watch --out {home}/watch/" in done.logs["watch"]
        notice = json.loads((home / "notices.jsonl").read_text())
        assert (notice["kind"], notice["dag"]) == ("stale", "watch")
        assert "60 hours old" in notice["text"]

        loud = "next_step: 2 of 5 windows breach, the latest by popularity"
        (shop / "answers.json").write_text(json.dumps({"watch": said(["next_step"], loud), "champion": 3}))
        commit(shop)
        called = ran(airflow, "watch", {"models": ["next_step"]}, "2026-02-03T06:00:00+00:00")
        assert called.code == 0, called.said[-3000:]
        assert called.states["call"] == "success"
        ((uri, extra),) = called.events
        assert uri == "clickflow://drift/"
        assert extra["why"] == loud
        assert extra["models"]["next_step"]["windows"][0]["broken"] == ["popularity"]
        assert extra["report"] == "/somewhere/report.html"
