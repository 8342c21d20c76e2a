"""What orchestration costs: a DAG run against the sum of its stages, parsing, recovery, ten runs at once, memory.

    python benchmarks/orchestration.py --json FILE [--executor local|edge|celery] [--only tasks,parse]

Works on platforms of its own, with small data: what a stage itself does is of no interest here, only what is added to
it. Each is started by `clickflow up` in a clone of HEAD, and ended. For Celery, Redis and PostgreSQL are started too.

- `tasks`: one run; what each task costs over the process of its stage, from the end of the task before it
- `parse`: what DAG files cost to load, Airflow being there, and which heavy modules they bring
- `concurrent`: ten runs at once
- `recovery`: tests/platform/test_crashes.py and test_celery.py, which kill everything once, and print the seconds

What this machine lacks (Redis and PostgreSQL for Celery, pytest for `recovery`) is asked for first: that part is left
out, and the result says why under `skipped`. FILE holds what was measured so far, whatever becomes of the rest.
"""

import argparse
import json
import os
import platform as machine
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

import platform_client
import servers
from outcome import hand_out, versions
from platform_client import Platform

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests/platform"

EXECUTORS = ("local", "edge", "celery")
PARTS = ("tasks", "parse", "concurrent", "recovery")
RUNS = 10

HEAVY = "torch pandas great_expectations mlflow dvc duckdb numpy pyarrow scipy sklearn onnx onnxruntime matplotlib"

PARSING = """
import json, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
before, began, worked = set(sys.modules), time.perf_counter(), time.process_time()
bag = BundleDagBag("dags", bundle_path=Path("dags"), bundle_name="dags-folder")
seconds, worked = time.perf_counter() - began, time.process_time() - worked
assert not bag.import_errors, bag.import_errors
heavy = sorted({name.partition(".")[0] for name in set(sys.modules) - before} & set(sys.argv[1].split()))
print(json.dumps({"seconds": seconds, "cpu_seconds": worked, "dags": sorted(bag.dags), "heavy_modules": heavy}))
"""


def main() -> None:
    """Measure what was asked for and print one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=EXECUTORS, action="append", help="which; may be repeated; none: all")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--repeat", type=int, default=2, help="runs of `tasks`; the one with the least overhead counts")
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    result: dict[str, Any] = {
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip(),
        "hardware": f"{os.cpu_count()} CPU cores, {machine.machine()}",
        "versions": versions("apache-airflow", "dvc", "mlflow", "torch"),
    }
    executors, skipped = possible(args.executor or EXECUTORS, parts)
    if skipped:
        result["skipped"] = skipped

    def keep(into: dict[str, Any], name: str, value: Any) -> None:
        into[name] = value
        if args.json:
            args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    if "parse" in parts:
        keep(result, "parse", parse())
    if {"tasks", "concurrent"} & set(parts):
        for executor in executors:
            of_executor = result.setdefault("executors", {}).setdefault(executor, {})
            for name, value in measured(executor, parts, args.repeat):
                keep(of_executor, name, value)
    if "recovery" in parts and "recovery" not in skipped:
        seconds = result.setdefault("recovery_seconds", {})
        for name, value in recovery([executor for executor in executors if executor != "local"]):
            keep(seconds, name, value)
    hand_out(result, args.json)


def possible(executors: Sequence[str], parts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The executors that can be started here; and what cannot be measured, with the reason, said at once."""
    skipped = {}
    if "celery" in executors:
        try:
            servers.check_broker()
        except SkipTest as lacking:
            skipped["celery"] = str(lacking)
    if "recovery" in parts and not find_spec("pytest"):
        skipped["recovery"] = "no pytest here: make development"
    elif "recovery" in parts and not set(executors) - {"local", *skipped}:
        skipped["recovery"] = "it is of Edge and Celery"
    for name, why in skipped.items():
        say(f"{name} is left out: {why}")
    return [name for name in executors if name not in skipped], skipped


def parse() -> dict[str, Any]:
    """The median of five loads of dags/."""
    say("parse: five times")
    command = [sys.executable, "-c", PARSING, HEAVY]
    with tempfile.TemporaryDirectory(prefix="clickflow-parse-") as folder:
        env = {**os.environ, "AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": "src"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        done = [
            json.loads(subprocess.check_output(command, cwd=ROOT, env=env, text=True).splitlines()[-1])
            for _ in range(5)
        ]
    medians = {name: round(statistics.median(one[name] for one in done), 3) for name in ("seconds", "cpu_seconds")}
    return {**done[0], **medians, "load": load()}


def measured(executor: str, parts: Sequence[str], repeat: int) -> Iterator[tuple[str, Any]]:
    """A platform with one executor, a figure after the other: its start, its memory, a run's tasks, ten runs."""
    with started(executor) as (shop, seconds):
        yield "up_seconds", seconds
        yield "memory_mb", memory(shop)
        if "tasks" in parts:
            say(f"{executor}: the first run, which fills the cache of bytecode and the database")
            one_run(shop, 0.0030)
            runs = [one_run(shop, 0.0031 + number / 10_000) for number in range(repeat)]
            yield "run", min(runs, key=lambda run: float(run["over_the_stages"]))
            yield "others_over_the_stages", [run["over_the_stages"] for run in runs]
        if "concurrent" in parts:
            yield "concurrent", ten_runs(shop)


@contextmanager
def started(executor: str) -> Iterator[tuple[Platform, float]]:
    """A platform, and how long it took to come up."""
    with ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="clickflow-orchestration-")))
        env = {"CLICKFLOW_EXECUTOR": executor}
        if executor == "celery":
            redis, postgresql = servers.redis(), servers.postgresql()
            for server in (redis, postgresql):
                ended.callback(server.stop)
                server.start()
            env["CLICKFLOW_BROKER_URL"] = f"redis://127.0.0.1:{redis.port}/0"
            env["CLICKFLOW_DATABASE_URL"] = servers.database(postgresql)
        shop = platform_client.clone(ROOT, folder, None, **env)
        ended.callback(shop.down)
        say(f"{executor}: up")
        began = time.monotonic()
        shop.up()
        yield shop, round(time.monotonic() - began, 1)


class Stages:
    """When the process of each stage began and ended, seen from outside, ten times a second."""

    def __init__(self, shop: Platform, peak: bool = False) -> None:
        self.shop, self.peak = shop, peak
        self.seconds: dict[str, float] = {}
        self.megabytes = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Stages":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        last = 0.0
        while not self._over.wait(0.1):
            if self.peak and time.monotonic() - last > 2:
                last = time.monotonic()
                self.megabytes = max(self.megabytes, _megabytes(self.shop.processes()))
            elif not self.peak:
                self._look()

    def _look(self) -> None:
        now = float(Path("/proc/uptime").read_text().split()[0])
        for process in self.shop.processes():
            try:
                words = Path(f"/proc/{process}/cmdline").read_bytes().decode().strip("\0").split("\0")
                begun = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]) / 100
            except OSError:
                continue
            if len(words) > 2 and words[1].endswith("/clickflow"):
                name = ".".join(word for word in words[2:] if not word.startswith("-"))
                self.seconds[name] = now - begun


def one_run(shop: Platform, rate: float) -> dict[str, Any]:
    """A run of `retrain` that trains anew: seconds by task, and those of its stage's own process."""
    with Stages(shop) as stages:
        run = shop.trigger("retrain", {"overrides": _overrides(rate)})
        state = shop.wait("retrain", run, timeout=3000)
    assert state == "success", shop.states("retrain", run)
    listed = {name: task for name, task in shop.tasks("retrain", run).items() if task["state"] == "success"}
    ends = {name: _moment(task["end_date"]) for name, task in listed.items()}
    begins = {name: _moment(task["start_date"]) for name, task in listed.items()}
    queued = _moment(shop.run("retrain", run)["queued_at"])
    tasks: dict[str, dict[str, float]] = {}
    before = queued
    for name in sorted(listed, key=begins.__getitem__):
        own = stages.seconds.get(name, 0.0)
        whole = ends[name] - before
        tasks[name] = {
            "waited": round(begins[name] - before, 2),
            "task": round(ends[name] - begins[name], 2),
            "stage": round(own, 2),
            "over_the_stage": round(whole - own, 2),
        }
        before = ends[name]
    costs = [task["over_the_stage"] for task in tasks.values()]
    wall, own = before - queued, sum(task["stage"] for task in tasks.values())
    say(f"run: {wall:.0f} s, the stages {own:.0f} s; over the stage {statistics.mean(costs):.1f} s a task")
    return {
        "wall": round(wall, 1),
        "stages": round(own, 1),
        "over_the_stages": round(wall - own, 1),
        "over_the_stage_a_task": {"mean": round(statistics.mean(costs), 2), "most": max(costs)},
        "tasks": tasks,
        "load": load(),
    }


def ten_runs(shop: Platform) -> dict[str, Any]:
    """Ten runs at once, each with a model of its own; none may promote, for they were opened beside each other."""
    say(f"concurrent: {RUNS} runs")
    began = time.monotonic()
    with Stages(shop, peak=True) as watched:
        with shop.committed({"gate.floors": {"mrr@20": 1.0}}):
            runs = [shop.trigger("retrain", {"overrides": _overrides(0.004 + n / 10_000)}) for n in range(RUNS)]
            for run in runs:
                shop.wait_for_task("retrain", run, "open", "success", timeout=3000)
        states = []
        for run in runs:
            states.append(shop.wait("retrain", run, timeout=3000))
            say(f"  {len(states)} of {RUNS}: {states[-1]} after {time.monotonic() - began:.0f} s")
    listed = subprocess.check_output(
        ["git", "for-each-ref", "--format=%(objectname)", "refs/runs"], cwd=shop.clone, text=True
    )
    return {
        "runs": RUNS,
        "failures": sum(state != "success" for state in states),
        "wall": round(time.monotonic() - began, 1),
        "peak_memory_mb": round(watched.megabytes),
        "distinct_runs_recorded": len(set(listed.split())),
        "load": load(),
    }


def recovery(executors: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Seconds from each fault until its work went on, as the tests of faults print them. Raises where one fails."""
    files = {"edge": "test_crashes.py", "celery": "test_celery.py"}
    command = [sys.executable, "-m", "pytest", "-q", "-s", *(str(TESTS / files[name]) for name in executors)]
    say("recovery: the tests of faults")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            sys.stderr.write(line)
            if match := re.search(r"recovery after (.*): ([\d.]+) s", line):
                yield match.group(1), float(match.group(2))
    if child.returncode:
        raise SystemExit(f"the tests of faults failed, exit code {child.returncode}")


def memory(shop: Platform) -> dict[str, float]:
    """Megabytes by service, nothing being done."""
    used = {name: round(service["memory"] / 2**20) for name, service in shop.services().items()}
    return {**used, "sum": sum(used.values())}


def load() -> list[float]:
    """How busy the machine is: processes that wait for a core, on average over 1 and 5 minutes."""
    return [round(value, 1) for value in os.getloadavg()[:2]]


def say(line: str) -> None:
    """Progress, for a person."""
    print(line, file=sys.stderr, flush=True)


def _overrides(rate: float) -> dict[str, Any]:
    return {"models.next_step.optimiser.learning_rate": round(rate, 6)}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _megabytes(processes: Sequence[int]) -> float:
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


if __name__ == "__main__":
    main()
