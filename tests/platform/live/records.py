"""What a platform keeps on record of its runs and champions: in its commands, git repository, ledger and REST API."""

import json
import sqlite3
import subprocess
import urllib.request
from typing import Any

import yaml
from platform_client import Platform

from clickflow.orchestration import runs

MODEL = "next_step"


def champion(shop: Platform) -> dict[str, Any]:
    """The model's champion, as `clickflow status` says: version, previous, why, origin, …"""
    done = shop.command("status", "--json")
    assert done.returncode == 0, done.stderr
    standing: dict[str, Any] = json.loads(done.stdout)["models"][MODEL]["champion"]
    return standing


def ledger(shop: Platform) -> list[dict[str, Any]]:
    """Every line of the ledger."""
    file = shop.home / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def listed(shop: Platform, run: str) -> dict[str, Any]:
    """A run, as `clickflow runs` says: state, params, models, reason, note, …"""
    done = shop.command("runs", "--limit", "0", "--json")
    assert done.returncode == 0, done.stderr
    (run_entry,) = [entry for entry in json.loads(done.stdout)["runs"] if entry["id"] == runs.run_id(run)]
    return dict(run_entry)


def params(shop: Platform, run: str) -> dict[str, Any]:
    """The params that a run is recorded with."""
    shown = subprocess.run(
        ["git", "show", f"refs/runs/{runs.run_id(run)}:params.yaml"],
        cwd=shop.clone,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(yaml.safe_load(shown.stdout))


def result(shop: Platform, run: str, file: str) -> Any:
    """A JSON file among the results of a run."""
    return json.loads((shop.home / "runs" / runs.run_id(run) / file).read_text())


def notices(shop: Platform, run: str) -> list[dict[str, Any]]:
    """What people were told of a run."""
    file = shop.home / "notices.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [notice for notice in lines if notice["run"] == run]


def links(shop: Platform, run: str, task: str) -> dict[str, str]:
    """The links of a run's task, by what their buttons say."""
    path = f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}/taskInstances/{task}/links"
    return dict(shop.get(path)["extra_links"])


def page(shop: Platform, link: str) -> str:
    """The page behind a link into MLflow, as its UI asks for it."""
    server, _, place = link.partition("/#/")
    run, _, file = place.partition("/runs/")[2].partition("/artifacts/")
    request = shop.mlflow_request(f"{server}/get-artifact?path={file}&run_uuid={run}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def deadlines(shop: Platform, run: str) -> int:
    """How many deadlines of a run Airflow still has ahead of it."""
    query = "select count(*) from deadline d join dag_run r on r.id = d.dagrun_id where r.run_id = ? and not d.missed"
    with sqlite3.connect(f"file:{shop.home}/platform/airflow.db?mode=ro", uri=True, timeout=30) as database:
        return int(database.execute(query, [run]).fetchone()[0])


def asset(shop: Platform, uri: str) -> int:
    """The id of an asset."""
    (entry,) = [one for one in shop.get("/assets", limit=100)["assets"] if one["uri"] == uri]
    return int(entry["id"])


def news(shop: Platform, uri: str) -> list[dict[str, Any]]:
    """The events of an asset, the newest first. Airflow answers 500 while a run that one called for is still queued."""
    events: list[dict[str, Any]] = []

    def answered() -> bool:
        answer = shop.get("/assets/events", asset_id=asset(shop, uri), order_by="-timestamp")
        events[:] = answer["asset_events"]
        return True

    shop.until(answered, 120)
    return events


def runs_of(shop: Platform, dag: str, kind: str) -> list[str]:
    """The runs of a DAG that were started so: `manual`, `scheduled`, `asset_triggered`, `backfill`."""
    entries = shop.get(f"/dags/{dag}/dagRuns", run_type=kind, order_by="run_after", limit=100)["dag_runs"]
    return [str(run["dag_run_id"]) for run in entries]


def wait_for_run(shop: Platform, dag: str, kind: str, before: list[str], *, timeout: float) -> str:
    """Wait until there is one run of a kind more than `before`; its id."""
    shop.until(lambda: len(runs_of(shop, dag, kind)) > len(before), timeout, lambda: runs_of(shop, dag, kind))
    return next(run for run in runs_of(shop, dag, kind) if run not in before)


def answer(shop: Platform, run: str, option: str, reason: str) -> None:
    """Answer the question of a run's approval, as the UI does it."""
    path = f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}/taskInstances/approve.{MODEL}/-1/hitlDetails"
    status, content = shop.request("PATCH", path, {"chosen_options": [option], "params_input": {"reason": reason}})
    assert status == 200, content


def give_up(shop: Platform, dag: str, run: str) -> None:
    """Nobody waits for a run any more: it ends as failed."""
    shop.request("PATCH", f"/dags/{dag}/dagRuns/{run.replace('+', '%2B')}", {"state": "failed"})
