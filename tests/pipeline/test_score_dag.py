"""The DAG `score`: the stages up to the store, the champions' predictions, and an event that says where they lie."""

import json
import os
from pathlib import Path

import pytest
from in_airflow import started
from small_shop import commit
from store_shop import ran, read, with_stores

pytestmark = pytest.mark.timeout(900)

SCORED = {
    "model": "next_step",
    "version": 3,
    "path": "/somewhere",
    "rows": {"items.parquet": 40},
    "sessions": 2,
    "newest_event": "2026-02-01T00:00:00+00:00",
    "files": {"items.parquet": "0" * 64},
    "top": 7,
}


def test_it_ends_at_the_predictions_and_trains_nothing(root: Path, tmp_path: Path) -> None:
    dag = read(root, "score", tmp_path)
    tasks = dag["tasks"]
    assert list(tasks) == ["open", "ingest", "validate", "sequences.session", "score.next_step"]
    assert tasks["sequences.session"]["upstream"] == ["ingest", "validate"]
    assert tasks["score.next_step"]["upstream"] == ["sequences.session"]
    assert tasks["score.next_step"]["outlets"] == ["clickflow://predictions/"]
    assert dag["heavy"] == []
    assert dag["params"] == ["models", "top", "since_hours", "anomalies", "overrides", "note"]
    assert {"clickflow", "scoring"} <= set(dag["tags"])
    assert {task["owner"] for task in tasks.values()} == {"clickflow"}
    assert all(task["doc"] and task["minutes"] for task in tasks.values())
    assert "docs/howto/score.md" in dag["doc"]


@pytest.mark.slow
@pytest.mark.usefixtures("airflow")
def test_skipped_without_a_champion_with_one_predictions_are_made_in_a_workspace_and_announced(
    shop: Path, root: Path
) -> None:
    with_stores(shop, root, {"score": SCORED})
    with started(shop) as airflow:
        done = ran(airflow, "score", {})
        assert done.code == 0, done.said[-3000:]
        assert done.states["score.next_step"] == "skipped"
        assert "next_step has no champion yet" in done.logs["score.next_step"]
        assert done.events == []

        (shop / "answers.json").write_text(json.dumps({"score": SCORED, "champion": 3}))
        commit(shop)
        done = ran(airflow, "score", {"top": 7, "since_hours": None}, "2026-02-03T06:00:00+00:00")
    assert done.code == 0, done.said[-3000:]
    assert set(done.states.values()) == {"success"}
    home = Path(os.environ["CLICKFLOW_HOME"])
    ((uri, extra),) = done.events
    assert uri == "clickflow://predictions/"
    assert {key: extra[key] for key in ("model", "version", "path", "rows")} == {
        key: SCORED[key] for key in ("model", "version", "path", "rows")
    }
    log = done.logs["score.next_step"]
    assert f"asked: score next_step --all --out {home}/predictions/next_step/{extra['run']} --top 7 --json" in log
    assert "store: ['view,1', 'cart,2'" in log
    assert "elsewhere: False" in log, "a workspace of its own, with the store alone"
    assert not (home / "workspaces").exists() or not any((home / "workspaces").iterdir())
