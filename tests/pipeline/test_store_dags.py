"""The DAGs `score` and `watch`: the stages up to the store, then predictions, or a judgement, and an event of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from in_airflow import started
from small_shop import commit
from store_shop import ran, read, with_stores

from clickflow.params.score import Score
from warm import Server

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


def watch_answer(retrain: list[str], why: str, *, stale: bool = False) -> dict[str, Any]:
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


@pytest.fixture(scope="module")
def dags(root: Path, airflow_server: Server) -> Any:
    """Both as this repository has them."""
    return read(airflow_server, root, "score", "watch")


def test_it_ends_at_the_predictions_and_trains_nothing(dags: Any) -> None:
    dag = dags["score"]
    tasks = dag["tasks"]
    stores = {"sequences.customer": "score.customers", "sequences.session": "score.next_step"}
    assert sorted(tasks) == sorted(["open", "ingest", "validate", *stores, *stores.values()])
    for store, score in stores.items():
        assert tasks[store]["upstream"] == ["ingest", "validate"]
        assert tasks[score]["upstream"] == [store]
        assert tasks[score]["outlets"] == ["clickflow://predictions/"]
    assert dag["heavy"] == []
    assert dag["params"] == ["models", "top", "since_hours", "anomalies", "overrides", "note"]
    assert {"clickflow", "scoring"} <= set(dag["tags"])
    assert {task["owner"] for task in tasks.values()} == {"clickflow"}
    assert all(task["doc"] and task["minutes"] for task in tasks.values())
    assert "docs/howto/score.md" in dag["doc"]


def test_it_ends_at_the_call_and_trains_nothing(dags: Any) -> None:
    dag = dags["watch"]
    tasks = dag["tasks"]
    stores = ["sequences.customer", "sequences.session"]
    assert sorted(tasks) == sorted(["open", "ingest", "validate", *stores, "watch", "call"])
    assert sorted(tasks["watch"]["upstream"]) == stores
    assert tasks["call"]["upstream"] == ["watch"]
    assert tasks["call"]["outlets"] == ["clickflow://drift/"]
    assert dag["heavy"] == []
    assert dag["params"] == ["models", "overrides", "note"]
    assert {"clickflow", "monitoring"} <= set(dag["tags"])
    assert "docs/howto/watch.md" in dag["doc"]


def test_the_database_is_that_of_the_worker_or_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from clickflow.airflow.score import database

    score = Score(sql=True, sql_connection="scores")
    monkeypatch.setenv("AIRFLOW_CONN_SCORES", "postgres://writer:p%40ss%2Fword@db:5433/shop?sslmode=require")
    assert database(Score(sql_connection="scores")) == {}, "the DAG writes files alone"
    monkeypatch.delenv("CLICKFLOW_SCORE_URL", raising=False)
    assert database(score) == {"CLICKFLOW_SCORE_URL": "postgresql://writer:p%40ss%2Fword@db:5433/shop?sslmode=require"}
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", "sqlite:////x")
    assert database(score) == {}, "the worker's own counts more"


@pytest.mark.slow
@pytest.mark.usefixtures("airflow")
def test_each_says_what_it_found_or_is_skipped_with_its_reason(
    shop: Path, root: Path, airflow_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, for Airflow loads slowly: predictions without a champion and with one, a watch that stays quiet
    and one that calls.
    """
    home = Path(os.environ["CLICKFLOW_HOME"])
    quiet = "next_step: nothing breaches: 0 of 5 windows"
    loud = "next_step: 2 of 5 windows breach, the latest by popularity"

    def answers(**by_verb: Any) -> None:
        (shop / "answers.json").write_text(json.dumps(by_verb))
        commit(shop)

    with (shop / "params.yaml").open("a", encoding="utf-8") as params:
        params.write("\nlive:\n  judge: true\nscore:\n  sql: true\n")
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", "postgresql://writer:secret@db/shop")
    with_stores(shop, root, {"score": SCORED})
    with started(airflow_server, shop) as airflow:
        done = ran(airflow, "score", {})
        assert done.code == 0, done.said[-3000:]
        assert done.states["score.next_step"] == "skipped"
        assert "next_step has no champion yet" in done.logs["score.next_step"]
        assert done.events == []

        answers(score=SCORED, champion=3, watch=watch_answer([], quiet, stale=True), canary={"canaries": {}})
        done = ran(airflow, "score", {"top": 7, "since_hours": None}, "2026-02-03T06:00:00+00:00")
        assert done.code == 0, done.said[-3000:]
        assert set(done.states.values()) == {"success"}
        ((uri, extra),) = done.events
        assert uri == "clickflow://predictions/"
        assert {key: extra[key] for key in ("model", "version", "path", "rows")} == {
            key: SCORED[key] for key in ("model", "version", "path", "rows")
        }
        log = done.logs["score.next_step"]
        command = f"asked: score next_step --all --out {home}/predictions/next_step/{extra['run']}"
        assert f"{command} --top 7 --sql --json" in log
        assert "database: postgresql://writer:" in log
        assert "secret" not in log
        assert "store: ['view,1', 'cart,2'" in log
        assert "elsewhere: False" in log, "a workspace of its own, with the store alone"
        assert not (home / "workspaces").exists() or not any((home / "workspaces").iterdir())

        done = ran(airflow, "watch", {}, "2026-02-04T06:00:00+00:00")
        assert done.code == 0, done.said[-3000:]
        assert done.states["watch"] == "success"
        assert done.states["call"] == "skipped"
        assert quiet in done.logs["call"]
        assert done.states["judge"] == "skipped" and "no canary is on" in done.logs["judge"]
        assert len(done.events) == 1, "that of the predictions"
        assert f"asked: watch --out {home}/watch/" in done.logs["watch"]
        notice = json.loads((home / "notices.jsonl").read_text())
        assert (notice["kind"], notice["dag"]) == ("stale", "watch")
        assert "60 hours old" in notice["text"]

        ended = {"call": "promote", "version": 4, "text": "version 4 is champion now: not worse by 0.01"}
        answers(champion=3, watch=watch_answer(["next_step"], loud), canary={"canaries": {"next_step": ended}})
        called = ran(airflow, "watch", {"models": ["next_step"]}, "2026-02-05T06:00:00+00:00")
        assert called.code == 0, called.said[-3000:]
        assert called.states["call"] == "success"
        _, *events = called.events
        assert called.states["judge"] == "success" and dict(events)["clickflow://champion/"]["models"] == {
            "next_step": 4
        }
        extra = dict(events)["clickflow://drift/"]
        assert extra["why"] == loud
        assert extra["models"]["next_step"]["windows"][0]["broken"] == ["popularity"]
        assert extra["report"] == "/somewhere/report.html"
