"""The small shop with a store, the DAGs of this repository, and verbs that give answers of their own; one DAG run."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from in_airflow import Airflow
from small_shop import commit

from warm import Server

SEQUENCES = {
    "cmd": ["mkdir -p data/sequences/session", "cp data/events/all.csv data/sequences/session/steps"],
    "deps": ["data/events", "reports/check.txt"],
    "outs": ["data/sequences/session"],
}

# Says what it was asked, and that it saw the store; its answer is what the commit's answers.json says.
COMMAND = """
import json, os, sys
from pathlib import Path


def main() -> None:
    verb, answers = sys.argv[1], json.loads(Path("answers.json").read_text())
    if verb in ("score", "watch"):
        print("asked:", *sys.argv[1:], file=sys.stderr)
        print("store:", Path("data/sequences/session/steps").read_text().split(), file=sys.stderr)
        print("elsewhere:", Path("models").exists(), file=sys.stderr)
        print("database:", os.environ.get("CLICKFLOW_SCORE_URL", "none")[:20], file=sys.stderr)
    if verb == "open" and "champion" in answers:
        params = Path("params.yaml")
        params.write_text(params.read_text().replace("next_step: 0", f"next_step: {answers['champion']}"))
    print(json.dumps(answers.get(verb, {})))


if __name__ == "__main__":
    main()
"""


def with_stores(shop: Path, root: Path, answers: dict[str, Any]) -> None:
    """Give the small shop a stage that makes the store, and the verbs their answers."""
    pipeline = yaml.safe_load((shop / "dvc.yaml").read_text())
    pipeline["stages"]["sequences"] = {"foreach": ["session"], "do": SEQUENCES}
    (shop / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (shop / "dags").mkdir()
    for name in ("score", "watch"):
        (shop / f"dags/{name}.py").write_text((root / f"dags/{name}.py").read_text())
    (shop / "src/clickflow").mkdir(parents=True)
    (shop / "src/clickflow/__init__.py").write_text("")
    (shop / "src/clickflow/cli.py").write_text(COMMAND)
    (shop / "answers.json").write_text(json.dumps(answers))
    commit(shop, "stores")


@dataclass(frozen=True)
class Ran:
    """A DAG run: its exit code, the tasks' states, the asset events (uri, extra), the tasks' logs, its own words."""

    code: int
    states: dict[str, str]
    events: list[tuple[str, Any]]
    logs: dict[str, str]
    said: str


def ran(airflow: Airflow, dag: str, conf: dict[str, Any], moment: str = "2026-02-02T06:00:00+00:00") -> Ran:
    """Run a DAG."""
    home = Path(os.environ["CLICKFLOW_HOME"])
    folder = home / "airflow"
    code = airflow.run(dag, moment, conf)
    with contextlib.closing(sqlite3.connect(folder / "airflow.db")) as database:
        of = "select task_id, state from task_instance where dag_id = ? and run_id like ?"
        states = dict(database.execute(of, (dag, f"%{moment}%")).fetchall())
        joined = "select a.uri, e.extra from asset_event e join asset a on a.id = e.asset_id order by e.id"
        events = [(uri, json.loads(extra)) for uri, extra in database.execute(joined)]
    logs = {file.stem: file.read_text() for file in sorted(home.glob("logs/*/*.log"))}
    return Ran(code, states, events, logs, airflow.log)


READ = """
import importlib, json, sys
sys.path.insert(0, "dags")
dags = {name: importlib.import_module(name).dag for name in sys.argv[1:]}
heavy = {"torch", "pandas", "numpy", "great_expectations", "mlflow", "dvc", "duckdb", "pyarrow", "ruamel"}
print(json.dumps({name: {
    "heavy": sorted(heavy & set(sys.modules)),
    "doc": dag.doc_md,
    "tags": sorted(dag.tags),
    "params": list(dag.params),
    "tasks": {
        task.task_id: {
            "upstream": sorted(task.upstream_task_ids),
            "stage": getattr(task, "stage", None),
            "owner": task.owner,
            "retries": task.retries,
            "minutes": task.execution_timeout.total_seconds() / 60,
            "doc": task.doc_md,
            "outlets": [asset.uri for asset in task.outlets],
        }
        for task in dag.tasks
    },
} for name, dag in dags.items()}))
"""


def read(server: Server, root: Path, *dags: str) -> Any:
    """DAGs of this repository by name, read in a process of their own."""
    words = [sys.executable, "-c", server.ask(READ), *dags]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
