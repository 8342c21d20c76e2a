"""How long `dvc repro` takes from a log to the gate's decision, stage by stage, how much memory and processor time, how
good the models are, and what doing nothing costs.

    python benchmarks/pipeline.py --data bolcom_clicks --logs ../shared/data --json FILE
    python benchmarks/pipeline.py --data retailrocket_sessions --logs ../shared/data --json FILE
    python benchmarks/pipeline.py --data simulator --json FILE
    python benchmarks/pipeline.py --params all_heads.yaml --json FILE
    python benchmarks/pipeline.py -S source.kind=files -S source.path=/my/log -S source.preset=rees46 --json FILE

Works in a clone of HEAD in a temporary folder. params.yaml is the repository's, with what `clickflow inspect --write`
writes there of the files of `--data`, or that of `--params`; then each `-S name=value`. A `source.path` of `--params`
counts from the root of this repository.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from outcome import hand_out, versions

from clickflow.cli import guarded
from clickflow.heads import outputs
from clickflow.orchestration.overrides import apply, parse
from clickflow.orchestration.variables import parse_yaml

ROOT = Path(__file__).resolve().parents[1]

LOGS: dict[str, dict[str, Any] | None] = {
    "bolcom_clicks": None,
    "retailrocket_sessions": None,
    "simulator": {"simulator.events": 1_000_000, "simulator.items": 10_000},
}
"""What params.yaml says differently for each log; None: what `clickflow inspect --write` says of its files."""


def main() -> None:
    """Run the pipeline and print one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(LOGS), help="one of the logs that the results page speaks of")
    parser.add_argument("--logs", type=Path, help="the folder that holds the folder of that name")
    parser.add_argument("--params", type=Path, help="a params.yaml in place of the repository's")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it, or go on in it")
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    own = LOGS.get(args.data, {})
    if own is None and args.logs is None:
        parser.error("--logs is needed for this data")
    log = (args.logs / args.data).resolve() if own is None else None
    values = {**(own or {}), **parse(args.set)}
    with tempfile.TemporaryDirectory(prefix="clickflow-pipeline-") as scratch:
        folder = (args.keep or Path(scratch) / "clone").resolve()
        result = {"data": args.data, "params": values, **measure(folder, values, args.params, log)}
    hand_out(result, args.json)


def measure(folder: Path, values: dict[str, Any], given: Path | None, log: Path | None) -> dict[str, Any]:
    """Clone, look at the log's files, set, reproduce; then reproduce again with nothing to do, three times."""
    if (folder / ".git").exists():
        subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=folder, check=True)
    else:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "CLICKFLOW_HOME": str(folder / ".clickflow"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    params = folder / "params.yaml"
    if log is not None:
        subprocess.run(["clickflow", "inspect", str(log), "--write"], cwd=folder, env=environment, stdout=2, check=True)
    text = (given or params).read_text(encoding="utf-8")
    path = parse_yaml(text).get("source", {}).get("path")
    if given and path and "source.path" not in values:
        values = {**values, "source.path": str((ROOT / path).resolve())}
    params.write_text(apply(text, values), encoding="utf-8")

    first = repro(folder, environment)
    nothing = [repro(folder, environment)["seconds"] for _ in range(3)]
    ingest = json.loads((folder / "reports/ingest.json").read_text())
    models = {}
    for metrics_file in sorted(folder.glob("reports/*/evaluation/metrics.json")):
        name = metrics_file.parents[1].name
        metrics = json.loads(metrics_file.read_text())
        decision = json.loads((folder / "reports" / name / "gate/decision.json").read_text())
        oracle = metrics["oracle"] or {}
        models[name] = {
            "decision": decision["decision"],
            "predictions": metrics["predictions"],
            "coverage": metrics["coverage"],
            "heads": {
                output.name: {
                    system: {metric: figure["value"] for metric, figure in of.items() if _shown(metric)}
                    for system, of in {**metrics[output.name], "oracle": oracle.get(output.name)}.items()
                    if of
                }
                for output in outputs.every()
                if metrics.get(output.name)
            },
        }
    return {
        **first,
        "seconds_with_nothing_to_do": nothing,
        "events": {key: ingest[key] for key in ("read", "accepted", "quarantined")},
        "models": models,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip(),
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": versions("torch", "duckdb", "dvc", "onnxruntime", "mlflow"),
    }


def _shown(metric: str) -> bool:
    """Of metrics at a cutoff those at 20."""
    return "@" not in metric or metric.rpartition("@")[2] in ("20", "20_known")


def repro(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """`dvc repro`: seconds in all and by stage, seconds of the processor, and the most memory that its processes held
    together, in MB, with the stage of then.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = psutil.Popen(["dvc", "repro"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    began: dict[str, float] = {}
    most: dict[str, Any] = {"megabytes": 0, "stage": ""}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            held = _held(process)
            if held > most["megabytes"]:
                most.update(megabytes=held, stage=next(reversed(began), ""))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for line in process.stdout:
        if line.startswith("Running stage "):
            began[line.split("'")[1]] = time.perf_counter() - started
        sys.stderr.write(line)
    status = process.wait()
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f"dvc repro ended with {status}")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    ends = [*list(began.values())[1:], seconds]
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak": most,
        "stages": {stage: round(end - at, 1) for (stage, at), end in zip(began.items(), ends, strict=False)},
    }


def _held(process: psutil.Process) -> int:
    """Resident memory of a process and all below it, in MB."""
    held = 0
    try:
        for each in (process, *process.children(recursive=True)):
            held += each.memory_info().rss
    except psutil.Error:  # one that ended meanwhile
        return 0
    return held // 1_000_000


if __name__ == "__main__":
    guarded(main)
