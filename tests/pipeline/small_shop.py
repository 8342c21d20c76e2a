"""A small shop of its own: a git and DVC repository whose stages are plain commands, done in milliseconds."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.orchestration import fragments, graph, runs
from clickflow.orchestration.workspace import Run
from clickflow.system import process

PIPELINE = """
stages:
  ingest:
    desc: Raw files to one table.
    cmd:
      - mkdir -p data/events
      - cat ${source.path}/*.csv > data/events/all.csv
      - echo ${simulator.events} >> data/events/all.csv
    deps: ["${source.path}"]
    params: [source.path, simulator.events]
    outs: [data/events]
    meta: {airflow: {queue: default, retries: 1, timeout_minutes: 5}}
  check:
    cmd: sh check.sh
    deps: [data/events, check.sh]
    params: [quality.min_events]
    metrics: [reports/check.txt]
  train:
    foreach: ${models}
    do:
      cmd:
        - mkdir -p models/${key}
        - cat data/events/all.csv reports/check.txt > models/${key}/weights
        - echo ${item.budget.epochs} >> models/${key}/weights
      deps: [data/events, reports/check.txt]
      params: ["models.${key}.budget.epochs"]
      outs: ["models/${key}"]
      meta: {airflow: {queue: gpu, pool: gpu, retries: 2}}
"""

# DVC reads this file a dozen times a command: what stands here is what is read, overridden or required, and no more.
PARAMS = """\
seed: 0
source:
  kind: simulator
  path: data/raw
simulator:
  events: 160000
ingest: {}
quality:
  min_events: 1000
sequences: {}
models:
  next_step:
    unit: session
    heads:
      next_item: {}
    budget:
      epochs: null
training: {}
export: {}
evaluation: {}
gate:
  primary: mrr@20
promotion: {}
champion:
  next_step: 0
"""

CHECK = """
mkdir -p reports
if grep -q rotten data/events/all.csv; then echo "error: a rotten row in raw.csv" >&2; exit 3; fi
wc -l < data/events/all.csv > reports/check.txt
"""


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def dvc(folder: Path, *words: str) -> str:
    """What `dvc …` says in a folder, and to nobody else; by the server, where there is one."""
    command = [sys.executable, "-c", process._DVC, json.dumps([words])]
    env = {**os.environ, **process.NO_TELEMETRY}
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str = "more") -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def quiet(line: str) -> None:
    """Nobody is watching."""


def whole(shop: Path, home: Path, name: str, values: Mapping[str, Any] | None = None, **more: Any) -> Run:
    """A run of all stages, recorded."""
    plan = graph.load(shop)
    run = runs.open_run(shop, home, name, values or {}, compiled=plan, say=quiet, **more)
    done: dict[str, fragments.Fragments] = {}
    for stage in runs.stages(run, shop):
        done[stage] = runs.run_stage(run, stage, [done[up] for up in plan.upstream(stage)], quiet)
    runs.record(run, done.values(), quiet)
    return run


@dataclass(frozen=True)
class Ran:
    """A folder with `shop` and `home`, and a run that was made there: put back, where it was, for each test.

    git and DVC note where things lie, so that a copy elsewhere would not do.
    """

    folder: Path
    run: Run

    @staticmethod
    def of(folder: Path, name: str, values: Mapping[str, Any], **more: Any) -> "Ran":
        """Make the run, and keep a copy of the folder as it is then."""
        ran = Ran(folder, whole(folder / "shop", folder / "home", name, values, **more))
        ran._copy(folder, ran._kept)
        return ran

    @property
    def _kept(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-kept")

    def put_back(self) -> None:
        self._copy(self._kept, self.folder)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)  # with its hard links


# The code of the small shop's own commit: a run must use this `clickflow` and not the installed one.
COMMAND = '''
"""The verbs that a run calls, with answers of their own."""

import json
import sys


def main() -> None:
    verb = sys.argv[1]
    if verb == "open":
        print("{}")
    elif verb == "promote":
        outcome = {"model": "next_step", "outcome": "promoted", "version": 4, "champion": 4}
        print(json.dumps({"models": [outcome | {"text": "promoted as version 4"}]}))
    else:
        print("the small shop says", *sys.argv[1:])


if __name__ == "__main__":
    main()
'''


def with_airflow(folder: Path, root: Path) -> None:
    """Give the small shop the DAG of this repository, and a `clickflow` of its own."""
    (folder / "dags").mkdir()
    (folder / "dags/retrain.py").write_text((root / "dags/retrain.py").read_text())
    (folder / "src/clickflow").mkdir(parents=True)
    (folder / "src/clickflow/__init__.py").write_text("")
    (folder / "src/clickflow/cli.py").write_text(COMMAND)
    commit(folder, "airflow")
